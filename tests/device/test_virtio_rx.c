/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio-net, host to guest: copies and leases into every kind of buffer, busy and ready, offloads,
 * pairs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macros.h"
#include "fake_guest.h"
#include "nics/virtio_net.h"

#define RXQ 0
#define EVENT FG_BIT(VIRTIO_RING_F_EVENT_IDX)
#define MERGE FG_BIT(VIRTIO_NET_F_MRG_RXBUF)

static uint64_t where[FG_MAX_DESC];
static uint8_t out[70000];
static struct virtio_net_hdr_mrg_rxbuf hdr;

static struct fg *start(uint64_t without, uint16_t size)
{
	struct fg *g = fg_new(1, "");

	fg_start(g, g->dev->offered & ~without, 3, size);
	return g;
}

static uint64_t drops(struct fg *g, enum twx_drop cause)
{
	return g->nic->ports[0]->count.drops[cause];
}

static int send_frame(struct fg *g, uint32_t len, uint8_t seed)
{
	uint8_t f[66000];

	fg_frame(f, len, seed);
	return fg_wire_send(g->wire, f, len, NULL);
}

static void assert_received(struct fg *g, uint32_t len, uint8_t seed, unsigned int bufs)
{
	uint8_t f[66000];

	fg_frame(f, len, seed);
	assert_int_equal(fg_rx_take(g, RXQ, where, &hdr, out, sizeof(out)), len);
	assert_memory_equal(out, f, len);
	if (fg_has(g, VIRTIO_F_VERSION_1) || fg_has(g, VIRTIO_NET_F_MRG_RXBUF))
		assert_int_equal(hdr.num_buffers, bufs);
	assert_int_equal(hdr.hdr.flags, 0);
	assert_int_equal(hdr.hdr.gso_type, 0);
}

static void test_mergeable(void **state)
{
	static const uint32_t sizes[] = { 14, 60, 1514, 1515, 3040, 9000, 65549 };
	struct fg *g = start(EVENT, 256);

	fg_rx_post(g, RXQ, 200, 1526, where);
	for (unsigned int i = 0; i < array_size(sizes); i++) {
		assert_int_equal(send_frame(g, sizes[i], (uint8_t)i), 1);
		assert_received(g, sizes[i], (uint8_t)i, (sizes[i] + 12 + 1525) / 1526);
	}
	assert_int_equal(fg_used(g, RXQ, NULL), -1);
	assert_int_equal(g->q[RXQ].irqs, 0); /* at the end of the round, one for all */
	fg_run(g);
	assert_int_equal(g->q[RXQ].irqs, 1);
	fg_free(g);
}

static void single(uint64_t without)
{
	struct fg *g = start(without | MERGE | EVENT, 256);

	fg_rx_post(g, RXQ, 10, fg_hdr_len(g) + 1514, where);
	for (uint8_t i = 0; i < 10; i++)
		assert_int_equal(send_frame(g, i & 1 ? 1514 : 60, i), 1);
	for (uint8_t i = 0; i < 10; i++)
		assert_received(g, i & 1 ? 1514 : 60, i, 1);
	assert_int_equal(send_frame(g, 60, 1), 0);
	fg_free(g);
}

static void test_single_modern(void **state)
{
	single(0);
}

static void test_single_legacy(void **state)
{
	single(FG_BIT(VIRTIO_F_VERSION_1));
}

/* Header and data in descriptors of their own, or in very small ones, direct and indirect. */
static void test_layouts(void **state)
{
	for (unsigned int legacy = 0; legacy < 2; legacy++) {
		struct fg *g = start(MERGE | (legacy ? FG_BIT(VIRTIO_F_VERSION_1) : 0), 256);
		uint32_t hl = fg_hdr_len(g);
		uint64_t at[2];

		for (unsigned int l = 0; l < 2; l++) {
			struct fg_buf b[40];
			unsigned int n = 0;

			at[l] = fg_alloc(g, 4096);
			if (l == 0)
				b[n++] = (struct fg_buf){ at[l], hl, true };
			for (uint32_t i = 0; l == 1 && i < hl; i++)
				b[n++] = (struct fg_buf){ at[l] + i, 1, true };
			for (uint32_t i = 0; i < 20; i++)
				b[n++] = (struct fg_buf){ at[l] + hl + i * 100, 100, true };
			where[fg_add(g, RXQ, b, n, l == 1)] = at[l];
		}
		assert_int_equal(send_frame(g, 1514, 1), 1);
		assert_int_equal(send_frame(g, 1999, 2), 1);
		assert_received(g, 1514, 1, 1);
		assert_received(g, 1999, 2, 1);
		fg_free(g);
	}
}

static void test_too_small_buffers_are_kept(void **state)
{
	struct fg *g = start(MERGE, 256);

	fg_rx_post(g, RXQ, 4, 12 + 1514, where);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(send_frame(g, 9000, 1), 1);
	assert_int_equal(drops(g, TWX_DROP_NO_BUFFER), 1000);
	assert_int_equal(fg_used(g, RXQ, NULL), -1);
	for (uint8_t i = 0; i < 4; i++)
		assert_int_equal(send_frame(g, 1514, i), 1);
	for (uint8_t i = 0; i < 4; i++)
		assert_received(g, 1514, i, 1);
	fg_free(g);
}

/* A frame that the whole ring cannot hold must not block the port for ever. */
static void test_ring_smaller_than_frame(void **state)
{
	struct fg *g = start(0, 8);

	fg_rx_post(g, RXQ, 8, 1526, where);
	assert_int_equal(send_frame(g, 20000, 1), 1);
	assert_int_equal(drops(g, TWX_DROP_NO_BUFFER), 1);
	assert_int_equal(send_frame(g, 12000, 2), 1);
	assert_received(g, 12000, 2, 8);
	fg_free(g);
}

static void test_busy_until_the_doorbell(void **state)
{
	for (unsigned int event = 0; event < 2; event++) {
		struct fg *g = start(event ? 0 : EVENT, 256);

		assert_int_equal(send_frame(g, 60, 1), 0);
		assert_int_equal(g->wire->n_resumed, 0);
		/* The guest is asked for the doorbell. */
		if (event)
			assert_int_equal(fg_avail_event(g, RXQ), 0);
		else
			assert_true(fg_doorbells(g, RXQ));
		fg_rx_post(g, RXQ, 3, 1526, where);
		fg_kick(g, RXQ);
		fg_run(g);
		assert_int_equal(g->wire->n_resumed, 1);
		if (!event)
			assert_false(fg_doorbells(g, RXQ));
		for (uint8_t i = 0; i < 3; i++)
			assert_int_equal(send_frame(g, 60, i), 1);
		assert_int_equal(send_frame(g, 60, 4), 0);
		if (event)
			assert_int_equal(fg_avail_event(g, RXQ), 3);
		for (uint8_t i = 0; i < 3; i++)
			assert_received(g, 60, i, 1);
		assert_int_equal(g->nic->ports[0]->count.kicks, 1);
		fg_free(g);
	}
}

/* A frame that needs three buffers while two are there waits for the third. */
static void test_waits_for_enough_buffers(void **state)
{
	struct fg *g = start(0, 256);

	fg_rx_post(g, RXQ, 2, 1526, where);
	assert_int_equal(send_frame(g, 4000, 1), 0);
	assert_int_equal(fg_used(g, RXQ, NULL), -1);
	assert_int_equal(fg_avail_event(g, RXQ), 2);
	fg_rx_post(g, RXQ, 1, 1526, where);
	fg_kick(g, RXQ);
	assert_int_equal(g->wire->n_resumed, 1);
	assert_int_equal(send_frame(g, 4000, 1), 1);
	assert_received(g, 4000, 1, 3);
	fg_free(g);
}

static void test_posted_frames_are_queued_and_flushed(void **state)
{
	struct fg *g = start(0, 256);
	uint8_t f[100];
	struct iovec iov = { f, sizeof(f) };
	struct twx_frame fr = { .iov = &iov, .n_iov = 1, .len = sizeof(f) };

	for (uint8_t i = 0; i < 5; i++) {
		fg_frame(f, sizeof(f), i);
		twx_port_post(g->wire->port, &fr, 1);
	}
	fg_rx_post(g, RXQ, 20, 1526, where);
	fg_kick(g, RXQ);
	fg_run(g);
	for (uint8_t i = 0; i < 5; i++)
		assert_received(g, 100, i, 1);
	assert_int_equal(g->q[RXQ].irqs, 1);
	fg_free(g);
}

static void test_requests_reach_the_guest(void **state)
{
	static const struct {
		struct twx_meta m;
		uint8_t flags, gso;
	} all[] = {
		{ { .flags = TWX_F_NEEDS_CSUM, .csum_start = 34, .csum_off = 16 }, 1, 0 },
		{ { .flags = TWX_F_CSUM_VALID }, VIRTIO_NET_HDR_F_DATA_VALID, 0 },
		{ { .flags = TWX_F_NEEDS_CSUM,
		    .csum_start = 34,
		    .csum_off = 16,
		    .gso = TWX_GSO_TCPV4,
		    .gso_size = 1448,
		    .hdr_len = 54 },
		  1,
		  VIRTIO_NET_HDR_GSO_TCPV4 },
		{ { .flags = TWX_F_NEEDS_CSUM | TWX_F_ECN,
		    .csum_start = 34,
		    .csum_off = 16,
		    .gso = TWX_GSO_TCPV4,
		    .gso_size = 1448,
		    .hdr_len = 54 },
		  1,
		  VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN },
	};
	struct fg *g = start(0, 256);
	uint8_t f[4000];

	fg_rx_post(g, RXQ, 100, 1526, where);
	for (unsigned int i = 0; i < array_size(all); i++) {
		fg_frame(f, sizeof(f), 1);
		memcpy(f + 12, "\x08\0\x45\0\x0f\x92\0\0\0\0\x40\x06", 12);
		f[46] = 0x50;
		assert_int_equal(fg_wire_send(g->wire, f, sizeof(f), &all[i].m), 1);
		assert_int_equal(fg_rx_take(g, RXQ, where, &hdr, out, sizeof(out)), sizeof(f));
		assert_memory_equal(out, f, sizeof(f));
		assert_int_equal(hdr.hdr.flags, all[i].flags);
		assert_int_equal(hdr.hdr.gso_type, all[i].gso);
		assert_int_equal(hdr.hdr.gso_size, all[i].m.gso_size);
		assert_int_equal(hdr.hdr.csum_start, all[i].m.csum_start);
		assert_int_equal(hdr.hdr.csum_offset, all[i].m.csum_off);
		assert_int_equal(hdr.hdr.hdr_len, all[i].m.hdr_len);
		assert_int_equal(hdr.num_buffers, 3);
	}
	fg_free(g);
}

static void test_caps_follow_the_features(void **state)
{
	static const struct {
		uint64_t without;
		uint32_t caps;
	} all[] = {
		{ 0, TWX_CAP_CSUM | TWX_CAP_TSO4 | TWX_CAP_TSO6 | TWX_CAP_ECN | TWX_CAP_UFO |
			     TWX_CAP_USO },
		{ FG_BIT(VIRTIO_NET_F_GUEST_CSUM), 0 },
		{ FG_BIT(VIRTIO_NET_F_GUEST_TSO4),
		  TWX_CAP_CSUM | TWX_CAP_TSO6 | TWX_CAP_ECN | TWX_CAP_UFO | TWX_CAP_USO },
		{ FG_BIT(VIRTIO_NET_F_GUEST_USO6) | FG_BIT(VIRTIO_NET_F_GUEST_UFO),
		  TWX_CAP_CSUM | TWX_CAP_TSO4 | TWX_CAP_TSO6 | TWX_CAP_ECN },
	};

	for (unsigned int i = 0; i < array_size(all); i++) {
		struct fg *g = start(all[i].without, 256);

		assert_int_equal(g->nic->ports[0]->caps.flags, all[i].caps);
		virtio_reset(g->dev);
		assert_int_equal(g->nic->ports[0]->caps.flags, 0);
		fg_free(g);
	}
}

static void test_mtu_bounds_frames(void **state)
{
	struct fg *g = fg_new(1, ",host_mtu=1400");
	uint16_t mtu = 0;

	fg_start(g, g->dev->offered, 3, 256);
	assert_int_equal(g->dev->ops->config_read(g->dev, 10, &mtu, 2), 0);
	assert_int_equal(mtu, 1400);
	fg_rx_post(g, RXQ, 10, 1526, where);
	assert_int_equal(send_frame(g, 1418, 1), 1);
	assert_received(g, 1418, 1, 1);
	send_frame(g, 1419, 1);
	assert_int_equal(fg_used(g, RXQ, NULL), -1);
	/* The transport may say it instead of the option (VHOST_USER_NET_SET_MTU). */
	g->dev->ops->set_mtu(g->dev, 9000);
	assert_int_equal(g->nic->ports[0]->caps.max_frame, 9018);
	fg_free(g);
}

static void fill_lease(struct twx_lease *l, const uint8_t *f, size_t len)
{
	assert_int_equal(iov_copy_to(l->iov, l->n_iov, 0, f, len), len);
}

static void test_lease(void **state)
{
	struct fg *g = start(EVENT, 256);
	struct twx_meta none = { 0 };
	static uint8_t f[65549];
	struct twx_lease l;

	fg_rx_post(g, RXQ, 200, 1526, where);
	assert_int_equal(twx_port_reserve(g->wire->port, 1000, sizeof(f), &l), 0);
	assert_int_equal(l.len, sizeof(f));
	fg_frame(f, sizeof(f), 1);
	fill_lease(&l, f, sizeof(f));
	twx_port_commit(g->wire->port, &l, sizeof(f), &none);
	assert_received(g, sizeof(f), 1, 43);
	/* Less than was lent: the rest serves the next. */
	assert_int_equal(twx_port_reserve(g->wire->port, 60, 10000, &l), 0);
	fg_frame(f, 1514, 2);
	fill_lease(&l, f, 1514);
	twx_port_commit(g->wire->port, &l, 1514, &none);
	assert_int_equal(send_frame(g, 3000, 3), 1);
	assert_received(g, 1514, 2, 1);
	assert_received(g, 3000, 3, 2);
	fg_run(g);
	assert_int_equal(g->q[RXQ].irqs, 1);
	fg_free(g);
}

static void test_lease_abort_costs_nothing(void **state)
{
	struct fg *g = start(0, 256);
	struct twx_meta none = { 0 };
	struct twx_lease a, b;
	uint8_t f[2000];

	fg_rx_post(g, RXQ, 4, 1526, where);
	assert_int_equal(twx_port_reserve(g->wire->port, 60, 5000, &a), 0);
	twx_port_abort(g->wire->port, &a);
	assert_int_equal(fg_used_idx(g, RXQ), 0);
	assert_int_equal(twx_port_reserve(g->wire->port, 60, 5000, &b), 0);
	assert_ptr_equal(a.iov[0].iov_base, b.iov[0].iov_base);
	fg_frame(f, sizeof(f), 4);
	fill_lease(&b, f, sizeof(f));
	twx_port_commit(g->wire->port, &b, sizeof(f), &none);
	assert_received(g, sizeof(f), 4, 2);
	/* And the ring can be taken away with buffers fetched ahead. */
	assert_int_equal(virtio_queue_stop(g->dev, RXQ), fg_base(g, RXQ, 2));
	fg_free(g);
}

static void test_lease_when_short(void **state)
{
	struct fg *g = start(0, 256);
	struct twx_lease l;

	assert_int_equal(twx_port_reserve(g->wire->port, 60, 1514, &l), -EAGAIN);
	fg_rx_post(g, RXQ, 1, 1526, where);
	fg_kick(g, RXQ);
	assert_int_equal(g->wire->n_resumed, 1);
	assert_int_equal(twx_port_reserve(g->wire->port, 1515, 1515, &l), -EAGAIN);
	fg_rx_post(g, RXQ, 1, 1526, where);
	fg_kick(g, RXQ);
	assert_int_equal(g->wire->n_resumed, 2);
	assert_int_equal(twx_port_reserve(g->wire->port, 60, 60000, &l), 0);
	assert_int_equal(l.len, 2 * 1526 - 12);
	twx_port_abort(g->wire->port, &l);
	fg_free(g);
}

static void test_lease_single(void **state)
{
	struct fg *g = start(MERGE, 256);
	struct twx_meta none = { 0 };
	struct twx_lease l;
	uint8_t f[1514];

	fg_rx_post(g, RXQ, 2, 12 + 1514, where);
	/* What no buffer can hold is receive()'s to drop. */
	assert_int_equal(twx_port_reserve(g->wire->port, 1515, 9000, &l), -EOPNOTSUPP);
	assert_int_equal(twx_port_reserve(g->wire->port, 60, 9000, &l), 0);
	assert_int_equal(l.len, 1514);
	fg_frame(f, sizeof(f), 1);
	fill_lease(&l, f, sizeof(f));
	twx_port_commit(g->wire->port, &l, sizeof(f), &none);
	assert_received(g, sizeof(f), 1, 1);
	fg_free(g);
}

static void test_lease_ended_by_a_stop(void **state)
{
	struct fg *g = start(0, 256);
	struct twx_meta none = { 0 };
	struct twx_lease l;

	fg_rx_post(g, RXQ, 2, 1526, where);
	assert_int_equal(twx_port_reserve(g->wire->port, 60, 1514, &l), 0);
	assert_int_equal(virtio_queue_stop(g->dev, RXQ), fg_base(g, RXQ, 0));
	twx_port_commit(g->wire->port, &l, 60, &none);
	assert_int_equal(fg_used_idx(g, RXQ), 0);
	fg_free(g);
}

static void test_stop_with_buffers_fetched_ahead(void **state)
{
	struct fg *g = start(0, 256);
	struct virtio_ring ring;

	fg_rx_post(g, RXQ, 50, 1526, where);
	send_frame(g, 60, 1);
	assert_received(g, 60, 1, 1);
	assert_int_equal(virtio_queue_stop(g->dev, RXQ), fg_base(g, RXQ, 1));
	assert_int_equal(send_frame(g, 60, 2), 0);
	ring = fg_ring(g, &g->q[RXQ]);
	assert_int_equal(virtio_queue_setup(g->dev, RXQ, 256, &ring, fg_base(g, RXQ, 1)), 0);
	virtio_queue_start(g->dev, RXQ);
	fg_run(g);
	assert_int_equal(g->wire->n_resumed, 1);
	for (uint8_t i = 2; i < 51; i++) {
		assert_int_equal(send_frame(g, 60, i), 1);
		assert_received(g, 60, i, 1);
	}
	fg_free(g);
}

/* Buffers are fetched in batches that frames do not use up evenly; thousands of frames, none lost.
 */
static void test_endurance(void **state)
{
	struct fg *g = start(0, 256);
	uint64_t from = g->brk;

	fg_rx_post(g, RXQ, 250, 1526, where);
	for (unsigned int i = 0; i < 5000; i++) {
		uint32_t len = 3100 + i % 3000;
		unsigned int bufs = (len + 12 + 1525) / 1526;

		assert_int_equal(send_frame(g, len, (uint8_t)i), 1);
		assert_received(g, len, (uint8_t)i, bufs);
		if (g->brk > FG_BASE + FG_RAM - 0x10000)
			g->brk = from + 250 * 1600;
		fg_rx_post(g, RXQ, bufs, 1526, where);
	}
	assert_int_equal(drops(g, TWX_DROP_NO_BUFFER), 0);
	fg_free(g);
}

static void test_new_memory_table(void **state)
{
	struct fg *g = start(0, 256);

	fg_rx_post(g, RXQ, 20, 1526, where);
	send_frame(g, 60, 1); /* fetches all 20 ahead */
	fg_remap(g);
	send_frame(g, 4000, 2);
	assert_received(g, 60, 1, 1);
	assert_received(g, 4000, 2, 3);
	fg_free(g);
}

static bool page_dirty(const uint8_t *log, uint64_t addr)
{
	return log[addr / 4096 / 8] >> (addr / 4096 % 8) & 1;
}

/* Every page that we write is marked, and none that we do not. */
static void test_dirty_log(void **state)
{
	struct fg *g = fg_new(1, "");
	size_t size = (FG_BASE + FG_RAM) / 4096 / 8;
	uint8_t *log = calloc(1, size);
	struct twx_meta none = { 0 };
	unsigned int marked = 0;
	struct twx_lease l;
	uint64_t at[3];

	g->mem->log = log;
	g->mem->log_size = size;
	g->brk = FG_BASE + 0x100000;
	fg_start(g, g->dev->offered, 3, 256);
	memset(log, 0, size);
	for (unsigned int i = 0; i < 3; i++) {
		at[i] = FG_BASE + 0x200000 + i * 0x10000;
		where[fg_add(g, RXQ, &(struct fg_buf){ at[i], 0x4000, true }, 1, false)] = at[i];
	}
	send_frame(g, 5000, 1);
	assert_int_equal(twx_port_reserve(g->wire->port, 60, 16384 - 12, &l), 0);
	twx_port_commit(g->wire->port, &l, 4096, &none);
	for (uint64_t a = FG_BASE; a < FG_BASE + FG_RAM; a += 4096)
		marked += page_dirty(log, a);
	for (unsigned int i = 0; i < 2; i++) {
		assert_true(page_dirty(log, at[i]));
		assert_true(page_dirty(log, at[i] + 4096));
		assert_false(page_dirty(log, at[i] + 8192));
	}
	assert_false(page_dirty(log, at[2]));
	assert_true(page_dirty(log, g->q[RXQ].packed ? g->q[RXQ].desc : g->q[RXQ].used));
	assert_in_range(marked, 5, 6); /* four of buffers, one or two of the used ring */
	g->mem->log = NULL;
	free(log);
	fg_free(g);
}

/* With more pairs, each port fills its own ring; ports without one use those that have. */
static void test_pairs(void **state)
{
	struct fg *g = fg_new(4, "");
	uint64_t f = g->dev->offered & ~(FG_BIT(VIRTIO_NET_F_CTRL_VQ) | EVENT);
	uint8_t data[60];

	fg_start(g, f, 8, 64);
	fg_frame(data, sizeof(data), 1);
	for (unsigned int i = 0; i < 4; i++)
		fg_rx_post(g, 2 * i, 8, 1526, where);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(fg_wire_send(&g->wire[i], data, sizeof(data), NULL), 1);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(fg_used_idx(g, 2 * i), 1);
	virtio_queue_stop(g->dev, 4);
	virtio_queue_stop(g->dev, 6);
	assert_int_equal(fg_wire_send(&g->wire[2], data, sizeof(data), NULL), 1);
	assert_int_equal(fg_wire_send(&g->wire[3], data, sizeof(data), NULL), 1);
	assert_int_equal(fg_used_idx(g, 0), 2);
	assert_int_equal(fg_used_idx(g, 2), 2);
	/* Busy and ready reach every port that shares the ring. */
	for (unsigned int i = 0; i < 6; i++)
		assert_int_equal(fg_wire_send(&g->wire[0], data, sizeof(data), NULL), 1);
	assert_int_equal(fg_wire_send(&g->wire[2], data, sizeof(data), NULL), 0);
	assert_int_equal(fg_wire_send(&g->wire[0], data, sizeof(data), NULL), 0);
	fg_rx_post(g, 0, 2, 1526, where);
	fg_kick(g, 0);
	fg_run(g);
	assert_int_equal(g->wire[0].n_resumed, 1);
	assert_int_equal(g->wire[2].n_resumed, 1);
	fg_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mergeable),
		cmocka_unit_test(test_single_modern),
		cmocka_unit_test(test_single_legacy),
		cmocka_unit_test(test_layouts),
		cmocka_unit_test(test_too_small_buffers_are_kept),
		cmocka_unit_test(test_ring_smaller_than_frame),
		cmocka_unit_test(test_busy_until_the_doorbell),
		cmocka_unit_test(test_waits_for_enough_buffers),
		cmocka_unit_test(test_posted_frames_are_queued_and_flushed),
		cmocka_unit_test(test_requests_reach_the_guest),
		cmocka_unit_test(test_caps_follow_the_features),
		cmocka_unit_test(test_mtu_bounds_frames),
		cmocka_unit_test(test_lease),
		cmocka_unit_test(test_lease_abort_costs_nothing),
		cmocka_unit_test(test_lease_when_short),
		cmocka_unit_test(test_lease_single),
		cmocka_unit_test(test_lease_ended_by_a_stop),
		cmocka_unit_test(test_stop_with_buffers_fetched_ahead),
		cmocka_unit_test(test_endurance),
		cmocka_unit_test(test_new_memory_table),
		cmocka_unit_test(test_dirty_log),
		cmocka_unit_test(test_pairs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
