/* SPDX-License-Identifier: BSD-3-Clause */
/* Hubs: everybody but the sender gets a copy; a slow port delays nobody else. */
#include "toy.h"

#include <stdio.h>

/* A toy at a port of hub @id. */
static struct toy *toy_on_hub(struct world *w, int id, const char *name)
{
	struct toy *t = toy_new(w->net, name);
	struct twx_backend *b;
	char text[64];

	snprintf(text, sizeof(text), "hubport,hubid=%d", id);
	assert_int_equal(twx_backend_new(&b, w->net, text, NULL), 0);
	assert_int_equal(twx_port_pair(&t->port, b->ports[0], NULL), 0);
	return t;
}

static void test_everybody_else_gets_a_copy(void **state)
{
	struct toy *a = toy_on_hub(*state, 0, "a"), *b = toy_on_hub(*state, 0, "b"),
		   *c = toy_on_hub(*state, 0, "c"), *d = toy_on_hub(*state, 1, "d");

	assert_int_equal(toy_send(a, '1'), 1);
	assert_int_equal(toy_send(b, '2'), 1);
	toy_expect(a, "2");
	toy_expect(b, "1");
	toy_expect(c, "12");
	toy_expect(d, "");
	assert_string_equal(a->port.peer->name, "hub0port0");
	assert_string_equal(c->port.peer->name, "hub0port2");
	assert_string_equal(d->port.peer->name, "hub1port0");
	toy_free(a);
	toy_free(b);
	toy_free(c);
	toy_free(d);
}

static void test_slow_port_delays_nobody(void **state)
{
	struct toy *a = toy_on_hub(*state, 0, "a"), *slow = toy_on_hub(*state, 0, "slow"),
		   *c = toy_on_hub(*state, 0, "c");
	int i;

	slow->room = 0;
	for (i = 0; i < 10050; i++)
		assert_int_equal(toy_send(a, 'x'), 1);
	assert_int_equal(c->n_got, 10050);
	assert_int_equal(slow->port.count.queued, 10000);
	assert_int_equal(slow->port.count.drops[TWX_DROP_QUEUE_FULL], 50);
	slow->room = TOY_NO_LIMIT;
	twx_port_ready(&slow->port);
	world_poll(*state);
	assert_int_equal(slow->n_got, 10000);
	toy_free(a);
	toy_free(slow);
	toy_free(c);
}

static void test_busy_when_nobody_can_take(void **state)
{
	struct toy *a = toy_on_hub(*state, 0, "a"), *b = toy_on_hub(*state, 0, "b"),
		   *c = toy_on_hub(*state, 0, "c");

	b->room = c->room = 0;
	assert_int_equal(toy_send(a, '1'), 1); /* both were free until they were asked: queued */
	assert_int_equal(toy_send(a, '2'), 0);
	assert_int_equal(a->n_resumed, 0);
	c->room = TOY_NO_LIMIT;
	twx_port_ready(&c->port);
	world_poll(*state);
	toy_expect(c, "1");
	assert_int_equal(a->n_resumed, 1);
	assert_int_equal(toy_send(a, '2'), 1);
	toy_expect(c, "12");
	b->room = TOY_NO_LIMIT;
	twx_port_ready(&b->port);
	toy_expect(b, "12");
	toy_free(a);
	toy_free(b);
	toy_free(c);
}

static void test_sender_is_freed_when_the_busy_one_leaves(void **state)
{
	struct toy *a = toy_on_hub(*state, 0, "a"), *b = toy_on_hub(*state, 0, "b");

	b->room = 0;
	toy_send(a, '1');
	assert_int_equal(toy_send(a, '2'), 0);
	toy_free(b);
	world_poll(*state);
	assert_int_equal(a->n_resumed, 1);
	assert_int_equal(toy_send(a, '2'), 1);
	toy_free(a);
}

static void test_link_down_of_the_busy_one_frees_the_sender(void **state)
{
	struct toy *a = toy_on_hub(*state, 0, "a"), *b = toy_on_hub(*state, 0, "b");

	b->room = 0;
	toy_send(a, '1');
	assert_int_equal(toy_send(a, '2'), 0);
	twx_port_set_link(&b->port, false);
	world_poll(*state);
	assert_int_equal(a->n_resumed, 1);
	assert_int_equal(toy_send(a, '2'), 1);
	toy_free(a);
	toy_free(b);
}

static void test_alone_on_a_hub(void **state)
{
	struct toy *a = toy_on_hub(*state, 0, "a");

	assert_int_equal(toy_send(a, '1'), 1);
	toy_free(a);
}

static void answer(struct toy *t)
{
	if (t->got[t->n_got - 1].data[14] == 'q')
		toy_post(t, 'a');
}

/* Answers come while the hub port of the asker is inside receive. */
static void test_answers_reach_the_asker(void **state)
{
	struct toy *a = toy_on_hub(*state, 0, "a"), *b = toy_on_hub(*state, 0, "b"),
		   *c = toy_on_hub(*state, 0, "c");

	b->on_receive = c->on_receive = answer;
	assert_int_equal(toy_send(a, 'q'), 1);
	world_poll(*state);
	toy_expect(a, "aa");
	assert_int_equal(b->n_got, 2);
	assert_int_equal(c->n_got, 2);
	assert_int_equal(b->deepest, 1);
	assert_int_equal(c->deepest, 1);
	toy_free(a);
	toy_free(b);
	toy_free(c);
}

static void test_hubs_do_not_join_hubs(void **state)
{
	struct world *w = *state;
	struct twx_error e;

	assert_int_equal(twx_backend_new(NULL, w->net, "hubport,id=h0,hubid=0", NULL), 0);
	assert_int_equal(twx_backend_new(NULL, w->net, "hubport,id=h1,hubid=1,netdev=h0", &e),
			 -EINVAL);
	assert_non_null(strstr(e.what, "frames would circle"));
	assert_null(twx_backend_find(w->net, "h1"));
}

static void test_netdev_joins(void **state)
{
	struct world *w = *state;
	struct twx_error e;

	assert_int_equal(twx_backend_new(NULL, w->net, "hubport,id=h1,hubid=1,netdev=zz", &e),
			 -ENODEV);
	assert_string_equal(e.what, "netdev 'zz' not found");
	assert_int_equal(twx_backend_new(NULL, w->net, "hubport,id=h1", &e), -EINVAL);
	assert_string_equal(e.what, "Parameter 'hubid' is missing");
}

static void test_thousand_ports(void **state)
{
	enum { N = 1000 };
	struct world *w = *state;
	struct toy *a = toy_on_hub(w, 5, "a"), *sink = toy_new(w->net, "sink");
	struct twx_port *ports = calloc(N, sizeof(*ports));
	char text[64];
	int i;

	for (i = 0; i < N; i++) {
		struct twx_backend *b;

		snprintf(text, sizeof(text), "hubport,hubid=5,id=h%d", i);
		assert_int_equal(twx_backend_new(&b, w->net, text, NULL), 0);
		snprintf(text, sizeof(text), "t%d", i);
		assert_int_equal(twx_port_init(&ports[i], w->net, w->loop, TWX_PORT_NIC, text,
					       "toy", 0, &toy_ops, sink, NULL),
				 0);
		assert_int_equal(twx_port_pair(&ports[i], b->ports[0], NULL), 0);
	}
	assert_int_equal(toy_send(a, '1'), 1);
	assert_int_equal(sink->n_got, N);
	for (i = 0; i < N; i++)
		twx_port_fini(&ports[i]);
	free(ports);
	toy_free(a);
	toy_free(sink);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_everybody_else_gets_a_copy),
		world_test(test_slow_port_delays_nobody),
		world_test(test_busy_when_nobody_can_take),
		world_test(test_sender_is_freed_when_the_busy_one_leaves),
		world_test(test_link_down_of_the_busy_one_frees_the_sender),
		world_test(test_alone_on_a_hub),
		world_test(test_answers_reach_the_asker),
		world_test(test_hubs_do_not_join_hubs),
		world_test(test_netdev_joins),
		world_test(test_thousand_ports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
