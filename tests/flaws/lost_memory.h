/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory of which a part goes away, for backends: who shared it is told once. */
#ifndef TESTS_LOST_MEMORY_H
#define TESTS_LOST_MEMORY_H

#include <signal.h>

#include <twinax/twinax.h>

#include "net/fault.h"

struct lost_memory {
	struct twx_net *net;
	struct fault_guard guard;
	struct fault_area area;
	int fd;
	uint8_t *at;
	unsigned int told; /* how often the guard's task has run */
};

extern volatile sig_atomic_t lost_faults; /* SIGBUS taken since lost_open() */

void lost_open(struct lost_memory *l, struct twx_net *net, size_t len);
/* To be called in the test itself: cmocka puts its own signal handlers back around each. */
void lost_cut(struct lost_memory *l, size_t len);
void lost_close(struct lost_memory *l);

#endif
