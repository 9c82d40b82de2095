/* SPDX-License-Identifier: BSD-3-Clause */
/* One option's value as a list of keys: text and JSON, read, edited and written back. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/alloc.h"
#include "cli/kv.h"

static void pair_free(struct kv_pair *p)
{
	free(p->key);
	free(p->value);
	json_decref(p->json);
}

/* Takes @key and @value, borrows @json. */
static struct kv_pair *kv_append(struct kv *kv, char *key, char *value, json_t *json)
{
	struct kv_pair *p;

	kv->pairs = cli_grow(kv->pairs, kv->n, sizeof(*kv->pairs));
	p = &kv->pairs[kv->n++];
	*p = (struct kv_pair){ .key = key, .value = value, .json = json_incref(json) };
	return p;
}

struct kv *kv_new(const char *implied)
{
	struct kv *kv = cli_alloc(1, sizeof(*kv));

	kv->implied = implied;
	return kv;
}

void kv_free(struct kv *kv)
{
	size_t i;

	for (i = 0; kv && i < kv->n; i++)
		pair_free(&kv->pairs[i]);
	if (kv)
		free(kv->pairs);
	free(kv);
}

void kv_add(struct kv *kv, const struct kv_pair *pair)
{
	kv_append(kv, cli_strdup(pair->key), cli_strdup(pair->value), pair->json)->bare =
		pair->bare;
}

void kv_swap(struct kv *a, struct kv *b)
{
	struct kv c = *a;

	*a = *b;
	*b = c;
}

/* The text up to the next single comma, unescaped; @s moves behind it. */
static char *parse_value(const char **s)
{
	char *buf = cli_alloc(strlen(*s) + 1, 1), *to = buf;
	const char *from = *s;

	for (; *from; from++) {
		if (*from == ',' && *++from != ',')
			break;
		*to++ = *from;
	}
	*s = from;
	return buf;
}

static void parse_text(struct kv *kv, const char *s)
{
	bool first = true;

	for (; *s; first = false) {
		size_t len = strcspn(s, "=,");
		const char *end = s + len;

		if (*end == '=') {
			char *key = cli_printf("%.*s", (int)len, s);

			s = end + 1;
			kv_append(kv, key, parse_value(&s), NULL);
		} else if (first && kv->implied) {
			kv_append(kv, cli_strdup(kv->implied), parse_value(&s), NULL);
		} else {
			kv_append(kv, cli_printf("%.*s", (int)len, s), cli_strdup("on"), NULL)
				->bare = true;
			s = end + !!*end;
		}
	}
}

static char *json_text(const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_STRING:
		return cli_strdup(json_string_value(v));
	case JSON_TRUE:
		return cli_strdup("on");
	case JSON_FALSE:
		return cli_strdup("off");
	case JSON_INTEGER:
		return cli_printf("%" JSON_INTEGER_FORMAT, json_integer_value(v));
	case JSON_REAL:
		return cli_printf("%.17g", json_real_value(v));
	default:
		return cli_strdup("");
	}
}

static int parse_json(struct kv *kv, const char *text, struct twx_error *e)
{
	json_error_t je;
	json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, &je);
	const char *key;
	json_t *v;

	if (!json_is_object(o)) {
		json_decref(o);
		return twx_error_set(e, EINVAL, "this is not a JSON object: %s",
				     o ? "it is a value of another kind" : je.text);
	}
	kv->json = true;
	json_object_foreach (o, key, v)
		kv_append(kv, cli_strdup(key), json_text(v), v);
	json_decref(o);
	return 0;
}

int kv_parse(struct kv **out, const char *text, const char *implied, struct twx_error *e)
{
	struct kv *kv = kv_new(implied);
	int ret = 0;

	if (*text == '{')
		ret = parse_json(kv, text, e);
	else
		parse_text(kv, text);
	if (ret) {
		kv_free(kv);
		kv = NULL;
	}
	*out = kv;
	return ret;
}

const char *kv_get(const struct kv *kv, const char *key)
{
	size_t i;

	for (i = kv->n; i > 0; i--)
		if (!strcmp(kv->pairs[i - 1].key, key))
			return kv->pairs[i - 1].value;
	return NULL;
}

void kv_set(struct kv *kv, const char *key, const char *value)
{
	size_t i, n = 0;

	for (i = 0; i < kv->n; i++) {
		struct kv_pair *p = &kv->pairs[i];

		if (strcmp(p->key, key)) {
			kv->pairs[n++] = *p;
			continue;
		}
		pair_free(p);
		if (value)
			kv->pairs[n++] = (struct kv_pair){ .key = cli_strdup(key),
							   .value = cli_strdup(value) };
		value = NULL;
	}
	kv->n = n;
	if (value)
		kv_append(kv, cli_strdup(key), cli_strdup(value), NULL);
}

static bool is_help(const char *s)
{
	return !strcmp(s, "help") || !strcmp(s, "?");
}

bool kv_help(const struct kv *kv)
{
	size_t i;

	for (i = 0; i < kv->n; i++) {
		const struct kv_pair *p = &kv->pairs[i];

		if (p->bare && is_help(p->key))
			return true;
		if (kv->implied && !strcmp(p->key, kv->implied) && is_help(p->value))
			return true;
	}
	return false;
}

static void put_value(FILE *f, const char *s)
{
	for (; *s; s++) {
		if (*s == ',')
			fputc(',', f);
		fputc(*s, f);
	}
}

char *kv_text(const struct kv *kv)
{
	char *text = NULL;
	const char *comma = "";
	size_t i, len;
	FILE *f = open_memstream(&text, &len);

	for (i = 0; f && i < kv->n; i++) {
		const struct kv_pair *p = &kv->pairs[i];

		if (json_is_object(p->json) || json_is_array(p->json))
			continue;
		fputs(comma, f);
		comma = ",";
		if (p->bare) {
			fputs(p->key, f);
			continue;
		}
		/* A value that would read as a key keeps its own. */
		if (i || !kv->implied || strcmp(p->key, kv->implied) || strchr(p->value, '=') ||
		    !*p->value)
			fprintf(f, "%s=", p->key);
		put_value(f, p->value);
	}
	if (!f || fclose(f))
		text = NULL;
	return text ? text : cli_strdup("");
}

char *kv_print(const struct kv *kv)
{
	json_t *o;
	char *text;
	size_t i;

	if (!kv->json)
		return kv_text(kv);
	o = json_object();
	for (i = 0; i < kv->n; i++) {
		const struct kv_pair *p = &kv->pairs[i];

		if (p->json)
			json_object_set(o, p->key, p->json);
		else
			json_object_set_new(o, p->key, json_string(p->value));
	}
	text = json_dumps(o, JSON_COMPACT | JSON_ENCODE_ANY);
	json_decref(o);
	return text ? text : cli_strdup("");
}
