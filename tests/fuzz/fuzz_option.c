/* SPDX-License-Identifier: BSD-3-Clause */
/* Option strings, text and JSON, checked against a table with every type and read back. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <twinax/option.h>

#include "fuzz.h"

static const struct twx_opt_desc table[] = {
	{ "net", TWX_OPT_STR, .def = "10.0.2.0/24" },
	{ "restrict", TWX_OPT_BOOL, .def = "off" },
	{ "len", TWX_OPT_INT, .min = 0, .max = 126 },
	{ "index", TWX_OPT_INT, .min = INT32_MIN, .max = INT32_MAX },
	{ "cookie", TWX_OPT_INT },
	{ "sndbuf", TWX_OPT_SIZE },
	{ "queue", TWX_OPT_SIZE, .min = 1, .max = 1 << 20 },
	{ "fwd", TWX_OPT_LIST },
	{ "mode", TWX_OPT_ENUM, .words = "native|skb" },
	{ "addr", TWX_OPT_STRUCT },
	{ 0 },
};

static void read_list(const struct twx_opts *o, const char *key)
{
	size_t n = twx_opts_list_len(o, key);

	for (size_t i = 0; i < n; i++)
		assert(twx_opts_list_at(o, key, i));
	assert(!twx_opts_list_at(o, key, n));
}

/* What the check has let through keeps the promises of the table. */
static void read_back(struct twx_opts *o)
{
	int64_t len = twx_opts_int(o, "len"), index = twx_opts_int(o, "index");
	const char *mode = twx_opts_str(o, "mode");

	assert(twx_opts_has(o, "net") && twx_opts_str(o, "net"));
	assert(twx_opts_has(o, "restrict"));
	twx_opts_bool(o, "restrict");
	assert(len >= 0 && len <= 126);
	assert(index >= INT32_MIN && index <= INT32_MAX);
	if (twx_opts_has(o, "queue"))
		assert(twx_opts_size(o, "queue") >= 1 && twx_opts_size(o, "queue") <= 1 << 20);
	twx_opts_size(o, "sndbuf");
	assert(!mode || !strcmp(mode, "native") || !strcmp(mode, "skb"));
	assert(!twx_opts_raw(o, "addr") || !*twx_opts_raw(o, "addr"));
	read_list(o, "fwd");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct twx_error e = { 0 };
	struct twx_opts *o;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (twx_opts_parse(&o, text, "type", &e)) {
		assert(!o && e.code && *e.what);
		free(text);
		return 0;
	}
	twx_opts_help(o);
	if (!twx_opts_check(o, table, &e)) {
		read_back(o);
		/* A checked list stays good, and so does one that is given a value of its own. */
		assert(!twx_opts_check(o, table, &e));
		assert(!twx_opts_put(o, "net", twx_opts_str(o, "net")));
		assert(twx_opts_given(o, "net"));
		twx_opts_remove(o, "net");
		assert(!twx_opts_has(o, "net"));
	} else {
		assert(e.code && *e.what);
	}
	twx_opts_free(o);
	free(text);
	return 0;
}
