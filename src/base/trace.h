/* SPDX-License-Identifier: BSD-3-Clause */
/* Traces of what happened in another thread before the loop's heard of it. */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#include <stdbool.h>

#include <twinax/trace.h>

/* From any thread: whether it is worth taking the time. */
static inline bool trace_wants(const struct twx_trace *tr, enum twx_hop hop)
{
	return (__atomic_load_n(&tr->mask, __ATOMIC_RELAXED) >> hop) & 1;
}

/* On the loop's thread: a hop that was passed at @t, a clock_ns(). */
void trace_record_at(struct twx_trace *tr, uint64_t t, enum twx_hop hop, const char *where,
		     uint32_t len, uint32_t arg);

#endif
