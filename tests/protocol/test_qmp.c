/* SPDX-License-Identifier: BSD-3-Clause */
/* The control socket as its clients see it: transcripts over a real socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <twinax/twinax.h>

#include "control/qmp.h"

#define N_CLIENTS 40

struct ctx {
	struct twx_loop *loop;
	struct twx_net *net;
	struct qmp_server *qmp;
	struct twx_port b;
	struct twx_port *a; /* of the NIC */
	struct twx_nic *nic;
	struct twx_host host;
	char dir[64], path[96];
	char in[1 << 20];
	size_t n_in;
};

/* --- ports to look at --- */

static int take_all(struct twx_port *port, const struct twx_frame *frames, int n)
{
	return n;
}

static const struct twx_port_ops ops = { .receive = take_all };

static int toy_open(struct twx_nic *nic, const struct twx_opts *opts, struct twx_error *e)
{
	return twx_nic_add_port(nic, e) ? 0 : -ENOMEM;
}

static void toy_close(struct twx_nic *nic)
{
}

static const struct twx_opt_desc no_options[] = { { 0 } };

static const struct twx_nic_model toy_model = {
	.name = "toy",
	.help = "a NIC without a guest",
	.bus = "none",
	.options = no_options,
	.port_ops = &ops,
	.open = toy_open,
	.close = toy_close,
};

static int owner_refuses(struct twx_host *h, struct twx_error *e)
{
	return twx_error_set(e, EPERM, "the link of nic0 belongs to the front end at /run/x");
}

static const struct twx_host_type strict_host = { .name = "strict", .may_set_link = owner_refuses };
static const struct twx_host_type mild_host = { .name = "mild" };

static int setup(void **state)
{
	struct twx_net_config config = { .size = sizeof(config) };
	struct ctx *c = calloc(1, sizeof(*c));
	char text[128];

	assert_non_null(c);
	strcpy(c->dir, "/tmp/twinax-qmp-XXXXXX");
	assert_non_null(mkdtemp(c->dir));
	snprintf(c->path, sizeof(c->path), "%s/sock", c->dir);
	assert_int_equal(twx_loop_new(&c->loop, NULL), 0);
	config.loop = c->loop;
	assert_int_equal(twx_net_new(&c->net, &config, NULL), 0);
	assert_int_equal(twx_net_add_nic_model(c->net, &toy_model), 0);
	assert_int_equal(twx_nic_new(&c->nic, c->net, "toy,id=nic0", NULL), 0);
	c->a = c->nic->ports[0];
	/* Hosts are built in; this one stands in for a front end that may own the link. */
	c->host.type = &mild_host;
	c->nic->host = &c->host;
	assert_int_equal(twx_port_init(&c->b, c->net, c->loop, TWX_PORT_BACKEND, "n0", "toyback", 0,
				       &ops, NULL, NULL),
			 0);
	assert_int_equal(twx_port_pair(c->a, &c->b, NULL), 0);
	snprintf(text, sizeof(text), "unix:%s,server=on,wait=off", c->path);
	assert_int_equal(qmp_server_add(&c->qmp, c->net, text, NULL), 0);
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	struct ctx *c = *state;
	struct stat st;

	qmp_servers_free(c->qmp);
	assert_int_equal(stat(c->path, &st), -1); /* the socket file goes with its server */
	c->nic->host = NULL;
	twx_port_fini(&c->b);
	twx_net_free(c->net);
	twx_loop_free(c->loop);
	assert_int_equal(rmdir(c->dir), 0);
	free(c);
	return 0;
}

/* --- a client --- */

static void run_loop(struct ctx *c)
{
	int i;

	for (i = 0; i < 20; i++)
		twx_loop_poll(c->loop, 0);
}

static int dial(struct ctx *c)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(sun.sun_path, c->path, strlen(c->path) + 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	run_loop(c);
	return fd;
}

static void put(struct ctx *c, int fd, const char *text, size_t len)
{
	ssize_t n;

	while (len) {
		n = send(fd, text, len, MSG_NOSIGNAL);
		if (n < 0)
			assert_int_equal(errno, EAGAIN);
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
		run_loop(c);
	}
}

static void say(struct ctx *c, int fd, const char *text)
{
	put(c, fd, text, strlen(text));
}

/* The next answer, or null when the server has closed. Fails after two seconds of silence. */
static json_t *hear(struct ctx *c, int fd)
{
	json_error_t je;
	char *nl;
	json_t *m;
	ssize_t n;
	int tries;

	for (tries = 0; tries < 200; tries++) {
		nl = memmem(c->in, c->n_in, "\r\n", 2);
		if (nl) {
			m = json_loadb(c->in, (size_t)(nl - c->in), 0, &je);
			assert_non_null(m);
			c->n_in -= (size_t)(nl + 2 - c->in);
			memmove(c->in, nl + 2, c->n_in);
			return m;
		}
		n = recv(fd, c->in + c->n_in, sizeof(c->in) - c->n_in, 0);
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return NULL;
		if (n > 0)
			c->n_in += (size_t)n;
		else
			twx_loop_poll(c->loop, 10);
	}
	fail_msg("no answer");
	return NULL;
}

static void expect_return(struct ctx *c, int fd)
{
	json_t *m = hear(c, fd);

	assert_non_null(m);
	assert_non_null(json_object_get(m, "return"));
	json_decref(m);
}

static void expect_error(struct ctx *c, int fd, const char *class, const char *desc)
{
	json_t *m = hear(c, fd), *e = json_object_get(m, "error");

	assert_non_null(e);
	assert_string_equal(json_string_value(json_object_get(e, "class")), class);
	if (desc)
		assert_string_equal(json_string_value(json_object_get(e, "desc")), desc);
	json_decref(m);
}

/* Connected, greeted and negotiated. */
static int client(struct ctx *c)
{
	int fd = dial(c);
	json_t *m = hear(c, fd);

	assert_non_null(json_object_get(m, "QMP"));
	json_decref(m);
	say(c, fd, "{\"execute\": \"qmp_capabilities\"}");
	expect_return(c, fd);
	return fd;
}

static char *hmp(struct ctx *c, int fd, const char *line)
{
	json_t *m;
	char *text, req[512];

	snprintf(req, sizeof(req),
		 "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"%s\"}}",
		 line);
	say(c, fd, req);
	m = hear(c, fd);
	assert_true(json_is_string(json_object_get(m, "return")));
	text = strdup(json_string_value(json_object_get(m, "return")));
	json_decref(m);
	return text;
}

/* --- tests --- */

static void test_greeting_and_negotiation(void **state)
{
	struct ctx *c = *state;
	int fd = dial(c);
	json_t *m = hear(c, fd), *q = json_object_get(m, "QMP");

	assert_true(json_is_integer(
		json_object_get(json_object_get(json_object_get(q, "version"), "qemu"), "major")));
	assert_true(json_is_array(json_object_get(q, "capabilities")));
	json_decref(m);
	say(c, fd, "{\"execute\": \"query-version\"}");
	expect_error(c, fd, "CommandNotFound",
		     "Expecting capabilities negotiation with 'qmp_capabilities'");
	say(c, fd, "{\"execute\": \"qmp_capabilities\", \"arguments\": {\"enable\": []}}");
	expect_error(c, fd, "GenericError", "Parameter 'enable' is unexpected");
	say(c, fd, "{\"execute\": \"qmp_capabilities\"}");
	expect_return(c, fd);
	say(c, fd, "{\"execute\": \"qmp_capabilities\"}");
	expect_error(c, fd, "CommandNotFound",
		     "Capabilities negotiation is already complete, command ignored");
	close(fd);
}

static void test_id_comes_back(void **state)
{
	static const char *const ids[] = { "7", "\"x\"", "{\"a\":[1,null]}", "null" };
	struct ctx *c = *state;
	int fd = client(c);
	char req[128];
	size_t i;

	for (i = 0; i < 4; i++) {
		json_t *want = json_loads(ids[i], JSON_DECODE_ANY, NULL), *m;

		snprintf(req, sizeof(req), "{\"execute\":\"%s\",\"id\":%s}",
			 i % 2 ? "nonsense" : "query-status", ids[i]);
		say(c, fd, req);
		m = hear(c, fd);
		assert_true(json_equal(json_object_get(m, "id"), want));
		json_decref(m);
		json_decref(want);
	}
	say(c, fd, "{\"execute\":\"query-status\"}");
	expect_return(c, fd);
	close(fd);
}

static void test_wrong_requests(void **state)
{
	static const char *const cases[][3] = {
		{ "{\"execute\":\"frobnicate\"}", "CommandNotFound",
		  "The command frobnicate has not been found" },
		{ "{\"arguments\":{}}", "GenericError", "QMP input lacks member 'execute'" },
		{ "{\"execute\":5}", "GenericError",
		  "QMP input member 'execute' must be a string" },
		{ "{\"execute\":\"quit\",\"arguments\":[]}", "GenericError",
		  "QMP input member 'arguments' must be an object" },
		{ "{\"execute\":\"quit\",\"extra\":1}", "GenericError",
		  "QMP input member 'extra' is unexpected" },
		{ "[1,2]", "GenericError", "QMP input must be a JSON object" },
		{ "{\"execute\":\"set_link\",\"arguments\":{\"up\":true}}", "GenericError",
		  "Parameter 'name' is missing" },
		{ "{\"execute\":\"set_link\",\"arguments\":{\"name\":3,\"up\":true}}",
		  "GenericError", "Invalid parameter type for 'name', expected: string" },
		{ "{\"execute\":\"set_link\",\"arguments\":{\"name\":\"n0\",\"up\":\"on\"}}",
		  "GenericError", "Invalid parameter type for 'up', expected: boolean" },
		{ "{\"execute\":\"set_link\",\"arguments\":{\"name\":\"n0\",\"up\":true,\"z\":1}}",
		  "GenericError", "Parameter 'z' is unexpected" },
		{ "{\"execute\":\"query-status\",\"execute\":\"quit\"}", "GenericError", NULL },
		{ "{\"execute\":\"quit\"]", "GenericError", NULL },
		{ "{\"execute\":\"\xc3\x28\"}", "GenericError", NULL },
		{ "{\"execute\":\"a\\u0000b\"}", "GenericError", NULL },
		{ "garbage\n", "GenericError", NULL },
		{ "{\"execute\":\"unterminated\n", "GenericError", NULL },
		{ "{\"execute\":\xff", "GenericError", NULL },
	};
	struct ctx *c = *state;
	int fd = client(c);
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		say(c, fd, cases[i][0]);
		expect_error(c, fd, cases[i][1], cases[i][2]);
		/* Whatever it was, the next request is understood. */
		say(c, fd, "{\"execute\":\"query-status\"}");
		expect_return(c, fd);
	}
	close(fd);
}

static void test_stream_in_any_cut(void **state)
{
	static const char three[] =
		"{\"execute\":\"query-status\",\"id\":1}{\"execute\":\"query-version\",\"id\":"
		"\"}{\\\"\"}\r\n \t{\"execute\":\"query-status\",\"id\":[{}]}";
	struct ctx *c = *state;
	int fd = client(c), i;
	size_t k;

	say(c, fd, three);
	for (i = 0; i < 3; i++)
		expect_return(c, fd);
	for (k = 0; k < sizeof(three) - 1; k++)
		put(c, fd, three + k, 1);
	for (i = 0; i < 3; i++)
		expect_return(c, fd);
	close(fd);
}

static void test_nesting_is_bounded(void **state)
{
	struct ctx *c = *state;
	int fd = client(c), depth = 5000;
	char *text = malloc((size_t)depth * 2 + 64);

	memset(text, '[', (size_t)depth);
	memset(text + depth, ']', (size_t)depth);
	put(c, fd, text, (size_t)depth * 2);
	expect_error(c, fd, "GenericError", NULL);
	say(c, fd, "{\"execute\":\"query-status\"}");
	expect_return(c, fd);
	free(text);
	close(fd);
}

static void test_length_is_bounded(void **state)
{
	struct ctx *c = *state;
	int fd = client(c), other = client(c);
	char block[4096];
	int i;

	memset(block, 'a', sizeof(block));
	say(c, fd, "{\"execute\":\"");
	for (i = 0; i < 300; i++) {
		if (send(fd, block, sizeof(block), MSG_NOSIGNAL) < 0 && errno != EAGAIN)
			break;
		run_loop(c);
	}
	expect_error(c, fd, "GenericError", NULL);
	assert_null(hear(c, fd));
	close(fd);
	say(c, other, "{\"execute\":\"query-status\"}");
	expect_return(c, other);
	close(other);
}

static void test_client_that_never_reads(void **state)
{
	struct ctx *c = *state;
	static const char req[] = "{\"execute\":\"query-stats\"}";
	int fd = client(c), other = client(c), i;
	bool closed = false;

	for (i = 0; i < 100000 && !closed; i++) {
		if (send(fd, req, sizeof(req) - 1, MSG_NOSIGNAL) < 0)
			closed = errno == EPIPE || errno == ECONNRESET;
		twx_loop_poll(c->loop, 0);
	}
	assert_true(closed);
	close(fd);
	say(c, other, "{\"execute\":\"query-status\"}");
	expect_return(c, other);
	close(other);
}

static void test_many_clients(void **state)
{
	struct ctx *c = *state;
	int fd[N_CLIENTS], i, served = 0;
	json_t *m;

	for (i = 0; i < N_CLIENTS; i++) {
		fd[i] = dial(c);
		m = hear(c, fd[i]);
		served += m != NULL;
		json_decref(m);
	}
	assert_int_equal(served, QMP_MAX_CLIENTS);
	for (i = 0; i < N_CLIENTS; i++)
		close(fd[i]);
	run_loop(c);
	close(client(c)); /* and there is room again */
}

/* The loop has better things to do than to ask for it again and again. */
static void test_no_descriptor_for_a_client(void **state)
{
	struct ctx *c = *state;
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), next, i;
	struct rlimit before, none;
	json_t *m;

	memcpy(sun.sun_path, c->path, strlen(c->path) + 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	next = dup(fd);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = (rlim_t)next;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (i = 0; i < 20 && twx_loop_poll(c->loop, 0) > 0; i++)
		;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_true(i < 20);
	m = hear(c, fd); /* served as soon as there is one */
	assert_non_null(json_object_get(m, "QMP"));
	json_decref(m);
	close(fd);
}

static void test_half_closed_client_gets_its_answer(void **state)
{
	struct ctx *c = *state;
	int fd = client(c);

	assert_int_equal(send(fd, "{\"execute\":\"query-status\"}", 26, 0), 26);
	shutdown(fd, SHUT_WR);
	expect_return(c, fd);
	assert_null(hear(c, fd));
	close(fd);
}

static void test_set_link(void **state)
{
	struct ctx *c = *state;
	int fd = client(c);
	char *text;

	say(c, fd, "{\"execute\":\"set_link\",\"arguments\":{\"name\":\"nic0\",\"up\":false}}");
	expect_return(c, fd);
	assert_true(c->a->link_down);
	say(c, fd, "{\"execute\":\"set_link\",\"arguments\":{\"name\":\"nic0\",\"up\":true}}");
	expect_return(c, fd);
	assert_false(c->a->link_down);
	say(c, fd, "{\"execute\":\"set_link\",\"arguments\":{\"name\":\"zz\",\"up\":true}}");
	expect_error(c, fd, "DeviceNotFound", "Device 'zz' not found");
	text = hmp(c, fd, "set_link zz on");
	assert_string_equal(text, "Error: Device 'zz' not found\r\n");
	free(text);
	text = hmp(c, fd, "set_link nic0 off");
	assert_string_equal(text, "");
	assert_true(c->a->link_down);
	free(text);
	text = hmp(c, fd, "set_link nic0 maybe");
	assert_string_equal(
		text, "Expected 'on' or 'off'\r\nTry \"help set_link\" for more information\r\n");
	free(text);
	c->host.type = &strict_host;
	say(c, fd, "{\"execute\":\"set_link\",\"arguments\":{\"name\":\"nic0\",\"up\":true}}");
	expect_error(c, fd, "GenericError", "the link of nic0 belongs to the front end at /run/x");
	assert_true(c->a->link_down);
	close(fd);
}

static void test_human_monitor(void **state)
{
	struct ctx *c = *state;
	int fd = client(c);
	char *text = hmp(c, fd, "info network");

	/* The toys have no info text of their own; the lines and their ends are what counts. */
	assert_non_null(strstr(text, "nic0: index=0,type=nic,"));
	assert_non_null(strstr(text, "\r\n \\ n0: index=0,type=toyback,"));
	assert_string_equal(text + strlen(text) - 2, "\r\n");
	free(text);
	text = hmp(c, fd, "  help  ");
	assert_non_null(strstr(text, "set_link NAME on|off"));
	assert_non_null(strstr(text, "info network"));
	free(text);
	text = hmp(c, fd, "info version");
	assert_non_null(strstr(text, twx_version()));
	free(text);
	text = hmp(c, fd, "explode");
	assert_string_equal(text, "unknown command: 'explode'\r\n");
	free(text);
	text = hmp(c, fd, "1 2 3 4 5 6 7 8 9 10");
	assert_string_equal(text, "too many words\r\n");
	free(text);
	text = hmp(c, fd, "");
	assert_string_equal(text, "");
	free(text);
	close(fd);
}

static void test_query_stats(void **state)
{
	uint8_t data[60] = { 0 };
	struct iovec iov = { data, sizeof(data) };
	struct twx_frame frame = { .iov = &iov, .n_iov = 1, .len = sizeof(data) };
	struct ctx *c = *state;
	int fd = client(c), i;
	json_t *m, *p, *found = NULL;
	size_t k;

	for (i = 0; i < 3; i++)
		assert_int_equal(twx_port_send(c->a, &frame, 1), 1);
	twx_port_drop(&c->b, TWX_DROP_DENIED, 60);
	say(c, fd, "{\"execute\":\"query-stats\"}");
	m = hear(c, fd);
	json_array_foreach (json_object_get(m, "return"), k, p)
		if (!strcmp(json_string_value(json_object_get(p, "name")), "n0"))
			found = p;
	assert_non_null(found);
	assert_string_equal(json_string_value(json_object_get(found, "kind")), "backend");
	assert_string_equal(json_string_value(json_object_get(found, "peer")), "nic0");
	assert_true(json_is_true(json_object_get(found, "link")));
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(found, "rx"), "frames")), 3);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(found, "rx"), "bytes")),
			 180);
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(found, "drops"), "denied")), 1);
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(found, "drops"), "no-peer")), 0);
	json_decref(m);
	close(fd);
}

static void test_quit_ends_the_loop(void **state)
{
	struct ctx *c = *state;
	int fd = client(c);

	assert_int_equal(send(fd, "{\"execute\":\"quit\"}", 18, 0), 18);
	assert_int_equal(twx_loop_run(c->loop), 0); /* would not return otherwise */
	expect_return(c, fd);
	close(fd);
}

static void test_quit_of_a_client_that_leaves(void **state)
{
	struct ctx *c = *state;
	int fd = client(c);

	assert_int_equal(send(fd, "{\"execute\":\"quit\"}", 18, 0), 18);
	close(fd);
	assert_int_equal(twx_loop_run(c->loop), 0); /* would not return otherwise */
}

static void test_trace_read(void **state)
{
	struct twx_trace *tr;
	struct ctx *c = *state;
	int fd = client(c);
	json_t *m, *r;

	tr = twx_loop_trace(c->loop);
	say(c, fd, "{\"execute\":\"x-trace-read\"}");
	expect_error(c, fd, "GenericError", NULL);
	say(c, fd, "{\"execute\":\"x-trace\",\"arguments\":{\"pattern\":\"no such hop\"}}");
	expect_error(c, fd, "GenericError", "no trace hop matches 'no such hop'");
	say(c, fd, "{\"execute\":\"x-trace\",\"arguments\":{\"pattern\":\"port *\"}}");
	expect_return(c, fd);
	TWX_TRACE(tr, TWX_HOP_PORT_SEND, "nic0", 60, 2);
	TWX_TRACE(tr, TWX_HOP_SENDMSG, "n0", 60, 0); /* not asked for */
	TWX_TRACE(tr, TWX_HOP_PORT_RECEIVE, "n0", 61, 3);
	say(c, fd, "{\"execute\":\"x-trace-read\"}");
	m = hear(c, fd);
	assert_int_equal(json_array_size(json_object_get(m, "return")), 2);
	r = json_array_get(json_object_get(m, "return"), 1);
	assert_string_equal(json_string_value(json_object_get(r, "hop")), "port receive");
	assert_string_equal(json_string_value(json_object_get(r, "where")), "n0");
	assert_int_equal(json_integer_value(json_object_get(r, "len")), 61);
	assert_int_equal(json_integer_value(json_object_get(r, "arg")), 3);
	json_decref(m);
	say(c, fd, "{\"execute\":\"x-trace-read\",\"arguments\":{\"count\":1}}");
	m = hear(c, fd);
	assert_int_equal(json_array_size(json_object_get(m, "return")), 1);
	json_decref(m);
	say(c, fd, "{\"execute\":\"x-trace\",\"arguments\":{\"enable\":false}}");
	expect_return(c, fd);
	assert_true(tr->mask == 0);
	close(fd);
}

/* What a NIC and a backend leave in the ring: two frames in one burst, then one alone, then one in.
 */
static void play_traffic(struct twx_trace *tr)
{
	static const enum twx_hop two[] = { TWX_HOP_KICK,      TWX_HOP_TX_POP,	TWX_HOP_TX_POP,
					    TWX_HOP_PORT_SEND, TWX_HOP_USER_IN, TWX_HOP_USER_IN,
					    TWX_HOP_SENDMSG,   TWX_HOP_SENDMSG, TWX_HOP_USED };
	static const enum twx_hop one[] = { TWX_HOP_KICK,    TWX_HOP_TX_POP,  TWX_HOP_PORT_SEND,
					    TWX_HOP_USER_IN, TWX_HOP_SENDMSG, TWX_HOP_USED };
	static const enum twx_hop in[] = { TWX_HOP_RX_LEASE, TWX_HOP_RECVMSG, TWX_HOP_USED,
					   TWX_HOP_SIGNAL };
	size_t i;

	for (i = 0; i < sizeof(two) / sizeof(two[0]); i++)
		TWX_TRACE(tr, two[i], "x", 1, 0);
	for (i = 0; i < sizeof(one) / sizeof(one[0]); i++)
		TWX_TRACE(tr, one[i], "x", 99, 0);
	for (i = 0; i < sizeof(in) / sizeof(in[0]); i++)
		TWX_TRACE(tr, in[i], "x", 50, 0);
}

static void expect_walk(struct ctx *c, int fd, size_t n, const char *first, const char *last)
{
	json_t *m = hear(c, fd), *hops = json_object_get(json_object_get(m, "return"), "hops");

	assert_int_equal(json_array_size(hops), n);
	assert_string_equal(json_string_value(json_object_get(json_array_get(hops, 0), "hop")),
			    first);
	assert_string_equal(json_string_value(json_object_get(json_array_get(hops, n - 1), "hop")),
			    last);
	json_decref(m);
}

static void test_trace_frame(void **state)
{
	struct ctx *c = *state;
	struct twx_trace *tr = twx_loop_trace(c->loop);
	int fd = client(c), other = client(c);

	say(c, fd,
	    "{\"execute\":\"x-trace-frame\",\"arguments\":{\"through\":\"sendmsg\"}}"
	    "{\"execute\":\"query-status\",\"id\":\"after\"}");
	say(c, other, "{\"execute\":\"query-status\"}"); /* others are served meanwhile */
	expect_return(c, other);
	play_traffic(tr);
	expect_walk(c, fd, 6, "virtio kick", "virtio used"); /* the frame that travelled alone */
	expect_return(c, fd);				     /* answered in order */
	assert_true(tr->mask == 0);
	say(c, fd, "{\"execute\":\"x-trace-frame\",\"arguments\":{\"direction\":\"in\"}}");
	play_traffic(tr);
	expect_walk(c, fd, 4, "virtio rx reserve", "virtio signal");
	say(c, fd, "{\"execute\":\"x-trace-frame\",\"arguments\":{\"timeout-ms\":5}}");
	expect_error(c, fd, "GenericError", "no such frame came by in time");
	say(c, fd, "{\"execute\":\"x-trace-frame\",\"arguments\":{\"direction\":\"up\"}}");
	expect_error(c, fd, "GenericError", NULL);
	say(c, fd, "{\"execute\":\"x-trace-frame\",\"arguments\":{\"through\":\"moon\"}}");
	expect_error(c, fd, "GenericError", "there is no trace hop 'moon'");
	say(c, fd, "{\"execute\":\"x-trace-frame\",\"arguments\":{\"timeout-ms\":-1}}");
	expect_error(c, fd, "GenericError", NULL);
	close(fd);
	close(other);
}

static void test_trace_frame_of_a_client_that_leaves(void **state)
{
	struct ctx *c = *state;
	struct twx_trace *tr = twx_loop_trace(c->loop);
	int fd = client(c);

	assert_int_equal(twx_trace_enable(tr, "drop"), 0);
	say(c, fd, "{\"execute\":\"x-trace-frame\"}");
	assert_true(tr->mask != 1ull << TWX_HOP_DROP);
	close(fd);
	run_loop(c);
	assert_true(tr->mask == 1ull << TWX_HOP_DROP); /* as it was before */
	twx_trace_disable(tr);
}

/* Tracing is off again once the last of them has ended, whichever began first. */
static void test_trace_frames_that_overlap(void **state)
{
	struct ctx *c = *state;
	struct twx_trace *tr = twx_loop_trace(c->loop);
	int first = client(c), second = client(c), third = client(c);

	say(c, first, "{\"execute\":\"x-trace-frame\",\"arguments\":{\"timeout-ms\":30}}");
	say(c, second, "{\"execute\":\"x-trace-frame\"}");
	expect_error(c, first, "GenericError", "no such frame came by in time");
	assert_true(tr->mask != 0);
	say(c, third, "{\"execute\":\"x-trace\",\"arguments\":{\"enable\":false}}");
	expect_return(c, third);
	play_traffic(tr); /* the second still sees what it waits for */
	expect_walk(c, second, 6, "virtio kick", "virtio used");
	assert_true(tr->mask == 0);
	say(c, first, "{\"execute\":\"x-trace-frame\",\"arguments\":{\"timeout-ms\":30}}");
	say(c, third, "{\"execute\":\"x-trace\",\"arguments\":{\"pattern\":\"drop\"}}");
	expect_return(c, third);
	expect_error(c, first, "GenericError", "no such frame came by in time");
	assert_true(tr->mask == 1ull << TWX_HOP_DROP); /* what was asked for meanwhile stays */
	twx_trace_disable(tr);
	close(first);
	close(second);
	close(third);
}

static void expect_refused(struct ctx *c, const char *text, const char *part)
{
	struct qmp_server *list = NULL;
	struct twx_error e = { 0 };

	assert_true(qmp_server_add(&list, c->net, text, &e) < 0);
	assert_null(list);
	assert_non_null(strstr(e.what, part));
}

static void test_option_and_socket_file(void **state)
{
	struct ctx *c = *state;
	struct qmp_server *again = NULL;
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	char path[128], text[160];
	FILE *f;
	int fd;

	snprintf(text, sizeof(text), "unix:%s", c->path);
	expect_refused(c, text, "cannot listen");
	expect_refused(c, "tcp:localhost:4444", "unix socket");
	expect_refused(c, "unix:/nowhere/x,server=off", "cannot connect to /nowhere/x");
	expect_refused(c, "unix:/tmp/x,wait=on", "waiting");
	expect_refused(c, "unix:/tmp/x,frob=1", "frob");
	expect_refused(c, "unix:/nonexistent/dir/x", "cannot listen");
	/* A file that is no socket stays. */
	snprintf(path, sizeof(path), "%s/file", c->dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fclose(f);
	snprintf(text, sizeof(text), "unix:%s", path);
	expect_refused(c, text, "cannot listen");
	assert_int_equal(unlink(path), 0);
	/* A socket that nobody listens on is replaced. */
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	memcpy(sun.sun_path, path, strlen(path) + 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	close(fd);
	assert_int_equal(qmp_server_add(&again, c->net, text, NULL), 0);
	qmp_servers_free(again);
	assert_int_equal(access(path, F_OK), -1);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_greeting_and_negotiation),
		T(test_id_comes_back),
		T(test_wrong_requests),
		T(test_stream_in_any_cut),
		T(test_nesting_is_bounded),
		T(test_length_is_bounded),
		T(test_client_that_never_reads),
		T(test_many_clients),
		T(test_no_descriptor_for_a_client),
		T(test_half_closed_client_gets_its_answer),
		T(test_set_link),
		T(test_human_monitor),
		T(test_query_stats),
		T(test_quit_ends_the_loop),
		T(test_quit_of_a_client_that_leaves),
		T(test_trace_read),
		T(test_trace_frame),
		T(test_trace_frame_of_a_client_that_leaves),
		T(test_trace_frames_that_overlap),
		T(test_option_and_socket_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
