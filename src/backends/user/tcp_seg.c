/* SPDX-License-Identifier: BSD-3-Clause */
/* TCP segments: parsing the guest's headers and options, building ours. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "backends/user/tcp.h"
#include "base/csum.h"
#include "base/macros.h"

/* RFC 9293, section 3.1. */
struct tcp_hdr {
	be16 src, dst;
	be32 seq, ack;
	uint8_t doff; /* in words, in the upper half */
	uint8_t flags;
	be16 wnd, csum, urg;
} __attribute__((packed));
_Static_assert(sizeof(struct tcp_hdr) == TCP_HDR_LEN, "wire format");

enum { OPT_END = 0, OPT_NOP = 1, OPT_MSS = 2, OPT_WSCALE = 3, OPT_SACK_OK = 4 };
_Static_assert(4 + 4 + 4 <= TCP_SACK_MAX, "MSS, WSCALE and SACK fit");

static void parse_option(struct tcp_seg *s, const uint8_t *opt, uint32_t len)
{
	if (opt[0] == OPT_MSS && len == 4) {
		s->mss = (uint16_t)(opt[2] << 8 | opt[3]);
	} else if (opt[0] == OPT_WSCALE && len == 3) {
		s->has_wscale = true;
		s->wscale = min(opt[2], (uint8_t)14); /* RFC 7323, 2.3 */
	} else if (opt[0] == OPT_SACK_OK && len == 2) {
		s->sack = true;
	}
}

static void parse_options(struct tcp_seg *s, const uint8_t *opt, uint32_t len)
{
	while (len && opt[0] != OPT_END) {
		uint32_t n = 1;

		if (opt[0] != OPT_NOP) {
			if (len < 2 || opt[1] < 2 || opt[1] > len)
				return; /* what was understood so far stays */
			n = opt[1];
			parse_option(s, opt, n);
		}
		opt += n;
		len -= n;
	}
}

bool tcp_seg_parse(struct tcp_seg *s, const struct user_pkt *p)
{
	struct tcp_hdr h;
	uint32_t hdr_len;

	if (p->l4_len < sizeof(h) || p->l4_here < sizeof(h))
		return false;
	memcpy(&h, p->l4, sizeof(h));
	hdr_len = (uint32_t)(h.doff >> 4) * 4;
	if (hdr_len < sizeof(h) || hdr_len > p->l4_len || hdr_len > p->l4_here)
		return false;
	if (be16_get(h.src) == 0 || be16_get(h.dst) == 0)
		return false;
	*s = (struct tcp_seg){
		.pkt = p,
		.seq = be32_get(h.seq),
		.ack = be32_get(h.ack),
		.off = hdr_len,
		.len = p->l4_len - hdr_len,
		.wnd = be16_get(h.wnd),
		.mss = p->v6 ? TCP_MSS_NO_OPTION6 : TCP_MSS_NO_OPTION,
		.flags = h.flags,
	};
	/* No option of ours is valid in another segment. */
	if (h.flags & TCP_SYN)
		parse_options(s, p->l4 + sizeof(h), hdr_len - sizeof(h));
	return true;
}

/* The window field: what is left up to the edge, rounded down. The edge itself is what tcp_in.c
 * accepts. */
static uint16_t window_field(const struct tcp_flow *tf, uint8_t flags)
{
	uint32_t wnd = seq_lt(tf->rcv_nxt, tf->rcv_edge) ? tf->rcv_edge - tf->rcv_nxt : 0;

	if (!(flags & TCP_SYN))
		wnd >>= tf->rcv_wscale;
	return (uint16_t)min(wnd, 65535u);
}

static void fill_header(struct tcp_hdr *h, const struct flow_key *key, uint8_t flags, uint32_t seq,
			uint32_t ack, uint16_t wnd, uint32_t opt_len)
{
	*h = (struct tcp_hdr){
		.src = be16_make(key->peer_port),
		.dst = be16_make(key->guest_port),
		.seq = be32_make(seq),
		.ack = be32_make(flags & TCP_ACK ? ack : 0),
		.doff = (uint8_t)((sizeof(*h) + opt_len) / 4 << 4),
		.flags = flags,
		.wnd = be16_make(wnd),
	};
}

void tcp_seg_header(struct user *u, struct flow *f, uint8_t *frame, uint8_t flags, uint32_t seq,
		    uint32_t len)
{
	struct tcp_flow *tf = tcp_of(f);
	const struct in6_addr *src = &f->key.peer, *dst = &f->key.guest;
	uint8_t *l4 = user_ip_header(u, frame, src, dst, IPPROTO_TCP, TCP_HDR_LEN + len);
	static const uint8_t no_mac[6];
	struct tcp_hdr h;

	/* Forgotten among many neighbours: the guest's port takes a broadcast as well. */
	if (unlikely(!memcmp(frame, no_mac, sizeof(no_mac))))
		memset(frame, 0xff, sizeof(no_mac));
	fill_header(&h, &f->key, flags, seq, tf->rcv_nxt, window_field(tf, flags), 0);
	h.csum.raw = csum_fold_raw(user_pseudo(src, dst, IPPROTO_TCP, TCP_HDR_LEN + len));
	memcpy(l4, &h, sizeof(h));
}

static uint32_t put_syn_options(const struct user *u, const struct tcp_flow *tf, uint8_t *opt)
{
	uint32_t mss = tcp_mss_max(u, tf);

	uint8_t *at = opt + 4;

	opt[0] = OPT_MSS;
	opt[1] = 4;
	opt[2] = (uint8_t)(mss >> 8);
	opt[3] = (uint8_t)mss;
	if (tf->flags & TF_WSCALE) {
		memcpy(at, (uint8_t[]){ OPT_NOP, OPT_WSCALE, 3, TCP_WSCALE }, 4);
		at += 4;
	}
	if (tf->flags & TF_SACK) {
		memcpy(at, (uint8_t[]){ OPT_NOP, OPT_NOP, OPT_SACK_OK, 2 }, 4);
		at += 4;
	}
	return (uint32_t)(at - opt);
}

/* A complete segment without data, checksum and all, into the batch for the guest. */
static void send_bare(struct user *u, const struct flow_key *key, const struct tcp_hdr *h,
		      const uint8_t *opt, uint32_t opt_len)
{
	const struct in6_addr *src = &key->peer, *dst = &key->guest;
	uint32_t len = TCP_HDR_LEN + opt_len, total = USER_ETH_LEN + user_ip_len(dst) + len;
	uint8_t *frame = user_out_alloc(u, total);
	uint8_t *l4 = user_ip_header(u, frame, src, dst, IPPROTO_TCP, len);
	be16 csum;

	memcpy(l4, h, sizeof(*h));
	if (opt_len)
		memcpy(l4 + sizeof(*h), opt, opt_len);
	csum = csum_fold(csum_partial(l4, len, user_pseudo(src, dst, IPPROTO_TCP, len)));
	memcpy(l4 + offsetof(struct tcp_hdr, csum), &csum, sizeof(csum));
	user_out(u, total, &(struct twx_meta){ 0 });
}

void tcp_send_control(struct user *u, struct flow *f, uint8_t flags, uint32_t seq)
{
	struct tcp_flow *tf = tcp_of(f);
	uint8_t opt[TCP_SACK_MAX];
	uint32_t opt_len = 0;
	struct tcp_hdr h;

	if (flags & TCP_SYN)
		opt_len = put_syn_options(u, tf, opt);
	else if (flags == TCP_ACK && (tf->flags & TF_SACK) && (tf->flags & TF_EARLY))
		opt_len = tcp_early_sack(u, f, opt);
	fill_header(&h, &f->key, flags, seq, tf->rcv_nxt, window_field(tf, flags), opt_len);
	send_bare(u, &f->key, &h, opt, opt_len);
	if (flags & TCP_ACK)
		tf->flags &= ~(uint32_t)(TF_ACK_NOW | TF_ACK_LATE);
}

void tcp_send_ack(struct user *u, struct flow *f)
{
	struct tcp_flow *tf = tcp_of(f);

	/* SND.NXT, even while an older part is being sent again: an older number would be
	 * outside the guest's window and its news ignored. */
	tcp_send_control(u, f, TCP_ACK, tf->snd_max + !!(tf->flags & TF_FIN_SENT));
}

/* RFC 9293, 3.10.7.1. */
void tcp_send_rst_for(struct user *u, const struct tcp_seg *s)
{
	const struct user_pkt *p = s->pkt;
	struct flow_key key = { .guest = p->src, .peer = p->dst };
	uint32_t seg_len = s->len + !!(s->flags & TCP_SYN) + !!(s->flags & TCP_FIN);
	struct tcp_hdr in, h;

	if (s->flags & TCP_RST)
		return;
	memcpy(&in, p->l4, sizeof(in));
	key.guest_port = be16_get(in.src);
	key.peer_port = be16_get(in.dst);
	if (s->flags & TCP_ACK)
		fill_header(&h, &key, TCP_RST, s->ack, 0, 0, 0);
	else
		fill_header(&h, &key, TCP_RST | TCP_ACK, 0, s->seq + seg_len, 0, 0);
	send_bare(u, &key, &h, NULL, 0);
}

uint32_t tcp_probe(struct user *u, uint8_t *frame, const struct flow_key *key, uint64_t random)
{
	const struct in6_addr *src = &key->peer, *dst = &key->guest;
	uint32_t len = TCP_HDR_LEN + 1;
	uint8_t *l4 = user_ip_header(u, frame, src, dst, IPPROTO_TCP, len);
	struct tcp_hdr h;
	be16 csum;

	fill_header(&h, key, TCP_ACK, (uint32_t)random, (uint32_t)(random >> 32), 0, 0);
	memcpy(l4, &h, sizeof(h));
	csum = csum_fold(csum_partial(l4, len, user_pseudo(src, dst, IPPROTO_TCP, len)));
	memcpy(l4 + offsetof(struct tcp_hdr, csum), &csum, sizeof(csum));
	return user_is_v4(dst) ? 60 : USER_HDR_MAX + len;
}

static enum user_why unreachable_why(int err)
{
	switch (err) {
	case ENETUNREACH:
	case ENETDOWN:
	case EAFNOSUPPORT:
	case EADDRNOTAVAIL:
		return USER_NO_ROUTE;
	case EACCES:
	case EPERM:
		return USER_PROHIBITED;
	default:
		return USER_NO_HOST;
	}
}

void tcp_send_unreachable(struct user *u, struct flow *f, int err)
{
	const struct flow_key *key = &f->key;
	uint8_t frame[TCP_FRAME_HDR_MAX];
	struct tcp_hdr h;
	uint8_t *l4;

	/* The SYN as the guest sent it, as far as an ICMP error quotes it. */
	l4 = user_ip_header(u, frame, &key->guest, &key->peer, IPPROTO_TCP, TCP_HDR_LEN);
	h = (struct tcp_hdr){
		.src = be16_make(key->guest_port),
		.dst = be16_make(key->peer_port),
		.seq = be32_make(tcp_of(f)->irs),
		.doff = 5 << 4,
		.flags = TCP_SYN,
	};
	memcpy(l4, &h, sizeof(h));
	user_complain(u, unreachable_why(err), 0, NULL, frame + USER_ETH_LEN,
		      (uint32_t)(l4 - frame) - USER_ETH_LEN + TCP_HDR_LEN);
}
