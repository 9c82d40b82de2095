/* SPDX-License-Identifier: BSD-3-Clause */
/* UDP of the user-mode network: what its two directions (udp.c, udp_recv.c) and hostfwd.c share. */
#ifndef USER_UDP_H
#define USER_UDP_H

#include "backends/user/user.h"

/* In struct flow's proto. */
struct udp_flow {
	struct user_sock sock;
	bool no_segment; /* UDP_SEGMENT was refused: the device, or its MTU */
	bool gro;
	bool paused;	      /* not watched for reading, in the list of udp_recv.c */
	uint32_t paused_next; /* index + 1 */
	uint32_t n_received;
	struct user_end allowed; /* where the last datagram went; port 0: nowhere yet */
	union user_addr peer;	 /* flows of a forward (key.peer set, no fd): the real peer */
	uint32_t fwd;		 /* and which forward it came through */
};
_Static_assert(sizeof(struct udp_flow) <= sizeof(((struct flow *)0)->proto), "fits a flow");

static inline struct udp_flow *udp_flow_of(struct flow *f)
{
	return (struct udp_flow *)f->proto;
}

/* A new flow, room made by dropping the oldest; null when there is none to drop. */
struct flow *udp_flow_new(struct user *u, const struct flow_key *key);
/* Queues the guest's datagram for sendmmsg() on @fd; @f may be null (a forward's socket). */
void udp_queue(struct user *u, const struct user_pkt *p, int fd, struct flow *f,
	       const union user_addr *to);

/* --- udp_recv.c --- */
struct udp_recv;
int udp_recv_init(struct user *u, struct udp_recv **out);
void udp_recv_fini(struct udp_recv **r);
twx_watch_fn udp_flow_event;
void udp_recv_resume(struct user *u);
/* Takes the flow out of the list of paused ones: it is about to be freed. */
void udp_unpause(struct user *u, struct flow *f);
/* Gives memory back that large datagrams needed. */
void udp_recv_trim(struct user *u);

/* Where datagrams of a socket go. name() gives the source that the guest sees, or false to drop. */
struct udp_target {
	struct in6_addr guest;
	uint16_t port;
	bool (*name)(struct user *u, void *opaque, const union user_addr *from,
		     struct user_end *src);
	void *opaque;
};
/* Reads one batch from @fd. How many datagrams, 0 at the end, -EAGAIN when the guest is busy
 * (nothing was read). */
int udp_recv_batch(struct user *u, int fd, const struct udp_target *t);

/* A datagram to the guest from pieces; the slow way: copied, fragmented, parked as need be.
 */
void udp_to_guest_iov(struct user *u, const struct user_end *src, const struct user_end *dst,
		      const struct iovec *data, int n);

struct user_udp {
	struct udp_recv *recv;
	struct udp_pending *pending;
	struct iovec *iov; /* of the pending datagrams */
	int n_pending, n_iov;
};

/* --- hostfwd.c --- */
void hostfwd_resume(struct user *u);

#endif
