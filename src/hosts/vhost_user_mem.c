/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory and the dirty log as the front end describes them. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "hosts/vhost_user.h"

static void mem_attach(struct vu_host *vu, struct mem_map *m)
{
	vu->mem = m;
	vu_iotlb_memory(vu);
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
	mem_unmap(&vu->log_map);
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
	vu_inflight_drop(vu);
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

/* For vu->guard, in a signal handler: see net/fault.h. */
const struct fault_area *vu_area_at(struct fault_guard *g, uintptr_t addr)
{
	struct vu_host *vu = vu_of_guard(g);

	if (fault_area_has(&vu->log_map, addr))
		return &vu->log_map;
	if (fault_area_has(&vu->inflight_map, addr))
		return &vu->inflight_map;
	for (uint32_t i = 0; i < vu->n_rings * VU_AREAS; i++)
		if (fault_area_has(&vu->rings[i / VU_AREAS].windows[i % VU_AREAS], addr))
			return &vu->rings[i / VU_AREAS].windows[i % VU_AREAS];
	return vu->mem != NULL ? mem_area_at(vu->mem, addr) : NULL;
}

void vu_memory_lost(struct fault_guard *g)
{
	atomic_store(&vu_of_guard(g)->mem->lost, true);
	vu_iotlb_lost(vu_of_guard(g));
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
	vu_iotlb_memory(vu);
	vu_rings_resume(vu);
	return err;
}

int vu_rem_mem_reg(struct vu_host *vu, struct vu_msg *m)
{
	const struct vu_region *r = &m->p.slot.region;

	vu_rings_pause(vu);
	(void)mem_remove(vu->mem, r->gpa, r->size, r->user);
	vu_iotlb_memory(vu);
	vu_rings_resume(vu);
	return 0;
}

void vu_log_update(struct vu_host *vu)
{
	bool on = vu->log != NULL && (vu->features & VU_F_LOG_ALL) != 0;

	vu->mem->log = on ? vu->log : NULL;
	vu->mem->log_size = on ? vu->log_size : 0;
	vu_iotlb_log(vu);
}

/* "Migration": the log covers guest addresses from 0, one bit a page, and begins at an offset of the file. */
int vu_set_log_base(struct vu_host *vu, struct vu_msg *m)
{
	uint64_t size = m->p.log.size;
	struct fault_area map;
	struct stat st;
	uint8_t *at;
	int err;

	if (m->head.size < sizeof(m->p.log) || m->n_fds != 1 || size == 0)
		return -EINVAL;
	if (fstat(m->fds[0], &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	err = mem_map_file(&map, m->fds[0], m->p.log.off, size, &at);
	if (err < 0)
		return err;
	log_drop(vu);
	vu->log_map = map;
	vu->log = at;
	vu->log_size = size;
	vu_log_update(vu);
	m->p.u64 = 0;
	m->head.size = sizeof(m->p.u64);
	return 0;
}
