/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Accesses of CPUs to what is not RAM: under the loop's lock, or posted.
 *
 * A read, and a write that has to have happened when the guest goes on, is made by the vCPU's own
 * thread, which enters the loop for it. A write to a register that its device declares as posted
 * (struct pci_zone: a doorbell, an interrupt mask) is put into a ring of that vCPU, and the guest
 * goes on; the loop carries it out, with all the system calls that follow from it. So a vCPU never
 * waits for a backend where a second CPU is there to run the loop.
 *
 * Order is that of a PCI bus. What one CPU posts arrives in its order; any access that is not
 * posted, of any CPU, first carries out everything posted before it, as a read that flushes the
 * bridges' buffers.
 *
 * The rings have one writer each, and are drained under the lock. The zones are read without it: a
 * handful of ranges behind a sequence counter. A reader that meets a change takes the slow way,
 * which is always right.
 */
#include <endian.h>
#include <string.h>

#include "base/clock.h"
#include "base/macros.h"
#include "base/trace.h"
#include "hosts/machine/machine.h"

/* The part of [@addr, @addr + @len) that lies in one region of RAM; null if it begins elsewhere. */
static uint8_t *ram_at(struct twx_machine *m, uint64_t addr, uint64_t *len)
{
	uint8_t *p = mem_ptr(m->ram, (gpa){ addr }, 1);
	const struct mem_region *r = &m->ram->regions[m->ram->last];

	if (p != NULL)
		*len = min(*len, r->size - (addr - r->gpa));
	return p;
}

/* Bytes at @addr that one access of the space may have: aligned, and 8 at most. */
static unsigned int piece(uint64_t addr, uint64_t len)
{
	unsigned int size = 8;

	while (size > len || (addr & (size - 1)) != 0)
		size /= 2;
	return size;
}

static void trace_lookup(struct twx_machine *m, struct aspace *as, uint64_t addr, unsigned int size)
{
	const struct as_region *r = as_find(as, addr);

	twx_trace_record(m->trace, TWX_HOP_VM_LOOKUP, r != NULL ? r->name : "nothing", size,
			 (uint32_t)(r != NULL ? addr - r->addr : addr));
}

static void space_rw(struct twx_machine *m, struct aspace *as, uint64_t addr, void *buf,
		     unsigned int size, bool write)
{
	uint64_t v = 0;

	if (trace_wants(m->trace, TWX_HOP_VM_LOOKUP))
		trace_lookup(m, as, addr, size);

	if (write) {
		memcpy(&v, buf, size);
		as_write(as, addr, size, le64toh(v));
	} else {
		v = htole64(as_read(as, addr, size));
		memcpy(buf, &v, size);
	}
}

void machine_mem_rw(struct twx_machine *m, uint64_t addr, void *buf, uint64_t len, bool write)
{
	uint8_t *at = buf;

	while (len > 0) {
		uint64_t n = len;
		uint8_t *p = ram_at(m, addr, &n);

		if (p == NULL) {
			n = piece(addr, len);
			space_rw(m, &m->mem, addr, at, (unsigned int)n, write);
		} else if (write) {
			memcpy(p, at, n);
			mem_dirty(m->ram, p, n);
		} else {
			memcpy(at, p, n);
		}
		addr += n;
		at += n;
		len -= n;
	}
}

/* Posted writes */

static bool zone_has(struct twx_machine *m, uint64_t addr, uint32_t len)
{
	struct post_zones *z = &m->zones;
	uint32_t seq = atomic_load_explicit(&z->seq, memory_order_acquire);
	uint32_t n = atomic_load_explicit(&z->n, memory_order_relaxed);
	bool has = false;

	for (uint32_t i = 0; i < n && i < MACHINE_MAX_ZONES && !has; i++) {
		uint64_t off = addr - atomic_load_explicit(&z->z[i].addr, memory_order_relaxed);
		uint32_t room = atomic_load_explicit(&z->z[i].len, memory_order_relaxed);

		has = off < room && len <= room - off;
	}
	atomic_thread_fence(memory_order_acquire);
	return has && (seq & 1) == 0 && seq == atomic_load_explicit(&z->seq, memory_order_relaxed);
}

void machine_zone(struct twx_machine *m, uint64_t addr, uint32_t len, bool on)
{
	struct post_zones *z = &m->zones;
	uint32_t n = atomic_load_explicit(&z->n, memory_order_relaxed), i;
	uint32_t seq = atomic_load_explicit(&z->seq, memory_order_relaxed);

	for (i = 0; i < n; i++)
		if (atomic_load_explicit(&z->z[i].addr, memory_order_relaxed) == addr &&
		    atomic_load_explicit(&z->z[i].len, memory_order_relaxed) == len)
			break;
	/* Too many: writes there are made at once, as everywhere else. */
	if (on ? i < n || n == MACHINE_MAX_ZONES : i == n)
		return;
	atomic_store_explicit(&z->seq, seq + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	if (!on) {
		n--;
		addr = atomic_load_explicit(&z->z[n].addr, memory_order_relaxed);
		len = atomic_load_explicit(&z->z[n].len, memory_order_relaxed);
	}
	atomic_store_explicit(&z->z[i].addr, addr, memory_order_relaxed);
	atomic_store_explicit(&z->z[i].len, len, memory_order_relaxed);
	atomic_store_explicit(&z->n, on ? n + 1 : n, memory_order_relaxed);
	atomic_store_explicit(&z->seq, seq + 2, memory_order_release);
}

static bool post(struct twx_machine *m, unsigned int cpu, uint64_t addr, const void *buf,
		 uint32_t len)
{
	struct post_ring *r = m->post[cpu];
	uint32_t head;
	struct post_entry *e;
	uint64_t v = 0;

	if (r == NULL || !zone_has(m, addr, len))
		return false;
	head = atomic_load_explicit(&r->head, memory_order_relaxed);
	if (head - atomic_load_explicit(&r->tail, memory_order_acquire) == POST_RING)
		return false;
	memcpy(&v, buf, len);
	e = &r->e[head % POST_RING];
	*e = (struct post_entry){ .addr = addr, .value = v, .size = len };
	if (trace_wants(m->trace, TWX_HOP_VM_EXIT))
		e->t = clock_ns();
	atomic_store_explicit(&r->head, head + 1, memory_order_release);
	if (!atomic_exchange(&m->post_pending, true))
		twx_loop_post(m->loop, &m->post_task);
	return true;
}

void machine_drain(struct twx_machine *m)
{
	for (unsigned int cpu = 0; cpu < m->n_cpus; cpu++) {
		struct post_ring *r = m->post[cpu];
		uint32_t head, tail;

		if (r == NULL)
			continue;
		/* What comes while this runs is for the next time: a CPU must not hold the loop. */
		head = atomic_load_explicit(&r->head, memory_order_acquire);
		tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
		while (tail != head) {
			struct post_entry e = r->e[tail % POST_RING];

			atomic_store_explicit(&r->tail, ++tail, memory_order_release);
			if (e.t != 0)
				trace_record_at(m->trace, e.t, TWX_HOP_VM_EXIT, "posted", e.size,
						(uint32_t)e.addr);
			space_rw(m, &m->mem, e.addr, &e.value, e.size, true);
		}
	}
}

/* Accesses */

void machine_mmio(struct twx_machine *m, unsigned int cpu, uint64_t addr, void *buf, uint32_t len,
		  bool write)
{
	if (write && post(m, cpu, addr, buf, len))
		return;
	twx_loop_enter(m->loop);
	machine_drain(m);
	TWX_TRACE(m->trace, TWX_HOP_VM_EXIT, write ? "store" : "load", len, addr);
	machine_mem_rw(m, addr, buf, len, write);
	twx_loop_leave(m->loop);
}

void machine_pio(struct twx_machine *m, unsigned int cpu, uint16_t port, void *buf, uint32_t len,
		 bool write)
{
	(void)cpu;
	twx_loop_enter(m->loop);
	machine_drain(m);
	TWX_TRACE(m->trace, TWX_HOP_VM_EXIT, write ? "out" : "in", len, port);
	space_rw(m, &m->io, port, buf, len, write);
	twx_loop_leave(m->loop);
}
