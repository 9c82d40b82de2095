/* SPDX-License-Identifier: BSD-3-Clause */
/* What iperf3 does not measure: connections a second, round trips, datagrams by rate, idle flows.
 */

/*
 *   user_load serve PORT                    the far end of all below, until it is killed
 *   user_load rr HOST PORT SECONDS          "median p99 n": ns of a round trip of 64 bytes, TCP
 *   user_load crr HOST PORT SECONDS         connections a second: connect, 64 bytes each way, close
 *   user_load udp out|in HOST PORT SECONDS SIZE RATE   "sent received"
 *   user_load idle HOST PORT N              opens N connections, says "open N", waits to be killed
 *
 * The server has PORT for echoes and connections that stay, PORT+1 for one answer and the end,
 * PORT+2 to say "sent received" of its datagrams since it was last asked, and UDP on PORT (a sink)
 * and PORT+3 (asks for a stream of datagrams). Errors end the program with 1 and a line.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MSG 64
#define N_CLIENTS 8 /* processes of crr */
#define BATCH 32
#define MAX_SAMPLES 2000000
#define S_NS UINT64_C(1000000000)

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * S_NS + (uint64_t)t.tv_nsec;
}

__attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "user_load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct sockaddr_in address(const char *host, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

	if (inet_pton(AF_INET, host, &a.sin_addr) != 1) {
		errno = EINVAL;
		die(host);
	}
	return a;
}

static int open_to(const char *host, int port, int type)
{
	struct sockaddr_in a = address(host, port);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		die("connect");
	if (type == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static int listen_on(int port, int type)
{
	struct sockaddr_in a = address("0.0.0.0", port);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1, size = 8 << 20;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (type == SOCK_DGRAM) {
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
		setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	}
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		die("bind");
	if (type == SOCK_STREAM && listen(fd, 4096) < 0)
		die("listen");
	return fd;
}

/* The hard limit is what idle flows need. */
static void raise_files(void)
{
	struct rlimit r;

	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
}

/* --- datagrams --- */

/* @rate datagrams a second for @seconds, in small bursts; how many the kernel took. */
static uint64_t blast(int fd, const struct sockaddr_in *to, uint32_t seconds, uint32_t size,
		      uint32_t rate)
{
	static char data[2048];
	struct iovec iov = { data, size };
	struct mmsghdr m[BATCH];
	uint64_t begin = now_ns(), end = begin + seconds * S_NS, sent = 0, skipped = 0;

	for (int i = 0; i < BATCH; i++)
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &iov,
						.msg_iovlen = 1,
						.msg_name = (void *)(uintptr_t)to,
						.msg_namelen = to ? sizeof(*to) : 0 };
	for (uint64_t t = begin; t < end; t = now_ns()) {
		uint64_t due = (t - begin) * rate / S_NS - skipped;
		int n = due > sent ? (int)(due - sent) : 0;

		/* Who was not let run does not make up for it by a flood. */
		if (n > BATCH) {
			skipped += (uint64_t)(n - BATCH);
			n = BATCH;
		}

		if (!n) {
			struct timespec nap = { .tv_nsec = 200000 };

			nanosleep(&nap, NULL);
			continue;
		}
		n = sendmmsg(fd, m, (unsigned int)n, 0);
		if (n > 0)
			sent += (uint64_t)n;
		else if (errno != EAGAIN && errno != ENOBUFS && errno != ECONNREFUSED)
			die("sendmmsg");
	}
	return sent;
}

/* Reads all there is; how many. */
static uint64_t sink(int fd)
{
	static char data[BATCH][2048];
	static struct iovec iov[BATCH];
	static struct mmsghdr m[BATCH];
	uint64_t got = 0;
	int n;

	for (int i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){ data[i], sizeof(data[i]) };
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &iov[i], .msg_iovlen = 1 };
	}
	while ((n = recvmmsg(fd, m, BATCH, MSG_DONTWAIT, NULL)) > 0)
		got += (uint64_t)n;
	return got;
}

/* --- server --- */

struct server {
	int ep;
	int echo, once, tell, udp, ask; /* listening */
	uint64_t sent, received;
	uint8_t *kinds; /* by descriptor: 1 echo, 2 once */
};

static void server_watch(struct server *s, int fd)
{
	struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };

	if (epoll_ctl(s->ep, EPOLL_CTL_ADD, fd, &e) < 0)
		die("epoll_ctl");
}

static void server_accept(struct server *s, int listener)
{
	int fd, one = 1;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		if (listener == s->tell) {
			dprintf(fd, "%llu %llu\n", (unsigned long long)s->sent,
				(unsigned long long)(s->received + sink(s->udp)));
			s->sent = s->received = 0;
			close(fd);
			continue;
		}
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		s->kinds[fd] = listener == s->echo ? 1 : 2;
		server_watch(s, fd);
	}
}

static void server_data(struct server *s, int fd)
{
	char data[4096];
	ssize_t n = read(fd, data, sizeof(data));

	if (n < 0 && errno == EAGAIN)
		return;
	if (n > 0 && write(fd, data, (size_t)n) == n && s->kinds[fd] == 1)
		return;
	close(fd);
}

static void server_ask(struct server *s)
{
	uint32_t want[3]; /* seconds, size, rate */
	struct sockaddr_in from;
	socklen_t len = sizeof(from);

	if (recvfrom(s->ask, want, sizeof(want), 0, (struct sockaddr *)&from, &len) == sizeof(want))
		s->sent += blast(s->ask, &from, want[0], want[1], want[2]);
}

static void server_ready(struct server *s, int fd)
{
	if (fd == s->udp)
		s->received += sink(fd);
	else if (fd == s->ask)
		server_ask(s);
	else if (fd == s->echo || fd == s->once || fd == s->tell)
		server_accept(s, fd);
	else
		server_data(s, fd);
}

static void serve(int port)
{
	struct server s = { .ep = epoll_create1(EPOLL_CLOEXEC) };
	struct rlimit r;

	raise_files();
	getrlimit(RLIMIT_NOFILE, &r);
	s.kinds = calloc(r.rlim_cur, 1);
	s.echo = listen_on(port, SOCK_STREAM);
	s.once = listen_on(port + 1, SOCK_STREAM);
	s.tell = listen_on(port + 2, SOCK_STREAM);
	s.udp = listen_on(port, SOCK_DGRAM);
	s.ask = listen_on(port + 3, SOCK_DGRAM);
	for (const int *fd = &s.echo; fd <= &s.ask; fd++)
		server_watch(&s, *fd);
	for (;;) {
		struct epoll_event e[64];
		int n = epoll_wait(s.ep, e, 64, -1);

		for (int i = 0; i < n; i++)
			server_ready(&s, e[i].data.fd);
	}
}

/* --- clients --- */

static void exchange(int fd)
{
	char data[MSG] = "";
	ssize_t n, got = 0;

	if (write(fd, data, MSG) != MSG)
		die("write");
	while (got < MSG) {
		n = read(fd, data, MSG);
		if (n <= 0)
			die("read");
		got += n;
	}
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void rr(const char *host, int port, uint32_t seconds)
{
	uint32_t *sample = malloc(MAX_SAMPLES * sizeof(*sample)), n = 0;
	int fd = open_to(host, port, SOCK_STREAM);
	uint64_t end = now_ns() + seconds * S_NS, t, u;

	for (int i = 0; i < 100; i++)
		exchange(fd);
	for (t = now_ns(); t < end && n < MAX_SAMPLES; t = u) {
		exchange(fd);
		u = now_ns();
		sample[n++] = (uint32_t)(u - t);
	}
	qsort(sample, n, sizeof(*sample), by_size);
	printf("%u %u %u\n", sample[n / 2], sample[(uint64_t)n * 99 / 100], n);
	free(sample);
}

static uint64_t crr_one(const char *host, int port, uint32_t seconds)
{
	uint64_t end = now_ns() + seconds * S_NS, n = 0;
	char data[MSG];

	for (; now_ns() < end; n++) {
		int fd = open_to(host, port + 1, SOCK_STREAM);

		exchange(fd);
		if (read(fd, data, sizeof(data)) != 0)
			die("no end of the connection");
		close(fd);
	}
	return n;
}

static void crr(const char *host, int port, uint32_t seconds)
{
	uint64_t sum = 0, n;
	int p[2], status, bad = 0;

	if (pipe(p) < 0)
		die("pipe");
	for (int i = 0; i < N_CLIENTS; i++)
		if (!fork()) {
			n = crr_one(host, port, seconds);
			_exit(write(p[1], &n, sizeof(n)) != sizeof(n));
		}
	close(p[1]);
	while (read(p[0], &n, sizeof(n)) == sizeof(n))
		sum += n;
	while (wait(&status) > 0)
		bad |= status;
	if (bad)
		exit(1);
	printf("%llu\n", (unsigned long long)(sum / seconds));
}

static void ask_counts(const char *host, int port, unsigned long long *sent,
		       unsigned long long *got)
{
	FILE *f = fdopen(open_to(host, port + 2, SOCK_STREAM), "r");

	if (!f || fscanf(f, "%llu %llu", sent, got) != 2)
		die("the server's counts");
	fclose(f);
}

static void udp(bool in, const char *host, int port, uint32_t seconds, uint32_t size, uint32_t rate)
{
	int fd = open_to(host, port + (in ? 3 : 0), SOCK_DGRAM), buf = 8 << 20;
	unsigned long long sent, got;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buf, sizeof(buf));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buf, sizeof(buf));
	ask_counts(host, port, &sent, &got);
	if (in) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		uint32_t want[3] = { seconds, size, rate };
		unsigned long long mine = 0;

		if (write(fd, want, sizeof(want)) != sizeof(want))
			die("write");
		while (poll(&p, 1, mine ? 300 : 2000) > 0)
			mine += sink(fd);
		ask_counts(host, port, &sent, &got);
		got = mine;
	} else {
		uint64_t mine = blast(fd, NULL, seconds, size, rate);

		usleep(200000);
		ask_counts(host, port, &sent, &got);
		sent = mine;
	}
	printf("%llu %llu\n", sent, got);
}

static void idle(const char *host, int port, uint32_t n)
{
	raise_files();
	for (uint32_t i = 0; i < n; i++)
		exchange(open_to(host, port, SOCK_STREAM));
	printf("open %u\n", n);
	fflush(stdout);
	pause();
}

static uint32_t number(const char *s)
{
	return (uint32_t)strtoul(s, NULL, 10);
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	if (argc == 3 && !strcmp(argv[1], "serve"))
		serve((int)number(argv[2]));
	else if (argc == 5 && !strcmp(argv[1], "rr"))
		rr(argv[2], (int)number(argv[3]), number(argv[4]));
	else if (argc == 5 && !strcmp(argv[1], "crr"))
		crr(argv[2], (int)number(argv[3]), number(argv[4]));
	else if (argc == 8 && !strcmp(argv[1], "udp") && number(argv[6]) <= 2048)
		udp(!strcmp(argv[2], "in"), argv[3], (int)number(argv[4]), number(argv[5]),
		    number(argv[6]), number(argv[7]));
	else if (argc == 5 && !strcmp(argv[1], "idle"))
		idle(argv[2], (int)number(argv[3]), number(argv[4]));
	else
		return fprintf(stderr, "usage: see the head of bench/user_load.c\n"), 2;
	return 0;
}
