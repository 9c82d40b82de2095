/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * e1000, host to guest: checksums (8254x manual, 3.2.9, 13.5.4 RXCSUM).
 *
 * Headers are read in the frame's private first part. The bytes that have to be summed are summed
 * where they were written, so that a payload is read once. A frame whose sender left the checksum
 * open gets it here (the port says TWX_CAP_CSUM); one that the sender has checked is not summed
 * again.
 *
 * Not verified: fragments, UDP without a checksum, packets cut short, and those with more bytes
 * behind them than lie in the frame's first part. The packet checksum of the descriptor is made
 * when RXCSUM.PCSS is set; the sum of a whole frame (PCSS 0) is not, and reads 0.
 */
#include "nics/e1000_rx.h"

#include "base/csum.h"
#include "base/endian.h"
#include "base/macros.h"

/* Length of the L4 header and data by the IP header; 0 if there is none, or not all of it. */
static uint32_t rx_l4_len(const struct packet *p, const uint8_t *head, uint32_t len)
{
	const uint8_t *ip = head + p->l3_off;
	uint32_t total = p->version == 4 ? be16_at(ip + 2) : be16_at(ip + 4) + 40;
	uint32_t hdr = (uint32_t)(p->l4_off - p->l3_off);

	if (!p->payload_off || total < hdr || p->l3_off + total > len ||
	    total - hdr < (uint32_t)(p->payload_off - p->l4_off))
		return 0;
	return total - hdr;
}

static void rx_plan_l4(const struct twx_frame *f, uint32_t strip, struct e1000_rx_sums *s)
{
	const uint8_t *head = f->iov[0].iov_base;
	uint32_t behind;

	if (!s->p.payload_off)
		return;
	if (f->meta.flags & (TWX_F_NEEDS_CSUM | TWX_F_CSUM_VALID)) {
		if (!(f->meta.flags & TWX_F_NEEDS_CSUM) || f->meta.csum_start == s->p.l4_off)
			s->status |= RXD_TCPCS;
		return;
	}
	if (s->p.proto == PACKET_UDP && !be16_at(head + s->p.l4_off + 6))
		return;
	s->l4_len = rx_l4_len(&s->p, head, f->len);
	behind = f->len - s->p.l4_off - s->l4_len;
	if (!s->l4_len || (behind && f->len > f->iov[0].iov_len))
		return;
	s->check = s->wanted = true;
	s->start = s->p.l4_off - strip;
}

void e1000_rx_plan(const struct e1000 *d, const struct twx_frame *f, uint32_t strip,
		   struct e1000_rx_sums *s)
{
	uint32_t rxcsum = d->reg[R_RXCSUM];
	const uint8_t *head = f->iov[0].iov_base;

	*s = (struct e1000_rx_sums){ 0 };
	if (rxcsum & (RXCSUM_IPOFL | RXCSUM_TUOFL)) {
		packet_parse(&s->p, head, min((uint32_t)f->iov[0].iov_len, f->len));
		if ((rxcsum & RXCSUM_IPOFL) && s->p.version == 4)
			s->status |= RXD_IPCS;
		if (rxcsum & RXCSUM_TUOFL)
			rx_plan_l4(f, strip, s);
	}
	if (f->meta.flags & TWX_F_NEEDS_CSUM) {
		s->wanted = s->fill = true;
		s->start = f->meta.csum_start - strip;
		s->field = s->start + f->meta.csum_off;
	}
	if ((rxcsum & RXCSUM_PCSS) && !s->wanted) {
		s->wanted = true;
		s->start = rxcsum & RXCSUM_PCSS;
	}
}

/* Of bytes [@from, @to) as the guest gets them, all in the private part. */
static uint64_t rx_head_sum(const uint8_t *head, uint32_t strip, uint32_t from, uint32_t to)
{
	uint64_t sum = 0;

	if (strip && from < 12) {
		uint32_t end = min(to, 12u);

		sum = csum_partial(head + from, end - from, 0);
		if ((end - from) & 1)
			return csum_add(sum, csum_swap(csum_partial(head + 16, to - end, 0)));
		from = end;
	}
	return csum_add(sum, csum_partial(head + strip + from, to - from, 0));
}

/* 3.2.9: from PCSS on, whatever the frame is; what was summed already is part of it. */
static uint16_t rx_packet_sum(const struct twx_frame *f, uint32_t strip, uint32_t pcss,
			      const struct e1000_rx_sums *s)
{
	const uint8_t *head = f->iov[0].iov_base;
	uint32_t here = (uint32_t)min(f->iov[0].iov_len, (size_t)f->len) - strip, odd;
	uint64_t sum = s->sum;

	if (pcss <= s->field)
		sum = csum_add(sum, s->change);
	if (pcss == s->start)
		return csum_fold_raw(sum);
	if (max(pcss, s->start) > here)
		return 0;
	odd = (pcss ^ s->start) & 1;
	if (pcss < s->start) {
		if (odd)
			sum = csum_swap(sum);
		sum = csum_add(sum, rx_head_sum(head, strip, pcss, s->start));
	} else {
		/* Ones' complement: taking away is adding the complement. */
		sum = csum_add(sum, ~rx_head_sum(head, strip, s->start, pcss));
		if (odd)
			sum = csum_swap(sum);
	}
	return csum_fold_raw(sum);
}

static bool rx_l4_good(const struct twx_frame *f, uint32_t strip, const struct e1000_rx_sums *s)
{
	const uint8_t *head = f->iov[0].iov_base, *ip = head + s->p.l3_off;
	uint64_t sum = s->sum;

	if (s->p.l4_off + s->l4_len < f->len) {
		/* Padding was summed with it. */
		uint64_t pad = rx_head_sum(head, strip, s->start + s->l4_len, f->len - strip);

		sum = csum_add(sum, ~(s->l4_len & 1 ? csum_swap(pad) : pad));
	}
	if (s->p.version == 4)
		sum = csum_add(sum, csum_pseudo4(ip + 12, ip + 16, s->p.proto, s->l4_len));
	else
		sum = csum_add(sum, csum_pseudo6(ip + 8, ip + 24, s->p.proto, s->l4_len));
	return csum_fold_raw(sum) == 0xffff;
}

void e1000_rx_judge(const struct e1000 *d, const struct twx_frame *f, uint32_t strip,
		    struct e1000_rx_sums *s)
{
	const uint8_t *ip = (const uint8_t *)f->iov[0].iov_base + s->p.l3_off;
	uint32_t pcss = d->reg[R_RXCSUM] & RXCSUM_PCSS;

	if ((s->status & RXD_IPCS) &&
	    csum_fold_raw(csum_partial(ip, (size_t)(ip[0] & 15) * 4, 0)) != 0xffff)
		s->errors |= RXE_IPE;
	if (s->check) {
		s->status |= RXD_TCPCS;
		if (!rx_l4_good(f, strip, s))
			s->errors |= RXE_TCPE;
	}
	if (pcss)
		s->packet = rx_packet_sum(f, strip, pcss, s);
	if (!(s->status & (RXD_IPCS | RXD_TCPCS)))
		s->status |= RXD_IXSM;
}
