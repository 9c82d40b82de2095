/* SPDX-License-Identifier: BSD-3-Clause */
/* e1000: what the files of the receive path share. */
#ifndef NICS_E1000_RX_H
#define NICS_E1000_RX_H

#include "net/packet.h"
#include "nics/e1000.h"

#define E1000_TAG_LEN 4u

/*
 * The checksums of one frame. Offsets are those of the bytes that the guest gets; the bytes from
 * `start` on are summed as they are written.
 */
struct e1000_rx_sums {
	bool wanted; /* somebody needs the sum */
	bool fill;   /* the sender left the checksum at `field` to us */
	bool check;  /* TCP or UDP, of which `l4_len` bytes are to be verified */
	uint32_t start, field, l4_len;
	uint64_t sum;
	uint64_t change;	/* of the sum by filling the field in */
	uint8_t status, errors; /* for the last descriptor */
	uint16_t packet;	/* its checksum field */
	struct packet p;
};

/* e1000_filter.c: the status bit of a frame that passed, but maybe for another station's sake. */
uint8_t e1000_filter_status(const struct e1000 *d, const uint8_t *dst);

/* e1000_rx_csum.c */

/* What has to be known of @f, of which the guest gets all but @strip bytes of a tag. */
void e1000_rx_plan(const struct e1000 *d, const struct twx_frame *f, uint32_t strip,
		   struct e1000_rx_sums *s);
/* The sum is there: status, errors, the checksum fields. */
void e1000_rx_judge(const struct e1000 *d, const struct twx_frame *f, uint32_t strip,
		    struct e1000_rx_sums *s);

#endif
