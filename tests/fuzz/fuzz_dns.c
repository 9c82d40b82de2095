/* SPDX-License-Identifier: BSD-3-Clause */
/* DNS messages as a guest or a resolver sends them, and what rules with names learn from them. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "backends/user/dns_msg.h"
#include "backends/user/rules.h"
#include "fuzz.h"

static const struct twx_opt_desc table[] = { { "allow", TWX_OPT_LIST }, { NULL } };

static uint32_t n_seen;

static void seen(void *opaque, const struct dns_chain *chain, const struct in6_addr *addr,
		 uint32_t ttl)
{
	assert(chain->n >= 1 && chain->n <= DNS_CHAIN_MAX && ttl < 0x80000000);
	for (uint32_t i = 0; i < chain->n; i++)
		assert(strlen(chain->names[i].text) <= DNS_NAME_MAX);
	n_seen++;
}

static struct rules *make_rules(void)
{
	struct twx_opts *o;
	struct rules *r = NULL;

	if (twx_opts_parse(&o, "allow=*.example,allow=a.b,allow=*.c", NULL, NULL))
		abort();
	if (twx_opts_check(o, table, NULL) || rules_new(&r, o, NULL))
		abort();
	twx_opts_free(o);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dns_question q;
	struct rules *r;
	uint8_t *copy, *out;
	uint32_t len = (uint32_t)size, n;

	if (size > 65535)
		return 0;
	/* Blocks of the very size, so that a byte too far is seen. */
	copy = malloc(size + !size);
	out = malloc(size + !size);
	memcpy(copy, data, size);
	r = make_rules();
	n_seen = 0;
	n = dns_msg_addresses(copy, len, seen, NULL);
	assert(n == n_seen);
	rules_learn(r, copy, len, 0);
	if (dns_msg_question(copy, len, &q)) {
		struct rules_to to = { .port = 53, .proto = IPPROTO_UDP, .place = RULES_DNS };

		assert(q.end <= len && strlen(q.name.text) <= DNS_NAME_MAX);
		rules_allow_name(r, &to, q.name.text, 0);
	}
	n = dns_msg_refuse(copy, len, DNS_SERVFAIL, out);
	assert(n <= len);
	if (n)
		assert(dns_msg_answers(copy, len, out, n));
	if (len >= 24)
		dns_msg_answers(copy, len / 2, copy + len / 2, len - len / 2);
	rules_free(r);
	free(copy);
	free(out);
	return 0;
}
