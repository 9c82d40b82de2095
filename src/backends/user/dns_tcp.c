/* SPDX-License-Identifier: BSD-3-Clause */
/* The DNS forwarder over TCP (RFC 7766): one query after the other, each to a resolver by TCP. */

/*
 * The guest's connection to port 53 of the DNS alias ends here, at the other side of a pair of
 * sockets (guestfwd_pair()), message by message, so that a query can go to the next server when one
 * fails, the rules see what is asked, and what answers say of names. Further queries wait in the
 * socket. A zone transfer (several messages in answer to one query) ends behind the first.
 *
 * Bounds: 64 connections at a time, more are refused; 30 s of silence end one; each server has the
 * time that dns.c gives it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/user/dns.h"
#include "backends/user/rules.h"
#include "base/macros.h"

#define CONNS_MAX 64
#define IDLE_NS 30000000000ull
#define MSG_MAX (2 + 65535)

enum dns_state { DNS_READING, DNS_ASKING, DNS_AWAITING, DNS_REPLYING };

/* A message with its length in front. */
struct dns_buf {
	uint8_t data[MSG_MAX];
	uint32_t done; /* bytes read or written */
};

struct dns_end {
	int fd;
	struct twx_watch watch;
};

struct dns_conn {
	struct user *u;
	struct dns_conn *next;
	struct in6_addr alias;
	enum dns_state state;
	uint8_t rcode;
	struct dns_end guest, server;
	struct twx_timer timer;
	struct dns_servers servers;
	int tries;
	struct dns_buf query, answer;
};

static uint32_t buf_len(const struct dns_buf *b)
{
	return user_get16(b->data);
}

static void end_close(struct dns_end *e)
{
	twx_watch_del(&e->watch);
	if (e->fd >= 0)
		close(e->fd);
	e->fd = -1;
}

static void conn_free(struct dns_conn *c)
{
	struct dns_conn **at = &c->u->dns->conns;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->u->dns->n_conns--;
	end_close(&c->guest);
	end_close(&c->server);
	twx_timer_cancel(&c->timer);
	free(c);
}

static void wait_for(struct dns_conn *c, uint64_t ns)
{
	twx_timer_set(&c->timer, twx_loop_now(c->u->loop) + ns);
}

/* 1: the message is whole; 0: not yet; -1: the connection has ended. */
static int read_message(struct dns_buf *b, int fd)
{
	for (;;) {
		uint32_t need = b->done < 2 ? 2 : 2 + buf_len(b);
		ssize_t n;

		if (b->done == need)
			return 1;
		n = recv(fd, b->data + b->done, need - b->done, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return 0;
		if (n <= 0)
			return -1;
		b->done += (uint32_t)n;
	}
}

static int write_message(struct dns_buf *b, int fd)
{
	uint32_t len = 2 + buf_len(b);
	ssize_t n = send(fd, b->data + b->done, len - b->done, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	b->done += (uint32_t)n;
	return b->done == len;
}

/* --- answers --- */

static void start_reply(struct dns_conn *c)
{
	end_close(&c->server);
	c->state = DNS_REPLYING;
	c->answer.done = 0;
	wait_for(c, IDLE_NS);
	twx_watch_set(&c->guest.watch, EPOLLOUT);
}

static void refuse(struct dns_conn *c, uint8_t rcode)
{
	uint32_t len =
		dns_msg_refuse(c->query.data + 2, buf_len(&c->query), rcode, c->answer.data + 2);

	user_put16(c->answer.data, len);
	start_reply(c);
}

/* --- asking --- */

static twx_watch_fn server_event;

static int connect_to(struct dns_conn *c, const union user_addr *server)
{
	int err;

	end_close(&c->server);
	c->server.fd = socket(server->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->server.fd < 0)
		return -errno;
	err = sock_outbound(c->u, c->server.fd, &server->sa);
	if (err)
		return err;
	if (connect(c->server.fd, &server->sa, dns_addr_len(server)) < 0 && errno != EINPROGRESS)
		return -errno;
	return twx_watch_add(&c->server.watch, c->u->loop, c->server.fd, EPOLLOUT, server_event);
}

static void ask_next(struct dns_conn *c)
{
	while (c->tries < c->servers.n) {
		const union user_addr *server = &c->servers.at[c->tries++];

		int err = connect_to(c, server);

		if (!err) {
			c->state = DNS_ASKING;
			c->query.done = 0;
			wait_for(c, c->servers.timeout);
			return;
		}
		if (err != -EMFILE && err != -ENFILE)
			dns_mark(c->u, server, false);
	}
	refuse(c, c->rcode);
}

static void server_failed(struct dns_conn *c)
{
	dns_mark(c->u, &c->servers.at[c->tries - 1], false);
	ask_next(c);
}

static void answered(struct dns_conn *c)
{
	const uint8_t *msg = c->answer.data + 2;
	uint32_t len = buf_len(&c->answer);

	if (!dns_msg_answers(c->query.data + 2, buf_len(&c->query), msg, len)) {
		server_failed(c);
		return;
	}
	if (dns_is_failure(msg) && c->tries < c->servers.n) {
		c->rcode = dns_msg_rcode(msg);
		ask_next(c);
		return;
	}
	dns_mark(c->u, &c->servers.at[c->tries - 1], true);
	if (c->u->rules)
		rules_learn(c->u->rules, msg, len, twx_loop_now(c->u->loop));
	start_reply(c);
}

static void server_event(struct twx_watch *w, uint32_t events)
{
	struct dns_conn *c = container_of(w, struct dns_conn, server.watch);
	int r;

	if (c->state == DNS_ASKING) {
		r = write_message(&c->query, c->server.fd);
		if (r > 0) {
			c->state = DNS_AWAITING;
			c->answer.done = 0;
			twx_watch_set(w, EPOLLIN);
		}
	} else {
		r = read_message(&c->answer, c->server.fd);
		if (r > 0)
			answered(c);
	}
	if (r < 0)
		server_failed(c);
}

/* --- the guest's side --- */

static void start_reading(struct dns_conn *c)
{
	c->state = DNS_READING;
	c->query.done = 0;
	wait_for(c, IDLE_NS);
	twx_watch_set(&c->guest.watch, EPOLLIN);
}

/* A whole query is there. */
static void query_in(struct dns_conn *c)
{
	const uint8_t *msg = c->query.data + 2;
	uint32_t len = buf_len(&c->query);

	if (len < DNS_HDR || dns_msg_is_answer(msg)) {
		conn_free(c);
		return;
	}
	twx_watch_set(&c->guest.watch, 0);
	c->tries = 0;
	c->rcode = DNS_SERVFAIL;
	if (!dns_may_ask(c->u, &c->alias, IPPROTO_TCP, msg, len))
		refuse(c, DNS_REFUSED);
	else if (dns_servers(c->u, &c->servers))
		ask_next(c);
	else
		refuse(c, DNS_SERVFAIL);
}

static void go_on(struct dns_conn *c)
{
	int r = c->state == DNS_READING ? read_message(&c->query, c->guest.fd)
					: write_message(&c->answer, c->guest.fd);

	if (r < 0)
		conn_free(c);
	else if (r > 0 && c->state == DNS_READING)
		query_in(c);
	else if (r > 0)
		start_reading(c);
}

static void guest_event(struct twx_watch *w, uint32_t events)
{
	go_on(container_of(w, struct dns_conn, guest.watch));
}

static void conn_timeout(struct twx_timer *t)
{
	struct dns_conn *c = container_of(t, struct dns_conn, timer);

	if (c->state == DNS_ASKING || c->state == DNS_AWAITING)
		server_failed(c);
	else
		conn_free(c);
}

int dns_tcp_connect(struct user *u, const struct in6_addr *alias)
{
	struct dns_servers servers;
	struct dns_conn *c;
	int fd[2], err;

	if (!dns_servers(u, &servers) || u->dns->n_conns >= CONNS_MAX)
		return -ECONNREFUSED;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	err = guestfwd_pair(u, fd);
	if (err) {
		free(c);
		return err;
	}
	c->u = u;
	c->alias = *alias;
	c->guest.fd = fd[1];
	c->server.fd = -1;
	twx_timer_init(&c->timer, u->loop, conn_timeout);
	c->next = u->dns->conns;
	u->dns->conns = c;
	u->dns->n_conns++;
	err = twx_watch_add(&c->guest.watch, u->loop, fd[1], EPOLLIN, guest_event);
	if (err) {
		conn_free(c);
		close(fd[0]);
		return err;
	}
	start_reading(c);
	return fd[0];
}

void dns_tcp_fini(struct user *u)
{
	while (u->dns->conns)
		conn_free(u->dns->conns);
}
