/* SPDX-License-Identifier: BSD-3-Clause */
/* Addresses of the socket backends: options and texts read, names resolved, addresses as text. */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "backends/sock/sock.h"
#include "base/hostops.h"
#include "base/macros.h"
#include "net/net_priv.h"

/* --- members of an address --- */

static const struct {
	const char *name;
	unsigned int kinds; /* that have it */
	bool needed;
} members[] = {
	{ "host", SOCK_INET, true },
	{ "port", SOCK_INET, true },
	{ "numeric", SOCK_INET, false },
	{ "to", SOCK_INET, false },
	{ "ipv4", SOCK_INET, false },
	{ "ipv6", SOCK_INET, false },
	{ "keep-alive", SOCK_INET, false },
	{ "keep-alive-count", SOCK_INET, false },
	{ "keep-alive-idle", SOCK_INET, false },
	{ "keep-alive-interval", SOCK_INET, false },
	{ "mptcp", SOCK_INET, false },
	{ "path", SOCK_UNIX, true },
	{ "abstract", SOCK_UNIX, false },
	{ "tight", SOCK_UNIX, false },
	{ "str", SOCK_FD, true },
};

static const struct {
	const char *name;
	enum sock_kind kind;
} kinds[] = {
	{ "inet", SOCK_INET },
	{ "unix", SOCK_UNIX },
	{ "fd", SOCK_FD },
};

/* The option list and the prefix of one address. */
struct source {
	const struct twx_opts *o;
	const char *prefix;
	char key[64];
};

static const char *member(struct source *src, const char *name)
{
	snprintf(src->key, sizeof(src->key), "%s.%s", src->prefix, name);
	return src->key;
}

static const char *member_str(struct source *src, const char *name)
{
	return twx_opts_str(src->o, member(src, name));
}

static bool member_given(struct source *src, const char *name)
{
	return twx_opts_given(src->o, member(src, name));
}

static bool member_bool(struct source *src, const char *name)
{
	return twx_opts_bool(src->o, member(src, name));
}

static int member_int(struct source *src, const char *name)
{
	return (int)twx_opts_int(src->o, member(src, name));
}

static int missing(const char *key, struct twx_error *e)
{
	return twx_error_set(e, EINVAL, "Parameter '%s' is missing", key);
}

static int check_members(struct source *src, enum sock_kind kind, struct twx_error *e)
{
	size_t i;

	for (i = 0; i < array_size(members); i++) {
		bool given = member_given(src, members[i].name);

		if (given && !(members[i].kinds & kind)) {
			twx_error_set(e, EINVAL, "Parameter '%s' is unexpected", src->key);
			return twx_error_hint(e, "it does not go with %s.type=%s", src->prefix,
					      twx_opts_str(src->o, member(src, "type")));
		}
		if (!given && members[i].needed && (members[i].kinds & kind))
			return missing(src->key, e);
	}
	return 0;
}

/* --- inet --- */

static int resolve_failed(const struct sock_spec *s, const char *host, const char *port, int err,
			  struct twx_error *e)
{
	switch (-err) {
	case ENOENT:
		twx_error_set(e, ENOENT, "can't resolve host address '%s'", host ? host : "");
		return twx_error_hint(e, "it is neither a known name nor a numeric address");
	case EAGAIN:
		twx_error_set(e, EAGAIN, "can't resolve host address '%s'", host ? host : "");
		return twx_error_hint(e, "no name server answers; use a numeric address");
	case EINVAL:
		return twx_error_set(e, EINVAL, "port number '%s' is invalid", port);
	case EAFNOSUPPORT:
		return twx_error_set(e, EINVAL, "'%s' has no address of the wanted IP version",
				     host ? host : "");
	default:
		return twx_error_set(e, -err, "can't resolve '%s': %s", s->text, strerror(-err));
	}
}

/* A number that is too large would be taken modulo 65536 by getaddrinfo(). */
static bool port_ok(const char *port)
{
	unsigned long v;
	char *end;

	if (*port < '0' || *port > '9')
		return *port != '\0' && *port != '-' && *port != '+' && *port != ' ';
	errno = 0;
	v = strtoul(port, &end, 10);
	return !errno && !*end && v <= UINT16_MAX;
}

static int resolve(struct sock_spec *s, struct twx_backend *b, const char *host, const char *port,
		   int family, int flags, bool numeric, struct twx_error *e)
{
	struct sockaddr_storage found[SOCK_ADDRS];
	int ai = (flags & SOCK_PASSIVE ? AI_PASSIVE : 0) | (numeric ? AI_NUMERICHOST : 0);
	int i, n;

	snprintf(s->text, sizeof(s->text), host && strchr(host, ':') ? "[%s]:%s" : "%s:%s",
		 host ? host : "", port);
	if (!host && !(flags & SOCK_PASSIVE))
		return twx_error_set(e, EINVAL, "'%s' names no host to connect to", s->text);
	n = port_ok(port) ? hostops_resolve(net_hostops(b->net), host, port, family,
					    flags & SOCK_DATAGRAM ? SOCK_DGRAM : SOCK_STREAM, ai,
					    found, SOCK_ADDRS)
			  : -EINVAL;
	if (n < 0)
		return resolve_failed(s, host, port, n, e);
	for (i = 0; i < n; i++) {
		s->addr[i].ss = found[i];
		s->addr[i].len = found[i].ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
								: sizeof(struct sockaddr_in);
	}
	s->n_addr = n;
	if (!(flags & SOCK_PASSIVE) && !sock_port(&s->addr[0]))
		return twx_error_set(e, EINVAL, "port number '%s' is invalid", port);
	return 0;
}

/* The version that ipv4= and ipv6= leave; -1 for none. */
static int inet_family(struct source *src)
{
	bool has4 = member_given(src, "ipv4"), has6 = member_given(src, "ipv6");
	bool on4 = member_bool(src, "ipv4"), on6 = member_bool(src, "ipv6");

	if (has4 && has6 && !on4 && !on6)
		return -1;
	if (on4 == on6 && has4 == has6)
		return AF_UNSPEC;
	return (has6 && on6) || (has4 && !on4) ? AF_INET6 : AF_INET;
}

static int inet_to(struct sock_spec *s, struct source *src, int flags, struct twx_error *e)
{
	int to = member_int(src, "to");

	if (!member_given(src, "to"))
		return 0;
	if (!(flags & SOCK_PASSIVE))
		return twx_error_set(e, EINVAL, "Parameter '%s' is for a server", src->key);
	if (to < sock_port(&s->addr[0]) || to > UINT16_MAX)
		return twx_error_set(e, EINVAL, "Parameter '%s' ends before the first port",
				     src->key);
	s->port_to = (uint16_t)to;
	return 0;
}

static int spec_inet(struct sock_spec *s, struct source *src, struct twx_backend *b, int flags,
		     struct twx_error *e)
{
	const char *host = member_str(src, "host"), *port = member_str(src, "port");
	int family = inet_family(src), err;

	if (family < 0)
		return twx_error_set(e, EINVAL, "%s.ipv4 and %s.ipv6 cannot both be off",
				     src->prefix, src->prefix);
	err = resolve(s, b, *host ? host : NULL, port, family, flags, member_bool(src, "numeric"),
		      e);
	if (err)
		return err;
	s->v6only = family == AF_INET6;
	s->mptcp = member_bool(src, "mptcp");
	s->keep_alive = member_bool(src, "keep-alive");
	s->keep_count = member_int(src, "keep-alive-count");
	s->keep_idle = member_int(src, "keep-alive-idle");
	s->keep_interval = member_int(src, "keep-alive-interval");
	return inet_to(s, src, flags, e);
}

/* --- unix --- */

static int spec_unix(struct sock_spec *s, struct source *src, struct twx_error *e)
{
	struct sockaddr_un *sun = (struct sockaddr_un *)&s->addr[0].ss;
	const char *path = member_str(src, "path");
	bool tight = !member_given(src, "tight") || member_bool(src, "tight");
	size_t len = strlen(path), off;

	s->abstract = member_bool(src, "abstract");
	off = s->abstract ? 1 : 0;
	if (!len)
		return twx_error_set(e, EINVAL, "Parameter '%s' is empty", member(src, "path"));
	if (len >= sizeof(sun->sun_path))
		return twx_error_set(e, ENAMETOOLONG, "socket path '%s' is longer than %zu bytes",
				     path, sizeof(sun->sun_path) - 1);
	sun->sun_family = AF_UNIX;
	memcpy(sun->sun_path + off, path, len);
	s->addr[0].len = s->abstract && tight
				 ? (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len)
				 : sizeof(*sun);
	s->n_addr = 1;
	snprintf(s->text, sizeof(s->text), "%s%s", s->abstract ? "@" : "", path);
	return 0;
}

/* --- all kinds --- */

int sock_fd_number(const char *text, struct twx_error *e)
{
	char *end;
	long v;

	errno = 0;
	v = strtol(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || v > INT_MAX) {
		twx_error_set(e, EINVAL, "Invalid file descriptor number '%s'", text);
		return twx_error_hint(e, "give the number of a socket that this program inherits");
	}
	return (int)v;
}

static int spec_fd(struct sock_spec *s, struct source *src, struct twx_error *e)
{
	s->fd = sock_fd_number(member_str(src, "str"), e);
	snprintf(s->text, sizeof(s->text), "descriptor %d", s->fd);
	return s->fd < 0 ? s->fd : 0;
}

int sock_spec_opts(struct sock_spec *s, struct twx_backend *b, const struct twx_opts *o,
		   const char *prefix, int flags, struct twx_error *e)
{
	struct source src = { .o = o, .prefix = prefix };
	const char *type;
	size_t i;
	int err;

	memset(s, 0, sizeof(*s));
	s->fd = -1;
	if (!twx_opts_given(o, prefix))
		return 0;
	type = member_str(&src, "type");
	if (!type)
		return missing(src.key, e);
	for (i = 0; i < array_size(kinds); i++)
		if (!strcmp(kinds[i].name, type))
			s->kind = kinds[i].kind;
	err = check_members(&src, s->kind, e);
	if (err)
		return err;
	switch (s->kind) {
	case SOCK_INET:
		return spec_inet(s, &src, b, flags, e);
	case SOCK_UNIX:
		return spec_unix(s, &src, e);
	default:
		return spec_fd(s, &src, e);
	}
}

int sock_spec_text(struct sock_spec *s, struct twx_backend *b, const char *text, int flags,
		   struct twx_error *e)
{
	const char *colon = strchr(text, ':');
	char host[256];

	memset(s, 0, sizeof(*s));
	s->fd = -1;
	s->kind = SOCK_INET;
	if (!colon)
		return twx_error_set(e, EINVAL,
				     "host address '%s' doesn't contain ':' separating host from "
				     "port",
				     text);
	if ((size_t)(colon - text) >= sizeof(host))
		return twx_error_set(e, EINVAL, "host name '%s' is too long", text);
	memcpy(host, text, (size_t)(colon - text));
	host[colon - text] = '\0';
	return resolve(s, b, *host ? host : NULL, colon + 1, AF_INET, flags, false, e);
}

/* --- addresses --- */

static void name_unix(const struct sock_addr *a, char *buf, size_t size)
{
	const struct sockaddr_un *sun = (const struct sockaddr_un *)&a->ss;
	size_t len = a->len - min(a->len, (socklen_t)offsetof(struct sockaddr_un, sun_path)), i;

	buf[0] = '\0';
	if (!len)
		return;
	len = strnlen(sun->sun_path + !sun->sun_path[0], len - !sun->sun_path[0]);
	snprintf(buf, size, "%s%.*s", sun->sun_path[0] ? "" : "@", (int)len,
		 sun->sun_path + !sun->sun_path[0]);
	/* A stranger's name goes to logs and terminals. */
	for (i = 0; buf[i]; i++)
		if (buf[i] < ' ' || buf[i] == 0x7f)
			buf[i] = '?';
}

void sock_name(const struct sock_addr *a, char *buf, size_t size)
{
	const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *)&a->ss;
	const struct sockaddr_in *sin = (const struct sockaddr_in *)&a->ss;
	char host[INET6_ADDRSTRLEN] = "";

	buf[0] = '\0';
	if (a->len < sizeof(sa_family_t))
		return;
	switch (a->ss.ss_family) {
	case AF_INET:
		inet_ntop(AF_INET, &sin->sin_addr, host, sizeof(host));
		snprintf(buf, size, "%s:%u", host, sock_port(a));
		break;
	case AF_INET6:
		inet_ntop(AF_INET6, &sin6->sin6_addr, host, sizeof(host));
		snprintf(buf, size, "[%s]:%u", host, sock_port(a));
		break;
	case AF_UNIX:
		name_unix(a, buf, size);
		break;
	default:
		break;
	}
}

bool sock_is_multicast(const struct sock_addr *a)
{
	const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *)&a->ss;
	const struct sockaddr_in *sin = (const struct sockaddr_in *)&a->ss;

	if (a->ss.ss_family == AF_INET)
		return IN_MULTICAST(ntohl(sin->sin_addr.s_addr));
	return a->ss.ss_family == AF_INET6 && IN6_IS_ADDR_MULTICAST(&sin6->sin6_addr);
}

/* The port is at the same place in both kinds of address. */
_Static_assert(offsetof(struct sockaddr_in, sin_port) == offsetof(struct sockaddr_in6, sin6_port),
	       "port");

uint16_t sock_port(const struct sock_addr *a)
{
	if (a->ss.ss_family != AF_INET && a->ss.ss_family != AF_INET6)
		return 0;
	return ntohs(((const struct sockaddr_in *)&a->ss)->sin_port);
}

void sock_set_port(struct sock_addr *a, uint16_t port)
{
	((struct sockaddr_in *)&a->ss)->sin_port = htons(port);
}
