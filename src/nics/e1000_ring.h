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

/* The parts below belong to e1000_tx.c and e1000_rx.c. */
struct e1000_tx {
	bool blocked; /* the peer refused; descriptors stay in the ring until resume */
};

struct e1000_rx {
	bool ready; /* twx_port_ready() is due in the task */
};

#endif
