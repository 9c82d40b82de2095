/* SPDX-License-Identifier: BSD-3-Clause */
/* Whose thread it is: of the loop, or of somebody who entered it (twx_loop_enter()). */
#ifndef BASE_LOOP_SHARED_H
#define BASE_LOOP_SHARED_H

#include <twinax/loop.h>

/* The caller is in another thread's hands, which should not wait for what can as well be deferred.
 */
bool loop_is_entered(const struct twx_loop *loop);

/*
 * From now on, on the loop's own thread, @other (shared, and run by a thread of its own) is entered
 * whenever @loop does anything but wait; at once, too. -EBUSY where @loop is shared or stands
 * still, -ENOSPC, -ENOMEM. loop_let_go() ends it and leaves @other.
 */
#define LOOP_HOLDS 31
int loop_hold(struct twx_loop *loop, struct twx_loop *other);
void loop_let_go(struct twx_loop *loop, struct twx_loop *other);

#endif
