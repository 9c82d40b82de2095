/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bytes of a chardev: read when its user has room, written at once or queued.
 *
 * In: EPOLLIN is watched while the user has room; one read an event, of at most that room. Without
 * room only the other end's leaving is watched: when it has left bytes behind they are kept for
 * the user, else that is the end. A file, which epoll does not take, is read by a task.
 *
 * Out: what the descriptor takes now is written now. The rest is queued, up to CHARDEV_QUEUE bytes,
 * and follows with EPOLLOUT; a user that was cut short hears of it (drained) when half of the
 * queue is free. With nobody at the other end bytes are lost, as on a serial line.
 *
 * Users are called from the loop alone, never from within their own calls: a write that fails ends
 * the stream by a task. After each call of a user it may have released the chardev.
 *
 * A pipe without a reader raises SIGPIPE, which a library has no business to handle: it is held
 * back in this thread around the write, and taken out when it came.
 */
#include "net/chardev_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/macros.h"

static void io_in_task(struct twx_task *t);
static void io_fail_task(struct twx_task *t);
static void io_in_event(struct twx_watch *w, uint32_t events);
static void io_out_event(struct twx_watch *w, uint32_t events);

void chardev_io_init(struct twx_chardev *c)
{
	c->in = c->out = -1;
	c->in_task.fn = io_in_task;
	c->fail_task.fn = io_fail_task;
}

int chardev_own_fd(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -EBADF;
	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	return 0;
}

static void io_set(struct twx_watch *w, uint32_t events)
{
	if (w->loop && w->events != events)
		twx_watch_set(w, events);
}

/* Watches what matters now. */
static void io_update(struct twx_chardev *c)
{
	uint32_t in = 0, out = c->n_out ? EPOLLOUT : 0u;

	if (!c->eof && c->room)
		in = EPOLLIN;
	else if (!c->eof && c->in_sock && !c->hung)
		in = EPOLLRDHUP;
	if (c->sync_in && in)
		twx_loop_defer(c->loop, &c->in_task);
	io_set(&c->in_watch, c->in == c->out ? in | out : in);
	io_set(&c->out_watch, out);
}

static mode_t io_mode(int fd)
{
	struct stat st;

	return fd >= 0 && !fstat(fd, &st) ? st.st_mode : 0;
}

int chardev_attach(struct twx_chardev *c, int in, int out)
{
	int err = 0;

	c->in = in;
	c->out = out;
	c->in_sock = S_ISSOCK(io_mode(in));
	c->out_sock = S_ISSOCK(io_mode(out));
	c->out_pipe = S_ISFIFO(io_mode(out));
	c->eof = in < 0;
	c->hung = c->failed = c->sync_in = false;
	c->n_out = 0;
	/* Whether epoll takes it at all shows only when it is asked for something. */
	if (in >= 0)
		err = twx_watch_add(&c->in_watch, c->loop, in, EPOLLIN, io_in_event);
	if (err == -EPERM) {
		c->sync_in = true;
		err = 0;
	}
	if (!err && out >= 0 && out != in) {
		err = twx_watch_add(&c->out_watch, c->loop, out, EPOLLOUT, io_out_event);
		/* What epoll does not take never makes a writer wait. */
		err = err == -EPERM ? 0 : err;
	}
	if (err) {
		chardev_detach(c);
		return err;
	}
	c->open = true;
	io_update(c);
	return 0;
}

void chardev_attach_nothing(struct twx_chardev *c)
{
	c->open = c->eof = true;
}

void chardev_detach(struct twx_chardev *c)
{
	twx_watch_del(&c->in_watch);
	twx_watch_del(&c->out_watch);
	twx_loop_undefer(c->loop, &c->in_task);
	twx_loop_undefer(c->loop, &c->fail_task);
	c->in = c->out = -1;
	c->n_out = 0;
	c->open = c->failed = false;
}

void chardev_tell_open(struct twx_chardev *c)
{
	if (c->user && c->user->opened)
		c->user->opened(c->user, true);
}

void chardev_end(struct twx_chardev *c)
{
	struct chardev_user *u = c->user;
	bool starved = c->starved;

	c->starved = false;
	chardev_detach(c);
	if (c->type->lost)
		c->type->lost(c);
	if (u && u->opened)
		u->opened(u, false);
	/* Writing never waits for somebody who is not there. */
	if (starved && c->user == u && u && u->drained)
		u->drained(u);
}

bool chardev_is_open(const struct twx_chardev *c)
{
	return c->open && !c->failed;
}

/* --- in --- */

static void io_read(struct twx_chardev *c)
{
	uint8_t buf[CHARDEV_PIECE];
	ssize_t n = read(c->in, buf, min(c->room, sizeof(buf)));

	if (n > 0) {
		c->room -= (size_t)n;
		c->user->input(c->user, buf, (size_t)n);
		if (c->in >= 0)
			io_update(c);
	} else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		io_update(c);
	} else if (n == 0 && !c->in_sock) {
		/* A file, a terminal: writing may go on. */
		c->eof = true;
		io_update(c);
	} else {
		chardev_end(c);
	}
}

/* The other end of a socket has gone while the user has no room. */
static void io_hung(struct twx_chardev *c)
{
	uint8_t byte;

	if (recv(c->in, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0) {
		c->hung = true;
		io_update(c);
	} else {
		chardev_end(c);
	}
}

static void io_in_task(struct twx_task *t)
{
	struct twx_chardev *c = container_of(t, struct twx_chardev, in_task);

	if (c->room)
		io_read(c);
}

void chardev_room(struct twx_chardev *c, size_t room)
{
	c->room = room;
	if (c->open)
		io_update(c);
}

/* --- out --- */

static ssize_t io_write_pipe(int fd, const void *buf, size_t len)
{
	const struct timespec now = { 0 };
	sigset_t pipe_set, old, pending;
	bool was_pending;
	ssize_t n;
	int err;

	sigemptyset(&pipe_set);
	sigaddset(&pipe_set, SIGPIPE);
	sigpending(&pending);
	was_pending = sigismember(&pending, SIGPIPE) > 0;
	pthread_sigmask(SIG_BLOCK, &pipe_set, &old);
	n = write(fd, buf, len);
	err = errno;
	if (n < 0 && err == EPIPE && !was_pending)
		while (sigtimedwait(&pipe_set, NULL, &now) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = err;
	return n;
}

/* As write(), but 0 where that would block, and -errno. */
static ssize_t io_write(struct twx_chardev *c, const void *buf, size_t len)
{
	struct pollfd p = { .fd = c->out, .events = POLLOUT };
	ssize_t n;

	/* One that is shared with other programs, and so not made non-blocking. */
	if (c->out_piece) {
		if (poll(&p, 1, 0) != 1)
			return 0;
		len = min(len, c->out_piece);
	}
	if (c->out_sock)
		n = send(c->out, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	else if (c->out_pipe)
		n = io_write_pipe(c->out, buf, len);
	else
		n = write(c->out, buf, len);
	if (n >= 0)
		return n;
	return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

static size_t io_enqueue(struct twx_chardev *c, const uint8_t *buf, size_t len)
{
	size_t n = min(len, CHARDEV_QUEUE - c->n_out);

	if (!c->queue)
		c->queue = malloc(CHARDEV_QUEUE);
	if (!c->queue)
		return len; /* lost, like what nobody reads */
	memcpy(c->queue + c->n_out, buf, n);
	c->n_out += n;
	return n;
}

size_t chardev_write(struct twx_chardev *c, const void *buf, size_t len)
{
	ssize_t n = 0;
	size_t done;

	if (!c->open || c->failed || c->out < 0 || !len)
		return len;
	if (!c->n_out)
		n = io_write(c, buf, len);
	if (n < 0) {
		c->failed = true;
		twx_loop_defer(c->loop, &c->fail_task);
		return len;
	}
	done = (size_t)n;
	if (done < len) {
		done += io_enqueue(c, (const uint8_t *)buf + done, len - done);
		io_update(c);
	}
	c->starved |= done < len;
	return done;
}

static void io_flush(struct twx_chardev *c)
{
	ssize_t n = c->n_out ? io_write(c, c->queue, c->n_out) : 0;

	if (n < 0) {
		chardev_end(c);
		return;
	}
	c->n_out -= (size_t)n;
	memmove(c->queue, c->queue + n, c->n_out);
	io_update(c);
	if (c->starved && c->n_out <= CHARDEV_QUEUE / 2) {
		c->starved = false;
		if (c->user && c->user->drained)
			c->user->drained(c->user);
	}
}

static void io_fail_task(struct twx_task *t)
{
	chardev_end(container_of(t, struct twx_chardev, fail_task));
}

/* --- events --- */

static void io_out_event(struct twx_watch *w, uint32_t events)
{
	io_flush(container_of(w, struct twx_chardev, out_watch));
}

static void io_in_event(struct twx_watch *w, uint32_t events)
{
	struct twx_chardev *c = container_of(w, struct twx_chardev, in_watch);

	if (events & EPOLLOUT && c->n_out)
		io_flush(c);
	/* The stream may have ended in there, or another one begun. */
	if (!c->open || c->eof || !(events & ~(uint32_t)EPOLLOUT))
		return;
	if (c->room && c->user)
		io_read(c);
	else if (c->in_sock && events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		io_hung(c);
}
