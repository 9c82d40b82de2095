/* SPDX-License-Identifier: BSD-3-Clause */
/* The Internet checksum and scatter lists against slow, obvious versions; SipHash against its
 * paper. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/csum.h"
#include "base/iov.h"
#include "base/macros.h"
#include "base/siphash.h"

#define ROUNDS 2000
#define BYTES 4096

/* RFC 1071, section 4.1, on numbers in host order. */
static uint16_t naive(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++) {
		sum += (uint32_t)p[i] << (i % 2 ? 0 : 8);
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)~sum;
}

static void fill(uint8_t *p, size_t len)
{
	/* All ones in runs: carries out of every word. */
	for (size_t i = 0; i < len; i++)
		p[i] = rand() % 3 ? (uint8_t)rand() : 0xff;
}

static void rfc_example(void **state)
{
	/* RFC 1071, section 3. */
	static const uint8_t data[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };

	assert_int_equal(be16_get(csum_fold(csum_partial(data, sizeof(data), 0))), 0x220d);
	assert_int_equal(csum_fold_raw(csum_partial("", 0, 0)), 0);
}

static void any_alignment_and_length(void **state)
{
	uint8_t buf[600];

	fill(buf, sizeof(buf));
	for (size_t off = 0; off < 16; off++)
		for (size_t len = 0; len + off <= 400; len++)
			assert_int_equal(be16_get(csum_fold(csum_partial(buf + off, len, 0))),
					 naive(buf + off, len));
}

static void large_all_ones(void **state)
{
	size_t len = 1 << 20;
	uint8_t *buf = malloc(len);

	memset(buf, 0xff, len);
	assert_int_equal(csum_fold_raw(csum_partial(buf, len, 0)), 0xffff);
	assert_int_equal(csum_fold_raw(csum_partial(buf, len, UINT64_MAX)), 0xffff);
	free(buf);
}

/* Cuts @buf into elements of random, odd and zero lengths; each in an allocation of its own. */
static size_t split(struct iovec *iov, size_t max, const uint8_t *buf, size_t len)
{
	size_t n = 0;

	for (; len && n < max; n++) {
		size_t part = n + 1 == max ? len : min((size_t)rand() % 97, len);

		iov[n].iov_base = malloc(part ? part : 1);
		iov[n].iov_len = part;
		memcpy(iov[n].iov_base, buf, part);
		buf += part;
		len -= part;
	}
	return n;
}

static void release(struct iovec *iov, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(iov[i].iov_base);
}

static void lists_equal_flat_memory(void **state)
{
	uint8_t buf[BYTES], copy[BYTES];
	struct iovec iov[64], part[64];

	for (int round = 0; round < ROUNDS; round++) {
		size_t len = (size_t)rand() % sizeof(buf);
		size_t off = len ? (size_t)rand() % len : 0;
		size_t want = (size_t)rand() % sizeof(buf);
		size_t have = min(want, len - off);
		size_t n, m;

		fill(buf, len);
		n = split(iov, array_size(iov), buf, len);
		assert_int_equal(iov_len(iov, n), len);
		assert_int_equal(be16_get(csum_fold(csum_iov(iov, n, off, want, 0))),
				 naive(buf + off, have));
		assert_int_equal(iov_copy_from(iov, n, off, copy, want), have);
		assert_memory_equal(copy, buf + off, have);
		m = iov_slice(part, array_size(part), iov, n, off, want);
		assert_int_equal(iov_len(part, m), have);
		assert_int_equal(iov_copy_from(part, m, 0, copy, sizeof(copy)), have);
		assert_memory_equal(copy, buf + off, have);
		release(iov, n);
	}
}

static void list_is_written_in_place(void **state)
{
	uint8_t buf[BYTES], data[BYTES], copy[BYTES];
	struct iovec iov[64];

	for (int round = 0; round < ROUNDS / 4; round++) {
		size_t len = (size_t)rand() % sizeof(buf);
		size_t off = (size_t)rand() % (len + 1);
		size_t want = (size_t)rand() % sizeof(buf);
		size_t room = min(want, len - off);
		size_t n;

		fill(buf, len);
		fill(data, want);
		n = split(iov, array_size(iov), buf, len);
		assert_int_equal(iov_copy_to(iov, n, off, data, want), room);
		memcpy(buf + off, data, room);
		assert_int_equal(iov_copy_from(iov, n, 0, copy, sizeof(copy)), len);
		assert_memory_equal(copy, buf, len);
		release(iov, n);
	}
}

static void skip_drops_the_front(void **state)
{
	char a[] = "abc", b[] = "", c[] = "defgh";
	struct iovec iov[] = { { a, 3 }, { b, 0 }, { c, 5 } }, *p = iov;
	size_t n = 3;
	char out[8] = "";

	assert_int_equal(iov_skip(&p, &n, 2), 2);
	assert_int_equal(iov_len(p, n), 6);
	assert_int_equal(iov_skip(&p, &n, 1), 1);
	assert_int_equal(n, 1); /* the empty element went too */
	assert_int_equal(iov_skip(&p, &n, 2), 2);
	assert_int_equal(iov_copy_from(p, n, 0, out, 8), 3);
	assert_string_equal(out, "fgh");
	assert_int_equal(iov_skip(&p, &n, 9), 3);
	assert_int_equal(n, 0);
	assert_int_equal(iov_skip(&p, &n, 1), 0);
}

static void length_saturates(void **state)
{
	struct iovec iov[] = { { NULL, SIZE_MAX - 1 }, { NULL, 5 } };

	assert_int_equal(iov_len(iov, 2), SIZE_MAX);
}

static void slice_stops_at_its_room(void **state)
{
	char c[6] = "abcdef";
	struct iovec iov[] = { { c, 2 }, { c + 2, 2 }, { c + 4, 2 } }, out[2];

	assert_int_equal(iov_slice(out, 2, iov, 3, 1, 5), 2);
	assert_int_equal(iov_len(out, 2), 3);
	assert_int_equal(iov_slice(out, 2, iov, 3, 6, 1), 0);
}

static void pseudo_headers(void **state)
{
	uint8_t hdr4[12], hdr6[40];

	for (int round = 0; round < ROUNDS; round++) {
		uint32_t len = (uint32_t)rand() & 0xffff, big = (uint32_t)rand();

		fill(hdr4, 8);
		hdr4[8] = 0;
		hdr4[9] = 17;
		hdr4[10] = (uint8_t)(len >> 8);
		hdr4[11] = (uint8_t)len;
		assert_int_equal(be16_get(csum_fold(csum_pseudo4(hdr4, hdr4 + 4, 17, len))),
				 naive(hdr4, 12));
		fill(hdr6, 32);
		for (int i = 0; i < 4; i++)
			hdr6[32 + i] = (uint8_t)(big >> (24 - 8 * i));
		memset(hdr6 + 36, 0, 3);
		hdr6[39] = 58;
		assert_int_equal(be16_get(csum_fold(csum_pseudo6(hdr6, hdr6 + 16, 58, big))),
				 naive(hdr6, 40));
	}
}

static void finished_packet_sums_to_zero(void **state)
{
	uint8_t buf[101];
	be16 sum;

	for (int round = 0; round < ROUNDS; round++) {
		fill(buf, sizeof(buf));
		memset(buf + 16, 0, 2);
		sum = csum_fold(csum_partial(buf, sizeof(buf), 0));
		memcpy(buf + 16, &sum, 2);
		assert_int_equal(csum_fold(csum_partial(buf, sizeof(buf), 0)).raw, 0);
	}
}

static void udp_zero_means_none(void **state)
{
	assert_int_equal(csum_fold(0xffff).raw, 0);
	assert_int_equal(csum_fold_udp(0xffff).raw, 0xffff);
	assert_int_equal(csum_fold_udp(0x1234).raw, csum_fold(0x1234).raw);
}

static void added_words(void **state)
{
	static const uint8_t data[] = { 0xfe, 0xdc, 0x00, 0x11 };

	assert_int_equal(csum_fold(csum_add16(csum_add16(0, 0xfedc), 17)).raw,
			 csum_fold(csum_partial(data, 4, 0)).raw);
	assert_int_equal(csum_add(UINT64_MAX, 2), 2);
}

static void siphash_vectors(void **state)
{
	/* Key and messages of the paper's appendix A and its reference table: bytes 0, 1, 2, ... */
	static const struct siphash_key key = { 0x0706050403020100, 0x0f0e0d0c0b0a0908 };
	static const struct {
		size_t len;
		uint64_t hash;
	} vectors[] = {
		{ 0, 0x726fdb47dd0e0e31 }, { 1, 0x74f839c593dc67fd },  { 7, 0xab0200f58b01d137 },
		{ 8, 0x93f5f5799a932462 }, { 15, 0xa129ca6149be45e5 }, { 63, 0x958a324ceb064572 },
	};
	uint8_t msg[64 + 1];

	for (size_t i = 0; i < 64; i++)
		msg[i + 1] = (uint8_t)i;
	for (size_t i = 0; i < array_size(vectors); i++)
		assert_int_equal(siphash(&key, msg + 1, vectors[i].len), vectors[i].hash);
}

static void random_keys_differ(void **state)
{
	struct siphash_key a, b;

	siphash_key_random(&a);
	siphash_key_random(&b);
	assert_memory_not_equal(&a, &b, sizeof(a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rfc_example),
		cmocka_unit_test(any_alignment_and_length),
		cmocka_unit_test(large_all_ones),
		cmocka_unit_test(lists_equal_flat_memory),
		cmocka_unit_test(list_is_written_in_place),
		cmocka_unit_test(skip_drops_the_front),
		cmocka_unit_test(length_saturates),
		cmocka_unit_test(slice_stops_at_its_room),
		cmocka_unit_test(pseudo_headers),
		cmocka_unit_test(finished_packet_sums_to_zero),
		cmocka_unit_test(udp_zero_means_none),
		cmocka_unit_test(added_words),
		cmocka_unit_test(siphash_vectors),
		cmocka_unit_test(random_keys_differ),
	};

	srand(1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
