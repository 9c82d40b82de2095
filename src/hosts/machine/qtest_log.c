/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * -qtest-log: every line of a conversation with the time since its beginning, in QEMU's form.
 *
 * Lines are collected and written once a burst, to a descriptor of our own that does not block:
 * where its reader is slow, up to QTEST_LOG_ROOM bytes wait and then lines are left out and
 * counted.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/macros.h"
#include "hosts/machine/qtest.h"

#define LOG_STDERR "/dev/fd/2"

int qtest_log_open(struct qtest_log *l, const struct twx_hostops *ops, const char *path,
		   struct twx_error *e)
{
	bool given = path != NULL;
	int flags = O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK;

	l->fd = -1;
	if (given && strcmp(path, "none") == 0)
		return 0;
	if (!given)
		path = LOG_STDERR;
	/* What already is somebody's terminal, pipe or file by number is not cut. */
	if (strncmp(path, "/dev/", 5) != 0)
		flags |= O_TRUNC;
	l->fd = hostops_open(ops, path, flags, 0666);
	if (l->fd >= 0)
		return 0;
	if (!given) { /* stderr is closed, or a socket: nobody asked for a log */
		l->fd = -1;
		return 0;
	}
	twx_error_set(e, -l->fd, "-qtest-log: cannot open %s: %s", path, strerror(-l->fd));
	return twx_error_hint(e, "choose another file, or none");
}

void qtest_log_close(struct qtest_log *l)
{
	if (l->fd < 0)
		return;
	qtest_log_flush(l);
	close(l->fd);
	l->fd = -1;
	qtest_buf_free(&l->buf);
}

/* A line that fills the room alone is passed on if nothing else waits. */
static bool log_has_room(const struct qtest_log *l, size_t n)
{
	return l->buf.len == 0 || l->buf.len + n <= QTEST_LOG_ROOM;
}

static void log_append(struct qtest_log *l, const char *head, const char *line, size_t len)
{
	size_t n_head = strlen(head);
	char *p = qtest_buf_room(&l->buf, n_head + len + 1);

	if (!p) {
		l->n_lost++;
		return;
	}
	memcpy(p, head, n_head);
	memcpy(p + n_head, line, len);
	p[n_head + len] = '\n';
	l->buf.len += n_head + len + 1;
}

void qtest_log_line(struct qtest_log *l, char dir, const char *line, size_t len)
{
	char head[48], lost[48];
	uint64_t us;

	if (l->fd < 0)
		return;
	if (!log_has_room(l, len + sizeof(head) + sizeof(lost)))
		qtest_log_flush(l);
	if (!log_has_room(l, len + sizeof(head) + sizeof(lost))) {
		l->n_lost++;
		return;
	}
	if (l->began == 0)
		l->began = clock_ns(); /* real time: the loop's clock stands still */
	us = (clock_ns() - l->began) / 1000;
	snprintf(head, sizeof(head), "[%c %s%u.%06u] ", dir, us != 0 ? "+" : "",
		 (unsigned int)(us / 1000000), (unsigned int)(us % 1000000));
	if (l->n_lost != 0) {
		snprintf(lost, sizeof(lost), "%llu lines left out", (unsigned long long)l->n_lost);
		l->n_lost = 0;
		log_append(l, head, lost, strlen(lost));
	}
	log_append(l, head, line, len);
}

void qtest_log_flush(struct qtest_log *l)
{
	while (l->fd >= 0 && l->buf.len != 0) {
		ssize_t n = write(l->fd, l->buf.p + l->buf.off, l->buf.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		/* A full disk, a closed pipe: what cannot be written is not kept. */
		qtest_buf_drop(&l->buf, n < 0 ? l->buf.len : (size_t)n);
	}
}
