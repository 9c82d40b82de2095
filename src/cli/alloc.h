/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory of the commands; none of these returns null: without memory the program ends. */
#ifndef CLI_ALLOC_H
#define CLI_ALLOC_H

#include <stddef.h>

void *cli_alloc(size_t n, size_t size); /* zeroed */
/* Room for one more behind @n elements of an array that grows by this call alone. */
void *cli_grow(void *array, size_t n, size_t size);
char *cli_strdup(const char *s);
__attribute__((format(printf, 1, 2))) char *cli_printf(const char *fmt, ...);

#endif
