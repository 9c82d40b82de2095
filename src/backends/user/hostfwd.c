/* SPDX-License-Identifier: BSD-3-Clause */
/* hostfwd=: ports of the host that lead to the guest. */

/*
 * The text of a rule is read by fwd_rule.c. Rules come and go while the network runs
 * (hostfwd_add(), hostfwd_remove()); connections that are open stay.
 *
 * The guest sees a client under its own address and port, so that its logs and its rules mean
 * something, unless it could not answer there: clients from loopback, from addresses inside the
 * virtual network and of another family than the guest's, and those of unix sockets, have the host
 * alias's. A port that a client lacks, or that another one has already, is made up.
 *
 * TCP: accepted connections go to tcp.c. A unix socket's do so through a pair of TCP sockets and a
 * relay, since what tcp.c needs (peeking at an offset, dropping unread) is TCP's. UDP: one socket
 * per forward; a host-side peer appears to the guest under its own address and port (loopback: as
 * the host alias), and is remembered as a flow with that peer in its key and no socket of its own,
 * so that the guest's reply finds its way back out of the forward's socket. These flows age and are
 * bounded like other UDP flows (udp.c). With workers the guest's port is the first lane's as long
 * as the forward is there, whatever else the guest sends from it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "backends/user/fwd_rule.h"
#include "backends/user/lanes.h"
#include "backends/user/udp.h"
#include "base/hostops.h"
#include "base/macros.h"
#include "net/net_priv.h"

#define ACCEPT_BUDGET 32
#define FIRST_PORT 49152 /* of those that are made up */
#define PORT_TRIES 64
#define PEER_TRIES 4
#define RETRY_NS 100000000ull /* when no descriptor is left */

struct forward {
	struct user *u;
	struct fwd_rule rule;
	uint32_t index; /* in the list */
	int fd;
	bool paused;
	bool claimed; /* lanes: the guest's port is this lane's */
	struct twx_watch watch;
	struct twx_timer retry;
	struct hostops_sock_file file; /* of a unix socket */
};

/* Places in the list stay what they are, since flows name them; those given up are null. */
struct user_fwd {
	struct forward **list;
	uint32_t n, n_udp, n_paused;
	uint16_t next_port;
};

/* --- UDP --- */

static struct flow_key guest_end(const struct forward *f)
{
	return (struct flow_key){ .guest = f->rule.guest,
				  .guest_port = f->rule.guest_port,
				  .kind = FLOW_UDP };
}

/* False while another lane has a flow of the guest's port. */
static bool claim(struct forward *f)
{
	struct flow_key key = guest_end(f);

	if (f->u->lanes && f->rule.kind == FWD_UDP && !f->claimed)
		f->claimed = lanes_claim(f->u, &key);
	return f->claimed || !f->u->lanes;
}

static void unclaim(struct forward *f)
{
	struct flow_key key = guest_end(f);

	if (f->claimed)
		lanes_release(f->u, &key);
}

/* Is it this peer's, through this forward? */
static bool is_flow_of(const struct forward *f, struct flow *flow, const union user_addr *from)
{
	return flow && udp_flow_of(flow)->fwd == f->index &&
	       !memcmp(&udp_flow_of(flow)->peer, from, sizeof(*from));
}

/*
 * The flow of @from, null if there is none yet; then @key is what it can have. By its own port it
 * is looked for first; should that be another's, by ports that follow from who it is, so that they
 * are found again. When those are taken, too, who spoke last has the first.
 */
static struct flow *find_peer(struct forward *f, const union user_addr *from, struct flow_key *key)
{
	struct flow_table *t = &f->u->flows;
	struct flow *own = flow_find(t, key);
	struct flow_key try = *key, unused = { 0 };

	if (is_flow_of(f, own, from))
		return own;
	for (uint32_t i = 0; i < PEER_TRIES; i++) {
		const struct {
			union user_addr from;
			uint32_t fwd, i;
		} who = { *from, f->index, i };
		struct flow *flow;

		try.peer_port = (uint16_t)(FIRST_PORT | flow_hash(t, &who, sizeof(who)));
		flow = flow_find(t, &try);
		if (is_flow_of(f, flow, from))
			return flow;
		if (!flow && !unused.peer_port)
			unused = try;
	}
	if (own && unused.peer_port)
		*key = unused;
	return own && !unused.peer_port ? own : NULL;
}

static bool name_forward_peer(struct user *u, void *opaque, const union user_addr *real,
			      struct user_end *src)
{
	struct forward *f = opaque;
	union user_addr clean = { 0 }, *from = &clean; /* to be compared as bytes */
	struct flow_key key = {
		.guest = f->rule.guest,
		.guest_port = f->rule.guest_port,
		.peer = user_map_in(u, &real->sa, &f->rule.guest),
		.peer_port = ntohs(real->in.sin_port),
		.kind = FLOW_UDP,
	};
	struct flow *flow;

	if (!key.peer_port || !claim(f))
		return false;
	memcpy(from, real,
	       f->rule.host.ss_family == AF_INET6 ? sizeof(from->in6) : sizeof(from->in));
	flow = find_peer(f, from, &key);
	if (!flow)
		flow = udp_flow_new(u, &key);
	if (!flow)
		return false;
	flow_touch(&u->flows, flow, twx_loop_now(u->loop));
	udp_flow_of(flow)->peer = *from;
	udp_flow_of(flow)->fwd = f->index;
	src->addr = flow->key.peer;
	src->port = flow->key.peer_port;
	return true;
}

static void udp_event(struct twx_watch *w, uint32_t events)
{
	struct forward *f = container_of(w, struct forward, watch);
	struct udp_target t = { .guest = f->rule.guest,
				.port = f->rule.guest_port,
				.name = name_forward_peer,
				.opaque = f };

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

		if (!f)
			continue;
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

/* --- TCP and unix sockets --- */

static void accept_retry(struct twx_timer *t)
{
	struct forward *f = container_of(t, struct forward, retry);

	twx_watch_set(&f->watch, EPOLLIN);
}

/* A port under which the guest sees a client that has none, or one that another client has. */
static uint16_t made_up_port(struct user *u, const struct flow_key *like)
{
	struct flow_key key = *like;

	for (int i = 0; i < PORT_TRIES; i++) {
		key.peer_port = (uint16_t)(FIRST_PORT | u->fwd->next_port++);
		if (!flow_find(&u->flows, &key))
			break;
	}
	return key.peer_port;
}

/* The client's own address and port as far as the guest can tell them from others. */
static void name_client(struct forward *f, const struct sockaddr *peer, struct flow_key *key)
{
	*key = (struct flow_key){ .guest = f->rule.guest,
				  .guest_port = f->rule.guest_port,
				  .peer = user_map_in(f->u, peer, &f->rule.guest),
				  .kind = FLOW_TCP };
	if (peer->sa_family == AF_INET)
		key->peer_port = ntohs(((const struct sockaddr_in *)peer)->sin_port);
	else if (peer->sa_family == AF_INET6)
		key->peer_port = ntohs(((const struct sockaddr_in6 *)peer)->sin6_port);
	if (!key->peer_port || flow_find(&f->u->flows, key))
		key->peer_port = made_up_port(f->u, key);
}

/* Takes @fd, a client of a unix socket; returns what is as good and TCP, or -errno. */
static int over_tcp(struct user *u, int fd)
{
	int pair[2], err = guestfwd_pair(u, pair);

	if (err) {
		close(fd);
		return err;
	}
	err = relay_start_take(u, fd, pair[1]);
	if (!err)
		return pair[0];
	close(pair[0]);
	return err;
}

static void accept_event(struct twx_watch *w, uint32_t events)
{
	struct forward *f = container_of(w, struct forward, watch);

	for (int i = 0; i < ACCEPT_BUDGET; i++) {
		struct sockaddr_storage peer = { 0 };
		socklen_t len = sizeof(peer);
		int fd = accept4(f->fd, (struct sockaddr *)&peer, &len,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct flow_key key;

		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			    errno == ENOMEM) {
				twx_watch_set(w, 0);
				twx_timer_set(&f->retry, twx_loop_now(f->u->loop) + RETRY_NS);
			}
			return;
		}
		if (f->rule.kind == FWD_UNIX)
			fd = over_tcp(f->u, fd);
		if (fd < 0)
			continue;
		name_client(f, (struct sockaddr *)&peer, &key);
		lanes_accept_take(f->u, fd, &key.peer, key.peer_port, &key.guest, key.guest_port);
	}
}

/* --- life --- */

static const char *unix_path(const struct forward *f)
{
	return ((const struct sockaddr_un *)&f->rule.host)->sun_path;
}

/* What the kernel made of port 0. */
static int bind_inet(struct forward *f)
{
	int one = 1, ret;

	/* For UDP it would let two programs share the port unnoticed. */
	if (f->rule.kind == FWD_TCP)
		setsockopt(f->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	/* The IPv4 port of the same number is another forward's. */
	if (f->rule.host.ss_family == AF_INET6)
		setsockopt(f->fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	ret = hostops_bind(net_hostops(f->u->backend->net), f->fd, (struct sockaddr *)&f->rule.host,
			   f->rule.host_len);
	if (!ret && getsockname(f->fd, (struct sockaddr *)&f->rule.host, &f->rule.host_len) < 0)
		ret = -errno;
	return ret;
}

static int open_unix(struct forward *f)
{
	f->fd = hostops_unix_listen(net_hostops(f->u->backend->net), unix_path(f));
	if (f->fd < 0)
		return f->fd;
	hostops_sock_file_of(unix_path(f), &f->file);
	return 0;
}

static int open_socket(struct forward *f)
{
	bool udp = f->rule.kind == FWD_UDP;
	int ret;

	if (f->rule.kind == FWD_UNIX) {
		ret = open_unix(f);
	} else {
		f->fd = socket(f->rule.host.ss_family,
			       (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		ret = f->fd < 0 ? -errno : bind_inet(f);
		if (!ret && !udp && listen(f->fd, SOMAXCONN) < 0)
			ret = -errno;
	}
	if (!ret)
		ret = twx_watch_add(&f->watch, f->u->loop, f->fd, EPOLLIN,
				    udp ? udp_event : accept_event);
	return ret;
}

static void forward_free(struct forward *f)
{
	twx_watch_del(&f->watch);
	twx_timer_cancel(&f->retry);
	unclaim(f);
	if (f->fd >= 0)
		close(f->fd);
	if (f->fd >= 0 && f->rule.kind == FWD_UNIX)
		hostops_sock_file_remove(net_hostops(f->u->backend->net), unix_path(f), &f->file);
	free(f);
}

static int enter(struct user *u, struct forward *f)
{
	struct forward **list;
	uint32_t i = 0;

	if (!u->fwd) {
		u->fwd = calloc(1, sizeof(*u->fwd));
		if (!u->fwd)
			return -ENOMEM;
	}
	while (i < u->fwd->n && u->fwd->list[i])
		i++;
	if (i == u->fwd->n) {
		list = realloc(u->fwd->list, (u->fwd->n + 1) * sizeof(*list));
		if (!list)
			return -ENOMEM;
		u->fwd->list = list;
		u->fwd->n++;
	}
	f->index = i;
	u->fwd->list[i] = f;
	u->fwd->n_udp += f->rule.kind == FWD_UDP;
	(void)claim(f); /* else when there is something to forward */
	return 0;
}

static const char *parse(struct forward *f, const char *rule)
{
	const char *wrong = fwd_rule_parse(&f->rule, rule);

	if (wrong)
		return wrong;
	if (IN6_IS_ADDR_UNSPECIFIED(&f->rule.guest))
		f->rule.guest = user_mapped(f->u->cfg.dhcp_start);
	return user_may_be_guest(f->u, &f->rule.guest) ? NULL : "Bad guest address";
}

static int cannot(const char *rule, int err, struct twx_error *e)
{
	twx_error_set(e, err, "Could not set up host forwarding rule '%s': %s", rule,
		      strerror(err));
	if (err == EACCES)
		return twx_error_hint(e, "ports below 1024 need privileges: take a higher one");
	if (err == EADDRINUSE)
		return twx_error_hint(e, "another program has the port: take another one");
	return -err;
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
	wrong = parse(f, rule);
	if (wrong) {
		forward_free(f);
		twx_error_set(e, EINVAL, "Invalid host forwarding rule '%s' (%s)", rule, wrong);
		return twx_error_hint(e,
				      "write [tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT "
				      "or unix:PATH-[GUESTADDR]:GUESTPORT");
	}
	ret = open_socket(f);
	if (!ret)
		ret = enter(u, f);
	if (!ret)
		return 0;
	forward_free(f);
	return cannot(rule, -ret, e);
}

/* Peers of a forward that is about to go. */
static void forget_peers(struct user *u, const struct forward *f)
{
	struct flow *flow = flow_oldest(&u->flows, FLOW_UDP);

	udp_burst_end(u); /* datagrams may be pending on its socket */
	while (flow) {
		struct flow *next = flow->lru_next ? &u->flows.flows[flow->lru_next - 1] : NULL;

		if (flow->key.peer_port && udp_flow_of(flow)->fwd == f->index)
			flow_free(&u->flows, flow);
		flow = next;
	}
}

static void take_out(struct user *u, struct forward *f)
{
	if (f->rule.kind == FWD_UDP) {
		forget_peers(u, f);
		u->fwd->n_udp--;
	}
	u->fwd->n_paused -= f->paused;
	u->fwd->list[f->index] = NULL;
	forward_free(f);
}

int hostfwd_remove(struct user *u, const char *rule)
{
	struct fwd_rule r;

	if (!fwd_rule_parse_host(&r, rule))
		return -EINVAL;
	for (uint32_t i = 0; u->fwd && i < u->fwd->n; i++) {
		struct forward *f = u->fwd->list[i];

		if (f && fwd_rule_same_host(&f->rule, &r)) {
			take_out(u, f);
			return 0;
		}
	}
	return -ENOENT;
}

uint32_t hostfwd_next(struct user *u, uint32_t i, const struct fwd_rule **rule, int *fd)
{
	while (u->fwd && i < u->fwd->n) {
		const struct forward *f = u->fwd->list[i++];

		if (!f)
			continue;
		*rule = &f->rule;
		*fd = f->fd;
		return i;
	}
	return 0;
}

void hostfwd_fini(struct user *u)
{
	if (!u->fwd)
		return;
	for (uint32_t i = 0; i < u->fwd->n; i++)
		if (u->fwd->list[i])
			forward_free(u->fwd->list[i]);
	free(u->fwd->list);
	free(u->fwd);
	u->fwd = NULL;
}
