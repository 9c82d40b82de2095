/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernel's vhost-net: one descriptor moves the frames of one queue pair. */
#ifndef VHOST_KERNEL_H
#define VHOST_KERNEL_H

#include "base/hostops.h"
#include "bus/vhost.h"

#define VHOST_NET_DEV "/dev/vhost-net"

struct vhost_kernel {
	int fd;		   /* -1: none */
	uint64_t features; /* the kernel's */
};

/*
 * Opens the device, or takes the descriptor @fd (in every case) unless it is -1. @poll_us: how long
 * it polls before it sleeps. 0 or -errno with *@what that failed.
 */
int vhost_kernel_open(struct vhost_kernel *k, const struct twx_hostops *ops, int fd,
		      uint32_t poll_us, const char **what);
void vhost_kernel_close(struct vhost_kernel *k);

/*
 * The calls of struct vhost_ops; @socket is where frames go to and come from (a tap). @own_header:
 * the kernel adds the virtio header itself, as the socket has none.
 */
int vhost_kernel_setup(struct vhost_kernel *k, uint64_t features, bool own_header,
		       const struct mem_map *mem);
int vhost_kernel_ring_start(struct vhost_kernel *k, unsigned int ring, const struct vhost_ring *r,
			    int socket);
int vhost_kernel_ring_stop(struct vhost_kernel *k, unsigned int ring, uint16_t *base);

#endif
