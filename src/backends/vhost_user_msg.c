/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vhost-user front end's messages: said, asked, answered.
 *
 * The protocol is one of questions and answers, and a ring that is to be stopped is not stopped
 * before the back end has said where. So a question is asked and its answer waited for here, on the
 * loop, for WAIT_MS at most: what is not there by then is a dead back end, and the connection ends.
 * One that answers, but always late, is no better: all waits together have PATIENCE_MS, of which
 * one part in PATIENCE_SHARE of the time that passes comes back; what took no longer than
 * PROMPT_MS does not count, since it is the guest that says how often rings are handed over.
 * Whoever connects again waits longer after either (vhost_user.c), so that a slow back end costs a
 * bounded part of the loop's time. An answer is read into private memory, its head before its
 * payload; request, version, length and descriptors have to be what was asked for.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "backends/vhost_user.h"
#include "base/clock.h"
#include "base/macros.h"

#define WAIT_MS 3000
#define PATIENCE_MS 6000
#define PATIENCE_SHARE 10
#define PROMPT_MS 10

/* When the other end has to be done with what is said now. What was waited counts PATIENCE_SHARE
 * times, and comes back as time passes. */
static int64_t begin(struct vuf *vu)
{
	int64_t now = clock_ms();

	vu->owed = max(vu->owed - (now - vu->since), (int64_t)0);
	vu->since = now;
	return now + min((int64_t)WAIT_MS, PATIENCE_MS - vu->owed / PATIENCE_SHARE);
}

static int done(struct vuf *vu, int rc)
{
	int64_t waited = clock_ms() - vu->since;

	if (waited > PROMPT_MS)
		vu->owed += PATIENCE_SHARE * waited;
	return rc;
}

/* 0 when the socket is ready for @events before @until. */
static int wait_for(int fd, short events, int64_t until)
{
	struct pollfd p = { .fd = fd, .events = events };

	for (;;) {
		int64_t left = until - clock_ms();
		int n = left > 0 ? poll(&p, 1, (int)left) : 0;

		if (n > 0)
			return 0;
		if (n == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

static size_t put_fds(struct msghdr *mh, const int *fds, uint32_t n)
{
	struct cmsghdr *c = mh->msg_control;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	return CMSG_SPACE(n * sizeof(int));
}

/* Descriptors go with the first byte. */
static int send_all(struct vuf *vu, struct iovec *iov, const int *fds, uint32_t n_fds,
		    int64_t until)
{
	union {
		char buf[CMSG_SPACE(VU_MAX_FDS * sizeof(int))];
		struct cmsghdr align;
	} control = { .buf = { 0 } };
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 2 };

	if (n_fds) {
		mh.msg_control = control.buf;
		mh.msg_controllen = put_fds(&mh, fds, n_fds);
	}
	while (iov[0].iov_len + iov[1].iov_len) {
		ssize_t n = sendmsg(vu->fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n < 0) {
			int rc = wait_for(vu->fd, POLLOUT, until);

			if (rc < 0)
				return rc;
			continue;
		}
		mh.msg_control = NULL;
		mh.msg_controllen = 0;
		for (int i = 0; i < 2; i++) {
			size_t here = (size_t)n < iov[i].iov_len ? (size_t)n : iov[i].iov_len;

			iov[i].iov_base = (uint8_t *)iov[i].iov_base + here;
			iov[i].iov_len -= here;
			n -= (ssize_t)here;
		}
	}
	return 0;
}

/* No answer that we ask for has descriptors with it. */
static bool close_fds(struct msghdr *mh)
{
	bool none = !(mh->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		size_t n = c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS
				   ? (c->cmsg_len - CMSG_LEN(0)) / sizeof(int)
				   : 0;

		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			close(fd);
			none = false;
		}
	}
	return none;
}

static int receive_all(struct vuf *vu, void *to, size_t len, int64_t until)
{
	union {
		char buf[CMSG_SPACE(VU_MAX_FDS * sizeof(int))];
		struct cmsghdr align;
	} control;

	while (len) {
		struct iovec iov = { to, len };
		struct msghdr mh = { .msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = control.buf,
				     .msg_controllen = sizeof(control.buf) };
		ssize_t n = recvmsg(vu->fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n < 0) {
			int rc = wait_for(vu->fd, POLLIN, until);

			if (rc < 0)
				return rc;
			continue;
		}
		if (n == 0)
			return -EPIPE;
		if (!close_fds(&mh))
			return -EBADMSG;
		to = (uint8_t *)to + n;
		len -= (size_t)n;
	}
	return 0;
}

static const char *why(int rc)
{
	switch (rc) {
	case -ETIMEDOUT:
		return "the back end does not answer";
	case -EPIPE:
	case -ECONNRESET:
		return "the back end has closed the connection";
	case -EBADMSG:
		return "an answer of the back end is malformed";
	default:
		return strerror(-rc);
	}
}

static int failed(struct vuf *vu, int rc)
{
	vu->late = rc == -ETIMEDOUT;
	vuf_lost(vu, why(rc));
	return rc;
}

static int send_message(struct vuf *vu, uint32_t request, uint32_t flags, const void *payload,
			uint32_t len, const int *fds, uint32_t n_fds, int64_t until)
{
	struct vu_header head = { request, VU_VERSION | flags, len };
	struct iovec iov[2] = { { &head, sizeof(head) },
				{ (void *)(uintptr_t)(len ? payload : &head), len } };
	int rc;

	if (vu->fd < 0)
		return -ENOTCONN;
	rc = send_all(vu, iov, fds, n_fds, until);
	return rc < 0 ? failed(vu, rc) : 0;
}

static int receive_answer(struct vuf *vu, uint32_t request, void *payload, uint32_t len,
			  int64_t until)
{
	struct vu_header head;
	int rc = receive_all(vu, &head, sizeof(head), until);

	if (rc == 0 && (head.request != request || head.size != len ||
			(head.flags & VU_VERSION_MASK) != VU_VERSION || !(head.flags & VU_REPLY)))
		rc = -EBADMSG;
	if (rc == 0)
		rc = receive_all(vu, payload, len, until);
	return rc < 0 ? failed(vu, rc) : 0;
}

int vuf_ask(struct vuf *vu, uint32_t request, void *payload, uint32_t in_len, uint32_t len)
{
	int64_t until = begin(vu);
	int rc = send_message(vu, request, 0, payload, in_len, NULL, 0, until);

	return done(vu, rc < 0 ? rc : receive_answer(vu, request, payload, len, until));
}

int vuf_say(struct vuf *vu, uint32_t request, const void *payload, uint32_t len)
{
	int64_t until = begin(vu);

	return done(vu, send_message(vu, request, 0, payload, len, NULL, 0, until));
}

int vuf_tell(struct vuf *vu, uint32_t request, const void *payload, uint32_t len, const int *fds,
	     uint32_t n_fds)
{
	bool ack = vuf_has(vu, VU_P_REPLY_ACK);
	int64_t until = begin(vu);
	uint64_t result = 0;
	int rc =
		send_message(vu, request, ack ? VU_NEED_REPLY : 0, payload, len, fds, n_fds, until);

	if (rc == 0 && ack)
		rc = receive_answer(vu, request, &result, sizeof(result), until);
	if (rc == 0 && result) {
		VUF_LOG(vu, WARNING, "the back end refuses request %u", request);
		rc = -EPROTO;
	}
	return done(vu, rc);
}

void vuf_close(struct vuf *vu)
{
	twx_watch_del(&vu->watch);
	if (vu->fd >= 0)
		close(vu->fd);
	vu->fd = -1;
	vuf_forget(vu);
}

void vuf_lost(struct vuf *vu, const char *reason)
{
	if (vu->fd < 0)
		return;
	vuf_close(vu);
	VUF_LOG(vu, WARNING, "%s", reason);
	twx_loop_defer(vu->backend->loop, &vu->lost_task);
}
