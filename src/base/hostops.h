/* SPDX-License-Identifier: BSD-3-Clause */
/* Everything that opens, binds, forks or reads host configuration: one door to the host. */
#ifndef BASE_HOSTOPS_H
#define BASE_HOSTOPS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

/*
 * A table of the calls below; null in twx_net_config means "with this process's own rights". Every
 * fd returned is close-on-exec; results are an fd, 0 or -errno. src/net hands the table out:
 * net_hostops(net).
 */
struct twx_hostops {
	size_t size;
	void *opaque;
	int (*open)(void *opaque, const char *path, int flags, mode_t mode);
	int (*unlink)(void *opaque, const char *path);
	int (*bind)(void *opaque, int fd, const struct sockaddr *addr, socklen_t len);
	int (*connect_unix)(void *opaque, int fd, const char *path);
	int (*spawn)(void *opaque, char *const argv[], const int *keep_fds, int n_keep, pid_t *pid);
	int (*connect)(void *opaque, int fd, const struct sockaddr *addr, socklen_t len);
	int (*resolve)(void *opaque, const char *host, const char *port, int family, int type,
		       int flags, struct sockaddr_storage *out, int max);
	int (*rename)(void *opaque, const char *from, const char *to);
	int (*spawn_on)(void *opaque, char *const argv[], int stdio, pid_t *pid);
	int (*make_dir)(void *opaque, char *path);
	int (*remove_dir)(void *opaque, char *path);
};

int hostops_open(const struct twx_hostops *h, const char *path, int flags, mode_t mode);
int hostops_unlink(const struct twx_hostops *h, const char *path);
int hostops_rename(const struct twx_hostops *h, const char *from, const char *to);
int hostops_bind(const struct twx_hostops *h, int fd, const struct sockaddr *addr, socklen_t len);
/* connect(): 0, or -errno; -EINPROGRESS for a non-blocking socket. */
int hostops_connect(const struct twx_hostops *h, int fd, const struct sockaddr *addr,
		    socklen_t len);
/*
 * What @host (null: any address, or loopback without AI_PASSIVE) and @port stand for, by AF_*,
 * SOCK_* and AI_* as getaddrinfo() has them. How many, at most @max, or -errno: -ENOENT no such
 * name, -EINVAL no such port, -EAGAIN no answer now. Waits for name servers unless AI_NUMERICHOST
 * is asked for: at set-up only.
 */
int hostops_resolve(const struct twx_hostops *h, const char *host, const char *port, int family,
		    int type, int flags, struct sockaddr_storage *out, int max);
/* The file that a bind has made, so that only this one is removed: the path may be another's later.
 */
struct hostops_sock_file {
	dev_t dev;
	ino_t ino;
};
void hostops_sock_file_of(const char *path, struct hostops_sock_file *f); /* right after the bind */
void hostops_sock_file_remove(const struct twx_hostops *h, const char *path,
			      const struct hostops_sock_file *f);
/* Binds a unix socket of any type to @path; what hostops_unix_listen() says of files holds here. */
int hostops_unix_bind(const struct twx_hostops *h, int fd, const char *path);
/* A non-blocking listening unix stream socket. A socket file that nobody listens on is replaced; a
 * live one gives -EADDRINUSE, a file that is no socket -EEXIST, a path that does not fit
 * -ENAMETOOLONG. */
int hostops_unix_listen(const struct twx_hostops *h, const char *path);
/* A connected non-blocking unix stream socket, or -errno (-ECONNREFUSED, -ENOENT, ...). */
int hostops_unix_connect(const struct twx_hostops *h, const char *path);
/* Starts a program, stdin from /dev/null, only @keep_fds, stdout and stderr inherited; 0 or -errno,
 * exec()'s failure included. */
int hostops_spawn(const struct twx_hostops *h, char *const argv[], const int *keep_fds, int n_keep,
		  pid_t *pid);
/* The same with @stdio, a socket, as its standard input and output, and no other descriptor. */
int hostops_spawn_on(const struct twx_hostops *h, char *const argv[], int stdio, pid_t *pid);
/* Makes a folder of nobody else's: @path gets six characters behind what it holds; there is room
 * for them. */
int hostops_make_dir(const struct twx_hostops *h, char *path);
/* Removes such a folder and all that is in it. */
int hostops_remove_dir(const struct twx_hostops *h, char *path);
/* What /etc/resolv.conf says; all zero if there is none. */
#define HOSTOPS_RESOLVERS 8
struct hostops_resolv {
	struct sockaddr_storage server[HOSTOPS_RESOLVERS]; /* port 53, in the file's order */
	int n;
	int timeout, attempts; /* "options timeout:N attempts:N", seconds; 0: not given */
	bool rotate;	       /* "options rotate" */
};
void hostops_resolv_conf(const struct twx_hostops *h, struct hostops_resolv *out);

#endif
