/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio over PCI: the legacy registers in I/O space (virtio 1.2, 4.1.4.8; guest-endian, which is
 * little here). The device's configuration follows them, four bytes later while MSI-X is on.
 */
#include "bus/virtio_pci_priv.h"

#define RING_ALIGN 4096u

uint32_t vpci_legacy_size(const struct virtio_pci *vp)
{
	uint32_t size = 32;

	while (size < VIRTIO_PCI_CONFIG_OFF(true) + vp->vdev->config_len)
		size *= 2;
	return size;
}

static uint32_t config_start(const struct virtio_pci *vp)
{
	return VIRTIO_PCI_CONFIG_OFF(vpci_msix(vp));
}

static uint32_t queue_pfn(const struct vpci_regs *r)
{
	return r->queue_select < r->n_queues
		       ? (uint32_t)(r->rings[r->queue_select].desc >> VIRTIO_PCI_QUEUE_ADDR_SHIFT)
		       : 0;
}

/* The register that @off lies in, all of it. */
static uint32_t register_read(struct virtio_pci *vp, uint32_t reg)
{
	const struct vpci_regs *r = vp->regs;
	const struct vpci_queue *q = vpci_queue(r, r->queue_select);

	switch (reg) {
	case VIRTIO_PCI_HOST_FEATURES:
		return (uint32_t)vp->legacy_offered;
	case VIRTIO_PCI_GUEST_FEATURES:
		return (uint32_t)vp->vdev->features;
	case VIRTIO_PCI_QUEUE_PFN:
		return queue_pfn(r);
	case VIRTIO_PCI_QUEUE_NUM:
		return q ? vp->vdev->queues[r->queue_select].size_max : 0;
	case VIRTIO_PCI_QUEUE_SEL:
		return r->queue_select;
	case VIRTIO_PCI_STATUS:
		return vp->vdev->status;
	case VIRTIO_PCI_ISR:
		return vpci_read_isr(vp);
	case VIRTIO_MSI_CONFIG_VECTOR:
		return r->vector;
	case VIRTIO_MSI_QUEUE_VECTOR:
		return q ? q->vector : VIRTIO_MSI_NO_VECTOR;
	default: /* QUEUE_NOTIFY */
		return 0;
	}
}

/* Where the registers begin, and how wide they are. */
static const struct legacy_reg {
	uint8_t off, len;
} legacy_regs[] = {
	{ VIRTIO_PCI_HOST_FEATURES, 4 }, { VIRTIO_PCI_GUEST_FEATURES, 4 },
	{ VIRTIO_PCI_QUEUE_PFN, 4 },	 { VIRTIO_PCI_QUEUE_NUM, 2 },
	{ VIRTIO_PCI_QUEUE_SEL, 2 },	 { VIRTIO_PCI_QUEUE_NOTIFY, 2 },
	{ VIRTIO_PCI_STATUS, 1 },	 { VIRTIO_PCI_ISR, 1 },
	{ VIRTIO_MSI_CONFIG_VECTOR, 2 }, { VIRTIO_MSI_QUEUE_VECTOR, 2 },
};

static const struct legacy_reg *register_at(uint32_t off)
{
	const struct legacy_reg *reg = legacy_regs;

	while (off >= (uint32_t)reg->off + reg->len)
		reg++;
	return reg;
}

uint32_t vpci_legacy_read(struct virtio_pci *vp, uint32_t off, uint32_t len)
{
	uint32_t start = config_start(vp), value = 0, n;

	if (off >= start)
		return vpci_config_read(vp, off - start, len);
	/* A wide access takes several narrow registers. */
	for (uint32_t at = off; at < off + len && at < start; at += n) {
		const struct legacy_reg *reg = register_at(at);
		uint32_t skip = at - reg->off;

		n = reg->len - skip;
		value |= register_read(vp, reg->off) >> (8 * skip) << (8 * (at - off));
	}
	return value;
}

/* What a driver that agrees to everything understands, if it does. */
static void set_features(struct virtio_pci *vp, uint32_t value)
{
	uint64_t f = value & vp->legacy_offered;

	if (vp->vdev->status & (VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FEATURES_OK))
		return;
	if (f & VPCI_BIT(VPCI_F_BAD_FEATURE))
		f = vp->vdev->blind & vp->legacy_offered;
	virtio_set_features(vp->vdev, f);
}

/* The rings lie behind one another, as the legacy layout has them (2.7.2). */
static void set_pfn(struct virtio_pci *vp, uint32_t i, uint32_t pfn)
{
	uint64_t desc = (uint64_t)pfn << VIRTIO_PCI_QUEUE_ADDR_SHIFT;
	struct vpci_queue *q = vpci_queue(vp->regs, i);
	uint64_t size = vp->vdev->queues[i].size_max;
	uint64_t avail = desc + 16 * size, end = avail + 6 + 2 * size;

	if (pfn == 0) {
		vpci_queue_reset(vp, i);
	} else if (!q->enabled && size) {
		uint64_t used = (end + RING_ALIGN - 1) & ~(uint64_t)(RING_ALIGN - 1);

		q->size = (uint16_t)size;
		vp->regs->rings[i] = (struct vpci_rings){ desc, avail, used };
		vpci_queue_enable(vp, i);
	}
}

/*
 * Linux before 2.6.34 and others never switch bus master on; QEMU does it for them at this step,
 * and they count on it.
 */
static void set_status(struct virtio_pci *vp, uint8_t value)
{
	vpci_set_status(vp, value, true);
	if (value == (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)) {
		uint8_t command[2];

		pci_put16(command, pci_command(&vp->pci) | PCI_COMMAND_MASTER);
		(void)pci_config_write(&vp->pci, PCI_COMMAND, command, 2);
	}
}

static void register_write(struct virtio_pci *vp, uint32_t reg, uint32_t value)
{
	struct vpci_regs *r = vp->regs;
	struct vpci_queue *q = vpci_queue(r, r->queue_select);

	switch (reg) {
	case VIRTIO_PCI_GUEST_FEATURES:
		set_features(vp, value);
		break;
	case VIRTIO_PCI_QUEUE_PFN:
		if (q)
			set_pfn(vp, r->queue_select, value);
		break;
	case VIRTIO_PCI_QUEUE_SEL:
		r->queue_select = (uint16_t)value;
		break;
	case VIRTIO_PCI_QUEUE_NOTIFY:
		vpci_doorbell(vp, value);
		break;
	case VIRTIO_PCI_STATUS:
		set_status(vp, (uint8_t)value);
		break;
	case VIRTIO_MSI_CONFIG_VECTOR:
		r->vector = vpci_check_vector(vp, value);
		break;
	case VIRTIO_MSI_QUEUE_VECTOR:
		if (q)
			vpci_set_vector(vp, r->queue_select, value);
		break;
	}
}

/* Registers are written whole; a piece of one has no effect. */
void vpci_legacy_write(struct virtio_pci *vp, uint32_t off, uint32_t len, uint32_t value)
{
	uint32_t start = config_start(vp), n;

	if (off >= start) {
		vpci_config_write(vp, off - start, len, value);
		return;
	}
	for (uint32_t at = off; at < off + len && at < start; at += n) {
		const struct legacy_reg *reg = register_at(at);
		uint32_t here = value >> (8 * (at - off));

		n = reg->len - (at - reg->off);
		if (at == reg->off && n <= off + len - at)
			register_write(vp, at, n < 4 ? here & ((1u << (8 * n)) - 1) : here);
	}
}
