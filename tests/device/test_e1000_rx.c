/* SPDX-License-Identifier: BSD-3-Clause */
/* e1000, host to guest: frames to descriptors, filters, back-pressure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macros.h"
#include "fake_e1000_rings.h"

static uint8_t buf[1u << 17];
static struct fr_frame got;

static uint64_t drops(struct fr *r, enum twx_drop cause)
{
	return r->g->nic->ports[0]->count.drops[cause];
}

static int feed(struct fr *r, uint32_t len, uint8_t seed)
{
	fg_frame(buf, len, seed);
	return fr_feed(r, buf, len);
}

static void assert_got(struct fr *r, uint32_t len, uint8_t seed)
{
	uint32_t padded = max(len, 60u);

	assert_true(fr_recv(r, &got, true));
	fg_frame(buf, len, seed);
	memset(buf + len, 0, padded - min(padded, len));
	assert_int_equal(got.len, padded);
	assert_memory_equal(got.data, buf, padded);
	assert_int_equal(got.errors, 0);
}

static void assert_nothing(struct fr *r)
{
	assert_false(fr_recv(r, &got, true));
}

static void test_lengths(void **state)
{
	static const uint32_t lens[] = { 14,  42,  59,	60,  61,  63,  64,   65,
					 127, 128, 129, 191, 192, 193, 1514, 1518 };
	struct fr *r = fr_new("");

	for (size_t i = 0; i < array_size(lens); i++) {
		assert_int_equal(feed(r, lens[i], (uint8_t)i), 1);
		assert_got(r, lens[i], (uint8_t)i);
		assert_int_equal(got.n_desc, 1);
		assert_int_equal(got.status, RXD_DD | RXD_EOP | RXD_IXSM);
		assert_int_equal(got.special, 0);
		assert_int_equal(got.csum, 0);
		assert_int_equal(fp_rd(r->g, O_RDH), i + 1);
	}
	assert_int_equal(drops(r, TWX_DROP_NO_BUFFER), 0);
	fr_free(r);
}

/* Every size of buffers; frames that end anywhere in one. */
static void test_buffer_sizes(void **state)
{
	static const uint32_t bits[] = {
		0,
		1u << RCTL_BSIZE_SHIFT,
		2u << RCTL_BSIZE_SHIFT,
		3u << RCTL_BSIZE_SHIFT,
		RCTL_BSEX | 1u << RCTL_BSIZE_SHIFT,
		RCTL_BSEX | 2u << RCTL_BSIZE_SHIFT,
		RCTL_BSEX | 3u << RCTL_BSIZE_SHIFT,
	};
	static const uint32_t sizes[] = { 2048, 1024, 512, 256, 16384, 8192, 4096 };

	for (size_t k = 0; k < array_size(bits); k++) {
		struct fr *r = fr_new("");
		uint32_t b = sizes[k];
		const uint32_t lens[] = { 60,	 b - 1,	    b,	  b + 1, 2 * b - 1,
					  2 * b, 2 * b + 1, 9018, 16380 };

		fr_rx_setup(r, 128, FR_DEFAULT_RCTL | RCTL_LPE | bits[k]);
		for (int round = 0; round < 5; round++) {
			for (size_t i = 0; i < array_size(lens); i++) {
				uint32_t len = min(lens[i], 16380u);

				assert_int_equal(feed(r, len, (uint8_t)i), 1);
				assert_got(r, len, (uint8_t)i);
				assert_int_equal(got.n_desc, (len + b - 1) / b);
			}
		}
		fr_free(r);
	}
}

static void test_fcs(void **state)
{
	struct fr *r = fr_new("");

	fr_rx_setup(r, 64, RCTL_EN | RCTL_BAM | 3u << RCTL_BSIZE_SHIFT);
	memset(fp_ptr(r->g, r->rx_bufs), 0xee, 65536);
	assert_int_equal(feed(r, 250, 1), 1);
	assert_int_equal(feed(r, 254, 1), 1);
	assert_int_equal(feed(r, 30, 1), 1);
	assert_true(fr_recv(r, &got, true));
	assert_int_equal(got.len, 254);
	assert_memory_equal(got.data + 250, "\0\0\0\0", 4);
	assert_true(fr_recv(r, &got, true));
	assert_int_equal(got.len, 258);
	assert_int_equal(got.n_desc, 2);
	assert_memory_equal(got.data + 254, "\0\0\0\0", 4);
	assert_true(fr_recv(r, &got, true));
	assert_int_equal(got.len, 64);
	/* Nothing behind the frame is touched. */
	assert_int_equal(*(uint8_t *)fp_ptr(r->g, r->rx_bufs + 254), 0xee);
	assert_int_equal(*(uint8_t *)fp_ptr(r->g, r->rx_bufs + 3 * 256 + 64), 0xee);
	fr_free(r);
}

static void test_sizes(void **state)
{
	static const struct {
		uint32_t rctl, len;
		bool taken;
	} t[] = {
		{ 0, 1518, true },	   { 0, 1519, false },	       { 0, 16380, false },
		{ RCTL_LPE, 16380, true }, { RCTL_LPE, 16381, false }, { RCTL_LPE, 65535, false },
		{ RCTL_SBP, 1600, true },  { RCTL_SBP, 16381, false }, { 0, 13, false },
		{ RCTL_LPE, 13, false },   { RCTL_LPE, 9018, true },
	};

	for (size_t i = 0; i < array_size(t); i++) {
		struct fr *r = fr_new("");

		fp_wr(r->g, O_RCTL, FR_DEFAULT_RCTL | t[i].rctl);
		assert_int_equal(feed(r, t[i].len, 1), 1);
		assert_int_equal(fr_recv(r, &got, true), t[i].taken);
		assert_int_equal(fp_rd(r->g, O_ROC), !t[i].taken && t[i].len > 13);
		assert_int_equal(feed(r, 60, 2), 1);
		assert_got(r, 60, 2);
		fr_free(r);
	}
}

static void test_one_interrupt_for_a_burst(void **state)
{
	struct fr *r = fr_new(",mitigation=off");
	struct twx_frame frames[TWX_BURST];
	struct iovec iov[TWX_BURST];

	for (unsigned int i = 0; i < TWX_BURST; i++) {
		fg_frame(buf + 200 * i, 150, (uint8_t)i);
		iov[i] = (struct iovec){ buf + 200 * i, 150 };
		frames[i] = (struct twx_frame){ .iov = &iov[i], .n_iov = 1, .len = 150 };
	}
	fp_rd(r->g, O_ICR);
	r->g->n_edges = 0;
	assert_int_equal(twx_port_send(r->g->wire->port, frames, TWX_BURST), TWX_BURST);
	assert_int_equal(r->g->n_edges, 1);
	assert_int_equal(fp_rd(r->g, O_ICR), ICR_RXT0);
	for (unsigned int i = 0; i < TWX_BURST; i++)
		assert_got(r, 150, (uint8_t)i);
	fr_free(r);
}

static void test_iovecs(void **state)
{
	struct fr *r = fr_new("");

	for (uint32_t bits = 0; bits < 4; bits++) {
		fr_rx_setup(r, 64, FR_DEFAULT_RCTL | bits << RCTL_BSIZE_SHIFT);
		for (uint32_t step = 1; step < 500; step += 37) {
			struct iovec iov[1500];
			struct twx_frame f = { .iov = iov, .len = 1514 };
			uint32_t off = TWX_HDR_ROOM;

			fg_frame(buf, 1514, (uint8_t)step);
			iov[f.n_iov++] = (struct iovec){ buf, off };
			for (; off < 1514; off += step)
				iov[f.n_iov++] = (struct iovec){ buf + off, min(step, 1514 - off) };
			assert_int_equal(twx_port_send(r->g->wire->port, &f, 1), 1);
			assert_got(r, 1514, (uint8_t)step);
		}
	}
	fr_free(r);
}

static void test_descriptors_without_buffers(void **state)
{
	struct fr *r = fr_new("");

	fr_rx_setup(r, 64, FR_DEFAULT_RCTL | 3u << RCTL_BSIZE_SHIFT);
	fr_rx_desc(r, 0, 0);
	fr_rx_desc(r, 1, 0);
	fr_rx_desc(r, 3, 0);
	fr_rx_desc(r, 5, 0);
	assert_int_equal(feed(r, 700, 4), 1);
	assert_int_equal(fp_rd(r->g, O_RDH), 7);
	for (uint32_t i = 0; i < 7; i++) {
		struct e1000_rxd d = fr_rxd(r, i);

		assert_true(d.status & RXD_DD);
		assert_int_equal(!!(d.status & RXD_EOP), i == 6);
		assert_int_equal(le16_get(d.len), le64_get(d.addr) ? i == 6 ? 188 : 256 : 0);
	}
	assert_got(r, 700, 4);
	/* Nothing but those: the frame waits for more. */
	for (uint32_t i = 0; i < 64; i++)
		fr_rx_desc(r, i, 0);
	fp_wr(r->g, O_RDT, 6);
	assert_int_equal(feed(r, 60, 5), 0);
	assert_int_equal(fp_rd(r->g, O_RDH), 6);
	fr_rx_setup(r, 64, FR_DEFAULT_RCTL);
	fp_run(r->g);
	assert_true(r->g->wire->n_resumed);
	assert_int_equal(feed(r, 60, 5), 1);
	assert_got(r, 60, 5);
	fr_free(r);
}

static void test_back_pressure(void **state)
{
	struct fr *r = fr_new("");
	unsigned int n = 0;

	fr_rx_setup(r, 16, FR_DEFAULT_RCTL);
	while (feed(r, 100, (uint8_t)n))
		n++;
	assert_int_equal(n, 15);
	assert_int_equal(fp_rd(r->g, O_RNBC), 1);
	assert_int_equal(fp_rd(r->g, O_MPC), 0);
	assert_int_equal(fp_rd(r->g, O_ICR) & ICR_RXO, 0);
	assert_int_equal(r->g->wire->n_resumed, 0);
	for (unsigned int i = 0; i < 15; i++)
		assert_got(r, 100, (uint8_t)i);
	fp_run(r->g);
	assert_int_equal(r->g->wire->n_resumed, 1);
	assert_int_equal(feed(r, 100, 99), 1);
	assert_got(r, 100, 99);
	fr_free(r);
}

/* The driver has written RDT and looks at memory alone; the host has kept the write. */
static void keeps_rdt(struct fp *g)
{
	if (g->n_hurries == 4)
		fp_wr(g, O_RDT, 10);
}

static void test_a_late_tail_is_asked_for(void **state)
{
	struct fr *r = fr_new("");
	unsigned int n = 0;

	r->g->on_hurry = keeps_rdt;
	fr_rx_setup(r, 16, FR_DEFAULT_RCTL);
	while (feed(r, 100, (uint8_t)n))
		n++;
	/* At once, and again while the frame waits. */
	assert_int_equal(r->g->n_hurries, 1);
	while (!r->g->wire->n_resumed)
		twx_loop_poll(r->g->loop, 1000);
	assert_int_equal(r->g->n_hurries, 4);
	assert_int_equal(feed(r, 100, 99), 1);
	/* A machine that stands still is not asked. */
	while (feed(r, 100, 1))
		;
	n = r->g->n_hurries;
	pci_run(r->g->pci, false);
	assert_int_equal(twx_loop_poll(r->g->loop, 5), 0);
	assert_int_equal(r->g->n_hurries, n);
	pci_run(r->g->pci, true);
	fr_free(r);
}

/* Where no write is late nobody is asked again. */
static void test_nothing_is_late(void **state)
{
	struct fr *r = fr_new("");

	fr_rx_setup(r, 16, FR_DEFAULT_RCTL);
	while (feed(r, 100, 1))
		;
	assert_int_equal(twx_loop_poll(r->g->loop, 5), 0);
	assert_int_equal(r->g->n_hurries, 1);
	fr_free(r);
}

static void test_a_long_frame_waits_for_its_buffers(void **state)
{
	struct fr *r = fr_new("");

	fr_rx_setup(r, 16, FR_DEFAULT_RCTL | 3u << RCTL_BSIZE_SHIFT);
	fp_wr(r->g, O_RDT, 3);
	assert_int_equal(feed(r, 1000, 1), 0);
	assert_int_equal(fp_rd(r->g, O_RDH), 0);
	fp_wr(r->g, O_RDT, 4);
	fp_run(r->g);
	assert_int_equal(r->g->wire->n_resumed, 1);
	assert_int_equal(feed(r, 1000, 1), 1);
	assert_got(r, 1000, 1);
	/* One that the whole ring could not hold does not wait. */
	fr_rx_setup(r, 8, FR_DEFAULT_RCTL | RCTL_LPE | 3u << RCTL_BSIZE_SHIFT);
	fp_rd(r->g, O_ICR);
	assert_int_equal(feed(r, 2000, 1), 1);
	assert_nothing(r);
	assert_int_equal(fp_rd(r->g, O_MPC), 1);
	assert_true(fp_rd(r->g, O_ICR) & ICR_RXO);
	assert_int_equal(drops(r, TWX_DROP_NO_BUFFER), 1);
	assert_int_equal(feed(r, 1500, 1), 1);
	assert_got(r, 1500, 1);
	fr_free(r);
}

static void test_low_on_descriptors(void **state)
{
	for (uint32_t rdmts = 0; rdmts < 3; rdmts++) {
		struct fr *r = fr_new(",mitigation=off");
		uint32_t low = 64u >> (rdmts + 1);

		fr_rx_setup(r, 64, FR_DEFAULT_RCTL | rdmts << RCTL_RDMTS_SHIFT);
		for (uint32_t free = 62; free > 0; free--) {
			fp_rd(r->g, O_ICR);
			assert_int_equal(feed(r, 60, 1), 1);
			assert_int_equal(fp_rd(r->g, O_ICR),
					 free == low ? ICR_RXT0 | ICR_RXDMT0 : ICR_RXT0);
		}
		fr_free(r);
	}
}

static void test_when_nothing_is_received(void **state)
{
	struct fr *r = fr_new("");

	fp_wr(r->g, O_RCTL, FR_DEFAULT_RCTL & ~(uint32_t)RCTL_EN);
	assert_int_equal(feed(r, 60, 1), 1);
	fp_wr(r->g, O_RCTL, FR_DEFAULT_RCTL);
	assert_nothing(r);
	fp_cfg_wr(r->g, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(feed(r, 60, 1), 1);
	fp_cfg_wr(r->g, PCI_COMMAND, 2, FP_COMMAND);
	assert_nothing(r);
	/* The link is negotiated. */
	fe_phy_set(r->g, 0, 0x1340);
	assert_int_equal(feed(r, 60, 1), 1);
	assert_nothing(r);
	assert_int_equal(drops(r, TWX_DROP_NO_BUFFER), 3);
	fe_pass(r->g, 1000000000);
	assert_int_equal(feed(r, 60, 2), 1);
	assert_got(r, 60, 2);
	/* The machine stands still: frames wait. */
	pci_run(r->g->pci, false);
	assert_int_equal(feed(r, 60, 3), 0);
	pci_run(r->g->pci, true);
	fp_run(r->g);
	assert_int_equal(r->g->wire->n_resumed, 1);
	assert_int_equal(feed(r, 60, 3), 1);
	assert_got(r, 60, 3);
	fr_free(r);
}

/* Who waits for buffers is freed by whatever makes waiting pointless. */
static void test_nobody_waits_for_ever(void **state)
{
	for (int how = 0; how < 6; how++) {
		struct fr *r = fr_new("");

		fp_wr(r->g, O_RDT, 0);
		assert_int_equal(feed(r, 60, 1), 0);
		switch (how) {
		case 0:
			fp_wr(r->g, O_RCTL, 0);
			break;
		case 1:
			fp_wr(r->g, O_CTRL, fp_rd(r->g, O_CTRL) | CTRL_RST);
			break;
		case 2:
			pci_reset(r->g->pci);
			break;
		case 3:
			fp_cfg_wr(r->g, PCI_COMMAND, 2, 0);
			break;
		case 4:
			fe_phy_set(r->g, 0, 0x1340);
			break;
		case 5:
			fe_phy_set(r->g, 0, 0x5140);
			break;
		}
		fp_run(r->g);
		assert_int_equal(r->g->wire->n_resumed, 1);
		assert_int_equal(feed(r, 60, 1), 1);
		fr_free(r);
	}
}

static void test_addresses(void **state)
{
	static const uint8_t other[6] = { 2, 1, 2, 3, 4, 5 }, multi[6] = { 1, 0, 0x5e, 1, 2, 3 },
			     broad[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	static const struct {
		uint32_t rctl;
		bool own, other, multi, broad;
	} t[] = {
		{ 0, true, false, false, false },
		{ RCTL_UPE, true, true, false, false },
		{ RCTL_MPE, true, false, true, true },
		{ RCTL_BAM, true, false, false, true },
		{ RCTL_UPE | RCTL_MPE, true, true, true, true },
	};

	for (size_t i = 0; i < array_size(t); i++) {
		struct fr *r = fr_new("");
		const uint8_t *const dst[] = { other, multi, broad };
		const bool taken[] = { t[i].other, t[i].multi, t[i].broad };

		fp_wr(r->g, O_RCTL, RCTL_EN | RCTL_SECRC | t[i].rctl);
		assert_int_equal(feed(r, 60, 1), 1);
		assert_int_equal(fr_recv(r, &got, true), t[i].own);
		for (size_t k = 0; k < array_size(dst); k++) {
			fg_frame(buf, 60, 1);
			memcpy(buf, dst[k], 6);
			assert_int_equal(fr_feed(r, buf, 60), 1);
			assert_int_equal(fr_recv(r, &got, true), taken[k]);
		}
		fr_free(r);
	}
}

static bool passes(struct fr *r, const uint8_t *dst)
{
	fg_frame(buf, 60, 1);
	memcpy(buf, dst, 6);
	assert_int_equal(fr_feed(r, buf, 60), 1);
	return fr_recv(r, &got, true);
}

static void test_exact_addresses(void **state)
{
	static const uint8_t a[6] = { 1, 0x80, 0xc2, 0, 0, 0x0e };
	struct fr *r = fr_new("");

	for (unsigned int i = 0; i < 16; i++) {
		assert_false(passes(r, a));
		fp_wr(r->g, RAL(i), 0x00c28001);
		fp_wr(r->g, RAH(i), 0x80000e00);
		assert_true(passes(r, a));
		fp_wr(r->g, RAH(i), 0x00000e00); /* not valid */
		assert_false(passes(r, a));
	}
	fr_free(r);
}

/* 12 bits of the last two bytes, at four places. */
static void test_multicast_hash(void **state)
{
	static const uint8_t a[6] = { 1, 2, 3, 4, 0xb5, 0xc3 };
	static const uint16_t hash[4] = { 0xc3b, 0x876, 0x0ed, 0x3b5 };
	struct fr *r = fr_new("");

	for (uint32_t mo = 0; mo < 4; mo++) {
		uint32_t h = hash[mo];

		fp_wr(r->g, O_RCTL, FR_DEFAULT_RCTL | mo << RCTL_MO_SHIFT);
		assert_false(passes(r, a));
		fp_wr(r->g, O_MTA + 4 * (h / 32), 1u << h % 32);
		assert_true(passes(r, a));
		fp_wr(r->g, O_MTA + 4 * (h / 32), ~(1u << h % 32));
		assert_false(passes(r, a));
		fp_wr(r->g, O_MTA + 4 * (h / 32), 0);
	}
	fr_free(r);
}

/* Whether the driver has to look whom a frame is for. */
static void test_inexact(void **state)
{
	static const uint8_t own[6] = { 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc }, other[6] = { 2, 3, 4 },
			     multi[6] = { 1, 0, 0x5e, 1, 2, 3 }, second[6] = { 2, 9, 9, 9, 9, 9 },
			     broad[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	static const struct {
		const uint8_t *dst;
		bool exact;
	} t[] = {
		{ own, true }, { other, false }, { multi, false }, { second, true }, { broad, true }
	};
	struct fr *r = fr_new("");

	fp_wr(r->g, O_RCTL, FR_DEFAULT_RCTL | RCTL_UPE | RCTL_MPE);
	fp_wr(r->g, RAL(7), 0x09090902);
	fp_wr(r->g, RAH(7), 0x80000909);
	for (size_t i = 0; i < array_size(t); i++) {
		assert_true(passes(r, t[i].dst));
		assert_int_equal(got.status & RXD_PIF, t[i].exact ? 0 : RXD_PIF);
	}
	fr_free(r);
}

static bool control_passes(struct fr *r, const uint8_t *dst, uint16_t opcode)
{
	fg_frame(buf, 60, 1);
	memcpy(buf, dst, 6);
	fr_put16(buf + 12, 0x8808);
	fr_put16(buf + 14, opcode);
	assert_int_equal(fr_feed(r, buf, 60), 1);
	return fr_recv(r, &got, true);
}

static void test_mac_control(void **state)
{
	static const uint8_t own[6] = { 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc },
			     group[6] = { 1, 0x80, 0xc2, 0, 0, 1 };
	struct fr *r = fr_new("");

	assert_true(control_passes(r, own, 1));
	assert_false(control_passes(r, group, 2));
	fp_wr(r->g, O_RCTL, FR_DEFAULT_RCTL | RCTL_DPF);
	assert_false(control_passes(r, own, 1));
	assert_true(control_passes(r, own, 2));
	assert_int_equal(feed(r, 60, 2), 1);
	assert_got(r, 60, 2);
	fp_wr(r->g, O_RCTL, FR_DEFAULT_RCTL | RCTL_PMCF);
	assert_true(control_passes(r, group, 2));
	assert_false(control_passes(r, group, 1));
	fr_free(r);
}

static void test_small_frames_are_reported(void **state)
{
	struct fr *r = fr_new(",mitigation=off");

	fp_wr(r->g, O_RSRPD, 104);
	for (uint32_t len = 99; len < 103; len++) {
		fp_rd(r->g, O_ICR);
		assert_int_equal(feed(r, len, 1), 1);
		assert_int_equal(fp_rd(r->g, O_ICR), len <= 100 ? ICR_RXT0 | ICR_SRPD : ICR_RXT0);
	}
	fr_free(r);
}

static bool tag_passes(struct fr *r, uint16_t tci, bool in_meta)
{
	struct twx_meta meta = { 0 };

	fg_frame(buf, 100, 1);
	if (in_meta) {
		meta.flags = TWX_F_VLAN;
		meta.vlan_tci = tci;
	} else {
		fr_put16(buf + 12, 0x8100);
		fr_put16(buf + 14, tci);
	}
	assert_int_equal(fr_feed_meta(r, buf, 100, &meta), 1);
	return fr_recv(r, &got, true);
}

static void test_vlan_filter(void **state)
{
	struct fr *r = fr_new("");

	for (int vme = 0; vme < 2; vme++) {
		fp_wr(r->g, O_CTRL, vme ? fp_rd(r->g, O_CTRL) | CTRL_VME : fp_rd(r->g, O_CTRL));
		for (int in_meta = 0; in_meta < 2; in_meta++) {
			fp_wr(r->g, O_RCTL, FR_DEFAULT_RCTL);
			assert_true(tag_passes(r, 0x0123, in_meta));
			fp_wr(r->g, O_RCTL, FR_DEFAULT_RCTL | RCTL_VFE);
			fp_wr(r->g, O_VFTA + 4 * (0x123 / 32), 1u << 0x123 % 32);
			assert_true(tag_passes(r, 0x0123, in_meta));
			assert_true(tag_passes(r, 0xf123, in_meta));
			assert_false(tag_passes(r, 0x0124, in_meta));
			assert_false(tag_passes(r, 0x0fff, in_meta));
			/* The canonical format bit. */
			fp_wr(r->g, O_RCTL, FR_DEFAULT_RCTL | RCTL_VFE | RCTL_CFIEN);
			assert_true(tag_passes(r, 0x0123, in_meta));
			assert_false(tag_passes(r, 0x1123, in_meta));
			fp_wr(r->g, O_RCTL, FR_DEFAULT_RCTL | RCTL_VFE | RCTL_CFIEN | RCTL_CFI);
			assert_true(tag_passes(r, 0x1123, in_meta));
			/* Frames without a tag are not its business. */
			assert_int_equal(feed(r, 60, 1), 1);
			assert_got(r, 60, 1);
		}
	}
	fr_free(r);
}

static void test_tags(void **state)
{
	struct fr *r = fr_new("");
	uint8_t plain[300];

	/* As it is, or in the descriptor, wherever it came from. */
	for (int vme = 0; vme < 2; vme++) {
		fp_wr(r->g, O_CTRL, vme ? fp_rd(r->g, O_CTRL) | CTRL_VME : fp_rd(r->g, O_CTRL));
		assert_int_equal(r->g->nic->ports[0]->caps.flags & TWX_CAP_VLAN,
				 vme ? TWX_CAP_VLAN : 0);
		for (int in_meta = 0; in_meta < 2; in_meta++) {
			assert_true(tag_passes(r, 0x6123, in_meta));
			fg_frame(plain, 100, 1);
			if (vme) {
				assert_true(got.status & RXD_VP);
				assert_int_equal(got.special, 0x6123);
				assert_int_equal(got.len, in_meta ? 100 : 96);
				assert_memory_equal(got.data, plain, 12);
				assert_memory_equal(got.data + 12, plain + (in_meta ? 12 : 16), 84);
			} else {
				assert_false(got.status & RXD_VP);
				assert_int_equal(got.special, 0);
				assert_int_equal(got.len, in_meta ? 104 : 100);
				assert_memory_equal(got.data + 12, "\x81\0\x61\x23", 4);
				assert_memory_equal(got.data + 16, plain + (in_meta ? 12 : 16), 84);
			}
		}
	}
	/* Another type than VET's stays; so does 802.1Q when VET says something else. */
	fp_wr(r->g, O_VET, 0x9100);
	assert_true(tag_passes(r, 0x6123, false));
	assert_int_equal(got.len, 100);
	assert_true(tag_passes(r, 0x6123, true));
	assert_int_equal(got.len, 104);
	fg_frame(buf, 100, 1);
	memcpy(buf + 12, "\x91\0\0\x07", 4);
	assert_int_equal(fr_feed(r, buf, 100), 1);
	assert_true(fr_recv(r, &got, true));
	assert_int_equal(got.special, 7);
	assert_int_equal(got.len, 96);
	/* 60 bytes without it. */
	memcpy(buf + 12, "\x91\0\0\x07", 4);
	assert_int_equal(fr_feed(r, buf, 62), 1);
	assert_true(fr_recv(r, &got, true));
	assert_int_equal(got.len, 60);
	assert_memory_equal(got.data + 58, "\0\0", 2);
	fr_free(r);
}

/* Tags, several iovecs and small buffers at once. */
static void test_tags_in_pieces(void **state)
{
	struct fr *r = fr_new("");
	uint8_t whole[1514];

	fp_wr(r->g, O_CTRL, fp_rd(r->g, O_CTRL) | CTRL_VME);
	fr_rx_setup(r, 64, FR_DEFAULT_RCTL | 3u << RCTL_BSIZE_SHIFT);
	fg_frame(whole, sizeof(whole), 1);
	fr_put16(whole + 12, 0x8100);
	for (uint32_t first = TWX_HDR_ROOM; first < 900; first += 61) {
		struct iovec iov[2] = { { whole, first },
					{ whole + first, sizeof(whole) - first } };
		struct twx_frame f = { .iov = iov, .n_iov = 2, .len = sizeof(whole) };

		assert_int_equal(twx_port_send(r->g->wire->port, &f, 1), 1);
		assert_true(fr_recv(r, &got, true));
		assert_int_equal(got.len, sizeof(whole) - 4);
		assert_memory_equal(got.data, whole, 12);
		assert_memory_equal(got.data + 12, whole + 16, sizeof(whole) - 16);
	}
	fr_free(r);
}

static void test_statistics(void **state)
{
	struct fr *r = fr_new("");
	static const uint8_t broad[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	assert_int_equal(feed(r, 60, 1), 1);
	assert_int_equal(feed(r, 1514, 1), 1);
	assert_true(passes(r, broad));
	assert_int_equal(fp_rd(r->g, O_GPRC), 3);
	assert_int_equal(fp_rd(r->g, O_BPRC), 1);
	assert_int_equal(fp_rd(r->g, O_PRC64), 2);
	assert_int_equal(fp_rd(r->g, O_PRC1522), 1);
	assert_int_equal(fp_rd(r->g, O_GORCL), 64 + 1518 + 64);
	fr_free(r);
}

static void test_across_regions(void **state)
{
	struct fr *r = fr_new("");

	for (uint32_t before = 1; before < 1514; before += 33) {
		fr_rx_setup(r, 16, FR_DEFAULT_RCTL);
		fr_rx_desc(r, 0, FP_BORDER - before);
		assert_int_equal(feed(r, 1514, (uint8_t)before), 1);
		assert_got(r, 1514, (uint8_t)before);
	}
	/* The ring itself. */
	r->rx = FP_BORDER - 64;
	fr_rx_setup(r, 16, FR_DEFAULT_RCTL);
	for (uint8_t i = 0; i < 40; i++) {
		assert_int_equal(feed(r, 500, i), 1);
		assert_got(r, 500, i);
	}
	fr_free(r);
}

static void test_unmapped_buffers(void **state)
{
	struct fr *r = fr_new("");

	fr_rx_desc(r, 0, 0x1000);
	fr_rx_desc(r, 1, FP_BASE + FP_RAM - 10);
	fr_rx_desc(r, 2, UINT64_MAX - 10);
	for (uint8_t i = 0; i < 4; i++)
		assert_int_equal(feed(r, 100, i), 1);
	assert_int_equal(fp_rd(r->g, O_RDH), 4);
	assert_int_equal(drops(r, TWX_DROP_BAD_CHAIN), 3);
	for (uint32_t i = 0; i < 4; i++)
		assert_true(fr_rxd(r, i).status & RXD_DD);
	r->rx_next = 3;
	assert_got(r, 100, 3);
	fr_free(r);
}

/* A VMM takes memory away for a moment: the ring goes on where it stood. */
static void test_ring_away(void **state)
{
	struct fr *r = fr_new("");
	struct fp *g = r->g;

	assert_int_equal(feed(r, 100, 1), 1);
	assert_got(r, 100, 1);
	pci_mem_changing(g->pci);
	mem_remove(g->mem, FP_BASE, FP_RAM / 2, 0);
	mem_remove(g->mem, FP_BORDER, FP_RAM / 2, 0);
	pci_mem_changed(g->pci);
	assert_int_equal(feed(r, 100, 2), 0);
	assert_int_equal(fp_rd(g, O_RDH), 1);
	pci_mem_changing(g->pci);
	fp_map(g);
	pci_mem_changed(g->pci);
	fp_run(g);
	assert_int_equal(g->wire->n_resumed, 1);
	assert_int_equal(feed(r, 100, 2), 1);
	assert_got(r, 100, 2);
	fr_free(r);
}

static void test_dirty_pages(void **state)
{
	struct fr *r = fr_new("");
	uint8_t *log = calloc(1, 1u << 16);
	uint64_t buffer = (r->rx_bufs & ~0xfffull) + 0x1000, ring;

	r->rx = (FP_BASE + (7u << 20)) & ~0xfffull;
	fr_rx_setup(r, 16, FR_DEFAULT_RCTL);
	ring = r->rx;
	fr_rx_desc(r, 0, buffer);
	r->g->mem->log = log;
	r->g->mem->log_size = 1u << 16;
	/* The log is by page, from address 0 on; only its first pages exist here. */
	assert_int_equal(feed(r, 60, 1), 1);
	assert_true(log[(buffer >> 12) / 8] & 1u << (buffer >> 12) % 8);
	assert_true(log[(ring >> 12) / 8] & 1u << (ring >> 12) % 8);
	assert_false(log[((buffer >> 12) + 1) / 8] & 1u << ((buffer >> 12) + 1) % 8);
	r->g->mem->log = NULL;
	free(log);
	fr_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_buffer_sizes),
		cmocka_unit_test(test_fcs),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_one_interrupt_for_a_burst),
		cmocka_unit_test(test_iovecs),
		cmocka_unit_test(test_descriptors_without_buffers),
		cmocka_unit_test(test_back_pressure),
		cmocka_unit_test(test_a_late_tail_is_asked_for),
		cmocka_unit_test(test_nothing_is_late),
		cmocka_unit_test(test_a_long_frame_waits_for_its_buffers),
		cmocka_unit_test(test_low_on_descriptors),
		cmocka_unit_test(test_when_nothing_is_received),
		cmocka_unit_test(test_nobody_waits_for_ever),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_exact_addresses),
		cmocka_unit_test(test_multicast_hash),
		cmocka_unit_test(test_inexact),
		cmocka_unit_test(test_mac_control),
		cmocka_unit_test(test_small_frames_are_reported),
		cmocka_unit_test(test_vlan_filter),
		cmocka_unit_test(test_tags),
		cmocka_unit_test(test_tags_in_pieces),
		cmocka_unit_test(test_statistics),
		cmocka_unit_test(test_across_regions),
		cmocka_unit_test(test_unmapped_buffers),
		cmocka_unit_test(test_ring_away),
		cmocka_unit_test(test_dirty_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
