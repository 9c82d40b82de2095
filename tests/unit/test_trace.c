/* SPDX-License-Identifier: BSD-3-Clause */
/* The trace ring: patterns, off by default, wrapping, names. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <twinax/loop.h>
#include <twinax/trace.h>

static void off_records_nothing(void **state)
{
	struct twx_trace tr = { 0 };

	TWX_TRACE(&tr, TWX_HOP_DROP, "n0", 60, 1);
	assert_int_equal(tr.n, 0);
	assert_null(tr.ring);
	twx_trace_disable(&tr);
}

static void pattern_selects_hops(void **state)
{
	struct twx_trace tr = { 0 };

	assert_int_equal(twx_trace_enable(&tr, "port *"), 0);
	TWX_TRACE(&tr, TWX_HOP_PORT_SEND, "n0", 60, 2);
	TWX_TRACE(&tr, TWX_HOP_QUEUE_APPEND, "n0", 61, 3);
	TWX_TRACE(&tr, TWX_HOP_PORT_RECEIVE, NULL, 62, 4);
	assert_int_equal(tr.n, 2);
	assert_int_equal(tr.ring[0].hop, TWX_HOP_PORT_SEND);
	assert_string_equal(tr.ring[0].where, "n0");
	assert_int_equal(tr.ring[0].len, 60);
	assert_int_equal(tr.ring[0].arg, 2);
	assert_int_equal(tr.ring[1].hop, TWX_HOP_PORT_RECEIVE);
	assert_string_equal(tr.ring[1].where, "");
	assert_true(tr.ring[0].t && tr.ring[0].t <= tr.ring[1].t);
	/* A second pattern adds to the first. */
	assert_int_equal(twx_trace_enable(&tr, "queue append"), 0);
	TWX_TRACE(&tr, TWX_HOP_QUEUE_APPEND, "n0", 61, 3);
	assert_int_equal(tr.n, 3);
	twx_trace_disable(&tr);
	TWX_TRACE(&tr, TWX_HOP_PORT_SEND, "n0", 60, 2);
	assert_int_equal(tr.n, 0);
}

static void bad_patterns_change_nothing(void **state)
{
	struct twx_trace tr = { 0 };
	char stars[5000];

	memset(stars, '*', sizeof(stars) - 1);
	stars[sizeof(stars) - 1] = '\0';
	assert_int_equal(twx_trace_enable(&tr, "no such hop"), -ENOENT);
	assert_int_equal(twx_trace_enable(&tr, ""), -ENOENT);
	assert_int_equal(twx_trace_enable(&tr, stars), -ENOENT);
	assert_int_equal(tr.mask, 0);
	assert_null(tr.ring);
}

static void ring_keeps_the_latest(void **state)
{
	struct twx_trace tr = { 0 };
	uint32_t total;

	assert_int_equal(twx_trace_enable(&tr, "*"), 0);
	assert_int_equal(tr.size & (tr.size - 1), 0);
	total = tr.size + 10;
	for (uint32_t i = 0; i < total; i++)
		TWX_TRACE(&tr, TWX_HOP_DROP, "a name that is longer than its place", i, 0);
	assert_int_equal(tr.n, total);
	assert_int_equal(tr.ring[(total - 1) % tr.size].len, total - 1);
	assert_int_equal(tr.ring[total % tr.size].len, total - tr.size);
	assert_string_equal(tr.ring[0].where, "a name that is longer");
	twx_trace_disable(&tr);
}

static void every_hop_is_found_by_its_name(void **state)
{
	for (int hop = 0; hop < TWX_N_HOPS; hop++) {
		struct twx_trace tr = { 0 };

		assert_int_equal(twx_trace_enable(&tr, twx_hop_name(hop)), 0);
		assert_int_equal(tr.mask, (uint64_t)1 << hop);
		assert_true(strlen(twx_hop_help(hop)) > 5);
		twx_trace_disable(&tr);
	}
	assert_string_equal(twx_hop_name(TWX_N_HOPS), "?");
	assert_string_equal(twx_hop_help(TWX_N_HOPS), "");
}

static void a_loop_has_a_ring_and_frees_it(void **state)
{
	struct twx_loop *loop;

	assert_int_equal(twx_loop_new(&loop, NULL), 0);
	assert_int_equal(twx_trace_enable(twx_loop_trace(loop), "*"), 0);
	TWX_TRACE(twx_loop_trace(loop), TWX_HOP_KICK, "q0", 0, 0);
	assert_int_equal(twx_loop_trace(loop)->n, 1);
	twx_loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(off_records_nothing),
		cmocka_unit_test(pattern_selects_hops),
		cmocka_unit_test(bad_patterns_change_nothing),
		cmocka_unit_test(ring_keeps_the_latest),
		cmocka_unit_test(every_hop_is_found_by_its_name),
		cmocka_unit_test(a_loop_has_a_ring_and_frees_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
