/* SPDX-License-Identifier: BSD-3-Clause */
/* A client of the qtest protocol, and a machine in this process. */
#include "qtest_client.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 20000

/* The machine */

static void log_line(void *opaque, enum twx_log_level level, const char *line)
{
	struct qt_machine *m = opaque;
	size_t at = strlen(m->log);

	snprintf(m->log + at, sizeof(m->log) - at, "%s\n", line);
}

static void machine_event(void *opaque, enum twx_machine_event ev)
{
	struct qt_machine *m = opaque;

	m->event = ev;
	m->n_events++;
}

void qt_machine_open(struct qt_machine *m, const char *qtest_log)
{
	struct twx_net_config net = { .size = sizeof(net), .log = log_line, .log_opaque = m };
	struct twx_machine_config config = { .size = sizeof(config), .accel = "qtest" };
	char where[160];

	*m = (struct qt_machine){ 0 };
	strcpy(m->dir, "/tmp/twinax-qtest-XXXXXX");
	assert_non_null(mkdtemp(m->dir));
	snprintf(m->path, sizeof(m->path), "%s/sock", m->dir);
	snprintf(where, sizeof(where), "unix:%s,server=on,wait=off", m->path);
	assert_int_equal(twx_loop_new(&m->loop, NULL), 0);
	net.loop = m->loop;
	net.log_level = TWX_LOG_INFO;
	assert_int_equal(twx_net_new(&m->net, &net, NULL), 0);
	config.net = m->net;
	config.memory = 64 << 20;
	config.qtest = where;
	config.qtest_log = qtest_log;
	config.event = machine_event;
	config.opaque = m;
	if (twx_machine_new(&m->machine, &config, &m->e) < 0)
		fail_msg("%s", m->e.what);
}

struct twx_nic *qt_machine_nic(struct qt_machine *m, const char *text)
{
	struct twx_nic *nic = NULL;

	if (twx_nic_new(&nic, m->net, text, &m->e) < 0)
		fail_msg("%s: %s", text, m->e.what);
	return nic;
}

void qt_machine_start(struct qt_machine *m)
{
	if (twx_machine_start(m->machine, &m->e) < 0)
		fail_msg("%s", m->e.what);
}

void qt_machine_close(struct qt_machine *m)
{
	twx_machine_free(m->machine);
	twx_net_free(m->net);
	twx_loop_free(m->loop);
	assert_int_equal(rmdir(m->dir), 0); /* the socket is gone */
}

void qt_pump(struct twx_loop *loop)
{
	for (int i = 0; i < 1000 && twx_loop_poll(loop, 0) > 0; i++)
		;
}

/* The conversation */

void qt_connect(struct qt *c, const char *path, struct twx_loop *loop)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	*c = (struct qt){ .loop = loop };
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(c->fd, (struct sockaddr *)&un, sizeof(un)), 0);
}

void qt_close(struct qt *c)
{
	close(c->fd);
	free(c->in);
	if (c->loop)
		qt_pump(c->loop);
}

static void turn(struct qt *c, short events)
{
	struct pollfd p = { .fd = c->fd, .events = events };

	if (c->loop)
		assert_true(twx_loop_poll(c->loop, 0) >= 0);
	else if (poll(&p, 1, PATIENCE_MS) <= 0)
		fail_msg("no answer");
}

void qt_send(struct qt *c, const void *text, size_t len)
{
	const char *p = text;

	while (len) {
		ssize_t n = send(c->fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			turn(c, POLLOUT);
			continue;
		}
		assert_true(n > 0);
		p += n;
		len -= (size_t)n;
	}
}

/* What is there to read; false at the end. */
static bool take(struct qt *c)
{
	ssize_t n;

	if (c->off) {
		memmove(c->in, c->in + c->off, c->n_in);
		c->off = 0;
	}
	if (c->room - c->n_in < 65536) {
		c->room = c->room ? 2 * c->room : 131072;
		c->in = realloc(c->in, c->room);
		assert_non_null(c->in);
	}
	n = recv(c->fd, c->in + c->n_in, c->room - c->n_in, MSG_DONTWAIT);
	if (n > 0)
		c->n_in += (size_t)n;
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static void drop(struct qt *c, const char *to)
{
	size_t n = (size_t)(to - (c->in + c->off));

	c->off += n;
	c->n_in -= n;
}

/* Interrupts at the front of what is there. */
static void interrupts(struct qt *c)
{
	char *nl, *at;

	while (c->n_in > 4 && (at = c->in + c->off) && !memcmp(at, "IRQ ", 4) &&
	       (nl = memchr(at, '\n', c->n_in))) {
		char word[16];
		unsigned int gsi;

		*nl = '\0';
		assert_int_equal(sscanf(at, "IRQ %15s %u", word, &gsi), 2);
		assert_true(gsi < 24);
		if (!strcmp(word, "raise")) {
			c->irq |= 1u << gsi;
			c->raised[gsi]++;
		} else {
			assert_string_equal(word, "lower");
			c->irq &= ~(1u << gsi);
		}
		drop(c, nl + 1);
	}
}

bool qt_poll(struct qt *c)
{
	bool there;

	if (c->loop)
		qt_pump(c->loop);
	there = take(c);
	interrupts(c);
	return there;
}

/* Until the next one comes. */
static char *keep(const char *text, size_t len)
{
	static char *last;
	static size_t room;

	if (len + 1 > room) {
		room = 2 * len + 512;
		last = realloc(last, room);
		assert_non_null(last);
	}
	memcpy(last, text, len);
	last[len] = '\0';
	return last;
}

bool qt_line(struct qt *c, char **line)
{
	size_t seen = 0;

	for (int idle = 0; idle < PATIENCE_MS;) {
		char *nl, *at;

		interrupts(c);
		at = c->in ? c->in + c->off : NULL;
		nl = c->n_in == seen ? NULL : memchr(at + seen, '\n', c->n_in - seen);
		if (nl && memcmp(at, "IRQ ", 4)) {
			*line = keep(at, (size_t)(nl - at));
			drop(c, nl + 1);
			return true;
		}
		seen = nl ? 0 : c->n_in;
		if (!take(c))
			return false;
		if (c->n_in != seen)
			continue;
		turn(c, POLLIN);
		idle++;
	}
	fail_msg("no answer");
	return false;
}

static const char *ask(struct qt *c, const char *fmt, va_list ap)
{
	char text[1024], *line;
	int n = vsnprintf(text, sizeof(text) - 1, fmt, ap);

	assert_true(n > 0 && n < (int)sizeof(text) - 1);
	text[n] = '\n';
	qt_send(c, text, (size_t)n + 1);
	if (!qt_line(c, &line))
		fail_msg("hung up on: %.*s", n, text);
	snprintf(c->line, sizeof(c->line), "%s", line);
	return line;
}

const char *qt_ask(struct qt *c, const char *fmt, ...)
{
	const char *line;
	va_list ap;

	va_start(ap, fmt);
	line = ask(c, fmt, ap);
	va_end(ap);
	return line;
}

uint64_t qt_do(struct qt *c, const char *fmt, ...)
{
	const char *line;
	va_list ap;

	va_start(ap, fmt);
	line = ask(c, fmt, ap);
	va_end(ap);
	if (strncmp(line, "OK", 2))
		fail_msg("%s: %s", fmt, line);
	return line[2] ? strtoull(line + 3, NULL, 0) : 0;
}

void qt_memwrite(struct qt *c, uint64_t addr, const void *buf, size_t len)
{
	char *text = malloc(2 * len + 64), *line;
	const uint8_t *b = buf;
	int n;

	assert_non_null(text);
	n = sprintf(text, "write 0x%llx 0x%zx 0x", (unsigned long long)addr, len);
	for (size_t i = 0; i < len; i++)
		n += sprintf(text + n, "%02x", b[i]);
	text[n++] = '\n';
	qt_send(c, text, (size_t)n);
	free(text);
	assert_true(qt_line(c, &line));
	assert_string_equal(line, "OK");
}

void qt_memread(struct qt *c, uint64_t addr, void *buf, size_t len)
{
	const char *line = qt_ask(c, "read 0x%llx 0x%zx", (unsigned long long)addr, len);
	uint8_t *b = buf;

	assert_int_equal(strlen(line), 5 + 2 * len);
	for (size_t i = 0; i < len; i++) {
		const char pair[3] = { line[5 + 2 * i], line[6 + 2 * i], '\0' };
		char *end;

		b[i] = (uint8_t)strtoul(pair, &end, 16);
		assert_true(*end == '\0');
	}
}

/* PCI */

static char letter(unsigned int size)
{
	return size == 1 ? 'b' : size == 2 ? 'w' : 'l';
}

uint32_t qt_config(struct qt *c, uint32_t at, unsigned int off, unsigned int size)
{
	qt_do(c, "outl 0xcf8 0x%x", 0x80000000u | at | (off & 0xfc));
	return (uint32_t)qt_do(c, "in%c 0x%x", letter(size), 0xcfc + (off & 3));
}

void qt_config_set(struct qt *c, uint32_t at, unsigned int off, unsigned int size, uint32_t value)
{
	qt_do(c, "outl 0xcf8 0x%x", 0x80000000u | at | (off & 0xfc));
	qt_do(c, "out%c 0x%x 0x%x", letter(size), 0xcfc + (off & 3), value);
}

uint64_t qt_bar(struct qt *c, uint32_t at, unsigned int bar, uint64_t addr)
{
	unsigned int off = 0x10 + 4 * bar;
	uint32_t mask;

	qt_config_set(c, at, off, 4, ~0u);
	mask = qt_config(c, at, off, 4);
	if (!mask)
		return 0;
	qt_config_set(c, at, off, 4, (uint32_t)addr);
	if (!(mask & 1) && (mask & 6) == 4)
		qt_config_set(c, at, off + 4, 4, (uint32_t)(addr >> 32));
	mask &= mask & 1 ? ~3u : ~15u;
	return (~mask & ((mask & 0xffff0000u) ? ~0u : 0xffffu)) + 1;
}

unsigned int qt_cap(struct qt *c, uint32_t at, uint8_t id, unsigned int after)
{
	unsigned int off = qt_config(c, at, after ? after + 1 : 0x34, 1);

	for (int i = 0; off && i < 48; i++) {
		if (qt_config(c, at, off, 1) == id)
			return off;
		off = qt_config(c, at, off + 1, 1);
	}
	return 0;
}

void qt_route(struct qt *c)
{
	qt_config_set(c, QT_AT(0, 1, 0), 0x60, 4, 0x0b0a0509);
	qt_do(c, "irq_intercept_in ioapic");
}
