/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whether KVM is here, may be used, and runs a stock kernel.
 *
 * The last is not the same as the first two. On some cloud machines /dev/kvm belongs to a KVM that
 * emulates every instruction: small test guests run there, and a kernel takes minutes. Such a KVM
 * is told from a real one by how fast it goes. The guest is a few bytes in long mode, where a
 * kernel lives: a loop of LOOP_N rounds and a store to a port that ends it. It is run short and
 * long in turn until the difference of the best times, which is what the instructions took without
 * the way in and out, is that of a fast one, or there have been enough tries.
 *
 * Measured, in millions of instructions a second, on a machine with ten times more to do than
 * processors, where the noise is worst:
 *
 *   a KVM that emulates             0.6 to 1.9
 *   KVM in a guest of QEMU's tcg    1150 to 1330   the slowest that boots a kernel in a few seconds
 *   KVM on a processor              several thousand, by its clock
 *
 * SLOW is ten times what the first did best, and a fiftieth of what the second did worst.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/macros.h"
#include "hosts/machine/kvm.h"

#define KVM_PATH "/dev/kvm"

/* What this program cannot do without; all in Linux 4.12 and later. */
static const struct {
	int cap;
	const char *name;
} caps[] = {
	{ KVM_CAP_USER_MEMORY, "user memory" },
	{ KVM_CAP_IRQCHIP, "interrupt controllers" },
	{ KVM_CAP_PIT2, "timer" },
	{ KVM_CAP_PIT_STATE2, "state of the timer" },
	{ KVM_CAP_SET_TSS_ADDR, "task state segment" },
	{ KVM_CAP_SET_IDENTITY_MAP_ADDR, "identity map" },
	{ KVM_CAP_EXT_CPUID, "CPUID" },
	{ KVM_CAP_IRQ_ROUTING, "interrupt routing" },
	{ KVM_CAP_SIGNAL_MSI, "message interrupts" },
	{ KVM_CAP_IMMEDIATE_EXIT, "immediate exit" },
	{ KVM_CAP_MP_STATE, "state of CPUs" },
	{ KVM_CAP_VCPU_EVENTS, "events of CPUs" },
	{ KVM_CAP_DEBUGREGS, "debug registers" },
	{ KVM_CAP_XSAVE, "XSAVE" },
	{ KVM_CAP_XCRS, "XCRs" },
	{ KVM_CAP_ADJUST_CLOCK, "clock" },
};

static int no_right(struct twx_error *e)
{
	struct group *g = NULL, buf;
	char text[4096];
	struct stat st;

	twx_error_set(e, EACCES, "KVM: no right to open " KVM_PATH);
	if (stat(KVM_PATH, &st) == 0)
		(void)getgrgid_r(st.st_gid, &buf, text, sizeof(text), &g);
	if (g && st.st_gid != 0)
		return twx_error_hint(
			e,
			"it belongs to group %s: run `sudo usermod -aG %s $USER` and log "
			"in again",
			g->gr_name, g->gr_name);
	return twx_error_hint(e, "it belongs to no group that could be joined: run `sudo chown "
				 "root:kvm " KVM_PATH "`, `sudo usermod -aG kvm $USER`, and log in "
				 "again");
}

static int no_device(struct twx_error *e)
{
	twx_error_set(e, ENOENT, "KVM: there is no " KVM_PATH);
	return twx_error_hint(e, "load the kernel's module (`sudo modprobe kvm_amd` or kvm_intel), "
				 "switch virtualisation on in the firmware's set-up, or use -accel "
				 "qemu");
}

int kvm_open_device(const struct twx_hostops *h, struct twx_error *e)
{
	int fd = hostops_open(h, KVM_PATH, O_RDWR, 0), version;

	if (fd == -ENOENT || fd == -ENODEV || fd == -ENXIO)
		return no_device(e);
	if (fd == -EACCES || fd == -EPERM)
		return no_right(e);
	if (fd < 0)
		return twx_error_set(e, -fd, "KVM: cannot open " KVM_PATH ": %s", strerror(-fd));
	version = kvm_do_val(fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION) {
		close(fd);
		return twx_error_set(e, ENOTSUP,
				     "KVM: " KVM_PATH " speaks version %d of its interface, not %d",
				     version, KVM_API_VERSION);
	}
	for (unsigned int i = 0; i < array_size(caps); i++)
		if (kvm_do_val(fd, KVM_CHECK_EXTENSION, (unsigned long)caps[i].cap) <= 0) {
			close(fd);
			return twx_error_set(e, ENOTSUP, "KVM: this kernel's lacks: %s",
					     caps[i].name);
		}
	return fd;
}

/* The guest of the measurement: a page of code, three of page tables. */
#define GUEST_PML4 0x1000u
#define GUEST_PDPT 0x2000u
#define GUEST_PD 0x3000u
#define GUEST_CODE 0x4000u
#define GUEST_LEN 0x5000u
#define LOOP_N 2000u
#define LOOP_INSTRUCTIONS 2u
#define TRIES 5
#define SLOW 20.0 /* millions of instructions a second */

static const uint8_t code[] = {
	0xff, 0xc9, /* dec %ecx */
	0x75, 0xfc, /* jnz to the dec */
	0xe6, 0x80, /* out %al, $0x80 */
};

struct probe {
	int sys_fd, vm, cpu;
	uint8_t *mem;
	struct kvm_run *run;
	size_t run_len;
};

static void put64(uint8_t *at, uint64_t v)
{
	memcpy(at, &v, sizeof(v));
}

static int probe_make(struct probe *p)
{
	struct kvm_userspace_memory_region slot = { .memory_size = GUEST_LEN };
	uint64_t identity = KVM_IDENTITY_ADDR;
	int err;

	p->mem = mmap(NULL, GUEST_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p->mem == MAP_FAILED) {
		p->mem = NULL;
		return -errno;
	}
	memcpy(p->mem + GUEST_CODE, code, sizeof(code));
	put64(p->mem + GUEST_PML4, GUEST_PDPT | 3);
	put64(p->mem + GUEST_PDPT, GUEST_PD | 3);
	put64(p->mem + GUEST_PD, 0x83); /* a page of 2 MiB */
	p->vm = kvm_do_val(p->sys_fd, KVM_CREATE_VM, 0);
	if (p->vm < 0)
		return p->vm;
	slot.userspace_addr = (uintptr_t)p->mem;
	err = kvm_do(p->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	if (err >= 0)
		err = kvm_do_val(p->vm, KVM_SET_TSS_ADDR, KVM_TSS_ADDR);
	if (err >= 0)
		err = kvm_do(p->vm, KVM_SET_USER_MEMORY_REGION, &slot);
	if (err < 0)
		return err;
	p->cpu = kvm_do_val(p->vm, KVM_CREATE_VCPU, 0);
	if (p->cpu < 0)
		return p->cpu;
	p->run_len = (size_t)max(kvm_do_val(p->sys_fd, KVM_GET_VCPU_MMAP_SIZE, 0), 0);
	p->run = mmap(NULL, p->run_len, PROT_READ | PROT_WRITE, MAP_SHARED, p->cpu, 0);
	if (p->run == MAP_FAILED) {
		p->run = NULL;
		return -errno;
	}
	return 0;
}

static int probe_mode(struct probe *p)
{
	struct machine_entry entry = { .long_mode = true, .cr3 = GUEST_PML4 };
	struct kvm_sregs sregs;
	int err = kvm_do(p->cpu, KVM_GET_SREGS, &sregs);

	if (err < 0)
		return err;
	kvm_cpu_enter(&sregs, &entry);
	return min(kvm_do(p->cpu, KVM_SET_SREGS, &sregs), 0);
}

/* Seconds that @n rounds take; -errno where they do not come to their end. */
static int probe_time(struct probe *p, uint32_t n, double *seconds)
{
	struct kvm_regs regs = { .rflags = 2, .rip = GUEST_CODE, .rcx = n };
	struct timespec a, b;
	int err = kvm_do(p->cpu, KVM_SET_REGS, &regs);

	if (err < 0)
		return err;
	clock_gettime(CLOCK_MONOTONIC, &a);
	err = kvm_do_val(p->cpu, KVM_RUN, 0);
	clock_gettime(CLOCK_MONOTONIC, &b);
	if (err < 0)
		return err;
	if (p->run->exit_reason != KVM_EXIT_IO || p->run->io.port != 0x80)
		return -EPROTO;
	*seconds = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
	return 0;
}

/* Millions of instructions a second, by the best of some tries. */
static int probe_speed(struct probe *p, double *speed)
{
	double best_short = 1e9, best_long = 1e9, t = 0;
	int err;

	for (int i = 0; i < TRIES && *speed < SLOW; i++) {
		err = probe_time(p, 1, &t);
		best_short = min(best_short, t);
		if (!err)
			err = probe_time(p, LOOP_N, &t);
		best_long = min(best_long, t);
		if (err)
			return err;
		t = max(best_long - best_short, 1e-9);
		*speed = LOOP_N * LOOP_INSTRUCTIONS / t / 1e6;
	}
	return 0;
}

static void probe_end(struct probe *p)
{
	if (p->run)
		munmap(p->run, p->run_len);
	if (p->cpu >= 0)
		close(p->cpu);
	if (p->vm >= 0)
		close(p->vm);
	if (p->mem)
		munmap(p->mem, GUEST_LEN);
	close(p->sys_fd);
}

int kvm_probe(struct twx_error *e)
{
	struct probe p = { .sys_fd = kvm_open_device(NULL, e), .vm = -1, .cpu = -1 };
	double speed = 0;
	int err;

	if (p.sys_fd < 0)
		return e->hint[0] ? p.sys_fd : twx_error_hint(e, "use -accel qemu");
	err = probe_make(&p);
	if (!err)
		err = probe_mode(&p);
	if (!err)
		err = probe_speed(&p, &speed);
	probe_end(&p);
	if (err == -EPROTO)
		twx_error_set(e, ENOTSUP, "KVM: it does not run 64-bit code");
	else if (err)
		twx_error_set(e, ENOTSUP, "KVM: it does not run a test guest: %s", strerror(-err));
	else if (speed < SLOW)
		twx_error_set(
			e, ENOTSUP,
			"KVM: it emulates every instruction (%.1f million a second), which is too "
			"slow for a stock kernel",
			speed);
	else
		return 0;
	return twx_error_hint(e, "use -accel qemu");
}
