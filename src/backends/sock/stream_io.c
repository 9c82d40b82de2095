/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames on a byte stream: each behind its length, 32 bits in network order. No header for
 * offloads: the port has no capabilities, and the core finishes every frame before it comes here.
 *
 * Out: a burst becomes one sendmsg() of lengths and pieces, with no copy. When the socket takes a
 * part, the rest of the frame that was cut is copied (at most STREAM_OUT bytes) and sent before
 * anything else; frames behind it were not taken and stay with their sender. The port is busy until
 * EPOLLOUT.
 *
 * In: one recv() fills a private buffer with as much as there is, and the frames in it are handed
 * on in place, in bursts. What the peer does not take stays there, and the socket is not read until
 * resume(): the window closes on the other side's sender. An incomplete frame moves to the front of
 * the buffer before the next read. READS reads per event, so that one sender does not hold the
 * loop.
 *
 * A length above STREAM_FRAME_MAX cannot be a frame: whatever speaks there does not speak this
 * protocol, and the connection ends. Shorter frames that cannot cross the cable (under 14 bytes, 0
 * among them, or over TWX_FRAME_MAX) are dropped and counted by the core, since the next one's
 * place is known. QEMU reads no more after a length of 0.
 *
 * A failed write ends the connection from a task: receive() is no place to take it down.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "backends/sock/stream.h"
#include "base/endian.h"
#include "base/iov.h"
#include "base/macros.h"
#include "net/fault.h"

#define READS 4

_Static_assert(STREAM_IN >= STREAM_OUT + 32768, "a frame begun, and room to read many more");

static void stream_watch(struct stream *s)
{
	uint32_t events = (s->reading ? EPOLLIN : 0u) | (s->blocked ? EPOLLOUT : 0u);

	twx_watch_set(&s->watch, events);
}

static void stream_block(struct stream *s)
{
	s->blocked = true;
	stream_watch(s);
}

static void stream_drop(struct stream *s, enum twx_drop cause, const struct twx_frame *frames,
			int n)
{
	int i;

	for (i = 0; i < n; i++)
		twx_port_drop(s->port, cause, frames[i].len);
}

/* --- out --- */

/* Frames and their lengths as one list. */
struct gather {
	be32 head[TWX_BURST];
	struct iovec iov[IOV_MAX];
	uint32_t n_iov;
	int n; /* frames */
	size_t len;
};

static void gather_fill(struct gather *g, const struct twx_frame *frames, int n)
{
	g->n_iov = 0;
	g->len = 0;
	for (g->n = 0; g->n < n; g->n++) {
		const struct twx_frame *f = &frames[g->n];

		if (f->n_iov > IOV_MAX - 1 - g->n_iov)
			break;
		g->head[g->n] = be32_make(f->len);
		g->iov[g->n_iov++] = (struct iovec){ &g->head[g->n], STREAM_HEAD };
		memcpy(g->iov + g->n_iov, f->iov, f->n_iov * sizeof(*f->iov));
		g->n_iov += f->n_iov;
		g->len += STREAM_HEAD + f->len;
	}
}

/* Copies what is left of @f when @sent bytes of it and its length are gone. */
static void stream_keep(struct stream *s, const struct twx_frame *f, uint32_t sent)
{
	be32 head = be32_make(f->len);
	uint32_t at = min(sent, (uint32_t)STREAM_HEAD);

	s->out_start = 0;
	memcpy(s->out, (uint8_t *)&head + at, STREAM_HEAD - at);
	s->out_end = STREAM_HEAD - at;
	s->out_end += (uint32_t)iov_copy_from(f->iov, f->n_iov, sent - at, s->out + s->out_end,
					      STREAM_OUT - s->out_end);
}

static void stream_fail(struct stream *s, int err)
{
	if (s->failed)
		return;
	s->failed = true;
	s->failure = err;
	twx_loop_defer(s->backend->loop, &s->failure_task);
}

/* As stream_write(), after an error. */
static int stream_write_failed(struct stream *s, const struct twx_frame *frames, int n)
{
	int i;

	switch (errno) {
	case EAGAIN:
	case EINTR:
		stream_block(s);
		return 0;
	case EFAULT:
		for (i = 0; i < n; i++)
			fault_report(s->backend->net, frames[i].iov, frames[i].n_iov);
		break;
	case ENOBUFS:
	case ENOMEM:
		break;
	default:
		stream_fail(s, errno);
	}
	stream_drop(s, TWX_DROP_HOST_ERROR, frames, n);
	return n;
}

/* Sends a gathered burst. How many of its frames are done; fewer than all when blocked. */
static int stream_write(struct stream *s, const struct twx_frame *frames, struct gather *g)
{
	struct msghdr msg = { .msg_iov = g->iov, .msg_iovlen = g->n_iov };
	ssize_t sent = sendmsg(s->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	size_t left;
	int i;

	TWX_TRACE(s->port->trace, TWX_HOP_SENDMSG, s->port->name, g->len, g->n);
	if (likely(sent == (ssize_t)g->len))
		return g->n;
	if (sent < 0)
		return stream_write_failed(s, frames, g->n);
	left = (size_t)sent;
	for (i = 0; left >= STREAM_HEAD + frames[i].len; i++)
		left -= STREAM_HEAD + frames[i].len;
	if (left)
		stream_keep(s, &frames[i++], (uint32_t)left);
	stream_block(s);
	return i;
}

/* True when nothing unsent is left. */
static bool stream_flush(struct stream *s)
{
	while (s->out_start < s->out_end) {
		ssize_t n = send(s->fd, s->out + s->out_start, s->out_end - s->out_start,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			stream_fail(s, errno);
		if (n < 0)
			return false;
		s->out_start += (uint32_t)n;
	}
	return true;
}

/* A frame in so many pieces that its length does not fit beside them. */
static void stream_send_copy(struct stream *s, const struct twx_frame *f)
{
	stream_keep(s, f, 0);
	if (!stream_flush(s))
		stream_block(s);
}

int stream_receive(struct stream *s, const struct twx_frame *frames, int n)
{
	struct gather g;
	int done = 0;

	while (done < n && !s->blocked) {
		if (unlikely(s->fd < 0 || s->failed)) {
			stream_drop(s, TWX_DROP_LINK_DOWN, frames + done, n - done);
			return n;
		}
		gather_fill(&g, frames + done, n - done);
		if (likely(g.n))
			done += stream_write(s, frames + done, &g);
		else
			stream_send_copy(s, &frames[done++]);
	}
	return done;
}

static void stream_writable(struct stream *s)
{
	if (!stream_flush(s) && !s->failed)
		return;
	s->blocked = false;
	stream_watch(s);
	twx_port_ready(s->port);
}

/* --- in --- */

/*
 * Frames that lie complete in the buffer, from in_start on; *@end is where the first one begins
 * that is not among them. How many, or -EPROTO if the next length is none.
 */
static int stream_parse(const struct stream *s, struct twx_frame *frames, struct iovec *iov,
			uint32_t *end)
{
	uint32_t at = s->in_start;
	int n;

	for (n = 0; n < TWX_BURST && s->in_end - at >= STREAM_HEAD; n++) {
		uint32_t len;
		be32 head;

		memcpy(&head, s->in + at, STREAM_HEAD);
		len = be32_get(head);
		if (unlikely(len > STREAM_FRAME_MAX)) {
			if (!n)
				return -EPROTO;
			break;
		}
		if (len > s->in_end - at - STREAM_HEAD)
			break;
		iov[n] = (struct iovec){ s->in + at + STREAM_HEAD, len };
		frames[n] = (struct twx_frame){ .iov = &iov[n], .n_iov = 1, .len = len };
		at += STREAM_HEAD + len;
	}
	*end = at;
	return n;
}

static void stream_bad_length(struct stream *s)
{
	be32 head;

	memcpy(&head, s->in + s->in_start, STREAM_HEAD);
	twx_log(s->backend->net, TWX_LOG_WARNING,
		"netdev %s: the peer announces a frame of %u bytes, more than %d: the connection "
		"is closed",
		s->backend->id, be32_get(head), STREAM_FRAME_MAX);
	stream_lost(s);
}

static void stream_end(struct stream *s, int err)
{
	if (err)
		twx_log(s->backend->net, TWX_LOG_WARNING, "netdev %s: the connection is lost: %s",
			s->backend->id, strerror(err));
	else
		twx_log(s->backend->net, TWX_LOG_INFO,
			"netdev %s: the peer has closed the connection", s->backend->id);
	stream_lost(s);
}

/* Hands on what is complete. False when the peer is busy, or the connection is over. */
static bool stream_deliver(struct stream *s)
{
	struct twx_frame frames[TWX_BURST];
	struct iovec iov[TWX_BURST];
	uint32_t end;
	int n, done;

	while ((n = stream_parse(s, frames, iov, &end)) > 0) {
		done = twx_port_send(s->port, frames, n);
		if (unlikely(done < n)) {
			s->in_start =
				(uint32_t)((uint8_t *)iov[done].iov_base - s->in) - STREAM_HEAD;
			s->reading = false;
			stream_watch(s);
			return false;
		}
		s->in_start = end;
	}
	if (unlikely(n < 0))
		stream_bad_length(s);
	return n == 0;
}

/* One read. True if there may be more. */
static bool stream_read(struct stream *s)
{
	uint32_t kept = s->in_end - s->in_start;
	ssize_t n;

	if (s->in_start) {
		memmove(s->in, s->in + s->in_start, kept);
		s->in_start = 0;
		s->in_end = kept;
	}
	n = recv(s->fd, s->in + kept, STREAM_IN - kept, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		stream_end(s, n ? errno : 0);
		return false;
	}
	TWX_TRACE(s->port->trace, TWX_HOP_RECVMSG, s->port->name, n, 0);
	s->in_end += (uint32_t)n;
	return stream_deliver(s) && n == (ssize_t)(STREAM_IN - kept);
}

static void stream_readable(struct stream *s)
{
	int left = READS;

	while (left-- > 0 && stream_read(s))
		;
}

void stream_resume(struct stream *s)
{
	if (s->fd < 0 || s->reading || !stream_deliver(s))
		return;
	s->reading = true;
	stream_watch(s);
}

/* --- a connection --- */

static void stream_event(struct twx_watch *w, uint32_t events)
{
	struct stream *s = container_of(w, struct stream, watch);

	if (s->blocked && events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
		stream_writable(s);
	if (s->fd >= 0 && s->reading && events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		stream_readable(s);
}

/* What the peer said before it went is still worth reading. */
static void stream_run_failure(struct twx_task *task)
{
	struct stream *s = container_of(task, struct stream, failure_task);

	if (s->reading)
		stream_readable(s);
	if (s->fd >= 0)
		stream_end(s, s->failure);
}

int stream_start(struct stream *s, int fd)
{
	int err = -ENOMEM;

	s->in = malloc(STREAM_IN);
	s->out = malloc(STREAM_OUT);
	if (s->in && s->out)
		err = twx_watch_add(&s->watch, s->backend->loop, fd, EPOLLIN, stream_event);
	s->fd = fd;
	s->in_start = s->in_end = s->out_start = s->out_end = 0;
	s->reading = true;
	s->failed = s->blocked = false;
	s->failure_task.fn = stream_run_failure;
	if (err)
		stream_stop(s);
	return err;
}

void stream_stop(struct stream *s)
{
	twx_watch_del(&s->watch);
	twx_loop_undefer(s->backend->loop, &s->failure_task);
	sock_close(&s->fd);
	free(s->in);
	free(s->out);
	s->in = s->out = NULL;
	s->reading = s->blocked = false;
}
