/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * e1000: what is saved, in sections, and what is believed of what is loaded: whatever a guest could
 * have brought the device to. Deadlines are in the device's clock, which is saved beside them and
 * goes on where it stood; so timers have the time left that they had.
 *
 * With migrate_tso_props=off there is one context for transmit in the stream, the one that came
 * last, and where it is loaded it becomes both; QEMU's machines before 2.12 saved no more.
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

/* Of a frame that is received nothing is kept between two bursts: the registers say it all. */
static void regs_loaded(void *obj)
{
	e1000_rx_config(obj);
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

/* What the rest of a half-built frame is made by is judged when it is used. */
static int tx_check(const void *copy, struct twx_error *e)
{
	const struct e1000_tx *tx = &((const struct e1000 *)copy)->tx;
	uint32_t most = tx->open.kind == E1000_TX_PLAIN ? E1000_TX_PLAIN_MAX : E1000_TX_TSO_MAX;

	if (tx->open.kind >= E1000_TX_N_KINDS || tx->open.len > most || tx->skip > 0xfffff)
		return twx_error_set(e, EINVAL, "half a frame of kind %u with %u bytes",
				     tx->open.kind, tx->open.len);
	return 0;
}

static void one_context_before_save(void *obj)
{
	struct e1000_tx *tx = &((struct e1000 *)obj)->tx;

	tx->ctx_one = tx->ctx[tx->ctx_last];
}

static void one_context_loaded(void *obj)
{
	struct e1000_tx *tx = &((struct e1000 *)obj)->tx;

	tx->ctx[0] = tx->ctx[1] = tx->ctx_one;
	e1000_tx_loaded(obj);
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

#define TXD_FIELD(member) /* in the guest's byte order */                                          \
	{                                                                                          \
#member, offsetof(struct e1000, member), 1, sizeof(((struct e1000 *)0)->member)    \
	}

#define HALF_FRAME_FIELDS                                                                          \
	STATE_U8(struct e1000, tx.open.kind), STATE_U8(struct e1000, tx.open.popts),               \
		STATE_U8(struct e1000, tx.open.vle), STATE_U16(struct e1000, tx.open.tci),         \
		STATE_U32(struct e1000, tx.open.len), STATE_U32(struct e1000, tx.open.n_segs),     \
		TXD_FIELD(tx.open.ctx), STATE_U32(struct e1000, tx.skip),                          \
		STATE_U16(struct e1000, tx.head), STATE_U8(struct e1000, tx.data)

const struct state_field e1000_tx_fields[] = { TXD_FIELD(tx.ctx), HALF_FRAME_FIELDS, { 0 } };
static const struct state_field one_context_fields[] = { TXD_FIELD(tx.ctx_one),
							 HALF_FRAME_FIELDS,
							 { 0 } };

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
static const struct state_section sections[E1000_N_SECTIONS] = {
	{ .name = "e1000/clock",
	  .version = 1,
	  .fields = clock_fields,
	  .before_save = clock_before_save,
	  .check = clock_check,
	  .after_load = clock_loaded },
	{ .name = "e1000/regs",
	  .version = 1,
	  .fields = e1000_reg_fields,
	  .check = regs_check,
	  .after_load = regs_loaded },
	{ .name = "e1000/pbm", .version = 1, .fields = pbm_fields, .check = pbm_check },
	{ .name = "e1000/eeprom", .version = 1, .fields = eeprom_fields, .check = eeprom_check },
	{ .name = "e1000/tx",
	  .version = 1,
	  .fields = e1000_tx_fields,
	  .check = tx_check,
	  .after_load = e1000_tx_loaded },
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
};

static const struct state_section one_context = {
	.name = "e1000/tx",
	.version = 1,
	.fields = one_context_fields,
	.check = tx_check,
	.before_save = one_context_before_save,
	.after_load = one_context_loaded,
};

void e1000_state_init(struct e1000 *d)
{
	memcpy(d->sections, sections, sizeof(sections));
	for (unsigned int i = 0; i < E1000_N_SECTIONS && !d->migrate_tso_props; i++)
		if (sections[i].fields == e1000_tx_fields)
			d->sections[i] = one_context;
	d->pci.state = (struct state_desc){ d->sections, d, sizeof(*d) };
}
