/* SPDX-License-Identifier: BSD-3-Clause */
/* IPv6 exchanges: neighbour discovery, router advertisements, DHCPv6, echo, UDP, TCP, TFTP. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "diff.h"

#define LL "fe80::5054:ff:fe12:3456"
#define GLOBAL "fec0::5054:ff:fe12:3456"
#define L4 54

enum { RS = 133, NS = 135, NA = 136 };

/* A neighbour message in @f behind the headers; the payload's length. */
static size_t neighbour(const struct ctx *c, uint8_t *f, uint8_t type, uint8_t flags,
			const char *target, uint8_t option)
{
	uint8_t *m = f + L4;

	memset(m, 0, 32);
	m[0] = type;
	m[4] = flags;
	inet_pton(AF_INET6, target, m + 8);
	if (!option)
		return 24;
	m[24] = option;
	m[25] = 1;
	memcpy(m + 26, c->mac, 6);
	return 32;
}

static void asks(struct ctx *c, const char *what, const char *src, const char *dst,
		 const char *target, uint8_t hops)
{
	uint8_t f[FRAME_MAX];
	size_t len = neighbour(c, f, NS, 0, target, strcmp(src, "::") ? 1 : 0);

	log_begin(c, "ns %s", what);
	exchange(c, f, pkt6(c, f, src, dst, IPPROTO_ICMPV6, hops, len));
}

static void neighbours(struct ctx *c)
{
	static const char *const targets[] = { "fec0::2", "fec0::3", "fe80::2",	    "fe80::3",
					       "fec0::4", "fe80::4", "2001:db8::1", GLOBAL };
	uint8_t f[FRAME_MAX];
	size_t len;

	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		asks(c, targets[i], GLOBAL, "ff02::1:ff00:2", targets[i], 255);
		asks(c, targets[i], LL, "ff02::1:ff00:2", targets[i], 255);
	}
	asks(c, "unicast", GLOBAL, "fec0::2", "fec0::2", 255);
	asks(c, "duplicate of the host", "::", "ff02::1:ff00:2", "fec0::2", 255);
	asks(c, "duplicate of nobody", "::", "ff02::1:ff12:3456", GLOBAL, 255);
	asks(c, "hop limit 254", GLOBAL, "ff02::1:ff00:2", "fec0::2", 254);
	asks(c, "multicast target", GLOBAL, "ff02::1:ff00:2", "ff02::1", 255);
	for (uint8_t n = 0; n < 3; n++) {
		log_begin(c, "ns option length %u", n);
		len = neighbour(c, f, NS, 0, "fec0::2", 1);
		f[L4 + 25] = n;
		exchange(c, f, pkt6(c, f, GLOBAL, "ff02::1:ff00:2", IPPROTO_ICMPV6, 255, len));
	}
	for (size_t cut = 8; cut < 24; cut += 4) {
		log_begin(c, "ns cut %zu", cut);
		neighbour(c, f, NS, 0, "fec0::2", 0);
		exchange(c, f, pkt6(c, f, GLOBAL, "ff02::1:ff00:2", IPPROTO_ICMPV6, 255, cut));
	}
	log_begin(c, "na");
	len = neighbour(c, f, NA, 0x60, GLOBAL, 2);
	exchange(c, f, pkt6(c, f, GLOBAL, "fec0::2", IPPROTO_ICMPV6, 255, len));
}

static void routers(struct ctx *c)
{
	uint8_t f[FRAME_MAX], *rs = f + L4;

	for (int i = 0; i < 4; i++) {
		static const struct {
			const char *name, *src;
			size_t len;
			uint8_t hops;
		} kinds[4] = { { "plain", LL, 8, 255 },
			       { "with a MAC", LL, 16, 255 },
			       { "hop limit 64", LL, 8, 64 },
			       { "cut", LL, 12, 255 } };

		log_begin(c, "rs %s", kinds[i].name);
		memset(rs, 0, 16);
		rs[0] = RS;
		rs[8] = rs[9] = 1;
		memcpy(rs + 10, c->mac, 6);
		exchange(c, f,
			 pkt6(c, f, kinds[i].src, "ff02::2", IPPROTO_ICMPV6, kinds[i].hops,
			      kinds[i].len));
	}
}

static void dhcp6(struct ctx *c, const char *name, uint8_t type, const void *options, size_t n)
{
	uint8_t f[FRAME_MAX], m[256] = { type, 1, 2, 3 };

	memcpy(m + 4, "\0\1\0\12\0\3\0\1", 8);
	memcpy(m + 12, c->mac, 6);
	memcpy(m + 18, options, n);
	log_begin(c, "dhcp6 %s", name);
	exchange(c, f, pkt6_udp(c, f, LL, 546, "ff02::1:2", 547, m, 18 + n));
}

static void configuration(struct ctx *c)
{
	static const uint8_t ia[] = "\0\3\0\14\0\0\0\1\0\0\0\0\0\0\0";

	dhcp6(c, "information: dns and boot", 11, "\0\6\0\4\0\27\0\73", 8);
	dhcp6(c, "information: dns", 11, "\0\6\0\2\0\27", 6);
	dhcp6(c, "information: search list", 11, "\0\6\0\2\0\30", 6);
	dhcp6(c, "information: nothing", 11, "\0\6\0\0", 4);
	dhcp6(c, "information: option cut", 11, "\0\6\0\4\0\27", 6);
	dhcp6(c, "solicit", 1, ia, sizeof(ia));
	dhcp6(c, "type 2", 2, ia, sizeof(ia));
	dhcp6(c, "type 13", 13, "", 0);
}

static void echo(struct ctx *c, const char *src, const char *dst, size_t len)
{
	uint8_t f[FRAME_MAX], *m = f + L4;

	memset(m, 0, 8);
	m[0] = 128;
	m[5] = 77;
	m[7] = (uint8_t)len;
	fill(m + 8, len, (uint32_t)len + 9);
	log_begin(c, "echo6 %s %zu", dst, len);
	exchange(c, f, pkt6(c, f, src, dst, IPPROTO_ICMPV6, 64, 8 + len));
}

static int host6_udp(uint16_t port)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6,
				  .sin6_port = htons(port),
				  .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (bind(fd, (struct sockaddr *)&a, sizeof(a)))
		printf("FAIL no UDP port %u on ::1\n", port);
	return fd;
}

static void udp(struct ctx *c, const char *src, const char *dst, size_t len)
{
	uint8_t f[FRAME_MAX], data[1452], got[2048];
	struct sockaddr_in6 from;
	socklen_t alen = sizeof(from);
	int fd = host6_udp(4600);
	ssize_t n;

	log_begin(c, "udp6 %s %zu", dst, len);
	fill(data, len, (uint32_t)len + 3);
	stack_input(c->stack, f, pkt6_udp(c, f, src, (uint16_t)(3000 + len), dst, 4600, data, len));
	run_quiet(c);
	n = recvfrom(fd, got, sizeof(got), 0, (struct sockaddr *)&from, &alen);
	log_field(c, "host.got", "%zd %08x", n, n > 0 ? data_hash(got, (size_t)n) : 0);
	if (n >= 0)
		sendto(fd, got, (size_t)n, 0, (struct sockaddr *)&from, alen);
	run_quiet(c);
	log_replies(c);
	close(fd);
}

/* A request, and the first acknowledgement: of block 0 if options were granted. */
static void tftp(struct ctx *c, const char *name, const void *request, size_t n, uint8_t block)
{
	uint8_t f[FRAME_MAX], ack[4] = { 0, 4, 0, block };

	log_begin(c, "tftp6 %s", name);
	exchange(c, f, pkt6_udp(c, f, GLOBAL, 2600, "fec0::2", 69, request, n));
	log_begin(c, "tftp6 %s acknowledged", name);
	exchange(c, f, pkt6_udp(c, f, GLOBAL, 2600, "fec0::2", 69, ack, 4));
}

static void tcp6_init(struct gtcp *t, uint16_t sport, uint16_t dport)
{
	gtcp_init(t, sport, 0, dport);
	t->src6 = GLOBAL;
	t->dst6 = "fec0::2";
	t->mss = 1440;
}

static void tcp(struct ctx *c)
{
	uint8_t data[3000], got[4096];
	struct sockaddr_in6 a = { .sin6_family = AF_INET6,
				  .sin6_port = htons(4700),
				  .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int l = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1, fd, n;
	struct gtcp t;

	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(l, (struct sockaddr *)&a, sizeof(a)) || listen(l, 4))
		printf("FAIL no TCP port 4700 on ::1\n");
	fill(data, sizeof(data), 5);
	tcp6_init(&t, 3700, 4701);
	log_begin(c, "tcp6 closed port");
	gtcp_send(c, &t, SYN, NULL, 0);
	tcp6_init(&t, 3701, 4700);
	log_begin(c, "tcp6 syn");
	gtcp_send(c, &t, SYN, NULL, 0);
	log_begin(c, "tcp6 to the host");
	gtcp_send(c, &t, ACK, NULL, 0);
	fd = host_accept(c, l);
	log_field(c, "accepted", "%s", fd >= 0 ? "yes" : "no");
	gtcp_send(c, &t, ACK | PSH, data, 1400);
	n = host_read(c, fd, got, sizeof(got));
	log_field(c, "host.got", "%d %08x", n, n > 0 ? data_hash(got, (size_t)n) : 0);
	log_begin(c, "tcp6 to the guest");
	n = (int)write(fd, data, sizeof(data));
	gtcp_follow(c, &t);
	log_begin(c, "tcp6 half-close by the guest");
	gtcp_send(c, &t, FIN | ACK, NULL, 0);
	log_field(c, "host.end", "%d", host_read(c, fd, got, sizeof(got)));
	log_begin(c, "tcp6 data after it, and the host's end");
	n = (int)write(fd, data, 100);
	close(fd);
	gtcp_follow(c, &t);
	log_begin(c, "tcp6 unknown connection");
	tcp6_init(&t, 3702, 4700);
	gtcp_send(c, &t, ACK, data, 10);
	close(l);
	(void)n;
}

void scenarios_v6(struct ctx *c)
{
	static const size_t sizes[] = { 0, 1, 56, 1000, 1452 - 8 };
	uint8_t f[FRAME_MAX];

	neighbours(c);
	routers(c);
	configuration(c);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		echo(c, GLOBAL, "fec0::2", sizes[i]);
		udp(c, GLOBAL, "fec0::2", sizes[i]);
	}
	echo(c, LL, "fe80::2", 56);
	echo(c, GLOBAL, "fec0::3", 56);
	echo(c, GLOBAL, "fec0::77", 56);
	log_begin(c, "udp6 closed port");
	exchange(c, f, pkt6_udp(c, f, GLOBAL, 2700, "fec0::2", 4999, "x", 1));
	tcp(c);
	tftp(c, "small", "\0\1small\0octet", 14, 1);
	tftp(c, "tsize", "\0\1small\0octet\0tsize\0000", 22, 0);
	tftp(c, "blksize", "\0\1big\0octet\0blksize\0001000", 25, 0);
	tftp(c, "missing", "\0\1nothing\0octet", 16, 1);
}
