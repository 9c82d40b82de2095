/* SPDX-License-Identifier: BSD-3-Clause */
/* The search list of dnssearch= in wire form (RFC 1035, 3.1), for DHCP, DHCPv6 and router
 * advertisements. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/user/user.h"

/* "a.example" to 1 a 7 example 0. Length, or 0 if it is no domain name. */
static uint32_t wire_name(const char *text, uint8_t out[256])
{
	uint32_t n = 0;

	while (*text) {
		size_t len = strcspn(text, ".");

		if (!len || len > 63 || n + len + 2 > 255)
			return 0;
		out[n++] = (uint8_t)len;
		memcpy(out + n, text, len);
		n += (uint32_t)len;
		text += len;
		if (*text == '.')
			text++;
	}
	out[n++] = 0;
	return n > 1 ? n : 0;
}

int search_init(struct user *u, const struct twx_opts *opts, struct twx_error *e)
{
	size_t n = twx_opts_list_len(opts, "dnssearch");

	if (!n)
		return 0;
	u->search = malloc(USER_SEARCH_MAX);
	if (!u->search)
		return twx_error_set(e, ENOMEM, "netdev %s: out of memory", u->backend->id);
	for (size_t i = 0; i < n; i++) {
		const char *text = twx_opts_list_at(opts, "dnssearch", i);
		uint8_t name[256];
		uint32_t len = wire_name(text, name);

		if (!len || len > USER_SEARCH_MAX - u->search_len) {
			twx_error_set(e, EINVAL,
				      "Parameter 'dnssearch' expects a domain name%s, not '%s'",
				      len ? " list of 1024 bytes at most" : "", text);
			return twx_error_hint(e,
					      "labels have 1 to 63 characters, names 253 at most");
		}
		memcpy(u->search + u->search_len, name, len);
		u->search_len += len;
	}
	return 0;
}

void search_fini(struct user *u)
{
	free(u->search);
	u->search = NULL;
	u->search_len = 0;
}
