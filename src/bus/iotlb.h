/* SPDX-License-Identifier: BSD-3-Clause */
/* I/O virtual addresses of a guest: what its IOMMU has told us about them, and what we have asked.
 */
#ifndef BUS_IOTLB_H
#define BUS_IOTLB_H

#include <linux/vhost.h> /* VHOST_ACCESS_* */
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "bus/mem.h"

#define IOTLB_PAGE 4096ull /* the least that an IOMMU maps */
#define IOTLB_ENTRIES 4096
#define IOTLB_ASKED 64 /* questions without an answer */

struct iotlb;
struct iotlb_ops {
	/* Asks for the page at @iova; false if the question did not get out. */
	bool (*ask)(struct iotlb *t, uint64_t iova, uint8_t perm);
	/* [first, last] is no longer known, nor may it be used: whoever holds pointers gives up. */
	void (*dropped)(struct iotlb *t, uint64_t first, uint64_t last);
};

struct iotlb {
	const struct iotlb_ops *ops;
	struct mem_map *real; /* where the pages are */
	uint32_t n, last;     /* entries; the one hit last */
	uint32_t victim;
	uint32_t n_asked;
	struct iotlb_question {
		uint64_t page;
		uint8_t perm;
		bool old; /* it was there at the last iotlb_age() */
	} asked[IOTLB_ASKED];
	struct iotlb_entry {
		uint64_t first, last;
		uint8_t *host;
		const struct mem_region *region; /* that it is in */
		uint8_t perm;
	} entries[IOTLB_ENTRIES]; /* sorted, disjoint */
};

void iotlb_init(struct iotlb *t, const struct iotlb_ops *ops, struct mem_map *real);
/* Forgets everything, tells nobody; @real is the memory from now on. */
void iotlb_flush(struct iotlb *t, struct mem_map *real);

/*
 * [iova, iova + size) is the front end's [user, user + size) from now on, for @perm (0: not at
 * all). 0, -EINVAL (empty, not of whole pages, wraps), -EFAULT (not within one region).
 */
int iotlb_update(struct iotlb *t, uint64_t iova, uint64_t size, uint64_t user, uint8_t perm);
/* What reaches beyond the end of all addresses ends there. Entries go as a whole. */
void iotlb_invalidate(struct iotlb *t, uint64_t iova, uint64_t size);

/*
 * mem_iov() for an access with @perm: how many iovecs (neighbours here are one), -E2BIG, -EFAULT
 * (wraps, or not permitted), -EAGAIN: some of it has been asked for, or will be when the next
 * question may go out.
 */
int iotlb_iov(struct iotlb *t, gpa addr, uint64_t len, uint8_t perm, struct iovec *iov,
	      unsigned int max);

/* Only asks for what is missing. 0, -EFAULT or -EAGAIN. */
int iotlb_want(struct iotlb *t, gpa addr, uint64_t len, uint8_t perm);

/* To be called now and then while anything is asked for: questions live through one call. */
void iotlb_age(struct iotlb *t);

/* For mem.c: marks in the log of @real. */
void iotlb_dirty(struct iotlb *t, uint64_t iova, uint64_t len);

#endif
