/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `twinax qemu`: a QEMU command line whose NICs and networks are served by twinax.
 *
 * The command line becomes a plan (qemu_plan.c), the plan a list of what to serve and a new command
 * line (qemu_emit.c). Sockets listen before QEMU starts, in a folder of their own that goes with
 * the process. QEMU is a child in the same process group with the terminal, standard streams and
 * signal mask that we were given: signals of the terminal reach it by themselves, others are passed
 * on. Its exit status is ours. Nothing is written to standard output, which is QEMU's.
 *
 * Where nothing is to be served (help is asked for, or every NIC stays with QEMU) QEMU takes this
 * process's place.
 *
 * -daemonize: the command returns when QEMU's own does; a second process serves on in the
 * background, adopts the QEMU that runs there and ends with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/macros.h"
#include "cli/alloc.h"
#include "cli/cli.h"
#include "cli/qemu_probe.h"
#include "cli/session.h"

struct launcher {
	struct session session;
	struct session_dir dir;
	bool dry_run, daemonize;
	struct qemu_args args;
	struct qemu_plan plan;
	struct qemu_launch launch;
	const char *pidfile; /* with daemonize: where QEMU leaves its pid */
	int report;	     /* with daemonize: the pipe to the command that waits; else -1 */
	struct twx_child child;
	pid_t pid; /* of QEMU while it runs, else 0 */
	int status;
	struct twx_watch signals;
	sigset_t mask; /* as it was before */
};

/* clang-format off */
static const char qemu_usage[] =
	"usage: twinax qemu [OPTION...] -- qemu-system-x86_64 ARGUMENT...\n"
	"\n"
	"Runs QEMU with its own command line, except that twinax serves what it has of -netdev,\n"
	"-nic, -net, -device of network models and -object filter-*. What it does not have stays\n"
	"with QEMU and is named. virtio models work with every QEMU, others with QEMU 10.1 or newer.\n"
	"\n"
	"  -n, -dry-run           print what would be served and QEMU's new command line, run nothing\n"
	"  -qmp unix:PATH[,server=on][,wait=off]\n"
	"                         open a control socket for `twinax ctl PATH` and QMP clients\n"
	"  -quiet                 print nothing but errors and warnings\n"
	"  -help                  print this\n"
	"\n"
	"The exit status is QEMU's, 128 and the signal's number if a signal ended it; 1 after an\n"
	"error of twinax's, 127 if QEMU is not there. twinax ends with QEMU.\n"
	"Example: twinax qemu -- qemu-system-x86_64 -m 1G -nic user,model=virtio-net-pci disk.img\n";
/* clang-format on */

static int qemu_misuse(const char *word, const char *why)
{
	cli_fail_text("qemu", "try: twinax help qemu", "%s: %s", word, why);
	return -1;
}

/* One option of ours; words used, 0 to end with success, -1 after an error. */
static int take_option(struct launcher *l, int argc, char **argv)
{
	const char *name = argv[0] + (argv[0][1] == '-' ? 2 : 1);

	if (!strcmp(name, "help") || !strcmp(name, "h")) {
		fputs(qemu_usage, stdout);
		return 0;
	}
	if (!strcmp(name, "n") || !strcmp(name, "dry-run")) {
		l->dry_run = true;
		return 1;
	}
	if (!strcmp(name, "quiet")) {
		l->session.quiet = true;
		return 1;
	}
	if (strcmp(name, "qmp"))
		return qemu_misuse(argv[0], "invalid option, QEMU's own stand behind its name");
	if (argc < 2)
		return qemu_misuse(argv[0], "requires an argument");
	session_add(&l->session, SESSION_QMP, argv[1]);
	return 2;
}

/* The index of QEMU's name, 0 to end with success, -1 after an error. */
static int take_options(struct launcher *l, int argc, char **argv)
{
	int i = 1, used;

	while (i < argc && argv[i][0] == '-' && strcmp(argv[i], "--")) {
		used = take_option(l, argc - i, argv + i);
		if (used <= 0)
			return used;
		i += used;
	}
	if (i < argc && !strcmp(argv[i], "--"))
		i++;
	if (i < argc)
		return i;
	cli_fail_text("qemu", "for example: twinax qemu -- qemu-system-x86_64 -nic user disk.img",
		      "needs QEMU's command line");
	return -1;
}

/* The plan. */

static int make_plan(struct launcher *l)
{
	struct qemu_facts facts = { .major = 99, .vfio_user = true };
	struct twx_error e = { 0 };
	bool pci = false;
	size_t i;

	/* Only what has networks of ours is asked anything. */
	if (qemu_plan_make(&l->plan, &l->args, &facts, &e))
		return cli_fail("", &e);
	for (i = 0; i < l->plan.n_nics; i++)
		pci |= l->plan.nics[i].pci;
	if (!l->plan.n_taken)
		return 0;
	facts = (struct qemu_facts){ 0 };
	if (qemu_probe_version(&l->args, &facts, &e)) {
		cli_fail("qemu", &e);
		return e.code == ENOENT ? 127 : 126;
	}
	if (pci)
		qemu_probe_vfio_user(&l->args, &facts);
	qemu_plan_free(&l->plan);
	return qemu_plan_make(&l->plan, &l->args, &facts, &e) ? cli_fail("", &e) : 0;
}

static void print_notes(const struct launcher *l)
{
	size_t i;

	for (i = 0; i < l->plan.n_notes && !l->session.quiet; i++)
		fprintf(stderr, "twinax: %s\n", l->plan.notes[i]);
}

static void print_quoted(const char *word)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "-_=,.:/+@%";

	if (*word && !word[strspn(word, plain)]) {
		fputs(word, stdout);
		return;
	}
	putchar('\'');
	for (; *word; word++)
		if (*word == '\'')
			fputs("'\\''", stdout);
		else
			putchar(*word);
	putchar('\'');
}

/* Both lines as a shell reads them. */
static void print_plan(const struct launcher *l)
{
	const struct qemu_launch *q = &l->launch;
	size_t i;

	if (q->n_items)
		fputs("twinax serve", stdout);
	for (i = 0; i < q->n_items; i++) {
		printf(" \\\n  -%s ", session_option[q->items[i].kind]);
		print_quoted(q->items[i].text);
	}
	if (q->n_items)
		putchar('\n');
	for (i = 0; i < q->argc; i++) {
		fputs(i == 0 ? "" : *q->argv[i] == '-' ? " \\\n  " : " ", stdout);
		print_quoted(q->argv[i]);
	}
	putchar('\n');
}

/* QEMU in our place. */
static int exec_qemu(const struct launcher *l)
{
	int err;

	execvp(l->args.words[0], l->args.words);
	err = errno;
	cli_fail_text("qemu", NULL, "cannot run %s: %s", l->args.words[0], strerror(err));
	return err == ENOENT ? 127 : 126;
}

/* QEMU as a child. */

static int exit_status(int wait_status)
{
	return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

static void child_ended(struct twx_child *c, int status);

/* With -daemonize the first QEMU ends when the second runs: from here on that one is watched. */
static bool adopt(struct launcher *l)
{
	FILE *f = fopen(l->pidfile, "re");
	int pid = 0, null;
	char status = 0;

	if (!f || fscanf(f, "%d", &pid) != 1 || pid <= 1 ||
	    twx_child_add(&l->child, l->session.loop, pid, child_ended))
		pid = 0;
	if (f)
		fclose(f);
	if (!pid) {
		cli_fail_text("qemu", NULL,
			      "cannot find the QEMU that runs in the background by %s", l->pidfile);
		return false;
	}
	l->pid = pid;
	if (write(l->report, &status, 1) < 0)
		perror("twinax: qemu");
	close(l->report);
	l->report = -1;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; fd < 3 && null >= 0; fd++)
		dup2(null, fd);
	return chdir("/") == 0;
}

static void child_ended(struct twx_child *c, int status)
{
	struct launcher *l = container_of(c, struct launcher, child);
	bool started = l->report >= 0;

	l->pid = 0;
	l->status = status < 0 ? 1 : exit_status(status);
	if (started && !l->status && adopt(l))
		return;
	twx_loop_stop(l->session.loop);
}

static void pass_signal(struct twx_watch *w, uint32_t events)
{
	struct launcher *l = container_of(w, struct launcher, signals);
	struct signalfd_siginfo si;
	bool stop;

	if (read(w->fd, &si, sizeof(si)) != sizeof(si))
		return;
	/* Asking to stop has no effect on a group without a shell to continue it; SIGSTOP has. */
	stop = si.ssi_signo == SIGTSTP;
	/* The terminal's signals go to the whole process group. */
	if (l->pid && si.ssi_code != SI_KERNEL)
		kill(l->pid, stop ? SIGSTOP : (int)si.ssi_signo);
	if (stop)
		raise(SIGSTOP);
}

static const int passed_signals[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT };

static int watch_signals(struct launcher *l)
{
	sigset_t set;
	size_t i;
	int fd;

	sigemptyset(&set);
	for (i = 0; i < array_size(passed_signals); i++)
		sigaddset(&set, passed_signals[i]);
	sigprocmask(SIG_BLOCK, &set, &l->mask);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0 || twx_watch_add(&l->signals, l->session.loop, fd, EPOLLIN, pass_signal))
		return cli_fail_text("qemu", NULL, "cannot watch signals: %s", strerror(errno));
	return 0;
}

/* A signal that came before QEMU could have it. */
static int pending_signal(const struct launcher *l)
{
	struct signalfd_siginfo si;

	while (read(l->signals.fd, &si, sizeof(si)) == sizeof(si))
		if (si.ssi_signo != SIGTSTP && si.ssi_signo != SIGCONT)
			return (int)si.ssi_signo;
	return 0;
}

/* With the signal mask and the dispositions that we were given. */
static int spawn_qemu(struct launcher *l)
{
	char *const *argv = l->launch.argv;
	posix_spawnattr_t attr;
	extern char **environ;
	sigset_t defaults;
	int err;

	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE);
	sigaddset(&defaults, SIGBUS);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &l->mask);
	posix_spawnattr_setsigdefault(&attr, &defaults);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	err = posix_spawnp(&l->pid, argv[0], NULL, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	if (err) {
		l->pid = 0;
		cli_fail_text("qemu", NULL, "cannot run %s: %s", argv[0], strerror(err));
		return err == ENOENT ? 127 : 126;
	}
	err = twx_child_add(&l->child, l->session.loop, l->pid, child_ended);
	if (err) {
		kill(l->pid, SIGTERM);
		l->pid = 0;
		return cli_fail_text("qemu", NULL, "cannot watch QEMU: %s", strerror(-err));
	}
	return 0;
}

static void say_served(const struct launcher *l)
{
	const struct qemu_nic *nic;
	size_t i;

	for (i = 0; i < l->plan.n_nics && !l->session.quiet; i++) {
		nic = &l->plan.nics[i];
		if (nic->taken)
			fprintf(stderr, "twinax: serves %s on %s by %s\n",
				kv_get(nic->kv, "driver"), kv_get(nic->kv, "netdev"),
				nic->pci ? "vfio-user" : "vhost-user");
	}
}

static int serve_and_run(struct launcher *l)
{
	size_t i;
	int err;

	signal(SIGCHLD, SIG_DFL);
	for (i = 0; i < l->launch.n_items; i++)
		session_add(&l->session, l->launch.items[i].kind, l->launch.items[i].text);
	if (session_open(&l->session) || watch_signals(l) || session_make(&l->session))
		return 1;
	say_served(l);
	err = pending_signal(l);
	if (err)
		return 128 + err;
	err = spawn_qemu(l);
	if (err)
		return err;
	do {
		err = twx_loop_run(l->session.loop);
		/* `quit` on the control socket: without its network QEMU is of no use. */
		if (l->pid)
			kill(l->pid, SIGTERM);
	} while (l->pid && !err);
	if (err)
		return cli_fail_text("qemu", NULL, "the event loop failed: %s", strerror(-err));
	return l->status;
}

/* -daemonize. */

/* QEMU tells its pid in a file, the user's or one of ours. */
static void daemonize_args(struct launcher *l)
{
	struct qemu_launch *q = &l->launch;
	size_t i;

	for (i = 0; i < l->args.n; i++) {
		const struct qemu_token *t = &l->args.tokens[i];

		l->daemonize |= qemu_token_is(t, "daemonize");
		if (t->value && qemu_token_is(t, "pidfile"))
			l->pidfile = t->value;
	}
	if (!l->daemonize || l->pidfile)
		return;
	l->pidfile = qemu_keep(&l->plan, cli_printf("%s/pid", l->dir.path));
	qemu_launch_add(q, "-pidfile");
	qemu_launch_add(q, l->pidfile);
}

/* The command that was called waits here for the word of the process that goes on. -1 in that one.
 */
static int daemonize_split(struct launcher *l)
{
	char status = 1;
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return cli_fail_text("qemu", NULL, "cannot make a pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		return cli_fail_text("qemu", NULL, "cannot fork: %s", strerror(errno));
	if (pid) {
		close(fds[1]);
		if (read(fds[0], &status, 1) != 1)
			status = 1;
		/* Its folder and its lock are the other process's. */
		_exit((unsigned char)status);
	}
	close(fds[0]);
	l->report = fds[1];
	setsid();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	return -1;
}

static int launch(struct launcher *l)
{
	struct twx_error e = { 0 };
	int status;

	if (session_dir_make(&l->dir, &e) ||
	    qemu_launch_make(&l->launch, &l->plan, l->dir.path, &e))
		return cli_fail("qemu", &e);
	daemonize_args(l);
	print_notes(l);
	if (l->dry_run) {
		print_plan(l);
		return 0;
	}
	if (l->daemonize && (status = daemonize_split(l)) >= 0)
		return status;
	status = serve_and_run(l);
	if (l->report >= 0) {
		char byte = (char)status;

		if (write(l->report, &byte, 1) < 0)
			perror("twinax: qemu");
	}
	return status;
}

static int run(struct launcher *l)
{
	int status;

	if (qemu_args_ask(&l->args))
		return exec_qemu(l);
	status = make_plan(l);
	if (status)
		return status;
	if (l->plan.n_taken)
		return launch(l);
	print_notes(l);
	if (l->dry_run) {
		l->launch.argv = (char **)l->args.words;
		for (l->launch.argc = 0; l->args.words[l->launch.argc];)
			l->launch.argc++;
		print_plan(l);
		l->launch = (struct qemu_launch){ 0 };
		return 0;
	}
	return exec_qemu(l);
}

static void launcher_end(struct launcher *l)
{
	if (l->signals.loop) {
		twx_watch_del(&l->signals);
		close(l->signals.fd);
	}
	twx_child_del(&l->child);
	session_close(&l->session);
	session_dir_remove(&l->dir);
	qemu_launch_free(&l->launch);
	qemu_plan_free(&l->plan);
	qemu_args_free(&l->args);
}

int cli_run_qemu(int argc, char **words)
{
	struct launcher l = { .session = { .command = "qemu", .log_level = TWX_LOG_WARNING },
			      .dir = { .fd = -1 },
			      .report = -1 };
	int status;

	qemu_args_parse_from(&l.args, 1, argc, words);
	status = run(&l);
	launcher_end(&l);
	return status;
}

int cmd_qemu(int argc, char **argv)
{
	struct launcher l = { .session = { .command = "qemu", .log_level = TWX_LOG_WARNING },
			      .dir = { .fd = -1 },
			      .report = -1 };
	int first = take_options(&l, argc, argv), status = first < 0;

	if (first > 0) {
		qemu_args_parse(&l.args, argc - first, argv + first);
		status = run(&l);
	}
	launcher_end(&l);
	return status;
}
