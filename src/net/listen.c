/* SPDX-License-Identifier: BSD-3-Clause */
/* Listening sockets for the program around a net: a control socket goes through hostops as all else. */
#include <errno.h>
#include <string.h>

#include "base/hostops.h"
#include "net/net_priv.h"

int twx_net_listen_unix(struct twx_net *net, const char *path, struct twx_error *e)
{
	int fd = hostops_unix_listen(net_hostops(net), path);

	if (fd >= 0)
		return fd;
	twx_error_set(e, -fd, "cannot listen on %s: %s", path, strerror(-fd));
	switch (fd) {
	case -EADDRINUSE:
		return twx_error_hint(e, "another program listens there; choose another path or end it");
	case -EEXIST:
		return twx_error_hint(e, "a file that is no socket is in the way; choose another path or remove it");
	case -ENOENT:
		return twx_error_hint(e, "make the directory first");
	case -EACCES:
		return twx_error_hint(e, "choose a directory that you may write to");
	case -ENAMETOOLONG:
		return twx_error_hint(e, "socket paths have at most 107 bytes; change into the directory and use a "
					 "relative path");
	default:
		return fd;
	}
}

int twx_net_unlink(struct twx_net *net, const char *path)
{
	return hostops_unlink(net_hostops(net), path);
}
