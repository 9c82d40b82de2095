/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small guest for virtio-net: memory in a memfd, a driver for split and packed rings, and "wire",
 * a backend at the other end of the cable that records what it gets and takes as much as it is told
 * to. Programs are compiled once for each form of rings: FG_FORM is what fg_new() offers on top, 0
 * or VIRTIO_PACKED, and drivers that do not agree to virtio 1.0 have split rings in both.
 *
 * Guest memory is two regions that touch in guest addresses and lie apart in ours, so that whatever
 * crosses FG_BORDER comes in two pieces. Everything is static inline: device tests, flaw tests,
 * fuzzers and benchmarks include this header.
 */
#ifndef FAKE_GUEST_H
#define FAKE_GUEST_H

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

#include <twinax/twinax.h>

#include "base/iov.h"
#include "bus/virtio.h"

#define FG_RAM (16u << 20)
#define FG_BASE 0x40000000ull
#define FG_BORDER (FG_BASE + FG_RAM / 2)
#define FG_MAX_QUEUES 17
#define FG_MAX_FRAMES 2048
#define FG_MAX_DESC 1024
#define FG_BIT(name) (1ull << (name))
#ifndef FG_FORM
#define FG_FORM 0ull
#endif
#define FG_PACKED (FG_FORM != 0)
#define FG_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define FG_USED (1u << VRING_PACKED_DESC_F_USED)
#define FG_WRAP 0x8000u

struct fg_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct fg_queue {
	uint16_t size;
	uint64_t desc, avail, used;    /* guest addresses */
	uint16_t avail_idx, last_used; /* chains */
	uint16_t free[FG_MAX_DESC], n_free;
	uint16_t chain_len[FG_MAX_DESC]; /* by head: descriptors to free */
	/* Packed: `free` and `chain_len` are of ids; positions have the wrap counter in bit 15. */
	bool packed;
	uint16_t next, seen, n_slots;
	uint16_t starts[FG_MAX_DESC]; /* positions, by a chain's number */
	unsigned int irqs, broken;
};

struct fg_frame {
	uint8_t *data;
	uint32_t len;
	struct twx_meta meta;
};

/* The backend's port state. */
struct fg_wire {
	struct twx_port *port;
	unsigned int room; /* frames that receive() still takes */
	bool keep;	   /* record frames; else only count */
	void (*hook)(struct fg_wire *w, const struct twx_frame *f); /* before recording */
	void *hook_data;
	struct fg_frame frames[FG_MAX_FRAMES];
	unsigned int n_frames, n_bursts, n_resumed;
	uint64_t count, bytes;
};

struct fg {
	struct twx_loop *loop;
	struct twx_net *net;
	struct twx_backend *backend;
	struct twx_nic *nic;
	struct virtio_dev *dev;
	struct mem_map *mem;
	struct fg_wire *wire; /* one per pair */
	uint8_t *ram;	      /* the file, in file order */
	int fd;
	uint64_t brk; /* of fg_alloc() */
	unsigned int config_irqs;
	struct fg_queue q[FG_MAX_QUEUES];
};

/* Guest address to our own mapping; the halves lie in the file the other way round. */
static inline void *fg_ptr(struct fg *g, uint64_t addr)
{
	uint64_t off = addr - FG_BASE;

	assert(off < FG_RAM);
	return g->ram + (off + FG_RAM / 2) % FG_RAM;
}

static inline void fg_write(struct fg *g, uint64_t addr, const void *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		*(uint8_t *)fg_ptr(g, addr + i) = ((const uint8_t *)buf)[i];
}

static inline void fg_read(struct fg *g, uint64_t addr, void *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = *(uint8_t *)fg_ptr(g, addr + i);
}

static inline uint64_t fg_alloc(struct fg *g, size_t len)
{
	uint64_t at = (g->brk + 63) & ~63ull;

	/* Rings and buffers do not cross the border unless a test puts them there. */
	if (at < FG_BORDER && at + len > FG_BORDER)
		at = FG_BORDER;
	g->brk = at + len;
	assert(g->brk <= FG_BASE + FG_RAM);
	return at;
}

/* The wire. */

static inline struct fg_wire *fg_wire_of(struct twx_port *port)
{
	struct twx_backend *b = port->owner;

	return *(struct fg_wire **)b->priv + port->queue_index;
}

static inline int fg_wire_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	struct fg_wire *w = fg_wire_of(port);
	int i;

	w->n_bursts++;
	for (i = 0; i < n && w->room; i++, w->room--) {
		assert(frames[i].iov[0].iov_len >=
		       (frames[i].len < TWX_HDR_ROOM ? frames[i].len : TWX_HDR_ROOM));
		if (w->hook)
			w->hook(w, &frames[i]);
		w->count++;
		w->bytes += frames[i].len;
		if (w->keep && w->n_frames < FG_MAX_FRAMES) {
			struct fg_frame *f = &w->frames[w->n_frames++];

			f->len = frames[i].len;
			f->meta = frames[i].meta;
			f->data = malloc(f->len);
			assert(iov_len(frames[i].iov, frames[i].n_iov) == f->len);
			iov_copy_from(frames[i].iov, frames[i].n_iov, 0, f->data, f->len);
		}
	}
	return i;
}

static inline void fg_wire_resume(struct twx_port *port)
{
	fg_wire_of(port)->n_resumed++;
}

static inline int fg_wire_open(struct twx_backend *b, const struct twx_opts *opts,
			       struct twx_error *e)
{
	unsigned int n = (unsigned int)twx_opts_int(opts, "queues");
	struct fg_wire *w = calloc(n, sizeof(*w));

	*(struct fg_wire **)b->priv = w;
	for (unsigned int i = 0; i < n; i++) {
		struct twx_caps caps = { .flags = TWX_CAP_CSUM | TWX_CAP_TSO4 | TWX_CAP_TSO6 |
						  TWX_CAP_ECN | TWX_CAP_UFO | TWX_CAP_USO };

		w[i].port = twx_backend_add_port(b, e);
		assert(w[i].port);
		twx_port_set_caps(w[i].port, caps);
		w[i].room = ~0u;
		w[i].keep = true;
	}
	return 0;
}

static inline void fg_wire_clear(struct fg_wire *w)
{
	for (unsigned int i = 0; i < w->n_frames; i++)
		free(w->frames[i].data);
	w->n_frames = w->n_bursts = 0;
}

static inline void fg_wire_close(struct twx_backend *b)
{
	struct fg_wire *w = *(struct fg_wire **)b->priv;

	for (unsigned int i = 0; i < b->n_ports; i++)
		fg_wire_clear(&w[i]);
	free(w);
}

static const struct twx_opt_desc fg_wire_options[] = {
	{ .name = "queues", .type = TWX_OPT_INT, .def = "1", .min = 1, .max = 8, .help = "ports" },
	{ 0 },
};

static const struct twx_port_ops fg_wire_port_ops = {
	.receive = fg_wire_receive,
	.resume = fg_wire_resume,
};

static const struct twx_backend_type fg_wire_type = {
	.name = "wire",
	.help = "records frames",
	.options = fg_wire_options,
	.port_ops = &fg_wire_port_ops,
	.priv_size = sizeof(struct fg_wire *),
	.open = fg_wire_open,
	.close = fg_wire_close,
};

/* The transport. */

static inline void fg_notify_queue(struct virtio_dev *dev, unsigned int queue)
{
	((struct fg *)dev->host)->q[queue].irqs++;
}

static inline void fg_notify_config(struct virtio_dev *dev)
{
	((struct fg *)dev->host)->config_irqs++;
}

static inline void fg_queue_broken(struct virtio_dev *dev, unsigned int queue)
{
	((struct fg *)dev->host)->q[queue].broken++;
}

static const struct virtio_host_ops fg_host_ops = {
	.notify_queue = fg_notify_queue,
	.notify_config = fg_notify_config,
	.queue_broken = fg_queue_broken,
};

static inline void fg_map(struct fg *g)
{
	int rc;

	rc = mem_add_take(g->mem, FG_BASE, FG_RAM / 2, 0x7f0000000000, dup(g->fd), FG_RAM / 2);
	assert(rc == 0);
	rc = mem_add_take(g->mem, FG_BORDER, FG_RAM / 2, 0x7f8000000000, dup(g->fd), 0);
	assert(rc == 0);
	(void)rc;
}

/* A NIC with @opts (",mq=on") on a wire with @pairs ports; rings are not set up yet. */
static inline struct fg *fg_new(unsigned int pairs, const char *opts)
{
	struct twx_net_config config = { .size = sizeof(config) };
	struct fg *g = calloc(1, sizeof(*g));
	struct twx_error e = { 0 };
	char text[256];
	int rc;

	rc = twx_loop_new(&g->loop, &e);
	assert(rc == 0);
	config.loop = g->loop;
	rc = twx_net_new(&g->net, &config, &e);
	assert(rc == 0);
	rc = twx_net_add_backend_type(g->net, &fg_wire_type);
	assert(rc == 0);
	snprintf(text, sizeof(text), "wire,id=w0,queues=%u", pairs);
	rc = twx_backend_new(&g->backend, g->net, text, &e);
	if (rc < 0)
		fprintf(stderr, "%s\n", e.what);
	assert(rc == 0);
	snprintf(text, sizeof(text), "virtio-net,id=nic0,netdev=w0,mac=52:54:00:aa:bb:cc%s", opts);
	rc = twx_nic_new(&g->nic, g->net, text, &e);
	if (rc < 0)
		fprintf(stderr, "%s\n", e.what);
	assert(rc == 0);
	g->wire = *(struct fg_wire **)g->backend->priv;
	g->dev = g->nic->priv;
	g->fd = memfd_create("guest", MFD_CLOEXEC);
	rc = ftruncate(g->fd, FG_RAM);
	assert(rc == 0);
	g->ram = mmap(NULL, FG_RAM, PROT_READ | PROT_WRITE, MAP_SHARED, g->fd, 0);
	assert(g->ram != MAP_FAILED);
	g->mem = calloc(1, sizeof(*g->mem));
	mem_init(g->mem);
	fg_map(g);
	g->brk = FG_BASE + 4096;
	g->dev->host = g;
	g->dev->host_ops = &fg_host_ops;
	g->dev->mem = g->mem;
	g->dev->offered |= FG_FORM;
	return g;
}

static inline void fg_free(struct fg *g)
{
	for (unsigned int i = 0; i < g->dev->n_queues; i++)
		virtio_queue_stop(g->dev, i);
	g->dev->host_ops = NULL;
	g->dev->mem = NULL;
	twx_net_free(g->net);
	twx_loop_free(g->loop);
	mem_fini(g->mem);
	free(g->mem);
	munmap(g->ram, FG_RAM);
	close(g->fd);
	free(g);
}

/* Lets rounds run until nothing happens any more. */
static inline void fg_run(struct fg *g)
{
	for (int i = 0; i < 1000 && twx_loop_poll(g->loop, 0) > 0; i++)
		;
}

static inline struct virtio_ring fg_ring(struct fg *g, struct fg_queue *q)
{
	struct virtio_ring_lens len = virtio_ring_lens(g->dev->features, q->size);
	struct virtio_ring r = {
		.desc = mem_ptr(g->mem, (gpa){ q->desc }, len.desc),
		.avail = mem_ptr(g->mem, (gpa){ q->avail }, len.avail),
		.used = mem_ptr(g->mem, (gpa){ q->used }, len.used),
		.log = g->mem->log != NULL,
		.log_used_gpa = q->used,
	};

	return r;
}

/* The same memory anew, at other addresses of ours; the old mappings are gone. */
static inline void fg_remap(struct fg *g)
{
	struct mem_map *old = g->mem;

	g->mem = calloc(1, sizeof(*g->mem));
	mem_init(g->mem);
	fg_map(g);
	g->dev->mem = g->mem;
	mem_fini(old);
	free(old);
	for (unsigned int i = 0; i < g->dev->n_queues; i++) {
		struct virtio_ring r = fg_ring(g, &g->q[i]);

		virtio_queue_move(g->dev, i, &r);
	}
}

/* The driver's notes of a ring that nothing was offered in yet. */
static inline void fg_queue_init(struct fg *g, struct fg_queue *q, uint16_t size)
{
	*q = (struct fg_queue){ .size = size, .n_free = size, .n_slots = size };
	q->packed = g->dev->features & VIRTIO_PACKED;
	q->next = q->seen = FG_WRAP;
	for (unsigned int i = 0; i < size; i++)
		q->free[i] = (uint16_t)(size - 1 - i);
}

static inline void fg_queue_setup(struct fg *g, unsigned int qi, uint16_t size)
{
	struct fg_queue *q = &g->q[qi];
	struct virtio_ring ring;
	int rc;

	fg_queue_init(g, q, size);
	q->desc = fg_alloc(g, 16u * size);
	q->avail = fg_alloc(g, 6 + 2u * size);
	q->used = fg_alloc(g, 6 + 8u * size);
	memset(fg_ptr(g, q->desc), 0, 16u * size);
	memset(fg_ptr(g, q->avail), 0, 6 + 2u * size);
	memset(fg_ptr(g, q->used), 0, 6 + 8u * size);
	ring = fg_ring(g, q);
	rc = virtio_queue_setup(g->dev, qi, size, &ring, virtio_ring_first(g->dev->features));
	assert(rc == 0);
	(void)rc;
	virtio_queue_start(g->dev, qi);
}

/* Where the ring of a queue goes on whose first @n chains were handed back. */
static inline uint16_t fg_base(const struct fg *g, unsigned int qi, uint16_t n)
{
	const struct fg_queue *q = &g->q[qi];

	if (!q->packed)
		return n;
	return n == q->avail_idx ? q->next : q->starts[n % FG_MAX_DESC];
}

/* Agrees on @features and starts the first @n queues with @size entries each. */
static inline void fg_start(struct fg *g, uint64_t features, unsigned int n, uint16_t size)
{
	if (!(features & FG_BIT(VIRTIO_F_VERSION_1)))
		features &= ~VIRTIO_PACKED;
	virtio_set_features(g->dev, features);
	for (unsigned int i = 0; i < n; i++)
		fg_queue_setup(g, i, size);
	fg_run(g);
}

static inline bool fg_has(struct fg *g, unsigned int bit)
{
	return g->dev->features >> bit & 1;
}

static inline unsigned int fg_hdr_len(struct fg *g)
{
	return fg_has(g, VIRTIO_F_VERSION_1) || fg_has(g, VIRTIO_NET_F_MRG_RXBUF) ? 12 : 10;
}

/* The driver's side of a ring. */

static inline void fg_set_desc(struct fg *g, uint64_t table, unsigned int i, struct fg_desc d)
{
	fg_write(g, table + 16u * i, &d, sizeof(d));
}

static inline uint16_t fg_get16(struct fg *g, uint64_t addr)
{
	return __atomic_load_n((uint16_t *)fg_ptr(g, addr), __ATOMIC_ACQUIRE);
}

static inline void fg_put16(struct fg *g, uint64_t addr, uint16_t v)
{
	__atomic_store_n((uint16_t *)fg_ptr(g, addr), v, __ATOMIC_RELEASE);
}

static inline uint16_t fg_pos_add(const struct fg_queue *q, uint16_t pos, unsigned int n)
{
	unsigned int i = (pos & ~FG_WRAP) + n;

	return (uint16_t)(i < q->size ? (pos & FG_WRAP) | i
				      : ((pos & FG_WRAP) ^ FG_WRAP) | (i - q->size));
}

static inline uint64_t fg_slot(const struct fg_queue *q, uint16_t pos)
{
	return q->desc + 16u * (pos & ~FG_WRAP);
}

/* Whether the device has handed the slot back, and then its id. */
static inline bool fg_slot_used(struct fg *g, const struct fg_queue *q, uint16_t pos, uint16_t *id)
{
	uint16_t flags = fg_get16(g, fg_slot(q, pos) + 14) & (FG_AVAIL | FG_USED);

	*id = fg_get16(g, fg_slot(q, pos) + 12);
	return flags == (pos & FG_WRAP ? FG_AVAIL | FG_USED : 0);
}

/* Chains that were handed back, ever; in a packed ring it takes counting. */
static inline uint16_t fg_used_idx(struct fg *g, unsigned int qi)
{
	struct fg_queue *q = &g->q[qi];
	uint16_t n = q->last_used, at = q->seen, id;

	if (!q->packed)
		return fg_get16(g, q->used + 2);
	for (; n != q->avail_idx && fg_slot_used(g, q, at, &id); n++)
		at = fg_pos_add(q, at, q->chain_len[id % FG_MAX_DESC]);
	return n;
}

/* The chain for which the device wants a doorbell, by event index; -1 for none. */
static inline int fg_avail_event(struct fg *g, unsigned int qi)
{
	const struct fg_queue *q = &g->q[qi];
	uint16_t pos;

	if (!q->packed)
		return fg_get16(g, q->used + 4 + 8u * q->size);
	pos = fg_get16(g, q->used);
	if (fg_get16(g, q->used + 2) != VRING_PACKED_EVENT_FLAG_DESC)
		return -1;
	if (pos == q->next)
		return q->avail_idx;
	for (uint16_t i = 1; i <= q->size && i <= q->avail_idx; i++)
		if (q->starts[(uint16_t)(q->avail_idx - i) % FG_MAX_DESC] == pos)
			return (uint16_t)(q->avail_idx - i);
	return -1;
}

/* Whether it asks for doorbells at all. */
static inline bool fg_doorbells(struct fg *g, unsigned int qi)
{
	const struct fg_queue *q = &g->q[qi];

	return q->packed ? fg_get16(g, q->used + 2) != VRING_PACKED_EVENT_FLAG_DISABLE
			 : !(fg_get16(g, q->used) & VRING_USED_F_NO_NOTIFY);
}

/* The chain whose use is to raise an interrupt; of later ones it is assumed that they are as long
 * as the last one was. */
static inline void fg_set_used_event(struct fg *g, unsigned int qi, uint16_t v)
{
	struct fg_queue *q = &g->q[qi];
	unsigned int ahead = (uint16_t)(v - q->avail_idx), each = 1;
	uint16_t last = q->starts[(uint16_t)(q->avail_idx - 1) % FG_MAX_DESC];

	if (!q->packed) {
		fg_put16(g, q->avail + 4 + 2u * q->size, v);
		return;
	}
	while (q->avail_idx && fg_pos_add(q, last, each) != q->next)
		each++;
	if (ahead > 0x8000)
		fg_put16(g, q->avail, q->starts[v % FG_MAX_DESC]);
	else
		fg_put16(g, q->avail, fg_pos_add(q, q->next, ahead * each % q->size));
	fg_put16(g, q->avail + 2,
		 ahead <= 0x8000 && ahead * each >= q->size ? VRING_PACKED_EVENT_FLAG_DISABLE
							    : VRING_PACKED_EVENT_FLAG_DESC);
}

static inline void fg_set_no_interrupt(struct fg *g, unsigned int qi, bool on)
{
	if (g->q[qi].packed)
		fg_put16(g, g->q[qi].avail + 2,
			 on ? VRING_PACKED_EVENT_FLAG_DISABLE : VRING_PACKED_EVENT_FLAG_ENABLE);
	else
		fg_put16(g, g->q[qi].avail, on ? VRING_AVAIL_F_NO_INTERRUPT : 0);
}

/* Offers a head as it stands. */
static inline void fg_offer(struct fg *g, unsigned int qi, uint16_t head)
{
	struct fg_queue *q = &g->q[qi];

	fg_put16(g, q->avail + 4 + 2u * (q->avail_idx % q->size), head);
	q->avail_idx++;
	fg_put16(g, q->avail + 2, q->avail_idx);
}

struct fg_buf {
	uint64_t addr;
	uint32_t len;
	bool in; /* for the device to write */
};

/* A packed ring's descriptor; @flags last, and without AVAIL and USED in a table. */
static inline void fg_put_packed(struct fg *g, uint64_t at, uint64_t addr, uint32_t len,
				 uint16_t id, uint16_t flags)
{
	fg_write(g, at, &addr, 8);
	fg_write(g, at + 8, &len, 4);
	fg_write(g, at + 12, &id, 2);
	fg_put16(g, at + 14, flags);
}

static inline uint16_t fg_packed_flags(uint16_t pos, uint16_t flags)
{
	return (uint16_t)(flags | (pos & FG_WRAP ? FG_AVAIL : FG_USED));
}

/* fg_add() in a packed ring: the first descriptor is shown last. */
static inline int fg_add_packed(struct fg *g, struct fg_queue *q, const struct fg_buf *bufs,
				unsigned int n, bool indirect)
{
	unsigned int need = indirect ? 1 : n;
	uint64_t table = indirect ? fg_alloc(g, 16u * n) : 0;
	uint16_t id;

	if (q->n_slots < need || !q->n_free)
		return -1;
	id = q->free[--q->n_free];
	q->chain_len[id] = (uint16_t)need;
	for (unsigned int i = n; i-- > 0;) {
		uint16_t flags = (uint16_t)((bufs[i].in ? VRING_DESC_F_WRITE : 0) |
					    (i + 1 < n && !indirect ? VRING_DESC_F_NEXT : 0));
		uint16_t pos = fg_pos_add(q, q->next, indirect ? 0 : i);

		fg_put_packed(g, indirect ? table + 16u * i : fg_slot(q, pos), bufs[i].addr,
			      bufs[i].len, id, indirect ? flags : fg_packed_flags(pos, flags));
	}
	if (indirect)
		fg_put_packed(g, fg_slot(q, q->next), table, 16u * n, id,
			      fg_packed_flags(q->next, VRING_DESC_F_INDIRECT));
	q->starts[q->avail_idx % FG_MAX_DESC] = q->next;
	q->next = fg_pos_add(q, q->next, need);
	q->n_slots = (uint16_t)(q->n_slots - need);
	q->avail_idx++;
	return id;
}

static inline int fg_used_packed(struct fg *g, struct fg_queue *q, uint32_t *len)
{
	uint64_t at = fg_slot(q, q->seen);
	uint16_t id;

	if (q->last_used == q->avail_idx || !fg_slot_used(g, q, q->seen, &id))
		return -1;
	assert(id < q->size && q->chain_len[id]);
	if (len) {
		fg_read(g, at + 8, len, 4);
		assert(!*len == !(fg_get16(g, at + 14) & VRING_DESC_F_WRITE));
	}
	q->seen = fg_pos_add(q, q->seen, q->chain_len[id]);
	q->n_slots = (uint16_t)(q->n_slots + q->chain_len[id]);
	q->chain_len[id] = 0;
	q->free[q->n_free++] = id;
	q->last_used++;
	return id;
}

/* Offers a chain; its head, or id. With @indirect through a table. */
static inline int fg_add(struct fg *g, unsigned int qi, const struct fg_buf *bufs, unsigned int n,
			 bool indirect)
{
	struct fg_queue *q = &g->q[qi];
	unsigned int need = indirect ? 1 : n;
	uint64_t table = q->desc;
	uint16_t ids[FG_MAX_DESC], head;

	assert(n > 0);
	if (q->packed)
		return fg_add_packed(g, q, bufs, n, indirect);
	if (indirect)
		table = fg_alloc(g, 16u * n);
	if (q->n_free < need)
		return -1;
	head = q->free[q->n_free - 1];
	for (unsigned int i = 0; i < need; i++)
		ids[i] = q->free[--q->n_free];
	q->chain_len[head] = (uint16_t)need;
	for (unsigned int i = 0; i < n; i++) {
		struct fg_desc d = { bufs[i].addr, bufs[i].len, 0, 0 };

		d.flags = (uint16_t)((bufs[i].in ? VRING_DESC_F_WRITE : 0) |
				     (i + 1 < n ? VRING_DESC_F_NEXT : 0));
		if (i + 1 < n)
			d.next = indirect ? (uint16_t)(i + 1) : ids[i + 1];
		fg_set_desc(g, table, indirect ? i : ids[i], d);
	}
	if (indirect)
		fg_set_desc(g, q->desc, head,
			    (struct fg_desc){ table, 16u * n, VRING_DESC_F_INDIRECT, 0 });
	fg_offer(g, qi, head);
	return head;
}

/* The next used entry: its head (or id), or -1. @len: bytes written. */
static inline int fg_used(struct fg *g, unsigned int qi, uint32_t *len)
{
	struct fg_queue *q = &g->q[qi];
	uint32_t e[2], d;

	if (q->packed)
		return fg_used_packed(g, q, len);
	if (q->last_used == fg_used_idx(g, qi))
		return -1;
	fg_read(g, q->used + 4 + 8u * (q->last_used % q->size), e, sizeof(e));
	q->last_used++;
	assert(e[0] < q->size);
	if (len)
		*len = e[1];
	d = e[0];
	for (unsigned int n = q->chain_len[e[0]]; n; n--) {
		struct fg_desc desc;

		q->free[q->n_free++] = (uint16_t)d;
		fg_read(g, q->desc + 16u * d, &desc, sizeof(desc));
		d = desc.next;
	}
	return (int)e[0];
}

static inline void fg_kick(struct fg *g, unsigned int qi)
{
	g->dev->ops->kick(g->dev, qi);
}

/* Transmits: how the header and the frame are laid out. */
enum fg_layout { FG_SPLIT, FG_JOINED, FG_INDIRECT, FG_PIECES };

static inline int fg_tx(struct fg *g, unsigned int qi, const struct virtio_net_hdr_mrg_rxbuf *hdr,
			const void *data, uint32_t len, enum fg_layout layout)
{
	struct virtio_net_hdr_mrg_rxbuf none = { 0 };
	uint32_t hl = fg_hdr_len(g);
	uint64_t at = fg_alloc(g, hl + len);
	struct fg_buf b[64];
	unsigned int n = 0;

	fg_write(g, at, hdr ? hdr : &none, hl);
	fg_write(g, at + hl, data, len);
	switch (layout) {
	case FG_JOINED:
		b[n++] = (struct fg_buf){ at, hl + len, false };
		break;
	case FG_PIECES: /* the header byte by byte, then the frame in 16 parts */
		for (uint32_t i = 0; i < hl; i++)
			b[n++] = (struct fg_buf){ at + i, 1, false };
		for (uint32_t i = 0; i < 16; i++)
			b[n++] = (struct fg_buf){ at + hl + len * i / 16,
						  len * (i + 1) / 16 - len * i / 16, false };
		break;
	default:
		b[n++] = (struct fg_buf){ at, hl, false };
		b[n++] = (struct fg_buf){ at + hl, len, false };
	}
	return fg_add(g, qi, b, n, layout == FG_INDIRECT);
}

/* Posts @count receive buffers of @len bytes each; remembers where they are by head. */
static inline void fg_rx_post(struct fg *g, unsigned int qi, unsigned int count, uint32_t len,
			      uint64_t *where)
{
	for (unsigned int i = 0; i < count; i++) {
		struct fg_buf b = { fg_alloc(g, len), len, true };
		int head = fg_add(g, qi, &b, 1, false);

		assert(head >= 0);
		if (where)
			where[head] = b.addr;
	}
}

/* Takes one received frame out of mergeable (or single) buffers; its length or -1. */
static inline int fg_rx_take(struct fg *g, unsigned int qi, const uint64_t *where,
			     struct virtio_net_hdr_mrg_rxbuf *hdr, uint8_t *data, size_t max)
{
	uint32_t hl = fg_hdr_len(g), len, total = 0;
	int head = fg_used(g, qi, &len);
	unsigned int n;

	if (head < 0)
		return -1;
	assert(len >= hl);
	memset(hdr, 0, sizeof(*hdr));
	fg_read(g, where[head], hdr, hl);
	n = fg_has(g, VIRTIO_NET_F_MRG_RXBUF) ? hdr->num_buffers : 1;
	assert(n >= 1);
	assert(len - hl <= max);
	fg_read(g, where[head] + hl, data, len - hl);
	total = len - hl;
	while (--n) {
		head = fg_used(g, qi, &len);
		assert(head >= 0 && total + len <= max);
		fg_read(g, where[head], data + total, len);
		total += len;
	}
	return (int)total;
}

/* Sends @n frames from the wire to the guest through one burst. */
static inline int fg_wire_send(struct fg_wire *w, const void *data, uint32_t len,
			       const struct twx_meta *meta)
{
	struct iovec iov = { (void *)(uintptr_t)data, len };
	struct twx_frame f = { .iov = &iov, .n_iov = 1, .len = len };

	if (meta)
		f.meta = *meta;
	return twx_port_send(w->port, &f, 1);
}

/* An Ethernet frame with a pattern behind its header; type 0x88b5 (for experiments). */
static inline void fg_frame(uint8_t *data, uint32_t len, uint8_t seed)
{
	static const uint8_t head[14] = { 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc, 0x02,
					  0,	0,    0, 0,    1,    0x88, 0xb5 };

	for (uint32_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 7 + seed);
	memcpy(data, head, len < sizeof(head) ? len : sizeof(head));
}

#endif
