/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a stream comes by its connection: a server listens and takes one peer at a time, a client
 * connects and, when asked to, connects again; a descriptor is connected already.
 *
 * While there is no connection the port's link is down, as in QEMU, and frames for it count as
 * sent. The listening socket is not watched while a peer is there: the next one waits in the
 * backlog.
 *
 * A client tries the addresses that its host had at set-up, in turn; nothing here waits. When none
 * answers, set-up fails if that is known at once and no reconnect is asked for; otherwise it is
 * said once in the log, and the next attempt follows when the time is up.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "backends/sock/stream.h"
#include "base/macros.h"

#define ACCEPT_RETRY_NS                                                                            \
	100000000ull /* after an error that may pass: no descriptor left, no memory */

static struct twx_net *net_of(const struct stream *s)
{
	return s->backend->net;
}

static void link_later(struct stream *s, uint64_t ns)
{
	twx_timer_set(&s->timer, twx_loop_now(s->backend->loop) + ns);
}

/* The connection @fd is there: 0, or -errno with it closed. */
static int link_up(struct stream *s, int fd)
{
	struct sock_addr peer;
	char name[128];
	int err;

	sock_peer(fd, &peer);
	sock_name(&peer, name, sizeof(name));
	if (s->spec.kind != SOCK_UNIX)
		sock_tune(fd, &s->spec);
	err = stream_start(s, fd);
	if (err)
		return err;
	s->told = false;
	s->style->describe(s, name, s->info, sizeof(s->info));
	if (s->server && name[0])
		twx_log(net_of(s), TWX_LOG_INFO, "netdev %s: connection from %s", s->backend->id,
			name);
	else
		twx_log(net_of(s), TWX_LOG_INFO, "netdev %s: %s %s", s->backend->id,
			s->server ? "connection to" : "connected to", s->spec.text);
	twx_port_set_link(s->port, true);
	return 0;
}

/* --- client --- */

static void link_pending(struct twx_watch *w, uint32_t events);

/* Tries the addresses that are left. 0: connected, or about to be. */
static int link_try(struct stream *s)
{
	int err = -ECONNREFUSED;
	bool pending;

	for (; s->at < s->spec.n_addr; s->at++) {
		int fd = sock_connect(&s->spec, s->backend, s->at, &pending);

		err = fd;
		if (fd < 0)
			continue;
		if (!pending) {
			err = link_up(s, fd);
		} else {
			err = twx_watch_add(&s->pending_watch, s->backend->loop, fd, EPOLLOUT,
					    link_pending);
			s->pending_fd = fd;
			if (err)
				sock_close(&s->pending_fd);
		}
		if (!err)
			return 0;
	}
	return err;
}

/* Nobody was there. */
static void link_failed(struct stream *s, int err)
{
	snprintf(s->info, sizeof(s->info), "%s", s->style->failed);
	if (!s->told)
		twx_log(net_of(s), s->retry_ns ? TWX_LOG_WARNING : TWX_LOG_ERROR,
			"netdev %s: cannot connect to %s: %s%s", s->backend->id, s->spec.text,
			strerror(-err), s->retry_ns ? "; trying again" : "");
	s->told = true;
	if (s->retry_ns)
		link_later(s, s->retry_ns);
}

static void link_pending(struct twx_watch *w, uint32_t events)
{
	struct stream *s = container_of(w, struct stream, pending_watch);
	int fd = s->pending_fd, err = sock_connect_result(fd);

	if (err == -EINPROGRESS)
		return;
	twx_watch_del(&s->pending_watch);
	s->pending_fd = -1;
	if (err)
		sock_close(&fd);
	else
		err = link_up(s, fd);
	if (err) {
		s->at++;
		if (s->at < s->spec.n_addr)
			err = link_try(s);
	}
	if (err)
		link_failed(s, err);
}

static void link_connect(struct stream *s)
{
	int err;

	s->at = 0;
	err = link_try(s);
	if (err)
		link_failed(s, err);
}

static int open_client(struct stream *s, struct twx_error *e)
{
	int err = link_try(s);

	if (!err)
		return 0;
	if (s->retry_ns) {
		link_failed(s, err);
		return 0;
	}
	twx_error_set(e, -err, "cannot connect to %s: %s", s->spec.text, strerror(-err));
	return twx_error_hint(e, "%s", s->style->hint);
}

/* --- server --- */

static void link_accept(struct twx_watch *w, uint32_t events)
{
	struct stream *s = container_of(w, struct stream, listen_watch);
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int err = fd < 0 ? -errno : 0;

	if (err == -EAGAIN || err == -ECONNABORTED || err == -EINTR)
		return;
	twx_watch_set(&s->listen_watch, 0);
	if (!err)
		err = link_up(s, fd);
	if (!err)
		return;
	twx_log(net_of(s), TWX_LOG_WARNING, "netdev %s: cannot accept a connection: %s",
		s->backend->id, strerror(-err));
	link_later(s, ACCEPT_RETRY_NS);
}

static int open_server(struct stream *s, struct twx_error *e)
{
	int err;

	s->listen_fd = sock_listen(&s->spec, s->backend, e);
	if (s->listen_fd < 0)
		return s->listen_fd;
	err = twx_watch_add(&s->listen_watch, s->backend->loop, s->listen_fd, EPOLLIN, link_accept);
	return err ? twx_error_set(e, -err, "cannot watch the socket: %s", strerror(-err)) : 0;
}

/* --- descriptor --- */

static int open_fd(struct stream *s, struct twx_error *e)
{
	int type = SOCK_STREAM, fd = sock_take_fd(s->spec.fd, &type, e), err;
	struct sock_addr peer;

	if (fd < 0)
		return fd;
	sock_peer(fd, &peer);
	if (!peer.len) {
		twx_error_set(e, ENOTCONN, "descriptor %d is not connected", fd);
		return twx_error_hint(
			e, "pass one end of a socketpair(), or a socket after connect()");
	}
	err = link_up(s, fd);
	return err ? twx_error_set(e, -err, "cannot use descriptor %d: %s", fd, strerror(-err)) : 0;
}

/* --- life --- */

static void link_timer(struct twx_timer *t)
{
	struct stream *s = container_of(t, struct stream, timer);

	if (s->server)
		twx_watch_set(&s->listen_watch, EPOLLIN);
	else
		link_connect(s);
}

void stream_lost(struct stream *s)
{
	stream_stop(s);
	s->info[0] = '\0';
	twx_port_set_link(s->port, false);
	/* Whoever waits for room waits no longer. */
	twx_port_ready(s->port);
	if (s->server)
		twx_watch_set(&s->listen_watch, EPOLLIN);
	else if (s->retry_ns)
		link_later(s, s->retry_ns);
}

int stream_open(struct stream *s, struct twx_backend *b, struct twx_error *e)
{
	int err;

	s->backend = b;
	s->fd = s->listen_fd = s->pending_fd = -1;
	twx_timer_init(&s->timer, b->loop, link_timer);
	s->port = twx_backend_add_port(b, e);
	if (!s->port)
		return -e->code;
	twx_port_set_link(s->port, false);
	if (s->server)
		err = open_server(s, e);
	else
		err = s->spec.kind == SOCK_FD ? open_fd(s, e) : open_client(s, e);
	if (err)
		stream_close(s);
	return err;
}

void stream_close(struct stream *s)
{
	stream_stop(s);
	twx_timer_cancel(&s->timer);
	twx_watch_del(&s->pending_watch);
	sock_close(&s->pending_fd);
	twx_watch_del(&s->listen_watch);
	if (s->listen_fd >= 0)
		sock_unlink(&s->spec, s->backend);
	sock_close(&s->listen_fd);
}
