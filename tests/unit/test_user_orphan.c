/* SPDX-License-Identifier: BSD-3-Clause */
/* The user-mode network after a crash: the guest's connections of the process before are reset. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "user_guest.h"

#define RECORD 48u
enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };

static char dir[] = "/tmp/twinax-orphan-XXXXXX";
static char prefix[64], path[80];
static int listener;
static uint16_t port;
static bool six; /* the guest speaks IPv6 */

/* --- the file --- */

static uint8_t image[64 * RECORD];
static size_t image_len;

static void save(void)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, image, sizeof(image));

	assert_true(n >= (ssize_t)RECORD);
	image_len = (size_t)n;
	close(fd);
}

static void restore(void)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_int_equal(write(fd, image, image_len), image_len);
	close(fd);
}

static bool is_there(void)
{
	return access(path, F_OK) == 0;
}

/* --- the guest --- */

static void open_guest(struct guest *g)
{
	struct twx_error e = { 0 };

	if (!guest_open_state(g, prefix, &e))
		fail_msg("%s", e.what);
}

static void tcp(struct guest *g, uint16_t sport, uint32_t seq, uint32_t ack, uint8_t flags)
{
	uint8_t frame[128];
	uint32_t len;

	if (six)
		len = guest_tcp6(g, frame, sport, "fec0::2", port, seq, ack, flags, 8192);
	else
		len = guest_tcp(g, frame, sport, g->host, port, seq, ack, flags, 8192, NULL, 0,
				NULL, 0);
	guest_send(g, frame, len);
}

static bool recv_tcp(struct guest *g, struct guest_pkt *p, int ms)
{
	return (six ? guest_recv_ip6 : guest_recv_ip)(g, IPPROTO_TCP, p, ms);
}

static void connect_from(struct guest *g, uint16_t sport)
{
	struct guest_pkt p;

	tcp(g, sport, 1000, 0, SYN);
	assert_true(recv_tcp(g, &p, 1000));
	assert_int_equal(p.flags, SYN | ACK);
	tcp(g, sport, 1001, p.seq + 1, ACK);
	guest_pkt_free(&p);
	guest_run(g, 5);
}

/* As if the process had been killed with these connections open. */
static void leave(uint16_t first, uint16_t last)
{
	static struct guest g;

	open_guest(&g);
	for (uint16_t sport = first; sport <= last; sport++)
		connect_from(&g, sport);
	save();
	guest_close(&g);
	assert_false(is_there());
	restore();
}

/* The next segment from us to @sport of the guest, others thrown away. */
static bool next(struct guest *g, uint16_t sport, struct guest_pkt *p, int ms)
{
	while (recv_tcp(g, p, ms)) {
		if (p->dport == sport && p->sport == port)
			return true;
		guest_pkt_free(p);
	}
	return false;
}

/* --- tests --- */

static void test_reset(void **state)
{
	static struct guest g;
	struct guest_pkt p;
	struct in6_addr host;

	(void)state;
	leave(4000, 4001);
	open_guest(&g);
	for (uint16_t sport = 4000; sport < 4002; sport++) {
		assert_true(next(&g, sport, &p, 1000));
		assert_memory_equal(p.frame.data, g.mac, 6);
		host = user_gateway(g.user, &p.dst6);
		assert_memory_equal(&p.src6, &host, sizeof(host));
		assert_int_equal(p.flags, ACK);
		guest_pkt_free(&p);
		/* An end that finds this unacceptable says where it stands (RFC 9293, 3.10.7.4). */
		tcp(&g, sport, 5000, 0xabcd0000u + sport, ACK);
		do {
			assert_true(next(&g, sport, &p, 1000));
			if (p.flags == ACK)
				guest_pkt_free(&p); /* repeated before the answer came */
		} while (p.flags == ACK);
		assert_int_equal(p.flags & RST, RST);
		assert_int_equal(p.seq, 0xabcd0000u + sport);
		guest_pkt_free(&p);
	}
	/* Who has answered is left alone. */
	assert_true(guest_silent(&g, 500));
	guest_close(&g);
	assert_false(is_there());
}

static void test_reset_ipv6(void **state)
{
	uint16_t port4 = port;
	int fd = guest_host_socket6(SOCK_STREAM, &port);

	six = true;
	test_reset(state);
	six = false;
	port = port4;
	close(fd);
}

/* A probe may be lost. */
static void test_repeats(void **state)
{
	static struct guest g;
	struct guest_pkt p;

	(void)state;
	leave(4000, 4000);
	open_guest(&g);
	for (int i = 0; i < 4; i++) {
		assert_true(next(&g, 4000, &p, 2000));
		guest_pkt_free(&p);
	}
	guest_close(&g);
}

/* No front end yet, or no buffers. */
static void test_waits_for_guest(void **state)
{
	static struct guest g;
	struct guest_pkt p;

	(void)state;
	leave(4000, 4000);
	open_guest(&g);
	g.busy = true;
	guest_run(&g, 300);
	while (next(&g, 4000, &p, 0))
		guest_pkt_free(&p);
	guest_ready(&g);
	assert_true(next(&g, 4000, &p, 1000));
	guest_pkt_free(&p);
	guest_close(&g);
}

/* What was closed before the crash is not in the record. */
static void test_closed_is_wiped(void **state)
{
	static struct guest g;
	struct guest_pkt p;

	(void)state;
	open_guest(&g);
	connect_from(&g, 4000);
	connect_from(&g, 4001);
	tcp(&g, 4000, 1001, 0, RST);
	guest_run(&g, 20);
	save();
	guest_close(&g);
	restore();
	open_guest(&g);
	assert_true(next(&g, 4001, &p, 1000));
	guest_pkt_free(&p);
	assert_false(next(&g, 4000, &p, 300));
	guest_close(&g);
}

/* The guest has given up by itself and opened a connection between the same ports. */
static void test_same_ports_again(void **state)
{
	static struct guest g;
	struct guest_pkt p;

	(void)state;
	leave(4000, 4000);
	open_guest(&g);
	tcp(&g, 4000, 77000, 0, SYN);
	do {
		assert_true(next(&g, 4000, &p, 1000));
		guest_pkt_free(&p);
	} while (p.flags == ACK);
	assert_int_equal(p.flags, SYN | ACK);
	tcp(&g, 4000, 77001, p.seq + 1, ACK);
	assert_false(next(&g, 4000, &p, 500));
	guest_close(&g);
}

static bool probed(void)
{
	static struct guest g;
	struct guest_pkt p;
	bool got;

	restore();
	open_guest(&g);
	got = guest_recv_ip(&g, IPPROTO_TCP, &p, 120);
	if (got)
		guest_pkt_free(&p);
	guest_close(&g);
	assert_false(is_there());
	return got;
}

static void test_bad_records(void **state)
{
	/* Offsets in a record: guest 0, peer 16, ports 32 and 34, kind 36, MAC 40. */
	static const struct {
		uint8_t off, len, value;
	} bad[] = {
		{ 28, 1, 224 },			 /* multicast */
		{ 28, 1, 127 },	 { 0, 1, 0x20 }, /* not IPv4 */
		{ 12, 1, 99 },			 /* another network's guest */
		{ 15, 1, 2 },			 /* our own address */
		{ 15, 1, 255 },			 /* broadcast */
		{ 16, 1, 0x20 }, { 32, 2, 0 },	 { 34, 2, 0 }, { 36, 1, 0 },
		{ 36, 1, 2 },	 { 36, 1, 255 }, { 40, 1, 1 }, { 40, 6, 0 },
	};
	uint8_t good[sizeof(image)];

	(void)state;
	leave(4000, 4000);
	assert_int_equal(image_len % RECORD, 0);
	memcpy(good, image, sizeof(good));
	assert_true(probed());
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memcpy(image, good, sizeof(image));
		memset(image + image_len - RECORD + bad[i].off, bad[i].value, bad[i].len);
		assert_false(probed());
	}
}

static void test_bad_files(void **state)
{
	static const size_t lens[] = { 0, 1, RECORD - 1, RECORD, RECORD + 1, 2 * RECORD - 1 };

	(void)state;
	leave(4000, 4000);
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		image_len = lens[i];
		assert_false(probed());
	}
	image_len = sizeof(image);
	image[3] ^= 1; /* another format */
	assert_false(probed());
	for (size_t i = 0; i < sizeof(image); i++)
		image[i] = (uint8_t)(i * 41 >> 3);
	assert_false(probed());
}

/* Two processes by mistake: the second leaves the first's record alone. */
static void test_one_owner(void **state)
{
	static struct guest a, b;
	uint8_t before[sizeof(image)];

	(void)state;
	open_guest(&a);
	connect_from(&a, 4000);
	save();
	memcpy(before, image, sizeof(before));
	open_guest(&b);
	assert_non_null(strstr(b.warning, "will not be reset after a crash"));
	connect_from(&b, 4001);
	guest_close(&b);
	assert_true(is_there());
	save();
	assert_memory_equal(before, image, image_len);
	guest_close(&a);
}

static void test_strange_paths(void **state)
{
	static struct guest g;
	char other[96];
	struct stat st;

	(void)state;
	/* A symbolic link is not followed. */
	snprintf(other, sizeof(other), "%s/other", dir);
	close(open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	assert_int_equal(truncate(other, 100), 0);
	assert_int_equal(symlink(other, path), 0);
	open_guest(&g);
	connect_from(&g, 4000);
	guest_close(&g);
	assert_int_equal(stat(other, &st), 0);
	assert_int_equal(st.st_size, 100);
	unlink(path);
	/* A second name means that somebody else has one too. */
	assert_int_equal(link(other, path), 0);
	open_guest(&g);
	connect_from(&g, 4000);
	guest_close(&g);
	assert_int_equal(stat(other, &st), 0);
	assert_int_equal(st.st_size, 100);
	unlink(path);
	unlink(other);
	/* A pipe must not block. */
	assert_int_equal(mkfifo(path, 0600), 0);
	open_guest(&g);
	connect_from(&g, 4000);
	guest_close(&g);
	unlink(path);
}

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(prefix, sizeof(prefix), "%s/sock", dir);
	snprintf(path, sizeof(path), "%s.n0.flows", prefix);
	listener = guest_host_socket(SOCK_STREAM, &port);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	close(listener);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reset),		cmocka_unit_test(test_reset_ipv6),
		cmocka_unit_test(test_repeats),		cmocka_unit_test(test_waits_for_guest),
		cmocka_unit_test(test_closed_is_wiped), cmocka_unit_test(test_same_ports_again),
		cmocka_unit_test(test_bad_records),	cmocka_unit_test(test_bad_files),
		cmocka_unit_test(test_one_owner),	cmocka_unit_test(test_strange_paths),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
