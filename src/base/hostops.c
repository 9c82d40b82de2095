/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Everything that opens, binds, forks or reads host configuration.
 *
 * Each call goes to the embedder's (or the sandbox's) table where that has an entry, and to the
 * kernel otherwise. A table compiled against an older header is shorter: its size says which
 * entries exist.
 *
 * Listening on a unix socket: whether a socket file is stale can only be told by connecting to it.
 * Between that answer and the unlink somebody else may have started to listen there; two servers
 * that are started on one stale path in the same instant can therefore take it from each other.
 *
 * Names are resolved by the C library, which waits for an answer: hostops_resolve() is for set-up,
 * and whoever connects again later uses the addresses that it gave.
 *
 * Starting a program: vfork(), since a VMM's address space is expensive to copy. The child shares
 * our memory until it executes, so it runs with all signals blocked up to the point where no
 * handler of ours is installed any more, and tells a failure through a variable of the parent.
 */
#include "base/hostops.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <net/if.h>
#include <netdb.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/macros.h"

#define HOSTOPS_KEEP_MAX 64
#define RESOLV_CONF "/etc/resolv.conf"
#define RESOLV_CONF_MAX 65536

/* True if the table has the entry. */
#define HOSTOPS_HAS(h, name)                                                                       \
	((h) && (h)->size >= offsetof(struct twx_hostops, name) + sizeof((h)->name) && (h)->name)

int hostops_open(const struct twx_hostops *h, const char *path, int flags, mode_t mode)
{
	int fd;

	if (HOSTOPS_HAS(h, open))
		return h->open(h->opaque, path, flags | O_CLOEXEC, mode);
	do
		fd = open(path, flags | O_CLOEXEC, mode);
	while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

int hostops_unlink(const struct twx_hostops *h, const char *path)
{
	if (HOSTOPS_HAS(h, unlink))
		return h->unlink(h->opaque, path);
	return unlink(path) < 0 ? -errno : 0;
}

int hostops_rename(const struct twx_hostops *h, const char *from, const char *to)
{
	if (HOSTOPS_HAS(h, rename))
		return h->rename(h->opaque, from, to);
	return rename(from, to) < 0 ? -errno : 0;
}

int hostops_bind(const struct twx_hostops *h, int fd, const struct sockaddr *addr, socklen_t len)
{
	if (HOSTOPS_HAS(h, bind))
		return h->bind(h->opaque, fd, addr, len);
	return bind(fd, addr, len) < 0 ? -errno : 0;
}

int hostops_connect(const struct twx_hostops *h, int fd, const struct sockaddr *addr, socklen_t len)
{
	if (HOSTOPS_HAS(h, connect))
		return h->connect(h->opaque, fd, addr, len);
	return connect(fd, addr, len) < 0 ? -errno : 0;
}

/* Names */

static int resolve_errno(int code)
{
	switch (code) {
	case EAI_NONAME:
	case EAI_NODATA:
		return -ENOENT;
	case EAI_AGAIN:
		return -EAGAIN;
	case EAI_SERVICE:
		return -EINVAL;
	case EAI_MEMORY:
		return -ENOMEM;
	case EAI_FAMILY:
	case EAI_ADDRFAMILY:
		return -EAFNOSUPPORT;
	case EAI_SYSTEM:
		return errno ? -errno : -EIO;
	default:
		return -EIO;
	}
}

int hostops_resolve(const struct twx_hostops *h, const char *host, const char *port, int family,
		    int type, int flags, struct sockaddr_storage *out, int max)
{
	struct addrinfo hints = { .ai_family = family, .ai_socktype = type, .ai_flags = flags };
	struct addrinfo *list, *a;
	int err, n = 0;

	if (HOSTOPS_HAS(h, resolve))
		return h->resolve(h->opaque, host, port, family, type, flags, out, max);
	err = getaddrinfo(host, port, &hints, &list);
	if (err)
		return resolve_errno(err);
	for (a = list; a && n < max; a = a->ai_next) {
		if (a->ai_addrlen > sizeof(*out))
			continue;
		memset(&out[n], 0, sizeof(*out));
		memcpy(&out[n++], a->ai_addr, a->ai_addrlen);
	}
	freeaddrinfo(list);
	return n ? n : -ENOENT;
}

/* Unix sockets */

static int unix_addr(struct sockaddr_un *sun, const char *path)
{
	size_t len = strlen(path);

	if (!len)
		return -EINVAL;
	if (len >= sizeof(sun->sun_path))
		return -ENAMETOOLONG;
	*sun = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(sun->sun_path, path, len);
	return 0;
}

static int unix_socket(int type)
{
	int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

static int unix_connect(const struct twx_hostops *h, const char *path, int type)
{
	struct sockaddr_un sun;
	int err = unix_addr(&sun, path);
	int fd;

	if (err)
		return err;
	fd = unix_socket(type);
	if (fd < 0)
		return fd;
	if (HOSTOPS_HAS(h, connect_unix))
		err = h->connect_unix(h->opaque, fd, path);
	else if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0)
		err = -errno;
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

int hostops_unix_connect(const struct twx_hostops *h, const char *path)
{
	return unix_connect(h, path, SOCK_STREAM);
}

/* Makes way for a bind: 0 if @path held a socket that nobody listens on, and is gone now. */
static int unix_remove_stale(const struct twx_hostops *h, const char *path, int type)
{
	struct stat st;
	int fd;

	/* Not stat(): a symbolic link is somebody's arrangement, not a leftover of ours. */
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = unix_connect(h, path, type);
	if (fd >= 0)
		close(fd);
	if (fd == -ENOENT)
		return 0;
	/* A full backlog (EAGAIN) or a socket of another type (EPROTOTYPE) is alive too. */
	if (fd != -ECONNREFUSED)
		return -EADDRINUSE;
	fd = hostops_unlink(h, path);
	return fd == -ENOENT ? 0 : fd;
}

int hostops_unix_bind(const struct twx_hostops *h, int fd, const char *path)
{
	socklen_t len = sizeof(int);
	struct sockaddr_un sun;
	int err = unix_addr(&sun, path), type;

	if (err)
		return err;
	err = hostops_bind(h, fd, (struct sockaddr *)&sun, sizeof(sun));
	if (err != -EADDRINUSE)
		return err;
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return -errno;
	err = unix_remove_stale(h, path, type);
	return err ? err : hostops_bind(h, fd, (struct sockaddr *)&sun, sizeof(sun));
}

int hostops_unix_listen(const struct twx_hostops *h, const char *path)
{
	int fd = unix_socket(SOCK_STREAM), err;

	if (fd < 0)
		return fd;
	err = hostops_unix_bind(h, fd, path);
	if (!err && listen(fd, SOMAXCONN) < 0) {
		err = -errno;
		hostops_unlink(h, path);
	}
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

void hostops_sock_file_of(const char *path, struct hostops_sock_file *f)
{
	struct stat st;

	*f = (struct hostops_sock_file){ 0 };
	if (lstat(path, &st) == 0)
		*f = (struct hostops_sock_file){ st.st_dev, st.st_ino };
}

void hostops_sock_file_remove(const struct twx_hostops *h, const char *path,
			      const struct hostops_sock_file *f)
{
	struct stat st;

	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_dev == f->dev &&
	    st.st_ino == f->ino)
		(void)hostops_unlink(h, path);
}

/* Programs */

struct spawn {
	char *const *argv;
	int keep[HOSTOPS_KEEP_MAX]; /* ascending, from 3 */
	int n_keep;
	int in_fd, out_fd; /* standard input, and output unless that is -1 */
	volatile int err;  /* the child's errno */
};

static int spawn_compare(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

/* stdout and stderr are kept anyway; stdin cannot be. */
static int spawn_set_keep(struct spawn *s, const int *keep, int n)
{
	if (n < 0 || n > HOSTOPS_KEEP_MAX)
		return -E2BIG;
	for (int i = 0; i < n; i++) {
		if (keep[i] <= STDIN_FILENO || fcntl(keep[i], F_GETFD) < 0)
			return -EBADF;
		if (keep[i] > STDERR_FILENO)
			s->keep[s->n_keep++] = keep[i];
	}
	qsort(s->keep, (size_t)s->n_keep, sizeof(s->keep[0]), spawn_compare);
	return 0;
}

static int spawn_fds(const struct spawn *s)
{
	unsigned int next = STDERR_FILENO + 1;

	if (dup2(s->in_fd, STDIN_FILENO) < 0)
		return -1;
	if (fcntl(STDIN_FILENO, F_SETFD, 0) < 0)
		return -1;
	if (s->out_fd >= 0 &&
	    (dup2(s->out_fd, STDOUT_FILENO) < 0 || fcntl(STDOUT_FILENO, F_SETFD, 0) < 0))
		return -1;
	for (int i = 0; i < s->n_keep; i++) {
		unsigned int fd = (unsigned int)s->keep[i];

		if (fd > next && syscall(SYS_close_range, next, fd - 1, CLOSE_RANGE_CLOEXEC) < 0)
			return -1;
		if (fcntl(s->keep[i], F_SETFD, 0) < 0)
			return -1;
		next = fd + 1;
	}
	return (int)syscall(SYS_close_range, next, ~0u, CLOSE_RANGE_CLOEXEC);
}

/* Ignored signals stay ignored (nohup's), but for SIGPIPE, which our caller may well ignore. */
static void spawn_signals(void)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL }, old;
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		if (!sigaction(sig, NULL, &old) && (old.sa_handler != SIG_IGN || sig == SIGPIPE))
			sigaction(sig, &dfl, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Runs in the parent's memory: system calls only, and nothing written but the result. */
__attribute__((noreturn, noinline)) static void spawn_child(struct spawn *s)
{
	spawn_signals();
	if (!spawn_fds(s))
		execvp(s->argv[0], s->argv);
	s->err = errno;
	_exit(127);
}

static int spawn_run(struct spawn *s, pid_t *pid)
{
	sigset_t all, old;
	pid_t child;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	child = vfork();
	if (!child)
		spawn_child(s);
	err = child < 0 ? errno : s->err;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (child > 0 && err)
		while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
			;
	if (err)
		return -err;
	*pid = child;
	return 0;
}

int hostops_spawn(const struct twx_hostops *h, char *const argv[], const int *keep_fds, int n_keep,
		  pid_t *pid)
{
	struct spawn s = { .argv = argv, .out_fd = -1 };
	int err;

	if (HOSTOPS_HAS(h, spawn))
		return h->spawn(h->opaque, argv, keep_fds, n_keep, pid);
	err = spawn_set_keep(&s, keep_fds, n_keep);
	if (err)
		return err;
	s.in_fd = hostops_open(h, "/dev/null", O_RDONLY, 0);
	if (s.in_fd < 0)
		return s.in_fd;
	err = spawn_run(&s, pid);
	close(s.in_fd);
	return err;
}

int hostops_spawn_on(const struct twx_hostops *h, char *const argv[], int stdio, pid_t *pid)
{
	struct spawn s = { .argv = argv, .in_fd = stdio, .out_fd = stdio };

	if (HOSTOPS_HAS(h, spawn_on))
		return h->spawn_on(h->opaque, argv, stdio, pid);
	/* Replacing one of the two must not take away what the other is made from. */
	return stdio <= STDERR_FILENO ? -EBADF : spawn_run(&s, pid);
}

/* Name servers */

/* "10.0.0.1", "fe80::1%eth0", "fe80::1%2", exactly; port 53. */
static bool resolver_parse(char *s, struct sockaddr_storage *out)
{
	struct sockaddr_in *sin = (struct sockaddr_in *)out;
	struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)out;
	char *scope = strchr(s, '%'), *end;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, s, &sin->sin_addr) == 1) {
		sin->sin_family = AF_INET;
		sin->sin_port = htons(53);
		return true;
	}
	if (scope) {
		unsigned long index;

		*scope++ = '\0';
		sin6->sin6_scope_id = if_nametoindex(scope);
		if (!sin6->sin6_scope_id) {
			if (*scope < '0' || *scope > '9')
				return false;
			index = strtoul(scope, &end, 10);
			if (*end || !index || index > UINT32_MAX)
				return false;
			sin6->sin6_scope_id = (uint32_t)index;
		}
	}
	if (inet_pton(AF_INET6, s, &sin6->sin6_addr) != 1)
		return false;
	sin6->sin6_family = AF_INET6;
	sin6->sin6_port = htons(53);
	return true;
}

/* The next word of [*at, end), of which as much as fits is copied; false at the end. */
static bool resolver_word(const char **at, const char *end, char *word, size_t size)
{
	size_t n = 0;

	while (*at < end && strchr(" \t\r", **at))
		++*at;
	for (; *at < end && !strchr(" \t\r", **at); ++*at)
		if (n < size)
			word[n++] = **at;
	/* What does not fit is no word of ours. */
	if (n == size)
		n = 0;
	word[n] = '\0';
	return n || *at < end;
}

static int resolver_number(const char *s, int most)
{
	char *end;
	long v = strtol(s, &end, 10);

	return end == s || *end || v < 1 ? 0 : v < most ? (int)v : most;
}

/* resolv.conf(5): "timeout" has a bound of 30 there, "attempts" one of 5. */
static void resolver_option(const char *word, struct hostops_resolv *out)
{
	if (!strcmp(word, "rotate"))
		out->rotate = true;
	else if (!strncmp(word, "timeout:", 8))
		out->timeout = resolver_number(word + 8, 30);
	else if (!strncmp(word, "attempts:", 9))
		out->attempts = resolver_number(word + 9, 5);
}

/* "nameserver", blanks, an address, then blanks or anything; "options" and its words. A keyword
 * begins the line. */
static void resolver_line(const char *line, const char *end, struct hostops_resolv *out)
{
	char word[INET6_ADDRSTRLEN + 1 + IF_NAMESIZE];

	if (line == end || *line == ' ' || *line == '\t' ||
	    !resolver_word(&line, end, word, sizeof(word)))
		return;
	if (!strcmp(word, "nameserver") && resolver_word(&line, end, word, sizeof(word))) {
		if (out->n < HOSTOPS_RESOLVERS && resolver_parse(word, &out->server[out->n]))
			out->n++;
	} else if (!strcmp(word, "options")) {
		while (resolver_word(&line, end, word, sizeof(word)))
			resolver_option(word, out);
	}
}

static size_t resolver_read(const struct twx_hostops *h, char *buf, size_t size)
{
	int fd = hostops_open(h, RESOLV_CONF, O_RDONLY | O_NONBLOCK, 0);
	size_t len = 0;

	if (fd < 0)
		return 0;
	while (len < size) {
		ssize_t n = read(fd, buf + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	close(fd);
	return len;
}

void hostops_resolv_conf(const struct twx_hostops *h, struct hostops_resolv *out)
{
	char *buf = malloc(RESOLV_CONF_MAX + 1);
	char *line = buf, *end;

	memset(out, 0, sizeof(*out));
	if (!buf)
		return;
	end = buf + resolver_read(h, buf, RESOLV_CONF_MAX);
	while (line < end) {
		char *nl = memchr(line, '\n', (size_t)(end - line));

		if (!nl)
			nl = end;
		resolver_line(line, nl, out);
		line = nl + 1;
	}
	free(buf);
}
