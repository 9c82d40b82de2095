/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who runs the CPUs of `twinax vm`: KVM, a QEMU, or a client of the qtest protocol.
 *
 * By default that is KVM where it can run a stock kernel, which twx_machine_probe() finds out in
 * some milliseconds, and else a QEMU, the newest that the search path has. A KVM that was asked for
 * is used without questions: what it cannot run may be good enough for a small guest.
 */
#include "cli/vm_accel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <twinax/machine.h>

#include "base/macros.h"
#include "cli/alloc.h"
#include "cli/cli.h"
#include "cli/qemu_probe.h"

#define QEMU_NAME "qemu-system-x86_64"
#define QEMU_VARIABLE "TWINAX_QEMU"

const char *vm_accel_name(enum vm_accel accel)
{
	static const char *const names[] = {
		[VM_KVM] = "kvm", [VM_QEMU] = "qemu", [VM_QTEST] = "qtest"
	};

	return names[accel];
}

/* Version of the QEMU at @path, as one number; 0: it cannot be run. */
static int version_of(const char *path)
{
	char *words[] = { (char *)path, NULL };
	struct qemu_args args = { .words = words, .n_command = 1 };
	struct qemu_facts facts = { 0 };

	if (access(path, X_OK) || qemu_probe_version(&args, &facts, NULL))
		return 0;
	return 1 + facts.major * 100 + facts.minor;
}

/* The newest in the search path; null: none. */
static char *find_qemu(void)
{
	const char *path = getenv("PATH"), *end;
	char *newest = NULL, *file;
	int best = 0, version;

	for (; path && *path; path = *end ? end + 1 : end) {
		end = strchrnul(path, ':');
		file = cli_printf("%.*s/" QEMU_NAME, (int)(end - path), path);
		version = version_of(file);
		if (version > best) {
			best = version;
			free(newest);
			newest = file;
		} else {
			free(file);
		}
	}
	return newest;
}

static int try_qemu(struct vm_choice *c, const struct vm_args *a, struct twx_error *e)
{
	const char *named = a->binary ? a->binary : getenv(QEMU_VARIABLE);

	c->binary = named && *named ? cli_strdup(named) : find_qemu();
	if (c->binary)
		return 0;
	twx_error_set(e, ENOENT, "there is no " QEMU_NAME " in the search path");
	return twx_error_hint(e, "install qemu-system-x86, or name it: -accel qemu,binary=PATH");
}

/* @last: there is nobody else to try. */
static int try_accel(struct vm_choice *c, const struct vm_args *a, enum vm_accel accel, bool last,
		     struct twx_error *e)
{
	if (accel == VM_QTEST || (accel == VM_KVM && last))
		return 0;
	return accel == VM_KVM ? twx_machine_probe("kvm", e) : try_qemu(c, a, e);
}

/* What goes with one accelerator alone. */
static int check_choice(const struct vm_choice *c, const struct vm_args *a)
{
	if (c->accel == VM_KVM && !a->kernel && !a->load)
		return cli_fail_text("vm",
				     "add -kernel bzImage; a disk or the network is booted by "
				     "QEMU, with our NICs: twinax help qemu",
				     "there is no -kernel, and this machine has no firmware that "
				     "would look for one elsewhere");
	if (c->accel == VM_QEMU && a->load)
		return cli_fail_text("vm", "leave it to -accel kvm",
				     "-loadvm %s: what `save` has written is loaded by the machine "
				     "that wrote it, not by QEMU",
				     a->load);
	return 0;
}

int vm_choose(struct vm_choice *c, const struct vm_args *a)
{
	static const enum vm_accel by_default[] = { VM_KVM, VM_QEMU };
	const enum vm_accel *list = a->n_accels ? a->accels : by_default;
	const size_t n = a->n_accels ? a->n_accels : array_size(by_default);
	struct twx_error why = { 0 }, e = { 0 };
	size_t i;

	*c = (struct vm_choice){ 0 };
	for (i = 0; i < n; i++) {
		e = (struct twx_error){ 0 };
		if (!try_accel(c, a, list[i], n == 1, &e))
			break;
		if (!why.code)
			why = e;
	}
	if (i == n) {
		if (n > 1)
			twx_error_prefix(&why, "no accelerator works: ");
		return cli_fail("vm", &why);
	}
	c->accel = list[i];
	c->kvm = c->accel == VM_QEMU && !a->tcg && !twx_machine_probe("kvm", NULL);
	if (check_choice(c, a))
		return 1;
	if (n > 1)
		fprintf(stderr, "twinax: -accel %s%s%s: %s\n", vm_accel_name(c->accel),
			c->binary ? ",binary=" : "", c->binary ? c->binary : "",
			why.code ? why.what : "KVM runs a stock kernel here");
	return 0;
}

void vm_choice_free(struct vm_choice *c)
{
	free(c->binary);
}

int vm_run_qemu(const struct vm_choice *c, const struct vm_args *a)
{
	struct qemu_launch l;
	int status;

	vm_qemu_words(a, c->binary, c->kvm, &l);
	status = cli_run_qemu((int)l.argc, l.argv);
	qemu_launch_free(&l);
	return status;
}
