/* SPDX-License-Identifier: BSD-3-Clause */
/* A virtqueue as a device sees it: chains taken and handed back in order, notifications. */
#ifndef BUS_VIRTQUEUE_H
#define BUS_VIRTQUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "bus/virtio.h"

/*
 * A chain is the unit; what a ring looks like stays in virtqueue.c (split) and virtqueue_packed.c.
 * Chains are handed back in the order in which they were taken: one position alone then tells where
 * to resume.
 */

/* Descriptors that one chain may have, and so the iovecs that suffice for any chain. */
#define VQ_MAX_IOV 1024

/* What the ring must be told to hand a chain back. */
struct vq_elem {
	uint16_t id;
	uint16_t slots; /* ring slots it took: 1 in a split ring, all its descriptors in a packed
			   one */
};

/* A chain's buffers: n_out iovecs that the guest filled, then n_in for the device to write. */
struct vq_chain {
	struct vq_elem elem;
	uint16_t n_out, n_in;
	uint32_t out_len, in_len;
};

struct virtqueue {
	struct virtio_dev *dev;
	struct twx_loop *loop; /* whose thread runs it */
	struct twx_timer look; /* see virtqueue.c */
	struct virtio_ring ring;
	struct inflight *inflight; /* bus/inflight.h; null: no record is kept */
	uint16_t index;		   /* in dev->queues */
	uint16_t size;		   /* 0: not set up */
	uint16_t size_max;	   /* what a transport that chooses the size (PCI) offers */
	uint16_t avail_idx;	   /* the guest's, as last read */
	uint16_t next;		   /* next avail slot to take */
	uint16_t used;		   /* next used slot to fill */
	uint16_t published;	   /* used slots that the guest has been told of */
	uint16_t signalled;	   /* `published` when an interrupt was last considered */
	uint16_t unheard;	   /* used slots since the last interrupt, `size` at most */
	/* Of packed rings, whose four positions above have the wrap counter in bit 15. */
	uint16_t taken;	      /* slots taken and not handed back */
	uint16_t first_flags; /* of the used descriptor that will show those behind it */
	uint32_t fresh;	      /* slots published since an interrupt was last considered */
	uint64_t epoch;	      /* changes when translated addresses go stale; never the same again */
	bool running, broken;
	bool packed;		  /* since it was set up */
	bool outside;		  /* the kernel or another process has it (bus/vhost.h) */
	bool event_idx, indirect; /* as negotiated */
	bool signal_known;	  /* `signalled` is true to what the guest saw */
	bool asked;		  /* for doorbells */
	bool stalled;		  /* the next chain waits for its addresses, see virtqueue.c */
	uint8_t looks;		  /* that are due, see virtqueue.c */
};

int virtio_dev_init(struct virtio_dev *dev, const struct virtio_dev_ops *ops, struct twx_loop *loop,
		    unsigned int n_queues);
void virtio_dev_fini(struct virtio_dev *dev);

static inline bool vq_ready(const struct virtqueue *vq)
{
	return vq->running && !vq->broken && !vq->outside;
}

/*
 * Takes the next chain; its iovecs go to @iov, which has room for @max, out before in.
 * 1: taken. 0: none there (or the ring turned out malformed: vq->broken; or the chain's addresses
 * are not known yet: the transport kicks when they are).
 * -E2BIG: needs more than @max iovecs; not taken (only for @max < VQ_MAX_IOV).
 * -EFAULT, -EMSGSIZE: taken, but unusable (unmapped address; too long): hand it back with length 0.
 */
int vq_pop(struct virtqueue *vq, struct vq_chain *c, struct iovec *iov, unsigned int max);

/* Everything that the ring has room for is taken: the guest has nothing to add. */
static inline bool vq_all_taken(const struct virtqueue *vq)
{
	return (vq->packed ? vq->taken : (uint16_t)(vq->next - vq->used)) == vq->size;
}

/* Takes the last chain back into the ring, as if never taken; newest first. */
void vq_unpop(struct virtqueue *vq, const struct vq_elem *e);

/* Fills the next used entry; @written counts only bytes that the device wrote. */
void vq_push(struct virtqueue *vq, const struct vq_elem *e, uint32_t written);
/* Shows the guest what was pushed: once per burst. */
void vq_publish(struct virtqueue *vq);
/* Whether the guest wants an interrupt for what was published since the last call. */
enum vq_signal { VQ_SIGNAL_NOTHING, VQ_SIGNAL_SKIP, VQ_SIGNAL_SEND };
enum vq_signal vq_signal(struct virtqueue *vq);

/* Asks for doorbells again; true if chains have come meanwhile (then no doorbell will). Not while
 * the next chain waits for its addresses: there is a kick on its way. */
bool vq_notify_enable(struct virtqueue *vq);
void vq_notify_disable(struct virtqueue *vq);

/* Of the queue's timer: doorbells and interrupts that should have been. */
void vq_look(struct twx_timer *t);

/* The ring is malformed: stops this queue and reports it; the rest of the device lives. */
void vq_break(struct virtqueue *vq);

#endif
