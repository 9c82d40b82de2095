/* SPDX-License-Identifier: BSD-3-Clause */
/* The calls between the files of the PCI function. */
#ifndef BUS_PCI_PRIV_H
#define BUS_PCI_PRIV_H

#include "base/endian.h"
#include "bus/pci.h"

static inline uint16_t pci_get16(const uint8_t *p)
{
	le16 v;

	memcpy(&v, p, sizeof(v));
	return le16_get(v);
}

static inline uint32_t pci_get32(const uint8_t *p)
{
	le32 v;

	memcpy(&v, p, sizeof(v));
	return le32_get(v);
}

static inline void pci_put16(uint8_t *p, uint16_t v)
{
	le16 le = le16_make(v);

	memcpy(p, &le, sizeof(le));
}

static inline void pci_put32(uint8_t *p, uint32_t v)
{
	le32 le = le32_make(v);

	memcpy(p, &le, sizeof(le));
}

static inline uint16_t pci_command(const struct pci_dev *dev)
{
	return pci_get16(dev->config + PCI_COMMAND);
}

/* pci.c: what follows from the command register and the power state. */
void pci_update(struct pci_dev *dev);

/* pci_bar.c */
void pci_bars_init(struct pci_dev *dev);
/* Whether accesses to memory or I/O space reach the function. */
bool pci_decodes(const struct pci_dev *dev, enum pci_bar_kind kind);

/* pci_irq.c. Table and PBA, and their length for whoever sees a copy of them alone. */
struct pci_msix {
	uint32_t n, n_words;
	struct pci_msix_entry table[]; /* n, and behind them n_words of pending bits */
};

static inline struct pci_msix *pci_msix_of(const struct pci_dev *dev)
{
	return (struct pci_msix *)((char *)dev->msix - offsetof(struct pci_msix, table));
}

int pci_irq_init(struct pci_dev *dev); /* capabilities and tables of MSI and MSI-X; -ENOMEM */
void pci_irq_fini(struct pci_dev *dev);
void pci_irq_reset(struct pci_dev *dev);
/* What is in use, the line's level, and what may no longer be pending. */
void pci_irq_update(struct pci_dev *dev);
/*
 * Whether @off of the MSI-X BAR is the table's or the PBA's; how many of @len bytes from there on
 * are the same owner's in *@here.
 */
bool pci_msix_owns(const struct pci_dev *dev, uint64_t off, uint32_t len, uint32_t *here);
void pci_msix_read(struct pci_dev *dev, uint64_t off, uint8_t *buf, uint32_t len);
void pci_msix_write(struct pci_dev *dev, uint64_t off, const uint8_t *buf, uint32_t len);
/* Whether a notification of the vector would leave at once. */
bool pci_msix_open(const struct pci_dev *dev, unsigned int v);

/* pci_notify.c: eventfds of pci_notify_fd(), after a change of what they depend on; before the host
 * goes; at the end. */
void pci_signals_update(struct pci_dev *dev);
void pci_signals_withdraw(struct pci_dev *dev);
void pci_signals_fini(struct pci_dev *dev);

/* pci_state.c */
void pci_state_init(struct pci_dev *dev);

#endif
