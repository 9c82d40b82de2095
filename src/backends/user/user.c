/* SPDX-License-Identifier: BSD-3-Clause */
/* The user-mode network backend: its port, the batch of frames towards the guest, neighbours,
 * addresses. */

/*
 * Theory of operation
 *
 * The guest sees an Ethernet with two hosts on it: the gateway ("host alias", 10.0.2.2, fec0::2 and
 * fe80::2), which is this program's own host, and a name server ("DNS alias", 10.0.2.3, fec0::3 and
 * fe80::3). Everything beyond is reached through sockets of this process, so no privilege is
 * needed.
 *
 * A frame from the guest: user_receive() takes the whole burst; ARP goes to arp.c, IPv4 to ip.c and
 * IPv6 to ip6.c, which validate the packet once. From there on a packet is a struct user_pkt and
 * its addresses are in6_addr, IPv4's mapped, so that icmp.c, udp.c and tcp.c have one way for both
 * families; user_ip_header() and user_ip_send() choose between them again on the way to the guest.
 * ICMPv6 that is about the link goes to ndp.c. What a burst can share (sendmmsg, frames in reply)
 * is done in the *_burst_end() calls, before the frames' memory is gone.
 *
 * A frame to the guest: small ones (replies, control segments) are built in an arena by
 * user_out_alloc() and gathered by user_out() until user_flush() posts them as one burst: at the
 * end of the guest's burst, or at the end of the loop's round. Bulk data does not pass here: tcp.c
 * and udp.c send from their own buffers by user_send() or a lease of guest buffers, and retain what
 * the guest does not take in the host's socket until user_resume(). A frame for a guest address
 * whose MAC is unknown is parked (16 frames) while ARP or a neighbour solicitation asks.
 *
 * Where a flow may go: user_map_out() knows the aliases, rules.c the user's egress rules,
 * outbound.c the way out of the host. Port 53 of the DNS alias is the forwarder, dns.c.
 *
 * Back-pressure: the port never refuses the guest, except while it is itself sending (a hub can
 * send the answer to our own frame right back): then ready_task takes up again. Each protocol
 * bounds its own state.
 *
 * Frames that are not for our MAC, broadcast or multicast are dropped: on a hub, guests talk to
 * each other.
 *
 * Differences from QEMU (libslirp): TTL is checked and decremented; sources outside the virtual
 * network, loopback and multicast destinations are dropped; broadcast does not reach the host's
 * loopback; protocols are never rewritten (no emulation of FTP, IRC, ident). IPv6: extension
 * headers and fragments are understood, echo leaves the host, errors of the host's sockets reach
 * the guest.
 *
 * RFC 791, 792, 826, 894, 1122, 1812; 2464, 4291, 4443, 4861, 8200.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "backends/user/rules.h"
#include "backends/user/lanes.h"
#include "base/csum.h"
#include "base/macros.h"
#include "net/workers.h"

#define PARK_NS 3000000000ull /* a parked frame is worth nothing later */
/* RFC 1122, 2.3.2.1; RFC 4861, RetransTimer: one question a second for one address at most. */
#define ASK_AGAIN_NS 1000000000ull
#define AGE_NS 5000000000ull /* how often idle flows are looked for */
#define ETH_MIN 60
/* Destination addresses in a frame. */
#define FRAME_DST4_OFF (USER_ETH_LEN + 16)
#define FRAME_DST6_OFF (USER_ETH_LEN + 24)

static const uint8_t no_mac[6];

/* --- frames to the guest --- */

uint8_t *user_out_alloc(struct user *u, uint32_t len)
{
	uint32_t room = len < ETH_MIN ? ETH_MIN : len;
	uint8_t *frame;

	if (u->n_out == TWX_BURST || u->arena_used + room > USER_OUT_ARENA)
		user_flush(u);
	frame = u->arena + u->arena_used;
	if (len < ETH_MIN)
		memset(frame, 0, ETH_MIN);
	return frame;
}

static struct in6_addr frame_dst(const uint8_t *frame)
{
	struct in_addr a4;
	struct in6_addr a;

	if (user_get16(frame + 12) == ETH_IP6) {
		memcpy(&a, frame + FRAME_DST6_OFF, sizeof(a));
		return a;
	}
	memcpy(&a4, frame + FRAME_DST4_OFF, sizeof(a4));
	return user_mapped(a4);
}

/* Keeps a copy of a frame whose receiver's MAC is not known yet, and asks for it. */
static void park(struct user *u, const uint8_t *frame, uint32_t len, const struct twx_meta *meta)
{
	uint64_t now = twx_loop_now(u->loop);
	struct user_parked *p = NULL;

	for (int i = 0; i < USER_PARKED; i++) {
		struct user_parked *s = &u->parked[i];

		if (!s->data || now - s->since > PARK_NS) {
			p = s;
			break;
		}
	}
	if (!p) {
		twx_port_drop(u->port, TWX_DROP_LIMIT, len);
		return;
	}
	free(p->data);
	p->data = malloc(len);
	if (!p->data) {
		twx_port_drop(u->port, TWX_DROP_LIMIT, len);
		return;
	}
	memcpy(p->data, frame, len);
	p->ip = frame_dst(frame);
	p->len = len;
	p->since = now;
	p->meta = *meta;
	if (unlikely(u->lanes && u->lane))
		lanes_ask_neigh(u, &p->ip);
	else if (user_is_v4(&p->ip))
		arp_request(u, user_v4(&p->ip));
	else
		ndp_solicit(u, &p->ip);
}

void user_out(struct user *u, uint32_t len, const struct twx_meta *meta)
{
	static const struct twx_meta plain;
	uint8_t *frame = u->arena + u->arena_used;

	if (!meta)
		meta = &plain;
	if (len < ETH_MIN)
		len = ETH_MIN;
	if (!memcmp(frame, no_mac, 6)) {
		park(u, frame, len, meta);
		return;
	}
	TWX_TRACE(u->port->trace, TWX_HOP_USER_OUT, u->port->name, len, u->n_out);
	u->out_iov[u->n_out] = (struct iovec){ frame, len };
	u->out[u->n_out] = (struct twx_frame){ &u->out_iov[u->n_out], 1, len, *meta };
	u->arena_used += (len + 7) & ~7u;
	u->n_out++;
	twx_loop_defer(u->loop, &u->flush_task);
}

void user_post(struct user *u, const struct twx_frame *frames, int n)
{
	u->sending = true;
	twx_port_post(u->port, frames, n);
	u->sending = false;
}

void user_flush(struct user *u)
{
	int n = u->n_out;

	if (!n)
		return;
	twx_loop_undefer(u->loop, &u->flush_task);
	user_post(u, u->out, n);
	u->n_out = 0;
	u->arena_used = 0;
}

int user_send(struct user *u, const struct twx_frame *frames, int n)
{
	int done;

	user_flush(u);
	u->sending = true;
	done = twx_port_send(u->port, frames, n);
	u->sending = false;
	return done;
}

static uint8_t *put_eth(uint8_t *frame, const uint8_t *to, const uint8_t *from, uint16_t type)
{
	memcpy(frame, to ? to : no_mac, 6);
	memcpy(frame + 6, from, 6);
	user_put16(frame + 12, type);
	return frame + USER_ETH_LEN;
}

static uint8_t *ip4_header(struct user *u, uint8_t *frame, const struct in6_addr *src,
			   const struct in6_addr *dst, uint8_t proto, uint32_t l4_len)
{
	uint8_t *ip = put_eth(frame, user_neigh_find(u, dst), u->mac, ETH_IP4);
	be16 sum;

	ip[0] = 0x45;
	ip[1] = 0;
	user_put16(ip + 2, USER_IP4_LEN + l4_len);
	user_put16(ip + 4, u->ip_id++);
	user_put16(ip + 6, 0x4000);
	ip[8] = 64;
	ip[9] = proto;
	user_put16(ip + 10, 0);
	memcpy(ip + 12, &src->s6_addr32[3], 4);
	memcpy(ip + 16, &dst->s6_addr32[3], 4);
	sum = csum_fold(csum_partial(ip, USER_IP4_LEN, 0));
	memcpy(ip + 10, &sum, 2);
	return ip + USER_IP4_LEN;
}

uint8_t *user_ip4_header(struct user *u, uint8_t *frame, struct in_addr src, struct in_addr dst,
			 uint8_t proto, uint32_t l4_len)
{
	struct in6_addr from = user_mapped(src), to = user_mapped(dst);

	return ip4_header(u, frame, &from, &to, proto, l4_len);
}

uint8_t *user_ip6_header(struct user *u, uint8_t *frame, const struct in6_addr *src,
			 const struct in6_addr *dst, uint8_t proto, uint32_t l4_len)
{
	uint8_t group[6] = { 0x33, 0x33 }; /* RFC 2464, section 7 */
	bool many = IN6_IS_ADDR_MULTICAST(dst);
	uint8_t *ip = put_eth(frame, many ? group : user_neigh_find(u, dst), u->mac6, ETH_IP6);

	if (many)
		memcpy(frame + 2, &dst->s6_addr[12], 4);
	user_put_ip6(ip, src, dst, proto, l4_len);
	return ip + USER_IP6_LEN;
}

uint8_t *user_ip_header(struct user *u, uint8_t *frame, const struct in6_addr *src,
			const struct in6_addr *dst, uint8_t proto, uint32_t l4_len)
{
	if (user_is_v4(dst))
		return ip4_header(u, frame, src, dst, proto, l4_len);
	return user_ip6_header(u, frame, src, dst, proto, l4_len);
}

/* --- neighbours --- */

static struct user_neigh *neigh_get(struct user *u, const struct in6_addr *ip)
{
	if (user_same(&u->neighs[u->neigh_hint].ip, ip))
		return &u->neighs[u->neigh_hint];
	for (uint32_t i = 0; i < USER_NEIGHS; i++) {
		if (user_same(&u->neighs[i].ip, ip)) {
			u->neigh_hint = i;
			return &u->neighs[i];
		}
	}
	return NULL;
}

/* The slot of @ip, made from the least recently used one if there is none. */
static struct user_neigh *neigh_make(struct user *u, const struct in6_addr *ip)
{
	struct user_neigh *n = neigh_get(u, ip);

	if (n)
		return n;
	n = &u->neighs[0];
	for (uint32_t i = 1; i < USER_NEIGHS; i++)
		if (u->neighs[i].last_used < n->last_used)
			n = &u->neighs[i];
	*n = (struct user_neigh){ .ip = *ip };
	return n;
}

const uint8_t *user_neigh_find(struct user *u, const struct in6_addr *ip)
{
	struct user_neigh *n = neigh_get(u, ip);

	if (!n || !memcmp(n->mac, no_mac, 6))
		return NULL;
	n->last_used = twx_loop_now(u->loop);
	return n->mac;
}

/* Sends what waited for the MAC of @n. */
static void unpark(struct user *u, const struct user_neigh *n)
{
	for (int i = 0; i < USER_PARKED; i++) {
		struct user_parked *p = &u->parked[i];

		if (!p->data || !user_same(&p->ip, &n->ip))
			continue;
		if (twx_loop_now(u->loop) - p->since <= PARK_NS) {
			uint8_t *frame = user_out_alloc(u, p->len);

			memcpy(frame, p->data, p->len);
			memcpy(frame, n->mac, 6);
			user_out(u, p->len, &p->meta);
		}
		free(p->data);
		p->data = NULL;
	}
}

bool user_may_be_guest(const struct user *u, const struct in6_addr *ip)
{
	struct in_addr a = user_v4(ip);

	if (!user_on_link(u, ip) || user_owns(u, ip))
		return false;
	if (!user_is_v4(ip))
		return u->cfg.ipv6 && !user_same(ip, &u->cfg.prefix6);
	return u->cfg.ipv4 && a.s_addr && !user_is_broadcast(u, a);
}

void user_neigh_learn(struct user *u, const struct in6_addr *ip, const uint8_t mac[6])
{
	struct user_neigh *n = &u->neighs[u->neigh_hint];
	bool news;

	/* The one that spoke last, as mostly. */
	if (user_same(&n->ip, ip) && !memcmp(n->mac, mac, 6)) {
		n->last_used = twx_loop_now(u->loop);
		return;
	}
	if (!user_may_be_guest(u, ip) || (mac[0] & 1) || !memcmp(mac, no_mac, 6))
		return;
	n = neigh_make(u, ip);
	n->last_used = twx_loop_now(u->loop);
	if (!memcmp(n->mac, mac, 6))
		return;
	news = !memcmp(n->mac, no_mac, 6);
	memcpy(n->mac, mac, 6);
	if (unlikely(u->lanes) && !u->lane)
		lanes_tell_neigh(u, ip, mac);
	if (news)
		unpark(u, n);
}

bool user_neigh_may_ask(struct user *u, const struct in6_addr *ip)
{
	struct user_neigh *n = neigh_make(u, ip);
	uint64_t now = twx_loop_now(u->loop);

	if (n->asked && now - n->asked < ASK_AGAIN_NS)
		return false;
	n->asked = now;
	n->last_used = now;
	return true;
}

/* --- addresses --- */

bool user_in_prefix(const struct user_config *c, const struct in6_addr *a)
{
	const struct in6_addr *p = &c->prefix6;
	uint32_t len = c->prefix6_len, bytes = len / 8;

	return !memcmp(a, p, bytes) &&
	       !((a->s6_addr[bytes] ^ p->s6_addr[bytes]) & (uint8_t)(0xff00 >> len % 8));
}

bool user_owns(const struct user *u, const struct in6_addr *a)
{
	if (user_is_v4(a))
		return user_is_ours(u, user_v4(a));
	for (uint32_t i = 0; i < u->n_own6; i++)
		if (user_same(a, &u->own6[i]))
			return true;
	return false;
}

bool user_on_link(const struct user *u, const struct in6_addr *a)
{
	if (user_is_v4(a))
		return user_in_net(u, user_v4(a));
	return IN6_IS_ADDR_LINKLOCAL(a) || user_in_prefix(&u->cfg, a);
}

/* The first of own6[]: what setup() enters there. */
enum { OWN6_HOST, OWN6_HOST_LL, OWN6_DNS, OWN6_DNS_LL, OWN6_N };

bool user_is_host6(const struct user *u, const struct in6_addr *a)
{
	return user_same(a, &u->own6[OWN6_HOST]) || user_same(a, &u->own6[OWN6_HOST_LL]);
}

static bool is_host(const struct user *u, const struct in6_addr *a)
{
	return user_is_v4(a) ? user_v4(a).s_addr == u->cfg.host.s_addr : user_is_host6(u, a);
}

bool user_is_dns6(const struct user *u, const struct in6_addr *a)
{
	return user_same(a, &u->own6[OWN6_DNS]) || user_same(a, &u->own6[OWN6_DNS_LL]);
}

struct in6_addr user_gateway(const struct user *u, const struct in6_addr *like)
{
	if (user_is_v4(like))
		return user_mapped(u->cfg.host);
	return u->own6[IN6_IS_ADDR_LINKLOCAL(like) ? OWN6_HOST_LL : OWN6_HOST];
}

struct in6_addr user_name_server(const struct user *u, const struct in6_addr *like)
{
	if (user_is_v4(like))
		return user_mapped(u->cfg.dns);
	return u->own6[IN6_IS_ADDR_LINKLOCAL(like) ? OWN6_DNS_LL : OWN6_DNS];
}

static bool is_loopback(struct in_addr a)
{
	return ntohl(a.s_addr) >> 24 == 127;
}

/* May nobody be there whom this host's kernel could reach for the guest? */
static bool is_nobody4(const struct user *u, struct in_addr dst)
{
	uint32_t a = ntohl(dst.s_addr);

	return a >> 24 == 0 || is_loopback(dst) || a >> 28 >= 14 || user_is_broadcast(u, dst) ||
	       user_is_virtual(u, dst);
}

static bool is_nobody6(const struct user *u, const struct in6_addr *a)
{
	return IN6_IS_ADDR_UNSPECIFIED(a) || IN6_IS_ADDR_LOOPBACK(a) || IN6_IS_ADDR_MULTICAST(a) ||
	       user_on_link(u, a);
}

static int map_out4(struct user *u, struct in_addr dst, uint16_t port, struct sockaddr_storage *to,
		    socklen_t *to_len)
{
	struct sockaddr_in *in = (struct sockaddr_in *)to;
	bool host = dst.s_addr == u->cfg.host.s_addr;

	memset(to, 0, sizeof(union user_addr));
	in->sin_family = AF_INET;
	in->sin_port = htons(port);
	in->sin_addr = dst;
	*to_len = sizeof(*in);
	if (host && (u->cfg.host_loopback || !port)) {
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		return port ? 0 : -EADDRNOTAVAIL;
	}
	if (user_is_ours(u, dst) && !(host && u->cfg.lan))
		return -ECONNREFUSED;
	return !port || is_nobody4(u, dst) ? -EADDRNOTAVAIL : 0;
}

static int map_out6(struct user *u, const struct in6_addr *dst, uint16_t port,
		    struct sockaddr_storage *to, socklen_t *to_len)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;

	memset(to, 0, sizeof(union user_addr));
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	in6->sin6_addr = *dst;
	*to_len = sizeof(*in6);
	if (user_is_host6(u, dst) && (u->cfg.host_loopback || !port)) {
		in6->sin6_addr = in6addr_loopback;
		return port ? 0 : -EADDRNOTAVAIL;
	}
	if (user_owns(u, dst))
		return -ECONNREFUSED;
	return !port || is_nobody6(u, dst) ? -EADDRNOTAVAIL : 0;
}

int user_map_out(struct user *u, const struct in6_addr *dst, uint16_t port, uint8_t proto,
		 struct sockaddr_storage *to, socklen_t *to_len)
{
	if (u->cfg.restricted)
		return -EACCES;
	return user_is_v4(dst) ? map_out4(u, user_v4(dst), port, to, to_len)
			       : map_out6(u, dst, port, to, to_len);
}

/* Not IPv4 to IPv4. */
static struct in6_addr map_in_else(struct user *u, const union user_addr *from,
				   const struct in6_addr *guest)
{
	const struct in6_addr *a = &from->in6.sin6_addr;

	if (from->sa.sa_family != AF_INET6 || user_is_v4(guest) || user_is_v4(a) ||
	    is_nobody6(u, a))
		return user_gateway(u, guest);
	return *a;
}

int user_may_go(struct user *u, const struct in6_addr *dst, uint16_t port, uint8_t proto)
{
	struct rules_to to = { .addr = *dst, .port = port, .proto = proto };

	if (!u->rules)
		return 0;
	to.place = is_host(u, dst) ? RULES_HOST : user_is_dns(u, dst) ? RULES_DNS : RULES_ELSEWHERE;
	return rules_allow(u->rules, &to, twx_loop_now(u->loop)) ? 0 : -EPERM;
}

struct in6_addr user_map_in(struct user *u, const struct sockaddr *from,
			    const struct in6_addr *guest)
{
	const union user_addr *ua = (const union user_addr *)from;
	struct in_addr a;

	if (unlikely(from->sa_family != AF_INET || !user_is_v4(guest)))
		return map_in_else(u, ua, guest);
	a = ua->in.sin_addr;
	if (!a.s_addr || is_loopback(a) || user_is_virtual(u, a))
		a = u->cfg.host;
	return user_mapped(a);
}

/* --- the port --- */

/* Our MACs are 52:55 followed by an IPv4 address of ours, 52:56 by the end of an IPv6 one. */
static bool is_for_us(const struct user *u, const uint8_t *mac)
{
	struct in_addr a;

	if ((mac[0] & 1) || !memcmp(mac, u->mac, 6))
		return true;
	if (mac[0] != 0x52)
		return false;
	memcpy(&a, mac + 2, 4);
	if (mac[1] == 0x55)
		return user_is_ours(u, a);
	for (uint32_t i = 0; mac[1] == 0x56 && i < u->n_own6; i++)
		if (u->own6[i].s6_addr32[3] == a.s_addr)
			return true;
	return false;
}

void user_input(struct user *u, const struct twx_frame *f)
{
	const uint8_t *eth = f->iov[0].iov_base;

	TWX_TRACE(u->port->trace, TWX_HOP_USER_IN, u->port->name, f->len, f->meta.gso_size);
	if (f->len < USER_ETH_LEN || f->iov[0].iov_len < USER_ETH_LEN) {
		twx_port_drop(u->port, TWX_DROP_TOO_SHORT, f->len);
		return;
	}
	if (!is_for_us(u, eth) || (f->meta.flags & TWX_F_VLAN)) {
		twx_port_drop(u->port, TWX_DROP_NOT_FOR_US, f->len);
		return;
	}
	switch (user_get16(eth + 12)) {
	case ETH_IP4:
		if (u->cfg.ipv4) {
			user_input_ip4(u, f);
			return;
		}
		break;
	case ETH_IP6:
		if (u->cfg.ipv6) {
			user_input_ip6(u, f, false);
			return;
		}
		break;
	case ETH_ARP:
		if (u->cfg.ipv4) {
			if (!unlikely(u->lanes) || !lanes_to_first(u, f))
				arp_input(u, f);
			return;
		}
		break;
	}
	twx_port_drop(u->port, TWX_DROP_NOT_FOR_US, f->len);
}

/* The lane behind a port. */
static struct user *user_of(const struct twx_port *port)
{
	struct user *u = ((struct twx_backend *)port->owner)->priv;

	return likely(!u->lanes) ? u : lanes_at(u, port->queue_index);
}

static int user_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	struct user *u = user_of(port);

	if (u->sending) {
		twx_loop_defer(u->loop, &u->ready_task);
		return 0;
	}
	for (int i = 0; i < n; i++)
		user_input(u, &frames[i]);
	udp_burst_end(u);
	tcp_burst_end(u);
	user_flush(u);
	return n;
}

static void user_resume(struct twx_port *port)
{
	struct user *u = user_of(port);

	if (u->sending) {
		twx_loop_defer(u->loop, &u->ready_task);
		return;
	}
	udp_resume(u);
	tcp_resume(u);
	orphan_resume(u);
	user_flush(u);
}

static void user_info(struct twx_port *port, char *buf, size_t size)
{
	const struct user *u = ((struct twx_backend *)port->owner)->priv;
	char net[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &u->cfg.net, net, sizeof(net));
	snprintf(buf, size, "net=%s,restrict=%s", net, u->cfg.restricted ? "on" : "off");
}

/* What its DHCP servers would tell the first that asks. */
static void user_guest(const struct twx_backend *b, struct twx_guest_config *out)
{
	struct user *u = b->priv;

	if (u->cfg.ipv4) {
		out->addr = u->cfg.dhcp_start;
		out->gateway = u->cfg.host;
		out->dns = u->cfg.dns;
		out->prefix_len = (uint8_t)__builtin_popcount(u->cfg.mask.s_addr);
	}
	if (u->cfg.ipv6 && dhcp6_first(u, &out->addr6)) {
		out->gateway6 = u->cfg.host6;
		out->dns6 = u->cfg.dns6;
		out->prefix6_len = u->cfg.prefix6_len;
	}
	out->mtu = u->cfg.mtu;
}

static void flush_task(struct twx_task *t)
{
	user_flush(container_of(t, struct user, flush_task));
}

static void ready_task(struct twx_task *t)
{
	struct user *u = container_of(t, struct user, ready_task);

	twx_port_ready(u->port);
	user_resume(u->port);
}

static void age(struct twx_timer *t)
{
	struct user *u = container_of(t, struct user, age_timer);
	uint64_t now = twx_loop_now(u->loop);
	bool more;

	udp_age(u, now);
	icmp_age(u, now);
	more = frag_age(u, now);
	if (more || u->flows.count[FLOW_UDP] || u->flows.count[FLOW_ICMP])
		user_age_soon(u);
}

void user_age_soon(struct user *u)
{
	if (!u->age_timer.slot)
		twx_timer_set(&u->age_timer, twx_loop_now(u->loop) + AGE_NS);
}

static void lane_close(struct user *u)
{
	orphan_fini(u);
	/* What is left to say (TCP resets) goes out with the last flush. */
	tcp_fini(u);
	if (u->arena)
		user_flush(u);
	hostfwd_fini(u);
	relay_fini(u);
	guestfwd_fini(u);
	smb_fini(u);
	udp_fini(u);
	icmp_fini(u);
	tftp_fini(u);
	dhcp6_fini(u);
	dhcp_fini(u);
	ndp_fini(u);
	search_fini(u);
	dns_fini(u);
	frag_fini(u);
	twx_loop_undefer(u->loop, &u->flush_task);
	twx_loop_undefer(u->loop, &u->ready_task);
	twx_timer_cancel(&u->age_timer);
	if (u->flows.flows)
		flow_table_fini(&u->flows);
	for (int i = 0; i < USER_PARKED; i++)
		free(u->parked[i].data);
	if (u->arena)
		munmap(u->arena, USER_OUT_ARENA);
	rules_free(u->rules);
	user_config_free(&u->cfg);
}

static void user_close(struct twx_backend *b)
{
	struct user *u = b->priv;

	if (u->lanes)
		lanes_close(u, lane_close);
	lane_close(u);
	if (u->lanes)
		lanes_free(u);
}

static void enter_own6(struct user *u)
{
	/* Of both aliases there is one on the link, too, as libslirp has it: fe80::2, fe80::3. */
	static const struct in6_addr host_ll = { .s6_addr = { 0xfe, 0x80, [15] = 2 } };
	static const struct in6_addr dns_ll = { .s6_addr = { 0xfe, 0x80, [15] = 3 } };

	u->own6[OWN6_HOST] = u->cfg.host6;
	u->own6[OWN6_HOST_LL] = host_ll;
	u->own6[OWN6_DNS] = u->cfg.dns6;
	u->own6[OWN6_DNS_LL] = dns_ll;
	u->n_own6 = OWN6_N;
	u->mac6[0] = 0x52;
	u->mac6[1] = 0x56;
	memcpy(u->mac6 + 2, &u->cfg.host6.s6_addr[12], 4);
}

static int setup(struct user *u, const struct twx_opts *opts, struct twx_error *e)
{
	int ret = user_config_parse(&u->cfg, opts, e);

	if (ret)
		return ret;
	u->mac[0] = 0x52;
	u->mac[1] = 0x55;
	memcpy(u->mac + 2, &u->cfg.host, 4);
	if (u->cfg.ipv6)
		enter_own6(u);
	u->port = twx_backend_add_port(u->backend, e);
	if (!u->port)
		return -ENOMEM;
	twx_port_set_caps(u->port,
			  (struct twx_caps){ .flags = TWX_CAP_CSUM | TWX_CAP_TSO4 | TWX_CAP_TSO6 |
						      TWX_CAP_ECN | TWX_CAP_UFO | TWX_CAP_USO });
	u->arena = mmap(NULL, USER_OUT_ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);
	if (u->arena == MAP_FAILED) {
		u->arena = NULL;
		return twx_error_set(e, ENOMEM, "netdev %s: out of memory", u->backend->id);
	}
	ret = flow_table_init(&u->flows, u, u->cfg.max_flows);
	if (ret)
		return twx_error_set(e, -ret, "netdev %s: no memory for %u flows: %s",
				     u->backend->id, u->cfg.max_flows, strerror(-ret));
	return 0;
}

static void lane_init(struct user *u)
{
	const struct twx_backend *b = u->backend;

	u->loop = b->n_workers ? net_worker_loop(b->net, u->lane) : b->loop;
	u->flush_task.fn = flush_task;
	u->ready_task.fn = ready_task;
	twx_timer_init(&u->age_timer, u->loop, age);
}

/* What there is once, on lane 0. */
static int open_servers(struct user *u, const struct twx_opts *opts, struct twx_error *e)
{
	int ret = search_init(u, opts, e);

	if (!ret)
		ret = dhcp_init(u, e);
	if (!ret)
		ret = ndp_init(u, e);
	if (!ret)
		ret = dhcp6_init(u, e);
	if (!ret)
		ret = tftp_init(u, e);
	return ret;
}

static int lane_open(struct user *u, const struct twx_opts *opts, struct twx_error *e)
{
	int ret;

	lane_init(u);
	ret = setup(u, opts, e);
	if (!ret)
		ret = outbound_check(u, e);
	if (!ret)
		ret = rules_new(&u->rules, opts, e);
	if (!ret)
		ret = frag_init(u);
	if (!ret)
		ret = dns_init(u);
	if (!ret && u->lane == 0)
		ret = open_servers(u, opts, e);
	if (!ret)
		ret = icmp_init(u, e);
	if (!ret)
		ret = udp_init(u, e);
	if (!ret)
		ret = tcp_init(u, e);
	return ret;
}

static int open_lanes(struct user *u, const struct twx_opts *opts, struct twx_error *e)
{
	struct twx_backend *b = u->backend;
	uint32_t n = (uint32_t)twx_opts_int(opts, "workers");
	char what[96];
	int ret;

	if (n <= 1)
		return lane_open(u, opts, e);
	ret = lanes_check(b, opts, e);
	if (ret)
		return ret;
	snprintf(what, sizeof(what), "netdev %s", b->id);
	ret = net_workers_need(b->net, n, what, e);
	if (ret)
		return ret;
	b->n_workers = n;
	ret = lane_open(u, opts, e);
	return ret ? ret : lanes_open(u, n, opts, lane_open, e);
}

static int user_open(struct twx_backend *b, const struct twx_opts *opts, struct twx_error *e)
{
	struct user *u = b->priv;
	int ret;

	u->backend = b;
	ret = open_lanes(u, opts, e);
	for (size_t i = 0; !ret && i < twx_opts_list_len(opts, "hostfwd"); i++)
		ret = hostfwd_add(u, twx_opts_list_at(opts, "hostfwd", i), e);
	for (size_t i = 0; !ret && i < twx_opts_list_len(opts, "guestfwd"); i++)
		ret = guestfwd_add(u, twx_opts_list_at(opts, "guestfwd", i), e);
	if (!ret)
		ret = smb_init(u, opts, e);
	if (ret)
		user_close(b);
	else
		orphan_init(u);
	return ret;
}

static const struct twx_port_ops user_port_ops = {
	.receive = user_receive,
	.resume = user_resume,
	.info = user_info,
};

const struct twx_backend_type user_backend = {
	.name = "user",
	.help = "user-mode network: the host's sockets, no privileges needed",
	.options = user_options,
	.port_ops = &user_port_ops,
	.priv_size = sizeof(struct user),
	.open = user_open,
	.close = user_close,
	.guest = user_guest,
};
