/* SPDX-License-Identifier: BSD-3-Clause */
/* TFTP, TCP and forwarded connections. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "diff.h"

/* --- TFTP --- */

static uint32_t get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static void log_tftp(struct ctx *c, uint16_t *server_port)
{
	*server_port = 0;
	for (int i = 0; i < c->n_replies; i++) {
		const uint8_t *u = c->replies[i].data + 34;
		uint32_t len = get16(u + 4);

		*server_port = (uint16_t)get16(u);
		log_field(c, "tftp.op", "%u %u", get16(u + 8), get16(u + 10));
		if (get16(u + 8) == 3)
			log_field(c, "tftp.data", "%u %08x", len - 12, data_hash(u + 12, len - 12));
		if (get16(u + 8) == 6)
			log_field(c, "tftp.oack", "%u %08x", len - 10, data_hash(u + 10, len - 10));
	}
	log_field(c, "replies", "%d", c->n_replies);
	c->n_replies = 0;
}

static size_t tftp_request(uint8_t *m, uint8_t op, const char *file, const char *mode,
			   const char *const *opts)
{
	size_t n = 2;

	m[0] = 0;
	m[1] = op;
	n += (size_t)snprintf((char *)m + n, 100, "%s", file) + 1;
	n += (size_t)snprintf((char *)m + n, 20, "%s", mode) + 1;
	for (; opts && *opts; opts++)
		n += (size_t)snprintf((char *)m + n, 40, "%s", *opts) + 1;
	return n;
}

static void tftp_fetch(struct ctx *c, const char *name, const char *file, const char *const *opts,
		       uint16_t sport, int acks, bool with_oack)
{
	uint8_t f[FRAME_MAX], m[300];
	uint16_t port;

	log_begin(c, "tftp %s", name);
	stack_input(c->stack, f,
		    pkt_udp(c, f, GUEST_IP, sport, HOST_IP, 69, m,
			    tftp_request(m, 1, file, "octet", opts)));
	run_quiet(c);
	log_tftp(c, &port);
	for (int i = with_oack ? 0 : 1; i < acks && port; i++) {
		const uint8_t ack[4] = { 0, 4, 0, (uint8_t)i };

		log_begin(c, "tftp %s ack %d", name, i);
		stack_input(c->stack, f, pkt_udp(c, f, GUEST_IP, sport, HOST_IP, port, ack, 4));
		run_quiet(c);
		log_tftp(c, &port);
	}
}

void scenarios_tftp(struct ctx *c)
{
	static const char *const tsize[] = { "tsize", "0", NULL }, *const blk[] = { "blksize",
										    "1024", NULL };
	static const char *const names[] = { "missing",	     "../tftp/small", "/small",
					     "sub/../small", "..\\small",     "" };
	uint8_t f[FRAME_MAX], m[300];
	uint16_t port;

	tftp_fetch(c, "small", "small", NULL, 2001, 2, false);
	tftp_fetch(c, "exact", "exact", NULL, 2002, 3, false);
	tftp_fetch(c, "empty", "empty", NULL, 2003, 2, false);
	tftp_fetch(c, "two", "two", NULL, 2004, 4, false);
	tftp_fetch(c, "tsize", "small", tsize, 2005, 2, true);
	tftp_fetch(c, "blksize", "big", blk, 2006, 6, true);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		tftp_fetch(c, names[i][0] ? names[i] : "no name", names[i], NULL,
			   (uint16_t)(2010 + i), 2, false);
	log_begin(c, "tftp write");
	stack_input(c->stack, f,
		    pkt_udp(c, f, GUEST_IP, 2020, HOST_IP, 69, m,
			    tftp_request(m, 2, "small", "octet", NULL)));
	run_quiet(c);
	log_tftp(c, &port);
	log_begin(c, "tftp netascii");
	stack_input(c->stack, f,
		    pkt_udp(c, f, GUEST_IP, 2021, HOST_IP, 69, m,
			    tftp_request(m, 1, "small", "netascii", NULL)));
	run_quiet(c);
	log_tftp(c, &port);
	for (uint32_t len = 0; len < 6; len += 2) {
		log_begin(c, "tftp short %u", len);
		m[0] = 0;
		m[1] = 1;
		m[2] = m[3] = 'x';
		exchange(c, f, pkt_udp(c, f, GUEST_IP, 2022, HOST_IP, 69, m, len));
	}
}

/* --- TCP --- */

static uint16_t next_port = 40000;

/* A connection to the host's listener @l on @port, up to the host's accepted socket. */
static int open_tcp(struct ctx *c, const char *name, struct gtcp *t, int l, uint16_t port)
{
	int fd;

	gtcp_init(t, next_port++, HOST_IP, port);
	log_begin(c, "tcp %s: syn", name);
	gtcp_send(c, t, SYN, NULL, 0);
	log_begin(c, "tcp %s: ack", name);
	gtcp_send(c, t, ACK, NULL, 0);
	fd = host_accept(c, l);
	log_field(c, "host.accept", "%s", fd >= 0 ? "yes" : "no");
	return fd;
}

static void log_host(struct ctx *c, int fd)
{
	uint8_t buf[65536];
	int n = host_read(c, fd, buf, sizeof(buf));

	if (n > 0)
		log_field(c, "host.read", "%d %08x", n, data_hash(buf, (size_t)n));
	else
		log_field(c, "host.read", "%s",
			  n == 0	    ? "eof"
			  : errno == EAGAIN ? "nothing"
					    : "reset");
}

static void host_write(int fd, size_t len)
{
	uint8_t buf[20000];

	fill(buf, len, (uint32_t)len);
	if (write(fd, buf, len) != (ssize_t)len)
		perror("write");
}

static void tcp_data(struct ctx *c, int l)
{
	static const size_t up[] = { 1, 2, 100, 536, 1459, 1460 },
			    down[] = { 1, 2, 535, 1460, 1461, 3000, 20000 };
	uint8_t data[1460];
	struct gtcp t;
	int fd = open_tcp(c, "data", &t, l, 6001);

	for (size_t i = 0; i < sizeof(up) / sizeof(up[0]); i++) {
		log_begin(c, "tcp up %zu", up[i]);
		fill(data, up[i], (uint32_t)up[i]);
		gtcp_send(c, &t, ACK | PSH, data, up[i]);
		log_host(c, fd);
	}
	for (size_t i = 0; i < sizeof(down) / sizeof(down[0]); i++) {
		log_begin(c, "tcp down %zu", down[i]);
		host_write(fd, down[i]);
		gtcp_follow(c, &t);
	}
	log_begin(c, "tcp ping-pong");
	host_write(fd, 10);
	gtcp_send(c, &t, ACK | PSH, data, 10);
	log_host(c, fd);
	log_begin(c, "tcp duplicate segment");
	gtcp_raw(c, &t, ACK | PSH, t.snd_nxt - 10, t.rcv_nxt, data, 10);
	log_host(c, fd);
	log_begin(c, "tcp keep-alive");
	gtcp_raw(c, &t, ACK, t.snd_nxt - 1, t.rcv_nxt, NULL, 0);
	log_begin(c, "tcp out of order");
	gtcp_raw(c, &t, ACK, t.snd_nxt + 50, t.rcv_nxt, data + 50, 50);
	log_host(c, fd);
	log_begin(c, "tcp hole filled");
	gtcp_send(c, &t, ACK | PSH, data, 50);
	log_host(c, fd);
	log_begin(c, "tcp rest again");
	gtcp_raw(c, &t, ACK | PSH, t.snd_nxt, t.rcv_nxt, data + 50, 50);
	t.snd_nxt += 50;
	log_host(c, fd);
	log_begin(c, "tcp far outside the window");
	gtcp_raw(c, &t, ACK, t.snd_nxt + 0x8000000, t.rcv_nxt, data, 50);
	log_host(c, fd);
	log_begin(c, "tcp ack of nothing sent");
	gtcp_raw(c, &t, ACK, t.snd_nxt, t.rcv_nxt + 100000, NULL, 0);
	log_begin(c, "tcp urgent");
	t.urg = 5;
	gtcp_send(c, &t, ACK | PSH | URG, data, 20);
	t.urg = 0;
	log_begin(c, "tcp data: host closes");
	close(fd);
	gtcp_follow(c, &t);
	log_begin(c, "tcp data: guest closes");
	gtcp_send(c, &t, FIN | ACK, NULL, 0);
	log_begin(c, "tcp data: after the end");
	gtcp_raw(c, &t, ACK, t.snd_nxt, t.rcv_nxt, NULL, 0);
}

static void tcp_closes(struct ctx *c, int l)
{
	struct linger hard = { 1, 0 };
	uint8_t data[100];
	struct gtcp t;
	int fd;

	fill(data, sizeof(data), 3);
	fd = open_tcp(c, "guest first", &t, l, 6001);
	log_begin(c, "tcp guest first: fin");
	gtcp_send(c, &t, FIN | ACK, NULL, 0);
	log_host(c, fd);
	log_begin(c, "tcp guest first: host answers half-open");
	host_write(fd, 700);
	gtcp_follow(c, &t);
	log_begin(c, "tcp guest first: host closes");
	close(fd);
	gtcp_follow(c, &t);

	fd = open_tcp(c, "host first", &t, l, 6001);
	log_begin(c, "tcp host first: shutdown");
	shutdown(fd, SHUT_WR);
	gtcp_follow(c, &t);
	log_begin(c, "tcp host first: guest still sends");
	gtcp_send(c, &t, ACK | PSH, data, 100);
	log_host(c, fd);
	log_begin(c, "tcp host first: fin");
	gtcp_send(c, &t, FIN | ACK, NULL, 0);
	log_host(c, fd);
	close(fd);

	fd = open_tcp(c, "data and fin", &t, l, 6001);
	log_begin(c, "tcp data and fin: sent");
	gtcp_send(c, &t, FIN | ACK | PSH, data, 100);
	log_host(c, fd);
	log_host(c, fd);
	log_begin(c, "tcp data and fin: host data and close");
	host_write(fd, 50);
	close(fd);
	gtcp_follow(c, &t);

	fd = open_tcp(c, "guest reset", &t, l, 6001);
	log_begin(c, "tcp guest reset: rst");
	gtcp_send(c, &t, RST | ACK, NULL, 0);
	log_host(c, fd);
	close(fd);
	log_begin(c, "tcp guest reset: segment after");
	gtcp_raw(c, &t, ACK, t.snd_nxt, t.rcv_nxt, data, 10);

	fd = open_tcp(c, "host reset", &t, l, 6001);
	log_begin(c, "tcp host reset: rst");
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
	gtcp_follow(c, &t);

	fd = open_tcp(c, "simultaneous", &t, l, 6001);
	log_begin(c, "tcp simultaneous: both close");
	close(fd);
	gtcp_send(c, &t, FIN | ACK, NULL, 0);
	log_begin(c, "tcp simultaneous: last ack");
	gtcp_raw(c, &t, ACK, t.snd_nxt, t.rcv_nxt, NULL, 0);
}

static void tcp_windows(struct ctx *c, int l)
{
	struct gtcp t;
	int fd = open_tcp(c, "windows", &t, l, 6001);

	t.no_ack = true;
	t.win = 1000;
	log_begin(c, "tcp window 1000");
	gtcp_raw(c, &t, ACK, t.snd_nxt, t.rcv_nxt, NULL, 0);
	host_write(fd, 4000);
	gtcp_follow(c, &t);
	log_begin(c, "tcp window closed");
	t.win = 0;
	gtcp_raw(c, &t, ACK, t.snd_nxt, t.rcv_nxt, NULL, 0);
	log_begin(c, "tcp window opens");
	t.win = 20000;
	t.no_ack = false;
	gtcp_raw(c, &t, ACK, t.snd_nxt, t.rcv_nxt, NULL, 0);
	log_begin(c, "tcp windows: reset");
	gtcp_send(c, &t, RST | ACK, NULL, 0);
	close(fd);
}

static void tcp_options(struct ctx *c, int l)
{
	static const uint16_t sizes[] = { 0, 1, 536, 1000, 1460, 9000 };
	struct gtcp t;
	char name[32];

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		int fd;

		snprintf(name, sizeof(name), "mss %u", sizes[i]);
		gtcp_init(&t, next_port++, HOST_IP, 6001);
		t.mss = sizes[i];
		log_begin(c, "tcp %s: syn", name);
		gtcp_send(c, &t, SYN, NULL, 0);
		log_begin(c, "tcp %s: down", name);
		gtcp_raw(c, &t, ACK, t.snd_nxt, t.rcv_nxt, NULL, 0);
		fd = host_accept(c, l);
		if (fd >= 0) {
			host_write(fd, 3000);
			gtcp_follow(c, &t);
		}
		log_begin(c, "tcp %s: reset", name);
		gtcp_send(c, &t, RST | ACK, NULL, 0);
		close(fd);
	}
}

static void tcp_strays(struct ctx *c)
{
	static const struct {
		const char *name;
		uint8_t flags;
		size_t len;
	} kinds[] = { { "ack", ACK, 0 },	   { "data", ACK | PSH, 10 },
		      { "fin", FIN | ACK, 0 },	   { "rst", RST, 0 },
		      { "rst ack", RST | ACK, 0 }, { "syn ack", SYN | ACK, 0 },
		      { "nothing", 0, 0 },	   { "fin alone", FIN, 0 },
		      { "syn fin", SYN | FIN, 0 }, { "syn rst", SYN | RST, 0 } };
	uint8_t data[16] = { 1 }, f[FRAME_MAX];
	struct gtcp t;
	size_t n;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		gtcp_init(&t, next_port++, HOST_IP, 6001);
		t.rcv_nxt = 0x5555;
		log_begin(c, "tcp stray %s", kinds[i].name);
		gtcp_send(c, &t, kinds[i].flags, data, kinds[i].len);
	}
	gtcp_init(&t, next_port++, HOST_IP, 6999);
	log_begin(c, "tcp refused");
	gtcp_send(c, &t, SYN, NULL, 0);
	gtcp_init(&t, next_port++, DNS_IP, 53);
	log_begin(c, "tcp dns refused");
	gtcp_send(c, &t, SYN, NULL, 0);
	gtcp_init(&t, next_port++, HOST_IP, 6001);
	log_begin(c, "tcp bad checksum");
	n = gtcp_build(c, &t, f, SYN, t.snd_nxt, 0, NULL, 0);
	f[50] ^= 0x3c;
	exchange(c, f, n);
	for (int doff = 0; doff < 16; doff += 3) {
		log_begin(c, "tcp data offset %d", doff);
		t.mss = 0;
		n = gtcp_build(c, &t, f, ACK, t.snd_nxt, 0, NULL, 0);
		f[46] = (uint8_t)(doff << 4);
		pkt_fix_udp(f);
		if (doff != 5)
			exchange(c, f, n);
	}
	for (uint32_t len = 0; len < 20; len += 6) {
		log_begin(c, "tcp cut %u", len);
		memset(f + 34, 0, 20);
		n = pkt_ip(c, f, GUEST_IP, HOST_IP, 6, len);
		exchange(c, f, n);
	}
	for (uint32_t i = 0; i < 4; i++) {
		static const struct {
			const char *name;
			uint32_t dst;
		} odd[4] = { { "broadcast", 0x0a0002ff },
			     { "multicast", 0xe0000001 },
			     { "unspecified", 0 },
			     { "nobody", 0x0a000277 } };

		gtcp_init(&t, next_port++, odd[i].dst, 6001);
		log_begin(c, "tcp to %s", odd[i].name);
		gtcp_send(c, &t, SYN, NULL, 0);
	}
	gtcp_init(&t, next_port++, HOST_IP, 0);
	log_begin(c, "tcp to port 0");
	gtcp_send(c, &t, SYN, NULL, 0);
}

/* Ports whose protocols old stacks used to rewrite: plain TCP here (CVE-2019-6778, 2020-7039,
 * 2020-8608). */
static void tcp_plain_ports(struct ctx *c)
{
	static const uint16_t ports[] = { 21, 113, 514, 6667 };
	static const char text[] = "PORT 127,0,0,1,4,1\r\nPRIVMSG x :\001DCC SEND f 2130706433 "
				   "99\001\r\n1023 , 21\r\n";

	for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
		int l = host_listen(ports[i]), fd;
		struct gtcp t;
		char name[32];

		snprintf(name, sizeof(name), "port %u", ports[i]);
		fd = open_tcp(c, name, &t, l, ports[i]);
		log_begin(c, "tcp %s: text", name);
		gtcp_send(c, &t, ACK | PSH, text, sizeof(text) - 1);
		log_host(c, fd);
		close(fd);
		close(l);
		log_begin(c, "tcp %s: end", name);
		gtcp_follow(c, &t);
	}
}

void scenarios_tcp(struct ctx *c)
{
	int l;

	next_port = 40000;
	l = host_listen(6001);
	tcp_data(c, l);
	tcp_closes(c, l);
	tcp_windows(c, l);
	tcp_options(c, l);
	tcp_strays(c);
	tcp_plain_ports(c);
	close(l);
}

/* --- hostfwd --- */

static int host_connect(uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) && errno != EINPROGRESS)
		perror("connect");
	return fd;
}

/* The SYN that came, as the guest's TCP sees it; false if none. */
static bool take_syn(struct ctx *c, struct gtcp *t)
{
	run_quiet(c);
	for (int i = 0; i < c->n_replies; i++) {
		const uint8_t *ip = c->replies[i].data + 14, *tcp = ip + 20;

		if (get16(ip - 2) != 0x0800 || ip[9] != 6 || tcp[13] != SYN)
			continue;
		gtcp_init(t, (uint16_t)get16(tcp + 2), get16(ip + 12) << 16 | get16(ip + 14),
			  (uint16_t)get16(tcp));
		t->rcv_nxt = (get16(tcp + 4) << 16 | get16(tcp + 6)) + 1;
		log_field(c, "fwd.from", "%08x", t->dst);
		log_field(c, "fwd.port", "%u", t->sport);
		c->n_replies = 0;
		return true;
	}
	log_replies(c);
	return false;
}

static void forward_udp(struct ctx *c)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(7002),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = host_udp(7500);
	uint8_t f[FRAME_MAX], got[64];
	ssize_t n;

	log_begin(c, "forward udp in");
	sendto(fd, "hello", 5, 0, (struct sockaddr *)&to, sizeof(to));
	run_quiet(c);
	log_replies(c);
	log_begin(c, "forward udp back");
	stack_input(c->stack, f, pkt_udp(c, f, GUEST_IP, 7102, HOST_IP, 7500, "world!", 6));
	run_quiet(c);
	n = recv(fd, got, sizeof(got), 0);
	log_field(c, "host.got", "%zd %08x", n, n > 0 ? data_hash(got, (size_t)n) : 0);
	log_replies(c);
	close(fd);
}

void scenarios_forward(struct ctx *c)
{
	uint8_t data[200];
	struct gtcp t;
	int fd;

	fill(data, sizeof(data), 8);
	fd = host_connect(7001);
	log_begin(c, "forward syn");
	if (take_syn(c, &t)) {
		log_begin(c, "forward established");
		gtcp_send(c, &t, SYN | ACK, NULL, 0);
		log_begin(c, "forward down");
		host_write(fd, 500);
		gtcp_follow(c, &t);
		log_begin(c, "forward up");
		gtcp_send(c, &t, ACK | PSH, data, 200);
		log_host(c, fd);
		log_begin(c, "forward guest closes");
		gtcp_send(c, &t, FIN | ACK, NULL, 0);
		log_host(c, fd);
	}
	close(fd);
	log_begin(c, "forward host closes");
	gtcp_follow(c, &t);
	fd = host_connect(7001);
	log_begin(c, "forward refused by the guest");
	if (take_syn(c, &t)) {
		gtcp_send(c, &t, RST | ACK, NULL, 0);
		log_host(c, fd);
	}
	close(fd);
	forward_udp(c);
}
