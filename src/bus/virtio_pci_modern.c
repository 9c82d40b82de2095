/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio over PCI: the modern structures and the capabilities that tell where they are (virtio 1.2,
 * 4.1.4). Fields may be accessed in any width: a piece of one is merged with what is there.
 */
#include "bus/virtio_pci_priv.h"

#define COMMON_LEN 0x3cu

/* The modern BAR. */

/* Every structure has a page, and the doorbells as much as they need. */
uint64_t vpci_modern_size(const struct virtio_pci *vp)
{
	uint64_t size = 0x4000;

	while (size < VPCI_NOTIFY + vp->notify_len)
		size *= 2;
	return size;
}

uint32_t vpci_notify_multiplier(const struct virtio_pci *vp)
{
	return vp->page_per_vq ? VPCI_PAGE : 4;
}

/* The common configuration structure (4.1.4.3). */

static uint64_t features_half(uint64_t f, uint32_t select)
{
	return select < 2 ? f >> (32 * select) & 0xffffffff : 0;
}

enum common_field {
	F_DEVICE_SELECT,
	F_DEVICE_FEATURE,
	F_DRIVER_SELECT,
	F_DRIVER_FEATURE,
	F_VECTOR,
	F_NUM_QUEUES,
	F_STATUS,
	F_GENERATION,
	F_QUEUE_SELECT,
	F_QUEUE_SIZE,
	F_QUEUE_VECTOR,
	F_QUEUE_ENABLE,
	F_QUEUE_NOTIFY_OFF,
	F_QUEUE_DESC,
	F_QUEUE_AVAIL,
	F_QUEUE_USED,
	F_QUEUE_NOTIFY_DATA,
	F_QUEUE_RESET,
	N_FIELDS
};

static const struct {
	uint8_t off, len;
} common[N_FIELDS] = {
	[F_DEVICE_SELECT] = { VIRTIO_PCI_COMMON_DFSELECT, 4 },
	[F_DEVICE_FEATURE] = { VIRTIO_PCI_COMMON_DF, 4 },
	[F_DRIVER_SELECT] = { VIRTIO_PCI_COMMON_GFSELECT, 4 },
	[F_DRIVER_FEATURE] = { VIRTIO_PCI_COMMON_GF, 4 },
	[F_VECTOR] = { VIRTIO_PCI_COMMON_MSIX, 2 },
	[F_NUM_QUEUES] = { VIRTIO_PCI_COMMON_NUMQ, 2 },
	[F_STATUS] = { VIRTIO_PCI_COMMON_STATUS, 1 },
	[F_GENERATION] = { VIRTIO_PCI_COMMON_CFGGENERATION, 1 },
	[F_QUEUE_SELECT] = { VIRTIO_PCI_COMMON_Q_SELECT, 2 },
	[F_QUEUE_SIZE] = { VIRTIO_PCI_COMMON_Q_SIZE, 2 },
	[F_QUEUE_VECTOR] = { VIRTIO_PCI_COMMON_Q_MSIX, 2 },
	[F_QUEUE_ENABLE] = { VIRTIO_PCI_COMMON_Q_ENABLE, 2 },
	[F_QUEUE_NOTIFY_OFF] = { VIRTIO_PCI_COMMON_Q_NOFF, 2 },
	[F_QUEUE_DESC] = { VIRTIO_PCI_COMMON_Q_DESCLO, 8 },
	[F_QUEUE_AVAIL] = { VIRTIO_PCI_COMMON_Q_AVAILLO, 8 },
	[F_QUEUE_USED] = { VIRTIO_PCI_COMMON_Q_USEDLO, 8 },
	[F_QUEUE_NOTIFY_DATA] = { 0x38, 2 },
	[F_QUEUE_RESET] = { 0x3a, 2 },
};

static uint64_t queue_get(const struct virtio_pci *vp, enum common_field f)
{
	const struct vpci_regs *r = vp->regs;
	const struct vpci_queue *q = vpci_queue(r, r->queue_select);

	if (!q)
		return f == F_QUEUE_VECTOR ? VIRTIO_MSI_NO_VECTOR : 0;
	switch (f) {
	case F_QUEUE_SIZE:
		return q->size;
	case F_QUEUE_VECTOR:
		return q->vector;
	case F_QUEUE_ENABLE:
		return q->enabled;
	case F_QUEUE_NOTIFY_OFF:
		return r->queue_select;
	case F_QUEUE_DESC:
		return r->rings[r->queue_select].desc;
	case F_QUEUE_AVAIL:
		return r->rings[r->queue_select].avail;
	case F_QUEUE_USED:
		return r->rings[r->queue_select].used;
	default: /* resets are done at once; no notification data is asked for */
		return 0;
	}
}

static uint64_t common_get(const struct virtio_pci *vp, enum common_field f)
{
	const struct vpci_regs *r = vp->regs;

	switch (f) {
	case F_DEVICE_SELECT:
		return r->device_select;
	case F_DEVICE_FEATURE:
		return features_half(vp->modern_offered, r->device_select);
	case F_DRIVER_SELECT:
		return r->driver_select;
	case F_DRIVER_FEATURE:
		return features_half(r->driver_features, r->driver_select);
	case F_VECTOR:
		return r->vector;
	case F_NUM_QUEUES:
		return r->n_queues;
	case F_STATUS:
		return vp->vdev->status;
	case F_GENERATION:
		return r->generation;
	case F_QUEUE_SELECT:
		return r->queue_select;
	default:
		return queue_get(vp, f);
	}
}

static void set_driver_features(struct virtio_pci *vp, uint32_t half)
{
	struct vpci_regs *r = vp->regs;
	unsigned int shift = 32 * (r->driver_select & 1);

	if (r->driver_select > 1 || (vp->vdev->status & VIRTIO_CONFIG_S_FEATURES_OK))
		return;
	r->driver_features &= ~(0xffffffffull << shift);
	r->driver_features |= (uint64_t)half << shift;
}

static void set_queue_size(struct virtio_pci *vp, struct vpci_queue *q, uint32_t size)
{
	if (virtio_ring_size_ok(vp->vdev->features, size) &&
	    size <= vp->vdev->queues[vp->regs->queue_select].size_max)
		q->size = (uint16_t)size;
}

static void reset_queue(struct virtio_pci *vp, uint64_t value)
{
	uint32_t i = vp->regs->queue_select;

	if (value != 1 || !(vp->vdev->features & VPCI_BIT(VIRTIO_F_RING_RESET)))
		return;
	vpci_queue_reset(vp, i);
	vpci_queue(vp->regs, i)->again = 1;
}

static void queue_set(struct virtio_pci *vp, enum common_field f, uint64_t value)
{
	struct vpci_regs *r = vp->regs;
	struct vpci_queue *q = vpci_queue(r, r->queue_select);
	bool running = vp->vdev->status & VIRTIO_CONFIG_S_DRIVER_OK;

	if (!q)
		return;
	if (f == F_QUEUE_VECTOR)
		vpci_set_vector(vp, r->queue_select, (uint32_t)value);
	else if (f == F_QUEUE_RESET)
		reset_queue(vp, value);
	else if (q->enabled || (running && !q->again))
		return;
	else if (f == F_QUEUE_SIZE)
		set_queue_size(vp, q, (uint32_t)value);
	else if (f == F_QUEUE_DESC)
		r->rings[r->queue_select].desc = value;
	else if (f == F_QUEUE_AVAIL)
		r->rings[r->queue_select].avail = value;
	else if (f == F_QUEUE_USED)
		r->rings[r->queue_select].used = value;
	else if (f == F_QUEUE_ENABLE && value == 1)
		vpci_queue_enable(vp, r->queue_select);
}

static void common_set(struct virtio_pci *vp, enum common_field f, uint64_t value)
{
	struct vpci_regs *r = vp->regs;

	switch (f) {
	case F_DEVICE_SELECT:
		r->device_select = (uint32_t)value;
		break;
	case F_DRIVER_SELECT:
		r->driver_select = (uint32_t)value;
		break;
	case F_DRIVER_FEATURE:
		set_driver_features(vp, (uint32_t)value);
		break;
	case F_VECTOR:
		r->vector = vpci_check_vector(vp, (uint32_t)value);
		break;
	case F_STATUS:
		vpci_set_status(vp, (uint8_t)value, false);
		break;
	case F_QUEUE_SELECT:
		r->queue_select = (uint16_t)value;
		break;
	default:
		queue_set(vp, f, value);
	}
}

/* Bytes that the access [@off, @off + @len) and the field have in common, from @*from on. */
static uint32_t common_part(enum common_field f, uint32_t off, uint32_t len, uint32_t *from)
{
	uint32_t start = max(off, (uint32_t)common[f].off);
	uint32_t end = min(off + len, (uint32_t)common[f].off + common[f].len);

	*from = start;
	return end > start ? end - start : 0;
}

static uint32_t common_read(const struct virtio_pci *vp, uint32_t off, uint32_t len)
{
	uint32_t value = 0, from, n;

	for (unsigned int f = 0; f < N_FIELDS; f++) {
		n = common_part(f, off, len, &from);
		if (n)
			value |= (uint32_t)(common_get(vp, f) >> (8 * (from - common[f].off)))
				 << (8 * (from - off));
	}
	return value;
}

static void common_write(struct virtio_pci *vp, uint32_t off, uint32_t len, uint32_t value)
{
	uint32_t from, n;

	for (unsigned int f = 0; f < N_FIELDS; f++) {
		uint64_t mask, v;
		unsigned int shift;

		n = common_part(f, off, len, &from);
		if (!n)
			continue;
		shift = 8 * (from - common[f].off);
		mask = ((1ull << (8 * n)) - 1) << shift;
		v = (uint64_t)(value >> (8 * (from - off))) << shift;
		common_set(vp, f, (common_get(vp, f) & ~mask) | (v & mask));
	}
}

/* @off and @len are aligned and inside the BAR. */
uint32_t vpci_modern_read(struct virtio_pci *vp, uint32_t off, uint32_t len)
{
	if (off < VPCI_ISR)
		return off < COMMON_LEN ? common_read(vp, off, len) : 0;
	if (off < VPCI_DEVICE)
		return off == VPCI_ISR ? vpci_read_isr(vp) : 0;
	return off < VPCI_NOTIFY ? vpci_config_read(vp, off - VPCI_DEVICE, len) : 0;
}

void vpci_modern_write(struct virtio_pci *vp, uint32_t off, uint32_t len, uint32_t value)
{
	uint32_t at = off - VPCI_NOTIFY;

	if (likely(off >= VPCI_NOTIFY)) {
		if (at < vp->notify_len && at % vpci_notify_multiplier(vp) == 0)
			vpci_doorbell(vp, at / vpci_notify_multiplier(vp));
	} else if (off < COMMON_LEN) {
		common_write(vp, off, len, value);
	} else if (off >= VPCI_DEVICE) {
		vpci_config_write(vp, off - VPCI_DEVICE, len, value);
	}
}

/* Capabilities (4.1.4). */

static uint8_t cap_add(struct virtio_pci *vp, uint8_t type, uint8_t bar, uint32_t off, uint32_t len,
		       uint32_t extra, bool has_extra)
{
	uint8_t cap[sizeof(struct virtio_pci_notify_cap)] = { 0 };
	uint8_t cap_len = has_extra ? sizeof(cap) : sizeof(struct virtio_pci_cap);

	cap[offsetof(struct virtio_pci_cap, cap_len)] = cap_len;
	cap[offsetof(struct virtio_pci_cap, cfg_type)] = type;
	cap[offsetof(struct virtio_pci_cap, bar)] = bar;
	pci_put32(cap + offsetof(struct virtio_pci_cap, offset), off);
	pci_put32(cap + offsetof(struct virtio_pci_cap, length), len);
	pci_put32(cap + sizeof(struct virtio_pci_cap), extra);
	return pci_add_capability(&vp->pci, PCI_CAP_ID_VNDR, cap_len, cap + 2, NULL);
}

/* What the driver may write of the window: BAR, offset, length, and the data. */
static void window_add(struct virtio_pci *vp)
{
	uint8_t at = cap_add(vp, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, 0, 0, true);
	uint8_t *mask = vp->pci.wmask + at;

	mask[offsetof(struct virtio_pci_cap, bar)] = 0xff;
	pci_put32(mask + offsetof(struct virtio_pci_cap, offset), ~0u);
	pci_put32(mask + offsetof(struct virtio_pci_cap, length), ~0u);
	pci_put32(mask + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data), ~0u);
	vp->window = at;
}

/* The last one is the first that a driver finds. */
void vpci_modern_init(struct virtio_pci *vp)
{
	cap_add(vp, VIRTIO_PCI_CAP_COMMON_CFG, VPCI_BAR_MODERN, VPCI_COMMON, VPCI_PAGE, 0, false);
	cap_add(vp, VIRTIO_PCI_CAP_ISR_CFG, VPCI_BAR_MODERN, VPCI_ISR, VPCI_PAGE, 0, false);
	cap_add(vp, VIRTIO_PCI_CAP_DEVICE_CFG, VPCI_BAR_MODERN, VPCI_DEVICE, VPCI_PAGE, 0, false);
	cap_add(vp, VIRTIO_PCI_CAP_NOTIFY_CFG, VPCI_BAR_MODERN, VPCI_NOTIFY, vp->notify_len,
		vpci_notify_multiplier(vp), true);
	if (vp->pio_notify)
		cap_add(vp, VIRTIO_PCI_CAP_NOTIFY_CFG, VPCI_BAR_PIO, 0, 4, 0, true);
	window_add(vp);
}

/*
 * The window (4.1.4.9): an access to its data is one to the BAR, of the capability's length. It
 * exists for firmware that has not mapped the BAR, so it works while nothing is decoded.
 */
static bool window_target(const struct virtio_pci *vp, uint32_t *off, uint32_t *len)
{
	const uint8_t *cap = vp->pci.config + vp->window;

	*off = pci_get32(cap + offsetof(struct virtio_pci_cap, offset));
	*len = pci_get32(cap + offsetof(struct virtio_pci_cap, length));
	return cap[offsetof(struct virtio_pci_cap, bar)] == VPCI_BAR_MODERN &&
	       (*len == 1 || *len == 2 || *len == 4) && *off % *len == 0 &&
	       *off < pci_bar_size(&vp->pci, VPCI_BAR_MODERN);
}

static bool covers(uint32_t off, uint32_t len, uint32_t byte)
{
	return byte >= off && byte - off < len;
}

/* Of several reads that make up one, the first fetches. */
void vpci_window_reads(struct virtio_pci *vp, uint32_t off, uint32_t len)
{
	uint32_t data = vp->window + (uint32_t)offsetof(struct virtio_pci_cfg_cap, pci_cfg_data);
	uint32_t to, n;

	if (covers(off, len, data) && window_target(vp, &to, &n))
		pci_put32(vp->pci.config + data, vpci_modern_read(vp, to, n));
}

/* Of several writes, the last one stores. */
void vpci_window_written(struct virtio_pci *vp, uint32_t off, uint32_t len)
{
	uint32_t data = vp->window + (uint32_t)offsetof(struct virtio_pci_cfg_cap, pci_cfg_data);
	uint32_t to, n;

	if (window_target(vp, &to, &n) && covers(off, len, data + n - 1)) {
		uint32_t value = pci_get32(vp->pci.config + data);

		vpci_modern_write(vp, to, n, n < 4 ? value & ((1u << (8 * n)) - 1) : value);
	}
}
