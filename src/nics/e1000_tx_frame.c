/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * e1000, guest to host: one frame of a burst.
 *
 * A frame has a private head (its slot in heads[]) and pieces of payload where the guest has them.
 * One that has too many pieces, or whose memory can only be read by message, or that needs a
 * checksum which no receiver can be asked for, is "spilled": all of it is copied to data[]; then
 * only the first bytes are copied to the head again, because headers are changed there and nowhere
 * else. data[] holds one frame, so a second one ends the burst.
 */
#include "nics/e1000_tx.h"

#include <errno.h>
#include <string.h>

#include "base/csum.h"
#include "base/iov.h"
#include "base/macros.h"

#define TAG_LEN 4
#define MIN_LEN 60 /* without FCS */

void e1000_tx_keep(const struct e1000 *d, uint8_t *to)
{
	const struct e1000_tx *tx = &d->tx;
	const struct iovec *pieces = &tx->iov[tx->cur_iov + 1];

	if (tx->spilled)
		return;
	memcpy(to, tx->heads[tx->n_frames], tx->head_len);
	iov_copy_from(pieces, (size_t)(tx->n_iov - tx->cur_iov - 1), 0, to + tx->head_len,
		      tx->cur.len - tx->head_len);
}

static bool tx_spill(struct e1000 *d)
{
	struct e1000_tx *tx = &d->tx;

	if (tx->spilled)
		return true;
	if (tx->data_used)
		return false;
	e1000_tx_keep(d, tx->data);
	tx->spilled = true;
	tx->n_iov = (uint16_t)(tx->cur_iov + 1);
	return true;
}

static bool tx_unreadable(struct e1000 *d)
{
	d->tx.cur.kind = E1000_TX_BAD_CHAIN;
	return true;
}

static bool tx_take_private(struct e1000 *d, uint64_t addr, uint32_t len)
{
	struct e1000_tx *tx = &d->tx;

	if (!tx_spill(d))
		return false;
	if (pci_dma_read(&d->pci, (gpa){ addr }, tx->data + tx->cur.len, len) < 0)
		return tx_unreadable(d);
	tx->cur.len += len;
	return true;
}

static bool tx_take_piece(struct e1000 *d, uint64_t addr, uint32_t len)
{
	struct e1000_tx *tx = &d->tx;
	unsigned int room = E1000_TX_PIECES - (tx->n_iov - tx->cur_iov - 1u);
	struct iovec *last = &tx->iov[tx->n_iov - 1];
	uint8_t *p = mem_hit(d->pci.mem, (gpa){ addr }, len);
	int n;

	room = min(room, E1000_TX_IOV - (unsigned int)tx->n_iov);
	if (likely(p != NULL)) {
		if (tx->n_iov - tx->cur_iov > 1 && (uint8_t *)last->iov_base + last->iov_len == p) {
			last->iov_len += len;
		} else {
			if (!room)
				return tx_take_private(d, addr, len);
			tx->iov[tx->n_iov++] = (struct iovec){ p, len };
		}
		tx->cur.len += len;
		return true;
	}
	n = room ? pci_dma_iov(&d->pci, (gpa){ addr }, len, tx->iov + tx->n_iov, room) : -E2BIG;
	if (n < 0)
		return tx_take_private(d, addr, len);
	tx->n_iov = (uint16_t)(tx->n_iov + n);
	tx->cur.len += len;
	return true;
}

bool e1000_tx_take(struct e1000 *d, uint64_t addr, uint32_t len)
{
	struct e1000_tx *tx = &d->tx;
	uint32_t room = e1000_tx_room(&tx->cur);

	if (!len || tx->cur.kind >= E1000_TX_BAD_META)
		return true;
	if (tx->spilled)
		return tx_take_private(d, addr, len);
	if (tx->head_len < room && tx->head_len == tx->cur.len) {
		uint32_t n = min(len, room - tx->head_len);

		if (pci_dma_read(&d->pci, (gpa){ addr }, e1000_tx_head(tx) + tx->head_len, n) < 0)
			return tx_unreadable(d);
		tx->head_len += n;
		tx->cur.len += n;
		addr += n;
		len -= n;
	}
	return !len || tx_take_piece(d, addr, len);
}

void e1000_tx_pull(struct e1000 *d, uint32_t len)
{
	struct e1000_tx *tx = &d->tx;
	struct iovec *piece = &tx->iov[tx->cur_iov + 1];
	uint8_t *head = e1000_tx_head(tx);

	len = min(len, tx->cur.len);
	if (tx->spilled) {
		if (len > tx->head_len)
			memcpy(head + tx->head_len, tx->data + tx->head_len, len - tx->head_len);
		tx->head_len = max(len, tx->head_len);
		return;
	}
	while (tx->head_len < len) {
		uint32_t n = min(len - tx->head_len, (uint32_t)min(piece->iov_len, (size_t)len));

		memcpy(head + tx->head_len, piece->iov_base, n);
		tx->head_len += n;
		piece->iov_base = (uint8_t *)piece->iov_base + n;
		piece->iov_len -= n;
		if (piece->iov_len)
			continue;
		tx->n_iov--;
		memmove(piece, piece + 1, (size_t)(&tx->iov[tx->n_iov] - piece) * sizeof(*piece));
	}
}

bool e1000_tx_drop(struct e1000 *d, enum twx_drop cause)
{
	struct e1000_tx *tx = &d->tx;

	if (tx->n_frames)
		return false;
	twx_port_drop(d->port, cause, tx->cur.len);
	return true;
}

/* Puts the tag in where the peer cannot be told of it, because its type is not 802.1Q's. */
static void tx_insert_tag(struct e1000 *d, struct twx_frame *f, uint8_t *head)
{
	struct e1000_tx *tx = &d->tx;
	uint32_t vet = d->reg[R_VET];

	memmove(head + 12 + TAG_LEN, head + 12, tx->head_len - 12);
	head[12] = (uint8_t)(vet >> 8);
	head[13] = (uint8_t)vet;
	head[14] = (uint8_t)(tx->cur.tci >> 8);
	head[15] = (uint8_t)tx->cur.tci;
	tx->head_len += TAG_LEN;
	tx->mark.last += TAG_LEN;
	f->len += TAG_LEN;
	if (f->meta.flags & TWX_F_NEEDS_CSUM)
		f->meta.csum_start += TAG_LEN;
	if (f->meta.hdr_len)
		f->meta.hdr_len += TAG_LEN;
}

void e1000_tx_emit(struct e1000 *d, const struct twx_meta *meta)
{
	struct e1000_tx *tx = &d->tx;
	struct twx_frame *f = &tx->frames[tx->n_frames];
	struct iovec *iov = &tx->iov[tx->cur_iov];
	uint8_t *head = e1000_tx_head(tx);

	f->len = tx->cur.len;
	f->meta = *meta;
	if (tx->spilled && tx->head_len < f->len) {
		iov[1].iov_base = tx->data + tx->head_len;
		iov[1].iov_len = f->len - tx->head_len;
		tx->n_iov++;
	}
	if (unlikely(tx->cur.vle)) {
		if ((d->reg[R_VET] & 0xffff) == 0x8100) {
			f->meta.flags |= TWX_F_VLAN;
			f->meta.vlan_tci = tx->cur.tci;
		} else {
			tx_insert_tag(d, f, head);
		}
	}
	iov->iov_base = head;
	iov->iov_len = tx->head_len;
	f->iov = iov;
	f->n_iov = (uint32_t)(tx->n_iov - tx->cur_iov);
	TWX_TRACE(d->port->trace, TWX_HOP_E1000_TX, d->port->name, f->len, f->meta.gso_size);
	tx->data_used |= tx->spilled | tx->mark.saved;
	tx->n_segs += tx->mark.segs;
	tx->marks[tx->n_frames++] = tx->mark;
	tx->cur_iov = tx->n_iov;
}

/*
 * A checksum of [@start, @end) at @field. What receivers know how to do is left to them, so that
 * the payload need not be read; the rest is done here. @end 0: all that is left.
 */
static bool tx_checksum(struct e1000 *d, uint32_t start, uint32_t field, uint32_t end, bool leave,
			struct twx_meta *meta)
{
	struct e1000_tx *tx = &d->tx;
	uint32_t len = tx->cur.len;
	uint8_t *head = e1000_tx_head(tx);
	struct iovec all[2];
	uint64_t sum;
	be16 v;

	end = end ? min(end, len) : len;
	/* 3.3.3, 3.3.6: what does not fit the packet is not inserted. */
	if (start >= end || field + 2 > len)
		return true;
	if (leave && end == len && start >= TWX_FRAME_MIN && field >= start &&
	    !((field - start) & 1) && field + 2 <= TWX_HDR_ROOM) {
		meta->flags |= TWX_F_NEEDS_CSUM;
		meta->csum_start = (uint16_t)start;
		meta->csum_off = (uint16_t)(field - start);
		return true;
	}
	if (end > tx->head_len && !tx_spill(d))
		return false;
	e1000_tx_pull(d, field + 2);
	all[0] = (struct iovec){ head, tx->head_len };
	all[1] = (struct iovec){ tx->data + tx->head_len, len - tx->head_len };
	sum = csum_iov(all, 2, start, end - start, 0);
	v = leave ? csum_fold_udp(sum) : csum_fold(sum);
	memcpy(head + field, &v, 2);
	return true;
}

/* 3.3.6, 3.3.7: two checksums at places that the context names. */
static bool tx_data_checksums(struct e1000 *d, struct twx_meta *meta)
{
	struct e1000_tx *tx = &d->tx;
	uint32_t ipcse = le16_get(tx->cur.ctx.context.ipcse);
	uint32_t tucse = le16_get(tx->cur.ctx.context.tucse);

	if ((tx->cur.popts & TXD_IXSM) &&
	    !tx_checksum(d, tx->cur.ctx.context.ipcss, tx->cur.ctx.context.ipcso,
			 ipcse ? ipcse + 1 : 0, false, meta))
		return false;
	return !(tx->cur.popts & TXD_TXSM) ||
	       tx_checksum(d, tx->cur.ctx.context.tucss, tx->cur.ctx.context.tucso,
			   tucse ? tucse + 1 : 0, true, meta);
}

bool e1000_tx_plain(struct e1000 *d, const union e1000_txd *eop)
{
	struct e1000_tx *tx = &d->tx;
	struct twx_meta meta = { 0 };
	uint8_t cmd = eop->legacy.cmd;

	if (unlikely(tx->cur.len < TWX_FRAME_MIN))
		return e1000_tx_drop(d, TWX_DROP_TOO_SHORT);
	if (tx->spilled)
		e1000_tx_pull(d, TWX_HDR_ROOM);
	if (tx->cur.len < MIN_LEN && (d->reg[R_TCTL] & TCTL_PSP)) {
		memset(e1000_tx_head(tx) + tx->cur.len, 0, MIN_LEN - tx->cur.len);
		tx->cur.len = tx->head_len = MIN_LEN;
	}
	if (cmd & TXD_DEXT) {
		if (!tx_data_checksums(d, &meta))
			return false;
	} else if (cmd & TXD_IC) {
		if (!tx_checksum(d, eop->legacy.css, eop->legacy.cso, 0, true, &meta))
			return false;
	}
	tx->cur.vle = (cmd & TXD_VLE) && (d->reg[R_CTRL] & CTRL_VME);
	tx->cur.tci = le16_get(eop->legacy.special);
	tx->mark.segs = 0;
	e1000_tx_emit(d, &meta);
	return true;
}
