/* SPDX-License-Identifier: BSD-3-Clause */
/* Host forwards by libslirp's calls: each becomes a rule as hostfwd= has it. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backends/user/user.h"
#include "libslirp/slirp.h"

#define END_MAX 64

/* "ADDR:PORT", an IPv6 address in brackets, nothing for the unspecified one of IPv4. */
static bool put_end(char *buf, size_t size, const struct sockaddr *sa, socklen_t len)
{
	char text[INET6_ADDRSTRLEN];

	if (sa->sa_family == AF_INET && len >= sizeof(struct sockaddr_in)) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;

		inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
		snprintf(buf, size, "%s:%u", in->sin_addr.s_addr ? text : "", ntohs(in->sin_port));
		return true;
	}
	if (sa->sa_family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;

		inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
		snprintf(buf, size, "[%s]:%u", text, ntohs(in6->sin6_port));
		return true;
	}
	return false;
}

/* As libslirp: 0, or -1 with errno. */
static int fail(int err)
{
	errno = -err;
	return -1;
}

int slirp_add_hostxfwd(struct Slirp *s, const struct sockaddr *host, socklen_t host_len,
		       const struct sockaddr *guest, socklen_t guest_len, int flags)
{
	char h[END_MAX], g[END_MAX], rule[2 * END_MAX + 8];
	struct twx_error e = { 0 };
	int ret;

	if (!put_end(h, sizeof(h), host, host_len) || !put_end(g, sizeof(g), guest, guest_len))
		return fail(-EINVAL);
	snprintf(rule, sizeof(rule), "%s:%s-%s", flags & SLIRP_HOSTFWD_UDP ? "udp" : "tcp", h, g);
	ret = hostfwd_add(s->user, rule, &e);
	return ret ? fail(ret) : 0;
}

int slirp_remove_hostxfwd(struct Slirp *s, const struct sockaddr *host, socklen_t host_len,
			  int flags)
{
	char h[END_MAX], rule[END_MAX + 8];
	int ret;

	if (!put_end(h, sizeof(h), host, host_len))
		return fail(-EINVAL);
	snprintf(rule, sizeof(rule), "%s:%s", flags & SLIRP_HOSTFWD_UDP ? "udp" : "tcp", h);
	ret = hostfwd_remove(s->user, rule);
	return ret ? fail(ret) : 0;
}

static struct sockaddr_in end_of(struct in_addr addr, int port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_addr = addr,
				     .sin_port = htons((uint16_t)port) };
}

static bool is_port(int port)
{
	return port >= 0 && port <= 65535;
}

int slirp_add_hostfwd(struct Slirp *s, int is_udp, struct in_addr host_addr, int host_port,
		      struct in_addr guest_addr, int guest_port)
{
	struct sockaddr_in h = end_of(host_addr, host_port), g = end_of(guest_addr, guest_port);

	if (!is_port(host_port) || !is_port(guest_port))
		return fail(-EINVAL);
	return slirp_add_hostxfwd(s, (struct sockaddr *)&h, sizeof(h), (struct sockaddr *)&g,
				  sizeof(g), is_udp ? SLIRP_HOSTFWD_UDP : 0);
}

int slirp_remove_hostfwd(struct Slirp *s, int is_udp, struct in_addr host_addr, int host_port)
{
	struct sockaddr_in h = end_of(host_addr, host_port);

	if (!is_port(host_port))
		return fail(-EINVAL);
	return slirp_remove_hostxfwd(s, (struct sockaddr *)&h, sizeof(h),
				     is_udp ? SLIRP_HOSTFWD_UDP : 0);
}
