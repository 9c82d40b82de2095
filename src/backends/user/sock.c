/* SPDX-License-Identifier: BSD-3-Clause */
/* Host sockets that carry the guest's datagrams: header fields out, the host's errors back as ICMP.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include <linux/errqueue.h>
#include <linux/icmp.h>

#include "backends/user/user.h"
#include "base/csum.h"

#define QUOTE_MAX 528 /* payload quoted in an ICMP error: 576 bytes in all (RFC 1812, 4.3.2.3) */
#define ERRORS_MAX 64 /* per call: more wait for the next event */
#define CODE_PROHIBITED 13 /* communication administratively prohibited, RFC 1812, 5.2.7.1 */

void sock_follow(int fd, struct user_sock *s, const uint8_t *ip)
{
	uint8_t ttl = ip[8] > 1 ? ip[8] - 1 : 1;
	uint8_t df = ip[6] & 0x40 ? 2 : 1;

	if (s->ttl != ttl) {
		int v = ttl;

		setsockopt(fd, IPPROTO_IP, IP_TTL, &v, sizeof(v));
		s->ttl = ttl;
	}
	if (s->df != df) {
		int v = df == 2 ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT;

		setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &v, sizeof(v));
		s->df = df;
	}
}

void sock_refused(struct user *u, int err, uint32_t mtu, const uint8_t *orig, uint32_t len)
{
	static const struct {
		int err;
		uint8_t code;
	} codes[] = {
		{ ENETUNREACH, ICMP_NET_UNREACH }, { EHOSTUNREACH, ICMP_HOST_UNREACH },
		{ ENETDOWN, ICMP_NET_UNREACH },	   { EHOSTDOWN, ICMP_HOST_UNREACH },
		{ EMSGSIZE, ICMP_FRAG_NEEDED },	   { EACCES, CODE_PROHIBITED },
		{ EPERM, CODE_PROHIBITED },	   { ECONNREFUSED, ICMP_PORT_UNREACH },
	};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		if (codes[i].err != err || (err == EMSGSIZE && !mtu))
			continue;
		icmp_send_error(u, ICMP_DEST_UNREACH, codes[i].code,
				(uint16_t)(err == EMSGSIZE ? mtu : 0), u->cfg.host, orig, len);
		return;
	}
}

/* The IPv4 packet of the guest that an error is about, as far as the error tells. */
static uint32_t rebuild(struct user *u, const struct flow *f, const struct sockaddr_in *to,
			const uint8_t *data, uint32_t len, uint8_t *ip)
{
	struct in_addr src = user_v4(&f->key.guest);
	struct sockaddr_in seen = udp_seen_as(u, f, to);
	bool udp = f->key.kind == FLOW_UDP;
	uint32_t total = 20 + (udp ? 8 : 0) + len;
	be16 sum;

	memset(ip, 0, 28);
	ip[0] = 0x45;
	user_put16(ip + 2, total);
	ip[8] = 64;
	ip[9] = udp ? IPPROTO_UDP : IPPROTO_ICMP;
	memcpy(ip + 12, &src, 4);
	memcpy(ip + 16, &seen.sin_addr, 4);
	sum = csum_fold(csum_partial(ip, 20, 0));
	memcpy(ip + 10, &sum, 2);
	if (udp) {
		user_put16(ip + 20, f->key.guest_port);
		user_put16(ip + 22, ntohs(seen.sin_port));
		user_put16(ip + 24, 8 + len);
	}
	memcpy(ip + (udp ? 28 : 20), data, len);
	if (!udp && len >= 6)
		user_put16(ip + 24, f->key.guest_port); /* the host may have another identifier */
	return total;
}

static void report(struct user *u, const struct flow *f, const struct sock_extended_err *ee,
		   const struct sockaddr_in *to, const uint8_t *data, uint32_t len)
{
	uint8_t orig[28 + QUOTE_MAX];
	const struct sockaddr_in *by = (const struct sockaddr_in *)SO_EE_OFFENDER(ee);
	struct in_addr from = u->cfg.host;
	bool too_big = ee->ee_type == ICMP_DEST_UNREACH && ee->ee_code == ICMP_FRAG_NEEDED;

	if (ee->ee_type != ICMP_DEST_UNREACH && ee->ee_type != ICMP_TIME_EXCEEDED &&
	    ee->ee_type != ICMP_PARAMETERPROB)
		return;
	if (by->sin_family == AF_INET) {
		/* The peer itself complains: under the name that the guest has for it. */
		bool peer = by->sin_addr.s_addr == to->sin_addr.s_addr;

		from = udp_seen_as(u, f, peer ? to : by).sin_addr;
	}
	len = rebuild(u, f, to, data, len, orig);
	icmp_send_error(u, ee->ee_type, ee->ee_code, (uint16_t)(too_big ? ee->ee_info : 0), from,
			orig, len);
}

/* A raw socket hears of every process's pings. */
static bool is_other_ping(const struct flow *f, const uint8_t *data, uint32_t len)
{
	return f->key.kind == FLOW_ICMP && icmp_flow_is_raw(f) &&
	       (len < 6 || user_get16(data + 4) != f->key.guest_port);
}

uint32_t sock_errors(struct user *u, struct flow *f)
{
	uint32_t mtu = 0;
	int pending;
	socklen_t size = sizeof(pending);

	for (int i = 0; i < ERRORS_MAX; i++) {
		uint8_t data[QUOTE_MAX];
		_Alignas(struct cmsghdr) char control[256];
		struct sockaddr_in to = { 0 };
		struct iovec iov = { data, sizeof(data) };
		struct msghdr m = { &to, sizeof(to), &iov, 1, control, sizeof(control), 0 };
		ssize_t n = recvmsg(f->fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT);

		if (n < 0)
			break;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
			const struct sock_extended_err *ee = (const void *)CMSG_DATA(c);

			if (c->cmsg_level != IPPROTO_IP || c->cmsg_type != IP_RECVERR)
				continue;
			if (ee->ee_origin == SO_EE_ORIGIN_LOCAL && ee->ee_errno == EMSGSIZE)
				mtu = ee->ee_info;
			else if (ee->ee_origin == SO_EE_ORIGIN_ICMP && to.sin_family == AF_INET &&
				 !is_other_ping(f, data, (uint32_t)n))
				report(u, f, ee, &to, data, (uint32_t)n);
		}
	}
	/* Reading it clears it: else the next send would fail with the error that is told already.
	 */
	getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &pending, &size);
	return mtu;
}
