/* SPDX-License-Identifier: BSD-3-Clause */
/* A toy guest that speaks TCP to the user backend. */
#include "tcp_guest.h"

#include <assert.h>
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/csum.h"
#include "base/iov.h"
#include "base/macros.h"

#define GUEST_IP 0x0a00020f
static const uint8_t guest_mac[6] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 };
static const uint8_t gateway_mac[6] = { 0x52, 0x55, 10, 0, 2, 2 };
static const uint8_t gateway_mac6[6] = { 0x52, 0x56, 0, 0, 0, 2 };

bool tg_ipv6;

static uint32_t ip_len(void)
{
	return tg_ipv6 ? 40 : 20;
}

uint16_t tg_mss(void)
{
	return (uint16_t)(1480 - ip_len());
}

struct in6_addr tg_addr(uint32_t v4)
{
	struct in6_addr a = { .s6_addr = { 0xfe, 0xc0, [15] = (uint8_t)v4 } };

	if (!tg_ipv6)
		return user_mapped((struct in_addr){ htonl(v4) });
	if (v4 >> 8 != GUEST_IP >> 8) {
		memcpy(&a, (uint8_t[]){ 0x20, 1, 0xd, 0xb8 }, 4);
		user_put32(a.s6_addr + 12, v4);
	}
	return a;
}

/* --- the pattern --- */

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

void tg_fill(uint64_t seed, uint64_t off, uint8_t *buf, size_t len)
{
	while (len) {
		uint64_t word = mix(seed ^ off / 8);
		size_t in = off % 8, n = min(8 - in, len);

		memcpy(buf, (uint8_t *)&word + in, n);
		buf += n;
		off += n;
		len -= n;
	}
}

bool tg_same(uint64_t seed, uint64_t off, const uint8_t *buf, size_t len)
{
	while (len) {
		uint64_t word = mix(seed ^ off / 8);
		size_t in = off % 8, n = min(8 - in, len);

		if (memcmp(buf, (uint8_t *)&word + in, n))
			return false;
		buf += n;
		off += n;
		len -= n;
	}
	return true;
}

/* --- what arrives --- */

static struct in6_addr source(const uint8_t *ip)
{
	struct in6_addr a;

	if (!tg_ipv6)
		return user_mapped((struct in_addr){ htonl(user_get32(ip + 12)) });
	memcpy(&a, ip + 8, sizeof(a));
	return a;
}

static struct tg_conn *find(struct tg *g, const uint8_t *ip)
{
	struct in6_addr from = source(ip);
	const uint8_t *tcp = ip + ip_len();

	for (int i = 0; i < TG_CONNS; i++) {
		struct tg_conn *c = &g->conns[i];

		if (c->used && c->port == user_get16(tcp + 2) && c->peer_port == user_get16(tcp) &&
		    user_same(&c->peer, &from))
			return c;
	}
	return NULL;
}

/* Checks both checksums, complete or partial. */
static bool sums_ok(const uint8_t *f, uint32_t len, const struct twx_meta *m)
{
	const uint8_t *ip = f + 14, *l4 = ip + ip_len();
	uint32_t l4_len = tg_ipv6 ? user_get16(ip + 4) : user_get16(ip + 2) - 20u;
	uint64_t pseudo = tg_ipv6 ? csum_pseudo6(ip + 8, ip + 24, ip[6], l4_len)
				  : csum_pseudo4(ip + 12, ip + 16, ip[9], l4_len);
	uint16_t field;

	if ((!tg_ipv6 && csum_fold(csum_partial(ip, 20, 0)).raw) ||
	    l4_len + (uint32_t)(l4 - f) > len)
		return false;
	if (m->flags & TWX_F_NEEDS_CSUM) {
		memcpy(&field, l4 + 16, 2);
		return m->csum_start == l4 - f && m->csum_off == 16 &&
		       field == csum_fold_raw(pseudo);
	}
	return m->gso == 0 && csum_fold(csum_partial(l4, l4_len, pseudo)).raw == 0;
}

static void options_in(struct tg_conn *c, const uint8_t *tcp)
{
	uint32_t n = (tcp[12] >> 4) * 4u;

	for (uint32_t i = 20; i < n && tcp[i];) {
		if (tcp[i] == 1) {
			i++;
			continue;
		}
		if (tcp[i] == 2)
			c->mss_in = user_get16(tcp + i + 2);
		if (tcp[i] == 3 && !c->no_wscale)
			c->wscale_in = tcp[i + 2];
		for (uint32_t k = 2; tcp[i] == 5 && k < tcp[i + 1]; k += 8, c->n_sacks++) {
			c->sacks[c->n_sacks][0] = user_get32(tcp + i + k) - c->iss - 1;
			c->sacks[c->n_sacks][1] = user_get32(tcp + i + k + 4) - c->iss - 1;
		}
		i += tcp[i + 1];
	}
}

static void syn_in(struct tg_conn *c, const uint8_t *tcp)
{
	c->irs = user_get32(tcp + 4);
	c->rcv_nxt = c->irs + 1;
	options_in(c, tcp);
	c->established = !c->passive || c->established;
	c->ack_owed = 1;
}

static void data_in(struct tg *g, struct tg_conn *c, uint32_t seq, const uint8_t *data,
		    uint32_t len)
{
	uint32_t skip = c->rcv_nxt - seq;

	c->data_frames_in++;
	if ((int32_t)(seq - c->rcv_nxt) > 0) {
		c->ooo_in++;
		c->ack_owed++;
		return;
	}
	c->ack_owed = max(c->ack_owed, 1u);
	c->repeated_in += skip > 0;
	if (skip >= len)
		return;
	if (len - skip > c->rcv_buf - c->held) {
		c->bad_data = true; /* beyond the window */
		return;
	}
	if (g->check &&
	    !tg_same(c->echoed ? c->seed : ~c->seed, c->rx_bytes, data + skip, len - skip))
		c->bad_data = true;
	c->rx_bytes += len - skip;
	c->rcv_nxt += len - skip;
	if (c->hold)
		c->held += len - skip;
}

static void ack_in(struct tg_conn *c, const uint8_t *tcp, uint32_t len)
{
	uint32_t ack = user_get32(tcp + 8), wnd = user_get16(tcp + 14);
	uint32_t edge = ack + (tcp[13] & TG_SYN ? wnd : wnd << c->wscale_in);

	if (ack == c->snd_una && !len && ack != c->snd_nxt && edge == c->snd_edge)
		c->dupacks_in++;
	c->acks_in += !len;
	if (!len && !(tcp[13] & TG_SYN)) {
		c->n_sacks = 0;
		options_in(c, tcp);
	}
	c->zero_windows_in += !wnd;
	if ((int32_t)(ack - c->snd_una) < 0)
		return;
	c->tx_acked += ack - c->snd_una;
	c->snd_una = ack;
	if ((int32_t)(edge - c->snd_edge) > 0)
		c->snd_edge = edge;
	c->wnd_in = (uint16_t)wnd;
	if (c->fin_sent && ack == c->snd_nxt)
		c->fin_acked = true;
	if (c->passive)
		c->established = true;
}

static void segment_in(struct tg *g, struct tg_conn *c, const uint8_t *tcp, uint32_t len)
{
	uint32_t hdr = (tcp[12] >> 4) * 4u, seq = user_get32(tcp + 4), n = len - hdr;
	uint8_t flags = tcp[13];

	if (flags & TG_RST) {
		c->reset = true;
		g->last_rst_seq = seq;
		return;
	}
	if (flags & TG_SYN)
		syn_in(c, tcp);
	if (flags & TG_ACK)
		ack_in(c, tcp, n);
	if (n)
		data_in(g, c, seq, tcp + hdr, n);
	if ((flags & TG_FIN) && seq + n == c->rcv_nxt) {
		c->fin_in = true;
		c->rcv_nxt++;
		c->ack_owed = max(c->ack_owed, 1u);
	} else if (flags & TG_FIN) {
		c->ack_owed = max(c->ack_owed, 1u);
	}
	/* A probe or something old. */
	if (!n && !(flags & (TG_FIN | TG_SYN)) && (int32_t)(seq - c->rcv_nxt) < 0)
		c->ack_owed = max(c->ack_owed, 1u);
}

static void passive_open(struct tg *g, const uint8_t *ip)
{
	const uint8_t *tcp = ip + ip_len();
	struct tg_conn *c = tg_conn_new(g, 0, user_get16(tcp));

	c->peer = source(ip);
	c->port = user_get16(tcp + 2);
	c->passive = true;
	syn_in(c, tcp);
	c->ack_owed = 0;
	c->synack_owed = true; /* nothing is sent from within receive */
}

static void frame_in(struct tg *g, const uint8_t *f, uint32_t len, const struct twx_meta *m)
{
	const uint8_t *ip = f + 14, *tcp = ip + ip_len();
	uint8_t proto = ip[tg_ipv6 ? 6 : 9];
	struct tg_conn *c;
	uint32_t n;

	g->frames++;
	if (len < 14 + ip_len() + 20 || user_get16(f + 12) != (tg_ipv6 ? ETH_IP6 : ETH_IP4))
		return;
	if (proto == (tg_ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP)) {
		g->icmp_unreach += tcp[0] == (tg_ipv6 ? 1 : 3);
		return;
	}
	if (g->check && !sums_ok(f, len, m))
		g->bad_frames++;
	n = tg_ipv6 ? user_get16(ip + 4) : user_get16(ip + 2) - 20u;
	if (m->gso && (!m->gso_size || n - 20 <= m->gso_size ||
		       m->gso != (tg_ipv6 ? TWX_GSO_TCPV6 : TWX_GSO_TCPV4)))
		g->bad_frames++;
	if (!m->gso && n > g->user->cfg.mtu - ip_len())
		g->bad_frames++;
	g->syns_in += (tcp[13] & (TG_SYN | TG_ACK)) == TG_SYN;
	if (n > 20) {
		g->loss_clock++;
		if ((g->drop_data && --g->drop_data == 0) ||
		    (g->drop_every && g->loss_clock % g->drop_every == 0))
			return;
	}
	c = find(g, ip);
	if (c) {
		segment_in(g, c, tcp, n);
		return;
	}
	if ((tcp[13] & (TG_SYN | TG_ACK | TG_RST)) == TG_SYN && user_get16(tcp + 2) == g->listen) {
		passive_open(g, ip);
		return;
	}
	if (tcp[13] & TG_RST) {
		g->rsts++;
		g->last_rst_seq = user_get32(tcp + 4);
	}
}

/* --- the port --- */

static struct tg *tg_of(struct twx_port *port)
{
	return container_of(port, struct tg, port);
}

static bool spend(struct tg *g)
{
	if (g->busy)
		return false;
	if (g->budget && --g->budget == 0)
		g->busy = true;
	return true;
}

static int tg_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	struct tg *g = tg_of(port);

	for (int i = 0; i < n; i++) {
		if (!spend(g))
			return i;
		iov_copy_from(frames[i].iov, frames[i].n_iov, 0, g->rx, sizeof(g->rx));
		frame_in(g, g->rx, frames[i].len, &frames[i].meta);
	}
	return n;
}

static int tg_reserve(struct twx_port *port, size_t least, size_t want, struct twx_lease *l)
{
	struct tg *g = tg_of(port);
	uint32_t len = 0;

	if (!g->lease)
		return -EOPNOTSUPP;
	if (g->busy)
		return -EAGAIN;
	l->n_iov = 0;
	while (len < want && l->n_iov < TWX_LEASE_IOV && len + g->buf_len <= TG_POOL) {
		l->iov[l->n_iov++] = (struct iovec){ g->pool + len, g->buf_len };
		len += g->buf_len;
	}
	l->len = len;
	assert(len >= least);
	g->leases++;
	return 0;
}

static void tg_commit(struct twx_port *port, struct twx_lease *l, size_t len,
		      const struct twx_meta *m)
{
	struct tg *g = tg_of(port);

	spend(g);
	frame_in(g, g->pool, (uint32_t)len, m); /* the buffers lie one behind the other */
}

static void tg_abort(struct twx_port *port, struct twx_lease *l)
{
}

static const struct twx_port_ops tg_ops = {
	.receive = tg_receive,
	.reserve = tg_reserve,
	.commit = tg_commit,
	.abort = tg_abort,
};

void tg_unbusy(struct tg *g)
{
	g->busy = false;
	twx_port_ready(&g->port);
}

static void log_line(void *opaque, enum twx_log_level level, const char *line)
{
	fprintf(stderr, "log: %s\n", line);
}

struct tg *tg_new(const char *options, uint32_t caps, bool lease)
{
	struct tg *g = calloc(1, sizeof(*g));
	struct twx_net_config config = { .size = sizeof(config), .log = log_line };
	struct twx_error e = { 0 };
	char text[256];

	snprintf(text, sizeof(text), "user,id=n0%s%s", *options ? "," : "", options);
	g->pool = malloc(TG_POOL);
	g->tx = malloc((size_t)TWX_BURST * 65536);
	g->lease = lease;
	g->buf_len = 1526;
	g->check = true;
	if (twx_loop_new(&g->loop, &e))
		goto fail;
	config.loop = g->loop;
	if (twx_net_new(&g->net, &config, &e) || twx_backend_new(&g->backend, g->net, text, &e) ||
	    twx_port_init(&g->port, g->net, g->loop, TWX_PORT_NIC, "guest", "toy", 0, &tg_ops, NULL,
			  &e))
		goto fail;
	twx_port_set_caps(&g->port, (struct twx_caps){ .flags = caps });
	if (twx_port_pair(&g->port, g->backend->ports[0], &e))
		goto fail;
	g->user = g->backend->priv;
	return g;
fail:
	fprintf(stderr, "%s\n", e.what);
	abort();
}

void tg_free(struct tg *g)
{
	twx_backend_free(g->backend);
	twx_port_fini(&g->port);
	twx_net_free(g->net);
	twx_loop_free(g->loop);
	free(g->pool);
	free(g->tx);
	free(g);
}

/* --- what is sent --- */

struct tg_conn *tg_conn_new(struct tg *g, uint32_t peer, uint16_t peer_port)
{
	for (int i = 0; i < TG_CONNS; i++) {
		struct tg_conn *c = &g->conns[i];

		if (c->used)
			continue;
		*c = (struct tg_conn){
			.used = true,
			.peer = tg_addr(peer),
			.peer_port = peer_port,
			.port = (uint16_t)(40000 + i),
			.iss = 0xfffff000u + (uint32_t)i, /* soon to wrap */
			.chunk = tg_mss(),
			.rcv_buf = 1 << 20,
			.mss = tg_mss(),
			.seed = mix((uint64_t)i + 1),
		};
		c->snd_una = c->iss;
		c->snd_nxt = c->snd_edge = c->iss + 1;
		return c;
	}
	abort();
}

static uint32_t put_options(const struct tg_conn *c, uint8_t *opt)
{
	uint32_t n = 0;

	if (c->mss) {
		opt[n++] = 2;
		opt[n++] = 4;
		user_put16(opt + n, c->mss);
		n += 2;
	}
	if (!c->no_wscale) {
		memcpy(opt + n, "\1\3\3\7", 4);
		n += 4;
	}
	if (c->sack) {
		memcpy(opt + n, "\1\1\4\2", 4);
		n += 4;
	}
	return n;
}

struct tg_out {
	uint8_t hdr[TWX_HDR_ROOM];
	struct iovec iov[2];
};

static void put_ip4(uint8_t *ip, const struct tg_conn *c, uint32_t len)
{
	struct in6_addr guest = tg_addr(GUEST_IP);
	be16 sum;

	memset(ip, 0, 20);
	ip[0] = 0x45;
	user_put16(ip + 2, 20 + len);
	ip[8] = 64;
	ip[9] = IPPROTO_TCP;
	memcpy(ip + 12, &guest.s6_addr32[3], 4);
	memcpy(ip + 16, &c->peer.s6_addr32[3], 4);
	sum = csum_fold(csum_partial(ip, 20, 0));
	memcpy(ip + 10, &sum, 2);
}

static void put_ip6(uint8_t *ip, const struct tg_conn *c, uint32_t len)
{
	struct in6_addr guest = tg_addr(GUEST_IP);

	user_put32(ip, 0x60000000);
	user_put16(ip + 4, len);
	ip[6] = IPPROTO_TCP;
	ip[7] = 64;
	memcpy(ip + 8, &guest, 16);
	memcpy(ip + 24, &c->peer, 16);
}

/* The frame's first TWX_HDR_ROOM bytes are private, the rest stays in @data. */
static struct twx_frame build(struct tg_conn *c, struct tg_out *o, uint8_t flags, uint32_t seq,
			      uint32_t ack, uint8_t *data, uint32_t len, bool check)
{
	uint32_t bare = 34 + ip_len(), opt = flags & TG_SYN ? put_options(c, o->hdr + bare) : 0;
	uint32_t hdr = bare + opt, l4_len = 20 + opt + len;
	uint32_t head = min(len, (uint32_t)TWX_HDR_ROOM - hdr), wnd = c->rcv_buf - c->held;
	uint8_t *ip = o->hdr + 14, *tcp = ip + ip_len();
	struct twx_frame f = { .iov = o->iov, .n_iov = len > head ? 2 : 1, .len = hdr + len };
	struct in6_addr guest = tg_addr(GUEST_IP);
	uint64_t pseudo = user_pseudo(&guest, &c->peer, IPPROTO_TCP, l4_len);
	bool gso = len > tg_mss();
	be16 sum;

	memcpy(o->hdr, tg_ipv6 ? gateway_mac6 : gateway_mac, 6);
	memcpy(o->hdr + 6, guest_mac, 6);
	user_put16(o->hdr + 12, tg_ipv6 ? ETH_IP6 : ETH_IP4);
	(tg_ipv6 ? put_ip6 : put_ip4)(ip, c, l4_len);
	memset(tcp, 0, 20);
	user_put16(tcp, c->port);
	user_put16(tcp + 2, c->peer_port);
	user_put32(tcp + 4, seq);
	user_put32(tcp + 8, ack);
	tcp[12] = (uint8_t)((20 + opt) / 4 << 4);
	tcp[13] = flags;
	if (!(flags & TG_SYN) && !c->no_wscale && c->wscale_in)
		wnd >>= 7;
	user_put16(tcp + 14, min(wnd, 65535u));
	if (len)
		memcpy(o->hdr + hdr, data, head);
	o->iov[0] = (struct iovec){ o->hdr, hdr + head };
	o->iov[1] = (struct iovec){ len ? data + head : NULL, len - head };
	if (gso || !check) {
		f.meta = (struct twx_meta){ .flags = TWX_F_NEEDS_CSUM,
					    .csum_start = (uint16_t)(14 + ip_len()),
					    .csum_off = 16 };
		if (gso) {
			f.meta.gso = tg_ipv6 ? TWX_GSO_TCPV6 : TWX_GSO_TCPV4;
			f.meta.gso_size = tg_mss();
			f.meta.hdr_len = (uint16_t)bare;
		}
		sum = (be16){ csum_fold_raw(pseudo) };
	} else {
		sum = csum_fold(csum_iov(o->iov, f.n_iov, 14 + ip_len(), l4_len, pseudo));
	}
	memcpy(tcp + 16, &sum, 2);
	return f;
}

static void send_all(struct tg *g, const struct twx_frame *f, int n)
{
	/* The backend takes every frame, whatever its sockets do. */
	int done = n ? twx_port_send(&g->port, f, n) : 0;

	if (done != n) {
		fprintf(stderr, "the backend refused frames\n");
		abort();
	}
}

void tg_segment(struct tg *g, struct tg_conn *c, uint8_t flags, uint32_t seq, uint32_t ack,
		const void *data, uint32_t len)
{
	struct tg_out o;
	struct twx_frame f;

	if (data)
		memcpy(g->tx, data, len);
	else
		tg_fill(c->seed, seq - c->iss - 1, g->tx, len);
	f = build(c, &o, flags, seq, ack, g->tx, len, g->check);
	send_all(g, &f, 1);
}

void tg_syn(struct tg *g, struct tg_conn *c)
{
	tg_segment(g, c, TG_SYN, c->iss, 0, NULL, 0);
}

/* One burst of one connection. */
static void pump_conn(struct tg *g, struct tg_conn *c, struct tg_out *o, struct twx_frame *f)
{
	int n = 0;

	if (c->synack_owed) {
		c->synack_owed = false;
		f[n] = build(c, &o[n], TG_SYN | TG_ACK, c->iss, c->rcv_nxt, NULL, 0, g->check);
		n++;
	}
	if (c->mute)
		c->ack_owed = 0;
	for (; c->ack_owed > 1 && n < TWX_BURST / 2; c->ack_owed--, n++)
		f[n] = build(c, &o[n], TG_ACK, c->snd_nxt, c->rcv_nxt, NULL, 0, g->check);
	while (c->established && n < TWX_BURST && !c->fin_sent) {
		uint64_t left = c->tx_total;
		uint32_t pos = c->snd_nxt - c->iss - 1, room = c->snd_edge - c->snd_nxt;
		uint8_t *data = g->tx + (size_t)n * 65536;
		uint32_t len;

		left -= pos;
		if ((int32_t)room < 0)
			room = 0;
		len = (uint32_t)min(left, (uint64_t)min(c->chunk, room));
		if (!len && !(c->fin && !left))
			break;
		/* silly window avoidance, as any sender's */
		if (len < left && len < c->chunk && c->snd_una != c->snd_nxt)
			break;
		if (g->check)
			tg_fill(c->seed, pos, data, len);
		c->fin_sent = c->fin && len == left;
		f[n] = build(c, &o[n], c->fin_sent ? TG_ACK | TG_FIN : TG_ACK, c->snd_nxt,
			     c->rcv_nxt, data, len, g->check);
		c->snd_nxt += len + c->fin_sent;
		c->ack_owed = 0;
		n++;
	}
	if (c->ack_owed && n < TWX_BURST) {
		f[n] = build(c, &o[n], TG_ACK, c->snd_nxt, c->rcv_nxt, NULL, 0, g->check);
		c->ack_owed = 0;
		n++;
	}
	send_all(g, f, n);
}

void tg_pump(struct tg *g)
{
	struct tg_out o[TWX_BURST];
	struct twx_frame f[TWX_BURST];

	for (int i = 0; i < TG_CONNS; i++)
		if (g->conns[i].used && !g->conns[i].reset)
			pump_conn(g, &g->conns[i], o, f);
}

void tg_read(struct tg_conn *c)
{
	c->held = 0;
	c->ack_owed = max(c->ack_owed, 1u);
}

void tg_round(struct tg *g, int timeout_ms)
{
	twx_loop_poll(g->loop, timeout_ms);
	tg_pump(g);
}

bool tg_netns(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd, ret;

	if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return false;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ret = ioctl(fd, SIOCSIFFLAGS, &ifr);
	close(fd);
	return ret == 0;
}
