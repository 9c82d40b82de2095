/* SPDX-License-Identifier: BSD-3-Clause */
/* The texts of egress rules and of hostfwd=: a list of options, taken as both. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "backends/user/fwd_rule.h"
#include "backends/user/rules.h"
#include "base/opts.h"
#include "fuzz.h"

static const struct twx_opt_desc table[] = {
	{ "rule", TWX_OPT_LIST }, { "allow", TWX_OPT_LIST }, { "deny", TWX_OPT_LIST }, { NULL }
};

/* Some flow to each port that begins or ends a range, and to the aliases. */
static void decide(struct rules *r)
{
	static const uint16_t ports[] = { 0, 1, 53, 80, 443, 65535 };
	struct rules_to to = { .proto = IPPROTO_TCP };
	uint64_t hits, sum = 0, n = 0;
	const char *text;
	bool allow;

	to.addr.s6_addr32[2] = htonl(0xffff);
	to.addr.s6_addr32[3] = htonl(0x0a000203);
	for (size_t i = 0; i < 6; i++) {
		to.port = ports[i];
		to.place = (enum rules_place)(i % 3);
		rules_allow(r, &to, 0);
		rules_allow_name(r, &to, "www.example.com", 0);
		n += 2;
	}
	for (uint32_t i = 0; rules_at(r, i, &allow, &text, &hits); i++)
		sum += hits;
	assert(sum == n); /* each was decided by one rule */
}

static void one(const char *text)
{
	struct fwd_rule f;
	struct twx_opts *o;
	struct rules *r;

	if (!fwd_rule_parse(&f, text)) {
		assert(f.guest_port && f.host_len);
		assert(fwd_rule_same_host(&f, &f));
	}
	fwd_rule_parse_host(&f, text);
	if (twx_opts_parse(&o, text, NULL, NULL))
		return;
	if (!twx_opts_check(o, table, NULL) && !rules_new(&r, o, NULL) && r) {
		decide(r);
		rules_free(r);
	}
	twx_opts_free(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	memcpy(text, data, size);
	text[size] = 0;
	one(text);
	free(text);
	return 0;
}
