/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Flaws of others that need a whole machine: devices whose DMA, messages and registers lie in one
 * map of addresses, driven by a client of the qtest protocol that can say any of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../device/qtest_drivers.h"

#define LAPIC 0xfee00000ull
#define IOAPIC 0xfec00000ull
#define ROUNDS 1000

/* Everything rests after a while: nothing feeds itself. */
static void assert_rests(struct ctx *x)
{
	int rounds = 0;

	while (twx_loop_poll(x->m.loop, 0) > 0)
		assert_true(++rounds < ROUNDS);
	assert_true(qt_poll(&x->c));
}

/* After a reset the card does its work. */
static void e1000_works(struct ctx *x)
{
	uint8_t f[100], junk[2048];

	assert_rests(x);
	qt_do(&x->c, "outb 0xcf9 6");
	assert_rests(x);
	while (recv(x->peer, junk, sizeof(junk), MSG_DONTWAIT) >= 0)
		;
	qt_route(&x->c);
	e1000_up(x);
	frame_make(f, sizeof(f), 9);
	e1000_sends(x, 0, f, sizeof(f));
	peer_gets(x, f, sizeof(f));
	peer_sends(x, f, sizeof(f));
	assert_int_equal(qt_do(&x->c, "readb 0x%x", RX_RING + 12) & 3, 3);
}

static void e1000_plug(struct ctx *x)
{
	plug(x, "e1000,addr=4");
	e1000_up(x);
}

static void tx_desc(struct ctx *x, unsigned int i, uint64_t lo, uint64_t hi)
{
	qt_do(&x->c, "writeq 0x%x 0x%llx", TX_RING + 16 * i, (unsigned long long)lo);
	qt_do(&x->c, "writeq 0x%x 0x%llx", TX_RING + 16 * i + 8, (unsigned long long)hi);
}

#define LEGACY_EOP 0x0b000000ull

/* CVE-2020-15859: what is sent lies in the card's own registers. */
static void transmit_from_its_own_registers(void **state)
{
	struct ctx *x = *state;
	static const uint32_t at[] = { 0x0000, 0x00c0, 0x3800, 0x3818, 0x5400, 0x1ffc0 };

	e1000_plug(x);
	for (unsigned int i = 0; i < 6; i++)
		tx_desc(x, i, BAR + at[i], LEGACY_EOP | 64);
	reg_set(x, 0x3818, 6);
	assert_rests(x);
	e1000_works(x);
}

/* CVE-2021-20257, CVE-2021-3416: looped back onto the doorbell that looped it. */
static void loopback_onto_its_own_doorbell(void **state)
{
	struct ctx *x = *state;
	uint8_t f[64];

	e1000_plug(x);
	frame_make(f, sizeof(f), 1);
	for (unsigned int i = 0; i < 8; i++)
		qt_do(&x->c, "writeq 0x%x 0x%x", RX_RING + 16 * i, BAR + 0x3818);
	reg_set(x, 0x0100, 1 << 1 | 1 << 3 | 3 << 6 | 1 << 15); /* RCTL: EN, UPE, LBM, BAM */
	reg_set(x, 0x0020, 0x04204000);				/* MDIC: PHY loopback */
	e1000_sends(x, 0, f, sizeof(f));
	assert_rests(x);
	assert_int_equal(reg(x, 0x3818), 1);
	e1000_works(x);
}

/* CVE-2023-3019, CVE-2022-2962: rings, buffers and what is written back over registers. */
static void rings_and_buffers_over_registers(void **state)
{
	struct ctx *x = *state;
	uint8_t f[300];

	e1000_plug(x);
	frame_make(f, sizeof(f), 1);
	for (unsigned int i = 0; i < 8; i++)
		qt_do(&x->c, "writeq 0x%x 0x%x", RX_RING + 16 * i, BAR + 0x2800);
	peer_sends(x, f, sizeof(f));
	assert_rests(x);
	assert_int_equal(reg(x, 0x2800), RX_RING);
	reg_set(x, 0x2800, BAR + 0x2800); /* the ring itself */
	peer_sends(x, f, sizeof(f));
	reg_set(x, 0x3800, BAR + 0x3800);
	reg_set(x, 0x3818, 5);
	assert_rests(x);
	assert_int_equal(reg(x, 0x3800), BAR + 0x3800);
	e1000_works(x);
}

/* Frames that have waited for buffers so far. */
static void swallow(struct ctx *x)
{
	modern_up(x, 3);
	for (unsigned int i = 0; i < 20; i++) {
		describe(x, 0, i, 2048, VRING_DESC_F_WRITE);
		offer(x, 0, i);
	}
	modern_kick(x, 0);
	assert_rests(x);
}

/* CVE-2021-3748: buffers of a virtio card in registers, its own and the interrupt controllers'. */
static void virtio_buffers_in_registers(void **state)
{
	struct ctx *x = *state;
	static const uint64_t at[] = {
		0xfe000000, 0xfe003000, LAPIC, IOAPIC, 0xc0000000, ~0ull - 8
	};
	uint8_t f[300];

	plug(x, "virtio-net-pci,addr=4,mrg_rxbuf=on");
	modern_find(x, 0xfe000000, 0xfe010000);
	modern_msix(x, 0xfe010000, 3);
	frame_make(f, sizeof(f), 1);
	for (unsigned int i = 0; i < 6; i++) {
		modern_up(x, 3);
		for (unsigned int q = 0; q < 2; q++) {
			describe(x, q, 0, 2048, q == 0 ? VRING_DESC_F_WRITE : 0);
			qt_do(&x->c, "writeq 0x%x 0x%llx", RING(q), (unsigned long long)at[i]);
			offer(x, q, 0);
			modern_kick(x, q);
		}
		peer_sends(x, f, sizeof(f));
		assert_rests(x);
		/* And the rings themselves. */
		modern_up(x, 3);
		common_set(x, 'w', VIRTIO_PCI_COMMON_Q_SELECT, 0);
		common_set(x, 'l', VIRTIO_PCI_COMMON_Q_USEDLO, (uint32_t)at[i]);
		modern_kick(x, 0);
		peer_sends(x, f, sizeof(f));
		assert_rests(x);
	}
	swallow(x);
	modern_up(x, 3);
	virtio_frames(x, 12, modern_kick);
}

/* A message is a write, and must not be one to a register: here the doorbell of its own cause. */
static void messages_into_registers(void **state)
{
	struct ctx *x = *state;

	plug(x, "virtio-net-pci,addr=4");
	modern_find(x, 0xfe000000, 0xfe010000);
	modern_msix(x, 0xfe010000, 3);
	for (unsigned int i = 0; i < 3; i++) {
		static const uint64_t to[] = { 0xfe003004, LAPIC, 0xfffffffffffffffc };

		qt_do(&x->c, "writeq 0xfe010020 0x%llx", (unsigned long long)to[i]);
		modern_up(x, 3);
		virtio_frames(x, 12, modern_kick);
		assert_rests(x);
	}
	qt_do(&x->c, "writeq 0xfe010020 0x%x", 64 << 20); /* behind the end of memory */
	modern_up(x, 3);
	virtio_frames(x, 12, modern_kick);
	assert_int_equal(qt_do(&x->c, "readl 0x%x", MSG_ADDR + 8), 0);
}

/* QEMU, 2020; CVE-2015-8743, CVE-2013-2016: every size, aligned or not, over the end of a BAR too.
 */
static void every_size_everywhere(void **state)
{
	static const char size[] = "bwlq";
	static const uint32_t at[] = { 0x0000, 0x00c0, 0x0100, 0x2818, 0x3810,
				       0x3818, 0x5400, 0x8000, 0x1fff0 };
	struct ctx *x = *state;

	e1000_plug(x);
	for (unsigned int i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		for (unsigned int off = 0; off < 32; off++) {
			const char c = size[off & 3];

			qt_do(&x->c, "write%c 0x%x 0xffffffffffffffff", c, BAR + at[i] + off);
			qt_do(&x->c, "write%c 0x%x 0", c, BAR + at[i] + off);
			qt_do(&x->c, "read%c 0x%x", c, BAR + at[i] + off);
		}
	}
	qt_do(&x->c, "memset 0x%x 0x20000 0xff", BAR);
	qt_do(&x->c, "read 0x%x 0x20010", BAR - 8);
	assert_rests(x);
	e1000_works(x);
}

/* Every register of configuration space, by any size, of every function that is there. */
static void every_configuration_register(void **state)
{
	static const uint32_t values[] = { 0, 0xffffffff, 0x5a5a5a5a };
	struct ctx *x = *state;

	assert_int_equal(twx_machine_device(x->m.machine, "pcie-root-port,id=rp0,addr=6", NULL), 0);
	e1000_plug(x);
	for (unsigned int slot = 0; slot < 8; slot++) {
		for (unsigned int off = 0; off < 256; off++) {
			qt_do(&x->c, "outl 0xcf8 0x%x", 0x80000000 | slot << 11 | (off & 0xfc));
			qt_do(&x->c, "out%c 0x%x 0x%x", "bwl"[off % 3], 0xcfc + off % 4,
			      values[off % 5 % 3]);
			qt_do(&x->c, "in%c 0x%x", "bwl"[off % 3], 0xcfc + off % 4);
		}
	}
	qt_do(&x->c, "memset 0xe0000000 0x400000 0xff");
	assert_rests(x);
	e1000_works(x);
}

/* A bridge whose bus is its own, or its parent: no search goes round. */
static void a_bridge_behind_itself(void **state)
{
	static const uint32_t buses[] = { 0x00000000, 0x00ff0000, 0x00000001,
					  0x00050505, 0x00010200, 0xffffffff };
	const uint32_t port = QT_AT(0, 6, 0);
	struct ctx *x = *state;

	assert_int_equal(twx_machine_device(x->m.machine, "pcie-root-port,id=rp0,addr=6", NULL), 0);
	e1000_plug(x);
	for (unsigned int i = 0; i < 6; i++) {
		qt_config_set(&x->c, port, PCI_PRIMARY_BUS, 4, buses[i]);
		qt_config_set(&x->c, port, PCI_MEMORY_BASE, 4, i & 1 ? 0x0000fff0 : 0xfff00000);
		qt_config_set(&x->c, port, PCI_COMMAND, 2, 7);
		for (unsigned int bus = 0; bus < 256; bus += 5)
			qt_config(&x->c, QT_AT(bus, 0, 0), 0, 4);
		qt_do(&x->c, "readl 0x%x", BAR + 8);
	}
	e1000_works(x);
}

/* BARs over each other, over interrupt controllers, over memory, at the very end of all. */
static void bars_anywhere(void **state)
{
	static const uint64_t at[] = { 0,	   0x100000,	 0x3ffc000,
				       LAPIC,	   IOAPIC,	 ~0x3ull,
				       1ull << 63, 0x8000000000, 0xfffffffffffff000 };
	struct ctx *x = *state;

	plug(x, "virtio-net-pci,addr=4");
	for (unsigned int i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		for (unsigned int bar = 0; bar < 6; bar++)
			qt_config_set(&x->c, x->at, 0x10 + 4 * bar, 4,
				      (uint32_t)(bar == 5 ? at[i] >> 32 : at[i]));
		qt_config_set(&x->c, x->at, PCI_COMMAND, 2, 7);
		qt_do(&x->c, "readq 0x%llx", (unsigned long long)at[i]);
		qt_do(&x->c, "writeq 0x%llx 1", (unsigned long long)at[i] | 0xff8);
		qt_do(&x->c, "inl 0x%x", (uint16_t)at[i]);
		qt_do(&x->c, "writeq 0x%x 0x1122", TX_RING);
		assert_int_equal(qt_do(&x->c, "readq 0x%x", TX_RING), 0x1122);
	}
	assert_rests(x);
	modern_find(x, 0xfe000000, 0xfe010000);
	modern_msix(x, 0xfe010000, 3);
	modern_up(x, 3);
	virtio_frames(x, 12, modern_kick);
}

/* CVE-2011-2512, CVE-2017-17381: doorbells of queues that are not there, or not ready. */
static void doorbells_of_nobody(void **state)
{
	struct ctx *x = *state;

	plug(x, "virtio-net-pci,addr=4");
	modern_find(x, 0xfe000000, 0xfe010000);
	for (unsigned int q = 0; q < 0x10000; q += 255) {
		qt_do(&x->c, "writew 0x%llx %u", (unsigned long long)x->notify + q % 0x1000, q);
		qt_do(&x->c, "writel 0x%llx %u", (unsigned long long)x->notify, ~q);
	}
	assert_rests(x);
	modern_msix(x, 0xfe010000, 3);
	modern_up(x, 3);
	for (unsigned int q = 0; q < 0x10000; q += 255)
		qt_do(&x->c, "writew 0x%llx %u", (unsigned long long)x->notify + q % 0x1000, q);
	virtio_frames(x, 12, modern_kick);
}

/* CVE-2015-6815, CVE-2016-1981: steps of nothing, heads outside of the ring; under one doorbell. */
static void rings_without_end(void **state)
{
	struct ctx *x = *state;
	uint8_t f[100];

	e1000_plug(x);
	tx_desc(x, 0, 0, 0x24000000ull);	    /* context: TSE, hdr_len 0, mss 0 */
	tx_desc(x, 1, TX_BUF, 0x2d100000ull | 100); /* data: TSE, EOP */
	reg_set(x, 0x3818, 2);
	assert_rests(x);
	reg_set(x, 0x3810, 100);
	reg_set(x, 0x3818, 3);
	reg_set(x, 0x3808, 0);
	reg_set(x, 0x3818, 1);
	reg_set(x, 0x2808, 128);
	reg_set(x, 0x2810, 200);
	reg_set(x, 0x2818, 300);
	qt_do(&x->c, "memset 0x%x 128 0", RX_RING);
	frame_make(f, sizeof(f), 1);
	peer_sends(x, f, sizeof(f));
	assert_rests(x);
	e1000_works(x);
}

/* Resets, pauses and restarts in the middle of everything. */
static void resets_in_the_middle(void **state)
{
	struct ctx *x = *state;
	uint8_t f[100];

	e1000_plug(x);
	frame_make(f, sizeof(f), 1);
	for (unsigned int i = 0; i < 20; i++) {
		e1000_sends(x, i % 8, f, sizeof(f));
		assert_int_equal(send(x->peer, f, sizeof(f), 0), sizeof(f));
		switch (i % 4) {
		case 0:
			qt_do(&x->c, "outb 0xcf9 6");
			break;
		case 1:
			assert_int_equal(twx_machine_pause(x->m.machine, NULL), 0);
			qt_do(&x->c, "outb 0x64 0xfe"); /* the keyboard controller's reset */
			assert_int_equal(twx_machine_resume(x->m.machine, NULL), 0);
			break;
		case 2:
			reg_set(x, 0, 1 << 26); /* CTRL: RST */
			break;
		case 3:
			qt_do(&x->c, "clock_step 1000000000");
			break;
		}
		assert_rests(x);
		e1000_up(x);
	}
	e1000_works(x);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(transmit_from_its_own_registers),
		T(loopback_onto_its_own_doorbell),
		T(rings_and_buffers_over_registers),
		T(virtio_buffers_in_registers),
		T(messages_into_registers),
		T(every_size_everywhere),
		T(every_configuration_register),
		T(a_bridge_behind_itself),
		T(bars_anywhere),
		T(doorbells_of_nobody),
		T(rings_without_end),
		T(resets_in_the_middle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
