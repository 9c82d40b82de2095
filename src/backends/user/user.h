/* SPDX-License-Identifier: BSD-3-Clause */
/* The user-mode network backend: shared state and the calls between its files. */
#ifndef USER_H
#define USER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <twinax/net.h>
#include <twinax/option.h>

#include "backends/user/flow.h"

#define USER_ETH_LEN 14
#define ETH_IP4 0x0800
#define ETH_ARP 0x0806
#define ETH_IP6 0x86dd
#define USER_MTU 1500  /* IP packets to and from the guest, without GSO */
#define USER_LEASES 16 /* DHCP addresses from dhcpstart on, as QEMU's */
#define USER_NEIGHS 64 /* guest addresses whose MAC is remembered */
#define USER_OUT_ARENA 131072
#define USER_OWN 16	     /* addresses of guestfwd= */
#define USER_IDLE_S 60	     /* of a datagram flow (RFC 5508, REQ-2) */
#define USER_SEARCH_MAX 1024 /* names of dnssearch= in wire form */
#define USER_PARKED 16 /* frames that wait for the answer to an ARP request or a solicitation */
#define USER_IP4_LEN 20
#define USER_IP6_LEN 40
#define USER_IP6_FRAG_LEN 8
#define USER_HDR_MAX (USER_ETH_LEN + USER_IP6_LEN) /* of our own packets, in front of L4 */

/* A host-side address; unused bytes are zero, so that two of them can be compared as bytes. */
union user_addr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* All IPv4 addresses in network order. */
struct user_config {
	bool restricted;
	bool ipv4, ipv6;      /* at least one */
	bool no_dns, no_dhcp; /* these services are not there */
	struct in_addr net, mask, host, dns, dhcp_start;
	struct in6_addr prefix6, host6, dns6; /* prefix6: no bits behind the prefix */
	uint8_t prefix6_len;		      /* 1..126 */
	char *hostname, *domainname, *bootfile, *tftp_root, *tftp_server_name; /* owned */
	uint32_t mtu;
	uint32_t max_flows;
	union user_addr dns_host;   /* the resolver to use; family 0: the host's own */
	bool host_loopback;	    /* the host alias leads to the host's loopback */
	bool lan;		    /* IPv4: addresses of net that are not ours are not nobody's */
	char *out_if;		    /* owned; null: any */
	union user_addr out4, out6; /* source addresses; family 0: any */
	int peek_off;		    /* -1 probe, 0 do without SO_PEEK_OFF, 1 required */
};

struct user_neigh {
	struct in6_addr ip;
	uint8_t mac[6];
	uint64_t last_used;
	uint64_t asked; /* when the last question went out; 0: MAC is known */
};

/* A frame that was built before its receiver's MAC was known. */
struct user_parked {
	struct in6_addr ip;
	uint32_t len;
	uint64_t since;
	struct twx_meta meta;
	uint8_t *data; /* malloc()ed; null: slot is free */
};

/* A frame from the guest, parsed once. Pointers lead into frame->iov[0], private memory. */
struct user_pkt {
	const struct twx_frame *frame;
	const uint8_t *eth;
	/* Header, validated; an IPv6 packet's extension headers lie between it and l4. Not a
	 * fragment, except in frag_input(). */
	const uint8_t *ip;
	uint32_t ip_here; /* bytes of the packet that lie in iov[0] */
	const uint8_t *l4;
	uint32_t l4_off;	  /* of l4 in the frame */
	uint32_t l4_len;	  /* by the IP header, all of it present in the frame */
	uint32_t l4_here;	  /* bytes of L4 that lie in iov[0] */
	struct in6_addr src, dst; /* IPv4: mapped; no IPv6 packet has a mapped address */
	uint8_t proto;
	bool v6;
	bool csum_ok; /* L4 checksum need not be verified (NEEDS_CSUM or CSUM_VALID) */
	bool df;      /* may not be fragmented: the DF bit; IPv6: it did not come in fragments */
	uint8_t ttl;  /* or hop limit; not 0 */
	uint8_t tos;  /* or traffic class */
	const uint8_t *frag; /* IPv6: the fragment header; null if there is none */
};

/* Address and port. */
struct user_end {
	struct in6_addr addr;
	uint16_t port;
};

struct rules;	     /* rules.c */
struct user_lanes;   /* lanes.c: workers=N */
struct user_fwd;     /* hostfwd.c */
struct relay;	     /* relay.c */
struct guestfwd;     /* guestfwd.c */
struct user_icmp;    /* icmp.c */
struct user_dns;     /* dns.c */
struct user_dhcp;    /* dhcp.c */
struct user_dhcp6;   /* dhcp6.c */
struct user_ndp;     /* ndp.c */
struct user_tftp;    /* tftp.c */
struct user_smb;     /* smb.c */
struct user_frag;    /* frag.c */
struct user_tcp;     /* tcp.c: bounds, buffers, per-burst state */
struct user_udp;     /* udp.c */
struct user_orphans; /* orphan.c */

struct user {
	struct twx_backend *backend;
	struct twx_port *port;
	struct twx_loop *loop;
	struct user_lanes *lanes; /* null without workers */
	uint32_t lane;		  /* this one's number */
	uint32_t hops;		  /* how often the frame at hand has changed lanes */
	struct user_config cfg;
	uint8_t mac[6];	 /* ours: 52:55 and the host address, as libslirp has it */
	uint8_t mac6[6]; /* ours in IPv6: 52:56 and the end of the host address */
	struct user_neigh neighs[USER_NEIGHS];
	uint32_t neigh_hint; /* most recently found */
	struct user_parked parked[USER_PARKED];
	struct flow_table flows;
	/* frames for the guest, gathered until user_flush() */
	struct twx_frame out[TWX_BURST];
	struct iovec out_iov[TWX_BURST];
	int n_out;
	uint8_t *arena;
	uint32_t arena_used;
	struct twx_task flush_task; /* deferred user_flush() */
	struct twx_timer age_timer;
	struct twx_task ready_task; /* deferred twx_port_ready() */
	bool sending; /* a frame is on its way to the guest: receive() takes nothing */
	uint16_t ip_id;
	uint32_t ip6_id;	/* of fragments */
	struct rules *rules;	/* null: everything is allowed */
	unsigned int out_index; /* of cfg.out_if, at that time */
	uint64_t out_index_at;
	struct user_fwd *fwd;
	struct relay *relays;
	uint32_t n_relays;
	struct guestfwd *guestfwds;
	uint32_t n_programs;	      /* that run for guestfwd= */
	struct in_addr own[USER_OWN]; /* addresses that are ours by guestfwd= */
	uint32_t n_own;
	struct in6_addr own6[4 + USER_OWN]; /* host, DNS, link-local ones of both, guestfwd= */
	uint32_t n_own6;
	struct user_icmp *icmp;
	struct user_dns *dns;
	struct user_dhcp *dhcp;
	struct user_dhcp6 *dhcp6;
	struct user_ndp *ndp;
	struct user_tftp *tftp;
	struct user_smb *smb;
	uint8_t *search; /* the names of dnssearch=, one behind the other; null: none */
	uint32_t search_len;
	struct user_frag *frag;
	struct user_tcp *tcp;
	struct user_udp *udp;
	struct user_orphans *orphans; /* null: nothing is recorded */
};

/* --- addresses --- */

static inline struct in_addr user_v4(const struct in6_addr *a)
{
	return (struct in_addr){ a->s6_addr32[3] };
}
static inline bool user_is_v4(const struct in6_addr *a)
{
	uint64_t front;

	/* Asked for every packet: fewer steps than IN6_IS_ADDR_V4MAPPED(). */
	memcpy(&front, a, sizeof(front));
	return a->s6_addr32[2] == htonl(0xffff) && !front;
}
static inline bool user_same(const struct in6_addr *a, const struct in6_addr *b)
{
	return !memcmp(a, b, sizeof(*a));
}
static inline uint32_t user_ip_len(const struct in6_addr *a)
{
	return user_is_v4(a) ? USER_IP4_LEN : USER_IP6_LEN;
}

/* --- user.c --- */

/* Room for a frame of @len bytes (at most USER_OUT_ARENA), zeroed up to 60 bytes if shorter;
 * flushes first when there is none. */
uint8_t *user_out_alloc(struct user *u, uint32_t len);
/* The frame just allocated joins the batch (padded to 60 bytes), which goes out at the end of this
 * round of the loop or when it is full. */
void user_out(struct user *u, uint32_t len, const struct twx_meta *meta);
void user_flush(struct user *u);
/* Something that ages (a datagram flow, a fragment) has come into being: the timer runs while there
 * is any. */
void user_age_soon(struct user *u);
/*
 * twx_port_send() with the guard that every file here needs: while it runs, the guest's side cannot
 * re-enter receive(), so flows stay where they are. Flushes the batch first, to keep the order.
 * Whoever calls twx_port_commit() sets u->sending around it likewise.
 */
int user_send(struct user *u, const struct twx_frame *frames, int n);
/* twx_port_post() with the same guard. */
void user_post(struct user *u, const struct twx_frame *frames, int n);
/*
 * Ethernet and IP header for a packet of @l4_len bytes behind it; returns where L4 begins. TTL or
 * hop limit is 64; DF is set. The destination MAC comes from user_neigh_find(), a multicast address
 * has its own; when it is unknown, user_out() parks the frame and asks by ARP or ndp_solicit().
 */
uint8_t *user_ip4_header(struct user *u, uint8_t *frame, struct in_addr src, struct in_addr dst,
			 uint8_t proto, uint32_t l4_len);
uint8_t *user_ip6_header(struct user *u, uint8_t *frame, const struct in6_addr *src,
			 const struct in6_addr *dst, uint8_t proto, uint32_t l4_len);
/* The one of the two that the addresses are of. */
uint8_t *user_ip_header(struct user *u, uint8_t *frame, const struct in6_addr *src,
			const struct in6_addr *dst, uint8_t proto, uint32_t l4_len);

/* MAC of a guest address, or null. Learned from ARP and NDP and from every valid source inside the
 * network. */
const uint8_t *user_neigh_find(struct user *u, const struct in6_addr *ip);
void user_neigh_learn(struct user *u, const struct in6_addr *ip, const uint8_t mac[6]);
/* True once a second for each address. */
bool user_neigh_may_ask(struct user *u, const struct in6_addr *ip);

/*
 * Where a connection or datagram of the guest to @dst really goes: the host alias becomes
 * 127.0.0.1 or ::1, others stay. 0, -EACCES (restrict),
 * -ECONNREFUSED (an alias of ours, and nothing is there; the DNS alias has the forwarder alone),
 * -EADDRNOTAVAIL (multicast, broadcast, loopback, unspecified, port 0, an address of the virtual
 * network that nobody has). At least sizeof(union user_addr) bytes of @to are filled, unused ones
 * with zeros.
 */
int user_map_out(struct user *u, const struct in6_addr *dst, uint16_t port, uint8_t proto,
		 struct sockaddr_storage *to, socklen_t *to_len);
/* By the egress rules (rules.h): 0 or -EPERM. */
int user_may_go(struct user *u, const struct in6_addr *dst, uint16_t port, uint8_t proto);
/* Drops a packet that user_map_out() or user_may_go() refused with @err; the guest is told where a
 * router or host would tell: "prohibited" for the rules, port unreachable on an alias of ours, host
 * unreachable for an address of its network that nobody has. */
void user_refuse(struct user *u, const struct user_pkt *p, int err);
/* The address under which @guest sees a host-side peer: loopback, unspecified, whatever lies inside
 * the virtual network, and what is not of the guest's family become the host alias. */
struct in6_addr user_map_in(struct user *u, const struct sockaddr *from,
			    const struct in6_addr *guest);

/* Is it an address that we answer for (host or DNS alias, one of guestfwd=)? */
static inline bool user_is_ours(const struct user *u, struct in_addr a)
{
	if (!u->cfg.ipv4)
		return false;
	for (uint32_t i = 0; i < u->n_own; i++)
		if (a.s_addr == u->own[i].s_addr)
			return true;
	return a.s_addr == u->cfg.host.s_addr || a.s_addr == u->cfg.dns.s_addr;
}
static inline bool user_in_net(const struct user *u, struct in_addr a)
{
	return (a.s_addr & u->cfg.mask.s_addr) == u->cfg.net.s_addr;
}
bool user_in_prefix(const struct user_config *c, const struct in6_addr *a);
/* Of either family: is it ours; is it an address of the virtual network (link-local ones too)? */
bool user_owns(const struct user *u, const struct in6_addr *a);
bool user_on_link(const struct user *u, const struct in6_addr *a);
/* May a guest have it? */
bool user_may_be_guest(const struct user *u, const struct in6_addr *a);
/* The gateway's address for guests of the family of @like; link-local if that is. */
struct in6_addr user_gateway(const struct user *u, const struct in6_addr *like);
/* Likewise the DNS alias; and is it one? */
struct in6_addr user_name_server(const struct user *u, const struct in6_addr *like);
bool user_is_dns6(const struct user *u, const struct in6_addr *a);
bool user_is_host6(const struct user *u, const struct in6_addr *a);
static inline bool user_is_dns(const struct user *u, const struct in6_addr *a)
{
	return user_is_v4(a) ? user_v4(a).s_addr == u->cfg.dns.s_addr : user_is_dns6(u, a);
}
/* Nobody else than the guest has it, or nobody at all. */
static inline bool user_is_virtual(const struct user *u, struct in_addr a)
{
	return user_in_net(u, a) && (!u->cfg.lan || a.s_addr == u->cfg.dhcp_start.s_addr);
}
/* All ones, or the last address of the virtual network. */
static inline bool user_is_broadcast(const struct user *u, struct in_addr a)
{
	return a.s_addr == INADDR_BROADCAST ||
	       (~u->cfg.mask.s_addr && a.s_addr == (u->cfg.net.s_addr | ~u->cfg.mask.s_addr));
}

/* --- ip.c --- */

/* Fills the checksum field of the UDP header at @udp, with its data behind it, @len bytes in all.
 */
void user_udp_csum(uint8_t *udp, const struct in6_addr *src, const struct in6_addr *dst,
		   uint32_t len);
/* The pseudo header's sum, RFC 9293, 3.1, or RFC 8200, 8.1. */
uint64_t user_pseudo(const struct in6_addr *src, const struct in6_addr *dst, uint8_t proto,
		     uint32_t len);

/* What a packet of our own says about itself besides its payload. */
struct user_ip {
	struct in6_addr src, dst;
	uint8_t proto, ttl, tos;
};
/* Builds, fragments above the MTU, and gathers for the guest. @l4 is header and payload, checksum
 * done. */
void user_ip_send(struct user *u, const struct user_ip *h, const struct iovec *l4, int n);

/* Largest packet to the guest. RFC 8200, section 5: no link of IPv6 is narrower than 1280. */
static inline uint32_t user_mtu(const struct user *u, bool v6)
{
	return v6 && u->cfg.mtu < 1280 ? 1280 : u->cfg.mtu;
}

/* Copies @len bytes of L4 payload starting @off bytes into L4; false if they are not there. */
bool user_pkt_copy(const struct user_pkt *p, uint32_t off, void *buf, uint32_t len);
/* The L4 data from @off on as iovecs; count, or -E2BIG. */
int user_pkt_iov(const struct user_pkt *p, uint32_t off, struct iovec *iov, int max);
/* Verifies the checksum of TCP, UDP or ICMPv6 unless p->csum_ok (pseudo header included). */
bool user_pkt_csum_ok(const struct user_pkt *p);

static inline uint16_t user_get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}
static inline uint32_t user_get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline void user_put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}
static inline void user_put32(uint8_t *p, uint32_t v)
{
	user_put16(p, v >> 16);
	user_put16(p + 2, v);
}
/* The header in front of @len bytes: no class, no label, hop limit 64. */
static inline void user_put_ip6(uint8_t *ip, const struct in6_addr *src, const struct in6_addr *dst,
				uint8_t proto, uint32_t len)
{
	user_put32(ip, 0x60000000);
	user_put16(ip + 4, len);
	ip[6] = proto;
	ip[7] = 64;
	memcpy(ip + 8, src, 16);
	memcpy(ip + 24, dst, 16);
}
static inline struct in6_addr user_mapped(struct in_addr a)
{
	struct in6_addr m = { .s6_addr = { [10] = 0xff, [11] = 0xff } };
	m.s6_addr32[3] = a.s_addr;
	return m;
}

/* --- per protocol; *_input once per frame, *_burst_end once per burst, before the frames are gone
 * --- */
void arp_input(struct user *u, const struct twx_frame *f);
void arp_request(struct user *u, struct in_addr target);
/* A request that is there to be learned from: the guest need not ask for the gateway's MAC. */
void arp_introduce(struct user *u, struct in_addr target, const uint8_t mac[6]);

/* --- ndp.c: neighbour discovery (RFC 4861) --- */
int ndp_init(struct user *u, struct twx_error *e);
void ndp_fini(struct user *u);
/* ICMPv6 types 133..137, checksum and length (8 bytes at least) verified. */
void ndp_input(struct user *u, const struct user_pkt *p);
/* Asks for the MAC of @target, an address of the virtual network, unless that was just done. */
void ndp_solicit(struct user *u, const struct in6_addr *target);
/* As arp_introduce(). */
void ndp_introduce(struct user *u, const struct in6_addr *target, const uint8_t mac[6]);

/* --- sock.c: host sockets that carry datagrams --- */

/* What a datagram socket was last told. */
struct user_sock {
	uint8_t ttl; /* 0: the host's default */
	uint8_t df;  /* the guest's DF: 0 not set yet, 1 clear, 2 set */
};
/* Makes @fd send as the guest's packet asks: one TTL (or hop limit) less, DF as is. */
void sock_follow(int fd, struct user_sock *s, bool v6, uint8_t ttl, bool df);
/* Reports what the socket's error queue holds to the guest as ICMP errors about datagrams of @f.
 * Returns the MTU of the last "message too long", 0 if there was none. */
uint32_t sock_errors(struct user *u, struct flow *f);
/* One ICMP error about the packet @orig of the guest that the host's kernel refused with @err. */
void sock_refused(struct user *u, int err, uint32_t mtu, const uint8_t *orig, uint32_t len);

/* Why a packet of the guest came to nothing, in the words of both ICMPs. */
enum user_why {
	USER_NO_ROUTE,
	USER_NO_HOST,
	USER_NO_PORT,
	USER_NO_PROTOCOL,
	USER_PROHIBITED,
	USER_TOO_BIG,	 /* with the MTU */
	USER_HOPS,	 /* TTL or hop limit used up */
	USER_REASSEMBLY, /* fragments missing when time ran out */
	USER_N_WHY
};
/* An ICMP or ICMPv6 error to the sender of @orig, an IP packet of the guest of which @len bytes are
 * at hand; source is @from, null: the gateway. Never about what nobody may complain of (ICMP
 * errors, broadcasts, multicast, fragments > 0), and limited in rate. @mtu: of USER_TOO_BIG. */
void user_complain(struct user *u, enum user_why why, uint32_t mtu, const struct in6_addr *from,
		   const uint8_t *orig, uint32_t len);

int icmp_init(struct user *u, struct twx_error *e);
void icmp_input(struct user *u, const struct user_pkt *p);
void icmp_fini(struct user *u);
void icmp_age(struct user *u, uint64_t now);
bool icmp_flow_is_raw(const struct flow *f);
/* An ICMP error (type, code; @info: MTU, pointer) as user_complain() sends it, where the host's
 * kernel gave type and code. Types are of the family of @orig. */
void icmp_send_error(struct user *u, uint8_t type, uint8_t code, uint32_t info,
		     const struct in6_addr *from, const uint8_t *orig, uint32_t len);

int udp_init(struct user *u, struct twx_error *e);
void udp_input(struct user *u, const struct user_pkt *p);
void udp_burst_end(struct user *u);
void udp_resume(struct user *u); /* the guest takes frames again */
void udp_fini(struct user *u);
void udp_age(struct user *u, uint64_t now);
/* Address and port under which the guest knows @real, a peer of its flow @f (UDP or ICMP). */
struct user_end udp_seen_as(struct user *u, const struct flow *f, const struct sockaddr *real);
/* A datagram to the guest from @src:@sport; fragments above the MTU. */
void udp_to_guest(struct user *u, const struct in6_addr *src, uint16_t sport,
		  const struct in6_addr *dst, uint16_t dport, const void *data, uint32_t len);

int tcp_init(struct user *u, struct twx_error *e);
void tcp_input(struct user *u, const struct user_pkt *p);
void tcp_burst_end(struct user *u);
void tcp_resume(struct user *u); /* the guest takes frames again */
/* A connection accepted on the host (@fd is taken), to be opened towards the guest. @from is the
 * guest-visible source. */
void tcp_from_host_take(struct user *u, int fd, const struct in6_addr *from, uint16_t from_port,
			const struct in6_addr *guest, uint16_t guest_port);
void tcp_fini(struct user *u); /* resets every flow towards both sides */

/* --- orphan.c: connections that a killed predecessor left behind --- */
void orphan_init(struct user *u); /* once all else is open */
void orphan_fini(struct user *u); /* in good order: nothing is left behind */
/* An open TCP connection, and its end. */
void orphan_record(struct user *u, struct flow *f);
void orphan_wipe(struct user *u, struct flow *f);
void orphan_resume(struct user *u); /* the guest takes frames again */
/* A segment of a connection that no flow knows: it is about to be reset. */
void orphan_answered(struct user *u, const struct flow_key *key);
/* The guest has come from another process with a connection of its own: orphan_begin() then goes
 * about all of them. One that cannot be is left out. */
void orphan_expect(struct user *u, const struct flow_key *key, const uint8_t mac[6]);
void orphan_begin(struct user *u);

/* --- search.c: dnssearch= --- */
int search_init(struct user *u, const struct twx_opts *opts, struct twx_error *e);
void search_fini(struct user *u);

int dhcp_init(struct user *u, struct twx_error *e);
void dhcp_input(struct user *u, const struct user_pkt *p, const uint8_t *data, uint32_t len);
void dhcp_fini(struct user *u);
/* The lease of the @i-th address, if there is one, and the seconds that are left of it. */
bool dhcp_lease(struct user *u, uint32_t i, uint8_t mac[6], uint32_t *left);
void dhcp_lease_set(struct user *u, uint32_t i, const uint8_t mac[6], uint32_t left);

/* --- dhcp6.c: DHCPv6 (RFC 8415) --- */
int dhcp6_init(struct user *u, struct twx_error *e);
/* A datagram to ff02::1:2 (or an address of ours), port 547: @data is its private copy. */
void dhcp6_input(struct user *u, const struct user_pkt *p, const uint8_t *data, uint32_t len);
void dhcp6_fini(struct user *u);
/* The address that its first client gets; false: the network is too small. */
bool dhcp6_first(struct user *u, struct in6_addr *a);

int tftp_init(struct user *u, struct twx_error *e);
void tftp_input(struct user *u, const struct user_pkt *p, const uint8_t *data, uint32_t len);
void tftp_fini(struct user *u);

/* smb=, with QEMU's errors; smb_fini() comes after guestfwd_fini(). */
int smb_init(struct user *u, const struct twx_opts *opts, struct twx_error *e);
void smb_fini(struct user *u);

int frag_init(struct user *u);
/* A fragment; when it completes a packet, that is passed on as one frame. */
void frag_input(struct user *u, const struct user_pkt *p);
void frag_fini(struct user *u);
bool frag_age(struct user *u, uint64_t now); /* true if there is something left to age */

/* hostfwd=, and hostfwd_add while it runs. Errors as in QEMU ("Invalid host forwarding rule 'R' (No
 * : separators)"). */
int hostfwd_add(struct user *u, const char *rule, struct twx_error *e);
/* @rule is the host's side of one. -EINVAL it is none, -ENOENT there is no such forward. What came
 * through it and is open stays so. */
int hostfwd_remove(struct user *u, const char *rule);
void hostfwd_fini(struct user *u);
/* The forward that binds guest UDP replies to their listening socket: true if it was sent there. */
bool hostfwd_udp_reply(struct user *u, const struct user_pkt *p);

/* guestfwd=, with QEMU's errors. */
int guestfwd_add(struct user *u, const char *rule, struct twx_error *e);
/*
 * Without a text, while it runs. @addr 0.0.0.0 becomes the first that is not a server's. A hook
 * gets one end of a pair of connected TCP sockets for each connection, takes it in any case, and
 * says 0 or -errno.
 */
typedef int guestfwd_take_fn(void *opaque, int fd);
int guestfwd_add_hook(struct user *u, struct in_addr *addr, uint16_t port, guestfwd_take_fn *take,
		      void *opaque, struct twx_error *e);
int guestfwd_add_command(struct user *u, struct in_addr *addr, uint16_t port, const char *command,
			 struct twx_error *e);
/* 0 or -ENOENT. Programs of its connections are ended; a hook's end of the others is its own. */
int guestfwd_remove(struct user *u, struct in_addr addr, uint16_t port);
void guestfwd_fini(struct user *u);
/* The rule for an address and port, or null. */
struct guestfwd *guestfwd_find(struct user *u, const struct in6_addr *addr, uint16_t port);
/* A connected socket for a new connection to it: or -errno, -ECONNREFUSED when its chardev is not
 * free.
 */
int guestfwd_connect(struct guestfwd *g);
/* Two connected non-blocking TCP sockets, for an end of a flow that is not the network: 0 or
 * -errno. */
int guestfwd_pair(struct user *u, int fd[2]);

/* --- relay.c: bytes between two sockets of this process --- */

/* Takes both descriptors in any case; ends by itself. 0 or -errno. */
int relay_start_take(struct user *u, int a, int b);
void relay_fini(struct user *u);

int dns_init(struct user *u);
void dns_fini(struct user *u);
/* A datagram to port 53 of the DNS alias, length and checksum verified. */
void dns_input(struct user *u, const struct user_pkt *p);
/* A connected socket for a new connection to it, or -errno: -ECONNREFUSED when the host has no
 * resolver. */
int dns_tcp_connect(struct user *u, const struct in6_addr *alias);

/* --- outbound.c --- */
int outbound_parse(struct user_config *c, const struct twx_opts *o, struct twx_error *e);
int outbound_check(struct user *u, struct twx_error *e);
/* Prepares a socket that is about to connect to @to, or to send there: 0 or -errno. */
int sock_outbound(struct user *u, int fd, const struct sockaddr *to);
/* The same as control data of one datagram; its length, 0: none is needed. */
#define SOCK_OUTBOUND_ROOM 48
size_t sock_outbound_control(struct user *u, void *control, size_t room, const struct sockaddr *to);

extern const struct twx_backend_type user_backend;

/* --- options.c --- */
extern const struct twx_opt_desc user_options[];
int user_config_parse(struct user_config *c, const struct twx_opts *o, struct twx_error *e);
void user_config_free(struct user_config *c);

/* A frame of each kind; reassembled packets enter here again. */
void user_input_ip4(struct user *u, const struct twx_frame *f);
/* ip6.c; @parts: it came as fragments, and may leave as such. */
void user_input_ip6(struct user *u, const struct twx_frame *f, bool parts);
/* What both have behind their headers: to the protocol that it is for. */
void user_dispatch(struct user *u, const struct user_pkt *p);
/* Where in an IPv6 packet, of which @len (40 or more) bytes are at hand, the upper layer begins,
 * and what it is; @len if that is not at hand. */
uint32_t ip6_upper(const uint8_t *ip, uint32_t len, uint8_t *proto);
/* Where the byte is that says what it is. */
uint32_t ip6_upper_type_at(const uint8_t *ip, uint32_t len);

#endif
