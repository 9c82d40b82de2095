/* SPDX-License-Identifier: BSD-3-Clause */
/* The drop-in libslirp: one stack, and the calls between its files. */
#ifndef LIBSLIRP_SLIRP_H
#define LIBSLIRP_SLIRP_H

#include <pthread.h>

#include <twinax/net.h>

#include "libslirp/abi.h"

#define SLIRP_ETH_LEN 14
#define SLIRP_FRAME_MAX (65535 + SLIRP_ETH_LEN)
#define SLIRP_IN_ARENA (320u << 10)
#define SLIRP_OUT_HEAD 96 /* of a frame that is cut: Ethernet, IPv6 and the longest TCP header */

struct user;
struct slirp_fwd; /* guestfwd.c */

/* Frames from the guest until they are worked on. */
struct slirp_in {
	uint8_t *arena;
	uint32_t used;
	int n;
	struct iovec iov[TWX_BURST];
	struct twx_frame frames[TWX_BURST];
};

/* A large frame that is being cut into segments. */
struct out_cut {
	uint8_t head[SLIRP_OUT_HEAD];
	uint32_t ip, l4, payload; /* where they begin */
	uint32_t size, off, left; /* of a segment; bytes that are out; bytes that are not */
	bool v6;
	uint8_t flags;
	uint16_t id;
	uint32_t seq, n;
	uint64_t pseudo; /* without the length */
};

/* The guest's end of the cable. */
struct slirp_out {
	struct twx_port port;
	uint8_t *buf; /* SLIRP_FRAME_MAX bytes: what the stack fills by a lease, and what is copied
		       */
	bool tells;   /* send_packet has once said that it took a frame: 0 means something then */
	bool held;    /* nothing more for the guest for now */
	uint32_t queued; /* frames in the caller's queue at most */
	uint64_t tried;	 /* when the last of them went there */
	struct out_cut cut;
	struct twx_timer retry;
};

struct Slirp {
	struct slirp_cb cb;
	void *opaque;
	struct twx_loop *loop;
	struct twx_net *net;
	struct twx_backend *backend;
	struct user *user;
	struct slirp_in in;
	struct twx_task in_task; /* deferred nowhere: the first of a round */
	struct slirp_out out;
	uint64_t now;	   /* the loop's time: moves as the caller's clock does */
	uint64_t clock;	   /* what that last said */
	uint64_t slept_at; /* and when the caller last went to sleep */
	pthread_t poller;  /* who that was */
	bool polled;
	int index; /* of our descriptor in the caller's poll set */
	bool in_round, more, closing;
	struct slirp_fwd *fwds;
};

/* --- slirp.c --- */
/* Says on standard error why something could not be set up: libslirp's interface has no other way.
 */
void slirp_complain(const struct twx_error *e);
void slirp_settle(struct Slirp *s); /* what waits has been worked on */

/* --- config.c --- */
/* A -netdev line; malloc()ed, null when memory is out. */
char *config_text(const struct slirp_config *cfg);
/* What this stack cannot do and will not pretend to: 0 or -errno. */
int config_check(const struct slirp_config *cfg, struct twx_error *e);
/* The fields that the caller's version has; the others are zero. False: no such version. */
bool config_read(struct slirp_config *to, const struct slirp_config *from);

/* --- out.c --- */
int out_open(struct Slirp *s, struct twx_error *e);
void out_close(struct Slirp *s);
/* The caller's loop turns: it may take frames again. */
void out_try_again(struct Slirp *s);

/* --- guestfwd.c --- */
void fwds_close(struct Slirp *s);

#endif
