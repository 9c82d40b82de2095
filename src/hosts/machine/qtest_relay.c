/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A conversation over a chardev that is no unix socket of ours: stdio, tcp:HOST:PORT, chardev:ID.
 *
 * The conversation (qtest.c) has one end of a socketpair and knows nothing of it; here is the other
 * end, and one bounded buffer for each direction. What is full stops the reading on its other side:
 * a client that does not read is as bounded as on a socket of its own. When the chardev's other end
 * has said all, so has the socketpair's, and what was asked is still answered.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/macros.h"
#include "hosts/machine/qtest.h"
#include "net/chardev.h"

#define RELAY_ROOM 16384u

struct relay_buf {
	char p[RELAY_ROOM];
	size_t off, len;
};

struct qtest_relay {
	struct qtest *q;
	struct twx_chardev *c;
	bool own; /* made for us */
	struct chardev_user user;
	struct twx_watch pair; /* our end of the socketpair; loop is null without a conversation */
	bool ended;	       /* the client has said all */
	struct relay_buf to, from; /* the conversation */
};

static void relay_end(struct qtest_relay *r)
{
	int fd = r->pair.fd;

	if (!r->pair.loop)
		return;
	twx_watch_del(&r->pair);
	close(fd);
}

/* Client to conversation; false when that is over. */
static bool push(struct qtest_relay *r)
{
	while (r->to.len != 0) {
		ssize_t n = send(r->pair.fd, r->to.p + r->to.off, r->to.len,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		r->to.off += (size_t)n;
		r->to.len -= (size_t)n;
	}
	if (r->ended)
		shutdown(r->pair.fd, SHUT_WR);
	return true;
}

/* Conversation to client; false when that is over. */
static bool pull(struct qtest_relay *r)
{
	ssize_t n;

	for (;;) {
		size_t took = chardev_write(r->c, r->from.p + r->from.off, r->from.len);

		r->from.off += took;
		r->from.len -= took;
		if (r->from.len != 0)
			return true;
		n = recv(r->pair.fd, r->from.p, RELAY_ROOM, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 && errno == EAGAIN;
		r->from.off = 0;
		r->from.len = (size_t)n;
	}
}

static void relay(struct qtest_relay *r)
{
	if (!r->pair.loop)
		return;
	if (!push(r) || !pull(r))
		return relay_end(r);
	(void)twx_watch_set(&r->pair,
			    (r->to.len != 0 ? EPOLLOUT : 0u) | (r->from.len == 0 ? EPOLLIN : 0u));
	chardev_room(r->c, r->to.len == 0 && !r->ended ? RELAY_ROOM : 0);
}

static void pair_ready(struct twx_watch *w, uint32_t events)
{
	relay(container_of(w, struct qtest_relay, pair));
}

static void relay_begin(struct qtest_relay *r)
{
	struct twx_loop *loop = r->q->m->loop;
	int fd[2];

	/* The last client's, should it not be over yet. */
	relay_end(r);
	if (!qtest_hang_up(r->q))
		return;
	r->ended = false;
	r->to.len = r->from.len = 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) < 0)
		return;
	if (qtest_converse_take(r->q, fd[1]) < 0 ||
	    twx_watch_add(&r->pair, loop, fd[0], EPOLLIN, pair_ready) < 0) {
		close(fd[0]);
		return;
	}
	relay(r);
}

static void client_says(struct chardev_user *u, const uint8_t *buf, size_t len)
{
	struct qtest_relay *r = container_of(u, struct qtest_relay, user);

	if (!r->pair.loop)
		return;
	memcpy(r->to.p, buf, len); /* it was empty, or there was no room to be had */
	r->to.off = 0;
	r->to.len = len;
	relay(r);
}

static void client_opened(struct chardev_user *u, bool open)
{
	struct qtest_relay *r = container_of(u, struct qtest_relay, user);

	if (open)
		return relay_begin(r);
	r->ended = true;
	relay(r);
}

static void client_drained(struct chardev_user *u)
{
	relay(container_of(u, struct qtest_relay, user));
}

int qtest_relay_open(struct qtest_relay **out, struct qtest *q, const char *where,
		     struct twx_error *e)
{
	struct qtest_relay *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return twx_error_set(e, ENOMEM, "-qtest: out of memory");
	r->q = q;
	r->user = (struct chardev_user){ client_says, client_opened, client_drained };
	err = chardev_by_text(&r->c, q->m->net, "qtest", where, e);
	r->own = err == 1;
	if (err >= 0)
		err = chardev_take(r->c, &r->user, e);
	if (err < 0) {
		if (r->own)
			chardev_free(r->c);
		free(r);
		return err;
	}
	*out = r;
	if (chardev_is_open(r->c))
		relay_begin(r);
	return 0;
}

void qtest_relay_close(struct qtest_relay *r)
{
	if (!r)
		return;
	relay_end(r);
	chardev_release(r->c);
	if (r->own)
		chardev_free(r->c);
	free(r);
}
