/* SPDX-License-Identifier: BSD-3-Clause */
/* The user-mode network backend: shared state and the calls between its files. */
#ifndef USER_H
#define USER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include <twinax/net.h>

#include "backends/user/flow.h"

#define USER_ETH_LEN 14
#define USER_MTU 1500	  /* IP packets to and from the guest, without GSO */
#define USER_LEASES 16	  /* DHCP addresses from dhcpstart on, as QEMU's */
#define USER_NEIGHS 64	  /* guest addresses whose MAC is remembered */
#define USER_OUT_ARENA 65536

/* All IPv4 addresses in network order. */
struct user_config {
	bool restricted;
	struct in_addr net, mask, host, dns, dhcp_start;
	const char *hostname, *domainname, *bootfile, *tftp_root, *tftp_server_name;
	uint32_t mtu;
	uint32_t max_flows;
	int peek_off; /* -1 probe, 0 do without SO_PEEK_OFF, 1 required */
};

struct user_neigh {
	struct in_addr ip;
	uint8_t mac[6];
	uint64_t last_used;
};

/* A frame from the guest, parsed once. Pointers lead into frame->iov[0], private memory. */
struct user_pkt {
	const struct twx_frame *frame;
	const uint8_t *eth;
	const uint8_t *ip; /* IPv4 header, validated: version, IHL, total length, checksum, no fragment */
	const uint8_t *l4;
	uint32_t l4_off;  /* of l4 in the frame */
	uint32_t l4_len;  /* by the IP header, all of it present in the frame */
	uint32_t l4_here; /* bytes of L4 that lie in iov[0] */
	struct in6_addr src, dst; /* v4-mapped */
	uint8_t proto;
	bool csum_ok; /* L4 checksum need not be verified (NEEDS_CSUM or CSUM_VALID) */
};

struct user_fwd;   /* hostfwd.c */
struct user_dhcp;  /* dhcp.c */
struct user_tftp;  /* tftp.c */
struct user_frag;  /* frag.c */
struct user_tcp;   /* tcp.c: bounds, buffers, per-burst state */
struct user_udp;   /* udp.c */

struct user {
	struct twx_backend *backend;
	struct twx_port *port;
	struct twx_loop *loop;
	struct user_config cfg;
	uint8_t mac[6]; /* ours: 52:55 and the host address, as libslirp has it */
	struct user_neigh neighs[USER_NEIGHS];
	struct flow_table flows;
	/* frames for the guest, gathered until user_flush() */
	struct twx_frame out[TWX_BURST];
	struct iovec out_iov[TWX_BURST];
	int n_out;
	uint8_t *arena;
	uint32_t arena_used;
	struct twx_task flush_task; /* deferred user_flush() */
	uint16_t ip_id;
	struct user_fwd *fwd;
	struct user_dhcp *dhcp;
	struct user_tftp *tftp;
	struct user_frag *frag;
	struct user_tcp *tcp;
	struct user_udp *udp;
};

/* --- user.c --- */

/* Room for a frame of @len bytes (at most USER_OUT_ARENA), zeroed up to 60 bytes if shorter; flushes first when there is none. */
uint8_t *user_out_alloc(struct user *u, uint32_t len);
/* The frame just allocated joins the batch (padded to 60 bytes), which goes out at the end of this
 * round of the loop or when it is full. */
void user_out(struct user *u, uint32_t len, const struct twx_meta *meta);
void user_flush(struct user *u);
/* Ethernet and IPv4 header (20 bytes, checksum done) for a packet of @l4_len bytes behind it; returns
 * where L4 begins. The destination MAC comes from user_neigh_find(), broadcast if unknown. */
uint8_t *user_ip4_header(struct user *u, uint8_t *frame, struct in_addr src, struct in_addr dst,
			 uint8_t proto, uint32_t l4_len);

/* MAC of a guest address, or null. Learned from ARP and from every valid IPv4 source inside net. */
const uint8_t *user_neigh_find(struct user *u, struct in_addr ip);
void user_neigh_learn(struct user *u, struct in_addr ip, const uint8_t mac[6]);

/*
 * Where a connection or datagram of the guest to @dst really goes: the host alias becomes 127.0.0.1, the
 * DNS alias the resolver of resolv.conf, others stay. 0, -EACCES (restrict), -EADDRNOTAVAIL (multicast,
 * broadcast, unspecified, port 0, an address of the virtual network that nobody has).
 */
int user_map_out(struct user *u, const struct in6_addr *dst, uint16_t port, uint8_t proto,
		 struct sockaddr_storage *to, socklen_t *to_len);
/* The address under which the guest sees a host-side peer: loopback and our own become the host alias. */
struct in6_addr user_map_in(struct user *u, const struct sockaddr *from);

/* Copies @len bytes of L4 payload starting @off bytes into L4; false if they are not there. */
bool user_pkt_copy(const struct user_pkt *p, uint32_t off, void *buf, uint32_t len);
/* The L4 data from @off on as iovecs; count, or -E2BIG. */
int user_pkt_iov(const struct user_pkt *p, uint32_t off, struct iovec *iov, int max);
/* Verifies the TCP, UDP checksum unless p->csum_ok (pseudo header included). */
bool user_pkt_csum_ok(const struct user_pkt *p);

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

/* --- per protocol; *_input once per frame, *_burst_end once per burst, before the frames are gone --- */
void arp_input(struct user *u, const struct twx_frame *f);

int icmp_init(struct user *u, struct twx_error *e);
void icmp_input(struct user *u, const struct user_pkt *p);
void icmp_fini(struct user *u);
/* An ICMP error (type, code; @mtu for "fragmentation needed") to the sender of @orig, an IPv4 packet of the guest of which
 * @len bytes are at hand; source is @from (v4). Never about ICMP errors, broadcasts or fragments > 0. */
void icmp_send_error(struct user *u, uint8_t type, uint8_t code, uint16_t mtu, struct in_addr from,
		     const uint8_t *orig, uint32_t len);

int udp_init(struct user *u, const struct twx_opts *opts, struct twx_error *e);
void udp_input(struct user *u, const struct user_pkt *p);
void udp_burst_end(struct user *u);
void udp_fini(struct user *u);
/* A datagram to the guest from @src:@sport; fragments above the MTU. */
void udp_to_guest(struct user *u, struct in_addr src, uint16_t sport, struct in_addr dst, uint16_t dport,
		  const void *data, uint32_t len);

int tcp_init(struct user *u, struct twx_error *e);
void tcp_input(struct user *u, const struct user_pkt *p);
void tcp_burst_end(struct user *u);
void tcp_resume(struct user *u); /* the guest takes frames again */
/* A connection accepted on the host (@fd is taken), to be opened towards the guest. @from is the
 * guest-visible source. */
void tcp_from_host_take(struct user *u, int fd, const struct in6_addr *from, uint16_t from_port,
			const struct in6_addr *guest, uint16_t guest_port);
void tcp_fini(struct user *u); /* resets every flow towards both sides */

int dhcp_init(struct user *u, const struct twx_opts *opts, struct twx_error *e);
void dhcp_input(struct user *u, const struct user_pkt *p, const uint8_t *data, uint32_t len);
void dhcp_fini(struct user *u);

int tftp_init(struct user *u, struct twx_error *e);
void tftp_input(struct user *u, const struct user_pkt *p, const uint8_t *data, uint32_t len);
void tftp_fini(struct user *u);

int frag_init(struct user *u);
/* A fragment; when it completes a packet, that is passed on as one frame. */
void frag_input(struct user *u, const struct twx_frame *f);
void frag_fini(struct user *u);

/* hostfwd=; also at run time later. Errors as in QEMU ("Invalid host forwarding rule 'R' (No : separators)"). */
int hostfwd_add(struct user *u, const char *rule, struct twx_error *e);
void hostfwd_fini(struct user *u);
/* The forward that binds guest UDP replies to their listening socket: true if it was sent there. */
bool hostfwd_udp_reply(struct user *u, const struct user_pkt *p);

/* An already validated IPv4 packet enters here again after reassembly. */
void user_input_ip4(struct user *u, const struct twx_frame *f);

#endif
