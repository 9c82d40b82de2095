/* SPDX-License-Identifier: BSD-3-Clause */
/* Builds the guest's packets and turns replies into comparable fields. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "diff.h"

/* libslirp's and ours: 52:55 followed by the host alias's address. */
const uint8_t gateway_mac[6] = { 0x52, 0x55, 10, 0, 2, 2 };

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

static uint32_t get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) << 16 | get16(p + 2);
}

/* RFC 1071, written for clearness: the judge does not share code with the judged. */
uint16_t inet_sum(const void *data, size_t len, uint32_t seed)
{
	const uint8_t *p = data;
	uint32_t sum = seed;

	for (size_t i = 0; i < len; i++) {
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)sum;
}

uint32_t data_hash(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t h = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 16777619u;
	return h;
}

void fill(void *buf, size_t len, uint32_t seed)
{
	uint8_t *p = buf;

	for (size_t i = 0; i < len; i++) {
		seed = seed * 1664525u + 1013904223u;
		p[i] = (uint8_t)(seed >> 24);
	}
}

size_t pkt_eth(uint8_t *f, const uint8_t dst[6], const uint8_t src[6], uint16_t type)
{
	memcpy(f, dst, 6);
	memcpy(f + 6, src, 6);
	put16(f + 12, type);
	return 14;
}

size_t pkt_arp(struct ctx *c, uint8_t *f, uint16_t op, uint32_t spa, const uint8_t *tha,
	       uint32_t tpa)
{
	static const uint8_t bcast[6] = { 255, 255, 255, 255, 255, 255 }, zero[6];

	memset(f, 0, 60);
	pkt_eth(f, bcast, c->mac, 0x0806);
	put16(f + 14, 1);
	put16(f + 16, 0x0800);
	f[18] = 6;
	f[19] = 4;
	put16(f + 20, op);
	memcpy(f + 22, c->mac, 6);
	put32(f + 28, spa);
	memcpy(f + 32, tha ? tha : zero, 6);
	put32(f + 38, tpa);
	return 42;
}

void pkt_fix_ip(uint8_t *f)
{
	uint32_t hlen = (f[14] & 15u) * 4;

	put16(f + 24, 0);
	put16(f + 24, ~inet_sum(f + 14, hlen, 0) & 0xffffu);
}

static uint32_t l4_seed(const uint8_t *ip, uint32_t len)
{
	return (uint32_t)inet_sum(ip + 12, 8, 0) + ip[9] + len;
}

void pkt_fix_udp(uint8_t *f)
{
	uint32_t hlen = (f[14] & 15u) * 4, len = get16(f + 16) - hlen;
	uint8_t *l4 = f + 14 + hlen, *sum = l4 + (f[23] == 17 ? 6 : 16);

	put16(sum, 0);
	put16(sum, ~inet_sum(l4, len, l4_seed(f + 14, len)) & 0xffffu);
	if (f[23] == 17 && get16(sum) == 0)
		put16(sum, 0xffff);
}

size_t pkt_ip(struct ctx *c, uint8_t *f, uint32_t src, uint32_t dst, uint8_t proto, size_t len)
{
	pkt_eth(f, gateway_mac, c->mac, 0x0800);
	f[14] = 0x45;
	f[15] = 0;
	put16(f + 16, (uint32_t)len + 20);
	put16(f + 18, ++c->ip_id);
	put16(f + 20, 0);
	f[22] = 64;
	f[23] = proto;
	put32(f + 26, src);
	put32(f + 30, dst);
	pkt_fix_ip(f);
	return 34 + len;
}

size_t pkt_udp(struct ctx *c, uint8_t *f, uint32_t src, uint16_t sport, uint32_t dst,
	       uint16_t dport, const void *data, size_t len)
{
	put16(f + 34, sport);
	put16(f + 36, dport);
	put16(f + 38, (uint32_t)len + 8);
	put16(f + 40, 0);
	memcpy(f + 42, data, len);
	pkt_ip(c, f, src, dst, 17, len + 8);
	pkt_fix_udp(f);
	return 42 + len;
}

size_t pkt_icmp(struct ctx *c, uint8_t *f, uint32_t dst, uint8_t type, uint8_t code, uint32_t rest,
		const void *data, size_t len)
{
	f[34] = type;
	f[35] = code;
	put16(f + 36, 0);
	put32(f + 38, rest);
	memcpy(f + 42, data, len);
	put16(f + 36, ~inet_sum(f + 34, len + 8, 0) & 0xffffu);
	return pkt_ip(c, f, GUEST_IP, dst, 1, len + 8);
}

/* --- replies as fields --- */

static void log_mac(struct ctx *c, const char *key, const uint8_t *m)
{
	log_field(c, key, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
}

static void log_ip4(struct ctx *c, const char *key, uint32_t a)
{
	log_field(c, key, "%u.%u.%u.%u", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255);
}

static void log_arp(struct ctx *c, const uint8_t *p, uint32_t len)
{
	if (len < 28) {
		log_field(c, "arp.short", "%u", len);
		return;
	}
	log_field(c, "arp.fixed", "%u %04x %u %u", get16(p), get16(p + 2), p[4], p[5]);
	log_field(c, "arp.op", "%u", get16(p + 6));
	log_mac(c, "arp.sha", p + 8);
	log_ip4(c, "arp.spa", get32(p + 14));
	log_mac(c, "arp.tha", p + 18);
	log_ip4(c, "arp.tpa", get32(p + 24));
}

static void log_dhcp(struct ctx *c, const uint8_t *p, uint32_t len)
{
	char key[32], text[160];
	uint32_t i = 240;

	if (len < 240) {
		log_field(c, "dhcp.short", "%u", len);
		return;
	}
	log_field(c, "dhcp.head", "%u %u %u %u", p[0], p[1], p[2], p[3]);
	log_field(c, "dhcp.xid", "%08x", get32(p + 4));
	log_field(c, "dhcp.flags", "%04x", get16(p + 10));
	log_ip4(c, "dhcp.ciaddr", get32(p + 12));
	log_ip4(c, "dhcp.yiaddr", get32(p + 16));
	log_ip4(c, "dhcp.siaddr", get32(p + 20));
	log_ip4(c, "dhcp.giaddr", get32(p + 24));
	log_mac(c, "dhcp.chaddr", p + 28);
	log_field(c, "dhcp.file", "%.128s", (const char *)p + 108);
	log_field(c, "dhcp.magic", "%08x", get32(p + 236));
	while (i < len && p[i] != 255) {
		uint32_t n, at = 0;

		if (p[i] == 0) {
			i++;
			continue;
		}
		if (i + 2 > len || i + 2 + p[i + 1] > len) {
			log_field(c, "dhcp.cut", "%u", i);
			return;
		}
		n = p[i + 1];
		text[0] = 0;
		for (uint32_t k = 0; k < n && at + 3 < sizeof(text); k++)
			at += (uint32_t)snprintf(text + at, sizeof(text) - at, "%02x",
						 p[i + 2 + k]);
		snprintf(key, sizeof(key), "dhcp.opt.%u", p[i]);
		log_field(c, key, "%s", text);
		i += 2 + n;
	}
	log_field(c, "dhcp.end", "%s", i < len ? "yes" : "no");
}

static void log_udp(struct ctx *c, const uint8_t *ip, const uint8_t *p, uint32_t len)
{
	if (len < 8 || get16(p + 4) != len) {
		log_field(c, "udp.badlen", "%u", len);
		return;
	}
	log_field(c, "udp.ports", "%u %u", get16(p), get16(p + 2));
	log_field(c, "udp.len", "%u", len - 8);
	log_field(c, "udp.csum", "%s",
		  get16(p + 6) == 0				 ? "none"
		  : inet_sum(p, len, l4_seed(ip, len)) == 0xffff ? "good"
								 : "bad");
	if (get16(p) == 67)
		log_dhcp(c, p + 8, len - 8);
	else
		log_field(c, "udp.data", "%08x", data_hash(p + 8, len - 8));
}

static void log_icmp(struct ctx *c, const uint8_t *p, uint32_t len)
{
	if (len < 8) {
		log_field(c, "icmp.short", "%u", len);
		return;
	}
	log_field(c, "icmp.type", "%u %u", p[0], p[1]);
	log_field(c, "icmp.csum", "%s", inet_sum(p, len, 0) == 0xffff ? "good" : "bad");
	if (p[0] == 0 || p[0] == 8) {
		log_field(c, "icmp.rest", "%08x", get32(p + 4));
		log_field(c, "icmp.data", "%u %08x", len - 8, data_hash(p + 8, len - 8));
	} else if (len >= 8 + 28) {
		log_field(c, "icmp.rest", "%08x", get32(p + 4));
		log_ip4(c, "icmp.orig.src", get32(p + 8 + 12));
		log_ip4(c, "icmp.orig.dst", get32(p + 8 + 16));
		log_field(c, "icmp.orig.proto", "%u", p[8 + 9]);
		log_field(c, "icmp.orig.l4", "%08x", get32(p + 8 + 20));
		log_field(c, "icmp.len", "%u", len);
	}
}

static void log_ip(struct ctx *c, const uint8_t *p, uint32_t len)
{
	uint32_t hlen = (p[0] & 15u) * 4, total;

	if (len < 20 || p[0] >> 4 != 4 || hlen < 20 || (total = get16(p + 2)) > len ||
	    total < hlen) {
		log_field(c, "ip.bad", "%u", len);
		return;
	}
	log_field(c, "ip.csum", "%s", inet_sum(p, hlen, 0) == 0xffff ? "good" : "bad");
	log_field(c, "ip.tos", "%u", p[1]);
	log_field(c, "ip.frag", "%04x", get16(p + 6));
	log_field(c, "ip.ttl", "%u", p[8]);
	log_field(c, "ip.proto", "%u", p[9]);
	log_ip4(c, "ip.src", get32(p + 12));
	log_ip4(c, "ip.dst", get32(p + 16));
	if (get16(p + 6) & 0x1fff)
		log_field(c, "ip.fragment", "%u %08x", total - hlen,
			  data_hash(p + hlen, total - hlen));
	else if (p[9] == 17 && !(get16(p + 6) & 0x2000))
		log_udp(c, p, p + hlen, total - hlen);
	else if (p[9] == 1 && !(get16(p + 6) & 0x2000))
		log_icmp(c, p + hlen, total - hlen);
	else
		log_field(c, "ip.data", "%u %08x", total - hlen, data_hash(p + hlen, total - hlen));
}

void log_replies(struct ctx *c)
{
	log_field(c, "replies", "%d", c->n_replies);
	for (int i = 0; i < c->n_replies; i++) {
		const struct reply *r = &c->replies[i];

		if (r->len < 14) {
			log_field(c, "eth.short", "%u", r->len);
			continue;
		}
		log_mac(c, "eth.dst", r->data);
		log_mac(c, "eth.src", r->data + 6);
		log_field(c, "eth.type", "%04x", get16(r->data + 12));
		if (get16(r->data + 12) == 0x0806)
			log_arp(c, r->data + 14, r->len - 14);
		else if (get16(r->data + 12) == 0x0800)
			log_ip(c, r->data + 14, r->len - 14);
		else if (get16(r->data + 12) == 0x86dd)
			log_ip6(c, r->data + 14, r->len - 14);
	}
	c->n_replies = 0;
}
