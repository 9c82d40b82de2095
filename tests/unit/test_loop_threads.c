/* SPDX-License-Identifier: BSD-3-Clause */
/* The loop among other threads, signals and child processes. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <twinax/loop.h>

#include "base/macros.h"

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

/* Other threads */

#define N_THREADS 4
#define N_POSTS 5000

struct poster {
	struct twx_task t;
	struct twx_loop *loop;
	unsigned int *n_done, *last, seq, thread;
};

static void posted_run(struct twx_task *t)
{
	struct poster *p = container_of(t, struct poster, t);

	/* A thread's posts arrive in its order. */
	assert_true(p->seq > p->last[p->thread]);
	p->last[p->thread] = p->seq;
	if (++*p->n_done == N_THREADS * N_POSTS)
		twx_loop_stop(p->loop);
	free(p);
}

struct thread_arg {
	struct twx_loop *loop;
	unsigned int *n_done, *last, thread;
};

static void *post_many(void *opaque)
{
	struct thread_arg *a = opaque;

	for (unsigned int i = 1; i <= N_POSTS; i++) {
		struct poster *p = calloc(1, sizeof(*p));

		p->t.fn = posted_run;
		p->loop = a->loop;
		p->n_done = a->n_done;
		p->last = a->last;
		p->seq = i;
		p->thread = a->thread;
		twx_loop_post(a->loop, &p->t);
	}
	return NULL;
}

static void posts_from_threads_all_arrive(void **state)
{
	struct thread_arg args[N_THREADS];
	pthread_t threads[N_THREADS];
	unsigned int n_done = 0, last[N_THREADS] = { 0 };

	for (unsigned int i = 0; i < N_THREADS; i++) {
		args[i] = (struct thread_arg){ *state, &n_done, last, i };
		assert_int_equal(pthread_create(&threads[i], NULL, post_many, &args[i]), 0);
	}
	assert_int_equal(twx_loop_run(*state), 0);
	for (int i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(n_done, N_THREADS * N_POSTS);
}

static void *stop_thread(void *loop)
{
	twx_loop_stop(loop);
	return NULL;
}

static void stop_from_a_thread_and_before_run(void **state)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, stop_thread, *state), 0);
	assert_int_equal(twx_loop_run(*state), 0);
	pthread_join(thread, NULL);
	twx_loop_stop(*state);
	assert_int_equal(twx_loop_run(*state), 0);
}

static struct twx_loop *signalled_loop;

static void on_signal(int sig)
{
	twx_loop_stop(signalled_loop);
}

struct raiser {
	struct twx_task t;
	int n;
};

/* From the third round only, so that the loop must come back for what a task has deferred. */
static void raise_run(struct twx_task *t)
{
	if (++container_of(t, struct raiser, t)->n < 3)
		twx_loop_defer(signalled_loop, t);
	else
		raise(SIGUSR1);
}

static void stop_from_a_signal_handler(void **state)
{
	struct raiser r = { .t.fn = raise_run };

	signalled_loop = *state;
	signal(SIGUSR1, on_signal);
	twx_loop_defer(*state, &r.t);
	assert_int_equal(twx_loop_run(*state), 0);
	assert_int_equal(r.n, 3);
	signal(SIGUSR1, SIG_DFL);
}

/* Children */

struct kid {
	struct twx_child c;
	int n, status;
};

static void kid_done(struct twx_child *c, int status)
{
	struct kid *k = container_of(c, struct kid, c);

	k->n++;
	k->status = status;
}

static pid_t fork_exit(int code)
{
	pid_t pid = fork();

	if (!pid)
		_exit(code);
	return pid;
}

static void children_are_reaped(void **state)
{
	struct twx_loop *loop = *state;
	struct kid a = { 0 }, b = { 0 };
	pid_t pa = fork_exit(7), pb = fork();

	if (!pb)
		for (;;)
			pause();
	assert_int_equal(twx_child_add(&a.c, loop, pa, kid_done), 0);
	assert_int_equal(twx_child_add(&b.c, loop, pb, kid_done), 0);
	while (!a.n)
		assert_true(twx_loop_poll(loop, FOREVER_MS) >= 0);
	assert_true(WIFEXITED(a.status) && WEXITSTATUS(a.status) == 7);
	assert_int_equal(waitpid(pa, NULL, WNOHANG), -1);
	assert_int_equal(b.n, 0);
	kill(pb, SIGKILL);
	while (!b.n)
		assert_true(twx_loop_poll(loop, FOREVER_MS) >= 0);
	assert_true(WIFSIGNALED(b.status) && WTERMSIG(b.status) == SIGKILL);
	twx_child_del(&a.c);
}

static void a_deleted_child_is_left_alone(void **state)
{
	struct kid a = { 0 };
	pid_t pid = fork_exit(3);
	int status;

	assert_int_equal(twx_child_add(&a.c, *state, pid, kid_done), 0);
	twx_child_del(&a.c);
	twx_child_del(&a.c);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(twx_loop_poll(*state, 0), 0);
	assert_int_equal(a.n, 0);
	assert_int_equal(twx_child_add(&a.c, *state, pid, kid_done), -ESRCH);
}

static void a_child_reaped_elsewhere_is_told(void **state)
{
	struct kid a = { 0 };
	pid_t pid = fork_exit(3);

	assert_int_equal(twx_child_add(&a.c, *state, pid, kid_done), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	while (!a.n)
		assert_true(twx_loop_poll(*state, FOREVER_MS) >= 0);
	assert_int_equal(a.status, -1);
}

/* Threads that enter a shared loop */

#define N_ENTERS 3000

struct shared {
	struct twx_loop *loop;
	struct twx_task task;
	struct twx_timer timer;
	struct twx_watch watch;
	int pipe[2];
	bool watched;		 /* the callback may run */
	unsigned long n, n_loop; /* changed by everybody under the lock, and by nobody else */
	unsigned int n_left;
	bool inside;
};

static void shared_check(struct shared *s)
{
	assert_false(s->inside);
	s->inside = true;
	s->n++;
	s->inside = false;
}

static void shared_task(struct twx_task *t)
{
	struct shared *s = container_of(t, struct shared, task);

	shared_check(s);
	s->n_loop++;
	if (s->n_left == 0)
		twx_loop_stop(s->loop);
}

static void shared_timer(struct twx_timer *t)
{
	shared_check(container_of(t, struct shared, timer));
}

static void shared_readable(struct twx_watch *w, uint32_t events)
{
	struct shared *s = container_of(w, struct shared, watch);

	assert_true(s->watched);
	shared_check(s);
}

/* The pipe is always readable: an event is reported again and again while the watch goes. */
static void *shared_enters(void *opaque)
{
	struct shared *s = opaque;

	for (int i = 0; i < N_ENTERS; i++) {
		int err = 0;

		twx_loop_enter(s->loop);
		shared_check(s);
		if (s->watched)
			twx_watch_del(&s->watch);
		else
			err = twx_watch_add(&s->watch, s->loop, s->pipe[0], EPOLLIN,
					    shared_readable);
		assert_int_equal(err, 0);
		s->watched = !s->watched;
		twx_timer_set(&s->timer, twx_loop_now(s->loop) + 1000);
		s->n_left--;
		twx_loop_defer(s->loop, &s->task);
		twx_loop_leave(s->loop);
	}
	return NULL;
}

static void threads_enter_a_shared_loop(void **state)
{
	struct shared s = { .loop = *state, .task.fn = shared_task };
	pthread_t threads[N_THREADS];

	assert_int_equal(pipe(s.pipe), 0);
	assert_int_equal(write(s.pipe[1], "x", 1), 1);
	assert_int_equal(twx_loop_share(s.loop), 0);
	twx_timer_init(&s.timer, s.loop, shared_timer);
	s.n_left = N_THREADS * N_ENTERS;
	for (int i = 0; i < N_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, shared_enters, &s), 0);
	assert_int_equal(twx_loop_run(s.loop), 0);
	for (int i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(s.n_left, 0);
	assert_true(s.n > (unsigned long)N_THREADS * N_ENTERS);
	twx_timer_cancel(&s.timer);
	twx_watch_del(&s.watch);
	close(s.pipe[0]);
	close(s.pipe[1]);
}

/* What a thread defers is done although the loop was waiting for nothing. */
static void *shared_one(void *opaque)
{
	struct shared *s = opaque;

	usleep(20000);
	twx_loop_enter(s->loop);
	twx_loop_defer(s->loop, &s->task);
	twx_loop_leave(s->loop);
	return NULL;
}

static void entering_wakes_the_loop(void **state)
{
	struct shared s = { .loop = *state, .task.fn = shared_task };
	pthread_t thread;

	assert_int_equal(twx_loop_share(s.loop), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pthread_create(&thread, NULL, shared_one, &s), 0);
		assert_int_equal(twx_loop_run(s.loop), 0);
		pthread_join(thread, NULL);
	}
	assert_int_equal(s.n_loop, 3);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(threads_enter_a_shared_loop),	  T(entering_wakes_the_loop),
		T(posts_from_threads_all_arrive), T(stop_from_a_thread_and_before_run),
		T(stop_from_a_signal_handler),	  T(children_are_reaped),
		T(a_deleted_child_is_left_alone), T(a_child_reaped_elsewhere_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
