/* SPDX-License-Identifier: BSD-3-Clause */
/* Backends, NICs and hosts made from text: names, pairing, errors, unwinding; info, links,
 * warnings, log. */
#include "toy.h"

#include <stdio.h>
#include <time.h>

/* What the types of this test did last, and what they shall do next. */
static struct {
	char calls[512];
	int fail_open;
	char text[64];
} script;

static void note(const char *what, const char *id)
{
	size_t len = strlen(script.calls);

	snprintf(script.calls + len, sizeof(script.calls) - len, "%s(%s) ", what, id);
}

static int take(struct twx_port *port, const struct twx_frame *frames, int n)
{
	return n;
}

static const struct twx_port_ops quiet_ops = { .receive = take };

static void fb_info(struct twx_port *port, char *buf, size_t size)
{
	snprintf(buf, size, "fake=%u", port->queue_index);
}

static const struct twx_port_ops fb_ops = { .receive = take, .info = fb_info };

static int fb_open(struct twx_backend *b, const struct twx_opts *opts, struct twx_error *e)
{
	int i, n = (int)twx_opts_int(opts, "queues");
	const char **text = b->priv;

	note("open", b->id);
	for (i = 0; i < n; i++)
		if (!twx_backend_add_port(b, e))
			return -e->code;
	*text = twx_opts_str(opts, "text");
	return script.fail_open ? twx_error_set(e, ENOSPC, "netdev %s: told to fail", b->id) : 0;
}

static void fb_close(struct twx_backend *b)
{
	const char **text = b->priv;

	note("close", b->id);
	snprintf(script.text, sizeof(script.text), "%s", *text ? *text : "");
	assert_null(b->ports[0]->peer);
}

static const struct twx_opt_desc fb_options[] = {
	{ "queues", TWX_OPT_INT, "1", "queues", NULL, 1, TWX_MAX_QUEUES + 1 },
	{ "text", TWX_OPT_STR, NULL, "kept by pointer", NULL },
	{ NULL },
};
static const struct twx_backend_type fb_type = {
	.name = "fb",
	.help = "fake",
	.options = fb_options,
	.port_ops = &fb_ops,
	.priv_size = sizeof(char *),
	.open = fb_open,
	.close = fb_close,
};

static int fn_open(struct twx_nic *nic, const struct twx_opts *opts, struct twx_error *e)
{
	int i, n = (int)twx_opts_int(opts, "queues");

	note("open", nic->id);
	for (i = 0; i < n; i++)
		if (!twx_nic_add_port(nic, e))
			return -e->code;
	return script.fail_open ? twx_error_set(e, ENOSPC, "NIC %s: told to fail", nic->id) : 0;
}

static void fn_close(struct twx_nic *nic)
{
	note("close", nic->id);
}

static const struct twx_opt_desc fn_options[] = {
	{ "queues", TWX_OPT_INT, "1", "queues", NULL, 1, 64 },
	{ NULL },
};
static const struct twx_nic_model fn_model = {
	.name = "fn",
	.help = "fake",
	.bus = "fakebus",
	.options = fn_options,
	.port_ops = &quiet_ops,
	.priv_size = 1,
	.open = fn_open,
	.close = fn_close,
};

static int setup(void **state)
{
	struct world *w;

	world_setup(state);
	w = *state;
	memset(&script, 0, sizeof(script));
	assert_int_equal(twx_net_add_backend_type(w->net, &fb_type), 0);
	assert_int_equal(twx_net_add_nic_model(w->net, &fn_model), 0);
	return 0;
}

static void expect_error(struct twx_net *net, bool nic, const char *text, const char *what,
			 const char *hint)
{
	struct twx_error e = { 0 };
	int ret = nic ? twx_nic_new(NULL, net, text, &e) : twx_backend_new(NULL, net, text, &e);

	assert_int_equal(ret, -e.code);
	assert_true(ret < 0);
	assert_string_equal(e.what, what);
	if (!strstr(e.hint, hint))
		fail_msg("%s: hint '%s' lacks '%s'", text, e.hint, hint);
	/* a caller without an error object is served as well */
	assert_int_equal(nic ? twx_nic_new(NULL, net, text, NULL)
			     : twx_backend_new(NULL, net, text, NULL),
			 ret);
}

static void test_backend_errors(void **state)
{
	struct twx_net *net = ((struct world *)*state)->net;
	char text[128] = "fb,id=a";

	assert_int_equal(twx_backend_new(NULL, net, "fb,id=a", NULL), 0);
	expect_error(net, false, "fb,id=a", "Duplicate ID 'a' for netdev", "");
	expect_error(net, false, "foo,id=b", "Parameter 'type' does not accept value 'foo'",
		     "hubport");
	expect_error(net, false, "foo,id=b", "Parameter 'type' does not accept value 'foo'", "fb");
	expect_error(net, false, "id=b", "Parameter 'type' is missing", "known types");
	expect_error(net, false, "fb", "Parameter 'id' is missing", "-netdev fb,id=");
	expect_error(net, false, "fb,id=b,nonsense=1", "Invalid parameter 'nonsense'",
		     "-netdev fb,help");
	expect_error(net, false, "fb,id=b,queue=1", "Invalid parameter 'queue'",
		     "did you mean 'queues'?");
	memset(text + 6, 'x', 70);
	text[76] = '\0';
	assert_int_equal(twx_backend_new(NULL, net, text, NULL), -EINVAL);
	assert_null(twx_backend_find(net, "b"));
	assert_non_null(twx_backend_find(net, "a"));
}

static void test_nic_errors(void **state)
{
	struct twx_net *net = ((struct world *)*state)->net;

	assert_int_equal(twx_backend_new(NULL, net, "fb,id=a", NULL), 0);
	assert_int_equal(twx_nic_new(NULL, net, "fn,id=n,netdev=a", NULL), 0);
	expect_error(net, true, "nosuch", "'nosuch' is not a valid device model name",
		     "known models");
	expect_error(net, true, "netdev=a", "Parameter 'driver' is missing", "");
	expect_error(net, true, "fn,id=n", "Duplicate ID 'n' for device", "");
	expect_error(net, true, "fn,netdev=zz", "Property 'fn.netdev' can't find value 'zz'",
		     "id=zz");
	expect_error(net, true, "fn,netdev=n", "Property 'fn.netdev' can't find value 'n'", "");
	expect_error(net, true, "fn,netdev=a",
		     "Property 'fn.netdev' can't take value 'a', it's in use", "n has it");
	expect_error(net, true, "fn,mac=01:00:00:00:00:01",
		     "NIC cannot have multicast MAC address (odd 1st byte): mac=01:00:00:00:00:01",
		     "");
	expect_error(net, true, "fn,mac=52:54:00:12:34",
		     "Property 'fn.mac' doesn't take value '52:54:00:12:34'", "52:54:00:12:34:56");
	expect_error(net, true, "fn,mac=52:54:00:12:34:5g",
		     "Property 'fn.mac' doesn't take value '52:54:00:12:34:5g'", "");
	expect_error(net, true, "fn,mac=52:54-00:12:34:56",
		     "Property 'fn.mac' doesn't take value '52:54-00:12:34:56'", "");
	expect_error(net, true, "fn,export=nohost:/x",
		     "Property 'fn.export' doesn't take value 'nohost:/x'", "known hosts");
	expect_error(net, true, "fn,zz=1", "Invalid parameter 'zz'", "-device fn,help");
	expect_error(net, true, "fn,netdv=a", "Invalid parameter 'netdv'", "did you mean 'netdev'?");
}

static void test_failed_open_leaves_nothing(void **state)
{
	struct twx_net *net = ((struct world *)*state)->net;
	struct twx_error e;

	script.fail_open = 1;
	assert_int_equal(twx_backend_new(NULL, net, "fb,id=a,queues=3", &e), -ENOSPC);
	assert_string_equal(e.what, "netdev a: told to fail");
	assert_int_equal(twx_nic_new(NULL, net, "fn,id=n,queues=3", &e), -ENOSPC);
	assert_string_equal(script.calls, "open(a) open(n) "); /* close() is for what was open */
	assert_null(twx_net_ports(net));
	script.fail_open = 0;
	assert_int_equal(twx_backend_new(NULL, net, "fb,id=a", NULL), 0);
	assert_int_equal(twx_backend_new(NULL, net, "fb,id=b,queues=1025", &e), -E2BIG);
	assert_null(twx_backend_find(net, "b"));
}

static void test_option_strings_live_as_long_as_the_backend(void **state)
{
	struct twx_net *net = ((struct world *)*state)->net;
	struct twx_backend *b;
	char text[] = "fb,id=a,text=hello";

	assert_int_equal(twx_backend_new(&b, net, text, NULL), 0);
	memset(text, 'x', sizeof(text) - 1);
	twx_backend_free(b);
	assert_string_equal(script.text, "hello");
}

static void test_automatic_names_and_macs(void **state)
{
	struct twx_net *net = ((struct world *)*state)->net;
	struct twx_nic *a, *b, *c, *d;
	char text[64];
	int i;

	assert_int_equal(twx_nic_new(&a, net, "fn", NULL), 0);
	assert_int_equal(twx_nic_new(&b, net, "fn,mac=52-54-00-12-34-57", NULL), 0);
	assert_int_equal(twx_nic_new(&c, net, "fn,id=mine", NULL), 0);
	assert_string_equal(a->id, "fn.0");
	assert_string_equal(b->id, "fn.1");
	assert_int_equal(a->mac[5], 0x56);
	assert_memory_equal(a->mac, "\x52\x54\0\x12\x34", 5);
	assert_false(a->mac_given);
	assert_true(b->mac_given);
	assert_int_equal(c->mac[5], 0x58); /* 57 is taken by hand */
	twx_nic_free(a);
	assert_int_equal(twx_nic_new(&a, net, "fn,id=other", NULL), 0);
	assert_int_equal(a->mac[5], 0x56);
	/* beyond what QEMU has room for, addresses stay distinct */
	for (i = 0; i < 500; i++) {
		snprintf(text, sizeof(text), "fn,id=m%d", i);
		assert_int_equal(twx_nic_new(&d, net, text, NULL), 0);
	}
	assert_memory_equal(d->mac, "\x52\x54\0\x12\x36", 5);
	assert_int_equal(d->mac[5], (500 - 166) - 256 - 1);
}

static void test_pairing_of_queues(void **state)
{
	struct twx_net *net = ((struct world *)*state)->net;
	struct twx_backend *b;
	struct twx_nic *n;
	int i;

	assert_int_equal(twx_backend_new(&b, net, "fb,id=a,queues=4", NULL), 0);
	assert_int_equal(twx_nic_new(&n, net, "fn,id=n,queues=3,netdev=a", NULL), 0);
	assert_ptr_equal(n->backend, b);
	for (i = 0; i < 3; i++) {
		assert_ptr_equal(n->ports[i]->peer, b->ports[i]);
		assert_int_equal(n->ports[i]->queue_index, i);
	}
	assert_null(b->ports[3]->peer);
}

/* CVE-2023-3301: the backend goes first. */
static void test_backend_freed_under_its_nic(void **state)
{
	struct twx_net *net = ((struct world *)*state)->net;
	struct twx_backend *b;
	struct twx_nic *n;
	struct twx_frame f = toy_frame(60, 'x');

	assert_int_equal(twx_backend_new(&b, net, "fb,id=a", NULL), 0);
	assert_int_equal(twx_nic_new(&n, net, "fn,id=n,netdev=a", NULL), 0);
	twx_backend_free(b);
	assert_null(n->backend);
	assert_true(n->ports[0]->link_down);
	assert_int_equal(twx_port_send(n->ports[0], &f, 1), 1);
	assert_int_equal(twx_net_set_link(net, "n", true, NULL), 0);
	assert_int_equal(twx_backend_new(&b, net, "fb,id=a", NULL), 0);
	assert_null(b->ports[0]->peer);
}

static void test_free_closes_nics_before_backends(void **state)
{
	struct world *w = *state;
	struct twx_net_config config = { .size = sizeof(config), .loop = w->loop };
	struct twx_net *net;

	assert_int_equal(twx_net_new(&net, &config, NULL), 0);
	twx_net_add_backend_type(net, &fb_type);
	twx_net_add_nic_model(net, &fn_model);
	twx_backend_new(NULL, net, "fb,id=a", NULL);
	twx_backend_new(NULL, net, "fb,id=b", NULL);
	twx_nic_new(NULL, net, "fn,id=n,netdev=a", NULL);
	twx_net_free(net);
	assert_string_equal(script.calls, "open(a) open(b) open(n) close(n) close(b) close(a) ");
}

static void test_json(void **state)
{
	struct twx_net *net = ((struct world *)*state)->net;
	struct twx_nic *n;

	assert_int_equal(
		twx_backend_new(NULL, net, "{\"type\":\"fb\",\"id\":\"a\",\"queues\":2}", NULL), 0);
	assert_int_equal(
		twx_nic_new(&n, net, "{\"driver\":\"fn\",\"id\":\"n\",\"netdev\":\"a\"}", NULL), 0);
	assert_int_equal(n->backend->n_ports, 2);
}

static void test_info(void **state)
{
	static const char *const lines =
		"hub 3\n"
		" \\ h1: d: index=0,type=fb,fake=0\n"
		" \\ h0\n"
		"hub 0\n"
		" \\ h9: fn.0: index=0,type=nic,model=fn,macaddr=52:54:00:12:34:56\n"
		"lone: index=0,type=fb,fake=0\n"
		"filters:\n"
		"  - f0: "
		"type=filter-dump,file=/dev/"
		"null,maxlen=99,position=tail,status=on,insert=behind,netdev=lone,queue=all\n"
		"n: index=0,type=nic,model=fn,macaddr=52:54:00:12:34:57\n"
		" \\ a: index=0,type=fb,fake=0\n"
		"n: index=1,type=nic,\n"
		" \\ a: index=1,type=fb,fake=1\n";
	struct twx_net *net = ((struct world *)*state)->net;
	char *text;

	assert_int_equal(twx_backend_new(NULL, net, "hubport,id=h9,hubid=0", NULL), 0);
	assert_int_equal(twx_backend_new(NULL, net, "hubport,id=h0,hubid=3", NULL), 0);
	assert_int_equal(twx_backend_new(NULL, net, "fb,id=d", NULL), 0);
	assert_int_equal(twx_backend_new(NULL, net, "hubport,id=h1,hubid=3,netdev=d", NULL), 0);
	assert_int_equal(twx_nic_new(NULL, net, "fn,netdev=h9", NULL), 0);
	assert_int_equal(twx_backend_new(NULL, net, "fb,id=lone", NULL), 0);
	assert_int_equal(twx_backend_new(NULL, net, "fb,id=a,queues=2", NULL), 0);
	assert_int_equal(twx_nic_new(NULL, net, "fn,id=n,queues=2,netdev=a", NULL), 0);
	assert_int_equal(twx_filter_new(NULL, net,
					"filter-dump,id=f0,netdev=lone,file=/dev/null,maxlen=99",
					NULL),
			 0);
	text = twx_net_info(net);
	assert_string_equal(text, lines);
	free(text);
}

static void test_set_link(void **state)
{
	struct twx_net *net = ((struct world *)*state)->net;
	struct twx_backend *b, *h;
	struct twx_nic *n, *on_hub;
	struct twx_error e;

	assert_int_equal(twx_backend_new(&b, net, "fb,id=a,queues=2", NULL), 0);
	assert_int_equal(twx_nic_new(&n, net, "fn,id=n,queues=2,netdev=a", NULL), 0);
	assert_int_equal(twx_net_set_link(net, "zz", false, &e), -ENODEV);
	assert_string_equal(e.what, "Device 'zz' not found");
	/* a NIC's link leaves its backend's alone */
	assert_int_equal(twx_net_set_link(net, "n", false, &e), 0);
	assert_true(n->ports[0]->link_down && n->ports[1]->link_down);
	assert_false(b->ports[0]->link_down || b->ports[1]->link_down);
	assert_int_equal(twx_net_set_link(net, "n", true, &e), 0);
	/* a backend's takes its NIC's along */
	assert_int_equal(twx_net_set_link(net, "a", false, &e), 0);
	assert_true(n->ports[0]->link_down && b->ports[1]->link_down);
	assert_int_equal(twx_net_set_link(net, "a", true, &e), 0);
	assert_false(n->ports[1]->link_down || b->ports[1]->link_down);
	/* by automatic name; a hub port keeps its own */
	assert_int_equal(twx_backend_new(&h, net, "hubport,id=h,hubid=0", NULL), 0);
	assert_int_equal(twx_nic_new(&on_hub, net, "fn,netdev=h", NULL), 0);
	assert_int_equal(twx_net_set_link(net, on_hub->id, false, &e), 0);
	assert_true(on_hub->ports[0]->link_down);
	assert_false(h->ports[0]->link_down);
}

static void test_start_up_warnings(void **state)
{
	struct world *w = *state;

	twx_backend_new(NULL, w->net, "fb,id=a", NULL);
	twx_nic_new(NULL, w->net, "fn,id=n", NULL);
	twx_backend_new(NULL, w->net, "fb,id=b", NULL);
	twx_backend_new(NULL, w->net, "hubport,id=h0,hubid=0,netdev=b", NULL);
	twx_backend_new(NULL, w->net, "hubport,id=h1,hubid=1", NULL);
	twx_nic_new(NULL, w->net, "fn,id=m,netdev=h1", NULL);
	twx_backend_new(NULL, w->net, "hubport,id=h2,hubid=1", NULL);
	w->log[0] = '\0';
	twx_net_check(w->net);
	assert_string_equal(w->log, "hub port h2 has no peer\n"
				    "hub 1 is not connected to host network\n"
				    "hub 0 with no nics\n"
				    "netdev a has no peer\n"
				    "nic n has no peer\n");
}

static void test_log_is_limited_per_site(void **state)
{
	struct world *w = *state;
	int i;

	for (i = 0; i < 100; i++) {
		twx_log(w->net, TWX_LOG_WARNING, "guest did %d", i);
		twx_log(w->net, TWX_LOG_DEBUG, "not wanted");
		if (i < 3)
			twx_log(w->net, TWX_LOG_ERROR, "something else");
	}
	assert_int_equal(w->n_lines, 5 + 3);
	assert_non_null(strstr(w->log, "guest did 4\n"));
	assert_null(strstr(w->log, "guest did 5\n"));
	for (i = 0; i < 100 && w->n_lines == 8; i++)
		twx_loop_poll(w->loop, 2000);
	assert_int_equal(w->n_lines, 9);
	assert_non_null(strstr(w->log, "95 more suppressed like: guest did 4"));
	twx_log(w->net, TWX_LOG_WARNING, "guest did %d", 1000);
}

static void test_config_is_checked(void **state)
{
	struct world *w = *state;
	struct twx_net_config config = { .size = sizeof(config) };
	struct twx_net *net;

	assert_int_equal(twx_net_new(&net, &config, NULL), -EINVAL);
	config.loop = w->loop;
	config.size = 0;
	assert_int_equal(twx_net_new(&net, &config, NULL), -EINVAL);
	/* an older caller, whose struct ended behind the loop */
	config.size = offsetof(struct twx_net_config, log);
	config.log = (twx_log_fn *)1;
	assert_int_equal(twx_net_new(&net, &config, NULL), 0);
	twx_log(net, TWX_LOG_ERROR, "into the void");
	assert_ptr_equal(twx_net_loop(net), w->loop);
	twx_net_free(net);
}

static void test_types_are_unique(void **state)
{
	struct twx_net *net = ((struct world *)*state)->net;

	assert_int_equal(twx_net_add_backend_type(net, &fb_type), -EEXIST);
	assert_int_equal(twx_net_add_nic_model(net, &fn_model), -EEXIST);
}

static void test_2000_backends_and_nics(void **state)
{
	struct twx_net *net = ((struct world *)*state)->net;
	char text[64];
	int i;

	for (i = 0; i < 2000; i++) {
		snprintf(text, sizeof(text), "fb,id=a%d", i);
		assert_int_equal(twx_backend_new(NULL, net, text, NULL), 0);
		snprintf(text, sizeof(text), "fn,id=n%d,netdev=a%d", i, i);
		assert_int_equal(twx_nic_new(NULL, net, text, NULL), 0);
	}
	assert_non_null(twx_nic_find(net, "n1999"));
	assert_null(twx_nic_find(net, "a1999"));
	assert_non_null(twx_backend_find(net, "a0"));
}

#define net_test(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		net_test(test_backend_errors),
		net_test(test_nic_errors),
		net_test(test_failed_open_leaves_nothing),
		net_test(test_option_strings_live_as_long_as_the_backend),
		net_test(test_automatic_names_and_macs),
		net_test(test_pairing_of_queues),
		net_test(test_backend_freed_under_its_nic),
		net_test(test_free_closes_nics_before_backends),
		net_test(test_json),
		net_test(test_info),
		net_test(test_set_link),
		net_test(test_start_up_warnings),
		net_test(test_log_is_limited_per_site),
		net_test(test_config_is_checked),
		net_test(test_types_are_unique),
		net_test(test_2000_backends_and_nics),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
