/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * e1000, host to guest (8254x manual, 3.2).
 *
 * A burst from the peer ends up in rx_burst(): each frame is filtered, measured, and copied into as
 * many buffers as it needs; DD is in the second half of a descriptor, which is stored last. RDH
 * moves and the interrupt is raised once for all of them. Frames that loop back go the same way.
 *
 * Back-pressure: a frame for which there are not enough descriptors waits with its sender until the
 * driver writes RDT, like in the chip's FIFO (RNBC counts it), or until a ring that cannot be read
 * is mapped again. A frame that not even the whole ring could hold is dropped (RXO, MPC), as are
 * frames while receiving is off or the link is down, and looped ones that find no room.
 *
 * Frames are padded to 60 bytes. While RCTL.SECRC is off the length has four bytes for the FCS, and
 * four zeros are written there: nobody sums them, and QEMU leaves what was in memory. Descriptors
 * without a buffer are consumed with nothing but DD. Data for addresses that are not memory is
 * lost, its descriptor is done all the same.
 *
 * RXDMT0 is raised when the number of free descriptors falls to RDMTS' part of the ring.
 */
#include "nics/e1000_rx.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/csum.h"
#include "base/macros.h"
#include "net/offload.h"

#define DESC_LEN 16u
#define FCS_LEN 4u
#define MIN_LEN 60u
#define SIXTEEN(v) ((v)&0xffff)
/* How often a late RDT is asked for while a frame waits: at first, and in the end. */
#define HURRY_NS 500000ull
#define HURRY_MAX_NS 64000000ull

/* A burst, and what the registers say about it. */
struct rx_pass {
	struct e1000 *d;
	uint64_t base;
	uint32_t *view; /* the ring, or null where it is not mapped */
	uint32_t n, head, avail;
	uint32_t bsize, fcs, max_len;
	uint16_t vet;
	bool strip; /* CTRL.VME */
	bool sums;  /* RXCSUM asks for something */
	bool any;
	uint32_t small;	 /* RSRPD: frames of at most this length are reported */
	uint32_t causes; /* beside RXT0 and RXDMT0 */
};

struct rx_buf {
	uint64_t addr;
	uint32_t desc;
};

/* --- descriptors --- */

static bool rx_ring(struct rx_pass *p)
{
	const struct e1000 *d = p->d;
	uint32_t tail = SIXTEEN(d->reg[R_RDT]);

	p->base = ((uint64_t)d->reg[R_RDBAH] << 32 | d->reg[R_RDBAL]) & ~(uint64_t)(DESC_LEN - 1);
	p->n = (d->reg[R_RDLEN] & 0xfff80) / DESC_LEN;
	p->head = SIXTEEN(d->reg[R_RDH]);
	if (p->head >= p->n)
		return false;
	/* A tail beyond the end is never reached: everything up to the end is there, again and
	 * again. */
	tail = min(tail, p->n);
	p->avail = tail >= p->head ? tail - p->head : p->n - p->head + tail;
	p->view = pci_dma_ptr(&p->d->pci, (gpa){ p->base }, (uint64_t)p->n * DESC_LEN);
	if ((uintptr_t)p->view % sizeof(uint32_t))
		p->view = NULL;
	return true;
}

/* False: it cannot be read; its owner would not see it done either. */
static bool rx_addr(const struct rx_pass *p, uint32_t i, uint64_t *addr)
{
	le64 v;

	if (likely(p->view != NULL))
		memcpy(&v, p->view + i * 4, sizeof(v));
	else if (pci_dma_read(&p->d->pci, (gpa){ p->base + i * DESC_LEN }, &v, sizeof(v)) < 0)
		return false;
	*addr = le64_get(v);
	return true;
}

static inline void rx_write_back(struct rx_pass *p, uint32_t i, uint32_t low, uint32_t high)
{
	low = htole32(low);
	high = htole32(high);
	if (likely(p->view != NULL)) {
		uint32_t *at = p->view + i * 4 + 2;

		__atomic_store_n(at, low, __ATOMIC_RELAXED);
		__atomic_store_n(at + 1, high, __ATOMIC_RELEASE);
		mem_dirty(p->d->pci.mem, at, 8);
	} else {
		uint64_t at = p->base + i * DESC_LEN + 8;

		pci_dma_write(&p->d->pci, (gpa){ at }, &low, sizeof(low));
		atomic_thread_fence(memory_order_release);
		pci_dma_write(&p->d->pci, (gpa){ at + 4 }, &high, sizeof(high));
	}
}

static inline uint32_t rx_next(const struct rx_pass *p, uint32_t i)
{
	return i + 1 < p->n ? i + 1 : 0;
}

static inline void rx_consume(struct rx_pass *p, uint32_t n)
{
	p->head = p->head + n < p->n ? p->head + n : p->head + n - p->n;
	p->avail -= n;
}

/* Descriptors without a buffer at the head; false if there is none with one behind them. */
static bool rx_skip_null(struct rx_pass *p, uint64_t *addr)
{
	while (p->avail && rx_addr(p, p->head, addr)) {
		if (likely(*addr))
			return true;
		rx_write_back(p, p->head, 0, RXD_DD);
		rx_consume(p, 1);
		p->any = true;
	}
	return false;
}

/* --- copying --- */

/* A frame as the guest gets it, being read from its beginning. */
struct rx_src {
	const struct twx_frame *f;
	uint32_t strip, at; /* @at: bytes that are gone, the stripped ones not counted */
	uint32_t i;
	size_t off; /* in iov[i] */
};

/* The next @len bytes; zeros behind the frame's end. */
static void rx_read(struct rx_src *s, uint8_t *to, uint32_t len)
{
	while (len && s->i < s->f->n_iov) {
		const struct iovec *v = &s->f->iov[s->i];
		size_t here = min(v->iov_len - s->off, (size_t)len);

		if (s->strip && s->at < 12)
			here = min(here, (size_t)(12 - s->at));
		/* A frame that loops back may lie where it goes. */
		memmove(to, (const uint8_t *)v->iov_base + s->off, here);
		to += here;
		len -= (uint32_t)here;
		s->at += (uint32_t)here;
		s->off += here;
		if (s->strip && s->at == 12 && !s->i && s->off == 12)
			s->off += s->strip; /* the tag lies in iov[0], as all headers */
		if (s->off == v->iov_len) {
			s->i++;
			s->off = 0;
		}
	}
	memset(to, 0, len);
}

/* Short private frames in pieces of fixed size; 32 bytes at least. */
static inline void rx_copy_short(uint8_t *to, const uint8_t *from, uint32_t len)
{
	if (len <= 64) {
		memcpy(to, from, 32);
		memcpy(to + len - 32, from + len - 32, 32);
	} else {
		memcpy(to, from, len);
	}
}

static inline void rx_fill(struct rx_src *s, uint8_t *to, uint32_t len)
{
	const struct twx_frame *f = s->f;

	if (likely(f->n_iov == 1 && !s->strip && f->len >= 32 && f->len <= len && !s->at)) {
		rx_copy_short(to, f->iov[0].iov_base, f->len);
		if (len > f->len)
			memset(to + f->len, 0, len - f->len);
		s->at = f->len;
		s->i = 1;
		return;
	}
	rx_read(s, to, len);
}

/* Bytes [@at, @at + @len) of the frame have been written to @to. */
static void rx_sum(struct e1000_rx_sums *s, const uint8_t *to, uint32_t at, uint32_t len,
		   uint32_t end)
{
	uint32_t from = max(at, s->start);
	uint64_t sum;

	end = min(end, at + len);
	if (from >= end)
		return;
	sum = csum_partial(to + (from - at), end - from, 0);
	s->sum = csum_add(s->sum, (from - s->start) & 1 ? csum_swap(sum) : sum);
}

/* One buffer's part. */
static void rx_put(struct rx_pass *p, struct rx_src *src, uint64_t addr, uint32_t len,
		   struct e1000_rx_sums *sums)
{
	struct e1000 *d = p->d;
	uint8_t *to = mem_hit(d->pci.mem, (gpa){ addr }, len);
	uint32_t at = src->at;
	bool here = true;

	if (unlikely(!to))
		to = pci_dma_ptr(&d->pci, (gpa){ addr }, len);
	if (unlikely(!to)) {
		to = d->rx.bounce;
		here = false;
	}
	rx_fill(src, to, len);
	if (sums && sums->wanted)
		rx_sum(sums, to, at, len, src->f->len - src->strip);
	if (here)
		mem_dirty(d->pci.mem, to, len);
	else if (pci_dma_write(&d->pci, (gpa){ addr }, to, len) < 0)
		twx_port_drop(d->port, TWX_DROP_BAD_CHAIN, len);
}

/* The checksum that the sender has left to us, now that the sum is known. */
static void rx_complete(struct rx_pass *p, const struct rx_buf *bufs, const struct twx_frame *f,
			struct e1000_rx_sums *s)
{
	const uint8_t *head = f->iov[0].iov_base;
	be16 v = csum_fold_udp(s->sum), seed;
	uint8_t bytes[2];

	memcpy(&seed, head + f->meta.csum_start + f->meta.csum_off, 2);
	memcpy(bytes, &v, 2);
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t at = s->field + i;

		pci_dma_write(&p->d->pci, (gpa){ bufs[at / p->bsize].addr + at % p->bsize },
			      &bytes[i], 1);
	}
	s->change = csum_add(~(uint64_t)seed.raw, v.raw);
}

/* --- one frame --- */

enum rx_room { RX_FITS, RX_WAIT, RX_NEVER };

/* Finds buffers for @len bytes. */
static enum rx_room rx_gather(struct rx_pass *p, uint32_t len, struct rx_buf *bufs, uint32_t *n)
{
	uint32_t need = (len + p->bsize - 1) / p->bsize, i, k;

	*n = 0;
	if (unlikely(need >= p->n || need > E1000_RX_CHAIN))
		return RX_NEVER;
	if (!rx_skip_null(p, &bufs[0].addr))
		return RX_WAIT;
	bufs[0].desc = p->head;
	*n = 1;
	for (i = p->head, k = 1; *n < need; k++) {
		uint64_t addr;

		if (k == p->avail)
			return RX_WAIT;
		if (k == E1000_RX_SCAN)
			return RX_NEVER;
		i = rx_next(p, i);
		if (!rx_addr(p, i, &addr))
			return RX_WAIT;
		if (addr)
			bufs[(*n)++] = (struct rx_buf){ addr, i };
	}
	return RX_FITS;
}

/* Copies the frame and hands its descriptors back. */
static void rx_deliver(struct rx_pass *p, const struct twx_frame *f, uint32_t strip, uint32_t len,
		       const struct rx_buf *bufs, uint32_t n, uint32_t status)
{
	struct e1000_rx_sums sums;
	struct rx_src src = { .f = f, .strip = strip };
	uint32_t left = len, high = RXD_DD, low, i = p->head;
	bool wants = p->sums || (f->meta.flags & TWX_F_NEEDS_CSUM);

	if (wants)
		e1000_rx_plan(p->d, f, strip, &sums);
	for (uint32_t k = 0; k < n; k++) {
		uint32_t here = min(left, p->bsize);

		rx_put(p, &src, bufs[k].addr, here, wants ? &sums : NULL);
		left -= here;
	}
	low = len - (n - 1) * p->bsize;
	if (wants) {
		if (sums.fill)
			rx_complete(p, bufs, f, &sums);
		e1000_rx_judge(p->d, f, strip, &sums);
		high |= (uint32_t)(sums.status | sums.errors << 8);
		low |= (uint32_t)sums.packet << 16;
	} else {
		high |= RXD_IXSM;
	}
	for (uint32_t k = 0; k + 1 < n; i = rx_next(p, i)) {
		bool null = i != bufs[k].desc;

		rx_write_back(p, i, null ? 0 : p->bsize, RXD_DD);
		rx_consume(p, 1);
		k += !null;
	}
	for (; i != bufs[n - 1].desc; i = rx_next(p, i)) {
		rx_write_back(p, i, 0, RXD_DD);
		rx_consume(p, 1);
	}
	rx_write_back(p, i, low, high | RXD_EOP | status);
	rx_consume(p, 1);
	p->any = true;
}

/* Nothing was lost by what comes before, this frame is. */
static void rx_overrun(struct rx_pass *p, uint32_t len)
{
	struct e1000 *d = p->d;

	e1000_count(d, STAT_RNBC);
	e1000_count(d, STAT_MPC);
	twx_port_drop(d->port, TWX_DROP_NO_BUFFER, len);
	e1000_cause_rx(d, ICR_RXO);
}

/* Most frames are for the first address. */
static inline bool rx_is_ours(const struct e1000 *d, const uint8_t *dst)
{
	le32 lo;
	le16 hi;

	memcpy(&lo, dst, 4);
	memcpy(&hi, dst + 4, 2);
	return le32_get(lo) == d->reg[R_RA] &&
	       (le16_get(hi) | RAH_AV) == (d->reg[R_RA + 1] & (RAH_AV | 0xffff)) &&
	       !(d->reg[R_RCTL] & (RCTL_VFE | RCTL_DPF));
}

/* @status: what the descriptor says about it. */
static inline bool rx_pass_filter(const struct e1000 *d, const struct twx_frame *f,
				  uint32_t *status)
{
	const uint8_t *dst = f->iov[0].iov_base;

	*status = 0;
	if (likely(rx_is_ours(d, dst)))
		return true;
	*status = e1000_filter_status(d, dst);
	return e1000_filter_pass(d, dst, min((uint32_t)f->iov[0].iov_len, f->len),
				 f->meta.flags & TWX_F_VLAN, f->meta.vlan_tci);
}

/* False: it has to wait. */
static bool rx_frame(struct rx_pass *p, const struct twx_frame *f)
{
	struct e1000 *d = p->d;
	const uint8_t *head = f->iov[0].iov_base;
	uint32_t tag = f->meta.flags & TWX_F_VLAN ? E1000_TAG_LEN : 0, strip = 0, status, len, n;
	struct rx_buf bufs[E1000_RX_CHAIN];

	if (unlikely(!rx_pass_filter(d, f, &status))) {
		twx_port_drop(d->port, TWX_DROP_NOT_FOR_US, f->len);
		return true;
	}
	if (unlikely(f->len + tag > p->max_len)) {
		e1000_count(d, STAT_ROC);
		twx_port_drop(d->port, TWX_DROP_TOO_LONG, f->len);
		return true;
	}
	if (unlikely(p->strip)) {
		if (tag) {
			status |= RXD_VP | (uint32_t)f->meta.vlan_tci << 16;
		} else if (f->len >= 18 && head[12] << 8 == (p->vet & 0xff00) &&
			   head[13] == (p->vet & 0xff)) {
			status |= RXD_VP | (uint32_t)head[14] << 24 | (uint32_t)head[15] << 16;
			strip = E1000_TAG_LEN;
		}
	}
	len = max(f->len - strip, MIN_LEN) + p->fcs;
	switch (rx_gather(p, len, bufs, &n)) {
	case RX_WAIT:
		return false;
	case RX_NEVER:
		rx_overrun(p, f->len);
		return true;
	case RX_FITS:
		break;
	}
	rx_deliver(p, f, strip, len, bufs, n, status);
	/* 13.4.34: with the FCS, without a tag that is stripped. */
	if (unlikely(f->len - strip + FCS_LEN <= p->small))
		p->causes |= ICR_SRPD;
	e1000_count_rx(d, head, f->len + tag);
	TWX_TRACE(d->port->trace, TWX_HOP_E1000_RX, d->port->name, f->len, n);
	return true;
}

static void rx_pass_begin(struct rx_pass *p, struct e1000 *d)
{
	uint32_t rctl = d->reg[R_RCTL];
	uint32_t bsize = 2048u >> ((rctl & RCTL_BSIZE) >> RCTL_BSIZE_SHIFT);

	/* 13.4.22: with BSEX sixteen times as much, except for the first, which is reserved. */
	if ((rctl & RCTL_BSEX) && (rctl & RCTL_BSIZE))
		bsize *= 16;
	*p = (struct rx_pass){
		.d = d,
		.bsize = bsize,
		.fcs = rctl & RCTL_SECRC ? 0 : FCS_LEN,
		.max_len = rctl & (RCTL_LPE | RCTL_SBP) ? E1000_RX_MAX : E1000_RX_PLAIN_MAX,
		.vet = (uint16_t)d->reg[R_VET],
		.strip = d->reg[R_CTRL] & CTRL_VME,
		.small = d->reg[R_RSRPD],
		.sums = d->reg[R_RXCSUM] & (RXCSUM_PCSS | RXCSUM_IPOFL | RXCSUM_TUOFL),
	};
}

/* How many frames are done, from the front. */
static int rx_burst(struct e1000 *d, const struct twx_frame *frames, int n)
{
	struct rx_pass p;
	uint32_t before, low, causes;
	int i = 0;

	rx_pass_begin(&p, d);
	if (unlikely(!rx_ring(&p)))
		return 0;
	before = p.avail;
	while (i < n && rx_frame(&p, &frames[i]))
		i++;
	d->reg[R_RDH] = p.head;
	low = p.n >> (1 + ((d->reg[R_RCTL] & RCTL_RDMTS) >> RCTL_RDMTS_SHIFT));
	causes = p.causes | (p.any ? ICR_RXT0 : 0);
	if (before > low && p.avail <= low)
		causes |= ICR_RXDMT0;
	if (causes)
		e1000_cause_rx(d, causes);
	return i;
}

/* --- the core's side --- */

/* Frames that come now are nobody's. */
static bool rx_closed(const struct e1000 *d)
{
	return !(d->reg[R_RCTL] & RCTL_EN) || !d->pci.dma_on || !(d->reg[R_STATUS] & STATUS_LU) ||
	       e1000_phy_loopback(d);
}

/* RDT may be a late write (PCI_ZONE_LAZY) of a driver that from now on only looks at memory. */
static void rx_ask(struct e1000 *d)
{
	if (!pci_hurry(&d->pci))
		return;
	twx_timer_set(&d->rx.hurry, twx_loop_now(d->pci.loop) + d->rx.patience);
}

void e1000_rx_hurry(struct twx_timer *t)
{
	struct e1000 *d = container_of(t, struct e1000, rx.hurry);

	if (!d->rx.starved || !d->pci.running)
		return;
	d->rx.patience = min(2 * d->rx.patience, HURRY_MAX_NS);
	rx_ask(d);
}

int e1000_rx_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	struct e1000 *d = e1000_of(port);
	int done;

	if (unlikely(!d->pci.running)) {
		d->rx.starved = true;
		return 0;
	}
	if (unlikely(rx_closed(d))) {
		for (int i = 0; i < n; i++)
			twx_port_drop(port, TWX_DROP_NO_BUFFER, frames[i].len);
		return n;
	}
	done = rx_burst(d, frames, n);
	if (unlikely(done < n)) {
		e1000_count(d, STAT_RNBC);
		d->rx.starved = true;
		d->rx.patience = HURRY_NS;
		rx_ask(d);
	}
	return done;
}

static void rx_loop_burst(struct e1000 *d, const struct twx_frame *frames, int n)
{
	int done = rx_burst(d, frames, n);
	struct rx_pass p = { .d = d };

	for (; done < n; done++)
		rx_overrun(&p, frames[done].len);
}

/* Whatever the core does before a receiver, for a frame that does not pass it. */
static void rx_loop_finish(struct e1000 *d, struct offload *o, const struct twx_frame *f)
{
	struct twx_counters ignored = { 0 };
	int verdict = offload_check(f, &d->port->caps);

	if (verdict == OFFLOAD_AS_IS) {
		rx_loop_burst(d, f, 1);
		return;
	}
	offload_reset(o);
	if (verdict < 0 || !offload_begin(o, f, 0, &d->port->caps, 0, &ignored)) {
		twx_port_drop(d->port, verdict < 0 ? offload_drop_cause(verdict) : TWX_DROP_LIMIT,
			      f->len);
		return;
	}
	for (bool last = false; !last; offload_reset(o)) {
		last = offload_emit(o);
		rx_loop_burst(d, o->out, o->n);
	}
}

void e1000_rx_loopback(struct e1000 *d, const struct twx_frame *frames, int n)
{
	struct offload *o;

	if (!(d->reg[R_RCTL] & RCTL_EN) || !d->pci.dma_on)
		return;
	/* For diagnosis only, so that nothing is kept for it. */
	o = calloc(1, sizeof(*o));
	for (int i = 0; o && i < n; i++)
		rx_loop_finish(d, o, &frames[i]);
	free(o);
}

void e1000_rx_config(struct e1000 *d)
{
	struct twx_caps caps = { .flags = TWX_CAP_CSUM };

	/* The frame's length is judged here, where ROC counts it. */
	if ((d->reg[R_CTRL] & CTRL_VME) && SIXTEEN(d->reg[R_VET]) == PACKET_ETH_VLAN)
		caps.flags |= TWX_CAP_VLAN;
	twx_port_set_caps(d->port, caps);
	e1000_rx_refill(d);
}

/* Whether there is anything to deliver to is found out by delivering. */
void e1000_rx_refill(struct e1000 *d)
{
	if (likely(!d->rx.starved))
		return;
	d->rx.ready = true;
	e1000_defer(d);
}

void e1000_rx_poll(struct e1000 *d)
{
	if (!d->rx.ready)
		return;
	d->rx.ready = d->rx.starved = false;
	twx_port_ready(d->port);
}
