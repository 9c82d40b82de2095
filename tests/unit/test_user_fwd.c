/* SPDX-License-Identifier: BSD-3-Clause */
/* hostfwd= of the user-mode network. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "user_guest.h"

/* A port that was free a moment ago. */
static uint16_t free_port(int type)
{
	uint16_t port;

	close(guest_host_socket(type, &port));
	return port;
}

static struct sockaddr_in local(uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons(port),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static void open_with(struct guest *g, const char *fmt, unsigned int port)
{
	struct twx_error e = { 0 };
	char options[256];

	snprintf(options, sizeof(options), fmt, port);
	if (!guest_open(g, options, 0, &e))
		fail_msg("%s", e.what);
}

static void sends(int fd, uint16_t port, const char *text)
{
	struct sockaddr_in to = local(port);

	assert_int_equal(sendto(fd, text, strlen(text), 0, (struct sockaddr *)&to, sizeof(to)),
			 strlen(text));
}

static void hears(int fd, uint16_t port, const char *text)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	char buf[64];

	assert_int_equal(poll(&p, 1, 1000), 1);
	assert_int_equal(recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len),
			 strlen(text));
	assert_memory_equal(buf, text, strlen(text));
	assert_int_equal(ntohs(from.sin_port), port);
}

static void guest_hears(struct guest *g, uint16_t sport, uint16_t dport, const char *text)
{
	struct guest_pkt p;

	assert_true(guest_recv_ip(g, IPPROTO_UDP, &p, 1000));
	assert_int_equal(p.src.s_addr, g->host.s_addr);
	assert_int_equal(p.sport, sport);
	assert_int_equal(p.dport, dport);
	assert_int_equal(p.len, strlen(text));
	assert_memory_equal(p.data, text, p.len);
	guest_pkt_free(&p);
}

static void guest_says(struct guest *g, uint16_t sport, uint16_t dport, const char *text)
{
	uint8_t frame[128];

	guest_send(g, frame,
		   guest_udp(g, frame, sport, g->host, dport, text, (uint32_t)strlen(text)));
}

static void udp_both_ways(const char *fmt)
{
	struct guest g;
	uint16_t port = free_port(SOCK_DGRAM), peer[2];
	int fd[2] = { guest_host_socket(SOCK_DGRAM, &peer[0]),
		      guest_host_socket(SOCK_DGRAM, &peer[1]) };

	open_with(&g, fmt, port);
	sends(fd[0], port, "query 0");
	guest_hears(&g, peer[0], 53, "query 0");
	sends(fd[1], port, "query 1");
	guest_hears(&g, peer[1], 53, "query 1");
	guest_says(&g, 53, peer[1], "reply 1");
	hears(fd[1], port, "reply 1");
	guest_says(&g, 53, peer[0], "reply 0");
	hears(fd[0], port, "reply 0");
	close(fd[0]);
	close(fd[1]);
	guest_close(&g);
}

static void udp_forward_works_both_ways(void **state)
{
	udp_both_ways("hostfwd=udp::%u-:53");
	udp_both_ways("hostfwd=udp:127.0.0.1:%u-10.0.2.15:53");
}

/* Two that the guest could take for one: the same port of two loopback addresses. */
static void udp_peers_stay_apart(void **state)
{
	struct sockaddr_in me = { .sin_family = AF_INET };
	uint16_t port = free_port(SOCK_DGRAM), peer[2];
	struct guest g;
	int fd[2];

	fd[0] = guest_host_socket(SOCK_DGRAM, &peer[0]);
	fd[1] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	me.sin_port = htons(peer[0]);
	me.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
	assert_int_equal(bind(fd[1], (struct sockaddr *)&me, sizeof(me)), 0);
	open_with(&g, "hostfwd=udp::%u-:53", port);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 2; i++) {
			struct guest_pkt p;

			sends(fd[i], port, i ? "b" : "a");
			assert_true(guest_recv_ip(&g, IPPROTO_UDP, &p, 1000));
			assert_int_equal(p.data[0], i ? 'b' : 'a');
			assert_true(!round || p.sport == peer[i]);
			peer[i] = p.sport;
			guest_pkt_free(&p);
		}
		assert_int_not_equal(peer[0], peer[1]);
		guest_says(&g, 53, peer[0], "to a");
		hears(fd[0], port, "to a");
		guest_says(&g, 53, peer[1], "to b");
		hears(fd[1], port, "to b");
	}
	close(fd[0]);
	close(fd[1]);
	guest_close(&g);
}

static void udp_forward_works_when_restricted(void **state)
{
	struct guest g;
	uint16_t port = free_port(SOCK_DGRAM), other;
	int fd = guest_host_socket(SOCK_DGRAM, &other);

	udp_both_ways("restrict=on,hostfwd=udp::%u-:53");
	/* From the forwarded port too, only peers that spoke first are reached. */
	open_with(&g, "restrict=on,hostfwd=udp::%u-:53", port);
	guest_says(&g, 53, other, "unasked");
	assert_int_equal(guest_drops(&g, TWX_DROP_DENIED), 1);
	guest_close(&g);
	close(fd);
}

static void udp_forward_wakes_a_guest_that_is_silent(void **state)
{
	struct guest g;
	struct guest_frame f;
	uint16_t port = free_port(SOCK_DGRAM), peer;
	int fd = guest_host_socket(SOCK_DGRAM, &peer);

	/* To an address that never sent a frame: ARP first. */
	open_with(&g, "hostfwd=udp::%u-10.0.2.77:53", port);
	sends(fd, port, "hello");
	assert_true(guest_recv(&g, &f, 1000));
	assert_int_equal(user_get16(f.data + 12), 0x0806);
	assert_memory_equal(f.data + 38, "\x0a\0\2\x4d", 4);
	guest_frame_free(&f);
	close(fd);
	guest_close(&g);
}

static void many_datagrams_wait_for_a_busy_guest(void **state)
{
	struct guest g;
	uint16_t port = free_port(SOCK_DGRAM), peer;
	int fd = guest_host_socket(SOCK_DGRAM, &peer);
	char text[16];

	open_with(&g, "hostfwd=udp::%u-:53", port);
	g.busy = true;
	for (int i = 0; i < 100; i++) {
		snprintf(text, sizeof(text), "%d", i);
		sends(fd, port, text);
		guest_run(&g, 0);
	}
	guest_ready(&g);
	for (int i = 0; i < 100; i++) {
		snprintf(text, sizeof(text), "%d", i);
		guest_hears(&g, peer, 53, text);
	}
	close(fd);
	guest_close(&g);
}

static void tcp_forward_opens_towards_the_guest(void **state)
{
	struct guest g;
	struct guest_pkt p;
	uint16_t port = free_port(SOCK_STREAM);
	struct sockaddr_in to = local(port), me;
	socklen_t len = sizeof(me);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	open_with(&g, "hostfwd=tcp:127.0.0.1:%u-:22", port);
	connect(fd, (struct sockaddr *)&to, sizeof(to));
	assert_int_equal(getsockname(fd, (struct sockaddr *)&me, &len), 0);
	assert_true(guest_recv_ip(&g, IPPROTO_TCP, &p, 1000));
	assert_int_equal(p.flags, 2); /* SYN */
	assert_int_equal(p.src.s_addr, g.host.s_addr);
	assert_int_equal(p.dport, 22);
	assert_int_equal(p.sport, ntohs(me.sin_port));
	guest_pkt_free(&p);
	close(fd);
	guest_close(&g);
}

/* Two stacks on one hub, the gateway of the one a guest of the other: each answers from inside the
 * other's sending, and nothing is lost or entered twice. */
static void stacks_on_a_hub_answer_each_other(void **state)
{
	static const char *const more[] = { "user,id=n1,host=10.0.2.9",
					    "hubport,id=h0,hubid=0,netdev=n0",
					    "hubport,id=h1,hubid=0,netdev=n1" };
	struct guest g;
	struct twx_error e = { 0 };
	uint16_t port = free_port(SOCK_DGRAM), peer, server;
	int fd = guest_host_socket(SOCK_DGRAM, &peer),
	    served = guest_host_socket(SOCK_DGRAM, &server);
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	char options[64], buf[16];

	snprintf(options, sizeof(options), "hostfwd=udp::%u-10.0.2.9:%u", port, server);
	assert_true(guest_open(&g, options, 0, &e));
	twx_port_unpair(&g.port);
	for (int i = 0; i < 3; i++) {
		struct twx_backend *b;

		if (twx_backend_new(&b, g.net, more[i], &e))
			fail_msg("%s", e.what);
	}
	for (int i = 0; i < 100; i++) {
		sends(fd, port, "question");
		guest_run(&g, 10);
		assert_int_equal(
			recvfrom(served, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len), 8);
		assert_int_equal(sendto(served, "answer", 6, 0, (struct sockaddr *)&from, len), 6);
		guest_run(&g, 10);
		hears(fd, port, "answer");
	}
	/* One ARP request, one datagram each. */
	assert_int_equal(g.backend->ports[0]->count.tx_frames, 1 + 1 + 100);
	close(fd);
	close(served);
	guest_close(&g);
}

static void port_in_use_is_said(void **state)
{
	static const int types[] = { SOCK_STREAM, SOCK_DGRAM };

	for (int i = 0; i < 2; i++) {
		struct twx_error e = { 0 };
		char options[64], what[128];
		const char *proto = i ? "udp" : "tcp";
		struct guest g;
		uint16_t port;
		int fd = guest_host_socket(types[i], &port);

		snprintf(options, sizeof(options), "hostfwd=%s:127.0.0.1:%u-:22", proto, port);
		snprintf(what, sizeof(what),
			 "Could not set up host forwarding rule '%s:127.0.0.1:%u-:22': Address "
			 "already in use",
			 proto, port);
		assert_false(guest_open(&g, options, 0, &e));
		assert_string_equal(e.what, what);
		assert_int_equal(e.code, EADDRINUSE);
		assert_true(*e.hint);
		close(fd);
		/* Nothing of the failed attempt is in the way. */
		assert_true(guest_open(&g, options, 0, &e));
		guest_close(&g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(udp_forward_works_both_ways),
		cmocka_unit_test(udp_peers_stay_apart),
		cmocka_unit_test(udp_forward_works_when_restricted),
		cmocka_unit_test(udp_forward_wakes_a_guest_that_is_silent),
		cmocka_unit_test(many_datagrams_wait_for_a_busy_guest),
		cmocka_unit_test(tcp_forward_opens_towards_the_guest),
		cmocka_unit_test(stacks_on_a_hub_answer_each_other),
		cmocka_unit_test(port_in_use_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
