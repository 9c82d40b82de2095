/* SPDX-License-Identifier: BSD-3-Clause */
/* e1000: state that is saved, loaded into another device, and refused when no guest could have
 * made it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macros.h"
#include "fake_e1000_rings.h"

#define MS 1000000ull
#define US(n) ((n)*1024ull)
#define CLOCK 12345678ull /* of the device in the middle of everything */

struct stream {
	uint8_t *data;
	size_t len;
};

static struct stream save(struct fp *g)
{
	struct stream s;

	assert_int_equal(pci_save(g->pci, &s.data, &s.len), 0);
	return s;
}

static int load(struct fp *g, struct stream s, struct twx_error *e)
{
	return pci_load(g->pci, s.data, s.len, e);
}

static void assert_loads(struct fp *g, struct stream s)
{
	struct twx_error e = { 0 };

	if (load(g, s, &e) < 0)
		fail_msg("%s", e.what);
}

/* Where an element of a field lies in the stream (src/bus/state.c has the format). */
static uint8_t *element(struct stream s, const char *name, unsigned int i, uint8_t size)
{
	uint8_t head[64];
	size_t n = strlen(name);
	uint8_t *p;

	head[0] = (uint8_t)n;
	memcpy(head + 1, name, n);
	head[n + 1] = size;
	p = memmem(s.data, s.len, head, n + 2);
	if (!p)
		fail_msg("no field %s in the stream", name);
	return p + n + 2 + 4 + (size_t)i * size;
}

static void poke(struct stream s, const char *name, unsigned int i, uint8_t size, uint64_t v)
{
	uint8_t *p = element(s, name, i, size);

	for (uint8_t k = 0; k < size; k++)
		p[k] = (uint8_t)(v >> 8 * k);
}

/* A device in the middle of everything. */
static struct fp *busy_device(void)
{
	struct fp *g = fe_new("");
	struct e1000 *d = fe_dev(g);
	const uint8_t dst[6] = { 1, 2, 3, 4, 5, 6 };

	fe_freeze(g);
	d->clock = CLOCK;
	for (uint32_t off = 0x5200; off < 0xa000; off += 4)
		fp_wr(g, off, off * 0x10001);
	for (uint32_t off = 0; off < 0x40; off += 4)
		if (off != O_CTRL && off != O_EECD && off != O_MDIC && off != O_CTRL_EXT)
			fp_wr(g, off, 0x12345678);
	fp_wr(g, 0x10000, 0xabcdef01);
	fp_wr(g, O_TIPG, 0x00602008);
	fp_wr(g, O_TDBAL, 0x40001000);
	fp_wr(g, O_TDLEN, 0x1000);
	fp_wr(g, O_TDH, 5);
	fp_wr(g, O_RDBAL, 0x40002000);
	fp_wr(g, O_RDLEN, 0x1000);
	fp_wr(g, O_RDH, 7);
	fp_wr(g, O_RDT, 9);
	fp_bar_write(g, 1, 0, 4, O_TIPG);
	fe_phy_set(g, 16, 0x4321);
	fe_phy_set(g, 0, 0x1200); /* negotiates */
	fe_mdic(g, MDIC_OP_READ, 2, 2, 0);
	fp_wr(g, O_EECD, EECD_CS); /* in the middle of a command */
	fp_wr(g, O_EECD, EECD_CS | EECD_DI);
	fp_wr(g, O_EECD, EECD_CS | EECD_DI | EECD_SK);
	fp_wr(g, O_ITR, 50000);
	fp_wr(g, O_RDTR, 1000);
	fp_wr(g, O_RADV, 3000);
	fp_wr(g, O_TIDV, 2000);
	fp_wr(g, O_IMS, ICR_LSC | ICR_TXDW | ICR_RXT0);
	fp_wr(g, O_ICS, ICR_LSC);
	fp_rd(g, O_ICR);
	fp_wr(g, O_ICS, ICR_LSC);    /* throttled */
	e1000_cause_rx(d, ICR_RXT0); /* and held */
	e1000_cause_tx(d, ICR_TXDW, true);
	e1000_count_tx(d, dst, 1514);
	e1000_count_rx(d, dst, 60);
	d->reg[R_STATS + STAT_TORH] = 3;
	return g;
}

static void assert_same(struct fp *a, struct fp *b)
{
	struct e1000 *x = fe_dev(a), *y = fe_dev(b);

	assert_memory_equal(x->reg, y->reg, sizeof(x->reg));
	assert_memory_equal(x->phy, y->phy, sizeof(x->phy));
	assert_memory_equal(x->eeprom, y->eeprom, sizeof(x->eeprom));
	assert_memory_equal(x->pbm, y->pbm, sizeof(x->pbm));
	assert_memory_equal(&x->ee, &y->ee, sizeof(x->ee));
	assert_int_equal(x->ioaddr, y->ioaddr);
	assert_int_equal(x->clock, y->clock);
	assert_int_equal(x->autoneg_due, y->autoneg_due);
	assert_int_equal(x->irq.held, y->irq.held);
	assert_int_equal(x->irq.next, y->irq.next);
	assert_int_equal(x->irq.rx_due, y->irq.rx_due);
	assert_int_equal(x->irq.rx_abs, y->irq.rx_abs);
	assert_int_equal(x->irq.tx_due, y->irq.tx_due);
	assert_int_equal(x->irq.tx_abs, y->irq.tx_abs);
	assert_int_equal(a->level, b->level);
}

static void test_round_trip(void **state)
{
	struct fp *a = busy_device(), *b = fe_new("");
	struct stream s = save(a), again;

	fe_freeze(b);
	assert_loads(b, s);
	assert_same(a, b);
	again = save(b);
	assert_int_equal(again.len, s.len);
	assert_memory_equal(again.data, s.data, s.len);
	/* And over a device that was busy itself. */
	fp_wr(b, O_CTRL, CTRL_RST);
	assert_loads(a, again);
	assert_loads(b, again);
	assert_same(a, b);
	free(s.data);
	free(again.data);
	fp_free(a);
	fp_free(b);
}

/* Timers have the time left that they had; here, to the nanosecond, since the clocks stand. */
static void test_timers_go_on(void **state)
{
	struct fp *a = busy_device(), *b = fe_new("");
	struct stream s;

	fe_tick(a, 3 * MS);
	s = save(a);
	fe_freeze(b);
	fe_tick(b, 77777 * MS); /* clocks need not agree */
	assert_loads(b, s);
	assert_false(b->level);
	fe_tick(b, 50000 * 256 - 3 * MS - 1);
	fp_wr(b, O_IMS, 0);
	assert_false(b->level);
	fe_tick(b, 1);
	fp_wr(b, O_IMS, 0);
	assert_true(b->level);
	assert_int_equal(fp_rd(b, O_STATUS) & STATUS_LU, 0);
	fe_pass(b, 500 * MS);
	assert_int_equal(fp_rd(b, O_STATUS) & STATUS_LU, STATUS_LU);
	assert_int_equal(fe_phy(b, 1) & 0x24, 0x24);
	free(s.data);
	fp_free(a);
	fp_free(b);
}

/* Saved and loaded while the machines run: the same. */
static void test_running(void **state)
{
	struct fp *a = fe_new(""), *b = fe_new("");
	struct stream s;

	fe_phy_set(a, 0, 0x1200);
	s = save(a);
	assert_loads(b, s);
	assert_int_not_equal(fe_dev(b)->autoneg_timer.slot, 0);
	assert_int_equal(fp_rd(b, O_STATUS) & STATUS_LU, 0);
	fe_pass(b, 500 * MS);
	assert_int_equal(fp_rd(b, O_STATUS) & STATUS_LU, STATUS_LU);
	assert_int_equal(fp_rd(b, O_ICR), ICR_LSC);
	free(s.data);
	fp_free(a);
	fp_free(b);
}

/* Clocks that are far apart, and timers that run. */
static void test_running_clocks(void **state)
{
	struct fp *a = fe_new(""), *b = fe_new("");
	struct stream quiet = save(b), s;

	fe_pass(a, 1000000 * MS);
	fp_wr(a, O_IMS, ICR_LSC | ICR_RXT0);
	fp_wr(a, O_RDTR, 60000);
	fe_phy_set(a, 0, 0x1200);
	e1000_cause_rx(fe_dev(a), ICR_RXT0);
	s = save(a);
	assert_loads(b, s);
	assert_true(fe_dev(b)->irq.timer.slot || b->level);
	fe_pass(b, US(60000));
	assert_true(b->level);
	assert_int_equal(fp_rd(b, O_ICR), ICR_RXT0);
	fe_pass(b, 500 * MS);
	assert_int_equal(fp_rd(b, O_STATUS) & STATUS_LU, STATUS_LU);
	/* A state in which nothing is under way ends what was. */
	assert_loads(b, s);
	assert_loads(b, quiet);
	assert_int_equal(fe_dev(b)->irq.timer.slot, 0);
	assert_int_equal(fe_dev(b)->autoneg_timer.slot, 0);
	free(quiet.data);
	free(s.data);
	fp_free(a);
	fp_free(b);
}

/* STATUS says what the PHY says. */
static void test_status_follows(void **state)
{
	struct fp *g = fe_new("");
	struct stream s = save(g);

	poke(s, "STATUS", 0, 4, 0x80080700);
	assert_loads(g, s);
	assert_int_equal(fp_rd(g, O_STATUS), 0x80080783);
	free(s.data);
	fp_free(g);
}

/* The line is up where it was, and down where it was. */
static void test_line(void **state)
{
	struct fp *a = fe_new(""), *b = fe_new("");
	struct stream quiet = save(a), s;

	fp_wr(a, O_IMS, ICR_LSC);
	fp_wr(a, O_ICS, ICR_LSC);
	s = save(a);
	assert_loads(b, s);
	assert_true(b->level);
	assert_loads(b, quiet);
	assert_false(b->level);
	assert_loads(b, s);
	assert_int_equal(fp_rd(b, O_ICR), ICR_LSC);
	assert_false(b->level);
	free(s.data);
	free(quiet.data);
	fp_free(a);
	fp_free(b);
}

/* The cable is where the device is now. */
static void test_cable_differs(void **state)
{
	struct fp *a = fe_new(""), *b = fe_new("");
	struct stream up = save(a), down;

	twx_net_set_link(a->net, "nic0", false, NULL);
	fp_rd(a, O_ICR);
	down = save(a);
	assert_loads(b, down);
	assert_int_equal(fp_rd(b, O_STATUS) & STATUS_LU, 0);
	fe_pass(b, 500 * MS);
	assert_int_equal(fp_rd(b, O_STATUS) & STATUS_LU, STATUS_LU);
	assert_int_equal(fp_rd(b, O_ICR), ICR_LSC);
	twx_net_set_link(b->net, "nic0", false, NULL);
	assert_loads(b, up);
	assert_int_equal(fp_rd(b, O_STATUS) & STATUS_LU, 0);
	assert_int_equal(fp_rd(b, O_ICR), ICR_LSC);
	free(up.data);
	free(down.data);
	fp_free(a);
	fp_free(b);
}

/* A context for segments, then one for checksums, or the other way round. */
static void two_contexts(struct fr *r, bool tso_last)
{
	struct fr_ctx tso = { .tucmd = TUCMD_TSE, .mss = 1000, .hdr_len = 54 };
	struct fr_ctx plain = { .tucss = 34, .tucso = 50 };

	fr_context(r, tso_last ? &plain : &tso);
	fr_context(r, tso_last ? &tso : &plain);
	fr_send(r);
}

/* With migrate_tso_props=off the one that came last is both of them afterwards. */
static void test_tso_props(void **state)
{
	for (int i = 0; i < 4; i++) {
		bool off = i & 1;
		unsigned int last = i & 2 ? E1000_TX_CTX_TSO : E1000_TX_CTX_PLAIN, other = !last;
		const char *opts = off ? ",migrate_tso_props=off" : "";
		struct fr *a = fr_new(opts), *b = fr_new(opts);
		struct e1000_tx *from = &fe_dev(a->g)->tx, *to = &fe_dev(b->g)->tx;
		struct stream s;

		two_contexts(a, last == E1000_TX_CTX_TSO);
		s = save(a->g);
		assert_loads(b->g, s);
		assert_memory_equal(&to->ctx[last], &from->ctx[last], sizeof(*to->ctx));
		assert_memory_equal(&to->ctx[other], &from->ctx[off ? last : other],
				    sizeof(*to->ctx));
		assert_memory_not_equal(&from->ctx[0], &from->ctx[1], sizeof(*from->ctx));
		free(s.data);
		fr_free(a);
		fr_free(b);
	}
}

static void refuse(const char *name, unsigned int i, uint8_t size, uint64_t v)
{
	struct fp *a = busy_device(), *b = fe_new("");
	struct stream s = save(a), before, after;
	struct twx_error e = { 0 };

	fe_freeze(b);
	before = save(b);
	poke(s, name, i, size, v);
	if (load(b, s, &e) == 0)
		fail_msg("%s[%u]=%#llx was believed", name, i, (unsigned long long)v);
	assert_int_equal(e.code, EINVAL);
	assert_non_null(strstr(e.what, "e1000/"));
	/* Nothing was taken over, and the device works. */
	after = save(b);
	assert_memory_equal(before.data, after.data, before.len);
	fe_thaw(b);
	assert_int_equal(fp_rd(b, O_STATUS), 0x80080783);
	free(s.data);
	free(before.data);
	free(after.data);
	fp_free(a);
	fp_free(b);
}

static void test_refused_values(void **state)
{
	static const struct {
		const char *name;
		unsigned int i;
		uint8_t size;
		uint64_t v;
	} t[] = {
		{ "CTRL", 0, 4, CTRL_RST },
		{ "CTRL_EXT", 0, 4, CTRL_EXT_EE_RST },
		{ "STATUS", 0, 4, 0 },
		{ "RDTR", 0, 4, RDTR_FPD },
		{ "RDLEN", 0, 4, 0x100000 },
		{ "TDLEN", 0, 4, 8 },
		{ "RDBAL", 0, 4, 15 },
		{ "RDH", 0, 4, 0x10000 },
		{ "TDT", 0, 4, 0xffffffff },
		{ "RCTL", 0, 4, 1 },
		{ "ICR", 0, 4, 0x20000 },
		{ "IMS", 0, 4, 0x80000000 },
		{ "ITR", 0, 4, 0x10000 },
		{ "FFMT", 127, 4, 0x10 },
		{ "RA", 31, 4, 0x00040000 },
		{ "RXCW", 0, 4, 1 },
		{ "ioaddr", 0, 4, 0x100000 },
		{ "phy", 1, 2, 0 },
		{ "phy", 2, 2, 0x1234 },
		{ "phy", 11, 2, 1 },
		{ "phy", 0, 2, 0x8000 },
		{ "autoneg_due", 0, 8, CLOCK + 501 * MS },
		{ "autoneg_due", 0, 8, UINT64_MAX },
		{ "clock", 0, 8, UINT64_MAX },
		{ "clock", 0, 8, 1ull << 62 },
		{ "eeprom", 0, 2, 0x5453 },
		{ "eeprom", 40, 2, 0 },
		{ "ee.phase", 0, 1, 3 },
		{ "ee.n", 0, 1, 200 },
		{ "ee.addr", 0, 1, 64 },
		{ "ee.out", 0, 1, 2 },
		{ "irq.held", 0, 4, ICR_LSC },
		{ "irq.next", 0, 8, UINT64_MAX },
		{ "irq.next", 0, 8, CLOCK + 0xffff * 256 + 1 },
		{ "irq.rx_due", 0, 8, CLOCK + US(0xffff) + 1 },
		{ "irq.tx_due", 0, 8, CLOCK + US(0xffff) + 1 },
		{ "tx.open.kind", 0, 1, E1000_TX_N_KINDS },
		{ "tx.open.len", 0, 4, E1000_TX_TSO_MAX + 1 },
		{ "tx.skip", 0, 4, 0x100000 },
		{ "irq.rx_due", 0, 8, UINT64_MAX },
		{ "irq.tx_due", 0, 8, UINT64_MAX },
		{ "pbm_used", 0, 1, 2 },
	};

	for (size_t i = 0; i < array_size(t); i++)
		refuse(t[i].name, t[i].i, t[i].size, t[i].v);
}

/* The largest that a guest can bring about. */
static void test_accepted_values(void **state)
{
	static const struct {
		const char *name;
		uint8_t size;
		uint64_t v;
	} t[] = {
		{ "irq.next", 8, CLOCK + 0xffff * 256 },
		{ "irq.rx_due", 8, CLOCK + US(0xffff) },
		{ "irq.tx_due", 8, CLOCK + US(0xffff) },
		{ "autoneg_due", 8, CLOCK + 500 * MS },
		{ "ioaddr", 4, 0xfffff },
		{ "tx.open.len", 4, E1000_TX_TSO_MAX },
		{ "tx.skip", 4, 0xfffff },
	};
	struct fp *a = busy_device(), *b = fe_new("");

	fe_freeze(b);
	for (size_t i = 0; i < array_size(t); i++) {
		struct stream s = save(a);

		poke(s, t[i].name, 0, t[i].size, t[i].v);
		assert_loads(b, s);
		free(s.data);
	}
	fp_free(a);
	fp_free(b);
}

static void assert_refused(struct fp *g, struct stream s, const char *why)
{
	struct twx_error e = { 0 };

	assert_true(load(g, s, &e) < 0);
	if (!strstr(e.what, why))
		fail_msg("%s", e.what);
}

static void test_other_devices(void **state)
{
	struct fp *a = busy_device(), *gc = fp_new("e1000-82544gc", "");
	struct fp *plain = fe_new(",mitigation=off"), *less = fe_new(",extra_mac_registers=off");
	struct stream s = save(a);

	assert_refused(gc, s, "pci"); /* its device id */
	assert_refused(plain, s, "0xc4");
	assert_refused(less, s, "e1000/");
	s.len--;
	assert_refused(a, s, "cut short");
	free(s.data);
	fp_free(a);
	fp_free(gc);
	fp_free(plain);
	fp_free(less);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_timers_go_on),
		cmocka_unit_test(test_running),	       cmocka_unit_test(test_line),
		cmocka_unit_test(test_cable_differs),  cmocka_unit_test(test_refused_values),
		cmocka_unit_test(test_tso_props),      cmocka_unit_test(test_running_clocks),
		cmocka_unit_test(test_status_follows), cmocka_unit_test(test_accepted_values),
		cmocka_unit_test(test_other_devices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
