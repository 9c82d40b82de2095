/* SPDX-License-Identifier: BSD-3-Clause */
/* Our vhost-user front end against a back end that follows a script, in a thread of its own. */
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
	REFUSE,	  /* an acknowledgement that says no */
	NEXT_RING /* the base of another ring */
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
		s.index += peer.trick == NEXT_RING && peer.trick_at == VU_GET_VRING_BASE;
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

static struct fv *card(const char *more)
{
	char netdev[200];

	snprintf(netdev, sizeof(netdev), "vhost-user,id=n0,path=%s%s", peer.path, more);
	return pk_new(netdev, "virtio-net-pci", "", &fv_host_ops);
}

static unsigned int said(uint32_t request)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < peer.n_msgs; i++)
		n += peer.log[i] == request;
	return n;
}

/* By the peer's own mapping. */
static uint8_t *peer_at(uint64_t user)
{
	for (unsigned int i = 0; i < peer.n_regions; i++)
		if (user - peer.regions[i].user < peer.regions[i].size)
			return peer.maps[i] + (user - peer.regions[i].user);
	return NULL;
}

/* What the back end got. */

static void rings_and_memory(void **state)
{
	const uint64_t one = 1;
	struct fv *v = card("");
	uint64_t n;

	(void)state;
	assert_int_equal(peer.log[0], VU_SET_OWNER);
	fv_start(v, FV_PLAIN, true);
	assert_true(pk_outside(v, RXQ) && pk_outside(v, TXQ));
	assert_int_equal(peer.set_features, FG_BIT(VIRTIO_F_VERSION_1) | VU_F_PROTOCOL_FEATURES);
	assert_int_equal(peer.n_regions, 2);
	assert_int_equal(peer.regions[0].gpa, FG_BASE);
	assert_int_equal(peer.regions[0].size, FG_RAM / 2);
	assert_int_equal(peer.ring[TXQ].num, 256);
	assert_int_equal(peer.ring[TXQ].base, 0);
	assert_true(peer.ring[RXQ].enabled && peer.ring[TXQ].enabled);
	*peer_at(peer.ring[TXQ].addr.avail_user_addr) = 0x5a;
	assert_int_equal(*(uint8_t *)fg_ptr(v->g, v->g->q[TXQ].avail), 0x5a);
	*peer_at(peer.ring[RXQ].addr.used_user_addr) = 0xa5;
	assert_int_equal(*(uint8_t *)fg_ptr(v->g, v->g->q[RXQ].used), 0xa5);
	assert_true(peer_at(peer.ring[TXQ].addr.desc_user_addr) != NULL);
	assert_int_equal(read(peer.ring[TXQ].kick, &n, sizeof(n)), sizeof(n));
	fv_kick(v, TXQ);
	assert_int_equal(read(peer.ring[TXQ].kick, &n, sizeof(n)), sizeof(n));
	assert_int_equal(write(peer.ring[RXQ].call, &one, sizeof(one)), sizeof(one));
	memset(v->messages, 0, sizeof(v->messages));
	PK_UNTIL(v, v->messages[1] == 1);
	/* A stop asks where it stands, and the next start says so. */
	peer.ring[TXQ].base = 5;
	pci_run(v->pci, false);
	assert_int_equal(said(VU_GET_VRING_BASE), 2);
	peer.ring[TXQ].base = 0;
	pci_run(v->pci, true);
	assert_int_equal(peer.ring[TXQ].base, 5);
	fv_free(v);
}

/* Regions that touch in the guest and in their file are one, wherever they are mapped here. */
static void regions_are_joined(void **state)
{
	struct fv *v = card("");

	(void)state;
	pci_mem_changing(v->pci);
	mem_fini(v->g->mem);
	for (unsigned int i = 0; i < 16; i++) {
		uint64_t off = (uint64_t)i * (FG_RAM / 16);

		assert_int_equal(mem_add_take(v->g->mem, FG_BASE + off, FG_RAM / 16, 0,
					      dup(v->g->fd), (off + FG_RAM / 2) % FG_RAM),
				 0);
	}
	pci_mem_changed(v->pci);
	fv_start(v, FV_PLAIN, true);
	assert_true(pk_outside(v, TXQ));
	assert_int_equal(peer.n_regions, 2);
	assert_int_equal(peer.regions[1].gpa, FG_BORDER);
	assert_int_equal(peer.regions[1].size, FG_RAM / 2);
	fv_free(v);
}

static void table_without_slots(void **state)
{
	struct fv *v;

	(void)state;
	peer.protocol = 0;
	v = card("");
	fv_start(v, FV_PLAIN, true);
	assert_true(pk_outside(v, TXQ));
	/* Without acknowledgements it may not be there yet. */
	PK_UNTIL(v, peer.ring[TXQ].started);
	assert_int_equal(said(VU_SET_MEM_TABLE), 1);
	assert_int_equal(peer.n_regions, 2);
	fv_free(v);
}

/* The oldest back ends: rings are born enabled. */
static void no_protocol_features(void **state)
{
	struct fv *v;

	(void)state;
	peer.features &= ~VU_F_PROTOCOL_FEATURES;
	v = card("");
	fv_start(v, FV_PLAIN, true);
	assert_true(pk_outside(v, TXQ));
	PK_UNTIL(v, peer.ring[TXQ].started);
	assert_int_equal(said(VU_GET_PROTOCOL_FEATURES), 0);
	assert_int_equal(said(VU_SET_VRING_ENABLE), 0);
	assert_int_equal(peer.set_features, FG_BIT(VIRTIO_F_VERSION_1));
	fv_free(v);
}

static void too_few_slots(void **state)
{
	struct fv *v;

	(void)state;
	peer.max_slots = 1;
	v = card("");
	fv_start(v, FV_PLAIN, true);
	assert_false(pk_outside(v, RXQ) || pk_outside(v, TXQ));
	fv_free(v);
}

static void two_pairs(void **state)
{
	struct twx_error e = { 0 };
	char netdev[200];
	struct fg *g;
	struct fv *v = card(",queues=2");

	(void)state;
	fv_start(v, FV_PLAIN, true);
	assert_true(peer.ring[0].started && peer.ring[1].started && !peer.ring[2].started);
	fv_free(v);
	peer.n_queues = 1;
	g = fg_new(1, "");
	snprintf(netdev, sizeof(netdev), "vhost-user,id=n0,path=%s,queues=2", peer.path);
	assert_int_equal(twx_backend_new(NULL, g->net, netdev, &e), -EINVAL);
	assert_non_null(strstr(e.what, "you are asking more queues than supported: 1"));
	fg_free(g);
}

/* Set-up that is refused. */

static void refused(const char *netdev, const char *nic, const char *what)
{
	struct twx_error e = { 0 };
	struct fg *g = fg_new(1, "");
	int rc = twx_backend_new(NULL, g->net, netdev, &e);

	if (nic) {
		assert_int_equal(rc, 0);
		rc = twx_nic_new(NULL, g->net, nic, &e);
	}
	assert_true(rc < 0);
	if (!strstr(e.what, what))
		print_error("%s\n", e.what);
	assert_non_null(strstr(e.what, what));
	fg_free(g);
}

static void options(void **state)
{
	char netdev[200];

	(void)state;
	refused("vhost-user,id=n0", NULL, "either chardev= or path=");
	refused("vhost-user,id=n0,path=x,chardev=c", NULL, "either chardev= or path=");
	refused("vhost-user,id=n0,chardev=c", NULL, "chardev \"c\" not found");
	refused("vhost-user,id=n0,path=/nowhere/at/all", NULL, "cannot connect to the vhost-user");
	refused("vhost-user,id=n0,path=x,queues=0", NULL, "queues");
	snprintf(netdev, sizeof(netdev), "vhost-user,id=n0,path=%s", peer.path);
	refused(netdev, "e1000,netdev=n0", "vhost-user requires frontend driver virtio-net-*");
}

/* By a chardev, as QEMU has it. */
static void chardev(void **state)
{
	struct twx_error e = { 0 };
	struct fg *g = fg_new(1, "");
	char text[200], *info;

	(void)state;
	snprintf(text, sizeof(text), "socket,id=c0,path=%s", peer.path);
	assert_int_equal(twx_chardev_new(NULL, g->net, text, &e), 0);
	assert_int_equal(twx_backend_new(NULL, g->net, "vhost-user,id=n0,chardev=c0", &e), 0);
	info = twx_net_info(g->net);
	assert_non_null(strstr(info, "vhost-user0 to c0"));
	free(info);
	fg_free(g);
}

/* What a back end answers to the first questions. */
static void lies_at_first(void **state)
{
	static const uint32_t questions[] = { VU_GET_FEATURES, VU_GET_PROTOCOL_FEATURES,
					      VU_GET_MAX_MEM_SLOTS };
	static const enum trick tricks[] = { HANG_UP,  SHORT,	  LONG,	  OTHER,
					     NO_REPLY, VERSION_2, WITH_FD };
	char netdev[200];

	(void)state;
	snprintf(netdev, sizeof(netdev), "vhost-user,id=n0,path=%s", peer.path);
	for (size_t i = 0; i < array_size(questions); i++)
		for (size_t k = 0; k < array_size(tricks); k++) {
			peer.trick_at = questions[i];
			peer.trick = tricks[k];
			refused(netdev, NULL, "does not speak vhost-user");
		}
}

static bool links_down(struct fv *v)
{
	return v->g->nic->ports[0]->link_down;
}

/* ... and to later ones: the connection ends, the card lives on, and the next one is good. */
static void lies_later(void **state)
{
	static const uint32_t requests[] = { VU_SET_FEATURES,	VU_ADD_MEM_REG,
					     VU_SET_VRING_NUM,	VU_SET_VRING_ADDR,
					     VU_SET_VRING_KICK, VU_SET_VRING_ENABLE };
	static const enum trick tricks[] = { HANG_UP, SHORT, LONG, OTHER, WITH_FD };

	(void)state;
	for (size_t i = 0; i < array_size(requests); i++) {
		enum trick t = tricks[i % array_size(tricks)];
		struct fv *v = card("");
		unsigned int n = peer.n_conns;

		peer.trick_at = requests[i];
		peer.trick = t;
		fv_start(v, FV_PLAIN | FG_BIT(VIRTIO_NET_F_STATUS), true);
		PK_UNTIL(v, links_down(v));
		assert_false(pk_outside(v, RXQ) || pk_outside(v, TXQ));
		peer.trick = NO_TRICK;
		PK_UNTIL(v, !links_down(v));
		assert_true(peer.n_conns > n);
		assert_true(pk_outside(v, RXQ) && pk_outside(v, TXQ));
		fv_free(v);
	}
}

static void base_of_another_ring(void **state)
{
	struct fv *v = card("");
	const uint16_t used = 2;
	uint8_t f[100];

	(void)state;
	fv_start(v, FV_PLAIN, true);
	fg_frame(f, sizeof(f), 1);
	for (int i = 0; i < 2; i++)
		assert_true(fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT) >= 0);
	fg_write(v->g, v->g->q[TXQ].used + 2, &used, 2);
	peer.trick = NEXT_RING;
	peer.trick_at = VU_GET_VRING_BASE;
	pci_run(v->pci, false);
	peer.trick = NO_TRICK;
	pci_run(v->pci, true);
	PK_UNTIL(v, pk_outside(v, TXQ));
	assert_int_equal(peer.ring[TXQ].base, 2);
	fv_free(v);
}

/* A back end that says no keeps its connection; frames are dropped, not stuck. */
static void refusal(void **state)
{
	struct fv *v = card("");
	uint8_t f[100];

	(void)state;
	peer.trick = REFUSE;
	peer.trick_at = VU_SET_VRING_KICK;
	fv_start(v, FV_PLAIN, true);
	assert_false(pk_outside(v, RXQ) || pk_outside(v, TXQ));
	assert_false(links_down(v));
	fg_frame(f, sizeof(f), 1);
	assert_true(fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT) >= 0);
	fv_kick(v, TXQ);
	PK_UNTIL(v, pk_used(v, TXQ));
	fv_free(v);
}

/* Three seconds, and no more. */
static void silence(void **state)
{
	struct fv *v = card("");

	(void)state;
	fv_start(v, FV_PLAIN, true);
	peer.trick = SILENT;
	peer.trick_at = VU_GET_VRING_BASE;
	pci_run(v->pci, false);
	assert_false(pk_outside(v, RXQ) || pk_outside(v, TXQ));
	PK_UNTIL(v, links_down(v));
	fv_free(v);
}

/* Going and coming back. */

static void back_end_restarts(void **state)
{
	struct fv *v = card("");

	(void)state;
	fv_start(v, FV_PLAIN | FG_BIT(VIRTIO_NET_F_STATUS), true);
	for (uint16_t i = 1; i < 4; i++) {
		uint8_t f[100];
		uint16_t idx;

		peer_end();
		PK_UNTIL(v, links_down(v));
		assert_false(pk_outside(v, RXQ) || pk_outside(v, TXQ));
		/* What the guest sends meanwhile is gone, and the ring goes on behind it. */
		fg_frame(f, sizeof(f), 1);
		assert_true(fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT) >= 0);
		fv_kick(v, TXQ);
		assert_true(fg_used(v->g, TXQ, NULL) >= 0);
		fg_read(v->g, v->g->q[TXQ].used + 2, &idx, 2);
		peer_listen();
		PK_UNTIL(v, !links_down(v));
		assert_true(pk_outside(v, RXQ) && pk_outside(v, TXQ));
		assert_int_equal(peer.ring[TXQ].base, idx);
		assert_int_equal(idx, i);
	}
	fv_free(v);
}

/* What the driver agreed to has to hold. */
static void comes_back_poorer(void **state)
{
	struct fv *v = card("");
	unsigned int n;

	(void)state;
	fv_start(v, FV_PLAIN, true);
	peer_end();
	peer.features &= ~VHOST_BIT(VIRTIO_NET_F_CSUM);
	n = peer.n_conns;
	peer_listen();
	PK_UNTIL(v, peer.n_conns > n && peer.fd < 0);
	assert_true(links_down(v));
	assert_false(pk_outside(v, TXQ));
	fv_free(v);
}

static void unasked(void **state)
{
	struct fv *v = card("");

	(void)state;
	fv_start(v, FV_PLAIN, true);
	assert_int_equal(send(peer.fd, "x", 1, 0), 1);
	PK_UNTIL(v, links_down(v));
	assert_false(pk_outside(v, TXQ));
	fv_free(v);
}

/* We listen, and it connects. */
static void *connect_soon(void *arg)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path, sizeof(a.sun_path), "%s.srv", peer.path);
	for (int i = 0; i < 500; i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		struct msg m;

		if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
			close(fd);
			poll(NULL, 0, 10);
			continue;
		}
		peer.fd = fd;
		while (get(&m) && handle(&m))
			for (unsigned int k = 0; k < m.n_fds; k++)
				close(m.fds[k]);
		drop_regions();
		for (unsigned int k = 0; k < RINGS; k++)
			stop_ring(k);
		peer.fd = -1;
		close(fd);
		break;
	}
	return arg;
}

static void server(void **state)
{
	struct twx_error e = { 0 };
	struct fg *g = fg_new(1, "");
	struct twx_backend *b;
	char text[200];
	pthread_t t;

	(void)state;
	snprintf(text, sizeof(text), "socket,id=c0,path=%s.srv,server=on", peer.path);
	assert_int_equal(twx_chardev_new(NULL, g->net, text, &e), 0);
	assert_int_equal(pthread_create(&t, NULL, connect_soon, NULL), 0);
	assert_int_equal(twx_backend_new(&b, g->net, "vhost-user,id=n0,chardev=c0", &e), 0);
	/* The next one may come when this one has gone. */
	shutdown(peer.fd, SHUT_RDWR);
	pthread_join(t, NULL);
	for (int i = 0; i < 1000 && !b->ports[0]->link_down; i++)
		twx_loop_poll(g->loop, 10);
	assert_true(b->ports[0]->link_down);
	assert_int_equal(pthread_create(&t, NULL, connect_soon, NULL), 0);
	for (int i = 0; i < 1000 && b->ports[0]->link_down; i++)
		twx_loop_poll(g->loop, 10);
	assert_false(b->ports[0]->link_down);
	fg_free(g);
	pthread_join(t, NULL);
	snprintf(text, sizeof(text), "%s.srv", peer.path);
	assert_int_equal(access(text, F_OK), -1);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(rings_and_memory),
		T(regions_are_joined),
		T(table_without_slots),
		T(no_protocol_features),
		T(too_few_slots),
		T(two_pairs),
		T(options),
		T(chardev),
		T(lies_at_first),
		T(lies_later),
		T(base_of_another_ring),
		T(refusal),
		T(silence),
		T(back_end_restarts),
		T(comes_back_poorer),
		T(unasked),
		T(server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
