/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * e1000: the PHY behind MDIC, auto-negotiation, and the link.
 *
 * A Marvell 88E1011 at PHY address 1 (8254x manual, chapters 11 and 13.4.7; registers 0 to 10 and
 * 15 are IEEE 802.3's, 22.2.4 and 40.5). Its registers are a table; those that it does not have
 * answer with MDIC.E.
 *
 * There is no wire, so negotiation is a pause: the link goes down at once and is up 500 ms later,
 * with BMSR, ANLPAR and PSSR as if a partner with every ability had answered, and LSC raised. It
 * starts by BMCR, by CTRL.PHY_RST and when the cable is plugged in (set_link). Without
 * auto-negotiation (BMCR, or autonegotiation=off) the link follows the cable at once.
 *
 * STATUS.LU is what the PHY says. STATUS.SPEED and FD are 1000 Mbit/s, full duplex, unless CTRL
 * forces something else (13.4.1 FRCSPD, FRCDPLX); frames pass at any speed.
 *
 * BMSR's link bit is not latched low, as in QEMU: drivers that read it once see the link as it is.
 */
#include <errno.h>

#include "base/macros.h"
#include "nics/e1000.h"

#define PHY_ADDRESS 1
#define AUTONEG_NS 500000000ull

/* Numbers of registers and bits: IEEE 802.3, 22.2.4, and the manual's 13.3. */
enum {
	PHY_BMCR = 0,
	PHY_BMSR = 1,
	PHY_ID2 = 3,
	PHY_ANLPAR = 5,
	PHY_PSSR = 17,
};
enum {
	BMCR_RESTART = 1 << 9,
	BMCR_POWER_DOWN = 1 << 11,
	BMCR_AN = 1 << 12,
	BMCR_LOOPBACK = 1 << 14,
	BMCR_RESET = 1 << 15,
};
enum { BMSR_LINK = 1 << 2, BMSR_AN_COMPLETE = 1 << 5 };
enum { ANLPAR_ACK = 1 << 14 };
enum { PSSR_LINK = 1 << 10 };

/* @live: bits that change by themselves. */
struct phy_reg {
	bool there;
	uint16_t reset, writable, live;
};

static const struct phy_reg phy_regs[E1000_PHY_REGS] = {
	[PHY_BMCR] = { true, 0x1140, 0x7dc0, 0 },
	[PHY_BMSR] = { true, 0x794d, 0, BMSR_LINK | BMSR_AN_COMPLETE },
	[2] = { true, 0x0141, 0, 0 },
	[PHY_ID2] = { true, 0, 0, 0 }, /* the model's */
	[4] = { true, 0x0de1, 0xffff, 0 },
	[PHY_ANLPAR] = { true, 0x01e0, 0, ANLPAR_ACK },
	[6] = { true, 0x0000, 0, 0 },
	[7] = { true, 0x2001, 0xffff, 0 },
	[8] = { true, 0x0000, 0, 0 },
	[9] = { true, 0x0e00, 0xffff, 0 },
	[10] = { true, 0x3c00, 0, 0 },
	[15] = { true, 0x3000, 0, 0 },
	[16] = { true, 0x0360, 0xffff, 0 },
	[PHY_PSSR] = { true, 0xac00, 0, PSSR_LINK },
	[18] = { true, 0x0000, 0xffff, 0 },
	[19] = { true, 0x0000, 0, 0 },
	[20] = { true, 0x0d60, 0xffff, 0 },
	[21] = { true, 0x0000, 0, 0 },
	[24] = { true, 0x4100, 0xffff, 0 },
	[29] = { true, 0x0000, 0xffff, 0 },
	[30] = { true, 0x0000, 0xffff, 0 },
};

/* The link. */

void e1000_link_status(struct e1000 *d)
{
	uint32_t ctrl = d->reg[R_CTRL], status = d->reg[R_STATUS];

	status &= ~(uint32_t)(STATUS_LU | STATUS_FD | STATUS_SPEED);
	if (d->phy[PHY_BMSR] & BMSR_LINK)
		status |= STATUS_LU;
	if (!(ctrl & CTRL_FRCDPLX) || (ctrl & CTRL_FD))
		status |= STATUS_FD;
	status |= ctrl & CTRL_FRCSPD ? (ctrl & CTRL_SPEED) >> 2 : (uint32_t)STATUS_SPD_1000;
	if (status == d->reg[R_STATUS])
		return;
	d->reg[R_STATUS] = status;
	e1000_rx_config(d);
}

static void link_set(struct e1000 *d, bool up, bool negotiated)
{
	uint16_t *phy = d->phy;

	phy[PHY_BMSR] &= (uint16_t) ~(BMSR_LINK | BMSR_AN_COMPLETE);
	phy[PHY_ANLPAR] &= (uint16_t)~ANLPAR_ACK;
	phy[PHY_PSSR] &= (uint16_t)~PSSR_LINK;
	if (up) {
		phy[PHY_BMSR] |= BMSR_LINK;
		phy[PHY_PSSR] |= PSSR_LINK;
	}
	if (negotiated) {
		phy[PHY_BMSR] |= BMSR_AN_COMPLETE;
		phy[PHY_ANLPAR] |= ANLPAR_ACK;
	}
	d->autoneg_due = 0;
	twx_timer_cancel(&d->autoneg_timer);
	e1000_link_status(d);
}

static bool link_possible(const struct e1000 *d)
{
	return !d->port->link_down && !(d->phy[PHY_BMCR] & BMCR_POWER_DOWN);
}

/* What an end of the cable, of a reset or of power-down leads to. */
static void link_begin(struct e1000 *d)
{
	if (!link_possible(d)) {
		link_set(d, false, false);
	} else if (d->autonegotiation && (d->phy[PHY_BMCR] & BMCR_AN)) {
		link_set(d, false, false);
		d->autoneg_due = e1000_now(d) + AUTONEG_NS;
		e1000_timer_set(d, &d->autoneg_timer, d->autoneg_due);
	} else {
		link_set(d, true, false);
	}
}

void e1000_autoneg_done(struct twx_timer *t)
{
	struct e1000 *d = container_of(t, struct e1000, autoneg_timer);

	link_set(d, true, true);
	e1000_cause(d, ICR_LSC);
}

void e1000_link_apply(struct e1000 *d)
{
	uint32_t before = d->reg[R_STATUS];

	link_begin(d);
	if ((before ^ d->reg[R_STATUS]) & STATUS_LU)
		e1000_cause(d, ICR_LSC);
}

/* Resets. */

static void phy_defaults(struct e1000 *d)
{
	for (unsigned int i = 0; i < E1000_PHY_REGS; i++)
		d->phy[i] = phy_regs[i].reset;
	d->phy[PHY_ID2] = d->kind->phy_id2;
}

/* The machine was switched on long enough ago for the link to be there. */
void e1000_phy_reset(struct e1000 *d)
{
	phy_defaults(d);
	link_set(d, link_possible(d), false);
}

void e1000_phy_hard_reset(struct e1000 *d)
{
	phy_defaults(d);
	link_begin(d);
}

/* Registers. */

static void bmcr_write(struct e1000 *d, uint16_t value)
{
	uint16_t before = d->phy[PHY_BMCR];
	uint16_t changed;

	d->phy[PHY_BMCR] = value & phy_regs[PHY_BMCR].writable;
	changed = before ^ d->phy[PHY_BMCR];
	/* 11.1.3: a change of BMCR.AN by itself takes effect with the next of these. */
	if ((value & (BMCR_RESET | BMCR_RESTART)) || (changed & BMCR_POWER_DOWN))
		link_begin(d);
	/* Frames that wait for buffers are not heard any more. */
	if (changed & BMCR_LOOPBACK)
		e1000_rx_refill(d);
}

static bool phy_write(struct e1000 *d, unsigned int reg, uint16_t value)
{
	const struct phy_reg *r = &phy_regs[reg];

	if (!r->there)
		return false;
	if (reg == PHY_BMCR)
		bmcr_write(d, value);
	else
		d->phy[reg] = (uint16_t)((d->phy[reg] & ~r->writable) | (value & r->writable));
	return true;
}

static bool phy_access(struct e1000 *d, uint32_t *mdic)
{
	unsigned int reg = *mdic >> MDIC_REG_SHIFT & 31;

	if ((*mdic >> MDIC_PHY_SHIFT & 31) != PHY_ADDRESS)
		return false;
	switch (*mdic & MDIC_OP) {
	case MDIC_OP_READ:
		if (!phy_regs[reg].there)
			return false;
		*mdic = (*mdic & ~(uint32_t)MDIC_DATA) | d->phy[reg];
		return true;
	case MDIC_OP_WRITE:
		return phy_write(d, reg, (uint16_t)(*mdic & MDIC_DATA));
	default:
		return false;
	}
}

uint32_t e1000_mdic(struct e1000 *d, uint32_t value)
{
	value &= ~(uint32_t)(MDIC_R | MDIC_E);
	if (!phy_access(d, &value))
		value |= MDIC_E;
	value |= MDIC_R;
	if (value & MDIC_I)
		e1000_cause(d, ICR_MDAC);
	return value;
}

bool e1000_phy_loopback(const struct e1000 *d)
{
	return d->phy[PHY_BMCR] & BMCR_LOOPBACK;
}

int e1000_phy_check(const struct e1000 *copy, struct twx_error *e)
{
	for (unsigned int i = 0; i < E1000_PHY_REGS; i++) {
		uint16_t reset = i == PHY_ID2 ? copy->kind->phy_id2 : phy_regs[i].reset;
		uint16_t may = phy_regs[i].writable | phy_regs[i].live;

		if ((copy->phy[i] ^ reset) & ~may)
			return twx_error_set(e, EINVAL, "PHY register %u has %#x", i, copy->phy[i]);
	}
	if (copy->autoneg_due > copy->clock + AUTONEG_NS)
		return twx_error_set(e, EINVAL, "negotiation ends too late");
	return 0;
}

/* The cable here may not be as it was where the state comes from. */
void e1000_phy_loaded(struct e1000 *d)
{
	bool up = d->phy[PHY_BMSR] & BMSR_LINK;

	e1000_link_status(d);
	if (link_possible(d) != (up || d->autoneg_due))
		e1000_link_apply(d);
	else if (d->autoneg_due)
		e1000_timer_set(d, &d->autoneg_timer, d->autoneg_due);
}
