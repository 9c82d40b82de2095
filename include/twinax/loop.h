/* SPDX-License-Identifier: BSD-3-Clause */
/* One thread waiting on file descriptors, timers and deferred tasks. */
#ifndef TWINAX_LOOP_H
#define TWINAX_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#include <twinax/error.h>
#include <twinax/export.h>

/*
 * A loop belongs to the thread that runs it; every function here is called from that thread, except
 * twx_loop_post() and twx_loop_stop(), which any thread may call, and what other threads do between
 * twx_loop_enter() and twx_loop_leave(). Watches, timers and tasks are
 * embedded in their owner; the loop keeps pointers to them until they are deleted, cancelled or run,
 * and allocates nothing per event. Once a delete or cancel has returned, the callback does not run
 * again, not even for an event that the kernel has already reported.
 */
struct twx_loop;
struct twx_watch;
struct twx_timer;
struct twx_task;

typedef void twx_watch_fn(struct twx_watch *w, uint32_t events); /* EPOLL* bits */
typedef void twx_timer_fn(struct twx_timer *t);
typedef void twx_task_fn(struct twx_task *t);

/* Zero-initialised by its owner. The fd stays the owner's: delete the watch, then close the fd. */
struct twx_watch {
	struct twx_loop *loop; /* null while not added */
	twx_watch_fn *fn;
	int fd;
	uint32_t events;
	uint32_t slot; /* the loop's */
};

struct twx_timer {
	struct twx_loop *loop;
	twx_timer_fn *fn;
	uint64_t when;	   /* ns, CLOCK_MONOTONIC */
	unsigned int slot; /* place in the loop's heap + 1; 0 while not armed */
};

struct twx_task {
	struct twx_task *next;
	twx_task_fn *fn;
	bool pending; /* read-only for owners */
};

TWX_EXPORT int twx_loop_new(struct twx_loop **out, struct twx_error *e);
/* Everything must have been deleted from the loop before. Null is harmless. */
TWX_EXPORT void twx_loop_free(struct twx_loop *loop);

/*
 * The one fd that a foreign event loop polls for POLLIN; when it is readable, or at any other time, the
 * owner calls twx_loop_poll(loop, 0). Timers, posted and deferred work make it readable too.
 */
TWX_EXPORT int twx_loop_fd(struct twx_loop *loop);

/* Waits up to @timeout_ms (-1: for ever, 0: not at all), runs what is due. Number of callbacks or -errno
 * (-EDEADLK from inside a callback). A signal ends the wait early. */
TWX_EXPORT int twx_loop_poll(struct twx_loop *loop, int timeout_ms);

/* Polls until twx_loop_stop(). Returns 0 or -errno. */
TWX_EXPORT int twx_loop_run(struct twx_loop *loop);
TWX_EXPORT void twx_loop_stop(struct twx_loop *loop); /* thread-safe; async-signal-safe */

/*
 * For loops whose objects other threads use as well (a vCPU that writes a device's register): to be
 * called before any of them exists. From then on a lock is held while callbacks run. 0, -ENOMEM, or
 * -EBUSY when somebody has the loop's clock in hand (a machine with the accelerator qtest).
 */
TWX_EXPORT int twx_loop_share(struct twx_loop *loop);
/*
 * Between the two calls another thread is as good as a callback of the loop: it may call everything
 * here, and the loop runs nothing meanwhile. Threads get in by turns with the loop; what they defer
 * runs on the loop. Not from a callback of this loop, nor nested.
 */
TWX_EXPORT void twx_loop_enter(struct twx_loop *loop);
TWX_EXPORT void twx_loop_leave(struct twx_loop *loop);
/*
 * On the loop's thread, in a callback or not, where it waits for threads that may themselves be waiting
 * to enter: those get in, and this returns. Meanwhile they may have changed everything they may change.
 */
TWX_EXPORT void twx_loop_yield(struct twx_loop *loop);

/* CLOCK_MONOTONIC in ns as it was when the current round of callbacks began; cheap. */
TWX_EXPORT uint64_t twx_loop_now(struct twx_loop *loop);

/*
 * 0 or -errno (epoll_ctl()'s; -EEXIST if already added). Level-triggered, unless EPOLLET is asked for.
 * Events 0 pause the watch: then not even EPOLLHUP and EPOLLERR are reported.
 */
TWX_EXPORT int twx_watch_add(struct twx_watch *w, struct twx_loop *loop, int fd, uint32_t events,
			     twx_watch_fn *fn);
TWX_EXPORT int twx_watch_set(struct twx_watch *w, uint32_t events);
TWX_EXPORT void twx_watch_del(struct twx_watch *w); /* harmless when not added */

TWX_EXPORT void twx_timer_init(struct twx_timer *t, struct twx_loop *loop, twx_timer_fn *fn);
/* Absolute; re-arms. A time in the past runs in the next round. At most 2^20 timers armed in one loop. */
TWX_EXPORT void twx_timer_set(struct twx_timer *t, uint64_t when_ns);
TWX_EXPORT void twx_timer_cancel(struct twx_timer *t); /* harmless when not armed */

/*
 * Runs @t->fn once, after the callbacks of this round and before the loop waits again: the place for
 * work that a burst shares (one interrupt, one sendmmsg). Deferring a pending task does nothing; what a
 * task defers runs in the next round, which does not wait.
 */
TWX_EXPORT void twx_loop_defer(struct twx_loop *loop, struct twx_task *t);
TWX_EXPORT void twx_loop_undefer(struct twx_loop *loop, struct twx_task *t);

/* As defer, but from any thread; wakes the loop. The task must not be pending already. */
TWX_EXPORT void twx_loop_post(struct twx_loop *loop, struct twx_task *t);

/*
 * A child process by pidfd: @fn runs once with the wait status (as waitpid()) and the child reaped; -1
 * if somebody else has reaped it. @fn may free @c.
 * twx_child_del() stops watching and neither kills nor reaps.
 */
struct twx_child;
typedef void twx_child_fn(struct twx_child *c, int status);
struct twx_child {
	struct twx_watch watch;
	twx_child_fn *fn;
	int pid;
};
TWX_EXPORT int twx_child_add(struct twx_child *c, struct twx_loop *loop, int pid, twx_child_fn *fn);
TWX_EXPORT void twx_child_del(struct twx_child *c);

#endif
