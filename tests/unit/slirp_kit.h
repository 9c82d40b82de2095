/* SPDX-License-Identifier: BSD-3-Clause */
/* A program that uses our libslirp by its interface alone: callbacks, a poll loop, a guest with
 * TCP. */
#ifndef SLIRP_KIT_H
#define SLIRP_KIT_H

#include "libslirp/abi.h"

#define KIT_FRAMES 4096
#define KIT_GUEST 0x0a00020fu
#define KIT_HOST 0x0a000202u

struct kit_frame {
	uint32_t len;
	uint8_t data[1514];
};

/* The guest's end of a connection; what is sent must arrive, nothing is sent twice. */
struct kit_conn {
	uint32_t dst;
	uint16_t port, peer_port;
	uint32_t snd_nxt, rcv_nxt;
	bool open, reset, fin;
	uint32_t n_acks, n_data, n_odd; /* frames: bare ACKs, with data, out of order or twice */
	uint64_t rx;
	uint8_t last[64]; /* the last bytes that came, in n_last */
	uint32_t n_last;
	bool mute; /* sends no ACKs */
};

struct kit {
	struct Slirp *slirp;
	struct slirp_cb cb;
	uint64_t clock; /* ns, moved by hand */
	struct kit_frame *frames;
	uint32_t n_frames;
	struct kit_conn *conn; /* gets what is for it */
	/* behaviour of send_packet() */
	int room;	    /* frames it takes before it says 0; -1: any number */
	bool always_zero;   /* says 0 and takes them all */
	uint32_t n_zero;    /* how often it said 0 */
	bool answers_arp;   /* calls slirp_input() from inside */
	bool shut;	    /* it must not be called */
	int depth, deepest; /* of calls of send_packet() */
	/* what else was called */
	int n_completed, n_fd, n_fd_gone, n_sock, n_sock_gone, n_notify, fd;
	uint8_t fwd_got[4096];
	uint32_t n_fwd_got;
	int fwd_take; /* bytes that the forward's callback takes at a time; 0: all */
};

struct slirp_config kit_config(uint32_t version);
/* Null in k->slirp when it is refused. */
void kit_open(struct kit *k, const struct slirp_config *cfg);
void kit_close(struct kit *k);

void kit_input(struct kit *k, const void *frame, uint32_t len);
/* One turn of the program's loop: fill, poll() for up to @ms, poll. */
void kit_step(struct kit *k, int ms);
void kit_run(struct kit *k); /* until nothing has happened for a while */
/* The same until @n bytes have come on the connection, with a limit. */
void kit_until(struct kit *k, const uint64_t *value, uint64_t n);
ssize_t kit_fwd_write(const void *buf, size_t len, void *opaque);

void kit_arp(struct kit *k, uint32_t target); /* the guest asks, and is known from then on */
uint32_t kit_udp(uint8_t *f, uint32_t dst, uint16_t sport, uint16_t dport, const void *data,
		 uint32_t len);

/* SYN, SYN-ACK, ACK: false when it is refused. */
bool kit_connect(struct kit *k, struct kit_conn *c, uint32_t dst, uint16_t port);
void kit_send(struct kit *k, struct kit_conn *c, const void *data,
	      uint32_t len); /* @len up to 1460 */
void kit_fin(struct kit *k, struct kit_conn *c);

#endif
