/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A libvdeplug for tests. "/NAME" connects to the abstract datagram socket "NAME", where the test
 * is the switch, or to that port of 127.0.0.1 by UDP when it is a number; "/NAME:STREAM" has a
 * control connection to "STREAM" besides. "busy:N/NAME" is of a kind whose descriptor is always
 * writable: its first N frames are not taken, for the moment.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>

struct vde_open_args {
	int port;
	char *group;
	mode_t mode;
};

struct vdeconn {
	int data, ctl;
	int busy;
};

#pragma GCC visibility push(default)
struct vdeconn *vde_open_real(char *url, char *descr, int version, struct vde_open_args *args);
ssize_t vde_recv(struct vdeconn *c, void *buf, size_t len, int flags);
ssize_t vde_send(struct vdeconn *c, const void *buf, size_t len, int flags);
int vde_datafd(struct vdeconn *c);
int vde_ctlfd(struct vdeconn *c);
int vde_close(struct vdeconn *c);
#pragma GCC visibility pop

static int connect_udp(const char *port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				   .sin_port = htons((uint16_t)atoi(port)) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&sin, sizeof(sin))) {
		close(fd);
		return -1;
	}
	return fd;
}

static int connect_to(const char *name, size_t len, int type)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len);
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	memcpy(sun.sun_path + 1, name, len);
	/* A name of its own, so that the switch can answer. */
	if (bind(fd, (struct sockaddr *)&(struct sockaddr_un){ AF_UNIX }, sizeof(sa_family_t)) ||
	    connect(fd, (struct sockaddr *)&sun, size)) {
		close(fd);
		return -1;
	}
	return fd;
}

struct vdeconn *vde_open_real(char *url, char *descr, int version, struct vde_open_args *args)
{
	struct vdeconn *c = calloc(1, sizeof(*c));
	char *name, *ctl;

	if (version != 1 || !args || args->mode != 0700 || !strstr(descr, "twinax") || !url ||
	    (args->group && strcmp(args->group, "users"))) {
		free(c);
		errno = EINVAL;
		return NULL;
	}
	if (!strncmp(url, "busy:", 5))
		c->busy = atoi(url + 5);
	name = strchr(url, '/');
	name = name ? name + 1 : url;
	ctl = strchr(name, ':');
	c->data = c->ctl = -1;
	if (!strcmp(name, "nodata"))
		return c;
	if (*name >= '0' && *name <= '9')
		c->data = connect_udp(name);
	else
		c->data = connect_to(name, ctl ? (size_t)(ctl - name) : strlen(name), SOCK_DGRAM);
	if (c->data >= 0 && ctl)
		c->ctl = connect_to(ctl + 1, strlen(ctl + 1), SOCK_STREAM);
	if (c->data < 0 || (ctl && c->ctl < 0)) {
		int err = errno;

		vde_close(c);
		errno = err;
		return NULL;
	}
	/* The switch hears who is there: the port. */
	send(c->data, &args->port, sizeof(args->port), 0);
	return c;
}

ssize_t vde_recv(struct vdeconn *c, void *buf, size_t len, int flags)
{
	return recv(c->data, buf, len, flags);
}

ssize_t vde_send(struct vdeconn *c, const void *buf, size_t len, int flags)
{
	if (c->busy > 0) {
		c->busy--;
		errno = EAGAIN;
		return -1;
	}
	return send(c->data, buf, len, flags);
}

int vde_datafd(struct vdeconn *c)
{
	return c->data;
}

int vde_ctlfd(struct vdeconn *c)
{
	return c->ctl;
}

int vde_close(struct vdeconn *c)
{
	if (c->data >= 0)
		close(c->data);
	if (c->ctl >= 0)
		close(c->ctl);
	free(c);
	return 0;
}
