/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile guest against a PCI function: any access to configuration space and BARs, between
 * interrupts, DMA, stops, resets, changes of the host and migrations.
 *
 * Byte 0 picks the function; then one byte an operation and its arguments. The device behind it
 * asserts that every access is one that it takes, the host that it hears of changes only.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/macros.h"
#include "bus/pci.h"
#include "fuzz.h"

#define RAM 0x10000u
#define RAM_SIZE 0x2000u

struct run {
	struct pci_dev pci;
	struct mem_map *mem;
	bool level, attached;
	unsigned int n_access;
	const uint8_t *p, *end;
};

static uint64_t dev_read(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int size)
{
	const struct pci_bar *b = &dev->info.bars[bar];

	assert(size >= b->min && size <= b->max && off % size == 0 && off < b->size);
	container_of(dev, struct run, pci)->n_access++;
	return off * 0x0101010101010101ull;
}

static void dev_write(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int size,
		      uint64_t value, uint64_t mask)
{
	dev_read(dev, bar, off, size);
	assert(mask != 0 && (value & ~mask) == 0);
	assert(size == 8 || mask >> (8 * size) == 0);
	/* A device whose register interrupts, as most do. */
	if (off == 0)
		pci_set_intx(dev, value & 1);
	else if (off == 8)
		pci_notify(dev, (unsigned int)value);
}

static void dev_config_written(struct pci_dev *dev, uint32_t off, uint32_t len)
{
	assert(off <= dev->config_size && len <= dev->config_size - off);
}

static void dev_reset(struct pci_dev *dev)
{
	assert(!dev->dma_on && !dev->intx_level);
}

static const struct pci_dev_ops dev_ops = {
	.bar_read = dev_read,
	.bar_write = dev_write,
	.config_written = dev_config_written,
	.reset = dev_reset,
};

static void host_intx(struct pci_dev *dev, bool level)
{
	struct run *r = dev->host;

	assert(r->level != level);
	r->level = level;
}

static void host_message(struct pci_dev *dev, enum pci_irq kind, unsigned int vector, uint64_t addr,
			 uint32_t data)
{
	assert(kind == dev->irq_mode && dev->running);
	assert(vector < (kind == PCI_IRQ_MSI ? dev->info.n_msi : dev->info.n_msix));
	assert((addr & 3) == 0);
}

static const struct pci_host_ops host_ops = { .intx = host_intx, .message = host_message };

static const struct pci_info infos[] = {
	{ .vendor = 0x8086,
	  .device = 0x100e,
	  .int_pin = 1,
	  .bars = { { PCI_BAR_MEM32, false, 0x20000, 4, 4 }, { PCI_BAR_IO, false, 64, 1, 4 } } },
	{ .vendor = 0x8086,
	  .device = 0x10d3,
	  .int_pin = 1,
	  .express = true,
	  .bars = { { PCI_BAR_MEM32, false, 0x1000, 1, 8 },
		    { PCI_BAR_NONE },
		    { PCI_BAR_MEM64, true, 0x4000, 2, 4 } },
	  .n_msix = 65,
	  .msix_table_off = 16,
	  .msix_pba_off = 16 + 16 * 65,
	  .n_msi = 32,
	  .msi_flags = PCI_MSI_FLAGS_MASKBIT },
	{ .vendor = 0x1af4,
	  .device = 0x1041,
	  .bars = { [5] = { PCI_BAR_MEM32, false, 0x40, 4, 4 } },
	  .n_msix = 1,
	  .msix_bar = 5,
	  .msix_pba_off = 0x38,
	  .n_msi = 1,
	  .msi_flags = PCI_MSI_FLAGS_64BIT },
};

static uint8_t get8(struct run *r)
{
	return r->p < r->end ? *r->p++ : 0;
}

static uint32_t get(struct run *r, unsigned int bytes)
{
	uint32_t v = 0;

	for (unsigned int i = 0; i < bytes; i++)
		v |= (uint32_t)get8(r) << (8 * i);
	return v;
}

static void attach(struct run *r, bool masks)
{
	if (r->attached) {
		pci_detach(&r->pci);
	} else {
		r->level = false;
		r->pci.host_masks = masks;
		pci_attach(&r->pci, &host_ops, r, r->mem);
	}
	r->attached = !r->attached;
}

static void op_config(struct run *r, bool write)
{
	uint32_t off = get(r, 2), len = get8(r) % 20;
	uint8_t buf[20] = { 0 };

	if (off & 0x8000) /* the 256 bytes that count */
		off &= 0xff;
	for (uint32_t i = 0; write && i < len; i++)
		buf[i] = get8(r);
	if (write)
		(void)pci_config_write(&r->pci, off, buf, len);
	else
		(void)pci_config_read(&r->pci, off, buf, len);
}

static void op_bar(struct run *r, bool write)
{
	unsigned int bar = get8(r) % 9;
	uint32_t len = get8(r) % 40;
	uint64_t off = get(r, 2);
	uint8_t buf[40] = { 0 };
	int rc;

	if (off & 0x8000)
		off = ~off << 47;
	for (uint32_t i = 0; write && i < len; i++)
		buf[i] = get8(r);
	rc = write ? pci_bar_write(&r->pci, bar, off, buf, len)
		   : pci_bar_read(&r->pci, bar, off, buf, len);
	assert(rc == 0 || off > pci_bar_size(&r->pci, bar) ||
	       len > pci_bar_size(&r->pci, bar) - off || pci_bar_size(&r->pci, bar) == 0);
}

static void op_dma(struct run *r, bool write)
{
	gpa addr = { get(r, 4) };
	uint32_t len = get(r, 2) % 0x3000;
	uint8_t *buf = calloc(1, len + 1);
	struct iovec iov[2];

	if (write)
		(void)pci_dma_write(&r->pci, addr, buf, len);
	else
		(void)pci_dma_read(&r->pci, addr, buf, len);
	(void)pci_dma_iov(&r->pci, addr, len, iov, 2);
	(void)pci_dma_ptr(&r->pci, addr, len);
	free(buf);
}

static void op_migrate(struct run *r)
{
	uint32_t at = get(r, 2);
	uint8_t *data, bits = get8(r);
	size_t len;
	int rc = pci_save(&r->pci, &data, &len);

	assert(rc == 0);
	data[at % len] ^= bits;
	rc = pci_load(&r->pci, data, len, NULL);
	assert(rc == 0 || bits);
	free(data);
}

static void step(struct run *r)
{
	uint8_t op = get8(r);

	switch (op & 15) {
	case 0 ... 2:
		op_config(r, true);
		break;
	case 3:
		op_config(r, false);
		break;
	case 4 ... 6:
		op_bar(r, true);
		break;
	case 7:
		op_bar(r, false);
		break;
	case 8:
		pci_set_intx(&r->pci, op >> 4 & 1);
		break;
	case 9:
		pci_notify(&r->pci, get8(r));
		break;
	case 10:
		op_dma(r, op >> 4 & 1);
		break;
	case 11:
		pci_run(&r->pci, op >> 4 & 1);
		break;
	case 12:
		pci_irq_mode(&r->pci, op >> 4 & 3 ? PCI_IRQ_MSIX : PCI_IRQ_INTX);
		break;
	case 13:
		op_migrate(r);
		break;
	case 14:
		attach(r, op >> 4 & 1);
		break;
	case 15:
		pci_reset(&r->pci);
		break;
	}
}

/* All of memory space, decoded and with bus master on, answers after a reset. */
static void assert_works(struct run *r)
{
	uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	unsigned int before = r->n_access;
	uint8_t b[64];
	int rc;

	if (!r->attached)
		attach(r, false);
	pci_run(&r->pci, true);
	pci_reset(&r->pci);
	assert(memcmp(r->pci.config, r->pci.initial, sizeof(r->pci.config)) == 0);
	rc = pci_config_write(&r->pci, PCI_COMMAND, &command, 2);
	assert(rc == 0);
	rc = pci_bar_read(&r->pci, r->pci.info.bars[0].size ? 0 : 5, 0, b, 64);
	assert(rc == 0 && r->n_access > before);
	rc = pci_dma_read(&r->pci, (gpa){ RAM }, b, 64);
	assert(rc == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run *r = calloc(1, sizeof(*r));
	int fd = memfd_create("ram", MFD_CLOEXEC), rc;

	r->p = data;
	r->end = data + size;
	r->mem = calloc(1, sizeof(*r->mem));
	mem_init(r->mem);
	rc = ftruncate(fd, RAM_SIZE);
	assert(rc == 0);
	rc = mem_add_take(r->mem, RAM, RAM_SIZE, 0, fd, 0);
	assert(rc == 0);
	rc = pci_dev_init(&r->pci, NULL, &dev_ops, &infos[get8(r) % array_size(infos)], NULL);
	assert(rc == 0);
	attach(r, false);
	while (r->p < r->end)
		step(r);
	assert_works(r);
	attach(r, false);
	pci_dev_fini(&r->pci);
	mem_fini(r->mem);
	free(r->mem);
	free(r);
	return 0;
}
