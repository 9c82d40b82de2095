/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VIRTIO_F_ACCESS_PLATFORM: guests behind an IOMMU that the front end has ("IOMMU support" of the
 * specification).
 *
 * While the feature is agreed on, the device's `mem` is not the memory table but a map without
 * regions whose translations are a bus/iotlb.c; both are made by SET_FEATURES and go with the
 * feature. Addresses of rings and in descriptors, and those for the log of used rings, are I/O
 * virtual then.
 *
 *   miss      the device (or a ring's start) finds an address unknown: BACKEND_IOTLB_MSG goes out
 * on the back-end channel, without a reply, and whoever needs it stands still UPDATE    enters it;
 * at the round's end rings that wait are started and queues that wait kicked INVALIDATE, or an
 * UPDATE that says otherwise: what the device keeps goes stale (epochs), rings that lie there are
 * stopped, all before the acknowledgement; the round's end starts them again as far as addresses
 * are known, and asks for the rest
 *
 * Nothing waits for an answer. Questions that get none (QEMU sends nothing for an address that the
 * guest has not mapped) are asked again after one to two seconds if anybody still needs them, and
 * so is what could not go out because the channel was full. So a chain with an address that the
 * guest never maps holds its queue up until the driver resets it, as in the kernel's vhost; one
 * whose mapping does not permit the access is unusable at once, as an unmapped one is without
 * IOMMU.
 *
 * Rings: the device wants each of a ring's three areas in one piece, and guests allocate them page
 * by page behind an IOMMU (Linux does, beyond 256 entries). Where the pieces are no neighbours in
 * our mapping they are mapped once more, side by side (mremap() of nothing makes a second mapping),
 * in a window that lives as long as the ring runs. That works for pages of the system's size only.
 *
 * A new memory table, also a slot more or less, empties the table of translations: they lead into
 * mappings that may be gone. What is needed is asked for again.
 *
 * Not sent: ACCESS_FAIL, which QEMU does not know. An UPDATE or INVALIDATE without the feature
 * is acknowledged and forgotten: QEMU's may cross with a reset of ours.
 *
 * Limits: bus/iotlb.c's; IOTLB_PIECES mappings for all rings of a connection.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bus/iotlb.h"
#include "hosts/vhost_user.h"

#define AGE_NS 1000000000
#define AREA_PIECES 130	  /* an area of the largest ring in pages, and two broken ones */
#define IOTLB_PIECES 4096 /* a process has some 65000 mappings at most, for all its connections */

struct vu_iotlb {
	struct vu_host *vu;
	struct mem_map map; /* the device's: no regions, `tlb` instead */
	struct iotlb tlb;
	struct twx_task retry;
	struct twx_timer age;
	uint32_t n_pieces;
};

#define iotlb_of(ptr, member) ((struct vu_iotlb *)((char *)(ptr)-offsetof(struct vu_iotlb, member)))

/* Questions. */

static bool ask(struct iotlb *t, uint64_t iova, uint8_t perm)
{
	struct vu_iotlb *v = iotlb_of(t, tlb);
	struct vu_host *vu = v->vu;
	struct {
		struct vu_header head;
		uint8_t iotlb[sizeof(struct vhost_iotlb_msg)];
	} msg = { .head = { .request = VU_BACKEND_IOTLB_MSG, .flags = VU_VERSION } };
	const struct vhost_iotlb_msg miss = { .iova = iova,
					      .perm = perm,
					      .type = VHOST_IOTLB_MISS };
	int err;

	if (v->age.slot == 0)
		twx_timer_set(&v->age, twx_loop_now(vu->host->loop) + AGE_NS);
	if (vu->req.kind == EVENT_NONE)
		return false;
	msg.head.size = sizeof(miss);
	memcpy(msg.iotlb, &miss, sizeof(miss));
	err = event_write(&vu->req, &msg, sizeof(msg));
	if (err == 0 || err == -EAGAIN)
		return err == 0;
	VU_LOG(vu, WARNING, "cannot ask the front end for addresses any more: %s", strerror(-err));
	event_close(&vu->req);
	return false;
}

static void age_due(struct twx_timer *t)
{
	struct vu_iotlb *v = iotlb_of(t, age);

	iotlb_age(&v->tlb);
	twx_loop_defer(v->vu->host->loop, &v->retry);
	if (v->tlb.n_asked > 0)
		twx_timer_set(t, twx_loop_now(v->vu->host->loop) + AGE_NS);
}

/* Rings. */

struct area {
	uint64_t iova, len;
	uint8_t perm;
};

/* That which is written comes first: the others are often in the same page, which is asked for
 * once. */
static void ring_areas(const struct vu_ring *r, struct area out[VU_AREAS])
{
	const struct vhost_vring_addr *a = &r->addr;
	struct virtio_ring_lens len = virtio_ring_lens(r->vu->dev->features, r->num);
	uint8_t desc = vu_packed(r->vu) ? VHOST_ACCESS_RW : VHOST_ACCESS_RO;

	out[0] = (struct area){ a->used_user_addr, len.used, VHOST_ACCESS_RW };
	out[1] = (struct area){ a->avail_user_addr, len.avail, VHOST_ACCESS_RO };
	out[2] = (struct area){ a->desc_user_addr, len.desc, desc };
}

static bool ring_touches(const struct vu_ring *r, uint64_t first, uint64_t last)
{
	struct area a[VU_AREAS];

	ring_areas(r, a);
	for (int i = 0; i < VU_AREAS; i++)
		if (a[i].iova <= last && a[i].iova + (a[i].len - 1) >= first)
			return true;
	return false;
}

/* Whole pages, but for the first one's beginning and the last one's end. */
static bool joinable(const struct iovec *p, int n, size_t page)
{
	for (int i = 0; i < n; i++) {
		uintptr_t at = (uintptr_t)p[i].iov_base;

		if (i > 0 && at % page != 0)
			return false;
		if (i + 1 < n && (at + p[i].iov_len) % page != 0)
			return false;
	}
	return true;
}

static size_t pages_len(const struct iovec *p, size_t page)
{
	uintptr_t at = (uintptr_t)p->iov_base;

	return (at % page + p->iov_len + page - 1) & ~(page - 1);
}

/* One more mapping of each piece's pages, side by side. */
static int join(struct fault_area *window, const struct iovec *p, int n, void **at)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), len = 0, off = 0;
	uint8_t *base;
	int err;

	if (!joinable(p, n, page))
		return -EINVAL;
	for (int i = 0; i < n; i++)
		len += pages_len(&p[i], page);
	base = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return -errno;
	for (int i = 0; i < n; i++) {
		uint8_t *from = (uint8_t *)p[i].iov_base - (uintptr_t)p[i].iov_base % page;

		if (mremap(from, 0, pages_len(&p[i], page), MREMAP_MAYMOVE | MREMAP_FIXED,
			   base + off) == MAP_FAILED) {
			err = -errno;
			munmap(base, len);
			return err;
		}
		off += pages_len(&p[i], page);
	}
	*window = (struct fault_area){ .base = base, .len = len, .unit = page };
	*at = base + (uintptr_t)p[0].iov_base % page;
	return 0;
}

static int area_map(struct vu_ring *r, int i, const struct area *a, void **at)
{
	struct vu_iotlb *v = r->vu->iotlb;
	struct iovec p[AREA_PIECES];
	int n = iotlb_iov(&v->tlb, (gpa){ a->iova }, a->len, a->perm, p, AREA_PIECES), err;

	if (n < 0)
		return n;
	if (n == 1) {
		*at = p[0].iov_base;
		return 0;
	}
	if (v->n_pieces + (uint32_t)n > IOTLB_PIECES)
		return -ENOSPC;
	err = join(&r->windows[i], p, n, at);
	if (err < 0)
		return err;
	r->n_pieces += (uint32_t)n;
	v->n_pieces += (uint32_t)n;
	return 0;
}

void vu_iotlb_ring_unmap(struct vu_ring *r)
{
	for (int i = 0; i < VU_AREAS; i++)
		mem_unmap(&r->windows[i]);
	if (r->vu->iotlb != NULL)
		r->vu->iotlb->n_pieces -= r->n_pieces;
	r->n_pieces = 0;
}

int vu_iotlb_ring_map(struct vu_ring *r, struct virtio_ring *out)
{
	void **at[VU_AREAS] = { &out->used, &out->avail, &out->desc };
	struct area a[VU_AREAS];
	int err = 0;

	*out = (struct virtio_ring){ .log = (r->addr.flags & VU_BIT(VHOST_VRING_F_LOG)) != 0,
				     .log_used_gpa = r->addr.used_user_addr,
				     .log_desc_iova = r->addr.desc_user_addr };
	ring_areas(r, a);
	/* Every area, so that all that is missing is asked for. */
	for (int i = 0; i < VU_AREAS; i++) {
		int rc = area_map(r, i, &a[i], at[i]);

		if (err == 0 || (err == -EAGAIN && rc < 0))
			err = rc;
	}
	if (err < 0)
		vu_iotlb_ring_unmap(r);
	return err;
}

/* A ring that turns out to be unusable when its addresses have come. */
static void ring_refuse(struct vu_ring *r, int err)
{
	struct vu_host *vu = r->vu;

	VU_LOG(vu, WARNING, "queue %u stays stopped, its ring cannot be used: %s", r->index,
	       strerror(-err));
	r->addr_set = false;
	(void)event_signal(&r->err);
}

static void retry(struct twx_task *t)
{
	struct vu_host *vu = iotlb_of(t, retry)->vu;

	for (uint32_t i = 0; i < vu->n_rings; i++) {
		int err = vu->rings[i].running ? 0 : vu_ring_update(&vu->rings[i]);

		if (err < 0)
			ring_refuse(&vu->rings[i], err);
	}
	virtio_queues_retry(vu->dev);
}

void vu_iotlb_retry(struct vu_host *vu)
{
	if (vu->iotlb != NULL)
		twx_loop_defer(vu->host->loop, &vu->iotlb->retry);
}

static void dropped(struct iotlb *t, uint64_t first, uint64_t last)
{
	struct vu_host *vu = iotlb_of(t, tlb)->vu;

	virtio_queues_stale(vu->dev);
	for (uint32_t i = 0; i < vu->n_rings; i++)
		if (vu->rings[i].running && ring_touches(&vu->rings[i], first, last))
			vu_ring_pause(&vu->rings[i]);
	vu_iotlb_retry(vu);
}

/* Messages. */

int vu_iotlb_msg(struct vu_host *vu, struct vu_msg *m)
{
	const struct vhost_iotlb_msg *msg = &m->p.iotlb;
	int err = 0;

	if (msg->type != VHOST_IOTLB_UPDATE && msg->type != VHOST_IOTLB_INVALIDATE)
		return -EINVAL;
	if (vu->iotlb == NULL)
		return 0;
	if (msg->type == VHOST_IOTLB_INVALIDATE)
		iotlb_invalidate(&vu->iotlb->tlb, msg->iova, msg->size);
	else
		err = iotlb_update(&vu->iotlb->tlb, msg->iova, msg->size, msg->uaddr, msg->perm);
	vu_iotlb_retry(vu);
	return err;
}

/* The feature. */

void vu_iotlb_memory(struct vu_host *vu)
{
	if (vu->iotlb != NULL)
		iotlb_flush(&vu->iotlb->tlb, vu->mem);
	vu->dev->mem = vu->iotlb != NULL ? &vu->iotlb->map : vu->mem;
}

void vu_iotlb_log(struct vu_host *vu)
{
	if (vu->iotlb == NULL)
		return;
	vu->iotlb->map.log = vu->mem->log;
	vu->iotlb->map.log_size = vu->mem->log_size;
}

void vu_iotlb_lost(struct vu_host *vu)
{
	if (vu->iotlb != NULL)
		atomic_store(&vu->iotlb->map.lost, true);
}

static const struct iotlb_ops ops = { .ask = ask, .dropped = dropped };

int vu_iotlb_on(struct vu_host *vu)
{
	struct vu_iotlb *v;

	if (vu->iotlb != NULL)
		return 0;
	v = calloc(1, sizeof(*v));
	if (v == NULL)
		return -ENOMEM;
	v->vu = vu;
	v->retry.fn = retry;
	twx_timer_init(&v->age, vu->host->loop, age_due);
	mem_init(&v->map);
	v->map.tlb = &v->tlb;
	iotlb_init(&v->tlb, &ops, vu->mem);
	vu->iotlb = v;
	vu_iotlb_memory(vu);
	VU_LOG(vu, INFO, "the guest's addresses go through the front end's IOMMU");
	return 0;
}

void vu_iotlb_off(struct vu_host *vu)
{
	struct vu_iotlb *v = vu->iotlb;

	if (v == NULL)
		return;
	twx_timer_cancel(&v->age);
	twx_loop_undefer(vu->host->loop, &v->retry);
	vu->iotlb = NULL;
	vu_iotlb_memory(vu);
	free(v);
}
