/* SPDX-License-Identifier: BSD-3-Clause */
/* vhost-user messages: each one good, short, long, with wrong fds, wrong index, out of order. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "vhost_client.h"

static struct vbench bench;
static struct vc client;

static int open_bench(void **state)
{
	(void)state;
	if (vbench_open(&bench, NULL) < 0)
		fail_msg("%s", bench.e.what);
	vc_init(&client, &bench);
	return 0;
}

static int close_bench(void **state)
{
	(void)state;
	vc_fini(&client);
	vbench_close(&bench);
	return 0;
}

/* The next front end is served whatever the last one did. */
static void assert_serves(struct vc *c)
{
	vc_handshake(c);
	assert_true(vc_echo(c));
}

static void test_echo(void **state)
{
	char pid[32];

	(void)state;
	vc_handshake(&client);
	for (int i = 0; i < 1000; i++)
		assert_true(vc_echo(&client));
	assert_true(vc_calls(&client, 0) > 0);
	assert_int_equal(bench.echo->echoed, 1000);
	assert_non_null(strstr(bench.log, "connected"));
	snprintf(pid, sizeof(pid), "pid %d (", getpid());
	assert_non_null(strstr(bench.log, pid));
}

static void test_features(void **state)
{
	uint64_t f, p;

	(void)state;
	vc_connect(&client);
	f = vc_get(&client, VU_GET_FEATURES);
	assert_int_equal(f & bench.echo->dev.offered, bench.echo->dev.offered);
	assert_int_equal(f & ~bench.echo->dev.offered,
			 VU_F_PROTOCOL_FEATURES | VU_F_LOG_ALL | VU_F_ACCESS_PLATFORM);
	/* QEMU asks before it says SET_OWNER, and would warn of CONFIG. */
	p = vc_get(&client, VU_GET_PROTOCOL_FEATURES);
	assert_int_equal(p, VU_PROTOCOL_OFFERED & ~VU_BIT(VU_P_CONFIG));
	vc_send(&client, VU_SET_OWNER, 0, NULL, 0, NULL, 0);
	assert_int_equal(vc_get(&client, VU_GET_PROTOCOL_FEATURES), p);
	vc_connect(&client);
	vc_send(&client, VU_SET_OWNER, 0, NULL, 0, NULL, 0);
	f &= ~(VU_F_ACCESS_PLATFORM | VIRTIO_PACKED); /* for others than QEMU, see vhost_user_dev.c */
	assert_int_equal(vc_get(&client, VU_GET_FEATURES), f);
	p = vc_get(&client, VU_GET_PROTOCOL_FEATURES);
	assert_int_equal(p, VU_PROTOCOL_OFFERED);
	vc_send(&client, VU_SET_PROTOCOL_FEATURES, 0, &p, sizeof(p), NULL, 0);
	assert_int_equal(vc_get(&client, VU_GET_QUEUE_NUM), 2);
	assert_int_equal(vc_ask_u64(&client, VU_SET_FEATURES, f), 0);
	assert_int_equal(bench.echo->features, bench.echo->dev.offered & ~VIRTIO_PACKED);
	/* What was not offered is refused, and what was agreed stays. */
	assert_int_equal(vc_ask_u64(&client, VU_SET_FEATURES, f | 1ull << 63), 1);
	assert_int_equal(bench.echo->features, bench.echo->dev.offered & ~VIRTIO_PACKED);
	assert_int_equal(vc_ask_u64(&client, VU_SET_PROTOCOL_FEATURES, p | VU_BIT(VU_P_INBAND_NOTIFICATIONS)), 1);
	assert_true(vc_alive(&client));
}

/* While rings run only LOG_ALL may change. */
static void test_features_while_running(void **state)
{
	uint64_t f = (bench.echo->dev.offered & ~VIRTIO_PACKED) | VU_F_PROTOCOL_FEATURES;

	(void)state;
	vc_handshake(&client);
	assert_int_equal(vc_ask_u64(&client, VU_SET_FEATURES, f | VU_F_LOG_ALL), 0);
	assert_int_equal(vc_ask_u64(&client, VU_SET_FEATURES, f), 0);
	assert_int_equal(vc_ask_u64(&client, VU_SET_FEATURES, VU_F_PROTOCOL_FEATURES), 1);
	assert_true(vc_echo(&client));
}

/* Every request with its proper size and number of fds, and a payload that is valid in a handshake. */
static const struct good {
	uint32_t request, len;
	int n_fds;
	bool answers;
	union vu_payload p;
} goods[] = {
	{ VU_GET_FEATURES, 0, 0, true },
	{ VU_SET_FEATURES, 8, 0, false, { .u64 = 1ull << 30 } },
	{ VU_SET_OWNER, 0, 0 },
	{ VU_RESET_OWNER, 0, 0 },
	{ VU_SET_MEM_TABLE, 8 + 32, 1, false,
	  { .table = { 1, 0, { { VC_GPA, VC_MEM, VC_USER, 0 } } } } },
	{ VU_SET_LOG_BASE, 16, 1, true, { .log = { 4096, 0 } } },
	{ VU_SET_LOG_FD, 0, 1 },
	{ VU_SET_VRING_NUM, 8, 0, false, { .state = { 0, 64 } } },
	{ VU_SET_VRING_ADDR, 40, 0, false,
	  { .addr = { 0, 0, VC_USER, VC_USER + 0x2000, VC_USER + 0x1000, 0 } } },
	{ VU_SET_VRING_BASE, 8, 0, false, { .state = { 0, 0xffff } } },
	{ VU_GET_VRING_BASE, 8, 0, true, { .state = { 1, 0 } } },
	{ VU_SET_VRING_KICK, 8, 1, false, { .u64 = 2 } },
	{ VU_SET_VRING_CALL, 8, 1, false, { .u64 = 2 } },
	{ VU_SET_VRING_ERR, 8, 1, false, { .u64 = 2 } },
	{ VU_SET_VRING_KICK, 8, 0, false, { .u64 = VU_NOFD | 3 } },
	{ VU_SET_VRING_CALL, 8, 0, false, { .u64 = VU_NOFD | 3 } },
	{ VU_SET_VRING_ERR, 8, 0, false, { .u64 = VU_NOFD | 3 } },
	{ VU_GET_PROTOCOL_FEATURES, 0, 0, true },
	{ VU_SET_PROTOCOL_FEATURES, 8, 0, false, { .u64 = VU_PROTOCOL_OFFERED } },
	{ VU_GET_QUEUE_NUM, 0, 0, true },
	{ VU_SET_VRING_ENABLE, 8, 0, false, { .state = { 0, 1 } } },
	{ VU_SEND_RARP, 8, 0, false, { .raw = { 0x52, 0x54, 0, 1, 2, 3 } } },
	{ VU_NET_SET_MTU, 8, 0, false, { .u64 = 1500 } },
	{ VU_SET_BACKEND_REQ_FD, 0, 1 },
	{ VU_IOTLB_MSG, 26, 0, false, { .iotlb = { 0, 4096, 0, 0, VHOST_IOTLB_INVALIDATE } } },
	{ VU_GET_CONFIG, 12 + 6, 0, true, { .config = { 0, 6, 0, { 0 } } } },
	{ VU_SET_CONFIG, 12 + 6, 0, false, { .config = { 0, 6, 0, { 1, 2, 3, 4, 5, 6 } } } },
	{ VU_GET_INFLIGHT_FD, 20, 0, true, { .inflight = { 0, 0, 2, 64 } } },
	{ VU_SET_INFLIGHT_FD, 20, 1, false, { .inflight = { 2 * 1088, VC_BUF, 2, 64 } } },
	{ VU_GET_INFLIGHT_FD, 24, 0, true, { .inflight = { 0, 0, 2, 64 } } },
	{ VU_SET_INFLIGHT_FD, 24, 1, false, { .inflight = { 2 * 1088, VC_BUF, 2, 64 } } },
	{ VU_RESET_DEVICE, 0, 0 },
	{ VU_GET_MAX_MEM_SLOTS, 0, 0, true },
	{ VU_ADD_MEM_REG, 40, 1, false, { .slot = { 0, { VC_GPA, VC_MEM, VC_USER, 0 } } } },
	{ VU_SET_STATUS, 8, 0, false, { .u64 = 1 } },
	{ VU_GET_STATUS, 0, 0, true },
};
#define N_GOODS (sizeof(goods) / sizeof(goods[0]))

/* An fd that suits the request: memory where memory is asked for. */
static int suitable_fd(const struct vc *c, uint32_t request)
{
	if (request == VU_SET_MEM_TABLE || request == VU_ADD_MEM_REG || request == VU_SET_LOG_BASE ||
	    request == VU_SET_INFLIGHT_FD)
		return c->memfd;
	return c->q[2].call;
}

static void begin(struct vc *c)
{
	vc_connect(c);
	vc_features(c);
	assert_true(vc_alive(c));
}

static void send_variant(struct vc *c, const struct good *g, int len_delta, int n_fds, uint32_t flags)
{
	int fds[16];

	for (int i = 0; i < 16; i++)
		fds[i] = suitable_fd(c, g->request);
	vc_send(c, g->request, flags, &g->p, g->len + (uint32_t)len_delta, fds, n_fds);
}

static void test_each_good(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_GOODS; i++) {
		begin(&client);
		send_variant(&client, &goods[i], 0, goods[i].n_fds, VU_NEED_REPLY);
		if (vc_reply(&client) != 1)
			fail_msg("%s: no reply", vu_msg_name(goods[i].request));
		assert_int_equal(client.head.request, goods[i].request);
		assert_int_equal(client.head.flags, VU_VERSION | VU_REPLY);
		if (!goods[i].answers && client.reply.u64 != 0)
			fail_msg("%s: refused", vu_msg_name(goods[i].request));
		/* Exactly one answer, and none where none was asked for. */
		if (!goods[i].answers)
			send_variant(&client, &goods[i], 0, goods[i].n_fds,
				     goods[i].request == VU_ADD_MEM_REG ? VU_NEED_REPLY : 0);
		if (goods[i].request != VU_ADD_MEM_REG)
			assert_int_equal(vc_reply(&client), 0);
	}
	assert_serves(&client);
}

static void test_each_short_and_long(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_GOODS; i++) {
		const struct good *g = &goods[i];
		/* These have room for less (SET_MEM_TABLE) or something optional behind them. */
		bool lax = g->request == VU_SET_LOG_FD || g->request == VU_SET_BACKEND_REQ_FD ||
			   g->request == VU_GET_INFLIGHT_FD || g->request == VU_SET_INFLIGHT_FD ||
			   g->request == VU_IOTLB_MSG;

		if (g->len > 0) {
			begin(&client);
			send_variant(&client, g, -1, g->n_fds, VU_NEED_REPLY);
			if (vc_reply(&client) == 1 && client.reply.u64 == 0)
				fail_msg("%s: short payload accepted", vu_msg_name(g->request));
		}
		begin(&client);
		send_variant(&client, g, lax ? 9 : g->request == VU_SET_MEM_TABLE ? 8 * 32 : 1, g->n_fds, 0);
		if (vc_alive(&client))
			fail_msg("%s: long payload accepted", vu_msg_name(g->request));
	}
	assert_serves(&client);
}

static void test_each_wrong_fds(void **state)
{
	int before, counts[] = { 0, 1, 2, 8 };

	(void)state;
	begin(&client);
	before = open_fds();
	for (size_t i = 0; i < N_GOODS; i++) {
		for (size_t k = 0; k < sizeof(counts) / sizeof(counts[0]); k++) {
			if (counts[k] == goods[i].n_fds)
				continue;
			begin(&client);
			send_variant(&client, &goods[i], 0, counts[k], 0);
			if (vc_alive(&client))
				fail_msg("%s: %d fds accepted", vu_msg_name(goods[i].request), counts[k]);
		}
	}
	begin(&client);
	assert_int_equal(open_fds(), before);
	assert_serves(&client);
}

/* A queue that does not exist, also one whose low 16 bits name one that does. */
static void test_wrong_index(void **state)
{
	static const uint32_t indices[] = { ECHO_QUEUES, 0xff, 0x10000, 0x10001, 0x80000000, 0xffffffff };
	static const uint32_t with_state[] = { VU_SET_VRING_NUM, VU_SET_VRING_BASE, VU_SET_VRING_ENABLE };
	static const uint32_t with_fd[] = { VU_SET_VRING_KICK, VU_SET_VRING_CALL, VU_SET_VRING_ERR };
	static const uint64_t words[] = { ECHO_QUEUES, 0xff, 0x200, 0x10000, 0x10001, 1ull << 32, 1ull << 63 };
	struct vhost_vring_addr a;

	(void)state;
	vc_handshake(&client);
	for (size_t i = 0; i < sizeof(indices) / sizeof(indices[0]); i++) {
		for (int k = 0; k < 3; k++)
			assert_int_equal(vc_ask_state(&client, with_state[k], indices[i], 1), 1);
		a = vc_addr(0);
		a.index = indices[i];
		assert_int_equal(vc_ask(&client, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 1);
	}
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		for (int k = 0; k < 3; k++)
			assert_int_equal(vc_ask_fd(&client, with_fd[k], words[i], client.q[4].call), 1);
	assert_true(vc_echo(&client));
	/* GET_VRING_BASE has no way to say no. */
	for (size_t i = 0; i < sizeof(indices) / sizeof(indices[0]); i++) {
		struct vhost_vring_state s = { indices[i], 0 };

		vc_handshake(&client);
		vc_send(&client, VU_GET_VRING_BASE, 0, &s, sizeof(s), NULL, 0);
		assert_false(vc_alive(&client));
	}
	assert_serves(&client);
}

static void test_fd_bit_and_fd_disagree(void **state)
{
	static const uint32_t with_fd[] = { VU_SET_VRING_KICK, VU_SET_VRING_CALL, VU_SET_VRING_ERR };

	(void)state;
	vc_handshake(&client);
	for (int k = 0; k < 3; k++) {
		assert_int_equal(vc_ask_u64(&client, with_fd[k], 0), 1);
		assert_int_equal(vc_ask_fd(&client, with_fd[k], VU_NOFD, client.q[4].call), 1);
	}
	assert_true(vc_echo(&client));
}

static void test_unknown_requests(void **state)
{
	static const uint32_t unknown[] = { 0, 23, 26, 27, 28, 29, 30, 33, 35, 41, 44, 1000, 0x7fffffff, 0xffffffff };
	uint8_t junk[64] = { 1 };

	(void)state;
	begin(&client);
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		assert_int_equal(vc_ask(&client, unknown[i], junk, sizeof(junk), NULL, 0), 1);
	assert_true(vc_alive(&client));
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		begin(&client);
		vc_send(&client, unknown[i], 0, NULL, 0, NULL, 0);
		assert_false(vc_alive(&client));
	}
	assert_non_null(strstr(bench.log, "not supported"));
	assert_serves(&client);
}

/* Messages of a protocol feature that was not negotiated. */
static void test_not_negotiated(void **state)
{
	static const uint32_t gated[] = { VU_SET_LOG_BASE, VU_GET_QUEUE_NUM, VU_SEND_RARP, VU_NET_SET_MTU,
					  VU_SET_BACKEND_REQ_FD, VU_GET_CONFIG, VU_SET_CONFIG,
					  VU_GET_INFLIGHT_FD, VU_SET_INFLIGHT_FD,
					  VU_RESET_DEVICE, VU_GET_MAX_MEM_SLOTS, VU_ADD_MEM_REG,
					  VU_SET_STATUS, VU_GET_STATUS };

	(void)state;
	for (size_t i = 0; i < N_GOODS; i++) {
		for (size_t k = 0; k < sizeof(gated) / sizeof(gated[0]); k++) {
			if (goods[i].request != gated[k])
				continue;
			vc_connect(&client);
			send_variant(&client, &goods[i], 0, goods[i].n_fds, 0);
			assert_false(vc_alive(&client));
		}
	}
	assert_serves(&client);
}

/* NEED_REPLY means nothing before REPLY_ACK is negotiated. */
static void test_no_ack_without_feature(void **state)
{
	(void)state;
	vc_connect(&client);
	assert_int_equal(vc_ask(&client, VU_SET_OWNER, NULL, 0, NULL, 0), -2);
	assert_int_equal(vc_ask_state(&client, VU_SET_VRING_NUM, 0, 64), -2);
	assert_true(vc_alive(&client));
	assert_int_equal(vc_ask_state(&client, VU_SET_VRING_NUM, 0, 63), -1);
	assert_serves(&client);
}

static void test_header(void **state)
{
	static const struct vu_header bad[] = {
		{ VU_SET_OWNER, 0, 0 },
		{ VU_SET_OWNER, 2, 0 },
		{ VU_SET_OWNER, 3, 0 },
		{ VU_SET_OWNER, VU_VERSION | VU_REPLY, 0 },
		{ VU_SET_FEATURES, VU_VERSION, 0xffffffff },
		{ VU_SET_FEATURES, VU_VERSION, sizeof(union vu_payload) + 1 },
		{ 0xffffffff, VU_VERSION, 0x7fffffff },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		vc_connect(&client);
		vc_raw(&client, &bad[i], sizeof(bad[i]), NULL, 0);
		assert_false(vc_alive(&client));
	}
	assert_serves(&client);
}

/* A stream socket keeps no borders: byte by byte, and many messages in one write. */
static void test_fragments(void **state)
{
	struct vu_header h = { VU_GET_FEATURES, VU_VERSION, 0 }, many[100];
	uint8_t set[sizeof(h) + 8] = { VU_SET_VRING_NUM, 0, 0, 0, VU_VERSION, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 32 };

	(void)state;
	begin(&client);
	for (size_t i = 0; i < sizeof(set); i++) {
		vc_raw(&client, set + i, 1, NULL, 0);
		vbench_pump(&bench);
	}
	for (size_t i = 0; i < sizeof(h); i++) {
		assert_int_equal(vc_reply(&client), 0);
		vc_raw(&client, (uint8_t *)&h + i, 1, NULL, 0);
	}
	assert_int_equal(vc_reply(&client), 1);
	for (int i = 0; i < 100; i++)
		many[i] = h;
	vc_raw(&client, many, sizeof(many), NULL, 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(vc_reply(&client), 1);
	assert_int_equal(vc_reply(&client), 0);
}

/* A front end that asks and never listens costs us a socket buffer, not memory. */
static void test_answers_unread(void **state)
{
	struct vu_header many[100];

	(void)state;
	vc_connect(&client);
	for (int i = 0; i < 100; i++)
		many[i] = (struct vu_header){ VU_GET_FEATURES, VU_VERSION, 0 };
	for (int i = 0; i < 1000; i++) {
		vc_raw(&client, many, sizeof(many), NULL, 0);
		vbench_pump(&bench);
	}
	assert_non_null(strstr(bench.log, "does not read its answers"));
	assert_serves(&client);
}

static int get_config(struct vc *c, uint32_t off, uint32_t size)
{
	union vu_payload p = { .config = { off, size, 0, { 0 } } };

	vc_send(c, VU_GET_CONFIG, 0, &p, 12 + size, NULL, 0);
	return vc_reply(c) == 1 ? (int)c->head.size : -1;
}

static void test_config(void **state)
{
	union vu_payload p = { .config = { 4, 2, 0, { 7, 9 } } };

	(void)state;
	begin(&client);
	assert_int_equal(get_config(&client, 0, 6), 18);
	assert_int_equal(client.reply.config.data[5], 0xa5);
	assert_int_equal(get_config(&client, 20, 4), 16);
	/* Beyond the end: an empty payload, no bytes of ours. */
	assert_int_equal(get_config(&client, 20, 5), 0);
	assert_int_equal(get_config(&client, 24, 1), 0);
	assert_int_equal(get_config(&client, 0xffffffff, 4), 0);
	assert_int_equal(vc_ask(&client, VU_SET_CONFIG, &p, 14, NULL, 0), 0);
	assert_int_equal(bench.echo->config[4], 7);
	assert_int_equal(bench.echo->config[5], 9);
	p.config.off = 23;
	assert_int_equal(vc_ask(&client, VU_SET_CONFIG, &p, 14, NULL, 0), 1);
	p.config.off = 0xffffffff;
	assert_int_equal(vc_ask(&client, VU_SET_CONFIG, &p, 14, NULL, 0), 1);
	/* A size that is not the payload's. */
	p = (union vu_payload){ .config = { 0, 7, 0, { 0 } } };
	vc_send(&client, VU_GET_CONFIG, 0, &p, 12 + 6, NULL, 0);
	assert_false(vc_alive(&client));
	assert_serves(&client);
}

/* The channel is a socket in QEMU, a pipe in user-mode Linux; its death must not be ours. */
static void config_change(bool use_pipe)
{
	struct vu_header h;
	int ends[2];

	assert_int_equal(use_pipe ? pipe(ends) : socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	begin(&client);
	assert_int_equal(vc_ask(&client, VU_SET_BACKEND_REQ_FD, NULL, 0, &ends[1], 1), 0);
	close(ends[1]);
	bench.echo->dev.host_ops->notify_config(&bench.echo->dev);
	assert_int_equal(read(ends[0], &h, sizeof(h)), sizeof(h));
	assert_int_equal(h.request, VU_BACKEND_CONFIG_CHANGE);
	assert_int_equal(h.flags, VU_VERSION);
	assert_int_equal(h.size, 0);
	close(ends[0]);
	bench.echo->dev.host_ops->notify_config(&bench.echo->dev);
	assert_true(vc_alive(&client));
}

static void test_config_change(void **state)
{
	(void)state;
	config_change(false);
	config_change(true);
	/* Nobody listens, or the front end does not read our config: no message. */
	vc_connect(&client);
	bench.echo->dev.host_ops->notify_config(&bench.echo->dev);
	assert_true(vc_alive(&client));
}

static void test_status_and_reset(void **state)
{
	unsigned int resets;

	(void)state;
	vc_handshake(&client);
	resets = bench.echo->resets;
	assert_int_equal(vc_ask_u64(&client, VU_SET_STATUS, 0xf), 0);
	assert_int_equal(bench.echo->status, 0xf);
	assert_int_equal(vc_get(&client, VU_GET_STATUS), 0xf);
	assert_true(vc_echo(&client));
	assert_int_equal(vc_ask_u64(&client, VU_SET_STATUS, 0x100), 1);
	assert_int_equal(vc_ask_u64(&client, VU_SET_STATUS, 0), 0);
	assert_int_equal(vc_get(&client, VU_GET_STATUS), 0);
	assert_int_equal(bench.echo->resets, resets + 1);
	assert_false(vc_echo(&client));
	assert_false(virtio_queue_running(&bench.echo->dev, 1));
	assert_int_equal(vc_ask(&client, VU_RESET_DEVICE, NULL, 0, NULL, 0), 0);
	assert_int_equal(bench.echo->resets, resets + 2);
	assert_serves(&client);
}

static void test_mtu_and_rarp(void **state)
{
	static const uint8_t mac[8] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56, 0xff, 0xff };

	(void)state;
	begin(&client);
	assert_int_equal(vc_ask_u64(&client, VU_NET_SET_MTU, 9000), 0);
	assert_int_equal(bench.echo->mtu, 9000);
	assert_int_equal(vc_ask_u64(&client, VU_NET_SET_MTU, 67), 1);
	assert_int_equal(vc_ask_u64(&client, VU_NET_SET_MTU, 0x10000 + 1500), 1);
	assert_int_equal(bench.echo->mtu, 9000);
	assert_int_equal(vc_ask(&client, VU_SEND_RARP, mac, sizeof(mac), NULL, 0), 0);
	assert_int_equal(bench.echo->announced, 1);
	assert_memory_equal(bench.echo->mac, mac, 6);
}

#define T(name) cmocka_unit_test_setup_teardown(test_##name, open_bench, close_bench)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(echo), T(features), T(features_while_running), T(each_good), T(each_short_and_long),
		T(each_wrong_fds), T(wrong_index), T(fd_bit_and_fd_disagree), T(unknown_requests),
		T(not_negotiated), T(no_ack_without_feature), T(header), T(fragments),
		T(answers_unread), T(config), T(config_change), T(status_and_reset), T(mtu_and_rarp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
