/* SPDX-License-Identifier: BSD-3-Clause */
/* Flow table of the user-mode network: slots in one lazily populated mapping, chains by keyed hash.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backends/user/flow.h"
#include "backends/user/lanes.h"
#include "base/macros.h"

_Static_assert(sizeof(struct flow_key) == 40, "keys are hashed as bytes: no hidden padding");
_Static_assert(sizeof(struct flow) + sizeof(struct flow_io) + 2 * sizeof(uint32_t) < 512,
	       "10,000 idle flows must stay under 1 KiB each");

/* Pages that nobody touched cost nothing, so the table may be sized for the worst case. */
static void *map_zero(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void unmap(void *p, size_t len)
{
	if (p)
		munmap(p, len);
}

static uint32_t round_up_pow2(uint32_t v)
{
	uint32_t p = 16;

	while (p < v)
		p <<= 1;
	return p;
}

int flow_table_init(struct flow_table *t, struct user *u, uint32_t max_flows)
{
	memset(t, 0, sizeof(*t));
	if (max_flows == 0 || max_flows > 1u << 24)
		return -EINVAL;
	t->max = max_flows;
	t->n_buckets = round_up_pow2(max_flows); /* load factor at most 1 */
	siphash_key_random(&t->hash_key);
	t->flows = map_zero((size_t)t->max * sizeof(*t->flows));
	t->io = map_zero((size_t)t->max * sizeof(*t->io));
	t->buckets = map_zero((size_t)t->n_buckets * sizeof(*t->buckets));
	if (!t->flows || !t->io || !t->buckets) {
		flow_table_fini(t);
		return -ENOMEM;
	}
	t->user = u;
	return 0;
}

void flow_table_fini(struct flow_table *t)
{
	unmap(t->flows, (size_t)t->max * sizeof(*t->flows));
	unmap(t->io, (size_t)t->max * sizeof(*t->io));
	unmap(t->buckets, (size_t)t->n_buckets * sizeof(*t->buckets));
	memset(t, 0, sizeof(*t));
}

uint64_t flow_hash(const struct flow_table *t, const void *data, size_t len)
{
	return siphash(&t->hash_key, data, len);
}

static uint32_t *bucket_of(struct flow_table *t, const struct flow_key *key)
{
	return &t->buckets[flow_hash(t, key, sizeof(*key)) & (t->n_buckets - 1)];
}

uint32_t flow_index(const struct flow_table *t, const struct flow *f)
{
	return (uint32_t)(f - t->flows);
}

struct flow_io *flow_io(struct flow_table *t, struct flow *f)
{
	return &t->io[flow_index(t, f)];
}

struct flow *flow_find(struct flow_table *t, const struct flow_key *key)
{
	uint32_t i;

	for (i = *bucket_of(t, key); i; i = t->flows[i - 1].hash_next) {
		struct flow *f = &t->flows[i - 1];

		if (memcmp(&f->key, key, sizeof(*key)) == 0)
			return f;
	}
	return NULL;
}

static void lru_append(struct flow_table *t, struct flow *f)
{
	uint8_t kind = f->key.kind;
	uint32_t self = flow_index(t, f) + 1;

	f->lru_next = 0;
	f->lru_prev = t->lru_tail[kind];
	if (f->lru_prev)
		t->flows[f->lru_prev - 1].lru_next = self;
	else
		t->lru_head[kind] = self;
	t->lru_tail[kind] = self;
}

static void lru_remove(struct flow_table *t, struct flow *f)
{
	uint8_t kind = f->key.kind;

	if (f->lru_prev)
		t->flows[f->lru_prev - 1].lru_next = f->lru_next;
	else
		t->lru_head[kind] = f->lru_next;
	if (f->lru_next)
		t->flows[f->lru_next - 1].lru_prev = f->lru_prev;
	else
		t->lru_tail[kind] = f->lru_prev;
}

/* A free slot, the lowest never used one if no other was given back. */
static struct flow *slot_take(struct flow_table *t)
{
	struct flow *f;

	if (t->free) {
		f = &t->flows[t->free - 1];
		t->free = f->hash_next;
		return f;
	}
	return t->high < t->max ? &t->flows[t->high++] : NULL;
}

struct flow *flow_new(struct flow_table *t, const struct flow_key *key, uint64_t now)
{
	struct flow *f = slot_take(t);
	struct flow_io *io;
	uint32_t *bucket;

	if (!f)
		return NULL;
	if (unlikely(t->user && t->user->lanes) && !lanes_claim(t->user, key)) {
		f->hash_next = t->free;
		t->free = flow_index(t, f) + 1;
		return NULL;
	}
	memset(f, 0, sizeof(*f));
	f->key = *key;
	f->fd = -1;
	f->last_used = now;
	io = flow_io(t, f);
	memset(io, 0, sizeof(*io));
	io->user = t->user;
	bucket = bucket_of(t, key);
	f->hash_next = *bucket;
	*bucket = flow_index(t, f) + 1;
	lru_append(t, f);
	t->n++;
	t->count[key->kind]++;
	return f;
}

static void chain_remove(struct flow_table *t, struct flow *f)
{
	uint32_t self = flow_index(t, f) + 1, *link = bucket_of(t, &f->key);

	while (*link != self)
		link = &t->flows[*link - 1].hash_next;
	*link = f->hash_next;
}

void flow_free(struct flow_table *t, struct flow *f)
{
	struct flow_io *io = flow_io(t, f);

	twx_watch_del(&io->watch);
	if (io->timer.loop)
		twx_timer_cancel(&io->timer);
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
	free(io->tail);
	io->tail = NULL;
	chain_remove(t, f);
	lru_remove(t, f);
	if (unlikely(t->user && t->user->lanes))
		lanes_release(t->user, &f->key);
	t->n--;
	t->count[f->key.kind]--;
	memset(&f->key, 0, sizeof(f->key)); /* kind becomes FLOW_FREE */
	f->hash_next = t->free;
	t->free = flow_index(t, f) + 1;
}

void flow_touch(struct flow_table *t, struct flow *f, uint64_t now)
{
	f->last_used = now;
	if (!f->lru_next)
		return; /* the newest already */
	lru_remove(t, f);
	lru_append(t, f);
}

void flow_retire(struct flow_table *t, struct flow *f)
{
	uint8_t kind = f->key.kind;
	uint32_t self = flow_index(t, f) + 1;

	lru_remove(t, f);
	f->lru_prev = 0;
	f->lru_next = t->lru_head[kind];
	if (f->lru_next)
		t->flows[f->lru_next - 1].lru_prev = self;
	else
		t->lru_tail[kind] = self;
	t->lru_head[kind] = self;
}

struct flow *flow_oldest(struct flow_table *t, enum flow_kind kind)
{
	return t->lru_head[kind] ? &t->flows[t->lru_head[kind] - 1] : NULL;
}

static struct flow *flow_of_io(struct flow_io *io)
{
	struct flow_table *t = &io->user->flows;

	return &t->flows[io - t->io];
}

struct flow *flow_of_watch(struct twx_watch *w)
{
	return flow_of_io(container_of(w, struct flow_io, watch));
}

struct flow *flow_of_timer(struct twx_timer *tm)
{
	return flow_of_io(container_of(tm, struct flow_io, timer));
}
