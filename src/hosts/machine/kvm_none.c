/* SPDX-License-Identifier: BSD-3-Clause */
/* The KVM accelerator where there is none: the machine is a PC, and its CPUs are x86-64. */
#include <errno.h>
#include <string.h>

#include "hosts/machine/machine.h"

static int none_open(struct twx_machine *m, struct twx_error *e)
{
	(void)m;
	twx_error_set(e, ENOTSUP, "KVM: this processor is not an x86-64 one");
	return twx_error_hint(e, "use -accel qemu");
}

static void none_close(struct twx_machine *m)
{
	(void)m;
}

const struct accel accel_kvm = { .name = "kvm", .open = none_open, .close = none_close };

int kvm_probe(struct twx_error *e)
{
	return none_open(NULL, e);
}
