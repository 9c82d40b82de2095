/* SPDX-License-Identifier: BSD-3-Clause */
/* ARP, DHCP, ICMP and UDP exchanges. */
#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "diff.h"

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* --- ARP --- */

void scenarios_l2(struct ctx *c)
{
	static const uint32_t targets[] = { HOST_IP,	DNS_IP,	    0x0a000204, GUEST_IP,
					    0x0a000210, 0x0a000201, 0x0a0002ff, 0x0a000200,
					    0x0a000302, 0x08080808, 0 };
	uint8_t f[FRAME_MAX];
	size_t n;

	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		log_begin(c, "arp request %u.%u", targets[i] >> 8 & 255, targets[i] & 255);
		n = pkt_arp(c, f, 1, GUEST_IP, NULL, targets[i]);
		exchange(c, f, n);
	}
	log_begin(c, "arp padded");
	n = pkt_arp(c, f, 1, GUEST_IP, NULL, HOST_IP);
	exchange(c, f, 60);
	log_begin(c, "arp probe host");
	n = pkt_arp(c, f, 1, 0, NULL, HOST_IP);
	exchange(c, f, n);
	log_begin(c, "arp gratuitous");
	n = pkt_arp(c, f, 1, GUEST_IP, NULL, GUEST_IP);
	exchange(c, f, n);
	log_begin(c, "arp reply");
	n = pkt_arp(c, f, 2, GUEST_IP, gateway_mac, HOST_IP);
	exchange(c, f, n);
	for (uint16_t op = 3; op < 6; op++) {
		log_begin(c, "arp opcode %u", op);
		n = pkt_arp(c, f, op, GUEST_IP, NULL, HOST_IP);
		exchange(c, f, n);
	}
	for (size_t len = 14; len < 42; len += 4) {
		log_begin(c, "arp cut %zu", len);
		pkt_arp(c, f, 1, GUEST_IP, NULL, HOST_IP);
		exchange(c, f, len);
	}
	for (int i = 0; i < 4; i++) {
		static const struct {
			const char *name;
			int at, value;
		} bad[4] = { { "hardware", 15, 6 },
			     { "protocol", 17, 6 },
			     { "hlen", 18, 8 },
			     { "plen", 19, 16 } };

		log_begin(c, "arp wrong %s", bad[i].name);
		n = pkt_arp(c, f, 1, GUEST_IP, NULL, HOST_IP);
		f[bad[i].at] = (uint8_t)bad[i].value;
		exchange(c, f, n);
	}
	log_begin(c, "ethertype unknown");
	n = pkt_arp(c, f, 1, GUEST_IP, NULL, HOST_IP);
	put16(f + 12, 0x88b5);
	exchange(c, f, n);
}

/* --- DHCP --- */

struct dhcp {
	uint8_t op, type;
	uint32_t ciaddr, requested, server;
	const uint8_t *mac;
	uint16_t flags;
	bool no_magic, raw_cut;
};

static size_t dhcp_build(struct ctx *c, uint8_t *f, const struct dhcp *d)
{
	uint8_t m[300] = { 0 }, *o = m + 240;
	uint32_t v;

	m[0] = d->op ? d->op : 1;
	m[1] = 1;
	m[2] = 6;
	v = htonl(0x12345678);
	memcpy(m + 4, &v, 4);
	put16(m + 10, d->flags);
	v = htonl(d->ciaddr);
	memcpy(m + 12, &v, 4);
	memcpy(m + 28, d->mac ? d->mac : c->mac, 6);
	if (!d->no_magic)
		memcpy(m + 236, (const uint8_t[]){ 0x63, 0x82, 0x53, 0x63 }, 4);
	if (d->type) {
		*o++ = 53;
		*o++ = 1;
		*o++ = d->type;
	}
	if (d->requested) {
		*o++ = 50;
		*o++ = 4;
		v = htonl(d->requested);
		memcpy(o, &v, 4);
		o += 4;
	}
	if (d->server) {
		*o++ = 54;
		*o++ = 4;
		v = htonl(d->server);
		memcpy(o, &v, 4);
		o += 4;
	}
	*o = d->raw_cut ? 12 : 255;
	if (d->raw_cut) {
		m[299] = 200; /* an option that runs past the end */
		m[298] = 12;
		memset(o, 0, (size_t)(m + 298 - o));
	}
	return pkt_udp(c, f, d->ciaddr, 68, 0xffffffff, 67, m, sizeof(m));
}

static void dhcp(struct ctx *c, const char *name, struct dhcp d)
{
	uint8_t f[FRAME_MAX];

	log_begin(c, "dhcp %s", name);
	exchange(c, f, dhcp_build(c, f, &d));
}

void scenarios_dhcp(struct ctx *c)
{
	static const uint8_t second[6] = { 0x52, 0x54, 0, 0xaa, 0xbb, 0x01 },
			     third[6] = { 0x52, 0x54, 0, 0xaa, 0xbb, 2 };
	uint8_t f[FRAME_MAX];
	size_t n;

	dhcp(c, "discover", (struct dhcp){ .type = 1 });
	dhcp(c, "discover again", (struct dhcp){ .type = 1 });
	dhcp(c, "discover broadcast flag", (struct dhcp){ .type = 1, .flags = 0x8000 });
	dhcp(c, "request selecting",
	     (struct dhcp){ .type = 3, .requested = GUEST_IP, .server = HOST_IP });
	dhcp(c, "request init-reboot", (struct dhcp){ .type = 3, .requested = GUEST_IP });
	dhcp(c, "request renew", (struct dhcp){ .type = 3, .ciaddr = GUEST_IP });
	dhcp(c, "request wrong net", (struct dhcp){ .type = 3, .requested = 0xc0a80105 });
	dhcp(c, "request foreign lease", (struct dhcp){ .type = 3, .requested = 0x0a000299 });
	dhcp(c, "discover wish",
	     (struct dhcp){ .type = 1, .requested = 0x0a000214, .mac = second });
	dhcp(c, "second discover", (struct dhcp){ .type = 1, .mac = second });
	dhcp(c, "second request",
	     (struct dhcp){ .type = 3, .requested = 0x0a000214, .server = HOST_IP, .mac = second });
	dhcp(c, "third request taken",
	     (struct dhcp){ .type = 3, .requested = GUEST_IP, .server = HOST_IP, .mac = third });
	dhcp(c, "inform", (struct dhcp){ .type = 8, .ciaddr = GUEST_IP });
	dhcp(c, "decline",
	     (struct dhcp){ .type = 4, .requested = 0x0a000215, .server = HOST_IP, .mac = third });
	dhcp(c, "release",
	     (struct dhcp){ .type = 7, .ciaddr = 0x0a000214, .server = HOST_IP, .mac = second });
	dhcp(c, "bootp", (struct dhcp){ .no_magic = true });
	dhcp(c, "reply opcode", (struct dhcp){ .op = 2, .type = 1 });
	dhcp(c, "option cut", (struct dhcp){ .type = 1, .raw_cut = true });
	dhcp(c, "type 9", (struct dhcp){ .type = 9 });
	for (uint32_t len = 0; len < 240; len += 79) {
		log_begin(c, "dhcp short %u", len);
		memset(f, 1, sizeof(f));
		n = pkt_udp(c, f, 0, 68, 0xffffffff, 67, f + 1000, len);
		exchange(c, f, n);
	}
	dhcp(c, "first again",
	     (struct dhcp){ .type = 3, .requested = GUEST_IP, .server = HOST_IP });
}

/* --- ICMP --- */

static void echo(struct ctx *c, const char *name, uint32_t dst, uint32_t rest, size_t len)
{
	uint8_t f[FRAME_MAX], data[1472];

	log_begin(c, "icmp echo %s %zu", name, len);
	fill(data, len, (uint32_t)len);
	exchange(c, f, pkt_icmp(c, f, dst, 8, 0, rest, data, len));
}

static void icmp_bad(struct ctx *c)
{
	static const struct {
		uint8_t type, code;
	} kinds[] = { { 0, 0 },	 { 3, 1 },  { 5, 0 },  { 11, 0 }, { 13, 0 },
		      { 15, 0 }, { 17, 0 }, { 40, 0 }, { 8, 1 } };
	uint8_t f[FRAME_MAX], data[56];
	size_t n;

	fill(data, sizeof(data), 9);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		log_begin(c, "icmp type %u %u", kinds[i].type, kinds[i].code);
		exchange(c, f,
			 pkt_icmp(c, f, HOST_IP, kinds[i].type, kinds[i].code, 0x00010001, data,
				  56));
	}
	log_begin(c, "icmp bad checksum");
	n = pkt_icmp(c, f, HOST_IP, 8, 0, 1, data, 56);
	f[36] ^= 0x55;
	exchange(c, f, n);
	log_begin(c, "icmp ttl 1 to host");
	n = pkt_icmp(c, f, HOST_IP, 8, 0, 1, data, 56);
	f[22] = 1;
	pkt_fix_ip(f);
	exchange(c, f, n);
	for (uint32_t l = 0; l < 8; l += 3) {
		log_begin(c, "icmp cut %u", l);
		f[34] = 8;
		f[35] = f[36] = f[37] = 0;
		n = pkt_ip(c, f, GUEST_IP, HOST_IP, 1, l);
		exchange(c, f, n);
	}
}

static void ip_bad(struct ctx *c)
{
	static const struct {
		const char *name;
		int at, value;
	} edits[] = { { "version 6", 14, 0x65 },  { "ihl 4", 14, 0x44 },
		      { "ihl 15", 14, 0x4f },	  { "total 19", 17, 19 },
		      { "total long", 16, 0x7f }, { "protocol 41", 23, 41 },
		      { "protocol 255", 23, 255 } };
	uint8_t f[FRAME_MAX], data[56];
	size_t n;

	fill(data, sizeof(data), 9);
	for (size_t i = 0; i < sizeof(edits) / sizeof(edits[0]); i++) {
		log_begin(c, "ip %s", edits[i].name);
		n = pkt_icmp(c, f, HOST_IP, 8, 0, 1, data, 56);
		f[edits[i].at] = (uint8_t)edits[i].value;
		if (edits[i].at == 17)
			f[16] = 0;
		if ((f[14] & 15) >= 5 && (f[14] & 15) * 4u + 14 <= n)
			pkt_fix_ip(f);
		exchange(c, f, n);
	}
	log_begin(c, "ip bad header checksum");
	n = pkt_icmp(c, f, HOST_IP, 8, 0, 1, data, 56);
	f[24] ^= 1;
	exchange(c, f, n);
	for (size_t len = 15; len < 34; len += 6) {
		log_begin(c, "ip cut %zu", len);
		pkt_icmp(c, f, HOST_IP, 8, 0, 1, data, 56);
		exchange(c, f, len);
	}
	log_begin(c, "ip source outside");
	f[34] = 8;
	n = pkt_ip(c, f, 0xc0a80105, HOST_IP, 1, 8);
	exchange(c, f, n);
}

void scenarios_icmp(struct ctx *c)
{
	static const size_t sizes[] = { 0, 1, 7, 8, 56, 100, 1000, 1472 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		echo(c, "host", HOST_IP, 0x12340000u + (uint32_t)i, sizes[i]);
		echo(c, "dns", DNS_IP, 0x43210000u + (uint32_t)i, sizes[i]);
	}
	echo(c, "own address", GUEST_IP, 1, 56);
	echo(c, "nobody", 0x0a000263, 1, 56);
	echo(c, "broadcast", 0x0a0002ff, 1, 56);
	icmp_bad(c);
	ip_bad(c);
}

/* --- UDP --- */

/* One datagram to a host's socket; what the host saw, and what its answers look like to the guest.
 */
static void udp_round(struct ctx *c, const char *name, int fd, uint32_t dst, uint16_t dport,
		      uint16_t sport, size_t len, int answers)
{
	uint8_t f[FRAME_MAX], data[1472], got[2048];
	struct sockaddr_in from;
	socklen_t alen = sizeof(from);
	ssize_t n;

	log_begin(c, "udp %s %zu x%d", name, len, answers);
	fill(data, len, (uint32_t)len + 3);
	stack_input(c->stack, f, pkt_udp(c, f, GUEST_IP, sport, dst, dport, data, len));
	run_quiet(c);
	n = recvfrom(fd, got, sizeof(got), 0, (struct sockaddr *)&from, &alen);
	log_field(c, "host.got", "%zd %08x", n, n > 0 ? data_hash(got, (size_t)n) : 0);
	if (n >= 0)
		log_field(c, "host.from", "%08x", ntohl(from.sin_addr.s_addr));
	for (int i = 0; n >= 0 && i < answers; i++) {
		got[0] = (uint8_t)i;
		sendto(fd, got, n ? (size_t)n : (size_t)i, 0, (struct sockaddr *)&from, alen);
	}
	run_quiet(c);
	log_replies(c);
}

static void udp_bad(struct ctx *c, int fd)
{
	static const struct {
		const char *name;
		uint32_t src, dst;
		uint16_t sport, dport;
	} odd[] = { { "closed port", GUEST_IP, HOST_IP, 4000, 4999 },
		    { "port 0", GUEST_IP, HOST_IP, 4001, 0 },
		    { "from port 0", GUEST_IP, HOST_IP, 0, 4100 },
		    { "from nowhere", 0, HOST_IP, 0, 4100 },
		    { "net broadcast", GUEST_IP, 0x0a0002ff, 4002, 4100 },
		    { "to nobody", GUEST_IP, 0x0a000277, 4003, 4100 },
		    { "to itself", GUEST_IP, GUEST_IP, 4004, 4100 },
		    { "to class E", GUEST_IP, 0xf0000001, 4005, 4100 } };
	uint8_t f[FRAME_MAX], data[64], got[64];
	size_t n;

	fill(data, sizeof(data), 77);
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		log_begin(c, "udp %s", odd[i].name);
		exchange(c, f,
			 pkt_udp(c, f, odd[i].src, odd[i].sport, odd[i].dst, odd[i].dport, data,
				 32));
		log_field(c, "host.got", "%zd", recv(fd, got, sizeof(got), 0));
	}
	log_begin(c, "udp bad checksum");
	n = pkt_udp(c, f, GUEST_IP, 4100, HOST_IP, 4100, data, 32);
	f[40] ^= 0x11;
	exchange(c, f, n);
	log_field(c, "host.got", "%zd", recv(fd, got, sizeof(got), 0));
	log_begin(c, "udp no checksum");
	n = pkt_udp(c, f, GUEST_IP, 4101, HOST_IP, 4100, data, 32);
	f[40] = f[41] = 0;
	exchange(c, f, n);
	log_field(c, "host.got", "%zd", recv(fd, got, sizeof(got), 0));
	for (int v = 0; v < 3; v++) {
		static const uint16_t lens[3] = { 7, 0, 200 };

		log_begin(c, "udp length %u", lens[v]);
		n = pkt_udp(c, f, GUEST_IP, 4102, HOST_IP, 4100, data, 32);
		put16(f + 38, lens[v]);
		put16(f + 40, 0);
		exchange(c, f, n);
		log_field(c, "host.got", "%zd", recv(fd, got, sizeof(got), 0));
	}
	for (uint32_t l = 0; l < 8; l += 4) {
		log_begin(c, "udp cut %u", l);
		n = pkt_ip(c, f, GUEST_IP, HOST_IP, 17, l);
		exchange(c, f, n);
	}
}

/*
 * Fragments of one datagram: offsets in bytes. None arrives out of order, since libslirp 4.7
 * crashes on that; tests/unit has those cases.
 */
static void udp_fragments(struct ctx *c, int fd)
{
	static const struct {
		const char *name;
		int n;
		struct {
			uint16_t off, len;
			bool more;
		} part[4];
	} cases[] = {
		{ "in order", 2, { { 0, 1000, true }, { 1000, 1008, false } } },
		{ "three", 3, { { 0, 800, true }, { 800, 800, true }, { 1600, 408, false } } },
		{ "duplicate", 3, { { 0, 1000, true }, { 0, 1000, true }, { 1000, 1008, false } } },
		{ "hole", 2, { { 0, 800, true }, { 1600, 408, false } } }
	};
	uint8_t f[FRAME_MAX], whole[2100], got[4096];
	ssize_t n;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint16_t id = (uint16_t)(0x7000 + i);

		log_begin(c, "udp fragments %s", cases[i].name);
		fill(whole, sizeof(whole), 1234);
		put16(whole, 4200);
		put16(whole + 2, 4100);
		put16(whole + 4, 2008);
		put16(whole + 6, 0);
		for (int k = 0; k < cases[i].n; k++) {
			size_t flen;

			memcpy(f + 34, whole + cases[i].part[k].off, cases[i].part[k].len);
			flen = pkt_ip(c, f, GUEST_IP, HOST_IP, 17, cases[i].part[k].len);
			put16(f + 18, id);
			put16(f + 20,
			      cases[i].part[k].off / 8u | (cases[i].part[k].more ? 0x2000u : 0));
			pkt_fix_ip(f);
			stack_input(c->stack, f, flen);
		}
		run_quiet(c);
		n = recv(fd, got, sizeof(got), 0);
		log_field(c, "host.got", "%zd %08x", n, n > 0 ? data_hash(got, (size_t)n) : 0);
		log_replies(c);
	}
}

static void udp_dns(struct ctx *c)
{
	static const uint8_t query[] = { 0xab, 0xcd, 1,	  0,   0,   1,	 0, 0, 0, 0, 0,
					 0,    4,    'h', 'o', 's', 't', 0, 0, 1, 0, 1 };
	int fd = host_udp(53);
	uint8_t f[FRAME_MAX], got[512];
	struct sockaddr_in from;
	socklen_t alen = sizeof(from);
	ssize_t n;

	for (uint16_t i = 0; i < 4; i++) {
		log_begin(c, "dns query %u", i);
		stack_input(c->stack, f,
			    pkt_udp(c, f, GUEST_IP, (uint16_t)(5300 + i), DNS_IP, 53, query,
				    sizeof(query)));
		run_quiet(c);
		n = recvfrom(fd, got, sizeof(got), 0, (struct sockaddr *)&from, &alen);
		log_field(c, "host.got", "%zd %08x", n, n > 0 ? data_hash(got, (size_t)n) : 0);
		if (n > 0) {
			got[2] |= 0x80;
			sendto(fd, got, (size_t)n, 0, (struct sockaddr *)&from, alen);
		}
		run_quiet(c);
		log_replies(c);
	}
	close(fd);
	log_begin(c, "dns no server");
	exchange(c, f, pkt_udp(c, f, GUEST_IP, 5310, DNS_IP, 53, query, sizeof(query)));
	log_begin(c, "dns other port");
	exchange(c, f, pkt_udp(c, f, GUEST_IP, 5311, DNS_IP, 5353, query, sizeof(query)));
}

void scenarios_udp(struct ctx *c)
{
	static const size_t sizes[] = { 0, 1, 2, 63, 512, 1000, 1471, 1472 };
	int fd = host_udp(4100);

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		udp_round(c, "echo", fd, HOST_IP, 4100, (uint16_t)(3000 + i), sizes[i], 1);
	udp_round(c, "same port again", fd, HOST_IP, 4100, 3000, 99, 1);
	udp_round(c, "answers", fd, HOST_IP, 4100, 3100, 40, 4);
	udp_round(c, "no answer", fd, HOST_IP, 4100, 3101, 40, 0);
	udp_round(c, "loopback itself", fd, 0x7f000001, 4100, 3102, 40, 1);
	udp_bad(c, fd);
	udp_fragments(c, fd);
	close(fd);
	udp_dns(c);
}
