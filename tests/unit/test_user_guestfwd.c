/* SPDX-License-Identifier: BSD-3-Clause */
/* guestfwd=: a toy guest on one side; programs, and plain sockets behind chardevs, on the other. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "backends/user/tcp.h"
#include "net/chardev_priv.h"
#include "tcp_guest.h"

#define SERVER 0x0a000264u /* 10.0.2.100 */
#define FULL (TWX_CAP_CSUM | TWX_CAP_TSO4)

/* The other end of a chardev. */
static char path[64];
static int listener = -1, host = -1;
static uint64_t host_rx, host_tx, host_tx_total;
static bool host_holds, host_eof, host_bad;
static uint64_t host_seed;
static uint8_t buf[65536];

static void host_listen(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	snprintf(path, sizeof(path), "/tmp/test-guestfwd-%d", (int)getpid());
	unlink(path);
	memcpy(sun.sun_path, path, strlen(path));
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(listener, 1), 0);
	host_rx = host_tx = host_tx_total = 0;
	host_holds = host_eof = host_bad = false;
}

static void host_close(void)
{
	close(host);
	host = -1;
}

static void host_pump(void)
{
	ssize_t n;

	if (host < 0 && listener >= 0)
		host = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (host < 0)
		return;
	while (!host_holds && !host_eof && (n = read(host, buf, sizeof(buf))) >= 0) {
		host_eof = !n;
		host_bad |= !tg_same(host_seed, host_rx, buf, (size_t)n);
		host_rx += (uint64_t)n;
	}
	while (host_tx < host_tx_total) {
		uint64_t want = host_tx_total - host_tx;

		want = want < sizeof(buf) ? want : sizeof(buf);
		tg_fill(~host_seed, host_tx, buf, want);
		n = send(host, buf, want, MSG_NOSIGNAL);
		if (n <= 0)
			return;
		host_tx += (uint64_t)n;
	}
}

#define until(g, cond)                                                                             \
	do {                                                                                       \
		int left_ = 20000;                                                                 \
		while (!(cond)) {                                                                  \
			tg_round(g, 1);                                                            \
			host_pump();                                                               \
			if (!--left_)                                                              \
				fail_msg("never came true: %s", #cond);                            \
		}                                                                                  \
	} while (0)

static void rounds(struct tg *g, int n)
{
	while (n--) {
		tg_round(g, 1);
		host_pump();
	}
}

/* Until @count stands still. */
static void until_stalled(struct tg *g, const uint64_t *count)
{
	uint64_t before;
	int n = 0;

	do {
		assert_true(++n < 1000);
		before = *count;
		rounds(g, 30);
	} while (*count != before);
}

static struct tg_conn *connect_to(struct tg *g, uint16_t port)
{
	struct tg_conn *c = tg_conn_new(g, SERVER, port);

	tg_syn(g, c);
	until(g, c->established || c->reset);
	return c;
}

static void finish(struct tg *g)
{
	assert_int_equal(g->bad_frames, 0);
	tg_free(g);
	if (listener >= 0) {
		close(listener);
		unlink(path);
	}
	if (host >= 0)
		host_close();
	listener = -1;
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

/* --- programs --- */

static void a_program_serves_each_connection(void **state)
{
	struct tg *g = tg_new("guestfwd=tcp:10.0.2.100:7-cmd:cat", FULL, true);
	struct tg_conn *c[3];
	int i;

	for (i = 0; i < 3; i++) {
		c[i] = connect_to(g, 7);
		assert_true(c[i]->established);
		c[i]->echoed = true;
		c[i]->tx_total = 300000;
	}
	assert_int_equal(g->user->n_programs, 3);
	for (i = 0; i < 3; i++)
		until(g, c[i]->rx_bytes == 300000);
	for (i = 0; i < 3; i++) {
		c[i]->fin = true;
		until(g, c[i]->fin_in && c[i]->fin_acked);
		assert_false(c[i]->bad_data || c[i]->reset);
	}
	until(g, !g->user->n_programs);
	finish(g);
}

static void a_guest_of_ipv6_reaches_one(void **state)
{
	struct tg_conn *c;
	struct tg *g;

	tg_ipv6 = true;
	g = tg_new("guestfwd=tcp:[fec0::64]:7-cmd:cat", FULL, true);
	c = connect_to(g, 7);
	assert_true(c->established);
	c->echoed = c->fin = true;
	c->tx_total = 300000;
	until(g, c->rx_bytes == 300000 && c->fin_in);
	assert_false(c->bad_data || c->reset);
	c = connect_to(g, 8);
	assert_true(c->reset);
	until(g, !g->user->n_programs);
	finish(g);
	tg_ipv6 = false;
}

static void restrict_does_not_concern_it(void **state)
{
	struct tg *g = tg_new("restrict=on,guestfwd=:10.0.2.100:7-cmd:cat", FULL, true);
	struct tg_conn *c = connect_to(g, 7);

	assert_true(c->established);
	c->echoed = c->fin = true;
	c->tx_total = 1000;
	until(g, c->rx_bytes == 1000 && c->fin_in);
	until(g, !g->user->n_programs);
	finish(g);
}

static void what_a_program_says_comes_though_it_has_ended(void **state)
{
	struct tg *g = tg_new("guestfwd=tcp:10.0.2.100:7-cmd:echo hello; echo world", FULL, true);
	struct tg_conn *c;

	g->check = false;
	c = connect_to(g, 7);
	until(g, c->rx_bytes == 12 && c->fin_in);
	until(g, !g->user->n_programs);
	finish(g);
}

static void a_program_that_cannot_start_ends_the_connection(void **state)
{
	struct tg *g =
		tg_new("guestfwd=tcp:10.0.2.100:7-cmd:exec /nonexistent 2>/dev/null", FULL, true);
	struct tg_conn *c = connect_to(g, 7);

	until(g, c->fin_in || c->reset);
	until(g, !g->user->n_programs);
	finish(g);
}

static void programs_are_bounded_and_end_with_the_backend(void **state)
{
	struct tg *g = tg_new("guestfwd=tcp:10.0.2.100:7-cmd:exec sleep 1000", FULL, true);
	struct tg_conn *c;

	connect_to(g, 7);
	g->user->n_programs += 63;
	c = tg_conn_new(g, SERVER, 7);
	tg_syn(g, c);
	rounds(g, 20);
	assert_false(c->established || c->reset); /* it may try again */
	g->user->n_programs -= 63;
	tg_syn(g, c);
	until(g, c->established);
	assert_int_equal(g->user->n_programs, 2);
	finish(g); /* looks for children */
}

static void other_ports_of_the_address_refuse(void **state)
{
	struct tg *g = tg_new("guestfwd=tcp:10.0.2.100:7-cmd:cat", FULL, true);
	struct tg_conn *c = connect_to(g, 8);

	assert_true(c->reset);
	/* Nothing of the kind on an address that nobody has. */
	c = tg_conn_new(g, SERVER + 1, 7);
	tg_syn(g, c);
	rounds(g, 20);
	assert_false(c->reset || c->established);
	finish(g);
}

/* --- chardevs --- */

static struct tg *open_chardev(void)
{
	char text[128];
	struct tg *g;

	host_listen();
	snprintf(text, sizeof(text), "guestfwd=tcp:10.0.2.100:8-unix:%s", path);
	g = tg_new(text, FULL, true);
	host_pump();
	assert_true(host >= 0); /* connected with the backend, not with the guest */
	return g;
}

static void bulk_goes_both_ways(void **state)
{
	struct tg *g = open_chardev();
	struct tg_conn *c = connect_to(g, 8);

	host_seed = c->seed;
	c->tx_total = 3000000;
	host_tx_total = 2000000;
	until(g, host_rx == 3000000 && c->rx_bytes == 2000000);
	assert_false(host_bad || c->bad_data);
	assert_true(c->established && !c->reset);
	finish(g);
}

static void a_slow_chardev_closes_the_guests_window(void **state)
{
	struct tg *g = open_chardev();
	struct tg_conn *c = connect_to(g, 8);

	host_seed = c->seed;
	host_holds = true;
	c->tx_total = 40 << 20;
	until_stalled(g, &c->tx_acked);
	assert_true(c->tx_acked < c->tx_total);
	c->tx_total = c->snd_nxt - c->iss - 1; /* no more than that */
	host_holds = false;
	until(g, host_rx == c->tx_total);
	assert_false(host_bad);
	finish(g);
}

static void a_slow_guest_holds_the_chardev_back(void **state)
{
	struct tg *g = open_chardev();
	struct tg_conn *c = connect_to(g, 8);

	host_seed = c->seed;
	c->hold = true;
	host_tx_total = 40 << 20;
	until_stalled(g, &host_tx);
	assert_true(host_tx < host_tx_total);
	host_tx_total = host_tx;
	c->hold = false;
	tg_read(c);
	until(g, c->rx_bytes == host_tx_total);
	assert_false(c->bad_data);
	finish(g);
}

/* The guest is so slow that the chardev's end is known before all that came from it is passed on.
 */
static void what_waits_comes_before_the_end(void **state)
{
	struct tg *g = open_chardev();
	struct twx_chardev *chardev = chardev_find(g->net, "guestfwd.tcp.8.n0");
	struct tg_conn *c = connect_to(g, 8);
	size_t all = chardev->room;

	host_seed = c->seed;
	c->hold = true;
	while (chardev->room == all) {
		assert_true(host_tx_total < 40 << 20);
		host_tx_total += 50000;
		until(g, host_tx == host_tx_total);
		rounds(g, 3);
	}
	close(listener);
	listener = -1;
	host_close();
	until(g, !chardev_is_open(chardev));
	c->hold = false;
	tg_read(c);
	until(g, c->fin_in || c->reset);
	assert_int_equal(c->rx_bytes, host_tx_total);
	assert_false(c->bad_data || c->reset);
	finish(g);
	unlink(path);
}

static void what_comes_before_the_guest_waits_for_it(void **state)
{
	struct tg *g = open_chardev();
	struct tg_conn *c;

	host_seed = tg_conn_new(g, 1, 1)->seed;
	g->conns[0].used = false;
	host_tx_total = 1000;
	rounds(g, 20);
	c = connect_to(g, 8);
	assert_int_equal(c->seed, host_seed);
	until(g, c->rx_bytes == 1000);
	assert_false(c->bad_data);
	finish(g);
}

static void one_connection_at_a_time(void **state)
{
	struct tg *g = open_chardev();
	struct tg_conn *one = connect_to(g, 8), *two = connect_to(g, 8);

	assert_true(one->established && !one->reset);
	assert_true(two->reset);
	host_seed = one->seed;
	one->tx_total = 1000;
	one->fin = true;
	until(g, host_rx == 1000 && one->fin_acked);
	/* The guest has finished; the answer still comes. */
	host_tx_total = 500;
	until(g, one->rx_bytes == 500);
	assert_false(one->bad_data || one->reset || one->fin_in);
	/* And the next connection ends it. */
	two = connect_to(g, 8);
	assert_true(two->established);
	until(g, one->fin_in || one->reset);
	finish(g);
}

static void the_chardevs_end_is_the_connections(void **state)
{
	struct tg *g = open_chardev();
	struct tg_conn *c = connect_to(g, 8);

	host_seed = c->seed;
	host_tx_total = 100000;
	until(g, host_tx == host_tx_total);
	close(listener);
	listener = -1;
	host_close();
	until(g, c->fin_in);
	assert_int_equal(c->rx_bytes, 100000); /* all of it came before */
	assert_false(c->bad_data || c->reset);
	c->fin = true;
	until(g, c->fin_acked);
	/* Nobody is there any more. */
	assert_true(connect_to(g, 8)->reset);
	finish(g);
	unlink(path);
}

static void a_reset_of_the_guest_frees_the_chardev(void **state)
{
	struct tg *g = open_chardev();
	struct tg_conn *c = connect_to(g, 8);

	tg_segment(g, c, TG_RST, c->snd_nxt, c->rcv_nxt, NULL, 0);
	rounds(g, 20);
	assert_true(connect_to(g, 8)->established);
	assert_false(host_eof);
	finish(g);
}

static void chardevs_are_found_by_name_and_have_one_user(void **state)
{
	struct tg *g = tg_new("", FULL, true);
	struct twx_backend *b;
	struct twx_chardev *c;
	struct twx_error e;
	int i;

	assert_int_equal(twx_chardev_new(&c, g->net, "null,id=c0", &e), 0);
	for (i = 0; i < 2; i++) {
		assert_int_equal(twx_backend_new(&b, g->net,
						 "user,id=n1,guestfwd=tcp:10.0.2.100:80-c0,"
						 "guestfwd=tcp:10.0.2.100:81-null",
						 &e),
				 0);
		assert_true(twx_backend_new(NULL, g->net,
					    "user,id=n2,guestfwd=tcp:10.0.2.100:80-chardev:c0",
					    &e) < 0);
		assert_string_equal(e.what, "Could not open guest forwarding device 'chardev:c0': "
					    "Device 'c0' is in use");
		/* All of it can be had again afterwards. */
		twx_backend_free(b);
	}
	finish(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_program_serves_each_connection),
		cmocka_unit_test(a_guest_of_ipv6_reaches_one),
		cmocka_unit_test(restrict_does_not_concern_it),
		cmocka_unit_test(what_a_program_says_comes_though_it_has_ended),
		cmocka_unit_test(a_program_that_cannot_start_ends_the_connection),
		cmocka_unit_test(programs_are_bounded_and_end_with_the_backend),
		cmocka_unit_test(other_ports_of_the_address_refuse),
		cmocka_unit_test(bulk_goes_both_ways),
		cmocka_unit_test(a_slow_chardev_closes_the_guests_window),
		cmocka_unit_test(a_slow_guest_holds_the_chardev_back),
		cmocka_unit_test(what_waits_comes_before_the_end),
		cmocka_unit_test(what_comes_before_the_guest_waits_for_it),
		cmocka_unit_test(one_connection_at_a_time),
		cmocka_unit_test(the_chardevs_end_is_the_connections),
		cmocka_unit_test(a_reset_of_the_guest_frees_the_chardev),
		cmocka_unit_test(chardevs_are_found_by_name_and_have_one_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
