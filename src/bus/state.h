/* SPDX-License-Identifier: BSD-3-Clause */
/* A device's state as named fields in versioned sections: saved, loaded, and compared with a reset.
 */
#ifndef BUS_STATE_H
#define BUS_STATE_H

#include <stddef.h>
#include <stdint.h>

#include <twinax/error.h>

/*
 * Fields are plain integers, or arrays of them, at a fixed place in the object; in memory native,
 * in the stream little-endian. A section is written whole; what it means never changes under one
 * version.
 */
struct state_field {
	const char *name;
	uint32_t off;
	uint8_t size; /* of one element: 1, 2, 4 or 8 */
	uint32_t n;   /* elements */
};

/* A member that is an integer, or an array (of arrays) of integers. */
#define STATE_FIELD(type, member, elem)                                                            \
	{                                                                                          \
#member, offsetof(type, member), sizeof(elem),                                     \
			sizeof(((type *)0)->member) / sizeof(elem)                                 \
	}
#define STATE_U8(type, member) STATE_FIELD(type, member, uint8_t)
#define STATE_U16(type, member) STATE_FIELD(type, member, uint16_t)
#define STATE_U32(type, member) STATE_FIELD(type, member, uint32_t)
#define STATE_U64(type, member) STATE_FIELD(type, member, uint64_t)

struct state_section {
	const char *name; /* "e1000/regs", at most STATE_NAME_MAX bytes */
	uint16_t version;
	const struct state_field *fields; /* ends with a null name */
	/* Optional: brings fields up to date that are derived when the device runs (timers). */
	void (*before_save)(void *obj);
	/*
	 * Optional: @copy is a copy of the whole object with every section's fields loaded over it.
	 * 0 if a guest could have brought the device there; else -EINVAL with a sentence. Must not
	 * follow pointers in @copy that belong to the live object's behaviour.
	 */
	int (*check)(const void *copy, struct twx_error *e);
	/* Optional: the fields are in the live object; re-derive what hangs on them. Cannot fail.
	 */
	void (*after_load)(void *obj);
};

#define STATE_NAME_MAX 63
#define STATE_MAX (4u << 20) /* bytes of one device's stream */

/* What one device saves: its object, and sections ending with a null name. */
struct state_desc {
	const struct state_section *sections;
	void *obj;
	size_t obj_size; /* of the object that fields and check() see */
};

/* One stream for several descriptions (the PCI function's, then the device's). The bytes are
 * malloc()ed. 0 or -ENOMEM. */
int state_save(const struct state_desc *descs, unsigned int n, uint8_t **out, size_t *len);

/*
 * All or nothing: parses the stream against the descriptions, has every section checked on copies,
 * and only then changes the objects. A section that is unknown, missing or of another version, a
 * field of another size, and bytes left over are refused by name with -EINVAL; -ENOMEM.
 */
int state_load(const struct state_desc *descs, unsigned int n, const uint8_t *data, size_t len,
	       struct twx_error *e);

#endif
