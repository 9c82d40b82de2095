/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio over PCI: doorbells and interrupts by eventfd.
 *
 * A host that dispatches addresses can have a doorbell's write signal an eventfd
 * (host_ops->doorbell), and the guest's CPU goes on at once. The eventfd is watched here while its
 * queue runs, or read by whoever runs the queue outside of this process (bus/vhost.h), after
 * kick_fd(). Where the host cannot route writes they come by vpci_doorbell(), which then signals
 * the eventfd of a queue that is outside itself.
 *
 * In the other direction, call_fd() makes interrupts of an eventfd's signals. While MSI-X is in use
 * and the host can route them, they pass us by (pci_notify_fd()): one eventfd for each vector, so
 * of queues that share one the first. Otherwise the eventfd is watched, and what is in use is
 * looked at with each signal. vpci_calls_update() follows the driver's changes of mind.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/evfd.h"
#include "bus/virtio_pci_priv.h"

/* Doorbells. */

static void bell_rang(struct twx_watch *w, uint32_t events)
{
	struct vpci_bell *b = container_of(w, struct vpci_bell, watch);

	(void)events;
	if (evfd_take(b->fd) > 0)
		vpci_doorbell(b->vp, b->queue);
}

static bool bell_open(struct vpci_bell *b)
{
	if (b->fd < 0)
		b->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return b->fd >= 0;
}

/* Whose signal it is: ours while the queue is. */
static void bell_watch(struct vpci_bell *b)
{
	if (!b->routed || b->outside)
		twx_watch_del(&b->watch);
	else if (!b->watch.loop &&
		 twx_watch_add(&b->watch, b->vp->pci.loop, b->fd, EPOLLIN, bell_rang) < 0)
		vpci_bell_off(b->vp, b->queue);
}

/* A queue's places: in the modern BAR, in the legacy one, in that of modern-pio-notify. */
static unsigned int bell_places(const struct vpci_bell *b, struct pci_doorbell out[3])
{
	const struct virtio_pci *vp = b->vp;
	unsigned int n = 0;

	if (vp->modern)
		out[n++] = (struct pci_doorbell){ .bar = VPCI_BAR_MODERN,
						  .off = VPCI_NOTIFY +
							 b->queue * vpci_notify_multiplier(vp),
						  .fd = b->fd };
	if (vp->legacy)
		out[n++] = (struct pci_doorbell){ .bar = VPCI_BAR_LEGACY,
						  .off = VIRTIO_PCI_QUEUE_NOTIFY,
						  .size = 2,
						  .match = true,
						  .value = (uint16_t)b->queue,
						  .fd = b->fd };
	if (vp->modern && vp->pio_notify)
		out[n++] = (struct pci_doorbell){ .bar = VPCI_BAR_PIO,
						  .size = 2,
						  .match = true,
						  .value = (uint16_t)b->queue,
						  .fd = b->fd };
	return n;
}

/* The host that routes may have left meanwhile, and its routes with it. */
static void bell_route(struct vpci_bell *b, bool on)
{
	const struct pci_host_ops *ops = b->vp->pci.host_ops;
	struct pci_doorbell places[3];
	unsigned int n = bell_places(b, places);
	bool any = false;

	for (unsigned int i = 0; i < n && ops && ops->doorbell; i++)
		any |= ops->doorbell(&b->vp->pci, &places[i], on) == 0;
	b->routed = on && any;
}

void vpci_bell_on(struct virtio_pci *vp, uint32_t i)
{
	struct vpci_bell *b = &vp->bells[i];

	if (vp->ioeventfd && !b->routed && vp->pci.host_ops && vp->pci.host_ops->doorbell &&
	    bell_open(b))
		bell_route(b, true);
	bell_watch(b);
}

void vpci_bell_off(struct virtio_pci *vp, uint32_t i)
{
	struct vpci_bell *b = &vp->bells[i];

	twx_watch_del(&b->watch);
	if (b->routed)
		bell_route(b, false);
}

bool vpci_bell_outside(const struct virtio_pci *vp, uint32_t i)
{
	const struct vpci_bell *b = &vp->bells[i];

	if (b->outside)
		evfd_signal(b->fd);
	return b->outside;
}

int vpci_kick_fd(struct virtio_dev *vdev, unsigned int queue, bool on)
{
	struct virtio_pci *vp = vdev->host;
	struct vpci_bell *b = &vp->bells[queue];

	if (on && !bell_open(b))
		return -errno;
	b->outside = on;
	bell_watch(b);
	return b->fd;
}

/* Interrupts. */

static void call_came(struct twx_watch *w, uint32_t events)
{
	struct vpci_bell *b = container_of(w, struct vpci_bell, call_watch);

	(void)events;
	if (evfd_take(b->call_fd) > 0)
		b->vp->vdev->host_ops->notify_queue(b->vp->vdev, b->queue);
}

/* The vector that the host may signal by itself, or VIRTIO_MSI_NO_VECTOR. */
static uint16_t call_vector(const struct vpci_bell *b)
{
	const struct virtio_pci *vp = b->vp;
	uint16_t vector = vpci_queue(vp->regs, b->queue)->vector;

	if (b->call_fd < 0 || !vpci_msix(vp) || !vp->pci.host_ops || !vp->pci.host_ops->message_fd)
		return VIRTIO_MSI_NO_VECTOR;
	for (uint32_t i = 0; i < vp->regs->n_queues; i++)
		if (i != b->queue && vp->bells[i].call_vector == vector)
			return VIRTIO_MSI_NO_VECTOR;
	return vector;
}

static void call_update(struct vpci_bell *b)
{
	uint16_t vector = call_vector(b);

	if (vector != b->call_vector) {
		if (b->call_vector != VIRTIO_MSI_NO_VECTOR)
			(void)pci_notify_fd(&b->vp->pci, b->call_vector, -1);
		if (vector != VIRTIO_MSI_NO_VECTOR &&
		    pci_notify_fd(&b->vp->pci, vector, b->call_fd) < 0)
			vector = VIRTIO_MSI_NO_VECTOR;
		b->call_vector = vector;
	}
	if (b->call_fd < 0 || b->call_vector != VIRTIO_MSI_NO_VECTOR)
		twx_watch_del(&b->call_watch);
	else if (!b->call_watch.loop)
		(void)twx_watch_add(&b->call_watch, b->vp->pci.loop, b->call_fd, EPOLLIN,
				    call_came);
}

void vpci_calls_update(struct virtio_pci *vp)
{
	for (uint32_t i = 0; i < vp->regs->n_queues; i++)
		if (vp->bells[i].call_fd >= 0)
			call_update(&vp->bells[i]);
}

int vpci_call_fd(struct virtio_dev *vdev, unsigned int queue, int fd)
{
	struct virtio_pci *vp = vdev->host;
	struct vpci_bell *b = &vp->bells[queue];

	twx_watch_del(&b->call_watch); /* which was of the former fd */
	if (b->call_vector != VIRTIO_MSI_NO_VECTOR) {
		(void)pci_notify_fd(&vp->pci, b->call_vector, -1);
		b->call_vector = VIRTIO_MSI_NO_VECTOR;
	}
	b->call_fd = fd;
	call_update(b);
	return fd < 0 || b->call_watch.loop || b->call_vector != VIRTIO_MSI_NO_VECTOR ? 0 : -ENOMEM;
}

/* Life. */

int vpci_bells_new(struct virtio_pci *vp)
{
	vp->bells = calloc(vp->regs->n_queues, sizeof(*vp->bells));
	if (!vp->bells)
		return -ENOMEM;
	for (uint32_t i = 0; i < vp->regs->n_queues; i++)
		vp->bells[i] = (struct vpci_bell){ .vp = vp,
						   .queue = i,
						   .fd = -1,
						   .call_fd = -1,
						   .call_vector = VIRTIO_MSI_NO_VECTOR };
	return 0;
}

/* With every queue stopped. */
void vpci_bells_free(struct virtio_pci *vp)
{
	for (uint32_t i = 0; vp->bells && i < vp->regs->n_queues; i++)
		if (vp->bells[i].fd >= 0)
			close(vp->bells[i].fd);
	free(vp->bells);
	vp->bells = NULL;
}
