/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The chipset's functions: a host bridge, and an ISA bridge that routes the PCI bus's interrupt
 * lines (Intel 82371SB, "PIIX3", 2.2.13: PIRQRC, registers 0x60 to 0x63).
 *
 * Each of the four lines has a register: bit 7 leaves it unconnected, the low bits are the IRQ,
 * which is the number of the PIC's and the IOAPIC's input (GSI). Lines that share one are taken
 * together. Numbers that are no IRQ for PCI (0, 1, 2, 8, 13) connect nothing.
 *
 * Nothing else of the two chips is there but their ids: no memory timing, no DMA, no IDE.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/macros.h"
#include "bus/pci_priv.h"
#include "hosts/machine/machine.h"

#define ISA_SLOT 1
#define PIRQRC 0x60u
#define PIRQRC_OFF 0x80
#define PIRQRC_IRQ 0x0f
#define N_LINES 4
#define IRQS 0xdef8u /* 3 to 7, 9 to 12, 14, 15 */

struct bridges {
	struct pci_dev host, isa;
	struct twx_machine *m;
	bool line[N_LINES]; /* the bus's levels */
	uint16_t raised;    /* GSIs that are held, by bit */
	struct board_dev board;
};

static const struct pci_info host_info = {
	.vendor = 0x8086,
	.device = 0x1237,
	.subsys_vendor = 0x1af4,
	.subsys = 0x1100,
	.revision = 2,
	.class_code = 0x060000,
};

static const struct pci_info isa_info = {
	.vendor = 0x8086,
	.device = 0x7000,
	.subsys_vendor = 0x1af4,
	.subsys = 0x1100,
	.class_code = 0x060100,
};

/* The routes. */

/* A bus's line (slot + pin) is wired to the PIRQ before it: slot 1's INTA is PIRQA, as on QEMU's
 * pc, whose guests and qtest clients know the wiring. */
static unsigned int pirq_of(unsigned int line)
{
	return (line + N_LINES - 1) % N_LINES;
}

static void routes_update(struct bridges *b)
{
	uint16_t raised = 0, changed;

	for (unsigned int i = 0; i < N_LINES; i++) {
		uint8_t route = b->isa.config[PIRQRC + pirq_of(i)];

		if (b->line[i] && !(route & PIRQRC_OFF))
			raised |= (uint16_t)(1u << (route & PIRQRC_IRQ) & IRQS);
	}
	changed = raised ^ b->raised;
	b->raised = raised;
	for (unsigned int gsi = 0; gsi < 16; gsi++)
		if (changed >> gsi & 1)
			machine_set_gsi(b->m, gsi, raised >> gsi & 1);
}

static void bridges_free(void *opaque);

static struct bridges *bridges_of(struct twx_machine *m)
{
	for (struct board_dev *d = m->devs; d; d = d->next)
		if (d->free == bridges_free)
			return d->opaque;
	return NULL;
}

void board_pci_line(struct twx_machine *m, unsigned int line, bool level)
{
	struct bridges *b = bridges_of(m);

	if (!b)
		return;
	b->line[line % N_LINES] = level;
	routes_update(b);
}

void board_route_lines(struct twx_machine *m, const uint8_t irq[4])
{
	struct bridges *b = bridges_of(m);
	uint8_t routes[N_LINES];

	for (unsigned int i = 0; i < N_LINES; i++)
		routes[pirq_of(i)] = irq[i];
	if (b)
		(void)pci_config_write(&b->isa, PIRQRC, routes, N_LINES);
}

/* The functions. */

static uint64_t bar_read(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int size)
{
	return 0;
}

static void bar_write(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int size,
		      uint64_t value, uint64_t mask)
{
}

static void host_reset(struct pci_dev *dev)
{
}

static void isa_reset(struct pci_dev *dev)
{
	routes_update(container_of(dev, struct bridges, isa));
}

static void isa_written(struct pci_dev *dev, uint32_t off, uint32_t len)
{
	routes_update(container_of(dev, struct bridges, isa));
}

static const struct pci_dev_ops host_ops = { .bar_read = bar_read,
					     .bar_write = bar_write,
					     .reset = host_reset };

static const struct pci_dev_ops isa_ops = {
	.bar_read = bar_read,
	.bar_write = bar_write,
	.config_written = isa_written,
	.reset = isa_reset,
};

/*
 * The registers are saved with the function, and the lines with whoever holds them; which GSIs are
 * up follows from both, in whatever order they are loaded. So there is nothing to save here.
 */

static const struct state_field isa_fields[] = { { 0 } };

static void isa_loaded(void *obj)
{
	routes_update(obj);
}

static const struct state_section isa_sections[] = {
	{ .name = "isa-bridge", .version = 1, .fields = isa_fields, .after_load = isa_loaded },
	{ 0 },
};

static void bridges_free(void *opaque)
{
	struct bridges *b = opaque;

	pci_bus_unplug(b->m->pci, &b->isa);
	pci_bus_unplug(b->m->pci, &b->host);
	pci_dev_fini(&b->isa);
	pci_dev_fini(&b->host);
	free(b);
}

static void isa_init(struct bridges *b)
{
	for (unsigned int i = 0; i < N_LINES; i++) {
		b->isa.initial[PIRQRC + i] = b->isa.config[PIRQRC + i] = PIRQRC_OFF;
		b->isa.wmask[PIRQRC + i] = PIRQRC_OFF | PIRQRC_IRQ;
	}
	b->isa.state = (struct state_desc){ isa_sections, b, sizeof(*b) };
}

static int bridges_plug(struct bridges *b)
{
	int rc = pci_bus_add_fixed(b->m->pci, &b->host, 0, 0);

	if (rc < 0)
		return rc;
	rc = pci_bus_add_fixed(b->m->pci, &b->isa, ISA_SLOT, 0);
	if (rc < 0)
		pci_bus_unplug(b->m->pci, &b->host);
	return rc;
}

int board_bridges(struct twx_machine *m, struct twx_error *e)
{
	struct bridges *b = calloc(1, sizeof(*b));
	int rc;

	if (!b)
		return twx_error_set(e, ENOMEM, "bridges: out of memory");
	b->m = m;
	rc = pci_dev_init(&b->host, NULL, &host_ops, &host_info, e);
	if (rc == 0)
		rc = pci_dev_init(&b->isa, NULL, &isa_ops, &isa_info, e);
	if (rc == 0) {
		isa_init(b);
		rc = bridges_plug(b);
	}
	if (rc < 0) {
		pci_dev_fini(&b->isa);
		pci_dev_fini(&b->host);
		free(b);
		return twx_error_set(e, -rc, "bridges: %s", strerror(-rc));
	}
	b->board = (struct board_dev){
		.name = "bridges", .opaque = b, .free = bridges_free, .state = pci_bus_state(m->pci)
	};
	machine_add_dev(m, &b->board);
	return 0;
}
