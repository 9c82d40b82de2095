/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-net: the control queue and the receive filter that it sets (virtio 1.2, 5.1.6.5).
 *
 * A command is class, command, data, read once through a cursor that knows what is left; its answer
 * is one byte. Missing bytes fail the command; surplus bytes are ignored, but for MAC_ADDR_SET,
 * whose length is exact. A chain without room for class, command and answer breaks the queue.
 * Commands of a class that was not negotiated fail. Front ends such as QEMU keep this queue to
 * themselves: then the filter stays as reset leaves it, promiscuous.
 */
#include "nics/virtio_net.h"

#include <string.h>

#include "base/iov.h"
#include "base/macros.h"

#define VLAN_TYPE 0x8100

/* What is left of a command. */
struct ctrl {
	const struct iovec *iov;
	size_t n, off, left;
};

static bool ctrl_get(struct ctrl *c, void *to, size_t len)
{
	if (len > c->left)
		return false;
	iov_copy_from(c->iov, c->n, c->off, to, len);
	/* What was read is not read again. */
	__asm__ volatile("" : : "r"(to) : "memory");
	c->off += len;
	c->left -= len;
	return true;
}

static bool ctrl_get16(struct ctrl *c, uint16_t *v)
{
	le16 raw;

	if (!ctrl_get(c, &raw, sizeof(raw)))
		return false;
	*v = le16_get(raw);
	return true;
}

static bool negotiated(const struct vnet *vn, unsigned int bit)
{
	return vn->dev.features & VNET_BIT(bit);
}

static bool ctrl_rx(struct vnet *vn, uint8_t cmd, struct ctrl *c)
{
	struct vnet_filter *f = &vn->filter;
	bool *const modes[] = {
		[VIRTIO_NET_CTRL_RX_PROMISC] = &f->promisc,
		[VIRTIO_NET_CTRL_RX_ALLMULTI] = &f->allmulti,
		[VIRTIO_NET_CTRL_RX_ALLUNI] = &f->alluni,
		[VIRTIO_NET_CTRL_RX_NOMULTI] = &f->nomulti,
		[VIRTIO_NET_CTRL_RX_NOUNI] = &f->nouni,
		[VIRTIO_NET_CTRL_RX_NOBCAST] = &f->nobcast,
	};
	uint8_t on;

	if (cmd >= array_size(modes) || !ctrl_get(c, &on, 1))
		return false;
	if (!negotiated(vn, cmd <= VIRTIO_NET_CTRL_RX_ALLMULTI ? VIRTIO_NET_F_CTRL_RX
							       : VIRTIO_NET_F_CTRL_RX_EXTRA))
		return false;
	*modes[cmd] = on != 0;
	return true;
}

/* One list of MAC addresses, behind those in @f; one that has no room there sets @overflow. */
static bool ctrl_mac_list(struct vnet_filter *f, struct ctrl *c, bool *overflow)
{
	uint32_t n;
	le32 raw;

	if (!ctrl_get(c, &raw, sizeof(raw)))
		return false;
	n = le32_get(raw);
	if ((uint64_t)n * 6 > c->left)
		return false;
	*overflow = n > (uint32_t)(VNET_MAC_TABLE - f->n_macs);
	if (*overflow) {
		c->off += (size_t)n * 6;
		c->left -= (size_t)n * 6;
		return true;
	}
	ctrl_get(c, (uint8_t *)f->macs + (size_t)f->n_macs * 6, (size_t)n * 6);
	f->n_macs = (uint16_t)(f->n_macs + n);
	return true;
}

/* Changes nothing unless both lists are sound. */
static bool ctrl_mac_table(struct vnet *vn, struct ctrl *c)
{
	struct vnet_filter f = vn->filter;

	f.n_macs = f.n_uni = 0;
	if (!negotiated(vn, VIRTIO_NET_F_CTRL_RX) || !ctrl_mac_list(&f, c, &f.uni_overflow))
		return false;
	f.n_uni = f.n_macs;
	if (!ctrl_mac_list(&f, c, &f.multi_overflow))
		return false;
	vn->filter = f;
	return true;
}

static bool ctrl_mac(struct vnet *vn, uint8_t cmd, struct ctrl *c)
{
	if (cmd == VIRTIO_NET_CTRL_MAC_TABLE_SET)
		return ctrl_mac_table(vn, c);
	if (cmd != VIRTIO_NET_CTRL_MAC_ADDR_SET || c->left != 6 ||
	    !negotiated(vn, VIRTIO_NET_F_CTRL_MAC_ADDR))
		return false;
	/* What it sent under before is not its address any more. */
	for (unsigned int i = 0; i < vn->nic->n_ports; i++)
		vn->pairs[i].learned_valid = false;
	return ctrl_get(c, vn->filter.mac, 6);
}

static bool ctrl_vlan(struct vnet *vn, uint8_t cmd, struct ctrl *c)
{
	uint16_t vid;

	if (!negotiated(vn, VIRTIO_NET_F_CTRL_VLAN) || !ctrl_get16(c, &vid) || vid >= 4096)
		return false;
	if (cmd == VIRTIO_NET_CTRL_VLAN_ADD)
		vn->filter.vlans[vid / 8] |= (uint8_t)(1u << (vid % 8));
	else if (cmd == VIRTIO_NET_CTRL_VLAN_DEL)
		vn->filter.vlans[vid / 8] &= (uint8_t) ~(1u << (vid % 8));
	else
		return false;
	return true;
}

static bool ctrl_announce(struct vnet *vn, uint8_t cmd, struct ctrl *c)
{
	if (cmd != VIRTIO_NET_CTRL_ANNOUNCE_ACK || !negotiated(vn, VIRTIO_NET_F_GUEST_ANNOUNCE) ||
	    !vn->announcing)
		return false;
	vn->announcing = false;
	return true;
}

static bool ctrl_mq(struct vnet *vn, uint8_t cmd, struct ctrl *c)
{
	uint16_t pairs;

	if (cmd != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || !negotiated(vn, VIRTIO_NET_F_MQ) ||
	    !ctrl_get16(c, &pairs) || pairs < 1 || pairs > vn->dev.max_pairs)
		return false;
	vn->curr_pairs = pairs;
	vnet_update_active(vn);
	vnet_path_pairs_changed(vn);
	return true;
}

static bool ctrl_offloads(struct vnet *vn, uint8_t cmd, struct ctrl *c)
{
	uint64_t want;
	le64 raw;

	if (cmd != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET ||
	    !negotiated(vn, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) || !ctrl_get(c, &raw, sizeof(raw)))
		return false;
	want = le64_get(raw);
	if (want & ~vnet_guest_offloads(vn->dev.features))
		return false;
	vn->offloads = want;
	vnet_update_caps(vn);
	return true;
}

static bool ctrl_command(struct vnet *vn, struct ctrl *c)
{
	static bool (*const classes[])(struct vnet *, uint8_t, struct ctrl *) = {
		[VIRTIO_NET_CTRL_RX] = ctrl_rx,
		[VIRTIO_NET_CTRL_MAC] = ctrl_mac,
		[VIRTIO_NET_CTRL_VLAN] = ctrl_vlan,
		[VIRTIO_NET_CTRL_ANNOUNCE] = ctrl_announce,
		[VIRTIO_NET_CTRL_MQ] = ctrl_mq,
		[VIRTIO_NET_CTRL_GUEST_OFFLOADS] = ctrl_offloads,
	};
	uint8_t head[2];

	if (!ctrl_get(c, head, sizeof(head)) || head[0] >= array_size(classes))
		return false;
	return classes[head[0]](vn, head[1], c);
}

/* Answers one chain; false if it cannot even be answered. */
static bool ctrl_chain(struct vnet *vn, const struct vq_chain *chain, const struct iovec *iov)
{
	struct ctrl c = { .iov = iov, .n = chain->n_out, .left = chain->out_len };
	uint8_t ack;

	if (chain->out_len < 2 || chain->in_len < 1)
		return false;
	ack = ctrl_command(vn, &c) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
	*(uint8_t *)iov[chain->n_out].iov_base = ack;
	mem_dirty(vn->dev.mem, iov[chain->n_out].iov_base, 1);
	vq_push(vn->ctrl, &chain->elem, 1);
	return true;
}

/* Drivers wait for each answer, so doorbells stay on; more than a ring full is deferred. */
void vnet_ctrl_kick(struct vnet *vn)
{
	struct virtqueue *vq = vn->ctrl;
	struct iovec iov[VQ_MAX_IOV];
	struct vq_chain c;
	int rc = 0;

	for (unsigned int i = 0; vq_ready(vq) && i < vq->size; i++) {
		rc = vq_pop(vq, &c, iov, VQ_MAX_IOV);
		if (rc == 0)
			break;
		if (rc < 0 || !ctrl_chain(vn, &c, iov)) {
			vq_unpop(vq, &c.elem);
			vq_break(vq);
		}
	}
	vq_publish(vq);
	vn->ctrl_again = vq_notify_enable(vq);
	vnet_defer_all(vn);
}

void vnet_filter_reset(struct vnet *vn)
{
	vn->filter = (struct vnet_filter){ .promisc = true };
	memcpy(vn->filter.mac, vn->nic->mac, 6);
}

static bool filter_table(const struct vnet_filter *f, unsigned int from, unsigned int to,
			 const uint8_t *mac)
{
	for (unsigned int i = from; i < to; i++)
		if (!memcmp(f->macs[i], mac, 6))
			return true;
	return false;
}

bool vnet_filter_pass(const struct vnet_filter *f, const uint8_t *head, uint32_t len)
{
	static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	if (f->promisc)
		return true;
	if (f->vlan && len >= 16 && (head[12] << 8 | head[13]) == VLAN_TYPE) {
		unsigned int vid = (head[14] << 8 | head[15]) & 0xfff;

		if (!(f->vlans[vid / 8] >> (vid % 8) & 1))
			return false;
	}
	if (!memcmp(head, broadcast, 6))
		return !f->nobcast;
	if (head[0] & 1)
		return !f->nomulti && (f->allmulti || f->multi_overflow ||
				       filter_table(f, f->n_uni, f->n_macs, head));
	return !f->nouni && (f->alluni || f->uni_overflow || !memcmp(head, f->mac, 6) ||
			     filter_table(f, 0, f->n_uni, head));
}
