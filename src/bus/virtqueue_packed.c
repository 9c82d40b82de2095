/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packed virtqueues, the device's side (virtio 1.2, 2.8).
 *
 * One ring of descriptors that driver and device both write. A position in it is an index and a
 * wrap counter (bit 15), which turns over with each lap; a descriptor is offered when its AVAIL bit
 * equals the wrap counter of our position and its USED bit does not. `next` is where we take,
 * `used` where we hand back, and `taken` the slots between the two. A chain takes as many slots as
 * it has descriptors, an indirect one a single slot; what tells the driver that it is done is one
 * used descriptor in the first of them. Rings need not have a power of two of slots.
 *
 * vq_packed_push() writes used descriptors, all but the flags of a burst's first one: the driver
 * looks at them in order, so vq_packed_publish() shows the burst by that one store.
 *
 * Trust: the flags of a chain's first descriptor are read once to learn that it is there (acquire),
 * then each descriptor is fetched once and only the copy is used. More than `size` slots are never
 * taken: a driver that offers a slot which it has not got back breaks the queue, as does a chain
 * without an end. An unusable address leaves the chain taken as in a split ring; the walk then goes
 * on to find the chain's end, which has its id.
 *
 * Notifications (2.8.10): each side has a structure that says never, always, or at which position.
 * Fences and the second look are those of virtqueue.c. How much was handed back since the last
 * interrupt is counted, since positions repeat every two laps.
 *
 * Where a ring goes on when it was not stopped (a crash) nobody can tell from the ring alone: slots
 * behind a used descriptor keep what they had. Migration: writes are marked where they happen,
 * by our address, or through the IOMMU by ring.log_desc_iova; front ends that log a used ring apart
 * mean split rings.
 */
#include "bus/virtqueue_priv.h"

#define WRAP 0x8000u
#define AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED (1u << VRING_PACKED_DESC_F_USED)
#define OFF_LEN 8 /* in a descriptor */
#define OFF_FLAGS 14

static inline uint16_t pos_add(const struct virtqueue *vq, uint16_t pos, uint32_t n)
{
	uint32_t i = (pos & ~WRAP) + n;

	return (uint16_t)(i < vq->size ? (pos & WRAP) | i : ((pos & WRAP) ^ WRAP) | (i - vq->size));
}

static inline uint16_t pos_sub(const struct virtqueue *vq, uint16_t pos, uint32_t n)
{
	uint32_t i = pos & ~WRAP;

	return (uint16_t)(i >= n ? (pos & WRAP) | (i - n)
				 : ((pos & WRAP) ^ WRAP) | (i + vq->size - n));
}

/* How far @to lies behind @from, less than two laps. */
static uint32_t pos_ahead(const struct virtqueue *vq, uint16_t from, uint16_t to)
{
	uint32_t a = (from & ~WRAP) + (from & WRAP ? 0 : vq->size);
	uint32_t b = (to & ~WRAP) + (to & WRAP ? 0 : vq->size);

	return b >= a ? b - a : b + 2u * vq->size - a;
}

static inline uint8_t *slot_at(const struct virtqueue *vq, uint16_t pos)
{
	return (uint8_t *)vq->ring.desc + (size_t)DESC_SIZE * (pos & ~WRAP);
}

static inline bool offered_at(const struct virtqueue *vq, uint16_t pos)
{
	const uint16_t *p = (const uint16_t *)(const void *)(slot_at(vq, pos) + OFF_FLAGS);
	uint16_t flags = le16toh(__atomic_load_n(p, __ATOMIC_ACQUIRE)) & (AVAIL | USED);

	return flags == (pos & WRAP ? AVAIL : USED);
}

static void ring_dirty(struct virtqueue *vq, const void *p, uint64_t iova, uint32_t len)
{
	struct mem_map *m = vq->dev->mem;

	if (likely(!m->log))
		return;
	if (m->tlb)
		mem_dirty_gpa(m, iova, len);
	else
		mem_dirty(m, p, len);
}

static void slot_dirty(struct virtqueue *vq, uint16_t pos)
{
	ring_dirty(vq, slot_at(vq, pos), vq->ring.log_desc_iova + DESC_SIZE * (pos & ~WRAP),
		   DESC_SIZE);
}

bool vq_packed_offered(const struct virtqueue *vq)
{
	return vq->taken < vq->size && offered_at(vq, vq->next);
}

/* Taking. */

/* All entries in their order; flags but for WRITE mean nothing (2.8.8). */
static int walk_table(struct walk *w, const struct desc *table)
{
	struct virtqueue *vq = w->vq;
	uint32_t n = table->len / DESC_SIZE;
	const uint8_t *base;
	struct desc d;
	int rc = indirect_check(vq, table);

	if (rc)
		return rc;
	base = mem_ptr(vq->dev->mem, (gpa){ table->addr }, table->len);
	for (uint32_t i = 0; i < n && rc == 0; i++) {
		if (w->visited++ == VQ_MAX_IOV)
			return -EMSGSIZE;
		rc = indirect_fetch(vq, table, base, i, &d);
		if (rc < 0)
			break;
		d = (struct desc){ d.addr, d.len, d.next, d.flags };
		rc = walk_add(w, &d);
	}
	return rc;
}

/* The chain at @at, which has at most @room slots. Unless it is WALK_BROKEN, w->c->elem is set. */
static int walk_slots(struct walk *w, uint16_t at, uint32_t room)
{
	struct virtqueue *vq = w->vq;
	uint32_t n = 0;
	struct desc d;
	int rc = 0;

	do {
		if (unlikely(n == room))
			return WALK_BROKEN;
		d = desc_fetch_packed(slot_at(vq, at));
		if (d.flags & VRING_DESC_F_INDIRECT)
			rc = n ? WALK_BROKEN : walk_table(w, &d);
		else if (unlikely(w->visited++ >= VQ_MAX_IOV))
			rc = -EMSGSIZE;
		else if (likely(rc == 0))
			rc = walk_add(w, &d);
		if (unlikely(rc == WALK_BROKEN))
			return rc;
		at = pos_add(vq, at, 1);
		n++;
	} while (d.flags & VRING_DESC_F_NEXT);
	w->c->elem = (struct vq_elem){ d.next, (uint16_t)n };
	return rc;
}

/* The next chain waits; those behind it are asked for, too. */
static void stall(struct virtqueue *vq, const struct vq_elem *first)
{
	struct vq_chain c = { .elem = *first };
	struct walk w = { .vq = vq, .c = &c, .visited = VQ_MAX_IOV - ASK_AHEAD };
	uint32_t room = (uint32_t)vq->size - vq->taken;
	uint16_t at = vq->next;
	int rc = 0;

	vq->stalled = true;
	while (rc == 0 || rc == -EAGAIN) {
		at = pos_add(vq, at, c.elem.slots);
		room -= c.elem.slots;
		if (room == 0 || !offered_at(vq, at))
			return;
		c = (struct vq_chain){ 0 };
		rc = walk_slots(&w, at, room);
	}
}

int vq_packed_pop(struct virtqueue *vq, struct vq_chain *c, struct iovec *iov, unsigned int max)
{
	struct walk w = { .vq = vq, .c = c, .iov = iov, .max = max };
	int rc;

	if (!offered_at(vq, vq->next))
		return 0;
	*c = (struct vq_chain){ 0 };
	rc = walk_slots(&w, vq->next, (uint32_t)vq->size - vq->taken);
	if (unlikely(rc < 0 || w.missing)) {
		rc = walk_verdict(&w, rc);
		if (rc == -EAGAIN)
			stall(vq, &c->elem);
		if (rc == -EAGAIN || rc == 0)
			return 0;
		if (rc == -E2BIG)
			return rc;
	}
	vq->next = pos_add(vq, vq->next, c->elem.slots);
	vq->taken = (uint16_t)(vq->taken + c->elem.slots);
	return unlikely(rc < 0) ? rc : 1;
}

void vq_packed_unpop(struct virtqueue *vq, const struct vq_elem *e)
{
	vq->next = pos_sub(vq, vq->next, e->slots);
	vq->taken = (uint16_t)(vq->taken - e->slots);
}

/* Handing back. */

static inline uint16_t used_flags(uint16_t pos, uint32_t written)
{
	return (uint16_t)((pos & WRAP ? AVAIL | USED : 0) | (written ? VRING_DESC_F_WRITE : 0));
}

void vq_packed_push(struct virtqueue *vq, const struct vq_elem *e, uint32_t written)
{
	uint8_t *p = slot_at(vq, vq->used);
	uint64_t entry = written | (uint64_t)e->id << 32;

	if (vq->used == vq->published) {
		const le32 len = le32_make(written);
		const le16 id = le16_make(e->id);

		memcpy(p + OFF_LEN, &len, sizeof(len));
		memcpy(p + OFF_LEN + 4, &id, sizeof(id));
		vq->first_flags = used_flags(vq->used, written);
	} else {
		entry = htole64(entry | (uint64_t)used_flags(vq->used, written) << 48);
		memcpy(p + OFF_LEN, &entry, sizeof(entry));
	}
	slot_dirty(vq, vq->used);
	vq->used = pos_add(vq, vq->used, e->slots);
	vq->taken = (uint16_t)(vq->taken - e->slots);
}

void vq_packed_publish(struct virtqueue *vq)
{
	uint16_t *flags = (uint16_t *)(void *)(slot_at(vq, vq->published) + OFF_FLAGS);

	if (vq->published == vq->used)
		return;
	__atomic_store_n(flags, htole16(vq->first_flags), __ATOMIC_RELEASE);
	slot_dirty(vq, vq->published);
	vq->fresh += pos_ahead(vq, vq->published, vq->used);
	vq->published = vq->used;
}

/* Notifications. */

/* Where and how a side wants to be notified, read or written in one piece. */
struct event {
	uint16_t pos, how;
};

static struct event event_load(const void *area)
{
	uint32_t v = le32toh(__atomic_load_n((const uint32_t *)area, __ATOMIC_RELAXED));

	return (struct event){ (uint16_t)v, (uint16_t)(v >> 16) };
}

static void event_store(struct virtqueue *vq, struct event ev)
{
	uint32_t v = ev.pos | (uint32_t)ev.how << 16;

	__atomic_store_n((uint32_t *)vq->ring.used, htole32(v), __ATOMIC_RELAXED);
	ring_dirty(vq, vq->ring.used, vq->ring.log_used_gpa, sizeof(v));
}

/* For the last @n slots before @end; nonsense of the guest's costs it an interrupt. */
static bool signal_wanted(const struct virtqueue *vq, uint16_t end, uint32_t n)
{
	struct event ev = event_load(vq->ring.avail);

	if (!vq->event_idx || ev.how != VRING_PACKED_EVENT_FLAG_DESC)
		return ev.how != VRING_PACKED_EVENT_FLAG_DISABLE;
	if (n >= 2u * vq->size || (ev.pos & ~WRAP) >= vq->size)
		return true;
	return pos_ahead(vq, ev.pos, end) - 1u < n;
}

enum vq_signal vq_packed_signal(struct virtqueue *vq)
{
	uint32_t n = vq->fresh;
	bool known = vq->signal_known;

	if (n == 0)
		return VQ_SIGNAL_NOTHING;
	vq->fresh = 0;
	vq->signalled = vq->published;
	vq->signal_known = true;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	/* The first after a start: see vq_signal(). */
	if (signal_wanted(vq, vq->published, n) || (vq->event_idx && !known)) {
		vq->unheard = 0;
		return VQ_SIGNAL_SEND;
	}
	vq->unheard = (uint16_t)min(vq->unheard + n, (uint32_t)vq->size);
	vq_look_later(vq);
	return VQ_SIGNAL_SKIP;
}

bool vq_packed_signal_missed(const struct virtqueue *vq)
{
	return vq->unheard && vq->fresh == 0 && signal_wanted(vq, vq->signalled, vq->unheard);
}

bool vq_packed_notify_enable(struct virtqueue *vq)
{
	struct event ev = { vq->next, VRING_PACKED_EVENT_FLAG_DESC };

	if (!vq->event_idx)
		ev = (struct event){ 0, VRING_PACKED_EVENT_FLAG_ENABLE };
	event_store(vq, ev);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return vq_packed_offered(vq);
}

void vq_packed_notify_disable(struct virtqueue *vq)
{
	if (vq_ready(vq))
		event_store(vq, (struct event){ 0, VRING_PACKED_EVENT_FLAG_DISABLE });
}
