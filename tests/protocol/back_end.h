/* SPDX-License-Identifier: BSD-3-Clause */
/* A vhost-user back end that follows a script, in a thread of its own, and a card in front of it.
 */
#ifndef TESTS_BACK_END_H
#define TESTS_BACK_END_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../device/path_kit.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/macros.h"
#include "bus/vhost.h"
#include "bus/vhost_user_wire.h"

#define RXQ 0
#define TXQ 1
#define MAX_LOG 512
#define RINGS 8

enum trick {
	NO_TRICK,
	SILENT,	  /* no answer */
	HANG_UP,  /* instead of one */
	SHORT,	  /* half of it, then the end */
	LONG,	  /* a head that promises more */
	OTHER,	  /* the answer to another question */
	NO_REPLY, /* without the flag */
	VERSION_2,
	WITH_FD,
	REFUSE,	   /* an acknowledgement that says no */
	NEXT_RING, /* the base of another ring */
	FAR_RING,  /* of one whose number is the right one in 16 bits */
	FAR_BASE,  /* an index of more than 16 bits */
	SLOW,	   /* all answers, late */
};

static struct peer {
	char path[100];
	int listen_fd, fd;
	pthread_t thread;
	/* The script. */
	uint64_t features, protocol;
	uint64_t max_slots, n_queues;
	enum trick trick;
	uint32_t trick_at; /* request */
	/* What came. */
	_Atomic unsigned int n_conns, n_msgs;
	uint32_t log[MAX_LOG];
	uint64_t set_features;
	struct vu_region regions[64];
	uint8_t *maps[64];
	unsigned int n_regions;
	struct {
		unsigned int num, base;
		struct vhost_vring_addr addr;
		int kick, call;
		bool started, enabled;
	} ring[RINGS];
	atomic_bool stop;
} peer;

/* The back end. */

struct msg {
	struct vu_header head;
	uint8_t p[512];
	int fds[VU_MAX_FDS];
	unsigned int n_fds;
};

static bool get(struct msg *m)
{
	union {
		char buf[CMSG_SPACE(VU_MAX_FDS * sizeof(int))];
		struct cmsghdr align;
	} c;
	struct iovec iov = { &m->head, sizeof(m->head) };
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.buf, .msg_controllen = sizeof(c)
	};
	struct cmsghdr *h;

	m->n_fds = 0;
	if (recvmsg(peer.fd, &mh, MSG_WAITALL) != sizeof(m->head))
		return false;
	h = CMSG_FIRSTHDR(&mh);
	if (h) {
		m->n_fds = (unsigned int)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(m->fds, CMSG_DATA(h), m->n_fds * sizeof(int));
	}
	assert(m->head.size <= sizeof(m->p));
	return !m->head.size ||
	       recv(peer.fd, m->p, m->head.size, MSG_WAITALL) == (ssize_t)m->head.size;
}

static void put(const struct msg *m, size_t len)
{
	(void)!send(peer.fd, m, len, MSG_NOSIGNAL);
}

static void put_with_fd(const struct msg *m, size_t len)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} c = { .align = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec iov = { (void *)(uintptr_t)m, len };
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.buf, .msg_controllen = sizeof(c)
	};
	int fd = 2;

	memcpy(CMSG_DATA(&c.align), &fd, sizeof(fd));
	(void)!sendmsg(peer.fd, &mh, MSG_NOSIGNAL);
}

/* False: the connection ends. */
static bool answer(struct msg *m, const void *p, uint32_t len)
{
	bool here = m->head.request == peer.trick_at;
	enum trick t = here ? peer.trick : NO_TRICK;
	size_t whole = sizeof(m->head) + len;

	if (peer.trick == SLOW)
		poll(NULL, 0, 1000);
	memcpy(m->p, p, len);
	m->head.size = len;
	m->head.flags = VU_VERSION | VU_REPLY;
	switch (t) {
	case SILENT:
		return true;
	case HANG_UP:
		return false;
	case SHORT:
		put(m, whole / 2);
		return false;
	case LONG:
		m->head.size = 0xfffffff0;
		break;
	case OTHER:
		m->head.request++;
		break;
	case NO_REPLY:
		m->head.flags = VU_VERSION;
		break;
	case VERSION_2:
		m->head.flags = 2 | VU_REPLY;
		break;
	case WITH_FD:
		put_with_fd(m, whole);
		return true;
	default:
		break;
	}
	put(m, whole);
	return true;
}

static void add_region(const struct vu_region *r, int fd)
{
	uint8_t *p =
		mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)r->mmap_off);

	assert(p != MAP_FAILED);
	peer.regions[peer.n_regions] = *r;
	peer.maps[peer.n_regions++] = p;
}

static void drop_regions(void)
{
	for (unsigned int i = 0; i < peer.n_regions; i++)
		munmap(peer.maps[i], peer.regions[i].size);
	peer.n_regions = 0;
}

static void take_table(const struct msg *m)
{
	uint32_t n;

	memcpy(&n, m->p, sizeof(n));
	assert(n == m->n_fds && n <= VU_TABLE_REGIONS);
	drop_regions();
	for (uint32_t i = 0; i < n; i++) {
		struct vu_region r;

		memcpy(&r, m->p + 8 + i * sizeof(r), sizeof(r));
		add_region(&r, m->fds[i]);
	}
}

static void take_ring(struct msg *m)
{
	struct vhost_vring_state s;
	uint64_t u;

	memcpy(&s, m->p, sizeof(s));
	memcpy(&u, m->p, sizeof(u));
	switch (m->head.request) {
	case VU_SET_VRING_NUM:
		peer.ring[s.index].num = s.num;
		break;
	case VU_SET_VRING_BASE:
		peer.ring[s.index].base = s.num;
		break;
	case VU_SET_VRING_ENABLE:
		peer.ring[s.index].enabled = s.num;
		break;
	case VU_SET_VRING_ADDR:
		memcpy(&peer.ring[s.index].addr, m->p, sizeof(struct vhost_vring_addr));
		break;
	case VU_SET_VRING_KICK:
		peer.ring[u & VU_INDEX].started = true;
		peer.ring[u & VU_INDEX].kick = dup(m->fds[0]);
		break;
	case VU_SET_VRING_CALL:
		peer.ring[u & VU_INDEX].call = dup(m->fds[0]);
		break;
	}
}

static void stop_ring(unsigned int i)
{
	if (peer.ring[i].kick)
		close(peer.ring[i].kick);
	if (peer.ring[i].call)
		close(peer.ring[i].call);
	peer.ring[i].kick = peer.ring[i].call = 0;
	peer.ring[i].started = false;
}

static bool handle(struct msg *m)
{
	const bool ack = m->head.flags & VU_NEED_REPLY;
	const uint64_t refused = peer.trick == REFUSE && peer.trick_at == m->head.request;
	struct vhost_vring_state s;
	struct vu_region r;

	switch (m->head.request) {
	case VU_GET_FEATURES:
		return answer(m, &peer.features, 8);
	case VU_GET_PROTOCOL_FEATURES:
		return answer(m, &peer.protocol, 8);
	case VU_GET_QUEUE_NUM:
		return answer(m, &peer.n_queues, 8);
	case VU_GET_MAX_MEM_SLOTS:
		return answer(m, &peer.max_slots, 8);
	case VU_GET_VRING_BASE:
		memcpy(&s, m->p, sizeof(s));
		stop_ring(s.index);
		s.num = peer.ring[s.index].base;
		if (peer.trick_at == VU_GET_VRING_BASE) {
			s.index += peer.trick == NEXT_RING;
			s.index += peer.trick == FAR_RING ? 0x10000 : 0;
			s.num += peer.trick == FAR_BASE ? 0x10000 : 0;
		}
		return answer(m, &s, sizeof(s));
	case VU_SET_FEATURES:
		memcpy(&peer.set_features, m->p, 8);
		break;
	case VU_SET_MEM_TABLE:
		take_table(m);
		break;
	case VU_ADD_MEM_REG:
		memcpy(&r, m->p + 8, sizeof(r));
		add_region(&r, m->fds[0]);
		break;
	case VU_REM_MEM_REG:
		assert(peer.n_regions > 0);
		peer.n_regions--;
		munmap(peer.maps[peer.n_regions], peer.regions[peer.n_regions].size);
		break;
	default:
		take_ring(m);
	}
	if (!ack)
		return !(peer.trick == HANG_UP && peer.trick_at == m->head.request);
	return answer(m, &refused, 8);
}

static void *back_end(void *arg)
{
	struct msg m;

	while (!peer.stop) {
		int fd = accept(peer.listen_fd, NULL, NULL);

		if (fd < 0)
			break;
		peer.fd = fd;
		peer.n_conns++;
		while (get(&m)) {
			bool go_on;

			if (peer.n_msgs < MAX_LOG)
				peer.log[peer.n_msgs] = m.head.request;
			go_on = handle(&m);
			for (unsigned int i = 0; i < m.n_fds; i++)
				close(m.fds[i]);
			peer.n_msgs++;
			if (!go_on)
				break;
		}
		drop_regions();
		for (unsigned int i = 0; i < RINGS; i++)
			stop_ring(i);
		peer.fd = -1;
		close(fd);
	}
	return arg;
}

#define PROTOCOL                                                                                   \
	(VU_BIT(VU_P_MQ) | VU_BIT(VU_P_REPLY_ACK) | VU_BIT(VU_P_CONFIGURE_MEM_SLOTS) |             \
	 VU_BIT(VU_P_RARP) | VU_BIT(VU_P_NET_MTU))

static void peer_listen(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", peer.path);
	unlink(peer.path);
	peer.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(peer.listen_fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(peer.listen_fd, 4), 0);
	assert_int_equal(pthread_create(&peer.thread, NULL, back_end, NULL), 0);
}

static void peer_end(void)
{
	peer.stop = true;
	shutdown(peer.listen_fd, SHUT_RDWR);
	if (peer.fd >= 0)
		shutdown(peer.fd, SHUT_RDWR);
	pthread_join(peer.thread, NULL);
	close(peer.listen_fd);
	peer.stop = false;
}

static unsigned int n_fds_open(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static unsigned int fds_before;

static int setup(void **state)
{
	(void)state;
	fds_before = n_fds_open();
	memset(&peer, 0, sizeof(peer));
	peer.fd = -1;
	peer.features = VHOST_FEATURES | VU_F_PROTOCOL_FEATURES;
	peer.protocol = PROTOCOL;
	peer.max_slots = 32;
	peer.n_queues = 4;
	snprintf(peer.path, sizeof(peer.path), "/tmp/twinax-front.%d", (int)getpid());
	peer_listen();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	peer_end();
	unlink(peer.path);
	return n_fds_open() == fds_before ? 0 : -1;
}

static inline struct fv *card(const char *more)
{
	char netdev[200];

	snprintf(netdev, sizeof(netdev), "vhost-user,id=n0,path=%s%s", peer.path, more);
	return pk_new(netdev, "virtio-net-pci", "", &fv_host_ops);
}

static inline unsigned int said(uint32_t request)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < peer.n_msgs; i++)
		n += peer.log[i] == request;
	return n;
}

/* By the peer's own mapping. */
static inline uint8_t *peer_at(uint64_t user)
{
	for (unsigned int i = 0; i < peer.n_regions; i++)
		if (user - peer.regions[i].user < peer.regions[i].size)
			return peer.maps[i] + (user - peer.regions[i].user);
	return NULL;
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

#endif
