/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TCP, host to guest: reading ahead in the socket, the guest's acknowledgements, retransmission.
 *
 * The socket's receive queue is the retransmission buffer. snd_base is the number of its first
 * byte, snd_una what the guest has, snd_nxt where the next read begins: SO_PEEK_OFF says so to the
 * kernel, which moves it itself with each peek (forward) and each byte dropped (back). Only after a
 * loss, after a frame that was read and then refused, or when the guest acknowledges beyond a
 * rewound snd_nxt, is it set (TF_PEEK_SYNC). Without SO_PEEK_OFF what is in flight is held in our
 * memory (tcp_hold.c), or, where too many flows want that, read again into one junk buffer with
 * each look; so fewer bytes are allowed in flight.
 *
 * A read goes into a lease of guest buffers behind the headers; when there is none to be had, or
 * the guest takes no partial checksums or large segments, into a bounce buffer and through
 * user_send(), where the core finishes the frame.
 *
 * Edge-triggered readiness: a read that brings less than it asked for has emptied the queue, and
 * more data will be reported, except at an urgent mark, the end and errors; these are reported as
 * events of their own and set TF_DRAIN: then only "again", 0 or an error ends the reading.
 *
 * Loss: the way to the guest loses frames only where a queue overflows or a filter drops them, so
 * there is no congestion window in general. Two duplicate ACKs (nothing on the way reorders, and a
 * frame of 64 KiB brings one ACK only, so that three would often not come) or a timeout (RFC 6298)
 * rewind snd_nxt to snd_una, and until all that was in flight then is acknowledged the flight is
 * limited as in slow start (RFC 5681, 3.1; RFC 6928). The guest keeps what came behind the hole, so
 * its first ACK mostly jumps to the end, and little is sent twice.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "backends/user/tcp.h"
#include "base/iov.h"
#include "base/macros.h"
#include "net/fault.h"

/* --- retransmission timeout --- */

/* RFC 6298, section 2; one sample per round trip at most, never of what was sent twice (Karn). */
static void rtt_sample(struct tcp_flow *tf, uint64_t now)
{
	uint32_t us = (uint32_t)min((now - tf->rtt_start) / 1000, (uint64_t)60000000);
	uint32_t diff;

	tf->flags &= ~(uint32_t)TF_RTT;
	if (!tf->srtt_us) {
		tf->srtt_us = us + 1; /* 0 means none yet */
		tf->rttvar_us = us / 2;
		return;
	}
	diff = us > tf->srtt_us ? us - tf->srtt_us : tf->srtt_us - us;
	tf->rttvar_us = (3 * tf->rttvar_us + diff) / 4;
	tf->srtt_us = (7 * tf->srtt_us + us) / 8 + 1;
}

uint64_t tcp_rto(const struct tcp_flow *tf)
{
	uint64_t rto = TCP_RTO_INIT, least = TCP_RTO_MIN;

	/* With a hole in front of what it has, the guest delays no ACK (RFC 5681, 4.2): silence
	 * says that what was sent again is lost, too. */
	if ((tf->flags & TF_LOSS) && !tf->retries)
		least = TCP_RTO_LOSS;
	if (tf->srtt_us)
		rto = max(1000ull * (tf->srtt_us + 4ull * tf->rttvar_us), least);
	return min(rto << min(tf->retries, (uint8_t)16), (uint64_t)TCP_RTO_MAX);
}

static void rewind_to_una(struct tcp_flow *tf)
{
	if (!(tf->flags & TF_LOSS))
		tf->recover = tf->snd_max;
	tf->flags |= TF_LOSS | TF_PEEK_SYNC | TF_READABLE;
	tf->flags &= ~(uint32_t)TF_RTT;
	tf->loss_limit = TCP_LOSS_WINDOW * tf->mss;
	tf->rewound = tf->snd_una;
	tf->snd_nxt = tf->snd_una;
	tf->dupacks = 0;
	tcp_progress(tf); /* the timer begins again */
}

static void send_probe(struct user *u, struct flow *f)
{
	/* One below what the guest has: it must answer (RFC 9293, 3.8.4). */
	tcp_send_control(u, f, TCP_ACK, tcp_of(f)->snd_una - 1);
}

/* Nothing has happened for as long as the kernel's own first probe would wait for. */
static void keep_alive(struct flow *f)
{
	int on = 1;

	setsockopt(f->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

/* The timer of an open flow: something is unacknowledged, the window is shut, or nothing happens.
 */
void tcp_out_timeout(struct user *u, struct flow *f)
{
	struct tcp_flow *tf = tcp_of(f);
	bool fin_out = (tf->flags & (TF_FIN_SENT | TF_FIN_ACKED)) == TF_FIN_SENT;

	/* A guest that answers is not given up, however long its window stays shut (3.8.6.1). */
	if (tf->flags & TF_ALIVE)
		tf->retries = min(tf->retries, (uint8_t)(TCP_RETRIES - 3));
	tf->flags &= ~(uint32_t)TF_ALIVE;
	tcp_progress(tf);
	if (++tf->retries > TCP_RETRIES) {
		tcp_abort(u, f);
		return;
	}
	if (tf->snd_max != tf->snd_una && tf->snd_wnd) {
		rewind_to_una(tf);
		tcp_ready(u, f);
	} else if (fin_out && tf->snd_max == tf->snd_una) {
		tcp_send_control(u, f, TCP_FIN | TCP_ACK, tf->snd_max);
	} else {
		send_probe(u, f);
		keep_alive(f);
	}
	tcp_rearm(u, f);
}

/* --- acknowledgements --- */

/* RFC 5681, section 2. */
static bool is_dupack(const struct tcp_flow *tf, const struct tcp_seg *s)
{
	return s->ack == tf->snd_una && !s->len && !(s->flags & TCP_FIN) &&
	       tf->snd_nxt != tf->snd_una && (uint32_t)s->wnd << tf->snd_wscale == tf->snd_wnd;
}

static void advance(struct user *u, struct tcp_flow *tf, uint32_t ack)
{
	uint64_t now = twx_loop_now(u->loop);
	uint32_t n = ack - tf->snd_una;

	tf->snd_una = ack;
	tf->retries = 0;
	tcp_progress(tf);
	tf->dupacks = 0;
	if (seq_lt(tf->snd_nxt, ack)) {
		tf->snd_nxt = ack;
		tf->flags |= TF_PEEK_SYNC;
	}
	if ((tf->flags & TF_RTT) && seq_le(tf->rtt_seq, ack))
		rtt_sample(tf, now);
	if ((tf->flags & (TF_DRAIN | TF_EOF)) == TF_DRAIN)
		tf->flags |= TF_READABLE; /* a mark may have moved to the front */
	if (!(tf->flags & TF_LOSS))
		return;
	tf->loss_limit += min(n, TCP_FLIGHT_MAX);
	if (seq_le(tf->recover, ack) || tf->loss_limit > TCP_FLIGHT_MAX)
		tf->flags &= ~(uint32_t)TF_LOSS;
}

static void update_window(struct tcp_flow *tf, const struct tcp_seg *s)
{
	if (!seq_lt(tf->snd_wl1, s->seq) && !(tf->snd_wl1 == s->seq && seq_le(tf->snd_wl2, s->ack)))
		return;
	tf->snd_wnd = (uint32_t)s->wnd << tf->snd_wscale;
	tf->snd_wnd_max = max(tf->snd_wnd_max, tf->snd_wnd);
	tf->snd_wl1 = s->seq;
	tf->snd_wl2 = s->ack;
}

void tcp_acked(struct user *u, struct flow *f, const struct tcp_seg *s)
{
	struct tcp_flow *tf = tcp_of(f);
	uint32_t ack = s->ack;

	if ((tf->flags & TF_FIN_SENT) && ack == tf->snd_max + 1) {
		tf->flags |= TF_FIN_ACKED;
		tf->retries = 0;
		tcp_progress(tf);
		ack = tf->snd_max;
	}
	if (seq_lt(tf->snd_una, ack)) {
		advance(u, tf, ack);
	} else if (is_dupack(tf, s) && ++tf->dupacks == TCP_DUPACKS &&
		   (!(tf->flags & TF_LOSS) || seq_lt(tf->rewound, ack))) {
		rewind_to_una(tf);
	}
	update_window(tf, s);
	if (tf->snd_una == tf->snd_max && tf->snd_wnd && !(tf->flags & TF_FIN_SENT))
		tf->retries = 0; /* whatever was probed has been answered */
}

/* Drops from the socket what the guest has. */
void tcp_trim(struct user *u, struct flow *f)
{
	struct tcp_flow *tf = tcp_of(f);
	ssize_t n;

	if (tcp_hold_drop(u, tf))
		return;
	n = recv(f->fd, NULL, tf->snd_una - tf->snd_base, MSG_TRUNC | MSG_DONTWAIT);
	if (n > 0)
		tf->snd_base += (uint32_t)n;
}

/* --- data --- */

/* How many bytes may be sent now; 0 also for so few that waiting is better (RFC 9293, 3.8.6.2.1).
 */
static uint32_t usable_window(const struct user *u, const struct tcp_flow *tf)
{
	bool far = (tf->flags & (TF_PEEK_OFF | TF_PEEK_ASKED)) != TF_PEEK_ASKED;
	uint32_t limit = far ? u->tcp->max_flight : TCP_FLIGHT_MAX_NO_PEEK;
	uint32_t flight = tf->snd_nxt - tf->snd_una, room;

	limit = min(limit, tf->snd_wnd);
	if (tf->flags & TF_LOSS)
		limit = min(limit, tf->loss_limit);
	if (limit <= flight)
		return 0;
	room = limit - flight;
	if (flight && room < tf->mss && room < tf->snd_wnd_max / 2)
		return 0;
	return room;
}

bool tcp_can_push(const struct user *u, const struct tcp_flow *tf)
{
	return (tf->flags & TF_READABLE) && tf->state == TS_OPEN && usable_window(u, tf);
}

/* Payload of the next frame at most, whole segments if more than one. */
static uint32_t frame_payload(const struct tcp_flow *tf, uint32_t room)
{
	uint32_t n = min(room, tf->read_hint);

	n = min(n, (uint32_t)tf->mss * TCP_GSO_SEGS);
	if (tf->flags & TF_LOSS) /* several frames, to hear of the next loss by duplicate ACKs */
		n = min(n, max(tf->loss_limit / 4, (uint32_t)tf->mss));
	n = min(n, (uint32_t)TCP_GSO_FRAME - tf->hdr_len);
	return n > tf->mss ? n - n % tf->mss : n;
}

/* Does the socket hold nothing behind its first @n bytes? A read that stops there may have met an
 * urgent mark instead, and goes on once the guest has acknowledged what is in front of it. */
static bool holds_no_more(const struct flow *f, uint32_t n)
{
	int held;

	return ioctl(f->fd, FIONREAD, &held) == 0 && held >= 0 && (uint32_t)held <= n;
}

static ssize_t read_held(struct user *u, struct flow *f, struct iovec *iov, uint32_t n)
{
	struct iovec held[2];
	int n_held = 0;
	ssize_t r = tcp_hold_read(u, f, (uint32_t)iov_len(iov, n), held, &n_held);
	size_t at = 0;

	for (int i = 0; i < n_held; at += held[i].iov_len, i++)
		iov_copy_to(iov, n, at, held[i].iov_base, held[i].iov_len);
	return r;
}

/* recvmsg() from snd_nxt on into the list; as recvmsg(), -errno. */
static ssize_t peek(struct user *u, struct flow *f, struct iovec *iov, uint32_t n)
{
	struct tcp_flow *tf = tcp_of(f);
	uint32_t before = tf->snd_nxt - tf->snd_base;
	struct iovec all[TCP_FLIGHT_MAX_NO_PEEK / TCP_JUNK_LEN + 1 + TWX_LEASE_IOV];
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n };
	uint32_t skip = 0, n_all = 0;
	ssize_t r;

	if (tcp_hold_get(u, f))
		return read_held(u, f, iov, n);
	if (!(tf->flags & TF_PEEK_OFF)) {
		if (before > TCP_FLIGHT_MAX_NO_PEEK)
			return -EAGAIN;
		for (; skip < before; n_all++) {
			uint32_t len = min(before - skip, (uint32_t)TCP_JUNK_LEN);

			all[n_all] = (struct iovec){ u->tcp->junk, len };
			skip += len;
		}
		memcpy(all + n_all, iov, n * sizeof(*iov));
		msg.msg_iov = all;
		msg.msg_iovlen = n_all + n;
	} else if (tf->flags & TF_PEEK_SYNC) {
		int off = (int)before;

		setsockopt(f->fd, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off));
		tf->flags &= ~(uint32_t)TF_PEEK_SYNC;
	}
	r = recvmsg(f->fd, &msg, MSG_PEEK | MSG_DONTWAIT);
	TWX_TRACE(u->port->trace, TWX_HOP_RECVMSG, u->port->name, max(r, (ssize_t)0), n);
	if (r < 0)
		return -errno;
	if (r == 0 || (size_t)r > skip)
		return r - (r ? (ssize_t)skip : 0);
	/* Nothing behind what is in flight: the end, if that has been announced. */
	return (tf->flags & TF_HUP) && (size_t)r == skip && holds_no_more(f, skip) ? 0 : -EAGAIN;
}

/* The host has closed its direction, and the guest hears so. */
static void end_reached(struct tcp_flow *tf)
{
	tf->flags &= ~(uint32_t)TF_READABLE;
	if (!(tf->flags & TF_GUEST_FIN))
		tf->flags |= TF_WE_CLOSED_FIRST;
	tf->flags |= TF_EOF | TF_FIN_SENT;
}

static void sent(struct user *u, struct tcp_flow *tf, uint32_t n, uint32_t asked, uint8_t flags)
{
	if (!(tf->flags & (TF_RTT | TF_LOSS))) {
		tf->flags |= TF_RTT;
		tf->rtt_seq = tf->snd_nxt + n;
		tf->rtt_start = twx_loop_now(u->loop);
	}
	tf->snd_nxt += n;
	if (seq_lt(tf->snd_max, tf->snd_nxt))
		tf->snd_max = tf->snd_nxt;
	if (!(tf->flags & TF_EARLY)) /* the guest is owed a SACK, which data does not carry */
		tf->flags &= ~(uint32_t)(TF_ACK_NOW | TF_ACK_LATE);
	if (tf->flags & TF_ASKED)
		tf->turns = min((uint8_t)(tf->turns + 1), (uint8_t)TCP_TURNS);
	tf->flags &= ~(uint32_t)TF_ASKED;
	if (flags & TCP_FIN)
		end_reached(tf);
	if (n == asked) {
		tf->read_hint = min(tf->read_hint * 4, (uint32_t)TCP_GSO_FRAME - tf->hdr_len);
		return;
	}
	if (n < tf->read_hint / 4)
		tf->read_hint = max(2 * n, min((uint32_t)tf->mss, 2048u));
	if (!(tf->flags & TF_DRAIN))
		tf->flags &= ~(uint32_t)TF_READABLE;
}

/* The end of the host's data, or of the socket. */
static enum tcp_push ended(struct user *u, struct flow *f, ssize_t r)
{
	struct tcp_flow *tf = tcp_of(f);

	if (r == -EAGAIN || r == -EINTR) {
		tf->flags &= ~(uint32_t)TF_READABLE;
		return TCP_PUSH_DONE;
	}
	if (r < 0) {
		tcp_abort(u, f);
		return TCP_PUSH_DONE;
	}
	end_reached(tf);
	tcp_send_control(u, f, TCP_FIN | TCP_ACK, tf->snd_max);
	return TCP_PUSH_DONE;
}

static struct twx_meta frame_meta(const struct tcp_flow *tf, uint32_t n)
{
	struct twx_meta meta = {
		.flags = TWX_F_NEEDS_CSUM,
		.hdr_len = tf->hdr_len,
		.csum_start = tf->hdr_len - TCP_HDR_LEN,
		.csum_off = 16,
	};

	if (n > tf->mss) {
		meta.gso = tcp_is_v6(tf) ? TWX_GSO_TCPV6 : TWX_GSO_TCPV4;
		meta.gso_size = tf->mss;
	}
	return meta;
}

/* What is read short is all there is. Behind the host's announced end nothing comes: the FIN goes
 * along, and saves the guest and us a frame. */
static uint8_t data_flags(const struct tcp_flow *tf, uint32_t n, uint32_t asked)
{
	if (n == asked)
		return TCP_ACK;
	return (tf->flags & (TF_HUP | TF_URGENT)) == TF_HUP ? TCP_ACK | TCP_PSH | TCP_FIN
							    : TCP_ACK | TCP_PSH;
}

/* One frame by way of our memory. */
static enum tcp_push push_bounce(struct user *u, struct flow *f, uint32_t want)
{
	struct tcp_flow *tf = tcp_of(f);
	uint8_t *buf = u->tcp->bounce;
	struct iovec iov = { buf + tf->hdr_len, want };
	struct iovec whole = { buf, 0 };
	struct twx_frame frame = { .iov = &whole, .n_iov = 1 };
	ssize_t n = peek(u, f, &iov, 1);
	uint8_t flags;

	if (n <= 0)
		return ended(u, f, n);
	flags = data_flags(tf, (uint32_t)n, want);
	frame.len = tf->hdr_len + (uint32_t)n;
	whole.iov_len = frame.len;
	frame.meta = frame_meta(tf, (uint32_t)n);
	tcp_seg_header(u, f, buf, flags, tf->snd_nxt, (uint32_t)n);
	TWX_TRACE(u->port->trace, TWX_HOP_USER_OUT, u->port->name, frame.len, frame.meta.gso_size);
	if (!user_send(u, &frame, 1)) {
		tf->flags |= TF_PEEK_SYNC;
		return TCP_PUSH_BUSY;
	}
	sent(u, tf, (uint32_t)n, want, flags);
	return TCP_PUSH_MORE;
}

/* One frame whose payload lies in the flow's hold. */
static enum tcp_push push_held(struct user *u, struct flow *f, uint32_t want)
{
	struct tcp_flow *tf = tcp_of(f);
	uint8_t hdr[TCP_FRAME_HDR_MAX];
	struct iovec iov[3] = { { hdr, tf->hdr_len } };
	struct twx_frame frame = { .iov = iov };
	int n_held = 0;
	ssize_t n = tcp_hold_read(u, f, want, iov + 1, &n_held);
	uint8_t flags;

	if (n <= 0)
		return ended(u, f, n);
	flags = data_flags(tf, (uint32_t)n, want);
	frame.n_iov = 1 + (uint32_t)n_held;
	frame.len = tf->hdr_len + (uint32_t)n;
	frame.meta = frame_meta(tf, (uint32_t)n);
	tcp_seg_header(u, f, hdr, flags, tf->snd_nxt, (uint32_t)n);
	TWX_TRACE(u->port->trace, TWX_HOP_USER_OUT, u->port->name, frame.len, frame.meta.gso_size);
	if (!user_send(u, &frame, 1))
		return TCP_PUSH_BUSY;
	sent(u, tf, (uint32_t)n, want, flags);
	return TCP_PUSH_MORE;
}

/* Puts the headers into the lease's front; they may end inside any of its buffers. */
static void lease_put_headers(struct twx_lease *l, const uint8_t *hdr, uint32_t len)
{
	if (l->iov[0].iov_len >= len)
		memcpy(l->iov[0].iov_base, hdr, len);
	else
		iov_copy_to(l->iov, l->n_iov, 0, hdr, len);
}

/* One frame straight into guest buffers. */
static enum tcp_push push_lease(struct user *u, struct flow *f, uint32_t want)
{
	struct tcp_flow *tf = tcp_of(f);
	struct twx_lease *l = &u->tcp->lease;
	struct iovec iov[TWX_LEASE_IOV];
	uint32_t room = l->len - tf->hdr_len;
	uint8_t hdr[TCP_FRAME_HDR_MAX];
	struct twx_meta meta;
	uint8_t flags;
	size_t n_iov;
	ssize_t n;

	if (room < want)
		want = room > tf->mss ? room - room % tf->mss : room;
	n_iov = iov_slice(iov, TWX_LEASE_IOV, l->iov, l->n_iov, tf->hdr_len, want);
	n = peek(u, f, iov, (uint32_t)n_iov);
	if (n == -EFAULT)
		fault_report(u->backend->net, l->iov, l->n_iov);
	if (n <= 0) {
		twx_port_abort(u->port, l);
		return ended(u, f, n);
	}
	flags = data_flags(tf, (uint32_t)n, want);
	tcp_seg_header(u, f, hdr, flags, tf->snd_nxt, (uint32_t)n);
	lease_put_headers(l, hdr, tf->hdr_len);
	meta = frame_meta(tf, (uint32_t)n);
	TWX_TRACE(u->port->trace, TWX_HOP_USER_OUT, u->port->name, n, meta.gso_size);
	u->sending = true;
	twx_port_commit(u->port, l, tf->hdr_len + (size_t)n, &meta);
	u->sending = false;
	sent(u, tf, (uint32_t)n, want, flags);
	return TCP_PUSH_MORE;
}

static bool bounce_alloc(struct user *u)
{
	if (!u->tcp->bounce)
		u->tcp->bounce = malloc(TCP_GSO_FRAME);
	return u->tcp->bounce;
}

/* A first look needs no offset, and short connections have no second one. */
static void look_ahead(struct user *u, struct flow *f)
{
	struct tcp_flow *tf = tcp_of(f);
	int off = (int)(tf->snd_nxt - tf->snd_base);

	tf->flags |= TF_PEEK_ASKED;
	if (setsockopt(f->fd, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off)) == 0)
		tf->flags |= TF_PEEK_OFF;
}

static enum tcp_push push_frame(struct user *u, struct flow *f, uint32_t want)
{
	const struct twx_port *peer = u->port->peer;
	uint32_t caps = peer ? peer->caps.flags : 0, need = TWX_CAP_CSUM;
	struct tcp_flow *tf = tcp_of(f);
	int err = -EOPNOTSUPP;

	if (!(tf->flags & TF_PEEK_ASKED) && tf->snd_nxt != tf->snd_base)
		look_ahead(u, f);
	if (want > tf->mss)
		need |= tcp_is_v6(tf) ? TWX_CAP_TSO6 : TWX_CAP_TSO4;
	if ((caps & need) == need)
		err = twx_port_reserve(u->port, tf->hdr_len + min(want, (uint32_t)tf->mss),
				       tf->hdr_len + want, &u->tcp->lease);
	switch (err) {
	case 0:
		return push_lease(u, f, want);
	case -EAGAIN:
		return TCP_PUSH_BUSY;
	case -EOPNOTSUPP:
		if (tcp_hold_get(u, f))
			return push_held(u, f, want);
		if (bounce_alloc(u))
			return push_bounce(u, f, want);
		/* fall through */
	default:
		/* No link: as if the frame were lost on it. */
		return TCP_PUSH_DONE;
	}
}

enum tcp_push tcp_push(struct user *u, struct flow *f)
{
	struct tcp_flow *tf = tcp_of(f);
	enum tcp_push r = TCP_PUSH_MORE;

	if (tf->snd_una != tf->snd_base && !(tf->flags & TF_PEEK_OFF))
		tcp_trim(u, f);
	for (int i = 0; i < TCP_PUSH_READS && r == TCP_PUSH_MORE; i++) {
		if (!tcp_can_push(u, tf)) {
			r = TCP_PUSH_DONE;
			break;
		}
		r = push_frame(u, f, frame_payload(tf, usable_window(u, tf)));
	}
	return r;
}
