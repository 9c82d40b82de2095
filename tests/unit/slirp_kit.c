/* SPDX-License-Identifier: BSD-3-Clause */
/* The program, its loop and its guest; see slirp_kit.h. */
#include <arpa/inet.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/csum.h"
#include "base/macros.h"
#include "slirp_kit.h"

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };

static const uint8_t guest_mac[6] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 };
static const uint8_t host_mac[6] = { 0x52, 0x55, 10, 0, 2, 2 };

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* --- packets --- */

static void put_ip(uint8_t *f, uint32_t dst, uint8_t proto, uint32_t l4_len)
{
	uint8_t *ip = f + 14;
	be16 sum;

	memcpy(f, host_mac, 6);
	memcpy(f + 6, guest_mac, 6);
	put16(f + 12, 0x0800);
	memset(ip, 0, 20);
	ip[0] = 0x45;
	put16(ip + 2, 20 + l4_len);
	ip[8] = 64;
	ip[9] = proto;
	put32(ip + 12, KIT_GUEST);
	put32(ip + 16, dst);
	sum = csum_fold(csum_partial(ip, 20, 0));
	memcpy(ip + 10, &sum, 2);
}

static void put_l4_csum(uint8_t *f, uint32_t off, uint32_t l4_len)
{
	uint8_t *l4 = f + 34;
	be16 sum = csum_fold(csum_partial(l4, l4_len, csum_pseudo4(f + 26, f + 30, f[23], l4_len)));

	memcpy(l4 + off, &sum, 2);
}

uint32_t kit_udp(uint8_t *f, uint32_t dst, uint16_t sport, uint16_t dport, const void *data,
		 uint32_t len)
{
	put_ip(f, dst, 17, 8 + len);
	put16(f + 34, sport);
	put16(f + 36, dport);
	put16(f + 38, 8 + len);
	put16(f + 40, 0);
	memcpy(f + 42, data, len);
	put_l4_csum(f, 6, 8 + len);
	return 42 + len;
}

static void tcp_send(struct kit *k, struct kit_conn *c, uint8_t flags, const void *data,
		     uint32_t len)
{
	uint8_t f[1514], *t = f + 34;

	put_ip(f, c->dst, 6, 20 + len);
	put16(t, c->port);
	put16(t + 2, c->peer_port);
	put32(t + 4, c->snd_nxt);
	put32(t + 8, flags & ACK ? c->rcv_nxt : 0);
	t[12] = 5 << 4;
	t[13] = flags;
	put16(t + 14, 65535);
	put32(t + 16, 0);
	if (len)
		memcpy(t + 20, data, len);
	put_l4_csum(f, 16, 20 + len);
	c->snd_nxt += len + !!(flags & (SYN | FIN));
	kit_input(k, f, 54 + len);
}

/* --- callbacks --- */

static void take_tcp(struct kit *k, const uint8_t *f, uint32_t len)
{
	struct kit_conn *c = k->conn;
	const uint8_t *t = f + 34;
	uint32_t total = 14u + (uint32_t)(f[16] << 8 | f[17]),
		 n = total - 34 - (uint32_t)(t[12] >> 4) * 4;

	assert_true(total <= len);
	/* A receiver that sums the checksum too gets 0. */
	assert_int_equal(csum_fold(csum_partial(f + 14, 20, 0)).raw, 0);
	assert_int_equal(
		csum_fold(csum_partial(t, total - 34, csum_pseudo4(f + 26, f + 30, 6, total - 34)))
			.raw,
		0);
	if (!c || (uint32_t)(t[2] << 8 | t[3]) != c->port)
		return;
	if (t[13] & RST) {
		c->reset = true;
		return;
	}
	if (t[13] & SYN) {
		c->rcv_nxt = get32(t + 4) + 1;
		c->open = true;
		return;
	}
	if (get32(t + 4) != c->rcv_nxt) {
		c->n_odd++;
		return;
	}
	c->n_data += n > 0;
	c->n_acks += !n;
	c->rcv_nxt += n;
	c->rx += n;
	c->n_last = min(n, (uint32_t)sizeof(c->last));
	memcpy(c->last, f + total - c->n_last, c->n_last);
	if (t[13] & FIN) {
		c->fin = true;
		c->rcv_nxt++;
	}
}

static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
	struct kit *k = opaque;
	const uint8_t *f = buf;

	assert_false(k->shut);
	assert_true(len <= sizeof(k->frames[0].data));
	k->deepest = max(k->deepest, ++k->depth);
	if (k->n_frames < KIT_FRAMES) {
		k->frames[k->n_frames].len = (uint32_t)len;
		memcpy(k->frames[k->n_frames++].data, buf, len);
	}
	if (f[12] == 8 && f[13] == 0 && f[23] == 6)
		take_tcp(k, f, (uint32_t)len);
	if (k->answers_arp)
		kit_arp(k, KIT_HOST);
	k->depth--;
	if (k->always_zero || !k->room) {
		k->n_zero++;
		return 0;
	}
	k->room -= k->room > 0;
	return (ssize_t)len;
}

static void guest_error(const char *msg, void *opaque)
{
}

static int64_t clock_get_ns(void *opaque)
{
	return (int64_t)((struct kit *)opaque)->clock;
}

static void *timer_new(slirp_timer_fn *cb, void *cb_opaque, void *opaque)
{
	return malloc(1);
}

static void timer_free(void *timer, void *opaque)
{
	free(timer);
}

static void timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
}

static void register_fd(int fd, void *opaque)
{
	((struct kit *)opaque)->n_fd++;
	((struct kit *)opaque)->fd = fd;
}

static void unregister_fd(int fd, void *opaque)
{
	((struct kit *)opaque)->n_fd_gone++;
}

static void register_socket(int fd, void *opaque)
{
	((struct kit *)opaque)->n_sock++;
}

static void unregister_socket(int fd, void *opaque)
{
	((struct kit *)opaque)->n_sock_gone++;
}

static void notify(void *opaque)
{
	((struct kit *)opaque)->n_notify++;
}

static void init_completed(struct Slirp *s, void *opaque)
{
	((struct kit *)opaque)->n_completed++;
}

ssize_t kit_fwd_write(const void *buf, size_t len, void *opaque)
{
	struct kit *k = opaque;

	if (k->fwd_take)
		len = min(len, (size_t)k->fwd_take);
	len = min(len, sizeof(k->fwd_got) - k->n_fwd_got);
	memcpy(k->fwd_got + k->n_fwd_got, buf, len);
	k->n_fwd_got += (uint32_t)len;
	return (ssize_t)len;
}

/* --- life --- */

struct slirp_config kit_config(uint32_t version)
{
	return (struct slirp_config){
		.version = version,
		.in_enabled = true,
		.vnetwork = { htonl(0x0a000200) },
		.vnetmask = { htonl(0xffffff00) },
		.vhost = { htonl(KIT_HOST) },
		.vdhcp_start = { htonl(KIT_GUEST) },
		.vnameserver = { htonl(0x0a000203) },
	};
}

void kit_open(struct kit *k, const struct slirp_config *cfg)
{
	memset(k, 0, sizeof(*k));
	k->frames = calloc(KIT_FRAMES, sizeof(*k->frames));
	k->room = -1;
	k->clock = 1000000;
	k->cb = (struct slirp_cb){
		.send_packet = send_packet,
		.guest_error = guest_error,
		.clock_get_ns = clock_get_ns,
		.timer_new = timer_new,
		.timer_free = timer_free,
		.timer_mod = timer_mod,
		.register_poll_fd = register_fd,
		.unregister_poll_fd = unregister_fd,
		.notify = notify,
		.init_completed = init_completed,
		.register_poll_socket = register_socket,
		.unregister_poll_socket = unregister_socket,
	};
	k->slirp = slirp_new(cfg, &k->cb, k);
}

void kit_close(struct kit *k)
{
	k->shut = true;
	slirp_cleanup(k->slirp);
	free(k->frames);
}

/* --- the loop --- */

struct set {
	struct pollfd fds[8];
	int n;
};

static int add_poll(int fd, int events, void *opaque)
{
	struct set *s = opaque;

	assert_true(s->n < 8);
	assert_int_equal(events, SLIRP_POLL_IN);
	s->fds[s->n] = (struct pollfd){ .fd = fd, .events = POLLIN };
	return s->n++;
}

static int get_revents(int index, void *opaque)
{
	return ((struct set *)opaque)->fds[index].revents & POLLIN ? SLIRP_POLL_IN : 0;
}

void kit_input(struct kit *k, const void *frame, uint32_t len)
{
	slirp_input(k->slirp, frame, (int)len);
}

void kit_step(struct kit *k, int ms)
{
	uint32_t timeout = (uint32_t)ms;
	struct set set = { 0 };
	int r;

	slirp_pollfds_fill(k->slirp, &timeout, add_poll, &set);
	r = poll(set.fds, (nfds_t)set.n, (int)min(timeout, (uint32_t)ms));
	slirp_pollfds_poll(k->slirp, r < 0, get_revents, &set);
	if (k->conn && k->conn->open && !k->conn->mute && k->conn->n_data) {
		k->conn->n_data = 0;
		tcp_send(k, k->conn, ACK, NULL, 0);
	}
}

void kit_run(struct kit *k)
{
	for (int quiet = 0; quiet < 5;) {
		uint32_t before = k->n_frames + k->n_fwd_got;

		kit_step(k, 2);
		quiet = before == k->n_frames + k->n_fwd_got ? quiet + 1 : 0;
	}
}

void kit_until(struct kit *k, const uint64_t *value, uint64_t n)
{
	for (int i = 0; i < 5000 && *value < n; i++) {
		kit_step(k, 2);
		k->n_frames = 0;
	}
	assert_int_equal(*value, n);
}

/* --- the guest --- */

void kit_arp(struct kit *k, uint32_t target)
{
	uint8_t f[60] = { [12] = 8, [13] = 6, [15] = 1, [16] = 8, [18] = 6, [19] = 4, [21] = 1 };

	memset(f, 0xff, 6);
	memcpy(f + 6, guest_mac, 6);
	memcpy(f + 22, guest_mac, 6);
	put32(f + 28, KIT_GUEST);
	put32(f + 38, target);
	kit_input(k, f, sizeof(f));
}

bool kit_connect(struct kit *k, struct kit_conn *c, uint32_t dst, uint16_t port)
{
	static uint16_t next = 40000;

	memset(c, 0, sizeof(*c));
	c->dst = dst;
	c->port = next++;
	c->peer_port = port;
	c->snd_nxt = 1000;
	k->conn = c;
	tcp_send(k, c, SYN, NULL, 0);
	for (int i = 0; i < 500 && !c->open && !c->reset; i++)
		kit_step(k, 2);
	if (!c->open)
		return false;
	tcp_send(k, c, ACK, NULL, 0);
	kit_run(k);
	return !c->reset;
}

void kit_send(struct kit *k, struct kit_conn *c, const void *data, uint32_t len)
{
	tcp_send(k, c, ACK | PSH, data, len);
}

void kit_fin(struct kit *k, struct kit_conn *c)
{
	tcp_send(k, c, ACK | FIN, NULL, 0);
}
