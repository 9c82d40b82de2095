/* SPDX-License-Identifier: BSD-3-Clause */
/* Arithmetic on scatter lists. */
#include "base/iov.h"

#include <stdint.h>
#include <string.h>

#include "base/macros.h"

/* Elements wholly before @off are passed over; *@off becomes the offset in the one returned. */
static size_t iov_find(const struct iovec *iov, size_t n, size_t *off)
{
	size_t i = 0;

	while (i < n && *off >= iov[i].iov_len)
		*off -= iov[i++].iov_len;
	return i;
}

size_t iov_len(const struct iovec *iov, size_t n)
{
	size_t sum = 0;

	for (size_t i = 0; i < n; i++)
		if (__builtin_add_overflow(sum, iov[i].iov_len, &sum))
			return SIZE_MAX;
	return sum;
}

size_t iov_copy_to(const struct iovec *iov, size_t n, size_t off, const void *buf, size_t len)
{
	size_t done = 0;

	for (size_t i = iov_find(iov, n, &off); i < n && done < len; i++, off = 0) {
		size_t part = min(iov[i].iov_len - off, len - done);

		if (part)
			memcpy((char *)iov[i].iov_base + off, (const char *)buf + done, part);
		done += part;
	}
	return done;
}

size_t iov_copy_from(const struct iovec *iov, size_t n, size_t off, void *buf, size_t len)
{
	size_t done = 0;

	for (size_t i = iov_find(iov, n, &off); i < n && done < len; i++, off = 0) {
		size_t part = min(iov[i].iov_len - off, len - done);

		if (part)
			memcpy((char *)buf + done, (const char *)iov[i].iov_base + off, part);
		done += part;
	}
	return done;
}

size_t iov_skip(struct iovec **iov, size_t *n, size_t len)
{
	size_t off = len;
	size_t i = iov_find(*iov, *n, &off);

	*iov += i;
	*n -= i;
	if (!*n)
		return len - off;
	(*iov)->iov_base = (char *)(*iov)->iov_base + off;
	(*iov)->iov_len -= off;
	return len;
}

size_t iov_slice(struct iovec *out, size_t max, const struct iovec *iov, size_t n, size_t off,
		 size_t len)
{
	size_t n_out = 0;

	for (size_t i = iov_find(iov, n, &off); i < n && len && n_out < max; i++, off = 0) {
		size_t part = min(iov[i].iov_len - off, len);

		if (!part)
			continue;
		out[n_out].iov_base = (char *)iov[i].iov_base + off;
		out[n_out++].iov_len = part;
		len -= part;
	}
	return n_out;
}
