/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a KVM CPU says of itself (CPUID), and the registers that it begins with.
 *
 * The guest sees the CPU that the kernel can offer, less what this machine does not have (nested
 * virtualisation, whose state would not be saved), with one bank of machine checks (Linux wants the
 * feature, and sets up each bank with several exits), and with a topology of our own: one package,
 * a core for each CPU, no threads. APIC ids count from 0. The hypervisor's leaves stay as KVM made
 * them, so that Linux finds its clock and the rest.
 *
 * Linux's 64-bit boot protocol (Documentation/arch/x86/boot.rst) begins in long mode with flat
 * segments, 10h for code and 18h for data, paging on. PVH
 * (xen/include/public/arch-x86/hvm/start_info.h) begins in 32-bit protected mode without paging.
 * No firmware has run, so that two more things are done here that it would do: memory types are
 * switched on with write-back as their default, and fast string moves.
 *
 * Sources: AMD64 Architecture Programmer's Manual 3, appendix E; Intel's SDM 2A, CPUID.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "hosts/machine/kvm.h"

/* Leaf 1. */
#define CPUID_1_ECX_VMX (1u << 5)
#define CPUID_1_ECX_TSC_DEADLINE (1u << 24)
#define CPUID_1_ECX_HYPERVISOR (1u << 31)
#define CPUID_1_EDX_HTT (1u << 28)
/* Leaf 80000001h. */
#define CPUID_81_ECX_CMP_LEGACY (1u << 1)
#define CPUID_81_ECX_SVM (1u << 2)

#define MSR_TSC 0x10u
#define MSR_MISC_ENABLE 0x1a0u
#define MISC_ENABLE_FAST_STRING 1u
#define MSR_MTRR_DEF_TYPE 0x2ffu
#define MTRR_ON_WRITE_BACK 0x806u

#define MCG_CTL_P (1u << 8)

#define CR0_PE 0x1ull
#define CR0_ET 0x10ull
#define CR0_PG 0x80000000ull
#define CR4_PAE 0x20ull
#define EFER_LME_LMA 0x500ull

#define BOOT_CS 0x10u
#define BOOT_DS 0x18u

/* For each CPU anew: the topology's leaves, with the CPU's number. */
struct cpu_place {
	unsigned int id, n, bits; /* bits: of an APIC id */
	bool amd;
};

static void cpuid_caches(struct kvm_cpuid_entry2 *c, const struct cpu_place *p)
{
	unsigned int level = c->eax >> 5 & 7;

	if ((c->eax & 0x1f) == 0)
		return;
	/* Caches of the third level are everybody's, others a core's own. */
	c->eax &= 0x3fffu;
	if (level >= 3)
		c->eax |= ((1u << p->bits) - 1) << 14;
	if (c->function == 4)
		c->eax |= ((1u << p->bits) - 1) << 26;
}

static void cpuid_place(struct kvm_cpuid_entry2 *c, const struct cpu_place *p)
{
	switch (c->function) {
	case 1:
		c->ebx = (c->ebx & 0xffff) | (1u << p->bits) << 16 | p->id << 24;
		c->edx &= ~CPUID_1_EDX_HTT;
		if (p->n > 1)
			c->edx |= CPUID_1_EDX_HTT;
		break;
	case 4:
	case 0x8000001d:
		cpuid_caches(c, p);
		break;
	case 0xb:
		c->eax = c->index == 1 ? p->bits : 0;
		c->ebx = c->index == 0 ? 1 : c->index == 1 ? p->n : 0;
		c->ecx = c->index | (c->index < 2 ? c->index + 1 : 0) << 8;
		c->edx = p->id;
		break;
	case 0x80000001:
		if (p->amd && p->n > 1)
			c->ecx |= CPUID_81_ECX_CMP_LEGACY;
		break;
	case 0x80000008:
		if (p->amd)
			c->ecx = p->bits << 12 | (p->n - 1);
		break;
	case 0x8000001e:
		c->eax = p->id;
		c->ebx = p->id;
		c->ecx = 0;
		break;
	}
}

static bool cpuid_keep(struct kvm_cpuid_entry2 *c, bool deadline)
{
	switch (c->function) {
	case 1:
		c->ebx &= 0xffff; /* less the number of the CPU that was asked */
		c->ecx &= ~CPUID_1_ECX_VMX;
		c->ecx |= CPUID_1_ECX_HYPERVISOR | (deadline ? CPUID_1_ECX_TSC_DEADLINE : 0);
		return true;
	case 0x80000001:
		c->ecx &= ~CPUID_81_ECX_SVM;
		return true;
	case 0x8000001e:
		c->eax = c->ebx = c->ecx = 0;
		return true;
	case 0xb: /* made anew */
	case 0x1f:
	case 0x80000026:
		return false;
	}
	return true;
}

static const struct kvm_cpuid_entry2 *cpuid_find(const struct kvm_cpuid2 *t, uint32_t function)
{
	for (uint32_t i = 0; i < t->nent; i++)
		if (t->entries[i].function == function)
			return &t->entries[i];
	return NULL;
}

/* Leaf 0 spells the maker. */
static bool is_amd(const struct kvm_cpuid2 *t)
{
	const struct kvm_cpuid_entry2 *c = cpuid_find(t, 0);

	return c && (c->ebx == 0x68747541 /* Auth */ || c->ebx == 0x6f677948 /* Hygo */);
}

int kvm_cpuid_read(struct kvm *k, struct twx_error *e)
{
	bool deadline = kvm_do_val(k->fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	struct kvm_cpuid2 *t;
	uint32_t n = 0;
	int err;

	t = calloc(1, sizeof(*t) + KVM_MAX_CPUID * sizeof(t->entries[0]));
	if (!t)
		return twx_error_set(e, ENOMEM, "out of memory");
	k->cpuid = t;
	t->nent = KVM_MAX_CPUID - 3;
	err = kvm_do(k->sys_fd, KVM_GET_SUPPORTED_CPUID, t);
	if (err < 0)
		return twx_error_set(e, -err, "KVM does not say what its CPUs can do: %s",
				     strerror(-err));
	for (uint32_t i = 0; i < t->nent; i++)
		if (cpuid_keep(&t->entries[i], deadline))
			t->entries[n++] = t->entries[i];
	t->nent = n;
	if (cpuid_find(t, 0) && cpuid_find(t, 0)->eax >= 0xb)
		for (uint32_t i = 0; i < 3; i++)
			t->entries[t->nent++] = (struct kvm_cpuid_entry2){
				.function = 0xb,
				.index = i,
				.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
			};
	return 0;
}

static int cpuid_set(struct kvm_cpu *c, struct twx_error *e)
{
	struct kvm *k = c->k;
	size_t len = sizeof(*k->cpuid) + k->cpuid->nent * sizeof(k->cpuid->entries[0]);
	struct cpu_place place = { .id = c->id, .n = k->n_cpus, .amd = is_amd(k->cpuid) };
	struct kvm_cpuid2 *t = malloc(len);
	int err;

	if (!t)
		return twx_error_set(e, ENOMEM, "out of memory");
	memcpy(t, k->cpuid, len);
	while (1u << place.bits < place.n)
		place.bits++;
	for (uint32_t i = 0; i < t->nent; i++)
		cpuid_place(&t->entries[i], &place);
	err = kvm_do(c->fd, KVM_SET_CPUID2, t);
	free(t);
	if (err < 0)
		return twx_error_set(e, -err, "KVM does not take the CPUID table of CPU %u: %s",
				     c->id, strerror(-err));
	return 0;
}

/* In the state that a reset goes back to. */
static void firmware_msrs(struct kvm_cpu_state *s)
{
	for (uint32_t i = 0; i < s->n_msrs; i++) {
		struct kvm_msr_entry *r = &s->msrs[i];

		if (r->index == MSR_TSC)
			r->data = 0; /* zero on all CPUs keeps them in step */
		if (r->index == MSR_MISC_ENABLE)
			r->data |= MISC_ENABLE_FAST_STRING;
		if (r->index == MSR_MTRR_DEF_TYPE)
			r->data = MTRR_ON_WRITE_BACK;
	}
}

/* An older kernel's default, 32 banks, works as well. */
static void machine_checks(struct kvm_cpu *c)
{
	uint64_t cap = MCG_CTL_P | 1;

	(void)kvm_do(c->fd, KVM_X86_SETUP_MCE, &cap);
}

int kvm_cpu_setup(struct kvm_cpu *c, struct twx_error *e)
{
	int err = cpuid_set(c, e);

	machine_checks(c);
	if (!err)
		err = kvm_cpu_get(c, &c->initial, e);
	if (!err)
		firmware_msrs(&c->initial);
	return err;
}

/* Selector, type (AMD64 APM 2, 4.8), and what the mode makes of it. */
static struct kvm_segment flat(uint16_t selector, uint8_t type, bool long_mode)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.s = 1,
		.g = 1,
		.l = long_mode,
		.db = !long_mode,
	};
}

void kvm_cpu_enter(struct kvm_sregs *s, const struct machine_entry *entry)
{
	s->cs = flat(BOOT_CS, 11, entry->long_mode);
	s->ds = s->es = s->fs = s->gs = s->ss = flat(BOOT_DS, 3, false);
	s->cr0 = CR0_PE | CR0_ET;
	if (entry->long_mode) {
		s->cr0 |= CR0_PG;
		s->cr3 = entry->cr3;
		s->cr4 = CR4_PAE;
		s->efer = EFER_LME_LMA;
	}
}

int kvm_cpu_reset(struct kvm_cpu *c, const struct machine_entry *entry, struct twx_error *e)
{
	struct kvm_cpu_state s = c->initial;

	if (c->id == 0) {
		kvm_cpu_enter(&s.sregs, entry);
		s.regs = (struct kvm_regs){
			.rflags = 2, .rip = entry->rip, .rsi = entry->rsi, .rbx = entry->rbx
		};
	}
	return kvm_cpu_set(c, &s, e);
}
