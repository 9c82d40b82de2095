/* SPDX-License-Identifier: BSD-3-Clause */
/* Everything: virtual NICs, the core that pairs them with network backends, and the backends. */
#ifndef TWINAX_H
#define TWINAX_H

#include <twinax/error.h>
#include <twinax/frame.h>
#include <twinax/loop.h>
#include <twinax/net.h>
#include <twinax/option.h>
#include <twinax/port.h>
#include <twinax/trace.h>
#include <twinax/usernet.h>

/* "0.1.0" */
TWX_EXPORT const char *twx_version(void);

#endif
