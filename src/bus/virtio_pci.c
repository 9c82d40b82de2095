/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A virtio device as a PCI function (virtio 1.2, 4.1): life cycle, status, queues, interrupts.
 *
 * The function is transitional unless it is told otherwise: BAR 0 has the legacy registers in I/O
 * space (virtio_pci_legacy.c), BAR 4 the modern structures (virtio_pci_modern.c), BAR 1 the MSI-X
 * table. Both windows show the same registers (struct vpci_regs) and the same device behind them
 * (struct virtio_dev), which does not know of PCI. It is a function of conventional PCI; behind a
 * root port (virtio_pci_new_express()) one of PCI Express, and modern alone.
 *
 * A queue runs when the driver has enabled it and set DRIVER_OK, bus master is on, the machine runs
 * and its rings are in memory that is mapped here: vpci_update() starts and stops queues after
 * whatever may have changed one of these. Stopping gives back all that was taken, so `base` is the
 * one number that a stop leaves behind, for a change of the memory map as for a migration.
 *
 * Frozen state: feature bits after FEATURES_OK (legacy: DRIVER_OK); a queue's registers once it is
 * enabled, and all of them after DRIVER_OK, but for a queue that was reset (2.6.1). Status bits are
 * only ever added, until zero resets the device. Doorbells of queues that do not run are ignored.
 *
 * A driver that offers a malformed ring, or one that is nowhere in memory, gets DEVICE_NEEDS_RESET
 * and a configuration interrupt; the other queues go on. The rings have to be mapped: a host that
 * reaches memory by messages only cannot carry virtio.
 *
 * Differences from QEMU: writing 0 to a legacy queue's address stops this queue, not the device; a
 * queue's registers cannot be changed under the device.
 */
#include <errno.h>
#include <stdlib.h>

#include "bus/virtio_pci_priv.h"

#define ID_VENDOR 0x1af4
#define ID_TRANSITIONAL 0x0fff /* plus the device's: 0x1000 is a network card */
#define ID_MODERN 0x1040
#define SUBSYS_QEMU 0x1100
#define MSIX_PBA 0x800u

#define DRIVER_OK VIRTIO_CONFIG_S_DRIVER_OK
#define FEATURES_OK VIRTIO_CONFIG_S_FEATURES_OK
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET

/* Interrupts. */

/* A host that keeps the guest's enable bit to itself has said so by the mode. */
bool vpci_msix(const struct virtio_pci *vp)
{
	return pci_msix_enabled(&vp->pci) || vp->pci.irq_mode == PCI_IRQ_MSIX;
}

static void vpci_interrupt(struct virtio_pci *vp, uint16_t vector, uint8_t isr)
{
	if (!(vp->vdev->status & DRIVER_OK))
		return;
	if (vpci_msix(vp)) {
		if (vector != VIRTIO_MSI_NO_VECTOR)
			pci_notify(&vp->pci, vector);
		return;
	}
	vp->regs->isr |= isr;
	pci_set_intx(&vp->pci, true);
}

static void vpci_notify_queue(struct virtio_dev *vdev, unsigned int queue)
{
	struct virtio_pci *vp = vdev->host;

	vpci_interrupt(vp, vpci_queue(vp->regs, queue)->vector, VPCI_ISR_QUEUE);
}

static void vpci_notify_config(struct virtio_dev *vdev)
{
	struct virtio_pci *vp = vdev->host;

	vp->regs->generation++;
	vpci_interrupt(vp, vp->regs->vector, VIRTIO_PCI_ISR_CONFIG);
}

static void vpci_needs_reset(struct virtio_pci *vp, uint32_t queue, const char *why)
{
	struct virtio_dev *vdev = vp->vdev;
	struct twx_nic *nic = vp->pci.nic;

	if (vdev->status & NEEDS_RESET)
		return;
	vdev->status |= NEEDS_RESET;
	twx_log(nic->net, TWX_LOG_WARNING, "device %s: queue %u: %s; the driver has to reset it",
		nic->id, queue, why);
	/* Legacy drivers do not know the bit (2.1.2). */
	if (vdev->features & VPCI_BIT(VIRTIO_F_VERSION_1))
		vpci_interrupt(vp, vp->regs->vector, VIRTIO_PCI_ISR_CONFIG);
}

static void vpci_queue_broken(struct virtio_dev *vdev, unsigned int queue)
{
	vpci_needs_reset(vdev->host, queue, "its ring is malformed");
}

static const struct virtio_host_ops vpci_virtio_ops = {
	.notify_queue = vpci_notify_queue,
	.notify_config = vpci_notify_config,
	.queue_broken = vpci_queue_broken,
	.kick_fd = vpci_kick_fd,
	.call_fd = vpci_call_fd,
};

uint8_t vpci_read_isr(struct virtio_pci *vp)
{
	uint8_t isr = vp->regs->isr;

	vp->regs->isr = 0;
	pci_set_intx(&vp->pci, false);
	return isr;
}

uint16_t vpci_check_vector(const struct virtio_pci *vp, uint32_t vector)
{
	return vector < vp->regs->n_vectors ? (uint16_t)vector : VIRTIO_MSI_NO_VECTOR;
}

void vpci_set_vector(struct virtio_pci *vp, uint32_t i, uint32_t vector)
{
	vpci_queue(vp->regs, i)->vector = vpci_check_vector(vp, vector);
	vpci_calls_update(vp);
}

/* Queues. */

static bool vpci_may_run(const struct virtio_pci *vp)
{
	return (vp->vdev->status & DRIVER_OK) && vp->pci.dma_on && !vp->frozen && !vp->stopped;
}

static bool vpci_translate(const struct virtio_pci *vp, uint32_t i, struct virtio_ring *ring)
{
	const struct vpci_rings *at = &vp->regs->rings[i];
	struct mem_map *m = vp->pci.mem;
	struct virtio_ring_lens len =
		virtio_ring_lens(vp->vdev->features, vpci_queue(vp->regs, i)->size);

	*ring = (struct virtio_ring){
		.desc = mem_ptr(m, (gpa){ at->desc }, len.desc),
		.avail = mem_ptr(m, (gpa){ at->avail }, len.avail),
		.used = mem_ptr(m, (gpa){ at->used }, len.used),
		.log = true, /* wherever the map has a log */
		.log_used_gpa = at->used,
	};
	return ring->desc && ring->avail && ring->used;
}

static bool vpci_queue_start(struct virtio_pci *vp, uint32_t i)
{
	struct vpci_queue *q = vpci_queue(vp->regs, i);
	struct virtio_ring ring;

	if (!vpci_translate(vp, i, &ring) ||
	    virtio_queue_setup(vp->vdev, i, q->size, &ring, q->base) < 0)
		return false;
	virtio_queue_start(vp->vdev, i);
	vpci_bell_on(vp, i);
	if (!vpci_bell_outside(vp, i))
		vp->vdev->ops->kick(vp->vdev, i); /* what was offered before */
	return true;
}

static void vpci_queue_stop(struct virtio_pci *vp, uint32_t i)
{
	if (!virtio_queue_running(vp->vdev, i))
		return;
	vpci_queue(vp->regs, i)->base = virtio_queue_stop(vp->vdev, i);
	vpci_bell_off(vp, i);
}

void vpci_update(struct virtio_pci *vp)
{
	for (uint32_t i = 0; i < vp->regs->n_queues; i++) {
		if (!vpci_may_run(vp) || !vpci_queue(vp->regs, i)->enabled)
			vpci_queue_stop(vp, i);
		else if (!virtio_queue_running(vp->vdev, i))
			(void)vpci_queue_start(vp, i);
	}
}

/* What should run by now, and does not: its rings are not there. */
static void vpci_check_running(struct virtio_pci *vp, uint32_t i)
{
	if (vpci_may_run(vp) && vpci_queue(vp->regs, i)->enabled &&
	    !virtio_queue_running(vp->vdev, i))
		vpci_needs_reset(vp, i, "its rings are not in the guest's memory");
}

void vpci_queue_enable(struct virtio_pci *vp, uint32_t i)
{
	vpci_queue(vp->regs, i)->enabled = 1;
	if (vp->vdev->features & VIRTIO_PACKED)
		vpci_queue(vp->regs, i)->base = virtio_ring_first(VIRTIO_PACKED);
	vpci_update(vp);
	vpci_check_running(vp, i);
}

void vpci_queue_reset(struct virtio_pci *vp, uint32_t i)
{
	vpci_queue_stop(vp, i);
	*vpci_queue(vp->regs, i) = (struct vpci_queue){
		.size = vp->vdev->queues[i].size_max,
		.vector = VIRTIO_MSI_NO_VECTOR,
	};
	vp->regs->rings[i] = (struct vpci_rings){ 0 };
}

void vpci_doorbell(struct virtio_pci *vp, uint32_t i)
{
	struct virtio_dev *vdev = vp->vdev;

	if (unlikely(i >= vp->regs->n_queues))
		return;
	TWX_TRACE(vp->trace, TWX_HOP_KICK, vp->pci.nic->id, 0, i);
	if (unlikely(!virtio_queue_running(vdev, i)))
		vpci_check_running(vp, i);
	else if (likely(!vpci_bell_outside(vp, i)))
		vdev->ops->kick(vdev, i);
}

/* Status. */

static void vpci_reset_device(struct virtio_pci *vp)
{
	struct vpci_regs *r = vp->regs;

	vp->vdev->status = 0; /* what is given back now is nobody's to hear of */
	for (uint32_t i = 0; i < r->n_queues; i++)
		vpci_queue_stop(vp, i);
	virtio_reset(vp->vdev);
	for (uint32_t i = 0; i < r->n_queues; i++)
		vpci_queue_reset(vp, i);
	r->driver_features = 0;
	r->device_select = r->driver_select = 0;
	r->vector = VIRTIO_MSI_NO_VECTOR;
	r->queue_select = 0;
	r->generation = 0;
	(void)vpci_read_isr(vp);
}

/* 3.1.1: what the driver wants is agreed on here, or FEATURES_OK does not stick. */
static bool vpci_agree(struct virtio_pci *vp)
{
	const uint64_t platform = VPCI_BIT(VIRTIO_F_ACCESS_PLATFORM);
	uint64_t want = vp->regs->driver_features;

	if ((want & ~vp->modern_offered) || !(want & VPCI_BIT(VIRTIO_F_VERSION_1)) ||
	    (vp->modern_offered & platform & ~want))
		return false;
	virtio_set_features(vp->vdev, want);
	return true;
}

static void vpci_driver_ok(struct virtio_pci *vp)
{
	vpci_update(vp);
	for (uint32_t i = 0; i < vp->regs->n_queues; i++)
		vpci_check_running(vp, i);
}

void vpci_set_status(struct virtio_pci *vp, uint8_t value, bool legacy)
{
	struct virtio_dev *vdev = vp->vdev;
	uint8_t fresh = (uint8_t)(value & ~vdev->status);

	if (value == 0) {
		vpci_reset_device(vp);
		return;
	}
	fresh &= VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | DRIVER_OK | FEATURES_OK |
		 VIRTIO_CONFIG_S_FAILED;
	/* Legacy drivers do not agree; what they wrote last counts, also when queues run. */
	if (legacy || (vdev->status & DRIVER_OK) || ((fresh & FEATURES_OK) && !vpci_agree(vp)))
		fresh &= (uint8_t)~FEATURES_OK;
	if (!legacy && !((vdev->status | fresh) & FEATURES_OK))
		fresh &= (uint8_t)~DRIVER_OK;
	vdev->status |= fresh;
	if (fresh && vdev->ops->set_status)
		vdev->ops->set_status(vdev, vdev->status);
	if (fresh & DRIVER_OK)
		vpci_driver_ok(vp);
}

/* The device's configuration space. */

uint32_t vpci_config_read(struct virtio_pci *vp, uint32_t off, uint32_t len)
{
	uint8_t buf[4] = { 0xff, 0xff, 0xff, 0xff };
	uint32_t has = vp->vdev->config_len;

	if (off < has)
		(void)vp->vdev->ops->config_read(vp->vdev, off, buf, min(len, has - off));
	return pci_get32(buf);
}

void vpci_config_write(struct virtio_pci *vp, uint32_t off, uint32_t len, uint32_t value)
{
	uint32_t has = vp->vdev->config_len;
	uint8_t buf[4];

	pci_put32(buf, value);
	if (off < has)
		(void)vp->vdev->ops->config_write(vp->vdev, off, buf, min(len, has - off));
}

/* The bus's calls. */

static uint64_t vpci_bar_read(struct pci_dev *pci, unsigned int bar, uint64_t off,
			      unsigned int size)
{
	if (bar == VPCI_BAR_LEGACY)
		return vpci_legacy_read(vpci_of(pci), (uint32_t)off, size);
	if (bar == VPCI_BAR_MODERN)
		return vpci_modern_read(vpci_of(pci), (uint32_t)off, size);
	return 0;
}

static void vpci_bar_write(struct pci_dev *pci, unsigned int bar, uint64_t off, unsigned int size,
			   uint64_t value, uint64_t mask)
{
	if (bar == VPCI_BAR_LEGACY)
		vpci_legacy_write(vpci_of(pci), (uint32_t)off, size, (uint32_t)value);
	else if (bar == VPCI_BAR_MODERN)
		vpci_modern_write(vpci_of(pci), (uint32_t)off, size, (uint32_t)value);
	else if (bar == VPCI_BAR_PIO && off == 0)
		vpci_doorbell(vpci_of(pci), (uint16_t)value);
}

static void vpci_config_written(struct pci_dev *pci, uint32_t off, uint32_t len)
{
	struct virtio_pci *vp = vpci_of(pci);

	/* Bus master or the power state may have changed. */
	vpci_update(vp);
	vpci_calls_update(vp);
	if (vp->window)
		vpci_window_written(vp, off, len);
}

static void vpci_config_reads(struct pci_dev *pci, uint32_t off, uint32_t len)
{
	if (vpci_of(pci)->window)
		vpci_window_reads(vpci_of(pci), off, len);
}

static void vpci_reset(struct pci_dev *pci)
{
	vpci_reset_device(vpci_of(pci));
}

static void vpci_mem_changing(struct pci_dev *pci)
{
	vpci_of(pci)->frozen = true;
	vpci_update(vpci_of(pci));
}

/* A ring that is not there now may be back with the next change; the doorbell complains. */
static void vpci_mem_changed(struct pci_dev *pci)
{
	struct virtio_pci *vp = vpci_of(pci);

	vp->vdev->mem = pci->mem;
	pci->mem->keep_files |= vp->vdev->needs_files;
	vp->frozen = false;
	vpci_update(vp);
}

static void vpci_run(struct pci_dev *pci, bool running)
{
	vpci_of(pci)->stopped = !running;
	vpci_update(vpci_of(pci));
}

static const struct pci_dev_ops vpci_pci_ops = {
	.bar_read = vpci_bar_read,
	.bar_write = vpci_bar_write,
	.config_written = vpci_config_written,
	.config_reads = vpci_config_reads,
	.reset = vpci_reset,
	.mem_changing = vpci_mem_changing,
	.mem_changed = vpci_mem_changed,
	.run = vpci_run,
};

/* Set-up. */

static uint64_t pow2(uint64_t n)
{
	uint64_t p = 1;

	while (p < n)
		p *= 2;
	return p;
}

static void vpci_describe_msix(struct pci_info *info, uint32_t n_vectors)
{
	uint32_t table = n_vectors * PCI_MSIX_ENTRY_SIZE, pba = (n_vectors + 63) / 64 * 8;

	if (!n_vectors)
		return;
	info->n_msix = (uint16_t)n_vectors;
	info->msix_bar = VPCI_BAR_MSIX;
	info->msix_pba_off = max(table, MSIX_PBA);
	info->bars[VPCI_BAR_MSIX] =
		(struct pci_bar){ PCI_BAR_MEM32, false,
				  pow2(max(info->msix_pba_off + pba, VPCI_PAGE)), 4, 4 };
}

static struct pci_info vpci_describe(const struct virtio_pci *vp)
{
	const struct virtio_dev *vdev = vp->vdev;
	struct pci_info info = {
		.vendor = ID_VENDOR,
		.device = (uint16_t)(vdev->id + (vp->legacy ? ID_TRANSITIONAL : ID_MODERN)),
		.subsys_vendor = ID_VENDOR,
		.subsys = vp->legacy ? vdev->id : SUBSYS_QEMU,
		.revision = vp->legacy ? VIRTIO_PCI_ABI_VERSION : 1,
		.class_code = vdev->class_code,
		.int_pin = 1,
		.express = vp->express,
	};

	vpci_describe_msix(&info, vp->regs->n_vectors);
	if (vp->legacy)
		info.bars[VPCI_BAR_LEGACY] =
			(struct pci_bar){ PCI_BAR_IO, false, vpci_legacy_size(vp), 1, 4 };
	if (vp->modern)
		info.bars[VPCI_BAR_MODERN] =
			(struct pci_bar){ PCI_BAR_MEM64, true, vpci_modern_size(vp), 1, 4 };
	if (vp->modern && vp->pio_notify)
		info.bars[VPCI_BAR_PIO] = (struct pci_bar){ PCI_BAR_IO, false, 4, 1, 4 };
	return info;
}

static int vpci_alloc_regs(struct virtio_pci *vp, const struct twx_opts *opts)
{
	uint32_t n = vp->vdev->n_queues, n_vectors = min(n + 1, (uint32_t)PCI_MSIX_MAX);

	if (twx_opts_given(opts, "vectors"))
		n_vectors = (uint32_t)twx_opts_int(opts, "vectors");
	vp->regs = calloc(1, sizeof(*vp->regs) +
				     n * (sizeof(struct vpci_rings) + sizeof(struct vpci_queue)));
	if (!vp->regs)
		return -ENOMEM;
	vp->regs->vp = vp;
	vp->regs->n_queues = n;
	vp->regs->n_vectors = n_vectors;
	return vpci_bells_new(vp);
}

static int vpci_init(struct virtio_pci *vp, struct twx_nic *nic, const struct twx_opts *opts,
		     struct twx_error *e)
{
	struct pci_info info;
	int rc;

	if (vpci_alloc_regs(vp, opts) < 0)
		return twx_error_set(e, ENOMEM, "device %s: out of memory", nic->id);
	rc = vpci_take_forms(vp, nic->id, opts, e);
	if (rc < 0)
		return rc;
	info = vpci_describe(vp);
	rc = pci_dev_init(&vp->pci, nic, &vpci_pci_ops, &info, e);
	if (rc < 0)
		return rc;
	rc = pci_load_rom(&vp->pci, opts, e);
	if (rc < 0) {
		pci_dev_fini(&vp->pci);
		return rc;
	}
	if (vp->modern)
		vpci_modern_init(vp);
	vpci_state_init(vp);
	return 0;
}

static int vpci_new(struct pci_dev **out, struct twx_nic *nic, struct virtio_dev *vdev,
		    const struct twx_opts *opts, bool express, struct twx_error *e)
{
	struct virtio_pci *vp;
	int rc;

	rc = vpci_check_options(nic, vdev->form, opts, e);
	if (rc < 0)
		return rc;
	vp = calloc(1, sizeof(*vp));
	if (!vp)
		return twx_error_set(e, ENOMEM, "device %s: out of memory", nic->id);
	vp->vdev = vdev;
	vp->express = express;
	vp->trace = twx_loop_trace(nic->loop);
	rc = vpci_init(vp, nic, opts, e);
	if (rc < 0) {
		if (vp->own_offered)
			vdev->offered = vp->own_offered;
		vpci_bells_free(vp);
		free(vp->regs);
		free(vp);
		return rc;
	}
	vdev->host = vp;
	vdev->host_ops = &vpci_virtio_ops;
	vdev->mem = vp->pci.mem;
	vpci_reset_device(vp);
	*out = &vp->pci;
	return 0;
}

int virtio_pci_new(struct pci_dev **out, struct twx_nic *nic, struct virtio_dev *vdev,
		   const struct twx_opts *opts, struct twx_error *e)
{
	return vpci_new(out, nic, vdev, opts, false, e);
}

int virtio_pci_new_express(struct pci_dev **out, struct twx_nic *nic, struct virtio_dev *vdev,
			   const struct twx_opts *opts, struct twx_error *e)
{
	return vpci_new(out, nic, vdev, opts, true, e);
}

void virtio_pci_free(struct pci_dev *dev)
{
	struct virtio_pci *vp;

	if (!dev)
		return;
	vp = vpci_of(dev);
	vpci_reset_device(vp);
	vp->vdev->host_ops = NULL;
	vp->vdev->host = NULL;
	vp->vdev->mem = NULL;
	vp->vdev->offered = vp->own_offered;
	pci_dev_fini(dev);
	vpci_bells_free(vp);
	free(vp->regs);
	free(vp);
}
