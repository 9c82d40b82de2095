/* SPDX-License-Identifier: BSD-3-Clause */
/* What a PCI function saves, and what it believes of what it is given back. */
#include <errno.h>

#include "bus/pci_priv.h"

static const struct state_field pci_fields[] = {
	STATE_U8(struct pci_dev, config),
	STATE_U8(struct pci_dev, intx_wanted),
	STATE_U32(struct pci_dev, msi_pending),
	{ 0 },
};

/* Bits that neither a guest nor the function can change are as they were made. */
static int pci_check(const void *copy, struct twx_error *e)
{
	const struct pci_dev *dev = copy;
	uint8_t wanted, power;

	for (uint32_t i = 0; i < PCI_CONFIG_MAX; i++) {
		uint8_t may = dev->wmask[i] | dev->w1c[i] | dev->live[i];

		if ((dev->config[i] ^ dev->initial[i]) & ~may)
			return twx_error_set(
				e, EINVAL,
				"configuration byte %#x is %#x, and cannot be in this function", i,
				dev->config[i]);
	}
	/* A bool that holds anything else must not even be looked at. */
	memcpy(&wanted, &dev->intx_wanted, 1);
	if (wanted > (dev->info.int_pin != 0))
		return twx_error_set(e, EINVAL, "interrupt level %u", wanted);
	if (dev->msi_pending & ~(uint32_t)((1ull << dev->info.n_msi) - 1))
		return twx_error_set(e, EINVAL, "pending MSI of vectors that there are not");
	if (!dev->pm_cap)
		return 0;
	power = dev->config[dev->pm_cap + PCI_PM_CTRL] & PCI_PM_CTRL_STATE_MASK;
	if (power == 1 || power == 2)
		return twx_error_set(e, EINVAL, "power state D%u, which there is not", power);
	return 0;
}

static void pci_loaded(void *obj)
{
	struct pci_dev *dev = obj;

	pci_update(dev);
	if (dev->host_ops && dev->host_ops->bars_changed)
		dev->host_ops->bars_changed(dev);
}

static const struct state_section pci_sections[] = {
	{ .name = "pci",
	  .version = 1,
	  .fields = pci_fields,
	  .check = pci_check,
	  .after_load = pci_loaded },
	{ 0 },
};

/* Bits that are reserved, and vectors that there are not, can be neither set nor pending. */
static int msix_check(const void *copy, struct twx_error *e)
{
	const struct pci_msix *m = copy;
	const uint64_t *pba = (const uint64_t *)(const void *)(m->table + m->n);

	for (uint32_t i = 0; i < m->n; i++)
		if ((m->table[i].ctrl & ~(uint32_t)PCI_MSIX_ENTRY_CTRL_MASKBIT) ||
		    (m->table[i].addr_lo & 3))
			return twx_error_set(e, EINVAL, "reserved bits in entry %u", i);
	if (m->n % 64 && pba[m->n_words - 1] >> (m->n % 64))
		return twx_error_set(e, EINVAL, "pending bits of vectors that there are not");
	return 0;
}

void pci_state_init(struct pci_dev *dev)
{
	struct pci_msix *m;
	uint32_t table;

	if (!dev->info.n_msix)
		return;
	m = pci_msix_of(dev);
	table = m->n * (uint32_t)sizeof(*m->table);
	dev->msix_fields[0] =
		(struct state_field){ "table", offsetof(struct pci_msix, table), 4, table / 4 };
	dev->msix_fields[1] =
		(struct state_field){ "pending", offsetof(struct pci_msix, table) + table, 8,
				      m->n_words };
	dev->msix_sections[0] = (struct state_section){
		.name = "pci/msix",
		.version = 1,
		.fields = dev->msix_fields,
		.check = msix_check,
	};
}

static unsigned int descs_of(struct pci_dev *dev, struct state_desc d[4])
{
	unsigned int n = 0;

	d[n++] = (struct state_desc){ pci_sections, dev, sizeof(*dev) };
	if (dev->info.n_msix) {
		struct pci_msix *m = pci_msix_of(dev);
		size_t size = sizeof(*m) + m->n * sizeof(*m->table) + m->n_words * 8u;

		d[n++] = (struct state_desc){ dev->msix_sections, m, size };
	}
	/* The inner device is up before the one around it looks. */
	if (dev->inner.sections)
		d[n++] = dev->inner;
	if (dev->state.sections)
		d[n++] = dev->state;
	return n;
}

int pci_save(struct pci_dev *dev, uint8_t **out, size_t *len)
{
	struct state_desc descs[4];

	return state_save(descs, descs_of(dev, descs), out, len);
}

int pci_load(struct pci_dev *dev, const uint8_t *data, size_t len, struct twx_error *e)
{
	struct state_desc descs[4];
	int rc;

	/* What the device holds of memory belongs to where it stands now. */
	pci_mem_changing(dev);
	rc = state_load(descs, descs_of(dev, descs), data, len, e);
	pci_mem_changed(dev);
	return rc;
}
