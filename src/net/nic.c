/* SPDX-License-Identifier: BSD-3-Clause */
/* NICs: made from option text by their model, paired with a backend, behind a host, and freed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "net/net_priv.h"

#define MAC_AUTO_FIRST 0x56
#define MAC_AUTO_LAST 0xfe

static const uint8_t mac_prefix[5] = { 0x52, 0x54, 0x00, 0x12, 0x34 };

/* Every model has these. */
static const struct twx_opt_desc nic_options[] = {
	{ "netdev", TWX_OPT_STR, NULL, "backend at the other end of the cable", "ID" },
	{ "mac", TWX_OPT_STR, NULL, "address; 52:54:00:12:34:56 and up when not given", "MAC" },
	{ "export", TWX_OPT_STR, NULL, "host that carries the NIC, and its address",
	  "HOST:ADDRESS" },
	{ NULL },
};

struct twx_nic *twx_nic_find(struct twx_net *net, const char *id)
{
	struct port_core *core;

	for (core = net_find_port(net, id); core; core = net_next_port(core))
		if (core->nic)
			return core->nic;
	return NULL;
}

struct twx_port *twx_nic_add_port(struct twx_nic *nic, struct twx_error *e)
{
	struct twx_loop *loop = nic->loop;
	struct twx_port *port;

	if (net_grow_ports(&nic->ports, nic->n_ports) < 0) {
		twx_error_set(e, E2BIG, "NIC %s: more than %d queues, or out of memory", nic->id,
			      TWX_MAX_QUEUES);
		return NULL;
	}
	port = calloc(1, sizeof(*port));
	if (!port) {
		twx_error_set(e, ENOMEM, "NIC %s: out of memory", nic->id);
		return NULL;
	}
	/* Of two ports that are to be paired, both live on one loop. */
	if (nic->backend && nic->backend->n_workers && nic->n_ports < nic->backend->n_ports)
		loop = nic->backend->ports[nic->n_ports]->loop;
	if (twx_port_init(port, nic->net, loop, TWX_PORT_NIC, nic->id, nic->model->name,
			  (uint16_t)nic->n_ports, nic->model->port_ops, nic, e) < 0) {
		free(port);
		return NULL;
	}
	port_core(port)->nic = nic;
	nic->ports[nic->n_ports++] = port;
	return port;
}

/* Six pairs of hex digits with one kind of separator. */
static bool nic_parse_mac(const char *s, uint8_t mac[6])
{
	int i;

	if (strlen(s) != 17 || (s[2] != ':' && s[2] != '-'))
		return false;
	for (i = 0; i < 17; i++) {
		const char *hex = "0123456789abcdef0123456789ABCDEF", *at;

		if (i % 3 == 2) {
			if (s[i] != s[2])
				return false;
			continue;
		}
		at = strchr(hex, s[i]);
		if (!at)
			return false;
		mac[i / 3] = (uint8_t)(mac[i / 3] << 4 | ((at - hex) & 15));
	}
	return true;
}

static bool nic_mac_is_ours(const struct twx_nic *nic)
{
	return !memcmp(nic->mac, mac_prefix, sizeof(mac_prefix));
}

/* The first last byte that is free; when all are taken, addresses beyond, counted up. */
static void nic_auto_mac(struct twx_nic *nic)
{
	struct twx_net *net = nic->net;
	unsigned int last = MAC_AUTO_FIRST;

	memcpy(nic->mac, mac_prefix, sizeof(mac_prefix));
	while (last <= MAC_AUTO_LAST && net->mac_use[last])
		last++;
	if (last > MAC_AUTO_LAST) {
		uint32_t n = 0x123500u + net->n_macs_beyond++;

		nic->mac[3] = (uint8_t)(n >> 16);
		nic->mac[4] = (uint8_t)(n >> 8);
		last = n & 0xff;
	}
	nic->mac[5] = (uint8_t)last;
}

static int nic_take_mac(struct twx_nic *nic, const struct twx_opts *opts, struct twx_error *e)
{
	const char *text = twx_opts_str(opts, "mac");

	if (!text) {
		nic_auto_mac(nic);
	} else {
		if (!nic_parse_mac(text, nic->mac)) {
			twx_error_set(e, EINVAL, "Property '%s.mac' doesn't take value '%s'",
				      nic->model->name, text);
			return twx_error_hint(e, "write it as 52:54:00:12:34:56");
		}
		if (nic->mac[0] & 1)
			return twx_error_set(
				e, EINVAL,
				"NIC cannot have multicast MAC address (odd 1st byte): mac=%s",
				text);
		nic->mac_given = true;
	}
	return 0;
}

static int nic_take_id(struct nic_obj *obj, struct twx_error *e)
{
	const char *id = twx_opts_raw(obj->opts, "id");
	struct twx_nic *nic = &obj->n, *other;
	unsigned int k = 0;

	if (id) {
		if (strlen(id) >= sizeof(nic->id))
			return twx_error_set(e, EINVAL, "device id '%s' is longer than %zu bytes",
					     id, sizeof(nic->id) - 1);
		if (twx_nic_find(nic->net, id))
			return twx_error_set(e, EEXIST, "Duplicate ID '%s' for device", id);
		memcpy(nic->id, id, strlen(id) + 1);
		return 0;
	}
	for (other = nic->net->nics; other; other = other->next)
		k += other->model == nic->model;
	do
		snprintf(nic->id, sizeof(nic->id), "%s.%u", nic->model->name, k++);
	while (net_find_port(nic->net, nic->id));
	return 0;
}

static int nic_take_netdev(struct nic_obj *obj, struct twx_error *e)
{
	const char *id = twx_opts_str(obj->opts, "netdev");
	struct twx_nic *nic = &obj->n;
	uint32_t i;

	if (!id)
		return 0;
	nic->backend = twx_backend_find(nic->net, id);
	if (!nic->backend) {
		twx_error_set(e, ENODEV, "Property '%s.netdev' can't find value '%s'",
			      nic->model->name, id);
		return twx_error_hint(e, "define it: -netdev TYPE,id=%s", id);
	}
	if (nic->backend->type->only_bus && strcmp(nic->backend->type->only_bus, nic->model->bus)) {
		twx_error_set(e, EINVAL, "%s requires frontend driver %s-net-*",
			      nic->backend->type->name, nic->backend->type->only_bus);
		nic->backend = NULL;
		return -EINVAL;
	}
	for (i = 0; i < nic->backend->n_ports; i++) {
		struct twx_port *peer = nic->backend->ports[i]->peer;

		if (!peer)
			continue;
		nic->backend = NULL;
		twx_error_set(e, EBUSY, "Property '%s.netdev' can't take value '%s', it's in use",
			      nic->model->name, id);
		return twx_error_hint(e, "%s has it", peer->name);
	}
	return 0;
}

static int nic_find_model(struct nic_obj *obj, struct twx_error *e)
{
	const char *name = twx_opts_raw(obj->opts, "driver");
	const struct twx_nic_model *const *m;
	char list[256] = "";
	size_t len = 0;

	obj->n.model = name ? net_nic_model(obj->n.net, name) : NULL;
	if (obj->n.model)
		return 0;
	if (name)
		twx_error_set(e, EINVAL, "'%s' is not a valid device model name", name);
	else
		twx_error_set(e, EINVAL, "Parameter 'driver' is missing");
	for (m = twx_nic_models(); *m && len < sizeof(list); m++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", len ? ", " : "",
					(*m)->name);
	twx_error_hint(e, "known models: %s", list);
	return -EINVAL;
}

const struct twx_host_bus *twx_host_bus(const struct twx_host_type *type, const char *bus)
{
	const struct twx_host_bus *b;

	for (b = type->buses; b->bus; b++)
		if (!strcmp(b->bus, bus))
			return b;
	return NULL;
}

static int nic_find_host_bus(struct nic_obj *obj, struct twx_error *e)
{
	const struct twx_host_type *t = obj->host_type;

	if (!t)
		return 0;
	obj->n.placed = t->places;
	obj->host_bus = twx_host_bus(t, obj->n.model->bus);
	if (!obj->host_bus)
		return twx_error_set(e, EINVAL,
				     "NIC %s is a %s device, which host %s does not carry",
				     obj->n.model->name, obj->n.model->bus, t->name);
	return 0;
}

void twx_net_set_host(struct twx_net *net, const struct twx_host_type *type, void *opaque)
{
	net->host_type = type;
	net->host_opaque = opaque;
}

/* export=HOST:ADDRESS; the address is what stands behind the first colon. */
static int nic_find_host(struct nic_obj *obj, struct twx_error *e)
{
	const char *text = twx_opts_raw(obj->opts, "export"),
		   *colon = text ? strchr(text, ':') : NULL;
	const struct twx_host_type *const *t;
	char list[256] = "";
	size_t len = 0;

	if (!text) {
		obj->host_type = obj->n.net->host_type;
		return nic_find_host_bus(obj, e);
	}
	for (t = twx_host_types(); *t; t++) {
		if (colon && strlen((*t)->name) == (size_t)(colon - text) &&
		    !memcmp((*t)->name, text, (size_t)(colon - text)))
			break;
		if (len < sizeof(list))
			len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s",
						len ? ", " : "", (*t)->name);
	}
	if (!*t || !colon[1]) {
		twx_error_set(e, EINVAL, "Property '%s.export' doesn't take value '%s'",
			      obj->n.model->name, text);
		return twx_error_hint(e, "write HOST:ADDRESS; known hosts: %s",
				      *t ? (*t)->name : list);
	}
	obj->host_type = *t;
	return nic_find_host_bus(obj, e);
}

static size_t nic_append_table(struct twx_opt_desc *out, size_t n, const struct twx_opt_desc *more)
{
	for (; more && more->name; more++) {
		size_t i = 0;

		while (i < n && strcmp(out[i].name, more->name))
			i++;
		if (i == n)
			out[n++] = *more;
	}
	return n;
}

static size_t nic_table_len(const struct twx_opt_desc *table)
{
	size_t n = 0;

	while (table && table[n].name)
		n++;
	return n;
}

static int nic_check_options(struct nic_obj *obj, struct twx_error *e)
{
	const struct twx_opt_desc *host = obj->host_type ? obj->host_type->options : NULL;
	const struct twx_opt_desc *bus = obj->host_bus ? obj->host_bus->options : NULL;
	size_t n = nic_table_len(obj->n.model->options) + array_size(nic_options) +
		   nic_table_len(bus) + nic_table_len(host);
	int ret;

	obj->table = calloc(n, sizeof(*obj->table));
	if (!obj->table)
		return twx_error_set(e, ENOMEM, "NIC: out of memory");
	n = nic_append_table(obj->table, 0, obj->n.model->options);
	n = nic_append_table(obj->table, n, nic_options);
	n = nic_append_table(obj->table, n, bus);
	nic_append_table(obj->table, n, host);
	ret = twx_opts_check(obj->opts, obj->table, e);
	if (ret < 0 && !*e->hint)
		twx_error_hint(e, "see -device %s,help", obj->n.model->name);
	return ret;
}

/* Everything before open(). */
static int nic_prepare(struct nic_obj *obj, const char *text, struct twx_error *e)
{
	struct twx_nic *nic = &obj->n;
	int ret;

	ret = twx_opts_parse(&obj->opts, text, "driver", e);
	if (!ret)
		ret = nic_find_model(obj, e);
	if (!ret)
		ret = nic_find_host(obj, e);
	if (!ret)
		ret = nic_check_options(obj, e);
	if (!ret)
		ret = nic_take_id(obj, e);
	if (!ret)
		ret = nic_take_mac(nic, obj->opts, e);
	if (!ret)
		ret = nic_take_netdev(obj, e);
	if (ret < 0)
		return ret;
	if (twx_opts_warning(obj->opts))
		twx_log(nic->net, TWX_LOG_WARNING, "NIC %s: %s", nic->id,
			twx_opts_warning(obj->opts));
	nic->priv = calloc(1, max(nic->model->priv_size, (size_t)1));
	return nic->priv ? 0 : twx_error_set(e, ENOMEM, "NIC %s: out of memory", nic->id);
}

static int nic_pair(struct twx_nic *nic, struct twx_error *e)
{
	uint32_t i, n = nic->backend ? min(nic->n_ports, nic->backend->n_ports) : 0;
	int ret;

	for (i = 0; i < n; i++) {
		ret = twx_port_pair(nic->ports[i], nic->backend->ports[i], e);
		if (ret < 0)
			return ret;
	}
	if (nic->backend && nic->n_ports != nic->backend->n_ports)
		twx_log(nic->net, TWX_LOG_INFO,
			"NIC %s has %u queue pairs, netdev %s has %u: %u are used", nic->id,
			nic->n_ports, nic->backend->id, nic->backend->n_ports, n);
	return 0;
}

static int nic_open_host(struct nic_obj *obj, struct twx_error *e)
{
	const char *address = twx_opts_str(obj->opts, "export");
	struct twx_nic *nic = &obj->n;
	struct twx_host *h;
	int ret;

	if (!obj->host_type)
		return 0;
	h = calloc(1, sizeof(*h));
	if (!h)
		return twx_error_set(e, ENOMEM, "NIC %s: out of memory", nic->id);
	h->type = obj->host_type;
	h->net = nic->net;
	h->loop = nic->loop;
	h->nic = nic;
	h->opaque = address ? NULL : nic->net->host_opaque;
	h->priv = calloc(1, max(h->type->priv_size, (size_t)1));
	ret = h->priv ? h->type->open(h, address ? strchr(address, ':') + 1 : "", obj->opts, e)
		      : twx_error_set(e, ENOMEM, "NIC %s: out of memory", nic->id);
	if (ret < 0) {
		free(h->priv);
		free(h);
		return ret;
	}
	nic->host = h;
	return 0;
}

void nic_close_host(struct twx_nic *nic)
{
	struct twx_host *h = nic->host;

	if (!h)
		return;
	h->type->close(h);
	nic->host = NULL;
	free(h->priv);
	free(h);
}

/* What nic_prepare() made, and the ports. */
static void nic_destroy(struct nic_obj *obj)
{
	net_free_ports(obj->n.ports, obj->n.n_ports);
	twx_opts_free(obj->opts);
	free(obj->table);
	free(obj->n.priv);
	free(obj);
}

static void nic_close_model(struct twx_nic *nic)
{
	uint32_t i;

	for (i = 0; i < nic->n_ports; i++)
		twx_port_unpair(nic->ports[i]);
	nic->model->close(nic);
}

/* Registers, DMA and interrupts of a PCI function are one thread's. */
static int nic_check_workers(const struct nic_obj *obj, struct twx_error *e)
{
	const struct twx_backend *b = obj->n.backend;

	if (!b || !b->n_workers || (obj->host_type && obj->host_type->threads))
		return 0;
	twx_error_set(e, EINVAL, "NIC %s: netdev %s has workers=%u, which is for NICs behind vhost-user",
		      obj->n.id, b->id, b->n_workers);
	return twx_error_hint(e, "use -device virtio-net,netdev=%s,export=vhost-user:PATH, or leave "
			      "workers= out", b->id);
}

int twx_nic_new(struct twx_nic **out, struct twx_net *net, const char *text, struct twx_error *e)
{
	struct nic_obj *obj = calloc(1, sizeof(*obj));
	struct twx_error own;
	struct twx_nic *nic;
	int ret;

	e = e ? e : &own;
	if (!obj)
		return twx_error_set(e, ENOMEM, "NIC: out of memory");
	nic = &obj->n;
	nic->net = net;
	nic->loop = net->loop;
	ret = nic_prepare(obj, text, e);
	if (!ret)
		ret = nic_check_workers(obj, e);
	if (ret < 0)
		goto fail;
	ret = nic->model->open(nic, obj->opts, e);
	if (ret < 0)
		goto fail;
	ret = nic_pair(nic, e);
	if (!ret)
		ret = nic_open_host(obj, e);
	if (ret < 0) {
		nic_close_model(nic);
		goto fail;
	}
	if (nic_mac_is_ours(nic))
		net->mac_use[nic->mac[5]]++;
	nic->next = net->nics;
	net->nics = nic;
	if (out)
		*out = nic;
	return 0;
fail:
	nic_destroy(obj);
	return ret;
}

void twx_nic_free(struct twx_nic *nic)
{
	struct twx_nic **at;

	if (!nic)
		return;
	for (at = &nic->net->nics; *at != nic; at = &(*at)->next)
		;
	*at = nic->next;
	if (nic_mac_is_ours(nic))
		nic->net->mac_use[nic->mac[5]]--;
	nic_close_host(nic);
	nic_close_model(nic);
	nic_destroy(container_of(nic, struct nic_obj, n));
}
