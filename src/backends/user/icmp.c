/* SPDX-License-Identifier: BSD-3-Clause */
/* ICMP (RFC 792, 4443) of the user-mode network: echo, and the errors that the guest is told. */

/*
 * Echo to the host and DNS alias is answered here. Echo to others goes out through a ping socket
 * (or a raw one, if the process may), one per guest address and identifier, and only a real reply
 * comes back; without either kind of socket there is no answer, and the log says why. Errors:
 * icmp_send_error(), 1000 a second with bursts of 50 (RFC 1812, 4.3.2.8). Other messages from the
 * guest have nowhere to go and are dropped.
 *
 * Bounds: 256 echo flows, idle for 60 s at most (RFC 5508, REQ-2), the least recently used one
 * gives way.
 */
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/icmp.h>

#include "backends/user/user.h"
#include "base/csum.h"
#include "base/macros.h"

#define MAX_FLOWS 256
#define IDLE_NS (USER_IDLE_S * 1000000000ull)
#define TOKENS 50
#define TOKEN_NS 1000000ull
#define QUOTE4_MAX 548u	 /* with both headers 576 bytes (RFC 1812, 4.3.2.3) */
#define QUOTE6_MAX 1232u /* the same to 1280 (RFC 4443, 3.1) */
#define TOS_ERROR 0xc0	 /* precedence "internetwork control": RFC 1812, 4.3.2.5 */
#define READ_BUDGET 64

#ifndef SOL_RAW
#define SOL_RAW 255
#endif
#ifndef ICMP_FILTER
#define ICMP_FILTER 1
#endif

struct icmp_flow {
	struct user_sock sock;
	bool raw;
};

struct user_icmp {
	uint32_t tokens;
	uint64_t tokens_at;
	bool told; /* that pings cannot leave */
	uint8_t *buf;
};

_Static_assert(sizeof(struct icmp_flow) <= sizeof(((struct flow *)0)->proto), "fits a flow");

static struct icmp_flow *proto_of(struct flow *f)
{
	return (struct icmp_flow *)f->proto;
}

bool icmp_flow_is_raw(const struct flow *f)
{
	return ((const struct icmp_flow *)f->proto)->raw;
}

int icmp_init(struct user *u, struct twx_error *e)
{
	u->icmp = calloc(1, sizeof(*u->icmp));
	if (!u->icmp)
		return twx_error_set(e, ENOMEM, "netdev %s: out of memory", u->backend->id);
	u->icmp->tokens = TOKENS;
	return 0;
}

void icmp_fini(struct user *u)
{
	struct flow *f;

	if (!u->icmp)
		return;
	while ((f = flow_oldest(&u->flows, FLOW_ICMP)))
		flow_free(&u->flows, f);
	free(u->icmp->buf);
	free(u->icmp);
	u->icmp = NULL;
}

void icmp_age(struct user *u, uint64_t now)
{
	struct flow *f;

	while ((f = flow_oldest(&u->flows, FLOW_ICMP)) && now - f->last_used > IDLE_NS)
		flow_free(&u->flows, f);
}

/* --- errors to the guest --- */

static bool take_token(struct user_icmp *s, uint64_t now)
{
	uint64_t earned = (now - s->tokens_at) / TOKEN_NS;

	if (earned) {
		s->tokens = (uint32_t)min(s->tokens + earned, (uint64_t)TOKENS);
		s->tokens_at = now;
	}
	if (!s->tokens)
		return false;
	s->tokens--;
	return true;
}

/* RFC 1122, 3.2.2: never about an ICMP error, a broadcast, a later fragment, or a source that is
 * nobody. */
static bool may_complain4(const struct user *u, const uint8_t *orig, uint32_t len)
{
	uint32_t ihl = (orig[0] & 15) * 4u;
	struct in_addr src, dst;

	memcpy(&src, orig + 12, 4);
	memcpy(&dst, orig + 16, 4);
	if (!src.s_addr || user_is_broadcast(u, dst) || ntohl(dst.s_addr) >> 28 >= 14)
		return false;
	if (user_get16(orig + 6) & 0x1fff)
		return false;
	if (orig[9] != IPPROTO_ICMP)
		return true;
	return len > ihl &&
	       (orig[ihl] == ICMP_ECHO || orig[ihl] == ICMP_ECHOREPLY || orig[ihl] >= 13);
}

/* RFC 4443, 2.4 (e). */
static bool may_complain6(const uint8_t *orig, uint32_t len, uint8_t type, uint8_t code)
{
	struct in6_addr src, dst;
	uint8_t proto;
	uint32_t at;

	memcpy(&src, orig + 8, sizeof(src));
	memcpy(&dst, orig + 24, sizeof(dst));
	if (IN6_IS_ADDR_UNSPECIFIED(&src) || IN6_IS_ADDR_MULTICAST(&src))
		return false;
	if (IN6_IS_ADDR_MULTICAST(&dst) && type != ICMP6_PACKET_TOO_BIG &&
	    !(type == ICMP6_PARAM_PROB && code == ICMP6_PARAMPROB_OPTION))
		return false;
	at = ip6_upper(orig, len, &proto);
	if (proto != IPPROTO_ICMPV6)
		return true;
	return at < len && orig[at] >= ICMP6_ECHO_REQUEST && orig[at] != ND_REDIRECT;
}

void icmp_send_error(struct user *u, uint8_t type, uint8_t code, uint32_t info,
		     const struct in6_addr *from, const uint8_t *orig, uint32_t len)
{
	bool v6 = len && orig[0] >> 4 == 6;
	uint8_t head[8] = { type, code };
	struct user_ip h = { .src = *from, .ttl = 255, .tos = TOS_ERROR };
	struct iovec iov[2] = { { head, sizeof(head) },
				{ (void *)orig, min(len, v6 ? QUOTE6_MAX : QUOTE4_MAX) } };
	uint32_t total = (uint32_t)(sizeof(head) + iov[1].iov_len);
	be16 sum;

	if (len < (v6 ? USER_IP6_LEN : USER_IP4_LEN) ||
	    !(v6 ? may_complain6(orig, len, type, code) : may_complain4(u, orig, len)))
		return;
	if (!take_token(u->icmp, twx_loop_now(u->loop))) {
		twx_port_drop(u->port, TWX_DROP_LIMIT, len);
		return;
	}
	TWX_TRACE(u->port->trace, TWX_HOP_USER_ICMP, u->port->name, len, type);
	h.proto = v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	if (v6)
		memcpy(&h.dst, orig + 8, sizeof(h.dst));
	else
		h.dst = user_mapped((struct in_addr){ 0 });
	if (!v6)
		memcpy(&h.dst.s6_addr32[3], orig + 12, 4);
	if (v6)
		user_put32(head + 4, info);
	else
		user_put16(head + 6, info);
	sum = csum_fold(
		csum_iov(iov, 2, 0, total, v6 ? user_pseudo(&h.src, &h.dst, h.proto, total) : 0));
	memcpy(head + 2, &sum, 2);
	user_ip_send(u, &h, iov, 2);
}

void user_complain(struct user *u, enum user_why why, uint32_t mtu, const struct in6_addr *from,
		   const uint8_t *orig, uint32_t len)
{
	/* RFC 792; RFC 4443, section 3. */
	static const struct {
		uint8_t type4, code4, type6, code6;
	} words[USER_N_WHY] = {
		[USER_NO_ROUTE] = { ICMP_DEST_UNREACH, ICMP_NET_UNREACH, ICMP6_DST_UNREACH,
				    ICMP6_DST_UNREACH_NOROUTE },
		[USER_NO_HOST] = { ICMP_DEST_UNREACH, ICMP_HOST_UNREACH, ICMP6_DST_UNREACH,
				   ICMP6_DST_UNREACH_ADDR },
		[USER_NO_PORT] = { ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, ICMP6_DST_UNREACH,
				   ICMP6_DST_UNREACH_NOPORT },
		[USER_NO_PROTOCOL] = { ICMP_DEST_UNREACH, ICMP_PROT_UNREACH, ICMP6_PARAM_PROB,
				       ICMP6_PARAMPROB_NEXTHEADER },
		[USER_PROHIBITED] = { ICMP_DEST_UNREACH, ICMP_PKT_FILTERED, ICMP6_DST_UNREACH,
				      ICMP6_DST_UNREACH_ADMIN },
		[USER_TOO_BIG] = { ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, ICMP6_PACKET_TOO_BIG, 0 },
		[USER_HOPS] = { ICMP_TIME_EXCEEDED, ICMP_EXC_TTL, ICMP6_TIME_EXCEEDED,
				ICMP6_TIME_EXCEED_TRANSIT },
		[USER_REASSEMBLY] = { ICMP_TIME_EXCEEDED, ICMP_EXC_FRAGTIME, ICMP6_TIME_EXCEEDED,
				      ICMP6_TIME_EXCEED_REASSEMBLY },
	};
	bool v6 = len && orig[0] >> 4 == 6;
	struct in6_addr us;
	uint32_t info = mtu;

	if (len < (v6 ? USER_IP6_LEN : USER_IP4_LEN))
		return;
	if (!from) {
		us = user_mapped(u->cfg.host);
		if (v6) {
			memcpy(&us, orig + 8, sizeof(us));
			us = user_gateway(u, &us);
		}
		from = &us;
	}
	if (v6 && why == USER_NO_PROTOCOL)
		info = ip6_upper_type_at(orig, len);
	icmp_send_error(u, v6 ? words[why].type6 : words[why].type4,
			v6 ? words[why].code6 : words[why].code4, info, from, orig, len);
}

/* --- echo --- */

/* What differs between the families. */
struct echo_kind {
	int family, proto, level, recverr, recvttl, ttl;
	uint8_t request, reply;
};
static const struct echo_kind kinds[2] = {
	{ AF_INET, IPPROTO_ICMP, IPPROTO_IP, IP_RECVERR, IP_RECVTTL, IP_TTL, ICMP_ECHO,
	  ICMP_ECHOREPLY },
	{ AF_INET6, IPPROTO_ICMPV6, IPPROTO_IPV6, IPV6_RECVERR, IPV6_RECVHOPLIMIT, IPV6_HOPLIMIT,
	  ICMP6_ECHO_REQUEST, ICMP6_ECHO_REPLY },
};

/* An echo reply; @msg is the whole ICMP message, and private. */
static void send_reply(struct user *u, const struct in6_addr *from, const struct in6_addr *to,
		       uint8_t ttl, uint8_t *msg, uint32_t len)
{
	bool v6 = !user_is_v4(to);
	struct user_ip h = {
		.src = *from, .dst = *to, .proto = (uint8_t)kinds[v6].proto, .ttl = ttl
	};
	struct iovec iov = { msg, len };
	be16 sum;

	msg[0] = kinds[v6].reply;
	user_put16(msg + 2, 0);
	sum = csum_fold(csum_partial(msg, len, v6 ? user_pseudo(from, to, h.proto, len) : 0));
	memcpy(msg + 2, &sum, 2);
	user_ip_send(u, &h, &iov, 1);
}

/* Room for the largest message, mapped once, touched only as far as messages reach. */
static uint8_t *buffer(struct user *u)
{
	if (!u->icmp->buf)
		u->icmp->buf = malloc(65536);
	return u->icmp->buf;
}

static void answer(struct user *u, const struct user_pkt *p)
{
	struct in6_addr us = user_owns(u, &p->dst) ? p->dst : user_gateway(u, &p->src);
	uint8_t *msg = buffer(u);

	if (msg && user_pkt_copy(p, 0, msg, p->l4_len))
		send_reply(u, &us, &p->src, 255, msg, p->l4_len);
}

/* A raw socket would hear every message of the host. */
static void only_replies(int fd, bool v6)
{
	struct icmp_filter only4 = { .data = ~(1u << ICMP_ECHOREPLY) };
	struct icmp6_filter only6;

	ICMP6_FILTER_SETBLOCKALL(&only6);
	ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &only6);
	if (v6)
		setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &only6, sizeof(only6));
	else
		setsockopt(fd, SOL_RAW, ICMP_FILTER, &only4, sizeof(only4));
}

/*
 * The kernel picks the identifier on the wire and the guest's is put back into the reply: binding
 * to the guest's would succeed beside another process that has the same one, and one of the two
 * would get both's replies. A raw socket keeps the guest's.
 */
static int ping_socket(const struct echo_kind *k, bool *raw)
{
	int one = 1;
	int fd = socket(k->family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, k->proto);

	*raw = false;
	if (fd < 0) {
		if (errno != EACCES && errno != EPERM)
			return -errno;
		fd = socket(k->family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, k->proto);
		if (fd < 0)
			return -errno;
		*raw = true;
		only_replies(fd, k->family == AF_INET6);
	}
	setsockopt(fd, k->level, k->recverr, &one, sizeof(one));
	setsockopt(fd, k->level, k->recvttl, &one, sizeof(one));
	return fd;
}

static uint8_t ttl_of(struct msghdr *m, const struct echo_kind *k)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		int ttl;

		if (c->cmsg_level != k->level || c->cmsg_type != k->ttl)
			continue;
		memcpy(&ttl, CMSG_DATA(c), sizeof(ttl));
		return (uint8_t)max(1, min(ttl - 1, 254));
	}
	return 64;
}

/* One reply from the host's kernel; false when there is none. */
static bool read_reply(struct user *u, struct flow *f)
{
	const struct echo_kind *k = &kinds[!user_is_v4(&f->key.guest)];
	_Alignas(struct cmsghdr) char control[64];
	union user_addr from;
	uint8_t *msg = buffer(u);
	struct iovec iov = { msg, 65535 };
	struct msghdr m = { &from, sizeof(from), &iov, 1, control, sizeof(control), 0 };
	uint32_t len, skip = 0;
	struct user_end seen;
	ssize_t n;

	if (!msg)
		return false;
	n = recvmsg(f->fd, &m, MSG_DONTWAIT);
	if (n < 0)
		return false;
	len = (uint32_t)n;
	if (proto_of(f)->raw) {
		/* The header comes along with IPv4 only. */
		if (k->family == AF_INET)
			skip = len ? max((msg[0] & 15) * 4u, 20u) : 20;
		if (len < skip + 8 || user_get16(msg + skip + 4) != f->key.guest_port)
			return true;
	}
	if (len < skip + 8 || m.msg_namelen < sizeof(from.in) || msg[skip] != k->reply)
		return true;
	TWX_TRACE(u->port->trace, TWX_HOP_RECVMSG, u->port->name, len, 0);
	user_put16(msg + skip + 4, f->key.guest_port);
	seen = udp_seen_as(u, f, &from.sa);
	flow_touch(&u->flows, f, twx_loop_now(u->loop));
	send_reply(u, &seen.addr, &f->key.guest, ttl_of(&m, k), msg + skip, len - skip);
	return true;
}

static void ping_event(struct twx_watch *w, uint32_t events)
{
	struct flow *f = flow_of_watch(w);
	struct user *u = container_of(w, struct flow_io, watch)->user;

	if (events & EPOLLERR)
		sock_errors(u, f);
	for (int i = 0; i < READ_BUDGET && read_reply(u, f); i++)
		;
}

/* Once: a guest that keeps pinging must not fill the log. */
static void tell(struct user *u, int err)
{
	bool right = err == EACCES || err == EPERM;

	if (!u->icmp->told)
		twx_log(u->backend->net, TWX_LOG_WARNING,
			"netdev %s: pings cannot leave the host: %s%s", u->backend->id,
			strerror(err),
			right ? "; sysctl net.ipv4.ping_group_range says which groups may" : "");
	u->icmp->told = true;
}

static struct flow *open_flow(struct user *u, const struct flow_key *key,
			      const struct sockaddr_storage *to)
{
	uint64_t now = twx_loop_now(u->loop);
	bool raw;
	int fd = ping_socket(&kinds[!user_is_v4(&key->guest)], &raw);
	struct flow *f;

	if (fd < 0) {
		tell(u, -fd);
		return NULL;
	}
	if (sock_outbound(u, fd, (const struct sockaddr *)to)) {
		close(fd);
		return NULL;
	}
	if (u->flows.count[FLOW_ICMP] >= MAX_FLOWS)
		flow_free(&u->flows, flow_oldest(&u->flows, FLOW_ICMP));
	f = flow_new(&u->flows, key, now);
	if (!f) {
		close(fd);
		return NULL;
	}
	f->fd = fd;
	proto_of(f)->raw = raw;
	if (twx_watch_add(&flow_io(&u->flows, f)->watch, u->loop, fd, EPOLLIN, ping_event)) {
		flow_free(&u->flows, f);
		return NULL;
	}
	user_age_soon(u);
	return f;
}

/* An echo request that leaves the host. */
static void forward(struct user *u, const struct user_pkt *p)
{
	struct flow_key key = {
		.guest = p->src,
		.guest_port = user_get16(p->l4 + 4),
		.kind = FLOW_ICMP,
	};
	struct sockaddr_storage to;
	struct iovec iov[64];
	struct msghdr m = { .msg_name = &to, .msg_iov = iov };
	int n = user_pkt_iov(p, 0, iov, array_size(iov)), ret;
	struct flow *f;

	/* Any port but zero: an echo has none. */
	ret = user_map_out(u, &p->dst, 7, IPPROTO_ICMP, &to, &m.msg_namelen);
	if (!ret && u->rules)
		ret = user_may_go(u, &p->dst, 0, IPPROTO_ICMP);
	if (ret || n < 0) {
		user_refuse(u, p, ret);
		return;
	}
	f = flow_find(&u->flows, &key);
	if (!f)
		f = open_flow(u, &key, &to);
	if (!f) {
		twx_port_drop(u->port, TWX_DROP_HOST_ERROR, p->frame->len);
		return;
	}
	((struct sockaddr_in *)&to)->sin_port = 0; /* at the same place in both families */
	flow_touch(&u->flows, f, twx_loop_now(u->loop));
	sock_follow(f->fd, &proto_of(f)->sock, p->v6, p->ttl, p->df);
	m.msg_iovlen = (size_t)n;
	TWX_TRACE(u->port->trace, TWX_HOP_SENDMSG, u->port->name, p->l4_len, 1);
	if (sendmsg(f->fd, &m, MSG_DONTWAIT) < 0) {
		uint32_t mtu = sock_errors(u, f);

		if (sendmsg(f->fd, &m, MSG_DONTWAIT) < 0) {
			twx_port_drop(u->port, TWX_DROP_HOST_ERROR, p->frame->len);
			sock_refused(u, errno, mtu, p->ip, p->ip_here);
		}
	}
}

/* No offload knows ICMP: the checksum counts whatever the frame's flags say. */
static bool csum_ok(const struct user_pkt *p)
{
	uint64_t sum = p->v6 ? user_pseudo(&p->src, &p->dst, p->proto, p->l4_len) : 0;

	return !csum_fold(csum_iov(p->frame->iov, p->frame->n_iov, p->l4_off, p->l4_len, sum)).raw;
}

/* All nodes and all routers of the link: the gateway answers for itself. */
static bool is_ours_too(const struct in6_addr *a)
{
	static const struct in6_addr nodes = { .s6_addr = { 0xff, 2, [15] = 1 } };
	static const struct in6_addr routers = { .s6_addr = { 0xff, 2, [15] = 2 } };

	return user_same(a, &nodes) || user_same(a, &routers);
}

void icmp_input(struct user *u, const struct user_pkt *p)
{
	TWX_TRACE(u->port->trace, TWX_HOP_USER_ICMP, u->port->name, p->l4_len, 0);
	if (p->l4_here < 8 || !csum_ok(p)) {
		twx_port_drop(u->port, TWX_DROP_BAD_PACKET, p->frame->len);
		return;
	}
	if (p->v6 && p->l4[0] >= ND_ROUTER_SOLICIT && p->l4[0] <= ND_REDIRECT) {
		ndp_input(u, p);
		return;
	}
	if (p->l4[0] != kinds[p->v6].request || p->l4[1] != 0 || IN6_IS_ADDR_UNSPECIFIED(&p->src)) {
		twx_port_drop(u->port, TWX_DROP_NOT_FOR_US, p->frame->len);
		return;
	}
	if (user_owns(u, &p->dst) || is_ours_too(&p->dst))
		answer(u, p);
	else
		forward(u, p);
}
