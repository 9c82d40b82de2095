/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Host "vhost-user": a virtio NIC behind a unix socket, for QEMU, user-mode Linux, DPDK and other
 * front ends.
 *
 * Theory of operation
 *
 * The front end (a VMM) keeps the PCI or MMIO device, its registers and usually the control queue. Over
 * one unix stream socket it hands us its guest memory as file descriptors, the addresses of the
 * virtqueues in it, and two eventfds a queue: "kick" (the guest has offered buffers) and "call"
 * (interrupt the guest). From then on frames move without the socket:
 *
 *   out: guest writes its doorbell, VMM or KVM writes the kick fd, kick_ready() -> virtio_dev_ops.kick
 *   in:  the device fills a ring, virtio_host_ops.notify_queue -> a write to the call fd
 *
 * Everything runs on the NIC's loop and nothing waits: a message is collected over as many reads as it
 * takes, and an answer that does not fit the socket ends the connection.
 *
 * Files: this one connects, or has server_sock.c listen, begins and ends one connection, and has the
 * virtio_host_ops; vhost_user_msg.c receives, checks against its table, and answers; vhost_user_dev.c,
 * _mem.c, _inflight.c, _iotlb.c and _ring.c carry the messages out; event.c keeps a peer's fds from hurting us.
 *
 * State: a connection owns everything the front end sent: memory, log, fds, features. It all goes when
 * the connection goes; the device is reset then, and the next front end finds it as after open. Rings
 * complete in order, so a front end that reconnects takes up from used.idx (SET_VRING_BASE). One that keeps
 * an inflight area finds it true to the rings, and what is in flight there by another back end's account
 * comes first (bus/inflight.c); then SET_VRING_BASE has nothing to say.
 *
 * A ring is given to the device while it has a size, addresses that translate with their full length,
 * a SET_VRING_KICK, and is enabled. It starts when the last of these arrives, in whatever order, and
 * is looked at once, since kicks may have come before. GET_VRING_BASE, a reset and the end of the
 * connection stop it. When the memory table changes, rings are stopped while the old mappings still
 * stand, and started again at the same indices where the new table holds them.
 *
 * One front end at a time. A second one is refused (its connection is closed at once, with a line in
 * the log) unless the first has hung up in the meantime. With server=off we connect, and again
 * reconnect-ms after a connection ended.
 *
 * Memory that the front end truncates (or that its file system has no pages for) costs it the
 * connection, in the round of the first access: net/fault.h.
 *
 * Errors: a message that is malformed (header, size, number of fds) ends the connection. One that
 * cannot be carried out is acknowledged with an error if the front end asked for acknowledgement
 * (REPLY_ACK), and ends the connection otherwise, as the specification permits. Neither touches other
 * ports.
 *
 * Link: QEMU computes the link state itself, ours would be a lie to its guest; `set_link` is refused
 * unless the front end reads our config space (protocol feature CONFIG, user-mode Linux).
 *
 * Limits: 128 queue pairs; 8 fds and 512 bytes of payload a message; 32 messages a round; 512 memory
 * regions; rings up to 32768 entries; a queue without kick fd is polled every 100 us. A front
 * end that fills its own call eventfd to the brim and makes it blocking could stall the loop; no
 * kernel interface lets an eventfd be written without its flags.
 *
 * Specification: QEMU, docs/interop/vhost-user.rst, all front-end messages that a network device needs.
 * Not offered: postcopy, inflight areas of packed rings, in-band notifications, cross-endian, host notifiers,
 * shared objects, device state transfer.
 *
 * Differences from other back ends: CONFIG is offered only after SET_OWNER (vhost_user_dev.c). A ring
 * that is started but disabled stands still; frames that the guest sends on it wait until it is
 * enabled instead of being discarded.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hosts/vhost_user.h"
#include "net/net_priv.h"

#define host_of(ptr, member) ((struct vu_host *)((char *)(ptr) - offsetof(struct vu_host, member)))

static void conn_ready(struct twx_watch *w, uint32_t events);

/* The device's way out. */

static void notify_queue(struct virtio_dev *dev, unsigned int queue)
{
	struct vu_host *vu = dev->host;

	/* A full eventfd or pipe has an interrupt pending already; a dead one ends with its connection. */
	if (queue < vu->n_rings)
		(void)event_signal(&vu->rings[queue].call);
}

/* "Back-end message types"; without an acknowledgement, so that there is nothing to read. */
static void notify_config(struct virtio_dev *dev)
{
	struct vu_host *vu = dev->host;
	const struct vu_header msg = { .request = VU_BACKEND_CONFIG_CHANGE, .flags = VU_VERSION };
	int err;

	if ((vu->protocol & VU_BIT(VU_P_CONFIG)) == 0 || vu->req.kind == EVENT_NONE)
		return;
	err = event_write(&vu->req, &msg, sizeof(msg));
	if (err < 0)
		VU_LOG(vu, WARNING, "cannot tell the front end of a config change: %s", strerror(-err));
}

static void queue_broken(struct virtio_dev *dev, unsigned int queue)
{
	struct vu_host *vu = dev->host;

	/* What it found there was not the guest's, and the end of the connection is on its way. */
	if (atomic_load(&vu->mem->lost))
		return;
	VU_LOG(vu, WARNING, "queue %u is malformed and stays stopped until the guest's driver resets it",
	       queue);
	if (queue < vu->n_rings)
		(void)event_signal(&vu->rings[queue].err);
}

static const struct virtio_host_ops virtio_ops = {
	.notify_queue = notify_queue,
	.notify_config = notify_config,
	.queue_broken = queue_broken,
};

/* One connection. */

static int conn_begin(struct vu_host *vu, int fd)
{
	int err = twx_watch_add(&vu->watch, vu->host->loop, fd, EPOLLIN, conn_ready);

	if (err < 0) {
		close(fd);
		return err;
	}
	vu->fd = fd;
	vu->told = false;
	sock_describe_peer(vu->ops, fd, vu->who, sizeof(vu->who));
	VU_LOG(vu, INFO, "front end %s connected", vu->who);
	return 0;
}

/* Leaves the device as after open. The call fds outlive the rings: stopping may still signal. */
static void conn_end(struct vu_host *vu, const char *why)
{
	bool lost = atomic_load(&vu->guard.hit);

	if (vu->fd < 0)
		return;
	twx_watch_del(&vu->watch);
	vu_rings_stop(vu);
	virtio_reset(vu->dev);
	vu_rings_reset(vu);
	vu_msg_close_fds(&vu->msg);
	vu->msg.got = 0;
	event_close(&vu->req);
	vu->owned = false;
	vu->features = 0;
	vu->offered = 0;
	vu_iotlb_off(vu);
	vu->protocol = 0;
	vu->protocol_offered = 0;
	vu_mem_reset(vu);
	fault_guard_clear(&vu->guard);
	close(vu->fd);
	vu->fd = -1;
	if (lost)
		VU_LOG(vu, WARNING,
		       "front end %s disconnected: the memory that it shares is gone "
		       "(its file was truncated, or its file system is full)", vu->who);
	else if (why != NULL)
		VU_LOG(vu, INFO, "front end %s disconnected: %s", vu->who, why);
	if (why == NULL || vu->server)
		return;
	if (vu->reconnect_ms > 0)
		twx_timer_set(&vu->retry,
			      twx_loop_now(vu->host->loop) + vu->reconnect_ms * 1000000ULL);
	else
		VU_LOG(vu, ERROR, "stays disconnected, since reconnect-ms is 0");
}

static void memory_lost(struct twx_task *t)
{
	conn_end(host_of(t, guard.task), "");
}

static void conn_ready(struct twx_watch *w, uint32_t events)
{
	struct vu_host *vu = host_of(w, watch);
	const char *why = "";

	(void)events;
	if (!vu_msg_receive(vu, &why))
		conn_end(vu, why);
}

/* Server: one front end at a time. */

static void accepted(struct server_sock *s, int fd)
{
	struct vu_host *vu = host_of(s, sock);

	if (vu->fd >= 0 && sock_hung_up(vu->fd))
		conn_end(vu, "it closed the connection");
	if (vu->fd >= 0)
		server_sock_refuse(s, fd, vu->who);
	else
		(void)conn_begin(vu, fd);
}

/* Client: connecting. */

static int client_connect(struct vu_host *vu)
{
	int fd = hostops_unix_connect(vu->ops, vu->sock.path);

	if (fd < 0)
		return fd;
	return conn_begin(vu, fd);
}

static int client_open(struct vu_host *vu, struct twx_error *e)
{
	int err = client_connect(vu);

	if (err == 0)
		return 0;
	if (vu->reconnect_ms == 0) {
		twx_error_set(e, -err, "%s: cannot connect to vhost-user socket %s: %s",
			      vu->host->nic->id, vu->sock.path, strerror(-err));
		return twx_error_hint(e, "start the front end first, or give reconnect-ms=1000 to wait for it");
	}
	VU_LOG(vu, INFO, "cannot connect yet (%s), trying every %u ms", strerror(-err), vu->reconnect_ms);
	vu->told = true;
	twx_timer_set(&vu->retry, twx_loop_now(vu->host->loop) + vu->reconnect_ms * 1000000ULL);
	return 0;
}

static void retry_due(struct twx_timer *t)
{
	struct vu_host *vu = host_of(t, retry);
	int err = client_connect(vu);

	if (err == 0)
		return;
	if (!vu->told)
		VU_LOG(vu, INFO, "cannot connect (%s), trying every %u ms", strerror(-err),
		       vu->reconnect_ms);
	vu->told = true;
	twx_timer_set(&vu->retry, twx_loop_now(vu->host->loop) + vu->reconnect_ms * 1000000ULL);
}

/* The host. */

static void vhost_user_close(struct twx_host *h)
{
	struct vu_host *vu = h->priv;

	twx_timer_cancel(&vu->retry);
	twx_timer_cancel(&vu->poll);
	conn_end(vu, NULL);
	server_sock_close(&vu->sock);
	vu_mem_fini(vu);
	fault_guard_del(vu->host->net, &vu->guard);
	free(vu->rings);
	vu->rings = NULL;
	vu->dev->host_ops = NULL;
	vu->dev->host = NULL;
	vu->dev->offered &= ~VIRTIO_PACKED;
}

static enum vu_offer take_offer(const struct twx_opts *opts, const char *key)
{
	const char *how = twx_opts_str(opts, key);

	return strcmp(how, "auto") == 0 ? VU_OFFER_AUTO :
	       strcmp(how, "on") == 0	? VU_OFFER_ON :
					  VU_OFFER_OFF;
}

static int take_options(struct vu_host *vu, const char *address, const struct twx_opts *opts,
			struct twx_error *e)
{
	const char *id = vu->host->nic->id;
	int err = server_sock_take_path(&vu->sock, address, e);

	if (err < 0)
		return err;
	vu->server = twx_opts_bool(opts, "server");
	if (vu->server && twx_opts_given(opts, "reconnect-ms")) {
		twx_error_set(e, EINVAL, "%s: reconnect-ms has no meaning for a listening vhost-user socket", id);
		return twx_error_hint(e, "leave it out, or add server=off to connect to the front end");
	}
	vu->reconnect_ms = (uint32_t)twx_opts_int(opts, "reconnect-ms");
	vu->iommu = take_offer(opts, "iommu_platform");
	vu->packed = take_offer(opts, "packed");
	return 0;
}

/* The front end makes the rings. */
static int check_rings(const struct vu_host *vu, const struct twx_opts *opts, struct twx_error *e)
{
	static const char *const keys[] = { "rx_queue_size", "tx_queue_size" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (!twx_opts_given(opts, keys[i]))
			continue;
		twx_error_set(e, EINVAL, "%s: %s= is for the front end, which makes the rings",
			      vu->host->nic->id, keys[i]);
		return twx_error_hint(e, "give it to the front end's own device");
	}
	return 0;
}

/* The fds of a ring come with its number in 8 bits. */
static int check_pairs(const struct vu_host *vu, struct twx_error *e)
{
	const unsigned int most = (VU_INDEX + 1) / 2;

	if (vu->dev->max_pairs <= most)
		return 0;
	twx_error_set(e, EINVAL, "%s: vhost-user cannot carry %u queue pairs", vu->host->nic->id,
		      vu->dev->max_pairs);
	return twx_error_hint(e, "use at most queues=%u", most);
}

/* Translations are one thread's to look up and to forget. */
static int check_workers(struct vu_host *vu, struct twx_error *e)
{
	const struct twx_backend *b = vu->host->nic->backend;

	if (b == NULL || b->n_workers == 0)
		return 0;
	if (vu->iommu == VU_OFFER_AUTO)
		vu->iommu = VU_OFFER_OFF;
	if (vu->iommu == VU_OFFER_OFF)
		return 0;
	twx_error_set(e, EINVAL, "%s: iommu_platform=on is not possible with workers=%u of netdev %s",
		      vu->host->nic->id, b->n_workers, b->id);
	return twx_error_hint(e, "leave one of the two out");
}

static int attach(struct vu_host *vu, struct twx_error *e)
{
	vu->n_rings = vu->dev->n_queues;
	vu->rings = calloc(vu->n_rings, sizeof(*vu->rings));
	if (vu->rings == NULL || vu_mem_init(vu) < 0)
		return twx_error_set(e, ENOMEM, "%s: out of memory", vu->host->nic->id);
	for (uint32_t i = 0; i < vu->n_rings; i++)
		vu->rings[i].kick_fd = -1;
	vu_rings_reset(vu);
	vu->dev->host = vu;
	vu->dev->host_ops = &virtio_ops;
	if (vu->packed != VU_OFFER_OFF)
		vu->dev->offered |= VIRTIO_PACKED & ~vu->dev->lacks;
	return 0;
}

static int vhost_user_open(struct twx_host *h, const char *address, const struct twx_opts *opts,
			   struct twx_error *e)
{
	struct vu_host *vu = h->priv;
	int err;

	vu->host = h;
	vu->dev = h->nic->priv;
	vu->ops = net_hostops(h->net);
	vu->fd = -1;
	server_sock_init(&vu->sock, h, "vhost-user", "front end", accepted);
	twx_timer_init(&vu->retry, h->loop, retry_due);
	twx_timer_init(&vu->poll, h->loop, vu_ring_poll);
	vu->guard = (struct fault_guard){ .loop = h->loop,
					  .task.fn = memory_lost,
					  .find = vu_area_at,
					  .lost = vu_memory_lost };
	fault_guard_add(h->net, &vu->guard);
	err = take_options(vu, address, opts, e);
	if (err == 0)
		err = check_pairs(vu, e);
	if (err == 0)
		err = check_rings(vu, opts, e);
	if (err == 0)
		err = check_workers(vu, e);
	if (err == 0)
		err = attach(vu, e);
	if (err == 0)
		err = vu->server ? server_sock_open(&vu->sock, e) : client_open(vu, e);
	if (err < 0)
		vhost_user_close(h);
	return err;
}

static int vhost_user_may_set_link(struct twx_host *h, struct twx_error *e)
{
	const struct vu_host *vu = h->priv;

	if (vu->fd >= 0 && (vu->protocol & VU_BIT(VU_P_CONFIG)) != 0)
		return 0;
	twx_error_set(e, EPERM, "link of %s belongs to the vhost-user front end", h->nic->id);
	return twx_error_hint(e, "use set_link in the front end's own monitor");
}

static const struct twx_opt_desc options[] = {
	{ .name = "server", .type = TWX_OPT_BOOL, .def = "on",
	  .help = "listen on the socket; off: connect to the front end's" },
	{ .name = "reconnect-ms", .type = TWX_OPT_INT, .def = "0", .words = "N", .min = 0, .max = 3600000,
	  .help = "with server=off, connect again after so many milliseconds; 0: never" },
	{ .name = "iommu_platform", .type = TWX_OPT_ENUM, .def = "auto", .words = "on|off|auto",
	  .help = "offer to take addresses through the front end's IOMMU (auto: to QEMU)" },
	{ .name = "packed", .type = TWX_OPT_ENUM, .def = "auto", .words = "on|off|auto",
	  .help = "offer packed rings (auto: to QEMU, whose device has an option of its own)" },
	{ .name = NULL },
};

static const struct twx_host_bus buses[] = { { "virtio", NULL }, { NULL, NULL } };

const struct twx_host_type host_vhost_user = {
	.name = "vhost-user",
	.help = "unix socket for QEMU, user-mode Linux, DPDK and other vhost-user front ends",
	.buses = buses,
	.options = options,
	.priv_size = sizeof(struct vu_host),
	.open = vhost_user_open,
	.close = vhost_user_close,
	.may_set_link = vhost_user_may_set_link,
	.threads = true,
};
