/* SPDX-License-Identifier: BSD-3-Clause */
/* The qtest protocol as its clients see it: transcripts over a real socket, good and bad. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../device/qtest_client.h"
#include "hosts/machine/acpi.h"
#include "hosts/machine/machine.h"

#define MS 1000000ull

struct ctx {
	struct qt_machine m;
	struct qt c;
};

static int setup(void **state)
{
	struct ctx *x = calloc(1, sizeof(*x));

	assert_non_null(x);
	qt_machine_open(&x->m, "none");
	qt_machine_start(&x->m);
	qt_connect(&x->c, x->m.path, x->m.loop);
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct ctx *x = *state;

	qt_close(&x->c);
	qt_machine_close(&x->m);
	free(x);
	return 0;
}

/* Each line and the answer that QEMU 7.2 gives to it. */
static void answers_are_qemus(void **state)
{
	static const char *const script[][2] = {
		{ "endianness", "OK little" },
		{ "inb 0x9999", "OK 0x00ff" },
		{ "outl 0xcf8 0x80000000", "OK" },
		{ "inl 0xcf8", "OK 0x80000000" },
		{ "inl 0xcfc", "OK 0x12378086" },
		{ "inw 0xcfe", "OK 0x1237" },
		{ "readb 0x1000", "OK 0x0000000000000000" },
		{ "writeb 0x1000 0x5a5", "OK" },
		{ "readb 0x1000", "OK 0x00000000000000a5" },
		{ "writeq 0x1000 0x1122334455667788", "OK" },
		{ "readl 4096", "OK 0x0000000055667788" },
		{ "readl 010000", "OK 0x0000000055667788" },
		{ "readw 0x1003", "OK 0x0000000000004455" },
		{ "read 0x1000 0x8", "OK 0x8877665544332211" },
		{ "write 0x1000 4 0x0102", "OK" },
		{ "read 0x1000 4", "OK 0x01020000" },
		{ "write 0x1000 4 0xAbCd0304zz", "OK" },
		{ "read 0x1000 4", "OK 0xabcd0304" },
		{ "write 0x1000 2 0x", "ERR invalid argument size" },
		{ "write 0x2000 0x10 0x00112233445566778899aabbccddeeff ", "OK" },
		{ "b64read 0x2000 0x10", "OK ABEiM0RVZneImaq7zN3u/w==" },
		{ "b64read 0x2000 5", "OK ABEiM0Q=" },
		{ "b64read 0x2000 3", "OK ABEi" },
		{ "b64write 0x1000 3 AQID", "OK" },
		{ "b64write 0x1004 8 AQIDBA==", "OK" },
		{ "read 0x1000 8", "OK 0x0102030401020304" },
		{ "memset 0x1000 8 0x1ff", "OK" },
		{ "read 0x1000 9", "OK 0xffffffffffffffff00" },
		{ "memset 0x1000 0 1", "OK" },
		{ "foo", "FAIL Unknown command 'foo'" },
		{ "foo bar baz", "FAIL Unknown command 'foo'" },
		{ "rtas foo 0 0 0 0", "FAIL Unknown command 'rtas'" },
		{ "module_load a b", "FAIL" },
		{ "irq_intercept_in nothere", "FAIL Unknown device" },
		{ "irq_intercept_in ioapic", "OK" },
		{ "irq_intercept_in /machine/i440fx/ioapic", "OK" },
		{ "irq_intercept_out ioapic", "OK" },
		{ "set_irq_in nothere unnamed-gpio-in 5 1", "FAIL Unknown device" },
	};
	struct ctx *x = *state;

	for (size_t i = 0; i < sizeof(script) / sizeof(script[0]); i++) {
		const char *said = qt_ask(&x->c, "%s", script[i][0]);

		if (strcmp(said, script[i][1]))
			fail_msg("%s: %s, not %s", script[i][0], said, script[i][1]);
	}
}

/* Where QEMU would abort there is an answer, and the conversation goes on. */
static void nonsense_is_answered(void **state)
{
	static const char *const lines[] = {
		" ",
		"\t",
		"\r",
		"inb",
		"inb x",
		"inb 0x",
		"inb 0x1000000",
		"inb 65536",
		"inb  ",
		"outb 1",
		"outb 1 y",
		"outb 0x10000 1",
		"readl",
		"readl -",
		"readl 0xg",
		"readl 0x10000000000000000",
		"writel 0x1000",
		"writeq 0 1x",
		"read 0x1000",
		"read 0x1000 0",
		"read 0x1000 0x7fffffff",
		"read 0x1000 0xffffffffffffffff",
		"read 0xfffffffffffffff0 0x20",
		"write 0x1000 4",
		"write 0x1000 4 123456",
		"write 0x1000 0xffffffff 0x00",
		"write 0x1000 2 0x0g00",
		"memset 0x1000 8",
		"memset 0x1000 0xfffffffff 0",
		"memset 0xffffffffffffffff 2 0",
		"b64read 0 0",
		"b64read 0 0x10000000",
		"b64write 0x1000 3",
		"b64write 0x1000 3 AQI",
		"b64write 0x1000 3 A?==",
		"b64write 0x1000 3 A===",
		"clock_step x",
		"clock_step 0x8000000000000000",
		"clock_step -1",
		"clock_set",
		"clock_set -5",
		"irq_intercept_in",
		"set_irq_in ioapic",
		"set_irq_in ioapic other 5 1",
		"set_irq_in ioapic unnamed-gpio-in 24 1",
		"set_irq_in ioapic unnamed-gpio-in 4294967296 1",
		"module_load",
		"OK",
		"ioapic",
		"read\x01write",
		"\xff\xfe\xfd",
	};
	struct ctx *x = *state;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		const char *said = qt_ask(&x->c, "%s", lines[i]);

		if (strncmp(said, "ERR ", 4) && strncmp(said, "FAIL", 4))
			fail_msg("%s: %s", lines[i], said);
		for (const char *p = said; *p; p++)
			assert_true(*p >= ' ' && *p <= '~');
	}
	qt_send(&x->c, "\n\0inb 1\nin\0b 1\n", 15);
	for (int i = 0; i < 3; i++) {
		char *line;

		assert_true(qt_line(&x->c, &line));
		assert_true(!strncmp(line, "ERR ", 4) || !strncmp(line, "FAIL", 4));
	}
	assert_string_equal(qt_ask(&x->c, "endianness"), "OK little");
}

static void commands_come_in_any_pieces(void **state)
{
	static const char text[] = "writel 0x1000 0x11223344\r\nreadl 0x1000\nread 0x1000 2\n";
	struct ctx *x = *state;
	char *line;

	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		qt_send(&x->c, text + i, 1);
		qt_pump(x->m.loop);
	}
	assert_true(qt_line(&x->c, &line));
	assert_string_equal(line, "OK");
	assert_true(qt_line(&x->c, &line));
	assert_string_equal(line, "OK 0x0000000011223344");
	assert_true(qt_line(&x->c, &line));
	assert_string_equal(line, "OK 0x4433");
}

static void memory_ends_where_it_ends(void **state)
{
	struct ctx *x = *state;

	qt_do(&x->c, "writel 0x3fffffc 0xaabbccdd");
	assert_string_equal(qt_ask(&x->c, "read 0x3fffffc 8"), "OK 0xddccbbaaffffffff");
	qt_do(&x->c, "write 0x3fffffe 4 0x01020304");
	assert_string_equal(qt_ask(&x->c, "read 0x3fffffc 4"), "OK 0xddcc0102");
}

static void bulk_goes_through_whole(void **state)
{
	struct ctx *x = *state;
	size_t len = 3 << 20;
	uint8_t *a = malloc(len), *b = malloc(len);

	assert_true(a && b);
	for (size_t i = 0; i < len; i++)
		a[i] = (uint8_t)(i * 2654435761u >> 13);
	qt_memwrite(&x->c, 0x100000, a, len);
	qt_memread(&x->c, 0x100000, b, len);
	assert_memory_equal(a, b, len);
	free(a);
	free(b);
}

static void interrupts_are_told_once_asked_for(void **state)
{
	struct ctx *x = *state;

	qt_do(&x->c, "set_irq_in ioapic unnamed-gpio-in 7 1");
	assert_int_equal(x->c.irq, 0);
	qt_do(&x->c, "irq_intercept_in ioapic");
	assert_int_equal(x->c.irq, 1 << 7); /* as it stands */
	qt_do(&x->c, "set_irq_in ioapic unnamed-gpio-in 5 1");
	assert_int_equal(x->c.irq, 1 << 7 | 1 << 5);
	qt_do(&x->c, "set_irq_in ioapic unnamed-gpio-in 5 1");
	assert_int_equal(x->c.raised[5], 1);
	qt_do(&x->c, "set_irq_in /machine/q35/ioapic unnamed-gpio-in 5 0");
	qt_do(&x->c, "set_irq_in ioapic unnamed-gpio-in 7 0");
	assert_int_equal(x->c.irq, 0);
	/* The next client begins anew. */
	qt_do(&x->c, "set_irq_in ioapic unnamed-gpio-in 5 1");
	qt_close(&x->c);
	qt_connect(&x->c, x->m.path, x->m.loop);
	qt_do(&x->c, "set_irq_in ioapic unnamed-gpio-in 6 1");
	assert_int_equal(x->c.irq, 0);
	qt_do(&x->c, "irq_intercept_in ioapic");
	assert_int_equal(x->c.irq, 1 << 6 | 1 << 5);
}

static void ring(struct twx_timer *t)
{
	*(uint64_t *)(t + 1) = twx_loop_now(t->loop);
}

static void the_clock_is_the_clients(void **state)
{
	struct ctx *x = *state;
	struct {
		struct twx_timer t;
		uint64_t rang;
	} a = { 0 }, b = { 0 };
	uint64_t start = twx_loop_now(x->m.loop);

	assert_int_equal(qt_do(&x->c, "clock_step"), 0); /* nothing to step to */
	twx_timer_init(&a.t, x->m.loop, ring);
	twx_timer_init(&b.t, x->m.loop, ring);
	twx_timer_set(&a.t, start + 3 * MS);
	twx_timer_set(&b.t, start + 8 * MS);
	usleep(10000);
	assert_int_equal(qt_do(&x->c, "clock_step 2000000"), 2 * MS);
	assert_int_equal(a.rang, 0);
	assert_int_equal(qt_do(&x->c, "clock_step"), 3 * MS);
	assert_int_equal(a.rang, start + 3 * MS);
	assert_int_equal(qt_do(&x->c, "clock_set 7999999"), 8 * MS - 1);
	assert_int_equal(b.rang, 0);
	assert_int_equal(qt_do(&x->c, "clock_set 5"), 8 * MS - 1); /* never back */
	assert_int_equal(qt_do(&x->c, "clock_step 1000"), 8 * MS + 999);
	assert_int_equal(b.rang, start + 8 * MS);
	assert_int_equal(qt_do(&x->c, "clock_set 0x7fffffffffffffff"), INT64_MAX);
	assert_int_equal(qt_do(&x->c, "clock_step 0"), INT64_MAX);
}

struct metronome {
	struct twx_timer t;
	unsigned int n;
};

static void beat(struct twx_timer *t)
{
	((struct metronome *)t)->n++;
	twx_timer_set(t, twx_loop_now(t->loop) + 1000);
}

/* A step over a hundred thousand timers leaves the loop to others in between, and is answered. */
static void a_long_step_does_not_hold_the_loop(void **state)
{
	struct ctx *x = *state;
	struct metronome m = { 0 };
	unsigned int rounds = 0;
	static const char text[] = "clock_step 100000000\nreadb 0\n";
	char *line;

	twx_timer_init(&m.t, x->m.loop, beat);
	twx_timer_set(&m.t, twx_loop_now(x->m.loop) + 1000);
	qt_send(&x->c, text, sizeof(text) - 1);
	for (; m.n < 100000; rounds++)
		assert_true(twx_loop_poll(x->m.loop, 0) >= 0);
	assert_true(rounds > 5);
	assert_true(qt_line(&x->c, &line));
	assert_string_equal(line, "OK 100000000");
	assert_true(qt_line(&x->c, &line));
	assert_string_equal(line, "OK 0x0000000000000000");
	/* One that is left alone ends. */
	qt_send(&x->c, text, sizeof(text) - 1);
	twx_loop_poll(x->m.loop, 0);
	qt_close(&x->c);
	m.n = 0;
	for (int i = 0; i < 10; i++)
		twx_loop_poll(x->m.loop, 0);
	assert_true(m.n < 50000);
	twx_timer_cancel(&m.t);
	qt_connect(&x->c, x->m.path, x->m.loop);
	assert_string_equal(qt_ask(&x->c, "readb 0"), "OK 0x0000000000000000");
}

/* A line of some bytes that writes millions counts for more than one. */
static void bulk_does_not_hold_the_loop(void **state)
{
	struct ctx *x = *state;
	unsigned int rounds = 0;
	char *line, text[20 * 32];
	size_t len = 0;

	for (int i = 0; i < 20; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "memset 0 0x800000 %d\n",
					i);
	qt_send(&x->c, text, len);
	while (twx_loop_poll(x->m.loop, 0) > 0)
		rounds++;
	assert_true(rounds >= 10);
	for (int i = 0; i < 20; i++) {
		assert_true(qt_line(&x->c, &line));
		assert_string_equal(line, "OK");
	}
}

static size_t resident(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	unsigned long pages, all;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lu %lu", &all, &pages), 2);
	fclose(f);
	return pages * 4096;
}

/* Sends @text again and again without reading, as long as there is room; how many bytes went. */
static size_t stuff(struct ctx *x, const char *text, size_t most)
{
	size_t len = strlen(text), sent = 0;

	while (sent < most) {
		size_t off = sent % len;
		ssize_t n = send(x->c.fd, text + off, len - off, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0) {
			sent += (size_t)n;
			continue;
		}
		assert_int_equal(errno, EAGAIN);
		if (twx_loop_poll(x->m.loop, 0) == 0)
			break;
	}
	return sent;
}

static void who_does_not_read_is_not_fed(void **state)
{
	struct ctx *x = *state;
	char *text = malloc(32768), *line;
	size_t before, sent;

	/* 23 bytes of question, 8197 of answer. */
	for (int i = 0; i < 1024; i++)
		memcpy(text + 23 * i, "read 0x00001000 0x1000\n", 23);
	text[23 * 1024] = '\0';
	qt_pump(x->m.loop);
	before = resident();
	sent = stuff(x, text, 64 << 20);
	assert_true(sent < 4 << 20);
	assert_true(resident() < before + (8 << 20));
	/* Others are served meanwhile, and once it reads, it gets everything. */
	assert_int_equal(twx_loop_poll(x->m.loop, 0), 0);
	for (size_t i = 0; i < sent / 23; i++) {
		assert_true(qt_line(&x->c, &line));
		assert_int_equal(strlen(line), 5 + 2 * 0x1000);
	}
	free(text);
}

/* Interrupts that nobody reads of take no room; who reads in the end knows how they stand. */
static void levels_catch_up_with_who_reads_late(void **state)
{
	struct ctx *x = *state;
	struct twx_machine *m = x->m.machine;
	size_t before;

	qt_do(&x->c, "irq_intercept_in ioapic");
	before = resident();
	for (unsigned int i = 0; i < 1000000; i++) {
		machine_set_gsi(m, i % 3, i & 1);
		if (i % 64 == 0)
			twx_loop_poll(x->m.loop, 0);
	}
	machine_set_gsi(m, 9, true);
	machine_set_gsi(m, 0, false);
	machine_set_gsi(m, 1, true);
	machine_set_gsi(m, 2, false);
	assert_true(resident() < before + (4 << 20));
	while (x->c.irq != (1 << 9 | 1 << 1)) {
		assert_true(qt_poll(&x->c));
		if (x->c.n_in == 0 && twx_loop_poll(x->m.loop, 0) == 0)
			break;
	}
	assert_string_equal(qt_ask(&x->c, "endianness"), "OK little");
	assert_int_equal(x->c.irq, 1 << 9 | 1 << 1);
	assert_true(x->c.raised[0] < 200000);
}

struct restless {
	struct twx_task t;
	struct ctx *x;
	bool level;
};

static void toggle(struct twx_task *t)
{
	struct restless *r = (struct restless *)t;

	machine_set_gsi(r->x->m.machine, 5, r->level = !r->level);
	twx_loop_defer(r->x->m.loop, t);
}

/* Interrupts of the loop's tasks, while more commands wait than one round carries out. */
static void interrupts_come_between_commands(void **state)
{
	struct ctx *x = *state;
	struct restless a = { .t.fn = toggle, .x = x }, b = a;
	char *line, text[4 * 15000];

	qt_do(&x->c, "irq_intercept_in ioapic");
	for (int i = 0; i < 15000; i++)
		memcpy(text + 4 * i, "foo\n", 4);
	qt_send(&x->c, text, sizeof(text));
	twx_loop_defer(x->m.loop, &a.t);
	twx_loop_defer(x->m.loop, &b.t);
	for (int i = 0; i < 20; i++)
		assert_true(twx_loop_poll(x->m.loop, 0) >= 0);
	twx_loop_undefer(x->m.loop, &a.t);
	twx_loop_undefer(x->m.loop, &b.t);
	for (int i = 0; i < 15000; i++) {
		assert_true(qt_line(&x->c, &line));
		assert_string_equal(line, "FAIL Unknown command 'foo'");
	}
	assert_true(x->c.raised[5] > 1);
}

static void a_command_without_end_ends_the_conversation(void **state)
{
	struct ctx *x = *state;
	size_t len = 1 << 20, sent = 0;
	char *text = malloc(len), *line;
	ssize_t n;

	memset(text, 'a', len);
	for (; sent < 64 << 20; sent += (size_t)n) {
		n = send(x->c.fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			break;
		n = n < 0 ? 0 : n;
		twx_loop_poll(x->m.loop, 0);
	}
	assert_true(sent < 20 << 20);
	assert_true(qt_line(&x->c, &line));
	assert_string_equal(line, "ERR command too long");
	assert_false(qt_line(&x->c, &line));
	free(text);
	qt_close(&x->c);
	qt_connect(&x->c, x->m.path, x->m.loop);
	assert_string_equal(qt_ask(&x->c, "endianness"), "OK little");
}

static void clients_take_turns(void **state)
{
	struct ctx *x = *state;
	struct qt second;
	char *line;

	assert_string_equal(qt_ask(&x->c, "endianness"), "OK little");
	qt_connect(&second, x->m.path, x->m.loop);
	qt_send(&second, "readb 0\n", 8);
	assert_true(qt_poll(&second));
	assert_int_equal(second.n_in, 0);
	assert_string_equal(qt_ask(&x->c, "endianness"), "OK little");
	qt_close(&x->c);
	assert_true(qt_line(&second, &line));
	assert_string_equal(line, "OK 0x0000000000000000");
	x->c = second;
}

/* All commands of a client that then says no more are answered, and it is hung up on. */
static void the_last_commands_are_answered(void **state)
{
	struct ctx *x = *state;
	char *line, text[18 * 1000 + 8];

	for (int i = 0; i < 1000; i++)
		memcpy(text + 18 * i, "read 0x1000 0x100\n", 18);
	memcpy(text + 18 * 1000, "readb 1", 7); /* no line */
	qt_send(&x->c, text, 18 * 1000 + 7);
	assert_int_equal(shutdown(x->c.fd, SHUT_WR), 0);
	for (int i = 0; i < 1000; i++)
		assert_true(qt_line(&x->c, &line));
	assert_false(qt_line(&x->c, &line));
}

static void without_descriptors_a_client_is_turned_away(void **state)
{
	struct ctx *x = *state;
	struct rlimit old, low;
	struct qt late = { 0 };
	int fd;

	qt_close(&x->c);
	late.fd = socket(AF_UNIX, SOCK_STREAM, 0);
	fd = dup(0);
	close(fd);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = (rlim_t)fd;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	strcpy(un.sun_path, x->m.path);
	assert_int_equal(connect(late.fd, (struct sockaddr *)&un, sizeof(un)), 0);
	late.loop = x->m.loop;
	assert_false(qt_poll(&late));
	assert_int_equal(twx_loop_poll(x->m.loop, 0), 0); /* and does not spin */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_non_null(strstr(x->m.log, "turned a client away"));
	qt_close(&late);
	qt_connect(&x->c, x->m.path, x->m.loop);
	assert_string_equal(qt_ask(&x->c, "endianness"), "OK little");
}

static void the_guest_switches_itself_off(void **state)
{
	struct ctx *x = *state;

	qt_do(&x->c, "outw 0x%x 0x%x", PM_BASE + 4, 1 << 13 | ACPI_S5_TYPE << 10);
	qt_pump(x->m.loop);
	assert_int_equal(x->m.n_events, 1);
	assert_int_equal(x->m.event, TWX_MACHINE_SHUTDOWN);
	assert_string_equal(qt_ask(&x->c, "endianness"), "OK little");
}

static void the_guest_restarts(void **state)
{
	struct ctx *x = *state;

	qt_do(&x->c, "outl 0xcf8 0x80000860");
	qt_do(&x->c, "outl 0xcfc 0x0b0b0b0b");
	assert_string_equal(qt_ask(&x->c, "inl 0xcfc"), "OK 0xb0b0b0b");
	qt_do(&x->c, "outb 0xcf9 6");
	assert_int_equal(x->m.n_events, 1);
	assert_int_equal(x->m.event, TWX_MACHINE_RESET);
	qt_do(&x->c, "outl 0xcf8 0x80000860");
	assert_string_equal(qt_ask(&x->c, "inl 0xcfc"), "OK 0x80808080");
}

/* Its log has every line, in QEMU's form. */
static void the_log_has_it_all(void **state)
{
	struct qt_machine m;
	char path[] = "/tmp/twinax-qtest-log-XXXXXX", buf[512] = "", *p = buf;
	static const char *const want[] = { "[I ",  "] OPENED\n",
					    "[R +", "] foo\n",
					    "[S +", "] FAIL Unknown command 'foo'\n",
					    "[I +", "] CLOSED\n" };
	int fd = mkstemp(path);
	struct qt c;

	qt_machine_open(&m, path);
	qt_machine_start(&m);
	qt_connect(&c, m.path, m.loop);
	qt_ask(&c, "foo");
	qt_close(&c);
	qt_machine_close(&m);
	assert_true(read(fd, buf, sizeof(buf) - 1) > 0);
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		p = strstr(p, want[i]);
		if (!p)
			fail_msg("no '%s' in:\n%s", want[i], buf);
		p += strlen(want[i]);
	}
	assert_string_equal(p, "");
	close(fd);
	unlink(path);
}

/* A log that nobody reads neither blocks nor grows. */
static void a_log_that_nobody_reads_loses_lines(void **state)
{
	size_t room = 8 << 20, len = 0, before;
	char path[64], *all = malloc(room), *text = all;
	struct qt_machine m;
	unsigned int lost = 0;
	struct qt c;
	int p[2];

	assert_non_null(text);
	assert_int_equal(pipe2(p, O_NONBLOCK), 0);
	snprintf(path, sizeof(path), "/dev/fd/%d", p[1]);
	qt_machine_open(&m, path);
	qt_machine_start(&m);
	qt_connect(&c, m.path, m.loop);
	qt_ask(&c, "read 0 0x8000");
	before = resident();
	for (int i = 0; i < 200; i++)
		qt_ask(&c, "read 0 0x8000");
	assert_true(resident() < before + (4 << 20));
	for (ssize_t n; (n = read(p[0], text + len, room - len - 1)) > 0; len += (size_t)n)
		qt_ask(&c, "readb 0");
	text[len] = '\0';
	while ((text = strstr(text, " lines left out"))) {
		const char *n = text++;

		while (n[-1] != ' ')
			n--;
		lost += (unsigned int)strtoul(n, NULL, 10);
	}
	assert_in_range(lost, 150, 400);
	assert_non_null(strstr(all, "] readb 0\n"));
	free(all);
	qt_close(&c);
	qt_machine_close(&m);
	close(p[0]);
	close(p[1]);
}

static void refused(const char *where, const char *log, const char *why)
{
	struct twx_machine_config config = { .size = sizeof(config), .accel = "qtest" };
	struct twx_net_config net = { .size = sizeof(net) };
	struct twx_machine *m = NULL;
	struct twx_error e = { 0 };

	assert_int_equal(twx_loop_new(&net.loop, NULL), 0);
	assert_int_equal(twx_net_new(&config.net, &net, NULL), 0);
	config.qtest = where;
	config.qtest_log = log;
	assert_true(twx_machine_new(&m, &config, &e) < 0);
	if (!strstr(e.what, why))
		fail_msg("%s: %s", where, e.what);
	twx_net_free(config.net);
	twx_loop_free(net.loop);
}

/* A vhost-user back end that cuts the machine's memory off would end it with SIGBUS. */
static void memory_that_is_shared_keeps_its_size(void **state)
{
	struct twx_machine_config config = { .size = sizeof(config), .accel = "qtest" };
	struct twx_net_config net = { .size = sizeof(net) };
	struct twx_machine *m;
	int fd;

	(void)state;
	assert_int_equal(twx_loop_new(&net.loop, NULL), 0);
	assert_int_equal(twx_net_new(&config.net, &net, NULL), 0);
	config.memory = 1u << 20;
	config.shared_memory = true;
	assert_int_equal(twx_machine_new(&m, &config, NULL), 0);
	fd = m->ram->regions[0].fd; /* what a back end is passed */
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(ftruncate(fd, 2u << 20), -1);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	twx_machine_free(m);
	twx_net_free(config.net);
	twx_loop_free(net.loop);
}

static void bad_places_are_refused(void **state)
{
	char path[200];

	refused("nonsense:1234", "none", "nonsense");
	refused("chardev:nobody", "none", "nobody");
	refused("unix:", "none", "path");
	refused("unix:/tmp/x,server=maybe", "none", "server");
	refused("unix:/tmp/x,sever=on", "none", "sever");
	refused("unix:/nonexistent/x,server=on", "none", "cannot listen on /nonexistent/x");
	refused("unix:/nonexistent/x", "none", "cannot connect to /nonexistent/x");
	refused("unix:/tmp,server=on", "none", "cannot listen on /tmp");
	refused("unix:/nonexistent/x", "/nonexistent/log", "cannot open /nonexistent/log");
	memset(path, 'a', sizeof(path));
	memcpy(path, "unix:/", 6);
	path[sizeof(path) - 1] = '\0';
	refused(path, "none", "bytes is wanted");
}

/* Without server=on the machine comes to its client, as libqtest has it. */
static void the_machine_connects_to_its_client(void **state)
{
	struct twx_machine_config config = { .size = sizeof(config), .accel = "qtest" };
	struct twx_net_config net = { .size = sizeof(net) };
	struct sockaddr_un un = { .sun_family = AF_UNIX, .sun_path = "/tmp/twinax-qtestc-XXXXXX" };
	char where[160];
	struct qt c = { 0 };
	char *line;
	int fd;

	close(mkstemp(un.sun_path));
	unlink(un.sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(fd, 1), 0);
	snprintf(where, sizeof(where), "unix:%s", un.sun_path);
	assert_int_equal(twx_loop_new(&net.loop, NULL), 0);
	assert_int_equal(twx_net_new(&config.net, &net, NULL), 0);
	config.qtest = where;
	config.qtest_log = "none";
	struct twx_machine *m;
	assert_int_equal(twx_machine_new(&m, &config, NULL), 0);
	assert_int_equal(twx_machine_start(m, NULL), 0);
	c.fd = accept(fd, NULL, NULL);
	c.loop = net.loop;
	qt_send(&c, "endianness\n", 11);
	assert_true(qt_line(&c, &line));
	assert_string_equal(line, "OK little");
	qt_close(&c);
	close(fd);
	unlink(un.sun_path);
	twx_machine_free(m);
	twx_net_free(config.net);
	twx_loop_free(net.loop);
}

static struct qt_machine relayed(struct qt *c, int fd[2])
{
	struct twx_machine_config config = { .size = sizeof(config), .accel = "qtest" };
	struct twx_net_config net = { .size = sizeof(net) };
	struct qt_machine m = { 0 };
	struct twx_chardev *chardev;
	char text[64];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	snprintf(text, sizeof(text), "fd,id=c0,fd=%d", fd[1]);
	assert_int_equal(twx_loop_new(&m.loop, NULL), 0);
	net.loop = m.loop;
	assert_int_equal(twx_net_new(&m.net, &net, NULL), 0);
	assert_int_equal(twx_chardev_new(&chardev, m.net, text, NULL), 0);
	config.net = m.net;
	config.qtest = "chardev:c0";
	config.qtest_log = "none";
	assert_int_equal(twx_machine_new(&m.machine, &config, NULL), 0);
	assert_int_equal(twx_machine_start(m.machine, NULL), 0);
	*c = (struct qt){ .loop = m.loop, .fd = fd[0] };
	return m;
}

static void relayed_close(struct qt_machine *m)
{
	twx_machine_free(m->machine);
	twx_net_free(m->net);
	twx_loop_free(m->loop);
}

/* The same conversation by a chardev: bulk in both directions, interrupts, a client that leaves. */
static void a_chardev_is_as_good_as_a_socket(void **state)
{
	size_t len = 1 << 20;
	uint8_t *a = malloc(len), *b = malloc(len);
	struct qt_machine m;
	struct qt c;
	int fd[2];

	m = relayed(&c, fd);
	assert_true(a && b);
	for (size_t i = 0; i < len; i++)
		a[i] = (uint8_t)(i * 2654435761u >> 13);
	qt_memwrite(&c, 0x100000, a, len);
	qt_memread(&c, 0x100000, b, len);
	assert_memory_equal(a, b, len);
	qt_do(&c, "irq_intercept_in ioapic");
	machine_set_gsi(m.machine, 5, true);
	assert_true(qt_poll(&c));
	assert_int_equal(c.irq, 1 << 5);
	qt_close(&c);
	machine_set_gsi(m.machine, 5, false);
	qt_pump(m.loop);
	relayed_close(&m);
	free(a);
	free(b);
}

/* Its client reads nothing: what waits is bounded; then it gets all. */
static void a_chardev_that_is_not_read_is_not_fed(void **state)
{
	static const char text[] = "read 0x1000 0x1000\n";
	struct ctx x = { 0 };
	size_t before, sent;
	char *line;
	int fd[2];

	x.m = relayed(&x.c, fd);
	qt_pump(x.m.loop);
	before = resident();
	sent = stuff(&x, text, 64 << 20);
	assert_true(sent < 4 << 20);
	assert_true(resident() < before + (8 << 20));
	for (size_t i = 0; i < sent / (sizeof(text) - 1); i++) {
		assert_true(qt_line(&x.c, &line));
		assert_int_equal(strlen(line), 5 + 2 * 0x1000);
	}
	qt_close(&x.c);
	relayed_close(&x.m);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(answers_are_qemus),
		T(nonsense_is_answered),
		T(commands_come_in_any_pieces),
		T(memory_ends_where_it_ends),
		T(bulk_goes_through_whole),
		T(interrupts_are_told_once_asked_for),
		T(the_clock_is_the_clients),
		T(a_long_step_does_not_hold_the_loop),
		T(bulk_does_not_hold_the_loop),
		T(who_does_not_read_is_not_fed),
		T(levels_catch_up_with_who_reads_late),
		T(interrupts_come_between_commands),
		T(a_command_without_end_ends_the_conversation),
		T(clients_take_turns),
		T(the_last_commands_are_answered),
		T(without_descriptors_a_client_is_turned_away),
		T(the_guest_switches_itself_off),
		T(the_guest_restarts),
		cmocka_unit_test(the_log_has_it_all),
		cmocka_unit_test(a_log_that_nobody_reads_loses_lines),
		cmocka_unit_test(memory_that_is_shared_keeps_its_size),
		cmocka_unit_test(bad_places_are_refused),
		cmocka_unit_test(the_machine_connects_to_its_client),
		cmocka_unit_test(a_chardev_is_as_good_as_a_socket),
		cmocka_unit_test(a_chardev_that_is_not_read_is_not_fed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
