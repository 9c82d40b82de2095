/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device state as a stream of named fields: writing it, and reading it back as if a guest wrote it.
 *
 * Stream, all integers little-endian: magic, format, number of sections; each section is its name
 * (a length byte and the bytes), version, number of fields; each field its name, the size of an
 * element, the number of elements, and the elements. The tables say what must be there, in this
 * order within a section, so nothing that the stream declares sizes an allocation or an index.
 *
 * Loading has three passes: parse (where does each table field lie in the stream?), check (on
 * copies of the objects), apply. An object may lie inside another one (a PCI function in its
 * device): a field is put into every copy that has its place.
 */
#include "bus/state.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"

#define STATE_MAGIC 0x0a65746174737874ull /* "txstate\n" */
#define STATE_FORMAT 1u

/* Writing. With a null buffer it only counts. */
struct out {
	uint8_t *p;
	size_t len;
};

static void put(struct out *o, const void *data, size_t len)
{
	if (o->p)
		memcpy(o->p + o->len, data, len);
	o->len += len;
}

static void put_int(struct out *o, uint64_t v, size_t size)
{
	le64 le = le64_make(v);

	put(o, &le, size);
}

static void put_name(struct out *o, const char *name)
{
	size_t len = strlen(name);

	put_int(o, len, 1);
	put(o, name, len);
}

/* One element between its native and its little-endian form. */
static void element_swap(void *to, const void *from, size_t size)
{
#if __BYTE_ORDER == __LITTLE_ENDIAN
	memcpy(to, from, size);
#else
	for (size_t i = 0; i < size; i++)
		((uint8_t *)to)[i] = ((const uint8_t *)from)[size - 1 - i];
#endif
}

static void put_field(struct out *o, const struct state_field *f, const uint8_t *obj)
{
	uint8_t le[8];

	put_name(o, f->name);
	put_int(o, f->size, 1);
	put_int(o, f->n, 4);
	for (uint32_t i = 0; i < f->n; i++) {
		element_swap(le, obj + f->off + (size_t)i * f->size, f->size);
		put(o, le, f->size);
	}
}

static unsigned int n_fields(const struct state_section *s)
{
	unsigned int n = 0;

	while (s->fields[n].name)
		n++;
	return n;
}

static unsigned int n_sections(const struct state_desc *descs, unsigned int n)
{
	unsigned int total = 0;

	for (unsigned int i = 0; i < n; i++)
		for (const struct state_section *s = descs[i].sections; s->name; s++)
			total++;
	return total;
}

static void put_all(struct out *o, const struct state_desc *descs, unsigned int n)
{
	put_int(o, STATE_MAGIC, 8);
	put_int(o, STATE_FORMAT, 4);
	put_int(o, n_sections(descs, n), 4);
	for (unsigned int i = 0; i < n; i++) {
		for (const struct state_section *s = descs[i].sections; s->name; s++) {
			put_name(o, s->name);
			put_int(o, s->version, 2);
			put_int(o, n_fields(s), 2);
			for (const struct state_field *f = s->fields; f->name; f++)
				put_field(o, f, descs[i].obj);
		}
	}
}

int state_save(const struct state_desc *descs, unsigned int n, uint8_t **out, size_t *len)
{
	struct out o = { 0 };

	for (unsigned int i = 0; i < n; i++)
		for (const struct state_section *s = descs[i].sections; s->name; s++)
			if (s->before_save)
				s->before_save(descs[i].obj);
	put_all(&o, descs, n);
	if (o.len > STATE_MAX)
		return -E2BIG;
	o.p = malloc(o.len);
	if (!o.p)
		return -ENOMEM;
	o.len = 0;
	put_all(&o, descs, n);
	*out = o.p;
	*len = o.len;
	return 0;
}

/* Reading. */
struct in {
	const uint8_t *p;
	size_t left;
	struct twx_error *e;
};

static const uint8_t *get(struct in *in, size_t len)
{
	const uint8_t *p = in->p;

	if (len > in->left)
		return NULL;
	in->p += len;
	in->left -= len;
	return p;
}

static bool get_int(struct in *in, uint64_t *v, size_t size)
{
	const uint8_t *p = get(in, size);
	le64 le = { 0 };

	if (!p)
		return false;
	memcpy(&le, p, size);
	*v = le64_get(le);
	return true;
}

/* A name as a string that is safe to print. */
static bool get_name(struct in *in, char name[STATE_NAME_MAX + 1])
{
	const uint8_t *p;
	uint64_t len;

	if (!get_int(in, &len, 1) || len > STATE_NAME_MAX)
		return false;
	p = get(in, len);
	if (!p)
		return false;
	for (uint64_t i = 0; i < len; i++)
		name[i] = p[i] > ' ' && p[i] < 0x7f ? (char)p[i] : '?';
	name[len] = '\0';
	return true;
}

static int cut(struct in *in, const char *where)
{
	return twx_error_set(in->e, EINVAL, "device state: %s is cut short or malformed", where);
}

/* What a section of the table was found to be: the first byte of its fields. */
struct found {
	const struct state_desc *desc;
	const struct state_section *section;
	const uint8_t *fields;
};

/* A field as the table has it, its bytes in *@data. */
static int get_field(struct in *in, const struct state_section *s, const struct state_field *f,
		     const uint8_t **data)
{
	char name[STATE_NAME_MAX + 1];
	uint64_t size, n;

	if (!get_name(in, name))
		return cut(in, s->name);
	if (strcmp(name, f->name) != 0)
		return twx_error_set(in->e, EINVAL, "device state: %s has %s where %s should be",
				     s->name, name, f->name);
	if (!get_int(in, &size, 1) || !get_int(in, &n, 4))
		return cut(in, s->name);
	if (size != f->size || n != f->n)
		return twx_error_set(in->e, EINVAL,
				     "device state: %s.%s is %u elements of %u bytes, not %u of %u",
				     s->name, f->name, (unsigned int)n, (unsigned int)size,
				     (unsigned int)f->n, f->size);
	*data = get(in, (size_t)f->size * f->n);
	return *data ? 0 : cut(in, s->name);
}

static struct found *found_named(struct found *all, unsigned int n, const char *name)
{
	for (unsigned int i = 0; i < n; i++)
		if (strcmp(all[i].section->name, name) == 0)
			return &all[i];
	return NULL;
}

static int get_section(struct in *in, struct found *all, unsigned int n)
{
	char name[STATE_NAME_MAX + 1];
	uint64_t version, fields;
	const uint8_t *data;
	struct found *at;
	int rc = 0;

	if (!get_name(in, name) || !get_int(in, &version, 2) || !get_int(in, &fields, 2))
		return cut(in, "the head of a section");
	at = found_named(all, n, name);
	if (!at)
		return twx_error_set(in->e, EINVAL, "device state: unknown section %s", name);
	if (at->fields)
		return twx_error_set(in->e, EINVAL, "device state: section %s comes twice", name);
	if (version != at->section->version)
		return twx_error_set(in->e, EINVAL, "device state: %s is version %u, not %u", name,
				     (unsigned int)version, at->section->version);
	if (fields != n_fields(at->section))
		return twx_error_set(in->e, EINVAL, "device state: %s has %u fields, not %u", name,
				     (unsigned int)fields, n_fields(at->section));
	at->fields = in->p;
	for (const struct state_field *f = at->section->fields; f->name && rc == 0; f++)
		rc = get_field(in, at->section, f, &data);
	return rc;
}

static int parse(struct in *in, struct found *all, unsigned int n)
{
	uint64_t magic, format, sections;
	int rc;

	if (!get_int(in, &magic, 8) || magic != STATE_MAGIC || !get_int(in, &format, 4) ||
	    !get_int(in, &sections, 4))
		return twx_error_set(in->e, EINVAL, "device state: this is none");
	if (format != STATE_FORMAT)
		return twx_error_set(in->e, EINVAL, "device state: format %u, not %u",
				     (unsigned int)format, STATE_FORMAT);
	/* More than there are ends at the first that is unknown or comes twice. */
	for (uint64_t i = 0; i < sections; i++) {
		rc = get_section(in, all, n);
		if (rc < 0)
			return rc;
	}
	for (unsigned int i = 0; i < n; i++)
		if (!all[i].fields)
			return twx_error_set(in->e, EINVAL, "device state: section %s is missing",
					     all[i].section->name);
	if (in->left)
		return twx_error_set(in->e, EINVAL, "device state: %zu bytes too many", in->left);
	return 0;
}

static void put_elements(uint8_t *to, const uint8_t *from, const struct state_field *f)
{
	for (size_t i = 0; i < f->n; i++)
		element_swap(to + i * f->size, from + i * f->size, f->size);
}

/* The fields of @s into every copy that has their place, or without copies into the object. */
static void apply(const struct found *s, const struct state_desc *descs, uint8_t *const *copies,
		  unsigned int n)
{
	const uint8_t *p = s->fields;

	for (const struct state_field *f = s->section->fields; f->name; f++) {
		uint8_t *live = (uint8_t *)s->desc->obj + f->off;
		size_t len = (size_t)f->size * f->n;

		p += 1 + strlen(f->name) + 1 + 4; /* as get_field() found it */
		if (!copies)
			put_elements(live, p, f);
		for (unsigned int i = 0; copies && i < n; i++) {
			uintptr_t off = (uintptr_t)live - (uintptr_t)descs[i].obj;

			if (off < descs[i].obj_size && len <= descs[i].obj_size - off)
				put_elements(copies[i] + off, p, f);
		}
		p += len;
	}
}

static int check_copies(const struct found *all, unsigned int n_all, const struct state_desc *descs,
			uint8_t *const *copies, unsigned int n, struct twx_error *e)
{
	int rc;

	for (unsigned int i = 0; i < n; i++)
		memcpy(copies[i], descs[i].obj, descs[i].obj_size);
	for (unsigned int i = 0; i < n_all; i++)
		apply(&all[i], descs, copies, n);
	for (unsigned int i = 0; i < n_all; i++) {
		if (!all[i].section->check)
			continue;
		rc = all[i].section->check(copies[all[i].desc - descs], e);
		if (rc < 0) {
			twx_error_prefix(e, "device state: %s: ", all[i].section->name);
			return rc;
		}
	}
	return 0;
}

static int check(const struct found *all, unsigned int n_all, const struct state_desc *descs,
		 unsigned int n, struct twx_error *e)
{
	uint8_t **copies = calloc(n, sizeof(*copies));
	int rc = copies ? 0 : -ENOMEM;

	for (unsigned int i = 0; i < n && rc == 0; i++) {
		copies[i] = malloc(descs[i].obj_size);
		if (!copies[i])
			rc = -ENOMEM;
	}
	if (rc == 0)
		rc = check_copies(all, n_all, descs, copies, n, e);
	else
		twx_error_set(e, ENOMEM, "device state: out of memory");
	for (unsigned int i = 0; copies && i < n; i++)
		free(copies[i]);
	free(copies);
	return rc;
}

static void commit(const struct found *all, unsigned int n_all, const struct state_desc *descs,
		   unsigned int n)
{
	for (unsigned int i = 0; i < n_all; i++)
		apply(&all[i], descs, NULL, n);
	for (unsigned int i = 0; i < n_all; i++)
		if (all[i].section->after_load)
			all[i].section->after_load(all[i].desc->obj);
}

int state_load(const struct state_desc *descs, unsigned int n, const uint8_t *data, size_t len,
	       struct twx_error *e)
{
	struct in in = { .p = data, .left = len, .e = e };
	unsigned int n_all = n_sections(descs, n), at = 0;
	struct found *all;
	int rc;

	if (len > STATE_MAX)
		return twx_error_set(e, EINVAL, "device state: %zu bytes, more than %u", len,
				     STATE_MAX);
	all = calloc(n_all + 1, sizeof(*all));
	if (!all)
		return twx_error_set(e, ENOMEM, "device state: out of memory");
	for (unsigned int i = 0; i < n; i++)
		for (const struct state_section *s = descs[i].sections; s->name; s++)
			all[at++] = (struct found){ &descs[i], s, NULL };
	rc = parse(&in, all, n_all);
	if (rc == 0)
		rc = check(all, n_all, descs, n, e);
	if (rc == 0)
		commit(all, n_all, descs, n);
	free(all);
	return rc;
}
