/* SPDX-License-Identifier: BSD-3-Clause */
/* An address space: regions with priorities, and the way from an address to the one that answers.
 */
#ifndef BUS_ASPACE_H
#define BUS_ASPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Memory or I/O ports, without the RAM (bus/mem.h), which whoever dispatches asks first. Regions
 * may overlap: the higher priority answers, among equals the one that was added last. The flat list
 * of ranges that follows from that is rebuilt on every change and searched by halving.
 *
 * Everything runs on one loop. A region's handlers may change the space that calls them.
 */
struct as_ops {
	/* @off + @size lies in the region; size 1, 2, 4 or 8, aligned or not as the guest has it.
	 */
	uint64_t (*read)(void *opaque, uint64_t off, unsigned int size);
	void (*write)(void *opaque, uint64_t off, unsigned int size, uint64_t value);
};

/* Embedded in its owner. */
struct as_region {
	const char *name;
	const struct as_ops *ops;
	void *opaque;
	uint64_t size;
	int priority; /* 0 is as good as any */

	/* The space's own. */
	struct aspace *space; /* null while not added */
	uint64_t addr;
	struct as_region *next;
};

struct as_range {
	uint64_t first, last; /* inclusive, so that a range may end with the space */
	struct as_region *region;
};

struct aspace {
	const char *name;
	uint64_t last_addr; /* 0xffff for I/O ports */
	struct as_region *regions;
	struct as_range *flat; /* sorted, disjoint */
	unsigned int n_flat, n_room;
	unsigned int hit; /* range found last */
};

void as_init(struct aspace *as, const char *name, uint64_t last_addr);
void as_fini(struct aspace *as); /* the regions are left, not added */

/* -EINVAL where it does not fit the space, -EBUSY if it is added already, -ENOMEM. */
int as_add(struct aspace *as, struct as_region *r, uint64_t addr);
void as_remove(struct as_region *r); /* harmless when not added */

/* The region that answers at @addr, or null. */
struct as_region *as_find(struct aspace *as, uint64_t addr);
/* The one that would if @r and all that win over it were not there. */
struct as_region *as_find_below(const struct as_region *r, uint64_t addr);

/*
 * Size 1 to 8, any alignment. An access that crosses into another region is split at the border.
 * What nobody answers reads as ones, and writes to it are lost.
 */
uint64_t as_read(struct aspace *as, uint64_t addr, unsigned int size);
void as_write(struct aspace *as, uint64_t addr, unsigned int size, uint64_t value);

#endif
