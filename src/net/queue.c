/* SPDX-License-Identifier: BSD-3-Clause */
/* A port's incoming queue: append at the end, take from the front, put back what is left. */
#include <errno.h>
#include <stdlib.h>

#include "base/iov.h"
#include "net/queue.h"

static struct twx_queue *queue_get(struct twx_queue **q)
{
	if (!*q)
		*q = calloc(1, sizeof(**q));
	return *q;
}

static void queue_drop_empty(struct twx_queue **q)
{
	if (*q && !(*q)->n) {
		free(*q);
		*q = NULL;
	}
}

struct queue_node *queue_node_new(const struct twx_frame *frame)
{
	struct queue_node *node = malloc(sizeof(*node) + frame->len);

	if (!node)
		return NULL;
	node->next = NULL;
	node->when = 0;
	node->skip = 0;
	node->frame = *frame;
	node->iov.iov_base = node->data;
	node->iov.iov_len = iov_copy_from(frame->iov, frame->n_iov, 0, node->data, frame->len);
	node->frame.iov = &node->iov;
	node->frame.n_iov = 1;
	node->frame.len = (uint32_t)node->iov.iov_len;
	return node;
}

int queue_add(struct twx_queue **qp, struct queue_node *node)
{
	struct twx_queue *q = queue_get(qp);

	if (!q) {
		free(node);
		return -ENOMEM;
	}
	if (q->tail)
		q->tail->next = node;
	else
		q->head = node;
	q->tail = node;
	q->n++;
	q->bytes += node->frame.len;
	return 0;
}

int queue_append(struct twx_queue **qp, const struct twx_frame *frame, uint32_t skip)
{
	struct queue_node *node;

	/* A single frame always fits an empty queue, so the bound cannot block for ever. */
	if (*qp && ((*qp)->n >= QUEUE_MAX_FRAMES || frame->len > QUEUE_MAX_BYTES - (*qp)->bytes))
		return -ENOBUFS;
	node = queue_node_new(frame);
	if (!node)
		return -ENOMEM;
	node->skip = skip;
	return queue_add(qp, node);
}

struct queue_node *queue_take(struct twx_queue **qp, int max, int *n)
{
	struct twx_queue *q = *qp;
	struct queue_node *first, *last = NULL, *node;

	*n = 0;
	if (!q)
		return NULL;
	first = q->head;
	for (node = first; node && *n < max; node = node->next) {
		last = node;
		q->bytes -= node->frame.len;
		q->n--;
		(*n)++;
	}
	q->head = last->next;
	if (!q->head)
		q->tail = NULL;
	last->next = NULL;
	queue_drop_empty(qp);
	return first;
}

int queue_put_back(struct twx_queue **qp, struct queue_node *chain)
{
	struct twx_queue *q;
	struct queue_node *last;

	if (!chain)
		return 0;
	q = queue_get(qp);
	if (!q) {
		queue_free_chain(chain);
		return -ENOMEM;
	}
	for (last = chain;; last = last->next) {
		q->n++;
		q->bytes += last->frame.len;
		if (!last->next)
			break;
	}
	last->next = q->head;
	q->head = chain;
	if (!q->tail)
		q->tail = last;
	return 0;
}

void queue_join(struct twx_queue **front, struct twx_queue *back)
{
	struct twx_queue *q = *front;

	if (!back)
		return;
	if (!q) {
		*front = back;
		return;
	}
	q->tail->next = back->head;
	q->tail = back->tail;
	q->n += back->n;
	q->bytes += back->bytes;
	free(back);
}

uint32_t queue_purge(struct twx_queue **qp)
{
	uint32_t n = 0;

	if (*qp) {
		n = (*qp)->n;
		queue_free_chain((*qp)->head);
		free(*qp);
		*qp = NULL;
	}
	return n;
}

void queue_free_chain(struct queue_node *chain)
{
	while (chain) {
		struct queue_node *next = chain->next;

		free(chain);
		chain = next;
	}
}
