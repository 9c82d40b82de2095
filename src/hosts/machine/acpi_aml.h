/* SPDX-License-Identifier: BSD-3-Clause */
/* AML (ACPI 6.4, chapter 20) written term by term into a buffer, and resource descriptors. */
#ifndef HOSTS_MACHINE_ACPI_AML_H
#define HOSTS_MACHINE_ACPI_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Everything appends. What has a length in front (scopes, packages, buffers) is opened by a
 * function that returns a mark, and closed with it. A buffer that is full sets `overflow` and takes
 * nothing more; the caller looks once, at the end.
 */
struct aml {
	uint8_t *buf;
	size_t len, room;
	bool overflow;
};

enum aml_op {
	AML_ZERO = 0x00,
	AML_ONE = 0x01,
	AML_LOCAL0 = 0x60,
	AML_ARG0 = 0x68,
	AML_ARG1 = 0x69,
	AML_ARG3 = 0x6b,
	AML_STORE = 0x70,
	AML_AND = 0x7b,
	AML_OR = 0x7d,
	AML_CREATE_DWORD = 0x8a,
	AML_LNOT = 0x92,
	AML_LEQUAL = 0x93,
	AML_RETURN = 0xa4,
};

void aml_bytes(struct aml *a, const void *data, size_t len);
void aml_le(struct aml *a, uint64_t value, unsigned int size); /* raw, no prefix */
void aml_op(struct aml *a, enum aml_op op);
void aml_name(struct aml *a, const char *name); /* "\\_SB", "PCI0", padded to four */
void aml_int(struct aml *a, uint64_t value);
void aml_string(struct aml *a, const char *s);
void aml_eisa_id(struct aml *a, const char *id); /* "PNP0A08" as its number */

size_t aml_scope(struct aml *a, const char *name);
size_t aml_device(struct aml *a, const char *name);
size_t aml_method(struct aml *a, const char *name, unsigned int n_args);
size_t aml_if(struct aml *a);
size_t aml_else(struct aml *a);
size_t aml_package(struct aml *a, unsigned int n);
size_t aml_buffer(struct aml *a);
void aml_end(struct aml *a, size_t mark);
void aml_buffer_end(struct aml *a, size_t mark);

/* Name (NAME, ...): the value follows, or is given. */
void aml_name_decl(struct aml *a, const char *name);
void aml_name_int(struct aml *a, const char *name, uint64_t value);
void aml_name_eisa(struct aml *a, const char *name, const char *id);

/* Name (_CRS, ResourceTemplate () {...}): descriptors (6.4 of the specification) in between. */
size_t aml_crs(struct aml *a);
void aml_crs_end(struct aml *a, size_t mark);
void aml_io(struct aml *a, uint16_t base, uint8_t len);
void aml_irq(struct aml *a, unsigned int irq); /* edge, high, not shared */
void aml_memory32(struct aml *a, uint32_t base, uint32_t len);
void aml_bus_window(struct aml *a, uint16_t first, uint16_t last);
void aml_io_window(struct aml *a, uint16_t first, uint16_t last);
void aml_memory_window(struct aml *a, uint32_t first, uint32_t last);
void aml_memory64_window(struct aml *a, uint64_t first, uint64_t last);

#endif
