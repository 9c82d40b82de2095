/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * COMMAND in namespaces of its own.
 *
 * The child makes the namespaces, its parent writes the maps of users and groups (which for a root
 * with more than one user only a process outside can do), and sets up the network in them. Until it
 * hears "go" the child waits; then COMMAND takes its place, as root of the user namespace. For a
 * user, root there is the user outside; for root, everybody is who they are.
 *
 * A pair of sockets carries the talk: from the child the errno of what failed, or 0; to it, one
 * byte. The child's end closes when COMMAND starts.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/macros.h"
#include "cli/alloc.h"
#include "cli/cli.h"
#include "cli/run.h"

#define MAP_MAX 4096 /* a page: what the kernel takes in one write */

/* --- the child --- */

static bool say(int sock, int code)
{
	return send(sock, &code, sizeof(code), MSG_NOSIGNAL) == sizeof(code);
}

static bool hear(int sock, int *code)
{
	ssize_t n;

	do
		n = recv(sock, code, sizeof(*code), MSG_WAITALL);
	while (n < 0 && errno == EINTR);
	return n == sizeof(*code);
}

_Noreturn static void child(int sock, char *const *argv)
{
	int code;

	code = unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) ? errno : 0;
	if (!say(sock, code) || code || !hear(sock, &code))
		_exit(1);
	/* With the maps there: whom the rest belongs to. */
	if (setresgid(0, 0, 0) || setresuid(0, 0, 0) ||
	    mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL))
		code = errno;
	if (!say(sock, code) || code || !hear(sock, &code))
		_exit(1);
	execvp(argv[0], argv);
	code = errno;
	say(sock, code);
	_exit(code == ENOENT ? 127 : 126);
}

/* --- maps --- */

static int write_proc(pid_t pid, const char *file, const char *text)
{
	char path[64];
	int fd, err = 0;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

/* Everybody that this process knows, as they are. */
static int map_all(pid_t pid, const char *file)
{
	unsigned long inside, outside, count;
	char path[64], map[MAP_MAX];
	size_t len = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/%s", file);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (fscanf(f, "%lu %lu %lu", &inside, &outside, &count) == 3 && len < sizeof(map))
		len += (size_t)snprintf(map + len, sizeof(map) - len, "%lu %lu %lu\n", inside,
					inside, count);
	fclose(f);
	return len < sizeof(map) ? write_proc(pid, file, map) : -E2BIG;
}

static int map_one(pid_t pid, const char *file, unsigned int id)
{
	char map[64];

	snprintf(map, sizeof(map), "0 %u 1\n", id);
	return write_proc(pid, file, map);
}

static int write_maps(pid_t pid)
{
	int err;

	if (!geteuid() && !map_all(pid, "uid_map"))
		return map_all(pid, "gid_map");
	err = map_one(pid, "uid_map", geteuid());
	if (!err)
		err = write_proc(pid, "setgroups", "deny");
	return err ? err : map_one(pid, "gid_map", getegid());
}

/* --- the parent --- */

/* A number in /proc/sys, or -1. */
static long sysctl_of(const char *path)
{
	FILE *f = fopen(path, "re");
	long v = -1;

	if (f && fscanf(f, "%ld", &v) != 1)
		v = -1;
	if (f)
		fclose(f);
	return v;
}

/* Which of the many ways to forbid it this machine has taken. */
static const char *forbidden(int err)
{
	if (!sysctl_of("/proc/sys/user/max_user_namespaces"))
		return "as root: sysctl user.max_user_namespaces=10000";
	if (!sysctl_of("/proc/sys/user/max_net_namespaces"))
		return "as root: sysctl user.max_net_namespaces=10000";
	if (!sysctl_of("/proc/sys/kernel/unprivileged_userns_clone"))
		return "as root: sysctl kernel.unprivileged_userns_clone=1";
	if (sysctl_of("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") > 0)
		return "as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an "
		       "AppArmor profile for twinax";
	switch (err) {
	case ENOSPC:
		return "a limit on their number or depth has been reached: sysctl "
		       "user.max_user_namespaces, user.max_net_namespaces";
	case EINVAL:
		return "the kernel has been built without user namespaces";
	case EPERM:
		return "a container or a chroot around this program forbids it (a seccomp filter, "
		       "for instance)";
	default:
		return NULL;
	}
}

static int refused(const struct run_command *c, int err)
{
	return cli_fail_text(c->name, forbidden(err),
			     "cannot make a user and network namespace: %s", strerror(err));
}

static int open_ns(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static int prepare(struct run_command *c)
{
	int code, err;

	if (!hear(c->sock, &code))
		return cli_fail_text(c->name, NULL, "the child ended early");
	if (code)
		return refused(c, code);
	err = write_maps(c->pid);
	if (err)
		return cli_fail_text(c->name, forbidden(-err),
				     "cannot map this user into the user namespace: %s",
				     strerror(-err));
	if (!say(c->sock, 0) || !hear(c->sock, &code))
		return cli_fail_text(c->name, NULL, "the child ended early");
	if (code)
		return refused(c, code);
	c->user_ns = open_ns(c->pid, "user");
	c->net_ns = open_ns(c->pid, "net");
	c->mnt_ns = open_ns(c->pid, "mnt");
	if (c->user_ns < 0 || c->net_ns < 0 || c->mnt_ns < 0)
		return cli_fail_text(c->name, NULL, "cannot open the namespaces in /proc: %s",
				     strerror(errno));
	return 0;
}

int run_command_start(struct run_command *c, char *const *argv)
{
	int socks[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks))
		return cli_fail_text(c->name, NULL, "cannot make a socket pair: %s",
				     strerror(errno));
	fflush(NULL);
	c->pid = fork();
	if (!c->pid) {
		close(socks[0]);
		child(socks[1], argv);
	}
	close(socks[1]);
	c->sock = socks[0];
	if (c->pid < 0) {
		c->pid = 0;
		return cli_fail_text(c->name, NULL, "cannot fork: %s", strerror(errno));
	}
	return prepare(c);
}

int run_command_go(struct run_command *c, const char *name)
{
	int code;

	if (!say(c->sock, 0))
		return cli_fail_text(c->name, NULL, "the child ended early");
	/* The socket closes when COMMAND runs. */
	if (!hear(c->sock, &code))
		return 0;
	cli_fail_text(c->name, NULL, "cannot run %s: %s", name, strerror(code));
	return code == ENOENT ? 127 : 126;
}

void run_command_close(struct run_command *c)
{
	int *const fds[] = { &c->sock, &c->user_ns, &c->net_ns, &c->mnt_ns };
	size_t i;

	for (i = 0; i < array_size(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}
