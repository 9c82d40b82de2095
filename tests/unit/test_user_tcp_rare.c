/* SPDX-License-Identifier: BSD-3-Clause */
/* TCP of the user backend where things come together that rarely do: urgent marks and ends, full
 * buffers on every side, ends that disagree. */
#include <errno.h>
#include <linux/sock_diag.h>
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
#include "base/csum.h"
#include "base/macros.h"
#include "tcp_guest.h"

#define GATEWAY 0x0a000202u
#define FULL (TWX_CAP_CSUM | TWX_CAP_TSO4)

static time_t now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

#define until(g, cond)                                                                             \
	do {                                                                                       \
		time_t end_ = now_s() + 20;                                                        \
		for (unsigned int n_ = 1; !(cond); n_++) {                                         \
			tg_round(g, n_ % 16 == 0);                                                 \
			if (now_s() > end_)                                                        \
				fail_msg("never came true: %s", #cond);                            \
		}                                                                                  \
	} while (0)

struct pair {
	struct tg *g;
	struct tg_conn *c;
	struct tcp_flow *tf;
	int fd; /* the host's end */
};

static struct pair pair_open_with(const char *options, bool peek_off)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct pair p = { .g = tg_new(options, FULL, true) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(a);

	if (!peek_off)
		p.g->user->cfg.peek_off = 0;
	assert_int_equal(bind(listener, (struct sockaddr *)&a, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	getsockname(listener, (struct sockaddr *)&a, &len);
	p.c = tg_conn_new(p.g, GATEWAY, ntohs(a.sin_port));
	tg_syn(p.g, p.c);
	until(p.g, p.c->established);
	until(p.g, (p.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0);
	close(listener);
	p.tf = tcp_of(&p.g->user->flows.flows[0]);
	return p;
}

static struct pair pair_open(bool peek_off)
{
	return pair_open_with("", peek_off);
}

static void pair_close(struct pair *p)
{
	assert_int_equal(p->g->bad_frames, 0);
	close(p->fd);
	tg_free(p->g);
}

/* A mark stops a read just where one would stop at the end of the data. */
static void end_behind_an_urgent_mark(void **state)
{
	for (int peek_off = 0; peek_off < 2; peek_off++) {
		struct pair p = pair_open(peek_off);

		p.g->check = false;
		p.c->mute = true; /* all is in flight for a while */
		assert_int_equal(send(p.fd, "abc", 3, 0), 3);
		assert_int_equal(send(p.fd, "d", 1, MSG_OOB), 1);
		assert_int_equal(send(p.fd, "efg", 3, 0), 3);
		shutdown(p.fd, SHUT_WR);
		for (int i = 0; i < 20; i++)
			tg_round(p.g, 1);
		p.c->mute = false;
		until(p.g, p.c->fin_in);
		assert_int_equal(p.c->rx_bytes, 7);
		pair_close(&p);
	}
}

#define PIECES 17
#define PIECE 64
#define PAYLOAD (138 + PIECES * PIECE)

/* A burst in order, of so many pieces that it takes more than one sendmsg(). */
static void burst_of_pieces(struct pair *p)
{
	static uint8_t head[TWX_BURST][192], body[TWX_BURST][PIECES * PIECE];
	static struct iovec iov[TWX_BURST][1 + PIECES];
	struct in_addr src = { htonl(0x0a00020f) }, dst = { htonl(GATEWAY) };
	struct twx_frame f[TWX_BURST];

	for (uint32_t i = 0; i < TWX_BURST; i++) {
		uint8_t *b = head[i], *l4;

		memset(b, 0, 54);
		l4 = user_ip4_header(p->g->user, b, src, dst, IPPROTO_TCP, 20 + PAYLOAD);
		memcpy(b, p->g->user->mac, 6);
		memcpy(b + 6, (uint8_t[]){ 0x52, 0x54, 0, 0x12, 0x34, 0x56 }, 6);
		user_put16(l4, p->c->port);
		user_put16(l4 + 2, p->c->peer_port);
		user_put32(l4 + 4, p->c->snd_nxt + i * PAYLOAD);
		user_put32(l4 + 8, p->c->rcv_nxt);
		l4[12] = 5 << 4;
		l4[13] = TG_ACK;
		user_put16(l4 + 14, 1000);
		tg_fill(p->c->seed, i * PAYLOAD, b + 54, 138);
		tg_fill(p->c->seed, i * PAYLOAD + 138, body[i], sizeof(body[i]));
		iov[i][0] = (struct iovec){ b, 192 };
		for (uint32_t k = 0; k < PIECES; k++)
			iov[i][1 + k] = (struct iovec){ body[i] + k * PIECE, PIECE };
		f[i] = (struct twx_frame){ .iov = iov[i],
					   .n_iov = 1 + PIECES,
					   .len = 54 + PAYLOAD,
					   .meta = { .flags = TWX_F_CSUM_VALID } };
	}
	assert_int_equal(twx_port_send(&p->g->port, f, TWX_BURST), TWX_BURST);
}

/* What neither the socket nor the tail had room for is never followed by what came behind it. */
static void no_hole_where_nothing_could_be_kept(void **state)
{
	struct pair p = pair_open(true);
	size_t full = TCP_TAIL_TOTAL - 16384, stuffed = 0, got = 0;
	uint32_t acked;
	char buf[65536];
	ssize_t n;

	assert_true(p.tf->rcv_edge - p.tf->rcv_nxt >= TWX_BURST * PAYLOAD);
	while ((n = send(p.g->user->flows.flows[0].fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		stuffed += (size_t)n;
	p.g->user->tcp->tail_total += full; /* other flows' */
	burst_of_pieces(&p);
	p.g->user->tcp->tail_total -= full;
	acked = p.tf->rcv_nxt - p.tf->irs - 1;
	for (int quiet = 0; quiet < 50;) {
		twx_loop_poll(p.g->loop, 1);
		n = recv(p.fd, buf, stuffed ? min(stuffed, sizeof(buf)) : sizeof(buf), 0);
		quiet = n > 0 ? 0 : quiet + 1;
		if (n <= 0)
			continue;
		if (stuffed) {
			stuffed -= (size_t)n;
			continue;
		}
		assert_true(tg_same(p.c->seed, got, (uint8_t *)buf, (size_t)n));
		got += (size_t)n;
	}
	assert_int_equal(got, acked);
	pair_close(&p);
}

static uint32_t queued(int fd)
{
	uint32_t mem[SK_MEMINFO_VARS] = { 0 };
	socklen_t len = sizeof(mem);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_MEMINFO, mem, &len), 0);
	return mem[SK_MEMINFO_WMEM_QUEUED];
}

/*
 * A window smaller than the guest's segments is as good as a shut one. The socket is writable and
 * brings no event, so the update must come at once, though the room has not grown by a segment.
 */
static void window_of_less_than_a_segment(void **state)
{
	struct pair p = pair_open_with("mtu=65520", true);
	int size = 131072, fd = p.g->user->flows.flows[0].fd;
	static char junk[2048];

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	while (queued(fd) < 145000)
		assert_int_equal(send(fd, junk, sizeof(junk), MSG_DONTWAIT), sizeof(junk));
	p.tf->rcv_edge = p.tf->rcv_nxt + 30001;
	p.tf->rcv_full = 100000;
	tg_segment(p.g, p.c, TG_ACK, p.c->snd_nxt, p.c->rcv_nxt, junk, 1);
	assert_true(p.tf->rcv_edge - p.tf->rcv_nxt >= 65520 - 40);
	pair_close(&p);
}

/* What the guest sends meanwhile must not put the timer off. */
static void lost_frame_under_an_upload(void **state)
{
	struct pair p = pair_open(true);
	time_t end = now_s() + 20;
	static char buf[65536];

	p.g->check = false;
	p.c->chunk = 1460;
	p.c->tx_total = 1ull << 40;
	p.g->drop_data = 1;
	assert_int_equal(send(p.fd, "lost", 4, 0), 4);
	while (p.c->rx_bytes < 4 && now_s() < end) {
		tg_round(p.g, 0);
		while (recv(p.fd, buf, sizeof(buf), 0) > 0)
			;
	}
	assert_int_equal(p.c->rx_bytes, 4);
	pair_close(&p);
}

static uint32_t answers(struct pair *p, uint32_t seq, uint32_t ack, uint8_t flags, int times)
{
	uint32_t before = p->c->acks_in;

	/* No round of the loop in between: its clock stands still. */
	for (int i = 0; i < times; i++)
		tg_segment(p->g, p->c, flags, seq, ack, NULL, 0);
	return p->c->acks_in - before;
}

/* Two ends that disagree, both of this stack, would answer each other's ACKs for ever. */
static void bare_acks_make_no_storm(void **state)
{
	struct pair p = pair_open(true);

	assert_int_equal(answers(&p, p.c->snd_nxt - 1000, p.c->rcv_nxt, TG_ACK, 100), 1);
	assert_int_equal(answers(&p, p.c->snd_nxt, p.c->rcv_nxt + 1000, TG_ACK, 100), 0);
	/* what carries something is always told that it is known */
	assert_int_equal(answers(&p, p.c->snd_nxt - 1000, p.c->rcv_nxt, TG_ACK | TG_FIN, 3), 3);
	/* and a keep-alive is answered later as it was before */
	until(p.g, answers(&p, p.c->snd_nxt - 1, p.c->rcv_nxt, TG_ACK, 1) == 1);
	pair_close(&p);
}

static void time_wait_answers_the_fin_alone(void **state)
{
	struct pair p = pair_open(true);

	shutdown(p.fd, SHUT_WR);
	until(p.g, p.c->fin_in);
	p.c->fin = true;
	until(p.g, p.c->fin_acked);
	assert_int_equal(p.tf->state, TS_TIME_WAIT);
	assert_int_equal(answers(&p, p.c->snd_nxt, p.c->rcv_nxt, TG_ACK, 10), 0);
	assert_int_equal(answers(&p, p.c->snd_nxt - 1, p.c->rcv_nxt, TG_ACK | TG_FIN, 1), 1);
	pair_close(&p);
}

/* One request of 64 bytes; true when it is with the host. */
static void request(struct pair *p)
{
	uint8_t buf[64];

	tg_segment(p->g, p->c, TG_ACK | TG_PSH, p->c->snd_nxt, p->c->rcv_nxt, NULL, sizeof(buf));
	p->c->snd_nxt += sizeof(buf);
	p->c->tx_total += sizeof(buf);
	until(p->g, recv(p->fd, buf, sizeof(buf), MSG_DONTWAIT) == sizeof(buf));
}

static void answer(struct pair *p)
{
	uint64_t have = p->c->rx_bytes;
	uint8_t buf[64];

	tg_fill(~p->c->seed, have, buf, sizeof(buf));
	assert_int_equal(send(p->fd, buf, sizeof(buf), 0), sizeof(buf));
	until(p->g, p->c->rx_bytes == have + sizeof(buf));
	assert_int_equal(p->c->snd_una, p->c->snd_nxt); /* it brings the ACK */
}

/* Where request and answer take turns, the answer carries the ACK; whoever stops doing so, or says
 * two things before it is answered, gets ACKs as ever. */
static void answers_carry_acks(void **state)
{
	struct pair p = pair_open(true);
	uint32_t acks;
	int without = 0;

	for (int i = 0; i < 4; i++) {
		request(&p);
		answer(&p);
	}
	/* On a machine that is busy an answer may take more than 2 ms, but not each time. */
	for (int i = 0; i < 500 && without < 5; i++) {
		acks = p.c->acks_in;
		request(&p);
		answer(&p);
		without += p.c->acks_in == acks;
	}
	assert_int_equal(without, 5);
	request(&p); /* never answered */
	until(p.g, p.c->snd_una == p.c->snd_nxt);
	answer(&p);
	for (int i = 0; i < 4; i++) {
		request(&p);
		answer(&p);
	}
	request(&p);
	request(&p);
	until(p.g, p.c->snd_una == p.c->snd_nxt);
	assert_false(p.c->bad_data);
	pair_close(&p);
}

/* A guest with a hole delays no ACK: what mends it is not waited for as long as for news. */
static void mending_waits_less(void **state)
{
	struct tcp_flow tf = { .srtt_us = 100, .rttvar_us = 50 };

	assert_true(tcp_rto(&tf) == TCP_RTO_MIN);
	tf.flags = TF_LOSS;
	assert_true(tcp_rto(&tf) == TCP_RTO_LOSS);
	tf.retries = 1; /* it did not help: patience again */
	assert_true(tcp_rto(&tf) == 2 * TCP_RTO_MIN);
	tf.retries = 0;
	tf.srtt_us = 100000; /* a long way, however */
	assert_true(tcp_rto(&tf) > 100 * TCP_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mending_waits_less),
		cmocka_unit_test(answers_carry_acks),
		cmocka_unit_test(end_behind_an_urgent_mark),
		cmocka_unit_test(no_hole_where_nothing_could_be_kept),
		cmocka_unit_test(window_of_less_than_a_segment),
		cmocka_unit_test(lost_frame_under_an_upload),
		cmocka_unit_test(bare_acks_make_no_storm),
		cmocka_unit_test(time_wait_answers_the_fin_alone),
	};

	tg_netns();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
