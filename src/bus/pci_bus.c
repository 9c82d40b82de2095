/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * PCI buses of a machine: who is plugged where, interrupt lines, life cycle.
 *
 * There is a root bus with 32 slots, and behind each root port a bus with one slot; bridges behind
 * bridges there are not. A plugged function (struct pci_fn) stands between the function and the
 * machine: it is its host (pci_host_ops) and passes on what it asks for.
 *
 * Files: pci_bus_cfg.c finds the function that a configuration cycle is for; pci_bus_bar.c puts
 * BARs, zones and doorbells into the address spaces; pci_bus_port.c has root ports, their windows
 * and hot-plug; pci_bus_assign.c does firmware's work.
 *
 * A register access: as_read > range_read > pci_bar_read > the device. An interrupt: pci_set_intx >
 * fn_intx > ops->line, or pci_notify > fn_message > ops->message.
 *
 * Lines: pin P of slot S is wired to line (S + P) mod 4, A being 0 (PCI-to-PCI Bridge 1.2, 9.1), on
 * the root bus (ACPI's _PRT has to say the same) and once more behind a port. A line is high while
 * any function holds it.
 *
 * Differences from QEMU: PCI Express ports are on the same root bus as conventional functions; a
 * bridge passes on a BAR that lies in one of its windows as a whole, and none that lies there in
 * part.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus/pci_bus_priv.h"

#define N_SLOTS 32u
#define MULTIFUNCTION 0x80 /* of the header type */

/* The host's side of a function. */

struct pci_fn *bus_fn(const struct pci_dev *dev)
{
	return dev->host;
}

unsigned int bus_line(const struct pci_fn *fn)
{
	unsigned int line = bus_slot(fn) + fn->dev->info.int_pin - 1u;

	if (fn->seg->port)
		line += bus_slot(bus_fn(&fn->seg->port->pci));
	return line % 4;
}

static void fn_intx(struct pci_dev *dev, bool level)
{
	struct pci_fn *fn = bus_fn(dev);
	struct pci_bus *bus = fn->seg->bus;
	unsigned int line = bus_line(fn), before = bus->n_raised[line];

	if (fn->level == level)
		return;
	fn->level = level;
	bus->n_raised[line] = level ? before + 1 : before - 1;
	if (before == 0 || bus->n_raised[line] == 0)
		bus->ops->line(bus->opaque, line, level);
}

static void fn_message(struct pci_dev *dev, enum pci_irq kind, unsigned int vector, uint64_t addr,
		       uint32_t data)
{
	struct pci_bus *bus = bus_fn(dev)->seg->bus;

	bus->ops->message(bus->opaque, addr, data);
}

static int fn_message_fd(struct pci_dev *dev, unsigned int vector, uint64_t addr, uint32_t data,
			 int fd)
{
	struct pci_bus *bus = bus_fn(dev)->seg->bus;

	if (!bus->ops->message_fd)
		return -ENOTSUP;
	return bus->ops->message_fd(bus->opaque, dev, vector, addr, data, fd);
}

static bool fn_hurry(struct pci_dev *dev)
{
	struct pci_bus *bus = bus_fn(dev)->seg->bus;

	return bus->ops->hurry && bus->ops->hurry(bus->opaque);
}

static void fn_bars_changed(struct pci_dev *dev)
{
	struct pci_fn *fn = bus_fn(dev);

	bus_ranges_update(fn);
	/* A loaded state comes this way, too. */
	if (port_of(fn))
		port_update(port_of(fn));
}

static const struct pci_host_ops fn_host_ops = {
	.intx = fn_intx,
	.message = fn_message,
	.bars_changed = fn_bars_changed,
	.doorbell = bus_doorbell,
	.message_fd = fn_message_fd,
	.hurry = fn_hurry,
};

/* Places. */

/* QEMU's grammar: hexadecimal, "SLOT[.FN]". */
static int parse_hex(const char **p, unsigned int top)
{
	char *end;
	unsigned long v;

	if (!((**p >= '0' && **p <= '9') || (**p >= 'a' && **p <= 'f') ||
	      (**p >= 'A' && **p <= 'F')))
		return -EINVAL;
	v = strtoul(*p, &end, 16);
	*p = end;
	return v <= top ? (int)v : -EINVAL;
}

static int parse_addr(const char *name, const char *addr, struct twx_error *e)
{
	const char *p = addr;
	int slot = parse_hex(&p, N_SLOTS - 1), fn = 0;

	if (slot >= 0 && *p == '.') {
		p++;
		fn = parse_hex(&p, 7);
	}
	if (slot >= 0 && fn >= 0 && *p == '\0')
		return slot << 3 | fn;
	twx_error_set(e, EINVAL, "Property '%s.addr' doesn't take value '%s'", name, addr);
	return twx_error_hint(e,
			      "give it as SLOT or SLOT.FUNCTION in hexadecimal: addr=4, addr=1f.7");
}

/* For people: QEMU's sentences name the model, where there is one. */
static const char *model_of(const struct pci_dev *dev, const char *name)
{
	return dev->nic ? dev->nic->model->name : name;
}

static const char *fn_id(const struct pci_fn *fn)
{
	if (port_of(fn))
		return port_of(fn)->id;
	return fn->dev->nic ? fn->dev->nic->id : NULL;
}

static int in_use(const struct pci_fn *by, const char *name, struct twx_error *e)
{
	const char *id = fn_id(by);

	return twx_error_set(e, EBUSY,
			     "PCI: slot %u function %u not available for %s, in use by %s%s%s",
			     bus_slot(by), bus_func(by), name, model_of(by->dev, by->name),
			     id ? ",id=" : "", id ? id : "");
}

/* Functions of a slot agree on whether there are several (PCI 3.0, 6.2.1). */
static int check_functions(struct pci_seg *seg, const struct pci_dev *dev, unsigned int devfn,
			   struct twx_error *e)
{
	unsigned int slot = devfn >> 3, fn = devfn & 7;
	const struct pci_fn *first = seg->fns[slot << 3];

	if (fn != 0 && first && !first->dev->info.multifunction) {
		twx_error_set(e, EINVAL,
			      "PCI: single function device can't be populated in function %x.%x",
			      slot, fn);
		return twx_error_hint(e, "add multifunction=on to the device at %x.0", slot);
	}
	for (unsigned int i = 1; fn == 0 && !dev->info.multifunction && i < 8; i++) {
		if (!seg->fns[slot << 3 | i])
			continue;
		twx_error_set(
			e, EINVAL,
			"PCI: %x.0 indicates single function, but %x.%x is already populated.",
			slot, slot, i);
		return twx_error_hint(e, "add multifunction=on to the device at %x.0", slot);
	}
	return 0;
}

static int free_slot(const struct pci_seg *seg, const char *name, unsigned int first,
		     struct twx_error *e)
{
	unsigned int end = seg->port ? 1 : N_SLOTS;

	for (unsigned int slot = seg->port ? 0 : first; slot < end; slot++)
		if (!seg->fns[slot << 3])
			return (int)(slot << 3);
	return twx_error_set(
		e, ENOSPC, "PCI: no slot/function available for %s, all in use or reserved", name);
}

int bus_choose(struct pci_seg *seg, const struct pci_dev *dev, const char *name, const char *addr,
	       unsigned int first_slot, struct twx_error *e)
{
	int devfn = addr ? parse_addr(name, addr, e) : free_slot(seg, name, first_slot, e);
	int rc;

	if (devfn < 0)
		return devfn;
	if (seg->port && devfn > 7)
		return twx_error_set(e, EINVAL,
				     "PCI: slot %d is not valid for %s, parent device only allows "
				     "plugging into slot 0.",
				     devfn >> 3, name);
	if (seg->fns[devfn])
		return in_use(seg->fns[devfn], name, e);
	rc = check_functions(seg, dev, (unsigned int)devfn, e);
	return rc < 0 ? rc : devfn;
}

/* Plugging. */

static void show_multifunction(struct pci_dev *dev, bool on)
{
	uint8_t bit = on ? MULTIFUNCTION : 0;

	dev->initial[PCI_HEADER_TYPE] = (dev->initial[PCI_HEADER_TYPE] & ~MULTIFUNCTION) | bit;
	dev->config[PCI_HEADER_TYPE] = (dev->config[PCI_HEADER_TYPE] & ~MULTIFUNCTION) | bit;
}

int bus_insert(struct pci_seg *seg, struct pci_dev *dev, const char *name, unsigned int devfn)
{
	struct pci_fn *fn = calloc(1, sizeof(*fn));

	if (!fn)
		return -ENOMEM;
	assert(!seg->fns[devfn] && !dev->host_ops);
	fn->seg = seg;
	fn->dev = dev;
	fn->devfn = (uint8_t)devfn;
	snprintf(fn->name, sizeof(fn->name), "%s", name);
	seg->fns[devfn] = fn;
	if (!dev->loop)
		dev->loop = seg->bus->loop;
	show_multifunction(dev, dev->info.multifunction);
	bus_ranges_init(fn);
	pci_attach(dev, &fn_host_ops, fn, seg->bus->ram);
	bus_ranges_update(fn);
	return 0;
}

static struct pci_seg *find_seg(struct pci_bus *bus, const char *name)
{
	struct pci_port *port;

	if (!name || !strcmp(name, "pci.0") || !strcmp(name, "pcie.0"))
		return &bus->root;
	port = port_find(bus, name);
	return port ? &port->seg : NULL;
}

static int cannot_hotplug(const char *bus_name, struct twx_error *e)
{
	twx_error_set(e, EPERM, "Bus '%s' does not support hotplugging",
		      bus_name ? bus_name : "pci.0");
	return twx_error_hint(e, "give the machine a root port (-device pcie-root-port,id=rp0) and "
				 "use bus=rp0");
}

int pci_bus_plug(struct pci_bus *bus, struct pci_dev *dev, const char *name, const char *bus_name,
		 const char *addr, unsigned int first_slot, bool hot, struct twx_error *e)
{
	struct pci_seg *seg = find_seg(bus, bus_name);
	const char *model = model_of(dev, name);
	struct pci_fn *first;
	int devfn;

	if (!seg)
		return twx_error_set(e, ENODEV, "Bus '%s' not found", bus_name);
	if (hot && !seg->port)
		return cannot_hotplug(bus_name, e);
	devfn = bus_choose(seg, dev, model, addr, first_slot, e);
	if (devfn < 0)
		return devfn;
	/* The guest looks at a slot when function 0 comes, and then at all of it. */
	first = seg->fns[devfn & ~7];
	if (hot && first)
		return twx_error_set(e, EBUSY,
				     "PCI: slot %d function 0 already occupied by %s, new func %s "
				     "cannot be exposed to guest.",
				     devfn >> 3, model_of(first->dev, first->name), model);
	if (bus_insert(seg, dev, name, (unsigned int)devfn) < 0)
		return twx_error_set(e, ENOMEM, "device %s: out of memory", name);
	if (seg->port && devfn == 0)
		port_plugged(seg->port, hot);
	return 0;
}

int pci_bus_add_fixed(struct pci_bus *bus, struct pci_dev *dev, unsigned int slot, unsigned int fn)
{
	char name[BUS_NAME_MAX];

	snprintf(name, sizeof(name), "%04x:%04x", dev->info.vendor, dev->info.device);
	return bus_insert(&bus->root, dev, name, slot << 3 | fn);
}

void pci_bus_unplug(struct pci_bus *bus, struct pci_dev *dev)
{
	struct pci_fn *fn = bus_fn(dev);
	struct pci_seg *seg = fn->seg;
	bool first = fn->devfn == 0;

	bus_ranges_fini(fn);
	fn_intx(dev, false);
	seg->fns[fn->devfn] = NULL;
	pci_detach(dev);
	show_multifunction(dev, false);
	free(fn);
	if (seg->port && first)
		port_unplugged(seg->port);
}

int pci_bus_ask_unplug(struct pci_bus *bus, struct pci_dev *dev,
		       void (*gone)(void *opaque, struct pci_dev *dev), void *opaque,
		       struct twx_error *e)
{
	struct pci_fn *fn = bus_fn(dev);
	int rc;

	if (!fn->seg->port)
		return cannot_hotplug(NULL, e);
	rc = port_ask_unplug(fn->seg->port, fn, e);
	if (rc < 0)
		return rc;
	fn->gone = gone;
	fn->gone_opaque = opaque;
	return 0;
}

/* Life cycle. */

int pci_bus_new(struct pci_bus **out, const struct pci_bus_ops *ops, void *opaque,
		struct aspace *mem, struct aspace *io, struct mem_map *ram, struct twx_loop *loop)
{
	struct pci_bus *bus = calloc(1, sizeof(*bus));

	if (!bus)
		return -ENOMEM;
	bus->ops = ops;
	bus->opaque = opaque;
	bus->mem = mem;
	bus->io = io;
	bus->ram = ram;
	bus->loop = loop;
	bus->root.bus = bus;
	if (bus_cfg_init(bus) < 0) {
		free(bus);
		return -ENOMEM;
	}
	*out = bus;
	return 0;
}

void pci_bus_free(struct pci_bus *bus)
{
	if (!bus)
		return;
	while (bus->ports) {
		struct pci_port *port = bus->ports;

		bus->ports = port->next;
		pci_bus_unplug(bus, &port->pci);
		port_free(port);
	}
	for (unsigned int i = 0; i < BUS_N_FNS; i++)
		assert(!bus->root.fns[i]);
	bus_cfg_fini(bus);
	free(bus);
}

static void seg_each(struct pci_seg *seg, const char *prefix,
		     void (*fn)(void *opaque, struct pci_dev *dev, const char *name,
				const char *place),
		     void *opaque)
{
	char place[BUS_NAME_MAX + 8];

	for (unsigned int i = 0; i < BUS_N_FNS; i++) {
		struct pci_fn *f = seg->fns[i];

		if (!f)
			continue;
		snprintf(place, sizeof(place), "%s:%02x.%x", prefix, bus_slot(f), bus_func(f));
		fn(opaque, f->dev, f->name, place);
	}
}

void pci_bus_each(struct pci_bus *bus,
		  void (*fn)(void *opaque, struct pci_dev *dev, const char *name,
			     const char *place),
		  void *opaque)
{
	seg_each(&bus->root, "00", fn, opaque);
	for (struct pci_port *port = bus->ports; port; port = port->next)
		seg_each(&port->seg, port->id, fn, opaque);
}

static void reset_fn(void *opaque, struct pci_dev *dev, const char *name, const char *place)
{
	pci_reset(dev);
}

void pci_bus_reset(struct pci_bus *bus)
{
	for (struct pci_port *port = bus->ports; port; port = port->next)
		port_reset(port);
	pci_bus_each(bus, reset_fn, NULL);
	bus->latch.addr = 0;
}

static const struct state_field latch_fields[] = {
	STATE_U32(struct bus_latch, addr),
	{ 0 },
};

static const struct state_section latch_sections[] = {
	{ .name = "pci-bus", .version = 1, .fields = latch_fields },
	{ 0 },
};

struct state_desc pci_bus_state(struct pci_bus *bus)
{
	return (struct state_desc){ latch_sections, &bus->latch, sizeof(bus->latch) };
}
