/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-net, guest to host.
 *
 * A doorbell takes chains in bursts of up to TWX_BURST: header translated, the frame's first bytes
 * copied, the rest described where it lies in guest memory; one twx_port_send(); what is done is
 * handed back in order and published once. What the peer did not take goes back into the ring
 * (vq_unpop() moves a cursor) and is read anew at resume: nothing is kept that a stop or a new
 * memory table would leave dangling.
 *
 * Doorbells cost a guest an exit (some 10 us under tcg), so they stay off from the first one until
 * the ring was found empty twice: by the doorbell's callback, and by the pair's task at the round's
 * end, when other work has given the guest time to add more. Each of these passes takes
 * x-txburst frames, or fewer that ask to be cut into VNET_TX_SEGMENTS; while there are more,
 * the task comes back in the next round, behind the other ports.
 */
#include "nics/virtio_net.h"

#include <errno.h>
#include <string.h>

#include "base/iov.h"
#include "base/macros.h"

#define TX_GOOD TWX_N_DROPS

/* Reads the header once; the barrier keeps later uses off guest memory. */
static void tx_header(const struct vnet *vn, const struct iovec *iov, unsigned int n,
		      struct vnet_hdr *hdr)
{
	if (likely(iov[0].iov_len >= VNET_HDR_MAX))
		memcpy(hdr, iov[0].iov_base, VNET_HDR_MAX);
	else
		iov_copy_from(iov, n, 0, hdr, vn->hdr_len);
	__asm__ volatile("" : "+m"(*hdr));
}

static inline void tx_skip(struct iovec **iov, size_t *n, size_t len)
{
	if (likely((*iov)->iov_len > len)) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + len;
		(*iov)->iov_len -= len;
	} else if ((*iov)->iov_len == len) {
		(*iov)++;
		(*n)--;
	} else {
		iov_skip(iov, n, len);
	}
}

/* Copies the first @len bytes off the front of the list. */
static void tx_take(struct iovec **iov, size_t *n, uint8_t *to, size_t len)
{
	if (likely((*iov)->iov_len >= len))
		memcpy(to, (*iov)->iov_base, len);
	else
		iov_copy_from(*iov, *n, 0, to, len);
	tx_skip(iov, n, len);
}

/*
 * Makes a frame of a chain. @iov has one free element before it: the private head goes in front of
 * what is left of the guest's. Returns the reason to drop, or TX_GOOD.
 */
static enum twx_drop tx_frame(struct vnet_pair *p, const struct vq_chain *c, struct iovec *iov,
			      uint8_t *head, struct twx_frame *f)
{
	const struct vnet *vn = p->vn;
	struct vnet_hdr hdr = { 0 };
	size_t n = c->n_out, copy;
	uint32_t len;

	if (unlikely(c->out_len < vn->hdr_len))
		return TWX_DROP_BAD_CHAIN;
	len = c->out_len - vn->hdr_len;
	if (unlikely(len < TWX_FRAME_MIN))
		return TWX_DROP_TOO_SHORT;
	tx_header(vn, iov, c->n_out, &hdr);
	if (unlikely(!vnet_hdr_to_meta(&hdr, vn->dev.features, len, &f->meta)))
		return TWX_DROP_BAD_META;
	tx_skip(&iov, &n, vn->hdr_len);
	copy = len <= VNET_TX_COPY ? len : TWX_HDR_ROOM;
	tx_take(&iov, &n, head, copy);
	if (copy == len)
		n = 0;
	iov--;
	iov->iov_base = head;
	iov->iov_len = copy;
	f->iov = iov;
	f->n_iov = (uint32_t)n + 1;
	f->len = len;
	return TX_GOOD;
}

/* Takes one more chain into the burst; false when there is none or no room. */
static bool tx_gather_one(struct vnet_pair *p)
{
	struct vnet_tx *tx = &p->tx;
	struct iovec *iov = tx->iov + tx->n_iov + 1;
	enum twx_drop cause = TWX_DROP_BAD_CHAIN;
	struct vq_chain c;
	int rc;

	if (tx->n_iov >= VQ_MAX_IOV)
		return false;
	rc = vq_pop(p->txq, &c, iov, VQ_MAX_IOV - tx->n_iov);
	if (rc == 0 || rc == -E2BIG)
		return false;
	tx->elems[tx->n_elems] = c.elem;
	if (likely(rc > 0))
		cause = tx_frame(p, &c, iov, tx->heads[tx->n_frames], &tx->frames[tx->n_frames]);
	TWX_TRACE(p->port->trace, TWX_HOP_TX_POP, p->port->name, c.out_len, c.n_out);
	if (likely(cause == TX_GOOD)) {
		const struct twx_frame *f = &tx->frames[tx->n_frames];

		tx->n_iov = (uint16_t)(f->iov + f->n_iov - tx->iov);
		if (f->meta.gso && f->meta.gso_size)
			tx->n_segs += f->len / f->meta.gso_size;
		tx->elem_of[tx->n_frames++] = (uint8_t)tx->n_elems;
	} else {
		twx_port_drop(p->port, cause, c.out_len);
	}
	tx->n_elems++;
	return true;
}

/* Sees to it that `info` shows who sends here, also when the front end keeps the MAC to itself. */
static void tx_learn(struct vnet_pair *p, const struct twx_frame *f)
{
	const uint8_t *src = (const uint8_t *)f->iov[0].iov_base + 6;

	if (unlikely(memcmp(p->learned, src, 6)) && !(src[0] & 1)) {
		memcpy(p->learned, src, 6);
		p->learned_valid = true;
	}
}

/* Hands back what is done, and the rest into the ring. */
static void tx_finish(struct vnet_pair *p, unsigned int done)
{
	struct vnet_tx *tx = &p->tx;
	unsigned int n = done == tx->n_frames ? tx->n_elems : tx->elem_of[done];

	for (unsigned int i = 0; i < n; i++)
		vq_push(p->txq, &tx->elems[i], 0);
	for (unsigned int i = tx->n_elems; i > n; i--)
		vq_unpop(p->txq, &tx->elems[i - 1]);
	if (n) {
		vq_publish(p->txq);
		TWX_TRACE(p->port->trace, TWX_HOP_USED, p->port->name, 0, n);
	}
}

/* One burst of at most @max frames; how many chains left the ring. */
static unsigned int tx_burst(struct vnet_pair *p, unsigned int max)
{
	struct vnet_tx *tx = &p->tx;
	unsigned int done = 0;

	tx->n_elems = tx->n_frames = tx->n_iov = 0;
	tx->n_segs = 0;
	while (tx->n_elems < max && tx->n_segs < VNET_TX_SEGMENTS && tx_gather_one(p))
		;
	if (!tx->n_elems)
		return 0;
	/* Nothing leaves that was read from memory that is gone; nor will its owner miss it. */
	if (likely(tx->n_frames &&
		   !atomic_load_explicit(&p->vn->dev.mem->lost, memory_order_relaxed))) {
		tx_learn(p, &tx->frames[0]);
		tx->resumed = false;
		done = (unsigned int)twx_port_send(p->port, tx->frames, tx->n_frames);
		tx->blocked = done < tx->n_frames && !tx->resumed;
	}
	tx_finish(p, done);
	return tx->n_elems;
}

/* True if the budget ran out before the ring did. */
static bool tx_run(struct vnet_pair *p)
{
	unsigned int budget = p->vn->tx_budget;
	uint32_t segments = VNET_TX_SEGMENTS;

	/* A resume from within a send ends up here again; the outer run goes on. */
	if (p->tx.running)
		return false;
	p->tx.running = true;
	while (budget && segments && !p->tx.blocked && vq_ready(p->txq)) {
		unsigned int n = tx_burst(p, min(budget, (unsigned int)TWX_BURST));

		if (!n)
			break;
		budget -= n;
		segments -= min(segments, p->tx.n_segs);
	}
	p->tx.running = false;
	return !budget || !segments;
}

static void tx_work(struct vnet_pair *p)
{
	vq_notify_disable(p->txq);
	tx_run(p);
	p->tx.polling = true;
	vnet_defer(p);
}

/* With tx=timer the first doorbell only starts the clock; a second one says that it is urgent. */
void vnet_tx_kick(struct vnet_pair *p)
{
	p->port->count.kicks++;
	if (p->tx.blocked || !vq_ready(p->txq))
		return;
	if (unlikely(p->vn->tx_delay && !p->tx_timer.slot && !p->tx.polling)) {
		vq_notify_disable(p->txq);
		twx_timer_set(&p->tx_timer, twx_loop_now(p->port->loop) + p->vn->tx_delay);
		return;
	}
	twx_timer_cancel(&p->tx_timer);
	tx_work(p);
}

void vnet_tx_due(struct twx_timer *t)
{
	struct vnet_pair *p = container_of(t, struct vnet_pair, tx_timer);

	if (!p->tx.blocked && vq_ready(p->txq))
		tx_work(p);
}

void vnet_tx_poll(struct vnet_pair *p)
{
	if (!p->tx.polling)
		return;
	if (!tx_run(p) && (p->tx.blocked || !vq_notify_enable(p->txq))) {
		/* While blocked, doorbells stay off: resume looks by itself. */
		p->tx.polling = false;
		return;
	}
	vq_notify_disable(p->txq);
	vnet_defer(p);
}

void vnet_tx_resume(struct twx_port *port)
{
	struct vnet_pair *p = vnet_pair(port);

	p->tx.blocked = false;
	p->tx.resumed = true;
	if (!vq_ready(p->txq))
		return;
	tx_run(p);
	p->tx.polling = true;
	vnet_defer(p);
}

void vnet_tx_stop(struct vnet_pair *p)
{
	p->tx.blocked = false;
	p->tx.polling = false;
	twx_timer_cancel(&p->tx_timer);
}
