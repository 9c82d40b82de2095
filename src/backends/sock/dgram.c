/* SPDX-License-Identifier: BSD-3-Clause */
/* Backend "dgram": a frame a datagram, QEMU's `-netdev dgram`. */
#include <errno.h>
#include <stdio.h>

#include "backends/sock/dgram.h"

static const struct twx_opt_desc dgram_options[] = {
	SOCK_ROWS("local", "the address to receive on", "inet|unix|fd"),
	SOCK_ROW_FD("local", "a datagram socket that is connected, without remote"),
	SOCK_ROWS("remote", "the address to send to, a multicast group among others", "inet|unix"),
	{ NULL },
};

static int dgram_port_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	return dgram_receive(((struct twx_backend *)port->owner)->priv, frames, n);
}

static void dgram_port_resume(struct twx_port *port)
{
	dgram_resume(((struct twx_backend *)port->owner)->priv);
}

static void dgram_port_info(struct twx_port *port, char *buf, size_t size)
{
	struct dgram *d = ((struct twx_backend *)port->owner)->priv;

	snprintf(buf, size, "%s", d->info);
}

static const struct twx_port_ops dgram_port_ops = {
	.receive = dgram_port_receive,
	.resume = dgram_port_resume,
	.info = dgram_port_info,
};

/* Which combinations of local and remote there are. */
static int dgram_check(const struct sock_spec *local, const struct sock_spec *remote, bool group,
		       struct twx_error *e)
{
	if (group && remote->addr[0].ss.ss_family != AF_INET)
		return twx_error_set(e, EINVAL, "a multicast group of IPv6 is not supported");
	if (group && (!local->kind || local->kind == SOCK_INET))
		return 0;
	if (!local->kind) {
		twx_error_set(e, EINVAL, "dgram requires local= parameter");
		return twx_error_hint(e, "only a multicast remote goes without");
	}
	if (local->kind == SOCK_FD)
		return remote->kind ? twx_error_set(e, EINVAL, "don't set remote with local.fd")
				    : 0;
	if (!remote->kind)
		return twx_error_set(e, EINVAL, "type=inet or type=unix requires remote parameter");
	if (local->kind != remote->kind)
		return twx_error_set(e, EINVAL, "remote and local types must be the same");
	return 0;
}

static int dgram_open_pair_named(struct dgram *d, const struct sock_spec *remote,
				 struct twx_error *e)
{
	char from[SOCK_TEXT], to[SOCK_TEXT];
	int err = dgram_open_pair(d, remote, e);

	if (err)
		return err;
	sock_name(&d->local.addr[0], from, sizeof(from));
	sock_name(&d->to, to, sizeof(to));
	snprintf(d->info, sizeof(d->info), remote->kind == SOCK_UNIX ? "udp=%s:%s" : "udp=%s/%s",
		 from, to);
	return 0;
}

static int dgram_open_group_named(struct dgram *d, const struct sock_addr *group,
				  struct twx_error *e)
{
	struct in_addr iface = { htonl(INADDR_ANY) };
	char name[SOCK_TEXT];
	int err;

	if (d->local.kind == SOCK_INET)
		iface = ((const struct sockaddr_in *)&d->local.addr[0].ss)->sin_addr;
	err = dgram_open_group(d, group, iface, e);
	if (err)
		return err;
	sock_name(group, name, sizeof(name));
	snprintf(d->info, sizeof(d->info), "mcast=%s", name);
	return 0;
}

static int dgram_open_fd_named(struct dgram *d, struct twx_error *e)
{
	struct sock_addr own = { .len = sizeof(own.ss) };
	int err = dgram_open_fd(d, d->local.fd, e);

	if (err)
		return err;
	getsockname(d->in, (struct sockaddr *)&own.ss, &own.len);
	snprintf(d->info, sizeof(d->info), "fd=%d %s", d->in,
		 own.ss.ss_family == AF_UNIX ? "unix" : "inet");
	return 0;
}

static int dgram_backend_open(struct twx_backend *b, const struct twx_opts *o, struct twx_error *e)
{
	struct dgram *d = b->priv;
	struct sock_spec remote;
	bool group;
	int err;

	dgram_init(d, b);
	err = sock_spec_opts(&remote, b, o, "remote", SOCK_DATAGRAM, e);
	if (!err)
		err = sock_spec_opts(&d->local, b, o, "local", SOCK_DATAGRAM | SOCK_PASSIVE, e);
	if (err)
		return err;
	group = remote.kind == SOCK_INET && sock_is_multicast(&remote.addr[0]);
	err = dgram_check(&d->local, &remote, group, e);
	if (err)
		return err;
	if (group)
		err = dgram_open_group_named(d, &remote.addr[0], e);
	else if (d->local.kind == SOCK_FD)
		err = dgram_open_fd_named(d, e);
	else
		err = dgram_open_pair_named(d, &remote, e);
	if (!err)
		err = dgram_start(d, e);
	if (err)
		dgram_stop(d);
	return err;
}

static void dgram_backend_close(struct twx_backend *b)
{
	dgram_stop(b->priv);
}

extern const struct twx_backend_type dgram_backend;
const struct twx_backend_type dgram_backend = {
	.name = "dgram",
	.help = "a frame a datagram: UDP, a multicast group, unix, or a descriptor",
	.options = dgram_options,
	.port_ops = &dgram_port_ops,
	.priv_size = sizeof(struct dgram),
	.open = dgram_backend_open,
	.close = dgram_backend_close,
};
