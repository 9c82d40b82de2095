/* SPDX-License-Identifier: BSD-3-Clause */
/* Who runs the CPUs of `twinax vm`. */
#ifndef CLI_VM_ACCEL_H
#define CLI_VM_ACCEL_H

#include "cli/vm_args.h"

struct vm_choice {
	enum vm_accel accel;
	char *binary; /* of VM_QEMU */
	bool kvm;     /* that QEMU has it */
};

const char *vm_accel_name(enum vm_accel accel);
/* The first of those asked for that works here; says which and why where nobody asked for just one.
 * 0, or 1 after an error message. */
int vm_choose(struct vm_choice *c, const struct vm_args *a);
void vm_choice_free(struct vm_choice *c);
/* QEMU's exit status. */
int vm_run_qemu(const struct vm_choice *c, const struct vm_args *a);

#endif
