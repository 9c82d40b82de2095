/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TCP, guest to host: what arrives ahead of its turn waits here for what is missing.
 *
 * A segment beyond rcv_nxt is copied into a chunk of the flow, in order of sequence numbers; chunks
 * never overlap, and one that ends where the next segment begins takes it in while it has room.
 * When the hole is filled, what follows on goes to the socket in one sendmsg(). Guests that agreed
 * to it are told what is here by SACK (RFC 2018): the range that came last in front.
 *
 * Without this a guest has to send a whole window again for one lost frame, and without SACK it
 * learns of one hole in a round trip only.
 *
 * Bounds: TCP_EARLY_TOTAL for all flows, a chunk counting as EARLY_CHUNK at least; that bounds the
 * length of the lists, too. Beyond it segments are dropped, as they are beyond the window.
 */
#include <stdlib.h>
#include <string.h>

#include "backends/user/tcp.h"
#include "base/macros.h"
#include "net/fault.h"

#define EARLY_CHUNK 16384u
#define EARLY_IOV 256 /* chunks in one sendmsg() */
#define SACK_BLOCKS 4

enum { OPT_NOP = 1, OPT_SACK = 5 };

struct tcp_early {
	struct tcp_early *next;
	uint32_t seq, len, cap;
	uint8_t data[];
};

static uint32_t early_end(const struct tcp_early *h)
{
	return h->seq + h->len;
}

/* Takes *@at out of its list. */
static void early_drop(struct user *u, struct tcp_early **at)
{
	struct tcp_early *h = *at;

	*at = h->next;
	u->tcp->early_total -= h->cap;
	free(h);
}

void tcp_early_free(struct user *u, struct flow *f)
{
	struct flow_io *io = flow_io(&u->flows, f);

	while (io->early)
		early_drop(u, &io->early);
	tcp_of(f)->flags &= ~(uint32_t)(TF_EARLY | TF_EARLY_FIN);
}

/* A chunk for @len bytes in front of *@at; null beyond the bounds. */
static struct tcp_early *early_new(struct user *u, struct tcp_early **at, uint32_t seq,
				   uint32_t len)
{
	uint32_t cap = max(len, EARLY_CHUNK);
	struct tcp_early *h;

	if (u->tcp->early_total + cap > TCP_EARLY_TOTAL)
		return NULL;
	h = malloc(sizeof(*h) + cap);
	if (!h)
		return NULL;
	*h = (struct tcp_early){ .next = *at, .seq = seq, .cap = cap };
	*at = h;
	u->tcp->early_total += cap;
	return h;
}

/* Where bytes from *@seq on belong: behind *@prev, which may be null. What is here already is cut
 * off both of their ends. */
static struct tcp_early **early_place(struct user *u, struct flow_io *io, struct tcp_early **prev,
				      uint32_t *seq, uint32_t *len)
{
	struct tcp_early **at = &io->early;
	uint32_t end = *seq + *len;

	*prev = NULL;
	while (*at && seq_le((*at)->seq, *seq)) {
		*prev = *at;
		at = &(*at)->next;
	}
	if (*prev && seq_lt(*seq, early_end(*prev)))
		*seq = early_end(*prev);
	while (*at && seq_le(early_end(*at), end))
		early_drop(u, at);
	if (*at && seq_lt((*at)->seq, end))
		end = (*at)->seq;
	*len = seq_lt(*seq, end) ? end - *seq : 0;
	return at;
}

void tcp_early(struct user *u, struct flow *f, const struct tcp_seg *s)
{
	struct tcp_flow *tf = tcp_of(f);
	struct flow_io *io = flow_io(&u->flows, f);
	unsigned int faults = fault_count(u->backend->net);
	uint32_t seq = s->seq, len = min(s->len, tf->rcv_edge - s->seq);
	struct tcp_early *h, **at = early_place(u, io, &h, &seq, &len);

	if (!len)
		return;
	if (!h || early_end(h) != seq || h->cap - h->len < len)
		h = early_new(u, at, seq, len);
	if (!h || !user_pkt_copy(s->pkt, s->off + (seq - s->seq), h->data + h->len, len)) {
		twx_port_drop(u->port, TWX_DROP_LIMIT, s->pkt->frame->len);
		return;
	}
	h->len += len;
	tf->flags |= TF_EARLY;
	tf->early_last = seq;
	if (fault_count(u->backend->net) != faults)
		tcp_abort(u, f); /* the memory went away while it was read */
}

/* What follows on at rcv_nxt, to the socket. */
static void early_send(struct user *u, struct flow *f, const struct tcp_early *h)
{
	struct tcp_gather *g = &u->tcp->gather;
	struct tcp_flow *tf = tcp_of(f);

	g->n = g->bytes = 0;
	for (; h && seq_le(h->seq, tf->rcv_nxt) && g->n < EARLY_IOV; h = h->next) {
		uint32_t skip = tf->rcv_nxt - h->seq;

		if (skip >= h->len)
			continue;
		g->iov[g->n++] =
			(struct iovec){ (void *)(uintptr_t)(h->data + skip), h->len - skip };
		g->bytes += h->len - skip;
		tf->rcv_nxt = early_end(h);
	}
	if (!g->n)
		return;
	g->flow = f;
	tcp_gather_flush(u);
}

void tcp_early_release(struct user *u, struct flow *f)
{
	struct flow_io *io = flow_io(&u->flows, f);
	struct tcp_flow *tf = tcp_of(f);
	uint32_t before;

	if (!io->early || seq_lt(tf->rcv_nxt, io->early->seq))
		return;
	tcp_gather_flush(u); /* what filled the hole goes first */
	do {
		if (f->fd < 0)
			return;
		before = tf->rcv_nxt;
		early_send(u, f, io->early);
		if (f->fd < 0)
			return;
		while (io->early && seq_le(early_end(io->early), tf->rcv_nxt))
			early_drop(u, &io->early);
	} while (io->early && tf->rcv_nxt != before && seq_le(io->early->seq, tf->rcv_nxt));
	if (!io->early)
		tf->flags &= ~(uint32_t)TF_EARLY;
}

/* One range of bytes without a hole from *@h on, which moves past it. */
static void sack_range(const struct tcp_early **h, uint32_t *begin, uint32_t *end)
{
	*begin = (*h)->seq;
	do {
		*end = early_end(*h);
		*h = (*h)->next;
	} while (*h && (*h)->seq == *end);
}

static uint8_t *sack_put(uint8_t *opt, uint32_t begin, uint32_t end)
{
	user_put32(opt, begin);
	user_put32(opt + 4, end);
	return opt + 8;
}

uint32_t tcp_early_sack(struct user *u, struct flow *f, uint8_t *opt)
{
	const struct tcp_early *h = flow_io(&u->flows, f)->early;
	const struct tcp_flow *tf = tcp_of(f);
	uint8_t *first = opt + 4, *at = first + 8;
	uint32_t begin, end;
	bool found = false;

	while (h) {
		sack_range(&h, &begin, &end);
		if (seq_le(begin, tf->early_last) && seq_lt(tf->early_last, end)) {
			sack_put(first, begin, end);
			found = true;
		} else if (at < first + 8 * SACK_BLOCKS) {
			at = sack_put(at, begin, end);
		}
	}
	if (!found) { /* it has gone to the socket: the others move up */
		memmove(first, first + 8, (size_t)(at - first) - 8);
		at -= 8;
	}
	if (at == first)
		return 0;
	opt[0] = opt[1] = OPT_NOP;
	opt[2] = OPT_SACK;
	opt[3] = (uint8_t)(2 + (at - first));
	return (uint32_t)(at - opt);
}
