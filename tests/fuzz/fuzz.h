/* SPDX-License-Identifier: BSD-3-Clause */
/* What a fuzz harness defines; libFuzzer or replay.c calls it. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Returns 0. @data is exactly @size bytes, so that a sanitizer sees the first byte too many. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
