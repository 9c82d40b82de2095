/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * e1000: interrupt causes, mask, line, and what delays them. The device's clock stands still, so
 * that nothing here depends on how fast the test runs: a cause that is held is looked at through
 * ICS, which brings ICR up to date; the line through a write of zero to IMS.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macros.h"
#include "fake_e1000.h"

#define US(n) ((n)*1024ull) /* what delays are counted in */
#define ITR(n) ((n)*256ull)

static struct fp *start(const char *opts)
{
	struct fp *g = fe_new(opts);

	fe_freeze(g);
	fe_tick(g, 1000000000);
	return g;
}

/* At this moment, without letting any time pass. */
static bool line(struct fp *g)
{
	fp_wr(g, O_IMS, 0);
	return g->level;
}

/* The timer runs; or what it is for has happened, on a machine that had no time for this test. */
static bool armed_or_up(struct fp *g)
{
	return fe_dev(g)->irq.timer.slot != 0 || g->level;
}

static bool armed(struct fp *g)
{
	return fe_dev(g)->irq.timer.slot != 0;
}

static void test_causes(void **state)
{
	struct fp *g = start("");

	fp_wr(g, O_ICS, ICR_TXDW | ICR_LSC);
	assert_int_equal(fp_rd(g, O_ICS), ICR_TXDW | ICR_LSC);
	fp_wr(g, O_ICS, ICR_RXO);
	assert_int_equal(fp_rd(g, O_ICS), ICR_TXDW | ICR_LSC | ICR_RXO);
	fp_wr(g, O_ICR, ICR_LSC);
	assert_int_equal(fp_rd(g, O_ICR), ICR_TXDW | ICR_RXO);
	assert_int_equal(fp_rd(g, O_ICR), 0);
	fp_wr(g, O_ICS, 0xffffffff);
	assert_int_equal(fp_rd(g, O_ICR), 0x1ffff);
	fp_wr(g, O_IMS, ICR_LSC);
	fp_wr(g, O_IMS, ICR_RXO | ICR_TXDW);
	fp_wr(g, O_IMC, ICR_LSC);
	assert_int_equal(fp_rd(g, O_IMS), ICR_RXO | ICR_TXDW);
	assert_int_equal(fp_rd(g, O_IMC), 0);
	fp_free(g);
}

/* The interrupt test of Linux's driver, for each cause. */
static void test_driver_test(void **state)
{
	struct fp *g = start("");

	for (unsigned int i = 0; i < 10; i++) {
		uint32_t mask = 1u << i;

		fp_wr(g, O_IMC, mask);
		fp_wr(g, O_ICS, mask);
		assert_false(g->level);
		fp_wr(g, O_IMS, mask);
		assert_true(g->level);
		fp_wr(g, O_ICS, mask);
		assert_true(fp_rd(g, O_ICR) & mask);
		assert_false(g->level);
		fp_wr(g, O_IMC, ~mask & 0x7fff);
		fp_wr(g, O_ICS, ~mask & 0x7fff);
		assert_false(g->level);
		fp_wr(g, O_IMC, 0xffffffff);
		fp_rd(g, O_ICR);
	}
	fp_free(g);
}

static void test_level(void **state)
{
	struct fp *g = start("");

	fp_wr(g, O_IMS, ICR_LSC | ICR_RXO);
	fp_wr(g, O_ICS, ICR_LSC);
	assert_true(g->level);
	fp_wr(g, O_ICS, ICR_RXO); /* up already */
	assert_int_equal(g->n_edges, 1);
	fp_wr(g, O_ICR, ICR_LSC); /* one of two is left */
	assert_true(g->level);
	fp_wr(g, O_IMC, ICR_RXO);
	assert_false(g->level);
	fp_wr(g, O_IMS, ICR_RXO);
	assert_true(g->level);
	assert_int_equal(fp_rd(g, O_ICR), ICR_RXO);
	assert_false(g->level);
	assert_int_equal(g->n_edges, 2);
	assert_int_equal(g->nic->ports[0]->count.signals, 2);
	/* The status and command registers of the function have their say. */
	fp_wr(g, O_ICS, ICR_RXO);
	assert_true(fp_cfg_rd(g, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	fp_cfg_wr(g, PCI_COMMAND, 2, FP_COMMAND | PCI_COMMAND_INTX_DISABLE);
	assert_false(g->level);
	fp_free(g);
}

/* ITR: a distance between rising edges; an idle line never waits. */
static void test_throttle(void **state)
{
	struct fp *g = start("");

	fp_wr(g, O_IMS, ICR_RXT0);
	fp_wr(g, O_ITR, 200);
	fp_wr(g, O_ICS, ICR_RXT0);
	assert_true(g->level);
	fp_rd(g, O_ICR);
	fe_tick(g, ITR(200) - 1);
	fp_wr(g, O_ICS, ICR_RXT0);
	assert_false(line(g));
	assert_int_equal(fp_rd(g, O_ICS), ICR_RXT0); /* throttled, not hidden */
	fe_tick(g, 1);
	assert_true(line(g));
	fp_rd(g, O_ICR);
	/* What is acknowledged before its time never comes. */
	fp_wr(g, O_ICS, ICR_RXT0);
	fp_rd(g, O_ICR);
	fe_pass(g, ITR(1000));
	assert_int_equal(g->n_edges, 2);
	/* Long after: at once. And the timer does it when nobody writes anything. */
	fp_wr(g, O_ICS, ICR_RXT0);
	assert_true(g->level);
	fp_rd(g, O_ICR);
	fp_wr(g, O_ICS, ICR_RXT0);
	assert_false(g->level);
	fe_pass(g, ITR(200));
	assert_true(g->level);
	assert_false(armed(g));
	fp_free(g);
}

static void test_throttle_changes(void **state)
{
	struct fp *g = start("");

	fp_wr(g, O_IMS, ICR_RXT0);
	fp_wr(g, O_ITR, 0xffff);
	fp_wr(g, O_ICS, ICR_RXT0);
	fp_rd(g, O_ICR);
	fp_wr(g, O_ICS, ICR_RXT0);
	fp_wr(g, O_ITR, 100); /* shorter: from now */
	assert_false(g->level);
	fe_tick(g, ITR(100) - 1);
	assert_false(line(g));
	fe_tick(g, 1);
	assert_true(line(g));
	fp_rd(g, O_ICR);
	fp_wr(g, O_ICS, ICR_RXT0);
	fp_wr(g, O_ITR, 0xffff); /* longer: from the next one */
	fe_tick(g, ITR(100));
	assert_true(line(g));
	fp_rd(g, O_ICR);
	fp_wr(g, O_ICS, ICR_RXT0);
	assert_false(g->level);
	fe_thaw(g);
	fp_wr(g, O_IMS, 0);
	assert_true(armed_or_up(g));
	fp_wr(g, O_ITR, 0); /* no throttling at all */
	assert_true(g->level);
	assert_false(armed(g));
	fp_free(g);
}

/* RDTR counts anew with each frame, RADV from the first. */
static void test_receive_delay(void **state)
{
	struct fp *g = start("");
	struct e1000 *d = fe_dev(g);

	fp_wr(g, O_IMS, ICR_RXT0);
	fp_wr(g, O_RDTR, 10);
	e1000_cause_rx(d, ICR_RXT0);
	fe_tick(g, US(9));
	assert_int_equal(fp_rd(g, O_ICS), 0);
	e1000_cause_rx(d, ICR_RXT0);
	fe_tick(g, US(10) - 1);
	assert_int_equal(fp_rd(g, O_ICS), 0);
	fe_tick(g, 1);
	assert_int_equal(fp_rd(g, O_ICS), ICR_RXT0);
	assert_true(line(g));
	fp_rd(g, O_ICR);
	fp_wr(g, O_RADV, 15);
	e1000_cause_rx(d, ICR_RXT0);
	fe_tick(g, US(9));
	e1000_cause_rx(d, ICR_RXT0);
	fe_tick(g, US(6) - 1);
	assert_int_equal(fp_rd(g, O_ICS), 0);
	fe_tick(g, 1);
	assert_int_equal(fp_rd(g, O_ICR), ICR_RXT0);
	/* The absolute timer starts with the first frame of the next batch. */
	fe_tick(g, US(100));
	e1000_cause_rx(d, ICR_RXT0);
	fe_tick(g, US(10) - 1);
	assert_int_equal(fp_rd(g, O_ICS), 0);
	fe_pass(g, 1);
	assert_true(g->level);
	fp_rd(g, O_ICR);
	/* RADV without RDTR delays nothing. */
	fp_wr(g, O_RDTR, 0);
	e1000_cause_rx(d, ICR_RXT0);
	assert_true(g->level);
	fp_free(g);
}

/* Nobody touches a register, and time passes by itself. */
static void test_timer(void **state)
{
	struct fp *g = start("");

	fe_thaw(g);
	fp_wr(g, O_IMS, ICR_RXT0);
	fp_wr(g, O_RDTR, 20000);
	e1000_cause_rx(fe_dev(g), ICR_RXT0);
	for (int i = 0; i < 1000 && !g->level; i++)
		twx_loop_poll(g->loop, 1000);
	assert_true(g->level);
	fp_free(g);
}

/* What waited is reported by the frame that does not, and not again. */
static void test_delay_switched_off(void **state)
{
	struct fp *g = start("");
	struct e1000 *d = fe_dev(g);

	fp_wr(g, O_RDTR, 100);
	e1000_cause_rx(d, ICR_RXT0);
	fp_wr(g, O_RDTR, 0);
	e1000_cause_rx(d, ICR_RXT0);
	assert_int_equal(fp_rd(g, O_ICR), ICR_RXT0);
	fe_tick(g, US(1000));
	assert_int_equal(fp_rd(g, O_ICR), 0);
	fp_free(g);
}

static void test_other_receive_causes(void **state)
{
	struct fp *g = start("");
	struct e1000 *d = fe_dev(g);

	fp_wr(g, O_IMS, ICR_RXT0 | ICR_RXDMT0 | ICR_RXO);
	fp_wr(g, O_RDTR, 100);
	e1000_cause_rx(d, ICR_RXT0 | ICR_RXDMT0);
	assert_true(g->level);
	assert_int_equal(fp_rd(g, O_ICR), ICR_RXT0 | ICR_RXDMT0);
	e1000_cause_rx(d, ICR_RXO);
	assert_int_equal(fp_rd(g, O_ICR), ICR_RXO);
	assert_false(g->level);
	/* FPD: what waits is due now, and the bit does not stick. */
	e1000_cause_rx(d, ICR_RXT0);
	assert_false(g->level);
	fp_wr(g, O_RDTR, RDTR_FPD | 100);
	assert_true(g->level);
	assert_int_equal(fp_rd(g, O_ICR), ICR_RXT0);
	assert_int_equal(fp_rd(g, O_RDTR), 100);
	fe_pass(g, US(1000));
	assert_int_equal(g->n_edges, 3);
	/* Behind a mask as well, and once. */
	fp_wr(g, O_IMC, ~0u);
	e1000_cause_rx(d, ICR_RXT0);
	fp_wr(g, O_RDTR, RDTR_FPD | 100);
	assert_int_equal(fp_rd(g, O_ICR), ICR_RXT0);
	fe_tick(g, US(1000));
	assert_int_equal(fp_rd(g, O_ICR), 0);
	fp_free(g);
}

/* TIDV and TADV, for descriptors that ask for it. */
static void test_transmit_delay(void **state)
{
	struct fp *g = start("");
	struct e1000 *d = fe_dev(g);

	fp_wr(g, O_IMS, ICR_TXDW);
	fp_wr(g, O_TIDV, 8);
	fp_wr(g, O_TADV, 12);
	e1000_cause_tx(d, ICR_TXDW | ICR_TXQE, true);
	assert_int_equal(fp_rd(g, O_ICR), ICR_TXQE);
	fe_tick(g, US(7));
	e1000_cause_tx(d, ICR_TXDW, true);
	fe_tick(g, US(5) - 1);
	assert_int_equal(fp_rd(g, O_ICS), 0);
	fe_tick(g, 1);
	assert_int_equal(fp_rd(g, O_ICS), ICR_TXDW);
	assert_true(line(g));
	fp_rd(g, O_ICR);
	/* What is no report of a descriptor waits for nothing, and brings none about. */
	e1000_cause_tx(d, ICR_TXQE, true);
	fe_tick(g, US(100));
	assert_int_equal(fp_rd(g, O_ICR), ICR_TXQE);
	/* One that does not ask ends the wait of the others. */
	e1000_cause_tx(d, ICR_TXDW, true);
	assert_false(g->level);
	e1000_cause_tx(d, ICR_TXDW, false);
	assert_true(g->level);
	assert_int_equal(fp_rd(g, O_ICR), ICR_TXDW);
	fe_pass(g, US(100));
	assert_int_equal(fp_rd(g, O_ICR), 0);
	/* Without TIDV nothing waits. */
	fp_wr(g, O_TIDV, 0);
	e1000_cause_tx(d, ICR_TXDW, true);
	assert_true(g->level);
	fp_free(g);
}

/* An interrupt takes with it what would only make a second one. */
static void test_held_join(void **state)
{
	struct fp *g = start("");
	struct e1000 *d = fe_dev(g);

	fp_wr(g, O_IMS, ICR_TXDW | ICR_RXT0);
	fp_wr(g, O_TIDV, 100);
	e1000_cause_tx(d, ICR_TXDW, true);
	assert_false(g->level);
	e1000_cause_rx(d, ICR_RXT0);
	assert_true(g->level);
	fp_wr(g, O_ICR, ICR_TXDW);
	e1000_cause_tx(d, ICR_TXDW, true);
	assert_int_equal(fp_rd(g, O_ICR), ICR_TXDW | ICR_RXT0);
	assert_false(armed(g));
	fe_pass(g, US(1000));
	assert_int_equal(g->n_edges, 1);
	fp_free(g);
}

/* A driver that polls behind a mask costs no timer, and hears of all of it when it unmasks. */
static void test_mask_and_timer(void **state)
{
	struct fp *g = start("");
	struct e1000 *d = fe_dev(g);

	fp_wr(g, O_ITR, 200);
	fp_wr(g, O_TIDV, 8);
	fe_thaw(g);
	e1000_cause_tx(d, ICR_TXDW, true);
	e1000_cause_rx(d, ICR_RXT0);
	assert_false(armed(g));
	fe_freeze(g);
	fe_tick(g, US(8));
	fe_thaw(g);
	fp_run(g);
	assert_false(g->level);
	fp_wr(g, O_IMS, ICR_TXDW | ICR_RXT0);
	assert_true(g->level);
	assert_int_equal(fp_rd(g, O_ICR), ICR_TXDW | ICR_RXT0);
	assert_false(armed(g));
	fe_freeze(g);
	e1000_cause_tx(d, ICR_TXDW, true);
	fe_thaw(g);
	assert_true(armed_or_up(g));
	assert_true(g->nic->ports[0]->count.signals_skipped);
	fe_freeze(g);
	assert_false(armed(g));
	fe_thaw(g);
	assert_true(armed_or_up(g));
	fp_wr(g, O_IMC, ~0u);
	assert_false(armed(g));
	fp_free(g);
}

/* Nothing happens while the machine stands still, and no time passes. */
static void test_stop(void **state)
{
	struct fp *g = start("");

	fp_wr(g, O_IMS, ICR_RXT0);
	fp_wr(g, O_ITR, 0xffff);
	fp_wr(g, O_ICS, ICR_RXT0);
	fp_rd(g, O_ICR);
	fp_wr(g, O_ICS, ICR_RXT0);
	assert_false(armed(g));
	fp_run(g);
	assert_false(g->level);
	fe_pass(g, ITR(0xffff));
	assert_true(g->level);
	fp_free(g);
}

static void test_without_mitigation(void **state)
{
	struct fp *g = start(",mitigation=off");
	struct e1000 *d = fe_dev(g);

	fp_wr(g, O_ITR, 0xffff);
	fp_wr(g, O_RDTR, 0xffff);
	fp_wr(g, O_TIDV, 0xffff);
	fp_wr(g, O_IMS, ICR_RXT0 | ICR_TXDW);
	for (unsigned int i = 1; i <= 3; i++) {
		e1000_cause_rx(d, ICR_RXT0);
		e1000_cause_tx(d, ICR_TXDW, true);
		assert_int_equal(g->n_edges, i);
		assert_int_equal(fp_rd(g, O_ICR), ICR_RXT0 | ICR_TXDW);
	}
	fp_free(g);
}

static void test_reset(void **state)
{
	struct fp *g = start("");
	struct e1000 *d = fe_dev(g);

	fp_wr(g, O_IMS, ICR_RXT0 | ICR_LSC);
	fp_wr(g, O_RDTR, 1000);
	fp_wr(g, O_ITR, 0xffff);
	fp_wr(g, O_ICS, ICR_LSC);
	fp_rd(g, O_ICR);
	e1000_cause_rx(d, ICR_RXT0);
	fe_thaw(g);
	assert_true(armed_or_up(g));
	fp_wr(g, O_CTRL, CTRL_RST);
	assert_false(g->level);
	assert_false(armed(g));
	fe_freeze(g);
	fe_pass(g, US(100000));
	assert_int_equal(fp_rd(g, O_ICR), 0);
	/* No memory of the gap either. */
	fp_wr(g, O_IMS, ICR_LSC);
	fp_wr(g, O_ICS, ICR_LSC);
	assert_true(g->level);
	fp_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_causes),
		cmocka_unit_test(test_driver_test),
		cmocka_unit_test(test_level),
		cmocka_unit_test(test_throttle),
		cmocka_unit_test(test_throttle_changes),
		cmocka_unit_test(test_receive_delay),
		cmocka_unit_test(test_timer),
		cmocka_unit_test(test_delay_switched_off),
		cmocka_unit_test(test_other_receive_causes),
		cmocka_unit_test(test_transmit_delay),
		cmocka_unit_test(test_held_join),
		cmocka_unit_test(test_mask_and_timer),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_without_mitigation),
		cmocka_unit_test(test_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
