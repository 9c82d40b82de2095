/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The user-mode network on two threads behind vhost-user: flows stay with their owner, whatever pair
 * their frames come by; what there is once answers on lane 0. Run under TSan, too.
 */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/virtio_ring.h>
#include <cmocka.h>

#include <twinax/usernet.h>

#include "base/csum.h"
#include "base/endian.h"
#include "vhost_client.h"

#define HDR 12
#define RX_LEN 2048u
#define PAIRS 2
#define RX(q) ((q) * 2u)
#define TX(q) ((q) * 2u + 1)

static struct vbench bench;
static struct vc client;
static int echo_fd; /* a UDP socket of the host, which the test answers for */
static uint16_t echo_port;

static const uint8_t guest_mac[6] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 };
static const uint8_t gateway_mac[6] = { 0x52, 0x55, 10, 0, 2, 2 };

static void post_rx(uint32_t pair)
{
	uint32_t slot = client.q[RX(pair)].avail % VC_NUM;

	vc_offer(&client, RX(pair), VC_GPA + VC_BUF + pair * 0x40000 + slot * RX_LEN, RX_LEN, true);
}

static int open_bench(void **state)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);

	(void)state;
	if (vbench_open_net(&bench) < 0 ||
	    twx_backend_new(NULL, bench.net, "user,id=n0,workers=2,ipv6=off", &bench.e) < 0 ||
	    vbench_open_nic(&bench, "virtio-net,netdev=n0") < 0)
		fail_msg("%s", bench.e.what);
	echo_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(echo_fd, (struct sockaddr *)&a, sizeof(a)), 0);
	getsockname(echo_fd, (struct sockaddr *)&a, &len);
	echo_port = ntohs(a.sin_port);
	vc_init(&client, &bench);
	return 0;
}

static int close_bench(void **state)
{
	(void)state;
	vc_fini(&client);
	vbench_close(&bench);
	close(echo_fd);
	return 0;
}

/* The first @pairs pairs run. */
static void start(uint32_t pairs)
{
	vc_connect(&client);
	vc_features(&client);
	assert_int_equal(vc_mem_table(&client, 2), 0);
	for (uint32_t q = 0; q < 2 * pairs; q++) {
		assert_int_equal(vc_ring_setup(&client, q), 0);
		assert_int_equal(vc_ring_kick_fd(&client, q), 0);
		assert_int_equal(vc_ask_state(&client, VU_SET_VRING_ENABLE, q, 1), 0);
	}
	for (uint32_t p = 0; p < pairs; p++)
		for (int i = 0; i < 16; i++)
			post_rx(p);
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void send_frame(uint32_t pair, const uint8_t *f, uint32_t len)
{
	uint32_t slot = client.q[TX(pair)].avail % VC_NUM, at = VC_BUF + 0x80000 + pair * 0x20000 + slot * RX_LEN;

	memset(client.mem + at, 0, HDR);
	memcpy(client.mem + at + HDR, f, len);
	vc_offer(&client, TX(pair), VC_GPA + at, HDR + len, false);
	vc_kick(&client, TX(pair));
}

/* UDP from 10.0.2.15:@sport to the host's echo socket. */
static void send_udp(uint32_t pair, uint16_t sport, const char *text)
{
	uint8_t f[128] = { 0 };
	uint32_t len = 28 + (uint32_t)strlen(text);
	be16 sum;

	memcpy(f, gateway_mac, 6);
	memcpy(f + 6, guest_mac, 6);
	put16(f + 12, 0x0800);
	f[14] = 0x45;
	put16(f + 16, len);
	f[22] = 64;
	f[23] = IPPROTO_UDP;
	memcpy(f + 26, (uint8_t[]){ 10, 0, 2, 15, 10, 0, 2, 2 }, 8);
	sum = csum_fold(csum_partial(f + 14, 20, 0));
	memcpy(f + 24, &sum, 2);
	put16(f + 34, sport);
	put16(f + 36, echo_port);
	put16(f + 38, len - 20);
	memcpy(f + 42, text, strlen(text));
	send_frame(pair, f, 14 + len);
}

/* What the host has got; the sender's port tells the lane's socket. */
static uint16_t host_got(const char *text)
{
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	char buf[64] = "";
	ssize_t n = -1;

	for (int i = 0; i < 500 && n < 0; i++) {
		twx_loop_poll(bench.loop, 5);
		n = recvfrom(echo_fd, buf, sizeof(buf) - 1, MSG_DONTWAIT, (struct sockaddr *)&from, &len);
	}
	assert_true(n > 0);
	assert_string_equal(buf, text);
	sendto(echo_fd, buf, (size_t)n, 0, (struct sockaddr *)&from, len);
	return ntohs(from.sin_port);
}

/* A frame of @ethertype for the guest: the pair that it came by; its bytes in @f. */
static uint32_t guest_got(uint16_t ethertype, uint8_t *f)
{
	for (int i = 0; i < 500; i++) {
		for (uint32_t p = 0; p < PAIRS; p++) {
			uint32_t slot = client.q[RX(p)].used % VC_NUM, len;

			if (!vc_used(&client, RX(p), &len))
				continue;
			memcpy(f, client.mem + VC_BUF + p * 0x40000 + slot * RX_LEN + HDR, 64);
			post_rx(p);
			if ((f[12] << 8 | f[13]) == ethertype)
				return p;
		}
		twx_loop_poll(bench.loop, 5);
	}
	fail_msg("nothing came");
	return 0;
}

static void test_flows_stay_with_their_owner(void **state)
{
	uint16_t ports[8];
	uint8_t f[64];

	(void)state;
	start(2);
	for (uint16_t k = 0; k < 8; k++) {
		uint32_t owner = k % 2, back;

		send_udp(owner, (uint16_t)(4000 + k), "first");
		ports[k] = host_got("first");
		back = guest_got(0x0800, f);
		if (k == 0)
			assert_int_equal(back, 0);
	}
	/* The sender moves to the other processor: same socket, and the answer as before. */
	for (uint16_t k = 0; k < 8; k++) {
		for (int i = 0; i < 20; i++) {
			char text[16];

			snprintf(text, sizeof(text), "n%d", i);
			send_udp((k + (uint32_t)i) % 2, (uint16_t)(4000 + k), text);
			assert_int_equal(host_got(text), ports[k]);
			(void)guest_got(0x0800, f);
			assert_memory_equal(f + 42, text, strlen(text));
		}
	}
}

/* The guest uses the port that a forward leads to for questions of its own, from the other pair. */
static void test_a_forwarded_port_that_is_used(void **state)
{
	struct twx_backend *b = twx_usernet_find(bench.net, "n0", &bench.e);
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct twx_usernet_fwd fwd = { .size = sizeof(fwd) };
	uint8_t f[64];

	(void)state;
	assert_int_equal(twx_usernet_hostfwd_add(b, "udp:127.0.0.1:0-:5353", &bench.e), 0);
	assert_true(twx_usernet_hostfwd_next(b, 0, &fwd));
	to.sin_port = htons(fwd.host_port);
	start(2);
	send_udp(1, 5353, "asks");
	(void)host_got("asks");
	(void)guest_got(0x0800, f);
	sendto(echo_fd, "comes", 5, 0, (struct sockaddr *)&to, sizeof(to));
	(void)guest_got(0x0800, f);
	assert_memory_equal(f + 42, "comes", 5);
	send_udp(1, 5353, "answers"); /* to the one that came through the forward */
	assert_int_equal(host_got("answers"), fwd.host_port);
	(void)guest_got(0x0800, f);
}

static void test_arp_is_answered_once(void **state)
{
	static const uint8_t question[28] = { 0, 1, 8, 0, 6, 4, 0, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56,
					      10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2 };
	uint8_t f[64] = { 0 };

	(void)state;
	start(2);
	for (uint32_t i = 0; i < 10; i++) {
		memset(f, 0xff, 6);
		memcpy(f + 6, guest_mac, 6);
		put16(f + 12, 0x0806);
		memcpy(f + 14, question, sizeof(question));
		send_frame(i % 2, f, 60);
		assert_int_equal(guest_got(0x0806, f), 0);
		assert_int_equal(f[21], 2);
	}
	for (int i = 0; i < 20; i++)
		twx_loop_poll(bench.loop, 1);
	assert_false(vc_used(&client, RX(0), NULL));
	assert_false(vc_used(&client, RX(1), NULL));
}

/* A pair that the driver gives up: its flows go on, by the ring that is left. */
static void test_a_pair_goes(void **state)
{
	struct vhost_vring_state s = { 0 };
	uint16_t port;
	uint8_t f[64];

	(void)state;
	start(2);
	send_udp(1, 5000, "hello");
	port = host_got("hello");
	(void)guest_got(0x0800, f);
	for (uint32_t q = 2; q < 4; q++) {
		s.index = q;
		vc_send(&client, VU_GET_VRING_BASE, 0, &s, sizeof(s), NULL, 0);
		assert_int_equal(vc_reply(&client), 1);
	}
	send_udp(0, 5000, "still");
	assert_int_equal(host_got("still"), port);
	assert_int_equal(guest_got(0x0800, f), 0);
}

/* Whatever a front end does, at whatever moment: rings stop and start, memory changes, it goes. */
static void test_changes_under_load(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		start(2);
		for (int i = 0; i < 10; i++) {
			send_udp((uint32_t)i % 2, (uint16_t)(6000 + i), "load");
			if (i % 3 == 0)
				assert_int_equal(vc_mem_table(&client, 1 + (uint32_t)i % 2), 0);
			if (i % 4 == 0)
				assert_int_equal(vc_ask_state(&client, VU_SET_VRING_ENABLE, (uint32_t)i % 4, 0), 0);
			twx_port_set_link(bench.nic->ports[0], i % 2);
		}
		twx_port_set_link(bench.nic->ports[0], true);
		vc_hangup(&client);
		while (recv(echo_fd, (char[64]){ 0 }, 64, MSG_DONTWAIT) > 0)
			;
	}
	start(2);
	send_udp(1, 7000, "after");
	(void)host_got("after");
}

#define T(name) cmocka_unit_test_setup_teardown(test_##name, open_bench, close_bench)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(flows_stay_with_their_owner),
		T(a_forwarded_port_that_is_used),
		T(arp_is_answered_once),
		T(a_pair_goes),
		T(changes_under_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
