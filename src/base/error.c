/* SPDX-License-Identifier: BSD-3-Clause */
/* The one error object of the library. */
#include <twinax/error.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int twx_error_set(struct twx_error *e, int err, const char *fmt, ...)
{
	char what[sizeof(e->what)];
	va_list ap;

	if (err < 0)
		err = -err;
	if (!err)
		err = EINVAL;
	if (!e)
		return -err;
	/* The old sentence may be one of the arguments. */
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	memcpy(e->what, what, sizeof(what));
	e->hint[0] = '\0';
	e->code = err;
	return -err;
}

int twx_error_hint(struct twx_error *e, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return -EINVAL;
	va_start(ap, fmt);
	vsnprintf(e->hint, sizeof(e->hint), fmt, ap);
	va_end(ap);
	return -e->code;
}

void twx_error_prefix(struct twx_error *e, const char *fmt, ...)
{
	char old[sizeof(e->what)];
	va_list ap;
	int n;

	if (!e)
		return;
	memcpy(old, e->what, sizeof(old));
	va_start(ap, fmt);
	n = vsnprintf(e->what, sizeof(e->what), fmt, ap);
	va_end(ap);
	if (n < 0)
		n = 0;
	if ((size_t)n < sizeof(e->what) - 1)
		snprintf(e->what + n, sizeof(e->what) - (size_t)n, "%s", old);
}
