/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-net: the header in front of each frame and our own metadata (virtio 1.2, 5.1.6).
 *
 * Here only what is virtio's is judged: what was negotiated. Whether a request fits its frame is
 * the core's to say, for every sender alike.
 */
#include "nics/virtio_net.h"

#include "base/macros.h"

/* The feature that allows each kind of segmentation request; 0 where there is no such kind. */
static uint64_t gso_feature(uint8_t type)
{
	switch (type) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return VNET_BIT(VIRTIO_NET_F_HOST_TSO4);
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return VNET_BIT(VIRTIO_NET_F_HOST_TSO6);
	case VIRTIO_NET_HDR_GSO_UDP:
		return VNET_BIT(VIRTIO_NET_F_HOST_UFO);
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		return VNET_BIT(VIRTIO_NET_F_HOST_USO);
	default:
		return 0;
	}
}

static bool gso_to_meta(const struct vnet_hdr *h, uint64_t features, struct twx_meta *meta)
{
	uint8_t type = h->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
	bool ecn = h->gso_type & VIRTIO_NET_HDR_GSO_ECN;
	uint64_t need = gso_feature(type);

	/* Legacy VIRTIO_NET_F_GSO stands for every kind. */
	if (need && (features & VNET_BIT(VIRTIO_NET_F_GSO)))
		need = VNET_BIT(VIRTIO_NET_F_GSO);
	else if (ecn)
		need |= need ? VNET_BIT(VIRTIO_NET_F_HOST_ECN) : 0;
	if (!need || (features & need) != need)
		return false;
	meta->gso = type;
	meta->gso_size = le16_get(h->gso_size);
	if (ecn)
		meta->flags |= TWX_F_ECN;
	/* 5.1.6.2.1: segmentation needs the checksum request. */
	return meta->flags & TWX_F_NEEDS_CSUM;
}

bool vnet_hdr_to_meta(const struct vnet_hdr *h, uint64_t features, uint32_t len,
		      struct twx_meta *meta)
{
	*meta = (struct twx_meta){ 0 };
	if (likely(!(h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) && !h->gso_type))
		return true;
	if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		if (!(features & VNET_BIT(VIRTIO_NET_F_CSUM)))
			return false;
		meta->flags = TWX_F_NEEDS_CSUM;
		meta->csum_start = le16_get(h->csum_start);
		meta->csum_off = le16_get(h->csum_offset);
	}
	/* A hint that lies beyond the frame is no hint. */
	if (le16_get(h->hdr_len) <= len)
		meta->hdr_len = le16_get(h->hdr_len);
	return !h->gso_type || gso_to_meta(h, features, meta);
}

void vnet_hdr_from_meta(struct vnet_hdr *h, const struct twx_meta *meta, uint16_t num_buffers)
{
	*h = (struct vnet_hdr){ .num_buffers = le16_make(num_buffers) };
	if (likely(!(meta->flags | meta->gso)))
		return;
	if (meta->flags & TWX_F_NEEDS_CSUM) {
		h->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		h->csum_start = le16_make(meta->csum_start);
		h->csum_offset = le16_make(meta->csum_off);
	} else if (meta->flags & TWX_F_CSUM_VALID) {
		h->flags = VIRTIO_NET_HDR_F_DATA_VALID;
	}
	if (!meta->gso)
		return;
	h->gso_type = meta->gso;
	if (meta->flags & TWX_F_ECN)
		h->gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	h->gso_size = le16_make(meta->gso_size);
	h->hdr_len = le16_make(meta->hdr_len);
}
