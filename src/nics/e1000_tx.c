/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * e1000, guest to host: the ring (8254x manual, 3.3 to 3.5).
 *
 * A doorbell (TDT) runs bursts: up to E1000_TX_BATCH descriptors are copied from the ring at once,
 * made into up to TWX_BURST frames (headers copied, payload described where it lies;
 * e1000_tx_frame.c, e1000_tx_tso.c), sent by one twx_port_send(), and only then is TDH moved and DD
 * written where RS or RPS asked for it. One TXDW and one TXQE for all of it.
 *
 * What the peer does not take stays in the ring: each frame of a burst has a mark (descriptor,
 * bytes of it, contexts, segments sent), and TDH goes back to the mark of the first that was
 * refused. Nothing is kept that a reset or a new memory map would leave dangling. But a wire never
 * refuses for long: a driver takes a ring that stands still for a broken card and resets it (Linux
 * after a second). So after E1000_TX_PATIENCE_MS frames go into the peer's queue, which drops what
 * is too much, until it takes frames again.
 *
 * A frame without EOP when the ring is empty has been consumed all the same, as the chip does; its
 * bytes move to data[], which is part of the state, as is a TSO frame of which segments have been
 * sent. A driver that moves TDH meanwhile (it set the ring up anew) has given that frame up.
 *
 * Bounds: E1000_TX_FRAMES, E1000_TX_SEGMENTS and E1000_TX_DESCRIPTORS a pass, the next one by the
 * device's task behind the other ports. A tail or a head outside of the ring means that there is
 * nothing to do.
 *
 * Differences from QEMU: TXQE only when the ring has been emptied; the legacy checksum request (IC)
 * and padding (PSP) are obeyed; a descriptor of a reserved type is passed over; a frame is of the
 * kind that its first descriptor says, under the context of that moment. IFCS is ignored, as there.
 */
#include "nics/e1000_tx.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "base/loop_shared.h"
#include "base/macros.h"

#define DESC_LEN 16u
#define QUICK_MIN 60
#define QUICK_MAX 16384 /* longer than any Ethernet frame: by the way that minds everything */
#define SIXTEEN(v) ((v)&0xffff)

/* --- gathering --- */

static inline uint8_t txd_type(const union e1000_txd *t)
{
	return t->legacy.cso >> 4; /* DTYP, in a descriptor with DEXT */
}

static inline uint32_t txd_len(const union e1000_txd *t)
{
	return t->legacy.cmd & TXD_DEXT ? le32_get(t->data.cmd) & 0xfffff : le16_get(t->legacy.len);
}

/* Keeps the compiler from reading guest memory again instead of the copy. */
static inline void tx_copied(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}

/* A frame's first bytes: 60 to TWX_HDR_ROOM of them, in pieces of fixed size. */
static inline void tx_copy_head(uint8_t *to, const uint8_t *from, uint32_t len)
{
	if (len <= 64) {
		memcpy(to, from, 32);
		memcpy(to + len - 32, from + len - 32, 32);
	} else if (len == TWX_HDR_ROOM) {
		memcpy(to, from, TWX_HDR_ROOM);
	} else {
		uint32_t off = 0;

		for (; off + 64 < len; off += 64)
			memcpy(to + off, from + off, 64);
		memcpy(to + len - 64, from + len - 64, 64);
	}
	tx_copied();
}

/* The one checksum request that drivers make: TCP or UDP, up to the frame's end. */
static inline bool tx_quick_checksum(const union e1000_txd *t, const union e1000_txd *ctx,
				     uint32_t len, struct twx_meta *meta)
{
	uint32_t start = ctx->context.tucss, off = (uint32_t)ctx->context.tucso - start;

	if (!t->data.popts)
		return true;
	if (t->data.popts != TXD_TXSM || le16_get(ctx->context.tucse) || start < TWX_FRAME_MIN ||
	    off > 16 || (off & 1) || start + off + 2 > min(len, (uint32_t)TWX_HDR_ROOM))
		return false;
	meta->flags = TWX_F_NEEDS_CSUM;
	meta->csum_start = (uint16_t)start;
	meta->csum_off = (uint16_t)off;
	return true;
}

/* A frame in one descriptor, without anything rare: most of them. */
static inline bool tx_quick(struct e1000 *d, const union e1000_txd *t)
{
	struct e1000_tx *tx = &d->tx;
	uint8_t cmd = t->legacy.cmd, *head = e1000_tx_head(tx);
	struct twx_frame *f = &tx->frames[tx->n_frames];
	struct e1000_tx_mark *m = &tx->marks[tx->n_frames];
	struct iovec *iov = &tx->iov[tx->n_iov];
	const uint8_t *p;
	uint32_t len, n;

	if ((cmd & (TXD_EOP | TXD_TSE | TXD_VLE)) != TXD_EOP)
		return false;
	len = txd_len(t);
	p = mem_hit(d->pci.mem, (gpa){ le64_get(t->legacy.addr) }, len);
	if (unlikely(!p || len - QUICK_MIN > QUICK_MAX - QUICK_MIN))
		return false;
	f->meta = (struct twx_meta){ 0 };
	if ((cmd & TXD_DEXT) &&
	    !tx_quick_checksum(t, tx->ctx_now[E1000_TX_CTX_PLAIN], len, &f->meta))
		return false;
	n = min(len, (uint32_t)TWX_HDR_ROOM);
	tx_copy_head(head, p, n);
	iov[0] = (struct iovec){ head, n };
	iov[1] = (struct iovec){ (uint8_t *)(uintptr_t)p + n, len - n };
	f->iov = iov;
	f->len = len;
	f->n_iov = len > n ? 2 : 1;
	*m = (struct e1000_tx_mark){ .ctx = { tx->ctx_now[0], tx->ctx_now[1] }, .desc = tx->i };
	tx->n_iov = (uint16_t)(tx->n_iov + f->n_iov);
	TWX_TRACE(d->port->trace, TWX_HOP_E1000_TX, d->port->name, len, 0);
	tx->n_frames++;
	return true;
}

static bool tx_has_room(const struct e1000_tx *tx)
{
	return tx->n_frames < TWX_BURST && tx->n_segs < E1000_TX_SEGMENTS &&
	       tx->n_iov + 1 + E1000_TX_PIECES <= E1000_TX_IOV;
}

static void tx_begin(struct e1000_tx *tx, const union e1000_txd *t)
{
	bool ext = t->legacy.cmd & TXD_DEXT, tso = ext && (t->legacy.cmd & TXD_TSE);

	tx->cur = (struct e1000_tx_open){
		.kind = tso ? E1000_TX_TSO : E1000_TX_PLAIN,
		.popts = ext ? t->data.popts : 0,
		.ctx = *tx->ctx_now[tso ? E1000_TX_CTX_TSO : E1000_TX_CTX_PLAIN],
	};
	tx->mark = (struct e1000_tx_mark){
		.ctx = { tx->ctx_now[0], tx->ctx_now[1] },
		.desc = tx->i,
	};
	tx->head_len = 0;
	tx->spilled = false;
}

/* The second half of beginning, for saved frames as well. */
static void tx_set_limit(struct e1000 *d)
{
	struct e1000_tx *tx = &d->tx;

	tx->cur_iov = tx->n_iov++;
	tx->limit = E1000_TX_PLAIN_MAX;
	tx->final = true;
	if (tx->cur.kind == E1000_TX_TSO)
		e1000_tx_tso_limit(d);
}

/* The next part of a TSO frame too long for one; its data begins @off bytes into the descriptor. */
static bool tx_next_part(struct e1000 *d, uint32_t off)
{
	struct e1000_tx *tx = &d->tx;
	uint32_t hdr_len = tx->cur.ctx.context.hdr_len;

	tx->cur.n_segs += tx->mark.segs;
	tx->cur.len = hdr_len;
	tx->mark.desc = tx->i;
	tx->mark.skip = off;
	tx->mark.n_segs = tx->cur.n_segs;
	tx->mark.saved = false;
	if (!tx_has_room(tx))
		return false;
	memcpy(e1000_tx_head(tx), tx->proto, hdr_len);
	tx->head_len = hdr_len;
	tx->spilled = false;
	tx_set_limit(d);
	return true;
}

static bool tx_end(struct e1000 *d, const union e1000_txd *t)
{
	struct e1000_tx *tx = &d->tx;
	bool ok;

	switch (tx->cur.kind) {
	case E1000_TX_PLAIN:
		ok = e1000_tx_plain(d, t);
		break;
	case E1000_TX_TSO:
		ok = e1000_tx_tso(d, true);
		break;
	case E1000_TX_BAD_META:
		ok = e1000_tx_drop(d, TWX_DROP_BAD_META);
		break;
	default:
		ok = e1000_tx_drop(d, TWX_DROP_BAD_CHAIN);
		break;
	}
	if (ok) {
		tx->cur.kind = E1000_TX_NONE;
		tx->n_iov = tx->cur_iov; /* a dropped frame's are free again */
	}
	return ok;
}

/* One descriptor of the current frame. False: the burst ends before the frame's mark. */
static bool tx_descriptor(struct e1000 *d, const union e1000_txd *t, uint32_t off)
{
	struct e1000_tx *tx = &d->tx;
	uint64_t addr = le64_get(t->legacy.addr);
	uint32_t len = txd_len(t);

	if ((t->legacy.cmd & TXD_VLE) && (d->reg[R_CTRL] & CTRL_VME)) {
		tx->cur.vle = 1;
		tx->cur.tci = le16_get(t->legacy.special);
	}
	while (off < len && tx->cur.kind < E1000_TX_BAD_META) {
		uint32_t room = tx->limit - min(tx->limit, tx->cur.len);
		uint32_t n = min(len - off, room);

		if (!e1000_tx_take(d, addr + off, n))
			return false;
		off += n;
		if (off == len || tx->cur.kind >= E1000_TX_BAD_META || tx->final)
			break;
		if (!e1000_tx_tso(d, false))
			return false;
		if (tx->cur.kind == E1000_TX_TSO && !tx_next_part(d, off))
			return false;
	}
	return !(t->legacy.cmd & TXD_EOP) || tx_end(d, t);
}

/* Goes on with the frame that the state holds. */
static void tx_continue(struct e1000 *d)
{
	struct e1000_tx *tx = &d->tx;

	tx->cur = tx->open;
	tx->mark = (struct e1000_tx_mark){
		.ctx = { tx->ctx_now[0], tx->ctx_now[1] },
		.skip = tx->skip,
		.n_segs = tx->open.n_segs,
		.saved = true,
	};
	/* A plain frame's sums may be written into its head before it spills, and data[] is what a
	 * refusal goes back to. */
	tx->spilled = tx->cur.kind == E1000_TX_PLAIN || tx->cur.len > e1000_tx_room(&tx->cur);
	tx->head_len = 0;
	if (!tx->spilled) {
		memcpy(e1000_tx_head(tx), tx->data, tx->cur.len);
		tx->head_len = tx->cur.len;
	}
	tx_set_limit(d);
}

static void tx_gather(struct e1000 *d)
{
	struct e1000_tx *tx = &d->tx;
	uint32_t skip = 0;

	if (tx->cur.kind)
		skip = tx->skip;
	for (; tx->i < tx->n_desc; tx->i++) {
		const union e1000_txd *t = &tx->desc[tx->i];

		if ((t->legacy.cmd & TXD_DEXT) && txd_type(t) != TXD_DTYP_DATA) {
			if (txd_type(t) == TXD_DTYP_CONTEXT)
				tx->ctx_now[t->legacy.cmd & TUCMD_TSE ? E1000_TX_CTX_TSO
								      : E1000_TX_CTX_PLAIN] = t;
			continue;
		}
		if (!tx->cur.kind) {
			if (unlikely(!tx_has_room(tx)))
				return;
			if (likely(tx_quick(d, t)))
				continue;
			tx_begin(tx, t);
			tx_set_limit(d);
		}
		if (!tx_descriptor(d, t, skip)) {
			tx->stopped = true;
			return;
		}
		skip = 0;
	}
}

/* --- the ring --- */

struct tx_ring {
	uint64_t base;
	uint32_t n, head, avail;
};

/* What the driver has offered; false if that is nothing. */
static bool tx_ring(const struct e1000 *d, struct tx_ring *r)
{
	uint32_t tail = SIXTEEN(d->reg[R_TDT]);

	r->base = ((uint64_t)d->reg[R_TDBAH] << 32 | d->reg[R_TDBAL]) & ~(uint64_t)(DESC_LEN - 1);
	r->n = (d->reg[R_TDLEN] & 0xfff80) / DESC_LEN;
	r->head = SIXTEEN(d->reg[R_TDH]);
	if (r->head >= r->n || tail >= r->n)
		return false;
	r->avail = tail >= r->head ? tail - r->head : r->n - r->head + tail;
	return r->avail;
}

static bool tx_fetch(struct e1000 *d, const struct tx_ring *r)
{
	struct e1000_tx *tx = &d->tx;
	uint32_t n = min(r->avail, (uint32_t)E1000_TX_BATCH), here = min(n, r->n - r->head);

	if (pci_dma_read(&d->pci, (gpa){ r->base + r->head * DESC_LEN }, tx->desc,
			 here * DESC_LEN) < 0 ||
	    (here < n &&
	     pci_dma_read(&d->pci, (gpa){ r->base }, tx->desc + here, (n - here) * DESC_LEN) < 0))
		return false;
	tx_copied();
	tx->n_desc = (uint16_t)n;
	return true;
}

/* What a pass has done, for the interrupt at its end. */
struct tx_pass {
	uint32_t frames, segments, descriptors;
	uint32_t pending; /* descriptors before it */
	bool reported;	  /* DD was written */
	bool at_once;	  /* a descriptor with RS did not ask for a delay */
};

/* Writes DD to @n descriptors of the batch, from @from on, which lie at @addr. */
static void tx_write_back(struct e1000 *d, struct tx_pass *pass, uint64_t addr, uint32_t from,
			  uint32_t n)
{
	uint8_t *ring = pci_dma_ptr(&d->pci, (gpa){ addr }, (uint64_t)n * DESC_LEN);
	const union e1000_txd *t = &d->tx.desc[from];

	/* Before DD, the data has been read: the driver takes its buffers back. */
	atomic_thread_fence(memory_order_release);
	for (uint32_t i = 0; i < n; i++) {
		uint8_t status = (t[i].legacy.status & 0xf0) | TXD_DD;
		uint32_t at = i * DESC_LEN + (uint32_t)offsetof(union e1000_txd, legacy.status);

		if (!(t[i].legacy.cmd & (TXD_RS | TXD_RPS)))
			continue;
		pass->reported = true;
		pass->at_once |= !(t[i].legacy.cmd & TXD_IDE);
		if (likely(ring != NULL))
			__atomic_store_n(ring + at, status, __ATOMIC_RELAXED);
		else
			pci_dma_write(&d->pci, (gpa){ addr + at }, &status, 1);
	}
	if (ring)
		mem_dirty(d->pci.mem, ring, (uint64_t)n * DESC_LEN);
}

/* Frames before @done are the peer's. */
static void tx_count(struct e1000 *d, unsigned int done)
{
	const struct e1000_tx *tx = &d->tx;

	for (unsigned int i = 0; i < done; i++) {
		const struct twx_frame *f = &tx->frames[i];
		const struct e1000_tx_mark *m = &tx->marks[i];
		uint32_t tag = f->meta.flags & TWX_F_VLAN ? 4 : 0;

		if (likely(!m->segs))
			e1000_count_tx(d, tx->heads[i], f->len + tag);
		else
			e1000_count_tso(d, tx->heads[i], f->meta.hdr_len + f->meta.gso_size + tag,
					m->last + tag, m->segs);
	}
}

/* The state as it is when the ring goes on at @m; false if that is where it was. */
static void tx_go_back(struct e1000_tx *tx, const struct e1000_tx_mark *m)
{
	tx->skip = m->skip;
	if (m->saved)
		return;
	tx->open.kind = E1000_TX_NONE;
	if (!m->n_segs)
		return;
	tx->open = tx->proto_open;
	tx->open.n_segs = m->n_segs;
	tx->open.len = tx->open.ctx.context.hdr_len;
	memcpy(tx->data, tx->proto, tx->open.len);
}

/* All frames are sent; the one that has begun goes on later, without its descriptors. */
static void tx_save_open(struct e1000 *d)
{
	struct e1000_tx *tx = &d->tx;

	if (tx->cur.kind == E1000_TX_PLAIN || tx->cur.kind == E1000_TX_TSO)
		e1000_tx_keep(d, tx->data);
	tx->open = tx->cur;
	tx->skip = 0;
}

/* Which lie among the descriptors, or are those of before. */
static void tx_keep_contexts(struct e1000_tx *tx, const union e1000_txd *const now[2])
{
	union e1000_txd ctx[2] = { *now[0], *now[1] };

	if (now[0] != &tx->ctx[0] || now[1] != &tx->ctx[1])
		tx->ctx_last = now[0] == &tx->ctx[0] || (now[1] != &tx->ctx[1] && now[1] > now[0]);
	memcpy(tx->ctx, ctx, sizeof(ctx));
}

/*
 * Brings the state to where the burst has got. @more: the batch is not all that the ring has, so a
 * frame that it cuts in two can as well be fetched again. How many descriptors are done.
 */
static uint32_t tx_settle(struct e1000 *d, unsigned int done, bool more)
{
	struct e1000_tx *tx = &d->tx;
	const struct e1000_tx_mark *m = NULL;
	uint32_t n = tx->i;

	if (done < tx->n_frames)
		m = &tx->marks[done];
	else if (tx->stopped || (tx->cur.kind && more && tx->mark.desc && !tx->mark.n_segs))
		m = &tx->mark;
	if (m) {
		tx_go_back(tx, m);
		n = m->desc;
	} else {
		tx_save_open(d);
	}
	tx_keep_contexts(tx, m ? m->ctx : tx->ctx_now);
	return n;
}

/* 13.4.22 RCTL.LBM, or the PHY's own loopback. */
static bool tx_loops(const struct e1000 *d)
{
	return (d->reg[R_RCTL] & RCTL_LBM) || e1000_phy_loopback(d);
}

/* Hands the frames on; how many are done. */
static unsigned int tx_send(struct e1000 *d)
{
	struct e1000_tx *tx = &d->tx;
	unsigned int done;

	/* Nothing leaves that was read from memory that is gone; nor will its owner miss it. */
	if (!tx->n_frames ||
	    unlikely(atomic_load_explicit(&d->pci.mem->lost, memory_order_relaxed)))
		return tx->n_frames;
	if (unlikely(tx_loops(d))) {
		e1000_rx_loopback(d, tx->frames, tx->n_frames);
		return tx->n_frames;
	}
	if (unlikely(tx->posting)) {
		twx_port_post(d->port, tx->frames, tx->n_frames);
		return tx->n_frames;
	}
	tx->resumed = false;
	done = (unsigned int)twx_port_send(d->port, tx->frames, tx->n_frames);
	tx->blocked = done < tx->n_frames && !tx->resumed;
	return done;
}

/* One burst; false if it has brought nothing forward. */
static bool tx_burst(struct e1000 *d, struct tx_pass *pass)
{
	struct e1000_tx *tx = &d->tx;
	uint32_t n, here;
	unsigned int done;
	struct tx_ring r;

	if (!tx_ring(d, &r) || !tx_fetch(d, &r))
		return false;
	if (unlikely(tx->open.kind && tx->head != r.head))
		tx->open.kind = E1000_TX_NONE;
	tx->i = tx->n_frames = tx->n_iov = tx->cur_iov = 0;
	tx->n_segs = 0;
	tx->data_used = tx->proto_used = tx->stopped = false;
	tx->cur.kind = E1000_TX_NONE;
	tx->ctx_now[0] = &tx->ctx[0];
	tx->ctx_now[1] = &tx->ctx[1];
	if (unlikely(tx->open.kind))
		tx_continue(d);
	tx_gather(d);
	done = tx_send(d);
	tx_count(d, done);
	n = tx_settle(d, done, tx->n_desc < r.avail);
	here = min(n, r.n - r.head);
	if (here)
		tx_write_back(d, pass, r.base + r.head * DESC_LEN, 0, here);
	if (here < n)
		tx_write_back(d, pass, r.base, here, n - here);
	tx->head = (uint16_t)(r.head + n < r.n ? r.head + n : r.head + n - r.n);
	d->reg[R_TDH] = tx->head;
	pass->frames += tx->n_frames;
	pass->segments += tx->n_segs;
	pass->descriptors += n;
	return n || done;
}

static void tx_interrupt(struct e1000 *d, const struct tx_pass *pass)
{
	uint32_t causes = pass->reported ? ICR_TXDW : 0, low = d->reg[R_TXDCTL] >> 25, left;
	struct tx_ring r;

	left = tx_ring(d, &r) ? r.avail : 0;
	if (!left)
		causes |= ICR_TXQE;
	/* 13.4.44 TXDCTL.LWTHRESH, in units of eight descriptors. */
	if (low && pass->pending >= 8 * low && left < 8 * low)
		causes |= ICR_TXD_LOW;
	if (causes)
		e1000_cause_tx(d, causes, !pass->at_once);
}

static bool tx_may_run(const struct e1000 *d)
{
	return !d->tx.blocked && d->pci.dma_on && (d->reg[R_TCTL] & TCTL_EN);
}

static void tx_run(struct e1000 *d)
{
	struct tx_pass pass = { 0 };
	struct tx_ring r;
	bool more = true;

	/* A resume from within a send ends up here again; the outer run goes on. */
	if (d->tx.running)
		return;
	d->tx.running = true;
	pass.pending = tx_ring(d, &r) ? r.avail : 0;
	while (more && tx_may_run(d) && pass.frames < E1000_TX_FRAMES &&
	       pass.segments < E1000_TX_SEGMENTS && pass.descriptors < E1000_TX_DESCRIPTORS)
		more = tx_burst(d, &pass);
	d->tx.running = false;
	if (pass.descriptors)
		tx_interrupt(d, &pass);
	d->tx.more = more && tx_may_run(d);
	if (d->tx.more)
		e1000_defer(d);
	if (unlikely(d->tx.blocked)) {
		d->tx.deadline = e1000_now(d) + E1000_TX_PATIENCE_MS * 1000000ull;
		e1000_tx_wait(d);
	}
}

void e1000_tx_wait(struct e1000 *d)
{
	if (d->tx.blocked)
		e1000_timer_set(d, &d->tx.patience, d->tx.deadline);
}

void e1000_tx_impatient(struct twx_timer *t)
{
	struct e1000 *d = container_of(t, struct e1000, tx.patience);

	d->tx.blocked = false;
	d->tx.posting = true;
	tx_run(d);
}

/* It takes frames, or there is another state of affairs altogether. */
static void tx_unblock(struct e1000 *d)
{
	d->tx.blocked = d->tx.posting = false;
	twx_timer_cancel(&d->tx.patience);
}

void e1000_tx_start(struct e1000 *d)
{
	TWX_TRACE(d->port->trace, TWX_HOP_E1000_TDT, d->port->name, 0, SIXTEEN(d->reg[R_TDT]));
	if (d->tx.blocked)
		return;
	/* A CPU that writes the tail does not make the peer's system calls. */
	if (loop_is_entered(d->pci.loop)) {
		d->tx.more = true;
		e1000_defer(d);
	} else {
		tx_run(d);
	}
}

void e1000_tx_poll(struct e1000 *d)
{
	if (d->tx.more)
		tx_run(d);
}

void e1000_tx_resume(struct twx_port *port)
{
	struct e1000 *d = e1000_of(port);

	tx_unblock(d);
	d->tx.resumed = true;
	tx_run(d);
}

/* --- reset and state --- */

void e1000_tx_reset(struct e1000 *d)
{
	struct e1000_tx *tx = &d->tx;

	memset(tx->ctx, 0, sizeof(tx->ctx));
	tx->ctx_last = 0;
	memset(&tx->open, 0, sizeof(tx->open));
	tx->skip = tx->head = 0;
	tx->more = false;
	tx_unblock(d);
}

void e1000_tx_loaded(void *obj)
{
	struct e1000 *d = obj;

	tx_unblock(d);
	d->tx.more = true;
	e1000_defer(d);
}
