/* SPDX-License-Identifier: BSD-3-Clause */
/* Backend "hubport": a port of a hub, for a NIC or, by netdev=, for another backend. */
#include <errno.h>
#include <stdint.h>

#include <twinax/net.h>

#include "net/hub.h"

static const struct twx_opt_desc hubport_options[] = {
	{ "hubid", TWX_OPT_INT, NULL, "number of the hub, made when it is new", "N", INT32_MIN,
	  INT32_MAX, true },
	{ "netdev", TWX_OPT_STR, NULL, "backend to join to the hub instead of a NIC", "ID" },
	{ NULL },
};

static int hubport_join_netdev(struct twx_port *port, const char *id, struct twx_error *e)
{
	struct twx_backend *b = twx_backend_find(port->net, id);

	if (!b) {
		twx_error_set(e, ENODEV, "netdev '%s' not found", id);
		return twx_error_hint(e, "define it before hub port %s", port->name);
	}
	if (b->type->only_bus)
		return twx_error_set(e, EINVAL, "%s requires frontend driver %s-net-*, not a hub",
				     b->type->name, b->type->only_bus);
	if (b->n_ports != 1)
		return twx_error_set(e, EINVAL, "netdev '%s' has %u queues, a hub port takes one",
				     id, b->n_ports);
	return twx_port_pair(port, b->ports[0], e);
}

static int hubport_open(struct twx_backend *b, const struct twx_opts *opts, struct twx_error *e)
{
	int hubid = (int)twx_opts_int(opts, "hubid"), ret;
	const char *netdev = twx_opts_str(opts, "netdev");
	struct twx_port *port;

	if (!b->id[0])
		hub_next_name(b->net, hubid, b->id, sizeof(b->id));
	port = twx_backend_add_port(b, e);
	if (!port)
		return -e->code;
	ret = hub_join(port, hubid, e);
	return ret < 0 || !netdev ? ret : hubport_join_netdev(port, netdev, e);
}

static void hubport_close(struct twx_backend *b)
{
	/* The port leaves its hub when the net removes it. */
}

extern const struct twx_backend_type hubport_backend;
const struct twx_backend_type hubport_backend = {
	.name = "hubport",
	.help = "port of a hub, which passes every frame to all its other ports",
	.options = hubport_options,
	.port_ops = &hub_port_ops,
	.auto_id = true,
	.open = hubport_open,
	.close = hubport_close,
};
