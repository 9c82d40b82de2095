/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * e1000: registers by offset (8254x manual, chapter 13).
 *
 * E1000_REGS in e1000_regs.h is the table: what exists, where, what it is after a reset, which bits
 * hold, and what else a read or a write does. Here it becomes two constant arrays: a byte for each
 * word of the address range that names the row, and the rows. So an access is two loads, a
 * comparison for the option that gates the register, and the access itself; an offset with no
 * register, or between the elements of a sparse array, finds row 0, which reads as zero and drops
 * writes.
 *
 * Only whole words reach this file. A narrower access to the memory BAR is cut out of the word, or
 * written with zeros beside it, as in QEMU; the manual wants words.
 */
#include <errno.h>

#include "base/macros.h"
#include "nics/e1000.h"

#define MAP_WORDS 0x2700 /* up to the end of FFVT */
#define RAH_MASK (RAH_AV | 0x3ffff)
#define PBA_TOTAL 64 /* KiB */

typedef uint32_t reg_read_fn(struct e1000 *d, unsigned int slot);
typedef void reg_write_fn(struct e1000 *d, unsigned int slot, uint32_t value);

struct row {
	uint32_t off, mask, reset;
	uint16_t slot, n;
	uint8_t shift; /* log2 of the stride */
	uint8_t gate;
	const struct row *alias_of; /* null: itself */
	reg_read_fn *read;
	reg_write_fn *write;
};

/* What reads do. */

static uint32_t read_absent(struct e1000 *d, unsigned int slot)
{
	return 0;
}

static uint32_t read_plain(struct e1000 *d, unsigned int slot)
{
	return d->reg[slot];
}

/* 13.4.17: reading acknowledges everything. */
static uint32_t read_icr(struct e1000 *d, unsigned int slot)
{
	uint32_t causes = e1000_irq_causes(d);

	d->reg[R_ICR] = 0;
	e1000_irq_update(d);
	return causes;
}

static uint32_t read_ics(struct e1000 *d, unsigned int slot)
{
	return e1000_irq_causes(d);
}

static uint32_t read_eecd(struct e1000 *d, unsigned int slot)
{
	return e1000_eecd_read(d);
}

static uint32_t read_eerd(struct e1000 *d, unsigned int slot)
{
	return e1000_eerd(d);
}

static uint32_t read_stats(struct e1000 *d, unsigned int slot)
{
	return e1000_stat_read(d, slot - R_STATS);
}

/* What writes do; @value has the bits of the mask only. */

static void write_none(struct e1000 *d, unsigned int slot, uint32_t value)
{
}

static void write_plain(struct e1000 *d, unsigned int slot, uint32_t value)
{
	d->reg[slot] = value;
}

static void write_ctrl(struct e1000 *d, unsigned int slot, uint32_t value)
{
	uint32_t changed = d->reg[R_CTRL] ^ value;

	if (value & CTRL_RST) {
		e1000_reset_mac(d);
		if (value & CTRL_PHY_RST)
			e1000_phy_hard_reset(d);
		return;
	}
	d->reg[R_CTRL] = value;
	if (value & changed & CTRL_PHY_RST)
		e1000_phy_hard_reset(d);
	e1000_link_status(d);
	if (changed & CTRL_VME)
		e1000_rx_config(d);
}

/* 13.4.6: EE_RST loads from the EEPROM what a reset would; it clears itself. */
static void write_ctrl_ext(struct e1000 *d, unsigned int slot, uint32_t value)
{
	d->reg[R_CTRL_EXT] = value & ~(uint32_t)CTRL_EXT_EE_RST;
	if (value & CTRL_EXT_EE_RST)
		e1000_eeprom_load(d);
}

static void write_eecd(struct e1000 *d, unsigned int slot, uint32_t value)
{
	e1000_eecd_write(d, value);
}

static void write_mdic(struct e1000 *d, unsigned int slot, uint32_t value)
{
	d->reg[R_MDIC] = e1000_mdic(d, value);
}

static void write_icr(struct e1000 *d, unsigned int slot, uint32_t value)
{
	d->reg[R_ICR] = e1000_irq_causes(d) & ~value;
	e1000_irq_update(d);
}

static void write_ics(struct e1000 *d, unsigned int slot, uint32_t value)
{
	e1000_cause(d, value);
}

static void write_ims(struct e1000 *d, unsigned int slot, uint32_t value)
{
	d->reg[R_IMS] |= value;
	e1000_irq_update(d);
}

static void write_imc(struct e1000 *d, unsigned int slot, uint32_t value)
{
	d->reg[R_IMS] &= ~value;
	e1000_irq_update(d);
}

static void write_itr(struct e1000 *d, unsigned int slot, uint32_t value)
{
	d->reg[R_ITR] = value;
	e1000_irq_throttle(d);
}

static void write_rx_config(struct e1000 *d, unsigned int slot, uint32_t value)
{
	d->reg[slot] = value;
	e1000_rx_config(d);
}

static void write_ring(struct e1000 *d, unsigned int slot, uint32_t value)
{
	d->reg[slot] = value;
	e1000_rx_refill(d);
}

static void write_rdt(struct e1000 *d, unsigned int slot, uint32_t value)
{
	d->reg[R_RDT] = value;
	e1000_rx_refill(d);
}

static void write_tx_start(struct e1000 *d, unsigned int slot, uint32_t value)
{
	d->reg[slot] = value;
	e1000_tx_start(d);
}

static void write_tdt(struct e1000 *d, unsigned int slot, uint32_t value)
{
	d->port->count.kicks++;
	write_tx_start(d, slot, value);
}

static void write_rdtr(struct e1000 *d, unsigned int slot, uint32_t value)
{
	d->reg[R_RDTR] = value & ~RDTR_FPD;
	if (value & RDTR_FPD)
		e1000_irq_flush_rx(d);
}

/* 13.4.16: the guest sets the receiver's part, the transmitter has the rest. */
static void write_pba(struct e1000 *d, unsigned int slot, uint32_t value)
{
	uint32_t rx = value & 0x7f;

	d->reg[R_PBA] = rx | (rx < PBA_TOTAL ? PBA_TOTAL - rx : 0) << 16;
}

static void write_ra(struct e1000 *d, unsigned int slot, uint32_t value)
{
	d->reg[slot] = (slot - R_RA) % 2 ? value & RAH_MASK : value;
}

/* The rows. */

enum row_index {
	ROW_absent,
#define X(name, ...) ROW_##name,
	E1000_REGS(X)
#undef X
#define X(name, ...) ROW_ALIAS_##name,
		E1000_ALIASES(X)
#undef X
};

#define SHIFT(step) ((step) == 8 ? 3 : 2)
static const struct row rows[] = {
	[ROW_absent] = { .shift = 2, .read = read_absent, .write = write_none },
#define X(name, at, count, step, initial, bits, option, rd, wr)                                    \
	[ROW_##name] = {                                                                           \
		.off = at,                                                                         \
		.mask = bits,                                                                      \
		.reset = initial,                                                                  \
		.slot = R_##name,                                                                  \
		.n = count,                                                                        \
		.shift = SHIFT(step),                                                              \
		.gate = E1000_##option,                                                            \
		.read = read_##rd,                                                                 \
		.write = write_##wr,                                                               \
	},
	E1000_REGS(X)
#undef X
#define X(name, at, count, step)                                                                   \
	[ROW_ALIAS_##name] = { .off = at, .shift = SHIFT(step), .alias_of = &rows[ROW_##name] },
		E1000_ALIASES(X)
#undef X
};

static const uint8_t map[MAP_WORDS] = {
#define RANGE(row, at, count, step) [(at) / 4 ...((at) + ((count)-1) * (step)) / 4] = row,
#define X(name, at, count, step, ...) RANGE(ROW_##name, at, count, step)
	E1000_REGS(X)
#undef X
#define X(name, at, count, step) RANGE(ROW_ALIAS_##name, at, count, step)
		E1000_ALIASES(X)
#undef X
};

static inline const struct row *row_at(const struct e1000 *d, uint32_t off, unsigned int *slot)
{
	uint32_t word = off / 4;
	const struct row *r = &rows[likely(word < MAP_WORDS) ? map[word] : ROW_absent];
	uint32_t at = off - r->off;

	if (unlikely(r->alias_of))
		r = r->alias_of;
	if (unlikely((r->gate & d->gated) || (at & ((1u << r->shift) - 1))))
		r = &rows[ROW_absent];
	*slot = r->slot + (at >> r->shift);
	return r;
}

/* 13.9.9: plain storage here, since no FIFO is modelled. */
static uint32_t *pbm_at(struct e1000 *d, uint32_t off)
{
	if (off < E1000_PBM || off >= E1000_MMIO_SIZE || (d->gated & E1000_EXTRA))
		return NULL;
	return &d->pbm[(off - E1000_PBM) / 4];
}

uint32_t e1000_reg_read(struct e1000 *d, uint32_t off)
{
	const struct row *r;
	unsigned int slot;

	if (unlikely(off >= E1000_PBM)) {
		const uint32_t *word = d->pbm_used ? pbm_at(d, off) : NULL;

		return word ? *word : 0;
	}
	r = row_at(d, off, &slot);
	return r->read(d, slot);
}

void e1000_reg_write(struct e1000 *d, uint32_t off, uint32_t value)
{
	const struct row *r;
	unsigned int slot;

	if (unlikely(off >= E1000_PBM)) {
		uint32_t *word = pbm_at(d, off);

		if (word) {
			*word = value;
			d->pbm_used = true;
		}
		return;
	}
	r = row_at(d, off, &slot);
	r->write(d, slot, value & r->mask);
}

void e1000_regs_reset(struct e1000 *d)
{
	for (size_t i = ROW_absent + 1; i < array_size(rows); i++)
		for (unsigned int k = 0; k < rows[i].n; k++)
			d->reg[rows[i].slot + k] = rows[i].reset;
	if (d->init_vet)
		d->reg[R_VET] = 0x8100;
	if (d->pbm_used)
		memset(d->pbm, 0, sizeof(d->pbm));
	d->pbm_used = false;
}

/* State. */

const struct state_field e1000_reg_fields[] = {
#define X(name, off, count, ...) { #name, offsetof(struct e1000, reg[R_##name]), 4, count },
	E1000_REGS(X)
#undef X
		STATE_U32(struct e1000, ioaddr),
	{ 0 },
};

/* What a write takes for an order, and never leaves behind. */
static const struct {
	uint16_t slot;
	uint32_t bits;
} orders[] = {
	{ R_CTRL, CTRL_RST },
	{ R_CTRL_EXT, CTRL_EXT_EE_RST },
	{ R_RDTR, RDTR_FPD },
};

int e1000_regs_check(const struct e1000 *copy, struct twx_error *e)
{
	for (size_t i = ROW_absent + 1; i < array_size(rows); i++)
		for (unsigned int k = 0; k < rows[i].n; k++) {
			uint32_t v = copy->reg[rows[i].slot + k];
			uint32_t may = rows[i].gate & copy->gated ? 0 : rows[i].mask;

			if ((v ^ rows[i].reset) & ~may)
				return twx_error_set(e, EINVAL, "register %#x has %#x",
						     rows[i].off + (k << rows[i].shift), v);
		}
	for (size_t i = 0; i < array_size(orders); i++)
		if (copy->reg[orders[i].slot] & orders[i].bits)
			return twx_error_set(e, EINVAL, "a register has an order for good");
	for (unsigned int i = R_RA + 1; i <= R_RA_LAST; i += 2)
		if (copy->reg[i] & ~RAH_MASK)
			return twx_error_set(e, EINVAL, "RAH %u has %#x", (i - R_RA) / 2,
					     copy->reg[i]);
	return 0;
}
