/* SPDX-License-Identifier: BSD-3-Clause */
/* The machine's PCI bus and who is plugged into it: NICs as a host type, root ports, hot-unplug. */
#include <errno.h>
#include <string.h>

#include "bus/virtio_pci.h"
#include "hosts/machine/machine.h"

#define FIRST_SLOT 3 /* as in QEMU's pc, which has bridges and a display before */

/* The PCI bus's world. */

static void bus_line(void *opaque, unsigned int line, bool level)
{
	struct twx_machine *m = opaque;

	TWX_TRACE(m->trace, TWX_HOP_VM_LINE, level ? "up" : "down", 0, line);
	board_pci_line(m, line, level);
}

static void bus_message(void *opaque, uint64_t addr, uint32_t data)
{
	struct twx_machine *m = opaque;

	TWX_TRACE(m->trace, TWX_HOP_VM_MESSAGE, "", 0, data);
	m->accel->message(m, addr, data);
}

static int bus_doorbell(void *opaque, bool io, uint64_t addr, const struct pci_doorbell *bell,
			bool on)
{
	struct twx_machine *m = opaque;

	return m->accel->doorbell != NULL ? m->accel->doorbell(m, io, addr, bell, on) : -ENOTSUP;
}

static int bus_message_fd(void *opaque, struct pci_dev *dev, unsigned int vector, uint64_t addr,
			  uint32_t data, int fd)
{
	struct twx_machine *m = opaque;

	return m->accel->message_fd != NULL ? m->accel->message_fd(m, dev, vector, addr, data, fd)
					    : -ENOTSUP;
}

static void bus_zone(void *opaque, enum pci_zone_kind kind, uint64_t addr, uint32_t len, bool on)
{
	struct twx_machine *m = opaque;

	/* Where it is not to be had, the writes are made at once. */
	if (kind == PCI_ZONE_LAZY && m->accel->lazy != NULL)
		(void)m->accel->lazy(m, addr, len, on);
	else if (kind == PCI_ZONE_POST)
		machine_zone(m, addr, len, on);
}

static bool bus_hurry(void *opaque)
{
	struct twx_machine *m = opaque;

	if (m->accel->hurry == NULL)
		return false;
	m->accel->hurry(m);
	return true;
}

const struct pci_bus_ops machine_bus_ops = {
	.line = bus_line,
	.message = bus_message,
	.doorbell = bus_doorbell,
	.message_fd = bus_message_fd,
	.zone = bus_zone,
	.hurry = bus_hurry,
};

/* The host of the machine's NICs. */

struct slot {
	struct twx_machine *m;
	struct pci_dev *dev;
	bool own_dev, plugged;
};

/* A root port that a NIC names and nobody has made is made. */
static int slot_bus(struct twx_machine *m, const char *bus, struct twx_error *e)
{
	if (bus == NULL || m->started || !strcmp(bus, "pci.0") || !strcmp(bus, "pcie.0") ||
	    pci_bus_is_root_port(m->pci, bus))
		return 0;
	return pci_root_port_new(m->pci, bus, NULL, e);
}

static void slot_close(struct twx_host *h)
{
	struct slot *s = h->priv;

	if (s->plugged)
		pci_bus_unplug(s->m->pci, s->dev);
	if (s->own_dev)
		virtio_pci_free(s->dev);
	*s = (struct slot){ 0 };
}

static int slot_open(struct twx_host *h, const char *address, const struct twx_opts *opts,
		     struct twx_error *e)
{
	const char *bus = twx_opts_str(opts, "bus");
	struct slot *s = h->priv;
	int err;

	(void)address;
	s->m = h->opaque;
	s->dev = h->nic->priv;
	err = slot_bus(s->m, bus, e);
	if (err == 0 && strcmp(h->nic->model->bus, "virtio") == 0) {
		err = (bus != NULL && pci_bus_is_root_port(s->m->pci, bus)
			       ? virtio_pci_new_express
			       : virtio_pci_new)(&s->dev, h->nic, h->nic->priv, opts, e);
		s->own_dev = err == 0;
	}
	if (err == 0) {
		s->dev->info.multifunction = twx_opts_bool(opts, "multifunction");
		err = pci_bus_plug(s->m->pci, s->dev, h->nic->id, bus, twx_opts_str(opts, "addr"),
				   FIRST_SLOT, s->m->started, e);
		s->plugged = err == 0;
	}
	if (err < 0)
		slot_close(h);
	return err;
}

static const struct twx_opt_desc slot_options[] = {
	{ .name = "bus",
	  .type = TWX_OPT_STR,
	  .help = "PCI bus to plug into: pci.0, or a root port's id (pci.0)",
	  .words = "ID" },
	{ .name = "addr",
	  .type = TWX_OPT_STR,
	  .help = "slot and function on that bus: 5, 05.0 (the first free slot)",
	  .words = "SLOT[.FUNCTION]" },
	{ .name = "multifunction",
	  .type = TWX_OPT_BOOL,
	  .def = "off",
	  .help = "function 0 of several in its slot" },
	{ .name = NULL },
};

static const struct twx_host_bus slot_buses[] = { { "pci", pci_options },
						  { "virtio", virtio_pci_options },
						  { NULL, NULL } };

const struct twx_host_type machine_host_type = {
	.name = "machine",
	.help = "a slot of the machine in this process",
	.buses = slot_buses,
	.options = slot_options,
	.priv_size = sizeof(struct slot),
	.open = slot_open,
	.close = slot_close,
	.places = true,
};

/* Devices that are no NICs. */

static const struct twx_opt_desc root_port_options[] = {
	{ .name = "bus", .type = TWX_OPT_STR, .help = "pcie.0", .words = "ID" },
	{ .name = "addr",
	  .type = TWX_OPT_STR,
	  .help = "slot and function: 5, 05.0 (the first free slot)",
	  .words = "SLOT[.FUNCTION]" },
	{ .name = NULL },
};

static int root_port(struct twx_machine *m, struct twx_opts *o, struct twx_error *e)
{
	const char *id = twx_opts_raw(o, "id"), *bus;
	int err = twx_opts_check(o, root_port_options, e);

	if (err < 0)
		return err;
	bus = twx_opts_str(o, "bus");
	if (bus != NULL && strcmp(bus, "pcie.0") != 0 && strcmp(bus, "pci.0") != 0)
		return twx_error_set(e, EINVAL, "Bus '%s' not found", bus);
	if (id == NULL)
		return twx_error_set(e, EINVAL, "Parameter 'id' is missing");
	if (m->started)
		return twx_error_set(e, EPERM, "Bus 'pcie.0' does not support hotplugging");
	return pci_root_port_new(m->pci, id, twx_opts_str(o, "addr"), e);
}

int twx_machine_device(struct twx_machine *m, const char *text, struct twx_error *e)
{
	struct twx_error own;
	struct twx_opts *o;
	const char *driver;
	int err;

	e = e != NULL ? e : &own;
	err = twx_opts_parse(&o, text, "driver", e);
	if (err < 0)
		return err;
	driver = twx_opts_raw(o, "driver");
	if (driver != NULL && strcmp(driver, "pcie-root-port") == 0)
		err = root_port(m, o, e);
	else
		err = twx_error_set(e, ENODEV, "'%s' is not a valid device model name",
				    driver != NULL ? driver : "");
	twx_opts_free(o);
	return err;
}

/* Hot-unplug. */

static void gone(void *opaque, struct pci_dev *dev)
{
	twx_nic_free(dev->nic);
	machine_tell(opaque, TWX_MACHINE_UNPLUGGED);
}

int twx_machine_unplug(struct twx_machine *m, struct twx_nic *nic, struct twx_error *e)
{
	struct slot *s = nic->host != NULL && nic->host->opaque == m ? nic->host->priv : NULL;
	struct twx_error own;

	e = e != NULL ? e : &own;
	if (s == NULL)
		return twx_error_set(e, ENODEV, "Device '%s' not found", nic->id);
	if (!m->started) {
		twx_nic_free(nic);
		machine_tell(m, TWX_MACHINE_UNPLUGGED);
		return 0;
	}
	return pci_bus_ask_unplug(m->pci, s->dev, gone, m, e);
}
