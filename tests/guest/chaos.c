/* SPDX-License-Identifier: BSD-3-Clause */
/* A hostile guest's network card: raw frames, near to right and wrong somewhere, as fast as they go. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FRAME_MAX 65536
#define GATEWAY 0x0a000202u /* 10.0.2.2 */

static uint8_t frame[FRAME_MAX];
static uint64_t state;

static uint32_t rnd(uint32_t n)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return n ? (uint32_t)(state >> 33) % n : 0;
}

static bool one_in(uint32_t n)
{
	return rnd(n) == 0;
}

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

static uint32_t sum16(const uint8_t *p, uint32_t len, uint32_t sum)
{
	for (uint32_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	if (len & 1)
		sum += (uint32_t)p[len - 1] << 8;
	return sum;
}

static uint16_t folded(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* The addresses that a stack treats in a way of their own, and some of everybody's. */
static uint32_t some_address(void)
{
	static const uint32_t odd[] = { GATEWAY,    0x0a000203, 0x0a00020f, 0x0a0002ff, 0x0a000200, 0,
					0xffffffff, 0xe0000001, 0x7f000001, 0xc0000201, 0x0a000204 };

	return one_in(4) ? rnd(0xffffffff) : odd[rnd(sizeof(odd) / sizeof(odd[0]))];
}

static uint32_t some_port(void)
{
	static const uint16_t odd[] = { 0, 21, 22, 53, 67, 68, 69, 80, 113, 7777, 8080, 65535 };

	return one_in(3) ? rnd(65536) : odd[rnd(sizeof(odd) / sizeof(odd[0]))];
}

static uint32_t put_l4(uint8_t *l4, uint8_t proto, uint32_t room)
{
	uint32_t header = proto == IPPROTO_TCP ? 20 : 8, len;

	len = header + (one_in(2) ? rnd(64) : rnd(room - header));
	for (uint32_t i = 0; i < len; i++)
		l4[i] = (uint8_t)rnd(256);
	if (proto == IPPROTO_ICMP) {
		l4[0] = one_in(3) ? (uint8_t)rnd(256) : 8;
		l4[1] = one_in(5) ? (uint8_t)rnd(256) : 0;
		return len;
	}
	put16(l4, some_port());
	put16(l4 + 2, some_port());
	if (proto == IPPROTO_UDP) {
		put16(l4 + 4, one_in(6) ? rnd(65536) : len);
	} else {
		l4[12] = one_in(6) ? (uint8_t)rnd(256) : 0x50;
		l4[13] = one_in(2) ? 2 : (uint8_t)rnd(64); /* SYN as often as all others */
	}
	return len;
}

static void put_checksums(uint8_t *ip, uint8_t proto, uint8_t *l4, uint32_t len)
{
	uint32_t at = proto == IPPROTO_TCP ? 16 : proto == IPPROTO_UDP ? 6 : 2;
	uint32_t sum = proto == IPPROTO_ICMP ? 0 : sum16(ip + 12, 8, proto + len);

	put16(ip + 10, 0);
	put16(ip + 10, folded(sum16(ip, 20, 0)));
	if (len < at + 2)
		return;
	put16(l4 + at, 0);
	put16(l4 + at, folded(sum16(l4, len, sum)));
}

static uint32_t put_ip4(uint8_t *ip, uint32_t room)
{
	static const uint8_t protos[] = { IPPROTO_TCP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDP, IPPROTO_ICMP };
	uint8_t proto = one_in(20) ? (uint8_t)rnd(256) : protos[rnd(sizeof(protos))];
	uint32_t len = put_l4(ip + 20, proto, room - 20);

	ip[0] = one_in(20) ? (uint8_t)rnd(256) : 0x45;
	ip[1] = 0;
	put16(ip + 2, one_in(15) ? rnd(65536) : 20 + len);
	put16(ip + 4, rnd(8)); /* few identifications, so that fragments meet */
	put16(ip + 6, one_in(5) ? rnd(65536) : 0);
	ip[8] = one_in(20) ? 0 : 64;
	ip[9] = proto;
	put32(ip + 12, one_in(5) ? some_address() : 0x0a00020f);
	put32(ip + 16, some_address());
	if (!one_in(10))
		put_checksums(ip, proto, ip + 20, len);
	return 20 + len;
}

static uint32_t put_arp(uint8_t *arp)
{
	for (int i = 0; i < 28; i++)
		arp[i] = (uint8_t)rnd(256);
	if (!one_in(5))
		memcpy(arp, "\0\1\x08\0\6\4\0", 7);
	arp[7] = (uint8_t)(1 + rnd(3));
	put32(arp + 14, some_address());
	put32(arp + 24, some_address());
	return one_in(5) ? rnd(28) : 28;
}

static uint32_t make_frame(void)
{
	static const uint8_t gateway[6] = { 0x52, 0x55, 10, 0, 2, 2 };
	uint32_t type, len;

	memset(frame, 0xff, 6);
	if (!one_in(5))
		memcpy(frame, gateway, 6);
	frame[6] = 0x52;
	for (int i = 7; i < 12; i++)
		frame[i] = one_in(50) ? (uint8_t)rnd(256) : (uint8_t)i;
	type = one_in(10) ? ETH_P_ARP : one_in(30) ? rnd(65536) : ETH_P_IP;
	put16(frame + 12, type);
	len = 14 + (type == ETH_P_ARP ? put_arp(frame + 14) : put_ip4(frame + 14, 1500));
	while (one_in(8))
		frame[14 + rnd(60)] = (uint8_t)rnd(256);
	return one_in(10) ? 14 + rnd(len - 13) : len;
}

/* Offload requests of a packet socket pass the kernel's own checks, so only odd, not broken, ones get through. */
static void make_offload(struct virtio_net_hdr *h, uint32_t len)
{
	memset(h, 0, sizeof(*h));
	if (!one_in(3) || len < 60)
		return;
	h->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h->csum_start = 34;
	h->csum_offset = frame[23] == IPPROTO_TCP ? 16 : 6;
	h->hdr_len = (uint16_t)(14 + rnd(80));
	if (one_in(2)) {
		h->gso_type = frame[23] == IPPROTO_TCP ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_UDP;
		h->gso_size = (uint16_t)(1 + rnd(1500));
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	unsigned long sent = 0, refused = 0, end;
	struct virtio_net_hdr header;
	struct iovec iov[2] = { { &header, sizeof(header) }, { frame, 0 } };
	int fd = socket(AF_PACKET, SOCK_RAW, 0), one = 1;

	if (argc != 4) {
		fprintf(stderr, "usage: chaos IFACE SECONDS SEED\n");
		return 2;
	}
	at.sll_ifindex = (int)if_nametoindex(argv[1]);
	if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) || bind(fd, (struct sockaddr *)&at, sizeof(at))) {
		perror("chaos");
		return 1;
	}
	end = (unsigned long)time(NULL) + strtoul(argv[2], NULL, 10);
	state = strtoul(argv[3], NULL, 10);
	while ((unsigned long)time(NULL) < end) {
		iov[1].iov_len = make_frame();
		make_offload(&header, (uint32_t)iov[1].iov_len);
		if (writev(fd, iov, 2) < 0)
			refused++;
		else
			sent++;
	}
	printf("%lu frames sent, %lu refused by the guest's kernel\n", sent, refused);
	return sent < 1000;
}
