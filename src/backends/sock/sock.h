/* SPDX-License-Identifier: BSD-3-Clause */
/* Addresses of the socket backends: from options to sockets. */
#ifndef SOCK_H
#define SOCK_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include <twinax/net.h>

#include "base/hostops.h"

#define SOCK_ADDRS 8 /* that a name may stand for */
#define SOCK_TEXT 300

enum sock_kind { SOCK_INET = 1, SOCK_UNIX = 2, SOCK_FD = 4 };

enum {			 /* what an address is for */
       SOCK_PASSIVE = 1, /* to bind; an empty host is any address */
       SOCK_DATAGRAM = 2,
};

struct sock_addr {
	struct sockaddr_storage ss;
	socklen_t len; /* 0: none */
};

/* Where to bind or connect; filled at set-up, so that a later connection needs no name server. */
struct sock_spec {
	enum sock_kind kind; /* 0: not given */
	struct sock_addr addr[SOCK_ADDRS];
	int n_addr;
	uint16_t port_to; /* last port to try when listening; 0: one only */
	bool abstract, mptcp, v6only, keep_alive;
	int keep_count, keep_idle, keep_interval; /* 0: the system's */
	int fd;
	struct hostops_sock_file file; /* that binding has made */
	char text[SOCK_TEXT];	       /* for messages: "127.0.0.1:5555" */
};

/* Rows of an option table for an address named @p, a string literal; what it is, another. */
#define SOCK_ROWS(p, what, kinds)                                                                  \
	{ p ".type", TWX_OPT_ENUM, NULL, "kind of " what, kinds },                                 \
		{ p ".host", TWX_OPT_STR, NULL, "inet: " what ", a number or a name", "HOST" },    \
		{ p ".port", TWX_OPT_STR, NULL, "inet: its port", "PORT" },                        \
		{ p ".numeric", TWX_OPT_BOOL, NULL, "inet: the host is a number, never a name" },  \
		{ p ".ipv4", TWX_OPT_BOOL, NULL, "inet: whether IPv4 will do" },                   \
		{ p ".ipv6", TWX_OPT_BOOL, NULL, "inet: whether IPv6 will do" },                   \
		{ p ".path", TWX_OPT_STR, NULL, "unix: " what, "PATH" },                           \
		{ p ".abstract", TWX_OPT_BOOL, NULL,                                               \
		  "unix: the path is an abstract name, not a file's" },                            \
	{                                                                                          \
		p ".tight", TWX_OPT_BOOL, NULL,                                                    \
			"unix: an abstract name ends with its last letter; off: filled with zeros" \
	}
#define SOCK_ROW_FD(p, what)                                                                       \
	{                                                                                          \
		p ".str", TWX_OPT_STR, NULL, "fd: number of " what ", inherited", "N"              \
	}

/* --- addr.c --- */

/* Reads the address whose options begin with @prefix; when none is given, kind is left 0. */
int sock_spec_opts(struct sock_spec *s, struct twx_backend *b, const struct twx_opts *o,
		   const char *prefix, int flags, struct twx_error *e);
/* "host:port" of IPv4, the syntax of QEMU's older options. */
int sock_spec_text(struct sock_spec *s, struct twx_backend *b, const char *text, int flags,
		   struct twx_error *e);
/* A descriptor's number, or -EINVAL. */
int sock_fd_number(const char *text, struct twx_error *e);
/* "127.0.0.1:5555", "[::1]:5555", a path, "@name"; empty for a socket without a name. */
void sock_name(const struct sock_addr *a, char *buf, size_t size);
bool sock_is_multicast(const struct sock_addr *a);
/* Port of an inet address in host order, 0 for others. */
uint16_t sock_port(const struct sock_addr *a);
void sock_set_port(struct sock_addr *a, uint16_t port);

/* --- open.c: descriptors are non-blocking and close-on-exec; -errno otherwise --- */

int sock_listen(struct sock_spec *s, struct twx_backend *b, struct twx_error *e);
/* To address number @i; says nothing in words. *@pending: not connected yet. */
int sock_connect(const struct sock_spec *s, struct twx_backend *b, int i, bool *pending);
/* How a connect() that was pending has ended: 0 or -errno; -EINPROGRESS: not yet. */
int sock_connect_result(int fd);
void sock_tune(int fd, const struct sock_spec *s); /* what suits a connected stream */
int sock_bind_dgram(struct sock_spec *s, struct twx_backend *b, struct twx_error *e);
/* Makes an inherited descriptor ours: a socket of *@type, or of either when that is 0. */
int sock_take_fd(int fd, int *type, struct twx_error *e);
bool sock_listens(int fd);
void sock_peer(int fd, struct sock_addr *a);
void sock_close(int *fd); /* -1 is left behind, and harmless */
/* Removes the file that binding to @s has made, unless the path is another's by now. */
void sock_unlink(const struct sock_spec *s, struct twx_backend *b);

#endif
