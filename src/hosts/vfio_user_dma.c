/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client's memory: which ranges there are, and how a device reaches each.
 *
 * A range that comes with a descriptor and may be written is mapped into the table that devices
 * look at (bus/mem.h), and every access goes there directly. What may only be read (a guest's
 * shadowed ROM) is mapped aside, since devices believe that they may write what they find in that
 * table; it is reached through vfu_dma(), as is memory that is not shared at all.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/macros.h"
#include "hosts/vfio_user.h"

/* How many windows begin at or below @addr. */
static uint32_t windows_to(const struct vfu_host *vfu, uint64_t addr)
{
	uint32_t lo = 0, hi = vfu->n_windows;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (vfu->windows[mid].addr <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct vfu_window *window_at(struct vfu_host *vfu, uint64_t addr)
{
	uint32_t i = windows_to(vfu, addr);

	if (i == 0 || addr - vfu->windows[i - 1].addr >= vfu->windows[i - 1].size)
		return NULL;
	return &vfu->windows[i - 1];
}

static int check_map(struct vfu_host *vfu, const struct vfu_dma_map *r)
{
	const uint32_t access = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
	uint32_t next = windows_to(vfu, r->addr);
	uint64_t end;

	if (r->argsz < sizeof(*r) || (r->flags & access) == 0 || (r->flags & ~access) != 0)
		return -EINVAL;
	if (r->size == 0 || ((r->addr | r->size) & (VFU_PAGE - 1)) != 0 ||
	    __builtin_add_overflow(r->addr, r->size, &end))
		return -EINVAL;
	if (window_at(vfu, r->addr) != NULL ||
	    (next < vfu->n_windows && vfu->windows[next].addr < end))
		return -EEXIST;
	if (vfu->n_windows == VFU_MAX_MAPS)
		return -ENOSPC;
	return vfu_log_cover(vfu, end);
}

static int map_shared(struct vfu_host *vfu, struct vfu_window *w, int fd, uint64_t off)
{
	int err;

	if ((w->flags & VFIO_DMA_MAP_FLAG_WRITE) == 0) {
		w->kind = VFU_WINDOW_RDONLY;
		err = mem_map_rdonly(&w->map, fd, off, w->size, &w->host);
		close(fd);
		return err;
	}
	w->kind = VFU_WINDOW_MAPPED;
	pci_mem_changing(vfu->dev);
	err = mem_add_take(vfu->mem, w->addr, w->size, 0, fd, off);
	pci_mem_changed(vfu->dev);
	return err;
}

int vfu_dma_map(struct vfu_host *vfu, struct vfu_msg *m)
{
	struct vfu_dma_map r;
	struct vfu_window w;
	uint32_t at;
	int err;

	VFU_GET(m, &r);
	err = check_map(vfu, &r);
	if (err < 0)
		return err;
	w = (struct vfu_window){
		.addr = r.addr, .size = r.size, .flags = r.flags, .kind = VFU_WINDOW_MESSAGE
	};
	if (m->n_fds > 0) {
		int fd = m->fds[0];

		m->fds[0] = -1;
		err = map_shared(vfu, &w, fd, r.off);
		if (err < 0)
			return err;
	}
	at = windows_to(vfu, r.addr);
	memmove(&vfu->windows[at + 1], &vfu->windows[at], (vfu->n_windows - at) * sizeof(w));
	vfu->windows[at] = w;
	vfu->n_windows++;
	return 0;
}

static void unmap(struct vfu_host *vfu, struct vfu_window *w)
{
	mem_unmap(&w->map);
	if (w->kind == VFU_WINDOW_MAPPED) {
		pci_mem_changing(vfu->dev);
		(void)mem_remove(vfu->mem, w->addr, w->size, 0);
		pci_mem_changed(vfu->dev);
	}
	vfu->n_windows--;
	memmove(w, w + 1, (size_t)(&vfu->windows[vfu->n_windows] - w) * sizeof(*w));
}

/* The dirty bits of what goes are kept: the client asks for them by address, at any time. */
int vfu_dma_unmap(struct vfu_host *vfu, struct vfu_msg *m)
{
	struct vfu_dma_unmap r;
	struct vfu_window *w;

	VFU_GET(m, &r);
	if (r.argsz < sizeof(r) || (r.flags & ~VFIO_DMA_UNMAP_FLAG_ALL) != 0)
		return -EINVAL;
	if (r.flags != 0) {
		if (r.addr != 0 || r.size != 0)
			return -EINVAL;
		while (vfu->n_windows > 0)
			unmap(vfu, &vfu->windows[vfu->n_windows - 1]);
	} else {
		w = window_at(vfu, r.addr);
		if (w == NULL || w->addr != r.addr || w->size != r.size)
			return -ENOENT;
		unmap(vfu, w);
	}
	r.argsz = sizeof(r);
	return vfu_answer(vfu, m, &r, sizeof(r));
}

void vfu_dma_drop(struct vfu_host *vfu)
{
	for (uint32_t i = 0; i < vfu->n_windows; i++)
		mem_unmap(&vfu->windows[i].map);
	vfu->n_windows = 0;
	vfu_log_drop(vfu);
	mem_fini(vfu->mem);
	mem_init(vfu->mem);
}

/* What a device did not find in its table: a part of one window. */
static int access_window(struct vfu_host *vfu, const struct vfu_window *w, uint64_t addr,
			 uint8_t *buf, uint32_t len, bool write)
{
	uint32_t need = write ? VFIO_DMA_MAP_FLAG_WRITE : VFIO_DMA_MAP_FLAG_READ;
	void *p;

	if ((w->flags & need) == 0)
		return -EFAULT;
	if (w->kind == VFU_WINDOW_MESSAGE)
		return vfu_dma_message(vfu, addr, buf, len, write);
	p = w->kind == VFU_WINDOW_MAPPED ? mem_ptr(vfu->mem, (gpa){ addr }, len)
					 : w->host + (addr - w->addr);
	if (p == NULL)
		return -EFAULT;
	if (write) {
		memcpy(p, buf, len);
		mem_dirty(vfu->mem, p, len);
	} else {
		memcpy(buf, p, len);
	}
	return 0;
}

int vfu_dma(struct pci_dev *dev, uint64_t addr, void *buf, uint32_t len, bool write)
{
	struct vfu_host *vfu = dev->host;
	uint8_t *p = buf;
	int err = 0;

	while (len > 0 && err == 0) {
		const struct vfu_window *w = window_at(vfu, addr);
		uint32_t n;

		if (w == NULL)
			return -EFAULT;
		n = (uint32_t)min((uint64_t)len, w->size - (addr - w->addr));
		err = access_window(vfu, w, addr, p, n, write);
		addr += n;
		p += n;
		len -= n;
	}
	return err;
}

/* For vfu->guard, in a signal handler: see net/fault.h. */
const struct fault_area *vfu_area_at(struct fault_guard *g, uintptr_t addr)
{
	struct vfu_host *vfu = container_of(g, struct vfu_host, guard);

	for (uint32_t i = 0; i < vfu->n_windows; i++)
		if (fault_area_has(&vfu->windows[i].map, addr))
			return &vfu->windows[i].map;
	return mem_area_at(vfu->mem, addr);
}

void vfu_memory_lost(struct fault_guard *g)
{
	atomic_store(&container_of(g, struct vfu_host, guard)->mem->lost, true);
}
