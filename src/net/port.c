/* SPDX-License-Identifier: BSD-3-Clause */
/* Ports: made, named, paired, their caps and links changed, and taken apart. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "net/filter.h"
#include "net/hub.h"
#include "net/net_priv.h"
#include "net/packet.h"
#include "net/queue.h"

#define RARP_LEN 60

const char *twx_drop_name(enum twx_drop cause)
{
	static const char *const names[] = {
#define X(sym, name) [TWX_DROP_##sym] = name,
		TWX_DROPS(X)
#undef X
	};

	return (unsigned int)cause < TWX_N_DROPS ? names[cause] : "unknown";
}

const char *port_type_name(const struct twx_port *port)
{
	return port->kind == TWX_PORT_NIC ? "nic" : port->model;
}

static void port_fix_caps(struct twx_caps *caps)
{
	if (!caps->max_frame || caps->max_frame > TWX_FRAME_MAX)
		caps->max_frame = TWX_FRAME_MAX;
	caps->max_frame = max(caps->max_frame, (uint32_t)TWX_FRAME_MIN);
}

int twx_port_init(struct twx_port *port, struct twx_net *net, struct twx_loop *loop,
		  enum twx_port_kind kind, const char *name, const char *model,
		  uint16_t queue_index, const struct twx_port_ops *ops, void *owner,
		  struct twx_error *e)
{
	struct port_core *core;
	int ret;

	if (!*name || strlen(name) >= sizeof(port->name))
		return twx_error_set(e, EINVAL, "port name '%s' is empty or longer than %zu bytes",
				     name, sizeof(port->name) - 1);
	core = calloc(1, sizeof(*core));
	if (!core)
		return twx_error_set(e, ENOMEM, "port %s: out of memory", name);
	port->ops = ops;
	port->owner = owner;
	port->net = net;
	port->loop = loop;
	port->trace = twx_loop_trace(loop);
	port->model = model;
	port->kind = kind;
	port->queue_index = queue_index;
	memcpy(port->name, name, strlen(name) + 1);
	port_fix_caps(&port->caps);
	port->core = core;
	core->port = port;
	core->task.fn = port_run_task;
	ret = net_add_port(net, core);
	if (ret < 0) {
		free(core);
		port->core = NULL;
		return twx_error_set(e, -ret, "port %s: out of memory", name);
	}
	return 0;
}

void twx_port_fini(struct twx_port *port)
{
	struct port_core *core = port_core(port);

	if (!core)
		return;
	core->dying = true;
	while (port->filters)
		twx_filter_free(port->filters);
	twx_port_unpair(port);
	hub_leave(port);
	port_drop_queue(port, TWX_DROP_NO_PEER);
	twx_loop_undefer(port->loop, &core->task);
	net_scratch_free(core);
	net_remove_port(port->net, core);
	free(core);
	port->core = NULL;
}

static void port_tell_peer_changed(struct twx_port *port)
{
	if (!port_core(port)->dying && port->ops->peer_changed)
		port->ops->peer_changed(port);
}

int twx_port_pair(struct twx_port *a, struct twx_port *b, struct twx_error *e)
{
	struct twx_port *taken = a->peer ? a : b;

	if (a == b || a->net != b->net || a->loop != b->loop)
		return twx_error_set(e, EINVAL, "port %s cannot be paired with port %s: %s",
				     a->name, b->name,
				     a == b ? "they are the same" : "they live in different loops");
	if (a->kind == TWX_PORT_HUB && b->kind == TWX_PORT_HUB)
		return twx_error_set(
			e, EINVAL,
			"hub port %s cannot be paired with hub port %s: frames would circle",
			a->name, b->name);
	if (taken->peer)
		return twx_error_set(e, EBUSY, "port %s is already paired with %s", taken->name,
				     taken->peer->name);
	a->peer = b;
	b->peer = a;
	port_tell_peer_changed(a);
	port_tell_peer_changed(b);
	return 0;
}

/* Takes back the buffers that @port has leased. */
static void port_end_lease(struct twx_port *port)
{
	if (port_core(port)->lease)
		twx_port_abort(port, port_core(port)->lease);
}

/* Whoever waited for @port may go on: what it sends now is dropped, or finds another peer. */
static void port_release_sender(struct twx_port *port)
{
	if (port->sender_waits && port->peer)
		port_want_resume(port->peer);
	port->sender_waits = false;
}

void port_drop_queue(struct twx_port *port, enum twx_drop cause)
{
	uint32_t n = queue_purge(&port->queue);

	port_core(port)->purges++;
	port->count.drops[cause] += n;
	if (n)
		TWX_TRACE(port->trace, TWX_HOP_DROP, port->name, 0, cause);
}

void twx_port_unpair(struct twx_port *port)
{
	struct twx_port *peer = port->peer;

	if (!peer)
		return;
	port_end_lease(port);
	port_end_lease(peer);
	port_drop_queue(port, TWX_DROP_NO_PEER);
	port_drop_queue(peer, TWX_DROP_NO_PEER);
	filter_purge(port);
	filter_purge(peer);
	port_release_sender(port);
	port_release_sender(peer);
	port->peer = NULL;
	peer->peer = NULL;
	port_tell_peer_changed(port);
	port_tell_peer_changed(peer);
}

void twx_port_purge(struct twx_port *port)
{
	port_drop_queue(port, TWX_DROP_LINK_DOWN);
	port_wake_sender(port, true);
}

void twx_port_set_caps(struct twx_port *port, struct twx_caps caps)
{
	port_fix_caps(&caps);
	if (caps.flags == port->caps.flags && caps.max_frame == port->caps.max_frame)
		return;
	port->caps = caps;
	if (port->peer)
		port_tell_peer_changed(port->peer);
}

static void port_tell_link(struct twx_port *port)
{
	if (!port_core(port)->dying && port->ops->link_changed)
		port->ops->link_changed(port);
}

void twx_port_set_link(struct twx_port *port, bool up)
{
	struct twx_port *peer = port->peer;

	if (port->link_down == !up)
		return;
	port->link_down = !up;
	if (!up && peer) {
		/* Frames count as sent while the cable is down, so nobody has to wait. */
		port_drop_queue(port, TWX_DROP_LINK_DOWN);
		port_drop_queue(peer, TWX_DROP_LINK_DOWN);
		filter_purge(port);
		filter_purge(peer);
		port_release_sender(port);
		port_release_sender(peer);
	}
	port_tell_link(port);
	if (port->peer && port->peer == peer)
		port_tell_link(peer);
}

/* RFC 903 with QEMU's choice: operation 3 (request reverse), addresses of protocol zero. */
void twx_port_announce(struct twx_port *port, const uint8_t mac[6])
{
	static const uint8_t head[] = { 0, 1, 8, 0, 6, 4, 0, 3 };
	uint8_t data[RARP_LEN] = { 0 };
	struct iovec iov = { data, sizeof(data) };
	struct twx_frame frame = { .iov = &iov, .n_iov = 1, .len = sizeof(data) };

	memset(data, 0xff, 6);
	memcpy(data + 6, mac, 6);
	data[12] = PACKET_ETH_RARP >> 8;
	data[13] = PACKET_ETH_RARP & 0xff;
	memcpy(data + 14, head, sizeof(head));
	memcpy(data + 22, mac, 6); /* sender */
	memcpy(data + 32, mac, 6); /* target */
	twx_port_post(port, &frame, 1);
}
