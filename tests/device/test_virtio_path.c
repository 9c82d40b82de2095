/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio-net and virtio-pci with rings that run outside: a data path of the test's own at the other
 * end of the cable, and a host that routes doorbells and messages, or does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "path_kit.h"

#include <errno.h>

#include "base/macros.h"
#include "bus/vhost.h"

#define RXQ 0
#define TXQ 1
#define CTRLQ 2
#define MAX_PAIRS 4

/* The path. */

struct fake_pair {
	struct vhost vhost;
	struct twx_port *port;
	struct vhost_ring ring[VHOST_RINGS];
	bool out[VHOST_RINGS], selected;
	unsigned int n_setups, n_starts, n_stops, n_frames;
	uint64_t features;
	unsigned int n_regions;
	uint16_t stop_at; /* index that a stop tells */
	int setup_rc, start_rc, stop_rc;
	uint16_t mtu;
	uint8_t announced[6];
};

static struct fake_pair fakes[MAX_PAIRS];
static uint64_t path_features = VHOST_FEATURES;

static struct fake_pair *fake_of(struct vhost *v)
{
	return container_of(v, struct fake_pair, vhost);
}

static int fake_setup(struct vhost *v, uint64_t features, const struct mem_map *mem)
{
	struct fake_pair *p = fake_of(v);

	assert_false(p->out[0] || p->out[1]);
	p->n_setups++;
	p->features = features;
	p->n_regions = mem->n;
	for (unsigned int i = 0; i < mem->n; i++)
		assert_true(mem->regions[i].fd >= 0);
	return p->setup_rc;
}

static int fake_start(struct vhost *v, unsigned int ring, const struct vhost_ring *r)
{
	struct fake_pair *p = fake_of(v);

	assert_false(p->out[ring]);
	if (p->start_rc)
		return p->start_rc;
	p->n_starts++;
	p->ring[ring] = *r;
	p->out[ring] = true;
	return 0;
}

static int fake_stop(struct vhost *v, unsigned int ring, uint16_t *base)
{
	struct fake_pair *p = fake_of(v);

	assert_true(p->out[ring]);
	p->n_stops++;
	p->out[ring] = false;
	if (p->stop_rc)
		return p->stop_rc;
	*base = p->stop_at;
	return 0;
}

static void fake_select(struct vhost *v, bool on)
{
	fake_of(v)->selected = on;
}

static void fake_set_mtu(struct vhost *v, uint16_t mtu)
{
	fake_of(v)->mtu = mtu;
}

static void fake_announce(struct vhost *v, const uint8_t mac[6])
{
	memcpy(fake_of(v)->announced, mac, 6);
}

static const struct vhost_ops fake_ops = {
	.setup = fake_setup,
	.ring_start = fake_start,
	.ring_stop = fake_stop,
	.select = fake_select,
	.set_mtu = fake_set_mtu,
	.announce = fake_announce,
};

static int path_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	(void)frames;
	fakes[port->queue_index].n_frames += (unsigned int)n;
	return n;
}

static struct vhost *path_vhost(struct twx_port *port)
{
	return &fakes[port->queue_index].vhost;
}

static const struct twx_port_ops path_port_ops = { .receive = path_receive, .vhost = path_vhost };

static int path_open(struct twx_backend *b, const struct twx_opts *opts, struct twx_error *e)
{
	memset(fakes, 0, sizeof(fakes));
	for (int64_t i = 0; i < twx_opts_int(opts, "queues"); i++) {
		fakes[i].selected = true;
		fakes[i].vhost = (struct vhost){ .ops = &fake_ops,
						 .what = "a fake",
						 .features = path_features,
						 .needs_files = true };
		fakes[i].port = twx_backend_add_port(b, e);
		assert_non_null(fakes[i].port);
	}
	return 0;
}

static void path_close(struct twx_backend *b)
{
	for (uint32_t i = 0; i < b->n_ports; i++)
		assert_false(fakes[i].out[0] || fakes[i].out[1]);
}

static const struct twx_opt_desc path_options[] = {
	{ "queues", TWX_OPT_INT, "1", "queues", NULL, 1, MAX_PAIRS },
	{ 0 },
};

static const struct twx_backend_type path_type = {
	.name = "path",
	.help = "a data path",
	.options = path_options,
	.port_ops = &path_port_ops,
	.open = path_open,
	.close = path_close,
};

/* A host that routes. */

static struct route {
	struct pci_doorbell bell;
	bool on;
} routes[32];
static int message_fds[FV_VECTORS];
static unsigned int n_messages_on;

static int route_doorbell(struct pci_dev *pci, const struct pci_doorbell *bell, bool on)
{
	(void)pci;
	for (size_t i = 0; i < array_size(routes); i++) {
		struct pci_doorbell *b = &routes[i].bell;

		if (routes[i].on == on)
			continue;
		if (!on && (b->bar != bell->bar || b->off != bell->off || b->value != bell->value ||
			    b->fd != bell->fd))
			continue;
		routes[i] = (struct route){ *bell, on };
		return 0;
	}
	fail();
	return -ENOSPC;
}

static int route_message(struct pci_dev *pci, unsigned int vector, uint64_t addr, uint32_t data,
			 int fd)
{
	(void)pci;
	assert_true(vector < FV_VECTORS);
	if (fd >= 0) {
		assert_int_equal(addr, 0xfee00000);
		assert_int_equal(data, 0x4000 + vector);
	}
	n_messages_on += (fd >= 0) - (message_fds[vector] >= 0);
	message_fds[vector] = fd;
	return 0;
}

static const struct pci_host_ops route_ops = {
	.intx = fv_intx,
	.message = fv_message,
	.doorbell = route_doorbell,
	.message_fd = route_message,
};

static unsigned int n_routes(void)
{
	unsigned int n = 0;

	for (size_t i = 0; i < array_size(routes); i++)
		n += routes[i].on;
	return n;
}

/* Signals what the host would for a write, as KVM does; false if nothing is routed there. */
static bool ring_at(unsigned int bar, uint32_t off, uint16_t value)
{
	const uint64_t one = 1;

	for (size_t i = 0; i < array_size(routes); i++) {
		const struct pci_doorbell *b = &routes[i].bell;

		if (!routes[i].on || b->bar != bar || b->off != off ||
		    (b->match && b->value != value))
			continue;
		assert_int_equal(write(b->fd, &one, sizeof(one)), sizeof(one));
		return true;
	}
	return false;
}

static bool ring_modern(struct fv *v, unsigned int qi)
{
	const struct fv_cap *c = &v->cap[VIRTIO_PCI_CAP_NOTIFY_CFG];

	return ring_at(c->bar, c->off + c->extra * qi, (uint16_t)qi);
}

static bool signalled(int fd)
{
	uint64_t n;

	return read(fd, &n, sizeof(n)) == (ssize_t)sizeof(n);
}

static void signal_fd(int fd)
{
	const uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static struct fv *card_on(const char *nic, const char *netdev, const char *opts,
			  const struct pci_host_ops *ops)
{
	memset(routes, 0, sizeof(routes));
	n_messages_on = 0;
	for (unsigned int i = 0; i < FV_VECTORS; i++)
		message_fds[i] = -1;
	return pk_new_type(&path_type, netdev, nic, opts, ops);
}

static struct fv *card(const struct pci_host_ops *ops)
{
	return card_on("virtio-net-pci", "path,id=n0", "", ops);
}

static bool both_out(void)
{
	return fakes[0].out[VHOST_RX] && fakes[0].out[VHOST_TX];
}

/* What the driver is offered. */

static void features_are_masked(void **state)
{
	struct fv *v;
	uint64_t f;

	(void)state;
	path_features = VHOST_BIT(VIRTIO_F_VERSION_1) | VHOST_BIT(VIRTIO_NET_F_MRG_RXBUF) |
			VHOST_BIT(VIRTIO_NET_F_CSUM);
	v = card_on("virtio-net-pci", "path,id=n0", "in_order=on", &fv_host_ops);
	path_features = VHOST_FEATURES;
	f = fv_offered(v);
	assert_true(f & FG_BIT(VIRTIO_NET_F_MRG_RXBUF));
	assert_true(f & FG_BIT(VIRTIO_NET_F_CSUM));
	assert_int_equal(f & FG_BIT(VIRTIO_NET_F_HOST_TSO4), 0);
	assert_int_equal(f & FG_BIT(VIRTIO_NET_F_GUEST_CSUM), 0);
	assert_int_equal(f & FG_BIT(VIRTIO_RING_F_EVENT_IDX), 0);
	assert_int_equal(f & FG_BIT(VIRTIO_F_IN_ORDER), 0);
	/* These are the card's own. */
	assert_true(f & FG_BIT(VIRTIO_NET_F_CTRL_VQ));
	assert_true(f & FG_BIT(VIRTIO_NET_F_STATUS));
	assert_int_equal(fv_io(v, VIRTIO_PCI_HOST_FEATURES, 4) & FG_BIT(VIRTIO_F_NOTIFY_ON_EMPTY),
			 0);
	fv_free(v);
}

static void version_1_is_needed(void **state)
{
	struct twx_error e = { 0 };
	struct fg *g = fg_new(1, "");

	(void)state;
	path_features = VHOST_BIT(VIRTIO_NET_F_MRG_RXBUF);
	assert_int_equal(twx_net_add_backend_type(g->net, &path_type), 0);
	assert_int_equal(twx_backend_new(NULL, g->net, "path,id=n0", &e), 0);
	assert_int_equal(twx_nic_new(NULL, g->net, "virtio-net,id=x,netdev=n0", &e), -ENOTSUP);
	assert_non_null(strstr(e.what, "virtio 1.0"));
	path_features = VHOST_FEATURES;
	fg_free(g);
}

/* Handing over. */

static void handed_over(void **state)
{
	struct fv *v = card_on("virtio-net-pci,host_mtu=1400", "path,id=n0", "", &fv_host_ops);
	const struct vhost_ring *r = &fakes[0].ring[VHOST_TX];

	(void)state;
	assert_int_equal(fakes[0].n_starts, 0);
	fv_start(v, FV_PLAIN | FG_BIT(VIRTIO_NET_F_MTU), true);
	assert_true(both_out());
	assert_int_equal(fakes[0].n_setups, 1);
	assert_int_equal(fakes[0].n_regions, 2);
	assert_int_equal(fakes[0].features, FV_PLAIN | FG_BIT(VIRTIO_NET_F_MTU));
	assert_int_equal(fakes[0].mtu, 1400);
	assert_int_equal(r->size, 256);
	assert_int_equal(r->base, 0);
	/* The same memory, wherever it is mapped. */
	*(uint8_t *)r->avail = 0x5a;
	assert_int_equal(*(uint8_t *)fg_ptr(v->g, v->g->q[TXQ].avail), 0x5a);
	/* What was offered before has been signalled. */
	assert_true(signalled(r->kick_fd));
	assert_true(signalled(fakes[0].ring[VHOST_RX].kick_fd));
	/* The doorbell comes as a write, and goes on as a signal. */
	fv_kick(v, TXQ);
	assert_true(signalled(r->kick_fd));
	assert_false(signalled(fakes[0].ring[VHOST_RX].kick_fd));
	/* Nobody here reads the rings. */
	assert_int_equal(fakes[0].n_frames, 0);
	fv_free(v);
	assert_int_equal(fakes[0].n_stops, 2);
}

static void interrupts_are_passed_on(void **state)
{
	struct fv *v = card(&fv_host_ops);

	(void)state;
	fv_start(v, FV_PLAIN, true);
	memset(v->messages, 0, sizeof(v->messages));
	signal_fd(fakes[0].ring[VHOST_RX].call_fd);
	fg_run(v->g);
	assert_int_equal(v->messages[1], 1);
	signal_fd(fakes[0].ring[VHOST_TX].call_fd);
	fg_run(v->g);
	assert_int_equal(v->messages[2], 1);
	/* The driver may choose another vector while the ring is out. */
	fv_set_common(v, VIRTIO_PCI_COMMON_Q_SELECT, 2, RXQ);
	fv_set_common(v, VIRTIO_PCI_COMMON_Q_MSIX, 2, 3);
	signal_fd(fakes[0].ring[VHOST_RX].call_fd);
	fg_run(v->g);
	assert_int_equal(v->messages[3], 1);
	fv_free(v);
}

static void the_line(void **state)
{
	struct fv *v = card(&route_ops);

	(void)state;
	fv_start(v, FV_PLAIN, false);
	assert_int_equal(n_messages_on, 0);
	assert_false(v->level);
	signal_fd(fakes[0].ring[VHOST_RX].call_fd);
	fg_run(v->g);
	assert_true(v->level);
	assert_int_equal(fv_get(v, VIRTIO_PCI_CAP_ISR_CFG, 0, 1), 1);
	assert_false(v->level);
	fv_free(v);
}

/* With a host that does it: neither doorbells nor messages are seen here. */
static void routed(void **state)
{
	struct fv *v = card_on("virtio-net-pci", "path,id=n0", "modern-pio-notify=on", &route_ops);

	(void)state;
	assert_int_equal(n_routes(), 0);
	fv_start(v, FV_PLAIN, true);
	assert_int_equal(n_routes(), 9); /* three queues by three ways */
	assert_int_equal(n_messages_on, 2);
	assert_int_equal(message_fds[1], fakes[0].ring[VHOST_RX].call_fd);
	assert_int_equal(message_fds[2], fakes[0].ring[VHOST_TX].call_fd);
	assert_true(signalled(fakes[0].ring[VHOST_TX].kick_fd));
	assert_true(ring_modern(v, TXQ));
	fg_run(v->g);
	assert_true(signalled(fakes[0].ring[VHOST_TX].kick_fd));
	assert_true(ring_at(0, VIRTIO_PCI_QUEUE_NOTIFY, TXQ));
	assert_true(ring_at(2, 0, TXQ));
	assert_true(signalled(fakes[0].ring[VHOST_TX].kick_fd));
	/* A new vector moves along; one that two queues share is routed for one of them. */
	fv_set_common(v, VIRTIO_PCI_COMMON_Q_SELECT, 2, RXQ);
	fv_set_common(v, VIRTIO_PCI_COMMON_Q_MSIX, 2, 2);
	assert_int_equal(message_fds[1], -1);
	assert_int_equal(n_messages_on, 1);
	memset(v->messages, 0, sizeof(v->messages));
	signal_fd(fakes[0].ring[VHOST_RX].call_fd);
	fg_run(v->g);
	assert_int_equal(v->messages[2], 1);
	fv_set_status(v, 0);
	assert_int_equal(n_routes(), 0);
	assert_int_equal(n_messages_on, 0);
	fv_free(v);
}

/* Our own path has the routed doorbell as well. */
static void own_path_by_eventfd(void **state)
{
	uint8_t f[100];
	struct fv *v;

	(void)state;
	for (int on = 1; on >= 0; on--) {
		v = card_on("virtio-net-pci", "path,id=n0", on ? "ioeventfd=on" : "ioeventfd=off",
			    &route_ops);
		fakes[0].setup_rc = -EINVAL;
		fv_start(v, FV_PLAIN, true);
		assert_false(fakes[0].out[VHOST_TX]);
		fg_frame(f, sizeof(f), 1);
		assert_true(fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT) >= 0);
		assert_int_equal(ring_modern(v, TXQ), on);
		if (!on)
			fv_kick(v, TXQ);
		fg_run(v->g);
		assert_int_equal(fakes[0].n_frames, 1);
		assert_true(fg_used(v->g, TXQ, NULL) >= 0);
		fv_free(v);
	}
}

/* Taking back. */

static void taken_back(void **state)
{
	struct fv *v = card(&fv_host_ops);

	(void)state;
	fv_start(v, FV_PLAIN, true);
	fakes[0].stop_at = 7;
	pci_run(v->pci, false);
	assert_false(fakes[0].out[VHOST_RX] || fakes[0].out[VHOST_TX]);
	pci_run(v->pci, true);
	assert_true(both_out());
	assert_int_equal(fakes[0].ring[VHOST_RX].base, 7);
	fakes[0].stop_at = 9;
	pci_mem_changing(v->pci);
	assert_false(fakes[0].out[VHOST_RX] || fakes[0].out[VHOST_TX]);
	mem_fini(v->g->mem);
	fg_map(v->g);
	pci_mem_changed(v->pci);
	assert_true(both_out());
	assert_int_equal(fakes[0].ring[VHOST_TX].base, 9);
	assert_int_equal(fakes[0].n_setups, 3);
	/* No bus master, no rings. */
	fv_cfg_write(v, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_false(fakes[0].out[VHOST_RX]);
	fv_cfg_write(v, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert_true(both_out());
	fv_set_status(v, 0);
	assert_false(fakes[0].out[VHOST_RX] || fakes[0].out[VHOST_TX]);
	fv_start(v, FV_PLAIN, true);
	assert_true(both_out());
	assert_int_equal(fakes[0].ring[VHOST_TX].base, 0);
	fv_free(v);
}

/* Who cannot say where it stood: the used ring does. */
static void crashed(void **state)
{
	struct fv *v = card(&fv_host_ops);
	const uint16_t used = 3;

	(void)state;
	fv_start(v, FV_PLAIN, true);
	fg_write(v->g, v->g->q[TXQ].used + 2, &used, 2);
	fakes[0].stop_rc = -ENOTCONN;
	pci_run(v->pci, false);
	pci_run(v->pci, true);
	assert_int_equal(fakes[0].ring[VHOST_TX].base, 3);
	assert_int_equal(fakes[0].ring[VHOST_RX].base, 0);
	fv_free(v);
}

static void link_down(void **state)
{
	struct fv *v = card(&fv_host_ops);
	uint8_t f[100];

	(void)state;
	fv_start(v, FV_PLAIN, true);
	for (int i = 0; i < 4; i++) {
		const char *end = i & 1 ? "n0" : "nic0";

		assert_int_equal(twx_net_set_link(v->g->net, end, false, NULL), 0);
		assert_false(fakes[0].out[VHOST_RX] || fakes[0].out[VHOST_TX]);
		assert_int_equal(twx_net_set_link(v->g->net, end, true, NULL), 0);
		assert_true(both_out());
	}
	/* Frames meanwhile are lost, and the ring is not. */
	twx_net_set_link(v->g->net, "nic0", false, NULL);
	fg_frame(f, sizeof(f), 1);
	assert_true(fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT) >= 0);
	fv_kick(v, TXQ);
	assert_true(fg_used(v->g, TXQ, NULL) >= 0);
	assert_int_equal(fakes[0].n_frames, 0);
	fakes[0].stop_at = 77; /* is not asked */
	twx_net_set_link(v->g->net, "nic0", true, NULL);
	assert_int_equal(fakes[0].ring[VHOST_TX].base, 1);
	fv_free(v);
}

/* Pages that are written have to be known: our own path says them. */
static void dirty_log(void **state)
{
	struct fv *v = card(&fv_host_ops);
	uint8_t *log = calloc(1, 1 << 20);

	(void)state;
	fv_start(v, FV_PLAIN, true);
	v->g->mem->log = log;
	v->g->mem->log_size = 1 << 20;
	pci_mem_changing(v->pci);
	pci_mem_changed(v->pci);
	assert_false(fakes[0].out[VHOST_RX] || fakes[0].out[VHOST_TX]);
	v->g->mem->log = NULL;
	pci_mem_changing(v->pci);
	pci_mem_changed(v->pci);
	assert_true(both_out());
	free(log);
	fv_free(v);
}

static void backend_goes(void **state)
{
	struct fv *v = card(&fv_host_ops);

	(void)state;
	fv_start(v, FV_PLAIN, true);
	twx_backend_free(twx_backend_find(v->g->net, "n0")); /* its close() looks */
	fv_kick(v, TXQ);
	fv_free(v);
}

/* What fails. */

static void falls_back(void **state)
{
	struct fv *v = card(&fv_host_ops);
	uint8_t f[100];

	(void)state;
	/* One ring is out, the other refused: a pair has one path. */
	fakes[0].setup_rc = 0;
	fakes[0].start_rc = -E2BIG;
	fv_start(v, FV_PLAIN, true);
	assert_false(fakes[0].out[VHOST_RX] || fakes[0].out[VHOST_TX]);
	fg_frame(f, sizeof(f), 1);
	assert_true(fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT) >= 0);
	fv_kick(v, TXQ);
	assert_int_equal(fakes[0].n_frames, 1);
	assert_true(fg_used(v->g, TXQ, NULL) >= 0);
	/* It is not tried again until something is different. */
	fakes[0].start_rc = 0;
	pci_run(v->pci, false);
	pci_run(v->pci, true);
	assert_false(fakes[0].out[VHOST_TX]);
	fv_start(v, FV_PLAIN, true);
	assert_true(both_out());
	fv_free(v);
}

/* A transport without eventfds (vhost-user's back end) runs its rings here. */
static void no_eventfds(void **state)
{
	struct fv *v = card(&fv_host_ops);
	struct virtio_host_ops ops = *v->g->dev->host_ops;
	const struct virtio_host_ops *own = v->g->dev->host_ops;

	(void)state;
	ops.kick_fd = NULL;
	ops.call_fd = NULL;
	v->g->dev->host_ops = &ops;
	fv_start(v, FV_PLAIN, true);
	assert_false(fakes[0].out[VHOST_RX]);
	v->g->dev->host_ops = own;
	fv_free(v);
}

/* Several pairs. */

static void mq_select(struct fv *v, uint16_t pairs)
{
	const struct {
		uint8_t class, cmd;
		uint16_t pairs;
	} __attribute__((packed))
	cmd = { VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, pairs };
	uint64_t at = fg_alloc(v->g, sizeof(cmd) + 1);
	struct fg_buf b[] = { { at, sizeof(cmd), false }, { at + sizeof(cmd), 1, true } };

	fg_write(v->g, at, &cmd, sizeof(cmd));
	assert_true(fg_add(v->g, 4, b, 2, false) >= 0);
	fv_kick(v, 4);
	assert_true(fg_used(v->g, 4, NULL) >= 0);
	assert_int_equal(*(uint8_t *)fg_ptr(v->g, at + sizeof(cmd)), VIRTIO_NET_OK);
}

static void pairs(void **state)
{
	struct fv *v = card_on("virtio-net-pci", "path,id=n0,queues=2", "", &fv_host_ops);
	bool ok = fv_agree(v, FV_PLAIN | FG_BIT(VIRTIO_NET_F_MQ));

	(void)state;
	assert_true(ok);
	fv_msix(v);
	for (unsigned int i = 0; i < 5; i++)
		fv_queue(v, i, i < 4 ? 256 : 64, (uint16_t)(i + 1));
	fv_driver_ok(v);
	assert_true(both_out() && fakes[1].out[VHOST_RX] && fakes[1].out[VHOST_TX]);
	/* One pair until the driver has asked for more. */
	assert_true(fakes[0].selected);
	assert_false(fakes[1].selected);
	mq_select(v, 2);
	assert_true(fakes[0].selected && fakes[1].selected);
	mq_select(v, 1);
	assert_false(fakes[1].selected);
	/* Our own path serves all of them. */
	twx_net_set_link(v->g->net, "nic0", false, NULL);
	fg_run(v->g);
	assert_true(fakes[0].selected && fakes[1].selected);
	fv_free(v);
}

static void one_pair_of_two(void **state)
{
	struct fv *v = card_on("virtio-net-pci", "path,id=n0,queues=2", "", &fv_host_ops);

	(void)state;
	fv_start(v, FV_PLAIN, true);
	assert_true(both_out());
	assert_false(fakes[1].selected);
	fv_free(v);
}

/* Filters see no frame of such a netdev, so they are refused. */
static void no_filters(void **state)
{
	struct fv *v = card(&fv_host_ops);
	struct twx_error e = { 0 };

	(void)state;
	assert_int_equal(
		twx_filter_new(NULL, v->g->net, "filter-dump,id=f0,netdev=n0,file=/dev/null", &e),
		-EINVAL);
	assert_non_null(strstr(e.what, "Vhost is not supported"));
	fv_free(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(features_are_masked),
		cmocka_unit_test(version_1_is_needed),
		cmocka_unit_test(handed_over),
		cmocka_unit_test(interrupts_are_passed_on),
		cmocka_unit_test(the_line),
		cmocka_unit_test(routed),
		cmocka_unit_test(own_path_by_eventfd),
		cmocka_unit_test(taken_back),
		cmocka_unit_test(crashed),
		cmocka_unit_test(link_down),
		cmocka_unit_test(dirty_log),
		cmocka_unit_test(backend_goes),
		cmocka_unit_test(falls_back),
		cmocka_unit_test(no_eventfds),
		cmocka_unit_test(pairs),
		cmocka_unit_test(one_pair_of_two),
		cmocka_unit_test(no_filters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
