/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests to slirp4netns's API socket: add_hostfwd, list_hostfwd, remove_hostfwd.
 *
 * The answers are, to the byte, those of slirp4netns 1.2.0, as its clients know them:
 * list_hostfwd's has no "return" around it, against its manual page. Where that program crashes (no
 * proto, no arguments) or takes a port above 65535, there is an error of the same kind here.
 */
#include <arpa/inet.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/alloc.h"
#include "cli/slirp4netns.h"

static char *failed(const char *what)
{
	return cli_printf("{\"error\":{\"desc\":\"bad request: %s\"}}", what);
}

/* The arguments are taken as far as they are what they should be; missing ones are empty. */

static const char *text_of(const json_t *args, const char *key)
{
	const char *s = json_string_value(json_object_get(args, key));

	return s ? s : "";
}

static bool address_of(const json_t *args, const char *key, struct in_addr def, struct in_addr *out)
{
	const char *s = text_of(args, key);

	*out = def;
	return !*s || inet_pton(AF_INET, s, out) == 1;
}

static bool port_of(const json_t *args, const char *key, unsigned int *out)
{
	double v = json_number_value(json_object_get(args, key));

	*out = v >= 1 && v <= 65535 ? (unsigned int)v : 0;
	return *out != 0;
}

static char *host_side(const struct api_forward *f)
{
	char host[INET_ADDRSTRLEN];

	return cli_printf("%s:%s:%u", f->udp ? "udp" : "tcp",
			  inet_ntop(AF_INET, &f->host, host, sizeof(host)), f->host_port);
}

static int open_forward(struct api *a, const struct api_forward *f)
{
	char guest[INET_ADDRSTRLEN], *host = host_side(f), *rule;
	int err;

	rule = cli_printf("%s-%s:%u", host, inet_ntop(AF_INET, &f->guest, guest, sizeof(guest)),
			  f->guest_port);
	err = a->add(a->opaque, rule);
	free(rule);
	free(host);
	return err;
}

static char *add_hostfwd(struct api *a, const json_t *args)
{
	const char *proto = text_of(args, "proto");
	struct api_forward f = { .udp = !strcmp(proto, "udp") };

	if (!f.udp && strcmp(proto, "tcp"))
		return failed("add_hostfwd: bad arguments.proto");
	if (!address_of(args, "host_addr", (struct in_addr){ INADDR_ANY }, &f.host))
		return failed("add_hostfwd: bad arguments.host_addr");
	if (!port_of(args, "host_port", &f.host_port))
		return failed("add_hostfwd: bad arguments.host_port");
	if (!address_of(args, "guest_addr", a->guest, &f.guest))
		return failed("add_hostfwd: bad arguments.guest_addr");
	if (!port_of(args, "guest_port", &f.guest_port))
		return failed("add_hostfwd: bad arguments.guest_port");
	if (open_forward(a, &f))
		return failed("add_hostfwd: slirp_add_hostfwd failed");
	f.id = ++a->last_id;
	a->forwards = cli_grow(a->forwards, a->n_forwards, sizeof(*a->forwards));
	a->forwards[a->n_forwards++] = f;
	return cli_printf("{\"return\":{\"id\":%u}}", f.id);
}

static char *list_hostfwd(struct api *a, const json_t *args)
{
	char host[INET_ADDRSTRLEN], guest[INET_ADDRSTRLEN], *out = NULL;
	size_t len, i;
	FILE *f = open_memstream(&out, &len);

	if (!f)
		return failed("out of memory");
	fputs("{\"entries\":[", f);
	for (i = 0; i < a->n_forwards; i++) {
		const struct api_forward *w = &a->forwards[i];

		fprintf(f,
			"%s{\"id\":%u,\"proto\":\"%s\",\"host_addr\":\"%s\",\"host_port\":%u,"
			"\"guest_addr\":\"%s\",\"guest_port\":%u}",
			i ? "," : "", w->id, w->udp ? "udp" : "tcp",
			inet_ntop(AF_INET, &w->host, host, sizeof(host)), w->host_port,
			inet_ntop(AF_INET, &w->guest, guest, sizeof(guest)), w->guest_port);
	}
	fputs("]}", f);
	fclose(f);
	return out;
}

static char *remove_hostfwd(struct api *a, const json_t *args)
{
	double id = json_number_value(json_object_get(args, "id"));
	char *host;
	size_t i;
	int err;

	for (i = 0; i < a->n_forwards && a->forwards[i].id != id; i++)
		;
	if (i == a->n_forwards)
		return failed("remove_hostfwd: bad arguments.id");
	host = host_side(&a->forwards[i]);
	err = a->remove(a->opaque, host);
	free(host);
	if (err)
		return failed("remove_hostfwd: slirp_remove_hostfwd failed");
	a->n_forwards--;
	memmove(a->forwards + i, a->forwards + i + 1, (a->n_forwards - i) * sizeof(*a->forwards));
	return cli_strdup("{\"return\":{}}");
}

static const struct {
	const char *name;
	char *(*run)(struct api *a, const json_t *args);
} requests[] = {
	{ "add_hostfwd", add_hostfwd },
	{ "list_hostfwd", list_hostfwd },
	{ "remove_hostfwd", remove_hostfwd },
};

static char *answer(struct api *a, const json_t *request)
{
	const char *execute = json_string_value(json_object_get(request, "execute"));
	size_t i;

	if (!json_is_object(request))
		return failed("json_object() failed");
	if (!execute)
		return failed("no execute found");
	for (i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		if (!strcmp(execute, requests[i].name))
			return requests[i].run(a, json_object_get(request, "arguments"));
	return failed("unknown execute");
}

char *api_answer(struct api *a, const char *text, size_t len, bool whole)
{
	json_error_t error;
	json_t *request;
	char *out;

	if (len >= API_MESSAGE)
		return failed("too large message");
	request = json_loadb(text, len, JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, &error);
	if (!request && !whole && json_error_code(&error) == json_error_premature_end_of_input)
		return NULL;
	out = request ? answer(a, request) : failed("cannot parse JSON");
	json_decref(request);
	return out;
}

void api_free(struct api *a)
{
	free(a->forwards);
	a->forwards = NULL;
	a->n_forwards = 0;
}
