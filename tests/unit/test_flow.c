/* SPDX-License-Identifier: BSD-3-Clause */
/* The flow table: lookup, reuse of slots, age order, bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backends/user/flow.h"
#include "backends/user/user.h"

static struct user *user_new(uint32_t max)
{
	struct user *u = calloc(1, sizeof(*u));

	assert_non_null(u);
	assert_int_equal(flow_table_init(&u->flows, u, max), 0);
	return u;
}

static void user_free(struct user *u)
{
	assert_int_equal(u->flows.n, 0);
	flow_table_fini(&u->flows);
	free(u);
}

static struct flow_key key_of(enum flow_kind kind, uint16_t port)
{
	struct flow_key key = { .guest_port = port, .peer_port = 80, .kind = kind };

	key.guest.s6_addr[15] = 15;
	key.peer.s6_addr[15] = 2;
	return key;
}

static void finds_what_was_entered(void **state)
{
	struct user *u = user_new(1000);
	struct flow_key key;

	for (unsigned int i = 0; i < 1000; i++) {
		key = key_of(i & 1 ? FLOW_TCP : FLOW_UDP, (uint16_t)i);
		assert_null(flow_find(&u->flows, &key));
		assert_non_null(flow_new(&u->flows, &key, i));
	}
	assert_int_equal(u->flows.count[FLOW_TCP], 500);
	for (unsigned int i = 0; i < 1000; i++) {
		struct flow *f;

		key = key_of(i & 1 ? FLOW_TCP : FLOW_UDP, (uint16_t)i);
		f = flow_find(&u->flows, &key);
		assert_non_null(f);
		assert_memory_equal(&f->key, &key, sizeof(key));
		assert_int_equal(f->last_used, i);
		assert_int_equal(f->fd, -1);
		assert_ptr_equal(flow_of_watch(&flow_io(&u->flows, f)->watch), f);
		assert_ptr_equal(flow_of_timer(&flow_io(&u->flows, f)->timer), f);
		flow_free(&u->flows, f);
		assert_null(flow_find(&u->flows, &key));
	}
	user_free(u);
}

static void kinds_are_apart(void **state)
{
	struct user *u = user_new(4);
	struct flow_key tcp = key_of(FLOW_TCP, 1), udp = key_of(FLOW_UDP, 1);
	struct flow *f = flow_new(&u->flows, &tcp, 0);

	assert_null(flow_find(&u->flows, &udp));
	flow_free(&u->flows, f);
	user_free(u);
}

/* An all-zero address and port must not match a free slot (CVE-2014-3640). */
static void free_slots_match_nothing(void **state)
{
	struct user *u = user_new(4);
	struct flow_key key = { .kind = FLOW_UDP }, zero = { 0 };
	struct flow *f = flow_new(&u->flows, &key, 0);

	assert_ptr_equal(flow_find(&u->flows, &key), f);
	flow_free(&u->flows, f);
	assert_null(flow_find(&u->flows, &key));
	assert_null(flow_find(&u->flows, &zero));
	user_free(u);
}

static void full_table_says_so(void **state)
{
	struct user *u = user_new(3);
	struct flow *f[3];
	struct flow_key key;

	for (int round = 0; round < 3; round++) {
		for (uint16_t i = 0; i < 3; i++) {
			key = key_of(FLOW_TCP, i);
			f[i] = flow_new(&u->flows, &key, i);
			assert_non_null(f[i]);
		}
		key = key_of(FLOW_TCP, 99);
		assert_null(flow_new(&u->flows, &key, 9));
		/* one freed slot is enough again, whichever it was */
		flow_free(&u->flows, f[1]);
		f[1] = flow_new(&u->flows, &key, 9);
		assert_non_null(f[1]);
		assert_ptr_equal(flow_find(&u->flows, &key), f[1]);
		for (int i = 0; i < 3; i++)
			flow_free(&u->flows, f[i]);
	}
	user_free(u);
}

static void oldest_follows_use(void **state)
{
	struct user *u = user_new(8);
	struct flow *f[4];
	static const int order[] = { 1, 3, 0, 2 };

	assert_null(flow_oldest(&u->flows, FLOW_TCP));
	for (uint16_t i = 0; i < 4; i++) {
		struct flow_key key = key_of(FLOW_TCP, i);

		f[i] = flow_new(&u->flows, &key, i);
	}
	flow_touch(&u->flows, f[0], 10);
	flow_touch(&u->flows, f[2], 11);
	flow_touch(&u->flows, f[2], 12);
	assert_null(flow_oldest(&u->flows, FLOW_UDP));
	for (int i = 0; i < 4; i++) {
		assert_ptr_equal(flow_oldest(&u->flows, FLOW_TCP), f[order[i]]);
		flow_free(&u->flows, f[order[i]]);
	}
	user_free(u);
}

static void free_closes_the_socket(void **state)
{
	struct user *u = user_new(2);
	struct flow_key key = key_of(FLOW_TCP, 1);
	struct flow *f = flow_new(&u->flows, &key, 0);
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	f->fd = fds[1];
	flow_io(&u->flows, f)->tail = malloc(10);
	flow_free(&u->flows, f);
	/* end of file: nobody holds the writing end any more */
	assert_int_equal(read(fds[0], &key, 1), 0);
	close(fds[0]);
	user_free(u);
}

static void hash_depends_on_the_key(void **state)
{
	struct user *a = user_new(2), *b = user_new(2);

	assert_int_equal(flow_hash(&a->flows, "abc", 3), flow_hash(&a->flows, "abc", 3));
	assert_true(flow_hash(&a->flows, "abc", 3) != flow_hash(&b->flows, "abc", 3));
	user_free(a);
	user_free(b);
}

static void refuses_silly_sizes(void **state)
{
	struct flow_table t;

	assert_true(flow_table_init(&t, NULL, 0) < 0);
	assert_true(flow_table_init(&t, NULL, UINT32_MAX) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_what_was_entered),
		cmocka_unit_test(kinds_are_apart),
		cmocka_unit_test(free_slots_match_nothing),
		cmocka_unit_test(full_table_says_so),
		cmocka_unit_test(oldest_follows_use),
		cmocka_unit_test(free_closes_the_socket),
		cmocka_unit_test(hash_depends_on_the_key),
		cmocka_unit_test(refuses_silly_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
