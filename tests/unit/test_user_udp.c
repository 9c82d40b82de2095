/* SPDX-License-Identifier: BSD-3-Clause */
/* UDP through the user-mode network: flows, bursts, offload both ways, DNS, errors, ageing, bounds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "backends/user/udp.h"
#include "net/queue.h"
#include "user_guest.h"

static bool may_isolate;

/* A datagram at the host's socket; its length or -1. */
static ssize_t host_recv(int fd, void *buf, size_t size, struct sockaddr_in *from, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	socklen_t len = sizeof(*from);

	if (poll(&p, 1, ms) <= 0)
		return -1;
	return recvfrom(fd, buf, size, 0, (struct sockaddr *)from, &len);
}

static void host_send(int fd, const struct sockaddr_in *to, const void *data, size_t len)
{
	assert_int_equal(sendto(fd, data, len, 0, (const struct sockaddr *)to, sizeof(*to)), len);
}

/* The guest's datagram reaches @fd; @from is its source there. */
static void reaches(struct guest *g, int fd, uint16_t sport, struct in_addr dst, uint16_t dport,
		    const void *data, uint32_t len, struct sockaddr_in *from)
{
	static uint8_t frame[70000], buf[70000];

	guest_send(g, frame, guest_udp(g, frame, sport, dst, dport, data, len));
	assert_int_equal(host_recv(fd, buf, sizeof(buf), from, 1000), len);
	assert_memory_equal(buf, data, len);
	assert_int_equal(from->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
}

static void expect(struct guest *g, struct in_addr src, uint16_t sport, uint16_t dport,
		   const void *data, uint32_t len)
{
	struct guest_pkt p;

	assert_true(guest_recv_ip(g, IPPROTO_UDP, &p, 1000));
	assert_int_equal(p.src.s_addr, src.s_addr);
	assert_int_equal(p.dst.s_addr, g->ip.s_addr);
	assert_int_equal(p.sport, sport);
	assert_int_equal(p.dport, dport);
	assert_int_equal(p.len, len);
	assert_memory_equal(p.data, data, len);
	for (uint32_t i = 42 + len; i < p.frame.len; i++)
		assert_int_equal(p.frame.data[i], 0); /* nothing of anybody else's in the padding */
	guest_pkt_free(&p);
}

static void host_alias_is_loopback(void **state)
{
	struct guest *g = *state;
	struct sockaddr_in from;
	uint16_t port;
	int fd = guest_host_socket(SOCK_DGRAM, &port);

	reaches(g, fd, 1000, g->host, port, "question", 8, &from);
	host_send(fd, &from, "a longer answer than the question", 33);
	expect(g, g->host, port, 1000, "a longer answer than the question", 33);
	host_send(fd, &from, "", 0);
	expect(g, g->host, port, 1000, "", 0);
	close(fd);
}

static void one_socket_serves_all_peers_of_a_port(void **state)
{
	struct guest *g = *state;
	struct sockaddr_in from[2], other;
	uint16_t port[3];
	int fd[3];

	for (int i = 0; i < 3; i++)
		fd[i] = guest_host_socket(SOCK_DGRAM, &port[i]);
	reaches(g, fd[0], 1000, g->host, port[0], "a", 1, &from[0]);
	reaches(g, fd[1], 1000, g->host, port[1], "b", 1, &from[1]);
	assert_int_equal(from[0].sin_port, from[1].sin_port);
	assert_int_equal(g->user->flows.count[FLOW_UDP], 1);
	/* Whoever knows the mapping may answer (RFC 4787: endpoint-independent filtering). */
	host_send(fd[2], &from[0], "c", 1);
	expect(g, g->host, port[2], 1000, "c", 1);
	reaches(g, fd[0], 1001, g->host, port[0], "d", 1, &other);
	assert_int_not_equal(other.sin_port, from[0].sin_port);
	for (int i = 0; i < 3; i++)
		close(fd[i]);
}

static void sizes_up_to_the_largest(void **state)
{
	static const uint32_t sizes[] = { 1, 17, 18, 19, 1472, 1473, 1984, 1985, 9000, 65507 };
	static uint8_t data[65507];
	struct guest *g = *state;
	uint16_t port;
	int fd = guest_host_socket(SOCK_DGRAM, &port);

	for (uint32_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + (i >> 8));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct twx_meta ufo = { .gso = TWX_GSO_UDP, .gso_size = 1472 };
		static uint8_t frame[70000], buf[70000];
		uint32_t len = guest_udp(g, frame, 1000, g->host, port, data, sizes[i]);
		struct sockaddr_in from;

		guest_send_meta(g, frame, len, sizes[i] > 1472 ? &ufo : NULL);
		assert_int_equal(host_recv(fd, buf, sizeof(buf), &from, 1000), sizes[i]);
		assert_memory_equal(buf, data, sizes[i]);
	}
	close(fd);
}

/* Fragments towards the guest, put together again here. */
static void large_answers_are_fragmented(void **state)
{
	static uint8_t data[20000], got[20008];
	struct guest *g = *state;
	struct sockaddr_in from;
	uint32_t have = 0;
	uint16_t port;
	int fd = guest_host_socket(SOCK_DGRAM, &port), id = -1;

	for (uint32_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 13);
	reaches(g, fd, 1000, g->host, port, "go", 2, &from);
	host_send(fd, &from, data, sizeof(data));
	while (have < sizeof(got)) {
		struct guest_pkt p;
		uint32_t off;

		assert_true(guest_recv_ip(g, IPPROTO_UDP, &p, 1000));
		off = (user_get16(p.ip + 6) & 0x1fff) * 8u;
		assert_true(p.frame.len <= 1514);
		assert_true(off + p.l4_len <= sizeof(got));
		assert_int_equal(off, have);
		if (id >= 0)
			assert_int_equal(user_get16(p.ip + 4), id);
		id = user_get16(p.ip + 4);
		memcpy(got + off, p.l4, p.l4_len);
		have += p.l4_len;
		assert_int_equal(!!(user_get16(p.ip + 6) & 0x2000), have < sizeof(got));
		guest_pkt_free(&p);
	}
	assert_int_equal(user_get16(got), port);
	assert_int_equal(user_get16(got + 4), sizeof(got));
	assert_memory_equal(got + 8, data, sizeof(data));
	close(fd);
}

/* The next datagram: its length, and the TTL that it came with. */
static ssize_t recv_with_ttl(int fd, void *buf, size_t size, int *ttl)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	_Alignas(struct cmsghdr) char control[64];
	struct iovec iov = { buf, size };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	ssize_t n;

	if (poll(&p, 1, 1000) <= 0)
		return -1;
	n = recvmsg(fd, &m, 0);
	assert_non_null(CMSG_FIRSTHDR(&m));
	memcpy(ttl, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(*ttl));
	return n;
}

static uint32_t burst_size(int i)
{
	return i % 11 == 3 ? 10 : i % 7 == 5 ? 900 : 1400;
}

static int burst_ttl(int i)
{
	return i < 40 ? 64 : i < 47 ? 30 : 31 + i % 2;
}

/* Sizes that can be merged and sizes that cannot, two peers, TTL and DF changing, payload
 * scattered. */
static void bursts_keep_order_and_content(void **state)
{
	struct guest *g = *state;
	static uint8_t data[TWX_BURST][1600];
	struct twx_frame frames[TWX_BURST];
	struct iovec iov[TWX_BURST][3];
	uint16_t port[2];
	int fd[2] = { guest_host_socket(SOCK_DGRAM, &port[0]),
		      guest_host_socket(SOCK_DGRAM, &port[1]) };
	int next[2] = { 0, 0 }, expected[2][TWX_BURST], on = 1;

	for (int i = 0; i < TWX_BURST; i++) {
		uint8_t body[1400];
		uint32_t len;
		int to = i % 16 == 9;

		memset(body, i, sizeof(body));
		len = guest_udp(g, data[i], 1000, g->host, port[to], body, burst_size(i));
		data[i][22] = (uint8_t)burst_ttl(i);
		data[i][20] = i >= 50 ? 0x40 : 0;
		guest_fix_ip(data[i]);
		expected[to][next[to]++] = i;
		iov[i][0] = (struct iovec){ data[i], len < 192 ? len : 192 };
		iov[i][1] = (struct iovec){ data[i] + 192, len < 192 ? 0 : 33 };
		iov[i][2] = (struct iovec){ data[i] + 225, len < 225 ? 0 : len - 225 };
		frames[i] =
			(struct twx_frame){ .iov = iov[i], .n_iov = len < 225 ? 1 : 3, .len = len };
	}
	for (int to = 0; to < 2; to++)
		setsockopt(fd[to], IPPROTO_IP, IP_RECVTTL, &on, sizeof(on));
	guest_send_burst(g, frames, TWX_BURST);
	for (int to = 0; to < 2; to++) {
		struct pollfd more = { .fd = fd[to], .events = POLLIN };

		for (int k = 0; k < next[to]; k++) {
			uint8_t buf[2000];
			int i = expected[to][k], ttl;

			assert_int_equal(recv_with_ttl(fd[to], buf, sizeof(buf), &ttl),
					 burst_size(i));
			assert_int_equal(buf[0], i);
			assert_int_equal(buf[burst_size(i) - 1], i);
			assert_int_equal(ttl, burst_ttl(i) - 1);
		}
		assert_int_equal(poll(&more, 1, 0), 0);
		close(fd[to]);
	}
}

static void segmentation_frames_become_datagrams(void **state)
{
	struct guest *g = *state;
	struct twx_meta uso = { .gso = TWX_GSO_UDP_L4,
				.gso_size = 1000,
				.flags = TWX_F_NEEDS_CSUM,
				.csum_start = 34,
				.csum_off = 6,
				.hdr_len = 42 };
	static uint8_t frame[20000], data[10500];
	uint16_t port;
	int fd = guest_host_socket(SOCK_DGRAM, &port);
	uint32_t len;

	for (uint32_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 3 + (i >> 8));
	len = guest_udp(g, frame, 1000, g->host, port, data, sizeof(data));
	guest_send_meta(g, frame, len, &uso);
	for (uint32_t off = 0; off < sizeof(data); off += 1000) {
		struct sockaddr_in from;
		uint8_t buf[2000];
		uint32_t n = sizeof(data) - off < 1000 ? sizeof(data) - off : 1000;

		assert_int_equal(host_recv(fd, buf, sizeof(buf), &from, 1000), n);
		assert_memory_equal(buf, data + off, n);
	}
	close(fd);
}

static int setup_uso(void **state)
{
	static struct guest g;

	assert_true(guest_open(&g, "", TWX_CAP_CSUM | TWX_CAP_USO, NULL));
	*state = &g;
	return 0;
}

/* Enough datagrams that the flow's socket collects trains, then a train: one USO frame for the
 * guest. */
static void trains_reach_the_guest_as_one_frame(void **state)
{
	struct guest *g = *state;
	static uint8_t data[8192];
	struct sockaddr_in from;
	struct guest_pkt p;
	uint16_t port;
	int fd = guest_host_socket(SOCK_DGRAM, &port), size = 1024;

	for (uint32_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i + (i >> 8));
	reaches(g, fd, 1000, g->host, port, "go", 2, &from);
	for (int i = 0; i < 40; i++) {
		host_send(fd, &from, data, 20);
		expect(g, g->host, port, 1000, data, 20);
	}
	assert_int_equal(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)), 0);
	host_send(fd, &from, data, sizeof(data));
	assert_true(guest_recv_ip(g, IPPROTO_UDP, &p, 1000));
	assert_int_equal(p.len, sizeof(data));
	assert_int_equal(p.frame.meta.gso, TWX_GSO_UDP_L4);
	assert_int_equal(p.frame.meta.gso_size, size);
	assert_memory_equal(p.data, data, sizeof(data));
	guest_pkt_free(&p);
	close(fd);
}

/* Takes the datagrams of @sizes, filled one after the other from @data; the number of frames. */
static int expect_joined(struct guest *g, const uint16_t *sizes, int n, const uint8_t *data)
{
	int frames = 0, i = 0;

	while (i < n) {
		struct guest_pkt p;
		uint32_t off = 0, step;

		assert_true(guest_recv_ip(g, IPPROTO_UDP, &p, 1000));
		frames++;
		step = p.frame.meta.gso ? p.frame.meta.gso_size : p.len;
		assert_true(!p.frame.meta.gso || p.frame.meta.gso == TWX_GSO_UDP_L4);
		do {
			assert_true(i < n);
			assert_int_equal(p.len - off < step ? p.len - off : step, sizes[i]);
			assert_memory_equal(p.data + off, data, sizes[i]);
			data += sizes[i];
			off += sizes[i++];
		} while (off < p.len);
		guest_pkt_free(&p);
	}
	return frames;
}

/* What a socket has got one by one leaves for the guest joined, as long as the sizes allow. */
static void datagrams_of_one_size_are_joined(void **state)
{
	static const struct {
		uint16_t first, n, last;
		int frames; /* of @n of the first size and one of the last */
	} cases[] = {
		{ 100, 40, 50, 1 }, { 1400, 40, 1400, 1 }, { 1472, 44, 3, 1 },
		{ 1472, 45, 3, 2 }, { 20, 64, 20, 2 },	   { 300, 5, 301, 2 },
		{ 18, 3, 1, 1 },    { 17, 4, 17, 5 },	   { 1000, 2, 1000, 1 },
	};
	static uint8_t data[100000];
	struct guest *g = *state;
	struct sockaddr_in from;
	uint16_t port;
	int fd = guest_host_socket(SOCK_DGRAM, &port), frames;

	for (uint32_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + (i >> 8));
	reaches(g, fd, 1000, g->host, port, "go", 2, &from);
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		uint16_t sizes[70];
		uint32_t off = 0;
		int n = 0;

		for (; n < cases[k].n; n++)
			sizes[n] = cases[k].first;
		sizes[n++] = cases[k].last;
		for (int i = 0; i < n; off += sizes[i++])
			host_send(fd, &from, data + off, sizes[i]);
		frames = expect_joined(g, sizes, n, data);
		/* a batch may end anywhere */
		assert_in_range(frames, cases[k].frames, cases[k].frames + 1);
	}
	close(fd);
}

/* Two senders by turns: nothing is mixed up. */
static void senders_are_not_joined(void **state)
{
	struct guest *g = *state;
	struct sockaddr_in from;
	uint16_t port[2];
	int fd[2];

	for (int i = 0; i < 2; i++) {
		fd[i] = guest_host_socket(SOCK_DGRAM, &port[i]);
		reaches(g, fd[i], 1000, g->host, port[i], "go", 2, &from);
	}
	for (int i = 0; i < 20; i++)
		host_send(fd[i & 1], &from,
			  i & 1 ? "two two two two two two" : "one one one one one one", 23);
	for (int i = 0; i < 20; i++)
		expect(g, g->host, port[i & 1], 1000,
		       (const uint8_t *)(i & 1 ? "two two two two two two"
					       : "one one one one one one"),
		       23);
	close(fd[0]);
	close(fd[1]);
}

static void trains_reach_a_plain_guest_as_datagrams(void **state)
{
	struct guest *g = *state;
	static uint8_t data[5000];
	struct sockaddr_in from;
	uint16_t port;
	int fd = guest_host_socket(SOCK_DGRAM, &port), size = 1024;

	memset(data, 'x', sizeof(data));
	reaches(g, fd, 1000, g->host, port, "go", 2, &from);
	for (int i = 0; i < 40; i++) {
		host_send(fd, &from, data, 20);
		expect(g, g->host, port, 1000, data, 20);
	}
	assert_int_equal(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)), 0);
	host_send(fd, &from, data, sizeof(data));
	for (uint32_t left = sizeof(data); left; left -= left < 1024 ? left : 1024)
		expect(g, g->host, port, 1000, data, left < 1024 ? left : 1024);
	close(fd);
}

/* --- errors --- */

static void closed_port_is_port_unreachable(void **state)
{
	struct guest *g = *state;
	struct guest_pkt p;
	uint8_t frame[128];
	uint16_t port;

	close(guest_host_socket(SOCK_DGRAM, &port));
	guest_send(g, frame, guest_udp(g, frame, 1000, g->host, port, "anybody?", 8));
	assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000));
	assert_int_equal(p.src.s_addr, g->host.s_addr);
	assert_int_equal(p.l4[0], 3);
	assert_int_equal(p.l4[1], 3);
	assert_memory_equal(p.data + 12, frame + 26, 8); /* both addresses */
	assert_memory_equal(p.data + 20, frame + 34, 6); /* ports, length */
	assert_memory_equal(p.data + 28, "anybody?", 8);
	guest_pkt_free(&p);
	/* The flow works on. */
	{
		int fd = guest_host_socket(SOCK_DGRAM, &port);
		struct sockaddr_in from;

		reaches(g, fd, 1000, g->host, port, "now", 3, &from);
		close(fd);
	}
}

static void no_route_is_net_unreachable(void **state)
{
	struct guest *g = *state;
	struct guest_pkt p;
	uint8_t frame[128];

	if (!may_isolate)
		skip();
	guest_send(g, frame, guest_udp(g, frame, 1000, guest_addr("192.0.2.1"), 9, "x", 1));
	assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000));
	assert_int_equal(p.src.s_addr, g->host.s_addr);
	assert_int_equal(p.l4[0], 3);
	assert_int_equal(p.l4[1], 0);
	assert_memory_equal(p.data, frame + 14, 28);
	guest_pkt_free(&p);
}

static void last_hop_is_told_by_the_gateway(void **state)
{
	struct guest *g = *state;
	struct guest_pkt p;
	uint8_t frame[128];
	uint32_t len = guest_udp(g, frame, 1000, guest_addr("192.0.2.1"), 33434, "x", 1);

	frame[22] = 1;
	guest_fix_ip(frame);
	guest_send(g, frame, len);
	assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000));
	assert_int_equal(p.src.s_addr, g->host.s_addr);
	assert_int_equal(p.l4[0], 11);
	assert_int_equal(p.l4[1], 0);
	guest_pkt_free(&p);
}

static void ttl_is_passed_on_less_one(void **state)
{
	struct guest *g = *state;
	uint16_t port;
	int fd = guest_host_socket(SOCK_DGRAM, &port), on = 1;
	uint8_t frame[128];

	setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &on, sizeof(on));
	for (int ttl = 20; ttl < 23; ttl++) {
		_Alignas(struct cmsghdr) char control[64];
		char buf[16];
		struct iovec iov = { buf, sizeof(buf) };
		struct msghdr m = { .msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = control,
				    .msg_controllen = sizeof(control) };
		uint32_t len = guest_udp(g, frame, 1000, g->host, port, "x", 1);
		int got;

		frame[22] = (uint8_t)ttl;
		guest_fix_ip(frame);
		guest_send(g, frame, len);
		assert_int_equal(recvmsg(fd, &m, 0), 1);
		memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(got));
		assert_int_equal(got, ttl - 1);
	}
	close(fd);
}

static void bad_datagrams_are_counted(void **state)
{
	struct guest *g = *state;
	uint64_t before = guest_drops(g, TWX_DROP_BAD_PACKET);
	uint8_t frame[128];
	uint16_t port;
	int fd = guest_host_socket(SOCK_DGRAM, &port);
	struct sockaddr_in from;
	uint32_t len;

	len = guest_udp(g, frame, 1000, g->host, port, "hello", 5);
	frame[41] ^= 1;
	guest_send(g, frame, len); /* checksum */
	guest_send(g, frame, guest_udp(g, frame, 0, g->host, port, "hello", 5));
	guest_send(g, frame, guest_udp(g, frame, 1000, g->host, 0, "hello", 5));
	for (int l = 0; l < 8; l++) { /* length under the header's */
		len = guest_udp(g, frame, 1000, g->host, port, "hello", 5);
		user_put16(frame + 38, (uint32_t)l);
		guest_send(g, frame, len);
	}
	len = guest_udp(g, frame, 1000, g->host, port, "hello", 5);
	user_put16(frame + 38, 14); /* beyond the packet */
	guest_send(g, frame, len);
	guest_send(g, frame, guest_ip(g, frame, g->host, IPPROTO_UDP, "1234567", 7));
	len = guest_udp(g, frame, 1000, g->host, port, "hello", 5);
	user_put16(frame + 38, 14); /* into the frame's padding */
	user_put16(frame + 40, 0);
	memset(frame + len, 'p', 60 - len);
	guest_send(g, frame, 60);
	assert_int_equal(guest_drops(g, TWX_DROP_BAD_PACKET), before + 14);
	assert_int_equal(host_recv(fd, frame, sizeof(frame), &from, 20), -1);
	/* A checksum of zero is none. */
	len = guest_udp(g, frame, 1000, g->host, port, "hello", 5);
	user_put16(frame + 40, 0);
	guest_send(g, frame, len);
	assert_int_equal(host_recv(fd, frame, sizeof(frame), &from, 1000), 5);
	close(fd);
}

/* --- bounds --- */

static void idle_flows_end(void **state)
{
	struct sockaddr_in from;
	struct guest g;
	uint16_t port;
	int fd = guest_host_socket(SOCK_DGRAM, &port);
	uint64_t now;

	assert_true(guest_open(&g, "", 0, NULL));
	reaches(&g, fd, 1000, g.host, port, "x", 1, &from);
	now = twx_loop_now(g.loop);
	assert_int_equal(g.user->flows.count[FLOW_UDP], 1);
	udp_age(g.user, now + 59000000000);
	assert_int_equal(g.user->flows.count[FLOW_UDP], 1);
	udp_age(g.user, now + 61000000000);
	assert_int_equal(g.user->flows.count[FLOW_UDP], 0);
	guest_close(&g);
	close(fd);
}

static void flows_are_bounded_and_the_oldest_gives_way(void **state)
{
	struct sockaddr_in from;
	struct guest g;
	uint16_t port;
	int fd = guest_host_socket(SOCK_DGRAM, &port);

	assert_true(guest_open(&g, "max-flows=64", 0, NULL));
	for (uint16_t i = 0; i < 100; i++) {
		reaches(&g, fd, 1000 + i, g.host, port, "x", 1, &from);
		assert_true(g.user->flows.count[FLOW_UDP] <= 16);
	}
	host_send(fd, &from, "to the last one", 15);
	expect(&g, g.host, port, 1099, "to the last one", 15);
	guest_close(&g);
	close(fd);
}

/* Said at start where it was asked for, and in the log when it comes to that. */
static void descriptors_are_short(void **state)
{
	struct rlimit was, few;
	struct twx_error e = { 0 };
	uint8_t frame[128];
	struct guest g;

	getrlimit(RLIMIT_NOFILE, &was);
	few = was;
	few.rlim_cur = 100;
	setrlimit(RLIMIT_NOFILE, &few);
	assert_false(guest_open(&g, "max-flows=100", 0, &e));
	assert_non_null(strstr(e.what, "max-flows=100 takes more descriptors"));
	assert_non_null(strstr(e.hint, "ulimit -n"));
	assert_true(guest_open(&g, "", 0, &e));
	few.rlim_cur = 3;
	setrlimit(RLIMIT_NOFILE, &few);
	guest_send(&g, frame,
		   guest_tcp(&g, frame, 2000, g.host, 80, 1, 0, 2, 1000, NULL, 0, NULL, 0));
	assert_non_null(strstr(g.warning, "no descriptor is left"));
	setrlimit(RLIMIT_NOFILE, &was);
	guest_close(&g);
}

/* A burst that opens more flows than fit: what was queued for the ones that give way is sent
 * before. */
static void eviction_within_a_burst_loses_nothing(void **state)
{
	uint8_t data[TWX_BURST][64], buf[64];
	struct twx_frame frames[TWX_BURST];
	struct iovec iov[TWX_BURST];
	struct sockaddr_in from;
	struct guest g;
	uint16_t port;
	int fd = guest_host_socket(SOCK_DGRAM, &port);

	assert_true(guest_open(&g, "max-flows=64", 0, NULL));
	for (int i = 0; i < TWX_BURST; i++) {
		uint8_t body = (uint8_t)i;

		iov[i] = (struct iovec){ data[i], guest_udp(&g, data[i], (uint16_t)(1000 + i),
							    g.host, port, &body, 1) };
		frames[i] = (struct twx_frame){ .iov = &iov[i],
						.n_iov = 1,
						.len = (uint32_t)iov[i].iov_len };
	}
	guest_send_burst(&g, frames, TWX_BURST);
	for (int i = 0; i < TWX_BURST; i++)
		assert_int_equal(host_recv(fd, buf, sizeof(buf), &from, 1000), 1);
	guest_close(&g);
	close(fd);
}

/* --- back-pressure --- */

static void busy_guest_leaves_data_in_the_socket(void **state)
{
	struct guest *g = *state;
	struct sockaddr_in from[2];
	uint16_t port;
	int fd = guest_host_socket(SOCK_DGRAM, &port);
	uint32_t next[2] = { 0, 0 };

	reaches(g, fd, 1000, g->host, port, "a", 1, &from[0]);
	reaches(g, fd, 1001, g->host, port, "b", 1, &from[1]);
	g->busy = true;
	for (uint32_t i = 0; i < 150; i++) {
		host_send(fd, &from[0], &i, sizeof(i));
		host_send(fd, &from[1], &i, sizeof(i));
		if (i % 50 == 0)
			guest_run(g, 0);
	}
	guest_run(g, 10);
	/* At most one batch is in the core's queue; the rest waits in the sockets. */
	assert_non_null(g->port.queue);
	assert_in_range(g->port.queue->n, 1, 64);
	guest_ready(g);
	while (next[0] < 150 || next[1] < 150) {
		struct guest_pkt p;
		uint32_t i, which;

		assert_true(guest_recv_ip(g, IPPROTO_UDP, &p, 1000));
		which = p.dport - 1000u;
		assert_true(which < 2);
		memcpy(&i, p.data, sizeof(i));
		assert_int_equal(i, next[which]++);
		guest_pkt_free(&p);
	}
	close(fd);
}

/* The guest rebooted with another MAC cache, or never spoke: the answer waits for ARP. */
static void unknown_mac_is_asked_for(void **state)
{
	struct guest *g = *state;
	struct sockaddr_in from;
	struct guest_frame f;
	uint8_t frame[64];
	uint16_t port;
	int fd = guest_host_socket(SOCK_DGRAM, &port);

	reaches(g, fd, 1000, g->host, port, "x", 1, &from);
	memset(g->user->neighs, 0, sizeof(g->user->neighs));
	g->no_arp = true;
	host_send(fd, &from, "one", 3);
	host_send(fd, &from, "two", 3);
	assert_true(guest_recv(g, &f, 1000));
	assert_int_equal(user_get16(f.data + 12), 0x0806);
	assert_int_equal(f.data[21], 1);
	assert_memory_equal(f.data + 28, &g->host, 4);
	assert_memory_equal(f.data + 38, &g->ip, 4);
	guest_frame_free(&f);
	assert_true(guest_silent(g, 20));
	guest_send(g, frame, guest_arp(g, frame, 2, g->ip, g->host));
	expect(g, g->host, port, 1000, "one", 3);
	expect(g, g->host, port, 1000, "two", 3);
	close(fd);
}

static void restrict_lets_nothing_out(void **state)
{
	struct sockaddr_in from;
	struct guest g;
	uint8_t frame[128], buf[64];
	uint16_t port;
	int fd = guest_host_socket(SOCK_DGRAM, &port);

	assert_true(guest_open(&g, "restrict=on", 0, NULL));
	guest_send(&g, frame, guest_udp(&g, frame, 1000, g.host, port, "x", 1));
	guest_send(&g, frame, guest_udp(&g, frame, 1000, g.dns, 53, "x", 1));
	guest_send(&g, frame, guest_udp(&g, frame, 1000, guest_addr("192.0.2.1"), 53, "x", 1));
	assert_int_equal(guest_drops(&g, TWX_DROP_DENIED), 3);
	assert_int_equal(host_recv(fd, buf, sizeof(buf), &from, 20), -1);
	assert_true(guest_silent(&g, 10));
	assert_int_equal(g.user->flows.n, 0);
	guest_close(&g);
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

#define with_guest(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_guest(host_alias_is_loopback),
		with_guest(one_socket_serves_all_peers_of_a_port),
		with_guest(sizes_up_to_the_largest),
		with_guest(large_answers_are_fragmented),
		with_guest(bursts_keep_order_and_content),
		with_guest(segmentation_frames_become_datagrams),
		cmocka_unit_test_setup_teardown(trains_reach_the_guest_as_one_frame, setup_uso,
						teardown),
		cmocka_unit_test_setup_teardown(datagrams_of_one_size_are_joined, setup_uso,
						teardown),
		cmocka_unit_test_setup_teardown(senders_are_not_joined, setup_uso, teardown),
		with_guest(trains_reach_a_plain_guest_as_datagrams),
		with_guest(closed_port_is_port_unreachable),
		with_guest(no_route_is_net_unreachable),
		with_guest(last_hop_is_told_by_the_gateway),
		with_guest(ttl_is_passed_on_less_one),
		with_guest(bad_datagrams_are_counted),
		cmocka_unit_test(idle_flows_end),
		cmocka_unit_test(flows_are_bounded_and_the_oldest_gives_way),
		cmocka_unit_test(eviction_within_a_burst_loses_nothing),
		cmocka_unit_test(descriptors_are_short),
		with_guest(busy_guest_leaves_data_in_the_socket),
		with_guest(unknown_mac_is_asked_for),
		cmocka_unit_test(restrict_lets_nothing_out),
	};

	may_isolate = guest_namespace();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
