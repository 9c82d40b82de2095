/* SPDX-License-Identifier: BSD-3-Clause */
/* Backends: made from option text by their type, and freed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "net/net_priv.h"
#include "net/workers.h"

struct twx_backend *twx_backend_find(struct twx_net *net, const char *id)
{
	struct port_core *core;

	for (core = net_find_port(net, id); core; core = net_next_port(core))
		if (core->backend)
			return core->backend;
	return NULL;
}

int net_grow_ports(struct twx_port ***ports, uint32_t n)
{
	struct twx_port **more;

	if (n == TWX_MAX_QUEUES)
		return -E2BIG;
	more = realloc(*ports, (n + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	*ports = more;
	return 0;
}

static struct twx_loop *port_loop(const struct twx_backend *b)
{
	return b->n_workers ? net_worker_loop(b->net, b->n_ports % b->n_workers) : b->loop;
}

struct twx_port *twx_backend_add_port(struct twx_backend *b, struct twx_error *e)
{
	struct twx_port *port;

	if (net_grow_ports(&b->ports, b->n_ports) < 0) {
		twx_error_set(e, E2BIG, "netdev %s: more than %d queues, or out of memory", b->id,
			      TWX_MAX_QUEUES);
		return NULL;
	}
	port = calloc(1, sizeof(*port));
	if (!port) {
		twx_error_set(e, ENOMEM, "netdev %s: out of memory", b->id);
		return NULL;
	}
	if (twx_port_init(port, b->net, port_loop(b), TWX_PORT_BACKEND, b->id, b->type->name,
			  (uint16_t)b->n_ports, b->type->port_ops, b, e) < 0) {
		free(port);
		return NULL;
	}
	port_core(port)->backend = b;
	b->ports[b->n_ports++] = port;
	return port;
}

void net_free_ports(struct twx_port **ports, uint32_t n)
{
	while (n--) {
		twx_port_fini(ports[n]);
		free(ports[n]);
	}
	free(ports);
}

static void backend_unlink(struct twx_backend *b)
{
	struct twx_backend **at = &b->net->backends;

	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
}

static void backend_destroy(struct backend_obj *obj)
{
	net_free_ports(obj->b.ports, obj->b.n_ports);
	twx_opts_free(obj->opts);
	free(obj->b.priv);
	free(obj);
}

/* "user, tap, hubport": what could have been meant. */
static void backend_hint_types(struct twx_net *net, struct twx_error *e)
{
	const struct twx_backend_type *const *t;
	char list[256] = "";
	size_t len = 0;
	unsigned int i;

	for (t = twx_backend_types(); *t && len < sizeof(list); t++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", len ? ", " : "",
					(*t)->name);
	for (i = 0; i < net->backend_types.n && len < sizeof(list); i++) {
		const struct twx_backend_type *own = net->backend_types.types[i];

		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", len ? ", " : "",
					own->name);
	}
	twx_error_hint(e, "known types: %s", list);
}

static int backend_find_type(struct backend_obj *obj, struct twx_error *e)
{
	const char *name = twx_opts_raw(obj->opts, "type");

	if (!name) {
		twx_error_set(e, EINVAL, "Parameter 'type' is missing");
	} else {
		obj->b.type = net_backend_type(obj->b.net, name);
		if (obj->b.type)
			return 0;
		twx_error_set(e, EINVAL, "Parameter 'type' does not accept value '%s'", name);
	}
	backend_hint_types(obj->b.net, e);
	return -EINVAL;
}

static int backend_take_id(struct backend_obj *obj, struct twx_error *e)
{
	const char *id = twx_opts_raw(obj->opts, "id");
	struct twx_backend *b = &obj->b;

	if (!id) {
		if (b->type->auto_id)
			return 0;
		twx_error_set(e, EINVAL, "Parameter 'id' is missing");
		return twx_error_hint(e, "give the netdev a name: -netdev %s,id=NAME",
				      b->type->name);
	}
	if (strlen(id) >= sizeof(b->id))
		return twx_error_set(e, EINVAL, "netdev id '%s' is longer than %zu bytes", id,
				     sizeof(b->id) - 1);
	if (twx_backend_find(b->net, id))
		return twx_error_set(e, EEXIST, "Duplicate ID '%s' for netdev", id);
	memcpy(b->id, id, strlen(id) + 1);
	return 0;
}

/* Everything before open(): nothing has been created on the host. */
static int backend_prepare(struct backend_obj *obj, const char *text, struct twx_error *e)
{
	struct twx_backend *b = &obj->b;
	int ret;

	ret = twx_opts_parse(&obj->opts, text, "type", e);
	if (ret < 0)
		return ret;
	ret = backend_find_type(obj, e);
	if (ret < 0)
		return ret;
	ret = backend_take_id(obj, e);
	if (ret < 0)
		return ret;
	ret = twx_opts_check(obj->opts, b->type->options, e);
	if (ret < 0) {
		if (!*e->hint)
			twx_error_hint(e, "see -netdev %s,help", b->type->name);
		return ret;
	}
	if (twx_opts_warning(obj->opts))
		twx_log(b->net, TWX_LOG_WARNING, "netdev %s: %s", b->id,
			twx_opts_warning(obj->opts));
	b->priv = calloc(1, max(b->type->priv_size, (size_t)1));
	return b->priv ? 0 : twx_error_set(e, ENOMEM, "netdev %s: out of memory", b->id);
}

int twx_backend_new(struct twx_backend **out, struct twx_net *net, const char *text,
		    struct twx_error *e)
{
	struct backend_obj *obj = calloc(1, sizeof(*obj));
	struct twx_error own;
	struct twx_backend *b;
	int ret;

	e = e ? e : &own;
	if (!obj)
		return twx_error_set(e, ENOMEM, "netdev: out of memory");
	b = &obj->b;
	b->net = net;
	b->loop = net->loop;
	ret = backend_prepare(obj, text, e);
	if (ret < 0)
		goto fail;
	ret = b->type->open(b, obj->opts, e);
	if (ret < 0)
		goto fail;
	b->next = net->backends;
	net->backends = b;
	if (out)
		*out = b;
	return 0;
fail:
	backend_destroy(obj);
	return ret;
}

void twx_backend_free(struct twx_backend *b)
{
	uint32_t i;

	if (!b)
		return;
	backend_unlink(b);
	for (i = 0; i < b->n_ports; i++) {
		struct twx_port *peer = b->ports[i]->peer;

		/* As in QEMU, a NIC sees the cable pulled. Its frames are dropped from here on. */
		if (peer && peer->kind == TWX_PORT_NIC)
			twx_port_set_link(peer, false);
		if (peer && port_core(peer)->nic)
			port_core(peer)->nic->backend = NULL;
		twx_port_unpair(b->ports[i]);
	}
	b->type->close(b);
	backend_destroy(container_of(b, struct backend_obj, b));
}
