/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A frame a datagram, a burst a system call.
 *
 * Out: sendmmsg() with the pieces of each frame as they are. A frame that the socket refuses is
 * dropped and counted (too large, memory that is gone); when nobody is there to receive, so is the
 * rest of the burst, after one attempt to connect again where the socket is connected. A full
 * socket makes the port busy until EPOLLOUT.
 *
 * In: recvmmsg() into TWX_BURST slots, each for the largest frame; pages that no frame has needed
 * are never touched. What the peer does not take stays there, and the socket is not read until
 * resume(). READS bursts per event, so that one sender does not hold the loop.
 *
 * Datagrams come from anybody who can reach the socket: too long, too short or empty ones are
 * dropped and counted. Errors that the network reports (ICMP) pass with the read that shows them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/sock/dgram.h"
#include "base/macros.h"
#include "net/fault.h"

#define READS 4
#define MAX_ERRORS 64 /* reads that fail in a row; then nothing will come any more */
#define UDP_MAX 65507 /* RFC 768 with an IPv4 header of 20 bytes */

_Static_assert(DGRAM_SLOT % 64 == 0 && DGRAM_SLOT / 64 % 2 == 1,
	       "slots begin in different sets of a cache");

static void dgram_watch(struct dgram *d)
{
	bool own = d->out != d->in;
	uint32_t in = d->reading ? EPOLLIN | EPOLLRDHUP : 0u, out = d->blocked ? EPOLLOUT : 0u;

	if (d->watch.loop)
		twx_watch_set(&d->watch, own ? in : in | out);
	if (own && d->out_watch.loop)
		twx_watch_set(&d->out_watch, out);
}

/* The watch that tells of room for what is sent. */
static struct twx_watch *dgram_out_watch(struct dgram *d)
{
	return d->out == d->in ? &d->watch : &d->out_watch;
}

static void dgram_drop(struct dgram *d, enum twx_drop cause, const struct twx_frame *frames, int n)
{
	int i;

	for (i = 0; i < n; i++)
		twx_port_drop(d->port, cause, frames[i].len);
}

/* --- out --- */

/*
 * After an error for the first of @n frames: how many of them are done with, -EAGAIN when the
 * socket is full. *@tries: how often it may still be connected anew.
 */
static int dgram_send_failed(struct dgram *d, const struct twx_frame *frames, int n, int *tries)
{
	switch (errno) {
	case EAGAIN:
		if (!dgram_out_watch(d)->loop) /* nothing would say that there is room */
			break;
		d->blocked = true;
		dgram_watch(d);
		return -EAGAIN;
	case EINTR:
		return 0;
	case EFAULT:
		fault_report(d->backend->net, frames[0].iov, frames[0].n_iov);
		n = 1;
		break;
	case EMSGSIZE:
	case ENOBUFS:
	case ENOMEM:
		n = 1;
		break;
	default:
		/* An error of an earlier datagram may be told now; a peer may have come, or come
		 * back. */
		if ((*tries)-- > 0 && (!d->link || !dgram_link(d)))
			return 0;
		break;
	}
	dgram_drop(d, TWX_DROP_HOST_ERROR, frames, n);
	return n;
}

int dgram_receive(struct dgram *d, const struct twx_frame *frames, int n)
{
	int done = 0, tries = 1, i, k;

	if (d->blocked)
		return 0;
	for (i = 0; i < n; i++) {
		d->tx[i].msg_hdr.msg_iov = (struct iovec *)frames[i].iov;
		d->tx[i].msg_hdr.msg_iovlen = frames[i].n_iov;
	}
	TWX_TRACE(d->port->trace, TWX_HOP_SENDMSG, d->port->name, frames[0].len, n);
	while (done < n) {
		k = sendmmsg(d->out, d->tx + done, (unsigned int)(n - done),
			     MSG_DONTWAIT | MSG_NOSIGNAL);
		if (k < 0)
			k = dgram_send_failed(d, frames + done, n - done, &tries);
		if (k < 0)
			break;
		done += k;
	}
	return done;
}

static void dgram_writable(struct dgram *d)
{
	d->blocked = false;
	dgram_watch(d);
	twx_port_ready(d->port);
}

/* --- in --- */

static void dgram_gone(struct dgram *d, const char *why)
{
	d->reading = false;
	twx_watch_del(&d->watch);
	twx_log(d->backend->net, TWX_LOG_ERROR, "netdev %s: nothing can be received any more: %s",
		d->backend->id, why);
	if (d->blocked && d->out == d->in) {
		/* Frames are taken again, and dropped if need be. */
		d->blocked = false;
		twx_port_ready(d->port);
	}
}

static bool dgram_is_own(const struct dgram *d, int i)
{
	const struct sockaddr_in *self = (const struct sockaddr_in *)&d->self.ss;
	const struct sockaddr_in *from = (const struct sockaddr_in *)&d->from[i].ss;

	return d->group && d->self.len && from->sin_family == AF_INET &&
	       from->sin_port == self->sin_port && from->sin_addr.s_addr == self->sin_addr.s_addr;
}

/* Datagrams that have come, made into frames. */
static void dgram_take(struct dgram *d, int n)
{
	int i;

	for (i = 0; i < n; i++) {
		uint32_t len = d->rx[i].msg_len;
		struct iovec *iov = &d->iov[d->n];

		if (unlikely(dgram_is_own(d, i)))
			continue;
		if (unlikely(d->rx[i].msg_hdr.msg_flags & MSG_TRUNC)) {
			twx_port_drop(d->port, TWX_DROP_TOO_LONG, len);
			continue;
		}
		*iov = (struct iovec){ d->room[i].iov_base, len };
		d->frames[d->n++] = (struct twx_frame){ .iov = iov, .n_iov = 1, .len = len };
	}
}

/* An error that the network reports is gone when it was read; one that stays ends the reading. */
static bool dgram_read_failed(struct dgram *d)
{
	if (errno == EAGAIN)
		d->n_errors = 0;
	if (errno == EAGAIN || errno == EINTR)
		return false;
	if (++d->n_errors < MAX_ERRORS)
		return true;
	dgram_gone(d, strerror(errno));
	return false;
}

/* One read of a burst. True if there may be more. */
static bool dgram_read(struct dgram *d)
{
	int n, i;

	for (i = 0; d->group && i < TWX_BURST; i++)
		d->rx[i].msg_hdr.msg_namelen = sizeof(d->from[i].ss);
	n = recvmmsg(d->in, d->rx, TWX_BURST, MSG_DONTWAIT, NULL);
	if (n < 0)
		return dgram_read_failed(d);
	d->n_errors = 0;
	dgram_take(d, n);
	TWX_TRACE(d->port->trace, TWX_HOP_RECVMSG, d->port->name, d->rx[0].msg_len, n);
	return n == TWX_BURST;
}

/* Hands on what was read; true when all of it is done. The rest waits for resume(). */
static bool dgram_deliver(struct dgram *d)
{
	if (d->first < d->n)
		d->first += twx_port_send(d->port, d->frames + d->first, d->n - d->first);
	if (unlikely(d->first < d->n)) {
		d->reading = false;
		dgram_watch(d);
		return false;
	}
	d->first = d->n = 0;
	return true;
}

static void dgram_readable(struct dgram *d)
{
	bool more = true;
	int left;

	for (left = READS; left > 0 && more; left--) {
		more = dgram_read(d);
		if (!dgram_deliver(d))
			return;
	}
}

void dgram_resume(struct dgram *d)
{
	if (d->reading || !d->watch.loop || !dgram_deliver(d))
		return;
	d->reading = true;
	dgram_watch(d);
}

static void dgram_event(struct twx_watch *w, uint32_t events)
{
	struct dgram *d = container_of(w, struct dgram, watch);

	if (d->blocked && d->out == d->in && events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
		dgram_writable(d);
	if (d->reading && events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		dgram_readable(d);
	/* Somebody has shut down a socket that we share with him. */
	if (d->reading && events & (EPOLLRDHUP | EPOLLHUP))
		dgram_gone(d, "the socket was shut down");
}

static void dgram_out_event(struct twx_watch *w, uint32_t events)
{
	struct dgram *d = container_of(w, struct dgram, out_watch);

	if (d->blocked)
		dgram_writable(d);
}

/* --- life --- */

static int dgram_alloc(struct dgram *d, struct twx_error *e)
{
	int i;

	d->slots = malloc((size_t)TWX_BURST * DGRAM_SLOT);
	if (!d->slots)
		return twx_error_set(e, ENOMEM, "out of memory");
	for (i = 0; i < TWX_BURST; i++) {
		d->room[i] = (struct iovec){ d->slots + (size_t)i * DGRAM_SLOT, TWX_FRAME_MAX };
		d->rx[i].msg_hdr.msg_iov = &d->room[i];
		d->rx[i].msg_hdr.msg_iovlen = 1;
		if (d->group)
			d->rx[i].msg_hdr.msg_name = &d->from[i].ss;
		if (d->to.len && !d->link) {
			d->tx[i].msg_hdr.msg_name = &d->to.ss;
			d->tx[i].msg_hdr.msg_namelen = d->to.len;
		}
	}
	return 0;
}

int dgram_start(struct dgram *d, struct twx_error *e)
{
	struct twx_loop *loop = d->backend->loop;
	int err = dgram_alloc(d, e);

	if (err)
		return err;
	d->port = twx_backend_add_port(d->backend, e);
	if (!d->port)
		return -e->code;
	if (d->to.ss.ss_family == AF_INET || d->to.ss.ss_family == AF_INET6)
		twx_port_set_caps(d->port, (struct twx_caps){ .max_frame = UDP_MAX });
	d->reading = true;
	err = twx_watch_add(&d->watch, loop, d->in, EPOLLIN | EPOLLRDHUP, dgram_event);
	if (!err && d->out != d->in)
		err = twx_watch_add(&d->out_watch, loop, d->out, 0, dgram_out_event);
	return err ? twx_error_set(e, -err, "cannot watch the socket: %s", strerror(-err)) : 0;
}

void dgram_stop(struct dgram *d)
{
	twx_watch_del(&d->watch);
	twx_watch_del(&d->out_watch);
	if (d->out == d->in)
		d->out = -1;
	sock_close(&d->in);
	sock_close(&d->out);
	if (d->bound)
		sock_unlink(&d->local, d->backend);
	d->bound = false;
	free(d->slots);
	d->slots = NULL;
}
