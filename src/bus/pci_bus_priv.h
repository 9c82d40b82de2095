/* SPDX-License-Identifier: BSD-3-Clause */
/* PCI buses of a machine: the state that their files share. */
#ifndef BUS_PCI_BUS_PRIV_H
#define BUS_PCI_BUS_PRIV_H

#include "base/macros.h"
#include "bus/pci_bus.h"
#include "bus/pci_priv.h"

#define BUS_N_FNS 256  /* 32 slots of 8 functions */
#define BUS_N_RANGES 7 /* six BARs and the ROM */
#define BUS_NAME_MAX 64

struct pci_fn;
struct pci_port;

/* A doorbell that the device has asked for; it follows its BAR. */
struct bus_bell {
	struct pci_doorbell bell;
	bool known; /* the machine signals by itself; else a write that arrives here does */
	struct bus_bell *next;
};

/* A BAR, or the ROM, as it lies in an address space now. */
struct bus_range {
	struct pci_fn *fn;
	unsigned int bar;
	struct as_region region; /* added while it can be reached */
};

/* A function that is plugged in. */
struct pci_fn {
	struct pci_seg *seg;
	struct pci_dev *dev;
	char name[BUS_NAME_MAX];
	uint8_t devfn;
	bool level; /* of its interrupt pin */
	struct bus_range ranges[BUS_N_RANGES];
	struct bus_bell *bells;
	/* Whoever waits for the guest to let go of it, and since when. */
	void (*gone)(void *opaque, struct pci_dev *dev);
	void *gone_opaque;
	uint64_t asked;
	bool let_go; /* and the guest has */
};

/* One bus: the root, or what is behind a root port. */
struct pci_seg {
	struct pci_bus *bus;
	struct pci_port *port; /* null: the root */
	struct pci_fn *fns[BUS_N_FNS];
};

/* A root port and its slot. */
struct pci_port {
	struct pci_dev pci;
	struct pci_seg seg; /* behind it */
	char id[BUS_NAME_MAX];
	unsigned int number; /* of the slot, for people; from 1 */
	uint8_t exp;	     /* offset of the PCIe capability */
	bool raised;	     /* its interrupt */
	struct twx_task task;
	struct pci_port *next;
};

struct bus_latch {
	uint32_t addr; /* CONFIG_ADDRESS */
};

struct pci_bus {
	const struct pci_bus_ops *ops;
	void *opaque;
	struct aspace *mem, *io;
	struct mem_map *ram;
	struct twx_loop *loop;
	struct pci_seg root;
	struct pci_port *ports;	  /* in the order of their making */
	unsigned int n_raised[4]; /* functions that hold a line up */
	struct bus_latch latch;
	struct as_region conf_addr, conf_data, ecam;
};

static inline unsigned int bus_slot(const struct pci_fn *fn)
{
	return fn->devfn >> 3;
}

static inline unsigned int bus_func(const struct pci_fn *fn)
{
	return fn->devfn & 7;
}

/* pci_bus.c */
/* What carries @dev's bus; it is plugged. */
struct pci_fn *bus_fn(const struct pci_dev *dev);
/* Puts @dev at the free place @devfn; 0 or -ENOMEM. */
int bus_insert(struct pci_seg *seg, struct pci_dev *dev, const char *name, unsigned int devfn);
/* addr= for @dev, or the first free slot from @first_slot on; the place or -errno. */
int bus_choose(struct pci_seg *seg, const struct pci_dev *dev, const char *name, const char *addr,
	       unsigned int first_slot, struct twx_error *e);
unsigned int bus_line(const struct pci_fn *fn); /* of the root, that its pin is wired to */

/* pci_bus_cfg.c */
int bus_cfg_init(struct pci_bus *bus); /* ports 0xcf8 and 0xcfc; as as_add() */
void bus_cfg_fini(struct pci_bus *bus);

/* pci_bus_bar.c */
void bus_ranges_init(struct pci_fn *fn);
/* BARs to where registers, windows and power say that they can be reached. */
void bus_ranges_update(struct pci_fn *fn);
void bus_ranges_fini(struct pci_fn *fn); /* doorbells are forgotten */
int bus_doorbell(struct pci_dev *dev, const struct pci_doorbell *bell, bool on);

/* pci_bus_port.c */
/* Null where @fn is no root port. */
struct pci_port *port_of(const struct pci_fn *fn);
struct pci_port *port_find(struct pci_bus *bus, const char *id);
/* The bus with the number @num, of those that can be reached; or null. */
struct pci_seg *port_bus(struct pci_bus *bus, unsigned int num);
/* After the guest wrote its configuration registers: @old is what they were. */
void port_written(struct pci_port *port, const uint8_t *old);
/* What follows from its registers and from who is in the slot. */
void port_update(struct pci_port *port);
/* Whether it passes on accesses to a place. */
bool port_passes(const struct pci_port *port, bool io, uint64_t addr, uint64_t size);
void port_plugged(struct pci_port *port, bool hot);
void port_unplugged(struct pci_port *port);
int port_ask_unplug(struct pci_port *port, struct pci_fn *fn, struct twx_error *e);
void port_reset(struct pci_port *port); /* who waits for the guest need not any more */
void port_free(struct pci_port *port);

#endif
