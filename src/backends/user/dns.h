/* SPDX-License-Identifier: BSD-3-Clause */
/* The DNS forwarder: what its two ways (dns.c, dns_tcp.c) share. */
#ifndef USER_DNS_H
#define USER_DNS_H

#include "backends/user/dns_msg.h"
#include "backends/user/user.h"
#include "base/hostops.h"

struct dns_query;
struct dns_conn;

struct user_dns {
	struct hostops_resolv conf;
	uint64_t down_until[HOSTOPS_RESOLVERS]; /* of the servers in conf */
	uint64_t read_at;			/* 0: never */
	uint32_t turn;				/* of "rotate" */
	uint8_t *buf;				/* one answer; made when needed */
	struct dns_query *oldest, *newest;
	uint32_t n_queries;
	struct dns_conn *conns;
	uint32_t n_conns;
};

/* Whom to ask, best first. */
struct dns_servers {
	union user_addr at[HOSTOPS_RESOLVERS];
	int n, attempts;
	uint64_t timeout; /* ns */
};

/* False: the host has none. */
bool dns_servers(struct user *u, struct dns_servers *s);
/* It has answered; or it has not, and the others are asked first for a while. */
void dns_mark(struct user *u, const union user_addr *server, bool answered);
socklen_t dns_addr_len(const union user_addr *a);
/* By the egress rules: may the guest ask the alias this? */
bool dns_may_ask(struct user *u, const struct in6_addr *alias, uint8_t proto, const uint8_t *msg,
		 uint32_t len);
/* Should another server be asked after this answer? */
bool dns_is_failure(const uint8_t *msg);

/* --- dns_tcp.c --- */
void dns_tcp_fini(struct user *u);

#endif
