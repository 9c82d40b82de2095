/* SPDX-License-Identifier: BSD-3-Clause */
/* Neighbour discovery (RFC 4861) of the user-mode network: answers for the aliases, asks for
 * guests. */
#include <string.h>

#include "backends/user/user.h"
#include "base/csum.h"

#define NS 135
#define NA 136
#define NDP_LEN 24   /* up to the options */
#define OPT_LLADDR 8 /* length of a link-layer address option */
#define OPT_SOURCE 1
#define OPT_TARGET 2
#define NA_ROUTER 0x80
#define NA_SOLICITED 0x40
#define NA_OVERRIDE 0x20

int ndp_init(struct user *u, struct twx_error *e)
{
	return 0;
}

void ndp_fini(struct user *u)
{
}

/* A solicitation or an advertisement; @mac: to whom, null: by the destination. */
static void put(struct user *u, uint8_t type, uint8_t flags, const struct in6_addr *src,
		const struct in6_addr *dst, const struct in6_addr *target, const uint8_t lladdr[6],
		const uint8_t *mac)
{
	uint32_t len = NDP_LEN + OPT_LLADDR;
	uint8_t *frame = user_out_alloc(u, USER_HDR_MAX + len);
	uint8_t *msg = user_ip6_header(u, frame, src, dst, IPPROTO_ICMPV6, len);
	be16 sum;

	frame[USER_ETH_LEN + 7] = 255;
	if (mac)
		memcpy(frame, mac, 6);
	memset(msg, 0, NDP_LEN);
	msg[0] = type;
	msg[4] = flags;
	memcpy(msg + 8, target, 16);
	msg[24] = type == NS ? OPT_SOURCE : OPT_TARGET;
	msg[25] = 1;
	memcpy(msg + 26, lladdr, 6);
	sum = csum_fold(csum_partial(msg, len, user_pseudo(src, dst, IPPROTO_ICMPV6, len)));
	memcpy(msg + 2, &sum, 2);
	user_out(u, USER_HDR_MAX + len, NULL);
}

static void solicit(struct user *u, const struct in6_addr *target, const uint8_t *mac)
{
	struct in6_addr dst = { .s6_addr = { 0xff, 2, [11] = 1, [12] = 0xff } };
	struct in6_addr src = user_gateway(u, target);

	memcpy(&dst.s6_addr[13], &target->s6_addr[13], 3);
	if (mac)
		dst = *target;
	put(u, NS, 0, &src, &dst, target, u->mac6, mac);
}

void ndp_solicit(struct user *u, const struct in6_addr *target)
{
	if (user_neigh_may_ask(u, target))
		solicit(u, target, NULL);
}

void ndp_introduce(struct user *u, const struct in6_addr *target, const uint8_t mac[6])
{
	solicit(u, target, mac);
}

void ndp_input(struct user *u, const struct user_pkt *p)
{
	static const struct in6_addr nodes = { .s6_addr = { 0xff, 2, [15] = 1 } };
	bool nobody = IN6_IS_ADDR_UNSPECIFIED(&p->src);
	struct in6_addr target;
	uint8_t mac[6] = { 0x52, 0x56 };

	/* RFC 4861, 7.1.1. What others advertise was learned from the frame already. */
	if (p->ttl != 255 || p->l4[1] || p->l4_here < NDP_LEN) {
		twx_port_drop(u->port, TWX_DROP_BAD_PACKET, p->frame->len);
		return;
	}
	if (p->l4[0] != NS)
		return;
	memcpy(&target, p->l4 + 8, sizeof(target));
	if (!user_owns(u, &target))
		return;
	memcpy(mac + 2, &target.s6_addr[12], 4);
	put(u, NA, (uint8_t)(NA_ROUTER | NA_OVERRIDE | (nobody ? 0 : NA_SOLICITED)), &target,
	    nobody ? &nodes : &p->src, &target, mac, nobody ? NULL : p->eth + 6);
}
