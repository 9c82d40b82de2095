/* SPDX-License-Identifier: BSD-3-Clause */
/* A board without CPUs and without a PCI bus, for tests of its devices, tables and boot code. */
#ifndef TESTS_BOARD_KIT_H
#define TESTS_BOARD_KIT_H

#include "hosts/machine/machine.h"

struct board {
	struct twx_machine m; /* first */
	struct twx_net *net;
	struct mem_map ram;
	bool gsi[MACHINE_GSIS];
	unsigned int edges[MACHINE_GSIS]; /* how often a line went up */
	unsigned int n_sets;		  /* calls, changes or not */
	struct twx_watch clock;
	uint64_t until;
};

/* @low bytes of RAM at 0, @high at 4 GiB. 0 or -errno. */
int board_kit_open(struct board *b, uint64_t low, uint64_t high);
void board_kit_close(struct board *b);

/* Ports as a CPU has them. */
uint32_t board_in(struct board *b, unsigned int port, unsigned int size);
void board_out(struct board *b, unsigned int port, unsigned int size, uint32_t value);

/* A device by its name, or null. */
struct board_dev *board_dev_named(struct board *b, const char *name);

/* What the board asked the machine for since the last call: bits of enum machine_ask. */
unsigned int board_asked(struct board *b);
/* Rounds of the loop until nothing is due. */
void board_settle(struct board *b);

/* From the first call on the clock stands still; it moves by @ns, timers run in order. */
void board_advance(struct board *b, uint64_t ns);
/* The chardev "c0", and the other end of it, non-blocking; the caller closes it. */
int board_chardev(struct board *b);

#endif
