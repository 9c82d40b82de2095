/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets of each kind for an e1000 that sums and cuts, as a driver hands them over, and what is to
 * become of them. */
#ifndef FAKE_E1000_PACKETS_H
#define FAKE_E1000_PACKETS_H

#include "base/macros.h"
#include "fake_e1000_rings.h"

#define ALL_CAPS                                                                                   \
	(TWX_CAP_CSUM | TWX_CAP_TSO4 | TWX_CAP_TSO6 | TWX_CAP_USO | TWX_CAP_ECN | TWX_CAP_VLAN)

static const struct fr_packet kinds[] = {
	{ false, 6, 1000, 1, 0x18 },
	{ true, 6, 1000, 2, 0x18 },
	{ false, 17, 1000, 3, 0 },
	{ true, 17, 1000, 4, 0 },
};

static inline void set_caps(struct fr *r, uint32_t flags)
{
	twx_port_set_caps(r->g->wire->port, (struct twx_caps){ .flags = flags });
}

/* With a receiver that can do nothing by itself. */
static inline struct fr *start(void)
{
	struct fr *r = fr_new("");

	set_caps(r, 0);
	return r;
}

static inline struct fr_ctx csum_ctx(const struct fr_packet *k)
{
	return (struct fr_ctx){
		.ipcss = 14,
		.ipcso = 24,
		.ipcse = 33,
		.tucss = (uint8_t)fr_l4_off(k),
		.tucso = (uint8_t)(fr_l4_off(k) + (k->proto == 6 ? 16 : 6)),
		.tucmd = (uint8_t)((k->proto == 6 ? TUCMD_TCP : 0) | (k->v6 ? 0 : TUCMD_IP)),
	};
}

/* The sum that a request must lead to, done the slow way. */
static inline void reference_sum(uint8_t *f, uint32_t len, uint32_t start, uint32_t field,
				 uint32_t end)
{
	uint32_t sum = 0;

	end = end && end < len ? end : len;
	if (start >= end || field + 2 > len)
		return;
	for (uint32_t i = start; i < end; i++)
		sum += (i - start) & 1 ? f[i] : (uint32_t)f[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	sum = ~sum & 0xffff;
	fr_put16(f + field, sum ? sum : 0xffff);
}

static inline struct fr_ctx tso_ctx(const struct fr_packet *k, uint16_t mss)
{
	struct fr_ctx c = csum_ctx(k);

	c.tucmd |= TUCMD_TSE;
	c.hdr_len = (uint8_t)fr_hdr_len(k);
	c.mss = mss;
	c.paylen = k->payload;
	return c;
}

/* What Linux hands over: lengths zero, the seed without a length. */
static inline uint32_t tso_packet(uint8_t *f, const struct fr_packet *k)
{
	struct fr_packet small = *k;
	uint32_t hdr = fr_hdr_len(k);

	small.payload = 0;
	fr_packet(f, &small);
	for (uint32_t i = 0; i < k->payload; i++)
		f[hdr + i] = (uint8_t)(i * 13 + (i >> 8) * 7 + k->seed);
	if (k->v6)
		fr_put16(f + 18, 0);
	else
		memset(f + 16, 0, 2), memset(f + 24, 0, 2);
	if (k->proto == 17)
		fr_put16(f + fr_l4_off(k) + 4, 0);
	fr_seed(f, k, 0);
	return hdr + k->payload;
}

/* Puts it into the ring in pieces of @piece bytes. */
static inline void tso_queue(struct fr *r, const uint8_t *f, uint32_t len, uint32_t piece, bool v6)
{
	uint8_t popts = TXD_TXSM | (v6 ? 0 : TXD_IXSM);

	for (uint32_t off = 0; off < len; off += piece) {
		uint32_t here = min(piece, len - off);

		fr_data(r, f + off, here, TXD_TSE | (off + here == len ? FR_EOP : 0), popts);
	}
}

/*
 * Frames from @i on carry the packet @f, whole or in parts of at most @most payload bytes, each
 * correct by itself. The index behind them.
 */
static inline unsigned int assert_stream(struct fr *r, unsigned int i, const struct fr_packet *k,
					 const uint8_t *f, uint32_t mss, bool cut)
{
	uint32_t l4 = fr_l4_off(k), hdr = fr_hdr_len(k), off = 0;

	do {
		const struct fg_frame *w = &r->g->wire->frames[i++];
		uint32_t n = w->len - hdr, segs = off / mss;
		bool last = off + n == k->payload;

		assert_true(i <= r->g->wire->n_frames);
		assert_true(w->len >= hdr && off + n <= k->payload);
		assert_true(last || n % mss == 0);
		assert_true(w->len <= 65535 + 14);
		assert_memory_equal(w->data, f, 14);
		assert_memory_equal(w->data + hdr, f + hdr + off, n);
		if (k->v6) {
			assert_int_equal(fr_get16(w->data + 18), w->len - 54);
		} else {
			assert_int_equal(fr_get16(w->data + 16), w->len - 14);
			assert_int_equal(fr_get16(w->data + 18), (0xfffe + segs) & 0xffff);
			assert_true(fr_ip_good(w->data));
		}
		if (k->proto == 6) {
			assert_int_equal(fr_get32(w->data + l4 + 4), 0xfffff000 + off);
			assert_int_equal(w->data[l4 + 13],
					 last ? k->tcp_flags : k->tcp_flags & ~0x09);
		} else {
			assert_int_equal(fr_get16(w->data + l4 + 4), w->len - l4);
		}
		if (cut) {
			assert_true(n <= mss);
			assert_int_equal(w->meta.gso, 0);
			assert_true(fr_l4_good(w->data, k->v6, k->proto, l4, w->len - l4));
		} else {
			uint32_t kind = k->proto == 17 ? TWX_GSO_UDP_L4
					: k->v6	       ? TWX_GSO_TCPV6
						       : TWX_GSO_TCPV4;
			be16 seed = { csum_fold_raw(
				fr_pseudo(w->data, k->v6, k->proto, w->len - l4)) };

			assert_int_equal(w->meta.gso, n > mss ? kind : 0);
			assert_int_equal(w->meta.gso_size, n > mss ? mss : 0);
			assert_int_equal(w->meta.csum_start, l4);
			assert_memory_equal(w->data + l4 + w->meta.csum_off, &seed, 2);
		}
		off += n;
	} while (off < k->payload);
	return i;
}

#endif
