/* SPDX-License-Identifier: BSD-3-Clause */
/* Wire and guest integers as types of their own, so that a missing swap does not compile. */
#ifndef BASE_ENDIAN_H
#define BASE_ENDIAN_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

typedef struct { uint16_t raw; } __attribute__((packed)) le16;
typedef struct { uint32_t raw; } __attribute__((packed)) le32;
typedef struct { uint64_t raw; } __attribute__((packed)) le64;
typedef struct { uint16_t raw; } __attribute__((packed)) be16;
typedef struct { uint32_t raw; } __attribute__((packed)) be32;
typedef struct { uint64_t raw; } __attribute__((packed)) be64;

#define ENDIAN_PAIR(type, bits, order)                                                                 \
	static inline uint##bits##_t type##_get(type v) { return order##bits##toh(v.raw); }            \
	static inline type type##_make(uint##bits##_t v) { return (type){ hto##order##bits(v) }; }
ENDIAN_PAIR(le16, 16, le)
ENDIAN_PAIR(le32, 32, le)
ENDIAN_PAIR(le64, 64, le)
ENDIAN_PAIR(be16, 16, be)
ENDIAN_PAIR(be32, 32, be)
ENDIAN_PAIR(be64, 64, be)
#undef ENDIAN_PAIR

/* Packet headers as bytes, at any alignment. */
static inline uint32_t be16_at(const uint8_t *p)
{
	return (uint32_t)(p[0] << 8 | p[1]);
}

static inline void be16_put(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

#endif
