/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio over PCI: QEMU's options of the transport, obeyed or refused with a sentence. */
#include <errno.h>

#include <twinax/option.h>

#include "bus/virtio_pci_priv.h"

#define REFUSED_VMM "refused: give it to the VMM's device"
#define REFUSED_EXPRESS "as it is here: concerns PCI Express"
#define REFUSED_QEMU "as it is here: concerns QEMU's own devices"

#define VMM_OPTION(key)                                                                            \
	{                                                                                          \
		.name = key, .type = TWX_OPT_STR, .help = REFUSED_VMM                              \
	}
#define FIXED_OPTION(key, text)                                                                    \
	{                                                                                          \
		.name = key, .type = TWX_OPT_BOOL, .help = text                                    \
	}
#define BOOL_OPTION(key, value, text)                                                              \
	{                                                                                          \
		.name = key, .type = TWX_OPT_BOOL, .def = value, .help = text                      \
	}

const struct twx_opt_desc virtio_pci_options[] = {
	PCI_OPTIONS,
	{ .name = "disable-legacy",
	  .type = TWX_OPT_ENUM,
	  .def = "auto",
	  .words = "on|off|auto",
	  .help = "no legacy interface (auto: there is one, but for root ports)" },
	BOOL_OPTION("disable-modern", "off", "no modern interface"),
	{ .name = "vectors",
	  .type = TWX_OPT_INT,
	  .min = 0,
	  .max = PCI_MSIX_MAX,
	  .help = "MSI-X vectors, 0 for none (one for each queue and one more)" },
	BOOL_OPTION("page-per-vq", "off", "a page for each queue's doorbell"),
	BOOL_OPTION("modern-pio-notify", "off", "doorbells in I/O space too"),
	BOOL_OPTION("ioeventfd", "on", "doorbells by eventfd, where the host has them"),
	BOOL_OPTION("queue_reset", "on", "single queues can be reset"),
	BOOL_OPTION("notify_on_empty", "on", "legacy: an interrupt when a ring runs empty"),
	BOOL_OPTION("any_layout", "on", "legacy: headers need no descriptor of their own"),
	BOOL_OPTION("in_order", "off", "the driver may count on buffers coming back in order"),
	BOOL_OPTION("iommu_platform", "off", "addresses go through the platform's IOMMU"),
	BOOL_OPTION("packed", "off", "packed rings for modern drivers"),
	FIXED_OPTION("ats", REFUSED_EXPRESS),
	FIXED_OPTION("aer", REFUSED_EXPRESS),
	BOOL_OPTION("x-disable-pcie", "off", "conventional PCI behind a root port, too"),
	FIXED_OPTION("x-ats-page-aligned", REFUSED_EXPRESS),
	FIXED_OPTION("x-pcie-deverr-init", REFUSED_EXPRESS),
	FIXED_OPTION("x-pcie-flr-init", REFUSED_EXPRESS),
	FIXED_OPTION("x-pcie-lnkctl-init", REFUSED_EXPRESS),
	FIXED_OPTION("x-pcie-pm-init", REFUSED_EXPRESS),
	FIXED_OPTION("x-pcie-lnksta-dllla", REFUSED_EXPRESS),
	FIXED_OPTION("x-pcie-extcap-init", REFUSED_EXPRESS),
	FIXED_OPTION("use-started", REFUSED_QEMU),
	FIXED_OPTION("use-disabled-flag", REFUSED_QEMU),
	FIXED_OPTION("migrate-extra", REFUSED_QEMU),
	FIXED_OPTION("virtio-pci-bus-master-bug-migration", REFUSED_QEMU),
	FIXED_OPTION("x-ignore-backend-features", REFUSED_QEMU),
	FIXED_OPTION("x-disable-legacy-check", REFUSED_QEMU),
	VMM_OPTION("addr"),
	FIXED_OPTION("multifunction", REFUSED_VMM),
	VMM_OPTION("acpi-index"),
	VMM_OPTION("bootindex"),
	VMM_OPTION("failover_pair_id"),
	{ 0 },
};

/* Options that have one value here. */
enum only { ONLY_OFF, ONLY_ON, EITHER, NEVER, PLACE };

static const char why_vmm[] = "is the VMM's to obey, which places the card";
static const char why_placed[] = "is nothing that this machine has";
static const char why_express[] = "is not possible: what there is of PCI Express is always there";
static const char why_stream[] =
	"tells QEMU versions' migration streams apart, and ours is neither";
static const char why_vhost[] = "would promise the driver what the data path cannot do";

static const struct {
	const char *key;
	enum only only;
	const char *why;
} fixed[] = {
	{ "ats", ONLY_OFF, why_express },
	{ "aer", ONLY_OFF, why_express },
	{ "x-ats-page-aligned", ONLY_ON, why_express },
	{ "x-pcie-deverr-init", ONLY_ON, why_express },
	{ "x-pcie-flr-init", ONLY_ON, why_express },
	{ "x-pcie-lnkctl-init", ONLY_ON, why_express },
	{ "x-pcie-pm-init", ONLY_ON, why_express },
	{ "x-pcie-lnksta-dllla", ONLY_ON, why_express },
	{ "x-pcie-extcap-init", ONLY_ON, why_express },
	{ "use-started", ONLY_ON, why_stream },
	{ "use-disabled-flag", ONLY_ON, why_stream },
	{ "migrate-extra", ONLY_ON, why_stream },
	{ "virtio-pci-bus-master-bug-migration", ONLY_OFF, why_stream },
	{ "x-ignore-backend-features", ONLY_OFF, why_vhost },
	/* A network card may always have the legacy interface. */
	{ "x-disable-legacy-check", EITHER, NULL },
	/* Of a machine of ours, too, which obeys them. */
	{ "addr", PLACE, why_vmm },
	{ "multifunction", PLACE, why_vmm },
	{ "acpi-index", NEVER, why_vmm },
	{ "bootindex", NEVER, why_vmm },
	{ "failover_pair_id", NEVER, why_vmm },
};

int vpci_check_options(const struct twx_nic *nic, enum virtio_form form,
		       const struct twx_opts *opts, struct twx_error *e)
{
	const char *id = nic->id;
	static const char *const forms[] = { "disable-legacy", "disable-modern" };

	for (size_t i = 0; i < array_size(fixed); i++) {
		enum only only = fixed[i].only;
		const char *key = fixed[i].key;
		bool value;

		if (only == EITHER || !twx_opts_given(opts, key) || (only == PLACE && nic->placed))
			continue;
		if (only == PLACE)
			only = NEVER;
		value = only != NEVER && twx_opts_bool(opts, key);
		if (only != NEVER && value == (only == ONLY_ON))
			continue;
		twx_error_set(e, EINVAL, "device %s: %s=%s %s", id, key,
			      only == NEVER ? twx_opts_str(opts, key)
			      : value	    ? "on"
					    : "off",
			      only == NEVER && nic->placed ? why_placed : fixed[i].why);
		return only == NEVER && !nic->placed
			       ? twx_error_hint(e, "give it to the VMM's own -device for this card")
			       : twx_error_hint(e, "leave %s out", key);
	}
	for (size_t i = 0; form != VIRTIO_FORM_ANY && i < array_size(forms); i++)
		if (twx_opts_given(opts, forms[i]))
			return twx_error_set(e, EINVAL,
					     "device %s: %s= is for virtio-net-pci; this model's "
					     "name says what it has",
					     id, forms[i]);
	return 0;
}

static int take_forms(struct virtio_pci *vp, const char *id, const struct twx_opts *opts,
		      struct twx_error *e)
{
	const char *no_legacy = twx_opts_str(opts, "disable-legacy");

	/* As QEMU's: the legacy interface needs I/O ports, which behind root ports are scarce. */
	if (vp->express && vp->vdev->form == VIRTIO_FORM_ANY && strcmp(no_legacy, "auto") == 0)
		no_legacy = "on";
	vp->legacy = vp->vdev->form != VIRTIO_FORM_MODERN && strcmp(no_legacy, "on") != 0;
	vp->modern = !twx_opts_bool(opts, "disable-modern");
	vp->express = vp->express && vp->modern && !twx_opts_bool(opts, "x-disable-pcie");
	if (!vp->legacy && !vp->modern) {
		twx_error_set(e, EINVAL,
			      "device %s cannot work as neither modern nor legacy mode is enabled",
			      id);
		return twx_error_hint(e, "set disable-modern or disable-legacy to off");
	}
	if (twx_opts_bool(opts, "iommu_platform") && vp->legacy) {
		twx_error_set(e, EINVAL,
			      "device %s: VIRTIO_F_IOMMU_PLATFORM was supported by neither legacy "
			      "nor transitional device",
			      id);
		return twx_error_hint(e, "add disable-legacy=on");
	}
	return 0;
}

int vpci_take_forms(struct virtio_pci *vp, const char *id, const struct twx_opts *opts,
		    struct twx_error *e)
{
	static const struct {
		const char *key;
		uint64_t bit;
	} modern_features[] = {
		{ "queue_reset", VPCI_BIT(VIRTIO_F_RING_RESET) },
		{ "in_order", VPCI_BIT(VIRTIO_F_IN_ORDER) },
		{ "iommu_platform", VPCI_BIT(VIRTIO_F_ACCESS_PLATFORM) },
		{ "packed", VIRTIO_PACKED },
	};
	struct virtio_dev *vdev = vp->vdev;
	int rc = take_forms(vp, id, opts, e);

	if (rc < 0)
		return rc;
	vp->modern_offered = vdev->offered & ~(vdev->legacy_only | VPCI_BIT(VIRTIO_F_ANY_LAYOUT));
	for (size_t i = 0; i < array_size(modern_features); i++)
		if (twx_opts_bool(opts, modern_features[i].key))
			vp->modern_offered |= modern_features[i].bit & ~vdev->lacks;
	if (!vp->modern)
		vp->modern_offered = 0;
	vp->legacy_offered = (uint32_t)vdev->offered & ~VPCI_BIT(VIRTIO_F_ANY_LAYOUT);
	if (twx_opts_bool(opts, "any_layout"))
		vp->legacy_offered |= VPCI_BIT(VIRTIO_F_ANY_LAYOUT);
	if (twx_opts_bool(opts, "notify_on_empty"))
		vp->legacy_offered |= VPCI_BIT(VIRTIO_F_NOTIFY_ON_EMPTY);
	vp->legacy_offered &= ~vdev->lacks;
	if (!vp->legacy)
		vp->legacy_offered = 0;
	vp->own_offered = vdev->offered;
	vdev->offered = vp->modern_offered | vp->legacy_offered;
	if (vp->legacy)
		vp->legacy_offered |= VPCI_BIT(VPCI_F_BAD_FEATURE);
	vp->page_per_vq = twx_opts_bool(opts, "page-per-vq");
	vp->pio_notify = twx_opts_bool(opts, "modern-pio-notify");
	vp->ioeventfd = twx_opts_bool(opts, "ioeventfd");
	vp->notify_len = max(vdev->n_queues * (vp->page_per_vq ? VPCI_PAGE : 4), VPCI_PAGE);
	return 0;
}
