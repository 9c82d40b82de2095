/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The networks of a QEMU command line: -netdev, -nic, -net, -device of network models, -object
 * filter-*, and the network that QEMU makes when none of them is given.
 *
 * Whatever its spelling, a backend becomes what its -netdev would say, and a NIC what its -device
 * would say. The order of NICs is that in which QEMU makes them, which automatic addresses follow:
 * -nic, -net nic, -device, -device as JSON.
 */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "cli/alloc.h"
#include "cli/qemu_plan.h"

char *qemu_keep(struct qemu_plan *plan, char *string)
{
	plan->strings = cli_grow(plan->strings, plan->n_strings, sizeof(*plan->strings));
	return plan->strings[plan->n_strings++] = string;
}

void qemu_note(struct qemu_plan *plan, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	plan->notes = cli_grow(plan->notes, plan->n_notes, sizeof(*plan->notes));
	plan->notes[plan->n_notes++] = cli_strdup(line);
}

struct qemu_netdev *qemu_find_netdev(const struct qemu_plan *plan, const char *id)
{
	size_t i;

	for (i = 0; i < plan->n_netdevs; i++) {
		const char *own = kv_get(plan->netdevs[i].kv, "id");

		if (own && !strcmp(own, id))
			return &plan->netdevs[i];
	}
	return NULL;
}

/* The word stands in a value as an id or as part of one: better one name too many than a clash. */
static bool is_named(const struct qemu_plan *plan, const char *id)
{
	size_t i;

	for (i = 0; i < plan->args->n; i++)
		if (plan->args->tokens[i].value && strstr(plan->args->tokens[i].value, id))
			return true;
	for (i = 0; i < plan->n_strings; i++)
		if (!strcmp(plan->strings[i], id))
			return true;
	return false;
}

const char *qemu_fresh_id(struct qemu_plan *plan, const char *base)
{
	unsigned int k = 0;
	char *id = cli_printf("%s%u", base, k);

	while (is_named(plan, id)) {
		free(id);
		id = cli_printf("%s%u", base, ++k);
	}
	return qemu_keep(plan, id);
}

/* Errors name the option as it was given. */
static int at_token(const struct qemu_token *t, struct twx_error *e)
{
	twx_error_prefix(e, "%s %s: ", t->words[0], t->value);
	return -e->code;
}

static struct qemu_netdev *add_netdev(struct qemu_plan *plan, const struct qemu_token *t,
				      enum qemu_origin from, struct kv *kv)
{
	struct qemu_netdev *n;

	plan->netdevs = cli_grow(plan->netdevs, plan->n_netdevs, sizeof(*plan->netdevs));
	n = &plan->netdevs[plan->n_netdevs++];
	*n = (struct qemu_netdev){ .token = t, .from = from, .kv = kv };
	return n;
}

static struct qemu_nic *add_nic(struct qemu_plan *plan, const struct qemu_token *t,
				enum qemu_origin from, struct kv *kv)
{
	struct qemu_nic *n;

	plan->nics = cli_grow(plan->nics, plan->n_nics, sizeof(*plan->nics));
	n = &plan->nics[plan->n_nics++];
	*n = (struct qemu_nic){ .token = t, .from = from, .kv = kv };
	return n;
}

/* Moves @key of @from, as @as, to @to. */
static void move_key(struct kv *from, const char *key, struct kv *to, const char *as)
{
	const char *value = kv_get(from, key);

	if (value)
		kv_set(to, as, value);
	kv_set(from, key, NULL);
}

/* A model as -nic and -net nic name it, as a driver. */
static void set_model(struct kv *nic, const char *model)
{
	if (model && !strcmp(model, "virtio"))
		model = "virtio-net-pci";
	kv_set(nic, "driver", model);
}

/* QEMU takes a number for the last three bytes after 52:54:00, and one digit a byte. */
static bool read_mac(const char *text, uint8_t mac[6])
{
	unsigned long number;
	char *end;
	int i;

	number = strtoul(text, &end, 0);
	if (*text && !*end) {
		mac[0] = 0x52, mac[1] = 0x54, mac[2] = 0;
		for (i = 3; i < 6; i++)
			mac[i] = (uint8_t)(number >> (8 * (5 - i)));
		return true;
	}
	for (i = 0; i < 6; i++) {
		number = strtoul(text, &end, 16);
		if (end == text || number > 255 ||
		    (i == 5 ? *end != '\0' : *end != ':' && *end != '-'))
			return false;
		mac[i] = (uint8_t)number;
		text = end + 1;
	}
	return true;
}

static int take_mac(struct qemu_nic *nic, const char *text, struct twx_error *e)
{
	uint8_t m[6];

	if (!text)
		return 0;
	if (!read_mac(text, m)) {
		if (nic->from == FROM_DEVICE)
			return twx_error_set(e, EINVAL, "Property '%s.mac' doesn't take value '%s'",
					     kv_get(nic->kv, "driver"), text);
		return twx_error_set(e, EINVAL, "invalid syntax for ethernet address");
	}
	if (m[0] & 1)
		return twx_error_set(e, EINVAL,
				     "NIC cannot have multicast MAC address (odd 1st byte)");
	nic->mac_given = true;
	snprintf(nic->mac, sizeof(nic->mac), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2],
		 m[3], m[4], m[5]);
	kv_set(nic->kv, "mac", nic->mac);
	return 0;
}

static int collect_netdev(struct qemu_plan *plan, const struct qemu_token *t, struct twx_error *e)
{
	struct kv *kv;
	const char *id;

	if (kv_parse(&kv, t->value, "type", e))
		return -e->code;
	id = kv_get(kv, "id");
	if (!id || qemu_find_netdev(plan, id)) {
		if (id)
			twx_error_set(e, EEXIST, "Duplicate ID '%s' for netdev", id);
		else
			twx_error_set(e, EINVAL, "Parameter 'id' is missing");
		kv_free(kv);
		return -e->code;
	}
	add_netdev(plan, t, FROM_NETDEV, kv);
	return 0;
}

static int collect_nic(struct qemu_plan *plan, const struct qemu_token *t, struct twx_error *e)
{
	struct kv *kv, *dev;
	const char *model, *id;
	char *mac = NULL;
	int ret;

	if (kv_parse(&kv, t->value, "type", e))
		return -e->code;
	id = kv_get(kv, "id");
	if (!kv_get(kv, "type"))
		kv_set(kv, "type", "user");
	if (!strcmp(kv_get(kv, "type"), "none") || (id && qemu_find_netdev(plan, id))) {
		ret = strcmp(kv_get(kv, "type"), "none")
			      ? twx_error_set(e, EEXIST, "Duplicate ID '%s' for nic", id)
			      : 0;
		kv_free(kv);
		return ret;
	}
	if (!id)
		kv_set(kv, "id", qemu_fresh_id(plan, "net"));
	add_netdev(plan, t, FROM_NIC, kv);
	dev = kv_new("driver");
	model = kv_get(kv, "model");
	set_model(dev, model ? model : qemu_default_model(plan));
	kv_set(dev, "netdev", kv_get(kv, "id"));
	if (kv_get(kv, "mac"))
		mac = qemu_keep(plan, cli_strdup(kv_get(kv, "mac")));
	kv_set(kv, "model", NULL);
	kv_set(kv, "mac", NULL);
	return take_mac(add_nic(plan, t, FROM_NIC, dev), mac, e);
}

/* vlan=N and name=, which -net had before QEMU 3; out of the list. */
static int take_vlan(const struct qemu_plan *plan, struct kv *kv, int *hub, struct twx_error *e)
{
	const char *vlan = kv_get(kv, "vlan"), *name = kv_get(kv, "name");
	char *end = NULL;
	long n;

	if (!plan->own)
		return 0;
	if (name && !kv_get(kv, "id"))
		kv_set(kv, "id", name);
	kv_set(kv, "name", NULL);
	if (!vlan)
		return 0;
	errno = 0;
	n = strtol(vlan, &end, 0);
	if (errno || end == vlan || *end || n < 0 || n > INT_MAX)
		return twx_error_set(e, EINVAL, "Parameter 'vlan' expects a number from 0 up");
	*hub = (int)n;
	kv_set(kv, "vlan", NULL);
	return 0;
}

static int collect_net_nic(struct qemu_plan *plan, const struct qemu_token *t, struct kv *kv,
			   struct twx_error *e)
{
	static const char *const same[] = { "id", "netdev", "addr", "vectors" };
	struct kv *dev = kv_new("driver");
	struct qemu_nic *nic = add_nic(plan, t, FROM_NET, dev);
	const char *model = kv_get(kv, "model"), *mac = kv_get(kv, "macaddr");
	bool vlan = kv_get(kv, "vlan");
	size_t i;
	int ret;

	set_model(dev, model ? model : qemu_default_model(plan));
	ret = take_vlan(plan, kv, &nic->hub, e);
	for (i = 0; i < array_size(same); i++)
		move_key(kv, same[i], dev, same[i]);
	nic->on_hub = !kv_get(dev, "netdev");
	if (!ret && plan->own && vlan && !nic->on_hub)
		ret = twx_error_set(e, EINVAL,
				    "a NIC is on a hub (vlan=) or on a netdev, not both");
	if (!ret)
		ret = take_mac(nic, mac, e);
	kv_set(kv, "model", NULL);
	kv_set(kv, "macaddr", NULL);
	kv_set(kv, "type", NULL);
	if (!ret && kv->n)
		ret = twx_error_set(e, EINVAL, "Invalid parameter '%s'", kv->pairs[0].key);
	kv_free(kv);
	return ret;
}

static int collect_dump(struct qemu_plan *plan, const struct qemu_token *t, struct kv *kv,
			struct twx_error *e)
{
	struct qemu_dump *d;
	int ret;

	plan->dumps = cli_grow(plan->dumps, plan->n_dumps, sizeof(*plan->dumps));
	d = &plan->dumps[plan->n_dumps++];
	*d = (struct qemu_dump){ .token = t, .kv = kv_new("qom-type") };
	ret = take_vlan(plan, kv, &d->hub, e);
	kv_set(d->kv, "qom-type", "filter-dump");
	move_key(kv, "id", d->kv, "id");
	move_key(kv, "file", d->kv, "file");
	move_key(kv, "len", d->kv, "maxlen");
	kv_set(kv, "type", NULL);
	if (!kv_get(d->kv, "id"))
		kv_set(d->kv, "id", qemu_fresh_id(plan, "dump"));
	if (!kv_get(d->kv, "file"))
		kv_set(d->kv, "file", qemu_keep(plan, cli_printf("qemu-vlan%d.pcap", d->hub)));
	if (!ret && kv->n)
		ret = twx_error_set(e, EINVAL, "Invalid parameter '%s'", kv->pairs[0].key);
	kv_free(kv);
	return ret;
}

static int collect_net(struct qemu_plan *plan, const struct qemu_token *t, struct twx_error *e)
{
	struct qemu_netdev *n;
	const char *type, *id;
	struct kv *kv;
	int hub = 0, ret;

	if (kv_parse(&kv, t->value, "type", e))
		return -e->code;
	type = kv_get(kv, "type");
	if (type && !strcmp(type, "nic"))
		return collect_net_nic(plan, t, kv, e);
	if (type && plan->own && !strcmp(type, "dump"))
		return collect_dump(plan, t, kv, e);
	if (!type || !strcmp(type, "none")) {
		kv_free(kv);
		return type ? 0 : twx_error_set(e, EINVAL, "Parameter 'type' is missing");
	}
	if (!strcmp(type, "hubport"))
		ret = twx_error_set(
			e, EINVAL, "network backend 'hubport' is only supported with -netdev/-nic");
	else
		ret = take_vlan(plan, kv, &hub, e);
	if (ret) {
		kv_free(kv);
		return ret;
	}
	id = kv_get(kv, "id");
	if (id && qemu_find_netdev(plan, id)) {
		twx_error_set(e, EEXIST, "Duplicate ID '%s' for net", id);
		kv_free(kv);
		return -e->code;
	}
	if (!id)
		kv_set(kv, "id", qemu_fresh_id(plan, "net"));
	n = add_netdev(plan, t, FROM_NET, kv);
	n->on_hub = true;
	n->hub = hub;
	return 0;
}

/* NICs by name, for those without a netdev: they get automatic addresses, too. */
static bool is_nic_model(const char *driver)
{
	static const char *const begins[] = { "e1000", "virtio-net", "i825", "i8280" };
	static const char *const names[] = { "igb",   "ne2k_pci", "ne2k_isa", "pcnet",	"rtl8139",
					     "tulip", "vmxnet3",  "usb-net",  "sunhme", "sungem" };
	size_t i;

	for (i = 0; i < array_size(begins); i++)
		if (!strncmp(driver, begins[i], strlen(begins[i])))
			return true;
	for (i = 0; i < array_size(names); i++)
		if (!strcmp(driver, names[i]))
			return true;
	return false;
}

static int collect_device(struct qemu_plan *plan, const struct qemu_token *t, struct twx_error *e)
{
	const char *driver;
	struct kv *kv;

	/* What is no option list at all is QEMU's to complain about. */
	if (kv_parse(&kv, t->value, "driver", NULL))
		return 0;
	driver = kv_get(kv, "driver");
	if (!driver || (!kv_get(kv, "netdev") && !is_nic_model(driver))) {
		kv_free(kv);
		return 0;
	}
	return take_mac(add_nic(plan, t, FROM_DEVICE, kv), kv_get(kv, "mac"), e);
}

static int collect_object(struct qemu_plan *plan, const struct qemu_token *t, struct twx_error *e)
{
	const char *type;
	struct kv *kv;

	if (kv_parse(&kv, t->value, "qom-type", NULL))
		return 0;
	type = kv_get(kv, "qom-type");
	if (!type || strncmp(type, "filter-", 7) || !kv_get(kv, "netdev")) {
		kv_free(kv);
		return 0;
	}
	plan->filters = cli_grow(plan->filters, plan->n_filters, sizeof(*plan->filters));
	plan->filters[plan->n_filters++] = (struct qemu_filter){ .token = t, .kv = kv };
	return 0;
}

static void add_set(struct qemu_plan *plan, const struct qemu_token *t, const bool *taken)
{
	plan->sets = cli_grow(plan->sets, plan->n_sets, sizeof(*plan->sets));
	plan->sets[plan->n_sets++] = (struct qemu_set){ t, taken };
}

static struct qemu_nic *find_device(const struct qemu_plan *plan, const char *id)
{
	size_t i;

	for (i = 0; i < plan->n_nics; i++) {
		const char *own = kv_get(plan->nics[i].kv, "id");

		if (plan->nics[i].from == FROM_DEVICE && own && !strcmp(own, id))
			return &plan->nics[i];
	}
	return NULL;
}

/* -set GROUP.ID.KEY=VALUE is one more key of an option. In the last pass: nothing is added behind
 * it. */
static int collect_set(struct qemu_plan *plan, const struct qemu_token *t, struct twx_error *e)
{
	const char *dot = strchr(t->value, '.'), *dot2 = dot ? strchr(dot + 1, '.') : NULL,
		   *eq = dot2 ? strchr(dot2, '=') : NULL;
	struct qemu_netdev *netdev;
	struct qemu_nic *nic;
	char *id, *key;

	if (!eq)
		return 0;
	id = qemu_keep(plan, cli_printf("%.*s", (int)(dot2 - dot - 1), dot + 1));
	key = qemu_keep(plan, cli_printf("%.*s", (int)(eq - dot2 - 1), dot2 + 1));
	nic = strncmp(t->value, "device.", 7) ? NULL : find_device(plan, id);
	netdev = strncmp(t->value, "netdev.", 7) ? NULL : qemu_find_netdev(plan, id);
	if (nic) {
		add_set(plan, t, &nic->taken);
		kv_set(nic->kv, key, eq + 1);
		return strcmp(key, "mac") ? 0 : take_mac(nic, eq + 1, e);
	}
	if (netdev) {
		add_set(plan, t, &netdev->taken);
		kv_set(netdev->kv, key, eq + 1);
	}
	return 0;
}

/* In this order, each over the whole command line. */
static const struct {
	const char *option;
	int (*collect)(struct qemu_plan *plan, const struct qemu_token *t, struct twx_error *e);
	bool text, json; /* values of which kind */
} passes[] = {
	{ "netdev", collect_netdev, false, true }, { "netdev", collect_netdev, true, false },
	{ "nic", collect_nic, true, true },	   { "net", collect_net, true, true },
	{ "device", collect_device, true, false }, { "device", collect_device, false, true },
	{ "object", collect_object, true, true },  { "set", collect_set, true, true },
};

static void collect_default(struct qemu_plan *plan)
{
	const char *model = qemu_default_model(plan);
	struct kv *kv = kv_new("type"), *dev = kv_new("driver");

	if (model)
		kv_set(dev, "driver", model);
	add_nic(plan, NULL, FROM_NET, dev)->on_hub = true;
	kv_set(kv, "type", "user");
	kv_set(kv, "id", qemu_fresh_id(plan, "net"));
	add_netdev(plan, NULL, FROM_NET, kv)->on_hub = true;
}

int qemu_collect(struct qemu_plan *plan, struct twx_error *e)
{
	const struct qemu_args *args = plan->args;
	size_t p, i;

	for (i = 0; i < args->n; i++)
		if (qemu_token_is(&args->tokens[i], "readconfig"))
			plan->readconfig = true;
	if (qemu_has_default_net(args) && !plan->readconfig)
		collect_default(plan);
	for (p = 0; p < array_size(passes); p++)
		for (i = 0; i < args->n; i++) {
			const struct qemu_token *t = &args->tokens[i];

			if (!t->value || !qemu_token_is(t, passes[p].option) ||
			    !(*t->value == '{' ? passes[p].json : passes[p].text))
				continue;
			if (passes[p].collect(plan, t, e))
				return at_token(t, e);
		}
	return 0;
}
