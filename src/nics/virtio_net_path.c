/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-net: rings that the kernel or another process runs (bus/vhost.h).
 *
 * Whether a peer has such a path is known when the NIC is made, and what the path cannot do is not
 * offered to the driver. From then on the choice is made each time a ring starts: it goes out if
 * there is a path, both ends of the cable are up, the transport has eventfds to give, and nobody
 * wants to know which pages are written (mem_map's log, which our own path keeps). What changes one
 * of these takes the rings back and starts them anew, at the index where they were left. A path
 * that fails is not asked again until the driver resets the device or the cable is plugged anew.
 *
 * The control queue never goes out; which pairs the driver has selected is passed on.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/evfd.h"
#include "base/macros.h"
#include "bus/vhost.h"
#include "nics/virtio_net.h"

static struct vhost *path_of(const struct vnet_pair *p)
{
	struct twx_port *peer = p->port ? p->port->peer : NULL;

	return peer && peer->ops->vhost ? peer->ops->vhost(peer) : NULL;
}

static bool cable_up(const struct vnet *vn)
{
	const struct twx_port *port = vn->pairs[0].port;

	return !port->link_down && port->peer && !port->peer->link_down;
}

static bool path_usable(const struct vnet *vn)
{
	const struct virtio_host_ops *host = vn->dev.host_ops;

	return host && host->kick_fd && host->call_fd && !vn->path_failed && cable_up(vn) &&
	       !vn->dev.mem->log;
}

/* Set-up. */

static struct twx_port *backend_port(const struct twx_nic *nic)
{
	const struct twx_backend *b = nic->backend;

	return b && b->n_ports && b->ports[0]->ops->vhost ? b->ports[0] : NULL;
}

int vnet_path_open(struct vnet *vn, struct twx_error *e)
{
	struct twx_port *port = backend_port(vn->nic);
	const struct vhost *v = port ? port->ops->vhost(port) : NULL;

	if (!v)
		return 0;
	if (!(v->features & VHOST_BIT(VIRTIO_F_VERSION_1)))
		return twx_error_set(e, ENOTSUP,
				     "device %s: %s of netdev %s does not know virtio 1.0",
				     vn->nic->id, v->what, vn->nic->backend->id);
	vn->dev.offered &= ~(VHOST_FEATURES & ~v->features);
	if (v->settled)
		vn->dev.offered &= ~VHOST_BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
	vn->dev.lacks = VHOST_RING_FEATURES & ~v->features;
	vn->dev.needs_files = v->needs_files;
	return 0;
}

/* Rings. */

static int path_fd(int *fd)
{
	if (*fd < 0)
		*fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return *fd < 0 ? -errno : 0;
}

static void err_came(struct twx_watch *w, uint32_t events)
{
	struct vnet_pair *p = container_of(w, struct vnet_pair, err_watch);

	(void)events;
	if (evfd_take(p->err_fd) <= 0 || !p->path)
		return;
	twx_log(p->vn->nic->net, TWX_LOG_WARNING,
		"device %s: queue pair %d: %s found its rings malformed", p->vn->nic->id,
		(int)(p - p->vn->pairs), p->path->what);
}

static int path_err_fd(struct vnet_pair *p)
{
	int rc = path_fd(&p->err_fd);

	if (rc == 0 && !p->err_watch.loop)
		rc = twx_watch_add(&p->err_watch, p->port->loop, p->err_fd, EPOLLIN, err_came);
	return rc;
}

/* The pair's first ring brings the memory along. */
static int path_setup(struct vnet_pair *p, struct vhost *v)
{
	struct vnet *vn = p->vn;
	int rc;

	if (p->path)
		return 0;
	rc = v->ops->setup(v, vn->dev.features, vn->dev.mem);
	if (rc < 0)
		return rc;
	p->path = v;
	if (p == vn->pairs && vn->mtu && v->ops->set_mtu)
		v->ops->set_mtu(v, vn->mtu);
	return 0;
}

static unsigned int ring_of(const struct virtqueue *vq)
{
	return vq->index & 1 ? VHOST_TX : VHOST_RX;
}

static int path_start(struct vnet_pair *p, struct vhost *v, struct virtqueue *vq)
{
	const struct virtio_host_ops *host = p->vn->dev.host_ops;
	struct vhost_ring r = {
		.size = vq->size,
		.base = vq->next,
		.desc = vq->ring.desc,
		.avail = vq->ring.avail,
		.used = vq->ring.used,
	};
	unsigned int i = ring_of(vq);
	int rc;

	rc = path_setup(p, v);
	if (rc == 0)
		rc = path_err_fd(p);
	if (rc == 0)
		rc = path_fd(&p->call_fd[i]);
	if (rc < 0)
		return rc;
	rc = host->kick_fd(vq->dev, vq->index, true);
	if (rc < 0)
		return rc;
	r.kick_fd = rc;
	r.call_fd = p->call_fd[i];
	r.err_fd = p->err_fd;
	rc = host->call_fd(vq->dev, vq->index, r.call_fd);
	if (rc == 0)
		rc = v->ops->ring_start(v, i, &r);
	if (rc < 0) {
		host->call_fd(vq->dev, vq->index, -1);
		host->kick_fd(vq->dev, vq->index, false);
		return rc;
	}
	vq->outside = true;
	/* What was offered before has nobody's doorbell any more. */
	evfd_signal(r.kick_fd);
	return 0;
}

static bool pair_out(const struct vnet_pair *p)
{
	return p->rxq->outside || p->txq->outside;
}

/* A pair that has no ring outside any more has nothing to do with its path. */
static void path_leave(struct vnet_pair *p)
{
	if (!pair_out(p))
		p->path = NULL;
}

/* Says why frames go nowhere, where that will not pass. */
static void path_missed(struct vnet *vn, const struct vhost *v)
{
	const struct virtio_host_ops *host = vn->dev.host_ops;

	if (host && !host->kick_fd && !vn->path_failed) {
		vn->path_failed = true;
		twx_log(vn->nic->net, TWX_LOG_WARNING,
			"device %s: %s needs a card on a PCI bus, and this one is exported as a "
			"virtio device: frames are dropped",
			vn->nic->id, v->what);
	}
}

bool vnet_path_queue_start(struct vnet_pair *p, struct virtqueue *vq)
{
	struct vhost *v = path_of(p);
	struct vnet *vn = p->vn;
	int rc;

	if (!v)
		return false;
	vn->select_due = true;
	vnet_defer_all(vn);
	vn->path_up = cable_up(vn);
	if (!path_usable(vn)) {
		if (v->only)
			path_missed(vn, v);
		return false;
	}
	rc = path_start(p, v, vq);
	if (rc == 0)
		return true;
	path_leave(p);
	vn->path_failed = true;
	vn->retake_due = true; /* what is out already: a pair has one path */
	twx_log(vn->nic->net, TWX_LOG_WARNING, "device %s: unable to start %s: %s: %s", vn->nic->id,
		v->what, strerror(-rc),
		v->only ? "frames are dropped" : "falling back on this program's own path");
	return false;
}

void vnet_path_queue_stop(struct vnet_pair *p, struct virtqueue *vq)
{
	const struct virtio_host_ops *host = vq->dev->host_ops;
	uint16_t base = vq->next;

	if (!vq->outside)
		return;
	/* Nobody can tell after a crash, but for the ring itself, and that only if it is split. */
	if (p->path->ops->ring_stop(p->path, ring_of(vq), &base) < 0 && !vq->packed)
		base = virtio_queue_used_idx(&vq->ring);
	vq->next = base;
	vq->outside = false;
	host->call_fd(vq->dev, vq->index, -1);
	host->kick_fd(vq->dev, vq->index, false);
	/* A signal may have been on its way. */
	host->notify_queue(vq->dev, vq->index);
	path_leave(p);
	p->vn->select_due = true;
	vnet_defer_all(p->vn);
}

/* Every ring anew, by whichever way is right now. */
static void path_again(struct vnet *vn)
{
	for (unsigned int i = 0; i < 2 * vn->dev.max_pairs; i++) {
		struct virtqueue *vq = &vn->dev.queues[i];

		if (vq == vn->ctrl || !vq->running || vq->broken)
			continue;
		virtio_queue_stop(&vn->dev, i);
		virtio_queue_start(&vn->dev, i);
	}
}

void vnet_path_link_changed(struct vnet *vn)
{
	bool up = cable_up(vn), any = false;

	for (unsigned int i = 0; i < vn->dev.max_pairs; i++)
		any |= path_of(&vn->pairs[i]) != NULL || pair_out(&vn->pairs[i]);
	if (!any || vn->path_up == up)
		return;
	vn->path_up = up;
	vn->path_failed = false;
	path_again(vn);
}

/* Which pairs the network may use: while rings are out those that are and are selected, else all.
 */
static void path_select(struct vnet *vn)
{
	unsigned int limit = vn->ctrl && vn->ctrl->running ? vn->curr_pairs : vn->dev.max_pairs;
	bool any = false;

	for (unsigned int i = 0; i < vn->dev.max_pairs; i++)
		any |= pair_out(&vn->pairs[i]);
	for (unsigned int i = 0; i < vn->dev.max_pairs; i++) {
		struct vhost *v = path_of(&vn->pairs[i]);

		if (v)
			v->ops->select(v, !any || (pair_out(&vn->pairs[i]) && i < limit));
	}
}

void vnet_path_task(struct vnet *vn)
{
	if (vn->retake_due) {
		vn->retake_due = false;
		path_again(vn);
	}
	if (vn->select_due) {
		vn->select_due = false;
		path_select(vn);
	}
}

void vnet_path_pairs_changed(struct vnet *vn)
{
	vn->select_due = true;
	vnet_defer_all(vn);
}

bool vnet_path_announce(struct vnet *vn, const uint8_t mac[6])
{
	struct vhost *v = vn->pairs[0].path;

	if (!v || !v->ops->announce)
		return false;
	v->ops->announce(v, mac);
	return true;
}

void vnet_path_init(struct vnet_pair *p)
{
	p->err_fd = -1;
	for (unsigned int i = 0; i < VHOST_RINGS; i++)
		p->call_fd[i] = -1;
}

void vnet_path_fini(struct vnet_pair *p)
{
	twx_watch_del(&p->err_watch);
	if (p->err_fd >= 0)
		close(p->err_fd);
	for (unsigned int i = 0; i < VHOST_RINGS; i++)
		if (p->call_fd[i] >= 0)
			close(p->call_fd[i]);
}
