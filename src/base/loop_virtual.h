/* SPDX-License-Identifier: BSD-3-Clause */
/* The library's own calls of a loop: a clock that is moved by hand, and whether callbacks run. */
#ifndef BASE_LOOP_VIRTUAL_H
#define BASE_LOOP_VIRTUAL_H

#include <twinax/loop.h>

/*
 * From here on the loop's clock stands at the time that it was, and so do its timers; file
 * descriptors and tasks go on. 0; -EBUSY where it stands already, or is shared (twx_loop_share()).
 */
int loop_virtual_start(struct twx_loop *loop);
void loop_virtual_stop(struct twx_loop *loop); /* real time again */

/* When the next timer is due; UINT64_MAX without any. */
uint64_t loop_virtual_next(const struct twx_loop *loop);

/*
 * From a watch's callback: moves the clock to @when, never back. Timers run in order, each at its
 * own time and with the tasks that it has deferred, until some @budget of them have: then the clock
 * stands there and the answer is false; the caller comes again in another round.
 */
bool loop_virtual_advance(struct twx_loop *loop, uint64_t when, unsigned int budget);

/*
 * From a watch's callback: runs what has been deferred, and what that defers, within bounds,
 * instead of at the end of the round. What the caller did before does not depend on what is in the
 * same round then.
 */
void loop_settle(struct twx_loop *loop);

/*
 * For a loop that stands because it lives in somebody else's, clock and all: one round at the time
 * @now, which is never before the last one's. With @look the descriptors are looked at; @first, a
 * task that is deferred nowhere, runs before everything else. True: there is work for another round
 * at once. Not from a callback.
 */
bool loop_hosted_round(struct twx_loop *loop, uint64_t now, bool look, struct twx_task *first);
/* Makes twx_loop_fd() readable for whoever waits for it; from any thread. */
void loop_hosted_wake(struct twx_loop *loop);

/* Whether the caller is one of its callbacks: while that waits, all the others do. */
bool loop_in_round(const struct twx_loop *loop);

#endif
