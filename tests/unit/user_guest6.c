/* SPDX-License-Identifier: BSD-3-Clause */
/* The toy guest's IPv6. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/csum.h"
#include "user_guest6.h"

#define HDR 40
#define L4_OFF (14 + HDR)

struct in6_addr guest6_addr(const char *text)
{
	struct in6_addr a;

	assert_int_equal(inet_pton(AF_INET6, text, &a), 1);
	return a;
}

static uint64_t pseudo(const uint8_t *ip, uint8_t proto, uint32_t len)
{
	return csum_add16(csum_add16(csum_partial(ip + 8, 32, 0), proto), (uint16_t)len);
}

static void set_mac(const struct guest *g, uint8_t *frame, const struct in6_addr *dst)
{
	memcpy(frame, g->user->mac6, 6);
	if (IN6_IS_ADDR_MULTICAST(dst)) {
		frame[0] = frame[1] = 0x33;
		memcpy(frame + 2, dst->s6_addr + 12, 4);
	}
	memcpy(frame + 6, g->mac, 6);
	user_put16(frame + 12, 0x86dd);
}

uint32_t guest6_ip(struct guest *g, uint8_t *frame, const char *src, const char *dst, uint8_t proto,
		   uint8_t hops, const void *l4, uint32_t len)
{
	struct in6_addr s = guest6_addr(src), d = guest6_addr(dst);
	uint8_t *ip = frame + 14;
	uint32_t at = proto == IPPROTO_UDP ? 6 : 2;
	be16 sum;

	set_mac(g, frame, &d);
	memset(ip, 0, HDR);
	ip[0] = 0x60;
	user_put16(ip + 4, len);
	ip[6] = proto;
	ip[7] = hops;
	memcpy(ip + 8, &s, 16);
	memcpy(ip + 24, &d, 16);
	memmove(frame + L4_OFF, l4, len);
	if ((proto == IPPROTO_UDP || proto == IPPROTO_ICMPV6) && len >= at + 2) {
		user_put16(frame + L4_OFF + at, 0);
		sum = csum_fold_udp(csum_partial(frame + L4_OFF, len, pseudo(ip, proto, len)));
		memcpy(frame + L4_OFF + at, &sum, 2);
	}
	return L4_OFF + len;
}

void guest6_icmp(struct guest *g, const char *src, const char *dst, uint8_t hops, const void *msg,
		 uint32_t len)
{
	uint8_t frame[2048];

	guest_send(g, frame, guest6_ip(g, frame, src, dst, IPPROTO_ICMPV6, hops, msg, len));
}

void guest6_udp(struct guest *g, const char *src, uint16_t sport, const char *dst, uint16_t dport,
		const void *data, uint32_t len)
{
	uint8_t frame[4096], udp[4000];

	assert_true(len + 8 <= sizeof(udp));
	user_put16(udp, sport);
	user_put16(udp + 2, dport);
	user_put16(udp + 4, 8 + len);
	memcpy(udp + 8, data, len);
	guest_send(g, frame, guest6_ip(g, frame, src, dst, IPPROTO_UDP, 64, udp, 8 + len));
}

static void parse(struct guest6_pkt *p)
{
	const uint8_t *ip = p->frame.data + 14;

	assert_true(p->frame.len >= L4_OFF);
	assert_int_equal(ip[0] >> 4, 6);
	p->l4_len = user_get16(ip + 4);
	assert_true(L4_OFF + p->l4_len <= p->frame.len);
	p->proto = ip[6];
	p->hops = ip[7];
	memcpy(&p->src, ip + 8, 16);
	memcpy(&p->dst, ip + 24, 16);
	p->l4 = p->data = ip + HDR;
	p->len = p->l4_len;
	if (IN6_IS_ADDR_MULTICAST(&p->dst)) {
		assert_memory_equal(p->frame.data, "\x33\x33", 2);
		assert_memory_equal(p->frame.data + 2, ip + 36, 4);
	}
	if (p->proto != IPPROTO_UDP && p->proto != IPPROTO_ICMPV6)
		return;
	assert_true(p->l4_len >= 8);
	if (!(p->frame.meta.flags & TWX_F_NEEDS_CSUM))
		assert_int_equal(
			csum_fold(csum_partial(p->l4, p->l4_len, pseudo(ip, p->proto, p->l4_len)))
				.raw,
			0);
	if (p->proto == IPPROTO_UDP) {
		assert_int_equal(user_get16(p->l4 + 4), p->l4_len);
		assert_true(p->l4[6] || p->l4[7]); /* RFC 8200, 8.1 */
		p->sport = user_get16(p->l4);
		p->dport = user_get16(p->l4 + 2);
		p->data = p->l4 + 8;
		p->len = p->l4_len - 8;
	}
}

bool guest6_recv(struct guest *g, uint8_t proto, struct guest6_pkt *p, int ms)
{
	for (;;) {
		memset(p, 0, sizeof(*p));
		if (!guest_recv(g, &p->frame, ms))
			return false;
		if (user_get16(p->frame.data + 12) == 0x86dd && p->frame.data[20] == proto) {
			parse(p);
			return true;
		}
		guest_frame_free(&p->frame);
	}
}

void guest6_free(struct guest6_pkt *p)
{
	guest_frame_free(&p->frame);
}

int guest6_setup(void **state)
{
	struct guest *g = malloc(sizeof(*g));

	assert_true(guest_open(g, "", 0, NULL));
	*state = g;
	return 0;
}

int guest6_teardown(void **state)
{
	guest_close(*state);
	free(*state);
	return 0;
}
