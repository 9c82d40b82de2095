/* SPDX-License-Identifier: BSD-3-Clause */
/* The user-mode network backend: shared state and the calls between its files. */
#ifndef USER_H
#define USER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include <twinax/net.h>
#include <twinax/option.h>

#include "backends/user/flow.h"

#define USER_ETH_LEN 14
#define USER_MTU 1500  /* IP packets to and from the guest, without GSO */
#define USER_LEASES 16 /* DHCP addresses from dhcpstart on, as QEMU's */
#define USER_NEIGHS 64 /* guest addresses whose MAC is remembered */
#define USER_OUT_ARENA 131072
#define USER_OWN 16    /* addresses of guestfwd= */
#define USER_IDLE_S 60 /* of a datagram flow (RFC 5508, REQ-2) */
#define USER_PARKED 16 /* frames that wait for the answer to an ARP request */

/* All IPv4 addresses in network order. */
struct user_config {
	bool restricted;
	struct in_addr net, mask, host, dns, dhcp_start;
	char *hostname, *domainname, *bootfile, *tftp_root, *tftp_server_name; /* owned */
	uint32_t mtu;
	uint32_t max_flows;
	struct sockaddr_in dns_host; /* the resolver to use; family 0: the host's own */
	int peek_off;		     /* -1 probe, 0 do without SO_PEEK_OFF, 1 required */
};

struct user_neigh {
	struct in_addr ip;
	uint8_t mac[6];
	uint64_t last_used;
	uint64_t asked; /* when the last ARP request went out; 0: MAC is known */
};

/* A frame that was built before its receiver's MAC was known. */
struct user_parked {
	struct in_addr ip;
	uint32_t len;
	uint64_t since;
	struct twx_meta meta;
	uint8_t *data; /* malloc()ed; null: slot is free */
};

/* A frame from the guest, parsed once. Pointers lead into frame->iov[0], private memory. */
struct user_pkt {
	const struct twx_frame *frame;
	const uint8_t *eth;
	const uint8_t
		*ip; /* IPv4 header, validated: version, IHL, total length, checksum, no fragment */
	uint32_t ip_here; /* bytes of the packet that lie in iov[0] */
	const uint8_t *l4;
	uint32_t l4_off;	  /* of l4 in the frame */
	uint32_t l4_len;	  /* by the IP header, all of it present in the frame */
	uint32_t l4_here;	  /* bytes of L4 that lie in iov[0] */
	struct in6_addr src, dst; /* v4-mapped */
	uint8_t proto;
	bool csum_ok; /* L4 checksum need not be verified (NEEDS_CSUM or CSUM_VALID) */
};

struct user_fwd;     /* hostfwd.c */
struct relay;	     /* relay.c */
struct guestfwd;     /* guestfwd.c */
struct user_icmp;    /* icmp.c */
struct user_dns;     /* dns.c */
struct user_dhcp;    /* dhcp.c */
struct user_tftp;    /* tftp.c */
struct user_frag;    /* frag.c */
struct user_tcp;     /* tcp.c: bounds, buffers, per-burst state */
struct user_udp;     /* udp.c */
struct user_orphans; /* orphan.c */

struct user {
	struct twx_backend *backend;
	struct twx_port *port;
	struct twx_loop *loop;
	struct user_config cfg;
	uint8_t mac[6]; /* ours: 52:55 and the host address, as libslirp has it */
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
	struct user_fwd *fwd;
	struct relay *relays;
	uint32_t n_relays;
	struct guestfwd *guestfwds;
	uint32_t n_programs;	      /* that run for guestfwd= */
	struct in_addr own[USER_OWN]; /* addresses that are ours by guestfwd= */
	uint32_t n_own;
	struct user_icmp *icmp;
	struct user_dns *dns;
	struct user_dhcp *dhcp;
	struct user_tftp *tftp;
	struct user_frag *frag;
	struct user_tcp *tcp;
	struct user_udp *udp;
	struct user_orphans *orphans; /* null: nothing is recorded */
};

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
/* Ethernet and IPv4 header (20 bytes, checksum done) for a packet of @l4_len bytes behind it;
 * returns where L4 begins. The destination MAC comes from user_neigh_find(); when it is unknown,
 * user_out() parks the frame and asks by ARP. TTL is 64; DF is set. */
uint8_t *user_ip4_header(struct user *u, uint8_t *frame, struct in_addr src, struct in_addr dst,
			 uint8_t proto, uint32_t l4_len);

/* MAC of a guest address, or null. Learned from ARP and from every valid IPv4 source inside net. */
const uint8_t *user_neigh_find(struct user *u, struct in_addr ip);
void user_neigh_learn(struct user *u, struct in_addr ip, const uint8_t mac[6]);
bool user_neigh_may_ask(struct user *u,
			struct in_addr ip); /* true once a second for each address */

/*
 * Where a connection or datagram of the guest to @dst really goes: the host alias becomes
 * 127.0.0.1, the DNS alias the resolver of resolv.conf, others stay. 0, -EACCES (restrict),
 * -ECONNREFUSED (an alias of ours, and nothing is there: DNS alias with another port, no resolver),
 * -EADDRNOTAVAIL (multicast, broadcast, loopback, unspecified, port 0, an address of the virtual
 * network that nobody has).
 */
int user_map_out(struct user *u, const struct in6_addr *dst, uint16_t port, uint8_t proto,
		 struct sockaddr_storage *to, socklen_t *to_len);
/* Drops a packet that user_map_out() refused with @err; the guest is told where a router or host
 * would tell: port unreachable on an alias of ours, host unreachable for an address of its network
 * that nobody has. */
void user_refuse(struct user *u, const struct user_pkt *p, int err);
/* The address under which the guest sees a host-side peer: loopback, unspecified and whatever lies
 * inside the virtual network become the host alias. */
struct in6_addr user_map_in(struct user *u, const struct sockaddr *from);

/* Is it an address that we answer for (host or DNS alias, one of guestfwd=)? */
static inline bool user_is_ours(const struct user *u, struct in_addr a)
{
	for (uint32_t i = 0; i < u->n_own; i++)
		if (a.s_addr == u->own[i].s_addr)
			return true;
	return a.s_addr == u->cfg.host.s_addr || a.s_addr == u->cfg.dns.s_addr;
}
static inline bool user_in_net(const struct user *u, struct in_addr a)
{
	return (a.s_addr & u->cfg.mask.s_addr) == u->cfg.net.s_addr;
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
void user_udp_csum(uint8_t *udp, struct in_addr src, struct in_addr dst, uint32_t len);

/* What a packet of our own says about itself besides its payload. */
struct user_ip4 {
	struct in_addr src, dst;
	uint8_t proto, ttl, tos;
};
/* Builds, fragments above the MTU, and gathers for the guest. @l4 is header and payload, checksum
 * done. */
void user_ip4_send(struct user *u, const struct user_ip4 *h, const struct iovec *l4, int n);

/* Copies @len bytes of L4 payload starting @off bytes into L4; false if they are not there. */
bool user_pkt_copy(const struct user_pkt *p, uint32_t off, void *buf, uint32_t len);
/* The L4 data from @off on as iovecs; count, or -E2BIG. */
int user_pkt_iov(const struct user_pkt *p, uint32_t off, struct iovec *iov, int max);
/* Verifies the TCP, UDP checksum unless p->csum_ok (pseudo header included). */
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
static inline struct in_addr user_v4(const struct in6_addr *a)
{
	return (struct in_addr){ a->s6_addr32[3] };
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

/* --- sock.c: host sockets that carry datagrams --- */

/* What a datagram socket was last told. */
struct user_sock {
	uint8_t ttl; /* 0: the host's default */
	uint8_t df;  /* the guest's DF: 0 not set yet, 1 clear, 2 set */
};
/* Makes @fd send as the guest's packet asks: one TTL less, DF as is. */
void sock_follow(int fd, struct user_sock *s, const uint8_t *ip);
/* Reports what the socket's error queue holds to the guest as ICMP errors about datagrams of @f.
 * Returns the MTU of the last "message too long", 0 if there was none. */
uint32_t sock_errors(struct user *u, struct flow *f);
/* One ICMP error about the packet @orig of the guest that the host's kernel refused with @err. */
void sock_refused(struct user *u, int err, uint32_t mtu, const uint8_t *orig, uint32_t len);

int icmp_init(struct user *u, struct twx_error *e);
void icmp_input(struct user *u, const struct user_pkt *p);
void icmp_fini(struct user *u);
void icmp_age(struct user *u, uint64_t now);
bool icmp_flow_is_raw(const struct flow *f);
/* An ICMP error (type, code; @mtu for "fragmentation needed") to the sender of @orig, an IPv4
 * packet of the guest of which
 * @len bytes are at hand; source is @from (v4). Never about ICMP errors, broadcasts or fragments >
 * 0. */
void icmp_send_error(struct user *u, uint8_t type, uint8_t code, uint16_t mtu, struct in_addr from,
		     const uint8_t *orig, uint32_t len);

int udp_init(struct user *u, struct twx_error *e);
void udp_input(struct user *u, const struct user_pkt *p);
void udp_burst_end(struct user *u);
void udp_resume(struct user *u); /* the guest takes frames again */
void udp_fini(struct user *u);
void udp_age(struct user *u, uint64_t now);
/* Address and port under which the guest knows @real, a peer of its flow @f (UDP or ICMP). */
struct sockaddr_in udp_seen_as(struct user *u, const struct flow *f,
			       const struct sockaddr_in *real);
/* A datagram to the guest from @src:@sport; fragments above the MTU. */
void udp_to_guest(struct user *u, struct in_addr src, uint16_t sport, struct in_addr dst,
		  uint16_t dport, const void *data, uint32_t len);

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

int dhcp_init(struct user *u, const struct twx_opts *opts, struct twx_error *e);
void dhcp_input(struct user *u, const struct user_pkt *p, const uint8_t *data, uint32_t len);
void dhcp_fini(struct user *u);

int tftp_init(struct user *u, struct twx_error *e);
void tftp_input(struct user *u, const struct user_pkt *p, const uint8_t *data, uint32_t len);
void tftp_fini(struct user *u);

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
void guestfwd_fini(struct user *u);
/* The rule for an address and port, or null. */
struct guestfwd *guestfwd_find(struct user *u, struct in_addr addr, uint16_t port);
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
/* The resolver that the DNS alias stands for now; false if the host has none. */
bool dns_resolver(struct user *u, struct sockaddr_storage *to, socklen_t *to_len);

extern const struct twx_backend_type user_backend;

/* --- options.c --- */
extern const struct twx_opt_desc user_options[];
int user_config_parse(struct user_config *c, const struct twx_opts *o, struct twx_error *e);
void user_config_free(struct user_config *c);

/* An IPv4 frame; reassembled packets enter here again. */
void user_input_ip4(struct user *u, const struct twx_frame *f);

#endif
