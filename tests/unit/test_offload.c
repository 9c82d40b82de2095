/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checksum, segmentation and tags in software, seen from the receiver. Every result is checked with
 * code of this file alone: a byte-wise checksum and a naive reassembly of what arrived.
 */
#include "toy.h"

enum { ETH = 14, PAYLOAD_MAX = 65000 };

struct big {
	uint8_t bytes[70000];
	uint32_t hdr, len; /* up to the payload; all */
	uint32_t ip, l4;   /* offsets */
	bool v6, tcp;
	struct twx_meta meta;
};

static void w16(uint8_t *p, unsigned int v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static unsigned int r16(const uint8_t *p)
{
	return (unsigned int)(p[0] << 8 | p[1]);
}

/* RFC 1071, the slow way: big-endian words, end-around carry each time. */
static unsigned int slow_sum(unsigned int sum, const uint8_t *p, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++) {
		sum += i & 1 ? p[i] : (unsigned int)p[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

static unsigned int slow_pseudo(const uint8_t *ip, bool v6, unsigned int proto, unsigned int len)
{
	unsigned int sum = v6 ? slow_sum(0, ip + 8, 32) : slow_sum(0, ip + 12, 8);

	sum += proto + len;
	return (sum & 0xffff) + (sum >> 16);
}

/* True if the checksum over an L4 message with pseudo header comes out right. */
static bool l4_sum_ok(const uint8_t *ip, bool v6, unsigned int proto, const uint8_t *l4, size_t len)
{
	return slow_sum(slow_pseudo(ip, v6, proto, (unsigned int)len), l4, len) == 0xffff;
}

static void build(struct big *b, bool v6, bool tcp, uint32_t payload, uint32_t ext)
{
	uint32_t ip_hdr = v6 ? 40 + ext : 20 + ext, l4_hdr = tcp ? 32 : 8, i;
	uint8_t *d = b->bytes;

	memset(b, 0, sizeof(*b));
	b->v6 = v6;
	b->tcp = tcp;
	b->ip = ETH;
	b->l4 = ETH + ip_hdr;
	b->hdr = b->l4 + l4_hdr;
	b->len = b->hdr + payload;
	memcpy(d, "\x52\x55\x0a\0\x02\x02\x52\x54\0\x12\x34\x56", 12);
	w16(d + 12, v6 ? 0x86dd : 0x0800);
	if (v6) {
		d[14] = 0x60;
		w16(d + 18, b->len - ETH - 40 > 65535 ? 0 : b->len - ETH - 40);
		d[20] = ext ? 60 : tcp ? 6 : 17;
		d[21] = 64;
		for (i = 0; i < 32; i++)
			d[22 + i] = (uint8_t)(i * 7 + 3);
		if (ext) {
			d[54] = tcp ? 6 : 17;
			d[55] = (uint8_t)(ext / 8 - 1);
		}
	} else {
		d[14] = (uint8_t)(0x40 | (ip_hdr / 4));
		w16(d + 16, b->len - ETH);
		w16(d + 18, 0xfffe); /* the id wraps */
		w16(d + 20, 0x4000);
		d[22] = 64;
		d[23] = tcp ? 6 : 17;
		memcpy(d + 26, "\x0a\0\x02\x0f\x0a\0\x02\x02", 8);
		memset(d + 34, 1, ext); /* no-operation options */
		w16(d + 24, 0xffff & ~slow_sum(0, d + 14, ip_hdr));
	}
	w16(d + b->l4, 1234);
	w16(d + b->l4 + 2, 80);
	if (tcp) {
		w16(d + b->l4 + 4, 0xffff); /* the sequence number wraps as well */
		w16(d + b->l4 + 6, 0xf000);
		d[b->l4 + 12] = 0x80;
		d[b->l4 + 13] = 0x99; /* CWR, ACK, PSH, FIN */
		memset(d + b->l4 + 20, 1, 12);
	} else {
		w16(d + b->l4 + 4, 8 + payload);
	}
	for (i = 0; i < payload; i++)
		d[b->hdr + i] = (uint8_t)(i * 31 + (i >> 8) * 17 + 5);
	b->meta.flags = TWX_F_NEEDS_CSUM;
	b->meta.csum_start = (uint16_t)b->l4;
	b->meta.csum_off = tcp ? 16 : 6;
	b->meta.hdr_len = (uint16_t)b->hdr;
	w16(d + b->l4 + b->meta.csum_off, slow_pseudo(d + ETH, v6, tcp ? 6 : 17, b->len - b->l4));
}

/* As one private piece, or headers private and the payload in pieces of @piece bytes. */
static struct twx_frame as_frame(struct big *b, uint32_t piece)
{
	static struct iovec iov[70001];
	uint32_t n = 0, off = b->len < TWX_HDR_ROOM ? b->len : TWX_HDR_ROOM;

	iov[n++] = (struct iovec){ b->bytes, piece ? off : b->len };
	for (; piece && off < b->len; off += piece, n++)
		iov[n] = (struct iovec){ b->bytes + off,
					 piece < b->len - off ? piece : b->len - off };
	return (struct twx_frame){ .iov = iov, .n_iov = n, .len = b->len, .meta = b->meta };
}

struct pair {
	struct toy *a, *b;
};

static struct pair pair_new(struct world *w, uint32_t caps)
{
	struct pair p = { toy_new(w->net, "a"), toy_new(w->net, "b") };

	twx_port_pair(&p.a->port, &p.b->port, NULL);
	twx_port_set_caps(&p.b->port, (struct twx_caps){ .flags = caps });
	return p;
}

static void pair_free(struct pair p)
{
	toy_free(p.a);
	toy_free(p.b);
}

/* Headers of segment @i of @n are what RFC 791, 8200, 9293 and the original say. */
static void check_segment(const struct big *b, const struct toy_frame *g, int i, int n, uint32_t at)
{
	const uint8_t *d = g->data, *ip = d + b->ip, *l4 = d + b->l4, *was = b->bytes + b->l4;
	uint32_t seq;

	assert_memory_equal(d, b->bytes, 14);
	if (b->v6) {
		assert_int_equal(r16(ip + 4), g->len - ETH - 40);
		assert_memory_equal(ip + 6, b->bytes + b->ip + 6, 34);
	} else {
		assert_int_equal(r16(ip + 2), g->len - ETH);
		assert_int_equal(r16(ip + 4),
				 (r16(b->bytes + b->ip + 4) + (unsigned int)i) & 0xffff);
		assert_int_equal(r16(ip + 6), 0x4000);
		assert_int_equal(slow_sum(0, ip, (size_t)(ip[0] & 15) * 4), 0xffff);
	}
	if (!b->tcp) {
		assert_int_equal(r16(l4 + 4), g->len - b->l4);
		return;
	}
	seq = (r16(was + 4) << 16 | r16(was + 6)) + at;
	assert_int_equal(r16(l4 + 4) << 16 | r16(l4 + 6), seq);
	assert_int_equal(l4[13] & 0x09, i + 1 == n ? 0x09 : 0);
	assert_int_equal(l4[13] & 0x80, i && (b->meta.flags & TWX_F_ECN) ? 0 : 0x80);
	assert_int_equal(l4[13] & 0x10, 0x10);
	assert_memory_equal(l4 + 20, was + 20, 12);
}

/* The segments that @t got are the payload, in order, each whole and with a right checksum. */
static void check_all(const struct big *b, struct toy *t, uint32_t mss, bool csum_left)
{
	uint32_t at = 0, payload = b->len - b->hdr;
	uint8_t proto = b->tcp ? 6 : 17;
	int i;

	assert_int_equal(t->n_got, payload ? (payload + mss - 1) / mss : 1);
	for (i = 0; i < t->n_got; i++) {
		struct toy_frame *g = &t->got[i];
		uint32_t len = g->len - b->hdr;

		assert_int_equal(len, payload - at < mss ? payload - at : mss);
		assert_memory_equal(g->data + b->hdr, b->bytes + b->hdr + at, len);
		check_segment(b, g, i, t->n_got, at);
		assert_int_equal(g->meta.gso, TWX_GSO_NONE);
		assert_int_equal(g->meta.gso_size, 0);
		if (csum_left) {
			assert_int_equal(g->meta.flags & TWX_F_NEEDS_CSUM, TWX_F_NEEDS_CSUM);
			assert_int_equal(g->meta.csum_start, b->l4);
			/* finish it as a receiver would: the field's sum is included */
			w16(g->data + b->l4 + g->meta.csum_off,
			    0xffff & ~slow_sum(0, g->data + b->l4, g->len - b->l4));
		} else {
			assert_int_equal(g->meta.flags & TWX_F_NEEDS_CSUM, 0);
		}
		assert_true(
			l4_sum_ok(g->data + b->ip, b->v6, proto, g->data + b->l4, g->len - b->l4));
		at += len;
	}
	assert_int_equal(at, payload);
}

static void run_gso(struct world *w, struct big *b, uint8_t gso, uint16_t mss, uint32_t piece,
		    uint32_t caps)
{
	struct pair p = pair_new(w, caps);
	struct twx_frame f;

	b->meta.gso = gso;
	b->meta.gso_size = mss;
	f = as_frame(b, piece);
	assert_int_equal(twx_port_send(&p.a->port, &f, 1), 1);
	check_all(b, p.b, mss, caps & TWX_CAP_CSUM);
	assert_int_equal(p.b->port.count.seg_sw, 1);
	pair_free(p);
}

static void test_segments(void **state)
{
	static const struct {
		bool v6, tcp;
		uint8_t gso;
		uint32_t ext;
	} kinds[] = {
		{ false, true, TWX_GSO_TCPV4, 0 },   { false, true, TWX_GSO_TCPV4, 40 },
		{ true, true, TWX_GSO_TCPV6, 0 },    { true, true, TWX_GSO_TCPV6, 64 },
		{ false, false, TWX_GSO_UDP_L4, 0 }, { true, false, TWX_GSO_UDP_L4, 8 },
	};
	static const struct {
		uint32_t payload;
		uint16_t mss;
	} sizes[] = { { 1, 1448 }, { 1448, 1448 },     { 1449, 1448 }, { 65000, 1448 },
		      { 4000, 8 }, { 64001, 1 << 15 }, { 2999, 999 },  { 0, 1448 } };
	static const uint32_t pieces[] = { 0, 4096, 1371, 333, 1 };
	struct big *b = malloc(sizeof(*b));
	size_t k, s, i;

	for (k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		for (s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
			for (i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
				build(b, kinds[k].v6, kinds[k].tcp, sizes[s].payload, kinds[k].ext);
				run_gso(*state, b, kinds[k].gso, sizes[s].mss, pieces[i], 0);
				run_gso(*state, b, kinds[k].gso, sizes[s].mss, pieces[i],
					TWX_CAP_CSUM);
			}
	free(b);
}

static void test_ecn(void **state)
{
	struct big *b = malloc(sizeof(*b));

	build(b, false, true, 10000, 0);
	b->meta.flags |= TWX_F_ECN;
	/* a receiver that segments but does not know ECN is not trusted with it */
	run_gso(*state, b, TWX_GSO_TCPV4, 1000, 0, TWX_CAP_CSUM | TWX_CAP_TSO4);
	free(b);
}

static void test_capable_receiver_gets_it_whole(void **state)
{
	struct pair p = pair_new(*state, TWX_CAP_CSUM | TWX_CAP_TSO4);
	struct big *b = malloc(sizeof(*b));
	struct twx_frame f;

	twx_port_set_caps(&p.b->port, (struct twx_caps){ .flags = TWX_CAP_CSUM | TWX_CAP_TSO4,
							 .max_frame = 1514 });
	build(b, false, true, 60000, 0);
	b->meta.gso = TWX_GSO_TCPV4;
	b->meta.gso_size = 1448;
	f = as_frame(b, 4096);
	assert_int_equal(twx_port_send(&p.a->port, &f, 1), 1);
	assert_int_equal(p.b->n_got, 1);
	assert_int_equal(p.b->got[0].len, b->len);
	assert_memory_equal(&p.b->got[0].meta, &b->meta, sizeof(b->meta));
	assert_int_equal(p.b->port.count.seg_sw, 0);
	free(b);
	pair_free(p);
}

/* IPv4: fragments by offset and more-flag, put together; IPv6: the same behind a fragment header.
 */
static void check_fragments(const struct big *b, struct toy *t)
{
	static uint8_t whole[70000];
	uint32_t have = 0, id = 0;
	int i;

	for (i = 0; i < t->n_got; i++) {
		const uint8_t *d = t->got[i].data, *ip = d + ETH;
		uint32_t field, off, len, data, this_id;

		if (b->v6) {
			assert_int_equal(r16(ip + 4), t->got[i].len - ETH - 40);
			assert_int_equal(b->l4 > ETH + 40u ? ip[40] : ip[6], 44);
			assert_int_equal(d[b->l4], 17);
			field = r16(d + b->l4 + 2);
			off = field & 0xfff8;
			this_id = r16(d + b->l4 + 4) << 16 | r16(d + b->l4 + 6);
			data = b->l4 + 8;
			assert_int_equal(field & 1, i + 1 < t->n_got);
		} else {
			assert_int_equal(r16(ip + 2), t->got[i].len - ETH);
			assert_int_equal(slow_sum(0, ip, 20), 0xffff);
			field = r16(ip + 6);
			off = (field & 0x1fff) * 8;
			this_id = r16(ip + 4);
			data = b->l4;
			assert_int_equal(field & 0xe000, i + 1 < t->n_got ? 0x2000 : 0);
		}
		assert_true(!i || this_id == id);
		id = this_id;
		assert_int_equal(off, have);
		len = t->got[i].len - data;
		memcpy(whole + have, d + data, len);
		have += len;
		assert_int_equal(t->got[i].meta.flags & TWX_F_NEEDS_CSUM, 0);
	}
	assert_int_equal(have, b->len - b->l4);
	assert_memory_equal(whole, b->bytes + b->l4, 6);
	assert_memory_equal(whole + 8, b->bytes + b->hdr, have - 8);
	assert_true(l4_sum_ok(b->bytes + ETH, b->v6, 17, whole, have));
}

static void test_fragments(void **state)
{
	static const uint32_t pieces[] = { 0, 4096, 100 };
	static const uint16_t sizes[] = { 1480, 1479, 8, 60000 };
	struct big *b = malloc(sizeof(*b));
	size_t i, s;
	int v;

	for (v = 0; v < 3; v++)
		for (s = 0; s < 4; s++)
			for (i = 0; i < 3; i++) {
				struct pair p = pair_new(*state, v == 2 ? 0 : TWX_CAP_CSUM);
				struct twx_frame f;

				build(b, v, false, 20001, v == 2 ? 16 : 0);
				b->meta.gso = TWX_GSO_UDP;
				b->meta.gso_size = sizes[s];
				f = as_frame(b, pieces[i]);
				assert_int_equal(twx_port_send(&p.a->port, &f, 1), 1);
				check_fragments(b, p.b);
				pair_free(p);
			}
	free(b);
}

static void test_checksum_alone(void **state)
{
	static const uint32_t lens[] = { 0, 1, 2, 999, 1000, 1460, 20001 };
	struct big *b = malloc(sizeof(*b));
	size_t i;
	int kind;

	for (kind = 0; kind < 16; kind++)
		for (i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
			struct pair p = pair_new(*state, 0);
			bool v6 = kind & 1, tcp = kind & 2;
			struct twx_frame f;

			build(b, v6, tcp, lens[i], 0);
			f = as_frame(b, kind & 4 ? 77 : kind & 8 ? 4096 : 0);
			assert_int_equal(twx_port_send(&p.a->port, &f, 1), 1);
			assert_int_equal(p.b->n_got, 1);
			assert_int_equal(p.b->got[0].len, b->len);
			assert_int_equal(p.b->got[0].meta.flags, 0);
			assert_memory_equal(p.b->got[0].data + b->hdr, b->bytes + b->hdr, lens[i]);
			assert_true(l4_sum_ok(p.b->got[0].data + ETH, v6, tcp ? 6 : 17,
					      p.b->got[0].data + b->l4, b->len - b->l4));
			assert_int_equal(p.b->port.count.csum_sw, 1);
			pair_free(p);
		}
	free(b);
}

/* What is summed may begin anywhere; the field lies at a word of it. */
static void test_checksum_at_odd_offset(void **state)
{
	struct pair p = pair_new(*state, 0);
	uint8_t d[65], *field;
	struct iovec iov = { d, 65 };
	struct twx_frame f = { .iov = &iov, .n_iov = 1, .len = 65 };
	unsigned int i, sum;

	for (i = 0; i < 65; i++)
		d[i] = (uint8_t)(i * 37);
	f.meta = (struct twx_meta){ .flags = TWX_F_NEEDS_CSUM, .csum_start = 15, .csum_off = 6 };
	assert_int_equal(twx_port_send(&p.a->port, &f, 1), 1);
	field = p.b->got[0].data + 21;
	sum = r16(field) + r16(d + 21); /* checksum and pseudo-header sum together undo the rest */
	w16(field, (sum & 0xffff) + (sum >> 16));
	assert_int_equal(slow_sum(0, p.b->got[0].data + 15, 50), 0xffff);
	pair_free(p);
}

static void test_udp_zero_becomes_ffff(void **state)
{
	struct pair p = pair_new(*state, 0);
	struct big *b = malloc(sizeof(*b));
	struct twx_frame f;
	unsigned int sum;

	build(b, false, false, 4, 0);
	memset(b->bytes + b->hdr, 0, 4);
	sum = slow_sum(0, b->bytes + b->l4, b->len - b->l4);
	w16(b->bytes + b->hdr, 0xffff & ~sum); /* now the sum is 0xffff, the checksum 0 */
	f = as_frame(b, 0);
	twx_port_send(&p.a->port, &f, 1);
	assert_int_equal(r16(p.b->got[0].data + b->l4 + 6), 0xffff);
	free(b);
	pair_free(p);
}

static void test_tag_goes_in(void **state)
{
	static const uint32_t pieces[] = { 0, 50 };
	struct big *b = malloc(sizeof(*b));
	int i, gso;

	for (i = 0; i < 2; i++)
		for (gso = 0; gso < 2; gso++) {
			struct pair p = pair_new(*state, TWX_CAP_CSUM | (i ? TWX_CAP_TSO4 : 0));
			struct toy_frame *g;
			struct twx_frame f;

			build(b, false, true, 3000, 0);
			b->meta.flags |= TWX_F_VLAN;
			b->meta.vlan_tci = 0x6123;
			b->meta.gso = gso ? TWX_GSO_TCPV4 : TWX_GSO_NONE;
			b->meta.gso_size = gso ? 1000 : 0;
			f = as_frame(b, pieces[i]);
			assert_int_equal(twx_port_send(&p.a->port, &f, 1), 1);
			assert_int_equal(p.b->n_got, gso && !i ? 3 : 1);
			g = &p.b->got[0];
			assert_int_equal(g->len, (gso && !i ? b->hdr + 1000 : b->len) + 4);
			assert_memory_equal(g->data, b->bytes, 12);
			assert_memory_equal(g->data + 12, "\x81\x00\x61\x23\x08\x00", 6);
			assert_int_equal(g->meta.flags, TWX_F_NEEDS_CSUM);
			assert_int_equal(g->meta.csum_start, b->l4 + 4);
			assert_int_equal(g->meta.gso, gso && i ? TWX_GSO_TCPV4 : TWX_GSO_NONE);
			assert_memory_equal(g->data + b->hdr + 4, b->bytes + b->hdr, 900);
			pair_free(p);
		}
	free(b);
}

static void test_tag_stays_out_when_wanted(void **state)
{
	struct pair p = pair_new(*state, TWX_CAP_VLAN);
	struct twx_frame f = toy_frame(60, 'v');

	f.meta.flags = TWX_F_VLAN;
	f.meta.vlan_tci = 5;
	twx_port_send(&p.a->port, &f, 1);
	assert_int_equal(p.b->got[0].len, 60);
	assert_int_equal(p.b->got[0].meta.vlan_tci, 5);
	pair_free(p);
}

/* Requests that do not fit the frame: dropped and counted, whatever the receiver can do. */
static void test_bad_requests(void **state)
{
	enum { NC = TWX_F_NEEDS_CSUM };
	static const struct twx_meta bad[] = {
		{ .flags = NC, .csum_start = 60, .csum_off = 0 }, /* CVE-2024-11614 */
		{ .flags = NC, .csum_start = 34, .csum_off = 65535 },
		{ .flags = NC, .csum_start = 65535, .csum_off = 65535 },
		{ .flags = NC, .csum_start = 58, .csum_off = 1 },
		{ .flags = NC, .csum_start = 0, .csum_off = 2 },
		{ .flags = NC, .csum_start = 34, .csum_off = 7 },
		{ .gso = TWX_GSO_TCPV4, .gso_size = 0 },
		{ .gso = TWX_GSO_TCPV4, .gso_size = 7 },
		{ .gso = TWX_GSO_TCPV4,
		  .gso_size = 1000,
		  .flags = NC,
		  .csum_start = 33,
		  .csum_off = 16 },
		{ .gso = TWX_GSO_TCPV4,
		  .gso_size = 1000,
		  .flags = NC,
		  .csum_start = 34,
		  .csum_off = 6 },
		{ .gso = TWX_GSO_TCPV6, .gso_size = 1000 },
		{ .gso = TWX_GSO_UDP, .gso_size = 1000 },
		{ .gso = TWX_GSO_UDP_L4, .gso_size = 1000 },
		{ .gso = 2, .gso_size = 1000 },
		{ .gso = 6, .gso_size = 1000 },
		{ .gso = 0x80, .gso_size = 1000 }, /* virtio's ECN bit belongs into flags */
		{ .gso = 255, .gso_size = 1000 },
	};
	static const uint32_t caps[] = { 0, 0x7f };
	struct big *b = malloc(sizeof(*b));
	size_t i;
	int c;

	for (c = 0; c < 2; c++)
		for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			struct pair p = pair_new(*state, caps[c]);
			struct twx_frame f;

			build(b, false, true, 0, 0);
			b->len = 60;
			b->meta = bad[i];
			f = as_frame(b, 0);
			assert_int_equal(twx_port_send(&p.a->port, &f, 1), 1);
			assert_int_equal(p.b->n_got, 0);
			assert_int_equal(p.a->port.count.drops[TWX_DROP_BAD_META], 1);
			pair_free(p);
		}
	free(b);
}

static void test_bad_headers(void **state)
{
	struct big *b = malloc(sizeof(*b));
	int i;

	for (i = 0; i < 7; i++) {
		struct pair p = pair_new(*state, 0);
		struct twx_frame f;

		build(b, i >= 5, i < 5, 3000, 0);
		b->meta.gso = i < 5 ? TWX_GSO_TCPV4 : TWX_GSO_UDP_L4;
		b->meta.gso_size = 1000;
		if (i == 0)
			b->bytes[14] = 0x44; /* IHL 16 */
		else if (i == 1)
			w16(b->bytes + 20, 0x2000); /* a fragment already */
		else if (i == 2)
			b->bytes[b->l4 + 12] = 0x40; /* TCP header of 16 bytes */
		else if (i == 3)
			b->len = b->l4 + 31; /* options reach past the end */
		else if (i == 4)
			b->bytes[12] = 0x09; /* neither IPv4 nor IPv6 */
		else if (i == 5)
			b->bytes[20] = 0; /* hop-by-hop whose length passes the end */
		else
			b->len = 60; /* the extension header at the end of the data */
		if (i == 5)
			b->bytes[55] = 255;
		f = as_frame(b, 0);
		assert_int_equal(twx_port_send(&p.a->port, &f, 1), 1);
		assert_int_equal(p.b->n_got, 0);
		assert_int_equal(p.a->port.count.drops[TWX_DROP_BAD_META], 1);
		pair_free(p);
	}
	free(b);
}

static void test_segments_over_the_receivers_limit(void **state)
{
	struct pair p = pair_new(*state, 0);
	struct big *b = malloc(sizeof(*b));
	struct twx_frame f;

	twx_port_set_caps(&p.b->port, (struct twx_caps){ .max_frame = 1514 });
	build(b, false, true, 5000, 0);
	b->meta.gso = TWX_GSO_TCPV4;
	b->meta.gso_size = (uint16_t)(1514 - b->hdr + 1);
	f = as_frame(b, 0);
	assert_int_equal(twx_port_send(&p.a->port, &f, 1), 1);
	assert_int_equal(p.b->n_got, 0);
	assert_int_equal(p.a->port.count.drops[TWX_DROP_TOO_LONG], 1);
	f.meta.gso_size--;
	assert_int_equal(twx_port_send(&p.a->port, &f, 1), 1);
	assert_true(p.b->n_got > 3);
	free(b);
	pair_free(p);
}

/* A receiver that stops in the middle: the frame is done, its rest is queued, nothing is lost or
 * doubled. */
static void test_receiver_stops_between_segments(void **state)
{
	struct big *b = malloc(sizeof(*b));
	int room, again;

	for (room = 0; room <= 8; room++)
		for (again = 1; again <= 3; again++) {
			struct pair p = pair_new(*state, 0);
			struct twx_frame f[3];
			int done, i;

			build(b, false, true, 5000, 0);
			b->meta.gso = TWX_GSO_TCPV4;
			b->meta.gso_size = 1000;
			f[0] = toy_frame(60, 'b');
			f[1] = as_frame(b, 500);
			f[2] = toy_frame(60, 'e');
			p.b->room = room;
			done = twx_port_send(&p.a->port, f, 3);
			assert_int_equal(done, room == 0 ? 0 : room == 1 ? 1 : room < 7 ? 2 : 3);
			assert_int_equal(p.b->n_got, room < 7 ? room : 7);
			for (i = 0; i < 9; i++) {
				p.b->room = again;
				twx_port_ready(&p.b->port);
				done += twx_port_send(&p.a->port, f + done, 3 - done);
			}
			assert_int_equal(done, 3);
			assert_int_equal(p.b->n_got, 7);
			assert_int_equal(p.b->got[0].data[14], 'b');
			assert_int_equal(p.b->got[6].data[14], 'e');
			free(p.b->got[0].data);
			free(p.b->got[6].data);
			memmove(p.b->got, p.b->got + 1, 5 * sizeof(p.b->got[0]));
			p.b->n_got = 5;
			check_all(b, p.b, 1000, false);
			pair_free(p);
		}
	free(b);
}

/* Queued whole, cut by what the receiver can do when it takes it. */
static void test_caps_change_while_queued(void **state)
{
	struct pair p = pair_new(*state, 0);
	struct big *b = malloc(sizeof(*b));
	struct twx_frame f;

	build(b, true, true, 5000, 0);
	b->meta.gso = TWX_GSO_TCPV6;
	b->meta.gso_size = 1000;
	f = as_frame(b, 700);
	p.b->room = 0;
	twx_port_post(&p.a->port, &f, 1);
	twx_port_post(&p.a->port, &f, 1);
	twx_port_set_caps(&p.b->port, (struct twx_caps){ .flags = TWX_CAP_CSUM | TWX_CAP_TSO6 });
	p.b->room = 1;
	twx_port_ready(&p.b->port);
	assert_int_equal(p.b->n_got, 1);
	assert_int_equal(p.b->got[0].len, b->len);
	toy_forget(p.b);
	twx_port_set_caps(&p.b->port, (struct twx_caps){ .flags = 0 });
	p.b->room = TOY_NO_LIMIT;
	twx_port_ready(&p.b->port);
	check_all(b, p.b, 1000, false);
	free(b);
	pair_free(p);
}

/* More segments than a batch holds, among frames that need nothing. */
static void test_mixed_burst(void **state)
{
	struct pair p = pair_new(*state, 0);
	struct big *b = malloc(sizeof(*b)), *c = malloc(sizeof(*c));
	struct twx_frame f[TWX_BURST];
	struct iovec iov[2];
	int i;

	build(b, false, true, 65000, 0);
	b->meta.gso = TWX_GSO_TCPV4;
	b->meta.gso_size = 500;
	build(c, false, false, 1000, 0);
	iov[0] = (struct iovec){ b->bytes, b->len };
	iov[1] = (struct iovec){ c->bytes, c->len };
	for (i = 0; i < TWX_BURST; i++) {
		if (i % 3 == 0)
			f[i] = toy_frame(60, (uint8_t)i);
		else
			f[i] = (struct twx_frame){ .iov = &iov[i % 3 - 1],
						   .n_iov = 1,
						   .len = i % 3 == 1 ? b->len : c->len,
						   .meta = i % 3 == 1 ? b->meta : c->meta };
	}
	assert_int_equal(twx_port_send(&p.a->port, f, TWX_BURST), TWX_BURST);
	assert_int_equal(p.b->n_got, 22 + 21 * 130 + 21);
	assert_int_equal(p.b->got[0].data[14], 0);
	assert_int_equal(p.b->got[132].data[14], 3);
	assert_int_equal(p.b->got[131].len, c->len);
	assert_true(l4_sum_ok(p.b->got[131].data + ETH, false, 17, p.b->got[131].data + c->l4,
			      c->len - c->l4));
	assert_int_equal(p.b->got[p.b->n_got - 1].data[14], 63);
	assert_int_equal(p.b->biggest_burst, TWX_BURST);
	free(b);
	free(c);
	pair_free(p);
}

/* Two payloads that have to be copied, the second begun while segments of the first wait in the
 * batch. */
static void test_copies_do_not_meet(void **state)
{
	struct pair p = pair_new(*state, 0);
	struct big *b[2] = { malloc(sizeof(*b[0])), malloc(sizeof(*b[1])) };
	struct toy_frame *got = p.b->got;
	struct twx_frame f[2];
	struct iovec iov[2][2];
	int i;

	for (i = 0; i < 2; i++) {
		build(b[i], i, true, 60000, 0);
		b[i]->meta.gso = i ? TWX_GSO_TCPV6 : TWX_GSO_TCPV4;
		b[i]->meta.gso_size = 600;
		iov[i][0] = (struct iovec){ b[i]->bytes, TWX_HDR_ROOM };
		iov[i][1] = (struct iovec){ b[i]->bytes + TWX_HDR_ROOM, b[i]->len - TWX_HDR_ROOM };
		f[i] = (struct twx_frame){
			.iov = iov[i], .n_iov = 2, .len = b[i]->len, .meta = b[i]->meta
		};
	}
	memset(b[1]->bytes + b[1]->hdr, 0xee, 60000);
	assert_int_equal(twx_port_send(&p.a->port, f, 2), 2);
	assert_int_equal(p.b->n_got, 200);
	p.b->n_got = 100;
	check_all(b[0], p.b, 600, false);
	p.b->got += 100;
	check_all(b[1], p.b, 600, false);
	p.b->got = got;
	p.b->n_got = 200;
	for (i = 0; i < 2; i++)
		free(b[i]);
	pair_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_segments),
		world_test(test_ecn),
		world_test(test_capable_receiver_gets_it_whole),
		world_test(test_fragments),
		world_test(test_checksum_alone),
		world_test(test_checksum_at_odd_offset),
		world_test(test_udp_zero_becomes_ffff),
		world_test(test_tag_goes_in),
		world_test(test_tag_stays_out_when_wanted),
		world_test(test_bad_requests),
		world_test(test_bad_headers),
		world_test(test_segments_over_the_receivers_limit),
		world_test(test_receiver_stops_between_segments),
		world_test(test_caps_change_while_queued),
		world_test(test_mixed_burst),
		world_test(test_copies_do_not_meet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
