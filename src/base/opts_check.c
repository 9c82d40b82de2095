/* SPDX-License-Identifier: BSD-3-Clause */
/* Option lists against their table: known keys, well-formed values, defaults; and the table as
 * help. */
#include "base/opts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"

#define BIT(n) (1u << (n))
/* What needs no JSON type: a table's own text, and text from the command line. */
#define KINDS_TEXT (BIT(OPTS_TEXT) | BIT(OPTS_BARE) | BIT(OPTS_DEFAULT))

static const struct {
	unsigned int kinds;   /* accepted ways of writing */
	const char *expected; /* QEMU's word for the JSON type */
	const char *help;     /* placeholder, unless the option has one of its own */
} check_types[] = {
	[TWX_OPT_STR] = { KINDS_TEXT | BIT(OPTS_JSON_STR), "string", "STRING" },
	[TWX_OPT_BOOL] = { KINDS_TEXT | BIT(OPTS_JSON_BOOL), "boolean", "on|off" },
	[TWX_OPT_INT] = { KINDS_TEXT | BIT(OPTS_JSON_INT), "integer", "NUMBER" },
	[TWX_OPT_SIZE] = { KINDS_TEXT | BIT(OPTS_JSON_INT), "integer", "SIZE" },
	[TWX_OPT_LIST] = { KINDS_TEXT | BIT(OPTS_JSON_ITEM) | BIT(OPTS_JSON_ARRAY), "array",
			   "STRING" },
	[TWX_OPT_ENUM] = { KINDS_TEXT | BIT(OPTS_JSON_STR), "string", "WORD" },
	[TWX_OPT_STRUCT] = { BIT(OPTS_JSON_OBJECT), "object", "VALUE" },
};

/* Ranges that QEMU calls by the type that has them. */
static const struct {
	int64_t min, max;
	const char *name;
} check_ranges[] = {
	{ INT32_MIN, INT32_MAX, "int32_t" }, { 0, UINT32_MAX, "uint32_t" },
	{ INT16_MIN, INT16_MAX, "int16_t" }, { 0, UINT16_MAX, "uint16_t" },
	{ INT8_MIN, INT8_MAX, "int8_t" },    { 0, UINT8_MAX, "uint8_t" },
};

static int check_range_error(const struct twx_opt_desc *d, struct twx_error *e)
{
	for (size_t i = 0; i < array_size(check_ranges); i++)
		if (d->min == check_ranges[i].min && d->max == check_ranges[i].max)
			return twx_error_set(e, EINVAL, "Parameter '%s' expects %s", d->name,
					     check_ranges[i].name);
	return twx_error_set(e, EINVAL, "Parameter '%s' expects a value between %lld and %lld",
			     d->name, (long long)d->min, (long long)d->max);
}

static int check_int(const struct twx_opt_desc *d, const char *s, struct twx_error *e)
{
	bool limited = d->min || d->max;
	int64_t v;

	if (!optval_int(s, &v))
		return twx_error_set(e, EINVAL, "Parameter '%s' expects %s value", d->name,
				     limited && d->min >= 0 ? "a uint64" : "an int64");
	if (limited && (v < d->min || v > d->max))
		return check_range_error(d, e);
	return 0;
}

static int check_size(const struct twx_opt_desc *d, const char *s, struct twx_error *e)
{
	uint64_t v;

	if (!optval_size(s, &v)) {
		twx_error_set(e, EINVAL, "Parameter '%s' expects a size value", d->name);
		return twx_error_hint(e, "a size is a number with an optional suffix k, M, G, T, P "
					 "or E, powers of 1024, and below 2^64 bytes");
	}
	if ((d->min || d->max) && (v < (uint64_t)d->min || v > (uint64_t)d->max))
		return check_range_error(d, e);
	return 0;
}

static int check_value(const struct twx_opt_desc *d, const char *s, struct twx_error *e)
{
	bool b;

	switch (d->type) {
	case TWX_OPT_BOOL:
		if (optval_bool(s, &b))
			return 0;
		return twx_error_set(e, EINVAL, "Parameter '%s' expects 'on' or 'off'", d->name);
	case TWX_OPT_INT:
		return check_int(d, s, e);
	case TWX_OPT_SIZE:
		return check_size(d, s, e);
	case TWX_OPT_ENUM:
		if (optval_word(d->words, s))
			return 0;
		twx_error_set(e, EINVAL, "Parameter '%s' does not accept value '%s'", d->name, s);
		return twx_error_hint(e, "it takes one of %s", d->words);
	default:
		return 0;
	}
}

static const struct twx_opt_desc *check_find(const struct twx_opt_desc *table, const char *key)
{
	for (; table && table->name; table++)
		if (!strcmp(table->name, key))
			return table;
	return NULL;
}

/* The option of which @key is a dotted member. */
static const struct twx_opt_desc *check_find_parent(const struct twx_opt_desc *table,
						    const char *key)
{
	for (; table && table->name; table++)
		if (opts_is_child(key, table->name, strlen(table->name)))
			return table;
	return NULL;
}

/* One letter too many, too few, wrong, or two swapped. */
static bool check_resembles(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b), i = 0;

	while (a[i] && a[i] == b[i])
		i++;
	if (la == lb)
		return !a[i] || !strcmp(a + i + 1, b + i + 1) ||
		       (a[i + 1] && a[i] == b[i + 1] && a[i + 1] == b[i] &&
			!strcmp(a + i + 2, b + i + 2));
	if (la == lb + 1)
		return !strcmp(a + i + 1, b + i);
	return la + 1 == lb && !strcmp(a + i, b + i + 1);
}

static int check_unknown(const struct twx_opts *o, const struct twx_opt_desc *table,
			 const struct opts_entry *entry, struct twx_error *e)
{
	int err = twx_error_set(e, EINVAL,
				o->json ? "Parameter '%s' is unexpected" : "Invalid parameter '%s'",
				entry->key);

	for (; table && table->name; table++)
		if (check_resembles(entry->key, table->name))
			twx_error_hint(e, "did you mean '%s'?", table->name);
	return err;
}

static int check_child(const struct twx_opts *o, const struct twx_opt_desc *table,
		       const struct opts_entry *entry, struct twx_error *e)
{
	const struct twx_opt_desc *d = check_find_parent(table, entry->key);

	if (!d || (d->type != TWX_OPT_STRUCT && !o->json))
		return check_unknown(o, table, entry, e);
	if (d->type != TWX_OPT_STRUCT)
		return twx_error_set(e, EINVAL, "Invalid parameter type for '%s', expected: %s",
				     d->name, check_types[d->type].expected);
	if (entry->kind == OPTS_BARE)
		return twx_error_set(e, EINVAL, "Expected '=' after parameter '%s'", entry->key);
	if (opts_find(o, d->name))
		return twx_error_set(e, EINVAL, "Parameters '%s.*' used inconsistently", d->name);
	return 0;
}

/* Keys that need no place in a table. */
static bool check_allowed(const struct twx_opts *o, const char *key)
{
	return !strcmp(key, "id") || (o->implied && !strcmp(key, o->implied));
}

/* Turns a bare key into what it stands for. @d is null if the table has no such key. */
static int check_bare(struct twx_opts *o, const struct twx_opt_desc *table,
		      struct opts_entry *entry, const struct twx_opt_desc *d, struct twx_error *e)
{
	const char *word = "on";
	char *value;

	if (check_allowed(o, entry->key) || (d && d->type != TWX_OPT_BOOL))
		return twx_error_set(e, EINVAL, "Expected '=' after parameter '%s'", entry->key);
	if (!d && !strncmp(entry->key, "no", 2)) {
		d = check_find(table, entry->key + 2);
		word = "off";
	}
	if (!d || d->type != TWX_OPT_BOOL)
		return check_unknown(o, table, entry, e);
	value = strdup(word);
	if (!value)
		return twx_error_set(e, ENOMEM, "cannot parse options: out of memory");
	if (!o->warning &&
	    asprintf(&o->warning, "short-form boolean option '%s' deprecated; use %s=%s",
		     entry->key, d->name, word) < 0)
		o->warning = NULL;
	memmove(entry->key, d->name, strlen(d->name) + 1); /* as long, or two letters shorter */
	free(entry->value);
	entry->value = value;
	entry->kind = OPTS_TEXT;
	return 0;
}

static int check_entry(struct twx_opts *o, const struct twx_opt_desc *table,
		       struct opts_entry *entry, struct twx_error *e)
{
	const struct twx_opt_desc *d = check_find(table, entry->key);

	if (entry->kind == OPTS_DEFAULT)
		return 0;
	if (!d && entry->kind != OPTS_BARE && check_allowed(o, entry->key))
		return 0;
	if (!d && strchr(entry->key, '.'))
		return check_child(o, table, entry, e);
	if (entry->kind == OPTS_BARE)
		return check_bare(o, table, entry, d, e);
	if (!d)
		return check_unknown(o, table, entry, e);
	if (!(check_types[d->type].kinds & BIT(entry->kind)))
		return twx_error_set(e, EINVAL, "Invalid parameter type for '%s', expected: %s",
				     d->name, check_types[d->type].expected);
	return check_value(d, entry->value, e);
}

int twx_opts_check(struct twx_opts *o, const struct twx_opt_desc *table, struct twx_error *e)
{
	int err;

	for (size_t i = 0; i < o->n; i++) {
		err = check_entry(o, table, &o->entries[i], e);
		if (err)
			return err;
	}
	for (const struct twx_opt_desc *d = table; d && d->name; d++) {
		if (twx_opts_has(o, d->name))
			continue;
		if (d->required)
			return twx_error_set(e, EINVAL, "Parameter '%s' is missing", d->name);
		if (!d->def)
			continue;
		err = opts_append(o, d->name, strlen(d->name), d->def, strlen(d->def),
				  OPTS_DEFAULT);
		if (err)
			return twx_error_set(e, -err, "cannot parse options: %s", strerror(-err));
	}
	return 0;
}

/* "  name=PLACEHOLDER" padded, then the help and what is to be known beyond it. */
static void describe_one(FILE *f, const struct twx_opt_desc *d)
{
	const char *value = d->words ? d->words : check_types[d->type].help;
	int n = fprintf(f, "  %s%s=%s", d->name, d->type == TWX_OPT_STRUCT ? ".KEY" : "", value);

	fprintf(f, "%*s %s", max(30 - n, 1), "", d->help ? d->help : "");
	if (d->type == TWX_OPT_LIST)
		fputs(" (may be repeated)", f);
	if (d->required)
		fputs(" (required)", f);
	if ((d->type == TWX_OPT_INT || d->type == TWX_OPT_SIZE) && (d->min || d->max))
		fprintf(f, " (%lld to %lld)", (long long)d->min, (long long)d->max);
	if (d->def)
		fprintf(f, " (default: %s)", d->def);
	fputc('\n', f);
}

char *twx_opts_describe(const struct twx_opt_desc *table)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	for (; table && table->name; table++)
		describe_one(f, table);
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}
