/* SPDX-License-Identifier: BSD-3-Clause */
/* ICMP and fragments through the user-mode network. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/if.h>

#include <cmocka.h>

#include "base/csum.h"
#include "user_guest.h"

static bool isolated;

/* --- echo --- */

static void gateway_answers_every_size(void **state)
{
	static const uint32_t sizes[] = { 0, 1, 10, 11, 56, 1471, 1472, 1473, 4000, 65507 };
	static uint8_t frame[70000], data[65507], got[65515];
	struct guest *g = *state;

	for (uint32_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 5);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint32_t have = 0;

		guest_send(g, frame,
			   guest_icmp(g, frame, g->host, 8, 0, 77, (uint16_t)i, data, sizes[i]));
		while (have < sizes[i] + 8) {
			struct guest_pkt p;

			assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000));
			assert_int_equal((user_get16(p.ip + 6) & 0x1fff) * 8, have);
			assert_true(have + p.l4_len <= sizes[i] + 8);
			memcpy(got + have, p.l4, p.l4_len);
			have += p.l4_len;
			guest_pkt_free(&p);
		}
		assert_int_equal(got[0], 0);
		assert_int_equal(user_get16(got + 4), 77);
		assert_int_equal(user_get16(got + 6), i);
		assert_memory_equal(got + 8, data, sizes[i]);
	}
}

static void reply_holds_what_the_request_held(void **state)
{
	struct guest *g = *state;
	uint8_t frame[128];
	struct guest_pkt p;
	uint32_t len = guest_icmp(g, frame, g->host, 8, 0, 77, 1, "ten bytes.", 10);

	/* Trailing bytes of the frame are no part of the packet. */
	memset(frame + len, 0xee, 20);
	guest_send(g, frame, len + 20);
	assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000));
	assert_int_equal(p.len, 10);
	guest_pkt_free(&p);
}

static void other_messages_get_no_answer(void **state)
{
	struct guest *g = *state;
	uint8_t frame[128];
	uint32_t len;

	for (int type = 0; type < 256; type++)
		if (type != 8)
			guest_send(g, frame,
				   guest_icmp(g, frame, g->host, (uint8_t)type, 0, 7, 1, "x", 1));
	guest_send(g, frame, guest_icmp(g, frame, g->host, 8, 1, 7, 1, "x", 1));
	len = guest_icmp(g, frame, g->host, 8, 0, 7, 1, "x", 1);
	frame[36] ^= 1; /* checksum */
	guest_send(g, frame, len);
	guest_send(g, frame, guest_ip(g, frame, g->host, IPPROTO_ICMP, "\x08\0\xf7\xff\0\0\0", 7));
	assert_true(guest_silent(g, 20));
}

/* An address of our own on the namespace's loopback stands for a host on the way. */
static void pings_of_others_come_back_from_them(void **state)
{
	struct guest *g = *state;
	struct in_addr far = guest_addr("192.0.2.1");
	uint8_t frame[128];
	struct guest_pkt p;

	if (!isolated)
		skip();
	for (uint16_t seq = 0; seq < 3; seq++) {
		guest_send(g, frame, guest_icmp(g, frame, far, 8, 0, 0x1234, seq, "there?", 6));
		assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000));
		assert_int_equal(p.src.s_addr, far.s_addr);
		assert_int_equal(p.l4[0], 0);
		assert_int_equal(user_get16(p.l4 + 4), 0x1234);
		assert_int_equal(user_get16(p.l4 + 6), seq);
		assert_int_equal(p.len, 6);
		assert_memory_equal(p.data, "there?", 6);
		assert_int_equal(p.ttl, 63); /* the path's, one hop more */
		guest_pkt_free(&p);
	}
	assert_int_equal(g->user->flows.count[FLOW_ICMP], 1);
	/* Two guests' programs with one identifier do not mix: another identifier is another flow.
	 */
	guest_send(g, frame, guest_icmp(g, frame, far, 8, 0, 0x1235, 9, "", 0));
	assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000));
	assert_int_equal(user_get16(p.l4 + 4), 0x1235);
	assert_int_equal(p.len, 0);
	guest_pkt_free(&p);
	icmp_age(g->user, twx_loop_now(g->loop) + 61000000000);
	assert_int_equal(g->user->flows.count[FLOW_ICMP], 0);
}

static bool kernel_answers_pings(bool on)
{
	int fd = open("/proc/sys/net/ipv4/icmp_echo_ignore_all", O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, on ? "0" : "1", 1) == 1;

	if (fd >= 0)
		close(fd);
	return ok;
}

/* The next echo request to 192.0.2.1, into @msg without its IP header; who sent it. */
static struct sockaddr_in next_request(int raw, uint8_t *msg)
{
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	uint8_t buf[2048];
	ssize_t n;

	do
		n = recvfrom(raw, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);
	while (n >= 28 && buf[20] != 8);
	assert_true(n > 28);
	memcpy(msg, buf + 20, (size_t)n - 20);
	return from;
}

/* CVE-2026-115449: a host that answers with less than it was sent. */
static void short_answer_of_a_host(void **state)
{
	struct guest *g = *state;
	struct sockaddr_in far = { .sin_family = AF_INET, .sin_addr = guest_addr("192.0.2.1") };
	int raw = isolated ? socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP) : -1;
	uint8_t frame[1500], body[1000], msg[2048];
	struct sockaddr_in from;
	struct guest_pkt p;
	be16 sum;

	if (raw < 0 || !kernel_answers_pings(false))
		skip();
	assert_int_equal(bind(raw, (struct sockaddr *)&far, sizeof(far)), 0);
	memset(body, 0x5a, sizeof(body));
	for (uint32_t len = 0; len < 3; len++) {
		guest_send(g, frame,
			   guest_icmp(g, frame, far.sin_addr, 8, 0, 7, 1, body, sizeof(body)));
		from = next_request(raw, msg);
		memset(msg, 0, 4);
		sum = csum_fold(csum_partial(msg, 8 + len, 0));
		memcpy(msg + 2, &sum, 2);
		assert_int_equal(
			sendto(raw, msg, 8 + len, 0, (struct sockaddr *)&from, sizeof(from)),
			8 + len);
		assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000));
		assert_int_equal(p.len, len);
		for (uint32_t i = 42 + len; i < p.frame.len; i++)
			assert_int_equal(p.frame.data[i], 0);
		guest_pkt_free(&p);
	}
	assert_true(kernel_answers_pings(true));
	close(raw);
}

/* Without ping sockets a process with the right uses a raw one, which hears everybody's echoes. */
static void raw_socket_hears_only_its_own(void **state)
{
	struct guest *g = *state;
	struct in_addr far = guest_addr("192.0.2.1");
	uint8_t frame[128];
	struct guest_pkt p;

	if (!isolated)
		skip();
	if (!guest_allow_ping_sockets(false))
		skip(); /* root of a namespace that has one group */
	for (uint16_t id = 1; id <= 3; id++)
		guest_send(g, frame, guest_icmp(g, frame, far, 8, 0, id, id, "x", 1));
	for (uint16_t id = 1; id <= 3; id++) {
		assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000));
		assert_int_equal(user_get16(p.l4 + 4), user_get16(p.l4 + 6));
		guest_pkt_free(&p);
	}
	assert_true(guest_silent(g, 50));
	assert_true(icmp_flow_is_raw(flow_oldest(&g->user->flows, FLOW_ICMP)));
	assert_true(guest_allow_ping_sockets(true));
}

static void unreachable_hosts_are_reported(void **state)
{
	struct guest *g = *state;
	uint8_t frame[128];
	struct guest_pkt p;

	if (!isolated)
		skip();
	guest_send(g, frame, guest_icmp(g, frame, guest_addr("198.51.100.1"), 8, 0, 5, 1, "x", 1));
	assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000));
	assert_int_equal(p.src.s_addr, g->host.s_addr);
	assert_int_equal(p.l4[0] << 8 | p.l4[1], 0x300);
	assert_memory_equal(p.data, frame + 14, 29);
	guest_pkt_free(&p);
	/* An address of the virtual network that nobody has. */
	guest_send(g, frame, guest_icmp(g, frame, guest_addr("10.0.2.99"), 8, 0, 5, 2, "x", 1));
	assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000));
	assert_int_equal(p.l4[0] << 8 | p.l4[1], 0x301);
	guest_pkt_free(&p);
}

static void errors_are_limited_in_rate(void **state)
{
	struct guest *g = *state;
	uint8_t frame[128];
	struct guest_pkt p;
	uint64_t begin = twx_loop_now(g->loop), ms;
	uint32_t n = 0;

	for (int i = 0; i < 400; i++)
		guest_send(g, frame, guest_udp(g, frame, 1000, g->dns, 54, "x", 1));
	ms = (twx_loop_now(g->loop) - begin) / 1000000 + 1;
	while (guest_recv_ip(g, IPPROTO_ICMP, &p, 10)) {
		guest_pkt_free(&p);
		n++;
	}
	/* The burst that is allowed, and one for each millisecond that the machine took. */
	assert_in_range(n, 50, 50 + ms);
	assert_int_equal(n + guest_drops(g, TWX_DROP_LIMIT), 400);
}

static void errors_about_errors_are_not_sent(void **state)
{
	struct guest *g = *state;
	struct in6_addr host = user_mapped(g->host);
	uint8_t orig[28] = { 0x45, [9] = 1, [12] = 10, 0, 2, 15, 192, 0, 2, 1, 3, 3 };

	icmp_send_error(g->user, 11, 0, 0, &host, orig, sizeof(orig));
	orig[20] = 8;
	orig[7] = 1; /* a later fragment */
	icmp_send_error(g->user, 11, 0, 0, &host, orig, sizeof(orig));
	orig[7] = 0;
	memset(orig + 16, 255, 4); /* broadcast */
	icmp_send_error(g->user, 11, 0, 0, &host, orig, sizeof(orig));
	assert_true(guest_silent(g, 20));
}

/* --- fragments --- */

struct piece {
	uint32_t off, len; /* of the datagram behind the IP header */
};

/* Cuts a UDP datagram of @size bytes to the host's port as told, and sends the pieces. */
static void send_pieces(struct guest *g, uint16_t port, const uint8_t *data, uint32_t size,
			const struct piece *pieces, int n)
{
	static uint8_t whole[70000], frame[70000];
	uint32_t total = guest_udp(g, whole, 1000, g->host, port, data, size) - 34;

	for (int i = 0; i < n; i++) {
		uint32_t len = pieces[i].len;
		bool more = pieces[i].off + len < total;

		memcpy(frame, whole, 34);
		memcpy(frame + 34, whole + 34 + pieces[i].off, len);
		user_put16(frame + 16, 20 + len);
		user_put16(frame + 20, (more ? 0x2000 : 0) | pieces[i].off / 8);
		guest_fix_ip(frame);
		guest_send(g, frame, 34 + len);
	}
}

static bool arrives(int fd, const uint8_t *data, uint32_t size)
{
	static uint8_t buf[70000];
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (poll(&p, 1, 20) <= 0)
		return false;
	assert_int_equal(recv(fd, buf, sizeof(buf), 0), size);
	assert_memory_equal(buf, data, size);
	return true;
}

static void fragments_in_any_order_are_joined(void **state)
{
	struct guest *g = *state;
	uint16_t port;
	int fd = guest_host_socket(SOCK_DGRAM, &port);
	uint8_t data[4000];

	for (int i = 0; i < 4000; i++)
		data[i] = (uint8_t)(i * 11);
#define pieces_arrive(ok, ...)                                                                     \
	do {                                                                                       \
		const struct piece p_[] = { __VA_ARGS__ };                                         \
		send_pieces(g, port, data, 4000, p_, sizeof(p_) / sizeof(p_[0]));                  \
		assert_int_equal(arrives(fd, data, 4000), ok);                                     \
	} while (0)
	pieces_arrive(true, { 0, 1480 }, { 1480, 1480 }, { 2960, 1048 });
	pieces_arrive(true, { 2960, 1048 }, { 1480, 1480 }, { 0, 1480 });
	pieces_arrive(true, { 2960, 1048 }, { 0, 1480 }, { 1480, 1480 });
	pieces_arrive(true, { 8, 8 }, { 24, 3984 }, { 16, 8 }, { 0, 8 });
	pieces_arrive(true, { 0, 1480 }, { 0, 1480 }, { 1480, 1480 },
		      { 2960, 1048 });			   /* duplicated */
	pieces_arrive(false, { 0, 1480 }, { 2960, 1048 }); /* one missing */
	assert_true(guest_silent(g, 10));
	close(fd);
}

static void overlapping_fragments_drop_the_datagram(void **state)
{
	struct guest *g = *state;
	uint16_t port;
	int fd = guest_host_socket(SOCK_DGRAM, &port);
	uint8_t data[4000] = { 1 };
	uint64_t before = guest_drops(g, TWX_DROP_BAD_PACKET);

	pieces_arrive(false, { 0, 1480 }, { 1472, 1488 }, { 2960, 1048 });
	pieces_arrive(false, { 1480, 1480 }, { 0, 2000 }, { 2960, 1048 });
	pieces_arrive(false, { 2960, 1048 }, { 2952, 1056 }, { 0, 2960 });
	assert_true(guest_drops(g, TWX_DROP_BAD_PACKET) >= before + 3);
	pieces_arrive(true, { 0, 1480 }, { 1480, 1480 }, { 2960, 1048 });
	close(fd);
}

static void unfinished_datagrams_time_out(void **state)
{
	struct guest *g = *state;
	const struct piece first[] = { { 0, 1480 } }, last[] = { { 1480, 528 } };
	uint8_t data[2000] = { 0 };
	struct guest_pkt p;

	send_pieces(g, 9, data, 2000, first, 1);
	send_pieces(g, 9, data, 2000, last, 1);
	assert_true(frag_age(g->user, twx_loop_now(g->loop) + 29000000000));
	assert_true(guest_silent(g, 5));
	assert_false(frag_age(g->user, twx_loop_now(g->loop) + 31000000000));
	user_flush(g->user);
	assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p,
				  1000)); /* one: the other never had its first part */
	assert_int_equal(p.l4[0] << 8 | p.l4[1], 0xb01);
	assert_int_equal(user_get16(p.data + 20), 1000);
	guest_pkt_free(&p);
	assert_true(guest_silent(g, 10));
}

static int setup(void **state)
{
	static struct guest g;

	assert_true(guest_open(&g, "", 0, NULL));
	*state = &g;
	return 0;
}

static int teardown(void **state)
{
	guest_close(*state);
	return 0;
}

/* 192.0.2.1 on loopback. */
static bool add_address(void)
{
	struct ifreq r = { .ifr_name = "lo:1" };
	struct sockaddr_in *a = (struct sockaddr_in *)&r.ifr_addr;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ok;

	a->sin_family = AF_INET;
	a->sin_addr = guest_addr("192.0.2.1");
	ok = fd >= 0 && ioctl(fd, SIOCSIFADDR, &r) == 0;
	a->sin_addr = guest_addr("255.255.255.255");
	ok = ok && ioctl(fd, SIOCSIFNETMASK, &r) == 0;
	close(fd);
	return ok;
}

#define with_guest(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_guest(gateway_answers_every_size),
		with_guest(reply_holds_what_the_request_held),
		with_guest(other_messages_get_no_answer),
		with_guest(pings_of_others_come_back_from_them),
		with_guest(short_answer_of_a_host),
		with_guest(raw_socket_hears_only_its_own),
		with_guest(unreachable_hosts_are_reported),
		with_guest(errors_are_limited_in_rate),
		with_guest(errors_about_errors_are_not_sent),
		with_guest(fragments_in_any_order_are_joined),
		with_guest(overlapping_fragments_drop_the_datagram),
		with_guest(unfinished_datagrams_time_out),
	};

	isolated = guest_namespace() && add_address();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
