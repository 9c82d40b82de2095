/* SPDX-License-Identifier: BSD-3-Clause */
/* Sockets of the socket backends: listening, connecting, bound, inherited. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "backends/sock/sock.h"
#include "base/hostops.h"
#include "net/net_priv.h"

#ifndef IPPROTO_MPTCP /* glibc 2.32 */
#define IPPROTO_MPTCP 262
#endif

#define BACKLOG 1 /* one peer at a time; the next may wait */

static const struct sockaddr *sockaddr_of(const struct sock_addr *a)
{
	return (const struct sockaddr *)&a->ss;
}

/* The path that this address is in the file system; null if it is none. */
static const char *path_of(const struct sock_spec *s)
{
	const struct sockaddr_un *sun = (const struct sockaddr_un *)&s->addr[0].ss;

	return s->kind == SOCK_UNIX && !s->abstract ? sun->sun_path : NULL;
}

static int new_socket(const struct sock_spec *s, int i, int type)
{
	int protocol = s->mptcp && type == SOCK_STREAM ? IPPROTO_MPTCP : 0, on = 1;
	int fd = socket(s->addr[i].ss.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);

	if (fd >= 0 && s->v6only)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	return fd < 0 ? -errno : fd;
}

void sock_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void sock_unlink(const struct sock_spec *s, struct twx_backend *b)
{
	if (path_of(s))
		hostops_sock_file_remove(net_hostops(b->net), path_of(s), &s->file);
}

/* --- listening --- */

static int bind_failed(const struct sock_spec *s, const char *what, int err, struct twx_error *e)
{
	twx_error_set(e, -err, "cannot %s %s: %s", what, s->text, strerror(-err));
	switch (-err) {
	case EADDRINUSE:
		return twx_error_hint(e, "another program has it; choose another %s",
				      s->kind == SOCK_UNIX ? "path" : "port");
	case EADDRNOTAVAIL:
		return twx_error_hint(e, "no interface of this machine has that address");
	case EEXIST:
		return twx_error_hint(e, "a file that is no socket is there: remove it, or choose "
					 "another path");
	case ENOENT:
		return twx_error_hint(e, "make the folder first");
	case EACCES:
		return twx_error_hint(e, s->kind == SOCK_UNIX
						 ? "choose a folder where you may write"
						 : "ports below 1024 are for root");
	default:
		return err;
	}
}

/* One address and port. */
static int listen_inet(const struct sock_spec *s, struct twx_backend *b, int i, uint16_t port)
{
	struct sock_addr a = s->addr[i];
	int fd = new_socket(s, i, SOCK_STREAM), on = 1, err;

	if (fd < 0)
		return fd;
	sock_set_port(&a, port);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	err = hostops_bind(net_hostops(b->net), fd, sockaddr_of(&a), a.len);
	if (!err && listen(fd, BACKLOG) < 0)
		err = -errno;
	if (err)
		close(fd);
	return err ? err : fd;
}

static int listen_ports(const struct sock_spec *s, struct twx_backend *b)
{
	uint32_t port = sock_port(&s->addr[0]), last = s->port_to ? s->port_to : port;
	int i, fd = -EADDRNOTAVAIL;

	for (; port <= last; port++) {
		for (i = 0; i < s->n_addr; i++) {
			fd = listen_inet(s, b, i, (uint16_t)port);
			if (fd >= 0)
				return fd;
		}
		if (fd != -EADDRINUSE)
			break;
	}
	return fd;
}

static int listen_abstract(const struct sock_spec *s, struct twx_backend *b)
{
	int fd = new_socket(s, 0, SOCK_STREAM), err;

	if (fd < 0)
		return fd;
	err = hostops_bind(net_hostops(b->net), fd, sockaddr_of(&s->addr[0]), s->addr[0].len);
	if (!err && listen(fd, BACKLOG) < 0)
		err = -errno;
	if (err)
		close(fd);
	return err ? err : fd;
}

bool sock_listens(int fd)
{
	socklen_t len = sizeof(int);
	int on = 0;

	return !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) && on;
}

int sock_listen(struct sock_spec *s, struct twx_backend *b, struct twx_error *e)
{
	int fd, type = SOCK_STREAM;

	switch (s->kind) {
	case SOCK_INET:
		fd = listen_ports(s, b);
		break;
	case SOCK_UNIX:
		fd = s->abstract ? listen_abstract(s, b)
				 : hostops_unix_listen(net_hostops(b->net), path_of(s));
		break;
	default:
		if (sock_listens(s->fd))
			return sock_take_fd(s->fd, &type, e);
		twx_error_set(e, EINVAL, "descriptor %d is not a listening socket", s->fd);
		return twx_error_hint(e, "pass one on which listen() has been called, or leave "
					 "server= out");
	}
	if (fd < 0)
		return bind_failed(s, "listen on", fd, e);
	if (path_of(s))
		hostops_sock_file_of(path_of(s), &s->file);
	return fd;
}

/* --- connecting --- */

int sock_connect(const struct sock_spec *s, struct twx_backend *b, int i, bool *pending)
{
	const struct twx_hostops *ops = net_hostops(b->net);
	int fd, err;

	*pending = false;
	if (path_of(s))
		return hostops_unix_connect(ops, path_of(s));
	fd = new_socket(s, i, SOCK_STREAM);
	if (fd < 0)
		return fd;
	err = hostops_connect(ops, fd, sockaddr_of(&s->addr[i]), s->addr[i].len);
	if (err == -EINPROGRESS) /* on this machine the answer is there already */
		err = sock_connect_result(fd);
	if (!err || err == -EINPROGRESS) {
		*pending = err != 0;
		return fd;
	}
	close(fd);
	return err;
}

int sock_connect_result(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	socklen_t len = sizeof(int);
	int err = 0;

	if (poll(&p, 1, 0) <= 0)
		return -EINPROGRESS;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		return -errno;
	return -err;
}

void sock_tune(int fd, const struct sock_spec *s)
{
	int on = 1;

	/* Bursts are written whole; waiting for more would only delay the last segment. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (!s->keep_alive)
		return;
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	if (s->keep_count)
		setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &s->keep_count, sizeof(int));
	if (s->keep_idle)
		setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &s->keep_idle, sizeof(int));
	if (s->keep_interval)
		setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &s->keep_interval, sizeof(int));
}

void sock_peer(int fd, struct sock_addr *a)
{
	a->len = sizeof(a->ss);
	if (getpeername(fd, (struct sockaddr *)&a->ss, &a->len) < 0)
		a->len = 0;
}

/* --- datagrams --- */

int sock_bind_dgram(struct sock_spec *s, struct twx_backend *b, struct twx_error *e)
{
	const struct twx_hostops *ops = net_hostops(b->net);
	int fd = new_socket(s, 0, SOCK_DGRAM), err;

	if (fd < 0)
		return twx_error_set(e, -fd, "cannot make a datagram socket: %s", strerror(-fd));
	if (path_of(s))
		err = hostops_unix_bind(ops, fd, path_of(s));
	else
		err = hostops_bind(ops, fd, sockaddr_of(&s->addr[0]), s->addr[0].len);
	if (!err && path_of(s))
		hostops_sock_file_of(path_of(s), &s->file);
	if (!err)
		return fd;
	close(fd);
	return bind_failed(s, "bind to", err, e);
}

/* --- inherited --- */

int sock_take_fd(int fd, int *type, struct twx_error *e)
{
	socklen_t len = sizeof(int);
	int found, domain;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &found, &len) < 0) {
		if (errno == ENOTSOCK)
			twx_error_set(e, errno, "descriptor %d is not a socket", fd);
		else
			twx_error_set(e, errno, "Can't use file descriptor %d: %s", fd,
				      strerror(errno));
		return twx_error_hint(e, "give the number of a socket that this program inherits");
	}
	len = sizeof(int);
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 ||
	    (domain != AF_INET && domain != AF_INET6 && domain != AF_UNIX) ||
	    (found != SOCK_STREAM && found != SOCK_DGRAM))
		return twx_error_set(e, EINVAL,
				     "descriptor %d is neither a stream nor a datagram socket of "
				     "inet or unix",
				     fd);
	if (*type && *type != found)
		return twx_error_set(e, EINVAL, "descriptor %d is not a %s socket", fd,
				     *type == SOCK_STREAM ? "stream" : "datagram");
	*type = found;
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ||
	    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
		return twx_error_set(e, errno, "Can't use file descriptor %d: %s", fd,
				     strerror(errno));
	return fd;
}
