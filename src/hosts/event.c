/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors of a peer, read and written without blocking, spinning or taking SIGPIPE.
 *
 * One hole is left: an eventfd's writes obey O_NONBLOCK alone, which the peer shares. A peer that
 * fills the counter and then clears the flag blocks the loop at the next signal, and every port on
 * it, until it reads.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "hosts/event.h"

/* An eventfd has no type bits in st_mode; a regular file or a device is nothing to signal through.
 */
static enum event_kind kind_of(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return EVENT_NONE;
	switch (st.st_mode & S_IFMT) {
	case 0:
		return EVENT_FILE;
	case S_IFIFO:
		return EVENT_PIPE;
	case S_IFSOCK:
		return EVENT_SOCKET;
	default:
		return EVENT_NONE;
	}
}

int event_take(struct event *ev, int fd)
{
	enum event_kind kind = kind_of(fd);
	int flags = fcntl(fd, F_GETFL);

	event_close(ev);
	if (kind == EVENT_NONE || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		close(fd);
		return -EINVAL;
	}
	*ev = (struct event){ .kind = kind, .fd = fd };
	return 0;
}

void event_close(struct event *ev)
{
	if (ev->kind != EVENT_NONE)
		close(ev->fd);
	*ev = (struct event){ .kind = EVENT_NONE, .fd = -1 };
}

/*
 * A pipe whose reader is gone raises SIGPIPE, which a library must neither handle nor die of: it is
 * blocked for the call and taken off the thread again, unless it was pending before.
 */
static ssize_t pipe_write(int fd, const void *buf, size_t len)
{
	const struct timespec now = { 0, 0 };
	struct iovec iov = { .iov_base = (void *)buf, .iov_len = len };
	sigset_t set, old, pending;
	bool was_pending;
	ssize_t n;
	int err;

	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	sigpending(&pending);
	was_pending = sigismember(&pending, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, &old);
	n = pwritev2(fd, &iov, 1, -1, RWF_NOWAIT);
	if (n < 0 && errno == EOPNOTSUPP)
		n = write(fd, buf, len);
	err = errno;
	if (n < 0 && err == EPIPE && !was_pending)
		while (sigtimedwait(&set, NULL, &now) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = err;
	return n;
}

int event_write(const struct event *ev, const void *buf, size_t len)
{
	ssize_t n;

	do {
		switch (ev->kind) {
		case EVENT_FILE:
			n = write(ev->fd, buf, len);
			break;
		case EVENT_PIPE:
			n = pipe_write(ev->fd, buf, len);
			break;
		case EVENT_SOCKET:
			n = send(ev->fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);
			break;
		default:
			return -EBADF;
		}
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

int event_signal(const struct event *ev)
{
	const uint64_t one = 1;

	return event_write(ev, &one, sizeof(one));
}

/*
 * Some files without type bits (inotify's) know no RWF_NOWAIT, so that reading them relies on flags
 * that the peer can clear.
 */
int event_probe(int fd)
{
	uint64_t count;
	struct iovec iov = { .iov_base = &count, .iov_len = sizeof(count) };
	ssize_t n = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);

	if (n < 0)
		return errno == EOPNOTSUPP ? -EINVAL : 0;
	return n > 0;
}

/*
 * One read an event. RWF_NOWAIT does not depend on O_NONBLOCK, which the peer shares and can clear.
 * End of file, and errors other than "nothing there", would make the watch fire for ever.
 */
int event_drain(int fd)
{
	uint64_t count;
	struct iovec iov = { .iov_base = &count, .iov_len = sizeof(count) };
	ssize_t n = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);

	if (n < 0 && errno == EOPNOTSUPP)
		n = read(fd, &count, sizeof(count));
	if (n > 0)
		return 0;
	if (n == 0)
		return -EPIPE;
	return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}
