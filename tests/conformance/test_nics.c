/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every NIC model of the list, by itself and behind every host that can carry it, put through the
 * same tests. There is no guest here: what a driver does is tested in tests/device and
 * tests/protocol.
 */
#include "subject.h"

static char dir[64];

/* An address for a host of type @name; the tests know hosts that take a socket's path. */
static const char *host_address(const struct twx_host_type *type)
{
	static char text[160];

	snprintf(text, sizeof(text), "%s:%s/%s", type->name, dir, type->name);
	return text;
}

static struct twx_nic *subject_open(struct scene *s, const char *more)
{
	const struct twx_nic_model *model = s->type;
	struct twx_error e = { 0 };
	struct twx_nic *nic;
	char text[256];

	snprintf(text, sizeof(text), "%s,id=c0%s", model->name, more);
	if (twx_nic_new(&nic, s->w->net, text, &e) < 0)
		fail_msg("%s: %s", text, e.what);
	return nic;
}

static struct twx_nic *subject_open_paired(struct scene *s)
{
	struct twx_nic *nic = subject_open(s, "");

	assert_true(nic->n_ports >= 1);
	assert_int_equal(twx_port_pair(&s->toy->port, nic->ports[0], NULL), 0);
	return nic;
}

static int scene_setup(void **state)
{
	struct scene *s = calloc(1, sizeof(*s));

	s->type = *state;
	world_setup((void **)&s->w);
	s->toy = toy_new(s->w->net, "toy");
	*state = s;
	snprintf(dir, sizeof(dir), "/tmp/twinax-nics-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int scene_teardown(void **state)
{
	struct scene *s = *state;

	toy_free(s->toy);
	world_teardown((void **)&s->w);
	free(s);
	return rmdir(dir); /* fails if a host left its socket behind */
}

static void test_description(void **state)
{
	const struct twx_nic_model *model = ((struct scene *)*state)->type;

	assert_true(strlen(model->help) > 3);
	assert_null(strchr(model->help, '\n'));
	assert_non_null(model->bus);
	assert_non_null(model->port_ops->receive);
	assert_true(!model->port_ops->reserve == !model->port_ops->commit);
	assert_true(!model->port_ops->reserve == !model->port_ops->abort);
	check_options(model->name, model->options);
}

static void test_unknown_option(void **state)
{
	struct scene *s = *state;
	const struct twx_nic_model *model = s->type;
	struct twx_error e = { 0 };
	char text[256];

	snprintf(text, sizeof(text), "%s,id=c0,frobnicate=1", model->name);
	assert_true(twx_nic_new(NULL, s->w->net, text, &e) < 0);
	assert_non_null(strstr(e.what, "frobnicate"));
	assert_true(e.hint[0]);
	assert_null(twx_nic_find(s->w->net, "c0"));
}

static void open_close(struct scene *s, const char *more)
{
	int i, fds = 0;

	for (i = 0; i < 50; i++) {
		struct twx_nic *nic = subject_open(s, more);

		assert_ptr_equal(twx_nic_find(s->w->net, "c0"), nic);
		assert_int_equal(!nic->host, !*more);
		if (i % 2)
			twx_port_pair(&s->toy->port, nic->ports[0], NULL);
		if (i % 3)
			twx_loop_poll(s->w->loop, 0);
		toy_post(s->toy, 'x');
		twx_nic_free(nic);
		assert_null(twx_nic_find(s->w->net, "c0"));
		assert_ptr_equal(twx_net_ports(s->w->net), &s->toy->port);
		twx_loop_poll(s->w->loop, 0);
		if (!i)
			fds = count_fds();
	}
	assert_int_equal(count_fds(), fds);
}

static void test_open_close(void **state)
{
	open_close(*state, "");
}

static void test_open_close_behind_hosts(void **state)
{
	struct scene *s = *state;
	const struct twx_nic_model *model = s->type;
	const struct twx_host_type *const *t;
	char more[256];
	int n = 0;

	for (t = twx_host_types(); *t; t++) {
		const struct twx_host_bus *bus = twx_host_bus(*t, model->bus);

		if (!bus)
			continue;
		if (bus->options)
			check_options(model->bus, bus->options);
		check_options((*t)->name, (*t)->options);
		assert_true(strlen((*t)->help) > 3);
		snprintf(more, sizeof(more), ",export=%s", host_address(*t));
		open_close(s, more);
		n++;
	}
	if (!n) {
		print_message("%s: no host carries %s devices\n", model->name, model->bus);
		skip();
	}
}

/* A host that cannot open takes nothing with it and leaves nothing behind. */
static void test_host_that_fails(void **state)
{
	struct scene *s = *state;
	const struct twx_nic_model *model = s->type;
	const struct twx_host_type *const *t;
	int fds = count_fds(), n = 0;
	struct twx_error e;
	char text[256];

	for (t = twx_host_types(); *t; t++) {
		if (!twx_host_bus(*t, model->bus))
			continue;
		snprintf(text, sizeof(text), "%s,id=c0,export=%s:/nonexistent/path", model->name,
			 (*t)->name);
		memset(&e, 0, sizeof(e));
		assert_true(twx_nic_new(NULL, s->w->net, text, &e) < 0);
		assert_non_null(strstr(e.what, "/nonexistent/path"));
		assert_null(twx_nic_find(s->w->net, "c0"));
		assert_ptr_equal(twx_net_ports(s->w->net), &s->toy->port);
		n++;
	}
	assert_int_equal(count_fds(), fds);
	if (!n)
		skip();
}

/* Nobody drives the device: frames are dropped or wait, and memory stays bounded. */
static void test_every_size(void **state)
{
	struct scene *s = *state;
	struct twx_nic *nic = subject_open_paired(s);
	uint8_t *buf = calloc(1, 66000);
	struct iovec iov[2];
	struct twx_frame f;
	uint32_t len;
	int i;

	for (len = TWX_FRAME_MIN; len <= 1514; len++) {
		f = toy_frame(len, 's');
		twx_port_send(&s->toy->port, &f, 1);
		twx_port_post(&s->toy->port, &f, 1);
	}
	f = tcp_frame(buf, iov, 65535, 1460);
	for (i = 0; i < 1000; i++)
		twx_port_post(&s->toy->port, &f, 1);
	assert_int_equal(s->toy->port.count.drops[TWX_DROP_BAD_META], 0);
	assert_true(nic->ports[0]->count.queued <= 10000);
	twx_nic_free(nic);
	free(buf);
}

static void test_garbage(void **state)
{
	struct scene *s = *state;
	struct twx_nic *nic = subject_open_paired(s);

	send_garbage(s);
	world_poll(s->w);
	twx_nic_free(nic);
}

static void test_silence_after_unpair(void **state)
{
	struct scene *s = *state;
	struct twx_nic *nic = subject_open_paired(s);
	int i;

	toy_post(s->toy, 'x');
	twx_port_unpair(&s->toy->port);
	for (i = 0; i < 10; i++)
		twx_loop_poll(s->w->loop, 1);
	assert_int_equal(s->toy->n_got + s->toy->n_committed, 0);
	twx_nic_free(nic);
}

static void test_link_flap(void **state)
{
	struct scene *s = *state;
	struct twx_nic *nic = subject_open_paired(s);
	int i;

	for (i = 0; i < 20; i++) {
		assert_int_equal(twx_net_set_link(s->w->net, "c0", false, NULL), 0);
		assert_true(nic->ports[0]->link_down);
		assert_int_equal(toy_send(s->toy, 'x'), 1);
		assert_int_equal(twx_net_set_link(s->w->net, "c0", true, NULL), 0);
		twx_port_set_link(&s->toy->port, false);
		twx_loop_poll(s->w->loop, 0);
		twx_port_set_link(&s->toy->port, true);
	}
	assert_false(nic->ports[0]->link_down);
	twx_nic_free(nic);
}

static void test_info(void **state)
{
	struct scene *s = *state;
	const struct twx_nic_model *model = s->type;
	struct twx_nic *nic = subject_open(s, ",mac=52:54:00:aa:bb:cc");
	char line[160], *text = twx_net_info(s->w->net);

	snprintf(line, sizeof(line), "c0: index=0,type=nic,model=%s,macaddr=52:54:00:aa:bb:cc\n",
		 model->name);
	assert_non_null(strstr(text, line));
	free(text);
	twx_nic_free(nic);
}

static const struct {
	const char *name;
	CMUnitTestFunction fn;
} checks[] = {
	{ "description", test_description },
	{ "unknown option", test_unknown_option },
	{ "open and close", test_open_close },
	{ "open and close behind hosts", test_open_close_behind_hosts },
	{ "host that fails", test_host_that_fails },
	{ "every size", test_every_size },
	{ "garbage", test_garbage },
	{ "silence after unpair", test_silence_after_unpair },
	{ "link flap", test_link_flap },
	{ "info", test_info },
};

int main(void)
{
	static struct CMUnitTest tests[1000];
	static char names[1000][64];
	const struct twx_nic_model *const *m;
	size_t n = 0, i;

	for (m = twx_nic_models(); *m; m++)
		for (i = 0; i < sizeof(checks) / sizeof(checks[0]); i++, n++) {
			snprintf(names[n], sizeof(names[0]), "%s: %s", (*m)->name, checks[i].name);
			tests[n] = (struct CMUnitTest){ names[n], checks[i].fn, scene_setup,
							scene_teardown, (void *)*m };
		}
	return _cmocka_run_group_tests("nics", tests, n, NULL, NULL);
}
