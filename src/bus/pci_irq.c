/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts of a PCI function: the INTx line, MSI and MSI-X (PCI 3.0, 6.2.4, 6.8).
 *
 * What is in use follows from the enable bits: MSI-X before MSI before INTx; or the host says so,
 * where the VMM keeps table and masks itself (dev->host_masks). The line goes to the host on
 * changes only. A message that cannot leave yet has its pending bit set, and pci_irq_update(),
 * which runs after every change that could matter, sends what may leave now.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/macros.h"
#include "bus/pci_priv.h"

#define ENTRY_SIZE ((uint32_t)sizeof(struct pci_msix_entry))

static uint32_t pba_words(const struct pci_dev *dev)
{
	return (dev->info.n_msix + 63u) / 64;
}

static void msi_init(struct pci_dev *dev)
{
	const struct pci_info *info = &dev->info;
	bool wide = info->msi_flags & PCI_MSI_FLAGS_64BIT;
	bool maskable = info->msi_flags & PCI_MSI_FLAGS_MASKBIT;
	uint8_t body[PCI_MSI_PENDING_64 + 4] = { 0 }, mask[PCI_MSI_PENDING_64 + 4] = { 0 }, off;
	uint32_t all = (uint32_t)((1ull << info->n_msi) - 1);
	unsigned int log2 = (unsigned int)__builtin_ctz(info->n_msi);
	uint8_t data = wide ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32;
	uint8_t masks = wide ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32;

	assert(info->n_msi <= 32 && (info->n_msi & (info->n_msi - 1)) == 0);
	pci_put16(body + PCI_MSI_FLAGS, (uint16_t)(log2 << 1 | (wide ? PCI_MSI_FLAGS_64BIT : 0) |
						   (maskable ? PCI_MSI_FLAGS_MASKBIT : 0)));
	pci_put16(mask + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE);
	pci_put32(mask + PCI_MSI_ADDRESS_LO, ~3u);
	if (wide)
		pci_put32(mask + PCI_MSI_ADDRESS_HI, ~0u);
	pci_put16(mask + data, 0xffff);
	if (maskable)
		pci_put32(mask + masks, all);
	off = pci_add_capability(dev, PCI_CAP_ID_MSI, maskable ? masks + 8 : data + 2, body + 2,
				 mask + 2);
	if (maskable)
		pci_put32(dev->live + off + masks + 4, all);
	dev->msi_cap = off;
}

static int msix_init(struct pci_dev *dev)
{
	const struct pci_info *info = &dev->info;
	uint8_t body[PCI_CAP_MSIX_SIZEOF] = { 0 }, mask[PCI_CAP_MSIX_SIZEOF] = { 0 };
	uint64_t room = pci_bar_size(dev, info->msix_bar);
	struct pci_msix *m;

	assert(info->n_msix <= PCI_MSIX_MAX && info->msix_bar < PCI_N_BARS);
	assert(info->msix_table_off % 8 == 0 && info->msix_pba_off % 8 == 0);
	assert(info->msix_table_off + ENTRY_SIZE * info->n_msix <= room);
	assert(info->msix_pba_off + 8u * pba_words(dev) <= room);
	assert(info->msix_table_off + ENTRY_SIZE * info->n_msix <= info->msix_pba_off ||
	       info->msix_pba_off + 8u * pba_words(dev) <= info->msix_table_off);
	m = calloc(1, sizeof(*m) + ENTRY_SIZE * info->n_msix + 8u * pba_words(dev));
	if (!m)
		return -ENOMEM;
	m->n = info->n_msix;
	m->n_words = pba_words(dev);
	dev->msix = m->table;
	dev->msix_pba = (uint64_t *)(void *)(dev->msix + info->n_msix);
	pci_put16(body + PCI_MSIX_FLAGS, (uint16_t)(info->n_msix - 1));
	pci_put32(body + PCI_MSIX_TABLE, info->msix_table_off | info->msix_bar);
	pci_put32(body + PCI_MSIX_PBA, info->msix_pba_off | info->msix_bar);
	pci_put16(mask + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	dev->msix_cap =
		pci_add_capability(dev, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF, body + 2, mask + 2);
	return 0;
}

int pci_irq_init(struct pci_dev *dev)
{
	if (dev->info.n_msi)
		msi_init(dev);
	return dev->info.n_msix ? msix_init(dev) : 0;
}

void pci_irq_fini(struct pci_dev *dev)
{
	pci_signals_fini(dev);
	if (dev->msix)
		free(pci_msix_of(dev));
	dev->msix = NULL;
	dev->msix_pba = NULL;
	dev->info.n_msix = 0;
}

void pci_irq_reset(struct pci_dev *dev)
{
	dev->intx_wanted = false;
	dev->msi_pending = 0;
	for (uint32_t i = 0; i < dev->info.n_msix; i++)
		dev->msix[i] = (struct pci_msix_entry){ .ctrl = PCI_MSIX_ENTRY_CTRL_MASKBIT };
	for (uint32_t i = 0; i < pba_words(dev); i++)
		dev->msix_pba[i] = 0;
}

static uint16_t msi_flags(const struct pci_dev *dev)
{
	return dev->msi_cap ? pci_get16(dev->config + dev->msi_cap + PCI_MSI_FLAGS) : 0;
}

static uint16_t msix_flags(const struct pci_dev *dev)
{
	return dev->msix_cap ? pci_get16(dev->config + dev->msix_cap + PCI_MSIX_FLAGS) : 0;
}

bool pci_msix_enabled(const struct pci_dev *dev)
{
	return msix_flags(dev) & PCI_MSIX_FLAGS_ENABLE;
}

/* The line. */

static void intx_update(struct pci_dev *dev)
{
	bool level = dev->intx_wanted && dev->irq_mode == PCI_IRQ_INTX &&
		     !(pci_command(dev) & PCI_COMMAND_INTX_DISABLE);

	/* The status bit shows the state whether or not the line may (PCI 3.0, 6.2.3). */
	dev->config[PCI_STATUS] = (uint8_t)((dev->config[PCI_STATUS] & ~PCI_STATUS_INTERRUPT) |
					    (dev->intx_wanted ? PCI_STATUS_INTERRUPT : 0));
	if (level == dev->intx_level)
		return;
	dev->intx_level = level;
	if (dev->host_ops)
		dev->host_ops->intx(dev, level);
}

void pci_set_intx(struct pci_dev *dev, bool level)
{
	if (dev->intx_wanted == level || !dev->info.int_pin)
		return;
	dev->intx_wanted = level;
	intx_update(dev);
}

/* Messages. */

/* A message is a write by the function as bus master, unless the host only needs to be told. */
static bool may_send(const struct pci_dev *dev)
{
	return dev->host_masks ? dev->running : dev->dma_on;
}

static bool msi_masked(const struct pci_dev *dev, unsigned int v)
{
	const uint8_t *cap = dev->config + dev->msi_cap;
	uint16_t flags = msi_flags(dev);

	if (dev->host_masks || !(flags & PCI_MSI_FLAGS_MASKBIT))
		return false;
	return pci_get32(cap + (flags & PCI_MSI_FLAGS_64BIT ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32)) >>
		       v &
	       1;
}

static void msi_show_pending(struct pci_dev *dev)
{
	uint8_t *cap = dev->config + dev->msi_cap;
	uint16_t flags = msi_flags(dev);

	if (flags & PCI_MSI_FLAGS_MASKBIT)
		pci_put32(cap + (flags & PCI_MSI_FLAGS_64BIT ? PCI_MSI_PENDING_64
							     : PCI_MSI_PENDING_32),
			  dev->msi_pending);
}

/* The guest may grant fewer vectors than asked for; they then stand for several (6.8.1.3). */
static unsigned int msi_granted(const struct pci_dev *dev)
{
	unsigned int log2 = (msi_flags(dev) & PCI_MSI_FLAGS_QSIZE) >> 4;

	return min(1u << log2, (unsigned int)dev->info.n_msi);
}

static void msi_send(struct pci_dev *dev, unsigned int v)
{
	const uint8_t *cap = dev->config + dev->msi_cap;
	uint64_t addr = pci_get32(cap + PCI_MSI_ADDRESS_LO);
	uint32_t data;

	if (msi_flags(dev) & PCI_MSI_FLAGS_64BIT) {
		addr |= (uint64_t)pci_get32(cap + PCI_MSI_ADDRESS_HI) << 32;
		data = pci_get16(cap + PCI_MSI_DATA_64);
	} else {
		data = pci_get16(cap + PCI_MSI_DATA_32);
	}
	data = (data & ~(msi_granted(dev) - 1)) | v;
	dev->host_ops->message(dev, PCI_IRQ_MSI, v, addr, data);
}

static void msi_notify(struct pci_dev *dev, unsigned int v)
{
	if (v >= dev->info.n_msi)
		return;
	/* A host that masks by itself knows what was granted. */
	if (!dev->host_masks)
		v &= msi_granted(dev) - 1;
	if (may_send(dev) && !msi_masked(dev, v)) {
		msi_send(dev, v);
		return;
	}
	dev->msi_pending |= 1u << v;
	msi_show_pending(dev);
}

static void msi_flush(struct pci_dev *dev)
{
	uint32_t due = dev->msi_pending;

	for (unsigned int v = 0; v < dev->info.n_msi; v++) {
		if (!(due >> v & 1) || msi_masked(dev, v))
			continue;
		dev->msi_pending &= ~(1u << v);
		msi_send(dev, v);
	}
	msi_show_pending(dev);
}

static bool msix_masked(const struct pci_dev *dev, unsigned int v)
{
	return !dev->host_masks && ((msix_flags(dev) & PCI_MSIX_FLAGS_MASKALL) ||
				    (dev->msix[v].ctrl & PCI_MSIX_ENTRY_CTRL_MASKBIT));
}

bool pci_msix_open(const struct pci_dev *dev, unsigned int v)
{
	return dev->irq_mode == PCI_IRQ_MSIX && may_send(dev) && !msix_masked(dev, v);
}

static void msix_send(struct pci_dev *dev, unsigned int v)
{
	const struct pci_msix_entry *entry = &dev->msix[v];

	dev->host_ops->message(dev, PCI_IRQ_MSIX, v,
			       (uint64_t)entry->addr_hi << 32 | entry->addr_lo, entry->data);
}

static void msix_notify(struct pci_dev *dev, unsigned int v)
{
	if (v >= dev->info.n_msix)
		return;
	if (may_send(dev) && !msix_masked(dev, v))
		msix_send(dev, v);
	else
		dev->msix_pba[v / 64] |= 1ull << (v % 64);
}

static void msix_flush(struct pci_dev *dev)
{
	for (uint32_t w = 0; w < pba_words(dev); w++) {
		for (uint64_t due = dev->msix_pba[w]; due; due &= due - 1) {
			unsigned int bit = (unsigned int)__builtin_ctzll(due);

			if (msix_masked(dev, w * 64 + bit))
				continue;
			dev->msix_pba[w] &= ~(1ull << bit);
			msix_send(dev, w * 64 + bit);
		}
	}
}

void pci_notify(struct pci_dev *dev, unsigned int vector)
{
	if (!dev->host_ops)
		return;
	if (dev->irq_mode == PCI_IRQ_MSIX)
		msix_notify(dev, vector);
	else if (dev->irq_mode == PCI_IRQ_MSI)
		msi_notify(dev, vector);
}

void pci_irq_update(struct pci_dev *dev)
{
	if (!dev->host_masks) {
		dev->irq_mode = pci_msix_enabled(dev)			? PCI_IRQ_MSIX
				: msi_flags(dev) & PCI_MSI_FLAGS_ENABLE ? PCI_IRQ_MSI
									: PCI_IRQ_INTX;
	}
	intx_update(dev);
	pci_signals_update(dev);
	if (!dev->host_ops || !may_send(dev))
		return;
	if (dev->irq_mode == PCI_IRQ_MSI && dev->info.n_msi)
		msi_flush(dev);
	else if (dev->irq_mode == PCI_IRQ_MSIX)
		msix_flush(dev);
}

void pci_irq_mode(struct pci_dev *dev, enum pci_irq mode)
{
	if (!dev->host_masks)
		return;
	dev->irq_mode = mode;
	pci_irq_update(dev);
}

/* Table and PBA in their BAR. */

static bool owned_by(uint64_t start, uint64_t size, uint64_t off, uint32_t len, uint32_t *here)
{
	if (off < start) {
		*here = (uint32_t)min((uint64_t)*here, start - off);
		return false;
	}
	if (off - start >= size)
		return false;
	*here = (uint32_t)min((uint64_t)len, size - (off - start));
	return true;
}

bool pci_msix_owns(const struct pci_dev *dev, uint64_t off, uint32_t len, uint32_t *here)
{
	*here = len;
	return dev->info.n_msix &&
	       (owned_by(dev->info.msix_table_off, (uint64_t)ENTRY_SIZE * dev->info.n_msix, off,
			 len, here) ||
		owned_by(dev->info.msix_pba_off, 8ull * pba_words(dev), off, len, here));
}

/* The 32-bit word of table or PBA at @off, which is one's or the other's. */
static uint32_t msix_word(const struct pci_dev *dev, uint64_t off)
{
	const struct pci_msix_entry *entry;
	uint64_t at = off - dev->info.msix_table_off;

	if (off < dev->info.msix_table_off || at >= (uint64_t)ENTRY_SIZE * dev->info.n_msix) {
		at = off - dev->info.msix_pba_off;
		return (uint32_t)(dev->msix_pba[at / 8] >> (at % 8 * 8));
	}
	entry = &dev->msix[at / ENTRY_SIZE];
	switch (at % ENTRY_SIZE) {
	case PCI_MSIX_ENTRY_LOWER_ADDR:
		return entry->addr_lo;
	case PCI_MSIX_ENTRY_UPPER_ADDR:
		return entry->addr_hi;
	case PCI_MSIX_ENTRY_DATA:
		return entry->data;
	default:
		return entry->ctrl;
	}
}

static void msix_put_word(struct pci_dev *dev, uint64_t off, uint32_t v)
{
	struct pci_msix_entry *entry;
	uint64_t at = off - dev->info.msix_table_off;

	if (off < dev->info.msix_table_off || at >= (uint64_t)ENTRY_SIZE * dev->info.n_msix)
		return; /* the PBA is read-only */
	entry = &dev->msix[at / ENTRY_SIZE];
	switch (at % ENTRY_SIZE) {
	case PCI_MSIX_ENTRY_LOWER_ADDR:
		entry->addr_lo = v & ~3u;
		break;
	case PCI_MSIX_ENTRY_UPPER_ADDR:
		entry->addr_hi = v;
		break;
	case PCI_MSIX_ENTRY_DATA:
		entry->data = v;
		break;
	default:
		entry->ctrl = v & PCI_MSIX_ENTRY_CTRL_MASKBIT;
	}
}

void pci_msix_read(struct pci_dev *dev, uint64_t off, uint8_t *buf, uint32_t len)
{
	uint32_t n;

	for (; len > 0; off += n, buf += n, len -= n) {
		uint32_t skip = (uint32_t)(off % 4);
		le32 v = le32_make(msix_word(dev, off - skip));

		n = min(len, 4 - skip);
		memcpy(buf, (const uint8_t *)&v + skip, n);
	}
}

void pci_msix_write(struct pci_dev *dev, uint64_t off, const uint8_t *buf, uint32_t len)
{
	uint32_t n;

	for (; len > 0; off += n, buf += n, len -= n) {
		uint32_t skip = (uint32_t)(off % 4);
		le32 v = le32_make(msix_word(dev, off - skip));

		n = min(len, 4 - skip);
		memcpy((uint8_t *)&v + skip, buf, n);
		msix_put_word(dev, off - skip, le32_get(v));
	}
	pci_irq_update(dev);
}
