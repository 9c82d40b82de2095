/* SPDX-License-Identifier: BSD-3-Clause */
/* Our vhost-user front end against a back end that follows a script. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "back_end.h"

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

/* Nobody could tell the back end later which frames the driver takes no more
 * (virtio 1.2, 5.1.6.5.6), whatever it offers itself: the driver is to know. */
static void offloads_are_settled(void **state)
{
	struct fv *v;

	(void)state;
	peer.features |= VHOST_BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
	v = card("");
	assert_true(fv_offered(v) & FG_BIT(VIRTIO_NET_F_GUEST_TSO4));
	assert_int_equal(fv_offered(v) & FG_BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS), 0);
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

static void hub_refused(const char *netdev)
{
	struct twx_error e = { 0 };
	struct fg *g = fg_new(1, "");

	assert_int_equal(twx_backend_new(NULL, g->net, netdev, &e), 0);
	assert_int_equal(twx_backend_new(NULL, g->net, "hubport,id=h0,hubid=0,netdev=n0", &e),
			 -EINVAL);
	assert_non_null(strstr(e.what, "not a hub"));
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
	hub_refused(netdev);
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

/* It says no, and runs the ring all the same: the card, which does so now, has told it to stop. */
static void refuses_and_runs(void **state)
{
	static const uint32_t requests[] = { VU_SET_VRING_KICK, VU_SET_VRING_ENABLE };

	(void)state;
	for (size_t i = 0; i < array_size(requests); i++) {
		struct fv *v = card("");

		peer.trick = REFUSE;
		peer.trick_at = requests[i];
		fv_start(v, FV_PLAIN, true);
		assert_false(pk_outside(v, RXQ) || pk_outside(v, TXQ));
		assert_false(links_down(v));
		assert_false(peer.ring[RXQ].started || peer.ring[TXQ].started);
		peer.trick = NO_TRICK;
		fv_free(v);
	}
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

/* Every answer comes, and each takes its time: together they may not take for ever. */
static void slowness(void **state)
{
	struct fv *v = card("");

	(void)state;
	peer.trick = SLOW;
	fv_start(v, FV_PLAIN, true);
	PK_UNTIL(v, links_down(v));
	assert_false(pk_outside(v, RXQ) || pk_outside(v, TXQ));
	peer.trick = NO_TRICK;
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

struct adding {
	struct twx_task task;
	struct fg *g;
	int rc;
};

static void add_now(struct twx_task *t)
{
	struct adding *a = container_of(t, struct adding, task);
	struct twx_error e = { 0 };

	a->rc = twx_backend_new(NULL, a->g->net, "vhost-user,id=n0,chardev=c0", &e);
}

/* netdev_add, with nobody there: a program that starts waits for a minute, one that runs does not.
 */
static void server_while_running(void **state)
{
	struct adding a = { .task.fn = add_now, .g = fg_new(1, "") };
	struct twx_error e = { 0 };
	struct timespec from, to;
	char text[200];

	(void)state;
	snprintf(text, sizeof(text), "socket,id=c0,path=%s.srv,server=on", peer.path);
	assert_int_equal(twx_chardev_new(NULL, a.g->net, text, &e), 0);
	twx_loop_defer(a.g->loop, &a.task);
	clock_gettime(CLOCK_MONOTONIC, &from);
	twx_loop_poll(a.g->loop, 0);
	clock_gettime(CLOCK_MONOTONIC, &to);
	assert_int_equal(a.rc, -ETIMEDOUT);
	assert_true(to.tv_sec - from.tv_sec < 30);
	fg_free(a.g);
}

/* A client that never answers does not get the loop's time again as soon as it connects anew. */
static void server_and_silence(void **state)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct twx_error e = { 0 };
	struct fg *g = fg_new(1, "");
	struct twx_backend *b;
	char text[200], byte;
	pthread_t t;
	int fd[2];

	(void)state;
	snprintf(text, sizeof(text), "socket,id=c0,path=%s.srv,server=on", peer.path);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s.srv", peer.path);
	assert_int_equal(twx_chardev_new(NULL, g->net, text, &e), 0);
	assert_int_equal(pthread_create(&t, NULL, connect_soon, NULL), 0);
	assert_int_equal(twx_backend_new(&b, g->net, "vhost-user,id=n0,chardev=c0", &e), 0);
	shutdown(peer.fd, SHUT_RDWR);
	pthread_join(t, NULL);
	for (int i = 0; i < 2; i++) {
		fd[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(fd[i], (struct sockaddr *)&a, sizeof(a)), 0);
	}
	for (int i = 0; i < 100; i++)
		twx_loop_poll(g->loop, 10);
	assert_int_equal(recv(fd[0], &byte, 1, MSG_DONTWAIT), 1);
	assert_int_equal(recv(fd[1], &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	assert_true(b->ports[0]->link_down);
	fg_free(g);
	close(fd[0]);
	close(fd[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(rings_and_memory),
		T(regions_are_joined),
		T(table_without_slots),
		T(no_protocol_features),
		T(offloads_are_settled),
		T(too_few_slots),
		T(two_pairs),
		T(options),
		T(chardev),
		T(lies_at_first),
		T(lies_later),
		T(base_of_another_ring),
		T(refusal),
		T(refuses_and_runs),
		T(silence),
		T(slowness),
		T(back_end_restarts),
		T(comes_back_poorer),
		T(unasked),
		T(server),
		T(server_while_running),
		T(server_and_silence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
