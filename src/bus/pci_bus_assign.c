/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What firmware does to a PCI bus before a kernel runs: numbers for the buses, places for BARs and
 * bridge windows, decoding, interrupt lines.
 *
 * There are three pools: I/O, memory below 4 GiB, and memory above for prefetchable BARs of 64 bits
 * (where there is none, they lie below). Each is filled with the largest alignment first, so that
 * powers of two leave no holes. A window is as large as what lies in it, and at least `least`, so
 * that something may be plugged in later; I/O windows without contents are left out where there is
 * no room for all of them, which cards do without.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "bus/pci_bus_priv.h"

enum pool { POOL_IO, POOL_MEM, POOL_MEM64, N_POOLS };

static const struct {
	const char *name;
	uint64_t grain; /* of a window: its alignment, and what its size is a multiple of */
	uint64_t least; /* of a window without contents */
} pools[N_POOLS] = {
	[POOL_IO] = { "I/O ports", 0x1000, 0x1000 },
	[POOL_MEM] = { "memory below 4 GiB", 0x100000, 0x200000 },
	[POOL_MEM64] = { "memory above 4 GiB", 0x100000, 0x200000 },
};

/* A BAR, or the window of a port. */
struct item {
	struct pci_fn *fn;	   /* the port's, for a window */
	const struct pci_seg *seg; /* a window: onto this bus */
	unsigned int bar;
	uint64_t size, align, addr;
};

struct plan {
	struct pci_bus *bus;
	enum pool pool;
	bool has_64;	      /* there is memory above 4 GiB */
	unsigned int n_spare; /* windows without contents that may still be made */
	struct item *items;   /* of the root bus */
	struct item *inner;   /* of one port's */
	uint64_t first, size;
};

static uint64_t round_up(uint64_t v, uint64_t to)
{
	return (v + to - 1) & ~(to - 1);
}

static void put_reg(struct pci_dev *dev, uint32_t off, uint64_t value, unsigned int size)
{
	le64 v = le64_make(value);

	(void)pci_config_write(dev, off, &v, size);
}

/* What has to be placed. */

static bool in_pool(const struct plan *p, const struct pci_fn *fn, unsigned int bar)
{
	const struct pci_bar *b = &fn->dev->info.bars[bar];
	bool above;

	if (bar == PCI_BAR_ROM)
		return p->pool == POOL_MEM;
	if (b->kind == PCI_BAR_IO)
		return p->pool == POOL_IO;
	above = p->has_64 && b->kind == PCI_BAR_MEM64 && b->prefetch;
	return p->pool == (above ? POOL_MEM64 : POOL_MEM);
}

static int largest_first(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	if (x->align != y->align)
		return x->align > y->align ? -1 : 1;
	if (x->fn->devfn != y->fn->devfn)
		return x->fn->devfn < y->fn->devfn ? -1 : 1;
	return (x->bar > y->bar) - (x->bar < y->bar);
}

static unsigned int collect_bars(const struct plan *p, const struct pci_seg *seg,
				 struct item *items)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < BUS_N_FNS; i++) {
		struct pci_fn *fn = seg->fns[i];

		for (unsigned int bar = 0; fn && bar < BUS_N_RANGES; bar++) {
			uint64_t size = pci_bar_size(fn->dev, bar);

			if (size && in_pool(p, fn, bar))
				items[n++] = (struct item){ fn, NULL, bar, size, size, 0 };
		}
	}
	qsort(items, n, sizeof(*items), largest_first);
	return n;
}

/* Sorted items from @base on; the end of the last. */
static uint64_t place(struct item *items, unsigned int n, uint64_t base)
{
	for (unsigned int i = 0; i < n; i++) {
		items[i].addr = round_up(base, items[i].align);
		base = items[i].addr + items[i].size;
	}
	return base;
}

/* The window of @port; false: none. */
static bool measure(struct plan *p, struct pci_port *port, struct item *window)
{
	unsigned int n = collect_bars(p, &port->seg, p->inner);
	uint64_t grain = pools[p->pool].grain, size;

	*window = (struct item){ .fn = bus_fn(&port->pci), .seg = &port->seg, .align = grain };
	if (n == 0 && p->n_spare == 0)
		return false;
	if (n == 0)
		p->n_spare--;
	else
		window->align = max(grain, p->inner[0].align);
	size = round_up(place(p->inner, n, 0), grain);
	window->size = n ? size : pools[p->pool].least;
	return true;
}

static unsigned int collect(struct plan *p, unsigned int n_spare)
{
	unsigned int n = collect_bars(p, &p->bus->root, p->items);

	p->n_spare = n_spare;
	for (struct pci_port *port = p->bus->ports; port; port = port->next)
		n += measure(p, port, p->items + n);
	qsort(p->items, n, sizeof(*p->items), largest_first);
	return n;
}

/* And where it goes. */

static void write_bar(const struct item *it)
{
	struct pci_dev *dev = it->fn->dev;
	uint32_t reg = PCI_BASE_ADDRESS_0 + 4 * it->bar;

	if (it->bar == PCI_BAR_ROM)
		put_reg(dev, PCI_ROM_ADDRESS, it->addr, 4);
	else
		put_reg(dev, reg, it->addr, dev->info.bars[it->bar].kind == PCI_BAR_MEM64 ? 8 : 4);
}

static void write_window(enum pool pool, const struct item *it)
{
	struct pci_dev *dev = it->fn->dev;
	uint64_t last = it->addr + it->size - 1;

	switch (pool) {
	case POOL_IO:
		put_reg(dev, PCI_IO_BASE, it->addr >> 8, 1);
		put_reg(dev, PCI_IO_LIMIT, last >> 8, 1);
		break;
	case POOL_MEM:
		put_reg(dev, PCI_MEMORY_BASE, it->addr >> 16, 2);
		put_reg(dev, PCI_MEMORY_LIMIT, last >> 16, 2);
		break;
	default:
		put_reg(dev, PCI_PREF_MEMORY_BASE, it->addr >> 16, 2);
		put_reg(dev, PCI_PREF_MEMORY_LIMIT, last >> 16, 2);
		put_reg(dev, PCI_PREF_BASE_UPPER32, it->addr >> 32, 4);
		put_reg(dev, PCI_PREF_LIMIT_UPPER32, last >> 32, 4);
	}
}

static void write_item(struct plan *p, const struct item *it)
{
	unsigned int n;

	if (!it->seg) {
		write_bar(it);
		return;
	}
	write_window(p->pool, it);
	n = collect_bars(p, it->seg, p->inner);
	(void)place(p->inner, n, it->addr);
	for (unsigned int i = 0; i < n; i++)
		write_bar(&p->inner[i]);
}

static int assign_pool(struct plan *p, struct twx_error *e)
{
	unsigned int n_spare = 0, n;
	uint64_t end = p->first + p->size;

	for (struct pci_port *port = p->bus->ports; port && p->size; port = port->next)
		n_spare++;
	for (;;) {
		n = collect(p, n_spare);
		if (n == 0 || place(p->items, n, p->first) <= end)
			break;
		if (n_spare == 0)
			return twx_error_set(e, ENOSPC,
					     "PCI: %s from %#" PRIx64 " on, %#" PRIx64
					     " bytes, cannot hold the devices' BARs",
					     pools[p->pool].name, p->first, p->size);
		n_spare--;
	}
	for (unsigned int i = 0; i < n; i++)
		write_item(p, &p->items[i]);
	return 0;
}

/* The rest. */

static int number_buses(struct pci_bus *bus, struct twx_error *e)
{
	unsigned int n = 0;

	for (struct pci_port *port = bus->ports; port; port = port->next) {
		if (++n > UINT8_MAX)
			return twx_error_set(e, ENOSPC, "PCI: more than %d buses", UINT8_MAX);
		put_reg(&port->pci, PCI_PRIMARY_BUS, 0, 1);
		put_reg(&port->pci, PCI_SECONDARY_BUS, n, 1);
		put_reg(&port->pci, PCI_SUBORDINATE_BUS, n, 1);
	}
	return 0;
}

static uint16_t decoding(const struct pci_fn *fn)
{
	uint16_t command = 0;

	if (port_of(fn))
		return PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	for (unsigned int bar = 0; bar < BUS_N_RANGES; bar++) {
		if (!pci_bar_size(fn->dev, bar))
			continue;
		command |= bar != PCI_BAR_ROM && fn->dev->info.bars[bar].kind == PCI_BAR_IO
				   ? PCI_COMMAND_IO
				   : PCI_COMMAND_MEMORY;
	}
	return command;
}

static void switch_on(struct pci_seg *seg, const struct pci_windows *w)
{
	for (unsigned int i = 0; i < BUS_N_FNS; i++) {
		struct pci_fn *fn = seg->fns[i];

		if (!fn)
			continue;
		put_reg(fn->dev, PCI_COMMAND, pci_command(fn->dev) | decoding(fn), 2);
		if (fn->dev->info.int_pin)
			put_reg(fn->dev, PCI_INTERRUPT_LINE, w->line_irq[bus_line(fn)], 1);
		if (port_of(fn))
			port_update(port_of(fn));
	}
}

static int assign(struct plan *p, const struct pci_windows *w, struct twx_error *e)
{
	const uint64_t from[N_POOLS] = { w->io, w->mem, w->mem64 };
	const uint64_t size[N_POOLS] = { w->io_len, w->mem_len, w->mem64_len };
	int rc = number_buses(p->bus, e);

	for (unsigned int i = 0; rc == 0 && i < N_POOLS; i++) {
		p->pool = i;
		p->first = from[i];
		p->size = size[i];
		rc = assign_pool(p, e);
	}
	if (rc < 0)
		return rc;
	switch_on(&p->bus->root, w);
	for (struct pci_port *port = p->bus->ports; port; port = port->next)
		switch_on(&port->seg, w);
	return 0;
}

int pci_bus_assign(struct pci_bus *bus, const struct pci_windows *w, struct twx_error *e)
{
	const size_t room = BUS_N_FNS * (BUS_N_RANGES + 1);
	struct plan p = { .bus = bus, .has_64 = w->mem64_len != 0 };
	int rc;

	p.items = calloc(2 * room, sizeof(*p.items));
	if (!p.items)
		return twx_error_set(e, ENOMEM, "PCI: out of memory");
	p.inner = p.items + room;
	rc = assign(&p, w, e);
	free(p.items);
	return rc;
}
