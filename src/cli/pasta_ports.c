/* SPDX-License-Identifier: BSD-3-Clause */
/* Ports as pasta's -t and -u have them become forwards of the user-mode network. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/alloc.h"
#include "cli/pasta.h"

#define N_PORTS 65536

/* By port of the host: the port of the namespace, or 0. */
struct port_map {
	unsigned int to[N_PORTS];
	bool excluded[N_PORTS];
	bool any; /* a port or a range that is not excluded has been named */
};

static int bad(const char *spec, const char *why, struct twx_error *e)
{
	twx_error_set(e, EINVAL, "'%s' %s", spec, why);
	return twx_error_hint(e,
			      "none, or [ADDRESS/]PORT[-PORT][:PORT[-PORT]],... and ~PORT[-PORT] "
			      "for what is left out");
}

/* "PORT" or "PORT-PORT" at *s, which moves behind it. */
static bool take_range(const char **s, unsigned long range[2])
{
	char *end;

	if (**s < '0' || **s > '9')
		return false;
	range[0] = range[1] = strtoul(*s, &end, 10);
	if (*end == '-' && end[1] >= '0' && end[1] <= '9')
		range[1] = strtoul(end + 1, &end, 10);
	*s = end;
	return range[0] >= 1 && range[0] <= range[1] && range[1] < N_PORTS;
}

/* One piece between commas; null, or why not. */
static const char *take_piece(struct port_map *m, const char *s)
{
	bool exclude = *s == '~';
	unsigned long host[2], guest[2], i;

	s += exclude;
	if (!take_range(&s, host))
		return "has a port that is none (1 to 65535)";
	memcpy(guest, host, sizeof(guest));
	if (*s == ':' && !exclude) {
		s++;
		if (!take_range(&s, guest))
			return "has a port that is none (1 to 65535)";
	}
	if (*s)
		return "is no list of ports";
	if (host[1] - host[0] != guest[1] - guest[0])
		return "has two ranges of different length";
	for (i = host[0]; i <= host[1]; i++)
		if (exclude)
			m->excluded[i] = true;
		else
			m->to[i] = (unsigned int)(guest[0] + i - host[0]);
	m->any |= !exclude;
	return NULL;
}

/* An address in front of a slash, as hostfwd= writes it; to be freed. Null: it is none. */
static char *take_address(const char *s, size_t len)
{
	char text[INET6_ADDRSTRLEN + 2] = "";
	struct in6_addr a;

	if (len && *s == '[' && s[len - 1] == ']') {
		s++;
		len -= 2;
	}
	if (len >= sizeof(text))
		return NULL;
	memcpy(text, s, len);
	if (inet_pton(AF_INET, text, &a) == 1)
		return cli_strdup(text);
	return inet_pton(AF_INET6, text, &a) == 1 ? cli_printf("[%s]", text) : NULL;
}

/* False: there are none. */
static bool add_forwards(struct kv *netdev, const struct port_map *m, bool udp, const char *addr)
{
	struct kv_pair pair = { .key = (char *)"hostfwd" };
	size_t before = netdev->n;
	unsigned int i;

	for (i = 1; i < N_PORTS; i++) {
		if (!m->to[i] || m->excluded[i])
			continue;
		pair.value = cli_printf("%s:%s:%u-:%u", udp ? "udp" : "tcp", addr, i, m->to[i]);
		kv_add(netdev, &pair);
		free(pair.value);
	}
	return netdev->n > before;
}

static const char *take_pieces(struct port_map *m, char *list)
{
	char *rest = list, *piece;
	const char *why = NULL;

	while (!why && (piece = strsep(&rest, ",")))
		why = take_piece(m, piece);
	if (!why && !m->any)
		why = "would forward all ports but some, which is not done here: name those to "
		      "forward";
	return why;
}

int pasta_ports(struct kv *netdev, bool udp, const char *spec, struct twx_error *e)
{
	const char *slash = strchr(spec, '/'), *why;
	struct port_map *m;
	char *addr, *list;

	if (!strcmp(spec, "none"))
		return 0;
	if (!strcmp(spec, "auto") || !strcmp(spec, "all"))
		return bad(spec, "is not done here: name the ports", e);
	addr = slash ? take_address(spec, (size_t)(slash - spec)) : cli_strdup("");
	if (!addr)
		return bad(spec,
			   "has an address that is none (interfaces, %NAME, are not done here)", e);
	m = cli_alloc(1, sizeof(*m));
	list = cli_strdup(slash ? slash + 1 : spec);
	why = take_pieces(m, list);
	if (!why && !add_forwards(netdev, m, udp, addr))
		why = "leaves no port to forward";
	free(list);
	free(m);
	free(addr);
	return why ? bad(spec, why, e) : 0;
}
