/* SPDX-License-Identifier: BSD-3-Clause */
/* Ports of a net by name, and the scratch memory they share. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "net/net_priv.h"
#include "net/offload.h"

/* FNV-1a. Names come from the owner of the process, not from guests, so no key is needed. */
static unsigned int registry_hash(const struct twx_net *net, const char *name)
{
	uint32_t h = 2166136261u;

	while (*name)
		h = (h ^ (uint8_t)*name++) * 16777619u;
	return h & (net->n_hash - 1);
}

static void registry_link(struct twx_net *net, struct port_core *core)
{
	struct port_core **bucket = &net->hash[registry_hash(net, core->port->name)];

	core->hash_next = *bucket;
	*bucket = core;
}

static int registry_grow(struct twx_net *net)
{
	unsigned int n = net->n_hash ? net->n_hash * 2 : 16;
	struct port_core **hash = calloc(n, sizeof(*hash));
	struct twx_port *port;

	if (!hash)
		return -ENOMEM;
	free(net->hash);
	net->hash = hash;
	net->n_hash = n;
	for (port = net->ports; port; port = port->next)
		registry_link(net, port_core(port));
	return 0;
}

int net_add_port(struct twx_net *net, struct port_core *core)
{
	struct twx_port *port = core->port;

	if (net->n_ports >= net->n_hash && registry_grow(net) < 0)
		return -ENOMEM;
	registry_link(net, core);
	port->next = NULL;
	core->prev = net->last_port;
	if (net->last_port)
		net->last_port->next = port;
	else
		net->ports = port;
	net->last_port = port;
	net->n_ports++;
	return 0;
}

void net_remove_port(struct twx_net *net, struct port_core *core)
{
	struct twx_port *port = core->port;
	struct port_core **at = &net->hash[registry_hash(net, port->name)];

	while (*at != core)
		at = &(*at)->hash_next;
	*at = core->hash_next;
	if (core->prev)
		core->prev->next = port->next;
	else
		net->ports = port->next;
	if (port->next)
		port_core(port->next)->prev = core->prev;
	else
		net->last_port = core->prev;
	port->next = NULL;
	net->n_ports--;
}

static struct port_core *registry_match(struct port_core *core, const char *name)
{
	while (core && strcmp(core->port->name, name))
		core = core->hash_next;
	return core;
}

struct port_core *net_find_port(struct twx_net *net, const char *name)
{
	return net->n_hash ? registry_match(net->hash[registry_hash(net, name)], name) : NULL;
}

struct port_core *net_next_port(struct port_core *core)
{
	return registry_match(core->hash_next, core->port->name);
}

struct offload *net_scratch_get(struct port_core *core)
{
	struct offload *o = core->scratch;

	if (o) {
		core->scratch = o->next;
		return o;
	}
	/* Not cleared: most of it is never touched. */
	o = malloc(sizeof(*o));
	if (o) {
		o->job.f = NULL;
		o->next_frag_id = (uint32_t)twx_loop_now(core->port->loop);
	}
	return o;
}

void net_scratch_put(struct port_core *core, struct offload *o)
{
	o->job.f = NULL;
	o->next = core->scratch;
	core->scratch = o;
}

void net_scratch_free(struct port_core *core)
{
	while (core->scratch) {
		struct offload *o = core->scratch;

		core->scratch = o->next;
		free(o);
	}
}
