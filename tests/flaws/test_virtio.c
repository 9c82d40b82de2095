/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What broke virtio rings and virtio-net devices elsewhere, replayed against ours. After each
 * trigger the device must work again after a reset at the latest; sanitizers watch the rest.
 *
 * Compiled for split and for packed rings (FG_FORM of fake_guest.h).
 *
 * Rows that need a feature which is not offered (hash reports, RSS, RSC, saved state) are replayed
 * as far as a guest can go: it claims the feature and gets nowhere.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../device/fake_guest.h"
#include "base/macros.h"
#include "nics/virtio_net.h"

#define EVENT FG_BIT(VIRTIO_RING_F_EVENT_IDX)
#define MERGE FG_BIT(VIRTIO_NET_F_MRG_RXBUF)

static uint64_t where[FG_MAX_DESC];
static uint8_t big[66000];

static struct fg *start(uint64_t without, uint16_t size)
{
	struct fg *g = fg_new(1, "");

	fg_start(g, g->dev->offered & ~without, 3, size);
	return g;
}

/* Both directions, after a reset. */
static void assert_works(struct fg *g)
{
	struct virtio_net_hdr_mrg_rxbuf hdr;
	uint8_t f[1514], got[2000];

	virtio_reset(g->dev);
	fg_wire_clear(g->wire);
	g->wire->room = ~0u;
	fg_start(g, g->dev->offered, 3, 64);
	fg_frame(f, sizeof(f), 9);
	fg_tx(g, 1, NULL, f, sizeof(f), FG_INDIRECT);
	fg_kick(g, 1);
	fg_run(g);
	assert_int_equal(g->wire->n_frames, 1);
	assert_memory_equal(g->wire->frames[0].data, f, sizeof(f));
	fg_rx_post(g, 0, 4, 1526, where);
	fg_kick(g, 0);
	assert_int_equal(fg_wire_send(g->wire, f, sizeof(f), NULL), 1);
	assert_int_equal(fg_rx_take(g, 0, where, &hdr, got, sizeof(got)), sizeof(f));
	assert_memory_equal(got, f, sizeof(f));
	fg_free(g);
}

static void send_frame(struct fg *g, uint32_t len)
{
	fg_frame(big, len, 1);
	fg_wire_send(g->wire, big, len, NULL);
}

/* One descriptor of an indirect table, and one of the ring, whatever it says; offered at once. */
static void put_entry(struct fg *g, uint64_t table, unsigned int i, uint64_t addr, uint32_t len,
		      uint16_t flags)
{
	if (FG_PACKED)
		fg_put_packed(g, table + 16u * i, addr, len, 0, flags & VRING_DESC_F_WRITE);
	else
		fg_set_desc(g, table, i, (struct fg_desc){ addr, len, flags, (uint16_t)(i + 1) });
}

static void offer_raw(struct fg *g, unsigned int qi, uint64_t addr, uint32_t len, uint16_t flags)
{
	struct fg_queue *q = &g->q[qi];
	uint16_t id = (uint16_t)(q->avail_idx % q->size);

	if (!q->packed) {
		fg_set_desc(g, q->desc, id, (struct fg_desc){ addr, len, flags, 0 });
		fg_offer(g, qi, id);
		return;
	}
	fg_put_packed(g, fg_slot(q, q->next), addr, len, id, fg_packed_flags(q->next, flags));
	q->chain_len[id] = 1;
	q->starts[q->avail_idx % FG_MAX_DESC] = q->next;
	q->next = fg_pos_add(q, q->next, 1);
	q->avail_idx++;
}

static void test_cve_2011_2212_indirect_overflow(void **state)
{
	static const unsigned int sizes[] = { 1023, 1024, 1025, 1200, 32768 };

	for (unsigned int i = 0; i < array_size(sizes); i++) {
		struct fg *g = start(EVENT, 256);
		uint64_t table = fg_alloc(g, 16u * sizes[i]), data = fg_alloc(g, 64);

		for (unsigned int k = 0; k < sizes[i]; k++)
			put_entry(g, table, k, data, 1, k + 1 < sizes[i]);
		for (unsigned int qi = 0; qi < 3; qi++) {
			offer_raw(g, qi, table, 16u * sizes[i], VRING_DESC_F_INDIRECT);
			fg_kick(g, qi);
			send_frame(g, 60);
		}
		fg_run(g);
		/* What fits goes out, what does not is dropped. */
		assert_int_equal(g->wire->n_frames, sizes[i] <= VQ_MAX_IOV);
		assert_works(g);
	}
}

static void test_cve_2011_2512_queue_numbers(void **state)
{
	static const unsigned int n[] = { 3, 4, 100, 0x7fffffff, 0x80000000, 0x80000001, ~0u };
	struct fg *g = start(0, 64);

	for (unsigned int i = 0; i < array_size(n); i++) {
		fg_kick(g, n[i]);
		virtio_queue_start(g->dev, n[i]);
		virtio_queue_stop(g->dev, n[i]);
		assert_false(virtio_queue_running(g->dev, n[i]));
	}
	assert_works(g);
}

static void test_cve_2013_2016_config_bounds(void **state)
{
	const uint32_t end = sizeof(struct virtio_net_config);
	const struct {
		uint32_t off, len;
	} bad[] = { { end, 1 }, { end - 1, 4 }, { end + 1, 0 },
		    { ~0u, 4 }, { ~0u - 1, 2 }, { 0, ~0u },
		    { 4, ~0u }, { 0, end + 1 }, { 0x80000000, 0x80000000 } };
	struct fg *g = start(FG_BIT(VIRTIO_F_VERSION_1) | FG_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR), 64);
	uint8_t buf[256];

	memset(buf, 0x5a, sizeof(buf));
	for (unsigned int i = 0; i < array_size(bad); i++) {
		assert_int_equal(g->dev->ops->config_read(g->dev, bad[i].off, buf, bad[i].len),
				 -EINVAL);
		assert_int_equal(g->dev->ops->config_write(g->dev, bad[i].off, buf, bad[i].len),
				 -EINVAL);
	}
	for (unsigned int i = 0; i < sizeof(buf); i++)
		assert_int_equal(buf[i], 0x5a);
	assert_int_equal(g->dev->ops->config_read(g->dev, end - 1, buf, 1), 0);
	assert_int_equal(g->dev->ops->config_write(g->dev, 5, buf, end - 5), 0);
	assert_works(g);
}

/* Class, command, two counts; what follows is not there. */
static void test_cve_2014_0150_mac_table_counts(void **state)
{
	static const uint32_t counts[] = { 0xffffffff, 0x80000000, 0x2aaaaaab, 65, 64, 2 };

	for (unsigned int i = 0; i < array_size(counts); i++)
		for (unsigned int first = 0; first < 2; first++) {
			struct fg *g = start(EVENT, 64);
			uint64_t at = fg_alloc(g, 64);
			struct fg_buf b[2] = { { at, 16, false }, { at + 32, 1, true } };
			uint32_t uni = first ? counts[i] : 1, multi = first ? 0 : counts[i],
				 len = 0;

			fg_write(g, at, (uint8_t[]){ VIRTIO_NET_CTRL_MAC, 0 }, 2);
			fg_write(g, at + 2, &uni, 4);
			fg_write(g, at + 12, &multi, 4);
			fg_add(g, 2, b, 2, false);
			fg_kick(g, 2);
			assert_true(fg_used(g, 2, &len) >= 0);
			assert_int_equal(len, 1);
			assert_int_equal(*(uint8_t *)fg_ptr(g, at + 32), VIRTIO_NET_ERR);
			assert_works(g);
		}
}

static void test_cve_2015_7295_jumbo_flood(void **state)
{
	struct fg *g = start(MERGE, 256);

	fg_rx_post(g, 0, 8, 100, where);
	for (int i = 0; i < 5000; i++)
		send_frame(g, 9000);
	assert_int_equal(fg_used_idx(g, 0), 0);
	send_frame(g, 80);
	assert_int_equal(fg_used_idx(g, 0), 1);
	assert_works(g);
}

static void offer_same(struct fg *g, unsigned int qi, uint64_t at)
{
	if (FG_PACKED) {
		offer_raw(g, qi, at, 72, qi ? 0 : VRING_DESC_F_WRITE);
		return;
	}
	fg_set_desc(g, g->q[qi].desc, 0,
		    (struct fg_desc){ at, 72, qi ? 0 : VRING_DESC_F_WRITE, 0 });
	fg_offer(g, qi, 0);
}

static void test_cve_2016_5403_same_head_again(void **state)
{
	struct fg *g = start(EVENT, 64);
	uint64_t at = fg_alloc(g, 128);

	for (unsigned int qi = 0; qi < 2; qi++) {
		for (unsigned int i = 0; i < 64; i++)
			offer_same(g, qi, at);
		fg_kick(g, qi);
	}
	for (unsigned int i = 0; i < 100; i++)
		send_frame(g, 60);
	fg_run(g);
	assert_int_equal(g->wire->n_frames, 64);
	assert_int_equal(fg_used_idx(g, 0), 64);
	/* One beyond the ring: of a packed one the device has to have it all at that time. */
	for (unsigned int qi = 0; qi < 2; qi++) {
		g->wire->room = qi && FG_PACKED ? 0 : ~0u;
		for (unsigned int i = 0; i < 64; i++)
			offer_same(g, qi, at);
		if (FG_PACKED) {
			struct vq_chain c[64];
			struct iovec iov;

			/* What a device does that looks ahead as far as it can. */
			for (unsigned int i = 0; i < 64; i++)
				assert_int_equal(vq_pop(&g->dev->queues[qi], &c[i], &iov, 1), 1);
			assert_int_equal(vq_pop(&g->dev->queues[qi], &c[0], &iov, 1), 0);
			assert_int_equal(g->q[qi].broken, 0);
			offer_same(g, qi, at);
			assert_int_equal(vq_pop(&g->dev->queues[qi], &c[0], &iov, 1), 0);
			continue;
		}
		offer_same(g, qi, at);
		fg_kick(g, qi);
	}
	send_frame(g, 60);
	fg_run(g);
	assert_int_equal(g->q[0].broken, 1);
	assert_int_equal(g->q[1].broken, 1);
	assert_int_equal(g->q[2].broken, 0);
	assert_works(g);
}

static void test_cve_2017_17381_before_setup(void **state)
{
	struct fg *g = fg_new(1, "");
	struct virtio_ring none = { 0 };

	for (unsigned int qi = 0; qi < 3; qi++) {
		fg_kick(g, qi);
		virtio_queue_start(g->dev, qi);
		assert_int_equal(virtio_queue_setup(g->dev, qi, 0, &none, 0), -EINVAL);
		assert_int_equal(virtio_queue_setup(g->dev, qi, 256, &none, 0), -EINVAL);
		fg_kick(g, qi);
		assert_int_equal(virtio_queue_stop(g->dev, qi), 0);
	}
	send_frame(g, 60);
	assert_works(g);
}

static void test_indirect_lengths(void **state)
{
	static const uint32_t lens[] = { 0, 1, 15, 17, 31, 0xffffffff, 0xfffffff0 };

	for (unsigned int i = 0; i < array_size(lens); i++) {
		struct fg *g = start(EVENT, 64);

		for (unsigned int qi = 0; qi < 3; qi++) {
			offer_raw(g, qi, FG_BASE, lens[i], VRING_DESC_F_INDIRECT);
			fg_kick(g, qi);
		}
		send_frame(g, 60);
		fg_run(g);
		for (unsigned int qi = 0; qi < 3; qi++)
			assert_int_equal(g->q[qi].broken, 1);
		assert_int_equal(g->wire->n_frames, 0);
		assert_works(g);
	}
}

static void test_cve_2021_3748_unmapped_receive_buffer(void **state)
{
	static const uint64_t at[] = { 0xfee00000, FG_BASE - 8, FG_BASE + FG_RAM - 8,
				       UINT64_MAX - 8 };

	for (unsigned int i = 0; i < array_size(at); i++) {
		struct fg *g = start(EVENT, 64);
		struct fg_buf b = { at[i], 1526, true };
		struct twx_lease l;

		fg_rx_post(g, 0, 1, 1526, where);
		fg_add(g, 0, &b, 1, false);
		send_frame(g, 2000); /* would span both */
		assert_int_equal(twx_port_reserve(g->wire->port, 2000, 2000, &l), -EAGAIN);
		fg_run(g);
		assert_int_equal(fg_used_idx(g, 0), 0);
		assert_int_equal(g->q[0].broken, 1);
		assert_works(g);
	}
}

static void test_cve_2022_26353_too_few_buffers(void **state)
{
	struct fg *g = start(EVENT, 64);

	fg_rx_post(g, 0, 3, 1526, where);
	for (int i = 0; i < 3000; i++) {
		send_frame(g, 9000);
		fg_kick(g, 0);
		fg_run(g);
	}
	assert_int_equal(fg_used_idx(g, 0), 0);
	fg_rx_post(g, 0, 10, 1526, where);
	fg_kick(g, 0);
	send_frame(g, 9000);
	assert_int_equal(fg_used_idx(g, 0), 6);
	assert_int_equal(virtio_queue_stop(g->dev, 0), fg_base(g, 0, 6));
	assert_works(g);
}

/* Features that were not offered, and what they would switch on. */
static void test_unoffered_features(void **state)
{
	struct fg *g = fg_new(1, "");

	/* CVE-2023-6693, 2024-6505, RSC_EXT: header length, steering and coalescing stay as they
	 * are. */
	fg_start(g, ~(uint64_t)0, 3, 64);
	assert_int_equal(g->dev->features, g->dev->offered);
	fg_rx_post(g, 0, 64, 1526, where);
	send_frame(g, 60);
	assert_int_equal(fg_used_idx(g, 0), 1);
	send_frame(g, TWX_FRAME_MAX);
	assert_int_equal(fg_used_idx(g, 0), 1 + 43);
	send_frame(g, 65900); /* over what travels at all */
	assert_int_equal(fg_used_idx(g, 0), 1 + 43);
	assert_works(g);
}

/* CVE-2024-8612: no used entry claims more bytes than were written. */
static void test_cve_2024_8612_used_length(void **state)
{
	struct fg *g = start(EVENT, 64);
	struct fg_buf b[2] = { { fg_alloc(g, 64), 64, false }, { fg_alloc(g, 2000), 2000, true } };
	uint32_t len = 99;

	fg_add(g, 1, b, 2, false); /* transmit with room to write: nothing is written */
	fg_kick(g, 1);
	assert_true(fg_used(g, 1, &len) >= 0);
	assert_int_equal(len, 0);
	fg_rx_post(g, 0, 1, 4000, where);
	send_frame(g, 60);
	assert_true(fg_used(g, 0, &len) >= 0);
	assert_int_equal(len, 72);
	fg_write(g, b[0].addr, (uint8_t[]){ 9, 9 }, 2);
	fg_add(g, 2, b, 2, false);
	fg_kick(g, 2);
	assert_true(fg_used(g, 2, &len) >= 0);
	assert_int_equal(len, 1);
	assert_works(g);
}

static void test_cve_2026_5747_frozen_queues(void **state)
{
	struct fg *g = start(0, 64);
	struct virtio_ring ring = fg_ring(g, &g->q[1]);

	assert_int_equal(virtio_queue_setup(g->dev, 1, 32, &ring, 5), -EINVAL);
	assert_int_equal(virtio_queue_setup(g->dev, 1, 64, &ring, 0), -EINVAL);
	for (int i = 0; i < 50; i++) {
		virtio_reset(g->dev);
		fg_kick(g, 1);
		send_frame(g, 60);
	}
	assert_works(g);
}

static void test_missing_header_and_index_jump(void **state)
{
	struct fg *g = start(EVENT, 64);

	for (uint32_t len = 0; len < 12; len++)
		fg_add(g, 1, &(struct fg_buf){ FG_BASE, len, false }, 1, false);
	fg_kick(g, 1);
	fg_run(g);
	assert_int_equal(fg_used_idx(g, 1), 12);
	assert_int_equal(g->wire->n_frames, 0);
	if (FG_PACKED) /* a chain of the whole ring and more: in every slot it goes on */
		for (uint16_t i = 0, at = g->q[1].next; i < 64;
		     i++, at = fg_pos_add(&g->q[1], at, 1))
			fg_put_packed(g, fg_slot(&g->q[1], at), FG_BASE, 12, 0,
				      fg_packed_flags(at, VRING_DESC_F_NEXT));
	else
		fg_put16(g, g->q[1].avail + 2, (uint16_t)(g->q[1].avail_idx + 65));
	fg_kick(g, 1);
	assert_int_equal(g->q[1].broken, 1);
	if (!FG_PACKED)
		assert_int_equal(fg_used_idx(g, 1), 12);
	assert_works(g);
}

static void test_control_data_far_too_long(void **state)
{
	struct fg *g = start(EVENT, 64);
	uint64_t at = fg_alloc(g, 0x100000), table = fg_alloc(g, 16 * 1024);
	uint32_t n = 0xaaaa, len;

	fg_write(g, at, (uint8_t[]){ VIRTIO_NET_CTRL_MAC, 0 }, 2);
	fg_write(g, at + 2, &n, 4);
	/* A megabyte, again and again, in one command. */
	for (unsigned int i = 0; i < 1000; i++)
		put_entry(g, table, i, at, 0x100000, VRING_DESC_F_NEXT);
	put_entry(g, table, 1000, at, 1, VRING_DESC_F_WRITE);
	offer_raw(g, 2, table, 16 * 1001, VRING_DESC_F_INDIRECT);
	fg_kick(g, 2);
	assert_int_equal(fg_used(g, 2, &len), 0);
	assert_int_equal(len, 1);
	assert_works(g);
}

static void test_control_without_answer(void **state)
{
	for (unsigned int i = 0; i < 3; i++) {
		struct fg *g = start(EVENT, 64);
		struct fg_buf b[2] = { { fg_alloc(g, 64),
					 i == 0	  ? 8
					 : i == 1 ? 1
						  : 0,
					 false },
				       { fg_alloc(g, 64), 1, true } };

		fg_add(g, 2, b, i == 0 ? 1 : 2, false);
		fg_kick(g, 2);
		fg_run(g);
		assert_int_equal(g->q[2].broken, 1);
		assert_int_equal(fg_used_idx(g, 2), 0);
		assert_works(g);
	}
}

static void test_cve_2022_2132_header_in_crumbs(void **state)
{
	struct fg *g = start(EVENT, 64);
	uint64_t at = fg_alloc(g, 128);
	struct fg_buf b[14];

	for (unsigned int i = 0; i < 12; i++)
		b[i] = (struct fg_buf){ at + i, 1, false };
	b[12] = (struct fg_buf){ at + 12, 100, false };
	fg_write(g, at, (uint8_t[112]){ 0 }, 112);
	fg_add(g, 1, b, 13, false);
	fg_add(g, 1, b, 12, false); /* header and nothing else */
	fg_kick(g, 1);
	fg_run(g);
	assert_int_equal(g->wire->n_frames, 1);
	assert_int_equal(g->wire->frames[0].len, 100);
	assert_works(g);
}

static void test_cve_2024_11614_checksum_beyond_the_frame(void **state)
{
	struct virtio_net_hdr_mrg_rxbuf h = { .hdr = { .flags = 1 } };
	struct fg *g = start(EVENT, 256);
	uint8_t f[100];

	fg_frame(f, sizeof(f), 1);
	for (unsigned int start_at = 0; start_at < 65536; start_at += 331)
		for (unsigned int off = 0; off < 65536; off += 4099) {
			h.hdr.csum_start = (uint16_t)start_at;
			h.hdr.csum_offset = (uint16_t)off;
			g->brk = FG_BASE + 0x100000;
			fg_tx(g, 1, &h, f, sizeof(f), FG_JOINED);
			fg_kick(g, 1);
			fg_used(g, 1, NULL);
		}
	for (unsigned int i = 0; i < g->wire->n_frames; i++)
		assert_true(g->wire->frames[i].meta.csum_start + g->wire->frames[i].meta.csum_off +
				    2 <=
			    100);
	assert_works(g);
}

/* CVE-2019-3900: a flood into buffers of one byte ends at once. */
static void test_cve_2019_3900_one_byte_buffers(void **state)
{
	for (unsigned int merge = 0; merge < 2; merge++) {
		struct fg *g = start(merge ? 0 : MERGE, 64);

		fg_rx_post(g, 0, 64, 1, where);
		for (int i = 0; i < 1000; i++)
			send_frame(g, 60);
		assert_int_equal(g->q[0].broken, 1);
		assert_int_equal(fg_used_idx(g, 0), 0);
		assert_works(g);
	}
}

/* CVE-2018-1059: buffers and tables at the border of two regions and at the end of memory. */
static void test_cve_2018_1059_borders(void **state)
{
	struct fg *g = start(EVENT, 64);
	uint64_t table = FG_BORDER - 24; /* the border cuts its second entry in two */
	uint8_t f[100];

	fg_frame(f, sizeof(f), 1);
	fg_write(g, FG_BASE + 0x10000, (uint8_t[12]){ 0 }, 12);
	fg_write(g, FG_BASE + 0x10000 + 12, f, sizeof(f));
	put_entry(g, table, 0, FG_BASE + 0x10000, 12, VRING_DESC_F_NEXT);
	put_entry(g, table, 1, FG_BASE + 0x1000c, 100, 0);
	offer_raw(g, 1, table, 32, VRING_DESC_F_INDIRECT);
	offer_raw(g, 1, FG_BASE + FG_RAM - 100, 101, 0);
	offer_raw(g, 1, UINT64_MAX - 99, 101, 0);
	fg_kick(g, 1);
	fg_run(g);
	assert_int_equal(fg_used_idx(g, 1), 3);
	assert_true(g->wire->n_frames <= 1);
	for (unsigned int i = 0; i < g->wire->n_frames; i++)
		assert_memory_equal(g->wire->frames[i].data, f, sizeof(f));
	assert_works(g);
}

/* CVE-2020-10725: addresses that lead nowhere, of descriptors without length, in a burst. */
static void test_cve_2020_10725_nowhere_and_empty(void **state)
{
	struct fg *g = start(EVENT, 64);
	uint8_t f[60];

	fg_frame(f, sizeof(f), 3);
	for (unsigned int i = 0; i < 4; i++) {
		offer_raw(g, 1, UINT64_MAX, 0, 0);
		offer_raw(g, 1, 0, 0, VRING_DESC_F_WRITE);
		offer_raw(g, 1, 0x10, 60, 0);
	}
	fg_kick(g, 1);
	fg_run(g);
	assert_int_equal(fg_used_idx(g, 1), 12);
	assert_int_equal(g->wire->n_frames, 0);
	offer_raw(g, 0, 0x10, 0, VRING_DESC_F_WRITE);
	send_frame(g, 60);
	assert_int_equal(g->q[0].broken, 1); /* shorter than a header */
	assert_works(g);
}

/* The start of a packed ring is checked, and a driver without virtio 1.0 does not get one. */
static void test_packed_setup(void **state)
{
	struct fg *g = start(0, 64);
	struct virtio_ring ring = fg_ring(g, &g->q[1]);

	virtio_queue_stop(g->dev, 1);
	if (FG_PACKED) {
		assert_int_equal(virtio_queue_setup(g->dev, 1, 64, &ring, 64), -EINVAL);
		assert_int_equal(virtio_queue_setup(g->dev, 1, 64, &ring, 0x7fff), -EINVAL);
		assert_int_equal(virtio_queue_setup(g->dev, 1, 64, &ring, 0xffff), -EINVAL);
		assert_int_equal(virtio_queue_setup(g->dev, 1, 32769, &ring, 0), -EINVAL);
		ring.avail = (uint8_t *)ring.avail + 2;
		assert_int_equal(virtio_queue_setup(g->dev, 1, 64, &ring, 0x8000), -EINVAL);
	}
	assert_int_equal(virtio_queue_setup(g->dev, 1, 0, &ring, 0), -EINVAL);
	assert_works(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cve_2011_2212_indirect_overflow),
		cmocka_unit_test(test_cve_2011_2512_queue_numbers),
		cmocka_unit_test(test_cve_2013_2016_config_bounds),
		cmocka_unit_test(test_cve_2014_0150_mac_table_counts),
		cmocka_unit_test(test_cve_2015_7295_jumbo_flood),
		cmocka_unit_test(test_cve_2016_5403_same_head_again),
		cmocka_unit_test(test_cve_2017_17381_before_setup),
		cmocka_unit_test(test_indirect_lengths),
		cmocka_unit_test(test_cve_2021_3748_unmapped_receive_buffer),
		cmocka_unit_test(test_cve_2022_26353_too_few_buffers),
		cmocka_unit_test(test_unoffered_features),
		cmocka_unit_test(test_cve_2024_8612_used_length),
		cmocka_unit_test(test_cve_2026_5747_frozen_queues),
		cmocka_unit_test(test_missing_header_and_index_jump),
		cmocka_unit_test(test_control_data_far_too_long),
		cmocka_unit_test(test_control_without_answer),
		cmocka_unit_test(test_cve_2022_2132_header_in_crumbs),
		cmocka_unit_test(test_cve_2024_11614_checksum_beyond_the_frame),
		cmocka_unit_test(test_cve_2019_3900_one_byte_buffers),
		cmocka_unit_test(test_cve_2018_1059_borders),
		cmocka_unit_test(test_cve_2020_10725_nowhere_and_empty),
		cmocka_unit_test(test_packed_setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
