/* SPDX-License-Identifier: BSD-3-Clause */
/* TCP of the user backend: a toy guest on one side, real sockets on loopback on the other. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "backends/user/tcp.h"
#include "base/macros.h"
#include "tcp_guest.h"

#define GATEWAY 0x0a000202u
#define FULL (TWX_CAP_CSUM | TWX_CAP_TSO4 | TWX_CAP_TSO6)
#define MIB (1u << 20)

static bool own_netns;

/* --- the host's side --- */

struct host {
	int listener, fd;
	uint16_t port;
	uint64_t tx_total, tx, rx, seed;
	bool hold, eof, bad, fin, fin_done;
	int error;
};

static int tcp_socket(void)
{
	return socket(tg_ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* @port of loopback; its length. */
static socklen_t loopback(union user_addr *a, uint16_t port)
{
	memset(a, 0, sizeof(*a));
	a->sa.sa_family = tg_ipv6 ? AF_INET6 : AF_INET;
	a->in.sin_port = htons(port); /* at one place in both */
	if (tg_ipv6)
		a->in6.sin6_addr = in6addr_loopback;
	else
		a->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return tg_ipv6 ? sizeof(a->in6) : sizeof(a->in);
}

static void host_listen(struct host *h)
{
	union user_addr a;
	socklen_t len = loopback(&a, 0);

	memset(h, 0, sizeof(*h));
	h->fd = -1;
	h->listener = tcp_socket();
	assert_int_equal(bind(h->listener, &a.sa, len), 0);
	assert_int_equal(listen(h->listener, 4096), 0);
	getsockname(h->listener, &a.sa, &len);
	h->port = ntohs(a.in.sin_port);
}

static void host_close(struct host *h)
{
	if (h->fd >= 0)
		close(h->fd);
	if (h->listener >= 0)
		close(h->listener);
	h->fd = h->listener = -1;
}

static void host_reset(struct host *h)
{
	struct linger now = { .l_onoff = 1 };

	setsockopt(h->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(h->fd);
	h->fd = -1;
}

static uint8_t host_buf[1 << 18];

static void host_read(struct host *h)
{
	ssize_t n;

	for (int i = 0; i < 8 && !h->eof && !h->error; i++) {
		n = recv(h->fd, host_buf, sizeof(host_buf), 0);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			h->error = errno;
		if (n == 0)
			h->eof = true;
		if (n > 0) {
			h->bad |= !tg_same(h->seed, h->rx, host_buf, (size_t)n);
			h->rx += (uint64_t)n;
		}
	}
}

static void host_write(struct host *h)
{
	for (int i = 0; i < 8 && h->tx < h->tx_total; i++) {
		size_t want = (size_t)min(h->tx_total - h->tx, (uint64_t)sizeof(host_buf));
		ssize_t n;

		tg_fill(~h->seed, h->tx, host_buf, want);
		n = send(h->fd, host_buf, want, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			h->error = errno;
		if (n <= 0)
			return;
		h->tx += (uint64_t)n;
	}
	if (h->fin && !h->fin_done && h->tx == h->tx_total) {
		shutdown(h->fd, SHUT_WR);
		h->fin_done = true;
	}
}

static void host_pump(struct host *h)
{
	if (h->fd < 0 && h->listener >= 0)
		h->fd = accept4(h->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (h->fd < 0)
		return;
	host_write(h);
	if (!h->hold)
		host_read(h);
}

/* --- running both --- */

static uint64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void show(struct tg *g)
{
	struct flow *f = &g->user->flows.flows[0];
	struct tcp_flow *tf = tcp_of(f);

	print_message("state %u flags %x list %u fd %d; rcv_nxt %u edge +%u tail %u; una %u +%u "
		      "max +%u wnd %u\n",
		      tf->state, tf->flags, tf->list, f->fd, tf->rcv_nxt,
		      tf->rcv_edge - tf->rcv_nxt, tf->tail_len, tf->snd_una,
		      tf->snd_nxt - tf->snd_una, tf->snd_max - tf->snd_una, tf->snd_wnd);
}

/* Runs both sides until the condition holds; a test that waits for 20 s has failed. */
#define until(g, h, cond)                                                                          \
	do {                                                                                       \
		uint64_t end_ = clock_ms() + 20000;                                                \
		for (unsigned int n_ = 1; !(cond); n_++) {                                         \
			tg_round(g, n_ % 16 == 0); /* both sides live in this thread */            \
			host_pump(h);                                                              \
			if (clock_ms() > end_)                                                     \
				show(g);                                                           \
			if (clock_ms() > end_)                                                     \
				fail_msg("never came true: %s", #cond);                            \
		}                                                                                  \
	} while (0)

static void run_for(struct tg *g, struct host *h, uint64_t ms)
{
	uint64_t end = clock_ms() + ms;

	while (clock_ms() < end) {
		tg_round(g, 1);
		host_pump(h);
	}
}

/* How a guest is made: each data test runs once for each of these. */
struct variant {
	const char *name;
	uint32_t caps;
	bool lease;
	int peek_off;
};
static const struct variant leased = { "lease", FULL, true, 1 };
static const struct variant variants[] = {
	{ "lease", FULL, true, 1 },
	{ "lease, no peek_off", FULL, true, 0 },
	{ "send", FULL, false, 1 },
	{ "no offloads", 0, true, 1 },
	{ "no offloads, no peek_off", 0, false, 0 },
	{ "checksum only", TWX_CAP_CSUM, true, 1 },
};

static struct tg *guest(const struct variant *v)
{
	struct tg *g = tg_new("", v->caps, v->lease);

	g->user->cfg.peek_off &= v->peek_off;
	return g;
}

/* Nothing is left behind, and nothing was wrong. */
static void finish(struct tg *g, struct host *h)
{
	assert_int_equal(g->bad_frames, 0);
	assert_int_equal(g->user->tcp->tail_total == 0 || g->user->flows.n, 1);
	host_close(h);
	tg_free(g);
}

static struct tg_conn *connect_guest(struct tg *g, struct host *h)
{
	struct tg_conn *c = tg_conn_new(g, GATEWAY, h->port);

	h->seed = c->seed;
	tg_syn(g, c);
	until(g, h, c->established && h->fd >= 0);
	return c;
}

#define open_pair(v)                                                                               \
	struct host h;                                                                             \
	struct tg *g = guest(v);                                                                   \
	struct tg_conn *c;                                                                         \
	host_listen(&h);                                                                           \
	c = connect_guest(g, &h)

static uint32_t n_flows(struct tg *g)
{
	return g->user->flows.count[FLOW_TCP];
}

/* --- handshakes --- */

static void connects_to_the_host(void **state)
{
	open_pair(&leased);
	assert_int_equal(c->mss_in, tg_mss());
	assert_int_equal(c->wscale_in, TCP_WSCALE);
	assert_true(c->wnd_in > 0);
	finish(g, &h);
}

static void refusal_is_a_reset(void **state)
{
	struct host h;
	struct tg *g = guest(&leased);
	struct tg_conn *c;

	host_listen(&h);
	c = tg_conn_new(g, GATEWAY, h.port);
	host_close(&h);
	tg_syn(g, c);
	until(g, &h, c->reset);
	assert_false(c->established);
	assert_int_equal(n_flows(g), 0);
	finish(g, &h);
}

static void repeated_syn_makes_one_connection(void **state)
{
	struct host h;
	struct tg *g = guest(&leased);
	struct tg_conn *c;
	int extra;

	host_listen(&h);
	c = tg_conn_new(g, GATEWAY, h.port);
	tg_syn(g, c);
	tg_syn(g, c);
	until(g, &h, h.fd >= 0);
	tg_syn(g, c);
	until(g, &h, c->established);
	run_for(g, &h, 20);
	extra = accept4(h.listener, NULL, NULL, SOCK_NONBLOCK);
	assert_int_equal(extra, -1);
	assert_int_equal(n_flows(g), 1);
	finish(g, &h);
}

static const uint8_t guest_mac[6] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 };

/* A connection that somebody on the host made, as hostfwd hands it over. */
static int from_host(struct tg *g, struct host *h, uint16_t guest_port)
{
	struct in6_addr from = tg_addr(GATEWAY), to = tg_addr(0x0a00020f);
	union user_addr a;
	socklen_t len = loopback(&a, h->port);
	int fd;

	h->fd = tcp_socket();
	connect(h->fd, &a.sa, len);
	do
		fd = accept4(h->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	while (fd < 0);
	getsockname(h->fd, &a.sa, &len);
	user_neigh_learn(g->user, &to, guest_mac);
	tcp_from_host_take(g->user, fd, &from, ntohs(a.in.sin_port), &to, guest_port);
	return fd;
}

static void host_connects_to_the_guest(void **state)
{
	struct host h;
	struct tg *g = guest(&leased);
	struct tg_conn *c = &g->conns[0];

	host_listen(&h);
	g->listen = 22;
	from_host(g, &h, 22);
	until(g, &h, c->used && c->established);
	h.seed = c->seed;
	h.tx_total = c->tx_total = 100000;
	h.fin = c->fin = true;
	until(g, &h, h.eof && c->fin_in && c->fin_acked);
	assert_int_equal(h.rx, 100000);
	assert_int_equal(c->rx_bytes, 100000);
	assert_false(h.bad || c->bad_data);
	finish(g, &h);
}

static void guest_refuses(void **state)
{
	struct host h;
	struct tg *g = guest(&leased);
	struct tg_conn *c;

	host_listen(&h);
	c = tg_conn_new(g, GATEWAY, 1);
	from_host(g, &h, 22);
	c->port = 22;
	c->peer_port = g->user->flows.flows[0].key.peer_port;
	run_for(g, &h, 20);
	assert_int_equal(g->syns_in, 1);
	tg_segment(g, c, TG_RST | TG_ACK, 0, c->irs + 1, NULL, 0);
	until(g, &h, h.error);
	assert_int_equal(h.error, ECONNRESET);
	assert_int_equal(n_flows(g), 0);
	finish(g, &h);
}

static void syn_is_repeated_for_a_deaf_guest(void **state)
{
	struct host h;
	struct tg *g = guest(&leased);

	host_listen(&h);
	from_host(g, &h, 22); /* nobody answers */
	until(g, &h, g->syns_in >= 2);
	finish(g, &h);
}

/* --- data --- */

static void transfer(const struct variant *v, uint64_t up, uint64_t down, uint32_t chunk)
{
	open_pair(v);
	print_message("           %s\n", v->name);
	c->chunk = chunk;
	c->tx_total = up;
	h.tx_total = down;
	c->fin = h.fin = true;
	until(g, &h, h.eof && c->fin_in && c->fin_acked);
	assert_int_equal(h.rx, up);
	assert_int_equal(c->rx_bytes, down);
	assert_false(h.bad || c->bad_data);
	/* a loss-free path: nothing arrives twice or out of order */
	assert_int_equal(c->ooo_in, 0);
	assert_int_equal(c->repeated_in, 0);
	assert_int_equal(c->dupacks_in, 0);
	until(g, &h, n_flows(g) == 0 || tcp_of(&g->user->flows.flows[0])->state == TS_TIME_WAIT);
	finish(g, &h);
}

static void uploads(void **state)
{
	for (size_t i = 0; i < array_size(variants); i++)
		transfer(&variants[i], 64 * MIB, 0, tg_mss());
}

static void uploads_large_frames(void **state)
{
	transfer(&leased, 64 * MIB, 0, 64240);
}

static void downloads(void **state)
{
	for (size_t i = 0; i < array_size(variants); i++)
		transfer(&variants[i], 0, 64 * MIB, tg_mss());
}

static void both_ways_at_once(void **state)
{
	for (size_t i = 0; i < array_size(variants); i++)
		transfer(&variants[i], 16 * MIB, 16 * MIB, 14600);
}

static void few_bytes(void **state)
{
	for (uint32_t n = 0; n < 4; n++)
		transfer(&leased, n, 3 - n, tg_mss());
	transfer(&leased, 5001, 1461, 1);
}

static void guest_without_options(void **state)
{
	for (size_t i = 0; i < array_size(variants); i++) {
		struct host h;
		struct tg *g = guest(&variants[i]);
		struct tg_conn *c;

		host_listen(&h);
		c = tg_conn_new(g, GATEWAY, h.port);
		c->mss = 0;
		c->no_wscale = true;
		c->rcv_buf = 65535;
		c->chunk = 536;
		h.seed = c->seed;
		tg_syn(g, c);
		c->tx_total = h.tx_total = 4 * MIB;
		until(g, &h, h.rx == 4 * MIB && c->rx_bytes == 4 * MIB);
		assert_false(h.bad || c->bad_data);
		finish(g, &h);
	}
}

/* An MTU so large that a frame of one segment is as long as any. */
static void mtu_of_65520(void **state)
{
	for (int lease = 0; lease < 2; lease++) {
		struct host h;
		struct tg *g = tg_new("mtu=65520", FULL, lease);
		struct tg_conn *c;

		host_listen(&h);
		c = tg_conn_new(g, GATEWAY, h.port);
		c->mss = (uint16_t)(tg_mss() + 65520 - 1500);
		h.seed = c->seed;
		tg_syn(g, c);
		h.tx_total = c->tx_total = 16 * MIB;
		until(g, &h, c->rx_bytes == 16 * MIB && h.rx == 16 * MIB);
		assert_int_equal(c->mss_in, c->mss);
		assert_false(h.bad || c->bad_data);
		assert_int_equal(c->repeated_in, 0);
		finish(g, &h);
	}
}

static void tiny_windows(void **state)
{
	static const uint32_t sizes[] = { 1, 100, 1459, 1461, 5000 };

	for (size_t i = 0; i < array_size(sizes); i++) {
		struct host h;
		struct tg *g = guest(&variants[i % 2]);
		struct tg_conn *c;

		host_listen(&h);
		c = tg_conn_new(g, GATEWAY, h.port);
		c->no_wscale = true;
		c->rcv_buf = sizes[i];
		h.seed = c->seed;
		tg_syn(g, c);
		h.tx_total = sizes[i] * 200ull;
		until(g, &h, c->rx_bytes == h.tx_total);
		assert_false(c->bad_data);
		finish(g, &h);
	}
}

static void small_tso_segments(void **state)
{
	struct host h;
	struct tg *g = guest(&leased);
	struct tg_conn *c;

	host_listen(&h);
	c = tg_conn_new(g, GATEWAY, h.port);
	c->mss = 1; /* too small to be believed */
	h.seed = c->seed;
	tg_syn(g, c);
	h.tx_total = 100000;
	until(g, &h, c->rx_bytes == h.tx_total);
	assert_false(c->bad_data);
	assert_in_range(c->data_frames_in, 1, 100000 / TCP_MSS_MIN + 1);
	finish(g, &h);
}

/* The guest's application stops reading: the window shuts; later it opens. */
static void zero_window_of_the_guest(void **state)
{
	for (size_t i = 0; i < 2; i++) {
		open_pair(&variants[i]);
		c->hold = true;
		h.tx_total = 8 * MIB;
		until(g, &h, c->rcv_buf - c->held < 128); /* the scaled window is 0 */
		run_for(g, &h, 1500);
		assert_true(c->ack_owed == 0 && !c->reset);
		c->hold = false;
		tg_read(c);
		until(g, &h, c->rx_bytes == 8 * MIB);
		assert_false(c->bad_data);
		finish(g, &h);
	}
}

/* The same, but the window update is lost: the probe brings it. */
static void zero_window_probe(void **state)
{
	open_pair(&leased);
	c->hold = true;
	h.tx_total = 2 * MIB;
	until(g, &h, c->rcv_buf - c->held < 128); /* the scaled window is 0 */
	run_for(g, &h, 20);
	c->hold = false;
	c->held = 0; /* and no word of it */
	until(g, &h, c->rx_bytes == 2 * MIB);
	finish(g, &h);
}

/* The server does not read, its and our buffers fill; not one byte of what the window let in is
 * lost. */
static void slow_reader_on_the_host(void **state)
{
	static const uint32_t chunks[] = { 1460, 64240, 7 };

	for (size_t i = 0; i < array_size(chunks); i++) {
		uint64_t total = chunks[i] < 1000 ? 4 * MIB : 32 * MIB;

		open_pair(&leased);
		h.hold = true;
		c->chunk = chunks[i];
		c->tx_total = total;
		c->fin = true;
		run_for(g, &h, 300);
		for (int round = 0; round < 5; round++) {
			uint64_t before = h.rx;

			h.hold = false;
			until(g, &h, h.rx > before + 100000 || h.eof);
			h.hold = true;
			run_for(g, &h, 50);
		}
		h.hold = false;
		until(g, &h, h.eof);
		assert_int_equal(h.rx, total);
		assert_false(h.bad);
		finish(g, &h);
	}
}

/* A send buffer that shrinks under an advertised window: the tail holds what the socket refuses. */
static void tail_keeps_what_the_socket_refuses(void **state)
{
	int size = 2304;
	struct flow *f;

	open_pair(&leased);
	f = &g->user->flows.flows[0];
	setsockopt(f->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	h.hold = true;
	c->chunk = 64240;
	c->tx_total = 8 * MIB;
	c->fin = true;
	until(g, &h, tcp_of(f)->tail_len > 0);
	run_for(g, &h, 50);
	/* bounded by the window, and all of it acknowledged */
	assert_in_range(tcp_of(f)->tail_len, 1, TCP_WINDOW_MAX);
	assert_int_equal(c->snd_una, c->snd_nxt);
	size = MIB;
	setsockopt(f->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	h.hold = false;
	until(g, &h, h.eof);
	assert_int_equal(h.rx, 8 * MIB);
	assert_false(h.bad);
	assert_int_equal(g->user->tcp->tail_total, 0);
	finish(g, &h);
}

/* RFC 9293, 3.8.6: the right edge does not move back. */
static void window_never_shrinks(void **state)
{
	uint32_t edge = 0;

	open_pair(&leased);
	h.hold = true;
	c->chunk = 333;
	c->tx_total = 32 * MIB;
	for (int i = 0; i < 300; i++) {
		uint32_t now;

		tg_round(g, 1);
		h.hold = i % 50 > 5;
		host_pump(&h);
		now = tcp_of(&g->user->flows.flows[0])->rcv_edge;
		assert_true(!edge || (int32_t)(now - edge) >= 0);
		edge = now;
	}
	finish(g, &h);
}

static void busy_guest_resumes(void **state)
{
	for (size_t i = 0; i < array_size(variants); i++) {
		open_pair(&variants[i]);
		h.tx_total = 4 * MIB;
		while (c->rx_bytes < 4 * MIB) {
			g->budget = 3;
			for (int k = 0; k < 200 && !g->busy; k++) {
				tg_round(g, 1);
				host_pump(&h);
			}
			run_for(g, &h, 0);
			tg_unbusy(g);
		}
		assert_false(c->bad_data);
		assert_int_equal(c->ooo_in, 0);
		finish(g, &h);
	}
}

static void flows_share_the_port(void **state)
{
	struct host h[8];
	struct tg *g = guest(&leased);
	struct tg_conn *c[8];
	int done;

	for (int i = 0; i < 8; i++) {
		host_listen(&h[i]);
		c[i] = connect_guest(g, &h[i]);
		h[i].tx_total = c[i]->tx_total = 4 * MIB;
	}
	/* one of them is stuck both ways */
	c[0]->hold = h[0].hold = true;
	do {
		done = 0;
		tg_round(g, 1);
		for (int i = 0; i < 8; i++)
			host_pump(&h[i]);
		for (int i = 1; i < 8; i++)
			done += h[i].rx == 4 * MIB && c[i]->rx_bytes == 4 * MIB;
	} while (done < 7);
	for (int i = 1; i < 8; i++) {
		assert_false(h[i].bad || c[i]->bad_data);
		host_close(&h[i]);
	}
	finish(g, &h[0]);
}

/* --- loss --- */

static void lost_frame_is_sent_again(void **state)
{
	for (size_t i = 0; i < array_size(variants); i++) {
		open_pair(&variants[i]);
		g->drop_data = 7;
		h.tx_total = 8 * MIB;
		h.fin = true;
		until(g, &h, c->fin_in);
		assert_int_equal(c->rx_bytes, 8 * MIB);
		assert_false(c->bad_data);
		finish(g, &h);
	}
}

static void lost_last_frame(void **state)
{
	open_pair(&leased);
	g->drop_data = 1; /* nothing follows that could bring duplicate ACKs */
	h.tx_total = 100;
	until(g, &h, c->rx_bytes == 100);
	assert_false(c->bad_data);
	finish(g, &h);
}

static void many_losses(void **state)
{
	for (size_t i = 0; i < 3; i++) {
		open_pair(&variants[i]);
		g->drop_every = 20;
		h.tx_total = 16 * MIB;
		h.fin = true;
		until(g, &h, c->fin_in);
		assert_int_equal(c->rx_bytes, 16 * MIB);
		assert_false(c->bad_data);
		finish(g, &h);
	}
}

/* What the guest sends out of order brings duplicate ACKs; overlaps are trimmed. */
static void guest_out_of_order(void **state)
{
	uint32_t s, acks;

	open_pair(&leased);
	s = c->iss + 1;
	tg_segment(g, c, TG_ACK, s + 1000, c->rcv_nxt, NULL, 1000);
	tg_segment(g, c, TG_ACK, s + 2000, c->rcv_nxt, NULL, 1000);
	tg_segment(g, c, TG_ACK, s + 3000, c->rcv_nxt, NULL, 1000);
	c->snd_nxt = s + 4000;
	c->tx_total = 4000;
	acks = c->acks_in;
	run_for(g, &h, 30);
	assert_int_equal(h.rx, 0);
	assert_in_range(c->acks_in - acks, 0, 3);
	assert_int_equal(c->snd_una, s);
	tg_segment(g, c, TG_ACK, s, c->rcv_nxt, NULL, 1500);
	tg_segment(g, c, TG_ACK, s + 500, c->rcv_nxt, NULL, 1460);
	tg_segment(g, c, TG_ACK, s + 100, c->rcv_nxt, NULL, 10);
	tg_segment(g, c, TG_ACK, s + 1960, c->rcv_nxt, NULL, 2040 - 700);
	tg_segment(g, c, TG_ACK, s + 1960, c->rcv_nxt, NULL, 1400);
	tg_segment(g, c, TG_ACK, s + 3360, c->rcv_nxt, NULL, 640);
	until(g, &h, h.rx == 4000);
	assert_false(h.bad);
	until(g, &h, c->snd_una == s + 4000);
	finish(g, &h);
}

static void large_hole_is_worth_three_acks(void **state)
{
	open_pair(&leased);
	c->chunk = 64240;
	c->snd_nxt += 21000;
	c->tx_total = 21000;
	tg_segment(g, c, TG_ACK, c->iss + 1 + 1000, c->rcv_nxt, NULL, 20000);
	run_for(g, &h, 20);
	assert_in_range(c->dupacks_in, 2, 3);
	finish(g, &h);
}

/* --- the end --- */

static void guest_closes_first(void **state)
{
	open_pair(&leased);
	c->tx_total = 1000;
	c->fin = true;
	until(g, &h, h.eof);
	assert_int_equal(h.rx, 1000);
	/* the other direction is still open */
	h.tx_total = 5 * MIB;
	until(g, &h, c->rx_bytes == 5 * MIB);
	assert_false(c->bad_data);
	h.fin = true;
	until(g, &h, c->fin_in);
	until(g, &h, n_flows(g) == 0);
	finish(g, &h);
}

static void host_closes_first(void **state)
{
	open_pair(&leased);
	h.tx_total = 1000;
	h.fin = true;
	until(g, &h, c->fin_in);
	c->tx_total = 5 * MIB;
	until(g, &h, h.rx == 5 * MIB);
	assert_false(h.bad);
	c->fin = true;
	until(g, &h, h.eof && c->fin_acked);
	assert_int_equal(tcp_of(&g->user->flows.flows[0])->state, TS_TIME_WAIT);
	assert_int_equal(g->user->flows.flows[0].fd, -1);
	/* the last ACK is repeated for a repeated FIN */
	c->fin_acked = false;
	tg_segment(g, c, TG_FIN | TG_ACK, c->snd_nxt - 1, c->rcv_nxt, NULL, 0);
	until(g, &h, c->fin_acked);
	until(g, &h, n_flows(g) == 0);
	finish(g, &h);
}

static void fin_behind_a_tail(void **state)
{
	open_pair(&leased);
	h.hold = true;
	c->chunk = 64240;
	c->tx_total = 6 * MIB;
	c->fin = true;
	run_for(g, &h, 100);
	assert_false(h.eof);
	h.hold = false;
	until(g, &h, h.eof);
	assert_int_equal(h.rx, 6 * MIB);
	assert_false(h.bad);
	finish(g, &h);
}

static void reset_by_the_guest(void **state)
{
	open_pair(&leased);
	tg_segment(g, c, TG_RST, c->snd_nxt, 0, NULL, 0);
	until(g, &h, h.error);
	assert_int_equal(h.error, ECONNRESET);
	assert_int_equal(n_flows(g), 0);
	finish(g, &h);
}

static void reset_by_the_host(void **state)
{
	for (size_t i = 0; i < 2; i++) {
		open_pair(&variants[i]);
		host_reset(&h);
		host_close(&h);
		until(g, &h, c->reset);
		assert_int_equal(g->last_rst_seq, c->rcv_nxt);
		assert_int_equal(n_flows(g), 0);
		finish(g, &h);
	}
}

static void reset_by_the_host_behind_data(void **state)
{
	for (size_t i = 0; i < 2; i++) {
		open_pair(&variants[i]);
		h.tx_total = 50000; /* all of it in the kernel's receive queue */
		while (h.tx < h.tx_total)
			host_pump(&h);
		host_reset(&h);
		host_close(&h);
		until(g, &h, c->reset);
		assert_int_equal(c->rx_bytes, 50000);
		assert_int_equal(n_flows(g), 0);
		finish(g, &h);
	}
}

static void host_closes_with_data_from_the_guest_unread(void **state)
{
	open_pair(&leased);
	h.hold = true;
	c->tx_total = 100000;
	until(g, &h, c->snd_una == c->iss + 1 + 100000);
	host_close(&h); /* unread bytes: the kernel resets */
	until(g, &h, c->reset);
	finish(g, &h);
}

static void writing_to_a_closed_host_resets(void **state)
{
	open_pair(&leased);
	host_close(&h);
	until(g, &h, c->fin_in);
	c->tx_total = 1000;
	until(g, &h, c->reset);
	finish(g, &h);
}

/* RFC 5961: a reset from the middle of the window is questioned, one from outside ignored. */
static void blind_reset(void **state)
{
	uint32_t acks;

	open_pair(&leased);
	acks = c->acks_in;
	tg_segment(g, c, TG_RST, c->snd_nxt + 1, 0, NULL, 0);
	until(g, &h, c->acks_in > acks);
	acks = c->acks_in;
	tg_segment(g, c, TG_RST, c->snd_nxt - 100000, 0, NULL, 0);
	tg_segment(g, c, TG_RST, c->snd_nxt + (1u << 30), 0, NULL, 0);
	run_for(g, &h, 20);
	assert_int_equal(c->acks_in, acks);
	/* a SYN in the window likewise */
	tg_segment(g, c, TG_SYN, c->snd_nxt + 10, 0, NULL, 0);
	until(g, &h, c->acks_in > acks);
	c->tx_total = 10;
	until(g, &h, h.rx == 10);
	finish(g, &h);
}

static void keepalive_is_answered(void **state)
{
	uint32_t acks;

	open_pair(&leased);
	run_for(g, &h, 10);
	acks = c->acks_in;
	tg_segment(g, c, TG_ACK, c->snd_nxt - 1, c->rcv_nxt, NULL, 0);
	until(g, &h, c->acks_in == acks + 1);
	tg_segment(g, c, TG_ACK, c->snd_nxt - 1, c->rcv_nxt, "x", 1);
	until(g, &h, c->acks_in == acks + 2);
	assert_int_equal(h.rx, 0);
	finish(g, &h);
}

static void unknown_flow_is_reset(void **state)
{
	struct host h;
	struct tg *g = guest(&leased);
	struct tg_conn *c;

	host_listen(&h);
	c = tg_conn_new(g, GATEWAY, h.port);
	tg_segment(g, c, TG_ACK, 1000, 77777, NULL, 0);
	until(g, &h, c->reset);
	assert_int_equal(g->last_rst_seq, 77777);
	/* a reset is not answered by one */
	c->used = false;
	tg_segment(g, c, TG_RST, 1000, 0, NULL, 0);
	run_for(g, &h, 20);
	assert_int_equal(g->rsts, 0);
	assert_int_equal(n_flows(g), 0);
	finish(g, &h);
}

static void port_is_used_again(void **state)
{
	open_pair(&leased);
	h.fin = true;
	until(g, &h, c->fin_in);
	c->fin = true;
	until(g, &h, c->fin_acked);
	assert_int_equal(tcp_of(&g->user->flows.flows[0])->state, TS_TIME_WAIT);
	close(h.fd);
	h.fd = -1;
	h.eof = h.fin = h.fin_done = false;
	c->iss = c->snd_una = c->snd_nxt + 1000;
	c->snd_nxt = c->snd_edge = c->iss + 1;
	c->established = c->fin = c->fin_sent = c->fin_in = c->fin_acked = false;
	tg_syn(g, c);
	until(g, &h, c->established && h.fd >= 0);
	c->tx_total = 5;
	until(g, &h, h.rx == 5);
	finish(g, &h);
}

static void urgent_data_is_data(void **state)
{
	for (size_t i = 0; i < 2; i++) {
		open_pair(&variants[i]);
		h.seed = 0;
		g->check = false;
		assert_int_equal(send(h.fd, "abc", 3, 0), 3);
		assert_int_equal(send(h.fd, "d", 1, MSG_OOB), 1);
		assert_int_equal(send(h.fd, "efg", 3, 0), 3);
		until(g, &h, c->rx_bytes == 7);
		finish(g, &h);
	}
}

/* --- bounds --- */

static void syn_flood_is_bounded(void **state)
{
	struct host h;
	struct tg *g = guest(&leased);
	struct tg_conn *c;
	struct rlimit rl;

	getrlimit(RLIMIT_NOFILE, &rl);
	rl.rlim_cur = rl.rlim_max;
	setrlimit(RLIMIT_NOFILE, &rl);
	host_listen(&h);
	c = tg_conn_new(g, GATEWAY, h.port);
	c->mute = true;
	for (uint16_t i = 0; i < 5000; i++) {
		c->port = (uint16_t)(1000 + i);
		c->used = i & 1; /* SYN-ACKs find nobody */
		tg_syn(g, c);
		if (i % 64 == 0)
			twx_loop_poll(g->loop, 0);
	}
	assert_in_range(g->user->tcp->lists[TCP_LIST_HALF_OPEN].n, 1, TCP_HALF_OPEN_MAX);
	assert_in_range(n_flows(g), 1, TCP_HALF_OPEN_MAX);
	/* somebody honest still comes through */
	host_close(&h);
	host_listen(&h);
	c->used = false;
	connect_guest(g, &h);
	finish(g, &h);
}

/* The host's side of many connections, in a process of its own: sends back whatever comes. */
static void echo_server(int listener)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = listener };
	int ep = epoll_create1(0), fd;

	epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev);
	while (epoll_wait(ep, &ev, 1, -1) == 1) {
		if (ev.data.fd == listener) {
			fd = accept(listener, NULL, NULL);
			ev = (struct epoll_event){ .events = EPOLLIN, .data.fd = fd };
			epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
			continue;
		}
		fd = ev.data.fd;
		if (send(fd, host_buf, (size_t)max(read(fd, host_buf, 4096), (ssize_t)0), 0) <= 0)
			close(fd);
	}
}

static void ten_thousand_idle_flows(void **state)
{
	enum { N = 10000 };
	struct host h;
	struct tg *g = guest(&leased);
	struct tg_conn *c;
	struct rlimit rl;
	pid_t pid;

	getrlimit(RLIMIT_NOFILE, &rl);
	rl.rlim_cur = rl.rlim_max;
	setrlimit(RLIMIT_NOFILE, &rl);
	if (rl.rlim_cur < N + 100) {
		tg_free(g);
		print_message("           skipped: needs %d open files\n", N + 100);
		skip();
	}
	host_listen(&h);
	pid = fork();
	if (pid == 0)
		echo_server(h.listener);
	host_close(&h);
	g->check = false;
	c = tg_conn_new(g, GATEWAY, h.port);
	for (uint32_t i = 0; i < N; i++) { /* the toy forgets each, the backend does not */
		c->port = (uint16_t)(1024 + i);
		c->snd_una = c->iss;
		c->snd_nxt = c->snd_edge = c->iss + 1;
		c->established = false;
		tg_syn(g, c);
		until(g, &h, c->established);
		tg_round(g, 0);
	}
	assert_int_equal(n_flows(g), N);
	assert_int_equal(g->user->tcp->lists[TCP_LIST_HALF_OPEN].n, 0);
	/* the last of them, and a new one, carry data */
	c->tx_total = 100000;
	until(g, &h, c->rx_bytes == 100000);
	c = tg_conn_new(g, GATEWAY, h.port);
	tg_syn(g, c);
	c->tx_total = 100000;
	until(g, &h, c->rx_bytes == 100000);
	finish(g, &h);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void restrict_denies(void **state)
{
	struct host h;
	struct tg *g = tg_new("restrict=on", FULL, true);

	host_listen(&h);
	tg_syn(g, tg_conn_new(g, GATEWAY, h.port));
	run_for(g, &h, 20);
	assert_int_equal(h.fd, -1);
	assert_int_equal(n_flows(g), 0);
	assert_int_equal(g->user->port->count.drops[TWX_DROP_DENIED], 1);
	finish(g, &h);
}

/* A host that has no route says so by ICMP, not by a reset. */
static void no_route_is_icmp(void **state)
{
	struct host h;
	struct tg *g;
	struct tg_conn *c;

	if (!own_netns) {
		print_message("           skipped: no network namespaces here\n");
		skip();
	}
	g = guest(&leased);
	host_listen(&h);
	c = tg_conn_new(g, 0xc6336401, 80);
	tg_syn(g, c);
	until(g, &h, g->icmp_unreach);
	assert_false(c->reset);
	assert_int_equal(n_flows(g), 0);
	finish(g, &h);
}

static void full_table_evicts_time_wait(void **state)
{
	struct host h;
	struct tg *g = tg_new("", FULL, true);
	struct tg_conn *c;
	uint32_t max = g->user->flows.max;

	host_listen(&h);
	c = connect_guest(g, &h);
	h.fin = true;
	until(g, &h, c->fin_in);
	c->fin = true;
	until(g, &h, c->fin_acked);
	g->user->flows.max = g->user->flows.high; /* as if all were in use */
	host_close(&h);
	host_listen(&h);
	c = connect_guest(g, &h);
	assert_int_equal(n_flows(g), 1);
	/* and an active flow is not evicted */
	tg_syn(g, tg_conn_new(g, GATEWAY, h.port));
	run_for(g, &h, 20);
	c->tx_total = 5;
	h.seed = c->seed;
	until(g, &h, h.rx == 5);
	g->user->flows.max = max;
	finish(g, &h);
}

static void closing_resets_everything(void **state)
{
	open_pair(&leased);
	c->tx_total = 100;
	until(g, &h, h.rx == 100);
	h.listener = (close(h.listener), -1);
	assert_int_equal(g->bad_frames, 0);
	tg_free(g);
	host_read(&h);
	assert_int_equal(h.error, ECONNRESET);
	host_close(&h);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connects_to_the_host),
		cmocka_unit_test(refusal_is_a_reset),
		cmocka_unit_test(repeated_syn_makes_one_connection),
		cmocka_unit_test(host_connects_to_the_guest),
		cmocka_unit_test(guest_refuses),
		cmocka_unit_test(syn_is_repeated_for_a_deaf_guest),
		cmocka_unit_test(few_bytes),
		cmocka_unit_test(uploads),
		cmocka_unit_test(uploads_large_frames),
		cmocka_unit_test(downloads),
		cmocka_unit_test(both_ways_at_once),
		cmocka_unit_test(guest_without_options),
		cmocka_unit_test(mtu_of_65520),
		cmocka_unit_test(tiny_windows),
		cmocka_unit_test(small_tso_segments),
		cmocka_unit_test(zero_window_of_the_guest),
		cmocka_unit_test(zero_window_probe),
		cmocka_unit_test(slow_reader_on_the_host),
		cmocka_unit_test(tail_keeps_what_the_socket_refuses),
		cmocka_unit_test(window_never_shrinks),
		cmocka_unit_test(busy_guest_resumes),
		cmocka_unit_test(flows_share_the_port),
		cmocka_unit_test(lost_frame_is_sent_again),
		cmocka_unit_test(lost_last_frame),
		cmocka_unit_test(many_losses),
		cmocka_unit_test(guest_out_of_order),
		cmocka_unit_test(large_hole_is_worth_three_acks),
		cmocka_unit_test(guest_closes_first),
		cmocka_unit_test(host_closes_first),
		cmocka_unit_test(fin_behind_a_tail),
		cmocka_unit_test(reset_by_the_guest),
		cmocka_unit_test(reset_by_the_host),
		cmocka_unit_test(reset_by_the_host_behind_data),
		cmocka_unit_test(host_closes_with_data_from_the_guest_unread),
		cmocka_unit_test(writing_to_a_closed_host_resets),
		cmocka_unit_test(blind_reset),
		cmocka_unit_test(keepalive_is_answered),
		cmocka_unit_test(unknown_flow_is_reset),
		cmocka_unit_test(port_is_used_again),
		cmocka_unit_test(urgent_data_is_data),
		cmocka_unit_test(syn_flood_is_bounded),
		cmocka_unit_test(ten_thousand_idle_flows),
		cmocka_unit_test(restrict_denies),
		cmocka_unit_test(no_route_is_icmp),
		cmocka_unit_test(full_table_evicts_time_wait),
		cmocka_unit_test(closing_resets_everything),
	};

	tg_ipv6 = argc > 1 && !strcmp(argv[1], "-6");
	own_netns = tg_netns();
	if (argc > 1 + tg_ipv6)
		cmocka_set_test_filter(argv[1 + tg_ipv6]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
