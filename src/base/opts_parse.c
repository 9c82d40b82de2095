/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Option lists from text and from JSON.
 *
 * Text is "value,key=value,key,...": a value runs to the next single comma (",," is a comma of its
 * own), a key to the next '=' or ','. A first part without '=' is the value of the implied key; a
 * later one is a bare key, which the table later turns into key=on, or into key=off where it reads
 * "nokey". One comma at the very end is ignored. The words "help" and "?", bare or as the implied
 * value, ask for help.
 *
 * JSON is one object. Nested objects become dotted keys, so {"addr": {"type": "inet"}} and
 * addr.type=inet are read back alike; arrays, of strings or of {"str": "..."}, become repeated
 * keys.
 *
 * Limits: 64 KiB of text, 1024 entries, keys of 255 bytes, objects 8 deep.
 */
#include "base/opts.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int parse_add_failed(int err, struct twx_error *e)
{
	if (err == -E2BIG)
		return twx_error_set(e, E2BIG, "more than %d options", OPTS_ENTRIES_MAX);
	return twx_error_set(e, ENOMEM, "cannot parse options: out of memory");
}

static int parse_add(struct twx_opts *o, const char *key, size_t key_len, const char *value,
		     size_t value_len, enum opts_kind kind, struct twx_error *e)
{
	int err = opts_append(o, key, key_len, value, value_len, kind);

	return err ? parse_add_failed(err, e) : 0;
}

/* Text */

static bool parse_is_help(const char *s, size_t len)
{
	return (len == 4 && !memcmp(s, "help", 4)) || (len == 1 && *s == '?');
}

/* Unescapes the value at @s into @buf, which has room for the whole text; returns where the next
 * part begins. */
static const char *parse_value(const char *s, char *buf, size_t *len)
{
	size_t n = 0;

	for (; *s; s++) {
		if (*s == ',' && *++s != ',') {
			*len = n;
			return s;
		}
		buf[n++] = *s;
	}
	*len = n;
	return s;
}

/* One "key=value" or "key" at @s. */
static int parse_part(struct twx_opts *o, const char **s, char *buf, struct twx_error *e)
{
	const char *key = *s;
	size_t key_len = strcspn(key, "=,");
	const char *end = key + key_len;
	size_t len;

	if (*end != '=' && parse_is_help(key, key_len)) {
		o->help = true;
		*s = end + !!*end;
		return 0;
	}
	if (!opts_key_ok(key, key_len, true))
		return twx_error_set(e, EINVAL, "Invalid parameter '%.*s'", (int)key_len, key);
	if (*end != '=') {
		*s = end + !!*end;
		return parse_add(o, key, key_len, "on", 2, OPTS_BARE, e);
	}
	*s = parse_value(end + 1, buf, &len);
	return parse_add(o, key, key_len, buf, len, OPTS_TEXT, e);
}

static int parse_implied(struct twx_opts *o, const char **s, char *buf, struct twx_error *e)
{
	size_t len;

	*s = parse_value(*s, buf, &len);
	if (parse_is_help(buf, len))
		o->help = true;
	return parse_add(o, o->implied, strlen(o->implied), buf, len, OPTS_TEXT, e);
}

int opts_parse_text(struct twx_opts *o, const char *text, struct twx_error *e)
{
	char *buf = malloc(strlen(text) + 1);
	int err = 0;

	if (!buf)
		return parse_add_failed(-ENOMEM, e);
	if (o->implied && *text && text[strcspn(text, "=,")] != '=')
		err = parse_implied(o, &text, buf, e);
	while (!err && *text)
		err = parse_part(o, &text, buf, e);
	free(buf);
	return err;
}

/* JSON */

/* The key that is being read: names joined by dots. */
struct parse_path {
	char text[OPTS_KEY_MAX + 1];
	size_t len;
	unsigned int depth;
};

static int parse_type_error(const char *path, const char *expected, struct twx_error *e)
{
	return twx_error_set(e, EINVAL, "Invalid parameter type for '%s', expected: %s", path,
			     expected);
}

static int parse_item(struct twx_opts *o, const struct parse_path *path, size_t i,
		      const json_t *item, struct twx_error *e)
{
	const json_t *str = item;
	char name[OPTS_KEY_MAX + 32];

	snprintf(name, sizeof(name), "%s[%zu]", path->text, i);
	if (json_is_object(item)) {
		str = json_object_get(item, "str");
		if (!str)
			return twx_error_set(e, EINVAL, "Parameter '%s.str' is missing", name);
		if (json_object_size(item) != 1)
			return twx_error_set(e, EINVAL, "Parameter '%s' takes nothing but 'str'",
					     name);
		if (!json_is_string(str))
			return parse_type_error(name, "object of one string", e);
	}
	if (!json_is_string(str))
		return parse_type_error(name, "object", e);
	return parse_add(o, path->text, path->len, json_string_value(str), json_string_length(str),
			 OPTS_JSON_ITEM, e);
}

static int parse_array(struct twx_opts *o, const struct parse_path *path, const json_t *array,
		       struct twx_error *e)
{
	size_t n = json_array_size(array);
	int err = 0;

	if (!n)
		return parse_add(o, path->text, path->len, "", 0, OPTS_JSON_ARRAY, e);
	for (size_t i = 0; i < n && !err; i++)
		err = parse_item(o, path, i, json_array_get(array, i), e);
	return err;
}

static int parse_scalar(struct twx_opts *o, const struct parse_path *path, const json_t *v,
			struct twx_error *e)
{
	enum opts_kind kind = OPTS_JSON_NULL;
	char number[64] = "";
	const char *text = number;

	switch (json_typeof(v)) {
	case JSON_STRING:
		kind = OPTS_JSON_STR;
		text = json_string_value(v);
		break;
	case JSON_INTEGER:
		kind = OPTS_JSON_INT;
		snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(v));
		break;
	case JSON_REAL:
		kind = OPTS_JSON_REAL;
		snprintf(number, sizeof(number), "%.17g", json_real_value(v));
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		kind = OPTS_JSON_BOOL;
		text = json_is_true(v) ? "on" : "off";
		break;
	default:
		break;
	}
	return parse_add(o, path->text, path->len, text, strlen(text), kind, e);
}

static int parse_object(struct twx_opts *o, struct parse_path *path, const json_t *object,
			struct twx_error *e);

static int parse_member(struct twx_opts *o, struct parse_path *path, const json_t *v,
			struct twx_error *e)
{
	if (json_is_array(v))
		return parse_array(o, path, v, e);
	if (!json_is_object(v))
		return parse_scalar(o, path, v, e);
	if (!json_object_size(v))
		return parse_add(o, path->text, path->len, "", 0, OPTS_JSON_OBJECT, e);
	return parse_object(o, path, v, e);
}

static int parse_object(struct twx_opts *o, struct parse_path *path, const json_t *object,
			struct twx_error *e)
{
	const size_t len = path->len;
	const char *key;
	json_t *v;
	int err = 0;

	if (path->depth == OPTS_DEPTH_MAX)
		return twx_error_set(e, E2BIG, "Parameter '%s' is nested too deeply", path->text);
	path->depth++;
	json_object_foreach ((json_t *)object, key, v) {
		int n = snprintf(path->text + len, sizeof(path->text) - len, "%s%s", len ? "." : "",
				 key);

		if (!opts_key_ok(key, strlen(key), false) || len + (size_t)n > OPTS_KEY_MAX) {
			err = twx_error_set(e, EINVAL, "Parameter '%s' is unexpected", path->text);
			break;
		}
		path->len = len + (size_t)n;
		err = parse_member(o, path, v, e);
		if (err)
			break;
	}
	path->text[len] = '\0';
	path->len = len;
	path->depth--;
	return err;
}

int opts_parse_json(struct twx_opts *o, const char *text, size_t len, struct twx_error *e)
{
	struct parse_path path = { .len = 0 };
	json_error_t je;
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
	int err;

	if (!root)
		return twx_error_set(e, EINVAL, "JSON parse error, %s (column %d)", je.text,
				     je.column);
	err = parse_object(o, &path, root, e); /* the text begins with '{' */
	json_decref(root);
	return err;
}
