/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What has broken the frame paths of other e1000 models: each trigger against ours. Afterwards the
 * loop is idle, the peer has seen no more than it should, and after a reset the device works.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../device/fake_e1000_packets.h"

#define OWN_TDT (FP_MMIO + O_TDT)

static uint8_t buf[1u << 20];
static struct fr_frame got;

/* Both ways, on rings set up anew. */
static void assert_works(struct fr *r)
{
	struct fg_wire *w = r->g->wire;
	unsigned int n;

	pci_reset(r->g->pci);
	fp_enable(r->g);
	r->tx = FP_BASE + 0x10000;
	r->rx = FP_BASE + 0x20000;
	fr_tx_setup(r, 256);
	fr_rx_setup(r, 256, FR_DEFAULT_RCTL);
	fg_wire_clear(w);
	w->room = ~0u;
	twx_port_ready(w->port);
	fp_run(r->g);
	n = w->n_frames;
	fg_frame(buf, 1000, 1);
	fr_legacy(r, buf, 1000, FR_EOP);
	fr_send(r);
	assert_int_equal(w->n_frames, n + 1);
	assert_int_equal(w->frames[n].len, 1000);
	assert_memory_equal(w->frames[n].data, buf, 1000);
	assert_int_equal(fr_feed(r, buf, 1000), 1);
	while (fr_recv(r, &got, true) && got.len != 1000)
		;
	assert_memory_equal(got.data, buf, 1000);
}

/* The doorbell, and as many rounds as it takes; that is not many. */
static void kick_bounded(struct fr *r)
{
	int rounds = 0;

	fr_kick(r);
	while (twx_loop_poll(r->g->loop, 0) > 0)
		assert_true(++rounds < 300);
}

/* CVE-2012-0029: what is gathered is bounded by the packet buffer, not by the ring. */
static void test_endless_frame(void **state)
{
	for (int ext = 0; ext < 3; ext++) {
		struct fr *r = start();
		uint64_t at = fr_buffer(r, buf, 65535);

		for (int round = 0; round < 40; round++) {
			for (int i = 0; i < 200; i++) {
				if (ext == 2)
					fr_data_at(r, FP_BASE, 0xfffff, TXD_TSE, 3);
				else if (ext)
					fr_data_at(r, FP_BASE, 0xfffff, 0, 3);
				else
					fr_legacy_at(r, at, 65535, 0);
			}
			kick_bounded(r);
			assert_int_equal(fp_rd(r->g, O_TDH), r->tail);
		}
		assert_int_equal(r->g->wire->count, 0);
		if (ext)
			fr_data_at(r, at, 1, ext == 2 ? TXD_TSE | FR_EOP : FR_EOP, 0);
		else
			fr_legacy_at(r, at, 1, FR_EOP);
		kick_bounded(r);
		assert_int_equal(r->g->wire->count, ext < 2);
		assert_works(r);
		fr_free(r);
	}
}

/* The same by way of a header and a segment that are as long as fields can say. */
static void test_long_header_and_segment(void **state)
{
	static const uint16_t mss[] = { 0, 1, 9, 1000, 65000, 65280, 65281, 65535 };

	for (unsigned int i = 0; i < 8 * 256; i++) {
		struct fr_ctx c = { .hdr_len = (uint8_t)(i / 8),
				    .mss = mss[i % 8],
				    .paylen = 0xfffff,
				    .ipcss = 14,
				    .tucss = 34,
				    .tucmd = TUCMD_TSE | TUCMD_IP | TUCMD_TCP };
		static struct fr *r;

		if (i % 128 == 0)
			r = start();
		fr_context(r, &c);
		for (int k = 0; k < 8; k++)
			fr_data_at(r, FP_BASE + 5, 0x1ffff, k < 7 ? TXD_TSE : TXD_TSE | FR_EOP, 3);
		kick_bounded(r);
		assert_int_equal(fp_rd(r->g, O_TDH), r->tail);
		if (i % 128 == 127) {
			assert_works(r);
			fr_free(r);
		}
	}
}

/* CVE-2012-6075: frames that do not fit are not delivered, nor parts of them. */
static void test_oversized(void **state)
{
	static const uint32_t lens[] = { 1519, 1523, 2048, 4096, 16381, 16385, 65535 };

	for (size_t i = 0; i < array_size(lens) * 2; i++) {
		struct fr *r = start();
		uint32_t len = lens[i / 2], rctl = FR_DEFAULT_RCTL | (i & 1 ? RCTL_LPE : 0);

		fr_rx_setup(r, 64, rctl | 3u << RCTL_BSIZE_SHIFT);
		memset(fp_ptr(r->g, r->rx_bufs), 0xee, 64 * 256);
		fg_frame(buf, len, 1);
		assert_int_equal(fr_feed(r, buf, len), 1);
		if (!(i & 1) || len > 16380) {
			assert_int_equal(fp_rd(r->g, O_RDH), 0);
			assert_int_equal(*(uint8_t *)fp_ptr(r->g, r->rx_bufs), 0xee);
		}
		assert_works(r);
		fr_free(r);
	}
}

/* CVE-2015-6815: steps of nothing. */
static void test_tso_without_a_step(void **state)
{
	for (unsigned int mss = 0; mss < 8; mss++) {
		struct fr *r = start();
		struct fr_ctx c = { .mss = (uint16_t)mss, .tucmd = TUCMD_TSE | TUCMD_IP };

		for (unsigned int hdr = 0; hdr < 60; hdr += 54) {
			c.hdr_len = (uint8_t)hdr;
			fr_context(r, &c);
			fr_data_at(r, FP_BASE, 5000, TXD_TSE | FR_EOP, 3);
		}
		kick_bounded(r);
		assert_int_equal(r->g->wire->count, 0);
		assert_int_equal(fp_rd(r->g, O_TDH), r->tail);
		assert_works(r);
		fr_free(r);
	}
}

/* CVE-2016-1981: heads and tails where no ring is. */
static void test_head_outside_of_the_ring(void **state)
{
	static const uint32_t places[] = { 0, 1, 7, 8, 9, 100, 0x7fff, 0xffff };

	for (size_t i = 0; i < 8 * 8 * 3; i++) {
		struct fr *r = start();
		uint32_t head = places[i % 8], tail = places[i / 8 % 8], n = i / 64 * 8;

		fp_wr(r->g, O_TDLEN, n * 16);
		fp_wr(r->g, O_TDH, head);
		r->tail = tail;
		kick_bounded(r);
		assert_int_equal(r->g->wire->count, 0);
		/* Receive, with nothing but empty descriptors. */
		memset(fp_ptr(r->g, r->rx), 0, 4096);
		fp_wr(r->g, O_RDLEN, n * 16);
		fp_wr(r->g, O_RDH, head);
		fp_wr(r->g, O_RDT, tail);
		fg_frame(buf, 1514, 1);
		for (int k = 0; k < 20; k++)
			fr_feed(r, buf, 1514);
		fp_run(r->g);
		assert_true(fp_rd(r->g, O_RDH) == head || fp_rd(r->g, O_RDH) < n);
		assert_works(r);
		fr_free(r);
	}
}

/* The largest ring that there can be, full of nothing: bounded work for each doorbell. */
static void test_largest_ring(void **state)
{
	struct fr *r = start();
	struct fp *g = r->g;
	uint64_t n = 0xfff80 / 16;
	uint32_t head, before = 0;
	int rounds = 0;

	memset(g->ram, 0, FP_RAM);
	fp_wr(g, O_TDBAL, FP_BASE);
	fp_wr(g, O_TDLEN, 0xfff80);
	fp_wr(g, O_TDT, (uint32_t)n - 1);
	head = fp_rd(g, O_TDH);
	assert_true(head <= E1000_TX_DESCRIPTORS + E1000_TX_BATCH);
	while (twx_loop_poll(g->loop, 0) > 0 && ++rounds < 1000) {
		head = fp_rd(g, O_TDH);
		assert_true(head - before <= 2 * (E1000_TX_DESCRIPTORS + E1000_TX_BATCH));
		before = head;
	}
	assert_int_equal(fp_rd(g, O_TDH), n - 1);
	assert_int_equal(g->wire->count, 0);
	assert_works(r);
	fr_free(r);
}

/*
 * CVE-2020-15859, CVE-2021-3416, CVE-2023-3019: DMA reaches memory, never registers; so neither a
 * buffer nor a ring on the doorbell rings it.
 */
static void test_dma_to_own_registers(void **state)
{
	for (int loop = 0; loop < 2; loop++) {
		struct fr *r = start();

		if (loop)
			fe_phy_set(r->g, 0, 0x4140);
		for (uint32_t i = 0; i < 256; i++)
			fr_rx_desc(r, i, OWN_TDT);
		fr_legacy_at(r, OWN_TDT, 64, FR_EOP);
		fr_legacy_at(r, FP_MMIO, 4096, FR_EOP);
		fg_frame(buf, 300, 1);
		for (int i = 0; i < 20; i++)
			fr_legacy(r, buf, 300, FR_EOP);
		kick_bounded(r);
		assert_int_equal(fp_rd(r->g, O_TDT), 22);
		assert_int_equal(fp_rd(r->g, O_TDH), 22);
		assert_int_equal(r->g->wire->count, loop ? 0 : 20);
		assert_int_equal(fr_feed(r, buf, 300), 1);
		/* The rings themselves. */
		fp_wr(r->g, O_TDBAL, FP_MMIO + O_TDBAL);
		fp_wr(r->g, O_RDBAL, FP_MMIO + O_TDBAL);
		fp_wr(r->g, O_TDBAH, 0);
		fp_wr(r->g, O_RDBAH, 0);
		r->tail = 40;
		kick_bounded(r);
		for (int i = 0; i < 3; i++)
			fr_feed(r, buf, 300);
		assert_int_equal(fp_rd(r->g, O_TDT), 40);
		assert_works(r);
		fr_free(r);
	}
}

/* CVE-2021-20257: kinds of descriptors that change within a frame; lengths that the last had. */
static void test_mixed_descriptors(void **state)
{
	static const uint32_t lens[] = { 0, 1, 16, 60, 1000, 65535 };

	for (int loop = 0; loop < 2; loop++) {
		struct fr *r = start();

		if (loop)
			fe_phy_set(r->g, 0, 0x4140);
		for (size_t i = 0; i < 6 * 6 * 6; i++) {
			struct fr_ctx c = { .hdr_len = 10,
					    .mss = 10,
					    .ipcss = 14,
					    .tucss = 34,
					    .tucmd = TUCMD_TSE | TUCMD_IP | TUCMD_TCP };

			fr_context(r, &c);
			fr_legacy_at(r, FP_BASE, lens[i % 6], 0);
			fr_data_at(r, FP_BASE, lens[i / 6 % 6], TXD_TSE, 3);
			c.hdr_len = 54;
			fr_context(r, &c);
			fr_data_at(r, FP_BASE, lens[i / 36], 0, 3);
			fr_data_at(r, FP_BASE, lens[i % 6], TXD_TSE | FR_EOP, 3);
			fr_data_at(r, FP_BASE, lens[i % 6], TXD_TSE, 3);
			fr_legacy_at(r, FP_BASE, lens[i / 6 % 6], FR_EOP);
			kick_bounded(r);
			assert_int_equal(fp_rd(r->g, O_TDH), r->tail);
		}
		assert_works(r);
		fr_free(r);
	}
}

/* CVE-2019-5609: what a header length does not cover is not read, inserted into or summed. */
static void test_header_length_trusted(void **state)
{
	struct fr_packet k = { false, 6, 3000, 1, 0x10 };
	struct fr *r = start();
	uint32_t len = tso_packet(buf, &k);

	fp_wr(r->g, O_CTRL, fp_rd(r->g, O_CTRL) | CTRL_VME);
	for (unsigned int hdr = 0; hdr < 256; hdr++) {
		for (int vet = 0; vet < 2; vet++) {
			struct fr_ctx c = tso_ctx(&k, 1000);

			c.hdr_len = (uint8_t)hdr;
			fp_wr(r->g, O_VET, vet ? 0x9100 : 0x8100);
			fr_context(r, &c);
			fr_data(r, buf, len, TXD_TSE | TXD_VLE | FR_EOP, 3);
			fr_data(r, buf, hdr, TXD_TSE | TXD_VLE | FR_EOP, 3);
			kick_bounded(r);
			assert_int_equal(fp_rd(r->g, O_TDH), r->tail);
			/* With a tag that the core does not know, nothing can be cut. */
			assert_int_equal(r->g->wire->n_frames, hdr != 54 ? 0 : vet ? 1 : 4);
			fg_wire_clear(r->g->wire);
		}
	}
	/* A frame too short for its tag. */
	fp_wr(r->g, O_TCTL, TCTL_EN);
	for (uint32_t n = 0; n < 20; n++)
		fr_legacy(r, buf, n, FR_EOP | TXD_VLE);
	kick_bounded(r);
	assert_int_equal(r->g->wire->n_frames, 6);
	assert_works(r);
	fr_free(r);
}

/* VirtualBox, 2018: an empty EOP descriptor between two contexts. */
static void test_empty_end(void **state)
{
	for (int loop = 0; loop < 2; loop++) {
		struct fr *r = start();
		struct fr_ctx c = { .mss = 0x3010, .tucmd = TUCMD_TSE };

		if (loop)
			fe_phy_set(r->g, 0, 0x4140);
		fr_context(r, &c);
		fr_data_at(r, FP_BASE, 0x10, TXD_TSE, 0);
		fr_data_at(r, FP_BASE, 0, TXD_TSE | FR_EOP, 0);
		c.mss = 0xf;
		fr_context(r, &c);
		fr_data_at(r, FP_BASE, 0x4188, TXD_TSE | FR_EOP, 0);
		kick_bounded(r);
		assert_int_equal(r->g->wire->count, 0);
		assert_int_equal(fp_rd(r->g, O_TDH), r->tail);
		assert_works(r);
		fr_free(r);
	}
}

/* A checksum request wherever it can point. */
static void test_checksum_outside(void **state)
{
	struct fr *r = start();

	for (unsigned int i = 0; i < 65536; i += 7) {
		struct fr_ctx c = { .ipcss = (uint8_t)i,
				    .ipcso = (uint8_t)(i >> 8),
				    .ipcse = (uint16_t)(i * 31),
				    .tucss = (uint8_t)(i >> 4),
				    .tucso = (uint8_t)~i,
				    .tucse = (uint16_t)(i * 17) };

		fr_context(r, &c);
		fr_data_at(r, FP_BASE, 14 + i % 300, FR_EOP, 3);
		kick_bounded(r);
		assert_int_equal(fp_rd(r->g, O_TDH), r->tail);
		fg_wire_clear(r->g->wire);
	}
	assert_works(r);
	fr_free(r);
}

/* QEMU #3869: a state that no guest can bring about is refused; one that it can is survived. */
static int load_field(struct fr *r, const struct state_field *field, uint64_t value)
{
	struct e1000 *d = fe_dev(r->g), *was = malloc(sizeof(*d));
	struct twx_error e = { 0 };
	uint8_t *saved;
	size_t len;
	int rc;

	pci_run(r->g->pci, false);
	memcpy(was, d, sizeof(*d));
	for (uint32_t i = 0; i < field->n; i++)
		memcpy((uint8_t *)d + field->off + i * field->size, &value, field->size);
	assert_int_equal(pci_save(r->g->pci, &saved, &len), 0);
	memcpy((uint8_t *)d + field->off, (uint8_t *)was + field->off,
	       (size_t)field->size * field->n);
	rc = pci_load(r->g->pci, saved, len, &e);
	assert_int_equal(rc < 0, e.what[0] != 0);
	pci_run(r->g->pci, true);
	free(saved);
	free(was);
	return rc;
}

static const struct state_field *tx_field(const char *name)
{
	const struct state_field *f = e1000_tx_fields;

	while (strcmp(f->name, name) != 0)
		f++;
	return f;
}

static void test_state_that_cannot_be(void **state)
{
	static const struct {
		const char *name;
		uint64_t value;
		bool good;
	} t[] = {
		{ "tx.open.kind", 3, true },	      { "tx.open.kind", 4, true },
		{ "tx.open.kind", 5, false },	      { "tx.open.kind", 255, false },
		{ "tx.open.len", 65549, true },	      { "tx.open.len", 65550, false },
		{ "tx.open.len", 0xffffffff, false }, { "tx.skip", 0xfffff, true },
		{ "tx.skip", 0x100000, false },
	};

	for (size_t i = 0; i < array_size(t); i++) {
		struct fr *r = start();

		assert_int_equal(load_field(r, tx_field(t[i].name), t[i].value),
				 t[i].good ? 0 : -EINVAL);
		assert_works(r);
		fr_free(r);
	}
}

static void test_loaded_state(void **state)
{
	static const uint64_t values[] = { 1,	    2,		3,	    4,	     0x7f,
					   0xff,    0x7fff,	0xffff,	    0x10000, 0x1004d,
					   0xfffff, 0x7fffffff, 0xffffffff, ~0ull };

	for (size_t i = 0; e1000_tx_fields[i].name; i++) {
		for (size_t k = 0; k < array_size(values) * 3; k++) {
			struct fr *r = start();
			struct fr_packet p = { false, 6, 100000, 1, 0x10 };
			struct fr_ctx c = tso_ctx(&p, 1448);
			uint32_t len = tso_packet(buf, &p);

			/* With nothing, with half a frame, with half a TSO frame. */
			fr_context(r, &c);
			if (k % 3)
				fr_data(r, buf, k % 3 == 1 ? 3000 : 90000, k % 3 == 1 ? 0 : TXD_TSE,
					3);
			kick_bounded(r);
			load_field(r, &e1000_tx_fields[i], values[k / 3]);
			fr_data(r, buf, len / 2, TXD_TSE, 3);
			fr_data(r, buf, len, TXD_TSE | FR_EOP, 3);
			fr_data(r, buf, 3000, FR_EOP, 3);
			kick_bounded(r);
			assert_true(r->g->wire->count < 1000);
			assert_works(r);
			fr_free(r);
		}
	}
}

static void test_loaded_rings(void **state)
{
	static const unsigned int slots[] = { R_RDH,   R_RDT, R_RDLEN, R_RDBAL, R_RDBAH,
					      R_RCTL,  R_TDH, R_TDT,   R_TDLEN, R_TDBAL,
					      R_TDBAH, R_VET, R_CTRL,  R_RXCSUM };
	static const uint32_t values[] = { 1, 0x1000, 0xffff, 0x7fffffff, 0xffffffff };

	for (size_t i = 0; i < array_size(slots) * array_size(values); i++) {
		struct fr *r = start();
		struct state_field f = { "reg",
					 (uint32_t)(offsetof(struct e1000, reg) +
						    4 * slots[i / array_size(values)]),
					 4, 1 };

		load_field(r, &f, values[i % array_size(values)]);
		fg_frame(buf, 16000, 1);
		for (int k = 0; k < 10; k++) {
			fr_feed(r, buf, 60);
			fr_feed(r, buf, 1518);
			fr_feed(r, buf, 16000);
			fr_legacy(r, buf, 1000, FR_EOP);
			kick_bounded(r);
		}
		assert_works(r);
		fr_free(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_endless_frame),
		cmocka_unit_test(test_long_header_and_segment),
		cmocka_unit_test(test_oversized),
		cmocka_unit_test(test_tso_without_a_step),
		cmocka_unit_test(test_head_outside_of_the_ring),
		cmocka_unit_test(test_largest_ring),
		cmocka_unit_test(test_dma_to_own_registers),
		cmocka_unit_test(test_mixed_descriptors),
		cmocka_unit_test(test_header_length_trusted),
		cmocka_unit_test(test_empty_end),
		cmocka_unit_test(test_checksum_outside),
		cmocka_unit_test(test_state_that_cannot_be),
		cmocka_unit_test(test_loaded_state),
		cmocka_unit_test(test_loaded_rings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
