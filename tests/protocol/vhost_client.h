/* SPDX-License-Identifier: BSD-3-Clause */
/* A vhost-user front end for tests, and a NIC that echoes what is transmitted; one thread, one loop. */
#ifndef TESTS_VHOST_CLIENT_H
#define TESTS_VHOST_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include <twinax/twinax.h>

#include "bus/virtio.h"
#include "hosts/vhost_user.h"

/* The echo NIC, model "echo": two pairs and a control queue. */
#define ECHO_QUEUES 5
#define ECHO_CONFIG 24
struct echo {
	struct virtio_dev dev;
	unsigned int kicks[ECHO_QUEUES], starts[ECHO_QUEUES], stops[ECHO_QUEUES];
	unsigned int resets, echoed, mtu, announced;
	uint8_t mac[6], status, config[ECHO_CONFIG];
	uint64_t features;
};
extern const struct twx_nic_model echo_model;

/* A network with one echo NIC exported at @path; options go behind it ("server=off"). */
struct vbench {
	struct twx_loop *loop;
	struct twx_net *net;
	struct twx_nic *nic;
	struct echo *echo;
	char dir[64], path[96];
	char log[4096]; /* lines of the library, newest last */
	struct twx_error e;
};
int vbench_open(struct vbench *b, const char *options);
/* The form of rings that a test program is compiled for. */
#ifndef VC_PACKED
#define VC_PACKED false
#endif
#define VC_FORM (VC_PACKED ? "packed=on" : NULL)
#define VC_FORM_AND(options) (VC_PACKED ? "packed=on," options : options)
/* The same in two steps, for another NIC: @text is "MODEL,..." without export=; b->echo is null. */
int vbench_open_net(struct vbench *b);
int vbench_open_nic(struct vbench *b, const char *text);
void vbench_close(struct vbench *b);
void vbench_pump(struct vbench *b); /* until nothing is due */
void vbench_wait(struct vbench *b, const bool *done); /* with timers; up to 5 s */
int open_fds(void);

/* Guest memory as the front end lays it out: two regions that touch in guest memory. */
#define VC_MEM 0x200000u
#define VC_GPA 0x100000ull
#define VC_USER 0x7f0000000000ull
#define VC_NUM 64
#define VC_RING_STEP 0x4000u	/* rings of queue q begin at q * this */
#define VC_BUF 0x100000u	/* buffers: VC_NUM of 2 KiB a queue */

struct vc_queue {
	int kick, call;
	uint16_t avail, used; /* ours */
};

struct vc {
	struct vbench *b;
	int fd;
	int memfd;
	uint8_t *mem;
	uint64_t protocol;
	bool keep; /* the guest lives on when the connection ends */
	bool packed; /* its driver agrees to that form of rings; vc_init() leaves it as VC_PACKED */
	struct vc_queue q[ECHO_QUEUES];
	struct vu_header head; /* of the last reply */
	union vu_payload reply;
	int reply_fd; /* the last that came with one; -1: none yet */
};

void vc_init_form(struct vc *c, struct vbench *b, bool packed);
#define vc_init(c, b) vc_init_form(c, b, VC_PACKED)
void vc_fini(struct vc *c);
void vc_connect(struct vc *c);
void vc_hangup(struct vc *c); /* the guest starts afresh, unless c->keep */
bool vc_alive(struct vc *c); /* after the back end has done what it had to */

/* Sends as given. */
void vc_raw(struct vc *c, const void *buf, size_t len, const int *fds, int n_fds);
void vc_send(struct vc *c, uint32_t request, uint32_t flags, const void *p, uint32_t len,
	     const int *fds, int n_fds);
/* 1: a reply is in head and reply; 0: none came; -1: the connection is closed. */
int vc_reply(struct vc *c);
/* With NEED_REPLY: 0 done, 1 refused, -1 closed, -2 no answer. */
int vc_ask(struct vc *c, uint32_t request, const void *p, uint32_t len, const int *fds, int n_fds);
int vc_ask_u64(struct vc *c, uint32_t request, uint64_t v);
int vc_ask_state(struct vc *c, uint32_t request, uint32_t index, uint32_t num);
int vc_ask_fd(struct vc *c, uint32_t request, uint64_t v, int fd);
/* A request with an answer of its own: the u64, or all ones. */
uint64_t vc_get(struct vc *c, uint32_t request);

/* The handshake, step by step: false behind the last. */
bool vc_step(struct vc *c, int step);
void vc_features(struct vc *c); /* features and protocol features */
void vc_handshake(struct vc *c); /* connects and goes through all steps */
int vc_mem_table(struct vc *c, uint32_t n_regions); /* 1 or 2 */
int vc_ring_setup(struct vc *c, uint32_t q); /* num, base, addr, call; kick starts it */
int vc_ring_kick_fd(struct vc *c, uint32_t q);
struct vhost_vring_addr vc_addr(uint32_t q);
/* Of the echo NIC, what this driver agrees to. */
uint64_t vc_echo_features(const struct vc *c);
/* SET_VRING_BASE's word for a ring of which @n chains were handed back. */
uint32_t vc_base(const struct vc *c, uint16_t n);

/* The guest. */
void vc_offer(struct vc *c, uint32_t q, uint64_t gpa, uint32_t len, bool write);
/* A chain of @n descriptors through an indirect table at guest address @table. */
void vc_offer_table(struct vc *c, uint32_t q, uint64_t table, uint32_t n);
void vc_kick(struct vc *c, uint32_t q);
bool vc_used(struct vc *c, uint32_t q, uint32_t *len); /* takes one used entry */
unsigned int vc_calls(struct vc *c, uint32_t q);       /* signals since last asked */
/* One message goes out of queue 1 and comes back into queue 0; false if it does not. */
bool vc_echo(struct vc *c);

#endif
