/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's vhost-net (linux/vhost.h).
 *
 * The kernel reaches the guest's memory by our addresses of it: the table says which of them is
 * which guest address, and what is not in it the kernel does not touch. A ring runs from the moment
 * its socket is set until it is taken away; between the two neither ring nor memory changes.
 */
#include "backends/vhost_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int call(const struct vhost_kernel *k, unsigned long request, const void *arg)
{
	return ioctl(k->fd, request, arg) < 0 ? -errno : 0;
}

static int set_poll(struct vhost_kernel *k, uint32_t poll_us)
{
	int rc = 0;

	for (unsigned int i = 0; i < VHOST_RINGS && rc == 0; i++) {
		struct vhost_vring_state s = { .index = i, .num = poll_us };

		rc = call(k, VHOST_SET_VRING_BUSYLOOP_TIMEOUT, &s);
	}
	return rc;
}

int vhost_kernel_open(struct vhost_kernel *k, const struct twx_hostops *ops, int fd,
		      uint32_t poll_us, const char **what)
{
	int rc;

	*what = "open " VHOST_NET_DEV;
	k->fd = fd >= 0 ? fd : hostops_open(ops, VHOST_NET_DEV, O_RDWR | O_CLOEXEC, 0);
	if (k->fd < 0) {
		rc = k->fd;
		k->fd = -1;
		return rc;
	}
	fcntl(k->fd, F_SETFD, FD_CLOEXEC);
	*what = "own " VHOST_NET_DEV;
	rc = call(k, VHOST_SET_OWNER, NULL);
	if (rc == 0) {
		*what = "ask " VHOST_NET_DEV " for its features";
		rc = call(k, VHOST_GET_FEATURES, &k->features);
	}
	if (rc == 0 && poll_us) {
		*what = "set poll-us of " VHOST_NET_DEV;
		rc = set_poll(k, poll_us);
	}
	if (rc < 0)
		vhost_kernel_close(k);
	return rc;
}

void vhost_kernel_close(struct vhost_kernel *k)
{
	if (k->fd >= 0)
		close(k->fd);
	k->fd = -1;
}

/* What touches here as well as there is one region: the kernel takes 64. */
static bool joins(const struct vhost_memory_region *a, const struct mem_region *b)
{
	return a->guest_phys_addr + a->memory_size == b->gpa &&
	       a->userspace_addr + a->memory_size == (uintptr_t)b->host;
}

static int set_memory(struct vhost_kernel *k, const struct mem_map *mem)
{
	struct vhost_memory *table =
		calloc(1, sizeof(*table) + (mem->n + 1) * sizeof(table->regions[0]));
	struct vhost_memory_region *r;
	int rc;

	if (!table)
		return -ENOMEM;
	r = table->regions; /* the next one */
	for (unsigned int i = 0; i < mem->n; i++) {
		const struct mem_region *m = &mem->regions[i];

		if (table->nregions && joins(r - 1, m)) {
			r[-1].memory_size += m->size;
			continue;
		}
		*r++ = (struct vhost_memory_region){ .guest_phys_addr = m->gpa,
						     .memory_size = m->size,
						     .userspace_addr = (uintptr_t)m->host };
		table->nregions++;
	}
	rc = call(k, VHOST_SET_MEM_TABLE, table);
	free(table);
	return rc;
}

int vhost_kernel_setup(struct vhost_kernel *k, uint64_t features, bool own_header,
		       const struct mem_map *mem)
{
	int rc;

	features &= VHOST_RING_FEATURES & k->features;
	if (own_header)
		features |= VHOST_BIT(VHOST_NET_F_VIRTIO_NET_HDR);
	rc = call(k, VHOST_SET_FEATURES, &features);
	return rc < 0 ? rc : set_memory(k, mem);
}

static int set_socket(struct vhost_kernel *k, unsigned int ring, int fd)
{
	struct vhost_vring_file f = { .index = ring, .fd = fd };

	return call(k, VHOST_NET_SET_BACKEND, &f);
}

static int set_fds(struct vhost_kernel *k, unsigned int ring, int kick, int interrupt, int err)
{
	struct vhost_vring_file f = { .index = ring, .fd = kick };
	int rc = call(k, VHOST_SET_VRING_KICK, &f);

	f.fd = interrupt;
	if (rc == 0)
		rc = call(k, VHOST_SET_VRING_CALL, &f);
	f.fd = err;
	return rc < 0 ? rc : call(k, VHOST_SET_VRING_ERR, &f);
}

int vhost_kernel_ring_start(struct vhost_kernel *k, unsigned int ring, const struct vhost_ring *r,
			    int socket)
{
	struct vhost_vring_addr addr = {
		.index = ring,
		.desc_user_addr = (uintptr_t)r->desc,
		.avail_user_addr = (uintptr_t)r->avail,
		.used_user_addr = (uintptr_t)r->used,
	};
	struct vhost_vring_state s = { .index = ring, .num = r->size };
	int rc = call(k, VHOST_SET_VRING_NUM, &s);

	s.num = r->base;
	if (rc == 0)
		rc = call(k, VHOST_SET_VRING_BASE, &s);
	if (rc == 0)
		rc = call(k, VHOST_SET_VRING_ADDR, &addr);
	if (rc == 0)
		rc = set_fds(k, ring, r->kick_fd, r->call_fd, r->err_fd);
	if (rc == 0)
		rc = set_socket(k, ring, socket);
	if (rc < 0)
		(void)set_fds(k, ring, -1, -1, -1);
	return rc;
}

int vhost_kernel_ring_stop(struct vhost_kernel *k, unsigned int ring, uint16_t *base)
{
	struct vhost_vring_state s = { .index = ring };
	int rc = set_socket(k, ring, -1), rc2 = call(k, VHOST_GET_VRING_BASE, &s);

	(void)set_fds(k, ring, -1, -1, -1);
	if (rc < 0 || rc2 < 0)
		return rc < 0 ? rc : rc2;
	*base = (uint16_t)s.num;
	return 0;
}
