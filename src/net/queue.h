/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames that a busy receiver has not taken yet: copied, bounded in number and in bytes. */
#ifndef NET_QUEUE_H
#define NET_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include <twinax/frame.h>

#define QUEUE_MAX_FRAMES 10000u /* as QEMU's */
#define QUEUE_MAX_BYTES (16u << 20)

/* One allocation: the frame's bytes lie behind the struct. */
struct queue_node {
	struct queue_node *next;
	struct twx_frame frame;
	struct iovec iov;
	uint64_t when; /* for those who keep nodes by time */
	uint32_t skip; /* segments of a GSO frame that were delivered already; only ever at the head
			*/
	uint8_t data[];
};

/* Exists only while it holds something: a port's queue pointer is null when the queue is empty. */
struct twx_queue {
	struct queue_node *head, *tail;
	uint32_t n;
	uint32_t bytes;
};

/* A copy of @frame, alone; null when memory is out. queue_free_chain() frees it. */
struct queue_node *queue_node_new(const struct twx_frame *frame);

/* Puts @node at the end, whatever the bounds; creates the queue. 0, or -ENOMEM, which frees it. */
int queue_add(struct twx_queue **q, struct queue_node *node);

/* Copies @frame to the end; creates the queue. 0, -ENOBUFS at the bound, or -ENOMEM. */
int queue_append(struct twx_queue **q, const struct twx_frame *frame, uint32_t skip);

/* Takes up to @max frames off the front as a chain, null if there are none; *@n says how many. */
struct queue_node *queue_take(struct twx_queue **q, int max, int *n);

/* Puts a chain, oldest first, back to the front. Never fails for lack of room; -ENOMEM frees the
 * chain. */
int queue_put_back(struct twx_queue **q, struct queue_node *chain);

/* Moves what @back holds behind what *@front holds; @back may be null and is gone afterwards. */
void queue_join(struct twx_queue **front, struct twx_queue *back);

/* Frees everything and says how many frames that were. */
uint32_t queue_purge(struct twx_queue **q);

void queue_free_chain(struct queue_node *chain);

#endif
