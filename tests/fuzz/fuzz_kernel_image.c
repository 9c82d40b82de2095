/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any file as a kernel: byte 0 picks the size of memory and whether there is an initrd, or that the
 * rest is not an image but what one had packed. What is taken must begin in memory, with what it is
 * told in memory, too.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../unit/board_kit.h"
#include "fuzz.h"
#include "hosts/machine/linux.h"

#define MIB (1ull << 20)

static struct board boards[4];
static char initrd[32], kernel[32];
static int fd = -1;

static void set_up(void)
{
	static const uint64_t low[4] = { 1 * MIB, 4 * MIB, 20 * MIB, 40 * MIB };
	int other = memfd_create("initrd", 0);

	for (unsigned int i = 0; i < 4; i++)
		if (board_kit_open(&boards[i], low[i], i == 3 ? MIB : 0) < 0 ||
		    board_serial(&boards[i].m, 0, NULL, NULL) < 0)
			abort();
	fd = memfd_create("kernel", 0);
	if (fd < 0 || other < 0 || ftruncate(other, 70000) < 0)
		abort();
	snprintf(kernel, sizeof(kernel), "/proc/self/fd/%d", fd);
	snprintf(initrd, sizeof(initrd), "/proc/self/fd/%d", other);
}

static void unpacked(struct twx_machine *m, uint64_t len, bool started)
{
	struct boot_file f = { .what = "unpacked kernel", .path = "x", .fd = fd, .len = len };
	struct boot_direct d = {
		.from = 16 * MIB, .to = 2 * MIB, .room = 1 * MIB, .align = 2 * MIB, .random = true
	};

	m->started = started;
	if (boot_direct(m, &f, &d) == 0)
		assert(d.entry >= d.to && d.entry - d.to < d.room);
	m->started = false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct machine_entry entry = { 0 };
	struct twx_error e = { 0 };
	struct twx_machine *m;
	int rc;

	if (fd < 0)
		set_up();
	if (size < 1 || ftruncate(fd, 0) < 0 ||
	    pwrite(fd, data + 1, size - 1, 0) != (ssize_t)size - 1)
		return 0;
	m = &boards[data[0] & 3].m;
	if (data[0] & 16) {
		unpacked(m, size - 1, data[0] & 32);
		return 0;
	}
	m->kernel = kernel;
	m->initrd = data[0] & 4 ? initrd : NULL;
	m->append = (char *)(data[0] & 8 ? "console=ttyS0 quiet" : NULL);
	rc = boot_load(m, &entry, &e);
	assert(rc == 0 || (e.code == -rc && e.what[0]));
	if (rc == 0 && entry.long_mode) {
		assert(mem_ptr(m->ram, (gpa){ entry.rip }, 1));
		assert(mem_ptr(m->ram, (gpa){ entry.rsi }, 4096));
		assert(mem_ptr(m->ram, (gpa){ entry.cr3 }, 6 * 4096));
	} else if (rc == 0) {
		assert(mem_ptr(m->ram, (gpa){ entry.rbx }, 56));
	}
	m->kernel = m->initrd = m->append = NULL;
	return 0;
}
