/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs every scenario on both stacks in namespaces of its own and compares the transcripts. */
#include <errno.h>
#include <fnmatch.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "diff.h"

#define SKIP 77
#define MIN_EXCHANGES 200

struct ctx *ctx_current;

void ctx_output(struct ctx *c, const void *frame, size_t len)
{
	struct reply *r;

	if (c->n_replies == REPLIES_MAX || len > FRAME_MAX)
		abort();
	r = &c->replies[c->n_replies++];
	r->len = (uint32_t)len;
	memcpy(r->data, frame, len);
}

void log_begin(struct ctx *c, const char *fmt, ...)
{
	struct transcript *t = c->log;
	va_list ap;

	t->ex = realloc(t->ex, sizeof(*t->ex) * (size_t)(t->n + 1));
	memset(&t->ex[t->n], 0, sizeof(*t->ex));
	va_start(ap, fmt);
	vsnprintf(t->ex[t->n].name, sizeof(t->ex[t->n].name), fmt, ap);
	va_end(ap);
	t->n++;
}

void log_field(struct ctx *c, const char *key, const char *fmt, ...)
{
	struct exchange *e = &c->log->ex[c->log->n - 1];
	struct field *f;
	va_list ap;

	e->fields = realloc(e->fields, sizeof(*f) * (size_t)(e->n + 1));
	f = &e->fields[e->n++];
	snprintf(f->key, sizeof(f->key), "%s", key);
	va_start(ap, fmt);
	vsnprintf(f->value, sizeof(f->value), fmt, ap);
	va_end(ap);
}

void run_quiet(struct ctx *c)
{
	int quiet = 0;

	while (quiet < 4) {
		int before = c->n_replies;

		stack_step(c->stack, 2);
		quiet = c->n_replies == before ? quiet + 1 : 0;
	}
	stack_skip(c->stack, 10); /* a delayed acknowledgement */
}

void exchange(struct ctx *c, const uint8_t *frame, size_t len)
{
	stack_input(c->stack, frame, len);
	run_quiet(c);
	log_replies(c);
}

static void run(const char *library, struct transcript *log, const char *tftp_root)
{
	struct ctx *c = calloc(1, sizeof(*c));
	static const uint8_t mac[6] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 };

	c->log = log;
	memcpy(c->mac, mac, 6);
	ctx_current = c;
	c->stack = stack_open(library, tftp_root, false);
	scenarios_l2(c);
	scenarios_dhcp(c);
	scenarios_icmp(c);
	scenarios_udp(c);
	scenarios_tftp(c);
	scenarios_tcp(c);
	scenarios_forward(c);
	scenarios_rare(c);
	stack_close(c->stack);
	c->stack = stack_open(library, tftp_root, true);
	scenarios_v6(c);
	stack_close(c->stack);
	free(c);
}

static int n_known;
static int *known_hits;

/* The justification of a difference, or null. */
static const char *justified(const char *name, const char *key)
{
	for (int i = 0; i < n_known; i++)
		if (!fnmatch(differences[i].exchange, name, 0) &&
		    !fnmatch(differences[i].key, key, 0)) {
			known_hits[i]++;
			return differences[i].reason;
		}
	return NULL;
}

/* The k-th field of @e with this key, or null. */
static const char *value(const struct exchange *e, const char *key, int k)
{
	for (int i = 0; i < e->n; i++)
		if (!strcmp(e->fields[i].key, key) && !k--)
			return e->fields[i].value;
	return NULL;
}

static int occurrence(const struct exchange *e, int i)
{
	int k = 0;

	for (int j = 0; j < i; j++)
		k += !strcmp(e->fields[j].key, e->fields[i].key);
	return k;
}

/* Fields of @a that @b lacks or has otherwise; @swapped: only those that @b lacks, so that none is
 * told twice. */
static int compare(const struct exchange *a, const struct exchange *b, bool swapped)
{
	int bad = 0;

	for (int i = 0; i < a->n; i++) {
		const struct field *f = &a->fields[i];
		const char *other = value(b, f->key, occurrence(a, i));
		const char *ours = swapped ? other : f->value, *theirs = swapped ? f->value : other;

		if (other && (swapped || !strcmp(other, f->value)))
			continue;
		if (justified(a->name, f->key))
			continue;
		printf("DIFFERS %s: %s: twinax %s, libslirp %s\n", a->name, f->key,
		       ours ? ours : "(none)", theirs ? theirs : "(none)");
		bad++;
	}
	return bad;
}

static int judge(const struct transcript *t, const struct transcript *s)
{
	int bad = 0, fields = 0;

	if (t->n != s->n) {
		printf("FAIL %d exchanges with twinax, %d with libslirp\n", t->n, s->n);
		return 1;
	}
	for (int i = 0; i < t->n; i++) {
		bad += compare(&t->ex[i], &s->ex[i], false) + compare(&s->ex[i], &t->ex[i], true);
		fields += t->ex[i].n;
	}
	for (int i = 0; i < n_known; i++)
		if (!known_hits[i]) {
			printf("STALE the table justifies '%s: %s', which did not differ\n",
			       differences[i].exchange, differences[i].key);
			bad++;
		}
	if (t->n < MIN_EXCHANGES) {
		printf("FAIL only %d exchanges\n", t->n);
		bad++;
	}
	printf("%d exchanges, %d fields compared, %d kinds of difference justified, %d "
	       "unexplained\n",
	       t->n, fields, n_known, bad);
	return bad != 0;
}

static int write_file(const char *path, const void *data, size_t len)
{
	FILE *f = fopen(path, "w");

	if (!f || fwrite(data, 1, len, f) != len)
		return -1;
	return fclose(f);
}

/* A network of our own with nothing but loopback, and a resolv.conf that names it. */
static int isolate(const char *dir)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	static const char resolv[] = "nameserver 127.0.0.1\n";
	char path[128];
	int fd;

	if (unshare(CLONE_NEWNET | CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
		printf("skipped: no network namespace: %s\n", strerror(errno));
		return SKIP;
	}
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (ioctl(fd, SIOCSIFFLAGS, &ifr))
		return 1;
	close(fd);
	snprintf(path, sizeof(path), "%s/resolv.conf", dir);
	if (write_file(path, resolv, sizeof(resolv) - 1) ||
	    mount(path, "/etc/resolv.conf", NULL, MS_BIND, NULL)) {
		printf("skipped: cannot put a resolv.conf in place: %s\n", strerror(errno));
		return SKIP;
	}
	return 0;
}

static int prepare(char *dir, size_t size, char *tftp, size_t tftp_size)
{
	uint8_t big[5000];
	char path[160];

	snprintf(dir, size, "/tmp/twinax-diff-XXXXXX");
	if (!mkdtemp(dir))
		return 1;
	snprintf(tftp, tftp_size, "%s/tftp", dir);
	fill(big, sizeof(big), 5);
	if (mkdir(tftp, 0755))
		return 1;
	for (int i = 0; i < 5; i++) {
		static const struct {
			const char *name;
			size_t len;
		} files[5] = { { "empty", 0 },
			       { "small", 100 },
			       { "exact", 512 },
			       { "two", 1024 },
			       { "big", 5000 } };

		snprintf(path, sizeof(path), "%s/%s", tftp, files[i].name);
		if (write_file(path, big, files[i].len))
			return 1;
	}
	return isolate(dir);
}

int main(int argc, char **argv)
{
	static struct transcript ours, theirs;
	char dir[64], tftp[96], cmd[96];
	int r;

	if (argc != 3) {
		fprintf(stderr, "usage: %s OUR-LIBRARY THEIR-LIBRARY\n", argv[0]);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (differences[n_known].exchange)
		n_known++;
	known_hits = calloc((size_t)n_known + 1, sizeof(int));
	r = prepare(dir, sizeof(dir), tftp, sizeof(tftp));
	if (!r) {
		run(argv[2], &theirs, tftp);
		run(argv[1], &ours, tftp);
		r = judge(&ours, &theirs);
		umount("/etc/resolv.conf");
	}
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	if (system(cmd))
		r = 1;
	return r;
}
