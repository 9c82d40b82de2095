/* SPDX-License-Identifier: BSD-3-Clause */
/* Whose thread it is: of the loop, or of somebody who entered it (twx_loop_enter()). */
#ifndef BASE_LOOP_SHARED_H
#define BASE_LOOP_SHARED_H

#include <twinax/loop.h>

/* The caller is in another thread's hands, which should not wait for what can as well be deferred.
 */
bool loop_is_entered(const struct twx_loop *loop);

#endif
