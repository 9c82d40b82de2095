/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio-net as a PCI function: what a driver of either generation finds, and frames both ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_virtio_pci.h"

#include "base/macros.h"

#define RXQ 0
#define TXQ 1
#define CTRLQ 2

#define STATUS_FAILED VIRTIO_CONFIG_S_FAILED
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET

/* Receive buffers by head. */
static uint64_t where[FG_MAX_DESC];

typedef void kick_fn(struct fv *v, unsigned int qi);

/* A frame to the wire, one from it. */
static void traffic_by(struct fv *v, kick_fn *kick)
{
	struct virtio_net_hdr_mrg_rxbuf hdr;
	uint8_t out[90], in[2048], back[2048];
	int n;

	fg_wire_clear(v->g->wire);
	fg_frame(out, sizeof(out), 5);
	assert_true(fg_tx(v->g, TXQ, NULL, out, sizeof(out), FG_SPLIT) >= 0);
	kick(v, TXQ);
	assert_int_equal(v->g->wire->n_frames, 1);
	assert_memory_equal(v->g->wire->frames[0].data, out, sizeof(out));
	assert_true(fg_used(v->g, TXQ, NULL) >= 0);

	fg_rx_post(v->g, RXQ, 1, 2000, where);
	kick(v, RXQ);
	fg_frame(in, 1000, 9);
	assert_int_equal(fg_wire_send(v->g->wire, in, 1000, NULL), 1);
	fg_run(v->g);
	n = fg_rx_take(v->g, RXQ, where, &hdr, back, sizeof(back));
	assert_int_equal(n, 1000);
	assert_memory_equal(back, in, 1000);
}

static void traffic(struct fv *v)
{
	traffic_by(v, fv_kick);
}

/* What the bus sees. */

static void identity(void **state)
{
	static const struct {
		const char *nic, *opts;
		uint16_t device, subsys;
		uint8_t rev;
		uint32_t bars[7];
	} cases[] = {
		{ "virtio-net-pci", "", 0x1000, 1, 0, { 32, 4096, 0, 0, 0x4000 } },
		{ "virtio-net", "disable-legacy=auto", 0x1000, 1, 0, { 32, 4096, 0, 0, 0x4000 } },
		{ "virtio-net-pci-transitional", "", 0x1000, 1, 0, { 32, 4096, 0, 0, 0x4000 } },
		{ "virtio-net-pci-non-transitional",
		  "",
		  0x1041,
		  0x1100,
		  1,
		  { 0, 4096, 0, 0, 0x4000 } },
		{ "virtio-net-pci",
		  "disable-legacy=on",
		  0x1041,
		  0x1100,
		  1,
		  { 0, 4096, 0, 0, 0x4000 } },
		{ "virtio-net-pci", "disable-modern=on", 0x1000, 1, 0, { 32, 4096 } },
		{ "virtio-net-pci", "vectors=0", 0x1000, 1, 0, { 32, 0, 0, 0, 0x4000 } },
		{ "virtio-net-pci", "vectors=129", 0x1000, 1, 0, { 32, 4096, 0, 0, 0x4000 } },
		{ "virtio-net-pci", "vectors=300", 0x1000, 1, 0, { 32, 8192, 0, 0, 0x4000 } },
		{ "virtio-net-pci",
		  "modern-pio-notify=on",
		  0x1000,
		  1,
		  0,
		  { 32, 4096, 4, 0, 0x4000 } },
		{ "virtio-net-pci", "page-per-vq=on", 0x1000, 1, 0, { 32, 4096, 0, 0, 0x8000 } },
		{ "virtio-net-pci,mq=on", "", 0x1000, 1, 0, { 64, 4096, 0, 0, 0x4000 } },
	};

	for (size_t i = 0; i < array_size(cases); i++) {
		struct fv *v = fv_new_with(cases[i].nic, 1, cases[i].opts);

		assert_int_equal(fv_cfg(v, PCI_VENDOR_ID, 2), 0x1af4);
		assert_int_equal(fv_cfg(v, PCI_DEVICE_ID, 2), cases[i].device);
		assert_int_equal(fv_cfg(v, PCI_CLASS_REVISION, 4), 0x02000000 | cases[i].rev);
		assert_int_equal(fv_cfg(v, PCI_SUBSYSTEM_VENDOR_ID, 2), 0x1af4);
		assert_int_equal(fv_cfg(v, PCI_SUBSYSTEM_ID, 2), cases[i].subsys);
		assert_int_equal(fv_cfg(v, PCI_INTERRUPT_PIN, 1), 1);
		for (unsigned int b = 0; b < 7; b++)
			assert_int_equal(pci_bar_size(v->pci, b), cases[i].bars[b]);
		fv_free(v);
	}
}

/* Behind a root port. */
static void express_forms(void **state)
{
	static const struct {
		const char *nic, *opts;
		uint16_t device;
		bool legacy, express;
	} cases[] = {
		{ "virtio-net-pci", "", 0x1041, false, true },
		{ "virtio-net-pci", "disable-legacy=auto", 0x1041, false, true },
		{ "virtio-net-pci", "disable-legacy=off", 0x1000, true, true },
		{ "virtio-net-pci", "iommu_platform=on", 0x1041, false, true },
		{ "virtio-net-pci", "modern-pio-notify=on", 0x1041, false, true },
		{ "virtio-net-pci", "x-disable-pcie=on", 0x1041, false, false },
		{ "virtio-net-pci-transitional", "", 0x1000, true, true },
		{ "virtio-net-pci-non-transitional", "", 0x1041, false, true },
		{ "virtio-net-pci", "disable-legacy=off,disable-modern=on", 0x1000, true, false },
	};

	for (size_t i = 0; i < array_size(cases); i++) {
		struct fv *v = fv_new_in(cases[i].nic, 1, cases[i].opts, true);

		assert_int_equal(fv_cfg(v, PCI_DEVICE_ID, 2), cases[i].device);
		assert_int_equal(pci_bar_size(v->pci, FV_LEGACY) != 0, cases[i].legacy);
		assert_int_equal(fv_find(v, PCI_CAP_ID_EXP) != 0, cases[i].express);
		assert_int_equal(fv_find(v, PCI_CAP_ID_PM) != 0, cases[i].express);
		assert_int_equal(v->pci->config_size, cases[i].express ? 4096 : 256);
		fv_free(v);
	}
}

static void express_power(void **state)
{
	struct fv *v = fv_new_in("virtio-net-pci", 1, "", true);
	uint8_t pm = fv_find(v, PCI_CAP_ID_PM), exp = fv_find(v, PCI_CAP_ID_EXP);

	fv_start(v, FG_BIT(VIRTIO_F_VERSION_1), true);
	traffic(v);
	/* D3hot and back: the queues stand still, and go on where they were. */
	fv_cfg_write(v, pm + PCI_PM_CTRL, 2, 3);
	assert_false(virtio_queue_running(v->g->dev, 0));
	fv_cfg_write(v, pm + PCI_PM_CTRL, 2, 0);
	assert_true(virtio_queue_running(v->g->dev, 0));
	traffic(v);
	fv_cfg_write(v, exp + PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_BCR_FLR);
	assert_false(virtio_queue_running(v->g->dev, 0));
	fv_enable(v);
	assert_int_equal(fv_status(v), 0);
	fv_free(v);
}

static void capabilities(void **state)
{
	static const unsigned int order[] = { VIRTIO_PCI_CAP_PCI_CFG, VIRTIO_PCI_CAP_NOTIFY_CFG,
					      VIRTIO_PCI_CAP_DEVICE_CFG, VIRTIO_PCI_CAP_ISR_CFG,
					      VIRTIO_PCI_CAP_COMMON_CFG };
	struct fv *v = fv_new("virtio-net-pci");
	uint8_t msix = fv_find(v, PCI_CAP_ID_MSIX);

	for (unsigned int i = 0; i < array_size(order); i++)
		assert_int_equal(v->cap[order[i]].order, i + 1);
	for (unsigned int t = VIRTIO_PCI_CAP_COMMON_CFG; t <= VIRTIO_PCI_CAP_DEVICE_CFG; t++) {
		static const uint32_t off[] = { 0, 0x0000, 0x3000, 0x1000, 0x2000 };

		assert_int_equal(v->cap[t].bar, 4);
		assert_int_equal(v->cap[t].off, off[t]);
		assert_int_equal(v->cap[t].len, 0x1000);
	}
	assert_int_equal(v->cap[VIRTIO_PCI_CAP_NOTIFY_CFG].extra, 4);
	assert_int_equal(fv_cfg(v, PCI_BASE_ADDRESS_4, 4) & 15, 0xc);
	/* One vector for each queue and one more; table at 0, PBA at 0x800 of BAR 1. */
	assert_int_equal(fv_cfg(v, msix + 2u, 2), 3);
	assert_int_equal(fv_cfg(v, msix + 4u, 4), 1);
	assert_int_equal(fv_cfg(v, msix + 8u, 4), 0x801);
	assert_int_equal(fv_find(v, PCI_CAP_ID_EXP), 0);
	fv_free(v);
	v = fv_new_with("virtio-net-pci", 1, "disable-modern=on,vectors=0");
	assert_int_equal(fv_cfg(v, PCI_CAPABILITY_LIST, 1), 0);
	fv_free(v);
}

/* Modern. */

static void modern_msix(void **state)
{
	struct fv *v = fv_new("virtio-net-pci-non-transitional");

	fv_start(v, FV_PLAIN, true);
	traffic(v);
	assert_int_equal(v->messages[1], 1);
	assert_int_equal(v->messages[2], 1);
	assert_int_equal(v->messages[0], 0);
	assert_int_equal(v->edges, 0);
	twx_port_set_link(v->g->nic->ports[0], false);
	assert_int_equal(v->messages[0], 1);
	/* The vectors are the driver's to move, and to take away. */
	fv_set_common(v, VIRTIO_PCI_COMMON_Q_SELECT, 2, RXQ);
	fv_set_common(v, VIRTIO_PCI_COMMON_Q_MSIX, 2, FV_NONE);
	fv_set_common(v, VIRTIO_PCI_COMMON_Q_SELECT, 2, TXQ);
	fv_set_common(v, VIRTIO_PCI_COMMON_Q_MSIX, 2, 3);
	twx_port_set_link(v->g->nic->ports[0], true);
	traffic(v);
	assert_int_equal(v->messages[1], 1);
	assert_int_equal(v->messages[2], 1);
	assert_int_equal(v->messages[3], 1);
	fv_free(v);
}

static void modern_intx(void **state)
{
	struct fv *v = fv_new("virtio-net-pci");

	fv_start(v, FV_PLAIN, false);
	traffic(v);
	assert_true(v->level);
	assert_int_equal(fv_get(v, VIRTIO_PCI_CAP_ISR_CFG, 0, 1), 1);
	assert_false(v->level);
	assert_int_equal(fv_get(v, VIRTIO_PCI_CAP_ISR_CFG, 0, 1), 0);
	twx_port_set_link(v->g->nic->ports[0], false);
	assert_true(v->level);
	assert_int_equal(fv_get(v, VIRTIO_PCI_CAP_ISR_CFG, 0, 1), 2);
	assert_false(v->level);
	assert_int_equal(fv_get(v, VIRTIO_PCI_CAP_DEVICE_CFG, 6, 2), 0);
	fv_free(v);
}

/* Doorbells by other ways. */
static void modern_notify(void **state)
{
	struct fv *v = fv_new_with("virtio-net-pci", 1, "page-per-vq=on");
	uint8_t f[64];

	assert_int_equal(v->cap[VIRTIO_PCI_CAP_NOTIFY_CFG].extra, 0x1000);
	fv_start(v, FV_PLAIN, true);
	traffic(v);
	fv_free(v);
	v = fv_new_with("virtio-net-pci", 1, "modern-pio-notify=on");
	assert_int_equal(v->cap[VIRTIO_PCI_CAP_NOTIFY_CFG].bar, 2);
	assert_int_equal(v->cap[VIRTIO_PCI_CAP_NOTIFY_CFG].extra, 0);
	fv_start(v, FV_PLAIN, true);
	traffic(v);
	/* The one in memory is still there. */
	fg_frame(f, sizeof(f), 1);
	fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_JOINED);
	fv_write(v, 4, 0x3004, 2, TXQ);
	assert_int_equal(v->g->wire->n_frames, 2);
	/* None of these is one. */
	fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_JOINED);
	fv_write(v, 4, 0x3005, 1, TXQ);
	fv_write(v, 4, 0x3006, 2, TXQ);
	for (uint32_t off = 0x300c; off < 0x4000; off += 4)
		fv_write(v, 4, off, 4, TXQ);
	fv_write(v, 2, 2, 2, TXQ);
	fv_write(v, 2, 0, 2, 0x8000 | TXQ);
	fv_write(v, 2, 0, 2, 0xffff);
	assert_int_equal(v->g->wire->n_frames, 2);
	fv_write(v, 2, 0, 4, TXQ);
	assert_int_equal(v->g->wire->n_frames, 3);
	fv_free(v);
}

static void features_modern(void **state)
{
	const uint64_t legacy_only = FG_BIT(VIRTIO_NET_F_GSO) | FG_BIT(VIRTIO_F_NOTIFY_ON_EMPTY) |
				     FG_BIT(VIRTIO_F_ANY_LAYOUT) | FG_BIT(30);
	struct fv *v = fv_new("virtio-net-pci");
	uint64_t f = fv_offered(v);

	assert_true(f & FG_BIT(VIRTIO_F_VERSION_1));
	assert_true(f & FG_BIT(40)); /* RING_RESET */
	assert_true(f & FG_BIT(VIRTIO_RING_F_EVENT_IDX));
	assert_true((f & legacy_only) == 0);
	assert_true((f & (FG_BIT(33) | FG_BIT(34) | FG_BIT(35))) == FG_FORM);
	fv_set_common(v, VIRTIO_PCI_COMMON_DFSELECT, 4, 2);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_DF, 4), 0);
	/* Not without VERSION_1, not with what is not offered. */
	assert_false(fv_agree(v, f & ~FG_BIT(VIRTIO_F_VERSION_1)));
	assert_int_equal(fv_status(v), 3);
	for (unsigned int bit = 0; bit < 64; bit++)
		if (!(f >> bit & 1))
			assert_false(fv_agree(v, FV_PLAIN | FG_BIT(bit)));
	assert_true(v->g->dev->features == 0);
	/* DRIVER_OK without an agreement is none. */
	fv_set_status(v, fv_status(v) | VIRTIO_CONFIG_S_DRIVER_OK);
	assert_int_equal(fv_status(v), 3);
	/* A third select goes nowhere, and nothing changes after the agreement. */
	fv_set_status(v, 0);
	assert_true(fv_agree(v, FV_PLAIN));
	fv_set_common(v, VIRTIO_PCI_COMMON_GFSELECT, 4, 0);
	fv_set_common(v, VIRTIO_PCI_COMMON_GF, 4, ~0u);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_GF, 4), (uint32_t)FV_PLAIN);
	fv_set_common(v, VIRTIO_PCI_COMMON_GFSELECT, 4, 2);
	fv_set_common(v, VIRTIO_PCI_COMMON_GF, 4, ~0u);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_GF, 4), 0);
	fv_set_status(v, fv_status(v) | VIRTIO_CONFIG_S_FEATURES_OK);
	assert_true(v->g->dev->features == FV_PLAIN);
	fv_free(v);
}

static void status_gates(void **state)
{
	struct fv *v = fv_new("virtio-net-pci");
	uint8_t f[64];

	assert_true(fv_agree(v, FV_PLAIN));
	for (unsigned int i = 0; i < 3; i++)
		fv_queue(v, i, 64, FV_NONE);
	fg_frame(f, sizeof(f), 1);
	fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT);
	fg_rx_post(v->g, RXQ, 4, 2000, where);
	fv_kick(v, TXQ);
	fv_kick(v, RXQ);
	fg_wire_send(v->g->wire, f, sizeof(f), NULL);
	fg_run(v->g);
	assert_int_equal(v->g->wire->n_frames, 0);
	assert_int_equal(fg_used_idx(v->g, RXQ), 0);
	assert_false(v->level);
	/* What was offered before counts, without another doorbell. */
	fv_driver_ok(v);
	assert_int_equal(v->g->wire->n_frames, 1);
	assert_int_equal(fv_status(v), 15);
	/* Bits are not taken back; the device's own are not the driver's. */
	fv_set_status(v, VIRTIO_CONFIG_S_ACKNOWLEDGE | NEEDS_RESET | 0x30);
	assert_int_equal(fv_status(v), 15);
	fv_set_status(v, STATUS_FAILED);
	assert_int_equal(fv_status(v), 0x8f);
	traffic(v);
	fv_set_status(v, 0);
	assert_int_equal(fv_status(v), 0);
	fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT);
	fv_kick(v, TXQ);
	assert_int_equal(v->g->wire->n_frames, 1);
	fv_free(v);
}

/* A queue's registers count until it is enabled, or the device runs. */
static void queues_frozen(void **state)
{
	struct fv *v = fv_new("virtio-net-pci");
	uint64_t desc;

	assert_true(fv_agree(v, FV_PLAIN));
	fv_place(v, RXQ, 128, false);
	fv_tell(v, RXQ, FV_NONE, false);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_SIZE, 2), 128);
	static const uint16_t bad[] = { 0, 3, 257, 512, 0x8000, 0xffff };
	for (size_t i = 0; i < array_size(bad); i++) {
		bool odd = FG_PACKED && bad[i] == 3; /* packed rings may be of any size */

		fv_set_common(v, VIRTIO_PCI_COMMON_Q_SIZE, 2, bad[i]);
		assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_SIZE, 2), odd ? 3 : 128);
		fv_set_common(v, VIRTIO_PCI_COMMON_Q_SIZE, 2, 128);
	}
	fv_set_common(v, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 2);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	fv_tell(v, RXQ, FV_NONE, true);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	desc = v->g->q[RXQ].desc;
	fv_set_common(v, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 0);
	fv_set_common(v, VIRTIO_PCI_COMMON_Q_SIZE, 2, 64);
	fv_set64(v, VIRTIO_PCI_COMMON_Q_DESCLO, 0x1234567);
	fv_set64(v, VIRTIO_PCI_COMMON_Q_AVAILLO, 0x1234567);
	fv_set64(v, VIRTIO_PCI_COMMON_Q_USEDLO, 0x1234567);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_SIZE, 2), 128);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_DESCLO, 4), (uint32_t)desc);
	fv_queue(v, TXQ, 256, FV_NONE);
	fv_driver_ok(v);
	traffic(v);
	/* Too late for the third. */
	fv_queue(v, CTRLQ, 64, FV_NONE);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	/* Beyond the last there is nothing. */
	fv_set_common(v, VIRTIO_PCI_COMMON_Q_SELECT, 2, 3);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_MSIX, 2), FV_NONE);
	fv_set_common(v, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0xffff);
	fv_tell(v, 0xf, 1, true);
	fv_set_common(v, 0x3a, 2, 1);
	traffic(v);
	fv_free(v);
}

static void vectors(void **state)
{
	struct fv *v = fv_new("virtio-net-pci");

	fv_set_common(v, VIRTIO_PCI_COMMON_MSIX, 2, 3);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_MSIX, 2), 3);
	fv_set_common(v, VIRTIO_PCI_COMMON_MSIX, 2, 4);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_MSIX, 2), FV_NONE);
	fv_set_common(v, VIRTIO_PCI_COMMON_Q_MSIX, 2, 0xfffe);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_MSIX, 2), FV_NONE);
	fv_free(v);
	v = fv_new_with("virtio-net-pci", 1, "vectors=0");
	fv_set_common(v, VIRTIO_PCI_COMMON_Q_MSIX, 2, 0);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_MSIX, 2), FV_NONE);
	fv_start(v, FV_PLAIN, false);
	traffic(v);
	assert_true(v->level);
	fv_free(v);
}

/* Registers in pieces and in one go. */
static void any_width(void **state)
{
	struct fv *v = fv_new("virtio-net-pci");
	uint8_t all[64], one;

	assert_true(fv_agree(v, FV_PLAIN));
	fv_set_common(v, VIRTIO_PCI_COMMON_Q_SELECT, 2, TXQ);
	for (unsigned int i = 0; i < 8; i++)
		fv_set_common(v, VIRTIO_PCI_COMMON_Q_DESCLO + i, 1, 0x11 * (i + 1));
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_DESCLO, 4), 0x44332211);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_DESCHI, 4), 0x88776655);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_DESCLO + 2, 2), 0x4433);
	/* size and vector, both by one write */
	fv_set_common(v, VIRTIO_PCI_COMMON_Q_SIZE, 4, 2 << 16 | 64);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_SIZE, 4), 2 << 16 | 64);
	assert_int_equal(pci_bar_read(v->pci, 4, 0, all, sizeof(all)), 0);
	for (uint32_t i = 0; i < sizeof(all); i++) {
		assert_int_equal(pci_bar_read(v->pci, 4, i, &one, 1), 0);
		assert_int_equal(one, all[i]);
	}
	assert_int_equal(fv_common(v, 0x3c, 4), 0);
	assert_int_equal(fv_common(v, 0xffc, 4), 0);
	fv_free(v);
}

static void queue_reset(void **state)
{
	struct fv *v = fv_new("virtio-net-pci");
	uint8_t f[64];

	fv_start(v, FV_PLAIN, true);
	traffic(v);
	fg_frame(f, sizeof(f), 1);
	fv_set_common(v, VIRTIO_PCI_COMMON_Q_SELECT, 2, TXQ);
	fv_set_common(v, 0x3a, 2, 0);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	fv_set_common(v, 0x3a, 2, 1);
	assert_int_equal(fv_common(v, 0x3a, 2), 0);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_SIZE, 2), 256);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_DESCLO, 4), 0);
	fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT);
	fv_kick(v, TXQ);
	assert_int_equal(v->g->wire->n_frames, 1);
	/* The receive queue goes on; the other comes back, smaller and elsewhere. */
	fg_rx_post(v->g, RXQ, 1, 2000, where);
	fg_wire_send(v->g->wire, f, sizeof(f), NULL);
	fg_run(v->g);
	assert_true(fg_used(v->g, RXQ, NULL) >= 0);
	fv_queue(v, TXQ, 32, 2);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	traffic(v);
	/* Or where there is no memory, which is found out at once. */
	fv_set_common(v, VIRTIO_PCI_COMMON_Q_SELECT, 2, TXQ);
	fv_set_common(v, 0x3a, 2, 1);
	v->g->q[TXQ].avail = 0x1000;
	fv_tell(v, TXQ, 2, true);
	assert_int_equal(fv_status(v), 15 | NEEDS_RESET);
	assert_int_equal(v->messages[0], 1);
	/* Only where it was agreed on. */
	fv_start(v, FV_PLAIN & ~FG_BIT(40), true);
	fv_set_common(v, VIRTIO_PCI_COMMON_Q_SELECT, 2, TXQ);
	fv_set_common(v, 0x3a, 2, 1);
	assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	traffic(v);
	fv_free(v);
}

/* Rings that are not in memory: told, not crashed, and good again after a reset. */
static void rings_nowhere(void **state)
{
	static const uint64_t places[] = {
		0,     0x1000,	FG_BASE - 64, FG_BASE + FG_RAM - 16, FG_BASE + FG_RAM,
		~0ull, ~0xfull, 1ull << 63,   FG_BORDER - 16,
	};

	for (size_t i = 0; i < 3 * array_size(places); i++) {
		struct fv *v = fv_new("virtio-net-pci");
		struct fg_queue *q = &v->g->q[TXQ];
		uint64_t *at[] = { &q->desc, &q->avail, &q->used };

		/* Where a packed ring's two small areas do fit. */
		if (FG_PACKED && i % 3 != 0 && places[i / 3] - FG_BASE <= FG_RAM - 4) {
			fv_free(v);
			continue;
		}
		assert_true(fv_agree(v, FV_PLAIN));
		fv_msix(v);
		fv_set_common(v, VIRTIO_PCI_COMMON_MSIX, 2, 0);
		fv_queue(v, RXQ, 64, 1);
		fv_place(v, TXQ, 64, false);
		*at[i % 3] = places[i / 3];
		fv_tell(v, TXQ, 2, true);
		assert_int_equal(v->messages[0], 0);
		fv_driver_ok(v);
		assert_int_equal(fv_status(v), 15 | NEEDS_RESET);
		assert_int_equal(v->messages[0], 1);
		fv_kick(v, TXQ);
		assert_int_equal(v->messages[0], 1);
		assert_int_equal(v->g->wire->n_frames, 0);
		fv_start(v, FV_PLAIN, true);
		assert_int_equal(fv_status(v), 15);
		traffic(v);
		fv_free(v);
	}
}

static void misaligned_rings(void **state)
{
	struct fv *v = fv_new("virtio-net-pci");

	assert_true(fv_agree(v, FV_PLAIN));
	fv_place(v, TXQ, 64, false);
	v->g->q[TXQ].used += 2;
	fv_tell(v, TXQ, FV_NONE, true);
	fv_driver_ok(v);
	assert_int_equal(fv_status(v), 15 | NEEDS_RESET);
	assert_int_equal(fv_get(v, VIRTIO_PCI_CAP_ISR_CFG, 0, 1), 2);
	fv_free(v);
}

static void malformed_ring(void **state)
{
	struct fv *v = fv_new("virtio-net-pci");

	fv_start(v, FV_PLAIN, true);
	if (FG_PACKED)
		fg_put_packed(v->g, v->g->q[TXQ].desc, FG_BASE, 0, 0,
			      fg_packed_flags(FG_WRAP, VRING_DESC_F_INDIRECT));
	else
		fg_put16(v->g, v->g->q[TXQ].avail + 2, 300); /* more than there are entries */
	fv_kick(v, TXQ);
	assert_int_equal(fv_status(v), 15 | NEEDS_RESET);
	assert_int_equal(v->messages[0], 1);
	fv_start(v, FV_PLAIN, true);
	traffic(v);
	fv_free(v);
}

/* The device's configuration space. */
static void config_space(void **state)
{
	static const uint8_t mac[] = { 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc };
	struct fv *v =
		fv_new_with("virtio-net-pci,mq=on,host_mtu=1400,speed=10000,duplex=full", 3, "");
	const unsigned int dev = VIRTIO_PCI_CAP_DEVICE_CFG;
	uint8_t gen, buf[0x1000];

	for (unsigned int i = 0; i < 6; i++)
		assert_int_equal(fv_get(v, dev, i, 1), mac[i]);
	assert_int_equal(fv_get(v, dev, 6, 2), 1);
	assert_int_equal(fv_get(v, dev, 8, 2), 3);
	assert_int_equal(fv_get(v, dev, 10, 2), 1400);
	assert_int_equal(fv_get(v, dev, 12, 4), 10000);
	assert_int_equal(fv_get(v, dev, 16, 1), 1);
	/* Ones behind what there is, whole or in part. */
	assert_int_equal(fv_get(v, dev, 16, 4), 0xffffff01);
	assert_int_equal(pci_bar_read(v->pci, 4, 0x2000, buf, sizeof(buf)), 0);
	for (unsigned int i = 17; i < sizeof(buf); i++)
		assert_int_equal(buf[i], 0xff);
	assert_int_equal(pci_bar_write(v->pci, 4, 0x2000, buf, sizeof(buf)), 0);
	assert_int_equal(fv_get(v, dev, 6, 2), 1);
	gen = (uint8_t)fv_common(v, VIRTIO_PCI_COMMON_CFGGENERATION, 1);
	assert_true(fv_agree(v, FV_PLAIN));
	twx_port_set_link(v->g->nic->ports[0], false);
	assert_int_equal(fv_get(v, dev, 6, 2), 0);
	assert_int_not_equal(fv_common(v, VIRTIO_PCI_COMMON_CFGGENERATION, 1), gen);
	fv_free(v);
	v = fv_new("virtio-net-pci");
	assert_int_equal(fv_get(v, dev, 8, 4), 0xffffffff);
	fv_free(v);
}

/* Accesses through configuration space, for firmware that maps nothing. */
static void window(void **state)
{
	struct fv *v = fv_new("virtio-net-pci");
	uint8_t w = v->cap[VIRTIO_PCI_CAP_PCI_CFG].at;
	uint8_t f[64];

	fv_start(v, FV_PLAIN, true);
	fv_cfg_write(v, w + 4u, 1, 4);
	fv_cfg_write(v, w + 8u, 4, 0x2000);
	fv_cfg_write(v, w + 12u, 4, 4);
	assert_int_equal(fv_cfg(v, w + 16u, 4), 0xaa005452);
	fv_cfg_write(v, w + 8u, 4, 0x2004);
	fv_cfg_write(v, w + 12u, 4, 2);
	assert_int_equal(fv_cfg(v, w + 16u, 2), 0xccbb);
	fg_frame(f, sizeof(f), 1);
	fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT);
	fv_cfg_write(v, w + 8u, 4, 0x3004);
	fv_cfg_write(v, w + 16u, 2, TXQ);
	assert_int_equal(v->g->wire->n_frames, 1);
	/* Decoding does not matter, and bytes make a whole. */
	fv_cfg_write(v, PCI_COMMAND, 2, 0);
	fv_cfg_write(v, w + 8u, 4, VIRTIO_PCI_COMMON_MSIX);
	fv_cfg_write(v, w + 16u, 1, 3);
	fv_cfg_write(v, w + 17u, 1, 0);
	assert_int_equal(fv_cfg(v, w + 16u, 1), 3);
	assert_int_equal(fv_cfg(v, w + 17u, 1), 0);
	/* What does not exist has no effect. */
	static const struct {
		uint8_t bar;
		uint32_t off, len;
	} bad[] = {
		{ 4, 0x4000, 4 },     { 4, 0xfffffffc, 4 }, { 4, 0x3ffe, 4 }, { 4, 2, 0 },
		{ 4, 0, 0xffffffff }, { 4, 0, 3 },	    { 0, 0, 4 },      { 1, 0, 4 },
		{ 255, 0, 4 },	      { 3, 0, 4 },	    { 4, 0, 8 },
	};
	for (size_t i = 0; i < array_size(bad); i++) {
		fv_cfg_write(v, w + 4u, 1, bad[i].bar);
		fv_cfg_write(v, w + 8u, 4, bad[i].off);
		fv_cfg_write(v, w + 12u, 4, bad[i].len);
		fv_cfg_write(v, w + 16u, 4, 0x12345678);
		assert_int_equal(fv_cfg(v, w + 16u, 4), 0x12345678);
	}
	fv_cfg_write(v, PCI_COMMAND, 2, 7);
	traffic(v);
	fv_free(v);
}

/* Legacy. */

static void legacy_intx(void **state)
{
	struct fv *v = fv_new("virtio-net-pci-transitional");

	assert_int_equal(fv_io(v, VIRTIO_PCI_QUEUE_NUM, 2), 256);
	fv_legacy_start(v, FG_BIT(VIRTIO_NET_F_MAC) | FG_BIT(VIRTIO_NET_F_STATUS), false);
	assert_int_equal(fv_io(v, VIRTIO_PCI_STATUS, 1), 7);
	assert_int_equal(fg_hdr_len(v->g), 10);
	traffic_by(v, fv_legacy_kick);
	assert_true(v->level);
	assert_int_equal(fv_io(v, VIRTIO_PCI_ISR, 1), 1);
	assert_false(v->level);
	assert_int_equal(fv_io(v, VIRTIO_PCI_ISR, 1), 0);
	/* Configuration: the MAC right behind the registers, for the driver to change. */
	assert_int_equal(fv_io(v, 20, 4), 0xaa005452);
	assert_int_equal(fv_io(v, 24, 2), 0xccbb);
	assert_int_equal(fv_io(v, 26, 2), 1);
	fv_set_io(v, 25, 1, 0x77);
	assert_int_equal(fv_io(v, 24, 2), 0x77bb);
	assert_int_equal(fv_io(v, 28, 4), 0xffffffff);
	fv_free(v);
}

static void legacy_msix(void **state)
{
	struct fv *v = fv_new("virtio-net-pci-transitional");

	fv_legacy_start(v, FG_BIT(VIRTIO_NET_F_MRG_RXBUF) | FG_BIT(VIRTIO_NET_F_STATUS), true);
	assert_int_equal(fg_hdr_len(v->g), 12);
	traffic_by(v, fv_legacy_kick);
	assert_int_equal(v->messages[1], 1);
	assert_int_equal(v->messages[2], 1);
	assert_int_equal(v->edges, 0);
	assert_int_equal(fv_io(v, 24, 4), 0xaa005452);
	twx_port_set_link(v->g->nic->ports[0], false);
	assert_int_equal(v->messages[0], 1);
	fv_set_io(v, VIRTIO_MSI_CONFIG_VECTOR, 2, 9);
	assert_int_equal(fv_io(v, VIRTIO_MSI_CONFIG_VECTOR, 2), FV_NONE);
	fv_set_io(v, VIRTIO_PCI_QUEUE_SEL, 2, 0x102);
	assert_int_equal(fv_io(v, VIRTIO_MSI_QUEUE_VECTOR, 2), FV_NONE);
	assert_int_equal(fv_io(v, VIRTIO_PCI_QUEUE_NUM, 2), 0);
	assert_int_equal(fv_io(v, VIRTIO_PCI_QUEUE_PFN, 4), 0);
	fv_set_io(v, VIRTIO_PCI_QUEUE_PFN, 4, 0x40001);
	fv_free(v);
}

static void legacy_features(void **state)
{
	struct fv *v = fv_new("virtio-net-pci-transitional");
	uint32_t f = fv_io(v, VIRTIO_PCI_HOST_FEATURES, 4);

	assert_true(f & FG_BIT(VIRTIO_NET_F_GSO));
	assert_true(f & FG_BIT(VIRTIO_F_NOTIFY_ON_EMPTY));
	assert_true(f & FG_BIT(VIRTIO_F_ANY_LAYOUT));
	assert_true(f & FG_BIT(30));
	/* Who agrees to everything is taken to know five of them. */
	fv_set_io(v, VIRTIO_PCI_GUEST_FEATURES, 4, ~0u);
	assert_true(v->g->dev->features ==
		    (FG_BIT(VIRTIO_NET_F_MAC) | FG_BIT(VIRTIO_NET_F_CSUM) |
		     FG_BIT(VIRTIO_NET_F_HOST_TSO4) | FG_BIT(VIRTIO_NET_F_HOST_TSO6) |
		     FG_BIT(VIRTIO_NET_F_HOST_ECN)));
	fv_legacy_start(v, ~(uint32_t)(FG_BIT(30) | FG_BIT(VIRTIO_NET_F_MTU)), false);
	assert_true((v->g->dev->features & ~(uint64_t)f) == 0);
	assert_true(v->g->dev->features & FG_BIT(VIRTIO_NET_F_MRG_RXBUF));
	/* Frozen. */
	fv_set_io(v, VIRTIO_PCI_GUEST_FEATURES, 4, 0);
	assert_true(v->g->dev->features & FG_BIT(VIRTIO_NET_F_MRG_RXBUF));
	fv_free(v);
	v = fv_new_with("virtio-net-pci", 1, "any_layout=off,notify_on_empty=off");
	f = fv_io(v, VIRTIO_PCI_HOST_FEATURES, 4);
	assert_false(f & (FG_BIT(VIRTIO_F_NOTIFY_ON_EMPTY) | FG_BIT(VIRTIO_F_ANY_LAYOUT)));
	fv_free(v);
	v = fv_new_with("virtio-net-pci", 1, "disable-modern=on");
	fv_legacy_start(v, FG_BIT(VIRTIO_NET_F_MAC), false);
	traffic_by(v, fv_legacy_kick);
	assert_false(v->g->dev->features & FG_BIT(VIRTIO_F_VERSION_1));
	fv_free(v);
}

/* Queue addresses set late, moved, taken away; a driver that forgets bus master. */
static void legacy_queues(void **state)
{
	struct fv *v = fv_new("virtio-net-pci-transitional");
	uint32_t pfn;

	fv_cfg_write(v, PCI_COMMAND, 2, PCI_COMMAND_IO);
	fv_legacy_start(v, FG_BIT(VIRTIO_NET_F_MAC), false);
	assert_int_equal(fv_cfg(v, PCI_COMMAND, 2), PCI_COMMAND_IO | PCI_COMMAND_MASTER);
	traffic_by(v, fv_legacy_kick);
	fv_set_io(v, VIRTIO_PCI_QUEUE_SEL, 2, TXQ);
	pfn = fv_io(v, VIRTIO_PCI_QUEUE_PFN, 4);
	assert_int_equal(pfn, v->g->q[TXQ].desc >> 12);
	fv_set_io(v, VIRTIO_PCI_QUEUE_PFN, 4, pfn + 1);
	assert_int_equal(fv_io(v, VIRTIO_PCI_QUEUE_PFN, 4), pfn);
	traffic_by(v, fv_legacy_kick);
	fv_set_io(v, VIRTIO_PCI_QUEUE_PFN, 4, 0);
	fv_set_io(v, VIRTIO_PCI_QUEUE_NOTIFY, 2, TXQ);
	fv_legacy_queue(v, TXQ, FV_NONE);
	traffic_by(v, fv_legacy_kick);
	/* Nowhere: the driver does not know NEEDS_RESET, but nothing else happens. */
	fv_set_io(v, VIRTIO_PCI_QUEUE_PFN, 4, 0);
	fv_set_io(v, VIRTIO_PCI_QUEUE_PFN, 4, 0xffffffff);
	fv_legacy_kick(v, TXQ);
	assert_int_equal(v->g->wire->n_frames, 1);
	fv_set_io(v, VIRTIO_PCI_QUEUE_NOTIFY, 2, 0xffff);
	fv_legacy_start(v, FG_BIT(VIRTIO_NET_F_MAC), false);
	traffic_by(v, fv_legacy_kick);
	fv_free(v);
}

/* Wide accesses take the registers one by one; pieces of one are not written. */
static void legacy_widths(void **state)
{
	struct fv *v = fv_new("virtio-net-pci-transitional");

	fv_set_io(v, VIRTIO_PCI_QUEUE_NUM, 4, 1 << 16);
	assert_int_equal(fv_io(v, VIRTIO_PCI_QUEUE_NUM, 4), 1 << 16 | 256);
	fv_set_io(v, VIRTIO_PCI_QUEUE_SEL + 1, 1, 7);
	fv_set_io(v, VIRTIO_PCI_QUEUE_SEL, 1, 0);
	assert_int_equal(fv_io(v, VIRTIO_PCI_QUEUE_SEL, 2), 1);
	assert_int_equal(fv_io(v, VIRTIO_PCI_HOST_FEATURES + 1, 1),
			 fv_io(v, VIRTIO_PCI_HOST_FEATURES, 4) >> 8 & 0xff);
	fv_set_io(v, VIRTIO_PCI_QUEUE_NOTIFY, 4, 0x010000 | 99);
	assert_int_equal(fv_io(v, VIRTIO_PCI_STATUS, 1), 1);
	fv_free(v);
}

/* An interrupt when the ring runs empty, for drivers that asked for it, whatever else they say. */
static void notify_on_empty(void **state)
{
	for (int on = 0; on < 2; on++) {
		struct fv *v = fv_new("virtio-net-pci-transitional");
		uint8_t f[64];

		fv_legacy_start(v, on ? FG_BIT(VIRTIO_F_NOTIFY_ON_EMPTY) : 0, true);
		fg_set_no_interrupt(v->g, TXQ, true);
		fg_frame(f, sizeof(f), 1);
		fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT);
		fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT);
		fv_legacy_kick(v, TXQ);
		assert_int_equal(v->g->wire->n_frames, 2);
		assert_int_equal(v->messages[2], on);
		/* Not while there is one left that the other end does not take. */
		v->g->wire->room = 1;
		fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT);
		fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT);
		fv_legacy_kick(v, TXQ);
		assert_int_equal(v->g->wire->n_frames, 3);
		assert_int_equal(v->messages[2], on);
		v->g->wire->room = ~0u;
		twx_port_ready(v->g->wire->port);
		fg_run(v->g);
		assert_int_equal(v->g->wire->n_frames, 4);
		assert_int_equal(v->messages[2], 2 * on);
		fv_free(v);
	}
}

/* The world around it. */

static void function_reset(void **state)
{
	struct fv *v = fv_new("virtio-net-pci");

	for (int i = 0; i < 3; i++) {
		fv_start(v, FV_PLAIN, i & 1);
		traffic(v);
		pci_reset(v->pci);
		assert_false(v->level);
		fv_enable(v);
		assert_int_equal(fv_status(v), 0);
		assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
		assert_int_equal(fv_get(v, VIRTIO_PCI_CAP_ISR_CFG, 0, 1), 0);
	}
	fv_free(v);
}

/* A pulse on the line while the device is reset would be for nobody. */
static void reset_is_silent(void **state)
{
	struct fv *v = fv_new("virtio-net-pci");
	uint8_t f[64];

	fv_start(v, FV_PLAIN, false);
	fg_rx_post(v->g, RXQ, 8, 2000, where);
	fg_frame(f, sizeof(f), 1);
	fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT);
	fv_set_common(v, VIRTIO_PCI_COMMON_Q_SELECT, 2, TXQ);
	fv_write(v, 4, 0x3004, 2, TXQ); /* done, but the round's end has not come */
	assert_int_equal(v->edges, 0);
	fv_set_status(v, 0);
	fg_run(v->g);
	assert_int_equal(v->edges, 0);
	assert_int_equal(fv_get(v, VIRTIO_PCI_CAP_ISR_CFG, 0, 1), 0);
	fv_free(v);
}

static void bus_master(void **state)
{
	struct fv *v = fv_new("virtio-net-pci");
	uint8_t f[64];

	fv_start(v, FV_PLAIN, true);
	traffic(v);
	fv_cfg_write(v, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	fg_frame(f, sizeof(f), 1);
	fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT);
	fv_kick(v, TXQ);
	assert_int_equal(v->g->wire->n_frames, 1);
	assert_int_equal(fv_status(v), 15);
	fv_cfg_write(v, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert_int_equal(v->g->wire->n_frames, 2);
	fg_run(v->g);
	assert_true(fg_used(v->g, TXQ, NULL) >= 0);
	traffic(v);
	fv_free(v);
}

/* Memory that moves here, and memory that goes away for a while. */
static void memory_changes(void **state)
{
	struct fv *v = fv_new("virtio-net-pci");
	uint8_t f[64];
	int i;

	fv_start(v, FV_PLAIN, true);
	fg_rx_post(v->g, RXQ, 8, 2000, where);
	fv_kick(v, RXQ);
	fg_frame(f, sizeof(f), 1);
	for (i = 0; i < 4; i++) {
		pci_mem_changing(v->pci);
		mem_fini(v->g->mem);
		fg_map(v->g);
		pci_mem_changed(v->pci);
		fg_run(v->g);
		assert_int_equal(fg_wire_send(v->g->wire, f, sizeof(f), NULL), 1);
		fg_run(v->g);
		assert_int_equal(fg_used_idx(v->g, RXQ), i + 1);
	}
	pci_mem_changing(v->pci);
	mem_fini(v->g->mem);
	pci_mem_changed(v->pci);
	assert_int_equal(fv_status(v), 15);
	fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT);
	pci_mem_changing(v->pci);
	fg_map(v->g);
	pci_mem_changed(v->pci);
	fg_run(v->g);
	assert_int_equal(v->g->wire->n_frames, 1);
	/* Gone for good: the doorbell finds out. */
	pci_mem_changing(v->pci);
	mem_fini(v->g->mem);
	pci_mem_changed(v->pci);
	fv_kick(v, TXQ);
	assert_int_equal(fv_status(v), 15 | NEEDS_RESET);
	fv_free(v);
}

static void standing_still(void **state)
{
	struct fv *v = fv_new("virtio-net-pci");
	uint8_t f[64], *before = malloc(FG_RAM);

	fv_start(v, FV_PLAIN, true);
	fg_rx_post(v->g, RXQ, 8, 2000, where);
	fg_frame(f, sizeof(f), 1);
	fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT);
	pci_run(v->pci, false);
	memcpy(before, v->g->ram, FG_RAM);
	fv_kick(v, TXQ);
	fv_kick(v, RXQ);
	fg_wire_send(v->g->wire, f, sizeof(f), NULL);
	twx_port_set_link(v->g->nic->ports[0], false);
	fg_run(v->g);
	assert_memory_equal(before, v->g->ram, FG_RAM);
	assert_int_equal(v->messages[0], 0);
	assert_int_equal(v->g->wire->n_frames, 0);
	twx_port_set_link(v->g->nic->ports[0], true);
	pci_run(v->pci, true);
	fg_run(v->g);
	assert_int_equal(v->g->wire->n_frames, 1);
	assert_int_equal(v->messages[0], 1);
	traffic(v);
	free(before);
	fv_free(v);
}

/* What one window has agreed on is not for the other one to change under running queues. */
static void features_by_the_other_window(void **state)
{
	struct fv *v = fv_new("virtio-net-pci");
	uint64_t agreed;

	fv_legacy_start(v, (uint32_t)FG_BIT(VIRTIO_NET_F_MAC), false);
	agreed = v->g->dev->features;
	for (unsigned int i = 0; i < 2; i++) {
		fv_set_common(v, VIRTIO_PCI_COMMON_GFSELECT, 4, i);
		fv_set_common(v, VIRTIO_PCI_COMMON_GF, 4, (uint32_t)(FV_PLAIN >> (32 * i)));
	}
	fv_set_status(v, 15);
	assert_false(fv_status(v) & VIRTIO_CONFIG_S_FEATURES_OK);
	assert_int_equal(v->g->dev->features, agreed);

	assert_true(fv_agree(v, FV_PLAIN));
	fv_set_io(v, VIRTIO_PCI_GUEST_FEATURES, 4, (uint32_t)FG_BIT(VIRTIO_NET_F_MAC));
	assert_int_equal(v->g->dev->features, FV_PLAIN);
	fv_free(v);
}

/* MSI-X that the host has set up (vfio-user), whose guest's enable bit it keeps to itself. */
static void msix_by_the_host(void **state)
{
	struct fv *v = fv_new("virtio-net-pci");

	pci_detach(v->pci);
	v->pci->host_masks = true;
	pci_attach(v->pci, &fv_host_ops, v, v->g->mem);
	fv_enable(v);
	fv_msix(v);
	fv_cfg_write(v, fv_find(v, PCI_CAP_ID_MSIX) + 2u, 2, 0);
	pci_irq_mode(v->pci, PCI_IRQ_MSIX);
	assert_true(fv_agree(v, FV_PLAIN));
	fv_set_common(v, VIRTIO_PCI_COMMON_MSIX, 2, 0);
	for (unsigned int i = 0; i < 3; i++)
		fv_queue(v, i, i < 2 ? 256 : 64, (uint16_t)(i + 1));
	fv_driver_ok(v);
	traffic(v);
	assert_int_equal(v->messages[RXQ + 1], 1);
	assert_true(v->messages[TXQ + 1] >= 1);
	assert_int_equal(fv_get(v, VIRTIO_PCI_CAP_ISR_CFG, 0, 1), 0);
	assert_int_equal(v->edges, 0);
	fv_free(v);
}

/* A machine that stood still when it was unplugged (a migration's source) is not the next one's. */
static void unplugged_while_still(void **state)
{
	struct fv *v = fv_new("virtio-net-pci");

	fv_start(v, FV_PLAIN, true);
	pci_run(v->pci, false);
	pci_detach(v->pci);
	pci_attach(v->pci, &fv_host_ops, v, v->g->mem);
	fv_enable(v);
	fv_start(v, FV_PLAIN, true);
	traffic(v);
	fv_free(v);
}

static void dirty_pages(void **state)
{
	uint64_t ring; /* what is written of it */
	struct fv *v = fv_new("virtio-net-pci");
	size_t size = (FG_BASE + FG_RAM) / 4096 / 8 + 1;
	uint8_t *log = calloc(1, size), f[64], *before = malloc(FG_RAM);

	fv_start(v, FV_PLAIN, true);
	fg_rx_post(v->g, RXQ, 8, 2000, where);
	fv_kick(v, RXQ);
	/* Switched on under running rings. */
	v->g->mem->log = log;
	v->g->mem->log_size = size;
	memcpy(before, v->g->ram, FG_RAM);
	fg_frame(f, sizeof(f), 1);
	assert_int_equal(fg_wire_send(v->g->wire, f, sizeof(f), NULL), 1);
	fg_run(v->g);
	for (uint64_t page = 0; page < FG_RAM / 4096; page++) {
		uint64_t at = FG_BASE + page * 4096, file = (page * 4096 + FG_RAM / 2) % FG_RAM;

		if (memcmp(before + file, v->g->ram + file, 4096) != 0 &&
		    !(log[at / 4096 / 8] >> (at / 4096 % 8) & 1))
			fail_msg("page %#llx was written and not marked", (unsigned long long)at);
	}
	ring = FG_PACKED ? v->g->q[RXQ].desc : v->g->q[RXQ].used;
	assert_true(log[ring / 4096 / 8] >> (ring / 4096 % 8) & 1);
	v->g->mem->log = NULL;
	fv_free(v);
	free(log);
	free(before);
}

/* The card's own options. */

static void tx_timer(void **state)
{
	struct fv *v = fv_new("virtio-net-pci,tx=timer,x-txtimer=200000000");
	uint8_t f[64];

	fv_start(v, FV_PLAIN, true);
	fg_frame(f, sizeof(f), 1);
	fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT);
	fv_kick(v, TXQ);
	assert_int_equal(v->g->wire->n_frames, 0);
	for (int i = 0; i < 1000 && !v->g->wire->n_frames; i++)
		twx_loop_poll(v->g->loop, 10);
	assert_int_equal(v->g->wire->n_frames, 1);
	fg_run(v->g);
	/* A second doorbell does not wait. */
	fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT);
	fv_kick(v, TXQ);
	fv_kick(v, TXQ);
	assert_int_equal(v->g->wire->n_frames, 2);
	fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT);
	fv_kick(v, TXQ);
	fv_set_status(v, 0);
	for (int i = 0; i < 5; i++)
		twx_loop_poll(v->g->loop, 1);
	assert_int_equal(v->g->wire->n_frames, 2);
	fv_free(v);
}

static void tx_burst(void **state)
{
	struct fv *v = fv_new("virtio-net-pci,x-txburst=7,tx=mumble");
	uint8_t f[64];

	fv_start(v, FV_PLAIN, true);
	fg_frame(f, sizeof(f), 1);
	for (int i = 0; i < 20; i++)
		fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT);
	fv_write(v, 4, 0x3004, 2, TXQ);
	assert_int_equal(v->g->wire->n_frames, 7);
	fg_run(v->g);
	assert_int_equal(v->g->wire->n_frames, 20);
	fv_free(v);
}

static void ring_sizes(void **state)
{
	struct fv *v = fv_new("virtio-net-pci,rx_queue_size=1024,tx_queue_size=512");
	static const uint16_t want[] = { 1024, 512, 64 };

	for (unsigned int i = 0; i < 3; i++) {
		fv_set_common(v, VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
		assert_int_equal(fv_common(v, VIRTIO_PCI_COMMON_Q_SIZE, 2), want[i]);
	}
	fv_legacy_start(v, 0, false);
	traffic_by(v, fv_legacy_kick);
	fv_free(v);
}

static void options_of_the_card(void **state)
{
	static const struct {
		const char *opts, *why;
	} bad[] = {
		{ "rx_queue_size=300",
		  "Invalid rx_queue_size (= 300), must be a power of 2 between 256 and 1024." },
		{ "tx_queue_size=2048",
		  "Invalid tx_queue_size (= 2048), must be a power of 2 between 256 and 1024." },
		{ "duplex=quarter", "'duplex' must be 'half' or 'full'" },
		{ "speed=-2", "'speed' must be between 0 and INT_MAX" },
		{ "hash=on", "hash=on is not possible" },
		{ "rss=on", "rss=on is not possible" },
		{ "guest_rsc_ext=on", "guest_rsc_ext=on is not possible" },
		{ "failover=on", "failover=on is not possible" },
		{ "rsc_interval=5", "rsc_interval= is not possible" },
		{ "ebpf-rss-fds=5", "ebpf-rss-fds= is not possible" },
		{ "x-txburst=0", "x-txburst" },
		{ "rx_queue_size=512,export=vhost-user:/nonexistent/s",
		  "rx_queue_size= is for the front end" },
	};
	static const char *const good[] = { "rsc_interval=300000", "failover=off", "rss=off",
					    "x-mtu-bypass-backend=off", "duplex=half" };
	struct fg *g = fg_new(1, "");
	struct twx_error e = { 0 };
	char text[128];

	for (size_t i = 0; i < array_size(bad); i++) {
		snprintf(text, sizeof(text), "virtio-net-pci,id=x0,%s", bad[i].opts);
		assert_true(twx_nic_new(NULL, g->net, text, &e) < 0);
		if (!strstr(e.what, bad[i].why))
			fail_msg("%s: %s", bad[i].opts, e.what);
	}
	for (size_t i = 0; i < array_size(good); i++) {
		struct twx_nic *nic;

		snprintf(text, sizeof(text), "virtio-net-pci,id=x0,%s", good[i]);
		assert_int_equal(twx_nic_new(&nic, g->net, text, &e), 0);
		twx_nic_free(nic);
	}
	fg_free(g);
}

/* Every option of QEMU's is obeyed or refused with a sentence that names it. */
static void options_of_the_transport(void **state)
{
	static const struct {
		const char *nic, *opts, *why;
	} bad[] = {
		{ "virtio-net-pci", "ats=on", "ats=on is not possible" },
		{ "virtio-net-pci", "aer=on", "aer=on is not possible" },
		{ "virtio-net-pci", "x-pcie-flr-init=off", "x-pcie-flr-init=off is not possible" },
		{ "virtio-net-pci", "migrate-extra=off", "migrate-extra=off tells" },
		{ "virtio-net-pci", "x-ignore-backend-features=on", "would promise" },
		{ "virtio-net-pci", "addr=5.0", "addr=5.0 is the VMM's" },
		{ "virtio-net-pci", "multifunction=on", "multifunction=on is the VMM's" },
		{ "virtio-net-pci", "bootindex=1", "bootindex=1 is the VMM's" },
		{ "virtio-net-pci", "failover_pair_id=x", "failover_pair_id=x is the VMM's" },
		{ "virtio-net-pci", "disable-legacy=on,disable-modern=on",
		  "neither modern nor legacy mode is enabled" },
		{ "virtio-net-pci", "iommu_platform=on",
		  "VIRTIO_F_IOMMU_PLATFORM was supported by neither legacy nor transitional "
		  "device" },
		{ "virtio-net-pci", "romfile=/nonexistent", "cannot open romfile '/nonexistent'" },
		{ "virtio-net-pci", "vectors=2049", "vectors" },
		{ "virtio-net-pci", "disable-legacy=maybe", "disable-legacy" },
		{ "virtio-net-pci-transitional", "disable-legacy=off", "disable-legacy= is for" },
		{ "virtio-net-pci-non-transitional", "disable-modern=off",
		  "disable-modern= is for" },
	};
	static const char *const good[] = { "packed=on",	 "ats=off",
					    "x-disable-pcie=on", "use-started=on",
					    "migrate-extra=on",	 "x-disable-legacy-check=on",
					    "rombar=0" };

	for (size_t i = 0; i < array_size(bad); i++) {
		struct fv *v = fv_new_nic(bad[i].nic, 1);
		uint64_t offered = v->g->dev->offered;
		struct twx_error e = { 0 };

		assert_true(fv_try(v, bad[i].opts, &e) < 0);
		if (!strstr(e.what, bad[i].why))
			fail_msg("%s: %s", bad[i].opts, e.what);
		assert_null(v->pci);
		assert_true(v->g->dev->offered == offered);
		fv_free(v);
	}
	for (size_t i = 0; i < array_size(good); i++)
		fv_free(fv_new_with("virtio-net-pci", 1, good[i]));
}

static void features_by_option(void **state)
{
	struct fv *v =
		fv_new_with("virtio-net-pci,csum=off,status=off", 1,
			    "in_order=on,queue_reset=off,iommu_platform=on,disable-legacy=on");
	uint64_t f = fv_offered(v);

	assert_true(f & FG_BIT(35));
	assert_true(f & FG_BIT(VIRTIO_F_ACCESS_PLATFORM));
	assert_false(f & FG_BIT(40));
	assert_false(f & (FG_BIT(VIRTIO_NET_F_CSUM) | FG_BIT(VIRTIO_NET_F_STATUS)));
	/* Who would not go through the IOMMU must not go on. */
	assert_false(fv_agree(v, FG_BIT(VIRTIO_F_VERSION_1)));
	fv_start(v, FG_BIT(VIRTIO_F_VERSION_1) | FG_BIT(33) | FG_BIT(35), true);
	traffic(v);
	fv_free(v);
}

/* The NIC without its transport is what it was, for another one. */
static void transport_goes(void **state)
{
	struct fv *v = fv_new_nic("virtio-net-pci", 1);
	uint64_t offered = v->g->dev->offered;
	struct twx_error e = { 0 };

	for (int i = 0; i < 3; i++) {
		assert_int_equal(fv_try(v, "", &e), 0);
		pci_attach(v->pci, &fv_host_ops, v, v->g->mem);
		fv_enable(v);
		fv_find_caps(v);
		fv_start(v, FV_PLAIN, true);
		traffic(v);
		pci_detach(v->pci);
		virtio_pci_free(v->pci);
		twx_opts_free(v->opts);
		v->pci = NULL;
		v->opts = NULL;
		assert_true(v->g->dev->offered == offered);
		assert_null(v->g->dev->host_ops);
	}
	fv_free(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(identity),
		cmocka_unit_test(express_forms),
		cmocka_unit_test(express_power),
		cmocka_unit_test(capabilities),
		cmocka_unit_test(modern_msix),
		cmocka_unit_test(modern_intx),
		cmocka_unit_test(modern_notify),
		cmocka_unit_test(features_modern),
		cmocka_unit_test(status_gates),
		cmocka_unit_test(queues_frozen),
		cmocka_unit_test(vectors),
		cmocka_unit_test(any_width),
		cmocka_unit_test(queue_reset),
		cmocka_unit_test(rings_nowhere),
		cmocka_unit_test(misaligned_rings),
		cmocka_unit_test(malformed_ring),
		cmocka_unit_test(config_space),
		cmocka_unit_test(window),
		cmocka_unit_test(legacy_intx),
		cmocka_unit_test(legacy_msix),
		cmocka_unit_test(legacy_features),
		cmocka_unit_test(legacy_queues),
		cmocka_unit_test(legacy_widths),
		cmocka_unit_test(notify_on_empty),
		cmocka_unit_test(function_reset),
		cmocka_unit_test(reset_is_silent),
		cmocka_unit_test(bus_master),
		cmocka_unit_test(memory_changes),
		cmocka_unit_test(standing_still),
		cmocka_unit_test(features_by_the_other_window),
		cmocka_unit_test(msix_by_the_host),
		cmocka_unit_test(unplugged_while_still),
		cmocka_unit_test(dirty_pages),
		cmocka_unit_test(tx_timer),
		cmocka_unit_test(tx_burst),
		cmocka_unit_test(ring_sizes),
		cmocka_unit_test(options_of_the_card),
		cmocka_unit_test(options_of_the_transport),
		cmocka_unit_test(features_by_option),
		cmocka_unit_test(transport_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
