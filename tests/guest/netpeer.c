/* SPDX-License-Identifier: BSD-3-Clause */
/* A small peer for guest tests, run on the host's side and inside guests: echo server and clients
 * that verify. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNS 64
#define MAX_DATAGRAM 65507
#define ANSWER_MS 5000 /* how long an answer may take on a slow machine before it counts as lost   \
			*/

static char buffer[MAX_DATAGRAM];
static char expected[MAX_DATAGRAM];

static int die(const char *what)
{
	fprintf(stderr, "netpeer: %s: %s\n", what, strerror(errno));
	exit(1);
}

union addr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* IPv4, or IPv6 with "%INTERFACE" behind it where that is needed. */
static union addr address(const char *host, const char *port)
{
	union addr a = { .in.sin_family = AF_INET };
	char plain[INET6_ADDRSTRLEN];
	const char *scope = strchr(host, '%');

	if (strchr(host, ':')) {
		a.in6.sin6_family = AF_INET6;
		a.in6.sin6_scope_id = scope ? if_nametoindex(scope + 1) : 0;
	}
	a.in.sin_port = htons((uint16_t)strtoul(port, NULL, 10)); /* at one place in both */
	snprintf(plain, sizeof(plain), "%.*s", scope ? (int)(scope - host) : (int)strlen(host),
		 host);
	if (inet_pton(a.sa.sa_family, plain,
		      a.sa.sa_family == AF_INET ? (void *)&a.in.sin_addr : &a.in6.sin6_addr) != 1) {
		errno = EINVAL;
		die(host);
	}
	return a;
}

static socklen_t length(const union addr *a)
{
	return a->sa.sa_family == AF_INET ? sizeof(a->in) : sizeof(a->in6);
}

/* Bytes that differ per message, so that an answer to another question does not pass for the right
 * one. */
static void fill(char *buf, size_t len, uint32_t seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1664525 + 1013904223;
		buf[i] = (char)(seed >> 24);
	}
}

static bool readable(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ms) > 0;
}

static void echo_datagram(int fd)
{
	union addr from;
	socklen_t len = sizeof(from);
	ssize_t n = recvfrom(fd, buffer, sizeof(buffer), 0, &from.sa, &len);

	if (n >= 0)
		sendto(fd, buffer, (size_t)n, 0, &from.sa, len);
}

/* True while the connection lives. */
static bool echo_bytes(int fd)
{
	ssize_t n = recv(fd, buffer, 4096, 0);

	return n > 0 && send(fd, buffer, (size_t)n, MSG_NOSIGNAL) == n;
}

static int cmd_echo(char **arg)
{
	union addr a = address(arg[0], arg[1]);
	struct pollfd p[MAX_CONNS + 2];
	int n = 2, one = 1;

	p[0] = (struct pollfd){ .fd = socket(a.sa.sa_family, SOCK_STREAM, 0), .events = POLLIN };
	p[1] = (struct pollfd){ .fd = socket(a.sa.sa_family, SOCK_DGRAM, 0), .events = POLLIN };
	setsockopt(p[0].fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	for (int i = 0; i < 2; i++) {
		if (bind(p[i].fd, &a.sa, length(&a)))
			die("bind");
	}
	if (listen(p[0].fd, MAX_CONNS))
		die("listen");
	while (poll(p, (nfds_t)n, -1) > 0) {
		for (int i = n - 1; i >= 2; i--) {
			if (p[i].revents && !echo_bytes(p[i].fd)) {
				close(p[i].fd);
				p[i] = p[--n];
			}
		}
		if (p[1].revents)
			echo_datagram(p[1].fd);
		if (p[0].revents && n < MAX_CONNS + 2) {
			int fd = accept(p[0].fd, NULL, NULL);

			if (fd >= 0)
				p[n++] = (struct pollfd){ .fd = fd, .events = POLLIN };
		}
	}
	return 1;
}

static int connect_to(const union addr *a)
{
	int fd = socket(a->sa.sa_family, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, &a->sa, length(a)))
		die("connect");
	return fd;
}

static bool exchange(int fd, size_t len, uint32_t seed)
{
	size_t got = 0;

	fill(expected, len, seed);
	if (send(fd, expected, len, MSG_NOSIGNAL) != (ssize_t)len)
		return false;
	while (got < len && readable(fd, ANSWER_MS)) {
		ssize_t n = recv(fd, buffer + got, len - got, 0);

		if (n <= 0)
			return false;
		got += (size_t)n;
	}
	return got == len && !memcmp(buffer, expected, len);
}

/* connects ADDR PORT COUNT: one connection after the other, each echoed once and closed. */
static int cmd_connects(char **arg)
{
	union addr a = address(arg[0], arg[1]);
	unsigned long count = strtoul(arg[2], NULL, 10);

	for (unsigned long i = 0; i < count; i++) {
		int fd = connect_to(&a);

		if (!exchange(fd, 100 + i % 1000, (uint32_t)i)) {
			fprintf(stderr, "netpeer: connection %lu was not echoed\n", i);
			return 1;
		}
		close(fd);
	}
	printf("%lu connections echoed\n", count);
	return 0;
}

/* udp ADDR PORT COUNT SIZE: each datagram is asked again up to 3 times, since UDP may lose. */
static int cmd_udp(char **arg)
{
	union addr a = address(arg[0], arg[1]);
	unsigned long count = strtoul(arg[2], NULL, 10), size = strtoul(arg[3], NULL, 10),
		      again = 0;
	int fd = socket(a.sa.sa_family, SOCK_DGRAM, 0);

	if (size > MAX_DATAGRAM || connect(fd, &a.sa, length(&a)))
		die("udp");
	for (unsigned long i = 0; i < count; i++) {
		bool good = false;

		fill(expected, size, (uint32_t)i);
		for (int try = 0; try < 3 && !good; try++, again++) {
			send(fd, expected, size, 0);
			while (!good && readable(fd, ANSWER_MS / 5)) {
				ssize_t n = recv(fd, buffer, sizeof(buffer), 0);

				good = n == (ssize_t)size && !memcmp(buffer, expected, size);
				if (n < 0)
					break;
			}
		}
		if (!good) {
			fprintf(stderr, "netpeer: datagram %lu of %lu bytes was not echoed\n", i,
				size);
			return 1;
		}
	}
	printf("%lu datagrams of %lu bytes echoed, %lu asked again\n", count, size, again - count);
	return 0;
}

/* hold ADDR PORT: keeps one echoed connection busy until it ends; says how, and after how many
 * exchanges. */
static int cmd_hold(char **arg)
{
	union addr a = address(arg[0], arg[1]);
	struct timespec pause = { .tv_nsec = 50 * 1000 * 1000 };
	int fd = connect_to(&a);
	unsigned long n = 0;
	ssize_t got;

	printf("connected\n");
	fflush(stdout);
	for (;;) {
		if (send(fd, "x", 1, MSG_NOSIGNAL) != 1)
			break;
		got = recv(fd, buffer, 1, 0);
		if (got != 1) {
			if (!got)
				errno = 0;
			break;
		}
		n++;
		nanosleep(&pause, NULL);
	}
	printf("ended after %lu exchanges: %s\n", n, errno ? strerror(errno) : "closed");
	return 0;
}

/* What stands at offset @off of every stream that is poured; a byte too many, too few or displaced
 * shows. */
static uint64_t word_at(uint64_t off)
{
	return (off / 8 + 1) * 0x9e3779b97f4a7c15;
}

#define POUR_MS 20 /* between two portions of a limited rate */

static void pour_into(int fd, size_t rate)
{
	static uint64_t words[8192];
	size_t portion = rate ? rate * POUR_MS / 1000 / 8 * 8 : sizeof(words);
	uint64_t off = 0, sent = 0;

	if (!portion || portion > sizeof(words))
		portion = sizeof(words);
	/* Until the other side closes its direction. */
	while (!readable(fd, rate ? POUR_MS : 0)) {
		const char *from = (const char *)words;
		ssize_t n;

		if (sent == off) {
			for (size_t i = 0; i < portion / 8; i++, off += 8)
				words[i] = word_at(off);
		}
		n = send(fd, from + portion - (off - sent), off - sent, MSG_NOSIGNAL);
		if (n <= 0)
			break;
		sent += (uint64_t)n;
	}
	shutdown(fd, SHUT_WR);
	printf("poured %llu bytes\n", (unsigned long long)sent);
	fflush(stdout);
}

/* pour ADDR PORT RATE: whoever connects is sent an endless stream, RATE bytes a second; 0: no
 * limit. */
static int cmd_pour(char **arg)
{
	union addr a = address(arg[0], arg[1]);
	int fd = socket(a.sa.sa_family, SOCK_STREAM, 0), one = 1, conn;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, &a.sa, length(&a)) || listen(fd, MAX_CONNS))
		die("pour");
	signal(SIGCHLD, SIG_IGN);
	while ((conn = accept(fd, NULL, NULL)) >= 0) {
		if (fork() == 0) {
			pour_into(conn, strtoul(arg[2], NULL, 10));
			exit(0);
		}
		close(conn);
	}
	return die("accept");
}

/* True if @len bytes at @off of the stream are as they were poured. */
static bool as_poured(const char *buf, size_t len, uint64_t off)
{
	size_t i = 0;
	uint64_t w;

	for (; i < len && ((off + i) % 8 || len - i < 8); i++) {
		w = word_at(off + i);
		if (buf[i] != ((const char *)&w)[(off + i) % 8])
			return false;
	}
	for (; len - i >= 8; i += 8) {
		w = word_at(off + i);
		if (memcmp(buf + i, &w, 8))
			return false;
	}
	return i == len || as_poured(buf + i, len - i, off + i);
}

/* drain ADDR PORT FILE: takes what is poured until FILE exists, and says how it ended. */
static int cmd_drain(char **arg)
{
	union addr a = address(arg[0], arg[1]);
	bool asked = false;
	uint64_t got = 0;
	int fd = connect_to(&a);
	ssize_t n;

	printf("connected\n");
	fflush(stdout);
	for (;;) {
		if (!asked && access(arg[2], F_OK) == 0) {
			asked = true;
			shutdown(fd, SHUT_WR);
		}
		if (!readable(fd, 100))
			continue;
		n = recv(fd, buffer, sizeof(buffer), 0);
		if (n <= 0)
			break;
		if (!as_poured(buffer, (size_t)n, got)) {
			printf("wrong bytes between %llu and %llu\n", (unsigned long long)got,
			       (unsigned long long)got + (unsigned long long)n);
			return 1;
		}
		got += (uint64_t)n;
	}
	printf("drained %llu bytes: %s\n", (unsigned long long)got, n ? strerror(errno) : "closed");
	return 0;
}

/* join GROUP SECONDS: a member of a multicast group, so that the NIC's filter has its address. */
static int cmd_join(char **arg)
{
	struct ip_mreqn m = { .imr_ifindex = 2 };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	m.imr_multiaddr = address(arg[0], "0").in.sin_addr;
	if (setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)))
		die("join");
	printf("joined\n");
	fflush(stdout);
	sleep((unsigned int)strtoul(arg[1], NULL, 10));
	return 0;
}

/* frames IFACE MAC VLAN COUNT: raw frames of an experimental type, tagged unless VLAN is 0. */
static int cmd_frames(char **arg)
{
	uint8_t f[64] = { [6] = 0x02, [11] = 0x01 };
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
				  .sll_ifindex = (int)if_nametoindex(arg[0]) };
	unsigned long vlan = strtoul(arg[2], NULL, 10), count = strtoul(arg[3], NULL, 10);
	int fd = socket(AF_PACKET, SOCK_RAW, 0), type = 12;

	if (sscanf(arg[1], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", f, f + 1, f + 2, f + 3, f + 4, f + 5) !=
	    6)
		return 2;
	if (vlan) {
		f[type++] = 0x81;
		f[type++] = 0;
		f[type++] = (uint8_t)(vlan >> 8);
		f[type++] = (uint8_t)vlan;
	}
	f[type++] = 0x88; /* 0x88b5: for local experiments */
	f[type] = 0xb5;
	while (count--) {
		if (sendto(fd, f, sizeof(f), 0, (struct sockaddr *)&to, sizeof(to)) < 0)
			return die(arg[0]);
	}
	return 0;
}

static const struct command {
	const char *name, *args;
	int n_args;
	int (*run)(char **arg);
} commands[] = {
	{ "echo", "ADDR PORT", 2, cmd_echo },
	{ "connects", "ADDR PORT COUNT", 3, cmd_connects },
	{ "udp", "ADDR PORT COUNT SIZE", 4, cmd_udp },
	{ "hold", "ADDR PORT", 2, cmd_hold },
	{ "pour", "ADDR PORT RATE", 3, cmd_pour },
	{ "drain", "ADDR PORT FILE", 3, cmd_drain },
	{ "join", "GROUP SECONDS", 2, cmd_join },
	{ "frames", "IFACE MAC VLAN COUNT", 4, cmd_frames },
};

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (argc > 1 && !strcmp(argv[1], commands[i].name) &&
		    argc - 2 == commands[i].n_args)
			return commands[i].run(argv + 2);
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(stderr, "usage: netpeer %s %s\n", commands[i].name, commands[i].args);
	return 2;
}
