/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The record of a ring (vhost-user, "Inflight I/O tracking"), for whoever takes the ring over when
 * this process is gone.
 *
 * What we write. Our rings complete in order, so a chain that we have taken and not handed back
 * still stands in the avail ring, at the used index or behind it: to a successor it is as good as
 * never taken. The true record of such a ring is the empty one. No flag is ever raised here; all
 * that changes is used_idx, one store for each burst. "In flight: none, next: the used index" is
 * also what keeps a successor right whose front end has lost count of the avail index.
 *
 * What we find. A predecessor that completes out of order leaves holes: chains that it took, whose
 * avail slots the guest has long written anew. They are taken again first, in the order of their
 * counters, in place of as many avail slots from the used index on; vq_pop() asks us for their
 * heads, and all else about a ring stays as it is. Until such a chain is handed back its flag stays
 * up, and handing them back follows the specification to the letter, one chain a batch, which those
 * back ends understand, too, that know batches of one only.
 *
 * A process may die between any two stores. What a successor needs is their order in the program;
 * release stores keep it in the compiler, and in the processor against a reader that is early.
 *
 * The area belongs to a front end that writes to it at any time. It is copied once; only the copy
 * is validated and used. Everything in it that contradicts the ring makes the record stale: then
 * the ring goes on at its used index, as every ring without a record does. That hurts only the
 * guest whose record it is.
 */
#include "bus/inflight.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/macros.h"

/* The region's private copy, and what follows from it. */
struct record {
	uint64_t features;
	uint16_t version, n_desc, last_batch_head;
	uint16_t settled;	      /* the region's used_idx */
	uint16_t avail_idx, used_idx; /* the ring's */
	struct inflight_desc *desc;
};

static uint16_t load16(const uint16_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static void store16(uint16_t *p, uint16_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

static void store8(uint8_t *p, uint8_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

static uint16_t ring_idx(const void *ring)
{
	return le16toh(load16((const uint16_t *)ring + 1));
}

static void record_read_head(struct record *rec, const struct inflight_region *region)
{
	rec->version = load16(&region->version);
	rec->features = __atomic_load_n(&region->features, __ATOMIC_RELAXED);
	rec->n_desc = load16(&region->desc_num);
	rec->last_batch_head = load16(&region->last_batch_head);
	rec->settled = load16(&region->used_idx);
}

static int record_read_descs(struct record *rec, const struct inflight_region *region,
			     uint16_t desc_num)
{
	uint32_t len = desc_num * (uint32_t)sizeof(*rec->desc);

	rec->desc = malloc(len);
	if (!rec->desc)
		return -ENOMEM;
	memcpy(rec->desc, region->desc, len);
	/* The compiler is not to go back to shared memory for what it has copied. */
	__asm__ volatile("" : : "r"(rec->desc) : "memory");
	return rec->n_desc == 0 || rec->n_desc > desc_num ? -EPROTO : 0;
}

/*
 * A batch that reached the used ring, and perhaps not the flags. It has as many chains as the used
 * index is ahead.
 */
static int record_end_batch(struct record *rec)
{
	uint16_t n = (uint16_t)(rec->used_idx - rec->settled);
	uint16_t i = rec->last_batch_head;

	if (n > rec->n_desc)
		return -EPROTO;
	for (; n > 0; n--) {
		if (i >= rec->n_desc)
			return -EPROTO;
		rec->desc[i].inflight = 0;
		i = rec->desc[i].next;
	}
	return 0;
}

struct taken {
	uint64_t counter;
	uint16_t head;
};

static int by_counter(const void *a, const void *b)
{
	const struct taken *x = a, *y = b;

	if (x->counter != y->counter)
		return x->counter < y->counter ? -1 : 1;
	return (x->head > y->head) - (x->head < y->head);
}

/* All of them were offered, so the guest cannot have offered fewer since the used index. */
static int record_count(const struct record *rec, uint16_t size)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < rec->n_desc; i++) {
		if (!rec->desc[i].inflight)
			continue;
		if (i >= size)
			return -EPROTO;
		n++;
	}
	return n <= (uint16_t)(rec->avail_idx - rec->used_idx) ? (int)n : -EPROTO;
}

static int record_heads(const struct record *rec, struct inflight *f, uint16_t n)
{
	struct taken *taken = malloc(n * sizeof(*taken));
	uint16_t k = 0;

	f->heads = malloc(n * sizeof(*f->heads));
	if (!taken || !f->heads) {
		free(taken);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < rec->n_desc && k < n; i++)
		if (rec->desc[i].inflight)
			taken[k++] = (struct taken){ rec->desc[i].counter, (uint16_t)i };
	qsort(taken, n, sizeof(*taken), by_counter);
	for (k = 0; k < n; k++)
		f->heads[k] = taken[k].head;
	f->n = n;
	free(taken);
	return 0;
}

/* Nothing in flight. Until the last store the region counts as never used. */
static void region_clear(struct inflight_region *region, uint16_t desc_num, uint16_t used_idx)
{
	store16(&region->version, 0);
	memset(region->desc, 0, desc_num * sizeof(region->desc[0]));
	region->features = 0;
	region->desc_num = desc_num;
	region->last_batch_head = 0;
	region->used_idx = used_idx;
	store16(&region->version, INFLIGHT_VERSION);
}

/* The last batch is done with: flags first, as after any batch. */
static void region_settle(struct inflight_region *region, const struct record *rec)
{
	for (uint32_t i = 0; i < rec->n_desc; i++)
		if (!rec->desc[i].inflight)
			store8(&region->desc[i].inflight, 0);
	store16(&region->used_idx, rec->used_idx);
}

static int take_over(struct inflight *f, struct record *rec, uint16_t desc_num, uint16_t size)
{
	int n, rc = record_read_descs(rec, f->region, desc_num);

	if (rc == 0)
		rc = record_end_batch(rec);
	if (rc < 0)
		return rc;
	n = record_count(rec, size);
	if (n > 0)
		rc = record_heads(rec, f, (uint16_t)n);
	if (n < 0 || rc < 0)
		return n < 0 ? n : rc;
	f->last = rec->last_batch_head;
	region_settle(f->region, rec);
	return INFLIGHT_RESUME;
}

int inflight_open(struct inflight *f, struct inflight_region *region, uint16_t desc_num,
		  uint16_t size, const struct virtio_ring *ring, uint16_t *next)
{
	struct record rec = { .used_idx = ring_idx(ring->used) };
	int rc = INFLIGHT_NEW;

	*f = (struct inflight){ .region = region };
	record_read_head(&rec, region);
	if (rec.version != 0) {
		if (rec.version != INFLIGHT_VERSION || rec.features != 0)
			return -EOPNOTSUPP;
		rec.avail_idx = ring_idx(ring->avail);
		rc = take_over(f, &rec, desc_num, size);
		free(rec.desc);
		if (rc == -ENOMEM) {
			inflight_close(f);
			return rc;
		}
		f->first = *next = rec.used_idx;
		if (rc < 0)
			rc = INFLIGHT_STALE;
	}
	if (rc != INFLIGHT_RESUME)
		region_clear(region, desc_num, rec.used_idx);
	return rc;
}

void inflight_close(struct inflight *f)
{
	free(f->heads);
	*f = (struct inflight){ 0 };
}

/* "When supplying used buffers", for one chain. */
static void hand_back(struct inflight *f, uint16_t head, uint16_t *idx, uint16_t used)
{
	struct inflight_desc *desc = &f->region->desc[head];

	store16(&desc->next, f->last);
	f->last = head;
	store16(&f->region->last_batch_head, head);
	store16(idx, htole16(used));
	store8(&desc->inflight, 0);
	store16(&f->region->used_idx, used);
}

/* As many of them as are due; where the used index stands then. */
static uint16_t hand_back_taken(struct inflight *f, uint16_t *idx, uint16_t from, uint16_t to)
{
	while (f->n_done < f->n && from != to)
		hand_back(f, f->heads[f->n_done++], idx, ++from);
	if (f->n_done == f->n)
		f->n = f->n_done = 0;
	return from;
}

void inflight_publish(struct inflight *f, uint16_t *idx, uint16_t from, uint16_t to)
{
	if (unlikely(f->n))
		from = hand_back_taken(f, idx, from, to);
	if (from == to)
		return;
	store16(idx, htole16(to));
	store16(&f->region->used_idx, to);
}
