/* SPDX-License-Identifier: BSD-3-Clause */
/* Control sockets: listening, clients, and what all of them are told. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/macros.h"
#include "control/qmp_priv.h"

#define RETRY_NS 100000000ull /* when no descriptor is left for a client */

static void server_retry(struct twx_timer *t)
{
	twx_watch_set(&container_of(t, struct qmp_server, retry)->watch, EPOLLIN);
}

static void server_event(struct twx_watch *w, uint32_t events)
{
	struct qmp_server *srv = container_of(w, struct qmp_server, watch);
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		/* The client stays in the queue and the socket readable: not in every round. */
		if (errno != EAGAIN && errno != EINTR) {
			twx_watch_set(w, 0);
			twx_timer_set(&srv->retry, twx_loop_now(w->loop) + RETRY_NS);
		}
		return;
	}
	if (srv->n_sessions >= QMP_MAX_CLIENTS) {
		twx_log(srv->net, TWX_LOG_WARNING, "qmp %s: more than %d clients, one was refused",
			srv->path, QMP_MAX_CLIENTS);
		close(fd);
		return;
	}
	qmp_session_new_take(srv, fd);
}

static const struct twx_opt_desc server_options[] = {
	{ .name = "path", .type = TWX_OPT_STR, .required = true },
	{ .name = "server", .type = TWX_OPT_BOOL, .def = "on" },
	{ .name = "wait", .type = TWX_OPT_BOOL, .def = "off" },
	{ 0 },
};

static int server_check(const struct twx_opts *o, struct twx_error *e)
{
	const char *path = twx_opts_str(o, "path");

	if (twx_opts_bool(o, "wait")) {
		twx_error_set(e, EINVAL, "waiting for a client before the start is not supported");
		return twx_error_hint(e, "leave wait= out, or say wait=off");
	}
	if (!*path || strlen(path) >= PATH_MAX)
		return twx_error_set(e, EINVAL, "the path of the control socket is %s",
				     *path ? "too long" : "empty");
	return 0;
}

/* A session that is there from the beginning; the fd is taken. */
static int server_open_fd(struct qmp_server *srv, int fd, struct twx_error *e)
{
	qmp_session_new_take(srv, fd);
	return srv->sessions ? 0 : twx_error_set(e, ENOMEM, "out of memory");
}

/* server=off: who will give the commands listens already. */
static int server_connect(struct qmp_server *srv, const char *path, struct twx_error *e)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = -1, err = -ENAMETOOLONG;

	if (strlen(path) < sizeof(sun.sun_path)) {
		memcpy(sun.sun_path, path, strlen(path) + 1);
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		err = fd < 0 || connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 ? -errno : 0;
	}
	if (!err)
		return server_open_fd(srv, fd, e);
	if (fd >= 0)
		close(fd);
	twx_error_set(e, -err, "cannot connect to %s: %s", path, strerror(-err));
	return twx_error_hint(e, "start its other end first, or listen by server=on");
}

/* "unix:PATH,server=on" becomes the list "path=PATH,server=on". */
static int server_open(struct qmp_server *srv, const char *text, struct twx_error *e)
{
	struct twx_opts *o = NULL;
	bool client = false;
	int fd = -1, err;

	if (strncmp(text, "unix:", 5)) {
		twx_error_set(e, EINVAL, "a control socket is a unix socket, not '%s'", text);
		return twx_error_hint(e, "write -qmp unix:PATH,server=on,wait=off");
	}
	err = twx_opts_parse(&o, text + 5, "path", e);
	if (!err)
		err = twx_opts_check(o, server_options, e);
	if (!err)
		err = server_check(o, e);
	client = !err && !twx_opts_bool(o, "server");
	if (client)
		err = server_connect(srv, twx_opts_str(o, "path"), e);
	if (!err && !client) {
		snprintf(srv->path, sizeof(srv->path), "%s", twx_opts_str(o, "path"));
		fd = twx_net_listen_unix(srv->net, srv->path, e);
		err = fd < 0 ? fd : 0;
	}
	twx_opts_free(o);
	if (err || client)
		return err;
	err = twx_watch_add(&srv->watch, twx_net_loop(srv->net), fd, EPOLLIN, server_event);
	if (err) {
		close(fd);
		twx_net_unlink(srv->net, srv->path);
		return twx_error_set(e, -err, "cannot watch the control socket: %s",
				     strerror(-err));
	}
	return 0;
}

/* At @text, or at @fd where that is null. */
static int server_add(struct qmp_server **list, struct twx_net *net, bool human, const char *text,
		      int fd, struct twx_error *e)
{
	struct qmp_server *srv = calloc(1, sizeof(*srv));
	int err;

	if (!srv) {
		if (fd >= 0)
			close(fd);
		return twx_error_set(e, ENOMEM, "out of memory");
	}
	srv->net = net;
	srv->human = human;
	twx_timer_init(&srv->retry, twx_net_loop(net), server_retry);
	err = text ? server_open(srv, text, e) : server_open_fd(srv, fd, e);
	if (err) {
		free(srv);
		return err;
	}
	srv->next = *list;
	*list = srv;
	return 0;
}

int qmp_server_add(struct qmp_server **list, struct twx_net *net, const char *text,
		   struct twx_error *e)
{
	return server_add(list, net, false, text, -1, e);
}

int hmp_server_add(struct qmp_server **list, struct twx_net *net, const char *text,
		   struct twx_error *e)
{
	return server_add(list, net, true, text, -1, e);
}

int hmp_server_add_fd_take(struct qmp_server **list, struct twx_net *net, int fd,
			   struct twx_error *e)
{
	return server_add(list, net, true, NULL, fd, e);
}

void qmp_servers_set_machine(struct qmp_server *list, struct control_machine *vm)
{
	for (; list; list = list->next)
		list->vm = vm;
}

void qmp_servers_event(struct qmp_server *list, const char *name, json_t *data)
{
	struct qmp_session *s;
	struct timespec now;
	json_t *m;

	clock_gettime(CLOCK_REALTIME, &now);
	m = json_pack("{sss{sIsI}}", "event", name, "timestamp", "seconds", (json_int_t)now.tv_sec,
		      "microseconds", (json_int_t)(now.tv_nsec / 1000));
	if (m && data)
		json_object_set(m, "data", data);
	for (; list; list = list->next)
		for (s = list->sessions; s; s = s->next) {
			if (!s->negotiated || s->closing)
				continue;
			qmp_session_send(s, json_incref(m));
			qmp_session_watch(s);
		}
	json_decref(m);
	json_decref(data);
}

void qmp_servers_free(struct qmp_server *list)
{
	struct qmp_server *next;

	for (; list; list = next) {
		next = list->next;
		while (list->sessions)
			qmp_session_free(list->sessions);
		twx_timer_cancel(&list->retry);
		if (list->watch.loop) {
			twx_watch_del(&list->watch);
			close(list->watch.fd);
			twx_net_unlink(list->net, list->path);
		}
		free(list);
	}
}
