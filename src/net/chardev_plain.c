/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Chardevs that are descriptors: file, pipe, null, stdio, fd.
 *
 * stdio: 0 and 1 belong to other programs as well (the shell, a pipe's other users), so their flags
 * stay as they are. A terminal or pipe is opened once more, by its name in /proc, to be
 * non-blocking for us alone. Where that is denied (another user's terminal) output goes in small
 * pieces, each after poll() has said that there is room.
 */
#include "net/chardev_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hostops.h"
#include "base/macros.h"
#include "net/net_priv.h"

#define PLAIN_PIECE 256 /* what a terminal or pipe takes when poll() says that it is writable */

/* Descriptors to be closed in the end. */
struct plain {
	int in, out;
};

static void plain_close(struct twx_chardev *c)
{
	struct plain *p = c->priv;

	chardev_detach(c);
	if (p->out >= 0 && p->out != p->in)
		close(p->out);
	if (p->in >= 0)
		close(p->in);
	p->in = p->out = -1;
}

static int plain_start(struct twx_chardev *c, int in, int out, struct twx_error *e)
{
	int err = chardev_attach(c, in, out);

	if (!err)
		return 0;
	plain_close(c);
	return twx_error_set(e, -err, "cannot watch the descriptor: %s", strerror(-err));
}

static int plain_open_path(struct twx_chardev *c, const char *path, int flags)
{
	return hostops_open(net_hostops(c->net), path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
			    0666);
}

static int plain_open_failed(const char *path, int err, struct twx_error *e)
{
	twx_error_set(e, -err, "Could not open '%s': %s", path, strerror(-err));
	switch (-err) {
	case ENOENT:
		return twx_error_hint(e, "check the path, and that its folder is there");
	case ENXIO:
		return twx_error_hint(e, "nobody reads from this pipe: start the reader first");
	default:
		return err;
	}
}

/* --- file --- */

static const struct twx_opt_desc file_options[] = {
	{ "path", TWX_OPT_STR, NULL, "file that gets what is written", "PATH" },
	{ "append", TWX_OPT_BOOL, "off", "what the file holds is kept, and written behind" },
	{ NULL },
};

static int file_open(struct twx_chardev *c, const struct twx_opts *o, struct twx_error *e)
{
	const char *path = twx_opts_str(o, "path");
	struct plain *p = c->priv;

	p->in = -1;
	if (!path)
		return twx_error_set(e, EINVAL, "file: no filename given");
	p->out = plain_open_path(
		c, path, O_WRONLY | O_CREAT | (twx_opts_bool(o, "append") ? O_APPEND : O_TRUNC));
	if (p->out < 0)
		return plain_open_failed(path, p->out, e);
	return plain_start(c, -1, p->out, e);
}

const struct twx_chardev_type chardev_file = {
	.name = "file",
	.help = "a file that gets what is written",
	.options = file_options,
	.priv_size = sizeof(struct plain),
	.open = file_open,
	.close = plain_close,
};

/* --- pipe --- */

static const struct twx_opt_desc pipe_options[] = {
	{ "path", TWX_OPT_STR, NULL,
	  "named pipes PATH.in, which is read, and PATH.out; or one device for both", "PATH" },
	{ NULL },
};

/* Opened for both directions, so that neither a writer nor a reader has to be there all the time.
 */
static int pipe_open_end(struct twx_chardev *c, const char *path, const char *end)
{
	char name[PATH_MAX];

	if ((size_t)snprintf(name, sizeof(name), "%s%s", path, end) >= sizeof(name))
		return -ENAMETOOLONG;
	return plain_open_path(c, name, O_RDWR);
}

static int pipe_open(struct twx_chardev *c, const struct twx_opts *o, struct twx_error *e)
{
	const char *path = twx_opts_str(o, "path");
	struct plain *p = c->priv;

	if (!path)
		return twx_error_set(e, EINVAL, "pipe: no device path given");
	p->in = pipe_open_end(c, path, ".in");
	p->out = pipe_open_end(c, path, ".out");
	if (p->in < 0 || p->out < 0) {
		if (p->in >= 0)
			close(p->in);
		if (p->out >= 0)
			close(p->out);
		p->in = p->out = pipe_open_end(c, path, "");
	}
	if (p->in < 0) {
		plain_open_failed(path, p->in, e);
		return twx_error_hint(e, "make the pipes first: mkfifo %s.in %s.out", path, path);
	}
	return plain_start(c, p->in, p->out, e);
}

const struct twx_chardev_type chardev_pipe = {
	.name = "pipe",
	.help = "two named pipes, or one device",
	.options = pipe_options,
	.priv_size = sizeof(struct plain),
	.open = pipe_open,
	.close = plain_close,
};

/* --- null --- */

static const struct twx_opt_desc no_options[] = { { NULL } };

static int null_open(struct twx_chardev *c, const struct twx_opts *o, struct twx_error *e)
{
	struct plain *p = c->priv;

	p->in = p->out = -1;
	chardev_attach_nothing(c);
	return 0;
}

const struct twx_chardev_type chardev_null = {
	.name = "null",
	.help = "nothing comes, and what is written vanishes",
	.options = no_options,
	.priv_size = sizeof(struct plain),
	.open = null_open,
	.close = plain_close,
};

/* --- fd --- */

static const struct twx_opt_desc fd_options[] = {
	{ "fd", TWX_OPT_INT, NULL, "number of an open descriptor, inherited", "N", 0, INT_MAX,
	  true },
	{ NULL },
};

static int fd_open(struct twx_chardev *c, const struct twx_opts *o, struct twx_error *e)
{
	int fd = (int)twx_opts_int(o, "fd"), flags = fcntl(fd, F_GETFL);
	struct plain *p = c->priv;

	p->in = p->out = -1;
	if (chardev_own_fd(fd)) {
		twx_error_set(e, EBADF, "descriptor %d is not open", fd);
		return twx_error_hint(e, "let it be inherited: no close-on-exec");
	}
	if ((flags & O_ACCMODE) != O_WRONLY)
		p->in = fd;
	if ((flags & O_ACCMODE) != O_RDONLY)
		p->out = fd;
	return plain_start(c, p->in, p->out, e);
}

const struct twx_chardev_type chardev_fd = {
	.name = "fd",
	.help = "an inherited descriptor, both ways",
	.options = fd_options,
	.priv_size = sizeof(struct plain),
	.open = fd_open,
	.close = plain_close,
	.lost = plain_close,
};

/* --- stdio --- */

static int stdio_reopen(struct twx_chardev *c, int fd, int flags)
{
	char name[32];
	struct stat st;

	if (fstat(fd, &st) || (!S_ISCHR(st.st_mode) && !S_ISFIFO(st.st_mode)))
		return -1;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	return max(plain_open_path(c, name, flags), -1);
}

static int stdio_open(struct twx_chardev *c, const struct twx_opts *o, struct twx_error *e)
{
	struct plain *p = c->priv;
	struct twx_chardev *other;
	struct stat st;

	p->in = p->out = -1;
	for (other = c->net->chardevs; other; other = other->next) {
		if (other->type != c->type)
			continue;
		twx_error_set(e, EBUSY, "cannot use stdio by multiple character devices");
		return twx_error_hint(e, "chardev %s has it", other->id);
	}
	p->in = stdio_reopen(c, STDIN_FILENO, O_RDONLY);
	p->out = stdio_reopen(c, STDOUT_FILENO, O_WRONLY);
	if (p->out < 0 && !fstat(STDOUT_FILENO, &st) &&
	    (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode)))
		c->out_piece = PLAIN_PIECE;
	return plain_start(c, p->in >= 0 ? p->in : STDIN_FILENO,
			   p->out >= 0 ? p->out : STDOUT_FILENO, e);
}

const struct twx_chardev_type chardev_stdio = {
	.name = "stdio",
	.help = "standard input and output of this program",
	.options = no_options,
	.priv_size = sizeof(struct plain),
	.open = stdio_open,
	.close = plain_close,
};
