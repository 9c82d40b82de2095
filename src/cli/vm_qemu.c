/* SPDX-License-Identifier: BSD-3-Clause */
/* The machine of `twinax vm` as the command line of a QEMU, for `twinax qemu` to run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "cli/alloc.h"
#include "cli/vm_args.h"

static void put(struct qemu_launch *l, const char *option, const char *value)
{
	if (!value)
		return;
	qemu_launch_add(l, option);
	qemu_launch_add(l, value);
}

static void put_flag(struct qemu_launch *l, const char *option, bool given)
{
	if (given)
		qemu_launch_add(l, option);
}

/* Takes @value. */
static void put_take(struct qemu_launch *l, const char *option, char *value)
{
	put(l, option, value);
	free(value);
}

static void put_name(struct qemu_launch *l, const struct vm_args *a)
{
	struct kv *kv = kv_new("guest");

	if (a->name)
		kv_set(kv, "guest", a->name);
	if (a->process)
		kv_set(kv, "process", a->process);
	if (kv->n)
		put_take(l, "-name", kv_text(kv));
	kv_free(kv);
}

static bool is_given(const struct vm_args *a, const char *option)
{
	size_t i;

	for (i = 0; i < a->args.n; i++)
		if (qemu_token_is(&a->args.tokens[i], option))
			return true;
	return false;
}

static void move_properties(struct kv *to, const char *value)
{
	static const char *const ours[] = { "type", "accel", "kernel-irqchip", "kernel_irqchip" };
	struct kv *from;
	size_t i, k;

	if (kv_parse(&from, value, "type", NULL))
		return;
	for (i = 0; i < from->n; i++) {
		const struct kv_pair *p = &from->pairs[i];

		for (k = 0; k < array_size(ours) && strcmp(p->key, ours[k]); k++)
			;
		/* "auto" is the default, also of a QEMU that does not know the word. */
		if (k == array_size(ours) && strcmp(p->value, "auto"))
			kv_set(to, p->key, p->value);
	}
	kv_free(from);
}

/* What our machine has anyway may have to be asked of QEMU's: hpet=off. */
static void put_machine_type(struct qemu_launch *l, const struct vm_args *a)
{
	struct kv *kv = kv_new("type");
	size_t i;

	/* Root ports are PCI Express. */
	kv_set(kv, "type", a->machine ? a->machine : a->root_ports ? "q35" : "pc");
	for (i = 0; i < a->args.n; i++)
		if (qemu_token_is(&a->args.tokens[i], "machine"))
			move_properties(kv, a->args.tokens[i].value);
	if (is_given(a, "no-hpet"))
		kv_set(kv, "hpet", "off");
	put_take(l, "-machine", kv_text(kv));
	kv_free(kv);
}

static void put_cpus(struct qemu_launch *l, const struct vm_args *a)
{
	const char *smp = NULL;
	size_t i;

	for (i = 0; i < a->args.n; i++)
		if (qemu_token_is(&a->args.tokens[i], "smp"))
			smp = a->args.tokens[i].value;
	put(l, "-smp", smp ? smp : "1");
}

static void put_machine(struct qemu_launch *l, const struct vm_args *a, bool kvm)
{
	put(l, "-accel", kvm ? "kvm" : "tcg");
	put_machine_type(l, a);
	/* Without KVM there is no host's CPU, and "max" is as near as it gets. */
	if (kvm || is_given(a, "cpu"))
		put(l, "-cpu", kvm ? "host" : "max");
	if (a->memory)
		put_take(l, "-m",
			 cli_printf("%lluk", (unsigned long long)((a->memory + 1023) / 1024)));
	put_cpus(l, a);
	put(l, "-kernel", a->kernel);
	put(l, "-initrd", a->initrd);
	put(l, "-append", a->append);
	put_name(l, a);
}

/* A control socket is a server that waits for nobody, unless it says otherwise. */
static void put_server(struct qemu_launch *l, const char *option, const char *text)
{
	put_take(l, option,
		 cli_printf("%s%s%s", text, strstr(text, ",server") ? "" : ",server=on",
			    strstr(text, ",wait") || strstr(text, ",server=off") ? ""
										 : ",wait=off"));
}

/* As they were given: a -mon's chardev is QEMU's there, and has its socket already. */
static void put_controls(struct qemu_launch *l, const struct vm_args *a)
{
	size_t i;

	for (i = 0; i < a->args.n; i++) {
		const struct qemu_token *t = &a->args.tokens[i];

		if (qemu_token_is(t, "qmp"))
			put_server(l, "-qmp", t->value);
		else if (qemu_token_is(t, "mon"))
			put(l, "-mon", t->value);
	}
}

/* QEMU's console has the keys that ours has, with its monitor behind Ctrl-A c. */
static void put_serials(struct qemu_launch *l, const struct vm_args *a)
{
	unsigned int i;

	for (i = 0; i < a->n_serials; i++) {
		const struct vm_serial *s = &a->serial[i];

		if (s->kind == VM_SERIAL_CHARDEV)
			put_take(l, "-serial", cli_printf("chardev:%s", s->id));
		else
			put(l, "-serial", s->kind == VM_SERIAL_STDIO ? "mon:stdio" : "none");
	}
	if (a->monitor == VM_MONITOR_SOCKET)
		put_server(l, "-monitor", a->monitor_socket);
	else if (a->monitor == VM_MONITOR_STDIO)
		put(l, "-monitor", "stdio");
	if (a->escape != 1)
		put_take(l, "-echr", cli_printf("%d", a->escape));
}

void vm_qemu_words(const struct vm_args *a, const char *binary, bool kvm, struct qemu_launch *out)
{
	size_t i;

	*out = (struct qemu_launch){ 0 };
	qemu_launch_add(out, binary);
	qemu_launch_add(out, "-nodefaults");
	put(out, "-display", "none");
	put_machine(out, a, kvm);
	for (i = 0; i < a->n_items; i++) {
		char *option = cli_printf("-%s", session_option[a->items[i].kind]);

		if (a->items[i].kind != SESSION_QMP)
			put(out, option, a->items[i].text);
		free(option);
	}
	put_controls(out, a);
	put_serials(out, a);
	put_flag(out, "-S", a->hold);
	put_flag(out, "-no-reboot", a->no_reboot);
	put_flag(out, "-no-shutdown", a->no_shutdown);
	put_flag(out, "-daemonize", a->daemonize);
	put(out, "-pidfile", a->pidfile);
}
