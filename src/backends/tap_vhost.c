/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tap backend's queues in the hands of the kernel's vhost-net: frames go between the guest's
 * rings and the interface without this program.
 *
 * vhost=on opens a descriptor of vhost-net for each queue; what fails then is a warning and our own
 * path, or an error with vhostforce. While rings are out the queue is not read here. The header
 * that guest and interface exchange is then the driver's, of 10 bytes or 12, and the interface is
 * told which.
 */
#include <errno.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>

#include "backends/tap.h"
#include "base/macros.h"
#include "base/opts.h"
#include "net/net_priv.h"

#define HDR_LEGACY 10 /* without num_buffers */

static struct tap_queue *queue_of(struct vhost *v)
{
	return container_of(v, struct tap_queue, vhost);
}

/* The header's size is the interface's, and all pairs of a NIC have the same. */
static int set_header(struct tap *tap, int len)
{
	if (!tap->vnet_hdr || len == tap->hdr_len)
		return 0;
	if (ioctl(tap->queues[0].fd, TUNSETVNETHDRSZ, &len) < 0)
		return -errno;
	tap->hdr_len = len;
	return 0;
}

static int tap_vhost_setup(struct vhost *v, uint64_t features, const struct mem_map *mem)
{
	const uint64_t wide = VHOST_BIT(VIRTIO_F_VERSION_1) | VHOST_BIT(VIRTIO_NET_F_MRG_RXBUF);
	struct tap_queue *q = queue_of(v);
	struct tap *tap = q->tap;
	int rc = vhost_kernel_setup(&q->kernel, features, !tap->vnet_hdr, mem);

	if (rc < 0)
		return rc;
	return set_header(tap, features & wide ? TAP_VNET_LEN : HDR_LEGACY);
}

static int tap_vhost_start(struct vhost *v, unsigned int ring, const struct vhost_ring *r)
{
	struct tap_queue *q = queue_of(v);
	int rc;

	if (!q->lent)
		tap_lend(q, true);
	rc = vhost_kernel_ring_start(&q->kernel, ring, r, q->fd);
	if (rc == 0)
		q->lent |= 1u << ring;
	if (!q->lent)
		tap_lend(q, false);
	return rc;
}

static int tap_vhost_stop(struct vhost *v, unsigned int ring, uint16_t *base)
{
	struct tap_queue *q = queue_of(v);
	struct tap *tap = q->tap;
	bool any = false;
	int rc;

	if (!(q->lent & 1u << ring))
		return 0;
	rc = vhost_kernel_ring_stop(&q->kernel, ring, base);
	q->lent &= (uint8_t) ~(1u << ring);
	if (q->lent)
		return rc;
	for (uint32_t i = 0; i < tap->n_queues; i++)
		any |= tap->queues[i].lent != 0;
	if (!any)
		(void)set_header(tap, TAP_VNET_LEN);
	tap_lend(q, false);
	return rc;
}

/* A queue that is detached gets no frames of the interface. */
static void tap_vhost_select(struct vhost *v, bool on)
{
	struct ifreq ifr = { .ifr_flags = (short)(on ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE) };
	struct tap_queue *q = queue_of(v);

	if (q->tap->n_queues == 1 || q->detached == !on)
		return;
	if (ioctl(q->fd, TUNSETQUEUE, &ifr) == 0)
		q->detached = !on;
	else
		twx_log(q->tap->backend->net, TWX_LOG_WARNING, "netdev %s: queue %d of %s: %s",
			q->tap->backend->id, (int)(q - q->tap->queues), q->tap->ifname,
			strerror(errno));
}

static const struct vhost_ops tap_vhost_ops = {
	.setup = tap_vhost_setup,
	.ring_start = tap_vhost_start,
	.ring_stop = tap_vhost_stop,
	.select = tap_vhost_select,
};

struct vhost *tap_vhost(struct twx_port *port)
{
	struct tap *tap = ((struct twx_backend *)port->owner)->priv;

	return tap->vhost ? &tap->queues[port->queue_index].vhost : NULL;
}

/* What the interface does with the guest's frames: unfinished ones need the header. */
static uint64_t tap_vhost_features(const struct tap *tap, uint64_t kernel)
{
	static const struct {
		uint32_t cap;
		uint64_t features;
	} map[] = {
		{ TWX_CAP_CSUM, VHOST_BIT(VIRTIO_NET_F_CSUM) },
		{ TWX_CAP_TSO4, VHOST_BIT(VIRTIO_NET_F_HOST_TSO4) | VHOST_BIT(VIRTIO_NET_F_GSO) },
		{ TWX_CAP_TSO6, VHOST_BIT(VIRTIO_NET_F_HOST_TSO6) },
		{ TWX_CAP_ECN, VHOST_BIT(VIRTIO_NET_F_HOST_ECN) },
		{ TWX_CAP_UFO, VHOST_BIT(VIRTIO_NET_F_HOST_UFO) },
		{ TWX_CAP_USO, VHOST_BIT(56 /* VIRTIO_NET_F_HOST_USO */) },
	};
	uint64_t f = kernel & VHOST_RING_FEATURES;
	uint32_t caps = tap_dev_caps(tap).flags;

	if (!tap->vnet_hdr)
		return f;
	for (size_t i = 0; i < array_size(map); i++)
		if (caps & map[i].cap)
			f |= map[i].features;
	return f | VHOST_GUEST_FEATURES;
}

bool tap_vhost_wanted(const struct twx_opts *o)
{
	return twx_opts_given(o, "vhost")
		       ? twx_opts_bool(o, "vhost")
		       : twx_opts_given(o, "vhostfd") || twx_opts_given(o, "vhostfds") ||
				 twx_opts_bool(o, "vhostforce");
}

int tap_vhost_check(const struct twx_opts *o, struct twx_error *e)
{
	bool fds = twx_opts_given(o, "vhostfds");

	if ((fds || twx_opts_given(o, "vhostfd")) && !tap_vhost_wanted(o))
		return twx_error_set(e, EINVAL, "vhostfd(s)= is not valid without vhost");
	if (fds && !twx_opts_given(o, "fds"))
		return twx_error_set(e, EINVAL, "vhostfds= is invalid if fds= wasn't specified");
	if (twx_opts_given(o, "vhostfd") && twx_opts_given(o, "queues") &&
	    twx_opts_int(o, "queues") > 1) {
		twx_error_set(e, EINVAL,
			      "vhostfd= is one descriptor, and every queue needs its own");
		return twx_error_hint(e,
				      "leave vhostfd= out: " VHOST_NET_DEV " is then opened here");
	}
	return 0;
}

static void open_failed(int rc, const char *what, struct twx_error *e)
{
	twx_error_set(e, -rc, "vhost-net requested but could not be initialized: cannot %s: %s",
		      what, strerror(-rc));
	if (rc == -ENOENT || rc == -ENODEV || rc == -ENXIO)
		twx_error_hint(e, "load the driver as root: modprobe vhost_net");
	else if (rc == -EACCES || rc == -EPERM)
		twx_error_hint(e, "as root: give this user access to " VHOST_NET_DEV
				  " (group kvm on Debian)");
}

static int open_all(struct tap *tap, const struct twx_opts *o, struct twx_error *e)
{
	const char *list = twx_opts_str(o, twx_opts_given(o, "vhostfds") ? "vhostfds" : "vhostfd");
	const struct twx_hostops *ops = net_hostops(tap->backend->net);
	uint32_t poll_us = (uint32_t)twx_opts_int(o, "poll-us");
	const char *what;
	int rc = 0;

	for (uint32_t i = 0; i < tap->n_queues && rc == 0; i++) {
		int fd = -1;

		if (list) {
			fd = tap_next_fd(&list);
			if (fd < 0)
				return twx_error_set(e, EINVAL,
						     "vhostfds= has no descriptor for queue %u", i);
		}
		rc = vhost_kernel_open(&tap->queues[i].kernel, ops, fd, poll_us, &what);
	}
	if (rc < 0)
		open_failed(rc, what, e);
	else if (list && *list)
		rc = twx_error_set(e, EINVAL,
				   "The number of fds passed does not match the number of vhostfds "
				   "passed");
	return rc;
}

int tap_vhost_open(struct tap *tap, const struct twx_opts *o, struct twx_error *e)
{
	bool forced = twx_opts_bool(o, "vhostforce");
	int rc;

	if (!tap_vhost_wanted(o))
		return 0;
	rc = open_all(tap, o, e);
	if (rc < 0) {
		tap_vhost_close(tap);
		if (forced || rc == -EINVAL)
			return rc;
		twx_log(tap->backend->net, TWX_LOG_WARNING, "netdev %s: %s", tap->backend->id,
			e->what);
		*e = (struct twx_error){ 0 };
		return 0;
	}
	for (uint32_t i = 0; i < tap->n_queues; i++) {
		struct tap_queue *q = &tap->queues[i];

		q->vhost = (struct vhost){
			.ops = &tap_vhost_ops,
			.what = "vhost-net",
			.features = tap_vhost_features(tap, q->kernel.features),
		};
	}
	tap->vhost = true;
	return 0;
}

void tap_vhost_close(struct tap *tap)
{
	for (uint32_t i = 0; i < tap->n_queues; i++)
		vhost_kernel_close(&tap->queues[i].kernel);
	tap->vhost = false;
}
