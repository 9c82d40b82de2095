/* SPDX-License-Identifier: BSD-3-Clause */
/* What the guest's TCP sends out of order: kept, told of, passed on once, and bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "backends/user/tcp.h"
#include "base/macros.h"
#include "tcp_guest.h"

#define GATEWAY 0x0a000202u

struct pair {
	struct tg *g;
	struct tg_conn *c;
	int fd;	     /* the host's end */
	uint32_t rx; /* what it has read and checked */
	bool eof;
};

static void round_of(struct pair *p)
{
	static uint8_t buf[65536];
	ssize_t n;

	tg_round(p->g, 1);
	while (p->fd >= 0 && (n = recv(p->fd, buf, sizeof(buf), MSG_DONTWAIT)) >= 0) {
		if (!n) {
			p->eof = true;
			return;
		}
		assert_true(tg_same(p->c->seed, p->rx, buf, (size_t)n));
		p->rx += (uint32_t)n;
	}
}

#define until(p, cond)                                                                             \
	do {                                                                                       \
		time_t end_ = time(NULL) + 20;                                                     \
		while (!(cond)) {                                                                  \
			round_of(p);                                                               \
			if (time(NULL) > end_)                                                     \
				fail_msg("never came true: %s", #cond);                            \
		}                                                                                  \
	} while (0)

static struct pair pair_open(bool sack)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct pair p = { .g = tg_new("", TWX_CAP_CSUM | TWX_CAP_TSO4, true), .fd = -1 };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(a);

	assert_int_equal(bind(listener, (struct sockaddr *)&a, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	getsockname(listener, (struct sockaddr *)&a, &len);
	p.c = tg_conn_new(p.g, GATEWAY, ntohs(a.sin_port));
	p.c->sack = sack;
	tg_syn(p.g, p.c);
	until(&p, p.c->established);
	until(&p, (p.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0);
	close(listener);
	return p;
}

static void pair_close(struct pair *p)
{
	assert_int_equal(p->g->bad_frames, 0);
	close(p->fd);
	tg_free(p->g);
}

/* Bytes [@from, @to) of the guest's stream. */
static void send_part(struct pair *p, uint32_t from, uint32_t to, uint8_t flags)
{
	struct tg_conn *c = p->c;
	uint32_t end = c->iss + 1 + to;

	if ((int32_t)(end - c->snd_nxt) > 0) {
		c->snd_nxt = end;
		c->tx_total = to;
	}
	tg_segment(p->g, c, TG_ACK | flags, c->iss + 1 + from, c->rcv_nxt, NULL, to - from);
}

static void settle(struct pair *p)
{
	for (int i = 0; i < 10; i++)
		round_of(p);
}

static uint32_t acked(const struct pair *p)
{
	return p->c->snd_una - p->c->iss - 1;
}

static struct flow *flow_of(struct pair *p)
{
	return &p->g->user->flows.flows[0];
}

static void expect_sacks(struct pair *p, uint32_t n, const uint32_t (*want)[2])
{
	settle(p);
	assert_int_equal(p->c->n_sacks, n);
	for (uint32_t i = 0; i < n; i++) {
		assert_int_equal(p->c->sacks[i][0], want[i][0]);
		assert_int_equal(p->c->sacks[i][1], want[i][1]);
	}
}

static void hole_is_filled(void **state)
{
	for (int sack = 0; sack < 2; sack++) {
		struct pair p = pair_open(sack);

		send_part(&p, 1000, 2000, 0);
		send_part(&p, 2000, 30000, 0);
		settle(&p);
		assert_int_equal(p.rx, 0);
		assert_int_equal(acked(&p), 0);
		send_part(&p, 0, 1000, 0);
		until(&p, acked(&p) == 30000);
		until(&p, p.rx == 30000);
		assert_int_equal(p.g->user->tcp->early_total, 0);
		pair_close(&p);
	}
}

static void guest_is_told_what_is_here(void **state)
{
	struct pair p = pair_open(true);

	send_part(&p, 1000, 2000, 0);
	expect_sacks(&p, 1, (uint32_t[][2]){ { 1000, 2000 } });
	send_part(&p, 5000, 6000, 0);
	expect_sacks(&p, 2, (uint32_t[][2]){ { 5000, 6000 }, { 1000, 2000 } });
	send_part(&p, 3000, 4000, 0);
	expect_sacks(&p, 3, (uint32_t[][2]){ { 3000, 4000 }, { 1000, 2000 }, { 5000, 6000 } });
	send_part(&p, 7000, 8000, 0);
	send_part(&p, 9000, 9500, 0); /* the oldest that finds no room is left out */
	expect_sacks(
		&p, 4,
		(uint32_t[][2]){ { 9000, 9500 }, { 1000, 2000 }, { 3000, 4000 }, { 5000, 6000 } });
	send_part(&p, 2000, 3000, 0); /* joins two */
	expect_sacks(
		&p, 4,
		(uint32_t[][2]){ { 1000, 4000 }, { 5000, 6000 }, { 7000, 8000 }, { 9000, 9500 } });
	send_part(&p, 0, 1000, 0);
	expect_sacks(&p, 3, (uint32_t[][2]){ { 5000, 6000 }, { 7000, 8000 }, { 9000, 9500 } });
	assert_int_equal(acked(&p), 4000);
	send_part(&p, 4000, 9000, 0); /* over all that is held */
	until(&p, acked(&p) == 9500);
	until(&p, p.rx == 9500);
	send_part(&p, 9500, 9600, 0);
	until(&p, acked(&p) == 9600);
	expect_sacks(&p, 0, NULL);
	pair_close(&p);
}

/* Who did not agree gets duplicate ACKs, and no option. */
static void without_sack(void **state)
{
	struct pair p = pair_open(false);
	uint32_t before = p.c->acks_in;

	send_part(&p, 1000, 2000, 0);
	send_part(&p, 3000, 4000, 0);
	send_part(&p, 5000, 6000, 0);
	settle(&p);
	assert_int_equal(p.c->n_sacks, 0);
	assert_true(p.c->acks_in - before >= 3);
	pair_close(&p);
}

static void pieces_in_any_order(void **state)
{
	enum { N = 400, SIZE = 137 };
	uint32_t seed = 1;

	for (int turn = 0; turn < 20; turn++) {
		struct pair p = pair_open(turn & 1);
		uint32_t order[N], sent = 0;

		for (uint32_t i = 0; i < N; i++)
			order[i] = i;
		for (uint32_t i = N - 1; i; i--) {
			uint32_t k, was = order[i];

			seed = seed * 1664525 + 1013904223;
			k = (seed >> 8) % (i + 1);
			order[i] = order[k];
			order[k] = was;
		}
		/* overlapping by up to a half on either side */
		for (uint32_t i = 0; i < N; i++, sent++) {
			uint32_t from = order[i] * SIZE, to = from + SIZE;

			seed = seed * 1664525 + 1013904223;
			from -= min(from, (seed >> 8) % (SIZE / 2));
			to = min(to + (seed >> 20) % (SIZE / 2), (uint32_t)(N * SIZE));
			send_part(&p, from, to, 0);
			if (sent % 16 == 0)
				round_of(&p);
		}
		until(&p, p.rx == N * SIZE);
		until(&p, acked(&p) == N * SIZE);
		assert_int_equal(p.g->user->tcp->early_total, 0);
		assert_false(tcp_of(flow_of(&p))->flags & TF_EARLY);
		pair_close(&p);
	}
}

static void fin_ahead_of_its_turn(void **state)
{
	for (int with_data = 0; with_data < 2; with_data++) {
		struct pair p = pair_open(true);

		send_part(&p, 1000, 2000, with_data ? TG_FIN : 0);
		if (!with_data)
			send_part(&p, 2000, 2000, TG_FIN);
		p.c->snd_nxt++;
		settle(&p);
		assert_false(p.eof);
		send_part(&p, 0, 1000, 0);
		until(&p, p.rx == 2000 && p.eof);
		until(&p, acked(&p) == 2001);
		pair_close(&p);
	}
}

/* A host that does not read: what was held is passed on later, or kept, but not lost. */
static void full_socket(void **state)
{
	struct pair p = pair_open(true);
	uint32_t end = 0, window = tcp_of(flow_of(&p))->rcv_edge - p.c->iss - 1;
	int fd = p.fd;

	p.fd = -1; /* nobody reads */
	for (uint32_t at = 1000; at + 20000 <= window; at = end) {
		end = at + 20000;
		send_part(&p, at, end, 0);
	}
	settle(&p);
	send_part(&p, 0, 1000, 0);
	until(&p, acked(&p) == end);
	p.fd = fd;
	until(&p, p.rx == end);
	pair_close(&p);
}

/* One byte in a hole each: many chunks, and an end to them. */
static void memory_is_bounded(void **state)
{
	struct pair p = pair_open(true);
	uint32_t window = tcp_of(flow_of(&p))->rcv_edge - p.c->iss - 1;
	uint64_t dropped;

	assert_true(window > 10000);
	for (uint32_t i = 1; i < window / 2; i++)
		send_part(&p, 2 * i, 2 * i + 1, 0);
	settle(&p);
	dropped = p.g->user->port->count.drops[TWX_DROP_LIMIT];
	assert_true(p.g->user->tcp->early_total <= TCP_EARLY_TOTAL);
	assert_true(dropped > 0);
	send_part(&p, 0, 8192, 0);
	until(&p, p.rx >= 8192);
	/* the room is there again */
	assert_true(p.g->user->tcp->early_total < TCP_EARLY_TOTAL / 16 * 15);
	pair_close(&p);
}

static void reset_frees_what_is_held(void **state)
{
	struct pair p = pair_open(true);

	send_part(&p, 1000, 2000, 0);
	settle(&p);
	assert_true(p.g->user->tcp->early_total > 0);
	tg_segment(p.g, p.c, TG_RST | TG_ACK, p.c->iss + 1, p.c->rcv_nxt, NULL, 0);
	settle(&p);
	assert_int_equal(p.g->user->tcp->early_total, 0);
	pair_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hole_is_filled),
		cmocka_unit_test(guest_is_told_what_is_here),
		cmocka_unit_test(without_sack),
		cmocka_unit_test(pieces_in_any_order),
		cmocka_unit_test(fin_ahead_of_its_turn),
		cmocka_unit_test(full_socket),
		cmocka_unit_test(memory_is_bounded),
		cmocka_unit_test(reset_frees_what_is_held),
	};

	if (!tg_netns()) {
		print_message("no network namespace can be made\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
