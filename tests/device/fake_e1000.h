/* SPDX-License-Identifier: BSD-3-Clause */
/* An e1000 in the small machine of fake_pci.h: registers by name, PHY, EEPROM, its clock. */
#ifndef FAKE_E1000_H
#define FAKE_E1000_H

#include "fake_pci.h"

#include "nics/e1000.h"

/* Offsets of registers and statistics: O_CTRL, O_GPRC. */
enum {
#define X(name, off, ...) O_##name = off,
	E1000_REGS(X)
#undef X
#define X(name, off, ...) O_##name = 0x4000 + off,
		E1000_STATS(X)
#undef X
};

#define RAL(n) (O_RA + 8u * (n))
#define RAH(n) (O_RA + 8u * (n) + 4)

static inline struct e1000 *fe_dev(struct fp *g)
{
	return g->nic->priv;
}

static inline struct fp *fe_new(const char *opts)
{
	return fp_new("e1000", opts);
}

/* A register of the PHY by MDIC; what MDIC reads. */
static inline uint32_t fe_mdic(struct fp *g, uint32_t op, unsigned int phy, unsigned int reg,
			       uint16_t data)
{
	fp_wr(g, O_MDIC, op | phy << MDIC_PHY_SHIFT | reg << MDIC_REG_SHIFT | data);
	return fp_rd(g, O_MDIC);
}

static inline uint16_t fe_phy(struct fp *g, unsigned int reg)
{
	return (uint16_t)fe_mdic(g, MDIC_OP_READ, 1, reg, 0);
}

static inline void fe_phy_set(struct fp *g, unsigned int reg, uint16_t v)
{
	fe_mdic(g, MDIC_OP_WRITE, 1, reg, v);
}

static inline uint16_t fe_eerd(struct fp *g, unsigned int word)
{
	fp_wr(g, O_EERD, EERD_START | word << EERD_ADDR_SHIFT);
	return (uint16_t)(fp_rd(g, O_EERD) >> EERD_DATA_SHIFT);
}

/*
 * The device's clock stands still from here on, so that a test knows it; registers work as before,
 * frames wait. fe_pass() moves it, and lets everything run that is due then.
 */
static inline void fe_freeze(struct fp *g)
{
	pci_run(g->pci, false);
}

static inline void fe_thaw(struct fp *g)
{
	pci_run(g->pci, true);
}

static inline void fe_tick(struct fp *g, uint64_t ns)
{
	assert(!g->pci->running);
	fe_dev(g)->clock += ns;
}

static inline void fe_pass(struct fp *g, uint64_t ns)
{
	bool running = g->pci->running;

	fe_freeze(g);
	fe_tick(g, ns);
	fe_thaw(g);
	fp_run(g);
	if (!running)
		fe_freeze(g);
}

#endif
