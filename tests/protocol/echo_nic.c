/* SPDX-License-Identifier: BSD-3-Clause */
/* A virtio device that sends back what is sent, and counts what its transport does to it. */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "vhost_client.h"

#include "bus/virtqueue.h"

static struct echo *echo_of(struct virtio_dev *dev)
{
	return (struct echo *)dev;
}

static void echo_features(struct virtio_dev *dev, uint64_t features)
{
	echo_of(dev)->features = features;
}

static void echo_start(struct virtio_dev *dev, unsigned int queue)
{
	echo_of(dev)->starts[queue]++;
}

static void echo_stop(struct virtio_dev *dev, unsigned int queue)
{
	echo_of(dev)->stops[queue]++;
}

/* One chain out of @tx into @rx, as much as fits; an unusable chain goes back empty. */
static bool echo_one(struct virtio_dev *dev, struct virtqueue *tx, struct virtqueue *rx)
{
	static struct iovec out[VQ_MAX_IOV], in[VQ_MAX_IOV];
	struct vq_chain c, d;
	uint32_t room, n = 0;
	int rc = vq_pop(tx, &c, out, VQ_MAX_IOV), into = -1;

	if (rc == 0)
		return false;
	if (rc > 0 && c.n_out > 0)
		into = vq_pop(rx, &d, in, VQ_MAX_IOV);
	/* A buffer is there, and its address is not. */
	if (into == 0 && rx->stalled) {
		vq_unpop(tx, &c.elem);
		return false;
	}
	if (into != 1) {
		vq_push(tx, &c.elem, 0);
		return true;
	}
	room = d.n_in > 0 ? (uint32_t)in[d.n_out].iov_len : 0;
	n = (uint32_t)out[0].iov_len < room ? (uint32_t)out[0].iov_len : room;
	if (n > 0) {
		memcpy(in[d.n_out].iov_base, out[0].iov_base, n);
		mem_dirty(dev->mem, in[d.n_out].iov_base, n);
	}
	vq_push(rx, &d.elem, n);
	vq_push(tx, &c.elem, 0);
	echo_of(dev)->echoed++;
	return true;
}

static void echo_kick(struct virtio_dev *dev, unsigned int queue)
{
	struct virtqueue *tx = &dev->queues[queue | 1], *rx = &dev->queues[queue & ~1u];

	echo_of(dev)->kicks[queue]++;
	if (queue == ECHO_QUEUES - 1 || !vq_ready(tx) || !vq_ready(rx))
		return;
	for (int i = 0; i < 2 * VC_NUM && echo_one(dev, tx, rx); i++)
		;
	vq_publish(tx);
	vq_publish(rx);
	if (vq_signal(tx) == VQ_SIGNAL_SEND)
		dev->host_ops->notify_queue(dev, queue | 1);
	if (vq_signal(rx) == VQ_SIGNAL_SEND)
		dev->host_ops->notify_queue(dev, queue & ~1u);
	(void)vq_notify_enable(tx);
	(void)vq_notify_enable(rx);
}

static int echo_config_read(struct virtio_dev *dev, uint32_t off, void *buf, uint32_t len)
{
	if (off > ECHO_CONFIG || len > ECHO_CONFIG - off)
		return -EINVAL;
	memcpy(buf, echo_of(dev)->config + off, len);
	return 0;
}

static int echo_config_write(struct virtio_dev *dev, uint32_t off, const void *buf, uint32_t len)
{
	if (off > ECHO_CONFIG || len > ECHO_CONFIG - off)
		return -EINVAL;
	memcpy(echo_of(dev)->config + off, buf, len);
	return 0;
}

static void echo_set_status(struct virtio_dev *dev, uint8_t status)
{
	echo_of(dev)->status = status;
}

static void echo_set_mtu(struct virtio_dev *dev, uint16_t mtu)
{
	echo_of(dev)->mtu = mtu;
}

static void echo_announce(struct virtio_dev *dev, const uint8_t mac[6])
{
	echo_of(dev)->announced++;
	memcpy(echo_of(dev)->mac, mac, 6);
}

static void echo_reset(struct virtio_dev *dev)
{
	echo_of(dev)->resets++;
	echo_of(dev)->features = 0;
}

static const struct virtio_dev_ops echo_ops = {
	.set_features = echo_features,
	.queue_start = echo_start,
	.queue_stop = echo_stop,
	.kick = echo_kick,
	.config_read = echo_config_read,
	.config_write = echo_config_write,
	.set_status = echo_set_status,
	.set_mtu = echo_set_mtu,
	.announce = echo_announce,
	.reset = echo_reset,
};

static int echo_open(struct twx_nic *nic, const struct twx_opts *opts, struct twx_error *e)
{
	struct echo *s = nic->priv;

	(void)opts;
	if (virtio_dev_init(&s->dev, &echo_ops, nic->loop, ECHO_QUEUES) < 0)
		return twx_error_set(e, ENOMEM, "out of memory");
	s->dev.offered = 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX |
			 1ull << VIRTIO_RING_F_INDIRECT_DESC;
	s->dev.max_pairs = ECHO_QUEUES / 2;
	for (int i = 0; i < ECHO_CONFIG; i++)
		s->config[i] = (uint8_t)(0xa0 + i);
	return twx_nic_add_port(nic, e) != NULL ? 0 : -ENOMEM;
}

static void echo_close(struct twx_nic *nic)
{
	virtio_dev_fini(nic->priv);
}

static int echo_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	(void)port;
	(void)frames;
	return n;
}

static const struct twx_port_ops echo_port_ops = { .receive = echo_receive };
static const struct twx_opt_desc echo_options[] = { { NULL } };

const struct twx_nic_model echo_model = {
	.name = "echo",
	.help = "sends back what is sent",
	.bus = "virtio",
	.options = echo_options,
	.port_ops = &echo_port_ops,
	.priv_size = sizeof(struct echo),
	.open = echo_open,
	.close = echo_close,
};
