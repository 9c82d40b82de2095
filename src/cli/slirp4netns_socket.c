/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * slirp4netns's API socket: one request and its answer a connection. A client that has sent a part
 * of a request has a second for the rest; a few may be at it at a time, others wait in the backlog.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <twinax/usernet.h>

#include "base/macros.h"
#include "cli/alloc.h"
#include "cli/cli.h"
#include "cli/slirp4netns.h"

#define API_CLIENTS 8
#define API_WAIT_NS 1000000000ull
#define API_PAUSE_NS 100000000ull /* after a failure to accept: it may last */

struct api_client {
	struct api_server *server;
	struct twx_watch watch;
	struct twx_timer timer;
	size_t len;
	char text[API_MESSAGE];
};

struct api_server {
	struct api api;
	struct twx_loop *loop;
	struct twx_watch listener;
	struct twx_timer rest; /* the listener's */
	struct api_client clients[API_CLIENTS];
};

static void client_end(struct api_client *c)
{
	twx_timer_cancel(&c->timer);
	twx_watch_del(&c->watch);
	close(c->watch.fd);
	twx_watch_set(&c->server->listener, EPOLLIN);
}

/* The answer to what is there, unless more is to come. */
static void client_try(struct api_client *c, bool whole)
{
	char *text = api_answer(&c->server->api, c->text, c->len, whole);
	size_t len = text ? strlen(text) : 0, done = 0;
	ssize_t n = 1;

	if (!text)
		return;
	/* A list may be longer than the socket takes at once: to a client that does not read it is
	 * cut. */
	for (; done < len && n > 0; done += (size_t)n)
		n = send(c->watch.fd, text + done, len - done, MSG_NOSIGNAL);
	free(text);
	shutdown(c->watch.fd, SHUT_RDWR);
	client_end(c);
}

static void client_readable(struct twx_watch *w, uint32_t events)
{
	struct api_client *c = container_of(w, struct api_client, watch);
	ssize_t n = recv(w->fd, c->text + c->len, sizeof(c->text) - c->len, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		client_end(c);
		return;
	}
	c->len += (size_t)n;
	client_try(c, n == 0);
}

static void client_late(struct twx_timer *t)
{
	client_try(container_of(t, struct api_client, timer), true);
}

static void rest_over(struct twx_timer *t)
{
	twx_watch_set(&container_of(t, struct api_server, rest)->listener, EPOLLIN);
}

static void accept_client(struct twx_watch *w, uint32_t events)
{
	struct api_server *s = container_of(w, struct api_server, listener);
	struct api_client *c = s->clients;
	int fd;

	while (c < s->clients + API_CLIENTS && c->watch.loop)
		c++;
	if (c == s->clients + API_CLIENTS) {
		twx_watch_set(w, 0);
		return;
	}
	fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
		twx_watch_set(w, 0);
		twx_timer_set(&s->rest, twx_loop_now(s->loop) + API_PAUSE_NS);
	}
	if (fd < 0)
		return;
	c->len = 0;
	if (twx_watch_add(&c->watch, s->loop, fd, EPOLLIN, client_readable)) {
		close(fd);
		return;
	}
	twx_timer_init(&c->timer, s->loop, client_late);
	twx_timer_set(&c->timer, twx_loop_now(s->loop) + API_WAIT_NS);
}

static int add(void *opaque, const char *rule)
{
	return twx_usernet_hostfwd_add(opaque, rule, NULL);
}

static int del(void *opaque, const char *rule)
{
	return twx_usernet_hostfwd_remove(opaque, rule, NULL);
}

int api_server_start(struct api_server **out, struct twx_net *net, struct twx_backend *b,
		     const char *path, struct in_addr guest)
{
	struct api_server *s = cli_alloc(1, sizeof(*s));
	struct twx_error e = { 0 };
	int fd, i, err;

	s->loop = twx_net_loop(net);
	twx_timer_init(&s->rest, s->loop, rest_over);
	s->api = (struct api){ .guest = guest, .add = add, .remove = del, .opaque = b };
	for (i = 0; i < API_CLIENTS; i++)
		s->clients[i].server = s;
	fd = twx_net_listen_unix(net, path, &e);
	err = fd < 0 ? fd : twx_watch_add(&s->listener, s->loop, fd, EPOLLIN, accept_client);
	*out = s;
	if (!err)
		return 0;
	if (!e.code)
		twx_error_set(&e, -err, "cannot watch the socket: %s", strerror(-err));
	return cli_fail("--api-socket", &e);
}

void api_server_stop(struct api_server *s)
{
	int i;

	if (!s)
		return;
	for (i = 0; i < API_CLIENTS; i++)
		if (s->clients[i].watch.loop)
			client_end(&s->clients[i]);
	twx_timer_cancel(&s->rest);
	if (s->listener.loop) {
		twx_watch_del(&s->listener);
		close(s->listener.fd);
	}
	api_free(&s->api);
	free(s);
}
