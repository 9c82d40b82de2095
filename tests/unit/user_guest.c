/* SPDX-License-Identifier: BSD-3-Clause */
/* A toy guest for tests of the user-mode network. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/csum.h"
#include "base/iov.h"
#include "user_guest.h"

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

struct in_addr guest_addr(const char *text)
{
	struct in_addr a;

	assert_int_equal(inet_pton(AF_INET, text, &a), 1);
	return a;
}

struct in6_addr guest_addr6(const char *text)
{
	struct in6_addr a;

	assert_int_equal(inet_pton(AF_INET6, text, &a), 1);
	return a;
}

/* --- the port --- */

static bool is_solicitation(struct guest *g, const struct guest_frame *f)
{
	return f->len >= 86 && user_get16(f->data + 12) == ETH_IP6 &&
	       f->data[20] == IPPROTO_ICMPV6 && f->data[54] == 135 &&
	       !memcmp(f->data + 62, &g->ip6, 16);
}

static bool is_arp_for_us(struct guest *g, const struct guest_frame *f)
{
	return f->len >= 42 && f->data[12] == 8 && f->data[13] == 6 && f->data[21] == 1 &&
	       !memcmp(f->data + 38, &g->ip, 4);
}

static void record(struct guest *g, const struct twx_frame *frame)
{
	struct guest_frame *f = &g->frames[g->tail++ % GUEST_FRAMES];

	f->data = malloc(frame->len);
	assert_non_null(f->data);
	f->len = frame->len;
	f->meta = frame->meta;
	assert_int_equal(iov_copy_from(frame->iov, frame->n_iov, 0, f->data, f->len), f->len);
	assert_true(frame->iov[0].iov_len >= (f->len < TWX_HDR_ROOM ? f->len : TWX_HDR_ROOM));
}

static int guest_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	struct guest *g = port->owner;
	int i;

	for (i = 0; i < n && !g->busy && g->tail - g->head < GUEST_FRAMES; i++)
		record(g, &frames[i]);
	return i;
}

static const struct twx_port_ops guest_ops = { .receive = guest_receive };

static void guest_log(void *opaque, enum twx_log_level level, const char *line)
{
	struct guest *g = opaque;

	snprintf(g->warning, sizeof(g->warning), "%s", line);
}

static bool open_with(struct guest *g, const char *options, uint32_t caps,
		      struct twx_net_config config, struct twx_error *e)
{
	char text[2048];
	uint8_t frame[64];
	struct guest_frame f;

	memset(g, 0, sizeof(*g));
	assert_int_equal(twx_loop_new(&g->loop, e), 0);
	config.size = sizeof(config);
	config.loop = g->loop;
	config.log = guest_log;
	config.log_opaque = g;
	config.log_level = TWX_LOG_INFO;
	assert_int_equal(twx_net_new(&g->net, &config, e), 0);
	snprintf(text, sizeof(text), "user,id=n0%s%s", *options ? "," : "", options);
	if (twx_backend_new(&g->backend, g->net, text, e)) {
		twx_net_free(g->net);
		twx_loop_free(g->loop);
		return false;
	}
	g->user = g->backend->priv;
	memcpy(g->mac, (uint8_t[]){ 0x52, 0x54, 0, 0x12, 0x34, 0x56 }, 6);
	memcpy(g->gw_mac6, (uint8_t[]){ 0x52, 0x56, 0, 0, 0, 2 }, 6);
	g->ip6 = guest_addr6("fec0::15");
	g->ip = g->user->cfg.dhcp_start;
	g->host = g->user->cfg.host;
	g->dns = g->user->cfg.dns;
	assert_int_equal(twx_port_init(&g->port, g->net, g->loop, TWX_PORT_NIC, "toy", "toy", 0,
				       &guest_ops, g, e),
			 0);
	twx_port_set_caps(&g->port, (struct twx_caps){ .flags = caps });
	assert_int_equal(twx_port_pair(&g->port, g->backend->ports[0], e), 0);
	if (!g->user->cfg.ipv4)
		return true;
	guest_send(g, frame, guest_arp(g, frame, 1, g->ip, g->host));
	assert_true(guest_recv(g, &f, 1000));
	memcpy(g->gw_mac, f.data + 22, 6);
	guest_frame_free(&f);
	return true;
}

bool guest_open(struct guest *g, const char *options, uint32_t caps, struct twx_error *e)
{
	return guest_open_on(g, options, caps, NULL, e);
}

bool guest_open_on(struct guest *g, const char *options, uint32_t caps,
		   const struct twx_hostops *hostops, struct twx_error *e)
{
	return open_with(g, options, caps, (struct twx_net_config){ .hostops = hostops }, e);
}

bool guest_open_state(struct guest *g, const char *prefix, struct twx_error *e)
{
	return open_with(g, "", 0, (struct twx_net_config){ .state_prefix = prefix }, e);
}

void guest_close(struct guest *g)
{
	twx_port_fini(&g->port);
	twx_net_free(g->net);
	twx_loop_free(g->loop);
	while (g->head != g->tail)
		free(g->frames[g->head++ % GUEST_FRAMES].data);
}

void guest_ready(struct guest *g)
{
	g->busy = false;
	twx_port_ready(&g->port);
}

/* --- sending --- */

void guest_send_burst(struct guest *g, const struct twx_frame *frames, int n)
{
	assert_int_equal(twx_port_send(&g->port, frames, n), n);
}

void guest_send_meta(struct guest *g, const void *frame, uint32_t len, const struct twx_meta *meta)
{
	/* An exact copy, so that a sanitizer sees reads beyond it. */
	void *copy = malloc(len ? len : 1);
	struct iovec iov = { copy, len };
	struct twx_frame f = { .iov = &iov, .n_iov = 1, .len = len };

	assert_non_null(copy);
	memcpy(copy, frame, len);
	if (meta)
		f.meta = *meta;
	guest_send_burst(g, &f, 1);
	free(copy);
}

void guest_send(struct guest *g, const void *frame, uint32_t len)
{
	guest_send_meta(g, frame, len, NULL);
}

void guest_fix_ip(uint8_t *frame)
{
	uint8_t *ip = frame + GUEST_IP_OFF;
	be16 sum;

	user_put16(ip + 10, 0);
	sum = csum_fold(csum_partial(ip, (ip[0] & 15) * 4u, 0));
	memcpy(ip + 10, &sum, 2);
}

uint32_t guest_ip(struct guest *g, uint8_t *frame, struct in_addr dst, uint8_t proto,
		  const void *l4, uint32_t len)
{
	uint8_t *ip = frame + GUEST_IP_OFF;

	if (l4)
		memmove(frame + GUEST_L4_OFF, l4, len);
	memcpy(frame, g->gw_mac, 6);
	memcpy(frame + 6, g->mac, 6);
	user_put16(frame + 12, 0x0800);
	memset(ip, 0, 20);
	ip[0] = 0x45;
	user_put16(ip + 2, 20 + len);
	user_put16(ip + 4, g->ip_id++);
	ip[8] = 64;
	ip[9] = proto;
	memcpy(ip + 12, &g->ip, 4);
	memcpy(ip + 16, &dst, 4);
	guest_fix_ip(frame);
	return GUEST_L4_OFF + len;
}

static void l4_csum(struct guest *g, uint8_t *l4, uint32_t len, struct in_addr dst, uint8_t proto,
		    uint32_t at)
{
	be16 sum;

	user_put16(l4 + at, 0);
	sum = csum_fold_udp(csum_partial(l4, len, csum_pseudo4(&g->ip, &dst, proto, len)));
	memcpy(l4 + at, &sum, 2);
}

uint32_t guest_udp(struct guest *g, uint8_t *frame, uint16_t sport, struct in_addr dst,
		   uint16_t dport, const void *data, uint32_t len)
{
	uint8_t *udp = frame + GUEST_L4_OFF;

	memmove(udp + 8, data, len);
	user_put16(udp, sport);
	user_put16(udp + 2, dport);
	user_put16(udp + 4, 8 + len);
	l4_csum(g, udp, 8 + len, dst, IPPROTO_UDP, 6);
	return guest_ip(g, frame, dst, IPPROTO_UDP, NULL, 8 + len);
}

uint32_t guest_icmp(struct guest *g, uint8_t *frame, struct in_addr dst, uint8_t type, uint8_t code,
		    uint16_t id, uint16_t seq, const void *data, uint32_t len)
{
	uint8_t *icmp = frame + GUEST_L4_OFF;
	be16 sum;

	memmove(icmp + 8, data, len);
	icmp[0] = type;
	icmp[1] = code;
	user_put16(icmp + 2, 0);
	user_put16(icmp + 4, id);
	user_put16(icmp + 6, seq);
	sum = csum_fold(csum_partial(icmp, 8 + len, 0));
	memcpy(icmp + 2, &sum, 2);
	return guest_ip(g, frame, dst, IPPROTO_ICMP, NULL, 8 + len);
}

/* A segment without its checksum; its length. */
static uint32_t put_tcp(uint8_t *tcp, uint16_t sport, uint16_t dport, uint32_t seq, uint32_t ack,
			uint8_t flags, uint16_t window, const void *options, uint32_t n_options,
			const void *data, uint32_t len)
{
	uint32_t head = 20 + (n_options + 3) / 4 * 4;

	if (len)
		memmove(tcp + head, data, len);
	memset(tcp, 0, head);
	user_put16(tcp, sport);
	user_put16(tcp + 2, dport);
	user_put32(tcp + 4, seq);
	user_put32(tcp + 8, ack);
	tcp[12] = (uint8_t)(head / 4 << 4);
	tcp[13] = flags;
	user_put16(tcp + 14, window);
	if (n_options)
		memcpy(tcp + 20, options, n_options);
	return head + len;
}

uint32_t guest_tcp(struct guest *g, uint8_t *frame, uint16_t sport, struct in_addr dst,
		   uint16_t dport, uint32_t seq, uint32_t ack, uint8_t flags, uint16_t window,
		   const void *options, uint32_t n_options, const void *data, uint32_t len)
{
	uint8_t *tcp = frame + GUEST_L4_OFF;

	len = put_tcp(tcp, sport, dport, seq, ack, flags, window, options, n_options, data, len);
	l4_csum(g, tcp, len, dst, IPPROTO_TCP, 16);
	return guest_ip(g, frame, dst, IPPROTO_TCP, NULL, len);
}

uint32_t guest_ip6(struct guest *g, uint8_t *frame, const char *dst, uint8_t proto, const void *l4,
		   uint32_t len)
{
	struct in6_addr to = guest_addr6(dst);
	uint8_t *ip = frame + GUEST_IP_OFF;

	if (l4)
		memmove(frame + GUEST_L4_OFF6, l4, len);
	memcpy(frame, g->gw_mac6, 6);
	memcpy(frame + 6, g->mac, 6);
	user_put16(frame + 12, ETH_IP6);
	user_put32(ip, 0x60000000);
	user_put16(ip + 4, len);
	ip[6] = proto;
	ip[7] = 64;
	memcpy(ip + 8, &g->ip6, 16);
	memcpy(ip + 24, &to, 16);
	return GUEST_L4_OFF6 + len;
}

static void l4_csum6(struct guest *g, uint8_t *l4, uint32_t len, const char *dst, uint8_t proto,
		     uint32_t at)
{
	struct in6_addr to = guest_addr6(dst);
	be16 sum;

	user_put16(l4 + at, 0);
	sum = csum_fold_udp(csum_partial(l4, len, csum_pseudo6(&g->ip6, &to, proto, len)));
	memcpy(l4 + at, &sum, 2);
}

uint32_t guest_udp6(struct guest *g, uint8_t *frame, uint16_t sport, const char *dst,
		    uint16_t dport, const void *data, uint32_t len)
{
	uint8_t *udp = frame + GUEST_L4_OFF6;

	if (len)
		memmove(udp + 8, data, len);
	user_put16(udp, sport);
	user_put16(udp + 2, dport);
	user_put16(udp + 4, 8 + len);
	l4_csum6(g, udp, 8 + len, dst, IPPROTO_UDP, 6);
	return guest_ip6(g, frame, dst, IPPROTO_UDP, NULL, 8 + len);
}

uint32_t guest_tcp6(struct guest *g, uint8_t *frame, uint16_t sport, const char *dst,
		    uint16_t dport, uint32_t seq, uint32_t ack, uint8_t flags, uint16_t window)
{
	uint8_t *tcp = frame + GUEST_L4_OFF6;
	uint32_t len = put_tcp(tcp, sport, dport, seq, ack, flags, window, NULL, 0, NULL, 0);

	l4_csum6(g, tcp, len, dst, IPPROTO_TCP, 16);
	return guest_ip6(g, frame, dst, IPPROTO_TCP, NULL, len);
}

uint32_t guest_icmp6(struct guest *g, uint8_t *frame, const char *dst, uint8_t type, uint8_t code,
		     uint32_t rest, const void *data, uint32_t len)
{
	uint8_t *icmp = frame + GUEST_L4_OFF6;

	if (len)
		memmove(icmp + 8, data, len);
	icmp[0] = type;
	icmp[1] = code;
	user_put32(icmp + 4, rest);
	l4_csum6(g, icmp, 8 + len, dst, IPPROTO_ICMPV6, 2);
	return guest_ip6(g, frame, dst, IPPROTO_ICMPV6, NULL, 8 + len);
}

uint32_t guest_extend6(uint8_t *frame, uint32_t frame_len, uint8_t type, const void *header,
		       uint32_t len)
{
	uint8_t *ip = frame + GUEST_IP_OFF;

	memmove(ip + 40 + len, ip + 40, frame_len - GUEST_L4_OFF6);
	memcpy(ip + 40, header, len);
	ip[40] = ip[6];
	ip[6] = type;
	user_put16(ip + 4, user_get16(ip + 4) + len);
	return frame_len + len;
}

uint32_t guest_arp(struct guest *g, uint8_t *frame, uint16_t op, struct in_addr sender,
		   struct in_addr target)
{
	uint8_t *arp = frame + 14;

	memset(frame, 0xff, 6);
	memcpy(frame + 6, g->mac, 6);
	user_put16(frame + 12, 0x0806);
	memcpy(arp, (uint8_t[]){ 0, 1, 8, 0, 6, 4, 0, (uint8_t)op }, 8);
	memcpy(arp + 8, g->mac, 6);
	memcpy(arp + 14, &sender, 4);
	memset(arp + 18, 0, 6);
	memcpy(arp + 24, &target, 4);
	return 42;
}

uint32_t guest_dhcp(struct guest *g, uint8_t *frame, uint8_t type, struct in_addr ciaddr,
		    const void *options, uint32_t n_options)
{
	struct in_addr keep = g->ip, everybody = { INADDR_BROADCAST };
	uint8_t msg[1024] = { 1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78 };
	uint32_t len = 240, n;

	memcpy(msg + 12, &ciaddr, 4);
	memcpy(msg + 28, g->mac, 6);
	user_put32(msg + 236, 0x63825363);
	if (type) {
		memcpy(msg + len, (uint8_t[]){ 53, 1, type }, 3);
		len += 3;
	}
	if (n_options)
		memcpy(msg + len, options, n_options);
	len += n_options;
	msg[len++] = 255;
	g->ip.s_addr = 0;
	n = guest_udp(g, frame, 68, everybody, 67, msg, len);
	g->ip = keep;
	memset(frame, 0xff, 6);
	return n;
}

/* --- receiving --- */

void guest_frame_free(struct guest_frame *f)
{
	free(f->data);
	f->data = NULL;
}

/* The guest's kernel would answer by itself. */
static void answer_arp(struct guest *g, const struct guest_frame *f)
{
	uint8_t frame[64];
	struct in_addr asker;
	uint32_t len;

	memcpy(&asker, f->data + 28, 4);
	len = guest_arp(g, frame, 2, g->ip, asker);
	memcpy(frame, f->data + 6, 6);
	memcpy(frame + 32, f->data + 22, 6);
	guest_send(g, frame, len);
}

static void answer_solicitation(struct guest *g, const struct guest_frame *f)
{
	uint8_t frame[128], data[24] = { 0 };
	char asker[INET6_ADDRSTRLEN];
	uint32_t len;

	inet_ntop(AF_INET6, f->data + 22, asker, sizeof(asker));
	memcpy(data, &g->ip6, 16);
	data[16] = 2;
	data[17] = 1;
	memcpy(data + 18, g->mac, 6);
	len = guest_icmp6(g, frame, asker, 136, 0, 0x60000000, data, sizeof(data));
	frame[21] = 255;
	guest_send(g, frame, len);
}

bool guest_recv(struct guest *g, struct guest_frame *f, int ms)
{
	uint64_t end = now_ms() + (uint64_t)ms;

	for (;;) {
		uint64_t now = now_ms();

		while (g->head != g->tail) {
			*f = g->frames[g->head++ % GUEST_FRAMES];
			/* A recorder that was full takes frames again. */
			if (g->tail - g->head == GUEST_FRAMES - 1)
				twx_port_ready(&g->port);
			if (g->no_arp || (!is_arp_for_us(g, f) && !is_solicitation(g, f)))
				return true;
			if (is_arp_for_us(g, f))
				answer_arp(g, f);
			else
				answer_solicitation(g, f);
			guest_frame_free(f);
		}
		if (now > end)
			return false;
		twx_loop_poll(g->loop, (int)(end - now));
		if (now == end && g->head == g->tail)
			return false;
	}
}

void guest_run(struct guest *g, int ms)
{
	while (twx_loop_poll(g->loop, ms) > 0)
		;
}

bool guest_silent(struct guest *g, int ms)
{
	struct guest_frame f;

	if (!guest_recv(g, &f, ms))
		return true;
	guest_frame_free(&f);
	return false;
}

static void check_l4(struct guest_pkt *p)
{
	uint64_t sum = user_pseudo(&p->src6, &p->dst6, p->proto, p->l4_len);
	const struct twx_meta *m = &p->frame.meta;
	uint32_t at = p->proto == IPPROTO_TCP ? 16 : 6;

	if (p->proto == IPPROTO_ICMP || p->proto == IPPROTO_ICMPV6) {
		if (p->proto == IPPROTO_ICMP)
			sum = 0;
		assert_int_equal(csum_fold(csum_partial(p->l4, p->l4_len, sum)).raw, 0);
		return;
	}
	if (m->flags & TWX_F_NEEDS_CSUM) {
		uint16_t raw = csum_fold_raw(sum);

		assert_int_equal(m->csum_start, p->l4 - p->frame.data);
		assert_int_equal(m->csum_off, at);
		assert_memory_equal(p->l4 + at, &raw, 2);
		return;
	}
	if (p->proto == IPPROTO_TCP || p->l4[6] || p->l4[7] || !user_is_v4(&p->src6))
		assert_int_equal(csum_fold(csum_partial(p->l4, p->l4_len, sum)).raw, 0);
}

static void parse_l4(struct guest_pkt *p)
{
	uint32_t head = 8;

	assert_true(p->l4_len >= 8);
	if (p->proto == IPPROTO_TCP) {
		assert_true(p->l4_len >= 20);
		head = (p->l4[12] >> 4) * 4u;
		p->seq = user_get32(p->l4 + 4);
		p->ack = user_get32(p->l4 + 8);
		p->flags = p->l4[13];
		p->window = user_get16(p->l4 + 14);
	}
	if (p->proto == IPPROTO_UDP)
		assert_int_equal(user_get16(p->l4 + 4), p->l4_len);
	assert_true(head <= p->l4_len);
	p->sport = user_get16(p->l4);
	p->dport = user_get16(p->l4 + 2);
	p->data = p->l4 + head;
	p->len = p->l4_len - head;
	check_l4(p);
}

bool guest_recv_ip(struct guest *g, uint8_t proto, struct guest_pkt *p, int ms)
{
	for (;;) {
		uint32_t ihl, total;

		memset(p, 0, sizeof(*p));
		if (!guest_recv(g, &p->frame, ms))
			return false;
		assert_true(p->frame.len >= 60 || p->frame.meta.gso);
		if (user_get16(p->frame.data + 12) != 0x0800 ||
		    (proto && p->frame.data[23] != proto)) {
			guest_frame_free(&p->frame);
			continue;
		}
		p->ip = p->frame.data + 14;
		ihl = (p->ip[0] & 15) * 4u;
		total = user_get16(p->ip + 2);
		assert_int_equal(p->ip[0] >> 4, 4);
		assert_true(ihl >= 20 && total >= ihl && total + 14 <= p->frame.len);
		assert_int_equal(csum_fold(csum_partial(p->ip, ihl, 0)).raw, 0);
		memcpy(&p->src, p->ip + 12, 4);
		memcpy(&p->dst, p->ip + 16, 4);
		p->src6 = user_mapped(p->src);
		p->dst6 = user_mapped(p->dst);
		p->proto = p->ip[9];
		p->ttl = p->ip[8];
		p->l4 = p->ip + ihl;
		p->l4_len = total - ihl;
		if (!(user_get16(p->ip + 6) & 0x3fff))
			parse_l4(p);
		return true;
	}
}

bool guest_recv_ip6(struct guest *g, uint8_t proto, struct guest_pkt *p, int ms)
{
	for (;;) {
		memset(p, 0, sizeof(*p));
		if (!guest_recv(g, &p->frame, ms))
			return false;
		assert_true(p->frame.len >= 60 || p->frame.meta.gso);
		if (user_get16(p->frame.data + 12) == ETH_IP6 &&
		    (!proto || p->frame.data[20] == proto))
			break;
		guest_frame_free(&p->frame);
	}
	p->ip = p->frame.data + 14;
	assert_int_equal(p->ip[0] >> 4, 6);
	p->l4_len = user_get16(p->ip + 4);
	assert_true(54 + p->l4_len <= p->frame.len);
	memcpy(&p->src6, p->ip + 8, 16);
	memcpy(&p->dst6, p->ip + 24, 16);
	p->proto = p->ip[6];
	p->ttl = p->ip[7];
	p->l4 = p->ip + 40;
	if (p->proto != IPPROTO_FRAGMENT)
		parse_l4(p);
	return true;
}

void guest_pkt_free(struct guest_pkt *p)
{
	guest_frame_free(&p->frame);
}

/* --- the host's side --- */

int guest_host_socket(int type, uint16_t *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 128), 0);
	*port = ntohs(a.sin_port);
	return fd;
}

int guest_host_socket6(int type, uint16_t *port)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 128), 0);
	*port = ntohs(a.sin6_port);
	return fd;
}

uint64_t guest_drops(const struct guest *g, enum twx_drop cause)
{
	return g->backend->ports[0]->count.drops[cause];
}

static bool write_proc(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Becomes root of a user namespace in which the network namespace can be made. */
static bool become_root(void)
{
	char uids[32], gids[32];

	snprintf(uids, sizeof(uids), "0 %u 1", getuid());
	snprintf(gids, sizeof(gids), "0 %u 1", getgid());
	return unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 &&
	       write_proc("/proc/self/setgroups", "deny") &&
	       write_proc("/proc/self/uid_map", uids) && write_proc("/proc/self/gid_map", gids);
}

bool guest_allow_ping_sockets(bool allow)
{
	static const char path[] = "/proc/sys/net/ipv4/ping_group_range";

	if (!allow)
		return write_proc(path, "1 0");
	/* Inside a user namespace only the groups that it has can be named. */
	return write_proc(path, "0 2147483647") || write_proc(path, "0 0");
}

bool guest_far_address(void)
{
	struct { /* linux/ipv6.h's in6_ifreq, which netinet/in.h does not stand beside */
		struct in6_addr addr;
		uint32_t prefix_len;
		int index;
	} far = { .addr = guest_addr6("2001:db8::1"), .prefix_len = 128 };
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ok;

	far.index = (int)if_nametoindex("lo");
	ok = fd >= 0 && ioctl(fd, SIOCSIFADDR, &far) == 0;
	if (fd >= 0)
		close(fd);
	return ok;
}

bool guest_namespace(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd;

	if (unshare(CLONE_NEWNET) < 0 && !become_root())
		return false;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) < 0)
		return false;
	close(fd);
	return guest_allow_ping_sockets(true);
}
