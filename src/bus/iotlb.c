/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device's cache of its guest's IOMMU ("IOTLB").
 *
 * With VIRTIO_F_ACCESS_PLATFORM negotiated, what a driver writes into its rings are I/O virtual
 * addresses. Whoever has the IOMMU (a vhost-user front end) tells us pages of it when we ask, and
 * takes them back by invalidations at any time.
 *
 * The device sees this as a mem_map without regions whose `tlb` is one of these: mem_hit() never
 * hits there, and what is slow anyway looks here. A device without IOMMU pays for none of it.
 *
 * One sorted array of disjoint ranges, since front ends tell pages of 4 KiB, 2 MiB or 1 GiB as the
 * guest's tables have them; binary search. Pointers lead into @real's mappings, and permissions are
 * checked at every use.
 *
 * Pointers that somebody holds (receive buffers fetched ahead, rings) are pointers to ranges that
 * are in the array: whatever leaves it, by an invalidation, by an update that says otherwise, or
 * because of too many entries, is told to its owner by ops->dropped() before the message that was
 * the cause is acknowledged. Dropping too much costs a question and is never wrong, so entries go
 * as a whole.
 *
 * Limits: 4096 entries, then one chosen at random makes room; 64 questions without an answer, one
 * for a page; a question that nobody answers is forgotten after a while (iotlb_age()), and who
 * still waits asks again. Updates are of whole 4 KiB pages within one region, so the number of
 * steps of a translation is bounded by its length.
 */
#include "bus/iotlb.h"

#include <errno.h>
#include <string.h>

#include "base/macros.h"

#define PAGE_OF(iova) ((iova) & ~(IOTLB_PAGE - 1))

void iotlb_flush(struct iotlb *t, struct mem_map *real)
{
	t->real = real;
	t->n = t->last = 0;
	t->n_asked = 0;
}

void iotlb_init(struct iotlb *t, const struct iotlb_ops *ops, struct mem_map *real)
{
	t->ops = ops;
	t->victim = 0;
	iotlb_flush(t, real);
}

/* Index of the first entry that ends at or behind @iova. */
static uint32_t entry_from(const struct iotlb *t, uint64_t iova)
{
	uint32_t lo = 0, hi = t->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (t->entries[mid].last < iova)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static const struct iotlb_entry *entry_find(struct iotlb *t, uint64_t iova)
{
	const struct iotlb_entry *e = &t->entries[t->last];
	uint32_t i;

	if (t->last < t->n && iova >= e->first && iova <= e->last)
		return e;
	i = entry_from(t, iova);
	if (i == t->n || t->entries[i].first > iova)
		return NULL;
	t->last = i;
	return &t->entries[i];
}

/* Entries @from to @to, the latter not included. */
static void entries_drop(struct iotlb *t, uint32_t from, uint32_t to)
{
	uint64_t first, last;

	if (from == to)
		return;
	first = t->entries[from].first;
	last = t->entries[to - 1].last;
	memmove(&t->entries[from], &t->entries[to], (t->n - to) * sizeof(t->entries[0]));
	t->n -= to - from;
	t->ops->dropped(t, first, last);
}

static void range_drop(struct iotlb *t, uint64_t first, uint64_t last)
{
	uint32_t from = entry_from(t, first), to = from;

	while (to < t->n && t->entries[to].first <= last)
		to++;
	entries_drop(t, from, to);
}

/* Not the oldest: a guest that needs all of a table somewhat too small would always miss. */
static void make_room(struct iotlb *t)
{
	uint32_t i;

	if (t->n < IOTLB_ENTRIES)
		return;
	t->victim = t->victim * 1103515245u + 12345u;
	i = (t->victim >> 16) % t->n;
	entries_drop(t, i, i + 1);
}

static void insert(struct iotlb *t, const struct iotlb_entry *e)
{
	uint32_t i;

	make_room(t);
	i = entry_from(t, e->first);
	memmove(&t->entries[i + 1], &t->entries[i], (t->n - i) * sizeof(*e));
	t->entries[i] = *e;
	t->n++;
}

static void answered(struct iotlb *t, uint64_t first, uint64_t last)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < t->n_asked; i++)
		if (t->asked[i].page < first || t->asked[i].page > last)
			t->asked[n++] = t->asked[i];
	t->n_asked = n;
}

/* Front ends repeat themselves; that is no reason for anybody to give up pointers. */
static bool known(struct iotlb *t, const struct iotlb_entry *fresh)
{
	const struct iotlb_entry *e = entry_find(t, fresh->first);

	return e && e->last >= fresh->last && e->perm == fresh->perm &&
	       e->host + (fresh->first - e->first) == fresh->host;
}

/* Where the front end's address is in our mappings. */
static bool place(const struct mem_map *m, uint64_t user, uint64_t size, struct iotlb_entry *e)
{
	for (unsigned int i = 0; i < m->n; i++) {
		const struct mem_region *r = &m->regions[i];
		uint64_t off = user - r->user;

		if (off >= r->size || size > r->size - off)
			continue;
		e->host = r->host + off;
		e->region = r;
		return true;
	}
	return false;
}

int iotlb_update(struct iotlb *t, uint64_t iova, uint64_t size, uint64_t user, uint8_t perm)
{
	struct iotlb_entry e = { .first = iova, .last = iova + (size - 1), .perm = perm };

	if (size == 0 || (iova | size) % IOTLB_PAGE || e.last < iova || perm > VHOST_ACCESS_RW)
		return -EINVAL;
	if (!place(t->real, user, size, &e))
		return -EFAULT;
	answered(t, e.first, e.last);
	if (known(t, &e))
		return 0;
	range_drop(t, e.first, e.last);
	if (perm)
		insert(t, &e);
	return 0;
}

void iotlb_invalidate(struct iotlb *t, uint64_t iova, uint64_t size)
{
	uint64_t last = iova + (size - 1);

	/* A size of 0 is 2^64, which the message has no room for. */
	range_drop(t, iova, last < iova ? UINT64_MAX : last);
}

static void ask(struct iotlb *t, uint64_t page, uint8_t perm)
{
	for (uint32_t i = 0; i < t->n_asked; i++)
		if (t->asked[i].page == page && (t->asked[i].perm & perm) == perm)
			return;
	if (t->n_asked < IOTLB_ASKED && t->ops->ask(t, page, perm))
		t->asked[t->n_asked++] = (struct iotlb_question){ .page = page, .perm = perm };
}

void iotlb_age(struct iotlb *t)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < t->n_asked; i++) {
		if (t->asked[i].old)
			continue;
		t->asked[n] = t->asked[i];
		t->asked[n++].old = true;
	}
	t->n_asked = n;
}

struct pieces {
	struct iovec *iov;
	unsigned int n, max;
	const struct mem_region *region; /* of the last */
	bool none;			 /* nobody wants them */
};

/* Neighbours in one region are one piece; the dirty log takes a piece's guest pages for neighbours,
 * too. */
static int piece_add(struct pieces *s, const struct iotlb_entry *e, uint64_t at, uint64_t len)
{
	struct iovec *v;
	uint8_t *p = e->host + (at - e->first);

	if (s->none)
		return 0;
	v = s->n > 0 ? &s->iov[s->n - 1] : NULL;
	if (v && s->region == e->region && (uint8_t *)v->iov_base + v->iov_len == p) {
		v->iov_len += len;
		return 0;
	}
	if (s->n == s->max)
		return -E2BIG;
	s->region = e->region;
	s->iov[s->n++] = (struct iovec){ p, len };
	return 0;
}

static int translate(struct iotlb *t, gpa addr, uint64_t len, uint8_t perm, struct pieces *s)
{
	bool missing = false;
	uint64_t at = addr.a, end;

	if (__builtin_add_overflow(at, len, &end))
		return -EFAULT;
	while (at < end) {
		const struct iotlb_entry *e = entry_find(t, at);
		uint64_t here = e ? e->last - at + 1 : IOTLB_PAGE - at % IOTLB_PAGE;

		here = min(here, end - at);
		if (!e) {
			/* All that is missing is asked for at once. */
			ask(t, PAGE_OF(at), perm);
			missing = true;
		} else if ((e->perm & perm) != perm) {
			return -EFAULT;
		} else if (!missing && piece_add(s, e, at, here) < 0) {
			return -E2BIG;
		}
		at += here;
	}
	return missing ? -EAGAIN : (int)s->n;
}

int iotlb_iov(struct iotlb *t, gpa addr, uint64_t len, uint8_t perm, struct iovec *iov,
	      unsigned int max)
{
	struct pieces s = { .iov = iov, .max = max };

	return translate(t, addr, len, perm, &s);
}

int iotlb_want(struct iotlb *t, gpa addr, uint64_t len, uint8_t perm)
{
	struct pieces s = { .none = true };

	return translate(t, addr, len, perm, &s);
}

void iotlb_dirty(struct iotlb *t, uint64_t iova, uint64_t len)
{
	while (len > 0) {
		const struct iotlb_entry *e = entry_find(t, iova);
		uint64_t here = e ? e->last - iova + 1 : IOTLB_PAGE - iova % IOTLB_PAGE;

		here = min(here, len);
		if (e)
			mem_dirty_slow(t->real, e->host + (iova - e->first), here);
		iova += here;
		len -= here;
	}
}
