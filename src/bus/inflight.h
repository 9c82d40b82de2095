/* SPDX-License-Identifier: BSD-3-Clause */
/* What a device holds of a ring, written down in memory that outlives the device's process. */
#ifndef BUS_INFLIGHT_H
#define BUS_INFLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bus/virtio.h"

/*
 * One ring's part of the area, in native byte order (vhost-user, "Inflight I/O tracking", split
 * virtqueues).
 */
struct inflight_desc {
	uint8_t inflight; /* only for the head of a chain: taken, and not handed back */
	uint8_t padding[5];
	uint16_t next;	  /* the head that was handed back before this one */
	uint64_t counter; /* order in which heads were taken */
};

#define INFLIGHT_VERSION 1

struct inflight_region {
	uint64_t features;
	uint16_t version; /* 0: never used */
	uint16_t desc_num;
	uint16_t last_batch_head; /* handed back last */
	uint16_t used_idx;	  /* of the ring, when the flags were last true to it */
	struct inflight_desc desc[];
};

/* The specification leaves the regions' distance open; every back end there is rounds to this. */
#define INFLIGHT_ALIGN 64u

static inline uint32_t inflight_region_size(uint16_t desc_num)
{
	uint32_t len =
		sizeof(struct inflight_region) + desc_num * (uint32_t)sizeof(struct inflight_desc);

	return (len + INFLIGHT_ALIGN - 1) & ~(INFLIGHT_ALIGN - 1);
}

/* A running ring's; all private but the region. */
struct inflight {
	struct inflight_region *region;
	uint16_t *heads; /* what a predecessor took and never handed back: taken again, first ... */
	uint16_t first;	 /* ... in place of the avail slots from here on */
	uint16_t n;	 /* 0 once all are handed back */
	uint16_t n_done;
	uint16_t last; /* region->last_batch_head, ours */
};

/* What the region turned out to say. */
enum inflight_found {
	INFLIGHT_NEW,	 /* nothing: the ring starts where its owner says */
	INFLIGHT_RESUME, /* the ring goes on at *next; f->n chains come first */
	INFLIGHT_STALE,	 /* what cannot be true of this ring: it goes on at *next, and none come
			    first */
};

/*
 * Reads the region once and makes it ours. @desc_num are the entries that it has room for, @size
 * those of the ring. An enum inflight_found, -EOPNOTSUPP (a layout that we do not know, untouched),
 * or -ENOMEM.
 */
int inflight_open(struct inflight *f, struct inflight_region *region, uint16_t desc_num,
		  uint16_t size, const struct virtio_ring *ring, uint16_t *next);
void inflight_close(struct inflight *f); /* harmless when not open */

/* The head to take at avail index @at, if that is not the avail ring's to say. */
static inline bool inflight_head(const struct inflight *f, uint16_t at, uint16_t *head)
{
	uint16_t i = (uint16_t)(at - f->first);

	if (i >= f->n)
		return false;
	*head = f->heads[i];
	return true;
}

/* Moves the guest's used index (little-endian, at @idx) from @from to @to, and the record with it.
 */
void inflight_publish(struct inflight *f, uint16_t *idx, uint16_t from, uint16_t to);

#endif
