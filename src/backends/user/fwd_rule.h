/* SPDX-License-Identifier: BSD-3-Clause */
/* The text of hostfwd=: what it says, checked as far as text can be. */
#ifndef USER_FWD_RULE_H
#define USER_FWD_RULE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum fwd_kind { FWD_TCP, FWD_UDP, FWD_UNIX };

struct fwd_rule {
	enum fwd_kind kind;
	struct sockaddr_storage host; /* AF_INET, AF_INET6 or AF_UNIX (a path, ended by a zero) */
	socklen_t host_len;
	struct in6_addr guest; /* v4-mapped; all zero: none was named */
	uint16_t guest_port;
};

/*
 * "[tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT", IPv6 addresses in brackets, or
 * "unix:PATH-[GUESTADDR]:GUESTPORT". Null, or why it is wrong, in QEMU's words.
 */
const char *fwd_rule_parse(struct fwd_rule *r, const char *text);
/* The host's side alone, as hostfwd_remove has it; false: that is none. */
bool fwd_rule_parse_host(struct fwd_rule *r, const char *text);
bool fwd_rule_same_host(const struct fwd_rule *a, const struct fwd_rule *b);

struct user;
/* The forwards of @u one by one, from 0 on: the number to go on with, or 0 at the end. */
uint32_t hostfwd_next(struct user *u, uint32_t i, const struct fwd_rule **rule, int *fd);

#endif
