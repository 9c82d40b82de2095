/* SPDX-License-Identifier: BSD-3-Clause */
/* e1000, guest to host: checksums and segmentation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macros.h"
#include "fake_e1000_packets.h"

static uint8_t buf[2u << 20], pkt[2u << 20];
static struct fr_frame got;

static uint64_t drops(struct fr *r, enum twx_drop cause)
{
	return r->g->nic->ports[0]->count.drops[cause];
}

/* --- transmit checksums --- */

static void test_checksums(void **state)
{
	for (size_t i = 0; i < array_size(kinds); i++) {
		for (int capable = 0; capable < 2; capable++) {
			for (uint32_t split = 0; split < 400; split += 57) {
				struct fr *r = start();
				struct fr_ctx c = csum_ctx(&kinds[i]);
				uint32_t len = fr_packet(pkt, &kinds[i]);
				uint8_t popts = TXD_TXSM | (kinds[i].v6 ? 0 : TXD_IXSM);
				const struct fg_frame *f = r->g->wire->frames;

				set_caps(r, capable ? ALL_CAPS : 0);
				memcpy(buf, pkt, len);
				fr_seed(buf, &kinds[i], len - fr_l4_off(&kinds[i]));
				if (!kinds[i].v6)
					fr_put16(buf + 24, 0);
				fr_context(r, &c);
				/* The options are the first descriptor's. */
				fr_data(r, buf, split, split ? 0 : 0, popts);
				fr_data(r, buf + split, len - split, FR_EOP, 0);
				fr_send(r);
				assert_int_equal(r->g->wire->n_frames, 1);
				assert_int_equal(f->len, len);
				if (capable) {
					assert_int_equal(f->meta.flags, TWX_F_NEEDS_CSUM);
					assert_int_equal(f->meta.csum_start, c.tucss);
					assert_int_equal(f->meta.csum_off, c.tucso - c.tucss);
					if (!kinds[i].v6)
						assert_true(fr_ip_good(f->data));
				} else {
					assert_memory_equal(f->data, pkt, len);
				}
				fr_free(r);
			}
		}
	}
}

/* One descriptor for all of it, as drivers do. */
static void test_checksums_of_plain_drivers(void **state)
{
	struct fr *r = start();
	struct fr_ctx c = csum_ctx(&kinds[0]);
	uint32_t len = fr_packet(pkt, &kinds[0]);

	memcpy(buf, pkt, len);
	fr_seed(buf, &kinds[0], len - 34);
	fr_context(r, &c);
	for (int i = 0; i < 20; i++) /* one context serves many frames */
		fr_data(r, buf, len, FR_EOP, TXD_TXSM);
	fr_data(r, buf, len, FR_EOP, 0);
	fr_send(r);
	fr_data(r, buf, len, FR_EOP, TXD_TXSM); /* and later ones */
	fr_send(r);
	assert_int_equal(r->g->wire->n_frames, 22);
	for (int i = 0; i < 22; i++)
		assert_memory_equal(r->g->wire->frames[i].data, i == 20 ? buf : pkt, len);
	fr_free(r);
}

static void test_legacy_checksum(void **state)
{
	struct fr *r = start();
	uint32_t len = fr_packet(pkt, &kinds[0]);
	union e1000_txd t;

	memcpy(buf, pkt, len);
	fr_seed(buf, &kinds[0], len - 34);
	t = (union e1000_txd){ .legacy = { .addr = le64_make(fr_buffer(r, buf, len)),
					   .len = le16_make((uint16_t)len),
					   .cmd = FR_EOP | TXD_IC,
					   .css = 34,
					   .cso = 50 } };
	fr_desc(r, &t);
	fr_send(r);
	assert_memory_equal(r->g->wire->frames[0].data, pkt, len);
	fr_free(r);
}

static void test_odd_checksum_requests(void **state)
{
	static const uint8_t starts[] = { 0, 1, 13, 14, 33, 34, 100, 191, 255 };
	static const uint8_t fields[] = { 0, 7, 24, 33, 50, 51, 190, 191, 192, 255 };
	static const uint16_t ends[] = { 0, 20, 60, 99, 192, 300, 1499, 1500, 9000 };
	static const uint32_t lens[] = { 60, 101, 250, 1500 };
	struct fr *r = start();

	for (size_t l = 0; l < array_size(lens); l++) {
		for (size_t i = 0; i < 9 * 10 * 9; i++) {
			struct fr_ctx c = { .tucss = starts[i % 9],
					    .tucso = fields[i / 9 % 10],
					    .tucse = ends[i / 90] };
			struct fg_wire *w = r->g->wire;
			uint32_t len = lens[l];

			fg_frame(pkt, len, (uint8_t)i);
			fr_context(r, &c);
			fr_data(r, pkt, len / 2, 0, TXD_TXSM);
			fr_data(r, pkt + len / 2, len - len / 2, FR_EOP, 0);
			fr_send(r);
			reference_sum(pkt, len, c.tucss, c.tucso, c.tucse ? c.tucse + 1u : 0);
			assert_int_equal(w->n_frames, 1);
			assert_int_equal(w->frames[0].len, len);
			assert_memory_equal(w->frames[0].data, pkt, len);
			fg_wire_clear(w);
		}
	}
	fr_free(r);
}

/* The peer refuses a frame that had begun before: its sums are made of what the guest wrote. */
static void test_checksums_of_half_a_frame(void **state)
{
	for (uint32_t split = 60; split < 400; split += 170) {
		for (int refused = 0; refused < 2; refused++) {
			struct fr_packet k = kinds[0];
			struct fr *r = start();
			struct fr_ctx c = csum_ctx(&k);
			uint32_t len;

			k.payload = 1000;
			len = fr_packet(pkt, &k);
			/* Not up to the end, so that it is not left to the peer. */
			c.tucse = (uint16_t)(len - 3);
			fr_put16(pkt + 24, 0);
			fr_context(r, &c);
			fr_data(r, pkt, split, 0, TXD_IXSM | TXD_TXSM);
			if (refused)
				fr_send(r);
			fr_data(r, pkt + split, len - split, FR_EOP, 0);
			r->g->wire->room = refused ? 0 : ~0u;
			fr_send(r);
			assert_int_equal(r->g->wire->n_frames, !refused);
			r->g->wire->room = ~0u;
			twx_port_ready(r->g->wire->port);
			fp_run(r->g);
			assert_int_equal(r->g->wire->n_frames, 1);
			assert_int_equal(r->g->wire->frames[0].len, len);
			assert_true(fr_ip_good(r->g->wire->frames[0].data));
			if (!refused)
				memcpy(buf, r->g->wire->frames[0].data, len);
			else
				assert_memory_equal(r->g->wire->frames[0].data, buf, len);
			fr_free(r);
		}
	}
}

/* --- segmentation --- */

static void test_tso(void **state)
{
	static const uint32_t payloads[] = { 0,	   1,	  100,	 1447,	1448, 1449,
					     2896, 30000, 64000, 65160, 65480 };
	static const uint32_t pieces[] = { 4096, 54, 1000, 65535 };

	for (size_t i = 0; i < array_size(kinds) * array_size(payloads); i++) {
		struct fr_packet k = kinds[i % array_size(kinds)];

		k.payload = payloads[i / array_size(kinds)];
		k.tcp_flags = 0x99; /* CWR, ACK, PSH, FIN */
		for (size_t p = 0; p < 2 * array_size(pieces); p++) {
			struct fr *r = start();
			struct fr_ctx c = tso_ctx(&k, 1448);
			uint32_t len = tso_packet(pkt, &k);
			bool cut = p % 2;

			fr_tx_setup(r, 4096);
			set_caps(r, cut ? 0 : ALL_CAPS);
			fr_context(r, &c);
			tso_queue(r, pkt, len, pieces[p / 2], k.v6);
			fr_send(r);
			assert_int_equal(assert_stream(r, 0, &k, pkt, 1448, cut),
					 r->g->wire->n_frames);
			if (!cut && len <= 65535 + 14)
				assert_int_equal(r->g->wire->n_frames, 1);
			fr_free(r);
		}
	}
}

/* PAYLEN has 20 bits; a packet has 16. */
static void test_tso_beyond_a_packet(void **state)
{
	static const uint32_t payloads[] = { 65481, 65482, 65536, 131000, 500000, 1048575 };

	for (size_t i = 0; i < array_size(kinds) * array_size(payloads); i++) {
		struct fr_packet k = kinds[i % array_size(kinds)];

		k.payload = payloads[i / array_size(kinds)];
		k.tcp_flags = 0x19;
		for (int how = 0; how < 8; how++) {
			struct fr *r = start();
			struct fr_ctx c = tso_ctx(&k, 1448);
			uint32_t len = tso_packet(pkt, &k);
			bool cut = how & 1;

			if (how & 2)
				c.paylen = 0; /* QEMU does not look at it either */
			set_caps(r, cut ? 0 : ALL_CAPS);
			fr_context(r, &c);
			tso_queue(r, pkt, len, how & 4 ? 1u << 16 : 0xfffff, k.v6);
			fr_send(r);
			assert_int_equal(assert_stream(r, 0, &k, pkt, 1448, cut),
					 r->g->wire->n_frames);
			fr_free(r);
		}
	}
}

static void test_tso_retained(void **state)
{
	for (unsigned int room = 1; room < 6; room++) {
		for (int cut = 0; cut < 2; cut++) {
			struct fr_packet k = kinds[0];
			struct fr *r = start();
			struct fr_ctx c;
			uint32_t len;
			unsigned int n = 0;

			k.payload = 300000;
			c = tso_ctx(&k, 1448);
			len = tso_packet(pkt, &k);
			set_caps(r, cut ? 0 : ALL_CAPS);
			for (int i = 0; i < 3; i++) {
				fr_context(r, &c);
				tso_queue(r, pkt, len, 40000, false);
			}
			r->g->wire->room = 0;
			fr_send(r);
			for (unsigned int i = 0; i < 2000 && fp_rd(r->g, O_TDH) != r->tail; i++) {
				r->g->wire->room = room;
				twx_port_ready(r->g->wire->port);
				fp_run(r->g);
				if (i % 3 == 0)
					fp_remap(r->g);
			}
			r->g->wire->room = ~0u;
			twx_port_ready(r->g->wire->port);
			fp_run(r->g);
			for (int i = 0; i < 3; i++)
				n = assert_stream(r, n, &k, pkt, 1448, cut);
			assert_int_equal(n, r->g->wire->n_frames);
			fr_free(r);
		}
	}
}

static void test_tso_by_and_by(void **state)
{
	struct fr_packet k = kinds[1];
	struct fr *r = start();
	struct fr_ctx c;
	uint32_t len;

	k.payload = 200000;
	c = tso_ctx(&k, 1428);
	len = tso_packet(pkt, &k);
	set_caps(r, ALL_CAPS);
	fr_context(r, &c);
	for (uint32_t off = 0; off < len; off += 5000) {
		uint32_t here = min(5000u, len - off);

		fr_data(r, pkt + off, here, TXD_TSE | (off + here == len ? FR_EOP : 0), TXD_TXSM);
		fr_send(r);
		assert_int_equal(fp_rd(r->g, O_TDH), r->tail);
	}
	assert_int_equal(assert_stream(r, 0, &k, pkt, 1428, false), r->g->wire->n_frames);
	fr_free(r);
}

static void test_tso_statistics(void **state)
{
	struct fr_packet k = kinds[0];
	struct fr *r = start();
	struct fr_ctx c;
	uint32_t len;

	k.payload = 1448 * 10 + 100;
	c = tso_ctx(&k, 1448);
	len = tso_packet(pkt, &k);
	set_caps(r, ALL_CAPS);
	fr_context(r, &c);
	tso_queue(r, pkt, len, 4096, false);
	fr_send(r);
	assert_int_equal(r->g->wire->n_frames, 1);
	assert_int_equal(fp_rd(r->g, O_GPTC), 11);
	assert_int_equal(fp_rd(r->g, O_PTC1522), 10);
	assert_int_equal(fp_rd(r->g, O_PTC255), 1);
	assert_int_equal(fp_rd(r->g, O_GOTCL), 10 * (1448 + 58) + 158);
	assert_int_equal(fp_rd(r->g, O_TSCTC), 1);
	fr_free(r);
}

/* A tag counts in the last segment as in the others, whoever puts it in. */
static void test_tso_statistics_with_a_tag(void **state)
{
	static const uint32_t vet[] = { 0x8100, 0x88a8 };

	for (size_t i = 0; i < array_size(vet); i++) {
		struct fr_packet k = kinds[0];
		struct fr *r = start();
		struct fr_ctx c;
		uint32_t len;

		k.payload = 3000;
		c = tso_ctx(&k, 1448);
		len = tso_packet(pkt, &k);
		set_caps(r, ALL_CAPS);
		fp_wr(r->g, O_CTRL, fp_rd(r->g, O_CTRL) | CTRL_VME);
		fp_wr(r->g, O_VET, vet[i]);
		fr_context(r, &c);
		fr_data(r, pkt, len, TXD_TSE | TXD_VLE | FR_EOP, TXD_IXSM | TXD_TXSM);
		fr_send(r);
		assert_int_equal(r->g->wire->n_frames, 1);
		assert_int_equal(fp_rd(r->g, O_GOTCL), 3000 + 3 * (54 + 4 + 4));
		fr_free(r);
	}
}

static void test_tso_with_a_tag(void **state)
{
	struct fr_packet k = kinds[0];
	struct fr *r = start();
	struct fr_ctx c;
	uint32_t len;

	k.payload = 5000;
	c = tso_ctx(&k, 1448);
	len = tso_packet(pkt, &k);
	fp_wr(r->g, O_CTRL, fp_rd(r->g, O_CTRL) | CTRL_VME);
	fr_context(r, &c);
	for (int i = 0; i < 2; i++) {
		union e1000_txd t = {
			.data = { .addr = le64_make(fr_buffer(r, pkt + i * 2000, len - 2000)),
				  .cmd = le32_make((uint32_t)(TXD_TSE | TXD_DEXT | TXD_VLE |
							      (i ? FR_EOP : 0))
							   << 24 |
						   1u << 20 | (i ? len - 2000 : 2000)),
				  .popts = 3,
				  .special = le16_make(0x2005) }
		};
		fr_desc(r, &t);
	}
	fr_send(r);
	assert_int_equal(r->g->wire->n_frames, 4);
	for (int i = 0; i < 4; i++) {
		const struct fg_frame *f = &r->g->wire->frames[i];

		assert_int_equal(f->len, 4 + 54 + (i < 3 ? 1448 : 5000 - 3 * 1448));
		assert_memory_equal(f->data + 12, "\x81\0\x20\x05\x08\0", 6);
		assert_true(fr_l4_good(f->data + 4, false, 6, 34, f->len - 38));
	}
	fr_free(r);
}

static void test_senseless_tso(void **state)
{
	struct fr_packet k = kinds[0];
	struct fr_ctx good;
	uint32_t len;

	k.payload = 20000;
	good = tso_ctx(&k, 1448);
	len = tso_packet(pkt, &k);
	for (int i = 0; i < 16; i++) {
		struct fr *r = start();
		struct fr_ctx c = good;

		memcpy(buf, pkt, len);
		switch (i) {
		case 0:
			c.mss = 0;
			break;
		case 1:
			c.mss = 7;
			break;
		case 2:
			c.hdr_len = 0;
			break;
		case 3:
			c.hdr_len = 33;
			break;
		case 4:
			c.hdr_len = 53;
			break;
		case 5:
			c.hdr_len = 55;
			break;
		case 6:
			c.hdr_len = 255;
			break;
		case 7:
			c.mss = 65535;
			break;
		case 8:
			c.tucss = 33;
			break;
		case 9:
			c.ipcss = 15;
			break;
		case 10:
			c.tucss = 250;
			break;
		case 11:
			buf[12] = 0x88;
			break; /* no IP */
		case 12:
			buf[23] = 47;
			break; /* neither TCP nor UDP */
		case 13:
			buf[14] = 0x4f;
			break; /* a longer IP header than there is */
		case 14:
			buf[46] = 0xf0;
			break; /* a longer TCP header */
		case 15:
			buf[20] = 0x20;
			break; /* a fragment */
		}
		set_caps(r, ALL_CAPS);
		fr_context(r, &c);
		tso_queue(r, buf, len, 3000, false);
		tso_queue(r, buf, len, 60000, false);
		tso_queue(r, buf, 54, 54, false); /* a header alone */
		fr_send(r);
		assert_int_equal(r->g->wire->n_frames, 0);
		assert_int_equal(drops(r, TWX_DROP_BAD_META), 3);
		assert_int_equal(fp_rd(r->g, O_TDH), r->tail);
		fr_context(r, &good);
		tso_queue(r, pkt, len, 3000, false);
		fr_send(r);
		assert_int_equal(assert_stream(r, 0, &k, pkt, 1448, false), 1);
		fr_free(r);
	}
}

static void test_contexts_are_two(void **state)
{
	struct fr_packet k = kinds[0], u = kinds[2];
	struct fr *r = start();
	struct fr_ctx tso, plain = csum_ctx(&u);
	static uint8_t udp[2048], seeded[2048];
	uint32_t len, ulen = fr_packet(udp, &u);

	k.payload = 3000;
	tso = tso_ctx(&k, 1448);
	len = tso_packet(pkt, &k);
	memcpy(seeded, udp, ulen);
	fr_seed(seeded, &u, ulen - 34);
	fr_context(r, &tso);
	fr_context(r, &plain);
	for (int i = 0; i < 3; i++) {
		tso_queue(r, pkt, len, 3000, false);
		fr_data(r, seeded, ulen, FR_EOP, TXD_TXSM);
	}
	fr_send(r);
	for (unsigned int i = 0; i < 12; i += 4) {
		assert_int_equal(assert_stream(r, i, &k, pkt, 1448, true), i + 3);
		assert_memory_equal(r->g->wire->frames[i + 3].data, udp, ulen);
	}
	fr_free(r);
}

static void test_tso_loopback(void **state)
{
	struct fr_packet k = kinds[0];
	struct fr *r = start();
	struct fr_ctx c;
	uint32_t len, off = 0;

	k.payload = 60000;
	k.tcp_flags = 0x10;
	c = tso_ctx(&k, 1448);
	len = tso_packet(pkt, &k);
	fe_phy_set(r->g, 0, 0x4140);
	fp_wr(r->g, O_RXCSUM, RXCSUM_IPOFL | RXCSUM_TUOFL);
	fr_context(r, &c);
	tso_queue(r, pkt, len, 4096, false);
	fr_send(r);
	while (fr_recv(r, &got, true)) {
		assert_memory_equal(got.data + 54, pkt + 54 + off, got.len - 54);
		assert_int_equal(got.status & (RXD_IPCS | RXD_TCPCS), RXD_IPCS | RXD_TCPCS);
		assert_int_equal(got.errors, 0);
		off += got.len - 54;
	}
	assert_int_equal(off, 60000);
	fr_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_checksums),
		cmocka_unit_test(test_checksums_of_plain_drivers),
		cmocka_unit_test(test_legacy_checksum),
		cmocka_unit_test(test_checksums_of_half_a_frame),
		cmocka_unit_test(test_odd_checksum_requests),
		cmocka_unit_test(test_tso),
		cmocka_unit_test(test_tso_beyond_a_packet),
		cmocka_unit_test(test_tso_retained),
		cmocka_unit_test(test_tso_by_and_by),
		cmocka_unit_test(test_tso_statistics),
		cmocka_unit_test(test_tso_statistics_with_a_tag),
		cmocka_unit_test(test_tso_with_a_tag),
		cmocka_unit_test(test_senseless_tso),
		cmocka_unit_test(test_contexts_are_two),
		cmocka_unit_test(test_tso_loopback),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
