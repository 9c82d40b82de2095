/* SPDX-License-Identifier: BSD-3-Clause */
/* e1000, guest to host: descriptors to frames, back-pressure, what the guest sees of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macros.h"
#include "fake_e1000_rings.h"

static uint8_t buf[1u << 20];

static uint64_t drops(struct fr *r, enum twx_drop cause)
{
	return r->g->nic->ports[0]->count.drops[cause];
}

/* Frame @i of the wire is fg_frame(len, seed), the rest of it zeros up to @padded. */
static void assert_frame(struct fr *r, unsigned int i, uint32_t len, uint8_t seed, uint32_t padded)
{
	const struct fg_frame *f = &r->g->wire->frames[i];

	assert_true(i < r->g->wire->n_frames);
	fg_frame(buf, len, seed);
	memset(buf + len, 0, padded - len);
	assert_int_equal(f->len, padded);
	assert_memory_equal(f->data, buf, padded);
}

static uint32_t send_one(struct fr *r, uint32_t len, uint8_t seed)
{
	fg_frame(buf, len, seed);
	return fr_legacy(r, buf, len, FR_EOP);
}

static void test_lengths(void **state)
{
	static const uint32_t lens[] = { 60,  61,  63,	64,   65,   127,  128,	129,   191,  192,
					 193, 256, 257, 1514, 1518, 4096, 9018, 16288, 65535 };
	struct fr *r = fr_new("");

	for (size_t i = 0; i < array_size(lens); i++) {
		uint32_t at = send_one(r, lens[i], (uint8_t)i);

		assert_false(fr_tx_done(r, at));
		fr_kick(r); /* is enough */
		assert_true(fr_tx_done(r, at));
		assert_frame(r, (unsigned int)i, lens[i], (uint8_t)i, lens[i]);
		assert_int_equal(fp_rd(r->g, O_TDH), r->tail);
	}
	fr_free(r);
}

static void test_one_interrupt_for_a_doorbell(void **state)
{
	struct fr *r = fr_new(",mitigation=off");

	fp_rd(r->g, O_ICR);
	r->g->n_edges = 0;
	for (uint8_t i = 0; i < 200; i++)
		send_one(r, 60 + i, i);
	fr_send(r);
	assert_int_equal(r->g->n_edges, 1);
	assert_int_equal(fp_rd(r->g, O_ICR), ICR_TXDW | ICR_TXQE);
	assert_int_equal(r->g->wire->n_frames, 200);
	assert_true(r->g->wire->n_bursts <= 5);
	for (uint8_t i = 0; i < 200; i++)
		assert_frame(r, i, 60u + i, i, 60u + i);
	/* Nothing new: nothing happens. */
	fr_send(r);
	assert_int_equal(fp_rd(r->g, O_ICR), 0);
	fr_free(r);
}

static void test_done_only_when_asked(void **state)
{
	struct fr *r = fr_new("");
	union e1000_txd t;
	uint32_t i;

	fg_frame(buf, 100, 1);
	i = fr_legacy(r, buf, 50, 0);
	fr_legacy(r, buf + 50, 50, TXD_EOP);
	fr_send(r);
	assert_int_equal(r->g->wire->n_frames, 1);
	assert_false(fr_tx_done(r, i));
	assert_false(fr_tx_done(r, i + 1));
	assert_int_equal(fp_rd(r->g, O_ICR), ICR_TXQE);
	/* RPS counts as RS; errors of before are cleared, nothing else is touched. */
	t = (union e1000_txd){ .legacy = { .addr = le64_make(fr_buffer(r, buf, 100)),
					   .len = le16_make(100),
					   .cmd = TXD_EOP | TXD_RPS,
					   .css = 0x77,
					   .status = 0xfe,
					   .special = le16_make(0x1234) } };
	i = fr_desc(r, &t);
	fr_send(r);
	assert_int_equal(fp_rd(r->g, O_ICR), ICR_TXQE | ICR_TXDW);
	t.legacy.status = 0xf1;
	assert_memory_equal(&t, &(union e1000_txd){ fr_txd(r, i).legacy }, sizeof(t));
	fr_free(r);
}

static void test_low_on_work(void **state)
{
	struct fr *r = fr_new(",mitigation=off");

	fp_wr(r->g, O_TXDCTL, 2u << 25); /* below 16 descriptors */
	r->g->wire->room = 0;
	for (uint8_t i = 0; i < 20; i++)
		send_one(r, 60, i);
	fr_send(r);
	fp_rd(r->g, O_ICR);
	for (unsigned int left = 19; left > 0; left--) {
		r->g->wire->room = 1;
		twx_port_ready(r->g->wire->port);
		fp_run(r->g);
		assert_int_equal(fp_rd(r->g, O_ICR) & ICR_TXD_LOW, left == 15 ? ICR_TXD_LOW : 0);
	}
	fr_free(r);
}

/* A frame in pieces of all sizes; more of them than one frame may point to, some of them empty. */
static void test_pieces(void **state)
{
	static const unsigned int n_pieces[] = { 2, 3, 5, 17, 63, 64, 65, 66, 100, 126, 127, 200 };
	struct fr *r = fr_new("");

	for (size_t k = 0; k < array_size(n_pieces); k++) {
		uint32_t len = 300 + n_pieces[k] * 11, n = n_pieces[k], off = 0;

		fg_frame(buf, len, (uint8_t)k);
		for (uint32_t i = 0; i < n; i++) {
			uint32_t here = i + 1 < n ? (i % 7 ? i % 13 : 0) : len - off;

			fr_legacy(r, buf + off, here, i + 1 < n ? 0 : FR_EOP);
			off += here;
		}
		fr_send(r);
		assert_frame(r, (unsigned int)k, len, (uint8_t)k, len);
		send_one(r, 77, 200);
		fr_send(r);
		assert_frame(r, (unsigned int)k + 1, 77, 200, 77);
		free(r->g->wire->frames[--r->g->wire->n_frames].data);
	}
	fr_free(r);
}

static void test_extended_descriptors_of_all_lengths(void **state)
{
	struct fr *r = fr_new("");

	fg_frame(buf, 70000, 3);
	fr_data(r, buf, 70000, FR_EOP, 0); /* 20 bits of length; the packet buffer holds 64 KiB */
	fr_send(r);
	assert_int_equal(r->g->wire->frames[0].len, 65536);
	assert_memory_equal(r->g->wire->frames[0].data, buf, 65536);
	for (uint32_t i = 0; i < 40; i++)
		fr_legacy(r, buf, 4096, i < 39 ? 0 : FR_EOP);
	send_one(r, 60, 4);
	fr_send(r);
	assert_int_equal(r->g->wire->n_frames, 3);
	assert_int_equal(r->g->wire->frames[1].len, 65536);
	assert_frame(r, 2, 60, 4, 60);
	fr_free(r);
}

static void test_reserved_types_are_passed_over(void **state)
{
	struct fr *r = fr_new("");

	for (uint32_t type = 2; type < 16; type++) {
		union e1000_txd t = { .data = { .addr = le64_make(FP_BASE),
						.cmd = le32_make(64 | type << 20 |
								 (uint32_t)(TXD_DEXT | FR_EOP)
									 << 24) } };
		fr_desc(r, &t);
	}
	send_one(r, 60, 1);
	fr_send(r);
	assert_int_equal(r->g->wire->n_frames, 1);
	assert_int_equal(fp_rd(r->g, O_TDH), 15);
	assert_true(fr_tx_done(r, 0));
	fr_free(r);
}

static void test_padding(void **state)
{
	struct fr *r = fr_new("");

	send_one(r, 14, 1);
	send_one(r, 59, 2);
	send_one(r, 13, 3);
	send_one(r, 0, 3);
	fr_send(r);
	assert_frame(r, 0, 14, 1, 60);
	assert_frame(r, 1, 59, 2, 60);
	assert_int_equal(r->g->wire->n_frames, 2);
	assert_int_equal(drops(r, TWX_DROP_TOO_SHORT), 2);
	fp_wr(r->g, O_TCTL, TCTL_EN);
	send_one(r, 42, 4);
	fr_send(r);
	assert_frame(r, 2, 42, 4, 42);
	fr_free(r);
}

static void test_tags(void **state)
{
	struct fr *r = fr_new("");
	union e1000_txd t;
	const struct fg_frame *f = r->g->wire->frames;

	fg_frame(buf, 100, 1);
	t = (union e1000_txd){ .legacy = { .addr = le64_make(fr_buffer(r, buf, 100)),
					   .len = le16_make(100),
					   .cmd = FR_EOP | TXD_VLE,
					   .special = le16_make(0x6123) } };
	fr_desc(r, &t); /* without CTRL.VME: as it is */
	fr_send(r);
	fp_wr(r->g, O_CTRL, fp_rd(r->g, O_CTRL) | CTRL_VME);
	fr_desc(r, &t);
	fr_send(r);
	fp_wr(r->g, O_VET, 0x9100);
	fr_desc(r, &t);
	fr_send(r);
	fp_wr(r->g, O_VET, 0x8100);
	twx_port_set_caps(r->g->wire->port, (struct twx_caps){ .flags = TWX_CAP_VLAN });
	fr_desc(r, &t);
	fr_send(r);
	assert_frame(r, 0, 100, 1, 100);
	for (int i = 1; i < 3; i++) {
		fg_frame(buf, 100, 1);
		assert_int_equal(f[i].len, 104);
		assert_memory_equal(f[i].data, buf, 12);
		assert_memory_equal(f[i].data + 12, i == 1 ? "\x81\0\x61\x23" : "\x91\0\x61\x23",
				    4);
		assert_memory_equal(f[i].data + 16, buf + 12, 88);
	}
	assert_frame(r, 3, 100, 1, 100);
	assert_true(f[3].meta.flags & TWX_F_VLAN);
	assert_int_equal(f[3].meta.vlan_tci, 0x6123);
	fr_free(r);
}

static void test_retention(void **state)
{
	struct fr *r = fr_new(",mitigation=off");

	r->g->wire->room = 3;
	for (uint8_t i = 0; i < 100; i++)
		send_one(r, 300, i);
	fr_send(r);
	assert_int_equal(r->g->wire->n_frames, 3);
	assert_int_equal(fp_rd(r->g, O_TDH), 3);
	assert_false(fr_tx_done(r, 3));
	assert_int_equal(fp_rd(r->g, O_ICR), ICR_TXDW);
	/* Another doorbell changes nothing, and nobody polls. */
	fr_kick(r);
	assert_int_equal(r->g->wire->n_frames, 3);
	fe_freeze(r->g); /* so that its patience lasts, however slow the machine is */
	assert_int_equal(twx_loop_poll(r->g->loop, 0), 0);
	fe_thaw(r->g);
	r->g->wire->room = 2;
	twx_port_ready(r->g->wire->port);
	fp_run(r->g);
	assert_int_equal(r->g->wire->n_frames, 5);
	assert_int_equal(fp_rd(r->g, O_TDH), 5);
	r->g->wire->room = ~0u;
	twx_port_ready(r->g->wire->port);
	fp_run(r->g);
	assert_int_equal(r->g->wire->n_frames, 100);
	for (uint8_t i = 0; i < 100; i++)
		assert_frame(r, i, 300, i, 300);
	assert_int_equal(fp_rd(r->g, O_ICR), ICR_TXDW | ICR_TXQE);
	fr_free(r);
}

/* A card that nobody drives, or whose transmitter is off, costs nothing. */
static void test_idle(void **state)
{
	struct fr *r = fr_new("");

	assert_int_equal(twx_loop_poll(r->g->loop, 0), 0);
	fp_wr(r->g, O_TCTL, 0);
	send_one(r, 300, 1);
	fr_kick(r);
	fp_cfg_wr(r->g, PCI_COMMAND, 2, FP_COMMAND & ~PCI_COMMAND_MASTER);
	fp_wr(r->g, O_TCTL, TCTL_EN);
	fp_run(r->g);
	assert_int_equal(twx_loop_poll(r->g->loop, 0), 0);
	assert_int_equal(r->g->wire->n_frames, 0);
	fp_wr(r->g, O_CTRL, CTRL_RST);
	pci_reset(r->g->pci);
	fp_enable(r->g);
	fp_remap(r->g);
	fp_run(r->g);
	assert_int_equal(twx_loop_poll(r->g->loop, 0), 0);
	fr_free(r);
}

/* No driver waits for ever: what is not taken in time goes the way of other senders' frames. */
static void test_patience(void **state)
{
	struct fr *r = fr_new(",mitigation=off");
	struct fg_wire *w = r->g->wire;

	w->room = 1;
	for (uint8_t i = 0; i < 5; i++)
		send_one(r, 300, i);
	fr_send(r);
	assert_int_equal(fp_rd(r->g, O_TDH), 1);
	fe_pass(r->g, E1000_TX_PATIENCE_MS * 1000000ull);
	assert_int_equal(fp_rd(r->g, O_TDH), 5);
	assert_true(fr_tx_done(r, 4));
	assert_int_equal(w->n_frames, 1);
	/* From then on at once, until it takes frames again. */
	send_one(r, 300, 5);
	fr_send(r);
	assert_int_equal(fp_rd(r->g, O_TDH), 6);
	assert_int_equal(w->n_frames, 1);
	w->room = ~0u;
	twx_port_ready(w->port);
	fp_run(r->g);
	assert_int_equal(w->n_frames, 6);
	for (uint8_t i = 0; i < 6; i++)
		assert_frame(r, i, 300, i, 300);
	w->room = 0;
	send_one(r, 300, 6);
	fr_kick(r);
	assert_int_equal(fp_rd(r->g, O_TDH), 6);
	/* And a reset does not wait for anything. */
	fp_wr(r->g, O_CTRL, CTRL_RST);
	assert_int_equal(fe_dev(r->g)->tx.patience.slot, 0);
	w->room = ~0u;
	fe_pass(r->g, 1000000000);
	assert_int_equal(w->n_frames, 6);
	fr_free(r);
}

static void test_retained_frames_survive_a_new_memory_map(void **state)
{
	struct fr *r = fr_new("");

	r->g->wire->room = 1;
	for (uint8_t i = 0; i < 5; i++)
		send_one(r, 1000, i);
	fr_send(r);
	fp_remap(r->g);
	r->g->wire->room = ~0u;
	twx_port_ready(r->g->wire->port);
	fp_run(r->g);
	assert_int_equal(r->g->wire->n_frames, 5);
	for (uint8_t i = 0; i < 5; i++)
		assert_frame(r, i, 1000, i, 1000);
	fr_free(r);
}

/* The chip takes descriptors when it sees them, whether their frame is whole or not. */
static void test_half_a_frame(void **state)
{
	static const uint32_t cuts[] = { 1, 20, 60, 192, 193, 300, 1499 };

	for (size_t k = 0; k < array_size(cuts); k++) {
		struct fr *r = fr_new("");
		uint32_t i;

		send_one(r, 80, 9);
		fg_frame(buf, 1500, 5);
		i = fr_legacy(r, buf, cuts[k], TXD_RS);
		fr_send(r);
		assert_int_equal(fp_rd(r->g, O_TDH), i + 1);
		assert_true(fr_tx_done(r, i));
		assert_int_equal(r->g->wire->n_frames, 1);
		/* The buffer is the driver's again. */
		memset(fp_ptr(r->g, FP_BORDER - (1u << 20)), 0xee, 1000);
		fp_remap(r->g);
		fr_legacy(r, buf + cuts[k], 1500 - cuts[k], FR_EOP);
		r->g->wire->room = 0;
		fr_send(r);
		assert_int_equal(fp_rd(r->g, O_TDH), i + 1);
		r->g->wire->room = ~0u;
		twx_port_ready(r->g->wire->port);
		fp_run(r->g);
		assert_int_equal(r->g->wire->n_frames, 2);
		assert_frame(r, 1, 1500, 5, 1500);
		send_one(r, 90, 7);
		fr_send(r);
		assert_frame(r, 2, 90, 7, 90);
		fr_free(r);
	}
}

static void test_half_a_frame_is_forgotten(void **state)
{
	for (int how = 0; how < 3; how++) {
		struct fr *r = fr_new("");

		fg_frame(buf, 1500, 5);
		fr_legacy(r, buf, 700, 0);
		fr_send(r);
		switch (how) {
		case 0:
			fp_wr(r->g, O_CTRL, fp_rd(r->g, O_CTRL) | CTRL_RST);
			break;
		case 1:
			pci_reset(r->g->pci);
			fp_enable(r->g);
			break;
		default: /* the rings are set up anew */
			break;
		}
		fr_tx_setup(r, 128);
		send_one(r, 90, 7);
		fr_send(r);
		assert_int_equal(r->g->wire->n_frames, 1);
		assert_frame(r, 0, 90, 7, 90);
		fr_free(r);
	}
}

static void test_budget(void **state)
{
	struct fr *r = fr_new("");

	fr_tx_setup(r, 4096);
	fg_frame(buf, 60, 1);
	for (unsigned int i = 0; i < 2000; i++)
		fr_legacy(r, buf, 60, FR_EOP);
	r->g->wire->keep = false;
	fr_kick(r);
	assert_true(r->g->wire->count >= E1000_TX_FRAMES);
	assert_true(r->g->wire->count < E1000_TX_FRAMES + TWX_BURST);
	fp_run(r->g);
	assert_int_equal(r->g->wire->count, 2000);
	assert_int_equal(fp_rd(r->g, O_TDH), 2000);
	/* Empty descriptors are work as well. */
	for (unsigned int i = 0; i < 4000; i++)
		fr_legacy(r, buf, 0, FR_EOP);
	fr_kick(r);
	fp_run(r->g);
	assert_int_equal(fp_rd(r->g, O_TDH), r->tail);
	fr_free(r);
}

static void test_rings_of_all_sizes(void **state)
{
	static const uint32_t sizes[] = { 8, 16, 128, 256, 1024, 4096 };

	for (size_t k = 0; k < array_size(sizes); k++) {
		struct fr *r = fr_new("");
		unsigned int n = 0;

		fr_tx_setup(r, sizes[k]);
		for (unsigned int i = 0; i < 40; i++) {
			for (unsigned int j = 0; j < 5; j++, n++) {
				fg_frame(buf, 700, (uint8_t)n);
				fr_legacy(r, buf, 200, 0);
				fr_legacy(r, buf + 200, 500, FR_EOP);
				if (j % 3 == 2)
					fr_send(r);
			}
			fr_send(r);
		}
		assert_int_equal(r->g->wire->n_frames, n);
		for (unsigned int i = 0; i < n; i++)
			assert_frame(r, i, 700, (uint8_t)i, 700);
		fr_free(r);
	}
}

static void test_when_nothing_is_sent(void **state)
{
	struct fr *r = fr_new("");

	fp_wr(r->g, O_TCTL, 0);
	send_one(r, 60, 1);
	fr_send(r);
	assert_int_equal(r->g->wire->n_frames, 0);
	fp_cfg_wr(r->g, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	fp_wr(r->g, O_TCTL, TCTL_EN);
	fp_run(r->g);
	assert_int_equal(r->g->wire->n_frames, 0);
	fp_cfg_wr(r->g, PCI_COMMAND, 2, FP_COMMAND);
	fp_run(r->g);
	assert_int_equal(r->g->wire->n_frames, 1);
	/* The machine stands still. */
	pci_run(r->g->pci, false);
	send_one(r, 60, 2);
	fr_send(r);
	assert_int_equal(r->g->wire->n_frames, 1);
	pci_run(r->g->pci, true);
	fp_run(r->g);
	assert_int_equal(r->g->wire->n_frames, 2);
	fr_free(r);
}

static void scribble(struct fg_wire *w, const struct twx_frame *f)
{
	struct fr *r = w->hook_data;

	memset(r->g->ram, 0xee, FP_RAM);
	assert_true((uint8_t *)f->iov[0].iov_base < r->g->ram ||
		    (uint8_t *)f->iov[0].iov_base >= r->g->ram + FP_RAM);
}

static void test_headers_are_private(void **state)
{
	struct fr *r = fr_new("");

	r->g->wire->hook = scribble;
	r->g->wire->hook_data = r;
	fg_frame(buf, 1514, 1);
	fr_legacy(r, buf, 30, 0);
	fr_legacy(r, buf + 30, 1484, FR_EOP);
	fr_kick(r);
	assert_memory_equal(r->g->wire->frames[0].data, buf, TWX_HDR_ROOM);
	assert_int_equal(r->g->wire->frames[0].data[TWX_HDR_ROOM], 0xee);
	fr_free(r);
}

static void test_statistics(void **state)
{
	struct fr *r = fr_new("");

	send_one(r, 60, 1);
	send_one(r, 1514, 1);
	fg_frame(buf, 300, 1);
	memset(buf, 0xff, 6);
	fr_legacy(r, buf, 300, FR_EOP);
	r->g->wire->room = 2;
	fr_send(r);
	assert_int_equal(fp_rd(r->g, O_GPTC), 2);
	r->g->wire->room = 1;
	twx_port_ready(r->g->wire->port);
	fp_run(r->g);
	assert_int_equal(fp_rd(r->g, O_GPTC), 1);
	assert_int_equal(fp_rd(r->g, O_BPTC), 1);
	assert_int_equal(fp_rd(r->g, O_PTC64), 1);
	assert_int_equal(fp_rd(r->g, O_PTC1522), 1);
	assert_int_equal(fp_rd(r->g, O_GOTCL), 64 + 1518 + 304);
	fr_free(r);
}

static void test_loopback(void **state)
{
	struct fr_frame f;

	for (int how = 0; how < 2; how++) {
		struct fr *r = fr_new("");

		if (how)
			fp_wr(r->g, O_RCTL, fp_rd(r->g, O_RCTL) | RCTL_LBM);
		else
			fe_phy_set(r->g, 0, 0x4140);
		for (uint8_t i = 0; i < 10; i++)
			send_one(r, 40u + i * 150u, i);
		fr_send(r);
		assert_int_equal(r->g->wire->count, 0);
		for (uint8_t i = 0; i < 10; i++) {
			uint32_t len = 40u + i * 150u;

			assert_true(fr_recv(r, &f, true));
			fg_frame(buf, len, i);
			assert_int_equal(f.len, max(len, 60u));
			assert_memory_equal(f.data, buf, len);
		}
		assert_false(fr_recv(r, &f, true));
		/* What does not fit is gone, nothing waits. */
		for (unsigned int i = 0; i < 2; i++) {
			for (unsigned int k = 0; k < 200; k++)
				send_one(r, 100, 1);
			fr_send(r);
		}
		assert_int_equal(fp_rd(r->g, O_TDH), r->tail);
		assert_int_equal(fp_rd(r->g, O_MPC), 400 - 255);
		assert_true(fp_rd(r->g, O_ICR) & ICR_RXO);
		if (!how) {
			/* The cable is not heard meanwhile. */
			fg_frame(buf, 60, 1);
			assert_int_equal(fr_feed(r, buf, 60), 1);
			fe_phy_set(r->g, 0, 0x1140);
		} else {
			fp_wr(r->g, O_RCTL, fp_rd(r->g, O_RCTL) & ~(uint32_t)RCTL_LBM);
		}
		send_one(r, 100, 1);
		fr_send(r);
		assert_int_equal(r->g->wire->count, 1);
		fr_free(r);
	}
}

static void test_link_down(void **state)
{
	struct fr *r = fr_new("");
	uint32_t i;

	twx_port_set_link(r->g->nic->ports[0], false);
	i = send_one(r, 60, 1);
	fr_send(r);
	assert_int_equal(r->g->wire->n_frames, 0);
	assert_true(fr_tx_done(r, i));
	assert_int_equal(drops(r, TWX_DROP_LINK_DOWN), 1);
	fr_free(r);
}

static void test_unmapped(void **state)
{
	struct fr *r = fr_new("");

	fr_legacy_at(r, 0x1000, 100, FR_EOP);
	fr_legacy_at(r, FP_BASE + FP_RAM - 50, 100, FR_EOP);
	fr_legacy_at(r, FP_BASE + FP_RAM - 1000, 2000, FR_EOP);
	fr_legacy_at(r, UINT64_MAX - 10, 100, FR_EOP);
	send_one(r, 60, 3);
	fr_legacy_at(r, 0x1000, 100, 0);
	send_one(r, 60, 3);
	send_one(r, 60, 4);
	fr_send(r);
	assert_int_equal(drops(r, TWX_DROP_BAD_CHAIN), 5);
	assert_int_equal(r->g->wire->n_frames, 2);
	assert_frame(r, 0, 60, 3, 60);
	assert_frame(r, 1, 60, 4, 60);
	assert_int_equal(fp_rd(r->g, O_TDH), r->tail);
	/* A ring in the void: nothing to do, until there is another one. */
	fp_wr(r->g, O_TDBAL, 0x1000);
	fp_wr(r->g, O_TDBAH, 0);
	fp_wr(r->g, O_TDT, r->tail + 1);
	fp_run(r->g);
	fr_tx_setup(r, 256);
	send_one(r, 60, 5);
	fr_send(r);
	assert_frame(r, 2, 60, 5, 60);
	fr_free(r);
}

/* Memory that is not mapped here is reached by messages of the host's. */
static int by_message(struct pci_dev *pci, uint64_t addr, void *data, uint32_t len, bool write)
{
	struct fp *g = pci->host;

	if (addr < 0x10000 || addr + len > 0x20000)
		return -EFAULT;
	if (write)
		fp_write(g, FP_BASE + 0x100000 + (addr - 0x10000), data, len);
	else
		fp_read(g, FP_BASE + 0x100000 + (addr - 0x10000), data, len);
	return 0;
}

static void test_memory_by_message(void **state)
{
	struct fr *r = fr_new("");
	struct pci_host_ops ops = fp_host_ops;
	struct fp *g = r->g;

	ops.dma = by_message;
	g->pci->host_ops = &ops;
	/* Ring and buffers. */
	r->tx = 0x10000;
	fr_tx_setup(r, 16);
	for (uint8_t i = 0; i < 6; i++) {
		union e1000_txd t = { .legacy = { .addr = le64_make(0x18000 + i * 2048u),
						  .len = le16_make((uint16_t)(60 + i * 250)),
						  .cmd = FR_EOP } };

		fg_frame(buf, 2048, i);
		fp_write(g, FP_BASE + 0x108000 + i * 2048u, buf, 2048);
		fp_write(g, FP_BASE + 0x100000 + 16u * i, &t, sizeof(t));
	}
	r->tail = 6;
	fr_send(r);
	for (uint8_t i = 0; i < 6; i++) {
		struct e1000_rxd d;

		assert_frame(r, i, 60u + i * 250u, i, 60u + i * 250u);
		fp_read(g, FP_BASE + 0x100000 + 16u * i, &d, sizeof(d));
		assert_true(d.status & TXD_DD);
	}
	g->pci->host_ops = &fp_host_ops;
	fr_free(r);
}

/* The state with half a frame in it, on another device. */
static void test_state(void **state)
{
	struct fr *a = fr_new(""), *b = fr_new("");
	struct twx_error e = { 0 };
	uint8_t *saved;
	size_t len;

	fg_frame(buf, 5000, 5);
	fr_legacy(a, buf, 3000, 0);
	fr_send(a);
	pci_run(a->g->pci, false);
	assert_int_equal(pci_save(a->g->pci, &saved, &len), 0);
	memcpy(b->g->ram, a->g->ram, FP_RAM);
	pci_run(b->g->pci, false);
	assert_int_equal(pci_load(b->g->pci, saved, len, &e), 0);
	pci_run(b->g->pci, true);
	fp_run(b->g);
	b->tail = a->tail;
	fr_legacy(b, buf + 3000, 2000, FR_EOP);
	fr_send(b);
	assert_frame(b, 0, 5000, 5, 5000);
	free(saved);
	fr_free(a);
	fr_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_one_interrupt_for_a_doorbell),
		cmocka_unit_test(test_done_only_when_asked),
		cmocka_unit_test(test_low_on_work),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_extended_descriptors_of_all_lengths),
		cmocka_unit_test(test_reserved_types_are_passed_over),
		cmocka_unit_test(test_padding),
		cmocka_unit_test(test_tags),
		cmocka_unit_test(test_retention),
		cmocka_unit_test(test_patience),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_retained_frames_survive_a_new_memory_map),
		cmocka_unit_test(test_half_a_frame),
		cmocka_unit_test(test_half_a_frame_is_forgotten),
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_rings_of_all_sizes),
		cmocka_unit_test(test_when_nothing_is_sent),
		cmocka_unit_test(test_headers_are_private),
		cmocka_unit_test(test_statistics),
		cmocka_unit_test(test_loopback),
		cmocka_unit_test(test_link_down),
		cmocka_unit_test(test_unmapped),
		cmocka_unit_test(test_memory_by_message),
		cmocka_unit_test(test_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
