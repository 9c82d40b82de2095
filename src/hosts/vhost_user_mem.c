// SPDX-License-Identifier: BSD-3-Clause
/* Guest memory and the dirty log as the front end describes them. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hosts/vhost_user.h"

static void mem_attach(struct vu_host *vu, struct mem_map *m)
{
	vu->mem = m;
	vu->dev->mem = m;
	vu_log_update(vu);
}

int vu_mem_init(struct vu_host *vu)
{
	struct mem_map *m = malloc(sizeof(*m));

	if (m == NULL)
		return -ENOMEM;
	mem_init(m);
	mem_attach(vu, m);
	return 0;
}

static void log_drop(struct vu_host *vu)
{
	if (vu->log_map != NULL)
		munmap(vu->log_map, vu->log_map_len);
	vu->log_map = NULL;
	vu->log = NULL;
	vu->log_size = 0;
}

static void map_empty(struct mem_map *m)
{
	m->log = NULL; /* the log is a mapping of ours, not the map's */
	m->log_size = 0;
	mem_fini(m);
}

void vu_mem_reset(struct vu_host *vu)
{
	map_empty(vu->mem);
	mem_init(vu->mem);
	log_drop(vu);
}

void vu_mem_fini(struct vu_host *vu)
{
	if (vu->mem == NULL)
		return;
	vu->dev->mem = NULL;
	map_empty(vu->mem);
	free(vu->mem);
	vu->mem = NULL;
	log_drop(vu);
}

/* Takes the fd out of the message in every case. */
static int map_region(struct mem_map *m, const struct vu_region *r, int *fd)
{
	int take = *fd;

	*fd = -1;
	return mem_add_take(m, r->gpa, r->size, r->user, take, r->mmap_off);
}

/*
 * The new table is complete before the old one goes: the rings give back what they hold while the old
 * mappings still exist, and start again from the same indices where the new table has their memory.
 */
int vu_set_mem_table(struct vu_host *vu, struct vu_msg *m)
{
	struct mem_map *fresh, *old = vu->mem;
	uint32_t n = m->p.table.n;
	int err = 0;

	if (n > VU_TABLE_REGIONS || n != m->n_fds ||
	    m->head.size < offsetof(union vu_payload, table.regions) + n * sizeof(struct vu_region))
		return -EINVAL;
	fresh = malloc(sizeof(*fresh));
	if (fresh == NULL)
		return -ENOMEM;
	mem_init(fresh);
	for (uint32_t i = 0; i < n && err == 0; i++)
		err = map_region(fresh, &m->p.table.regions[i], &m->fds[i]);
	if (err < 0) {
		map_empty(fresh);
		free(fresh);
		return err;
	}
	vu_rings_pause(vu);
	mem_attach(vu, fresh);
	map_empty(old);
	free(old);
	vu_rings_resume(vu);
	return 0;
}

int vu_get_max_mem_slots(struct vu_host *vu, struct vu_msg *m)
{
	(void)vu;
	m->p.u64 = MEM_MAX_REGIONS;
	m->head.size = sizeof(m->p.u64);
	return 0;
}

/*
 * QEMU keeps one table for each queue pair and repeats every addition and removal for each of them, on
 * the one connection. So a region that is there already is replaced, and one that is not there is removed.
 */
int vu_add_mem_reg(struct vu_host *vu, struct vu_msg *m)
{
	const struct vu_region *r = &m->p.slot.region;
	int err;

	vu_rings_pause(vu);
	(void)mem_remove(vu->mem, r->gpa, r->size, r->user);
	err = map_region(vu->mem, r, &m->fds[0]);
	vu_rings_resume(vu);
	return err;
}

int vu_rem_mem_reg(struct vu_host *vu, struct vu_msg *m)
{
	const struct vu_region *r = &m->p.slot.region;

	vu_rings_pause(vu);
	(void)mem_remove(vu->mem, r->gpa, r->size, r->user);
	vu_rings_resume(vu);
	return 0;
}

void vu_log_update(struct vu_host *vu)
{
	bool on = vu->log != NULL && (vu->features & VU_F_LOG_ALL) != 0;

	vu->mem->log = on ? vu->log : NULL;
	vu->mem->log_size = on ? vu->log_size : 0;
}

/* "Migration": the log covers guest addresses from 0, one bit a page, and begins at an offset of the file. */
int vu_set_log_base(struct vu_host *vu, struct vu_msg *m)
{
	uint64_t size = m->p.log.size, off = m->p.log.off;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), lead = off & (page - 1);
	struct stat st;
	void *map;

	if (m->head.size < sizeof(m->p.log) || m->n_fds != 1 || size == 0)
		return -EINVAL;
	if (fstat(m->fds[0], &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || off > (uint64_t)st.st_size || size > (uint64_t)st.st_size - off)
		return -EINVAL;
	map = mmap(NULL, size + lead, PROT_READ | PROT_WRITE, MAP_SHARED, m->fds[0],
		   (off_t)(off - lead));
	if (map == MAP_FAILED)
		return -errno;
	log_drop(vu);
	vu->log_map = map;
	vu->log_map_len = size + lead;
	vu->log = (uint8_t *)map + lead;
	vu->log_size = size;
	vu_log_update(vu);
	m->p.u64 = 0;
	m->head.size = sizeof(m->p.u64);
	return 0;
}
