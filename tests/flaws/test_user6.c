/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_user.c's rows with IPv6: what has broken user-mode stacks before, replayed. Each test ends
 * with the stack answering a ping.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/csum.h"
#include "base/macros.h"
#include "user_guest.h"

#define HOST "fec0::2"
#define DSTOPTS 60

static void still_works(struct guest *g)
{
	uint8_t frame[128];
	struct guest_frame f;
	struct guest_pkt p;
	bool alive;

	while (guest_recv(g, &f, 0))
		guest_frame_free(&f);
	guest_send(g, frame, guest_icmp6(g, frame, HOST, 128, 0, 0x77770001, "alive?", 6));
	do {
		assert_true(guest_recv_ip6(g, IPPROTO_ICMPV6, &p, 1000));
		alive = p.l4[0] == 129 && user_get32(p.l4 + 4) == 0x77770001;
		guest_pkt_free(&p);
	} while (!alive);
}

/* CVE-2014-3640: a first packet whose source is address 0, port 0 matches a socket that is none. */
static void udp_from_nowhere(void **state)
{
	struct guest *g = *state;
	struct in6_addr keep = g->ip6;
	uint8_t frame[128];

	g->ip6 = in6addr_any;
	guest_send(g, frame, guest_udp6(g, frame, 0, HOST, 1000, "x", 1));
	guest_send(g, frame, guest_udp6(g, frame, 0, "::", 0, "x", 1));
	guest_send(g, frame, guest_udp6(g, frame, 5, "2001:db8::1", 1000, "x", 1));
	g->ip6 = keep;
	assert_int_equal(g->user->flows.n, 0);
	still_works(g);
}

static void fragment(struct guest *g, uint32_t id, uint32_t off, bool more, uint32_t len)
{
	static uint8_t frame[70000], body[66000];
	uint8_t header[8] = { 0 };
	uint32_t n = guest_ip6(g, frame, HOST, IPPROTO_UDP, body, len);

	user_put16(header + 2, off | more);
	user_put32(header + 4, id);
	guest_send(g, frame, guest_extend6(frame, n, IPPROTO_FRAGMENT, header, sizeof(header)));
}

/* CVE-2018-11806, 2019-14378, 2020-1983: sizes of fragments that do not fit what was allocated. */
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
	fragment(g, 7, 0, true, 7); /* no multiple of eight */
	fragment(g, 7, 0, true, 0);
	fragment(g, 7, 16, false, 0);
	assert_int_equal(guest_drops(g, TWX_DROP_BAD_PACKET), bad + 5);
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
			uint32_t id = 100 + a * 8 + b / 8;

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

	for (uint32_t i = 0; i < 3000; i++)
		fragment(g, i, 0, true, 60000);
	assert_true(guest_drops(g, TWX_DROP_LIMIT) > 2900);
	for (uint32_t i = 0; i < 3000; i++)
		fragment(g, i, 0, true, 8);
	still_works(g);
}

/* A datagram that is a fragment again once it is whole, of itself: the piece that it contains is
 * what is there already, so that it was complete without end. And one of another datagram, which
 * takes the memory that is being read. */
static void fragments_in_fragments(void **state)
{
	struct guest *g = *state;
	uint8_t frame[2048], body[1024], header[8] = { IPPROTO_FRAGMENT, [3] = 1, [7] = 42 };

	for (uint32_t inner = 42; inner <= 43; inner++) {
		header[7] = (uint8_t)inner;
		for (uint32_t i = 0; i < sizeof(body); i += sizeof(header))
			memcpy(body + i, header, sizeof(header));
		header[7] = 42;
		for (uint32_t off = 0; off < 2 * sizeof(body); off += sizeof(body)) {
			uint32_t n =
				guest_ip6(g, frame, HOST, IPPROTO_FRAGMENT, body, sizeof(body));

			user_put16(header + 2, off | !off);
			guest_send(g, frame, guest_extend6(frame, n, IPPROTO_FRAGMENT, header, 8));
		}
		user_put16(header + 2, 1);
	}
	assert_int_equal(guest_drops(g, TWX_DROP_BAD_PACKET), 2);
	still_works(g);
}

/* QEMU, 2021: an extension header at the end of the data; and headers in every order and number. */
static void extension_headers_at_the_end(void **state)
{
	static const uint8_t types[] = { 0, 43, 44, 50, 51, 59, DSTOPTS, 135, 139, 140 };
	struct guest *g = *state;
	uint8_t frame[512];

	for (size_t t = 0; t < array_size(types); t++) {
		for (uint32_t left = 0; left < 24; left++) {
			for (int len = 0; len < 4; len++) {
				uint8_t body[24] = { types[t], (uint8_t)(len == 3 ? 255 : len) };

				guest_send(g, frame,
					   guest_ip6(g, frame, HOST, types[t], body, left));
			}
		}
	}
	still_works(g);
}

static void options_of_every_length(void **state)
{
	struct guest *g = *state;
	uint8_t frame[512];

	for (int type = 0; type < 256; type++) {
		for (int len = 0; len < 256; len += len < 8 ? 1 : 31) {
			uint8_t header[16] = { [1] = 1, [2] = (uint8_t)type, (uint8_t)len };
			uint32_t n = guest_udp6(g, frame, 1000, HOST, 9, "x", 1);

			guest_send(g, frame,
				   guest_extend6(frame, n, DSTOPTS, header, sizeof(header)));
		}
	}
	still_works(g);
}

static uint32_t sample(struct guest *g, uint8_t *frame, int kind)
{
	static const uint8_t options[8] = { [2] = 1, 4 }, atomic[8] = { 0 };
	uint8_t body[40] = { 0 };
	uint32_t n;

	switch (kind) {
	case 0:
		return guest_icmp6(g, frame, HOST, 128, 0, 1, body, sizeof(body));
	case 1:
		return guest_udp6(g, frame, 1000, HOST, 69, body, sizeof(body));
	case 2:
		return guest_udp6(g, frame, 546, "ff02::1:2", 547, body, sizeof(body));
	case 3:
		return guest_tcp6(g, frame, 1000, HOST, 9, 1, 0, 2, 1000);
	case 4:
		return guest_icmp6(g, frame, "ff02::1:ff00:2", 135, 0, 0, body, 24);
	}
	n = guest_udp6(g, frame, 1000, HOST, 9, body, sizeof(body));
	n = guest_extend6(frame, n, IPPROTO_FRAGMENT, atomic, sizeof(atomic));
	n = guest_extend6(frame, n, DSTOPTS, options, sizeof(options));
	return guest_extend6(frame, n, 0, options, sizeof(options));
}

static void frames_cut_at_every_length(void **state)
{
	struct guest *g = *state;
	uint8_t frame[512];

	for (int kind = 0; kind < 6; kind++) {
		uint32_t whole = sample(g, frame, kind);

		for (uint32_t len = 14; len < whole; len++)
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
	uint8_t frame[512], hurt[512];
	struct guest_frame f;

	for (int kind = 0; kind < 6; kind++) {
		uint32_t len = sample(g, frame, kind);

		for (uint32_t off = 12; off < len; off++) {
			for (size_t v = 0; v < sizeof(values); v++) {
				memcpy(hurt, frame, len);
				hurt[off] = values[v];
				guest_send_meta(g, hurt, len,
						&(struct twx_meta){ .flags = TWX_F_CSUM_VALID });
				while (guest_recv(g, &f, 0))
					guest_frame_free(&f);
			}
		}
	}
	still_works(g);
}

/* passt, 2024: port 0, wildcard, multicast and other strange addresses; the log must not be
 * spammed. */
static void unsanitised_addresses(void **state)
{
	static const char *const odd[] = { "::",      "::1",	  "ff02::1",	      "ff0e::1",
					   "fec0::",  "fec0::2",  "::ffff:127.0.0.1", "::10.0.2.2",
					   "fe80::2", "fe80::15", "fec0::15" };
	struct guest *g = *state;
	struct in6_addr keep = g->ip6;
	uint8_t frame[128];

	g->warning[0] = 0;
	for (size_t s = 0; s < array_size(odd); s++) {
		for (size_t d = 0; d < array_size(odd); d++) {
			g->ip6 = guest_addr6(odd[s]);
			for (int ports = 0; ports < 3; ports++)
				guest_send(g, frame,
					   guest_udp6(g, frame, ports & 1 ? 1000 : 0, odd[d],
						      ports & 2 ? 1000 : 0, "x", 1));
			guest_send(g, frame, guest_tcp6(g, frame, 0, odd[d], 0, 1, 0, 2, 1000));
			guest_send(g, frame, guest_tcp6(g, frame, 9, odd[d], 9, 1, 0, 16, 1000));
			guest_send(g, frame, guest_icmp6(g, frame, odd[d], 128, 0, 1, "x", 1));
		}
	}
	g->ip6 = keep;
	assert_string_equal(g->warning, "");
	still_works(g);
}

/* CVE-2026-115449: an ICMP answer must not be padded by what an earlier one held. */
static void icmp_reply_length(void **state)
{
	struct guest *g = *state;
	uint8_t frame[1500], body[1000];
	struct guest_pkt p;

	memset(body, 0x5a, sizeof(body));
	guest_send(g, frame, guest_icmp6(g, frame, HOST, 128, 0, 1, body, sizeof(body)));
	assert_true(guest_recv_ip6(g, IPPROTO_ICMPV6, &p, 1000));
	guest_pkt_free(&p);
	guest_send(g, frame, guest_icmp6(g, frame, HOST, 128, 0, 2, "ab", 2));
	assert_true(guest_recv_ip6(g, IPPROTO_ICMPV6, &p, 1000));
	assert_int_equal(p.len, 2);
	assert_int_equal(p.frame.len, 64);
	guest_pkt_free(&p);
}

static int setup(void **state)
{
	static struct guest g;
	struct twx_error e = { 0 };

	*state = &g;
	return guest_open(&g, "", 0, &e) ? 0 : -1;
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
		with_guest(fragments_of_all_sizes),
		with_guest(overlapping_fragments),
		with_guest(fragment_flood),
		with_guest(fragments_in_fragments),
		with_guest(extension_headers_at_the_end),
		with_guest(options_of_every_length),
		with_guest(frames_cut_at_every_length),
		with_guest(header_fields_at_their_extremes),
		with_guest(unsanitised_addresses),
		with_guest(icmp_reply_length),
	};

	guest_namespace();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
