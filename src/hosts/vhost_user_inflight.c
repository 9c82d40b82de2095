/* SPDX-License-Identifier: BSD-3-Clause */
/* Inflight areas: memory of the front end that says, after our death, what was in our hands. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hosts/vhost_user.h"

/* One region a queue; the queue size is a ring's largest. */
static bool description_fits(const struct vu_host *vu, const struct vu_msg *m)
{
	uint32_t n = m->p.inflight.n_queues, size = m->p.inflight.queue_size;

	return m->head.size % 4 == 0 && n > 0 && n <= vu->n_rings && size > 0 &&
	       size <= VU_RING_MAX;
}

/* At most 257 queues of half a megabyte. */
static uint64_t area_size(const struct vu_msg *m)
{
	return (uint64_t)m->p.inflight.n_queues * inflight_region_size(m->p.inflight.queue_size);
}

/* Of zeros, which say that it is new; nobody can change its size. */
static int area_make(uint64_t size)
{
	const int seals = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
	int fd = memfd_create("vhost-user inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING), err;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) < 0 || fcntl(fd, F_ADD_SEALS, seals) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

static void no_packed(struct vu_host *vu)
{
	VU_LOG(vu, WARNING,
	       "inflight areas are kept for split rings alone; use packed=off on the front end's "
	       "device if it needs one");
}

/*
 * The area is the front end's: we keep nothing of it, and use it when it comes back by
 * SET_INFLIGHT_FD. A size of 0 tells the front end that it has to do without.
 */
int vu_get_inflight_fd(struct vu_host *vu, struct vu_msg *m)
{
	int fd;

	if (!description_fits(vu, m))
		return -EINVAL;
	m->p.inflight.size = 0;
	m->p.inflight.off = 0;
	if (vu_packed(vu)) {
		no_packed(vu);
		return 0;
	}
	fd = area_make(area_size(m));
	if (fd < 0) {
		VU_LOG(vu, WARNING, "cannot make an inflight area: %s", strerror(-fd));
		return 0;
	}
	m->p.inflight.size = area_size(m);
	m->fds[0] = fd;
	m->n_fds = 1;
	return 0;
}

void vu_inflight_drop(struct vu_host *vu)
{
	mem_unmap(&vu->inflight_map);
	vu->inflight = NULL;
	vu->inflight_queues = 0;
}

/* Rings that run already are stopped for it and go on with what their regions say. */
int vu_set_inflight_fd(struct vu_host *vu, struct vu_msg *m)
{
	uint64_t size = area_size(m), off = m->p.inflight.off;
	struct fault_area map;
	struct stat st;
	uint8_t *at;
	int err;

	if (vu_packed(vu)) {
		no_packed(vu);
		return -EOPNOTSUPP;
	}
	if (!description_fits(vu, m) || m->p.inflight.size < size ||
	    off % _Alignof(struct inflight_region) != 0)
		return -EINVAL;
	if (fstat(m->fds[0], &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	err = mem_map_file(&map, m->fds[0], off, size, &at);
	if (err < 0)
		return err;
	vu_rings_pause(vu);
	vu_inflight_drop(vu);
	vu->inflight_map = map;
	vu->inflight = at;
	vu->inflight_queues = m->p.inflight.n_queues;
	vu->inflight_size = m->p.inflight.queue_size;
	vu_rings_resume(vu);
	return 0;
}

int vu_inflight_begin(struct vu_ring *r, const struct virtio_ring *ring, uint16_t *next)
{
	struct vu_host *vu = r->vu;
	uint64_t off = (uint64_t)r->index * inflight_region_size(vu->inflight_size);
	int found;

	if (r->index >= vu->inflight_queues)
		return 0;
	if (vu_packed(vu)) {
		no_packed(vu);
		return -EOPNOTSUPP;
	}
	found = inflight_open(&r->inflight, (void *)(vu->inflight + off), vu->inflight_size, r->num,
			      ring, next);
	if (found == INFLIGHT_STALE)
		VU_LOG(vu, WARNING,
		       "queue %u: its inflight region does not fit the ring and is begun anew",
		       r->index);
	else if (found == INFLIGHT_RESUME && r->inflight.n > 0)
		VU_LOG(vu, INFO, "queue %u: %u chains of a former back end are taken again",
		       r->index, r->inflight.n);
	return found < 0 ? found : 0;
}
