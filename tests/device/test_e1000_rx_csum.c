/* SPDX-License-Identifier: BSD-3-Clause */
/* e1000, host to guest: checksums verified, made, and reported. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macros.h"
#include "fake_e1000_packets.h"

static uint8_t buf[2u << 20], pkt[2u << 20];
static struct fr_frame got;

#define BOTH (RXD_IPCS | RXD_TCPCS)

static void assert_verdict(struct fr *r, const uint8_t *f, uint32_t len, uint8_t status,
			   uint8_t errors)
{
	/* In one piece, in several, in several buffers. */
	for (int how = 0; how < 3; how++) {
		struct iovec iov[2] = { { (void *)(uintptr_t)f, min(len, 200u) },
					{ (void *)(uintptr_t)(f + 200), len - min(len, 200u) } };
		struct twx_frame frame = { .iov = iov, .n_iov = len > 200 ? 2 : 1, .len = len };

		fr_rx_setup(r, 64,
			    FR_DEFAULT_RCTL | RCTL_LPE | (how == 2 ? 3u << RCTL_BSIZE_SHIFT : 0));
		if (how)
			assert_int_equal(twx_port_send(r->g->wire->port, &frame, 1), 1);
		else
			assert_int_equal(fr_feed(r, f, len), 1);
		assert_true(fr_recv(r, &got, true));
		assert_int_equal(got.status & (BOTH | RXD_IXSM), status);
		assert_int_equal(got.errors, errors);
		assert_memory_equal(got.data, f, len);
	}
}

static void test_rx_verdicts(void **state)
{
	static const uint32_t payloads[] = { 0, 1, 2, 100, 145, 146, 147, 1000, 1001, 1452 };
	struct fr *r = start();

	for (size_t i = 0; i < array_size(kinds) * array_size(payloads); i++) {
		struct fr_packet k = kinds[i % array_size(kinds)];
		uint8_t ip = k.v6 ? 0 : RXD_IPCS;
		uint32_t len;

		k.payload = payloads[i / array_size(kinds)];
		len = fr_packet(pkt, &k);
		fp_wr(r->g, O_RXCSUM, 0);
		assert_verdict(r, pkt, len, RXD_IXSM, 0);
		fp_wr(r->g, O_RXCSUM, RXCSUM_IPOFL);
		assert_verdict(r, pkt, len, ip ? ip : RXD_IXSM, 0);
		fp_wr(r->g, O_RXCSUM, RXCSUM_TUOFL);
		assert_verdict(r, pkt, len, RXD_TCPCS, 0);
		fp_wr(r->g, O_RXCSUM, RXCSUM_TUOFL | RXCSUM_IPOFL);
		assert_verdict(r, pkt, len, ip | RXD_TCPCS, 0);
		/* Any bit that is wrong. */
		for (uint32_t at = fr_l4_off(&k); at < len; at += 1 + at / 3) {
			uint8_t was = pkt[at];

			if (k.proto == 6 && at == fr_l4_off(&k) + 12)
				continue; /* the header's length: another parse */
			if (k.proto == 17 && (at == 38 || at == 39 || at == 58 || at == 59))
				continue;
			pkt[at] ^= 0x10;
			assert_verdict(r, pkt, len, ip | RXD_TCPCS, RXE_TCPE);
			pkt[at] = was;
		}
		if (!k.v6) {
			pkt[22] ^= 1; /* TTL */
			assert_verdict(r, pkt, len, ip | RXD_TCPCS, RXE_IPE);
		}
	}
	fr_free(r);
}

static void test_rx_what_is_not_judged(void **state)
{
	struct fr *r = start();
	struct fr_packet udp = kinds[2];
	uint32_t len;

	fp_wr(r->g, O_RXCSUM, RXCSUM_TUOFL | RXCSUM_IPOFL);
	fg_frame(pkt, 1000, 1);
	assert_verdict(r, pkt, 1000, RXD_IXSM, 0);
	len = fr_packet(pkt, &udp); /* UDP without a checksum */
	fr_put16(pkt + 40, 0);
	assert_verdict(r, pkt, len, RXD_IPCS, 0);
	len = fr_packet(pkt, &kinds[0]); /* a fragment */
	pkt[20] = 0x20;
	fr_put16(pkt + 24, 0);
	reference_sum(pkt, 34, 14, 24, 0);
	assert_verdict(r, pkt, len, RXD_IPCS, 0);
	len = fr_packet(pkt, &kinds[0]); /* cut short */
	assert_verdict(r, pkt, len - 1, RXD_IPCS, 0);
	fr_free(r);
}

static void test_rx_padding_is_not_summed(void **state)
{
	struct fr *r = start();

	fp_wr(r->g, O_RXCSUM, RXCSUM_TUOFL | RXCSUM_IPOFL);
	for (uint32_t payload = 0; payload < 40; payload++) {
		struct fr_packet k = kinds[0];
		uint32_t len;

		k.payload = payload;
		len = fr_packet(pkt, &k);
		memset(pkt + len, 0x77, 50);
		assert_verdict(r, pkt, len + 1 + payload % 7, BOTH, 0);
	}
	fr_free(r);
}

static void test_rx_sender_knows(void **state)
{
	struct twx_meta valid = { .flags = TWX_F_CSUM_VALID };
	struct fr *r = start();
	uint32_t len = fr_packet(pkt, &kinds[0]);

	fp_wr(r->g, O_RXCSUM, RXCSUM_TUOFL);
	pkt[100] ^= 1; /* so that looking would show */
	assert_int_equal(fr_feed_meta(r, pkt, len, &valid), 1);
	assert_true(fr_recv(r, &got, true));
	assert_int_equal(got.status & (BOTH | RXD_IXSM), RXD_TCPCS);
	assert_int_equal(got.errors, 0);
	fp_wr(r->g, O_RXCSUM, 0);
	assert_int_equal(fr_feed_meta(r, pkt, len, &valid), 1);
	assert_true(fr_recv(r, &got, true));
	assert_int_equal(got.status & (BOTH | RXD_IXSM), RXD_IXSM);
	fr_free(r);
}

/* The sender leaves it to us; whatever RXCSUM says, the guest's copy is complete. */
static void test_rx_checksum_made(void **state)
{
	struct fr *r = start();

	for (size_t i = 0; i < array_size(kinds) * 12; i++) {
		struct fr_packet k = kinds[i % array_size(kinds)];
		struct twx_meta meta = { .flags = TWX_F_NEEDS_CSUM };
		bool offer = i / array_size(kinds) % 2, tag = i / array_size(kinds) % 3 == 1;
		uint32_t len;

		k.payload = (uint32_t)(i * 31);
		len = fr_packet(pkt, &k);
		memcpy(buf, pkt, len);
		fr_seed(buf, &k, len - fr_l4_off(&k));
		meta.csum_start = (uint16_t)fr_l4_off(&k);
		meta.csum_off = k.proto == 6 ? 16 : 6;
		if (tag) {
			memmove(buf + 16, buf + 12, len - 12);
			memcpy(buf + 12, "\x81\0\0\x05", 4);
			meta.csum_start += 4;
			fp_wr(r->g, O_CTRL, fp_rd(r->g, O_CTRL) | CTRL_VME);
		}
		fp_wr(r->g, O_RXCSUM, offer ? RXCSUM_TUOFL : 0);
		fr_rx_setup(r, 64,
			    FR_DEFAULT_RCTL | RCTL_LPE | (uint32_t)(i % 4) << RCTL_BSIZE_SHIFT);
		assert_int_equal(fr_feed_meta(r, buf, len + (tag ? 4 : 0), &meta), 1);
		assert_true(fr_recv(r, &got, true));
		assert_int_equal(got.len, max(len, 60u));
		assert_memory_equal(got.data, pkt, len);
		assert_int_equal(got.status & (BOTH | RXD_IXSM), offer ? RXD_TCPCS : RXD_IXSM);
	}
	fr_free(r);
}

static uint16_t slow_sum(const uint8_t *f, uint32_t from, uint32_t len)
{
	uint32_t sum = 0;

	for (uint32_t i = from; i < len; i++)
		sum += (i - from) & 1 ? (uint32_t)f[i] << 8 : f[i];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static void test_rx_packet_checksum(void **state)
{
	static const uint8_t pcss[] = { 1, 13, 14, 15, 33, 34, 35, 54, 100, 180 };
	struct fr *r = start();
	struct twx_meta metas[2] = {
		{ 0 }, { .flags = TWX_F_NEEDS_CSUM, .csum_start = 34, .csum_off = 16 }
	};

	for (size_t i = 0; i < array_size(pcss) * 8; i++) {
		struct fr_packet k = kinds[0];
		const struct twx_meta *meta = &metas[i & 1];
		uint32_t len, rxcsum = i & 2 ? RXCSUM_TUOFL : 0;
		bool tag = i & 4;
		uint16_t sum;

		k.payload = 701;
		len = fr_packet(pkt, &k);
		if (meta->flags)
			fr_seed(pkt, &k, len - 34);
		if (tag && !meta->flags) {
			memmove(pkt + 16, pkt + 12, len - 12);
			memcpy(pkt + 12, "\x81\0\0\x05", 4);
			len += 4;
		}
		fp_wr(r->g, O_CTRL, fp_rd(r->g, O_CTRL) | CTRL_VME);
		fp_wr(r->g, O_RXCSUM, rxcsum | pcss[i / 8]);
		assert_int_equal(fr_feed_meta(r, pkt, len, meta), 1);
		assert_true(fr_recv(r, &got, true));
		/* Zero has two forms; the same sum may come out as either. */
		sum = slow_sum(got.data, pcss[i / 8], got.len);
		assert_true(got.csum % 0xffff == sum % 0xffff);
	}
	fr_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rx_verdicts),
		cmocka_unit_test(test_rx_what_is_not_judged),
		cmocka_unit_test(test_rx_padding_is_not_summed),
		cmocka_unit_test(test_rx_sender_knows),
		cmocka_unit_test(test_rx_checksum_made),
		cmocka_unit_test(test_rx_packet_checksum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
