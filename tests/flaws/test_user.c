/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What has broken user-mode stacks before, replayed: each test names the flaw, and ends with the
 * stack answering a ping. Run under the sanitizers these tests also prove that nothing beyond a
 * frame is read.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "user_guest.h"

static void still_works(struct guest *g)
{
	uint8_t frame[128];
	struct guest_pkt p;

	while (guest_recv_ip(g, 0, &p, 0))
		guest_pkt_free(&p);
	guest_send(g, frame, guest_icmp(g, frame, g->host, 8, 0, 0x7777, 1, "alive?", 6));
	do {
		assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000));
		if (p.l4[0] == 0 && user_get16(p.l4 + 4) == 0x7777)
			break;
		guest_pkt_free(&p);
	} while (true);
	guest_pkt_free(&p);
}

static void raw_udp(struct guest *g, const char *src, uint16_t sport, const char *dst,
		    uint16_t dport, const void *data, uint32_t len)
{
	static uint8_t frame[70000];
	struct in_addr keep = g->ip;
	uint32_t n;

	g->ip = guest_addr(src);
	n = guest_udp(g, frame, sport, guest_addr(dst), dport, data, len);
	g->ip = keep;
	guest_send(g, frame, n);
}

/* CVE-2014-3640: a first packet whose source is address 0, port 0 matches a socket that is none. */
static void udp_from_nowhere(void **state)
{
	struct guest *g = *state;

	raw_udp(g, "0.0.0.0", 0, "10.0.2.2", 1000, "x", 1);
	raw_udp(g, "0.0.0.0", 0, "0.0.0.0", 0, "x", 1);
	raw_udp(g, "0.0.0.0", 5, "192.0.2.1", 1000, "x", 1);
	raw_udp(g, "0.0.0.0", 68, "10.0.2.2", 69, "\0\1x\0octet", 10);
	assert_int_equal(g->user->flows.n, 0);
	still_works(g);
}

/* CVE-2017-11434: a DHCP option whose length passes the end of the message. */
static void dhcp_option_beyond_the_end(void **state)
{
	struct guest *g = *state;
	uint8_t frame[1500], opt[64];

	for (uint32_t n = 1; n < 40; n++) {
		for (int len = 0; len < 256; len += 17) {
			memset(opt, 0, sizeof(opt));
			opt[n - 1] = 50;
			opt[n] = (uint8_t)len;
			guest_send(g, frame,
				   guest_dhcp(g, frame, 3, guest_addr("0.0.0.0"), opt, n + 1));
			/* And the code alone, as the last byte. */
			guest_send(g, frame,
				   guest_dhcp(g, frame, 3, guest_addr("0.0.0.0"), opt, n));
		}
		guest_run(g, 0);
		while (g->head != g->tail) {
			struct guest_frame f;

			assert_true(guest_recv(g, &f, 0));
			guest_frame_free(&f);
		}
	}
	still_works(g);
}

/* CVE-2021-3592..3595: shorter than a BOOTP message, a UDP header, a TFTP opcode; the reply must
 * not hold bytes that were not sent. */
static void messages_of_every_length(void **state)
{
	struct guest *g = *state;
	uint8_t frame[1500], body[600];
	struct guest_pkt p;

	memset(body, 0xa5, sizeof(body));
	memcpy(body, "\1\1\6\0", 4);
	for (uint32_t len = 0; len < 600; len++) {
		raw_udp(g, "0.0.0.0", 68, "255.255.255.255", 67, body, len);
		raw_udp(g, "10.0.2.15", 68, "10.0.2.2", 67, body, len);
		raw_udp(g, "10.0.2.15", 3000, "10.0.2.2", 69, body, len);
		while (guest_recv_ip(g, IPPROTO_UDP, &p, 0)) {
			/* 0xa5 is in the fields that are echoed, nowhere else. */
			for (uint32_t i = 0; i < p.len; i++)
				if (p.data[i] == 0xa5)
					assert_true(p.sport == 67 &&
						    ((i >= 4 && i < 8) || i == 10 || i == 11 ||
						     (i >= 28 && i < 34)));
			guest_pkt_free(&p);
		}
	}
	for (uint32_t len = 0; len < 8; len++) {
		guest_send(g, frame, guest_ip(g, frame, g->host, IPPROTO_UDP, body, len));
		guest_send(g, frame, guest_ip(g, frame, g->host, IPPROTO_TCP, body, len));
		guest_send(g, frame, guest_ip(g, frame, g->host, IPPROTO_ICMP, body, len));
	}
	still_works(g);
}

/* CVE-2018-11806, 2019-14378, 2020-1983: sizes of fragments that do not fit what was allocated. */
static void fragment(struct guest *g, uint16_t id, uint32_t off, bool more, uint32_t len)
{
	static uint8_t frame[70000], body[66000];
	uint32_t n;

	n = guest_ip(g, frame, g->host, IPPROTO_UDP, body, len);
	user_put16(frame + 18, id);
	user_put16(frame + 20, (more ? 0x2000 : 0) | off / 8);
	guest_fix_ip(frame);
	guest_send(g, frame, n);
}

static void fragments_of_all_sizes(void **state)
{
	struct guest *g = *state;
	uint64_t bad;

	fragment(g, 1, 0, true, 8);
	fragment(g, 1, 8, true, 60000); /* far larger than the first */
	fragment(g, 2, 0, true, 9000);	/* larger than the MTU */
	fragment(g, 2, 9000, false, 8);
	for (uint32_t off = 0; off < 65528; off += 8) /* grows step by step, beyond the end */
		fragment(g, 3, off, true, 8);
	bad = guest_drops(g, TWX_DROP_BAD_PACKET);
	fragment(g, 4, 65528, false, 1480); /* ends beyond 65535 */
	fragment(g, 9, 65520, true, 1480);
	assert_int_equal(guest_drops(g, TWX_DROP_BAD_PACKET), bad + 2);
	fragment(g, 4, 0, true, 65512);
	fragment(g, 5, 65512, false, 3); /* the largest packet, and one byte more */
	fragment(g, 5, 0, true, 65512);
	fragment(g, 6, 65512, false, 4);
	fragment(g, 6, 0, true, 65512);
	bad = guest_drops(g, TWX_DROP_BAD_PACKET);
	fragment(g, 7, 0, true, 7); /* no multiple of eight */
	fragment(g, 7, 0, true, 0);
	fragment(g, 7, 16, false, 0);
	assert_int_equal(guest_drops(g, TWX_DROP_BAD_PACKET), bad + 3);
	for (uint32_t off = 0; off < 4096; off += 16) /* nothing but holes */
		fragment(g, 8, off, true, 8);
	still_works(g);
}

/* CVE-2019-15890: a later fragment that fully overlaps an earlier one. */
static void overlapping_fragments(void **state)
{
	struct guest *g = *state;

	for (uint32_t a = 0; a < 64; a += 8) {
		for (uint32_t b = 0; b < 64; b += 8) {
			uint16_t id = (uint16_t)(100 + a * 8 + b / 8);

			fragment(g, id, a, true, 16);
			fragment(g, id, b, true, 32);
			fragment(g, id, a, true, 64);
			fragment(g, id, b, false, 5);
			fragment(g, id, 0, true, 128);
		}
	}
	still_works(g);
}

/* A flood of first fragments: memory reaches its bound and stays there. */
static void fragment_flood(void **state)
{
	struct guest *g = *state;

	for (int i = 0; i < 20; i++) /* fewer datagrams than are allowed, more bytes */
		fragment(g, (uint16_t)i, 0, true, 60000);
	assert_int_equal(guest_drops(g, TWX_DROP_LIMIT), 3);
	for (int i = 0; i < 3000; i++)
		fragment(g, (uint16_t)i, 0, true, 60000);
	assert_true(guest_drops(g, TWX_DROP_LIMIT) > 2900);
	for (int i = 0; i < 3000; i++)
		fragment(g, (uint16_t)i, 0, true, 8);
	still_works(g);
}

/* CVE-2020-7211: names that leave the root are in test_user_tftp.c; here, no byte before or behind
 * it. */
static void tftp_names(void **state)
{
	char root[] = "/tmp/twinax-flaws-XXXXXX", options[64], file[64];
	uint8_t frame[1500], req[600] = { 0, 1 };
	struct guest g;
	struct guest_pkt p;

	assert_non_null(mkdtemp(root));
	snprintf(options, sizeof(options), "tftp=%s", root);
	snprintf(file, sizeof(file), "%s/f", root);
	close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
	assert_true(guest_open(&g, options, 0, NULL));
	for (uint32_t len = 1; len < 500; len++) {
		memset(req + 2, len % 3 ? '/' : '.', len);
		memcpy(req + 2 + len, "\0octet", 7);
		guest_send(&g, frame, guest_udp(&g, frame, 2000, g.host, 69, req, 2 + len + 7));
		assert_true(guest_recv_ip(&g, IPPROTO_UDP, &p, 1000));
		assert_int_equal(user_get16(p.data), 5);
		guest_pkt_free(&p);
	}
	still_works(&g);
	guest_close(&g);
	unlink(file);
	rmdir(root);
}

/* libslirp, 2024: concurrent and aborted TFTP sessions; the end with one alive. CVE-2026-95508:
 * blksize over the MTU. */
static void tftp_sessions_cut_short(void **state)
{
	char root[] = "/tmp/twinax-flaws-XXXXXX", options[64], file[64];
	const char rrq[] = "\0\1f\0octet\0blksize\0"
			   "65464\0tsize\0"
			   "0";
	uint8_t frame[1500], err[5] = { 0, 5 }, ack[4] = { 0, 4 };
	struct guest g;
	int fd;

	assert_non_null(mkdtemp(root));
	snprintf(options, sizeof(options), "mtu=576,tftp=%s", root);
	snprintf(file, sizeof(file), "%s/f", root);
	fd = open(file, O_CREAT | O_RDWR | O_CLOEXEC, 0644);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	assert_true(guest_open(&g, options, 0, NULL));
	for (uint16_t i = 0; i < 200; i++) {
		uint16_t port = (uint16_t)(2000 + i % 37);
		struct guest_frame f;

		guest_send(&g, frame, guest_udp(&g, frame, port, g.host, 69, rrq, sizeof(rrq)));
		guest_send(&g, frame, guest_udp(&g, frame, port, g.host, 69, ack, 4));
		if (i % 3 == 0) {
			guest_send(&g, frame, guest_udp(&g, frame, port, g.host, 69, err, 5));
			guest_send(&g, frame, guest_udp(&g, frame, port, g.host, 69, ack, 4));
		}
		if (i == 100) /* the file shrinks under a session */
			assert_int_equal(ftruncate(fd, 100), 0);
		while (guest_recv(&g, &f, 0)) {
			assert_true(f.len <= 14 + 576);
			guest_frame_free(&f);
		}
	}
	still_works(&g);
	guest_close(&g);
	close(fd);
	unlink(file);
	rmdir(root);
}

/* CVE-2026-95508: a client identifier of any length does not make the reply longer than the MTU. */
static void dhcp_client_identifiers(void **state)
{
	uint8_t frame[1500], opt[600];
	struct guest g;
	struct guest_pkt p;

	memset(opt, 0xa5, sizeof(opt));
	assert_true(guest_open(&g, "mtu=576,hostname=guest,domainname=example.org", 0, NULL));
	for (uint32_t len = 0; len < 256; len++) {
		opt[0] = opt[len + 2] = 61;
		opt[1] = opt[len + 3] = (uint8_t)len;
		guest_send(&g, frame,
			   guest_dhcp(&g, frame, 1 + 2 * (len & 1), guest_addr("0.0.0.0"), opt,
				      2 * (len + 2)));
		assert_true(guest_recv_ip(&g, IPPROTO_UDP, &p, 1000));
		assert_true(p.frame.len <= 14 + 576);
		/* RFC 6842 has the identifier in the reply: it, and nothing else of the guest's. */
		for (uint32_t at = 240; p.data[at] != 255; at += 2u + p.data[at + 1]) {
			assert_true(at + 2u + p.data[at + 1] < p.len);
			if (p.data[at] == 61)
				assert_int_equal(p.data[at + 1], len);
			for (uint32_t i = 0; p.data[at] != 61 && i < p.data[at + 1]; i++)
				assert_int_not_equal(p.data[at + 2 + i], 0xa5);
		}
		guest_pkt_free(&p);
	}
	still_works(&g);
	guest_close(&g);
}

/* CVE-2020-29129, -29130: an ARP (or NC-SI) header read past the frame. */
static void short_arp(void **state)
{
	struct guest *g = *state;
	uint8_t frame[64];

	for (uint32_t len = 14; len < 42; len++) {
		guest_arp(g, frame, 1, g->ip, g->host);
		guest_send(g, frame, len);
		user_put16(frame + 12, 0x88f8);
		guest_send(g, frame, len);
	}
	assert_true(guest_silent(g, 5));
	assert_int_equal(guest_drops(g, TWX_DROP_TOO_SHORT), 28);
	still_works(g);
}

/* Frames cut at every length, each kind. */
static void frames_cut_at_every_length(void **state)
{
	struct guest *g = *state;
	uint8_t frame[1500], body[40] = { 0 };
	uint32_t lens[4];

	for (int kind = 0; kind < 4; kind++) {
		lens[kind] = kind == 0	 ? guest_icmp(g, frame, g->host, 8, 0, 1, 1, body, 40)
			     : kind == 1 ? guest_udp(g, frame, 1000, g->host, 69, body, 40)
			     : kind == 2 ? guest_dhcp(g, frame, 1, guest_addr("0.0.0.0"), body, 40)
					 : guest_tcp(g, frame, 1000, g->host, 9, 1, 0, 2, 1000,
						     body, 40, body, 40);
		for (uint32_t len = 14; len < lens[kind]; len++)
			guest_send(g, frame, len);
	}
	assert_true(guest_silent(g, 5));
	still_works(g);
}

/* Every byte of the headers at its extremes. */
static void header_fields_at_their_extremes(void **state)
{
	static const uint8_t values[] = { 0, 1, 0x7f, 0x80, 0xff };
	struct guest *g = *state;
	uint8_t frame[1500], hurt[1500], body[64] = { 53, 1, 3 };

	for (int kind = 0; kind < 4; kind++) {
		uint32_t len = kind == 0   ? guest_icmp(g, frame, g->host, 8, 0, 1, 1, body, 40)
			       : kind == 1 ? guest_udp(g, frame, 1000, g->dns, 54, body, 40)
			       : kind == 2 ? guest_dhcp(g, frame, 3, guest_addr("0.0.0.0"), body, 0)
					   : guest_arp(g, frame, 1, g->ip, g->host);

		for (uint32_t off = 12; off < len && off < 300; off++) {
			for (size_t v = 0; v < sizeof(values); v++) {
				struct guest_frame f;

				memcpy(hurt, frame, len);
				hurt[off] = values[v];
				if (kind < 3 && off != 24 && off != 25 && (hurt[14] & 15) >= 5 &&
				    14 + (hurt[14] & 15) * 4u <= len)
					guest_fix_ip(hurt);
				guest_send(g, hurt, len);
				while (guest_recv(g, &f, 0))
					guest_frame_free(&f);
			}
		}
	}
	still_works(g);
}

/* CVE-2026-115449: an ICMP answer must not be padded by what an earlier one held; a host's answer
 * that is shorter than the request is in test_user_icmp.c. */
static void icmp_reply_length(void **state)
{
	struct guest *g = *state;
	uint8_t frame[1500], body[1000];
	struct guest_pkt p;

	memset(body, 0x5a, sizeof(body));
	guest_send(g, frame, guest_icmp(g, frame, g->host, 8, 0, 1, 1, body, 1000));
	assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000));
	guest_pkt_free(&p);
	guest_send(g, frame, guest_icmp(g, frame, g->host, 8, 0, 1, 2, "ab", 2));
	assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000));
	assert_int_equal(p.len, 2);
	for (uint32_t i = 44; i < p.frame.len; i++)
		assert_int_equal(p.frame.data[i], 0);
	guest_pkt_free(&p);
}

/* passt, 2024: port 0, wildcard, multicast and broadcast addresses; the log must not be spammed. */
static void unsanitised_addresses(void **state)
{
	static const char *const odd[] = { "0.0.0.0",	      "255.255.255.255", "224.0.0.1",
					   "239.255.255.255", "10.0.2.0",	 "10.0.2.255",
					   "127.0.0.1",	      "10.0.2.2",	 "10.0.2.15" };
	struct guest *g = *state;
	uint8_t frame[128];

	g->warning[0] = 0;
	for (size_t s = 0; s < 9; s++) {
		for (size_t d = 0; d < 9; d++) {
			struct in_addr keep = g->ip;

			raw_udp(g, odd[s], 0, odd[d], 0, "x", 1);
			raw_udp(g, odd[s], 1000, odd[d], 0, "x", 1);
			raw_udp(g, odd[s], 0, odd[d], 1000, "x", 1);
			g->ip = guest_addr(odd[s]);
			guest_send(g, frame,
				   guest_tcp(g, frame, 0, guest_addr(odd[d]), 0, 1, 0, 2, 1000, "",
					     0, "", 0));
			guest_send(g, frame,
				   guest_icmp(g, frame, guest_addr(odd[d]), 8, 0, 1, 1, "x", 1));
			g->ip = keep;
		}
	}
	assert_string_equal(g->warning, "");
	still_works(g);
}

/* passt, 2022: a batch that exactly fills the pool, and one more. */
static void batches_around_the_pool(void **state)
{
	struct guest *g = *state;
	uint8_t frame[128];
	uint16_t port;
	int fd = guest_host_socket(SOCK_DGRAM, &port);

	for (int n = 62; n <= 66; n++) {
		struct sockaddr_in from;
		socklen_t len = sizeof(from);
		struct guest_pkt p;
		char buf[8];

		guest_send(g, frame, guest_udp(g, frame, 1000, g->host, port, "x", 1));
		assert_int_equal(recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len),
				 1);
		for (int i = 0; i < n; i++)
			sendto(fd, &i, sizeof(i), 0, (struct sockaddr *)&from, len);
		for (int i = 0; i < n; i++) {
			assert_true(guest_recv_ip(g, IPPROTO_UDP, &p, 1000));
			assert_memory_equal(p.data, &i, sizeof(i));
			guest_pkt_free(&p);
		}
	}
	close(fd);
	still_works(g);
}

/* CVE-2019-6778, 2020-7039, 2020-8608: no protocol is rewritten, UDP side: talk's ports are plain.
 */
static void protocols_are_not_rewritten(void **state)
{
	static const char text[] = "PORT 10,0,2,15,4,1\r\n\1DCC SEND f 167772687 1024\1";
	struct guest *g = *state;
	static const uint16_t ports[] = { 21, 113, 514, 517, 518, 6667, 7070 };

	for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
		struct sockaddr_in a = { .sin_family = AF_INET,
					 .sin_port = htons(ports[i]),
					 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		uint8_t frame[256], buf[256];

		if (bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0) {
			guest_send(
				g, frame,
				guest_udp(g, frame, 1000, g->host, ports[i], text, sizeof(text)));
			assert_int_equal(recv(fd, buf, sizeof(buf), 0), sizeof(text));
			assert_memory_equal(buf, text, sizeof(text));
		}
		close(fd);
	}
	still_works(g);
}

/* CVE-2017-13711, UDP side: a flow that ends while its frames wait for a busy guest. */
static void flow_ends_with_frames_queued(void **state)
{
	struct guest *g = *state;
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	uint8_t frame[128];
	uint16_t port;
	char buf[8];
	int fd = guest_host_socket(SOCK_DGRAM, &port);

	guest_send(g, frame, guest_udp(g, frame, 1000, g->host, port, "x", 1));
	assert_int_equal(recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len), 1);
	g->busy = true;
	for (int i = 0; i < 200; i++) {
		sendto(fd, "data", 4, 0, (struct sockaddr *)&from, len);
		if (i % 70 == 0)
			guest_run(g, 0);
	}
	guest_run(g, 0);
	udp_age(g->user, twx_loop_now(g->loop) + 61000000000);
	assert_int_equal(g->user->flows.n, 0);
	guest_ready(g);
	close(fd);
	still_works(g);
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
		with_guest(udp_from_nowhere),
		with_guest(dhcp_option_beyond_the_end),
		with_guest(messages_of_every_length),
		with_guest(fragments_of_all_sizes),
		with_guest(overlapping_fragments),
		with_guest(fragment_flood),
		cmocka_unit_test(tftp_names),
		cmocka_unit_test(tftp_sessions_cut_short),
		cmocka_unit_test(dhcp_client_identifiers),
		with_guest(short_arp),
		with_guest(frames_cut_at_every_length),
		with_guest(header_fields_at_their_extremes),
		with_guest(icmp_reply_length),
		with_guest(unsanitised_addresses),
		with_guest(batches_around_the_pool),
		with_guest(protocols_are_not_rewritten),
		with_guest(flow_ends_with_frames_queued),
	};

	guest_namespace();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
