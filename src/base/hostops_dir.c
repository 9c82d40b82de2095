/* SPDX-License-Identifier: BSD-3-Clause */
/* Folders for files of programs that are started: made, and removed with all that is in them. */
#include <errno.h>
#include <fts.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hostops.h"

#define HAS(h, name)                                                                               \
	((h) && (h)->size >= offsetof(struct twx_hostops, name) + sizeof((h)->name) && (h)->name)

/* mkdtemp()'s six, which it replaces. */
static void add_pattern(char *path)
{
	size_t len = strlen(path);

	memset(path + len, 'X', 6);
	path[len + 6] = 0;
}

int hostops_make_dir(const struct twx_hostops *h, char *path)
{
	if (HAS(h, make_dir))
		return h->make_dir(h->opaque, path);
	add_pattern(path);
	return mkdtemp(path) ? 0 : -errno;
}

int hostops_remove_dir(const struct twx_hostops *h, char *path)
{
	char *paths[] = { path, NULL };
	int err = 0;
	FTSENT *f;
	FTS *fts;

	if (HAS(h, remove_dir))
		return h->remove_dir(h->opaque, path);
	fts = fts_open(paths, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
	if (!fts)
		return -errno;
	while ((f = fts_read(fts)) != NULL) {
		if (f->fts_info == FTS_D)
			continue;
		if ((f->fts_info == FTS_DP ? rmdir(f->fts_accpath) : unlink(f->fts_accpath)) < 0 &&
		    errno != ENOENT)
			err = -errno;
	}
	fts_close(fts);
	return err;
}
