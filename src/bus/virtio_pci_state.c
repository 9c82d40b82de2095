/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio over PCI: what is saved of the transport, and what is believed of it. */
#include <errno.h>
#include <linux/virtio_pci.h>

#include "bus/virtio_pci_priv.h"

#define ISR_BITS (VPCI_ISR_QUEUE | VIRTIO_PCI_ISR_CONFIG)

static int vector_check(const struct vpci_regs *r, uint16_t v, struct twx_error *e)
{
	return v < r->n_vectors || v == VIRTIO_MSI_NO_VECTOR
		       ? 0
		       : twx_error_set(e, EINVAL, "interrupt vector %u of %u", v, r->n_vectors);
}

static int queue_check(const struct vpci_regs *r, uint32_t i, struct twx_error *e)
{
	const struct vpci_queue *q = vpci_queue(r, i);
	uint16_t most = r->vp->vdev->queues[i].size_max;

	if (!virtio_ring_size_ok(r->driver_features, q->size) || q->size > most)
		return twx_error_set(e, EINVAL, "queue %u of %u entries, the most is %u", i,
				     q->size, most);
	if (q->enabled > 1 || q->again > 1)
		return twx_error_set(e, EINVAL, "queue %u is neither on nor off", i);
	return vector_check(r, q->vector, e);
}

/* Where rings are is checked when they are started, as when a driver has placed them. */
static int vpci_check(const void *copy, struct twx_error *e)
{
	const struct vpci_regs *r = copy;
	int rc = vector_check(r, r->vector, e);

	if (rc == 0 && (r->isr & ~ISR_BITS))
		rc = twx_error_set(e, EINVAL, "interrupt status %#x", r->isr);
	for (uint32_t i = 0; i < r->n_queues && rc == 0; i++)
		rc = queue_check(r, i, e);
	return rc;
}

/* Brings the queues' positions up to date: a stop leaves them behind, and a start takes them. */
static void vpci_before_save(void *obj)
{
	struct virtio_pci *vp = ((struct vpci_regs *)obj)->vp;
	bool frozen = vp->frozen;

	vp->frozen = true;
	vpci_update(vp);
	vp->frozen = frozen;
	vpci_update(vp);
}

void vpci_state_init(struct virtio_pci *vp)
{
	const struct state_field fields[] = {
		STATE_U64(struct vpci_regs, driver_features),
		STATE_U32(struct vpci_regs, device_select),
		STATE_U32(struct vpci_regs, driver_select),
		STATE_U16(struct vpci_regs, vector),
		STATE_U16(struct vpci_regs, queue_select),
		STATE_U8(struct vpci_regs, generation),
		STATE_U8(struct vpci_regs, isr),
	};
	const uint32_t n = vp->regs->n_queues, n_fixed = array_size(fields);
	const uint32_t rings = offsetof(struct vpci_regs, rings);
	const uint32_t queues = rings + n * (uint32_t)sizeof(struct vpci_rings);

	_Static_assert(array_size(fields) + 3 == array_size(vp->fields), "and two, and the end");
	memcpy(vp->fields, fields, sizeof(fields));
	vp->fields[n_fixed] = (struct state_field){ "rings", rings, 8, 3 * n };
	vp->fields[n_fixed + 1] = (struct state_field){ "queues", queues, 2, 5 * n };
	vp->sections[0] = (struct state_section){
		.name = "virtio-pci",
		.version = 1,
		.fields = vp->fields,
		.before_save = vpci_before_save,
		.check = vpci_check,
	};
	vp->pci.state = (struct state_desc){ vp->sections, vp->regs,
					     queues + n * sizeof(struct vpci_queue) };
	if (vp->vdev->state)
		vp->pci.inner = *vp->vdev->state;
}
