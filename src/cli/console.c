/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The terminal as the console of a machine: standard input and output on one side, a socket on the
 * other, which a serial port has as its chardev.
 *
 * A thread of its own copies both ways with calls that may block: a terminal that was stopped by
 * Ctrl-S, or a pipe that nobody reads, holds up the console and never the loop, and the flags of
 * descriptors that other programs share stay as they are. The machine's output waits in the socket
 * then, as in a serial line.
 *
 * The end of standard input (a pipe's, /dev/null) is not the end of the machine. A terminal is raw:
 * Ctrl-C and Ctrl-Z are the guest's, and the escape key (Ctrl-A) leads to what is ours. The
 * terminal is given back at every way out of the program, exit() included.
 */
#include "cli/console.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONSOLE_LAST_NS 500000000 /* for what is left in the end */

static const char help_text[] = "\r\n"
				"Ctrl-A x  end the machine\r\n"
				"Ctrl-A a  send Ctrl-A\r\n"
				"Ctrl-A h  this help\r\n";
static const char monitor_text[] =
	"\r\ntwinax vm has no monitor here: -monitor unix:PATH or -qmp unix:PATH opens one\r\n";

/* Of one terminal, for atexit(). */
static struct termios saved;
static volatile bool is_raw;

static void restore(void)
{
	if (is_raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &saved);
	is_raw = false;
}

enum console_key console_key(struct console_keys *k, uint8_t byte)
{
	if (!k->armed) {
		k->armed = k->escape && byte == k->escape;
		return k->armed ? CONSOLE_NOTHING : CONSOLE_PASS;
	}
	k->armed = false;
	if (byte == k->escape)
		return CONSOLE_ESCAPE;
	switch (byte) {
	case 'a':
		return CONSOLE_ESCAPE;
	case 'x':
		return CONSOLE_QUIT;
	case 'h':
	case '?':
		return CONSOLE_HELP;
	case 'c':
		return CONSOLE_MONITOR;
	default:
		return CONSOLE_NOTHING;
	}
}

/* To the terminal. What nobody takes is lost. */
static void put(const void *data, size_t len)
{
	const char *at = data;
	ssize_t n;

	while (len) {
		n = write(STDOUT_FILENO, at, len);
		if (n < 0 && errno == EAGAIN) {
			/* Somebody else has made it non-blocking. */
			poll(&(struct pollfd){ .fd = STDOUT_FILENO, .events = POLLOUT }, 1, -1);
			continue;
		}
		if (n < 0 && errno != EINTR)
			return;
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		}
	}
}

static void put_text(const char *text)
{
	put(text, strlen(text));
}

/* Typed faster than the machine reads: lost. */
static void type(struct console *c, uint8_t byte)
{
	if (c->n_typed < sizeof(c->typed))
		c->typed[c->n_typed++] = byte;
}

/* As much as the machine takes. */
static void send_typed(struct console *c)
{
	ssize_t n = send(c->fd, c->typed, c->n_typed, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0)
		n = errno == EAGAIN || errno == EINTR ? 0 : (ssize_t)c->n_typed;
	c->n_typed -= (size_t)n;
	memmove(c->typed, c->typed + n, c->n_typed);
}

static void take_key(struct console *c, uint8_t byte)
{
	switch (console_key(&c->keys, byte)) {
	case CONSOLE_PASS:
		type(c, byte);
		break;
	case CONSOLE_ESCAPE:
		type(c, (uint8_t)c->keys.escape);
		break;
	case CONSOLE_QUIT:
		c->quit(c->opaque);
		break;
	case CONSOLE_HELP:
		put_text(help_text);
		break;
	case CONSOLE_MONITOR:
		put_text(monitor_text);
		break;
	case CONSOLE_NOTHING:
		break;
	}
}

/* Both are true while something may still come. */

static bool from_keyboard(struct console *c)
{
	uint8_t buf[CONSOLE_PIECE];
	size_t room = sizeof(c->typed) - c->n_typed;
	ssize_t n = read(STDIN_FILENO, buf, room ? room : 1), i;

	for (i = 0; i < n; i++)
		take_key(c, buf[i]);
	if (c->n_typed)
		send_typed(c);
	return n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN));
}

static bool from_machine(struct console *c)
{
	uint8_t buf[CONSOLE_PIECE];
	ssize_t n = read(c->fd, buf, sizeof(buf));

	if (n > 0)
		put(buf, (size_t)n);
	return n > 0 || (n < 0 && errno == EINTR);
}

static void *console_run(void *opaque)
{
	struct console *c = opaque;
	struct pollfd fds[2] = { { .events = POLLIN }, { .fd = c->fd } };
	bool tty = isatty(STDIN_FILENO), more = true;

	for (;;) {
		/* A pipe waits for the machine; a terminal must get through with the escape key.
		 * Negative numbers are left out: a pipe whose writer has gone would not rest. */
		fds[0].fd = more && (tty || !c->n_typed) ? STDIN_FILENO : -1;
		fds[1].events = (short)(POLLIN | (c->n_typed ? POLLOUT : 0));
		if (poll(fds, 2, -1) < 0) {
			if (errno != EINTR)
				return NULL;
			continue;
		}
		if (fds[1].revents & POLLOUT)
			send_typed(c);
		if (fds[1].revents & ~POLLOUT && !from_machine(c))
			return NULL;
		if (fds[0].revents)
			more = from_keyboard(c);
	}
}

/* A terminal of another program's, in whose background we are, is not ours to change. */
static bool is_ours(void)
{
	return isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) == getpgrp();
}

void console_take(struct console *c)
{
	struct termios t;

	if (!c->running || !c->raw || is_raw || !is_ours() || tcgetattr(STDIN_FILENO, &saved))
		return;
	t = saved;
	t.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
	t.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN | ISIG);
	t.c_cflag = (t.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
	t.c_cc[VMIN] = 1;
	t.c_cc[VTIME] = 0;
	is_raw = true;
	tcsetattr(STDIN_FILENO, TCSANOW, &t);
}

void console_lend(struct console *c)
{
	if (c->running)
		restore();
}

int console_start(struct console *c, struct twx_error *e)
{
	static bool at_exit;
	int fds[2], err;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return twx_error_set(e, errno, "cannot make a socket for the console: %s",
				     strerror(errno));
	c->fd = fds[0];
	err = pthread_create(&c->thread, NULL, console_run, c);
	if (err) {
		close(fds[0]);
		close(fds[1]);
		return twx_error_set(e, err, "cannot start the console: %s", strerror(err));
	}
	c->running = true;
	if (!at_exit)
		atexit(restore);
	at_exit = true;
	console_take(c);
	return fds[1];
}

void console_stop(struct console *c)
{
	struct timespec until;

	if (!c->running)
		return;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += CONSOLE_LAST_NS;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	if (pthread_timedjoin_np(c->thread, NULL, &until)) {
		pthread_cancel(c->thread);
		pthread_join(c->thread, NULL);
	}
	c->running = false;
	close(c->fd);
	restore();
}
