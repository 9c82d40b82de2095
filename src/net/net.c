/* SPDX-License-Identifier: BSD-3-Clause */
/* A network as a whole: begun, ended, its types, its links, its start-up warnings. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hostops.h"
#include "base/macros.h"
#include "net/chardev.h"
#include "net/hub.h"
#include "net/net_priv.h"
#include "net/workers.h"

int twx_net_new(struct twx_net **out, const struct twx_net_config *config, struct twx_error *e)
{
	struct twx_net *net;

	if (config->size < offsetof(struct twx_net_config, log))
		return twx_error_set(e, EINVAL, "network: config.size is not set");
	net = calloc(1, sizeof(*net));
	if (!net)
		return twx_error_set(e, ENOMEM, "network: out of memory");
	memcpy(&net->config, config, min(config->size, sizeof(net->config)));
	net->loop = net->config.loop;
	if (!net->loop) {
		free(net);
		return twx_error_set(e, EINVAL, "network: config.loop is not set");
	}
	if (net_log_new(net) < 0) {
		free(net);
		return twx_error_set(e, ENOMEM, "network: out of memory");
	}
	*out = net;
	return 0;
}

void twx_net_free(struct twx_net *net)
{
	struct twx_nic *nic;

	if (!net)
		return;
	net_workers_stop(net);
	for (nic = net->nics; nic; nic = nic->next)
		nic_close_host(nic);
	while (net->nics)
		twx_nic_free(net->nics);
	while (net->filters)
		twx_filter_free(net->filters);
	while (net->backends)
		twx_backend_free(net->backends);
	while (net->last_port) /* an embedder's own; hubs go with their last port */
		twx_port_fini(net->last_port);
	while (net->chardevs)
		chardev_free(net->chardevs);
	net_workers_free(net);
	net_log_free(net);
	free(net->backend_types.types);
	free(net->nic_models.types);
	free(net->hash);
	free(net);
}

struct twx_loop *twx_net_loop(struct twx_net *net)
{
	return net->loop;
}

struct twx_port *twx_net_ports(struct twx_net *net)
{
	return net->ports;
}

const struct twx_hostops *net_hostops(struct twx_net *net)
{
	return net->config.hostops;
}

const char *net_state_prefix(struct twx_net *net)
{
	return net->config.state_prefix;
}

int twx_net_listen_unix(struct twx_net *net, const char *path, struct twx_error *e)
{
	int fd = hostops_unix_listen(net->config.hostops, path);

	if (fd >= 0)
		return fd;
	twx_error_set(e, -fd, "cannot listen on %s: %s", path, strerror(-fd));
	if (fd == -EADDRINUSE)
		twx_error_hint(e, "another program listens there: end it or choose another path");
	else if (fd == -EEXIST)
		twx_error_hint(e, "the file is no socket: remove it or choose another path");
	else if (fd == -ENAMETOOLONG)
		twx_error_hint(e, "a socket's path has at most 107 bytes");
	return fd;
}

int twx_net_unlink(struct twx_net *net, const char *path)
{
	return hostops_unlink(net->config.hostops, path);
}

static int net_add_type(struct net_type_list *list, const void *type)
{
	const void **types = realloc(list->types, (list->n + 1) * sizeof(*types));

	if (!types)
		return -ENOMEM;
	list->types = types;
	types[list->n++] = type;
	return 0;
}

const struct twx_backend_type *net_backend_type(struct twx_net *net, const char *name)
{
	const struct twx_backend_type *const *t;
	unsigned int i;

	for (t = twx_backend_types(); *t; t++)
		if (!strcmp((*t)->name, name))
			return *t;
	for (i = 0; i < net->backend_types.n; i++) {
		const struct twx_backend_type *own = net->backend_types.types[i];

		if (!strcmp(own->name, name))
			return own;
	}
	return NULL;
}

const struct twx_nic_model *net_nic_model(struct twx_net *net, const char *name)
{
	const struct twx_nic_model *const *m;
	unsigned int i;

	for (m = twx_nic_models(); *m; m++)
		if (!strcmp((*m)->name, name))
			return *m;
	for (i = 0; i < net->nic_models.n; i++) {
		const struct twx_nic_model *own = net->nic_models.types[i];

		if (!strcmp(own->name, name))
			return own;
	}
	return NULL;
}

int twx_net_add_backend_type(struct twx_net *net, const struct twx_backend_type *type)
{
	return net_backend_type(net, type->name) ? -EEXIST
						 : net_add_type(&net->backend_types, type);
}

int twx_net_add_nic_model(struct twx_net *net, const struct twx_nic_model *model)
{
	return net_nic_model(net, model->name) ? -EEXIST : net_add_type(&net->nic_models, model);
}

static int net_may_set_link(const struct port_core *core, struct twx_error *e)
{
	struct twx_host *host = core->nic ? core->nic->host : NULL;

	return host && host->type->may_set_link ? host->type->may_set_link(host, e) : 0;
}

int twx_net_set_link(struct twx_net *net, const char *name, bool up, struct twx_error *e)
{
	struct port_core *first = net_find_port(net, name), *core;
	int ret;

	if (!first)
		return twx_error_set(e, ENODEV, "Device '%s' not found", name);
	for (core = first; core; core = net_next_port(core)) {
		ret = net_may_set_link(core, e);
		if (ret < 0)
			return ret;
	}
	for (core = first; core; core = net_next_port(core)) {
		struct twx_port *peer = core->port->peer;

		twx_port_set_link(core->port, up);
		if (peer && peer->kind == TWX_PORT_NIC && !net_may_set_link(port_core(peer), NULL))
			twx_port_set_link(peer, up);
	}
	return 0;
}

static void net_check_hub(struct twx_net *net, struct hub *hub)
{
	bool has_nic = false, has_host = false;
	struct hub_member *m;

	for (m = hub->members; m; m = m->next) {
		if (!m->port->peer)
			twx_log(net, TWX_LOG_WARNING, "hub port %s has no peer", m->port->name);
		else if (m->port->peer->kind == TWX_PORT_NIC)
			has_nic = true;
		else
			has_host = true;
	}
	if (has_host && !has_nic)
		twx_log(net, TWX_LOG_WARNING, "hub %d with no nics", hub->id);
	if (has_nic && !has_host)
		twx_log(net, TWX_LOG_WARNING, "hub %d is not connected to host network", hub->id);
}

void twx_net_check(struct twx_net *net)
{
	struct twx_port *port;
	struct hub *hub;

	for (hub = net->hubs; hub; hub = hub->next)
		net_check_hub(net, hub);
	for (port = net->ports; port; port = port->next)
		if (!port->peer && port->kind != TWX_PORT_HUB)
			twx_log(net, TWX_LOG_WARNING, "%s %s has no peer",
				port->kind == TWX_PORT_NIC ? "nic" : "netdev", port->name);
}
