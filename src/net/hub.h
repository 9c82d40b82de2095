/* SPDX-License-Identifier: BSD-3-Clause */
/* Hubs: what one port sends, every other port of the hub passes to its peer. */
#ifndef NET_HUB_H
#define NET_HUB_H

#include <twinax/error.h>
#include <twinax/port.h>

struct hub_member {
	struct hub *hub;
	struct twx_port *port;
	struct hub_member *next; /* newest first, as QEMU prints them */
};

struct hub {
	int id;
	unsigned int n_joined; /* ports ever made: the next automatic number */
	struct hub_member *members;
	struct hub *next; /* newest first */
};

/* Operations of a port that is a hub's. */
extern const struct twx_port_ops hub_port_ops;

/* Makes @port, which has hub_port_ops, a port of hub @id; the hub is made when there is none. */
int hub_join(struct twx_port *port, int id, struct twx_error *e);
/* Harmless for a port that is on no hub. The last port takes the hub along. */
void hub_leave(struct twx_port *port);

/* "hub<id>port<n>", as the next port of that hub is called. */
void hub_next_name(struct twx_net *net, int id, char *buf, size_t size);

#endif
