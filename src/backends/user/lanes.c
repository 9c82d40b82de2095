/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The user-mode network on several threads (workers=N).
 *
 * Each worker has a lane: a struct user of its own (flow table, sockets, buffers, batches,
 * neighbours) behind the port of the same index, on the worker's loop. A lane is what the whole
 * network is without workers, and its files know nothing of the others; one worker has no lanes
 * and this file is not entered.
 *
 * A flow belongs to the lane that opened it, until it ends. A directory says whose it is: a table
 * of DIRECTORY words, found by a keyed hash of what a packet and its flow agree on (TCP: both ends;
 * UDP and echoes: the guest's end). A word has the owner and how many flows it has there, and is 0
 * while there is none; flows that share a word share their lane. It is read with one load for each
 * packet (lanes_elsewhere(), before the protocol sees it) and changed by compare and swap when a
 * flow comes or goes.
 *
 * Linux chooses the queue by the processor that the sender runs on, so a flow that moves there
 * arrives by another port. Such a frame is copied into a ring between the two lanes (net/xring.h)
 * and handled by its owner, which answers by its own port: guests take frames from any queue. What
 * moved may overtake what waits in a ring; TCP takes that for a loss and recovers.
 *
 * Lane 0 has what there is once: ARP and neighbour discovery, DHCP, DHCPv6, TFTP, fragments (until
 * they are whole), hostfwd's listeners and the guest's ends of its UDP ports, records for a
 * successor (of its own connections). Frames of these kinds are handed to it. What it learns of
 * MACs it tells the others, by the same rings; a lane that misses one asks it. Connections that
 * hostfwd accepts go to the lanes in turn, of those from whose ports the guest has sent.
 *
 * Between lanes go, beside frames, messages (enum kind). A ring that is full drops (LIMIT), as a
 * queue would. A frame is handed on MAX_HOPS times at most: owners may change while it is on its
 * way.
 *
 * Refused with workers: guestfwd=, smb=, allow=, deny=, rule=, which have state that one thread
 * changes and others would read.
 */
#include "backends/user/lanes.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/macros.h"
#include "net/workers.h"
#include "net/xring.h"

#define DIRECTORY 65536u /* words; a power of two */
#define RING_LEN (1u << 20)
#define MAX_HOPS 4u
#define BUDGET 64 /* frames of one ring at a time */

/* kind of a record: below MSG_NEIGH a frame that was handed on so many times, else a message. */
enum kind {
	MSG_NEIGH = 16, /* struct neigh_msg: learn it */
	MSG_ASK,	/* struct neigh_msg, without a MAC */
	MSG_ACCEPTED,	/* struct accept_msg */
};

struct neigh_msg {
	struct in6_addr ip;
	uint8_t mac[6];
};

struct accept_msg {
	int fd;
	uint16_t from_port, guest_port;
	struct in6_addr from, guest;
};

struct lane {
	struct user *user;
	struct twx_task task; /* takes from the rings that lead here */
	atomic_bool posted;
	atomic_bool used; /* the guest has sent here */
	struct xring from[NET_WORKERS_MAX];
};

struct user_lanes {
	uint32_t n;
	uint32_t turn; /* lane 0's */
	struct siphash_key key;
	_Atomic uint32_t *owners; /* lane + 1, and from bit 8 on the number of flows */
	struct lane lanes[];
};

#define LANE_BITS 0xffu
#define ONE_FLOW 0x100u

struct user *lanes_at(struct user *u, uint32_t i)
{
	return i < u->lanes->n ? u->lanes->lanes[i].user : NULL;
}

/* --- the directory --- */

/* What a packet says of its flow, and a flow's key of its packets. */
static _Atomic uint32_t *word_of(struct user_lanes *ls, const struct flow_key *key)
{
	struct flow_key k = { .guest = key->guest,
			      .guest_port = key->guest_port,
			      .kind = key->kind };

	if (key->kind == FLOW_TCP) {
		k.peer = key->peer;
		k.peer_port = key->peer_port;
	}
	return &ls->owners[siphash(&ls->key, &k, sizeof(k)) & (DIRECTORY - 1)];
}

bool lanes_claim(struct user *u, const struct flow_key *key)
{
	_Atomic uint32_t *word = word_of(u->lanes, key);
	uint32_t v = atomic_load(word), next;

	do {
		if (v && (v & LANE_BITS) != u->lane + 1)
			return false;
		next = v ? v + ONE_FLOW : ONE_FLOW | (u->lane + 1);
	} while (!atomic_compare_exchange_weak(word, &v, next));
	return true;
}

void lanes_release(struct user *u, const struct flow_key *key)
{
	_Atomic uint32_t *word = word_of(u->lanes, key);
	uint32_t v = atomic_load(word), next;

	do
		next = v - ONE_FLOW >= ONE_FLOW ? v - ONE_FLOW : 0;
	while (!atomic_compare_exchange_weak(word, &v, next));
}

/* The owner's number, @otherwise if there is none. */
static uint32_t owner_of(struct user_lanes *ls, const struct flow_key *key, uint32_t otherwise)
{
	uint32_t v = atomic_load_explicit(word_of(ls, key), memory_order_relaxed);

	return v ? (v & LANE_BITS) - 1 : otherwise;
}

/* --- from lane to lane --- */

static bool put(struct user *u, uint32_t to, uint32_t kind, const struct twx_meta *meta,
		const struct iovec *iov, uint32_t n_iov, uint32_t len)
{
	struct lane *l = &u->lanes->lanes[to];

	if (!xring_put(&l->from[u->lane], kind, meta, iov, n_iov, len))
		return false;
	if (!atomic_exchange(&l->posted, true))
		twx_loop_post(l->user->loop, &l->task);
	return true;
}

static bool put_message(struct user *u, uint32_t to, enum kind kind, const void *msg, uint32_t len)
{
	static const struct twx_meta none;
	struct iovec iov = { (void *)(uintptr_t)msg, len };

	return put(u, to, kind, &none, &iov, 1, len);
}

static void hand_on(struct user *u, uint32_t to, const struct twx_frame *f)
{
	if (!put(u, to, u->hops + 1, &f->meta, f->iov, f->n_iov, f->len))
		twx_port_drop(u->port, TWX_DROP_LIMIT, f->len);
}

bool lanes_to_first(struct user *u, const struct twx_frame *f)
{
	if (u->lane == 0)
		return false;
	hand_on(u, 0, f);
	return true;
}

/* Of a server that there is once. */
static bool is_of_first(const struct user_pkt *p, uint16_t dport)
{
	if (p->proto == IPPROTO_UDP)
		return dport == 67 || dport == 69 || dport == 547;
	/* Neighbour discovery, RFC 4861. */
	return p->proto == IPPROTO_ICMPV6 && p->l4[0] >= 133 && p->l4[0] <= 137;
}

bool lanes_elsewhere(struct user *u, const struct user_pkt *p)
{
	struct flow_key key = { .guest = p->src, .peer = p->dst };
	struct lane *l = &u->lanes->lanes[u->lane];
	uint32_t owner;

	if (unlikely(!atomic_load_explicit(&l->used, memory_order_relaxed)))
		atomic_store_explicit(&l->used, true, memory_order_relaxed);
	if (p->l4_here < 8)
		return false; /* the protocol drops it */
	key.guest_port = user_get16(p->l4);
	key.peer_port = user_get16(p->l4 + 2);
	if (u->lane && is_of_first(p, key.peer_port))
		return lanes_to_first(u, p->frame);
	if (p->proto == IPPROTO_TCP)
		key.kind = FLOW_TCP;
	else if (p->proto == IPPROTO_UDP)
		key.kind = FLOW_UDP;
	else
		key = (struct flow_key){ .guest = p->src,
					 .guest_port = user_get16(p->l4 + 4),
					 .kind = FLOW_ICMP };
	owner = owner_of(u->lanes, &key, u->lane);
	if (likely(owner == u->lane) || u->hops >= MAX_HOPS)
		return false;
	hand_on(u, owner, p->frame);
	return true;
}

void lanes_tell_neigh(struct user *u, const struct in6_addr *ip, const uint8_t mac[6])
{
	struct neigh_msg m = { .ip = *ip };

	memcpy(m.mac, mac, 6);
	for (uint32_t i = 1; i < u->lanes->n; i++)
		(void)put_message(u, i, MSG_NEIGH, &m, sizeof(m)); /* who misses it asks */
}

void lanes_ask_neigh(struct user *u, const struct in6_addr *ip)
{
	struct neigh_msg m = { .ip = *ip };

	if (user_neigh_may_ask(u, ip))
		(void)put_message(u, 0, MSG_ASK, &m, sizeof(m));
}

/* Lane 0's answer: what it knows, or the guest's in a while. */
static void asked(struct user *u, const struct in6_addr *ip)
{
	const uint8_t *mac = user_neigh_find(u, ip);

	if (mac)
		lanes_tell_neigh(u, ip, mac);
	else if (user_is_v4(ip))
		arp_request(u, user_v4(ip));
	else
		ndp_solicit(u, ip);
}

/* The owner if there is one, else the next whose port the guest uses. */
static uint32_t choose(struct user *u, const struct flow_key *key)
{
	struct user_lanes *ls = u->lanes;

	for (uint32_t i = 0; i < ls->n; i++) {
		ls->turn = (ls->turn + 1) % ls->n;
		if (atomic_load_explicit(&ls->lanes[ls->turn].used, memory_order_relaxed))
			return owner_of(ls, key, ls->turn);
	}
	return owner_of(ls, key, u->lane);
}

void lanes_accept_take(struct user *u, int fd, const struct in6_addr *from, uint16_t from_port,
		       const struct in6_addr *guest, uint16_t guest_port)
{
	const struct flow_key key = { .guest = *guest,
				      .peer = *from,
				      .guest_port = guest_port,
				      .peer_port = from_port,
				      .kind = FLOW_TCP };
	const struct accept_msg m = { fd, from_port, guest_port, *from, *guest };
	uint32_t to = u->lanes ? choose(u, &key) : 0;

	if (!u->lanes || to == u->lane)
		tcp_from_host_take(u, fd, from, from_port, guest, guest_port);
	else if (!put_message(u, to, MSG_ACCEPTED, &m, sizeof(m)))
		close(fd);
}

static void message(struct user *u, const struct xring_frame *f)
{
	const struct accept_msg *a = (const void *)f->data;
	const struct neigh_msg *m = (const void *)f->data;

	if (f->kind == MSG_NEIGH)
		user_neigh_learn(u, &m->ip, m->mac);
	else if (f->kind == MSG_ASK)
		asked(u, &m->ip);
	else
		tcp_from_host_take(u, a->fd, &a->from, a->from_port, &a->guest, a->guest_port);
}

/* Up to BUDGET records; true if there are more. */
static bool take(struct user *u, struct xring *r)
{
	const struct xring_frame *f = NULL;
	int n;

	for (n = 0; n < BUDGET && (f = xring_next(r)); n++) {
		struct iovec iov = { (void *)(uintptr_t)f->data, f->len };
		struct twx_frame frame = { &iov, 1, f->len, f->meta };

		if (f->kind >= MSG_NEIGH) {
			message(u, f);
			continue;
		}
		u->hops = f->kind;
		user_input(u, &frame);
		u->hops = 0;
	}
	if (n) {
		/* What was gathered lies in the ring. */
		udp_burst_end(u);
		tcp_burst_end(u);
		user_flush(u);
		xring_done(r);
	}
	return n == BUDGET;
}

static void lane_task(struct twx_task *t)
{
	struct lane *l = container_of(t, struct lane, task);
	struct user *u = l->user;
	bool more = false;

	/* Not a store: whoever found it set has put before this, and is to be seen below. */
	(void)atomic_exchange(&l->posted, false);
	for (uint32_t i = 0; i < u->lanes->n; i++)
		if (i != u->lane)
			more |= take(u, &l->from[i]);
	if (more && !atomic_exchange(&l->posted, true))
		twx_loop_post(u->loop, &l->task);
}

/* --- life --- */

int lanes_check(const struct twx_backend *b, const struct twx_opts *o, struct twx_error *e)
{
	static const char *const refused[] = { "guestfwd", "smb", "allow", "deny", "rule" };

	for (size_t i = 0; i < array_size(refused); i++) {
		if (!twx_opts_given(o, refused[i]))
			continue;
		twx_error_set(e, EINVAL, "netdev %s: %s= is not possible with workers=%d", b->id,
			      refused[i], (int)twx_opts_int(o, "workers"));
		return twx_error_hint(e, "leave one of the two out");
	}
	return 0;
}

static int rings_new(struct user_lanes *ls, uint32_t lane)
{
	for (uint32_t i = 0; i < ls->n; i++)
		if (i != lane && xring_init(&ls->lanes[lane].from[i], RING_LEN) < 0)
			return -ENOMEM;
	return 0;
}

static int lane_new(struct user_lanes *ls, uint32_t i, struct user *u)
{
	ls->lanes[i].user = u;
	ls->lanes[i].task.fn = lane_task;
	u->lanes = ls;
	u->lane = i;
	return rings_new(ls, i);
}

/* Rings and directory; flows may come from now on. */
static struct user_lanes *lanes_new(uint32_t n)
{
	struct user_lanes *ls =
		aligned_alloc(64, (sizeof(*ls) + n * sizeof(ls->lanes[0]) + 63) & ~63ull);

	if (!ls)
		return NULL;
	memset(ls, 0, sizeof(*ls) + n * sizeof(ls->lanes[0]));
	ls->n = n;
	ls->owners = calloc(DIRECTORY, sizeof(*ls->owners));
	if (!ls->owners || getrandom(&ls->key, sizeof(ls->key), 0) != sizeof(ls->key)) {
		free(ls->owners);
		free(ls);
		return NULL;
	}
	return ls;
}

int lanes_open(struct user *u, uint32_t n, const struct twx_opts *o,
	       int (*open)(struct user *lane, const struct twx_opts *o, struct twx_error *e),
	       struct twx_error *e)
{
	struct user_lanes *ls = lanes_new(n);
	int ret = ls ? lane_new(ls, 0, u) : -ENOMEM;

	for (uint32_t i = 1; i < n && !ret; i++) {
		struct user *lane = calloc(1, sizeof(*lane));

		if (!lane)
			ret = -ENOMEM;
		else
			lane->backend = u->backend;
		if (lane)
			ret = lane_new(ls, i, lane);
		if (!ret)
			ret = open(lane, o, e);
	}
	if (ret == -ENOMEM && e && !e->code)
		twx_error_set(e, ENOMEM, "netdev %s: out of memory", u->backend->id);
	return ret;
}

/* Descriptors that nobody has taken. */
static void drain(struct xring *r)
{
	const struct xring_frame *f;

	while (r->data && (f = xring_next(r)))
		if (f->kind == MSG_ACCEPTED)
			close(((const struct accept_msg *)(const void *)f->data)->fd);
}

void lanes_close(struct user *u, void (*close_lane)(struct user *lane))
{
	struct user_lanes *ls = u->lanes;

	for (uint32_t i = ls->n; i-- > 0;) {
		struct lane *l = &ls->lanes[i];

		if (!l->user)
			continue;
		twx_loop_undefer(l->user->loop, &l->task);
		for (uint32_t k = 0; k < ls->n; k++)
			drain(&l->from[k]);
		if (i == 0)
			continue;
		close_lane(l->user);
		free(l->user);
		l->user = NULL;
	}
}

void lanes_free(struct user *u)
{
	struct user_lanes *ls = u->lanes;

	for (uint32_t i = 0; i < ls->n; i++)
		for (uint32_t k = 0; k < ls->n; k++)
			xring_fini(&ls->lanes[i].from[k]);
	free(ls->owners);
	free(ls);
	u->lanes = NULL;
}
