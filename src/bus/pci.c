/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A PCI function: configuration space, life cycle, DMA.
 *
 * Configuration space is four byte arrays of the same length: the registers, what they are after a
 * reset, which bits can be written, and which are cleared by a one. A write goes through the masks
 * byte by byte; what it means (decoding, interrupts, power) is derived from the registers
 * afterwards by pci_update(), the same way after a write, a reset and a loaded state. So there is
 * no second copy of anything that a guest sets, and no order of writes that matters.
 *
 * pci_bar.c has the BARs and the ROM, pci_irq.c INTx, MSI and MSI-X, pci_notify.c interrupts that
 * others signal, pci_state.c migration.
 *
 * DMA reaches guest memory only, never a device's registers, so that it cannot re-enter one. An
 * access outside of memory ends in a master abort, as on the bus (PCI 3.0, 6.2.3).
 *
 * PCIe endpoints have the capability of version 2 without any link control that does something,
 * function level reset (PCIe 3.0, 6.6.2), and power management with D0 and D3hot, which keeps the
 * registers (No_Soft_Reset) and switches decoding, DMA and interrupts off.
 */
#include "bus/pci.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/macros.h"
#include "bus/pci_priv.h"

#define STATUS_W1C                                                                                 \
	(PCI_STATUS_PARITY | PCI_STATUS_SIG_TARGET_ABORT | PCI_STATUS_REC_TARGET_ABORT |           \
	 PCI_STATUS_REC_MASTER_ABORT | PCI_STATUS_SIG_SYSTEM_ERROR | PCI_STATUS_DETECTED_PARITY)

#define EXP_LEN 0x3c /* of the capability's version 2 */

static void header_init(struct pci_dev *dev)
{
	const struct pci_info *info = &dev->info;
	uint16_t command = PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR |
			   PCI_COMMAND_INTX_DISABLE;
	uint8_t *c = dev->initial;

	pci_put16(c + PCI_VENDOR_ID, info->vendor);
	pci_put16(c + PCI_DEVICE_ID, info->device);
	pci_put32(c + PCI_CLASS_REVISION, info->class_code << 8 | info->revision);
	pci_put16(c + PCI_SUBSYSTEM_VENDOR_ID, info->subsys_vendor);
	pci_put16(c + PCI_SUBSYSTEM_ID, info->subsys);
	c[PCI_CACHE_LINE_SIZE] = info->cache_line;
	c[PCI_INTERRUPT_PIN] = info->int_pin;
	dev->wmask[PCI_CACHE_LINE_SIZE] = 0xff;
	dev->wmask[PCI_INTERRUPT_LINE] = 0xff;
	pci_put16(dev->w1c + PCI_STATUS, STATUS_W1C);
	pci_put16(dev->live + PCI_STATUS, PCI_STATUS_INTERRUPT);
	if (!info->express) {
		command |= PCI_COMMAND_INVALIDATE;
		dev->wmask[PCI_LATENCY_TIMER] = 0xff;
	}
	for (unsigned int i = 0; i < PCI_N_BARS; i++) {
		if (info->bars[i].kind == PCI_BAR_IO)
			command |= PCI_COMMAND_IO;
		else if (info->bars[i].kind != PCI_BAR_NONE)
			command |= PCI_COMMAND_MEMORY;
	}
	pci_put16(dev->wmask + PCI_COMMAND, command);
}

uint8_t pci_add_capability(struct pci_dev *dev, uint8_t id, uint8_t len, const void *body,
			   const void *wmask)
{
	uint8_t off = (uint8_t)dev->cap_end;
	uint8_t *c = dev->initial;

	assert(len >= 2 && off >= 0x40 && off + len <= PCI_CFG_SPACE_SIZE);
	c[off] = id;
	c[off + 1] = dev->last_cap;
	if (body)
		memcpy(c + off + 2, body, len - 2u);
	if (wmask)
		memcpy(dev->wmask + off + 2, wmask, len - 2u);
	c[PCI_CAPABILITY_LIST] = off;
	c[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	dev->last_cap = off;
	dev->cap_end = (uint16_t)((off + len + 3u) & ~3u);
	/* Devices add theirs right after pci_dev_init(), before anybody looks. */
	memcpy(dev->config, c, sizeof(dev->config));
	return off;
}

static void express_init(struct pci_dev *dev)
{
	const uint16_t errors =
		PCI_EXP_DEVSTA_CED | PCI_EXP_DEVSTA_NFED | PCI_EXP_DEVSTA_FED | PCI_EXP_DEVSTA_URD;
	uint8_t body[EXP_LEN] = { 0 }, mask[EXP_LEN] = { 0 };
	uint8_t off;

	pci_put16(body + PCI_PM_PMC, 3 | PCI_PM_CAP_DSI); /* version 1.2 */
	pci_put16(body + PCI_PM_CTRL, PCI_PM_CTRL_NO_SOFT_RESET);
	pci_put16(mask + PCI_PM_CTRL, PCI_PM_CTRL_STATE_MASK);
	dev->pm_cap = pci_add_capability(dev, PCI_CAP_ID_PM, PCI_PM_SIZEOF, body + 2, mask + 2);

	memset(body, 0, sizeof(body));
	memset(mask, 0, sizeof(mask));
	pci_put16(body + PCI_EXP_FLAGS, 2 | PCI_EXP_TYPE_ENDPOINT << 4);
	pci_put32(body + PCI_EXP_DEVCAP, PCI_EXP_DEVCAP_RBER | PCI_EXP_DEVCAP_FLR);
	pci_put16(body + PCI_EXP_DEVCTL,
		  PCI_EXP_DEVCTL_RELAX_EN | PCI_EXP_DEVCTL_NOSNOOP_EN | PCI_EXP_DEVCTL_READRQ_512B);
	pci_put16(mask + PCI_EXP_DEVCTL,
		  (uint16_t) ~(PCI_EXP_DEVCTL_BCR_FLR | PCI_EXP_DEVCTL_PHANTOM |
			       PCI_EXP_DEVCTL_EXT_TAG));
	pci_put32(body + PCI_EXP_LNKCAP, PCI_EXP_LNKCAP_SLS_2_5GB | 1 << 4);
	pci_put16(mask + PCI_EXP_LNKCTL,
		  PCI_EXP_LNKCTL_ASPMC | PCI_EXP_LNKCTL_CCC | PCI_EXP_LNKCTL_ES);
	pci_put16(body + PCI_EXP_LNKSTA, PCI_EXP_LNKSTA_CLS_2_5GB | 1 << 4);
	off = pci_add_capability(dev, PCI_CAP_ID_EXP, EXP_LEN, body + 2, mask + 2);
	pci_put16(dev->w1c + off + PCI_EXP_DEVSTA, errors);
	dev->exp_cap = off;
}

int pci_dev_init(struct pci_dev *dev, struct twx_nic *nic, const struct pci_dev_ops *ops,
		 const struct pci_info *info, struct twx_error *e)
{
	*dev = (struct pci_dev){
		.ops = ops,
		.nic = nic,
		.loop = nic ? nic->loop : NULL,
		.info = *info,
		.running = true,
		.config_size = info->express ? PCI_CFG_SPACE_EXP_SIZE : PCI_CFG_SPACE_SIZE,
		.cap_end = 0x40,
	};
	dev->no_mem = calloc(1, sizeof(*dev->no_mem));
	dev->mem = dev->no_mem;
	header_init(dev);
	pci_bars_init(dev);
	if (info->express)
		express_init(dev);
	if (!dev->no_mem || pci_irq_init(dev) < 0) {
		pci_dev_fini(dev);
		return twx_error_set(e, ENOMEM, "device %s: out of memory", nic ? nic->id : "");
	}
	pci_state_init(dev);
	memcpy(dev->config, dev->initial, sizeof(dev->config));
	pci_irq_reset(dev);
	return 0;
}

void pci_dev_fini(struct pci_dev *dev)
{
	pci_irq_fini(dev);
	free(dev->rom);
	dev->rom = NULL;
	dev->rom_size = 0;
	free(dev->no_mem);
	dev->no_mem = dev->mem = NULL;
}

/* What follows from the registers. */

static unsigned int power_state(const struct pci_dev *dev)
{
	return dev->pm_cap ? dev->config[dev->pm_cap + PCI_PM_CTRL] & PCI_PM_CTRL_STATE_MASK : 0;
}

bool pci_decodes(const struct pci_dev *dev, enum pci_bar_kind kind)
{
	uint16_t need = kind == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;

	return (pci_command(dev) & need) && power_state(dev) == 0;
}

void pci_update(struct pci_dev *dev)
{
	dev->dma_on =
		(pci_command(dev) & PCI_COMMAND_MASTER) && dev->running && power_state(dev) == 0;
	pci_irq_update(dev);
}

/* Configuration space. */

static bool overlaps(uint32_t off, uint32_t len, uint32_t at, uint32_t n)
{
	return off < at + n && at < off + len;
}

static bool in_config(const struct pci_dev *dev, uint32_t off, uint32_t len)
{
	return off <= dev->config_size && len <= dev->config_size - off;
}

int pci_config_read(struct pci_dev *dev, uint32_t off, void *buf, uint32_t len)
{
	if (!in_config(dev, off, len))
		return -EINVAL;
	if (off + len > PCI_STD_HEADER_SIZEOF && dev->ops->config_reads)
		dev->ops->config_reads(dev, off, len);
	memcpy(buf, dev->config + off, len);
	return 0;
}

/* A state that the function does not have (D1, D2) is not entered (PCI PM 1.2, 3.2.4). */
static void power_written(struct pci_dev *dev, uint8_t before)
{
	uint8_t *ctrl = dev->config + dev->pm_cap + PCI_PM_CTRL;
	uint8_t now = *ctrl & PCI_PM_CTRL_STATE_MASK;

	if (now == 1 || now == 2)
		*ctrl = (uint8_t)((*ctrl & ~PCI_PM_CTRL_STATE_MASK) |
				  (before & PCI_PM_CTRL_STATE_MASK));
}

/* Function level reset: the bit reads as zero. */
static bool flr_asked(const struct pci_dev *dev, uint32_t off, const uint8_t *p, uint32_t len)
{
	uint32_t at = dev->exp_cap + PCI_EXP_DEVCTL + 1u;

	return dev->exp_cap && off <= at && at - off < len &&
	       (p[at - off] & PCI_EXP_DEVCTL_BCR_FLR >> 8);
}

static bool bars_differ(const uint8_t *old, const uint8_t *now)
{
	return memcmp(old + PCI_COMMAND, now + PCI_COMMAND, 2) != 0 ||
	       memcmp(old + PCI_BASE_ADDRESS_0, now + PCI_BASE_ADDRESS_0, 4 * PCI_N_BARS) != 0 ||
	       memcmp(old + PCI_ROM_ADDRESS, now + PCI_ROM_ADDRESS, 4) != 0;
}

static void tell_bars(struct pci_dev *dev, const uint8_t *old)
{
	if (dev->host_ops && dev->host_ops->bars_changed && bars_differ(old, dev->config))
		dev->host_ops->bars_changed(dev);
}

int pci_config_write(struct pci_dev *dev, uint32_t off, const void *buf, uint32_t len)
{
	uint8_t header[PCI_STD_HEADER_SIZEOF], power = 0;
	const uint8_t *p = buf;

	if (!in_config(dev, off, len))
		return -EINVAL;
	if (flr_asked(dev, off, p, len)) {
		pci_reset(dev);
		return 0;
	}
	memcpy(header, dev->config, sizeof(header));
	if (dev->pm_cap)
		power = dev->config[dev->pm_cap + PCI_PM_CTRL];
	for (uint32_t i = 0; i < len; i++) {
		uint8_t *reg = dev->config + off + i, w = dev->wmask[off + i];

		*reg = (uint8_t)((*reg & ~w) | (p[i] & w));
		*reg &= (uint8_t) ~(p[i] & dev->w1c[off + i]);
	}
	if (dev->pm_cap)
		power_written(dev, power);
	pci_update(dev);
	tell_bars(dev, header);
	if (dev->ops->config_written &&
	    (off + len > PCI_STD_HEADER_SIZEOF || overlaps(off, len, PCI_COMMAND, 2)))
		dev->ops->config_written(dev, off, len);
	return 0;
}

/* Life cycle. */

void pci_reset(struct pci_dev *dev)
{
	uint8_t header[PCI_STD_HEADER_SIZEOF];

	memcpy(header, dev->config, sizeof(header));
	memcpy(dev->config, dev->initial, sizeof(dev->config));
	pci_irq_reset(dev);
	pci_update(dev);
	dev->ops->reset(dev);
	tell_bars(dev, header);
}

void pci_mem_changing(struct pci_dev *dev)
{
	if (dev->ops->mem_changing)
		dev->ops->mem_changing(dev);
}

void pci_mem_changed(struct pci_dev *dev)
{
	if (dev->ops->mem_changed)
		dev->ops->mem_changed(dev);
}

void pci_attach(struct pci_dev *dev, const struct pci_host_ops *ops, void *host,
		struct mem_map *mem)
{
	pci_mem_changing(dev);
	dev->host_ops = ops;
	dev->host = host;
	dev->mem = mem;
	dev->intx_level = false; /* it has not been told otherwise */
	pci_update(dev);
	pci_mem_changed(dev);
}

void pci_detach(struct pci_dev *dev)
{
	pci_signals_withdraw(dev);
	dev->host_ops = NULL;
	dev->host = NULL;
	pci_reset(dev);
	pci_run(dev, true);
	pci_mem_changing(dev);
	dev->mem = dev->no_mem;
	dev->host_masks = false;
	pci_update(dev);
	pci_mem_changed(dev);
}

void pci_run(struct pci_dev *dev, bool running)
{
	if (dev->running == running)
		return;
	/* The device hands back what it holds while it still may write. */
	if (!running && dev->ops->run)
		dev->ops->run(dev, false);
	dev->running = running;
	pci_update(dev);
	if (running && dev->ops->run)
		dev->ops->run(dev, true);
}

/* DMA. */

static int dma_slow(struct pci_dev *dev, gpa addr, void *buf, uint32_t len, bool write)
{
	struct iovec iov[MEM_MAX_REGIONS];
	int n, rc;

	if (!dev->dma_on)
		return -EPERM;
	n = mem_iov(dev->mem, addr, len, iov, MEM_MAX_REGIONS);
	if (n < 0) {
		rc = -EFAULT;
		if (dev->host_ops && dev->host_ops->dma)
			rc = dev->host_ops->dma(dev, addr.a, buf, len, write);
		if (rc < 0)
			dev->config[PCI_STATUS + 1] |= PCI_STATUS_REC_MASTER_ABORT >> 8;
		return rc < 0 ? -EFAULT : 0;
	}
	for (int i = 0; i < n; i++) {
		if (write) {
			memcpy(iov[i].iov_base, buf, iov[i].iov_len);
			mem_dirty(dev->mem, iov[i].iov_base, iov[i].iov_len);
		} else {
			memcpy(buf, iov[i].iov_base, iov[i].iov_len);
		}
		buf = (uint8_t *)buf + iov[i].iov_len;
	}
	return 0;
}

int pci_dma_read_slow(struct pci_dev *dev, gpa addr, void *buf, uint32_t len)
{
	return dma_slow(dev, addr, buf, len, false);
}

int pci_dma_write_slow(struct pci_dev *dev, gpa addr, const void *buf, uint32_t len)
{
	return dma_slow(dev, addr, (void *)(uintptr_t)buf, len, true);
}

int pci_dma_iov(struct pci_dev *dev, gpa addr, uint64_t len, struct iovec *iov, unsigned int max)
{
	return dev->dma_on ? mem_iov(dev->mem, addr, len, iov, max) : -EPERM;
}
