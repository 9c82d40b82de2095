/* SPDX-License-Identifier: BSD-3-Clause */
/* A frame a datagram: what dgram_io.c and dgram_open.c share with `dgram` and `socket`. */
#ifndef SOCK_DGRAM_H
#define SOCK_DGRAM_H

#include "backends/sock/sock.h"

/* The longest frame, and a distance between slots that spreads their beginnings over a cache. */
#define DGRAM_SLOT (TWX_FRAME_MAX + 2091)

struct dgram {
	struct twx_backend *backend;
	struct twx_port *port;
	int in, out; /* the same descriptor, unless sending needs one of its own */
	struct twx_watch watch, out_watch;
	struct sock_spec local;
	struct sock_addr to;   /* of every frame; len 0: the socket is connected */
	bool group;	       /* multicast: our own datagrams come back, */
	struct sock_addr self; /* from here */
	bool link;	       /* @out sends when it is connected to @to */
	bool bound;	       /* @local is ours, and so is its file */
	bool reading;	       /* EPOLLIN is watched */
	bool blocked;	       /* waiting for EPOLLOUT */
	unsigned int n_errors; /* of reads, in a row */
	uint8_t *slots;	       /* TWX_BURST of DGRAM_SLOT */
	int first, n;	       /* frames read and not taken by the peer yet */
	struct twx_frame frames[TWX_BURST];
	struct iovec iov[TWX_BURST]; /* of frames */
	struct iovec room[TWX_BURST];
	struct sock_addr from[TWX_BURST];
	struct mmsghdr rx[TWX_BURST], tx[TWX_BURST];
	char info[2 * SOCK_TEXT];
};

/* --- dgram_open.c: sockets. A backend's open() calls dgram_init(), one of these, then
 * dgram_start(); and dgram_stop() after a failure --- */

void dgram_init(struct dgram *d, struct twx_backend *b);
/* Between d->local and one peer. */
int dgram_open_pair(struct dgram *d, const struct sock_spec *remote, struct twx_error *e);
/* A multicast group of IPv4; @iface: the interface's address. */
int dgram_open_group(struct dgram *d, const struct sock_addr *group, struct in_addr iface,
		     struct twx_error *e);
int dgram_open_fd(struct dgram *d, int fd, struct twx_error *e);
/* Connects @out; also when it was connected to a peer that is gone. 0 or -errno. */
int dgram_link(struct dgram *d);

/* --- dgram_io.c --- */

int dgram_start(struct dgram *d, struct twx_error *e);
void dgram_stop(struct dgram *d);
int dgram_receive(struct dgram *d, const struct twx_frame *frames, int n);
void dgram_resume(struct dgram *d);

#endif
