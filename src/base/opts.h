/* SPDX-License-Identifier: BSD-3-Clause */
/* The inside of struct twx_opts, shared by the parsers, the checker and the accessors. */
#ifndef BASE_OPTS_H
#define BASE_OPTS_H

#include <twinax/option.h>

#define OPTS_TEXT_MAX 65536
#define OPTS_ENTRIES_MAX 1024
#define OPTS_KEY_MAX 255 /* bytes of a whole dotted key */
#define OPTS_DEPTH_MAX 8 /* of nested JSON objects */

/* What a value was written as; QEMU insists on JSON's types where JSON is used. */
enum opts_kind {
	OPTS_TEXT,    /* key=value: becomes whatever the table says */
	OPTS_BARE,    /* a key alone; value is "on" */
	OPTS_DEFAULT, /* from the table */
	OPTS_JSON_STR,
	OPTS_JSON_INT,
	OPTS_JSON_REAL,
	OPTS_JSON_BOOL,
	OPTS_JSON_NULL,
	OPTS_JSON_ITEM,	  /* an element of a list */
	OPTS_JSON_ARRAY,  /* an empty list */
	OPTS_JSON_OBJECT, /* an empty object */
};

struct opts_entry {
	char *key, *value; /* value is never null */
	enum opts_kind kind;
};

struct twx_opts {
	struct opts_entry *entries;
	size_t n, room;
	char *implied;
	char *warning;
	bool help;
	bool json;
};

/* Appends; 0, -E2BIG beyond OPTS_ENTRIES_MAX, -ENOMEM. Text is copied, @key_len and @value_len
 * bytes of it. */
int opts_append(struct twx_opts *o, const char *key, size_t key_len, const char *value,
		size_t value_len, enum opts_kind kind);
struct opts_entry *opts_find(const struct twx_opts *o, const char *key); /* the last one, or null */
/* The value number @at among those of all @keys (ends with null) in the order that they were given,
 * and its key; null behind the last. */
const char *opts_in_order(const struct twx_opts *o, const char *const *keys, size_t at,
			  const char **key);
bool opts_is_child(const char *key, const char *parent, size_t parent_len); /* "parent.something" */

/* Names of one letter or underscore, then letters, digits, - and _; between dots if @dotted. */
bool opts_key_ok(const char *key, size_t len, bool dotted);
bool opts_id_ok(const char *id);

int opts_parse_text(struct twx_opts *o, const char *text, struct twx_error *e);
int opts_parse_json(struct twx_opts *o, const char *text, size_t len, struct twx_error *e);

/* Scalars from text: true and a value, or false. No white space, no overflow, nothing behind. */
bool optval_bool(const char *s, bool *v);
bool optval_int(const char *s, int64_t *v);
bool optval_size(const char *s, uint64_t *v);
bool optval_word(const char *words, const char *s); /* is @s one of "a|b|c" */

#endif
