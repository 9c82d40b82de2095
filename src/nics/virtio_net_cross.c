/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-net: frames for the guest from the port of a pair that the driver does not use.
 *
 * A driver has its first pair alone until it asks for more, and gives pairs up again; a backend's
 * ports are there all the time. Where one thread has all pairs, such a port's frames simply go into
 * another pair's ring. Where pairs are apart they are copied, kept in a lock-free stack of the
 * pair that is used, and posted there by its thread, as from its own backend port. It is the
 * exception that it looks: drivers use all pairs that they have processors for.
 *
 * Bounds: CROSSED_MAX frames for a pair; more are dropped (LIMIT). The order of a port's frames is
 * kept.
 */
#include <stdlib.h>

#include "base/iov.h"
#include "base/macros.h"
#include "nics/virtio_net.h"

#define CROSSED_MAX 1024

struct vnet_crossed {
	struct vnet_crossed *next;
	struct twx_meta meta;
	uint32_t len;
	uint8_t data[];
};

static struct vnet_crossed *copy_of(const struct twx_frame *f)
{
	struct vnet_crossed *c = malloc(sizeof(*c) + f->len);

	if (!c)
		return NULL;
	c->meta = f->meta;
	c->len = f->len;
	iov_copy_from(f->iov, f->n_iov, 0, c->data, f->len);
	return c;
}

int vnet_cross(struct vnet_pair *from, struct vnet_pair *to, const struct twx_frame *frames, int n)
{
	for (int i = 0; i < n; i++) {
		struct vnet_crossed *c = NULL, *next;

		if (atomic_fetch_add(&to->n_crossed, 1) < CROSSED_MAX)
			c = copy_of(&frames[i]);
		if (!c) {
			atomic_fetch_sub(&to->n_crossed, 1);
			twx_port_drop(from->port, TWX_DROP_LIMIT, frames[i].len);
			continue;
		}
		next = atomic_load(&to->crossed);
		do
			c->next = next;
		while (!atomic_compare_exchange_weak(&to->crossed, &next, c));
		/* It is the other thread's now. Who finds nothing there wakes it; it takes all. */
		if (!next)
			twx_loop_post(to->port->loop, &to->cross_task);
	}
	return n;
}

/* All, the oldest first. */
static struct vnet_crossed *take_all(struct vnet_pair *p)
{
	struct vnet_crossed *c = atomic_exchange(&p->crossed, NULL), *list = NULL;

	while (c) {
		struct vnet_crossed *next = c->next;

		c->next = list;
		list = c;
		c = next;
	}
	return list;
}

static void arrive(struct twx_task *t)
{
	struct vnet_pair *p = container_of(t, struct vnet_pair, cross_task);
	struct vnet_crossed *c = take_all(p);

	while (c) {
		struct iovec iov = { c->data, c->len };
		const struct twx_frame f = { &iov, 1, c->len, c->meta };
		struct vnet_crossed *next = c->next;

		if (p->port->peer)
			twx_port_post(p->port->peer, &f, 1);
		else
			twx_port_drop(p->port, TWX_DROP_NO_PEER, c->len);
		free(c);
		atomic_fetch_sub(&p->n_crossed, 1);
		c = next;
	}
}

void vnet_cross_init(struct vnet_pair *p)
{
	p->cross_task.fn = arrive;
}

void vnet_cross_fini(struct vnet_pair *p)
{
	struct vnet_crossed *c = take_all(p);

	twx_loop_undefer(p->port->loop, &p->cross_task);
	while (c) {
		struct vnet_crossed *next = c->next;

		free(c);
		c = next;
	}
}
