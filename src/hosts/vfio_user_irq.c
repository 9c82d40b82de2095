/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts: which there are, what the client does with each, and how they reach it.
 *
 * A message interrupt is one write to the eventfd of its vector. The client keeps table and masks;
 * what it leaves without an eventfd is not in use, and is remembered until it gets one. Which kind
 * is in use (INTx, MSI, MSI-X) follows from what the client has set up last.
 *
 * INTx is a level. Its eventfd is written when the level rises, and the interrupt masks itself;
 * when the client unmasks it and the level is still up, it is written again. The client unmasks by
 * message (a VMM without KVM: one round trip an interrupt), or by an eventfd that it gives us,
 * which KVM writes when the guest acknowledges the interrupt. The specification reads as if we were
 * to write that one; linux/vfio.h and QEMU mean that we read it, and so do we.
 *
 * ERR and REQ exist so that clients find them; we never raise them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/macros.h"
#include "hosts/vfio_user.h"

static const struct {
	uint32_t flags; /* of GET_IRQ_INFO */
	bool message;	/* enabling it takes INTx out of use */
} kinds[VFIO_PCI_NUM_IRQS] = {
	[VFIO_PCI_INTX_IRQ_INDEX] = { VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE |
					      VFIO_IRQ_INFO_AUTOMASKED,
				      false },
	[VFIO_PCI_MSI_IRQ_INDEX] = { VFIO_IRQ_INFO_EVENTFD, true },
	[VFIO_PCI_MSIX_IRQ_INDEX] = { VFIO_IRQ_INFO_EVENTFD, true },
	[VFIO_PCI_ERR_IRQ_INDEX] = { VFIO_IRQ_INFO_EVENTFD, false },
	[VFIO_PCI_REQ_IRQ_INDEX] = { VFIO_IRQ_INFO_EVENTFD, false },
};

static struct vfu_vector *intx_vector(struct vfu_host *vfu)
{
	return vfu->irqs[VFIO_PCI_INTX_IRQ_INDEX].vectors;
}

/* The device's side. */

static void intx_raise(struct vfu_host *vfu)
{
	if (!vfu->intx_level || vfu->intx_masked || vfu->irqs[VFIO_PCI_INTX_IRQ_INDEX].n == 0 ||
	    intx_vector(vfu)->ev.kind == EVENT_NONE)
		return;
	vfu->intx_masked = true;
	TWX_TRACE(vfu->trace, TWX_HOP_VFIO_IRQ, vfu->host->nic->id, 0, 0);
	(void)event_signal(&intx_vector(vfu)->ev);
}

void vfu_intx(struct pci_dev *dev, bool level)
{
	struct vfu_host *vfu = dev->host;

	vfu->intx_level = level;
	intx_raise(vfu);
}

void vfu_message(struct pci_dev *dev, enum pci_irq kind, unsigned int vector, uint64_t addr,
		 uint32_t data)
{
	struct vfu_host *vfu = dev->host;
	struct vfu_irq *irq =
		&vfu->irqs[kind == PCI_IRQ_MSIX ? VFIO_PCI_MSIX_IRQ_INDEX : VFIO_PCI_MSI_IRQ_INDEX];

	(void)addr;
	(void)data;
	if (vector >= irq->n)
		return;
	/* A full eventfd has an interrupt pending already; a dead one ends with its connection. */
	if (irq->vectors[vector].ev.kind == EVENT_NONE) {
		irq->vectors[vector].pending = true;
		return;
	}
	TWX_TRACE(vfu->trace, TWX_HOP_VFIO_IRQ, vfu->host->nic->id, 0, vector);
	(void)event_signal(&irq->vectors[vector].ev);
}

/* Masks and unmasks of INTx. */

static void intx_mask(struct vfu_host *vfu)
{
	vfu->intx_masked = true;
}

static void intx_unmask(struct vfu_host *vfu)
{
	TWX_TRACE(vfu->trace, TWX_HOP_VFIO_UNMASK, vfu->host->nic->id, 0, 0);
	vfu->intx_masked = false;
	intx_raise(vfu);
}

static void line_close(struct vfu_line *l)
{
	twx_watch_del(&l->watch);
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}

static void line_act(struct vfu_line *l)
{
	if (l == &l->vfu->unmask)
		intx_unmask(l->vfu);
	else
		intx_mask(l->vfu);
}

static void line_ready(struct twx_watch *w, uint32_t events)
{
	struct vfu_line *l = container_of(w, struct vfu_line, watch);

	(void)events;
	if (event_drain(l->fd) < 0)
		line_close(l);
	else
		line_act(l);
}

/* What was written to it before it came counts, as in the kernel. */
static int line_take(struct vfu_line *l, int fd)
{
	struct event ev = { .kind = EVENT_NONE };
	int err = event_take(&ev, fd), early;

	if (err < 0)
		return err;
	early = ev.kind == EVENT_FILE ? event_probe(fd) : -EINVAL;
	err = min(early, 0);
	if (err == 0) {
		line_close(l);
		err = twx_watch_add(&l->watch, l->vfu->host->loop, fd, EPOLLIN, line_ready);
	}
	if (err < 0) {
		event_close(&ev);
		return err;
	}
	l->fd = fd;
	if (early > 0)
		line_act(l);
	return 0;
}

/* SET_IRQS. */

static void use_mode(struct vfu_host *vfu)
{
	enum pci_irq mode = vfu->irqs[VFIO_PCI_MSIX_IRQ_INDEX].enabled	? PCI_IRQ_MSIX
			    : vfu->irqs[VFIO_PCI_MSI_IRQ_INDEX].enabled ? PCI_IRQ_MSI
									: PCI_IRQ_INTX;

	if (vfu->dev->irq_mode != mode)
		pci_irq_mode(vfu->dev, mode);
}

static void irq_disable(struct vfu_host *vfu, uint32_t index)
{
	struct vfu_irq *irq = &vfu->irqs[index];

	for (uint32_t i = 0; i < irq->n; i++) {
		event_close(&irq->vectors[i].ev);
		irq->vectors[i].pending = false;
	}
	irq->enabled = false;
	if (index == VFIO_PCI_INTX_IRQ_INDEX) {
		line_close(&vfu->mask);
		line_close(&vfu->unmask);
		vfu->intx_masked = false;
	}
}

static int trigger_fds(struct vfu_host *vfu, struct vfu_msg *m, const struct vfio_irq_set *s)
{
	struct vfu_irq *irq = &vfu->irqs[s->index];
	struct event fresh[VFU_MAX_FDS];
	int err = 0;

	memset(fresh, 0, sizeof(fresh));
	/* All or none of them. */
	for (uint32_t i = 0; i < m->n_fds && err == 0; i++) {
		err = event_take(&fresh[i], m->fds[i]);
		m->fds[i] = -1;
	}
	for (uint32_t i = 0; i < s->count && err == 0; i++) {
		struct vfu_vector *v = &irq->vectors[s->start + i];

		event_close(&v->ev);
		if (m->n_fds == 0)
			continue;
		v->ev = fresh[i];
		fresh[i].kind = EVENT_NONE;
		if (v->pending)
			(void)event_signal(&v->ev);
		v->pending = false;
	}
	for (uint32_t i = 0; i < m->n_fds; i++)
		event_close(&fresh[i]);
	if (err < 0)
		return err;
	/* Without fds, too: so a client enables an index before any of its vectors is in use. */
	irq->enabled = true;
	if (kinds[s->index].message)
		use_mode(vfu);
	else if (s->index == VFIO_PCI_INTX_IRQ_INDEX)
		intx_raise(vfu);
	return 0;
}

static int line_fds(struct vfu_line *l, struct vfu_msg *m)
{
	int fd;

	if (m->n_fds == 0) {
		line_close(l);
		return 0;
	}
	fd = m->fds[0];
	m->fds[0] = -1;
	return line_take(l, fd);
}

static bool chosen(const struct vfu_msg *m, const struct vfio_irq_set *s, uint32_t i)
{
	return (s->flags & VFIO_IRQ_SET_DATA_BOOL) == 0 || m->data[VFU_IRQ_SET_SIZE + i] != 0;
}

static int do_trigger(struct vfu_host *vfu, struct vfu_msg *m, const struct vfio_irq_set *s)
{
	if (s->flags & VFIO_IRQ_SET_DATA_EVENTFD)
		return trigger_fds(vfu, m, s);
	for (uint32_t i = 0; i < s->count; i++)
		if (chosen(m, s, i))
			(void)event_signal(&vfu->irqs[s->index].vectors[s->start + i].ev);
	return 0;
}

static int do_mask(struct vfu_host *vfu, struct vfu_msg *m, const struct vfio_irq_set *s)
{
	if (s->flags & VFIO_IRQ_SET_DATA_EVENTFD)
		return line_fds(&vfu->mask, m);
	if (chosen(m, s, 0))
		intx_mask(vfu);
	return 0;
}

static int do_unmask(struct vfu_host *vfu, struct vfu_msg *m, const struct vfio_irq_set *s)
{
	if (s->flags & VFIO_IRQ_SET_DATA_EVENTFD)
		return line_fds(&vfu->unmask, m);
	if (chosen(m, s, 0))
		intx_unmask(vfu);
	return 0;
}

static bool one_bit(uint32_t v)
{
	return v != 0 && (v & (v - 1)) == 0;
}

static int check_set(const struct vfu_host *vfu, const struct vfu_msg *m,
		     const struct vfio_irq_set *s)
{
	uint32_t data = s->flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
	uint32_t action = s->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
	uint32_t n = s->index < VFIO_PCI_NUM_IRQS ? vfu->irqs[s->index].n : 0;

	if (s->index >= VFIO_PCI_NUM_IRQS || s->argsz < VFU_IRQ_SET_SIZE || s->argsz > m->len)
		return -EINVAL;
	if (!one_bit(data) || !one_bit(action) || (s->flags & ~(data | action)) != 0)
		return -EINVAL;
	if (action != VFIO_IRQ_SET_ACTION_TRIGGER && s->index != VFIO_PCI_INTX_IRQ_INDEX)
		return -EINVAL;
	if (s->count == 0)
		return s->start == 0 && data == VFIO_IRQ_SET_DATA_NONE && m->n_fds == 0 &&
				       action == VFIO_IRQ_SET_ACTION_TRIGGER
			       ? 0
			       : -EINVAL;
	if (s->start >= n || s->count > n - s->start)
		return -EINVAL;
	if (data == VFIO_IRQ_SET_DATA_BOOL && m->len - VFU_IRQ_SET_SIZE < s->count)
		return -EINVAL;
	if (data == VFIO_IRQ_SET_DATA_EVENTFD)
		return m->n_fds == 0 || m->n_fds == s->count ? 0 : -EINVAL;
	return m->n_fds == 0 ? 0 : -EINVAL;
}

int vfu_set_irqs(struct vfu_host *vfu, struct vfu_msg *m)
{
	struct vfio_irq_set s;
	int err;

	memcpy(&s, m->data, VFU_IRQ_SET_SIZE);
	err = check_set(vfu, m, &s);
	if (err < 0)
		return err;
	if (s.count == 0) {
		irq_disable(vfu, s.index);
		use_mode(vfu);
		return 0;
	}
	switch (s.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK) {
	case VFIO_IRQ_SET_ACTION_MASK:
		return do_mask(vfu, m, &s);
	case VFIO_IRQ_SET_ACTION_UNMASK:
		return do_unmask(vfu, m, &s);
	default:
		return do_trigger(vfu, m, &s);
	}
}

int vfu_get_irq_info(struct vfu_host *vfu, struct vfu_msg *m)
{
	struct vfio_irq_info info;

	VFU_GET(m, &info);
	if (info.argsz < sizeof(info) || info.index >= VFIO_PCI_NUM_IRQS)
		return -EINVAL;
	info.argsz = sizeof(info);
	info.flags = kinds[info.index].flags;
	info.count = vfu->irqs[info.index].n;
	return vfu_answer(vfu, m, &info, sizeof(info));
}

/* Life cycle. */

int vfu_irq_init(struct vfu_host *vfu)
{
	const struct pci_info *info = &vfu->dev->info;
	const uint32_t n[VFIO_PCI_NUM_IRQS] = { info->int_pin != 0, info->n_msi, info->n_msix, 1,
						1 };

	vfu->mask = vfu->unmask = (struct vfu_line){ .vfu = vfu, .fd = -1 };
	for (uint32_t i = 0; i < VFIO_PCI_NUM_IRQS; i++) {
		vfu->irqs[i].vectors = calloc(max(n[i], 1u), sizeof(struct vfu_vector));
		if (vfu->irqs[i].vectors == NULL)
			return -ENOMEM;
		vfu->irqs[i].n = n[i];
	}
	return 0;
}

void vfu_irq_reset(struct vfu_host *vfu)
{
	for (uint32_t i = 0; i < VFIO_PCI_NUM_IRQS; i++)
		irq_disable(vfu, i);
	vfu->intx_level = false;
}

void vfu_irq_fini(struct vfu_host *vfu)
{
	for (uint32_t i = 0; i < VFIO_PCI_NUM_IRQS; i++) {
		free(vfu->irqs[i].vectors);
		vfu->irqs[i] = (struct vfu_irq){ 0 };
	}
}
