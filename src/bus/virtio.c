/* SPDX-License-Identifier: BSD-3-Clause */
/* The transport's calls into a virtio device: features, queue set-up, start, stop, reset. */
#include "bus/virtio.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>

#include "base/endian.h"
#include "bus/virtqueue.h"

int virtio_dev_init(struct virtio_dev *dev, const struct virtio_dev_ops *ops, struct twx_loop *loop,
		    unsigned int n_queues)
{
	dev->queues = calloc(n_queues, sizeof(*dev->queues));
	if (!dev->queues)
		return -ENOMEM;
	dev->ops = ops;
	dev->loop = loop;
	dev->n_queues = n_queues;
	for (unsigned int i = 0; i < n_queues; i++) {
		dev->queues[i].dev = dev;
		dev->queues[i].index = (uint16_t)i;
		virtio_queue_set_loop(dev, i, loop);
	}
	return 0;
}

void virtio_dev_fini(struct virtio_dev *dev)
{
	for (unsigned int i = 0; i < dev->n_queues; i++)
		twx_timer_cancel(&dev->queues[i].look);
	free(dev->queues);
	dev->queues = NULL;
	dev->n_queues = 0;
}

void virtio_queue_set_loop(struct virtio_dev *dev, unsigned int queue, struct twx_loop *loop)
{
	dev->queues[queue].loop = loop;
	twx_timer_init(&dev->queues[queue].look, loop, vq_look);
}

struct twx_loop *virtio_queue_loop(const struct virtio_dev *dev, unsigned int queue)
{
	return dev->queues[queue].loop;
}

static bool ring_aligned(const struct virtio_ring *ring, bool packed)
{
	/* virtio 1.2, 2.7 and 2.8: 16, 2 (packed: 4) and 4 bytes. Atomic access relies on it. */
	return ring->desc && ring->avail && ring->used && (uintptr_t)ring->desc % 16 == 0 &&
	       (uintptr_t)ring->avail % (packed ? 4 : 2) == 0 && (uintptr_t)ring->used % 4 == 0;
}

int virtio_queue_setup(struct virtio_dev *dev, unsigned int queue, uint16_t size,
		       const struct virtio_ring *ring, uint16_t last_avail)
{
	bool packed = dev->features & VIRTIO_PACKED;
	struct virtqueue *vq;

	if (queue >= dev->n_queues || !virtio_ring_size_ok(dev->features, size))
		return -EINVAL;
	vq = &dev->queues[queue];
	if (vq->running || !ring_aligned(ring, packed))
		return -EINVAL;
	if (packed && (last_avail & 0x7fff) >= size)
		return -EINVAL;
	vq->packed = packed;
	vq->size = size;
	vq->ring = *ring;
	vq->inflight = NULL;
	vq->next = vq->avail_idx = last_avail;
	return 0;
}

void virtio_queue_track(struct virtio_dev *dev, unsigned int queue, struct inflight *f)
{
	if (queue < dev->n_queues && !dev->queues[queue].running)
		dev->queues[queue].inflight = f;
}

static void queue_features(struct virtqueue *vq)
{
	vq->event_idx = vq->dev->features & (1ull << VIRTIO_RING_F_EVENT_IDX);
	vq->indirect = vq->dev->features & (1ull << VIRTIO_RING_F_INDIRECT_DESC);
}

void virtio_queue_start(struct virtio_dev *dev, unsigned int queue)
{
	struct virtqueue *vq;

	if (queue >= dev->n_queues)
		return;
	vq = &dev->queues[queue];
	if (vq->running || vq->size == 0 || !dev->mem)
		return;
	vq->used = vq->packed ? vq->next : virtio_queue_used_idx(&vq->ring);
	vq->published = vq->signalled = vq->used;
	vq->unheard = vq->taken = 0;
	vq->fresh = 0;
	vq->looks = 0;
	vq->signal_known = vq->asked = vq->broken = vq->stalled = false;
	vq->running = true;
	vq->epoch++;
	queue_features(vq);
	dev->ops->queue_start(dev, queue);
}

uint16_t virtio_queue_stop(struct virtio_dev *dev, unsigned int queue)
{
	struct virtqueue *vq;

	if (queue >= dev->n_queues)
		return 0;
	vq = &dev->queues[queue];
	if (vq->running) {
		dev->ops->queue_stop(dev, queue);
		vq->running = false;
		vq->inflight = NULL;
		vq->avail_idx = vq->next;
	}
	return vq->next;
}

bool virtio_queue_running(const struct virtio_dev *dev, unsigned int queue)
{
	return queue < dev->n_queues && dev->queues[queue].running;
}

void virtio_queue_move(struct virtio_dev *dev, unsigned int queue, const struct virtio_ring *ring)
{
	struct virtqueue *vq;

	if (queue >= dev->n_queues)
		return;
	vq = &dev->queues[queue];
	vq->epoch++;
	if (ring_aligned(ring, vq->packed))
		vq->ring = *ring;
	else if (vq->running)
		vq_break(vq);
}

void virtio_queues_stale(struct virtio_dev *dev)
{
	for (unsigned int i = 0; i < dev->n_queues; i++)
		dev->queues[i].epoch++;
}

void virtio_queues_retry(struct virtio_dev *dev)
{
	for (unsigned int i = 0; i < dev->n_queues; i++) {
		struct virtqueue *vq = &dev->queues[i];

		if (!vq->stalled)
			continue;
		vq->stalled = false;
		if (vq_ready(vq))
			dev->ops->kick(dev, i);
	}
}

uint16_t virtio_queue_used_idx(const struct virtio_ring *ring)
{
	const uint16_t *idx = (const uint16_t *)((const uint8_t *)ring->used + 2);

	return le16toh(__atomic_load_n(idx, __ATOMIC_ACQUIRE));
}

void virtio_reset(struct virtio_dev *dev)
{
	for (unsigned int i = 0; i < dev->n_queues; i++) {
		virtio_queue_stop(dev, i);
		dev->queues[i].size = 0;
	}
	dev->features = 0;
	dev->status = 0;
	dev->ops->reset(dev);
}

void virtio_set_features(struct virtio_dev *dev, uint64_t features)
{
	dev->features = features & dev->offered;
	for (unsigned int i = 0; i < dev->n_queues; i++)
		queue_features(&dev->queues[i]);
	dev->ops->set_features(dev, dev->features);
}
