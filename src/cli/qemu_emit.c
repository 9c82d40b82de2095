/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a plan to two command lines: what twinax serves, and what QEMU gets.
 *
 * QEMU's arguments keep their order. A -device that is served is replaced where it stands, since
 * PCI slots follow that order; NICs that the machine would have made (-nic, -net nic) come before
 * all others, as they do in QEMU.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "cli/alloc.h"
#include "cli/qemu_plan.h"

struct emit {
	struct qemu_launch *l;
	struct qemu_plan *plan;
	const char *dir;
	struct qemu_memory memory;
	unsigned int n_sockets;
	bool has_net; /* QEMU still has an option that keeps it from making a network of its own */
};

void qemu_launch_add(struct qemu_launch *l, const char *word)
{
	l->argv = cli_grow(l->argv, l->argc + 1, sizeof(*l->argv));
	l->argv[l->argc++] = cli_strdup(word);
	l->argv[l->argc] = NULL;
}

static void put_option(struct qemu_launch *l, const char *option, const char *value)
{
	qemu_launch_add(l, option);
	qemu_launch_add(l, value);
}

/* Takes @kv. */
static void put_list(struct qemu_launch *l, const char *option, struct kv *kv)
{
	char *text = kv_print(kv);

	put_option(l, option, text);
	free(text);
	kv_free(kv);
}

static void serve_item(struct qemu_launch *l, enum session_kind kind, char *text)
{
	l->items = cli_grow(l->items, l->n_items, sizeof(*l->items));
	l->items[l->n_items++] = (struct session_item){ kind, text };
}

/* Our part: backends, filters, hub ports. */

/* -net with one NIC and one backend is a cable; a hub would only copy. */
static bool hub0_is_cable(const struct qemu_plan *plan, const char **netdev)
{
	size_t i, n_nics = 0, n_netdevs = 0;

	for (i = 0; i < plan->n_nics; i++)
		n_nics += plan->nics[i].on_hub;
	for (i = 0; i < plan->n_netdevs; i++) {
		const struct qemu_netdev *n = &plan->netdevs[i];
		const char *hubid = kv_get(n->kv, "hubid");

		if (n->on_hub)
			*netdev = kv_get(n->kv, "id");
		n_netdevs += n->on_hub;
		/* A hub port of the user's own may lead on from hub 0. */
		if (hubid && !strtol(hubid, NULL, 0))
			return false;
	}
	return n_nics == 1 && n_netdevs == 1;
}

static const char *hub0_port(struct emit *m, const char *netdev)
{
	const char *id = qemu_fresh_id(m->plan, "hub0port");

	serve_item(m->l, SESSION_NETDEV,
		   cli_printf("hubport,id=%s,hubid=0%s%s", id, netdev ? ",netdev=" : "",
			      netdev ? netdev : ""));
	return id;
}

/* "tcp:10.0.2.9:80-chardev:ID", or "-ID". */
static bool leads_to(const char *guestfwd, const char *id)
{
	const char *to = strchr(guestfwd, '-');

	if (to && !strncmp(to, "-chardev:", 9))
		return !strcmp(to + 9, id);
	return to && !strcmp(to + 1, id);
}

static bool list_leads_to(const struct kv *kv, const char *id)
{
	size_t i;

	for (i = 0; i < kv->n; i++)
		if (!strcmp(kv->pairs[i].key, "guestfwd") && leads_to(kv->pairs[i].value, id))
			return true;
	return false;
}

/* A -chardev goes along with the backend that has it; of what we take, forwards of `user` do. */
static bool chardev_is_ours(const struct qemu_plan *plan, const struct qemu_token *t)
{
	struct kv *kv = NULL;
	const char *id;
	bool ours = false;
	size_t i;

	if (!t->value || !qemu_token_is(t, "chardev") || kv_parse(&kv, t->value, "backend", NULL))
		return false;
	id = kv_get(kv, "id");
	for (i = 0; id && i < plan->n_netdevs; i++)
		ours |= plan->netdevs[i].taken && list_leads_to(plan->netdevs[i].kv, id);
	kv_free(kv);
	return ours;
}

static void serve_networks(struct emit *m)
{
	struct qemu_plan *plan = m->plan;
	const char *cable = NULL;
	size_t i;

	for (i = 0; i < plan->args->n; i++)
		if (chardev_is_ours(plan, &plan->args->tokens[i]))
			serve_item(m->l, SESSION_CHARDEV, cli_strdup(plan->args->tokens[i].value));

	for (i = 0; i < plan->n_netdevs; i++)
		if (plan->netdevs[i].taken)
			serve_item(m->l, SESSION_NETDEV, kv_print(plan->netdevs[i].kv));
	for (i = 0; i < plan->n_filters; i++)
		if (plan->filters[i].taken)
			serve_item(m->l, SESSION_OBJECT, kv_print(plan->filters[i].kv));
	if (!hub0_is_cable(plan, &cable))
		cable = NULL;
	for (i = 0; i < plan->n_netdevs && !cable; i++)
		if (plan->netdevs[i].taken && plan->netdevs[i].on_hub)
			hub0_port(m, kv_get(plan->netdevs[i].kv, "id"));
	for (i = 0; i < plan->n_nics; i++)
		if (plan->nics[i].taken && plan->nics[i].on_hub)
			kv_set(plan->nics[i].kv, "netdev", cable ? cable : hub0_port(m, NULL));
}

/* QEMU's part. */

/* Queue pairs of a netdev of ours. */
static unsigned int netdev_queues(const struct qemu_plan *plan, const char *id)
{
	const struct qemu_netdev *n = qemu_find_netdev(plan, id);
	const char *queues = n ? kv_get(n->kv, "queues") : NULL,
		   *fds = n ? kv_get(n->kv, "fds") : NULL;
	unsigned int count = 1;

	if (queues)
		return (unsigned int)strtoul(queues, NULL, 0);
	for (; fds && *fds; fds++)
		count += *fds == ':';
	return count;
}

static void put_vhost_user(struct emit *m, const struct qemu_nic *nic, struct kv *vmm,
			   const char *path)
{
	const char *netdev = kv_get(nic->kv, "netdev"),
		   *chardev = qemu_fresh_id(m->plan, "twinax-chr");
	unsigned int queues = netdev_queues(m->plan, netdev);
	struct kv *kv = kv_new("backend");

	kv_set(kv, "backend", "socket");
	kv_set(kv, "id", chardev);
	kv_set(kv, "path", path);
	put_list(m->l, "-chardev", kv);
	kv = kv_new("type");
	kv_set(kv, "type", "vhost-user");
	kv_set(kv, "id", netdev);
	kv_set(kv, "chardev", chardev);
	if (queues > 1) {
		char *text = cli_printf("%u", queues);

		kv_set(kv, "queues", text);
		free(text);
	}
	put_list(m->l, "-netdev", kv);
	kv_set(vmm, "netdev", netdev);
	kv_set(vmm, "mac", nic->mac);
	m->has_net = true;
}

static void put_vfio_user(struct kv *vmm, const char *path)
{
	json_t *socket = json_pack("{ssss}", "type", "unix", "path", path);

	kv_add(vmm,
	       &(struct kv_pair){ .key = (char *)"socket", .value = (char *)"", .json = socket });
	json_decref(socket);
}

/* The devices of one NIC, on both sides of its socket. */
static int put_nic(struct emit *m, const struct qemu_nic *nic, struct twx_error *e)
{
	struct kv *vmm, *ours;
	char *path = cli_printf("%s/nic%u", m->dir, m->n_sockets++), *export;
	int ret = qemu_device_split(m->plan, nic, &vmm, &ours, e);

	if (!ret) {
		if (nic->pci)
			put_vfio_user(vmm, path);
		else
			put_vhost_user(m, nic, vmm, path);
		put_list(m->l, "-device", vmm);
		vmm = NULL;
		export = cli_printf("%s:%s", nic->pci ? "vfio-user" : "vhost-user", path);
		kv_set(ours, "export", export);
		serve_item(m->l, SESSION_DEVICE, kv_text(ours));
		free(export);
	}
	kv_free(vmm);
	kv_free(ours);
	free(path);
	return ret;
}

/* A NIC that stays keeps the address that it would have had beside those that are served. */
static void put_stayer(struct emit *m, const struct qemu_nic *nic)
{
	static const struct {
		const char *implied, *mac;
	} spelling[] = {
		[FROM_DEVICE] = { "driver", "mac" },
		[FROM_NIC] = { "type", "mac" },
		[FROM_NET] = { "type", "macaddr" },
	};
	const struct qemu_token *t = nic->token;
	struct kv *kv;

	if (nic->mac_given || kv_parse(&kv, t->value, spelling[nic->from].implied, NULL)) {
		put_option(m->l, t->words[0], t->value);
		return;
	}
	kv_set(kv, spelling[nic->from].mac, nic->mac);
	put_list(m->l, t->words[0], kv);
}

static const struct qemu_nic *nic_of(const struct qemu_plan *plan, const struct qemu_token *t)
{
	size_t i;

	for (i = 0; i < plan->n_nics; i++)
		if (plan->nics[i].token == t)
			return &plan->nics[i];
	return NULL;
}

/* True if nothing of @t is left for QEMU. */
static bool is_taken(const struct emit *m, const struct qemu_token *t)
{
	const struct qemu_plan *plan = m->plan;
	size_t i;

	if (t == m->memory.drop || chardev_is_ours(plan, t))
		return true;
	for (i = 0; i < plan->n_sets; i++)
		if (plan->sets[i].token == t)
			return *plan->sets[i].taken;
	for (i = 0; i < plan->n_netdevs; i++)
		if (plan->netdevs[i].token == t)
			return plan->netdevs[i].taken;
	for (i = 0; i < plan->n_filters; i++)
		if (plan->filters[i].token == t)
			return plan->filters[i].taken;
	return nic_of(plan, t) && nic_of(plan, t)->taken;
}

static int put_token(struct emit *m, const struct qemu_token *t, struct twx_error *e)
{
	static const char *const nets[] = { "net", "nic", "netdev", "nodefaults" };
	const struct qemu_nic *nic = nic_of(m->plan, t);
	size_t i;
	int k;

	if (nic && nic->taken && nic->from == FROM_DEVICE)
		return put_nic(m, nic, e);
	if (is_taken(m, t))
		return 0;
	for (i = 0; i < array_size(nets); i++)
		m->has_net |= qemu_token_is(t, nets[i]);
	if (nic) {
		put_stayer(m, nic);
		return 0;
	}
	for (k = 0; k < t->n_words; k++)
		qemu_launch_add(m->l, t->words[k]);
	return 0;
}

/* The options that make PCI functions in the next free slot, as far as they can be told. */
static bool takes_slot(const struct qemu_plan *plan, const struct qemu_token *t)
{
	static const char *const elsewhere[] = { "usb-",       "scsi-",	  "ide-",    "isa-",
						 "virtserial", "virtcon", "pc-dimm", "nvdimm",
						 "loader",     "hda-",	  "floppy",  "nvme-ns" };
	const char *driver, *bus;
	struct kv *kv;
	bool takes;
	size_t i;

	if (!t->value || *t->value == '{')
		return false;
	if (qemu_token_is(t, "virtfs"))
		return true;
	if (qemu_token_is(t, "drive"))
		return strstr(t->value, "if=virtio");
	if (!qemu_token_is(t, "device") || (nic_of(plan, t) && nic_of(plan, t)->taken))
		return false;
	kv_parse(&kv, t->value, "driver", NULL);
	driver = kv_get(kv, "driver");
	bus = kv_get(kv, "bus");
	takes = driver && !kv_get(kv, "addr") && (!bus || !strncmp(bus, "pci", 3));
	for (i = 0; takes && i < array_size(elsewhere); i++)
		takes = strncmp(driver, elsewhere[i], strlen(elsewhere[i])) != 0;
	kv_free(kv);
	return takes;
}

/* Devices in JSON are made last: what came behind a NIC may now be in its slot. */
static void note_slots(const struct emit *m)
{
	const struct qemu_args *args = m->plan->args;
	const struct qemu_nic *nic;
	size_t i, k;

	for (i = 0; i < m->plan->n_nics; i++) {
		nic = &m->plan->nics[i];
		if (!nic->taken || !nic->pci || nic->kv->json || kv_get(nic->kv, "addr"))
			continue;
		for (k = 0; k < args->n; k++) {
			const struct qemu_token *t = &args->tokens[k];

			if ((nic->from == FROM_DEVICE && t < nic->token) || !takes_slot(m->plan, t))
				continue;
			qemu_note(m->plan,
				  "%s on %s may be in another PCI slot than before, behind %s %s; "
				  "addr= in a -device keeps it",
				  kv_get(nic->kv, "driver"), kv_get(nic->kv, "netdev"), t->words[0],
				  t->value);
			break;
		}
	}
}

static int put_all(struct emit *m, struct twx_error *e)
{
	const struct qemu_args *args = m->plan->args;
	struct qemu_plan *plan = m->plan;
	int ret = 0;
	size_t i;

	for (i = 0; i < (size_t)args->n_command; i++)
		qemu_launch_add(m->l, args->words[i]);
	if (m->memory.object) {
		char *machine = cli_printf("memory-backend=%s", m->memory.backend);

		put_option(m->l, "-object", m->memory.object);
		put_option(m->l, "-machine", machine);
		free(machine);
	}
	for (i = 0; i < plan->n_nics && !ret; i++)
		if (plan->nics[i].taken && plan->nics[i].from != FROM_DEVICE)
			ret = put_nic(m, &plan->nics[i], e);
	for (i = 0; i < args->n && !ret; i++)
		ret = put_token(m, &args->tokens[i], e);
	if (!ret && !m->has_net)
		put_option(m->l, "-nic", "none");
	return ret;
}

int qemu_launch_make(struct qemu_launch *l, struct qemu_plan *plan, const char *dir,
		     struct twx_error *e)
{
	struct emit m = { .l = l, .plan = plan, .dir = dir };
	int ret;

	*l = (struct qemu_launch){ 0 };
	ret = qemu_memory_plan(&m.memory, plan, e);
	if (!ret) {
		serve_networks(&m);
		ret = put_all(&m, e);
		note_slots(&m);
	}
	qemu_memory_free(&m.memory);
	return ret;
}

void qemu_launch_free(struct qemu_launch *l)
{
	size_t i;

	for (i = 0; i < l->argc; i++)
		free(l->argv[i]);
	for (i = 0; i < l->n_items; i++)
		free(l->items[i].text);
	free(l->argv);
	free(l->items);
	*l = (struct qemu_launch){ 0 };
}
