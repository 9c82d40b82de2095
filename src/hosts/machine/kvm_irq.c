/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Between devices and a KVM guest without a CPU's thread in between: interrupts to it, signals and
 * late writes from it.
 *
 * Interrupt inputs (GSIs) 0 to 23 are the pins of the two PICs and of the IOAPIC; KVM_IRQ_LINE sets
 * one. As on PCs, the timer's GSI 0 is pin 2 of the IOAPIC, which the ACPI tables have to say. A
 * message is KVM_SIGNAL_MSI. An eventfd that is a message has a GSI of its own, from 24 on, and a
 * route from it to the message. The kernel takes the table of routes as a whole, which costs it
 * some milliseconds; a driver that masks and unmasks a vector therefore finds its route again.
 *
 * Late writes are the kernel's coalesced MMIO: it keeps them in a ring that all CPUs share, and the
 * CPU that leaves the guest next carries them out, before its own access; a device that misses one
 * has a CPU kicked out for it, since a driver that polls memory need not leave. A CPU holds
 * ring_lock meanwhile and may take the loop's lock inside; the loop never takes ring_lock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/macros.h"
#include "hosts/machine/kvm.h"

#define TIMER_PIN 2u
#define PIC_PINS 8u

/* Entries of the table: a pin of a PIC and one of the IOAPIC for each GSI at most. */
#define PIN_ROUTES (2 * MACHINE_GSIS)

struct route_table {
	struct kvm_irq_routing head;
	struct kvm_irq_routing_entry entries[PIN_ROUTES + KVM_MAX_MSI_ROUTES];
};

static void add_pin(struct route_table *t, uint32_t gsi, uint32_t chip, uint32_t pin)
{
	t->entries[t->head.nr++] = (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_IRQCHIP,
		.u.irqchip = { chip, pin },
	};
}

static int set_routes(struct kvm *k)
{
	struct route_table *t = calloc(1, sizeof(*t));
	int err;

	if (!t)
		return -ENOMEM;
	for (uint32_t gsi = 0; gsi < MACHINE_GSIS; gsi++) {
		if (gsi < PIC_PINS)
			add_pin(t, gsi, KVM_IRQCHIP_PIC_MASTER, gsi);
		else if (gsi < 2 * PIC_PINS)
			add_pin(t, gsi, KVM_IRQCHIP_PIC_SLAVE, gsi - PIC_PINS);
		if (gsi != TIMER_PIN)
			add_pin(t, gsi, KVM_IRQCHIP_IOAPIC, gsi == 0 ? TIMER_PIN : gsi);
	}
	for (unsigned int i = 0; i < k->n_routes; i++)
		t->entries[t->head.nr++] = (struct kvm_irq_routing_entry){
			.gsi = MACHINE_GSIS + i,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi = { .address_lo = (uint32_t)k->routes[i].addr,
				   .address_hi = (uint32_t)(k->routes[i].addr >> 32),
				   .data = k->routes[i].data },
		};
	err = kvm_do(k->fd, KVM_SET_GSI_ROUTING, t);
	free(t);
	return min(err, 0);
}

int kvm_irq_setup(struct kvm *k, struct twx_error *e)
{
	int page = kvm_do_val(k->fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);
	size_t page_len = (size_t)sysconf(_SC_PAGESIZE);
	int err = set_routes(k);

	if (err < 0)
		return twx_error_set(e, -err, "KVM does not route interrupts: %s", strerror(-err));
	/* The machine's one ring is a page behind each CPU's own. */
	if (page > 0 && ((size_t)page + 1) * page_len <= k->run_len) {
		k->ring = (void *)((char *)k->cpus[0].run + (size_t)page * page_len);
		k->ring_max = (uint32_t)((page_len - sizeof(*k->ring)) /
					 sizeof(k->ring->coalesced_mmio[0]));
	}
	return 0;
}

void kvm_gsi(struct twx_machine *m, unsigned int gsi, bool level)
{
	struct kvm *k = m->accel_priv;
	struct kvm_irq_level line = { .irq = gsi, .level = level };

	(void)kvm_do(k->fd, KVM_IRQ_LINE, &line);
}

void kvm_message(struct twx_machine *m, uint64_t addr, uint32_t data)
{
	struct kvm *k = m->accel_priv;
	struct kvm_msi msi = { .address_lo = (uint32_t)addr,
			       .address_hi = (uint32_t)(addr >> 32),
			       .data = data };

	/* The guest chose the address; one that is no APIC's is nobody's. */
	(void)kvm_do(k->fd, KVM_SIGNAL_MSI, &msi);
}

int kvm_doorbell(struct twx_machine *m, bool io, uint64_t addr, const struct pci_doorbell *bell,
		 bool on)
{
	struct kvm *k = m->accel_priv;
	struct kvm_ioeventfd ev = {
		.addr = addr,
		.len = bell->size,
		.fd = bell->fd,
		.flags = (io ? KVM_IOEVENTFD_FLAG_PIO : 0) |
			 (bell->match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0) |
			 (on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN),
		.datamatch = bell->match ? bell->value : 0,
	};

	return min(kvm_do(k->fd, KVM_IOEVENTFD, &ev), 0);
}

/* Eventfds that are messages. */

static int attach(struct kvm *k, unsigned int i, int fd, bool on)
{
	struct kvm_irqfd irqfd = {
		.fd = (uint32_t)fd,
		.gsi = MACHINE_GSIS + i,
		.flags = on ? 0 : KVM_IRQFD_FLAG_DEASSIGN,
	};

	return min(kvm_do(k->fd, KVM_IRQFD, &irqfd), 0);
}

static void detach(struct kvm *k, unsigned int i)
{
	if (k->routes[i].fd >= 0)
		(void)attach(k, i, k->routes[i].fd, false);
	k->routes[i].fd = -1;
}

/* The vector's own, else one that nobody uses, else a new one; KVM_MAX_MSI_ROUTES if all are. */
static unsigned int find_route(struct kvm *k, const struct pci_dev *dev, unsigned int vector)
{
	unsigned int free_one = k->n_routes;

	for (unsigned int i = 0; i < k->n_routes; i++) {
		const struct kvm_msi_route *r = &k->routes[i];

		if (r->dev == dev && r->vector == vector)
			return i;
		if (r->fd < 0)
			free_one = i;
	}
	return free_one;
}

/* Where the kernel does not take it, its table and ours stay as they were. */
static int change_route(struct kvm *k, unsigned int i, uint64_t addr, uint32_t data)
{
	const struct kvm_msi_route old = k->routes[i];
	const unsigned int n = k->n_routes;
	int err;

	k->n_routes = max(n, i + 1);
	k->routes[i] = (struct kvm_msi_route){ .addr = addr, .data = data, .fd = -1 };
	err = set_routes(k);
	if (err) {
		k->routes[i] = old;
		k->n_routes = n;
	}
	return err;
}

int kvm_message_fd(struct twx_machine *m, struct pci_dev *dev, unsigned int vector, uint64_t addr,
		   uint32_t data, int fd)
{
	struct kvm *k = m->accel_priv;
	unsigned int i = find_route(k, dev, vector);
	struct kvm_msi_route *r;
	int err = 0;

	if (i == KVM_MAX_MSI_ROUTES)
		return -ENOSPC;
	r = &k->routes[i];
	if (fd < 0) {
		if (i < k->n_routes && r->dev == dev && r->vector == vector)
			detach(k, i);
		return 0;
	}
	if (i < k->n_routes)
		detach(k, i);
	if (i == k->n_routes || r->addr != addr || r->data != data) {
		err = change_route(k, i, addr, data);
		if (err)
			return err;
	}
	r->dev = dev;
	r->vector = vector;
	err = attach(k, i, fd, true);
	if (!err)
		r->fd = fd;
	return err;
}

/* Late writes. */

int kvm_lazy(struct twx_machine *m, uint64_t addr, uint32_t len, bool on)
{
	struct kvm *k = m->accel_priv;
	struct kvm_coalesced_mmio_zone zone = { .addr = addr, .size = len };

	if (!k->ring)
		return -ENOTSUP;
	return min(kvm_do(k->fd, on ? KVM_REGISTER_COALESCED_MMIO : KVM_UNREGISTER_COALESCED_MMIO,
			  &zone),
		   0);
}

/* The next entry of the ring, or null. The kernel writes `last`, we write `first`. */
static struct kvm_coalesced_mmio *ring_peek(struct kvm *k)
{
	struct kvm_coalesced_mmio_ring *ring = k->ring;
	uint32_t first = ring->first;

	if (first == __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE))
		return NULL;
	return &ring->coalesced_mmio[first % k->ring_max];
}

/* After it was carried out: until then another CPU finds the ring not empty, and waits. */
static void ring_drop(struct kvm *k)
{
	uint32_t next = (k->ring->first + 1) % k->ring_max;

	__atomic_store_n(&k->ring->first, next, __ATOMIC_RELEASE);
}

static bool ring_empty(const struct kvm *k)
{
	return !k->ring || __atomic_load_n(&k->ring->first, __ATOMIC_RELAXED) ==
				   __atomic_load_n(&k->ring->last, __ATOMIC_RELAXED);
}

void kvm_lazy_drain(struct kvm *k, unsigned int cpu)
{
	struct kvm_coalesced_mmio *w;

	if (likely(ring_empty(k)))
		return;
	pthread_mutex_lock(&k->ring_lock);
	/* No more than fit: another CPU may go on filling it. */
	for (uint32_t i = 0; i < k->ring_max && (w = ring_peek(k)); i++) {
		machine_mmio(k->m, cpu, w->phys_addr, w->data, w->len, true);
		ring_drop(k);
	}
	pthread_mutex_unlock(&k->ring_lock);
}

/* A CPU that leaves the guest does it. */
void kvm_hurry(struct twx_machine *m)
{
	struct kvm *k = m->accel_priv;

	if (!ring_empty(k))
		kvm_kick(k);
}

void kvm_lazy_drain_stopped(struct kvm *k)
{
	struct kvm_coalesced_mmio *w;

	while (k->ring && (w = ring_peek(k))) {
		machine_mem_rw(k->m, w->phys_addr, w->data, w->len, true);
		ring_drop(k);
	}
}
