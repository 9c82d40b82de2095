/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * QEMU's own e1000 under the work of e1000_work.c, without a guest: e1000_qtest ACCEL QEMU [ARG...]
 *
 * Registers and memory are reached by QEMU's qtest protocol. ACCEL is qtest, which has no CPU, or
 * tcg for a QEMU built without it: its CPU then stands halted at the end of the firmware, which has
 * found nothing to boot. Two hub ports make a null sink; a unix stream backend feeds the receiver.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <dirent.h>
#include <time.h>
#include <unistd.h>

#include "e1000_work.h"

#define BAR0 0xe0000000u
#define SLOT 4u
#define FIRMWARE_SECONDS 4

struct qtest {
	FILE *f;
	int feed_fd;
	pid_t pid;
	char dir[64];
};

static void die(const char *what)
{
	fprintf(stderr, "e1000_qtest: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* One command; the value behind "OK", if there is one. */
__attribute__((format(printf, 2, 3))) static uint64_t qtest(struct qtest *q, const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	vfprintf(q->f, fmt, ap);
	va_end(ap);
	fputc('\n', q->f);
	if (fflush(q->f))
		die("qtest");
	do
		if (!fgets(line, sizeof(line), q->f))
			die("QEMU is gone");
	while (!strncmp(line, "IRQ", 3));
	if (strncmp(line, "OK", 2)) {
		fprintf(stderr, "e1000_qtest: QEMU says %s", line);
		exit(1);
	}
	return line[2] ? strtoull(line + 2, NULL, 0) : 0;
}

static void reg_write(void *opaque, uint32_t off, uint32_t value)
{
	qtest(opaque, "writel 0x%x 0x%x", BAR0 + off, value);
}

static uint32_t reg_read(void *opaque, uint32_t off)
{
	return (uint32_t)qtest(opaque, "readl 0x%x", BAR0 + off);
}

static void mem_write(void *opaque, uint64_t addr, const void *buf, uint32_t len)
{
	const uint8_t *p = buf;
	struct qtest *q = opaque;

	fprintf(q->f, "write 0x%llx 0x%x 0x", (unsigned long long)addr, len);
	for (uint32_t i = 0; i < len; i++)
		fprintf(q->f, "%02x", p[i]);
	qtest(q, " ");
}

static void feed(void *opaque, const void *buf, uint32_t len)
{
	const char *p = buf;

	while (len) {
		ssize_t n = write(((struct qtest *)opaque)->feed_fd, p, len);

		if (n < 0)
			die("feeding the stream backend");
		p += n;
		len -= (uint32_t)n;
	}
}

static void idle(void *opaque)
{
	(void)opaque;
	usleep(1000);
}

static uint64_t now(void *opaque)
{
	struct timespec ts;

	(void)opaque;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Of all threads of QEMU, from the scheduler's own account. */
static uint64_t cpu(void *opaque)
{
	char path[320];
	uint64_t sum = 0;
	struct dirent *de;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)((struct qtest *)opaque)->pid);
	dir = opendir(path);
	if (!dir)
		die(path);
	while ((de = readdir(dir))) {
		unsigned long long ns;
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat",
			 (int)((struct qtest *)opaque)->pid, de->d_name);
		f = de->d_name[0] == '.' ? NULL : fopen(path, "r");
		if (!f)
			continue;
		if (fscanf(f, "%llu", &ns) == 1)
			sum += ns;
		fclose(f);
	}
	closedir(dir);
	return sum;
}

static int dial(const char *dir, const char *name)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s/%s", dir, name);
	for (int i = 0; i < 1000; i++) {
		if (!connect(fd, (struct sockaddr *)&un, sizeof(un)))
			return fd;
		usleep(10000);
	}
	die(un.sun_path);
	return -1;
}

static void start(struct qtest *q, const char *accel, char *const argv[], int n_args, bool fed)
{
	char qtest_arg[128], stream_arg[160];
	const char *args[64];
	int n = 0, fd;

	strcpy(q->dir, "/tmp/twinax-qtest.XXXXXX");
	if (!mkdtemp(q->dir))
		die("mkdtemp");
	snprintf(qtest_arg, sizeof(qtest_arg), "unix:%s/q,server=on,wait=off", q->dir);
	snprintf(stream_arg, sizeof(stream_arg),
		 "stream,id=n0,server=on,addr.type=unix,addr.path=%s/s", q->dir);
	for (int i = 0; i < n_args && n < 40; i++)
		args[n++] = argv[i];
	const char *tail[] = { "-machine",
			       "pc",
			       "-m",
			       "64",
			       "-nodefaults",
			       "-display",
			       "none",
			       "-accel",
			       accel,
			       "-qtest",
			       qtest_arg,
			       "-qtest-log",
			       "none",
			       "-device",
			       "e1000,netdev=n0,addr=4,mac=52:54:00:12:34:56,romfile=",
			       "-netdev",
			       fed ? stream_arg : "hubport,id=n0,hubid=0",
			       fed ? NULL : "-netdev",
			       "hubport,id=n1,hubid=0",
			       NULL };
	for (const char **t = tail; *t; t++)
		args[n++] = *t;
	args[n] = NULL;
	q->pid = fork();
	if (q->pid == 0) {
		execvp(args[0], (char *const *)args);
		_exit(127);
	}
	fd = dial(q->dir, "q");
	q->f = fdopen(fd, "r+");
	if (!q->f)
		die("fdopen");
	q->feed_fd = fed ? dial(q->dir, "s") : -1;
}

static void stop(struct qtest *q)
{
	char path[128];

	kill(q->pid, SIGKILL);
	waitpid(q->pid, NULL, 0);
	fclose(q->f);
	if (q->feed_fd >= 0)
		close(q->feed_fd);
	snprintf(path, sizeof(path), "%s/q", q->dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/s", q->dir);
	unlink(path);
	rmdir(q->dir);
}

/* Address space and bus mastering, as firmware would. */
static void plug(struct qtest *q)
{
	const uint32_t at = 0x80000000u | SLOT << 11;

	qtest(q, "outl 0xcf8 0x%x", at | 0x10);
	qtest(q, "outl 0xcfc 0x%x", BAR0);
	qtest(q, "outl 0xcf8 0x%x", at | 0x04);
	qtest(q, "outw 0xcfc 0x7");
	if (reg_read(q, 0x5404) >> 31 != 1) {
		fprintf(stderr, "e1000_qtest: no e1000 where one should be\n");
		exit(1);
	}
}

int main(int argc, char **argv)
{
	struct qtest q = { 0 };
	struct work_drive d = { &q, reg_write, reg_read, mem_write, feed, idle, now, cpu };
	bool tcg = argc > 1 && !strcmp(argv[1], "tcg");

	if (argc < 3) {
		fprintf(stderr, "usage: e1000_qtest qtest|tcg QEMU [ARG...]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	for (int fed = 0; fed < 2; fed++) {
		start(&q, argv[1], argv + 2, argc - 2, fed);
		if (tcg)
			sleep(FIRMWARE_SECONDS);
		plug(&q);
		work_setup(&d, fed);
		/* QEMU's receiver waits a second of the machine's time after RCTL was written. */
		if (tcg)
			usleep(1200000);
		else
			qtest(&q, "clock_step 1200000000");
		for (int k = fed ? WORK_RX_60 : WORK_TX_60; k < (fed ? WORK_N : WORK_RX_60); k++) {
			struct work_result r = work_run(&d, (enum work_kind)k, 400);

			printf("%s\t%.1f\n", work_names[k], r.ns);
			fflush(stdout);
		}
		stop(&q);
	}
	return 0;
}
