/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TCP connections: how they begin on either side and how they end.
 *
 * From the guest: its SYN makes a flow and a non-blocking connect(); the SYN-ACK goes out only when
 * the host has answered, so that a refusal is a refusal for the guest too. From the host: an
 * accepted socket makes a flow and a SYN to the guest. Until the handshake is over a flow is on the
 * half-open list, which is bounded: the oldest makes room.
 *
 * The end: each direction closes by itself (shutdown() after the guest's FIN and all that came
 * before it; FIN to the guest when the socket's data ends). When both are closed and acknowledged
 * the socket is closed; if ours was the first FIN, the flow stays for a short TIME-WAIT to repeat
 * the last ACK. Resets are mirrored: the socket is closed with a linger time of 0, which makes the
 * kernel send one.
 *
 * A full table: TIME-WAIT goes first, then what is half-closed and quiet, then what is long idle;
 * otherwise the new connection is not taken.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backends/user/tcp.h"
#include "base/endian.h"
#include "base/macros.h"

#define TCP_EVENTS (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET)
#define EVICT_LOOK 64 /* how many of the least recently used are considered */

/* --- making room --- */

static bool may_evict(struct flow *f, uint64_t now)
{
	const struct tcp_flow *tf = tcp_of(f);
	uint64_t idle = now - f->last_used;

	if (tf->state == TS_TIME_WAIT)
		return true;
	if (tf->state != TS_OPEN)
		return false; /* the half-open list has its own bound */
	return idle >
	       (tf->flags & (TF_GUEST_FIN | TF_EOF) ? TCP_EVICT_HALF_CLOSED : TCP_EVICT_IDLE);
}

static bool evict(struct user *u)
{
	struct flow_table *t = &u->flows;
	struct flow *f = flow_oldest(t, FLOW_TCP);
	uint64_t now = twx_loop_now(u->loop);

	for (int i = 0; f && i < EVICT_LOOK; i++) {
		if (may_evict(f, now)) {
			twx_port_drop(u->port, TWX_DROP_LIMIT, 0);
			tcp_abort(u, f);
			return true;
		}
		f = f->lru_next ? &t->flows[f->lru_next - 1] : NULL;
	}
	return false;
}

/* RFC 6528: a clock of 4 us plus a keyed hash of the connection. */
static uint32_t initial_seq(struct user *u, const struct flow_key *key)
{
	return (uint32_t)flow_hash(&u->flows, key, sizeof(*key)) +
	       (uint32_t)(twx_loop_now(u->loop) / 4000);
}

/* A half-open flow; null if there is no room. */
static struct flow *flow_make(struct user *u, const struct flow_key *key, enum tcp_state state)
{
	struct tcp_list *half = &u->tcp->lists[TCP_LIST_HALF_OPEN];
	uint64_t now = twx_loop_now(u->loop);
	struct tcp_flow *tf;
	struct flow *f;

	if (half->n >= TCP_HALF_OPEN_MAX) {
		f = &u->flows.flows[half->head - 1];
		twx_port_drop(u->port, TWX_DROP_LIMIT, 0);
		tcp_abort_host(u, f);
	}
	f = flow_new(&u->flows, key, now);
	if (!f && evict(u))
		f = flow_new(&u->flows, key, now);
	if (!f)
		return NULL;
	tf = tcp_of(f);
	tf->state = (uint8_t)state;
	tf->hdr_len = (uint8_t)(USER_ETH_LEN + user_ip_len(&key->guest) + TCP_HDR_LEN);
	tf->iss = tf->snd_una = initial_seq(u, key);
	tf->snd_base = tf->snd_nxt = tf->snd_max = tf->iss + 1;
	twx_timer_init(&flow_io(&u->flows, f)->timer, u->loop, tcp_timer);
	tcp_list_add(u, f, TCP_LIST_HALF_OPEN);
	return f;
}

static void setup_socket(struct user *u, struct flow *f)
{
	int on = 1;

	/* What only a longer connection needs is set once it is one: SO_PEEK_OFF, SO_KEEPALIVE
	 * (tcp_out.c), TCP_NODELAY (tcp_in.c). */
	setsockopt(f->fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
	if (!u->cfg.peek_off)
		tcp_of(f)->flags |= TF_PEEK_ASKED;
}

void tcp_take_options(struct user *u, struct tcp_flow *tf, const struct tcp_seg *s)
{
	uint32_t mss = min((uint32_t)s->mss, tcp_mss_max(u, tf));

	tf->mss = (uint16_t)max(mss, (uint32_t)TCP_MSS_MIN);
	tf->read_hint = max((uint32_t)tf->mss, 16384u);
	tf->flags &= ~(uint32_t)(TF_WSCALE | TF_SACK);
	if (s->sack)
		tf->flags |= TF_SACK;
	if (s->has_wscale) {
		tf->flags |= TF_WSCALE;
		tf->snd_wscale = s->wscale;
		tf->rcv_wscale = TCP_WSCALE;
	}
}

/* --- from the guest --- */

/* The host says no: the guest hears the same. */
static void connect_failed(struct user *u, struct flow *f, int err)
{
	switch (err) {
	case ENETUNREACH:
	case EHOSTUNREACH:
	case ENETDOWN:
	case EHOSTDOWN:
	case EACCES:
	case EPERM:
	case EAFNOSUPPORT: /* a host without IPv6, or without an address of it */
	case EADDRNOTAVAIL:
		tcp_send_unreachable(u, f, err);
		break;
	case ECONNREFUSED:
	case ECONNRESET:
		tcp_send_control(u, f, TCP_RST | TCP_ACK, 0);
		break;
	case EMFILE:
	case ENFILE:
		twx_log(u->backend->net, TWX_LOG_WARNING,
			"netdev %s: no descriptor is left for a connection of the guest, of which "
			"there "
			"are %u: raise the limit (ulimit -n, LimitNOFILE=)",
			u->backend->id, u->flows.count[FLOW_TCP]);
		/* fall through */
	default:
		/* Nobody answered, or this host is short of something: the guest tries again. */
		twx_port_drop(u->port, TWX_DROP_HOST_ERROR, 0);
	}
	tcp_forget(u, f);
}

/* A place where a connection of the guest can go. */
struct target {
	struct guestfwd *fwd; /* of guestfwd=, or */
	bool dns;	      /* the forwarder, or */
	struct sockaddr_storage to;
	socklen_t len;
};

/* 0, or why not, as user_map_out() has it. */
static int find_target(struct user *u, const struct flow_key *key, struct target *t)
{
	int err;

	t->fwd = guestfwd_find(u, &key->peer, key->peer_port);
	t->dns = !t->fwd && !u->cfg.no_dns && key->peer_port == 53 && user_is_dns(u, &key->peer);
	if (t->fwd)
		return 0;
	if (t->dns)
		return u->cfg.restricted ? -EACCES : 0;
	err = user_map_out(u, &key->peer, key->peer_port, IPPROTO_TCP, &t->to, &t->len);
	return err ? err : user_may_go(u, &key->peer, key->peer_port, IPPROTO_TCP);
}

static int start_connect(struct user *u, struct flow *f, const struct target *t)
{
	const struct sockaddr *to = (const struct sockaddr *)&t->to;
	int err = 0, fd;

	if (t->fwd || t->dns) {
		fd = t->fwd ? guestfwd_connect(t->fwd) : dns_tcp_connect(u, &f->key.peer);
	} else {
		fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		fd = fd < 0 ? -errno : fd;
	}
	if (fd < 0)
		return fd;
	f->fd = fd;
	setup_socket(u, f);
	if (!t->fwd && !t->dns) {
		err = sock_outbound(u, fd, to);
		if (!err && connect(fd, to, t->len) < 0 && errno != EINPROGRESS)
			err = -errno;
	}
	if (err)
		return err;
	return twx_watch_add(&flow_io(&u->flows, f)->watch, u->loop, f->fd, TCP_EVENTS, tcp_event);
}

void tcp_open(struct user *u, const struct flow_key *key, const struct tcp_seg *s)
{
	struct target t = { 0 };
	struct tcp_flow *tf;
	struct flow *f;
	int err = find_target(u, key, &t);

	if (err == -ECONNREFUSED) {
		tcp_send_rst_for(u, s);
		return;
	}
	if (err) {
		user_refuse(u, s->pkt, err);
		return;
	}
	f = flow_make(u, key, TS_CONNECTING);
	if (!f) {
		twx_port_drop(u->port, TWX_DROP_LIMIT, s->pkt->frame->len);
		return;
	}
	tf = tcp_of(f);
	tf->irs = s->seq;
	tf->rcv_nxt = tf->rcv_edge = s->seq + 1;
	tf->snd_wnd = tf->snd_wnd_max = s->wnd;
	tcp_take_options(u, tf, s);
	err = start_connect(u, f, &t);
	if (err)
		connect_failed(u, f, -err);
}

/* connect() has come to an end. */
void tcp_connect_done(struct user *u, struct flow *f)
{
	struct tcp_flow *tf = tcp_of(f);
	socklen_t len = sizeof(int);
	int err = 0;

	if (getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	if (err) {
		connect_failed(u, f, err);
		return;
	}
	tf->state = TS_SYN_RCVD;
	tcp_window(u, f);
	tcp_send_control(u, f, TCP_SYN | TCP_ACK, tf->iss);
	tcp_rearm(u, f);
}

/* --- from the host --- */

static void close_with_reset(int fd)
{
	struct linger now = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

static struct flow *accepted_flow(struct user *u, const struct flow_key *key)
{
	struct flow *f = flow_find(&u->flows, key);

	if (f && tcp_of(f)->state != TS_TIME_WAIT)
		return NULL;
	if (f)
		tcp_forget(u, f);
	return flow_make(u, key, TS_SYN_SENT);
}

void tcp_from_host_take(struct user *u, int fd, const struct in6_addr *from, uint16_t from_port,
			const struct in6_addr *guest, uint16_t guest_port)
{
	struct flow_key key = { .guest = *guest,
				.peer = *from,
				.guest_port = guest_port,
				.peer_port = from_port,
				.kind = FLOW_TCP };
	struct flow *f = accepted_flow(u, &key);

	if (!f) {
		twx_port_drop(u->port, TWX_DROP_LIMIT, 0);
		close_with_reset(fd);
		return;
	}
	f->fd = fd;
	setup_socket(u, f);
	tcp_of(f)->flags |= TF_WSCALE | TF_SACK;
	if (twx_watch_add(&flow_io(&u->flows, f)->watch, u->loop, fd, TCP_EVENTS, tcp_event)) {
		tcp_abort_host(u, f);
		return;
	}
	tcp_window(u, f);
	tcp_send_control(u, f, TCP_SYN, tcp_of(f)->iss);
	tcp_rearm(u, f);
}

/* --- both --- */

void tcp_established(struct user *u, struct flow *f)
{
	struct tcp_flow *tf = tcp_of(f);

	tcp_list_del(u, f);
	tf->state = TS_OPEN;
	tf->retries = 0;
	tf->snd_una = tf->iss + 1;
	tf->snd_wnd_max = tf->snd_wnd;
	orphan_record(u, f);
}

void tcp_syn_timeout(struct user *u, struct flow *f)
{
	struct tcp_flow *tf = tcp_of(f);
	uint8_t flags = tf->state == TS_SYN_SENT ? TCP_SYN : TCP_SYN | TCP_ACK;

	if (++tf->retries > TCP_SYN_RETRIES) {
		tcp_abort(u, f);
		return;
	}
	tcp_send_control(u, f, flags, tf->iss);
	tcp_rearm(u, f);
}

void tcp_forget(struct user *u, struct flow *f)
{
	struct user_tcp *t = u->tcp;

	tcp_list_del(u, f);
	if (t->gather.flow == f)
		t->gather.flow = NULL;
	t->tail_total -= tcp_of(f)->tail_cap;
	tcp_hold_put(u, tcp_of(f));
	tcp_early_free(u, f);
	orphan_wipe(u, f);
	flow_free(&u->flows, f);
}

void tcp_abort_host(struct user *u, struct flow *f)
{
	int fd = f->fd;

	if (fd >= 0) {
		twx_watch_del(&flow_io(&u->flows, f)->watch);
		f->fd = -1;
		close_with_reset(fd);
	}
	tcp_forget(u, f);
}

void tcp_abort(struct user *u, struct flow *f)
{
	struct tcp_flow *tf = tcp_of(f);

	if (tf->state == TS_CONNECTING)
		tcp_send_control(u, f, TCP_RST | TCP_ACK, 0);
	else if (tf->state != TS_TIME_WAIT)
		tcp_send_control(u, f, TCP_RST | TCP_ACK,
				 tf->snd_max + !!(tf->flags & TF_FIN_SENT));
	tcp_abort_host(u, f);
}

static void enter_time_wait(struct user *u, struct flow *f)
{
	struct tcp_flow *tf = tcp_of(f);

	twx_watch_del(&flow_io(&u->flows, f)->watch);
	close(f->fd);
	f->fd = -1;
	tcp_list_del(u, f);
	tf->state = TS_TIME_WAIT;
	tf->rcv_edge = tf->rcv_nxt;
	flow_retire(&u->flows, f);
	tcp_rearm(u, f);
}

bool tcp_try_finish(struct user *u, struct flow *f)
{
	struct tcp_flow *tf = tcp_of(f);

	if ((tf->flags & (TF_GUEST_FIN | TF_SHUT)) == TF_GUEST_FIN && !tf->tail_len) {
		shutdown(f->fd, SHUT_WR);
		tf->flags |= TF_SHUT;
	}
	if ((tf->flags & (TF_SHUT | TF_FIN_ACKED)) != (TF_SHUT | TF_FIN_ACKED))
		return false;
	/* Unread bytes would make the kernel reset the connection. */
	if (tf->snd_una != tf->snd_base)
		tcp_trim(u, f);
	if (tf->flags & TF_WE_CLOSED_FIRST)
		enter_time_wait(u, f);
	else
		tcp_forget(u, f);
	return true;
}
