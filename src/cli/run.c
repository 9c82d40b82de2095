/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `twinax run`: a network for a command in namespaces of its own, or for a namespace that exists.
 *
 * The command line is read whole, then COMMAND's process is made, which waits in its namespaces
 * until the network is there. After that the process is its loop. COMMAND is a child in the same
 * process group with the terminal, standard streams and signal mask that we were given: signals of
 * the terminal reach it by themselves, others are passed on; when it stops, we stop, so that the
 * shell takes the terminal back. Its exit status is ours. What it leaves running behind itself
 * loses its network.
 *
 * For a namespace that exists the end is a signal, the end of process PID, that PATH is no
 * namespace any more (its mount or its file is gone), or that -exit-fd is closed.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/macros.h"
#include "cli/alloc.h"
#include "cli/cli.h"
#include "cli/run.h"

#define RUN_MTU 65520 /* the largest that keeps what is behind the headers aligned to 16 bytes */
#define RUN_NETDEV "n0"

struct run {
	struct run_world world;
	struct run_command command;
	char *const *argv; /* COMMAND; null: there is none */
	struct kv *netdev; /* of the namespace: the first -netdev */
	struct {
		char **specs;
		size_t n;
	} publish;
	long mtu;	  /* 0: not given */
	pid_t pid;	  /* of -pid, or 0 */
	const char *path; /* of -netns, or null */
	struct stat path_is;
	int ready_fd, exit_fd;
	int status;
	sigset_t mask; /* as it was before */
	struct twx_child child;
	struct twx_watch signals, exit_watch, pid_watch, mounts, file;
};

/* clang-format off */
static const char run_usage[] =
	"usage: twinax run [OPTION...] [--] [COMMAND [ARGUMENT...]]\n"
	"       twinax run [OPTION...] -pid PID | -netns PATH\n"
	"\n"
	"Runs COMMAND (by default a shell) in a network namespace of its own, connected with the\n"
	"user-mode network; or connects a namespace that exists. No privilege is needed.\n"
	"\n"
	"  -p [tcp:|udp:][ADDR:]HOSTPORT[:GUESTPORT]\n"
	"                         publish a port, or a range of ports, of the namespace\n"
	"  -netdev TYPE[,...]     connect with this network, by default user (-netdev help)\n"
	"  -mtu N                 MTU of the interface, by default 65520 on the user-mode network\n"
	"  -ifname NAME           name of the interface in the namespace, by default tap0\n"
	"  -pid PID               the namespace of this process; ends with it\n"
	"  -netns PATH            the namespace that this file is (/run/netns/NAME)\n"
	"  -no-config             leave addresses, routes and resolv.conf to others\n"
	"  -object TYPE,id=ID,... add a filter to the network (-object help)\n"
	"  -chardev TYPE,id=ID,.. add a stream (-chardev help)\n"
	"  -qmp unix:PATH         open a control socket for `twinax ctl PATH`\n"
	"  -ready-fd N            write \"ready\" to descriptor N once the network is there\n"
	"  -exit-fd N             end when the other end of descriptor N is closed\n"
	"  -quiet                 print nothing but errors and warnings\n"
	"  -help                  print this\n"
	"\n"
	"The exit status is COMMAND's, 128 and the signal's number if a signal ended it; 1 after an\n"
	"error of twinax's, 126 or 127 if COMMAND cannot be run.\n"
	"Example: twinax run -p 8080:80 -- python3 -m http.server 80\n";
/* clang-format on */

/* --- options --- */

static int misuse(const char *word, const char *why)
{
	cli_fail_text("run", "try: twinax help run", "%s: %s", word, why);
	return -1;
}

static bool parse_number(const char *text, long lo, long hi, long *out)
{
	char *end;

	errno = 0;
	*out = strtol(text, &end, 10);
	return end != text && !*end && !errno && *out >= lo && *out <= hi;
}

static int take_netdev(struct run *r, const char *text)
{
	struct twx_error e = { 0 };

	if (r->netdev) {
		session_add(&r->world.session, SESSION_NETDEV, text);
		return 0;
	}
	if (!kv_parse(&r->netdev, text, "type", &e))
		return 0;
	cli_fail("-netdev", &e);
	return -1;
}

static int take_fd(const char *option, const char *text, int *fd)
{
	long n;

	if (!parse_number(text, 0, INT_MAX, &n) || fcntl((int)n, F_GETFD) < 0) {
		cli_fail_text(option, "it takes the number of an open descriptor",
			      "'%s' is no such descriptor", text);
		return -1;
	}
	*fd = (int)n;
	fcntl(*fd, F_SETFD, FD_CLOEXEC);
	return 0;
}

static int take_pid(struct run *r, const char *text)
{
	long n;

	if (!parse_number(text, 1, INT_MAX, &n))
		return misuse(text, "is no process id");
	r->pid = (pid_t)n;
	return 0;
}

static int take_mtu(struct run *r, const char *text)
{
	if (!parse_number(text, 576, 65521, &r->mtu))
		return misuse(text, "is no MTU of a tap device (576 to 65521)");
	return 0;
}

static int take_publish(struct run *r, const char *text)
{
	r->publish.specs = cli_grow(r->publish.specs, r->publish.n, sizeof(*r->publish.specs));
	r->publish.specs[r->publish.n++] = cli_strdup(text);
	return 0;
}

static int take_path(struct run *r, const char *text)
{
	r->path = text;
	return 0;
}

static int take_ifname(struct run *r, const char *text)
{
	r->world.tap.ifname = text;
	return 0;
}

static int take_ready_fd(struct run *r, const char *text)
{
	return take_fd("-ready-fd", text, &r->ready_fd);
}

static int take_exit_fd(struct run *r, const char *text)
{
	return take_fd("-exit-fd", text, &r->exit_fd);
}

static int take_object(struct run *r, const char *text)
{
	session_add(&r->world.session, SESSION_OBJECT, text);
	return 0;
}

static int take_chardev(struct run *r, const char *text)
{
	session_add(&r->world.session, SESSION_CHARDEV, text);
	return 0;
}

static int take_qmp(struct run *r, const char *text)
{
	session_add(&r->world.session, SESSION_QMP, text);
	return 0;
}

static const struct run_option {
	const char *name;
	int (*take)(struct run *r, const char *text); /* 0, or -1 after an error message */
} run_options[] = {
	{ "p", take_publish },	{ "publish", take_publish },   { "netdev", take_netdev },
	{ "mtu", take_mtu },	{ "ifname", take_ifname },     { "pid", take_pid },
	{ "netns", take_path }, { "object", take_object },     { "chardev", take_chardev },
	{ "qmp", take_qmp },	{ "ready-fd", take_ready_fd }, { "exit-fd", take_exit_fd },
};

/* Words used, 0 to end with success, -1 after an error. */
static int take_option(struct run *r, int argc, char **argv)
{
	const char *name = argv[0] + (argv[0][1] == '-' ? 2 : 1);
	const struct run_option *o = NULL;
	size_t i;

	if (!strcmp(name, "help") || !strcmp(name, "h")) {
		fputs(run_usage, stdout);
		return 0;
	}
	if (!strcmp(name, "quiet")) {
		r->world.session.quiet = true;
		return 1;
	}
	if (!strcmp(name, "no-config")) {
		r->world.configure = r->world.resolv = false;
		return 1;
	}
	for (i = 0; i < array_size(run_options) && !o; i++)
		if (!strcmp(name, run_options[i].name))
			o = &run_options[i];
	if (!o)
		return misuse(argv[0], "invalid option");
	if (argc < 2)
		return misuse(argv[0], "requires an argument");
	if (cli_help_for(name, argv[1]))
		return 0;
	return o->take(r, argv[1]) ? -1 : 2;
}

/* 1 to go on, 0 to end with success, -1 after an error. */
static int take_options(struct run *r, int argc, char **argv)
{
	int i = 1, used;

	while (i < argc && argv[i][0] == '-' && strcmp(argv[i], "--")) {
		used = take_option(r, argc - i, argv + i);
		if (used <= 0)
			return used;
		i += used;
	}
	if (i < argc && !strcmp(argv[i], "--"))
		i++;
	if (i < argc)
		r->argv = argv + i;
	if (r->argv && (r->pid || r->path))
		return misuse(r->argv[0], "there is no COMMAND with -pid and -netns");
	if (r->pid && r->path)
		return misuse("-netns", "-pid names another namespace");
	return 1;
}

/* --- the network --- */

/* Whether the user-mode network of this library has the option. */
static bool user_has(const char *option)
{
	const struct twx_backend_type *const *t;
	const struct twx_opt_desc *o;

	for (t = twx_backend_types(); *t; t++)
		for (o = (*t)->options; o && o->name && !strcmp((*t)->name, "user"); o++)
			if (!strcmp(o->name, option))
				return true;
	return false;
}

static int user_netdev(struct run *r)
{
	struct twx_error e = { 0 };
	char mtu[16];
	size_t i;

	snprintf(mtu, sizeof(mtu), "%ld", r->mtu ? r->mtu : RUN_MTU);
	if (kv_get(r->netdev, "mtu") && r->mtu)
		return misuse("-mtu", "the netdev has mtu= already");
	if (!kv_get(r->netdev, "mtu"))
		kv_set(r->netdev, "mtu", mtu);
	/* A sandbox must not reach what listens on the host's loopback, unless it is told to. */
	if (!kv_get(r->netdev, "host-loopback") && user_has("host-loopback"))
		kv_set(r->netdev, "host-loopback", "off");
	for (i = 0; i < r->publish.n; i++) {
		if (run_publish(r->netdev, r->publish.specs[i], &e)) {
			cli_fail("-p", &e);
			return -1;
		}
	}
	return 0;
}

static int make_netdev(struct run *r)
{
	struct twx_error e = { 0 };
	const char *type;
	char *text;

	if (!r->netdev && kv_parse(&r->netdev, "user", "type", &e))
		return cli_fail("run", &e);
	type = kv_get(r->netdev, "type");
	if (!kv_get(r->netdev, "id"))
		kv_set(r->netdev, "id", RUN_NETDEV);
	if (type && !strcmp(type, "user")) {
		if (user_netdev(r))
			return 1;
	} else {
		if (r->publish.n)
			return misuse("-p", "only -netdev user publishes ports") ? 1 : 0;
		r->world.tap.mtu = (uint32_t)r->mtu;
	}
	r->world.netdev = kv_get(r->netdev, "id");
	text = kv_print(r->netdev);
	session_add(&r->world.session, SESSION_NETDEV, text);
	free(text);
	return 0;
}

/* --- signals and the end --- */

static void stop(struct run *r)
{
	twx_loop_stop(r->world.session.loop);
}

static void child_ended(struct twx_child *c, int status)
{
	struct run *r = container_of(c, struct run, child);

	r->command.pid = 0;
	r->status = status < 0		? 1
		    : WIFEXITED(status) ? WEXITSTATUS(status)
					: 128 + WTERMSIG(status);
	stop(r);
}

/* COMMAND has stopped itself: so do we, that the shell sees it; and it goes on when we do. */
static void follow_stop(struct run *r)
{
	siginfo_t si = { 0 };

	if (!r->command.pid || waitid(P_PID, (id_t)r->command.pid, &si, WSTOPPED | WNOHANG) ||
	    !si.si_pid)
		return;
	raise(SIGSTOP);
	kill(r->command.pid, SIGCONT);
}

static void signalled(struct twx_watch *w, uint32_t events)
{
	struct run *r = container_of(w, struct run, signals);
	struct signalfd_siginfo si;

	if (read(w->fd, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGCHLD) {
		follow_stop(r);
	} else if (si.ssi_signo == SIGTSTP) {
		/* From the terminal COMMAND has it, too; asking others to stop may have no effect.
		 */
		if (r->command.pid && si.ssi_code != SI_KERNEL)
			kill(r->command.pid, SIGTSTP);
		raise(SIGSTOP);
	} else if (!r->command.pid) {
		if (si.ssi_signo != SIGCONT)
			stop(r);
	} else if (si.ssi_code != SI_KERNEL) {
		kill(r->command.pid, (int)si.ssi_signo);
	}
}

static int watch_signals(struct run *r)
{
	static const int watched[] = { SIGTERM, SIGINT,	 SIGHUP,  SIGQUIT, SIGTSTP,
				       SIGCONT, SIGCHLD, SIGUSR1, SIGUSR2 };
	size_t i, n = array_size(watched);
	sigset_t set;
	int fd;

	/* Without COMMAND, the last ones mean to us what they always do. */
	if (!r->argv)
		n -= 6;
	sigemptyset(&set);
	for (i = 0; i < n; i++)
		sigaddset(&set, watched[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0 || twx_watch_add(&r->signals, r->world.session.loop, fd, EPOLLIN, signalled))
		return cli_fail_text("run", NULL, "cannot watch signals: %s", strerror(errno));
	return 0;
}

static void exit_closed(struct twx_watch *w, uint32_t events)
{
	stop(container_of(w, struct run, exit_watch));
}

static void pid_ended(struct twx_watch *w, uint32_t events)
{
	stop(container_of(w, struct run, pid_watch));
}

/* The namespace at PATH is there as long as the file is the one that was opened. */
static void check_path(struct run *r)
{
	struct stat st;

	if (stat(r->path, &st) || st.st_ino != r->path_is.st_ino || st.st_dev != r->path_is.st_dev)
		stop(r);
}

static void mounts_changed(struct twx_watch *w, uint32_t events)
{
	check_path(container_of(w, struct run, mounts));
}

static void file_changed(struct twx_watch *w, uint32_t events)
{
	char buf[4096] __attribute__((aligned(8)));

	while (read(w->fd, buf, sizeof(buf)) > 0)
		;
	check_path(container_of(w, struct run, file));
}

static int watch_fd(struct run *r, struct twx_watch *w, int fd, uint32_t events, twx_watch_fn *fn,
		    const char *what)
{
	int err = fd < 0 ? -errno : twx_watch_add(w, r->world.session.loop, fd, events, fn);

	if (!err)
		return 0;
	if (fd >= 0)
		close(fd);
	return cli_fail_text("run", NULL, "cannot watch %s: %s", what, strerror(-err));
}

/* Where the file is: it can be unlinked, and so can what it is mounted on, by its folder's events.
 */
static int watch_path(struct run *r)
{
	int fd = open("/proc/self/mounts", O_RDONLY | O_CLOEXEC), err;

	err = watch_fd(r, &r->mounts, fd, EPOLLPRI, mounts_changed, "mounts");
	if (err)
		return err;
	fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (fd >= 0)
		inotify_add_watch(fd, r->path, IN_DELETE_SELF | IN_ATTRIB);
	return watch_fd(r, &r->file, fd, EPOLLIN, file_changed, r->path);
}

static int open_ns(struct run *r, const char *name, int *fd)
{
	char *path =
		r->path ? cli_strdup(r->path) : cli_printf("/proc/%d/ns/%s", (int)r->pid, name);
	int err = 0;

	*fd = open(path, O_RDONLY | O_CLOEXEC);
	if (*fd < 0)
		err = cli_fail_text("run",
				    errno == EACCES || errno == EPERM ? "it belongs to another user"
								      : NULL,
				    "cannot open %s: %s", path, strerror(errno));
	free(path);
	return err;
}

/* The process first: if it ends now, it is noticed. */
static int open_target(struct run *r)
{
	struct twx_netns_config *tap = &r->world.tap;
	int fd;

	r->world.resolv = false;
	if (r->pid) {
		fd = (int)syscall(SYS_pidfd_open, r->pid, 0);
		if (fd < 0)
			return cli_fail_text("run", NULL, "there is no process %d: %s", (int)r->pid,
					     strerror(errno));
		if (watch_fd(r, &r->pid_watch, fd, EPOLLIN, pid_ended, "the process") ||
		    open_ns(r, "user", &tap->user_ns))
			return 1;
	}
	if (open_ns(r, "net", &tap->net_ns))
		return 1;
	if (!r->path)
		return 0;
	fstat(tap->net_ns, &r->path_is);
	return watch_path(r);
}

/* Its file must not stay open: what is mounted there could not be unmounted any more. */
static void close_target(struct run *r)
{
	struct twx_netns_config *tap = &r->world.tap;

	if (!r->argv && tap->net_ns >= 0)
		close(tap->net_ns);
	if (!r->argv && tap->user_ns >= 0)
		close(tap->user_ns);
	tap->net_ns = tap->user_ns = -1;
}

/* --- running --- */

static void say_ready(struct run *r)
{
	if (r->ready_fd < 0)
		return;
	if (write(r->ready_fd, "ready\n", 6) < 0)
		perror("twinax: -ready-fd");
	close(r->ready_fd);
	r->ready_fd = -1;
}

static int start_command(struct run *r)
{
	int err;

	err = run_command_go(&r->command, r->argv[0]);
	run_command_close(&r->command);
	if (err)
		return err;
	err = twx_child_add(&r->child, r->world.session.loop, r->command.pid, child_ended);
	return err ? cli_fail_text("run", NULL, "cannot watch %s: %s", r->argv[0], strerror(-err))
		   : 0;
}

static int make_world(struct run *r)
{
	struct twx_netns_config *tap = &r->world.tap;

	if (session_open(&r->world.session) || watch_signals(r))
		return 1;
	if (r->argv) {
		tap->user_ns = r->command.user_ns;
		tap->net_ns = r->command.net_ns;
		tap->mnt_ns = r->command.mnt_ns;
	} else if (open_target(r)) {
		return 1;
	}
	if (r->exit_fd >= 0 &&
	    watch_fd(r, &r->exit_watch, r->exit_fd, EPOLLHUP | EPOLLERR, exit_closed, "-exit-fd"))
		return 1;
	return run_world_make(&r->world);
}

static int serve(struct run *r)
{
	int err;

	do {
		err = twx_loop_run(r->world.session.loop);
		/* `quit` on the control socket, or -exit-fd: nobody is to go on without network. */
		if (r->command.pid)
			kill(r->command.pid, SIGTERM);
	} while (r->command.pid && !err);
	return err ? cli_fail_text("run", NULL, "the event loop failed: %s", strerror(-err))
		   : r->status;
}

static int run(struct run *r)
{
	int err;

	if (make_netdev(r))
		return 1;
	signal(SIGCHLD, SIG_DFL);
	if (r->argv && run_command_start(&r->command, r->argv))
		return 1;
	if (make_world(r))
		return 1;
	close_target(r);
	err = r->argv ? start_command(r) : 0;
	if (err)
		return err;
	say_ready(r);
	return serve(r);
}

static void run_end(struct run *r)
{
	struct twx_watch *const watches[] = { &r->signals, &r->exit_watch, &r->pid_watch,
					      &r->mounts, &r->file };
	size_t i;

	for (i = 0; i < array_size(watches); i++) {
		if (!watches[i]->loop)
			continue;
		twx_watch_del(watches[i]);
		close(watches[i]->fd);
	}
	twx_child_del(&r->child);
	session_close(&r->world.session);
	close_target(r);
	run_command_close(&r->command);
	for (i = 0; i < r->publish.n; i++)
		free(r->publish.specs[i]);
	free(r->publish.specs);
	kv_free(r->netdev);
}

int cmd_run(int argc, char **argv)
{
	static char *shell[2];
	struct run r = { .world = { .session = { .command = "run", .log_level = TWX_LOG_WARNING },
				    .tap = { .size = sizeof(r.world.tap),
					     .user_ns = -1,
					     .net_ns = -1,
					     .mnt_ns = -1 },
				    .configure = true,
				    .resolv = true },
			 .command = { .sock = -1, .user_ns = -1, .net_ns = -1, .mnt_ns = -1 },
			 .ready_fd = -1,
			 .exit_fd = -1 };
	int go = take_options(&r, argc, argv), status = go < 0;

	if (go > 0 && !r.argv && !r.pid && !r.path) {
		shell[0] = getenv("SHELL");
		if (!shell[0] || !*shell[0])
			shell[0] = (char *)"/bin/sh";
		r.argv = shell;
	}
	if (go > 0)
		status = run(&r);
	run_end(&r);
	return status;
}
