/* SPDX-License-Identifier: BSD-3-Clause */
/* A lock-free ring of frames from one thread to another. */
#include "net/xring.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/iov.h"
#include "base/macros.h"

#define SKIP UINT32_MAX /* in place of a length: the rest of the memory is not used */
#define ALIGN 16u

/* Lengths of records are multiples of this, so that a header fits wherever one may begin. */
#define HEAD ((uint32_t)offsetof(struct xring_frame, data))
_Static_assert(offsetof(struct xring_frame, data) % ALIGN == 0, "records are aligned");

static uint32_t record_len(uint32_t len)
{
	return HEAD + ((len + ALIGN - 1) & ~(ALIGN - 1));
}

int xring_init(struct xring *r, uint32_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		return -ENOMEM;
	r->data = at;
	r->size = size;
	atomic_init(&r->head, 0);
	atomic_init(&r->tail, 0);
	r->next = 0;
	return 0;
}

void xring_fini(struct xring *r)
{
	if (r->data)
		munmap(r->data, r->size);
	r->data = NULL;
}

static struct xring_frame *record_at(const struct xring *r, uint64_t pos)
{
	return (struct xring_frame *)(void *)(r->data + (pos & (r->size - 1)));
}

bool xring_put(struct xring *r, uint32_t kind, const struct twx_meta *meta, const struct iovec *iov,
	       uint32_t n_iov, uint32_t len)
{
	uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
	uint64_t used = tail - atomic_load_explicit(&r->head, memory_order_acquire);
	uint32_t to_end = r->size - (uint32_t)(tail & (r->size - 1)), need = record_len(len);
	uint32_t skip = to_end < need ? to_end : 0;
	struct xring_frame *f;

	if (len > TWX_FRAME_MAX || used + skip + need > r->size)
		return false;
	if (skip) {
		record_at(r, tail)->len = SKIP;
		tail += skip;
	}
	f = record_at(r, tail);
	f->len = len;
	f->kind = kind;
	f->meta = *meta;
	iov_copy_from(iov, n_iov, 0, f->data, len);
	atomic_store_explicit(&r->tail, tail + need, memory_order_release);
	return true;
}

const struct xring_frame *xring_next(struct xring *r)
{
	uint64_t tail = atomic_load_explicit(&r->tail, memory_order_acquire);
	const struct xring_frame *f;

	if (r->next == tail)
		return NULL;
	f = record_at(r, r->next);
	if (f->len == SKIP) {
		r->next += r->size - (r->next & (r->size - 1));
		f = record_at(r, r->next);
	}
	r->next += record_len(f->len);
	return f;
}

void xring_done(struct xring *r)
{
	atomic_store_explicit(&r->head, r->next, memory_order_release);
}
