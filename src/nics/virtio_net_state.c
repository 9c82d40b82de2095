/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-net: what is saved beside the transport's part. Everything else follows from the features
 * (header length, control queue) or is the host's own (whether the cable is in).
 */
#include "nics/virtio_net.h"

#include <errno.h>
#include <string.h>

#include "base/macros.h"

static const struct state_field filter_fields[] = {
	STATE_U8(struct vnet, filter.promisc),	    STATE_U8(struct vnet, filter.allmulti),
	STATE_U8(struct vnet, filter.alluni),	    STATE_U8(struct vnet, filter.nomulti),
	STATE_U8(struct vnet, filter.nouni),	    STATE_U8(struct vnet, filter.nobcast),
	STATE_U8(struct vnet, filter.uni_overflow), STATE_U8(struct vnet, filter.multi_overflow),
	STATE_U8(struct vnet, filter.mac),	    STATE_U16(struct vnet, filter.n_uni),
	STATE_U16(struct vnet, filter.n_macs),	    STATE_U8(struct vnet, filter.macs),
	STATE_U8(struct vnet, filter.vlans),	    { 0 },
};

static const struct state_field net_fields[] = {
	STATE_U64(struct vnet, offloads),
	STATE_U32(struct vnet, curr_pairs),
	STATE_U8(struct vnet, link_up),
	STATE_U8(struct vnet, announcing),
	{ 0 },
};

/* Looked at as a byte: a bool that holds anything else must not be read as one. */
static bool bools_ok(const void *copy, const struct state_field *fields, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		if (((const uint8_t *)copy)[fields[i].off] > 1)
			return false;
	return true;
}

static int filter_check(const void *copy, struct twx_error *e)
{
	const struct vnet_filter *f = &((const struct vnet *)copy)->filter;

	if (!bools_ok(copy, filter_fields, 8))
		return twx_error_set(e, EINVAL, "a receive mode is neither on nor off");
	if (f->n_macs > VNET_MAC_TABLE || f->n_uni > f->n_macs)
		return twx_error_set(e, EINVAL,
				     "%u addresses, %u of them unicast, in a table of %u",
				     f->n_macs, f->n_uni, VNET_MAC_TABLE);
	return 0;
}

static int net_check(const void *copy, struct twx_error *e)
{
	const struct vnet *vn = copy;
	uint64_t features = vn->dev.features;
	unsigned int most = features & VNET_BIT(VIRTIO_NET_F_MQ) ? vn->dev.max_pairs : 1;

	if (!bools_ok(copy, net_fields + 2, 2))
		return twx_error_set(e, EINVAL, "link or announcement is neither on nor off");
	if (vn->curr_pairs < 1 || vn->curr_pairs > most)
		return twx_error_set(e, EINVAL, "%u queue pairs of %u", vn->curr_pairs, most);
	if (vn->offloads & ~vnet_guest_offloads(features))
		return twx_error_set(e, EINVAL, "offloads %#llx were not agreed on",
				     (unsigned long long)vn->offloads);
	return 0;
}

/* What the features say, and then what the guest has chosen among it. */
static void net_loaded(void *obj)
{
	struct vnet *vn = obj;
	uint64_t offloads = vn->offloads;

	virtio_set_features(&vn->dev, vn->dev.features);
	vn->offloads = offloads;
	for (unsigned int i = 0; i < vn->nic->n_ports; i++)
		vn->pairs[i].learned_valid = false;
	vn->announce_due = true;
	vnet_update_caps(vn);
	vnet_link_changed(vn->pairs[0].port); /* the cable is another one */
}

const struct state_section vnet_sections[] = {
	VIRTIO_STATE_SECTION,
	{ .name = "virtio-net/filter",
	  .version = 1,
	  .fields = filter_fields,
	  .check = filter_check },
	{ .name = "virtio-net",
	  .version = 1,
	  .fields = net_fields,
	  .check = net_check,
	  .after_load = net_loaded },
	{ 0 },
};
