/* SPDX-License-Identifier: BSD-3-Clause */
/* e1000: PHY registers, negotiation and the link; the EEPROM by its two ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macros.h"
#include "fake_e1000.h"

#define MS 1000000ull
#define NEGOTIATION (500 * MS)

#define UP 0x80080783u
#define DOWN 0x80080781u
#define BMSR_UP 0x794d	 /* without negotiation */
#define BMSR_DONE 0x796d /* after one */
#define BMSR_DOWN 0x7949

enum { BMCR = 0, BMSR = 1, ANLPAR = 5, PSSR = 17 };
enum { RESTART = 0x0200, POWER_DOWN = 0x0800, AN = 0x1000, LOOPBACK = 0x4000, RESET = 0x8000 };

static struct fp *start(const char *opts)
{
	struct fp *g = fe_new(opts);

	fe_freeze(g);
	return g;
}

static void cable(struct fp *g, bool in)
{
	assert_int_equal(twx_net_set_link(g->net, "nic0", in, NULL), 0);
}

static void assert_link(struct fp *g, uint32_t status, uint16_t bmsr)
{
	bool up = status & STATUS_LU;

	assert_int_equal(fp_rd(g, O_STATUS), status);
	assert_int_equal(fe_phy(g, BMSR), bmsr);
	assert_int_equal(fe_phy(g, ANLPAR), bmsr == BMSR_DONE ? 0x41e0 : 0x01e0);
	assert_int_equal(fe_phy(g, PSSR), up ? 0xac00 : 0xa800);
}

/* Negotiation has just begun, and ends in time with an interrupt cause. */
static void assert_negotiates(struct fp *g)
{
	assert_link(g, DOWN, BMSR_DOWN);
	fp_rd(g, O_ICR);
	assert_int_equal(fe_dev(g)->autoneg_due, fe_dev(g)->clock + NEGOTIATION);
	fe_pass(g, NEGOTIATION);
	assert_link(g, UP, BMSR_DONE);
	assert_int_equal(fp_rd(g, O_ICR), ICR_LSC);
	assert_int_equal(fe_dev(g)->autoneg_timer.slot, 0);
}

static void test_registers(void **state)
{
	static const struct {
		uint8_t reg;
		uint16_t value, writable;
	} t[] = {
		{ 0, 0x1140, 0x7dc0 },
		{ 1, 0x794d, 0 },
		{ 2, 0x0141, 0 },
		{ 3, 0x0c20, 0 },
		{ 4, 0x0de1, 0xffff },
		{ 5, 0x01e0, 0 },
		{ 6, 0, 0 },
		{ 9, 0x0e00, 0xffff },
		{ 10, 0x3c00, 0 },
		{ 15, 0x3000, 0 },
		{ 16, 0x0360, 0xffff },
		{ 17, 0xac00, 0 },
		{ 20, 0x0d60, 0xffff },
		{ 21, 0, 0 },
		{ 29, 0, 0xffff },
	};
	struct fp *g = start("");

	for (size_t i = 0; i < array_size(t); i++) {
		uint32_t v = fe_mdic(g, MDIC_OP_READ, 1, t[i].reg, 0xdead);

		assert_int_equal(v & ~(uint32_t)MDIC_DATA, MDIC_R | MDIC_OP_READ |
								   1 << MDIC_PHY_SHIFT |
								   t[i].reg << MDIC_REG_SHIFT);
		assert_int_equal(v & MDIC_DATA, t[i].value);
	}
	for (size_t i = 1; i < array_size(t); i++) {
		fe_phy_set(g, t[i].reg, (uint16_t)~t[i].value);
		assert_int_equal(fe_phy(g, t[i].reg), t[i].value ^ (t[i].writable & 0xffff));
	}
	/* Restart and reset clear themselves, reserved bits stay zero. */
	fe_phy_set(g, BMCR, 0xffff);
	assert_int_equal(fe_phy(g, BMCR), 0x7dc0);
	fp_free(g);
}

static void test_errors(void **state)
{
	struct fp *g = start("");

	for (unsigned int reg = 0; reg < 32; reg++) {
		bool there = !(fe_mdic(g, MDIC_OP_READ, 1, reg, 0) & MDIC_E);

		assert_int_equal(!(fe_mdic(g, MDIC_OP_WRITE, 1, reg, 0x1140) & MDIC_E), there);
		if (reg == 11 || reg == 14 || reg == 22 || reg == 31)
			assert_false(there);
	}
	for (unsigned int phy = 0; phy < 32; phy++)
		assert_int_equal(!(fe_mdic(g, MDIC_OP_READ, phy, 2, 0) & MDIC_E), phy == 1);
	assert_int_equal(fe_mdic(g, 0, 1, 2, 0) >> 28, (MDIC_R | MDIC_E) >> 28);
	fp_rd(g, O_ICR);
	fp_wr(g, O_MDIC, MDIC_I | MDIC_OP_READ | 1 << MDIC_PHY_SHIFT);
	assert_int_equal(fp_rd(g, O_ICR), ICR_MDAC);
	fp_free(g);
}

static void test_restart(void **state)
{
	struct fp *g = start("");

	assert_link(g, UP, BMSR_UP);
	fe_phy_set(g, BMCR, AN | RESTART);
	assert_int_equal(fp_rd(g, O_ICR), 0);
	assert_int_equal(fe_phy(g, BMCR), AN);
	assert_negotiates(g);
	/* Anew in the middle of one: it takes its time from there. */
	fe_phy_set(g, BMCR, AN | RESTART);
	fe_pass(g, NEGOTIATION / 2);
	fe_phy_set(g, BMCR, AN | RESTART);
	assert_negotiates(g);
	/* Without negotiation the link is there at once. */
	fe_phy_set(g, BMCR, RESTART | 0x0140);
	assert_link(g, UP, BMSR_UP);
	assert_int_equal(fp_rd(g, O_ICR), 0);
	fp_free(g);
}

static void test_phy_resets(void **state)
{
	struct fp *g = start("");
	uint32_t ctrl = fp_rd(g, O_CTRL);

	fe_phy_set(g, 16, 0x1111);
	fe_phy_set(g, BMCR, RESET | AN);
	assert_negotiates(g);
	assert_int_equal(fe_phy(g, 16), 0x1111);
	fe_phy_set(g, BMCR, RESET | 0x0140);
	assert_link(g, UP, BMSR_UP);
	/* CTRL.PHY_RST takes everything back, once, whatever it forces later. */
	fp_wr(g, O_CTRL, ctrl | CTRL_PHY_RST);
	assert_int_equal(fe_phy(g, 16), 0x0360);
	assert_int_equal(fe_phy(g, BMCR), 0x1140);
	assert_negotiates(g);
	fp_wr(g, O_CTRL, ctrl | CTRL_PHY_RST | CTRL_ASDE);
	fp_wr(g, O_CTRL, ctrl);
	assert_link(g, UP, BMSR_DONE);
	/* With CTRL.RST the PHY is left alone, and a negotiation goes on. */
	fe_phy_set(g, BMCR, AN | RESTART);
	fp_wr(g, O_CTRL, ctrl | CTRL_RST);
	assert_negotiates(g);
	fp_wr(g, O_CTRL, ctrl | CTRL_RST | CTRL_PHY_RST);
	assert_int_equal(fp_rd(g, O_CTRL), 0x00140240);
	assert_negotiates(g);
	fp_free(g);
}

static void test_power_down(void **state)
{
	struct fp *g = start("");

	fe_phy_set(g, BMCR, AN | POWER_DOWN);
	assert_link(g, DOWN, BMSR_DOWN);
	fe_pass(g, 2 * NEGOTIATION);
	assert_link(g, DOWN, BMSR_DOWN);
	cable(g, false);
	cable(g, true);
	fe_pass(g, 2 * NEGOTIATION);
	assert_link(g, DOWN, BMSR_DOWN);
	fe_phy_set(g, BMCR, AN);
	assert_negotiates(g);
	fp_free(g);
}

static void test_cable(void **state)
{
	struct fp *g = start("");

	cable(g, false);
	assert_link(g, DOWN, BMSR_DOWN);
	assert_int_equal(fp_rd(g, O_ICR), ICR_LSC);
	/* Nobody answers. */
	fe_phy_set(g, BMCR, AN | RESTART);
	fe_pass(g, 2 * NEGOTIATION);
	assert_link(g, DOWN, BMSR_DOWN);
	assert_int_equal(fp_rd(g, O_ICR), 0);
	cable(g, true);
	assert_int_equal(fp_rd(g, O_ICR), 0);
	assert_negotiates(g);
	/* Pulled in the middle of it. */
	fe_phy_set(g, BMCR, AN | RESTART);
	cable(g, false);
	fe_pass(g, 2 * NEGOTIATION);
	assert_link(g, DOWN, BMSR_DOWN);
	assert_int_equal(fp_rd(g, O_ICR), 0);
	/* A reset without a cable does not find one. */
	pci_reset(g->pci);
	fp_enable(g);
	assert_link(g, DOWN, BMSR_DOWN);
	fp_wr(g, O_CTRL, CTRL_RST);
	assert_link(g, DOWN, BMSR_DOWN);
	cable(g, true);
	assert_negotiates(g);
	fp_free(g);
}

/* Of the driver's own choice, and by option. */
static void test_cable_without_negotiation(void **state)
{
	for (int by_option = 0; by_option < 2; by_option++) {
		struct fp *g = start(by_option ? ",autonegotiation=off" : "");

		if (!by_option)
			fe_phy_set(g, BMCR, RESTART | 0x0140);
		cable(g, false);
		assert_link(g, DOWN, BMSR_DOWN);
		assert_int_equal(fp_rd(g, O_ICR), ICR_LSC);
		cable(g, true);
		assert_link(g, UP, BMSR_UP);
		assert_int_equal(fp_rd(g, O_ICR), ICR_LSC);
		if (by_option) {
			fe_phy_set(g, BMCR, AN | RESTART);
			assert_link(g, UP, BMSR_UP);
		}
		fp_free(g);
	}
}

/* The other end's cable is not ours: QEMU tells a NIC of its own link only. */
static void test_peer_link(void **state)
{
	struct fp *g = start("");

	twx_port_set_link(g->wire->port, false);
	assert_link(g, UP, BMSR_UP);
	twx_port_set_link(g->wire->port, true);
	assert_int_equal(fp_rd(g, O_ICR), 0);
	fp_free(g);
}

static void test_forced_speed(void **state)
{
	struct fp *g = start("");

	fp_wr(g, O_CTRL, CTRL_SLU | CTRL_FRCSPD | 1 << 8 | CTRL_FRCDPLX | CTRL_FD);
	assert_int_equal(fp_rd(g, O_STATUS), 0x80080743);
	fp_wr(g, O_CTRL, CTRL_SLU | CTRL_FRCSPD | CTRL_FRCDPLX);
	assert_int_equal(fp_rd(g, O_STATUS), 0x80080702);
	fp_wr(g, O_CTRL, CTRL_SLU | CTRL_ASDE);
	assert_int_equal(fp_rd(g, O_STATUS), UP);
	fp_free(g);
}

/* The EEPROM by its pins, as a driver does it: data is there while the clock is up. */

static void pins(struct fp *g, uint32_t v)
{
	fp_wr(g, O_EECD, EECD_REQ | v);
}

static void clock_out(struct fp *g, uint32_t bits, int n)
{
	while (n-- > 0) {
		uint32_t di = bits >> n & 1 ? EECD_DI : 0;

		pins(g, EECD_CS | di);
		pins(g, EECD_CS | di | EECD_SK);
	}
	pins(g, EECD_CS);
}

static uint16_t clock_in(struct fp *g)
{
	uint16_t v = 0;

	for (int i = 0; i < 16; i++) {
		pins(g, EECD_CS | EECD_SK);
		v = (uint16_t)(v << 1 | !!(fp_rd(g, O_EECD) & EECD_DO));
		pins(g, EECD_CS);
	}
	return v;
}

static void command(struct fp *g, unsigned int op, unsigned int addr)
{
	pins(g, 0);
	pins(g, EECD_SK); /* some drivers raise both in turn */
	pins(g, EECD_SK | EECD_CS);
	pins(g, EECD_CS);
	clock_out(g, (4 | op) << 6 | addr, 9);
}

static void test_eeprom_pins(void **state)
{
	struct fp *g = start("");
	uint16_t sum = 0;

	assert_int_equal(fp_rd(g, O_EECD), 0x188);
	for (unsigned int i = 0; i < 64; i++) {
		command(g, 2, i);
		assert_false(fp_rd(g, O_EECD) & EECD_DO); /* the zero before the data */
		sum = (uint16_t)(sum + clock_in(g));
	}
	assert_int_equal(sum, 0xbaba);
	command(g, 2, 0);
	assert_int_equal(clock_in(g), 0x5452);
	assert_int_equal(clock_in(g), 0xaa00); /* goes on with the next word */
	assert_int_equal(clock_in(g), 0xccbb);
	command(g, 2, 63);
	clock_in(g);
	assert_int_equal(clock_in(g), 0x5452);
	pins(g, 0);
	assert_int_equal(fp_rd(g, O_EECD), 0x188 | EECD_REQ);
	fp_free(g);
}

/* What comes before the start bit does not count; what is cut short does nothing. */
static void test_eeprom_start_bit(void **state)
{
	struct fp *g = start("");

	pins(g, 0);
	pins(g, EECD_CS);
	clock_out(g, 0, 20);
	clock_out(g, 6 << 6 | 1, 9);
	assert_int_equal(clock_in(g), 0xaa00);
	pins(g, 0);
	pins(g, EECD_CS);
	clock_out(g, 6, 3);
	command(g, 2, 2);
	assert_int_equal(clock_in(g), 0xccbb);
	fp_free(g);
}

static void test_eeprom_is_read_only(void **state)
{
	struct fp *g = start("");

	for (unsigned int op = 0; op < 4; op++) {
		if (op == 2)
			continue;
		command(g, op, op ? 4 : 0x30); /* enable, write, erase */
		clock_out(g, 0x1234, 16);
		pins(g, 0);
		pins(g, EECD_CS);
		assert_true(fp_rd(g, O_EECD) & EECD_DO); /* ready */
	}
	assert_int_equal(fe_eerd(g, 4), 0xffff);
	fp_free(g);
}

/* A driver may rest at any edge, and the machine be moved there. */
static void test_eeprom_moves(void **state)
{
	for (unsigned int op = 0; op < 4; op++) {
		struct fp *g = start("");
		struct twx_error e = { 0 };
		uint8_t *data;
		size_t len;

		command(g, op, 4);
		assert_int_equal(pci_save(g->pci, &data, &len), 0);
		if (pci_load(g->pci, data, len, &e) < 0)
			fail_msg("%s", e.what);
		free(data);
		fp_free(g);
	}
}

static void test_eeprom_register(void **state)
{
	struct fp *g = start("");
	uint16_t sum = 0;

	for (unsigned int i = 0; i < 64; i++)
		sum = (uint16_t)(sum + fe_eerd(g, i));
	assert_int_equal(sum, 0xbaba);
	assert_int_equal(fe_eerd(g, 0), 0x5452);
	assert_int_equal(fe_eerd(g, 2), 0xccbb);
	assert_int_equal(fp_rd(g, O_EERD), 0xccbb0211); /* data, address, done, start */
	assert_int_equal(fe_eerd(g, 64), 0);
	assert_int_equal(fp_rd(g, O_EERD), 0x4011);
	fp_wr(g, O_EERD, 5 << 8);
	assert_int_equal(fp_rd(g, O_EERD), 5 << 8);
	fp_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registers),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_phy_resets),
		cmocka_unit_test(test_power_down),
		cmocka_unit_test(test_cable),
		cmocka_unit_test(test_cable_without_negotiation),
		cmocka_unit_test(test_peer_link),
		cmocka_unit_test(test_forced_speed),
		cmocka_unit_test(test_eeprom_pins),
		cmocka_unit_test(test_eeprom_start_bit),
		cmocka_unit_test(test_eeprom_is_read_only),
		cmocka_unit_test(test_eeprom_moves),
		cmocka_unit_test(test_eeprom_register),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
