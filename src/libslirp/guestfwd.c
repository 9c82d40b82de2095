/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest forwards by libslirp's calls: to a command, to a unix socket, or to a callback. */

/*
 * A connection is a flow of the stack with one end of a pair of sockets (backends/user/guestfwd.c);
 * here is the other end. A command gets it as its standard input and output, a unix socket's
 * connection is relayed to it, and for a callback it is read here: slirp_socket_recv() fills a
 * buffer of FWD_BUF bytes, and slirp_socket_can_recv() says how much room there is. What the
 * callback does not take is offered again later, and the guest waits.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backends/user/user.h"
#include "base/hostops.h"
#include "base/macros.h"
#include "libslirp/slirp.h"
#include "net/net_priv.h"

#define FWD_BUF 65536
#define AGAIN_NS 10000000ull

struct fwd_buf {
	uint8_t data[FWD_BUF];
	size_t off, len; /* data[off..off + len) */
};

/* The connection of a callback. */
struct fwd_conn {
	struct fwd_buf in, out; /* to and from the guest */
	bool guest_done;
};

struct slirp_fwd {
	struct slirp_fwd *next;
	struct Slirp *slirp;
	struct in_addr addr;
	uint16_t port;
	char *path; /* a unix socket, or */
	slirp_write_fn *write;
	void *opaque;
	int fd; /* -1: no connection */
	struct fwd_conn *conn;
	struct twx_watch watch;
	struct twx_timer again;
};

/* --- a callback --- */

static void conn_close(struct slirp_fwd *f)
{
	if (f->fd < 0)
		return;
	twx_watch_del(&f->watch);
	twx_timer_cancel(&f->again);
	close(f->fd);
	free(f->conn);
	f->fd = -1;
	f->conn = NULL;
}

static void conn_update(struct slirp_fwd *f)
{
	const struct fwd_conn *c = f->conn;
	uint32_t events = c->in.len ? EPOLLOUT : 0u;

	if (!c->out.len && !c->guest_done)
		events |= EPOLLIN;
	twx_watch_set(&f->watch, events);
}

/* Offers what came from the guest. */
static void conn_offer(struct slirp_fwd *f)
{
	struct fwd_buf *b = &f->conn->out;
	ssize_t n = f->write(b->data + b->off, b->len, f->opaque);

	n = min(max(n, (ssize_t)0), (ssize_t)b->len);
	b->off += (size_t)n;
	b->len -= (size_t)n;
	if (b->len)
		twx_timer_set(&f->again, twx_loop_now(f->slirp->loop) + AGAIN_NS);
}

static void conn_again(struct twx_timer *t)
{
	struct slirp_fwd *f = container_of(t, struct slirp_fwd, again);

	conn_offer(f);
	conn_update(f);
}

/* False: it has ended. */
static bool conn_read(struct slirp_fwd *f)
{
	struct fwd_conn *c = f->conn;
	ssize_t n = recv(f->fd, c->out.data, sizeof(c->out.data), MSG_DONTWAIT);

	if (n > 0) {
		c->out.off = 0;
		c->out.len = (size_t)n;
		conn_offer(f);
	} else if (!n) {
		c->guest_done = true;
	} else if (errno != EAGAIN && errno != EINTR) {
		conn_close(f);
		return false;
	}
	return true;
}

static void conn_write(struct slirp_fwd *f)
{
	struct fwd_buf *b = &f->conn->in;
	ssize_t n = b->len ? send(f->fd, b->data + b->off, b->len, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;

	if (n <= 0)
		return;
	b->off += (size_t)n;
	b->len -= (size_t)n;
	if (!b->len)
		b->off = 0;
}

static void conn_event(struct twx_watch *w, uint32_t events)
{
	struct slirp_fwd *f = container_of(w, struct slirp_fwd, watch);
	struct Slirp *s = f->slirp;
	bool full = f->conn->in.len == FWD_BUF;

	if (events & EPOLLERR) {
		conn_close(f);
		return;
	}
	if ((events & (EPOLLIN | EPOLLHUP)) && !f->conn->out.len && !f->conn->guest_done &&
	    !conn_read(f))
		return;
	conn_write(f);
	conn_update(f);
	if (full && f->conn->in.len < FWD_BUF && s->cb.notify)
		s->cb.notify(s->opaque);
}

/* Takes @fd. */
static int conn_take(struct slirp_fwd *f, int fd)
{
	int err;

	if (f->fd >= 0 && f->conn->guest_done)
		conn_close(f);
	err = f->fd >= 0 ? -ECONNREFUSED : 0;
	if (!err) {
		f->conn = calloc(1, sizeof(*f->conn));
		err = f->conn ? twx_watch_add(&f->watch, f->slirp->loop, fd, EPOLLIN, conn_event)
			      : -ENOMEM;
	}
	if (err) {
		close(fd);
		if (f->fd < 0) {
			free(f->conn);
			f->conn = NULL;
		}
		return err;
	}
	f->fd = fd;
	return 0;
}

/* --- the stack's side --- */

static int take(void *opaque, int fd)
{
	struct slirp_fwd *f = opaque;
	struct Slirp *s = f->slirp;
	int peer;

	if (!f->path)
		return conn_take(f, fd);
	peer = hostops_unix_connect(net_hostops(s->net), f->path);
	if (peer < 0) {
		close(fd);
		return peer;
	}
	return relay_start_take(s->user, fd, peer);
}

static struct slirp_fwd *find(struct Slirp *s, struct in_addr addr, int port)
{
	struct slirp_fwd *f = s->fwds;

	while (f && (f->addr.s_addr != addr.s_addr || f->port != port))
		f = f->next;
	return f;
}

static void fwd_free(struct slirp_fwd *f)
{
	conn_close(f);
	free(f->path);
	free(f);
}

static int add(struct Slirp *s, struct slirp_fwd *f, struct in_addr *addr, int port)
{
	struct twx_error e = { 0 };
	int ret = -EINVAL;

	f->slirp = s;
	f->fd = -1;
	twx_timer_init(&f->again, s->loop, conn_again);
	if (port > 0 && port <= 65535)
		ret = guestfwd_add_hook(s->user, addr, (uint16_t)port, take, f, &e);
	if (ret) {
		fwd_free(f);
		return -1;
	}
	f->addr = *addr;
	f->port = (uint16_t)port;
	f->next = s->fwds;
	s->fwds = f;
	return 0;
}

/* --- libslirp's calls: 0 or -1 --- */

int slirp_add_guestfwd(struct Slirp *s, slirp_write_fn *write, void *opaque,
		       struct in_addr *guest_addr, int guest_port)
{
	struct slirp_fwd *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	f->write = write;
	f->opaque = opaque;
	return add(s, f, guest_addr, guest_port);
}

int slirp_add_unix(struct Slirp *s, const char *path, struct in_addr *guest_addr, int guest_port)
{
	struct slirp_fwd *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	f->path = strdup(path);
	if (!f->path) {
		free(f);
		return -1;
	}
	return add(s, f, guest_addr, guest_port);
}

int slirp_add_exec(struct Slirp *s, const char *cmdline, struct in_addr *guest_addr, int guest_port)
{
	struct twx_error e = { 0 };

	if (guest_port <= 0 || guest_port > 65535)
		return -1;
	return guestfwd_add_command(s->user, guest_addr, (uint16_t)guest_port, cmdline, &e) ? -1
											    : 0;
}

int slirp_remove_guestfwd(struct Slirp *s, struct in_addr guest_addr, int guest_port)
{
	struct slirp_fwd **at = &s->fwds, *f = find(s, guest_addr, guest_port);

	if (guest_port <= 0 || guest_port > 65535 ||
	    guestfwd_remove(s->user, guest_addr, (uint16_t)guest_port))
		return -1;
	if (!f)
		return 0;
	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	fwd_free(f);
	return 0;
}

size_t slirp_socket_can_recv(struct Slirp *s, struct in_addr guest_addr, int guest_port)
{
	const struct slirp_fwd *f = find(s, guest_addr, guest_port);

	return f && f->conn ? FWD_BUF - f->conn->in.len : 0;
}

void slirp_socket_recv(struct Slirp *s, struct in_addr guest_addr, int guest_port,
		       const uint8_t *buf, int len)
{
	struct slirp_fwd *f = find(s, guest_addr, guest_port);
	struct fwd_buf *b;
	size_t n;

	if (!f || !f->conn || len <= 0)
		return;
	b = &f->conn->in;
	if (b->off) {
		memmove(b->data, b->data + b->off, b->len);
		b->off = 0;
	}
	n = min((size_t)len, FWD_BUF - b->len);
	memcpy(b->data + b->len, buf, n);
	b->len += n;
	conn_write(f);
	conn_update(f);
}

void fwds_close(struct Slirp *s)
{
	while (s->fwds) {
		struct slirp_fwd *f = s->fwds;

		s->fwds = f->next;
		fwd_free(f);
	}
}
