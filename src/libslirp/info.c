/* SPDX-License-Identifier: BSD-3-Clause */
/* What the stack holds, as text with the columns that libslirp's users know. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <twinax/usernet.h>

#include "backends/user/user.h"
#include "libslirp/slirp.h"

char *slirp_connection_info(struct Slirp *s)
{
	char *text, *rest;

	slirp_settle(s);
	text = twx_usernet_info(s->net);
	rest = text ? strchr(text, '\n') : NULL;
	/* The name of the network is the caller's to say. */
	if (rest)
		memmove(text, rest + 1, strlen(rest));
	return text;
}

char *slirp_neighbor_info(struct Slirp *s)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	slirp_settle(s);
	fputs("  Table  MacAddr            IP Address\n", f);
	for (uint32_t i = 0; i < USER_NEIGHS; i++) {
		const struct user_neigh *n = &s->user->neighs[i];
		static const uint8_t none[6];
		char ip[INET6_ADDRSTRLEN];
		const uint8_t *m = n->mac;
		bool v4 = user_is_v4(&n->ip);

		if (!memcmp(m, none, sizeof(none)))
			continue;
		if (v4)
			inet_ntop(AF_INET, &n->ip.s6_addr32[3], ip, sizeof(ip));
		else
			inet_ntop(AF_INET6, &n->ip, ip, sizeof(ip));
		fprintf(f, "    %s  %02x:%02x:%02x:%02x:%02x:%02x  %s\n", v4 ? "ARP" : "NDP", m[0],
			m[1], m[2], m[3], m[4], m[5], ip);
	}
	fclose(f);
	return text;
}
