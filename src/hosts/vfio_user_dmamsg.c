/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA by message, for memory that the client has not shared (dma-messages=on).
 *
 * A device asks in the middle of its work and cannot be put aside, so the loop waits for the answer
 * here, and the rest of the program with it: at most WAIT_NS in one round of the loop, however many
 * accesses a device makes in it. Requests of the client that arrive meanwhile are held, and handled
 * when the device is done. A client that is late, or that answers what was not asked, loses the
 * connection; the access fails, as do all that follow it.
 *
 * The request leaves behind the replies that collected so far, which may be what the client waits
 * for before it answers.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"
#include "base/macros.h"
#include "hosts/vfio_user.h"

#define WAIT_NS 1000000000ull
#define CHUNK 65536u /* of one message; bounded by what the client takes, too */

struct request {
	struct vfu_header head;
	struct vfu_dma_rw rw;
	bool write;
	uint8_t *data;
	size_t sent; /* bytes of head, rw and data */
	bool done;
	int err;
};

/* ns that may still be waited in this round of the loop. */
static uint64_t wait_left(struct vfu_host *vfu)
{
	uint64_t round = twx_loop_now(vfu->host->loop);

	if (vfu->dma_round != round) {
		vfu->dma_round = round;
		vfu->dma_waited = 0;
	}
	return vfu->dma_waited < WAIT_NS ? WAIT_NS - vfu->dma_waited : 0;
}

/* 0 when all of it is on its way, -EAGAIN, or another -errno. */
static int send_some(struct vfu_host *vfu, struct request *r)
{
	struct iovec iov[] = {
		{ &r->head, sizeof(r->head) },
		{ &r->rw, sizeof(r->rw) },
		{ r->data, r->write ? r->rw.count : 0 },
	};
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = array_size(iov) };
	size_t skip = r->sent;
	int err = vfu_stream_flush(vfu);
	ssize_t n;

	if (err < 0 || r->sent == r->head.size)
		return err;
	for (size_t i = 0; i < array_size(iov); i++) {
		size_t here = min(skip, iov[i].iov_len);

		iov[i].iov_base = (uint8_t *)iov[i].iov_base + here;
		iov[i].iov_len -= here;
		skip -= here;
	}
	n = sendmsg(vfu->fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	r->sent += (size_t)n;
	return r->sent == r->head.size ? 0 : -EAGAIN;
}

/* QEMU answers a write with the bare header, the specification has address and count behind it. */
static void take_answer(struct vfu_host *vfu, struct request *r, const struct vfu_msg *m)
{
	struct vfu_dma_rw rw;

	if (r->sent < r->head.size || m->head.id != r->head.id ||
	    m->head.command != r->head.command || m->n_fds > 0) {
		vfu->dead = "an answer to nothing";
		return;
	}
	r->done = true;
	if (m->head.flags & VFU_ERROR) {
		r->err = -EFAULT;
		return;
	}
	if (r->write)
		return;
	if (m->len != sizeof(rw) + r->rw.count) {
		vfu->dead = "an answer of the wrong length";
		return;
	}
	VFU_GET(m, &rw);
	if (rw.count != r->rw.count)
		vfu->dead = "an answer of the wrong length";
	else
		memcpy(r->data, m->data + sizeof(rw), r->rw.count);
}

static void take_messages(struct vfu_host *vfu, struct request *r)
{
	struct vfu_msg m;

	while (vfu->dead == NULL && vfu_stream_next(vfu, &m)) {
		if ((m.head.flags & VFU_TYPE) == VFU_TYPE_COMMAND) {
			(void)vfu_hold(vfu, &m);
			continue;
		}
		if (r->done)
			vfu->dead = "an answer to nothing";
		else
			take_answer(vfu, r, &m);
		vfu_msg_close_fds(&m);
	}
}

static void poll_once(struct vfu_host *vfu, bool unsent, uint64_t left)
{
	struct pollfd p = { .fd = vfu->fd, .events = unsent ? POLLIN | POLLOUT : POLLIN };
	struct timespec t = { (time_t)(left / 1000000000u), (long)(left % 1000000000u) };
	uint64_t began = clock_ns();

	(void)ppoll(&p, 1, &t, NULL);
	vfu->dma_waited += clock_ns() - began;
}

static int exchange(struct vfu_host *vfu, struct request *r)
{
	while (!r->done && vfu->dead == NULL) {
		int err = send_some(vfu, r);
		uint64_t left = wait_left(vfu);

		if (err < 0 && err != -EAGAIN)
			vfu->dead = "it closed the connection";
		else if (left == 0)
			vfu->dead = "it does not answer a DMA request";
		if (vfu->dead != NULL)
			break;
		poll_once(vfu, err == -EAGAIN, left);
		(void)vfu_stream_read(vfu);
		take_messages(vfu, r);
	}
	if (vfu->dead != NULL)
		vfu_die(vfu, vfu->dead);
	else if (vfu->held != NULL)
		twx_loop_defer(vfu->host->loop, &vfu->task);
	return r->done && vfu->dead == NULL ? r->err : -EIO;
}

int vfu_dma_message(struct vfu_host *vfu, uint64_t addr, void *buf, uint32_t len, bool write)
{
	uint32_t most = (uint32_t)min((uint64_t)CHUNK, vfu->client_xfer);
	uint8_t *p = buf;
	int err = 0;

	if (!vfu->dma_messages || most == 0)
		return -EFAULT;
	while (len > 0 && err == 0 && vfu->dead == NULL) {
		uint32_t n = min(len, most);
		struct request r = {
			.head = { .id = ++vfu->dma_id,
				  .command = write ? VFU_DMA_WRITE : VFU_DMA_READ,
				  .size = (uint32_t)(sizeof(r.head) + sizeof(r.rw)) +
					  (write ? n : 0) },
			.rw = { addr, n },
			.write = write,
			.data = p,
		};

		err = exchange(vfu, &r);
		if (write && err == 0)
			mem_dirty_gpa(vfu->mem, addr, n);
		addr += n;
		p += n;
		len -= n;
	}
	return vfu->dead != NULL ? -EIO : err;
}
