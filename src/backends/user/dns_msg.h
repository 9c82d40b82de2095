/* SPDX-License-Identifier: BSD-3-Clause */
/* DNS messages (RFC 1035): the question, and the addresses that an answer has for it. */
#ifndef USER_DNS_MSG_H
#define USER_DNS_MSG_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#define DNS_HDR 12
#define DNS_NAME_MAX 255
#define DNS_CHAIN_MAX 16 /* a question's name and those that CNAMEs lead to */

enum { DNS_NOERROR = 0, DNS_FORMERR = 1, DNS_SERVFAIL = 2, DNS_NOTIMP = 4, DNS_REFUSED = 5 };

/* As text: labels in lower case with dots between them, none at the end; a byte that host names do
 * not have is '?'. The root is empty. */
struct dns_name {
	char text[DNS_NAME_MAX + 1];
};

struct dns_question {
	struct dns_name name;
	uint16_t type, class;
	uint32_t end; /* offset behind the question */
};

/* The one question of a message. False: there are none or several, or it is no message. */
bool dns_msg_question(const uint8_t *msg, uint32_t len, struct dns_question *q);

/* Has the answer @b the id, and the question if it has any, of the query @a? */
bool dns_msg_answers(const uint8_t *a, uint32_t a_len, const uint8_t *b, uint32_t b_len);

struct dns_chain {
	struct dns_name names[DNS_CHAIN_MAX];
	uint32_t n;
};
typedef void dns_address_fn(void *opaque, const struct dns_chain *chain,
			    const struct in6_addr *addr, uint32_t ttl);
/*
 * Calls @fn for each A and AAAA record of the answer section that belongs to the question: its
 * owner is the name asked for, or one that a CNAME leads to from there. The chain, complete, begins
 * with the name asked for. How many.
 */
uint32_t dns_msg_addresses(const uint8_t *msg, uint32_t len, dns_address_fn *fn, void *opaque);

/* An answer without records to the query @msg into @out (as large as @msg): its length, or 0. */
uint32_t dns_msg_refuse(const uint8_t *msg, uint32_t len, uint8_t rcode, uint8_t *out);

static inline uint8_t dns_msg_rcode(const uint8_t *msg)
{
	return msg[3] & 15;
}
static inline bool dns_msg_is_answer(const uint8_t *msg)
{
	return msg[2] & 0x80;
}

#endif
