/* SPDX-License-Identifier: BSD-3-Clause */
/* What `twinax run` and its personalities read: ports to publish, requests to slirp4netns's API
 * socket. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/kv.h"
#include "cli/pasta.h"
#include "cli/run.h"
#include "cli/slirp4netns.h"

/* --- ports --- */

static void published(const char *spec, const char *want)
{
	struct twx_error e = { 0 };
	struct kv *kv = kv_new("type");
	char *text;

	assert_int_equal(run_publish(kv, spec, &e), 0);
	text = kv_print(kv);
	assert_string_equal(text, want);
	free(text);
	kv_free(kv);
}

static void test_ports(void **state)
{
	published("80", "hostfwd=tcp::80-:80");
	published("8080:80", "hostfwd=tcp::8080-:80");
	published("udp:53", "hostfwd=udp::53-:53");
	published("127.0.0.1:8080:80", "hostfwd=tcp:127.0.0.1:8080-:80");
	published("127.0.0.1:80", "hostfwd=tcp:127.0.0.1:80-:80");
	published("tcp:[::1]:8080:80", "hostfwd=tcp:[::1]:8080-:80");
	published("[2001:db8::1]:80", "hostfwd=tcp:[2001:db8::1]:80-:80");
	published("1-2:7-8", "hostfwd=tcp::1-:7,hostfwd=tcp::2-:8");
	published("65535", "hostfwd=tcp::65535-:65535");
}

static void test_bad_ports(void **state)
{
	static const char *const bad[] = { "",	    ":",      "a",     "0",
					   "65536", "1:0",    "1-2:3", "2-1",
					   "1-",    "-1",     "1:2:3", "x:1:2",
					   "[:1",   "[]:1",   "[1]:1", "1.2.3:4",
					   "::1",   "80/tcp", "+1",    "99999999999999999999",
					   "tcp:",  "1:-2" };
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct twx_error e = { 0 };
		struct kv *kv = kv_new("type");

		assert_int_equal(run_publish(kv, bad[i], &e), -EINVAL);
		assert_non_null(strstr(e.what, bad[i]));
		assert_int_equal(kv->n, 0);
		kv_free(kv);
	}
}

/* --- pasta's ports --- */

static void forwarded(bool udp, const char *spec, const char *want)
{
	struct twx_error e = { 0 };
	struct kv *kv = kv_new("type");
	char *text;

	assert_int_equal(pasta_ports(kv, udp, spec, &e), 0);
	text = kv_print(kv);
	assert_string_equal(text, want);
	free(text);
	kv_free(kv);
}

static void test_pasta_ports(void **state)
{
	forwarded(false, "none", "");
	forwarded(false, "22", "hostfwd=tcp::22-:22");
	forwarded(true, "22:23", "hostfwd=udp::22-:23");
	forwarded(false, "25,22", "hostfwd=tcp::22-:22,hostfwd=tcp::25-:25");
	forwarded(false, "22-23:32-33", "hostfwd=tcp::22-:32,hostfwd=tcp::23-:33");
	forwarded(false, "192.0.2.1/20-22,~21",
		  "hostfwd=tcp:192.0.2.1:20-:20,hostfwd=tcp:192.0.2.1:22-:22");
	forwarded(false, "~21,20-21", "hostfwd=tcp::20-:20");
	forwarded(false, "::1/80", "hostfwd=tcp:[::1]:80-:80");
	forwarded(false, "[::1]/80", "hostfwd=tcp:[::1]:80-:80");
}

static void test_bad_pasta_ports(void **state)
{
	static const char *const bad[] = {
		"",    ",",	  "x",	  "0",	   "65536",	     "1-2:3",
		"2-1", "1:",	  "1,",	  "~1",	   "~1:2",	     "auto",
		"all", "1.2.3/5", "/5",	  "1/2/3", "1.2.3.4%eth0/5", "[/5",
		"]/5", "1 2",	  "5,~5", "1-2-3"
	};
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct twx_error e = { 0 };
		struct kv *kv = kv_new("type");

		assert_int_equal(pasta_ports(kv, false, bad[i], &e), -EINVAL);
		assert_int_equal(kv->n, 0);
		kv_free(kv);
	}
}

/* --- the API socket --- */

static char rules[512];
static int refuse;

static int note(const char *what, const char *rule)
{
	size_t len = strlen(rules);

	snprintf(rules + len, sizeof(rules) - len, "%s %s;", what, rule);
	return refuse;
}

static int add(void *opaque, const char *rule)
{
	return note("add", rule);
}

static int del(void *opaque, const char *rule)
{
	return note("del", rule);
}

/* Answers of Debian's slirp4netns 1.2.0 to the same requests in the same order. */
static const struct {
	const char *request, *answer;
} talk[] = {
	{ "{\"execute\": \"list_hostfwd\"}", "{\"entries\":[]}" },
	{ "{\"execute\": \"add_hostfwd\", \"arguments\": {\"proto\": \"tcp\", \"host_addr\": "
	  "\"0.0.0.0\", "
	  "\"host_port\": 18080, \"guest_addr\": \"10.0.2.100\", \"guest_port\": 80}}",
	  "{\"return\":{\"id\":1}}" },
	{ "{\"execute\": \"add_hostfwd\", \"arguments\": {\"proto\": \"udp\", \"host_port\": "
	  "18081, "
	  "\"guest_port\": 81}}",
	  "{\"return\":{\"id\":2}}" },
	{ "{\"execute\": \"list_hostfwd\"}",
	  "{\"entries\":[{\"id\":1,\"proto\":\"tcp\",\"host_addr\":\"0.0.0.0\",\"host_port\":18080,"
	  "\"guest_addr\":\"10.0.2.100\",\"guest_port\":80},{\"id\":2,\"proto\":\"udp\",\"host_"
	  "addr\":"
	  "\"0.0.0.0\",\"host_port\":18081,\"guest_addr\":\"10.0.2.100\",\"guest_port\":81}]}" },
	{ "{\"execute\": \"add_hostfwd\", \"arguments\": {\"proto\": \"sctp\", \"host_port\": 1, "
	  "\"guest_port\": 81}}",
	  "{\"error\":{\"desc\":\"bad request: add_hostfwd: bad arguments.proto\"}}" },
	{ "{\"execute\": \"add_hostfwd\", \"arguments\": {\"proto\":\"tcp\",\"host_port\": 0, "
	  "\"guest_port\": 81}}",
	  "{\"error\":{\"desc\":\"bad request: add_hostfwd: bad arguments.host_port\"}}" },
	{ "{\"execute\": \"add_hostfwd\", \"arguments\": {\"proto\":\"tcp\",\"host_port\": \"1\", "
	  "\"guest_port\": 81}}",
	  "{\"error\":{\"desc\":\"bad request: add_hostfwd: bad arguments.host_port\"}}" },
	{ "{\"execute\": \"add_hostfwd\", \"arguments\": {\"proto\":\"tcp\",\"host_port\": 1}}",
	  "{\"error\":{\"desc\":\"bad request: add_hostfwd: bad arguments.guest_port\"}}" },
	{ "{\"execute\": \"add_hostfwd\", \"arguments\": {\"proto\":\"tcp\",\"host_addr\":\"::1\","
	  "\"host_port\": 1,\"guest_port\":70}}",
	  "{\"error\":{\"desc\":\"bad request: add_hostfwd: bad arguments.host_addr\"}}" },
	{ "{\"execute\": \"add_hostfwd\", \"arguments\": {\"proto\":\"tcp\",\"guest_addr\":\"x\","
	  "\"host_port\": 1,\"guest_port\":70}}",
	  "{\"error\":{\"desc\":\"bad request: add_hostfwd: bad arguments.guest_addr\"}}" },
	{ "{\"execute\": \"remove_hostfwd\", \"arguments\": {\"id\": 99}}",
	  "{\"error\":{\"desc\":\"bad request: remove_hostfwd: bad arguments.id\"}}" },
	{ "{\"execute\": \"remove_hostfwd\", \"arguments\": {}}",
	  "{\"error\":{\"desc\":\"bad request: remove_hostfwd: bad arguments.id\"}}" },
	{ "{\"execute\": \"remove_hostfwd\", \"arguments\": {\"id\": 1}}", "{\"return\":{}}" },
	{ "{\"execute\": \"remove_hostfwd\", \"arguments\": {\"id\": 1}}",
	  "{\"error\":{\"desc\":\"bad request: remove_hostfwd: bad arguments.id\"}}" },
	{ "{\"execute\": \"foo\"}", "{\"error\":{\"desc\":\"bad request: unknown execute\"}}" },
	{ "{\"x\":1}", "{\"error\":{\"desc\":\"bad request: no execute found\"}}" },
	{ "{\"execute\": 1}", "{\"error\":{\"desc\":\"bad request: no execute found\"}}" },
	{ "[]", "{\"error\":{\"desc\":\"bad request: json_object() failed\"}}" },
	{ "\"x\"", "{\"error\":{\"desc\":\"bad request: json_object() failed\"}}" },
	{ "", "{\"error\":{\"desc\":\"bad request: cannot parse JSON\"}}" },
	{ "x", "{\"error\":{\"desc\":\"bad request: cannot parse JSON\"}}" },
	{ "{\"execute\": \"list_hostfwd\"",
	  "{\"error\":{\"desc\":\"bad request: cannot parse JSON\"}}" },
	{ "{\"execute\": \"list_hostfwd\"} trailing",
	  "{\"entries\":[{\"id\":2,\"proto\":\"udp\",\"host_addr\":\"0.0.0.0\",\"host_port\":18081,"
	  "\"guest_addr\":\"10.0.2.100\",\"guest_port\":81}]}" },
	/* It crashes on these; and takes the last one. */
	{ "{\"execute\": \"add_hostfwd\"}",
	  "{\"error\":{\"desc\":\"bad request: add_hostfwd: bad arguments.proto\"}}" },
	{ "{\"execute\": \"add_hostfwd\", \"arguments\": []}",
	  "{\"error\":{\"desc\":\"bad request: add_hostfwd: bad arguments.proto\"}}" },
	{ "{\"execute\": \"add_hostfwd\", \"arguments\": {\"proto\":\"tcp\",\"host_port\": 1,"
	  "\"guest_port\":70000}}",
	  "{\"error\":{\"desc\":\"bad request: add_hostfwd: bad arguments.guest_port\"}}" },
};

static void answered(struct api *a, const char *request, const char *want)
{
	char *text = api_answer(a, request, strlen(request), true);

	assert_string_equal(text, want);
	free(text);
}

static void test_api(void **state)
{
	struct api a = { .guest = { .s_addr = htonl(0x0a000264) }, .add = add, .remove = del };
	size_t i;

	rules[0] = 0;
	refuse = 0;
	for (i = 0; i < sizeof(talk) / sizeof(talk[0]); i++)
		answered(&a, talk[i].request, talk[i].answer);
	assert_string_equal(rules, "add tcp:0.0.0.0:18080-10.0.2.100:80;"
				   "add udp:0.0.0.0:18081-10.0.2.100:81;del tcp:0.0.0.0:18080;");
	refuse = -EADDRINUSE;
	answered(&a, talk[1].request,
		 "{\"error\":{\"desc\":\"bad request: add_hostfwd: slirp_add_hostfwd failed\"}}");
	answered(&a, "{\"execute\":\"remove_hostfwd\",\"arguments\":{\"id\":2}}",
		 "{\"error\":{\"desc\":\"bad request: remove_hostfwd: slirp_remove_hostfwd "
		 "failed\"}}");
	api_free(&a);
}

/* A client may send its request in pieces. */
static void test_api_pieces(void **state)
{
	struct api a = { .add = add, .remove = del };
	const char *request = "{\"execute\": \"list_hostfwd\"}";
	char big[API_MESSAGE], *text;
	size_t i;

	for (i = 0; i < strlen(request); i++)
		assert_null(api_answer(&a, request, i, false));
	text = api_answer(&a, request, i, false);
	assert_string_equal(text, "{\"entries\":[]}");
	free(text);
	text = api_answer(&a, "{]", 2, false); /* nothing makes that good */
	assert_non_null(text);
	free(text);
	memset(big, ' ', sizeof(big));
	text = api_answer(&a, big, sizeof(big), false);
	assert_string_equal(text, "{\"error\":{\"desc\":\"bad request: too large message\"}}");
	free(text);
	api_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ports),	    cmocka_unit_test(test_bad_ports),
		cmocka_unit_test(test_pasta_ports), cmocka_unit_test(test_bad_pasta_ports),
		cmocka_unit_test(test_api),	    cmocka_unit_test(test_api_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
