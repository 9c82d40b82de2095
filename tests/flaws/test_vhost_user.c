/* SPDX-License-Identifier: BSD-3-Clause */
/* Flaws that vhost-user back ends and vhost have had, replayed against virtio-net behind ours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <cmocka.h>

#include "vhost_client.h"

#define HDR 12 /* virtio-net header, VERSION_1 */

static struct vbench bench;
static struct vc client;

/* The other end of the cable: keeps what the guest sent last. */
static unsigned int sink_ports = 1;
static struct sink {
	struct twx_port *port, *second;
	unsigned int frames;
	uint32_t len;
	struct twx_meta meta;
	uint8_t data[4096];
} sink;

static int sink_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	(void)port;
	for (int i = 0; i < n; i++) {
		const struct twx_frame *f = &frames[i];
		uint32_t at = 0;

		sink.frames++;
		sink.len = f->len;
		sink.meta = f->meta;
		for (uint32_t k = 0; k < f->n_iov; k++) {
			uint32_t len = (uint32_t)f->iov[k].iov_len;

			if (at + len <= sizeof(sink.data))
				memcpy(sink.data + at, f->iov[k].iov_base, len);
			at += len;
		}
	}
	return n;
}

static int sink_open(struct twx_backend *b, const struct twx_opts *opts, struct twx_error *e)
{
	struct twx_caps caps = { .flags = TWX_CAP_CSUM | TWX_CAP_TSO4 | TWX_CAP_TSO6 | TWX_CAP_ECN |
					  TWX_CAP_UFO | TWX_CAP_USO };

	(void)opts;
	memset(&sink, 0, sizeof(sink));
	sink.port = twx_backend_add_port(b, e);
	if (sink_ports > 1)
		sink.second = twx_backend_add_port(b, e);
	if (sink.port == NULL)
		return -1;
	twx_port_set_caps(sink.port, caps);
	return 0;
}

static void sink_close(struct twx_backend *b)
{
	(void)b;
}

static const struct twx_port_ops sink_ops = { .receive = sink_receive };
static const struct twx_opt_desc no_options[] = { { NULL } };
static const struct twx_backend_type sink_type = {
	.name = "sink", .help = "keeps the last frame", .options = no_options, .port_ops = &sink_ops,
	.priv_size = 1, .open = sink_open, .close = sink_close,
};

static int open_bench(void **state)
{
	struct twx_backend *b;

	(void)state;
	if (vbench_open_net(&bench) < 0 || twx_net_add_backend_type(bench.net, &sink_type) < 0 ||
	    twx_backend_new(&b, bench.net, "sink,id=n0", &bench.e) < 0 ||
	    vbench_open_nic(&bench, "virtio-net,netdev=n0") < 0)
		fail_msg("%s", bench.e.what);
	vc_init(&client, &bench);
	vc_handshake(&client);
	return 0;
}

static int close_bench(void **state)
{
	(void)state;
	vc_fini(&client);
	vbench_close(&bench);
	return 0;
}

static int open_two_pairs(void **state)
{
	int rc;

	sink_ports = 2;
	rc = open_bench(state);
	sink_ports = 1;
	return rc;
}

static uint8_t *at(uint64_t gpa_addr)
{
	return client.mem + (gpa_addr - VC_GPA);
}

#define BUF (VC_GPA + VC_BUF)

/* A frame of @len bytes with its header, in place. */
static void put_frame(uint64_t gpa_addr, uint32_t len, struct virtio_net_hdr h)
{
	memset(at(gpa_addr), 0, HDR);
	memcpy(at(gpa_addr), &h, sizeof(h));
	for (uint32_t i = 0; i < len; i++)
		*at(gpa_addr + HDR + i) = (uint8_t)(i * 7 + 1);
}

/* The device still carries frames, both ways. */
static void assert_works(void)
{
	static const struct virtio_net_hdr none;
	unsigned int before = sink.frames;
	uint8_t frame[64] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1 };
	struct iovec iov = { frame, sizeof(frame) };
	struct twx_frame f = { .iov = &iov, .n_iov = 1, .len = sizeof(frame) };
	uint32_t len = 0;

	while (vc_used(&client, 0, NULL) || vc_used(&client, 1, NULL))
		;
	put_frame(BUF + 0x8000, 60, none);
	vc_offer(&client, 1, BUF + 0x8000, HDR + 60, false);
	vc_kick(&client, 1);
	assert_int_equal(sink.frames, before + 1);
	assert_int_equal(sink.len, 60);
	assert_memory_equal(sink.data, at(BUF + 0x8000 + HDR), 60);
	assert_true(vc_used(&client, 1, NULL));
	vc_offer(&client, 0, BUF + 0x9000, 2048, true);
	vc_kick(&client, 0);
	assert_int_equal(twx_port_send(sink.port, &f, 1), 1);
	vbench_pump(&bench);
	assert_true(vc_used(&client, 0, &len));
	assert_true(len >= HDR + 14);
}

/* A new front end finds the device whole. */
static void assert_works_again(void)
{
	vc_handshake(&client);
	assert_works();
}

static void send_chain(uint64_t table, const struct vring_desc *d, uint32_t n)
{
	memcpy(at(table), d, n * sizeof(*d));
	vc_offer_table(&client, 1, table, n);
	vc_kick(&client, 1);
}

/* CVE-2018-1059: an address translated without its length. */
static void test_2018_1059(void **state)
{
	/* Adjacent for the guest, far apart and in reverse order in the file. */
	union vu_payload p = { .table = { 2, 0, {
		{ VC_GPA, VC_MEM / 2, VC_USER, 0 },
		{ VC_GPA + VC_MEM / 2, 4096, VC_USER + 0x10000000, VC_MEM - 4096 },
	} } };
	const uint64_t border = VC_GPA + VC_MEM / 2, end = border + 4096;
	int fds[2] = { client.memfd, client.memfd };
	static const struct virtio_net_hdr none;

	(void)state;
	assert_int_equal(vc_ask(&client, VU_SET_MEM_TABLE, &p, 8 + 64, fds, 2), 0);
	/* 100 bytes lie at the first region's end, the rest in the other: found there, not behind the first. */
	put_frame(border - HDR - 100, 100, none);
	memset(client.mem + VC_MEM / 2, 0xee, 2000);
	memset(client.mem + VC_MEM - 4096, 0x55, 2000);
	vc_offer(&client, 1, border - HDR - 100, HDR + 1100, false);
	vc_kick(&client, 1);
	assert_int_equal(sink.frames, 1);
	assert_int_equal(sink.len, 1100);
	assert_int_equal(sink.data[99], (uint8_t)(99 * 7 + 1));
	for (int i = 100; i < 1100; i++)
		assert_int_equal(sink.data[i], 0x55);
	/* Past the end of both, by one byte, and from the far side of the wrap. */
	vc_offer(&client, 1, end - 200, 201, false);
	vc_offer(&client, 1, end, 100, false);
	vc_offer(&client, 1, ~0ull - 50, 100, false);
	vc_offer(&client, 1, border - 200, 0xffffffff, false);
	vc_kick(&client, 1);
	for (int i = 0; i < 5; i++)
		assert_true(vc_used(&client, 1, NULL));
	assert_int_equal(sink.frames, 1);
	/* An indirect table that runs out of memory. */
	vc_offer_table(&client, 1, end - 16, 2);
	vc_kick(&client, 1);
	assert_int_equal(sink.frames, 1);
	assert_works_again();
}

/* CVE-2019-14818: fds that a message does not expect. */
static void test_2019_14818(void **state)
{
	static const uint32_t requests[] = { VU_SET_OWNER, VU_RESET_OWNER, VU_GET_FEATURES, VU_SET_FEATURES,
					     VU_SET_VRING_NUM, VU_GET_VRING_BASE, VU_SET_VRING_ENABLE,
					     VU_GET_PROTOCOL_FEATURES, VU_SEND_RARP };
	uint64_t zero[1] = { 0 };
	int fds[8], before;

	(void)state;
	for (int i = 0; i < 8; i++)
		fds[i] = client.memfd;
	vc_connect(&client);
	before = open_fds();
	for (size_t r = 0; r < sizeof(requests) / sizeof(requests[0]); r++) {
		for (int n = 1; n <= 8; n++) {
			vc_connect(&client);
			vc_send(&client, requests[r], 0, zero, n % 2 ? 8 : 0, fds, n);
			assert_false(vc_alive(&client));
		}
	}
	vc_connect(&client);
	assert_int_equal(open_fds(), before);
	vc_features(&client);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(vc_ask_state(&client, VU_SET_VRING_NUM, 0, 64), 0);
	assert_int_equal(open_fds(), before);
	assert_works_again();
}

/* CVE-2020-10723: the index cut to 16 bits for the check. */
static void test_2020_10723(void **state)
{
	(void)state;
	for (uint32_t n = 0; n < 4; n++) {
		struct vhost_vring_addr a = vc_addr(0);

		a.index = 0x10000 + n;
		assert_int_equal(vc_ask_state(&client, VU_SET_VRING_NUM, 0x10000 + n, 64), 1);
		assert_int_equal(vc_ask_state(&client, VU_SET_VRING_BASE, 0x10000 + n, 0), 1);
		assert_int_equal(vc_ask(&client, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 1);
	}
	assert_works();
}

/* CVE-2020-10725: null translation of an unmapped address with length 0; packed rings: test_virtio.c. */
static void test_2020_10725(void **state)
{
	struct vring_desc d[3] = { { BUF, HDR, VRING_DESC_F_NEXT, 1 },
				   { 0x10, 0, VRING_DESC_F_NEXT, 2 },
				   { BUF + HDR, 60, 0, 0 } };

	(void)state;
	vc_offer(&client, 1, 0, 0, false);
	vc_offer(&client, 1, ~0ull, 0, false);
	vc_kick(&client, 1);
	send_chain(BUF + 0x4000, d, 3);
	vc_offer(&client, 0, 0, 0, true);
	vc_kick(&client, 0);
	assert_works_again();
}

/* CVE-2022-2132: the header spread over many descriptors, and chains that are no longer than it. */
static void test_2022_2132(void **state)
{
	static const struct virtio_net_hdr none;
	struct vring_desc d[13];

	(void)state;
	put_frame(BUF, 60, none);
	for (uint16_t i = 0; i < 12; i++)
		d[i] = (struct vring_desc){ BUF + i, 1, VRING_DESC_F_NEXT, (uint16_t)(i + 1) };
	d[12] = (struct vring_desc){ BUF + HDR, 60, 0, 0 };
	send_chain(BUF + 0x4000, d, 13);
	assert_int_equal(sink.frames, 1);
	assert_int_equal(sink.len, 60);
	assert_memory_equal(sink.data, at(BUF + HDR), 60);
	for (uint32_t total = 0; total < HDR + 14; total++)
		vc_offer(&client, 1, BUF, total, false);
	vc_kick(&client, 1);
	for (uint32_t total = 0; total < HDR + 14 + 1; total++)
		assert_true(vc_used(&client, 1, NULL));
	assert_int_equal(sink.frames, 1);
	assert_works();
}

/* CVE-2024-11614 and gso_size 0 (2024): requests that do not fit the frame never reach the other end. */
static void test_offload_requests(void **state)
{
	static const struct virtio_net_hdr bad[] = {
		{ .flags = 1, .csum_start = 60, .csum_offset = 0 },
		{ .flags = 1, .csum_start = 0xffff, .csum_offset = 0 },
		{ .flags = 1, .csum_start = 34, .csum_offset = 25 },
		{ .flags = 1, .csum_start = 34, .csum_offset = 0xffff },
		{ .flags = 1, .csum_start = 0xfff0, .csum_offset = 0x20 },
		{ .flags = 1, .gso_type = 1, .hdr_len = 54, .gso_size = 0, .csum_start = 34, .csum_offset = 16 },
		{ .flags = 1, .gso_type = 4, .hdr_len = 54, .gso_size = 0, .csum_start = 34, .csum_offset = 16 },
		{ .flags = 1, .gso_type = 0x7f, .hdr_len = 54, .gso_size = 100, .csum_start = 34, .csum_offset = 16 },
		{ .flags = 0, .gso_type = 1, .hdr_len = 54, .gso_size = 100 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		put_frame(BUF, 60, bad[i]);
		vc_offer(&client, 1, BUF, HDR + 60, false);
		vc_kick(&client, 1);
		assert_true(vc_used(&client, 1, NULL));
		if (sink.frames != 0)
			fail_msg("request %zu passed", i);
	}
	assert_works();
}

/* DPDK, 2023: fds leak when the payload or the control data is cut. */
static void test_truncation(void **state)
{
	uint8_t big[sizeof(struct vu_header) + 600] = { 0 };
	struct vu_header *h = (struct vu_header *)big;
	union vu_payload p = { .table = { .n = 8 } };
	int fds[64], before;

	(void)state;
	for (int i = 0; i < 64; i++)
		fds[i] = client.memfd;
	vc_connect(&client);
	before = open_fds();
	for (int i = 0; i < 50; i++) {
		vc_connect(&client);
		*h = (struct vu_header){ VU_SET_MEM_TABLE, VU_VERSION, 600 };
		vc_raw(&client, big, sizeof(big), fds, 1 + i % 8);
		assert_false(vc_alive(&client));
		/* More than a message may have: the kernel cuts the control data. */
		vc_connect(&client);
		*h = (struct vu_header){ VU_SET_MEM_TABLE, VU_VERSION, 264 };
		vc_raw(&client, big, sizeof(*h) + 264, fds, 9 + i);
		assert_false(vc_alive(&client));
		/* Spread over the pieces of one message. */
		vc_connect(&client);
		vc_raw(&client, big, sizeof(*h), fds, 5);
		vc_raw(&client, big + sizeof(*h), 264, fds, 5);
		assert_false(vc_alive(&client));
	}
	/* Nothing is wrong with it but that one fd has no region. */
	for (uint64_t i = 0; i < 8; i++)
		p.table.regions[i] = (struct vu_region){ i << 20, 4096, i << 20, 0 };
	vc_connect(&client);
	vc_send(&client, VU_SET_MEM_TABLE, 0, &p, 264, fds, 9);
	assert_false(vc_alive(&client));
	vc_connect(&client);
	assert_int_equal(open_fds(), before);
	assert_works_again();
}

/* libvhost-user, 2021-22: slots of the wrong shape; removing the first of several spoils no other. */
static void test_slots(void **state)
{
	union vu_payload p = { .slot = { 0, { 0, 4096, 0x1000, 0 } } };
	int fds[2] = { client.memfd, client.memfd };

	(void)state;
	for (int n = 0; n <= 2; n++) {
		for (uint32_t len = 0; len <= 48; len += 8) {
			uint32_t request = n % 2 ? VU_REM_MEM_REG : VU_ADD_MEM_REG;

			if (len == 40 && n < 2 && request == VU_REM_MEM_REG)
				continue;
			vc_handshake(&client);
			vc_send(&client, request, 0, &p, len, fds, n);
			assert_false(vc_alive(&client));
		}
	}
	vc_handshake(&client);
	for (uint64_t i = 0; i < 8; i++) {
		p.slot.region.gpa = i * 8192;
		p.slot.region.user = 0x10000 + i * 8192;
		assert_int_equal(vc_ask(&client, VU_ADD_MEM_REG, &p, 40, fds, 1), 0);
	}
	for (uint64_t i = 0; i < 8; i++) {
		p.slot.region.gpa = i * 8192;
		p.slot.region.user = 0x10000 + i * 8192;
		assert_int_equal(vc_ask(&client, VU_REM_MEM_REG, &p, 40, NULL, 0), 0);
		assert_works();
	}
}

/* CVE-2019-3900: one-byte buffers while the peer floods; work is bounded and the loop goes on. */
static void test_2019_3900(void **state)
{
	uint8_t frame[1514] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1 };
	struct iovec iov = { frame, sizeof(frame) };
	struct twx_frame f[TWX_BURST];

	(void)state;
	for (int i = 0; i < TWX_BURST; i++)
		f[i] = (struct twx_frame){ .iov = &iov, .n_iov = 1, .len = sizeof(frame) };
	for (int i = 0; i < VC_NUM; i++)
		vc_offer(&client, 0, BUF + (uint64_t)i, 1, true);
	vc_kick(&client, 0);
	for (int i = 0; i < 1000; i++) {
		(void)twx_port_send(sink.port, f, TWX_BURST);
		twx_loop_poll(bench.loop, 0);
	}
	/* The control socket was served throughout. */
	assert_int_equal(vc_ask_state(&client, VU_SET_VRING_ENABLE, 1, 1), 0);
	assert_works_again();
}

/* rust-vmm, 2022-23: more available than the ring holds; doorbells of rings that are not ready. */
static void test_avail_gap(void **state)
{
	struct vring_avail *avail = (void *)(client.mem + VC_RING_STEP + 0x1000);

	(void)state;
	avail->idx = VC_NUM + 1;
	vc_kick(&client, 1);
	assert_int_equal(sink.frames, 0);
	assert_non_null(strstr(bench.log, "queue 1 is malformed"));
	assert_true(vc_alive(&client));
	vc_connect(&client);
	vc_features(&client);
	assert_int_equal(vc_ring_kick_fd(&client, 1), 0);
	assert_int_equal(vc_ask_state(&client, VU_SET_VRING_ENABLE, 1, 1), 0);
	vc_kick(&client, 1);
	assert_int_equal(vc_mem_table(&client, 1), 0);
	vc_kick(&client, 1);
	vc_send(&client, 0xffffffff, 0, NULL, 0, NULL, 0);
	assert_false(vc_alive(&client));
	assert_works_again();
}

/* A used ring that moves takes the wish for doorbells along, or the guest would never ring again. */
static void test_moved_ring_asks_for_doorbells(void **state)
{
	struct vhost_vring_addr a = vc_addr(1);
	uint8_t *from = client.mem + VC_RING_STEP + 0x2000, *to = from + 0x1000;
	struct vring_avail *avail = (void *)(client.mem + VC_RING_STEP + 0x1000);

	(void)state;
	assert_works();
	memcpy(to, from, 4 + 8 * VC_NUM);
	memset(to + 4 + 8 * VC_NUM, 0x77, 2); /* avail_event */
	a.used_user_addr += 0x1000;
	assert_int_equal(vc_ask(&client, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	vbench_pump(&bench);
	assert_memory_equal(to + 4 + 8 * VC_NUM, &avail->idx, 2);
	assert_works_again();
}

/* QEMU negotiates the control queue and answers it itself: pairs receive when their rings run. */
static void test_foreign_control_queue(void **state)
{
	uint8_t frame[64] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1 };
	struct iovec iov = { frame, sizeof(frame) };
	struct twx_frame f = { .iov = &iov, .n_iov = 1, .len = sizeof(frame) };

	(void)state;
	for (uint32_t q = 2; q < 4; q++) {
		assert_int_equal(vc_ring_setup(&client, q), 0);
		assert_int_equal(vc_ring_kick_fd(&client, q), 0);
		assert_int_equal(vc_ask_state(&client, VU_SET_VRING_ENABLE, q, 1), 0);
	}
	vc_offer(&client, 0, BUF, 2048, true);
	vc_offer(&client, 2, BUF + 0x1000, 2048, true);
	vc_kick(&client, 0);
	vc_kick(&client, 2);
	assert_int_equal(twx_port_send(sink.second, &f, 1), 1);
	vbench_pump(&bench);
	assert_true(vc_used(&client, 2, NULL));
	assert_false(vc_used(&client, 0, NULL));
}

#define T(name) cmocka_unit_test_setup_teardown(test_##name, open_bench, close_bench)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(2018_1059), T(2019_14818), T(2020_10723), T(2020_10725), T(2022_2132),
		T(offload_requests), T(truncation), T(slots), T(2019_3900), T(avail_gap),
		T(moved_ring_asks_for_doorbells),
		cmocka_unit_test_setup_teardown(test_foreign_control_queue, open_two_pairs, close_bench),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
