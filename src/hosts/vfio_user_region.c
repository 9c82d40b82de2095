/* SPDX-License-Identifier: BSD-3-Clause */
/* The device and its regions: what there is, and accesses to BARs, ROM and configuration space. */
#include <errno.h>
#include <string.h>

#include "base/macros.h"
#include "hosts/vfio_user.h"

#define COST_BYTES 64 /* of registers that count as one more message in a round's budget */

int vfu_get_info(struct vfu_host *vfu, struct vfu_msg *m)
{
	struct vfio_device_info info;

	memcpy(&info, m->data, VFU_INFO_SIZE);
	if (info.argsz < VFU_INFO_SIZE)
		return -EINVAL;
	info.argsz = VFU_INFO_SIZE;
	info.flags = VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI;
	info.num_regions = VFIO_PCI_NUM_REGIONS;
	info.num_irqs = VFIO_PCI_NUM_IRQS;
	return vfu_answer(vfu, m, &info, VFU_INFO_SIZE);
}

/* 0: there is none. */
static uint64_t region_size(const struct vfu_host *vfu, uint32_t region)
{
	if (region == VFIO_PCI_CONFIG_REGION_INDEX)
		return vfu->dev->config_size;
	return region <= VFIO_PCI_ROM_REGION_INDEX ? pci_bar_size(vfu->dev, region) : 0;
}

static uint32_t region_flags(const struct vfu_host *vfu, uint32_t region)
{
	if (region_size(vfu, region) == 0)
		return 0;
	return region == VFIO_PCI_ROM_REGION_INDEX
		       ? VFIO_REGION_INFO_FLAG_READ
		       : VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
}

/* Nothing of a region can be mapped, and there are no capabilities: the reply has one size. */
int vfu_get_region_info(struct vfu_host *vfu, struct vfu_msg *m)
{
	struct vfio_region_info info;

	VFU_GET(m, &info);
	if (info.argsz < sizeof(info) || info.index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;
	info.argsz = sizeof(info);
	info.flags = region_flags(vfu, info.index);
	info.cap_offset = 0;
	info.size = region_size(vfu, info.index);
	info.offset = 0;
	return vfu_answer(vfu, m, &info, sizeof(info));
}

/* None: register writes have an order that descriptors of their own would not keep. */
int vfu_get_region_io_fds(struct vfu_host *vfu, struct vfu_msg *m)
{
	struct vfu_io_fds fds;

	VFU_GET(m, &fds);
	if (fds.argsz < sizeof(fds) || fds.flags != 0 || fds.count != 0 ||
	    fds.index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;
	fds.argsz = sizeof(fds);
	return vfu_answer(vfu, m, &fds, sizeof(fds));
}

static int check_rw(const struct vfu_host *vfu, const struct vfu_region_rw *rw)
{
	uint64_t size = region_size(vfu, rw->region);

	if (rw->count == 0 || rw->count > VFU_MAX_XFER)
		return -EINVAL;
	return rw->off <= size && rw->count <= size - rw->off ? 0 : -EINVAL;
}

int vfu_region_read(struct vfu_host *vfu, struct vfu_msg *m)
{
	struct vfu_region_rw rw;
	uint8_t *room;
	int err;

	VFU_GET(m, &rw);
	err = check_rw(vfu, &rw);
	if (err < 0)
		return err;
	room = vfu_stream_room(vfu, (uint32_t)sizeof(rw) + rw.count);
	if (room == NULL)
		return -ENOMEM;
	memcpy(room, &rw, sizeof(rw));
	room += sizeof(rw);
	m->reply_len = (uint32_t)sizeof(rw) + rw.count;
	m->cost += rw.count / COST_BYTES;
	TWX_TRACE(vfu->trace, TWX_HOP_VFIO_READ, vfu->host->nic->id, rw.count, rw.off);
	return rw.region == VFIO_PCI_CONFIG_REGION_INDEX
		       ? pci_config_read(vfu->dev, (uint32_t)rw.off, room, rw.count)
		       : pci_bar_read(vfu->dev, rw.region, rw.off, room, rw.count);
}

static int region_write(struct vfu_host *vfu, const struct vfu_region_rw *rw, const uint8_t *data)
{
	int err = check_rw(vfu, rw);

	if (err < 0)
		return err;
	TWX_TRACE(vfu->trace, TWX_HOP_VFIO_WRITE, vfu->host->nic->id, rw->count, rw->off);
	return rw->region == VFIO_PCI_CONFIG_REGION_INDEX
		       ? pci_config_write(vfu->dev, (uint32_t)rw->off, data, rw->count)
		       : pci_bar_write(vfu->dev, rw->region, rw->off, data, rw->count);
}

int vfu_region_write(struct vfu_host *vfu, struct vfu_msg *m)
{
	struct vfu_region_rw rw;
	int err;

	VFU_GET(m, &rw);
	if (m->len - sizeof(rw) != rw.count)
		return -EINVAL;
	m->cost += rw.count / COST_BYTES;
	err = region_write(vfu, &rw, m->data + sizeof(rw));
	return err < 0 ? err : vfu_answer(vfu, m, &rw, sizeof(rw));
}

/* The writes before a bad one are done: the client cannot be told how many those were. */
int vfu_region_write_multi(struct vfu_host *vfu, struct vfu_msg *m)
{
	uint64_t n, there = (m->len - sizeof(n)) / sizeof(struct vfu_write_one);
	int err = 0;

	VFU_GET(m, &n);
	if (n != there || m->len != sizeof(n) + n * sizeof(struct vfu_write_one))
		return -EINVAL;
	m->cost += (uint32_t)n;
	for (uint64_t i = 0; i < n && err == 0; i++) {
		struct vfu_write_one w;

		memcpy(&w, m->data + sizeof(n) + i * sizeof(w), sizeof(w));
		err = w.rw.count <= sizeof(w.data) ? region_write(vfu, &w.rw, w.data) : -EINVAL;
	}
	return err < 0 ? err : vfu_answer(vfu, m, &n, sizeof(n));
}
