/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An accelerator without CPUs: a client of QEMU's qtest protocol makes the accesses.
 *
 * Way of a command: conn_ready() reads what the socket has, converse() cuts lines off and has each
 * carried out (qtest_cmd.c) on the machine's spaces, answers collect in one buffer, which is sent
 * once when the lines are used up. Way of an interrupt: the board sets an input of the IOAPIC,
 * accel->gsi() notes the level and, once the client has asked for it, a line goes out in the same
 * buffer. A message (MSI, MSI-X) is a write of its data to its address where RAM is, and lost
 * elsewhere: clients point vectors at memory and look there. PIT, local APICs and timers of a PC
 * that KVM would have emulated are not there.
 *
 * The loop's clock stands still and is moved by the client's clock_step and clock_set; its time
 * begins at 0 when the machine is made. Everything that lives on the loop shares that clock, the
 * backends' timers among it. A step over very many timers is taken in pieces between which the loop
 * turns to others; the conversation waits meanwhile.
 *
 * One client at a time. A server listens again when its client has left, and forgets what that one
 * had set up (interception, not the clock); QEMU keeps the interception, and answers the next
 * client's request for it the same. A client of a client's socket (no server=on) is connected once.
 * wait=on needs nothing: without a client nothing happens anyhow. Where it is no unix socket
 * (stdio, tcp:HOST:PORT, chardev:ID) the conversation goes over a chardev, qtest_relay.c.
 *
 * Bounds: a command of 16 MiB, data of 8 MiB; while QTEST_HIGH_WATER bytes of answers are not read,
 * no further command is begun, and changes of interrupt levels are sent as what remains of them
 * when there is room again. A line that is too long ends the conversation, anything else that makes
 * no sense gets an answer that says so (QEMU would abort).
 */
#include "hosts/machine/qtest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <twinax/option.h>

#include "base/endian.h"
#include "base/loop_virtual.h"
#include "base/macros.h"

#define QTEST_READ 65536u     /* bytes asked of the socket at once */
#define QTEST_KEEP (1u << 20) /* a buffer that has grown beyond is given back when it is empty */

/* Buffers */

char *qtest_buf_room(struct qtest_buf *b, size_t n)
{
	size_t room = max(b->room, (size_t)4096);
	char *p;

	if (b->off != 0 && b->off + b->len + n > b->room) {
		memmove(b->p, b->p + b->off, b->len);
		b->off = 0;
	}
	if (b->off + b->len + n <= b->room)
		return b->p + b->off + b->len;
	while (room < b->len + n)
		room *= 2;
	p = realloc(b->p, room);
	if (!p)
		return NULL;
	b->p = p;
	b->room = room;
	return b->p + b->len;
}

void qtest_buf_drop(struct qtest_buf *b, size_t n)
{
	b->off += n;
	b->len -= n;
	if (b->len != 0)
		return;
	b->off = 0;
	if (b->room > QTEST_KEEP)
		qtest_buf_free(b);
}

void qtest_buf_free(struct qtest_buf *b)
{
	free(b->p);
	*b = (struct qtest_buf){ 0 };
}

/* Answers */

/* There is no going on; the conversation ends when the burst or the round does. */
static void fail(struct qtest *q)
{
	q->failed = true;
	if (!q->in_burst)
		twx_loop_defer(q->m->loop, &q->end);
}

char *qtest_say_room(struct qtest *q, size_t n)
{
	char *p = q->failed ? NULL : qtest_buf_room(&q->out, n + 1);

	if (!p)
		fail(q);
	return p;
}

void qtest_said(struct qtest *q, size_t n)
{
	char *p = q->out.p + q->out.off + q->out.len;

	qtest_log_line(&q->log, 'S', p, n);
	p[n] = '\n';
	q->out.len += n + 1;
}

void qtest_say(struct qtest *q, const char *fmt, ...)
{
	char *p = qtest_say_room(q, 127);
	va_list ap;
	int n;

	if (!p)
		return;
	va_start(ap, fmt);
	n = vsnprintf(p, 128, fmt, ap);
	va_end(ap);
	qtest_said(q, (size_t)min(max(n, 0), 127));
}

/* Interrupts */

/* Tells of levels that the client does not know, as far as it reads. */
static void irq_sync(struct qtest *q)
{
	uint32_t differ = q->levels ^ q->told;

	if (!q->intercepted || !q->conn.loop)
		return;
	for (unsigned int gsi = 0; differ != 0 && gsi < MACHINE_GSIS; gsi++) {
		if ((differ >> gsi & 1) == 0)
			continue;
		if (q->out.len >= QTEST_HIGH_WATER)
			return;
		q->told ^= 1u << gsi;
		qtest_say(q, "IRQ %s %u", q->levels >> gsi & 1 ? "raise" : "lower", gsi);
	}
}

void qtest_gsi(struct qtest *q, unsigned int gsi, bool level)
{
	if (gsi >= MACHINE_GSIS || (q->levels >> gsi & 1) == level)
		return;
	q->levels ^= 1u << gsi;
	irq_sync(q);
	if (!q->in_burst && q->out.len != 0)
		twx_loop_defer(q->m->loop, &q->end);
}

/* What is high already is told at once; QEMU leaves it out. */
void qtest_intercept(struct qtest *q)
{
	q->intercepted = true;
	irq_sync(q);
}

/* The conversation */

static void converse_end(struct qtest *q)
{
	int fd = q->conn.fd;

	if (!q->conn.loop)
		return;
	qtest_log_line(&q->log, 'I', "CLOSED", 6);
	qtest_log_flush(&q->log);
	twx_loop_undefer(q->m->loop, &q->end);
	twx_watch_del(&q->conn);
	close(fd);
	qtest_buf_free(&q->in);
	qtest_buf_free(&q->out);
	q->scanned = 0;
	q->intercepted = q->stepping = q->eof = q->failed = q->more = false;
	if (q->listen.loop)
		(void)twx_watch_set(&q->listen, EPOLLIN);
}

bool qtest_hang_up(struct qtest *q)
{
	if (!q->conn.loop)
		return true;
	q->failed = true;
	if (q->in_burst)
		return false;
	converse_end(q);
	return true;
}

static void flush(struct qtest *q)
{
	while (q->out.len != 0) {
		ssize_t n = send(q->conn.fd, q->out.p + q->out.off, q->out.len,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			q->failed = true;
		if (n < 0)
			return;
		qtest_buf_drop(&q->out, (size_t)n);
		if (q->out.len < QTEST_HIGH_WATER)
			irq_sync(q);
	}
}

/* A whole line; false while there is none. */
static bool line_ready(struct qtest *q, size_t *len)
{
	const char *from = q->in.p + q->in.off;
	const char *nl = q->in.len == q->scanned
				 ? NULL
				 : memchr(from + q->scanned, '\n', q->in.len - q->scanned);

	if (!nl) {
		q->scanned = q->in.len;
		return false;
	}
	*len = (size_t)(nl - from);
	return true;
}

static void run_line(struct qtest *q, size_t len)
{
	char *line = q->in.p + q->in.off;

	qtest_log_line(&q->log, 'R', line, len);
	line[len] = '\0';
	q->scanned = 0;
	qtest_command(q, line, len);
	qtest_buf_drop(&q->in, len + 1);
}

/* Commands until there are none, or the client does not read, or others have waited enough; true:
 * there is more to do as soon as something can be sent. */
static bool run_lines(struct qtest *q)
{
	size_t len;

	q->moved = 0;
	for (unsigned int n = 0; n < QTEST_LINES && q->moved < QTEST_MOVED; n++) {
		if (q->out.len >= QTEST_HIGH_WATER)
			flush(q);
		if (q->failed)
			return false;
		if (q->out.len >= QTEST_HIGH_WATER)
			return true;
		if (q->stepping) {
			if (!qtest_step(q))
				return true;
		} else if (line_ready(q, &len)) {
			run_line(q, len);
		} else {
			return false;
		}
	}
	return true;
}

/* What was said goes out; then what is waited for, or the end. */
static void converse_rest(struct qtest *q)
{
	uint32_t events = 0;

	flush(q);
	qtest_log_flush(&q->log);
	if (q->failed || (q->eof && !q->more && q->out.len == 0))
		return converse_end(q);
	if (q->more || q->out.len != 0)
		events |= EPOLLOUT;
	if (!q->more && !q->eof)
		events |= EPOLLIN;
	(void)twx_watch_set(&q->conn, events);
}

static void converse(struct qtest *q)
{
	q->in_burst = true;
	q->more = run_lines(q);
	if (!q->more && !q->failed && q->in.len > QTEST_MAX_LINE && q->scanned == q->in.len) {
		qtest_say(q, "ERR command too long");
		flush(q);
		q->failed = true;
	}
	q->in_burst = false;
	converse_rest(q);
}

static void conn_read(struct qtest *q)
{
	char *p = qtest_buf_room(&q->in, QTEST_READ);
	ssize_t n;

	if (!p) {
		q->failed = true;
		return;
	}
	n = recv(q->conn.fd, p, q->in.room - q->in.off - q->in.len, MSG_DONTWAIT);
	if (n > 0)
		q->in.len += (size_t)n;
	else if (n == 0)
		q->eof = true;
	else if (errno != EAGAIN && errno != EINTR)
		q->failed = true;
}

static void conn_ready(struct twx_watch *w, uint32_t events)
{
	struct qtest *q = container_of(w, struct qtest, conn);

	if ((events & EPOLLIN) != 0)
		conn_read(q);
	else if ((events & (EPOLLHUP | EPOLLERR)) != 0)
		q->failed = true; /* nobody reads what is still to be said */
	converse(q);
}

/* Lines that were said, or a failure, outside of a burst. Commands are left to the watch: between
 * tasks they cannot be settled. */
static void end_task(struct twx_task *t)
{
	struct qtest *q = container_of(t, struct qtest, end);

	if (!q->in_burst && q->conn.loop)
		converse_rest(q);
}

int qtest_converse_take(struct qtest *q, int fd)
{
	int err = twx_watch_add(&q->conn, q->m->loop, fd, EPOLLIN, conn_ready);

	if (err < 0) {
		close(fd);
		return err;
	}
	q->told = 0; /* what a new client takes every level for */
	qtest_log_line(&q->log, 'I', "OPENED", 6);
	qtest_log_flush(&q->log);
	if (q->listen.loop)
		(void)twx_watch_set(&q->listen, 0);
	return 0;
}

/* The socket */

/* Without descriptors the client cannot be had, and would be offered for ever. */
static void turn_away(struct qtest *q)
{
	int fd;

	twx_log(q->m->net, TWX_LOG_WARNING, "-qtest %s: turned a client away: %s", q->path,
		strerror(errno));
	if (q->spare_fd >= 0)
		close(q->spare_fd);
	fd = accept4(q->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		close(fd);
	else if (errno != EAGAIN)
		twx_watch_del(&q->listen);
	q->spare_fd = fcntl(q->listen_fd, F_DUPFD_CLOEXEC, 0);
}

static void listen_ready(struct twx_watch *w, uint32_t events)
{
	struct qtest *q = container_of(w, struct qtest, listen);
	int fd = accept4(q->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0)
		(void)qtest_converse_take(q, fd);
	else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
		turn_away(q);
}

static int open_server(struct qtest *q, struct twx_error *e)
{
	int err;

	q->listen_fd = hostops_unix_listen(machine_hostops(q->m), q->path);
	if (q->listen_fd < 0) {
		err = q->listen_fd;
		twx_error_set(e, -err, "-qtest: cannot listen on %s: %s", q->path, strerror(-err));
		if (err == -EADDRINUSE || err == -EEXIST)
			twx_error_hint(e, "something else has that path; choose another one");
		return err;
	}
	hostops_sock_file_of(q->path, &q->file);
	q->spare_fd = fcntl(q->listen_fd, F_DUPFD_CLOEXEC, 0);
	err = twx_watch_add(&q->listen, q->m->loop, q->listen_fd, EPOLLIN, listen_ready);
	if (err < 0)
		return twx_error_set(e, -err, "-qtest: cannot watch %s: %s", q->path,
				     strerror(-err));
	return 0;
}

static int open_client(struct qtest *q, struct twx_error *e)
{
	int fd = hostops_unix_connect(machine_hostops(q->m), q->path), err;

	if (fd < 0) {
		twx_error_set(e, -fd, "-qtest: cannot connect to %s: %s", q->path, strerror(-fd));
		return twx_error_hint(e, "start its client first, or listen by server=on");
	}
	err = qtest_converse_take(q, fd);
	if (err < 0)
		return twx_error_set(e, -err, "-qtest: cannot watch %s: %s", q->path,
				     strerror(-err));
	return 0;
}

static const struct twx_opt_desc where_options[] = {
	{ "path", TWX_OPT_STR, NULL, "unix socket", "PATH", .required = true },
	{ "server", TWX_OPT_BOOL, "off", "listen there" },
	{ "wait", TWX_OPT_BOOL, "on", "as good as off: without a client nothing happens" },
	{ NULL },
};

/* "unix:PATH,server=on" is the list "path=PATH,server=on". */
static int parse_where(struct qtest *q, const char *where, struct twx_error *e)
{
	struct twx_opts *opts = NULL;
	const char *path;
	char *list;
	int err;

	if (asprintf(&list, "path=%s", where + 5) < 0)
		return twx_error_set(e, ENOMEM, "out of memory");
	err = twx_opts_parse(&opts, list, NULL, e);
	free(list);
	if (err == 0)
		err = twx_opts_check(opts, where_options, e);
	if (err == 0) {
		path = twx_opts_str(opts, "path");
		q->server = twx_opts_bool(opts, "server");
		if (strlen(path) == 0 || strlen(path) >= sizeof(q->path))
			err = twx_error_set(e, EINVAL,
					    "-qtest %s: a path of 1 to %zu bytes is wanted", where,
					    sizeof(q->path) - 1);
		else
			memcpy(q->path, path, strlen(path) + 1);
	}
	twx_opts_free(opts);
	return err;
}

static int open_where(struct qtest *q, const char *where, struct twx_error *e)
{
	int err;

	if (strncmp(where, "unix:", 5) != 0)
		return qtest_relay_open(&q->relay, q, where, e);
	err = parse_where(q, where, e);
	if (err == 0)
		err = q->server ? open_server(q, e) : open_client(q, e);
	return err;
}

/* @where is null for who drives the machine by other means. */
int qtest_open(struct qtest **out, struct twx_machine *m, const char *where, const char *log,
	       struct twx_error *e)
{
	struct qtest *q = calloc(1, sizeof(*q));
	int err = 0;

	*out = NULL;
	if (!q)
		return twx_error_set(e, ENOMEM, "-qtest: out of memory");
	*q = (struct qtest){ .m = m, .listen_fd = -1, .spare_fd = -1, .log.fd = -1 };
	q->end.fn = end_task;
	if (loop_virtual_start(m->loop) < 0) {
		free(q);
		twx_error_set(e, EBUSY,
			      "qtest: the loop is shared with other threads, or the "
			      "clock of another machine");
		return twx_error_hint(e, "give the machine a net with a loop of its own");
	}
	q->epoch = twx_loop_now(m->loop);
	if (where) {
		err = qtest_log_open(&q->log, machine_hostops(m), log, e);
		if (err == 0)
			err = open_where(q, where, e);
	}
	if (err < 0) {
		qtest_close(q);
		return err;
	}
	*out = q;
	return 0;
}

void qtest_close(struct qtest *q)
{
	twx_watch_del(&q->listen);
	qtest_relay_close(q->relay);
	converse_end(q);
	if (q->listen_fd >= 0) {
		hostops_sock_file_remove(machine_hostops(q->m), q->path, &q->file);
		close(q->listen_fd);
	}
	if (q->spare_fd >= 0)
		close(q->spare_fd);
	qtest_log_close(&q->log);
	loop_virtual_stop(q->m->loop);
	free(q);
}

/* The accelerator */

static int accel_open(struct twx_machine *m, struct twx_error *e)
{
	struct qtest *q;
	int err = qtest_open(&q, m, m->config->qtest, m->config->qtest_log, e);

	m->accel_priv = q;
	return err;
}

static void accel_close(struct twx_machine *m)
{
	if (m->accel_priv)
		qtest_close(m->accel_priv);
	m->accel_priv = NULL;
}

/* No CPU is there to be reset, run or held: its client decides what it does with the machine. */
static int accel_reset(struct twx_machine *m, struct twx_error *e)
{
	return 0;
}

static int accel_run(struct twx_machine *m, struct twx_error *e)
{
	return 0;
}

static void accel_pause(struct twx_machine *m)
{
}

static void accel_gsi(struct twx_machine *m, unsigned int gsi, bool level)
{
	if (m->accel_priv)
		qtest_gsi(m->accel_priv, gsi, level);
}

static void accel_message(struct twx_machine *m, uint64_t addr, uint32_t data)
{
	le32 *p = mem_ptr(m->ram, (gpa){ addr }, sizeof(*p));

	if (!p)
		return;
	*p = le32_make(data);
	mem_dirty(m->ram, p, sizeof(*p));
}

const struct accel accel_qtest = {
	.name = "qtest",
	.open = accel_open,
	.close = accel_close,
	.reset = accel_reset,
	.run = accel_run,
	.pause = accel_pause,
	.gsi = accel_gsi,
	.message = accel_message,
};
