/* SPDX-License-Identifier: BSD-3-Clause */
/* Host sockets that carry the guest's datagrams: header fields out, the host's errors back as ICMP.
 */
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <string.h>
#include <time.h>

#include <linux/errqueue.h>
#include <linux/icmp.h>

#include "backends/user/user.h"
#include "base/csum.h"
#include "base/macros.h"

#define QUOTE4_MAX                                                                                 \
	528u		 /* payload quoted in an ICMP error: 576 bytes in all (RFC 1812, 4.3.2.3)  \
			  */
#define QUOTE6_MAX 1184u /* the same: 1280 (RFC 4443, 3.1) */
#define HEADERS_MAX (USER_IP6_LEN + 8)
#define ERRORS_MAX 64 /* per call: more wait for the next event */

void sock_follow(int fd, struct user_sock *s, bool v6, uint8_t ttl, bool may_not)
{
	uint8_t df = may_not ? 2 : 1;

	ttl = ttl > 1 ? ttl - 1 : 1;
	if (s->ttl != ttl) {
		int v = ttl;

		if (v6)
			setsockopt(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &v, sizeof(v));
		else
			setsockopt(fd, IPPROTO_IP, IP_TTL, &v, sizeof(v));
		s->ttl = ttl;
	}
	if (s->df != df) {
		int v = df == 2 ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT;

		if (v6)
			setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &v, sizeof(v));
		else
			setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &v, sizeof(v));
		s->df = df;
	}
}

void sock_refused(struct user *u, int err, uint32_t mtu, const uint8_t *orig, uint32_t len)
{
	static const struct {
		int err;
		enum user_why why;
	} reasons[] = {
		{ ENETUNREACH, USER_NO_ROUTE },	 { EHOSTUNREACH, USER_NO_HOST },
		{ ENETDOWN, USER_NO_ROUTE },	 { EHOSTDOWN, USER_NO_HOST },
		{ EAFNOSUPPORT, USER_NO_ROUTE }, { EADDRNOTAVAIL, USER_NO_ROUTE },
		{ EMSGSIZE, USER_TOO_BIG },	 { EACCES, USER_PROHIBITED },
		{ EPERM, USER_PROHIBITED },	 { ECONNREFUSED, USER_NO_PORT },
	};

	for (size_t i = 0; i < array_size(reasons); i++) {
		if (reasons[i].err != err || (err == EMSGSIZE && !mtu))
			continue;
		user_complain(u, reasons[i].why, mtu, NULL, orig, len);
		return;
	}
}

static uint32_t put_ip4(uint8_t *ip, const struct in6_addr *src, const struct in6_addr *dst,
			uint8_t proto, uint32_t len)
{
	be16 sum;

	memset(ip, 0, USER_IP4_LEN);
	ip[0] = 0x45;
	user_put16(ip + 2, USER_IP4_LEN + len);
	ip[8] = 64;
	ip[9] = proto;
	memcpy(ip + 12, &src->s6_addr32[3], 4);
	memcpy(ip + 16, &dst->s6_addr32[3], 4);
	sum = csum_fold(csum_partial(ip, USER_IP4_LEN, 0));
	memcpy(ip + 10, &sum, 2);
	return USER_IP4_LEN;
}

static uint32_t put_ip6(uint8_t *ip, const struct in6_addr *src, const struct in6_addr *dst,
			uint8_t proto, uint32_t len)
{
	user_put_ip6(ip, src, dst, proto, len);
	return USER_IP6_LEN;
}

/* The packet of the guest that an error is about, as far as the error tells. */
static uint32_t rebuild(struct user *u, const struct flow *f, const struct sockaddr *to,
			const uint8_t *data, uint32_t len, uint8_t *ip)
{
	struct user_end seen = udp_seen_as(u, f, to);
	bool udp = f->key.kind == FLOW_UDP;
	uint32_t l4 = (udp ? 8 : 0) + len, at;

	if (user_is_v4(&f->key.guest))
		at = put_ip4(ip, &f->key.guest, &seen.addr, udp ? IPPROTO_UDP : IPPROTO_ICMP, l4);
	else
		at = put_ip6(ip, &f->key.guest, &seen.addr, udp ? IPPROTO_UDP : IPPROTO_ICMPV6, l4);
	if (udp) {
		user_put16(ip + at, f->key.guest_port);
		user_put16(ip + at + 2, seen.port);
		user_put16(ip + at + 4, 8 + len);
		user_put16(ip + at + 6, 0);
	}
	memcpy(ip + at + (udp ? 8 : 0), data, len);
	if (udp && at == USER_IP6_LEN)
		user_udp_csum(ip + at, &f->key.guest, &seen.addr, 8 + len);
	if (!udp && len >= 6)
		user_put16(ip + at + 4, f->key.guest_port); /* the host may have another one */
	return at + l4;
}

/* What is there to tell of an error that came over the network; false: nothing. */
static bool is_told(const struct sock_extended_err *ee, uint32_t *info)
{
	*info = 0;
	if (ee->ee_origin == SO_EE_ORIGIN_ICMP) {
		if (ee->ee_type == ICMP_DEST_UNREACH && ee->ee_code == ICMP_FRAG_NEEDED)
			*info = ee->ee_info;
		return ee->ee_type == ICMP_DEST_UNREACH || ee->ee_type == ICMP_TIME_EXCEEDED ||
		       ee->ee_type == ICMP_PARAMETERPROB;
	}
	/* A pointer into the host's packet means nothing in the guest's. */
	if (ee->ee_type == ICMP6_PACKET_TOO_BIG)
		*info = ee->ee_info;
	return ee->ee_type >= ICMP6_DST_UNREACH && ee->ee_type <= ICMP6_TIME_EXCEEDED;
}

static bool same_host(const union user_addr *a, const union user_addr *b)
{
	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	return a->sa.sa_family == AF_INET ? a->in.sin_addr.s_addr == b->in.sin_addr.s_addr
					  : user_same(&a->in6.sin6_addr, &b->in6.sin6_addr);
}

static void report(struct user *u, const struct flow *f, const struct sock_extended_err *ee,
		   const union user_addr *to, const uint8_t *data, uint32_t len)
{
	uint8_t orig[HEADERS_MAX + QUOTE6_MAX];
	const union user_addr *by = (const union user_addr *)SO_EE_OFFENDER(ee);
	struct in6_addr from = user_gateway(u, &f->key.guest);
	bool v6 = !user_is_v4(&f->key.guest);
	uint32_t info;

	/* An IPv4 resolver behind the DNS alias of IPv6 has its errors in the wrong language. */
	if (!is_told(ee, &info) || v6 != (ee->ee_origin == SO_EE_ORIGIN_ICMP6))
		return;
	/* The peer itself complains: under the name that the guest has for it. */
	if (by->sa.sa_family == AF_INET || by->sa.sa_family == AF_INET6)
		from = udp_seen_as(u, f, same_host(by, to) ? &to->sa : &by->sa).addr;
	len = rebuild(u, f, &to->sa, data, min(len, v6 ? QUOTE6_MAX : QUOTE4_MAX), orig);
	icmp_send_error(u, ee->ee_type, ee->ee_code, info, &from, orig, len);
}

/* A raw socket hears of every process's pings. */
static bool is_other_ping(const struct flow *f, const uint8_t *data, uint32_t len)
{
	return f->key.kind == FLOW_ICMP && icmp_flow_is_raw(f) &&
	       (len < 6 || user_get16(data + 4) != f->key.guest_port);
}

static bool is_error(const struct cmsghdr *c)
{
	return (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
	       (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR);
}

uint32_t sock_errors(struct user *u, struct flow *f)
{
	uint32_t mtu = 0;
	int pending;
	socklen_t size = sizeof(pending);

	for (int i = 0; i < ERRORS_MAX; i++) {
		uint8_t data[QUOTE6_MAX];
		_Alignas(struct cmsghdr) char control[256];
		union user_addr to = { 0 };
		struct iovec iov = { data, sizeof(data) };
		struct msghdr m = { &to, sizeof(to), &iov, 1, control, sizeof(control), 0 };
		ssize_t n = recvmsg(f->fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT);

		if (n < 0)
			break;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
			const struct sock_extended_err *ee = (const void *)CMSG_DATA(c);

			if (!is_error(c))
				continue;
			if (ee->ee_origin == SO_EE_ORIGIN_LOCAL && ee->ee_errno == EMSGSIZE)
				mtu = ee->ee_info;
			else if ((ee->ee_origin == SO_EE_ORIGIN_ICMP ||
				  ee->ee_origin == SO_EE_ORIGIN_ICMP6) &&
				 to.sa.sa_family != AF_UNSPEC &&
				 !is_other_ping(f, data, (uint32_t)n))
				report(u, f, ee, &to, data, (uint32_t)n);
		}
	}
	/* Reading it clears it: else the next send would fail with the error that is told already.
	 */
	getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &pending, &size);
	return mtu;
}
