/* SPDX-License-Identifier: BSD-3-Clause */
/* One option's value, "driver,key=value,..." or JSON, as a list that is edited and written back. */
#ifndef CLI_KV_H
#define CLI_KV_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include <twinax/error.h>

struct kv_pair {
	char *key;
	char *value;  /* text; of JSON's booleans "on" and "off", of its objects and arrays "" */
	json_t *json; /* the value as it was, in a JSON list; null for what was set here */
	bool bare;    /* a key without "=value" */
};

struct kv {
	const char *implied; /* key of a first value without "key=", a literal; null: none */
	bool json;
	struct kv_pair *pairs;
	size_t n;
};

/*
 * 0 with a list in @out, or -errno. Text is read by QEMU's rules: commas part, two commas are one
 * in a value.
 */
int kv_parse(struct kv **out, const char *text, const char *implied, struct twx_error *e);
struct kv *kv_new(const char *implied);
void kv_swap(struct kv *a, struct kv *b);
void kv_free(struct kv *kv);

/* The last value of @key, or null. */
const char *kv_get(const struct kv *kv, const char *key);
/* One value in the place of all; at the end if there was none. Null takes the key out. */
void kv_set(struct kv *kv, const char *key, const char *value);
void kv_add(struct kv *kv, const struct kv_pair *pair); /* a copy, at the end */
/* Where "help" or "?" stands for the value of the implied key, or as a key. */
bool kv_help(const struct kv *kv);
/* As it was given: text or JSON. */
char *kv_print(const struct kv *kv);
/* As text, whatever it was. Objects and arrays have no place there and are left out. */
char *kv_text(const struct kv *kv);

#endif
