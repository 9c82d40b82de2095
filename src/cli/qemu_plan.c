/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which NICs of a QEMU command line twinax serves.
 *
 * A network is taken whole or left whole: NICs, netdevs and filters that are connected with each
 * other, through hubs too, form a group, and one member that twinax cannot have leaves the group
 * with QEMU, with a sentence for each NIC. NICs get the addresses that QEMU would have given them,
 * those that stay too.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "cli/alloc.h"
#include "cli/qemu_plan.h"

/* Groups. */

static size_t group_of(const struct qemu_plan *plan, size_t node)
{
	while (plan->parent[node] != node)
		node = plan->parent[node];
	return node;
}

static void group_join(struct qemu_plan *plan, size_t a, size_t b)
{
	a = group_of(plan, a);
	b = group_of(plan, b);
	if (a == b)
		return;
	plan->parent[b] = a;
	if (!plan->group_why[a])
		plan->group_why[a] = plan->group_why[b];
}

static void group_leave(struct qemu_plan *plan, size_t node, const char *why)
{
	size_t g = group_of(plan, node);

	if (!plan->group_why[g])
		plan->group_why[g] = why;
}

static size_t netdev_node(const struct qemu_plan *plan, const struct qemu_netdev *n)
{
	return (size_t)(n - plan->netdevs);
}

static size_t nic_node(const struct qemu_plan *plan, const struct qemu_nic *n)
{
	return plan->n_netdevs + (size_t)(n - plan->nics);
}

static size_t hub_node(struct qemu_plan *plan, int id)
{
	size_t i, node;

	for (i = 0; i < plan->n_hubs; i++)
		if (plan->hubs[i].id == id)
			return plan->hubs[i].node;
	plan->hubs = cli_grow(plan->hubs, plan->n_hubs, sizeof(*plan->hubs));
	node = plan->n_netdevs + plan->n_nics + plan->n_hubs;
	plan->hubs[plan->n_hubs++] = (struct qemu_hub){ id, node };
	return node;
}

/* Every netdev makes one hub at most, and hub 0 is there without any. */
static void groups_init(struct qemu_plan *plan)
{
	size_t i;

	plan->n_nodes = 2 * plan->n_netdevs + plan->n_nics + 1;
	plan->parent = cli_alloc(plan->n_nodes, sizeof(*plan->parent));
	plan->group_why = cli_alloc(plan->n_nodes, sizeof(*plan->group_why));
	for (i = 0; i < plan->n_nodes; i++)
		plan->parent[i] = i;
}

/* What is connected with what. */

static bool is_hubport(const struct qemu_netdev *n)
{
	const char *type = kv_get(n->kv, "type");

	return type && !strcmp(type, "hubport");
}

static int connect_netdev(struct qemu_plan *plan, struct qemu_netdev *n, struct twx_error *e)
{
	const char *hubid = kv_get(n->kv, "hubid"), *other = kv_get(n->kv, "netdev");
	struct qemu_netdev *joined;

	if (n->on_hub)
		group_join(plan, netdev_node(plan, n), hub_node(plan, 0));
	if (!is_hubport(n))
		return 0;
	if (hubid)
		group_join(plan, netdev_node(plan, n), hub_node(plan, (int)strtol(hubid, NULL, 0)));
	joined = other ? qemu_find_netdev(plan, other) : NULL;
	if (joined)
		group_join(plan, netdev_node(plan, n), netdev_node(plan, joined));
	else if (other && !plan->readconfig)
		return twx_error_set(e, ENODEV, "-netdev %s: netdev '%s' not found",
				     n->token->value, other);
	return 0;
}

/* One NIC, or one hub port, has a netdev. */
static bool is_in_use(const struct qemu_plan *plan, const struct qemu_nic *by, const char *id)
{
	const struct qemu_nic *n;
	size_t i;

	for (n = plan->nics; n < by; n++)
		if (kv_get(n->kv, "netdev") && !strcmp(kv_get(n->kv, "netdev"), id))
			return true;
	for (i = 0; i < plan->n_netdevs; i++) {
		const char *other = kv_get(plan->netdevs[i].kv, "netdev");

		if (is_hubport(&plan->netdevs[i]) && other && !strcmp(other, id))
			return true;
	}
	return false;
}

static int connect_nic(struct qemu_plan *plan, struct qemu_nic *nic, struct twx_error *e)
{
	const char *id = kv_get(nic->kv, "netdev"), *driver = kv_get(nic->kv, "driver");
	const char *opt = nic->token ? nic->token->words[0] : "",
		   *text = nic->token ? nic->token->value : "";
	struct qemu_netdev *n;

	if (nic->on_hub)
		group_join(plan, nic_node(plan, nic), hub_node(plan, 0));
	if (!id)
		return 0;
	n = qemu_find_netdev(plan, id);
	if (!n && plan->readconfig)
		return 0;
	if (!n && nic->from == FROM_NET)
		return twx_error_set(e, ENODEV, "%s %s: netdev '%s' not found", opt, text, id);
	if (!n) {
		twx_error_set(e, ENODEV, "%s %s: Property '%s.netdev' can't find value '%s'", opt,
			      text, driver, id);
		return twx_error_hint(e, "define it: -netdev TYPE,id=%s", id);
	}
	if (is_in_use(plan, nic, id))
		return twx_error_set(
			e, EBUSY, "%s %s: Property '%s.netdev' can't take value '%s', it's in use",
			opt, text, driver ? driver : "nic", id);
	group_join(plan, nic_node(plan, nic), netdev_node(plan, n));
	return 0;
}

/* What twinax cannot have. */

/* Options that mean something only while the NIC is in QEMU: left out here. */
static const struct {
	const char *type, *key;
} qemu_keys[] = {
	{ "tap", "poll-us" },	 { "tap", "vhostfd" }, { "tap", "vhostfds" },
	{ "tap", "vhostforce" }, { "tap", "vhost" },
};

/* A data path in another process stays where it is: between it and QEMU we would be in the way. */
static const struct twx_backend_type *backend_type(const char *name)
{
	const struct twx_backend_type *const *t;

	if (name && !strcmp(name, "vhost-user"))
		return NULL;
	for (t = twx_backend_types(); name && *t; t++)
		if (!strcmp((*t)->name, name))
			return *t;
	return NULL;
}

/* Null if our backend takes the options; else why not. */
static char *netdev_complaint(const struct qemu_netdev *n, const struct twx_backend_type *type)
{
	char *text = kv_print(n->kv), *why = NULL;
	struct twx_error e = { 0 };
	struct twx_opts *o = NULL;

	if (twx_opts_parse(&o, text, "type", &e) || twx_opts_check(o, type->options, &e))
		why = cli_printf("netdev %s: %s", kv_get(n->kv, "id"), e.what);
	twx_opts_free(o);
	free(text);
	return why;
}

static void judge_netdev(struct qemu_plan *plan, struct qemu_netdev *n)
{
	const char *name = kv_get(n->kv, "type"), *id = kv_get(n->kv, "id");
	const struct twx_backend_type *type = backend_type(name);
	char *why;
	size_t i;

	for (i = 0; type && i < array_size(qemu_keys); i++) {
		if (strcmp(qemu_keys[i].type, name) || !kv_get(n->kv, qemu_keys[i].key))
			continue;
		n->left_out = qemu_keys[i].key;
		kv_set(n->kv, n->left_out, NULL);
	}
	if (type)
		why = netdev_complaint(n, type);
	else
		why = cli_printf("netdev %s is of type %s, which twinax does not have", id,
				 name ? name : "unknown");
	if (why)
		group_leave(plan, netdev_node(plan, n), qemu_keep(plan, why));
}

static bool is_virtio(const char *driver)
{
	static const char *const names[] = {
		"virtio-net-pci",
		"virtio-net",
		"virtio-net-pci-transitional",
		"virtio-net-pci-non-transitional",
		"virtio-net-device",
		"virtio-net-ccw",
	};
	size_t i;

	for (i = 0; i < array_size(names); i++)
		if (!strcmp(names[i], driver))
			return true;
	return false;
}

/* Our model of @name that a host of ours carries; null: none. */
static const char *our_model(const char *name, const char *host, const char *bus)
{
	const struct twx_host_type *const *h;
	const struct twx_nic_model *const *m;

	for (h = twx_host_types(); *h && strcmp((*h)->name, host); h++)
		;
	if (!*h || !twx_host_bus(*h, bus))
		return NULL;
	for (m = twx_nic_models(); *m; m++)
		if (!strcmp((*m)->name, name) && !strcmp((*m)->bus, bus))
			return (*m)->name;
	return NULL;
}

static void judge_nic(struct qemu_plan *plan, struct qemu_nic *nic)
{
	const char *driver = kv_get(nic->kv, "driver");

	if (!driver) {
		nic->why =
			cli_strdup("the machine's default model is not known here (write model=)");
	} else if (is_virtio(driver)) {
		nic->ours = our_model("virtio-net", "vhost-user", "virtio");
	} else {
		nic->ours = our_model(driver, "vfio-user", "pci");
		nic->pci = nic->ours != NULL;
	}
	if (!nic->why && !nic->ours)
		nic->why = cli_printf("twinax has no %s", driver);
	else if (nic->pci && !plan->facts.vfio_user)
		nic->why = plan->facts.major
				   ? cli_printf("%s takes QEMU 10.1 or newer with vfio-user-pci, "
						"and this is "
						"%d.%d (virtio-net-pci works)",
						driver, plan->facts.major, plan->facts.minor)
				   : cli_printf("%s takes QEMU 10.1 or newer with vfio-user-pci "
						"(virtio-net-pci works)",
						driver);
	if (nic->why)
		group_leave(plan, nic_node(plan, nic), nic->why);
}

static int judge_filter(struct qemu_plan *plan, struct qemu_filter *f, struct twx_error *e)
{
	const struct twx_filter_type *const *t;
	const char *type = kv_get(f->kv, "qom-type");
	struct qemu_netdev *n = qemu_find_netdev(plan, kv_get(f->kv, "netdev"));

	if (!n && !plan->readconfig)
		return twx_error_set(e, EINVAL,
				     "%s %s: Parameter 'netdev' expects a network backend id",
				     f->token->words[0], f->token->value);
	for (t = twx_filter_types(); *t; t++)
		if (!strcmp(twx_filter_type_name(*t), type))
			return 0;
	if (n)
		group_leave(plan, netdev_node(plan, n),
			    qemu_keep(plan, cli_printf("twinax has no %s", type)));
	return 0;
}

/* Addresses as QEMU hands them out: 52:54:00:12:34:56 and up, what is in use left out. */

#define MAC_FIRST 0x56
#define MAC_LAST 0xfe
static const char mac_prefix[] = "52:54:00:12:34:";

static void give_macs(struct qemu_plan *plan)
{
	unsigned int uses[256] = { 0 }, last;
	size_t i;

	for (i = 0; i < plan->n_nics; i++) {
		struct qemu_nic *nic = &plan->nics[i];

		last = MAC_FIRST;
		if (!nic->mac_given) {
			while (last < MAC_LAST && uses[last])
				last++;
			snprintf(nic->mac, sizeof(nic->mac), "%s%02x", mac_prefix, last & 0xff);
		}
		if (!strncmp(nic->mac, mac_prefix, strlen(mac_prefix)))
			uses[strtoul(nic->mac + strlen(mac_prefix), NULL, 16) & 0xff]++;
	}
}

/* The verdict. */

static void note_stay(struct qemu_plan *plan, const struct qemu_nic *nic)
{
	const char *why =
		nic->why ? nic->why : plan->group_why[group_of(plan, nic_node(plan, nic))];
	const char *driver = kv_get(nic->kv, "driver");

	if (!why)
		return;
	if (nic->token)
		qemu_note(plan, "%s %s stays with QEMU: %s", nic->token->words[0],
			  nic->token->value, why);
	else
		qemu_note(plan, "QEMU's default NIC%s%s%s stays with QEMU: %s", driver ? " (" : "",
			  driver ? driver : "", driver ? ")" : "", why);
}

static void plan_verdict(struct qemu_plan *plan)
{
	bool *group_taken = cli_alloc(plan->n_nodes, sizeof(*group_taken));
	size_t i;

	for (i = 0; i < plan->n_nics; i++) {
		struct qemu_nic *nic = &plan->nics[i];
		const char *netdev = kv_get(nic->kv, "netdev");
		size_t g = group_of(plan, nic_node(plan, nic));

		nic->taken = !plan->group_why[g] &&
			     (nic->on_hub || (netdev && qemu_find_netdev(plan, netdev)));
		group_taken[g] |= nic->taken;
		plan->n_taken += nic->taken;
		/* A NIC without a network has nothing to be served. */
		if (!nic->taken && (nic->on_hub || netdev))
			note_stay(plan, nic);
	}
	for (i = 0; i < plan->n_netdevs; i++) {
		struct qemu_netdev *n = &plan->netdevs[i];

		n->taken = group_taken[group_of(plan, i)];
		if (n->taken && n->left_out)
			qemu_note(plan, "netdev %s goes without %s=: the NIC is no longer in QEMU",
				  kv_get(n->kv, "id"), n->left_out);
	}
	for (i = 0; i < plan->n_filters; i++) {
		struct qemu_netdev *n =
			qemu_find_netdev(plan, kv_get(plan->filters[i].kv, "netdev"));

		plan->filters[i].taken = n && n->taken;
	}
	free(group_taken);
}

int qemu_plan_make(struct qemu_plan *plan, const struct qemu_args *args,
		   const struct qemu_facts *facts, struct twx_error *e)
{
	size_t i;
	int ret;

	*plan = (struct qemu_plan){ .args = args, .facts = *facts };
	ret = qemu_collect(plan, e);
	if (ret)
		return ret;
	groups_init(plan);
	for (i = 0; i < plan->n_netdevs && !ret; i++)
		ret = connect_netdev(plan, &plan->netdevs[i], e);
	for (i = 0; i < plan->n_nics && !ret; i++)
		ret = connect_nic(plan, &plan->nics[i], e);
	for (i = 0; i < plan->n_filters && !ret; i++)
		ret = judge_filter(plan, &plan->filters[i], e);
	if (ret)
		return ret;
	for (i = 0; i < plan->n_netdevs; i++)
		judge_netdev(plan, &plan->netdevs[i]);
	for (i = 0; i < plan->n_nics; i++)
		judge_nic(plan, &plan->nics[i]);
	give_macs(plan);
	plan_verdict(plan);
	return 0;
}

void qemu_plan_free(struct qemu_plan *plan)
{
	size_t i;

	for (i = 0; i < plan->n_netdevs; i++)
		kv_free(plan->netdevs[i].kv);
	for (i = 0; i < plan->n_nics; i++) {
		kv_free(plan->nics[i].kv);
		free(plan->nics[i].why);
	}
	for (i = 0; i < plan->n_dumps; i++)
		kv_free(plan->dumps[i].kv);
	for (i = 0; i < plan->n_filters; i++)
		kv_free(plan->filters[i].kv);
	for (i = 0; i < plan->n_notes; i++)
		free(plan->notes[i]);
	for (i = 0; i < plan->n_strings; i++)
		free(plan->strings[i]);
	free(plan->netdevs);
	free(plan->nics);
	free(plan->filters);
	free(plan->dumps);
	free(plan->sets);
	free(plan->notes);
	free(plan->strings);
	free(plan->hubs);
	free(plan->parent);
	free(plan->group_why);
	*plan = (struct qemu_plan){ 0 };
}
