/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The connection as bytes: read in large pieces, cut into messages, and replies let go together.
 *
 * Descriptors. The kernel ends a read behind the piece of the stream that descriptors were sent
 * with, so they belong to the message that holds the last byte of that read, complete or not. While
 * they wait for the rest of their message, no byte beyond it is read: there is never more than one
 * set of them here. A second set for one message, more than VFU_MAX_FDS, or truncated ones end the
 * connection. What a handler does not take is closed behind it.
 *
 * Replies collect in one buffer while a round's messages are handled, and leave in one call. What
 * the socket does not take waits, up to BACKLOG_MAX bytes; a client that lets more pile up does not
 * read its answers, and loses the connection.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/macros.h"
#include "hosts/vfio_user.h"

#define IN_SIZE 16384
#define OUT_SIZE 4096
#define BACKLOG_MAX (4u << 20)
#define HELD_MAX 1024 /* messages, more than the buffer holds of the shortest */
#define HELD_BYTES_MAX (4u << 20)

int vfu_stream_begin(struct vfu_host *vfu)
{
	vfu->in = (struct vfu_buf){ .buf = malloc(IN_SIZE), .size = IN_SIZE };
	vfu->out = (struct vfu_buf){ .buf = malloc(OUT_SIZE), .size = OUT_SIZE };
	vfu->held = NULL;
	vfu->held_end = &vfu->held;
	vfu->n_held = 0;
	vfu->held_bytes = 0;
	vfu->in_pos = vfu->fds_at = 0;
	return vfu->in.buf != NULL && vfu->out.buf != NULL ? 0 : -ENOMEM;
}

static void close_all(int *fds, uint32_t *n)
{
	for (uint32_t i = 0; i < *n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	*n = 0;
}

void vfu_stream_end(struct vfu_host *vfu)
{
	struct vfu_held *h;

	while ((h = vfu_unhold(vfu)) != NULL)
		vfu_held_free(h);
	close_all(vfu->fds, &vfu->n_fds);
	free(vfu->in.buf);
	free(vfu->out.buf);
	vfu->in = vfu->out = (struct vfu_buf){ 0 };
}

void vfu_msg_close_fds(struct vfu_msg *m)
{
	close_all(m->fds, &m->n_fds);
}

/* In. */

static size_t in_have(const struct vfu_host *vfu)
{
	return vfu->in.end - vfu->in.start;
}

/* Bytes of the message at the front: 0 while that is not known. */
static uint32_t in_size(const struct vfu_host *vfu)
{
	struct vfu_header h;

	if (in_have(vfu) < sizeof(h))
		return 0;
	memcpy(&h, vfu->in.buf + vfu->in.start, sizeof(h));
	return h.size;
}

/* Room behind what is there, enough for the rest of the message at the front. */
static int in_make_room(struct vfu_host *vfu)
{
	struct vfu_buf *b = &vfu->in;
	size_t need = in_size(vfu);
	uint8_t *p;

	if (need < sizeof(struct vfu_header))
		need = sizeof(struct vfu_header);
	if (b->start > 0) {
		memmove(b->buf, b->buf + b->start, b->end - b->start);
		b->end -= b->start;
		b->start = 0;
	}
	if (b->size >= need)
		return 0;
	p = realloc(b->buf, need);
	if (p == NULL)
		return -ENOMEM;
	b->buf = p;
	b->size = need;
	return 0;
}

/* Every fd that arrived is ours to close, also those that there is no room for. */
static bool collect_fds(struct vfu_host *vfu, struct msghdr *mh)
{
	bool ok = (mh->msg_flags & MSG_CTRUNC) == 0, taken = vfu->n_fds > 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c != NULL; c = CMSG_NXTHDR(mh, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (!taken && vfu->n_fds < VFU_MAX_FDS) {
				vfu->fds[vfu->n_fds++] = fd;
			} else {
				close(fd);
				ok = false;
			}
		}
	}
	return ok;
}

/*
 * While fds wait for the rest of their message, nothing of the next one is read. A buffer that a
 * large message has stretched takes no more of the small ones than before: all may have to be held.
 */
static size_t in_want(const struct vfu_host *vfu)
{
	size_t room = vfu->in.size - vfu->in.end, need = in_size(vfu), left;

	if (need == 0)
		need = sizeof(struct vfu_header);
	left = need - in_have(vfu);
	if (vfu->n_fds == 0)
		left = max(left, (size_t)IN_SIZE);
	return min(room, left);
}

static int failed(struct vfu_host *vfu, int err, const char *why)
{
	vfu->dead = why;
	return err;
}

int vfu_stream_read(struct vfu_host *vfu)
{
	union {
		char buf[CMSG_SPACE(VFU_MAX_FDS * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov;
	struct msghdr mh = { .msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.buf,
			     .msg_controllen = sizeof(control.buf) };
	bool had_fds = vfu->n_fds > 0;
	ssize_t n;

	if (in_make_room(vfu) < 0)
		return failed(vfu, -ENOMEM, "out of memory");
	iov = (struct iovec){ vfu->in.buf + vfu->in.end, in_want(vfu) };
	do {
		n = recvmsg(vfu->fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? -EAGAIN : failed(vfu, -errno, strerror(errno));
	if (!collect_fds(vfu, &mh))
		return failed(vfu, -E2BIG, "more file descriptors than a message may have");
	if (n == 0)
		return failed(vfu, 0, "it closed the connection");
	vfu->in.end += (size_t)n;
	if (!had_fds && vfu->n_fds > 0)
		vfu->fds_at = vfu->in_pos + in_have(vfu);
	return (int)n;
}

bool vfu_stream_next(struct vfu_host *vfu, struct vfu_msg *m)
{
	uint8_t *at = vfu->in.buf + vfu->in.start;

	if (in_have(vfu) < sizeof(m->head))
		return false;
	*m = (struct vfu_msg){ .fds = vfu->taken, .cost = 1 };
	memcpy(&m->head, at, sizeof(m->head));
	if (m->head.size < sizeof(m->head) || m->head.size > VFU_MSG_MAX) {
		vfu->dead = "a message of a size that none has";
		return false;
	}
	if ((m->head.flags & VFU_TYPE) > VFU_TYPE_REPLY) {
		vfu->dead = "a message of a type that there is not";
		return false;
	}
	if (in_have(vfu) < m->head.size)
		return false;
	m->data = at + sizeof(m->head);
	m->len = m->head.size - (uint32_t)sizeof(m->head);
	vfu->in.start += m->head.size;
	vfu->in_pos += m->head.size;
	if (vfu->n_fds > 0 && vfu->fds_at <= vfu->in_pos) {
		memcpy(vfu->taken, vfu->fds, sizeof(vfu->taken));
		m->n_fds = vfu->n_fds;
		vfu->n_fds = 0;
	}
	return true;
}

/* Messages that wait. */

int vfu_hold(struct vfu_host *vfu, struct vfu_msg *m)
{
	struct vfu_held *h = NULL;

	if (vfu->n_held < HELD_MAX && vfu->held_bytes + m->len <= HELD_BYTES_MAX)
		h = malloc(sizeof(*h) + m->len);
	if (h == NULL) {
		vfu_msg_close_fds(m);
		vfu->dead = "more requests than can wait";
		return -ENOBUFS;
	}
	h->next = NULL;
	h->head = m->head;
	memcpy(h->fds, m->fds, m->n_fds * sizeof(*h->fds));
	h->n_fds = m->n_fds;
	memcpy(h->data, m->data, m->len);
	*vfu->held_end = h;
	vfu->held_end = &h->next;
	vfu->n_held++;
	vfu->held_bytes += m->len;
	return 0;
}

struct vfu_held *vfu_unhold(struct vfu_host *vfu)
{
	struct vfu_held *h = vfu->held;

	if (h == NULL)
		return NULL;
	vfu->held = h->next;
	if (vfu->held == NULL)
		vfu->held_end = &vfu->held;
	vfu->n_held--;
	vfu->held_bytes -= h->head.size - sizeof(h->head);
	return h;
}

void vfu_held_free(struct vfu_held *h)
{
	close_all(h->fds, &h->n_fds);
	free(h);
}

/* Out. */

uint8_t *vfu_stream_room(struct vfu_host *vfu, uint32_t len)
{
	struct vfu_buf *b = &vfu->out;
	size_t need = sizeof(struct vfu_header) + len, size = b->size;
	uint8_t *p;

	if (b->size - b->end >= need)
		return b->buf + b->end + sizeof(struct vfu_header);
	if (b->end - b->start + need > BACKLOG_MAX) {
		vfu->dead = "it does not read its answers";
		return NULL;
	}
	memmove(b->buf, b->buf + b->start, b->end - b->start);
	b->end -= b->start;
	b->start = 0;
	while (size - b->end < need)
		size *= 2;
	p = size > b->size ? realloc(b->buf, size) : b->buf;
	if (p == NULL) {
		vfu->dead = "out of memory";
		return NULL;
	}
	b->buf = p;
	b->size = size;
	return b->buf + b->end + sizeof(struct vfu_header);
}

void vfu_stream_reply(struct vfu_host *vfu, const struct vfu_header *h)
{
	memcpy(vfu->out.buf + vfu->out.end, h, sizeof(*h));
	vfu->out.end += h->size;
}

int vfu_stream_flush(struct vfu_host *vfu)
{
	struct vfu_buf *b = &vfu->out;

	while (b->start < b->end) {
		ssize_t n = send(vfu->fd, b->buf + b->start, b->end - b->start,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		b->start += (size_t)n;
	}
	/* A reply that is being built lies at the end, and stays there. */
	if (!vfu->handling)
		b->start = b->end = 0;
	return 0;
}
