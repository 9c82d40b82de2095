/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest's end of a TCP connection, driven by hand, and the host's sockets opposite. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "diff.h"

static uint32_t rd(const uint8_t *p, int n)
{
	uint32_t v = 0;

	while (n--)
		v = v << 8 | *p++;
	return v;
}

static void wr(uint8_t *p, int n, uint32_t v)
{
	while (n--) {
		p[n] = (uint8_t)v;
		v >>= 8;
	}
}

void gtcp_init(struct gtcp *t, uint16_t sport, uint32_t dst, uint16_t dport)
{
	*t = (struct gtcp){ .sport = sport,
			    .dport = dport,
			    .dst = dst,
			    .iss = 0x10000u * sport,
			    .win = 32768,
			    .mss = 1460 };
	t->snd_nxt = t->iss;
}

size_t gtcp_build(struct ctx *c, const struct gtcp *t, uint8_t *f, uint8_t flags, uint32_t seq,
		  uint32_t ack, const void *data, size_t len)
{
	uint32_t opt = (flags & SYN) && t->mss ? 4 : 0;
	uint8_t *p = f + (t->dst6 ? 54 : 34);
	size_t n;

	memset(p, 0, 20);
	wr(p, 2, t->sport);
	wr(p + 2, 2, t->dport);
	wr(p + 4, 4, seq);
	wr(p + 8, 4, ack);
	p[12] = (uint8_t)((5 + opt / 4) << 4);
	p[13] = flags;
	wr(p + 14, 2, t->win);
	wr(p + 18, 2, t->urg);
	if (opt) {
		p[20] = 2;
		p[21] = 4;
		wr(p + 22, 2, t->mss);
	}
	if (len)
		memcpy(p + 20 + opt, data, len);
	if (t->dst6)
		return pkt6(c, f, t->src6, t->dst6, IPPROTO_TCP, 64, 20 + opt + len);
	n = pkt_ip(c, f, GUEST_IP, t->dst, 6, 20 + opt + len);
	pkt_fix_udp(f);
	return n;
}

/* What one exchange's segments of this connection say together: how they are cut is not compared.
 */
struct summary {
	uint8_t flags;
	uint32_t payload, hash, last_ack, max_seg, end;
	bool bad_csum, zero_win, gap;
	char opts[64];
};

static void parse_options(const uint8_t *p, uint32_t len, struct summary *s)
{
	size_t at = 0;

	for (uint32_t i = 0; i < len && p[i] != 0;) {
		if (p[i] == 1) {
			i++;
			continue;
		}
		if (i + 1 >= len || p[i + 1] < 2 || i + p[i + 1] > len) {
			snprintf(s->opts, sizeof(s->opts), "bad");
			return;
		}
		at += (size_t)snprintf(s->opts + at, sizeof(s->opts) - at,
				       p[i] == 2 ? "mss=%u " : "opt%u ",
				       p[i] == 2 ? rd(p + i + 2, 2) : p[i]);
		i += p[i + 1];
	}
}

static void follow_data(struct gtcp *t, struct summary *s, uint32_t seq, const uint8_t *data,
			uint32_t len)
{
	uint32_t skip = t->rcv_nxt - seq;

	if ((int32_t)skip < 0) {
		s->gap = true;
		return;
	}
	if (skip >= len)
		return;
	data += skip;
	len -= skip;
	s->payload += len;
	s->hash = s->hash * 31;
	for (uint32_t i = 0; i < len; i++)
		t->got_hash = (t->got_hash ^ data[i]) * 16777619u;
	t->got += len;
	t->rcv_nxt += len;
}

static void follow_one(struct gtcp *t, struct summary *s, const uint8_t *ip)
{
	bool v6 = ip[0] >> 4 == 6;
	uint32_t hlen = v6 ? 40 : (ip[0] & 15u) * 4, doff, seq;
	uint32_t len = v6 ? rd(ip + 4, 2) : rd(ip + 2, 2) - hlen;
	uint32_t pseudo = v6 ? inet_sum(ip + 8, 32, 0) : inet_sum(ip + 12, 8, 0);
	const uint8_t *p = ip + hlen;
	uint8_t flags = p[13];

	doff = (p[12] >> 4) * 4u;
	seq = rd(p + 4, 4);
	if (inet_sum(p, len, pseudo + 6 + len) != 0xffff)
		s->bad_csum = true;
	s->flags |= flags & (uint8_t)~PSH;
	if (flags & ACK)
		s->last_ack = rd(p + 8, 4) - t->iss;
	if (!(flags & RST) && rd(p + 14, 2) == 0)
		s->zero_win = true;
	if (flags & SYN) {
		t->irs = seq;
		t->rcv_nxt = seq + 1;
		t->got_syn = true;
		parse_options(p + 20, doff - 20, s);
	}
	if (len - doff > s->max_seg)
		s->max_seg = len - doff;
	follow_data(t, s, seq + (flags & SYN ? 1 : 0), p + doff, len - doff);
	if ((flags & FIN) && seq + (len - doff) == t->rcv_nxt && !t->got_fin) {
		t->rcv_nxt++;
		t->got_fin = true;
	}
	if (flags & RST) {
		t->got_rst = true;
		s->end = flags & ACK ? 0 : seq;
	}
}

static void flag_text(uint8_t f, char *out)
{
	static const char names[] = "FSRPAU";

	for (int i = 0; i < 6; i++)
		if (f >> i & 1)
			*out++ = names[i];
	*out = 0;
}

static bool is_ours(const struct gtcp *t, const struct reply *r)
{
	const uint8_t *ip = r->data + 14, *tcp = ip + (t->dst6 ? 40 : 20);
	uint8_t peer[16];

	if (r->len < 54 || rd(r->data + 12, 2) != (t->dst6 ? 0x86dd : 0x0800) ||
	    ip[t->dst6 ? 6 : 9] != IPPROTO_TCP || rd(tcp, 2) != t->dport ||
	    rd(tcp + 2, 2) != t->sport)
		return false;
	if (!t->dst6)
		return rd(ip + 12, 4) == t->dst;
	inet_pton(AF_INET6, t->dst6, peer);
	return !memcmp(ip + 8, peer, sizeof(peer));
}

void gtcp_follow(struct ctx *c, struct gtcp *t)
{
	struct summary s = { 0 };
	char flags[8];
	int n = 0, others = 0;

	for (int round = 0; round < 64; round++) {
		uint64_t before = t->got;
		bool fin = t->got_fin;
		uint8_t f[FRAME_MAX];

		run_quiet(c);
		for (int i = 0; i < c->n_replies; i++) {
			if (is_ours(t, &c->replies[i])) {
				follow_one(t, &s, c->replies[i].data + 14);
				n++;
			} else {
				others++;
			}
		}
		if (others)
			break;
		c->n_replies = 0;
		if ((t->got == before && fin == t->got_fin) || t->no_ack || t->got_rst)
			break;
		stack_input(c->stack, f, gtcp_build(c, t, f, ACK, t->snd_nxt, t->rcv_nxt, NULL, 0));
	}
	flag_text(s.flags, flags);
	log_field(c, "tcp.any", "%s", n ? "yes" : "no");
	if (n) {
		log_field(c, "tcp.flags", "%s", flags);
		log_field(c, "tcp.payload", "%u", s.payload);
		log_field(c, "tcp.stream", "%llu %08x", (unsigned long long)t->got, t->got_hash);
		log_field(c, "tcp.ack", "%u", s.last_ack);
		log_field(c, "tcp.maxseg", "%u", s.max_seg);
		log_field(c, "tcp.csum", "%s", s.bad_csum ? "bad" : "good");
		log_field(c, "tcp.zerowin", "%s", s.zero_win ? "yes" : "no");
		log_field(c, "tcp.gap", "%s", s.gap ? "yes" : "no");
		if (s.flags & SYN)
			log_field(c, "tcp.options", "%s", s.opts);
		if (s.flags & RST)
			log_field(c, "tcp.rstseq", "%s",
				  s.end == t->snd_nxt || !s.end ? "zero" : "set");
	}
	if (others)
		log_replies(c);
	c->n_replies = 0;
}

void gtcp_raw(struct ctx *c, struct gtcp *t, uint8_t flags, uint32_t seq, uint32_t ack,
	      const void *data, size_t len)
{
	uint8_t f[FRAME_MAX];

	stack_input(c->stack, f, gtcp_build(c, t, f, flags, seq, ack, data, len));
	gtcp_follow(c, t);
}

void gtcp_send(struct ctx *c, struct gtcp *t, uint8_t flags, const void *data, size_t len)
{
	uint32_t seq = t->snd_nxt;

	t->snd_nxt += (uint32_t)len + (flags & SYN ? 1 : 0) + (flags & FIN ? 1 : 0);
	gtcp_raw(c, t, flags, seq, flags & ACK ? t->rcv_nxt : 0, data, len);
}

/* --- the host's side --- */

static int host_socket(int type, uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int one = 1, fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a))) {
		perror("bind");
		abort();
	}
	return fd;
}

int host_listen(uint16_t port)
{
	int fd = host_socket(SOCK_STREAM, port);

	listen(fd, 16);
	return fd;
}

int host_udp(uint16_t port)
{
	return host_socket(SOCK_DGRAM, port);
}

int host_accept(struct ctx *c, int l)
{
	for (int i = 0; i < 50; i++) {
		int fd = accept4(l, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0)
			return fd;
		stack_step(c->stack, 2);
	}
	return -1;
}

int host_read(struct ctx *c, int fd, void *buf, size_t len)
{
	for (int i = 0; i < 50; i++) {
		ssize_t n = read(fd, buf, len);

		if (n >= 0 || errno != EAGAIN)
			return (int)n;
		stack_step(c->stack, 2);
	}
	errno = EAGAIN;
	return -1;
}
