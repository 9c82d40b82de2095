/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * e1000: statistics registers (8254x manual, 13.7).
 *
 * Every counter sticks at its top and is cleared by reading it; of the 64-bit ones, by reading the
 * upper half. Lengths are counted with the FCS, which the frames here never have.
 */
#include "base/macros.h"
#include "nics/e1000.h"

#define FCS_LEN 4
#define MIN_LEN 60u

enum stat_read { STAT_READ_CLEAR = 1, STAT_READ_LOW, STAT_READ_HIGH };

static const struct {
	uint8_t gate;
	uint8_t read; /* enum stat_read; 0: there is no such register */
} stats[64] = {
#define X(name, off, option, rd) [(off) / 4] = { E1000_##option, STAT_READ_##rd },
	E1000_STATS(X)
#undef X
};

uint32_t e1000_stat_read(struct e1000 *d, unsigned int stat)
{
	uint32_t *reg = &d->reg[R_STATS + stat];
	uint32_t v = *reg;

	if (!stats[stat].read || (stats[stat].gate & d->gated))
		return 0;
	if (stats[stat].read == STAT_READ_HIGH)
		reg[-1] = 0;
	if (stats[stat].read != STAT_READ_LOW)
		*reg = 0;
	return v;
}

static inline void stat_add(struct e1000 *d, unsigned int stat, uint32_t n)
{
	uint32_t *reg = &d->reg[R_STATS + stat];

	if (unlikely(__builtin_add_overflow(*reg, n, reg)))
		*reg = UINT32_MAX;
}

static inline void stat_add64(struct e1000 *d, unsigned int low, uint64_t n)
{
	uint32_t *reg = &d->reg[R_STATS + low];
	uint64_t v = reg[0] | (uint64_t)reg[1] << 32;

	if (unlikely(__builtin_add_overflow(v, n, &v)))
		v = UINT64_MAX;
	reg[0] = (uint32_t)v;
	reg[1] = (uint32_t)(v >> 32);
}

void e1000_count(struct e1000 *d, enum e1000_stat stat)
{
	stat_add(d, stat, 1);
}

/* Which of 64, 65-127, 128-255, 256-511, 512-1023, 1024 and up. */
static inline unsigned int stat_bin(uint32_t len)
{
	if (len <= 64)
		return 0;
	return min(26u - (unsigned int)__builtin_clz(len), 5u);
}

/* Multicast or broadcast, into two counters of their own. */
static inline void stat_kind(struct e1000 *d, const uint8_t *dst, unsigned int multi,
			     unsigned int broad, uint32_t n)
{
	if (likely(!(dst[0] & 1)))
		return;
	if ((dst[0] & dst[1] & dst[2] & dst[3] & dst[4] & dst[5]) == 0xff)
		stat_add(d, broad, n);
	else
		stat_add(d, multi, n);
}

static void stat_tx(struct e1000 *d, const uint8_t *dst, uint32_t n, uint64_t bytes)
{
	stat_add(d, STAT_GPTC, n);
	stat_add(d, STAT_TPT, n);
	stat_add64(d, STAT_GOTCL, bytes);
	stat_add64(d, STAT_TOTL, bytes);
	stat_kind(d, dst, STAT_MPTC, STAT_BPTC, n);
}

void e1000_count_tx(struct e1000 *d, const uint8_t *dst, uint32_t len)
{
	stat_tx(d, dst, 1, len + FCS_LEN);
	stat_add(d, STAT_PTC64 + stat_bin(len + FCS_LEN), 1);
}

void e1000_count_tso(struct e1000 *d, const uint8_t *dst, uint32_t len, uint32_t last, uint32_t n)
{
	if (!n)
		return;
	stat_tx(d, dst, n, (uint64_t)(n - 1) * (len + FCS_LEN) + last + FCS_LEN);
	stat_add(d, STAT_PTC64 + stat_bin(len + FCS_LEN), n - 1);
	stat_add(d, STAT_PTC64 + stat_bin(last + FCS_LEN), 1);
	stat_add(d, STAT_TSCTC, 1);
}

void e1000_count_rx(struct e1000 *d, const uint8_t *dst, uint32_t len)
{
	len = max(len, MIN_LEN); /* as the guest gets it */
	stat_add(d, STAT_GPRC, 1);
	stat_add(d, STAT_TPR, 1);
	stat_add64(d, STAT_GORCL, len + FCS_LEN);
	stat_add64(d, STAT_TORL, len + FCS_LEN);
	stat_kind(d, dst, STAT_MPRC, STAT_BPRC, 1);
	stat_add(d, STAT_PRC64 + stat_bin(len + FCS_LEN), 1);
}
