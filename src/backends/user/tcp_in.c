/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TCP, guest to host: which segments are accepted (RFC 9293, 3.10.7.4), how their payload reaches
 * the socket, and what window the guest is given.
 *
 * Payload that follows on in one flow is gathered as iovecs into the frames of the burst and sent
 * by one sendmsg() when the flow changes or the burst ends. What the socket does not take is copied
 * into the flow's tail while the frames are still there, acknowledged like the rest, and sent on
 * EPOLLOUT. Since the right edge of the window never moves back (3.8.6), the guest may send up to
 * the edge whatever the socket does meanwhile, and the tail is bounded by the window.
 *
 * What arrives ahead of its turn is kept by tcp_early.c.
 *
 * The room in the socket is asked for by SO_MEMINFO, one call for both the limit and the use, and
 * only after half of the last window is used up. A quarter of it is left for the kernel's overhead
 * per buffer. When less than a third of the buffer is free the kernel would not call the socket
 * writable; then poll() asks for it, which marks the socket as wanted and brings EPOLLOUT later
 * (and lets the kernel grow the buffer: it does that for sockets that are marked so). The window
 * update goes out at that moment.
 */
#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "backends/user/tcp.h"
#include "base/iov.h"
#include "base/macros.h"
#include "net/fault.h"

#define TAIL_MIN 16384u
#define WINDOW_UNKNOWN 65536u /* when the kernel does not tell */

/* --- the tail --- */

static void tail_free(struct user *u, struct flow *f)
{
	struct tcp_flow *tf = tcp_of(f);
	struct flow_io *io = flow_io(&u->flows, f);

	free(io->tail);
	io->tail = NULL;
	u->tcp->tail_total -= tf->tail_cap;
	tf->tail_off = tf->tail_len = tf->tail_cap = 0;
}

static bool tail_grow(struct user *u, struct flow *f, uint32_t len)
{
	struct tcp_flow *tf = tcp_of(f);
	struct flow_io *io = flow_io(&u->flows, f);
	uint32_t cap = max(tf->tail_cap, TAIL_MIN);
	uint8_t *data;

	while (cap < tf->tail_len + len)
		cap *= 2;
	if (u->tcp->tail_total - tf->tail_cap + cap > TCP_TAIL_TOTAL)
		return false;
	data = malloc(cap);
	if (!data)
		return false;
	if (tf->tail_len)
		memcpy(data, (uint8_t *)io->tail + tf->tail_off, tf->tail_len);
	free(io->tail);
	io->tail = data;
	u->tcp->tail_total += cap - tf->tail_cap;
	tf->tail_cap = cap;
	tf->tail_off = 0;
	return true;
}

/*
 * Keeps what lies behind the first @skip bytes of the list; what does not fit is as if it never
 * came. False: the memory went away while it was read.
 */
static bool tail_append(struct user *u, struct flow *f, const struct iovec *iov, uint32_t n,
			uint32_t skip, uint32_t len)
{
	struct tcp_flow *tf = tcp_of(f);
	struct flow_io *io = flow_io(&u->flows, f);
	unsigned int faults = fault_count(u->backend->net);

	if (tf->tail_off + tf->tail_len + len > tf->tail_cap && !tail_grow(u, f, len)) {
		twx_port_drop(u->port, TWX_DROP_LIMIT, len);
		tf->rcv_nxt -= len;
		return true;
	}
	iov_copy_from(iov, n, skip, (uint8_t *)io->tail + tf->tail_off + tf->tail_len, len);
	tf->tail_len += len;
	tf->flags |= TF_WANT_OUT;
	return fault_count(u->backend->net) == faults;
}

/* --- to the socket --- */

static bool error_is_busy(int err)
{
	return err == EAGAIN || err == ENOBUFS || err == ENOMEM || err == EINTR;
}

/* The guest has its own Nagle algorithm. Nothing waits for anything before the second piece. */
static void no_delay(struct tcp_flow *tf, int fd, uint32_t bytes)
{
	int on = 1;

	if (tf->flags & TF_NODELAY || tf->rcv_nxt - bytes == tf->irs + 1)
		return;
	tf->flags |= TF_NODELAY;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

void tcp_gather_flush(struct user *u)
{
	struct tcp_gather *g = &u->tcp->gather;
	struct flow *f = g->flow;
	struct msghdr msg = { .msg_iov = g->iov, .msg_iovlen = g->n };
	uint32_t sent = 0, bytes = g->bytes;
	ssize_t r;

	if (!f)
		return;
	g->flow = NULL;
	no_delay(tcp_of(f), f->fd, bytes);
	if (!tcp_of(f)->tail_len) {
		r = sendmsg(f->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		TWX_TRACE(u->port->trace, TWX_HOP_SENDMSG, u->port->name, bytes, g->n);
		if (r < 0 && !error_is_busy(errno)) {
			if (errno == EFAULT)
				fault_report(u->backend->net, g->iov, g->n);
			tcp_abort(u, f);
			return;
		}
		sent = r > 0 ? (uint32_t)r : 0;
	}
	/* A stream with a hole of zeros in it is worse than one that ends. */
	if (sent < bytes && !tail_append(u, f, g->iov, g->n, sent, bytes - sent))
		tcp_abort(u, f);
}

static int gather_iov(struct tcp_gather *g, const struct tcp_seg *s, uint32_t off)
{
	return user_pkt_iov(s->pkt, off, g->iov + g->n, (int)(TCP_GATHER_IOV - g->n));
}

/* Takes @len bytes from @off of the segment on, which continue the flow at rcv_nxt. */
static void gather_add(struct user *u, struct flow *f, const struct tcp_seg *s, uint32_t off,
		       uint32_t len)
{
	struct tcp_gather *g = &u->tcp->gather;
	uint32_t excess = s->off + s->len - off - len, at = tcp_of(f)->rcv_nxt;
	int n = -E2BIG;

	if (g->flow == f)
		n = gather_iov(g, s, off);
	if (n < 0) {
		/* tcp_burst_end() looks after flows that this aborts; what could not be kept is
		 * a hole in front of this segment */
		tcp_gather_flush(u);
		if (f->fd < 0 || tcp_of(f)->rcv_nxt != at)
			return;
		g->n = g->bytes = 0;
		n = gather_iov(g, s, off);
	}
	if (n < 0) {
		twx_port_drop(u->port, TWX_DROP_TOO_LONG, s->pkt->frame->len);
		return;
	}
	while (excess) { /* beyond the window */
		struct iovec *last = &g->iov[g->n + (uint32_t)n - 1];
		uint32_t cut = (uint32_t)min((size_t)excess, last->iov_len);

		last->iov_len -= cut;
		excess -= cut;
		n -= !last->iov_len;
	}
	g->flow = f;
	g->n += (uint32_t)n;
	g->bytes += len;
	tcp_of(f)->rcv_nxt += len;
}

/* --- the window --- */

static bool arm_writable(struct flow *f)
{
	struct pollfd p = { .fd = f->fd, .events = POLLOUT };

	tcp_of(f)->flags |= TF_WANT_OUT;
	return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT);
}

/* What may be advertised from rcv_nxt on; @low: too little for EPOLLOUT's taste. */
static uint32_t socket_room(struct flow *f, uint32_t *sndbuf, bool *low)
{
	uint32_t mem[SK_MEMINFO_VARS];
	socklen_t len = sizeof(mem);
	uint32_t used, room;

	*low = false;
	*sndbuf = WINDOW_UNKNOWN;
	if (getsockopt(f->fd, SOL_SOCKET, SO_MEMINFO, mem, &len) < 0 ||
	    len <= SK_MEMINFO_WMEM_QUEUED * sizeof(mem[0]))
		return WINDOW_UNKNOWN;
	*sndbuf = mem[SK_MEMINFO_SNDBUF];
	used = mem[SK_MEMINFO_WMEM_QUEUED];
	room = *sndbuf > used ? *sndbuf - used : 0;
	*low = room < used / 2; /* sk_stream_is_writeable() */
	return room - room / 4;
}

void tcp_window(struct user *u, struct flow *f)
{
	struct tcp_flow *tf = tcp_of(f);
	uint32_t left = tf->rcv_edge - tf->rcv_nxt;
	uint32_t room, sndbuf, step;
	bool low;

	if (f->fd < 0 || (tf->flags & TF_GUEST_FIN) || tf->tail_len)
		return;
	if (tf->rcv_full && left >= tf->rcv_full / 2)
		return;
	room = socket_room(f, &sndbuf, &low);
	if (low && arm_writable(f))
		room = socket_room(f, &sndbuf, &low);
	room = min(room, tf->flags & TF_WSCALE ? TCP_WINDOW_MAX : 65535u);
	/* Receiver's silly window avoidance, RFC 9293, 3.8.6.2.2. A window of less than a segment
	 * may be none for the guest, though, and a socket that is writable brings no event. */
	step = min(tcp_mss_max(u, tf), sndbuf / 4);
	if (room < left + step && (left >= step || room < step))
		return;
	tf->rcv_edge = tf->rcv_nxt + room;
	tf->rcv_full = room;
}

/* EPOLLOUT, and something waits for it. */
void tcp_writable(struct user *u, struct flow *f)
{
	struct tcp_flow *tf = tcp_of(f);
	struct flow_io *io = flow_io(&u->flows, f);
	uint32_t edge = tf->rcv_edge;
	ssize_t r;

	if (tf->tail_len) {
		r = send(f->fd, (uint8_t *)io->tail + tf->tail_off, tf->tail_len,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		TWX_TRACE(u->port->trace, TWX_HOP_SENDMSG, u->port->name, tf->tail_len, 0);
		if (r < 0) {
			if (!error_is_busy(errno))
				tcp_abort(u, f);
			return;
		}
		tf->tail_off += (uint32_t)r;
		tf->tail_len -= (uint32_t)r;
		if (tf->tail_len)
			return;
		tail_free(u, f);
	}
	tf->flags &= ~(uint32_t)TF_WANT_OUT;
	if ((tf->flags & TF_GUEST_FIN) && tcp_try_finish(u, f))
		return;
	tf->rcv_full = 0;
	tcp_window(u, f);
	if (tf->rcv_edge != edge)
		tcp_send_ack(u, f);
}

/* --- segments --- */

/* RFC 9293, 3.4; a FIN needs no buffer and may sit on the very edge. */
static bool in_window(const struct tcp_flow *tf, const struct tcp_seg *s)
{
	uint32_t end = s->seq + s->len;

	if (s->len + !!(s->flags & (TCP_FIN | TCP_SYN)) == 0)
		return seq_le(tf->rcv_nxt, s->seq) && seq_le(s->seq, tf->rcv_edge);
	end += !!(s->flags & TCP_FIN) + !!(s->flags & TCP_SYN);
	return seq_lt(tf->rcv_nxt, end) && seq_le(s->seq, tf->rcv_edge);
}

/*
 * The answer that RFC 9293, 3.10.7.4 asks for when a segment is not acceptable. A bare ACK gets it
 * once in a while only (RFC 5961, section 7): two ends that disagree, both of them this stack's,
 * would answer each other for ever.
 */
static void correct(struct user *u, struct tcp_flow *tf, const struct tcp_seg *s)
{
	uint64_t now = twx_loop_now(u->loop);

	if (!s->len && !(s->flags & TCP_FIN)) {
		if (tf->corrected && now - tf->corrected < TCP_CORRECT_NS)
			return;
		tf->corrected = now;
	}
	tf->flags |= TF_ACK_NOW;
}

/* RFC 5961, section 3: only the exact number resets. */
static void handle_rst(struct user *u, struct flow *f, const struct tcp_seg *s)
{
	struct tcp_flow *tf = tcp_of(f);

	if (s->seq == tf->rcv_nxt)
		tcp_abort_host(u, f);
	else if (in_window(tf, s))
		tf->flags |= TF_ACK_NOW;
}

/* How many segments of the wire a frame stands for: so many duplicate ACKs it is worth, up to the
 * three that make the guest send again. */
static uint32_t wire_segments(const struct tcp_seg *s)
{
	uint32_t size = s->pkt->frame->meta.gso ? s->pkt->frame->meta.gso_size : 0;

	return size && s->len > size ? min((s->len + size - 1) / size, 3u) : 1;
}

/* May the ACK of this segment wait for an answer? Not if the guest waits for it: two small
 * segments without an answer between them. */
static bool takes_turns(struct tcp_flow *tf, const struct tcp_seg *s)
{
	bool again = tf->flags & TF_ASKED, large = s->len >= tf->mss;

	tf->flags |= TF_ASKED;
	if (again || large || s->seq != tf->rcv_nxt || tf->flags & (TF_EARLY | TF_GUEST_FIN)) {
		tf->turns = 0;
		return false;
	}
	return tf->turns == TCP_TURNS;
}

static void handle_data(struct user *u, struct flow *f, const struct tcp_seg *s)
{
	struct tcp_flow *tf = tcp_of(f);
	uint32_t skip, len = s->len, room = tf->rcv_edge - tf->rcv_nxt;

	tf->flags |= takes_turns(tf, s) ? TF_ACK_LATE : TF_ACK_NOW;
	if (tf->flags & TF_GUEST_FIN)
		return;
	if (seq_lt(tf->rcv_nxt, s->seq)) {
		/* With SACK one ACK says all. */
		if (!(tf->flags & TF_SACK))
			tf->dup_owed = (uint8_t)min(tf->dup_owed + wire_segments(s), 64u);
		tcp_early(u, f, s);
		return;
	}
	skip = tf->rcv_nxt - s->seq;
	if (skip >= len)
		return;
	len = min(len - skip, room);
	if (len)
		gather_add(u, f, s, s->off + skip, len);
	if (f->fd >= 0 && (tf->flags & TF_EARLY))
		tcp_early_release(u, f);
}

/* The guest's FIN, at @end. */
static void take_fin(struct user *u, struct flow *f, uint32_t end)
{
	struct tcp_flow *tf = tcp_of(f);

	/* Only now is it known whether all that came before it was taken. */
	if (u->tcp->gather.flow == f)
		tcp_gather_flush(u);
	if (f->fd < 0 || (tf->flags & TF_GUEST_FIN))
		return;
	if (end != tf->rcv_nxt) {
		if (seq_lt(tf->rcv_nxt, end)) {
			tf->flags |= TF_EARLY_FIN;
			tf->early_fin = end;
		}
		return;
	}
	tf->rcv_nxt++;
	if (seq_lt(tf->rcv_edge, tf->rcv_nxt))
		tf->rcv_edge = tf->rcv_nxt;
	tf->flags |= TF_GUEST_FIN | TF_ACK_NOW;
}

/* Fields of RFC 9293, 3.10.7.4, fifth; false if the segment ends here. */
static bool handle_ack(struct user *u, struct flow *f, const struct tcp_seg *s)
{
	struct tcp_flow *tf = tcp_of(f);
	uint32_t newest = tf->snd_max + !!(tf->flags & TF_FIN_SENT);

	if (!(s->flags & TCP_ACK))
		return false;
	if (tf->state == TS_SYN_RCVD) {
		if (seq_le(s->ack, tf->iss) || seq_lt(newest, s->ack)) {
			tcp_send_rst_for(u, s);
			return false;
		}
		tf->snd_wl1 = s->seq;
		tf->snd_wl2 = s->ack;
		tf->snd_wnd = (uint32_t)s->wnd << tf->snd_wscale;
		tcp_established(u, f);
	}
	/* RFC 5961, section 5. */
	if (seq_lt(newest, s->ack) || seq_lt(s->ack, tf->snd_una - max(tf->snd_wnd_max, 65535u))) {
		correct(u, tf, s);
		return false;
	}
	tcp_acked(u, f, s);
	return true;
}

/* A segment of a connection whose handshake the guest has seen. */
void tcp_segment(struct user *u, struct flow *f, const struct tcp_seg *s)
{
	struct tcp_flow *tf = tcp_of(f);

	tf->flags |= TF_ALIVE;
	if (s->flags & TCP_RST) {
		handle_rst(u, f, s);
		return;
	}
	if (s->flags & TCP_SYN) {
		/* RFC 5961, section 4; a repeated SYN gets the SYN-ACK again. */
		if (tf->state == TS_SYN_RCVD && s->seq == tf->irs && !(s->flags & TCP_ACK))
			tcp_send_control(u, f, TCP_SYN | TCP_ACK, tf->iss);
		else
			tf->flags |= TF_ACK_NOW;
		return;
	}
	if (!in_window(tf, s)) {
		/* Keep-alives, window probes and everything that was sent twice. */
		correct(u, tf, s);
		return;
	}
	if (!handle_ack(u, f, s))
		return;
	if (s->len)
		handle_data(u, f, s);
	if (s->flags & TCP_FIN)
		take_fin(u, f, s->seq + s->len);
	else if (f->fd >= 0 && (tf->flags & TF_EARLY_FIN) && tf->early_fin == tf->rcv_nxt)
		take_fin(u, f, tf->early_fin);
}
