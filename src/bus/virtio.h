/* SPDX-License-Identifier: BSD-3-Clause */
/* What lies between a virtio device (src/nics) and the transport that carries it (src/hosts,
 * virtio-pci). */
#ifndef BUS_VIRTIO_H
#define BUS_VIRTIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <twinax/loop.h>

#include "bus/mem.h"
#include "bus/state.h"

struct virtio_dev;
struct virtqueue; /* bus/virtqueue.h */
struct inflight;  /* bus/inflight.h */

/*
 * The transport's side; all are called on the device's loop, but for notify_queue and queue_broken,
 * which come on the queue's.
 */
struct virtio_host_ops {
	/* Interrupt for a queue: the device has already asked the guest's suppression flags. */
	void (*notify_queue)(struct virtio_dev *dev, unsigned int queue);
	/* Config interrupt (link, announce). */
	void (*notify_config)(struct virtio_dev *dev);
	/* A queue broke (malformed ring); the transport may report it (vring err fd). */
	void (*queue_broken)(struct virtio_dev *dev, unsigned int queue);
	/*
	 * Optional, for data paths outside of this process (bus/vhost.h), both or none. The eventfd
	 * that is signalled by the guest's doorbells for a queue while @on, in place of
	 * ops->kick(); the transport's, -errno if there is none.
	 */
	int (*kick_fd)(struct virtio_dev *dev, unsigned int queue, bool on);
	/* Signals on the eventfd @fd are interrupts of the queue from now on; -1 ends it. 0 or
	 * -errno. */
	int (*call_fd)(struct virtio_dev *dev, unsigned int queue, int fd);
};

/* The device's side. */
struct virtio_dev_ops {
	/* Called once features are agreed on; @features is a subset of dev->offered. */
	void (*set_features)(struct virtio_dev *dev, uint64_t features);
	/* The queue's ring has just been set up and enabled / is about to go away. */
	void (*queue_start)(struct virtio_dev *dev, unsigned int queue);
	void (*queue_stop)(struct virtio_dev *dev, unsigned int queue);
	/* Doorbell. Work per call is bounded by the ring's size and a budget; more is deferred. */
	void (*kick)(struct virtio_dev *dev, unsigned int queue);
	/* Device configuration space; out-of-range accesses return -EINVAL and touch nothing. */
	int (*config_read)(struct virtio_dev *dev, uint32_t off, void *buf, uint32_t len);
	int (*config_write)(struct virtio_dev *dev, uint32_t off, const void *buf, uint32_t len);
	void (*set_status)(struct virtio_dev *dev,
			   uint8_t status); /* optional; DRIVER_OK and friends */
	void (*set_mtu)(struct virtio_dev *dev,
			uint16_t mtu); /* optional; VHOST_USER_NET_SET_MTU */
	void (*announce)(struct virtio_dev *dev,
			 const uint8_t mac[6]); /* optional; VHOST_USER_SEND_RARP */
	/* To the state after open: queues stopped, features 0. */
	void (*reset)(struct virtio_dev *dev);
};

/* What a PCI transport makes of the device where the user does not say. */
enum virtio_form { VIRTIO_FORM_ANY, VIRTIO_FORM_TRANSITIONAL, VIRTIO_FORM_MODERN };

/* Embedded at the start of a virtio device's private state (nic->priv). */
struct virtio_dev {
	const struct virtio_dev_ops *ops;
	const struct virtio_host_ops *host_ops; /* null until a transport attaches */
	void *host;
	struct mem_map *mem; /* the transport's guest memory; null while none is attached */
	struct twx_loop *loop;
	uint64_t offered;  /* device feature bits, without transport bits such as
			      VHOST_USER_F_PROTOCOL_FEATURES */
	uint64_t features; /* agreed */
	uint8_t status;
	unsigned int n_queues; /* all, control queue included and last */
	unsigned int max_pairs;
	struct virtqueue *queues;
	bool needs_files;      /* somebody is handed its memory by file: mem_map's keep_files */

	/* For transports that present the device by themselves (PCI); constant after open. */
	uint16_t id;	     /* virtio 1.2, 5: 1 is a network card */
	uint32_t class_code; /* PCI's */
	enum virtio_form form;
	uint32_t config_len;  /* of the configuration space that the offered features call for */
	uint64_t legacy_only; /* feature bits that modern drivers do not get to see */
	uint64_t lacks;	      /* feature bits that a transport must not add by itself */
	uint64_t blind; /* what a legacy driver that agrees to anything (bit 30) understands */
	const struct state_desc
		*state; /* what it saves, VIRTIO_STATE_SECTION first; null: nothing */
};

/* VIRTIO_F_RING_PACKED; newer than some kernels' headers. */
#define VIRTIO_PACKED (1ull << 34)

/*
 * Ring memory, already translated and proven to have room for @size entries; of a packed ring the
 * descriptors, the driver's and the device's event suppression (virtio 1.2, 2.8).
 */
struct virtio_ring {
	void *desc, *avail, *used;
	bool log;		/* used-ring writes are to be marked dirty ... */
	uint64_t log_used_gpa;	/* ... at this guest address */
	uint64_t log_desc_iova; /* behind an IOMMU: a packed ring's descriptors */
};

/* How long the three are, with the event index fields, whether negotiated or not. */
struct virtio_ring_lens {
	uint32_t desc, avail, used;
};

static inline struct virtio_ring_lens virtio_ring_lens(uint64_t features, uint32_t size)
{
	if (features & VIRTIO_PACKED)
		return (struct virtio_ring_lens){ 16 * size, 4, 4 };
	return (struct virtio_ring_lens){ 16 * size, 6 + 2 * size, 6 + 8 * size };
}

/* Where a ring begins: available index, or, packed, position with the wrap counter in bit 15. */
static inline uint16_t virtio_ring_first(uint64_t features)
{
	return features & VIRTIO_PACKED ? 0x8000 : 0;
}

static inline bool virtio_ring_size_ok(uint64_t features, uint32_t size)
{
	return size > 0 && size <= 32768 && ((features & VIRTIO_PACKED) || !(size & (size - 1)));
}

/*
 * For transports, once features are agreed on, which say what the ring looks like. -EINVAL for
 * what virtio_ring_size_ok() says no to, for a position outside of the ring, or while the queue
 * runs.
 */
int virtio_queue_setup(struct virtio_dev *dev, unsigned int queue, uint16_t size,
		       const struct virtio_ring *ring, uint16_t last_avail);
/* The loop that runs the queue, if it is not the device's (net/workers.h); before any start. */
void virtio_queue_set_loop(struct virtio_dev *dev, unsigned int queue, struct twx_loop *loop);
struct twx_loop *virtio_queue_loop(const struct virtio_dev *dev, unsigned int queue);
/* Between setup and start: keeps this record of the queue up to date until it stops. */
void virtio_queue_track(struct virtio_dev *dev, unsigned int queue, struct inflight *f);
void virtio_queue_start(struct virtio_dev *dev, unsigned int queue); /* runs ops->queue_start */
/* Stops; everything taken from the ring has been given back. Where to resume. Idempotent. */
uint16_t virtio_queue_stop(struct virtio_dev *dev, unsigned int queue);
bool virtio_queue_running(const struct virtio_dev *dev, unsigned int queue);
/*
 * New addresses of rings that run (same indices). To be called for every running queue after each
 * change of the memory table, moved or not: it also drops the translations that the device keeps.
 */
void virtio_queue_move(struct virtio_dev *dev, unsigned int queue, const struct virtio_ring *ring);
/*
 * For transports with an IOMMU (dev->mem->tlb). Some translations are gone: drops those that the
 * device keeps. And: some have come, chains that waited for one are looked at again.
 */
void virtio_queues_stale(struct virtio_dev *dev);
void virtio_queues_retry(struct virtio_dev *dev);
/* Where the guest's used ring (split) stands: resume point after a crash (in-order completion). */
uint16_t virtio_queue_used_idx(const struct virtio_ring *ring);
void virtio_reset(struct virtio_dev *dev);
void virtio_set_features(struct virtio_dev *dev, uint64_t features); /* masks by offered */

/* Features and status of an object that begins with a virtio_dev. */
extern const struct state_field virtio_state_fields[];
int virtio_state_check(const void *copy, struct twx_error *e);
#define VIRTIO_STATE_SECTION                                                                       \
	{                                                                                          \
		.name = "virtio", .version = 1, .fields = virtio_state_fields,                     \
		.check = virtio_state_check                                                        \
	}

#endif
