/* SPDX-License-Identifier: BSD-3-Clause */
/* libslirp.so.0 as its users call it. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/macros.h"
#include "slirp_kit.h"

#define FWD 0x0a0002c8u /* 10.0.2.200 */

static struct in_addr v4(uint32_t a)
{
	return (struct in_addr){ htonl(a) };
}

static void open_kit(struct kit *k)
{
	struct slirp_config cfg = kit_config(4);

	kit_open(k, &cfg);
	assert_non_null(k->slirp);
	kit_arp(k, KIT_HOST);
	kit_run(k);
	assert_int_equal(k->n_frames, 1);
	k->n_frames = 0;
}

static int listener(uint16_t *port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr = v4(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sin, len), 0);
	assert_int_equal(listen(fd, 8), 0);
	getsockname(fd, (struct sockaddr *)&sin, &len);
	*port = ntohs(sin.sin_port);
	return fd;
}

/* --- what is accepted --- */

static void test_versions(void **state)
{
	struct slirp_config cfg;
	struct kit k;

	for (uint32_t v = 0; v <= 8; v++) {
		cfg = kit_config(v);
		kit_open(&k, &cfg);
		assert_int_equal(k.slirp != NULL, v >= 1 && v <= 6);
		assert_int_equal(k.n_completed, v >= 4 && v <= 6);
		assert_int_equal(k.n_fd, v >= 1 && v <= 5);
		assert_int_equal(k.n_sock, v == 6);
		kit_close(&k);
		assert_int_equal(k.n_fd_gone, k.n_fd);
		assert_int_equal(k.n_sock_gone, k.n_sock);
	}
	assert_non_null(strstr(slirp_version_string(), "twinax"));
}

static void test_refused(void **state)
{
	struct slirp_config cfg = kit_config(5);
	struct kit k;

	cfg.enable_emu = true;
	kit_open(&k, &cfg);
	assert_null(k.slirp);
	kit_close(&k);
	cfg = kit_config(5);
	cfg.mfr_id = 0x8119;
	kit_open(&k, &cfg);
	assert_null(k.slirp);
	kit_close(&k);
	cfg = kit_config(5);
	cfg.in_enabled = false;
	kit_open(&k, &cfg);
	assert_null(k.slirp);
	kit_close(&k);
	cfg = kit_config(5);
	cfg.vhost = cfg.vnameserver;
	kit_open(&k, &cfg);
	assert_null(k.slirp);
	kit_close(&k);
	/* What a caller of version 4 has behind its last field is not looked at. */
	cfg = kit_config(4);
	cfg.mfr_id = 0x8119;
	kit_open(&k, &cfg);
	assert_non_null(k.slirp);
	kit_close(&k);
}

/* A DISCOVER, and how many answers it gets. */
static uint32_t discover(struct kit *k)
{
	uint8_t f[600], m[300] = { 1, 1, 6, 0, 1, 2, 3, 4 };
	static const uint8_t options[] = { 0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255 };

	memcpy(m + 28, "\x52\x54\x00\x12\x34\x56", 6);
	memcpy(m + 236, options, sizeof(options));
	k->n_frames = 0;
	kit_input(k, f, kit_udp(f, 0xffffffff, 68, 67, m, sizeof(m)));
	kit_run(k);
	return k->n_frames;
}

static void test_disable_dhcp(void **state)
{
	struct slirp_config cfg = kit_config(4);
	struct kit k;

	cfg.disable_dhcp = true;
	kit_open(&k, &cfg);
	assert_int_equal(discover(&k), 0);
	kit_close(&k);
	cfg.version = 3;
	kit_open(&k, &cfg);
	assert_int_equal(discover(&k), 1);
	kit_close(&k);
}

static void test_loopback(void **state)
{
	struct slirp_config cfg = kit_config(4);
	uint16_t port;
	int l = listener(&port);
	struct kit_conn c;
	struct kit k;

	cfg.disable_host_loopback = true;
	kit_open(&k, &cfg);
	assert_false(kit_connect(&k, &c, KIT_HOST, port));
	kit_close(&k);
	open_kit(&k);
	assert_true(kit_connect(&k, &c, KIT_HOST, port));
	kit_close(&k); /* with a connection open; send_packet() is not called any more */
	close(l);
}

static void test_nonsense_input(void **state)
{
	static uint8_t f[70000];
	struct kit k;

	open_kit(&k);
	for (int len = -1; len < 100; len++)
		slirp_input(k.slirp, f, len);
	slirp_input(k.slirp, f, 65549);
	slirp_input(k.slirp, f, 65550);
	slirp_input(k.slirp, f, INT32_MAX);
	kit_run(&k);
	assert_int_equal(k.n_frames, 0);
	kit_close(&k);
}

/* --- the loop --- */

static void test_one_ack(void **state)
{
	static const uint8_t data[1000];
	struct kit_conn c;
	uint16_t port;
	int l = listener(&port), fd;
	uint64_t got = 0;
	struct kit k;

	open_kit(&k);
	assert_true(kit_connect(&k, &c, KIT_HOST, port));
	fd = accept(l, NULL, NULL);
	c.n_acks = 0;
	for (int i = 0; i < 40; i++)
		kit_send(&k, &c, data, sizeof(data));
	kit_run(&k);
	assert_int_equal(c.n_acks, 1);
	while (got < 40000) {
		uint8_t buf[65536];
		ssize_t n = recv(fd, buf, sizeof(buf), 0);

		assert_true(n > 0);
		got += (uint64_t)n;
	}
	/* More frames than are gathered: none is lost. */
	for (int i = 0; i < 60; i++)
		kit_send(&k, &c, data, 1000);
	for (int i = 0; i < 4; i++)
		kit_arp(&k, KIT_HOST);
	k.n_frames = 0;
	kit_arp(&k, KIT_HOST);
	kit_run(&k);
	assert_true(k.n_frames >= 5);
	kit_close(&k);
	close(fd);
	close(l);
}

static void *other_thread(void *opaque)
{
	kit_arp(opaque, KIT_HOST);
	return NULL;
}

static void test_wakes(void **state)
{
	struct pollfd p = { .events = POLLIN };
	pthread_t t;
	struct kit k;

	open_kit(&k);
	p.fd = k.fd;
	kit_run(&k);
	assert_int_equal(poll(&p, 1, 0), 0);
	/* As a vCPU does while the main loop sleeps, whom this has to wake. */
	assert_int_equal(pthread_create(&t, NULL, other_thread, &k), 0);
	pthread_join(t, NULL);
	assert_int_equal(poll(&p, 1, 0), 1);
	kit_step(&k, 0);
	assert_int_equal(k.n_frames, 1);
	kit_run(&k);
	assert_int_equal(poll(&p, 1, 0), 0);
	kit_close(&k);
}

static void test_nested_input(void **state)
{
	struct kit k;

	open_kit(&k);
	k.answers_arp = true;
	kit_arp(&k, KIT_HOST);
	/* A loop through the caller: it goes on, a burst a round, without end and without depth. */
	for (int i = 0; i < 20; i++)
		kit_step(&k, 0);
	assert_int_equal(k.deepest, 1);
	assert_true(k.n_frames > 1);
	k.answers_arp = false;
	kit_close(&k);
}

static void test_clock(void **state)
{
	struct kit_conn c;
	uint16_t port;
	int l = listener(&port), fd;
	struct kit k;

	open_kit(&k);
	assert_true(kit_connect(&k, &c, KIT_HOST, port));
	fd = accept(l, NULL, NULL);
	c.mute = true;
	assert_int_equal(send(fd, "x", 1, 0), 1);
	kit_run(&k);
	assert_int_equal(c.rx, 1);
	/* The guest stands still, and so does its clock: nothing is sent again, however long. */
	usleep(1300000);
	kit_run(&k);
	assert_int_equal(c.n_odd, 0);
	k.clock -= 500000; /* loadvm */
	kit_run(&k);
	assert_int_equal(c.n_odd, 0);
	k.clock += 3000000000;
	kit_run(&k);
	assert_int_equal(c.n_odd, 1);
	kit_close(&k);
	close(fd);
	close(l);
}

/* --- back-pressure --- */

static void test_queue(void **state)
{
	enum { TOTAL = 200000 };
	static uint8_t data[TOTAL];
	struct kit_conn c;
	uint16_t port;
	int l = listener(&port), fd;
	uint32_t zeros;
	struct kit k;

	open_kit(&k);
	assert_true(kit_connect(&k, &c, KIT_HOST, port));
	fd = accept(l, NULL, NULL);
	k.room = 5;
	c.mute = true;
	assert_int_equal(send(fd, data, sizeof(data), 0), sizeof(data));
	kit_run(&k);
	/* Five were taken. Each turn of the loop tries one more, a few of them; then time must
	 * pass. (536: no MSS was named.) */
	zeros = k.n_zero;
	assert_in_range(zeros, 1, 10);
	assert_int_equal(c.rx, (5 + zeros) * 536);
	kit_run(&k);
	assert_int_equal(k.n_zero, zeros);
	k.clock += 300000;
	kit_run(&k);
	assert_int_equal(k.n_zero, zeros + 1);
	k.room = -1;
	k.clock += 300000;
	kit_run(&k);
	assert_int_equal(k.n_zero, zeros + 1);
	assert_true(c.rx > 20 * 536);
	c.mute = false;
	c.n_data = 1; /* owes an ACK */
	kit_until(&k, &c.rx, TOTAL);
	assert_int_equal(c.n_odd, 0);
	kit_close(&k);
	close(fd);
	close(l);
}

static void test_zero_means_nothing(void **state)
{
	enum { TOTAL = 300000 };
	static uint8_t data[TOTAL];
	struct slirp_config cfg = kit_config(4);
	struct kit_conn c;
	uint16_t port;
	int l = listener(&port), fd;
	struct kit k;

	kit_open(&k, &cfg);
	k.always_zero = true;
	kit_arp(&k, KIT_HOST);
	assert_true(kit_connect(&k, &c, KIT_HOST, port));
	fd = accept(l, NULL, NULL);
	assert_int_equal(send(fd, data, sizeof(data), 0), sizeof(data));
	kit_until(&k, &c.rx, TOTAL);
	kit_close(&k);
	close(fd);
	close(l);
}

/* --- forwards --- */

static void test_hostfwd(void **state)
{
	uint16_t port, other;
	int l = listener(&port), fd;
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr = v4(INADDR_LOOPBACK) };
	struct kit k;
	char *text;

	close(listener(&other));
	open_kit(&k);
	assert_int_equal(slirp_add_hostfwd(k.slirp, 0, to.sin_addr, port, v4(0), 22), -1);
	assert_int_equal(errno, EADDRINUSE);
	assert_int_equal(slirp_add_hostfwd(k.slirp, 0, to.sin_addr, 70000, v4(0), 22), -1);
	assert_int_equal(slirp_remove_hostfwd(k.slirp, 0, to.sin_addr, other), -1);
	assert_int_equal(slirp_add_hostfwd(k.slirp, 0, to.sin_addr, other, v4(0), 22), 0);
	text = slirp_connection_info(k.slirp);
	assert_memory_equal(text, "  Protocol[State]", 17);
	assert_non_null(strstr(text, "TCP[HOST_FORWARD]"));
	free(text);
	to.sin_port = htons(other);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	close(fd);
	assert_int_equal(slirp_remove_hostfwd(k.slirp, 0, to.sin_addr, other), 0);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), -1);
	close(fd);
	kit_close(&k);
	close(l);
}

static void test_guestfwd(void **state)
{
	struct in_addr addr = v4(FWD), any = v4(0);
	struct kit_conn c;
	struct kit k;

	open_kit(&k);
	assert_int_equal(slirp_add_guestfwd(k.slirp, kit_fwd_write, &k, &addr, 99), 0);
	assert_int_equal(slirp_add_guestfwd(k.slirp, kit_fwd_write, &k, &addr, 99), -1);
	assert_int_equal(slirp_add_guestfwd(k.slirp, kit_fwd_write, &k, &any, 99), 0);
	assert_int_equal(ntohl(any.s_addr), 0x0a000204);
	assert_int_equal(slirp_socket_can_recv(k.slirp, addr, 99), 0);
	assert_true(kit_connect(&k, &c, FWD, 99));
	assert_true(slirp_socket_can_recv(k.slirp, addr, 99) > 0);
	kit_send(&k, &c, "hello", 5);
	kit_run(&k);
	assert_int_equal(k.n_fwd_got, 5);
	assert_memory_equal(k.fwd_got, "hello", 5);
	slirp_socket_recv(k.slirp, addr, 99, (const uint8_t *)"world!", 6);
	kit_run(&k);
	assert_int_equal(c.rx, 6);
	assert_memory_equal(c.last, "world!", 6);
	/* A slow callback gets everything in the end, in pieces. */
	k.fwd_take = 2;
	kit_send(&k, &c, "slowly", 6);
	for (int i = 0; i < 10; i++) {
		kit_run(&k);
		k.clock += 20000000;
	}
	assert_int_equal(k.n_fwd_got, 11);
	assert_memory_equal(k.fwd_got + 5, "slowly", 6);
	assert_int_equal(slirp_remove_guestfwd(k.slirp, addr, 99), 0);
	assert_int_equal(slirp_remove_guestfwd(k.slirp, addr, 99), -1);
	kit_run(&k);
	assert_true(c.fin || c.reset);
	assert_false(kit_connect(&k, &c, FWD, 99));
	kit_close(&k);
}

static void test_guestfwd_full(void **state)
{
	static uint8_t data[100000];
	struct in_addr addr = v4(FWD);
	struct kit_conn c;
	uint64_t sent = 0;
	struct kit k;

	open_kit(&k);
	assert_int_equal(slirp_add_guestfwd(k.slirp, kit_fwd_write, &k, &addr, 99), 0);
	assert_true(kit_connect(&k, &c, FWD, 99));
	k.conn->mute = true; /* the guest's window fills up */
	for (int i = 0; i < 200; i++) {
		size_t n = min(slirp_socket_can_recv(k.slirp, addr, 99), sizeof(data));

		slirp_socket_recv(k.slirp, addr, 99, data, (int)n);
		sent += n;
		k.n_frames = 0;
		kit_step(&k, 0);
	}
	assert_int_equal(slirp_socket_can_recv(k.slirp, addr, 99), 0);
	c.mute = false;
	c.n_data = 1;
	kit_until(&k, &c.rx, sent);
	assert_true(k.n_notify > 0);
	assert_true(slirp_socket_can_recv(k.slirp, addr, 99) > 0);
	kit_close(&k);
}

static void test_exec(void **state)
{
	struct in_addr addr = v4(FWD);
	struct kit_conn c;
	struct kit k;

	open_kit(&k);
	assert_int_equal(slirp_add_exec(k.slirp, "tr a-z A-Z", &addr, 99), 0);
	assert_true(kit_connect(&k, &c, FWD, 99));
	kit_send(&k, &c, "shout", 5);
	kit_fin(&k, &c);
	kit_until(&k, &c.rx, 5);
	assert_memory_equal(c.last, "SHOUT", 5);
	kit_close(&k);
}

static void test_unix(void **state)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int l = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;
	struct in_addr addr = v4(FWD);
	char dir[] = "/tmp/twinax-unit-XXXXXX", buf[16];
	struct kit_conn c;
	struct kit k;

	assert_non_null(mkdtemp(dir));
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/s", dir);
	open_kit(&k);
	assert_int_equal(slirp_add_unix(k.slirp, sun.sun_path, &addr, 99), 0);
	assert_false(kit_connect(&k, &c, FWD, 99)); /* nobody listens */
	assert_int_equal(bind(l, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(l, 4), 0);
	assert_true(kit_connect(&k, &c, FWD, 99));
	fd = accept(l, NULL, NULL);
	kit_send(&k, &c, "ping", 4);
	kit_run(&k);
	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 4);
	assert_int_equal(send(fd, "pong!", 5, 0), 5);
	kit_until(&k, &c.rx, 5);
	kit_close(&k);
	close(fd);
	close(l);
	unlink(sun.sun_path);
	rmdir(dir);
}

/* --- state --- */

struct stream {
	uint8_t data[65536];
	size_t len, off;
};

static ssize_t stream_write(const void *buf, size_t len, void *opaque)
{
	struct stream *s = opaque;

	assert_true(s->len + len <= sizeof(s->data));
	memcpy(s->data + s->len, buf, len);
	s->len += len;
	return (ssize_t)len;
}

/* In small pieces, as a caller may. */
static ssize_t stream_read(void *buf, size_t len, void *opaque)
{
	struct stream *s = opaque;
	size_t n = min(min(len, (size_t)7), s->len - s->off);

	memcpy(buf, s->data + s->off, n);
	s->off += n;
	return (ssize_t)n;
}

static int load(struct kit *k, struct stream *s)
{
	s->off = 0;
	return slirp_state_load(k->slirp, slirp_state_version(), stream_read, s);
}

static void test_state(void **state)
{
	struct slirp_config cfg = kit_config(4);
	static struct stream s;
	struct kit_conn c;
	uint16_t port;
	int l = listener(&port);
	struct kit from, to;
	char *text;

	open_kit(&from);
	assert_int_equal(discover(&from), 1);
	assert_true(kit_connect(&from, &c, KIT_HOST, port));
	slirp_state_save(from.slirp, stream_write, &s);
	kit_open(&to, &cfg);
	assert_int_equal(load(&to, &s), 0);
	assert_int_equal(s.off, s.len);
	text = slirp_neighbor_info(to.slirp);
	assert_non_null(strstr(text, "52:54:00:12:34:56  10.0.2.15"));
	free(text);
	/* The guest hears of its connection: something that it will answer. */
	kit_run(&to);
	assert_true(to.n_frames > 0);
	assert_int_equal(to.frames[to.n_frames - 1].data[23], 6);
	/* And then it is reset. */
	to.conn = &c;
	c.reset = false;
	kit_send(&to, &c, "x", 1);
	kit_run(&to);
	assert_true(c.reset);
	kit_close(&to);
	/* In the process that had the connection it ends as well: the guest is one of before. */
	assert_int_equal(load(&from, &s), 0);
	from.conn = &c;
	c.reset = false;
	kit_send(&from, &c, "x", 1);
	kit_run(&from);
	assert_true(c.reset);
	kit_close(&from);
	close(l);
}

static void test_bad_state(void **state)
{
	static struct stream good, bad;
	struct kit_conn c;
	uint16_t port;
	int l = listener(&port), fd;
	struct kit k;

	open_kit(&k);
	assert_true(kit_connect(&k, &c, KIT_HOST, port));
	fd = accept(l, NULL, NULL);
	slirp_state_save(k.slirp, stream_write, &good);
	assert_int_equal(slirp_state_load(k.slirp, 3, stream_read, &good), -EINVAL);
	for (size_t len = 0; len < good.len; len++) {
		bad = good;
		bad.len = len;
		assert_int_equal(load(&k, &bad), -EINVAL);
	}
	for (size_t i = 0; i < 24; i++) {
		bad = good;
		bad.data[i] ^= 0x40;
		assert_int_equal(load(&k, &bad), -EINVAL);
	}
	/* None of them has changed anything: the connection goes on. */
	kit_send(&k, &c, "y", 1);
	kit_run(&k);
	assert_false(c.reset);
	assert_int_equal(recv(fd, bad.data, 16, MSG_DONTWAIT), 1);
	kit_close(&k);
	close(fd);
	close(l);
}

static void test_init(void **state)
{
	struct slirp_config cfg = kit_config(1);
	struct kit k, old;

	kit_open(&k, &cfg);
	old = k;
	old.slirp =
		slirp_init(0, true, cfg.vnetwork, cfg.vnetmask, cfg.vhost, false, cfg.vprefix_addr6,
			   0, cfg.vhost6, "name,with,commas", NULL, NULL, NULL, cfg.vdhcp_start,
			   cfg.vnameserver, cfg.vnameserver6, NULL, NULL, &k.cb, &old);
	assert_non_null(old.slirp);
	assert_int_equal(discover(&old), 1);
	slirp_cleanup(old.slirp);
	kit_close(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_disable_dhcp),
		cmocka_unit_test(test_loopback),
		cmocka_unit_test(test_nonsense_input),
		cmocka_unit_test(test_one_ack),
		cmocka_unit_test(test_wakes),
		cmocka_unit_test(test_nested_input),
		cmocka_unit_test(test_clock),
		cmocka_unit_test(test_queue),
		cmocka_unit_test(test_zero_means_nothing),
		cmocka_unit_test(test_hostfwd),
		cmocka_unit_test(test_guestfwd),
		cmocka_unit_test(test_guestfwd_full),
		cmocka_unit_test(test_exec),
		cmocka_unit_test(test_unix),
		cmocka_unit_test(test_state),
		cmocka_unit_test(test_bad_state),
		cmocka_unit_test(test_init),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
