/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Eventfds that others hold, too. O_NONBLOCK belongs to the file, not to the descriptor: whoever
 * was passed one can clear it, and empty or fill the counter between our poll() and our read().
 */
#ifndef BASE_EVFD_H
#define BASE_EVFD_H

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/uio.h>
#include <unistd.h>

/* 1: it was signalled since it was asked last; 0: it was not; -EIO: it cannot be read any more. */
static inline int evfd_take(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t n;
	struct iovec iov = { &n, sizeof(n) };
	ssize_t got = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);

	/* Linux before 5.8. */
	if (got < 0 && errno == EOPNOTSUPP) {
		if (poll(&p, 1, 0) <= 0)
			return 0;
		got = read(fd, &n, sizeof(n));
	}
	if (got == (ssize_t)sizeof(n))
		return 1;
	return got < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -EIO;
}

/* Full: a signal is there already. The kernel has no write that ignores the flag. */
static inline void evfd_signal(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	const uint64_t one = 1;

	if (poll(&p, 1, 0) == 1)
		(void)!write(fd, &one, sizeof(one));
}

#endif
