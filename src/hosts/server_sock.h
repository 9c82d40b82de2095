/* SPDX-License-Identifier: BSD-3-Clause */
/* The unix socket that a host listens on, for one peer at a time. */
#ifndef HOSTS_SERVER_SOCK_H
#define HOSTS_SERVER_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <twinax/net.h>

#include "base/hostops.h"

#define SERVER_PATH_MAX 108 /* of struct sockaddr_un, with the NUL */

/* Embedded in the host's state; of one thread, the host's loop. */
struct server_sock {
	struct twx_host *host;
	const char *kind; /* "vhost-user" */
	const char *peer; /* who connects: "front end" */
	/* Takes @fd, connected and non-blocking: begins with it or server_sock_refuse()s it. */
	void (*accepted)(struct server_sock *s, int fd);
	char path[SERVER_PATH_MAX];
	int fd; /* listening; -1: not */
	struct hostops_sock_file file;
	struct twx_watch watch;
	struct twx_timer rest; /* accept() ran out of resources; listens again then */
};

void server_sock_init(struct server_sock *s, struct twx_host *host, const char *kind,
		      const char *peer, void (*accepted)(struct server_sock *s, int fd));
/* The path of export=KIND:PATH. 0, -EINVAL without one, -ENAMETOOLONG. */
int server_sock_take_path(struct server_sock *s, const char *address, struct twx_error *e);
/* Listens on the path. 0 or -errno. */
int server_sock_open(struct server_sock *s, struct twx_error *e);
/* Removes the socket file if it is still ours. Harmless when not open. */
void server_sock_close(struct server_sock *s);

/* Closes a connection because @who has another one, with a line in the log. */
void server_sock_refuse(struct server_sock *s, int fd, const char *who);

/* Who sits at the other end, for people: "pid 123 (qemu-system-x86)". */
void sock_describe_peer(const struct twx_hostops *ops, int fd, char *buf, size_t size);
bool sock_hung_up(int fd);

#endif
