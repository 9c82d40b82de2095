/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A namespace, a network, and the cable between them.
 *
 * The tap device's port and the backend's are peers: no NIC, no hub. What the namespace is to be
 * configured with comes from the backend (twx_backend_type.guest).
 */
#include <errno.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/alloc.h"
#include "cli/cli.h"
#include "cli/run.h"

#define RESOLV_CONF "/etc/resolv.conf"

/* The host's lines but for its name servers, which are reached through ours. */
static char *resolv_conf(const struct twx_guest_config *g)
{
	char *line = NULL, *out = NULL, addr[INET6_ADDRSTRLEN];
	FILE *in, *mem;
	size_t cap, len;

	in = fopen(RESOLV_CONF, "re");
	mem = in ? open_memstream(&out, &len) : NULL;
	if (mem && g->dns.s_addr)
		fprintf(mem, "nameserver %s\n", inet_ntop(AF_INET, &g->dns, addr, sizeof(addr)));
	else if (mem && !IN6_IS_ADDR_UNSPECIFIED(&g->dns6))
		fprintf(mem, "nameserver %s\n", inet_ntop(AF_INET6, &g->dns6, addr, sizeof(addr)));
	for (cap = 0; mem && getline(&line, &cap, in) > 0;)
		if (!strncmp(line, "search", 6) || !strncmp(line, "domain", 6) ||
		    !strncmp(line, "options", 7))
			fputs(line, mem);
	free(line);
	if (mem)
		fclose(mem);
	if (in)
		fclose(in);
	return out;
}

/* "tap,id=tap0,fds=7:8,workers=2" */
static char *tap_text(const struct run_world *w, const int *fds, uint32_t n)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	uint32_t i;

	if (!f)
		return NULL;
	fprintf(f, "tap,id=%s,%s=", w->tap.ifname ? w->tap.ifname : "tap0", n > 1 ? "fds" : "fd");
	for (i = 0; i < n; i++)
		fprintf(f, "%s%d", i ? ":" : "", fds[i]);
	if (n > 1)
		fprintf(f, ",workers=%u", n);
	fclose(f);
	return text;
}

/* The tap's ports and the network's are peers from here on. */
static int connect_fds(struct run_world *w, struct twx_backend *b, const int *fds, uint32_t n)
{
	struct twx_error e = { 0 };
	struct twx_backend *tap;
	char *text = tap_text(w, fds, n);
	int err = text ? twx_backend_new(&tap, w->session.net, text, &e)
		       : twx_error_set(&e, ENOMEM, "out of memory");
	uint32_t i;

	free(text);
	for (i = 0; i < n && err; i++)
		close(fds[i]);
	for (i = 0; i < n && !err; i++)
		err = twx_port_pair(tap->ports[i], b->ports[i], &e);
	return err ? cli_fail(w->session.command, &e) : 0;
}

static int make_tap(struct run_world *w, struct twx_backend *b)
{
	struct twx_error e = { 0 };
	uint32_t n = b->n_workers > 1 ? b->n_ports : 1;
	int fds[TWX_NETNS_QUEUES], err;
	char *text = NULL;

	w->tap.n_queues = n;
	if (b->type->guest)
		b->type->guest(b, &w->guest);
	if (w->addr.s_addr && w->guest.addr.s_addr)
		w->guest.addr = w->addr;
	if (w->configure)
		w->tap.guest = &w->guest;
	if (w->resolv && (w->guest.dns.s_addr || !IN6_IS_ADDR_UNSPECIFIED(&w->guest.dns6)))
		w->tap.resolv_conf = text = resolv_conf(&w->guest);
	err = twx_netns_tap(&w->tap, fds, &e);
	free(text);
	w->tap.resolv_conf = NULL;
	return err ? cli_fail(w->session.command, &e) : connect_fds(w, b, fds, n);
}

int run_world_make(struct run_world *w)
{
	struct twx_backend *b;

	if (session_make_kinds(&w->session, SESSION_CHARDEV, SESSION_NETDEV))
		return 1;
	b = twx_backend_find(w->session.net, w->netdev);
	if (!b)
		return cli_fail_text(w->session.command, NULL, "there is no netdev '%s'",
				     w->netdev);
	if (make_tap(w, b) || session_make_kinds(&w->session, SESSION_OBJECT, SESSION_QMP))
		return 1;
	session_check(&w->session);
	return 0;
}
