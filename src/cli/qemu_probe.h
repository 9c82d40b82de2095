/* SPDX-License-Identifier: BSD-3-Clause */
/* What a QEMU is asked before it is started. */
#ifndef CLI_QEMU_PROBE_H
#define CLI_QEMU_PROBE_H

#include "cli/qemu_plan.h"

/* Version and KVM. 0, or -errno if QEMU cannot be run. */
int qemu_probe_version(const struct qemu_args *args, struct qemu_facts *f, struct twx_error *e);
/* Whether it has vfio-user-pci; after the version. */
void qemu_probe_vfio_user(const struct qemu_args *args, struct qemu_facts *f);

#endif
