/* SPDX-License-Identifier: BSD-3-Clause */
/* Drivers of an e1000 and a virtio-net-pci by the qtest protocol, with a peer on the NIC's cable.
 */
#ifndef TESTS_QTEST_DRIVERS_H
#define TESTS_QTEST_DRIVERS_H

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

#include "qtest_client.h"

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

static inline int setup(void **state)
{
	struct ctx *x = calloc(1, sizeof(*x));

	assert_non_null(x);
	qt_machine_open(&x->m, "none");
	*state = x;
	return 0;
}

static inline int teardown(void **state)
{
	struct ctx *x = *state;

	qt_close(&x->c);
	qt_machine_close(&x->m);
	close(x->peer);
	free(x);
	return 0;
}

/* A machine with this NIC alone, and a client that is a guest of it. */
static inline void plug(struct ctx *x, const char *nic)
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

static inline void frame_make(uint8_t *f, size_t len, uint8_t seed)
{
	memcpy(f, "\x52\x54\x00\x12\x34\x56\x02\0\0\0\0\x01\x88\xb5", 14);
	for (size_t i = 14; i < len; i++)
		f[i] = (uint8_t)(seed + i * 7);
}

static inline void peer_gets(struct ctx *x, const uint8_t *f, size_t len)
{
	uint8_t buf[2048];

	qt_pump(x->m.loop);
	assert_int_equal(recv(x->peer, buf, sizeof(buf), MSG_DONTWAIT), len);
	assert_memory_equal(buf, f, len);
}

static inline void peer_sends(struct ctx *x, const uint8_t *f, size_t len)
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

static inline uint32_t reg(struct ctx *x, uint32_t off)
{
	return (uint32_t)qt_do(&x->c, "readl 0x%x", BAR + off);
}

static inline void reg_set(struct ctx *x, uint32_t off, uint32_t v)
{
	qt_do(&x->c, "writel 0x%x 0x%x", BAR + off, v);
}

static inline void e1000_up(struct ctx *x)
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

static inline void e1000_sends(struct ctx *x, unsigned int i, const uint8_t *f, size_t len)
{
	qt_memwrite(&x->c, TX_BUF, f, len);
	qt_do(&x->c, "writeq 0x%x 0x%x", TX_RING + 16 * i, TX_BUF);
	qt_do(&x->c, "writeq 0x%x 0x%zx", TX_RING + 16 * i + 8, 0x0b000000u | len);
	reg_set(x, 0x3818, (i + 1) % 8);
}

/* virtio (virtio 1.2, 2.7 and 4.1) */

#define RING(q) (0x200000u + 0x10000u * (q))
#define RING_AVAIL(q) (RING(q) + 0x1000u) /* of 256 descriptors; legacy has them so by itself */
#define RING_USED(q) (RING(q) + 0x2000u)
#define VBUF(q, i) (0x300000u + 0x20000u * (q) + 0x1000u * (i))

static inline void describe(struct ctx *x, unsigned int q, unsigned int i, uint32_t len,
			    uint16_t flags)
{
	qt_do(&x->c, "writeq 0x%x 0x%x", RING(q) + 16 * i, VBUF(q, i));
	qt_do(&x->c, "writeq 0x%x 0x%llx", RING(q) + 16 * i + 8,
	      len | (unsigned long long)flags << 32);
}

static inline void offer(struct ctx *x, unsigned int q, unsigned int head)
{
	uint16_t idx = (uint16_t)qt_do(&x->c, "readw 0x%x", RING_AVAIL(q) + 2);

	qt_do(&x->c, "writew 0x%x 0x%x", RING_AVAIL(q) + 4 + 2 * (idx % 256), head);
	qt_do(&x->c, "writew 0x%x 0x%x", RING_AVAIL(q) + 2, (uint16_t)(idx + 1));
}

/* The length of the next used element; -1 without one. */
static inline int64_t used(struct ctx *x, unsigned int q, unsigned int head)
{
	uint64_t e;

	if (qt_do(&x->c, "readw 0x%x", RING_USED(q) + 2) == x->used[q])
		return -1;
	e = qt_do(&x->c, "readq 0x%x", RING_USED(q) + 4 + 8 * (x->used[q]++ % 256));
	assert_int_equal((uint32_t)e, head);
	return (int64_t)(e >> 32);
}

static inline void rings_clear(struct ctx *x)
{
	qt_do(&x->c, "memset 0x%x 0x30000 0", RING(0));
	memset(x->used, 0, sizeof(x->used));
}

/* One frame each way; @kick is what a store to the queue's doorbell is. */
static inline void virtio_frames(struct ctx *x, unsigned int hdr,
				 void (*kick)(struct ctx *, unsigned int))
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

static inline void legacy_kick(struct ctx *x, unsigned int q)
{
	qt_do(&x->c, "outw 0x%x %u", PORTS + VIRTIO_PCI_QUEUE_NOTIFY, q);
}

/* The structures of a modern device, whose memory BAR is put at @bar4. */
static inline void modern_find(struct ctx *x, uint64_t bar4, uint64_t bar1)
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

static inline uint64_t common(struct ctx *x, char size, unsigned int off)
{
	return qt_do(&x->c, "read%c 0x%llx", size, (unsigned long long)x->common + off);
}

static inline void common_set(struct ctx *x, char size, unsigned int off, uint32_t v)
{
	qt_do(&x->c, "write%c 0x%llx 0x%x", size, (unsigned long long)x->common + off, v);
}

static inline void modern_kick(struct ctx *x, unsigned int q)
{
	common_set(x, 'w', VIRTIO_PCI_COMMON_Q_SELECT, q);
	qt_do(&x->c, "writew 0x%llx %u",
	      (unsigned long long)x->notify +
		      x->notify_step * common(x, 'w', VIRTIO_PCI_COMMON_Q_NOFF),
	      q);
}

/* Vector i writes 0x1000 + i to MSG_ADDR + 4 * i. */
static inline void modern_msix(struct ctx *x, uint64_t table, unsigned int n)
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

static inline void modern_up(struct ctx *x, unsigned int vectors)
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

#endif
