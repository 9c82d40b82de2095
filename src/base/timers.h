/* SPDX-License-Identifier: BSD-3-Clause */
/* The loop's heap of timers, earliest first. */
#ifndef BASE_TIMERS_H
#define BASE_TIMERS_H

#include <stddef.h>
#include <stdint.h>

#include <twinax/loop.h>

#define TIMERS_MAX ((unsigned int)1 << 20)

struct timers_slot {
	uint64_t when; /* a copy of the timer's: sifting stays inside the array */
	struct twx_timer *timer;
};

struct timers {
	struct timers_slot *slots; /* TIMERS_MAX of them */
	unsigned int n;
};

int timers_init(struct timers *h); /* 0 or -errno */
void timers_fini(struct timers *h);
void timers_put(struct timers *h, struct twx_timer *t, uint64_t when); /* arms or moves */
void timers_remove(struct timers *h, struct twx_timer *t);

/* The earliest deadline; UINT64_MAX without any. */
static inline uint64_t timers_next(const struct timers *h)
{
	return h->n ? h->slots[0].when : UINT64_MAX;
}

#endif
