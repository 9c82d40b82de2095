/* SPDX-License-Identifier: BSD-3-Clause */
/* The user-mode network on a host that changes: small MTU, routers' errors, no descriptors. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/if.h>

#include <cmocka.h>

#include "base/csum.h"
#include "backends/user/udp.h"
#include "user_guest.h"

#define LO_MTU 1280
#define FAR "192.0.2.1" /* an address of the namespace that stands for a host elsewhere */

static bool isolated;

static void needs_a_namespace(void)
{
	if (!isolated)
		skip();
}

static ssize_t host_recv(int fd, void *buf, size_t size, struct sockaddr_in *from)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	socklen_t len = sizeof(*from);

	if (poll(&p, 1, 1000) <= 0)
		return -1;
	return recvfrom(fd, buf, size, 0, (struct sockaddr *)from, &len);
}

static int far_socket(uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	a.sin_addr = guest_addr(FAR);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

/* --- paths that are narrower than the guest's link --- */

static void df_is_answered_by_the_paths_mtu(void **state)
{
	struct guest *g = *state;
	static uint8_t frame[1600], data[1400];
	struct sockaddr_in from;
	struct guest_pkt p;
	uint32_t len;
	int fd;

	needs_a_namespace();
	fd = far_socket(7000);
	len = guest_udp(g, frame, 1000, guest_addr(FAR), 7000, data, sizeof(data));
	frame[20] = 0x40; /* DF */
	guest_fix_ip(frame);
	guest_send(g, frame, len);
	assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000));
	assert_int_equal(p.l4[0] << 8 | p.l4[1], 0x304);
	assert_int_equal(user_get16(p.l4 + 6), LO_MTU);
	assert_memory_equal(p.data, frame + 14, 28);
	guest_pkt_free(&p);
	/* Without DF the host fragments. */
	len = guest_udp(g, frame, 1000, guest_addr(FAR), 7000, data, sizeof(data));
	guest_send(g, frame, len);
	assert_int_equal(host_recv(fd, frame, sizeof(frame), &from), sizeof(data));
	close(fd);
}

/* UDP_SEGMENT is refused where a datagram would not fit the device: each goes by itself then. */
static void segments_over_the_mtu_go_one_by_one(void **state)
{
	struct guest *g = *state;
	struct twx_meta uso = { .gso = TWX_GSO_UDP_L4,
				.gso_size = 1400,
				.flags = TWX_F_NEEDS_CSUM,
				.csum_start = 34,
				.csum_off = 6,
				.hdr_len = 42 };
	static uint8_t frame[8000], data[1400 * 4 + 100], buf[2000];
	uint32_t len;
	int fd;

	needs_a_namespace();
	fd = far_socket(7000);
	for (uint32_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i + (i >> 8));
	for (int round = 0; round < 2; round++) {
		len = guest_udp(g, frame, 1000, guest_addr(FAR), 7000, data, sizeof(data));
		guest_send_meta(g, frame, len, &uso);
		for (uint32_t off = 0; off < sizeof(data); off += 1400) {
			struct sockaddr_in from;
			uint32_t n = off + 1400 < sizeof(data) ? 1400 : sizeof(data) - off;

			assert_int_equal(host_recv(fd, buf, sizeof(buf), &from), n);
			assert_memory_equal(buf, data + off, n);
		}
	}
	assert_true(guest_silent(g, 10));
	close(fd);
}

static void merged_datagrams_over_the_mtu_arrive_too(void **state)
{
	struct guest *g = *state;
	static uint8_t frames[8][1600], buf[2000], body[1400];
	struct twx_frame f[8];
	struct iovec iov[8];
	int fd;

	needs_a_namespace();
	fd = far_socket(7000);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 8; i++) {
			memset(body, i, sizeof(body));
			iov[i] = (struct iovec){ frames[i],
						 guest_udp(g, frames[i], 1000, guest_addr(FAR),
							   7000, body, sizeof(body)) };
			f[i] = (struct twx_frame){ .iov = &iov[i],
						   .n_iov = 1,
						   .len = (uint32_t)iov[i].iov_len };
		}
		guest_send_burst(g, f, 8);
		for (int i = 0; i < 8; i++) {
			struct sockaddr_in from;

			assert_int_equal(host_recv(fd, buf, sizeof(buf), &from), sizeof(body));
			assert_int_equal(buf[0], i);
		}
	}
	close(fd);
}

/* --- errors from the way --- */

/* What a router at FAR says about a packet that the host sent: an ICMP message into the namespace.
 */
static void router_says(uint8_t type, uint8_t code, uint16_t mtu, uint8_t proto, const void *l4,
			uint32_t len)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	struct in_addr far = guest_addr(FAR);
	uint8_t msg[128] = { type, code };
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
	be16 sum;

	user_put16(msg + 6, mtu);
	msg[8] = 0x45;
	user_put16(msg + 10, 20 + len);
	msg[16] = 1;
	msg[17] = proto;
	memcpy(msg + 20, &far, 4);
	memcpy(msg + 24, &far, 4);
	memcpy(msg + 28, l4, len);
	sum = csum_fold(csum_partial(msg, 28 + len, 0));
	memcpy(msg + 2, &sum, 2);
	to.sin_addr = far;
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(sendto(fd, msg, 28 + len, 0, (struct sockaddr *)&to, sizeof(to)),
			 28 + len);
	close(fd);
}

static void routers_errors_reach_the_guest(void **state)
{
	static const struct {
		uint8_t type, code;
		uint16_t mtu;
	} errors[] = { { 11, 0, 0 }, { 3, 1, 0 }, { 3, 4, 1300 }, { 3, 13, 0 }, { 12, 0, 0 } };
	struct guest *g = *state;
	struct sockaddr_in from;
	uint8_t frame[128], udp[12] = { 0 }, buf[16];
	uint32_t len;
	int fd;

	needs_a_namespace();
	fd = far_socket(33434);
	len = guest_udp(g, frame, 1000, guest_addr(FAR), 33434, "hop?", 4);
	frame[20] = 0x40; /* DF: who does not set it is not told about MTUs */
	guest_fix_ip(frame);
	guest_send(g, frame, len);
	assert_int_equal(host_recv(fd, buf, sizeof(buf), &from), 4);
	user_put16(udp, ntohs(from.sin_port));
	user_put16(udp + 2, 33434);
	user_put16(udp + 4, 12);
	memcpy(udp + 8, "hop?", 4);
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct guest_pkt p;

		router_says(errors[i].type, errors[i].code, errors[i].mtu, IPPROTO_UDP, udp,
			    sizeof(udp));
		assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000));
		assert_int_equal(p.src.s_addr, guest_addr(FAR).s_addr);
		assert_int_equal(p.l4[0], errors[i].type);
		assert_int_equal(p.l4[1], errors[i].code);
		assert_int_equal(user_get16(p.l4 + 6), errors[i].mtu);
		assert_memory_equal(p.data + 12, frame + 26, 8); /* the guest's addresses */
		assert_memory_equal(p.data + 20, frame + 34, 4); /* and ports */
		assert_memory_equal(p.data + 28, "hop?", 4);
		guest_pkt_free(&p);
	}
	/* What is not about this flow's port, or no error, is not passed on. */
	user_put16(udp, ntohs(from.sin_port) ^ 1);
	router_says(11, 0, 0, IPPROTO_UDP, udp, sizeof(udp));
	assert_true(guest_silent(g, 20));
	close(fd);
}

/* The identifier on the wire of the guest's pings. */
static uint16_t ping_identifier(struct guest *g, uint16_t id)
{
	struct flow_key key = { .guest = user_mapped(g->ip), .guest_port = id, .kind = FLOW_ICMP };
	struct flow *f = flow_find(&g->user->flows, &key);
	struct sockaddr_in a;
	socklen_t len = sizeof(a);

	assert_non_null(f);
	assert_int_equal(getsockname(f->fd, (struct sockaddr *)&a, &len), 0);
	return ntohs(a.sin_port);
}

/* traceroute -I: time exceeded names the echo, with ping sockets and with raw ones. */
static void routers_errors_about_pings_reach_the_guest(void **state)
{
	needs_a_namespace();
	for (int raw = 0; raw < 2; raw++) {
		uint8_t frame[128], echo[8] = { 8 };
		struct guest *g = *state;
		uint16_t id = (uint16_t)(0x2345 + raw), wire_id;
		struct guest_pkt p;

		if (!guest_allow_ping_sockets(!raw))
			skip(); /* root of a namespace that has one group: the first half was tested
				 */
		guest_send(g, frame, guest_icmp(g, frame, guest_addr(FAR), 8, 0, id, 1, "x", 1));
		assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000)); /* the reply */
		guest_pkt_free(&p);
		wire_id = raw ? id : ping_identifier(g, id);
		user_put16(echo + 4, wire_id);
		user_put16(echo + 6, 1);
		router_says(11, 0, 0, IPPROTO_ICMP, echo, sizeof(echo));
		assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000));
		assert_int_equal(p.l4[0], 11);
		assert_int_equal(p.src.s_addr, guest_addr(FAR).s_addr);
		assert_memory_equal(p.data + 12, frame + 26, 8);
		assert_int_equal(p.data[20], 8);
		assert_int_equal(user_get16(p.data + 24), id);
		guest_pkt_free(&p);
		user_put16(echo + 4, wire_id ^ 0x100); /* another process's */
		router_says(11, 0, 0, IPPROTO_ICMP, echo, sizeof(echo));
		assert_true(guest_silent(g, 20));
	}
	assert_true(guest_allow_ping_sockets(true));
}

/* The host has a ping of its own with the guest's identifier: the guest sees its number all the
 * same. */
static void identifier_that_is_taken(void **state)
{
	struct guest *g = *state;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(0x1234) };
	uint8_t frame[128];
	struct guest_pkt p;
	int fd;

	needs_a_namespace();
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_ICMP);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	guest_send(g, frame, guest_icmp(g, frame, guest_addr(FAR), 8, 0, 0x1234, 1, "x", 1));
	assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000));
	assert_int_equal(p.l4[0], 0);
	assert_int_equal(user_get16(p.l4 + 4), 0x1234);
	guest_pkt_free(&p);
	close(fd);
}

/* --- no descriptors left --- */

/* Leaves room for @n more descriptors; the old limit comes back by the return value. */
static struct rlimit leave_room_for(int n)
{
	struct rlimit old, tight;
	int highest = dup(0);

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	tight = old;
	tight.rlim_cur = (rlim_t)(highest + n);
	close(highest);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	return old;
}

static void oldest_udp_flow_gives_its_descriptor(void **state)
{
	struct guest *g = *state;
	struct sockaddr_in from;
	struct rlimit old;
	uint16_t port;
	int fd = guest_host_socket(SOCK_DGRAM, &port);
	uint8_t frame[128], buf[16];

	old = leave_room_for(3);
	for (uint16_t i = 0; i < 20; i++) {
		guest_send(g, frame, guest_udp(g, frame, 1000 + i, g->host, port, "x", 1));
		assert_int_equal(host_recv(fd, buf, sizeof(buf), &from), 1);
	}
	assert_in_range(g->user->flows.count[FLOW_UDP], 1, 3);
	setrlimit(RLIMIT_NOFILE, &old);
	close(fd);
}

static void ping_without_a_socket_is_logged_once(void **state)
{
	struct guest *g = *state;
	struct rlimit old;
	uint8_t frame[128];

	guest_run(g, 0);
	g->warning[0] = 0;
	old = leave_room_for(0);
	guest_send(g, frame, guest_icmp(g, frame, guest_addr(FAR), 8, 0, 1, 1, "x", 1));
	setrlimit(RLIMIT_NOFILE, &old);
	assert_string_equal(g->warning,
			    "netdev n0: pings cannot leave the host: Too many open files");
	assert_int_equal(guest_drops(g, TWX_DROP_HOST_ERROR), 1);
	assert_true(guest_silent(g, 10));
}

static void forward_waits_for_a_descriptor(void **state)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct rlimit old;
	struct guest g;
	struct guest_pkt p;
	char options[64];
	uint16_t port;
	int fd;

	close(guest_host_socket(SOCK_STREAM, &port));
	snprintf(options, sizeof(options), "hostfwd=tcp:127.0.0.1:%u-:22", port);
	assert_true(guest_open(&g, options, 0, NULL));
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	to.sin_port = htons(port);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	old = leave_room_for(0);
	guest_run(&g, 0);
	/* It does not spin on what it cannot accept. */
	assert_int_equal(twx_loop_poll(g.loop, 0), 0);
	setrlimit(RLIMIT_NOFILE, &old);
	assert_true(guest_recv_ip(&g, IPPROTO_TCP, &p, 2000));
	assert_int_equal(p.dport, 22);
	guest_pkt_free(&p);
	close(fd);
	guest_close(&g);
}

/* The timer that ages flows runs while there are any, and is off otherwise. */
static void ageing_runs_by_itself(void **state)
{
	struct guest *g = *state;
	struct sockaddr_in from;
	uint16_t port;
	int fd = guest_host_socket(SOCK_DGRAM, &port);
	uint8_t frame[128], buf[16];

	assert_int_equal(g->user->age_timer.slot, 0);
	guest_send(g, frame, guest_udp(g, frame, 1000, g->host, port, "x", 1));
	assert_int_equal(host_recv(fd, buf, sizeof(buf), &from), 1);
	assert_int_not_equal(g->user->age_timer.slot, 0);
	flow_oldest(&g->user->flows, FLOW_UDP)->last_used -= 61000000000;
	twx_timer_set(&g->user->age_timer, twx_loop_now(g->loop));
	guest_run(g, 10);
	assert_int_equal(g->user->flows.n, 0);
	assert_int_equal(g->user->age_timer.slot, 0);
	close(fd);
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

/* FAR on loopback, whose MTU is made small. */
static bool arrange(void)
{
	struct ifreq r = { .ifr_name = "lo:1" }, lo = { .ifr_name = "lo", .ifr_mtu = LO_MTU };
	struct sockaddr_in *a = (struct sockaddr_in *)&r.ifr_addr;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ok;

	a->sin_family = AF_INET;
	a->sin_addr = guest_addr(FAR);
	ok = fd >= 0 && ioctl(fd, SIOCSIFADDR, &r) == 0 && ioctl(fd, SIOCSIFMTU, &lo) == 0;
	close(fd);
	return ok;
}

#define with_guest(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_guest(df_is_answered_by_the_paths_mtu),
		with_guest(segments_over_the_mtu_go_one_by_one),
		with_guest(merged_datagrams_over_the_mtu_arrive_too),
		with_guest(routers_errors_reach_the_guest),
		with_guest(routers_errors_about_pings_reach_the_guest),
		with_guest(identifier_that_is_taken),
		with_guest(oldest_udp_flow_gives_its_descriptor),
		with_guest(ping_without_a_socket_is_logged_once),
		cmocka_unit_test(forward_waits_for_a_descriptor),
		with_guest(ageing_runs_by_itself),
	};

	isolated = guest_namespace() && arrange();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
