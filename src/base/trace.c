/* SPDX-License-Identifier: BSD-3-Clause */
/* The ring behind the named hops of every frame. */
#include <twinax/trace.h>

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/macros.h"
#include "base/trace.h"

#define TRACE_RECORDS 4096 /* 160 KiB */
#define TRACE_PATTERN 256  /* longer than any name, and short enough for fnmatch's recursion */

static const struct {
	const char *name, *help;
} trace_hops[] = {
#define X(sym, name, help) { name, help },
	TWX_HOPS(X)
#undef X
};

_Static_assert(array_size(trace_hops) < 64, "one bit of the mask each");
#define TRACE_ALL (((uint64_t)1 << array_size(trace_hops)) - 1)
_Static_assert(sizeof(struct twx_hop_record) == 40, "readers of a dumped ring rely on it");

void trace_record_at(struct twx_trace *tr, uint64_t t, enum twx_hop hop, const char *where,
		     uint32_t len, uint32_t arg)
{
	struct twx_hop_record *r;

	if (!tr->ring)
		return;
	r = &tr->ring[tr->n++ & (tr->size - 1)];
	r->t = t;
	r->len = len;
	r->arg = arg;
	r->hop = (uint16_t)hop;
	/* Zero-padded; a name of full length keeps the last byte for its terminator. */
	memset(r->where, 0, sizeof(r->where));
	if (where)
		memcpy(r->where, where, strnlen(where, sizeof(r->where) - 1));
}

void twx_trace_record(struct twx_trace *tr, enum twx_hop hop, const char *where, uint32_t len,
		      uint32_t arg)
{
	trace_record_at(tr, clock_ns(), hop, where, len, arg);
}

/* Other threads look at the mask (trace_wants()). */
static void set_mask(struct twx_trace *tr, uint64_t mask)
{
	__atomic_store_n(&tr->mask, mask, __ATOMIC_RELAXED);
}

static int make_ring(struct twx_trace *tr)
{
	if (tr->ring)
		return 0;
	tr->ring = calloc(TRACE_RECORDS, sizeof(*tr->ring));
	if (!tr->ring)
		return -ENOMEM;
	tr->size = TRACE_RECORDS;
	tr->n = 0;
	return 0;
}

int twx_trace_enable(struct twx_trace *tr, const char *pattern)
{
	uint64_t mask = 0;

	if (strnlen(pattern, TRACE_PATTERN) == TRACE_PATTERN)
		return -ENOENT;
	for (size_t i = 0; i < array_size(trace_hops); i++)
		if (!fnmatch(pattern, trace_hops[i].name, 0))
			mask |= (uint64_t)1 << i;
	if (!mask)
		return -ENOENT;
	if (make_ring(tr))
		return -ENOMEM;
	set_mask(tr, tr->mask | mask);
	tr->asked |= mask;
	return 0;
}

void twx_trace_disable(struct twx_trace *tr)
{
	tr->asked = 0;
	if (tr->holds)
		return;
	set_mask(tr, 0);
	free(tr->ring);
	tr->ring = NULL;
	tr->n = tr->size = 0;
}

int twx_trace_hold(struct twx_trace *tr)
{
	if (make_ring(tr))
		return -ENOMEM;
	if (!tr->holds++)
		tr->asked = tr->mask;
	set_mask(tr, TRACE_ALL);
	return 0;
}

void twx_trace_release(struct twx_trace *tr)
{
	if (--tr->holds)
		return;
	set_mask(tr, tr->asked);
	if (!tr->mask)
		twx_trace_disable(tr);
}

const char *twx_hop_name(enum twx_hop hop)
{
	return (unsigned int)hop < array_size(trace_hops) ? trace_hops[hop].name : "?";
}

const char *twx_hop_help(enum twx_hop hop)
{
	return (unsigned int)hop < array_size(trace_hops) ? trace_hops[hop].help : "";
}
