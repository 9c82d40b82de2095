/* SPDX-License-Identifier: BSD-3-Clause */
/* Streams of known bytes over TCP: both ends check each byte, and that it goes on. */

/*
 *   tcp_bulk serve ADDR PORT
 *   tcp_bulk get HOST PORT BYTES     from the server
 *   tcp_bulk put HOST PORT BYTES     to it; it says at the end whether they were right
 *   tcp_bulk many HOST PORT N BYTES  N connections at once, every other one a put
 *
 * A client ends with 0 when every byte came, in order and right, and prints "ok BYTES pause MS":
 * the longest time without progress of any connection. After PATIENCE of that it gives up with 1.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 30000	/* ms */
#define PATTERN 1048573 /* a prime: no buffer size divides it */
#define CHUNK 262144
#define MAX_FDS 65536

enum state { ASKING, SENDING, RECEIVING, VERDICT, DONE };

struct conn {
	enum state state;
	bool listening, client;
	uint64_t left, pos;
	uint64_t moved; /* ms, of the last progress */
};

struct request {
	uint64_t put, bytes;
};

static uint8_t pattern[PATTERN + CHUNK], data[CHUNK];
static struct conn conns[MAX_FDS];
static int ep;
static uint64_t n_open, pause_ms;

__attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "tcp_bulk: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void fill_pattern(void)
{
	uint32_t seed = 1;

	for (size_t i = 0; i < PATTERN; i++) {
		seed = seed * 1664525 + 1013904223;
		pattern[i] = (uint8_t)(seed >> 24);
	}
	memcpy(pattern + PATTERN, pattern, CHUNK);
}

static struct sockaddr_in address(const char *host, const char *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons((uint16_t)strtoul(port, NULL, 10)) };

	if (inet_pton(AF_INET, host, &a.sin_addr) != 1) {
		errno = EINVAL;
		die(host);
	}
	return a;
}

static void watch(int fd, bool out)
{
	struct epoll_event e = { .events = out ? EPOLLOUT : EPOLLIN, .data.fd = fd };

	if (epoll_ctl(ep, EPOLL_CTL_MOD, fd, &e) < 0 && epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) < 0)
		die("epoll_ctl");
}

static void finish(int fd)
{
	conns[fd].state = DONE;
	close(fd);
	n_open--;
}

/* The other end has gone, or sent what it must not: fatal for a client, the end for a server. */
static void broken(int fd, const char *what)
{
	if (conns[fd].client) {
		fprintf(stderr, "tcp_bulk: %s after %llu bytes: %s\n", what,
			(unsigned long long)conns[fd].pos, strerror(errno));
		exit(1);
	}
	finish(fd);
}

static void progress(struct conn *c, ssize_t n)
{
	uint64_t t = now_ms();

	if (t - c->moved > pause_ms)
		pause_ms = t - c->moved;
	c->moved = t;
	c->pos += (uint64_t)n;
	c->left -= (uint64_t)n;
}

/* What follows when a side has all of it. */
static void ended(int fd)
{
	struct conn *c = &conns[fd];

	if (c->state == SENDING && c->client) {
		c->state = VERDICT;
		watch(fd, false);
	} else if (c->state == SENDING) {
		shutdown(fd, SHUT_WR);
		c->state = VERDICT; /* until the client closes */
		watch(fd, false);
	} else if (c->client) {
		finish(fd);
	} else if (write(fd, "k", 1) == 1) {
		c->state = VERDICT;
	} else {
		broken(fd, "write");
	}
}

static void send_some(int fd)
{
	struct conn *c = &conns[fd];
	size_t len = c->left < CHUNK ? (size_t)c->left : CHUNK;
	ssize_t n = write(fd, pattern + c->pos % PATTERN, len);

	if (n < 0 && errno != EAGAIN) {
		broken(fd, "write");
		return;
	}
	if (n > 0)
		progress(c, n);
	if (!c->left)
		ended(fd);
}

static void receive_some(int fd)
{
	struct conn *c = &conns[fd];
	size_t len = c->left < CHUNK ? (size_t)c->left : CHUNK;
	ssize_t n = read(fd, data, len);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		broken(fd, n ? "read" : "end");
		return;
	}
	if (memcmp(data, pattern + c->pos % PATTERN, (size_t)n)) {
		errno = EILSEQ;
		broken(fd, "wrong bytes");
		return;
	}
	progress(c, n);
	if (!c->left)
		ended(fd);
}

static void ask(int fd)
{
	struct conn *c = &conns[fd];
	struct request r = { c->pos, c->left };

	if (write(fd, &r, sizeof(r)) != sizeof(r))
		die("connect");
	c->state = c->pos ? SENDING : RECEIVING;
	c->pos = 0;
	c->moved = now_ms();
	watch(fd, c->state == SENDING);
}

static void asked(int fd)
{
	struct conn *c = &conns[fd];
	struct request r;

	if (read(fd, &r, sizeof(r)) != sizeof(r)) {
		broken(fd, "no request");
		return;
	}
	c->left = r.bytes;
	c->state = r.put ? RECEIVING : SENDING;
	watch(fd, !r.put);
}

static void verdict(int fd)
{
	char c;
	ssize_t n = read(fd, &c, 1);

	if (n < 0 && errno == EAGAIN)
		return;
	if (conns[fd].client && n != 1)
		broken(fd, "no verdict");
	else
		finish(fd);
}

static void accept_all(int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		if (fd >= MAX_FDS) {
			close(fd);
			continue;
		}
		conns[fd] = (struct conn){ .state = ASKING, .moved = now_ms() };
		n_open++;
		watch(fd, false);
	}
}

static void ready(int fd)
{
	struct conn *c = &conns[fd];

	if (c->listening)
		accept_all(fd);
	else if (c->state == ASKING)
		c->client ? ask(fd) : asked(fd);
	else if (c->state == SENDING)
		send_some(fd);
	else if (c->state == RECEIVING)
		receive_some(fd);
	else if (c->state == VERDICT)
		verdict(fd);
}

static void check_patience(void)
{
	uint64_t t = now_ms();

	for (int fd = 0; fd < MAX_FDS; fd++)
		if (conns[fd].client && conns[fd].state != DONE && t - conns[fd].moved > PATIENCE) {
			errno = ETIMEDOUT;
			broken(fd, "no progress");
		}
}

static void run(bool server)
{
	uint64_t looked = now_ms();

	while (server || n_open) {
		struct epoll_event e[256];
		int n = epoll_wait(ep, e, 256, 1000);

		for (int i = 0; i < n; i++)
			ready(e[i].data.fd);
		if (!server && now_ms() - looked > 1000) {
			check_patience();
			looked = now_ms();
		}
	}
}

static void serve(const char *host, const char *port)
{
	struct sockaddr_in a = address(host, port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 4096) < 0)
		die("listen");
	conns[fd].listening = true;
	watch(fd, false);
	run(true);
}

static void begin(const char *host, const char *port, bool put, uint64_t bytes)
{
	struct sockaddr_in a = address(host, port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || fd >= MAX_FDS)
		die("socket");
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 && errno != EINPROGRESS)
		die("connect");
	/* pos says which way until the request is sent */
	conns[fd] = (struct conn){
		.state = ASKING, .client = true, .left = bytes, .pos = put, .moved = now_ms()
	};
	n_open++;
	watch(fd, true);
}

int main(int argc, char **argv)
{
	struct rlimit r;
	uint64_t n = 1, bytes, i;

	if (argc < 4)
		return fprintf(stderr, "usage: see the head of tcp_bulk.c\n"), 2;
	signal(SIGPIPE, SIG_IGN);
	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
	fill_pattern();
	ep = epoll_create1(EPOLL_CLOEXEC);
	if (!strcmp(argv[1], "serve"))
		serve(argv[2], argv[3]);
	if (!strcmp(argv[1], "many"))
		n = strtoull(argv[4], NULL, 10);
	bytes = strtoull(argv[argc - 1], NULL, 10);
	for (i = 0; i < n; i++)
		begin(argv[2], argv[3], n > 1 ? i & 1 : !strcmp(argv[1], "put"), bytes);
	run(false);
	printf("ok %llu pause %llu\n", (unsigned long long)(n * bytes),
	       (unsigned long long)pause_ms);
	return 0;
}
