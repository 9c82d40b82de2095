/* SPDX-License-Identifier: BSD-3-Clause */
/* Options of the user-mode network: QEMU's names, defaults and error sentences, and what we add. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "backends/user/user.h"
#include "base/macros.h"

const struct twx_opt_desc user_options[] = {
	{ "net", TWX_OPT_STR, "10.0.2.0/24", "virtual network", "ADDR[/LEN|/MASK]" },
	{ "ip", TWX_OPT_STR, NULL, "old name of net, with /24", "ADDR" },
	{ "host", TWX_OPT_STR, NULL, "address of the gateway, x.x.x.2 by default", "ADDR" },
	{ "dns", TWX_OPT_STR, NULL, "address of the name server, x.x.x.3 by default", "ADDR" },
	{ "dhcpstart", TWX_OPT_STR, NULL, "first of 16 DHCP addresses, x.x.x.15 by default",
	  "ADDR" },
	{ "restrict", TWX_OPT_BOOL, "off", "keep the guest from everything but forwards" },
	{ "ipv4", TWX_OPT_BOOL, NULL, "IPv4, on by default" },
	{ "ipv6", TWX_OPT_BOOL, NULL, "IPv6, on by default" },
	{ "hostname", TWX_OPT_STR, NULL, "host name that DHCP gives to the guest", "NAME" },
	{ "domainname", TWX_OPT_STR, NULL, "domain name that DHCP gives to the guest", "NAME" },
	{ "dnssearch", TWX_OPT_LIST, NULL, "search domain that DHCP gives to the guest", "DOMAIN" },
	{ "tftp", TWX_OPT_STR, NULL, "root folder of the TFTP server", "DIR" },
	{ "tftp-server-name", TWX_OPT_STR, NULL, "TFTP server name in DHCP and BOOTP", "NAME" },
	{ "bootfile", TWX_OPT_STR, NULL, "boot file in DHCP, DHCPv6 and BOOTP", "FILE" },
	{ "hostfwd", TWX_OPT_LIST, NULL,
	  "forward a port of the host, or a unix socket, to the guest; IPv6 addresses in []",
	  "[tcp|udp]:[ADDR]:PORT-[ADDR]:PORT|unix:PATH-[ADDR]:PORT" },
	{ "guestfwd", TWX_OPT_LIST, NULL,
	  "an address of the virtual network that leads to a chardev, or to a program for each "
	  "connection",
	  "[tcp]:ADDR:PORT-CHARDEV|cmd:COMMAND" },
	{ "mtu", TWX_OPT_INT, "1500",
	  "largest IP packet to the guest, who is told by DHCP and router advertisements", NULL,
	  576, 65535 },
	{ "max-flows", TWX_OPT_INT, "32768", "connections and UDP ports at a time", NULL, 64,
	  1 << 20 },
	{ "workers", TWX_OPT_INT, "1", "threads, and as many queue pairs", NULL, 1, 16 },
	{ "dns-host", TWX_OPT_STR, NULL, "resolver to use instead of the host's", "ADDR[:PORT]" },
	{ "allow", TWX_OPT_LIST, NULL,
	  "egress rule: connections that match may leave; the first rule that matches decides, "
	  "what "
	  "none does may not leave if there is an allow",
	  "[tcp:|udp:|icmp:]NET|NAME|*.NAME|host|dns|any[:PORT[-PORT]]" },
	{ "deny", TWX_OPT_LIST, NULL, "egress rule: connections that match may not leave",
	  "as allow" },
	{ "rule", TWX_OPT_LIST, NULL, "the two as one list, for JSON, where order is a list's",
	  "allow:RULE|deny:RULE" },
	{ "host-loopback", TWX_OPT_BOOL, "on",
	  "the gateway's address leads to the host's loopback" },
	{ "lan", TWX_OPT_BOOL, "off",
	  "net= is the host's own network: its other addresses lead there" },
	{ "outbound-if", TWX_OPT_STR, NULL, "interface by which traffic leaves the host", "NAME" },
	{ "outbound-addr", TWX_OPT_LIST, NULL,
	  "address of the host that it leaves from, one a family", "ADDR" },
	{ "x-peek-off", TWX_OPT_ENUM, "auto", "SO_PEEK_OFF for TCP", "auto|on|off" },
	{ "ipv6-net", TWX_OPT_STR, NULL, "virtual IPv6 network, fec0::/64 by default",
	  "PREFIX[/LEN]" },
	{ "ipv6-prefix", TWX_OPT_STR, NULL, "its prefix alone", "PREFIX" },
	{ "ipv6-prefixlen", TWX_OPT_INT, NULL, "and its length, 64 by default", "LEN" },
	{ "ipv6-host", TWX_OPT_STR, NULL, "IPv6 address of the gateway, PREFIX::2 by default",
	  "ADDR" },
	{ "ipv6-dns", TWX_OPT_STR, NULL, "IPv6 address of the name server, PREFIX::3 by default",
	  "ADDR" },
	{ "smb", TWX_OPT_STR, NULL,
	  "folder that the guest finds as \\\\SMBSERVER\\qemu (takes smbd)", "DIR" },
	{ "smbserver", TWX_OPT_STR, NULL, "address of the SMB server, x.x.x.4 by default", "ADDR" },
	{ NULL },
};

static bool given(const struct twx_opts *o, const char *const keys[], size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (twx_opts_given(o, keys[i]))
			return true;
	return false;
}

/* As QEMU: the one that alone is asked for turns the other off. */
static int parse_families(struct user_config *c, const struct twx_opts *o, struct twx_error *e)
{
	static const char *const v4[] = { "net", "ip", "host", "dns" };
	static const char *const v6[] = { "ipv6-net", "ipv6-prefix", "ipv6-host", "ipv6-dns" };
	bool has4 = twx_opts_given(o, "ipv4"), has6 = twx_opts_given(o, "ipv6");
	bool on4 = twx_opts_bool(o, "ipv4"), on6 = twx_opts_bool(o, "ipv6");

	c->ipv4 = has4 ? on4 : !(has6 && on6);
	c->ipv6 = has6 ? on6 : !(has4 && on4);
	if (!c->ipv4 && given(o, v4, array_size(v4)))
		return twx_error_set(e, EINVAL, "IPv4 disabled but netmask/host/dns provided");
	if (!c->ipv6 && given(o, v6, array_size(v6)))
		return twx_error_set(e, EINVAL, "IPv6 disabled but prefix/host6/dns6 provided");
	if (!c->ipv4 && !c->ipv6)
		return twx_error_set(e, EINVAL, "IPv4 and IPv6 disabled");
	return 0;
}

/* "PREFIX[/LEN]", or the same by two keys. */
static int parse_prefix(struct user_config *c, const struct twx_opts *o, struct twx_error *e)
{
	const char *net = twx_opts_str(o, "ipv6-net"), *text = twx_opts_str(o, "ipv6-prefix");
	const char *slash = net ? strchr(net, '/') : NULL;
	int64_t len = twx_opts_int(o, "ipv6-prefixlen");
	char addr[INET6_ADDRSTRLEN] = "", *end;

	if (net) {
		size_t n = slash ? (size_t)(slash - net) : strlen(net);

		if (!*net)
			return twx_error_set(e, EINVAL,
					     "Parameter 'ipv6-net' expects a valid IPv6 prefix");
		if (n < sizeof(addr))
			memcpy(addr, net, n);
		text = addr;
		len = slash ? strtoll(slash + 1, &end, 10) : 64;
		if (slash && (end == slash + 1 || *end))
			return twx_error_set(e, EINVAL,
					     "Parameter 'ipv6-prefixlen' expects a number");
	}
	if (inet_pton(AF_INET6, text ? text : "fec0::", &c->prefix6) != 1)
		return twx_error_set(e, EINVAL, "Failed to parse IPv6 prefix");
	if (len < 0 || len > 126)
		return twx_error_set(e, EINVAL,
				     "Invalid IPv6 prefix provided (IPv6 prefix length must be "
				     "between 0 and 126)");
	c->prefix6_len = len ? (uint8_t)len : 64;
	for (uint32_t i = c->prefix6_len; i < 128; i++)
		c->prefix6.s6_addr[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
	return 0;
}

/* Is it one that a host can have at all? */
static bool is_unicast6(const struct in6_addr *a)
{
	return !IN6_IS_ADDR_MULTICAST(a) && !IN6_IS_ADDR_UNSPECIFIED(a) &&
	       !IN6_IS_ADDR_LOOPBACK(a) && !IN6_IS_ADDR_V4MAPPED(a);
}

static int parse_addrs6(struct user_config *c, const struct twx_opts *o, struct twx_error *e)
{
	const char *host = twx_opts_str(o, "ipv6-host"), *dns = twx_opts_str(o, "ipv6-dns");
	int ret = parse_prefix(c, o, e);

	if (ret)
		return ret;
	c->host6 = c->prefix6;
	c->host6.s6_addr[15] |= 2;
	c->dns6 = c->prefix6;
	c->dns6.s6_addr[15] |= 3;
	if (!is_unicast6(&c->host6) || IN6_IS_ADDR_LINKLOCAL(&c->host6)) {
		twx_error_set(e, EINVAL, "Invalid IPv6 prefix provided (not one of a network)");
		return twx_error_hint(e, "give one of fec0::/10 or fd00::/8, or leave it out");
	}
	if (host && inet_pton(AF_INET6, host, &c->host6) != 1)
		return twx_error_set(e, EINVAL, "Failed to parse IPv6 host");
	if (!user_in_prefix(c, &c->host6))
		return twx_error_set(e, EINVAL, "IPv6 Host doesn't belong to network");
	if (dns && (inet_pton(AF_INET6, dns, &c->dns6) != 1 || !is_unicast6(&c->dns6)))
		return twx_error_set(e, EINVAL, "Failed to parse IPv6 DNS");
	if (c->restricted && !user_in_prefix(c, &c->dns6))
		return twx_error_set(e, EINVAL, "IPv6 DNS doesn't belong to network");
	if (!memcmp(&c->dns6, &c->host6, sizeof(c->dns6)))
		return twx_error_set(e, EINVAL, "IPv6 DNS must be different from host");
	return 0;
}

/* RFC 8200, 5: no link of IPv6 carries less. */
static int check_mtu6(struct user_config *c, const struct twx_opts *o, struct twx_error *e)
{
	static const char *const v6[] = { "ipv6",	    "ipv6-net",	 "ipv6-prefix",
					  "ipv6-prefixlen", "ipv6-host", "ipv6-dns" };

	if (!c->ipv6 || c->mtu >= 1280)
		return 0;
	if (c->ipv4 && !given(o, v6, array_size(v6))) {
		c->ipv6 = false;
		return 0;
	}
	twx_error_set(e, EINVAL, "Parameter 'mtu' is %u, but IPv6 takes 1280 at least", c->mtu);
	return twx_error_hint(e, "give mtu=1280 or more, or ipv6=off");
}

/* Mask of a network given without one: the classes as QEMU has them. */
static uint32_t class_mask(uint32_t a)
{
	if (!(a & 0x80000000))
		return 0xff000000;
	if ((a & 0xfff00000) == 0xac100000) /* 172.16.0.0/12 */
		return 0xffff0000;
	if ((a & 0xc0000000) == 0x80000000)
		return 0xffff0000;
	if ((a & 0xffff0000) == 0xc0a80000) /* 192.168.0.0/16 */
		return 0xffff0000;
	if ((a & 0xffff0000) == 0xc6120000) /* 198.18.0.0/15; its upper half is not looked at */
		return 0xfffe0000;
	if ((a & 0xe0000000) == 0xe0000000)
		return 0xffffff00;
	return 0xfffffff0;
}

/* "/LEN" or "/A.B.C.D", without the slash. */
static int parse_mask(const char *text, uint32_t *mask, struct twx_error *e)
{
	struct in_addr a;
	char *end;
	long len = strtol(text, &end, 10);

	if (*end) {
		if (!inet_aton(text, &a))
			return twx_error_set(e, EINVAL, "Failed to parse netmask (trailing chars)");
		*mask = ntohl(a.s_addr);
		len = __builtin_popcount(*mask);
		if (len && *mask != 0xffffffffu << (32 - len))
			len = 0;
	}
	if (len < 4 || len > 32)
		return twx_error_set(e, EINVAL, "Invalid netmask provided (must be in range 4-32)");
	*mask = 0xffffffffu << (32 - len);
	return 0;
}

static int parse_net(struct user_config *c, const char *text, bool slash24, struct twx_error *e)
{
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	uint32_t mask = 0xffffff00;
	char addr[32];
	int ret;

	if (len >= sizeof(addr))
		return twx_error_set(e, EINVAL, "Failed to parse netmask");
	memcpy(addr, text, len);
	addr[len] = 0;
	if (!inet_aton(addr, &c->net))
		return twx_error_set(e, EINVAL, "Failed to parse netmask");
	if (slash && slash24)
		return twx_error_set(e, EINVAL, "Failed to parse netmask (trailing chars)");
	if (slash) {
		ret = parse_mask(slash + 1, &mask, e);
		if (ret)
			return ret;
	} else if (!slash24) {
		mask = class_mask(ntohl(c->net.s_addr));
	}
	c->mask.s_addr = htonl(mask);
	c->net.s_addr &= c->mask.s_addr;
	return 0;
}

static int parse_addrs(struct user_config *c, const struct twx_opts *o, struct twx_error *e)
{
	uint32_t net = ntohl(c->net.s_addr), rest = ~ntohl(c->mask.s_addr);
	const char *host = twx_opts_str(o, "host"), *dns = twx_opts_str(o, "dns");
	const char *dhcp = twx_opts_str(o, "dhcpstart");

	c->host.s_addr = htonl(net | (0x0202 & rest));
	c->dns.s_addr = htonl(net | (0x0203 & rest));
	c->dhcp_start.s_addr = htonl(net | (0x020f & rest));
	if (host && !inet_aton(host, &c->host))
		return twx_error_set(e, EINVAL, "Failed to parse host");
	if ((c->host.s_addr & c->mask.s_addr) != c->net.s_addr)
		return twx_error_set(e, EINVAL, "Host doesn't belong to network");
	if (dns && !inet_aton(dns, &c->dns))
		return twx_error_set(e, EINVAL, "Failed to parse DNS");
	if (c->restricted && (c->dns.s_addr & c->mask.s_addr) != c->net.s_addr)
		return twx_error_set(e, EINVAL, "DNS doesn't belong to network");
	if (c->dns.s_addr == c->host.s_addr)
		return twx_error_set(e, EINVAL, "DNS must be different from host");
	if (dhcp && !inet_aton(dhcp, &c->dhcp_start))
		return twx_error_set(e, EINVAL, "Failed to parse DHCP start address");
	if ((c->dhcp_start.s_addr & c->mask.s_addr) != c->net.s_addr)
		return twx_error_set(e, EINVAL, "DHCP doesn't belong to network");
	if (c->dhcp_start.s_addr == c->host.s_addr || c->dhcp_start.s_addr == c->dns.s_addr)
		return twx_error_set(e, EINVAL, "DHCP must be different from host and DNS");
	return 0;
}

/* "ADDR", "ADDR:PORT", "V6ADDR", "[V6ADDR]:PORT"; V6ADDR with a scope behind % if need be. */
static int parse_dns_host(struct user_config *c, const char *text, struct twx_error *e)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
				  .ai_socktype = SOCK_DGRAM },
			*found = NULL;
	bool brackets = *text == '[';
	const char *start = text + brackets, *end = strchr(start, brackets ? ']' : ':'), *port;
	char addr[INET6_ADDRSTRLEN + 1 + IF_NAMESIZE];
	size_t len;

	/* Two colons and no brackets: all of it is an address. */
	if (!end || (!brackets && strchr(end + 1, ':')))
		end = start + strlen(start);
	port = end + (brackets && *end);
	len = (size_t)(end - start);
	if (len && len < sizeof(addr)) {
		memcpy(addr, start, len);
		addr[len] = 0;
		port = *port == ':' ? port + 1 : *port ? "" : "53";
		if (strspn(port, "0123456789") == strlen(port) && *port &&
		    !getaddrinfo(addr, port, &hints, &found) &&
		    ((const union user_addr *)found->ai_addr)->in.sin_port) {
			memcpy(&c->dns_host, found->ai_addr, found->ai_addrlen);
			freeaddrinfo(found);
			return 0;
		}
	}
	if (found)
		freeaddrinfo(found);
	twx_error_set(e, EINVAL, "Parameter 'dns-host' expects ADDR[:PORT], not '%s'", text);
	return twx_error_hint(
		e, "give the resolver's address, for example dns-host=9.9.9.9 or [2620:fe::fe]:53");
}

static int copy_strings(struct user_config *c, const struct twx_opts *o, struct twx_error *e)
{
	/* BOOTP's own field, RFC 951, is 128 bytes with the final zero. */
	const struct {
		const char *key, *label;
		char **to;
		size_t max;
		bool may_be_empty;
	} strings[] = {
		{ "domainname", "domainname", &c->domainname, 255, false },
		{ "hostname", "vhostname", &c->hostname, 255, true },
		{ "tftp-server-name", "tftp-server-name", &c->tftp_server_name, 255, true },
		{ "bootfile", "bootfile", &c->bootfile, 127, true },
		{ "tftp", "tftp", &c->tftp_root, 4095, true },
	};

	for (size_t i = 0; i < array_size(strings); i++) {
		const char *s = twx_opts_str(o, strings[i].key);

		if (!s)
			continue;
		if (!*s && !strings[i].may_be_empty)
			return twx_error_set(e, EINVAL, "'%s' parameter cannot be empty",
					     strings[i].label);
		if (strlen(s) > strings[i].max)
			return twx_error_set(e, EINVAL, "'%s' parameter cannot exceed %zu bytes",
					     strings[i].label, strings[i].max);
		if (!*s)
			continue;
		*strings[i].to = strdup(s);
		if (!*strings[i].to)
			return twx_error_set(e, ENOMEM, "out of memory");
	}
	return 0;
}

static int check_rules(const struct user_config *c, const struct twx_opts *o, struct twx_error *e)
{
	static const char *const keys[] = { "allow", "deny", "rule" };

	for (size_t i = 0; i < array_size(keys); i++)
		if (c->restricted && twx_opts_list_len(o, keys[i]))
			return twx_error_set(
				e, EINVAL, "%s= contradicts restrict=on: nothing leaves", keys[i]);
	return 0;
}

/* A flow is a descriptor. The default is a bound, not a wish. */
static int check_flows(const struct user_config *c, const struct twx_opts *o, struct twx_error *e)
{
	struct rlimit r;

	if (!twx_opts_given(o, "max-flows") || getrlimit(RLIMIT_NOFILE, &r) < 0 ||
	    r.rlim_cur == RLIM_INFINITY || c->max_flows < r.rlim_cur)
		return 0;
	twx_error_set(e, EMFILE,
		      "max-flows=%u takes more descriptors than this process may have, %llu",
		      c->max_flows, (unsigned long long)r.rlim_cur);
	return twx_error_hint(e,
			      "raise that limit (ulimit -n, LimitNOFILE=) or ask for fewer flows");
}

int user_config_parse(struct user_config *c, const struct twx_opts *o, struct twx_error *e)
{
	const char *net = twx_opts_str(o, "net"), *peek = twx_opts_str(o, "x-peek-off");
	const char *resolver = twx_opts_str(o, "dns-host");
	bool old = !twx_opts_given(o, "net") && twx_opts_given(o, "ip");
	int ret = 0;

	c->restricted = twx_opts_bool(o, "restrict");
	c->host_loopback = twx_opts_bool(o, "host-loopback");
	c->lan = twx_opts_bool(o, "lan");
	c->mtu = (uint32_t)twx_opts_int(o, "mtu");
	c->max_flows = (uint32_t)twx_opts_int(o, "max-flows");
	c->peek_off = !peek || !strcmp(peek, "auto") ? -1 : !strcmp(peek, "on");
	ret = check_flows(c, o, e);
	if (!ret)
		ret = parse_families(c, o, e);
	if (!ret)
		ret = check_mtu6(c, o, e);
	if (!ret)
		ret = parse_net(c, old ? twx_opts_str(o, "ip") : net, old, e);
	if (!ret)
		ret = parse_addrs(c, o, e);
	if (!ret && c->ipv6)
		ret = parse_addrs6(c, o, e);
	if (!ret && resolver)
		ret = parse_dns_host(c, resolver, e);
	if (!ret)
		ret = outbound_parse(c, o, e);
	if (!ret)
		ret = check_rules(c, o, e);
	if (!ret)
		ret = copy_strings(c, o, e);
	return ret;
}

void user_config_free(struct user_config *c)
{
	free(c->out_if);
	free(c->hostname);
	free(c->domainname);
	free(c->bootfile);
	free(c->tftp_root);
	free(c->tftp_server_name);
}
