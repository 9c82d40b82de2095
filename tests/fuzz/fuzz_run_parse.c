/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What comes from outside to `twinax run` and its personalities: the first byte says as what the
 * rest is taken, ports of -p, of pasta's -t and -u, or requests to slirp4netns's API socket parted
 * by newlines.
 */
#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cli/kv.h"
#include "cli/pasta.h"
#include "cli/run.h"
#include "cli/slirp4netns.h"
#include "fuzz.h"

static unsigned int n_open;

/* Every other one fails, as ports do that somebody else has. */
static int add(void *opaque, const char *rule)
{
	unsigned int *n = opaque;

	assert(!strncmp(rule, "tcp:", 4) || !strncmp(rule, "udp:", 4));
	if (*n += 1, *n % 2)
		return -1;
	n_open++;
	return 0;
}

static int del(void *opaque, const char *rule)
{
	assert(n_open);
	n_open--;
	return 0;
}

static void ask(char *text)
{
	unsigned int calls = 0;
	struct api a = { .add = add, .remove = del, .opaque = &calls };
	char *rest = text, *line;

	n_open = 0;
	while ((line = strsep(&rest, "\n"))) {
		char *early = api_answer(&a, line, strlen(line), false);
		char *answer = early ? early : api_answer(&a, line, strlen(line), true);
		json_t *json;

		assert(answer);
		json = json_loads(answer, 0, NULL);
		assert(json_is_object(json));
		json_decref(json);
		free(answer);
		assert(a.n_forwards == n_open);
	}
	api_free(&a);
}

/* What is accepted leads to rules, what is not to none and a sentence. */
static void ports(int kind, const char *text)
{
	struct twx_error e = { 0 };
	struct kv *kv = kv_new("type");
	int err = kind == 'p' ? run_publish(kv, text, &e) : pasta_ports(kv, kind == 'u', text, &e);

	if (err)
		assert(!kv->n && e.code && *e.what && *e.hint);
	else
		assert(kv->n || !strcmp(text, "none"));
	kv_free(kv);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (!size || memchr(data, 0, size))
		return 0;
	text = strndup((const char *)data + 1, size - 1);
	if (data[0] == 'a')
		ask(text);
	else
		ports(data[0], text);
	free(text);
	return 0;
}
