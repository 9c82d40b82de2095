/* SPDX-License-Identifier: BSD-3-Clause */
/* ACPI tables as a guest finds them: sums, links, contents; and what iasl makes of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/endian.h"
#include "board_kit.h"
#include "hosts/machine/acpi.h"
#include "hosts/machine/linux.h"

static struct board b;

static int setup(void **state)
{
	return board_kit_open(&b, 16u << 20, 0);
}

static int teardown(void **state)
{
	board_kit_close(&b);
	return 0;
}

static const uint8_t *at(uint64_t addr, uint64_t len)
{
	const uint8_t *p = mem_ptr(&b.ram, (gpa){ addr }, len);

	assert_non_null(p);
	return p;
}

static uint64_t le(const uint8_t *p, unsigned int size)
{
	le64 v = { 0 };

	memcpy(&v, p, size);
	return le64_get(v);
}

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len--)
		s = (uint8_t)(s + *p++);
	return s;
}

static void build(void)
{
	uint64_t rsdp;

	assert_int_equal(acpi_build(&b.m, &rsdp, NULL), 0);
	assert_int_equal(rsdp, ACPI_BASE);
}

/* The table that the XSDT lists under @signature, its sum right. */
static const uint8_t *table(const char *signature, size_t *len)
{
	uint64_t xsdt = le(at(ACPI_BASE, 36) + 24, 8);
	size_t n = (le(at(xsdt, 36) + 4, 4) - 36) / 8;

	for (size_t i = 0; i < n; i++) {
		uint64_t addr = le(at(xsdt + 36 + i * 8, 8), 8);
		const uint8_t *p = at(addr, 36);

		if (memcmp(p, signature, 4) != 0)
			continue;
		*len = le(p + 4, 4);
		assert_int_equal(sum(at(addr, *len), *len), 0);
		return p;
	}
	fail_msg("no table %s", signature);
	return NULL;
}

static void test_rsdp(void **state)
{
	const uint8_t *p;
	uint64_t xsdt;

	build();
	p = at(ACPI_BASE, 36);
	assert_memory_equal(p, "RSD PTR ", 8);
	assert_int_equal(sum(p, 20), 0);
	assert_int_equal(sum(p, 36), 0);
	assert_int_equal(p[15], 2);
	xsdt = le(p + 24, 8);
	p = at(xsdt, 36);
	assert_memory_equal(p, "XSDT", 4);
	assert_int_equal(sum(p, le(p + 4, 4)), 0);
}

/* Where the guest finds the fixed hardware, by the offsets of table 5.9. */
static void test_fadt(void **state)
{
	const uint8_t *p, *facs, *dsdt;
	size_t len;

	build();
	p = table("FACP", &len);
	assert_int_equal(len, 268);
	assert_int_equal(le(p + 46, 2), 9);	/* SCI_INT */
	assert_int_equal(le(p + 48, 4), 0);	/* SMI_CMD */
	assert_int_equal(le(p + 56, 4), 0x600); /* PM1a_EVT_BLK */
	assert_int_equal(le(p + 64, 4), 0x604); /* PM1a_CNT_BLK */
	assert_int_equal(le(p + 76, 4), 0x608); /* PM_TMR_BLK */
	assert_int_equal(p[88], 4);
	assert_int_equal(p[89], 2);
	assert_int_equal(p[91], 4);
	assert_int_equal(p[108], RTC_CENTURY);
	assert_int_equal(le(p + 109, 2) & 0x18, 0); /* MSI and ASPM are not forbidden */
	assert_int_equal(le(p + 112, 4) & (1u << 10 | 1u << 20), 1u << 10); /* reset, not reduced */
	assert_int_equal(le(p + 112, 4) & (1u << 4), 0); /* a fixed power button */
	assert_int_equal(p[116], 1);			 /* RESET_REG in I/O space */
	assert_int_equal(le(p + 120, 8), 0xcf9);
	assert_int_equal(p[128], 6);
	assert_int_equal(le(p + 152, 8), 0x600); /* X_PM1a_EVT_BLK */
	facs = at(le(p + 36, 4), 64);
	assert_memory_equal(facs, "FACS", 4);
	assert_int_equal(le(p + 36, 4) % 64, 0);
	dsdt = at(le(p + 140, 8), 36);
	assert_int_equal(le(p + 140, 8), le(p + 40, 4));
	assert_memory_equal(dsdt, "DSDT", 4);
	assert_int_equal(sum(dsdt, le(dsdt + 4, 4)), 0);
}

/* Entries of the MADT by type: how many, and the interrupts that are overridden. */
static void test_madt(void **state)
{
	unsigned int n[256] = { 0 }, level = 0;
	const uint8_t *p, *end;
	size_t len;

	b.m.n_cpus = 3;
	build();
	p = table("APIC", &len);
	assert_int_equal(le(p + 36, 4), LAPIC_ADDR);
	for (end = p + len, p += 44; p < end; p += p[1]) {
		assert_true(p[1] >= 2 && p + p[1] <= end);
		if (p[0] == 0)
			assert_int_equal(p[3], n[0]);
		if (p[0] == 1)
			assert_int_equal(le(p + 4, 4), IOAPIC_ADDR);
		if (p[0] == 2 && p[3] == 0)
			assert_int_equal(le(p + 4, 4), 2);
		else if (p[0] == 2 && le(p + 8, 2) == 0xd)
			level |= 1u << p[3];
		n[p[0]]++;
	}
	assert_ptr_equal(p, end);
	assert_int_equal(n[0], 3);
	assert_int_equal(n[1], 1);
	assert_int_equal(n[2], 5);
	assert_int_equal(level, 1u << 5 | 1u << 9 | 1u << 10 | 1u << 11);
}

static void test_mcfg(void **state)
{
	const uint8_t *p;
	size_t len;

	build();
	p = table("MCFG", &len);
	assert_int_equal(len, 60);
	assert_int_equal(le(p + 44, 8), ECAM_BASE);
	assert_int_equal(p[54], 0);
	assert_int_equal(p[55], 255);
}

/* A second build, after a reset, is the first one again. */
static void test_again(void **state)
{
	size_t len = ACPI_END - ACPI_BASE;
	uint8_t *copy = malloc(len);

	build();
	memcpy(copy, at(ACPI_BASE, len), len);
	memset(mem_ptr(&b.ram, (gpa){ ACPI_BASE }, len), 0xa5, len);
	build();
	assert_memory_equal(copy, at(ACPI_BASE, len), len);
	free(copy);
}

static void write_file(const char *dir, const char *name, const uint8_t *p)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.aml", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(p, le(p + 4, 4), 1, f), 1);
	fclose(f);
}

/* What iasl reads back from @name.aml is in a string, which is the caller's. */
static char *disassemble(const char *dir, const char *name)
{
	char cmd[600], *text = calloc(1, 1 << 20);
	size_t n;
	FILE *f;

	/* Compiled again, without a complaint: what is malformed is not seen by reading alone. */
	snprintf(cmd, sizeof(cmd),
		 "cd %s && iasl -d %s.aml >log 2>&1 && "
		 "{ case %s in dsdt) iasl -we -oa %s.dsl >>log 2>&1;; esac; } && cat %s.dsl || "
		 "{ cat log; echo FAILED; }",
		 dir, name, name, name, name);
	f = popen(cmd, "r");
	assert_non_null(f);
	n = fread(text, 1, (1 << 20) - 1, f);
	text[n] = 0;
	assert_int_equal(pclose(f), 0);
	if (strstr(text, "FAILED"))
		fail_msg("%s", text);
	return text;
}

static void expect(const char *text, const char *part)
{
	assert_non_null(part);
	if (!strstr(text, part))
		fail_msg("'%s' is not in: %s", part, text);
}

static unsigned int count(const char *text, const char *part)
{
	unsigned int n = 0;

	for (text = strstr(text, part); text; text = strstr(text + 1, part))
		n++;
	return n;
}

static void check_dsdt(const char *dir)
{
	char *text;
	size_t len;

	write_file(dir, "dsdt", at(le(table("FACP", &len) + 140, 8), 36));
	text = disassemble(dir, "dsdt");
	expect(text, "Device (PCI0)");
	expect(text, "EisaId (\"PNP0A08\")");
	expect(text, "Device (COM1)");
	expect(text, "Name (\\_S5, Package (0x04)");
	expect(text, "ToUUID (\"33db4d5b-1ff7-401c-9657-7441c03dd766\")");
	assert_int_equal(count(text, "\"ACPI0007\""), 2);
	assert_int_equal(count(text, "Device (COM2)"), 0);
	expect(text, "0xE0000000,         // Address Base");
	assert_int_equal(count(text, "FFFF, \n"), 32 * 4);
	free(text);
}

static void test_iasl(void **state)
{
	static const char *const names[] = { "FACP", "APIC", "MCFG" };
	char dir[] = "/tmp/acpi.XXXXXX", cmd[64];
	struct as_region com1 = { .name = "com1", .size = 8 };
	size_t len;

	if (system("iasl -v >/dev/null 2>&1") != 0) {
		print_message("iasl is not installed\n");
		skip();
	}
	assert_non_null(mkdtemp(dir));
	b.m.n_cpus = 2;
	assert_int_equal(as_add(&b.m.io, &com1, 0x3f8), 0);
	build();
	as_remove(&com1);
	check_dsdt(dir);
	for (unsigned int i = 0; i < 3; i++) {
		char *text;

		write_file(dir, names[i], table(names[i], &len));
		text = disassemble(dir, names[i]);
		assert_int_equal(count(text, "Invalid"), 0);
		assert_int_equal(count(text, "rror"), 0);
		free(text);
	}
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	assert_int_equal(system(cmd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_rsdp, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fadt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_madt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mcfg, setup, teardown),
		cmocka_unit_test_setup_teardown(test_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_iasl, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
