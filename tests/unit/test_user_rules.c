/* SPDX-License-Identifier: BSD-3-Clause */
/* Egress rules and the DNS messages that they read, without a network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/user/dns_msg.h"
#include "backends/user/rules.h"
#include "base/macros.h"
#include "dns_kit.h"

#define S 1000000000ull

static const struct twx_opt_desc table[] = {
	{ "rule", TWX_OPT_LIST }, { "allow", TWX_OPT_LIST }, { "deny", TWX_OPT_LIST }, { NULL }
};

static struct twx_opts *opts;

static struct rules *parse(const char *text, struct twx_error *e)
{
	struct rules *r = NULL;

	assert_int_equal(twx_opts_parse(&opts, text, NULL, e), 0);
	assert_int_equal(twx_opts_check(opts, table, e), 0);
	rules_new(&r, opts, e);
	twx_opts_free(opts);
	return r;
}

static struct rules *rules(const char *text)
{
	struct twx_error e = { 0 };
	struct rules *r = parse(text, &e);

	if (!r)
		fail_msg("%s: %s", text, e.what);
	return r;
}

/* "tcp 1.2.3.4 80", "icmp ::1 0"; "host" and "dns" stand for the aliases. */
static struct rules_to to(const char *text)
{
	struct rules_to t = { .place = RULES_ELSEWHERE };
	char proto[8], addr[64], *word = addr, full[80];
	unsigned int port;

	assert_int_equal(sscanf(text, "%7s %63s %u", proto, addr, &port), 3);
	t.proto = !strcmp(proto, "tcp")	  ? IPPROTO_TCP
		  : !strcmp(proto, "udp") ? IPPROTO_UDP
					  : IPPROTO_ICMP;
	t.port = (uint16_t)port;
	if (!strcmp(addr, "host") || !strcmp(addr, "dns")) {
		t.place = *addr == 'h' ? RULES_HOST : RULES_DNS;
		snprintf(addr, sizeof(addr), "10.0.2.%d", *addr == 'h' ? 2 : 3);
	}
	snprintf(full, sizeof(full), "%s%s", strchr(addr, ':') ? "" : "::ffff:", word);
	assert_int_equal(inet_pton(AF_INET6, full, &t.addr), 1);
	return t;
}

static bool allowed(struct rules *r, const char *flow, uint64_t now)
{
	struct rules_to t = to(flow);

	return rules_allow(r, &t, now);
}

static bool may_ask(struct rules *r, const char *name)
{
	struct rules_to t = to("udp dns 53");

	return rules_allow_name(r, &t, name, 0);
}

static void first_match_wins(void **state)
{
	static const struct {
		const char *rules, *flow;
		bool allowed;
	} cases[] = {
		{ "deny=10.0.0.0/8", "tcp 10.1.2.3 80", false },
		{ "deny=10.0.0.0/8", "udp 11.1.2.3 80", true },
		{ "deny=10.0.0.0/8", "icmp 10.1.2.3 0", false },
		{ "allow=10.0.0.0/8", "tcp 10.1.2.3 80", true },
		{ "allow=10.0.0.0/8", "tcp 11.1.2.3 80", false },
		{ "allow=10.0.0.0/8,deny=10.1.0.0/16", "tcp 10.1.2.3 80", true },
		{ "deny=10.1.0.0/16,allow=10.0.0.0/8", "tcp 10.1.2.3 80", false },
		{ "deny=10.1.0.0/16,allow=any", "tcp 10.2.2.3 80", true },
		{ "rule=deny:10.1.0.0/16,allow=10.1.2.3,rule=allow:any", "tcp 10.1.2.3 80", false },
		{ "deny=1.2.3.4:25", "tcp 1.2.3.4 25", false },
		{ "deny=1.2.3.4:25", "udp 1.2.3.4 25", false },
		{ "deny=1.2.3.4:25", "tcp 1.2.3.4 26", true },
		{ "deny=1.2.3.4:25", "icmp 1.2.3.4 0", true },
		{ "deny=tcp:1.2.3.4:20-25", "tcp 1.2.3.4 25", false },
		{ "deny=tcp:1.2.3.4:20-25", "tcp 1.2.3.4 20", false },
		{ "deny=tcp:1.2.3.4:20-25", "tcp 1.2.3.4 19", true },
		{ "deny=tcp:1.2.3.4:20-25", "udp 1.2.3.4 25", true },
		{ "deny=udp:any", "udp 2001:db8::1 53", false },
		{ "deny=icmp:any", "icmp 2001:db8::1 0", false },
		{ "deny=icmp:any", "tcp 2001:db8::1 1", true },
		{ "deny=*:25", "tcp 2001:db8::1 25", false },
		{ "deny=2001:db8::/32", "tcp 2001:db8::1 25", false },
		{ "deny=2001:db8::/33", "tcp 2001:db8:8000::1 25", true },
		{ "deny=[2001:db8::]/32:25", "tcp 2001:db8::1 25", false },
		{ "deny=[2001:db8::/32]:25", "tcp 2001:db8::1 26", true },
		{ "deny=tcp:[2001:db8::1]:25", "tcp 2001:db8::1 25", false },
		{ "deny=::/0", "tcp 2001:db8::1 25", false },
		{ "deny=::/0", "tcp 1.2.3.4 25", true },
		{ "deny=0.0.0.0/0", "tcp 1.2.3.4 25", false },
		{ "deny=0.0.0.0/0", "tcp 2001:db8::1 25", true },
		{ "deny=host", "tcp host 22", false },
		{ "deny=host", "tcp 10.0.2.99 22", true },
		{ "deny=host:22", "tcp host 23", true },
		{ "deny=dns", "tcp dns 53", false },
		{ "deny=10.0.0.0/8", "tcp dns 53", false },
	};

	for (size_t i = 0; i < array_size(cases); i++) {
		struct rules *r = rules(cases[i].rules);

		if (allowed(r, cases[i].flow, 0) != cases[i].allowed)
			fail_msg("%s: %s", cases[i].rules, cases[i].flow);
		rules_free(r);
	}
}

static void names_are_the_addresses_that_answers_had(void **state)
{
	struct rules *r = rules("deny=*.bad.example,allow=*.example.com:443,allow=one.example");
	struct dns_text m = dt_answer(1, "WWW.example.com", 1);

	dt_cname(&m, "www.example.com", 300, "edge.cdn.example");
	dt_a(&m, "edge.cdn.example", 300, "192.0.2.1");
	dt_a(&m, "other.cdn.example", 300, "192.0.2.2"); /* not asked for */
	assert_false(allowed(r, "tcp 192.0.2.1 443", 0));
	rules_learn(r, m.data, m.len, 0);
	assert_true(allowed(r, "tcp 192.0.2.1 443", 0));
	assert_false(allowed(r, "tcp 192.0.2.1 80", 0));
	assert_false(allowed(r, "tcp 192.0.2.2 443", 0));
	/* As long as its TTL says. */
	assert_true(allowed(r, "tcp 192.0.2.1 443", 300 * S - 1));
	assert_false(allowed(r, "tcp 192.0.2.1 443", 300 * S));
	/* A minute at least. */
	m = dt_answer(1, "one.example", 28);
	dt_aaaa(&m, "one.example", 1, "2001:db8::1");
	rules_learn(r, m.data, m.len, 0);
	assert_true(allowed(r, "udp 2001:db8::1 1", 60 * S - 1));
	assert_false(allowed(r, "udp 2001:db8::1 1", 60 * S));
	/* What leads to a denied name is denied. */
	m = dt_answer(1, "one.example", 1);
	dt_cname(&m, "one.example", 300, "x.bad.example");
	dt_a(&m, "x.bad.example", 300, "192.0.2.3");
	rules_learn(r, m.data, m.len, 0);
	assert_false(allowed(r, "tcp 192.0.2.3 443", 0));
	rules_free(r);
}

/* Whoever answers for a name could lead the guest to the host's loopback. */
static void names_do_not_open_the_aliases(void **state)
{
	struct rules *r = rules("deny=no.example,allow=a.example");
	struct dns_text m = dt_answer(1, "a.example", 1);

	dt_a(&m, "a.example", 300, "10.0.2.2");
	dt_a(&m, "a.example", 300, "10.0.2.3");
	dt_a(&m, "a.example", 300, "10.0.2.4");
	rules_learn(r, m.data, m.len, 0);
	assert_false(allowed(r, "tcp host 22", 0));
	assert_false(allowed(r, "tcp dns 22", 0));
	assert_true(allowed(r, "tcp 10.0.2.4 22", 0));
	rules_free(r);
	r = rules("deny=no.example");
	m = dt_answer(1, "no.example", 1);
	dt_a(&m, "no.example", 300, "10.0.2.2");
	rules_learn(r, m.data, m.len, 0);
	assert_false(allowed(r, "tcp host 22", 0));
	rules_free(r);
}

static void order_of_records_does_not_matter(void **state)
{
	struct rules *r = rules("allow=a.example");
	struct dns_text m = dt_answer(1, "a.example", 1);

	dt_a(&m, "c.example", 300, "192.0.2.1");
	dt_cname(&m, "b.example", 300, "c.example");
	dt_cname(&m, "a.example", 300, "b.example");
	rules_learn(r, m.data, m.len, 0);
	assert_true(allowed(r, "tcp 192.0.2.1 443", 0));
	rules_free(r);
}

/* An address whose owner is the question's name at the end of @n pointers. */
static bool is_found(uint32_t n)
{
	struct rules *r = rules("allow=a.example");
	struct dns_text m = dt_answer(1, "a.example", 1);
	uint32_t at = m.len + 11; /* data of the record that follows */
	uint8_t chain[1024];
	bool found;

	for (uint32_t i = 0; i + 1 < n; i++) {
		uint32_t to = i ? at + 2 * i - 2 : 12;

		chain[2 * i] = (uint8_t)(0xc0 | to >> 8);
		chain[2 * i + 1] = (uint8_t)to;
	}
	dt_record(&m, "", 16, 300, chain, 2 * (n - 1));
	dt_put16(&m, 0xc000 | (at + 2 * (n - 2)));
	memcpy(m.data + m.len, "\0\1\0\1\0\0\1\0\0\4\300\0\2\1", 14);
	m.len += 14;
	m.data[7]++;
	rules_learn(r, m.data, m.len, 0);
	found = allowed(r, "tcp 192.0.2.1 80", 0);
	rules_free(r);
	return found;
}

/* An answer of 64 KiB has room for chains of 8000: for each of 512 records, several times. */
static void pointers_have_an_end(void **state)
{
	assert_true(is_found(2));
	assert_true(is_found(100));
	assert_false(is_found(300));
}

/* More addresses than are remembered: the first ones give way, nothing else happens. */
static void the_table_is_bounded(void **state)
{
	struct rules *r = rules("allow=a.example");
	char addr[32], flow[48];
	uint32_t n = 0;

	for (uint32_t i = 0; i < 5000; i++) {
		struct dns_text m = dt_answer(1, "a.example", 1);

		snprintf(addr, sizeof(addr), "192.1.%u.%u", i >> 8, i & 255);
		dt_a(&m, "a.example", 300, addr);
		rules_learn(r, m.data, m.len, 0);
	}
	for (uint32_t i = 0; i < 5000; i++) {
		snprintf(flow, sizeof(flow), "tcp 192.1.%u.%u 80", i >> 8, i & 255);
		n += allowed(r, flow, 0);
	}
	assert_int_equal(n, 2048);
	assert_true(allowed(r, flow, 0));
	rules_free(r);
}

static void queries_obey_the_rules(void **state)
{
	static const struct {
		const char *rules, *name;
		bool allowed;
	} cases[] = {
		{ "deny=bad.example", "bad.example", false },
		{ "deny=bad.example", "good.example", true },
		{ "deny=bad.example", "x.bad.example", true },
		{ "deny=*.bad.example", "x.y.bad.example", false },
		{ "deny=*.bad.example", "bad.example", true },
		{ "deny=*.bad.example", "notbad.example", true },
		/* What may be reached must be found; what may not by mail alone, too. */
		{ "allow=tcp:good.example:443", "good.example", true },
		{ "allow=tcp:good.example:443", "bad.example", false },
		{ "deny=tcp:bad.example:25", "bad.example", true },
		{ "allow=192.0.2.0/24", "any.example", false },
		{ "allow=192.0.2.0/24,allow=dns", "any.example", true },
		{ "deny=any:53", "any.example", false },
		{ "deny=10.0.2.3", "any.example", false },
		{ "allow=BAD.example.,deny=any", "bad.example", true },
		/* One that cannot be read may be any. */
		{ "deny=bad.example", NULL, false },
		{ "deny=tcp:bad.example:25", NULL, true },
		{ "allow=good.example", NULL, false },
		{ "allow=good.example,allow=dns", NULL, true },
		{ "deny=192.0.2.0/24", NULL, true },
	};

	for (size_t i = 0; i < array_size(cases); i++) {
		struct rules *r = rules(cases[i].rules);

		if (may_ask(r, cases[i].name) != cases[i].allowed)
			fail_msg("%s: %s", cases[i].rules, cases[i].name ? cases[i].name : "?");
		rules_free(r);
	}
}

static void rules_count(void **state)
{
	struct rules *r = rules("deny=10.0.0.0/8,allow=tcp:any:443");
	static const struct {
		bool allow;
		const char *text;
		uint64_t hits;
	} expected[] = { { false, "10.0.0.0/8", 2 },
			 { true, "tcp:any:443", 1 },
			 { false, "any", 3 } };
	const char *text;
	uint64_t hits;
	bool allow;

	allowed(r, "tcp 10.1.1.1 443", 0);
	allowed(r, "udp 10.1.1.1 1", 0);
	allowed(r, "tcp 11.1.1.1 443", 0);
	for (int i = 0; i < 3; i++)
		allowed(r, "tcp 11.1.1.1 80", 0);
	for (uint32_t i = 0; i < array_size(expected); i++) {
		assert_true(rules_at(r, i, &allow, &text, &hits));
		assert_int_equal(allow, expected[i].allow);
		assert_string_equal(text, expected[i].text);
		assert_int_equal(hits, expected[i].hits);
	}
	assert_false(rules_at(r, array_size(expected), &allow, &text, &hits));
	rules_free(r);
}

static void wrong_rules_are_refused(void **state)
{
	static const struct {
		const char *rules, *why;
	} cases[] = {
		{ "rule=10.0.0.0/8", "No 'allow:' or 'deny:'" },
		{ "allow=", "Bad address" },
		{ "allow=tcp:", "Bad address" },
		{ "allow=10.0.0.0/33", "Bad prefix length" },
		{ "allow=10.0.0.0/", "Bad prefix length" },
		{ "allow=10.0.0.0/-1", "Bad address or name" },
		{ "allow=10.0.0.256", "Bad address" },
		{ "allow=10.0.0", "Bad address" },
		{ "allow=2001:db8::/129", "Bad prefix length" },
		{ "allow=2001:db8:::1", "Bad address" },
		{ "allow=[2001:db8::1", "Missing ]" },
		{ "allow=1.2.3.4:", "Bad port" },
		{ "allow=1.2.3.4:0", "Bad port" },
		{ "allow=1.2.3.4:65536", "Bad port" },
		{ "allow=1.2.3.4:80-", "Bad port" },
		{ "allow=1.2.3.4:80-79", "Bad port" },
		{ "allow=1.2.3.4:http", "Bad port" },
		{ "allow=icmp:1.2.3.4:80", "ICMP has no ports" },
		{ "allow=a..b", "Bad address or name" },
		{ "allow=.example", "Bad address or name" },
		{ "allow=*.", "Bad address or name" },
		{ "allow=a.*.b", "Bad address or name" },
		{ "allow=exa mple", "Bad address or name" },
		{ "allow=host.1", "Bad address or name" },
	};

	for (size_t i = 0; i < array_size(cases); i++) {
		struct twx_error e = { 0 };
		char what[256];

		assert_null(parse(cases[i].rules, &e));
		snprintf(what, sizeof(what), "Invalid egress rule '%s' (%s)",
			 strchr(cases[i].rules, '=') + 1, cases[i].why);
		assert_string_equal(e.what, what);
	}
}

/* --- messages --- */

static void questions_are_read(void **state)
{
	struct dns_text m = dt_query(0x1234, "Www.Example.COM", 28);
	struct dns_question q;

	assert_true(dns_msg_question(m.data, m.len, &q));
	assert_string_equal(q.name.text, "www.example.com");
	assert_int_equal(q.type, 28);
	assert_int_equal(q.end, m.len);
	for (uint32_t len = 0; len < m.len; len++)
		assert_false(dns_msg_question(m.data, len, &q));
	m.data[5] = 2;
	assert_false(dns_msg_question(m.data, m.len, &q));
	/* A dot, or worse, within a label is none between two. */
	m = dt_query(1, "wwwXexample.com", 1);
	m.data[12 + 4] = '.';
	assert_true(dns_msg_question(m.data, m.len, &q));
	assert_string_equal(q.name.text, "www?example.com");
	/* A name that leads to itself. */
	memcpy(m.data + 12, "\xc0\x0c\0\1\0\1", 6);
	assert_false(dns_msg_question(m.data, m.len, &q));
}

static void answers_belong_to_their_questions(void **state)
{
	struct dns_text q = dt_query(7, "a.example", 1), a = dt_answer(7, "A.example", 1);

	assert_true(dns_msg_answers(q.data, q.len, a.data, a.len));
	a = dt_answer(8, "a.example", 1);
	assert_false(dns_msg_answers(q.data, q.len, a.data, a.len));
	a = dt_answer(7, "b.example", 1);
	assert_false(dns_msg_answers(q.data, q.len, a.data, a.len));
	a = dt_answer(7, "a.example", 28);
	assert_false(dns_msg_answers(q.data, q.len, a.data, a.len));
	assert_false(dns_msg_answers(q.data, q.len, q.data, q.len));
	/* Without its question: an error. */
	assert_true(dns_msg_answers(q.data, q.len, (uint8_t *)"\0\7\x80\1\0\0\0\0\0\0\0", 12));
}

static void refusals_repeat_the_question(void **state)
{
	struct dns_text q = dt_query(7, "a.example", 1);
	uint8_t out[4096];

	assert_int_equal(dns_msg_refuse(q.data, q.len, DNS_REFUSED, out), q.len);
	assert_true(dns_msg_answers(q.data, q.len, out, q.len));
	assert_int_equal(dns_msg_rcode(out), DNS_REFUSED);
	/* Something that is no question. */
	assert_int_equal(dns_msg_refuse(q.data, 15, DNS_SERVFAIL, out), 12);
	assert_int_equal(out[5], 0);
	assert_int_equal(dns_msg_refuse(q.data, 11, DNS_SERVFAIL, out), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_match_wins),
		cmocka_unit_test(names_are_the_addresses_that_answers_had),
		cmocka_unit_test(names_do_not_open_the_aliases),
		cmocka_unit_test(order_of_records_does_not_matter),
		cmocka_unit_test(pointers_have_an_end),
		cmocka_unit_test(the_table_is_bounded),
		cmocka_unit_test(queries_obey_the_rules),
		cmocka_unit_test(rules_count),
		cmocka_unit_test(wrong_rules_are_refused),
		cmocka_unit_test(questions_are_read),
		cmocka_unit_test(answers_belong_to_their_questions),
		cmocka_unit_test(refusals_repeat_the_question),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
