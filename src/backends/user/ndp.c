/* SPDX-License-Identifier: BSD-3-Clause */
/* Neighbour discovery of the user-mode network (RFC 4861, 4862, 8106). */

/*
 * We are the only router on the link. Solicitations for an address of ours (host and DNS alias,
 * their link-local twins, those of guestfwd=) are answered, a guest's duplicate address detection
 * among them; all other addresses are the guest's to take. Each alias has a MAC of its own, 52:56
 * and the end of the address, as QEMU's; all other frames come from the host alias's.
 *
 * A solicitation for a router is answered at once and to its sender; one from the unspecified
 * address makes the next periodic advertisement come early, three seconds after the last at most.
 * Advertisements to all: three in intervals of 16 s, then every five minutes. There is no other
 * router whose rhythm could fall into step with ours, so the interval is not random (6.2.4 asks for
 * that). They say: default router (not with restrict=on), the prefix as on-link, and for addresses
 * of the guest's own making if it has 64 bits, else by DHCPv6 (M); that DHCPv6 has more to tell (O)
 * if it has, a boot file; the MTU; our MAC; the DNS alias and the search list.
 *
 * No advertisement with a lifetime of 0 is sent at the end: a backend ends beneath a guest that
 * runs on when its program is replaced or restarted, and the successor has the same address.
 *
 * Messages are copied once and checked as 6.1 and 7.1 demand: hop limit 255, code 0, lengths, no
 * option of length 0, which addresses go together. Redirects and advertisements of other routers
 * are ignored.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/user/user.h"
#include "base/csum.h"
#include "base/macros.h"

enum { RS = 133, RA, NS, NA };
enum {
	OPT_SOURCE = 1,
	OPT_TARGET = 2,
	OPT_PREFIX = 3,
	OPT_MTU = 5,
	OPT_RDNSS = 25,
	OPT_DNSSL = 31
};

#define NA_ROUTER 0x80
#define NA_SOLICITED 0x40
#define NA_OVERRIDE 0x20
#define RA_MANAGED 0x80
#define RA_OTHER 0x40
#define PREFIX_ON_LINK 0x80
#define PREFIX_AUTONOMOUS 0x40

#define MSG_MAX 1500
#define NS_LEN 24 /* and NA, without options */
#define RA_LEN 16
#define RA_MAX (RA_LEN + 8 + 8 + 32 + 24 + 8 + USER_SEARCH_MAX + 8)
#define HOP_LIMIT 64
#define ROUTER_S 1800
#define PREFIX_VALID_S 86400
#define PREFIX_PREFERRED_S 14400
#define SECOND_NS 1000000000ull
#define FIRST_NS (16 * SECOND_NS)
#define N_FIRST 3
#define PERIOD_NS (300 * SECOND_NS)
#define SPACING_NS (3 * SECOND_NS)

struct user_ndp {
	struct user *u;
	struct twx_timer timer; /* of the next advertisement to all */
	uint64_t last;		/* when the last one went out; 0: never */
	int n_sent;		/* up to N_FIRST */
};

static const struct in6_addr all_nodes = { .s6_addr = { 0xff, 2, [15] = 1 } };
static const struct in6_addr link_local = { .s6_addr = { 0xfe, 0x80 } };

/* --- messages to the guest --- */

/* @icmp with a checksum of 0. @dst_mac: null to look it up. */
static void send_msg(struct user *u, const struct in6_addr *src, const struct in6_addr *dst,
		     const uint8_t *dst_mac, const uint8_t *src_mac, const uint8_t *icmp,
		     uint32_t len)
{
	uint8_t *frame = user_out_alloc(u, USER_HDR_MAX + len);
	uint8_t *body = user_ip6_header(u, frame, src, dst, IPPROTO_ICMPV6, len);
	be16 sum;

	if (dst_mac)
		memcpy(frame, dst_mac, 6);
	memcpy(frame + 6, src_mac, 6);
	frame[USER_ETH_LEN + 7] = 255;
	memcpy(body, icmp, len);
	sum = csum_fold(csum_partial(body, len, user_pseudo(src, dst, IPPROTO_ICMPV6, len)));
	memcpy(body + 2, &sum, 2);
	user_out(u, USER_HDR_MAX + len, NULL);
}

static void put_mac(uint8_t *at, uint8_t type, const uint8_t mac[6])
{
	at[0] = type;
	at[1] = 1;
	memcpy(at + 2, mac, 6);
}

/* Asks whoever has @target, at @mac if that is known. */
static void ask(struct user *u, const struct in6_addr *target, const uint8_t *mac)
{
	struct in6_addr src = user_gateway(u, target), dst = *target;
	uint8_t msg[NS_LEN + 8] = { NS };

	if (!mac) { /* solicited-node address, RFC 4291, 2.7.1 */
		dst = (struct in6_addr){ .s6_addr = { 0xff, 2, [11] = 1, [12] = 0xff } };
		memcpy(dst.s6_addr + 13, target->s6_addr + 13, 3);
	}
	memcpy(msg + 8, target, 16);
	put_mac(msg + NS_LEN, OPT_SOURCE, u->mac6);
	send_msg(u, &src, &dst, mac, u->mac6, msg, sizeof(msg));
}

void ndp_solicit(struct user *u, const struct in6_addr *target)
{
	if (user_neigh_may_ask(u, target))
		ask(u, target, NULL);
}

void ndp_introduce(struct user *u, const struct in6_addr *target, const uint8_t mac[6])
{
	ask(u, target, mac);
}

static void advertise(struct user *u, const struct in6_addr *target, const struct in6_addr *to)
{
	bool unknown = IN6_IS_ADDR_UNSPECIFIED(to);
	uint8_t msg[NS_LEN + 8] = { NA }, mac[6] = { 0x52, 0x56 };

	msg[4] = NA_ROUTER | NA_OVERRIDE | (unknown ? 0 : NA_SOLICITED);
	memcpy(msg + 8, target, 16);
	memcpy(mac + 2, target->s6_addr + 12, 4);
	put_mac(msg + NS_LEN, OPT_TARGET, mac);
	send_msg(u, target, unknown ? &all_nodes : to, NULL, mac, msg, sizeof(msg));
}

/* RFC 8106; @at is zero, returns what lies behind. */
static uint8_t *put_dns(const struct user *u, uint8_t *at)
{
	uint32_t len = (8 + u->search_len + 7) & ~7u;

	at[0] = OPT_RDNSS;
	at[1] = 3;
	user_put32(at + 4, ROUTER_S);
	memcpy(at + 8, &u->cfg.dns6, 16);
	at += 24;
	if (!u->search_len)
		return at;
	at[0] = OPT_DNSSL;
	at[1] = (uint8_t)(len / 8);
	user_put32(at + 4, ROUTER_S);
	memcpy(at + 8, u->search, u->search_len);
	return at + len;
}

static void advertise_router(struct user *u, const struct in6_addr *to)
{
	struct in6_addr src = user_gateway(u, &link_local);
	bool own_making = u->cfg.prefix6_len == 64; /* RFC 4862, 5.5.3 d */
	uint8_t msg[RA_MAX] = { RA }, *at = msg + RA_LEN;

	msg[4] = HOP_LIMIT;
	if (!u->cfg.no_dhcp)
		msg[5] = !own_making ? RA_MANAGED : u->cfg.bootfile ? RA_OTHER : 0;
	user_put16(msg + 6, u->cfg.restricted ? 0 : ROUTER_S);
	put_mac(at, OPT_SOURCE, u->mac6);
	at += 8;
	at[0] = OPT_MTU;
	at[1] = 1;
	user_put32(at + 4, u->cfg.mtu);
	at += 8;
	at[0] = OPT_PREFIX;
	at[1] = 4;
	at[2] = u->cfg.prefix6_len;
	at[3] = PREFIX_ON_LINK | (own_making ? PREFIX_AUTONOMOUS : 0);
	user_put32(at + 4, PREFIX_VALID_S);
	user_put32(at + 8, PREFIX_PREFERRED_S);
	memcpy(at + 16, &u->cfg.prefix6, 16);
	at += 32;
	if (!u->cfg.restricted && !u->cfg.no_dns)
		at = put_dns(u, at);
	send_msg(u, &src, to, NULL, u->mac6, msg, (uint32_t)(at - msg));
}

static void periodic(struct twx_timer *t)
{
	struct user_ndp *n = container_of(t, struct user_ndp, timer);

	advertise_router(n->u, &all_nodes);
	n->last = twx_loop_now(n->u->loop);
	if (n->n_sent < N_FIRST)
		n->n_sent++;
	twx_timer_set(t, n->last + (n->n_sent < N_FIRST ? FIRST_NS : PERIOD_NS));
}

int ndp_init(struct user *u, struct twx_error *e)
{
	struct user_ndp *n;

	if (!u->cfg.ipv6)
		return 0;
	n = calloc(1, sizeof(*n));
	if (!n)
		return twx_error_set(e, ENOMEM, "netdev %s: out of memory", u->backend->id);
	n->u = u;
	u->ndp = n;
	twx_timer_init(&n->timer, u->loop, periodic);
	twx_timer_set(&n->timer, twx_loop_now(u->loop) + FIRST_NS);
	return 0;
}

void ndp_fini(struct user *u)
{
	if (!u->ndp)
		return;
	twx_timer_cancel(&u->ndp->timer);
	free(u->ndp);
	u->ndp = NULL;
}

/* --- messages from the guest --- */

/* The link-layer address in the option @type of @len bytes of options, null without one. False if
 * they are not well-formed. */
static bool read_options(const uint8_t *at, uint32_t len, uint8_t type, const uint8_t **mac)
{
	*mac = NULL;
	while (len) {
		uint32_t size = len >= 8 ? at[1] * 8u : 0;

		if (!size || size > len)
			return false;
		if (at[0] == type && size == 8)
			*mac = at + 2;
		at += size;
		len -= size;
	}
	return true;
}

static bool router_solicited(struct user *u, const struct user_pkt *p, const uint8_t *msg,
			     uint32_t len)
{
	struct user_ndp *n = u->ndp;
	const uint8_t *mac;
	uint64_t due;

	if (!read_options(msg + 8, len - 8, OPT_SOURCE, &mac))
		return false;
	if (!IN6_IS_ADDR_UNSPECIFIED(&p->src)) {
		if (mac)
			user_neigh_learn(u, &p->src, mac);
		advertise_router(u, &p->src);
		return true;
	}
	if (mac)
		return false;
	due = n->last ? n->last + SPACING_NS : 0;
	if (due < n->timer.when)
		twx_timer_set(&n->timer, max(due, twx_loop_now(u->loop)));
	return true;
}

static bool is_solicited_node(const struct in6_addr *a)
{
	static const uint8_t prefix[13] = { 0xff, 2, [11] = 1, [12] = 0xff };

	return !memcmp(a, prefix, sizeof(prefix));
}

static bool solicited(struct user *u, const struct user_pkt *p, const uint8_t *msg, uint32_t len)
{
	struct in6_addr target;
	const uint8_t *mac;

	if (len < NS_LEN || !read_options(msg + NS_LEN, len - NS_LEN, OPT_SOURCE, &mac))
		return false;
	memcpy(&target, msg + 8, 16);
	if (IN6_IS_ADDR_MULTICAST(&target))
		return false;
	if (IN6_IS_ADDR_UNSPECIFIED(&p->src) && (mac || !is_solicited_node(&p->dst)))
		return false;
	if (!user_owns(u, &target))
		return true;
	if (mac)
		user_neigh_learn(u, &p->src, mac);
	advertise(u, &target, &p->src);
	return true;
}

static bool advertised(struct user *u, const struct user_pkt *p, const uint8_t *msg, uint32_t len)
{
	struct in6_addr target;
	const uint8_t *mac, *known;

	if (len < NS_LEN || !read_options(msg + NS_LEN, len - NS_LEN, OPT_TARGET, &mac))
		return false;
	memcpy(&target, msg + 8, 16);
	if (IN6_IS_ADDR_MULTICAST(&target) ||
	    (IN6_IS_ADDR_MULTICAST(&p->dst) && (msg[4] & NA_SOLICITED)))
		return false;
	known = user_neigh_find(u, &target);
	if (mac && (!known || (msg[4] & NA_OVERRIDE)))
		user_neigh_learn(u, &target, mac);
	return true;
}

void ndp_input(struct user *u, const struct user_pkt *p)
{
	uint8_t msg[MSG_MAX];
	bool ok = false;

	if (p->ttl == 255 && p->l4_len >= 8 && p->l4_len <= sizeof(msg) && !p->frame->meta.gso &&
	    user_pkt_copy(p, 0, msg, p->l4_len) && !msg[1]) {
		switch (msg[0]) {
		case RS:
			ok = router_solicited(u, p, msg, p->l4_len);
			break;
		case NS:
			ok = solicited(u, p, msg, p->l4_len);
			break;
		case NA:
			ok = advertised(u, p, msg, p->l4_len);
			break;
		}
	}
	if (!ok)
		twx_port_drop(u->port, TWX_DROP_BAD_PACKET, p->frame->len);
}
