/* SPDX-License-Identifier: BSD-3-Clause */
/* A listening unix socket: its file, who connects to it, and what happens when descriptors run out.
 */
#include "hosts/server_sock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/macros.h"
#include "net/net_priv.h"

#define ACCEPT_PAUSE_NS 100000000 /* after accept() ran out of descriptors or memory */

#define SOCK_LOG(s, level, fmt, ...)                                                               \
	twx_log((s)->host->net, TWX_LOG_##level, "%s: %s %s: " fmt, (s)->host->nic->id, (s)->kind, \
		(s)->path, ##__VA_ARGS__)

static void listen_ready(struct twx_watch *w, uint32_t events);

void sock_describe_peer(const struct twx_hostops *ops, int fd, char *buf, size_t size)
{
	struct ucred cred = { .pid = 0 };
	socklen_t len = sizeof(cred);
	char path[48], comm[32];
	ssize_t n = 0;
	int f;

	snprintf(buf, size, "a process of unknown pid");
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || cred.pid <= 0)
		return;
	snprintf(path, sizeof(path), "/proc/%d/comm", cred.pid);
	f = hostops_open(ops, path, O_RDONLY, 0);
	if (f >= 0) {
		n = read(f, comm, sizeof(comm) - 1);
		close(f);
	}
	comm[n > 0 ? n : 0] = '\0';
	comm[strcspn(comm, "\n")] = '\0';
	/* A process names itself: keep control characters out of the log. */
	for (char *c = comm; *c != '\0'; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	snprintf(buf, size, "pid %d (%s)", cred.pid, comm[0] != '\0' ? comm : "unknown");
}

bool sock_hung_up(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

/* Out of descriptors or memory: the listener stays readable, so it rests instead of spinning. */
static void accept_pause(struct server_sock *s, int err)
{
	SOCK_LOG(s, WARNING, "cannot accept a %s: %s", s->peer, strerror(err));
	twx_watch_del(&s->watch);
	twx_timer_set(&s->rest, twx_loop_now(s->host->loop) + ACCEPT_PAUSE_NS);
}

static void rest_over(struct twx_timer *t)
{
	struct server_sock *s = container_of(t, struct server_sock, rest);
	int err = twx_watch_add(&s->watch, s->host->loop, s->fd, EPOLLIN, listen_ready);

	if (err < 0)
		accept_pause(s, -err);
}

static void listen_ready(struct twx_watch *w, uint32_t events)
{
	struct server_sock *s = container_of(w, struct server_sock, watch);
	int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd >= 0)
		s->accepted(s, fd);
	else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
		accept_pause(s, errno);
}

void server_sock_refuse(struct server_sock *s, int fd, const char *who)
{
	char refused[48];

	sock_describe_peer(net_hostops(s->host->net), fd, refused, sizeof(refused));
	SOCK_LOG(s, WARNING, "refused %s %s, %s is connected", s->peer, refused, who);
	close(fd);
}

void server_sock_init(struct server_sock *s, struct twx_host *host, const char *kind,
		      const char *peer, void (*accepted)(struct server_sock *s, int fd))
{
	s->host = host;
	s->kind = kind;
	s->peer = peer;
	s->accepted = accepted;
	s->path[0] = '\0';
	s->fd = -1;
	twx_timer_init(&s->rest, host->loop, rest_over);
}

int server_sock_take_path(struct server_sock *s, const char *address, struct twx_error *e)
{
	const char *id = s->host->nic->id;

	if (address == NULL || address[0] == '\0') {
		twx_error_set(e, EINVAL, "%s: export=%s has no socket path", id, s->kind);
		return twx_error_hint(e, "write export=%s:PATH", s->kind);
	}
	if (strlen(address) >= sizeof(s->path)) {
		twx_error_set(e, ENAMETOOLONG, "%s: %s socket path is longer than %zu bytes: %s",
			      id, s->kind, sizeof(s->path) - 1, address);
		return twx_error_hint(e, "use a shorter path, for example under /run or /tmp");
	}
	memcpy(s->path, address, strlen(address) + 1);
	return 0;
}

int server_sock_open(struct server_sock *s, struct twx_error *e)
{
	const char *id = s->host->nic->id;
	int fd = hostops_unix_listen(net_hostops(s->host->net), s->path), err;

	if (fd < 0) {
		twx_error_set(e, -fd, "%s: cannot listen on %s socket %s: %s", id, s->kind, s->path,
			      strerror(-fd));
		if (fd == -EADDRINUSE)
			twx_error_hint(e, "another process serves that path; choose another one");
		else if (fd == -EEXIST)
			twx_error_hint(e, "the path exists and is no socket; choose another one");
		return fd;
	}
	hostops_sock_file_of(s->path, &s->file);
	s->fd = fd;
	err = twx_watch_add(&s->watch, s->host->loop, fd, EPOLLIN, listen_ready);
	if (err < 0)
		return twx_error_set(e, -err, "%s: cannot watch %s socket %s: %s", id, s->kind,
				     s->path, strerror(-err));
	return 0;
}

void server_sock_close(struct server_sock *s)
{
	twx_timer_cancel(&s->rest);
	if (s->fd < 0)
		return;
	twx_watch_del(&s->watch);
	hostops_sock_file_remove(net_hostops(s->host->net), s->path, &s->file);
	close(s->fd);
	s->fd = -1;
}
