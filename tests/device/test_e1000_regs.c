/* SPDX-License-Identifier: BSD-3-Clause */
/* e1000: registers by offset, resets, the I/O window, statistics, options and models. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macros.h"
#include "fake_e1000.h"

static const uint8_t unicast[6] = { 0x52, 0x54, 0, 1, 2, 3 };
static const uint8_t multicast[6] = { 1, 0, 0x5e, 1, 2, 3 };
static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static uint32_t reset_value(uint32_t off)
{
	static const struct {
		uint32_t off, value;
	} known[] = {
		{ O_CTRL, 0x00140240 }, { O_STATUS, 0x80080783 }, { O_EECD, 0x188 },
		{ O_VET, 0x8100 },	{ O_LEDCTL, 0x602 },	  { O_PBA, 0x00100030 },
		{ O_MANC, 0x00222300 }, { RAL(0), 0xaa005452 },	  { RAH(0), 0x8000ccbb },
		{ 0x40, 0xaa005452 },	{ 0x44, 0x8000ccbb },
	};

	for (size_t i = 0; i < array_size(known); i++)
		if (known[i].off == off)
			return known[i].value;
	return 0;
}

/* Every word of the BAR, those that exist and those that do not. */
static void assert_reset(struct fp *g)
{
	for (uint32_t off = 0; off < E1000_MMIO_SIZE; off += 4)
		if (fp_rd(g, off) != reset_value(off))
			fail_msg("%#x reads %#x, not %#x", off, fp_rd(g, off), reset_value(off));
}

/* A write of ones everywhere, without the orders that would undo it. */
static void scribble(struct fp *g)
{
	for (uint32_t off = E1000_MMIO_SIZE - 4; off > 0; off -= 4)
		fp_wr(g, off, 0xffffffff);
	fp_wr(g, O_CTRL, ~(uint32_t)(CTRL_RST | CTRL_PHY_RST));
	fp_wr(g, O_IMS, 0xffffffff);
	fp_wr(g, O_ICS, 0xffffffff);
}

static void test_reset_values(void **state)
{
	struct fp *g = fe_new("");

	assert_reset(g);
	fp_free(g);
}

static void test_absent(void **state)
{
	static const uint32_t absent[] = { 0x4,	   0xc,	       0x24,   0x34,   0x1c0,
					   0x2000, 0x3000 + 4, 0x5004, 0x5844, 0x584c,
					   0x5f04, 0x9004,     0x97fc, 0x9ffc, 0xfffc };
	struct fp *g = fe_new("");

	for (size_t i = 0; i < array_size(absent); i++) {
		fp_wr(g, absent[i], 0xffffffff);
		assert_int_equal(fp_rd(g, absent[i]), 0);
	}
	assert_reset(g);
	fp_free(g);
}

/*
 * What the offline test of Linux's driver writes and wants to read back, register by register: the
 * bits that it writes, and those that must stick.
 */
static void assert_patterns(struct fp *g, uint32_t off, uint32_t mask, uint32_t written)
{
	static const uint32_t patterns[] = { 0x5a5a5a5a, 0xa5a5a5a5, 0, 0xffffffff };

	for (size_t i = 0; i < array_size(patterns); i++) {
		fp_wr(g, off, patterns[i] & written);
		if (fp_rd(g, off) != (patterns[i] & written & mask))
			fail_msg("%#x: wrote %#x, read %#x", off, patterns[i] & written,
				 fp_rd(g, off));
	}
}

static void test_driver_patterns(void **state)
{
	static const struct {
		uint32_t off, mask, written;
	} t[] = {
		{ O_FCAL, ~0u, ~0u },	       { O_FCAH, 0xffff, ~0u },
		{ O_FCT, 0xffff, ~0u },	       { O_VET, 0xffff, ~0u },
		{ O_RDTR, 0xffff, ~0u },       { O_RDBAH, ~0u, ~0u },
		{ O_RDLEN, 0xfff80, 0xfffff }, { O_RDH, 0xffff, 0xffff },
		{ O_RDT, 0xffff, 0xffff },     { O_FCRTH, 0xfff8, 0xfff8 },
		{ O_FCTTV, 0xffff, 0xffff },   { O_TIPG, 0x3fffffff, 0x3fffffff },
		{ O_TDBAH, ~0u, ~0u },	       { O_TDLEN, 0xfff80, 0xfffff },
		{ O_RDBAL, 0xfffffff0, ~0u },  { O_TXCW, 0xc000ffff, 0xffff },
		{ O_TDBAL, 0xfffffff0, ~0u },  { O_TIDV, 0xffff, 0xffff },
	};
	const uint32_t rctl = 0x06dfb3fe;
	struct fp *g = fe_new("");

	fp_wr(g, O_STATUS, 0xfffff833);
	assert_int_equal(fp_rd(g, O_STATUS), 0x80080783);
	for (size_t i = 0; i < array_size(t); i++)
		assert_patterns(g, t[i].off, t[i].mask, t[i].written);
	fp_wr(g, O_RCTL, rctl & 0x003ffffb);
	assert_int_equal(fp_rd(g, O_RCTL), rctl & 0x003ffffb);
	fp_wr(g, O_RCTL, rctl);
	assert_int_equal(fp_rd(g, O_RCTL), rctl);
	for (unsigned int i = 0; i < 16; i++)
		assert_patterns(g, RAH(i), 0x8003ffff, ~0u);
	for (unsigned int i = 0; i < 128; i++)
		assert_patterns(g, O_MTA + 4 * i, ~0u, ~0u);
	fp_run(g);
	fp_free(g);
}

static void test_aliases(void **state)
{
	static const uint32_t t[][2] = {
		{ 0x40, O_RA },	    { 0xbc, O_RA + 0x7c },    { 0x110, O_RDBAL }, { 0x128, O_RDT },
		{ 0x160, O_FCRTH }, { 0x3fc, O_MTA + 0x1fc }, { 0x424, O_TDBAH }, { 0x440, O_TIDV },
		{ 0x600, O_VFTA },  { 0x8010, O_TDFH },
	};
	struct fp *g = fe_new("");

	for (size_t i = 0; i < array_size(t); i++) {
		fp_wr(g, t[i][0], 0x120);
		assert_int_equal(fp_rd(g, t[i][1]), 0x120);
		fp_wr(g, t[i][1], 0x350);
		assert_int_equal(fp_rd(g, t[i][0]), 0x350);
	}
	fp_free(g);
}

/* Reads are cut out of the word; writes have zeros beside them. */
static void test_narrow(void **state)
{
	struct fp *g = fe_new("");

	assert_int_equal(fp_bar_read(g, 0, RAL(0) + 2, 2), 0xaa00);
	assert_int_equal(fp_bar_read(g, 0, RAH(0) + 3, 1), 0x80);
	fp_wr(g, O_FCAL, 0x11223344);
	fp_bar_write(g, 0, O_FCAL + 1, 1, 0x55);
	assert_int_equal(fp_rd(g, O_FCAL), 0x5500);
	fp_free(g);
}

static void test_packet_buffer(void **state)
{
	struct fp *g = fe_new("");

	assert_int_equal(fp_rd(g, 0x1fffc), 0);
	fp_wr(g, 0x10000, 1);
	fp_wr(g, 0x1fffc, 2);
	assert_int_equal(fp_rd(g, 0x10000), 1);
	assert_int_equal(fp_rd(g, 0x1fffc), 2);
	assert_int_equal(fp_rd(g, 0x10004), 0);
	fp_free(g);
}

static void test_pba(void **state)
{
	struct fp *g = fe_new("");

	fp_wr(g, O_PBA, 40);
	assert_int_equal(fp_rd(g, O_PBA), 24 << 16 | 40);
	fp_wr(g, O_PBA, 0x7f);
	assert_int_equal(fp_rd(g, O_PBA), 0x7f);
	fp_free(g);
}

/* The window in I/O space. */

static void io_wr(struct fp *g, uint32_t reg, uint32_t value)
{
	fp_bar_write(g, 1, 0, 4, reg);
	fp_bar_write(g, 1, 4, 4, value);
}

static uint32_t io_rd(struct fp *g, uint32_t reg)
{
	fp_bar_write(g, 1, 0, 4, reg);
	return fp_bar_read(g, 1, 4, 4);
}

static void test_io_window(void **state)
{
	struct fp *g = fe_new("");

	assert_int_equal(io_rd(g, O_STATUS), 0x80080783);
	io_wr(g, O_FCAL, 0x12345678);
	assert_int_equal(fp_rd(g, O_FCAL), 0x12345678);
	assert_int_equal(fp_bar_read(g, 1, 0, 4), O_FCAL);
	assert_int_equal(fp_bar_read(g, 1, 5, 1), 0x56);
	/* Writes of less than a word are ignored, of the address and of data. */
	fp_bar_write(g, 1, 0, 2, O_VET);
	fp_bar_write(g, 1, 4, 2, 0xffff);
	fp_bar_write(g, 1, 5, 1, 0xff);
	assert_int_equal(fp_bar_read(g, 1, 0, 4), O_FCAL);
	assert_int_equal(fp_rd(g, O_FCAL), 0x12345678);
	/* Nothing is behind the registers, and there is no flash. */
	io_wr(g, 0x20000, 1);
	assert_int_equal(io_rd(g, 0x20000), 0);
	assert_int_equal(io_rd(g, 0xffffffff), 0);
	assert_int_equal(fp_bar_read(g, 1, 0, 4), 0xfffff);
	assert_int_equal(fp_bar_read(g, 1, 8, 4), 0);
	assert_int_equal(io_rd(g, 0x1fffc), 0);
	fp_free(g);
}

/* Resets. */

static void test_ctrl_rst(void **state)
{
	struct fp *g = fe_new("");

	for (int way = 0; way < 2; way++) {
		scribble(g);
		fe_phy_set(g, 16, 0x1234);
		fp_wr(g, O_ICS, ICR_LSC);
		fp_wr(g, O_IMS, ICR_LSC);
		assert_true(g->level);
		if (way == 0)
			fp_wr(g, O_CTRL, CTRL_RST);
		else
			io_wr(g, O_CTRL, CTRL_RST | CTRL_SLU);
		assert_false(g->level);
		assert_reset(g);
		assert_int_equal(fe_phy(g, 16), 0x1234);
		fp_wr(g, O_MDIC, 0);
		fp_wr(g, O_CTRL, CTRL_RST);
		assert_int_equal(fp_cfg_rd(g, PCI_COMMAND, 2), FP_COMMAND);
		assert_int_equal(fp_cfg_rd(g, PCI_BASE_ADDRESS_0, 4), FP_MMIO);
		fp_run(g);
	}
	fp_free(g);
}

/* After a reset of the bus nothing tells the device from a new one. */
static void test_bus_reset(void **state)
{
	struct fp *g = fe_new(""), *fresh = fe_new("");
	struct e1000 *d = fe_dev(g), *f = fe_dev(fresh);

	scribble(g);
	fe_phy_set(g, 16, 0x1234);
	io_wr(g, O_FCAL, 1);
	fp_run(g);
	pci_reset(g->pci);
	assert_false(g->level);
	assert_int_equal(fp_rd(g, O_STATUS), 0xffffffff); /* not decoded any more */
	fp_enable(g);
	assert_reset(g);
	assert_memory_equal(d->reg, f->reg, sizeof(d->reg));
	assert_memory_equal(d->phy, f->phy, sizeof(d->phy));
	assert_memory_equal(d->pbm, f->pbm, sizeof(d->pbm));
	assert_memory_equal(&d->ee, &f->ee, sizeof(d->ee));
	assert_int_equal(d->ioaddr, f->ioaddr);
	assert_int_equal(d->autoneg_due, 0);
	fp_free(g);
	fp_free(fresh);
}

/* What the card takes from its peer follows the registers, and a reset. */
static void test_caps(void **state)
{
	struct fp *g = fe_new("");
	const struct twx_caps *caps = &g->nic->ports[0]->caps;

	assert_false(caps->flags & TWX_CAP_VLAN);
	fp_wr(g, O_CTRL, CTRL_SLU | CTRL_VME);
	assert_true(caps->flags & TWX_CAP_VLAN);
	fp_wr(g, O_CTRL, CTRL_RST);
	assert_false(caps->flags & TWX_CAP_VLAN);
	fp_free(g);
}

static void test_ee_rst(void **state)
{
	struct fp *g = fe_new("");

	fp_wr(g, RAL(0), 0x11111111);
	fp_wr(g, RAH(0), 0);
	fp_wr(g, O_CTRL_EXT, 0x80);
	assert_int_equal(fp_rd(g, RAL(0)), 0x11111111);
	fp_wr(g, O_CTRL_EXT, CTRL_EXT_EE_RST | 0x80);
	assert_int_equal(fp_rd(g, O_CTRL_EXT), 0x80);
	assert_int_equal(fp_rd(g, RAL(0)), 0xaa005452);
	assert_int_equal(fp_rd(g, RAH(0)), 0x8000ccbb);
	fp_free(g);
}

/* Statistics. */

static void count(struct fp *g, uint32_t off, uint32_t want)
{
	uint32_t v = fp_rd(g, off);

	if (v != want)
		fail_msg("%#x counts %u, not %u", off, v, want);
	assert_int_equal(fp_rd(g, off), 0);
}

static void test_stats_tx(void **state)
{
	struct fp *g = fe_new("");
	struct e1000 *d = fe_dev(g);

	e1000_count_tx(d, unicast, 60);
	e1000_count_tx(d, multicast, 61);
	e1000_count_tx(d, broadcast, 1514);
	count(g, O_GPTC, 3);
	count(g, O_TPT, 3);
	count(g, O_MPTC, 1);
	count(g, O_BPTC, 1);
	count(g, O_PTC64, 1);
	count(g, O_PTC127, 1);
	count(g, O_PTC1522, 1);
	assert_int_equal(fp_rd(g, O_GOTCL), 64 + 65 + 1518);
	assert_int_equal(fp_rd(g, O_TOTL), 64 + 65 + 1518);
	/* 46 segments of a frame of 64 KiB. */
	e1000_count_tso(d, unicast, 1514, 376, 46);
	count(g, O_GPTC, 46);
	count(g, O_PTC1522, 45);
	count(g, O_PTC511, 1);
	count(g, O_TSCTC, 1);
	assert_int_equal(fp_rd(g, O_GOTCL), 64 + 65 + 1518 + 45 * 1518 + 380);
	e1000_count_tso(d, unicast, 1020, 61, 3);
	count(g, O_PTC1522, 2);
	count(g, O_PTC127, 1);
	fp_free(g);
}

static void test_stats_rx(void **state)
{
	static const struct {
		uint32_t len, off;
	} bins[] = {
		{ 60, O_PRC64 },     { 61, O_PRC127 },	  { 123, O_PRC127 },   { 124, O_PRC255 },
		{ 251, O_PRC255 },   { 252, O_PRC511 },	  { 507, O_PRC511 },   { 508, O_PRC1023 },
		{ 1019, O_PRC1023 }, { 1020, O_PRC1522 }, { 1514, O_PRC1522 }, { 16000, O_PRC1522 },
	};
	struct fp *g = fe_new("");
	struct e1000 *d = fe_dev(g);
	uint32_t bytes = 0;

	for (size_t i = 0; i < array_size(bins); i++) {
		e1000_count_rx(d, unicast, bins[i].len);
		bytes += bins[i].len + 4;
		count(g, bins[i].off, 1);
	}
	e1000_count_rx(d, multicast, 60);
	e1000_count_rx(d, broadcast, 60);
	count(g, O_MPRC, 1);
	count(g, O_BPRC, 1);
	count(g, O_GPRC, array_size(bins) + 2);
	count(g, O_TPR, array_size(bins) + 2);
	assert_int_equal(fp_rd(g, O_GORCL), bytes + 128);
	assert_int_equal(fp_rd(g, O_TORL), bytes + 128);
	e1000_count(d, STAT_MPC);
	e1000_count(d, STAT_RNBC);
	count(g, O_MPC, 1);
	count(g, O_RNBC, 1);
	fp_free(g);
}

/* An address is broadcast when all of it is. */
static void test_stats_almost_broadcast(void **state)
{
	struct fp *g = fe_new("");
	uint8_t dst[6];

	for (int i = 0; i < 6; i++) {
		memset(dst, 0xff, 6);
		dst[i] = 0xfd;
		e1000_count_rx(fe_dev(g), dst, 60);
	}
	count(g, O_MPRC, 6);
	count(g, O_BPRC, 0);
	fp_free(g);
}

/* 13.7: the lower half stays, the upper one clears both; nothing ever wraps. */
static void test_stats_halves(void **state)
{
	struct fp *g = fe_new("");
	struct e1000 *d = fe_dev(g);

	d->reg[R_STATS + STAT_GORCL] = 0xfffffff0;
	e1000_count_rx(d, unicast, 60);
	assert_int_equal(fp_rd(g, O_GORCL), 0x30);
	assert_int_equal(fp_rd(g, O_GORCL), 0x30);
	assert_int_equal(fp_rd(g, O_GORCH), 1);
	assert_int_equal(fp_rd(g, O_GORCL), 0);
	assert_int_equal(fp_rd(g, O_GORCH), 0);
	d->reg[R_STATS + STAT_TOTL] = d->reg[R_STATS + STAT_TOTH] = 0xffffffff;
	d->reg[R_STATS + STAT_GPTC] = 0xfffffffe;
	e1000_count_tso(d, unicast, 60, 60, 2);
	assert_int_equal(fp_rd(g, O_TOTL), 0xffffffff);
	assert_int_equal(fp_rd(g, O_TOTH), 0xffffffff);
	assert_int_equal(fp_rd(g, O_GPTC), 0xffffffff);
	fp_wr(g, O_TPT, 5); /* read-only */
	count(g, O_TPT, 2);
	fp_free(g);
}

/* Options. */

static void assert_gone(struct fp *g, uint32_t off)
{
	fp_wr(g, off, 0x7);
	assert_int_equal(fp_rd(g, off), 0);
}

static void test_without_extra(void **state)
{
	static const uint32_t gone[] = {
		O_WUC,	O_WUFC, O_WUS,	O_IPAV, O_IP4AT, O_IP6AT, O_WUPM,
		O_FFLT, O_FFMT, O_FFVT, O_AIT,	O_TDFH,	 O_RDFPC, 0x10000
	};
	struct fp *g = fe_new(",extra_mac_registers=off"), *with = fe_new("");
	struct e1000 *d = fe_dev(g);

	for (size_t i = 0; i < array_size(gone); i++) {
		assert_gone(g, gone[i]);
		fp_wr(with, gone[i], 0x7);
		assert_int_equal(fp_rd(with, gone[i]), 0x7);
	}
	e1000_count_tx(d, broadcast, 60);
	e1000_count(d, STAT_RNBC);
	assert_int_equal(fp_rd(g, O_BPTC) + fp_rd(g, O_PTC64) + fp_rd(g, O_GOTCL), 0);
	assert_int_equal(fp_rd(g, O_RNBC), 0);
	count(g, O_GPTC, 1);
	count(g, O_TPT, 1);
	assert_int_equal(fp_rd(g, O_TOTL), 64);
	fp_free(g);
	fp_free(with);
}

static void test_without_mitigation(void **state)
{
	static const uint32_t gone[] = { O_ITR, O_RDTR, O_RADV, O_TADV, O_TIDV, 0x108 };
	struct fp *g = fe_new(",mitigation=off");

	for (size_t i = 0; i < array_size(gone); i++)
		assert_gone(g, gone[i]);
	fp_free(g);
}

static void test_init_vet(void **state)
{
	struct fp *g = fe_new(",init-vet=off");

	assert_int_equal(fp_rd(g, O_VET), 0);
	fp_wr(g, O_VET, 0x88a8);
	fp_wr(g, O_CTRL, CTRL_RST);
	assert_int_equal(fp_rd(g, O_VET), 0);
	fp_free(g);
}

static void test_refused_options(void **state)
{
	static const char *const opts[] = { "addr=3.0", "multifunction=on", "bootindex=1",
					    "acpi-index=1", "failover_pair_id=x" };
	struct fp *g = fp_new_empty();
	char text[64];

	for (size_t i = 0; i < array_size(opts); i++) {
		struct twx_error e = { 0 };

		snprintf(text, sizeof(text), ",%s", opts[i]);
		assert_true(fp_try_nic(g, "e1000", text, &e) < 0);
		assert_non_null(strstr(e.what, "VMM"));
		*strchr(text, '=') = '\0';
		assert_non_null(strstr(e.what, text + 1));
		assert_non_null(strstr(e.hint, "-device"));
	}
	assert_int_equal(fp_try_nic(g, "e1000", "", NULL), 0);
	fp_free(g);
}

static void test_models(void **state)
{
	static const struct {
		const char *model;
		uint16_t device, phy_id2;
	} t[] = {
		{ "e1000", 0x100e, 0x0c20 },
		{ "e1000-82540em", 0x100e, 0x0c20 },
		{ "e1000-82544gc", 0x100c, 0x0c30 },
		{ "e1000-82545em", 0x100f, 0x0c20 },
	};

	for (size_t i = 0; i < array_size(t); i++) {
		struct fp *g = fp_new(t[i].model, "");

		assert_int_equal(fp_cfg_rd(g, PCI_VENDOR_ID, 4),
				 (uint32_t)t[i].device << 16 | 0x8086);
		assert_int_equal(fp_cfg_rd(g, PCI_CLASS_REVISION, 4), 0x02000003);
		assert_int_equal(fp_cfg_rd(g, PCI_SUBSYSTEM_VENDOR_ID, 4), 0x11001af4);
		assert_int_equal(fp_cfg_rd(g, PCI_INTERRUPT_PIN, 1), 1);
		assert_int_equal(fp_cfg_rd(g, PCI_CACHE_LINE_SIZE, 1), 0x10);
		assert_int_equal(fp_cfg_rd(g, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST, 0);
		assert_int_equal(pci_bar_size(g->pci, 0), 0x20000);
		assert_int_equal(pci_bar_size(g->pci, 1), 64);
		assert_int_equal(fe_phy(g, 3), t[i].phy_id2);
		assert_int_equal(fe_eerd(g, 11), t[i].device);
		assert_int_equal(fe_eerd(g, 13), t[i].device);
		fp_free(g);
	}
}

static void assert_info(struct fp *g, const char *want)
{
	char *text = twx_net_info(g->net);

	if (!strstr(text, want))
		fail_msg("no %s in:\n%s", want, text);
	free(text);
}

static void test_info(void **state)
{
	struct fp *g = fe_new("");

	assert_info(g, "nic0: index=0,type=nic,model=e1000,macaddr=52:54:00:aa:bb:cc\n");
	fp_wr(g, RAL(0), 0x33221102);
	fp_wr(g, RAH(0), RAH_AV | 0x5544);
	assert_info(g, "macaddr=02:11:22:33:44:55\n");
	fp_free(g);
}

/* What a card costs that does nothing rare: the rest are pages that nobody touches. */
static void test_size(void **state)
{
	const struct e1000 *d = NULL;
	size_t rare = sizeof(d->pbm) + sizeof(d->tx.data) + sizeof(d->rx.bounce);

	assert_true(sizeof(*d) - rare < 72 * 1024);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reset_values),
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_driver_patterns),
		cmocka_unit_test(test_aliases),
		cmocka_unit_test(test_narrow),
		cmocka_unit_test(test_packet_buffer),
		cmocka_unit_test(test_pba),
		cmocka_unit_test(test_io_window),
		cmocka_unit_test(test_ctrl_rst),
		cmocka_unit_test(test_bus_reset),
		cmocka_unit_test(test_caps),
		cmocka_unit_test(test_ee_rst),
		cmocka_unit_test(test_stats_almost_broadcast),
		cmocka_unit_test(test_stats_tx),
		cmocka_unit_test(test_stats_rx),
		cmocka_unit_test(test_stats_halves),
		cmocka_unit_test(test_without_extra),
		cmocka_unit_test(test_without_mitigation),
		cmocka_unit_test(test_init_vet),
		cmocka_unit_test(test_refused_options),
		cmocka_unit_test(test_models),
		cmocka_unit_test(test_info),
		cmocka_unit_test(test_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
