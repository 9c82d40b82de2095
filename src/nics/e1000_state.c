/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * e1000: what is saved, in sections, and what is believed of what is loaded: whatever a guest could
 * have brought the device to. Deadlines are in the device's clock, which is saved beside them and
 * goes on where it stood; so timers have the time left that they had.
 */
#include <errno.h>

#include "nics/e1000.h"

#define CLOCK_MAX (1ull << 62)
#define IOADDR_MAX 0xfffffu

static void clock_before_save(void *obj)
{
	struct e1000 *d = obj;

	d->clock = e1000_now(d);
}

static int clock_check(const void *copy, struct twx_error *e)
{
	const struct e1000 *d = copy;

	return d->clock < CLOCK_MAX ? 0 : twx_error_set(e, EINVAL, "the clock is out of range");
}

static void clock_loaded(void *obj)
{
	struct e1000 *d = obj;

	d->clock_off = twx_loop_now(d->pci.loop) - d->clock;
	twx_timer_cancel(&d->irq.timer);
	twx_timer_cancel(&d->autoneg_timer);
}

static int regs_check(const void *copy, struct twx_error *e)
{
	const struct e1000 *d = copy;

	if (d->ioaddr > IOADDR_MAX)
		return twx_error_set(e, EINVAL, "IOADDR has %#x", d->ioaddr);
	return e1000_regs_check(d, e);
}

static int pbm_check(const void *copy, struct twx_error *e)
{
	const struct e1000 *d = copy;
	uint8_t used;

	/* Another value than a bool's must not be looked at as one. */
	memcpy(&used, &d->pbm_used, 1);
	if (used > !(d->gated & E1000_EXTRA))
		return twx_error_set(e, EINVAL, "packet buffer memory that is not there is in use");
	return 0;
}

static int eeprom_check(const void *copy, struct twx_error *e)
{
	return e1000_eeprom_check(copy, e);
}

static int phy_check(const void *copy, struct twx_error *e)
{
	return e1000_phy_check(copy, e);
}

static int irq_check(const void *copy, struct twx_error *e)
{
	return e1000_irq_check(copy, e);
}

static void phy_loaded(void *obj)
{
	e1000_phy_loaded(obj);
}

static void irq_loaded(void *obj)
{
	e1000_irq_update(obj);
}

static const struct state_field clock_fields[] = {
	STATE_U64(struct e1000, clock),
	{ 0 },
};

static const struct state_field eeprom_fields[] = {
	STATE_U16(struct e1000, eeprom),
	STATE_U8(struct e1000, ee.phase),
	STATE_U8(struct e1000, ee.n),
	STATE_U8(struct e1000, ee.addr),
	STATE_U8(struct e1000, ee.out),
	STATE_U16(struct e1000, ee.shift),
	{ 0 },
};

static const struct state_field pbm_fields[] = {
	STATE_U8(struct e1000, pbm_used),
	STATE_U32(struct e1000, pbm),
	{ 0 },
};

static const struct state_field phy_fields[] = {
	STATE_U16(struct e1000, phy),
	STATE_U64(struct e1000, autoneg_due),
	{ 0 },
};

static const struct state_field irq_fields[] = {
	STATE_U32(struct e1000, irq.held),
	STATE_U64(struct e1000, irq.next),
	STATE_U64(struct e1000, irq.rx_abs),
	STATE_U64(struct e1000, irq.rx_due),
	STATE_U64(struct e1000, irq.tx_abs),
	STATE_U64(struct e1000, irq.tx_due),
	{ 0 },
};

/* The clock comes first and the line last, as after_load runs in this order. */
const struct state_section e1000_sections[] = {
	{ .name = "e1000/clock",
	  .version = 1,
	  .fields = clock_fields,
	  .before_save = clock_before_save,
	  .check = clock_check,
	  .after_load = clock_loaded },
	{ .name = "e1000/regs", .version = 1, .fields = e1000_reg_fields, .check = regs_check },
	{ .name = "e1000/pbm", .version = 1, .fields = pbm_fields, .check = pbm_check },
	{ .name = "e1000/eeprom", .version = 1, .fields = eeprom_fields, .check = eeprom_check },
	{ .name = "e1000/tx",
	  .version = 1,
	  .fields = e1000_tx_fields,
	  .check = e1000_tx_check,
	  .after_load = e1000_tx_loaded },
	{ .name = "e1000/rx",
	  .version = 1,
	  .fields = e1000_rx_fields,
	  .check = e1000_rx_check,
	  .after_load = e1000_rx_loaded },
	{ .name = "e1000/phy",
	  .version = 1,
	  .fields = phy_fields,
	  .check = phy_check,
	  .after_load = phy_loaded },
	{ .name = "e1000/irq",
	  .version = 1,
	  .fields = irq_fields,
	  .check = irq_check,
	  .after_load = irq_loaded },
	{ 0 },
};
