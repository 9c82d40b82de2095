/* SPDX-License-Identifier: BSD-3-Clause */
/* The one error object of the library. */
#ifndef TWINAX_ERROR_H
#define TWINAX_ERROR_H

#include <twinax/export.h>

/*
 * Set-up functions return 0 or -errno and describe a failure here. The object is the caller's, on its
 * stack; it owns no memory. `what` is one sentence without a full stop: what failed, for which id, why
 * ("netdev n0: cannot open /dev/net/tun: Permission denied"). `hint` says what to do, or is empty.
 * A null `struct twx_error *` is allowed everywhere: the text is lost, the return value is not.
 * The library never prints it; a program does.
 */
struct twx_error {
	int code; /* positive errno, 0 while nothing failed */
	char what[640];
	char hint[320];
};

/* Fills @e (the first failure wins nothing: a later call overwrites) and returns -@err. */
TWX_EXPORT int twx_error_set(struct twx_error *e, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Adds the remedy to an error already set; returns -e->code (or -EINVAL when @e is null). */
TWX_EXPORT int twx_error_hint(struct twx_error *e, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Puts text in front of what is there ("netdev n0: "). Truncates at the end, never overflows. */
TWX_EXPORT void twx_error_prefix(struct twx_error *e, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
