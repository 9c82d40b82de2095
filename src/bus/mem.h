/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory as a sorted table of mapped regions; every access is translated with its length. */
#ifndef BUS_MEM_H
#define BUS_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "net/fault.h"

/* A guest physical (or DMA) address; a type of its own so that it is never mixed with a pointer. */
typedef struct {
	uint64_t a;
} gpa;

struct iotlb; /* bus/iotlb.h */

#define MEM_MAX_REGIONS 512 /* VHOST_USER_MAX_RAM_SLOTS; QEMU's front end uses up to 509 */

struct mem_region {
	uint64_t gpa, size;
	uint64_t user; /* front end's virtual address, for ring addresses; 0 if unknown */
	uint8_t *host; /* where gpa is mapped here */
	struct fault_area map;
	int fd; /* with keep_files: the file, open as long as the region is there; else -1 */
	uint64_t fd_off; /* where gpa is in the file */
};

/* Owned by a host; read by the devices behind it on the same loop. */
struct mem_map {
	struct mem_region regions[MEM_MAX_REGIONS]; /* sorted by gpa, disjoint */
	unsigned int n;
	unsigned int last; /* region hit last; a hint that several threads write */
	uint8_t *log; /* dirty bitmap, bit per 4 KiB page, null when off; bits set atomically */
	uint64_t log_size; /* bytes of bitmap */
	bool keep_files;   /* of regions added from now on: somebody passes them on (bus/vhost.h) */
	atomic_bool lost;  /* some of it was truncated: what is read now may be zeros */
	/*
	 * Null, or addresses are I/O virtual: there are no regions then, so that mem_hit() and
	 * mem_ptr() find nothing, and bus/iotlb.h translates. Dirty marking works as ever.
	 */
	struct iotlb *tlb;
};

/*
 * [@off, @off + @size) of @fd, shared, for reading and writing; *@at is where @off is mapped. 0,
 * -EINVAL on wrap or when the file is shorter, or mmap's error. A file that shrinks later:
 * net/fault.h.
 */
int mem_map_file(struct fault_area *map, int fd, uint64_t off, uint64_t size, uint8_t **at);
/* The same for reading alone; the file need not be open for writing. */
int mem_map_rdonly(struct fault_area *map, int fd, uint64_t off, uint64_t size, uint8_t **at);
void mem_unmap(struct fault_area *map); /* harmless when nothing is mapped */

void mem_init(struct mem_map *m);
void mem_fini(struct mem_map *m); /* unmaps every region; the log is its owner's and stays set, as
				   does keep_files */

/*
 * Maps @size bytes of @fd from @fd_off at guest address @addr (takes @fd in every case).
 * 0, -EEXIST on overlap, -ENOSPC when full, -EINVAL on wrap or misfit with the file, or mmap's
 * error.
 */
int mem_add_take(struct mem_map *m, uint64_t addr, uint64_t size, uint64_t user, int fd,
		 uint64_t fd_off);
/* Memory of this process alone, zeros at first, in huge pages where there are any. Errors as above.
 */
int mem_add_anon(struct mem_map *m, uint64_t addr, uint64_t size);
int mem_remove(struct mem_map *m, uint64_t addr, uint64_t size, uint64_t user); /* -ENOENT */

/*
 * Contiguous view: pointer to @addr if all @len bytes are inside one region, else null. A range
 * across two regions that touch in guest memory is split by mem_iov() instead.
 */
void *mem_ptr(struct mem_map *m, gpa addr, uint64_t len);
/* The front end's virtual address translated the same way (vhost-user rings). */
void *mem_user_ptr(struct mem_map *m, uint64_t user, uint64_t len);

/* mem_ptr() inline for the region that was hit last; null says nothing, ask mem_ptr() or mem_iov().
 */
static inline void *mem_hit(const struct mem_map *m, gpa addr, uint64_t len)
{
	const struct mem_region *r = &m->regions[__atomic_load_n(&m->last, __ATOMIC_RELAXED)];
	uint64_t off = addr.a - r->gpa;

	return off < r->size && len <= r->size - off ? r->host + off : NULL;
}

/* Splits [addr, addr+len) into at most @max iovecs; how many, or -EFAULT (a hole, a wrap), -E2BIG.
 */
int mem_iov(struct mem_map *m, gpa addr, uint64_t len, struct iovec *iov, unsigned int max);

/* The mapping of the region that @addr lies in, or null; for fault guards. */
const struct fault_area *mem_area_at(const struct mem_map *m, uintptr_t addr);

/* The one point that every write to guest memory passes, by us or by the kernel into a lease. */
void mem_dirty_slow(struct mem_map *m, const void *host, uint64_t len);
void mem_dirty_gpa(struct mem_map *m, uint64_t addr, uint64_t len); /* marks when log is on */
static inline void mem_dirty(struct mem_map *m, const void *host, uint64_t len)
{
	if (__builtin_expect(m->log != NULL, 0))
		mem_dirty_slow(m, host, len);
}

#endif
