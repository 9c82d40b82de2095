/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile guest against virtio-net: the input is a program of descriptors, raw memory, indices,
 * doorbells, frames from the other end, leases, stops and resets in any order.
 *
 * Byte 0 picks the features, pairs and the form of the rings; then one byte an operation, low five
 * bits the kind, high three a queue; its arguments follow. Rings of 16 entries and the memory that
 * operations aim at lie in a window of 64 KiB around the border of the two regions.
 */
#include "../device/fake_guest.h"

#include "fuzz.h"
#include "nics/virtio_net.h"

#define SIZE 16u
#define WINDOW (FG_BORDER - 0x8000)

struct input {
	const uint8_t *p, *end;
};

static uint8_t get8(struct input *in)
{
	return in->p < in->end ? *in->p++ : 0;
}

static uint16_t get16(struct input *in)
{
	uint16_t lo = get8(in);

	return (uint16_t)(lo | get8(in) << 8);
}

struct run {
	struct fg *g;
	struct input in;
	struct twx_lease lease;
	bool leased;
	unsigned int wire; /* that has the lease */
};

static bool packed(const struct run *r)
{
	return r->g->dev->features & VIRTIO_PACKED;
}

/* A packed ring goes on where it stopped, or anywhere. */
static void ring_start(struct run *r, unsigned int qi, uint16_t pos)
{
	struct fg_queue *q = &r->g->q[qi];
	struct virtio_ring ring = fg_ring(r->g, q);

	q->packed = packed(r);
	if (!q->packed)
		pos = fg_used_idx(r->g, qi);
	if (virtio_queue_setup(r->g->dev, qi, SIZE, &ring, pos) == 0) {
		virtio_queue_start(r->g->dev, qi);
		q->next = pos;
	}
}

static void rings_place(struct run *r)
{
	for (unsigned int qi = 0; qi < r->g->dev->n_queues; qi++) {
		struct fg_queue *q = &r->g->q[qi];

		/* 0x400 bytes each, from the window's start. */
		q->size = SIZE;
		q->desc = WINDOW + 0x400u * qi;
		q->avail = q->desc + 16u * SIZE;
		q->used = q->avail + 0x80;
		ring_start(r, qi, FG_WRAP);
	}
}

static void op_desc(struct run *r, unsigned int qi, bool wide)
{
	uint8_t i = get8(&r->in), flags = get8(&r->in);
	struct fg_desc d = { .addr = WINDOW + get16(&r->in), .len = get16(&r->in) };
	uint64_t table = flags & 8 ? WINDOW + 0x2000 : r->g->q[qi].desc;

	d.flags = flags & 7;
	if (packed(r)) { /* the last 32 bits are the other way round; who offers it, adds the bits
			  */
		uint16_t bits =
			(uint16_t)((flags & 0x80 ? FG_AVAIL : 0) | (flags & 0x40 ? FG_USED : 0));

		d.next = (uint16_t)(d.flags | bits);
		d.flags = i;
		if (wide)
			d.addr ^= (uint64_t)get16(&r->in) << (get8(&r->in) % 64);
		fg_set_desc(r->g, table, i % SIZE, d);
		return;
	}
	d.next = (uint16_t)(flags >> 4);
	if (wide) {
		d.addr ^= (uint64_t)get16(&r->in) << (get8(&r->in) % 64);
		d.len ^= (uint32_t)get16(&r->in) << 16;
		d.next ^= get16(&r->in);
	}
	fg_set_desc(r->g, table, i % SIZE, d);
}

static void op_poke(struct run *r)
{
	uint16_t off = get16(&r->in), n = get8(&r->in) % 32;

	for (uint16_t i = 0; i < n; i++)
		*(uint8_t *)fg_ptr(r->g, WINDOW + (uint16_t)(off + i)) = get8(&r->in);
}

/* What the next slots hold becomes available as it is, one chain of one slot or more. */
static void op_offer_packed(struct run *r, unsigned int qi, uint8_t n)
{
	struct fg_queue *q = &r->g->q[qi];

	for (n = n % 4 + 1; n; n--, q->next = fg_pos_add(q, q->next, 1)) {
		uint64_t at = fg_slot(q, q->next) + 14;
		uint16_t flags = fg_get16(r->g, at) & ~(FG_AVAIL | FG_USED);

		fg_put16(r->g, at, fg_packed_flags(q->next, flags));
	}
}

static void op_offer(struct run *r, unsigned int qi, uint8_t head)
{
	if (r->g->q[qi].packed && packed(r)) {
		op_offer_packed(r, qi, head);
		return;
	}
	r->g->q[qi].avail_idx = fg_get16(r->g, r->g->q[qi].avail + 2);
	fg_offer(r->g, qi, head % (SIZE + 1));
}

static struct twx_meta get_meta(struct run *r)
{
	struct twx_meta m = { 0 };
	uint8_t f = get8(&r->in);

	if (!(f & 0x80))
		return m;
	m.flags = f & 7;
	m.gso = (f >> 3) & 7;
	m.gso_size = get16(&r->in);
	m.csum_start = get8(&r->in);
	m.csum_off = get8(&r->in);
	m.hdr_len = get8(&r->in);
	return m;
}

static uint32_t get_frame(struct run *r, uint8_t *f)
{
	uint32_t len = get16(&r->in) % 20000;

	memset(f, 0x45, 128);
	for (unsigned int i = 0, n = get8(&r->in) % 64; i < n; i++)
		f[i] = get8(&r->in);
	return len;
}

static void op_send(struct run *r, unsigned int wire, bool post)
{
	static uint8_t data[20000];
	struct iovec iov = { data, get_frame(r, data) };
	struct twx_frame f = { .iov = &iov, .n_iov = 1, .len = (uint32_t)iov.iov_len };

	f.meta = get_meta(r);
	if (f.len < TWX_FRAME_MIN)
		return;
	if (post)
		twx_port_post(r->g->wire[wire].port, &f, 1);
	else
		twx_port_send(r->g->wire[wire].port, &f, 1);
}

static void op_reserve(struct run *r, unsigned int wire)
{
	size_t least = get16(&r->in), want = least + get16(&r->in);

	if (r->leased)
		return;
	r->wire = wire;
	r->leased = !twx_port_reserve(r->g->wire[wire].port, least, want, &r->lease);
	if (!r->leased)
		return;
	assert(r->lease.len >= least && iov_len(r->lease.iov, r->lease.n_iov) == r->lease.len);
	for (uint32_t i = 0; i < r->lease.n_iov; i++)
		memset(r->lease.iov[i].iov_base, (int)i, r->lease.iov[i].iov_len);
}

static void op_commit(struct run *r)
{
	struct twx_port *port = r->g->wire[r->wire].port;
	uint16_t len = get16(&r->in);
	struct twx_meta none = { 0 };

	if (!r->leased)
		return;
	r->leased = false;
	if (len > r->lease.len)
		twx_port_abort(port, &r->lease);
	else
		twx_port_commit(port, &r->lease, len, &none);
}

static void op_transport(struct run *r, unsigned int qi, uint8_t what)
{
	struct virtio_ring ring;

	switch (what % 6) {
	case 0:
		r->g->q[qi].next = virtio_queue_stop(r->g->dev, qi);
		break;
	case 1:
		ring_start(r, qi, what & 0x80 ? get16(&r->in) : r->g->q[qi].next);
		break;
	case 2:
		virtio_reset(r->g->dev);
		virtio_set_features(r->g->dev, ~(uint64_t)0);
		break;
	case 3: /* the memory table anew; a lease would point into the old one */
		if (r->leased)
			break;
		mem_fini(r->g->mem);
		fg_map(r->g);
		for (unsigned int i = 0; i < r->g->dev->n_queues; i++) {
			ring = fg_ring(r->g, &r->g->q[i]);
			virtio_queue_move(r->g->dev, i, &ring);
		}
		break;
	case 4:
		virtio_set_features(r->g->dev, get16(&r->in) | (uint64_t)get16(&r->in) << 16 |
						       (uint64_t)(get8(&r->in) & 5) << 32);
		break;
	case 5:
		r->g->dev->ops->set_mtu(r->g->dev, get16(&r->in));
		break;
	}
}

static void op_config(struct run *r)
{
	uint8_t buf[64] = { 0 };
	uint32_t off = get8(&r->in), len = get8(&r->in) % sizeof(buf);

	r->g->dev->ops->config_read(r->g->dev, off, buf, len);
	r->g->dev->ops->config_write(r->g->dev, off, buf, len);
	r->g->dev->ops->announce(r->g->dev, buf);
}

static void step(struct run *r)
{
	uint8_t op = get8(&r->in);
	unsigned int qi = (op >> 5) % r->g->dev->n_queues, wire = qi / 2 % r->g->backend->n_ports;

	switch (op & 31) {
	case 0 ... 3:
		op_desc(r, qi, false);
		break;
	case 4:
		op_desc(r, qi, true);
		break;
	case 5:
		op_poke(r);
		break;
	case 6 ... 9:
		op_offer(r, qi, get8(&r->in));
		break;
	case 10:
		fg_put16(r->g, r->g->q[qi].avail + 2, get16(&r->in));
		break;
	case 11 ... 14:
		fg_kick(r->g, qi);
		break;
	case 15 ... 17:
		op_send(r, wire, false);
		break;
	case 18:
		op_send(r, wire, true);
		break;
	case 19:
	case 20:
		op_reserve(r, wire);
		break;
	case 21:
	case 22:
		op_commit(r);
		break;
	case 23:
		twx_loop_poll(r->g->loop, 0);
		break;
	case 24:
		r->g->wire[wire].room = get8(&r->in);
		break;
	case 25:
		twx_port_ready(r->g->wire[wire].port);
		break;
	case 26:
		op_transport(r, qi, get8(&r->in));
		break;
	case 27:
		op_config(r);
		break;
	case 28:
		twx_port_set_link(r->g->nic->ports[wire], op >> 7);
		break;
	default: /* a full set of plain buffers, to get far quickly */
		for (unsigned int i = 0; i < SIZE; i++) {
			uint64_t at = WINDOW + 0x4000 + 0x700 * i;
			uint16_t flags = qi & 1 ? 0 : VRING_DESC_F_WRITE;

			if (packed(r))
				fg_put_packed(r->g, fg_slot(&r->g->q[qi], r->g->q[qi].next), at,
					      0x700, (uint16_t)i, flags);
			else
				fg_set_desc(r->g, r->g->q[qi].desc, i,
					    (struct fg_desc){ at, 0x700, flags, 0 });
			op_offer(r, qi, packed(r) ? 0 : (uint8_t)i);
		}
	}
}

/* Whatever went before, a reset brings a device that moves a frame both ways. */
static void assert_works(struct run *r)
{
	struct fg *g = r->g;
	uint8_t f[64];

	if (r->leased)
		twx_port_abort(g->wire[r->wire].port, &r->lease);
	virtio_reset(g->dev);
	for (unsigned int i = 0; i < g->nic->n_ports; i++) {
		twx_port_set_link(g->nic->ports[i], true);
		twx_port_purge(g->nic->ports[i]);
		fg_wire_clear(&g->wire[i]);
		g->wire[i].room = ~0u;
		twx_port_ready(g->wire[i].port);
	}
	fg_start(g, g->dev->offered, g->dev->n_queues, 16);
	fg_wire_clear(g->wire);
	fg_frame(f, sizeof(f), 1);
	fg_tx(g, 1, NULL, f, sizeof(f), FG_SPLIT);
	fg_kick(g, 1);
	fg_run(g);
	assert(g->wire->n_frames == 1 && !memcmp(g->wire->frames[0].data, f, sizeof(f)));
	fg_rx_post(g, 0, 4, 2000, (uint64_t[16]){ 0 });
	fg_kick(g, 0);
	fg_run(g);
	assert(fg_wire_send(g->wire, f, sizeof(f), NULL) == 1);
	assert(fg_used_idx(g, 0) == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t without[] = {
		0,
		FG_BIT(VIRTIO_RING_F_EVENT_IDX),
		FG_BIT(VIRTIO_NET_F_MRG_RXBUF),
		FG_BIT(VIRTIO_NET_F_MRG_RXBUF) | FG_BIT(VIRTIO_F_VERSION_1),
		FG_BIT(VIRTIO_F_VERSION_1) | FG_BIT(VIRTIO_NET_F_MQ),
		FG_BIT(VIRTIO_NET_F_GUEST_CSUM),
		FG_BIT(VIRTIO_NET_F_CTRL_VQ),
		FG_BIT(VIRTIO_RING_F_INDIRECT_DESC),
	};
	struct run r = { .in = { data, data + size } };
	uint8_t first = get8(&r.in);

	r.g = fg_new(first & 8 ? 3 : 1, first & 16 ? ",host_mtu=1500" : "");
	r.g->dev->offered |= first & 32 ? VIRTIO_PACKED : 0;
	virtio_set_features(r.g->dev, r.g->dev->offered & ~without[first & 7]);
	rings_place(&r);
	while (r.in.p < r.in.end)
		step(&r);
	assert_works(&r);
	fg_free(r.g);
	return 0;
}
