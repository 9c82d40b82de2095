/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Called as slirp4netns: its options, by which Podman, Buildah and rootlesskit start it, for our
 * network.
 *
 * Those programs look into the help for what there is, and pass only that. So an option that this
 * twinax cannot obey is not in the help, and is refused; none is taken and then forgotten. Not
 * there are --target-type=bess (vhost-user and -netdev stream are our ways to a virtual machine),
 * and --enable-seccomp where libseccomp was not there to build with.
 *
 * Other than there, checksums and segmentation are left to the kernel, whatever the MTU; the
 * process ends with its namespace, too, not by --exit-fd and signals alone.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <netinet/ether.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <twinax/usernet.h>

#include "base/macros.h"
#include "cli/alloc.h"
#include "cli/cli.h"
#include "cli/run.h"
#include "cli/sandbox.h"
#include "cli/slirp4netns.h"

#define S4N_VERSION "1.2.0" /* whose options these are */
#define S4N_GUEST 100	    /* the guest's address in the network */
#define S4N_MTU "1500"
#define S4N_IPV6 "fd00::/64"

enum {
	O_CIDR = 256,
	O_LOOPBACK,
	O_NETNS_TYPE,
	O_USERNS_PATH,
	O_SANDBOX,
	O_SECCOMP,
	O_OUT4,
	O_OUT6,
	O_NO_DNS,
	O_MAC,
	O_TARGET,
};

struct s4n {
	struct run run;
	bool configure, by_path, sandbox, seccomp;
	const char *api_socket, *mac_text;
	uint8_t mac[6];
	struct in_addr net;
	struct api_server *api;
};

/* What each option is for, and the option of the user-mode network that it takes. */
static const struct s4n_option {
	const char *name;
	int key;
	const char *value, *help, *needs;
} options[] = {
	{ "configure", 'c', NULL, "bring up the interface", NULL },
	{ "exit-fd", 'e', "FD", "specify the FD for terminating slirp4netns", NULL },
	{ "ready-fd", 'r', "FD", "specify the FD to write to when the network is configured",
	  NULL },
	{ "mtu", 'm', "MTU", "specify MTU (default=1500, max=65521)", NULL },
	{ "enable-ipv6", '6', NULL, "enable IPv6", "ipv6-net" },
	{ "api-socket", 'a', "PATH", "specify API socket path", NULL },
	{ "cidr", O_CIDR, "CIDR", "specify network address CIDR (default=10.0.2.0/24)", NULL },
	{ "disable-host-loopback", O_LOOPBACK, NULL,
	  "prohibit connecting to 127.0.0.1:* on the host namespace", "host-loopback" },
	{ "netns-type", O_NETNS_TYPE, "TYPE",
	  "specify network namespace type ([path|pid], default=pid)", NULL },
	{ "userns-path", O_USERNS_PATH, "PATH", "specify user namespace path", NULL },
	{ "enable-sandbox", O_SANDBOX, NULL,
	  "create a new mount namespace (and drop all caps except CAP_NET_BIND_SERVICE)", NULL },
#ifdef TWINAX_HAVE_SECCOMP
	{ "enable-seccomp", O_SECCOMP, NULL, "enable seccomp to limit syscalls", NULL },
#endif
	{ "outbound-addr", O_OUT4, "IPv4", "sets outbound ipv4 address to bound to",
	  "outbound-addr" },
	{ "outbound-addr6", O_OUT6, "IPv6", "sets outbound ipv6 address to bound to",
	  "outbound-addr" },
	{ "disable-dns", O_NO_DNS, NULL, "disables 10.0.2.3 (or configured internal ip)", "deny" },
	{ "macaddress", O_MAC, "MAC", "specify the MAC address of the TAP (only valid with -c)",
	  NULL },
	{ "target-type", O_TARGET, "TYPE", "specify the target type ([netns], default=netns)",
	  NULL },
	{ "help", 'h', NULL, "show this help and exit", NULL },
	{ "version", 'v', NULL, "show version and exit", NULL },
};

static bool available(const struct s4n_option *o)
{
	return !o->needs || run_user_has(o->needs);
}

static void usage(FILE *out)
{
	char word[64];
	size_t i;

	fputs("Usage: slirp4netns [OPTION]... PID|PATH [TAPNAME]\n"
	      "User-mode networking for unprivileged network namespaces, by twinax.\n\n",
	      out);
	for (i = 0; i < array_size(options); i++) {
		const struct s4n_option *o = &options[i];

		if (!available(o))
			continue;
		snprintf(word, sizeof(word), "%s%s%s", o->name, o->value ? "=" : "",
			 o->value ? o->value : "");
		if (o->key < 256)
			fprintf(out, "-%c, --%-19s %s\n", o->key, word, o->help);
		else
			fprintf(out, "--%-23s %s\n", word, o->help);
	}
}

static int misuse(const char *what, const char *why)
{
	cli_fail_text("slirp4netns", "try: slirp4netns --help", "%s %s", what, why);
	return -1;
}

/* --- options --- */

static int take_fd(const char *text, int *fd)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (end == text || *end || n < 0 || n > INT_MAX || fcntl((int)n, F_GETFD) < 0)
		return misuse(text, "is no open descriptor");
	*fd = (int)n;
	fcntl(*fd, F_SETFD, FD_CLOEXEC);
	return 0;
}

static int take_mtu(struct s4n *s, const char *text)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (end == text || *end || n < 576 || n > 65521)
		return misuse(text, "is no MTU (576 to 65521)");
	kv_set(s->run.netdev, "mtu", text);
	s->run.world.tap.mtu = (uint32_t)n;
	return 0;
}

static int take_cidr(struct s4n *s, const char *text)
{
	char *copy = cli_strdup(text), *slash = strchr(copy, '/'), *end = NULL;
	unsigned long len = 0;
	bool good;

	if (slash) {
		*slash = 0;
		len = strtoul(slash + 1, &end, 10);
	}
	good = slash && slash[1] && !*end && len >= 4 && len <= 25 &&
	       inet_pton(AF_INET, copy, &s->net) == 1;
	free(copy);
	if (!good)
		return misuse(text, "is no network such as 10.0.2.0/24 (up to /25)");
	if (ntohl(s->net.s_addr) & (0xffffffffu >> len))
		return misuse(text,
			      "is an address in a network, not a network such as 10.0.2.0/24");
	kv_set(s->run.netdev, "net", text);
	return 0;
}

static int take_type(struct s4n *s, const char *text)
{
	s->by_path = !strcmp(text, "path");
	return s->by_path || !strcmp(text, "pid") ? 0 : misuse(text, "is neither path nor pid");
}

static int take_mac(struct s4n *s, const char *text)
{
	struct ether_addr *mac = ether_aton(text);

	if (!mac || (mac->ether_addr_octet[0] & 1))
		return misuse(text, "is no MAC address of an interface");
	memcpy(s->mac, mac, 6);
	s->mac_text = text;
	return 0;
}

static int take_outbound(struct s4n *s, int family, const char *text)
{
	struct kv_pair pair = { .key = (char *)"outbound-addr", .value = (char *)text };
	struct in6_addr a;

	if (inet_pton(family, text, &a) != 1)
		return misuse(text, family == AF_INET
					    ? "is no IPv4 address (interfaces do not do)"
					    : "is no IPv6 address (interfaces do not do)");
	kv_add(s->run.netdev, &pair);
	return 0;
}

/* @key is of an option that is available. */
static int take_option(struct s4n *s, int key)
{
	struct kv *netdev = s->run.netdev;

	switch (key) {
	case 'c':
		s->configure = true;
		return 0;
	case 'e':
		return take_fd(optarg, &s->run.exit_fd);
	case 'r':
		return take_fd(optarg, &s->run.ready_fd);
	case 'm':
		return take_mtu(s, optarg);
	case '6':
		kv_set(netdev, "ipv4", "on"); /* not said, the other would mean it alone */
		kv_set(netdev, "ipv6", "on");
		kv_set(netdev, "ipv6-net", S4N_IPV6);
		return 0;
	case 'a':
		s->api_socket = optarg;
		return 0;
	case O_CIDR:
		return take_cidr(s, optarg);
	case O_LOOPBACK:
		kv_set(netdev, "host-loopback", "off");
		return 0;
	case O_NETNS_TYPE:
		return take_type(s, optarg);
	case O_USERNS_PATH:
		s->run.user_path = optarg;
		return 0;
	case O_SANDBOX:
		s->sandbox = true;
		return 0;
	case O_SECCOMP:
		s->seccomp = true;
		return 0;
	case O_OUT4:
		return take_outbound(s, AF_INET, optarg);
	case O_OUT6:
		return take_outbound(s, AF_INET6, optarg);
	case O_NO_DNS:
		kv_set(netdev, "deny", "dns");
		return 0;
	case O_MAC:
		return take_mac(s, optarg);
	default:
		return strcmp(optarg, "netns")
			       ? misuse(optarg, "is no target type here, only netns")
			       : 0;
	}
}

/* What stands behind the options: the namespace, and the name of the interface. */
static int take_target(struct s4n *s, int argc, char **argv)
{
	char *end;
	long pid;

	if (argc < 1 || argc > 2) {
		usage(stderr);
		return -1;
	}
	s->run.world.tap.ifname = argc > 1 ? argv[1] : "tap0";
	if (s->by_path) {
		s->run.path = argv[0];
		return 0;
	}
	pid = strtol(argv[0], &end, 10);
	if (end == argv[0] || *end || pid < 1 || pid > INT_MAX)
		return misuse(argv[0], "is no process id (paths take --netns-type=path)");
	s->run.pid = (pid_t)pid;
	return 0;
}

static const struct s4n_option *by_key(int key)
{
	size_t i;

	for (i = 0; i < array_size(options); i++)
		if (options[i].key == key)
			return &options[i];
	return NULL;
}

/* 1 to go on, 0 to end with success, -1 after an error message. */
static int take_options(struct s4n *s, int argc, char **argv)
{
	struct option longs[array_size(options) + 1] = { 0 };
	const struct s4n_option *o;
	size_t i, n = 0;
	int key;

	for (i = 0; i < array_size(options); i++)
		if (available(&options[i]))
			longs[n++] =
				(struct option){ options[i].name,
						 options[i].value ? required_argument : no_argument,
						 NULL, options[i].key };
	opterr = 1;
	while ((key = getopt_long(argc, argv, "ce:r:m:6a:hv", longs, NULL)) != -1) {
		if (key == 'h') {
			usage(stdout);
			return 0;
		}
		if (key == 'v') {
			printf("slirp4netns version " S4N_VERSION " (twinax %s)\n", twx_version());
			return 0;
		}
		o = by_key(key);
		if (!o || !available(o)) {
			usage(stderr);
			return -1;
		}
		if (take_option(s, key))
			return -1;
	}
	if (take_target(s, argc - optind, argv + optind))
		return -1;
	if (s->mac_text && !s->configure)
		return misuse("--macaddress", "takes --configure");
	return 1;
}

/* --- running --- */

static int start_api(struct run *r)
{
	struct s4n *s = r->opaque;

	return api_server_start(&s->api, r->world.session.net,
				twx_backend_find(r->world.session.net, r->world.netdev),
				s->api_socket, r->world.addr);
}

/* All is open that needs the host's files. */
static int made(struct run *r)
{
	const struct s4n *s = r->opaque;

	if ((s->api_socket && start_api(r)) || (s->sandbox && sandbox_enter(r->name)))
		return 1;
#ifdef TWINAX_HAVE_SECCOMP
	if (s->seccomp)
		return sandbox_filter(r->name);
#endif
	return 0;
}

static void settle(struct s4n *s)
{
	struct run_world *w = &s->run.world;

	w->configure = s->configure;
	/* The rest is up to whoever configures it. */
	if (!s->configure)
		w->tap.mtu = 0;
	if (s->mac_text)
		w->tap.mac = s->mac;
	w->addr.s_addr = htonl(ntohl(s->net.s_addr) + S4N_GUEST);
	if (run_user_has("host-loopback") && !kv_get(s->run.netdev, "host-loopback"))
		kv_set(s->run.netdev, "host-loopback", "on");
	if (!kv_get(s->run.netdev, "ipv6"))
		kv_set(s->run.netdev, "ipv6", "off");
}

int cmd_slirp4netns(int argc, char **argv)
{
	struct s4n s = { .net = { .s_addr = htonl(0x0a000200) } };
	int go, status;

	run_init(&s.run, "slirp4netns");
	s.run.made = made;
	s.run.opaque = &s;
	s.run.ready_text = "1";
	s.run.exit_events = EPOLLIN | EPOLLHUP | EPOLLERR;
	if (kv_parse(&s.run.netdev, "user,mtu=" S4N_MTU, "type", NULL))
		return 1;
	s.run.world.tap.mtu = 1500;
	go = take_options(&s, argc, argv);
	status = go < 0;
	if (go > 0) {
		settle(&s);
		status = run_main(&s.run);
	}
	api_server_stop(s.api);
	run_end(&s.run);
	return status;
}
