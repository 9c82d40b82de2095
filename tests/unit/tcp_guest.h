/* SPDX-License-Identifier: BSD-3-Clause */
/* A toy guest that speaks TCP to the user backend: a port with guest buffers to lend, and a TCP end
 * that obeys windows, checks every checksum and byte, and never sends anything twice. */
#ifndef TCP_GUEST_H
#define TCP_GUEST_H

#include <netinet/in.h>

#include <twinax/twinax.h>

#include "backends/user/user.h"

#define TG_CONNS 16
#define TG_POOL (512u << 10)

struct tg_conn {
	struct in6_addr peer;
	uint16_t port, peer_port;
	bool used, passive, synack_owed;
	/* what has happened */
	bool established, reset, fin_in, fin_acked, bad_data, unreachable;
	uint32_t dupacks_in, ooo_in, repeated_in, acks_in, data_frames_in, zero_windows_in;
	uint64_t rx_bytes;
	/* to the host */
	uint32_t iss, snd_una, snd_nxt, snd_edge;
	uint16_t mss_in, wnd_in;
	uint8_t wscale_in;
	uint64_t tx_acked;
	uint64_t tx_total;  /* bytes of the pattern to be sent */
	bool fin, fin_sent; /* FIN behind tx_total */
	uint32_t chunk;	    /* payload of one frame; above the MSS: a GSO frame */
	/* from the host */
	uint32_t irs, rcv_nxt;
	uint32_t rcv_buf, held; /* window: rcv_buf - held */
	bool hold;		/* the application does not read */
	bool no_wscale;
	bool sack;		       /* agreed to in the SYN */
	uint32_t n_sacks, sacks[4][2]; /* of the last segment without data, from iss + 1 on */
	bool echoed;		       /* what comes is what was sent */
	uint16_t mss;		       /* announced; 0: none */
	uint32_t ack_owed;
	bool mute; /* no ACKs */
	uint64_t seed;
};

struct tg {
	struct twx_loop *loop;
	struct twx_net *net;
	struct twx_backend *backend;
	struct user *user;
	struct twx_port port;
	struct tg_conn conns[TG_CONNS];
	/* behaviour */
	bool lease;	    /* lends buffers */
	uint32_t buf_len;   /* size of one of them */
	bool busy;	    /* takes nothing */
	uint32_t budget;    /* frames taken until it becomes busy by itself; 0: any number */
	uint32_t drop_data; /* the nth data frame from now is lost; 0 none */
	uint32_t drop_every;
	uint32_t loss_clock;
	uint16_t listen; /* accepts connections on this port */
	bool check;	 /* bytes and checksums; off in benchmarks */
	/* seen */
	uint32_t frames, leases, rsts, bad_frames, icmp_unreach, syns_in;
	uint32_t last_rst_seq;
	/* memory */
	uint8_t *pool, *tx;
	uint8_t rx[65536 + 64];
};

enum { TG_FIN = 1, TG_SYN = 2, TG_RST = 4, TG_PSH = 8, TG_ACK = 16, TG_URG = 32 };

/* Do guests speak IPv6? Set before the first is made. */
extern bool tg_ipv6;
/* An address of either: 10.0.2.x is fec0::x, others are 2001:db8::A.B.C.D. Host order. */
struct in6_addr tg_addr(uint32_t v4);
uint16_t tg_mss(void); /* of an MTU of 1500 */

/* @options as behind "user,id=n0". Lends buffers and takes TSO unless @caps says otherwise. */
struct tg *tg_new(const char *options, uint32_t caps, bool lease);
void tg_free(struct tg *g);

struct tg_conn *tg_conn_new(struct tg *g, uint32_t peer,
			    uint16_t peer_port); /* @peer in host order */
void tg_syn(struct tg *g, struct tg_conn *c);
/* A segment of any kind. @data may be null for the pattern at that place. */
void tg_segment(struct tg *g, struct tg_conn *c, uint8_t flags, uint32_t seq, uint32_t ack,
		const void *data, uint32_t len);
/* ACKs and data as the windows allow; one burst for each connection. */
void tg_pump(struct tg *g);
/* One round of the loop and of the guest. */
void tg_round(struct tg *g, int timeout_ms);
/* Takes frames again. */
void tg_unbusy(struct tg *g);
void tg_read(struct tg_conn *c); /* the application reads what was held */

/* A network namespace of our own, with loopback up and nothing else; false where that is forbidden.
 */
bool tg_netns(void);

/* The pattern of @seed from byte @off on. */
void tg_fill(uint64_t seed, uint64_t off, uint8_t *buf, size_t len);
bool tg_same(uint64_t seed, uint64_t off, const uint8_t *buf, size_t len);

#endif
