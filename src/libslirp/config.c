/* SPDX-License-Identifier: BSD-3-Clause */
/* SlirpConfig as the options of `-netdev user`. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "libslirp/slirp.h"

#define MTU_DEFAULT 1500

bool config_read(struct slirp_config *to, const struct slirp_config *from)
{
	/* Where each version's fields end. */
	static const size_t ends[SLIRP_CONFIG_MAX + 1] = {
		[1] = offsetof(struct slirp_config, outbound_addr),
		[2] = offsetof(struct slirp_config, disable_dns),
		[3] = offsetof(struct slirp_config, disable_dhcp),
		[4] = offsetof(struct slirp_config, mfr_id),
		[5] = sizeof(struct slirp_config),
		[6] = sizeof(struct slirp_config),
	};

	if (from->version < SLIRP_CONFIG_MIN || from->version > SLIRP_CONFIG_MAX)
		return false;
	memset(to, 0, sizeof(*to));
	memcpy(to, from, min(ends[from->version], sizeof(*to)));
	/* Padding in front of a later version's first byte is not the caller's word. */
	if (from->version < 4)
		to->disable_dhcp = false;
	if (from->version < 3)
		to->disable_dns = false;
	return true;
}

int config_check(const struct slirp_config *cfg, struct twx_error *e)
{
	static const uint8_t no_mac[6];

	if (cfg->enable_emu)
		return twx_error_set(e, EOPNOTSUPP,
				     "enable_emu is not supported: packets are never rewritten");
	if (cfg->mfr_id || memcmp(cfg->oob_eth_addr, no_mac, sizeof(no_mac)) != 0)
		return twx_error_set(
			e, EOPNOTSUPP,
			"mfr_id and oob_eth_addr are not supported: there is no NC-SI");
	if (!cfg->in_enabled && !cfg->in6_enabled)
		return twx_error_set(e, EINVAL, "IPv4 and IPv6 disabled");
	return 0;
}

/* A value in an option list: its commas are doubled. */
static void put_string(FILE *f, const char *key, const char *value)
{
	if (!value || !*value)
		return;
	fprintf(f, ",%s=", key);
	for (; *value; value++) {
		if (*value == ',')
			fputc(',', f);
		fputc(*value, f);
	}
}

static void put_v4(FILE *f, const char *key, struct in_addr a)
{
	char text[INET_ADDRSTRLEN];

	if (a.s_addr)
		fprintf(f, ",%s=%s", key, inet_ntop(AF_INET, &a, text, sizeof(text)));
}

static void put_v6(FILE *f, const char *key, const struct in6_addr *a)
{
	char text[INET6_ADDRSTRLEN];

	if (!IN6_IS_ADDR_UNSPECIFIED(a))
		fprintf(f, ",%s=%s", key, inet_ntop(AF_INET6, a, text, sizeof(text)));
}

static void put_net6(FILE *f, const struct slirp_config *cfg)
{
	put_v6(f, "ipv6-prefix", &cfg->vprefix_addr6);
	fprintf(f, ",ipv6-prefixlen=%u", cfg->vprefix_len);
	put_v6(f, "ipv6-host", &cfg->vhost6);
	put_v6(f, "ipv6-dns", &cfg->vnameserver6);
}

static void put_net(FILE *f, const struct slirp_config *cfg)
{
	char net[INET_ADDRSTRLEN], mask[INET_ADDRSTRLEN];

	fprintf(f, ",net=%s/%s", inet_ntop(AF_INET, &cfg->vnetwork, net, sizeof(net)),
		inet_ntop(AF_INET, &cfg->vnetmask, mask, sizeof(mask)));
	put_v4(f, "host", cfg->vhost);
	put_v4(f, "dns", cfg->vnameserver);
	put_v4(f, "dhcpstart", cfg->vdhcp_start);
}

char *config_text(const struct slirp_config *cfg)
{
	size_t size, mtu = cfg->if_mtu ? cfg->if_mtu : MTU_DEFAULT;
	char *text = NULL;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	/* One number for both ways: a smaller packet than allowed is always allowed. */
	mtu = min(mtu, cfg->if_mru ? cfg->if_mru : MTU_DEFAULT);
	fprintf(f, "user,id=slirp,restrict=%s,mtu=%zu", cfg->restricted ? "on" : "off", mtu);
	fprintf(f, ",ipv4=%s,ipv6=%s", cfg->in_enabled ? "on" : "off",
		cfg->in6_enabled ? "on" : "off");
	if (cfg->in_enabled)
		put_net(f, cfg);
	if (cfg->in6_enabled)
		put_net6(f, cfg);
	fprintf(f, ",host-loopback=%s", cfg->disable_host_loopback ? "off" : "on");
	if (cfg->outbound_addr)
		put_v4(f, "outbound-addr", cfg->outbound_addr->sin_addr);
	if (cfg->outbound_addr6)
		put_v6(f, "outbound-addr", &cfg->outbound_addr6->sin6_addr);
	put_string(f, "hostname", cfg->vhostname);
	put_string(f, "domainname", cfg->vdomainname);
	put_string(f, "tftp", cfg->tftp_path);
	put_string(f, "tftp-server-name", cfg->tftp_server_name);
	put_string(f, "bootfile", cfg->bootfile);
	for (const char **d = cfg->vdnssearch; d && *d; d++)
		put_string(f, "dnssearch", *d);
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}
