/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-net, host to guest.
 *
 * Chains are fetched ahead into vnet_rx (checked and translated once) and used from its front, by
 * receive(), which copies a burst, or by a lease, whose iovecs lead behind the first chain's
 * header. An abort, or a commit of less than was lent, only leaves chains at the front: the next
 * lease finds them translated. A new memory table changes the queue's epoch, and then what was
 * fetched goes back.
 *
 * With mergeable buffers a frame takes as many chains as it needs, up to VNET_RX_BUFS; without, a
 * chain that is too small stays where it is and the frame is dropped (NO_BUFFER). A frame that the
 * guest's whole ring cannot hold is dropped too: waiting would never end.
 *
 * Short of buffers: the doorbell is switched on, the ring looked at once more, then the port is
 * busy until the doorbell rings (vnet_rx_kick). A buffer shorter than the header breaks the queue
 * (5.1.6.3.1).
 */
#include "nics/virtio_net.h"

#include <errno.h>
#include <string.h>

#include "base/iov.h"
#include "base/macros.h"

#define RX_FETCH 64 /* chains fetched at once */

enum rx_room {
	RX_FITS,
	RX_WAIT,  /* the guest has to add buffers first */
	RX_NEVER, /* more buffers would not help */
};

static void rx_give_back(struct vnet_pair *p)
{
	struct vnet_rx *rx = &p->rx;

	while (rx->tail > rx->head)
		vq_unpop(p->rxq, &rx->bufs[--rx->tail].elem);
	rx->head = rx->tail = rx->ihead = rx->itail = 0;
	rx->bytes = 0;
}

/* Moves what is there to the front of both arrays when the room behind it runs out. */
static void rx_compact(struct vnet_rx *rx)
{
	uint16_t n = (uint16_t)(rx->tail - rx->head), ni = (uint16_t)(rx->itail - rx->ihead);

	if (rx->head == 0)
		return;
	memmove(rx->bufs, rx->bufs + rx->head, n * sizeof(rx->bufs[0]));
	memmove(rx->iov, rx->iov + rx->ihead, ni * sizeof(rx->iov[0]));
	rx->head = rx->ihead = 0;
	rx->tail = n;
	rx->itail = ni;
}

/* Fetches up to RX_FETCH more chains: 1 if any came, 0: ring empty, -ENOSPC: we are full. */
static int rx_fetch(struct vnet_pair *p)
{
	struct vnet_rx *rx = &p->rx;
	unsigned int got = 0;
	struct vq_chain c;
	int rc = 1;

	if (rx->tail + RX_FETCH > VNET_RX_BUFS || rx->itail > VQ_MAX_IOV / 2)
		rx_compact(rx);
	if (rx->tail == VNET_RX_BUFS)
		return -ENOSPC;
	while (got < RX_FETCH && rx->tail < VNET_RX_BUFS) {
		rc = vq_pop(p->rxq, &c, rx->iov + rx->itail, (unsigned int)VQ_MAX_IOV - rx->itail);
		if (rc <= 0)
			break;
		/* Only the device writes here; what the guest put in front is nobody's. */
		if (unlikely(c.n_out))
			memmove(rx->iov + rx->itail, rx->iov + rx->itail + c.n_out,
				c.n_in * sizeof(rx->iov[0]));
		if (unlikely(c.in_len < p->vn->hdr_len)) {
			rc = -EINVAL;
			break;
		}
		rx->bufs[rx->tail++] = (struct vnet_buf){ c.elem, c.n_in, c.in_len };
		rx->itail = (uint16_t)(rx->itail + c.n_in);
		rx->bytes += c.in_len;
		got++;
	}
	if (unlikely(rc < 0 && rc != -E2BIG)) {
		vq_unpop(p->rxq, &c.elem);
		vq_break(p->rxq);
	}
	return got ? 1 : rc == -E2BIG ? -ENOSPC : 0;
}

/* Sees to it that the front holds @need bytes, header included. */
static enum rx_room rx_gather(struct vnet_pair *p, uint64_t need)
{
	struct vnet_rx *rx = &p->rx;
	int rc;

	if (unlikely(rx->epoch != p->rxq->epoch)) {
		rx_give_back(p);
		rx->epoch = p->rxq->epoch;
	}
	if (!p->vn->mergeable) {
		if (rx->head == rx->tail && rx_fetch(p) <= 0)
			return RX_WAIT;
		return rx->bufs[rx->head].len >= need ? RX_FITS : RX_NEVER;
	}
	while (rx->bytes < need) {
		rc = rx_fetch(p);
		if (rc > 0)
			continue;
		/* All slots of the ring are here: the guest has nothing to add. */
		if (rc == -ENOSPC || vq_all_taken(p->rxq))
			return RX_NEVER;
		return RX_WAIT;
	}
	return RX_FITS;
}

/* The same, after a last look at the ring with the doorbell on. */
static enum rx_room rx_wait(struct vnet_pair *p, uint64_t need)
{
	enum rx_room room = rx_gather(p, need);

	if (likely(room != RX_WAIT))
		return room;
	while (vq_notify_enable(p->rxq)) {
		room = rx_gather(p, need);
		if (room != RX_WAIT) {
			vq_notify_disable(p->rxq);
			return room;
		}
	}
	p->rx.starved = true;
	return RX_WAIT;
}

/* Chains at the front that hold @total bytes, which are there. */
static unsigned int rx_count(const struct vnet_rx *rx, uint32_t total)
{
	unsigned int n = 0;

	for (uint32_t have = 0; have < total; n++)
		have += rx->bufs[rx->head + n].len;
	return n;
}

/* Hands the first @n chains back to the guest with @total bytes written in them. */
static void rx_consume(struct vnet_pair *p, unsigned int n, uint32_t total)
{
	struct vnet_rx *rx = &p->rx;

	for (unsigned int i = 0; i < n; i++) {
		const struct vnet_buf *b = &rx->bufs[rx->head];
		uint32_t here = min(b->len, total);

		vq_push(p->rxq, &b->elem, here);
		total -= here;
		rx->bytes -= b->len;
		rx->ihead = (uint16_t)(rx->ihead + b->n_iov);
		rx->head++;
	}
	if (rx->head == rx->tail)
		rx->head = rx->tail = rx->ihead = rx->itail = 0;
}

static void rx_dirty(struct vnet_pair *p, uint32_t total)
{
	struct mem_map *m = p->vn->dev.mem;

	for (const struct iovec *v = p->rx.iov + p->rx.ihead; total; v++) {
		uint32_t here = v->iov_len < total ? (uint32_t)v->iov_len : total;

		mem_dirty(m, v->iov_base, here);
		total -= here;
	}
}

static void rx_publish(struct vnet_pair *p, unsigned int n)
{
	if (!n)
		return;
	vq_publish(p->rxq);
	TWX_TRACE(p->port->trace, TWX_HOP_USED, p->port->name, 0, n);
	vnet_defer(p);
}

/* Where the next byte of a frame goes. */
struct rx_cursor {
	const struct iovec *iov;
	size_t off;
};

static void rx_put(struct rx_cursor *to, const uint8_t *from, size_t len)
{
	while (len) {
		size_t room = to->iov->iov_len - to->off;
		size_t here = min(room, len);

		memcpy((uint8_t *)to->iov->iov_base + to->off, from, here);
		from += here;
		len -= here;
		to->off += here;
		if (to->off == to->iov->iov_len) {
			to->iov++;
			to->off = 0;
		}
	}
}

/* Copies one frame that fits; how many chains it took. */
static unsigned int rx_copy(struct vnet_pair *p, const struct twx_frame *f)
{
	uint32_t total = p->vn->hdr_len + f->len;
	struct vnet_rx *rx = &p->rx;
	struct rx_cursor to = { .iov = rx->iov + rx->ihead };
	unsigned int n = rx_count(rx, total);
	struct vnet_hdr hdr;

	vnet_hdr_from_meta(&hdr, &f->meta, (uint16_t)n);
	rx_put(&to, (const uint8_t *)&hdr, p->vn->hdr_len);
	for (uint32_t i = 0; i < f->n_iov; i++)
		rx_put(&to, f->iov[i].iov_base, f->iov[i].iov_len);
	if (unlikely(p->vn->dev.mem->log != NULL))
		rx_dirty(p, total);
	rx_consume(p, n, total);
	TWX_TRACE(p->port->trace, TWX_HOP_RX_COPY, p->port->name, f->len, n);
	return n;
}

/* Whether frames are taken at all now. Those that come while a lease is out wait for its end. */
static bool rx_open(struct vnet_pair *p)
{
	if (!p || !vq_ready(p->rxq))
		return false;
	p->rx.refused |= p->rx.leased;
	return !p->rx.leased;
}

int vnet_rx_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	struct vnet_pair *own = vnet_pair(port), *p = vnet_rx_pair(own);
	const struct vnet *vn = own->vn;
	unsigned int used = 0;
	int i;

	if (unlikely(p != own && p && vn->apart))
		return vnet_cross(own, p, frames, n);
	if (!rx_open(p))
		return 0;
	for (i = 0; i < n; i++) {
		const struct twx_frame *f = &frames[i];
		enum rx_room room;

		if (unlikely(!vn->filter.promisc) &&
		    !vnet_filter_pass(&vn->filter, f->iov[0].iov_base,
				      min((uint32_t)f->iov[0].iov_len, f->len))) {
			twx_port_drop(port, TWX_DROP_NOT_FOR_US, f->len);
			continue;
		}
		room = rx_wait(p, (uint64_t)vn->hdr_len + f->len);
		if (unlikely(room == RX_WAIT))
			break;
		if (unlikely(room == RX_NEVER))
			twx_port_drop(port, TWX_DROP_NO_BUFFER, f->len);
		else
			used += rx_copy(p, f);
	}
	rx_publish(p, used);
	return i;
}

/* Describes the room behind the header, at most @want bytes. */
static void rx_lend(struct vnet_pair *p, size_t want, struct twx_lease *lease)
{
	const struct iovec *v = p->rx.iov + p->rx.ihead;
	const struct iovec *end = p->rx.iov + p->rx.itail;
	size_t skip = p->vn->hdr_len;

	/* Without mergeable buffers a frame has one chain. */
	if (!p->vn->mergeable)
		end = v + p->rx.bufs[p->rx.head].n_iov;
	lease->n_iov = lease->len = 0;
	for (; v < end && lease->n_iov < TWX_LEASE_IOV && lease->len < want; v++) {
		size_t here = v->iov_len;

		if (unlikely(skip >= here)) {
			skip -= here;
			continue;
		}
		here = min(here - skip, want - lease->len);
		lease->iov[lease->n_iov].iov_base = (uint8_t *)v->iov_base + skip;
		lease->iov[lease->n_iov].iov_len = here;
		lease->n_iov++;
		lease->len += (uint32_t)here;
		skip = 0;
	}
}

int vnet_rx_reserve(struct twx_port *port, size_t min, size_t want, struct twx_lease *lease)
{
	struct vnet_pair *own = vnet_pair(port), *p = vnet_rx_pair(own);
	size_t hdr_len = own->vn->hdr_len;
	enum rx_room room;

	if (unlikely(p != own && p && own->vn->apart))
		return -EOPNOTSUPP;
	if (!rx_open(p))
		return -EAGAIN;
	if (unlikely(want < min || want > TWX_FRAME_MAX))
		return -EOPNOTSUPP;
	room = rx_wait(p, hdr_len + min);
	if (unlikely(room != RX_FITS))
		return room == RX_WAIT ? -EAGAIN : -EOPNOTSUPP;
	/* More than the least is a bonus, taken if it is there. */
	if (p->vn->mergeable && p->rx.bytes < hdr_len + want)
		rx_gather(p, hdr_len + want);
	rx_lend(p, want, lease);
	if (unlikely(lease->len < min))
		return -EOPNOTSUPP;
	p->rx.leased = true;
	lease->priv[0] = (uint32_t)(p - own->vn->pairs);
	TWX_TRACE(port->trace, TWX_HOP_RX_LEASE, port->name, lease->len, lease->n_iov);
	return 0;
}

/* Ends the lease; null if a stop of the queue has ended it before. */
static struct vnet_pair *rx_lease_end(struct twx_port *port, const struct twx_lease *lease)
{
	struct vnet_pair *p = &vnet_pair(port)->vn->pairs[lease->priv[0]];

	if (!p->rx.leased)
		return NULL;
	p->rx.leased = false;
	if (unlikely(p->rx.refused)) {
		p->rx.refused = false;
		if (p->vn->apart) { /* nobody else has come here */
			p->rx.ready = true;
			vnet_defer(p);
		} else {
			vnet_ready_later(p->vn);
		}
	}
	return p;
}

static bool rx_lease_wanted(struct vnet *vn, const struct twx_lease *lease, size_t len)
{
	uint8_t head[18];

	if (likely(vn->filter.promisc))
		return true;
	iov_copy_from(lease->iov, lease->n_iov, 0, head, sizeof(head));
	return vnet_filter_pass(&vn->filter, head, (uint32_t)min(len, sizeof(head)));
}

void vnet_rx_commit(struct twx_port *port, struct twx_lease *lease, size_t len,
		    const struct twx_meta *meta)
{
	struct vnet_pair *p = rx_lease_end(port, lease);
	struct vnet_hdr hdr;
	uint32_t total;
	unsigned int n;

	if (!p) {
		twx_port_drop(port, TWX_DROP_NO_BUFFER, (uint32_t)len);
		return;
	}
	len = min(len, (size_t)lease->len);
	if (unlikely(len < TWX_FRAME_MIN)) {
		twx_port_drop(port, TWX_DROP_TOO_SHORT, (uint32_t)len);
		return;
	}
	if (unlikely(!rx_lease_wanted(p->vn, lease, len))) {
		twx_port_drop(port, TWX_DROP_NOT_FOR_US, (uint32_t)len);
		return;
	}
	total = p->vn->hdr_len + (uint32_t)len;
	n = rx_count(&p->rx, total);
	vnet_hdr_from_meta(&hdr, meta, (uint16_t)n);
	iov_copy_to(p->rx.iov + p->rx.ihead, (size_t)(p->rx.itail - p->rx.ihead), 0, &hdr,
		    p->vn->hdr_len);
	if (unlikely(p->vn->dev.mem->log != NULL))
		rx_dirty(p, total);
	rx_consume(p, n, total);
	rx_publish(p, n);
}

void vnet_rx_abort(struct twx_port *port, struct twx_lease *lease)
{
	rx_lease_end(port, lease);
}

void vnet_rx_kick(struct vnet_pair *p)
{
	struct vnet *vn = p->vn;
	unsigned int self = (unsigned int)(p - vn->pairs);

	p->port->count.kicks++;
	if (!p->rx.starved)
		return;
	p->rx.starved = false;
	vq_notify_disable(p->rxq);
	if (unlikely(vn->apart)) {
		twx_port_ready(p->port);
		return;
	}
	for (unsigned int i = self; i < vn->nic->n_ports && vn->n_active; i++)
		if (vnet_rx_pair(&vn->pairs[i]) == p)
			twx_port_ready(vn->pairs[i].port);
}

void vnet_rx_stop(struct vnet_pair *p)
{
	rx_give_back(p);
	p->rx.starved = false;
	p->rx.leased = false;
}
