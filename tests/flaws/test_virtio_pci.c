/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What broke virtio's PCI transport elsewhere, replayed against ours. After each trigger a driver
 * that resets the device has a card that works; sanitizers watch the rest. Saved states are in
 * tests/device/test_virtio_pci_state.c, the rings themselves in test_virtio.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../device/fake_virtio_pci.h"
#include "base/macros.h"

#define RXQ 0
#define TXQ 1

static uint64_t where[FG_MAX_DESC];

static void works(struct fv *v)
{
	struct virtio_net_hdr_mrg_rxbuf hdr;
	uint8_t f[1514], got[2000];

	pci_reset(v->pci);
	fv_enable(v);
	v->g->brk = FG_BASE + 4096;
	fg_wire_clear(v->g->wire);
	fv_start(v, FV_PLAIN, true);
	fg_frame(f, sizeof(f), 9);
	fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT);
	fv_kick(v, TXQ);
	assert_int_equal(v->g->wire->n_frames, 1);
	assert_memory_equal(v->g->wire->frames[0].data, f, sizeof(f));
	fg_rx_post(v->g, RXQ, 4, 1600, where);
	fv_kick(v, RXQ);
	assert_int_equal(fg_wire_send(v->g->wire, f, sizeof(f), NULL), 1);
	fg_run(v->g);
	assert_int_equal(fg_rx_take(v->g, RXQ, where, &hdr, got, sizeof(got)), sizeof(f));
	assert_memory_equal(got, f, sizeof(f));
}

static void works_and_goes(struct fv *v)
{
	works(v);
	fv_free(v);
}

/* Every register, in every width and alignment, all bits, none, and each one. */
static void test_every_register_value(void **state)
{
	static const struct {
		unsigned int bar;
		uint32_t from, to;
	} ranges[] = {
		{ 0, 0, 32 },	       { 1, 0, 72 },	      { 1, 0x7f8, 0x810 },
		{ 4, 0, 0x44 },	       { 4, 0x1000, 0x1004 }, { 4, 0x2000, 0x2020 },
		{ 4, 0x3000, 0x3010 }, { 4, 0x3ff8, 0x4000 }, { ~0u, 4, 256 },
	};
	struct fv *v = fv_new("virtio-net-pci-transitional");
	uint8_t buf[8];

	for (int k = -2; k < 64; k++) {
		uint64_t value = k == -2 ? 0 : k == -1 ? ~0ull : 1ull << k;

		for (size_t r = 0; r < array_size(ranges); r++) {
			for (uint32_t off = ranges[r].from; off < ranges[r].to; off++) {
				uint32_t len = 1u << ((off + (uint32_t)k) & 3);

				if (off + len > ranges[r].to)
					continue;
				if (ranges[r].bar == ~0u) {
					(void)pci_config_read(v->pci, off, buf, len);
					(void)pci_config_write(v->pci, off, &value, len);
					continue;
				}
				(void)pci_bar_read(v->pci, ranges[r].bar, off, buf, len);
				(void)pci_bar_write(v->pci, ranges[r].bar, off, &value, len);
			}
		}
		fg_run(v->g);
		if (k % 16 == 0)
			works(v);
		else
			fv_enable(v);
	}
	works_and_goes(v);
}

/* CVE-2011-2512: a queue number that is negative, or just too large, from a doorbell. */
static void test_cve_2011_2512_doorbells(void **state)
{
	struct fv *v = fv_new("virtio-net-pci-transitional");

	fv_start(v, FV_PLAIN, true);
	for (uint32_t i = 0; i < 0x10000; i += 0xff) {
		fv_set_io(v, VIRTIO_PCI_QUEUE_NOTIFY, 2, i);
		fv_set_io(v, VIRTIO_PCI_QUEUE_SEL, 2, i);
		(void)fv_io(v, VIRTIO_PCI_QUEUE_PFN, 4);
		if (i >= 3)
			fv_set_io(v, VIRTIO_PCI_QUEUE_PFN, 4, i);
	}
	for (uint32_t off = 0x3000; off < 0x4000; off += 4)
		fv_write(v, 4, off, 4, 0xffff8000);
	assert_int_equal(fv_status(v), 15);
	works_and_goes(v);
}

/* CVE-2013-2016: the device's configuration at, across and behind its end. */
static void test_cve_2013_2016_config_bounds(void **state)
{
	struct fv *v = fv_new("virtio-net-pci-transitional");
	uint8_t buf[8], w = v->cap[VIRTIO_PCI_CAP_PCI_CFG].at;

	memset(buf, 0x41, sizeof(buf));
	for (uint32_t off = 0; off < 0x30; off++) {
		for (uint32_t len = 1; len <= 8; len++) {
			(void)pci_bar_read(v->pci, 4, 0x2000 + off, buf, len);
			(void)pci_bar_write(v->pci, 4, 0x2000 + off, buf, len);
			(void)pci_bar_read(v->pci, 0, off, buf, len);
		}
		fv_cfg_write(v, w + 4u, 1, 4);
		fv_cfg_write(v, w + 8u, 4, 0x2ffc + off);
		fv_cfg_write(v, w + 12u, 4, 4);
		(void)fv_cfg(v, w + 16u, 4);
	}
	assert_int_equal(pci_bar_read(v->pci, 4, 0x3fff, buf, 2), -EINVAL);
	assert_int_equal(pci_bar_write(v->pci, 0, 31, buf, 4), -EINVAL);
	assert_int_equal(pci_bar_read(v->pci, 4, ~0ull, buf, 8), -EINVAL);
	works_and_goes(v);
}

/* CVE-2017-17381: doorbells and addresses before anything is set up, on either interface. */
static void test_cve_2017_17381_before_setup(void **state)
{
	struct fv *v = fv_new("virtio-net-pci-transitional");

	for (unsigned int i = 0; i < 4; i++) {
		fv_set_io(v, VIRTIO_PCI_QUEUE_NOTIFY, 2, i);
		fv_set_io(v, VIRTIO_PCI_QUEUE_SEL, 2, i);
		fv_set_io(v, VIRTIO_PCI_QUEUE_PFN, 4, FG_BASE >> 12);
		fv_set_io(v, VIRTIO_PCI_QUEUE_NOTIFY, 2, i);
		fv_set_common(v, VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
		fv_set_common(v, VIRTIO_PCI_COMMON_Q_SIZE, 2, 0);
		fv_set_common(v, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
		fv_kick(v, i);
	}
	fv_set_status(v, 0xff);
	for (unsigned int i = 0; i < 4; i++)
		fv_kick(v, i);
	works_and_goes(v);
}

/* CVE-2026-5747: queue registers and status bits after activation; activation again and again. */
static void test_cve_2026_5747_after_activation(void **state)
{
	struct fv *v = fv_new("virtio-net-pci-transitional");
	uint8_t f[64];

	fv_start(v, FV_PLAIN, true);
	for (unsigned int i = 0; i < 3; i++) {
		fv_set_common(v, VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
		fv_set_common(v, VIRTIO_PCI_COMMON_Q_SIZE, 2, 2);
		fv_set64(v, VIRTIO_PCI_COMMON_Q_DESCLO, 0x10);
		fv_set64(v, VIRTIO_PCI_COMMON_Q_AVAILLO, ~0ull);
		fv_set64(v, VIRTIO_PCI_COMMON_Q_USEDLO, 0);
		fv_set_common(v, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 0);
		fv_set_io(v, VIRTIO_PCI_QUEUE_PFN, 4, 1);
		assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_SIZE, 2), v->g->q[i].size);
		assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_USEDLO, 4), v->g->q[i].used);
	}
	fv_set_status(v, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	fv_set_io(v, VIRTIO_PCI_STATUS, 1, VIRTIO_CONFIG_S_DRIVER_OK);
	fv_set_io(v, VIRTIO_PCI_GUEST_FEATURES, 4, ~0u);
	assert_int_equal(fv_status(v), 15);
	fg_frame(f, sizeof(f), 1);
	fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT);
	fv_kick(v, TXQ);
	assert_int_equal(v->g->wire->n_frames, 1);
	for (int i = 0; i < 300; i++) {
		v->g->brk = FG_BASE + 4096;
		fv_start(v, FV_PLAIN, i & 1);
		if (i % 3 == 0)
			fv_set_status(v, VIRTIO_CONFIG_S_FAILED);
	}
	works_and_goes(v);
}

/* crosvm, vmd: rings that begin in memory and end outside; across regions that only touch. */
static void test_ring_ranges(void **state)
{
	static const uint64_t ends[] = { FG_BORDER, FG_BASE + FG_RAM };

	for (size_t e = 0; e < array_size(ends); e++) {
		for (unsigned int back = 16; back < 16 * 256; back += 240) {
			struct fv *v = fv_new("virtio-net-pci-transitional");

			assert_true(fv_agree(v, FV_PLAIN));
			fv_place(v, TXQ, 256, false);
			v->g->q[TXQ].desc = ends[e] - back;
			fv_tell(v, TXQ, FV_NONE, true);
			fv_driver_ok(v);
			assert_true(fv_status(v) & VIRTIO_CONFIG_S_NEEDS_RESET);
			/* The same by the legacy interface, whose rings end pages further. */
			fv_set_io(v, VIRTIO_PCI_STATUS, 1, 0);
			fv_set_io(v, VIRTIO_PCI_QUEUE_SEL, 2, TXQ);
			fv_set_io(v, VIRTIO_PCI_QUEUE_PFN, 4, (uint32_t)((ends[e] - 1) >> 12));
			fv_set_io(v, VIRTIO_PCI_STATUS, 1, 7);
			fv_legacy_kick(v, TXQ);
			works_and_goes(v);
		}
	}
}

/* CVE-2021-3748, CVE-2022-2962 and the like: buffers and rings on the function's own registers. */
static void test_own_registers(void **state)
{
	struct fv *v = fv_new("virtio-net-pci-transitional");
	uint8_t f[64];

	fv_start(v, FV_PLAIN, true);
	for (unsigned int i = 0; i < 4; i++) {
		/* Where fv_enable() has put BAR 4: its structures, as receive buffers. */
		struct fg_buf b = { 0xfe000000ull + 0x1000 * i, 2000, true };

		assert_true(fg_add(v->g, RXQ, &b, 1, false) >= 0);
	}
	fv_kick(v, RXQ);
	fg_frame(f, sizeof(f), 1);
	fg_wire_send(v->g->wire, f, sizeof(f), NULL);
	fg_run(v->g);
	assert_true(fg_used_idx(v->g, RXQ) <= 4);
	works(v);
	assert_true(fv_agree(v, FV_PLAIN));
	fv_place(v, TXQ, 64, false);
	v->g->q[TXQ].used = 0xfe003000;
	fv_tell(v, TXQ, FV_NONE, true);
	fv_driver_ok(v);
	assert_true(fv_status(v) & VIRTIO_CONFIG_S_NEEDS_RESET);
	works_and_goes(v);
}

/* MSI-X: a table written while it fires, vectors that there are not, masks in the middle. */
static void test_msix_table(void **state)
{
	struct fv *v = fv_new("virtio-net-pci-transitional");
	uint8_t junk[0x1000], f[64];

	fv_start(v, FV_PLAIN, true);
	fg_frame(f, sizeof(f), 1);
	for (unsigned int k = 0; k < 200; k++) {
		fv_set_common(v, VIRTIO_PCI_COMMON_Q_SELECT, 2, TXQ);
		fv_set_common(v, VIRTIO_PCI_COMMON_Q_MSIX, 2, k * 331);
		/* The host asserts what a message holds, so addresses stay as they are. */
		for (unsigned int i = 0; i < 4; i++)
			fv_write(v, 1, 16 * i + 12, 4, k & 3 ? 0xffffffff : 0);
		assert_int_equal(pci_bar_read(v->pci, 1, 0, junk, sizeof(junk)), 0);
		assert_int_equal(pci_bar_write(v->pci, 1, 0x800, junk, 0x800), 0);
		if (fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT) >= 0)
			fv_kick(v, TXQ);
		while (fg_used(v->g, TXQ, NULL) >= 0)
			;
		fv_cfg_write(v, fv_find(v, PCI_CAP_ID_MSIX) + 2u, 2, k << 14 & 0xc000);
		fg_wire_clear(v->g->wire);
	}
	works_and_goes(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_register_value),
		cmocka_unit_test(test_cve_2011_2512_doorbells),
		cmocka_unit_test(test_cve_2013_2016_config_bounds),
		cmocka_unit_test(test_cve_2017_17381_before_setup),
		cmocka_unit_test(test_cve_2026_5747_after_activation),
		cmocka_unit_test(test_ring_ranges),
		cmocka_unit_test(test_own_registers),
		cmocka_unit_test(test_msix_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
