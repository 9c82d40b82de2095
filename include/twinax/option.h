/* SPDX-License-Identifier: BSD-3-Clause */
/* Option strings with QEMU's rules: key=value lists, dotted keys, repeated keys, JSON. */
#ifndef TWINAX_OPTION_H
#define TWINAX_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <twinax/error.h>
#include <twinax/export.h>

enum twx_opt_type {
	TWX_OPT_STR,
	TWX_OPT_BOOL,	/* on/off, yes/no, true/false, y/n; a bare key is on, "nokey" off (with a warning) */
	TWX_OPT_INT,	/* signed 64 bits, 0x and leading-0 octal; min..max apply */
	TWX_OPT_SIZE,	/* unsigned 64 bits, suffix b k M G T P E in either case (powers of 1024); "1.5G", 0x */
	TWX_OPT_LIST,	/* of strings: the key may be repeated; in JSON [{"str": "..."}, ...] or ["..."] */
	TWX_OPT_ENUM,	/* one of the words in `words`, "a|b|c" */
	TWX_OPT_STRUCT, /* takes dotted keys (addr.type=inet) or a JSON object; read back by dotted key */
};

/* One option. Tables end with a null name and drive the parser, `help`, the man page, QMP and tests. */
struct twx_opt_desc {
	const char *name;
	enum twx_opt_type type;
	const char *def;   /* default as text, parsed like a value; null: unset */
	const char *help;  /* one line, no full stop */
	const char *words; /* ENUM: "a|b|c"; others: placeholder for help ("PATH"), or null */
	int64_t min, max;  /* INT and SIZE; both 0: no limits */
	bool required;
};

/* A parsed option list; strings inside belong to it and live until twx_opts_free(). */
struct twx_opts;

/*
 * Parses @text without a table: "user,id=n0,hostfwd=a,hostfwd=b", or JSON when it begins with '{'.
 * @implied names the first key when its "key=" is missing (QEMU's `type` or `driver`), or is null.
 * ",," in a value stands for a comma. `id` obeys QEMU's grammar: a letter, then letters, digits, - . _
 */
TWX_EXPORT int twx_opts_parse(struct twx_opts **out, const char *text, const char *implied,
			      struct twx_error *e);
TWX_EXPORT void twx_opts_free(struct twx_opts *o);

/* Raw text of a key as given (last one wins), or null. */
TWX_EXPORT const char *twx_opts_raw(const struct twx_opts *o, const char *key);
/* True if a bare "help" or "?" was given, as key or as the implied value. */
TWX_EXPORT bool twx_opts_help(const struct twx_opts *o);
/* Takes a key out, so that the rest can be checked against a table. Returns whether it was there. */
TWX_EXPORT bool twx_opts_remove(struct twx_opts *o, const char *key);
/* Adds or replaces one value; 0, -E2BIG or -ENOMEM. */
TWX_EXPORT int twx_opts_put(struct twx_opts *o, const char *key, const char *value);

/*
 * Checks every key and value against @table (keys "id" and @implied are always allowed) and applies
 * defaults. Errors read like QEMU's: "Invalid parameter 'foo'", "Parameter 'x' expects ...",
 * "Parameter 'id' is missing" (for a required key).
 */
TWX_EXPORT int twx_opts_check(struct twx_opts *o, const struct twx_opt_desc *table, struct twx_error *e);

/* What twx_opts_check() put up with but a user should change (a bare boolean key), or null. */
TWX_EXPORT const char *twx_opts_warning(const struct twx_opts *o);

/* Typed values, valid after twx_opts_check(). An unset option gives null, false or 0. */
TWX_EXPORT bool twx_opts_has(const struct twx_opts *o, const char *key);  /* given or defaulted */
TWX_EXPORT bool twx_opts_given(const struct twx_opts *o, const char *key); /* given by the user */
TWX_EXPORT const char *twx_opts_str(const struct twx_opts *o, const char *key);
TWX_EXPORT bool twx_opts_bool(const struct twx_opts *o, const char *key);
TWX_EXPORT int64_t twx_opts_int(const struct twx_opts *o, const char *key);
TWX_EXPORT uint64_t twx_opts_size(const struct twx_opts *o, const char *key);
TWX_EXPORT size_t twx_opts_list_len(const struct twx_opts *o, const char *key);
TWX_EXPORT const char *twx_opts_list_at(const struct twx_opts *o, const char *key, size_t i);

/* Help text of a table, one line an option, into a malloc()ed string that the caller frees. */
TWX_EXPORT char *twx_opts_describe(const struct twx_opt_desc *table);

#endif
