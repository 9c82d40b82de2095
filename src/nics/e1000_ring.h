/* SPDX-License-Identifier: BSD-3-Clause */
/* e1000: descriptors as the guest writes them, and the state of the transmit and receive paths. */
#ifndef NICS_E1000_RING_H
#define NICS_E1000_RING_H

#include <stdbool.h>
#include <stdint.h>

#include <twinax/frame.h>
#include <twinax/loop.h>

#include "base/endian.h"

/* Legacy receive descriptor (8254x manual, 3.2.3). */
struct e1000_rxd {
	le64 addr;
	le16 len, csum;
	uint8_t status, errors;
	le16 special;
};

/* Transmit descriptors: 3.3.3 legacy, 3.3.6 context, 3.3.7 data. */
union e1000_txd {
	struct {
		le64 addr;
		le16 len;
		uint8_t cso, cmd, status, css;
		le16 special;
	} legacy;
	struct {
		uint8_t ipcss, ipcso;
		le16 ipcse;
		uint8_t tucss, tucso;
		le16 tucse;
		le32 cmd; /* PAYLEN 19:0, DTYP 23:20, TUCMD 31:24 */
		uint8_t status, hdr_len;
		le16 mss;
	} context;
	struct {
		le64 addr;
		le32 cmd; /* DTALEN 19:0, DTYP 23:20, DCMD 31:24 */
		uint8_t status, popts;
		le16 special;
	} data;
};

/* --- transmit; see e1000_tx.c --- */

#define E1000_TX_BATCH 128 /* descriptors fetched at once */
#define E1000_TX_HEAD 288  /* of a frame's front: TSO's longest header (255) and a VLAN tag */
#define E1000_TX_PIECES 64 /* of a frame's payload; what has more is copied into one */
#define E1000_TX_IOV 1024
#define E1000_TX_FRAMES 256	  /* per doorbell, and per round after it ... */
#define E1000_TX_SEGMENTS 16384	  /* ... or segments that they ask for ... */
#define E1000_TX_DESCRIPTORS 4096 /* ... or descriptors, which need not lead to frames */
#define E1000_TX_PATIENCE_MS 250
#define E1000_TX_PLAIN_MAX 65536	      /* the packet buffer; data beyond is cut off */
#define E1000_TX_TSO_MAX (65535 + 14)	      /* the longest IP packet, untagged */
#define E1000_TX_DATA (E1000_TX_TSO_MAX + 51) /* room for either, a multiple of 16 */

enum e1000_tx_kind {
	E1000_TX_NONE, /* no frame has begun */
	E1000_TX_PLAIN,
	E1000_TX_TSO,
	/* Passed over up to EOP: a senseless request; memory that cannot be read. */
	E1000_TX_BAD_META,
	E1000_TX_BAD_CHAIN,
	E1000_TX_N_KINDS
};

/* Which of the two contexts; the manual's chip has one, drivers that rely on that set TSE in it. */
enum { E1000_TX_CTX_PLAIN, E1000_TX_CTX_TSO };

/* A frame that has begun, as far as its descriptors have said. */
struct e1000_tx_open {
	uint8_t kind; /* enum e1000_tx_kind */
	uint8_t popts, vle;
	uint16_t tci;
	uint32_t len;	     /* bytes of it that are there, TSO's header among them */
	uint32_t n_segs;     /* segments sent before those */
	union e1000_txd ctx; /* the context that governs it */
};

/* Where a frame of the burst begins: what the ring has to go back to if the peer refuses it. */
struct e1000_tx_mark {
	const union e1000_txd *ctx[2];
	uint32_t skip;	 /* bytes of the descriptor that went into the segments before */
	uint32_t n_segs; /* those */
	uint32_t segs;	 /* of the frame itself, for the statistics, and the length of the last */
	uint32_t last;
	uint16_t desc; /* in the batch */
	bool saved;    /* it continues what `open` holds */
};

struct e1000_tx {
	/* State, saved. */
	union e1000_txd ctx[2];
	struct e1000_tx_open open; /* a frame whose first descriptors are gone; its bytes in data */
	uint32_t skip;		   /* bytes of the descriptor at TDH that are gone as well */
	uint16_t head;		   /* TDH that this is true for: a driver that moves it forgets */
	uint8_t ctx_last;	   /* which context came last */
	union e1000_txd ctx_one;   /* it, for migrate_tso_props=off */

	/* Not saved. */
	bool blocked; /* the peer refused; descriptors stay in the ring until resume */
	bool posting; /* it has refused for too long: its queue takes them */
	bool running, resumed;
	uint64_t deadline; /* when it has refused for too long */
	struct twx_timer patience;
	bool more; /* the budget ran out; the task goes on */

	/* One burst on its way out. */
	bool data_used; /* a frame of the burst lies in data */
	bool proto_used;
	uint16_t n_desc, i;
	const union e1000_txd *ctx_now[2];
	uint16_t n_frames, n_iov;
	uint32_t n_segs;
	struct e1000_tx_open cur; /* the frame being put together */
	struct e1000_tx_mark mark;
	bool spilled;	   /* all of it is in data */
	uint32_t head_len; /* bytes in its head */
	uint32_t limit;	   /* most that it may have */
	bool final;	   /* there is nothing behind the limit */
	bool stopped;	   /* the burst ends before it */
	uint16_t cur_iov;  /* its first iovec, the head's */
	struct e1000_tx_open proto_open;
	uint8_t proto[256]; /* TSO header of the one frame that is sent in several */
	struct e1000_tx_mark marks[TWX_BURST];
	struct twx_frame frames[TWX_BURST];
	union e1000_txd desc[E1000_TX_BATCH];
	struct iovec iov[E1000_TX_IOV];
	uint8_t heads[TWX_BURST][E1000_TX_HEAD];
	uint8_t data[E1000_TX_DATA]; /* saved with `open` */
};

/* --- receive; see e1000_rx.c --- */

#define E1000_RX_MAX 16380	/* longest frame, without FCS */
#define E1000_RX_PLAIN_MAX 1518 /* the same while RCTL.LPE is off; a tag fits */
#define E1000_RX_CHAIN 65	/* buffers that one frame may need: E1000_RX_MAX in pieces of 256 */
#define E1000_RX_SCAN 256	/* descriptors looked at to find them among null ones */

struct e1000_rx {
	bool starved;	   /* frames were refused; the core is to be told when they are welcome */
	bool ready;	   /* twx_port_ready() is due in the task */
	uint64_t patience; /* ns until the host is asked again for a late RDT */
	struct twx_timer hurry; /* runs while starved, where writes may be late */
	uint8_t bounce[16384];	/* for buffers that can only be written by message */
};

#endif
