/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A tap device from a helper program: `bridge`, and helper= of `tap`.
 *
 * A program with the right to do so (qemu-bridge-helper, which is setuid root on many systems)
 * makes the interface, puts it into a bridge, and passes the open device back over a unix socket
 * (SCM_RIGHTS). It is run by the shell, so that a command may have arguments, as
 *
 *	HELPER --use-vnet --fd=SOCKET --br=BRIDGE
 *
 * and has HELPER_MS to answer and to exit. What it says on its standard error goes into the error's
 * sentence. The helper decides who may join which bridge (/etc/qemu/bridge.conf); a name that is
 * longer than an interface's, which some helpers cut off after having checked it (CVE-2019-13164),
 * never reaches one.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "backends/tap.h"
#include "base/clock.h"
#include "base/hostops.h"
#include "base/macros.h"
#include "net/net_priv.h"

#define HELPER_MS 5000
#define HELPER_FDS 16 /* taken off a message at most; all but the first are closed */
#define KILLED_MS 1000

struct helper {
	struct tap *tap;
	pid_t pid;
	int pidfd, sock, err;
	int fd; /* what it has passed; -1: nothing yet */
	bool several;
	bool exited;
	int status;
	char said[200]; /* the beginning of its standard error */
	size_t n_said;
};

static void shut(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* --- what comes from it --- */

static void helper_take_fds(struct helper *h, struct msghdr *msg)
{
	struct cmsghdr *c;
	int fds[HELPER_FDS];
	size_t n, i;

	for (c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = min((c->cmsg_len - CMSG_LEN(0)) / sizeof(int), array_size(fds));
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
		for (i = 0; i < n; i++) {
			h->several |= h->fd >= 0;
			if (h->fd < 0)
				h->fd = fds[i];
			else
				close(fds[i]);
		}
	}
	h->several |= (msg->msg_flags & MSG_CTRUNC) != 0;
}

/* One message. False: none is there. */
static bool helper_receive(struct helper *h)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(HELPER_FDS * sizeof(int))];
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(h->sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n > 0) {
		helper_take_fds(h, &msg);
		return true;
	}
	if (!n || (errno != EAGAIN && errno != EINTR))
		shut(&h->sock);
	return false;
}

static bool helper_listen(struct helper *h)
{
	char rest[256];
	size_t room = sizeof(h->said) - 1 - h->n_said;
	ssize_t n = read(h->err, room ? h->said + h->n_said : rest, room ? room : sizeof(rest));

	if (n > 0) {
		h->n_said += room ? (size_t)n : 0;
		return true;
	}
	if (!n || (errno != EAGAIN && errno != EINTR))
		shut(&h->err);
	return false;
}

static void helper_reap(struct helper *h)
{
	pid_t r = waitpid(h->pid, &h->status, WNOHANG);

	h->exited = r == h->pid || (r < 0 && errno == ECHILD);
}

/* Until it has exited, or for @ms at most. */
static void helper_attend(struct helper *h, int ms)
{
	uint64_t end = (uint64_t)clock_ms() + (uint64_t)ms, now;

	while (!h->exited && (now = (uint64_t)clock_ms()) < end) {
		struct pollfd p[] = { { h->sock, POLLIN, 0 },
				      { h->err, POLLIN, 0 },
				      { h->pidfd, POLLIN, 0 } };

		if (poll(p, array_size(p), (int)(end - now)) < 0 && errno != EINTR)
			return;
		if (p[0].revents)
			helper_receive(h);
		if (p[1].revents)
			helper_listen(h);
		if (p[2].revents)
			helper_reap(h);
	}
}

/* What it has left behind, bounded. */
static void helper_drain(struct helper *h)
{
	int i;

	for (i = 0; i < HELPER_FDS && h->sock >= 0 && helper_receive(h); i++)
		;
	for (i = 0; i < HELPER_FDS && h->err >= 0 && helper_listen(h); i++)
		;
}

/* --- starting it --- */

static int helper_spawn(struct helper *h, const char *command, const char *br, int sock, int err)
{
	/* The shell's own way, 2>&N, knows one digit only in some. */
	const char *own_br = strstr(command, "--br=") ? "" : "\"$1\"";
	char script[PATH_MAX + 128], br_arg[IFNAMSIZ + 8];
	char *argv[] = { (char *)"/bin/sh", (char *)"-c", script, (char *)"sh", br_arg, NULL };
	int keep[] = { sock, err };

	snprintf(br_arg, sizeof(br_arg), "--br=%s", br);
	if ((size_t)snprintf(script, sizeof(script),
			     "exec %s --use-vnet --fd=%d %s 2>/proc/self/fd/%d", command, sock,
			     own_br, err) >= sizeof(script))
		return -ENAMETOOLONG;
	return hostops_spawn(net_hostops(h->tap->backend->net), argv, keep, array_size(keep),
			     &h->pid);
}

static int helper_start(struct helper *h, const char *command, const char *br)
{
	int sv[2], pipe_fd[2], ret;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return -errno;
	if (pipe2(pipe_fd, O_CLOEXEC) < 0) {
		ret = -errno;
		close(sv[0]);
		close(sv[1]);
		return ret;
	}
	fcntl(pipe_fd[0], F_SETFL, O_NONBLOCK);
	h->sock = sv[0];
	h->err = pipe_fd[0];
	ret = helper_spawn(h, command, br, sv[1], pipe_fd[1]);
	close(sv[1]);
	close(pipe_fd[1]);
	if (ret)
		return ret;
	h->pidfd = (int)syscall(SYS_pidfd_open, h->pid, 0);
	return h->pidfd < 0 ? -errno : 0;
}

/* It has had its time. A program with rights of its own may not be ours to kill; it becomes
 * nobody's. */
static void helper_kill(struct helper *h)
{
	kill(h->pid, SIGKILL);
	helper_attend(h, KILLED_MS);
	if (!h->exited) /* without a pidfd nobody has looked */
		helper_reap(h);
}

/* --- what became of it --- */

/* Its words on one line, without what a terminal could take for orders. */
static const char *helper_words(struct helper *h)
{
	size_t i;

	while (h->n_said && isspace((unsigned char)h->said[h->n_said - 1]))
		h->n_said--;
	h->said[h->n_said] = '\0';
	for (i = 0; i < h->n_said; i++)
		if (!isprint((unsigned char)h->said[i]))
			h->said[i] = ' ';
	return h->said;
}

static int helper_failed(struct helper *h, bool late, struct twx_error *e)
{
	const char *words = helper_words(h);

	if (late)
		return twx_error_set(e, ETIMEDOUT,
				     "bridge helper failed: it has not finished within %d s%s%s",
				     HELPER_MS / 1000, *words ? ": " : "", words);
	if (*words)
		twx_error_set(e, EIO, "bridge helper failed: %s", words);
	else if (WIFSIGNALED(h->status))
		twx_error_set(e, EIO, "bridge helper failed: it was ended by signal %d",
			      WTERMSIG(h->status));
	else if (WEXITSTATUS(h->status))
		twx_error_set(e, EIO, "bridge helper failed: its status is %d",
			      WEXITSTATUS(h->status));
	else
		twx_error_set(e, EIO, "bridge helper failed: it passed %s",
			      h->several ? "several descriptors" : "no descriptor");
	if (strstr(words, "acl"))
		return twx_error_hint(e, "allow it: echo allow BRIDGE >> /etc/qemu/bridge.conf, "
					 "as root");
	if (WIFEXITED(h->status) && WEXITSTATUS(h->status) == 127)
		return twx_error_hint(e, "Debian's helper is in the package qemu-system-common");
	return -e->code;
}

static int check_bridge(const char *br, struct twx_error *e)
{
	const char *p;

	for (p = br; *p; p++)
		if (*p == '/' || isspace((unsigned char)*p) || !isprint((unsigned char)*p))
			break;
	if (*br && !*p && strlen(br) < IFNAMSIZ && strcmp(br, ".") && strcmp(br, ".."))
		return 0;
	return twx_error_set(e, EINVAL,
			     "'%s' cannot be the name of a bridge (1 to %d bytes, no slash)", br,
			     IFNAMSIZ - 1);
}

int tap_helper_run(struct tap *tap, const char *command, const char *br, struct twx_error *e)
{
	struct helper h = { .tap = tap, .pidfd = -1, .sock = -1, .err = -1, .fd = -1 };
	int ret = check_bridge(br, e);
	bool late;

	if (ret)
		return ret;
	ret = helper_start(&h, command, br);
	if (!ret)
		helper_attend(&h, HELPER_MS);
	late = !ret && !h.exited;
	if (late || (ret && h.pid))
		helper_kill(&h);
	helper_drain(&h);
	if (ret)
		twx_error_set(e, -ret, "bridge helper failed: %s", strerror(-ret));
	else if (late || h.status || h.fd < 0 || h.several)
		ret = helper_failed(&h, late, e);
	shut(&h.sock);
	shut(&h.err);
	shut(&h.pidfd);
	if (ret)
		shut(&h.fd);
	return ret ? ret : h.fd;
}

const char *tap_helper_default(struct tap *tap)
{
	static const char *const paths[] = { "/usr/lib/qemu/qemu-bridge-helper",
					     "/usr/libexec/qemu-bridge-helper" };
	size_t i;

	for (i = 0; i < array_size(paths); i++) {
		int fd = hostops_open(net_hostops(tap->backend->net), paths[i], O_PATH, 0);

		if (fd < 0)
			continue;
		close(fd);
		return paths[i];
	}
	return paths[0];
}
