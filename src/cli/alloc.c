/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory of the commands: a command line is small, so running out ends the program with a sentence.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/alloc.h"

static void *alloc_check(void *p)
{
	if (p)
		return p;
	fputs("twinax: out of memory\n", stderr);
	exit(1);
}

void *cli_alloc(size_t n, size_t size)
{
	return alloc_check(calloc(n ? n : 1, size));
}

void *cli_grow(void *array, size_t n, size_t size)
{
	/* Room doubles at powers of two, so that the array needs no second number. */
	if (n & (n - 1))
		return array;
	return alloc_check(reallocarray(array, n ? 2 * n : 1, size));
}

char *cli_strdup(const char *s)
{
	return alloc_check(strdup(s));
}

char *cli_printf(const char *fmt, ...)
{
	char *s = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		s = NULL;
	va_end(ap);
	return alloc_check(s);
}
