/* SPDX-License-Identifier: BSD-3-Clause */
/* What a QEMU is asked before it is started: its version, and whether it has vfio-user. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/alloc.h"
#include "cli/qemu_probe.h"

#define PROBE_SECONDS                                                                              \
	20 /* a cold start of QEMU from a slow disk; not how long one usually waits                \
	    */

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* What the child writes until it closes its end; false when it takes too long. */
static bool read_output(int fd, char *out, size_t size)
{
	const int64_t end = now_ms() + PROBE_SECONDS * 1000;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char rest[512];
	size_t len = 0;

	for (;;) {
		int64_t left = end - now_ms();
		bool room = len + 1 < size;
		ssize_t n;

		if (left <= 0 || (poll(&p, 1, (int)left) <= 0 && errno != EINTR))
			return false;
		n = room ? read(fd, out + len, size - 1 - len) : read(fd, rest, sizeof(rest));
		if (n > 0 && room)
			len += (size_t)n;
		if (n == 0 || (n < 0 && errno != EINTR))
			break;
	}
	out[len] = '\0';
	return true;
}

static int probe_spawn(pid_t *pid, char *const *argv, int out)
{
	posix_spawn_file_actions_t actions;
	extern char **environ;
	int err;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, out, 1);
	posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	err = posix_spawnp(pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return -err;
}

/* Runs QEMU's command with @extra behind it; its exit status, -errno if it cannot be run. */
static int probe_run(const struct qemu_args *args, const char *const *extra, char *out, size_t size)
{
	size_t n = (size_t)args->n_command, i;
	char **argv = cli_alloc(n + 3, sizeof(*argv));
	int fds[2], status = 0, ret;
	pid_t pid;

	*out = '\0';
	for (i = 0; i < n; i++)
		argv[i] = args->words[i];
	for (i = 0; i < 2 && extra[i]; i++)
		argv[n + i] = (char *)extra[i];
	if (pipe2(fds, O_CLOEXEC)) {
		free(argv);
		return -errno;
	}
	ret = probe_spawn(&pid, argv, fds[1]);
	close(fds[1]);
	if (!ret) {
		if (!read_output(fds[0], out, size))
			kill(pid, SIGKILL);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		ret = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
	}
	close(fds[0]);
	free(argv);
	return ret;
}

int qemu_probe_version(const struct qemu_args *args, struct qemu_facts *f, struct twx_error *e)
{
	static const char *const extra[] = { "-version", NULL };
	const char *at;
	char out[512];
	int ret = probe_run(args, extra, out, sizeof(out));

	f->kvm = !access("/dev/kvm", R_OK | W_OK);
	if (ret < 0)
		return twx_error_set(e, -ret, "cannot run %s: %s", args->words[0], strerror(-ret));
	at = strstr(out, "version ");
	if (!at || sscanf(at, "version %d.%d", &f->major, &f->minor) != 2)
		f->major = f->minor = 0;
	return 0;
}

void qemu_probe_vfio_user(const struct qemu_args *args, struct qemu_facts *f)
{
	static const char *const extra[] = { "-device", "vfio-user-pci,help" };
	char out[4096];

	/* Older ones need not be asked. */
	if (f->major && (f->major < 10 || (f->major == 10 && !f->minor)))
		return;
	f->vfio_user = !probe_run(args, extra, out, sizeof(out)) && strstr(out, "socket=");
}
