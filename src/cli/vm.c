/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `twinax vm`: a small KVM machine with its network, in one process.
 *
 * The command line is read first, whole (vm_args.c), then the accelerator is chosen. What KVM runs,
 * or a client of the qtest protocol, is a machine of the library's; with -accel qemu the same
 * options become the command line of a QEMU (vm_qemu.c), which `twinax qemu` runs, and this file is
 * done.
 *
 * Order: the loop (shared with the CPUs, which are threads), chardevs, the machine, backends,
 * filters, NICs, control sockets, and then the CPUs. The end is the same backwards; a failure
 * anywhere is one sentence, and what was made so far is taken back.
 *
 * The process is its loop. SIGTERM, SIGINT and SIGHUP end it; the guest that switches itself off
 * does (status 0), and one that cannot go on (status 1). The console (console.c) has a thread of
 * its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/macros.h"
#include "cli/alloc.h"
#include "cli/cli.h"
#include "cli/console.h"
#include "cli/session.h"
#include "cli/vm_accel.h"
#include "cli/vm_args.h"
#include "cli/vm_cache.h"
#include "control/machine.h"
#include "control/qmp.h"

struct vm {
	struct session session;
	struct vm_args args;
	struct control_machine control;
	struct console console;
	struct twx_watch signals;
	int pidfile; /* open and locked while it is ours; -1: none */
	int report;  /* with -daemonize: the pipe to the command that waits; -1: none */
	int status;
};

/* clang-format off */
static const char vm_usage[] =
	"usage: twinax vm -kernel FILE [-initrd FILE] [-append TEXT] [OPTION...]\n"
	"\n"
	"Runs a small PC under KVM, by QEMU's options: Linux without firmware, virtual CPUs, PCI with\n"
	"NICs, serial ports. Without network options it has an e1000 and a user-mode network.\n"
	"\n";
static const char vm_usage_end[] =
	"\n"
	"Options of QEMU that ask for what is there anyway are accepted (-display none, -vga none,\n"
	"-cpu host); disks, displays, firmware and other machines are QEMU's: see twinax help qemu.\n"
	"On the console, Ctrl-A x ends the machine and Ctrl-A h shows the keys. Example:\n"
	"  twinax vm -kernel bzImage -initrd initrd.gz -append console=ttyS0 -m 512 -smp 2 \\\n"
	"    -netdev tap,id=n0 -device virtio-net-pci,netdev=n0\n";
/* clang-format on */

static int vm_answer(const struct vm_args *a)
{
	const char *option = a->ask_token->name;

	switch (a->ask) {
	case VM_ASK_USAGE:
		fputs(vm_usage, stdout);
		vm_args_usage();
		fputs(vm_usage_end, stdout);
		return 0;
	case VM_ASK_VERSION:
		printf("twinax %s\n", twx_version());
		return 0;
	default:
		/* -nic and -net are both: what stands behind the comma is a model. */
		if (cli_help_for(option, a->ask_token->value))
			return 0;
		if (!strcmp(option, "nic") || !strcmp(option, "net")) {
			cli_help_for(strstr(a->ask_token->value, "model") ? "device" : "netdev",
				     "help");
			return 0;
		}
		return cli_fail_text("vm", NULL, "-%s %s: there is no help for that", option,
				     a->ask_token->value);
	}
}

/* What happens. */

static void vm_event(void *opaque, enum twx_machine_event ev)
{
	struct vm *vm = opaque;

	machine_note_event(&vm->control, vm->session.qmp, ev);
	if (ev == TWX_MACHINE_PANIC) {
		fprintf(stderr, "twinax: vm: the machine cannot go on\n");
		vm->status = 1;
	}
	if ((ev == TWX_MACHINE_PANIC || ev == TWX_MACHINE_SHUTDOWN) && !vm->args.no_shutdown)
		twx_loop_stop(vm->session.loop);
}

static void vm_quit(void *opaque)
{
	struct vm *vm = opaque;

	twx_loop_stop(vm->session.loop);
}

static void vm_signal(struct twx_watch *w, uint32_t events)
{
	struct vm *vm = container_of(w, struct vm, signals);
	struct signalfd_siginfo si;

	if (read(w->fd, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGTSTP) {
		console_lend(&vm->console);
		raise(SIGSTOP);
	} else if (si.ssi_signo != SIGCONT) {
		twx_loop_stop(w->loop);
		return;
	}
	console_take(&vm->console);
}

/* Before any thread is made: all of them leave signals to the loop. */
static int vm_watch_signals(struct vm *vm)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGTSTP, SIGCONT };
	sigset_t set;
	size_t i;
	int fd;

	sigemptyset(&set);
	for (i = 0; i < array_size(signals); i++)
		sigaddset(&set, signals[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0 || twx_watch_add(&vm->signals, vm->session.loop, fd, EPOLLIN, vm_signal)) {
		if (fd >= 0)
			close(fd);
		return cli_fail_text("vm", NULL, "cannot watch signals: %s", strerror(errno));
	}
	return 0;
}

/* Making it. */

static int vm_open_console(struct vm *vm, bool monitor, struct twx_error *e)
{
	vm->console.keys.escape = monitor ? 0 : vm->args.escape;
	vm->console.raw = !monitor;
	vm->console.quit = vm_quit;
	vm->console.opaque = vm;
	return console_start(&vm->console, e);
}

/* The serial port on standard input and output: a chardev that is the console's other end. */
static int vm_add_console(struct vm *vm, const char **id)
{
	struct twx_error e = { 0 };
	int fd = vm_open_console(vm, false, &e);

	if (fd < 0)
		return cli_fail("vm", &e);
	*id = qemu_fresh_id(&vm->args.plan, "serial");
	vm_args_add(&vm->args, SESSION_CHARDEV, cli_printf("fd,id=%s,fd=%d", *id, fd));
	return 0;
}

static int vm_add_items(struct vm *vm)
{
	size_t i;

	for (i = 0; i < VM_SERIALS; i++)
		if (vm->args.serial[i].kind == VM_SERIAL_STDIO &&
		    vm_add_console(vm, &vm->args.serial[i].id))
			return 1;
	for (i = 0; i < vm->args.n_items; i++)
		session_add(&vm->session, vm->args.items[i].kind, vm->args.items[i].text);
	return 0;
}

/* A back end in another process maps the guest's memory. */
static bool vm_shares_memory(const struct vm_args *a)
{
	bool shares = false;
	struct twx_opts *o;
	const char *type;

	for (size_t i = 0; i < a->n_items && !shares; i++) {
		if (a->items[i].kind != SESSION_NETDEV ||
		    twx_opts_parse(&o, a->items[i].text, "type", NULL))
			continue;
		type = twx_opts_raw(o, "type");
		shares = type && !strcmp(type, "vhost-user");
		twx_opts_free(o);
	}
	return shares;
}

static int vm_make_machine(struct vm *vm, enum vm_accel accel)
{
	char cache[4096];
	struct twx_machine_config c = {
		.size = sizeof(c),
		.net = vm->session.net,
		.accel = vm_accel_name(accel),
		.memory = vm->args.memory,
		.n_cpus = vm->args.n_cpus,
		.kernel = vm->args.kernel,
		.initrd = vm->args.initrd,
		.append = vm->args.append,
		.shared_memory = vm_shares_memory(&vm->args),
		.qtest = vm->args.qtest,
		.qtest_log = vm->args.qtest_log,
		.no_reboot = vm->args.no_reboot,
		.event = vm_event,
		.opaque = vm,
		.kernel_cache = vm->args.kernel ? vm_kernel_cache(cache, sizeof(cache)) : NULL,
	};
	struct twx_error e = { 0 };
	size_t i;

	for (i = 0; i < VM_SERIALS; i++)
		c.serial[i] = vm->args.serial[i].id;
	if (twx_machine_new(&vm->session.machine, &c, &e))
		return cli_fail("vm", &e);
	vm->control.m = vm->session.machine;
	vm->control.net = vm->session.net;
	vm->control.name = vm->args.name;
	vm->control.load = vm->args.load;
	return 0;
}

static int vm_make_monitor(struct vm *vm)
{
	struct session *s = &vm->session;
	struct twx_error e = { 0 };
	int fd, err = 0;

	if (vm->args.monitor == VM_MONITOR_SOCKET)
		err = hmp_server_add(&s->qmp, s->net, vm->args.monitor_socket, &e);
	if (vm->args.monitor == VM_MONITOR_STDIO) {
		fd = vm_open_console(vm, true, &e);
		err = fd < 0 ? fd : hmp_server_add_fd_take(&s->qmp, s->net, fd, &e);
	}
	return err ? cli_fail("-monitor", &e) : 0;
}

/* QEMU's lock, so that two do not share a file. */
static int vm_write_pid(struct vm *vm)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	const char *path = vm->args.pidfile;

	if (!path)
		return 0;
	vm->pidfile = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (vm->pidfile < 0)
		return cli_fail_text("vm", NULL, "-pidfile %s: %s", path, strerror(errno));
	if (fcntl(vm->pidfile, F_SETLK, &lock)) {
		close(vm->pidfile);
		vm->pidfile = -1;
		return cli_fail_text("vm", "another machine has it, or its file system no locks",
				     "-pidfile %s: cannot lock it: %s", path, strerror(errno));
	}
	if (ftruncate(vm->pidfile, 0) || dprintf(vm->pidfile, "%d\n", (int)getpid()) < 0)
		return cli_fail_text("vm", NULL, "-pidfile %s: %s", path, strerror(errno));
	return 0;
}

static int vm_make(struct vm *vm, enum vm_accel accel)
{
	if (session_open(&vm->session) || vm_watch_signals(vm) || vm_write_pid(vm) ||
	    vm_add_items(vm) ||
	    session_make_kinds(&vm->session, SESSION_CHARDEV, SESSION_CHARDEV) ||
	    vm_make_machine(vm, accel) ||
	    session_make_kinds(&vm->session, SESSION_NETDEV, SESSION_QMP) || vm_make_monitor(vm))
		return 1;
	qmp_servers_set_machine(vm->session.qmp, &vm->control);
	session_check(&vm->session);
	return 0;
}

/* In the background: the command that was called returns when everything is set up. -1 there. */
static int vm_daemonize(struct vm *vm)
{
	char status = 1;
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return cli_fail_text("vm", NULL, "cannot make a pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		return cli_fail_text("vm", NULL, "cannot fork: %s", strerror(errno));
	if (pid) {
		close(fds[1]);
		if (read(fds[0], &status, 1) != 1)
			status = 1;
		_exit(status);
	}
	close(fds[0]);
	vm->report = fds[1];
	setsid();
	return -1;
}

static void vm_report(struct vm *vm, int status)
{
	char byte = (char)status;
	int null;

	if (vm->report < 0)
		return;
	if (!status) {
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
		for (int fd = 0; fd < 3 && null >= 0; fd++)
			dup2(null, fd);
		if (null > 2)
			close(null);
	}
	if (write(vm->report, &byte, 1) < 0)
		perror("twinax: vm");
	close(vm->report);
	vm->report = -1;
}

static int vm_run(struct vm *vm, enum vm_accel accel)
{
	struct twx_error e = { 0 };
	int err;

	if (vm->args.process)
		prctl(PR_SET_NAME, vm->args.process);
	if (vm->args.daemonize) {
		err = vm_daemonize(vm);
		if (err >= 0)
			return err;
	}
	/* The clock of qtest is its client's, which one thread alone can have. */
	vm->session.shared = accel == VM_KVM;
	vm->status = vm_make(vm, accel);
	if (!vm->status && !vm->args.hold && machine_cont(&vm->control, &e))
		vm->status = cli_fail("vm", &e);
	vm_report(vm, vm->status);
	if (vm->status)
		return vm->status;
	err = twx_loop_run(vm->session.loop);
	return err ? cli_fail_text("vm", NULL, "the event loop failed: %s", strerror(-err))
		   : vm->status;
}

static void vm_end(struct vm *vm)
{
	/* CPUs use the loop as long as they run; what follows takes it apart. */
	if (vm->session.machine)
		twx_machine_pause(vm->session.machine, NULL);
	if (vm->pidfile >= 0) {
		unlink(vm->args.pidfile);
		close(vm->pidfile);
	}
	if (vm->signals.loop) {
		twx_watch_del(&vm->signals);
		close(vm->signals.fd);
	}
	session_close(&vm->session);
	/* Its other end has gone with the chardevs. */
	console_stop(&vm->console);
	machine_forget(&vm->control);
	vm_args_free(&vm->args);
}

static int vm_start(struct vm *vm)
{
	struct vm_choice choice;
	int status;

	if (vm_choose(&choice, &vm->args))
		return 1;
	status = choice.accel == VM_QEMU ? vm_run_qemu(&choice, &vm->args)
					 : vm_run(vm, choice.accel);
	vm_choice_free(&choice);
	return status;
}

int cmd_vm(int argc, char **argv)
{
	struct vm vm = { .session = { .command = "vm", .log_level = TWX_LOG_WARNING },
			 .pidfile = -1,
			 .report = -1 };
	struct twx_error e = { 0 };
	int status;

	if (vm_args_parse(&vm.args, argc, argv, &e))
		status = cli_fail("vm", &e);
	else if (vm.args.ask)
		status = vm_answer(&vm.args);
	else
		status = vm_start(&vm);
	vm_end(&vm);
	return status;
}
