/* SPDX-License-Identifier: BSD-3-Clause */
/* A data path outside of this process: the kernel's vhost, or a process that speaks vhost-user. */
#ifndef BUS_VHOST_H
#define BUS_VHOST_H

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>

#include "bus/mem.h"
#include "bus/virtio.h"

/*
 * A backend that has one gives it out by its ports (ops->vhost), one for each queue pair. The NIC
 * at the other end asks for it when it is made, offers its driver only what the path can do, and
 * hands its rings over whenever they would run: it says setup(), then ring_start() for each. What
 * the guest writes to its doorbells then wakes the path by the kick fd, and the call fd is an
 * interrupt; this process sees neither. ring_stop() takes a ring back with everything that was in
 * it, at the index where somebody else can go on.
 *
 * While rings are out, the port neither sends nor is sent anything but announcements. Everything
 * runs on the port's loop. A path whose other end is gone takes its port's link down; what remains
 * of its rings is then asked back, and they are handed over anew once the link is up.
 */

/* Feature bits that concern whoever moves the frames; the others are the NIC's own. */
#ifndef VIRTIO_F_IN_ORDER
#define VIRTIO_F_IN_ORDER 35
#endif
#define VHOST_BIT(name) (1ull << (name))
#define VHOST_RING_FEATURES                                                                        \
	(VHOST_BIT(VIRTIO_F_NOTIFY_ON_EMPTY) | VHOST_BIT(VIRTIO_F_ANY_LAYOUT) |                    \
	 VHOST_BIT(VIRTIO_RING_F_INDIRECT_DESC) | VHOST_BIT(VIRTIO_RING_F_EVENT_IDX) |             \
	 VHOST_BIT(VIRTIO_F_VERSION_1) | VHOST_BIT(VIRTIO_F_IN_ORDER) |                            \
	 VIRTIO_PACKED | VHOST_BIT(VIRTIO_NET_F_MRG_RXBUF))
#define VHOST_HOST_FEATURES                                                                        \
	(VHOST_BIT(VIRTIO_NET_F_CSUM) | VHOST_BIT(VIRTIO_NET_F_GSO) |                              \
	 VHOST_BIT(VIRTIO_NET_F_HOST_TSO4) | VHOST_BIT(VIRTIO_NET_F_HOST_TSO6) |                   \
	 VHOST_BIT(VIRTIO_NET_F_HOST_ECN) | VHOST_BIT(VIRTIO_NET_F_HOST_UFO) |                     \
	 VHOST_BIT(56 /* VIRTIO_NET_F_HOST_USO */))
#define VHOST_GUEST_FEATURES                                                                       \
	(VHOST_BIT(VIRTIO_NET_F_GUEST_CSUM) | VHOST_BIT(VIRTIO_NET_F_GUEST_TSO4) |                 \
	 VHOST_BIT(VIRTIO_NET_F_GUEST_TSO6) | VHOST_BIT(VIRTIO_NET_F_GUEST_ECN) |                  \
	 VHOST_BIT(VIRTIO_NET_F_GUEST_UFO) | VHOST_BIT(54 /* VIRTIO_NET_F_GUEST_USO4 */) |         \
	 VHOST_BIT(55 /* VIRTIO_NET_F_GUEST_USO6 */))
#define VHOST_FEATURES (VHOST_RING_FEATURES | VHOST_HOST_FEATURES | VHOST_GUEST_FEATURES)

enum { VHOST_RX, VHOST_TX, VHOST_RINGS };

/* Addresses are this process's, with room for @size entries; fds stay the caller's, -1: none. */
struct vhost_ring {
	uint16_t size;
	uint16_t base; /* where to start, as virtio_queue_setup() has it */
	void *desc, *avail, *used;
	int kick_fd, call_fd, err_fd;
};

struct vhost;
struct vhost_ops {
	/*
	 * Before the first ring of the pair: what the driver agreed to (VHOST_FEATURES are looked
	 * at), and the memory, which does not change until the last ring has stopped. 0 or -errno.
	 */
	int (*setup)(struct vhost *v, uint64_t features, const struct mem_map *mem);
	int (*ring_start)(struct vhost *v, unsigned int ring, const struct vhost_ring *r);
	/*
	 * The ring is the caller's again in every case. 0 with where to go on in *@base, or -errno
	 * when nobody can tell any more (the used ring does). Harmless for a ring that is not out.
	 */
	int (*ring_stop)(struct vhost *v, unsigned int ring, uint16_t *base);
	/* Whether frames for the guest may come by this pair; all may at first. */
	void (*select)(struct vhost *v, bool on);
	/* Optional: the MTU that the driver agreed to; a word to the network of where @mac is. */
	void (*set_mtu)(struct vhost *v, uint16_t mtu);
	void (*announce)(struct vhost *v, const uint8_t mac[6]);
};

/* Embedded in the backend's queue. Constant from the backend's open() to its close(). */
struct vhost {
	const struct vhost_ops *ops;
	const char *what;  /* "vhost-net", for the log */
	uint64_t features; /* of VHOST_FEATURES, what it can do */
	bool needs_files;  /* memory is handed over by file (mem_map's keep_files) */
	bool only;	   /* there is no other way: frames that take one are lost */
	bool settled;	   /* frames have the offloads of setup(), whatever the driver says later */
};

#endif
