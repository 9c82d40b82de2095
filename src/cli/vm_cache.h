/* SPDX-License-Identifier: BSD-3-Clause */
/* Where unpacked kernels are kept. */
#ifndef CLI_VM_CACHE_H
#define CLI_VM_CACHE_H

#include <stdbool.h>
#include <stddef.h>

/* XDG_CACHE_HOME/twinax/kernels, of ~/.cache, or /var/cache for root; it is made. Null: there is no
 * such place, and kernels unpack themselves at each start. */
const char *vm_kernel_cache(char *path, size_t room);

#endif
