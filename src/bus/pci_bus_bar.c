/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * BARs in the address spaces, and what moves with them: zones and doorbells.
 *
 * After whatever may have changed where a function can be reached (its registers, the windows and
 * the power of the port before it, a reset, a loaded state) bus_ranges_update() takes away every
 * range that is not where it should be, and then adds those that are missing. The machine hears of
 * zones and doorbells with the range that they lie in.
 *
 * A doorbell is a promise to the device: from then on its eventfd is signalled. Where the machine
 * cannot take it at a new place, the write is found here and the eventfd written from here.
 *
 * BARs have a lower priority than everything of the board's but the ECAM window, so that a guest
 * hides nothing by where it puts them; RAM is no region, and asked before.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/evfd.h"
#include "bus/pci_bus_priv.h"

#define BAR_PRIORITY (-1)

static bool is_io(const struct bus_range *r)
{
	return r->bar < PCI_N_BARS && r->fn->dev->info.bars[r->bar].kind == PCI_BAR_IO;
}

/* Accesses. */

static uint64_t range_read(void *opaque, uint64_t off, unsigned int size)
{
	struct bus_range *r = opaque;
	le64 v = { 0 };

	(void)pci_bar_read(r->fn->dev, r->bar, off, &v, size);
	return le64_get(v);
}

static bool bell_rings(const struct bus_bell *b, unsigned int bar, uint64_t off, unsigned int size,
		       uint64_t value)
{
	return !b->known && b->bell.bar == bar && b->bell.off == off &&
	       (b->bell.size == 0 || b->bell.size == size) &&
	       (!b->bell.match || b->bell.value == value);
}

static void range_write(void *opaque, uint64_t off, unsigned int size, uint64_t value)
{
	struct bus_range *r = opaque;
	le64 v = le64_make(value);

	for (const struct bus_bell *b = r->fn->bells; b; b = b->next) {
		if (!bell_rings(b, r->bar, off, size, value))
			continue;
		evfd_signal(b->bell.fd);
		return;
	}
	(void)pci_bar_write(r->fn->dev, r->bar, off, &v, size);
}

static const struct as_ops range_ops = { range_read, range_write };

/* What lies in a range. */

static void tell_zones(const struct bus_range *r, bool on)
{
	const struct pci_zone *z = r->fn->dev->info.zones;
	struct pci_bus *bus = r->fn->seg->bus;

	if (!bus->ops->zone || r->bar == PCI_BAR_ROM || is_io(r))
		return;
	for (; z && z->kind != PCI_ZONE_NONE; z++)
		if (z->bar == r->bar)
			bus->ops->zone(bus->opaque, z->kind, r->region.addr + z->off, z->len, on);
}

static int tell_bell(const struct bus_range *r, struct bus_bell *b, bool on)
{
	struct pci_bus *bus = r->fn->seg->bus;
	int rc;

	if (b->known == on)
		return 0;
	rc = bus->ops->doorbell(bus->opaque, is_io(r), r->region.addr + b->bell.off, &b->bell, on);
	b->known = on && rc == 0;
	return rc;
}

static void tell_bells(const struct bus_range *r, bool on)
{
	for (struct bus_bell *b = r->fn->bells; b; b = b->next)
		if (b->bell.bar == r->bar)
			(void)tell_bell(r, b, on);
}

static void range_remove(struct bus_range *r)
{
	if (!r->region.space)
		return;
	tell_bells(r, false);
	tell_zones(r, false);
	as_remove(&r->region);
}

/* Where nothing can be added, the function cannot be reached: a guest's nonsense, or no memory. */
static void range_add(struct bus_range *r, uint64_t addr)
{
	struct pci_bus *bus = r->fn->seg->bus;

	if (r->region.space || as_add(is_io(r) ? bus->io : bus->mem, &r->region, addr) < 0)
		return;
	tell_zones(r, true);
	tell_bells(r, true);
}

static bool range_place(const struct bus_range *r, uint64_t *addr)
{
	const struct pci_fn *fn = r->fn;

	return pci_bar_addr(fn->dev, r->bar, addr) &&
	       (!fn->seg->port || port_passes(fn->seg->port, is_io(r), *addr, r->region.size));
}

void bus_ranges_init(struct pci_fn *fn)
{
	for (unsigned int i = 0; i < BUS_N_RANGES; i++) {
		struct bus_range *r = &fn->ranges[i];

		r->fn = fn;
		r->bar = i;
		r->region = (struct as_region){
			.name = fn->name,
			.ops = &range_ops,
			.opaque = r,
			.size = pci_bar_size(fn->dev, i),
			.priority = BAR_PRIORITY,
		};
	}
}

void bus_ranges_update(struct pci_fn *fn)
{
	uint64_t addr[BUS_N_RANGES];
	bool on[BUS_N_RANGES];

	for (unsigned int i = 0; i < BUS_N_RANGES; i++) {
		struct bus_range *r = &fn->ranges[i];

		on[i] = range_place(r, &addr[i]);
		if (!on[i] || r->region.addr != addr[i])
			range_remove(r);
	}
	for (unsigned int i = 0; i < BUS_N_RANGES; i++)
		if (on[i])
			range_add(&fn->ranges[i], addr[i]);
}

void bus_ranges_fini(struct pci_fn *fn)
{
	struct bus_bell *next;

	for (unsigned int i = 0; i < BUS_N_RANGES; i++)
		range_remove(&fn->ranges[i]);
	for (struct bus_bell *b = fn->bells; b; b = next) {
		next = b->next;
		free(b);
	}
	fn->bells = NULL;
}

/* Doorbells. */

static bool same_bell(const struct pci_doorbell *a, const struct pci_doorbell *b)
{
	return a->bar == b->bar && a->size == b->size && a->off == b->off && a->fd == b->fd &&
	       a->match == b->match && (!a->match || a->value == b->value);
}

static int bell_add(struct pci_fn *fn, const struct pci_doorbell *bell)
{
	const struct bus_range *r = &fn->ranges[bell->bar];
	struct bus_bell *b = calloc(1, sizeof(*b));
	int rc = 0;

	if (!b)
		return -ENOMEM;
	b->bell = *bell;
	if (r->region.space)
		rc = tell_bell(r, b, true);
	if (rc < 0) {
		free(b);
		return rc;
	}
	b->next = fn->bells;
	fn->bells = b;
	return 0;
}

static void bell_remove(struct pci_fn *fn, const struct pci_doorbell *bell)
{
	struct bus_bell **p = &fn->bells, *b;

	while (*p && !same_bell(&(*p)->bell, bell))
		p = &(*p)->next;
	b = *p;
	if (!b)
		return;
	(void)tell_bell(&fn->ranges[bell->bar], b, false);
	*p = b->next;
	free(b);
}

int bus_doorbell(struct pci_dev *dev, const struct pci_doorbell *bell, bool on)
{
	struct pci_fn *fn = bus_fn(dev);

	if (!fn->seg->bus->ops->doorbell || bell->bar >= PCI_N_BARS)
		return -ENOTSUP;
	if (on)
		return bell_add(fn, bell);
	bell_remove(fn, bell);
	return 0;
}
