/* SPDX-License-Identifier: BSD-3-Clause */
/* IP of the user-mode network: packets to the guest; a packet from the guest of IPv4 is validated
 * here once (RFC 791, 1122 3.2.1), one of IPv6 in ip6.c. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "backends/user/lanes.h"
#include "backends/user/user.h"
#include "base/csum.h"
#include "base/iov.h"
#include "base/macros.h"

uint64_t user_pseudo(const struct in6_addr *src, const struct in6_addr *dst, uint8_t proto,
		     uint32_t len)
{
	if (user_is_v4(dst))
		return csum_pseudo4(&src->s6_addr32[3], &dst->s6_addr32[3], proto, len);
	return csum_pseudo6(src, dst, proto, len);
}

void user_udp_csum(uint8_t *udp, const struct in6_addr *src, const struct in6_addr *dst,
		   uint32_t len)
{
	be16 sum;

	user_put16(udp + 6, 0);
	sum = csum_fold_udp(csum_partial(udp, len, user_pseudo(src, dst, IPPROTO_UDP, len)));
	memcpy(udp + 6, &sum, 2);
}

/* A packet that is to be sent, in parts if need be. */
struct sending {
	const struct user_ip *h;
	const struct iovec *l4;
	int n;
	uint32_t id;
	bool whole;
};

/* One packet or fragment: bytes [@off, @off + @len) of the payload. */
static void send_part4(struct user *u, const struct sending *s, uint32_t off, uint32_t len,
		       bool last)
{
	const struct user_ip *h = s->h;
	uint8_t *frame = user_out_alloc(u, USER_ETH_LEN + USER_IP4_LEN + len);
	uint8_t *ip = frame + USER_ETH_LEN, *body;
	be16 sum;

	body = user_ip4_header(u, frame, user_v4(&h->src), user_v4(&h->dst), h->proto, len);
	ip[1] = h->tos;
	user_put16(ip + 4, s->id);
	user_put16(ip + 6, off / 8 | (last ? 0 : 0x2000));
	ip[8] = h->ttl;
	user_put16(ip + 10, 0);
	sum = csum_fold(csum_partial(ip, USER_IP4_LEN, 0));
	memcpy(ip + 10, &sum, 2);
	iov_copy_from(s->l4, (size_t)s->n, off, body, len);
	user_out(u, USER_ETH_LEN + USER_IP4_LEN + len, NULL);
}

/* RFC 8200, 4.5. */
static void send_part6(struct user *u, const struct sending *s, uint32_t off, uint32_t len,
		       bool last)
{
	const struct user_ip *h = s->h;
	uint32_t frag = s->whole ? 0 : USER_IP6_FRAG_LEN;
	uint32_t total = USER_ETH_LEN + USER_IP6_LEN + frag + len;
	uint8_t *frame = user_out_alloc(u, total), *ip = frame + USER_ETH_LEN, *body;

	body = user_ip6_header(u, frame, &h->src, &h->dst, s->whole ? h->proto : IPPROTO_FRAGMENT,
			       frag + len);
	user_put32(ip, 0x60000000 | (uint32_t)h->tos << 20);
	ip[7] = h->ttl;
	if (frag) {
		user_put16(body, (uint32_t)h->proto << 8);
		user_put16(body + 2, off | !last);
		user_put32(body + 4, s->id);
	}
	iov_copy_from(s->l4, (size_t)s->n, off, body + frag, len);
	user_out(u, total, NULL);
}

void user_ip_send(struct user *u, const struct user_ip *h, const struct iovec *l4, int n)
{
	bool v6 = !user_is_v4(&h->dst);
	uint32_t len = (uint32_t)iov_len(l4, (size_t)n);
	uint32_t step = user_mtu(u, v6) - (v6 ? USER_IP6_LEN : USER_IP4_LEN);
	struct sending s = { .h = h, .l4 = l4, .n = n, .whole = len <= step };

	s.id = v6 ? u->ip6_id++ : u->ip_id++;
	if (!s.whole && v6)
		step -= USER_IP6_FRAG_LEN;
	if (!s.whole)
		step &= ~7u; /* RFC 791, 3.2: offsets count eight bytes */
	for (uint32_t off = 0; !off || off < len; off += step) {
		bool last = len - off <= step;

		(v6 ? send_part6 : send_part4)(u, &s, off, last ? len - off : step, last);
	}
}

bool user_pkt_copy(const struct user_pkt *p, uint32_t off, void *buf, uint32_t len)
{
	if (off > p->l4_len || len > p->l4_len - off)
		return false;
	return iov_copy_from(p->frame->iov, p->frame->n_iov, (size_t)p->l4_off + off, buf, len) ==
	       len;
}

int user_pkt_iov(const struct user_pkt *p, uint32_t off, struct iovec *iov, int max)
{
	uint32_t left = off < p->l4_len ? p->l4_len - off : 0;
	size_t n, skip = (size_t)p->l4_off + off;

	if (!left)
		return 0;
	n = iov_slice(iov, (size_t)max, p->frame->iov, p->frame->n_iov, skip, left);
	return iov_len(iov, n) == left ? (int)n : -E2BIG;
}

bool user_pkt_csum_ok(const struct user_pkt *p)
{
	uint64_t sum;

	if (p->csum_ok)
		return true;
	sum = p->v6 ? csum_pseudo6(p->ip + 8, p->ip + 24, p->proto, p->l4_len)
		    : csum_pseudo4(p->ip + 12, p->ip + 16, p->proto, p->l4_len);
	sum = csum_iov(p->frame->iov, p->frame->n_iov, p->l4_off, p->l4_len, sum);
	return csum_fold(sum).raw == 0;
}

/* Fills @p from the frame; false if the bytes are no valid IPv4 packet. */
static bool parse(const struct twx_frame *f, struct user_pkt *p)
{
	const uint8_t *eth = f->iov[0].iov_base, *ip = eth + USER_ETH_LEN;
	uint32_t here = (uint32_t)f->iov[0].iov_len - USER_ETH_LEN;
	uint32_t ihl, total;

	if (here < 20 || ip[0] >> 4 != 4)
		return false;
	ihl = (ip[0] & 15) * 4u;
	total = user_get16(ip + 2);
	if (ihl < 20 || ihl > here || total < ihl || total > f->len - USER_ETH_LEN)
		return false;
	if (csum_fold(csum_partial(ip, ihl, 0)).raw)
		return false;
	*p = (struct user_pkt){
		.frame = f,
		.eth = eth,
		.ip = ip,
		.ip_here = min(here, total),
		.l4 = ip + ihl,
		.l4_off = USER_ETH_LEN + ihl,
		.l4_len = total - ihl,
		.proto = ip[9],
		.df = ip[6] & 0x40,
		.ttl = ip[8],
		.tos = ip[1],
		.csum_ok = f->meta.flags & (TWX_F_NEEDS_CSUM | TWX_F_CSUM_VALID),
	};
	p->l4_here = p->ip_here - ihl;
	p->src = user_mapped((struct in_addr){ 0 });
	p->dst = p->src;
	memcpy(&p->src.s6_addr32[3], ip + 12, 4);
	memcpy(&p->dst.s6_addr32[3], ip + 16, 4);
	return true;
}

/* RFC 1122, 3.2.1.3: who may be a source. Only a DHCP client has no address yet. */
static bool source_ok(const struct user *u, const struct user_pkt *p)
{
	struct in_addr src = user_v4(&p->src);

	if (!src.s_addr)
		return p->proto == IPPROTO_UDP && p->l4_here >= 8 && user_get16(p->l4 + 2) == 67;
	if (!user_in_net(u, src) || user_is_ours(u, src) || user_is_broadcast(u, src))
		return false;
	return src.s_addr != u->cfg.net.s_addr || !~u->cfg.mask.s_addr;
}

void user_refuse(struct user *u, const struct user_pkt *p, int err)
{
	bool denied = err == -EACCES || err == -EPERM;

	twx_port_drop(u->port, denied ? TWX_DROP_DENIED : TWX_DROP_NOT_FOR_US, p->frame->len);
	if (err == -EPERM)
		user_complain(u, USER_PROHIBITED, 0, NULL, p->ip, p->ip_here);
	else if (err == -ECONNREFUSED && user_owns(u, &p->dst))
		user_complain(u, USER_NO_PORT, 0, &p->dst, p->ip, p->ip_here);
	else if (err == -EADDRNOTAVAIL && user_on_link(u, &p->dst) && !user_owns(u, &p->dst))
		user_complain(u, USER_NO_HOST, 0, NULL, p->ip, p->ip_here);
}

static bool is_local(const struct user *u, const struct user_pkt *p)
{
	struct in_addr a = user_v4(&p->dst);

	if (user_owns(u, &p->dst))
		return true;
	return p->v6 ? IN6_IS_ADDR_MULTICAST(&p->dst)
		     : user_is_broadcast(u, a) || IN_MULTICAST(ntohl(a.s_addr));
}

static inline void dispatch(struct user *u, const struct user_pkt *p)
{
	if (unlikely(u->lanes) && lanes_elsewhere(u, p))
		return;
	/* RFC 1812, 5.3.1: a router's part; our own addresses are the journey's end. */
	if (p->ttl <= 1 && !is_local(u, p)) {
		user_complain(u, USER_HOPS, 0, NULL, p->ip, p->ip_here);
		return;
	}
	if (p->proto == IPPROTO_TCP) {
		tcp_input(u, p);
	} else if (p->proto == IPPROTO_UDP) {
		udp_input(u, p);
	} else if (p->proto == (p->v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP)) {
		icmp_input(u, p);
	} else {
		twx_port_drop(u->port, TWX_DROP_NOT_FOR_US, p->frame->len);
		if (user_owns(u, &p->dst))
			user_complain(u, USER_NO_PROTOCOL, 0, &p->dst, p->ip, p->ip_here);
	}
}

void user_dispatch(struct user *u, const struct user_pkt *p)
{
	dispatch(u, p);
}

void user_input_ip4(struct user *u, const struct twx_frame *f)
{
	struct user_pkt p;

	if (!parse(f, &p) || !p.ttl || !source_ok(u, &p)) {
		twx_port_drop(u->port, TWX_DROP_BAD_PACKET, f->len);
		return;
	}
	user_neigh_learn(u, &p.src, p.eth + 6);
	if (user_get16(p.ip + 6) & 0x3fff) { /* MF or an offset */
		if (f->meta.gso)
			twx_port_drop(u->port, TWX_DROP_BAD_META, f->len);
		else
			frag_input(u, &p);
		return;
	}
	dispatch(u, &p);
}
