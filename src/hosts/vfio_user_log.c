/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The dirty log: which pages of the client's memory the device has written to.
 *
 * One bit for 4 KiB, by DMA address from 0 on, set by mem_dirty() wherever guest memory is written.
 * The bitmap is reserved address space: pages of it exist where something was written. It covers
 * every range that is mapped, and grows with them.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/macros.h"
#include "hosts/vfio_user.h"

#define SPAN_UNIT (1ull << 36) /* 64 GiB of addresses are 2 MiB of bitmap */
#define SPAN_MAX (1ull << 44)
#define REPORT_MAX (1ull << 40) /* addresses in one report: 4 million words to look at */

static uint64_t log_bytes(uint64_t span)
{
	return span / VFU_PAGE / 8;
}

int vfu_log_cover(struct vfu_host *vfu, uint64_t end)
{
	uint64_t span = (end + SPAN_UNIT - 1) & ~(SPAN_UNIT - 1);
	void *p;

	if (vfu->log_span == 0 || end <= vfu->log_span)
		return 0;
	if (end > SPAN_MAX)
		return -E2BIG;
	p = mremap(vfu->mem->log, log_bytes(vfu->log_span), log_bytes(span), MREMAP_MAYMOVE);
	if (p == MAP_FAILED)
		return -ENOMEM;
	vfu->mem->log = p;
	vfu->mem->log_size = log_bytes(span);
	vfu->log_span = span;
	return 0;
}

void vfu_log_drop(struct vfu_host *vfu)
{
	if (vfu->log_span == 0)
		return;
	munmap(vfu->mem->log, log_bytes(vfu->log_span));
	vfu->mem->log = NULL;
	vfu->mem->log_size = 0;
	vfu->log_span = 0;
}

static int log_begin(struct vfu_host *vfu)
{
	const struct vfu_window *last =
		vfu->n_windows > 0 ? &vfu->windows[vfu->n_windows - 1] : NULL;
	void *p;
	int err;

	p = mmap(NULL, log_bytes(SPAN_UNIT), PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	vfu->mem->log = p;
	vfu->mem->log_size = log_bytes(SPAN_UNIT);
	vfu->log_span = SPAN_UNIT;
	err = last != NULL ? vfu_log_cover(vfu, last->addr + last->size) : 0;
	if (err < 0)
		vfu_log_drop(vfu);
	return err;
}

/* The ranges are checked, and more than them is logged: all that the device writes. */
static int check_ranges(const struct vfu_msg *m, uint32_t n)
{
	const uint8_t *at = m->data + sizeof(struct vfu_feature) + VFU_START_SIZE;

	for (uint32_t i = 0; i < n; i++) {
		struct vfio_device_feature_dma_logging_range r;
		uint64_t end;

		memcpy(&r, at + i * sizeof(r), sizeof(r));
		if (r.length == 0 || __builtin_add_overflow(r.iova, r.length - 1, &end))
			return -EINVAL;
	}
	return 0;
}

/* Who writes to the memory outside of this process (bus/vhost.h) does not keep our log: the device
 * does it itself meanwhile, which it finds out as its rings start. */
static void restart_rings(struct vfu_host *vfu)
{
	pci_mem_changing(vfu->dev);
	pci_mem_changed(vfu->dev);
}

/* Page sizes other than ours are answered with ours. */
int vfu_log_start(struct vfu_host *vfu, struct vfu_msg *m, bool get)
{
	struct vfio_device_feature_dma_logging_control c;
	const uint32_t fixed = sizeof(struct vfu_feature) + VFU_START_SIZE;
	uint8_t *room;
	int err;

	(void)get;
	if (m->len < fixed)
		return -EINVAL;
	memcpy(&c, m->data + sizeof(struct vfu_feature), VFU_START_SIZE);
	if (m->len - fixed !=
		    (uint64_t)c.num_ranges * sizeof(struct vfio_device_feature_dma_logging_range) ||
	    !power_of_two(c.page_size) || vfu->log_span != 0)
		return -EINVAL;
	err = check_ranges(m, c.num_ranges);
	if (err == 0)
		err = log_begin(vfu);
	if (err < 0)
		return err;
	restart_rings(vfu);
	room = vfu_stream_room(vfu, m->len);
	if (room == NULL)
		return -ENOMEM;
	c.page_size = VFU_PAGE;
	memcpy(room, m->data, m->len);
	memcpy(room + sizeof(struct vfu_feature), &c, VFU_START_SIZE);
	m->reply_len = m->len;
	return 0;
}

int vfu_log_stop(struct vfu_host *vfu, struct vfu_msg *m, bool get)
{
	(void)get;
	vfu_log_drop(vfu);
	restart_rings(vfu);
	return vfu_answer(vfu, m, m->data, m->len);
}

/* Eight bytes of the log, cleared but for bits outside of [from, to), counted in pages. */
static uint64_t take_word(uint8_t *log, uint64_t word, uint64_t from, uint64_t to)
{
	uint64_t v, mask = ~0ull, first = word * 64;
	uint64_t bits = 0;

	memcpy(&v, log + word * 8, sizeof(v));
	if (v == 0)
		return 0;
	if (from > first)
		mask &= ~0ull << (from - first);
	if (to < first + 64)
		mask &= ~(~0ull << (to - first));
	/* The log's bits are in bytes, whatever the machine's order. */
	for (unsigned int i = 0; i < 64; i++) {
		if ((mask >> i & 1) == 0 || (log[word * 8 + i / 8] >> (i % 8) & 1) == 0)
			continue;
		log[word * 8 + i / 8] &= (uint8_t) ~(1u << (i % 8));
		bits |= 1ull << i;
	}
	return bits;
}

/* Sets the bits of @map, one for @page_size bytes from @r->iova on, and clears the log's. */
static void collect(struct vfu_host *vfu, const struct vfio_device_feature_dma_logging_report *r,
		    uint8_t *map)
{
	uint64_t from = r->iova / VFU_PAGE, to = (r->iova + r->length - 1) / VFU_PAGE + 1;

	to = min(to, vfu->log_span / VFU_PAGE);
	for (uint64_t word = from / 64; word * 64 < to; word++) {
		uint64_t bits = take_word(vfu->mem->log, word, from, to);

		for (; bits != 0; bits &= bits - 1) {
			uint64_t page = word * 64 + (uint64_t)__builtin_ctzll(bits);
			uint64_t bit = (page - from) * VFU_PAGE / r->page_size, v;

			memcpy(&v, map + bit / 64 * 8, sizeof(v));
			v |= 1ull << (bit % 64);
			memcpy(map + bit / 64 * 8, &v, sizeof(v));
		}
	}
}

static int check_report(const struct vfio_device_feature_dma_logging_report *r)
{
	uint64_t end;

	if (!power_of_two(r->page_size) || r->page_size < VFU_PAGE || r->iova % VFU_PAGE != 0)
		return -EINVAL;
	if (r->length == 0 || __builtin_add_overflow(r->iova, r->length - 1, &end))
		return -EINVAL;
	return r->length <= REPORT_MAX ? 0 : -E2BIG;
}

int vfu_log_report(struct vfu_host *vfu, struct vfu_msg *m, bool get)
{
	struct vfio_device_feature_dma_logging_report r;
	const uint32_t fixed = sizeof(struct vfu_feature) + VFU_REPORT_SIZE;
	struct vfu_feature f;
	uint64_t bits, bytes;
	uint8_t *room;
	int err;

	(void)get;
	if (m->len != fixed)
		return -EINVAL;
	VFU_GET(m, &f);
	memcpy(&r, m->data + sizeof(f), VFU_REPORT_SIZE);
	err = vfu->log_span == 0 ? -EINVAL : check_report(&r);
	if (err < 0)
		return err;
	bits = (r.length - 1) / r.page_size + 1;
	bytes = (bits + 63) / 64 * 8;
	if (bytes > VFU_MAX_XFER - fixed)
		return -E2BIG;
	/* Too small an answer tells how large it would be, and leaves the log as it is. */
	if (f.argsz < fixed + bytes)
		return vfu_feature_needs(vfu, m, fixed + (uint32_t)bytes);
	room = vfu_stream_room(vfu, fixed + (uint32_t)bytes);
	if (room == NULL)
		return -ENOMEM;
	f.argsz = fixed + (uint32_t)bytes;
	memcpy(room, &f, sizeof(f));
	memcpy(room + sizeof(f), &r, VFU_REPORT_SIZE);
	memset(room + fixed, 0, bytes);
	collect(vfu, &r, room + fixed);
	m->reply_len = f.argsz;
	m->cost += (uint32_t)(r.length / SPAN_UNIT * 8);
	return 0;
}
