/* SPDX-License-Identifier: BSD-3-Clause */
/* Option lists: QEMU's grammar and sentences, values by type, defaults, access. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <twinax/option.h>

#include "base/macros.h"

static const struct twx_opt_desc table[] = {
	{ "hostname", TWX_OPT_STR, .help = "the guest's name" },
	{ "net", TWX_OPT_STR, .def = "10.0.2.0/24", .words = "ADDR/LEN", .help = "guest network" },
	{ "restrict", TWX_OPT_BOOL, .def = "off", .help = "isolate the guest" },
	{ "ipv6-prefixlen", TWX_OPT_INT, .min = 0, .max = 126 },
	{ "queues", TWX_OPT_INT, .min = 0, .max = UINT32_MAX },
	{ "hubid", TWX_OPT_INT, .min = INT32_MIN, .max = INT32_MAX },
	{ "big", TWX_OPT_INT },
	{ "sndbuf", TWX_OPT_SIZE },
	{ "room", TWX_OPT_SIZE, .min = 64, .max = 4096 },
	{ "hostfwd", TWX_OPT_LIST, .words = "RULE", .help = "forward a port" },
	{ "mode", TWX_OPT_ENUM, .words = "native|skb" },
	{ "addr", TWX_OPT_STRUCT },
	{ 0 },
};

static struct twx_opts *parsed(const char *text)
{
	struct twx_error e = { 0 };
	struct twx_opts *o;

	if (twx_opts_parse(&o, text, "type", &e) || twx_opts_check(o, table, &e))
		fail_msg("%s: %s", text, e.what);
	return o;
}

/* Text, key, and the value that the key has then (null: unset). */
static void grammar(void **state)
{
	static const struct {
		const char *text, *key, *value;
	} cases[] = {
		{ "user", "type", "user" },
		{ "user,id=n0", "type", "user" },
		{ "user,id=n0", "id", "n0" },
		{ "type=user,id=n0", "type", "user" },
		{ "id=n0,type=user", "type", "user" },
		{ "id=n0", "type", NULL },
		{ "", "type", NULL },
		{ ",id=n0", "type", "" },
		{ "us,,er,id=n0", "type", "us,er" },
		{ "user,id=n0,", "id", "n0" },
		{ "user,hostname=", "hostname", "" },
		{ "user,hostname=,id=n0", "hostname", "" },
		{ "user,hostname=a,,b", "hostname", "a,b" },
		{ "user,hostname=a,,,,b", "hostname", "a,,b" },
		{ "user,,,id=n0,", "type", "user," },
		{ "user,hostname=,,", "hostname", "," },
		{ "user,hostname=,,,id=n0", "hostname", "," },
		{ "user,hostname=,,,id=n0", "id", "n0" },
		{ "user,hostname=a,,id=n0", "id", NULL },
		{ "user,hostname=a=b", "hostname", "a=b" },
		{ "user,hostname= a ", "hostname", " a " },
		{ "user,hostname=a,hostname=b", "hostname", "b" },
		{ "user,type=tap", "type", "tap" },
		{ "user,addr.type=inet,addr.host=h", "addr.host", "h" },
		{ "user,addr.a.b=1", "addr.a.b", "1" },
		{ "user,id=a-b.c_9", "id", "a-b.c_9" },
		{ "user", "net", "10.0.2.0/24" },
		{ "user,net=10.1.0.0/16", "net", "10.1.0.0/16" },
		{ "user", "hostname", NULL },
		{ "{\"type\":\"user\",\"id\":\"n0\"}", "type", "user" },
		{ "{\"hostname\":\"a,b\"}", "hostname", "a,b" },
		{ "{\"addr\":{\"type\":\"inet\",\"port\":5}}", "addr.type", "inet" },
		{ "{\"addr\":{\"type\":\"inet\",\"port\":5}}", "addr.port", "5" },
		{ "{\"addr\":{\"a\":{\"b\":true}}}", "addr.a.b", "on" },
		{ "{\"queues\":4}", "queues", "4" },
		{ "{}", "net", "10.0.2.0/24" },
	};

	for (size_t i = 0; i < array_size(cases); i++) {
		struct twx_opts *o = parsed(cases[i].text);
		const char *v = twx_opts_str(o, cases[i].key);

		if (!v != !cases[i].value || (v && strcmp(v, cases[i].value)))
			fail_msg("%s: %s is %s", cases[i].text, cases[i].key, v);
		twx_opts_free(o);
	}
}

/* The sentences were compared with QEMU's where QEMU has the option. */
static void refusals(void **state)
{
	static const char id[] = "Parameter 'id' expects an identifier";
	static const struct {
		const char *text, *what;
	} cases[] = {
		{ "user,id=", id },
		{ "user,id=1x", id },
		{ "user,id=_x", id },
		{ "user,id=a b", id },
		{ "user,id=a/b", id },
		{ "user,id=n0,,x=3", id },
		{ "{\"id\":5}", id },
		{ "user,foo=1", "Invalid parameter 'foo'" },
		{ "user,foo", "Invalid parameter 'foo'" },
		{ "user,=5", "Invalid parameter ''" },
		{ "user,restrict,,id=n0", "Invalid parameter ''" },
		{ "user,.x=5", "Invalid parameter '.x'" },
		{ "user,addr..x=5", "Invalid parameter 'addr..x'" },
		{ "user,addr.=5", "Invalid parameter 'addr.'" },
		{ "user,1x=5", "Invalid parameter '1x'" },
		{ "user,-x=5", "Invalid parameter '-x'" },
		{ "user,a b=5", "Invalid parameter 'a b'" },
		{ "user,net.x=5", "Invalid parameter 'net.x'" },
		{ "user,foo.x=5", "Invalid parameter 'foo.x'" },
		{ "user,hostname", "Expected '=' after parameter 'hostname'" },
		{ "user,id", "Expected '=' after parameter 'id'" },
		{ "user,type", "Expected '=' after parameter 'type'" },
		{ "user,addr", "Expected '=' after parameter 'addr'" },
		{ "user,addr.x", "Expected '=' after parameter 'addr.x'" },
		{ "user,nohostname", "Invalid parameter 'nohostname'" },
		{ "user,addr=5", "Invalid parameter type for 'addr', expected: object" },
		{ "user,addr=5,addr.x=6", "Invalid parameter type for 'addr', expected: object" },
		{ "user,addr.x=6,addr=5", "Parameters 'addr.*' used inconsistently" },
		{ "user,restrict=maybe", "Parameter 'restrict' expects 'on' or 'off'" },
		{ "user,restrict=ON", "Parameter 'restrict' expects 'on' or 'off'" },
		{ "user,restrict=", "Parameter 'restrict' expects 'on' or 'off'" },
		{ "user,restrict=1", "Parameter 'restrict' expects 'on' or 'off'" },
		{ "user,big=", "Parameter 'big' expects an int64 value" },
		{ "user,big=9223372036854775808", "Parameter 'big' expects an int64 value" },
		{ "user,big=0x10z", "Parameter 'big' expects an int64 value" },
		{ "user,big= 1", "Parameter 'big' expects an int64 value" },
		{ "user,big=--1", "Parameter 'big' expects an int64 value" },
		{ "user,big=1.5", "Parameter 'big' expects an int64 value" },
		{ "user,big=08", "Parameter 'big' expects an int64 value" },
		{ "user,queues=x", "Parameter 'queues' expects a uint64 value" },
		{ "user,queues=4294967296", "Parameter 'queues' expects uint32_t" },
		{ "user,hubid=3000000000", "Parameter 'hubid' expects int32_t" },
		{ "user,ipv6-prefixlen=127",
		  "Parameter 'ipv6-prefixlen' expects a value between 0 and 126" },
		{ "user,sndbuf=1Q", "Parameter 'sndbuf' expects a size value" },
		{ "user,sndbuf=1kk", "Parameter 'sndbuf' expects a size value" },
		{ "user,sndbuf=k", "Parameter 'sndbuf' expects a size value" },
		{ "user,sndbuf=", "Parameter 'sndbuf' expects a size value" },
		{ "user,sndbuf=-1", "Parameter 'sndbuf' expects a size value" },
		{ "user,sndbuf=1.5", "Parameter 'sndbuf' expects a size value" },
		{ "user,sndbuf=1.", "Parameter 'sndbuf' expects a size value" },
		{ "user,sndbuf=0x", "Parameter 'sndbuf' expects a size value" },
		{ "user,sndbuf=0x1k", "Parameter 'sndbuf' expects a size value" },
		{ "user,sndbuf=16777216T", "Parameter 'sndbuf' expects a size value" },
		{ "user,sndbuf=16E", "Parameter 'sndbuf' expects a size value" },
		{ "user,sndbuf=99999999999999999999", "Parameter 'sndbuf' expects a size value" },
		{ "user,room=63", "Parameter 'room' expects a value between 64 and 4096" },
		{ "user,room=5k", "Parameter 'room' expects a value between 64 and 4096" },
		{ "user,mode=nativ", "Parameter 'mode' does not accept value 'nativ'" },
		{ "user,mode=", "Parameter 'mode' does not accept value ''" },
		{ "user,mode=native|skb", "Parameter 'mode' does not accept value 'native|skb'" },
		{ "{\"foo\":1}", "Parameter 'foo' is unexpected" },
		{ "{\"addr.x\":1}", "Parameter 'addr.x' is unexpected" },
		{ "{\"\":1}", "Parameter '' is unexpected" },
		{ "{\"restrict\":\"on\"}",
		  "Invalid parameter type for 'restrict', expected: boolean" },
		{ "{\"big\":\"5\"}", "Invalid parameter type for 'big', expected: integer" },
		{ "{\"big\":1.5}", "Invalid parameter type for 'big', expected: integer" },
		{ "{\"big\":null}", "Invalid parameter type for 'big', expected: integer" },
		{ "{\"sndbuf\":\"1k\"}", "Invalid parameter type for 'sndbuf', expected: integer" },
		{ "{\"sndbuf\":-1}", "Parameter 'sndbuf' expects a size value" },
		{ "{\"hubid\":3000000000}", "Parameter 'hubid' expects int32_t" },
		{ "{\"hostname\":5}", "Invalid parameter type for 'hostname', expected: string" },
		{ "{\"hostname\":{\"a\":1}}",
		  "Invalid parameter type for 'hostname', expected: string" },
		{ "{\"hostname\":{}}", "Invalid parameter type for 'hostname', expected: string" },
		{ "{\"hostname\":[]}", "Invalid parameter type for 'hostname', expected: string" },
		{ "{\"hostname\":[\"a\"]}",
		  "Invalid parameter type for 'hostname', expected: string" },
		{ "{\"addr\":[]}", "Invalid parameter type for 'addr', expected: object" },
		{ "{\"addr\":\"x\"}", "Invalid parameter type for 'addr', expected: object" },
		{ "{\"hostfwd\":\"a\"}", "Invalid parameter type for 'hostfwd', expected: array" },
		{ "{\"hostfwd\":[5]}",
		  "Invalid parameter type for 'hostfwd[0]', expected: object" },
		{ "{\"hostfwd\":[\"a\",{\"x\":\"5\"}]}", "Parameter 'hostfwd[1].str' is missing" },
		{ "{\"mode\":\"x\"}", "Parameter 'mode' does not accept value 'x'" },
	};

	for (size_t i = 0; i < array_size(cases); i++) {
		struct twx_error e = { 0 };
		struct twx_opts *o;
		int err = twx_opts_parse(&o, cases[i].text, "type", &e);

		if (!err)
			err = twx_opts_check(o, table, &e);
		if (err != -EINVAL || e.code != EINVAL || strcmp(e.what, cases[i].what))
			fail_msg("%s: %d, %s", cases[i].text, err, e.what);
		twx_opts_free(o);
	}
}

static void broken_json(void **state)
{
	static const char *const cases[] = {
		"{",
		"{\"type\":\"user\"",
		"{\"type\":\"user\"}x",
		"{\"id\":\"a\",\"id\":\"b\"}",
		"{\"hostname\":\"a\\u0000b\"}",
		"{type:user}",
		"{\"big\":99999999999999999999}",
		"{\"hostfwd\":[{\"str\":5}]}",
		"{\"hostfwd\":[{\"str\":\"a\",\"x\":1}]}",
		"{\"addr\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}}}}}}",
	};

	for (size_t i = 0; i < array_size(cases); i++) {
		struct twx_error e = { 0 };
		struct twx_opts *o = (void *)1;
		int err = twx_opts_parse(&o, cases[i], "type", &e);

		if (!err)
			err = twx_opts_check(o, table, &e);
		if (err >= 0 || !*e.what)
			fail_msg("%s is accepted", cases[i]);
		twx_opts_free(o);
	}
}

static void booleans(void **state)
{
	static const struct {
		const char *text;
		bool value;
	} cases[] = {
		{ "user", false },
		{ "user,restrict=on", true },
		{ "user,restrict=yes", true },
		{ "user,restrict=true", true },
		{ "user,restrict=y", true },
		{ "user,restrict=on,restrict=off", false },
		{ "user,restrict=no", false },
		{ "user,restrict=false", false },
		{ "user,restrict=n", false },
		{ "user,restrict", true },
		{ "user,norestrict", false },
		{ "user,restrict=on,norestrict", false },
		{ "{\"restrict\":true}", true },
		{ "{\"restrict\":false}", false },
	};

	for (size_t i = 0; i < array_size(cases); i++) {
		struct twx_opts *o = parsed(cases[i].text);

		if (twx_opts_bool(o, "restrict") != cases[i].value)
			fail_msg("%s", cases[i].text);
		twx_opts_free(o);
	}
}

static void bare_booleans_warn(void **state)
{
	struct twx_opts *o = parsed("user,norestrict");

	assert_string_equal(twx_opts_warning(o),
			    "short-form boolean option 'norestrict' deprecated; use restrict=off");
	assert_string_equal(twx_opts_raw(o, "restrict"), "off");
	assert_int_equal(twx_opts_check(o, table, NULL), 0);
	twx_opts_free(o);
	o = parsed("user,restrict=off");
	assert_null(twx_opts_warning(o));
	twx_opts_free(o);
}

static void integers(void **state)
{
	static const struct {
		const char *text;
		int64_t value;
	} cases[] = {
		{ "user", 0 },
		{ "user,big=0", 0 },
		{ "user,big=-5", -5 },
		{ "user,big=+5", 5 },
		{ "user,big=0x1F", 31 },
		{ "user,big=-0x1f", -31 },
		{ "user,big=0755", 0755 },
		{ "user,big=9223372036854775807", INT64_MAX },
		{ "user,big=-9223372036854775808", INT64_MIN },
		{ "{\"big\":-7}", -7 },
	};

	for (size_t i = 0; i < array_size(cases); i++) {
		struct twx_opts *o = parsed(cases[i].text);

		if (twx_opts_int(o, "big") != cases[i].value)
			fail_msg("%s", cases[i].text);
		twx_opts_free(o);
	}
}

static void sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t value;
	} cases[] = {
		{ "user", 0 },
		{ "user,sndbuf=0", 0 },
		{ "user,sndbuf=100", 100 },
		{ "user,sndbuf=0100", 100 },
		{ "user,sndbuf=100b", 100 },
		{ "user,sndbuf=100B", 100 },
		{ "user,sndbuf=0x100", 256 },
		{ "user,sndbuf=2k", 2048 },
		{ "user,sndbuf=2K", 2048 },
		{ "user,sndbuf=3m", 3 << 20 },
		{ "user,sndbuf=3G", (uint64_t)3 << 30 },
		{ "user,sndbuf=1T", (uint64_t)1 << 40 },
		{ "user,sndbuf=1P", (uint64_t)1 << 50 },
		{ "user,sndbuf=15e", (uint64_t)15 << 60 },
		{ "user,sndbuf=1.5k", 1536 },
		{ "user,sndbuf=1.0", 1 },
		{ "user,sndbuf=0.000000000000000000000001G", 0 },
		{ "user,sndbuf=15.5E", ((uint64_t)31 << 59) },
		{ "user,sndbuf=18446744073709551615", UINT64_MAX },
		{ "user,sndbuf=0xffffffffffffffff", UINT64_MAX },
		{ "{\"sndbuf\":65536}", 65536 },
	};

	for (size_t i = 0; i < array_size(cases); i++) {
		struct twx_opts *o = parsed(cases[i].text);

		if (twx_opts_size(o, "sndbuf") != cases[i].value)
			fail_msg("%s: %llu", cases[i].text,
				 (unsigned long long)twx_opts_size(o, "sndbuf"));
		twx_opts_free(o);
	}
}

static void lists_keep_their_order(void **state)
{
	static const char *const texts[] = {
		"user,hostfwd=a,restrict=on,hostfwd=b,,c,hostfwd=",
		"{\"hostfwd\":[\"a\",{\"str\":\"b,c\"},\"\"]}",
	};

	for (size_t i = 0; i < array_size(texts); i++) {
		struct twx_opts *o = parsed(texts[i]);

		assert_int_equal(twx_opts_list_len(o, "hostfwd"), 3);
		assert_string_equal(twx_opts_list_at(o, "hostfwd", 0), "a");
		assert_string_equal(twx_opts_list_at(o, "hostfwd", 1), "b,c");
		assert_string_equal(twx_opts_list_at(o, "hostfwd", 2), "");
		assert_null(twx_opts_list_at(o, "hostfwd", 3));
		twx_opts_free(o);
	}
}

static void empty_json_containers(void **state)
{
	struct twx_opts *o = parsed("{\"hostfwd\":[],\"addr\":{}}");

	assert_int_equal(twx_opts_list_len(o, "hostfwd"), 0);
	assert_null(twx_opts_list_at(o, "hostfwd", 0));
	assert_true(twx_opts_given(o, "addr"));
	twx_opts_free(o);
}

static void help_is_noticed(void **state)
{
	static const struct {
		const char *text;
		bool help;
	} cases[] = {
		{ "help", true },	  { "?", true },     { "user,help", true },
		{ "user,?,id=n0", true }, { "user", false }, { "user,hostname=help", false },
		{ "helpful", false },	  { "", false },
	};

	for (size_t i = 0; i < array_size(cases); i++) {
		struct twx_opts *o = parsed(cases[i].text);

		if (twx_opts_help(o) != cases[i].help)
			fail_msg("%s", cases[i].text);
		twx_opts_free(o);
	}
}

static void without_implied_key(void **state)
{
	struct twx_error e = { 0 };
	struct twx_opts *o;

	assert_int_equal(twx_opts_parse(&o, "restrict,hostname=x", NULL, &e), 0);
	assert_int_equal(twx_opts_check(o, table, &e), 0);
	assert_true(twx_opts_bool(o, "restrict"));
	twx_opts_free(o);
	assert_int_equal(twx_opts_parse(&o, "type=user", NULL, &e), 0);
	assert_int_equal(twx_opts_check(o, table, &e), -EINVAL);
	assert_string_equal(e.what, "Invalid parameter 'type'");
	twx_opts_free(o);
}

static void required_keys(void **state)
{
	static const struct twx_opt_desc need[] = {
		{ "id", TWX_OPT_STR, .required = true },
		{ "addr", TWX_OPT_STRUCT, .required = true },
		{ 0 },
	};
	struct twx_error e = { 0 };
	struct twx_opts *o;

	assert_int_equal(twx_opts_parse(&o, "stream", "type", &e), 0);
	assert_int_equal(twx_opts_check(o, need, &e), -EINVAL);
	assert_string_equal(e.what, "Parameter 'id' is missing");
	assert_int_equal(twx_opts_put(o, "id", "n0"), 0);
	assert_int_equal(twx_opts_check(o, need, &e), -EINVAL);
	assert_string_equal(e.what, "Parameter 'addr' is missing");
	assert_int_equal(twx_opts_put(o, "addr.type", "unix"), 0);
	assert_int_equal(twx_opts_check(o, need, &e), 0);
	twx_opts_free(o);
}

static void given_differs_from_defaulted(void **state)
{
	struct twx_opts *o = parsed("user,hostname=x,addr.type=unix");

	assert_true(twx_opts_has(o, "net"));
	assert_false(twx_opts_given(o, "net"));
	assert_null(twx_opts_raw(o, "net"));
	assert_true(twx_opts_given(o, "hostname"));
	assert_true(twx_opts_given(o, "addr"));
	assert_true(twx_opts_has(o, "addr"));
	assert_false(twx_opts_has(o, "add"));
	assert_false(twx_opts_has(o, "mode"));
	assert_int_equal(twx_opts_put(o, "net", "1.0.0.0/8"), 0);
	assert_true(twx_opts_given(o, "net"));
	twx_opts_free(o);
}

static void put_and_remove(void **state)
{
	struct twx_opts *o = parsed("user,hostfwd=a,hostfwd=b,hostname=h");

	assert_int_equal(twx_opts_put(o, "hostname", twx_opts_str(o, "hostname")), 0);
	assert_string_equal(twx_opts_str(o, "hostname"), "h");
	assert_true(twx_opts_remove(o, "hostfwd"));
	assert_int_equal(twx_opts_list_len(o, "hostfwd"), 0);
	assert_false(twx_opts_remove(o, "hostfwd"));
	assert_string_equal(twx_opts_str(o, "type"), "user");
	twx_opts_free(o);
}

static void near_misses_get_a_hint(void **state)
{
	static const char *const misses[] = { "hostnam", "hostnamee", "hostnmae", "hostnane" };

	for (size_t i = 0; i < array_size(misses); i++) {
		struct twx_error e = { 0 };
		struct twx_opts *o;
		char text[64];

		snprintf(text, sizeof(text), "user,%s=x", misses[i]);
		assert_int_equal(twx_opts_parse(&o, text, "type", &e), 0);
		assert_int_equal(twx_opts_check(o, table, &e), -EINVAL);
		assert_string_equal(e.hint, "did you mean 'hostname'?");
		twx_opts_free(o);
	}
}

static void bounds(void **state)
{
	struct twx_error e = { 0 };
	struct twx_opts *o;
	char *big = malloc(70000);
	size_t n = 0;

	memset(big, 'a', 65537);
	memcpy(big, "user,hostname=", 14);
	big[65537] = '\0';
	assert_int_equal(twx_opts_parse(&o, big, "type", &e), -E2BIG);
	assert_null(o);
	big[65536] = '\0';
	assert_int_equal(twx_opts_parse(&o, big, "type", &e), 0);
	assert_int_equal(strlen(twx_opts_raw(o, "hostname")), 65536 - 14);
	twx_opts_free(o);

	for (int i = 0; i < 1024; i++)
		n += (size_t)sprintf(big + n, "hostfwd=%d,", i);
	assert_int_equal(twx_opts_parse(&o, big, NULL, &e), 0);
	assert_int_equal(twx_opts_list_len(o, "hostfwd"), 1024);
	assert_int_equal(twx_opts_put(o, "net", "x"), -E2BIG);
	assert_int_equal(twx_opts_check(o, table, &e), -E2BIG);
	twx_opts_free(o);
	sprintf(big + n, "hostfwd=x");
	assert_int_equal(twx_opts_parse(&o, big, NULL, &e), -E2BIG);

	memset(big, 'k', 300);
	memcpy(big + 255, "=1", 3);
	assert_int_equal(twx_opts_parse(&o, big, NULL, &e), 0);
	twx_opts_free(o);
	memcpy(big + 255, "k=1", 4);
	assert_int_equal(twx_opts_parse(&o, big, NULL, &e), -EINVAL);
	free(big);
}

static void described(void **state)
{
	char *text = twx_opts_describe(table);

	assert_non_null(strstr(text, "  net=ADDR/LEN                 guest network "
				     "(default: 10.0.2.0/24)\n"));
	assert_non_null(strstr(text, "hostfwd=RULE"));
	assert_non_null(strstr(text, "forward a port (may be repeated)\n"));
	assert_non_null(strstr(text, "mode=native|skb"));
	assert_non_null(strstr(text, "(0 to 126)"));
	assert_non_null(strstr(text, "addr.KEY=VALUE"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grammar),
		cmocka_unit_test(refusals),
		cmocka_unit_test(broken_json),
		cmocka_unit_test(booleans),
		cmocka_unit_test(bare_booleans_warn),
		cmocka_unit_test(integers),
		cmocka_unit_test(sizes),
		cmocka_unit_test(lists_keep_their_order),
		cmocka_unit_test(empty_json_containers),
		cmocka_unit_test(help_is_noticed),
		cmocka_unit_test(without_implied_key),
		cmocka_unit_test(required_keys),
		cmocka_unit_test(given_differs_from_defaulted),
		cmocka_unit_test(put_and_remove),
		cmocka_unit_test(near_misses_get_a_hint),
		cmocka_unit_test(bounds),
		cmocka_unit_test(described),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
