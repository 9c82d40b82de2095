/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The KVM accelerator: a virtual machine of the kernel's.
 *
 * The kernel has the CPUs, the local APICs, IOAPIC, both PICs and the PIT; everything else is ours.
 * RAM goes to the kernel as one slot for each region of m->ram, when the machine is made, and never
 * changes. An address that is neither RAM nor one of the kernel's own devices leaves the guest
 * (kvm_vcpu.c) and reaches the device by machine_mmio() or machine_pio(); interrupts go the other
 * way (kvm_irq.c).
 *
 * A reset puts back what the kernel made at first, recorded before any CPU ran, and then the
 * registers that the boot protocol wants: the same code as loading a saved machine (kvm_state.c).
 *
 * The guest's clock (kvmclock) stands still while the machine is paused: it is read when the CPUs
 * are out and set back before they go in. The TSC goes on.
 *
 * Sources: the kernel's Documentation/virt/kvm/api.rst; the sections there are named like the
 * requests.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/macros.h"
#include "hosts/machine/kvm.h"

int kvm_do_val(int fd, unsigned long request, unsigned long arg)
{
	int r;

	do {
		r = ioctl(fd, request, arg);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

int kvm_do(int fd, unsigned long request, const void *arg)
{
	return kvm_do_val(fd, request, (unsigned long)arg);
}

static int set_slots(struct kvm *k, struct twx_error *e)
{
	const struct mem_map *ram = k->m->ram;
	int err;

	for (unsigned int i = 0; i < ram->n; i++) {
		const struct mem_region *r = &ram->regions[i];
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.guest_phys_addr = r->gpa,
			.memory_size = r->size,
			.userspace_addr = (uintptr_t)r->host,
		};

		err = kvm_do(k->fd, KVM_SET_USER_MEMORY_REGION, &slot);
		if (err < 0)
			return twx_error_set(e, -err,
					     "KVM does not take %llu MiB of RAM at %#llx: %s",
					     (unsigned long long)(r->size >> 20),
					     (unsigned long long)r->gpa, strerror(-err));
	}
	return 0;
}

static int make_vm(struct kvm *k, struct twx_error *e)
{
	uint64_t identity = KVM_IDENTITY_ADDR;
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	struct {
		const char *what;
		unsigned long request, arg;
	} steps[] = {
		{ "place an identity map", KVM_SET_IDENTITY_MAP_ADDR, (unsigned long)&identity },
		{ "place a task state segment", KVM_SET_TSS_ADDR, KVM_TSS_ADDR },
		{ "make interrupt controllers", KVM_CREATE_IRQCHIP, 0 },
		{ "make a timer", KVM_CREATE_PIT2, (unsigned long)&pit },
	};
	int err;

	k->fd = kvm_do_val(k->sys_fd, KVM_CREATE_VM, 0);
	if (k->fd < 0)
		return twx_error_set(e, -k->fd, "KVM cannot make a virtual machine: %s",
				     strerror(-k->fd));
	for (unsigned int i = 0; i < array_size(steps); i++) {
		err = kvm_do_val(k->fd, steps[i].request, steps[i].arg);
		if (err < 0)
			return twx_error_set(e, -err, "KVM cannot %s: %s", steps[i].what,
					     strerror(-err));
	}
	return set_slots(k, e);
}

static int make_cpu(struct kvm *k, unsigned int id, struct twx_error *e)
{
	struct kvm_cpu *c = &k->cpus[id];

	c->k = k;
	c->id = id;
	c->fd = kvm_do_val(k->fd, KVM_CREATE_VCPU, id);
	if (c->fd < 0)
		return twx_error_set(e, -c->fd, "KVM cannot make CPU %u: %s", id, strerror(-c->fd));
	c->run = mmap(NULL, k->run_len, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	if (c->run == MAP_FAILED) {
		c->run = NULL;
		return twx_error_set(e, errno, "KVM: cannot map the page of CPU %u: %s", id,
				     strerror(errno));
	}
	return kvm_cpu_setup(c, e);
}

static void kvm_close(struct twx_machine *m)
{
	struct kvm *k = m->accel_priv;

	if (!k)
		return;
	kvm_threads_end(k);
	for (unsigned int i = 0; i < array_size(k->cpus); i++) {
		struct kvm_cpu *c = &k->cpus[i];

		if (c->run)
			munmap(c->run, k->run_len);
		if (c->fd >= 0)
			close(c->fd);
		free(c->initial.xsave);
	}
	if (k->fd >= 0)
		close(k->fd);
	if (k->sys_fd >= 0)
		close(k->sys_fd);
	pthread_mutex_destroy(&k->lock);
	pthread_mutex_destroy(&k->ring_lock);
	pthread_cond_destroy(&k->go_cond);
	pthread_cond_destroy(&k->out_cond);
	free(k->cpuid);
	free(k);
	m->accel_priv = NULL;
}

static struct kvm *kvm_new(struct twx_machine *m)
{
	struct kvm *k = calloc(1, sizeof(*k));
	pthread_condattr_t attr;

	if (!k)
		return NULL;
	k->m = m;
	k->n_cpus = m->n_cpus;
	k->sys_fd = k->fd = -1;
	for (unsigned int i = 0; i < array_size(k->cpus); i++)
		k->cpus[i].fd = -1;
	pthread_mutex_init(&k->lock, NULL);
	pthread_mutex_init(&k->ring_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&k->go_cond, &attr);
	pthread_cond_init(&k->out_cond, &attr);
	pthread_condattr_destroy(&attr);
	return k;
}

static int kvm_open_all(struct kvm *k, struct twx_error *e)
{
	int err;

	k->sys_fd = kvm_open_device(machine_hostops(k->m), e);
	if (k->sys_fd < 0)
		return k->sys_fd;
	err = kvm_do_val(k->sys_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (err < (int)sizeof(struct kvm_run))
		return twx_error_set(e, ENOTSUP, "KVM: the shared page of a CPU has %d bytes", err);
	k->run_len = (size_t)err;
	err = make_vm(k, e);
	if (!err)
		err = kvm_cpuid_read(k, e);
	if (!err)
		err = kvm_state_setup(k, e);
	for (unsigned int i = 0; !err && i < k->n_cpus; i++)
		err = make_cpu(k, i, e);
	if (!err)
		err = kvm_irq_setup(k, e);
	if (!err)
		err = kvm_chips_get(k, k->chips, &k->pit, e);
	return err ? err : kvm_threads_start(k, e);
}

static int kvm_open(struct twx_machine *m, struct twx_error *e)
{
	int err;

	m->accel_priv = kvm_new(m);
	if (!m->accel_priv)
		return twx_error_set(e, ENOMEM, "out of memory");
	err = kvm_open_all(m->accel_priv, e);
	if (err)
		kvm_close(m);
	return err;
}

/* CPUs first: what the interrupt controllers deliver when they are set goes to local APICs. */
static int kvm_reset(struct twx_machine *m, struct twx_error *e)
{
	struct kvm *k = m->accel_priv;
	int err = 0;

	for (unsigned int i = 0; !err && i < k->n_cpus; i++)
		err = kvm_cpu_reset(&k->cpus[i], &m->entry, e);
	k->clock_stopped = false;
	return err ? err : kvm_chips_set(k, k->chips, &k->pit, e);
}

static int kvm_run(struct twx_machine *m, struct twx_error *e)
{
	struct kvm *k = m->accel_priv;
	struct kvm_clock_data clock = { .clock = k->clock.clock };
	int err;

	if (k->clock_stopped) {
		err = kvm_do(k->fd, KVM_SET_CLOCK, &clock);
		if (err < 0)
			return twx_error_set(e, -err, "KVM does not set the guest's clock: %s",
					     strerror(-err));
	}
	k->clock_stopped = false;
	kvm_threads_run(k);
	return 0;
}

static void kvm_pause(struct twx_machine *m)
{
	struct kvm *k = m->accel_priv;

	if (!kvm_threads_pause(k))
		return;
	kvm_lazy_drain_stopped(k);
	k->clock_stopped = kvm_do(k->fd, KVM_GET_CLOCK, &k->clock) == 0;
	/* So that the guest's watchdog does not take the pause for a CPU that hangs; refused where
	 * the guest does not use this clock. */
	for (unsigned int i = 0; i < k->n_cpus; i++)
		(void)kvm_do_val(k->cpus[i].fd, KVM_KVMCLOCK_CTRL, 0);
}

const struct accel accel_kvm = {
	.name = "kvm",
	.threads = true,
	.open = kvm_open,
	.close = kvm_close,
	.reset = kvm_reset,
	.run = kvm_run,
	.pause = kvm_pause,
	.gsi = kvm_gsi,
	.message = kvm_message,
	.doorbell = kvm_doorbell,
	.message_fd = kvm_message_fd,
	.lazy = kvm_lazy,
	.hurry = kvm_hurry,
	.save = kvm_save,
	.load = kvm_load,
};
