/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Our vhost-user front end, with a card and its driver, against a back end that answers as the
 * input says: right, wrong, cut short, too long, with descriptors, or not at all (the end).
 *
 * The answers are made when the front end would wait for them: connect(), poll() and the clock are
 * this file's. The input is a list of bytes: what the driver and its machine do next, and what each
 * answer is like. Whatever comes, the process lives, no ring stays outside without a connection,
 * and no descriptor is left.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include "../device/path_kit.h"

#include "bus/vhost.h"
#include "bus/vhost_user_wire.h"
#include "fuzz.h"

static struct {
	const uint8_t *in;
	size_t left;
	int fd;	      /* the back end's; -1: gone */
	time_t later; /* seconds that our clock is ahead */
} z = { .fd = -1 };

static uint8_t byte(void)
{
	if (!z.left)
		return 0;
	z.left--;
	return *z.in++;
}

static uint64_t bytes8(void)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | byte();
	return v;
}

static void hang_up(void)
{
	if (z.fd >= 0)
		close(z.fd);
	z.fd = -1;
}

int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len);
int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	int pair[2];

	(void)addr;
	(void)len;
	hang_up();
	if (byte() == 0xff) {
		errno = ECONNREFUSED;
		return -1;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	dup3(pair[0], fd, O_CLOEXEC);
	close(pair[0]);
	z.fd = pair[1];
	return 0;
}

/* The next request without its descriptors; false: there is none. */
static bool request(struct vu_header *head, uint8_t *payload)
{
	union {
		char buf[CMSG_SPACE(VU_MAX_FDS * sizeof(int))];
		struct cmsghdr align;
	} c;
	struct iovec iov = { head, sizeof(*head) };
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.buf, .msg_controllen = sizeof(c)
	};

	if (recvmsg(z.fd, &mh, MSG_CMSG_CLOEXEC) != sizeof(*head))
		return false;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&mh); h; h = CMSG_NXTHDR(&mh, h))
		for (size_t i = 0; i < (h->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(h) + i * sizeof(fd), sizeof(fd));
			close(fd);
		}
	assert(head->size <= 512);
	return !head->size || recv(z.fd, payload, head->size, 0) == (ssize_t)head->size;
}

static void send_with_fd(const void *buf, size_t len)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} c = { .align = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec iov = { (void *)(uintptr_t)buf, len };
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.buf, .msg_controllen = sizeof(c)
	};

	memcpy(CMSG_DATA(&c.align), &z.fd, sizeof(int));
	(void)!sendmsg(z.fd, &mh, MSG_NOSIGNAL);
}

/* A right answer's payload, by the input within its meaning. */
static uint32_t payload_of(uint32_t what, uint8_t *p)
{
	uint64_t u = 0;

	switch (what) {
	case VU_GET_FEATURES:
		u = bytes8() | VHOST_BIT(VIRTIO_F_VERSION_1);
		break;
	case VU_GET_PROTOCOL_FEATURES:
	case VU_GET_QUEUE_NUM:
		u = bytes8();
		break;
	case VU_GET_MAX_MEM_SLOTS:
		u = byte();
		break;
	case VU_GET_VRING_BASE:
		p[4] = byte();
		return 8;
	default: /* an acknowledgement */
		u = byte() > 250;
	}
	memcpy(p, &u, 8);
	return 8;
}

static void answer(struct vu_header *head, uint8_t *buf)
{
	uint8_t *p = buf + sizeof(*head);
	size_t len;

	head->size = payload_of(head->request, p);
	head->flags = VU_VERSION | VU_REPLY;
	len = sizeof(*head) + head->size;
	switch (byte()) {
	case 0xf0:
		head->size = (uint32_t)bytes8();
		break;
	case 0xf1:
		head->request = byte();
		break;
	case 0xf2:
		head->flags = (uint32_t)bytes8();
		break;
	case 0xf3:
		len = byte() % len;
		break;
	case 0xf4:
		len += byte();
		break;
	case 0xf5:
		memcpy(buf, head, sizeof(*head));
		send_with_fd(buf, len);
		return;
	case 0xf6:
		memset(p, byte(), 8);
		break;
	case 0xf7:
		hang_up();
		return;
	}
	memcpy(buf, head, sizeof(*head));
	(void)!send(z.fd, buf, len, MSG_NOSIGNAL);
}

/* Answers what is asked; what is left unanswered now is never answered. */
static void serve(void)
{
	uint8_t buf[1024] = { 0 };
	struct vu_header head;
	bool any = false;

	while (z.fd >= 0 && request(&head, buf + sizeof(head))) {
		bool asks = head.request == VU_GET_FEATURES ||
			    head.request == VU_GET_PROTOCOL_FEATURES ||
			    head.request == VU_GET_QUEUE_NUM ||
			    head.request == VU_GET_MAX_MEM_SLOTS ||
			    head.request == VU_GET_VRING_BASE;

		if (asks || (head.flags & VU_NEED_REPLY)) {
			answer(&head, buf);
			any = true;
		}
	}
	if (!any)
		hang_up();
}

int __real_poll(struct pollfd *fds, nfds_t n, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout)
{
	if (!n)
		return 0;
	if (!timeout) /* nobody waits for an answer here */
		return __real_poll(fds, n, timeout);
	serve();
	fds[0].revents = fds[0].events;
	return 1;
}

int __real_clock_gettime(clockid_t id, struct timespec *t);
int __wrap_clock_gettime(clockid_t id, struct timespec *t);
int __wrap_clock_gettime(clockid_t id, struct timespec *t)
{
	int rc = __real_clock_gettime(id, t);

	t->tv_sec += z.later;
	return rc;
}

static void step(struct fv *v, uint8_t what)
{
	static const uint64_t features[] = { FV_PLAIN, FV_PLAIN | FG_BIT(VIRTIO_RING_F_EVENT_IDX) |
							       FG_BIT(VIRTIO_NET_F_MRG_RXBUF) };
	uint8_t f[60] = { 0 };

	switch (what % 10) {
	case 0:
		if (fv_agree(v, features[byte() & 1] & fv_offered(v))) {
			for (unsigned int i = 0; i < 3; i++)
				fv_queue(v, i, 64, FV_NONE);
			fv_driver_ok(v);
		}
		break;
	case 1:
		pci_run(v->pci, byte() & 1);
		break;
	case 2:
		(void)twx_net_set_link(v->g->net, byte() & 1 ? "nic0" : "n0", byte() & 1, NULL);
		break;
	case 3:
		pci_mem_changing(v->pci);
		mem_fini(v->g->mem);
		v->g->mem->keep_files = byte() < 240;
		fg_map(v->g);
		pci_mem_changed(v->pci);
		break;
	case 4:
		if (v->g->q[1].size && v->g->q[1].n_free > 2)
			(void)fg_tx(v->g, 1, NULL, f, sizeof(f), FG_SPLIT);
		fv_kick(v, byte() % 3);
		break;
	case 5:
		if (z.fd >= 0)
			(void)!send(z.fd, f, byte() % sizeof(f), MSG_NOSIGNAL);
		break;
	case 6:
		hang_up();
		break;
	case 7: /* long enough for the next attempt to connect */
		z.later += 40;
		break;
	case 8:
		fv_set_status(v, 0);
		break;
	default:
		if (v->g->dev->ops->announce)
			v->g->dev->ops->announce(v->g->dev, f);
	}
	fg_run(v->g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fv *v = calloc(1, sizeof(*v));
	struct twx_error e = { 0 };
	int rc;

	z.in = data;
	z.left = size;
	v->g = fg_new(1, "");
	twx_nic_free(v->g->nic);
	v->g->nic = NULL;
	mem_fini(v->g->mem);
	v->g->mem->keep_files = true;
	fg_map(v->g);
	rc = twx_backend_new(
		NULL, v->g->net,
		byte() & 1 ? "vhost-user,id=n0,path=/x,queues=2" : "vhost-user,id=n0,path=/x", &e);
	if (rc == 0)
		rc = twx_nic_new(&v->g->nic, v->g->net, "virtio-net-pci,id=nic0,netdev=n0", &e);
	if (rc == 0) {
		v->g->dev = v->g->nic->priv;
		rc = fv_try(v, "", &e);
		assert(rc == 0);
		pci_attach(v->pci, &fv_host_ops, v, v->g->mem);
		fv_enable(v);
		fv_find_caps(v);
		while (z.left)
			step(v, byte());
		fv_free(v);
	} else {
		/* fg_free() wants a device: any will do. */
		rc = twx_nic_new(&v->g->nic, v->g->net, "virtio-net,id=nic1,netdev=w0", &e);
		assert(rc == 0);
		v->g->dev = v->g->nic->priv;
		fv_free(v);
	}
	hang_up();
	return 0;
}
