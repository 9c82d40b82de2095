/* SPDX-License-Identifier: BSD-3-Clause */
/* A namespace that exists: found by a process or by a file, and watched until it is gone. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/macros.h"
#include "cli/alloc.h"
#include "cli/cli.h"
#include "cli/run.h"

static void pid_ended(struct twx_watch *w, uint32_t events)
{
	run_stop(container_of(w, struct run, pid_watch));
}

/* The namespace at PATH is there as long as the file is the one that was opened. */
static void check_path(struct run *r)
{
	struct stat st;

	if (fstatat(r->path_dir, r->path_base, &st, 0) || st.st_ino != r->path_is.st_ino ||
	    st.st_dev != r->path_is.st_dev)
		run_stop(r);
}

static void mounts_changed(struct twx_watch *w, uint32_t events)
{
	check_path(container_of(w, struct run, mounts));
}

static void file_changed(struct twx_watch *w, uint32_t events)
{
	char buf[4096] __attribute__((aligned(8)));

	while (read(w->fd, buf, sizeof(buf)) > 0)
		;
	check_path(container_of(w, struct run, file));
}

int run_watch_fd(struct run *r, struct twx_watch *w, int fd, uint32_t events, twx_watch_fn *fn,
		 const char *what)
{
	int err = fd < 0 ? -errno : twx_watch_add(w, r->world.session.loop, fd, events, fn);

	if (!err)
		return 0;
	if (fd >= 0)
		close(fd);
	return cli_fail_text(r->name, NULL, "cannot watch %s: %s", what, strerror(-err));
}

/* The folder is held open: in a sandbox its path leads nowhere. */
static int watch_path(struct run *r)
{
	char *dir = cli_strdup(r->path), *slash = strrchr(dir, '/');
	int fd, err;

	if (slash)
		*slash = 0;
	r->path_base = slash ? r->path + (slash - dir) + 1 : r->path;
	r->path_dir = open(!slash ? "." : *dir ? dir : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	free(dir);
	fd = open("/proc/self/mounts", O_RDONLY | O_CLOEXEC);
	err = run_watch_fd(r, &r->mounts, fd, EPOLLPRI, mounts_changed, "mounts");
	if (err)
		return err;
	fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (fd >= 0)
		inotify_add_watch(fd, r->path, IN_DELETE_SELF | IN_ATTRIB);
	return run_watch_fd(r, &r->file, fd, EPOLLIN, file_changed, r->path);
}

static int open_ns(struct run *r, const char *name, int *fd)
{
	char *path = r->path && strcmp(name, "user")
			     ? cli_strdup(r->path)
			     : cli_printf("/proc/%d/ns/%s", (int)r->pid, name);
	int err = 0;

	*fd = open(path, O_RDONLY | O_CLOEXEC);
	if (*fd < 0)
		err = cli_fail_text(r->name,
				    errno == EACCES || errno == EPERM ? "it belongs to another user"
								      : NULL,
				    "cannot open %s: %s", path, strerror(errno));
	free(path);
	return err;
}

/* Of the path where there is one; else of the process, or whichever owns the network namespace. */
static int open_user_ns(struct run *r, int *fd)
{
	if (!r->user_path)
		return r->pid ? open_ns(r, "user", fd) : 0;
	*fd = open(r->user_path, O_RDONLY | O_CLOEXEC);
	return *fd < 0 ? cli_fail_text(r->name, NULL, "cannot open %s: %s", r->user_path,
				       strerror(errno))
		       : 0;
}

/* The process first: if it ends now, it is noticed. */
int run_target_open(struct run *r)
{
	struct twx_netns_config *tap = &r->world.tap;
	int fd;

	r->world.resolv = false;
	if (r->pid) {
		fd = (int)syscall(SYS_pidfd_open, r->pid, 0);
		if (fd < 0)
			return cli_fail_text(r->name, NULL, "there is no process %d: %s",
					     (int)r->pid, strerror(errno));
		if (run_watch_fd(r, &r->pid_watch, fd, EPOLLIN, pid_ended, "the process"))
			return 1;
	}
	if (open_user_ns(r, &tap->user_ns) || open_ns(r, "net", &tap->net_ns))
		return 1;
	if (!r->path || r->path_stays)
		return 0;
	fstat(tap->net_ns, &r->path_is);
	return watch_path(r);
}

/* Its file must not stay open: what is mounted there could not be unmounted any more. */
void run_target_close(struct run *r)
{
	struct twx_netns_config *tap = &r->world.tap;

	if (!r->argv && tap->net_ns >= 0)
		close(tap->net_ns);
	if (!r->argv && tap->user_ns >= 0)
		close(tap->user_ns);
	tap->net_ns = tap->user_ns = -1;
}
