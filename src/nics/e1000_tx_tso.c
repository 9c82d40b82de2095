/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * e1000, guest to host: TCP segmentation (8254x manual, 3.5).
 *
 * A TSO frame leaves as one GSO frame, which the peer takes as it is or the core cuts. The header
 * is made the one of a single large packet: lengths (the guest leaves them zero), the checksum's
 * seed (which the guest made without a length), IPv4's own checksum. What is longer than an IP
 * packet can be leaves as several, cut behind whole segments; those after the first continue
 * sequence and id, and FIN and PSH go with the last, as if one hardware had cut all of it.
 *
 * The headers are parsed here and must be where the context says, so that what is sent is what the
 * chip would have sent. A request that is not like that is dropped: header length zero or beyond
 * the core's (OFFLOAD_MAX_HDR), segments shorter than OFFLOAD_MIN_GSO, neither TCP nor UDP, headers
 * that do not end where the payload is said to begin; so is one whose tag has another type than
 * 802.1Q's, which the core would not find its way through. PAYLEN only tells what may be awaited;
 * the descriptor with EOP ends the frame, as in QEMU.
 */
#include "nics/e1000_tx.h"

#include <string.h>

#include "base/csum.h"
#include "base/endian.h"
#include "base/macros.h"
#include "net/offload.h"

#define PAYLEN_MASK 0xfffff
#define TCP_CSUM_OFF 16
#define UDP_CSUM_OFF 6
#define TCP_FIN_PSH 0x09

void e1000_tx_tso_limit(struct e1000 *d)
{
	struct e1000_tx *tx = &d->tx;
	uint32_t hdr_len = tx->cur.ctx.context.hdr_len;
	uint32_t mss = le16_get(tx->cur.ctx.context.mss), whole;
	uint32_t payload = le32_get(tx->cur.ctx.context.cmd) & PAYLEN_MASK;

	tx->final = false;
	tx->limit = UINT32_MAX;
	if (hdr_len < TWX_FRAME_MIN + 20 + 8 || hdr_len > OFFLOAD_MAX_HDR ||
	    mss < OFFLOAD_MIN_GSO || mss > 65535 - hdr_len) {
		tx->cur.kind = E1000_TX_BAD_META;
		return;
	}
	whole = (65535 - hdr_len) / mss * mss;
	/* What has been sent of it was a multiple of the segment's size. */
	payload -= min(payload, tx->cur.n_segs * mss);
	if (payload > whole && hdr_len + payload <= E1000_TX_TSO_MAX) {
		tx->limit = hdr_len + payload;
		tx->final = true;
	} else {
		tx->limit = hdr_len + whole;
	}
}

/* True if the headers are those that the context describes. */
static bool tso_parse(const struct e1000_tx *tx, const uint8_t *head, struct packet *p)
{
	uint32_t hdr_len = tx->cur.ctx.context.hdr_len;

	if (tx->cur.len < hdr_len)
		return false;
	packet_parse(p, head, hdr_len);
	return p->payload_off == hdr_len && p->l3_off == tx->cur.ctx.context.ipcss &&
	       p->l4_off == tx->cur.ctx.context.tucss;
}

static void tso_fix_ip(const struct e1000_tx_open *o, const struct packet *p, uint8_t *ip)
{
	be16 sum;

	if (p->version == 6) {
		be16_put(ip + 4, o->len - p->l3_off - 40);
		return;
	}
	be16_put(ip + 2, o->len - p->l3_off);
	be16_put(ip + 4, be16_at(ip + 4) + o->n_segs);
	be16_put(ip + 10, 0);
	sum = csum_fold(csum_partial(ip, (size_t)(p->l4_off - p->l3_off), 0));
	memcpy(ip + 10, &sum, 2);
}

/* The L4 header, with the sum of the pseudo header as the seed of its checksum. */
static void tso_fix_l4(const struct e1000_tx_open *o, const struct packet *p, const uint8_t *ip,
		       uint8_t *l4, bool last)
{
	uint32_t len = o->len - p->l4_off, off = UDP_CSUM_OFF;
	uint64_t sum;
	be16 seed;

	if (p->proto == PACKET_TCP) {
		uint32_t seq = be16_at(l4 + 4) << 16 | be16_at(l4 + 6);

		off = TCP_CSUM_OFF;
		seq += o->n_segs * le16_get(o->ctx.context.mss);
		be16_put(l4 + 4, seq >> 16);
		be16_put(l4 + 6, seq);
		if (!last)
			l4[13] &= (uint8_t)~TCP_FIN_PSH;
	} else {
		be16_put(l4 + 4, len);
	}
	if (p->version == 6)
		sum = csum_pseudo6(ip + 8, ip + 24, p->proto, len);
	else
		sum = csum_pseudo4(ip + 12, ip + 16, p->proto, len);
	seed = (be16){ csum_fold_raw(sum) };
	memcpy(l4 + off, &seed, 2);
}

/* More follows: the header as the guest wrote it is kept for the next ones. */
static bool tso_save_header(struct e1000_tx *tx, const uint8_t *head)
{
	if (tx->cur.n_segs && tx->proto_used)
		return true; /* it came from there */
	if (tx->proto_used)
		return false;
	memcpy(tx->proto, head, tx->cur.ctx.context.hdr_len);
	tx->proto_open = tx->cur;
	tx->proto_used = true;
	return true;
}

bool e1000_tx_tso(struct e1000 *d, bool last)
{
	struct e1000_tx *tx = &d->tx;
	uint32_t hdr_len = tx->cur.ctx.context.hdr_len, payload;
	uint16_t mss = le16_get(tx->cur.ctx.context.mss);
	uint8_t *head = e1000_tx_head(tx);
	struct twx_meta meta = { .flags = TWX_F_NEEDS_CSUM };
	struct packet p;

	if (tx->spilled)
		e1000_tx_pull(d, e1000_tx_room(&tx->cur));
	if (!tso_parse(tx, head, &p)) {
		tx->cur.kind = E1000_TX_BAD_META;
		return !last || e1000_tx_drop(d, TWX_DROP_BAD_META);
	}
	if (!last && !tso_save_header(tx, head))
		return false;
	payload = tx->cur.len - hdr_len;
	tso_fix_ip(&tx->cur, &p, head + p.l3_off);
	tso_fix_l4(&tx->cur, &p, head + p.l3_off, head + p.l4_off, last);
	meta.hdr_len = (uint16_t)hdr_len;
	meta.csum_start = p.l4_off;
	meta.csum_off = p.proto == PACKET_TCP ? TCP_CSUM_OFF : UDP_CSUM_OFF;
	if (payload > mss) {
		meta.gso = p.proto == PACKET_UDP ? TWX_GSO_UDP_L4
			   : p.version == 6	 ? TWX_GSO_TCPV6
						 : TWX_GSO_TCPV4;
		meta.gso_size = mss;
	}
	tx->mark.segs = payload > mss ? (payload + mss - 1) / mss : 1;
	tx->mark.last = hdr_len + payload - (tx->mark.segs - 1) * mss;
	e1000_tx_emit(d, &meta);
	return true;
}
