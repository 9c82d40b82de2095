/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ACPI tables in the guest's memory: RSDP, XSDT, FADT, FACS, MADT, MCFG and DSDT.
 *
 * Source: ACPI 6.4, chapter 5.2; PCI Firmware 3.2 for MCFG. They lie between 896 KiB and 1 MiB,
 * the RSDP at the beginning, where a guest finds it with (boot_params, hvm_start_info) or without
 * (by its signature) being told. E820 calls that range ACPI memory.
 *
 * The fixed hardware is that of pm.c: SCI, event and control block, timer, power button, no GPE
 * block, no SMI command port, so that the machine is in ACPI mode from the beginning. Root ports
 * plug by their own registers, hence nothing about hot-plug is here but _OSC.
 */
#include "hosts/machine/acpi.h"

#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "base/macros.h"
#include "hosts/machine/linux.h"

struct rsdp {
	char signature[8];
	uint8_t sum;
	char oem[6];
	uint8_t revision;
	le32 rsdt, len;
	le64 xsdt;
	uint8_t ext_sum, reserved[3];
} __attribute__((packed));

struct acpi_head {
	char signature[4];
	le32 len;
	uint8_t revision, sum;
	char oem[6], oem_table[8];
	le32 oem_revision;
	char creator[4];
	le32 creator_revision;
} __attribute__((packed));

struct acpi_gas {
	uint8_t space, width, off, access;
	le64 addr;
} __attribute__((packed));
#define GAS_IO 1u

/* Revision 5: 268 bytes (5.2.9). */
struct fadt {
	struct acpi_head head;
	le32 facs, dsdt;
	uint8_t reserved0, profile;
	le16 sci;
	le32 smi_cmd;
	uint8_t acpi_enable, acpi_disable, s4bios, pstate;
	le32 pm1a_evt, pm1b_evt, pm1a_cnt, pm1b_cnt, pm2_cnt, pm_tmr, gpe0, gpe1;
	uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len, gpe0_len, gpe1_len, gpe1_base;
	uint8_t cst_cnt;
	le16 c2_latency, c3_latency, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
	le16 boot_arch;
	uint8_t reserved1;
	le32 flags;
	struct acpi_gas reset;
	uint8_t reset_value;
	le16 arm_boot_arch;
	uint8_t minor;
	le64 x_facs, x_dsdt;
	struct acpi_gas x_pm1a_evt, x_pm1b_evt, x_pm1a_cnt, x_pm1b_cnt, x_pm2_cnt, x_pm_tmr, x_gpe0,
		x_gpe1, sleep_control, sleep_status;
} __attribute__((packed));
_Static_assert(sizeof(struct fadt) == 268, "FADT of revision 5");

/* Flags of the FADT and of its IA-PC boot architecture. */
#define FADT_WBINVD (1u << 0)
#define FADT_PROC_C1 (1u << 2)
#define FADT_NO_SLEEP_BUTTON (1u << 5)
#define FADT_RTC_NOT_FIXED (1u << 6)
#define FADT_TIMER_32BIT (1u << 8)
#define FADT_RESET_REG (1u << 10)
#define ARCH_LEGACY_DEVICES (1u << 0)
#define ARCH_8042 (1u << 1)
#define ARCH_NO_VGA (1u << 2)
#define NO_C2 101u /* µs; above 100 it is not there */
#define NO_C3 1001u

struct facs {
	char signature[4];
	le32 len, hardware, waking, lock, flags;
	le64 x_waking;
	uint8_t version, reserved[31];
} __attribute__((packed));

struct madt_lapic {
	uint8_t type, len, uid, id;
	le32 flags;
} __attribute__((packed));
struct madt_ioapic {
	uint8_t type, len, id, reserved;
	le32 addr, gsi;
} __attribute__((packed));
struct madt_override {
	uint8_t type, len, bus, irq;
	le32 gsi;
	le16 flags;
} __attribute__((packed));
struct madt_nmi {
	uint8_t type, len, uid;
	le16 flags;
	uint8_t lint;
} __attribute__((packed));
#define INTI_EDGE_HIGH 0x0u /* as the bus has it: ISA */
#define INTI_LEVEL_HIGH 0xdu

/* Where tables go next, and where the last one begins. */
struct tables {
	struct aml a; /* the memory from ACPI_BASE on */
	size_t table;
	uint64_t list[4];
	unsigned int n;
};

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len--)
		s = (uint8_t)(s + *p++);
	return s;
}

static void align(struct tables *t, size_t to)
{
	while (t->a.len % to && !t->a.overflow)
		aml_le(&t->a, 0, 1);
}

static void table_begin(struct tables *t, const char *signature, uint8_t revision)
{
	struct acpi_head h = { .revision = revision,
			       .oem = { 'T', 'W', 'I', 'N', 'A', 'X' },
			       .oem_table = { 'V', 'M', ' ', ' ', ' ', ' ', ' ', ' ' },
			       .oem_revision = le32_make(1),
			       .creator = { 'T', 'W', 'N', 'X' },
			       .creator_revision = le32_make(1) };

	memcpy(h.signature, signature, sizeof(h.signature));
	align(t, 16);
	t->table = t->a.len;
	aml_bytes(&t->a, &h, sizeof(h));
}

/* Length and checksum; the table's address. */
static uint64_t table_end(struct tables *t)
{
	uint8_t *p = t->a.buf + t->table;
	struct acpi_head h;

	if (t->a.overflow)
		return 0;
	memcpy(&h, p, sizeof(h));
	h.len = le32_make((uint32_t)(t->a.len - t->table));
	memcpy(p, &h, sizeof(h));
	h.sum = (uint8_t)-sum(p, t->a.len - t->table);
	memcpy(p, &h, sizeof(h));
	return ACPI_BASE + t->table;
}

/* The same for a table that the XSDT names. */
static void table_listed(struct tables *t)
{
	t->list[t->n++] = table_end(t);
}

static uint64_t put_facs(struct tables *t)
{
	struct facs f = { .signature = { 'F', 'A', 'C', 'S' },
			  .len = le32_make(sizeof(f)),
			  .version = 2 };

	align(t, 64);
	aml_bytes(&t->a, &f, sizeof(f));
	return ACPI_BASE + t->a.len - sizeof(f);
}

static struct acpi_gas gas_io(uint32_t port, uint8_t bytes)
{
	/* Access sizes: 1 byte, 2 word, 3 double word. */
	return (struct acpi_gas){ .space = GAS_IO,
				  .width = (uint8_t)(bytes * 8),
				  .access = bytes == 4 ? 3 : bytes,
				  .addr = le64_make(port) };
}

static void put_fadt(struct tables *t, uint64_t facs, uint64_t dsdt)
{
	struct fadt f = {
		.facs = le32_make((uint32_t)facs),
		.dsdt = le32_make((uint32_t)dsdt),
		.sci = le16_make(PM_SCI),
		.pm1a_evt = le32_make(PM_BASE),
		.pm1a_cnt = le32_make(PM_BASE + 4),
		.pm_tmr = le32_make(PM_BASE + 8),
		.pm1_evt_len = 4,
		.pm1_cnt_len = 2,
		.pm_tmr_len = 4,
		.c2_latency = le16_make(NO_C2),
		.c3_latency = le16_make(NO_C3),
		.century = RTC_CENTURY,
		.boot_arch = le16_make(ARCH_LEGACY_DEVICES | ARCH_8042 | ARCH_NO_VGA),
		.flags = le32_make(FADT_WBINVD | FADT_PROC_C1 | FADT_NO_SLEEP_BUTTON |
				   FADT_RTC_NOT_FIXED | FADT_TIMER_32BIT | FADT_RESET_REG),
		.reset = gas_io(RESET_PORT, 1),
		.reset_value = 6,
		.minor = 1,
		.x_dsdt = le64_make(dsdt),
		.x_pm1a_evt = gas_io(PM_BASE, 4),
		.x_pm1a_cnt = gas_io(PM_BASE + 4, 2),
		.x_pm_tmr = gas_io(PM_BASE + 8, 4),
	};

	table_begin(t, "FACP", 5);
	aml_bytes(&t->a, (uint8_t *)&f + sizeof(f.head), sizeof(f) - sizeof(f.head));
	table_listed(t);
}

static void put_override(struct aml *a, uint8_t irq, uint32_t gsi, uint16_t flags)
{
	struct madt_override o = { .type = 2,
				   .len = sizeof(o),
				   .irq = irq,
				   .gsi = le32_make(gsi),
				   .flags = le16_make(flags) };

	aml_bytes(a, &o, sizeof(o));
}

static void put_madt(struct twx_machine *m, struct tables *t)
{
	static const uint8_t level[] = { 5, 9, 10, 11 };
	struct madt_ioapic io = { .type = 1, .len = sizeof(io), .addr = le32_make(IOAPIC_ADDR) };
	struct madt_nmi nmi = { .type = 4, .len = sizeof(nmi), .uid = 0xff, .lint = 1 };

	table_begin(t, "APIC", 3);
	aml_le(&t->a, LAPIC_ADDR, 4);
	aml_le(&t->a, 1, 4); /* there is a pair of 8259s, too */
	for (unsigned int i = 0; i < m->n_cpus; i++) {
		struct madt_lapic l = {
			.len = sizeof(l), .uid = (uint8_t)i, .id = (uint8_t)i, .flags = le32_make(1)
		};

		aml_bytes(&t->a, &l, sizeof(l));
	}
	aml_bytes(&t->a, &io, sizeof(io));
	put_override(&t->a, 0, 2, INTI_EDGE_HIGH);
	for (unsigned int i = 0; i < array_size(level); i++)
		put_override(&t->a, level[i], level[i], INTI_LEVEL_HIGH);
	aml_bytes(&t->a, &nmi, sizeof(nmi));
	table_listed(t);
}

static void put_mcfg(struct tables *t)
{
	table_begin(t, "MCFG", 1);
	aml_le(&t->a, 0, 8);
	aml_le(&t->a, ECAM_BASE, 8);
	aml_le(&t->a, 0, 2); /* segment */
	aml_le(&t->a, 0, 1); /* buses */
	aml_le(&t->a, 255, 1);
	aml_le(&t->a, 0, 4);
	table_listed(t);
}

static uint64_t put_xsdt(struct tables *t)
{
	table_begin(t, "XSDT", 1);
	for (unsigned int i = 0; i < t->n; i++)
		aml_le(&t->a, t->list[i], 8);
	return table_end(t);
}

static void put_rsdp(struct tables *t, uint64_t xsdt)
{
	struct rsdp r = { .signature = { 'R', 'S', 'D', ' ', 'P', 'T', 'R', ' ' },
			  .oem = { 'T', 'W', 'I', 'N', 'A', 'X' },
			  .revision = 2,
			  .len = le32_make(sizeof(r)),
			  .xsdt = le64_make(xsdt) };

	r.sum = (uint8_t)-sum((uint8_t *)&r, offsetof(struct rsdp, len));
	r.ext_sum = (uint8_t)-sum((uint8_t *)&r, sizeof(r));
	memcpy(t->a.buf, &r, sizeof(r));
}

int acpi_build(struct twx_machine *m, uint64_t *rsdp, struct twx_error *e)
{
	struct tables t = { .a = { .buf = boot_ram(m, ACPI_BASE, ACPI_END - ACPI_BASE),
				   .len = sizeof(struct rsdp),
				   .room = ACPI_END - ACPI_BASE } };
	uint64_t dsdt, facs, xsdt;

	if (!t.a.buf)
		return twx_error_set(e, ENOMEM, "ACPI tables: no memory at 0x%llx",
				     (unsigned long long)ACPI_BASE);
	memset(t.a.buf, 0, t.a.room);
	table_begin(&t, "DSDT", 2);
	acpi_dsdt(m, &t.a);
	dsdt = table_end(&t);
	facs = put_facs(&t);
	put_fadt(&t, facs, dsdt);
	put_madt(m, &t);
	put_mcfg(&t);
	xsdt = put_xsdt(&t);
	if (t.a.overflow)
		return twx_error_set(e, ENOSPC, "ACPI tables: more than %zu bytes", t.a.room);
	put_rsdp(&t, xsdt);
	*rsdp = ACPI_BASE;
	return 0;
}
