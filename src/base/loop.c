/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One thread waiting on file descriptors, timers and deferred tasks.
 *
 * A round is: epoll_wait(); read the clock; callbacks of at most 64 ready watches; timers that are
 * due; tasks. Whatever is deferred or armed on the way costs no system call: the timerfd is looked
 * at once, at the round's end. So a round in which only fds are ready is one epoll_wait() and
 * nothing else.
 *
 * The epoll fd is the one that a foreign loop polls. Behind it are the owner's fds and two of ours,
 * both edge-triggered, so that neither is ever read:
 *
 * The timerfd is armed to the earliest deadline, and moved only to an earlier one: a deadline that
 * moved away or was cancelled leaves it armed, and the early expiry only re-arms it. A flow that
 * pushes its timer back with each segment thus costs nothing.
 *
 * The eventfd is written by other threads (post, stop) and by our own thread when it makes work
 * outside of a round. Each write is a new edge.
 *
 * Posted tasks are a lock-free stack, taken as a whole by one exchange and reversed. Only the post
 * that finds it empty writes the eventfd.
 *
 * Fairness: a timer that a timer's callback sets for the past, and a task that a task defers, run
 * in the next round, which does not wait. So no callback can keep the others from running.
 *
 * A loop can be made to stand still (loop_virtual.h): its clock is then moved by hand, and the
 * timerfd is not armed; a timer that is due wakes the loop by the eventfd.
 *
 * Deleting: an event names its watch by a slot and the slot's generation, so that one which the
 * kernel has reported, or is just about to, means nothing once the watch has been deleted.
 *
 * A loop that is shared holds its lock all the time but while it waits. The lock is two mutexes:
 * who wants `turn` waits for it holding `next`. So the loop, which comes back for the lock at once
 * after it let go, stands behind a thread that waits already, and neither starves the other.
 *
 * A loop may hold others (loop_hold()): they are entered while it does anything but wait, so that
 * what it runs meets no callback of theirs, and need know nothing of threads. One that holds
 * nobody pays a test for it.
 */
#include <twinax/loop.h>

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <twinax/trace.h>

#include "base/clock.h"
#include "base/loop_virtual.h"
#include "base/loop_shared.h"
#include "base/macros.h"
#include "base/timers.h"

#define LOOP_EVENTS 64
#define LOOP_SETTLE 16 /* passes over the tasks that tasks defer */

struct loop_list {
	struct twx_task *head, **tail;
};

struct loop_slot {
	struct twx_watch *w; /* null: free, and next_free counts */
	uint32_t generation;
	uint32_t next_free;
};

#define LOOP_NO_SLOT UINT32_MAX

struct loop_lock {
	pthread_mutex_t next, turn;
};

struct twx_loop {
	int epoll_fd, timer_fd, event_fd;
	struct loop_lock *lock; /* null while not shared */
	struct twx_loop *held[LOOP_HOLDS];
	unsigned int n_held;
	bool in_round;	  /* the loop's own thread is running callbacks */
	bool dispatching; /* somebody is: what is made goes unannounced until its end */
	bool more;	  /* the last round left work for the next */
	bool woken;	  /* the eventfd has been written since the last round */
	bool in_timers;
	bool stands; /* `now` is moved by loop_virtual_advance() alone */
	uint64_t now;
	struct timers timers;
	uint64_t armed; /* what the timerfd waits for; UINT64_MAX: nothing */
	struct loop_list deferred;
	struct twx_task *running; /* rest of the tasks of this round */
	struct loop_slot *slots;
	uint32_t n_slots, free_slot;
	int n_events;
	struct epoll_event events[LOOP_EVENTS];
	struct twx_trace trace;
	_Atomic(struct twx_task *) posted;
	atomic_bool stop;
};

static void loop_look(struct twx_loop *loop)
{
	if (likely(!loop->stands))
		loop->now = clock_ns();
}

/* What an event carries: our own two fds, or generation and slot of a watch. */
#define LOOP_TIMER_EVENT UINT64_MAX
#define LOOP_WAKE_EVENT (UINT64_MAX - 1)

static int loop_ctl(struct twx_loop *loop, int op, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event ev = { .events = events, .data.u64 = data };

	return epoll_ctl(loop->epoll_fd, op, fd, &ev) < 0 ? -errno : 0;
}

static void loop_wake(struct twx_loop *loop)
{
	uint64_t one = 1;
	int saved = errno; /* stop is called by signal handlers */
	ssize_t n = write(loop->event_fd, &one, sizeof(one));

	/* EAGAIN needs 2^64 - 1 wake-ups first. */
	(void)n;
	errno = saved;
}

static int loop_open(struct twx_loop *loop)
{
	int err;

	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0)
		return -errno;
	loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (loop->timer_fd < 0)
		return -errno;
	loop->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->event_fd < 0)
		return -errno;
	err = loop_ctl(loop, EPOLL_CTL_ADD, loop->timer_fd, EPOLLIN | EPOLLET, LOOP_TIMER_EVENT);
	if (err)
		return err;
	err = loop_ctl(loop, EPOLL_CTL_ADD, loop->event_fd, EPOLLIN | EPOLLET, LOOP_WAKE_EVENT);
	if (err)
		return err;
	return timers_init(&loop->timers);
}

int twx_loop_new(struct twx_loop **out, struct twx_error *e)
{
	struct twx_loop *loop = calloc(1, sizeof(*loop));
	int err;

	*out = NULL;
	if (!loop)
		return twx_error_set(e, ENOMEM, "cannot create an event loop: out of memory");
	loop->epoll_fd = loop->timer_fd = loop->event_fd = -1;
	loop->armed = UINT64_MAX;
	loop->free_slot = LOOP_NO_SLOT;
	loop->deferred.tail = &loop->deferred.head;
	err = loop_open(loop);
	if (err) {
		twx_loop_free(loop);
		twx_error_set(e, -err, "cannot create an event loop: %s", strerror(-err));
		if (err == -EMFILE)
			twx_error_hint(e, "raise the limit of open files (ulimit -n)");
		return err;
	}
	*out = loop;
	return 0;
}

void twx_loop_free(struct twx_loop *loop)
{
	if (!loop)
		return;
	assert(!loop->dispatching);
	twx_trace_disable(&loop->trace);
	timers_fini(&loop->timers);
	free(loop->slots);
	if (loop->lock) {
		pthread_mutex_destroy(&loop->lock->next);
		pthread_mutex_destroy(&loop->lock->turn);
		free(loop->lock);
	}
	if (loop->event_fd >= 0)
		close(loop->event_fd);
	if (loop->timer_fd >= 0)
		close(loop->timer_fd);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	free(loop);
}

int twx_loop_fd(struct twx_loop *loop)
{
	return loop->epoll_fd;
}

struct twx_trace *twx_loop_trace(struct twx_loop *loop)
{
	return &loop->trace;
}

uint64_t twx_loop_now(struct twx_loop *loop)
{
	if (!loop->dispatching)
		loop_look(loop);
	return loop->now;
}

/* Watches */

static uint64_t slot_data(const struct twx_loop *loop, uint32_t slot)
{
	return (uint64_t)loop->slots[slot].generation << 32 | slot;
}

static int slot_take(struct twx_loop *loop, struct twx_watch *w)
{
	struct loop_slot *s;

	if (loop->free_slot == LOOP_NO_SLOT) {
		uint32_t n = loop->n_slots ? 2 * loop->n_slots : 32;

		s = n < LOOP_NO_SLOT ? reallocarray(loop->slots, n, sizeof(*s)) : NULL;
		if (!s)
			return -ENOMEM;
		loop->slots = s;
		for (uint32_t i = loop->n_slots; i < n; i++)
			s[i] = (struct loop_slot){ .next_free = i + 1 < n ? i + 1 : LOOP_NO_SLOT };
		loop->free_slot = loop->n_slots;
		loop->n_slots = n;
	}
	w->slot = loop->free_slot;
	s = &loop->slots[w->slot];
	loop->free_slot = s->next_free;
	s->w = w;
	return 0;
}

static void slot_give(struct twx_loop *loop, uint32_t slot)
{
	struct loop_slot *s = &loop->slots[slot];

	s->w = NULL;
	/* So that no watch's event looks like one of our own fds. */
	s->generation = s->generation < UINT32_MAX - 1 ? s->generation + 1 : 0;
	s->next_free = loop->free_slot;
	loop->free_slot = slot;
}

/* The watch that an event is for; null if it has been deleted since. */
static struct twx_watch *slot_watch(const struct twx_loop *loop, uint64_t data)
{
	const struct loop_slot *s = &loop->slots[(uint32_t)data];

	return s->generation == data >> 32 ? s->w : NULL;
}

/* Events 0 take the fd out of the set: EPOLLHUP and EPOLLERR could not be silenced otherwise. */
int twx_watch_add(struct twx_watch *w, struct twx_loop *loop, int fd, uint32_t events,
		  twx_watch_fn *fn)
{
	int err;

	if (w->loop)
		return -EEXIST;
	err = slot_take(loop, w);
	if (err)
		return err;
	if (events)
		err = loop_ctl(loop, EPOLL_CTL_ADD, fd, events, slot_data(loop, w->slot));
	if (err) {
		slot_give(loop, w->slot);
		return err;
	}
	*w = (struct twx_watch){
		.loop = loop, .fn = fn, .fd = fd, .events = events, .slot = w->slot
	};
	return 0;
}

int twx_watch_set(struct twx_watch *w, uint32_t events)
{
	int op, err;

	if (!w->loop)
		return -ENOENT;
	if (w->events == events)
		return 0;
	op = !events ? EPOLL_CTL_DEL : !w->events ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
	err = loop_ctl(w->loop, op, w->fd, events, slot_data(w->loop, w->slot));
	if (!err)
		w->events = events;
	return err;
}

void twx_watch_del(struct twx_watch *w)
{
	struct twx_loop *loop = w->loop;

	if (!loop)
		return;
	if (w->events)
		loop_ctl(loop, EPOLL_CTL_DEL, w->fd, 0, 0);
	slot_give(loop, w->slot);
	w->loop = NULL;
	w->events = 0;
}

/* Timers */

static void loop_arm(struct twx_loop *loop)
{
	uint64_t next = timers_next(&loop->timers);
	struct itimerspec it = { 0 };

	if (next >= loop->armed)
		return;
	if (unlikely(loop->stands)) {
		if (next <= loop->now)
			loop_wake(loop);
		return;
	}
	loop->armed = next;
	if (!next)
		next = 1; /* 0 would disarm */
	it.it_value.tv_sec = (time_t)(next / 1000000000);
	it.it_value.tv_nsec = (long)(next % 1000000000);
	/* Fails only for malformed times, which the division excludes. */
	timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &it, NULL);
}

void twx_timer_init(struct twx_timer *t, struct twx_loop *loop, twx_timer_fn *fn)
{
	*t = (struct twx_timer){ .loop = loop, .fn = fn };
}

void twx_timer_set(struct twx_timer *t, uint64_t when_ns)
{
	struct twx_loop *loop = t->loop;

	if (loop->in_timers && when_ns <= loop->now)
		when_ns = loop->now + 1;
	timers_put(&loop->timers, t, when_ns);
	if (!loop->dispatching)
		loop_arm(loop);
}

void twx_timer_cancel(struct twx_timer *t)
{
	if (t->slot)
		timers_remove(&t->loop->timers, t);
}

static int loop_run_timers(struct twx_loop *loop)
{
	int n = 0;

	loop->in_timers = true;
	while (timers_next(&loop->timers) <= loop->now) {
		struct twx_timer *t = loop->timers.slots[0].timer;

		timers_remove(&loop->timers, t);
		t->fn(t);
		n++;
	}
	loop->in_timers = false;
	return n;
}

/* Tasks */

static void loop_append(struct loop_list *list, struct twx_task *t)
{
	t->next = NULL;
	*list->tail = t;
	list->tail = &t->next;
}

void twx_loop_defer(struct twx_loop *loop, struct twx_task *t)
{
	bool first = !loop->deferred.head;

	if (t->pending)
		return;
	t->pending = true;
	loop_append(&loop->deferred, t);
	if (first && !loop->dispatching)
		loop_wake(loop);
}

void twx_loop_post(struct twx_loop *loop, struct twx_task *t)
{
	struct twx_task *head = atomic_load_explicit(&loop->posted, memory_order_relaxed);

	t->pending = true;
	do
		t->next = head;
	while (!atomic_compare_exchange_weak_explicit(&loop->posted, &head, t, memory_order_release,
						      memory_order_relaxed));
	/* Once the task is in the list it belongs to the loop, and may be gone by now. */
	if (!head)
		loop_wake(loop);
}

/* Moves what other threads posted behind what is deferred, oldest first. */
static void loop_take_posted(struct twx_loop *loop)
{
	struct twx_task *t, *next, *oldest = NULL;

	if (!atomic_load_explicit(&loop->posted, memory_order_relaxed))
		return;
	t = atomic_exchange_explicit(&loop->posted, NULL, memory_order_acquire);
	for (; t; t = next) {
		next = t->next;
		t->next = oldest;
		oldest = t;
	}
	for (t = oldest; t; t = next) {
		next = t->next;
		loop_append(&loop->deferred, t);
	}
}

void twx_loop_undefer(struct twx_loop *loop, struct twx_task *t)
{
	struct twx_task **p;

	if (!t->pending)
		return;
	loop_take_posted(loop);
	for (p = &loop->running; *p && *p != t; p = &(*p)->next)
		;
	if (!*p)
		for (p = &loop->deferred.head; *p && *p != t; p = &(*p)->next)
			;
	if (!*p)
		return;
	*p = t->next;
	if (loop->deferred.tail == &t->next)
		loop->deferred.tail = p;
	t->next = NULL;
	t->pending = false;
}

static int loop_run_tasks(struct twx_loop *loop)
{
	struct twx_task *t;
	int n = 0;

	loop_take_posted(loop);
	loop->running = loop->deferred.head;
	loop->deferred = (struct loop_list){ .tail = &loop->deferred.head };
	while ((t = loop->running)) {
		loop->running = t->next;
		t->next = NULL;
		t->pending = false;
		t->fn(t);
		n++;
	}
	return n;
}

/* Rounds */

static int loop_run_watches(struct twx_loop *loop)
{
	int n = 0;

	for (int i = 0; i < loop->n_events; i++) {
		struct epoll_event ev = loop->events[i];
		struct twx_watch *w;

		if (ev.data.u64 == LOOP_WAKE_EVENT)
			continue;
		if (ev.data.u64 == LOOP_TIMER_EVENT) {
			loop->armed = UINT64_MAX;
			continue;
		}
		w = slot_watch(loop, ev.data.u64);
		/* An earlier callback of this round may have narrowed what this watch wants. */
		ev.events &= w && w->events ? w->events | EPOLLERR | EPOLLHUP : 0;
		if (!ev.events)
			continue;
		w->fn(w, ev.events);
		n++;
	}
	loop->n_events = 0;
	return n;
}

static void loop_lock(struct twx_loop *loop)
{
	if (!loop->lock)
		return;
	pthread_mutex_lock(&loop->lock->next);
	pthread_mutex_lock(&loop->lock->turn);
	pthread_mutex_unlock(&loop->lock->next);
}

static void loop_unlock(struct twx_loop *loop)
{
	if (loop->lock)
		pthread_mutex_unlock(&loop->lock->turn);
}

/* What follows the wait. Work for the next round may be left in loop->deferred. */
static int loop_callbacks(struct twx_loop *loop, int n_events, twx_task_fn *first,
			  struct twx_task *t)
{
	int n;

	loop_lock(loop);
	loop->n_events = n_events;
	loop_look(loop);
	loop->in_round = loop->dispatching = true;
	loop->woken = false;
	if (first)
		first(t);
	n = loop_run_watches(loop);
	n += loop_run_timers(loop);
	n += loop_run_tasks(loop);
	loop->in_round = loop->dispatching = false;
	loop_arm(loop);
	loop->more = loop->deferred.head != NULL;
	loop_unlock(loop);
	return n;
}

/* Waits without those that are held. */
static int loop_wait_alone(struct twx_loop *loop, int timeout_ms)
{
	int n, err;

	for (unsigned int i = 0; i < loop->n_held; i++)
		twx_loop_leave(loop->held[i]);
	n = epoll_wait(loop->epoll_fd, loop->events, LOOP_EVENTS, timeout_ms);
	err = errno;
	for (unsigned int i = 0; i < loop->n_held; i++)
		twx_loop_enter(loop->held[i]);
	errno = err;
	return n;
}

static int loop_round(struct twx_loop *loop, int timeout_ms)
{
	int n;

	if (loop->in_round)
		return -EDEADLK;
	if (unlikely(loop->n_held))
		n = loop_wait_alone(loop, loop->more ? 0 : timeout_ms);
	else
		n = epoll_wait(loop->epoll_fd, loop->events, LOOP_EVENTS,
			       loop->more ? 0 : timeout_ms);
	if (n < 0 && errno != EINTR)
		return -errno;
	return loop_callbacks(loop, max(n, 0), NULL, NULL);
}

bool loop_in_round(const struct twx_loop *loop)
{
	return loop->in_round;
}

int twx_loop_poll(struct twx_loop *loop, int timeout_ms)
{
	int n = loop_round(loop, timeout_ms);

	/* Tasks left for the next round: a foreign loop must come back at once. */
	if (n >= 0 && loop->more)
		loop_wake(loop);
	return n;
}

int twx_loop_run(struct twx_loop *loop)
{
	int err = 0;

	while (err >= 0 && !atomic_exchange(&loop->stop, false))
		err = loop_round(loop, -1);
	if (err >= 0 && loop->more)
		loop_wake(loop);
	return min(err, 0);
}

void twx_loop_stop(struct twx_loop *loop)
{
	atomic_store(&loop->stop, true);
	loop_wake(loop);
}

/* Other threads */

int twx_loop_share(struct twx_loop *loop)
{
	struct loop_lock *lock;

	if (loop->lock)
		return 0;
	if (loop->stands || loop->n_held)
		return -EBUSY;
	lock = malloc(sizeof(*lock));
	if (!lock)
		return -ENOMEM;
	pthread_mutex_init(&lock->next, NULL);
	pthread_mutex_init(&lock->turn, NULL);
	loop->lock = lock;
	return 0;
}

void twx_loop_enter(struct twx_loop *loop)
{
	loop_lock(loop);
	loop_look(loop);
	loop->dispatching = true;
}

void twx_loop_leave(struct twx_loop *loop)
{
	loop->dispatching = false;
	loop_arm(loop);
	if (loop->deferred.head && !loop->woken) {
		loop->woken = true;
		loop_wake(loop);
	}
	loop_unlock(loop);
}

int loop_hold(struct twx_loop *loop, struct twx_loop *other)
{
	int err;

	if (loop->lock || loop->stands)
		return -EBUSY;
	if (loop->n_held == LOOP_HOLDS)
		return -ENOSPC;
	err = twx_loop_share(other);
	if (err)
		return err;
	twx_loop_enter(other);
	loop->held[loop->n_held++] = other;
	return 0;
}

void loop_let_go(struct twx_loop *loop, struct twx_loop *other)
{
	unsigned int i = 0;

	while (loop->held[i] != other)
		i++;
	loop->held[i] = loop->held[--loop->n_held];
	twx_loop_leave(other);
}

/* Virtual time */

int loop_virtual_start(struct twx_loop *loop)
{
	if (loop->lock || loop->stands)
		return -EBUSY;
	(void)twx_loop_now(loop);
	loop->stands = true;
	return 0;
}

void loop_virtual_stop(struct twx_loop *loop)
{
	loop->stands = false;
	if (!loop->dispatching)
		loop_arm(loop);
}

uint64_t loop_virtual_next(const struct twx_loop *loop)
{
	return timers_next(&loop->timers);
}

void loop_settle(struct twx_loop *loop)
{
	assert(loop->in_round && !loop->in_timers && !loop->running);
	for (int i = 0; i < LOOP_SETTLE; i++)
		if (loop_run_tasks(loop) == 0)
			return;
}

bool loop_virtual_advance(struct twx_loop *loop, uint64_t when, unsigned int budget)
{
	uint64_t next;

	assert(loop->stands);
	loop_settle(loop);
	while ((next = timers_next(&loop->timers)) <= when) {
		unsigned int n;

		if (!budget)
			return false;
		loop->now = max(loop->now, next);
		n = (unsigned int)loop_run_timers(loop);
		budget -= min(budget, n);
		loop_settle(loop);
	}
	loop->now = max(loop->now, when);
	return true;
}

bool loop_hosted_round(struct twx_loop *loop, uint64_t now, bool look, struct twx_task *first)
{
	int n = 0;

	assert(loop->stands && !loop->in_round);
	if (look)
		n = epoll_wait(loop->epoll_fd, loop->events, LOOP_EVENTS, 0);
	loop->now = max(loop->now, now);
	loop_callbacks(loop, max(n, 0), first ? first->fn : NULL, first);
	return loop->more;
}

void loop_hosted_wake(struct twx_loop *loop)
{
	loop_wake(loop);
}

bool loop_is_entered(const struct twx_loop *loop)
{
	return loop->lock && loop->dispatching && !loop->in_round;
}

/* In a callback the lock is held, and whoever waits for it is first in line when it is let go. */
void twx_loop_yield(struct twx_loop *loop)
{
	if (!loop->lock || !loop->in_round)
		return;
	loop->dispatching = false;
	loop_unlock(loop);
	loop_lock(loop);
	loop->dispatching = true;
}

/* Children */

static void child_event(struct twx_watch *w, uint32_t events)
{
	struct twx_child *c = container_of(w, struct twx_child, watch);
	int status = -1;
	pid_t pid;

	do
		pid = waitpid(c->pid, &status, WNOHANG);
	while (pid < 0 && errno == EINTR);
	if (!pid)
		return;
	if (pid < 0)
		status = -1;
	twx_child_del(c);
	c->fn(c, status);
}

int twx_child_add(struct twx_child *c, struct twx_loop *loop, int pid, twx_child_fn *fn)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	int err;

	if (fd < 0)
		return -errno;
	err = twx_watch_add(&c->watch, loop, fd, EPOLLIN, child_event);
	if (err) {
		close(fd);
		return err;
	}
	c->fn = fn;
	c->pid = pid;
	return 0;
}

void twx_child_del(struct twx_child *c)
{
	int fd = c->watch.fd;

	if (!c->watch.loop)
		return;
	twx_watch_del(&c->watch);
	close(fd);
}
