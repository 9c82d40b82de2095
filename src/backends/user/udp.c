/* SPDX-License-Identifier: BSD-3-Clause */
/* UDP (RFC 768) of the user-mode network: flows, and datagrams from the guest to the host's
 * sockets. */

/*
 * One socket per guest address and port, whatever the peers: endpoint-independent mapping and
 * filtering (RFC 4787, REQ-1 and REQ-8), so that a guest behind us can do what it could behind a
 * good NAT.
 *
 * Out: udp_input() checks a datagram, finds its flow and remembers where its payload lies in the
 * frame; udp_burst_end(), before the frames are gone, sends each socket's datagrams by one
 * sendmmsg() straight from there. Neighbours of one size to one peer become one message with
 * UDP_SEGMENT, and so does a segmentation-offload (USO) frame. TTL and DF follow the guest's
 * packet. A datagram that the host's socket has no room for is dropped, as on any wire. In:
 * udp_recv.c. Errors: sock.c turns the sockets' error queues into ICMP.
 *
 * Bounds: a quarter of max-flows; the least recently used flow gives way. Idle flows end after 60 s
 * (less than RFC 4787's two minutes, as is usual for guests with few ports). Egress rules are asked
 * when a flow turns to another peer than that of its last datagram. Ports 0 are dropped. A checksum
 * of 0 means none.
 */
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/user/udp.h"
#include "base/iov.h"
#include "base/macros.h"
#include "net/fault.h"

#define MAX_PENDING 64
#define MAX_IOV 1024 /* as many as the kernel takes for one message */
#define IDLE_NS (USER_IDLE_S * 1000000000ull)
#define UDP_HDR 8
#define CONTROL_ROOM (SOCK_OUTBOUND_ROOM + CMSG_SPACE(sizeof(uint16_t)))
#define MAX_PAYLOAD 65507
#define MAX_SEGMENTS 64 /* the kernel's bound since 4.18 */

/* A datagram on its way out; valid during one burst. */
struct udp_pending {
	int fd;
	uint32_t flow; /* index + 1; 0: none */
	int iov, n_iov;
	uint32_t len;
	uint16_t gso;
	union user_addr to;
	const uint8_t *ip; /* the guest's packet, for errors about it */
	uint32_t ip_here, frame_len;
	uint8_t ttl;
	bool df, done;
};

int udp_init(struct user *u, struct twx_error *e)
{
	struct user_udp *s = calloc(1, sizeof(*s));
	int ret = -ENOMEM;

	u->udp = s;
	if (s) {
		s->pending = calloc(MAX_PENDING, sizeof(*s->pending));
		s->iov = calloc(MAX_IOV, sizeof(*s->iov));
		if (s->pending && s->iov)
			ret = udp_recv_init(u, &s->recv);
	}
	if (ret)
		twx_error_set(e, -ret, "netdev %s: out of memory", u->backend->id);
	return ret;
}

static void flow_end(struct user *u, struct flow *f)
{
	udp_unpause(u, f);
	flow_free(&u->flows, f);
}

void udp_fini(struct user *u)
{
	struct flow *f;

	if (!u->udp)
		return;
	while ((f = flow_oldest(&u->flows, FLOW_UDP)))
		flow_end(u, f);
	udp_recv_fini(&u->udp->recv);
	free(u->udp->pending);
	free(u->udp->iov);
	free(u->udp);
	u->udp = NULL;
}

void udp_age(struct user *u, uint64_t now)
{
	struct flow *f = flow_oldest(&u->flows, FLOW_UDP);

	while (f && now - f->last_used > IDLE_NS) {
		flow_end(u, f);
		f = flow_oldest(&u->flows, FLOW_UDP);
	}
	udp_recv_trim(u);
}

/* --- flows --- */

static bool drop_oldest(struct user *u)
{
	struct flow *f = flow_oldest(&u->flows, FLOW_UDP);

	if (!f)
		return false;
	udp_burst_end(u); /* datagrams of this very flow may be pending */
	flow_end(u, f);
	return true;
}

struct flow *udp_flow_new(struct user *u, const struct flow_key *key)
{
	uint64_t now = twx_loop_now(u->loop);
	struct flow *f;

	if (u->flows.count[FLOW_UDP] >= u->flows.max / 4)
		drop_oldest(u);
	f = flow_new(&u->flows, key, now);
	if (!f && drop_oldest(u))
		f = flow_new(&u->flows, key, now);
	if (f)
		user_age_soon(u);
	return f;
}

static int open_socket(bool v6)
{
	int one = 1;
	int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (!v6) {
		setsockopt(fd, IPPROTO_IP, IP_RECVERR, &one, sizeof(one));
		return fd;
	}
	setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &one, sizeof(one));
	/* Who speaks IPv4 would be the gateway for the guest, and could answer for the host. */
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	return fd;
}

static int udp_socket(struct user *u, bool v6)
{
	int fd = open_socket(v6);

	if ((fd == -EMFILE || fd == -ENFILE) && drop_oldest(u))
		fd = open_socket(v6);
	return fd;
}

/* 0 or -errno. */
static int flow_open(struct user *u, const struct flow_key *key, struct flow **out)
{
	int fd = udp_socket(u, !user_is_v4(&key->guest));
	struct flow *f;

	if (fd < 0)
		return fd;
	f = udp_flow_new(u, key);
	if (!f) {
		close(fd);
		return -ENOBUFS;
	}
	f->fd = fd;
	if (twx_watch_add(&flow_io(&u->flows, f)->watch, u->loop, fd, EPOLLIN, udp_flow_event)) {
		flow_end(u, f);
		return -ENOBUFS;
	}
	*out = f;
	return 0;
}

/* The gateway has two addresses in IPv6: it answers from the one that was asked. */
static void answer_from(struct user *u, const struct flow *f, struct in6_addr *from)
{
	const struct in6_addr *asked = &((const struct udp_flow *)f->proto)->allowed.addr;

	if (user_is_host6(u, from) && user_is_host6(u, asked))
		*from = *asked;
}

struct user_end udp_seen_as(struct user *u, const struct flow *f, const struct sockaddr *real)
{
	/* Ports lie at the same place in both families. */
	struct user_end seen = { user_map_in(u, real, &f->key.guest),
				 ntohs(((const union user_addr *)real)->in.sin_port) };

	if (f->key.kind == FLOW_UDP && !user_is_v4(&f->key.guest))
		answer_from(u, f, &seen.addr);
	return seen;
}

/* --- sending --- */

struct udp_out {
	struct mmsghdr msgs[MAX_PENDING];
	union user_addr to[MAX_PENDING];
	int first[MAX_PENDING],
		count[MAX_PENDING];    /* pending datagrams of a message: adjacent ones */
	uint32_t segment[MAX_PENDING]; /* UDP_SEGMENT; 0: one datagram */
	_Alignas(struct cmsghdr) char control[MAX_PENDING][CONTROL_ROOM];
	int n;
};

/* What the datagrams of a message ask of the kernel: the size to cut them at, the way out. */
static void set_control(struct user *u, struct msghdr *m, char *control, uint16_t segment)
{
	size_t len = sock_outbound_control(u, control, CONTROL_ROOM, m->msg_name);
	struct msghdr rest = { .msg_control = control + len,
			       .msg_controllen = CMSG_SPACE(sizeof(segment)) };
	struct cmsghdr *c;

	if (segment) {
		c = CMSG_FIRSTHDR(&rest);
		c->cmsg_level = IPPROTO_UDP;
		c->cmsg_type = UDP_SEGMENT;
		c->cmsg_len = CMSG_LEN(sizeof(segment));
		memcpy(CMSG_DATA(c), &segment, sizeof(segment));
		len += CMSG_SPACE(sizeof(segment));
	}
	m->msg_control = len ? control : NULL;
	m->msg_controllen = len;
}

/* Sends alike: same socket, peer and header fields. */
static bool alike(const struct udp_pending *a, const struct udp_pending *b)
{
	return a->fd == b->fd && !memcmp(&a->to, &b->to, sizeof(a->to)) && a->ttl == b->ttl &&
	       a->df == b->df;
}

/* How many pending datagrams from @i on can be one message: all of one size but the last. */
static int mergeable(const struct user_udp *s, int i)
{
	const struct udp_pending *first = &s->pending[i];
	uint32_t total = first->len;
	int n = 1, n_iov = first->n_iov;

	if (first->gso || !first->len)
		return 1;
	while (i + n < s->n_pending && n < MAX_SEGMENTS) {
		const struct udp_pending *p = &s->pending[i + n];

		if (p->done || p->gso || !p->len || p->len > first->len || !alike(first, p) ||
		    total + p->len > MAX_PAYLOAD || n_iov + p->n_iov > MAX_IOV)
			break;
		total += p->len;
		n_iov += p->n_iov;
		n++;
		if (p->len < first->len)
			break;
	}
	return n;
}

static void add_message(struct user *u, struct udp_out *o, int i, int count)
{
	struct user_udp *s = u->udp;
	const struct udp_pending *p = &s->pending[i];
	struct msghdr *m = &o->msgs[o->n].msg_hdr;
	int n_iov = 0;

	for (int k = 0; k < count; k++) {
		n_iov += s->pending[i + k].n_iov;
		s->pending[i + k].done = true;
	}
	o->first[o->n] = i;
	o->count[o->n] = count;
	o->to[o->n] = p->to;
	*m = (struct msghdr){ .msg_name = &o->to[o->n],
			      .msg_namelen = p->to.sa.sa_family == AF_INET ? sizeof(p->to.in)
									   : sizeof(p->to.in6),
			      .msg_iov = s->iov + p->iov,
			      .msg_iovlen = (size_t)n_iov };
	o->segment[o->n] = p->gso ? p->gso : count > 1 ? p->len : 0;
	set_control(u, m, o->control[o->n], (uint16_t)o->segment[o->n]);
	o->n++;
}

static void message_dropped(struct user *u, const struct udp_pending *p, int err, uint32_t mtu)
{
	if (err == EFAULT)
		fault_report(u->backend->net, u->udp->iov + p->iov, (size_t)p->n_iov);
	twx_port_drop(u->port,
		      err == EAGAIN || err == ENOBUFS ? TWX_DROP_LIMIT : TWX_DROP_HOST_ERROR,
		      p->frame_len);
	sock_refused(u, err, mtu, p->ip, p->ip_here);
}

/* No segmentation on that way (the device, or an MTU under the size): the datagrams of a message
 * one by one. */
static void send_pieces(struct user *u, struct flow *f, const struct msghdr *whole,
			const struct udp_pending *p, uint32_t size)
{
	uint32_t total = (uint32_t)iov_len(whole->msg_iov, whole->msg_iovlen);
	_Alignas(struct cmsghdr) char control[CONTROL_ROOM];
	struct msghdr m = *whole;
	struct iovec iov[64];

	m.msg_iov = iov;
	set_control(u, &m, control, 0);
	for (uint32_t off = 0; off < total; off += size) {
		uint32_t len = min(size, total - off);

		m.msg_iovlen = iov_slice(iov, array_size(iov), whole->msg_iov, whole->msg_iovlen,
					 off, len);
		if (iov_len(iov, m.msg_iovlen) != len || sendmsg(p->fd, &m, MSG_DONTWAIT) < 0) {
			int err = errno;

			message_dropped(u, p, err, sock_errors(u, f));
			return;
		}
	}
}

/* Message @k of @o failed twice with @err. */
static void message_failed(struct user *u, struct flow *f, const struct udp_out *o, int k, int err,
			   uint32_t mtu)
{
	const struct udp_pending *p = &u->udp->pending[o->first[k]];

	if (o->segment[k] && f && (err == EINVAL || err == EMSGSIZE || err == EIO)) {
		udp_flow_of(f)->no_segment = true;
		send_pieces(u, f, &o->msgs[k].msg_hdr, p, o->segment[k]);
		return;
	}
	for (int i = 0; i < o->count[k]; i++)
		message_dropped(u, p + i, err, mtu);
}

static void send_messages(struct user *u, int fd, struct flow *f, struct udp_out *o)
{
	bool retried = false;
	int k = 0;

	while (k < o->n) {
		int err, n = sendmmsg(fd, o->msgs + k, (unsigned int)(o->n - k), MSG_DONTWAIT);
		uint32_t mtu = 0;

		if (n > 0) {
			k += n;
			retried = false;
			continue;
		}
		err = n < 0 ? errno : EIO;
		if (f)
			mtu = sock_errors(u, f);
		/* The error may have been an earlier datagram's, which is told by now: try once
		 * more. */
		if (err != EAGAIN && !retried) {
			retried = true;
			continue;
		}
		message_failed(u, f, o, k, err, mtu);
		k++;
		retried = false;
	}
}

/* Sends what is pending for the socket of datagram @i and like it in TTL and DF. */
static void send_group(struct user *u, int i)
{
	struct user_udp *s = u->udp;
	struct udp_pending *first = &s->pending[i];
	struct flow *f = first->flow ? &u->flows.flows[first->flow - 1] : NULL;
	struct udp_out o;
	int fd = first->fd;

	o.n = 0;
	if (f)
		sock_follow(fd, &udp_flow_of(f)->sock, !user_is_v4(&f->key.guest), first->ttl,
			    first->df);
	while (i < s->n_pending) {
		struct udp_pending *p = &s->pending[i];
		int count = 1;

		if (p->done || p->fd != fd) {
			i++;
			continue;
		}
		/* Order within a socket is kept: what asks for another TTL or DF waits for the next
		 * group. */
		if (f && (p->ttl != first->ttl || p->df != first->df))
			break;
		if (f && !udp_flow_of(f)->no_segment)
			count = mergeable(s, i);
		add_message(u, &o, i, count);
		i += count;
	}
	TWX_TRACE(u->port->trace, TWX_HOP_SENDMSG, u->port->name, first->len, o.n);
	send_messages(u, fd, f, &o);
}

void udp_burst_end(struct user *u)
{
	struct user_udp *s = u->udp;

	for (int i = 0; i < s->n_pending; i++)
		while (!s->pending[i].done)
			send_group(u, i);
	s->n_pending = 0;
	s->n_iov = 0;
}

void udp_queue(struct user *u, const struct user_pkt *p, int fd, struct flow *f,
	       const union user_addr *to)
{
	struct user_udp *s = u->udp;
	struct udp_pending *q;
	int n;

	if (s->n_pending == MAX_PENDING)
		udp_burst_end(u);
	n = user_pkt_iov(p, UDP_HDR, s->iov + s->n_iov, MAX_IOV - s->n_iov);
	if (n < 0 && s->n_iov) {
		udp_burst_end(u);
		n = user_pkt_iov(p, UDP_HDR, s->iov, MAX_IOV);
	}
	if (n < 0) {
		twx_port_drop(u->port, TWX_DROP_BAD_PACKET, p->frame->len);
		return;
	}
	q = &s->pending[s->n_pending++];
	*q = (struct udp_pending){
		.fd = fd,
		.flow = f ? flow_index(&u->flows, f) + 1 : 0,
		.iov = s->n_iov,
		.n_iov = n,
		.len = p->l4_len - UDP_HDR,
		.gso = p->frame->meta.gso == TWX_GSO_UDP_L4 ? p->frame->meta.gso_size : 0,
		.to = *to,
		.ip = p->ip,
		.ip_here = p->ip_here,
		.frame_len = p->frame->len,
		.ttl = p->ttl,
		.df = p->df,
	};
	s->n_iov += n;
}

/* --- input --- */

/* Is it where the flow's last datagram went? */
static bool was_allowed(struct flow *f, const struct user_pkt *p, uint16_t dport)
{
	const struct user_end *last = f ? &udp_flow_of(f)->allowed : NULL;

	return last && last->port == dport && user_same(&last->addr, &p->dst);
}

static void to_peer(struct user *u, const struct user_pkt *p, uint16_t sport, uint16_t dport)
{
	struct flow_key key = { .guest = p->src, .guest_port = sport, .kind = FLOW_UDP };
	struct flow *f = flow_find(&u->flows, &key);
	struct sockaddr_storage ss;
	socklen_t len;
	int ret = user_map_out(u, &p->dst, dport, IPPROTO_UDP, &ss, &len);

	if (!ret && u->rules && !was_allowed(f, p, dport))
		ret = user_may_go(u, &p->dst, dport, IPPROTO_UDP);
	if (ret) {
		user_refuse(u, p, ret);
		return;
	}
	if (!f)
		ret = flow_open(u, &key, &f);
	if (ret) {
		twx_port_drop(u->port, TWX_DROP_LIMIT, p->frame->len);
		sock_refused(u, -ret, 0, p->ip, p->ip_here);
		return;
	}
	flow_touch(&u->flows, f, twx_loop_now(u->loop));
	udp_flow_of(f)->allowed = (struct user_end){ p->dst, dport };
	udp_queue(u, p, f->fd, f, (const union user_addr *)&ss);
}

typedef void server_fn(struct user *u, const struct user_pkt *p, const uint8_t *data, uint32_t len);

static server_fn *server4(const struct user *u, const struct user_pkt *p, uint16_t dport)
{
	struct in_addr dst = user_v4(&p->dst);
	bool host = dst.s_addr == u->cfg.host.s_addr;

	if (dport == 67 && (host || user_is_broadcast(u, dst)))
		return dhcp_input;
	return dport == 69 && host ? tftp_input : NULL;
}

static server_fn *server6(const struct user *u, const struct user_pkt *p, uint16_t dport)
{
	/* RFC 8415, 7.1: all relay agents and servers of the link. */
	static const struct in6_addr all = { .s6_addr = { 0xff, 2, [13] = 1, [15] = 2 } };
	struct in6_addr host = user_gateway(u, &p->dst);

	if (dport == 547 && (user_same(&p->dst, &all) || user_owns(u, &p->dst)))
		return dhcp6_input;
	return dport == 69 && user_same(&p->dst, &host) ? tftp_input : NULL;
}

/* DHCP and TFTP servers of our own; they read a private copy. */
static bool to_server(struct user *u, const struct user_pkt *p, uint16_t dport)
{
	server_fn *server = p->v6 ? server6(u, p, dport) : server4(u, p, dport);
	uint32_t len = p->l4_len - UDP_HDR;
	uint8_t data[1500];

	if (!server)
		return false;
	if (len > sizeof(data) || p->frame->meta.gso || !user_pkt_copy(p, UDP_HDR, data, len))
		twx_port_drop(u->port, TWX_DROP_BAD_PACKET, p->frame->len);
	else
		server(u, p, data, len);
	return true;
}

void udp_input(struct user *u, const struct user_pkt *whole)
{
	struct user_pkt p = *whole;
	uint16_t sport, dport, len;

	TWX_TRACE(u->port->trace, TWX_HOP_USER_UDP, u->port->name, p.l4_len,
		  p.frame->meta.gso_size);
	if (p.l4_here < UDP_HDR)
		goto bad;
	sport = user_get16(p.l4);
	dport = user_get16(p.l4 + 2);
	len = user_get16(p.l4 + 4);
	if (len < UDP_HDR || len > p.l4_len || !sport || !dport)
		goto bad;
	p.l4_len = len;
	p.l4_here = min(p.l4_here, p.l4_len);
	/* RFC 8200, 8.1: in IPv6 there must be one. */
	if ((user_get16(p.l4 + 6) || p.v6) && !user_pkt_csum_ok(&p))
		goto bad;
	if (p.frame->meta.gso == TWX_GSO_UDP_L4 &&
	    (!p.frame->meta.gso_size ||
	     (len - UDP_HDR + p.frame->meta.gso_size - 1) / p.frame->meta.gso_size > MAX_SEGMENTS))
		goto bad;
	if (to_server(u, &p, dport))
		return;
	if (!p.v6 && !user_v4(&p.src).s_addr)
		goto bad;
	if (hostfwd_udp_reply(u, &p))
		return;
	if (dport == 53 && !u->cfg.no_dns && user_is_dns(u, &p.dst))
		dns_input(u, &p);
	else
		to_peer(u, &p, sport, dport);
	return;
bad:
	twx_port_drop(u->port, TWX_DROP_BAD_PACKET, p.frame->len);
}

void udp_resume(struct user *u)
{
	udp_recv_resume(u);
	hostfwd_resume(u);
}
