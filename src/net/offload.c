/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checksums, segmentation and VLAN tags in software, at the last moment before a receiver.
 *
 * A frame's metadata asks for work (virtio 1.2, 5.1.6): finish a checksum whose field holds the
 * pseudo-header sum, cut a large packet into segments, put a VLAN tag in. A receiver's caps say
 * what it can do by itself. offload_check() compares the two, after it has proved that the request
 * fits the frame: a request may come from a guest and is never believed. Only then does anybody act
 * on it.
 *
 * Work goes through a batch (struct offload): out[] holds frames ready for receive(), those that
 * needed nothing among them, so that order is kept and a burst stays a burst. src[] and seg[] lead
 * back from a frame that the receiver refused to the source and the segment where delivery has to
 * go on.
 *
 * Headers of every frame that is changed are written to a slot of private memory; its first
 * min(len, TWX_HDR_ROOM) bytes lie there, as frame.h promises to receivers. Payload is passed on by
 * reference, except where it has to be summed and may be the guest's: then it is copied once into
 * data[] and both the sum and the receiver use the copy. The same happens to a payload in more than
 * OFFLOAD_MAX_PIECES pieces, so that cutting stays linear.
 *
 * Kinds: TCP over IPv4 and IPv6; UDP datagrams (USO, each segment a datagram); UDP fragments (UFO:
 * IPv4 fragments, RFC 791, or IPv6 fragments, RFC 8200, section 4.5). IPv4 options are repeated in
 * every fragment. Pseudo headers use the addresses of the IP header, so that a packet with an IPv6
 * routing header gets a checksum for the next hop. Tunnels are not cut: a request whose checksum
 * does not start at the outer TCP or UDP header is dropped as bad.
 *
 * Limits: headers of OFFLOAD_MAX_HDR bytes, segments of at least OFFLOAD_MIN_GSO bytes, TWX_BURST
 * frames in one batch (longer jobs go on in the next), one payload copy at a time beyond what
 * data[] holds.
 */
#include <string.h>

#include "base/csum.h"
#include "base/endian.h"
#include "base/iov.h"
#include "net/offload.h"

#define TAG_LEN 4
#define IP6_FRAG_LEN 8
#define TCP_FIN 0x01
#define TCP_PSH 0x08
#define TCP_CWR 0x80

/* Which cap a kind of segmentation needs, and what it works on. */
static const struct offload_kind {
	uint32_t cap;
	uint8_t proto;
	uint8_t version; /* 0: either */
	uint8_t csum_off;
} offload_kinds[] = {
	[TWX_GSO_TCPV4] = { TWX_CAP_TSO4, PACKET_TCP, 4, 16 },
	[TWX_GSO_UDP] = { TWX_CAP_UFO, PACKET_UDP, 0, 6 },
	[TWX_GSO_TCPV6] = { TWX_CAP_TSO6, PACKET_TCP, 6, 16 },
	[TWX_GSO_UDP_L4] = { TWX_CAP_USO, PACKET_UDP, 0, 6 },
};

static uint32_t offload_here(const struct twx_frame *f)
{
	return (uint32_t)min((size_t)f->len, f->iov[0].iov_len);
}

/* Behind the checksum field. */
static uint32_t offload_csum_end(const struct twx_frame *f)
{
	return (uint32_t)f->meta.csum_start + f->meta.csum_off + 2;
}

static bool offload_csum_fits(const struct twx_frame *f)
{
	/* The field is a 16-bit word of what it sums (RFC 1071), so its offset is even. */
	return f->meta.csum_start >= TWX_FRAME_MIN && !(f->meta.csum_off & 1) &&
	       offload_csum_end(f) <= offload_here(f);
}

static void put_sum(uint8_t *p, be16 sum)
{
	memcpy(p, &sum, 2);
}

/* Parses and proves that the packet is what the request says. */
static bool offload_gso_fits(const struct twx_frame *f, struct packet *p)
{
	const struct offload_kind *k;

	if (f->meta.gso >= array_size(offload_kinds))
		return false;
	k = &offload_kinds[f->meta.gso];
	if (!k->cap || f->meta.gso_size < OFFLOAD_MIN_GSO)
		return false;
	packet_parse(p, f->iov[0].iov_base, offload_here(f));
	if (!p->payload_off || p->proto != k->proto || p->payload_off > OFFLOAD_MAX_HDR)
		return false;
	if (k->version && p->version != k->version)
		return false;
	return !(f->meta.flags & TWX_F_NEEDS_CSUM) ||
	       (f->meta.csum_start == p->l4_off && f->meta.csum_off == k->csum_off);
}

static bool offload_wants_tag(const struct twx_frame *f, const struct twx_caps *caps)
{
	return (f->meta.flags & TWX_F_VLAN) && !(caps->flags & TWX_CAP_VLAN);
}

/* Whether the receiver cuts the frame by itself; a tag may still have to be put in. */
static bool offload_gso_passes(const struct twx_frame *f, const struct twx_caps *caps)
{
	uint32_t need = offload_kinds[f->meta.gso].cap;

	if (f->meta.flags & TWX_F_ECN)
		need |= TWX_CAP_ECN;
	if (f->meta.flags & TWX_F_NEEDS_CSUM)
		need |= TWX_CAP_CSUM;
	return (caps->flags & need) == need;
}

static int offload_check_gso(const struct twx_frame *f, const struct twx_caps *caps)
{
	uint32_t tag = offload_wants_tag(f, caps) ? TAG_LEN : 0;
	struct packet p;
	uint32_t longest, hdr;

	if (!offload_gso_fits(f, &p))
		return offload_drop(TWX_DROP_BAD_META);
	if (offload_gso_passes(f, caps)) {
		if (f->len + tag > TWX_FRAME_MAX)
			return offload_drop(TWX_DROP_TOO_LONG);
		return tag ? OFFLOAD_WORK : OFFLOAD_AS_IS;
	}
	hdr = f->meta.gso == TWX_GSO_UDP ? p.l4_off : p.payload_off;
	longest = hdr + tag + min((uint32_t)f->meta.gso_size, f->len - hdr);
	if (f->meta.gso == TWX_GSO_UDP && p.version == 6)
		longest += IP6_FRAG_LEN;
	if (longest > caps->max_frame || longest - tag - p.l3_off > 65535)
		return offload_drop(TWX_DROP_TOO_LONG);
	return OFFLOAD_WORK;
}

int offload_check_slow(const struct twx_frame *f, const struct twx_caps *caps)
{
	uint32_t tag = offload_wants_tag(f, caps) ? TAG_LEN : 0;

	if (f->len < TWX_FRAME_MIN)
		return offload_drop(TWX_DROP_TOO_SHORT);
	if (f->len > TWX_FRAME_MAX)
		return offload_drop(TWX_DROP_TOO_LONG);
	if ((f->meta.flags & TWX_F_NEEDS_CSUM) && !offload_csum_fits(f))
		return offload_drop(TWX_DROP_BAD_META);
	if (f->meta.gso)
		return offload_check_gso(f, caps);
	if (f->len + tag > caps->max_frame)
		return offload_drop(TWX_DROP_TOO_LONG);
	if (!tag && (!(f->meta.flags & TWX_F_NEEDS_CSUM) || (caps->flags & TWX_CAP_CSUM)))
		return OFFLOAD_AS_IS;
	/* The copied headers have to hold the field. */
	if ((f->meta.flags & TWX_F_NEEDS_CSUM) && offload_csum_end(f) > OFFLOAD_MAX_HDR)
		return offload_drop(TWX_DROP_BAD_META);
	return OFFLOAD_WORK;
}

void offload_reset(struct offload *o)
{
	o->n = 0;
	o->n_iov = 0;
	o->data_used = o->job.f && o->job.lin ? o->job.lin_end : 0;
}

void offload_pass(struct offload *o, const struct twx_frame *f, uint16_t src)
{
	o->out[o->n] = *f;
	o->src[o->n] = src;
	o->seg[o->n] = 0;
	o->n++;
}

/* Bytes of the job's source from @off on, @len of them, as iovecs of the frame being built. */
static void offload_add_bytes(struct offload *o, struct twx_frame *out, uint32_t off, uint32_t len)
{
	const struct offload_job *j = &o->job;
	struct iovec *iov = &o->iov[o->n_iov];

	if (!len)
		return;
	if (j->lin) {
		*iov = (struct iovec){ (void *)(j->lin + (off - j->hdr_len)), len };
		o->n_iov++;
		out->n_iov++;
	} else {
		uint32_t n = (uint32_t)iov_slice(iov, OFFLOAD_MAX_PIECES, j->f->iov, j->f->n_iov,
						 off, len);

		o->n_iov += n;
		out->n_iov += n;
	}
}

static void offload_copy_bytes(const struct offload_job *j, uint8_t *dst, uint32_t off,
			       uint32_t len)
{
	if (j->lin)
		memcpy(dst, j->lin + (off - j->hdr_len), len);
	else
		iov_copy_from(j->f->iov, j->f->n_iov, off, dst, len);
}

/* Opens the next frame of the batch with its slot as iov[0], the tag in place; offsets shift by
 * *@tag. */
static struct twx_frame *offload_open(struct offload *o, uint32_t *tag)
{
	const struct offload_job *j = &o->job;
	const uint8_t *hdr = j->f->iov[0].iov_base;
	struct twx_frame *out = &o->out[o->n];
	uint8_t *slot = o->slot[o->n];

	*tag = j->tag ? TAG_LEN : 0;
	memcpy(slot, hdr, 12);
	if (j->tag) {
		be16_put(slot + 12, PACKET_ETH_VLAN);
		be16_put(slot + 14, j->f->meta.vlan_tci);
	}
	memcpy(slot + 12 + *tag, hdr + 12, j->hdr_len - 12u);
	out->iov = &o->iov[o->n_iov++];
	out->n_iov = 1;
	out->meta = j->f->meta;
	if (j->tag) {
		out->meta.flags &= (uint8_t)~TWX_F_VLAN;
		out->meta.vlan_tci = 0;
	}
	return out;
}

/*
 * Closes it: @slot_len header bytes are in the slot; behind them come @len bytes of the source from
 * @off on, the first of which go into the slot as well, so that iov[0] is as long as receivers
 * expect.
 */
static void offload_close(struct offload *o, struct twx_frame *out, uint32_t slot_len, uint32_t off,
			  uint32_t len)
{
	uint8_t *slot = o->slot[o->n];
	uint32_t more = 0;

	if (slot_len < TWX_HDR_ROOM)
		more = min(TWX_HDR_ROOM - slot_len, len);
	offload_copy_bytes(&o->job, slot + slot_len, off, more);
	*(struct iovec *)out->iov = (struct iovec){ slot, slot_len + more };
	offload_add_bytes(o, out, off + more, len - more);
	out->len = slot_len + len;
	o->src[o->n] = o->job.src;
	o->seg[o->n] = o->job.seg;
	o->n++;
}

/* One frame in, one out: a checksum finished, a tag put in. */
static void offload_emit_single(struct offload *o)
{
	struct offload_job *j = &o->job;
	uint32_t start = j->f->meta.csum_start, at = start + j->f->meta.csum_off, tag;
	struct twx_frame *out = offload_open(o, &tag);
	uint8_t *slot = o->slot[o->n];

	if (j->finish) {
		/* hdr_len reaches just past the field; the rest of the summed range is in one
		 * piece. */
		uint64_t sum = csum_partial(slot + start + tag, j->hdr_len - start, 0);

		sum = csum_partial(j->lin, j->len, sum);
		put_sum(slot + at + tag, csum_fold_udp(sum));
		out->meta.flags &= (uint8_t)~TWX_F_NEEDS_CSUM;
		out->meta.csum_start = 0;
		out->meta.csum_off = 0;
	} else if (out->meta.flags & TWX_F_NEEDS_CSUM) {
		out->meta.csum_start = (uint16_t)(start + tag);
	}
	if (out->meta.hdr_len)
		out->meta.hdr_len = (uint16_t)(out->meta.hdr_len + tag);
	offload_close(o, out, j->hdr_len + tag, j->hdr_len, j->len);
}

static uint64_t offload_pseudo(const struct packet *p, const uint8_t *ip, uint32_t l4_len)
{
	if (p->version == 4)
		return csum_pseudo4(ip + 12, ip + 16, p->proto, l4_len);
	return csum_pseudo6(ip + 8, ip + 24, p->proto, l4_len);
}

static void offload_ipv4_csum(uint8_t *ip)
{
	be16_put(ip + 10, 0);
	put_sum(ip + 10, csum_fold(csum_partial(ip, (size_t)(ip[0] & 15) * 4, 0)));
}

/* Length, and for IPv4 the id and the header checksum, of segment number @seg with @len bytes
 * behind @ip. */
static void offload_fix_ip(const struct packet *p, uint8_t *ip, uint32_t len, uint32_t seg)
{
	if (p->version == 4) {
		be16_put(ip + 2, len);
		be16_put(ip + 4, be16_at(ip + 4) + seg);
		offload_ipv4_csum(ip);
	} else {
		be16_put(ip + 4, len - 40);
	}
}

static void offload_fix_tcp(const struct offload_job *j, uint8_t *tcp)
{
	uint32_t seq = be16_at(tcp + 4) << 16 | be16_at(tcp + 6);

	seq += j->seg * j->mss;
	be16_put(tcp + 4, seq >> 16);
	be16_put(tcp + 6, seq);
	if (j->seg + 1 < j->n_segs)
		tcp[13] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	if (j->seg && (j->f->meta.flags & TWX_F_ECN))
		tcp[13] &= (uint8_t)~TCP_CWR;
}

/* A segment of a TCP stream or of a row of datagrams. */
static void offload_emit_segment(struct offload *o)
{
	struct offload_job *j = &o->job;
	uint32_t at = j->seg * j->mss, len = min((uint32_t)j->mss, j->len - at), tag;
	struct twx_frame *out = offload_open(o, &tag);
	uint8_t *slot = o->slot[o->n];
	uint8_t *ip = slot + j->p.l3_off + tag, *l4 = slot + j->p.l4_off + tag;
	uint32_t l4_hdr = j->hdr_len - j->p.l4_off, l4_len = l4_hdr + len;
	uint32_t field = offload_kinds[j->f->meta.gso].csum_off;
	uint64_t sum;

	offload_fix_ip(&j->p, ip, j->hdr_len - j->p.l3_off + len, j->seg);
	if (j->p.proto == PACKET_TCP)
		offload_fix_tcp(j, l4);
	else
		be16_put(l4 + 4, l4_len);
	be16_put(l4 + field, 0);
	sum = offload_pseudo(&j->p, ip, l4_len);
	out->meta.flags &= (uint8_t) ~(TWX_F_NEEDS_CSUM | TWX_F_ECN);
	out->meta.gso = TWX_GSO_NONE;
	out->meta.gso_size = 0;
	out->meta.hdr_len = (uint16_t)(j->hdr_len + tag);
	if (j->finish) {
		sum = csum_partial(l4, l4_hdr, sum);
		sum = csum_partial(j->lin + at, len, sum);
		put_sum(l4 + field, j->p.proto == PACKET_UDP ? csum_fold_udp(sum) : csum_fold(sum));
		out->meta.csum_start = 0;
		out->meta.csum_off = 0;
	} else {
		put_sum(l4 + field, (be16){ csum_fold_raw(sum) });
		out->meta.flags |= TWX_F_NEEDS_CSUM;
		out->meta.csum_start = (uint16_t)(j->p.l4_off + tag);
		out->meta.csum_off = (uint16_t)field;
	}
	offload_close(o, out, j->hdr_len + tag, j->hdr_len + at, len);
}

/* Adds the fragment header behind the last header of @slot_len bytes; the new length. */
static uint32_t offload_fix_frag6(struct offload_job *j, uint8_t *slot, uint32_t slot_len,
				  uint32_t tag, uint32_t at, uint32_t len, bool more)
{
	uint8_t *fh = slot + slot_len;

	slot[j->p.proto_off + tag] = PACKET_IP6_FRAGMENT;
	be16_put(slot + j->p.l3_off + tag + 4, j->hdr_len - j->p.l3_off - 40u + IP6_FRAG_LEN + len);
	fh[0] = j->p.proto;
	fh[1] = 0;
	be16_put(fh + 2, at | more);
	be16_put(fh + 4, j->frag_id >> 16);
	be16_put(fh + 6, j->frag_id);
	return slot_len + IP6_FRAG_LEN;
}

/* A fragment of one datagram; the UDP header is a part of what is cut. */
static void offload_emit_fragment(struct offload *o)
{
	struct offload_job *j = &o->job;
	uint32_t at = j->seg * j->mss, len = min((uint32_t)j->mss, j->len - at), tag, slot_len,
		 udp = 0;
	struct twx_frame *out = offload_open(o, &tag);
	uint8_t *slot = o->slot[o->n], *ip = slot + j->p.l3_off + tag;
	bool more = j->seg + 1 < j->n_segs;
	uint64_t sum = 0;

	slot_len = j->hdr_len + tag;
	if (!j->seg && (j->f->meta.flags & TWX_F_NEEDS_CSUM)) {
		/* The sum covers the datagram, so it is made before the cut; the field itself
		 * counts as 0. */
		sum = offload_pseudo(&j->p, ip, j->len);
		sum = csum_partial(j->lin, 6, sum);
		sum = csum_partial(j->lin + 8, j->len - 8, sum);
		udp = 8;
	}
	if (j->p.version == 4) {
		be16_put(ip + 6, at / 8 | (more ? 0x2000 : 0));
		offload_fix_ip(&j->p, ip, j->hdr_len - j->p.l3_off + len, 0);
	} else {
		slot_len = offload_fix_frag6(j, slot, slot_len, tag, at, len, more);
	}
	if (udp) {
		memcpy(slot + slot_len, j->lin, udp);
		put_sum(slot + slot_len + 6, csum_fold_udp(sum));
		slot_len += udp;
	}
	out->meta = (struct twx_meta){
		.flags = out->meta.flags & (TWX_F_VLAN | TWX_F_HASH),
		.vlan_tci = out->meta.vlan_tci,
		.hash = out->meta.hash,
	};
	offload_close(o, out, slot_len, j->hdr_len + at + udp, len - udp);
}

/* Copies what the job cuts into data[] when it has to be private or in few pieces; false: no room
 * now. */
static bool offload_linearise(struct offload *o)
{
	struct offload_job *j = &o->job;
	const uint8_t *first = j->f->iov[0].iov_base;

	j->lin = NULL;
	if (j->f->iov[0].iov_len >= j->f->len) {
		j->lin = first + j->hdr_len;
		j->lin_end = o->data_used;
		return true;
	}
	if (!j->finish && j->f->n_iov <= OFFLOAD_MAX_PIECES)
		return true;
	if (j->len > OFFLOAD_DATA - o->data_used)
		return false;
	j->lin = o->data + o->data_used;
	iov_copy_from(j->f->iov, j->f->n_iov, j->hdr_len, o->data + o->data_used, j->len);
	o->data_used += j->len;
	j->lin_end = o->data_used;
	return true;
}

static void offload_plan_cut(struct offload *o, const struct twx_caps *caps, uint32_t skip)
{
	struct offload_job *j = &o->job;
	bool fragments = j->f->meta.gso == TWX_GSO_UDP;

	packet_parse(&j->p, j->f->iov[0].iov_base, offload_here(j->f));
	j->segment = true;
	j->finish = fragments ? j->f->meta.flags & TWX_F_NEEDS_CSUM : !(caps->flags & TWX_CAP_CSUM);
	j->hdr_len = fragments ? j->p.l4_off : j->p.payload_off;
	j->mss = fragments ? j->f->meta.gso_size & ~7u : j->f->meta.gso_size;
	j->len = j->f->len - j->hdr_len;
	j->seg = skip;
	j->n_segs = j->len ? (j->len + j->mss - 1) / j->mss : 1;
	if (fragments && j->p.version == 6)
		j->frag_id = o->next_frag_id++;
}

static void offload_plan_single(struct offload *o)
{
	struct offload_job *j = &o->job;

	j->segment = false;
	j->hdr_len = TWX_FRAME_MIN;
	if (j->f->meta.flags & TWX_F_NEEDS_CSUM) /* the field stays in iov[0], finished or not */
		j->hdr_len = (uint16_t)offload_csum_end(j->f);
	j->len = j->f->len - j->hdr_len;
	j->seg = 0;
	j->n_segs = 1;
}

bool offload_begin(struct offload *o, const struct twx_frame *f, uint16_t src,
		   const struct twx_caps *caps, uint32_t skip, struct twx_counters *count)
{
	struct offload_job *j = &o->job;

	*j = (struct offload_job){ .f = f, .src = src, .tag = offload_wants_tag(f, caps) };
	j->finish = (f->meta.flags & TWX_F_NEEDS_CSUM) && !(caps->flags & TWX_CAP_CSUM);
	if (f->meta.gso && (skip || !offload_gso_passes(f, caps)))
		offload_plan_cut(o, caps, skip);
	else
		offload_plan_single(o);
	if (!offload_linearise(o)) {
		j->f = NULL;
		return false;
	}
	if (j->segment)
		count->seg_sw += !skip;
	else if (j->finish)
		count->csum_sw++;
	return true;
}

bool offload_emit(struct offload *o)
{
	struct offload_job *j = &o->job;

	for (; j->seg < j->n_segs; j->seg++) {
		if (o->n == TWX_BURST)
			return false;
		if (!j->segment)
			offload_emit_single(o);
		else if (j->f->meta.gso == TWX_GSO_UDP)
			offload_emit_fragment(o);
		else
			offload_emit_segment(o);
	}
	j->f = NULL;
	return true;
}
