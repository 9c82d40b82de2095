/* SPDX-License-Identifier: BSD-3-Clause */
/* TCP of the user-mode network: each connection of the guest is spliced to a socket of the host. */

/*
 * Theory of operation
 *
 * There are two TCP connections and no buffer between them: the guest's, whose far end is played
 * here (RFC 9293), and the host kernel's, which is a socket. What one side sends is held by the
 * other side's stack, never by us: data from the guest lies in the socket's send buffer, data for
 * the guest stays in the socket's receive buffer until the guest has acknowledged it.
 *
 * Guest to host (tcp_in.c): the segments of a burst that follow on are gathered, straight from the
 * guest's memory, into one sendmsg(). At the end of the burst comes one ACK for each flow, with a
 * window that is the room in the socket. Should the socket take less than the window promised, the
 * rest is copied into the flow's tail, and goes out with EPOLLOUT.
 *
 * Host to guest (tcp_out.c): a readable socket puts its flow on the ready list; at the end of the
 * loop's round the list is served in turn, a bounded number of frames each: recvmsg(MSG_PEEK) reads
 * behind what is in flight into a lease of guest buffers, one frame of up to 64 KiB with the
 * segment size for the guest's stack. What the guest acknowledges is dropped from the socket by one
 * recv(MSG_TRUNC) for a burst. A lost frame is read from the socket again.
 *
 * So 64 KiB to the guest cost one recvmsg() and a share of one recv() and one epoll_wait(); a burst
 * from the guest costs one sendmsg() and, now and then, one getsockopt() for the window. Sockets
 * are registered once, edge-triggered; no epoll_ctl() on the data path.
 *
 * Where request and answer take turns, the ACK of a small request waits up to 2 ms for the answer
 * to ride on: that saves a frame, and the guest's kernel the work on it, in each round trip.
 *
 * What the tail is for: a stack of this kind can stall itself when the socket takes only a part of
 * what the window had promised, the rest is dropped, and the guest is left to find out by its
 * timer. Here nothing inside the window is given back, unless the tails of all flows have reached
 * their bound. And no window is left shut by a forgotten update: one is owed whenever TF_WANT_OUT
 * is set, EPOLLOUT pays it. Measured of another one, Debian 12's pasta
 * with iperf3 in its namespace (a capture of the link): it advertises 16 MiB whatever the socket
 * has room for; when the socket takes 13,802 bytes of a segment of 61,440, the other 47,638 and
 * the 2.6 MB behind them, which the window had invited, are dropped. Two duplicate ACKs come back,
 * no SACK and not the third one that would make the namespace's kernel send again at once, so it
 * waits 205 ms for its timer, then resends one segment for each ACK, which come 50 ms apart, and
 * meets the next timeout (430 ms, 830 ms) before the hole is closed: 2.8 Gbit/s for a second, then
 * 0 to 20 Mbit/s; 99 segments sent again, 5 timeouts, no fast retransmission.
 *
 * Back-pressure: the port takes every frame. A full socket closes its own flow's window and
 * no other's. When the guest takes no frames (TCP_PUSH_BUSY), flows wait on the ready list, their
 * data in their sockets, until tcp_resume().
 *
 * Timers: one a flow. `deadline` says when something is due; the loop's timer may be armed for an
 * earlier time and is then moved on when it fires, so that pushing a deadline back costs nothing.
 *
 * State: struct tcp_flow is plain data (flow->proto), so are the lists (indices). struct user_tcp
 * holds what lives for a burst, the bounce buffer and bounds.
 *
 * Limits: window 4 MiB (65535 without scaling); flight to the guest 1 MiB, 256 KiB without
 * SO_PEEK_OFF (tcp_hold.c); tails 16 MiB in all, holds as much, and what came early, too; 4096
 * half-open connections; TIME-WAIT 4 s; SYN 5 retries;
 * data 15; one answer in 10 ms to a connection's bare ACKs that do not fit.
 *
 * Left out: timestamps, the guest's selective acknowledgements (it gets ours), congestion control
 * towards the guest (there is no network between; after a loss see tcp_out.c), simultaneous open,
 * the urgent pointer (urgent data is data).
 *
 * Differences from libslirp: no copy in between, so the acknowledgement means "in the host's
 * kernel"; a reset from the host is a reset for the guest even while data waits; segments of
 * unknown flows are reset.
 *
 * RFC 9293, 2018, 5681, 5961, 6298, 6528, 7323 (window scale only).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backends/user/tcp.h"
#include "base/macros.h"

/* --- lists of flows --- */

void tcp_list_del(struct user *u, struct flow *f)
{
	struct tcp_flow *tf = tcp_of(f);
	struct tcp_list *l = &u->tcp->lists[tf->list];
	struct flow *flows = u->flows.flows;

	if (tf->list == TCP_LIST_NONE)
		return;
	if (tf->list_prev)
		tcp_of(&flows[tf->list_prev - 1])->list_next = tf->list_next;
	else
		l->head = tf->list_next;
	if (tf->list_next)
		tcp_of(&flows[tf->list_next - 1])->list_prev = tf->list_prev;
	else
		l->tail = tf->list_prev;
	l->n--;
	tf->list = TCP_LIST_NONE;
	tf->list_next = tf->list_prev = 0;
}

void tcp_list_add(struct user *u, struct flow *f, enum tcp_list_id id)
{
	struct tcp_flow *tf = tcp_of(f);
	struct tcp_list *l = &u->tcp->lists[id];
	uint32_t self = flow_index(&u->flows, f) + 1;

	tf->list = (uint8_t)id;
	tf->list_next = 0;
	tf->list_prev = l->tail;
	if (l->tail)
		tcp_of(&u->flows.flows[l->tail - 1])->list_next = self;
	else
		l->head = self;
	l->tail = self;
	l->n++;
}

void tcp_ready(struct user *u, struct flow *f)
{
	if (tcp_of(f)->list == TCP_LIST_NONE)
		tcp_list_add(u, f, TCP_LIST_READY);
	if (!u->tcp->port_busy)
		twx_loop_defer(u->loop, &u->tcp->task);
}

/* Gives each ready flow one turn. */
static void serve(struct user *u)
{
	struct user_tcp *t = u->tcp;
	struct tcp_list *ready = &t->lists[TCP_LIST_READY];

	user_flush(u); /* ACKs of before must not arrive behind the data */
	for (uint32_t n = ready->n; n && ready->head && !t->port_busy; n--) {
		struct flow *f = &u->flows.flows[ready->head - 1];
		enum tcp_push r;

		tcp_list_del(u, f);
		flow_touch(&u->flows, f, twx_loop_now(u->loop));
		r = tcp_push(u, f);
		if (f->key.kind != FLOW_TCP)
			continue;
		if (r != TCP_PUSH_DONE)
			tcp_list_add(u, f, TCP_LIST_READY);
		t->port_busy = r == TCP_PUSH_BUSY;
		tcp_rearm(u, f);
	}
	user_flush(u);
	if (ready->n && !t->port_busy)
		twx_loop_defer(u->loop, &t->task);
}

static void serve_task(struct twx_task *task)
{
	serve(container_of(task, struct user_tcp, task)->user);
}

void tcp_resume(struct user *u)
{
	u->tcp->port_busy = false;
	if (u->tcp->lists[TCP_LIST_READY].n)
		serve(u);
}

/* --- timers --- */

/* Does the guest owe an acknowledgement of data or of our FIN? */
static bool unacknowledged(const struct tcp_flow *tf)
{
	return tf->state == TS_OPEN && (tf->snd_una != tf->snd_max ||
					(tf->flags & (TF_FIN_SENT | TF_FIN_ACKED)) == TF_FIN_SENT);
}

static uint64_t next_deadline(const struct user *u, const struct tcp_flow *tf)
{
	uint64_t now = twx_loop_now(u->loop);

	switch (tf->state) {
	case TS_CONNECTING:
		return 0; /* the kernel's own */
	case TS_TIME_WAIT:
		return now + TCP_TIME_WAIT_NS;
	case TS_OPEN:
		if (unacknowledged(tf))
			break;
		if (tf->list == TCP_LIST_READY)
			return 0; /* its turn comes */
		if (tf->flags & TF_READABLE || tf->retries)
			break; /* the window is shut, or a probe is out */
		return now + TCP_IDLE_PROBE;
	}
	return now + tcp_rto(tf);
}

void tcp_rearm(struct user *u, struct flow *f)
{
	struct tcp_flow *tf = tcp_of(f);
	struct twx_timer *timer = &flow_io(&u->flows, f)->timer;
	bool wait = unacknowledged(tf);

	/* RFC 6298, 5.1 and 5.3: what the guest sends otherwise does not put it off. */
	if (wait && (tf->flags & TF_TIMED))
		return;
	tf->flags = wait ? tf->flags | TF_TIMED : tf->flags & ~(uint32_t)TF_TIMED;
	tf->deadline = next_deadline(u, tf);
	if (tf->deadline && (!timer->slot || timer->when > tf->deadline))
		twx_timer_set(timer, tf->deadline);
}

void tcp_timer(struct twx_timer *tm)
{
	struct flow *f = flow_of_timer(tm);
	struct user *u = container_of(tm, struct flow_io, timer)->user;
	struct tcp_flow *tf = tcp_of(f);

	if (!tf->deadline)
		return;
	if (twx_loop_now(u->loop) < tf->deadline) {
		twx_timer_set(tm, tf->deadline);
		return;
	}
	switch (tf->state) {
	case TS_SYN_RCVD:
	case TS_SYN_SENT:
		tcp_syn_timeout(u, f);
		break;
	case TS_OPEN:
		tcp_out_timeout(u, f);
		break;
	default:
		tcp_forget(u, f);
	}
}

/* --- the socket --- */

static void open_event(struct user *u, struct flow *f, uint32_t events)
{
	struct tcp_flow *tf = tcp_of(f);

	/* Behind the end of the data no read would tell. */
	if ((events & EPOLLERR) && (tf->flags & TF_EOF)) {
		tcp_abort(u, f);
		return;
	}
	if ((events & EPOLLOUT) && (tf->flags & TF_WANT_OUT)) {
		tcp_writable(u, f);
		if (f->fd < 0)
			return;
	}
	if (tcp_can_push(u, tf))
		tcp_ready(u, f);
	else
		tcp_rearm(u, f);
}

void tcp_event(struct twx_watch *w, uint32_t events)
{
	struct flow *f = flow_of_watch(w);
	struct user *u = container_of(w, struct flow_io, watch)->user;
	struct tcp_flow *tf = tcp_of(f);

	if (tf->state == TS_CONNECTING) {
		if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
			return;
		tcp_connect_done(u, f);
		if (f->fd < 0)
			return;
	}
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI))
		tf->flags |= TF_DRAIN;
	if (events & EPOLLPRI)
		tf->flags |= TF_URGENT;
	if ((events & (EPOLLRDHUP | EPOLLERR)) == EPOLLRDHUP)
		tf->flags |= TF_HUP;
	if ((events & ~(uint32_t)EPOLLOUT) && !(tf->flags & TF_EOF))
		tf->flags |= TF_READABLE;
	if (tf->state == TS_OPEN)
		open_event(u, f, events);
	else if (events & EPOLLERR)
		tcp_abort(u, f); /* gone before the guest has answered */
}

/* --- segments from the guest --- */

void tcp_touch(struct user *u, struct flow *f)
{
	struct user_tcp *t = u->tcp;

	if (tcp_of(f)->flags & TF_TOUCHED)
		return;
	if (t->n_touched == array_size(t->touched))
		tcp_burst_end(u);
	tcp_of(f)->flags |= TF_TOUCHED;
	t->touched[t->n_touched++] = flow_index(&u->flows, f);
}

/* RFC 9293, 3.10.7.1. */
static void no_flow(struct user *u, const struct flow_key *key, const struct tcp_seg *s)
{
	struct sockaddr_storage to;
	socklen_t len;

	orphan_answered(u, key);
	if ((s->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN) {
		tcp_open(u, key, s);
		return;
	}
	/* Nobody answers for a multicast or broadcast address. */
	if (user_map_out(u, &key->peer, key->peer_port, IPPROTO_TCP, &to, &len) == -EADDRNOTAVAIL)
		twx_port_drop(u->port, TWX_DROP_BAD_PACKET, s->pkt->frame->len);
	else
		tcp_send_rst_for(u, s);
}

/* While connect() runs: the guest can only repeat itself or give up. */
static void connecting_segment(struct user *u, struct flow *f, const struct tcp_seg *s)
{
	if ((s->flags & TCP_RST) && s->seq == tcp_of(f)->rcv_nxt)
		tcp_abort_host(u, f);
}

/* RFC 9293, 3.10.7.3. */
static void syn_sent_segment(struct user *u, struct flow *f, const struct tcp_seg *s)
{
	struct tcp_flow *tf = tcp_of(f);

	if ((s->flags & TCP_ACK) && s->ack != tf->iss + 1) {
		tcp_send_rst_for(u, s);
		return;
	}
	if (!(s->flags & TCP_ACK))
		return;
	if (s->flags & TCP_RST) {
		tcp_abort_host(u, f);
		return;
	}
	if (!(s->flags & TCP_SYN))
		return;
	tf->irs = s->seq;
	tf->rcv_nxt = s->seq + 1;
	tf->rcv_edge = tf->rcv_nxt;
	tf->rcv_full = 0;
	tf->snd_wnd = s->wnd;
	tf->snd_wl1 = s->seq;
	tf->snd_wl2 = s->ack;
	tcp_take_options(u, tf, s);
	tcp_established(u, f);
	tf->flags |= TF_ACK_NOW;
	tcp_touch(u, f);
}

static void time_wait_segment(struct user *u, struct flow *f, const struct tcp_seg *s)
{
	struct tcp_flow *tf = tcp_of(f);

	if (s->flags & TCP_RST)
		return; /* RFC 1337 */
	/* The port is used again: RFC 1122, 4.2.2.13. */
	if ((s->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN && seq_lt(tf->rcv_nxt, s->seq)) {
		struct flow_key key = f->key;

		tcp_forget(u, f);
		tcp_open(u, &key, s);
		return;
	}
	/* RFC 9293, 3.10.7.4: what is answered is the guest's FIN, sent again. An ACK for an ACK
	 * would have two ends in this state talk to each other for ever. */
	if (!s->len && !(s->flags & (TCP_SYN | TCP_FIN)))
		return;
	tcp_rearm(u, f);
	tf->flags |= TF_ACK_NOW;
	tcp_touch(u, f);
}

void tcp_input(struct user *u, const struct user_pkt *p)
{
	struct flow_key key = { .guest = p->src, .peer = p->dst, .kind = FLOW_TCP };
	struct tcp_seg s;
	struct flow *f;

	if (!tcp_seg_parse(&s, p) || !user_pkt_csum_ok(p)) {
		twx_port_drop(u->port, TWX_DROP_BAD_PACKET, p->frame->len);
		return;
	}
	key.guest_port = user_get16(p->l4);
	key.peer_port = user_get16(p->l4 + 2);
	f = flow_find(&u->flows, &key);
	TWX_TRACE(u->port->trace, TWX_HOP_USER_TCP, u->port->name, s.len, s.flags);
	if (!f) {
		no_flow(u, &key, &s);
		return;
	}
	switch (tcp_of(f)->state) {
	case TS_CONNECTING:
		connecting_segment(u, f, &s);
		break;
	case TS_SYN_SENT:
		syn_sent_segment(u, f, &s);
		break;
	case TS_TIME_WAIT:
		time_wait_segment(u, f, &s);
		break;
	default:
		tcp_touch(u, f);
		tcp_segment(u, f, &s);
	}
}

/* Those whose answer did not come in time. */
static void late_timeout(struct twx_timer *timer)
{
	struct user_tcp *t = container_of(timer, struct user_tcp, late_timer);
	struct user *u = t->user;

	for (uint32_t i = 0; i < t->n_late; i++) {
		struct flow *f = &u->flows.flows[t->late[i]];
		struct tcp_flow *tf = tcp_of(f);

		if (f->key.kind != FLOW_TCP || !(tf->flags & TF_LATE))
			continue;
		tf->flags &= ~(uint32_t)TF_LATE;
		if (!(tf->flags & TF_ACK_LATE))
			continue;
		tf->turns = 0; /* slower than it looked */
		tcp_window(u, f);
		tcp_send_ack(u, f);
	}
	t->n_late = 0;
}

/* Lets the flow's ACK wait; false if it cannot. */
static bool ack_late(struct user *u, struct flow *f)
{
	struct tcp_flow *tf = tcp_of(f);
	struct user_tcp *t = u->tcp;

	if (tf->state != TS_OPEN)
		return false;
	if (tf->flags & TF_LATE)
		return true;
	if (t->n_late == TCP_LATE_MAX)
		return false;
	if (!t->n_late)
		twx_timer_set(&t->late_timer, twx_loop_now(u->loop) + TCP_LATE_NS);
	t->late[t->n_late++] = flow_index(&u->flows, f);
	tf->flags |= TF_LATE;
	return true;
}

/* ACKs that the burst owes, and what the burst has made possible. */
static void flow_burst_end(struct user *u, struct flow *f)
{
	struct tcp_flow *tf = tcp_of(f);

	tf->flags &= ~(uint32_t)TF_TOUCHED;
	if ((tf->flags & (TF_ACK_NOW | TF_ACK_LATE)) == TF_ACK_LATE && !ack_late(u, f))
		tf->flags |= TF_ACK_NOW;
	if (tf->flags & TF_ACK_NOW) {
		tcp_window(u, f);
		for (uint32_t n = max(tf->dup_owed, (uint8_t)1); n; n--)
			tcp_send_ack(u, f);
		tf->dup_owed = 0;
	}
	if (tf->state != TS_OPEN)
		return;
	flow_touch(&u->flows, f, twx_loop_now(u->loop));
	if (tf->snd_una != tf->snd_base)
		tcp_trim(u, f);
	if (tcp_try_finish(u, f))
		return;
	if (tcp_can_push(u, tf))
		tcp_ready(u, f);
	else
		tcp_rearm(u, f);
}

void tcp_burst_end(struct user *u)
{
	struct user_tcp *t = u->tcp;

	tcp_gather_flush(u);
	for (uint32_t i = 0; i < t->n_touched; i++) {
		struct flow *f = &u->flows.flows[t->touched[i]];

		/* It may have ended in between, and its slot begun again. */
		if (f->key.kind == FLOW_TCP && (tcp_of(f)->flags & TF_TOUCHED))
			flow_burst_end(u, f);
	}
	t->n_touched = 0;
}

/* --- beginning and end --- */

static bool peek_off_works(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), off = 0;
	bool works = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off)) == 0;

	if (fd >= 0)
		close(fd);
	return works;
}

int tcp_init(struct user *u, struct twx_error *e)
{
	struct user_tcp *t;

	if (u->cfg.peek_off < 0)
		u->cfg.peek_off = peek_off_works();
	else if (u->cfg.peek_off && !peek_off_works())
		return twx_error_set(e, EOPNOTSUPP,
				     "netdev %s: this kernel has no SO_PEEK_OFF for TCP",
				     u->backend->id);
	t = calloc(1, sizeof(*t));
	if (!t)
		return twx_error_set(e, ENOMEM, "netdev %s: out of memory", u->backend->id);
	t->user = u;
	t->task.fn = serve_task;
	t->max_flight = TCP_FLIGHT_MAX;
	twx_timer_init(&t->late_timer, u->loop, late_timeout);
	u->tcp = t;
	return 0;
}

void tcp_fini(struct user *u)
{
	struct flow *f;

	if (!u->tcp)
		return;
	while ((f = flow_oldest(&u->flows, FLOW_TCP)))
		tcp_abort(u, f);
	twx_loop_undefer(u->loop, &u->tcp->task);
	twx_timer_cancel(&u->tcp->late_timer);
	tcp_hold_fini(u);
	free(u->tcp->bounce);
	free(u->tcp);
	u->tcp = NULL;
}
