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

/* The tap's port and the network's are peers from here on. */
static int connect_fd(struct run_world *w, struct twx_backend *b, int fd)
{
	const char *name = w->tap.ifname ? w->tap.ifname : "tap0";
	char *text = cli_printf("tap,id=%s,fd=%d", name, fd);
	struct twx_backend *tap;
	struct twx_error e = { 0 };
	int err = twx_backend_new(&tap, w->session.net, text, &e);

	free(text);
	if (err)
		close(fd);
	else
		err = twx_port_pair(tap->ports[0], b->ports[0], &e);
	return err ? cli_fail(w->session.command, &e) : 0;
}

static int make_tap(struct run_world *w, struct twx_backend *b)
{
	struct twx_error e = { 0 };
	char *text = NULL;
	int fd, err;

	if (b->type->guest)
		b->type->guest(b, &w->guest);
	if (w->addr.s_addr && w->guest.addr.s_addr)
		w->guest.addr = w->addr;
	if (w->configure)
		w->tap.guest = &w->guest;
	if (w->resolv && (w->guest.dns.s_addr || !IN6_IS_ADDR_UNSPECIFIED(&w->guest.dns6)))
		w->tap.resolv_conf = text = resolv_conf(&w->guest);
	err = twx_netns_tap(&w->tap, &fd, &e);
	free(text);
	w->tap.resolv_conf = NULL;
	return err ? cli_fail(w->session.command, &e) : connect_fd(w, b, fd);
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
