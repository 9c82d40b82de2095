/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Configuration cycles: from the ports 0xcf8 and 0xcfc, or the ECAM window, to a function.
 *
 * CONFIG_ADDRESS takes double words alone (PCI 3.0, 3.2.2.3.2); everything else that is written to
 * its four ports belongs to whoever is there besides, as the reset register at 0xcf9. So its region
 * wins over the others, and passes on what is not its own.
 *
 * Where no function answers, reads give ones and writes are lost. ECAM: PCIe 3.0, 7.2.2; an access
 * that leaves the 4 KiB of its function has no answer.
 */
#include <errno.h>

#include "bus/pci_bus_priv.h"

#define CONF_ADDR 0xcf8u
#define CONF_DATA 0xcfcu
#define CONF_PRIORITY 16
/* Below BARs: clients of QEMU's pc, which has no ECAM, put BARs where ours is. */
#define ECAM_PRIORITY (-2)
#define CONF_ENABLE 0x80000000u
#define CONF_BITS (CONF_ENABLE | 0x00fffffcu) /* the others are reserved */

static struct pci_fn *cfg_target(struct pci_bus *bus, unsigned int num, unsigned int devfn)
{
	struct pci_seg *seg = num ? port_bus(bus, num) : &bus->root;

	return seg ? seg->fns[devfn] : NULL;
}

static uint64_t cfg_read(struct pci_bus *bus, unsigned int num, unsigned int devfn, uint32_t off,
			 unsigned int size)
{
	struct pci_fn *fn = cfg_target(bus, num, devfn);
	le64 v = { 0 };

	if (!fn || pci_config_read(fn->dev, off, &v, size) < 0)
		return UINT64_MAX;
	return le64_get(v);
}

static void cfg_write(struct pci_bus *bus, unsigned int num, unsigned int devfn, uint32_t off,
		      unsigned int size, uint64_t value)
{
	struct pci_fn *fn = cfg_target(bus, num, devfn);
	struct pci_port *port = fn ? port_of(fn) : NULL;
	uint8_t old[PCI_CFG_SPACE_SIZE];
	le64 v = le64_make(value);

	if (!fn)
		return;
	if (port)
		memcpy(old, fn->dev->config, sizeof(old));
	(void)pci_config_write(fn->dev, off, &v, size);
	if (port)
		port_written(port, old);
}

/* Ports. */

static uint64_t addr_read(void *opaque, uint64_t off, unsigned int size)
{
	struct pci_bus *bus = opaque;
	struct as_region *r;

	if (size == 4)
		return bus->latch.addr;
	r = as_find_below(&bus->conf_addr, CONF_ADDR + off);
	return r ? r->ops->read(r->opaque, CONF_ADDR + off - r->addr, size) : UINT64_MAX;
}

static void addr_write(void *opaque, uint64_t off, unsigned int size, uint64_t value)
{
	struct pci_bus *bus = opaque;
	struct as_region *r;

	if (size == 4) {
		bus->latch.addr = (uint32_t)value & CONF_BITS;
		return;
	}
	r = as_find_below(&bus->conf_addr, CONF_ADDR + off);
	if (r)
		r->ops->write(r->opaque, CONF_ADDR + off - r->addr, size, value);
}

static const struct as_ops addr_ops = { addr_read, addr_write };

static uint64_t data_read(void *opaque, uint64_t off, unsigned int size)
{
	struct pci_bus *bus = opaque;
	uint32_t at = bus->latch.addr;

	if (!(at & CONF_ENABLE))
		return UINT64_MAX;
	return cfg_read(bus, at >> 16 & 0xff, at >> 8 & 0xff, (at & 0xff) + (uint32_t)off, size);
}

static void data_write(void *opaque, uint64_t off, unsigned int size, uint64_t value)
{
	struct pci_bus *bus = opaque;
	uint32_t at = bus->latch.addr;

	if (at & CONF_ENABLE)
		cfg_write(bus, at >> 16 & 0xff, at >> 8 & 0xff, (at & 0xff) + (uint32_t)off, size,
			  value);
}

static const struct as_ops data_ops = { data_read, data_write };

int bus_cfg_init(struct pci_bus *bus)
{
	int rc;

	bus->conf_addr = (struct as_region){ .name = "pci-conf-addr",
					     .ops = &addr_ops,
					     .opaque = bus,
					     .size = 4,
					     .priority = CONF_PRIORITY };
	bus->conf_data = (struct as_region){
		.name = "pci-conf-data", .ops = &data_ops, .opaque = bus, .size = 4
	};
	rc = as_add(bus->io, &bus->conf_addr, CONF_ADDR);
	if (rc == 0)
		rc = as_add(bus->io, &bus->conf_data, CONF_DATA);
	if (rc < 0)
		bus_cfg_fini(bus);
	return rc;
}

void bus_cfg_fini(struct pci_bus *bus)
{
	as_remove(&bus->conf_addr);
	as_remove(&bus->conf_data);
	as_remove(&bus->ecam);
}

/* ECAM. */

static bool ecam_inside(uint64_t off, unsigned int size)
{
	return (off & (PCI_CONFIG_MAX - 1)) + size <= PCI_CONFIG_MAX;
}

static uint64_t ecam_read(void *opaque, uint64_t off, unsigned int size)
{
	if (!ecam_inside(off, size))
		return UINT64_MAX;
	return cfg_read(opaque, off >> 20 & 0xff, off >> 12 & 0xff, off & (PCI_CONFIG_MAX - 1),
			size);
}

static void ecam_write(void *opaque, uint64_t off, unsigned int size, uint64_t value)
{
	if (ecam_inside(off, size))
		cfg_write(opaque, off >> 20 & 0xff, off >> 12 & 0xff, off & (PCI_CONFIG_MAX - 1),
			  size, value);
}

static const struct as_ops ecam_ops = { ecam_read, ecam_write };

int pci_bus_add_ecam(struct pci_bus *bus, uint64_t addr, unsigned int last_bus)
{
	bus->ecam.name = "pci-ecam";
	bus->ecam.ops = &ecam_ops;
	bus->ecam.opaque = bus;
	bus->ecam.size = (last_bus + 1ull) << 20;
	bus->ecam.priority = ECAM_PRIORITY;
	return as_add(bus->mem, &bus->ecam, addr);
}
