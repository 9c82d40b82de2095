/* SPDX-License-Identifier: BSD-3-Clause */
/* A vhost-user front end for tests, and the network that it connects to. */
#include "vhost_client.h"

#include <dirent.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The network around it. */

static void keep_log(void *opaque, enum twx_log_level level, const char *line)
{
	struct vbench *b = opaque;
	size_t have = strlen(b->log), room = sizeof(b->log) - have;

	(void)level;
	if (room < strlen(line) + 2)
		b->log[0] = '\0', have = 0, room = sizeof(b->log);
	snprintf(b->log + have, room, "%s\n", line);
}

int vbench_open_net(struct vbench *b)
{
	struct twx_net_config config = { .size = sizeof(config), .log = keep_log, .log_opaque = b,
					 .log_level = TWX_LOG_INFO };
	int err;

	memset(b, 0, sizeof(*b));
	snprintf(b->dir, sizeof(b->dir), "/tmp/vhost-test-XXXXXX");
	if (mkdtemp(b->dir) == NULL)
		return -errno;
	snprintf(b->path, sizeof(b->path), "%s/s", b->dir);
	err = twx_loop_new(&b->loop, &b->e);
	if (err < 0)
		return err;
	config.loop = b->loop;
	return twx_net_new(&b->net, &config, &b->e);
}

int vbench_open_nic(struct vbench *b, const char *text)
{
	char full[400];

	snprintf(full, sizeof(full), "%s,id=nic0,export=vhost-user:%s", text, b->path);
	return twx_nic_new(&b->nic, b->net, full, &b->e);
}

int vbench_open(struct vbench *b, const char *options)
{
	char text[256];
	int err = vbench_open_net(b);

	if (err == 0)
		err = twx_net_add_nic_model(b->net, &echo_model);
	snprintf(text, sizeof(text), "echo%s%s", options != NULL ? "," : "",
		 options != NULL ? options : "");
	if (err == 0)
		err = vbench_open_nic(b, text);
	if (err == 0)
		b->echo = b->nic->priv;
	return err;
}

void vbench_close(struct vbench *b)
{
	if (b->net != NULL)
		twx_net_free(b->net);
	if (b->loop != NULL)
		twx_loop_free(b->loop);
	unlink(b->path);
	rmdir(b->dir);
	b->net = NULL;
	b->loop = NULL;
}

void vbench_pump(struct vbench *b)
{
	for (int i = 0; i < 200 && twx_loop_poll(b->loop, 0) > 0; i++)
		;
}

void vbench_wait(struct vbench *b, const bool *done)
{
	for (int i = 0; i < 500 && !*done; i++)
		twx_loop_poll(b->loop, 10);
}

int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

/* The front end. */

void vc_init_form(struct vc *c, struct vbench *b, bool packed)
{
	memset(c, 0, sizeof(*c));
	c->b = b;
	c->packed = packed;
	c->fd = -1;
	c->reply_fd = -1;
	c->memfd = memfd_create("guest", MFD_CLOEXEC);
	if (ftruncate(c->memfd, VC_MEM) < 0)
		abort();
	c->mem = mmap(NULL, VC_MEM, PROT_READ | PROT_WRITE, MAP_SHARED, c->memfd, 0);
	for (int i = 0; i < ECHO_QUEUES; i++) {
		c->q[i].kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		c->q[i].call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	}
}

static void take_fd(struct vc *c, int fd)
{
	if (c->reply_fd >= 0)
		close(c->reply_fd);
	c->reply_fd = fd;
}

void vc_hangup(struct vc *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->protocol = 0;
	take_fd(c, -1);
	if (!c->keep) {
		memset(c->mem, 0, VC_MEM);
		for (int i = 0; i < ECHO_QUEUES; i++)
			c->q[i].avail = c->q[i].used = 0;
	}
	vbench_pump(c->b);
}

void vc_fini(struct vc *c)
{
	vc_hangup(c);
	for (int i = 0; i < ECHO_QUEUES; i++) {
		close(c->q[i].kick);
		close(c->q[i].call);
	}
	munmap(c->mem, VC_MEM);
	close(c->memfd);
}

void vc_connect(struct vc *c)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	vc_hangup(c);
	memcpy(a.sun_path, c->b->path, strlen(c->b->path) + 1);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (connect(c->fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		close(c->fd);
		c->fd = -1;
	}
	vbench_pump(c->b);
}

bool vc_alive(struct vc *c)
{
	ssize_t n;
	char x;

	vbench_pump(c->b);
	n = recv(c->fd, &x, 1, MSG_PEEK | MSG_DONTWAIT);
	return n > 0 || (n < 0 && errno == EAGAIN);
}

void vc_raw(struct vc *c, const void *buf, size_t len, const int *fds, int n_fds)
{
	char control[CMSG_SPACE(64 * sizeof(int))] = { 0 };
	struct iovec iov = { (void *)buf, len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cm;

	if (n_fds > 0) {
		mh.msg_control = control;
		mh.msg_controllen = CMSG_SPACE((size_t)n_fds * sizeof(int));
		cm = CMSG_FIRSTHDR(&mh);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN((size_t)n_fds * sizeof(int));
		memcpy(CMSG_DATA(cm), fds, (size_t)n_fds * sizeof(int));
	}
	(void)!sendmsg(c->fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void vc_send(struct vc *c, uint32_t request, uint32_t flags, const void *p, uint32_t len,
	     const int *fds, int n_fds)
{
	uint8_t buf[sizeof(struct vu_header) + sizeof(union vu_payload)];
	struct vu_header h = { request, VU_VERSION | flags, len };

	if (len > sizeof(union vu_payload))
		abort();
	memcpy(buf, &h, sizeof(h));
	if (len > 0)
		memcpy(buf + sizeof(h), p, len);
	vc_raw(c, buf, sizeof(h) + len, fds, n_fds);
}

static ssize_t receive(struct vc *c, void *to, size_t want)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { to, want };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf,
			     .msg_controllen = sizeof(control.buf) };
	ssize_t n = recvmsg(c->fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *cm = n > 0 ? CMSG_FIRSTHDR(&mh) : NULL;
	int fd;

	if (cm != NULL) {
		memcpy(&fd, CMSG_DATA(cm), sizeof(fd));
		take_fd(c, fd);
	}
	return n;
}

int vc_reply(struct vc *c)
{
	uint32_t got = 0;

	for (int tries = 0; tries < 100; tries++) {
		bool head = got < sizeof(c->head);
		uint32_t want = head ? sizeof(c->head) - got : c->head.size - (got - (uint32_t)sizeof(c->head));
		void *to = head ? (uint8_t *)&c->head + got : c->reply.raw + (got - sizeof(c->head));
		ssize_t n;

		if (!head && want == 0)
			return 1;
		vbench_pump(c->b);
		n = receive(c, to, want);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return -1;
		if (n < 0 && got == 0)
			return 0;
		got += n > 0 ? (uint32_t)n : 0;
		if (got >= sizeof(c->head) && c->head.size > sizeof(c->reply))
			return -1;
	}
	return 0;
}

int vc_ask(struct vc *c, uint32_t request, const void *p, uint32_t len, const int *fds, int n_fds)
{
	int rc;

	vc_send(c, request, VU_NEED_REPLY, p, len, fds, n_fds);
	rc = vc_reply(c);
	if (rc <= 0)
		return rc < 0 ? -1 : -2;
	if (c->head.request != request || c->head.flags != (VU_VERSION | VU_REPLY) ||
	    c->head.size != sizeof(uint64_t))
		return -3;
	return c->reply.u64 != 0;
}

int vc_ask_u64(struct vc *c, uint32_t request, uint64_t v)
{
	return vc_ask(c, request, &v, sizeof(v), NULL, 0);
}

int vc_ask_state(struct vc *c, uint32_t request, uint32_t index, uint32_t num)
{
	struct vhost_vring_state s = { index, num };

	return vc_ask(c, request, &s, sizeof(s), NULL, 0);
}

int vc_ask_fd(struct vc *c, uint32_t request, uint64_t v, int fd)
{
	return vc_ask(c, request, &v, sizeof(v), &fd, 1);
}

uint64_t vc_get(struct vc *c, uint32_t request)
{
	vc_send(c, request, 0, NULL, 0, NULL, 0);
	if (vc_reply(c) != 1 || c->head.request != request ||
	    c->head.flags != (VU_VERSION | VU_REPLY) || c->head.size != sizeof(uint64_t))
		return UINT64_MAX;
	return c->reply.u64;
}

void vc_features(struct vc *c)
{
	uint64_t f;

	vc_send(c, VU_SET_OWNER, 0, NULL, 0, NULL, 0);
	f = vc_get(c, VU_GET_FEATURES);
	c->protocol = vc_get(c, VU_GET_PROTOCOL_FEATURES);
	vc_send(c, VU_SET_PROTOCOL_FEATURES, 0, &c->protocol, sizeof(c->protocol), NULL, 0);
	f &= ~VU_F_LOG_ALL;
	if (!c->packed)
		f &= ~VIRTIO_PACKED;
	vc_send(c, VU_SET_FEATURES, 0, &f, sizeof(f), NULL, 0);
	vbench_pump(c->b);
}

int vc_mem_table(struct vc *c, uint32_t n_regions)
{
	uint64_t size = VC_MEM / n_regions;
	union vu_payload p = { 0 };
	int fds[2] = { c->memfd, c->memfd };

	p.table.n = n_regions;
	for (uint32_t i = 0; i < n_regions; i++)
		p.table.regions[i] = (struct vu_region){ VC_GPA + i * size, size, VC_USER + i * size,
							 i * size };
	return vc_ask(c, VU_SET_MEM_TABLE, &p,
		      (uint32_t)(offsetof(union vu_payload, table.regions) +
				 n_regions * sizeof(struct vu_region)), fds, (int)n_regions);
}

struct vhost_vring_addr vc_addr(uint32_t q)
{
	uint64_t at = VC_USER + (uint64_t)q * VC_RING_STEP;

	return (struct vhost_vring_addr){
		.index = q,
		.desc_user_addr = at,
		.avail_user_addr = at + 0x1000,
		.used_user_addr = at + 0x2000,
	};
}

/* Every chain of ours has one slot. */
static uint16_t position(uint16_t n)
{
	return (uint16_t)(n % VC_NUM | (n / VC_NUM % 2 ? 0 : 0x8000));
}

uint64_t vc_echo_features(const struct vc *c)
{
	return c->b->echo->dev.offered & ~(c->packed ? 0 : VIRTIO_PACKED);
}

uint32_t vc_base(const struct vc *c, uint16_t n)
{
	return c->packed ? position(n) * 0x10001u : n;
}

int vc_ring_setup(struct vc *c, uint32_t q)
{
	struct vhost_vring_addr a = vc_addr(q);
	int bad = 0;

	bad |= vc_ask_state(c, VU_SET_VRING_NUM, q, VC_NUM);
	bad |= vc_ask_state(c, VU_SET_VRING_BASE, q, vc_base(c, c->q[q].used));
	bad |= vc_ask(c, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
	bad |= vc_ask_fd(c, VU_SET_VRING_CALL, q, c->q[q].call);
	return bad;
}

int vc_ring_kick_fd(struct vc *c, uint32_t q)
{
	return vc_ask_fd(c, VU_SET_VRING_KICK, q, c->q[q].kick);
}

bool vc_step(struct vc *c, int step)
{
	uint32_t q = (uint32_t)(step - 4) / 4;
	struct vhost_vring_addr a;
	int pair[2];

	switch (step) {
	case 0:
		vc_send(c, VU_SET_OWNER, 0, NULL, 0, NULL, 0);
		return true;
	case 1:
		vc_features(c);
		return true;
	case 2:
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0) {
			(void)vc_ask(c, VU_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1);
			close(pair[0]);
			close(pair[1]);
		}
		return true;
	case 3:
		(void)vc_mem_table(c, 2);
		return true;
	}
	if (q >= 2)
		return false;
	a = vc_addr(q);
	switch ((step - 4) % 4) {
	case 0:
		(void)vc_ask_state(c, VU_SET_VRING_NUM, q, VC_NUM);
		(void)vc_ask_state(c, VU_SET_VRING_BASE, q, vc_base(c, 0));
		break;
	case 1:
		(void)vc_ask(c, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
		(void)vc_ask_fd(c, VU_SET_VRING_CALL, q, c->q[q].call);
		break;
	case 2:
		(void)vc_ring_kick_fd(c, q);
		break;
	case 3:
		(void)vc_ask_state(c, VU_SET_VRING_ENABLE, q, 1);
		break;
	}
	return true;
}

void vc_handshake(struct vc *c)
{
	vc_connect(c);
	for (int i = 0; vc_step(c, i); i++)
		;
}

/* The guest. */

#define AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED (1u << VRING_PACKED_DESC_F_USED)

static void offer_packed(struct vc *c, uint32_t q, uint64_t addr, uint32_t len, uint16_t flags)
{
	uint8_t *ring = c->mem + q * VC_RING_STEP;
	uint16_t pos = position(c->q[q].avail++);
	struct vring_packed_desc *d = (struct vring_packed_desc *)ring + (pos & 0x7fff);

	*d = (struct vring_packed_desc){ .addr = addr, .len = len, .id = pos & 0x7fff, .flags = d->flags };
	__atomic_store_n(&d->flags, (uint16_t)(flags | (pos & 0x8000 ? AVAIL : USED)), __ATOMIC_RELEASE);
}

static bool used_packed(struct vc *c, uint32_t q, uint32_t *len)
{
	const struct vring_packed_desc *ring = (const void *)(c->mem + q * VC_RING_STEP), *d;
	uint16_t pos = position(c->q[q].used), flags;

	d = ring + (pos & 0x7fff);
	flags = __atomic_load_n(&d->flags, __ATOMIC_ACQUIRE);
	if ((flags & (AVAIL | USED)) != (pos & 0x8000 ? AVAIL | USED : 0) || d->id != (pos & 0x7fff))
		return false;
	if (len != NULL)
		*len = d->len;
	c->q[q].used++;
	return true;
}

static void offer_split(struct vc *c, uint32_t q, uint64_t addr, uint32_t len, uint16_t flags)
{
	uint8_t *ring = c->mem + q * VC_RING_STEP;
	struct vring_desc *desc = (struct vring_desc *)ring;
	struct vring_avail *avail = (struct vring_avail *)(ring + 0x1000);
	uint16_t slot = c->q[q].avail % VC_NUM;

	desc[slot] = (struct vring_desc){ .addr = addr, .len = len, .flags = flags };
	avail->ring[slot] = slot;
	c->q[q].avail++;
	__atomic_store_n(&avail->idx, c->q[q].avail, __ATOMIC_RELEASE);
	/* Without event suppression in the way: signal at the next used entry. */
	avail->ring[VC_NUM] = c->q[q].used;
}

static void offer(struct vc *c, uint32_t q, uint64_t addr, uint32_t len, uint16_t flags)
{
	(c->packed ? offer_packed : offer_split)(c, q, addr, len, flags);
}

void vc_offer(struct vc *c, uint32_t q, uint64_t gpa_addr, uint32_t len, bool write)
{
	offer(c, q, gpa_addr, len, write ? VRING_DESC_F_WRITE : 0);
}

void vc_offer_table(struct vc *c, uint32_t q, uint64_t table, uint32_t n)
{
	offer(c, q, table, n * (uint32_t)sizeof(struct vring_desc), VRING_DESC_F_INDIRECT);
}

void vc_kick(struct vc *c, uint32_t q)
{
	uint64_t one = 1;

	(void)!write(c->q[q].kick, &one, sizeof(one));
	vbench_pump(c->b);
}

bool vc_used(struct vc *c, uint32_t q, uint32_t *len)
{
	struct vring_used *used = (struct vring_used *)(c->mem + q * VC_RING_STEP + 0x2000);
	uint16_t idx = __atomic_load_n(&used->idx, __ATOMIC_ACQUIRE);

	if (c->packed)
		return used_packed(c, q, len);
	if (idx == c->q[q].used)
		return false;
	if (len != NULL)
		*len = used->ring[c->q[q].used % VC_NUM].len;
	c->q[q].used++;
	return true;
}

unsigned int vc_calls(struct vc *c, uint32_t q)
{
	uint64_t n = 0;

	return read(c->q[q].call, &n, sizeof(n)) == sizeof(n) ? (unsigned int)n : 0;
}

bool vc_echo(struct vc *c)
{
	static unsigned int serial;
	uint32_t slot = c->q[1].avail % VC_NUM, len = 0;
	uint32_t tx = VC_BUF + slot * 4096, rx = tx + 2048;
	char text[32];

	snprintf(text, sizeof(text), "frame %u", ++serial);
	memcpy(c->mem + tx, text, sizeof(text));
	memset(c->mem + rx, 0, sizeof(text));
	vc_offer(c, 0, VC_GPA + rx, 2048, true);
	vc_offer(c, 1, VC_GPA + tx, sizeof(text), false);
	vc_kick(c, 1);
	return vc_used(c, 1, NULL) && vc_used(c, 0, &len) && len == sizeof(text) &&
	       memcmp(c->mem + rx, text, sizeof(text)) == 0;
}
