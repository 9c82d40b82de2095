/* SPDX-License-Identifier: BSD-3-Clause */
/* The same guest frames into our libslirp and into the system's, replies compared field by field.
 */
#ifndef DIFF_H
#define DIFF_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUEST_IP 0x0a00020fu
#define HOST_IP 0x0a000202u
#define DNS_IP 0x0a000203u
#define FRAME_MAX 2048
#define REPLIES_MAX 256

/* A library under test with its stack. */
struct stack;
struct stack *stack_open(const char *library, const char *tftp_root, bool ipv6);
void stack_input(struct stack *s, const uint8_t *frame, size_t len);
void stack_step(struct stack *s, int ms); /* runs what is due and waits up to @ms for more */
void stack_skip(struct stack *s, int ms); /* timers of @ms pass */
void stack_close(struct stack *s);

struct reply {
	uint32_t len;
	uint8_t data[FRAME_MAX];
};

/* One run of all scenarios on one stack. */
struct ctx {
	struct stack *stack;
	struct reply replies[REPLIES_MAX];
	int n_replies;
	struct transcript *log;
	uint8_t mac[6];
	uint16_t ip_id;
};
/* Stacks give their output here. */
void ctx_output(struct ctx *c, const void *frame, size_t len);
extern struct ctx *ctx_current;

/* --- transcript: exchanges with fields, in order --- */
struct field {
	char key[48];
	char value[160];
};
struct exchange {
	char name[64];
	struct field *fields;
	int n;
};
struct transcript {
	struct exchange *ex;
	int n;
};
void log_begin(struct ctx *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_field(struct ctx *c, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void log_replies(struct ctx *c); /* what pkt.c makes of the replies so far; empties them */

/* --- exchanges --- */
void run_quiet(struct ctx *c);					/* until nothing more comes */
void exchange(struct ctx *c, const uint8_t *frame, size_t len); /* input, quiet, log */

/* --- packets (host order arguments) --- */
uint16_t inet_sum(const void *data, size_t len, uint32_t seed);
size_t pkt_eth(uint8_t *f, const uint8_t dst[6], const uint8_t src[6], uint16_t type);
size_t pkt_arp(struct ctx *c, uint8_t *f, uint16_t op, uint32_t spa, const uint8_t *tha,
	       uint32_t tpa);
/* Ethernet + IPv4 around @len bytes already at f + 34; returns the frame's length. */
size_t pkt_ip(struct ctx *c, uint8_t *f, uint32_t src, uint32_t dst, uint8_t proto, size_t len);
size_t pkt_udp(struct ctx *c, uint8_t *f, uint32_t src, uint16_t sport, uint32_t dst,
	       uint16_t dport, const void *data, size_t len);
size_t pkt_icmp(struct ctx *c, uint8_t *f, uint32_t dst, uint8_t type, uint8_t code, uint32_t rest,
		const void *data, size_t len);
void pkt_fix_ip(uint8_t *f);  /* header checksum again after an edit */
void pkt_fix_udp(uint8_t *f); /* UDP or TCP checksum again */
/* The same in IPv6: @len bytes of payload already at f + 54, its checksum is filled in. */
size_t pkt6(struct ctx *c, uint8_t *f, const char *src, const char *dst, uint8_t proto,
	    uint8_t hops, size_t len);
size_t pkt6_udp(struct ctx *c, uint8_t *f, const char *src, uint16_t sport, const char *dst,
		uint16_t dport, const void *data, size_t len);
void log_ip6(struct ctx *c, const uint8_t *ip, uint32_t len);
uint32_t data_hash(const void *data, size_t len);
void fill(void *buf, size_t len, uint32_t seed);
extern const uint8_t gateway_mac[6];

/* --- a guest's end of a TCP connection, driven by hand --- */
enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, URG = 32 };
struct gtcp {
	uint16_t sport, dport;
	uint32_t dst;
	const char *src6, *dst6; /* set: IPv6 */
	uint32_t iss, snd_nxt, irs, rcv_nxt;
	uint16_t win, mss;
	uint16_t urg;
	bool got_syn, got_fin, got_rst;
	bool no_ack; /* tests that withhold acknowledgements */
	uint64_t got;
	uint32_t got_hash;
};
void gtcp_init(struct gtcp *t, uint16_t sport, uint32_t dst, uint16_t dport);
size_t gtcp_build(struct ctx *c, const struct gtcp *t, uint8_t *f, uint8_t flags, uint32_t seq,
		  uint32_t ack, const void *data, size_t len);
/* Sends, waits for quiet, follows the replies, logs their summary. */
void gtcp_send(struct ctx *c, struct gtcp *t, uint8_t flags, const void *data, size_t len);
void gtcp_raw(struct ctx *c, struct gtcp *t, uint8_t flags, uint32_t seq, uint32_t ack,
	      const void *data, size_t len);
void gtcp_follow(struct ctx *c, struct gtcp *t); /* waits and logs without sending */

/* --- the host's side --- */
int host_listen(uint16_t port); /* TCP on 127.0.0.1 */
int host_udp(uint16_t port);
int host_accept(struct ctx *c, int l); /* steps the stack meanwhile; -1 after a while */
int host_read(struct ctx *c, int fd, void *buf,
	      size_t len); /* as read(); -1 with EAGAIN after a while */

void scenarios_l2(struct ctx *c);
void scenarios_dhcp(struct ctx *c);
void scenarios_icmp(struct ctx *c);
void scenarios_udp(struct ctx *c);
void scenarios_tftp(struct ctx *c);
void scenarios_tcp(struct ctx *c);
void scenarios_forward(struct ctx *c);
void scenarios_rare(struct ctx *c);
void scenarios_v6(struct ctx *c); /* on a stack that has it */

/* Known differences; main.c fails on any other, and on a line that no longer happens. */
struct difference {
	const char *exchange, *key; /* fnmatch() patterns */
	const char *reason;
};
extern const struct difference differences[];

#endif
