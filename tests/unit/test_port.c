/* SPDX-License-Identifier: BSD-3-Clause */
/* What port.h promises: order, back-pressure, re-entry, leases, link, unpairing. */
#include "toy.h"

#include <stdio.h>
#include <time.h>

/* Two toys, paired. */
struct pair {
	struct toy *a, *b;
};

static struct pair pair_new(struct world *w)
{
	struct pair p = { toy_new(w->net, "a"), toy_new(w->net, "b") };

	assert_int_equal(twx_port_pair(&p.a->port, &p.b->port, NULL), 0);
	return p;
}

static void pair_free(struct pair p)
{
	toy_free(p.a);
	toy_free(p.b);
}

static void test_send_delivers_in_order(void **state)
{
	struct pair p = pair_new(*state);
	struct twx_frame f[3] = { toy_frame(14, 0), toy_frame(60, 'y'), toy_frame(1514, 'z') };

	assert_int_equal(twx_port_send(&p.a->port, f, 3), 3);
	assert_int_equal(p.b->n_got, 3);
	assert_int_equal(p.b->got[0].len, 14);
	assert_int_equal(p.b->got[1].len, 60);
	assert_int_equal(p.b->got[1].data[14], 'y');
	assert_int_equal(p.b->got[2].len, 1514);
	assert_int_equal(p.a->port.count.tx_frames, 3);
	assert_int_equal(p.a->port.count.tx_bytes, 14 + 60 + 1514);
	assert_int_equal(p.a->port.count.tx_bursts, 1);
	assert_int_equal(p.b->port.count.rx_frames, 3);
	assert_int_equal(p.b->port.count.rx_bytes, 14 + 60 + 1514);
	assert_int_equal(p.b->port.count.rx_bursts, 1);
	assert_null(p.b->port.queue);
	pair_free(p);
}

static void test_long_burst_is_split(void **state)
{
	struct pair p = pair_new(*state);
	struct twx_frame f[150];
	int i;

	for (i = 0; i < 150; i++)
		f[i] = toy_frame(60, 'x');
	assert_int_equal(twx_port_send(&p.a->port, f, 150), 150);
	assert_int_equal(p.b->n_got, 150);
	assert_int_equal(p.b->biggest_burst, TWX_BURST);
	twx_port_post(&p.a->port, f, 150);
	assert_int_equal(p.b->n_got, 300);
	pair_free(p);
}

static void test_busy_receiver_leaves_frames_with_sender(void **state)
{
	struct pair p = pair_new(*state);
	struct twx_frame f[4] = { toy_frame(60, '1'), toy_frame(60, '2'), toy_frame(60, '3'),
				  toy_frame(60, '4') };

	p.b->room = 2;
	assert_true(twx_port_can_send(&p.a->port));
	assert_int_equal(twx_port_send(&p.a->port, f, 4), 2);
	assert_false(twx_port_can_send(&p.a->port));
	assert_null(p.b->port.queue);
	assert_int_equal(p.b->port.count.busy, 1);
	/* a busy receiver is not asked again */
	assert_int_equal(twx_port_send(&p.a->port, f + 2, 2), 0);
	assert_int_equal(p.b->n_bursts, 1);
	assert_int_equal(p.a->n_resumed, 0);

	p.b->room = TOY_NO_LIMIT;
	twx_port_ready(&p.b->port);
	assert_int_equal(p.a->n_resumed, 1);
	assert_int_equal(twx_port_send(&p.a->port, f + 2, 2), 2);
	toy_expect(p.b, "1234");
	/* nobody waits any more */
	twx_port_ready(&p.b->port);
	world_poll(*state);
	assert_int_equal(p.a->n_resumed, 1);
	pair_free(p);
}

static void test_posts_wait_in_the_queue_and_go_first(void **state)
{
	struct pair p = pair_new(*state);

	p.b->room = 1;
	toy_post(p.a, '1');
	toy_post(p.a, '2'); /* makes it busy */
	toy_post(p.a, '3');
	assert_int_equal(p.b->n_got, 1);
	assert_int_equal(p.b->port.count.queued, 2);
	assert_int_equal(toy_send(p.a, '4'), 0);
	/* not all of the queue is taken: the sender goes on waiting */
	p.b->room = 1;
	twx_port_ready(&p.b->port);
	toy_expect(p.b, "12");
	assert_int_equal(p.a->n_resumed, 0);
	assert_int_equal(toy_send(p.a, '4'), 0);
	p.b->room = TOY_NO_LIMIT;
	twx_port_ready(&p.b->port);
	toy_expect(p.b, "123");
	assert_int_equal(p.a->n_resumed, 1);
	assert_int_equal(toy_send(p.a, '4'), 1);
	toy_expect(p.b, "1234");
	assert_int_equal(p.b->port.count.flushed, 2);
	assert_null(p.b->port.queue);
	pair_free(p);
}

static void test_post_is_bounded_in_frames(void **state)
{
	struct pair p = pair_new(*state);
	int i;

	p.b->room = 0;
	for (i = 0; i < 10100; i++)
		toy_post(p.a, 'x');
	assert_int_equal(p.b->port.count.queued, 10000);
	assert_int_equal(p.b->port.count.drops[TWX_DROP_QUEUE_FULL], 100);
	p.b->room = TOY_NO_LIMIT;
	twx_port_ready(&p.b->port);
	world_poll(*state);
	assert_int_equal(p.b->n_got, 10000);
	assert_null(p.b->port.queue);
	pair_free(p);
}

static void test_post_is_bounded_in_bytes(void **state)
{
	struct pair p = pair_new(*state);
	uint8_t *big = calloc(1, 65000);
	struct iovec iov = { big, 65000 };
	struct twx_frame f = { .iov = &iov, .n_iov = 1, .len = 65000 };
	int i;

	p.b->room = 0;
	for (i = 0; i < 1000; i++)
		twx_port_post(&p.a->port, &f, 1);
	assert_int_equal(p.b->port.count.queued, (16 << 20) / 65000);
	assert_int_equal(p.b->port.count.drops[TWX_DROP_QUEUE_FULL], 1000 - (16 << 20) / 65000);
	twx_port_purge(&p.b->port);
	assert_null(p.b->port.queue);
	pair_free(p);
	free(big);
}

static void send_in_resume(struct toy *t)
{
	t->n_got += 0;
	assert_int_equal(toy_send(t, 'r'), 1);
}

static void test_resume_may_send(void **state)
{
	struct pair p = pair_new(*state);

	p.a->on_resume = send_in_resume;
	p.b->room = 0;
	assert_int_equal(toy_send(p.a, '1'), 0);
	p.b->room = 1;
	twx_port_ready(&p.b->port);
	toy_expect(p.b, "r");
	pair_free(p);
}

static void ready_in_receive(struct toy *t)
{
	twx_port_ready(&t->port);
}

static void test_ready_inside_receive_is_put_off(void **state)
{
	struct pair p = pair_new(*state);
	struct twx_frame f[2] = { toy_frame(60, '1'), toy_frame(60, '2') };

	p.b->room = 1;
	p.b->port.sender_waits = true; /* as if it had refused before */
	p.b->on_receive = ready_in_receive;
	assert_int_equal(twx_port_send(&p.a->port, f, 2), 1);
	assert_int_equal(p.a->n_resumed, 0);
	assert_true(p.b->port.rx_busy);
	world_poll(*state);
	assert_int_equal(p.a->n_resumed, 1);
	assert_false(p.b->port.rx_busy);
	pair_free(p);
}

static struct toy *other;

static void answer_by_post(struct toy *t)
{
	assert_int_equal(t->depth, 1);
	if (t->user)
		toy_post(t, 'A');
}

static void test_answer_does_not_reenter(void **state)
{
	struct pair p = pair_new(*state);
	struct twx_frame f[3] = { toy_frame(60, '1'), toy_frame(60, '2'), toy_frame(60, '3') };
	int count = 2;

	/* b answers each frame; a answers each answer: without a guard, b would be called inside
	 * itself */
	p.a->on_receive = answer_by_post;
	p.b->on_receive = answer_by_post;
	p.a->user = p.b->user = &count;
	assert_int_equal(twx_port_send(&p.a->port, f, 3), 3);
	assert_int_equal(p.a->deepest, 1);
	assert_int_equal(p.b->deepest, 1);
	/* an endless conversation, yet the call has returned; it goes on from the loop */
	assert_true(p.b->n_got >= 3);
	count = p.b->n_got;
	assert_true(twx_loop_poll(((struct world *)*state)->loop, 0) >= 0);
	assert_true(p.b->n_got > count);
	p.a->user = p.b->user = NULL;
	world_poll(*state);
	count = p.b->n_got;
	world_poll(*state);
	assert_int_equal(p.b->n_got, count);
	assert_null(p.a->port.queue);
	assert_null(p.b->port.queue);
	pair_free(p);
}

static void send_to_other(struct toy *t)
{
	if (t->n_got == 1) {
		t->user = NULL;
		assert_int_equal(toy_send(other, 'n'), 0);
	}
}

static void test_retaining_sender_is_refused_on_reentry(void **state)
{
	struct pair p = pair_new(*state);

	/* while b receives, a (by some other way) sends to b again */
	other = p.a;
	p.b->on_receive = send_to_other;
	assert_int_equal(toy_send(p.a, '1'), 1);
	toy_expect(p.b, "1");
	assert_int_equal(p.a->n_resumed, 0);
	world_poll(*state);
	assert_int_equal(p.a->n_resumed, 1);
	pair_free(p);
}

static void post_to_other_once(struct toy *t)
{
	if (t->n_got == 1)
		toy_post(other, 'n');
}

static void test_what_is_left_goes_before_what_came_meanwhile(void **state)
{
	struct pair p = pair_new(*state);
	struct twx_frame f[3] = { toy_frame(60, '1'), toy_frame(60, '2'), toy_frame(60, '3') };

	other = p.a;
	p.b->room = 1;
	p.b->on_receive = post_to_other_once;
	twx_port_post(&p.a->port, f, 3);
	toy_expect(p.b, "1");
	p.b->room = TOY_NO_LIMIT;
	twx_port_ready(&p.b->port);
	toy_expect(p.b, "123n");
	pair_free(p);
}

static void test_no_peer_and_link_down_count_as_done(void **state)
{
	struct world *w = *state;
	struct toy *lone = toy_new(w->net, "lone");
	struct pair p = pair_new(w);

	assert_int_equal(toy_send(lone, 'x'), 1);
	toy_post(lone, 'x');
	assert_int_equal(lone->port.count.drops[TWX_DROP_NO_PEER], 2);
	assert_int_equal(lone->port.count.tx_frames, 0);

	twx_port_set_link(&p.b->port, false);
	assert_int_equal(p.a->n_link, 1);
	assert_int_equal(p.b->n_link, 1);
	assert_int_equal(toy_send(p.a, 'x'), 1);
	assert_int_equal(toy_send(p.b, 'x'), 1);
	assert_int_equal(p.a->n_got + p.b->n_got, 0);
	assert_int_equal(p.a->port.count.drops[TWX_DROP_LINK_DOWN], 1);
	twx_port_set_link(&p.b->port, true);
	assert_int_equal(p.a->n_link, 2);
	assert_int_equal(toy_send(p.a, 'y'), 1);
	toy_expect(p.b, "y");
	pair_free(p);
	toy_free(lone);
}

static void test_link_down_drops_queue_and_frees_sender(void **state)
{
	struct pair p = pair_new(*state);

	p.b->room = 0;
	toy_post(p.a, '1');
	assert_int_equal(toy_send(p.a, '2'), 0);
	twx_port_set_link(&p.a->port, false);
	assert_null(p.b->port.queue);
	assert_int_equal(p.b->port.count.drops[TWX_DROP_LINK_DOWN], 1);
	world_poll(*state);
	assert_int_equal(p.a->n_resumed, 1); /* so that its ring drains */
	assert_int_equal(toy_send(p.a, '2'), 1);
	pair_free(p);
}

static void test_unpair_while_queued(void **state)
{
	struct pair p = pair_new(*state);

	p.b->room = 0;
	toy_post(p.a, '1');
	assert_int_equal(toy_send(p.a, '2'), 0);
	twx_port_unpair(&p.b->port);
	assert_int_equal(p.b->port.count.drops[TWX_DROP_NO_PEER], 1);
	assert_null(p.b->port.queue);
	assert_int_equal(p.a->n_peer, 2);
	world_poll(*state);
	assert_int_equal(p.a->n_resumed, 1);
	p.b->room = TOY_NO_LIMIT;
	twx_port_ready(&p.b->port);
	assert_int_equal(p.b->n_got, 0);
	pair_free(p);
}

static void test_no_op_after_fini(void **state)
{
	struct pair p = pair_new(*state);

	p.b->room = 0;
	toy_post(p.a, '1');
	assert_int_equal(toy_send(p.a, '2'), 0);
	p.b->room = 10;
	twx_port_unpair(&p.b->port); /* has put off a's resume */
	twx_port_fini(&p.a->port);
	world_poll(*state);
	assert_int_equal(p.a->n_resumed, 0);
	toy_free(p.b);
	toy_forget(p.a);
	free(p.a->got);
	free(p.a);
}

static void test_sizes_have_one_choke_point(void **state)
{
	struct pair p = pair_new(*state);
	struct twx_frame f[4] = { toy_frame(13, 0), toy_frame(1515, 'l'), toy_frame(1514, 'k'),
				  toy_frame(0, 0) };

	twx_port_set_caps(&p.b->port, (struct twx_caps){ .max_frame = 1514 });
	assert_int_equal(p.a->n_peer, 2);
	assert_int_equal(twx_port_send(&p.a->port, f, 4), 4);
	toy_expect(p.b, "k");
	assert_int_equal(p.a->port.count.drops[TWX_DROP_TOO_SHORT], 2);
	assert_int_equal(p.a->port.count.drops[TWX_DROP_TOO_LONG], 1);
	p.b->room = 0;
	twx_port_post(&p.a->port, f, 4);
	assert_int_equal(p.b->port.count.queued, 1);
	assert_int_equal(p.a->port.count.drops[TWX_DROP_TOO_SHORT], 4);
	pair_free(p);
}

/* A frame whose length field says 4 GiB must not be believed, whatever its iovecs say. */
static void test_absurd_length_is_dropped(void **state)
{
	struct pair p = pair_new(*state);
	struct twx_frame f = toy_frame(60, 'x');

	f.len = UINT32_MAX;
	assert_int_equal(twx_port_send(&p.a->port, &f, 1), 1);
	f.len = 0x80000010;
	twx_port_post(&p.a->port, &f, 1);
	assert_int_equal(p.b->n_got, 0);
	assert_int_equal(p.a->port.count.drops[TWX_DROP_TOO_LONG], 2);
	pair_free(p);
}

static void test_lease_commit_and_abort(void **state)
{
	struct pair p = pair_new(*state);
	struct twx_meta meta = { 0 };
	struct twx_lease lease;

	assert_int_equal(twx_port_reserve(&p.a->port, 14, 1514, &lease), 0);
	assert_int_equal(lease.len, 2000);
	twx_port_commit(&p.a->port, &lease, 1000, &meta);
	assert_int_equal(p.b->n_committed, 1);
	assert_int_equal(p.b->committed, 1000);
	assert_int_equal(p.a->port.count.tx_frames, 1);
	assert_int_equal(p.b->port.count.rx_bytes, 1000);
	assert_int_equal(twx_port_reserve(&p.a->port, 14, 1514, &lease), 0);
	twx_port_abort(&p.a->port, &lease);
	assert_int_equal(p.b->n_aborted, 1);
	assert_int_equal(toy_send(p.a, 'x'), 1);
	assert_int_equal(p.b->port.count.rx_frames, 2);
	pair_free(p);
}

static void test_lease_refusals(void **state)
{
	struct world *w = *state;
	struct pair p = pair_new(w);
	struct toy *lone = toy_new(w->net, "lone"), *plain = malloc(sizeof(*plain));
	struct twx_lease lease;

	assert_int_equal(twx_port_reserve(&lone->port, 14, 100, &lease), -ENOLINK);
	toy_setup(plain, w->net, "plain", TWX_PORT_BACKEND, &toy_plain_ops);
	twx_port_pair(&plain->port, &lone->port, NULL);
	assert_int_equal(twx_port_reserve(&lone->port, 14, 100, &lease), -EOPNOTSUPP);
	assert_int_equal(twx_port_reserve(&plain->port, 14, 100, &lease), 0);
	twx_port_abort(&plain->port, &lease);

	twx_port_set_link(&p.b->port, false);
	assert_int_equal(twx_port_reserve(&p.a->port, 14, 100, &lease), -ENOLINK);
	twx_port_set_link(&p.b->port, true);

	p.b->lease_room = 0;
	assert_int_equal(twx_port_reserve(&p.a->port, 14, 100, &lease), -EAGAIN);
	assert_true(p.b->port.rx_busy);
	twx_port_ready(&p.b->port);
	assert_int_equal(p.a->n_resumed, 1); /* being refused a lease is waiting */
	assert_int_equal(twx_port_reserve(&p.a->port, 14, 100, &lease), -EAGAIN);
	assert_int_equal(toy_send(p.a, 'x'), 0);
	p.b->lease_room = 2000;
	assert_int_equal(twx_port_reserve(&p.a->port, 14, 100, &lease), -EAGAIN);
	twx_port_ready(&p.b->port);
	assert_int_equal(p.a->n_resumed, 2);
	assert_int_equal(twx_port_reserve(&p.a->port, 14, 100, &lease), 0);
	twx_port_abort(&p.a->port, &lease);
	pair_free(p);
	toy_free(lone);
	toy_free(plain);
}

static void test_lease_bad_commit(void **state)
{
	struct pair p = pair_new(*state);
	struct twx_meta none = { 0 }, csum = { .flags = TWX_F_NEEDS_CSUM },
			tso = { .gso = TWX_GSO_TCPV4 }, wild = { .gso = 200 };
	struct twx_lease lease;

	twx_port_set_caps(&p.b->port, (struct twx_caps){ .max_frame = 1514 });
	assert_int_equal(twx_port_reserve(&p.a->port, 14, 1514, &lease), 0);
	twx_port_commit(&p.a->port, &lease, 13, &none);
	assert_int_equal(twx_port_reserve(&p.a->port, 14, 1514, &lease), 0);
	twx_port_commit(&p.a->port, &lease, 1515, &none);
	assert_int_equal(twx_port_reserve(&p.a->port, 14, 1514, &lease), 0);
	twx_port_commit(&p.a->port, &lease, 100, &csum);
	assert_int_equal(twx_port_reserve(&p.a->port, 14, 1514, &lease), 0);
	twx_port_commit(&p.a->port, &lease, 100, &tso);
	assert_int_equal(twx_port_reserve(&p.a->port, 14, 1514, &lease), 0);
	twx_port_commit(&p.a->port, &lease, 100, &wild);
	assert_int_equal(p.b->n_committed, 0);
	assert_int_equal(p.b->n_aborted, 5);
	assert_int_equal(p.a->port.count.drops[TWX_DROP_BAD_META], 3);
	assert_int_equal(p.a->port.count.drops[TWX_DROP_TOO_LONG], 1);
	assert_int_equal(p.a->port.count.drops[TWX_DROP_TOO_SHORT], 1);
	pair_free(p);
}

static void test_frames_wait_while_a_lease_is_open(void **state)
{
	struct pair p = pair_new(*state);
	struct twx_meta none = { 0 };
	struct twx_lease lease, second;

	assert_int_equal(twx_port_reserve(&p.a->port, 14, 1514, &lease), 0);
	toy_post(p.a, 'q'); /* toy_receive() asserts that no lease is open */
	assert_int_equal(toy_send(p.a, 'r'), 0);
	assert_int_equal(twx_port_reserve(&p.a->port, 14, 1514, &second), -EOPNOTSUPP);
	assert_int_equal(p.b->n_got, 0);
	twx_port_commit(&p.a->port, &lease, 60, &none);
	toy_expect(p.b, "q");
	world_poll(*state);
	assert_int_equal(p.a->n_resumed, 1);
	pair_free(p);
}

static void test_no_lease_behind_queued_frames(void **state)
{
	struct pair p = pair_new(*state);
	struct twx_lease lease;

	p.b->room = 0;
	toy_post(p.a, 'q');
	assert_int_equal(twx_port_reserve(&p.a->port, 14, 1514, &lease), -EAGAIN);
	p.b->room = 1;
	twx_port_ready(&p.b->port);
	assert_int_equal(twx_port_reserve(&p.a->port, 14, 1514, &lease), 0);
	twx_port_abort(&p.a->port, &lease);
	pair_free(p);
}

static void test_unpair_takes_lease_back(void **state)
{
	struct pair p = pair_new(*state);
	struct twx_meta none = { 0 };
	struct twx_lease lease;

	assert_int_equal(twx_port_reserve(&p.a->port, 14, 1514, &lease), 0);
	twx_port_unpair(&p.a->port);
	assert_int_equal(p.b->n_aborted, 1);
	twx_port_commit(&p.a->port, &lease, 60, &none);
	assert_int_equal(p.b->n_committed, 0);
	assert_false(p.b->port.in_receive);
	pair_free(p);
}

static void test_pairing_rules(void **state)
{
	struct world *w = *state;
	struct pair p = pair_new(w);
	struct toy *c = toy_new(w->net, "c");
	struct twx_error e;

	assert_int_equal(twx_port_pair(&c->port, &c->port, &e), -EINVAL);
	assert_int_equal(twx_port_pair(&c->port, &p.a->port, &e), -EBUSY);
	assert_non_null(strstr(e.what, "a is already paired with b"));
	assert_null(c->port.peer);
	assert_int_equal(
		twx_port_init(&c->port, w->net, w->loop, TWX_PORT_NIC, "", "m", 0, &toy_ops, c, &e),
		-EINVAL);
	toy_free(c);
	pair_free(p);
}

static void test_names_of_drops(void **state)
{
	assert_string_equal(twx_drop_name(TWX_DROP_QUEUE_FULL), "queue-full");
	assert_string_equal(twx_drop_name(TWX_DROP_HOST_ERROR), "host-error");
	assert_string_equal(twx_drop_name(TWX_N_DROPS), "unknown");
}

static void test_announce_is_a_rarp(void **state)
{
	static const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };
	struct pair p = pair_new(*state);
	const uint8_t *d;

	twx_port_announce(&p.a->port, mac);
	assert_int_equal(p.b->n_got, 1);
	assert_int_equal(p.b->got[0].len, 60);
	d = p.b->got[0].data;
	assert_memory_equal(d, "\xff\xff\xff\xff\xff\xff\x52\x54\0\1\2\3\x80\x35\0\1\x08\0\6\4\0\3",
			    22);
	assert_memory_equal(d + 22, "\x52\x54\0\1\2\3\0\0\0\0\x52\x54\0\1\2\3\0\0\0\0", 20);
	pair_free(p);
}

static void test_hops_are_traced(void **state)
{
	struct pair p = pair_new(*state);
	struct twx_trace *tr = twx_loop_trace(((struct world *)*state)->loop);

	assert_int_equal(twx_trace_enable(tr, "port *"), 0);
	assert_int_equal(twx_trace_enable(tr, "queue *"), 0);
	toy_send(p.a, 'x');
	p.b->room = 0;
	toy_post(p.a, 'y');
	assert_int_equal(tr->n, 5);
	assert_int_equal(tr->ring[0].hop, TWX_HOP_PORT_SEND);
	assert_string_equal(tr->ring[0].where, "a");
	assert_int_equal(tr->ring[1].hop, TWX_HOP_PORT_RECEIVE);
	assert_string_equal(tr->ring[1].where, "b");
	assert_int_equal(tr->ring[4].hop, TWX_HOP_QUEUE_APPEND);
	twx_trace_disable(tr);
	pair_free(p);
}

static void test_5000_ports(void **state)
{
	enum { N = 5000 };
	struct world *w = *state;
	struct twx_port *ports = calloc(N, sizeof(*ports));
	struct toy *t = toy_new(w->net, "sink");
	char name[16];
	int i;

	for (i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		assert_int_equal(twx_port_init(&ports[i], w->net, w->loop, TWX_PORT_BACKEND, name,
					       "toy", 0, &toy_ops, t, NULL),
				 0);
	}
	for (i = 0; i < N; i += 2)
		assert_int_equal(twx_port_pair(&ports[i], &ports[i + 1], NULL), 0);
	for (i = 0; i < N; i++) {
		struct twx_frame f = toy_frame(60, 'x');

		assert_int_equal(twx_port_send(&ports[i], &f, 1), 1);
	}
	assert_int_equal(t->n_got, N);
	assert_int_equal(twx_net_set_link(w->net, "p4999", false, NULL), 0);
	assert_true(ports[4999].link_down);
	for (i = 0; i < N; i++)
		twx_port_fini(&ports[(i * 7) % N]);
	assert_ptr_equal(twx_net_ports(w->net), &t->port);
	toy_free(t);
	free(ports);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_send_delivers_in_order),
		world_test(test_long_burst_is_split),
		world_test(test_busy_receiver_leaves_frames_with_sender),
		world_test(test_posts_wait_in_the_queue_and_go_first),
		world_test(test_post_is_bounded_in_frames),
		world_test(test_post_is_bounded_in_bytes),
		world_test(test_resume_may_send),
		world_test(test_ready_inside_receive_is_put_off),
		world_test(test_answer_does_not_reenter),
		world_test(test_retaining_sender_is_refused_on_reentry),
		world_test(test_what_is_left_goes_before_what_came_meanwhile),
		world_test(test_no_peer_and_link_down_count_as_done),
		world_test(test_link_down_drops_queue_and_frees_sender),
		world_test(test_unpair_while_queued),
		world_test(test_no_op_after_fini),
		world_test(test_sizes_have_one_choke_point),
		world_test(test_absurd_length_is_dropped),
		world_test(test_lease_commit_and_abort),
		world_test(test_lease_refusals),
		world_test(test_lease_bad_commit),
		world_test(test_frames_wait_while_a_lease_is_open),
		world_test(test_no_lease_behind_queued_frames),
		world_test(test_unpair_takes_lease_back),
		world_test(test_pairing_rules),
		world_test(test_names_of_drops),
		world_test(test_announce_is_a_rarp),
		world_test(test_hops_are_traced),
		world_test(test_5000_ports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
