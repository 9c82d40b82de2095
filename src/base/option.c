/* SPDX-License-Identifier: BSD-3-Clause */
/* Parsed option lists: storage and access. */
#include <twinax/option.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "base/opts.h"

static bool opts_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool opts_digit(char c)
{
	return c >= '0' && c <= '9';
}

bool opts_key_ok(const char *key, size_t len, bool dotted)
{
	bool start = true; /* of a name between dots */

	if (len > OPTS_KEY_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = key[i];

		if (c == '.') {
			if (start || !dotted)
				return false;
			start = true;
			continue;
		}
		/* Behind a dot a number may stand, QEMU's list index. */
		if (!opts_letter(c) && c != '_' && !(c == '-' && !start) &&
		    !(opts_digit(c) && i > 0))
			return false;
		start = false;
	}
	return !start;
}

bool opts_id_ok(const char *id)
{
	if (!opts_letter(*id))
		return false;
	while (*++id)
		if (!opts_letter(*id) && !opts_digit(*id) && !strchr("-._", *id))
			return false;
	return true;
}

bool opts_is_child(const char *key, const char *parent, size_t parent_len)
{
	return !strncmp(key, parent, parent_len) && key[parent_len] == '.';
}

int opts_append(struct twx_opts *o, const char *key, size_t key_len, const char *value,
		size_t value_len, enum opts_kind kind)
{
	struct opts_entry *entry;

	if (o->n == OPTS_ENTRIES_MAX)
		return -E2BIG;
	if (o->n == o->room) {
		size_t room = o->room ? o->room * 2 : 16;
		struct opts_entry *grown = realloc(o->entries, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		o->entries = grown;
		o->room = room;
	}
	entry = &o->entries[o->n];
	entry->kind = kind;
	entry->key = strndup(key, key_len);
	entry->value = strndup(value, value_len);
	if (!entry->key || !entry->value) {
		free(entry->key);
		free(entry->value);
		return -ENOMEM;
	}
	o->n++;
	return 0;
}

struct opts_entry *opts_find(const struct twx_opts *o, const char *key)
{
	for (size_t i = o->n; i-- > 0;)
		if (!strcmp(o->entries[i].key, key))
			return &o->entries[i];
	return NULL;
}

static int opts_fill(struct twx_opts *o, const char *text, const char *implied, struct twx_error *e)
{
	size_t len = strnlen(text, OPTS_TEXT_MAX + 1);
	const struct opts_entry *id;
	int err;

	if (len > OPTS_TEXT_MAX)
		return twx_error_set(e, E2BIG, "options are longer than %d bytes", OPTS_TEXT_MAX);
	if (implied) {
		o->implied = strdup(implied);
		if (!o->implied)
			return twx_error_set(e, ENOMEM, "cannot parse options: out of memory");
	}
	o->json = *text == '{';
	err = o->json ? opts_parse_json(o, text, len, e) : opts_parse_text(o, text, e);
	if (err)
		return err;
	id = opts_find(o, "id");
	if (!id || opts_id_ok(id->value))
		return 0;
	twx_error_set(e, EINVAL, "Parameter 'id' expects an identifier");
	return twx_error_hint(e, "an id is a letter, then letters, digits, '-', '.' and '_'");
}

int twx_opts_parse(struct twx_opts **out, const char *text, const char *implied,
		   struct twx_error *e)
{
	struct twx_opts *o = calloc(1, sizeof(*o));
	int err;

	*out = NULL;
	if (!o)
		return twx_error_set(e, ENOMEM, "cannot parse options: out of memory");
	err = opts_fill(o, text, implied, e);
	if (err) {
		twx_opts_free(o);
		return err;
	}
	*out = o;
	return 0;
}

void twx_opts_free(struct twx_opts *o)
{
	if (!o)
		return;
	for (size_t i = 0; i < o->n; i++) {
		free(o->entries[i].key);
		free(o->entries[i].value);
	}
	free(o->entries);
	free(o->implied);
	free(o->warning);
	free(o);
}

const char *twx_opts_raw(const struct twx_opts *o, const char *key)
{
	const struct opts_entry *entry = opts_find(o, key);

	return entry && entry->kind != OPTS_DEFAULT ? entry->value : NULL;
}

bool twx_opts_help(const struct twx_opts *o)
{
	return o->help;
}

const char *twx_opts_warning(const struct twx_opts *o)
{
	return o->warning;
}

bool twx_opts_remove(struct twx_opts *o, const char *key)
{
	size_t kept = 0;

	for (size_t i = 0; i < o->n; i++) {
		if (strcmp(o->entries[i].key, key)) {
			o->entries[kept++] = o->entries[i];
			continue;
		}
		free(o->entries[i].key);
		free(o->entries[i].value);
	}
	if (kept == o->n)
		return false;
	o->n = kept;
	return true;
}

int twx_opts_put(struct twx_opts *o, const char *key, const char *value)
{
	/* Both may belong to the entry that is about to go. */
	char *k = strdup(key), *v = strdup(value);
	int err = -ENOMEM;

	if (k && v) {
		twx_opts_remove(o, k);
		err = opts_append(o, k, strlen(k), v, strlen(v), OPTS_TEXT);
	}
	free(k);
	free(v);
	return err;
}

bool twx_opts_has(const struct twx_opts *o, const char *key)
{
	size_t len = strlen(key);

	if (opts_find(o, key))
		return true;
	for (size_t i = 0; i < o->n; i++)
		if (opts_is_child(o->entries[i].key, key, len))
			return true;
	return false;
}

bool twx_opts_given(const struct twx_opts *o, const char *key)
{
	size_t len = strlen(key);

	for (size_t i = 0; i < o->n; i++) {
		const struct opts_entry *entry = &o->entries[i];

		if (entry->kind != OPTS_DEFAULT &&
		    (!strcmp(entry->key, key) || opts_is_child(entry->key, key, len)))
			return true;
	}
	return false;
}

const char *twx_opts_str(const struct twx_opts *o, const char *key)
{
	const struct opts_entry *entry = opts_find(o, key);

	return entry ? entry->value : NULL;
}

bool twx_opts_bool(const struct twx_opts *o, const char *key)
{
	const char *s = twx_opts_str(o, key);
	bool v;

	return s && optval_bool(s, &v) && v;
}

int64_t twx_opts_int(const struct twx_opts *o, const char *key)
{
	const char *s = twx_opts_str(o, key);
	int64_t v;

	return s && optval_int(s, &v) ? v : 0;
}

uint64_t twx_opts_size(const struct twx_opts *o, const char *key)
{
	const char *s = twx_opts_str(o, key);
	uint64_t v;

	return s && optval_size(s, &v) ? v : 0;
}

static bool opts_is_item(const struct opts_entry *entry, const char *key)
{
	return entry->kind != OPTS_JSON_ARRAY && !strcmp(entry->key, key);
}

size_t twx_opts_list_len(const struct twx_opts *o, const char *key)
{
	size_t len = 0;

	for (size_t i = 0; i < o->n; i++)
		len += opts_is_item(&o->entries[i], key);
	return len;
}

const char *twx_opts_list_at(const struct twx_opts *o, const char *key, size_t at)
{
	for (size_t i = 0; i < o->n; i++)
		if (opts_is_item(&o->entries[i], key) && !at--)
			return o->entries[i].value;
	return NULL;
}

static bool opts_is_one_of(const struct opts_entry *entry, const char *const *keys)
{
	while (*keys && !opts_is_item(entry, *keys))
		keys++;
	return *keys;
}

const char *opts_in_order(const struct twx_opts *o, const char *const *keys, size_t at,
			  const char **key)
{
	for (size_t i = 0; i < o->n; i++) {
		if (!opts_is_one_of(&o->entries[i], keys) || at--)
			continue;
		*key = o->entries[i].key;
		return o->entries[i].value;
	}
	return NULL;
}
