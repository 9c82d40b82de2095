/* SPDX-License-Identifier: BSD-3-Clause */
/* `info network`, in QEMU's format. */
#include <stdio.h>
#include <stdlib.h>

#include "net/filter.h"
#include "net/hub.h"
#include "net/net_priv.h"

static void info_text(struct twx_port *port, char *buf, size_t size)
{
	const struct twx_nic *nic = port_core(port)->nic;

	buf[0] = '\0';
	if (port->ops->info)
		port->ops->info(port, buf, size);
	else if (nic && !port->queue_index)
		snprintf(buf, size, "model=%s,macaddr=%02x:%02x:%02x:%02x:%02x:%02x", port->model,
			 nic->mac[0], nic->mac[1], nic->mac[2], nic->mac[3], nic->mac[4],
			 nic->mac[5]);
}

static void info_port(FILE *f, struct twx_port *port)
{
	struct twx_filter *filter;
	char text[512];

	info_text(port, text, sizeof(text));
	fprintf(f, "%s: index=%u,type=%s,%s\n", port->name, port->queue_index, port_type_name(port),
		text);
	if (port->filters)
		fputs("filters:\n", f);
	for (filter = port->filters; filter; filter = filter->next) {
		filter_info(filter, text, sizeof(text));
		fprintf(f, "  - %s\n", text);
	}
}

static void info_hubs(FILE *f, struct twx_net *net)
{
	struct hub_member *m;
	struct hub *hub;

	for (hub = net->hubs; hub; hub = hub->next) {
		fprintf(f, "hub %d\n", hub->id);
		for (m = hub->members; m; m = m->next) {
			fprintf(f, " \\ %s", m->port->name);
			if (m->port->peer) {
				fputs(": ", f);
				info_port(f, m->port->peer);
			} else {
				fputc('\n', f);
			}
		}
	}
}

static bool info_on_hub(const struct twx_port *port)
{
	return port->kind == TWX_PORT_HUB || (port->peer && port->peer->kind == TWX_PORT_HUB);
}

char *twx_net_info(struct twx_net *net)
{
	struct twx_port *port;
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	info_hubs(f, net);
	for (port = net->ports; port; port = port->next) {
		if (info_on_hub(port) || (port->peer && port->kind != TWX_PORT_NIC))
			continue;
		info_port(f, port);
		if (port->peer) {
			fputs(" \\ ", f);
			info_port(f, port->peer);
		}
	}
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}
