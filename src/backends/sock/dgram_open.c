/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sockets of the datagram backends.
 *
 * UDP to one peer: one socket, not connected, as QEMU has it: what comes from elsewhere is taken
 * too.
 *
 * Unix: one socket bound to the local path, and one that sends, connected to the remote path. A
 * socket that is not connected is always writable, whatever its receiver does, so that waiting for
 * a slow receiver would be a loop; and connecting the bound one would shut out a peer that has
 * started anew. The remote path need not be there yet.
 *
 * Multicast: one socket bound to the group, which receives, and one that sends from a port of its
 * own, by which our own datagrams are known when they come back. QEMU sends from the group's port
 * and takes its own frames for somebody else's; on a hub they would go round once more.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "backends/sock/dgram.h"
#include "base/hostops.h"
#include "net/net_priv.h"

#define BUFFER (1 << 20) /* asked for; the system's limit applies */

void dgram_init(struct dgram *d, struct twx_backend *b)
{
	d->backend = b;
	d->in = d->out = -1;
}

static void set_buffers(int fd)
{
	int size = BUFFER;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

static int make_out(struct dgram *d, struct twx_error *e)
{
	d->out = socket(d->to.ss.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (d->out < 0)
		return twx_error_set(e, errno, "cannot make a datagram socket: %s",
				     strerror(errno));
	set_buffers(d->out);
	d->link = true;
	return 0;
}

int dgram_link(struct dgram *d)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	int err;

	/* Forgets the source address, which may be none of ours any more. */
	if (d->group)
		connect(d->out, &none, sizeof(none));
	err = hostops_connect(net_hostops(d->backend->net), d->out,
			      (const struct sockaddr *)&d->to.ss, d->to.len);
	if (err)
		return err;
	if (d->group) {
		d->self.len = sizeof(d->self.ss);
		if (getsockname(d->out, (struct sockaddr *)&d->self.ss, &d->self.len) < 0)
			d->self.len = 0;
	}
	return 0;
}

int dgram_open_pair(struct dgram *d, const struct sock_spec *remote, struct twx_error *e)
{
	int i;

	d->in = sock_bind_dgram(&d->local, d->backend, e);
	if (d->in < 0)
		return d->in;
	d->bound = true;
	set_buffers(d->in);
	for (i = 0; i < remote->n_addr && !d->to.len; i++)
		if (remote->addr[i].ss.ss_family == d->local.addr[0].ss.ss_family)
			d->to = remote->addr[i];
	if (!d->to.len)
		return twx_error_set(e, EINVAL, "%s and %s are of different IP versions",
				     d->local.text, remote->text);
	if (remote->kind == SOCK_UNIX)
		return make_out(d, e);
	d->out = d->in;
	return 0;
}

/* The socket on which the group is heard. */
static int join_group(struct dgram *d, const struct sockaddr_in *group, struct in_addr iface,
		      struct twx_error *e)
{
	struct ip_mreq mreq = { .imr_multiaddr = group->sin_addr, .imr_interface = iface };
	int on = 1, err;

	d->in = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (d->in < 0)
		return twx_error_set(e, errno, "cannot make a datagram socket: %s",
				     strerror(errno));
	set_buffers(d->in);
	/* Every member on this machine binds to the same address. */
	setsockopt(d->in, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	err = hostops_bind(net_hostops(d->backend->net), d->in, (const struct sockaddr *)group,
			   sizeof(*group));
	if (err)
		return twx_error_set(e, -err, "cannot bind to the multicast group %s: %s", d->info,
				     strerror(-err));
	if (!setsockopt(d->in, IPPROTO_IP, IP_ADD_MEMBERSHIP, &mreq, sizeof(mreq)))
		return 0;
	twx_error_set(e, errno, "cannot join the multicast group %s: %s", d->info, strerror(errno));
	return twx_error_hint(e, "give a route to 224.0.0.0/4, or the address of the interface to "
				 "use");
}

int dgram_open_group(struct dgram *d, const struct sock_addr *group, struct in_addr iface,
		     struct twx_error *e)
{
	int on = 1, err;

	sock_name(group, d->info, sizeof(d->info));
	err = join_group(d, (const struct sockaddr_in *)&group->ss, iface, e);
	if (err)
		return err;
	d->to = *group;
	d->group = true;
	err = make_out(d, e);
	if (err)
		return err;
	setsockopt(d->out, IPPROTO_IP, IP_MULTICAST_LOOP, &on, sizeof(on));
	if (iface.s_addr != INADDR_ANY &&
	    setsockopt(d->out, IPPROTO_IP, IP_MULTICAST_IF, &iface, sizeof(iface)) < 0)
		return twx_error_set(e, errno, "cannot send by the wanted interface: %s",
				     strerror(errno));
	/* Where this fails now, the first frame tries again. */
	(void)dgram_link(d);
	return 0;
}

int dgram_open_fd(struct dgram *d, int fd, struct twx_error *e)
{
	int type = SOCK_DGRAM;

	d->in = sock_take_fd(fd, &type, e);
	d->out = d->in;
	return d->in < 0 ? d->in : 0;
}
