/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A resolv.conf of its own for a mount namespace: a file in a tmpfs that is mounted nowhere,
 * mounted over /etc/resolv.conf (fsopen(2) and friends, Linux 5.2). No temporary file is left
 * anywhere, and the host's is not touched. Where the path is a symbolic link, what it leads to is
 * covered.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hosts/netns.h"

#define RESOLV_CONF "/etc/resolv.conf"

/* A mount that is attached nowhere, or -errno. */
static int private_tmpfs(void)
{
	int fs = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC), mnt = -1, err;

	if (fs < 0)
		return -errno;
	if (!syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "size", "65536", 0) &&
	    !syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "mode", "0755", 0) &&
	    !syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		mnt = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	err = errno;
	close(fs);
	return mnt < 0 ? -err : mnt;
}

static int write_file(int dir, const char *text)
{
	size_t len = strlen(text);
	int fd = openat(dir, "resolv.conf", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644), err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, len) != (ssize_t)len)
		err = -EIO;
	close(fd);
	return err;
}

static int cover(const char *text)
{
	int dir = private_tmpfs(), file, err;

	if (dir < 0)
		return dir;
	err = write_file(dir, text);
	file = err ? err
		   : (int)syscall(SYS_open_tree, dir, "resolv.conf",
				  OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (!err && (file < 0 || syscall(SYS_move_mount, file, "", AT_FDCWD, RESOLV_CONF,
					 MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS)))
		err = -errno;
	if (file >= 0)
		close(file);
	close(dir);
	return err;
}

int netns_mount_resolv(const char *text, struct twx_error *e)
{
	int err = cover(text);

	if (!err)
		return 0;
	twx_error_set(e, -err, "cannot mount a file over " RESOLV_CONF ": %s", strerror(-err));
	if (err == -ENOENT)
		return twx_error_hint(e, "make an empty one, as root: touch " RESOLV_CONF);
	if (err == -ENOSYS)
		return twx_error_hint(e, "it takes Linux 5.2 or newer");
	return err;
}
