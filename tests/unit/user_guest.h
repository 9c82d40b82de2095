/* SPDX-License-Identifier: BSD-3-Clause */
/* A toy guest for tests of the user-mode network: a NIC-side port that builds and records frames.
 */
#ifndef USER_GUEST_H
#define USER_GUEST_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <twinax/twinax.h>

#include "backends/user/user.h"

#define GUEST_IP "10.0.2.15"
#define GUEST_FRAMES 512 /* recorded at most, then the guest is busy */

struct guest_frame {
	uint8_t *data; /* malloc()ed, exactly len bytes */
	uint32_t len;
	struct twx_meta meta;
};

struct guest {
	struct twx_loop *loop;
	struct twx_net *net;
	struct twx_backend *backend;
	struct user *user; /* the backend's insides */
	struct twx_port port;
	uint8_t mac[6], gw_mac[6], gw_mac6[6];
	struct in_addr ip, host, dns;
	struct in6_addr ip6;
	uint16_t ip_id;
	bool busy;   /* take nothing until guest_ready() */
	bool no_arp; /* do not answer ARP requests and neighbour solicitations by itself */
	struct guest_frame frames[GUEST_FRAMES];
	uint32_t head, tail; /* frames not yet read: head..tail, modulo */
	char warning[256];   /* the last line that was logged */
};

/* "user,id=n0," and @options (may be empty); a NIC with @caps on the other side. Tells the guest's
 * MAC by ARP. False if the backend refused; then @e says why. */
bool guest_open(struct guest *g, const char *options, uint32_t caps, struct twx_error *e);
/* The same with the host's calls taken over. */
bool guest_open_on(struct guest *g, const char *options, uint32_t caps,
		   const struct twx_hostops *hostops, struct twx_error *e);
/* The same with a place for what a successor needs. */
bool guest_open_state(struct guest *g, const char *prefix, struct twx_error *e);
void guest_close(struct guest *g);
void guest_ready(struct guest *g); /* no longer busy */

/* --- sending --- */

void guest_send(struct guest *g, const void *frame, uint32_t len);
void guest_send_meta(struct guest *g, const void *frame, uint32_t len, const struct twx_meta *meta);
void guest_send_burst(struct guest *g, const struct twx_frame *frames, int n);

/* Each builds into @frame and returns the frame's length. Checksums are right unless changed later:
 * guest_fix_ip() makes the header's right again. */
#define GUEST_IP_OFF 14
#define GUEST_L4_OFF 34
uint32_t guest_ip(struct guest *g, uint8_t *frame, struct in_addr dst, uint8_t proto,
		  const void *l4, uint32_t len);
void guest_fix_ip(uint8_t *frame);
uint32_t guest_udp(struct guest *g, uint8_t *frame, uint16_t sport, struct in_addr dst,
		   uint16_t dport, const void *data, uint32_t len);
uint32_t guest_icmp(struct guest *g, uint8_t *frame, struct in_addr dst, uint8_t type, uint8_t code,
		    uint16_t id, uint16_t seq, const void *data, uint32_t len);
uint32_t guest_tcp(struct guest *g, uint8_t *frame, uint16_t sport, struct in_addr dst,
		   uint16_t dport, uint32_t seq, uint32_t ack, uint8_t flags, uint16_t window,
		   const void *options, uint32_t n_options, const void *data, uint32_t len);
/* The same with IPv6, addresses as text. */
#define GUEST_L4_OFF6 54
uint32_t guest_ip6(struct guest *g, uint8_t *frame, const char *dst, uint8_t proto, const void *l4,
		   uint32_t len);
uint32_t guest_udp6(struct guest *g, uint8_t *frame, uint16_t sport, const char *dst,
		    uint16_t dport, const void *data, uint32_t len);
uint32_t guest_tcp6(struct guest *g, uint8_t *frame, uint16_t sport, const char *dst,
		    uint16_t dport, uint32_t seq, uint32_t ack, uint8_t flags, uint16_t window);
uint32_t guest_icmp6(struct guest *g, uint8_t *frame, const char *dst, uint8_t type, uint8_t code,
		     uint32_t rest, const void *data, uint32_t len);
/* Makes @len bytes of room behind the IPv6 header for an extension header of @type; the next header
 * is filled in. */
uint32_t guest_extend6(uint8_t *frame, uint32_t frame_len, uint8_t type, const void *header,
		       uint32_t len);
uint32_t guest_arp(struct guest *g, uint8_t *frame, uint16_t op, struct in_addr sender,
		   struct in_addr target);
/* A DHCP message from 0.0.0.0 to everybody; @options are raw, behind the message type, without the
 * end. */
uint32_t guest_dhcp(struct guest *g, uint8_t *frame, uint8_t type, struct in_addr ciaddr,
		    const void *options, uint32_t n_options);

/* --- receiving --- */

/* Runs the loop until a frame came or @ms passed; the frame is the caller's, guest_frame_free().
 * False: none. */
bool guest_recv(struct guest *g, struct guest_frame *f, int ms);
void guest_frame_free(struct guest_frame *f);
void guest_run(struct guest *g, int ms); /* lets the loop run until it is idle for @ms */
/* True if nothing comes within @ms. */
bool guest_silent(struct guest *g, int ms);

/* A received IPv4 packet, its lengths and checksums verified. Pointers lead into the frame. */
struct guest_pkt {
	struct guest_frame frame;
	const uint8_t *ip, *l4, *data;
	struct in_addr src, dst;
	struct in6_addr src6, dst6; /* of IPv4: mapped */
	uint8_t proto, ttl;
	uint16_t sport, dport; /* UDP, TCP */
	uint32_t l4_len, len;  /* len: of data behind the UDP, TCP or ICMP header */
	uint8_t flags;	       /* TCP */
	uint32_t seq, ack;
	uint16_t window;
};
/* The next IPv4 packet of @proto (0: any); other frames before it are thrown away. A packet whose
 * lengths or checksums are wrong fails the test. */
bool guest_recv_ip(struct guest *g, uint8_t proto, struct guest_pkt *p, int ms);
/* The same with IPv6; @proto is what the IPv6 header says. */
bool guest_recv_ip6(struct guest *g, uint8_t proto, struct guest_pkt *p, int ms);
void guest_pkt_free(struct guest_pkt *p);

/* --- the host's side --- */

/* A non-blocking socket bound to 127.0.0.1, *port is filled in; SOCK_STREAM ones listen. */
int guest_host_socket(int type, uint16_t *port);
int guest_host_socket6(int type, uint16_t *port); /* the same on ::1 */
struct in_addr guest_addr(const char *text);
struct in6_addr guest_addr6(const char *text);
/* Drops counted by the backend's port for one cause. */
uint64_t guest_drops(const struct guest *g, enum twx_drop cause);
/* Makes a network namespace of its own with loopback up, where pings may leave; false if not
 * allowed to. */
bool guest_namespace(void);
bool guest_far_address(void);		   /* 2001:db8::1 is on loopback in that namespace */
bool guest_allow_ping_sockets(bool allow); /* in that namespace */

#endif
