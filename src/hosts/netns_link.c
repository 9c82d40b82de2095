/* SPDX-License-Identifier: BSD-3-Clause */
/* Interfaces, addresses and routes of the network namespace that the caller is in, by rtnetlink. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hosts/netns.h"

#ifdef TWINAX_HAVE_MNL
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

struct link {
	struct mnl_socket *nl;
	const char *ifname;
	unsigned int index, seq;
	char buf[1024];
};

/* Header of a request; its fixed part of @len bytes, zeroed, follows. */
static void *request(struct link *l, uint16_t type, uint16_t flags, size_t len)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(l->buf);

	h->nlmsg_type = type;
	h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
	h->nlmsg_seq = ++l->seq;
	return mnl_nlmsg_put_extra_header(h, len);
}

static struct nlmsghdr *msg(struct link *l)
{
	return (struct nlmsghdr *)(void *)l->buf;
}

/* Sends the request and waits for its answer: 0 or -errno. */
static int ask(struct link *l)
{
	char answer[4096];
	ssize_t n;
	int r;

	if (mnl_socket_sendto(l->nl, l->buf, msg(l)->nlmsg_len) < 0)
		return -errno;
	do {
		n = mnl_socket_recvfrom(l->nl, answer, sizeof(answer));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		r = mnl_cb_run(answer, (size_t)n, l->seq, mnl_socket_get_portid(l->nl), NULL, NULL);
		if (r < 0)
			return -errno;
	} while (n < 0 || r > 0);
	return 0;
}

static int link_up(struct link *l, unsigned int index, const uint8_t *mac, uint32_t mtu, bool up)
{
	struct ifinfomsg *ifi = request(l, RTM_NEWLINK, 0, sizeof(*ifi));

	ifi->ifi_family = AF_UNSPEC;
	ifi->ifi_index = (int)index;
	if (up) {
		ifi->ifi_change = IFF_UP;
		ifi->ifi_flags = IFF_UP;
	}
	if (mac)
		mnl_attr_put(msg(l), IFLA_ADDRESS, 6, mac);
	if (mtu)
		mnl_attr_put_u32(msg(l), IFLA_MTU, mtu);
	return ask(l);
}

static int address(struct link *l, int family, const void *addr, size_t len, uint8_t prefix_len)
{
	struct ifaddrmsg *ifa = request(l, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*ifa));

	ifa->ifa_family = (uint8_t)family;
	ifa->ifa_prefixlen = prefix_len;
	ifa->ifa_index = l->index;
	mnl_attr_put(msg(l), IFA_LOCAL, len, addr);
	mnl_attr_put(msg(l), IFA_ADDRESS, len, addr);
	if (family == AF_INET && prefix_len < 31) {
		uint32_t a;

		memcpy(&a, addr, 4);
		mnl_attr_put_u32(msg(l), IFA_BROADCAST, a | htonl(0xffffffffu >> prefix_len));
	}
	if (family == AF_INET6) {
		/* Nobody else is on this link: usable at once. */
		ifa->ifa_flags = IFA_F_NODAD;
		mnl_attr_put_u32(msg(l), IFA_FLAGS, IFA_F_NODAD);
	}
	return ask(l);
}

static int default_route(struct link *l, int family, const void *gateway, size_t len)
{
	struct rtmsg *rt = request(l, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*rt));

	rt->rtm_family = (uint8_t)family;
	rt->rtm_table = RT_TABLE_MAIN;
	rt->rtm_protocol = RTPROT_STATIC;
	rt->rtm_scope = RT_SCOPE_UNIVERSE;
	rt->rtm_type = RTN_UNICAST;
	/* The gateway may lie outside the network, as in a /32. */
	rt->rtm_flags = RTNH_F_ONLINK;
	mnl_attr_put(msg(l), RTA_GATEWAY, len, gateway);
	mnl_attr_put_u32(msg(l), RTA_OIF, l->index);
	return ask(l);
}

static int failed(const struct link *l, const char *what, int err, struct twx_error *e)
{
	return twx_error_set(e, -err, "cannot set %s of %s in the namespace: %s", what, l->ifname,
			     strerror(-err));
}

static int configure4(struct link *l, const struct twx_guest_config *g, struct twx_error *e)
{
	int err = 0;

	if (!g->addr.s_addr)
		return 0;
	err = address(l, AF_INET, &g->addr, 4, g->prefix_len);
	if (err)
		return failed(l, "the IPv4 address", err, e);
	if (g->gateway.s_addr)
		err = default_route(l, AF_INET, &g->gateway, 4);
	return err ? failed(l, "the IPv4 route", err, e) : 0;
}

/* The address is given: router advertisements would add others beside it. */
static void refuse_adverts(const struct link *l)
{
	char path[64 + IFNAMSIZ];
	int fd;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/accept_ra", l->ifname);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	/* Where it cannot be done there are two good addresses instead of one. */
	if (fd >= 0 && write(fd, "0", 1) == 1)
		l = NULL;
	if (fd >= 0)
		close(fd);
}

static int configure6(struct link *l, const struct twx_guest_config *g, struct twx_error *e)
{
	int err;

	if (IN6_IS_ADDR_UNSPECIFIED(&g->addr6))
		return 0;
	err = address(l, AF_INET6, &g->addr6, 16, g->prefix6_len);
	/* A kernel, or a namespace, without IPv6 is none of our business. */
	if (err == -EOPNOTSUPP || err == -EAFNOSUPPORT || err == -EACCES)
		return 0;
	if (err)
		return failed(l, "the IPv6 address", err, e);
	if (!IN6_IS_ADDR_UNSPECIFIED(&g->gateway6))
		err = default_route(l, AF_INET6, &g->gateway6, 16);
	return err ? failed(l, "the IPv6 route", err, e) : 0;
}

static int configure(struct link *l, const struct twx_netns_config *c, struct twx_error *e)
{
	const struct twx_guest_config *g = c->guest;
	uint32_t mtu = c->mtu ? c->mtu : g ? g->mtu : 0;
	int err;

	l->index = if_nametoindex(l->ifname);
	err = l->index ? link_up(l, l->index, c->mac, mtu, false) : -errno;
	if (err) {
		failed(l, "the MAC address and MTU", err, e);
		return mtu > 65521 ? twx_error_hint(e, "the largest MTU of a tap device is 65521")
				   : err;
	}
	if (!g)
		return 0;
	if (!IN6_IS_ADDR_UNSPECIFIED(&g->addr6))
		refuse_adverts(l);
	err = link_up(l, l->index, NULL, 0, true);
	if (!err)
		err = link_up(l, if_nametoindex("lo"), NULL, 0, true);
	if (err)
		return failed(l, "the state", err, e);
	err = configure4(l, g, e);
	return err ? err : configure6(l, g, e);
}

int netns_configure(const struct twx_netns_config *c, const char *ifname, struct twx_error *e)
{
	struct link l = { .ifname = ifname };
	int err;

	l.nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!l.nl || mnl_socket_bind(l.nl, 0, MNL_SOCKET_AUTOPID) < 0)
		err = twx_error_set(e, errno, "cannot open a netlink socket: %s", strerror(errno));
	else
		err = configure(&l, c, e);
	if (l.nl)
		mnl_socket_close(l.nl);
	return err;
}

#else

int netns_configure(const struct twx_netns_config *c, const char *ifname, struct twx_error *e)
{
	twx_error_set(e, EOPNOTSUPP,
		      "cannot configure %s: this twinax has been built without libmnl", ifname);
	return twx_error_hint(e, "install libmnl-dev and build again, or have it configured in the "
				 "namespace by ip(8)");
}

#endif
