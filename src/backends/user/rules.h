/* SPDX-License-Identifier: BSD-3-Clause */
/* Egress rules of the user-mode network: where the guest's connections may go. */
#ifndef USER_RULES_H
#define USER_RULES_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include <twinax/option.h>

#define RULES_MAX 256
#define RULES_TTL_MIN 60u /* seconds that an address stays a name's at least */
#define RULES_TTL_MAX 86400u

struct rules;

enum rules_place { RULES_ELSEWHERE, RULES_HOST, RULES_DNS };

/* Where a flow wants to go, as the guest sees it. */
struct rules_to {
	struct in6_addr addr; /* IPv4: mapped */
	uint16_t port;	      /* 0: the protocol has none */
	uint8_t proto;	      /* IPPROTO_TCP, IPPROTO_UDP; IPPROTO_ICMP for ICMPv6 too */
	enum rules_place place;
};

/* From rule=, allow=, deny= in the order that they were given; *@out stays null if there are none.
 */
int rules_new(struct rules **out, const struct twx_opts *o, struct twx_error *e);
void rules_free(struct rules *r);

/* May a flow be made? @now: loop time, ns. The rule that decides counts it. */
bool rules_allow(struct rules *r, const struct rules_to *to, uint64_t now);
/* May a query for @name (as dns_msg.h has names; null: it cannot be read) be sent to the DNS alias
 * @to? */
bool rules_allow_name(struct rules *r, const struct rules_to *to, const char *name, uint64_t now);
/* An answer that passes to the guest: its addresses belong to the rules with its names from now on.
 */
void rules_learn(struct rules *r, const uint8_t *msg, uint32_t len, uint64_t now);

/* Rule @i, the last one is what happens to the rest; false behind it. @text lives as long as @r. */
bool rules_at(const struct rules *r, uint32_t i, bool *allow, const char **text, uint64_t *hits);

#endif
