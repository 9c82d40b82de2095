/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * e1000: Intel's 82540EM and its siblings 82544GC and 82545EM as a PCI function (Intel, "PCI/PCI-X
 * Family of Gigabit Ethernet Controllers Software Developer's Manual", revision 4.0; section
 * numbers in these files are that manual's).
 *
 * What is modelled: every register of the memory BAR (e1000_regs.h) and the window onto them in the
 * I/O BAR, the EEPROM, the PHY and the link, interrupts and their moderation, statistics, both
 * rings with all descriptor formats, checksums, segmentation, VLAN tags, the receive filters, both
 * loopbacks, CTRL.RST. What is not: flow control (nothing pauses), wake-up and the flexible filters
 * (registers only), the flash, TBI and half duplex, the internal FIFOs. The function has no
 * capabilities: INTx only, as QEMU's.
 *
 * Files: this one opens the device, answers the bus, resets and keeps the clock; e1000_regs.c finds
 * a register by its offset; e1000_phy.c, _eeprom.c, _irq.c, _stats.c are what stands behind theirs;
 * e1000_tx.c, _rx.c, _filter.c move frames; e1000_state.c saves all of it.
 *
 * A frame's way out: nic_bar_write > e1000_reg_write > e1000_tx_start > twx_port_send. In: the
 * peer's twx_port_send > e1000_rx_receive > e1000_cause_rx > pci_set_intx. The task runs at the end
 * of a round in which somebody asked for it: transmit what a budget left over, tell the core that
 * frames are welcome.
 *
 * Back-pressure: what the peer refuses stays in the transmit ring, for 250 ms at most, then it goes
 * into the peer's bounded queue; a frame for which the receive ring has no room waits with its
 * sender. Work per doorbell is bounded (e1000_tx.c has the numbers).
 *
 * Who owns what: registers are the guest's, in reg[] by slot; everything derived from them is
 * derived again after a reset and a loaded state. Time is the device's own (e1000_now), which
 * stands still with the machine.
 *
 * Options: mac, autonegotiation, mitigation, extra_mac_registers, init-vet and migrate_tso_props do
 * what they do in QEMU. What places the card in a machine (addr, multifunction, bootindex,
 * acpi-index, failover_pair_id) is the VMM's, and refused here with a sentence; a machine of ours
 * takes the first two.
 *
 * Differences from QEMU that a guest can see:
 *  - CTRL.RST resets the MAC; QEMU ignores it. CTRL.PHY_RST and BMCR.RESET restart negotiation,
 *    BMCR.POWER_DOWN takes the link away.
 *  - IOADDR and IODATA work. FCAL, FCAH, FCT, FCTTV, TXCW, TIPG, TIDV, RXDCTL, RXCSUM, CTRL_EXT,
 *    FLA and the 82542's alias addresses exist. Reserved bits read as zero; PBA's transmit half
 *    follows its receive half; STATUS follows a forced speed and duplex.
 *  - PHY registers 7, 8, 15, 18, 19, 24, 29, 30 exist.
 *  - RXCSUM works, RCTL.LBM too. Receiving goes on at once after a write to RCTL (QEMU waits 1 s).
 *  - Every statistics register is cleared by reading it, MPC and RNBC too.
 *  - Interrupt moderation is the manual's; see e1000_irq.c.
 */
#include "nics/e1000.h"

#include <errno.h>
#include <stdio.h>

#include "base/macros.h"

#define BAR_MMIO 0
#define BAR_IO 1

/* The window of the I/O BAR (13.2.2). */
#define IO_ADDR 0
#define IO_DATA 4
#define IO_ADDR_MASK 0xfffff

static const struct twx_opt_desc e1000_options[] = {
	{ .name = "autonegotiation",
	  .type = TWX_OPT_BOOL,
	  .def = "on",
	  .help = "the link comes up after 500 ms of negotiation" },
	{ .name = "mitigation",
	  .type = TWX_OPT_BOOL,
	  .def = "on",
	  .help = "registers that moderate interrupts (ITR, RDTR, RADV, TIDV, TADV)" },
	{ .name = "extra_mac_registers",
	  .type = TWX_OPT_BOOL,
	  .def = "on",
	  .help = "registers for statistics, wake-up and diagnosis" },
	{ .name = "init-vet",
	  .type = TWX_OPT_BOOL,
	  .def = "on",
	  .help = "VET is 0x8100 after a reset" },
	{ .name = "migrate_tso_props",
	  .type = TWX_OPT_BOOL,
	  .def = "on",
	  .help = "the segmentation context is saved beside the other one" },
	{ .name = "addr",
	  .type = TWX_OPT_STR,
	  .help = "refused: give it to the VMM's device",
	  .words = "SLOT.FN" },
	{ .name = "multifunction",
	  .type = TWX_OPT_BOOL,
	  .help = "refused: give it to the VMM's device" },
	{ .name = "bootindex",
	  .type = TWX_OPT_STR,
	  .help = "refused: give it to the VMM's device",
	  .words = "N" },
	{ .name = "acpi-index",
	  .type = TWX_OPT_STR,
	  .help = "refused: give it to the VMM's device",
	  .words = "N" },
	{ .name = "failover_pair_id",
	  .type = TWX_OPT_STR,
	  .help = "refused: give it to the VMM's device",
	  .words = "ID" },
	{ 0 },
};

static const struct e1000_kind kinds[] = {
	{ "e1000", 0x100e, 0x0c20 },
	{ "e1000-82540em", 0x100e, 0x0c20 },
	{ "e1000-82544gc", 0x100c, 0x0c30 },
	{ "e1000-82545em", 0x100f, 0x0c20 },
};

static struct e1000 *dev_of(struct pci_dev *pci)
{
	return container_of(pci, struct e1000, pci);
}

/* The clock. */

void e1000_timer_set(struct e1000 *d, struct twx_timer *t, uint64_t due)
{
	if (d->pci.running)
		twx_timer_set(t, due + d->clock_off);
}

static void clock_stop(struct e1000 *d)
{
	d->clock = e1000_now(d);
	twx_timer_cancel(&d->autoneg_timer);
	twx_timer_cancel(&d->irq.timer);
	twx_timer_cancel(&d->tx.patience);
	twx_timer_cancel(&d->rx.hurry);
}

static void clock_start(struct e1000 *d)
{
	d->clock_off = twx_loop_now(d->pci.loop) - d->clock;
	if (d->autoneg_due)
		e1000_timer_set(d, &d->autoneg_timer, d->autoneg_due);
	e1000_irq_update(d);
	e1000_tx_wait(d);
}

/* The end of a round. */

void e1000_defer(struct e1000 *d)
{
	twx_loop_defer(d->pci.loop, &d->task);
}

static void nic_task(struct twx_task *t)
{
	struct e1000 *d = container_of(t, struct e1000, task);

	e1000_tx_poll(d);
	e1000_rx_poll(d);
}

/* The bus's calls. */

static uint64_t nic_bar_read(struct pci_dev *pci, unsigned int bar, uint64_t off, unsigned int size)
{
	struct e1000 *d = dev_of(pci);

	if (likely(bar == BAR_MMIO))
		return e1000_reg_read(d, (uint32_t)off);
	if (off == IO_ADDR)
		return d->ioaddr;
	if (off == IO_DATA && d->ioaddr < E1000_MMIO_SIZE)
		return e1000_reg_read(d, d->ioaddr & ~3u);
	return 0;
}

static void nic_bar_write(struct pci_dev *pci, unsigned int bar, uint64_t off, unsigned int size,
			  uint64_t value, uint64_t mask)
{
	struct e1000 *d = dev_of(pci);

	if (likely(bar == BAR_MMIO)) {
		e1000_reg_write(d, (uint32_t)off, (uint32_t)value);
		return;
	}
	/* 13.2.2.1, 13.2.2.2: writes of less than 32 bits are ignored. */
	if ((uint32_t)mask != UINT32_MAX)
		return;
	if (off == IO_ADDR)
		d->ioaddr = (uint32_t)value & IO_ADDR_MASK;
	else if (off == IO_DATA && d->ioaddr < E1000_MMIO_SIZE)
		e1000_reg_write(d, d->ioaddr & ~3u, (uint32_t)value);
}

/* What waited for memory to be reachable goes on. */
static void nic_wake(struct e1000 *d)
{
	e1000_rx_refill(d);
	e1000_tx_start(d);
}

static void nic_config_written(struct pci_dev *pci, uint32_t off, uint32_t len)
{
	nic_wake(dev_of(pci));
}

void e1000_reset_mac(struct e1000 *d)
{
	e1000_irq_reset(d);
	e1000_tx_reset(d);
	e1000_regs_reset(d);
	e1000_eeprom_load(d);
	e1000_eecd_write(d, 0);
	e1000_link_status(d);
	e1000_rx_config(d);
}

static void nic_reset(struct pci_dev *pci)
{
	struct e1000 *d = dev_of(pci);

	d->ioaddr = 0;
	e1000_reset_mac(d);
	e1000_phy_reset(d);
}

static void nic_mem_changed(struct pci_dev *pci)
{
	nic_wake(dev_of(pci));
}

static void nic_run(struct pci_dev *pci, bool running)
{
	struct e1000 *d = dev_of(pci);

	if (!running) {
		clock_stop(d);
	} else {
		clock_start(d);
		nic_wake(d);
	}
}

static const struct pci_dev_ops e1000_pci_ops = {
	.bar_read = nic_bar_read,
	.bar_write = nic_bar_write,
	.config_written = nic_config_written,
	.reset = nic_reset,
	.mem_changed = nic_mem_changed,
	.run = nic_run,
};

/* The core's calls. */

static void nic_link_changed(struct twx_port *port)
{
	struct e1000 *d = e1000_of(port);

	if (d->cable == !port->link_down)
		return;
	d->cable = !port->link_down;
	e1000_link_apply(d);
}

static void nic_info(struct twx_port *port, char *buf, size_t size)
{
	const struct e1000 *d = e1000_of(port);
	uint32_t lo = d->reg[R_RA], hi = d->reg[R_RA + 1];

	snprintf(buf, size, "model=%s,macaddr=%02x:%02x:%02x:%02x:%02x:%02x", port->model,
		 lo & 0xff, lo >> 8 & 0xff, lo >> 16 & 0xff, lo >> 24, hi & 0xff, hi >> 8 & 0xff);
}

static const struct twx_port_ops e1000_port_ops = {
	.receive = e1000_rx_receive,
	.resume = e1000_tx_resume,
	.link_changed = nic_link_changed,
	.info = nic_info,
};

/* Set-up. */

/*
 * Registers whose writes may be late. TDT: what follows is frames on the wire, and descriptors
 * done, neither of which has a time. IMS: the line rises a little later. IMC: the line falls a
 * little later, as on any bus that posts; a driver that must know reads a register, which comes
 * after. RDT: buffers that nobody misses until the ring runs empty; drivers that are interrupted
 * then look at a register, and for those that only poll memory e1000_rx_hurry() asks while a frame
 * waits.
 */
enum nic_off {
#define X(name, off, ...) OFF_##name = (off),
	E1000_REGS(X)
#undef X
};

static const struct pci_zone nic_zones[] = {
	{ PCI_ZONE_POST, BAR_MMIO, OFF_TDT, 4 },
	{ PCI_ZONE_POST, BAR_MMIO, OFF_IMS, 4 },
	{ PCI_ZONE_POST, BAR_MMIO, OFF_IMC, 4 },
	{ PCI_ZONE_LAZY, BAR_MMIO, OFF_RDT, 4 },
	{ .kind = PCI_ZONE_NONE },
};

static int nic_refuse(const struct twx_nic *nic, const struct twx_opts *opts, struct twx_error *e)
{
	static const char *const keys[] = { "addr", "multifunction", "bootindex", "acpi-index",
					    "failover_pair_id" };

	/* The first two are a machine's of ours to obey. */
	for (size_t i = nic->placed ? 2 : 0; i < array_size(keys); i++) {
		if (!twx_opts_given(opts, keys[i]))
			continue;
		if (nic->placed) {
			twx_error_set(e, EINVAL, "device %s: %s= is nothing that this machine has",
				      nic->id, keys[i]);
			return twx_error_hint(e, "leave %s out", keys[i]);
		}
		twx_error_set(e, EINVAL,
			      "device %s: %s= is the VMM's to obey, which places the card", nic->id,
			      keys[i]);
		return twx_error_hint(e, "give it to the VMM's own -device for this card");
	}
	return 0;
}

static const struct e1000_kind *nic_kind(const struct twx_nic *nic)
{
	size_t i = 0;

	while (strcmp(kinds[i].model, nic->model->name) != 0)
		i++;
	return &kinds[i];
}

static int nic_init_pci(struct e1000 *d, const struct twx_opts *opts, struct twx_error *e)
{
	const struct pci_info info = {
		.vendor = 0x8086,
		.device = d->kind->device,
		.subsys_vendor = 0x1af4,
		.subsys = 0x1100,
		.revision = 3,
		.class_code = 0x020000,
		.int_pin = 1,
		.cache_line = 0x10,
		.bars = {
			[BAR_MMIO] = { .kind = PCI_BAR_MEM32, .size = E1000_MMIO_SIZE, .min = 4, .max = 4 },
			[BAR_IO] = { .kind = PCI_BAR_IO, .size = E1000_IO_SIZE, .min = 4, .max = 4 },
		},
		.zones = nic_zones,
	};
	int rc;

	rc = pci_dev_init(&d->pci, d->nic, &e1000_pci_ops, &info, e);
	if (rc < 0)
		return rc;
	rc = pci_load_rom(&d->pci, opts, e);
	if (rc < 0)
		pci_dev_fini(&d->pci);
	e1000_state_init(d);
	return rc;
}

static int nic_open(struct twx_nic *nic, const struct twx_opts *opts, struct twx_error *e)
{
	struct e1000 *d = nic->priv;
	int rc;

	rc = nic_refuse(nic, opts, e);
	if (rc < 0)
		return rc;
	d->nic = nic;
	d->kind = nic_kind(nic);
	d->autonegotiation = twx_opts_bool(opts, "autonegotiation");
	d->init_vet = twx_opts_bool(opts, "init-vet");
	d->migrate_tso_props = twx_opts_bool(opts, "migrate_tso_props");
	d->gated = (uint8_t)((twx_opts_bool(opts, "extra_mac_registers") ? 0 : E1000_EXTRA) |
			     (twx_opts_bool(opts, "mitigation") ? 0 : E1000_MITIG));
	d->cable = true;
	d->port = twx_nic_add_port(nic, e);
	if (!d->port)
		return e->code ? -e->code : -ENOMEM;
	rc = nic_init_pci(d, opts, e);
	if (rc < 0)
		return rc;
	d->clock_off = twx_loop_now(nic->loop);
	d->task.fn = nic_task;
	twx_timer_init(&d->autoneg_timer, nic->loop, e1000_autoneg_done);
	twx_timer_init(&d->irq.timer, nic->loop, e1000_irq_timer);
	twx_timer_init(&d->tx.patience, nic->loop, e1000_tx_impatient);
	twx_timer_init(&d->rx.hurry, nic->loop, e1000_rx_hurry);
	e1000_eeprom_init(d);
	nic_reset(&d->pci);
	return 0;
}

static void nic_close(struct twx_nic *nic)
{
	struct e1000 *d = nic->priv;

	twx_loop_undefer(nic->loop, &d->task);
	twx_timer_cancel(&d->autoneg_timer);
	twx_timer_cancel(&d->irq.timer);
	twx_timer_cancel(&d->tx.patience);
	twx_timer_cancel(&d->rx.hurry);
	pci_dev_fini(&d->pci);
}

#define E1000_MODEL(sym, model_name, text)                                                         \
	const struct twx_nic_model sym = {                                                         \
		.name = model_name,                                                                \
		.help = text,                                                                      \
		.bus = "pci",                                                                      \
		.options = e1000_options,                                                          \
		.port_ops = &e1000_port_ops,                                                       \
		.priv_size = sizeof(struct e1000),                                                 \
		.open = nic_open,                                                                  \
		.close = nic_close,                                                                \
	}

E1000_MODEL(e1000_model, "e1000", "Intel 82540EM, a gigabit card that every system knows");
E1000_MODEL(e1000_82540em_model, "e1000-82540em", "the same, by its full name");
E1000_MODEL(e1000_82544gc_model, "e1000-82544gc", "Intel 82544GC, its sibling for copper");
E1000_MODEL(e1000_82545em_model, "e1000-82545em", "Intel 82545EM, its sibling for servers");
