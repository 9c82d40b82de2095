/* SPDX-License-Identifier: BSD-3-Clause */
/* Our header's facts, as many as the system's header has. */
#include <slirp/libslirp-version.h>

#if SLIRP_CHECK_VERSION(4, 8, 0)
#define ABI_HAS_5
#endif
#if SLIRP_CHECK_VERSION(4, 9, 0)
#define ABI_HAS_6
#endif
#include "abi_layout.h"
#include "libslirp/abi.h"

const struct abi_fact abi_ours[] = { ABI_FACTS(struct slirp_config, struct slirp_cb) };
