/* SPDX-License-Identifier: BSD-3-Clause */
/* A bzImage's compressed kernel, unpacked once and kept. */
#ifndef HOSTS_MACHINE_LINUX_UNPACK_H
#define HOSTS_MACHINE_LINUX_UNPACK_H

#include "hosts/machine/linux.h"

/*
 * [@off, @off + @len) of @f is the payload of the setup header. *@out is the file in the machine's
 * cache that has it unpacked, open for reading; it is made if it is not there. 0; -ENOTSUP: without
 * a cache, or a kind of compression that nobody here knows; or what went wrong. The caller unpacks
 * by other means then: this never spoils a start.
 */
int unpack_payload(struct twx_machine *m, const struct boot_file *f, uint64_t off, uint64_t len,
		   struct boot_file *out);

#endif
