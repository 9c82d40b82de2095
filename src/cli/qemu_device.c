/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One NIC's properties, parted: what QEMU's device in its place keeps, and what our NIC gets.
 *
 * A virtio device stays the user's own, with every property: QEMU's front end does the PCI
 * transport and masks the feature bits that are switched off. Of a PCI model, QEMU keeps where the
 * function sits, how the machine starts from it, and its option ROM, which it finds in its own
 * folders; the model's options are ours.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "cli/alloc.h"
#include "cli/qemu_plan.h"

/* Types in JSON. */
enum vmm_type { VMM_STR, VMM_INT, VMM_BOOL };
struct vmm_prop {
	const char *name;
	enum vmm_type type;
};

/* Properties of any PCI function that QEMU has. */
static const struct vmm_prop pci_props[] = {
	{ "id", VMM_STR },
	{ "addr", VMM_STR },
	{ "bus", VMM_STR },
	{ "multifunction", VMM_BOOL },
	{ "bootindex", VMM_INT },
	{ "acpi-index", VMM_INT },
	{ "failover_pair_id", VMM_STR },
	{ "rombar", VMM_INT },
	{ "romfile", VMM_STR },
	{ "romsize", VMM_INT },
	{ "x-pcie-lnksta-dllla", VMM_BOOL },
};

/* Properties of virtio-net-pci beside them; those that are missing are of the commonest type. */
static const struct vmm_prop virtio_props[] = {
	{ "driver", VMM_STR },	       { "netdev", VMM_STR },	    { "mac", VMM_STR },
	{ "disable-legacy", VMM_STR }, { "vectors", VMM_INT },	    { "rx_queue_size", VMM_INT },
	{ "tx_queue_size", VMM_INT },  { "tx", VMM_STR },	    { "x-txtimer", VMM_INT },
	{ "x-txburst", VMM_INT },      { "speed", VMM_INT },	    { "duplex", VMM_STR },
	{ "host_mtu", VMM_INT },       { "rsc_interval", VMM_INT }, { "queues", VMM_INT },
};

/* The ROM that QEMU gives a model when none is named, by the beginning of its name. */
static const char *default_rom(const char *driver)
{
	static const struct {
		const char *begin, *rom;
	} roms[] = {
		{ "e1000e", "efi-e1000e.rom" },	    { "e1000", "efi-e1000.rom" },
		{ "i825", "efi-eepro100.rom" },	    { "i82801", "efi-eepro100.rom" },
		{ "ne2k_pci", "efi-ne2k_pci.rom" }, { "pcnet", "efi-pcnet.rom" },
		{ "rtl8139", "efi-rtl8139.rom" },   { "vmxnet3", "efi-vmxnet3.rom" },
	};
	size_t i;

	for (i = 0; i < array_size(roms); i++)
		if (!strncmp(driver, roms[i].begin, strlen(roms[i].begin)))
			return roms[i].rom;
	return NULL;
}

static const struct vmm_prop *find_prop(const struct vmm_prop *props, size_t n, const char *name)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!strcmp(props[i].name, name))
			return &props[i];
	return NULL;
}

static const struct vmm_prop *pci_prop(const char *name)
{
	return find_prop(pci_props, array_size(pci_props), name);
}

static bool has_option(const struct twx_opt_desc *table, const char *name)
{
	for (; table && table->name; table++)
		if (!strcmp(table->name, name))
			return true;
	return false;
}

/* Options of our model, and those that its host adds to it. */
static bool is_our_prop(const char *model, const char *name)
{
	const struct twx_nic_model *const *m;
	const struct twx_host_type *const *h;

	if (!strcmp(name, "netdev") || !strcmp(name, "mac"))
		return true;
	for (m = twx_nic_models(); *m && strcmp((*m)->name, model); m++)
		;
	if (*m && has_option((*m)->options, name))
		return true;
	for (h = twx_host_types(); *m && *h; h++) {
		const struct twx_host_bus *bus = twx_host_bus(*h, (*m)->bus);

		if (bus && !strcmp((*h)->name, "vfio-user") && has_option(bus->options, name))
			return true;
	}
	return false;
}

/* In JSON with the type that QEMU wants; what does not read as one stays text, for QEMU to refuse.
 */
static json_t *typed(enum vmm_type type, const char *value)
{
	static const char *const on[] = { "on", "yes", "true", "y" };
	static const char *const off[] = { "off", "no", "false", "n" };
	long long number;
	size_t i;
	char *end;

	if (type == VMM_INT) {
		errno = 0;
		number = strtoll(value, &end, 0);
		if (!errno && end != value && !*end)
			return json_integer(number);
	}
	for (i = 0; i < array_size(on) && type == VMM_BOOL; i++)
		if (!strcmp(value, on[i]) || !strcmp(value, off[i]))
			return json_boolean(!strcmp(value, on[i]));
	return json_string(value);
}

static void put_typed(struct kv *vmm, const char *key, json_t *value)
{
	kv_set(vmm, key, NULL);
	kv_add(vmm, &(struct kv_pair){ .key = (char *)key, .value = (char *)"", .json = value });
	json_decref(value);
}

static int split_prop(const struct qemu_nic *nic, const char *key, const char *value,
		      struct kv *vmm, struct kv *ours, struct twx_error *e)
{
	const struct vmm_prop *prop = pci_prop(key);

	if (!strcmp(key, "driver"))
		return 0;
	if (prop)
		put_typed(vmm, key, typed(prop->type, value));
	else if (!is_our_prop(nic->ours, key))
		return twx_error_set(e, ENOENT, "%s %s: Property '%s.%s' not found",
				     nic->token ? nic->token->words[0] : "-device",
				     nic->token ? nic->token->value : nic->ours,
				     kv_get(nic->kv, "driver"), key);
	if (!prop || !strcmp(key, "id"))
		kv_set(ours, key, value);
	return 0;
}

/* -global DRIVER.PROP=VALUE, or driver=,property=,value=: a default of the user's. */
static int split_globals(struct qemu_plan *plan, const struct qemu_nic *nic, struct kv *vmm,
			 struct kv *ours, struct twx_error *e)
{
	const char *driver = kv_get(nic->kv, "driver"), *key, *value;
	const size_t len = strlen(driver);
	int ret = 0;
	size_t i;

	for (i = 0; i < plan->args->n && !ret; i++) {
		const struct qemu_token *t = &plan->args->tokens[i];
		struct kv *kv = NULL;
		char *name = NULL;

		if (!t->value || !qemu_token_is(t, "global"))
			continue;
		value = strchr(t->value, '=');
		if (value && !strncmp(t->value, driver, len) && t->value[len] == '.') {
			name = cli_printf("%.*s", (int)(value - t->value - (long)len - 1),
					  t->value + len + 1);
			key = name;
			value++;
		} else {
			kv_parse(&kv, *t->value == '{' ? "" : t->value, "driver", NULL);
			key = kv_get(kv, "driver") && !strcmp(kv_get(kv, "driver"), driver)
				      ? kv_get(kv, "property")
				      : NULL;
			value = kv_get(kv, "value");
		}
		if (key && value)
			ret = split_prop(nic, key, value, vmm, ours, e);
		kv_free(kv);
		free(name);
	}
	return ret;
}

static int split_pci(struct qemu_plan *plan, const struct qemu_nic *nic, struct kv *vmm,
		     struct kv *ours, struct twx_error *e)
{
	int ret;
	size_t i;

	kv_set(ours, "driver", nic->ours);
	vmm->json = true;
	kv_set(vmm, "driver", "vfio-user-pci");
	kv_set(vmm, "romfile", default_rom(kv_get(nic->kv, "driver")));
	ret = split_globals(plan, nic, vmm, ours, e);
	for (i = 0; i < nic->kv->n && !ret; i++)
		ret = split_prop(nic, nic->kv->pairs[i].key, nic->kv->pairs[i].value, vmm, ours, e);
	return ret;
}

/* QEMU 7 under tcg ends in its own MSI-X code when a vhost-user NIC starts, whatever its back end.
 */
static bool needs_intx(const struct qemu_plan *plan, const struct qemu_nic *nic)
{
	return plan->facts.major == 7 && qemu_is_tcg(plan->args, &plan->facts) &&
	       strncmp(kv_get(nic->kv, "driver"), "virtio-net-device", 17) &&
	       strncmp(kv_get(nic->kv, "driver"), "virtio-net-ccw", 14);
}

/*
 * QEMU makes devices given in JSON after all others, and PCI slots follow. A vfio-user device has
 * no other form, so that a virtio NIC behind one takes the same form, to stay behind it.
 */
static bool follows_json(const struct qemu_plan *plan, const struct qemu_nic *nic)
{
	const struct qemu_nic *n;

	for (n = plan->nics; n < nic; n++)
		if (n->taken && n->pci)
			return true;
	return false;
}

static void to_json(struct kv *kv)
{
	struct kv *typed_kv = kv_new(kv->implied);
	size_t i;

	for (i = 0; i < kv->n; i++) {
		const char *key = kv->pairs[i].key, *value = kv->pairs[i].value;
		const struct vmm_prop *prop = pci_prop(key);

		if (!prop)
			prop = find_prop(virtio_props, array_size(virtio_props), key);
		put_typed(typed_kv, key, typed(prop ? prop->type : VMM_BOOL, value));
	}
	typed_kv->json = true;
	kv_swap(kv, typed_kv);
	kv_free(typed_kv);
}

static void split_virtio(struct qemu_plan *plan, const struct qemu_nic *nic, struct kv *vmm,
			 struct kv *ours)
{
	static const char *const same[] = { "id", "host_mtu", "netdev" };
	const char *vectors = kv_get(nic->kv, "vectors");
	size_t i;

	for (i = 0; i < nic->kv->n; i++)
		kv_add(vmm, &nic->kv->pairs[i]);
	vmm->json = nic->kv->json;
	kv_set(ours, "driver", nic->ours);
	for (i = 0; i < array_size(same); i++)
		kv_set(ours, same[i], kv_get(nic->kv, same[i]));
	if (!vmm->json && follows_json(plan, nic))
		to_json(vmm);
	if (!needs_intx(plan, nic) || (vectors && !strcmp(vectors, "0")))
		return;
	if (vmm->json)
		put_typed(vmm, "vectors", json_integer(0));
	else
		kv_set(vmm, "vectors", "0");
	if (!plan->intx_noted)
		qemu_note(plan,
			  "%s gets vectors=0: QEMU 7 without KVM ends when a vhost-user NIC uses "
			  "MSI-X",
			  kv_get(nic->kv, "driver"));
	plan->intx_noted = true;
}

int qemu_device_split(struct qemu_plan *plan, const struct qemu_nic *nic, struct kv **vmm,
		      struct kv **ours, struct twx_error *e)
{
	int ret = 0;

	*vmm = kv_new("driver");
	*ours = kv_new("driver");
	if (nic->pci)
		ret = split_pci(plan, nic, *vmm, *ours, e);
	else
		split_virtio(plan, nic, *vmm, *ours);
	kv_set(*ours, "mac", nic->mac);
	return ret;
}
