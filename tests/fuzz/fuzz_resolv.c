/* SPDX-License-Identifier: BSD-3-Clause */
/* /etc/resolv.conf as an embedder's open hands it out. */
#include <assert.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/hostops.h"
#include "fuzz.h"

struct input {
	const uint8_t *data;
	size_t size;
};

static int open_input(void *opaque, const char *path, int flags, mode_t mode)
{
	const struct input *in = opaque;
	int fd = memfd_create("resolv", MFD_CLOEXEC);

	if (fd >= 0 && (write(fd, in->data, in->size) < 0 || lseek(fd, 0, SEEK_SET) < 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct twx_hostops ops = { .size = sizeof(ops), .opaque = &in, .open = open_input };
	struct hostops_resolv out;

	hostops_resolv_conf(&ops, &out);
	assert(out.n >= 0 && out.n <= HOSTOPS_RESOLVERS);
	assert(out.timeout >= 0 && out.timeout <= 30 && out.attempts >= 0 && out.attempts <= 5);
	for (int i = 0; i < out.n; i++) {
		const struct sockaddr_in6 *sin6 = (const void *)&out.server[i];

		assert(sin6->sin6_family == AF_INET || sin6->sin6_family == AF_INET6);
		assert(sin6->sin6_port == htons(53));
	}
	return 0;
}
