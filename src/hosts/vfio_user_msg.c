/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages of a vfio-user client: checked against one table, handed to their handlers, answered. */
#include <errno.h>
#include <string.h>

#include "base/macros.h"
#include "hosts/vfio_user.h"

#define BUDGET 128 /* of a round, so that a flood does not starve the other ports of the loop */

#define EXACTLY(type) sizeof(type), sizeof(type)
#define UP_TO(type, more) sizeof(type), sizeof(type) + (more)
#define VERSION_DATA_MAX 4096
#define IRQ_DATA_MAX (PCI_MSIX_MAX * sizeof(int32_t)) /* some clients repeat the fds as numbers */
#define FEATURE_DATA_MAX 65536

/* Lengths of the data behind the header, inclusive. */
static const struct vfu_rule {
	const char *name;
	uint32_t min, max;
	uint32_t max_fds;
	vfu_handler *handle;
} rules[] = {
	/* clang-format off */
	[VFU_VERSION] = { "VERSION", UP_TO(struct vfu_version, VERSION_DATA_MAX), 0, vfu_version },
	[VFU_DMA_MAP] = { "DMA_MAP", EXACTLY(struct vfu_dma_map), 1, vfu_dma_map },
	[VFU_DMA_UNMAP] = { "DMA_UNMAP", EXACTLY(struct vfu_dma_unmap), 0, vfu_dma_unmap },
	/* linux/vfio.h's structure has grown; what the protocol has are its first four fields. */
	[VFU_DEVICE_GET_INFO] = { "DEVICE_GET_INFO", VFU_INFO_SIZE, VFU_INFO_SIZE + 8, 0, vfu_get_info },
	[VFU_DEVICE_GET_REGION_INFO] = { "DEVICE_GET_REGION_INFO", EXACTLY(struct vfio_region_info), 0, vfu_get_region_info },
	[VFU_DEVICE_GET_REGION_IO_FDS] = { "DEVICE_GET_REGION_IO_FDS", EXACTLY(struct vfu_io_fds), 0, vfu_get_region_io_fds },
	[VFU_DEVICE_GET_IRQ_INFO] = { "DEVICE_GET_IRQ_INFO", EXACTLY(struct vfio_irq_info), 0, vfu_get_irq_info },
	[VFU_DEVICE_SET_IRQS] = { "DEVICE_SET_IRQS", VFU_IRQ_SET_SIZE, VFU_IRQ_SET_SIZE + IRQ_DATA_MAX, VFU_MAX_FDS, vfu_set_irqs },
	[VFU_REGION_READ] = { "REGION_READ", EXACTLY(struct vfu_region_rw), 0, vfu_region_read },
	[VFU_REGION_WRITE] = { "REGION_WRITE", UP_TO(struct vfu_region_rw, VFU_MAX_XFER), 0, vfu_region_write },
	[VFU_DEVICE_RESET] = { "DEVICE_RESET", 0, 0, 0, vfu_device_reset },
	[VFU_REGION_WRITE_MULTI] = { "REGION_WRITE_MULTI", UP_TO(uint64_t, VFU_MAX_XFER), 0, vfu_region_write_multi },
	[VFU_DEVICE_FEATURE] = { "DEVICE_FEATURE", UP_TO(struct vfu_feature, FEATURE_DATA_MAX), 0, vfu_device_feature },
	[VFU_MIG_DATA_READ] = { "MIG_DATA_READ", EXACTLY(struct vfu_mig_data), 0, vfu_mig_data_read },
	[VFU_MIG_DATA_WRITE] = { "MIG_DATA_WRITE", UP_TO(struct vfu_mig_data, VFU_MAX_XFER), 0, vfu_mig_data_write },
	/* clang-format on */
};

static const struct vfu_rule *rule_of(uint16_t command)
{
	if (command >= array_size(rules) || rules[command].handle == NULL)
		return NULL;
	return &rules[command];
}

int vfu_answer(struct vfu_host *vfu, struct vfu_msg *m, const void *p, uint32_t len)
{
	uint8_t *room = vfu_stream_room(vfu, len);

	if (room == NULL)
		return -ENOMEM;
	memcpy(room, p, len);
	m->reply_len = len;
	return 0;
}

static int carry_out(struct vfu_host *vfu, const struct vfu_rule *rule, struct vfu_msg *m)
{
	int err;

	if (rule == NULL)
		return -EOPNOTSUPP;
	if (m->len < rule->min || m->len > rule->max || m->n_fds > rule->max_fds)
		return -EINVAL;
	vfu->handling = true;
	err = rule->handle(vfu, m);
	vfu->handling = false;
	return err;
}

/* "If an error occurs, the reply message must only include the reply header." */
static void reply(struct vfu_host *vfu, const struct vfu_msg *m, int err)
{
	uint32_t len = err < 0 ? 0 : m->reply_len;
	struct vfu_header h = {
		.id = m->head.id,
		.command = m->head.command,
		.size = (uint32_t)sizeof(h) + len,
		.flags = err < 0 ? VFU_TYPE_REPLY | VFU_ERROR : VFU_TYPE_REPLY,
		.error = (uint32_t)-err,
	};

	/* The handler's answer lies there already. */
	if (vfu_stream_room(vfu, len) != NULL)
		vfu_stream_reply(vfu, &h);
}

static void handle(struct vfu_host *vfu, struct vfu_msg *m)
{
	const struct vfu_rule *rule = rule_of(m->head.command);
	bool version = m->head.command == VFU_VERSION;
	int err = -EPROTO;

	if ((m->head.flags & VFU_TYPE) != VFU_TYPE_COMMAND)
		vfu->dead = "an answer to nothing";
	else if (!vfu->negotiated && !version)
		vfu->dead = "another message before VERSION";
	else
		err = carry_out(vfu, rule, m);
	vfu_msg_close_fds(m);
	if (err < 0 && vfu->dead == NULL)
		VFU_LOG(vfu, WARNING, "%s (command %u) refused: %s",
			rule != NULL ? rule->name : "unknown command", m->head.command,
			strerror(-err));
	if (vfu->dead == NULL && (m->head.flags & VFU_NO_REPLY) == 0)
		reply(vfu, m, err);
	if (err < 0 && version && !vfu->negotiated && vfu->dead == NULL)
		vfu->dead = "no version that both sides speak";
}

static void from_held(struct vfu_msg *m, struct vfu_held *h)
{
	*m = (struct vfu_msg){
		.head = h->head,
		.data = h->data,
		.len = h->head.size - (uint32_t)sizeof(h->head),
		.fds = h->fds,
		.n_fds = h->n_fds,
		.cost = 1,
	};
}

/*
 * The next message, handled; false if there is none. With DMA by message a handler may read from
 * the socket, so that nothing of the message being handled may lie in its buffer.
 */
static bool handle_next(struct vfu_host *vfu, int *budget)
{
	struct vfu_held *h = NULL;
	struct vfu_msg m;

	if (vfu->dma_messages) {
		while (vfu->dead == NULL && vfu_stream_next(vfu, &m))
			(void)vfu_hold(vfu, &m);
		h = vfu->dead == NULL ? vfu_unhold(vfu) : NULL;
		if (h == NULL)
			return false;
		from_held(&m, h);
	} else if (!vfu_stream_next(vfu, &m)) {
		return false;
	}
	handle(vfu, &m);
	*budget -= (int)min(m.cost, (uint32_t)BUDGET);
	if (h != NULL) {
		h->n_fds = 0; /* closed */
		vfu_held_free(h);
	}
	return true;
}

bool vfu_receive(struct vfu_host *vfu, bool readable)
{
	int budget = BUDGET, err;

	while (vfu->dead == NULL && budget > 0) {
		if (handle_next(vfu, &budget))
			continue;
		if (vfu->dead != NULL || !readable || vfu_stream_read(vfu) <= 0)
			break;
		readable = false;
	}
	if (budget <= 0)
		twx_loop_defer(vfu->host->loop, &vfu->task);
	err = vfu_stream_flush(vfu);
	if (err == 0 || err == -EAGAIN)
		(void)twx_watch_set(&vfu->watch, err == 0 ? EPOLLIN : EPOLLIN | EPOLLOUT);
	else if (vfu->dead == NULL)
		vfu->dead = strerror(-err);
	return vfu->dead == NULL;
}
