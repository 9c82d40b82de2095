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

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../device/qtest_client.h"

#define SLOT4 QT_AT(0, 4, 0)
#define BAR 0xe0000000u /* where QEMU's own clients put them */
#define PORTS 0xc000u
#define MSG_ADDR 0x3000u /* in memory: where messages go */
#define US 1000ull
#define SLOT4_IRQ (1u << 11) /* INTA of slot 4 is PIRQD, as on QEMU's pc */

struct ctx {
	struct qt_machine m;
	struct qt c;
	int peer;
	struct twx_nic *nic;
	uint32_t at;
	/* virtio */
	uint64_t common, notify, isr, device;
	uint32_t notify_step;
	uint16_t used[3];
};

static int setup(void **state)
{
	struct ctx *x = calloc(1, sizeof(*x));

	assert_non_null(x);
	qt_machine_open(&x->m, "none");
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct ctx *x = *state;

	qt_close(&x->c);
	qt_machine_close(&x->m);
	close(x->peer);
	free(x);
	return 0;
}

/* A machine with this NIC alone, and a client that is a guest of it. */
static void plug(struct ctx *x, const char *nic)
{
	char text[256];
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fd), 0);
	snprintf(text, sizeof(text), "dgram,id=n0,local.type=fd,local.str=%d", fd[0]);
	if (twx_backend_new(&(struct twx_backend *){ NULL }, x->m.net, text, &x->m.e) < 0)
		fail_msg("%s", x->m.e.what);
	x->peer = fd[1];
	snprintf(text, sizeof(text), "%s,id=nic0,netdev=n0,mac=52:54:00:12:34:56", nic);
	x->nic = qt_machine_nic(&x->m, text);
	qt_machine_start(&x->m);
	qt_connect(&x->c, x->m.path, x->m.loop);
	qt_route(&x->c);
	x->at = SLOT4;
}

static void frame_make(uint8_t *f, size_t len, uint8_t seed)
{
	memcpy(f, "\x52\x54\x00\x12\x34\x56\x02\0\0\0\0\x01\x88\xb5", 14);
	for (size_t i = 14; i < len; i++)
		f[i] = (uint8_t)(seed + i * 7);
}

static void peer_gets(struct ctx *x, const uint8_t *f, size_t len)
{
	uint8_t buf[2048];

	qt_pump(x->m.loop);
	assert_int_equal(recv(x->peer, buf, sizeof(buf), MSG_DONTWAIT), len);
	assert_memory_equal(buf, f, len);
}

static void peer_sends(struct ctx *x, const uint8_t *f, size_t len)
{
	assert_int_equal(send(x->peer, f, len, 0), len);
	qt_pump(x->m.loop);
	assert_true(qt_poll(&x->c));
}

/* e1000 (8254x manual, chapters 3 and 13) */

#define TX_RING 0x100000u
#define RX_RING 0x101000u
#define TX_BUF 0x110000u
#define RX_BUF 0x120000u
#define E_ICR 0x00c0u
#define E_IMS 0x00d0u
#define E_TXDW 1u
#define E_RXT0 0x80u

static uint32_t reg(struct ctx *x, uint32_t off)
{
	return (uint32_t)qt_do(&x->c, "readl 0x%x", BAR + off);
}

static void reg_set(struct ctx *x, uint32_t off, uint32_t v)
{
	qt_do(&x->c, "writel 0x%x 0x%x", BAR + off, v);
}

static void e1000_up(struct ctx *x)
{
	qt_do(&x->c, "memset 0x%x 0x2000 0", TX_RING);
	assert_int_equal(qt_bar(&x->c, x->at, 0, BAR), 0x20000);
	qt_config_set(&x->c, x->at, PCI_COMMAND, 2,
		      PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert_int_equal(reg(x, 0x5400), 0x12005452); /* the address, from the EEPROM */
	for (unsigned int i = 0; i < 8; i++)
		qt_do(&x->c, "writeq 0x%x 0x%x", RX_RING + 16 * i, RX_BUF + 2048 * i);
	reg_set(x, 0x0000, 1 << 6); /* CTRL: SLU */
	reg_set(x, 0x3800, TX_RING);
	reg_set(x, 0x3808, 128);
	reg_set(x, 0x2800, RX_RING);
	reg_set(x, 0x2808, 128);
	reg_set(x, 0x2818, 7);
	reg_set(x, 0x0400, 1 << 1 | 1 << 3);		/* TCTL: EN, PSP */
	reg_set(x, 0x0100, 1 << 1 | 1 << 15 | 1 << 26); /* RCTL: EN, BAM, SECRC */
	reg_set(x, E_IMS, E_TXDW | E_RXT0);
}

static void e1000_sends(struct ctx *x, unsigned int i, const uint8_t *f, size_t len)
{
	qt_memwrite(&x->c, TX_BUF, f, len);
	qt_do(&x->c, "writeq 0x%x 0x%x", TX_RING + 16 * i, TX_BUF);
	qt_do(&x->c, "writeq 0x%x 0x%zx", TX_RING + 16 * i + 8, 0x0b000000u | len);
	reg_set(x, 0x3818, (i + 1) % 8);
}

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

/* virtio (virtio 1.2, 2.7 and 4.1) */

#define RING(q) (0x200000u + 0x10000u * (q))
#define RING_AVAIL(q) (RING(q) + 0x1000u) /* of 256 descriptors; legacy has them so by itself */
#define RING_USED(q) (RING(q) + 0x2000u)
#define VBUF(q, i) (0x300000u + 0x20000u * (q) + 0x1000u * (i))

static void describe(struct ctx *x, unsigned int q, unsigned int i, uint32_t len, uint16_t flags)
{
	qt_do(&x->c, "writeq 0x%x 0x%x", RING(q) + 16 * i, VBUF(q, i));
	qt_do(&x->c, "writeq 0x%x 0x%llx", RING(q) + 16 * i + 8,
	      len | (unsigned long long)flags << 32);
}

static void offer(struct ctx *x, unsigned int q, unsigned int head)
{
	uint16_t idx = (uint16_t)qt_do(&x->c, "readw 0x%x", RING_AVAIL(q) + 2);

	qt_do(&x->c, "writew 0x%x 0x%x", RING_AVAIL(q) + 4 + 2 * (idx % 256), head);
	qt_do(&x->c, "writew 0x%x 0x%x", RING_AVAIL(q) + 2, (uint16_t)(idx + 1));
}

/* The length of the next used element; -1 without one. */
static int64_t used(struct ctx *x, unsigned int q, unsigned int head)
{
	uint64_t e;

	if (qt_do(&x->c, "readw 0x%x", RING_USED(q) + 2) == x->used[q])
		return -1;
	e = qt_do(&x->c, "readq 0x%x", RING_USED(q) + 4 + 8 * (x->used[q]++ % 256));
	assert_int_equal((uint32_t)e, head);
	return (int64_t)(e >> 32);
}

static void rings_clear(struct ctx *x)
{
	qt_do(&x->c, "memset 0x%x 0x30000 0", RING(0));
	memset(x->used, 0, sizeof(x->used));
}

/* One frame each way; @kick is what a store to the queue's doorbell is. */
static void virtio_frames(struct ctx *x, unsigned int hdr, void (*kick)(struct ctx *, unsigned int))
{
	uint8_t f[700], got[700], zeros[12] = { 0 };

	frame_make(f, sizeof(f), 17);
	describe(x, 0, 0, 2048, VRING_DESC_F_WRITE);
	offer(x, 0, 0);
	kick(x, 0);
	peer_sends(x, f, sizeof(f));
	assert_int_equal(used(x, 0, 0), hdr + sizeof(f));
	qt_memread(&x->c, VBUF(0, 0) + hdr, got, sizeof(f));
	assert_memory_equal(got, f, sizeof(f));

	frame_make(f, sizeof(f), 71);
	qt_memwrite(&x->c, VBUF(1, 3), zeros, hdr);
	qt_memwrite(&x->c, VBUF(1, 3) + hdr, f, sizeof(f));
	describe(x, 1, 3, hdr + (uint32_t)sizeof(f), 0);
	offer(x, 1, 3);
	kick(x, 1);
	assert_int_equal(used(x, 1, 3), 0);
	peer_gets(x, f, sizeof(f));
}

static void legacy_kick(struct ctx *x, unsigned int q)
{
	qt_do(&x->c, "outw 0x%x %u", PORTS + VIRTIO_PCI_QUEUE_NOTIFY, q);
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

/* The structures of a modern device, whose memory BAR is put at @bar4. */
static void modern_find(struct ctx *x, uint64_t bar4, uint64_t bar1)
{
	unsigned int cap = 0;

	assert_true(qt_bar(&x->c, x->at, 4, bar4) >= 0x4000);
	assert_true(qt_bar(&x->c, x->at, 1, bar1) >= 0x1000);
	qt_config_set(&x->c, x->at, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	while ((cap = qt_cap(&x->c, x->at, PCI_CAP_ID_VNDR, cap))) {
		unsigned int type = qt_config(&x->c, x->at, cap + 3, 1);
		uint64_t off = bar4 + qt_config(&x->c, x->at, cap + 8, 4);

		if (type <= VIRTIO_PCI_CAP_DEVICE_CFG)
			assert_int_equal(qt_config(&x->c, x->at, cap + 4, 1), 4);
		if (type == VIRTIO_PCI_CAP_COMMON_CFG)
			x->common = off;
		else if (type == VIRTIO_PCI_CAP_ISR_CFG)
			x->isr = off;
		else if (type == VIRTIO_PCI_CAP_DEVICE_CFG)
			x->device = off;
		else if (type == VIRTIO_PCI_CAP_NOTIFY_CFG) {
			x->notify = off;
			x->notify_step = qt_config(&x->c, x->at, cap + 16, 4);
		}
	}
	assert_true(x->common && x->notify && x->isr && x->device);
}

static uint64_t common(struct ctx *x, char size, unsigned int off)
{
	return qt_do(&x->c, "read%c 0x%llx", size, (unsigned long long)x->common + off);
}

static void common_set(struct ctx *x, char size, unsigned int off, uint32_t v)
{
	qt_do(&x->c, "write%c 0x%llx 0x%x", size, (unsigned long long)x->common + off, v);
}

static void modern_kick(struct ctx *x, unsigned int q)
{
	common_set(x, 'w', VIRTIO_PCI_COMMON_Q_SELECT, q);
	qt_do(&x->c, "writew 0x%llx %u",
	      (unsigned long long)x->notify +
		      x->notify_step * common(x, 'w', VIRTIO_PCI_COMMON_Q_NOFF),
	      q);
}

/* Vector i writes 0x1000 + i to MSG_ADDR + 4 * i. */
static void modern_msix(struct ctx *x, uint64_t table, unsigned int n)
{
	unsigned int cap = qt_cap(&x->c, x->at, PCI_CAP_ID_MSIX, 0);

	assert_true(cap != 0);
	assert_int_equal(qt_config(&x->c, x->at, cap + 4, 4) & 7, 1);
	for (unsigned int i = 0; i < n; i++) {
		qt_do(&x->c, "writeq 0x%llx 0x%x", (unsigned long long)table + 16 * i,
		      MSG_ADDR + 4 * i);
		qt_do(&x->c, "writeq 0x%llx 0x%x", (unsigned long long)table + 16 * i + 8,
		      0x1000 + i);
	}
	qt_config_set(&x->c, x->at, cap + 2, 2, PCI_MSIX_FLAGS_ENABLE);
}

static void modern_up(struct ctx *x, unsigned int vectors)
{
	uint32_t hi = 1u << (VIRTIO_F_VERSION_1 - 32);

	rings_clear(x);
	qt_do(&x->c, "memset 0x%x 64 0", MSG_ADDR);
	common_set(x, 'b', VIRTIO_PCI_COMMON_STATUS, 0);
	common_set(x, 'b', VIRTIO_PCI_COMMON_STATUS, 3);
	common_set(x, 'l', VIRTIO_PCI_COMMON_DFSELECT, 1);
	assert_int_equal(common(x, 'l', VIRTIO_PCI_COMMON_DF) & hi, hi);
	common_set(x, 'l', VIRTIO_PCI_COMMON_GFSELECT, 0);
	common_set(x, 'l', VIRTIO_PCI_COMMON_GF, 1 << VIRTIO_NET_F_MAC);
	common_set(x, 'l', VIRTIO_PCI_COMMON_GFSELECT, 1);
	common_set(x, 'l', VIRTIO_PCI_COMMON_GF, hi);
	common_set(x, 'b', VIRTIO_PCI_COMMON_STATUS, 11);
	assert_int_equal(common(x, 'b', VIRTIO_PCI_COMMON_STATUS), 11);
	for (unsigned int q = 0; q < 2; q++) {
		common_set(x, 'w', VIRTIO_PCI_COMMON_Q_SELECT, q);
		assert_int_equal(common(x, 'w', VIRTIO_PCI_COMMON_Q_SIZE), 256);
		common_set(x, 'l', VIRTIO_PCI_COMMON_Q_DESCLO, RING(q));
		common_set(x, 'l', VIRTIO_PCI_COMMON_Q_AVAILLO, RING_AVAIL(q));
		common_set(x, 'l', VIRTIO_PCI_COMMON_Q_USEDLO, RING_USED(q));
		if (vectors) {
			common_set(x, 'w', VIRTIO_PCI_COMMON_Q_MSIX, q + 1);
			assert_int_equal(common(x, 'w', VIRTIO_PCI_COMMON_Q_MSIX), q + 1);
		}
		common_set(x, 'w', VIRTIO_PCI_COMMON_Q_ENABLE, 1);
	}
	common_set(x, 'b', VIRTIO_PCI_COMMON_STATUS, 15);
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
