/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames into the user-mode network, with a model that keeps a few TCP and UDP flows alive.
 *
 * An input is a program: each operation is a byte and its operands. The guest sends raw frames,
 * packets whose header checksum is made right, datagrams, DHCP and TFTP messages, fragments, and
 * TCP segments near the numbers that the stack would take; the host accepts, connects, writes,
 * reads, shuts down and resets; the guest is busy or lends buffers, time passes. Each frame from
 * the stack is read to its last byte and must be a frame. All of it happens in a network namespace
 * where nothing but loopback is. What the guest sends is built as IPv4, and made IPv6 of where the
 * program says so.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <twinax/twinax.h>

#include "backends/user/user.h"
#include "base/csum.h"
#include "base/iov.h"
#include "fuzz.h"

#define TCP_PORT 4000 /* the host listens */
#define UDP_PORT 4001
#define FWD_TCP 4002 /* forwards to the guest's port 22 */
#define FWD_UDP 4003
#define FWD6_TCP 4004
#define FWD6_UDP 4005
#define N_CONNS 4
#define GUESTFWD 2 /* the connection that leads to a chardev */
#define GUESTFWD_PORT 7
#define N_HOST 6
#define BURST 8
#define FRAME_ROOM 70000
#define MAX_OPS 400

static const uint8_t guest_mac[6] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 },
		     gw_mac[6] = { 0x52, 0x55, 10, 0, 2, 2 };
static const uint8_t guest_ip[4] = { 10, 0, 2, 15 }, host_ip[4] = { 10, 0, 2, 2 },
		     dns_ip[4] = { 10, 0, 2, 3 }, fwd_ip[4] = { 10, 0, 2, 100 },
		     far_ip[4] = { 192, 0, 2, 1 };
static const uint8_t gw_mac6[6] = { 0x52, 0x56, 0, 0, 0, 2 };

struct conn {
	uint16_t guest_port, peer_port;
	bool v6;
	uint32_t snd, rcv; /* next to send, next expected */
};

struct world {
	struct twx_loop *loop;
	struct twx_net *net;
	struct twx_backend *backend;
	struct user *user;
	struct twx_port port;
	bool busy, lends;
	int listener, udp;
	int chardev;	  /* its other end, which sends back what comes */
	int host[N_HOST]; /* connections at the host's side */
	struct sockaddr_in6 udp_peer;
	bool v6; /* what is built now becomes IPv6 */
	struct conn conns[N_CONNS];
	uint8_t *burst[BURST]; /* exact copies */
	struct twx_frame frames[BURST];
	struct iovec iov[BURST][2];
	int n_burst;
	uint16_t ip_id;
	uint8_t *lent;
	uint64_t sum; /* so that the reading is not optimised away */
	/* the program */
	const uint8_t *at, *end;
};

static uint8_t byte(struct world *w)
{
	return w->at < w->end ? *w->at++ : 0;
}

static uint16_t word(struct world *w)
{
	uint8_t high = byte(w);

	return (uint16_t)(high << 8 | byte(w));
}

/* --- the NIC's side --- */

static void learn(struct world *w, const uint8_t *f, uint32_t len)
{
	bool v6 = user_get16(f + 12) == ETH_IP6;
	uint32_t l4 = v6 ? 54 : 14 + (f[14] & 15) * 4u, head, n;
	uint16_t sport, dport;

	if (f[v6 ? 20 : 23] != IPPROTO_TCP || len < l4 + 20)
		return;
	head = (f[l4 + 12] >> 4) * 4u;
	n = (v6 ? user_get16(f + 18) : user_get16(f + 16) - (l4 - 14)) - head;
	sport = user_get16(f + l4);
	dport = user_get16(f + l4 + 2);
	if (dport == 22) { /* a connection from the host: it takes the last place */
		w->conns[N_CONNS - 1].guest_port = 22;
		w->conns[N_CONNS - 1].peer_port = sport;
		w->conns[N_CONNS - 1].v6 = v6;
	}
	for (int i = 0; i < N_CONNS; i++) {
		struct conn *c = &w->conns[i];

		if (c->guest_port != dport || c->peer_port != sport || c->v6 != v6)
			continue;
		c->rcv = user_get32(f + l4 + 4) + n + (f[l4 + 13] & 2 ? 1 : 0) + (f[l4 + 13] & 1);
		if (f[l4 + 13] & 16)
			c->snd = user_get32(f + l4 + 8);
	}
}

static void check_ip6(const uint8_t *f, uint32_t len)
{
	uint32_t n = user_get16(f + 18);

	assert(f[14] >> 4 == 6 && 54 + n <= len && len >= 60);
	if (f[20] == IPPROTO_ICMPV6)
		assert(!csum_fold(csum_partial(f + 54, n, csum_pseudo6(f + 22, f + 38, f[20], n)))
				.raw);
}

static void check_frame(struct world *w, const struct iovec *iov, uint32_t n_iov, uint32_t len,
			const struct twx_meta *meta)
{
	static uint8_t copy[FRAME_ROOM];

	assert(len >= 14 && len <= TWX_FRAME_MAX && iov_len(iov, n_iov) >= len);
	assert(iov_copy_from(iov, n_iov, 0, copy, len) == len);
	assert(meta->gso || len <= 14 + w->user->cfg.mtu);
	for (uint32_t i = 0; i < len; i++)
		w->sum += copy[i];
	if (user_get16(copy + 12) == 0x0800) {
		uint32_t total = user_get16(copy + 16);

		assert(copy[14] == 0x45 && total >= 20 && total + 14 <= len);
		assert(!csum_fold(csum_partial(copy + 14, 20, 0)).raw);
	} else if (user_get16(copy + 12) == ETH_IP6) {
		check_ip6(copy, len);
	} else {
		assert(user_get16(copy + 12) == ETH_ARP && len == 60);
		return;
	}
	learn(w, copy, len);
}

static int nic_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	struct world *w = port->owner;

	if (w->busy)
		return 0;
	for (int i = 0; i < n; i++)
		check_frame(w, frames[i].iov, frames[i].n_iov, frames[i].len, &frames[i].meta);
	return n;
}

static int nic_reserve(struct twx_port *port, size_t min, size_t want, struct twx_lease *lease)
{
	struct world *w = port->owner;

	if (!w->lends)
		return -EOPNOTSUPP;
	if (w->busy || min > FRAME_ROOM)
		return -EAGAIN;
	want = want > FRAME_ROOM ? FRAME_ROOM : want < min ? min : want;
	w->lent = malloc(want);
	assert(w->lent);
	lease->iov[0] = (struct iovec){ w->lent, want };
	lease->n_iov = 1;
	lease->len = (uint32_t)want;
	return 0;
}

static void nic_commit(struct twx_port *port, struct twx_lease *lease, size_t len,
		       const struct twx_meta *meta)
{
	struct world *w = port->owner;

	assert(len <= lease->len);
	check_frame(w, lease->iov, lease->n_iov, (uint32_t)len, meta);
	free(w->lent);
	w->lent = NULL;
}

static void nic_abort(struct twx_port *port, struct twx_lease *lease)
{
	struct world *w = port->owner;

	free(w->lent);
	w->lent = NULL;
}

static const struct twx_port_ops nic_ops = {
	.receive = nic_receive,
	.reserve = nic_reserve,
	.commit = nic_commit,
	.abort = nic_abort,
};

/* --- the guest's frames --- */

static void send_burst(struct world *w)
{
	twx_port_post(&w->port, w->frames, w->n_burst);
	for (int i = 0; i < w->n_burst; i++)
		free(w->burst[i]);
	w->n_burst = 0;
}

static void addr6(uint8_t *to, const uint8_t *v4)
{
	memset(to, 0, 16);
	if (!memcmp(v4, far_ip, 4)) {
		memcpy(to, (uint8_t[]){ 0x20, 1, 0xd, 0xb8 }, 4);
		to[15] = 1;
		return;
	}
	to[0] = 0xfe;
	to[1] = 0xc0;
	to[15] = v4[3];
}

/* A packet that finish_ip() made, as IPv6; by how much it has grown. */
static uint32_t to_ip6(uint8_t *f, uint32_t len)
{
	uint8_t old[20], *ip = f + 14;
	uint32_t l4_len = len - 34, grown = 20, field;

	memcpy(old, ip, sizeof(old));
	field = user_get16(old + 6);
	grown += field ? 8 : 0;
	memmove(f + 34 + grown, f + 34, l4_len);
	memcpy(f, gw_mac6, 6);
	user_put16(f + 12, ETH_IP6);
	user_put32(ip, 0x60000000);
	user_put16(ip + 4, grown - 20 + l4_len);
	ip[6] = old[9] == IPPROTO_ICMP ? IPPROTO_ICMPV6 : old[9];
	ip[7] = 64;
	addr6(ip + 8, old + 12);
	addr6(ip + 24, old + 16);
	if (field) {
		memset(f + 54, 0, 8);
		f[54] = ip[6];
		ip[6] = IPPROTO_FRAGMENT;
		user_put16(f + 56, (field & 0x1fff) << 3 | (field & 0x2000 ? 1 : 0));
		f[61] = 7;
	}
	return grown;
}

/* Makes the checksum of an ICMPv6 message right, wherever the headers put it. */
static void fix_icmp6(uint8_t *f, uint32_t len)
{
	uint8_t proto;
	uint32_t at = ip6_upper(f + 14, len - 14, &proto), n = len - 14 - at;
	be16 sum;

	if (proto != IPPROTO_ICMPV6 || n < 4)
		return;
	user_put16(f + 14 + at + 2, 0);
	sum = csum_fold(csum_partial(f + 14 + at, n, csum_pseudo6(f + 22, f + 38, proto, n)));
	memcpy(f + 14 + at + 2, &sum, 2);
}

/* Joins the burst as an exact copy, its payload apart from its headers. */
static void send_frame(struct world *w, const uint8_t *f, uint32_t len, const struct twx_meta *meta)
{
	uint32_t head = len < TWX_HDR_ROOM ? len : TWX_HDR_ROOM;
	struct twx_frame *frame = &w->frames[w->n_burst];
	uint8_t *copy = malloc(len);

	assert(copy);
	memcpy(copy, f, len);
	w->burst[w->n_burst] = copy;
	w->iov[w->n_burst][0] = (struct iovec){ copy, head };
	w->iov[w->n_burst][1] = (struct iovec){ copy + head, len - head };
	*frame = (struct twx_frame){ .iov = w->iov[w->n_burst],
				     .n_iov = len > head ? 2 : 1,
				     .len = len };
	if (meta)
		frame->meta = *meta;
	if (++w->n_burst == BURST)
		send_burst(w);
}

/* What finish_ip() made, of the family that is in turn. */
static void send_ip(struct world *w, uint8_t *f, uint32_t len, const struct twx_meta *meta)
{
	struct twx_meta m = meta ? *meta : (struct twx_meta){ 0 };

	if (!w->v6) {
		send_frame(w, f, len, meta);
		return;
	}
	len += to_ip6(f, len);
	fix_icmp6(f, len);
	if (m.csum_start)
		m.csum_start += 20;
	if (m.hdr_len)
		m.hdr_len += 20;
	if (m.gso == TWX_GSO_TCPV4)
		m.gso = TWX_GSO_TCPV6;
	send_frame(w, f, len, &m);
}

static void finish_ip(struct world *w, uint8_t *f, const uint8_t *dst, uint8_t proto,
		      uint32_t l4_len, uint16_t frag)
{
	uint8_t *ip = f + 14;
	be16 sum;

	memcpy(f, gw_mac, 6);
	memcpy(f + 6, guest_mac, 6);
	user_put16(f + 12, 0x0800);
	memset(ip, 0, 20);
	ip[0] = 0x45;
	user_put16(ip + 2, 20 + l4_len);
	user_put16(ip + 4, frag ? 7 : w->ip_id++);
	user_put16(ip + 6, frag);
	ip[8] = 64;
	ip[9] = proto;
	memcpy(ip + 12, guest_ip, 4);
	memcpy(ip + 16, dst, 4);
	sum = csum_fold(csum_partial(ip, 20, 0));
	memcpy(ip + 10, &sum, 2);
}

static void send_udp(struct world *w, uint16_t sport, const uint8_t *dst, uint16_t dport,
		     const uint8_t *data, uint32_t len, uint16_t gso_size)
{
	static uint8_t f[FRAME_ROOM];
	struct twx_meta meta = { .flags = TWX_F_CSUM_VALID,
				 .gso = gso_size ? TWX_GSO_UDP_L4 : 0,
				 .gso_size = gso_size,
				 .hdr_len = 42,
				 .csum_start = 34,
				 .csum_off = 6 };

	if (gso_size)
		meta.flags = TWX_F_NEEDS_CSUM;
	memcpy(f + 42, data, len);
	user_put16(f + 34, sport);
	user_put16(f + 36, dport);
	user_put16(f + 38, 8 + len);
	user_put16(f + 40, 0);
	finish_ip(w, f, dst, IPPROTO_UDP, 8 + len, 0);
	send_ip(w, f, 42 + len, &meta);
}

static void op_raw(struct world *w, bool fix)
{
	static uint8_t f[2048];
	uint32_t len = word(w) % 1600, have = (uint32_t)(w->end - w->at);
	uint32_t off = fix ? 14 : 0;

	len = len > have ? have : len;
	memset(f, 0, sizeof(f));
	memcpy(f + off, w->at, len);
	w->at += len;
	len += off;
	if (fix && w->v6 && len >= 54) {
		memcpy(f, gw_mac6, 6);
		memcpy(f + 6, guest_mac, 6);
		user_put16(f + 12, ETH_IP6);
		f[14] = (uint8_t)(0x60 | (f[14] & 15));
		if (f[22] & 1)
			addr6(f + 22, guest_ip);
		if (f[38] & 1)
			addr6(f + 38, host_ip);
		if (f[18] & 1)
			user_put16(f + 18, len - 54);
		fix_icmp6(f, len);
	} else if (fix && len >= 34) {
		be16 sum;
		uint32_t ihl = (f[14] & 15) * 4u;

		memcpy(f, gw_mac, 6);
		memcpy(f + 6, guest_mac, 6);
		user_put16(f + 12, 0x0800);
		if (f[26] & 1)
			memcpy(f + 26, guest_ip, 4);
		if (f[30] & 1)
			memcpy(f + 30, host_ip, 4);
		if (ihl >= 20 && 14 + ihl <= len) {
			user_put16(f + 24, 0);
			sum = csum_fold(csum_partial(f + 14, ihl, 0));
			memcpy(f + 24, &sum, 2);
		}
	}
	if (len >= 14)
		send_frame(w, f, len, fix ? &(struct twx_meta){ .flags = TWX_F_CSUM_VALID } : NULL);
}

static void op_udp(struct world *w)
{
	static const uint8_t zeros[66000];
	uint16_t sport = 1000 + byte(w) % 4, len = word(w), gso = byte(w) & 1 ? word(w) : 0;

	if (len > 65507)
		len = 65507;
	if (!gso && len > 1472)
		len %= 1473;
	send_udp(w, sport, byte(w) & 1 ? dns_ip : host_ip, byte(w) & 1 ? UDP_PORT : 53, zeros, len,
		 gso);
}

static void op_server(struct world *w, uint16_t port)
{
	static uint8_t data[1472];
	uint32_t len = word(w) % 600, have = (uint32_t)(w->end - w->at);

	if (len > have)
		len = have;
	memcpy(data, w->at, len);
	w->at += len;
	if (port == 67 && len >= 240) { /* past the first checks */
		memcpy(data, "\1\1\6", 3);
		user_put32(data + 236, 0x63825363);
	}
	send_udp(w, port == 67 ? 68 : 3000 + len % 3, host_ip, port, data, len, 0);
}

static void op_fragment(struct world *w)
{
	static uint8_t f[FRAME_ROOM];
	uint32_t off = byte(w), len = byte(w) * 8u, flags = byte(w);

	if (flags & 2)
		len += flags >> 5;
	if (flags & 4)
		off += 8000;
	memset(f + 34, 0, len);
	if (!off) {
		user_put16(f + 34, 1000);
		user_put16(f + 36, UDP_PORT);
		user_put16(f + 38, (flags >> 3) * 8u);
	}
	finish_ip(w, f, host_ip, flags & 8 ? IPPROTO_ICMP : IPPROTO_UDP, len,
		  (uint16_t)((flags & 1 ? 0x2000 : 0) | (off & 0x1fff)));
	send_ip(w, f, 34 + len, NULL);
}

static void op_ping(struct world *w)
{
	static uint8_t f[2048];
	uint32_t len = 8u + byte(w);
	be16 sum;

	memset(f, 0, sizeof(f));
	f[34] = w->v6 ? 128 : 8;
	user_put16(f + 38, byte(w) % 4);
	sum = csum_fold(csum_partial(f + 34, len, 0));
	memcpy(f + 36, &sum, 2);
	finish_ip(w, f, byte(w) & 1 ? far_ip : host_ip, IPPROTO_ICMP, len, 0);
	send_ip(w, f, 34 + len, NULL);
}

/* A segment of connection @which: @kind chooses how far from the numbers that are expected. */
static void op_segment(struct world *w, bool syn)
{
	static uint8_t f[FRAME_ROOM];
	struct conn *c = &w->conns[byte(w) % N_CONNS];
	uint8_t flags = syn ? 2 : byte(w), kind = byte(w),
		n_opt = kind & 4 ? (byte(w) & 7) * 4u : 0;
	uint32_t seq = c->snd, ack = c->rcv, len = 0, head = 20u + n_opt;
	struct twx_meta meta = { .flags = TWX_F_NEEDS_CSUM, .csum_start = 34, .csum_off = 16 };

	w->v6 = c->v6;
	if (kind & 1)
		seq += (uint32_t)(int16_t)word(w);
	if (kind & 2)
		ack += (uint32_t)(int16_t)word(w);
	if (kind & 8)
		len = byte(w);
	if (kind & 16) {
		meta.gso = TWX_GSO_TCPV4;
		meta.gso_size = 100 + byte(w) * 5u;
		len = word(w) % 60000;
	}
	meta.hdr_len = (uint16_t)(34 + head);
	memset(f + 34, 0, head + len);
	user_put16(f + 34, c->guest_port);
	user_put16(f + 36, c->peer_port);
	user_put32(f + 38, seq);
	user_put32(f + 42, ack);
	f[46] = (uint8_t)(head / 4 << 4);
	f[47] = flags;
	user_put16(f + 48, kind & 32 ? word(w) : 0xffff);
	user_put16(f + 52, kind & 64 ? word(w) : 0);
	for (uint32_t i = 0; i < n_opt; i++)
		f[54 + i] = byte(w);
	finish_ip(w, f, c == &w->conns[GUESTFWD] ? fwd_ip : host_ip, IPPROTO_TCP, head + len, 0);
	send_ip(w, f, 34 + head + len, &meta);
	if (!(kind & 1))
		c->snd += len + (flags & 2 ? 1 : 0) + (flags & 1);
}

/* --- the host's side --- */

/* The chardev's other end; what it cannot send back is lost, and now and then it reads nothing. */
static void echo(struct world *w)
{
	static uint8_t data[65536];
	ssize_t n = w->busy ? 0 : recv(w->chardev, data, sizeof(data), MSG_DONTWAIT);

	if (n > 0)
		(void)!send(w->chardev, data, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void op_host(struct world *w)
{
	static uint8_t data[65536];
	uint8_t op = byte(w), i = byte(w) % N_HOST;
	struct linger reset = { .l_onoff = 1 };
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };

	if (!(op & 64)) {
		a.sin6_addr = user_mapped((struct in_addr){ htonl(INADDR_LOOPBACK) });
		a.sin6_port = htons((op & 7) < 2 ? FWD_TCP : FWD_UDP);
	} else {
		a.sin6_port = htons((op & 7) < 2 ? FWD6_TCP : FWD6_UDP);
	}
	switch (op % 8) {
	case 0:
	case 1: /* accept, or connect through the forward */
		if (w->host[i] >= 0)
			close(w->host[i]);
		if (op & 8) {
			w->host[i] =
				socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
			if (w->host[i] >= 0 &&
			    connect(w->host[i], (struct sockaddr *)&a, sizeof(a)))
				(void)errno;
		} else {
			w->host[i] = accept4(w->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		}
		break;
	case 2:
		if (w->host[i] >= 0)
			(void)!send(w->host[i], data, word(w), MSG_NOSIGNAL | MSG_DONTWAIT);
		break;
	case 3:
		if (w->host[i] >= 0)
			(void)!recv(w->host[i], data, word(w), MSG_DONTWAIT);
		break;
	case 4:
		if (w->host[i] >= 0)
			shutdown(w->host[i], op & 8 ? SHUT_WR : SHUT_RD);
		break;
	case 5:
		if (w->host[i] >= 0) {
			if (op & 8)
				setsockopt(w->host[i], SOL_SOCKET, SO_LINGER, &reset,
					   sizeof(reset));
			close(w->host[i]);
			w->host[i] = -1;
		}
		break;
	case 6: { /* the UDP peer takes what came and answers */
		socklen_t len = sizeof(w->udp_peer);

		while (recvfrom(w->udp, data, sizeof(data), MSG_DONTWAIT,
				(struct sockaddr *)&w->udp_peer, &len) >= 0)
			len = sizeof(w->udp_peer);
		if (w->udp_peer.sin6_port)
			for (int k = byte(w) % 70; k >= 0; k--)
				(void)!sendto(w->udp, data, word(w) % 65508, MSG_DONTWAIT,
					      (struct sockaddr *)&w->udp_peer, sizeof(w->udp_peer));
		break;
	}
	case 7:
		(void)!sendto(w->udp, data, byte(w), MSG_DONTWAIT, (struct sockaddr *)&a,
			      sizeof(a));
		break;
	}
}

/* What is left of the input, @most bytes of it. */
static uint32_t take(struct world *w, uint8_t *to, uint32_t most)
{
	uint32_t have = (uint32_t)(w->end - w->at), len = most < have ? most : have;

	memcpy(to, w->at, len);
	w->at += len;
	return len;
}

/* A query with any question, or the resolver's answer to the last one with any records. */
static void op_dns(struct world *w)
{
	uint8_t data[1024] = { byte(w), 0, 1, 0, 0, 1 };
	socklen_t len = sizeof(w->udp_peer);
	ssize_t n;

	if (data[0] & 1) {
		send_udp(w, 3000, dns_ip, 53, data, 12 + take(w, data + 12, byte(w) % 128), 0);
		return;
	}
	n = recvfrom(w->udp, data, 512, MSG_DONTWAIT, (struct sockaddr *)&w->udp_peer, &len);
	if (n < 12)
		return;
	data[2] |= 0x80;
	data[3] = byte(w);
	data[7] = byte(w) & 7;
	n += take(w, data + n, byte(w));
	(void)!sendto(w->udp, data, (size_t)n, MSG_DONTWAIT, (struct sockaddr *)&w->udp_peer, len);
}

static void op_time(struct world *w)
{
	uint64_t later = twx_loop_now(w->loop) + byte(w) * 1000000000ull;

	udp_age(w->user, later);
	icmp_age(w->user, later);
	frag_age(w->user, later);
	user_flush(w->user);
}

static void step(struct world *w)
{
	uint8_t op = byte(w);

	w->v6 = op & 64;
	switch (op & 15) {
	case 0:
		op_raw(w, false);
		break;
	case 1:
		op_raw(w, true);
		break;
	case 2:
	case 3:
		op_udp(w);
		break;
	case 4:
		op_server(w, 67);
		break;
	case 5:
		op_server(w, 69);
		break;
	case 6:
		op_fragment(w);
		break;
	case 7:
		op_ping(w);
		break;
	case 8:
		op_segment(w, true);
		break;
	case 9:
	case 10:
		op_segment(w, false);
		break;
	case 11:
	case 12:
		op_host(w);
		break;
	case 13:
		w->busy = op & 16;
		if (!w->busy)
			twx_port_ready(&w->port);
		break;
	case 14:
		op_time(w);
		break;
	case 15:
		op_dns(w);
		break;
	}
	if (op & 32 || (op & 15) >= 11) {
		if (w->n_burst)
			send_burst(w);
		twx_loop_poll(w->loop, 0);
		echo(w);
	}
}

/* --- life --- */

static void isolate(void)
{
	static bool done;
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP }, alias = { .ifr_name = "lo:1" };
	struct sockaddr_in *a = (struct sockaddr_in *)&alias.ifr_addr;
	struct { /* linux/ipv6.h's in6_ifreq, which netinet/in.h does not stand beside */
		struct in6_addr addr;
		uint32_t prefix_len;
		int index;
	} far = { .prefix_len = 128 };
	int fd, fd6, range;

	if (done)
		return;
	done = true;
	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET)) {
		fprintf(stderr, "fuzz_user: no network namespace to be had\n");
		exit(77);
	}
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	a->sin_family = AF_INET;
	inet_pton(AF_INET, "192.0.2.1", &a->sin_addr);
	assert(fd >= 0 && !ioctl(fd, SIOCSIFFLAGS, &lo) && !ioctl(fd, SIOCSIFADDR, &alias));
	lo.ifr_flags = 0;
	fd6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd6 < 0 || ioctl(fd, SIOCGIFINDEX, &lo)) {
		fprintf(stderr, "fuzz_user: no IPv6 to be had\n");
		exit(77);
	}
	far.index = lo.ifr_ifindex;
	addr6(far.addr.s6_addr, far_ip);
	if (ioctl(fd6, SIOCSIFADDR, &far))
		fprintf(stderr, "fuzz_user: 2001:db8::1 is not there\n");
	close(fd);
	close(fd6);
	range = open("/proc/sys/net/ipv4/ping_group_range", O_WRONLY | O_CLOEXEC);
	if (range >= 0 && write(range, "0 2147483647", 12) < 0)
		fprintf(stderr, "fuzz_user: without ping sockets\n");
	close(range);
}

static int host_socket(int type, uint16_t port)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int one = 1, fd = socket(AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	assert(!bind(fd, (struct sockaddr *)&a, sizeof(a)));
	if (type == SOCK_STREAM)
		assert(!listen(fd, 16));
	return fd;
}

static void world_open(struct world *w)
{
	static const uint8_t lacking[] = { 0, TWX_CAP_CSUM, TWX_CAP_CSUM | TWX_CAP_TSO4,
					   TWX_CAP_CSUM | TWX_CAP_TSO4 | TWX_CAP_TSO6 |
						   TWX_CAP_USO };
	struct twx_net_config config = { .size = sizeof(config) };
	struct twx_error e = { 0 };
	uint8_t how = byte(w);
	char text[512], chardev[32];
	int pair[2];

	assert(!twx_loop_new(&w->loop, &e));
	config.loop = w->loop;
	assert(!twx_net_new(&w->net, &config, &e));
	w->listener = host_socket(SOCK_STREAM, TCP_PORT);
	w->udp = host_socket(SOCK_DGRAM, UDP_PORT);
	assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	w->chardev = pair[1];
	snprintf(chardev, sizeof(chardev), "fd,id=c0,fd=%d", pair[0]);
	assert(!twx_chardev_new(NULL, w->net, chardev, &e));
	snprintf(text, sizeof(text),
		 "user,id=n0,max-flows=64,dns-host=127.0.0.1:%d,tftp=/proc/self/"
		 "net,bootfile=x,hostname=h,domainname=d.example,"
		 "dnssearch=d.example,dnssearch=example,tftp-server-name=t,x-peek-off=%s,"
		 "hostfwd=tcp:127.0.0.1:%d-:22,hostfwd=udp:127.0.0.1:%d-:53,"
		 "hostfwd=tcp:[::1]:%d-[fec0::f]:22,hostfwd=udp:[::1]:%d-[fec0::f]:53,"
		 "mtu=%s,restrict=%s%s,"
		 "guestfwd=tcp:10.0.2.100:7-c0",
		 UDP_PORT, how & 4 ? "off" : "auto", FWD_TCP, FWD_UDP, FWD6_TCP, FWD6_UDP,
		 how & 8 ? "65535" : "1500", (how & 0xf0) == 0xf0 ? "on" : "off",
		 (how & 0xf0) == 0xe0 ? ",allow=*.example,allow=host,deny=icmp:any" : "");
	if (twx_backend_new(&w->backend, w->net, text, &e)) {
		fprintf(stderr, "fuzz_user: %s\n", e.what);
		abort();
	}
	w->user = w->backend->priv;
	assert(!twx_port_init(&w->port, w->net, w->loop, TWX_PORT_NIC, "toy", "toy", 0, &nic_ops, w,
			      &e));
	twx_port_set_caps(&w->port, (struct twx_caps){ .flags = lacking[how & 3] });
	w->lends = how & 16;
	assert(!twx_port_pair(&w->port, w->backend->ports[0], &e));
	for (int i = 0; i < N_HOST; i++)
		w->host[i] = -1;
	for (int i = 0; i < N_CONNS; i++)
		w->conns[i] = (struct conn){ .guest_port = (uint16_t)(2000 + i),
					     .peer_port = i == GUESTFWD ? GUESTFWD_PORT : TCP_PORT,
					     .v6 = i == 1,
					     .snd = 1000u * (uint32_t)i - 500 };
}

static void world_close(struct world *w)
{
	if (w->n_burst)
		send_burst(w);
	twx_port_fini(&w->port);
	twx_net_free(w->net);
	twx_loop_free(w->loop);
	for (int i = 0; i < N_HOST; i++) {
		struct linger reset = { .l_onoff = 1 };

		if (w->host[i] < 0)
			continue;
		/* No TIME_WAIT: the next input comes at once. */
		setsockopt(w->host[i], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(w->host[i]);
	}
	close(w->listener);
	close(w->udp);
	close(w->chardev);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;

	isolate();
	memset(&w, 0, sizeof(w));
	w.at = data;
	w.end = data + size;
	world_open(&w);
	for (int i = 0; i < MAX_OPS && w.at < w.end; i++)
		step(&w);
	twx_loop_poll(w.loop, 0);
	world_close(&w);
	assert(!w.lent);
	return 0;
}
