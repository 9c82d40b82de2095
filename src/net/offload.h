/* SPDX-License-Identifier: BSD-3-Clause */
/* Checksums, segmentation and VLAN tags in software, for receivers that cannot take them. */
#ifndef NET_OFFLOAD_H
#define NET_OFFLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include <twinax/frame.h>
#include <twinax/port.h>

#include "base/macros.h"
#include "net/packet.h"

#define OFFLOAD_MIN_GSO 8   /* payload bytes of a segment; fewer would only serve to keep us busy */
#define OFFLOAD_MAX_HDR 240 /* headers of a frame that is cut, Ethernet up to the payload */
#define OFFLOAD_SLOT 272 /* room for such headers plus a tag, a fragment header and a UDP header   \
			  */
#define OFFLOAD_MAX_PIECES 16 /* a payload in more pieces than this is copied into one */
#define OFFLOAD_DATA (160u << 10)

/* What offload_check() says; below zero: -1 - (enum twx_drop). */
enum { OFFLOAD_AS_IS = 0, OFFLOAD_WORK = 1 };

static inline int offload_drop(enum twx_drop cause)
{
	return -1 - (int)cause;
}

static inline enum twx_drop offload_drop_cause(int verdict)
{
	return (enum twx_drop)(-1 - verdict);
}

int offload_check_slow(const struct twx_frame *f, const struct twx_caps *caps);

/*
 * The one choke point for sizes and for offload requests: says whether @f may go to a receiver with
 * @caps as it is, has to be worked on first, or is to be dropped. @caps->max_frame is normalised.
 */
static inline int offload_check(const struct twx_frame *f, const struct twx_caps *caps)
{
	unsigned int asks = (f->meta.flags & (TWX_F_NEEDS_CSUM | TWX_F_VLAN)) | f->meta.gso;

	if (likely(!asks && f->len - TWX_FRAME_MIN <= caps->max_frame - TWX_FRAME_MIN))
		return OFFLOAD_AS_IS;
	return offload_check_slow(f, caps);
}

/* A frame being worked on; it may yield more frames than one batch holds. */
struct offload_job {
	const struct twx_frame *f; /* null: none */
	struct packet p;
	uint16_t src;
	bool segment;	  /* else: checksum, tag or both */
	bool finish;	  /* checksums are to be completed */
	bool tag;	  /* the VLAN tag goes into the frame */
	uint16_t hdr_len; /* copied in front of every segment */
	uint16_t mss;
	uint32_t seg, n_segs;
	uint32_t len;	    /* what is cut: bytes behind hdr_len */
	const uint8_t *lin; /* those bytes in one private piece, or null: in f */
	uint32_t lin_end;   /* end of lin in data */
	uint32_t frag_id;
};

/* Scratch for one burst on its way to one receiver; several exist when deliveries nest. */
struct offload {
	struct offload *next; /* in the net's free list */
	int n;
	struct twx_frame out[TWX_BURST];
	uint16_t src[TWX_BURST]; /* which source frame out[i] came from ... */
	uint32_t seg[TWX_BURST]; /* ... and which of its segments it is */
	struct offload_job job;
	uint32_t n_iov;
	struct iovec iov[TWX_BURST * (OFFLOAD_MAX_PIECES + 2)];
	uint8_t slot[TWX_BURST][OFFLOAD_SLOT];
	uint32_t data_used;
	uint32_t next_frag_id;
	uint8_t data[OFFLOAD_DATA];
};

/* Empties the batch; a job that is not finished stays. */
void offload_reset(struct offload *o);

/* Adds @f as it is. The batch must have room. */
void offload_pass(struct offload *o, const struct twx_frame *f, uint16_t src);

/*
 * Begins work on @f, for which offload_check() said OFFLOAD_WORK, or for which @skip segments were
 * delivered before. False when the batch lacks room for its data: deliver the batch and try again.
 */
bool offload_begin(struct offload *o, const struct twx_frame *f, uint16_t src,
		   const struct twx_caps *caps, uint32_t skip, struct twx_counters *count);

/* Adds frames of the job until it ends (true) or the batch is full (false). */
bool offload_emit(struct offload *o);

#endif
