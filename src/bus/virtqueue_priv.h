/* SPDX-License-Identifier: BSD-3-Clause */
/* What the two forms of virtqueues share: descriptors, the walk along a chain, and the second look.
 */
#ifndef BUS_VIRTQUEUE_PRIV_H
#define BUS_VIRTQUEUE_PRIV_H

#include <errno.h>
#include <linux/vhost_types.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "base/endian.h"
#include "base/macros.h"
#include "bus/iotlb.h"
#include "bus/virtqueue.h"

#define DESC_SIZE 16
#define CHAIN_MAX_BYTES (1u << 30)
#define CHAIN_MAX_IOVA (4u << 20) /* behind an IOMMU, which is asked page by page */
#define ASK_AHEAD 32		  /* descriptors */

/* A descriptor's private copy, native. */
struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next; /* packed: the buffer's id in place of next */
};

/* Reads the 16 bytes once: the barrier keeps the compiler from going back to guest memory. */
static inline struct desc desc_fetch(const void *p)
{
	uint64_t w[2];
	struct desc d;

	memcpy(w, p, sizeof(w));
	__asm__ volatile("" : "+r"(w[0]), "+r"(w[1]));
	d.addr = le64toh(w[0]);
	w[1] = le64toh(w[1]);
	d.len = (uint32_t)w[1];
	d.flags = (uint16_t)(w[1] >> 32);
	d.next = (uint16_t)(w[1] >> 48);
	return d;
}

/* The same of a packed ring's descriptor, which has the two in the other order (2.8.12). */
static inline struct desc desc_fetch_packed(const void *p)
{
	struct desc d = desc_fetch(p);

	return (struct desc){ d.addr, d.len, d.next, d.flags };
}

/* The walk along one chain. */
struct walk {
	struct virtqueue *vq;
	struct vq_chain *c;
	struct iovec *iov; /* null: addresses are only asked for */
	unsigned int max;
	unsigned int visited;
	bool missing; /* an address is not known yet */
};

/* Why the ring cannot be trusted any more. */
#define WALK_BROKEN (-EPROTO)

/* Through the IOMMU. What is missing counts for nothing in this walk, which leads to nothing then.
 */
static inline int walk_iova(struct walk *w, const struct desc *d, unsigned int at)
{
	const struct vq_chain *c = w->c;
	struct iotlb *tlb = w->vq->dev->mem->tlb;
	uint8_t perm = d->flags & VRING_DESC_F_WRITE ? VHOST_ACCESS_WO : VHOST_ACCESS_RO;
	int n;

	if ((uint64_t)c->out_len + c->in_len + d->len > CHAIN_MAX_IOVA)
		return -EMSGSIZE;
	if (!w->iov)
		n = iotlb_want(tlb, (gpa){ d->addr }, d->len, perm);
	else
		n = iotlb_iov(tlb, (gpa){ d->addr }, d->len, perm, w->iov + at, w->max - at);
	if (n != -EAGAIN)
		return n;
	w->missing = true;
	return 0;
}

static inline int walk_translate(struct walk *w, const struct desc *d, unsigned int at)
{
	struct mem_map *m = w->vq->dev->mem;
	gpa addr = { d->addr };
	void *p = mem_hit(m, addr, d->len);

	if (unlikely(!p && m->tlb))
		return walk_iova(w, d, at);
	if (unlikely(!p || at == w->max))
		return mem_iov(m, addr, d->len, w->iov + at, w->max - at);
	w->iov[at].iov_base = p;
	w->iov[at].iov_len = d->len;
	return 1;
}

static inline __attribute__((always_inline)) int walk_add(struct walk *w, const struct desc *d)
{
	struct vq_chain *c = w->c;
	int n;

	if (unlikely(!(d->flags & VRING_DESC_F_WRITE) && c->n_in))
		return WALK_BROKEN;
	if (unlikely(d->len == 0))
		return 0;
	if (unlikely((uint64_t)c->out_len + c->in_len + d->len > CHAIN_MAX_BYTES))
		return -EMSGSIZE;
	n = walk_translate(w, d, (unsigned int)c->n_out + c->n_in);
	if (unlikely(n < 0))
		return n;
	if (d->flags & VRING_DESC_F_WRITE) {
		c->n_in = (uint16_t)(c->n_in + n);
		c->in_len += d->len;
	} else {
		c->n_out = (uint16_t)(c->n_out + n);
		c->out_len += d->len;
	}
	return 0;
}

/* One that lies across two pages is put together here. */
static inline int indirect_iova(struct iotlb *t, gpa addr, struct desc *out)
{
	uint8_t whole[DESC_SIZE];
	struct iovec v[2];
	int n = iotlb_iov(t, addr, DESC_SIZE, VHOST_ACCESS_RO, v, 2);

	if (n < 0)
		return n;
	if (n == 2) {
		memcpy(whole, v[0].iov_base, v[0].iov_len);
		memcpy(whole + v[0].iov_len, v[1].iov_base, v[1].iov_len);
	}
	*out = desc_fetch(n == 2 ? whole : v[0].iov_base);
	return 0;
}

/* Can it be walked as an indirect table? (virtio 1.2, 2.7.5.3.1, 2.8.7) */
static inline int indirect_check(const struct virtqueue *vq, const struct desc *table)
{
	uint32_t n = table->len / DESC_SIZE;
	uint64_t end;

	if (!vq->indirect || (table->flags & VRING_DESC_F_NEXT) || n == 0 ||
	    table->len % DESC_SIZE || n > 32768)
		return WALK_BROKEN;
	return __builtin_add_overflow(table->addr, table->len, &end) ? -EFAULT : 0;
}

/* Entry @i of an indirect table; the table may cross from one region into its neighbour. */
static inline int indirect_fetch(struct virtqueue *vq, const struct desc *table,
				 const uint8_t *base, uint32_t i, struct desc *out)
{
	gpa addr = { table->addr + (uint64_t)i * DESC_SIZE };
	const void *p =
		base ? base + (size_t)i * DESC_SIZE : mem_ptr(vq->dev->mem, addr, DESC_SIZE);

	if (unlikely(!p))
		return vq->dev->mem->tlb ? indirect_iova(vq->dev->mem->tlb, addr, out) : -EFAULT;
	*out = desc_fetch(p);
	return 0;
}

/*
 * Of a walk that went wrong: 0, and the queue is broken; -EAGAIN, an address is not known yet;
 * -E2BIG, there are too few iovecs; else an error that concerns the chain, which counts as taken.
 */
static inline int walk_verdict(struct walk *w, int rc)
{
	if (rc == WALK_BROKEN) {
		vq_break(w->vq);
		return 0;
	}
	if (rc == -E2BIG && w->max >= VQ_MAX_IOV)
		return -EMSGSIZE;
	return rc == 0 ? -EAGAIN : rc;
}

/* virtqueue.c: something was spared, and is to be looked at again. */
void vq_look_later(struct virtqueue *vq);

/*
 * virtqueue_packed.c: the calls of virtqueue.h for packed rings, and what vq_look() asks. A packed
 * ring's `next`, `used`, `published` and `signalled` are positions: an index, and in bit 15 the
 * wrap counter.
 */
int vq_packed_pop(struct virtqueue *vq, struct vq_chain *c, struct iovec *iov, unsigned int max);
void vq_packed_unpop(struct virtqueue *vq, const struct vq_elem *e);
void vq_packed_push(struct virtqueue *vq, const struct vq_elem *e, uint32_t written);
void vq_packed_publish(struct virtqueue *vq);
enum vq_signal vq_packed_signal(struct virtqueue *vq);
bool vq_packed_signal_missed(const struct virtqueue *vq);
bool vq_packed_notify_enable(struct virtqueue *vq);
void vq_packed_notify_disable(struct virtqueue *vq);
bool vq_packed_offered(const struct virtqueue *vq); /* a chain is there to be taken */

#endif
