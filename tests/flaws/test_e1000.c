/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What has broken the registers and the loaded state of other e1000 models: asserts on a value, a
 * size or an order, indices taken from registers, state that was believed. Sanitizers do most of
 * the judging; afterwards the loop is idle and the device works.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../device/fake_e1000_rings.h"
#include "base/macros.h"

static const uint32_t offsets[] = {
#define X(name, off, count, stride, ...) off, off + ((count)-1) * (stride),
	E1000_REGS(X)
#undef X
#define X(name, off, count, stride) off, off + ((count)-1) * (stride),
		E1000_ALIASES(X)
#undef X
			0x9ffc,
	0xfffc,
	0x10000,
	0x1fffc,
};

static uint8_t buf[16384];

/* Rings that run, so that registers are written under a busy device. */
static struct fr *busy(void)
{
	struct fr *r = fr_new("");
	struct fr_ctx c = {
		.tucmd = TUCMD_TSE | TUCMD_TCP | TUCMD_IP, .hdr_len = 54, .mss = 1000, .tucss = 34
	};

	fg_frame(buf, sizeof(buf), 1);
	fr_context(r, &c);
	fr_data(r, buf, 10000, TXD_TSE, 3);
	fr_legacy(r, buf, 300, 0);
	fr_send(r);
	fr_feed(r, buf, 1000);
	return r;
}

/* What happens around a register: a doorbell, a frame, time. */
static void life_goes_on(struct fr *r)
{
	int rounds = 0;

	fr_feed(r, buf, 1000);
	fr_data(r, buf, 3000, TXD_TSE | FR_EOP, 3);
	fr_legacy(r, buf, 300, FR_EOP);
	fr_kick(r);
	while (twx_loop_poll(r->g->loop, 0) > 0)
		assert_true(++rounds < 1000);
}

static void assert_works(struct fr *r)
{
	assert_true(fr_works(r));
	fr_free(r);
}

/* QEMU, 2020: an assert on a register's value. */
static void test_every_value(void **state)
{
	struct fr *r = busy();

	for (size_t i = 0; i < array_size(offsets); i++) {
		for (unsigned int bit = 0; bit < 34; bit++) {
			fp_wr(r->g, offsets[i], bit < 32 ? 1u << bit : bit & 1 ? 0xffffffff : 0);
			fp_rd(r->g, offsets[i]);
		}
		life_goes_on(r);
	}
	assert_works(r);
}

/* Every word, also those without a register; in either direction, and twice. */
static void test_every_word(void **state)
{
	static const uint32_t values[] = { 0, 0xffffffff, 0xa5a5a5a5, 0x5a5a5a5a };

	for (size_t v = 0; v < array_size(values); v++) {
		struct fr *r = busy();

		for (uint32_t i = 0; i < E1000_MMIO_SIZE; i += 4) {
			fp_wr(r->g, v & 1 ? E1000_MMIO_SIZE - 4 - i : i, values[v]);
			if (i % 0x400 == 0)
				life_goes_on(r);
		}
		assert_works(r);
	}
}

/* NE2000, CVE-2015-8743: an access checked as if it were a shorter one. */
static void test_every_size(void **state)
{
	static const uint8_t ones[8] = { 255, 255, 255, 255, 255, 255, 255, 255 };
	struct fr *r = busy();
	uint8_t data[8];

	for (size_t i = 0; i < array_size(offsets); i++)
		for (uint32_t len = 1; len <= 8; len++)
			for (uint32_t at = offsets[i] - min(offsets[i], 7u); at < offsets[i] + 5;
			     at++) {
				int rc = at <= E1000_MMIO_SIZE - len ? 0 : -EINVAL;

				assert_int_equal(pci_bar_write(r->g->pci, 0, at, ones, len), rc);
				assert_int_equal(pci_bar_read(r->g->pci, 0, at, data, len), rc);
			}
	life_goes_on(r);
	for (uint32_t at = 0; at < E1000_IO_SIZE; at++)
		for (uint32_t len = 1; len <= 8; len++) {
			int rc = at <= E1000_IO_SIZE - len ? 0 : -EINVAL;

			assert_int_equal(pci_bar_write(r->g->pci, 1, at, ones, len), rc);
			assert_int_equal(pci_bar_read(r->g->pci, 1, at, data, len), rc);
		}
	assert_int_equal(pci_bar_read(r->g->pci, 0, UINT64_MAX, data, 2), -EINVAL);
	assert_int_equal(pci_bar_write(r->g->pci, 2, 0, ones, 4), -EINVAL);
	life_goes_on(r);
	assert_works(r);
}

/* All of IOADDR, some of which leads nowhere. */
static void test_io_window(void **state)
{
	struct fr *r = busy();

	for (uint32_t at = 0; at < 0x100000; at += 0x3fd) {
		fp_bar_write(r->g, 1, 0, 4, at);
		fp_bar_write(r->g, 1, 4, 4, 0xffffffff);
		fp_bar_read(r->g, 1, 4, 4);
	}
	life_goes_on(r);
	assert_works(r);
}

/* Indices that come from registers: PHY, EEPROM, and every order of its pins. */
static void test_indices(void **state)
{
	struct fr *r = busy();
	unsigned int seed = 1;

	for (uint32_t i = 0; i < 1u << 14; i++)
		fp_wr(r->g, O_MDIC, i << MDIC_REG_SHIFT | (i & 1 ? 0xffff : 0));
	for (uint32_t i = 0; i < 1u << 16; i++) {
		fp_wr(r->g, O_EERD, i);
		assert_int_equal(fp_rd(r->g, O_EERD) >> EERD_DATA_SHIFT &&
					 i >> EERD_ADDR_SHIFT >= E1000_EEPROM_WORDS,
				 0);
	}
	for (int i = 0; i < 200000; i++) {
		uint32_t pins = (uint32_t)rand_r(&seed) >> 8 & (EECD_SK | EECD_DI);

		fp_wr(r->g, O_EECD, i % 1000 ? pins | EECD_CS : pins);
		fp_rd(r->g, O_EECD);
	}
	life_goes_on(r);
	assert_works(r);
}

/* CTRL.RST and a reset of the bus, at any moment, again and again. */
static void test_resets(void **state)
{
	struct fr *r = busy();

	for (int i = 0; i < 1000; i++) {
		fr_data(r, buf, 3000, TXD_TSE, 3);
		fr_kick(r);
		if (i % 3 == 2) {
			pci_reset(r->g->pci);
			fp_enable(r->g);
		} else {
			fp_wr(r->g, O_CTRL, i % 3 ? CTRL_RST | CTRL_PHY_RST : CTRL_RST);
		}
		fr_tx_setup(r, 256);
		if (i % 5 == 0)
			life_goes_on(r);
	}
	assert_works(r);
}

/* No interval, however short, makes an interrupt for every cause of a storm. */
static void test_storm(void **state)
{
	struct fr *r = busy();

	fe_freeze(r->g);
	fp_wr(r->g, O_IMS, 0xffffffff);
	fp_wr(r->g, O_ITR, 1);
	fp_rd(r->g, O_ICR);
	fe_tick(r->g, 1000);
	r->g->n_edges = 0;
	for (int i = 0; i < 100000; i++) {
		fp_wr(r->g, O_ICS, 0xffffffff);
		fp_rd(r->g, O_ICR);
	}
	assert_int_equal(r->g->n_edges, 1);
	fe_thaw(r->g);
	assert_works(r);
}

/* A frame that loops back into the buffer that it lies in, moved by a few bytes. */
static void test_loopback_onto_itself(void **state)
{
	struct fr *r = busy();
	uint64_t at = FP_BASE + 0x100000;

	fp_wr(r->g, O_CTRL, CTRL_RST);
	fr_tx_setup(r, 256);
	fe_mdic(r->g, MDIC_OP_WRITE, 1, 0, 0x4140);
	for (int32_t move = -300; move < 300; move += 7) {
		r->rx_bufs = at + 300 + (uint64_t)move;
		fr_rx_setup(r, 8, FR_DEFAULT_RCTL | RCTL_UPE | RCTL_LPE);
		fg_frame(buf, 4000, 1);
		fp_write(r->g, at + 300, buf, 4000);
		fr_legacy_at(r, at + 300, 4000, FR_EOP);
		fr_send(r);
		assert_int_equal(fp_rd(r->g, O_RDH), 2);
	}
	assert_works(r);
}

/* Whatever was loaded, or not, the device lives. */
static void load_and_live(struct fr *r, const uint8_t *data, size_t len)
{
	struct twx_error e = { 0 };
	int rc = pci_load(r->g->pci, data, len, &e);

	assert_int_equal(rc < 0, e.what[0] != '\0');
	if (rc < 0)
		return;
	for (size_t i = 0; i < array_size(offsets); i++)
		fp_rd(r->g, offsets[i]);
	life_goes_on(r);
	fe_pass(r->g, 600000000);
}

/* QEMU #3869: state that was believed. Every byte that is not mere contents, with some bit the
 * other way round; and the stream cut off there. */
static void test_state_flipped(void **state)
{
	struct fr *r = busy();
	uint8_t *saved, *copy;
	size_t len;

	assert_int_equal(pci_save(r->g->pci, &saved, &len), 0);
	copy = malloc(len);
	assert_non_null(copy);
	for (size_t i = 0; i < len; i++) {
		size_t zeros = 0;

		/* Through long runs of zeros, which are packet buffers, in large steps. */
		while (i + zeros < len && zeros < 4096 && !saved[i + zeros])
			zeros++;
		i += zeros >= 64 ? zeros - 32 : 0;
		if (i >= len)
			break;
		memcpy(copy, saved, len);
		copy[i] ^= (uint8_t)(1u << i % 8);
		load_and_live(r, copy, len);
		if (i % 16 == 0) {
			struct twx_error e = { 0 };

			assert_true(pci_load(r->g->pci, saved, i, &e) < 0);
		}
	}
	assert_int_equal(pci_load(r->g->pci, saved, len, NULL), 0);
	free(copy);
	free(saved);
	assert_works(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_value),   cmocka_unit_test(test_every_word),
		cmocka_unit_test(test_every_size),    cmocka_unit_test(test_io_window),
		cmocka_unit_test(test_indices),	      cmocka_unit_test(test_resets),
		cmocka_unit_test(test_storm),	      cmocka_unit_test(test_loopback_onto_itself),
		cmocka_unit_test(test_state_flipped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
