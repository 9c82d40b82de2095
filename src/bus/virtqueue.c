/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Split virtqueues, the device's side (virtio 1.2, 2.7; legacy rings have the same layout), and the
 * calls by which devices know both forms. Packed ones are in virtqueue_packed.c: a queue's form is
 * asked once a call, and nothing else of this file knows of the other.
 *
 * The driver offers chains in the avail ring; vq_pop() takes them in order. vq_unpop() moves the
 * cursor back, which costs nothing, so that devices look ahead and retain frames without copying.
 * vq_push() fills the used ring and vq_publish() shows it, once per burst.
 *
 * Trust: ring memory belongs to a guest that writes to it at any time. avail.idx is read once
 * (acquire) per batch and may be at most `size` ahead. Every descriptor is fetched once into
 * registers, and only that copy is validated and used. A chain visits at most min(size, VQ_MAX_IOV)
 * direct and VQ_MAX_IOV indirect descriptors, whatever their lengths. Addresses are translated with
 * their length.
 *
 * Two grades of error. What makes the ring itself untrustworthy (index jump, head or next out of
 * range, a loop, readable after writable, a malformed indirect descriptor) breaks the queue: it
 * stops until it is set up again and host_ops->queue_broken hears of it. What concerns one chain
 * (unmapped address, too long) leaves the chain taken and the error to the device.
 *
 * Notifications. From us: with event index (2.7.10) an interrupt is due if used_event lies in what
 * was published since the last one; else if NO_INTERRUPT is clear. From the guest: avail_event, or
 * NO_NOTIFY. In both directions a store is followed by a load of what the other side stores before
 * it loads ours; a full fence stands between them, on x86 too.
 *
 * A second look. Not every guest has that fence: QEMU's tcg drops it while the machine has one CPU
 * (LOCK prefixes up to 11.1 at least, MFENCE before 8.1). Its store then leaves the processor after
 * its load, both sides find that nothing is due, and with an event index nothing ever will be: a
 * network that stands still for good, within seconds at a high packet rate. So whenever doorbells
 * are asked for, or an interrupt is spared, the ring is looked at again when no store can be on its
 * way any more. Each queue has a timer, set only while there is something to look at.
 *
 * Behind an IOMMU (dev->mem->tlb) an address may not be known yet. Then the chain is not taken: the
 * walk goes on to its end, so that all of it is asked for (and some of what is behind it), and the
 * queue is `stalled`: it seems empty, asks for no doorbells, and is kicked when an answer has come
 * (virtio_queues_retry()). What is wrong with a chain is found by the walk that has everything.
 *
 * Little-endian throughout: legacy rings are in guest order, and hosts and guests of this library
 * are little-endian. Migration: every write to the used ring is marked at ring.log_used_gpa.
 */
#include "bus/virtqueue_priv.h"

#include <linux/virtio_config.h>
#include <stddef.h>
#include <stdlib.h>

#include "bus/inflight.h"

#define USED_HEADER 4 /* flags, idx */
#define USED_ELEM 8   /* id, len */
#define LOOK_NS 10000000
#define LOOKS 2 /* the next may come too soon, the one after it is LOOK_NS away */

#define vq_of_look(t) ((struct virtqueue *)((char *)(t)-offsetof(struct virtqueue, look)))

static inline uint16_t ring_load16(const void *p, int order)
{
	return le16toh(__atomic_load_n((const uint16_t *)p, order));
}

static inline void ring_store16(void *p, uint16_t v, int order)
{
	__atomic_store_n((uint16_t *)p, htole16(v), order);
}

/* avail: flags, idx, ring[size], used_event. used: flags, idx, ring[size], avail_event. */
static inline uint8_t *avail_at(const struct virtqueue *vq, uint32_t off)
{
	return (uint8_t *)vq->ring.avail + off;
}

static inline uint8_t *used_at(const struct virtqueue *vq, uint32_t off)
{
	return (uint8_t *)vq->ring.used + off;
}

static void used_dirty(struct virtqueue *vq, uint32_t off, uint32_t len)
{
	if (unlikely(vq->ring.log))
		mem_dirty_gpa(vq->dev->mem, vq->ring.log_used_gpa + off, len);
}

void vq_break(struct virtqueue *vq)
{
	if (vq->broken)
		return;
	vq->broken = true;
	if (vq->dev->host_ops && vq->dev->host_ops->queue_broken)
		vq->dev->host_ops->queue_broken(vq->dev, vq->index);
}

/* Reads avail.idx; true if there is something to take. */
static bool avail_refresh(struct virtqueue *vq)
{
	uint16_t idx = ring_load16(avail_at(vq, 2), __ATOMIC_ACQUIRE);

	if (unlikely((uint16_t)(idx - vq->next) > vq->size)) {
		vq_break(vq);
		return false;
	}
	vq->avail_idx = idx;
	return idx != vq->next;
}

static int walk_indirect(struct walk *w, const struct desc *table)
{
	struct virtqueue *vq = w->vq;
	uint32_t n = table->len / DESC_SIZE, i = 0;
	const uint8_t *base;
	struct desc d;
	int rc = indirect_check(vq, table);

	if (rc)
		return rc;
	base = mem_ptr(vq->dev->mem, (gpa){ table->addr }, table->len);
	for (uint32_t seen = 0;; seen++) {
		/* More steps than entries is a loop. */
		if (seen == n)
			return WALK_BROKEN;
		if (w->visited++ == VQ_MAX_IOV)
			return -EMSGSIZE;
		rc = indirect_fetch(vq, table, base, i, &d);
		if (rc < 0)
			return rc;
		if (d.flags & VRING_DESC_F_INDIRECT)
			return WALK_BROKEN;
		rc = walk_add(w, &d);
		if (rc < 0 || !(d.flags & VRING_DESC_F_NEXT))
			return rc;
		i = d.next;
		if (i >= n)
			return WALK_BROKEN;
	}
}

static int walk_chain(struct walk *w, uint16_t head)
{
	struct virtqueue *vq = w->vq;
	const uint8_t *table = vq->ring.desc;
	uint16_t i = head;
	struct desc d;
	int rc;

	for (uint32_t seen = 0;; seen++) {
		if (unlikely(i >= vq->size || seen == vq->size))
			return WALK_BROKEN;
		d = desc_fetch(table + (size_t)i * DESC_SIZE);
		if (d.flags & VRING_DESC_F_INDIRECT)
			return walk_indirect(w, &d);
		if (unlikely(w->visited++ == VQ_MAX_IOV))
			return -EMSGSIZE;
		rc = walk_add(w, &d);
		if (unlikely(rc < 0) || !(d.flags & VRING_DESC_F_NEXT))
			return rc;
		i = d.next;
	}
}

/* Of the chain at @idx of the available ring. */
static inline uint16_t head_at(const struct virtqueue *vq, uint16_t idx)
{
	uint32_t slot = idx & (vq->size - 1u);
	uint16_t head;

	if (unlikely(vq->inflight) && inflight_head(vq->inflight, idx, &head))
		return head;
	return ring_load16(avail_at(vq, 4 + 2u * slot), __ATOMIC_RELAXED);
}

/* The next chain waits. Those behind it will have to wait, too, if they are not asked for now. */
static void stall(struct virtqueue *vq)
{
	struct vq_chain c;
	struct walk w = { .vq = vq, .c = &c, .visited = VQ_MAX_IOV - ASK_AHEAD };
	uint16_t i = vq->next;
	int rc = 0;

	vq->stalled = true;
	while (++i != vq->avail_idx && (rc == 0 || rc == -EAGAIN)) {
		c = (struct vq_chain){ 0 };
		rc = walk_chain(&w, head_at(vq, i));
	}
}

int vq_pop(struct virtqueue *vq, struct vq_chain *c, struct iovec *iov, unsigned int max)
{
	struct walk w = { .vq = vq, .c = c, .iov = iov, .max = max };
	uint16_t head;
	int rc;

	if (unlikely(vq->broken))
		return 0;
	if (unlikely(vq->packed))
		return vq_packed_pop(vq, c, iov, max);
	if (vq->next == vq->avail_idx && !avail_refresh(vq))
		return 0;
	head = head_at(vq, vq->next);
	*c = (struct vq_chain){ .elem = { head, 1 } };
	rc = walk_chain(&w, head);
	if (likely(rc == 0 && !w.missing)) {
		vq->next++;
		return 1;
	}
	rc = walk_verdict(&w, rc);
	if (rc == -EAGAIN)
		stall(vq);
	else if (rc < 0 && rc != -E2BIG)
		vq->next++;
	return rc == -EAGAIN ? 0 : rc;
}

void vq_unpop(struct virtqueue *vq, const struct vq_elem *e)
{
	if (unlikely(vq->packed)) {
		vq_packed_unpop(vq, e);
		return;
	}
	vq->next = (uint16_t)(vq->next - e->slots);
}

void vq_push(struct virtqueue *vq, const struct vq_elem *e, uint32_t written)
{
	uint8_t *p;
	const le32 entry[2] = { le32_make(e->id), le32_make(written) };

	if (unlikely(vq->packed)) {
		vq_packed_push(vq, e, written);
		return;
	}
	p = used_at(vq, USED_HEADER + USED_ELEM * (vq->used & (vq->size - 1u)));
	memcpy(p, entry, sizeof(entry));
	vq->used++;
}

static void published_dirty(struct virtqueue *vq)
{
	uint32_t from = vq->published & (vq->size - 1u);
	uint32_t n = (uint16_t)(vq->used - vq->published);
	uint32_t first = min(n, vq->size - from);

	used_dirty(vq, USED_HEADER + USED_ELEM * from, USED_ELEM * first);
	used_dirty(vq, USED_HEADER, USED_ELEM * (n - first));
	used_dirty(vq, 2, 2);
}

void vq_publish(struct virtqueue *vq)
{
	if (unlikely(vq->packed)) {
		vq_packed_publish(vq);
		return;
	}
	if (vq->published == vq->used)
		return;
	if (unlikely(vq->inflight))
		inflight_publish(vq->inflight, (uint16_t *)(void *)used_at(vq, 2), vq->published,
				 vq->used);
	else
		ring_store16(used_at(vq, 2), vq->used, __ATOMIC_RELEASE);
	if (unlikely(vq->ring.log))
		published_dirty(vq);
	vq->published = vq->used;
}

void vq_look_later(struct virtqueue *vq)
{
	vq->looks = LOOKS;
	if (!vq->look.slot)
		twx_timer_set(&vq->look, twx_loop_now(vq->loop) + LOOK_NS);
}

/* For what was published from @old to @new. */
static bool signal_wanted(const struct virtqueue *vq, uint16_t new, uint16_t old)
{
	if (vq->event_idx)
		return vring_need_event(
			ring_load16(avail_at(vq, 4 + 2u * vq->size), __ATOMIC_RELAXED), new, old);
	return !(ring_load16(avail_at(vq, 0), __ATOMIC_RELAXED) & VRING_AVAIL_F_NO_INTERRUPT);
}

enum vq_signal vq_signal(struct virtqueue *vq)
{
	uint16_t old = vq->signalled, new = vq->published;
	bool known = vq->signal_known;

	if (unlikely(vq->packed))
		return vq_packed_signal(vq);
	if (old == new)
		return VQ_SIGNAL_NOTHING;
	vq->signalled = new;
	vq->signal_known = true;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	/* The first after a start goes out anyway: a predecessor may have died before its own. */
	if (signal_wanted(vq, new, old) || (vq->event_idx && !known)) {
		vq->unheard = 0;
		return VQ_SIGNAL_SEND;
	}
	/* A guest that waits has an index among the last `size`. */
	vq->unheard = (uint16_t)min((uint32_t)vq->unheard + (uint16_t)(new - old), vq->size);
	vq_look_later(vq);
	return VQ_SIGNAL_SKIP;
}

/* What is not considered yet will be at the round's end. */
static bool signal_missed(const struct virtqueue *vq)
{
	if (vq->packed)
		return vq_packed_signal_missed(vq);
	return vq->unheard && vq->signalled == vq->published &&
	       signal_wanted(vq, vq->signalled, (uint16_t)(vq->signalled - vq->unheard));
}

static bool doorbell_missed(const struct virtqueue *vq)
{
	if (vq->packed)
		return vq->asked && vq_packed_offered(vq);
	return vq->asked && ring_load16(avail_at(vq, 2), __ATOMIC_ACQUIRE) != vq->avail_idx;
}

static void look_again(struct virtqueue *vq)
{
	struct virtio_dev *dev = vq->dev;

	if (signal_missed(vq) && dev->host_ops) {
		vq->unheard = 0;
		dev->host_ops->notify_queue(dev, vq->index);
	}
	if (doorbell_missed(vq))
		dev->ops->kick(dev, vq->index);
}

void vq_look(struct twx_timer *t)
{
	struct virtqueue *vq = vq_of_look(t);

	if (!vq->looks)
		return;
	vq->looks--;
	if (vq_ready(vq))
		look_again(vq);
	if (vq->looks && !t->slot)
		twx_timer_set(t, twx_loop_now(vq->loop) + LOOK_NS);
}

static void used_flags(struct virtqueue *vq, uint16_t flags)
{
	ring_store16(used_at(vq, 0), flags, __ATOMIC_RELAXED);
	used_dirty(vq, 0, 2);
}

bool vq_notify_enable(struct virtqueue *vq)
{
	uint32_t off = USED_HEADER + USED_ELEM * (uint32_t)vq->size;

	if (!vq_ready(vq) || unlikely(vq->stalled))
		return false;
	vq->asked = true;
	vq_look_later(vq);
	if (unlikely(vq->packed))
		return vq_packed_notify_enable(vq);
	if (vq->event_idx) {
		ring_store16(used_at(vq, off), vq->next, __ATOMIC_RELAXED);
		used_dirty(vq, off, 2);
	} else {
		used_flags(vq, 0);
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return avail_refresh(vq);
}

/* An event index that stays where it is asks for one doorbell at most: nothing to write. */
void vq_notify_disable(struct virtqueue *vq)
{
	vq->asked = false;
	if (unlikely(vq->packed))
		vq_packed_notify_disable(vq);
	else if (vq_ready(vq) && !vq->event_idx)
		used_flags(vq, VRING_USED_F_NO_NOTIFY);
}
