/* SPDX-License-Identifier: BSD-3-Clause */
/* The same work for every e1000, ours and QEMU's: rings and frames laid out in guest memory,
 * doorbells. */
#ifndef BENCH_E1000_WORK_H
#define BENCH_E1000_WORK_H

#include <stdbool.h>
#include <stdint.h>

/* How a driver reaches a device and its memory: in this process, or by QEMU's qtest protocol. */
struct work_drive {
	void *opaque;
	void (*reg_write)(void *opaque, uint32_t off, uint32_t value);
	uint32_t (*reg_read)(void *opaque, uint32_t off);
	void (*mem_write)(void *opaque, uint64_t addr, const void *buf, uint32_t len);
	/* Writes @len bytes to the stream backend at the other end of the cable; waits for room. */
	void (*feed)(void *opaque, const void *buf, uint32_t len);
	/* Gives the device time to work on what was fed. */
	void (*idle)(void *opaque);
	uint64_t (*now)(void *opaque); /* ns, of what is measured for transmit */
	uint64_t (*cpu)(
		void *opaque); /* ns of CPU time that the device's side has used, for receive */
};

struct work_result {
	double ns; /* per frame (per TSO frame), median */
	uint32_t n;
};

#define WORK_MEM (32u << 20) /* guest memory that the work needs, from address 0 */

enum work_kind { WORK_TX_60, WORK_TX_1514, WORK_TSO, WORK_RX_60, WORK_RX_1514, WORK_N };
extern const char *const work_names[WORK_N];

/* @fed: the other end is a stream socket; else it is a null sink. */
void work_setup(const struct work_drive *d, bool fed);
struct work_result work_run(const struct work_drive *d, enum work_kind kind, unsigned int rounds);

#endif
