/* SPDX-License-Identifier: BSD-3-Clause */
/* e1000: which received frames the guest wants (8254x manual, 3.2.1, 9.3, 13.5.1 to 13.5.3). */
#include "nics/e1000_rx.h"

#include "base/macros.h"

#define RA_ENTRIES 16
#define VID_MASK 0xfff
#define ETH_MAC_CONTROL 0x8808
#define MAC_CONTROL_PAUSE 1

static bool filter_vlan(const struct e1000 *d, const uint8_t *head, uint32_t len, bool has_vlan,
			uint16_t vlan)
{
	if (!has_vlan) {
		uint32_t type = (uint32_t)(head[12] << 8 | head[13]);

		if (type != (d->reg[R_VET] & 0xffff) || len < 16)
			return true;
		vlan = (uint16_t)(head[14] << 8 | head[15]);
	}
	/* 13.5.3.1: a tag's CFI bit is compared with RCTL.CFI when CFIEN asks for it. */
	if ((d->reg[R_RCTL] & RCTL_CFIEN) && !(vlan & 0x1000) != !(d->reg[R_RCTL] & RCTL_CFI))
		return false;
	vlan &= VID_MASK;
	return d->reg[R_VFTA + vlan / 32] >> vlan % 32 & 1;
}

/* 13.5.2: exact addresses, of any kind. */
static bool filter_exact(const struct e1000 *d, const uint8_t *dst)
{
	uint32_t lo, hi;

	lo = dst[0] | (uint32_t)dst[1] << 8 | (uint32_t)dst[2] << 16 | (uint32_t)dst[3] << 24;
	hi = RAH_AV | dst[4] | (uint32_t)dst[5] << 8;
	for (unsigned int i = 0; i < RA_ENTRIES; i++)
		if (d->reg[R_RA + 2 * i] == lo &&
		    (d->reg[R_RA + 2 * i + 1] & (RAH_AV | 0xffff)) == hi)
			return true;
	return false;
}

/* 13.5.1: a hash of 12 bits of the address, taken where RCTL.MO says. */
static bool filter_hash(const struct e1000 *d, const uint8_t *dst)
{
	static const uint8_t shift[4] = { 4, 3, 2, 0 };
	uint32_t mo = (d->reg[R_RCTL] & RCTL_MO) >> RCTL_MO_SHIFT;
	uint32_t bit = ((uint32_t)dst[4] | (uint32_t)dst[5] << 8) >> shift[mo] & 0xfff;

	return d->reg[R_MTA + bit / 32] >> bit % 32 & 1;
}

static bool filter_is_broadcast(const uint8_t *dst)
{
	return (dst[0] & dst[1] & dst[2] & dst[3] & dst[4] & dst[5]) == 0xff;
}

uint8_t e1000_filter_status(const struct e1000 *d, const uint8_t *dst)
{
	if (filter_is_broadcast(dst) && (d->reg[R_RCTL] & RCTL_BAM))
		return 0;
	return filter_exact(d, dst) ? 0 : RXD_PIF;
}

/* 13.4.22: PAUSE to the station may be discarded, other MAC control frames passed whoever they are
 * for. */
enum filter_control { CONTROL_NO, CONTROL_PASS, CONTROL_DROP };

static enum filter_control filter_control(const struct e1000 *d, const uint8_t *head, uint32_t len)
{
	uint32_t rctl = d->reg[R_RCTL];

	if (len < 16 || (head[12] << 8 | head[13]) != ETH_MAC_CONTROL)
		return CONTROL_NO;
	if ((head[14] << 8 | head[15]) != MAC_CONTROL_PAUSE)
		return rctl & RCTL_PMCF ? CONTROL_PASS : CONTROL_NO;
	return (rctl & RCTL_DPF) && filter_exact(d, head) ? CONTROL_DROP : CONTROL_NO;
}

bool e1000_filter_pass(const struct e1000 *d, const uint8_t *head, uint32_t len, bool has_vlan,
		       uint16_t vlan)
{
	uint32_t rctl = d->reg[R_RCTL];
	enum filter_control control = CONTROL_NO;

	if (unlikely(rctl & (RCTL_DPF | RCTL_PMCF)))
		control = filter_control(d, head, len);
	if (control != CONTROL_NO)
		return control == CONTROL_PASS;
	if (unlikely(rctl & RCTL_VFE) && !filter_vlan(d, head, len, has_vlan, vlan))
		return false;
	if (head[0] & 1) {
		if (rctl & RCTL_MPE)
			return true;
		if (filter_is_broadcast(head) && (rctl & RCTL_BAM))
			return true;
		return filter_exact(d, head) || filter_hash(d, head);
	}
	return (rctl & RCTL_UPE) || filter_exact(d, head) || filter_hash(d, head);
}
