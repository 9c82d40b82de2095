/* SPDX-License-Identifier: BSD-3-Clause */
/* The text of hostfwd=. */
#include "backends/user/fwd_rule.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/macros.h"

#define PART_MAX 256

/* Cuts the part before @sep off *@text into @buf, without its brackets if it stands in some; false
 * when there is no @sep, or the part is too long. */
static bool part(char *buf, const char **text, char sep, bool *brackets)
{
	const char *start = *text, *end;
	size_t len;

	*brackets = *start == '[';
	end = strchr(start + *brackets, *brackets ? ']' : sep);
	if (!end || (*brackets && end[1] != sep))
		return false;
	start += *brackets;
	len = (size_t)(end - start);
	if (len >= PART_MAX)
		return false;
	memcpy(buf, start, len);
	buf[len] = 0;
	*text = end + 1 + *brackets;
	return true;
}

static bool number(const char *text, long lowest, uint16_t *port)
{
	char *end;
	long v;

	errno = 0;
	v = strtol(text, &end, 0);
	if (*end || errno || v < lowest || v > 65535)
		return false;
	*port = (uint16_t)v;
	return true;
}

/* "fe80::1%eth0"; the scope is the name or the number of an interface. */
static bool address6(char *text, struct in6_addr *a, uint32_t *scope)
{
	char *mark = strchr(text, '%');
	uint16_t index;

	*scope = 0;
	if (mark) {
		*mark++ = 0;
		*scope = if_nametoindex(mark);
		if (!*scope && !number(mark, 1, &index))
			return false;
		if (!*scope)
			*scope = index;
	}
	return inet_pton(AF_INET6, text, a) == 1;
}

static bool host_address(struct fwd_rule *r, char *text, bool brackets)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&r->host;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&r->host;

	if (brackets) {
		in6->sin6_family = AF_INET6;
		r->host_len = sizeof(*in6);
		return address6(text, &in6->sin6_addr, &in6->sin6_scope_id);
	}
	in->sin_family = AF_INET;
	r->host_len = sizeof(*in);
	return !*text || inet_aton(text, &in->sin_addr);
}

static void set_host_port(struct fwd_rule *r, uint16_t port)
{
	if (r->host.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&r->host)->sin6_port = htons(port);
	else
		((struct sockaddr_in *)&r->host)->sin_port = htons(port);
}

static bool guest_address(struct fwd_rule *r, char *text, bool brackets)
{
	struct in_addr a;
	uint32_t scope;

	memset(&r->guest, 0, sizeof(r->guest));
	if (brackets)
		return address6(text, &r->guest, &scope) && !scope;
	if (!*text)
		return true;
	if (!inet_aton(text, &a))
		return false;
	if (!a.s_addr) /* libslirp takes it for "the first lease", too */
		return true;
	r->guest.s6_addr32[2] = htonl(0xffff);
	r->guest.s6_addr32[3] = a.s_addr;
	return true;
}

static const char *guest_side(struct fwd_rule *r, const char *text)
{
	char buf[PART_MAX];
	bool brackets;

	if (!part(buf, &text, ':', &brackets))
		return "Missing guest address";
	if (!guest_address(r, buf, brackets))
		return "Bad guest address";
	return number(text, 1, &r->guest_port) ? NULL : "Bad guest port";
}

static bool unix_path(struct fwd_rule *r, const char *path, size_t len)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&r->host;

	if (!len || len >= sizeof(un->sun_path))
		return false;
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, len);
	r->host_len = sizeof(*un);
	return true;
}

/* The kind; what follows it is left in *@text. */
static const char *protocol(struct fwd_rule *r, const char **text)
{
	static const char *const names[] = {
		[FWD_TCP] = "tcp", [FWD_UDP] = "udp", [FWD_UNIX] = "unix"
	};
	const char *colon = strchr(*text, ':');

	memset(r, 0, sizeof(*r));
	if (!colon)
		return "No : separators";
	for (size_t i = 0; i < array_size(names); i++) {
		size_t len = strlen(names[i]);

		if (colon == *text ||
		    (len == (size_t)(colon - *text) && !memcmp(*text, names[i], len))) {
			r->kind = (enum fwd_kind)i;
			*text = colon + 1;
			return NULL;
		}
	}
	return "Bad protocol name";
}

const char *fwd_rule_parse(struct fwd_rule *r, const char *text)
{
	const char *wrong = protocol(r, &text), *dash;
	char buf[PART_MAX];
	uint16_t port;
	bool brackets;

	if (wrong)
		return wrong;
	if (r->kind == FWD_UNIX) {
		/* The last one: a path may have its own, the guest's side has none. */
		dash = strrchr(text, '-');
		if (!dash)
			return "Missing guest address";
		return unix_path(r, text, (size_t)(dash - text)) ? guest_side(r, dash + 1)
								 : "Bad host path";
	}
	if (!part(buf, &text, ':', &brackets))
		return "Missing : separator";
	if (!host_address(r, buf, brackets))
		return "Bad host address";
	if (!part(buf, &text, '-', &brackets) || brackets)
		return "Bad host port separator";
	if (!number(buf, 0, &port))
		return "Bad host port";
	set_host_port(r, port);
	return guest_side(r, text);
}

bool fwd_rule_parse_host(struct fwd_rule *r, const char *text)
{
	char buf[PART_MAX];
	uint16_t port;
	bool brackets;

	if (protocol(r, &text))
		return false;
	if (r->kind == FWD_UNIX)
		return unix_path(r, text, strlen(text));
	if (!part(buf, &text, ':', &brackets) || !host_address(r, buf, brackets) ||
	    !number(text, 0, &port))
		return false;
	set_host_port(r, port);
	return true;
}

bool fwd_rule_same_host(const struct fwd_rule *a, const struct fwd_rule *b)
{
	return a->kind == b->kind && a->host_len == b->host_len &&
	       !memcmp(&a->host, &b->host, a->host_len);
}
