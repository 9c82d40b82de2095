/* SPDX-License-Identifier: BSD-3-Clause */
/* outbound-if=, outbound-addr=: by which interface and from which address the guest's traffic
 * leaves the host. */

/*
 * TCP, ping and DNS sockets are bound to the interface (SO_BINDTODEVICE, which needs no privilege
 * since Linux 5.7, else IP_UNICAST_IF) and address before they connect. A guest's UDP socket has
 * many peers, loopback among them, so each datagram says for itself (IP_PKTINFO). What goes to
 * loopback, the host alias and local resolvers, is left alone. An interface that is gone is "no
 * route" for the guest, until there is one of that name again.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/user/user.h"
#include "base/hostops.h"
#include "net/net_priv.h"

#define INDEX_NS 1000000000ull /* an interface's index is asked for again after so long */

static bool is_loopback(const struct sockaddr *to)
{
	const union user_addr *a = (const union user_addr *)to;

	if (to->sa_family == AF_INET)
		return ntohl(a->in.sin_addr.s_addr) >> 24 == 127;
	return IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
}

static const union user_addr *source_for(const struct user *u, const struct sockaddr *to)
{
	const union user_addr *a = to->sa_family == AF_INET ? &u->cfg.out4 : &u->cfg.out6;

	return a->sa.sa_family ? a : NULL;
}

/* 0: there is no such interface now. */
static unsigned int interface(struct user *u)
{
	uint64_t now = twx_loop_now(u->loop);

	if (!u->out_index_at || now - u->out_index_at >= INDEX_NS) {
		u->out_index = if_nametoindex(u->cfg.out_if);
		u->out_index_at = now;
	}
	return u->out_index;
}

static int bind_interface(struct user *u, int fd, int family)
{
	const char *name = u->cfg.out_if;
	unsigned int index;

	if (!setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, (socklen_t)strlen(name) + 1))
		return 0;
	if (errno == ENODEV)
		return -ENETUNREACH;
	index = htonl(interface(u));
	if (!index) /* gone: 0 would mean any */
		return -ENETUNREACH;
	if (family == AF_INET)
		return setsockopt(fd, IPPROTO_IP, IP_UNICAST_IF, &index, sizeof(index)) ? -errno
											: 0;
	return setsockopt(fd, IPPROTO_IPV6, IPV6_UNICAST_IF, &index, sizeof(index)) ? -errno : 0;
}

int sock_outbound(struct user *u, int fd, const struct sockaddr *to)
{
	const union user_addr *from = source_for(u, to);
	int err = 0, on = 1;

	if (is_loopback(to))
		return 0;
	if (u->cfg.out_if)
		err = bind_interface(u, fd, to->sa_family);
	if (err || !from)
		return err;
	/* The port is chosen by connect(), so that as many connections fit as there are peers. */
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	return hostops_bind(net_hostops(u->backend->net), fd, &from->sa,
			    to->sa_family == AF_INET ? sizeof(from->in) : sizeof(from->in6));
}

static size_t put_control(void *control, size_t room, int level, int type, const void *data,
			  size_t len)
{
	struct msghdr m = { .msg_control = control, .msg_controllen = room };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), data, len);
	return CMSG_SPACE(len);
}

size_t sock_outbound_control(struct user *u, void *control, size_t room, const struct sockaddr *to)
{
	const union user_addr *from = source_for(u, to);
	unsigned int index = u->cfg.out_if ? interface(u) : 0;
	struct in_pktinfo info = { .ipi_ifindex = (int)index };
	struct in6_pktinfo info6 = { .ipi6_ifindex = index };

	if ((!from && !u->cfg.out_if) || is_loopback(to))
		return 0;
	/* No interface has the last index there can be: the kernel says that there is no way. */
	if (u->cfg.out_if && !index)
		info6.ipi6_ifindex = (unsigned int)(info.ipi_ifindex = INT32_MAX);
	if (to->sa_family == AF_INET) {
		if (from)
			info.ipi_spec_dst = from->in.sin_addr;
		return put_control(control, room, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	}
	if (from)
		info6.ipi6_addr = from->in6.sin6_addr;
	return put_control(control, room, IPPROTO_IPV6, IPV6_PKTINFO, &info6, sizeof(info6));
}

/* --- at start --- */

static int parse_addr(struct user_config *c, const char *text, struct twx_error *e)
{
	union user_addr a = { 0 }, *to = &c->out4;

	if (inet_pton(AF_INET, text, &a.in.sin_addr) == 1) {
		a.in.sin_family = AF_INET;
	} else if (inet_pton(AF_INET6, text, &a.in6.sin6_addr) == 1) {
		a.in6.sin6_family = AF_INET6;
		to = &c->out6;
	} else {
		return twx_error_set(
			e, EINVAL, "Parameter 'outbound-addr' expects an address, not '%s'", text);
	}
	if (to->sa.sa_family)
		return twx_error_set(e, EINVAL, "outbound-addr= has two addresses of one family");
	if (!(to == &c->out4 ? c->ipv4 : c->ipv6))
		return twx_error_set(e, EINVAL, "outbound-addr=%s is of a family that is off",
				     text);
	*to = a;
	return 0;
}

int outbound_parse(struct user_config *c, const struct twx_opts *o, struct twx_error *e)
{
	const char *name = twx_opts_str(o, "outbound-if");
	size_t n = twx_opts_list_len(o, "outbound-addr");
	int err = 0;

	if (c->restricted && (name || n))
		return twx_error_set(e, EINVAL,
				     "outbound-if= and outbound-addr= contradict restrict=on: "
				     "nothing leaves");
	for (size_t i = 0; !err && i < n; i++)
		err = parse_addr(c, twx_opts_list_at(o, "outbound-addr", i), e);
	if (err || !name)
		return err;
	if (!*name || strlen(name) >= IF_NAMESIZE || !if_nametoindex(name)) {
		twx_error_set(e, ENODEV, "outbound-if=%s: there is no such interface", name);
		return twx_error_hint(e, "ip link shows those that there are");
	}
	c->out_if = strdup(name);
	return c->out_if ? 0 : twx_error_set(e, ENOMEM, "out of memory");
}

/* Of interfaces the kernel lets only one have the address, as a rule; any is as good here. */
static bool has_address(const char *name, const union user_addr *a)
{
	struct ifaddrs *list, *i;
	bool has = false;

	if (getifaddrs(&list))
		return true;
	for (i = list; i && !has; i = i->ifa_next) {
		const union user_addr *b = (const union user_addr *)i->ifa_addr;

		if (!b || b->sa.sa_family != a->sa.sa_family || strcmp(i->ifa_name, name))
			continue;
		has = b->sa.sa_family == AF_INET ? b->in.sin_addr.s_addr == a->in.sin_addr.s_addr
						 : user_same(&b->in6.sin6_addr, &a->in6.sin6_addr);
	}
	freeifaddrs(list);
	return has;
}

/* An address that nothing could be sent from is a mistake that the guest should not have to find.
 */
static int check_addr(struct user *u, const union user_addr *a, struct twx_error *e)
{
	char text[INET6_ADDRSTRLEN];
	int fd, err;

	if (!a->sa.sa_family)
		return 0;
	fd = socket(a->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	err = fd < 0 ? -errno
		     : hostops_bind(net_hostops(u->backend->net), fd, &a->sa,
				    a->sa.sa_family == AF_INET ? sizeof(a->in) : sizeof(a->in6));
	if (fd >= 0)
		close(fd);
	inet_ntop(a->sa.sa_family,
		  a->sa.sa_family == AF_INET ? (const void *)&a->in.sin_addr : &a->in6.sin6_addr,
		  text, sizeof(text));
	if (err) {
		twx_error_set(e, -err, "outbound-addr=%s: %s", text, strerror(-err));
		return twx_error_hint(e, "it must be one of this host's: ip addr shows them");
	}
	if (u->cfg.out_if && !has_address(u->cfg.out_if, a)) {
		twx_error_set(e, EINVAL,
			      "outbound-addr=%s contradicts outbound-if=%s: it is not "
			      "an address of that interface",
			      text, u->cfg.out_if);
		return twx_error_hint(e, "ip addr show dev %s shows those that are", u->cfg.out_if);
	}
	return 0;
}

int outbound_check(struct user *u, struct twx_error *e)
{
	int err = check_addr(u, &u->cfg.out4, e);

	return err ? err : check_addr(u, &u->cfg.out6, e);
}
