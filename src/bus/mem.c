/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory: the region table, translation with length, the dirty log. */
#include "bus/mem.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bus/iotlb.h"

#define LOG_PAGE_SHIFT 12 /* a bit of the log is 4 KiB, whatever the host's page */

void mem_init(struct mem_map *m)
{
	memset(m, 0, sizeof(*m));
}

static void region_drop(struct mem_region *r)
{
	mem_unmap(&r->map);
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
}

void mem_fini(struct mem_map *m)
{
	for (unsigned int i = 0; i < m->n; i++)
		region_drop(&m->regions[i]);
	memset(m->regions, 0, m->n * sizeof(m->regions[0]));
	m->n = 0;
	m->last = 0;
}

/* Index of the last region that begins at or below @addr, or -1. */
static int region_below(const struct mem_map *m, uint64_t addr)
{
	unsigned int lo = 0, hi = m->n;

	while (lo < hi) {
		unsigned int mid = lo + (hi - lo) / 2;

		if (m->regions[mid].gpa <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return (int)lo - 1;
}

static struct mem_region *region_find(struct mem_map *m, uint64_t addr)
{
	struct mem_region *r = &m->regions[__atomic_load_n(&m->last, __ATOMIC_RELAXED)];
	int i;

	if (addr - r->gpa < r->size)
		return r;
	i = region_below(m, addr);
	if (i < 0 || addr - m->regions[i].gpa >= m->regions[i].size)
		return NULL;
	__atomic_store_n(&m->last, (unsigned int)i, __ATOMIC_RELAXED);
	return &m->regions[i];
}

/* Granularity that mmap() asks of offset and length for this file: the huge page on hugetlbfs. */
static uint64_t map_unit(const struct stat *st)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), unit = (uint64_t)st->st_blksize;

	if (!S_ISREG(st->st_mode) || unit < page || (unit & (unit - 1)))
		return page;
	return unit;
}

static int map_file(struct fault_area *map, int fd, uint64_t off, uint64_t size, int prot,
		    uint8_t **at)
{
	uint64_t end, unit, start;
	struct stat st;
	void *p;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (__builtin_add_overflow(off, size, &end) || end > INT64_MAX)
		return -EINVAL;
	/* A file that is too short already is refused here, where it can be told to its owner. */
	if (S_ISREG(st.st_mode) && end > (uint64_t)st.st_size)
		return -EINVAL;
	unit = map_unit(&st);
	start = off & ~(unit - 1);
	end = (end + unit - 1) & ~(unit - 1);
	if (end - start > SIZE_MAX / 2)
		return -EINVAL;
	p = mmap(NULL, end - start, prot, MAP_SHARED | MAP_NORESERVE, fd, (off_t)start);
	if (p == MAP_FAILED)
		return -errno;
	/* A guest's memory has no place in our core dumps; failing that changes nothing else. */
	(void)madvise(p, end - start, MADV_DONTDUMP);
	*map = (struct fault_area){ .base = p, .len = end - start, .unit = unit };
	*at = (uint8_t *)p + (off - start);
	return 0;
}

int mem_map_file(struct fault_area *map, int fd, uint64_t off, uint64_t size, uint8_t **at)
{
	return map_file(map, fd, off, size, PROT_READ | PROT_WRITE, at);
}

int mem_map_rdonly(struct fault_area *map, int fd, uint64_t off, uint64_t size, uint8_t **at)
{
	return map_file(map, fd, off, size, PROT_READ, at);
}

void mem_unmap(struct fault_area *map)
{
	if (map->base)
		munmap(map->base, map->len);
	*map = (struct fault_area){ 0 };
}

#define HUGE_PAGE ((uint64_t)2 << 20)

static int region_fits(const struct mem_map *m, uint64_t addr, uint64_t size, uint64_t user)
{
	int below = region_below(m, addr);
	uint64_t end;

	if (size == 0 || __builtin_add_overflow(addr, size, &end) ||
	    __builtin_add_overflow(user, size, &end))
		return -EINVAL;
	if (m->n == MEM_MAX_REGIONS)
		return -ENOSPC;
	if (below >= 0 && addr - m->regions[below].gpa < m->regions[below].size)
		return -EEXIST;
	if ((unsigned int)(below + 1) < m->n && m->regions[below + 1].gpa - addr < size)
		return -EEXIST;
	return 0;
}

static void region_insert(struct mem_map *m, const struct mem_region *r)
{
	unsigned int at = (unsigned int)(region_below(m, r->gpa) + 1);

	memmove(&m->regions[at + 1], &m->regions[at], (m->n - at) * sizeof(*r));
	m->regions[at] = *r;
	m->n++;
	m->last = at;
}

int mem_add_take(struct mem_map *m, uint64_t addr, uint64_t size, uint64_t user, int fd,
		 uint64_t fd_off)
{
	struct mem_region r = {
		.gpa = addr, .size = size, .user = user, .fd = -1, .fd_off = fd_off
	};
	int rc = region_fits(m, addr, size, user);

	if (rc == 0)
		rc = mem_map_file(&r.map, fd, fd_off, size, &r.host);
	if (rc == 0 && m->keep_files)
		r.fd = fd;
	else
		close(fd); /* the mapping holds the file */
	if (rc == 0)
		region_insert(m, &r);
	return rc;
}

/*
 * A huge page of ours serves the guest as one when it lies at the same place within both kinds of
 * addresses.
 */
int mem_add_anon(struct mem_map *m, uint64_t addr, uint64_t size)
{
	struct mem_region r = { .gpa = addr, .size = size, .fd = -1 };
	int rc = region_fits(m, addr, size, 0);
	uint64_t len;
	void *p;

	if (rc < 0)
		return rc;
	if (__builtin_add_overflow(size, HUGE_PAGE, &len) || len > SIZE_MAX / 2)
		return -EINVAL;
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		 0);
	if (p == MAP_FAILED)
		return -errno;
	/* Each of these may be refused, and nothing is lost but speed, or order in a core dump. */
	(void)madvise(p, len, MADV_DONTDUMP);
	(void)madvise(p, len, MADV_DONTFORK);
	(void)madvise(p, len, MADV_HUGEPAGE);
	r.map = (struct fault_area){ .base = p, .len = len, .unit = (size_t)sysconf(_SC_PAGESIZE) };
	r.host = (uint8_t *)p + ((addr - (uintptr_t)p) & (HUGE_PAGE - 1));
	region_insert(m, &r);
	return 0;
}

int mem_remove(struct mem_map *m, uint64_t addr, uint64_t size, uint64_t user)
{
	int i = region_below(m, addr);
	struct mem_region *r;

	if (i < 0)
		return -ENOENT;
	r = &m->regions[i];
	if (r->gpa != addr || r->size != size || r->user != user)
		return -ENOENT;
	region_drop(r);
	m->n--;
	memmove(r, r + 1, (m->n - (unsigned int)i) * sizeof(*r));
	/* The slot behind the last is never a hit. */
	memset(&m->regions[m->n], 0, sizeof(*r));
	return 0;
}

void *mem_ptr(struct mem_map *m, gpa addr, uint64_t len)
{
	struct mem_region *r = region_find(m, addr.a);
	uint64_t off;

	if (!r)
		return NULL;
	off = addr.a - r->gpa;
	if (len > r->size - off)
		return NULL;
	return r->host + off;
}

void *mem_user_ptr(struct mem_map *m, uint64_t user, uint64_t len)
{
	for (unsigned int i = 0; i < m->n; i++) {
		const struct mem_region *r = &m->regions[i];
		uint64_t off = user - r->user;

		if (off < r->size && len <= r->size - off)
			return r->host + off;
	}
	return NULL;
}

int mem_iov(struct mem_map *m, gpa addr, uint64_t len, struct iovec *iov, unsigned int max)
{
	unsigned int n = 0;
	uint64_t end;

	if (__builtin_add_overflow(addr.a, len, &end))
		return -EFAULT;
	while (len > 0) {
		struct mem_region *r = region_find(m, addr.a);
		uint64_t off, here;

		if (!r)
			return -EFAULT;
		if (n == max)
			return -E2BIG;
		off = addr.a - r->gpa;
		here = r->size - off < len ? r->size - off : len;
		iov[n].iov_base = r->host + off;
		iov[n].iov_len = here;
		n++;
		addr.a += here;
		len -= here;
	}
	return (int)n;
}

const struct fault_area *mem_area_at(const struct mem_map *m, uintptr_t addr)
{
	for (unsigned int i = 0; i < m->n; i++)
		if (fault_area_has(&m->regions[i].map, addr))
			return &m->regions[i].map;
	return NULL;
}

void mem_dirty_gpa(struct mem_map *m, uint64_t addr, uint64_t len)
{
	uint64_t page, last;

	if (!m->log || len == 0)
		return;
	if (m->tlb) {
		iotlb_dirty(m->tlb, addr, len);
		return;
	}
	page = addr >> LOG_PAGE_SHIFT;
	last = (addr + (len - 1)) >> LOG_PAGE_SHIFT;
	for (; page <= last && page / 8 < m->log_size; page++) {
		/*
		 * Always the atomic OR, never "set already, skip": it also orders the data before
		 * the mark, and the front end clears bits at any time.
		 */
		__atomic_fetch_or(&m->log[page / 8], (uint8_t)(1u << (page % 8)), __ATOMIC_SEQ_CST);
	}
}

void mem_dirty_slow(struct mem_map *m, const void *host, uint64_t len)
{
	const uint8_t *p = host;

	if (m->tlb)
		m = m->tlb->real;
	for (unsigned int i = 0; i < m->n; i++) {
		const struct mem_region *r = &m->regions[i];

		if (p >= r->host && (uint64_t)(p - r->host) < r->size) {
			mem_dirty_gpa(m, r->gpa + (uint64_t)(p - r->host), len);
			return;
		}
	}
}
