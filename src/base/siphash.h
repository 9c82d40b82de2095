/* SPDX-License-Identifier: BSD-3-Clause */
/* SipHash-2-4, a keyed hash for tables whose keys a guest or peer chooses (Aumasson, Bernstein,
 * 2012). */
#ifndef BASE_SIPHASH_H
#define BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
	uint64_t k0, k1;
};

/* Fills @key from the kernel's random number generator. */
void siphash_key_random(struct siphash_key *key);

uint64_t siphash(const struct siphash_key *key, const void *data, size_t len);

#endif
