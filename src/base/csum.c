/* SPDX-License-Identifier: BSD-3-Clause */
/* The Internet checksum, RFC 1071. */
#include "base/csum.h"

#include "base/iov.h"
#include "base/macros.h"

static inline uint64_t csum_load(const unsigned char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/*
 * 128-bit accumulators cost an add and an add-with-carry per word, and two of them keep both chains
 * of a superscalar core busy; the upper half only counts carries, so it cannot overflow.
 */
uint64_t csum_partial(const void *buf, size_t len, uint64_t seed)
{
	const unsigned char *p = buf;
	unsigned __int128 a = seed, b = 0;
	uint64_t tail = 0;

	for (; len >= 64; len -= 64, p += 64) {
		a += csum_load(p);
		b += csum_load(p + 8);
		a += csum_load(p + 16);
		b += csum_load(p + 24);
		a += csum_load(p + 32);
		b += csum_load(p + 40);
		a += csum_load(p + 48);
		b += csum_load(p + 56);
	}
	for (; len >= 8; len -= 8, p += 8)
		a += csum_load(p);
	if (len) {
		memcpy(&tail, p, len);
		b += tail;
	}
	a += b;
	return csum_add((uint64_t)a, (uint64_t)(a >> 64));
}

uint64_t csum_iov(const struct iovec *iov, size_t n, size_t off, size_t len, uint64_t seed)
{
	size_t odd = 0;

	for (size_t i = 0; i < n && len; i++) {
		size_t part;
		uint64_t sum;

		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		part = min(iov[i].iov_len - off, len);
		sum = csum_partial((const char *)iov[i].iov_base + off, part, 0);
		seed = csum_add(seed, odd ? csum_swap(sum) : sum);
		odd ^= part & 1;
		len -= part;
		off = 0;
	}
	return seed;
}

static uint64_t csum_proto_len(uint64_t sum, uint8_t proto, uint32_t len)
{
	return csum_add(csum_add16(sum, proto), be32_make(len).raw);
}

uint64_t csum_pseudo4(const void *src, const void *dst, uint8_t proto, uint32_t len)
{
	return csum_proto_len(csum_partial(dst, 4, csum_partial(src, 4, 0)), proto, len);
}

uint64_t csum_pseudo6(const void *src, const void *dst, uint8_t proto, uint32_t len)
{
	return csum_proto_len(csum_partial(dst, 16, csum_partial(src, 16, 0)), proto, len);
}
