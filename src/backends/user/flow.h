/* SPDX-License-Identifier: BSD-3-Clause */
/* Flows of the user-mode network: plain data in one mapping, found by a keyed hash. */
#ifndef USER_FLOW_H
#define USER_FLOW_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include <twinax/loop.h>

#include "base/siphash.h"

struct user;

enum flow_kind { FLOW_FREE, FLOW_TCP, FLOW_UDP, FLOW_ICMP };

/* Addresses are as the guest sees them, IPv4 mapped into IPv6 (::ffff:a.b.c.d); ports in host
 * order. */
struct flow_key {
	struct in6_addr guest, peer;
	uint16_t guest_port, peer_port; /* ICMP: identifier, 0; UDP: peer and peer_port are zero */
	uint8_t kind;			/* enum flow_kind */
	uint8_t pad[3];			/* zero: keys are hashed and compared as bytes */
};

/* No pointers in here: the table can be handed to another process. */
struct flow {
	struct flow_key key;
	int32_t fd;			/* host socket, -1 none */
	uint32_t hash_next;		/* index + 1; 0 ends the chain; free list too */
	uint32_t lru_next, lru_prev;	/* per kind, index + 1, least recently used first */
	uint64_t last_used;		/* ns */
	_Alignas(8) uint8_t proto[152]; /* the kind's own (struct tcp_flow, udp_flow, icmp_flow) */
};

/* What a flow needs of this process only. */
struct flow_io {
	struct twx_watch watch;
	struct twx_timer timer;
	struct user *user;
	void *tail; /* TCP: unsent bytes, malloc()ed; null mostly */
	struct tcp_early *early; /* TCP: what came ahead of its turn (tcp_early.c) */
};

struct flow_table {
	struct user *user;
	struct flow *flows; /* one mapping, zero pages until used */
	struct flow_io *io; /* same indices */
	uint32_t *buckets;
	uint32_t n_buckets, max, n, high; /* high: slots ever used */
	uint32_t free;			  /* index + 1 */
	uint32_t lru_head[4], lru_tail[4];
	uint32_t count[4]; /* live flows per kind */
	struct siphash_key hash_key;
};

int flow_table_init(struct flow_table *t, struct user *u, uint32_t max_flows); /* 0 or -errno */
void flow_table_fini(struct flow_table *t); /* every flow must have been freed */
/* A new flow, entered under @key and marked used now; null when the table is full. */
struct flow *flow_new(struct flow_table *t, const struct flow_key *key, uint64_t now);
struct flow *flow_find(struct flow_table *t, const struct flow_key *key);
/* Deletes its watch and timer, closes its fd, frees its tail, and takes it out. */
void flow_free(struct flow_table *t, struct flow *f);
void flow_touch(struct flow_table *t, struct flow *f, uint64_t now); /* most recently used */
void flow_retire(struct flow_table *t, struct flow *f); /* the next to be taken as the oldest */
struct flow *flow_oldest(struct flow_table *t, enum flow_kind kind); /* or null */
uint32_t flow_index(const struct flow_table *t, const struct flow *f);
struct flow_io *flow_io(struct flow_table *t, struct flow *f);
struct flow *flow_of_watch(struct twx_watch *w);
struct flow *flow_of_timer(struct twx_timer *tm);
/* Keyed hash (SipHash-2-4) of any bytes, for other tables and TCP's initial sequence numbers. */
uint64_t flow_hash(const struct flow_table *t, const void *data, size_t len);

#endif
