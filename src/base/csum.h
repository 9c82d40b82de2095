/* SPDX-License-Identifier: BSD-3-Clause */
/* The Internet checksum, RFC 1071. */
#ifndef BASE_CSUM_H
#define BASE_CSUM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/endian.h"

/*
 * A running sum is a 64-bit ones' complement number over the bytes as they lie in memory (RFC 1071,
 * section 2 (B): the result comes out in the order in which it is stored), so no function here
 * swaps and csum_fold()'s result is stored as it is. Sums are added with csum_add(), never with
 * plus.
 */

static inline uint64_t csum_add(uint64_t a, uint64_t b)
{
	uint64_t sum = a + b;

	return sum + (sum < a);
}

/* 64 bits to 16 without the final complement. */
static inline uint16_t csum_fold_raw(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)(sum + (sum >> 16));
}

/* The checksum field's value. A receiver that sums the field too gets 0 when the data is intact. */
static inline be16 csum_fold(uint64_t sum)
{
	return (be16){ (uint16_t)~csum_fold_raw(sum) };
}

/* As csum_fold(), for UDP, where 0 means "none" and is sent as 0xffff (RFC 768). */
static inline be16 csum_fold_udp(uint64_t sum)
{
	be16 v = csum_fold(sum);

	return v.raw ? v : (be16){ 0xffff };
}

/* Adds a 16-bit number in host order, as a header field would (a length, a protocol). */
static inline uint64_t csum_add16(uint64_t sum, uint16_t v)
{
	return csum_add(sum, be16_make(v).raw);
}

/* Moves a sum by one byte: for data that starts at an odd offset of the whole (RFC 1071, 2 (B)). */
static inline uint64_t csum_swap(uint64_t sum)
{
	return sum << 8 | sum >> 56;
}

/* Adds @len bytes to @seed. Any alignment; an odd last byte is padded with zero. */
uint64_t csum_partial(const void *buf, size_t len, uint64_t seed);

/* Adds bytes [@off, @off + @len) of the list to @seed; elements may be of odd length. */
uint64_t csum_iov(const struct iovec *iov, size_t n, size_t off, size_t len, uint64_t seed);

/*
 * Pseudo headers: RFC 9293, section 3.1 (IPv4), RFC 8200, section 8.1 (IPv6). Addresses are 4 and
 * 16 bytes in wire order, any alignment; @len counts the upper layer's header and data.
 */
uint64_t csum_pseudo4(const void *src, const void *dst, uint8_t proto, uint32_t len);
uint64_t csum_pseudo6(const void *src, const void *dst, uint8_t proto, uint32_t len);

#endif
