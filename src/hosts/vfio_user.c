/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Host "vfio-user": a NIC as a PCI function behind a unix socket, for QEMU 10.1 and newer and other
 * vfio-user clients.
 *
 * Theory of operation
 *
 * The client (a VMM) has an empty slot on its PCI bus; the function in it is ours. Over one unix
 * stream socket it asks what the function is, shares the guest's memory as file descriptors, gives
 * an eventfd for each interrupt, and passes on what the guest does to registers:
 *
 *   the guest reads a register     REGION_READ -> pci_bar_read(), the vCPU waits for the reply
 *   ... writes one                 REGION_WRITE -> pci_bar_write(); without a reply where the
 *                                  client posts its writes, as QEMU does for memory BARs
 *   the NIC moves a frame          in the shared memory, without the socket
 *   ... interrupts                 a write to an eventfd; for INTx an UNMASK message comes back
 *
 * So a message is a VM exit and a round trip, or half of one, and they come one at a time, while
 * posted writes come in floods. A read takes all that is there, up to a buffer; the messages in it
 * are handled with a budget a round, and their replies leave together. Everything runs on the NIC's
 * loop; nothing waits, but for DMA by message.
 *
 * Files: this one begins and ends connections and joins the function and its host; _stream.c has
 * bytes, descriptors and their order; _msg.c the table of messages, _version.c the first of them;
 * _dma.c and _dmamsg.c the client's memory; _irq.c interrupts; _region.c registers; _migr.c and
 * _log.c migration and the dirty log. server_sock.c listens, event.c keeps a client's eventfds from
 * hurting us.
 *
 * State: a connection owns everything that the client sent: memory, eventfds, the log, migration
 * data. It goes when the connection goes; the function is reset then, and the next client finds it
 * as after open. One client at a time: a second one is refused, unless the first has hung up.
 *
 * Memory without a descriptor is known but not reachable, unless dma-messages=on: then a device
 * gets at it by DMA_READ and DMA_WRITE messages to the client, for which the loop waits
 * (vfio_user_dmamsg.c). QEMU maps its ROMs that way, which no NIC has any business with.
 *
 * Memory that the client truncates costs it the connection, in the round of the first access:
 * net/fault.h.
 *
 * Errors: a message that does not fit its description, or that cannot be carried out, is answered
 * with the error flag and an errno. What makes the rest of the stream worthless ends the
 * connection: a size that no message has, an answer to nothing, too many descriptors, anything
 * before VERSION, and a version that we do not speak. Neither touches other ports.
 *
 * Limits: 1 MiB of data and 16 descriptors a message; 512 ranges of memory, of whole 4 KiB pages;
 * 4 MiB of replies not read; 16 TiB of addresses under the dirty log; 4 MiB of migration data.
 * With dma-messages=on 1,024 messages and 4 MiB held, one second of waiting in a round.
 *
 * Specification: QEMU, docs/interop/vfio-user.rst; structures and states of linux/vfio.h. Not
 * offered: regions to be mapped, region I/O by descriptors, a second socket for our requests
 * (twin_socket), PRE_COPY and P2P migration.
 *
 * Differences: the specification keeps a device's state for a client that returns; we reset, since
 * the guest that it belongs to is gone, or will find an interrupted function. Dirty bitmaps are not
 * returned by DMA_UNMAP, as older clients expect.
 */
#include "hosts/vfio_user.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/macros.h"
#include "bus/virtio_pci.h"
#include "net/net_priv.h"

static const struct pci_host_ops pci_ops = {
	.intx = vfu_intx,
	.message = vfu_message,
	.dma = vfu_dma,
};

/* One connection. */

static void conn_ready(struct twx_watch *w, uint32_t events);

static int conn_begin(struct vfu_host *vfu, int fd)
{
	int err = vfu_stream_begin(vfu);

	if (err == 0)
		err = twx_watch_add(&vfu->watch, vfu->host->loop, fd, EPOLLIN, conn_ready);
	if (err < 0) {
		VFU_LOG(vfu, WARNING, "cannot serve a client: %s", strerror(-err));
		vfu_stream_end(vfu);
		close(fd);
		return err;
	}
	vfu->fd = fd;
	vfu->dead = NULL;
	vfu->negotiated = false;
	sock_describe_peer(net_hostops(vfu->host->net), fd, vfu->who, sizeof(vfu->who));
	vfu->dev->host_masks = true;
	pci_attach(vfu->dev, &pci_ops, vfu, vfu->mem);
	pci_irq_mode(vfu->dev, PCI_IRQ_INTX);
	VFU_LOG(vfu, INFO, "client %s connected", vfu->who);
	return 0;
}

/* The function hands back what it holds while the client's memory is still there. */
static void conn_end(struct vfu_host *vfu, const char *why)
{
	bool lost = atomic_load(&vfu->guard.hit);

	if (vfu->fd < 0)
		return;
	twx_watch_del(&vfu->watch);
	pci_detach(vfu->dev);
	vfu_irq_reset(vfu);
	vfu_migr_reset(vfu);
	vfu_dma_drop(vfu);
	vfu_stream_end(vfu);
	fault_guard_clear(&vfu->guard);
	twx_loop_undefer(vfu->host->loop, &vfu->task);
	close(vfu->fd);
	vfu->fd = -1;
	if (lost)
		VFU_LOG(vfu, WARNING,
			"client %s disconnected: the memory that it shares is gone "
			"(its file was truncated, or its file system is full)",
			vfu->who);
	else if (why != NULL)
		VFU_LOG(vfu, INFO, "client %s disconnected: %s", vfu->who, why);
}

static void go_on(struct vfu_host *vfu, bool readable)
{
	if (!vfu_receive(vfu, readable))
		conn_end(vfu, vfu->dead);
}

static void conn_ready(struct twx_watch *w, uint32_t events)
{
	go_on(container_of(w, struct vfu_host, watch), (events & ~(uint32_t)EPOLLOUT) != 0);
}

static void conn_task(struct twx_task *t)
{
	go_on(container_of(t, struct vfu_host, task), false);
}

void vfu_die(struct vfu_host *vfu, const char *why)
{
	vfu->dead = why;
	twx_loop_defer(vfu->host->loop, &vfu->task);
}

static void memory_lost(struct twx_task *t)
{
	conn_end(container_of(t, struct vfu_host, guard.task), "");
}

static void accepted(struct server_sock *s, int fd)
{
	struct vfu_host *vfu = container_of(s, struct vfu_host, sock);

	if (vfu->fd >= 0 && sock_hung_up(vfu->fd))
		conn_end(vfu, "it closed the connection");
	if (vfu->fd >= 0)
		server_sock_refuse(s, fd, vfu->who);
	else
		(void)conn_begin(vfu, fd);
}

/* The host. */

static void vfio_user_close(struct twx_host *h)
{
	struct vfu_host *vfu = h->priv;

	conn_end(vfu, NULL);
	server_sock_close(&vfu->sock);
	fault_guard_del(h->net, &vfu->guard);
	vfu_irq_fini(vfu);
	free(vfu->mem);
	vfu->mem = NULL;
	if (vfu->own_dev)
		virtio_pci_free(vfu->dev);
	vfu->own_dev = false;
}

/* A virtio device gets its PCI function from us; the others are one. */
static int take_function(struct vfu_host *vfu, const struct twx_opts *opts, struct twx_error *e)
{
	struct twx_nic *nic = vfu->host->nic;
	int err;

	vfu->dev = nic->priv;
	if (strcmp(nic->model->bus, "virtio") != 0)
		return 0;
	err = virtio_pci_new(&vfu->dev, nic, nic->priv, opts, e);
	vfu->own_dev = err == 0;
	return err;
}

static int attach(struct vfu_host *vfu, const struct twx_opts *opts, struct twx_error *e)
{
	int err = take_function(vfu, opts, e);

	if (err < 0)
		return err;
	vfu->mem = malloc(sizeof(*vfu->mem));
	if (vfu->mem == NULL || vfu_irq_init(vfu) < 0)
		return twx_error_set(e, ENOMEM, "%s: out of memory", vfu->host->nic->id);
	mem_init(vfu->mem);
	vfu_migr_reset(vfu);
	return 0;
}

static int vfio_user_open(struct twx_host *h, const char *address, const struct twx_opts *opts,
			  struct twx_error *e)
{
	struct vfu_host *vfu = h->priv;
	int err;

	vfu->host = h;
	vfu->fd = -1;
	vfu->task.fn = conn_task;
	vfu->trace = twx_loop_trace(h->loop);
	vfu->dma_messages = twx_opts_bool(opts, "dma-messages");
	server_sock_init(&vfu->sock, h, "vfio-user", "client", accepted);
	vfu->guard = (struct fault_guard){ .loop = h->loop,
					   .task.fn = memory_lost,
					   .find = vfu_area_at,
					   .lost = vfu_memory_lost };
	err = attach(vfu, opts, e);
	fault_guard_add(h->net, &vfu->guard);
	if (err == 0)
		err = server_sock_take_path(&vfu->sock, address, e);
	if (err == 0)
		err = server_sock_open(&vfu->sock, e);
	if (err < 0)
		vfio_user_close(h);
	return err;
}

static int vfio_user_may_set_link(struct twx_host *h, struct twx_error *e)
{
	(void)h;
	(void)e;
	return 0; /* the registers that show it are ours */
}

static const struct twx_opt_desc options[] = {
	{ .name = "dma-messages",
	  .type = TWX_OPT_BOOL,
	  .def = "off",
	  .help = "reach memory that the client has not shared by messages; slow, and the program "
		  "waits" },
	{ .name = NULL },
};

static const struct twx_host_bus buses[] = { { "pci", pci_options },
					     { "virtio", virtio_pci_options },
					     { NULL, NULL } };

const struct twx_host_type host_vfio_user = {
	.name = "vfio-user",
	.help = "unix socket for QEMU 10.1 or newer and other vfio-user clients",
	.buses = buses,
	.options = options,
	.priv_size = sizeof(struct vfu_host),
	.open = vfio_user_open,
	.close = vfio_user_close,
	.may_set_link = vfio_user_may_set_link,
};
