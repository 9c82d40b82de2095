/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the tap backend share: the queues, and the device calls of tap_dev.c. */
#ifndef TAP_H
#define TAP_H

#include <linux/if.h>
#include <stdbool.h>
#include <stdint.h>

#include <twinax/net.h>

#include "backends/vhost_kernel.h"

#define TAP_VNET_LEN 12 /* struct virtio_net_hdr_mrg_rxbuf, whose last field is not used here */
#define TAP_SLOT 2048	/* a frame of the usual MTU */
#define TAP_BIG (TWX_FRAME_MAX + TAP_VNET_LEN)
#define TAP_BIGS 8	/* longer ones in one burst: more would not stay in a cache */
#define TAP_SMALL_RUN 8 /* small frames in a row after which frames are gathered again */

struct tap;

/* Frames read and not sent yet: the sender's side of back-pressure, and the burst while it is
 * built. */
struct tap_batch {
	uint8_t (*slots)[TAP_SLOT]; /* TWX_BURST of them */
	uint8_t (*bigs)[TAP_BIG]; /* TAP_BIGS of them, for the rest of a frame longer than a slot */
	struct twx_frame frames[TWX_BURST];
	struct iovec iov[TWX_BURST][2];
	int first, n, n_big;
};

struct tap_queue {
	struct tap *tap;
	struct twx_port *port;
	struct twx_watch watch;
	int fd;
	bool reading; /* EPOLLIN is watched: neither the peer nor a retained frame stands in the way
		       */
	bool blocked; /* the device took no frame; waiting for EPOLLOUT */
	bool gone;    /* the interface was deleted under us */
	bool direct;  /* next frame straight into guest buffers */
	bool settling;	      /* offloads were cut: frames of before may still be in the device */
	unsigned int n_small; /* small frames in a row */
	bool away;	      /* somebody else reads */
	uint8_t lent;	      /* bit per ring that vhost-net has */
	bool detached;	      /* from the interface, see tap_vhost_select() */
	struct vhost vhost;   /* where tap->vhost */
	struct vhost_kernel kernel;
	uint32_t max_frame; /* what the device hands out at most, by its MTU, without GSO */
	struct tap_batch batch;
};

struct tap {
	struct twx_backend *backend;
	struct tap_queue *queues;
	uint32_t n_queues;
	char ifname[IFNAMSIZ];
	bool vnet_hdr, vhost;
	int hdr_len;		  /* of the vnet header, as the interface has it */
	unsigned int can_offload; /* TUN_F_* that the kernel knows */
	unsigned int offload;	  /* TUN_F_* set now */
	bool uncut;		  /* more than the receiver takes: the core cuts */
	bool by_fd;
	char up[256], down[256]; /* scripts; empty: none */
	bool is_up;		 /* the up script, if any, has succeeded */
	char info[640];
};

/* --- tap_dev.c: opening, ioctls, scripts --- */

/* Makes tap->queues with their fds by the options; tap_dev_close() also after a failure. */
int tap_dev_open(struct tap *tap, const struct twx_opts *opts, struct twx_error *e);
void tap_dev_close(struct tap *tap); /* runs the down script first */
/* Frame types that writing takes: our caps. */
struct twx_caps tap_dev_caps(const struct tap *tap);
/* Asks the kernel to hand out only what a receiver with @caps takes as it is. Returns whether that
 * is less than before. */
bool tap_dev_set_offload(struct tap *tap, uint32_t caps);
/* Longest frame without GSO by the interface's present MTU. */
uint32_t tap_dev_max_frame(const struct tap *tap);

/* One queue, from the program @helper, in the bridge @br. */
int tap_dev_open_helper(struct tap *tap, const char *helper, const char *br, struct twx_error *e);

extern const struct twx_opt_desc tap_options[];
/* The next descriptor of "3:4:5"; -1 at the end, or when it is none. */
int tap_next_fd(const char **list);

/* --- tap.c --- */

/* Stops reading, for who takes the frames instead; what was read and not sent is dropped. */
void tap_lend(struct tap_queue *q, bool out);

/* --- tap_vhost.c --- */

bool tap_vhost_wanted(const struct twx_opts *o);
int tap_vhost_check(const struct twx_opts *o,
		    struct twx_error *e); /* options that exclude others */
/* With the queues open; 0 also where there is our own path alone. */
int tap_vhost_open(struct tap *tap, const struct twx_opts *o, struct twx_error *e);
void tap_vhost_close(struct tap *tap);
struct vhost *tap_vhost(struct twx_port *port);

/* --- tap_helper.c: a program that passes an open device --- */

/* Runs @command, and waits. The descriptor, or -errno with a sentence. */
int tap_helper_run(struct tap *tap, const char *command, const char *br, struct twx_error *e);
const char *tap_helper_default(struct tap *tap);

/* --- tap.c: what `bridge` shares --- */

extern const struct twx_port_ops tap_port_ops;
/* Ports for the queues that tap_dev_open() has made, unless it has failed: @err. Undoes everything
 * on failure. */
int tap_begin(struct tap *tap, int err, struct twx_error *e);
void tap_close(struct twx_backend *b);

#endif
