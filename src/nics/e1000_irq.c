/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * e1000: from a cause to the interrupt line (8254x manual, 13.4.17 to 13.4.21, 13.4.30, 13.4.31,
 * 13.4.41, 13.4.44).
 *
 * Two stages, each with its timers:
 *
 *   what happened -> RDTR, RADV, TIDV, TADV -> ICR -> IMS, ITR -> the line
 *
 * Delays, in units of 1.024 us, keep RXT0 and TXDW out of ICR: RDTR and TIDV count anew with every
 * frame, RADV and TADV from the first; 0 in RDTR or TIDV means no delay at all. A driver that runs
 * for another reason finds them in ICR all the same: when the line rises, what is held joins it,
 * since the interrupt that it waits for would only be a second one.
 *
 * ITR, in units of 256 ns, is a least distance between two rising edges of the line. An idle line
 * rises at once, and the line falls at once when ICR is read or masked.
 *
 * One timer serves all of it, and only while an interrupt that the guest has enabled waits for it:
 * what is held behind a mask is looked at when ICR is read or IMS written. An idle device has no
 * timer.
 *
 * Differences from QEMU: TIDV and the relative part of RDTR are there. QEMU counts TADV and RADV
 * as part of the gap between interrupts, and never goes below 128 us; here ITR alone is the gap.
 */
#include <errno.h>

#include "base/macros.h"
#include "nics/e1000.h"

#define DELAY_UNIT 1024 /* ns, RDTR, RADV, TIDV, TADV */
#define ITR_UNIT 256	/* ns */
#define TICKS_MAX 0xffffull

static uint64_t later(uint64_t now, uint32_t ticks)
{
	return ticks ? now + (uint64_t)ticks * DELAY_UNIT : UINT64_MAX;
}

/* What is held and due by now goes into ICR. */
static void irq_fold(struct e1000 *d, uint64_t now)
{
	uint32_t due = 0;

	if (d->irq.rx_due <= now)
		due |= ICR_RXT0;
	if (d->irq.tx_due <= now)
		due |= ICR_TXDW;
	due &= d->irq.held;
	d->irq.held &= ~due;
	d->reg[R_ICR] |= due;
}

uint32_t e1000_irq_causes(struct e1000 *d)
{
	if (unlikely(d->irq.held))
		irq_fold(d, e1000_now(d));
	return d->reg[R_ICR];
}

static void irq_assert(struct e1000 *d, uint64_t now)
{
	d->reg[R_ICR] |= d->irq.held;
	d->irq.held = 0;
	d->irq.next = now + (uint64_t)d->reg[R_ITR] * ITR_UNIT;
	twx_timer_cancel(&d->irq.timer);
	d->port->count.signals++;
	TWX_TRACE(d->port->trace, TWX_HOP_E1000_IRQ, d->port->name, 0, d->reg[R_ICR]);
	pci_set_intx(&d->pci, true);
}

/* When there is a cause that the guest wants to hear of. */
static uint64_t irq_due(const struct e1000 *d)
{
	uint32_t wanted = d->irq.held & d->reg[R_IMS];
	uint64_t due = UINT64_MAX;

	if (d->reg[R_ICR] & d->reg[R_IMS])
		return 0;
	if (wanted & ICR_RXT0)
		due = d->irq.rx_due;
	if (wanted & ICR_TXDW)
		due = min(due, d->irq.tx_due);
	return due;
}

void e1000_irq_update(struct e1000 *d)
{
	uint64_t due = irq_due(d), now;

	if (due > 0)
		pci_set_intx(&d->pci, false);
	else if (d->pci.intx_wanted)
		return;
	if (due == UINT64_MAX) {
		twx_timer_cancel(&d->irq.timer);
		return;
	}
	now = e1000_now(d);
	due = max(due, d->irq.next);
	if (due <= now) {
		irq_assert(d, now);
	} else {
		d->port->count.signals_skipped++;
		e1000_timer_set(d, &d->irq.timer, due);
	}
}

void e1000_irq_timer(struct twx_timer *t)
{
	e1000_irq_update(container_of(t, struct e1000, irq.timer));
}

/* A shorter interval counts from now at the latest; a longer one from the next interrupt. */
void e1000_irq_throttle(struct e1000 *d)
{
	uint64_t now = e1000_now(d);

	d->irq.next = min(d->irq.next, now + (uint64_t)d->reg[R_ITR] * ITR_UNIT);
	e1000_irq_update(d);
}

void e1000_cause(struct e1000 *d, uint32_t causes)
{
	d->reg[R_ICR] |= causes;
	e1000_irq_update(d);
}

/*
 * Holds @cause; @abs is when the absolute timer ends, running since the first. While the line is up
 * already, the guest is about to read ICR, and a delay would make a second interrupt.
 */
static void irq_hold(struct e1000 *d, uint32_t cause, uint64_t *abs, uint64_t *due, uint32_t rel,
		     uint32_t abs_ticks)
{
	uint64_t now;

	if (d->pci.intx_wanted) {
		d->reg[R_ICR] |= cause;
		return;
	}
	now = e1000_now(d);
	if (!(d->irq.held & cause))
		*abs = later(now, abs_ticks);
	*due = min(later(now, rel), *abs);
	d->irq.held |= cause;
}

void e1000_cause_tx(struct e1000 *d, uint32_t causes, bool ide)
{
	struct e1000_irq *irq = &d->irq;

	if ((causes & ICR_TXDW) && ide && d->reg[R_TIDV]) {
		irq_hold(d, ICR_TXDW, &irq->tx_abs, &irq->tx_due, d->reg[R_TIDV], d->reg[R_TADV]);
		causes &= ~(uint32_t)ICR_TXDW;
	}
	/* 13.4.44: an immediate interrupt halts the timers. */
	irq->held &= ~(causes & ICR_TXDW);
	e1000_cause(d, causes);
}

void e1000_cause_rx(struct e1000 *d, uint32_t causes)
{
	struct e1000_irq *irq = &d->irq;

	if ((causes & ICR_RXT0) && d->reg[R_RDTR]) {
		irq_hold(d, ICR_RXT0, &irq->rx_abs, &irq->rx_due, d->reg[R_RDTR], d->reg[R_RADV]);
		causes &= ~(uint32_t)ICR_RXT0;
	}
	/* The driver may have switched the delay off meanwhile: one interrupt, not two. */
	irq->held &= ~(causes & ICR_RXT0);
	e1000_cause(d, causes);
}

void e1000_irq_flush_rx(struct e1000 *d)
{
	d->irq.held &= ~(uint32_t)ICR_RXT0;
	e1000_cause(d, ICR_RXT0);
}

void e1000_irq_reset(struct e1000 *d)
{
	d->irq.held = 0;
	d->irq.next = 0;
	d->irq.rx_abs = d->irq.tx_abs = d->irq.rx_due = d->irq.tx_due = 0;
	twx_timer_cancel(&d->irq.timer);
	pci_set_intx(&d->pci, false);
}

int e1000_irq_check(const struct e1000 *copy, struct twx_error *e)
{
	const struct e1000_irq *irq = &copy->irq;
	uint64_t latest = copy->clock + TICKS_MAX * DELAY_UNIT;

	if (irq->held & ~(uint32_t)(ICR_TXDW | ICR_RXT0))
		return twx_error_set(e, EINVAL, "held interrupt causes %#x", irq->held);
	if (irq->next > copy->clock + TICKS_MAX * ITR_UNIT ||
	    ((irq->held & ICR_RXT0) && irq->rx_due > latest) ||
	    ((irq->held & ICR_TXDW) && irq->tx_due > latest))
		return twx_error_set(e, EINVAL, "an interrupt is due too late");
	return 0;
}
