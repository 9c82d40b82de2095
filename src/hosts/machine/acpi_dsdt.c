/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The DSDT: what a guest cannot find out by itself about this board.
 *
 * \_SB: processors, the PCI host bridge PCI0 (its windows, the routes of its interrupt lines, _OSC)
 * with the ISA devices behind it, and the ECAM window as a motherboard resource, which Linux wants
 * to see reserved before it uses it (PCI Firmware 3.2, 4.1.2). \_S5: how to switch off.
 *
 * Interrupt routes are fixed: pin p of slot s is line (s + p) & 3, and the lines are GSI 10, 10, 11
 * and 11, as bridges.c routes them. Functions behind root ports are swizzled by the guest.
 */
#include "base/macros.h"
#include "hosts/machine/acpi.h"

#define PCI_SLOTS 32u
#define ISA_SLOT 1u
static const uint8_t line_gsi[4] = { 10, 10, 11, 11 };

/* Of _OSC: what a guest may control (PCI Firmware 3.2, 4.5.1). */
#define OSC_HOTPLUG 0x01u /* native, by the root ports' slot registers */
#define OSC_PME 0x04u
#define OSC_CAPABILITY 0x10u
#define OSC_GRANTED (OSC_HOTPLUG | OSC_PME | OSC_CAPABILITY)
#define OSC_UNKNOWN_UUID 0x04u
#define OSC_UNKNOWN_REVISION 0x08u
#define OSC_MASKED 0x10u

static void put_processors(struct twx_machine *m, struct aml *a)
{
	for (unsigned int i = 0; i < m->n_cpus; i++) {
		const char name[] = { 'C', '0', '0', (char)('0' + i), 0 };
		size_t dev = aml_device(a, name);

		aml_name_decl(a, "_HID");
		aml_string(a, "ACPI0007");
		aml_name_int(a, "_UID", i);
		aml_end(a, dev);
	}
}

static void put_host_windows(struct aml *a)
{
	size_t crs = aml_crs(a);

	aml_bus_window(a, 0, 255);
	aml_io(a, 0xcf8, 8);
	aml_io_window(a, 0, 0xcf7);
	aml_io_window(a, 0xd00, 0xffff);
	aml_memory_window(a, PCI_MEM_BASE, PCI_MEM_END - 1);
	aml_memory64_window(a, PCI_MEM64_BASE, PCI_MEM64_BASE + PCI_MEM64_LEN - 1);
	aml_crs_end(a, crs);
}

static void put_routes(struct aml *a)
{
	size_t all, one;

	aml_name_decl(a, "_PRT");
	all = aml_package(a, PCI_SLOTS * 4);
	for (unsigned int i = 0; i < PCI_SLOTS * 4; i++) {
		unsigned int slot = i / 4, pin = i % 4;

		one = aml_package(a, 4);
		aml_int(a, slot << 16 | 0xffff); /* every function */
		aml_int(a, pin);
		aml_int(a, 0); /* no link device: a GSI */
		aml_int(a, line_gsi[(slot + pin) & 3]);
		aml_end(a, one);
	}
	aml_end(a, all);
}

/* CreateDWordField (Arg3, @off, @name) */
static void put_osc_field(struct aml *a, unsigned int off, const char *name)
{
	aml_op(a, AML_CREATE_DWORD);
	aml_op(a, AML_ARG3);
	aml_int(a, off);
	aml_name(a, name);
}

/* @name |= @bits */
static void put_or(struct aml *a, const char *name, unsigned int bits)
{
	aml_op(a, AML_OR);
	aml_name(a, name);
	aml_int(a, bits);
	aml_name(a, name);
}

/* If the guest asks for less or other than @what says, a bit in the answer tells. */
static void put_osc_answer(struct aml *a)
{
	size_t cond;

	put_osc_field(a, 8, "CDW3");
	aml_op(a, AML_AND); /* Local0 = CDW3 & OSC_GRANTED */
	aml_name(a, "CDW3");
	aml_int(a, OSC_GRANTED);
	aml_op(a, AML_LOCAL0);
	cond = aml_if(a); /* If (Arg1 != 1) */
	aml_op(a, AML_LNOT);
	aml_op(a, AML_LEQUAL);
	aml_op(a, AML_ARG1);
	aml_op(a, AML_ONE);
	put_or(a, "CDW1", OSC_UNKNOWN_REVISION);
	aml_end(a, cond);
	cond = aml_if(a); /* If (CDW3 != Local0) */
	aml_op(a, AML_LNOT);
	aml_op(a, AML_LEQUAL);
	aml_name(a, "CDW3");
	aml_op(a, AML_LOCAL0);
	put_or(a, "CDW1", OSC_MASKED);
	aml_end(a, cond);
	aml_op(a, AML_STORE);
	aml_op(a, AML_LOCAL0);
	aml_name(a, "CDW3");
}

static void put_osc(struct aml *a)
{
	/* 33DB4D5B-1FF7-401C-9657-7441C03DD766, as ToUUID() lays it out */
	static const uint8_t uuid[16] = { 0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40,
					  0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66 };
	size_t method = aml_method(a, "_OSC", 4), cond, buf;

	put_osc_field(a, 0, "CDW1");
	cond = aml_if(a);
	aml_op(a, AML_LEQUAL);
	aml_op(a, AML_ARG0);
	buf = aml_buffer(a);
	aml_bytes(a, uuid, sizeof(uuid));
	aml_buffer_end(a, buf);
	put_osc_answer(a);
	aml_end(a, cond);
	cond = aml_else(a);
	put_or(a, "CDW1", OSC_UNKNOWN_UUID);
	aml_end(a, cond);
	aml_op(a, AML_RETURN);
	aml_op(a, AML_ARG3);
	aml_end(a, method);
}

/* Devices at fixed ports, as a PC has them. */
struct isa_dev {
	const char *name, *hid;
	uint16_t port;
	uint8_t len;
	uint16_t port2; /* 0: one range only */
	uint8_t len2;
	uint8_t irq; /* 0: none */
	uint8_t uid;
};
static const struct isa_dev isa_devs[] = {
	{ "RTC", "PNP0B00", 0x70, 2, 0, 0, 8, 0 },
	{ "KBD", "PNP0303", 0x60, 1, 0x64, 1, 1, 0 },
	/* Those that are there, by number. */
	{ "COM1", "PNP0501", 0x3f8, 8, 0, 0, 4, 1 },
	{ "COM2", "PNP0501", 0x2f8, 8, 0, 0, 3, 2 },
	{ "COM3", "PNP0501", 0x3e8, 8, 0, 0, 4, 3 },
	{ "COM4", "PNP0501", 0x2e8, 8, 0, 0, 3, 4 },
};

static void put_isa_dev(struct aml *a, const struct isa_dev *d)
{
	size_t dev = aml_device(a, d->name), crs;

	aml_name_eisa(a, "_HID", d->hid);
	if (d->uid)
		aml_name_int(a, "_UID", d->uid);
	crs = aml_crs(a);
	aml_io(a, d->port, d->len);
	if (d->port2)
		aml_io(a, d->port2, d->len2);
	if (d->irq)
		aml_irq(a, d->irq);
	aml_crs_end(a, crs);
	aml_end(a, dev);
}

static void put_isa(struct twx_machine *m, struct aml *a)
{
	size_t isa = aml_device(a, "ISA");

	aml_name_int(a, "_ADR", ISA_SLOT << 16);
	for (unsigned int i = 0; i < array_size(isa_devs); i++)
		if (isa_devs[i].uid == 0 || as_find(&m->io, isa_devs[i].port))
			put_isa_dev(a, &isa_devs[i]);
	aml_end(a, isa);
}

static void put_pci(struct twx_machine *m, struct aml *a)
{
	size_t pci = aml_device(a, "PCI0");

	aml_name_eisa(a, "_HID", "PNP0A08");
	aml_name_eisa(a, "_CID", "PNP0A03");
	aml_name_int(a, "_UID", 0);
	aml_name_int(a, "_SEG", 0);
	aml_name_int(a, "_BBN", 0);
	put_host_windows(a);
	put_routes(a);
	put_osc(a);
	put_isa(m, a);
	aml_end(a, pci);
}

/* What is taken of the address spaces and belongs to nobody else. */
static void put_motherboard(struct aml *a)
{
	size_t dev = aml_device(a, "MB0"), crs;

	aml_name_eisa(a, "_HID", "PNP0C02");
	crs = aml_crs(a);
	aml_memory32(a, ECAM_BASE, 256u << 20);
	aml_io(a, PM_BASE, 12);
	aml_crs_end(a, crs);
	aml_end(a, dev);
}

static void put_s5(struct aml *a)
{
	size_t p;

	aml_name_decl(a, "\\_S5");
	p = aml_package(a, 4);
	aml_int(a, ACPI_S5_TYPE);
	aml_int(a, ACPI_S5_TYPE);
	aml_int(a, 0);
	aml_int(a, 0);
	aml_end(a, p);
}

void acpi_dsdt(struct twx_machine *m, struct aml *a)
{
	size_t sb = aml_scope(a, "\\_SB");

	put_processors(m, a);
	put_pci(m, a);
	put_motherboard(a);
	aml_end(a, sb);
	put_s5(a);
}
