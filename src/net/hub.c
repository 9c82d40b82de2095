/* SPDX-License-Identifier: BSD-3-Clause */
/* Hubs: no learning, no filtering; a slow port delays nobody but itself. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/hub.h"
#include "net/net_priv.h"

static struct hub *hub_find(struct twx_net *net, int id)
{
	struct hub *hub = net->hubs;

	while (hub && hub->id != id)
		hub = hub->next;
	return hub;
}

static struct hub *hub_get(struct twx_net *net, int id)
{
	struct hub *hub = hub_find(net, id);

	if (!hub) {
		hub = calloc(1, sizeof(*hub));
		if (!hub)
			return NULL;
		hub->id = id;
		hub->next = net->hubs;
		net->hubs = hub;
	}
	return hub;
}

void hub_next_name(struct twx_net *net, int id, char *buf, size_t size)
{
	struct hub *hub = hub_find(net, id);

	snprintf(buf, size, "hub%dport%u", id, hub ? hub->n_joined : 0);
}

int hub_join(struct twx_port *port, int id, struct twx_error *e)
{
	static const struct twx_caps all = {
		.flags = TWX_CAP_CSUM | TWX_CAP_TSO4 | TWX_CAP_TSO6 | TWX_CAP_ECN | TWX_CAP_UFO |
			 TWX_CAP_USO | TWX_CAP_VLAN,
	};
	struct hub_member *m = calloc(1, sizeof(*m));
	struct hub *hub = m ? hub_get(port->net, id) : NULL;

	if (!hub) {
		free(m);
		return twx_error_set(e, ENOMEM, "hub %d: out of memory", id);
	}
	m->hub = hub;
	m->port = port;
	m->next = hub->members;
	hub->members = m;
	hub->n_joined++;
	port->kind = TWX_PORT_HUB;
	port_core(port)->member = m;
	/* Each copy is finished for its own receiver, so the hub itself takes everything. */
	twx_port_set_caps(port, all);
	return 0;
}

static void hub_remove(struct twx_net *net, struct hub *hub)
{
	struct hub **at = &net->hubs;

	while (*at != hub)
		at = &(*at)->next;
	*at = hub->next;
	free(hub);
}

/* Lets ports that were told to wait try again. */
static void hub_ready(struct hub *hub)
{
	struct hub_member *m, *next;

	for (m = hub->members; m; m = next) {
		next = m->next;
		if (m->port->rx_busy)
			twx_port_ready(m->port);
	}
}

void hub_leave(struct twx_port *port)
{
	struct hub_member *m = port_core(port)->member, **at;
	struct hub *hub;

	if (!m)
		return;
	hub = m->hub;
	for (at = &hub->members; *at != m; at = &(*at)->next)
		;
	*at = m->next;
	port_core(port)->member = NULL;
	free(m);
	/* With one port less, the others may have nobody left to wait for. */
	if (hub->members)
		hub_ready(hub);
	else
		hub_remove(port->net, hub);
}

/*
 * Busy only if there is somebody to send to and none of them can take a frame. Then each of those
 * that block is marked, so that the first to become ready resumes its hub port, which wakes the
 * hub.
 */
static bool hub_busy(struct hub_member *from)
{
	struct hub_member *m;
	bool any = false;

	for (m = from->hub->members; m; m = m->next) {
		if (m == from || !m->port->peer)
			continue;
		if (twx_port_can_send(m->port))
			return false;
		any = true;
	}
	for (m = from->hub->members; any && m; m = m->next)
		if (m != from && m->port->peer)
			m->port->peer->sender_waits = true;
	return any;
}

static int hub_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	struct hub_member *from = port_core(port)->member, *m;

	if (hub_busy(from))
		return 0;
	for (m = from->hub->members; m; m = m->next) {
		if (m == from || !m->port->peer)
			continue;
		TWX_TRACE(port->trace, TWX_HOP_HUB_COPY, m->port->name, frames[0].len, n);
		twx_port_post(m->port, frames, n);
	}
	return n;
}

static void hub_resume(struct twx_port *port)
{
	hub_ready(port_core(port)->member->hub);
}

/* A peer that came, went or changed its link may have been the one that everybody waited for. */
static void hub_peer_changed(struct twx_port *port)
{
	if (port_core(port)->member)
		hub_ready(port_core(port)->member->hub);
}

const struct twx_port_ops hub_port_ops = {
	.receive = hub_receive,
	.resume = hub_resume,
	.link_changed = hub_peer_changed,
	.peer_changed = hub_peer_changed,
};
