/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tap backend: frames to and from a TUN/TAP interface of the Linux host.
 *
 * A queue is one file descriptor of the interface and one port. With the vnet header (the default)
 * each frame carries 12 bytes in front that say which checksum and segmentation are still to be
 * done, so that frames of 64 KiB cross the device uncut. The peer's capabilities decide what the
 * kernel hands out (TUNSETOFFLOAD); what it accepts from us is probed once. A peer that finishes
 * checksums but takes no large TCP segments (e1000) gets them from the core, which cuts them.
 *
 * From the NIC: receive() writes each frame with one writev(); the device has no batched interface.
 * EAGAIN (the send buffer, sndbuf=, is full) makes the port busy until EPOLLOUT.
 *
 * To the NIC there are two ways, chosen by the frames seen:
 *  - gathered: frames are read into private slots of 2 KiB and sent as one burst; what is longer
 * than a slot spills into one of TAP_BIGS buffers of 64 KiB; the last of them ends the burst. What
 * the NIC does not take stays in the slots, and EPOLLIN is not watched until resume().
 *  - direct: after a frame longer than a slot, the NIC's buffers are leased (twx_port_reserve) and
 * readv() fills them, without a copy. A lease must have room for the largest frame that may come,
 * as the device gives no length beforehand and cuts what does not fit; that is why small frames,
 * for which so many guest buffers would be fetched in vain, go the other way. TAP_SMALL_RUN small
 * frames in a row lead back to it. A peer that lends nothing is asked once an event. At most BUDGET
 * frames are read per event, so that one busy interface does not starve the loop.
 *
 * When the receiver's capabilities shrink, frames of the old kind may still wait inside the kernel.
 * Until the device has run dry once they are gathered: the core then finishes them in software.
 *
 * The header from the device is checked like a guest's: the descriptor may have come from anybody
 * (fd=).
 *
 * With vhost=on the kernel moves the frames of a virtio NIC instead, see tap_vhost.c.
 *
 * Known differences from QEMU: an empty or missing default
 * script is no error; queues=1 also opens an interface created with multi_queue.
 *
 * Kernel: Documentation/networking/tuntap.rst, linux/if_tun.h; the header is virtio 1.2, 5.1.6.
 */
#include <errno.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "backends/tap.h"
#include "base/macros.h"
#include "net/fault.h"
#include "net/workers.h"

#define BUDGET 64 /* frames per readable event */

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4 /* linux 6.2 */
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

_Static_assert(sizeof(struct virtio_net_hdr_mrg_rxbuf) == TAP_VNET_LEN,
	       "the header's size is set to this");

static struct tap_queue *tap_queue_of(struct twx_port *port)
{
	struct tap *tap = ((struct twx_backend *)port->owner)->priv;

	return &tap->queues[port->queue_index];
}

static void tap_watch(struct tap_queue *q)
{
	uint32_t events = (q->reading ? EPOLLIN : 0u) | (q->blocked ? EPOLLOUT : 0u);

	if (!q->gone)
		twx_watch_set(&q->watch, events);
}

/* Fields are native endian: the device's default, and QEMU's on hosts of the same order. */
static void hdr_from_meta(struct virtio_net_hdr_mrg_rxbuf *h, const struct twx_frame *f)
{
	const struct twx_meta *m = &f->meta;

	memset(h, 0, sizeof(*h));
	if (m->flags & TWX_F_NEEDS_CSUM) {
		h->hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		h->hdr.csum_start = m->csum_start;
		h->hdr.csum_offset = m->csum_off;
	} else if (m->flags & TWX_F_CSUM_VALID) {
		h->hdr.flags = VIRTIO_NET_HDR_F_DATA_VALID;
	}
	if (m->gso != TWX_GSO_NONE) {
		h->hdr.gso_type =
			(uint8_t)(m->gso | (m->flags & TWX_F_ECN ? VIRTIO_NET_HDR_GSO_ECN : 0));
		h->hdr.gso_size = m->gso_size;
		/* A hint that must not exceed the frame. */
		h->hdr.hdr_len = (uint16_t)min((uint32_t)m->hdr_len, f->len);
	}
}

/* False if the header does not fit a frame of @len bytes. */
static bool hdr_to_meta(const struct virtio_net_hdr_mrg_rxbuf *h, uint32_t len, struct twx_meta *m)
{
	uint8_t gso = h->hdr.gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;

	memset(m, 0, sizeof(*m));
	if (h->hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		m->flags = TWX_F_NEEDS_CSUM;
		m->csum_start = h->hdr.csum_start;
		m->csum_off = h->hdr.csum_offset;
		if ((uint32_t)m->csum_start + m->csum_off + 2 > len)
			return false;
	} else if (h->hdr.flags & VIRTIO_NET_HDR_F_DATA_VALID) {
		m->flags = TWX_F_CSUM_VALID;
	}
	if (gso == VIRTIO_NET_HDR_GSO_NONE)
		return true;
	if (gso != VIRTIO_NET_HDR_GSO_TCPV4 && gso != VIRTIO_NET_HDR_GSO_TCPV6 &&
	    gso != VIRTIO_NET_HDR_GSO_UDP && gso != VIRTIO_NET_HDR_GSO_UDP_L4)
		return false;
	m->gso = gso;
	m->gso_size = h->hdr.gso_size;
	m->hdr_len = (uint16_t)min((uint32_t)h->hdr.hdr_len, len);
	if (h->hdr.gso_type & VIRTIO_NET_HDR_GSO_ECN)
		m->flags |= TWX_F_ECN;
	return m->gso_size != 0;
}

static uint32_t gso_cap(const struct twx_meta *m)
{
	switch (m->gso) {
	case TWX_GSO_TCPV4:
		return TWX_CAP_TSO4;
	case TWX_GSO_TCPV6:
		return TWX_CAP_TSO6;
	case TWX_GSO_UDP:
		return TWX_CAP_UFO;
	case TWX_GSO_UDP_L4:
		return TWX_CAP_USO;
	default:
		return 0;
	}
}

static bool meta_within(const struct twx_meta *m, uint32_t caps)
{
	uint32_t need = gso_cap(m);

	if (m->flags & TWX_F_NEEDS_CSUM)
		need |= TWX_CAP_CSUM;
	if (m->flags & TWX_F_ECN)
		need |= TWX_CAP_ECN;
	return (need & ~caps) == 0;
}

static uint32_t peer_caps(const struct twx_port *port)
{
	return port->peer ? port->peer->caps.flags : 0;
}

/* --- NIC to host --- */

/* 0, or -errno of the writev. */
static int tap_write(struct tap_queue *q, const struct twx_frame *f)
{
	struct iovec iov[IOV_MAX];
	struct virtio_net_hdr_mrg_rxbuf h;
	uint32_t n = 0;

	if (q->tap->vnet_hdr) {
		hdr_from_meta(&h, f);
		iov[n++] = (struct iovec){ &h, (size_t)q->tap->hdr_len };
	}
	if (f->n_iov > IOV_MAX - n)
		return -E2BIG;
	memcpy(iov + n, f->iov, f->n_iov * sizeof(*iov));
	TWX_TRACE(q->port->trace, TWX_HOP_TAP_WRITE, q->port->name, f->len, f->meta.gso_size);
	return writev(q->fd, iov, (int)(n + f->n_iov)) < 0 ? -errno : 0;
}

static int tap_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	struct tap_queue *q = tap_queue_of(port);
	int i, err;

	for (i = 0; i < n; i++) {
		err = tap_write(q, &frames[i]);
		if (err == -EAGAIN) {
			q->blocked = true;
			tap_watch(q);
			return i;
		}
		if (err == -EINTR)
			err = tap_write(q, &frames[i]);
		if (unlikely(err == -EFAULT))
			fault_report(q->tap->backend->net, frames[i].iov, frames[i].n_iov);
		if (err)
			twx_port_drop(port, TWX_DROP_HOST_ERROR, frames[i].len);
	}
	return n;
}

/* --- host to NIC --- */

/* The interface was deleted, or the descriptor is of no use any more. */
static void tap_gone(struct tap_queue *q, int err)
{
	q->gone = true;
	twx_watch_del(&q->watch);
	twx_log(q->tap->backend->net, TWX_LOG_ERROR, "netdev %s: cannot read from %s any more: %s",
		q->tap->backend->id, q->tap->ifname, strerror(err));
}

/* Counts a frame's size into the choice between the two ways. */
static void tap_choose(struct tap_queue *q, uint32_t len)
{
	if (len > TAP_SLOT) {
		q->direct = true;
		q->n_small = 0;
	} else if (q->direct && ++q->n_small >= TAP_SMALL_RUN) {
		q->direct = false;
	}
}

/* A read of @n bytes behind the header (or -1); false: nothing more to read now. */
static bool tap_read_failed(struct tap_queue *q, ssize_t n)
{
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		tap_gone(q, errno);
	if (n < 0 && errno == EAGAIN)
		q->settling = false;
	return n < 0;
}

/* Sends what is gathered; true when all of it is done. The rest waits for resume(). */
static bool batch_send(struct tap_queue *q)
{
	struct tap_batch *b = &q->batch;
	int n = b->n - b->first;

	if (n > 0)
		b->first += twx_port_send(q->port, b->frames + b->first, n);
	if (b->first < b->n) {
		q->reading = false;
		tap_watch(q);
		return false;
	}
	b->first = b->n = b->n_big = 0;
	return true;
}

/* Reads one frame into the next slot. False: nothing was read. */
static bool batch_read(struct tap_queue *q)
{
	struct tap_batch *b = &q->batch;
	uint32_t head = q->tap->vnet_hdr ? (uint32_t)q->tap->hdr_len : 0, len;
	struct virtio_net_hdr_mrg_rxbuf h = { 0 };
	struct twx_frame *f = &b->frames[b->n];
	struct iovec *out = b->iov[b->n];
	struct iovec iov[3] = { { &h, head },
				{ b->slots[b->n], TAP_SLOT },
				{ b->bigs[b->n_big], TAP_BIG - TAP_SLOT } };
	ssize_t n = readv(q->fd, iov, 3);

	if (tap_read_failed(q, n))
		return false;
	len = (size_t)n > head ? (uint32_t)((size_t)n - head) : 0;
	TWX_TRACE(q->port->trace, TWX_HOP_TAP_READ, q->port->name, len, h.hdr.gso_size);
	tap_choose(q, len);
	if (len < TWX_FRAME_MIN) {
		twx_port_drop(q->port, TWX_DROP_TOO_SHORT, len);
		return true;
	}
	if (len > TWX_FRAME_MAX) {
		twx_port_drop(q->port, TWX_DROP_TOO_LONG, len);
		return true;
	}
	if (!hdr_to_meta(&h, len, &f->meta)) {
		twx_port_drop(q->port, TWX_DROP_BAD_META, len);
		return true;
	}
	out[0] = (struct iovec){ b->slots[b->n], min(len, (uint32_t)TAP_SLOT) };
	out[1] = (struct iovec){ b->bigs[b->n_big], len - (uint32_t)out[0].iov_len };
	f->iov = out;
	f->n_iov = len > TAP_SLOT ? 2 : 1;
	b->n_big += len > TAP_SLOT;
	f->len = len;
	b->n++;
	return true;
}

static bool batch_full(const struct tap_batch *b)
{
	return b->n == TWX_BURST || b->n_big == TAP_BIGS;
}

/* Ends a lease that got @len bytes with header @h. */
static void direct_end(struct tap_queue *q, struct twx_lease *lease, uint32_t len,
		       const struct virtio_net_hdr_mrg_rxbuf *h)
{
	enum twx_drop cause = TWX_N_DROPS;
	struct twx_meta meta;

	if (len < TWX_FRAME_MIN) {
		cause = TWX_DROP_TOO_SHORT;
	} else if (len > lease->len) {
		/* The MTU was raised since we asked; from here on we know. */
		q->max_frame = tap_dev_max_frame(q->tap);
		cause = TWX_DROP_TOO_LONG;
	} else if (!hdr_to_meta(h, len, &meta) || !meta_within(&meta, peer_caps(q->port))) {
		cause = TWX_DROP_BAD_META;
	}
	if (cause == TWX_N_DROPS) {
		twx_port_commit(q->port, lease, len, &meta);
		return;
	}
	twx_port_abort(q->port, lease);
	twx_port_drop(q->port, cause, len);
}

/* Most bytes that the next frame can have. */
static uint32_t direct_want(const struct tap_queue *q)
{
	bool gso = q->tap->offload & ~(unsigned int)TUN_F_CSUM;

	return gso ? TWX_FRAME_MAX : q->max_frame;
}

/* One frame into leased buffers: 1 read, 0 nothing to do now, -EOPNOTSUPP: gather instead. */
static int direct_read(struct tap_queue *q)
{
	uint32_t want = direct_want(q), len, i;
	uint32_t head = q->tap->vnet_hdr ? (uint32_t)q->tap->hdr_len : 0;
	struct virtio_net_hdr_mrg_rxbuf h = { 0 };
	struct iovec iov[TWX_LEASE_IOV + 2];
	struct twx_lease lease;
	uint8_t beyond;
	ssize_t n;
	int err;

	err = twx_port_reserve(q->port, want, want, &lease);
	if (err == -EAGAIN) {
		q->reading = false;
		tap_watch(q);
		return 0;
	}
	if (err)
		return -EOPNOTSUPP;
	iov[0] = (struct iovec){ &h, head };
	for (i = 0; i < lease.n_iov; i++)
		iov[1 + i] = lease.iov[i];
	/* One byte more than there is room tells a frame that was cut from one that fits. */
	iov[1 + i] = (struct iovec){ &beyond, 1 };
	n = readv(q->fd, iov, (int)(lease.n_iov + 2));
	if (n < 0 && errno == EFAULT) {
		/* A macvtap's; a tun says nothing. The frame is lost with the guest's memory. */
		fault_report(q->tap->backend->net, lease.iov, lease.n_iov);
		twx_port_abort(q->port, &lease);
		twx_port_drop(q->port, TWX_DROP_HOST_ERROR, 0);
		return 0;
	}
	if (tap_read_failed(q, n)) {
		twx_port_abort(q->port, &lease);
		return 0;
	}
	len = (size_t)n > head ? (uint32_t)((size_t)n - head) : 0;
	TWX_TRACE(q->port->trace, TWX_HOP_TAP_READ, q->port->name, len, h.hdr.gso_size);
	tap_choose(q, len);
	direct_end(q, &lease, len, &h);
	return 1;
}

static void tap_readable(struct tap_queue *q)
{
	bool lends = true;
	int left = BUDGET, r;

	while (left > 0 && q->reading && !q->gone) {
		r = -EOPNOTSUPP;
		if (q->direct && lends && !q->settling && !q->tap->uncut && !q->batch.n) {
			r = direct_read(q);
			if (!r)
				return;
			lends = r > 0;
		}
		if (r == -EOPNOTSUPP) {
			if (!batch_read(q))
				break;
			/* The next may go directly, once those before it are gone. */
			if ((batch_full(&q->batch) || (q->direct && lends)) && !batch_send(q))
				return;
		}
		left--;
	}
	batch_send(q);
}

static void tap_event(struct twx_watch *w, uint32_t events)
{
	struct tap_queue *q = container_of(w, struct tap_queue, watch);

	if (events & EPOLLOUT && q->blocked) {
		q->blocked = false;
		tap_watch(q);
		twx_port_ready(q->port);
	}
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP) && !q->gone) {
		if (q->reading)
			tap_readable(q);
		else if (events & (EPOLLERR | EPOLLHUP))
			tap_gone(q, ENODEV);
	}
	if (q->gone && q->blocked) {
		/* Frames are taken again, and dropped. */
		q->blocked = false;
		twx_port_ready(q->port);
	}
}

static void tap_resume(struct twx_port *port)
{
	struct tap_queue *q = tap_queue_of(port);

	if (q->reading || q->gone || q->away || !batch_send(q))
		return;
	q->reading = true;
	tap_watch(q);
}

void tap_lend(struct tap_queue *q, bool out)
{
	struct tap_batch *b = &q->batch;

	q->away = out;
	for (; out && b->first < b->n; b->first++)
		twx_port_drop(q->port, TWX_DROP_NO_BUFFER, b->frames[b->first].len);
	b->first = b->n = b->n_big = 0;
	q->reading = !out;
	q->settling = true; /* offloads may have changed meanwhile */
	if (q->watch.loop)
		tap_watch(q);
}

/* Offloads belong to the interface: what every queue's receiver takes. */
static void tap_peer_changed(struct twx_port *port)
{
	struct tap *tap = ((struct twx_backend *)port->owner)->priv;
	uint32_t caps = UINT32_MAX, i;
	bool any = false;

	/* Ports are made one after the other; offloads follow once all are there. */
	for (i = 0; i < tap->n_queues; i++) {
		if (!tap->queues[i].port || !tap->queues[i].port->peer)
			continue;
		caps &= peer_caps(tap->queues[i].port);
		any = true;
	}
	if (!any)
		caps = 0;
	/* Cutting a frame of 64 KiB here costs less than the kernel's cutting and 45 reads. */
	tap->uncut = (caps & (TWX_CAP_CSUM | TWX_CAP_TSO4 | TWX_CAP_TSO6)) == TWX_CAP_CSUM;
	if (tap->uncut)
		caps |= TWX_CAP_TSO4 | TWX_CAP_TSO6;
	if (tap_dev_set_offload(tap, caps))
		for (i = 0; i < tap->n_queues; i++)
			tap->queues[i].settling = true;
}

static void tap_info(struct twx_port *port, char *buf, size_t size)
{
	struct tap *tap = ((struct twx_backend *)port->owner)->priv;

	strncpy(buf, tap->info, size - 1);
	buf[size - 1] = 0;
}

const struct twx_port_ops tap_port_ops = {
	.receive = tap_receive,
	.resume = tap_resume,
	.peer_changed = tap_peer_changed,
	.info = tap_info,
	.vhost = tap_vhost,
};

/* --- life --- */

static void tap_queue_close(struct tap_queue *q)
{
	twx_watch_del(&q->watch);
	free(q->batch.slots);
	free(q->batch.bigs);
	q->batch.slots = NULL;
	q->batch.bigs = NULL;
}

static int tap_queue_open(struct tap_queue *q, struct twx_error *e)
{
	struct twx_backend *b = q->tap->backend;
	int err;

	q->batch.slots = malloc(TWX_BURST * sizeof(*q->batch.slots));
	q->batch.bigs = malloc(TAP_BIGS * sizeof(*q->batch.bigs));
	if (!q->batch.slots || !q->batch.bigs)
		return twx_error_set(e, ENOMEM, "out of memory");
	q->max_frame = tap_dev_max_frame(q->tap);
	q->port = twx_backend_add_port(b, e);
	if (!q->port)
		return -ENOMEM;
	twx_port_set_caps(q->port, tap_dev_caps(q->tap));
	err = twx_watch_add(&q->watch, q->port->loop, q->fd, EPOLLIN, tap_event);
	if (err)
		return twx_error_set(e, -err, "cannot watch the tap device: %s", strerror(-err));
	q->reading = true;
	return 0;
}

void tap_close(struct twx_backend *b)
{
	struct tap *tap = b->priv;
	uint32_t i;

	for (i = 0; i < tap->n_queues; i++)
		tap_queue_close(&tap->queues[i]);
	tap_vhost_close(tap);
	tap_dev_close(tap);
	free(tap->queues);
	tap->queues = NULL;
	tap->n_queues = 0;
}

int tap_begin(struct tap *tap, int err, struct twx_error *e)
{
	uint32_t i;

	for (i = 0; !err && i < tap->n_queues; i++)
		err = tap_queue_open(&tap->queues[i], e);
	if (err)
		tap_close(tap->backend);
	return err;
}

/* QEMU takes these in silence. */
static void warn_of_options(const struct tap *tap, const struct twx_opts *o)
{
	static const char no_use[] = "netdev %s: %s= is of no use without %s";

	if (twx_opts_given(o, "br") && !twx_opts_given(o, "helper"))
		twx_log(tap->backend->net, TWX_LOG_WARNING, no_use, tap->backend->id, "br",
			"helper=");
	if (twx_opts_given(o, "poll-us") && !tap_vhost_wanted(o))
		twx_log(tap->backend->net, TWX_LOG_WARNING, no_use, tap->backend->id, "poll-us",
			"vhost=on");
}

static int take_workers(struct tap *tap, const struct twx_opts *opts, struct twx_error *e)
{
	unsigned int n = (unsigned int)twx_opts_int(opts, "workers");
	struct twx_backend *b = tap->backend;
	char what[96];
	int err;

	if (n <= 1)
		return 0;
	if (tap_vhost_wanted(opts))
		return twx_error_set(e, EINVAL,
				     "netdev %s: workers=%u with vhost=on, whose threads are the kernel's",
				     b->id, n);
	if (n > tap->n_queues) {
		twx_error_set(e, EINVAL, "netdev %s: workers=%u, but there are %u queues", b->id, n,
			      tap->n_queues);
		return twx_error_hint(e, "add queues=%u", n);
	}
	snprintf(what, sizeof(what), "netdev %s", b->id);
	err = net_workers_need(b->net, n, what, e);
	if (err == 0)
		b->n_workers = n;
	return err;
}

static int tap_open(struct twx_backend *b, const struct twx_opts *opts, struct twx_error *e)
{
	struct tap *tap = b->priv;
	int err;

	tap->backend = b;
	warn_of_options(tap, opts);
	err = tap_dev_open(tap, opts, e);
	if (!err)
		err = take_workers(tap, opts, e);
	if (!err)
		err = tap_vhost_open(tap, opts, e);
	return tap_begin(tap, err, e);
}

const struct twx_backend_type tap_backend = {
	.name = "tap",
	.help = "a TUN/TAP interface of the host",
	.options = tap_options,
	.port_ops = &tap_port_ops,
	.priv_size = sizeof(struct tap),
	.open = tap_open,
	.close = tap_close,
};
