/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `twinax serve`: NICs and backends for somebody else's virtual machine.
 *
 * The command line is read first, whole; the session makes everything of it. After that the process
 * is its loop: SIGTERM, SIGINT and SIGHUP arrive by signalfd and end it. Without NICs and backends
 * on the command line there is one NIC of each kind that a machine can be given, each on a
 * user-mode network of its own: two of them in one guest must not lie in the same subnet, and
 * through a hub every frame would be copied.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/macros.h"
#include "cli/alloc.h"
#include "cli/cli.h"
#include "cli/session.h"

struct serve {
	struct session session;
	struct session_dir dir; /* of the sockets that nobody named */
	bool by_default;
	int ready_fd;
	char *state_prefix;
	struct twx_watch signals;
};

/* clang-format off */
static const char serve_usage[] =
	"usage: twinax serve [-netdev TYPE,id=ID,... -device MODEL,netdev=ID,export=HOST:ADDRESS ...]\n"
	"\n"
	"  -netdev TYPE,id=ID,...      add a network backend (-netdev help lists the types)\n"
	"  -device MODEL,netdev=ID,... add a NIC in front of one (-device help lists the models)\n"
	"  -object TYPE,id=ID,...      add a filter to a backend (-object help lists the types)\n"
	"  -chardev TYPE,id=ID,...     add a stream for a backend or a filter (-chardev help)\n"
	"  -qmp unix:PATH[,server=on][,wait=off]\n"
	"                              open a control socket for `twinax ctl PATH` and QMP clients\n"
	"  -ready-fd N                 write \"ready\" to descriptor N once everything listens\n"
	"  -quiet                      print nothing but errors and warnings\n"
	"  -help                       print this\n"
	"\n"
	"Options may be repeated. TYPE,help and MODEL,help list what a type takes.\n"
	"Without -netdev and -device there is a NIC of each kind on a user-mode network, and the\n"
	"matching part of QEMU's command line is printed; with them, for example:\n"
	"  twinax serve -netdev user,id=n0 \\\n"
	"    -device virtio-net,netdev=n0,export=vhost-user:/tmp/net.sock\n"
	"  qemu-system-x86_64 -m 512 -object memory-backend-memfd,id=m,size=512M,share=on \\\n"
	"    -machine memory-backend=m -chardev socket,id=c,path=/tmp/net.sock \\\n"
	"    -netdev vhost-user,id=n,chardev=c -device virtio-net-pci,netdev=n\n"
	"Several NICs on one network: -netdev hubport (see twinax-serve(1)). Without changing a\n"
	"command line of QEMU: twinax help qemu.\n";
/* clang-format on */

/* What is served when nothing is asked for, as far as this twinax has it. */
static const struct serve_default {
	const char *model, *host, *bus, *backend, *network, *who;
	const char *qemu; /* the part of QEMU's command line behind its memory; %s: the socket */
	const char *remark;
} serve_defaults[] = {
	{ "virtio-net", "vhost-user", "virtio", "user,id=n0", "10.0.2.0/24", "any QEMU",
	  "-chardev socket,id=c0,path=%s \\\n"
	  "    -netdev vhost-user,id=n0,chardev=c0 -device virtio-net-pci,netdev=n0 ...\n",
	  "  (QEMU 7 without KVM: -device virtio-net-pci,netdev=n0,vectors=0)\n" },
	{ "e1000", "vfio-user", "pci", "user,id=n1,net=10.0.3.0/24", "10.0.3.0/24",
	  "QEMU 10.1 or newer",
	  "-nic none \\\n    -device '{\"driver\":\"vfio-user-pci\","
	  "\"socket\":{\"type\":\"unix\",\"path\":\"%s\"}}' ...\n",
	  "" },
};

static const char serve_memory[] =
	"  qemu-system-x86_64 -m 1G -object memory-backend-memfd,id=mem,size=1G,share=on \\\n"
	"    -machine memory-backend=mem ";

static int serve_misuse(const char *word, const char *why)
{
	cli_fail_text("serve", "try: twinax help serve", "%s: %s", word, why);
	return -1;
}

static int serve_take_ready_fd(struct serve *s, const char *text)
{
	char *end;
	long fd = strtol(text, &end, 10);

	if (end == text || *end || fd < 0 || fd > INT_MAX || write((int)fd, "", 0) < 0) {
		cli_fail_text("-ready-fd", "it takes the number of a descriptor open for writing",
			      "'%s' is no such descriptor", text);
		return -1;
	}
	s->ready_fd = (int)fd;
	return 2;
}

/* Reads one "-option VALUE"; returns the words used, 0 to end with success, -1 after an error. */
static int serve_option(struct serve *s, int argc, char **argv)
{
	const char *name = argv[0];
	int k;

	if (*name != '-')
		return serve_misuse(name, "unexpected argument, options start with a dash");
	name += name[1] == '-' ? 2 : 1;
	if (!strcmp(name, "help") || !strcmp(name, "h")) {
		fputs(serve_usage, stdout);
		return 0;
	}
	if (!strcmp(name, "quiet")) {
		s->session.quiet = true;
		return 1;
	}
	for (k = 0; k < SESSION_N_KINDS; k++)
		if (!strcmp(name, session_option[k]))
			break;
	if (k == SESSION_N_KINDS && strcmp(name, "ready-fd"))
		return serve_misuse(argv[0], "invalid option");
	if (argc < 2)
		return serve_misuse(argv[0], "requires an argument");
	if (k == SESSION_N_KINDS)
		return serve_take_ready_fd(s, argv[1]);
	if (cli_help_for(name, argv[1]))
		return 0;
	session_add(&s->session, (enum session_kind)k, argv[1]);
	return 2;
}

/* One NIC of each kind. */

static bool have_default(const struct serve_default *d)
{
	const struct twx_nic_model *const *m;
	const struct twx_host_type *const *h;

	for (m = twx_nic_models(); *m && strcmp((*m)->name, d->model); m++)
		;
	for (h = twx_host_types(); *h && strcmp((*h)->name, d->host); h++)
		;
	return *m && *h && !strcmp((*m)->bus, d->bus) && twx_host_bus(*h, d->bus);
}

static char *default_socket(const struct serve *s, const struct serve_default *d)
{
	return cli_printf("%s/%s.sock", s->dir.path, d->model);
}

static int serve_add_defaults(struct serve *s)
{
	struct twx_error e = { 0 };
	size_t i;

	s->by_default = true;
	if (session_dir_make(&s->dir, &e))
		return cli_fail("serve", &e);
	for (i = 0; i < array_size(serve_defaults); i++) {
		const struct serve_default *d = &serve_defaults[i];
		char *path = default_socket(s, d), *device;

		if (have_default(d)) {
			device = cli_printf("%s,netdev=n%zu,export=%s:%s", d->model, i, d->host,
					    path);
			session_add(&s->session, SESSION_NETDEV, d->backend);
			session_add(&s->session, SESSION_DEVICE, device);
			free(device);
		}
		free(path);
	}
	return 0;
}

static void serve_say_defaults(const struct serve *s)
{
	size_t i;

	for (i = 0; i < array_size(serve_defaults); i++) {
		const struct serve_default *d = &serve_defaults[i];
		const char *at = strstr(d->qemu, "%s");
		char *path = default_socket(s, d);

		if (have_default(d))
			printf("\n%s has a user-mode network of its own, %s. For %s:\n%s%.*s%s%s%s",
			       d->model, d->network, d->who, serve_memory, (int)(at - d->qemu),
			       d->qemu, path, at + 2, d->remark);
		free(path);
	}
	printf("\nBoth may be in one guest. Its memory is yours to choose, the same size twice.\n");
}

/* Running. */

static void serve_signal(struct twx_watch *w, uint32_t events)
{
	struct signalfd_siginfo si;

	if (read(w->fd, &si, sizeof(si)) == sizeof(si))
		twx_loop_stop(w->loop);
}

static int serve_watch_signals(struct serve *s)
{
	sigset_t set;
	int fd, err;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return cli_fail_text("serve", NULL, "cannot make a signalfd: %s", strerror(errno));
	err = twx_watch_add(&s->signals, s->session.loop, fd, EPOLLIN, serve_signal);
	if (err) {
		close(fd);
		return cli_fail_text("serve", NULL, "cannot watch signals: %s", strerror(-err));
	}
	return 0;
}

/* One line per NIC, then "ready": a script waits for that line or uses -ready-fd. */
static void serve_say_ready(struct serve *s)
{
	struct twx_opts *o;
	const char *export, *driver;
	size_t i;

	for (i = 0; i < s->session.n_items && !s->session.quiet; i++) {
		if (s->session.items[i].kind != SESSION_DEVICE)
			continue;
		if (twx_opts_parse(&o, s->session.items[i].text, "driver", NULL))
			continue;
		export = twx_opts_raw(o, "export");
		driver = twx_opts_raw(o, "driver");
		if (export && driver)
			printf("%s at %s\n", driver, export);
		twx_opts_free(o);
	}
	if (s->by_default && !s->session.quiet)
		serve_say_defaults(s);
	if (!s->session.quiet)
		printf("ready\n");
	fflush(stdout);
	if (s->ready_fd >= 0) {
		if (write(s->ready_fd, "ready\n", 6) < 0)
			perror("twinax: -ready-fd");
		close(s->ready_fd);
	}
}

/*
 * What a killed process leaves for its successor lies beside its first socket: a place that both
 * know, and where they may write. Null if there is no socket.
 */
static char *serve_state_prefix(const struct serve *s)
{
	char *prefix = NULL;
	struct twx_opts *o;
	size_t i;

	for (i = 0; i < s->session.n_items && !prefix; i++) {
		const char *export;

		if (s->session.items[i].kind != SESSION_DEVICE ||
		    twx_opts_parse(&o, s->session.items[i].text, "driver", NULL))
			continue;
		export = twx_opts_raw(o, "export");
		export = export ? strchr(export, ':') : NULL;
		if (export && export[1])
			prefix = strdup(export + 1);
		twx_opts_free(o);
	}
	return prefix;
}

static int serve_run(struct serve *s)
{
	int err;

	s->session.state_prefix = s->state_prefix = serve_state_prefix(s);
	if (session_open(&s->session) || serve_watch_signals(s) || session_make(&s->session))
		return 1;
	serve_say_ready(s);
	err = twx_loop_run(s->session.loop);
	return err ? cli_fail_text("serve", NULL, "the event loop failed: %s", strerror(-err)) : 0;
}

static void serve_end(struct serve *s)
{
	if (s->signals.loop) {
		twx_watch_del(&s->signals);
		close(s->signals.fd);
	}
	session_close(&s->session);
	session_dir_remove(&s->dir);
	free(s->state_prefix);
}

static bool serve_has_work(const struct serve *s)
{
	size_t i;

	for (i = 0; i < s->session.n_items; i++)
		if (s->session.items[i].kind != SESSION_QMP &&
		    s->session.items[i].kind != SESSION_CHARDEV)
			return true;
	return false;
}

int cmd_serve(int argc, char **argv)
{
	struct serve s = { .session = { .command = "serve", .log_level = TWX_LOG_INFO },
			   .dir = { .fd = -1 },
			   .ready_fd = -1 };
	int i = 1, used = 1, status = 0;

	while (i < argc && used > 0) {
		used = serve_option(&s, argc - i, argv + i);
		i += used;
	}
	if (used <= 0)
		status = used ? 1 : 0;
	else if (!serve_has_work(&s))
		status = serve_add_defaults(&s);
	if (used > 0 && !status)
		status = serve_run(&s);
	serve_end(&s);
	return status;
}
