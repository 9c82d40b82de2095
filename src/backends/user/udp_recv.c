/* SPDX-License-Identifier: BSD-3-Clause */
/* UDP from the host's sockets to the guest. */

/*
 * recvmmsg() fills up to 64 slots of one shared buffer; each slot keeps room in front for the
 * headers, so that a datagram becomes a frame where it lies, and the batch goes to the peer by one
 * send. A slot's first part is 2 KiB; what is longer spills into the slot's own 64 KiB, pages that
 * are given back when idle. A socket that has received 32 datagrams gets more room and UDP_GRO:
 * trains of the same size then arrive as one message and leave as one segmentation-offload (USO)
 * frame, or as segments if the guest cannot take that. Datagrams of one size and sender that arrive
 * by themselves, one after the other in a batch, are joined to such a frame here, for a guest that
 * takes it: a tap costs a system call a frame. Datagrams above the MTU, or for a guest whose MAC is
 * unknown, take the slow way: copied, fragmented.
 *
 * Back-pressure: when the guest refuses a batch, the rest of that batch is queued by the core and
 * no socket is read until the port resumes; sockets that become readable meanwhile are taken out of
 * the loop. What then overflows is the socket's receive buffer, where the host drops.
 */
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "backends/user/udp.h"
#include "base/csum.h"
#include "base/iov.h"
#include "base/macros.h"

#define BATCH 64
#define SLOT 2048
#define SPILL 65536
#define DATA_OFF 64 /* of the payload in its slot: headers in front, aligned for the copy */
#define GRO_AFTER 32
#define BUSY_ROOM (4 << 20) /* or what the host allows, for moments in which we do not run */
#define TRAIN_MAX 64	    /* datagrams in a frame, UDP_MAX_SEGMENTS */
#define TRAIN_MIN 18	    /* bytes of the first one: no padding */

_Static_assert(DATA_OFF >= USER_HDR_MAX + 8, "the headers fit");

/* The newest frame, whose headers wait until nothing is joined to it any more. */
struct udp_train {
	bool open;    /* there is one, and it has no headers yet */
	bool growing; /* another datagram may join */
	uint8_t *data, *end;
	uint32_t len;  /* payload */
	uint16_t size; /* of a datagram */
	uint16_t gso;  /* to be said of the frame */
	uint32_t n;
	struct user_end src;
	const struct udp_target *target;
};

struct udp_recv {
	uint8_t *slots; /* BATCH * SLOT, then BATCH * SPILL */
	bool blocked;	/* the guest refused frames */
	bool spilled;
	uint32_t paused; /* first flow of the list, index + 1 */
	/* of this batch */
	uint32_t ip_len, mtu;
	bool known; /* the guest's MAC */
	struct mmsghdr msgs[BATCH];
	union user_addr from[BATCH];
	struct iovec in[BATCH][2];
	_Alignas(struct cmsghdr) char control[BATCH][CMSG_SPACE(sizeof(int))];
	struct twx_frame frames[BATCH];
	struct iovec out[BATCH * 2];
	int n_frames, n_out;
	bool joins; /* the guest takes trains */
	struct udp_train train;
};

static size_t map_size(void)
{
	return (size_t)BATCH * (SLOT + SPILL);
}

static uint8_t *slot_at(struct udp_recv *r, int i)
{
	return r->slots + (size_t)i * SLOT;
}

static uint8_t *spill_at(struct udp_recv *r, int i)
{
	return r->slots + (size_t)BATCH * SLOT + (size_t)i * SPILL;
}

int udp_recv_init(struct user *u, struct udp_recv **out)
{
	struct udp_recv *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->slots = mmap(NULL, map_size(), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (r->slots == MAP_FAILED) {
		free(r);
		return -ENOMEM;
	}
	for (int i = 0; i < BATCH; i++) {
		r->in[i][0] = (struct iovec){ slot_at(r, i) + DATA_OFF, SLOT - DATA_OFF };
		r->in[i][1] = (struct iovec){ spill_at(r, i), SPILL };
		r->msgs[i].msg_hdr = (struct msghdr){
			.msg_name = &r->from[i],
			.msg_namelen = sizeof(r->from[i]),
			.msg_iov = r->in[i],
			.msg_iovlen = 2,
			.msg_control = r->control[i],
			.msg_controllen = sizeof(r->control[i]),
		};
	}
	*out = r;
	return 0;
}

void udp_recv_fini(struct udp_recv **rp)
{
	struct udp_recv *r = *rp;

	if (!r)
		return;
	munmap(r->slots, map_size());
	free(r);
	*rp = NULL;
}

void udp_recv_trim(struct user *u)
{
	struct udp_recv *r = u->udp->recv;

	if (r->spilled)
		madvise(spill_at(r, 0), (size_t)BATCH * SPILL, MADV_DONTNEED);
	r->spilled = false;
}

/* --- the slow way --- */

void udp_to_guest_iov(struct user *u, const struct user_end *src, const struct user_end *dst,
		      const struct iovec *data, int n)
{
	struct user_ip h = { .src = src->addr, .dst = dst->addr, .proto = IPPROTO_UDP, .ttl = 64 };
	uint32_t len = (uint32_t)iov_len(data, (size_t)n);
	uint8_t head[8];
	struct iovec iov[3] = { { head, sizeof(head) } };
	uint64_t sum;
	be16 v;

	memcpy(iov + 1, data, (size_t)n * sizeof(*data));
	user_put16(head, src->port);
	user_put16(head + 2, dst->port);
	user_put16(head + 4, 8 + len);
	user_put16(head + 6, 0);
	sum = user_pseudo(&h.src, &h.dst, IPPROTO_UDP, 8 + len);
	v = csum_fold_udp(csum_iov(iov, (size_t)n + 1, 0, 8 + len, sum));
	memcpy(head + 6, &v, 2);
	user_ip_send(u, &h, iov, n + 1);
}

void udp_to_guest(struct user *u, const struct in6_addr *src, uint16_t sport,
		  const struct in6_addr *dst, uint16_t dport, const void *data, uint32_t len)
{
	struct user_end from = { *src, sport }, to = { *dst, dport };
	struct iovec iov = { (void *)data, len };

	udp_to_guest_iov(u, &from, &to, &iov, 1);
}

/* --- the fast way --- */

/* Short frames are padded in place: what lies behind the datagram is old data of other flows. */
static void pad(struct udp_recv *r, struct twx_frame *f)
{
	if (f->len >= 60)
		return;
	memset(r->train.data + r->train.len, 0, 60 - f->len);
	r->out[r->n_out - 1].iov_len += 60 - f->len;
	f->len = 60;
}

/* The newest frame is complete: its headers, in front of its first datagram. */
static void close_frame(struct user *u, struct udp_recv *r)
{
	struct udp_train *t = &r->train;
	const struct in6_addr *src = &t->src.addr, *dst = &t->target->guest;
	uint32_t headers = USER_ETH_LEN + r->ip_len + 8;
	uint16_t raw = csum_fold_raw(user_pseudo(src, dst, IPPROTO_UDP, 8 + t->len));
	struct twx_frame *f = &r->frames[r->n_frames - 1];
	uint8_t *udp;

	t->open = false;
	udp = user_ip_header(u, t->data - headers, src, dst, IPPROTO_UDP, 8 + t->len);
	user_put16(udp, t->src.port);
	user_put16(udp + 2, t->target->port);
	user_put16(udp + 4, 8 + t->len);
	memcpy(udp + 6, &raw, 2);
	f->len = headers + t->len;
	f->meta = (struct twx_meta){
		.flags = TWX_F_NEEDS_CSUM,
		.gso = t->gso ? TWX_GSO_UDP_L4 : TWX_GSO_NONE,
		.gso_size = t->gso,
		.hdr_len = (uint16_t)headers,
		.csum_start = (uint16_t)(USER_ETH_LEN + r->ip_len),
		.csum_off = 6,
	};
	pad(r, f);
}

static void flush_frames(struct user *u, struct udp_recv *r)
{
	int done;

	if (!r->n_frames)
		return;
	if (r->train.open)
		close_frame(u, r);
	done = user_send(u, r->frames, r->n_frames);
	if (done < r->n_frames) {
		r->blocked = true;
		user_post(u, r->frames + done, r->n_frames - done);
	}
	r->n_frames = r->n_out = 0;
}

/* Datagram @i of @len bytes as a frame in its slot; @gso: size of the datagrams that it consists
 * of, or 0. */
static void add_frame(struct user *u, struct udp_recv *r, int i, uint32_t len, uint16_t gso,
		      const struct udp_target *target, const struct user_end *src)
{
	uint32_t headers = USER_ETH_LEN + r->ip_len + 8;
	uint32_t here = min(len, (uint32_t)(SLOT - DATA_OFF));
	struct twx_frame *f = &r->frames[r->n_frames];
	uint8_t *data = slot_at(r, i) + DATA_OFF;

	if (r->train.open)
		close_frame(u, r);
	*f = (struct twx_frame){ .iov = &r->out[r->n_out], .n_iov = len > here ? 2 : 1 };
	r->out[r->n_out++] = (struct iovec){ data - headers, headers + here };
	if (len > here)
		r->out[r->n_out++] = (struct iovec){ spill_at(r, i), len - here };
	r->n_frames++;
	r->train = (struct udp_train){
		.open = true,
		.growing = r->joins && !gso && len == here && len >= TRAIN_MIN,
		.data = data,
		.end = data + here,
		.len = len,
		.size = (uint16_t)len,
		.gso = gso,
		.n = 1,
		.src = *src,
		.target = target,
	};
}

/* Adds datagram @i to the newest frame if they belong together. A short one is a train's last. */
static bool join(struct udp_recv *r, int i, uint32_t len, const struct user_end *src)
{
	struct udp_train *t = &r->train;
	uint8_t *data = slot_at(r, i) + DATA_OFF;
	struct twx_frame *f;

	if (!t->open || !t->growing || !len || len > t->size || t->n == TRAIN_MAX ||
	    r->ip_len + 8 + t->len + len > 65535 || t->src.port != src->port ||
	    memcmp(&t->src.addr, &src->addr, sizeof(src->addr)))
		return false;
	f = &r->frames[r->n_frames - 1];
	/* Into the first slot while it has room: the frame's beginning lies in one piece. */
	if (f->n_iov == 1 && (size_t)(t->end - t->data) + len <= SLOT - DATA_OFF) {
		memcpy(t->end, data, len);
		t->end += len;
		r->out[r->n_out - 1].iov_len += len;
	} else {
		r->out[r->n_out++] = (struct iovec){ data, len };
		f->n_iov++;
	}
	t->growing = len == t->size;
	t->gso = t->size;
	t->len += len;
	t->n++;
	return true;
}

static uint16_t gro_size(struct msghdr *m, uint32_t len)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		int size;

		if (c->cmsg_level != IPPROTO_UDP || c->cmsg_type != UDP_GRO)
			continue;
		memcpy(&size, CMSG_DATA(c), sizeof(size));
		return size > 0 && (uint32_t)size < len ? (uint16_t)size : 0;
	}
	return 0;
}

/* Each datagram of a message by itself, the slow way. */
static void slow(struct user *u, struct udp_recv *r, int i, uint32_t len, uint32_t step,
		 const struct udp_target *t, const struct user_end *src)
{
	struct user_end dst = { t->guest, t->port };
	uint32_t off = 0;

	flush_frames(u, r);
	do {
		struct iovec iov[2];
		uint32_t part = min(step, len - off);
		size_t n = iov_slice(iov, 2, r->in[i], 2, off, part);

		udp_to_guest_iov(u, src, &dst, iov, (int)n);
		off += part;
	} while (off < len);
}

static void one(struct user *u, struct udp_recv *r, int i, const struct udp_target *t)
{
	struct msghdr *m = &r->msgs[i].msg_hdr;
	uint32_t len = r->msgs[i].msg_len;
	uint16_t gso = gro_size(m, len);
	uint32_t step = gso ? gso : len, headers = r->ip_len + 8;
	struct user_end src;

	if (m->msg_namelen < sizeof(r->from[i].in) || (m->msg_flags & MSG_TRUNC) ||
	    !t->name(u, t->opaque, &r->from[i], &src))
		return;
	if (len > SLOT - DATA_OFF)
		r->spilled = true;
	if (headers + step > r->mtu || headers + len > 65535 || !r->known) {
		slow(u, r, i, len, step, t, &src);
		return;
	}
	if (gso || !join(r, i, len, &src))
		add_frame(u, r, i, len, gso, t, &src);
}

int udp_recv_batch(struct user *u, int fd, const struct udp_target *t)
{
	struct udp_recv *r = u->udp->recv;
	int n;

	if (r->blocked)
		return -EAGAIN;
	n = recvmmsg(fd, r->msgs, BATCH, MSG_DONTWAIT, NULL);
	if (n <= 0)
		return 0;
	TWX_TRACE(u->port->trace, TWX_HOP_RECVMSG, u->port->name, r->msgs[0].msg_len, n);
	r->ip_len = user_ip_len(&t->guest);
	r->mtu = user_mtu(u, r->ip_len == USER_IP6_LEN);
	r->known = user_neigh_find(u, &t->guest);
	r->joins = u->port->peer && (u->port->peer->caps.flags & TWX_CAP_USO);
	for (int i = 0; i < n; i++) {
		one(u, r, i, t);
		r->msgs[i].msg_hdr.msg_namelen = sizeof(r->from[i]);
		r->msgs[i].msg_hdr.msg_controllen = sizeof(r->control[i]);
	}
	flush_frames(u, r);
	return n;
}

/* --- flows --- */

static bool is_loopback(const union user_addr *a)
{
	return a->sa.sa_family == AF_INET ? ntohl(a->in.sin_addr.s_addr) >> 24 == 127
					  : IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
}

/* Loopback is the gateway's. Others that have no address for the guest (it lies in its own network)
 * cannot have been asked, and would pass for the gateway. */
static bool name_peer(struct user *u, void *opaque, const union user_addr *from,
		      struct user_end *src)
{
	struct in6_addr own = from->sa.sa_family == AF_INET ? user_mapped(from->in.sin_addr)
							    : from->in6.sin6_addr;

	*src = udp_seen_as(u, opaque, &from->sa);
	return user_same(&src->addr, &own) || is_loopback(from);
}

static void pause_flow(struct user *u, struct flow *f)
{
	struct udp_recv *r = u->udp->recv;
	struct udp_flow *uf = udp_flow_of(f);

	if (uf->paused)
		return;
	uf->paused = true;
	uf->paused_next = r->paused;
	r->paused = flow_index(&u->flows, f) + 1;
	twx_watch_set(&flow_io(&u->flows, f)->watch, 0);
}

void udp_unpause(struct user *u, struct flow *f)
{
	uint32_t self = flow_index(&u->flows, f) + 1, *link = &u->udp->recv->paused;

	if (!udp_flow_of(f)->paused)
		return;
	while (*link != self)
		link = &udp_flow_of(&u->flows.flows[*link - 1])->paused_next;
	*link = udp_flow_of(f)->paused_next;
	udp_flow_of(f)->paused = false;
}

void udp_recv_resume(struct user *u)
{
	struct udp_recv *r = u->udp->recv;

	r->blocked = false;
	while (r->paused) {
		struct flow *f = &u->flows.flows[r->paused - 1];

		r->paused = udp_flow_of(f)->paused_next;
		udp_flow_of(f)->paused = false;
		twx_watch_set(&flow_io(&u->flows, f)->watch, EPOLLIN);
	}
}

void udp_flow_event(struct twx_watch *w, uint32_t events)
{
	struct flow *f = flow_of_watch(w);
	struct user *u = container_of(w, struct flow_io, watch)->user;
	struct udp_flow *uf = udp_flow_of(f);
	struct udp_target t = {
		.guest = f->key.guest, .port = f->key.guest_port, .name = name_peer, .opaque = f
	};
	int n, on = 1, room = BUSY_ROOM;

	if (events & EPOLLERR)
		sock_errors(u, f);
	if (!(events & EPOLLIN))
		return;
	n = udp_recv_batch(u, f->fd, &t);
	if (n == -EAGAIN)
		pause_flow(u, f);
	if (n <= 0)
		return;
	flow_touch(&u->flows, f, twx_loop_now(u->loop));
	uf->n_received += (uint32_t)n;
	if (!uf->gro && uf->n_received >= GRO_AFTER) {
		uf->gro = true;
		setsockopt(f->fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on));
		setsockopt(f->fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	}
}
