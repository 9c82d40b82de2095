/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TCP, host to guest, on kernels that cannot look ahead in a socket (no SO_PEEK_OFF before 6.9).
 *
 * Without it a look behind what is in flight copies all of that again: with 256 KiB in flight and
 * reads of 64 KiB, four bytes of every five were copied for nothing. So once a second frame is sent
 * before the first is acknowledged, the flow's bytes are taken out of the socket into a ring, a
 * "hold", from which frames are made and sent again, and out of which the guest's acknowledgements
 * drop them. A hold begins at snd_base like the socket's queue did; behind its end the socket goes
 * on. It takes the bytes in flight with it when it is made.
 *
 * Holds are numbered, so that struct tcp_flow stays plain data. There are TCP_HOLDS of them, 16 MiB
 * in all, made when first needed; an empty one goes to the next flow that asks. A flow that gets
 * none looks ahead the old way, in tcp_out.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "backends/user/tcp.h"
#include "base/macros.h"

struct tcp_hold {
	uint32_t flow;	  /* index + 1; 0: nobody's */
	uint32_t at, len; /* of the byte snd_base, and how many there are */
	uint8_t data[TCP_HOLD_LEN];
};

/* An unused one, a new one, or one whose flow has all its bytes at the guest. */
static uint32_t hold_find(struct user *u)
{
	struct tcp_hold **holds = u->tcp->holds;
	uint32_t found = TCP_HOLDS;

	for (uint32_t i = 0; i < TCP_HOLDS; i++) {
		if (holds[i] && !holds[i]->flow)
			return i;
		if (!holds[i]) {
			holds[i] = malloc(sizeof(*holds[i]));
			if (!holds[i])
				return found;
			holds[i]->flow = 0;
			return i;
		}
		if (!holds[i]->len)
			found = i;
	}
	return found;
}

bool tcp_hold_get(struct user *u, struct flow *f)
{
	struct tcp_flow *tf = tcp_of(f);
	struct tcp_hold *h;
	uint32_t i;

	if (tf->hold)
		return true;
	if (tf->flags & TF_PEEK_OFF || tf->snd_nxt == tf->snd_base)
		return false;
	i = hold_find(u);
	if (i == TCP_HOLDS)
		return false;
	h = u->tcp->holds[i];
	if (h->flow)
		tcp_of(&u->flows.flows[h->flow - 1])->hold = 0;
	h->flow = flow_index(&u->flows, f) + 1;
	h->at = h->len = 0;
	tf->hold = (uint8_t)(i + 1);
	return true;
}

/* @len bytes from @off on behind the beginning, in one or two pieces. */
static int hold_pieces(struct tcp_hold *h, uint32_t off, uint32_t len, struct iovec iov[2])
{
	uint32_t at = (h->at + off) % TCP_HOLD_LEN, first = min(len, TCP_HOLD_LEN - at);

	iov[0] = (struct iovec){ h->data + at, first };
	iov[1] = (struct iovec){ h->data, len - first };
	return len > first ? 2 : 1;
}

ssize_t tcp_hold_read(struct user *u, struct flow *f, uint32_t want, struct iovec out[2],
		      int *n_out)
{
	struct tcp_flow *tf = tcp_of(f);
	struct tcp_hold *h = u->tcp->holds[tf->hold - 1];
	uint32_t off = tf->snd_nxt - tf->snd_base, end = min(off + want, (uint32_t)TCP_HOLD_LEN);

	/* A short result says that the socket is empty. Once more when all was in flight already.
	 */
	while (h->len < end) {
		struct iovec iov[2];
		struct msghdr msg = { .msg_iov = iov };
		bool short_of = h->len <= off;
		ssize_t r;

		msg.msg_iovlen = (size_t)hold_pieces(h, h->len, end - h->len, iov);
		r = recvmsg(f->fd, &msg, MSG_DONTWAIT);
		TWX_TRACE(u->port->trace, TWX_HOP_RECVMSG, u->port->name, max(r, (ssize_t)0), 0);
		if (r <= 0 && short_of)
			return r ? -errno : 0;
		if (r > 0)
			h->len += (uint32_t)r;
		if (h->len > off)
			break;
	}
	if (end <= off)
		return -EAGAIN;
	end = min(end, h->len);
	*n_out = hold_pieces(h, off, end - off, out);
	return (ssize_t)(end - off);
}

bool tcp_hold_drop(struct user *u, struct tcp_flow *tf)
{
	struct tcp_hold *h = tf->hold ? u->tcp->holds[tf->hold - 1] : NULL;
	uint32_t n;

	if (!h || !h->len)
		return false;
	n = min(tf->snd_una - tf->snd_base, h->len);
	h->at = (h->at + n) % TCP_HOLD_LEN;
	h->len -= n;
	tf->snd_base += n;
	return true;
}

void tcp_hold_put(struct user *u, struct tcp_flow *tf)
{
	if (tf->hold)
		u->tcp->holds[tf->hold - 1]->flow = 0;
	tf->hold = 0;
}

void tcp_hold_fini(struct user *u)
{
	for (uint32_t i = 0; i < TCP_HOLDS; i++)
		free(u->tcp->holds[i]);
}
