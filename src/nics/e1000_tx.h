/* SPDX-License-Identifier: BSD-3-Clause */
/* e1000: what the files of the transmit path share. */
#ifndef NICS_E1000_TX_H
#define NICS_E1000_TX_H

#include "nics/e1000.h"

/*
 * Each of these works on tx->cur, the frame being put together. False: the burst has to end before
 * that frame, which is then gathered again as the first of the next burst.
 */

/* e1000_tx_frame.c */

/* Appends @len bytes of guest memory; the caller has seen to the limit. */
bool e1000_tx_take(struct e1000 *d, uint64_t addr, uint32_t len);
/* Sees to it that the head holds the first @len bytes, if the frame has so many. */
void e1000_tx_pull(struct e1000 *d, uint32_t len);
/* The last descriptor was @eop: adds the frame to the burst. */
bool e1000_tx_plain(struct e1000 *d, const union e1000_txd *eop);
/* Adds it with what the core has to do to it; the head is as it shall be. */
void e1000_tx_emit(struct e1000 *d, const struct twx_meta *meta);
/* Ends it without sending; counted when it is certain not to be gathered again. */
bool e1000_tx_drop(struct e1000 *d, enum twx_drop cause);
/* The frame's bytes move to @to, so that they outlive the view of guest memory. */
void e1000_tx_keep(const struct e1000 *d, uint8_t *to);

/* e1000_tx_tso.c */

/* How much the frame may grow before something has to be sent, by its context. */
void e1000_tx_tso_limit(struct e1000 *d);
/* Sends what there is of it as one GSO frame. */
bool e1000_tx_tso(struct e1000 *d, bool last);

static inline uint8_t *e1000_tx_head(struct e1000_tx *tx)
{
	return tx->heads[tx->n_frames];
}

/* How far the private head has to reach. */
static inline uint32_t e1000_tx_room(const struct e1000_tx_open *o)
{
	return o->kind == E1000_TX_TSO && o->ctx.context.hdr_len > TWX_HDR_ROOM
		       ? o->ctx.context.hdr_len
		       : TWX_HDR_ROOM;
}

#endif
