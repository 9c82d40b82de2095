/* SPDX-License-Identifier: BSD-3-Clause */
/* AML written term by term into a buffer, and resource descriptors. */
#include "hosts/machine/acpi_aml.h"

#include <string.h>

#include "base/endian.h"
#include "base/macros.h"

#define EXT_OP 0x5bu
#define PKG_LEN 3u     /* bytes of a length: it is known only in the end, so one size fits all */
#define BUFFER_HEAD 3u /* of a buffer's size: a prefix and two bytes */

void aml_bytes(struct aml *a, const void *data, size_t len)
{
	if (len > a->room - a->len) {
		a->overflow = true;
		return;
	}
	memcpy(a->buf + a->len, data, len);
	a->len += len;
}

void aml_le(struct aml *a, uint64_t value, unsigned int size)
{
	le64 v = le64_make(value);

	aml_bytes(a, &v, size);
}

void aml_op(struct aml *a, enum aml_op op)
{
	aml_le(a, op, 1);
}

void aml_name(struct aml *a, const char *name)
{
	char seg[4] = { '_', '_', '_', '_' };

	if (*name == '\\')
		aml_bytes(a, name++, 1);
	memcpy(seg, name, min(strlen(name), sizeof(seg)));
	aml_bytes(a, seg, sizeof(seg));
}

void aml_int(struct aml *a, uint64_t value)
{
	static const struct {
		uint64_t max;
		uint8_t prefix, size;
	} forms[] = { { UINT8_MAX, 0x0a, 1 },
		      { UINT16_MAX, 0x0b, 2 },
		      { UINT32_MAX, 0x0c, 4 },
		      { UINT64_MAX, 0x0e, 8 } };
	unsigned int i = 0;

	if (value <= 1) {
		aml_le(a, value, 1); /* ZeroOp, OneOp */
		return;
	}
	while (value > forms[i].max)
		i++;
	aml_le(a, forms[i].prefix, 1);
	aml_le(a, value, forms[i].size);
}

void aml_string(struct aml *a, const char *s)
{
	aml_le(a, 0x0d, 1);
	aml_bytes(a, s, strlen(s) + 1);
}

static unsigned int hex(char c)
{
	return (unsigned int)(c <= '9' ? c - '0' : c - 'A' + 10);
}

/* Three letters of five bits and four hexadecimal digits, most significant first (19.3.4). */
void aml_eisa_id(struct aml *a, const char *id)
{
	uint32_t v = 0;

	for (unsigned int i = 0; i < 3; i++)
		v = v << 5 | (uint32_t)(id[i] - '@');
	for (unsigned int i = 3; i < 7; i++)
		v = v << 4 | hex(id[i]);
	v = __builtin_bswap32(v);
	aml_le(a, 0x0c, 1);
	aml_le(a, v, 4);
}

/* Lengths */

static size_t begin(struct aml *a)
{
	size_t mark = a->len;

	aml_le(a, 0, PKG_LEN);
	return mark;
}

/* The long form (20.2.4): two more bytes, four bits of length in the first. */
void aml_end(struct aml *a, size_t mark)
{
	size_t len = a->len - mark;

	if (a->overflow)
		return;
	a->buf[mark] = (uint8_t)(0x80 | (len & 0x0f));
	a->buf[mark + 1] = (uint8_t)(len >> 4);
	a->buf[mark + 2] = (uint8_t)(len >> 12);
}

size_t aml_scope(struct aml *a, const char *name)
{
	size_t mark;

	aml_le(a, 0x10, 1);
	mark = begin(a);
	aml_name(a, name);
	return mark;
}

size_t aml_device(struct aml *a, const char *name)
{
	size_t mark;

	aml_le(a, EXT_OP, 1);
	aml_le(a, 0x82, 1);
	mark = begin(a);
	aml_name(a, name);
	return mark;
}

size_t aml_method(struct aml *a, const char *name, unsigned int n_args)
{
	size_t mark;

	aml_le(a, 0x14, 1);
	mark = begin(a);
	aml_name(a, name);
	aml_le(a, n_args, 1);
	return mark;
}

size_t aml_if(struct aml *a)
{
	aml_le(a, 0xa0, 1);
	return begin(a);
}

size_t aml_else(struct aml *a)
{
	aml_le(a, 0xa1, 1);
	return begin(a);
}

size_t aml_package(struct aml *a, unsigned int n)
{
	size_t mark;

	aml_le(a, 0x12, 1);
	mark = begin(a);
	aml_le(a, n, 1);
	return mark;
}

size_t aml_buffer(struct aml *a)
{
	size_t mark;

	aml_le(a, 0x11, 1);
	mark = begin(a);
	aml_le(a, 0x0b, 1);
	aml_le(a, 0, 2);
	return mark;
}

void aml_buffer_end(struct aml *a, size_t mark)
{
	size_t at = mark + PKG_LEN + BUFFER_HEAD, len = a->len - at;

	if (a->overflow)
		return;
	a->buf[at - 2] = (uint8_t)len;
	a->buf[at - 1] = (uint8_t)(len >> 8);
	aml_end(a, mark);
}

/* Names */

void aml_name_decl(struct aml *a, const char *name)
{
	aml_le(a, 0x08, 1);
	aml_name(a, name);
}

void aml_name_int(struct aml *a, const char *name, uint64_t value)
{
	aml_name_decl(a, name);
	aml_int(a, value);
}

void aml_name_eisa(struct aml *a, const char *name, const char *id)
{
	aml_name_decl(a, name);
	aml_eisa_id(a, id);
}

/* Resources */

size_t aml_crs(struct aml *a)
{
	aml_name_decl(a, "_CRS");
	return aml_buffer(a);
}

void aml_crs_end(struct aml *a, size_t mark)
{
	aml_le(a, 0x0079, 2); /* end tag; a checksum of zero is taken as right */
	aml_buffer_end(a, mark);
}

void aml_io(struct aml *a, uint16_t base, uint8_t len)
{
	aml_le(a, 0x0147, 2); /* 16 bits decoded */
	aml_le(a, base, 2);
	aml_le(a, base, 2);
	aml_le(a, 1, 1);
	aml_le(a, len, 1);
}

void aml_irq(struct aml *a, unsigned int irq)
{
	aml_le(a, 0x22, 1); /* without flags: edge, high, exclusive */
	aml_le(a, 1ull << irq, 2);
}

void aml_memory32(struct aml *a, uint32_t base, uint32_t len)
{
	aml_le(a, 0x86, 1);
	aml_le(a, 9, 2);
	aml_le(a, 1, 1); /* writable */
	aml_le(a, base, 4);
	aml_le(a, len, 4);
}

/* Address space descriptors (6.4.3.5): both ends fixed, decoded and handed on by the bridge. */
enum window { WINDOW_MEMORY, WINDOW_IO, WINDOW_BUS };

static void address_window(struct aml *a, enum window kind, unsigned int size, uint64_t first,
			   uint64_t last)
{
	static const uint8_t flags[] = { 0x01, 0x03, 0x00 }; /* read-write; entire range; none */

	aml_le(a, size == 2 ? 0x88 : size == 4 ? 0x87 : 0x8a, 1);
	aml_le(a, 3 + 5 * size, 2);
	aml_le(a, kind, 1);
	aml_le(a, 0x0c, 1); /* minimum and maximum fixed, producer */
	aml_le(a, flags[kind], 1);
	aml_le(a, 0, size); /* granularity */
	aml_le(a, first, size);
	aml_le(a, last, size);
	aml_le(a, 0, size); /* translation */
	aml_le(a, last - first + 1, size);
}

void aml_bus_window(struct aml *a, uint16_t first, uint16_t last)
{
	address_window(a, WINDOW_BUS, 2, first, last);
}

void aml_io_window(struct aml *a, uint16_t first, uint16_t last)
{
	address_window(a, WINDOW_IO, 2, first, last);
}

void aml_memory_window(struct aml *a, uint32_t first, uint32_t last)
{
	address_window(a, WINDOW_MEMORY, 4, first, last);
}

void aml_memory64_window(struct aml *a, uint64_t first, uint64_t last)
{
	address_window(a, WINDOW_MEMORY, 8, first, last);
}
