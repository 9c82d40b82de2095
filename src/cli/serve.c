/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `twinax serve`: NICs and backends for somebody else's virtual machine.
 *
 * The command line is read first, whole; then everything is made in QEMU's order whatever the order
 * of the options: backends, filters, NICs (which opens their sockets), control sockets. A failure
 * is one sentence naming the option, and everything made so far is taken back by twx_net_free().
 * After that the process is its loop: SIGTERM, SIGINT and SIGHUP arrive by signalfd and end it in
 * the same way. SIGBUS is an access to memory that a front end has truncated: the library deals
 * with it, and any other SIGBUS is what it always was.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/cli.h"
#include "control/qmp.h"

enum serve_kind { SERVE_NETDEV, SERVE_OBJECT, SERVE_DEVICE, SERVE_QMP, SERVE_N_KINDS };

struct serve_item {
	enum serve_kind kind;
	const char *text;
};

struct serve {
	struct serve_item *items;
	int n_items;
	int ready_fd;
	bool quiet;
	char *state_prefix;
	struct twx_loop *loop;
	struct twx_net *net;
	struct qmp_server *qmp; /* list of all */
	struct twx_watch signals;
};

static const char *const kind_option[] = {
	[SERVE_NETDEV] = "netdev",
	[SERVE_OBJECT] = "object",
	[SERVE_DEVICE] = "device",
	[SERVE_QMP] = "qmp",
};

/* clang-format off */
static const char serve_usage[] =
	"usage: twinax serve -netdev TYPE,id=ID,... -device MODEL,netdev=ID,export=HOST:ADDRESS\n"
	"\n"
	"  -netdev TYPE,id=ID,...      add a network backend (-netdev help lists the types)\n"
	"  -device MODEL,netdev=ID,... add a NIC in front of one (-device help lists the models)\n"
	"  -object TYPE,id=ID,...      add a filter to a backend (-object help lists the types)\n"
	"  -qmp unix:PATH[,server=on][,wait=off]\n"
	"                              open a control socket for `twinax ctl PATH` and QMP clients\n"
	"  -ready-fd N                 write \"ready\" to descriptor N once everything listens\n"
	"  -quiet                      print nothing but errors and warnings\n"
	"  -help                       print this\n"
	"\n"
	"Options may be repeated. TYPE,help and MODEL,help list what a type takes.\n"
	"Example, and the matching part of QEMU's command line:\n"
	"  twinax serve -netdev user,id=n0 \\\n"
	"    -device virtio-net,netdev=n0,export=vhost-user:/tmp/net.sock\n"
	"  qemu-system-x86_64 -m 512 -object memory-backend-memfd,id=m,size=512M,share=on \\\n"
	"    -machine memory-backend=m -chardev socket,id=c,path=/tmp/net.sock \\\n"
	"    -netdev vhost-user,id=n,chardev=c -device virtio-net-pci,netdev=n\n";
/* clang-format on */

static const char serve_example[] = "for example: twinax serve -netdev user,id=n0 "
				    "-device virtio-net,netdev=n0,export=vhost-user:/tmp/net.sock";

static void serve_log(void *opaque, enum twx_log_level level, const char *line)
{
	const struct serve *s = opaque;

	if (level >= TWX_LOG_INFO && s->quiet)
		return;
	fprintf(stderr, "twinax: %s%s\n", level == TWX_LOG_WARNING ? "warning: " : "", line);
}

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
		s->quiet = true;
		return 1;
	}
	for (k = 0; k < SERVE_N_KINDS; k++)
		if (!strcmp(name, kind_option[k]))
			break;
	if (k == SERVE_N_KINDS && strcmp(name, "ready-fd"))
		return serve_misuse(argv[0], "invalid option");
	if (argc < 2)
		return serve_misuse(argv[0], "requires an argument");
	if (k == SERVE_N_KINDS)
		return serve_take_ready_fd(s, argv[1]);
	if (cli_help_for(name, argv[1]))
		return 0;
	s->items[s->n_items++] = (struct serve_item){ .kind = k, .text = argv[1] };
	return 2;
}

static int serve_make_one(struct serve *s, const struct serve_item *item, struct twx_error *e)
{
	struct twx_backend *backend;
	struct twx_filter *filter;
	struct twx_nic *nic;

	switch (item->kind) {
	case SERVE_NETDEV:
		return twx_backend_new(&backend, s->net, item->text, e);
	case SERVE_OBJECT:
		return twx_filter_new(&filter, s->net, item->text, e);
	case SERVE_DEVICE:
		return twx_nic_new(&nic, s->net, item->text, e);
	default:
		return qmp_server_add(&s->qmp, s->net, item->text, e);
	}
}

static int serve_make(struct serve *s)
{
	struct twx_error e;
	char context[256];
	int k, i;

	for (k = 0; k < SERVE_N_KINDS; k++) {
		for (i = 0; i < s->n_items; i++) {
			if (s->items[i].kind != (enum serve_kind)k)
				continue;
			memset(&e, 0, sizeof(e));
			if (!serve_make_one(s, &s->items[i], &e))
				continue;
			cli_default_hint(kind_option[k], s->items[i].text, &e);
			snprintf(context, sizeof(context), "-%s %s", kind_option[k],
				 s->items[i].text);
			return cli_fail(context, &e);
		}
	}
	return 0;
}

/* Of one network, since a signal handler has no other way to know it; null while there is none. */
static struct twx_net *volatile fault_net;

static void serve_fault(int sig, siginfo_t *si, void *context)
{
	struct twx_net *net = fault_net;

	if (si->si_code > 0 && net && twx_net_fault(net, si->si_addr))
		return;
	signal(sig, SIG_DFL);
	raise(sig);
}

static int serve_watch_faults(struct serve *s, struct twx_error *e)
{
	struct sigaction sa = { .sa_sigaction = serve_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };

	fault_net = s->net;
	if (sigaction(SIGBUS, &sa, NULL) < 0)
		return twx_error_set(e, errno, "cannot catch SIGBUS: %s", strerror(errno));
	return 0;
}

static void serve_signal(struct twx_watch *w, uint32_t events)
{
	struct signalfd_siginfo si;

	if (read(w->fd, &si, sizeof(si)) == sizeof(si))
		twx_loop_stop(w->loop);
}

static int serve_watch_signals(struct serve *s, struct twx_error *e)
{
	sigset_t set;
	int fd, err;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return twx_error_set(e, errno, "cannot make a signalfd: %s", strerror(errno));
	err = twx_watch_add(&s->signals, s->loop, fd, EPOLLIN, serve_signal);
	if (err) {
		close(fd);
		return twx_error_set(e, -err, "cannot watch signals: %s", strerror(-err));
	}
	return 0;
}

/* A flow is a socket: the soft limit of 1024 descriptors is for programs that still use select().
 */
static void serve_raise_limits(void)
{
	struct rlimit rl;

	if (!getrlimit(RLIMIT_NOFILE, &rl) && rl.rlim_cur < rl.rlim_max) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
}

/* One line per NIC, then "ready": a script waits for that line or uses -ready-fd. */
static void serve_say_ready(struct serve *s)
{
	struct twx_opts *o;
	const char *export, *driver;
	int i;

	for (i = 0; i < s->n_items && !s->quiet; i++) {
		if (s->items[i].kind != SERVE_DEVICE)
			continue;
		if (twx_opts_parse(&o, s->items[i].text, "driver", NULL))
			continue;
		export = twx_opts_raw(o, "export");
		driver = twx_opts_raw(o, "driver");
		if (export && driver)
			printf("%s at %s\n", driver, export);
		twx_opts_free(o);
	}
	if (!s->quiet)
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

	for (int i = 0; i < s->n_items && !prefix; i++) {
		const char *export;

		if (s->items[i].kind != SERVE_DEVICE ||
		    twx_opts_parse(&o, s->items[i].text, "driver", NULL))
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
	struct twx_net_config config = { .size = sizeof(config) };
	struct twx_error e = { 0 };
	int err;

	if (twx_loop_new(&s->loop, &e) || serve_watch_signals(s, &e))
		return cli_fail("serve", &e);
	config.loop = s->loop;
	config.log = serve_log;
	config.log_opaque = s;
	config.log_level = TWX_LOG_INFO;
	config.state_prefix = s->state_prefix = serve_state_prefix(s);
	if (twx_net_new(&s->net, &config, &e) || serve_watch_faults(s, &e))
		return cli_fail("serve", &e);
	if (serve_make(s))
		return 1;
	twx_net_check(s->net);
	serve_say_ready(s);
	err = twx_loop_run(s->loop);
	return err ? cli_fail_text("serve", NULL, "the event loop failed: %s", strerror(-err)) : 0;
}

static void serve_end(struct serve *s)
{
	qmp_servers_free(s->qmp);
	if (s->net)
		twx_net_free(s->net);
	fault_net = NULL;
	if (s->signals.loop) {
		twx_watch_del(&s->signals);
		close(s->signals.fd);
	}
	if (s->loop)
		twx_loop_free(s->loop);
	free(s->items);
	free(s->state_prefix);
}

static bool serve_has_work(const struct serve *s)
{
	int i;

	for (i = 0; i < s->n_items; i++)
		if (s->items[i].kind == SERVE_NETDEV || s->items[i].kind == SERVE_DEVICE)
			return true;
	return false;
}

int cmd_serve(int argc, char **argv)
{
	struct serve s = { .ready_fd = -1 };
	int i = 1, used, status;

	s.items = calloc((size_t)argc, sizeof(*s.items));
	if (!s.items)
		return cli_fail_text("serve", NULL, "out of memory");
	while (i < argc) {
		used = serve_option(&s, argc - i, argv + i);
		if (used <= 0) {
			free(s.items);
			return used ? 1 : 0;
		}
		i += used;
	}
	if (!serve_has_work(&s)) {
		free(s.items);
		return cli_fail_text("serve", serve_example,
				     "needs at least one -netdev or -device");
	}
	serve_raise_limits();
	status = serve_run(&s);
	serve_end(&s);
	return status;
}
