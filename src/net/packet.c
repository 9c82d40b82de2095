/* SPDX-License-Identifier: BSD-3-Clause */
/* Ethernet, VLAN tags, IPv4, IPv6 with extension headers, TCP, UDP: offsets only. */
#include <string.h>

#include "net/packet.h"

static uint16_t packet_u16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void packet_l4(struct packet *p, const uint8_t *d, size_t len, size_t off)
{
	size_t hdr;

	if (p->proto == PACKET_UDP) {
		hdr = 8;
	} else if (p->proto == PACKET_TCP) {
		if (len - off < 20)
			return;
		hdr = (size_t)(d[off + 12] >> 4) * 4;
		if (hdr < 20)
			return;
	} else {
		p->l4_off = (uint16_t)off;
		return;
	}
	if (len - off < hdr)
		return;
	p->l4_off = (uint16_t)off;
	p->payload_off = (uint16_t)(off + hdr);
}

static void packet_ipv4(struct packet *p, const uint8_t *d, size_t len, size_t off)
{
	size_t ihl;

	if (len - off < 20 || d[off] >> 4 != 4)
		return;
	ihl = (size_t)(d[off] & 15) * 4;
	if (ihl < 20 || len - off < ihl)
		return;
	p->version = 4;
	p->proto = d[off + 9];
	p->proto_off = (uint16_t)(off + 9);
	p->fragment = packet_u16(d + off + 6) & 0x3fff;
	if (!p->fragment)
		packet_l4(p, d, len, off + ihl);
}

/* Hop-by-hop, routing, destination options: type, length in 8 bytes without the first (RFC 8200,
 * 4). */
static bool packet_is_ext(uint8_t proto)
{
	return proto == 0 || proto == 43 || proto == 60;
}

static void packet_ipv6(struct packet *p, const uint8_t *d, size_t len, size_t off)
{
	size_t at = off + 40;
	int i;

	if (len - off < 40 || d[off] >> 4 != 6)
		return;
	p->version = 6;
	p->proto = d[off + 6];
	p->proto_off = (uint16_t)(off + 6);
	for (i = 0; packet_is_ext(p->proto); i++) {
		size_t ext;

		if (i == PACKET_MAX_EXT || len - at < 8)
			return;
		ext = ((size_t)d[at + 1] + 1) * 8;
		if (len - at < ext)
			return;
		p->proto = d[at];
		p->proto_off = (uint16_t)at;
		at += ext;
	}
	p->fragment = p->proto == PACKET_IP6_FRAGMENT;
	if (!p->fragment)
		packet_l4(p, d, len, at);
}

void packet_parse(struct packet *p, const void *data, size_t len)
{
	const uint8_t *d = data;
	size_t off = 14;
	int tags;

	memset(p, 0, sizeof(*p));
	if (len < off)
		return;
	p->ethertype = packet_u16(d + 12);
	for (tags = 0; tags < PACKET_MAX_TAGS && len - off >= 4; tags++) {
		if (p->ethertype != PACKET_ETH_VLAN && p->ethertype != PACKET_ETH_QINQ)
			break;
		p->ethertype = packet_u16(d + off + 2);
		off += 4;
	}
	p->l3_off = (uint16_t)off;
	if (p->ethertype == PACKET_ETH_IPV4)
		packet_ipv4(p, d, len, off);
	else if (p->ethertype == PACKET_ETH_IPV6)
		packet_ipv6(p, d, len, off);
}
