/* SPDX-License-Identifier: BSD-3-Clause */
/* Small helpers that C lacks. */
#ifndef BASE_MACROS_H
#define BASE_MACROS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define array_size(a) (sizeof(a) / sizeof((a)[0]))

/* The struct that embeds @ptr as its @member. */
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

static inline bool power_of_two(uint64_t v)
{
	return v != 0 && (v & (v - 1)) == 0;
}

/* Each argument is evaluated once; the counter keeps nested uses from shadowing one another. */
#define min(a, b) macros_pick(a, b, <, __COUNTER__)
#define max(a, b) macros_pick(a, b, >, __COUNTER__)

#define macros_pick(a, b, op, id) macros_pick2(a, b, op, id)
#define macros_pick2(a, b, op, id)                                                                 \
	__extension__({                                                                            \
		__auto_type pick_a_##id = (a);                                                     \
		__auto_type pick_b_##id = (b);                                                     \
		pick_a_##id op pick_b_##id ? pick_a_##id : pick_b_##id;                            \
	})

#endif
