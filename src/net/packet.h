/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the headers of a frame begin, found within its private first part. */
#ifndef NET_PACKET_H
#define NET_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PACKET_MAX_TAGS 2
#define PACKET_MAX_EXT 8 /* IPv6 extension headers that are walked */

enum {
	PACKET_ETH_IPV4 = 0x0800,
	PACKET_ETH_ARP = 0x0806,
	PACKET_ETH_RARP = 0x8035,
	PACKET_ETH_VLAN = 0x8100,
	PACKET_ETH_IPV6 = 0x86dd,
	PACKET_ETH_QINQ = 0x88a8,
	PACKET_TCP = 6,
	PACKET_UDP = 17,
	PACKET_IP6_FRAGMENT = 44,
};

/* Offsets from the frame's first byte. Every offset that is set has its whole header inside the
 * data. */
struct packet {
	uint16_t ethertype;   /* behind the tags */
	uint16_t l3_off;      /* IP header, or what follows the Ethernet header */
	uint16_t l4_off;      /* 0: none found */
	uint16_t payload_off; /* behind the TCP or UDP header; 0: neither */
	uint16_t proto_off;   /* of the byte that names l4's protocol */
	uint8_t version;      /* 4, 6 or 0 */
	uint8_t proto;	      /* of l4, or of what could not be walked further */
	bool fragment;	      /* a part of a fragmented packet: no l4 */
};

/* Parses @len bytes, at least TWX_FRAME_MIN. What is malformed or cut short is left unset. */
void packet_parse(struct packet *p, const void *data, size_t len);

#endif
