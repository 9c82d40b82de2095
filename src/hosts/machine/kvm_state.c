/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The state of a KVM machine: read, put back, and as bytes.
 *
 * The order of putting back matters. What the guest may have (CPUID) was set when the CPU was made.
 * Of one CPU:
 *
 *   sregs      first: paging mode and the APIC's base, which says whether the APIC's page is laid
 *              out for xAPIC or x2APIC; and it takes back a halt, should the CPU look freshly reset
 *   regs       forgets an exception that waits to be delivered: before events
 *   xcrs, xsave, debugregs
 *   lapic      before the MSRs: a deadline (IA32_TSC_DEADLINE) is forgotten unless the APIC's timer
 *              is in that mode already
 *   MSRs       the TSC before all others, because the deadline is measured against it
 *   events     pending exception, NMI, and interrupt shadow
 *   mp         last: setting anything above may wake a CPU that has halted or waits for its SIPI
 *
 * Reading goes the other way round: reading mp carries out an INIT or SIPI that has arrived, which
 * changes all the rest.
 *
 * Of the machine: CPUs first, then PICs and IOAPIC, then the PIT. An IOAPIC delivers when it is set
 * what it has pending, and a local APIC that is set later would forget that; the PIT's next
 * interrupt would be lost to a PIC that is set after it.
 *
 * An MSR that cannot be written and has the right value is none to complain about: the kernel lists
 * some that it lets nobody change.
 *
 * As bytes: a head, and records (what, which CPU, length) of the kernel's own structures, in the
 * order above. That is an interface of the kernel and does not change; but it is of one
 * architecture, and a CPU with other features is refused by comparing CPUID. The kernel checks
 * what it is given, as it has to in any case.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "hosts/machine/kvm.h"

#define MSR_TSC 0x10u

/* A part of struct kvm_cpu_state that one request reads and another writes. */
struct part {
	const char *name;
	size_t off, len; /* 0: it has code of its own */
	unsigned long get, set;
};
enum { PART_XSAVE = 3, PART_MSRS = 6 };
#define PART(member, suffix)                                                                       \
	{                                                                                          \
#member, offsetof(struct kvm_cpu_state, member),                                   \
			sizeof(((struct kvm_cpu_state *)0)->member), KVM_GET_##suffix,             \
			KVM_SET_##suffix                                                           \
	}
static const struct part parts[] = {
	PART(sregs, SREGS),	    PART(regs, REGS),		PART(xcrs, XCRS),
	[PART_XSAVE] = { "xsave" }, PART(debugregs, DEBUGREGS), PART(lapic, LAPIC),
	[PART_MSRS] = { "msrs" },   PART(events, VCPU_EVENTS),	PART(mp, MP_STATE),
};

/* What the kernel keeps and does not list: memory types (Intel's SDM 3A, 12.11), one bank of
 * machine checks (15.3). */
static const struct {
	uint32_t first, n;
} more_msrs[] = {
	{ 0x400, 4 }, { 0x200, 16 }, { 0x250, 1 }, { 0x258, 2 }, { 0x268, 8 }, { 0x2ff, 1 },
};

static void add_msr(struct kvm *k, uint32_t index)
{
	for (uint32_t i = 0; i < k->n_msrs; i++)
		if (k->msrs[i] == index)
			return;
	if (k->n_msrs < KVM_MAX_MSRS)
		k->msrs[k->n_msrs++] = index;
}

int kvm_state_setup(struct kvm *k, struct twx_error *e)
{
	struct {
		struct kvm_msr_list head;
		uint32_t room[1024];
	} list = { .head.nmsrs = 1024 };
	int err = kvm_do(k->sys_fd, KVM_GET_MSR_INDEX_LIST, &list);

	if (err < 0)
		return twx_error_set(e, -err, "KVM does not list its CPUs' registers: %s",
				     strerror(-err));
	add_msr(k, MSR_TSC);
	for (unsigned int i = 0; i < array_size(more_msrs); i++)
		for (uint32_t j = 0; j < more_msrs[i].n; j++)
			add_msr(k, more_msrs[i].first + j);
	for (uint32_t i = 0; i < list.head.nmsrs; i++)
		add_msr(k, list.head.indices[i]);
	err = kvm_do_val(k->fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
	k->xsave_len = max((uint32_t)max(err, 0), (uint32_t)sizeof(struct kvm_xsave));
	return 0;
}

struct msr_buf {
	struct kvm_msrs head;
	struct kvm_msr_entry entries[KVM_MAX_MSRS];
};

static int cpu_error(struct kvm_cpu *c, int err, const char *verb, const char *what,
		     struct twx_error *e)
{
	return twx_error_set(e, -err, "KVM does not %s the state of CPU %u (%s): %s", verb, c->id,
			     what, strerror(-err));
}

/* The kernel stops at the first that it does not have. */
static int get_msrs(struct kvm_cpu *c, struct kvm_cpu_state *s)
{
	struct msr_buf buf;
	uint32_t done = 0;
	int n;

	s->n_msrs = 0;
	while (done < c->k->n_msrs) {
		buf.head = (struct kvm_msrs){ .nmsrs = c->k->n_msrs - done };
		for (uint32_t i = 0; i < buf.head.nmsrs; i++)
			buf.entries[i] = (struct kvm_msr_entry){ .index = c->k->msrs[done + i] };
		n = kvm_do(c->fd, KVM_GET_MSRS, &buf);
		if (n < 0)
			return n;
		memcpy(&s->msrs[s->n_msrs], buf.entries, (size_t)n * sizeof(s->msrs[0]));
		s->n_msrs += (uint32_t)n;
		done += (uint32_t)n + 1;
	}
	return 0;
}

static bool msr_is(struct kvm_cpu *c, const struct kvm_msr_entry *want)
{
	struct msr_buf buf;

	buf.head = (struct kvm_msrs){ .nmsrs = 1 };
	buf.entries[0] = (struct kvm_msr_entry){ .index = want->index };
	return kvm_do(c->fd, KVM_GET_MSRS, &buf) == 1 && buf.entries[0].data == want->data;
}

static int set_msrs(struct kvm_cpu *c, const struct kvm_cpu_state *s, struct twx_error *e)
{
	struct msr_buf buf;
	uint32_t done = 0;
	int n;

	while (done < s->n_msrs) {
		buf.head = (struct kvm_msrs){ .nmsrs = s->n_msrs - done };
		memcpy(buf.entries, &s->msrs[done], buf.head.nmsrs * sizeof(s->msrs[0]));
		n = kvm_do(c->fd, KVM_SET_MSRS, &buf);
		if (n < 0)
			return cpu_error(c, n, "set", "msrs", e);
		done += (uint32_t)n;
		if (done < s->n_msrs && !msr_is(c, &s->msrs[done]))
			return twx_error_set(
				e, EINVAL, "KVM does not set register %#x of CPU %u to %#llx",
				s->msrs[done].index, c->id, (unsigned long long)s->msrs[done].data);
		done++;
	}
	return 0;
}

static int get_xsave(struct kvm_cpu *c, struct kvm_cpu_state *s)
{
	bool large = c->k->xsave_len > sizeof(struct kvm_xsave);

	s->xsave_len = c->k->xsave_len;
	if (!s->xsave)
		s->xsave = calloc(1, s->xsave_len);
	if (!s->xsave)
		return -ENOMEM;
	return kvm_do(c->fd, large ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, s->xsave);
}

int kvm_cpu_get(struct kvm_cpu *c, struct kvm_cpu_state *s, struct twx_error *e)
{
	for (unsigned int i = array_size(parts); i-- > 0;) {
		const struct part *p = &parts[i];
		int err;

		if (i == PART_XSAVE)
			err = get_xsave(c, s);
		else if (i == PART_MSRS)
			err = get_msrs(c, s);
		else
			err = kvm_do(c->fd, p->get, (char *)s + p->off);
		if (err < 0)
			return cpu_error(c, err, "give", p->name, e);
	}
	return 0;
}

int kvm_cpu_set(struct kvm_cpu *c, const struct kvm_cpu_state *s, struct twx_error *e)
{
	for (unsigned int i = 0; i < array_size(parts); i++) {
		const struct part *p = &parts[i];
		int err;

		if (i == PART_MSRS) {
			err = set_msrs(c, s, e);
			if (err < 0)
				return err;
			continue;
		}
		if (i == PART_XSAVE)
			err = kvm_do(c->fd, KVM_SET_XSAVE, s->xsave);
		else
			err = kvm_do(c->fd, p->set, (const char *)s + p->off);
		if (err < 0)
			return cpu_error(c, err, "set", p->name, e);
	}
	return 0;
}

/* The three interrupt controllers: PIC, second PIC, IOAPIC. */
int kvm_chips_get(struct kvm *k, struct kvm_irqchip chips[3], struct kvm_pit_state2 *pit,
		  struct twx_error *e)
{
	int err = 0;

	memset(chips, 0, 3 * sizeof(chips[0]));
	for (unsigned int i = 0; i < 3 && err >= 0; i++) {
		chips[i].chip_id = i;
		err = kvm_do(k->fd, KVM_GET_IRQCHIP, &chips[i]);
	}
	if (err >= 0)
		err = kvm_do(k->fd, KVM_GET_PIT2, pit);
	return err >= 0 ? 0
			: twx_error_set(e, -err,
					"KVM does not give the interrupt controllers' state: %s",
					strerror(-err));
}

int kvm_chips_set(struct kvm *k, const struct kvm_irqchip chips[3],
		  const struct kvm_pit_state2 *pit, struct twx_error *e)
{
	int err = 0;

	for (unsigned int i = 0; i < 3 && err >= 0; i++)
		err = kvm_do(k->fd, KVM_SET_IRQCHIP, &chips[i]);
	if (err >= 0)
		err = kvm_do(k->fd, KVM_SET_PIT2, pit);
	return err >= 0 ? 0
			: twx_error_set(e, -err,
					"KVM does not set the interrupt controllers' state: %s",
					strerror(-err));
}

/* As bytes. */

#define STATE_MAGIC 0x314d564bu /* "KVM1" */
enum record_kind {
	RECORD_CPUID = 1,
	RECORD_CHIPS,
	RECORD_PIT,
	RECORD_CLOCK,
	RECORD_PART /* and up: one for each of parts[] */
};

struct record {
	uint32_t kind, cpu, len;
};

struct out {
	uint8_t *data;
	size_t len, room;
	bool failed;
};

static void put(struct out *o, const void *data, size_t len)
{
	if (o->len + len > o->room && !o->failed) {
		size_t room = 2 * (o->len + len);
		uint8_t *p = realloc(o->data, room);

		o->failed = !p;
		o->data = p ? p : o->data;
		o->room = p ? room : o->room;
	}
	if (o->failed)
		return;
	memcpy(o->data + o->len, data, len);
	o->len += len;
}

static void put_record(struct out *o, uint32_t kind, uint32_t cpu, const void *data, size_t len)
{
	struct record r = { kind, cpu, (uint32_t)len };

	put(o, &r, sizeof(r));
	put(o, data, len);
}

/* Where part @i lies in @s and how long it is now. */
static const void *part_data(const struct kvm_cpu_state *s, unsigned int i, size_t *len)
{
	if (i == PART_XSAVE) {
		*len = s->xsave_len;
		return s->xsave;
	}
	if (i == PART_MSRS) {
		*len = s->n_msrs * sizeof(s->msrs[0]);
		return s->msrs;
	}
	*len = parts[i].len;
	return (const char *)s + parts[i].off;
}

static int save_cpu(struct kvm_cpu *c, struct out *o, struct twx_error *e)
{
	struct kvm_cpu_state *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return twx_error_set(e, ENOMEM, "out of memory");
	err = kvm_cpu_get(c, s, e);
	for (unsigned int i = 0; !err && i < array_size(parts); i++) {
		size_t len;
		const void *data = part_data(s, i, &len);

		put_record(o, RECORD_PART + i, c->id, data, len);
	}
	free(s->xsave);
	free(s);
	return err;
}

static size_t cpuid_len(const struct kvm *k)
{
	return k->cpuid->nent * sizeof(k->cpuid->entries[0]);
}

int kvm_save(struct twx_machine *m, uint8_t **out, size_t *len, struct twx_error *e)
{
	struct kvm *k = m->accel_priv;
	struct out o = { 0 };
	uint32_t head[2] = { STATE_MAGIC, k->n_cpus };
	struct kvm_irqchip chips[3];
	struct kvm_pit_state2 pit;
	int err = kvm_chips_get(k, chips, &pit, e);

	put(&o, head, sizeof(head));
	put_record(&o, RECORD_CPUID, 0, k->cpuid->entries, cpuid_len(k));
	for (unsigned int i = 0; !err && i < k->n_cpus; i++)
		err = save_cpu(&k->cpus[i], &o, e);
	if (!err) {
		put_record(&o, RECORD_CHIPS, 0, chips, sizeof(chips));
		put_record(&o, RECORD_PIT, 0, &pit, sizeof(pit));
		put_record(&o, RECORD_CLOCK, 0, &k->clock, sizeof(k->clock));
	}
	if (!err && o.failed)
		err = twx_error_set(e, ENOMEM, "out of memory");
	if (err) {
		free(o.data);
		return err;
	}
	*out = o.data;
	*len = o.len;
	return 0;
}

/* What is loaded, before any of it is given to the kernel. */
struct loaded {
	struct kvm_cpu_state *cpus[MACHINE_MAX_CPUS];
	struct kvm_irqchip chips[3];
	struct kvm_pit_state2 pit;
	struct kvm_clock_data clock;
};

struct in {
	const uint8_t *data;
	size_t len;
};

static bool take(struct in *in, void *to, size_t len)
{
	if (in->len < len)
		return false;
	memcpy(to, in->data, len);
	in->data += len;
	in->len -= len;
	return true;
}

/* The next record, which has to be this one. */
static bool take_record(struct in *in, uint32_t kind, uint32_t cpu, void *to, size_t len)
{
	struct record r;

	return take(in, &r, sizeof(r)) && r.kind == kind && r.cpu == cpu && r.len == len &&
	       take(in, to, len);
}

static bool take_msrs(struct in *in, struct kvm_cpu_state *s, uint32_t cpu)
{
	struct record r;

	if (!take(in, &r, sizeof(r)) || r.kind != RECORD_PART + PART_MSRS || r.cpu != cpu ||
	    r.len > sizeof(s->msrs) || r.len % sizeof(s->msrs[0]))
		return false;
	s->n_msrs = r.len / sizeof(s->msrs[0]);
	return take(in, s->msrs, r.len);
}

static const char *take_cpu(struct kvm *k, struct in *in, struct kvm_cpu_state *s, uint32_t cpu)
{
	s->xsave_len = k->xsave_len;
	s->xsave = malloc(s->xsave_len);
	if (!s->xsave)
		return "memory for it";
	for (unsigned int i = 0; i < array_size(parts); i++) {
		size_t len;
		void *to = (void *)part_data(s, i, &len);
		bool ok = i == PART_MSRS ? take_msrs(in, s, cpu)
					 : take_record(in, RECORD_PART + i, cpu, to, len);

		if (!ok)
			return parts[i].name;
	}
	return NULL;
}

static int take_head(struct kvm *k, struct in *in, struct twx_error *e)
{
	size_t len = cpuid_len(k);
	uint32_t head[2];
	uint8_t *cpuid;
	int err = 0;

	if (!take(in, head, sizeof(head)) || head[0] != STATE_MAGIC)
		return twx_error_set(e, EINVAL, "it is not a KVM machine's state");
	if (head[1] != k->n_cpus)
		return twx_error_set(e, EINVAL, "it has %u CPUs, and this machine has %u", head[1],
				     k->n_cpus);
	cpuid = malloc(len);
	if (!cpuid)
		return twx_error_set(e, ENOMEM, "out of memory");
	if (!take_record(in, RECORD_CPUID, 0, cpuid, len) || memcmp(cpuid, k->cpuid->entries, len))
		err = twx_error_set(
			e, EINVAL,
			"it was saved on a CPU (or a kernel) with other features than here");
	free(cpuid);
	return err;
}

static int take_all(struct kvm *k, struct in *in, struct loaded *l, struct twx_error *e)
{
	const char *bad = NULL;
	int err = take_head(k, in, e);

	if (err)
		return err;
	for (unsigned int i = 0; !bad && i < k->n_cpus; i++) {
		l->cpus[i] = calloc(1, sizeof(*l->cpus[i]));
		bad = l->cpus[i] ? take_cpu(k, in, l->cpus[i], i) : "memory for it";
	}
	if (!bad && !take_record(in, RECORD_CHIPS, 0, l->chips, sizeof(l->chips)))
		bad = "interrupt controllers";
	if (!bad && !take_record(in, RECORD_PIT, 0, &l->pit, sizeof(l->pit)))
		bad = "PIT";
	if (!bad && !take_record(in, RECORD_CLOCK, 0, &l->clock, sizeof(l->clock)))
		bad = "clock";
	if (!bad && in->len)
		bad = "end";
	return bad ? twx_error_set(e, EINVAL, "its record is not what belongs here: %s", bad) : 0;
}

int kvm_load(struct twx_machine *m, const uint8_t *data, size_t len, struct twx_error *e)
{
	struct kvm *k = m->accel_priv;
	struct in in = { data, len };
	struct loaded *l = calloc(1, sizeof(*l));
	int err;

	if (!l)
		return twx_error_set(e, ENOMEM, "out of memory");
	err = take_all(k, &in, l, e);
	for (unsigned int i = 0; !err && i < k->n_cpus; i++)
		err = kvm_cpu_set(&k->cpus[i], l->cpus[i], e);
	if (!err)
		err = kvm_chips_set(k, l->chips, &l->pit, e);
	if (!err) {
		k->clock = l->clock;
		k->clock_stopped = true;
	}
	for (unsigned int i = 0; i < array_size(l->cpus); i++) {
		if (l->cpus[i])
			free(l->cpus[i]->xsave);
		free(l->cpus[i]);
	}
	free(l);
	return err;
}
