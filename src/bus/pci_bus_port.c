/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Root ports: a bridge (PCI-to-PCI Bridge 1.2, 3.2), its PCI Express capability (PCIe 3.0, 7.8) and
 * the slot behind it, with native hot-plug (6.7).
 *
 * The slot has an attention button, a power controller and indicators; nothing is removed by
 * surprise, and commands are complete at once (No Command Completed Support). What is in it can be
 * reached while power is on and the link is not disabled; then the link is active. Presence and
 * link are derived from who is plugged and from the registers, by port_update(), which also tells
 * events and the interrupt: MSI when the first event comes up, INTx while there is one (6.7.3.4).
 *
 * Coming: presence changes and the button is pressed; the guest switches power on, the link comes
 * up. At start and after a reset a slot with something in it has power. Going: the button is
 * pressed; the guest lets go of the functions and switches power off, and whoever asked hears of it
 * from the loop, and unplugs. A guest that did not answer can be asked again after 5 s (within
 * them, a second press means never mind). Losing power resets a function.
 *
 * Not there: ports behind ports, AER, the link's speeds, locks and sensors of a slot. Bus master
 * enable of the port holds back its own messages alone.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus/pci_bus_priv.h"

#define EXP_LEN 0x3c /* of the capability's version 2 */
#define PRESS_NS 5000000000ull
#define SLOT_NUMBER_SHIFT 19
#define WINDOW_64 1u /* of the prefetchable window's registers */

#define EVENTS                                                                                     \
	(PCI_EXP_SLTSTA_ABP | PCI_EXP_SLTSTA_PFD | PCI_EXP_SLTSTA_MRLSC | PCI_EXP_SLTSTA_PDC |     \
	 PCI_EXP_SLTSTA_CC | PCI_EXP_SLTSTA_DLLSC)
/* Enable bits that have the place of their event's. */
#define SAME_PLACE                                                                                 \
	(PCI_EXP_SLTCTL_ABPE | PCI_EXP_SLTCTL_PFDE | PCI_EXP_SLTCTL_MRLSCE | PCI_EXP_SLTCTL_PDCE | \
	 PCI_EXP_SLTCTL_CCIE)

static uint8_t *exp_reg(struct pci_port *port, unsigned int off)
{
	return port->pci.config + port->exp + off;
}

static uint16_t exp_get(const struct pci_port *port, unsigned int off)
{
	return pci_get16(port->pci.config + port->exp + off);
}

static void exp_change(struct pci_port *port, unsigned int off, uint16_t clear, uint16_t set)
{
	pci_put16(exp_reg(port, off), (uint16_t)((exp_get(port, off) & ~clear) | set));
}

/* Who is there. */

struct pci_port *port_find(struct pci_bus *bus, const char *id)
{
	struct pci_port *port = bus->ports;

	while (port && strcmp(port->id, id) != 0)
		port = port->next;
	return port;
}

bool pci_bus_is_root_port(struct pci_bus *bus, const char *id)
{
	return port_find(bus, id) != NULL;
}

static bool port_occupied(const struct pci_port *port)
{
	return port->seg.fns[0] != NULL;
}

static bool port_powered(const struct pci_port *port)
{
	return !(exp_get(port, PCI_EXP_SLTCTL) & PCI_EXP_SLTCTL_PCC);
}

static bool link_active(const struct pci_port *port)
{
	return exp_get(port, PCI_EXP_LNKSTA) & PCI_EXP_LNKSTA_DLLLA;
}

struct pci_seg *port_bus(struct pci_bus *bus, unsigned int num)
{
	for (struct pci_port *port = bus->ports; port; port = port->next)
		if (port->pci.config[PCI_SECONDARY_BUS] == num && link_active(port))
			return &port->seg;
	return NULL;
}

/* Windows (PCI-to-PCI Bridge 1.2, 3.2.5.6 to 3.2.5.10); base above limit: none. */

static bool window_has(uint64_t base, uint64_t limit, uint64_t addr, uint64_t size)
{
	return addr >= base && addr <= limit && size - 1 <= limit - addr;
}

static bool io_passes(const uint8_t *c, uint64_t addr, uint64_t size)
{
	uint64_t base = (c[PCI_IO_BASE] & 0xf0u) << 8, limit = (c[PCI_IO_LIMIT] & 0xf0u) << 8;

	return window_has(base, limit | 0xfff, addr, size);
}

static bool mem_passes(const uint8_t *c, uint64_t addr, uint64_t size)
{
	uint64_t base = (pci_get16(c + PCI_MEMORY_BASE) & 0xfff0ull) << 16;
	uint64_t limit = (pci_get16(c + PCI_MEMORY_LIMIT) & 0xfff0ull) << 16;

	return window_has(base, limit | 0xfffff, addr, size);
}

static bool pref_passes(const uint8_t *c, uint64_t addr, uint64_t size)
{
	uint64_t base = (pci_get16(c + PCI_PREF_MEMORY_BASE) & 0xfff0ull) << 16;
	uint64_t limit = (pci_get16(c + PCI_PREF_MEMORY_LIMIT) & 0xfff0ull) << 16;

	base |= (uint64_t)pci_get32(c + PCI_PREF_BASE_UPPER32) << 32;
	limit |= (uint64_t)pci_get32(c + PCI_PREF_LIMIT_UPPER32) << 32;
	return window_has(base, limit | 0xfffff, addr, size);
}

bool port_passes(const struct pci_port *port, bool io, uint64_t addr, uint64_t size)
{
	const uint8_t *c = port->pci.config;

	if (!link_active(port) || !pci_decodes(&port->pci, io ? PCI_BAR_IO : PCI_BAR_MEM32))
		return false;
	return io ? io_passes(c, addr, size)
		  : mem_passes(c, addr, size) || pref_passes(c, addr, size);
}

/* Events. */

static void irq_update(struct pci_port *port)
{
	uint16_t ctl = exp_get(port, PCI_EXP_SLTCTL), sta = exp_get(port, PCI_EXP_SLTSTA);
	uint16_t enabled = ctl & SAME_PLACE;
	bool raised, before = port->raised;

	if (ctl & PCI_EXP_SLTCTL_DLLSCE)
		enabled |= PCI_EXP_SLTSTA_DLLSC;
	raised = (ctl & PCI_EXP_SLTCTL_HPIE) && (sta & enabled);
	port->raised = raised;
	pci_set_intx(&port->pci, raised);
	if (raised && !before && port->pci.irq_mode != PCI_IRQ_INTX)
		pci_notify(&port->pci, 0);
}

static void seg_update(struct pci_seg *seg)
{
	for (unsigned int i = 0; i < 8; i++)
		if (seg->fns[i])
			bus_ranges_update(seg->fns[i]);
}

/* The bits that show how things are. A change of the link is an event. */
static void state_update(struct pci_port *port)
{
	bool was = link_active(port), is;

	is = port_occupied(port) && port_powered(port) &&
	     !(exp_get(port, PCI_EXP_LNKCTL) & PCI_EXP_LNKCTL_LD);
	exp_change(port, PCI_EXP_SLTSTA, PCI_EXP_SLTSTA_PDS,
		   port_occupied(port) ? PCI_EXP_SLTSTA_PDS : 0);
	exp_change(port, PCI_EXP_LNKSTA, PCI_EXP_LNKSTA_DLLLA, is ? PCI_EXP_LNKSTA_DLLLA : 0);
	if (is != was)
		exp_change(port, PCI_EXP_SLTSTA, 0, PCI_EXP_SLTSTA_DLLSC);
}

void port_update(struct pci_port *port)
{
	state_update(port);
	seg_update(&port->seg);
	irq_update(port);
}

static void port_event(struct pci_port *port, uint16_t events)
{
	exp_change(port, PCI_EXP_SLTSTA, 0, events);
	port_update(port);
}

/* Those who wait for the guest to let go; each call may unplug. */
static void gone_task(struct twx_task *t)
{
	struct pci_port *port = container_of(t, struct pci_port, task);

	for (unsigned int i = 0; i < 8; i++) {
		struct pci_fn *fn = port->seg.fns[i];
		void (*gone)(void *opaque, struct pci_dev *dev);

		if (!fn || !fn->gone || !fn->let_go)
			continue;
		gone = fn->gone;
		fn->gone = NULL;
		gone(fn->gone_opaque, fn->dev);
	}
}

static void seg_reset(struct pci_seg *seg)
{
	for (unsigned int i = 0; i < 8; i++)
		if (seg->fns[i])
			pci_reset(seg->fns[i]->dev);
}

/* Those in the slot who are waited for are free to go. */
static void all_let_go(struct pci_port *port)
{
	for (unsigned int i = 0; i < 8; i++)
		if (port->seg.fns[i] && port->seg.fns[i]->gone)
			port->seg.fns[i]->let_go = true;
	twx_loop_defer(port->pci.loop, &port->task);
}

/* What is in the slot is as after a reset until it has power again. */
static void power_lost(struct pci_port *port)
{
	seg_reset(&port->seg);
	all_let_go(port);
}

void port_written(struct pci_port *port, const uint8_t *old)
{
	const uint8_t *now = port->pci.config;
	unsigned int ctl = port->exp + PCI_EXP_SLTCTL;
	uint16_t before = pci_get16(old + ctl), after = pci_get16(now + ctl);

	if (after & ~before & PCI_EXP_SLTCTL_PCC)
		power_lost(port);
	if (now[PCI_BRIDGE_CONTROL] & ~old[PCI_BRIDGE_CONTROL] & PCI_BRIDGE_CTL_BUS_RESET)
		seg_reset(&port->seg);
	port_update(port);
}

/* Hot-plug. */

void port_plugged(struct pci_port *port, bool hot)
{
	if (hot) {
		port_event(port, PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_ABP);
		return;
	}
	exp_change(port, PCI_EXP_SLTCTL, PCI_EXP_SLTCTL_PCC | PCI_EXP_SLTCTL_PIC,
		   PCI_EXP_SLTCTL_PWR_IND_ON);
	state_update(port);
	exp_change(port, PCI_EXP_SLTSTA, EVENTS, 0);
	port_update(port);
}

void port_unplugged(struct pci_port *port)
{
	port_event(port, PCI_EXP_SLTSTA_PDC);
}

/* Nobody uses it who would have to let go. */
static bool unused(const struct pci_port *port, const struct pci_fn *fn)
{
	const uint16_t any = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

	return !port_powered(port) || !(pci_command(fn->dev) & any);
}

int port_ask_unplug(struct pci_port *port, struct pci_fn *fn, struct twx_error *e)
{
	uint64_t now = twx_loop_now(port->pci.loop);
	bool pressed = false;

	if (unused(port, fn)) {
		fn->let_go = true;
		twx_loop_defer(port->pci.loop, &port->task);
		return 0;
	}
	if ((exp_get(port, PCI_EXP_SLTCTL) & PCI_EXP_SLTCTL_PIC) == PCI_EXP_SLTCTL_PWR_IND_BLINK &&
	    !fn->gone)
		return twx_error_set(e, EBUSY,
				     "Hot-unplug failed: guest is busy (power indicator blinking)");
	if (fn->gone && now - fn->asked < PRESS_NS)
		return twx_error_set(e, EBUSY, "Device %s is already in the process of unplug",
				     fn->name);
	/* One press is for all that is in the slot. */
	for (unsigned int i = 0; i < 8; i++) {
		const struct pci_fn *other = port->seg.fns[i];

		pressed |= other && other->gone && now - other->asked < PRESS_NS;
	}
	fn->asked = now;
	if (!pressed)
		port_event(port, PCI_EXP_SLTSTA_ABP);
	return 0;
}

void port_reset(struct pci_port *port)
{
	all_let_go(port);
}

/* The port as a function. */

static uint64_t port_bar_read(struct pci_dev *dev, unsigned int bar, uint64_t off,
			      unsigned int size)
{
	return 0;
}

static void port_bar_write(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int size,
			   uint64_t value, uint64_t mask)
{
}

/* Firmware leaves power on where something is. Functions behind the port are reset with the bus. */
static void port_dev_reset(struct pci_dev *dev)
{
	struct pci_port *port = container_of(dev, struct pci_port, pci);

	port->raised = false;
	if (port_occupied(port))
		port_plugged(port, false);
	else
		port_update(port);
}

static const struct pci_dev_ops port_ops = {
	.bar_read = port_bar_read,
	.bar_write = port_bar_write,
	.reset = port_dev_reset,
};

static void header_init(struct pci_dev *dev)
{
	const uint16_t windows = 0xfff0;
	uint8_t *c = dev->initial, *w = dev->wmask;

	c[PCI_HEADER_TYPE] = PCI_HEADER_TYPE_BRIDGE;
	w[PCI_COMMAND] |= PCI_COMMAND_IO | PCI_COMMAND_MEMORY;
	w[PCI_LATENCY_TIMER] = 0; /* 0 in PCI Express (7.5.1.6) */
	w[PCI_PRIMARY_BUS] = w[PCI_SECONDARY_BUS] = w[PCI_SUBORDINATE_BUS] = 0xff;
	c[PCI_IO_BASE] = 0xf0;
	w[PCI_IO_BASE] = w[PCI_IO_LIMIT] = 0xf0;
	pci_put16(c + PCI_MEMORY_BASE, windows);
	pci_put16(w + PCI_MEMORY_BASE, windows);
	pci_put16(w + PCI_MEMORY_LIMIT, windows);
	pci_put16(c + PCI_PREF_MEMORY_BASE, windows | WINDOW_64);
	pci_put16(c + PCI_PREF_MEMORY_LIMIT, WINDOW_64);
	pci_put16(w + PCI_PREF_MEMORY_BASE, windows);
	pci_put16(w + PCI_PREF_MEMORY_LIMIT, windows);
	pci_put32(w + PCI_PREF_BASE_UPPER32, UINT32_MAX);
	pci_put32(w + PCI_PREF_LIMIT_UPPER32, UINT32_MAX);
	pci_put16(dev->w1c + PCI_SEC_STATUS, pci_get16(dev->w1c + PCI_STATUS));
	w[PCI_BRIDGE_CONTROL] = PCI_BRIDGE_CTL_PARITY | PCI_BRIDGE_CTL_SERR | PCI_BRIDGE_CTL_ISA |
				PCI_BRIDGE_CTL_BUS_RESET;
}

static void exp_init(struct pci_port *port)
{
	const uint32_t slot = PCI_EXP_SLTCAP_ABP | PCI_EXP_SLTCAP_PCP | PCI_EXP_SLTCAP_AIP |
			      PCI_EXP_SLTCAP_PIP | PCI_EXP_SLTCAP_HPC | PCI_EXP_SLTCAP_NCCS;
	const uint16_t errors =
		PCI_EXP_DEVSTA_CED | PCI_EXP_DEVSTA_NFED | PCI_EXP_DEVSTA_FED | PCI_EXP_DEVSTA_URD;
	uint8_t body[EXP_LEN] = { 0 }, mask[EXP_LEN] = { 0 };
	struct pci_dev *dev = &port->pci;

	pci_put16(body + PCI_EXP_FLAGS, 2 | PCI_EXP_TYPE_ROOT_PORT << 4 | PCI_EXP_FLAGS_SLOT);
	pci_put32(body + PCI_EXP_DEVCAP, PCI_EXP_DEVCAP_RBER);
	pci_put16(mask + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_CERE | PCI_EXP_DEVCTL_NFERE |
						 PCI_EXP_DEVCTL_FERE | PCI_EXP_DEVCTL_URRE |
						 PCI_EXP_DEVCTL_PAYLOAD);
	pci_put32(body + PCI_EXP_LNKCAP,
		  PCI_EXP_LNKCAP_SLS_2_5GB | 1 << 4 | PCI_EXP_LNKCAP_DLLLARC | port->number << 24);
	pci_put16(mask + PCI_EXP_LNKCTL, PCI_EXP_LNKCTL_ASPMC | PCI_EXP_LNKCTL_LD |
						 PCI_EXP_LNKCTL_CCC | PCI_EXP_LNKCTL_ES);
	pci_put16(body + PCI_EXP_LNKSTA, PCI_EXP_LNKSTA_CLS_2_5GB | 1 << 4);
	pci_put32(body + PCI_EXP_SLTCAP, slot | port->number << SLOT_NUMBER_SHIFT);
	pci_put16(body + PCI_EXP_SLTCTL,
		  PCI_EXP_SLTCTL_PCC | PCI_EXP_SLTCTL_PWR_IND_OFF | PCI_EXP_SLTCTL_ATTN_IND_OFF);
	pci_put16(mask + PCI_EXP_SLTCTL, SAME_PLACE | PCI_EXP_SLTCTL_HPIE | PCI_EXP_SLTCTL_AIC |
						 PCI_EXP_SLTCTL_PIC | PCI_EXP_SLTCTL_PCC |
						 PCI_EXP_SLTCTL_DLLSCE);
	pci_put16(mask + PCI_EXP_RTCTL, PCI_EXP_RTCTL_SECEE | PCI_EXP_RTCTL_SENFEE |
						PCI_EXP_RTCTL_SEFEE | PCI_EXP_RTCTL_PMEIE);
	port->exp = pci_add_capability(dev, PCI_CAP_ID_EXP, EXP_LEN, body + 2, mask + 2);
	pci_put16(dev->w1c + port->exp + PCI_EXP_DEVSTA, errors);
	pci_put16(dev->w1c + port->exp + PCI_EXP_SLTSTA, EVENTS);
	pci_put16(dev->live + port->exp + PCI_EXP_SLTSTA, PCI_EXP_SLTSTA_PDS);
	pci_put16(dev->live + port->exp + PCI_EXP_LNKSTA, PCI_EXP_LNKSTA_DLLLA);
}

static int port_init(struct pci_port *port, struct pci_bus *bus, struct twx_error *e)
{
	static const struct pci_info info = {
		.vendor = 0x1b36,
		.device = 0x000c,
		.class_code = 0x060400,
		.int_pin = 1,
		.n_msi = 1,
		.msi_flags = PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT,
	};
	struct pci_dev *dev = &port->pci;
	int rc = pci_dev_init(dev, NULL, &port_ops, &info, e);

	if (rc < 0)
		return rc;
	dev->loop = bus->loop;
	dev->config_size = PCI_CFG_SPACE_EXP_SIZE;
	header_init(dev);
	exp_init(port);
	port->task.fn = gone_task;
	port->seg = (struct pci_seg){ .bus = bus, .port = port };
	return 0;
}

static int check_id(struct pci_bus *bus, const char *id, struct twx_error *e)
{
	if (strlen(id) >= BUS_NAME_MAX)
		return twx_error_set(e, EINVAL, "pcie-root-port: an id of more than %d bytes",
				     BUS_NAME_MAX - 1);
	if (port_find(bus, id))
		return twx_error_set(e, EEXIST, "Duplicate device ID '%s'", id);
	return 0;
}

int pci_root_port_new(struct pci_bus *bus, const char *id, const char *addr, struct twx_error *e)
{
	static const char name[] = "pcie-root-port";
	struct pci_port *port, **end = &bus->ports;
	int rc = check_id(bus, id, e), devfn;

	if (rc < 0)
		return rc;
	port = calloc(1, sizeof(*port));
	if (!port)
		return twx_error_set(e, ENOMEM, "device %s: out of memory", id);
	for (port->number = 1; *end; end = &(*end)->next)
		port->number++;
	snprintf(port->id, sizeof(port->id), "%s", id);
	rc = port_init(port, bus, e);
	if (rc < 0) {
		free(port);
		return rc;
	}
	devfn = bus_choose(&bus->root, &port->pci, name, addr, 0, e);
	rc = devfn;
	if (rc >= 0 && bus_insert(&bus->root, &port->pci, name, (unsigned int)devfn) < 0)
		rc = twx_error_set(e, ENOMEM, "device %s: out of memory", id);
	if (rc < 0) {
		port_free(port);
		return rc;
	}
	*end = port;
	return 0;
}

struct pci_port *port_of(const struct pci_fn *fn)
{
	return fn->dev->ops == &port_ops ? container_of(fn->dev, struct pci_port, pci) : NULL;
}

void port_free(struct pci_port *port)
{
	if (port->task.pending)
		twx_loop_undefer(port->pci.loop, &port->task);
	pci_dev_fini(&port->pci);
	free(port);
}
