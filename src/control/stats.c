/* SPDX-License-Identifier: BSD-3-Clause */
/* query-stats: the counters of every port. */
#include "control/commands.h"

static const char *const kind_names[] = {
	[TWX_PORT_BACKEND] = "backend",
	[TWX_PORT_NIC] = "nic",
	[TWX_PORT_HUB] = "hubport",
};

static json_t *direction(uint64_t frames, uint64_t bytes, uint64_t bursts)
{
	return json_pack("{sIsIsI}", "frames", (json_int_t)frames, "bytes", (json_int_t)bytes,
			 "bursts", (json_int_t)bursts);
}

/* Every cause, also those that did not happen: a reader need not know which may be missing. */
static json_t *drops(const struct twx_counters *c)
{
	json_t *o = json_object();
	int i;

	for (i = 0; i < TWX_N_DROPS; i++)
		json_object_set_new(o, twx_drop_name(i), json_integer((json_int_t)c->drops[i]));
	return o;
}

static json_t *port_stats(const struct twx_port *port)
{
	const struct twx_counters *c = &port->count;
	json_t *o = json_pack("{sosiss}", "name", qmp_text(port->name), "index",
			      (int)port->queue_index, "kind", kind_names[port->kind]);

	json_object_set_new(o, "type", qmp_text(port->model));
	json_object_set_new(o, "peer", port->peer ? qmp_text(port->peer->name) : json_null());
	json_object_set_new(o, "link", json_boolean(!port->link_down));
	json_object_set_new(o, "tx", direction(c->tx_frames, c->tx_bytes, c->tx_bursts));
	json_object_set_new(o, "rx", direction(c->rx_frames, c->rx_bytes, c->rx_bursts));
	json_object_set_new(o, "queue",
			    json_pack("{sIsI}", "appended", (json_int_t)c->queued, "flushed",
				      (json_int_t)c->flushed));
	json_object_set_new(o, "software",
			    json_pack("{sIsI}", "checksums", (json_int_t)c->csum_sw, "segmented",
				      (json_int_t)c->seg_sw));
	json_object_set_new(o, "kicks", json_integer((json_int_t)c->kicks));
	json_object_set_new(o, "signals", json_integer((json_int_t)c->signals));
	json_object_set_new(o, "signals-skipped", json_integer((json_int_t)c->signals_skipped));
	json_object_set_new(o, "busy", json_integer((json_int_t)c->busy));
	json_object_set_new(o, "drops", drops(c));
	return o;
}

enum qmp_status qmp_query_stats(struct qmp_call *call)
{
	const struct twx_port *port;

	call->ret = json_array();
	for (port = twx_net_ports(call->net); port; port = port->next)
		json_array_append_new(call->ret, port_stats(port));
	return QMP_DONE;
}
