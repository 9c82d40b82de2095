/* SPDX-License-Identifier: BSD-3-Clause */
/* The user-mode network while it runs: its forwards and egress rules. */
#ifndef TWINAX_USERNET_H
#define TWINAX_USERNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <twinax/error.h>
#include <twinax/export.h>
#include <twinax/net.h>

/*
 * All of these are called from the loop's thread and take a backend of the type "user"; another one
 * gives -EINVAL, or an empty list.
 */

/* The one called @id; null: the first that was made. Null with QEMU's sentence in @e: "unrecognized
 * netdev id 'zz'", "invalid device specified", "user mode network stack not in use". */
TWX_EXPORT struct twx_backend *twx_usernet_find(struct twx_net *net, const char *id,
						struct twx_error *e);

/*
 * "[tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT" or "unix:PATH-[GUESTADDR]:GUESTPORT", as
 * hostfwd= has it; IPv6 addresses stand in brackets. 0 or -errno with hostfwd='s sentences.
 */
TWX_EXPORT int twx_usernet_hostfwd_add(struct twx_backend *b, const char *rule,
				       struct twx_error *e);
/*
 * The host's side of a rule: "[tcp|udp]:[HOSTADDR]:HOSTPORT", "unix:PATH". Connections that came
 * through it stay open. -ENOENT: there is none; -EINVAL: "invalid format".
 */
TWX_EXPORT int twx_usernet_hostfwd_remove(struct twx_backend *b, const char *rule,
					  struct twx_error *e);

/* One forward. Set size = sizeof before the call. */
struct twx_usernet_fwd {
	size_t size;
	char proto[8];	    /* "tcp", "udp", "unix" */
	char host[112];	    /* an address, or the path of a unix socket */
	uint16_t host_port; /* 0 of a unix socket */
	char guest[48];
	uint16_t guest_port;
};
/* Forwards one by one: @i is 0 at first, then what the last call returned; 0 is the end. */
TWX_EXPORT uint32_t twx_usernet_hostfwd_next(struct twx_backend *b, uint32_t i,
					     struct twx_usernet_fwd *out);

/* An egress rule, allow= or deny=, in the order that counts. Set size = sizeof before the call. */
struct twx_usernet_rule {
	size_t size;
	bool allow;
	const char *text; /* "tcp:*.example.com:443"; lives as long as the backend */
	uint64_t hits;	  /* flows and DNS queries that it has decided */
};
/* Rule @i; the last one, "any", is what happens to the rest. False behind it, or if there are none. */
TWX_EXPORT bool twx_usernet_rule_at(struct twx_backend *b, uint32_t i,
				    struct twx_usernet_rule *out);

/* QEMU's `info usernet`, all user networks of @net, as malloc()ed text with "\n" line ends. */
TWX_EXPORT char *twx_usernet_info(struct twx_net *net);

#endif
