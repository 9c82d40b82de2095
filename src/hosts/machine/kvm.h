/* SPDX-License-Identifier: BSD-3-Clause */
/* The KVM accelerator from the inside: the virtual machine, its CPUs, and what they share. */
#ifndef HOSTS_MACHINE_KVM_H
#define HOSTS_MACHINE_KVM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

#include "hosts/machine/machine.h"

/*
 * Three pages for a task state segment and one for a page table: Intel's CPUs need them where they
 * cannot run real mode by themselves. At the end of the hole, where neither RAM nor a device lies.
 */
#define KVM_IDENTITY_ADDR 0xffffc000ull
#define KVM_TSS_ADDR 0xffffd000ull

#define KVM_MAX_MSRS 256u
#define KVM_MAX_CPUID 160u
#define KVM_MAX_MSI_ROUTES 256u

/* Everything that a CPU is made of. The parts are KVM's own structures. */
struct kvm_cpu_state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debugregs;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp;
	struct kvm_lapic_state lapic;
	uint32_t n_msrs;
	struct kvm_msr_entry msrs[KVM_MAX_MSRS];
	/* struct kvm_xsave, or what KVM_CAP_XSAVE2 says of its length. */
	uint32_t xsave_len;
	uint8_t *xsave;
};

struct kvm_cpu {
	struct kvm *k;
	unsigned int id;
	int fd;
	struct kvm_run *run; /* shared with the kernel */
	pthread_t thread;
	bool has_thread;
	uint32_t turn;		      /* of k->turn; under k->lock */
	struct kvm_cpu_state initial; /* as KVM made it: what a reset goes back to */
};

/* An eventfd that is a message. What is not attached stays as it is: drivers mask and unmask. */
struct kvm_msi_route {
	struct pci_dev *dev; /* null: never used */
	unsigned int vector;
	uint64_t addr;
	uint32_t data;
	int fd; /* -1: not attached */
};

struct kvm {
	struct twx_machine *m;
	int sys_fd, fd;
	size_t run_len;
	unsigned int n_cpus;
	struct kvm_cpu cpus[MACHINE_MAX_CPUS];
	uint32_t xsave_len;
	uint32_t n_msrs;
	uint32_t msrs[KVM_MAX_MSRS]; /* what is saved */
	struct kvm_cpuid2 *cpuid;    /* of every CPU but for its number */

	/* Running: kvm_vcpu.c. */
	pthread_mutex_t lock;
	pthread_cond_t go_cond, out_cond;
	atomic_bool go;	   /* CPUs are to be in the guest; written under the lock */
	bool quit;	   /* under the lock, as the two below */
	uint32_t turn;	   /* counts kvm_run() */
	unsigned int n_in; /* CPUs that have not come out of this turn */

	/* Writes that the kernel keeps until an exit: kvm_irq.c. */
	struct kvm_coalesced_mmio_ring *ring; /* null: it cannot */
	uint32_t ring_max;
	pthread_mutex_t ring_lock;

	struct kvm_msi_route routes[KVM_MAX_MSI_ROUTES];
	unsigned int n_routes;

	/* As the chips are after KVM made them. */
	struct kvm_irqchip chips[3];
	struct kvm_pit_state2 pit;
	struct kvm_clock_data clock;
	bool clock_stopped;
};

/* Every ioctl but KVM_RUN: what it returns, or -errno. */
int kvm_do(int fd, unsigned long request, const void *arg);
int kvm_do_val(int fd, unsigned long request, unsigned long arg);

/* kvm_probe.c: /dev/kvm opened, of the right version and with what this program needs. */
int kvm_open_device(const struct twx_hostops *h, struct twx_error *e);

/* kvm_cpu.c: CPUID, and registers at reset. */
int kvm_cpuid_read(struct kvm *k, struct twx_error *e);
int kvm_cpu_setup(struct kvm_cpu *c, struct twx_error *e);
/* Segments and mode that @entry asks for, over those of a reset. */
void kvm_cpu_enter(struct kvm_sregs *s, const struct machine_entry *entry);
int kvm_cpu_reset(struct kvm_cpu *c, const struct machine_entry *entry, struct twx_error *e);

/* kvm_state.c */
int kvm_state_setup(struct kvm *k, struct twx_error *e);
int kvm_cpu_get(struct kvm_cpu *c, struct kvm_cpu_state *s, struct twx_error *e);
int kvm_cpu_set(struct kvm_cpu *c, const struct kvm_cpu_state *s, struct twx_error *e);
int kvm_chips_get(struct kvm *k, struct kvm_irqchip chips[3], struct kvm_pit_state2 *pit,
		  struct twx_error *e);
int kvm_chips_set(struct kvm *k, const struct kvm_irqchip chips[3],
		  const struct kvm_pit_state2 *pit, struct twx_error *e);
int kvm_save(struct twx_machine *m, uint8_t **out, size_t *len, struct twx_error *e);
int kvm_load(struct twx_machine *m, const uint8_t *data, size_t len, struct twx_error *e);

/* kvm_vcpu.c: threads. */
int kvm_threads_start(struct kvm *k, struct twx_error *e);
void kvm_threads_end(struct kvm *k);
void kvm_threads_run(struct kvm *k);
bool kvm_threads_pause(struct kvm *k); /* false: they were outside before */
void kvm_kick(struct kvm *k);	       /* a CPU leaves the guest, and enters it again */

/* kvm_irq.c */
int kvm_irq_setup(struct kvm *k, struct twx_error *e);
void kvm_gsi(struct twx_machine *m, unsigned int gsi, bool level);
void kvm_message(struct twx_machine *m, uint64_t addr, uint32_t data);
int kvm_doorbell(struct twx_machine *m, bool io, uint64_t addr, const struct pci_doorbell *bell,
		 bool on);
int kvm_message_fd(struct twx_machine *m, struct pci_dev *dev, unsigned int vector, uint64_t addr,
		   uint32_t data, int fd);
int kvm_lazy(struct twx_machine *m, uint64_t addr, uint32_t len, bool on);
/* What the kernel has kept is carried out: by the thread of @cpu; or by the loop, CPUs outside. */
void kvm_hurry(struct twx_machine *m);
void kvm_lazy_drain(struct kvm *k, unsigned int cpu);
void kvm_lazy_drain_stopped(struct kvm *k);

#endif
