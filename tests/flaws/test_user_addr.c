/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What has broken address configuration of user-mode stacks before, replayed over IPv6: DHCPv6,
 * neighbour discovery, TFTP. Each test ends with the stack answering a solicitation. Run under the
 * sanitizers these tests also prove that nothing beyond a frame is read.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "user_guest6.h"

#define MARK 0xa5 /* of the guest's bytes */

static uint32_t solicitation(const struct guest *g, uint8_t msg[32])
{
	static const uint8_t host[16] = { 0xfe, 0xc0, [15] = 2 };

	memset(msg, 0, 32);
	msg[0] = 135;
	memcpy(msg + 8, host, 16);
	memcpy(msg + 24, "\1\1", 2);
	memcpy(msg + 26, g->mac, 6);
	return 32;
}

static void drain(struct guest *g)
{
	struct guest_frame f;

	while (guest_recv(g, &f, 0)) {
		assert_true(f.len <= 14 + g->user->cfg.mtu);
		guest_frame_free(&f);
	}
}

static void still_works(struct guest *g)
{
	struct guest6_pkt p;
	uint8_t msg[32];

	drain(g);
	guest6_icmp(g, GUEST6_IP, "ff02::1:ff00:2", 255, msg, solicitation(g, msg));
	assert_true(guest6_recv(g, IPPROTO_ICMPV6, &p, 1000));
	assert_int_equal(p.l4[0], 136);
	guest6_free(&p);
}

/* CVE-2026-95508: a DHCPv6 reply is as long as the MTU allows, whatever is to be echoed. */
static void client_identifiers_of_every_length(void **state)
{
	uint8_t msg[1240];
	struct guest g;
	struct guest6_pkt p;

	assert_true(guest_open(&g, "mtu=1280", 0, NULL));
	memset(msg, MARK, sizeof(msg));
	memcpy(msg, "\13\1\2\3\0\1", 6);
	for (uint32_t len = 0; len <= 1200; len++) {
		user_put16(msg + 6, len);
		guest6_udp(&g, GUEST6_LL, 546, "ff02::1:2", 547, msg, 8 + len);
		/* RFC 8415, 11.1: 128 bytes and two of type. */
		if (len < 3 || len > 130) {
			assert_true(guest_silent(&g, 0));
			continue;
		}
		assert_true(guest6_recv(&g, IPPROTO_UDP, &p, 1000));
		assert_true(p.frame.len <= 14 + 1280);
		assert_memory_equal(p.data + 4, msg + 4, 4 + len);
		for (uint32_t i = 8 + len; i < p.len; i++)
			assert_int_not_equal(p.data[i], MARK);
		guest6_free(&p);
	}
	still_works(&g);
	guest_close(&g);
}

/* The same with all that a reply can hold: what has no room is left out. */
static void fullest_reply_fits_the_mtu(void **state)
{
	char options[2048], name[260];
	uint8_t msg[1200];
	struct guest6_pkt p;
	struct guest g;
	uint32_t len = 4, n = 0;
	int at;

	memset(name, 'n', 127);
	name[127] = 0;
	at = snprintf(options, sizeof(options), "mtu=1280,bootfile=%s", name);
	for (int i = 0; i < 3; i++) { /* of search list: more than is left, less than our buffer */
		memset(name, 'a' + i, 255);
		name[63] = name[127] = name[191] = '.';
		name[253] = 0;
		at += snprintf(options + at, sizeof(options) - (size_t)at, ",dnssearch=%s", name);
	}
	assert_true(guest_open(&g, options, 0, NULL));
	memset(msg, MARK, sizeof(msg));
	memcpy(msg, "\1\1\2\3", 4);
	user_put16(msg + len, 1);
	user_put16(msg + len + 2, 130);
	len += 134;
	for (int i = 0; i < 4; i++) {
		memset(msg + len, 0, 16);
		msg[len + 1] = i ? 25 : 3;
		msg[len + 3] = 12;
		msg[len + 7] = (uint8_t)i;
		len += 16;
	}
	guest6_udp(&g, GUEST6_LL, 546, "ff02::1:2", 547, msg, len);
	assert_true(guest6_recv(&g, IPPROTO_UDP, &p, 1000));
	assert_true(p.frame.len <= 14 + 1280);
	for (uint32_t i = 4; i < p.len; i += 4 + user_get16(p.data + i + 2)) {
		assert_true(i + 4 + user_get16(p.data + i + 2) <= p.len);
		assert_int_not_equal(user_get16(p.data + i), 24);
		n++;
	}
	assert_int_equal(n, 9); /* identifiers, preference, four IAs, name server, boot URL */
	guest6_free(&p);
	still_works(&g);
	guest_close(&g);
}

/* CVE-2021-3592..3595 in their IPv6 form: messages of every length, an option of every length; the
 * reply has no byte that was not sent. */
static void messages_of_every_length(void **state)
{
	static const uint8_t types[] = { 1, 3, 4, 5, 6, 8, 9, 11, 12 };
	struct guest *g = *state;
	uint8_t msg[300];

	for (size_t t = 0; t < sizeof(types); t++) {
		for (uint32_t len = 0; len < 120; len++) {
			memset(msg, MARK, sizeof(msg));
			memcpy(msg, "\1\1\2\3\0\1\0\12\0\3\0\1......\0\2\0\12\0\3\0\1", 26);
			msg[0] = types[t];
			memcpy(msg + 26, g->user->mac6, 6);
			memcpy(msg + 32, "\0\3\0\50abcd........\0\5\0\30", 20);
			guest6_udp(g, GUEST6_LL, 546, "ff02::1:2", 547, msg, len);
			/* And the IA's option with a length that may pass the end. */
			msg[35] = (uint8_t)len;
			msg[51] = (uint8_t)(len * 7);
			guest6_udp(g, GUEST6_LL, 546, "ff02::1:2", 547, msg, 76);
			guest6_udp(g, GUEST6_IP, 3000, "fec0::2", 69, msg, len);
			drain(g);
		}
	}
	still_works(g);
}

/* Frames cut at every length, with a header that says that all of it is there, and one that does
 * not. */
static void neighbour_messages_cut_anywhere(void **state)
{
	struct guest *g = *state;
	uint8_t msg[40], frame[256];

	for (uint8_t type = 133; type <= 137; type++) {
		for (uint32_t n_opt = 0; n_opt < 256; n_opt += 17) {
			uint32_t len, all = solicitation(g, msg);

			msg[0] = type;
			msg[25] = (uint8_t)n_opt;
			len = guest6_ip(g, frame, GUEST6_IP, "ff02::1:ff00:2", IPPROTO_ICMPV6, 255,
					msg, all);
			for (uint32_t cut = 14; cut < len; cut++)
				guest_send(g, frame, cut);
			for (uint32_t cut = 0; cut <= all; cut++)
				guest6_icmp(g, GUEST6_IP, "ff02::1:ff00:2", 255, msg, cut);
			drain(g);
		}
	}
	still_works(g);
}

/* --- TFTP --- */

static char root[] = "/tmp/flaws-user-addr-XXXXXX";

static bool open_tftp(struct guest *g)
{
	char path[64], options[96];
	static uint8_t data[5000];
	int fd;

	memcpy(root + strlen(root) - 6, "XXXXXX", 6);
	assert_non_null(mkdtemp(root));
	snprintf(path, sizeof(path), "%s/x", root);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_int_equal(write(fd, data, sizeof(data)), sizeof(data));
	close(fd);
	snprintf(options, sizeof(options), "mtu=1280,tftp=%s", root);
	return guest_open(g, options, 0, NULL);
}

static void close_tftp(struct guest *g)
{
	char path[64];

	guest_close(g);
	snprintf(path, sizeof(path), "%s/x", root);
	unlink(path);
	rmdir(root);
}

static void reads(struct guest *g, uint16_t port, const char *blksize)
{
	uint8_t msg[64] = { 0, 1 };
	int n = snprintf((char *)msg + 2, sizeof(msg) - 2, "x%coctet%cblksize%c%s", 0, 0, 0,
			 blksize);

	guest6_udp(g, GUEST6_IP, port, "fec0::2", 69, msg, 3 + (uint32_t)n);
}

/* CVE-2026-95508: a block size above what the MTU holds. */
static void block_size_above_the_mtu(void **state)
{
	struct guest6_pkt p;
	struct guest g;

	assert_true(open_tftp(&g));
	reads(&g, 3000, "65464");
	assert_true(guest6_recv(&g, IPPROTO_UDP, &p, 1000));
	/* 1280 less 40 of IPv6, 8 of UDP, 4 of TFTP. */
	assert_memory_equal(p.data, "\0\6blksize\0001228", 15);
	guest6_free(&p);
	guest6_udp(&g, GUEST6_IP, 3000, "fec0::2", 69, "\0\4\0", 4);
	assert_true(guest6_recv(&g, IPPROTO_UDP, &p, 1000));
	assert_int_equal(p.len, 4 + 1228);
	assert_int_equal(p.frame.len, 14 + 1280);
	guest6_free(&p);
	still_works(&g);
	close_tftp(&g);
}

/* libslirp, 2024: sessions that begin, end and fail at once; the end with some of them alive. */
static void sessions_end_in_any_order(void **state)
{
	struct guest g;

	assert_true(open_tftp(&g));
	for (uint16_t i = 0; i < 200; i++) {
		uint16_t other = 3000 + i * 7 % 60;

		reads(&g, 3000 + i % 60, i % 3 ? "8" : "x");
		guest6_udp(&g, GUEST6_IP, other, "fec0::2", 69, i % 2 ? "\0\5\0\0x" : "\0\4\0\1",
			   5);
		guest6_udp(&g, GUEST6_LL, other, "fe80::2", 69, "\0\4\0\1", 4);
		drain(&g);
	}
	reads(&g, 4000, "8");
	still_works(&g);
	close_tftp(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(client_identifiers_of_every_length),
		cmocka_unit_test(fullest_reply_fits_the_mtu),
		on_guest(messages_of_every_length),
		on_guest(neighbour_messages_cut_anywhere),
		cmocka_unit_test(block_size_above_the_mtu),
		cmocka_unit_test(sessions_end_in_any_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
