/* SPDX-License-Identifier: BSD-3-Clause */
/* Ports to publish, as `-p` has them, become forwards of the user-mode network. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/alloc.h"
#include "cli/run.h"

struct port_range {
	unsigned int first, last;
};

/* "PORT" or "PORT-PORT". */
static bool parse_range(const char *s, struct port_range *r)
{
	char *end;

	if (*s < '0' || *s > '9')
		return false;
	r->first = r->last = (unsigned int)strtoul(s, &end, 10);
	if (*end == '-' && end[1] >= '0' && end[1] <= '9')
		r->last = (unsigned int)strtoul(end + 1, &end, 10);
	return !*end && r->first && r->first <= r->last && r->last <= 65535;
}

/* Cuts the last part off behind a colon that is outside of brackets; null: there is none. */
static char *cut_last(char *s)
{
	char *colon = strrchr(s, ':');
	const char *close = strrchr(s, ']');

	if (!colon || (close && close > colon))
		return NULL;
	*colon = 0;
	return colon + 1;
}

static int bad(const char *spec, const char *why, struct twx_error *e)
{
	twx_error_set(e, EINVAL, "'%s' %s", spec, why);
	return twx_error_hint(e, "ports are written [tcp:|udp:][ADDR:]HOSTPORT[:GUESTPORT], ranges "
				 "8000-8010, IPv6 addresses in brackets");
}

/* An IPv4 address, or an IPv6 address in brackets. */
static bool is_address(const char *s)
{
	size_t len = strlen(s);
	char six[INET6_ADDRSTRLEN];
	struct in6_addr a;

	if (*s != '[')
		return inet_pton(AF_INET, s, &a) == 1;
	if (s[len - 1] != ']' || len - 2 >= sizeof(six))
		return false;
	memcpy(six, s + 1, len - 2);
	six[len - 2] = 0;
	return inet_pton(AF_INET6, six, &a) == 1;
}

static void add_forward(struct kv *netdev, const char *proto, const char *addr, unsigned int host,
			unsigned int guest)
{
	struct kv_pair pair = { .key = (char *)"hostfwd",
				.value = cli_printf("%s:%s:%u-:%u", proto, addr, host, guest) };

	kv_add(netdev, &pair);
	free(pair.value);
}

/* @s is the part behind the protocol, and is cut up. */
static int publish(struct kv *netdev, const char *proto, char *s, const char *spec,
		   struct twx_error *e)
{
	struct port_range host, guest;
	char *last = cut_last(s), *mid = last ? cut_last(s) : NULL;
	const char *addr = "";
	unsigned int i;

	if (mid) { /* ADDR:PORT:PORT */
		addr = s;
		s = mid;
	} else if (last && !parse_range(s, &host)) { /* ADDR:PORT */
		addr = s;
		s = last;
		last = NULL;
	}
	if (*addr && !is_address(addr))
		return bad(spec, "has an address that is none", e);
	if (!parse_range(s, &host) || !parse_range(last ? last : s, &guest))
		return bad(spec, "has a port that is none (1 to 65535)", e);
	if (host.last - host.first != guest.last - guest.first)
		return bad(spec, "has two ranges of different length", e);
	for (i = 0; i <= host.last - host.first; i++)
		add_forward(netdev, proto, addr, host.first + i, guest.first + i);
	return 0;
}

int run_publish(struct kv *netdev, const char *spec, struct twx_error *e)
{
	const char *proto = "tcp";
	char *copy = cli_strdup(spec), *s = copy;
	int err;

	if (!strncmp(s, "tcp:", 4) || !strncmp(s, "udp:", 4)) {
		proto = *s == 'u' ? "udp" : "tcp";
		s += 4;
	}
	err = publish(netdev, proto, s, spec, e);
	free(copy);
	return err;
}
