/* SPDX-License-Identifier: BSD-3-Clause */
/* The DNS forwarder between a toy guest and resolvers of a network namespace, and egress rules. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "backends/user/dns.h"
#include "base/hostops.h"
#include "dns_kit.h"
#include "user_guest.h"

#define NAME "www.example.com"

static bool isolated;
static char conf[] = "/tmp/twinax-resolv-XXXXXX";

static int open_conf(void *opaque, const char *path, int flags, mode_t mode)
{
	int fd = open(!strcmp(path, "/etc/resolv.conf") ? conf : path, flags, mode);

	return fd < 0 ? -errno : fd;
}

static const struct twx_hostops ops = { .size = sizeof(ops), .open = open_conf };

static void write_conf(const char *text)
{
	int fd = open(conf, O_WRONLY | O_TRUNC | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* A guest with resolv.conf as @text. */
static void open_with(struct guest *g, const char *options, const char *text)
{
	struct twx_error e = { 0 };

	if (!isolated)
		skip();
	write_conf(text);
	if (!guest_open_on(g, options, 0, &ops, &e))
		fail_msg("%s", e.what);
}

/* --- resolvers --- */

static int server(int type, const char *address)
{
	union user_addr a = { 0 };
	int fd, on = 1;

	if (inet_pton(AF_INET, address, &a.in.sin_addr) == 1) {
		a.in.sin_family = AF_INET;
	} else {
		assert_int_equal(inet_pton(AF_INET6, address, &a.in6.sin6_addr), 1);
		a.in6.sin6_family = AF_INET6;
	}
	a.in.sin_port = htons(53);
	fd = socket(a.sa.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, &a.sa, dns_addr_len(&a)))
		fail_msg("%s: %s", address, strerror(errno));
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 8), 0);
	return fd;
}

struct asked {
	union user_addr from;
	uint8_t data[4096];
	uint32_t len;
};

/* What the resolver hears within a second; false: nothing. */
static bool hears(struct guest *g, int fd, struct asked *a, int ms)
{
	for (int i = 0; i <= ms; i++) {
		socklen_t len = sizeof(a->from);
		ssize_t n;

		memset(&a->from, 0, sizeof(a->from));
		n = recvfrom(fd, a->data, sizeof(a->data), 0, &a->from.sa, &len);
		if (n >= 0) {
			a->len = (uint32_t)n;
			return true;
		}
		guest_run(g, 1);
	}
	return false;
}

static struct asked must_hear(struct guest *g, int fd)
{
	struct asked a;

	assert_true(hears(g, fd, &a, 3000));
	return a;
}

static void reply(int fd, const struct asked *a, const struct dns_text *m)
{
	assert_int_equal(sendto(fd, m->data, m->len, 0, &a->from.sa, dns_addr_len(&a->from)),
			 m->len);
}

static uint16_t id_of(const struct asked *a)
{
	return user_get16(a->data);
}

static struct dns_text failure(const struct asked *a, uint8_t rcode)
{
	struct dns_text m = dt_answer(id_of(a), NAME, 1);

	m.data[3] |= rcode;
	return m;
}

static struct dns_text address(const struct asked *a, const char *addr)
{
	struct dns_text m = dt_answer(id_of(a), NAME, 1);

	dt_a(&m, NAME, 300, addr);
	return m;
}

/* --- the guest --- */

static void ask(struct guest *g, uint16_t port, uint16_t id)
{
	struct dns_text q = dt_query(id, NAME, 1);
	uint8_t frame[512];

	guest_send(g, frame, guest_udp(g, frame, port, g->dns, 53, q.data, q.len));
}

/* The answer at the guest; only the identifier may differ from what the resolver sent. */
static void guest_gets(struct guest *g, uint16_t port, uint16_t id, const struct dns_text *m)
{
	struct guest_pkt p;

	assert_true(guest_recv_ip(g, IPPROTO_UDP, &p, 3000));
	assert_int_equal(p.src.s_addr, g->dns.s_addr);
	assert_int_equal(p.sport, 53);
	assert_int_equal(p.dport, port);
	assert_int_equal(user_get16(p.data), id);
	if (m) {
		assert_int_equal(p.len, m->len);
		assert_memory_equal(p.data + 2, m->data + 2, m->len - 2);
	}
	guest_pkt_free(&p);
}

static void guest_gets_rcode(struct guest *g, uint16_t port, uint16_t id, uint8_t rcode)
{
	struct dns_text m = dt_answer(id, NAME, 1);

	m.data[3] = (uint8_t)(0x80 | rcode);
	guest_gets(g, port, id, &m);
}

static void guest_hears_nobody_is_there(struct guest *g)
{
	struct guest_pkt p;

	assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000));
	assert_int_equal(p.src.s_addr, g->dns.s_addr);
	assert_int_equal(p.l4[0] << 8 | p.l4[1], 0x303);
	guest_pkt_free(&p);
}

/* --- who is asked --- */

static void the_alias_is_the_resolver(void **state)
{
	struct dns_text m;
	struct asked a;
	struct guest g;
	uint8_t frame[512];
	int fd;

	open_with(&g, "", "nameserver 127.0.0.1\n");
	fd = server(SOCK_DGRAM, "127.0.0.1");
	ask(&g, 1000, 7);
	a = must_hear(&g, fd);
	m = dt_query(id_of(&a), NAME, 1);
	assert_int_equal(a.len, m.len);
	assert_memory_equal(a.data, m.data, m.len);
	m = address(&a, "192.0.2.1");
	m.data[2] |= 2; /* TC is the guest's to see */
	reply(fd, &a, &m);
	guest_gets(&g, 1000, 7, &m);
	assert_int_equal(g.user->dns->n_queries, 0);
	/* The alias has no other ports. */
	guest_send(&g, frame, guest_udp(&g, frame, 1000, g.dns, 54, "x", 1));
	guest_hears_nobody_is_there(&g);
	guest_close(&g);
	close(fd);
}

static void only_its_own_answer_counts(void **state)
{
	struct dns_text m;
	struct asked a;
	struct guest g;
	int fd, other;

	open_with(&g, "", "nameserver 127.0.0.1\n");
	fd = server(SOCK_DGRAM, "127.0.0.1");
	other = server(SOCK_DGRAM, "127.0.0.2");
	ask(&g, 1000, 7);
	a = must_hear(&g, fd);
	m = dt_answer((uint16_t)(id_of(&a) + 1), NAME, 1);
	reply(fd, &a, &m);
	m = dt_answer(id_of(&a), "other.example.com", 1);
	reply(fd, &a, &m);
	m = dt_query(id_of(&a), NAME, 1);
	reply(fd, &a, &m);
	m.len = 5;
	reply(fd, &a, &m);
	m = address(&a, "192.0.2.66");
	reply(other, &a, &m);
	assert_true(guest_silent(&g, 50));
	m = address(&a, "192.0.2.1");
	reply(fd, &a, &m);
	guest_gets(&g, 1000, 7, &m);
	guest_close(&g);
	close(fd);
	close(other);
}

static void a_closed_port_is_no_resolver(void **state)
{
	struct dns_text m;
	struct asked a;
	struct guest g;
	int fd;

	open_with(&g, "", "nameserver 127.0.0.1\nnameserver ::1\n");
	fd = server(SOCK_DGRAM, "::1");
	ask(&g, 1000, 7);
	a = must_hear(&g, fd);
	m = address(&a, "192.0.2.1");
	reply(fd, &a, &m);
	guest_gets(&g, 1000, 7, &m);
	close(fd);
	/* Now nobody is there: the guest is told so, not left to wait. */
	ask(&g, 1001, 8);
	guest_gets_rcode(&g, 1001, 8, DNS_SERVFAIL);
	guest_close(&g);
}

static void failures_go_on_to_the_next(void **state)
{
	struct dns_text m;
	struct asked a;
	struct guest g;
	int fd[2];

	open_with(&g, "", "nameserver 127.0.0.1\nnameserver 127.0.0.2\n");
	fd[0] = server(SOCK_DGRAM, "127.0.0.1");
	fd[1] = server(SOCK_DGRAM, "127.0.0.2");
	ask(&g, 1000, 7);
	a = must_hear(&g, fd[0]);
	m = failure(&a, DNS_REFUSED);
	reply(fd[0], &a, &m);
	a = must_hear(&g, fd[1]);
	m = failure(&a, DNS_SERVFAIL);
	reply(fd[1], &a, &m);
	/* What the last one says is what the guest gets; "no such name" is no failure. */
	guest_gets(&g, 1000, 7, &m);
	ask(&g, 1000, 8);
	a = must_hear(&g, fd[0]);
	m = failure(&a, 3);
	reply(fd[0], &a, &m);
	guest_gets(&g, 1000, 8, &m);
	guest_close(&g);
	close(fd[0]);
	close(fd[1]);
}

static void a_guest_that_asks_again_is_heard(void **state)
{
	struct dns_text m;
	struct asked a;
	struct guest g;
	int fd[2];

	open_with(&g, "",
		  "nameserver 127.0.0.1\nnameserver 127.0.0.2\noptions timeout:30 attempts:1\n");
	fd[0] = server(SOCK_DGRAM, "127.0.0.1");
	fd[1] = server(SOCK_DGRAM, "127.0.0.2");
	ask(&g, 1000, 7);
	must_hear(&g, fd[0]);
	ask(&g, 1000, 7);
	a = must_hear(&g, fd[1]);
	assert_int_equal(g.user->dns->n_queries, 1);
	m = address(&a, "192.0.2.1");
	reply(fd[1], &a, &m);
	guest_gets(&g, 1000, 7, &m);
	/* A third time, when all were asked, is the end. */
	ask(&g, 1000, 8);
	must_hear(&g, fd[0]);
	ask(&g, 1000, 8);
	must_hear(&g, fd[1]);
	ask(&g, 1000, 8);
	guest_gets_rcode(&g, 1000, 8, DNS_SERVFAIL);
	guest_close(&g);
	close(fd[0]);
	close(fd[1]);
}

static void a_late_answer_counts(void **state)
{
	struct dns_text m;
	struct asked a[2];
	struct guest g;
	int fd;

	open_with(&g, "", "nameserver 127.0.0.1\n");
	fd = server(SOCK_DGRAM, "127.0.0.1");
	ask(&g, 1000, 7);
	a[0] = must_hear(&g, fd);
	for (int i = 0; i < 5; i++) {
		ask(&g, 1000, 7);
		a[1] = must_hear(&g, fd);
		assert_int_equal(a[1].len, a[0].len);
		assert_memory_equal(a[1].data, a[0].data, a[0].len);
	}
	m = address(&a[0], "192.0.2.1");
	reply(fd, &a[0], &m);
	guest_gets(&g, 1000, 7, &m);
	guest_close(&g);
	close(fd);
}

static void silence_ends(void **state)
{
	struct dns_text m;
	struct asked a;
	struct guest g;
	int fd[2];

	open_with(&g, "",
		  "nameserver 127.0.0.1\nnameserver 127.0.0.2\noptions attempts:1 timeout:1\n");
	fd[0] = server(SOCK_DGRAM, "127.0.0.1");
	fd[1] = server(SOCK_DGRAM, "127.0.0.2");
	ask(&g, 1000, 7);
	must_hear(&g, fd[0]);
	a = must_hear(&g, fd[1]);
	m = address(&a, "192.0.2.1");
	reply(fd[1], &a, &m);
	guest_gets(&g, 1000, 7, &m);
	/* Who was silent is asked last from now on. */
	ask(&g, 1000, 8);
	must_hear(&g, fd[1]);
	must_hear(&g, fd[0]);
	guest_gets_rcode(&g, 1000, 8, DNS_SERVFAIL);
	guest_close(&g);
	close(fd[0]);
	close(fd[1]);
}

static void rotate_takes_turns(void **state)
{
	struct asked a;
	struct guest g;
	int fd[2], heard[2] = { 0 };

	open_with(&g, "", "nameserver 127.0.0.1\nnameserver 127.0.0.2\noptions rotate\n");
	fd[0] = server(SOCK_DGRAM, "127.0.0.1");
	fd[1] = server(SOCK_DGRAM, "127.0.0.2");
	for (uint16_t i = 0; i < 8; i++)
		ask(&g, 1000, i);
	for (int i = 0; i < 2; i++)
		while (hears(&g, fd[i], &a, 20))
			heard[i]++;
	assert_int_equal(heard[0], 4);
	assert_int_equal(heard[1], 4);
	guest_close(&g);
	close(fd[0]);
	close(fd[1]);
}

static void the_file_is_followed(void **state)
{
	struct guest g;
	int fd[2];

	open_with(&g, "", "# nothing\nnameserver nobody\n");
	ask(&g, 1000, 1);
	guest_hears_nobody_is_there(&g);
	fd[0] = server(SOCK_DGRAM, "127.0.0.1");
	fd[1] = server(SOCK_DGRAM, "127.0.0.2");
	write_conf("search example\nnameserver 127.0.0.2\n");
	/* It is looked at once a second at most. */
	usleep(1100000);
	guest_run(&g, 0);
	ask(&g, 1000, 2);
	must_hear(&g, fd[1]);
	write_conf("nameserver 127.0.0.1\n");
	usleep(1100000);
	guest_run(&g, 0);
	ask(&g, 1000, 3);
	must_hear(&g, fd[0]);
	guest_close(&g);
	close(fd[0]);
	close(fd[1]);
}

static void dns_host_is_the_one(void **state)
{
	static const char *const options[] = { "dns-host=127.0.0.3", "dns-host=::1",
					       "dns-host=[::1]:53", "dns-host=127.0.0.3:53" };
	struct guest g;

	for (int i = 0; i < 4; i++) {
		int fd;

		open_with(&g, options[i], "nameserver 127.0.0.1\n");
		fd = server(SOCK_DGRAM, strstr(options[i], "::1") ? "::1" : "127.0.0.3");
		ask(&g, 1000, 1);
		must_hear(&g, fd);
		guest_close(&g);
		close(fd);
	}
}

static void queries_are_bounded(void **state)
{
	struct guest g;
	int fd;

	open_with(&g, "", "nameserver 127.0.0.1\noptions timeout:30\n");
	fd = server(SOCK_DGRAM, "127.0.0.1");
	for (uint16_t i = 0; i < 512; i++)
		ask(&g, 1000, i);
	assert_true(guest_silent(&g, 10));
	ask(&g, 1000, 600);
	guest_gets_rcode(&g, 1000, 0, DNS_SERVFAIL);
	assert_int_equal(g.user->dns->n_queries, 512);
	guest_close(&g);
	close(fd);
}

static void what_is_no_query_goes_nowhere(void **state)
{
	struct guest g;
	struct asked a;
	struct dns_text m = dt_answer(1, NAME, 1);
	uint8_t frame[8192] = { 0 }, data[5000] = { 0 };
	int fd;

	open_with(&g, "", "nameserver 127.0.0.1\n");
	fd = server(SOCK_DGRAM, "127.0.0.1");
	for (uint32_t len = 0; len < DNS_HDR; len++)
		guest_send(&g, frame, guest_udp(&g, frame, 1000, g.dns, 53, m.data, len));
	guest_send(&g, frame, guest_udp(&g, frame, 1000, g.dns, 53, m.data, m.len));
	guest_send(&g, frame, guest_udp(&g, frame, 1000, g.dns, 53, data, sizeof(data)));
	assert_int_equal(guest_drops(&g, TWX_DROP_BAD_PACKET), DNS_HDR + 2);
	assert_false(hears(&g, fd, &a, 20));
	guest_close(&g);
	close(fd);
}

/* --- TCP --- */

static int stream(struct guest *g)
{
	struct in6_addr alias = user_mapped(g->dns);
	int fd = dns_tcp_connect(g->user, &alias);

	assert_true(fd >= 0);
	return fd;
}

static void put_message(int fd, const struct dns_text *m)
{
	uint8_t len[2];

	user_put16(len, m->len);
	assert_int_equal(send(fd, len, 2, MSG_NOSIGNAL), 2);
	assert_int_equal(send(fd, m->data, m->len, MSG_NOSIGNAL), m->len);
}

/* @len bytes; fewer at the end. */
static uint32_t get_bytes(struct guest *g, int fd, void *buf, uint32_t len)
{
	uint32_t have = 0;

	for (int i = 0; i < 5000 && have < len; i++) {
		ssize_t n = recv(fd, (uint8_t *)buf + have, len - have, MSG_DONTWAIT);

		if (!n)
			break;
		have += n > 0 ? (uint32_t)n : 0;
		guest_run(g, 1);
	}
	return have;
}

static struct asked get_message(struct guest *g, int fd)
{
	struct asked a = { 0 };
	uint8_t len[2];

	assert_int_equal(get_bytes(g, fd, len, 2), 2);
	a.len = user_get16(len);
	assert_true(a.len <= sizeof(a.data));
	assert_int_equal(get_bytes(g, fd, a.data, a.len), a.len);
	return a;
}

static int accepted(struct guest *g, int listener)
{
	int fd = -1;

	for (int i = 0; i < 3000 && fd < 0; i++) {
		guest_run(g, 1);
		fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	}
	assert_true(fd >= 0);
	return fd;
}

static void tcp_queries_go_by_tcp(void **state)
{
	struct dns_text q = dt_query(7, NAME, 16), m;
	struct asked a;
	struct guest g;
	int listener, guest, fd;

	open_with(&g, "", "nameserver 127.0.0.1\nnameserver ::1\n");
	listener = server(SOCK_STREAM, "::1"); /* nobody is at the other */
	guest = stream(&g);
	/* Two queries at once. */
	put_message(guest, &q);
	q.data[1] = 8;
	put_message(guest, &q);
	for (uint8_t id = 7; id < 9; id++) {
		uint8_t text[200] = { 199 };

		fd = accepted(&g, listener);
		a = get_message(&g, fd);
		q.data[1] = id;
		assert_int_equal(a.len, q.len);
		assert_memory_equal(a.data, q.data, q.len);
		m = dt_answer(id, NAME, 16);
		for (int i = 0; i < 15; i++)
			dt_record(&m, NAME, 16, 300, text, sizeof(text));
		put_message(fd, &m);
		a = get_message(&g, guest);
		assert_int_equal(a.len, m.len);
		assert_memory_equal(a.data, m.data, m.len);
		close(fd);
	}
	/* Nobody is there any more. */
	close(listener);
	put_message(guest, &q);
	a = get_message(&g, guest);
	assert_int_equal(a.len, q.len);
	assert_int_equal(dns_msg_rcode(a.data), DNS_SERVFAIL);
	assert_int_equal(user_get16(a.data), 8);
	close(guest);
	guest_run(&g, 10);
	assert_int_equal(g.user->dns->n_conns, 0);
	guest_close(&g);
}

static void a_resolver_that_hangs_up_is_left(void **state)
{
	struct dns_text q = dt_query(7, NAME, 1), m;
	struct asked a;
	struct guest g;
	int listener[2], guest, fd;

	open_with(&g, "", "nameserver 127.0.0.1\nnameserver 127.0.0.2\n");
	listener[0] = server(SOCK_STREAM, "127.0.0.1");
	listener[1] = server(SOCK_STREAM, "127.0.0.2");
	guest = stream(&g);
	put_message(guest, &q);
	fd = accepted(&g, listener[0]);
	get_message(&g, fd);
	assert_int_equal(send(fd, "\1", 1, MSG_NOSIGNAL), 1);
	close(fd);
	fd = accepted(&g, listener[1]);
	a = get_message(&g, fd);
	m = address(&a, "192.0.2.1");
	put_message(fd, &m);
	a = get_message(&g, guest);
	assert_memory_equal(a.data, m.data, m.len);
	close(fd);
	close(guest);
	guest_close(&g);
	close(listener[0]);
	close(listener[1]);
}

static void tcp_connections_are_bounded(void **state)
{
	struct guest g;
	struct in6_addr alias;
	int fd[65];

	open_with(&g, "", "nameserver 127.0.0.1\n");
	alias = user_mapped(g.dns);
	for (int i = 0; i < 64; i++)
		fd[i] = stream(&g);
	assert_int_equal(dns_tcp_connect(g.user, &alias), -ECONNREFUSED);
	/* A length without a message, and a message that is none. */
	assert_int_equal(send(fd[0], "\0\0", 2, 0), 2);
	assert_int_equal(send(fd[1], "\0\3abc", 5, 0), 5);
	guest_run(&g, 10);
	assert_int_equal(g.user->dns->n_conns, 62);
	for (int i = 0; i < 64; i++)
		close(fd[i]);
	guest_close(&g);
}

/* --- egress rules --- */

static void prohibited(struct guest *g)
{
	struct guest_pkt p;

	assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000));
	assert_int_equal(p.src.s_addr, g->host.s_addr);
	assert_int_equal(p.l4[0] << 8 | p.l4[1], 0x30d);
	guest_pkt_free(&p);
}

static void say(struct guest *g, const char *to, uint16_t port)
{
	uint8_t frame[128];

	guest_send(g, frame, guest_udp(g, frame, 2000, guest_addr(to), port, "x", 1));
}

static uint64_t rule_hits(struct guest *g, uint32_t i)
{
	struct twx_usernet_rule r = { .size = sizeof(r) };

	assert_true(twx_usernet_rule_at(g->backend, i, &r));
	return r.hits;
}

static void names_open_the_way(void **state)
{
	struct dns_text m;
	struct asked a;
	struct guest g;
	uint8_t frame[128];
	int fd;

	open_with(&g, "allow=*.example.com:4000", "nameserver 127.0.0.1\n");
	fd = server(SOCK_DGRAM, "127.0.0.1");
	say(&g, "192.0.2.1", 4000);
	prohibited(&g);
	assert_int_equal(guest_drops(&g, TWX_DROP_DENIED), 1);
	ask(&g, 1000, 1);
	a = must_hear(&g, fd);
	m = address(&a, "192.0.2.1");
	reply(fd, &a, &m);
	guest_gets(&g, 1000, 1, &m);
	/* There is no way there in this namespace: "no route" is the host's answer, not the rule's.
	 */
	say(&g, "192.0.2.1", 4001);
	prohibited(&g);
	say(&g, "192.0.2.1", 4000);
	assert_int_equal(guest_drops(&g, TWX_DROP_DENIED), 2);
	assert_int_equal(rule_hits(&g, 0), 2); /* the query, the datagram */
	assert_int_equal(rule_hits(&g, 1), 2);
	/* Another name is not even asked for. */
	m = dt_query(9, "www.example.org", 1);
	guest_send(&g, frame, guest_udp(&g, frame, 1000, g.dns, 53, m.data, m.len));
	m.data[2] = 0x81;
	m.data[3] = 0x80 | DNS_REFUSED;
	guest_gets(&g, 1000, 9, &m);
	assert_false(hears(&g, fd, &a, 20));
	guest_close(&g);
	close(fd);
}

static void every_protocol_is_denied(void **state)
{
	struct guest g;
	uint8_t frame[128];
	struct guest_pkt p;

	open_with(&g, "deny=192.0.2.0/24", "");
	say(&g, "192.0.2.1", 4000);
	prohibited(&g);
	guest_send(&g, frame,
		   guest_tcp(&g, frame, 2000, guest_addr("192.0.2.1"), 80, 1, 0, 2, 1000, NULL, 0,
			     NULL, 0));
	prohibited(&g);
	guest_send(&g, frame,
		   guest_icmp(&g, frame, guest_addr("192.0.2.1"), 8, 0, 1, 1, "ping", 4));
	prohibited(&g);
	assert_int_equal(rule_hits(&g, 0), 3);
	assert_int_equal(g.user->flows.n, 0);
	/* The gateway is not of that network. */
	guest_send(&g, frame,
		   guest_tcp(&g, frame, 2000, g.host, 80, 1, 0, 2, 1000, NULL, 0, NULL, 0));
	assert_true(guest_recv_ip(&g, IPPROTO_TCP, &p, 1000));
	assert_int_equal(p.flags, 0x14);
	guest_pkt_free(&p);
	guest_close(&g);
}

static void host_loopback_can_be_off(void **state)
{
	struct guest g;
	struct guest_pkt p;
	uint8_t frame[128], buf[8];
	uint16_t port;
	int fd;

	open_with(&g, "host-loopback=off", "");
	fd = guest_host_socket(SOCK_DGRAM, &port);
	guest_send(&g, frame, guest_udp(&g, frame, 1000, g.host, port, "x", 1));
	assert_true(guest_recv_ip(&g, IPPROTO_ICMP, &p, 1000));
	assert_int_equal(p.src.s_addr, g.host.s_addr);
	assert_int_equal(p.l4[0] << 8 | p.l4[1], 0x303);
	guest_pkt_free(&p);
	assert_int_equal(recv(fd, buf, sizeof(buf), 0), -1);
	/* It is still there. */
	guest_send(&g, frame, guest_icmp(&g, frame, g.host, 8, 0, 1, 1, "ping", 4));
	assert_true(guest_recv_ip(&g, IPPROTO_ICMP, &p, 1000));
	assert_int_equal(p.l4[0], 0);
	guest_pkt_free(&p);
	guest_close(&g);
	close(fd);
}

static void contradictions_are_refused(void **state)
{
	static const struct {
		const char *options, *what;
	} cases[] = {
		{ "restrict=on,allow=any", "allow= contradicts restrict=on: nothing leaves" },
		{ "restrict=on,rule=deny:any", "rule= contradicts restrict=on: nothing leaves" },
		{ "restrict=on,outbound-if=lo",
		  "outbound-if= and outbound-addr= contradict restrict=on: nothing leaves" },
		{ "outbound-if=nosuch0", "outbound-if=nosuch0: there is no such interface" },
		{ "outbound-addr=x", "Parameter 'outbound-addr' expects an address, not 'x'" },
		{ "outbound-addr=127.0.0.1,outbound-addr=127.0.0.2",
		  "outbound-addr= has two addresses of one family" },
		{ "outbound-addr=203.0.113.1",
		  "outbound-addr=203.0.113.1: Cannot assign requested address" },
		{ "ipv6=off,outbound-addr=::1", "outbound-addr=::1 is of a family that is off" },
		{ "deny=1.2.3", "Invalid egress rule '1.2.3' (Bad address)" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct twx_error e = { 0 };
		struct guest g;

		assert_false(guest_open(&g, cases[i].options, 0, &e));
		assert_string_equal(e.what, cases[i].what);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_alias_is_the_resolver),
		cmocka_unit_test(only_its_own_answer_counts),
		cmocka_unit_test(a_closed_port_is_no_resolver),
		cmocka_unit_test(failures_go_on_to_the_next),
		cmocka_unit_test(a_guest_that_asks_again_is_heard),
		cmocka_unit_test(a_late_answer_counts),
		cmocka_unit_test(silence_ends),
		cmocka_unit_test(rotate_takes_turns),
		cmocka_unit_test(the_file_is_followed),
		cmocka_unit_test(dns_host_is_the_one),
		cmocka_unit_test(queries_are_bounded),
		cmocka_unit_test(what_is_no_query_goes_nowhere),
		cmocka_unit_test(tcp_queries_go_by_tcp),
		cmocka_unit_test(a_resolver_that_hangs_up_is_left),
		cmocka_unit_test(tcp_connections_are_bounded),
		cmocka_unit_test(names_open_the_way),
		cmocka_unit_test(every_protocol_is_denied),
		cmocka_unit_test(host_loopback_can_be_off),
		cmocka_unit_test(contradictions_are_refused),
	};
	int fd = mkstemp(conf), failed;

	if (fd < 0)
		return 1;
	close(fd);
	isolated = guest_namespace();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(conf);
	return failed;
}
