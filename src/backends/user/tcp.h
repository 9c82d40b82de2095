/* SPDX-License-Identifier: BSD-3-Clause */
/* TCP of the user-mode network: state shared by tcp*.c. The theory of operation is in tcp.c. */
#ifndef USER_TCP_H
#define USER_TCP_H

#include "backends/user/user.h"

#define TCP_HDR_LEN 20
#define TCP_FRAME_HDR_MAX (USER_HDR_MAX + TCP_HDR_LEN) /* of a segment without options */
#define TCP_MSS_NO_OPTION 536			       /* RFC 9293, 3.7.1 */
#define TCP_MSS_NO_OPTION6 1220
#define TCP_MSS_MIN 48
#define TCP_GSO_FRAME (65535 + USER_ETH_LEN) /* of one frame to the guest */
#define TCP_GSO_SEGS 64			     /* segments in one frame to the guest */
#define TCP_WSCALE 7			     /* ours; 65535 << 7 is beyond TCP_WINDOW_MAX */
#define TCP_WINDOW_MAX (4u << 20)	     /* advertised to the guest */
#define TCP_FLIGHT_MAX (1u << 20)	     /* unacknowledged by the guest */
#define TCP_FLIGHT_MAX_NO_PEEK (256u << 10)  /* the same without SO_PEEK_OFF */
#define TCP_TAIL_TOTAL (16u << 20)	     /* unsent tails of all flows */
#define TCP_EARLY_TOTAL (16u << 20)	     /* of all flows, waiting for what is missing */
#define TCP_GATHER_IOV 1024		     /* iovecs of one sendmsg(), UIO_MAXIOV */
#define TCP_HALF_OPEN_MAX 4096		     /* connections whose handshake is not finished */
#define TCP_PUSH_READS 8		     /* frames to the guest in one turn of a flow */
#define TCP_DUPACKS 2			     /* that mean a loss */
#define TCP_LOSS_WINDOW 10u		     /* segments sent after it, at first */
#define TCP_LATE_MAX 64			     /* flows that let an ACK wait */
#define TCP_TURNS 2			     /* after which it may */
#define TCP_JUNK_LEN 16384
#define TCP_HOLD_LEN TCP_FLIGHT_MAX_NO_PEEK
#define TCP_HOLDS 64u

#define TCP_MS 1000000ull
#define TCP_S (1000 * TCP_MS)
#define TCP_RTO_MIN (200 * TCP_MS)
#define TCP_RTO_LOSS (20 * TCP_MS) /* the same while a known loss is mended */
#define TCP_RTO_INIT (1 * TCP_S)   /* RFC 6298, 2.1 */
#define TCP_RTO_MAX (60 * TCP_S)
#define TCP_CORRECT_NS (10 * TCP_MS)  /* between answers to bare ACKs that do not fit */
#define TCP_LATE_NS (2 * TCP_MS)      /* how long an ACK waits for an answer to ride on */
#define TCP_RETRIES 15		      /* data and probes: about 12 minutes */
#define TCP_SYN_RETRIES 5	      /* 63 s */
#define TCP_IDLE_PROBE (7200 * TCP_S) /* RFC 9293, 3.8.4 */
#define TCP_TIME_WAIT_NS (4 * TCP_S)
#define TCP_EVICT_IDLE (600 * TCP_S) /* how long idle before it may make room for others */
#define TCP_EVICT_HALF_CLOSED (10 * TCP_S)

enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_PSH = 8, TCP_ACK = 16, TCP_URG = 32 };

/* States of our end towards the guest; what RFC 9293 calls FIN-WAIT-1 .. LAST-ACK is in the flags.
 */
enum tcp_state {
	TS_CONNECTING, /* the guest's SYN is here, connect() runs */
	TS_SYN_RCVD,   /* connected; our SYN-ACK is out */
	TS_SYN_SENT,   /* accepted on the host; our SYN is out */
	TS_OPEN,       /* ESTABLISHED and all states of closing */
	TS_TIME_WAIT,  /* socket closed, remembers the last ACK */
};

enum {
	TF_TOUCHED = 1,	 /* in user_tcp.touched */
	TF_ACK_NOW = 2,	 /* the guest is owed an ACK */
	TF_READABLE = 4, /* the socket may hold what the guest has not been sent */
	TF_DRAIN = 8,	 /* end, error or urgent mark ahead: a short read is not the last */
	TF_EOF = 16,	 /* the host has closed its direction */
	TF_FIN_SENT = 32,
	TF_FIN_ACKED = 64,
	TF_GUEST_FIN = 128,  /* received in order; rcv_nxt counts it */
	TF_SHUT = 256,	     /* shutdown(SHUT_WR) done */
	TF_WANT_OUT = 512,   /* EPOLLOUT will bring room for the tail or the window */
	TF_PEEK_OFF = 1024,  /* the socket has SO_PEEK_OFF */
	TF_PEEK_SYNC = 2048, /* and its offset must be set before the next read */
	TF_LOSS = 4096,	     /* resending up to `recover` */
	TF_RTT = 8192,	     /* rtt_seq is being timed */
	TF_WE_CLOSED_FIRST = 16384,
	TF_WSCALE = 32768,	 /* window scaling is offered, or agreed on */
	TF_HUP = 65536,		 /* the host's FIN is in the socket's queue */
	TF_ALIVE = 131072,	 /* the guest has said something since the last timeout */
	TF_RECORDED = 262144,	 /* for a successor, by orphan.c */
	TF_TIMED = 524288,	 /* the deadline is the retransmission's and runs */
	TF_SACK = 1048576,	 /* selective acknowledgement is offered, or agreed on */
	TF_EARLY = 2097152,	 /* flow_io->early is not empty */
	TF_EARLY_FIN = 4194304,	 /* the guest's FIN has come, at early_fin */
	TF_ASKED = 1 << 23,	 /* small data has come since this end sent any */
	TF_ACK_LATE = 1 << 24,	 /* an ACK is owed that may wait for an answer */
	TF_LATE = 1 << 25,	 /* in user_tcp.late */
	TF_URGENT = 1 << 26,	 /* there is, or was, an urgent mark in the socket's queue */
	TF_PEEK_ASKED = 1 << 28, /* it was asked for SO_PEEK_OFF, or is not to be */
	TF_NODELAY = 1 << 27,	 /* the socket has TCP_NODELAY */
};

enum tcp_list_id { TCP_LIST_NONE, TCP_LIST_READY, TCP_LIST_HALF_OPEN, TCP_N_LISTS };

/* flow->proto. Sequence numbers in host order; FIN never counts in snd_*, see TF_FIN_*. */
struct tcp_flow {
	uint8_t state, list;
	uint8_t snd_wscale, rcv_wscale;
	uint8_t retries, dupacks, dup_owed;
	uint8_t hdr_len; /* of a frame to the guest, Ethernet to TCP without options */
	uint16_t mss;	 /* payload of one segment to the guest */
	uint8_t hold;	 /* number + 1, see tcp_hold.c; 0: none */
	uint8_t turns;	 /* small requests in a row that were answered before the next came */
	uint32_t flags;
	uint32_t list_next, list_prev; /* index + 1 */
	/* guest to host */
	uint32_t irs, rcv_nxt;
	uint32_t rcv_edge; /* right edge that has been advertised; only grows */
	uint32_t rcv_full; /* window when the room in the socket was last asked for */
	uint32_t tail_off, tail_len, tail_cap; /* of flow_io->tail */
	uint32_t early_last;		       /* in flow_io->early, what came last */
	uint32_t early_fin;		       /* TF_EARLY_FIN: where it belongs */
	/* host to guest */
	uint32_t iss;
	uint32_t snd_base; /* of the first byte that is still in the socket, or in the hold */
	uint32_t snd_una, snd_nxt, snd_max;
	uint32_t snd_wnd, snd_wl1, snd_wl2, snd_wnd_max;
	uint32_t recover, rewound, loss_limit; /* while TF_LOSS */
	uint32_t read_hint;		       /* how much the next read may bring */
	uint32_t rtt_seq, srtt_us, rttvar_us;
	uint64_t rtt_start;
	uint64_t corrected; /* when a bare ACK was last told where this end is; 0: never */
	uint64_t deadline;  /* ns, 0 none; the timer may be armed for an earlier time */
};
_Static_assert(sizeof(struct tcp_flow) <= sizeof(((struct flow *)0)->proto), "must fit");

struct tcp_list {
	uint32_t head, tail, n; /* index + 1 */
};

/* Data of one flow that sendmsg() will take in one go. */
struct tcp_gather {
	struct flow *flow;
	uint32_t n, bytes;
	struct iovec iov[TCP_GATHER_IOV];
};

struct user_tcp {
	struct user *user;
	struct twx_task task; /* serves the ready list */
	struct tcp_list lists[TCP_N_LISTS];
	bool port_busy; /* until tcp_resume() */
	uint32_t n_touched;
	uint32_t touched[TWX_BURST];
	uint32_t n_late;
	uint32_t late[TCP_LATE_MAX]; /* flows whose ACK waits */
	struct twx_timer late_timer;
	size_t tail_total, early_total;
	uint32_t max_flight; /* TCP_FLIGHT_MAX */
	struct tcp_hold *holds[TCP_HOLDS];
	uint8_t *bounce;	    /* TCP_GSO_FRAME; allocated when first needed */
	uint8_t junk[TCP_JUNK_LEN]; /* what is read again without SO_PEEK_OFF */
	struct twx_lease lease;
	struct tcp_gather gather;
};

/* A parsed segment of the guest. */
struct tcp_seg {
	const struct user_pkt *pkt;
	uint32_t seq, ack;
	uint32_t off, len; /* payload, within L4 */
	uint16_t wnd, mss; /* mss, wscale, sack: of a SYN's options */
	uint8_t flags, wscale;
	bool has_wscale, sack;
};

static inline bool seq_lt(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}
static inline bool seq_le(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) <= 0;
}

static inline struct tcp_flow *tcp_of(struct flow *f)
{
	return (struct tcp_flow *)(void *)f->proto;
}

static inline bool tcp_is_v6(const struct tcp_flow *tf)
{
	return tf->hdr_len == TCP_FRAME_HDR_MAX;
}
/* Payload of the largest segment that one packet carries. */
static inline uint32_t tcp_mss_max(const struct user *u, const struct tcp_flow *tf)
{
	return user_mtu(u, tcp_is_v6(tf)) - (tf->hdr_len - USER_ETH_LEN);
}

/* --- tcp.c --- */
void tcp_list_add(struct user *u, struct flow *f, enum tcp_list_id id);
void tcp_list_del(struct user *u, struct flow *f);
/* To be served at the end of this burst: ACK, trim, ... */
void tcp_touch(struct user *u, struct flow *f);
/* Something may be sent to the guest: in this round, in turn. */
void tcp_ready(struct user *u, struct flow *f);
void tcp_event(struct twx_watch *w, uint32_t events);
void tcp_timer(struct twx_timer *tm);
/* The timer's next job, whatever it now is. A retransmission that is due for something stays due at
 * its time until tcp_progress(). */
void tcp_rearm(struct user *u, struct flow *f);
static inline void tcp_progress(struct tcp_flow *tf)
{
	tf->flags &= ~(uint32_t)TF_TIMED;
}

/* --- tcp_conn.c --- */
void tcp_open(struct user *u, const struct flow_key *key, const struct tcp_seg *s);
void tcp_connect_done(struct user *u, struct flow *f);
void tcp_established(struct user *u, struct flow *f);
/* MSS and window scale of the guest's SYN. */
void tcp_take_options(struct user *u, struct tcp_flow *tf, const struct tcp_seg *s);
void tcp_syn_timeout(struct user *u, struct flow *f);
/* RST to the guest and to the host; the flow is gone. */
void tcp_abort(struct user *u, struct flow *f);
/* The same without a word to the guest (it knows, or must not be told). */
void tcp_abort_host(struct user *u, struct flow *f);
/* Ends the flow when both directions are closed; true if it is gone or in TIME-WAIT. */
bool tcp_try_finish(struct user *u, struct flow *f);
void tcp_forget(struct user *u, struct flow *f); /* every way out ends here */

/* --- tcp_in.c --- */
void tcp_segment(struct user *u, struct flow *f, const struct tcp_seg *s);
void tcp_gather_flush(struct user *u);
void tcp_writable(struct user *u, struct flow *f);
/* Moves rcv_edge to what the socket has room for, if that is worth it. */
void tcp_window(struct user *u, struct flow *f);

/* --- tcp_early.c --- */
#define TCP_SACK_MAX 36
/* Keeps the payload of a segment that begins behind rcv_nxt; may abort the flow. */
void tcp_early(struct user *u, struct flow *f, const struct tcp_seg *s);
/* rcv_nxt has moved: sends on what it has reached; may abort the flow. */
void tcp_early_release(struct user *u, struct flow *f);
/* The SACK option for what is held, up to TCP_SACK_MAX bytes, in whole words; its length. */
uint32_t tcp_early_sack(struct user *u, struct flow *f, uint8_t *opt);
void tcp_early_free(struct user *u, struct flow *f);

/* --- tcp_out.c --- */
enum tcp_push { TCP_PUSH_DONE, TCP_PUSH_MORE, TCP_PUSH_BUSY };
enum tcp_push tcp_push(struct user *u, struct flow *f); /* DONE also when the flow is gone */
void tcp_trim(struct user *u, struct flow *f);
void tcp_acked(struct user *u, struct flow *f, const struct tcp_seg *s);
bool tcp_can_push(const struct user *u, const struct tcp_flow *tf);
uint64_t tcp_rto(const struct tcp_flow *tf);
void tcp_out_timeout(struct user *u, struct flow *f);

/* --- tcp_hold.c --- */
/* Has it a hold, or needs one and gets it? */
bool tcp_hold_get(struct user *u, struct flow *f);
/* Up to @want bytes from snd_nxt on, as recvmsg() or -errno; they stay there until the guest has
 * them. */
ssize_t tcp_hold_read(struct user *u, struct flow *f, uint32_t want, struct iovec out[2],
		      int *n_out);
/* Moves snd_base to snd_una; false if the bytes are not here. */
bool tcp_hold_drop(struct user *u, struct tcp_flow *tf);
void tcp_hold_put(struct user *u, struct tcp_flow *tf); /* the flow ends */
void tcp_hold_fini(struct user *u);

/* --- tcp_seg.c --- */
bool tcp_seg_parse(struct tcp_seg *s, const struct user_pkt *p);
/* Headers of a segment with @len bytes of payload at @frame (tf->hdr_len bytes); the checksum
 * field holds the pseudo header's sum, for NEEDS_CSUM. */
void tcp_seg_header(struct user *u, struct flow *f, uint8_t *frame, uint8_t flags, uint32_t seq,
		    uint32_t len);
/* A segment without data: ACK, FIN, SYN, RST of a flow. */
void tcp_send_control(struct user *u, struct flow *f, uint8_t flags, uint32_t seq);
void tcp_send_ack(struct user *u, struct flow *f);
/* The answer to a segment that belongs to no connection. */
void tcp_send_rst_for(struct user *u, const struct tcp_seg *s);
/* A segment at @frame (80 bytes, zeroed) that an open connection answers with an ACK: out of its
 * window, wherever that is. @random says where. Its length. */
uint32_t tcp_probe(struct user *u, uint8_t *frame, const struct flow_key *key, uint64_t random);
/* "Destination unreachable" for the SYN that opened @f. */
void tcp_send_unreachable(struct user *u, struct flow *f, int err);

#endif
