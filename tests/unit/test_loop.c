/* SPDX-License-Identifier: BSD-3-Clause */
/* The loop: fds, timers, tasks, and hosting by poll(2). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <twinax/loop.h>

#include "base/macros.h"

#define MS 1000000ull
/* Longer than any machine is slow; a lost wake-up fails instead of hanging. */
#define FOREVER_MS 20000

static int setup(void **state)
{
	return twx_loop_new((struct twx_loop **)state, NULL);
}

static int teardown(void **state)
{
	twx_loop_free(*state);
	return 0;
}

static bool readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static bool becomes_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, FOREVER_MS) == 1;
}

/* A pipe with its read end watched. */
struct end {
	struct twx_watch w;
	int read_fd, write_fd;
	int n_calls;
	uint32_t events;
	struct end *victim; /* deleted by the callback */
	struct end *quieted;
};

static void end_event(struct twx_watch *w, uint32_t events)
{
	struct end *x = container_of(w, struct end, w);
	char c;

	x->n_calls++;
	x->events = events;
	if (events & EPOLLIN)
		assert_int_equal(read(w->fd, &c, 1), 1);
	if (x->victim)
		twx_watch_del(&x->victim->w);
	if (x->quieted)
		assert_int_equal(twx_watch_set(&x->quieted->w, 0), 0);
}

static void end_open(struct end *x, struct twx_loop *loop)
{
	int fds[2];

	*x = (struct end){ 0 };
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	x->read_fd = fds[0];
	x->write_fd = fds[1];
	assert_int_equal(twx_watch_add(&x->w, loop, fds[0], EPOLLIN, end_event), 0);
}

static void end_ready(struct end *x)
{
	assert_int_equal(write(x->write_fd, "x", 1), 1);
}

static void end_close(struct end *x)
{
	twx_watch_del(&x->w);
	close(x->read_fd);
	close(x->write_fd);
}

static void watch_is_called_while_ready(void **state)
{
	struct twx_loop *loop = *state;
	struct end x;

	end_open(&x, loop);
	assert_int_equal(twx_loop_poll(loop, 0), 0);
	end_ready(&x);
	end_ready(&x);
	assert_int_equal(twx_loop_poll(loop, 0), 1);
	assert_int_equal(twx_loop_poll(loop, 0), 1); /* level-triggered: a byte is left */
	assert_int_equal(twx_loop_poll(loop, 0), 0);
	assert_int_equal(x.n_calls, 2);
	assert_int_equal(twx_watch_add(&x.w, loop, x.w.fd, EPOLLIN, end_event), -EEXIST);
	end_close(&x);
	twx_watch_del(&x.w);
}

static void watch_of_a_bad_fd_is_refused(void **state)
{
	struct twx_watch w = { 0 };

	assert_int_equal(twx_watch_add(&w, *state, -1, EPOLLIN, end_event), -EBADF);
	assert_null(w.loop);
	assert_int_equal(twx_watch_set(&w, EPOLLIN), -ENOENT);
}

static void paused_watch_is_silent_even_at_hangup(void **state)
{
	struct twx_loop *loop = *state;
	struct end x;

	end_open(&x, loop);
	assert_int_equal(twx_watch_set(&x.w, 0), 0);
	end_ready(&x);
	close(x.write_fd);
	assert_int_equal(twx_loop_poll(loop, 0), 0);
	assert_false(readable(twx_loop_fd(loop)));
	assert_int_equal(twx_watch_set(&x.w, EPOLLIN), 0);
	assert_int_equal(twx_loop_poll(loop, 0), 1);
	assert_true(x.events & EPOLLIN);
	x.write_fd = dup(0);
	end_close(&x);
}

/* Both are ready; whichever comes first deletes the other. */
static void deleted_in_a_callback_is_not_called(void **state)
{
	struct twx_loop *loop = *state;
	struct end a, b;

	end_open(&a, loop);
	end_open(&b, loop);
	a.victim = &b;
	b.victim = &a;
	end_ready(&a);
	end_ready(&b);
	assert_int_equal(twx_loop_poll(loop, 0), 1);
	assert_int_equal(a.n_calls + b.n_calls, 1);
	end_close(&a);
	end_close(&b);
}

static void replace_victim(struct twx_watch *w, uint32_t events)
{
	struct end *x = container_of(w, struct end, w), *v = x->victim;

	x->n_calls++;
	twx_watch_del(&v->w);
	assert_int_equal(twx_watch_add(&v->w, w->loop, v->write_fd, EPOLLIN, w->fn), 0);
}

/* What the kernel reported of the old fd is not told of the new one. */
static void reused_in_a_callback_is_not_called(void **state)
{
	struct end a, b;

	end_open(&a, *state);
	end_open(&b, *state);
	a.victim = &b;
	b.victim = &a;
	a.w.fn = b.w.fn = replace_victim;
	end_ready(&a);
	end_ready(&b);
	assert_int_equal(twx_loop_poll(*state, 0), 1);
	end_close(&a);
	end_close(&b);
}

static void paused_in_a_callback_is_not_called(void **state)
{
	struct twx_loop *loop = *state;
	struct end a, b;

	end_open(&a, loop);
	end_open(&b, loop);
	a.quieted = &b;
	b.quieted = &a;
	end_ready(&a);
	end_ready(&b);
	assert_int_equal(twx_loop_poll(loop, 0), 1);
	assert_int_equal(a.n_calls + b.n_calls, 1);
	end_close(&a);
	end_close(&b);
}

static void free_self(struct twx_watch *w, uint32_t events)
{
	struct end *x = container_of(w, struct end, w);

	end_close(x);
	free(x);
}

static void a_watch_may_free_itself(void **state)
{
	struct end *x = malloc(sizeof(*x));

	end_open(x, *state);
	x->w.fn = free_self;
	end_ready(x);
	assert_int_equal(twx_loop_poll(*state, 0), 1);
	assert_int_equal(twx_loop_poll(*state, 0), 0);
}

static void more_fds_than_one_round_takes(void **state)
{
	struct twx_loop *loop = *state;
	static struct end ends[150];
	int n = 0;

	for (size_t i = 0; i < array_size(ends); i++) {
		end_open(&ends[i], loop);
		end_ready(&ends[i]);
	}
	for (int i = 0; i < 3; i++)
		n += twx_loop_poll(loop, 0);
	assert_int_equal(n, array_size(ends));
	for (size_t i = 0; i < array_size(ends); i++) {
		assert_int_equal(ends[i].n_calls, 1);
		end_close(&ends[i]);
	}
}

static void poll_inside(struct twx_watch *w, uint32_t events)
{
	struct end *x = container_of(w, struct end, w);

	x->n_calls = twx_loop_poll(w->loop, 0);
	twx_watch_set(w, 0);
}

static void nested_poll_is_refused(void **state)
{
	struct end x;

	end_open(&x, *state);
	x.w.fn = poll_inside;
	end_ready(&x);
	assert_int_equal(twx_loop_poll(*state, 0), 1);
	assert_int_equal(x.n_calls, -EDEADLK);
	end_close(&x);
}

/* Timers */

#define N_TIMERS 500

struct ticker {
	struct twx_timer t;
	uint64_t ran; /* the loop's time */
	int n;
	struct ticker *cancels;
};

static uint64_t last_when;

static void tick(struct twx_timer *t)
{
	struct ticker *x = container_of(t, struct ticker, t);

	x->n++;
	x->ran = twx_loop_now(t->loop);
	assert_true(t->when <= x->ran);
	assert_true(t->when >= last_when);
	last_when = t->when;
	assert_int_equal(t->slot, 0);
	if (x->cancels)
		twx_timer_cancel(&x->cancels->t);
}

static void timers_run_in_order(void **state)
{
	struct twx_loop *loop = *state;
	static struct ticker x[N_TIMERS];
	uint64_t now = twx_loop_now(loop);
	int n = 0, armed = 0;

	last_when = 0;
	memset(x, 0, sizeof(x));
	for (int i = 0; i < N_TIMERS; i++) {
		twx_timer_init(&x[i].t, loop, tick);
		twx_timer_set(&x[i].t, now + (uint64_t)rand() % (20 * MS));
	}
	/* Some move, some go. */
	for (int i = 0; i < N_TIMERS; i += 3)
		twx_timer_set(&x[i].t, now + (uint64_t)rand() % (20 * MS));
	for (int i = 0; i < N_TIMERS; i += 7)
		twx_timer_cancel(&x[i].t);
	for (int i = 0; i < N_TIMERS; i++)
		armed += i % 7 != 0;
	while (n < armed)
		n += twx_loop_poll(loop, FOREVER_MS);
	assert_int_equal(n, armed);
	for (int i = 0; i < N_TIMERS; i++)
		assert_int_equal(x[i].n, i % 7 != 0);
}

static void no_timer_runs_early(void **state)
{
	struct twx_loop *loop = *state;
	struct ticker x = { 0 };
	uint64_t when = twx_loop_now(loop) + 5 * MS;

	last_when = 0;
	twx_timer_init(&x.t, loop, tick);
	twx_timer_set(&x.t, when);
	assert_int_equal(twx_loop_poll(loop, 0), 0);
	while (!x.n)
		assert_true(twx_loop_poll(loop, FOREVER_MS) >= 0);
	assert_true(x.ran >= when);
}

static void moved_later_runs_once_at_the_later_time(void **state)
{
	struct twx_loop *loop = *state;
	struct ticker x = { 0 };
	uint64_t now = twx_loop_now(loop);

	last_when = 0;
	twx_timer_init(&x.t, loop, tick);
	twx_timer_set(&x.t, now + 1 * MS);
	twx_timer_set(&x.t, now + 8 * MS);
	while (!x.n)
		assert_true(twx_loop_poll(loop, FOREVER_MS) >= 0);
	assert_true(x.ran >= now + 8 * MS);
	assert_int_equal(twx_loop_poll(loop, 0), 0);
	assert_int_equal(x.n, 1);
}

static void cancelled_by_another_timer(void **state)
{
	struct twx_loop *loop = *state;
	struct ticker a = { 0 }, b = { 0 };

	last_when = 0;
	twx_timer_init(&a.t, loop, tick);
	twx_timer_init(&b.t, loop, tick);
	a.cancels = &b;
	twx_timer_set(&a.t, 1);
	twx_timer_set(&b.t, 2);
	assert_int_equal(twx_loop_poll(loop, FOREVER_MS), 1);
	assert_int_equal(twx_loop_poll(loop, 0), 0);
	assert_int_equal(a.n, 1);
	assert_int_equal(b.n, 0);
	twx_timer_cancel(&b.t);
}

static void tick_again(struct twx_timer *t)
{
	struct ticker *x = container_of(t, struct ticker, t);

	x->n++;
	twx_timer_set(t, 0);
}

static void a_timer_in_the_past_does_not_starve_the_rest(void **state)
{
	struct twx_loop *loop = *state;
	struct ticker a = { 0 }, b = { 0 };
	struct end x;

	last_when = 0;
	end_open(&x, loop);
	twx_timer_init(&a.t, loop, tick_again);
	twx_timer_init(&b.t, loop, tick);
	twx_timer_set(&a.t, 0);
	twx_timer_set(&b.t, 1);
	assert_true(readable(twx_loop_fd(loop)));
	assert_int_equal(twx_loop_poll(loop, FOREVER_MS), 2);
	assert_int_equal(b.n, 1);
	end_ready(&x);
	for (int i = 0; i < 10; i++)
		assert_true(twx_loop_poll(loop, FOREVER_MS) >= 1);
	assert_true(a.n >= 10);
	assert_int_equal(x.n_calls, 1);
	twx_timer_cancel(&a.t);
	end_close(&x);
}

static void never_is_never(void **state)
{
	struct twx_loop *loop = *state;
	struct ticker x = { 0 };

	twx_timer_init(&x.t, loop, tick);
	twx_timer_set(&x.t, UINT64_MAX);
	assert_int_equal(twx_loop_poll(loop, 0), 0);
	twx_timer_set(&x.t, UINT64_MAX - 1);
	assert_int_equal(twx_loop_poll(loop, 0), 0);
	assert_int_equal(x.n, 0);
	twx_timer_cancel(&x.t);
}

/* Tasks */

struct job {
	struct twx_task t;
	struct twx_loop *loop;
	int n;
	bool again;
	struct job *undefers;
};

static void job_run(struct twx_task *t)
{
	struct job *j = container_of(t, struct job, t);

	j->n++;
	assert_false(t->pending);
	if (j->again)
		twx_loop_defer(j->loop, t);
	if (j->undefers)
		twx_loop_undefer(j->loop, &j->undefers->t);
}

#define JOB(l, ...)                                                                                \
	{                                                                                          \
		.t.fn = job_run, .loop = (l), __VA_ARGS__                                          \
	}

static void deferred_runs_once(void **state)
{
	struct twx_loop *loop = *state;
	struct job j = JOB(loop);

	twx_loop_defer(loop, &j.t);
	twx_loop_defer(loop, &j.t);
	assert_true(j.t.pending);
	assert_true(readable(twx_loop_fd(loop)));
	assert_int_equal(twx_loop_poll(loop, FOREVER_MS), 1);
	assert_int_equal(twx_loop_poll(loop, 0), 0);
	assert_false(readable(twx_loop_fd(loop)));
	assert_int_equal(j.n, 1);
}

static void undeferred_does_not_run(void **state)
{
	struct twx_loop *loop = *state;
	struct job a = JOB(loop), b = JOB(loop), c = JOB(loop);

	twx_loop_defer(loop, &a.t);
	twx_loop_defer(loop, &b.t);
	twx_loop_undefer(loop, &b.t);
	twx_loop_undefer(loop, &b.t);
	twx_loop_defer(loop, &c.t); /* the list's end was the one taken out */
	twx_loop_poll(loop, 0);
	assert_int_equal(a.n, 1);
	assert_int_equal(b.n, 0);
	assert_int_equal(c.n, 1);
	/* One that another thread could have posted, and one of the same round. */
	a.undefers = &b;
	twx_loop_post(loop, &c.t);
	twx_loop_undefer(loop, &c.t);
	twx_loop_defer(loop, &a.t);
	twx_loop_defer(loop, &b.t);
	twx_loop_poll(loop, 0);
	assert_int_equal(a.n, 2);
	assert_int_equal(b.n, 0);
	assert_int_equal(c.n, 1);
}

static void a_task_that_defers_itself_lets_others_run(void **state)
{
	struct twx_loop *loop = *state;
	struct job j = JOB(loop, .again = true);
	struct end x;

	end_open(&x, loop);
	twx_loop_defer(loop, &j.t);
	assert_int_equal(twx_loop_poll(loop, 0), 1);
	assert_true(readable(twx_loop_fd(loop)));
	end_ready(&x);
	assert_int_equal(twx_loop_poll(loop, FOREVER_MS), 2);
	assert_int_equal(x.n_calls, 1);
	assert_int_equal(j.n, 2);
	twx_loop_undefer(loop, &j.t);
	end_close(&x);
}

static void defer_job(struct twx_watch *w, uint32_t events)
{
	struct end *x = container_of(w, struct end, w);
	char c;

	assert_int_equal(read(w->fd, &c, 1), 1);
	twx_loop_defer(w->loop, (struct twx_task *)x->victim);
}

static void deferred_by_many_runs_once_after_all(void **state)
{
	struct twx_loop *loop = *state;
	struct job j = JOB(loop);
	struct end x[8];

	for (size_t i = 0; i < array_size(x); i++) {
		end_open(&x[i], loop);
		x[i].w.fn = defer_job;
		x[i].victim = (struct end *)&j.t;
		end_ready(&x[i]);
	}
	assert_int_equal(twx_loop_poll(loop, 0), array_size(x) + 1);
	assert_int_equal(j.n, 1);
	for (size_t i = 0; i < array_size(x); i++)
		end_close(&x[i]);
}

/* A foreign loop */

static void poll2_hosts_the_loop(void **state)
{
	struct twx_loop *loop = *state;
	int fd = twx_loop_fd(loop);
	struct ticker x = { 0 };
	struct job j = JOB(loop);
	struct end end;

	last_when = 0;
	end_open(&end, loop);
	assert_false(readable(fd));
	/* Each kind of work by itself makes the fd readable, and it is quiet again afterwards. */
	end_ready(&end);
	assert_true(becomes_readable(fd));
	assert_int_equal(twx_loop_poll(loop, 0), 1);
	assert_false(readable(fd));

	twx_timer_init(&x.t, loop, tick);
	for (int i = 1; i <= 3; i++) {
		twx_timer_set(&x.t, twx_loop_now(loop) + 2 * MS);
		while (x.n < i) {
			assert_true(becomes_readable(fd));
			assert_true(twx_loop_poll(loop, 0) >= 0);
		}
		assert_false(readable(fd));
	}
	for (int i = 1; i <= 3; i++) {
		twx_loop_defer(loop, &j.t);
		assert_true(becomes_readable(fd));
		assert_int_equal(twx_loop_poll(loop, 0), 1);
		assert_false(readable(fd));
		twx_loop_post(loop, &j.t);
		assert_true(becomes_readable(fd));
		assert_int_equal(twx_loop_poll(loop, 0), 1);
		assert_int_equal(j.n, 2 * i);
		assert_false(readable(fd));
	}
	end_close(&end);
}

static void arm_inside(struct twx_watch *w, uint32_t events)
{
	struct end *x = container_of(w, struct end, w);
	char c;

	assert_int_equal(read(w->fd, &c, 1), 1);
	twx_timer_set(&((struct ticker *)x->victim)->t, twx_loop_now(w->loop) + MS);
}

static void timers_armed_in_a_callback_reach_the_foreign_loop(void **state)
{
	struct twx_loop *loop = *state;
	struct ticker x = { 0 };
	struct end end;

	last_when = 0;
	twx_timer_init(&x.t, loop, tick);
	end_open(&end, loop);
	end.w.fn = arm_inside;
	end.victim = (struct end *)&x;
	end_ready(&end);
	assert_int_equal(twx_loop_poll(loop, 0), 1);
	while (!x.n) {
		assert_true(becomes_readable(twx_loop_fd(loop)));
		assert_true(twx_loop_poll(loop, 0) >= 0);
	}
	end_close(&end);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(watch_is_called_while_ready),
		T(watch_of_a_bad_fd_is_refused),
		T(paused_watch_is_silent_even_at_hangup),
		T(deleted_in_a_callback_is_not_called),
		T(reused_in_a_callback_is_not_called),
		T(paused_in_a_callback_is_not_called),
		T(a_watch_may_free_itself),
		T(more_fds_than_one_round_takes),
		T(nested_poll_is_refused),
		T(timers_run_in_order),
		T(no_timer_runs_early),
		T(moved_later_runs_once_at_the_later_time),
		T(cancelled_by_another_timer),
		T(a_timer_in_the_past_does_not_starve_the_rest),
		T(never_is_never),
		T(deferred_runs_once),
		T(undeferred_does_not_run),
		T(a_task_that_defers_itself_lets_others_run),
		T(deferred_by_many_runs_once_after_all),
		T(poll2_hosts_the_loop),
		T(timers_armed_in_a_callback_reach_the_foreign_loop),
	};

	srand(1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
