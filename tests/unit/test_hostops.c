/* SPDX-License-Identifier: BSD-3-Clause */
/* Host operations: unix sockets stale and live, programs, name servers, an embedder's own table. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <netdb.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/hostops.h"
#include "base/macros.h"

/* A folder of our own; names in it by path(). */
static char folder[64];

static const char *path(const char *name)
{
	static char full[128];

	snprintf(full, sizeof(full), "%s/%s", folder, name);
	return full;
}

static int setup(void **state)
{
	strcpy(folder, "/tmp/test-hostops-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
	unlink(path("s"));
	unlink(path("t"));
	return rmdir(folder);
}

static bool has_flags(int fd, int fd_flags, int fl_flags)
{
	return (fcntl(fd, F_GETFD) & fd_flags) == fd_flags &&
	       (fcntl(fd, F_GETFL) & fl_flags) == fl_flags;
}

static void listens_and_connects(void **state)
{
	int s = hostops_unix_listen(NULL, path("s")), c, a;

	assert_true(s >= 0);
	assert_true(has_flags(s, FD_CLOEXEC, O_NONBLOCK));
	c = hostops_unix_connect(NULL, path("s"));
	assert_true(c >= 0);
	assert_true(has_flags(c, FD_CLOEXEC, O_NONBLOCK));
	a = accept(s, NULL, NULL);
	assert_true(a >= 0);
	assert_int_equal(write(c, "x", 1), 1);
	close(a);
	close(c);
	close(s);
}

static void replaces_a_stale_socket(void **state)
{
	int s = hostops_unix_listen(NULL, path("s")), c;

	close(s);
	assert_int_equal(hostops_unix_connect(NULL, path("s")), -ECONNREFUSED);
	s = hostops_unix_listen(NULL, path("s"));
	assert_true(s >= 0);
	c = hostops_unix_connect(NULL, path("s"));
	assert_true(c >= 0);
	close(c);
	close(s);
}

static void leaves_a_live_socket(void **state)
{
	int s = hostops_unix_listen(NULL, path("s")), c;

	assert_int_equal(hostops_unix_listen(NULL, path("s")), -EADDRINUSE);
	c = hostops_unix_connect(NULL, path("s"));
	assert_true(c >= 0);
	close(c);
	close(s);
}

static void leaves_a_live_socket_with_a_full_backlog(void **state)
{
	int s = hostops_unix_listen(NULL, path("s")), c;

	listen(s, 0);
	c = hostops_unix_connect(NULL, path("s"));
	assert_true(c >= 0);
	assert_int_equal(hostops_unix_connect(NULL, path("s")), -EAGAIN);
	assert_int_equal(hostops_unix_listen(NULL, path("s")), -EADDRINUSE);
	close(c);
	close(s);
}

static void leaves_a_live_datagram_socket(void **state)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_DGRAM, 0);

	memcpy(sun.sun_path, path("s"), strlen(path("s")));
	assert_int_equal(bind(s, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(hostops_unix_listen(NULL, path("s")), -EADDRINUSE);
	close(s);
}

static void leaves_what_is_no_socket(void **state)
{
	struct stat st;

	close(open(path("t"), O_CREAT | O_WRONLY, 0600));
	assert_int_equal(hostops_unix_listen(NULL, path("t")), -EEXIST);
	assert_int_equal(symlink("nowhere", path("s")), 0);
	assert_int_equal(hostops_unix_listen(NULL, path("s")), -EEXIST);
	assert_int_equal(lstat(path("s"), &st), 0);
	assert_true(S_ISLNK(st.st_mode));
}

static void refuses_paths_that_do_not_fit(void **state)
{
	char name[PATH_MAX];

	memset(name, 'x', sizeof(name));
	memcpy(name, "/tmp/", 5);
	name[108] = '\0';
	assert_int_equal(hostops_unix_listen(NULL, name), -ENAMETOOLONG);
	assert_int_equal(hostops_unix_connect(NULL, name), -ENAMETOOLONG);
	assert_int_equal(hostops_unix_listen(NULL, ""), -EINVAL);
	assert_int_equal(hostops_unix_connect(NULL, path("none")), -ENOENT);
	assert_int_equal(hostops_unix_listen(NULL, path("none/s")), -ENOENT);
}

static void the_longest_path_fits(void **state)
{
	char name[109];
	int s;

	memset(name, 'x', sizeof(name));
	memcpy(name, folder, strlen(folder));
	name[strlen(folder)] = '/';
	name[107] = '\0';
	s = hostops_unix_listen(NULL, name);
	assert_true(s >= 0);
	assert_int_equal(access(name, F_OK), 0);
	close(s);
	assert_int_equal(hostops_unlink(NULL, name), 0);
	assert_int_equal(hostops_unlink(NULL, name), -ENOENT);
}

static void opened_files_close_on_exec(void **state)
{
	int fd = hostops_open(NULL, path("t"), O_CREAT | O_RDWR, 0600);

	assert_true(fd >= 0);
	assert_true(has_flags(fd, FD_CLOEXEC, O_RDWR));
	close(fd);
	assert_int_equal(hostops_open(NULL, path("none"), O_RDONLY, 0), -ENOENT);
}

static void binds(void **state)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001) };
	int a = socket(AF_INET, SOCK_DGRAM, 0), b = socket(AF_INET, SOCK_DGRAM, 0);
	socklen_t len = sizeof(sin);

	assert_int_equal(hostops_bind(NULL, a, (struct sockaddr *)&sin, len), 0);
	getsockname(a, (struct sockaddr *)&sin, &len);
	assert_int_equal(hostops_bind(NULL, b, (struct sockaddr *)&sin, len), -EADDRINUSE);
	close(a);
	close(b);
}

static void datagram_sockets_bind_over_stale_files_only(void **state)
{
	int a = socket(AF_UNIX, SOCK_DGRAM, 0), b = socket(AF_UNIX, SOCK_DGRAM, 0);

	assert_int_equal(hostops_unix_bind(NULL, a, path("s")), 0);
	assert_int_equal(hostops_unix_bind(NULL, b, path("s")), -EADDRINUSE);
	close(a);
	assert_int_equal(hostops_unix_bind(NULL, b, path("s")), 0);
	close(open(path("t"), O_CREAT | O_WRONLY, 0600));
	a = socket(AF_UNIX, SOCK_DGRAM, 0);
	assert_int_equal(hostops_unix_bind(NULL, a, path("t")), -EEXIST);
	close(a);
	close(b);
}

static int connect_refused(void *opaque, int fd, const struct sockaddr *addr, socklen_t len)
{
	*(int *)opaque = fd;
	return -EACCES;
}

static void connects_through_the_table(void **state)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0), asked = -1;
	struct twx_hostops ops = { .size = sizeof(ops), .opaque = &asked };

	sin.sin_port = htons(9);
	assert_int_equal(hostops_connect(&ops, fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	ops.connect = connect_refused;
	assert_int_equal(hostops_connect(&ops, fd, (struct sockaddr *)&sin, sizeof(sin)), -EACCES);
	assert_int_equal(asked, fd);
	close(fd);
}

/* Names */

static void numbers_resolve_without_a_server(void **state)
{
	struct sockaddr_storage ss[2];
	struct sockaddr_in *sin = (struct sockaddr_in *)ss;

	assert_int_equal(hostops_resolve(NULL, "127.0.0.9", "5555", AF_UNSPEC, SOCK_STREAM,
					 AI_NUMERICHOST, ss, 2),
			 1);
	assert_int_equal(sin->sin_family, AF_INET);
	assert_int_equal(ntohl(sin->sin_addr.s_addr), 0x7f000009);
	assert_int_equal(ntohs(sin->sin_port), 5555);
	assert_int_equal(
		hostops_resolve(NULL, "::1", "1", AF_UNSPEC, SOCK_DGRAM, AI_NUMERICHOST, ss, 2), 1);
	assert_int_equal(ss[0].ss_family, AF_INET6);
	assert_int_equal(hostops_resolve(NULL, NULL, "1", AF_INET, SOCK_STREAM, AI_PASSIVE, ss, 2),
			 1);
	assert_int_equal(sin->sin_addr.s_addr, htonl(INADDR_ANY));
}

static void what_does_not_resolve_says_why(void **state)
{
	struct sockaddr_storage ss;

	assert_int_equal(hostops_resolve(NULL, "no-number", "1", AF_UNSPEC, SOCK_STREAM,
					 AI_NUMERICHOST, &ss, 1),
			 -ENOENT);
	assert_int_equal(
		hostops_resolve(NULL, "::1", "1", AF_INET, SOCK_STREAM, AI_NUMERICHOST, &ss, 1),
		-EAFNOSUPPORT);
	assert_int_equal(hostops_resolve(NULL, "127.0.0.1", "no-port", AF_INET, SOCK_STREAM,
					 AI_NUMERICHOST, &ss, 1),
			 -EINVAL);
}

static int resolve_served(void *opaque, const char *host, const char *port, int family, int type,
			  int flags, struct sockaddr_storage *out, int max)
{
	assert_string_equal(host, "a.name");
	out->ss_family = AF_INET6;
	return 1;
}

static void resolves_through_the_table(void **state)
{
	struct twx_hostops ops = { .size = sizeof(ops), .resolve = resolve_served };
	struct sockaddr_storage ss = { 0 };

	assert_int_equal(hostops_resolve(&ops, "a.name", "1", AF_INET, SOCK_STREAM, 0, &ss, 1), 1);
	assert_int_equal(ss.ss_family, AF_INET6);
}

/* Programs */

static int wait_for(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int spawn(const char *const argv[], const int *keep, int n_keep, pid_t *pid)
{
	return hostops_spawn(NULL, (char *const *)argv, keep, n_keep, pid);
}

/* Runs a shell script and returns what it wrote to fd @out. */
static void run_script(const char *script, const int *keep, int n_keep, int out, char *text,
		       size_t size)
{
	const char *const argv[] = { "sh", "-c", script, NULL };
	ssize_t n, len = 0;
	pid_t pid;

	assert_int_equal(spawn(argv, keep, n_keep, &pid), 0);
	assert_int_equal(wait_for(pid), 0);
	while ((n = read(out, text + len, size - 1 - (size_t)len)) > 0)
		len += n;
	text[len] = '\0';
}

static void a_socket_may_be_input_and_output(void **state)
{
	const char *const argv[] = { "sh", "-c", "cat; ls /proc/$$/fd; [ ! -t 0 ]", NULL };
	int sv[2], secret = open("/dev/zero", O_RDONLY), high = dup2(secret, 50);
	char text[64] = "";
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(hostops_spawn_on(NULL, (char *const *)argv, STDERR_FILENO, &pid), -EBADF);
	assert_int_equal(hostops_spawn_on(NULL, (char *const *)argv, sv[1], &pid), 0);
	close(sv[1]);
	assert_int_equal(write(sv[0], "ping\n", 5), 5);
	shutdown(sv[0], SHUT_WR);
	assert_int_equal(wait_for(pid), 0);
	assert_int_equal(recv(sv[0], text, sizeof(text) - 1, MSG_WAITALL), 11);
	assert_string_equal(text, "ping\n0\n1\n2\n");
	close(sv[0]);
	close(secret);
	close(high);
}

static void only_kept_fds_reach_the_program(void **state)
{
	int p[2], secret = open("/dev/zero", O_RDONLY), high = dup2(secret, 50), keep[3];
	char text[256], script[512], want[256];

	assert_int_equal(pipe2(p, O_NONBLOCK | O_CLOEXEC), 0);
	keep[0] = fcntl(p[1], F_DUPFD_CLOEXEC, 40);
	keep[1] = fcntl(secret, F_DUPFD_CLOEXEC, 30);
	keep[2] = STDERR_FILENO;
	snprintf(script, sizeof(script),
		 "exec >/proc/$$/fd/%d; ls /proc/$$/fd; readlink /proc/$$/fd/0", keep[0]);
	run_script(script, keep, 3, p[0], text, sizeof(text));
	snprintf(want, sizeof(want), "0\n1\n2\n%d\n%d\n/dev/null\n", keep[1], keep[0]);
	assert_string_equal(text, want);
	/* Ours are as they were. */
	assert_true(has_flags(keep[0], FD_CLOEXEC, 0));
	close(keep[0]);
	close(keep[1]);
	close(secret);
	close(high);
	close(p[0]);
	close(p[1]);
}

static void exec_failures_are_told(void **state)
{
	const char *const none[] = { "/nonexistent/program", NULL };
	const char *const file[] = { path("t"), NULL };
	pid_t pid = -5;

	close(open(path("t"), O_CREAT | O_WRONLY, 0600));
	assert_int_equal(spawn(none, NULL, 0, &pid), -ENOENT);
	assert_int_equal(spawn(file, NULL, 0, &pid), -EACCES);
	assert_int_equal(pid, -5);
	/* No zombie is left. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static void bad_fds_are_refused(void **state)
{
	const char *const argv[] = { "true", NULL };
	int closed = 777, zero = 0;
	pid_t pid;

	assert_int_equal(spawn(argv, &closed, 1, &pid), -EBADF);
	assert_int_equal(spawn(argv, &zero, 1, &pid), -EBADF);
	assert_int_equal(spawn(argv, NULL, 1000, &pid), -E2BIG);
}

static void handler(int sig)
{
}

/* Blocked and handled signals of ours are not the program's. */
static void programs_start_with_default_signals(void **state)
{
	const char *const argv[] = { "sh", "-c", "kill -USR1 $$; kill -USR2 $$; exit 0", NULL };
	sigset_t set, old;
	int status;
	pid_t pid;

	signal(SIGUSR2, handler);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, &old);
	assert_int_equal(spawn(argv, NULL, 0, &pid), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
	/* Ours are as they were. */
	sigprocmask(SIG_SETMASK, &old, &set);
	assert_int_equal(sigismember(&set, SIGUSR1), 1);
	assert_ptr_equal(signal(SIGUSR2, SIG_DFL), handler);
}

/* An embedder's table */

static char served[65536 + 100];
static size_t served_len;
static int n_opens;

static int open_served(void *opaque, const char *name, int flags, mode_t mode)
{
	int fd = memfd_create("resolv", MFD_CLOEXEC);

	assert_ptr_equal(opaque, served);
	assert_string_equal(name, "/etc/resolv.conf");
	n_opens++;
	assert_int_equal(write(fd, served, served_len), (ssize_t)served_len);
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static const struct twx_hostops served_ops = {
	.size = sizeof(served_ops),
	.opaque = served,
	.open = open_served,
};

static void serve(const char *text)
{
	served_len = strlen(text);
	memcpy(served, text, served_len);
}

/* The servers of @text as "a b c". */
static const char *resolvers(const char *text)
{
	static char out[512];
	struct hostops_resolv conf;
	const struct sockaddr_storage *ss = conf.server;

	serve(text);
	hostops_resolv_conf(&served_ops, &conf);
	out[0] = '\0';
	for (int i = 0; i < conf.n; i++) {
		const struct sockaddr_in *sin = (const void *)&ss[i];
		const struct sockaddr_in6 *sin6 = (const void *)&ss[i];
		bool v4 = ss[i].ss_family == AF_INET;
		char addr[64];
		size_t at = strlen(out);

		assert_int_equal(ntohs(v4 ? sin->sin_port : sin6->sin6_port), 53);
		inet_ntop(ss[i].ss_family, v4 ? (const void *)&sin->sin_addr : &sin6->sin6_addr,
			  addr, sizeof(addr));
		snprintf(out + at, sizeof(out) - at, "%s%s", at ? " " : "", addr);
		if (!v4 && sin6->sin6_scope_id)
			snprintf(out + strlen(out), sizeof(out) - strlen(out), "%%%u",
				 sin6->sin6_scope_id);
	}
	return out;
}

static void name_servers(void **state)
{
	static const struct {
		const char *text, *servers;
	} cases[] = {
		{ "", "" },
		{ "nameserver 10.0.0.1\n", "10.0.0.1" },
		{ "nameserver 10.0.0.1", "10.0.0.1" },
		{ "nameserver\t10.0.0.1 \t\r\nnameserver   ::1 # mine\n", "10.0.0.1 ::1" },
		{ "search a b\n# nameserver 1.1.1.1\n;nameserver 1.1.1.1\nnameserver 2.2.2.2\n",
		  "2.2.2.2" },
		{ "nameserver fe80::1%1\n", "fe80::1%1" },
		{ "nameserver fe80::1%lo\n", "fe80::1%1" },
		{ "nameserver fe80::1%99999999999\n", "" },
		{ "nameserver fe80::1%0\n", "" },
		{ "nameserver fe80::1%nosuchif0\n", "" },
		{ "nameserver fe80::1%\nnameserver 10.0.0.1%1\n", "" },
		{ "nameserver\nnameserver \nnameserver10.0.0.1\nNAMESERVER 1.1.1.1\n", "" },
		{ "nameserver 10.0.0\nnameserver 10.0.0.256\nnameserver 010.0.0.1x\n", "" },
		{ "nameserver host.example\nnameserver 10.0.0.1,10.0.0.2\n", "" },
		{ " nameserver 10.0.0.1\n", "" },
		{ "nameserver 1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd\n",
		  "" },
		{ "nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\n"
		  "nameserver 1.1.1.4\nnameserver 1.1.1.5\nnameserver 1.1.1.6\n"
		  "nameserver 1.1.1.7\nnameserver 1.1.1.8\nnameserver 1.1.1.9\n",
		  "1.1.1.1 1.1.1.2 1.1.1.3 1.1.1.4 1.1.1.5 1.1.1.6 1.1.1.7 1.1.1.8" },
	};

	assert_int_equal(if_nametoindex("lo"), 1);
	for (size_t i = 0; i < array_size(cases); i++)
		assert_string_equal(resolvers(cases[i].text), cases[i].servers);
}

static void resolver_options(void **state)
{
	static const struct {
		const char *text;
		int timeout, attempts;
		bool rotate;
	} cases[] = {
		{ "options timeout:1 attempts:4 rotate\n", 1, 4, true },
		{ "options ndots:2 edns0\noptions\ttimeout:90 \noptions attempts:77", 30, 5,
		  false },
		{ "options timeout: attempts:x rotated timeout:-1 attempts:2x\n", 0, 0, false },
		{ "# options rotate\n options rotate\noption rotate\noptions", 0, 0, false },
	};

	for (size_t i = 0; i < array_size(cases); i++) {
		struct hostops_resolv conf;

		serve(cases[i].text);
		hostops_resolv_conf(&served_ops, &conf);
		assert_int_equal(conf.timeout, cases[i].timeout);
		assert_int_equal(conf.attempts, cases[i].attempts);
		assert_int_equal(conf.rotate, cases[i].rotate);
	}
}

static void a_huge_resolver_file_is_cut(void **state)
{
	struct hostops_resolv conf;

	memset(served, '\n', sizeof(served));
	memcpy(served + 65536 - 10, "nameserver 1.1.1.1\n", 19);
	served_len = sizeof(served);
	hostops_resolv_conf(&served_ops, &conf);
	assert_int_equal(conf.n, 0);
}

static void a_missing_resolver_file_means_none(void **state)
{
	struct twx_hostops ops = { .size = sizeof(ops), .opaque = served };
	struct hostops_resolv conf;

	/* Without an entry, and with a size that ends before it, the kernel is asked. */
	n_opens = 0;
	ops.open = open_served;
	ops.size = offsetof(struct twx_hostops, open);
	close(hostops_open(&ops, path("t"), O_CREAT | O_RDWR, 0600));
	assert_int_equal(n_opens, 0);
	assert_int_equal(hostops_unlink(&served_ops, path("t")), 0);
	serve("");
	hostops_resolv_conf(&served_ops, &conf);
	assert_int_equal(conf.n, 0);
	assert_int_equal(n_opens, 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(listens_and_connects),
		T(replaces_a_stale_socket),
		T(leaves_a_live_socket),
		T(leaves_a_live_socket_with_a_full_backlog),
		T(leaves_a_live_datagram_socket),
		T(leaves_what_is_no_socket),
		T(refuses_paths_that_do_not_fit),
		T(the_longest_path_fits),
		T(opened_files_close_on_exec),
		T(binds),
		T(datagram_sockets_bind_over_stale_files_only),
		cmocka_unit_test(connects_through_the_table),
		cmocka_unit_test(numbers_resolve_without_a_server),
		cmocka_unit_test(what_does_not_resolve_says_why),
		cmocka_unit_test(resolves_through_the_table),
		T(a_socket_may_be_input_and_output),
		T(only_kept_fds_reach_the_program),
		T(exec_failures_are_told),
		T(bad_fds_are_refused),
		T(programs_start_with_default_signals),
		cmocka_unit_test(name_servers),
		cmocka_unit_test(resolver_options),
		cmocka_unit_test(a_huge_resolver_file_is_cut),
		T(a_missing_resolver_file_means_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
