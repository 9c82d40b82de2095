/* SPDX-License-Identifier: BSD-3-Clause */
/* Which resolver the DNS alias stands for: dns-host=, or the first of the host's resolv.conf, as it
 * changes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/user/user.h"
#include "base/hostops.h"
#include "net/net_priv.h"

#define REREAD_NS 1000000000ull
#define MAX_RESOLVERS 8

struct user_dns {
	struct sockaddr_in resolver; /* family 0: there is none */
	uint64_t read_at;	     /* 0: never */
};

int dns_init(struct user *u)
{
	u->dns = calloc(1, sizeof(*u->dns));
	return u->dns ? 0 : -ENOMEM;
}

void dns_fini(struct user *u)
{
	free(u->dns);
	u->dns = NULL;
}

/* The file is small and this runs at most once a second, when a query comes: cheaper than a watch
 * that must survive renames, mounts and symlinks into /run. */
static void reread(struct user *u)
{
	struct sockaddr_storage found[MAX_RESOLVERS];
	int n = hostops_resolvers(net_hostops(u->backend->net), found, MAX_RESOLVERS);

	u->dns->resolver.sin_family = AF_UNSPEC;
	for (int i = 0; i < n; i++) {
		if (found[i].ss_family == AF_INET) {
			memcpy(&u->dns->resolver, &found[i], sizeof(u->dns->resolver));
			return;
		}
	}
}

bool dns_resolver(struct user *u, struct sockaddr_storage *to, socklen_t *to_len)
{
	uint64_t now = twx_loop_now(u->loop);
	const struct sockaddr_in *r = &u->cfg.dns_host;

	if (!r->sin_family) {
		if (!u->dns->read_at || now - u->dns->read_at >= REREAD_NS) {
			reread(u);
			u->dns->read_at = now;
		}
		r = &u->dns->resolver;
	}
	if (r->sin_family != AF_INET)
		return false;
	memcpy(to, r, sizeof(*r));
	*to_len = sizeof(*r);
	return true;
}
