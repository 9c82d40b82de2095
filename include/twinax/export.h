/* SPDX-License-Identifier: BSD-3-Clause */
/* Marks what the shared library exports; everything else is hidden. */
#ifndef TWINAX_EXPORT_H
#define TWINAX_EXPORT_H

#define TWX_EXPORT __attribute__((visibility("default")))

#endif
