/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The commands of the qtest protocol, as QEMU's documentation of the protocol has them.
 *
 * A line is a name and its words, set apart by blanks; each gets one line of answer: "OK", "OK
 * VALUE", "FAIL why" where the command is known and cannot be done here, "ERR why" where it makes
 * no sense. QEMU stops at most of the latter. Everything is little-endian.
 *
 * What a command causes without the outside world (deferred interrupts, rings that go on) has been
 * done before it is answered, so that an answer does not depend on what came in the same packet.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/loop_virtual.h"
#include "base/macros.h"
#include "hosts/machine/qtest.h"

struct words {
	char *v[QTEST_MAX_WORDS];
	size_t len[QTEST_MAX_WORDS];
	unsigned int n;
};

struct qtest_cmd {
	const char *name;
	void (*fn)(struct qtest *q, const struct qtest_cmd *cmd, struct words *w);
	uint8_t n_words; /* that it needs, its name among them */
	uint8_t size;	 /* of the access */
};

static const char bad_argument[] = "ERR invalid argument";

/* What QEMU's base 0 takes: decimal, 0x, 0 for octal. */
static bool number(const char *s, uint64_t *v)
{
	char *end;

	errno = 0;
	*v = strtoull(s, &end, 0);
	return errno == 0 && end != s && *end == '\0' && (unsigned char)*s > ' ';
}

static bool number_at_most(const char *s, uint64_t limit, uint64_t *v)
{
	return number(s, v) && *v <= limit;
}

/* The first two words behind the name: a range that does not wrap. */
static bool range(struct qtest *q, const struct words *w, uint64_t *addr, uint64_t *len)
{
	if (!number(w->v[1], addr) || !number_at_most(w->v[2], QTEST_MAX_DATA, len) ||
	    (*len != 0 && *addr + (*len - 1) < *addr))
		return false;
	q->moved += *len;
	return true;
}

/* Accesses */

static void cmd_out(struct qtest *q, const struct qtest_cmd *cmd, struct words *w)
{
	uint64_t port, value;

	if (!number_at_most(w->v[1], q->m->io.last_addr, &port) || !number(w->v[2], &value))
		return qtest_say(q, "%s", bad_argument);
	value &= UINT64_MAX >> (64 - 8 * cmd->size);
	as_write(&q->m->io, port, cmd->size, value);
	loop_settle(q->m->loop);
	qtest_say(q, "OK");
}

static void cmd_in(struct qtest *q, const struct qtest_cmd *cmd, struct words *w)
{
	uint64_t port, value;

	if (!number_at_most(w->v[1], q->m->io.last_addr, &port))
		return qtest_say(q, "%s", bad_argument);
	value = as_read(&q->m->io, port, cmd->size);
	loop_settle(q->m->loop);
	qtest_say(q, "OK 0x%04" PRIx64, value);
}

static void cmd_write_value(struct qtest *q, const struct qtest_cmd *cmd, struct words *w)
{
	uint64_t addr, value;
	le64 v;

	if (!number(w->v[1], &addr) || !number(w->v[2], &value))
		return qtest_say(q, "%s", bad_argument);
	v = le64_make(value);
	machine_mem_rw(q->m, addr, &v, cmd->size, true);
	loop_settle(q->m->loop);
	qtest_say(q, "OK");
}

static void cmd_read_value(struct qtest *q, const struct qtest_cmd *cmd, struct words *w)
{
	uint64_t addr;
	le64 v = { 0 };

	if (!number(w->v[1], &addr))
		return qtest_say(q, "%s", bad_argument);
	machine_mem_rw(q->m, addr, &v, cmd->size, false);
	loop_settle(q->m->loop);
	qtest_say(q, "OK 0x%016" PRIx64, le64_get(v));
}

/* Bulk */

static void fill(struct qtest *q, uint64_t addr, uint8_t value, uint64_t len)
{
	uint8_t chunk[4096];

	memset(chunk, value, sizeof(chunk));
	while (len != 0) {
		uint64_t n = min(len, sizeof(chunk) - addr % sizeof(chunk));

		machine_mem_rw(q->m, addr, chunk, n, true);
		addr += n;
		len -= n;
	}
}

static void cmd_read(struct qtest *q, const struct qtest_cmd *cmd, struct words *w)
{
	uint64_t addr, len;
	char *p;

	if (!range(q, w, &addr, &len) || len == 0)
		return qtest_say(q, "ERR invalid argument size");
	p = qtest_say_room(q, 5 + qtest_hex_room(len));
	if (!p)
		return;
	memcpy(p, "OK 0x", 5);
	p += 5;
	machine_mem_rw(q->m, addr, p + qtest_hex_room(len) - len, len, false);
	qtest_hex(p, len);
	qtest_said(q, 5 + qtest_hex_room(len));
}

static void cmd_b64read(struct qtest *q, const struct qtest_cmd *cmd, struct words *w)
{
	uint64_t addr, len;
	char *p;

	if (!range(q, w, &addr, &len) || len == 0)
		return qtest_say(q, "ERR invalid argument size");
	p = qtest_say_room(q, 3 + qtest_base64_room(len));
	if (!p)
		return;
	memcpy(p, "OK ", 3);
	p += 3;
	machine_mem_rw(q->m, addr, p + qtest_base64_room(len) - len, len, false);
	qtest_base64(p, len);
	qtest_said(q, 3 + qtest_base64_room(len));
}

/* Digits that are missing at the end stand for zeros. */
static void cmd_write(struct qtest *q, const struct qtest_cmd *cmd, struct words *w)
{
	char *digits = w->v[3] + 2;
	uint64_t addr, len, n;
	long have;

	if (!range(q, w, &addr, &len) || len == 0 || w->len[3] < 3)
		return qtest_say(q, "ERR invalid argument size");
	have = strncmp(w->v[3], "0x", 2) != 0
		       ? -1
		       : qtest_unhex(digits, min(2 * len, (w->len[3] - 2) & ~1ull));
	if (have < 0)
		return qtest_say(q, "ERR invalid data: hexadecimal digits behind 0x are wanted");
	n = (uint64_t)have;
	if (n != 0)
		machine_mem_rw(q->m, addr, digits, n, true);
	fill(q, addr + n, 0, len - n);
	loop_settle(q->m->loop);
	qtest_say(q, "OK");
}

static void cmd_b64write(struct qtest *q, const struct qtest_cmd *cmd, struct words *w)
{
	uint64_t addr, len, n;
	long have;

	if (!range(q, w, &addr, &len) || len == 0)
		return qtest_say(q, "ERR invalid argument size");
	have = qtest_unbase64(w->v[3], w->len[3]);
	if (have < 0)
		return qtest_say(q, "ERR invalid data: base64 is wanted");
	n = min((uint64_t)have, len);
	if (n != 0)
		machine_mem_rw(q->m, addr, w->v[3], n, true);
	loop_settle(q->m->loop);
	qtest_say(q, "OK");
}

static void cmd_memset(struct qtest *q, const struct qtest_cmd *cmd, struct words *w)
{
	uint64_t addr, len, value;

	if (!range(q, w, &addr, &len) || !number(w->v[3], &value))
		return qtest_say(q, "%s", bad_argument);
	fill(q, addr, (uint8_t)value, len);
	loop_settle(q->m->loop);
	qtest_say(q, "OK");
}

static void cmd_endianness(struct qtest *q, const struct qtest_cmd *cmd, struct words *w)
{
	qtest_say(q, "OK little");
}

/* Interrupts */

/* By its name or a QOM path that ends with it, which pc and q35 have under different parents. */
static bool is_ioapic(const char *path)
{
	const char *last = strrchr(path, '/');

	if (last && strncmp(path, "/machine/", 9) != 0)
		return false;
	return strcmp(last ? last + 1 : path, "ioapic") == 0;
}

static void cmd_intercept(struct qtest *q, const struct qtest_cmd *cmd, struct words *w)
{
	if (!is_ioapic(w->v[1]))
		return qtest_say(q, "FAIL Unknown device");
	/* The IOAPIC has no outputs: nothing comes of intercepting those. */
	if (cmd->size != 0)
		qtest_intercept(q);
	qtest_say(q, "OK");
}

static void cmd_set_irq_in(struct qtest *q, const struct qtest_cmd *cmd, struct words *w)
{
	uint64_t gsi, level;

	if (!is_ioapic(w->v[1]))
		return qtest_say(q, "FAIL Unknown device");
	if (strcmp(w->v[2], "unnamed-gpio-in") != 0 ||
	    !number_at_most(w->v[3], MACHINE_GSIS - 1, &gsi) || !number(w->v[4], &level))
		return qtest_say(q, "%s", bad_argument);
	qtest_gsi(q, (unsigned int)gsi, level != 0);
	qtest_say(q, "OK");
}

/* The clock */

bool qtest_step(struct qtest *q)
{
	q->stepping = !loop_virtual_advance(q->m->loop, q->step_to, QTEST_TIMERS);
	if (q->stepping)
		return false;
	qtest_say(q, "OK %" PRIu64, twx_loop_now(q->m->loop) - q->epoch);
	return true;
}

static void cmd_clock_step(struct qtest *q, const struct qtest_cmd *cmd, struct words *w)
{
	uint64_t now = twx_loop_now(q->m->loop), next, ns;

	if (w->n == 1) {
		loop_settle(q->m->loop); /* may arm a timer */
		next = loop_virtual_next(q->m->loop);
		q->step_to = next == UINT64_MAX ? now : next;
	} else if (number_at_most(w->v[1], INT64_MAX - (now - q->epoch), &ns)) {
		q->step_to = now + ns;
	} else {
		return qtest_say(q, "%s", bad_argument);
	}
	qtest_step(q);
}

static void cmd_clock_set(struct qtest *q, const struct qtest_cmd *cmd, struct words *w)
{
	uint64_t ns;

	if (!number_at_most(w->v[1], INT64_MAX, &ns))
		return qtest_say(q, "%s", bad_argument);
	q->step_to = q->epoch + ns;
	qtest_step(q);
}

/* There are no modules to load. */
static void cmd_module_load(struct qtest *q, const struct qtest_cmd *cmd, struct words *w)
{
	qtest_say(q, "FAIL");
}

static const struct qtest_cmd commands[] = {
	/* sorted */
	{ "b64read", cmd_b64read, 3, 0 },
	{ "b64write", cmd_b64write, 4, 0 },
	{ "clock_set", cmd_clock_set, 2, 0 },
	{ "clock_step", cmd_clock_step, 1, 0 },
	{ "endianness", cmd_endianness, 1, 0 },
	{ "inb", cmd_in, 2, 1 },
	{ "inl", cmd_in, 2, 4 },
	{ "inw", cmd_in, 2, 2 },
	{ "irq_intercept_in", cmd_intercept, 2, 1 },
	{ "irq_intercept_out", cmd_intercept, 2, 0 },
	{ "memset", cmd_memset, 4, 0 },
	{ "module_load", cmd_module_load, 3, 0 },
	{ "outb", cmd_out, 3, 1 },
	{ "outl", cmd_out, 3, 4 },
	{ "outw", cmd_out, 3, 2 },
	{ "read", cmd_read, 3, 0 },
	{ "readb", cmd_read_value, 2, 1 },
	{ "readl", cmd_read_value, 2, 4 },
	{ "readq", cmd_read_value, 2, 8 },
	{ "readw", cmd_read_value, 2, 2 },
	{ "set_irq_in", cmd_set_irq_in, 5, 0 },
	{ "write", cmd_write, 4, 0 },
	{ "writeb", cmd_write_value, 3, 1 },
	{ "writel", cmd_write_value, 3, 4 },
	{ "writeq", cmd_write_value, 3, 8 },
	{ "writew", cmd_write_value, 3, 2 },
};

static int compare(const void *name, const void *cmd)
{
	return strcmp(name, ((const struct qtest_cmd *)cmd)->name);
}

/* Words beyond the last that any command has are left alone. */
static void split(struct words *w, char *line, size_t len)
{
	char *p = line, *end = line + len;

	w->n = 0;
	while (w->n < QTEST_MAX_WORDS) {
		char *stop;

		while (p < end && (*p == ' ' || *p == '\r'))
			p++;
		if (p == end)
			return;
		stop = memchr(p, ' ', (size_t)(end - p));
		if (!stop)
			stop = end;
		w->v[w->n] = p;
		w->len[w->n] = (size_t)(stop - p);
		p = stop + (stop < end);
		if (w->v[w->n][w->len[w->n] - 1] == '\r')
			w->len[w->n]--;
		w->v[w->n][w->len[w->n]] = '\0';
		w->n++;
	}
}

/* A name of the client's in our answer: what can be printed of it. */
static void unknown(struct qtest *q, const char *name)
{
	char shown[33];
	unsigned int n;

	for (n = 0; name[n] != '\0' && n < sizeof(shown) - 1; n++)
		shown[n] = name[n] > ' ' && name[n] <= '~' ? name[n] : '?';
	shown[n] = '\0';
	qtest_say(q, "FAIL Unknown command '%s'", shown);
}

void qtest_command(struct qtest *q, char *line, size_t len)
{
	const struct qtest_cmd *cmd;
	struct words w;

	split(&w, line, len);
	if (w.n == 0 || memchr(line, '\0', (size_t)(w.v[0] - line) + w.len[0]))
		return qtest_say(q, "ERR no command");
	cmd = bsearch(w.v[0], commands, array_size(commands), sizeof(commands[0]), compare);
	if (!cmd)
		unknown(q, w.v[0]);
	else if (w.n < cmd->n_words)
		qtest_say(q, "ERR missing argument");
	else
		cmd->fn(q, cmd, &w);
}
