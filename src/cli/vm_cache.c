/* SPDX-License-Identifier: BSD-3-Clause */
/* Where unpacked kernels are kept. */
#include "cli/vm_cache.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool folder(char *path, size_t room, const char *below)
{
	size_t len = strlen(path);

	if ((size_t)snprintf(path + len, room - len, "/%s", below) >= room - len)
		return false;
	return mkdir(path, 0700) == 0 || errno == EEXIST;
}

const char *vm_kernel_cache(char *path, size_t room)
{
	const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	const char *more = "";

	if (!base || *base != '/') {
		base = geteuid() == 0 ? "/var/cache" : home;
		more = geteuid() == 0 ? "" : "/.cache";
	}
	if (!base || *base != '/' || (size_t)snprintf(path, room, "%s%s", base, more) >= room)
		return NULL;
	(void)mkdir(path, 0700);
	return folder(path, room, "twinax") && folder(path, room, "kernels") ? path : NULL;
}
