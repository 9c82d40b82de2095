/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Address spaces: who answers at an address.
 *
 * The regions hang in a list, the one that wins first. From it follows the flat list of disjoint
 * ranges, sorted by address: each region in the list's order takes what nobody before it has. n
 * regions make at most 2n - 1 ranges, and the room for them is there before a region is added; so
 * only adding can fail, and a removal (which a guest causes) never does.
 *
 * A handler may add and remove regions, its own too, and free what it was called with: after each
 * call nothing that was known before is used again but numbers.
 */
#include "bus/aspace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"

void as_init(struct aspace *as, const char *name, uint64_t last_addr)
{
	*as = (struct aspace){ .name = name, .last_addr = last_addr };
}

void as_fini(struct aspace *as)
{
	struct as_region *next;

	for (struct as_region *r = as->regions; r; r = next) {
		next = r->next;
		r->space = NULL;
		r->next = NULL;
	}
	free(as->flat);
	as_init(as, as->name, as->last_addr);
}

/* The flat list. */

/* First range that does not end before @addr. */
static unsigned int range_from(const struct aspace *as, uint64_t addr)
{
	unsigned int lo = 0, hi = as->n_flat;

	while (lo < hi) {
		unsigned int mid = lo + (hi - lo) / 2;

		if (as->flat[mid].last < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void range_insert(struct aspace *as, unsigned int at, uint64_t first, uint64_t last,
			 struct as_region *r)
{
	struct as_range *p = as->flat + at;

	memmove(p + 1, p, (as->n_flat - at) * sizeof(*p));
	*p = (struct as_range){ first, last, r };
	as->n_flat++;
}

/* What is still nobody's of @r's place. */
static void flat_add(struct aspace *as, struct as_region *r)
{
	uint64_t at = r->addr, last = r->addr + (r->size - 1);
	unsigned int i = range_from(as, at);

	for (; i < as->n_flat && as->flat[i].first <= last; i++) {
		if (as->flat[i].first > at)
			range_insert(as, i, at, as->flat[i].first - 1, r);
		if (as->flat[i].last >= last)
			return;
		at = as->flat[i].last + 1;
	}
	range_insert(as, i, at, last, r);
}

static void flat_rebuild(struct aspace *as)
{
	as->n_flat = 0;
	as->hit = 0;
	for (struct as_region *r = as->regions; r; r = r->next)
		flat_add(as, r);
}

static int flat_reserve(struct aspace *as)
{
	unsigned int need = 2;
	struct as_range *flat;

	for (struct as_region *r = as->regions; r; r = r->next)
		need += 2;
	if (need <= as->n_room)
		return 0;
	need *= 2;
	flat = realloc(as->flat, need * sizeof(*flat));
	if (!flat)
		return -ENOMEM;
	as->flat = flat;
	as->n_room = need;
	return 0;
}

/* Regions. */

int as_add(struct aspace *as, struct as_region *r, uint64_t addr)
{
	struct as_region **p = &as->regions;

	if (r->space)
		return -EBUSY;
	if (r->size == 0 || addr > as->last_addr || r->size - 1 > as->last_addr - addr)
		return -EINVAL;
	if (flat_reserve(as) < 0)
		return -ENOMEM;
	while (*p && (*p)->priority > r->priority)
		p = &(*p)->next;
	r->next = *p;
	*p = r;
	r->space = as;
	r->addr = addr;
	flat_rebuild(as);
	return 0;
}

void as_remove(struct as_region *r)
{
	struct aspace *as = r->space;
	struct as_region **p;

	if (!as)
		return;
	for (p = &as->regions; *p != r; p = &(*p)->next)
		;
	*p = r->next;
	r->next = NULL;
	r->space = NULL;
	flat_rebuild(as);
}

/* The range that @addr lies in, or the first one behind it, or null. */
static const struct as_range *range_at(struct aspace *as, uint64_t addr)
{
	const struct as_range *range;
	unsigned int i;

	if (unlikely(as->n_flat == 0))
		return NULL;
	range = as->flat + as->hit;
	if (likely(as->hit < as->n_flat) && likely(addr >= range->first && addr <= range->last))
		return range;
	i = range_from(as, addr);
	if (i == as->n_flat)
		return NULL;
	as->hit = i;
	return as->flat + i;
}

struct as_region *as_find(struct aspace *as, uint64_t addr)
{
	const struct as_range *range = range_at(as, addr);

	return range && range->first <= addr ? range->region : NULL;
}

struct as_region *as_find_below(const struct as_region *r, uint64_t addr)
{
	if (!r->space)
		return NULL;
	for (r = r->next; r; r = r->next)
		if (addr >= r->addr && addr - r->addr < r->size)
			break;
	return (struct as_region *)(uintptr_t)r;
}

/* Accesses. */

/*
 * The part of an access that begins at @addr and has one answer: its size, as handlers take them,
 * and the region (null: none answers).
 */
static unsigned int part_at(struct aspace *as, uint64_t addr, unsigned int len,
			    struct as_region **region)
{
	const struct as_range *range = range_at(as, addr);
	uint64_t more = len - 1; /* bytes behind the first one that answer alike */

	*region = NULL;
	if (range && range->first <= addr) {
		*region = range->region;
		more = min(more, range->last - addr);
	} else if (range) {
		more = min(more, range->first - 1 - addr);
	}
	return more >= 7 ? 8 : more >= 3 ? 4 : more >= 1 ? 2 : 1;
}

static uint64_t ones(unsigned int size)
{
	return UINT64_MAX >> (64 - 8 * size);
}

uint64_t as_read(struct aspace *as, uint64_t addr, unsigned int size)
{
	uint64_t value = ones(size), v;
	struct as_region *r;

	for (unsigned int done = 0, n; done < size && addr <= as->last_addr; done += n) {
		n = part_at(as, addr, size - done, &r);
		if (r) {
			v = r->ops->read(r->opaque, addr - r->addr, n);
			value &= ~(ones(n) << (8 * done));
			value |= (v & ones(n)) << (8 * done);
		}
		if (as->last_addr - addr < n)
			break;
		addr += n;
	}
	return value;
}

void as_write(struct aspace *as, uint64_t addr, unsigned int size, uint64_t value)
{
	struct as_region *r;

	for (unsigned int done = 0, n; done < size && addr <= as->last_addr; done += n) {
		n = part_at(as, addr, size - done, &r);
		if (r)
			r->ops->write(r->opaque, addr - r->addr, n, value >> (8 * done) & ones(n));
		if (as->last_addr - addr < n)
			break;
		addr += n;
	}
}
