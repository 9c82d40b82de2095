/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The networks of `twinax vm`: what qemu_collect.c finds becomes what the session makes.
 *
 * -net, in both of its forms, is a port of a hub: hub 0, or the one that vlan=N names. Ports get
 * the names that QEMU gives them, "hub<N>port<k>", k being the number of ports that the hub had.
 * NICs of -nic and -net come before those of -device, as they do in QEMU; automatic addresses and
 * PCI slots follow that order. A dump of a hub (-net dump) is a filter at one of its ports: a hub
 * without learning passes everything to every port.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/alloc.h"
#include "cli/vm_args.h"

struct hub_count {
	int id;
	unsigned int n_ports;
	const char *first; /* the port that a dump listens at; null: none */
};

struct vm_hubs {
	struct hub_count *hubs;
	size_t n;
};

static struct hub_count *hub_of(struct vm_hubs *h, int id)
{
	size_t i;

	for (i = 0; i < h->n; i++)
		if (h->hubs[i].id == id)
			return &h->hubs[i];
	h->hubs = cli_grow(h->hubs, h->n, sizeof(*h->hubs));
	h->hubs[h->n] = (struct hub_count){ .id = id };
	return &h->hubs[h->n++];
}

static void add_list(struct vm_args *a, enum session_kind kind, const struct kv *kv)
{
	vm_args_add(a, kind, kv_print(kv));
}

/* The name of a new port of hub @id, for @netdev or, where that is null, for a NIC. */
static const char *add_port(struct vm_args *a, struct vm_hubs *h, int id, const char *netdev)
{
	struct hub_count *hub = hub_of(h, id);
	char *name = qemu_keep(&a->plan, cli_printf("hub%dport%u", id, hub->n_ports++)), *number;
	struct kv *kv = kv_new("type");

	number = cli_printf("%d", id);
	kv_set(kv, "type", "hubport");
	kv_set(kv, "id", name);
	kv_set(kv, "hubid", number);
	if (netdev)
		kv_set(kv, "netdev", netdev);
	add_list(a, SESSION_NETDEV, kv);
	kv_free(kv);
	free(number);
	if (!hub->first)
		hub->first = name;
	return name;
}

/* Netdevs, and the ports of those that the user has made. */
static void add_netdevs(struct vm_args *a, struct vm_hubs *h)
{
	size_t i;

	for (i = 0; i < a->plan.n_netdevs; i++) {
		const struct kv *kv = a->plan.netdevs[i].kv;
		const char *type = kv_get(kv, "type"), *hub = kv_get(kv, "hubid");
		struct hub_count *count;

		add_list(a, SESSION_NETDEV, kv);
		if (!type || !hub || strcmp(type, "hubport"))
			continue;
		count = hub_of(h, (int)strtol(hub, NULL, 0));
		count->n_ports++;
		if (!count->first)
			count->first = kv_get(kv, "id");
	}
}

/* What one -net made; a null @t is the default network. In the order of the command line. */
static void add_ports_of(struct vm_args *a, struct vm_hubs *h, const struct qemu_token *t)
{
	size_t i;

	for (i = 0; i < a->plan.n_nics; i++) {
		struct qemu_nic *nic = &a->plan.nics[i];

		if (nic->on_hub && nic->token == t)
			kv_set(nic->kv, "netdev", add_port(a, h, nic->hub, NULL));
	}
	for (i = 0; i < a->plan.n_netdevs; i++) {
		const struct qemu_netdev *n = &a->plan.netdevs[i];

		if (n->on_hub && n->token == t)
			add_port(a, h, n->hub, kv_get(n->kv, "id"));
	}
}

static void add_ports(struct vm_args *a, struct vm_hubs *h)
{
	size_t i;

	add_ports_of(a, h, NULL);
	for (i = 0; i < a->args.n; i++)
		if (qemu_token_is(&a->args.tokens[i], "net"))
			add_ports_of(a, h, &a->args.tokens[i]);
}

static void add_filters(struct vm_args *a, struct vm_hubs *h)
{
	size_t i;

	for (i = 0; i < a->args.n; i++)
		if (qemu_token_is(&a->args.tokens[i], "object"))
			vm_args_add(a, SESSION_OBJECT, cli_strdup(a->args.tokens[i].value));
	for (i = 0; i < a->plan.n_dumps; i++) {
		struct qemu_dump *d = &a->plan.dumps[i];
		const char *port = hub_of(h, d->hub)->first;

		kv_set(d->kv, "netdev", port ? port : add_port(a, h, d->hub, NULL));
		add_list(a, SESSION_OBJECT, d->kv);
	}
}

static struct qemu_nic *nic_of(struct vm_args *a, const struct qemu_token *t)
{
	size_t i;

	for (i = 0; i < a->plan.n_nics; i++)
		if (a->plan.nics[i].token == t)
			return &a->plan.nics[i];
	return NULL;
}

static void add_device(struct vm_args *a, const struct qemu_token *t)
{
	const struct qemu_nic *nic = nic_of(a, t);

	if (nic)
		add_list(a, SESSION_DEVICE, nic->kv);
	else
		vm_args_add(a, SESSION_DEVICE, cli_strdup(t->value));
	a->root_ports |= strstr(t->value, "pcie-root-port") != NULL;
}

static void add_devices(struct vm_args *a)
{
	size_t i;
	int json;

	for (i = 0; i < a->plan.n_nics; i++)
		if (a->plan.nics[i].from != FROM_DEVICE)
			add_list(a, SESSION_DEVICE, a->plan.nics[i].kv);
	for (json = 0; json < 2; json++)
		for (i = 0; i < a->args.n; i++) {
			const struct qemu_token *t = &a->args.tokens[i];

			if (qemu_token_is(t, "device") && (*t->value == '{') == json)
				add_device(a, t);
		}
}

/* A -set that found nothing to change. */
static int check_sets(const struct vm_args *a, struct twx_error *e)
{
	size_t i, k;

	for (i = 0; i < a->args.n; i++) {
		const struct qemu_token *t = &a->args.tokens[i];

		if (!qemu_token_is(t, "set"))
			continue;
		for (k = 0; k < a->plan.n_sets && a->plan.sets[k].token != t; k++)
			;
		if (k == a->plan.n_sets) {
			twx_error_set(e, ENOENT, "-set %s: there is nothing of that name",
				      t->value);
			return twx_error_hint(
				e, "it takes device.ID.KEY=VALUE or netdev.ID.KEY=VALUE");
		}
	}
	return 0;
}

int vm_take_networks(struct vm_args *a, struct twx_error *e)
{
	struct vm_hubs hubs = { 0 };
	int ret;

	ret = qemu_collect(&a->plan, e);
	if (!ret)
		ret = check_sets(a, e);
	if (ret)
		return ret;
	add_netdevs(a, &hubs);
	add_ports(a, &hubs);
	add_filters(a, &hubs);
	add_devices(a);
	free(hubs.hubs);
	return 0;
}
