/* SPDX-License-Identifier: BSD-3-Clause */
/* What travels over the cable: one Ethernet frame and what is known about it. */
#ifndef TWINAX_FRAME_H
#define TWINAX_FRAME_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/*
 * A frame is borrowed memory: it is valid until the receive() that it was given to returns, and
 * whoever wants it longer copies it. It starts with the destination MAC and has no FCS.
 *
 * iov[0] is private memory of this process and holds at least the first min(len, TWX_HDR_ROOM) bytes;
 * headers are parsed from iov[0] alone. iov[1..] may be a guest's memory, which the guest can change
 * at any time: read it once, never decide anything on a second read.
 */
#define TWX_HDR_ROOM 192 /* Ethernet + 2 VLAN tags + the longest IPv4 and TCP headers, and some IPv6 options */
#define TWX_FRAME_MIN 14 /* an Ethernet header; shorter frames do not travel */
#define TWX_FRAME_MAX (65535 + 14 + 8) /* the largest IP packet with Ethernet and two VLAN tags */
#define TWX_BURST 64	 /* frames that one receive() call is given at most */

/* Segmentation that is still to be done; the values are those of virtio_net_hdr (virtio 1.2, 5.1.6). */
enum twx_gso {
	TWX_GSO_NONE = 0,
	TWX_GSO_TCPV4 = 1,
	TWX_GSO_UDP = 3, /* IP fragments (UFO) */
	TWX_GSO_TCPV6 = 4,
	TWX_GSO_UDP_L4 = 5, /* datagrams (USO) */
};

enum {
	TWX_F_NEEDS_CSUM = 1, /* 16 bits at csum_start + csum_off hold the pseudo-header sum; finish it */
	TWX_F_CSUM_VALID = 2, /* L4 checksum checked by the sender's side */
	TWX_F_ECN = 4,	      /* TCP segmentation must keep CWR to the first segment */
	TWX_F_VLAN = 8,	      /* vlan_tci is valid and the tag is not in the frame */
	TWX_F_HASH = 16,      /* hash is valid */
};

/* Native endian whatever the ends speak. All zero means: a plain frame, checksums complete. */
struct twx_meta {
	uint8_t flags;
	uint8_t gso; /* enum twx_gso */
	uint16_t gso_size;
	uint16_t hdr_len; /* Ethernet up to the L4 payload; a hint, 0 if unknown */
	uint16_t csum_start;
	uint16_t csum_off;
	uint16_t vlan_tci;
	uint32_t hash;
};

struct twx_frame {
	const struct iovec *iov;
	uint32_t n_iov;
	uint32_t len; /* sum of iov */
	struct twx_meta meta;
};

/* What a port's receive() can take as it is; the core finishes the rest in software. */
enum {
	TWX_CAP_CSUM = 1, /* NEEDS_CSUM */
	TWX_CAP_TSO4 = 2,
	TWX_CAP_TSO6 = 4,
	TWX_CAP_ECN = 8,
	TWX_CAP_UFO = 16,
	TWX_CAP_USO = 32,
	TWX_CAP_VLAN = 64,
};

struct twx_caps {
	uint32_t flags;
	uint32_t max_frame; /* bytes without GSO; 0: TWX_FRAME_MAX */
};

#endif
