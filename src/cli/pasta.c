/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Called as pasta: its options, by which newer Podman starts it, for our network.
 *
 * The namespace gets the address, the network and the gateway that the host has on the interface of
 * its default route (lan=on of the user-mode network: all other addresses there are reached as the
 * host reaches them); without a default route, those of the user-mode network. IPv6 has a network
 * of its own. By the name of the gateway the host's loopback is reached, unless --no-map-gw.
 *
 * No option is taken and then forgotten: those that cannot be obeyed are refused. Other than there,
 * -t and -u are "none" by default, since ports that follow what listens in the namespace (auto) are
 * not done; neither is the way around the stack for loopback's traffic, -T and -U.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/ether.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/macros.h"
#include "cli/alloc.h"
#include "cli/cli.h"
#include "cli/pasta.h"
#include "cli/run.h"

#define NO_DNS "169.254.254.253" /* where the alias of the name server is in nobody's way */

enum {
	O_VERSION = 256,
	O_CONFIG_NET,
	O_NETNS,
	O_USERNS,
	O_NETNS_ONLY,
	O_NO_QUIT,
	O_NS_MAC,
	O_NO_MAP_GW,
	O_DNS_FORWARD,
	O_IF4,
	O_IF6,
	O_NO_TCP,
	O_NO_UDP,
	O_NO_ICMP,
};

struct pasta {
	struct run run;
	bool foreground, to_stderr, map_gw, no4, no6;
	struct in_addr addr, mask, gateway; /* 0: the host's */
	const char *interface, *outbound_if, *dns, *netns;
	uint8_t mac[6];
	char ifname[IF_NAMESIZE];
	char *path; /* of a namespace that was named */
};

static const struct pasta_option {
	const char *name;
	int key;
	const char *value, *help;
} options[] = {
	{ "quiet", 'q', NULL, "don't print informational messages" },
	{ "foreground", 'f', NULL, "don't run in background" },
	{ "stderr", 'e', NULL, "go on writing to standard error in the background" },
	{ "log-file", 'l', "PATH", "write messages to a file" },
	{ "pcap", 'p', "FILE", "capture the namespace's packets" },
	{ "pid", 'P', "FILE", "write the process id to a file" },
	{ "mtu", 'm', "MTU", "MTU of the interface (default: 65520)" },
	{ "address", 'a', "ADDR", "IPv4 address of the namespace (default: the host's)" },
	{ "netmask", 'n', "MASK", "its network, as a mask or a number of bits" },
	{ "gateway", 'g', "ADDR", "IPv4 gateway (default: the host's)" },
	{ "interface", 'i', "NAME", "whose addresses these are (default: the default route's)" },
	{ "outbound", 'o', "ADDR", "address that traffic leaves the host from" },
	{ "outbound-if4", O_IF4, "NAME", "interface that traffic leaves the host by" },
	{ "outbound-if6", O_IF6, "NAME", "the same" },
	{ "dns", 'D', "ADDR", "IPv4 address of the name server behind --dns-forward" },
	{ "dns-forward", O_DNS_FORWARD, "ADDR", "IPv4 address that stands for the name server" },
	{ "search", 'S', "LIST", "search domains in DHCP's answers" },
	{ "no-tcp", O_NO_TCP, NULL, "no TCP out of the namespace" },
	{ "no-udp", O_NO_UDP, NULL, "no UDP" },
	{ "no-icmp", O_NO_ICMP, NULL, "no ICMP" },
	{ "no-map-gw", O_NO_MAP_GW, NULL, "the gateway's address is not the host's loopback" },
	{ "ipv4-only", '4', NULL, "no IPv6" },
	{ "ipv6-only", '6', NULL, "no IPv4" },
	{ "ns-ifname", 'I', "NAME", "name of the interface in the namespace" },
	{ "ns-mac-addr", O_NS_MAC, "MAC", "its MAC address" },
	{ "tcp-ports", 't', "SPEC", "TCP ports to forward to the namespace, or none" },
	{ "udp-ports", 'u', "SPEC", "UDP ports" },
	{ "tcp-ns", 'T', "SPEC", "ports of the host's loopback on the namespace's: only none" },
	{ "udp-ns", 'U', "SPEC", "the same" },
	{ "userns", O_USERNS, "PATH", "user namespace to join" },
	{ "netns", O_NETNS, "PATH|NAME", "network namespace to join" },
	{ "netns-only", O_NETNS_ONLY, NULL, "the user namespace is this one" },
	{ "no-netns-quit", O_NO_QUIT, NULL, "go on when the namespace's file is deleted" },
	{ "config-net", O_CONFIG_NET, NULL, "configure the interface in the namespace" },
	{ "help", 'h', NULL, "print this" },
	{ "version", O_VERSION, NULL, "print the version" },
};

static void usage(FILE *out)
{
	char word[64];
	size_t i;

	fputs("Usage: pasta [OPTION]... [COMMAND] [ARGS]...\n"
	      "       pasta [OPTION]... PID\n"
	      "       pasta [OPTION]... --netns PATH|NAME\n\n"
	      "Without PID or --netns, run COMMAND or a shell in new namespaces. By twinax.\n\n",
	      out);
	for (i = 0; i < array_size(options); i++) {
		const struct pasta_option *o = &options[i];

		snprintf(word, sizeof(word), "--%s%s%s", o->name, o->value ? " " : "",
			 o->value ? o->value : "");
		if (o->key < 256)
			fprintf(out, "  -%c, %-22s %s\n", o->key, word, o->help);
		else
			fprintf(out, "      %-22s %s\n", word, o->help);
	}
}

static int misuse(const char *what, const char *why)
{
	cli_fail_text("pasta", "try: pasta --help", "%s %s", what, why);
	return -1;
}

/* --- options --- */

static int take_address(struct in_addr *out, const char *text)
{
	struct in6_addr six;

	if (inet_pton(AF_INET, text, out) == 1)
		return 0;
	return misuse(text, inet_pton(AF_INET6, text, &six) == 1
				    ? "cannot be: IPv6 has a network of its own here"
				    : "is no address");
}

static int take_mask(struct pasta *p, const char *text)
{
	char *end;
	unsigned long bits = strtoul(text, &end, 10);

	if (*text && !*end && bits >= 4 && bits <= 32)
		p->mask.s_addr = htonl(0xffffffffu << (32 - bits));
	else if (inet_pton(AF_INET, text, &p->mask) != 1)
		p->mask.s_addr = 0;
	/* Ones, then zeros: what it leaves out is one less than a power of two. */
	if (!p->mask.s_addr || (~ntohl(p->mask.s_addr) & -ntohl(p->mask.s_addr)))
		return misuse(text, "is no netmask");
	return 0;
}

static int take_mtu(struct pasta *p, const char *text)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (end == text || *end || n < 576 || n > 65521)
		return misuse(text, "is no MTU (576 to 65521)");
	kv_set(p->run.netdev, "mtu", text);
	p->run.world.tap.mtu = (uint32_t)n;
	return 0;
}

static int take_ports(struct pasta *p, bool udp, const char *spec)
{
	struct twx_error e = { 0 };

	if (!pasta_ports(p->run.netdev, udp, spec, &e))
		return 0;
	cli_fail(udp ? "--udp-ports" : "--tcp-ports", &e);
	return -1;
}

/* Both families leave by one. */
static int take_outbound_if(struct pasta *p, const char *name)
{
	if (p->outbound_if && strcmp(p->outbound_if, name))
		return misuse(name, "cannot be: IPv4 and IPv6 leave by one interface here");
	p->outbound_if = name;
	kv_set(p->run.netdev, "outbound-if", name);
	return 0;
}

static int take_list(struct pasta *p, const char *key, const char *value)
{
	struct kv_pair pair = { .key = (char *)key, .value = (char *)value };

	kv_add(p->run.netdev, &pair);
	return 0;
}

static int take_search(struct pasta *p, const char *text)
{
	char *copy = cli_strdup(text), *rest = copy, *word;

	while (strcmp(text, "none") && (word = strsep(&rest, " ")))
		if (*word)
			take_list(p, "dnssearch", word);
	free(copy);
	return 0;
}

static int take_pcap(struct pasta *p, const char *path)
{
	struct kv *kv = kv_new("qom-type");
	char *text;

	kv_set(kv, "qom-type", "filter-dump");
	kv_set(kv, "id", "pcap");
	kv_set(kv, "netdev", "n0");
	kv_set(kv, "file", path);
	text = kv_print(kv);
	session_add(&p->run.world.session, SESSION_OBJECT, text);
	free(text);
	kv_free(kv);
	return 0;
}

static int take_mac(struct pasta *p, const char *text)
{
	struct ether_addr *mac = ether_aton(text);

	if (!mac || (mac->ether_addr_octet[0] & 1))
		return misuse(text, "is no MAC address of an interface");
	memcpy(p->mac, mac, 6);
	p->run.world.tap.mac = p->mac;
	return 0;
}

static int take_name(struct pasta *p, const char *text)
{
	if (!*text || strlen(text) >= sizeof(p->ifname))
		return misuse(text, "cannot be the name of an interface");
	memcpy(p->ifname, text, strlen(text) + 1);
	return 0;
}

/* Switches and texts that are only kept. */
static bool take_switch(struct pasta *p, int key)
{
	struct run *r = &p->run;

	switch (key) {
	case 'q':
		r->world.session.quiet = true;
		return true;
	case 'f':
		p->foreground = true;
		return true;
	case 'e':
		p->to_stderr = true;
		return true;
	case '4':
		p->no6 = true;
		return true;
	case '6':
		p->no4 = true;
		return true;
	case 'l':
		r->log = optarg;
		return true;
	case 'P':
		r->pidfile = optarg;
		return true;
	case 'i':
		p->interface = optarg;
		return true;
	case O_DNS_FORWARD:
		p->dns = optarg;
		return true;
	case O_NETNS:
		p->netns = optarg;
		return true;
	case O_USERNS:
		r->user_path = optarg;
		return true;
	case O_NETNS_ONLY:
		r->user_path = "/proc/self/ns/user";
		return true;
	case O_NO_QUIT:
		r->path_stays = true;
		return true;
	case O_CONFIG_NET:
		r->world.configure = true;
		return true;
	case O_NO_MAP_GW:
		p->map_gw = false;
		return true;
	default:
		return false;
	}
}

static int take_option(struct pasta *p, int key)
{
	switch (key) {
	case 'm':
		return take_mtu(p, optarg);
	case 'a':
		return take_address(&p->addr, optarg);
	case 'n':
		return take_mask(p, optarg);
	case 'g':
		return take_address(&p->gateway, optarg);
	case 'p':
		return take_pcap(p, optarg);
	case 'o':
		return take_list(p, "outbound-addr", optarg);
	case O_IF4:
	case O_IF6:
		return take_outbound_if(p, optarg);
	case 'D':
		kv_set(p->run.netdev, "dns-host", optarg);
		return 0;
	case 'S':
		return take_search(p, optarg);
	case 'I':
		return take_name(p, optarg);
	case O_NS_MAC:
		return take_mac(p, optarg);
	case 't':
		return take_ports(p, false, optarg);
	case 'u':
		return take_ports(p, true, optarg);
	case 'T':
	case 'U':
		return strcmp(optarg, "none")
			       ? misuse(optarg, "is not done here: -T and -U take none")
			       : 0;
	case O_NO_TCP:
		return take_list(p, "deny", "tcp:any");
	case O_NO_UDP:
		return take_list(p, "deny", "udp:any");
	case O_NO_ICMP:
		return take_list(p, "deny", "icmp:any");
	default:
		return -1;
	}
}

/* What stands behind the options. */
static int take_rest(struct pasta *p, int argc, char **argv)
{
	struct run *r = &p->run;
	char *end = NULL;
	long pid = argc == 1 ? strtol(argv[0], &end, 10) : 0;

	if (p->netns && argc)
		return misuse(argv[0], "cannot stand beside --netns");
	if (p->netns) {
		p->path = strchr(p->netns, '/') ? cli_strdup(p->netns)
						: cli_printf("/run/netns/%s", p->netns);
		r->path = p->path;
	} else if (end && end != argv[0] && !*end && pid > 0 && pid <= INT_MAX) {
		r->pid = (pid_t)pid;
	} else {
		r->argv = argc ? argv : run_shell();
	}
	if (r->argv && r->user_path)
		return misuse("--userns", "needs a namespace that exists");
	r->background = !r->argv && !p->foreground;
	return 1;
}

/* 1 to go on, 0 to end with success, -1 after an error message. */
static int take_options(struct pasta *p, int argc, char **argv)
{
	struct option longs[array_size(options) + 1] = { 0 };
	size_t i;
	int key;

	for (i = 0; i < array_size(options); i++)
		longs[i] = (struct option){ options[i].name,
					    options[i].value ? required_argument : no_argument,
					    NULL, options[i].key };
	while ((key = getopt_long(argc, argv, "+qfel:p:P:m:a:n:g:i:o:D:S:46I:t:u:T:U:h", longs,
				  NULL)) != -1) {
		if (key == 'h') {
			usage(stdout);
			return 0;
		}
		if (key == O_VERSION) {
			printf("pasta by twinax %s\n", twx_version());
			return 0;
		}
		if (key == '?') {
			usage(stderr);
			return -1;
		}
		if (!take_switch(p, key) && take_option(p, key))
			return -1;
	}
	if (p->no4 && p->no6)
		return misuse("-4 and -6", "exclude each other");
	return take_rest(p, argc - optind, argv + optind);
}

/* --- what the host has --- */

/* Interface and gateway of the first default route, or of the one by @interface. */
static void default_route(const char *interface, char name[IF_NAMESIZE], struct in_addr *gateway)
{
	FILE *f = fopen("/proc/net/route", "re");
	unsigned int dst, gw, flags, mask;
	char line[256], dev[IF_NAMESIZE];

	while (f && !*name && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%15s %x %x %x %*d %*d %*d %x", dev, &dst, &gw, &flags, &mask) !=
			    5 ||
		    dst || mask || !(flags & RTF_GATEWAY) || (interface && strcmp(interface, dev)))
			continue;
		memcpy(name, dev, sizeof(dev));
		gateway->s_addr = gw;
	}
	if (f)
		fclose(f);
}

static void address_of(const char *name, struct in_addr *addr, struct in_addr *mask)
{
	struct ifaddrs *list, *i;

	if (getifaddrs(&list))
		return;
	for (i = list; i; i = i->ifa_next) {
		if (strcmp(i->ifa_name, name) || !i->ifa_addr || !i->ifa_netmask ||
		    i->ifa_addr->sa_family != AF_INET)
			continue;
		*addr = ((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr;
		*mask = ((struct sockaddr_in *)(void *)i->ifa_netmask)->sin_addr;
		break;
	}
	freeifaddrs(list);
}

static void set_address(struct kv *netdev, const char *key, struct in_addr a)
{
	char text[INET_ADDRSTRLEN];

	kv_set(netdev, key, inet_ntop(AF_INET, &a, text, sizeof(text)));
}

/* Options over the host's addresses over nothing: then the network's own remain. */
static int set_network(struct pasta *p)
{
	struct in_addr addr = { 0 }, mask = { 0 }, gateway = { 0 }, base;
	struct kv *netdev = p->run.netdev;
	char name[IF_NAMESIZE] = "", net[INET_ADDRSTRLEN], *text;

	if (p->interface && !if_nametoindex(p->interface))
		return misuse(p->interface, "is no interface of this host");
	default_route(p->interface, name, &gateway);
	address_of(*name ? name : p->interface ? p->interface : "", &addr, &mask);
	addr = p->addr.s_addr ? p->addr : addr;
	mask = p->mask.s_addr ? p->mask : mask;
	gateway = p->gateway.s_addr ? p->gateway : gateway;
	if (!*p->ifname)
		snprintf(p->ifname, sizeof(p->ifname), "%s", *name ? name : "tap0");
	if (p->no4)
		return 0;
	if (p->dns)
		kv_set(netdev, "dns", p->dns);
	if (!addr.s_addr || !mask.s_addr || !gateway.s_addr)
		return p->addr.s_addr || p->mask.s_addr || p->gateway.s_addr
			       ? misuse("--address, --netmask, --gateway",
					"need each other here: the host has no default route")
			       : 0;
	base.s_addr = addr.s_addr & mask.s_addr;
	text = cli_printf("%s/%d", inet_ntop(AF_INET, &base, net, sizeof(net)),
			  __builtin_popcount(mask.s_addr));
	kv_set(netdev, "net", text);
	free(text);
	set_address(netdev, "host", gateway);
	set_address(netdev, "dhcpstart", addr);
	kv_set(netdev, "lan", "on");
	if (!p->dns)
		kv_set(netdev, "dns", NO_DNS);
	return 0;
}

static int settle(struct pasta *p)
{
	struct kv *netdev = p->run.netdev;

	kv_set(netdev, "id", "n0");
	kv_set(netdev, "host-loopback", p->map_gw ? "on" : "off");
	kv_set(netdev, "ipv4", p->no4 ? "off" : "on");
	kv_set(netdev, "ipv6", p->no6 ? "off" : "on");
	if (set_network(p))
		return 1;
	p->run.world.tap.ifname = p->ifname;
	p->run.keep_stderr = p->to_stderr || p->run.log;
	return 0;
}

int cmd_pasta(int argc, char **argv)
{
	struct pasta p = { .map_gw = true };
	int go, status;

	run_init(&p.run, "pasta");
	p.run.world.configure = false;
	p.run.world.resolv = false;
	p.run.world.tap.mtu = 65520;
	if (kv_parse(&p.run.netdev, "user,mtu=65520", "type", NULL))
		return 1;
	go = take_options(&p, argc, argv);
	status = go < 0;
	if (go > 0)
		status = settle(&p) ? 1 : run_main(&p.run);
	run_end(&p.run);
	free(p.path);
	return status;
}
