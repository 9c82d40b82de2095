/* SPDX-License-Identifier: BSD-3-Clause */
/* The library's version, as the build file says it. */
#include <twinax/twinax.h>

const char *twx_version(void)
{
	return TWINAX_VERSION;
}
