/* SPDX-License-Identifier: BSD-3-Clause */
/* The user-mode network while it runs: forwards added, removed and listed, QEMU's `info usernet`.
 */
#include <twinax/usernet.h>

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/un.h>

#include "backends/user/fwd_rule.h"
#include "backends/user/lanes.h"
#include "backends/user/rules.h"
#include "backends/user/tcp.h"
#include "backends/user/udp.h"
#include "base/macros.h"
#include "net/hub.h"
#include "net/net_priv.h"

/* Null: that is no user network. */
static struct user *user_of(struct twx_backend *b)
{
	return b->type == &user_backend ? b->priv : NULL;
}

struct twx_backend *twx_usernet_find(struct twx_net *net, const char *id, struct twx_error *e)
{
	struct twx_backend *b, *first = NULL;

	if (id) {
		b = twx_backend_find(net, id);
		if (b && user_of(b))
			return b;
		if (b)
			twx_error_set(e, EINVAL, "invalid device specified");
		else
			twx_error_set(e, ENODEV, "unrecognized netdev id '%s'", id);
		return NULL;
	}
	for (b = net->backends; b; b = b->next)
		if (user_of(b))
			first = b; /* the list is newest first */
	if (!first)
		twx_error_set(e, ENODEV, "user mode network stack not in use");
	return first;
}

/* --- forwards --- */

static int no_user_network(struct twx_error *e)
{
	return twx_error_set(e, EINVAL, "invalid device specified");
}

int twx_usernet_hostfwd_add(struct twx_backend *b, const char *rule, struct twx_error *e)
{
	struct user *u = user_of(b);

	return u ? hostfwd_add(u, rule, e) : no_user_network(e);
}

int twx_usernet_hostfwd_remove(struct twx_backend *b, const char *rule, struct twx_error *e)
{
	struct user *u = user_of(b);
	int err = u ? hostfwd_remove(u, rule) : no_user_network(e);

	if (u && err == -ENOENT)
		return twx_error_set(e, ENOENT, "host forwarding rule for %s not found", rule);
	if (u && err)
		return twx_error_set(e, -err, "invalid format");
	return err;
}

/* The address as text, in the machine's words; its port. */
static uint16_t say_address(const struct sockaddr_storage *a, char *buf, size_t size)
{
	const union user_addr *ua = (const void *)a;

	if (a->ss_family == AF_UNIX) {
		snprintf(buf, size, "%s", ((const struct sockaddr_un *)a)->sun_path);
		return 0;
	}
	/* With the scope, if it has one. */
	if (getnameinfo(&ua->sa, a->ss_family == AF_INET6 ? sizeof(ua->in6) : sizeof(ua->in), buf,
			(socklen_t)size, NULL, 0, NI_NUMERICHOST))
		*buf = 0;
	return ntohs(ua->in.sin_port); /* at the same place in both */
}

static void say_guest(const struct in6_addr *a, char *buf, size_t size)
{
	struct in_addr a4 = user_v4(a);

	if (IN6_IS_ADDR_V4MAPPED(a))
		inet_ntop(AF_INET, &a4, buf, (socklen_t)size);
	else
		inet_ntop(AF_INET6, a, buf, (socklen_t)size);
}

static const char *const kinds[] = { [FWD_TCP] = "tcp", [FWD_UDP] = "udp", [FWD_UNIX] = "unix" };

uint32_t twx_usernet_hostfwd_next(struct twx_backend *b, uint32_t i, struct twx_usernet_fwd *out)
{
	struct twx_usernet_fwd f = { .size = out->size };
	const struct fwd_rule *r;
	struct user *u = user_of(b);
	int fd;

	i = u ? hostfwd_next(u, i, &r, &fd) : 0;
	if (!i)
		return 0;
	snprintf(f.proto, sizeof(f.proto), "%s", kinds[r->kind]);
	f.host_port = say_address(&r->host, f.host, sizeof(f.host));
	say_guest(&r->guest, f.guest, sizeof(f.guest));
	f.guest_port = r->guest_port;
	memcpy(out, &f, min(out->size, sizeof(f)));
	return i;
}

/* --- egress rules --- */

bool twx_usernet_rule_at(struct twx_backend *b, uint32_t i, struct twx_usernet_rule *out)
{
	struct twx_usernet_rule r = { .size = out->size };
	struct user *u = user_of(b);

	if (!u || !rules_at(u->rules, i, &r.allow, &r.text, &r.hits))
		return false;
	memcpy(out, &r, min(out->size, sizeof(r)));
	return true;
}

/* --- info usernet --- */

static bool is_any(const struct sockaddr_storage *a)
{
	if (a->ss_family == AF_INET6)
		return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)a)->sin6_addr);
	return a->ss_family == AF_INET && !((const struct sockaddr_in *)a)->sin_addr.s_addr;
}

struct row {
	const char *what, *state;
	int fd;
	const char *src, *dst;
	uint16_t sport, dport;
	bool queues; /* the socket has some to ask for */
};

static void print_row(FILE *out, const struct row *r)
{
	char what[64];
	int in = 0, wait = 0;

	snprintf(what, sizeof(what), "  %s[%s]", r->what, r->state);
	if (r->queues && (ioctl(r->fd, SIOCINQ, &in) || ioctl(r->fd, SIOCOUTQ, &wait)))
		in = wait = 0;
	fprintf(out, "%-19s %3d %15s %5d %15s %5d %5d %5d\n", what, r->fd, r->src, r->sport, r->dst,
		r->dport, in, wait);
}

static void print_forwards(struct user *u, FILE *out)
{
	static const char *const names[] = {
		[FWD_TCP] = "TCP", [FWD_UDP] = "UDP", [FWD_UNIX] = "UNIX"
	};
	const struct fwd_rule *rule;
	uint32_t i = 0;
	int fd;

	while ((i = hostfwd_next(u, i, &rule, &fd)) != 0) {
		char host[112], guest[48];
		struct row r = { .state = "HOST_FORWARD", .what = names[rule->kind], .fd = fd };

		r.sport = say_address(&rule->host, host, sizeof(host));
		say_guest(&rule->guest, guest, sizeof(guest));
		r.src = is_any(&rule->host) ? "*" : host;
		r.dst = guest;
		r.dport = rule->guest_port;
		print_row(out, &r);
	}
}

static const char *tcp_state(const struct tcp_flow *tf)
{
	switch (tf->state) {
	case TS_CONNECTING:
	case TS_SYN_SENT:
		return "SYN_SENT";
	case TS_SYN_RCVD:
		return "SYN_RCVD";
	case TS_TIME_WAIT:
		return "TIME_WAIT";
	}
	if ((tf->flags & (TF_GUEST_FIN | TF_EOF)) == (TF_GUEST_FIN | TF_EOF))
		return "LAST_ACK";
	if (tf->flags & TF_EOF)
		return "FIN_WAIT_1";
	return tf->flags & TF_GUEST_FIN ? "CLOSE_WAIT" : "ESTABLISHED";
}

static void print_flow(struct user *u, struct flow *f, FILE *out)
{
	static const char *const names[] = {
		[FLOW_TCP] = "TCP", [FLOW_UDP] = "UDP", [FLOW_ICMP] = "ICMP"
	};
	uint64_t idle = (twx_loop_now(u->loop) - f->last_used) / 1000000000;
	char guest[48], peer[48] = "*", state[32];
	struct row r = { .what = names[f->key.kind],
			 .state = state,
			 .fd = f->fd,
			 .src = guest,
			 .sport = f->key.guest_port,
			 .dst = peer,
			 .dport = f->key.peer_port,
			 .queues = f->key.kind == FLOW_TCP && f->fd >= 0 };

	say_guest(&f->key.guest, guest, sizeof(guest));
	if (f->key.peer_port)
		say_guest(&f->key.peer, peer, sizeof(peer));
	if (f->key.kind == FLOW_TCP)
		r.state = tcp_state(tcp_of(f));
	else
		snprintf(state, sizeof(state), "%d sec",
			 (int)(USER_IDLE_S - min(idle, (uint64_t)USER_IDLE_S)));
	print_row(out, &r);
}

static void print_flows(struct user *u, enum flow_kind kind, FILE *out)
{
	struct flow *f = flow_oldest(&u->flows, kind);

	while (f) {
		print_flow(u, f, out);
		f = f->lru_next ? &u->flows.flows[f->lru_next - 1] : NULL;
	}
}

static void print_network(struct twx_backend *b, FILE *out)
{
	struct twx_port *peer = b->n_ports ? b->ports[0]->peer : NULL;
	struct hub_member *m = peer ? port_core(peer)->member : NULL;
	struct user *u = user_of(b);

	fprintf(out, "Hub %d (%s):\n", m ? m->hub->id : -1, b->id);
	fputs("  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\n",
	      out);
	print_forwards(u, out);
	for (uint32_t i = 0; u; u = u->lanes ? lanes_at(u, ++i) : NULL) {
		print_flows(u, FLOW_TCP, out);
		print_flows(u, FLOW_UDP, out);
		print_flows(u, FLOW_ICMP, out);
	}
}

/* Oldest first, as QEMU has it. */
static void print_from(struct twx_backend *b, FILE *out)
{
	uint32_t n = 0;

	for (struct twx_backend *i = b; i; i = i->next)
		n++;
	while (n--) {
		struct twx_backend *at = b;

		for (uint32_t i = 0; i < n; i++)
			at = at->next;
		if (user_of(at))
			print_network(at, out);
	}
}

char *twx_usernet_info(struct twx_net *net)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	print_from(net->backends, out);
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	return text;
}
