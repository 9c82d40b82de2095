/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A private folder for sockets.
 *
 * Below XDG_RUNTIME_DIR, or /run for root, the name is "twinax", "twinax-2" and so on: the first
 * that nobody has locked, so that a command with a socket's path in it works again after a restart,
 * and what a killed process has left is taken over. Elsewhere (/tmp) names are random.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/alloc.h"
#include "cli/session.h"

#define DIR_TRIES 100

/* A folder of ours that nobody has locked, at this path, still: its descriptor, else -1. */
static int lock_folder(const char *path)
{
	struct stat st, now;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -1;
	/* The one who had it may have removed it just now. */
	if (!flock(fd, LOCK_EX | LOCK_NB) && !fstat(fd, &st) && !lstat(path, &now) &&
	    st.st_dev == now.st_dev && st.st_ino == now.st_ino && st.st_uid == geteuid() &&
	    !fchmod(fd, 0700))
		return fd;
	close(fd);
	return -1;
}

static int numbered_folder(struct session_dir *d, const char *base)
{
	int i;

	for (i = 1; i <= DIR_TRIES; i++) {
		char *path = i == 1 ? cli_printf("%s/twinax", base)
				    : cli_printf("%s/twinax-%d", base, i);

		if (mkdir(path, 0700) && errno != EEXIST) {
			free(path);
			return -errno;
		}
		d->fd = lock_folder(path);
		if (d->fd >= 0) {
			d->path = path;
			return 0;
		}
		free(path);
	}
	return -EEXIST;
}

static int random_folder(struct session_dir *d)
{
	unsigned int number[2];

	if (getrandom(number, sizeof(number), 0) != sizeof(number))
		return -errno;
	d->path = cli_printf("/tmp/twinax-%08x%08x", number[0], number[1]);
	if (mkdir(d->path, 0700))
		return -errno;
	d->fd = lock_folder(d->path);
	return d->fd < 0 ? -EBUSY : 0;
}

int session_dir_make(struct session_dir *d, struct twx_error *e)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	int ret = -ENOENT;

	*d = (struct session_dir){ .fd = -1 };
	if (runtime && *runtime == '/')
		ret = numbered_folder(d, runtime);
	if (ret && !geteuid())
		ret = numbered_folder(d, "/run");
	if (ret)
		ret = random_folder(d);
	if (!ret)
		return 0;
	free(d->path);
	d->path = NULL;
	twx_error_set(e, -ret, "cannot make a folder for sockets: %s", strerror(-ret));
	return twx_error_hint(e, "set XDG_RUNTIME_DIR to a folder of yours");
}

void session_dir_remove(struct session_dir *d)
{
	struct dirent *entry;
	DIR *dir;

	if (d->fd < 0)
		return;
	dir = fdopendir(d->fd);
	while (dir && (entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			unlinkat(d->fd, entry->d_name, 0);
	rmdir(d->path);
	if (dir)
		closedir(dir);
	else
		close(d->fd);
	free(d->path);
	d->fd = -1;
}
