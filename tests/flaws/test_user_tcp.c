/* SPDX-License-Identifier: BSD-3-Clause */
/* Past flaws of user-mode stacks, replayed on the TCP of ours: a bad segment is dropped or
 * answered, and the connection next to it goes on. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
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

static bool own_netns;

/* A listener on loopback, or -1 (a privileged port without the privilege). */
static int listen_on(uint16_t *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons(*port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(a);

	if (bind(fd, (struct sockaddr *)&a, len) < 0 || listen(fd, 4096) < 0) {
		close(fd);
		return -1;
	}
	getsockname(fd, (struct sockaddr *)&a, &len);
	*port = ntohs(a.sin_port);
	return fd;
}

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

static void settle(struct tg *g)
{
	for (int i = 0; i < 20; i++)
		tg_round(g, 1);
}

struct peer {
	int listener, fd;
	uint16_t port;
};

static struct tg_conn *open_conn(struct tg *g, struct peer *p)
{
	struct tg_conn *c;

	p->port = 0;
	p->listener = listen_on(&p->port);
	p->fd = -1;
	assert_true(p->listener >= 0);
	c = tg_conn_new(g, GATEWAY, p->port);
	tg_syn(g, c);
	until(g, c->established);
	tg_round(g, 1);
	until(g, (p->fd = accept4(p->listener, NULL, NULL, SOCK_NONBLOCK)) >= 0);
	return c;
}

static void close_peer(struct peer *p)
{
	if (p->fd >= 0)
		close(p->fd);
	close(p->listener);
}

/* A connection that was there before still carries data both ways. */
static void still_works(struct tg *g, struct tg_conn *c, struct peer *p)
{
	uint64_t rx = c->rx_bytes;
	char buf[64];

	assert_false(c->reset);
	c->tx_total = c->snd_nxt - c->iss - 1 + 10ull;
	until(g, recv(p->fd, buf, sizeof(buf), 0) > 0);
	g->check = false;
	assert_int_equal(send(p->fd, "0123456789", 10, 0), 10);
	until(g, c->rx_bytes == rx + 10);
	g->check = true;
	assert_int_equal(g->bad_frames, 0);
}

/* CVE-2017-13711: a session is freed while packets of it wait for a busy guest. */
static void session_freed_with_packets_queued(void **state)
{
	for (int lease = 0; lease < 2; lease++) {
		struct tg *g = tg_new("", FULL, lease);
		struct peer p[2];
		struct tg_conn *a = open_conn(g, &p[0]), *b = open_conn(g, &p[1]);
		static char data[1 << 16];

		g->busy = true;
		for (int i = 0; i < 100; i++) {
			ssize_t n = send(p[0].fd, data, sizeof(data), MSG_NOSIGNAL | MSG_DONTWAIT);

			assert_true(n > 0 || errno == EAGAIN);
			/* duplicates bring ACKs, which queue as well */
			tg_segment(g, a, TG_ACK, a->snd_nxt - 1, a->rcv_nxt, "x", 1);
			twx_loop_poll(g->loop, 0);
		}
		tg_segment(g, a, TG_RST, a->snd_nxt, 0, NULL, 0);
		twx_loop_poll(g->loop, 0);
		a->used = false;
		tg_unbusy(g);
		settle(g);
		assert_int_equal(g->user->flows.count[FLOW_TCP], 1);
		still_works(g, b, &p[1]);
		close_peer(&p[0]);
		close_peer(&p[1]);
		tg_free(g);
	}
}

/* The same with the backend closed instead. */
static void closed_with_packets_queued(void **state)
{
	struct tg *g = tg_new("", FULL, false);
	struct peer p;
	static char data[1 << 16];

	open_conn(g, &p);
	g->busy = true;
	assert_true(send(p.fd, data, sizeof(data), 0) > 0);
	for (int i = 0; i < 5; i++)
		twx_loop_poll(g->loop, 1);
	tg_free(g);
	/* the host hears of it */
	assert_int_equal(recv(p.fd, data, sizeof(data), 0), -1);
	assert_int_equal(errno, ECONNRESET);
	close_peer(&p);
}

/* CVE-2019-6778, 2020-7039, 2020-8608: no protocol is emulated; what the guest says arrives as it
 * is. */
static void protocols_are_not_rewritten(void **state)
{
	static const struct {
		uint16_t port;
		const char *text;
	} cases[] = {
		{ 21, "PORT 10,0,2,15,156,64\r\n" },
		{ 21, "227 Entering Passive Mode (10,0,2,15,156,64)\r\n" },
		{ 113, "40000, 6667\r\n" },
		{ 514, "1023" },
		{ 6667, "PRIVMSG x :\1DCC SEND f 167772687 1024\1\r\n" },
		{ 7070, "rtsp" },
	};

	if (!own_netns)
		skip();
	for (size_t i = 0; i < array_size(cases); i++) {
		struct tg *g = tg_new("", FULL, true);
		uint32_t len = (uint32_t)strlen(cases[i].text);
		struct peer p = { .fd = -1, .port = cases[i].port };
		struct tg_conn *c;
		char buf[200] = "";

		p.listener = listen_on(&p.port);
		assert_true(p.listener >= 0);
		c = tg_conn_new(g, GATEWAY, p.port);
		tg_syn(g, c);
		until(g, (p.fd = p.fd < 0 ? accept4(p.listener, NULL, NULL, SOCK_NONBLOCK)
					  : p.fd) >= 0 &&
				 c->established);
		for (uint32_t off = 0; off < len; off++)
			tg_segment(g, c, TG_ACK, c->iss + 1 + off, c->rcv_nxt,
				   (const uint8_t *)cases[i].text + off, 1);
		for (uint32_t got = 0; got < len;) {
			ssize_t n = recv(p.fd, buf + got, sizeof(buf) - got, 0);

			got += n > 0 ? (uint32_t)n : 0;
		}
		assert_string_equal(buf, cases[i].text);
		close_peer(&p);
		tg_free(g);
	}
}

/* --- segments built byte by byte --- */

struct raw {
	uint8_t b[2048];
	uint32_t len;
};

static void raw_fix(struct raw *r)
{
	uint8_t *ip = r->b + 14, *tcp = r->b + 34;
	uint32_t l4 = r->len > 34 ? r->len - 34 : 0;
	be16 sum;

	user_put16(ip + 2, 20 + l4);
	memset(ip + 10, 0, 2);
	sum = csum_fold(csum_partial(ip, 20, 0));
	memcpy(ip + 10, &sum, 2);
	if (l4 < 18)
		return;
	memset(tcp + 16, 0, 2);
	sum = csum_fold(csum_partial(tcp, l4, csum_pseudo4(ip + 12, ip + 16, 6, l4)));
	memcpy(tcp + 16, &sum, 2);
}

/* A segment of @c with @n bytes behind the fixed header. */
static struct raw raw_segment(const struct tg_conn *c, uint8_t flags, uint32_t n)
{
	struct raw r = { .b = { 0x52, 0x55, 10, 0, 2, 2, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 8, 0,
				0x45 } };
	uint8_t *tcp = r.b + 34;

	r.b[22] = 64;
	r.b[23] = 6;
	memcpy(r.b + 26, "\x0a\0\2\x0f", 4);
	memcpy(r.b + 30, &c->peer.s6_addr32[3], 4);
	user_put16(tcp, c->port);
	user_put16(tcp + 2, c->peer_port);
	user_put32(tcp + 4, c->snd_nxt);
	user_put32(tcp + 8, c->rcv_nxt);
	tcp[12] = 5 << 4;
	tcp[13] = flags;
	user_put16(tcp + 14, 65535);
	r.len = 54 + n;
	raw_fix(&r);
	return r;
}

static void raw_send(struct tg *g, const struct raw *r)
{
	uint8_t *exact = malloc(r->len); /* so that a read beyond it is seen */
	struct iovec iov = { exact, r->len };
	struct twx_frame f = { .iov = &iov, .n_iov = 1, .len = r->len };

	memcpy(exact, r->b, r->len);
	assert_int_equal(twx_port_send(&g->port, &f, 1), 1);
	free(exact);
}

static void cut_at_every_length(void **state)
{
	struct tg *g = tg_new("", FULL, true);
	struct peer p;
	struct tg_conn *c = open_conn(g, &p);

	for (int flags = 0; flags < 64; flags += 3) {
		struct raw r = raw_segment(c, (uint8_t)flags, 100);

		if (flags & (TG_RST | TG_FIN))
			continue;
		r.b[46] = 15 << 4;
		user_put32(r.b + 38, c->snd_nxt + 50000000);
		for (uint32_t len = 14; len < 154; len++) {
			struct raw cut = r;

			cut.len = len;
			raw_send(g, &cut); /* the IP header says more than there is */
			if (len >= 34)
				raw_fix(&cut);
			raw_send(g, &cut);
		}
		settle(g);
	}
	still_works(g, c, &p);
	close_peer(&p);
	tg_free(g);
}

static void options_of_all_kinds(void **state)
{
	static const char *const opts[] = {
		"\2\4\0\0",	/* MSS 0 */
		"\2\4\xff\xff", /* MSS 65535 */
		"\2\0\0\0",	/* length 0 */
		"\2\1\0\0",	/* length 1 */
		"\2\xff\5\xb4", /* length beyond the end */
		"\3\3\xff\1",	/* shift 255 */
		"\3\2\1\1",	/* shift without a value */
		"\1\1\1\2",	/* ends inside an option */
		"\xfe\4\0\0",	/* unknown */
	};
	struct tg *g = tg_new("", FULL, true);
	struct peer p;
	struct tg_conn *c = open_conn(g, &p), *d;

	for (size_t i = 0; i < array_size(opts); i++) {
		struct raw r;
		int fd;

		d = tg_conn_new(g, GATEWAY, p.port);
		d->snd_nxt = d->iss;
		r = raw_segment(d, TG_SYN, 4);
		d->snd_nxt = d->iss + 1;
		memcpy(r.b + 54, opts[i], 4);
		r.b[46] = 6 << 4;
		raw_fix(&r);
		raw_send(g, &r);
		until(g, d->established);
		tg_round(g, 1);
		until(g, (fd = accept4(p.listener, NULL, NULL, SOCK_NONBLOCK)) >= 0);
		assert_in_range(tcp_of(&g->user->flows.flows[1])->mss, TCP_MSS_MIN, 1460);
		assert_in_range(tcp_of(&g->user->flows.flows[1])->snd_wscale, 0, 14);
		g->check = false;
		assert_int_equal(send(fd, opts, sizeof(opts), 0), sizeof(opts));
		until(g, d->rx_bytes == sizeof(opts));
		g->check = true;
		close(fd);
		tg_segment(g, d, TG_RST, d->snd_nxt, 0, NULL, 0);
		d->used = false;
		settle(g);
		assert_int_equal(g->user->flows.count[FLOW_TCP], 1);
	}
	still_works(g, c, &p);
	close_peer(&p);
	tg_free(g);
}

static void header_fields_at_their_extremes(void **state)
{
	static const uint32_t values[] = { 0, 1, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff };
	struct tg *g = tg_new("", FULL, true);
	struct peer p;
	struct tg_conn *c = open_conn(g, &p);

	for (uint32_t flags = 0; flags < 256; flags++) {
		struct tg_conn d = *c;

		d.port = 999; /* a flow that does not exist, or is being opened */
		for (size_t i = 0; i < array_size(values); i++) {
			for (size_t k = 0; k < array_size(values); k++) {
				struct raw r =
					raw_segment(i & 1 ? c : &d, (uint8_t)flags, k & 1 ? 7 : 0);

				user_put32(r.b + 38, c->snd_nxt + (1u << 29) + values[i] / 4);
				user_put32(r.b + 42, values[k]);
				user_put16(r.b + 48, values[k]);
				user_put16(r.b + 52, values[i]); /* urgent pointer */
				raw_fix(&r);
				raw_send(g, &r);
			}
		}
		twx_loop_poll(g->loop, 0);
	}
	settle(g);
	still_works(g, c, &p);
	close_peer(&p);
	tg_free(g);
}

/* ACKs of what was never sent, and windows that move back. */
static void acknowledgements_beyond_what_was_sent(void **state)
{
	struct tg *g = tg_new("", FULL, true);
	struct peer p;
	struct tg_conn *c = open_conn(g, &p);

	for (uint32_t d = 1; d; d <<= 1) {
		struct raw r = raw_segment(c, TG_ACK, 0);

		user_put32(r.b + 42, c->rcv_nxt + d);
		user_put16(r.b + 48, d & 1 ? 0 : 65535);
		raw_fix(&r);
		raw_send(g, &r);
	}
	assert_int_equal(tcp_of(&g->user->flows.flows[0])->snd_una, c->rcv_nxt);
	settle(g);
	still_works(g, c, &p);
	close_peer(&p);
	tg_free(g);
}

/* passt, 2024: port 0, wildcard, multicast and broadcast; no flow, and no reset towards such an
 * address. */
static void unsanitised_addresses(void **state)
{
	static const uint32_t bad[] = { 0,	    0xffffffff, 0xe0000001, 0xefffffff,
					0x0a0002ff, 0x7f000001, 0x0a000263, 0x0a00020f };
	struct tg *g = tg_new("", FULL, true);
	struct peer p;
	struct tg_conn *c = open_conn(g, &p), d = *c;
	uint32_t frames = g->frames;

	for (size_t i = 0; i < array_size(bad); i++) {
		for (int flags = 0; flags < 32; flags++) {
			struct raw r = raw_segment(&d, (uint8_t)flags, 0);
			uint32_t a = htonl(bad[i]);

			user_put16(r.b + 34, 3000);
			memcpy(r.b + 30, &a, 4);
			raw_fix(&r);
			raw_send(g, &r);
			r = raw_segment(&d, (uint8_t)flags, 0);
			user_put16(r.b + 34, i & 1 ? 0 : 3000);
			user_put16(r.b + 36, i & 1 ? 80 : 0);
			raw_fix(&r);
			raw_send(g, &r);
		}
	}
	settle(g);
	assert_int_equal(g->user->flows.count[FLOW_TCP], 1);
	/* "Host unreachable" for the last two, which are hosts' addresses that nobody has, and each
	 * of the four kinds of SYN. */
	assert_int_equal(g->frames, frames + 2 * 4);
	still_works(g, c, &p);
	close_peer(&p);
	tg_free(g);
}

/* passt, 2022: bursts around the size of what gathers them: frames, flows and iovecs. */
static void burst_of_pieces(struct tg *g, struct tg_conn *c, uint32_t n_frames, uint32_t pieces)
{
	static struct iovec iov[TWX_BURST][128];
	static struct raw raw[TWX_BURST];
	static uint8_t data[128];
	struct twx_frame f[TWX_BURST];

	for (uint32_t i = 0; i < n_frames; i++) {
		raw[i] = raw_segment(c, TG_ACK, 138); /* the private part is full */
		memset(raw[i].b + 54, 'p', 138);
		user_put16(raw[i].b + 16, 40 + 138 + pieces);
		memset(raw[i].b + 24, 0, 2);
		be16 sum = csum_fold(csum_partial(raw[i].b + 14, 20, 0));
		memcpy(raw[i].b + 24, &sum, 2);
		iov[i][0] = (struct iovec){ raw[i].b, 192 };
		for (uint32_t k = 0; k < pieces; k++)
			iov[i][1 + k] = (struct iovec){ data + k, 1 };
		f[i] = (struct twx_frame){ .iov = iov[i],
					   .n_iov = 1 + pieces,
					   .len = 192 + pieces,
					   .meta = { .flags = TWX_F_CSUM_VALID } };
		c->snd_nxt += 138 + pieces;
		c->tx_total += 138 + pieces;
	}
	assert_int_equal(twx_port_send(&g->port, f, (int)n_frames), n_frames);
}

static void bursts_that_exactly_fill(void **state)
{
	static const uint32_t sizes[][2] = { { 64, 0 },	 { 63, 14 }, { 64, 14 }, { 64, 15 },
					     { 64, 16 }, { 64, 17 }, { 8, 126 }, { 9, 127 } };
	struct tg *g = tg_new("", FULL, true);
	struct peer p;
	struct tg_conn *c = open_conn(g, &p);

	for (size_t i = 0; i < array_size(sizes); i++) {
		uint32_t before = c->snd_nxt;
		uint64_t got = 0;
		char buf[4096];

		burst_of_pieces(g, c, sizes[i][0], sizes[i][1]);
		while (got < c->snd_nxt - before) {
			ssize_t n = recv(p.fd, buf, sizeof(buf), 0);

			got += n > 0 ? (uint64_t)n : 0;
			if (n == 0)
				fail_msg("the connection ended");
		}
		assert_int_equal(got, c->snd_nxt - before);
		tg_round(g, 0);
		assert_int_equal(c->snd_una, c->snd_nxt);
	}
	still_works(g, c, &p);
	close_peer(&p);
	tg_free(g);
}

/* As many flows in one burst as there are frames. */
static void burst_of_flows(void **state)
{
	struct tg *g = tg_new("", FULL, true);
	struct raw raw[TWX_BURST];
	struct iovec iov[TWX_BURST];
	struct twx_frame f[TWX_BURST];
	struct peer p;
	struct tg_conn *c = open_conn(g, &p);

	for (uint32_t i = 0; i < TWX_BURST; i++) {
		struct tg_conn d = *c;

		d.port = (uint16_t)(2000 + i);
		d.snd_nxt = d.iss;
		raw[i] = raw_segment(&d, TG_SYN, 0);
		iov[i] = (struct iovec){ raw[i].b, raw[i].len };
		f[i] = (struct twx_frame){ .iov = &iov[i], .n_iov = 1, .len = raw[i].len };
	}
	assert_int_equal(twx_port_send(&g->port, f, TWX_BURST), TWX_BURST);
	settle(g);
	assert_int_equal(g->user->flows.count[FLOW_TCP], 1 + TWX_BURST);
	/* one duplicate of each, so that each owes an ACK at the same burst's end */
	assert_int_equal(twx_port_send(&g->port, f, TWX_BURST), TWX_BURST);
	settle(g);
	still_works(g, c, &p);
	close_peer(&p);
	tg_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(session_freed_with_packets_queued),
		cmocka_unit_test(closed_with_packets_queued),
		cmocka_unit_test(protocols_are_not_rewritten),
		cmocka_unit_test(cut_at_every_length),
		cmocka_unit_test(options_of_all_kinds),
		cmocka_unit_test(header_fields_at_their_extremes),
		cmocka_unit_test(acknowledgements_beyond_what_was_sent),
		cmocka_unit_test(unsanitised_addresses),
		cmocka_unit_test(bursts_that_exactly_fill),
		cmocka_unit_test(burst_of_flows),
	};

	own_netns = tg_netns();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
