/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device state from a hostile source: byte 0 picks a small device or a PCI function with MSI-X, the
 * rest is the stream. What is taken must be what its checks allow, and be written back the same.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "bus/pci.h"
#include "fuzz.h"

struct small {
	uint16_t ring, size;
	uint32_t regs[3];
	uint64_t when;
	uint8_t on;
};

static const struct state_field ring_fields[] = {
	STATE_U16(struct small, ring),
	STATE_U16(struct small, size),
	{ 0 },
};

static const struct state_field reg_fields[] = {
	STATE_U32(struct small, regs),
	STATE_U64(struct small, when),
	STATE_U8(struct small, on),
	{ 0 },
};

static int ring_check(const void *copy, struct twx_error *e)
{
	const struct small *s = copy;

	return s->ring < s->size && s->on < 2 ? 0 : twx_error_set(e, 22, "ring");
}

static const struct state_section small_sections[] = {
	{ .name = "small/ring", .version = 1, .fields = ring_fields, .check = ring_check },
	{ .name = "small/regs", .version = 3, .fields = reg_fields },
	{ 0 },
};

static void load_small(const uint8_t *data, size_t size)
{
	struct small s = { .size = 1 }, before = s;
	struct state_desc d = { small_sections, &s, sizeof(s) };
	struct twx_error e = { 0 };
	uint8_t *out;
	size_t len;
	int rc;

	rc = state_load(&d, 1, data, size, &e);
	assert(rc == 0 || e.code != 0);
	if (rc < 0)
		assert(memcmp(&s, &before, sizeof(s)) == 0);
	assert(s.ring < s.size && s.on < 2);
	rc = state_save(&d, 1, &out, &len);
	assert(rc == 0);
	before = s;
	rc = state_load(&d, 1, out, len, NULL);
	assert(rc == 0 && s.ring == before.ring && s.when == before.when);
	free(out);
}

static uint64_t none_read(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int size)
{
	return 0;
}

static void none_write(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int size,
		       uint64_t value, uint64_t mask)
{
}

static void none_reset(struct pci_dev *dev)
{
}

static const struct pci_dev_ops none_ops = {
	.bar_read = none_read,
	.bar_write = none_write,
	.reset = none_reset,
};

static void none_intx(struct pci_dev *dev, bool level)
{
}

static void none_message(struct pci_dev *dev, enum pci_irq kind, unsigned int vector, uint64_t addr,
			 uint32_t data)
{
	assert(vector < (kind == PCI_IRQ_MSI ? 4 : 3));
	assert((addr & 3) == 0);
}

static const struct pci_host_ops none_host = { .intx = none_intx, .message = none_message };

static const struct pci_info info = {
	.vendor = 0x8086,
	.device = 0x10d3,
	.class_code = 0x020000,
	.int_pin = 1,
	.express = true,
	.bars = { [0] = { PCI_BAR_MEM64, false, 0x1000, 4, 4 } },
	.n_msix = 3,
	.msix_pba_off = 0x800,
	.n_msi = 4,
	.msi_flags = PCI_MSI_FLAGS_MASKBIT,
};

static void load_pci(const uint8_t *data, size_t size)
{
	struct mem_map *mem = calloc(1, sizeof(*mem));
	struct pci_dev *dev = calloc(1, sizeof(*dev));
	uint8_t *out;
	size_t len;
	int rc;

	rc = pci_dev_init(dev, NULL, &none_ops, &info, NULL);
	assert(rc == 0);
	pci_attach(dev, &none_host, NULL, mem);
	(void)pci_load(dev, data, size, NULL);
	for (uint32_t i = 0; i < PCI_CONFIG_MAX; i++)
		assert(((dev->config[i] ^ dev->initial[i]) &
			~(dev->wmask[i] | dev->w1c[i] | dev->live[i])) == 0);
	for (unsigned int v = 0; v < 4; v++)
		pci_notify(dev, v);
	rc = pci_save(dev, &out, &len);
	assert(rc == 0);
	rc = pci_load(dev, out, len, NULL);
	assert(rc == 0);
	free(out);
	pci_detach(dev);
	pci_dev_fini(dev);
	free(dev);
	free(mem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	if (data[0] & 1)
		load_pci(data + 1, size - 1);
	else
		load_small(data + 1, size - 1);
	return 0;
}
