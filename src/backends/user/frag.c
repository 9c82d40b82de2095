/* SPDX-License-Identifier: BSD-3-Clause */
/* Reassembly of the guest's fragments, IPv4 and IPv6 (RFC 791, 3.2; RFC 8200, 4.5; RFC 815's idea,
 * RFC 5722's strictness). */

/*
 * Each datagram under way has one buffer and a sorted list of the byte ranges that arrived;
 * touching ranges are joined, so that an orderly sender needs one. The header comes from the first
 * fragment. Nothing that a fragment says is trusted beyond the bytes it holds: overlaps, ends that
 * move and ends beyond 65535 drop the whole datagram. The packet then enters ip.c or ip6.c again
 * like any other, its checksums unverified; one of IPv6 without the extension headers that stood in
 * front of the fragment header, which were looked at already. A whole one that is a fragment again
 * is dropped there: its bytes lie in the very datagram that is being finished.
 *
 * Bounds: 64 datagrams, 1 MiB together, 32 ranges each, 30 s; the oldest gives way. When time runs
 * out, the sender of a first fragment is told (time exceeded, code 1, in both ICMPs).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/user/lanes.h"
#include "backends/user/user.h"
#include "base/csum.h"
#include "base/macros.h"

#define MAX_DATAGRAMS 64
#define MAX_BYTES (1u << 20)
#define MAX_RANGES 32
#define LIFE_NS 30000000000ull
#define ROOM (USER_ETH_LEN + 60) /* in front of the payload: the longest header */
#define OFFSET6 0xfff8
#define GROW 2048

struct range {
	uint32_t start, end;
};

struct datagram {
	struct in6_addr src, dst;
	uint32_t id;
	uint8_t proto; /* IPv4; in IPv6 the first fragment's counts */
	bool used;
	uint64_t since;
	uint8_t *buf;	    /* ROOM, then the payload */
	uint32_t size;	    /* of buf */
	uint32_t total;	    /* payload's length; 0: last fragment not seen */
	uint32_t ihl;	    /* of head's IP header; 0: first fragment not seen */
	uint8_t head[ROOM]; /* of the first fragment; IPv6: without extension headers */
	struct range ranges[MAX_RANGES];
	uint32_t n_ranges;
};

struct user_frag {
	struct datagram list[MAX_DATAGRAMS];
	uint32_t bytes, n;
};

int frag_init(struct user *u)
{
	return 0; /* most guests never send one: allocated by the first */
}

static void forget(struct user_frag *s, struct datagram *d)
{
	s->bytes -= d->size;
	s->n--;
	free(d->buf);
	memset(d, 0, sizeof(*d));
}

void frag_fini(struct user *u)
{
	if (!u->frag)
		return;
	for (int i = 0; i < MAX_DATAGRAMS; i++)
		free(u->frag->list[i].buf);
	free(u->frag);
	u->frag = NULL;
}

static struct datagram *oldest(struct user_frag *s, const struct datagram *but)
{
	struct datagram *o = NULL;

	for (int i = 0; i < MAX_DATAGRAMS; i++) {
		struct datagram *d = &s->list[i];

		if (d->used && d != but && (!o || d->since < o->since))
			o = d;
	}
	return o;
}

/* Time has run out; the first fragment is there. */
static void complain(struct user *u, const struct datagram *d)
{
	uint8_t quote[ROOM + USER_IP6_FRAG_LEN + 8];
	uint32_t len = d->ihl;

	memcpy(quote, d->head + USER_ETH_LEN, len);
	if (!user_is_v4(&d->src)) {
		memset(quote + len, 0, USER_IP6_FRAG_LEN);
		quote[len] = quote[6];
		quote[6] = IPPROTO_FRAGMENT;
		quote[len + 3] = 1; /* more fragments */
		user_put32(quote + len + 4, d->id);
		len += USER_IP6_FRAG_LEN;
	}
	memcpy(quote + len, d->buf + ROOM, 8);
	user_complain(u, USER_REASSEMBLY, 0, NULL, quote, len + 8);
}

bool frag_age(struct user *u, uint64_t now)
{
	struct user_frag *s = u->frag;

	for (int i = 0; s && i < MAX_DATAGRAMS; i++) {
		struct datagram *d = &s->list[i];

		if (!d->used || now - d->since < LIFE_NS)
			continue;
		twx_port_drop(u->port, TWX_DROP_LIMIT, d->size);
		if (d->ihl && d->n_ranges && !d->ranges[0].start)
			complain(u, d);
		forget(s, d);
	}
	return s && s->n;
}

static uint32_t id_of(const struct user_pkt *p)
{
	return p->v6 ? user_get32(p->frag + 4) : user_get16(p->ip + 4);
}

static struct datagram *find(struct user *u, const struct user_pkt *p)
{
	struct user_frag *s = u->frag;
	struct datagram *free_slot = NULL;

	for (int i = 0; i < MAX_DATAGRAMS; i++) {
		struct datagram *d = &s->list[i];

		if (!d->used)
			free_slot = free_slot ? free_slot : d;
		else if (d->id == id_of(p) && user_same(&d->src, &p->src) &&
			 user_same(&d->dst, &p->dst) && (p->v6 || d->proto == p->proto))
			return d;
	}
	if (!free_slot) {
		free_slot = oldest(s, NULL);
		twx_port_drop(u->port, TWX_DROP_LIMIT, free_slot->size);
		forget(s, free_slot);
	}
	*free_slot = (struct datagram){
		.src = p->src,
		.dst = p->dst,
		.id = id_of(p),
		.proto = p->proto,
		.used = true,
		.since = twx_loop_now(u->loop),
	};
	s->n++;
	user_age_soon(u);
	return free_slot;
}

/* Makes room for payload up to @end, other datagrams giving way. */
static bool grow(struct user *u, struct datagram *d, uint32_t end)
{
	struct user_frag *s = u->frag;
	uint32_t size = ROOM + (end + GROW - 1) / GROW * GROW;
	uint8_t *buf;

	if (size <= d->size)
		return true;
	while (s->bytes - d->size + size > MAX_BYTES) {
		struct datagram *o = oldest(s, d);

		if (!o)
			return false;
		twx_port_drop(u->port, TWX_DROP_LIMIT, o->size);
		forget(s, o);
	}
	buf = realloc(d->buf, size);
	if (!buf)
		return false;
	s->bytes += size - d->size;
	d->buf = buf;
	d->size = size;
	return true;
}

/* Enters [start, end); false if it overlaps or the list is full. */
static bool add_range(struct datagram *d, uint32_t start, uint32_t end)
{
	uint32_t i = 0;
	bool left, right;

	while (i < d->n_ranges && d->ranges[i].end <= start)
		i++;
	if (i < d->n_ranges && d->ranges[i].start < end)
		return false;
	left = i > 0 && d->ranges[i - 1].end == start;
	right = i < d->n_ranges && d->ranges[i].start == end;
	if (left && right) {
		d->ranges[i - 1].end = d->ranges[i].end;
		d->n_ranges--;
		memmove(&d->ranges[i], &d->ranges[i + 1], (d->n_ranges - i) * sizeof(d->ranges[0]));
	} else if (left) {
		d->ranges[i - 1].end = end;
	} else if (right) {
		d->ranges[i].start = start;
	} else {
		if (d->n_ranges == MAX_RANGES)
			return false;
		memmove(&d->ranges[i + 1], &d->ranges[i], (d->n_ranges - i) * sizeof(d->ranges[0]));
		d->ranges[i] = (struct range){ start, end };
		d->n_ranges++;
	}
	return true;
}

/* Is the fragment one that is here already, byte for byte? Networks duplicate; RFC 8200, 4.5, lets
 * it pass. */
static bool is_duplicate(const struct datagram *d, const struct user_pkt *p, uint32_t start,
			 uint32_t end)
{
	uint8_t buf[512];
	uint32_t i = 0;

	while (i < d->n_ranges && d->ranges[i].end < end)
		i++;
	if (i == d->n_ranges || d->ranges[i].start > start)
		return false;
	for (uint32_t off = 0; off < end - start; off += sizeof(buf)) {
		uint32_t len = min(end - start - off, (uint32_t)sizeof(buf));

		if (!user_pkt_copy(p, off, buf, len) ||
		    memcmp(buf, d->buf + ROOM + start + off, len))
			return false;
	}
	return true;
}

/* Takes the fragment in; false when the datagram is not worth keeping. */
static bool add(struct user *u, struct datagram *d, const struct user_pkt *p)
{
	uint32_t ihl = p->v6 ? USER_IP6_LEN : p->l4_off - USER_ETH_LEN;
	uint32_t flags = user_get16(p->v6 ? p->frag + 2 : p->ip + 6);
	uint32_t start = p->v6 ? flags & OFFSET6 : (flags & 0x1fff) * 8, end = start + p->l4_len;
	bool more = flags & (p->v6 ? 1 : 0x2000);

	if (!p->l4_len || (more && p->l4_len % 8) || end > 65535 - (p->v6 ? 0 : ihl))
		return false;
	if (!more) {
		if (d->total && d->total != end)
			return false;
		if (d->n_ranges && d->ranges[d->n_ranges - 1].end > end)
			return false;
		d->total = end;
	} else if (d->total && end > d->total) {
		return false;
	}
	if (is_duplicate(d, p, start, end))
		return true;
	if (!add_range(d, start, end) || !grow(u, d, end))
		return false;
	if (!start) {
		d->ihl = ihl;
		memcpy(d->head, p->eth, USER_ETH_LEN + ihl);
		if (p->v6)
			d->head[USER_ETH_LEN + 6] = p->proto;
	}
	return user_pkt_copy(p, 0, d->buf + ROOM + start, p->l4_len);
}

/* The whole packet goes in as a frame of its own. */
static void complete(struct user *u, struct datagram *d)
{
	uint32_t len = USER_ETH_LEN + d->ihl + d->total;
	uint8_t *frame = d->buf + ROOM - USER_ETH_LEN - d->ihl, *ip = frame + USER_ETH_LEN;
	struct iovec iov = { frame, len };
	struct twx_frame f = { .iov = &iov, .n_iov = 1, .len = len };
	be16 sum;

	memcpy(frame, d->head, USER_ETH_LEN + d->ihl);
	if (user_is_v4(&d->src)) {
		user_put16(ip + 2, d->ihl + d->total);
		user_put16(ip + 6, 0);
		user_put16(ip + 10, 0);
		sum = csum_fold(csum_partial(ip, d->ihl, 0));
		memcpy(ip + 10, &sum, 2);
		user_input_ip4(u, &f);
	} else {
		user_put16(ip + 4, d->total);
		user_input_ip6(u, &f, true);
	}
	/* Before the memory goes. */
	udp_burst_end(u);
	tcp_burst_end(u);
}

void frag_input(struct user *u, const struct user_pkt *p)
{
	struct datagram *d;

	if (unlikely(u->lanes) && lanes_to_first(u, p->frame))
		return;
	if (!u->frag)
		u->frag = calloc(1, sizeof(*u->frag));
	if (!u->frag) {
		twx_port_drop(u->port, TWX_DROP_LIMIT, p->frame->len);
		return;
	}
	d = find(u, p);
	if (!add(u, d, p) || (p->v6 ? 0 : d->ihl) + d->total > 65535) {
		twx_port_drop(u->port, TWX_DROP_BAD_PACKET, p->frame->len);
		forget(u->frag, d);
		return;
	}
	if (d->total && d->ihl && d->n_ranges == 1 && !d->ranges[0].start &&
	    d->ranges[0].end == d->total) {
		complete(u, d);
		forget(u->frag, d);
	}
}
