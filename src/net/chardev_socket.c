/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Chardev "socket": a stream of TCP or of a unix socket, by connecting or by waiting for somebody.
 *
 * Nothing happens before a user takes the chardev. Then a client connects: to a unix socket at
 * once, to TCP in the background, trying the addresses that the host had at set-up in turn; a lost
 * connection is tried again when reconnect-ms= says so. A server listens and has one client at a
 * time: the next waits in the backlog until that one has left. Who only claims the address
 * (vhost-user) gets path and options, and the chardev does nothing.
 */
#include "net/chardev_priv.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/hostops.h"
#include "base/macros.h"
#include "net/net_priv.h"

#define SOCKET_ADDRS 8
#define SOCKET_TEXT 320
#define ACCEPT_RETRY_NS 100000000ull /* no descriptor is left, or no memory */

struct socket_addr {
	struct sockaddr_storage ss;
	socklen_t len;
};

struct chardev_sock {
	struct twx_chardev *c;
	struct chardev_socket address; /* what a claim gets; path null for TCP */
	bool abstract, by_fd;
	struct socket_addr addr[SOCKET_ADDRS];
	int n_addr, at; /* tried last */
	uint16_t port_to;
	char text[SOCKET_TEXT]; /* "'/run/x'", "'127.0.0.1:5555'" */
	int fd, pending_fd, listen_fd;
	struct twx_watch pending_watch, listen_watch;
	struct twx_timer timer;
	bool told; /* that connecting fails; once until it works */
	struct hostops_sock_file file;
};

static const struct twx_opt_desc socket_options[] = {
	{ "path", TWX_OPT_STR, NULL, "unix socket", "PATH" },
	{ "abstract", TWX_OPT_BOOL, "off", "the path is an abstract name, not a file's" },
	{ "tight", TWX_OPT_BOOL, "on",
	  "an abstract name ends with its last letter; off: filled with zeros" },
	{ "host", TWX_OPT_STR, NULL, "TCP: a number or a name; empty for a server: any", "HOST" },
	{ "port", TWX_OPT_STR, NULL, "TCP: port", "PORT" },
	{ "to", TWX_OPT_INT, NULL, "TCP server: last port to try when others are taken", "PORT", 0,
	  65535 },
	{ "ipv4", TWX_OPT_BOOL, NULL, "TCP: whether IPv4 will do" },
	{ "ipv6", TWX_OPT_BOOL, NULL, "TCP: whether IPv6 will do" },
	{ "nodelay", TWX_OPT_BOOL, "on", "TCP: small writes go out at once" },
	{ "fd", TWX_OPT_STR, NULL,
	  "number of a connected socket, inherited; a server: of one that "
	  "listens",
	  "N" },
	{ "server", TWX_OPT_BOOL, "off", "waits for a client instead of connecting" },
	{ "wait", TWX_OPT_BOOL, NULL,
	  "server: vhost-user starts with its back end only; others never wait" },
	{ "reconnect", TWX_OPT_INT, NULL, "client: seconds until the next attempt; 0: none", NULL,
	  0, UINT32_MAX / 1000 },
	{ "reconnect-ms", TWX_OPT_INT, NULL, "client: the same in milliseconds", NULL, 0,
	  UINT32_MAX },
	{ NULL },
};

static void sock_shut(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void sock_later(struct chardev_sock *s, uint64_t ns)
{
	twx_timer_set(&s->timer, twx_loop_now(s->c->loop) + ns);
}

/* The connection @fd is there, and taken: 0 or -errno. */
static int sock_up(struct chardev_sock *s, int fd)
{
	int err;

	s->fd = fd;
	err = chardev_attach(s->c, fd, fd);
	if (err) {
		sock_shut(&s->fd);
		return err;
	}
	s->told = false;
	twx_log(s->c->net, TWX_LOG_INFO, "chardev %s: %s %s", s->c->id,
		s->address.server ? "somebody connected to" : "connected to", s->text);
	return 0;
}

static void sock_tune(struct chardev_sock *s, int fd)
{
	int on = 1;

	if (s->addr[0].ss.ss_family != AF_UNIX && twx_opts_bool(s->c->opts, "nodelay"))
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* --- client --- */

static void sock_pending(struct twx_watch *w, uint32_t events);

/* Connects to address number @i: the descriptor or -errno. */
static int sock_begin(struct chardev_sock *s, int i, bool *pending)
{
	const struct twx_hostops *ops = net_hostops(s->c->net);
	const struct socket_addr *a = &s->addr[i];
	int fd, err;

	*pending = false;
	if (a->ss.ss_family == AF_UNIX && !s->abstract)
		return hostops_unix_connect(ops, s->address.path);
	fd = socket(a->ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	sock_tune(s, fd);
	err = hostops_connect(ops, fd, (const struct sockaddr *)&a->ss, a->len);
	*pending = err == -EINPROGRESS;
	if (!err || *pending)
		return fd;
	close(fd);
	return err;
}

/* Tries the addresses that are left. 0: connected, or about to be. */
static int sock_try(struct chardev_sock *s)
{
	int err = -ECONNREFUSED, fd;
	bool pending;

	for (; s->at < s->n_addr; s->at++) {
		fd = sock_begin(s, s->at, &pending);
		err = fd;
		if (fd < 0)
			continue;
		if (!pending) {
			err = sock_up(s, fd);
		} else {
			s->pending_fd = fd;
			err = twx_watch_add(&s->pending_watch, s->c->loop, fd, EPOLLOUT,
					    sock_pending);
			if (err)
				sock_shut(&s->pending_fd);
		}
		if (!err)
			return 0;
	}
	return err;
}

/* Nobody was there. */
static void sock_failed(struct chardev_sock *s, int err)
{
	uint32_t ms = s->address.reconnect_ms;

	if (!s->told)
		twx_log(s->c->net, ms ? TWX_LOG_WARNING : TWX_LOG_ERROR,
			"Unable to connect character device %s: Failed to connect to %s: %s%s",
			s->c->id, s->text, strerror(-err), ms ? "; trying again" : "");
	s->told = true;
	if (ms)
		sock_later(s, (uint64_t)ms * 1000000);
}

static void sock_pending(struct twx_watch *w, uint32_t events)
{
	struct chardev_sock *s = container_of(w, struct chardev_sock, pending_watch);
	int err = 0, fd = s->pending_fd;
	socklen_t len = sizeof(err);

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len);
	err = -err;
	twx_watch_del(&s->pending_watch);
	s->pending_fd = -1;
	if (err)
		close(fd);
	else
		err = sock_up(s, fd);
	if (err && ++s->at < s->n_addr)
		err = sock_try(s);
	if (err)
		sock_failed(s, err);
	else if (s->fd >= 0)
		chardev_tell_open(s->c);
}

static int sock_take_client(struct chardev_sock *s, struct twx_error *e)
{
	int err;

	s->at = 0;
	s->told = false;
	err = sock_try(s);
	if (!err)
		return 0;
	if (s->address.reconnect_ms) {
		sock_failed(s, err);
		return 0;
	}
	twx_error_set(e, -err, "Failed to connect to %s: %s", s->text, strerror(-err));
	return twx_error_hint(e, "start the server first, or add reconnect-ms=1000");
}

/* --- server --- */

static int sock_listen_one(struct chardev_sock *s, const struct socket_addr *a)
{
	int fd = socket(a->ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
	int err;

	if (fd < 0)
		return -errno;
	if (a->ss.ss_family != AF_UNIX)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	err = hostops_bind(net_hostops(s->c->net), fd, (const struct sockaddr *)&a->ss, a->len);
	if (!err && listen(fd, 1) < 0)
		err = -errno;
	if (err)
		close(fd);
	return err ? err : fd;
}

/* sin_port and sin6_port lie at the same place. */
static in_port_t *sock_port(struct socket_addr *a)
{
	return &((struct sockaddr_in *)&a->ss)->sin_port;
}

static int sock_listen_inet(struct chardev_sock *s)
{
	uint32_t first = ntohs(*sock_port(&s->addr[0])), port;
	uint32_t last = max((uint32_t)s->port_to, first);
	int fd = -EADDRNOTAVAIL, i;

	for (port = first; port <= last; port++) {
		for (i = 0; i < s->n_addr; i++) {
			struct socket_addr a = s->addr[i];

			*sock_port(&a) = htons((uint16_t)port);
			fd = sock_listen_one(s, &a);
			if (fd >= 0)
				return fd;
		}
		if (fd != -EADDRINUSE)
			break;
	}
	return fd;
}

static void sock_accept(struct twx_watch *w, uint32_t events)
{
	struct chardev_sock *s = container_of(w, struct chardev_sock, listen_watch);
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int err = fd < 0 ? -errno : 0;

	if (err == -EAGAIN || err == -ECONNABORTED || err == -EINTR)
		return;
	twx_watch_set(&s->listen_watch, 0);
	if (!err) {
		sock_tune(s, fd);
		err = sock_up(s, fd);
	}
	if (!err) {
		chardev_tell_open(s->c);
		return;
	}
	twx_log(s->c->net, TWX_LOG_WARNING, "chardev %s: cannot accept a connection: %s", s->c->id,
		strerror(-err));
	sock_later(s, ACCEPT_RETRY_NS);
}

static int sock_take_server(struct chardev_sock *s, struct twx_error *e)
{
	bool file = s->address.path && !s->abstract;
	int err;

	if (!s->by_fd) {
		if (file)
			s->listen_fd = hostops_unix_listen(net_hostops(s->c->net), s->address.path);
		else
			s->listen_fd =
				s->abstract ? sock_listen_one(s, &s->addr[0]) : sock_listen_inet(s);
		if (s->listen_fd < 0) {
			err = s->listen_fd;
			s->listen_fd = -1;
			twx_error_set(e, -err, "Failed to bind socket to %s: %s", s->text,
				      strerror(-err));
			return err == -EADDRINUSE ? twx_error_hint(e, "another program has it")
						  : err;
		}
		if (file)
			hostops_sock_file_of(s->address.path, &s->file);
	}
	err = twx_watch_add(&s->listen_watch, s->c->loop, s->listen_fd, EPOLLIN, sock_accept);
	return err ? twx_error_set(e, -err, "cannot watch the socket: %s", strerror(-err)) : 0;
}

/* --- life --- */

static void sock_timer(struct twx_timer *t)
{
	struct chardev_sock *s = container_of(t, struct chardev_sock, timer);
	int err;

	if (s->address.server) {
		twx_watch_set(&s->listen_watch, EPOLLIN);
		return;
	}
	s->at = 0;
	err = sock_try(s);
	if (err)
		sock_failed(s, err);
	else if (s->fd >= 0)
		chardev_tell_open(s->c);
}

static void sock_lost(struct twx_chardev *c)
{
	struct chardev_sock *s = c->priv;

	sock_shut(&s->fd);
	if (s->address.server)
		twx_watch_set(&s->listen_watch, EPOLLIN);
	else if (s->address.reconnect_ms)
		sock_later(s, (uint64_t)s->address.reconnect_ms * 1000000);
}

static void sock_release(struct twx_chardev *c)
{
	struct chardev_sock *s = c->priv;

	twx_timer_cancel(&s->timer);
	twx_watch_del(&s->pending_watch);
	sock_shut(&s->pending_fd);
	twx_watch_del(&s->listen_watch);
	/* What was inherited could not be had again. */
	if (s->by_fd && s->listen_fd < 0)
		return;
	chardev_detach(c);
	sock_shut(&s->fd);
	if (s->by_fd)
		return;
	if (s->listen_fd >= 0 && s->address.path && !s->abstract)
		hostops_sock_file_remove(net_hostops(c->net), s->address.path, &s->file);
	sock_shut(&s->listen_fd);
}

static int sock_take(struct twx_chardev *c, struct twx_error *e)
{
	struct chardev_sock *s = c->priv;
	int err = 0;

	if (s->address.server)
		err = sock_take_server(s, e);
	else if (!s->by_fd)
		err = sock_take_client(s, e);
	if (err)
		sock_release(c);
	return err;
}

static void sock_close(struct twx_chardev *c)
{
	struct chardev_sock *s = c->priv;

	sock_release(c);
	chardev_detach(c);
	sock_shut(&s->fd);
	sock_shut(&s->listen_fd);
}

static const struct chardev_socket *sock_claim(struct twx_chardev *c, struct twx_error *e)
{
	struct chardev_sock *s = c->priv;

	if (s->address.path && !s->abstract)
		return &s->address;
	twx_error_set(e, EINVAL, "chardev \"%s\" is not a unix socket", c->id);
	twx_error_hint(e, "give it path=, the name of a socket's file");
	return NULL;
}

/* --- options --- */

static int sock_set_path(struct chardev_sock *s, const struct twx_opts *o, struct twx_error *e)
{
	struct sockaddr_un *sun = (struct sockaddr_un *)&s->addr[0].ss;
	size_t len = strlen(s->address.path), at;

	s->abstract = twx_opts_bool(o, "abstract");
	at = s->abstract;
	if (!len || len + at + !s->abstract > sizeof(sun->sun_path)) {
		twx_error_set(e, ENAMETOOLONG, "'%s' cannot be a socket's name", s->address.path);
		return twx_error_hint(e, "it has 1 to %zu bytes", sizeof(sun->sun_path) - 1);
	}
	sun->sun_family = AF_UNIX;
	memcpy(sun->sun_path + at, s->address.path, len);
	s->addr[0].len = s->abstract && twx_opts_bool(o, "tight")
				 ? (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len)
				 : (socklen_t)sizeof(*sun);
	s->n_addr = 1;
	snprintf(s->text, sizeof(s->text), "'%s%s'", s->abstract ? "@" : "", s->address.path);
	return 0;
}

static int sock_family(const struct twx_opts *o)
{
	bool v4 = twx_opts_bool(o, "ipv4"), v6 = twx_opts_bool(o, "ipv6");

	/* One that is refused leaves the other; one that is asked for, without a word about the
	 * other, is it. */
	if (twx_opts_given(o, "ipv4") && !twx_opts_given(o, "ipv6"))
		return v4 ? AF_INET : AF_INET6;
	if (twx_opts_given(o, "ipv6") && !twx_opts_given(o, "ipv4"))
		return v6 ? AF_INET6 : AF_INET;
	return v4 == v6 ? AF_UNSPEC : v4 ? AF_INET : AF_INET6;
}

static int sock_set_host(struct chardev_sock *s, const struct twx_opts *o, struct twx_error *e)
{
	const char *host = twx_opts_str(o, "host"), *port = twx_opts_str(o, "port");
	struct sockaddr_storage out[SOCKET_ADDRS];
	int n, i;

	if (!port)
		return twx_error_set(e, EINVAL, "socket: no port given");
	n = hostops_resolve(net_hostops(s->c->net), *host ? host : NULL, port, sock_family(o),
			    SOCK_STREAM, s->address.server ? AI_PASSIVE : 0, out, SOCKET_ADDRS);
	if (n < 0)
		return twx_error_set(e, -n, "address resolution failed for %s:%s: %s", host, port,
				     n == -ENOENT ? "no such name" : strerror(-n));
	for (i = 0; i < n; i++) {
		s->addr[i].ss = out[i];
		s->addr[i].len = out[i].ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
							      : sizeof(struct sockaddr_in);
	}
	s->n_addr = n;
	s->port_to = (uint16_t)twx_opts_int(o, "to");
	snprintf(s->text, sizeof(s->text), "'%s:%s'", host, port);
	return 0;
}

static int sock_set_fd(struct chardev_sock *s, const struct twx_opts *o, struct twx_error *e)
{
	const char *text = twx_opts_str(o, "fd");
	int listens = 0, type = 0, fd;
	socklen_t len = sizeof(int);
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || n > INT_MAX)
		return twx_error_set(e, EINVAL, "Unable to parse FD number %s", text);
	fd = (int)n;
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) || type != SOCK_STREAM)
		return twx_error_set(e, EINVAL, "File descriptor '%d' is not a %ssocket", fd,
				     type ? "stream " : "");
	len = sizeof(int);
	getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len);
	if ((listens != 0) != s->address.server) {
		twx_error_set(e, EINVAL, "descriptor %d is %sa listening socket", fd,
			      listens ? "" : "not ");
		return twx_error_hint(e, "server=on goes with a listening one, and no other");
	}
	chardev_own_fd(fd);
	s->by_fd = true;
	snprintf(s->text, sizeof(s->text), "descriptor %d", fd);
	if (listens) {
		s->listen_fd = fd;
		return 0;
	}
	return sock_up(s, fd) ? twx_error_set(e, EIO, "cannot watch descriptor %d", fd) : 0;
}

static int sock_check(struct chardev_sock *s, const struct twx_opts *o, struct twx_error *e)
{
	bool again = twx_opts_given(o, "reconnect") || twx_opts_given(o, "reconnect-ms");
	int n = twx_opts_given(o, "path") + twx_opts_given(o, "fd") + twx_opts_given(o, "host");

	if (n != 1) {
		twx_error_set(e, EINVAL, "None or one of 'path', 'fd' or 'host' option required.");
		return twx_error_hint(e, "write socket,id=%s,path=PATH or host=HOST,port=PORT",
				      s->c->id);
	}
	if (s->address.server && again)
		return twx_error_set(
			e, EINVAL,
			"'reconnect' option is incompatible with socket in server listen mode");
	if (!s->address.server && twx_opts_given(o, "wait"))
		return twx_error_set(
			e, EINVAL,
			"'wait' option is incompatible with socket in client connect mode");
	if (twx_opts_given(o, "reconnect") && twx_opts_given(o, "reconnect-ms"))
		return twx_error_set(e, EINVAL,
				     "'reconnect' and 'reconnect-ms' are mutually exclusive");
	if (again && twx_opts_given(o, "fd"))
		return twx_error_set(e, EINVAL,
				     "'reconnect' option is incompatible with a descriptor");
	return 0;
}

static int sock_open(struct twx_chardev *c, const struct twx_opts *o, struct twx_error *e)
{
	struct chardev_sock *s = c->priv;
	int err;

	s->c = c;
	s->fd = s->pending_fd = s->listen_fd = -1;
	twx_timer_init(&s->timer, c->loop, sock_timer);
	s->address.server = twx_opts_bool(o, "server");
	s->address.wait =
		s->address.server && (!twx_opts_given(o, "wait") || twx_opts_bool(o, "wait"));
	s->address.reconnect_ms = twx_opts_given(o, "reconnect")
					  ? (uint32_t)twx_opts_int(o, "reconnect") * 1000
					  : (uint32_t)twx_opts_int(o, "reconnect-ms");
	err = sock_check(s, o, e);
	if (err)
		return err;
	s->address.path = twx_opts_str(o, "path");
	if (s->address.path)
		return sock_set_path(s, o, e);
	return twx_opts_given(o, "fd") ? sock_set_fd(s, o, e) : sock_set_host(s, o, e);
}

const struct twx_chardev_type chardev_socket = {
	.name = "socket",
	.help = "TCP or a unix socket, as client or server",
	.options = socket_options,
	.priv_size = sizeof(struct chardev_sock),
	.open = sock_open,
	.close = sock_close,
	.take = sock_take,
	.release = sock_release,
	.lost = sock_lost,
	.claim = sock_claim,
};
