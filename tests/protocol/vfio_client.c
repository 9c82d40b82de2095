/* SPDX-License-Identifier: BSD-3-Clause */
/* A vfio-user client for tests. */
#include "vfio_client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

int vfbench_open(struct vbench *b, const char *options)
{
	char text[400];
	int err = vbench_open_net(b);

	if (err == 0)
		err = twx_net_add_nic_model(b->net, &echo_pci_model);
	snprintf(text, sizeof(text), "echo-pci,id=nic0,export=vfio-user:%s%s%s", b->path,
		 options != NULL ? "," : "", options != NULL ? options : "");
	return err == 0 ? twx_nic_new(&b->nic, b->net, text, &b->e) : err;
}

struct echo_pci *vfbench_dev(struct vbench *b)
{
	return b->nic->priv;
}

void vfc_init(struct vfc *c, struct vbench *b)
{
	memset(c, 0, sizeof(*c));
	c->b = b;
	c->fd = -1;
	c->memfd = memfd_create("guest", MFD_CLOEXEC);
	if (c->memfd < 0 || ftruncate(c->memfd, VFC_MEM) < 0)
		abort();
	c->mem = mmap(NULL, VFC_MEM, PROT_READ | PROT_WRITE, MAP_SHARED, c->memfd, 0);
}

static void pump(struct vfc *c)
{
	if (!c->blocking)
		vbench_pump(c->b);
}

void vfc_hangup(struct vfc *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	pump(c);
}

void vfc_fini(struct vfc *c)
{
	vfc_hangup(c);
	munmap(c->mem, VFC_MEM);
	close(c->memfd);
}

void vfc_connect(struct vfc *c)
{
	const struct timeval patience = { .tv_sec = 20 };
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	vfc_hangup(c);
	memcpy(a.sun_path, c->b->path, strlen(c->b->path) + 1);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* A server that does not answer fails a test that waits for it. */
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(c->fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		close(c->fd);
		c->fd = -1;
	}
	pump(c);
}

bool vfc_alive(struct vfc *c)
{
	ssize_t n;
	char x;

	pump(c);
	n = recv(c->fd, &x, 1, MSG_PEEK | MSG_DONTWAIT);
	return n > 0 || (n < 0 && errno == EAGAIN);
}

void vfc_send(struct vfc *c, uint16_t command, uint32_t flags, const void *p, uint32_t len,
	      const int *fds, int n_fds)
{
	struct vfu_header h = {
		.id = ++c->id, .command = command, .size = (uint32_t)sizeof(h) + len, .flags = flags
	};
	char control[CMSG_SPACE(64 * sizeof(int))] = { 0 };
	struct iovec iov[2] = { { &h, sizeof(h) }, { (void *)(uintptr_t)p, len } };
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 2 };
	struct cmsghdr *cm;
	size_t sent = 0;

	if (n_fds > 0) {
		mh.msg_control = control;
		mh.msg_controllen = CMSG_SPACE((size_t)n_fds * sizeof(int));
		cm = CMSG_FIRSTHDR(&mh);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN((size_t)n_fds * sizeof(int));
		memcpy(CMSG_DATA(cm), fds, (size_t)n_fds * sizeof(int));
	}
	/* More than the socket holds: the server has to run in between. */
	for (int tries = 0; tries < 1000 && sent < h.size; tries++) {
		ssize_t n = sendmsg(c->fd, &mh, MSG_NOSIGNAL | (c->blocking ? 0 : MSG_DONTWAIT));

		if (n < 0 && errno != EAGAIN)
			return;
		mh.msg_control = n > 0 ? NULL : mh.msg_control;
		mh.msg_controllen = n > 0 ? 0 : mh.msg_controllen;
		for (int i = 0; n > 0 && i < 2; i++) {
			size_t here = (size_t)n < iov[i].iov_len ? (size_t)n : iov[i].iov_len;

			iov[i].iov_base = (char *)iov[i].iov_base + here;
			iov[i].iov_len -= here;
			sent += here;
			n -= (ssize_t)here;
		}
		if (sent < h.size)
			pump(c);
	}
}

/* @want bytes: 1, 0 when none of them came, -1 at the end of the connection. */
static int receive(struct vfc *c, void *to, size_t want)
{
	size_t got = 0;

	for (int tries = 0; got < want && tries < 1000; tries++) {
		ssize_t n;

		pump(c);
		n = recv(c->fd, (char *)to + got, want - got, c->blocking ? 0 : MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return -1;
		if (n < 0 && (got == 0 || c->blocking))
			return 0;
		got += n > 0 ? (size_t)n : 0;
	}
	return got == want ? 1 : -1;
}

int vfc_reply(struct vfc *c)
{
	int rc = receive(c, &c->head, sizeof(c->head));

	if (rc <= 0)
		return rc;
	c->reply_len = c->head.size - (uint32_t)sizeof(c->head);
	if (c->head.size < sizeof(c->head) || c->reply_len > sizeof(c->reply))
		return -1;
	return c->reply_len == 0 ? 1 : receive(c, c->reply, c->reply_len) == 1 ? 1 : -1;
}

int vfc_ask(struct vfc *c, uint16_t command, const void *p, uint32_t len, const int *fds, int n_fds)
{
	int rc;

	vfc_send(c, command, 0, p, len, fds, n_fds);
	rc = vfc_reply(c);
	if (rc <= 0)
		return rc < 0 ? -1 : -2;
	if (c->head.id != c->id || c->head.command != command)
		return -3;
	if (c->head.flags == (VFU_TYPE_REPLY | VFU_ERROR))
		return c->reply_len == 0 && c->head.error > 0 && c->head.error < 4096
			       ? (int)c->head.error
			       : -3;
	return c->head.flags == VFU_TYPE_REPLY && c->head.error == 0 ? 0 : -3;
}

int vfc_version(struct vfc *c, uint16_t major, uint16_t minor, const char *json)
{
	struct vfu_version v = { major, minor };
	uint8_t buf[8192];
	uint32_t len = json != NULL ? (uint32_t)strlen(json) + 1 : 0;

	memcpy(buf, &v, sizeof(v));
	if (len > 0)
		memcpy(buf + sizeof(v), json, len);
	return vfc_ask(c, VFU_VERSION, buf, (uint32_t)sizeof(v) + len, NULL, 0);
}

int vfc_map(struct vfc *c, uint64_t addr, uint64_t size, uint64_t off, uint32_t flags, int fd)
{
	struct vfu_dma_map m = { sizeof(m), flags, off, addr, size };

	return vfc_ask(c, VFU_DMA_MAP, &m, sizeof(m), &fd, fd >= 0);
}

int vfc_unmap(struct vfc *c, uint64_t addr, uint64_t size, uint32_t flags)
{
	struct vfu_dma_unmap m = { sizeof(m), flags, addr, size };

	return vfc_ask(c, VFU_DMA_UNMAP, &m, sizeof(m), NULL, 0);
}

int vfc_irqs(struct vfc *c, uint32_t index, uint32_t flags, uint32_t start, uint32_t count,
	     const void *data, uint32_t len, const int *fds, int n_fds)
{
	uint32_t head[5] = { (uint32_t)VFU_IRQ_SET_SIZE + len, flags, index, start, count };
	uint8_t buf[4096];

	memcpy(buf, head, sizeof(head));
	if (len > 0)
		memcpy(buf + sizeof(head), data, len);
	return vfc_ask(c, VFU_DEVICE_SET_IRQS, buf, (uint32_t)sizeof(head) + len, fds, n_fds);
}

int vfc_feature(struct vfc *c, uint32_t flags, uint32_t argsz, const void *data, uint32_t len)
{
	struct vfu_feature f = { argsz, flags };
	uint8_t buf[4096];

	memcpy(buf, &f, sizeof(f));
	if (len > 0)
		memcpy(buf + sizeof(f), data, len);
	return vfc_ask(c, VFU_DEVICE_FEATURE, buf, (uint32_t)sizeof(f) + len, NULL, 0);
}

int vfc_state(struct vfc *c, uint32_t state)
{
	struct vfio_device_feature_mig_state s = { state, -1 };

	return vfc_feature(c, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE | VFIO_DEVICE_FEATURE_SET,
			   sizeof(struct vfu_feature) + sizeof(s), &s, sizeof(s));
}

int vfc_rw(struct vfc *c, bool write, uint32_t region, uint64_t off, void *buf, uint32_t len)
{
	struct vfu_region_rw rw = { off, region, len };
	uint8_t *p;
	int rc;

	if (!write) {
		rc = vfc_ask(c, VFU_REGION_READ, &rw, sizeof(rw), NULL, 0);
		if (rc == 0 &&
		    (c->reply_len != sizeof(rw) + len || memcmp(c->reply, &rw, sizeof(rw)) != 0))
			return -3;
		if (rc == 0)
			memcpy(buf, c->reply + sizeof(rw), len);
		return rc;
	}
	p = malloc(sizeof(rw) + len);
	memcpy(p, &rw, sizeof(rw));
	memcpy(p + sizeof(rw), buf, len);
	rc = vfc_ask(c, VFU_REGION_WRITE, p, (uint32_t)sizeof(rw) + len, NULL, 0);
	free(p);
	if (rc == 0 && (c->reply_len != sizeof(rw) || memcmp(c->reply, &rw, sizeof(rw)) != 0))
		return -3;
	return rc;
}

uint32_t vfc_get(struct vfc *c, uint32_t region, uint64_t off)
{
	uint32_t v;

	return vfc_rw(c, false, region, off, &v, sizeof(v)) == 0 ? v : 0xdeaddead;
}

void vfc_put(struct vfc *c, uint32_t region, uint64_t off, uint32_t v)
{
	if (vfc_rw(c, true, region, off, &v, sizeof(v)) != 0)
		c->head.error = 0xdead;
}

void vfc_post(struct vfc *c, uint32_t region, uint64_t off, uint32_t v)
{
	struct {
		struct vfu_region_rw rw;
		uint32_t v;
	} m = { { off, region, sizeof(v) }, v };

	vfc_send(c, VFU_REGION_WRITE, VFU_NO_REPLY, &m, sizeof(m.rw) + sizeof(m.v), NULL, 0);
}

int vfc_dma(struct vfc *c, uint64_t addr, uint32_t len, bool write)
{
	vfc_put(c, 0, EP_ADDR_LO, (uint32_t)addr);
	vfc_put(c, 0, EP_ADDR_HI, (uint32_t)(addr >> 32));
	vfc_put(c, 0, EP_LEN, len);
	vfc_put(c, 0, EP_DMA, write ? 2 : 1);
	return (int)vfc_get(c, 0, EP_RESULT);
}

void vfc_begin(struct vfc *c)
{
	uint16_t command = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

	vfc_connect(c);
	(void)vfc_version(c, 0, 0, "{\"capabilities\":{\"max_data_xfer_size\":1048576}}");
	(void)vfc_map(c, VFC_ADDR, VFC_MEM, 0, VFC_RW, c->memfd);
	(void)vfc_rw(c, true, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, sizeof(command));
}

unsigned int vfc_count(int efd)
{
	uint64_t n = 0;
	struct pollfd p = { .fd = efd, .events = POLLIN };

	if (poll(&p, 1, 0) != 1 || read(efd, &n, sizeof(n)) != sizeof(n))
		return 0;
	return (unsigned int)n;
}
