/* SPDX-License-Identifier: BSD-3-Clause */
/* A loop whose clock is moved by hand: timers in order at their own times, tasks settled between.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/loop_virtual.h"
#include "base/macros.h"

#define MS 1000000ull
#define MAX_SEEN 64

struct fix {
	struct twx_loop *loop;
	struct twx_watch hand; /* whose callback moves the clock */
	void (*in_hand)(struct fix *f);
	uint64_t start, to;
	unsigned int budget;
	bool done;
	uint64_t seen[MAX_SEEN]; /* times since the start, by who ran */
	char who[MAX_SEEN + 1];
	unsigned int n;
};

struct bell {
	struct twx_timer t;
	struct twx_task task;
	struct fix *f;
	char name;
	uint64_t again; /* ns from now; 0: once */
	bool defers;
};

static void note(struct fix *f, char who)
{
	assert_true(f->n < MAX_SEEN);
	f->seen[f->n] = twx_loop_now(f->loop) - f->start;
	f->who[f->n++] = who;
}

static void bell_task(struct twx_task *t)
{
	note(container_of(t, struct bell, task)->f, 't');
}

static void bell_rings(struct twx_timer *t)
{
	struct bell *b = container_of(t, struct bell, t);

	note(b->f, b->name);
	if (b->again)
		twx_timer_set(t, twx_loop_now(b->f->loop) + b->again);
	if (b->defers)
		twx_loop_defer(b->f->loop, &b->task);
}

static void bell_set(struct bell *b, struct fix *f, char name, uint64_t in)
{
	*b = (struct bell){ .f = f, .name = name, .task.fn = bell_task };
	twx_timer_init(&b->t, f->loop, bell_rings);
	twx_timer_set(&b->t, f->start + in);
}

static void hand_ready(struct twx_watch *w, uint32_t events)
{
	struct fix *f = container_of(w, struct fix, hand);
	uint64_t v;

	assert_int_equal(read(w->fd, &v, sizeof(v)), sizeof(v));
	if (f->in_hand)
		f->in_hand(f);
	else
		f->done = loop_virtual_advance(f->loop, f->start + f->to, f->budget);
}

static void by_hand(struct fix *f)
{
	uint64_t one = 1;

	assert_int_equal(write(f->hand.fd, &one, sizeof(one)), sizeof(one));
	assert_true(twx_loop_poll(f->loop, 0) >= 1);
}

static void advance(struct fix *f, uint64_t to, unsigned int budget)
{
	f->to = to;
	f->budget = budget;
	by_hand(f);
}

static int setup(void **state)
{
	static struct fix fix;
	struct fix *f = &fix;

	*f = (struct fix){ 0 };
	assert_int_equal(twx_loop_new(&f->loop, NULL), 0);
	assert_int_equal(loop_virtual_start(f->loop), 0);
	f->start = twx_loop_now(f->loop);
	assert_int_equal(
		twx_watch_add(&f->hand, f->loop, eventfd(0, EFD_CLOEXEC), EPOLLIN, hand_ready), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;
	int fd = f->hand.fd;

	twx_watch_del(&f->hand);
	close(fd);
	twx_loop_free(f->loop);
	return 0;
}

static void time_stands_still(void **state)
{
	struct fix *f = *state;
	struct bell a;

	bell_set(&a, f, 'a', 1);
	usleep(2000);
	assert_int_equal(twx_loop_poll(f->loop, 0), 0);
	assert_int_equal(twx_loop_now(f->loop), f->start);
	assert_int_equal(loop_virtual_next(f->loop), f->start + 1);
	twx_timer_cancel(&a.t);
	assert_true(loop_virtual_next(f->loop) == UINT64_MAX);
}

static void each_timer_runs_at_its_own_time(void **state)
{
	struct fix *f = *state;
	struct bell a, b, c;

	bell_set(&a, f, 'a', 5 * MS);
	bell_set(&b, f, 'b', 3 * MS);
	bell_set(&c, f, 'c', 9 * MS);
	b.again = 4 * MS;
	b.defers = true;
	advance(f, 8 * MS, 100);
	assert_true(f->done);
	assert_string_equal(f->who, "btabt");
	assert_int_equal(f->seen[0], 3 * MS);
	assert_int_equal(f->seen[1], 3 * MS); /* the task, before the clock goes on */
	assert_int_equal(f->seen[2], 5 * MS);
	assert_int_equal(f->seen[3], 7 * MS);
	assert_int_equal(twx_loop_now(f->loop), f->start + 8 * MS);
	twx_timer_cancel(&b.t);
	twx_timer_cancel(&c.t);
}

static void the_clock_never_goes_back(void **state)
{
	struct fix *f = *state;

	advance(f, 8 * MS, 1);
	advance(f, 2 * MS, 1);
	assert_true(f->done);
	assert_int_equal(twx_loop_now(f->loop), f->start + 8 * MS);
}

static void a_step_is_taken_in_pieces(void **state)
{
	struct fix *f = *state;
	struct bell a;

	bell_set(&a, f, 'a', 1 * MS);
	a.again = 1 * MS;
	advance(f, 25 * MS, 10);
	assert_false(f->done);
	assert_int_equal(f->n, 10);
	assert_int_equal(twx_loop_now(f->loop), f->start + 10 * MS);
	advance(f, 25 * MS, 10);
	assert_false(f->done);
	advance(f, 25 * MS, 10);
	assert_true(f->done);
	assert_int_equal(f->n, 25);
	twx_timer_cancel(&a.t);
}

static void a_timer_that_is_due_already_needs_no_step(void **state)
{
	struct fix *f = *state;
	struct bell a;

	advance(f, 8 * MS, 1);
	bell_set(&a, f, 'a', 3 * MS);
	assert_int_equal(twx_loop_poll(f->loop, 1000), 1);
	assert_string_equal(f->who, "a");
	assert_int_equal(f->seen[0], 8 * MS);
}

static void settle_twice(struct fix *f)
{
	struct bell b = { .f = f, .task.fn = bell_task };

	twx_loop_defer(f->loop, &b.task);
	assert_int_equal(f->n, 0);
	loop_settle(f->loop);
	assert_int_equal(f->n, 1);
	twx_loop_defer(f->loop, &b.task);
	loop_settle(f->loop);
	assert_int_equal(f->n, 2);
	twx_loop_post(f->loop, &b.task);
	loop_settle(f->loop);
	assert_int_equal(f->n, 3);
}

static void deferred_work_can_be_settled_at_once(void **state)
{
	struct fix *f = *state;

	f->in_hand = settle_twice;
	by_hand(f);
	assert_string_equal(f->who, "ttt");
}

static void again_and_again(struct twx_task *t)
{
	struct bell *b = container_of(t, struct bell, task);

	b->again++;
	twx_loop_defer(b->f->loop, t);
}

static void settle_the_restless(struct fix *f)
{
	struct bell b = { .f = f, .task.fn = again_and_again };

	twx_loop_defer(f->loop, &b.task);
	loop_settle(f->loop);
	assert_true(b.again > 1);
	twx_loop_undefer(f->loop, &b.task);
}

static void a_task_that_never_rests_does_not_hold_the_loop(void **state)
{
	struct fix *f = *state;

	f->in_hand = settle_the_restless;
	by_hand(f);
}

static void real_time_comes_back(void **state)
{
	struct fix *f = *state;
	struct bell a;

	bell_set(&a, f, 'a', 1);
	loop_virtual_stop(f->loop);
	assert_int_equal(twx_loop_poll(f->loop, 20000), 1);
	assert_string_equal(f->who, "a");
	assert_true(twx_loop_now(f->loop) > f->start);
}

static void one_hand_has_the_clock(void **state)
{
	struct fix *f = *state;

	assert_int_equal(loop_virtual_start(f->loop), -EBUSY);
	assert_int_equal(twx_loop_share(f->loop), -EBUSY);
	loop_virtual_stop(f->loop);
	assert_int_equal(twx_loop_share(f->loop), 0);
	assert_int_equal(loop_virtual_start(f->loop), -EBUSY);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(time_stands_still),
		T(each_timer_runs_at_its_own_time),
		T(the_clock_never_goes_back),
		T(a_step_is_taken_in_pieces),
		T(a_timer_that_is_due_already_needs_no_step),
		T(deferred_work_can_be_settled_at_once),
		T(a_task_that_never_rests_does_not_hold_the_loop),
		T(real_time_comes_back),
		T(one_hand_has_the_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
