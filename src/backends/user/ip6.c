/* SPDX-License-Identifier: BSD-3-Clause */
/* IPv6 of the user-mode network: a packet from the guest is validated here once (RFC 8200). */
#include <netinet/icmp6.h>
#include <string.h>

#include "backends/user/user.h"
#include "base/macros.h"

#define EXT_MAX 8 /* extension headers of one packet */
#define OPT_PAD1 0
#define OPT_PADN 1

static bool is_extension(uint8_t type)
{
	return type == IPPROTO_HOPOPTS || type == IPPROTO_DSTOPTS || type == IPPROTO_ROUTING ||
	       type == IPPROTO_FRAGMENT;
}

/* Walks what skip_headers() has let pass, or what was never looked at. */
static uint32_t upper(const uint8_t *ip, uint32_t len, uint8_t *proto, uint32_t *type_at)
{
	uint32_t at = USER_IP6_LEN;

	*type_at = 6;
	*proto = ip[6];
	for (int i = 0; i < EXT_MAX && is_extension(*proto) && len - at >= 8; i++) {
		uint32_t size = *proto == IPPROTO_FRAGMENT ? 8 : (ip[at + 1] + 1u) * 8;

		*proto = ip[at];
		*type_at = at;
		if (size > len - at)
			return len;
		at += size;
	}
	return at;
}

uint32_t ip6_upper(const uint8_t *ip, uint32_t len, uint8_t *proto)
{
	uint32_t type_at;

	return upper(ip, len, proto, &type_at);
}

uint32_t ip6_upper_type_at(const uint8_t *ip, uint32_t len)
{
	uint32_t type_at;
	uint8_t proto;

	upper(ip, len, &proto, &type_at);
	return type_at;
}

static void param_problem(struct user *u, const struct user_pkt *p, uint8_t code, uint32_t at)
{
	struct in6_addr from = user_owns(u, &p->dst) ? p->dst : user_gateway(u, &p->src);

	icmp_send_error(u, ICMP6_PARAM_PROB, code, at, &from, p->ip, p->ip_here);
}

/*
 * RFC 8200, 4.2: what an option's two highest bits ask for when it is not known, and none is.
 * False: the packet is to be dropped. Jumbo payloads (RFC 2675) are among the unknown.
 */
static bool options_ok(struct user *u, const struct user_pkt *p, uint32_t at, uint32_t end)
{
	while (at < end) {
		uint8_t type = p->ip[at];

		if (type == OPT_PAD1) {
			at++;
			continue;
		}
		if (end - at < 2 || p->ip[at + 1] > end - at - 2)
			return false;
		if (type != OPT_PADN && type >> 6) {
			if (type >> 6 == 2 || (type >> 6 == 3 && !IN6_IS_ADDR_MULTICAST(&p->dst)))
				param_problem(u, p, ICMP6_PARAMPROB_OPTION, at);
			return false;
		}
		at += 2u + p->ip[at + 1];
	}
	return true;
}

/* One extension header at @at, of @len bytes, all of them at hand. */
static bool header_ok(struct user *u, struct user_pkt *p, uint8_t type, uint32_t at, uint32_t len)
{
	if (type == IPPROTO_HOPOPTS || type == IPPROTO_DSTOPTS)
		return options_ok(u, p, at + 2, at + len);
	/* RFC 8200, 4.4: no type of routing is known (RFC 5095 has ended the first). */
	if (p->ip[at + 3] == 0)
		return true;
	param_problem(u, p, ICMP6_PARAMPROB_HEADER, at + 2);
	return false;
}

/*
 * Walks the extension headers. False: the packet is to be dropped. Stops behind a fragment header
 * that is more than a formality (RFC 6946): what follows is nothing yet.
 */
static bool skip_headers(struct user *u, struct user_pkt *p, uint32_t total)
{
	uint32_t at = USER_IP6_LEN;

	for (int i = 0;; i++) {
		uint8_t type = p->proto;
		uint32_t len = 8;

		if (!is_extension(type))
			break;
		if (i == EXT_MAX || p->ip_here - at < 8 || (type == IPPROTO_HOPOPTS && i))
			return false;
		if (type == IPPROTO_FRAGMENT) {
			if (p->frag)
				return false;
			p->frag = p->ip + at;
		} else {
			len = (p->ip[at + 1] + 1u) * 8;
			if (len > p->ip_here - at || !header_ok(u, p, type, at, len))
				return false;
		}
		p->proto = p->ip[at];
		at += len;
		if (type == IPPROTO_FRAGMENT && user_get16(p->frag + 2) & 0xfff9)
			break;
	}
	p->l4 = p->ip + at;
	p->l4_off = USER_ETH_LEN + at;
	p->l4_len = total - at;
	p->l4_here = p->ip_here - at;
	return true;
}

/* RFC 4291, 2.5 and 2.7. The unspecified address is a source for what asks whether an address is
 * free, and for that only. */
static bool addresses_ok(const struct user *u, const struct user_pkt *p)
{
	const struct in6_addr *src = &p->src, *dst = &p->dst;

	if (IN6_IS_ADDR_V4MAPPED(dst) || IN6_IS_ADDR_UNSPECIFIED(dst) || IN6_IS_ADDR_LOOPBACK(dst))
		return false;
	if (IN6_IS_ADDR_UNSPECIFIED(src))
		return true;
	return !user_is_v4(src) && user_on_link(u, src) && !user_owns(u, src) &&
	       !user_same(src, &u->cfg.prefix6);
}

/* Fills @p from the frame; false if the bytes are no valid IPv6 packet. */
static bool parse(struct user *u, const struct twx_frame *f, bool parts, struct user_pkt *p)
{
	const uint8_t *eth = f->iov[0].iov_base, *ip = eth + USER_ETH_LEN;
	uint32_t here = (uint32_t)f->iov[0].iov_len - USER_ETH_LEN, total;

	if (here < USER_IP6_LEN || ip[0] >> 4 != 6)
		return false;
	total = USER_IP6_LEN + user_get16(ip + 4);
	if (total > f->len - USER_ETH_LEN)
		return false;
	*p = (struct user_pkt){
		.frame = f,
		.eth = eth,
		.ip = ip,
		.ip_here = min(here, total),
		.proto = ip[6],
		.v6 = true,
		.csum_ok = f->meta.flags & (TWX_F_NEEDS_CSUM | TWX_F_CSUM_VALID),
		.df = !parts && f->meta.gso != TWX_GSO_UDP,
		.ttl = ip[7],
		.tos = (uint8_t)(user_get16(ip) >> 4),
	};
	memcpy(&p->src, ip + 8, sizeof(p->src));
	memcpy(&p->dst, ip + 24, sizeof(p->dst));
	return p->ttl && addresses_ok(u, p) && skip_headers(u, p, total) &&
	       (p->proto == IPPROTO_ICMPV6 || !IN6_IS_ADDR_UNSPECIFIED(&p->src));
}

/* RFC 8200, 4.5: what is wrong about a fragment by itself. */
static bool fragment_ok(struct user *u, const struct user_pkt *p)
{
	uint32_t field = user_get16(p->frag + 2);

	if ((field & 1) && p->l4_len % 8) {
		param_problem(u, p, ICMP6_PARAMPROB_HEADER, 4);
		return false;
	}
	if ((field & 0xfff8) + p->l4_len > 65535) {
		param_problem(u, p, ICMP6_PARAMPROB_HEADER, (uint32_t)(p->frag + 2 - p->ip));
		return false;
	}
	return true;
}

void user_input_ip6(struct user *u, const struct twx_frame *f, bool parts)
{
	struct user_pkt p;

	if (!parse(u, f, parts, &p)) {
		twx_port_drop(u->port, TWX_DROP_BAD_PACKET, f->len);
		return;
	}
	user_neigh_learn(u, &p.src, p.eth + 6);
	if (p.frag && user_get16(p.frag + 2) & 0xfff9) { /* an offset, or more to come */
		if (f->meta.gso)
			twx_port_drop(u->port, TWX_DROP_BAD_META, f->len);
		else if (!parts && fragment_ok(u, &p)) /* no fragments of fragments */
			frag_input(u, &p);
		else
			twx_port_drop(u->port, TWX_DROP_BAD_PACKET, f->len);
		return;
	}
	if (p.proto == IPPROTO_NONE)
		twx_port_drop(u->port, TWX_DROP_NOT_FOR_US, f->len);
	else
		user_dispatch(u, &p);
}
