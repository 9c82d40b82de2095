/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-net (virtio 1.2, 5.1; legacy headers too): model, options, features, life cycle.
 *
 * What is modelled: any number of queue pairs, one port each; mergeable, big and small receive
 * buffers; checksum and segmentation requests both ways; the control queue (virtio_net_ctrl.c). The
 * transport is somebody else's (bus/virtio.h); this file does not know whether vhost-user or PCI
 * carries it.
 *
 * A frame's way out: vnet_kick > vnet_tx_kick (virtio_net_tx.c) > vq_pop > twx_port_send >
 * vq_publish. In: the peer's twx_port_send > vnet_rx_receive, or twx_port_reserve > vnet_rx_reserve
 * and commit (virtio_net_rx.c) > vq_publish. Both end in vnet_task, once per round of the loop: it
 * looks at the transmit ring again and raises at most one interrupt per queue.
 *
 * Who owns what: rings and guest memory are the transport's, translated per access; this device
 * keeps only what it fetched ahead on receive, which a stop or a move of the ring drops. Buffers
 * complete in the order in which the guest offered them, always, so the used index alone says where
 * to resume.
 *
 * Back-pressure: transmit retains frames in the ring; receive is busy when the guest is short of
 * buffers. A pair without a receive ring (or above the number that VQ_PAIRS_SET selected) passes
 * what its peer sends to one of the pairs that have one.
 *
 * Threads: a pair's rings, port and timers belong to the loop of its port, which is a worker's of its
 * own where the netdev says so (net/workers.h); the control queue, features, starts, stops and the
 * link are the NIC's loop's, which the workers never meet. What pairs share is thus constant for
 * them. A pair's port whose frames another pair's ring is to take hands over copies
 * (virtio_net_cross.c).
 *
 * Limits: x-txburst frames or VNET_TX_SEGMENTS segments per doorbell; VNET_RX_BUFS chains per
 * received frame; VQ_MAX_IOV descriptors per chain; VNET_MAC_TABLE addresses in the filter,
 * promiscuous beyond.
 *
 * Differences from QEMU: checksum and segmentation offloads towards the host are always offered,
 * since the core finishes in software what a backend cannot take. A descriptor chain whose
 * addresses are unmapped costs its frame on transmit and the queue on receive, never the device. mq
 * defaults to on when there is more than one pair. No RSS, hash reports, RSC, standby.
 */
#include "nics/virtio_net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"

/* What receive() passes on to the guest as it is. */
void vnet_update_caps(struct vnet *vn)
{
	static const struct {
		uint64_t need;
		uint32_t cap;
	} map[] = {
		{ VNET_BIT(VIRTIO_NET_F_GUEST_CSUM), TWX_CAP_CSUM },
		{ VNET_BIT(VIRTIO_NET_F_GUEST_TSO4), TWX_CAP_TSO4 },
		{ VNET_BIT(VIRTIO_NET_F_GUEST_TSO6), TWX_CAP_TSO6 },
		{ VNET_BIT(VIRTIO_NET_F_GUEST_ECN), TWX_CAP_ECN },
		{ VNET_BIT(VIRTIO_NET_F_GUEST_UFO), TWX_CAP_UFO },
		{ VNET_BIT(VIRTIO_NET_F_GUEST_USO4) | VNET_BIT(VIRTIO_NET_F_GUEST_USO6),
		  TWX_CAP_USO },
	};
	uint64_t on = vnet_guest_offloads(vn->offloads);
	struct twx_caps caps = { 0 };

	for (size_t i = 0; i < array_size(map); i++)
		if ((on & map[i].need) == map[i].need)
			caps.flags |= map[i].cap;
	/* 5.1.4.1: no frame above the agreed MTU; the Ethernet header may have a VLAN tag. */
	if (vn->mtu)
		caps.max_frame = vn->mtu + 14u + 4u;
	for (unsigned int i = 0; i < vn->nic->n_ports; i++)
		twx_port_set_caps(vn->pairs[i].port, caps);
}

void vnet_defer(struct vnet_pair *p)
{
	twx_loop_defer(p->port->loop, &p->task);
}

void vnet_defer_all(struct vnet *vn)
{
	twx_loop_defer(vn->nic->loop, &vn->task);
}

void vnet_ready_later(struct vnet *vn)
{
	for (unsigned int i = 0; i < vn->nic->n_ports; i++) {
		vn->pairs[i].rx.ready = true;
		vnet_defer(&vn->pairs[i]);
	}
}

struct vnet_pair *vnet_rx_pair(struct vnet_pair *p)
{
	struct vnet *vn = p->vn;
	unsigned int i = (unsigned int)(p - vn->pairs);

	if (likely(i < vn->n_active))
		return p;
	return vn->n_active ? &vn->pairs[i % vn->n_active] : NULL;
}

/*
 * Whether the guest's commands come to us. That the queue was negotiated is not enough: QEMU
 * answers it itself for a vhost-user device and never starts the ring.
 */
static bool vnet_has_ctrl(const struct vnet *vn)
{
	return vn->ctrl && vn->ctrl->running;
}

/* Without a control queue of ours, the rings that the front end starts are the selection. */
void vnet_update_active(struct vnet *vn)
{
	unsigned int limit = vnet_has_ctrl(vn) ? vn->curr_pairs : vn->dev.max_pairs, n = 0;

	while (n < limit && vn->pairs[n].rxq->running && !vn->pairs[n].rxq->outside)
		n++;
	if (n == vn->n_active)
		return;
	vn->n_active = n;
	vnet_ready_later(vn);
}

/* Interrupts. */

/* Legacy drivers may ask for one whenever the ring has run empty (2.7.7 of virtio 0.9.5). */
static bool vnet_notify_empty(const struct virtqueue *vq)
{
	return (vq->dev->features & VNET_BIT(VIRTIO_F_NOTIFY_ON_EMPTY)) && vq->used == vq->next &&
	       vq->next == vq->avail_idx;
}

static void vnet_signal(struct vnet_pair *p, struct virtqueue *vq)
{
	struct virtio_dev *dev = &p->vn->dev;
	struct twx_port *port = p->port;

	if (!vq->running || !dev->host_ops)
		return;
	switch (vq_signal(vq)) {
	case VQ_SIGNAL_SEND:
		port->count.signals++;
		TWX_TRACE(port->trace, TWX_HOP_SIGNAL, port->name, 0, vq->index);
		dev->host_ops->notify_queue(dev, vq->index);
		break;
	case VQ_SIGNAL_SKIP:
		if (unlikely(vnet_notify_empty(vq))) {
			dev->host_ops->notify_queue(dev, vq->index);
			break;
		}
		port->count.signals_skipped++;
		TWX_TRACE(port->trace, TWX_HOP_SIGNAL_SKIP, port->name, 0, vq->index);
		break;
	case VQ_SIGNAL_NOTHING:
		break;
	}
}

static void vnet_announce(struct virtio_dev *dev, const uint8_t mac[6]);

/* The network learns where the guest is now. */
static void vnet_arrived(struct vnet *vn)
{
	vn->announce_due = false;
	vnet_announce(&vn->dev, vn->filter.mac);
}

/* End of a round: what the round's bursts share. */
static void vnet_task(struct twx_task *t)
{
	struct vnet_pair *p = container_of(t, struct vnet_pair, task);

	if (p->rx.ready) {
		p->rx.ready = false;
		twx_port_ready(p->port);
	}
	vnet_tx_poll(p);
	vnet_signal(p, p->rxq);
	vnet_signal(p, p->txq);
}

/* The same for the device. */
static void vnet_dev_task(struct twx_task *t)
{
	struct vnet *vn = container_of(t, struct vnet, task);

	if (vn->select_due || vn->retake_due)
		vnet_path_task(vn);
	if (vn->announce_due && vn->pairs[0].rxq->running)
		vnet_arrived(vn);
	if (vn->ctrl && vn->ctrl_again)
		vnet_ctrl_kick(vn);
	if (vn->ctrl)
		vnet_signal(&vn->pairs[0], vn->ctrl);
}

static void vnet_config_changed(struct vnet *vn)
{
	if (vn->dev.host_ops && (vn->dev.features & VNET_BIT(VIRTIO_NET_F_STATUS)))
		vn->dev.host_ops->notify_config(&vn->dev);
}

/* The transport's calls. */

static struct vnet *vnet_of(struct virtio_dev *dev)
{
	return container_of(dev, struct vnet, dev);
}

/* The pair of a receive or transmit queue; null for the control queue. */
static struct vnet_pair *vnet_queue_pair(struct vnet *vn, unsigned int queue)
{
	if (vn->ctrl && vn->ctrl->index == queue)
		return NULL;
	return queue / 2 < vn->dev.max_pairs ? &vn->pairs[queue / 2] : NULL;
}

/* 5.1.2: the control queue follows the pairs that the driver knows of: all with MQ, else one. */
static struct virtqueue *vnet_ctrl_queue(struct vnet *vn)
{
	uint64_t f = vn->dev.features;
	unsigned int pairs = f & VNET_BIT(VIRTIO_NET_F_MQ) ? vn->dev.max_pairs : 1;

	return f & VNET_BIT(VIRTIO_NET_F_CTRL_VQ) ? &vn->dev.queues[2 * pairs] : NULL;
}

static void vnet_set_features(struct virtio_dev *dev, uint64_t features)
{
	struct vnet *vn = vnet_of(dev);
	bool modern = features & VNET_BIT(VIRTIO_F_VERSION_1);

	vn->mergeable = features & VNET_BIT(VIRTIO_NET_F_MRG_RXBUF);
	vn->hdr_len = modern || vn->mergeable ? VNET_HDR_MAX : VNET_HDR_MAX - 2;
	vn->offloads = vnet_guest_offloads(features);
	vn->filter.vlan = features & VNET_BIT(VIRTIO_NET_F_CTRL_VLAN);
	if (features & VNET_BIT(VIRTIO_NET_F_MTU))
		vn->mtu = vn->host_mtu;
	vn->ctrl = vnet_ctrl_queue(vn);
	if (!(features & VNET_BIT(VIRTIO_NET_F_MQ)))
		vn->curr_pairs = 1;
	vnet_update_caps(vn);
	vnet_update_active(vn);
}

static void vnet_queue_start(struct virtio_dev *dev, unsigned int queue)
{
	struct vnet *vn = vnet_of(dev);
	struct vnet_pair *p = vnet_queue_pair(vn, queue);

	if (!p) {
		/* Commands may have been waiting; their doorbell rang before we could hear it. */
		vn->ctrl_again = vn->ctrl && vn->ctrl->index == queue;
		vnet_defer_all(vn);
		vnet_update_active(vn);
	} else if (vnet_path_queue_start(p, &dev->queues[queue])) {
		if (vn->announce_due)
			vnet_defer_all(vn);
	} else if (p->rxq->index == queue) {
		vq_notify_disable(p->rxq);
		vnet_update_active(vn);
		if (vn->announce_due)
			vnet_defer_all(vn);
	} else {
		p->tx.polling = true;
		vnet_defer(p);
	}
}

static void vnet_queue_stop(struct virtio_dev *dev, unsigned int queue)
{
	struct vnet *vn = vnet_of(dev);
	struct vnet_pair *p = vnet_queue_pair(vn, queue);

	if (p)
		vnet_path_queue_stop(p, &dev->queues[queue]);
	/* What was handed back must not wait for an interrupt that nobody will raise. */
	vnet_signal(p ? p : &vn->pairs[0], &dev->queues[queue]);
	if (!p) {
		vn->ctrl_again = false;
	} else if (p->rxq->index == queue) {
		vnet_rx_stop(p);
		if (queue / 2 < vn->n_active) {
			vn->n_active = queue / 2;
			/* Who waited for this ring has another one now, if there is any. */
			vnet_ready_later(vn);
		}
	} else {
		vnet_tx_stop(p);
	}
}

static void vnet_kick(struct virtio_dev *dev, unsigned int queue)
{
	struct vnet *vn = vnet_of(dev);
	struct vnet_pair *p = vnet_queue_pair(vn, queue);

	if (queue >= dev->n_queues || !vq_ready(&dev->queues[queue]))
		return;
	if (!p && vn->ctrl && vn->ctrl->index == queue)
		vnet_ctrl_kick(vn);
	else if (p && p->rxq->index == queue)
		vnet_rx_kick(p);
	else if (p)
		vnet_tx_kick(p);
}

static void vnet_config(const struct vnet *vn, struct virtio_net_config *c)
{
	uint16_t status = (vn->link_up ? VIRTIO_NET_S_LINK_UP : 0) |
			  (vn->announcing ? VIRTIO_NET_S_ANNOUNCE : 0);

	*c = (struct virtio_net_config){
		.status = htole16(status),
		.max_virtqueue_pairs = htole16((uint16_t)vn->dev.max_pairs),
		.mtu = htole16(vn->mtu ? vn->mtu : vn->host_mtu),
		.speed = htole32(vn->speed),
		.duplex = vn->duplex,
	};
	memcpy(c->mac, vn->filter.mac, 6);
}

static bool config_inside(uint32_t off, uint32_t len)
{
	return off <= sizeof(struct virtio_net_config) &&
	       len <= sizeof(struct virtio_net_config) - off;
}

static int vnet_config_read(struct virtio_dev *dev, uint32_t off, void *buf, uint32_t len)
{
	struct virtio_net_config c;

	if (!config_inside(off, len))
		return -EINVAL;
	vnet_config(vnet_of(dev), &c);
	memcpy(buf, (const uint8_t *)&c + off, len);
	return 0;
}

/* Read-only, but for the MAC of legacy drivers (5.1.4.3); writes elsewhere have no effect. */
static int vnet_config_write(struct virtio_dev *dev, uint32_t off, const void *buf, uint32_t len)
{
	const uint64_t modern = VNET_BIT(VIRTIO_F_VERSION_1) | VNET_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR);
	struct vnet *vn = vnet_of(dev);

	if (!config_inside(off, len))
		return -EINVAL;
	if (!(dev->features & modern) && off < 6)
		memcpy(vn->filter.mac + off, buf, min(len, 6 - off));
	return 0;
}

static void vnet_set_mtu(struct virtio_dev *dev, uint16_t mtu)
{
	struct vnet *vn = vnet_of(dev);

	vn->mtu = mtu < VNET_MTU_MIN ? 0 : mtu;
	vnet_update_caps(vn);
}

/* By the guest itself if it can, else by us. */
static void vnet_announce(struct virtio_dev *dev, const uint8_t mac[6])
{
	const uint64_t need = VNET_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) | VNET_BIT(VIRTIO_NET_F_STATUS);
	struct vnet *vn = vnet_of(dev);

	if (vnet_has_ctrl(vn) && (dev->features & need) == need) {
		vn->announcing = true;
		vnet_config_changed(vn);
	} else if (!vnet_path_announce(vn, mac)) {
		twx_port_announce(vn->pairs[0].port, mac);
	}
}

static void vnet_reset(struct virtio_dev *dev)
{
	struct vnet *vn = vnet_of(dev);

	vnet_filter_reset(vn);
	vn->announcing = false;
	vn->announce_due = false;
	vn->ctrl_again = false;
	vn->path_failed = false;
	vn->mtu = 0;
	vnet_set_features(dev, 0);
}

static const struct virtio_dev_ops vnet_dev_ops = {
	.set_features = vnet_set_features,
	.queue_start = vnet_queue_start,
	.queue_stop = vnet_queue_stop,
	.kick = vnet_kick,
	.config_read = vnet_config_read,
	.config_write = vnet_config_write,
	.set_mtu = vnet_set_mtu,
	.announce = vnet_announce,
	.reset = vnet_reset,
};

/* The core's calls. */

void vnet_link_changed(struct twx_port *port)
{
	struct vnet *vn = vnet_pair(port)->vn;
	bool up = !vn->pairs[0].port->link_down;

	vnet_path_link_changed(vn);
	if (up == vn->link_up)
		return;
	vn->link_up = up;
	vnet_config_changed(vn);
}

static void vnet_info(struct twx_port *port, char *buf, size_t size)
{
	const struct vnet *vn = vnet_pair(port)->vn;
	const uint8_t *m = vn->filter.mac;

	for (unsigned int i = vn->nic->n_ports; i-- > 0;)
		if (vn->pairs[i].learned_valid)
			m = vn->pairs[i].learned;

	snprintf(buf, size, "model=%s,macaddr=%02x:%02x:%02x:%02x:%02x:%02x", port->model, m[0],
		 m[1], m[2], m[3], m[4], m[5]);
}

static const struct twx_port_ops vnet_port_ops = {
	.receive = vnet_rx_receive,
	.resume = vnet_tx_resume,
	.reserve = vnet_rx_reserve,
	.commit = vnet_rx_commit,
	.abort = vnet_rx_abort,
	.link_changed = vnet_link_changed,
	.info = vnet_info,
};

/* Set-up. */

static int vnet_add_pairs(struct vnet *vn, struct twx_error *e)
{
	for (unsigned int i = 0; i < vn->dev.max_pairs; i++) {
		struct vnet_pair *p = &vn->pairs[i];

		p->vn = vn;
		p->rxq = &vn->dev.queues[2 * i];
		p->txq = &vn->dev.queues[2 * i + 1];
		p->task.fn = vnet_task;
		vnet_path_init(p);
		vnet_cross_init(p);
		p->port = twx_nic_add_port(vn->nic, e);
		if (!p->port)
			return e && e->code ? -e->code : -ENOMEM;
		twx_timer_init(&p->tx_timer, p->port->loop, vnet_tx_due);
		virtio_queue_set_loop(&vn->dev, 2 * i, p->port->loop);
		virtio_queue_set_loop(&vn->dev, 2 * i + 1, p->port->loop);
		vn->apart |= p->port->loop != vn->nic->loop;
	}
	return 0;
}

static void vnet_free(struct vnet *vn)
{
	free(vn->pairs);
	virtio_dev_fini(&vn->dev);
}

static enum virtio_form vnet_form(const struct twx_nic_model *model)
{
	return model == &virtio_net_transitional_model	     ? VIRTIO_FORM_TRANSITIONAL
	       : model == &virtio_net_non_transitional_model ? VIRTIO_FORM_MODERN
							     : VIRTIO_FORM_ANY;
}

static int vnet_open(struct twx_nic *nic, const struct twx_opts *opts, struct twx_error *e)
{
	struct vnet *vn = nic->priv;
	unsigned int n;
	int rc;

	vn->nic = nic;
	rc = vnet_take_options(vn, opts, e);
	if (rc < 0)
		return rc;
	n = vn->dev.max_pairs;
	vn->link_up = true;
	vn->task.fn = vnet_dev_task;
	vn->pairs = calloc(n, sizeof(*vn->pairs));
	if (!vn->pairs || virtio_dev_init(&vn->dev, &vnet_dev_ops, nic->loop, 2 * n + 1) < 0) {
		vnet_free(vn);
		return twx_error_set(e, ENOMEM, "device %s: out of memory", nic->id);
	}
	vnet_describe(vn, opts);
	rc = vnet_path_open(vn, e);
	if (rc < 0) {
		vnet_free(vn);
		return rc;
	}
	vn->dev.form = vnet_form(nic->model);
	vn->state = (struct state_desc){ vnet_sections, vn, sizeof(*vn) };
	vn->dev.state = &vn->state;
	rc = vnet_add_pairs(vn, e);
	if (rc < 0) {
		vnet_free(vn);
		return rc;
	}
	vnet_reset(&vn->dev);
	return 0;
}

static void vnet_close(struct twx_nic *nic)
{
	struct vnet *vn = nic->priv;

	for (unsigned int i = 0; i < 2 * vn->dev.max_pairs + 1; i++)
		virtio_queue_stop(&vn->dev, i);
	twx_loop_undefer(nic->loop, &vn->task);
	for (unsigned int i = 0; i < vn->dev.max_pairs; i++) {
		twx_loop_undefer(vn->pairs[i].port->loop, &vn->pairs[i].task);
		vnet_cross_fini(&vn->pairs[i]);
		vnet_path_fini(&vn->pairs[i]);
	}
	vnet_free(vn);
}

#define VNET_MODEL(sym, model_name, text)                                                          \
	const struct twx_nic_model sym = {                                                         \
		.name = model_name,                                                                \
		.help = text,                                                                      \
		.bus = "virtio",                                                                   \
		.options = vnet_options,                                                           \
		.port_ops = &vnet_port_ops,                                                        \
		.priv_size = sizeof(struct vnet),                                                  \
		.open = vnet_open,                                                                 \
		.close = vnet_close,                                                               \
	}

VNET_MODEL(virtio_net_model, "virtio-net", "virtio network card");
VNET_MODEL(virtio_net_pci_model, "virtio-net-pci", "the same, by QEMU's name");
VNET_MODEL(virtio_net_transitional_model, "virtio-net-pci-transitional",
	   "virtio network card, as a PCI function with the legacy interface");
VNET_MODEL(virtio_net_non_transitional_model, "virtio-net-pci-non-transitional",
	   "virtio network card, as a PCI function without the legacy interface");
