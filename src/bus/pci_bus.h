/* SPDX-License-Identifier: BSD-3-Clause */
/* PCI buses of a machine: slots, configuration cycles, BARs in address spaces, interrupt lines,
 * root ports. */
#ifndef BUS_PCI_BUS_H
#define BUS_PCI_BUS_H

#include "bus/aspace.h"
#include "bus/pci.h"

/* What the machine does for its buses; all on the machine's loop (or within twx_loop_enter()). */
struct pci_bus_ops {
	/* One of the four lines of the root bus, after swizzling and with all functions that share
	 * it taken together (PCI-to-PCI Bridge 1.2, 9.1); called on changes. */
	void (*line)(void *opaque, unsigned int line, bool level);
	/* A message: a write of @data to @addr. */
	void (*message)(void *opaque, uint64_t addr, uint32_t data);
	/* Optional, as in pci_host_ops, with the BAR's place resolved: -ENOTSUP where not. */
	int (*doorbell)(void *opaque, bool io, uint64_t addr, const struct pci_doorbell *bell,
			bool on);
	int (*message_fd)(void *opaque, struct pci_dev *dev, unsigned int vector, uint64_t addr,
			  uint32_t data, int fd);
	/* Optional: a zone (struct pci_zone) of a BAR has come to lie at @addr, or is gone. */
	void (*zone)(void *opaque, enum pci_zone_kind kind, uint64_t addr, uint32_t len, bool on);
	/* Optional: as in pci_host_ops. */
	bool (*hurry)(void *opaque);
};

struct pci_bus; /* a root bus and what is behind it */

/*
 * @mem and @io are the machine's spaces, @ram what functions reach by DMA. 0 or -ENOMEM.
 */
int pci_bus_new(struct pci_bus **out, const struct pci_bus_ops *ops, void *opaque,
		struct aspace *mem, struct aspace *io, struct mem_map *ram, struct twx_loop *loop);
void pci_bus_free(struct pci_bus *bus); /* every function is unplugged first, by its owner */

/*
 * Plugs @dev. @bus_name is "pci.0" (the root; null too) or a root port's id; @addr is QEMU's addr=
 * ("4", "04.0", "0x4.1"), or null for the first free slot from @first_slot on. -EBUSY: "PCI: slot 4
 * function 0 not available for e1000, in use by ..."; -EINVAL, -ENODEV ("Bus 'x' not found"),
 * -ENOSPC. With @hot the guest is told (native hot-plug of root ports); other buses refuse that
 * with -EPERM.
 */
int pci_bus_plug(struct pci_bus *bus, struct pci_dev *dev, const char *name, const char *bus_name,
		 const char *addr, unsigned int first_slot, bool hot, struct twx_error *e);
/* Takes it out at once: the machine is going, or the guest has agreed. */
void pci_bus_unplug(struct pci_bus *bus, struct pci_dev *dev);
/*
 * Asks the guest for a function behind a root port (attention button); when it has let go (or does
 * not decode anything), @gone runs on the loop, with the function still plugged. -EPERM: "Bus
 * 'pci.0' does not support hotplugging".
 */
int pci_bus_ask_unplug(struct pci_bus *bus, struct pci_dev *dev,
		       void (*gone)(void *opaque, struct pci_dev *dev), void *opaque,
		       struct twx_error *e);

/* A PCIe root port (1b36:000c as QEMU's, so that guests know it), with one slot behind it. */
int pci_root_port_new(struct pci_bus *bus, const char *id, const char *addr, struct twx_error *e);
bool pci_bus_is_root_port(struct pci_bus *bus, const char *id);

/* A function that is part of the machine (host bridge, ISA bridge), at a fixed place. */
int pci_bus_add_fixed(struct pci_bus *bus, struct pci_dev *dev, unsigned int slot, unsigned int fn);

/* Ports 0xcf8 and 0xcfc are regions that the bus adds itself; the ECAM window is, too, at @addr,
 * for buses 0 to @last_bus. */
int pci_bus_add_ecam(struct pci_bus *bus, uint64_t addr, unsigned int last_bus);

/* Windows for what firmware would do before the kernel runs: bridges numbered, BARs placed,
 * decoding on, interrupt line registers filled by @line_irq (of lines 0 to 3). */
struct pci_windows {
	uint64_t mem, mem_len;	   /* below 4 GiB */
	uint64_t mem64, mem64_len; /* above */
	uint32_t io, io_len;
	uint8_t line_irq[4];
};
int pci_bus_assign(struct pci_bus *bus, const struct pci_windows *w, struct twx_error *e);

void pci_bus_reset(struct pci_bus *bus); /* every function, buses unnumbered */
/* Every function in turn, with its place for the user ("00:03.0"); for save, load and topology. */
void pci_bus_each(struct pci_bus *bus,
		  void (*fn)(void *opaque, struct pci_dev *dev, const char *name,
			     const char *place),
		  void *opaque);
/* What the bus itself saves: the address of the next configuration cycle. */
struct state_desc pci_bus_state(struct pci_bus *bus);

#endif
