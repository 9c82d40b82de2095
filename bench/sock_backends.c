/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the socket backends cost per frame beside the system calls that they make: bursts of 64
 * through a backend, and the same bytes by bare sendmsg(), recv(), sendmmsg() and recvmmsg(), in
 * turn, on one thread. What fills and empties the sockets is not counted. "one call a frame" is how
 * a backend without bursts sends.
 *
 * Lines for scripts: "PEER KIND DIRECTION LENGTH NANOSECONDS".
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <twinax/twinax.h>

#include "base/endian.h"
#include "base/macros.h"

#define ROUNDS 1000
#define BURSTS 2 /* a round; what a socket of the usual size holds in datagrams of 1514 bytes */
#define FRAMES (BURSTS * TWX_BURST)

static uint8_t data[TWX_BURST][1536];
static struct iovec pieces[TWX_BURST][2]; /* as virtio-net hands them on */
static struct twx_frame frames[TWX_BURST];
static struct iovec gather[3 * TWX_BURST];
static be32 head;
static uint8_t in[4 << 20];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void make_frames(uint32_t len)
{
	uint32_t first = len < TWX_HDR_ROOM ? len : TWX_HDR_ROOM;
	int i;

	head = be32_make(len);
	for (i = 0; i < TWX_BURST; i++) {
		memset(data[i], i, sizeof(data[i]));
		memcpy(data[i] + 12, "\x88\xb5", 2);
		pieces[i][0] = (struct iovec){ data[i], first };
		pieces[i][1] = (struct iovec){ data[i] + first, len - first };
		frames[i] = (struct twx_frame){ .iov = pieces[i],
						.n_iov = len > first ? 2 : 1,
						.len = len };
		gather[3 * i] = (struct iovec){ &head, sizeof(head) };
		gather[3 * i + 1] = pieces[i][0];
		gather[3 * i + 2] = pieces[i][1];
	}
}

/* --- the two ends --- */

static struct twx_loop *loop;
static struct twx_net *net;
static struct twx_port nic;
static uint64_t n_got;

static int nic_receive(struct twx_port *port, const struct twx_frame *f, int n)
{
	n_got += (unsigned int)n;
	return n;
}

static const struct twx_port_ops nic_ops = { .receive = nic_receive };

static const struct kind {
	const char *name;
	bool dgram, unix_domain;
} kinds[] = {
	{ "stream-unix", false, true },
	{ "stream-tcp", false, false },
	{ "dgram-udp", true, false },
	{ "dgram-unix", true, true },
};

static int udp_socket(const char *addr, uint16_t port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0), size = 1 << 20;

	inet_aton(addr, &sin.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (bind(fd, (struct sockaddr *)&sin, sizeof(sin)))
		die("bind");
	return fd;
}

/* Nothing waits for more, as in the backend. */
static void tcp_pair(int fd[2])
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);
	int l = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	if (bind(l, (struct sockaddr *)&sin, len) || listen(l, 1) ||
	    getsockname(l, (struct sockaddr *)&sin, &len))
		die("listen");
	fd[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd[0], (struct sockaddr *)&sin, len))
		die("connect");
	fd[1] = accept(l, NULL, NULL);
	setsockopt(fd[0], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	close(l);
}

#define UDP_OURS 45001
#define UDP_THEIRS 45002

/* Where a bare datagram goes: as a backend addresses it. */
static struct sockaddr_in udp_to;

/* fd[0]: the bare end that plays our part; fd[1]: the other side. */
static void bare_pair(const struct kind *k, int fd[2])
{
	int size = 1 << 20, i;

	udp_to.sin_family = AF_UNSPEC;
	if (!k->dgram && !k->unix_domain) {
		tcp_pair(fd);
	} else if (k->unix_domain) {
		if (socketpair(AF_UNIX, k->dgram ? SOCK_DGRAM : SOCK_STREAM, 0, fd))
			die("socketpair");
	} else {
		fd[0] = udp_socket("127.0.0.1", UDP_OURS);
		fd[1] = udp_socket("127.0.0.1", UDP_THEIRS);
		udp_to = (struct sockaddr_in){ .sin_family = AF_INET,
					       .sin_port = htons(UDP_THEIRS),
					       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	}
	for (i = 0; i < 2; i++) {
		setsockopt(fd[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
		fcntl(fd[i], F_SETFL, O_NONBLOCK);
	}
}

/* --- filling and emptying, not counted --- */

static void empty(int fd)
{
	while (recv(fd, in, sizeof(in), MSG_DONTWAIT) > 0)
		;
}

static void fill(const struct kind *k, int fd, const struct sockaddr_in *to)
{
	int b, i;

	for (b = 0; b < BURSTS; b++) {
		struct msghdr m = { .msg_iov = gather, .msg_iovlen = array_size(gather) };

		if (!k->dgram && sendmsg(fd, &m, 0) != (ssize_t)(TWX_BURST * (4 + frames[0].len)))
			die("fill");
		for (i = 0; k->dgram && i < TWX_BURST; i++) {
			m = (struct msghdr){ .msg_iov = pieces[i], .msg_iovlen = frames[0].n_iov };
			if (to) {
				m.msg_name = (void *)to;
				m.msg_namelen = sizeof(*to);
			}
			if (sendmsg(fd, &m, 0) < 0)
				die("fill");
		}
	}
}

/* --- bare system calls --- */

static void bare_send(const struct kind *k, int fd)
{
	struct msghdr m = { .msg_iov = gather, .msg_iovlen = array_size(gather) };
	struct mmsghdr mm[TWX_BURST] = { 0 };
	int i;

	if (!k->dgram) {
		if (sendmsg(fd, &m, MSG_DONTWAIT) < 0)
			die("sendmsg");
		return;
	}
	for (i = 0; i < TWX_BURST; i++) {
		mm[i].msg_hdr =
			(struct msghdr){ .msg_iov = pieces[i], .msg_iovlen = frames[0].n_iov };
		if (udp_to.sin_family == AF_INET) {
			mm[i].msg_hdr.msg_name = &udp_to;
			mm[i].msg_hdr.msg_namelen = sizeof(udp_to);
		}
	}
	if (sendmmsg(fd, mm, TWX_BURST, MSG_DONTWAIT) != TWX_BURST)
		die("sendmmsg");
}

static void single_send(const struct kind *k, int fd)
{
	int i;

	for (i = 0; i < TWX_BURST; i++) {
		struct msghdr m = { .msg_iov = k->dgram ? pieces[i] : gather + 3 * i,
				    .msg_iovlen = k->dgram ? frames[0].n_iov : 3 };

		if (k->dgram && udp_to.sin_family == AF_INET) {
			m.msg_name = &udp_to;
			m.msg_namelen = sizeof(udp_to);
		}
		if (sendmsg(fd, &m, MSG_DONTWAIT) < 0)
			die("sendmsg");
	}
}

static void bare_receive(const struct kind *k, int fd)
{
	static struct mmsghdr mm[TWX_BURST];
	static struct iovec iov[TWX_BURST];
	int i;

	if (!k->dgram) {
		while (recv(fd, in, 128 * 1024, MSG_DONTWAIT) > 0)
			;
		return;
	}
	for (i = 0; i < TWX_BURST; i++) {
		iov[i] = (struct iovec){ in + i * 67648, 65557 };
		mm[i].msg_hdr = (struct msghdr){ .msg_iov = &iov[i], .msg_iovlen = 1 };
	}
	while (recvmmsg(fd, mm, TWX_BURST, MSG_DONTWAIT, NULL) > 0)
		;
}

/* --- a backend --- */

struct subject {
	struct twx_backend *b;
	int other;	       /* fd of the other side */
	struct sockaddr_in to; /* for datagrams to the backend */
};

static void subject_open(struct subject *s, const struct kind *k)
{
	struct twx_error e = { 0 };
	char text[256];
	int fd[2] = { -1, -1 };

	if (k->dgram && !k->unix_domain) {
		s->other = udp_socket("127.0.0.1", UDP_THEIRS + 2);
		s->to = (struct sockaddr_in){ .sin_family = AF_INET,
					      .sin_port = htons(UDP_OURS + 2),
					      .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		snprintf(text, sizeof(text),
			 "dgram,id=b,local.type=inet,local.host=127.0.0.1,local.port=%d,"
			 "remote.type=inet,remote.host=127.0.0.1,remote.port=%d",
			 UDP_OURS + 2, UDP_THEIRS + 2);
	} else {
		bare_pair(k, fd);
		s->other = fd[1];
		snprintf(text, sizeof(text),
			 k->dgram ? "dgram,id=b,local.type=fd,local.str=%d"
				  : "stream,id=b,addr.type=fd,addr.str=%d",
			 fd[0]);
	}
	if (twx_backend_new(&s->b, net, text, &e) || twx_port_pair(&nic, s->b->ports[0], &e)) {
		fprintf(stderr, "%s\n", e.what);
		exit(1);
	}
	fcntl(s->other, F_SETFL, O_NONBLOCK);
}

static void subject_close(struct subject *s)
{
	twx_backend_free(s->b);
	close(s->other);
}

/* --- rounds --- */

static uint64_t times[3][ROUNDS];

static void report(const char *peer, const struct kind *k, const char *dir, uint64_t *t)
{
	qsort(t, ROUNDS, sizeof(*t), compare);
	printf("%s %s %s %u %.1f\n", peer, k->name, dir, frames[0].len,
	       (double)t[ROUNDS / 2] / FRAMES);
}

static void bench_send(const struct kind *k)
{
	bool udp = k->dgram && !k->unix_domain;
	struct subject s;
	int fd[2], one[2], r, b;
	uint64_t t;

	subject_open(&s, k);
	bare_pair(k, fd);
	if (udp)
		memcpy(one, fd, sizeof(one));
	else
		bare_pair(k, one);
	for (r = 0; r < ROUNDS; r++) {
		t = now();
		for (b = 0; b < BURSTS; b++)
			if (twx_port_send(&nic, frames, TWX_BURST) != TWX_BURST)
				die("backend is busy");
		times[0][r] = now() - t;
		empty(s.other);
		t = now();
		for (b = 0; b < BURSTS; b++)
			bare_send(k, fd[0]);
		times[1][r] = now() - t;
		empty(fd[1]);
		t = now();
		for (b = 0; b < BURSTS; b++)
			single_send(k, one[0]);
		times[2][r] = now() - t;
		empty(one[1]);
	}
	report("twinax", k, "send", times[0]);
	report("bare", k, "send", times[1]);
	report("single", k, "send", times[2]);
	subject_close(&s);
	close(fd[0]);
	close(fd[1]);
	if (!udp) {
		close(one[0]);
		close(one[1]);
	}
}

static void bench_receive(const struct kind *k)
{
	struct sockaddr_in *to = NULL, bare_to;
	struct subject s;
	int fd[2], r;
	uint64_t t;

	bare_pair(k, fd);
	subject_open(&s, k);
	if (k->dgram && !k->unix_domain) {
		to = &s.to;
		bare_to = s.to;
		bare_to.sin_port = htons(UDP_OURS);
	}
	for (r = 0; r < ROUNDS; r++) {
		n_got = 0;
		fill(k, s.other, to);
		t = now();
		while (n_got < FRAMES)
			twx_loop_poll(loop, 0);
		times[0][r] = now() - t;
		fill(k, fd[1], to ? &bare_to : NULL);
		t = now();
		bare_receive(k, fd[0]);
		times[1][r] = now() - t;
	}
	report("twinax", k, "receive", times[0]);
	report("bare", k, "receive", times[1]);
	subject_close(&s);
	close(fd[0]);
	close(fd[1]);
}

int main(int argc, char **argv)
{
	struct twx_net_config config = { .size = sizeof(config) };
	static const uint32_t lengths[] = { 60, 1514 };
	size_t i, j;

	if (twx_loop_new(&loop, NULL))
		die("loop");
	config.loop = loop;
	if (twx_net_new(&net, &config, NULL) ||
	    twx_port_init(&nic, net, loop, TWX_PORT_BACKEND, "nic", "null", 0, &nic_ops, NULL,
			  NULL))
		die("net");
	for (i = 0; i < array_size(kinds); i++) {
		if (argc > 1 && strcmp(argv[1], kinds[i].name))
			continue;
		for (j = 0; j < array_size(lengths); j++) {
			make_frames(lengths[j]);
			bench_send(&kinds[i]);
			bench_receive(&kinds[i]);
		}
	}
	twx_port_fini(&nic);
	twx_net_free(net);
	twx_loop_free(loop);
	return 0;
}
