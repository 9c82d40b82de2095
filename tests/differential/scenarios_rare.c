/* SPDX-License-Identifier: BSD-3-Clause */
/* What happens to connections now and then: loss, ports used again, a server that does not read,
 * fragments. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "diff.h"

#define PORT 6050

static uint16_t next_port = 45000;

static int open_tcp(struct ctx *c, const char *name, struct gtcp *t, int l, uint16_t sport)
{
	int fd;

	gtcp_init(t, sport, HOST_IP, PORT);
	log_begin(c, "rare %s: syn", name);
	gtcp_send(c, t, SYN, NULL, 0);
	log_begin(c, "rare %s: ack", name);
	gtcp_send(c, t, ACK, NULL, 0);
	fd = host_accept(c, l);
	log_field(c, "host.accept", "%s", fd >= 0 ? "yes" : "no");
	return fd;
}

/* Seconds, in steps that no slow timer misses. */
static void pass(struct ctx *c, int seconds)
{
	for (int i = 0; i < 2 * seconds; i++)
		stack_skip(c->stack, 500);
}

static void host_write(int fd, size_t len)
{
	uint8_t buf[4000];

	fill(buf, len, (uint32_t)len);
	if (write(fd, buf, len) != (ssize_t)len)
		_exit(1);
}

static void log_total(struct ctx *c, int fd)
{
	uint8_t buf[65536];
	uint32_t hash = 0;
	long total = 0;
	int n;

	while ((n = host_read(c, fd, buf, sizeof(buf))) > 0) {
		for (int i = 0; i < n; i++)
			hash = (hash ^ buf[i]) * 16777619u;
		total += n;
	}
	log_field(c, "host.total", "%ld %08x", total, hash);
	log_field(c, "host.end", "%s", n == 0 ? "eof" : errno == EAGAIN ? "open" : "reset");
}

/* Frames to the guest that never arrive, and acknowledgements of the guest that do not. */
static void lost(struct ctx *c, int l)
{
	uint8_t data[100];
	struct gtcp t, before;
	int fd = open_tcp(c, "lost", &t, l, next_port++);

	before = t;
	t.no_ack = true;
	log_begin(c, "rare lost: sent");
	host_write(fd, 1000);
	gtcp_follow(c, &t);
	t = before; /* the guest has not seen it */
	pass(c, 8);
	log_begin(c, "rare lost: sent again");
	gtcp_follow(c, &t);
	log_begin(c, "rare lost: goes on");
	fill(data, sizeof(data), 7);
	gtcp_send(c, &t, ACK | PSH, data, sizeof(data));
	before = t;
	log_begin(c, "rare lost: fin");
	t.no_ack = true;
	close(fd);
	gtcp_follow(c, &t);
	t = before;
	pass(c, 8);
	log_begin(c, "rare lost: fin again");
	gtcp_follow(c, &t);
	log_begin(c, "rare lost: end");
	gtcp_send(c, &t, FIN | ACK, NULL, 0);
}

static void handshake(struct ctx *c, int l)
{
	struct gtcp t;
	int fd;

	gtcp_init(&t, next_port++, HOST_IP, PORT);
	log_begin(c, "rare syn twice: first");
	gtcp_send(c, &t, SYN, NULL, 0);
	log_begin(c, "rare syn twice: second");
	gtcp_raw(c, &t, SYN, t.snd_nxt - 1, 0, NULL, 0);
	log_begin(c, "rare syn twice: ack");
	gtcp_send(c, &t, ACK, NULL, 0);
	fd = host_accept(c, l);
	log_field(c, "host.accept", "%s", fd >= 0 ? "yes" : "no");
	log_begin(c, "rare keep-alive with a byte");
	gtcp_raw(c, &t, ACK, t.snd_nxt - 1, t.rcv_nxt, "", 1);
	log_begin(c, "rare syn in a connection");
	gtcp_raw(c, &t, SYN, t.snd_nxt + 1000, 0, NULL, 0);
	log_begin(c, "rare syn in a connection: reset");
	gtcp_send(c, &t, RST | ACK, NULL, 0);
	close(fd);
}

/* The same ports again, after each way of ending. */
static void reuse(struct ctx *c, int l)
{
	uint16_t port = next_port++;
	struct gtcp t;
	int fd = open_tcp(c, "reuse", &t, l, port);

	log_begin(c, "rare reuse: reset");
	gtcp_send(c, &t, RST | ACK, NULL, 0);
	close(fd);
	fd = open_tcp(c, "reuse after reset", &t, l, port);
	log_begin(c, "rare reuse: host closes");
	close(fd);
	gtcp_follow(c, &t);
	log_begin(c, "rare reuse: guest closes");
	gtcp_send(c, &t, FIN | ACK, NULL, 0);
	/* The stack's end is in TIME-WAIT now; a later number opens a new connection. */
	gtcp_init(&t, port, HOST_IP, PORT);
	t.iss += 100000;
	t.snd_nxt = t.iss;
	log_begin(c, "rare reuse in time-wait: syn");
	gtcp_send(c, &t, SYN, NULL, 0);
	log_begin(c, "rare reuse in time-wait: ack");
	gtcp_send(c, &t, ACK, NULL, 0);
	fd = host_accept(c, l);
	log_field(c, "host.accept", "%s", fd >= 0 ? "yes" : "no");
	log_begin(c, "rare reuse in time-wait: data");
	gtcp_send(c, &t, ACK | PSH, "again", 5);
	log_total(c, fd);
	log_begin(c, "rare reuse in time-wait: reset");
	gtcp_send(c, &t, RST | ACK, NULL, 0);
	close(fd);
}

static void slow_server(struct ctx *c, int l)
{
	uint8_t data[1000], f[FRAME_MAX];
	struct gtcp t;
	int fd = open_tcp(c, "slow server", &t, l, next_port++);

	fill(data, sizeof(data), 11);
	for (int i = 0; i < 50; i++) {
		stack_input(
			c->stack, f,
			gtcp_build(c, &t, f, ACK | PSH, t.snd_nxt, t.rcv_nxt, data, sizeof(data)));
		t.snd_nxt += sizeof(data);
	}
	run_quiet(c);
	c->n_replies = 0;
	pass(c, 3);
	c->n_replies = 0;
	log_begin(c, "rare slow server: reads at last");
	log_total(c, fd);
	log_begin(c, "rare slow server: and goes on");
	gtcp_send(c, &t, ACK | PSH, data, 10);
	log_total(c, fd);
	log_begin(c, "rare slow server: fin");
	gtcp_send(c, &t, FIN | ACK, NULL, 0);
	log_total(c, fd);
	close(fd);
	log_begin(c, "rare slow server: end");
	gtcp_follow(c, &t);
}

static void syn_flood(struct ctx *c)
{
	uint8_t f[FRAME_MAX];
	int resets = 0, others = 0;

	for (int i = 0; i < 100; i++) {
		struct gtcp t;

		gtcp_init(&t, (uint16_t)(50000 + i), HOST_IP, 6999);
		stack_input(c->stack, f, gtcp_build(c, &t, f, SYN, t.snd_nxt, 0, NULL, 0));
	}
	run_quiet(c);
	for (int i = 0; i < c->n_replies; i++) {
		bool rst = c->replies[i].data[23] == 6 && (c->replies[i].data[47] & RST);

		resets += rst;
		others += !rst;
	}
	c->n_replies = 0;
	log_begin(c, "rare syn flood");
	log_field(c, "resets", "%d", resets);
	log_field(c, "others", "%d", others);
}

/* A datagram of 3000 bytes in three fragments; @skip is left out. */
static void fragments(struct ctx *c, const char *name, int skip, int fd)
{
	uint8_t data[3008], f[FRAME_MAX], got[4096];
	static uint16_t id = 7000;
	uint8_t whole[8 + 3000];
	ssize_t n;

	id++;
	fill(data, 3000, 9);
	memset(whole, 0, 8);
	whole[0] = 6100 >> 8;
	whole[1] = 6100 & 255;
	whole[2] = 6051 >> 8;
	whole[3] = 6051 & 255;
	whole[4] = 3008 >> 8;
	whole[5] = (uint8_t)3008;
	memcpy(whole + 8, data, 3000); /* checksum 0: there is none */
	log_begin(c, "rare fragments %s", name);
	for (int i = 0; i < 3; i++) {
		size_t at = (size_t)i * 1480, len = i == 2 ? sizeof(whole) - 2960 : 1480, total;

		if (i == skip)
			continue;
		memcpy(f + 34, whole + at, len);
		total = pkt_ip(c, f, GUEST_IP, HOST_IP, 17, len);
		f[18] = (uint8_t)(id >> 8);
		f[19] = (uint8_t)id;
		f[20] = (uint8_t)((i < 2 ? 0x20 : 0) | at / 8 >> 8);
		f[21] = (uint8_t)(at / 8);
		pkt_fix_ip(f);
		stack_input(c->stack, f, total);
	}
	run_quiet(c);
	c->n_replies = 0;
	n = recv(fd, got, sizeof(got), MSG_DONTWAIT);
	if (n > 0)
		log_field(c, "host.got", "%zd %08x", n, data_hash(got, (size_t)n));
	else
		log_field(c, "host.got", "nothing");
}

void scenarios_rare(struct ctx *c)
{
	int l = host_listen(PORT), u = host_udp(6051);

	next_port = 45000;
	/* What earlier scenarios left half open is given up, and nothing of it comes between. */
	for (int i = 0; i < 150; i++) {
		pass(c, 1);
		c->n_replies = 0;
	}
	lost(c, l);
	handshake(c, l);
	reuse(c, l);
	slow_server(c, l);
	syn_flood(c);
	fragments(c, "in order", -1, u);
	/* Not backwards: libslirp 4.7 dies of that. test_user_ip has it. */
	fragments(c, "one missing", 1, u);
	close(l);
	close(u);
}
