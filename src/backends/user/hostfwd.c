/* SPDX-License-Identifier: BSD-3-Clause */
/* hostfwd=: ports of the host that lead to the guest. */

/*
 * TCP: accepted connections go to tcp.c. UDP: one socket per forward; a host-side peer appears to
 * the guest under its own address and port (loopback: as the host alias), and is remembered as a
 * flow with that peer in its key and no socket of its own, so that the guest's reply finds its way
 * back out of the forward's socket. Two peers on different loopback addresses with one port look
 * the same to the guest; the last one that spoke gets the replies. These flows age and are bounded
 * like other UDP flows (udp.c).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/user/udp.h"
#include "base/hostops.h"
#include "base/macros.h"
#include "net/net_priv.h"

#define ACCEPT_BUDGET 32
#define RETRY_NS 100000000ull /* when no descriptor is left */

struct forward {
	struct user *u;
	bool udp;
	uint32_t index;
	struct sockaddr_in host;
	struct in_addr guest;
	uint16_t guest_port;
	int fd;
	bool paused;
	struct twx_watch watch;
	struct twx_timer retry;
};

struct user_fwd {
	struct forward **list;
	uint32_t n, n_udp, n_paused;
};

/* --- the rule --- */

/* Cuts the part before @sep off *@text into @buf; false when there is no @sep. Too long a part is
 * cut. */
static bool part(char *buf, size_t size, const char **text, char sep)
{
	const char *end = strchr(*text, sep);
	size_t len;

	if (!end)
		return false;
	len = min((size_t)(end - *text), size - 1);
	memcpy(buf, *text, len);
	buf[len] = 0;
	*text = end + 1;
	return true;
}

static bool number(const char *text, long lowest, uint16_t *port)
{
	char *end;
	long v;

	errno = 0;
	v = strtol(text, &end, 0);
	if (*end || errno || v < lowest || v > 65535)
		return false;
	*port = (uint16_t)v;
	return true;
}

/* Null, or why the rule is wrong: QEMU's words. */
static const char *parse_rule(struct forward *f, const char *rule)
{
	uint16_t port;
	char buf[256];

	if (!part(buf, sizeof(buf), &rule, ':'))
		return "No : separators";
	if (strcmp(buf, "tcp") && strcmp(buf, "udp") && buf[0])
		return "Bad protocol name";
	f->udp = buf[0] == 'u';
	if (!part(buf, sizeof(buf), &rule, ':'))
		return "Missing : separator";
	if (buf[0] && !inet_aton(buf, &f->host.sin_addr))
		return "Bad host address";
	if (!part(buf, sizeof(buf), &rule, '-'))
		return "Bad host port separator";
	if (!number(buf, 0, &port))
		return "Bad host port";
	f->host.sin_family = AF_INET;
	f->host.sin_port = htons(port);
	if (!part(buf, sizeof(buf), &rule, ':'))
		return "Missing guest address";
	f->guest = f->u->cfg.dhcp_start;
	if (buf[0] && !inet_aton(buf, &f->guest))
		return "Bad guest address";
	if (!f->guest.s_addr)
		f->guest = f->u->cfg.dhcp_start;
	if (!user_in_net(f->u, f->guest) || user_is_ours(f->u, f->guest) ||
	    user_is_broadcast(f->u, f->guest))
		return "Bad guest address";
	if (!number(rule, 1, &f->guest_port))
		return "Bad guest port";
	return NULL;
}

/* --- UDP --- */

static bool name_forward_peer(struct user *u, void *opaque, const struct sockaddr_in *from,
			      struct in_addr *src, uint16_t *sport)
{
	struct forward *f = opaque;
	struct flow_key key = {
		.guest = user_mapped(f->guest),
		.guest_port = f->guest_port,
		.peer = user_map_in(u, (const struct sockaddr *)from),
		.peer_port = ntohs(from->sin_port),
		.kind = FLOW_UDP,
	};
	struct flow *flow = flow_find(&u->flows, &key);

	if (!key.peer_port)
		return false;
	if (!flow)
		flow = udp_flow_new(u, &key);
	if (!flow)
		return false;
	flow_touch(&u->flows, flow, twx_loop_now(u->loop));
	udp_flow_of(flow)->peer = *from;
	udp_flow_of(flow)->fwd = f->index;
	*src = user_v4(&key.peer);
	*sport = key.peer_port;
	return true;
}

static void udp_event(struct twx_watch *w, uint32_t events)
{
	struct forward *f = container_of(w, struct forward, watch);
	struct udp_target t = {
		.guest = f->guest, .port = f->guest_port, .name = name_forward_peer, .opaque = f
	};

	if (udp_recv_batch(f->u, f->fd, &t) == -EAGAIN && !f->paused) {
		f->paused = true;
		f->u->fwd->n_paused++;
		twx_watch_set(w, 0);
	}
}

void hostfwd_resume(struct user *u)
{
	if (!u->fwd || !u->fwd->n_paused)
		return;
	for (uint32_t i = 0; i < u->fwd->n; i++) {
		struct forward *f = u->fwd->list[i];

		if (f->paused)
			twx_watch_set(&f->watch, EPOLLIN);
		f->paused = false;
	}
	u->fwd->n_paused = 0;
}

bool hostfwd_udp_reply(struct user *u, const struct user_pkt *p)
{
	struct flow_key key = {
		.guest = p->src,
		.guest_port = user_get16(p->l4),
		.peer = p->dst,
		.peer_port = user_get16(p->l4 + 2),
		.kind = FLOW_UDP,
	};
	struct flow *flow;

	if (!u->fwd || !u->fwd->n_udp)
		return false;
	flow = flow_find(&u->flows, &key);
	if (!flow)
		return false;
	flow_touch(&u->flows, flow, twx_loop_now(u->loop));
	udp_queue(u, p, u->fwd->list[udp_flow_of(flow)->fwd]->fd, NULL, &udp_flow_of(flow)->peer);
	return true;
}

/* --- TCP --- */

static void accept_retry(struct twx_timer *t)
{
	struct forward *f = container_of(t, struct forward, retry);

	twx_watch_set(&f->watch, EPOLLIN);
}

static void accept_event(struct twx_watch *w, uint32_t events)
{
	struct forward *f = container_of(w, struct forward, watch);
	struct in6_addr guest = user_mapped(f->guest);

	for (int i = 0; i < ACCEPT_BUDGET; i++) {
		struct sockaddr_in peer;
		socklen_t len = sizeof(peer);
		int fd = accept4(f->fd, (struct sockaddr *)&peer, &len,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct in6_addr from;

		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			    errno == ENOMEM) {
				twx_watch_set(w, 0);
				twx_timer_set(&f->retry, twx_loop_now(f->u->loop) + RETRY_NS);
			}
			return;
		}
		from = user_map_in(f->u, (struct sockaddr *)&peer);
		tcp_from_host_take(f->u, fd, &from, ntohs(peer.sin_port), &guest, f->guest_port);
	}
}

/* --- life --- */

static int open_socket(struct forward *f)
{
	int one = 1, ret, type = f->udp ? SOCK_DGRAM : SOCK_STREAM;

	f->fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (f->fd < 0)
		return -errno;
	/* For UDP it would let two programs share the port unnoticed. */
	if (!f->udp)
		setsockopt(f->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	ret = hostops_bind(net_hostops(f->u->backend->net), f->fd, (struct sockaddr *)&f->host,
			   sizeof(f->host));
	if (!ret && !f->udp && listen(f->fd, SOMAXCONN) < 0)
		ret = -errno;
	if (!ret)
		ret = twx_watch_add(&f->watch, f->u->loop, f->fd, EPOLLIN,
				    f->udp ? udp_event : accept_event);
	return ret;
}

static void forward_free(struct forward *f)
{
	twx_watch_del(&f->watch);
	twx_timer_cancel(&f->retry);
	if (f->fd >= 0)
		close(f->fd);
	free(f);
}

static int enter(struct user *u, struct forward *f)
{
	struct forward **list;

	if (!u->fwd) {
		u->fwd = calloc(1, sizeof(*u->fwd));
		if (!u->fwd)
			return -ENOMEM;
	}
	list = realloc(u->fwd->list, (u->fwd->n + 1) * sizeof(*list));
	if (!list)
		return -ENOMEM;
	u->fwd->list = list;
	f->index = u->fwd->n;
	list[u->fwd->n++] = f;
	u->fwd->n_udp += f->udp;
	return 0;
}

int hostfwd_add(struct user *u, const char *rule, struct twx_error *e)
{
	struct forward *f = calloc(1, sizeof(*f));
	const char *wrong;
	int ret;

	if (!f)
		return twx_error_set(e, ENOMEM, "out of memory");
	f->u = u;
	f->fd = -1;
	twx_timer_init(&f->retry, u->loop, accept_retry);
	wrong = parse_rule(f, rule);
	if (wrong) {
		forward_free(f);
		twx_error_set(e, EINVAL, "Invalid host forwarding rule '%s' (%s)", rule, wrong);
		return twx_error_hint(
			e, "write hostfwd=[tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT");
	}
	ret = open_socket(f);
	if (!ret)
		ret = enter(u, f);
	if (ret) {
		forward_free(f);
		twx_error_set(e, -ret, "Could not set up host forwarding rule '%s': %s", rule,
			      strerror(-ret));
		if (ret == -EACCES)
			return twx_error_hint(
				e, "ports below 1024 need privileges: take a higher one");
		if (ret == -EADDRINUSE)
			return twx_error_hint(e, "another program has the port: take another one");
	}
	return ret;
}

void hostfwd_fini(struct user *u)
{
	if (!u->fwd)
		return;
	for (uint32_t i = 0; i < u->fwd->n; i++)
		forward_free(u->fwd->list[i]);
	free(u->fwd->list);
	free(u->fwd);
	u->fwd = NULL;
}
