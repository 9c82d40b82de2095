/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio-net, guest to host: every layout and header, suppression, retention, stops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_guest.h"
#include "base/macros.h"
#include "nics/virtio_net.h"

#define TXQ 1
#define EVENT FG_BIT(VIRTIO_RING_F_EVENT_IDX)

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

static void send_plain(struct fg *g, uint32_t len, uint8_t seed)
{
	uint8_t f[65600];

	fg_frame(f, len, seed);
	assert_true(fg_tx(g, TXQ, NULL, f, len, FG_SPLIT) >= 0);
}

static void assert_frame(struct fg *g, unsigned int i, uint32_t len, uint8_t seed)
{
	uint8_t f[65600];

	fg_frame(f, len, seed);
	assert_true(i < g->wire->n_frames);
	assert_int_equal(g->wire->frames[i].len, len);
	assert_memory_equal(g->wire->frames[i].data, f, len);
}

/* Used entries come in the order of the chains and claim no written bytes. */
static void assert_all_used(struct fg *g, const int *heads, unsigned int n)
{
	uint32_t len = 99;

	for (unsigned int i = 0; i < n; i++) {
		assert_int_equal(fg_used(g, TXQ, &len), heads[i]);
		assert_int_equal(len, 0);
	}
	assert_int_equal(fg_used(g, TXQ, NULL), -1);
}

static void layouts(uint64_t without, unsigned int hdr_len)
{
	static const uint32_t sizes[] = { 14, 60, 191, 192, 193, 255, 256, 257, 1514, 9000, 65535 };
	struct fg *g = start(without | EVENT, 256);
	int heads[64];
	unsigned int n = 0;
	uint8_t f[65600];

	assert_int_equal(fg_hdr_len(g), hdr_len);
	for (unsigned int s = 0; s < array_size(sizes); s++) {
		for (unsigned int l = FG_SPLIT; l <= FG_PIECES; l++) {
			fg_frame(f, sizes[s], (uint8_t)n);
			heads[n] = fg_tx(g, TXQ, NULL, f, sizes[s], (enum fg_layout)l);
			if (heads[n] >= 0)
				n++;
		}
		fg_kick(g, TXQ);
		fg_run(g);
		assert_int_equal(g->wire->n_frames, 4);
		for (unsigned int i = 0; i < 4; i++)
			assert_frame(g, i, sizes[s], (uint8_t)i);
		assert_all_used(g, heads, 4);
		assert_int_equal(g->wire->n_bursts, 1);
		assert_int_equal(g->q[TXQ].irqs, s + 1);
		fg_wire_clear(g->wire);
		n = 0;
	}
	fg_free(g);
}

static void test_layouts_modern(void **state)
{
	layouts(0, 12);
}

static void test_layouts_legacy(void **state)
{
	layouts(FG_BIT(VIRTIO_F_VERSION_1) | FG_BIT(VIRTIO_NET_F_MRG_RXBUF), 10);
}

static void test_layouts_legacy_mergeable(void **state)
{
	layouts(FG_BIT(VIRTIO_F_VERSION_1), 12);
}

static void test_across_regions(void **state)
{
	struct fg *g = start(0, 256);
	uint8_t f[1514];
	struct virtio_net_hdr_mrg_rxbuf none = { 0 };

	for (uint32_t cut = 1; cut < 600; cut += 13) {
		uint64_t at = FG_BORDER - cut;
		struct fg_buf b = { at, 12 + sizeof(f), false };

		fg_frame(f, sizeof(f), (uint8_t)cut);
		fg_write(g, at, &none, 12);
		fg_write(g, at + 12, f, sizeof(f));
		assert_true(fg_add(g, TXQ, &b, 1, cut & 1) >= 0);
		fg_kick(g, TXQ);
		fg_run(g);
		assert_int_equal(g->wire->n_frames, 1);
		assert_frame(g, 0, sizeof(f), (uint8_t)cut);
		fg_wire_clear(g->wire);
	}
	assert_int_equal(drops(g, TWX_DROP_BAD_CHAIN), 0);
	fg_free(g);
}

/* An IPv4 or IPv6 frame with TCP or UDP, for requests that the core looks into. */
static uint32_t l4_frame(uint8_t *f, bool v6, uint8_t proto, uint32_t payload)
{
	uint32_t ip = v6 ? 40 : 20, l4 = proto == 6 ? 20 : 8, total = ip + l4 + payload;

	fg_frame(f, 14 + total, 5);
	f[12] = v6 ? 0x86 : 0x08;
	f[13] = v6 ? 0xdd : 0x00;
	memset(f + 14, 0, ip + l4);
	f[14] = v6 ? 0x60 : 0x45;
	if (v6) {
		f[18] = (uint8_t)((l4 + payload) >> 8);
		f[19] = (uint8_t)(l4 + payload);
		f[20] = proto;
		f[21] = 64;
	} else {
		f[16] = (uint8_t)(total >> 8);
		f[17] = (uint8_t)total;
		f[22] = 64;
		f[23] = proto;
	}
	if (proto == 6)
		f[14 + ip + 12] = 0x50;
	f[14 + ip + 4] = (uint8_t)((l4 + payload) >> 8);
	f[14 + ip + 5] = (uint8_t)(l4 + payload);
	return 14 + total;
}

struct request {
	uint8_t flags, gso;
	uint16_t gso_size, start, off;
	bool v6;
	uint8_t proto;
};

static int send_request(struct fg *g, const struct request *r, uint32_t payload)
{
	struct virtio_net_hdr_mrg_rxbuf h = { .hdr = { .flags = r->flags,
						       .gso_type = r->gso,
						       .gso_size = r->gso_size,
						       .csum_start = r->start,
						       .csum_offset = r->off,
						       .hdr_len = 54 } };
	uint8_t f[65600];
	uint32_t len = l4_frame(f, r->v6, r->proto, payload);
	int head = fg_tx(g, TXQ, &h, f, len, FG_JOINED);

	fg_kick(g, TXQ);
	fg_run(g);
	return head;
}

static void test_requests_reach_the_wire(void **state)
{
	static const struct request good[] = {
		{ 1, 0, 0, 34, 16, false, 6 },
		{ 1, VIRTIO_NET_HDR_GSO_TCPV4, 1448, 34, 16, false, 6 },
		{ 1, VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN, 1448, 34, 16, false, 6 },
		{ 1, VIRTIO_NET_HDR_GSO_TCPV6, 1428, 54, 16, true, 6 },
		{ 1, VIRTIO_NET_HDR_GSO_UDP, 1480, 34, 6, false, 17 },
		{ 1, VIRTIO_NET_HDR_GSO_UDP_L4, 1400, 34, 6, false, 17 },
	};
	struct fg *g = start(0, 256);

	for (unsigned int i = 0; i < array_size(good); i++) {
		const struct twx_meta *m;

		send_request(g, &good[i], 9000);
		assert_int_equal(g->wire->n_frames, i + 1);
		m = &g->wire->frames[i].meta;
		assert_true(m->flags & TWX_F_NEEDS_CSUM);
		assert_int_equal(!!(m->flags & TWX_F_ECN), i == 2);
		assert_int_equal(m->gso, good[i].gso & ~VIRTIO_NET_HDR_GSO_ECN);
		assert_int_equal(m->gso_size, good[i].gso_size);
		assert_int_equal(m->csum_start, good[i].start);
		assert_int_equal(m->csum_off, good[i].off);
	}
	fg_free(g);
}

/* A header length is a hint: beyond the frame it says nothing. */
static void test_header_length_hint(void **state)
{
	struct virtio_net_hdr_mrg_rxbuf h = { .hdr = { .flags = 1, .csum_start = 34 } };
	struct fg *g = start(0, 256);
	uint8_t f[100];

	fg_frame(f, sizeof(f), 1);
	for (unsigned int i = 0; i < 2; i++) {
		h.hdr.hdr_len = (uint16_t)(100 + i);
		fg_tx(g, TXQ, &h, f, sizeof(f), FG_JOINED);
		fg_kick(g, TXQ);
		assert_int_equal(g->wire->frames[i].meta.hdr_len, i ? 0 : 100);
	}
	fg_free(g);
}

static void test_senseless_requests_are_dropped(void **state)
{
	static const struct request bad[] = {
		{ 1, 0, 0, 154, 0, false, 6 },	       /* starts at the end */
		{ 1, 0, 0, 34, 119, false, 6 },	       /* ends one byte behind it */
		{ 1, 0, 0, 0xffff, 0xffff, false, 6 }, /* wraps in 16 bits */
		{ 1, 0, 0, 13, 0, false, 6 },	       /* inside the Ethernet header */
		{ 1, VIRTIO_NET_HDR_GSO_TCPV4, 0, 34, 16, false, 6 },
		{ 0, VIRTIO_NET_HDR_GSO_TCPV4, 1448, 34, 16, false, 6 },
		{ 1, 2, 1448, 34, 16, false, 6 },
		{ 1, 0x7f, 1448, 34, 16, false, 6 },
		{ 1, VIRTIO_NET_HDR_GSO_ECN, 1448, 34, 16, false, 6 },
	};
	struct fg *g = start(0, 256);

	for (unsigned int i = 0; i < array_size(bad); i++) {
		int head = send_request(g, &bad[i], 100);

		assert_int_equal(g->wire->n_frames, 0);
		assert_int_equal(drops(g, TWX_DROP_BAD_META), i + 1);
		assert_all_used(g, &head, 1);
	}
	send_plain(g, 60, 1);
	fg_kick(g, TXQ);
	fg_run(g);
	assert_int_equal(g->wire->n_frames, 1);
	fg_free(g);
}

static void test_requests_need_their_feature(void **state)
{
	static const struct {
		struct request r;
		unsigned int bit;
	} all[] = {
		{ { 1, 0, 0, 34, 16, false, 6 }, VIRTIO_NET_F_CSUM },
		{ { 1, VIRTIO_NET_HDR_GSO_TCPV4, 1448, 34, 16, false, 6 }, VIRTIO_NET_F_HOST_TSO4 },
		{ { 1, VIRTIO_NET_HDR_GSO_TCPV6, 1428, 54, 16, true, 6 }, VIRTIO_NET_F_HOST_TSO6 },
		{ { 1, VIRTIO_NET_HDR_GSO_UDP, 1480, 34, 6, false, 17 }, VIRTIO_NET_F_HOST_UFO },
		{ { 1, VIRTIO_NET_HDR_GSO_UDP_L4, 1400, 34, 6, false, 17 }, VIRTIO_NET_F_HOST_USO },
		{ { 1, VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN, 1448, 34, 16, false, 6 },
		  VIRTIO_NET_F_HOST_ECN },
	};

	for (unsigned int i = 0; i < array_size(all); i++) {
		struct fg *g = start(FG_BIT(all[i].bit) | FG_BIT(VIRTIO_NET_F_GSO), 256);

		send_request(g, &all[i].r, 9000);
		assert_int_equal(g->wire->n_frames, 0);
		assert_int_equal(drops(g, TWX_DROP_BAD_META), 1);
		fg_free(g);
	}
}

static void test_sizes(void **state)
{
	struct fg *g = start(0, 256);
	uint8_t f[70000];

	memset(f, 0, sizeof(f));
	fg_tx(g, TXQ, NULL, f, 13, FG_SPLIT);
	fg_tx(g, TXQ, NULL, f, 0, FG_SPLIT);
	fg_tx(g, TXQ, NULL, f, TWX_FRAME_MAX + 1, FG_SPLIT);
	fg_add(g, TXQ, &(struct fg_buf){ FG_BASE, 11, false }, 1, false);
	fg_add(g, TXQ, &(struct fg_buf){ FG_BASE, 2000, true }, 1, false);
	send_plain(g, 60, 9);
	fg_kick(g, TXQ);
	fg_run(g);
	assert_int_equal(drops(g, TWX_DROP_TOO_SHORT), 2);
	assert_int_equal(drops(g, TWX_DROP_TOO_LONG), 1);
	assert_int_equal(drops(g, TWX_DROP_BAD_CHAIN), 2);
	assert_int_equal(g->wire->n_frames, 1);
	assert_frame(g, 0, 60, 9);
	assert_int_equal(fg_used_idx(g, TXQ), 6);
	assert_int_equal(g->q[TXQ].broken, 0);
	fg_free(g);
}

static void test_retention(void **state)
{
	struct fg *g = start(EVENT, 256);

	g->wire->room = 3;
	for (uint8_t i = 0; i < 10; i++)
		send_plain(g, 300, i);
	fg_kick(g, TXQ);
	fg_run(g);
	assert_int_equal(g->wire->n_frames, 3);
	assert_int_equal(fg_used_idx(g, TXQ), 3);
	/* Another doorbell changes nothing, nor does a ready that takes two. */
	fg_kick(g, TXQ);
	fg_run(g);
	assert_int_equal(g->wire->n_frames, 3);
	g->wire->room = 2;
	twx_port_ready(g->wire->port);
	fg_run(g);
	assert_int_equal(g->wire->n_frames, 5);
	g->wire->room = ~0u;
	twx_port_ready(g->wire->port);
	fg_run(g);
	assert_int_equal(g->wire->n_frames, 10);
	for (uint8_t i = 0; i < 10; i++)
		assert_frame(g, i, 300, i);
	assert_int_equal(fg_used_idx(g, TXQ), 10);
	assert_true(fg_doorbells(g, TXQ)); /* doorbells are on again */
	fg_free(g);
}

static void test_doorbells_stay_off_while_blocked(void **state)
{
	struct fg *g = start(EVENT, 256);

	g->wire->room = 0;
	send_plain(g, 300, 1);
	fg_kick(g, TXQ);
	fg_run(g);
	assert_false(fg_doorbells(g, TXQ));
	assert_int_equal(twx_loop_poll(g->loop, 0), 0); /* and nobody polls */
	fg_free(g);
}

static void test_retained_frames_survive_a_new_memory_table(void **state)
{
	struct fg *g = start(0, 256);

	g->wire->room = 1;
	for (uint8_t i = 0; i < 5; i++)
		send_plain(g, 1000, i);
	fg_kick(g, TXQ);
	fg_run(g);
	assert_int_equal(g->wire->n_frames, 1);
	fg_remap(g);
	g->wire->room = ~0u;
	twx_port_ready(g->wire->port);
	fg_run(g);
	assert_int_equal(g->wire->n_frames, 5);
	for (uint8_t i = 0; i < 5; i++)
		assert_frame(g, i, 1000, i);
	fg_free(g);
}

static void test_stop_and_resume_elsewhere(void **state)
{
	struct fg *g = start(0, 256);
	struct virtio_ring ring;
	uint16_t base;

	g->wire->room = 2;
	for (uint8_t i = 0; i < 6; i++)
		send_plain(g, 100, i);
	fg_kick(g, TXQ);
	base = virtio_queue_stop(g->dev, TXQ);
	assert_int_equal(base, fg_base(g, TXQ, 2));
	assert_int_equal(fg_used_idx(g, TXQ), 2);
	fg_kick(g, TXQ); /* ignored */
	g->wire->room = ~0u;
	twx_port_ready(g->wire->port);
	fg_run(g);
	assert_int_equal(g->wire->n_frames, 2);
	ring = fg_ring(g, &g->q[TXQ]);
	assert_int_equal(virtio_queue_setup(g->dev, TXQ, 256, &ring, base), 0);
	virtio_queue_start(g->dev, TXQ);
	fg_run(g); /* no doorbell is needed for what waited */
	assert_int_equal(g->wire->n_frames, 6);
	for (uint8_t i = 0; i < 6; i++)
		assert_frame(g, i, 100, i);
	fg_free(g);
}

static void test_reset_at_any_time(void **state)
{
	for (int when = 0; when < 4; when++) {
		struct fg *g = start(0, 256);

		g->wire->room = when == 2 ? 1 : ~0u;
		for (uint8_t i = 0; i < 6; i++)
			send_plain(g, 100, i);
		if (when >= 1)
			fg_kick(g, TXQ);
		if (when == 3)
			fg_run(g);
		for (int again = 0; again < 3; again++)
			virtio_reset(g->dev);
		fg_run(g);
		fg_kick(g, TXQ);
		fg_wire_clear(g->wire);
		g->wire->room = ~0u;
		twx_port_ready(g->wire->port);
		fg_start(g, g->dev->offered, 3, 128);
		send_plain(g, 77, 3);
		fg_kick(g, TXQ);
		fg_run(g);
		assert_int_equal(g->wire->n_frames, 1);
		assert_frame(g, 0, 77, 3);
		fg_free(g);
	}
}

static void test_budget_per_doorbell(void **state)
{
	struct fg *g = start(EVENT, 1024);

	for (unsigned int i = 0; i < 500; i++)
		send_plain(g, 60, (uint8_t)i);
	fg_kick(g, TXQ);
	assert_int_equal(g->wire->n_frames, 256);
	fg_run(g);
	assert_int_equal(g->wire->n_frames, 500);
	assert_int_equal(g->wire->n_bursts, 500 / 64 + 1);
	assert_true(g->q[TXQ].irqs <= 2);
	fg_free(g);
}

static void test_frames_after_the_doorbell(void **state)
{
	struct fg *g = start(EVENT, 256);

	send_plain(g, 60, 1);
	fg_kick(g, TXQ);
	assert_int_equal(g->wire->n_frames, 1);
	assert_false(fg_doorbells(g, TXQ));
	send_plain(g, 60, 2); /* the guest sees that no doorbell is wanted */
	fg_run(g);
	assert_int_equal(g->wire->n_frames, 2);
	assert_true(fg_doorbells(g, TXQ));
	fg_free(g);
}

static void test_event_index_doorbells(void **state)
{
	struct fg *g = start(0, 256);

	for (uint16_t i = 1; i < 300; i++) {
		send_plain(g, 60, 1);
		fg_kick(g, TXQ);
		fg_run(g);
		assert_int_equal(fg_avail_event(g, TXQ), i);
		assert_int_equal(fg_used(g, TXQ, NULL) >= 0, 1);
	}
	fg_free(g);
}

static void test_event_index_interrupts(void **state)
{
	struct fg *g = start(0, 256);
	const struct twx_counters *c = &g->nic->ports[0]->count;

	/* The first interrupt after a start always comes. */
	fg_set_used_event(g, TXQ, 0x8000);
	send_plain(g, 60, 1);
	fg_kick(g, TXQ);
	fg_run(g);
	assert_int_equal(g->q[TXQ].irqs, 1);
	/* 20 frames, one by one; the guest asks for an interrupt when entry 9 is used. */
	fg_set_used_event(g, TXQ, 9);
	for (unsigned int i = 1; i < 21; i++) {
		send_plain(g, 60, 1);
		fg_kick(g, TXQ);
		fg_run(g);
		assert_int_equal(g->q[TXQ].irqs, i < 9 ? 1 : 2);
	}
	assert_int_equal(c->signals, 2);
	assert_int_equal(c->signals_skipped, 19);
	assert_int_equal(c->kicks, 21);
	fg_free(g);
}

static void test_interrupt_flag(void **state)
{
	struct fg *g = start(EVENT, 256);

	fg_set_no_interrupt(g, TXQ, true);
	send_plain(g, 60, 1);
	fg_kick(g, TXQ);
	fg_run(g);
	assert_int_equal(g->q[TXQ].irqs, 0);
	fg_set_no_interrupt(g, TXQ, false);
	send_plain(g, 60, 1);
	fg_kick(g, TXQ);
	fg_run(g);
	assert_int_equal(g->q[TXQ].irqs, 1);
	fg_free(g);
}

static void scribble(struct fg_wire *w, const struct twx_frame *f)
{
	struct fg *g = w->hook_data;

	memset(g->ram, 0xee, FG_RAM);
	assert_true((uint8_t *)f->iov[0].iov_base < g->ram ||
		    (uint8_t *)f->iov[0].iov_base >= g->ram + FG_RAM);
}

static void test_headers_are_private(void **state)
{
	struct fg *g = start(0, 256);
	uint8_t f[1514];

	g->wire->hook = scribble;
	g->wire->hook_data = g;
	fg_frame(f, sizeof(f), 1);
	fg_tx(g, TXQ, NULL, f, sizeof(f), FG_JOINED);
	fg_kick(g, TXQ);
	assert_int_equal(g->wire->frames[0].len, sizeof(f));
	assert_memory_equal(g->wire->frames[0].data, f, TWX_HDR_ROOM);
	assert_int_equal(g->wire->frames[0].data[TWX_HDR_ROOM], 0xee);
	fg_free(g);
}

static void test_link_down(void **state)
{
	struct fg *g = start(0, 256);

	twx_port_set_link(g->nic->ports[0], false);
	send_plain(g, 60, 1);
	fg_kick(g, TXQ);
	fg_run(g);
	assert_int_equal(g->wire->n_frames, 0);
	assert_int_equal(fg_used_idx(g, TXQ), 1);
	assert_int_equal(drops(g, TWX_DROP_LINK_DOWN), 1);
	twx_port_set_link(g->nic->ports[0], true);
	send_plain(g, 60, 1);
	fg_kick(g, TXQ);
	fg_run(g);
	assert_int_equal(g->wire->n_frames, 1);
	fg_free(g);
}

static void test_info_learns_the_mac(void **state)
{
	struct fg *g = start(0, 256);
	char text[128];

	g->nic->ports[0]->ops->info(g->nic->ports[0], text, sizeof(text));
	assert_string_equal(text, "model=virtio-net,macaddr=52:54:00:aa:bb:cc");
	send_plain(g, 60, 1);
	fg_kick(g, TXQ);
	g->nic->ports[0]->ops->info(g->nic->ports[0], text, sizeof(text));
	assert_string_equal(text, "model=virtio-net,macaddr=02:00:00:00:00:01");
	fg_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layouts_modern),
		cmocka_unit_test(test_layouts_legacy),
		cmocka_unit_test(test_layouts_legacy_mergeable),
		cmocka_unit_test(test_across_regions),
		cmocka_unit_test(test_requests_reach_the_wire),
		cmocka_unit_test(test_header_length_hint),
		cmocka_unit_test(test_senseless_requests_are_dropped),
		cmocka_unit_test(test_requests_need_their_feature),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_retention),
		cmocka_unit_test(test_doorbells_stay_off_while_blocked),
		cmocka_unit_test(test_retained_frames_survive_a_new_memory_table),
		cmocka_unit_test(test_stop_and_resume_elsewhere),
		cmocka_unit_test(test_reset_at_any_time),
		cmocka_unit_test(test_budget_per_doorbell),
		cmocka_unit_test(test_frames_after_the_doorbell),
		cmocka_unit_test(test_event_index_doorbells),
		cmocka_unit_test(test_event_index_interrupts),
		cmocka_unit_test(test_interrupt_flag),
		cmocka_unit_test(test_headers_are_private),
		cmocka_unit_test(test_link_down),
		cmocka_unit_test(test_info_learns_the_mac),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
