/* SPDX-License-Identifier: BSD-3-Clause */
/* A driver for the rings of an e1000: descriptors of every kind, buffers, what came back. */
#ifndef FAKE_E1000_RINGS_H
#define FAKE_E1000_RINGS_H

#include "fake_e1000.h"

#include "base/csum.h"

#define FR_EOP (TXD_EOP | TXD_IFCS | TXD_RS) /* how a driver ends a frame */
#define FR_DEFAULT_RCTL (RCTL_EN | RCTL_BAM | RCTL_SECRC)

struct fr {
	struct fp *g;
	uint64_t tx, rx; /* the rings */
	uint32_t n_tx, n_rx, tail, next;
	uint64_t rx_bufs;
	uint32_t rx_bsize, rx_next;
	uint64_t brk; /* where buffers are taken from, round and round */
	uint64_t buf_from, buf_to;
};

/* One received frame. */
struct fr_frame {
	uint8_t data[20000];
	uint32_t len; /* sum of the descriptors' lengths */
	uint8_t status, errors;
	uint16_t special, csum;
	unsigned int n_desc;
};

static inline void fr_tx_setup(struct fr *r, uint32_t n)
{
	r->n_tx = n;
	r->tail = 0;
	fp_wr(r->g, O_TDBAL, (uint32_t)r->tx);
	fp_wr(r->g, O_TDBAH, (uint32_t)(r->tx >> 32));
	fp_wr(r->g, O_TDLEN, n * 16);
	fp_wr(r->g, O_TDH, 0);
	fp_wr(r->g, O_TDT, 0);
	fp_wr(r->g, O_TCTL, TCTL_EN | TCTL_PSP);
}

static inline uint32_t fr_bsize(uint32_t rctl)
{
	uint32_t i = (rctl & RCTL_BSIZE) >> RCTL_BSIZE_SHIFT;

	return (2048u >> i) * (i && (rctl & RCTL_BSEX) ? 16 : 1);
}

static inline void fr_rx_desc(struct fr *r, uint32_t i, uint64_t addr)
{
	struct e1000_rxd d = { .addr = le64_make(addr),
			       .len = le16_make(0xeeee),
			       .csum = le16_make(0xeeee) };

	fp_write(r->g, r->rx + 16 * i, &d, sizeof(d));
}

/* All but one of @n descriptors have buffers. */
static inline void fr_rx_setup(struct fr *r, uint32_t n, uint32_t rctl)
{
	r->n_rx = n;
	r->rx_next = 0;
	r->rx_bsize = fr_bsize(rctl);
	for (uint32_t i = 0; i < n; i++)
		fr_rx_desc(r, i, r->rx_bufs + (uint64_t)i * r->rx_bsize);
	fp_wr(r->g, O_RDBAL, (uint32_t)r->rx);
	fp_wr(r->g, O_RDBAH, (uint32_t)(r->rx >> 32));
	fp_wr(r->g, O_RDLEN, n * 16);
	fp_wr(r->g, O_RDH, 0);
	fp_wr(r->g, O_RDT, n - 1);
	fp_wr(r->g, O_RCTL, rctl);
}

static inline struct fr *fr_new(const char *opts)
{
	struct fr *r = calloc(1, sizeof(*r));

	r->g = fe_new(opts);
	r->tx = fp_alloc(r->g, 65536);
	r->rx = fp_alloc(r->g, 65536);
	r->rx_bufs = fp_alloc(r->g, 4u << 20);
	/* Around the border, so that buffers cross it now and then. */
	r->buf_from = FP_BORDER - (1u << 20);
	r->buf_to = FP_BORDER + (6u << 20);
	r->brk = r->buf_from;
	fr_tx_setup(r, 256);
	fr_rx_setup(r, 256, FR_DEFAULT_RCTL);
	fp_wr(r->g, O_IMS, 0xffffffff);
	return r;
}

static inline void fr_free(struct fr *r)
{
	fp_free(r->g);
	free(r);
}

/* --- transmit --- */

static inline uint64_t fr_buffer(struct fr *r, const void *data, uint32_t len)
{
	uint64_t at = r->brk;

	if (at + len > r->buf_to)
		at = r->buf_from;
	r->brk = at + len + 3; /* any alignment */
	fp_write(r->g, at, data, len);
	return at;
}

static inline uint32_t fr_desc(struct fr *r, const union e1000_txd *t)
{
	uint32_t i = r->tail;

	fp_write(r->g, r->tx + 16 * i, t, sizeof(*t));
	r->tail = (i + 1) % r->n_tx;
	return i;
}

static inline uint32_t fr_legacy_at(struct fr *r, uint64_t addr, uint32_t len, uint8_t cmd)
{
	union e1000_txd t = {
		.legacy = { .addr = le64_make(addr), .len = le16_make((uint16_t)len), .cmd = cmd }
	};

	return fr_desc(r, &t);
}

static inline uint32_t fr_legacy(struct fr *r, const void *data, uint32_t len, uint8_t cmd)
{
	return fr_legacy_at(r, fr_buffer(r, data, len), len, cmd);
}

static inline uint32_t fr_data_at(struct fr *r, uint64_t addr, uint32_t len, uint8_t cmd,
				  uint8_t popts)
{
	union e1000_txd t = { .data = { .addr = le64_make(addr),
					.cmd = le32_make(len | (uint32_t)TXD_DTYP_DATA << 20 |
							 (uint32_t)(cmd | TXD_DEXT) << 24),
					.popts = popts } };

	return fr_desc(r, &t);
}

static inline uint32_t fr_data(struct fr *r, const void *data, uint32_t len, uint8_t cmd,
			       uint8_t popts)
{
	return fr_data_at(r, fr_buffer(r, data, len), len, cmd, popts);
}

struct fr_ctx {
	uint8_t ipcss, ipcso, tucss, tucso, hdr_len, tucmd;
	uint16_t ipcse, tucse, mss;
	uint32_t paylen;
};

static inline uint32_t fr_context(struct fr *r, const struct fr_ctx *c)
{
	union e1000_txd t = { .context = {
				      .ipcss = c->ipcss,
				      .ipcso = c->ipcso,
				      .ipcse = le16_make(c->ipcse),
				      .tucss = c->tucss,
				      .tucso = c->tucso,
				      .tucse = le16_make(c->tucse),
				      .cmd = le32_make(c->paylen | (uint32_t)(c->tucmd | TXD_DEXT)
									   << 24),
				      .hdr_len = c->hdr_len,
				      .mss = le16_make(c->mss),
			      } };

	return fr_desc(r, &t);
}

static inline void fr_kick(struct fr *r)
{
	fp_wr(r->g, O_TDT, r->tail);
}

static inline void fr_send(struct fr *r)
{
	fr_kick(r);
	fp_run(r->g);
}

static inline union e1000_txd fr_txd(struct fr *r, uint32_t i)
{
	union e1000_txd t;

	fp_read(r->g, r->tx + 16 * i, &t, sizeof(t));
	return t;
}

static inline bool fr_tx_done(struct fr *r, uint32_t i)
{
	return fr_txd(r, i).legacy.status & TXD_DD;
}

/* --- receive --- */

static inline struct e1000_rxd fr_rxd(struct fr *r, uint32_t i)
{
	struct e1000_rxd d;

	fp_read(r->g, r->rx + 16 * i, &d, sizeof(d));
	return d;
}

/* The next frame of the ring; its descriptors are offered again, if @again. */
static inline bool fr_recv(struct fr *r, struct fr_frame *f, bool again)
{
	uint32_t room = sizeof(f->data), i = r->rx_next;

	memset(f, 0, sizeof(*f));
	for (;;) {
		struct e1000_rxd d = fr_rxd(r, i);
		uint32_t len = le16_get(d.len);

		if (!(d.status & RXD_DD))
			return false;
		assert(len <= r->rx_bsize && len <= room - f->len);
		if (le64_get(d.addr))
			fp_read(r->g, le64_get(d.addr), f->data + f->len, len);
		f->len += len;
		f->n_desc++;
		f->status = d.status;
		f->errors = d.errors;
		f->special = le16_get(d.special);
		f->csum = le16_get(d.csum);
		if (again)
			fr_rx_desc(r, i, le64_get(d.addr));
		i = (i + 1) % r->n_rx;
		if (d.status & RXD_EOP)
			break;
	}
	r->rx_next = i;
	if (again)
		fp_wr(r->g, O_RDT, (i + r->n_rx - 1) % r->n_rx);
	return true;
}

/* From the wire; how many were taken. */
static inline int fr_feed_meta(struct fr *r, const void *data, uint32_t len,
			       const struct twx_meta *meta)
{
	struct iovec iov = { (void *)(uintptr_t)data, len };
	struct twx_frame f = { .iov = &iov, .n_iov = 1, .len = len, .meta = *meta };

	return twx_port_send(r->g->wire->port, &f, 1);
}

static inline int fr_feed(struct fr *r, const void *data, uint32_t len)
{
	return fr_feed_meta(r, data, len, &(struct twx_meta){ 0 });
}

/* --- packets --- */

static inline void fr_put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline uint32_t fr_get16(const uint8_t *p)
{
	return (uint32_t)(p[0] << 8 | p[1]);
}

static inline uint32_t fr_get32(const uint8_t *p)
{
	return fr_get16(p) << 16 | fr_get16(p + 2);
}

struct fr_packet {
	bool v6;
	uint8_t proto; /* 6 or 17 */
	uint32_t payload;
	uint8_t seed;
	uint8_t tcp_flags;
};

static inline uint32_t fr_l4_off(const struct fr_packet *k)
{
	return k->v6 ? 54 : 34;
}

static inline uint32_t fr_hdr_len(const struct fr_packet *k)
{
	return fr_l4_off(k) + (k->proto == 6 ? 20 : 8);
}

static inline uint64_t fr_pseudo(const uint8_t *f, bool v6, uint8_t proto, uint32_t len)
{
	return v6 ? csum_pseudo6(f + 22, f + 38, proto, len)
		  : csum_pseudo4(f + 26, f + 30, proto, len);
}

/* True if the checksum of the packet at @l4, @len bytes of it, is good. */
static inline bool fr_l4_good(const uint8_t *f, bool v6, uint8_t proto, uint32_t l4, uint32_t len)
{
	return csum_fold_raw(csum_partial(f + l4, len, fr_pseudo(f, v6, proto, len))) == 0xffff;
}

static inline bool fr_ip_good(const uint8_t *f)
{
	return csum_fold_raw(csum_partial(f + 14, (size_t)(f[14] & 15) * 4, 0)) == 0xffff;
}

/* A whole, correct packet; its length. */
static inline uint32_t fr_packet(uint8_t *f, const struct fr_packet *k)
{
	uint32_t l4 = fr_l4_off(k), hdr = fr_hdr_len(k), len = hdr + k->payload;
	uint32_t at = l4 + (k->proto == 6 ? 16 : 6);
	be16 sum;

	fg_frame(f, len, k->seed);
	memset(f + 14, 0, hdr - 14);
	memcpy(f + 12, k->v6 ? "\x86\xdd" : "\x08\0", 2);
	if (k->v6) {
		f[14] = 0x60;
		fr_put16(f + 18, len - 54);
		f[20] = k->proto;
		f[21] = 64;
		memset(f + 22, 0xfe, 16);
		memset(f + 38, 0xfd, 16);
	} else {
		f[14] = 0x45;
		fr_put16(f + 16, len - 14);
		fr_put16(f + 18, 0xfffe);
		f[22] = 64;
		f[23] = k->proto;
		memcpy(f + 26, "\x0a\0\x02\x0f\x0a\0\x02\x02", 8);
		sum = csum_fold(csum_partial(f + 14, 20, 0));
		memcpy(f + 24, &sum, 2);
	}
	fr_put16(f + l4, 1000);
	fr_put16(f + l4 + 2, 2000);
	if (k->proto == 6) {
		memcpy(f + l4 + 4, "\xff\xff\xf0\0\0\0\0\1\x50", 9);
		f[l4 + 13] = k->tcp_flags;
	} else {
		fr_put16(f + l4 + 4, len - l4);
	}
	sum = csum_fold_udp(
		csum_partial(f + l4, len - l4, fr_pseudo(f, k->v6, k->proto, len - l4)));
	memcpy(f + at, &sum, 2);
	return len;
}

/* As a driver leaves it to a NIC that makes the checksum: the pseudo header's sum in the field. */
static inline void fr_seed(uint8_t *f, const struct fr_packet *k, uint32_t l4_len)
{
	be16 v = { csum_fold_raw(fr_pseudo(f, k->v6, k->proto, l4_len)) };

	memcpy(f + fr_l4_off(k) + (k->proto == 6 ? 16 : 6), &v, 2);
}

/* --- whatever went before --- */

/* A reset of the bus, rings set up anew, and a frame each way; false if that does not work. */
static inline bool fr_works(struct fr *r)
{
	static struct fr_frame got;
	struct fg_wire *w = r->g->wire;
	uint8_t sent[1000];
	unsigned int n;

	pci_reset(r->g->pci);
	fp_enable(r->g);
	twx_port_set_link(r->g->nic->ports[0], true);
	fe_pass(r->g, 500000000); /* it may have to negotiate */
	r->tx = FP_BASE + 0x10000;
	r->rx = FP_BASE + 0x20000;
	fr_tx_setup(r, 256);
	fr_rx_setup(r, 256, FR_DEFAULT_RCTL);
	w->room = ~0u;
	twx_port_ready(w->port);
	fp_run(r->g);
	fg_wire_clear(w);
	fg_frame(sent, sizeof(sent), 1);
	n = fr_legacy(r, sent, sizeof(sent), FR_EOP);
	fr_send(r);
	if (w->n_frames != 1 || w->frames[0].len != sizeof(sent) ||
	    memcmp(w->frames[0].data, sent, sizeof(sent)) != 0 || !fr_tx_done(r, n))
		return false;
	if (fr_feed(r, sent, sizeof(sent)) != 1)
		return false;
	/* What had waited with the core comes first. */
	do {
		if (!fr_recv(r, &got, true))
			return false;
	} while (got.len != sizeof(sent) || memcmp(got.data, sent, sizeof(sent)) != 0);
	return true;
}

#endif
