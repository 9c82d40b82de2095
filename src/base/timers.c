/* SPDX-License-Identifier: BSD-3-Clause */
/* The loop's heap of timers: binary, with each timer's place in it kept in the timer. */
#include "base/timers.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#define TIMERS_BYTES (TIMERS_MAX * sizeof(struct timers_slot))

/*
 * Arming must not fail, so the whole array is address space from the start (16 MiB) and memory only
 * as far as it is used.
 */
int timers_init(struct timers *h)
{
	void *p = mmap(NULL, TIMERS_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	h->slots = p;
	h->n = 0;
	return 0;
}

void timers_fini(struct timers *h)
{
	if (h->slots)
		munmap(h->slots, TIMERS_BYTES);
	h->slots = NULL;
}

static void timers_place(struct timers *h, unsigned int i, struct timers_slot s)
{
	h->slots[i] = s;
	s.timer->slot = i + 1;
}

static void timers_up(struct timers *h, unsigned int i, struct timers_slot s)
{
	while (i) {
		unsigned int parent = (i - 1) / 2;

		if (h->slots[parent].when <= s.when)
			break;
		timers_place(h, i, h->slots[parent]);
		i = parent;
	}
	timers_place(h, i, s);
}

static void timers_down(struct timers *h, unsigned int i, struct timers_slot s)
{
	for (;;) {
		unsigned int child = 2 * i + 1;

		if (child >= h->n)
			break;
		if (child + 1 < h->n && h->slots[child + 1].when < h->slots[child].when)
			child++;
		if (s.when <= h->slots[child].when)
			break;
		timers_place(h, i, h->slots[child]);
		i = child;
	}
	timers_place(h, i, s);
}

void timers_put(struct timers *h, struct twx_timer *t, uint64_t when)
{
	struct timers_slot s = { when, t };
	uint64_t old = t->when;

	t->when = when;
	if (!t->slot) {
		assert(h->n < TIMERS_MAX);
		timers_up(h, h->n++, s);
	} else if (when < old) {
		timers_up(h, t->slot - 1, s);
	} else if (when > old) {
		timers_down(h, t->slot - 1, s);
	}
}

void timers_remove(struct timers *h, struct twx_timer *t)
{
	unsigned int i = t->slot - 1;
	struct timers_slot last;

	if (!t->slot)
		return;
	assert(i < h->n && h->slots[i].timer == t);
	t->slot = 0;
	last = h->slots[--h->n];
	if (i == h->n)
		return;
	if (i && last.when < h->slots[(i - 1) / 2].when)
		timers_up(h, i, last);
	else
		timers_down(h, i, last);
}
