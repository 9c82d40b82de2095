/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's IPv6 packets, and replies as comparable fields. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "diff.h"

#define HDR 40

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint32_t get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t seed(const uint8_t *ip, uint32_t len)
{
	return (uint32_t)inet_sum(ip + 8, 32, 0) + ip[6] + len;
}

size_t pkt6(struct ctx *c, uint8_t *f, const char *src, const char *dst, uint8_t proto,
	    uint8_t hops, size_t len)
{
	uint8_t mac[6] = { 0x52, 0x56, 0, 0, 0, 2 }, *ip = f + 14, *l4 = ip + HDR;
	uint32_t at = proto == IPPROTO_UDP ? 6 : proto == IPPROTO_TCP ? 16 : 2;

	memset(ip, 0, HDR);
	ip[0] = 0x60;
	put16(ip + 4, (uint32_t)len);
	ip[6] = proto;
	ip[7] = hops;
	inet_pton(AF_INET6, src, ip + 8);
	inet_pton(AF_INET6, dst, ip + 24);
	if (ip[24] == 0xff) {
		mac[0] = mac[1] = 0x33;
		memcpy(mac + 2, ip + 36, 4);
	}
	pkt_eth(f, mac, c->mac, 0x86dd);
	if (len >= at + 2) {
		put16(l4 + at, 0);
		put16(l4 + at, ~inet_sum(l4, len, seed(ip, (uint32_t)len)) & 0xffffu);
	}
	return 14 + HDR + len;
}

size_t pkt6_udp(struct ctx *c, uint8_t *f, const char *src, uint16_t sport, const char *dst,
		uint16_t dport, const void *data, size_t len)
{
	uint8_t *udp = f + 14 + HDR;

	put16(udp, sport);
	put16(udp + 2, dport);
	put16(udp + 4, (uint32_t)len + 8);
	memcpy(udp + 8, data, len);
	return pkt6(c, f, src, dst, IPPROTO_UDP, 64, len + 8);
}

/* --- replies as fields --- */

static void log_addr(struct ctx *c, const char *key, const uint8_t *a)
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(AF_INET6, a, text, sizeof(text));
	log_field(c, key, "%s", text);
}

static void log_hex(struct ctx *c, const char *key, const uint8_t *p, uint32_t len)
{
	char text[160] = "";
	int at = 0;

	for (uint32_t i = 0; i < len && at < (int)sizeof(text) - 3; i++)
		at += snprintf(text + at, sizeof(text) - (size_t)at, "%02x", p[i]);
	log_field(c, key, "%s", text);
}

/* Options of neighbour discovery: type, length in units of eight bytes. */
static void log_options(struct ctx *c, const char *prefix, const uint8_t *p, uint32_t len)
{
	char key[32];

	while (len >= 8) {
		uint32_t n = p[1] * 8u;

		if (!n || n > len)
			break;
		snprintf(key, sizeof(key), "%s.opt.%u", prefix, p[0]);
		log_hex(c, key, p + 1, n - 1);
		p += n;
		len -= n;
	}
	if (len)
		log_field(c, "ndp.rest", "%u", len);
}

static void log_icmp6(struct ctx *c, const uint8_t *ip, const uint8_t *p, uint32_t len)
{
	if (len < 8) {
		log_field(c, "icmp6.short", "%u", len);
		return;
	}
	log_field(c, "icmp6.type", "%u %u", p[0], p[1]);
	log_field(c, "icmp6.csum", "%s",
		  inet_sum(p, len, seed(ip, len)) == 0xffff ? "good" : "bad");
	if (p[0] == 134 && len >= 16) {
		log_hex(c, "ra.head", p + 4, 12);
		log_options(c, "ra", p + 16, len - 16);
	} else if ((p[0] == 135 || p[0] == 136) && len >= 24) {
		log_hex(c, "na.flags", p + 4, 4);
		log_addr(c, "na.target", p + 8);
		log_options(c, "na", p + 24, len - 24);
	} else if (p[0] == 129) {
		log_hex(c, "echo.id", p + 4, 4);
		log_field(c, "echo.data", "%u %08x", len - 8, data_hash(p + 8, len - 8));
	} else if (len >= 8 + HDR) {
		log_hex(c, "icmp6.rest", p + 4, 4);
		log_addr(c, "icmp6.orig.src", p + 8 + 8);
		log_addr(c, "icmp6.orig.dst", p + 8 + 24);
	}
}

static void log_dhcp6(struct ctx *c, const uint8_t *p, uint32_t len)
{
	uint32_t i = 4;
	char key[32];

	if (len < 4) {
		log_field(c, "dhcp6.short", "%u", len);
		return;
	}
	log_hex(c, "dhcp6.head", p, 4);
	while (i + 4 <= len && i + 4 + get16(p + i + 2) <= len) {
		snprintf(key, sizeof(key), "dhcp6.opt.%u", get16(p + i));
		log_hex(c, key, p + i + 4, get16(p + i + 2));
		i += 4 + get16(p + i + 2);
	}
	log_field(c, "dhcp6.rest", "%u", len - i);
}

void log_ip6(struct ctx *c, const uint8_t *ip, uint32_t len)
{
	const uint8_t *l4 = ip + HDR;
	uint32_t n;

	if (len < HDR || ip[0] >> 4 != 6 || (n = get16(ip + 4)) > len - HDR) {
		log_field(c, "ip6.bad", "%u", len);
		return;
	}
	log_field(c, "ip6.proto", "%u", ip[6]);
	log_field(c, "ip6.hops", "%u", ip[7]);
	log_addr(c, "ip6.src", ip + 8);
	log_addr(c, "ip6.dst", ip + 24);
	if (ip[6] == IPPROTO_ICMPV6) {
		log_icmp6(c, ip, l4, n);
	} else if (ip[6] == IPPROTO_UDP && n >= 8) {
		log_field(c, "udp.ports", "%u %u", get16(l4), get16(l4 + 2));
		log_field(c, "udp.len", "%u %u", get16(l4 + 4) - 8, n - 8);
		log_field(c, "udp.csum", "%s",
			  inet_sum(l4, n, seed(ip, n)) == 0xffff ? "good" : "bad");
		if (get16(l4 + 2) == 546)
			log_dhcp6(c, l4 + 8, n - 8);
		else
			log_field(c, "udp.data", "%08x", data_hash(l4 + 8, n - 8));
	} else {
		log_field(c, "ip6.data", "%u %08x", n, data_hash(l4, n));
	}
}
