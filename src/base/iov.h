/* SPDX-License-Identifier: BSD-3-Clause */
/* Arithmetic on scatter lists. What lies beyond a list's end is cut, never an error. */
#ifndef BASE_IOV_H
#define BASE_IOV_H

#include <stddef.h>
#include <sys/uio.h>

/* Bytes in the list; saturates at SIZE_MAX. */
size_t iov_len(const struct iovec *iov, size_t n);

/* Copies @buf into the list, @off bytes from its start. Returns the bytes copied. */
size_t iov_copy_to(const struct iovec *iov, size_t n, size_t off, const void *buf, size_t len);

/* Copies out of the list, from @off on. Returns the bytes copied. */
size_t iov_copy_from(const struct iovec *iov, size_t n, size_t off, void *buf, size_t len);

/*
 * Drops the first @len bytes: moves *@iov and *@n past whole elements and adjusts the first one
 * left, so the list must be the caller's private copy. Returns the bytes dropped.
 */
size_t iov_skip(struct iovec **iov, size_t *n, size_t len);

/*
 * Describes bytes [@off, @off + @len) of the list in @out, which has room for @max elements.
 * Returns the number of elements written; they hold fewer bytes than @len if the list or @out ends
 * before.
 */
size_t iov_slice(struct iovec *out, size_t max, const struct iovec *iov, size_t n, size_t off,
		 size_t len);

#endif
