/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NICs driven end to end by a client of the qtest protocol, as a guest's firmware and driver would:
 * PCI configuration by ports, BARs in both spaces, rings in memory, frames over a socket to a peer,
 * interrupts at the IOAPIC or as messages into memory, the clock in the client's hands.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../device/qtest_drivers.h"

static void e1000_sends_and_receives(void **state)
{
	struct ctx *x = *state;
	uint8_t f[600], got[600];

	plug(x, "e1000,addr=4");
	assert_int_equal(qt_config(&x->c, x->at, 0, 4), 0x100e8086);
	assert_int_equal(qt_config(&x->c, x->at, 8, 4) >> 8, 0x020000);
	e1000_up(x);
	assert_int_equal(x->c.irq, 0);
	frame_make(f, sizeof(f), 3);
	e1000_sends(x, 0, f, sizeof(f));
	/* Settled before the answer: the interrupt and the descriptor. */
	assert_int_equal(x->c.irq, SLOT4_IRQ);
	assert_int_equal(qt_do(&x->c, "readb 0x%x", TX_RING + 12) & 1, 1);
	peer_gets(x, f, sizeof(f));
	assert_int_equal(reg(x, E_ICR) & E_TXDW, E_TXDW);
	assert_int_equal(x->c.irq, 0);

	frame_make(f, sizeof(f), 99);
	peer_sends(x, f, sizeof(f));
	assert_int_equal(x->c.irq, SLOT4_IRQ);
	assert_int_equal(qt_do(&x->c, "readw 0x%x", RX_RING + 8), sizeof(f));
	assert_int_equal(qt_do(&x->c, "readb 0x%x", RX_RING + 12) & 3, 3); /* DD, EOP */
	qt_memread(&x->c, RX_BUF, got, sizeof(f));
	assert_memory_equal(got, f, sizeof(f));
	assert_int_equal(reg(x, E_ICR) & E_RXT0, E_RXT0);
	assert_int_equal(x->c.irq, 0);
	assert_int_equal(reg(x, 0x2810), 1); /* RDH */
}

/* The window of a BAR moves and closes; nothing answers where it was. */
static void e1000_is_where_its_bar_is(void **state)
{
	struct ctx *x = *state;

	plug(x, "e1000,addr=4");
	e1000_up(x);
	qt_bar(&x->c, x->at, 0, 0xfe000000);
	assert_int_equal(qt_do(&x->c, "readl 0xfe005400"), 0x12005452);
	assert_int_not_equal(reg(x, 0x5400), 0x12005452);
	/* And by the pair of ports of its I/O BAR: IOADDR, IODATA. */
	qt_bar(&x->c, x->at, 1, PORTS);
	qt_do(&x->c, "outl 0x%x 0x5400", PORTS);
	assert_int_equal(qt_do(&x->c, "inl 0x%x", PORTS + 4), 0x12005452);
	qt_config_set(&x->c, x->at, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(qt_do(&x->c, "inl 0x%x", PORTS + 4), 0xffffffff);
	qt_config_set(&x->c, x->at, PCI_COMMAND, 2, 0);
	assert_int_equal(qt_do(&x->c, "readl 0xfe005400"), 0xffffffff);
	/* RAM is never hidden by a BAR. */
	qt_bar(&x->c, x->at, 0, 0x200000);
	qt_config_set(&x->c, x->at, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	qt_do(&x->c, "writel 0x205400 0xabcd");
	assert_int_equal(qt_do(&x->c, "readl 0x205400"), 0xabcd);
}

/* RDTR holds the interrupt of a receiver for as long as the client's clock says. */
static void e1000_moderation_goes_by_the_clock(void **state)
{
	struct ctx *x = *state;
	uint8_t f[100];

	plug(x, "e1000,addr=4");
	e1000_up(x);
	reg_set(x, 0x2820, 100); /* RDTR, in 1.024 us */
	frame_make(f, sizeof(f), 3);
	usleep(2000);
	peer_sends(x, f, sizeof(f));
	assert_int_equal(x->c.irq, 0);
	qt_do(&x->c, "clock_step %llu", 100 * US);
	assert_int_equal(x->c.irq, 0);
	qt_do(&x->c, "clock_step %llu", 3 * US);
	assert_int_equal(x->c.irq, SLOT4_IRQ);
}

/* A bulk write is a store like any other: the ring's tail, in the middle of a burst of commands. */
static void e1000_a_burst_of_commands_is_as_good_as_one_by_one(void **state)
{
	struct ctx *x = *state;
	char text[1024], *line;
	uint8_t f[64];
	int n = 0;

	plug(x, "e1000,addr=4");
	e1000_up(x);
	frame_make(f, sizeof(f), 3);
	qt_memwrite(&x->c, TX_BUF, f, sizeof(f));
	n += sprintf(text + n, "writeq 0x%x 0x%x\n", TX_RING, TX_BUF);
	n += sprintf(text + n, "writeq 0x%x 0x%zx\n", TX_RING + 8, 0x0b000000 | sizeof(f));
	n += sprintf(text + n, "write 0x%x 4 0x01000000\n", BAR + 0x3818);
	n += sprintf(text + n, "readb 0x%x\n", TX_RING + 12);
	n += sprintf(text + n, "readl 0x%x\n", BAR + E_ICR);
	n += sprintf(text + n, "readl 0x%x\n", BAR + E_ICR);
	qt_send(&x->c, text, (size_t)n);
	for (int i = 0; i < 3; i++) {
		assert_true(qt_line(&x->c, &line));
		assert_string_equal(line, "OK");
	}
	assert_true(qt_line(&x->c, &line));
	assert_string_equal(line, "OK 0x0000000000000001");
	assert_true(qt_line(&x->c, &line));
	assert_int_equal(strtoull(line + 3, NULL, 0) & E_TXDW, E_TXDW);
	assert_true(qt_line(&x->c, &line));
	assert_string_equal(line, "OK 0x0000000000000000");
	assert_int_equal(x->c.irq, 0);
	peer_gets(x, f, sizeof(f));
}

static void virtio_legacy_by_ports_and_line(void **state)
{
	struct ctx *x = *state;
	uint32_t features = 1u << VIRTIO_NET_F_MAC;

	plug(x, "virtio-net-pci,addr=4");
	rings_clear(x);
	assert_int_equal(qt_config(&x->c, x->at, 0, 4), 0x10001af4);
	assert_int_equal(qt_bar(&x->c, x->at, 0, PORTS), 32);
	qt_config_set(&x->c, x->at, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MASTER);
	qt_do(&x->c, "outb 0x%x 0", PORTS + VIRTIO_PCI_STATUS);
	qt_do(&x->c, "outb 0x%x 3", PORTS + VIRTIO_PCI_STATUS);
	assert_int_equal(qt_do(&x->c, "inl 0x%x", PORTS) & features, features);
	qt_do(&x->c, "outl 0x%x 0x%x", PORTS + VIRTIO_PCI_GUEST_FEATURES, features);
	for (unsigned int i = 0; i < 6; i++)
		assert_int_equal(qt_do(&x->c, "inb 0x%x", PORTS + 20 + i),
				 "\x52\x54\x00\x12\x34\x56"[i]);
	for (unsigned int q = 0; q < 2; q++) {
		qt_do(&x->c, "outw 0x%x %u", PORTS + VIRTIO_PCI_QUEUE_SEL, q);
		assert_int_equal(qt_do(&x->c, "inw 0x%x", PORTS + VIRTIO_PCI_QUEUE_NUM), 256);
		qt_do(&x->c, "outl 0x%x 0x%x", PORTS + VIRTIO_PCI_QUEUE_PFN, RING(q) >> 12);
	}
	qt_do(&x->c, "outb 0x%x 7", PORTS + VIRTIO_PCI_STATUS);
	virtio_frames(x, 10, legacy_kick);
	assert_int_equal(x->c.irq, SLOT4_IRQ);
	assert_int_equal(qt_do(&x->c, "inb 0x%x", PORTS + VIRTIO_PCI_ISR), 1);
	assert_int_equal(x->c.irq, 0);
	assert_int_equal(qt_do(&x->c, "inb 0x%x", PORTS + VIRTIO_PCI_ISR), 0);
	/* The configuration's interrupt: the link goes down. */
	assert_int_equal(twx_net_set_link(x->m.net, "nic0", false, NULL), 0);
	assert_true(qt_poll(&x->c));
	assert_int_equal(x->c.irq, 0); /* VIRTIO_NET_F_STATUS was not agreed on */
}

static void virtio_modern_by_memory_and_messages(void **state)
{
	struct ctx *x = *state;

	plug(x, "virtio-net-pci,addr=4");
	modern_find(x, 0x8000000000, 0xfe010000); /* above 4 GiB: it is a 64-bit BAR */
	modern_msix(x, 0xfe010000, 3);
	modern_up(x, 3);
	assert_int_equal(qt_do(&x->c, "readb 0x%llx", (unsigned long long)x->device), 0x52);
	virtio_frames(x, 12, modern_kick);
	assert_int_equal(qt_do(&x->c, "readl 0x%x", MSG_ADDR), 0);
	assert_int_equal(qt_do(&x->c, "readl 0x%x", MSG_ADDR + 4), 0x1001);
	assert_int_equal(qt_do(&x->c, "readl 0x%x", MSG_ADDR + 8), 0x1002);
	assert_int_equal(x->c.irq, 0);
	/* A vector that is masked has its message pending, and sends it when it is not any more. */
	qt_do(&x->c, "writel 0x%x 0", MSG_ADDR + 8);
	qt_do(&x->c, "writel 0xfe01002c 1");
	offer(x, 1, 3);
	modern_kick(x, 1);
	assert_int_equal(used(x, 1, 3), 0);
	assert_int_equal(qt_do(&x->c, "readl 0x%x", MSG_ADDR + 8), 0);
	qt_do(&x->c, "writel 0xfe01002c 0");
	assert_int_equal(qt_do(&x->c, "readl 0x%x", MSG_ADDR + 8), 0x1002);
}

static void virtio_modern_by_line(void **state)
{
	struct ctx *x = *state;

	plug(x, "virtio-net-pci,addr=4,disable-legacy=on");
	modern_find(x, 0xfe000000, 0xfe010000);
	modern_up(x, 0);
	virtio_frames(x, 12, modern_kick);
	assert_int_equal(x->c.irq, SLOT4_IRQ);
	assert_int_equal(qt_do(&x->c, "readb 0x%llx", (unsigned long long)x->isr), 1);
	assert_int_equal(x->c.irq, 0);
}

/* Behind a root port: buses numbered and windows opened by the client. */
static void virtio_behind_a_root_port(void **state)
{
	struct ctx *x = *state;
	const uint32_t port = QT_AT(0, 6, 0);

	assert_int_equal(twx_machine_device(x->m.machine, "pcie-root-port,id=rp0,addr=6", NULL), 0);
	plug(x, "virtio-net-pci,bus=rp0");
	assert_int_equal(qt_config(&x->c, port, 0, 4), 0x000c1b36);
	x->at = QT_AT(5, 0, 0);
	assert_int_equal(qt_config(&x->c, x->at, 0, 4), 0xffffffff);
	qt_config_set(&x->c, port, PCI_PRIMARY_BUS, 4, 0x00050500);
	assert_int_equal(qt_config(&x->c, x->at, 0, 4), 0x10411af4); /* modern alone */
	qt_config_set(&x->c, port, PCI_MEMORY_BASE, 4, 0xfdf0fde0);
	qt_config_set(&x->c, port, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	modern_find(x, 0xfde00000, 0xfde10000);
	modern_msix(x, 0xfde10000, 3);
	modern_up(x, 3);
	virtio_frames(x, 12, modern_kick);
	assert_int_equal(qt_do(&x->c, "readl 0x%x", MSG_ADDR + 8), 0x1002);
	/* The window closed: nobody answers. */
	qt_config_set(&x->c, port, PCI_MEMORY_BASE, 4, 0x0000fff0);
	assert_int_equal(common(x, 'l', VIRTIO_PCI_COMMON_DF), 0xffffffff);
}

/* The same configuration space by ports and by the memory window. */
static void configuration_by_ecam(void **state)
{
	struct ctx *x = *state;

	plug(x, "virtio-net-pci,addr=4");
	for (unsigned int off = 0; off < 256; off += 4)
		assert_int_equal(qt_do(&x->c, "readl 0x%x", 0xe0000000u + (4u << 15) + off),
				 qt_config(&x->c, x->at, off, 4));
	assert_int_equal(qt_do(&x->c, "readw 0x%x", 0xe0000000u + (4u << 15) + 2), 0x1000);
	assert_int_equal(qt_do(&x->c, "readl 0x%x", 0xe0000000u + (5u << 15)), 0xffffffff);
}

/* What libqos asks first: the size of memory, from fw_cfg. */
static void memory_size_by_fw_cfg(void **state)
{
	struct ctx *x = *state;
	uint64_t size = 0;

	plug(x, "e1000");
	qt_do(&x->c, "outw 0x510 0");
	for (const char *p = "QEMU"; *p; p++)
		assert_int_equal(qt_do(&x->c, "inb 0x511"), *p);
	qt_do(&x->c, "outw 0x510 3");
	for (unsigned int i = 0; i < 8; i++)
		size |= qt_do(&x->c, "inb 0x511") << (8 * i);
	assert_int_equal(size, 64 << 20);
}

/* A guest's reset comes to the NIC; the driver starts again. */
static void a_reset_puts_everything_back(void **state)
{
	struct ctx *x = *state;
	uint8_t f[100];

	plug(x, "e1000,addr=4");
	e1000_up(x);
	frame_make(f, sizeof(f), 1);
	e1000_sends(x, 0, f, sizeof(f));
	peer_gets(x, f, sizeof(f));
	assert_int_equal(x->c.irq, SLOT4_IRQ);
	qt_do(&x->c, "outb 0xcf9 6");
	assert_int_equal(x->m.n_events, 1);
	assert_int_equal(x->m.event, TWX_MACHINE_RESET);
	assert_int_equal(x->c.irq, 0);
	assert_int_equal(qt_config(&x->c, x->at, PCI_BASE_ADDRESS_0, 4), 0);
	qt_route(&x->c);
	e1000_up(x);
	e1000_sends(x, 0, f, sizeof(f));
	peer_gets(x, f, sizeof(f));
}

/* Stopped, devices stand still; memory can be looked at. */
static void a_pause_holds_the_devices(void **state)
{
	struct ctx *x = *state;
	uint8_t f[100];

	plug(x, "e1000,addr=4");
	e1000_up(x);
	assert_int_equal(twx_machine_pause(x->m.machine, NULL), 0);
	frame_make(f, sizeof(f), 1);
	peer_sends(x, f, sizeof(f));
	assert_int_equal(qt_do(&x->c, "readb 0x%x", RX_RING + 12), 0);
	assert_int_equal(twx_machine_resume(x->m.machine, NULL), 0);
	qt_pump(x->m.loop);
	assert_true(qt_poll(&x->c));
	assert_int_equal(qt_do(&x->c, "readb 0x%x", RX_RING + 12) & 3, 3);
	assert_int_equal(x->c.irq, SLOT4_IRQ);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(e1000_sends_and_receives),
		T(e1000_is_where_its_bar_is),
		T(e1000_moderation_goes_by_the_clock),
		T(e1000_a_burst_of_commands_is_as_good_as_one_by_one),
		T(virtio_legacy_by_ports_and_line),
		T(virtio_modern_by_memory_and_messages),
		T(virtio_modern_by_line),
		T(virtio_behind_a_root_port),
		T(configuration_by_ecam),
		T(memory_size_by_fw_cfg),
		T(a_reset_puts_everything_back),
		T(a_pause_holds_the_devices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
