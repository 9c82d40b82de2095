/* SPDX-License-Identifier: BSD-3-Clause */
/* SipHash-2-4, after sections 2.1 to 2.4 of "SipHash: a fast short-input PRF". */
#include "base/siphash.h"

#include <stdlib.h>
#include <sys/random.h>

#include "base/endian.h"

struct sip {
	uint64_t v0, v1, v2, v3;
};

static inline uint64_t sip_rotl(uint64_t x, int bits)
{
	return x << bits | x >> (64 - bits);
}

static inline void sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v2 += s->v3;
	s->v1 = sip_rotl(s->v1, 13) ^ s->v0;
	s->v3 = sip_rotl(s->v3, 16) ^ s->v2;
	s->v0 = sip_rotl(s->v0, 32) + s->v3;
	s->v2 += s->v1;
	s->v1 = sip_rotl(s->v1, 17) ^ s->v2;
	s->v3 = sip_rotl(s->v3, 21) ^ s->v0;
	s->v2 = sip_rotl(s->v2, 32);
}

static inline void sip_word(struct sip *s, uint64_t m)
{
	s->v3 ^= m;
	sip_round(s);
	sip_round(s);
	s->v0 ^= m;
}

uint64_t siphash(const struct siphash_key *key, const void *data, size_t len)
{
	const unsigned char *p = data;
	struct sip s = {
		.v0 = key->k0 ^ 0x736f6d6570736575,
		.v1 = key->k1 ^ 0x646f72616e646f6d,
		.v2 = key->k0 ^ 0x6c7967656e657261,
		.v3 = key->k1 ^ 0x7465646279746573,
	};
	uint64_t last = (uint64_t)len << 56;
	size_t left = len;
	le64 word;

	for (; left >= 8; left -= 8, p += 8) {
		memcpy(&word, p, 8);
		sip_word(&s, le64_get(word));
	}
	word.raw = 0;
	if (left)
		memcpy(&word, p, left);
	sip_word(&s, last | le64_get(word));

	s.v2 ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

void siphash_key_random(struct siphash_key *key)
{
	size_t got = 0;

	while (got < sizeof(*key)) {
		ssize_t n = getrandom((char *)key + got, sizeof(*key) - got, 0);

		/* Fails on no kernel since 3.17; a predictable key would be worse than none. */
		if (n <= 0)
			abort();
		got += (size_t)n;
	}
}
