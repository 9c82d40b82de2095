/* SPDX-License-Identifier: BSD-3-Clause */
/* IPv6 of the user-mode network: validation, errors, echo, datagrams, fragments, neighbours. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/csum.h"
#include "base/macros.h"
#include "user_guest.h"

#define HOST "fec0::2"
#define DNS "fec0::3"
#define FAR "2001:db8::1"
#define NOWHERE "2001:db8:1::1"
#define IP GUEST_IP_OFF

static bool own_netns, far_is_there;

static int setup_with(void **state, const char *options)
{
	static struct guest g;
	struct twx_error e = { 0 };

	*state = &g;
	return guest_open(&g, options, 0, &e) ? 0 : -1;
}

static int setup(void **state)
{
	return setup_with(state, "");
}

static int teardown(void **state)
{
	guest_close(*state);
	return 0;
}

static void assert_addr(const struct in6_addr *a, const char *text)
{
	char is[INET6_ADDRSTRLEN];

	inet_ntop(AF_INET6, a, is, sizeof(is));
	assert_string_equal(is, text);
}

/* An ICMPv6 error about the packet in @frame. */
static void expect_error(struct guest *g, uint8_t type, uint8_t code, uint32_t info,
			 const char *from, const uint8_t *frame, uint32_t len)
{
	struct guest_pkt p;

	assert_true(guest_recv_ip6(g, IPPROTO_ICMPV6, &p, 1000));
	assert_int_equal(p.l4[0], type);
	assert_int_equal(p.l4[1], code);
	assert_int_equal(user_get32(p.l4 + 4), info);
	assert_addr(&p.src6, from);
	assert_addr(&p.dst6, "fec0::15");
	assert_int_equal(p.ttl, 255);
	assert_true(p.len >= min(len - IP, 48u) && p.l4_len + 40 <= 1280);
	assert_memory_equal(p.data + 40, frame + IP + 40, min(p.len, len - IP) - 40);
	guest_pkt_free(&p);
}

/* --- what is not a packet --- */

struct wrong {
	const char *name;
	int at; /* of the IPv6 header */
	uint8_t bytes[16];
	int n;
	bool quiet_only; /* not counted as a bad packet, yet nobody answers */
};

static const struct wrong wrongs[] = {
	{ "version", 0, { 0x40 }, 1, false },
	{ "longer than the frame", 4, { 1, 0 }, 2, false },
	{ "jumbo", 4, { 0, 0, 0 }, 3, false },
	{ "hop limit", 7, { 0 }, 1, false },
	{ "from nobody", 8, { 0 }, 16, false },
	{ "from elsewhere", 8, { 0x20, 1, 0xd, 0xb8, [15] = 1 }, 16, false },
	{ "from the gateway", 8, { 0xfe, 0xc0, [15] = 2 }, 16, false },
	{ "from its link-local address", 8, { 0xfe, 0x80, [15] = 2 }, 16, false },
	{ "from a group", 8, { 0xff, 2, [15] = 1 }, 16, false },
	{ "from an IPv4 address", 8, { [10] = 0xff, 0xff, 10, 0, 2, 15 }, 16, false },
	{ "from the network", 8, { 0xfe, 0xc0 }, 16, false },
	{ "to nobody", 24, { 0 }, 16, false },
	{ "to loopback", 24, { [15] = 1 }, 16, false },
	{ "to an IPv4 address", 24, { [10] = 0xff, 0xff, 127, 0, 0, 1 }, 16, false },
	{ "to a group", 24, { 0xff, 2, [15] = 1 }, 16, true },
	{ "without a checksum", 46, { 0, 0 }, 2, false },
	{ "wrong checksum", 46, { 1, 2 }, 2, false },
	{ "hop-by-hop that ends beyond", 6, { 0 }, 1, false },
	{ "no next header", 6, { 59 }, 1, true },
};

static void malformed_packets_are_dropped(void **state)
{
	struct guest *g = *state;
	uint8_t frame[128];

	for (size_t i = 0; i < array_size(wrongs); i++) {
		const struct wrong *w = &wrongs[i];
		uint64_t bad = guest_drops(g, TWX_DROP_BAD_PACKET);
		uint32_t len = guest_udp6(g, frame, 0x00ff, HOST, 9, "x", 1);

		memcpy(frame + IP + w->at, w->bytes, (size_t)w->n);
		guest_send(g, frame, len);
		if (!guest_silent(g, 20))
			fail_msg("'%s' has been answered", w->name);
		if (!w->quiet_only && guest_drops(g, TWX_DROP_BAD_PACKET) != bad + 1)
			fail_msg("'%s' has not been dropped", w->name);
	}
}

static void frames_cut_at_any_length_are_dropped(void **state)
{
	struct guest *g = *state;
	static const uint8_t options[8] = { [2] = 1, 4 };
	uint8_t frame[256];
	uint32_t len = guest_udp6(g, frame, 1000, HOST, 9, "hello", 5);

	len = guest_extend6(frame, len, 60, options, 8);
	len = guest_extend6(frame, len, 0, options, 8);
	for (uint32_t cut = 14; cut < len; cut++)
		guest_send(g, frame, cut);
	assert_true(guest_silent(g, 20));
}

/* --- extension headers --- */

static void known_headers_are_passed_over(void **state)
{
	struct guest *g = *state;
	static const uint8_t options[16] = { [1] = 1, [2] = 1, 12 }, routing[8] = { 0 };
	static const uint8_t atomic[8] = { [4] = 9 };
	uint8_t frame[256], buf[16];
	uint16_t port;
	int fd = guest_host_socket6(SOCK_DGRAM, &port);
	uint32_t len = guest_udp6(g, frame, 1000, HOST, port, "hello", 5);

	len = guest_extend6(frame, len, IPPROTO_FRAGMENT, atomic, sizeof(atomic));
	len = guest_extend6(frame, len, IPPROTO_ROUTING, routing, sizeof(routing));
	len = guest_extend6(frame, len, IPPROTO_DSTOPTS, options, sizeof(options));
	len = guest_extend6(frame, len, IPPROTO_HOPOPTS, options, sizeof(options));
	guest_send(g, frame, len);
	guest_run(g, 10);
	assert_int_equal(recv(fd, buf, sizeof(buf), 0), 5);
	close(fd);
}

static void too_many_headers_are_dropped(void **state)
{
	struct guest *g = *state;
	static const uint8_t options[8] = { [2] = 1, 4 };
	uint8_t frame[512];
	uint32_t len = guest_udp6(g, frame, 1000, HOST, 9, "hello", 5);

	for (int i = 0; i < 9; i++)
		len = guest_extend6(frame, len, IPPROTO_DSTOPTS, options, sizeof(options));
	guest_send(g, frame, len);
	assert_true(guest_silent(g, 20));
	assert_int_equal(guest_drops(g, TWX_DROP_BAD_PACKET), 1);
	/* Hop-by-hop options stand first or nowhere. */
	len = guest_udp6(g, frame, 1000, HOST, 9, "hello", 5);
	len = guest_extend6(frame, len, IPPROTO_HOPOPTS, options, sizeof(options));
	len = guest_extend6(frame, len, IPPROTO_DSTOPTS, options, sizeof(options));
	guest_send(g, frame, len);
	assert_true(guest_silent(g, 20));
	assert_int_equal(guest_drops(g, TWX_DROP_BAD_PACKET), 2);
}

/* RFC 8200, 4.2. */
static void unknown_options_say_what_is_to_be_done(void **state)
{
	struct guest *g = *state;
	static const struct {
		uint8_t type;
		bool passes, told;
	} options[] = { { 0x3e, true, false },
			{ 0x7e, false, false },
			{ 0xbe, false, true },
			{ 0xfe, false, true },
			{ 0xc2, false, true } /* a jumbo payload */ };
	uint8_t frame[256], buf[16];
	uint16_t port;
	int fd = guest_host_socket6(SOCK_DGRAM, &port);

	for (size_t i = 0; i < array_size(options); i++) {
		uint8_t header[8] = { [2] = options[i].type, 4 };
		uint32_t len = guest_udp6(g, frame, 1000, HOST, port, "hello", 5);

		len = guest_extend6(frame, len, IPPROTO_DSTOPTS, header, sizeof(header));
		guest_send(g, frame, len);
		if (options[i].told)
			expect_error(g, 4, 2, 42, HOST, frame, len);
		assert_true(guest_silent(g, 10));
		assert_int_equal(recv(fd, buf, sizeof(buf), 0), options[i].passes ? 5 : -1);
	}
	close(fd);
}

static void headers_that_nobody_knows_are_told(void **state)
{
	struct guest *g = *state;
	static const uint8_t routing[8] = { [2] = 3, 1 }, options[8] = { [2] = 1, 4 };
	uint8_t frame[256];
	uint32_t len = guest_udp6(g, frame, 1000, HOST, 9, "hello", 5);

	len = guest_extend6(frame, len, IPPROTO_ROUTING, routing, sizeof(routing));
	guest_send(g, frame, len);
	expect_error(g, 4, 0, 42, HOST, frame, len);
	len = guest_ip6(g, frame, HOST, 132, "12345678", 8);
	guest_send(g, frame, len);
	expect_error(g, 4, 1, 6, HOST, frame, len);
	len = guest_ip6(g, frame, HOST, 132, "12345678", 8);
	len = guest_extend6(frame, len, IPPROTO_DSTOPTS, options, sizeof(options));
	guest_send(g, frame, len);
	expect_error(g, 4, 1, 40, HOST, frame, len);
}

/* --- errors --- */

static void no_hops_left_is_told(void **state)
{
	struct guest *g = *state;
	uint8_t frame[128];
	uint32_t len = guest_udp6(g, frame, 1000, NOWHERE, 9, "hello", 5);

	frame[IP + 7] = 1;
	guest_send(g, frame, len);
	expect_error(g, 3, 0, 0, HOST, frame, len);
	/* Our own addresses are the journey's end. */
	len = guest_icmp6(g, frame, HOST, 128, 0, 1, NULL, 0);
	frame[IP + 7] = 1;
	guest_send(g, frame, len);
	assert_false(guest_silent(g, 1000));
}

static void errors_are_about_what_may_be_complained_of(void **state)
{
	struct guest *g = *state;
	uint8_t frame[256], error[64] = { 0 };
	uint32_t len;

	/* An error of the guest's own, with no hops left. */
	len = guest_icmp6(g, frame, NOWHERE, 1, 4, 0, error, sizeof(error));
	frame[IP + 7] = 1;
	guest_send(g, frame, len);
	assert_true(guest_silent(g, 20));
	/* To a group: a bad option is told, whom it reaches is not. */
	len = guest_udp6(g, frame, 1000, "ff02::1", 9, "hello", 5);
	guest_send(g, frame, len);
	assert_true(guest_silent(g, 20));
	len = guest_extend6(frame, len, IPPROTO_DSTOPTS, (uint8_t[8]){ [2] = 0xbe, 4 }, 8);
	guest_send(g, frame, len);
	expect_error(g, 4, 2, 42, HOST, frame, len);
}

static void a_closed_port_is_told(void **state)
{
	struct guest *g = *state;
	uint8_t frame[128];
	uint16_t port;
	int fd = guest_host_socket6(SOCK_DGRAM, &port);
	uint32_t len = guest_udp6(g, frame, 1000, HOST, port, "hello", 5);

	close(fd);
	guest_send(g, frame, len);
	expect_error(g, 1, 4, 0, HOST, frame, len);
	/* An alias of ours, and nothing there. */
	len = guest_udp6(g, frame, 1000, DNS, 99, "hello", 5);
	guest_send(g, frame, len);
	expect_error(g, 1, 4, 0, DNS, frame, len);
	/* An address of the network that nobody has. */
	len = guest_udp6(g, frame, 1000, "fec0::77", 99, "hello", 5);
	guest_send(g, frame, len);
	expect_error(g, 1, 3, 0, HOST, frame, len);
}

static void no_route_is_told(void **state)
{
	struct guest *g = *state;
	uint8_t frame[128];
	uint32_t len;

	if (!own_netns)
		skip();
	len = guest_udp6(g, frame, 1000, NOWHERE, 9, "hello", 5);
	guest_send(g, frame, len);
	expect_error(g, 1, 0, 0, HOST, frame, len);
	len = guest_icmp6(g, frame, NOWHERE, 128, 0, 1, NULL, 0);
	guest_send(g, frame, len);
	expect_error(g, 1, 0, 0, HOST, frame, len);
}

static bool switch_off_ipv6(bool off)
{
	int fd = open("/proc/sys/net/ipv6/conf/lo/disable_ipv6", O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, off ? "1" : "0", 1) == 1;

	close(fd);
	return ok;
}

static void a_host_without_ipv6_says_so(void **state)
{
	struct guest *g = *state;
	uint8_t frame[128];
	struct guest_pkt p;
	uint32_t len;

	if (!own_netns || !switch_off_ipv6(true))
		skip();
	len = guest_udp6(g, frame, 1000, FAR, 9, "hello", 5);
	guest_send(g, frame, len);
	expect_error(g, 1, 0, 0, HOST, frame, len);
	len = guest_udp6(g, frame, 1001, HOST, 9, "hello", 5);
	guest_send(g, frame, len);
	expect_error(g, 1, 0, 0, HOST, frame, len);
	len = guest_tcp6(g, frame, 1000, FAR, 80, 1, 0, 2, 1000);
	guest_send(g, frame, len);
	assert_true(guest_recv_ip6(g, IPPROTO_ICMPV6, &p, 1000));
	assert_int_equal(user_get16(p.l4), 0x0100); /* no route */
	assert_memory_equal(p.data + 40, frame + GUEST_L4_OFF6, 8);
	guest_pkt_free(&p);
	/* Who is here itself answers still. */
	guest_send(g, frame, guest_icmp6(g, frame, HOST, 128, 0, 1, NULL, 0));
	assert_true(guest_recv_ip6(g, IPPROTO_ICMPV6, &p, 1000));
	assert_int_equal(p.l4[0], 129);
	guest_pkt_free(&p);
	assert_true(switch_off_ipv6(false));
}

static bool set_mtu(int mtu)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_mtu = mtu };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ok = fd >= 0 && ioctl(fd, SIOCSIFMTU, &lo) == 0;

	close(fd);
	return ok;
}

static void the_path_s_mtu_is_told(void **state)
{
	struct guest *g = *state;
	uint8_t frame[2048], data[1400] = { 0 };
	uint32_t len;

	if (!own_netns || !far_is_there)
		skip();
	assert_true(set_mtu(1300));
	len = guest_udp6(g, frame, 1000, FAR, 9, data, sizeof(data));
	guest_send(g, frame, len);
	expect_error(g, 2, 0, 1300, HOST, frame, len);
	assert_true(set_mtu(65536));
}

/* --- echo --- */

static void ping(struct guest *g, const char *dst, const char *answerer, uint8_t ttl)
{
	uint8_t frame[2048], data[64] = "something";
	uint32_t len = guest_icmp6(g, frame, dst, 128, 0, 0x12340007, data, sizeof(data));
	struct guest_pkt p;

	guest_send(g, frame, len);
	assert_true(guest_recv_ip6(g, IPPROTO_ICMPV6, &p, 1000));
	assert_int_equal(p.l4[0], 129);
	assert_int_equal(user_get32(p.l4 + 4), 0x12340007);
	assert_memory_equal(p.data, data, sizeof(data));
	assert_addr(&p.src6, answerer);
	assert_int_equal(p.ttl, ttl);
	guest_pkt_free(&p);
}

static void aliases_answer_pings(void **state)
{
	struct guest *g = *state;

	ping(g, HOST, HOST, 255);
	ping(g, DNS, DNS, 255);
	g->ip6 = guest_addr6("fe80::15");
	ping(g, "fe80::2", "fe80::2", 255);
	ping(g, "fe80::3", "fe80::3", 255);
	ping(g, "ff02::1", "fe80::2", 255);
	ping(g, "ff02::2", "fe80::2", 255);
}

static void pings_leave_the_host(void **state)
{
	if (!own_netns || !far_is_there)
		skip();
	ping(*state, FAR, FAR, 63);
}

/* --- datagrams --- */

static void datagrams_go_both_ways(void **state)
{
	struct guest *g = *state;
	struct sockaddr_in6 from;
	socklen_t from_len = sizeof(from);
	uint8_t frame[2048], buf[2048], big[4000];
	struct guest_pkt p;
	uint32_t got = 0, id = 0;
	uint16_t port;
	int fd = guest_host_socket6(SOCK_DGRAM, &port);

	guest_send(g, frame, guest_udp6(g, frame, 1000, HOST, port, "hello", 5));
	guest_run(g, 10);
	assert_int_equal(recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &from_len), 5);
	assert_int_equal(sendto(fd, "answer", 6, 0, (struct sockaddr *)&from, from_len), 6);
	assert_true(guest_recv_ip6(g, IPPROTO_UDP, &p, 1000));
	assert_addr(&p.src6, HOST);
	assert_int_equal(p.sport, port);
	assert_int_equal(p.dport, 1000);
	assert_int_equal(p.len, 6);
	assert_memory_equal(p.data, "answer", 6);
	guest_pkt_free(&p);
	/* Above the MTU: in fragments (RFC 8200, 4.5). */
	memset(big, 'b', sizeof(big));
	assert_int_equal(sendto(fd, big, sizeof(big), 0, (struct sockaddr *)&from, from_len), 4000);
	for (int i = 0; i < 3; i++) {
		assert_true(guest_recv_ip6(g, IPPROTO_FRAGMENT, &p, 1000));
		assert_int_equal(p.l4[0], IPPROTO_UDP);
		assert_int_equal(user_get16(p.l4 + 2) & 0xfff8, got);
		assert_int_equal(user_get16(p.l4 + 2) & 1, i < 2);
		if (i)
			assert_int_equal(user_get32(p.l4 + 4), id);
		id = user_get32(p.l4 + 4);
		assert_true(p.frame.len <= 14 + 1500);
		got += p.l4_len - 8;
		guest_pkt_free(&p);
	}
	assert_int_equal(got, 8 + sizeof(big));
	close(fd);
}

/* RFC 1122, 4.1.3.5, and what any guest expects. */
static void the_gateway_answers_from_where_it_was_asked(void **state)
{
	static const char *const asked[] = { HOST, "fe80::2", HOST };
	struct guest *g = *state;
	struct sockaddr_in6 from;
	socklen_t from_len = sizeof(from);
	uint8_t frame[256], buf[16];
	struct guest_pkt p;
	uint16_t port;
	int fd = guest_host_socket6(SOCK_DGRAM, &port);

	g->ip6 = guest_addr6("fe80::15");
	for (size_t i = 0; i < array_size(asked); i++) {
		guest_send(g, frame, guest_udp6(g, frame, 1000, asked[i], port, "hello", 5));
		guest_run(g, 10);
		assert_int_equal(
			recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &from_len), 5);
		assert_int_equal(sendto(fd, "x", 1, 0, (struct sockaddr *)&from, from_len), 1);
		assert_true(guest_recv_ip6(g, IPPROTO_UDP, &p, 1000));
		assert_addr(&p.src6, asked[i]);
		guest_pkt_free(&p);
	}
	close(fd);
}

/* --- fragments from the guest --- */

static uint32_t fragment(struct guest *g, uint8_t *frame, const char *dst, uint32_t off, bool more,
			 const void *data, uint32_t len)
{
	uint8_t header[8] = { 0 };
	uint32_t n = guest_ip6(g, frame, dst, IPPROTO_UDP, data, len);

	user_put16(header + 2, off | more);
	user_put32(header + 4, 77);
	return guest_extend6(frame, n, IPPROTO_FRAGMENT, header, sizeof(header));
}

/* Who speaks IPv4 has no address here; under the gateway's it could answer for the host. */
static void ipv4_does_not_come_in(void **state)
{
	struct guest *g = *state;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 from;
	socklen_t len = sizeof(from);
	uint16_t port, other;
	int fd = guest_host_socket6(SOCK_DGRAM, &port), fd4 = guest_host_socket(SOCK_DGRAM, &other);
	uint8_t frame[128], buf[16];
	ssize_t n = -1;

	guest_send(g, frame, guest_udp6(g, frame, 1000, HOST, port, "x", 1));
	for (int i = 0; i < 100 && n < 0; i++) {
		guest_run(g, 1);
		n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);
	}
	assert_int_equal(n, 1);
	a.sin_port = from.sin6_port;
	sendto(fd4, "forged", 6, 0, (struct sockaddr *)&a, sizeof(a));
	assert_true(guest_silent(g, 20));
	close(fd4);
	close(fd);
}

/* The host's network has addresses that the guest's has, too, link-local ones always: who has one
 * cannot be named to the guest, and is not the gateway. */
static void strangers_are_not_the_gateway(void **state)
{
	struct guest g;
	struct twx_error e = { 0 };
	struct sockaddr_in6 from, own = { .sin6_family = AF_INET6 };
	socklen_t len = sizeof(from);
	uint16_t port;
	int fd = guest_host_socket6(SOCK_DGRAM, &port);
	int other = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint8_t frame[128], buf[16];
	ssize_t n = -1;

	own.sin6_addr = guest_addr6(FAR);
	if (!far_is_there)
		skip();
	assert_int_equal(bind(other, (struct sockaddr *)&own, sizeof(own)), 0);
	assert_true(guest_open(&g, "ipv6-net=2001:db8::/64", 0, &e));
	memcpy(g.gw_mac6, (uint8_t[]){ 0x52, 0x56, 0, 0, 0, 2 }, 6);
	g.ip6 = guest_addr6("2001:db8::15");
	guest_send(&g, frame, guest_udp6(&g, frame, 1000, "2001:db8::2", port, "x", 1));
	for (int i = 0; i < 100 && n < 0; i++) {
		guest_run(&g, 1);
		n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);
	}
	assert_int_equal(n, 1);
	own.sin6_port = from.sin6_port;
	sendto(other, "forged", 6, 0, (struct sockaddr *)&own, sizeof(own));
	assert_true(guest_silent(&g, 20));
	sendto(fd, "right", 5, 0, (struct sockaddr *)&from, sizeof(from));
	assert_false(guest_silent(&g, 1000));
	close(other);
	close(fd);
	guest_close(&g);
}

static void fragments_are_put_together(void **state)
{
	struct guest *g = *state;
	uint8_t whole[4096], frame[2048], buf[4096], data[3000];
	uint16_t port;
	int fd = guest_host_socket6(SOCK_DGRAM, &port);
	const uint8_t *l4 = whole + GUEST_L4_OFF6;
	uint32_t len;

	for (uint32_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	len = guest_udp6(g, whole, 1000, HOST, port, data, sizeof(data)) - GUEST_L4_OFF6;
	/* The last one first. */
	guest_send(g, frame, fragment(g, frame, HOST, 2400, false, l4 + 2400, len - 2400));
	guest_send(g, frame, fragment(g, frame, HOST, 0, true, l4, 1200));
	assert_int_equal(recv(fd, buf, sizeof(buf), 0), -1);
	guest_send(g, frame, fragment(g, frame, HOST, 1200, true, l4 + 1200, 1200));
	guest_run(g, 10);
	assert_int_equal(recv(fd, buf, sizeof(buf), 0), sizeof(data));
	assert_memory_equal(buf, data, sizeof(data));
	/* An overlap ends the packet (RFC 8200, 4.5). */
	guest_send(g, frame, fragment(g, frame, HOST, 0, true, l4, 1200));
	guest_send(g, frame, fragment(g, frame, HOST, 800, true, l4, 1200));
	guest_send(g, frame, fragment(g, frame, HOST, 1200, true, l4 + 1200, 1200));
	guest_send(g, frame, fragment(g, frame, HOST, 2400, false, l4 + 2400, len - 2400));
	guest_run(g, 10);
	assert_int_equal(recv(fd, buf, sizeof(buf), 0), -1);
	close(fd);
}

static void bad_fragments_are_told(void **state)
{
	struct guest *g = *state;
	uint8_t frame[2048], data[64] = { 0 };
	uint32_t len = fragment(g, frame, HOST, 0, true, data, 63);

	guest_send(g, frame, len);
	expect_error(g, 4, 0, 4, HOST, frame, len);
	len = fragment(g, frame, HOST, 65528, false, data, 64);
	guest_send(g, frame, len);
	expect_error(g, 4, 0, 42, HOST, frame, len);
}

static void missing_fragments_are_told(void **state)
{
	struct guest *g = *state;
	uint8_t frame[2048], data[64] = { 0 };
	struct guest_pkt p;

	guest_send(g, frame, fragment(g, frame, HOST, 0, true, data, 64));
	frag_age(g->user, twx_loop_now(g->loop) + 31000000000ull);
	assert_true(guest_recv_ip6(g, IPPROTO_ICMPV6, &p, 1000));
	assert_int_equal(p.l4[0], 3);
	assert_int_equal(p.l4[1], 1);
	assert_int_equal(p.data[6], IPPROTO_FRAGMENT);
	assert_int_equal(user_get32(p.data + 44), 77);
	guest_pkt_free(&p);
}

/* What the guest has cut itself may be cut again: no MTU is told that it keeps already. */
static void what_came_in_fragments_leaves_in_fragments(void **state)
{
	struct guest *g = *state;
	uint8_t whole[4096], frame[2048], buf[4096], data[3000] = { 0 };
	const uint8_t *l4 = whole + GUEST_L4_OFF6;
	struct sockaddr_in6 a = { .sin6_family = AF_INET6 };
	uint16_t port;
	uint32_t len;
	int fd;

	if (!own_netns || !far_is_there)
		skip();
	fd = guest_host_socket6(SOCK_DGRAM, &port);
	close(fd);
	a.sin6_port = htons(port);
	a.sin6_addr = guest_addr6(FAR);
	fd = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_true(set_mtu(1400));
	len = guest_udp6(g, whole, 1000, FAR, port, data, sizeof(data)) - GUEST_L4_OFF6;
	for (uint32_t off = 0; off < len; off += 1200)
		guest_send(g, frame,
			   fragment(g, frame, FAR, off, len - off > 1200, l4 + off,
				    min(1200u, len - off)));
	guest_run(g, 20);
	assert_int_equal(recv(fd, buf, sizeof(buf), 0), sizeof(data));
	assert_true(guest_silent(g, 10));
	assert_true(set_mtu(65536));
	close(fd);
}

/* --- neighbours and forwards --- */

static void forwards_ask_for_the_guest(void **state)
{
	struct guest g;
	struct twx_error e = { 0 };
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
	struct guest_pkt p;
	uint8_t frame[256];
	char options[96], buf[16];
	uint16_t port, own;
	int fd = guest_host_socket6(SOCK_DGRAM, &port), client;

	close(fd);
	snprintf(options, sizeof(options), "hostfwd=udp:[::1]:%u-[fec0::15]:53", port);
	assert_true(guest_open(&g, options, 0, &e));
	g.no_arp = true;
	client = guest_host_socket6(SOCK_DGRAM, &own);
	to.sin6_port = htons(port);
	assert_int_equal(sendto(client, "hello", 5, 0, (struct sockaddr *)&to, sizeof(to)), 5);
	assert_true(guest_recv_ip6(&g, IPPROTO_ICMPV6, &p, 1000));
	assert_int_equal(p.l4[0], 135);
	assert_int_equal(p.ttl, 255);
	assert_addr(&p.dst6, "ff02::1:ff00:15");
	assert_memory_equal(p.frame.data, "\x33\x33\xff\0\0\x15", 6);
	guest_pkt_free(&p);
	assert_true(guest_silent(&g, 20));
	/* Whatever comes from the guest says where it is. */
	guest_send(&g, frame, guest_icmp6(&g, frame, HOST, 128, 0, 1, NULL, 0));
	assert_true(guest_recv_ip6(&g, IPPROTO_UDP, &p, 1000));
	assert_memory_equal(p.frame.data, g.mac, 6);
	assert_addr(&p.src6, HOST);
	assert_int_equal(p.sport, own);
	assert_int_equal(p.dport, 53);
	assert_int_equal(p.len, 5);
	guest_pkt_free(&p);
	guest_send(&g, frame, guest_udp6(&g, frame, 53, HOST, own, "answer", 6));
	guest_run(&g, 10);
	assert_int_equal(recv(client, buf, sizeof(buf), 0), 6);
	close(client);
	guest_close(&g);
}

static void solicitations_are_answered(void **state)
{
	struct guest *g = *state;
	static const struct {
		const char *target;
		uint8_t mac[6];
	} ours[] = {
		{ HOST, { 0x52, 0x56, 0, 0, 0, 2 } },
		{ DNS, { 0x52, 0x56, 0, 0, 0, 3 } },
		{ "fe80::2", { 0x52, 0x56, 0, 0, 0, 2 } },
		{ "fe80::3", { 0x52, 0x56, 0, 0, 0, 3 } },
	};
	uint8_t frame[256], data[24] = { [16] = 1, 1 };
	struct in6_addr target;
	struct guest_pkt p;
	uint32_t len;

	memcpy(data + 18, g->mac, 6);
	for (size_t i = 0; i < array_size(ours); i++) {
		target = guest_addr6(ours[i].target);
		memcpy(data, &target, 16);
		len = guest_icmp6(g, frame, ours[i].target, 135, 0, 0, data, sizeof(data));
		guest_send(g, frame, len);
		assert_true(guest_silent(g, 5)); /* not from this link */
		frame[IP + 7] = 255;
		guest_send(g, frame, len);
		assert_true(guest_recv_ip6(g, IPPROTO_ICMPV6, &p, 1000));
		assert_int_equal(p.l4[0], 136);
		assert_int_equal(p.ttl, 255);
		assert_memory_equal(p.l4 + 8, &target, 16);
		assert_memory_equal(p.l4 + 26, ours[i].mac, 6);
		guest_pkt_free(&p);
	}
	target = guest_addr6("fec0::99");
	memcpy(data, &target, 16);
	len = guest_icmp6(g, frame, "ff02::1:ff00:99", 135, 0, 0, data, sizeof(data));
	frame[IP + 7] = 255;
	guest_send(g, frame, len);
	assert_true(guest_silent(g, 20));
}

/* --- options --- */

static void restrict_lets_nothing_out(void **state)
{
	struct guest *g = *state;
	uint8_t frame[128], buf[8];
	uint16_t port;
	int fd = guest_host_socket6(SOCK_DGRAM, &port);

	g->user->cfg.restricted = true;
	guest_send(g, frame, guest_udp6(g, frame, 1000, HOST, port, "hello", 5));
	assert_true(guest_silent(g, 20));
	assert_int_equal(recv(fd, buf, sizeof(buf), 0), -1);
	assert_int_equal(guest_drops(g, TWX_DROP_DENIED), 1);
	close(fd);
}

static void a_family_that_is_off_is_silent(void **state)
{
	struct guest g;
	struct twx_error e = { 0 };
	uint8_t frame[128];

	assert_true(guest_open(&g, "ipv6=off", 0, &e));
	guest_send(&g, frame, guest_icmp6(&g, frame, HOST, 128, 0, 1, NULL, 0));
	assert_true(guest_silent(&g, 20));
	guest_close(&g);
	assert_true(guest_open(&g, "ipv4=off", 0, &e));
	guest_send(&g, frame, guest_arp(&g, frame, 1, g.ip, g.host));
	guest_send(&g, frame, guest_icmp(&g, frame, g.host, 8, 0, 1, 1, "x", 1));
	assert_true(guest_silent(&g, 20));
	ping(&g, HOST, HOST, 255);
	guest_close(&g);
}

static void another_prefix_has_other_addresses(void **state)
{
	struct guest g;
	struct twx_error e = { 0 };

	assert_true(guest_open(&g, "ipv6-net=fd00:1:2:3::/64,ipv6-host=fd00:1:2:3::99", 0, &e));
	memcpy(g.gw_mac6, (uint8_t[]){ 0x52, 0x56, 0, 0, 0, 0x99 }, 6);
	g.ip6 = guest_addr6("fd00:1:2:3::15");
	ping(&g, "fd00:1:2:3::99", "fd00:1:2:3::99", 255);
	ping(&g, "fd00:1:2:3::3", "fd00:1:2:3::3", 255);
	guest_close(&g);
}

#define with_guest(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_guest(malformed_packets_are_dropped),
		with_guest(frames_cut_at_any_length_are_dropped),
		with_guest(known_headers_are_passed_over),
		with_guest(too_many_headers_are_dropped),
		with_guest(unknown_options_say_what_is_to_be_done),
		with_guest(headers_that_nobody_knows_are_told),
		with_guest(no_hops_left_is_told),
		with_guest(errors_are_about_what_may_be_complained_of),
		with_guest(a_closed_port_is_told),
		with_guest(no_route_is_told),
		with_guest(the_path_s_mtu_is_told),
		with_guest(aliases_answer_pings),
		with_guest(pings_leave_the_host),
		with_guest(datagrams_go_both_ways),
		with_guest(the_gateway_answers_from_where_it_was_asked),
		with_guest(ipv4_does_not_come_in),
		cmocka_unit_test(strangers_are_not_the_gateway),
		with_guest(fragments_are_put_together),
		with_guest(bad_fragments_are_told),
		with_guest(missing_fragments_are_told),
		with_guest(what_came_in_fragments_leaves_in_fragments),
		cmocka_unit_test(forwards_ask_for_the_guest),
		with_guest(solicitations_are_answered),
		with_guest(restrict_lets_nothing_out),
		cmocka_unit_test(a_family_that_is_off_is_silent),
		cmocka_unit_test(another_prefix_has_other_addresses),
		with_guest(a_host_without_ipv6_says_so), /* the last: what it takes away comes back
							    slowly */
	};

	own_netns = guest_namespace();
	far_is_there = own_netns && guest_far_address();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
