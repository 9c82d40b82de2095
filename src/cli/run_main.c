/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A namespace with a network, from its making to its end: what `twinax run` and the programs that
 * it can be called as have in common.
 *
 * First COMMAND's process is made, if there is one, which waits in its namespaces until the network
 * is there. After that the process is its loop. COMMAND is a child in the same process group with
 * the terminal, standard streams and signal mask that we were given: signals of the terminal reach
 * it by themselves, others are passed on; when it stops, we stop, so that the shell takes the
 * terminal back. Its exit status is ours. What it leaves running behind itself loses its network.
 *
 * For a namespace that exists (run_target.c) the end is a signal, the end of the process, that the
 * path is no namespace any more (its mount or its file is gone), or that exit_fd is closed.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/macros.h"
#include "cli/alloc.h"
#include "cli/cli.h"
#include "cli/run.h"

#define RUN_NETDEV "n0"

void run_stop(struct run *r)
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
	run_stop(r);
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
			run_stop(r);
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
		return cli_fail_text(r->name, NULL, "cannot watch signals: %s", strerror(errno));
	return 0;
}

static void exit_closed(struct twx_watch *w, uint32_t events)
{
	run_stop(container_of(w, struct run, exit_watch));
}

/* Whether the user-mode network of this library has the option. */
bool run_user_has(const char *option)
{
	const struct twx_backend_type *const *t;
	const struct twx_opt_desc *o;

	for (t = twx_backend_types(); *t; t++)
		for (o = (*t)->options; o && o->name && !strcmp((*t)->name, "user"); o++)
			if (!strcmp(o->name, option))
				return true;
	return false;
}

/* --- running --- */

static void add_netdev(struct run *r)
{
	char *text;

	if (!kv_get(r->netdev, "id"))
		kv_set(r->netdev, "id", RUN_NETDEV);
	r->world.netdev = kv_get(r->netdev, "id");
	text = kv_print(r->netdev);
	session_add(&r->world.session, SESSION_NETDEV, text);
	free(text);
}

static void say_ready(struct run *r)
{
	if (r->ready_fd < 0)
		return;
	if (write(r->ready_fd, r->ready_text, strlen(r->ready_text)) < 0)
		perror("twinax: ready");
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
	return err ? cli_fail_text(r->name, NULL, "cannot watch %s: %s", r->argv[0], strerror(-err))
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
	} else if (run_target_open(r)) {
		return 1;
	}
	if (r->exit_fd >= 0 &&
	    run_watch_fd(r, &r->exit_watch, r->exit_fd, r->exit_events, exit_closed, "-exit-fd"))
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
	return err ? cli_fail_text(r->name, NULL, "the event loop failed: %s", strerror(-err))
		   : r->status;
}

/* The process that was called waits here for the word of the one that goes on; -1 in that one. */
static int detach(struct run *r)
{
	char status = 1;
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return cli_fail_text(r->name, NULL, "cannot make a pipe: %s", strerror(errno));
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return cli_fail_text(r->name, NULL, "cannot fork: %s", strerror(errno));
	if (pid) {
		close(fds[1]);
		if (read(fds[0], &status, 1) != 1)
			status = 1;
		close(fds[0]);
		return (unsigned char)status;
	}
	close(fds[0]);
	r->report = fds[1];
	setsid();
	return -1;
}

static void report(struct run *r, int status)
{
	char byte = (char)status;
	int null, fd;

	if (r->report < 0)
		return;
	null = status ? -1 : open("/dev/null", O_RDWR | O_CLOEXEC);
	for (fd = 0; fd < (r->keep_stderr ? 2 : 3) && null >= 0; fd++)
		dup2(null, fd);
	if (null >= 0)
		close(null);
	if (write(r->report, &byte, 1) < 0)
		perror("twinax: report");
	close(r->report);
	r->report = -1;
}

static int write_pidfile(const struct run *r)
{
	FILE *f = r->pidfile ? fopen(r->pidfile, "we") : NULL;

	if (!r->pidfile)
		return 0;
	if (f && fprintf(f, "%d\n", (int)getpid()) > 0 && !fclose(f))
		return 0;
	return cli_fail_text(r->name, NULL, "cannot write %s: %s", r->pidfile, strerror(errno));
}

static int open_log(const struct run *r)
{
	int fd;

	if (!r->log)
		return 0;
	fd = open(r->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
		return cli_fail_text(r->name, NULL, "cannot write to %s: %s", r->log,
				     strerror(errno));
	close(fd);
	return 0;
}

static int make_and_serve(struct run *r)
{
	int err;

	signal(SIGCHLD, SIG_DFL);
	if (r->argv && run_command_start(&r->command, r->argv))
		return 1;
	if (open_log(r) || make_world(r))
		return 1;
	run_target_close(r);
	if ((r->made && r->made(r)) || write_pidfile(r))
		return 1;
	err = r->argv ? start_command(r) : 0;
	if (err)
		return err;
	say_ready(r);
	report(r, 0);
	return serve(r);
}

int run_main(struct run *r)
{
	int status;

	if (r->background && (status = detach(r)) >= 0)
		return status;
	add_netdev(r);
	status = make_and_serve(r);
	report(r, status);
	return status;
}

void run_end(struct run *r)
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
	run_target_close(r);
	run_command_close(&r->command);
	if (r->path_dir >= 0)
		close(r->path_dir);
	kv_free(r->netdev);
}

void run_init(struct run *r, const char *name)
{
	*r = (struct run){
		.name = name,
		.world = { .session = { .command = name, .log_level = TWX_LOG_WARNING },
			   .tap = { .size = sizeof(r->world.tap),
				    .user_ns = -1,
				    .net_ns = -1,
				    .mnt_ns = -1 },
			   .configure = true,
			   .resolv = true },
		.command = { .name = name, .sock = -1, .user_ns = -1, .net_ns = -1, .mnt_ns = -1 },
		.path_dir = -1,
		.report = -1,
		.ready_fd = -1,
		.ready_text = "ready\n",
		.exit_fd = -1,
		.exit_events = EPOLLHUP | EPOLLERR
	};
}

char **run_shell(void)
{
	static char *shell[2];

	shell[0] = getenv("SHELL");
	if (!shell[0] || !*shell[0])
		shell[0] = (char *)"/bin/sh";
	return shell;
}
