/* SPDX-License-Identifier: BSD-3-Clause */
/* What the loaders of kernels share: files, places in memory, the map of memory. */
#ifndef HOSTS_MACHINE_LINUX_H
#define HOSTS_MACHINE_LINUX_H

#include "hosts/machine/machine.h"

/* Places below 640 KiB that hold what the kernel is told; all of it is copied by it early. */
#define BOOT_PVH_INFO 0x6000ull	   /* hvm_start_info, its module and its memory map */
#define BOOT_PARAMS 0x7000ull	   /* the "zero page" */
#define BOOT_SEED 0x8000ull	   /* randomness for the kernel */
#define BOOT_PAGE_TABLES 0x9000ull /* six pages */
#define BOOT_CMDLINE 0x20000ull
#define BOOT_CMDLINE_MAX 0x10000u
#define BOOT_EBDA 0x9fc00ull
#define BOOT_HIGH 0x100000ull /* kernels and initrds lie here and above */

/* Of ACPI tables: RSDP and what it leads to, where a kernel without our hint looks, too. */
#define ACPI_BASE 0xe0000ull
#define ACPI_END 0x100000ull

enum boot_range_type { BOOT_RAM = 1, BOOT_RESERVED = 2, BOOT_ACPI = 3 }; /* as E820 has them */
struct boot_range {
	uint64_t addr, len;
	enum boot_range_type type;
};
#define BOOT_MAX_RANGES 8u
/* How the guest sees memory; sorted; how many. */
unsigned int boot_ranges(const struct twx_machine *m, struct boot_range out[BOOT_MAX_RANGES]);

struct boot_file {
	const char *what, *path; /* "kernel" or "initrd", for messages */
	int fd;
	uint64_t len;
};

/* All of [@off, @off + @len) of the file, or -errno with a sentence. */
int boot_read(const struct boot_file *f, uint64_t off, void *buf, uint64_t len,
	      struct twx_error *e);
/* RAM at [@addr, @addr + @len) to be written, or null; marked dirty. */
void *boot_ram(struct twx_machine *m, uint64_t addr, uint64_t len);

/* The initrd and the command line in memory; zeros when there are none. */
struct boot_extras {
	uint64_t initrd, initrd_len;
	uint64_t cmdline, cmdline_len; /* without the final 0 */
	uint64_t rsdp;
};

/*
 * The initrd ends below @limit, as high as possible, and begins at @kernel_end or above; the
 * command line has at most @cmdline_max bytes.
 */
int boot_extras(struct twx_machine *m, uint64_t kernel_end, uint64_t limit, uint64_t cmdline_max,
		struct boot_extras *x, struct twx_error *e);

/* "kernel K needs ... of memory": memory up to @end, plus the initrd, is missing. */
int boot_too_large(struct twx_machine *m, uint64_t end, struct twx_error *e);

/*
 * An unpacked kernel, an ELF image of Linux, loaded with physical address @from at @to, @room bytes
 * at most; *@entry is its 64-bit entry. With @random its virtual place is moved by a multiple of
 * @align, if it has the table for that; *@moved says so. 0 or -errno: it is not what it should be.
 */
struct boot_direct {
	uint64_t from, to, room, align;
	bool random;
	bool moved;
	uint64_t entry;
};
int boot_direct(struct twx_machine *m, const struct boot_file *f, struct boot_direct *d);

/* Whether the file's first @len bytes are of the kind; and the loaders. */
bool boot_is_bzimage(const uint8_t *head, size_t len);
bool boot_is_elf(const uint8_t *head, size_t len);
#define BOOT_HEAD 4096u
int boot_bzimage(struct twx_machine *m, const struct boot_file *f, const uint8_t head[BOOT_HEAD],
		 struct machine_entry *entry, struct twx_error *e);
int boot_elf(struct twx_machine *m, const struct boot_file *f, const uint8_t head[BOOT_HEAD],
	     struct machine_entry *entry, struct twx_error *e);

#endif
