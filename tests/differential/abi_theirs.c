/* SPDX-License-Identifier: BSD-3-Clause */
/* The facts of the system's header. */
#include <slirp/libslirp.h>

#if SLIRP_CHECK_VERSION(4, 8, 0)
#define ABI_HAS_5
#endif
#if SLIRP_CHECK_VERSION(4, 9, 0)
#define ABI_HAS_6
#endif
#include "abi_layout.h"

const struct abi_fact abi_theirs[] = { ABI_FACTS(SlirpConfig, SlirpCb) };
