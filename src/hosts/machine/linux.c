/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A kernel, its initrd and its command line in the memory of a machine without firmware.
 *
 * There is nothing between power-on and the kernel: what firmware would have found out is written
 * to memory here, and CPU 0 begins in the kernel. Two kinds of image:
 *
 *   bzImage   linux_bzimage.c: the 64-bit boot protocol (Linux, Documentation/arch/x86/boot.rst)
 *   ELF       linux_elf.c: the PVH entry (Xen, docs/misc/pvh.pandoc and public/arch-x86/hvm/
 *             start_info.h), which Linux, FreeBSD and others have in their uncompressed image
 *
 * Memory, from below: what the kernel is told (places in linux.h), ACPI tables at 896 KiB, the
 * kernel at the place that it asks for (16 MiB as a rule), the initrd as high as the kernel can
 * reach it, below the hole. A reset loads everything from the files again, since a kernel writes
 * into itself; the files must therefore stay where they are.
 *
 * Files are read with their length checked before; nothing in them sizes an allocation. Of an image
 * that is none of the two kinds it is said what it looks like.
 */
#include "hosts/machine/linux.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/macros.h"

#define MIB (1ull << 20)

unsigned int boot_ranges(const struct twx_machine *m, struct boot_range out[BOOT_MAX_RANGES])
{
	unsigned int n = 0;

	out[n++] = (struct boot_range){ 0, BOOT_EBDA, BOOT_RAM };
	out[n++] = (struct boot_range){ BOOT_EBDA, 0xa0000 - BOOT_EBDA, BOOT_RESERVED };
	out[n++] = (struct boot_range){ ACPI_BASE, ACPI_END - ACPI_BASE, BOOT_ACPI };
	if (m->ram_low > BOOT_HIGH)
		out[n++] = (struct boot_range){ BOOT_HIGH, m->ram_low - BOOT_HIGH, BOOT_RAM };
	out[n++] = (struct boot_range){ ECAM_BASE, 256 * MIB, BOOT_RESERVED };
	/* The interrupt controllers, and the pages that KVM keeps for itself. */
	out[n++] = (struct boot_range){ IOAPIC_ADDR, MEM_HIGH - IOAPIC_ADDR, BOOT_RESERVED };
	if (m->ram_high)
		out[n++] = (struct boot_range){ MEM_HIGH, m->ram_high, BOOT_RAM };
	return n;
}

/* Files */

static int file_error(const struct boot_file *f, const char *doing, int err, struct twx_error *e)
{
	return twx_error_set(e, err, "%s %s: cannot %s it: %s", f->what, f->path, doing,
			     strerror(err));
}

static int file_open(struct twx_machine *m, struct boot_file *f, struct twx_error *e)
{
	struct stat st;

	/* Not to wait for the other end of a pipe. */
	f->fd = hostops_open(machine_hostops(m), f->path, O_RDONLY | O_NONBLOCK, 0);
	if (f->fd < 0)
		return file_error(f, "open", -f->fd, e);
	if (fstat(f->fd, &st) == 0 && S_ISREG(st.st_mode)) {
		f->len = (uint64_t)st.st_size;
		return 0;
	}
	close(f->fd);
	return twx_error_set(e, EINVAL,
			     S_ISDIR(st.st_mode) ? "%s %s is a directory, not a file"
						 : "%s %s is not a regular file",
			     f->what, f->path);
}

int boot_read(const struct boot_file *f, uint64_t off, void *buf, uint64_t len, struct twx_error *e)
{
	uint8_t *to = buf;
	ssize_t n;

	while (len) {
		n = pread(f->fd, to, len, (off_t)off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return file_error(f, "read", errno, e);
		if (n == 0)
			return twx_error_set(e, EIO, "%s %s became shorter while it was read",
					     f->what, f->path);
		to += n;
		off += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

void *boot_ram(struct twx_machine *m, uint64_t addr, uint64_t len)
{
	void *p = mem_ptr(m->ram, (gpa){ addr }, len);

	if (p)
		mem_dirty(m->ram, p, len);
	return p;
}

/* Memory */

static uint64_t to_mib(uint64_t bytes)
{
	return (bytes + MIB - 1) / MIB;
}

int boot_too_large(struct twx_machine *m, uint64_t end, struct twx_error *e)
{
	struct boot_file f = { .what = "initrd", .path = m->initrd };
	uint64_t need = end;

	if (m->initrd && file_open(m, &f, NULL) == 0) {
		need = (need + f.len + 4095) & ~4095ull;
		close(f.fd);
	}
	twx_error_set(e, ENOMEM,
		      "kernel %s%s%s need%s %llu MiB of memory, and the machine has %llu MiB",
		      m->kernel, m->initrd ? " and initrd " : "", m->initrd ? m->initrd : "",
		      m->initrd ? "" : "s", (unsigned long long)to_mib(need),
		      (unsigned long long)((m->ram_low + m->ram_high) / MIB));
	if (need > MEM_HOLE)
		return twx_error_hint(e, "they must fit below the hole at 3 GiB: use smaller ones"),
		       -ENOMEM;
	twx_error_hint(e, "use -m %llu or more; what runs in the guest needs memory, too",
		       (unsigned long long)to_mib(need));
	return -ENOMEM;
}

static int load_initrd(struct twx_machine *m, uint64_t kernel_end, uint64_t limit,
		       struct boot_extras *x, struct twx_error *e)
{
	struct boot_file f = { .what = "initrd", .path = m->initrd };
	uint64_t top = min(limit, m->ram_low) & ~4095ull;
	void *to = NULL;
	int rc;

	rc = file_open(m, &f, e);
	if (rc < 0)
		return rc;
	if (f.len == 0) {
		rc = twx_error_set(e, EINVAL, "initrd %s is empty", f.path);
	} else if (kernel_end < top && f.len <= top - kernel_end) {
		x->initrd = (top - f.len) & ~4095ull;
		x->initrd_len = f.len;
		if (x->initrd >= kernel_end)
			to = boot_ram(m, x->initrd, f.len);
	}
	if (rc == 0)
		rc = to ? boot_read(&f, 0, to, f.len, e) : boot_too_large(m, kernel_end, e);
	close(f.fd);
	return rc;
}

static int load_cmdline(struct twx_machine *m, uint64_t max, struct boot_extras *x,
			struct twx_error *e)
{
	const char *text = m->append ? m->append : "";
	size_t len = strlen(text);
	char *to;

	max = min(max, (uint64_t)BOOT_CMDLINE_MAX - 1);
	if (len > max)
		return twx_error_set(e, E2BIG,
				     "the command line has %zu bytes, and this kernel takes %llu",
				     len, (unsigned long long)max);
	to = boot_ram(m, BOOT_CMDLINE, len + 1);
	if (!to)
		return boot_too_large(m, BOOT_HIGH, e);
	memcpy(to, text, len + 1);
	x->cmdline = BOOT_CMDLINE;
	x->cmdline_len = len;
	return 0;
}

int boot_extras(struct twx_machine *m, uint64_t kernel_end, uint64_t limit, uint64_t cmdline_max,
		struct boot_extras *x, struct twx_error *e)
{
	int rc;

	*x = (struct boot_extras){ 0 };
	rc = load_cmdline(m, cmdline_max, x, e);
	if (rc == 0 && m->initrd)
		rc = load_initrd(m, kernel_end, limit, x, e);
	if (rc == 0)
		rc = acpi_build(m, &x->rsdp, e);
	return rc;
}

/* What people take for a kernel. */
static const struct {
	uint16_t off;
	uint8_t len;
	const char *bytes;
	const char *is;
} looks[] = {
	{ 0x38, 4, "ARM\x64", "an arm64 kernel; this machine is x86-64" },
	{ 0x30, 5, "RISCV", "a RISC-V kernel; this machine is x86-64" },
	{ 0, 2, "\x1f\x8b", "compressed by gzip; unpack it first" },
	{ 0, 6,
	  "\xfd"
	  "7zXZ",
	  "compressed by xz; unpack it first" },
	{ 0, 4, "\x28\xb5\x2f\xfd", "compressed by zstd; unpack it first" },
	{ 0, 3, "BZh", "compressed by bzip2; unpack it first" },
	{ 0, 5, "07070", "a cpio archive: an initrd?" },
	{ 0, 4, "\x27\x05\x19\x56", "a U-Boot image" },
	{ 0, 4, "QFI\xfb", "a qcow2 disk image; there are no disks here" },
	{ 0, 2, "#!", "a script" },
	{ 0, 2, "MZ", "a program for EFI or Windows" },
};

static int not_a_kernel(const struct boot_file *f, const uint8_t head[BOOT_HEAD],
			struct twx_error *e)
{
	size_t len = min(f->len, (uint64_t)BOOT_HEAD);
	const char *is = NULL;

	for (unsigned int i = 0; i < array_size(looks) && !is; i++)
		if ((size_t)looks[i].off + looks[i].len <= len &&
		    memcmp(head + looks[i].off, looks[i].bytes, looks[i].len) == 0)
			is = looks[i].is;
	twx_error_set(e, ENOEXEC, "kernel %s is neither a bzImage nor an ELF image%s%s", f->path,
		      is ? ": it is " : "", is ? is : (f->len ? "" : ": it is empty"));
	twx_error_hint(e, "distributions keep theirs as /boot/vmlinuz-VERSION");
	return -ENOEXEC;
}

int boot_load(struct twx_machine *m, struct machine_entry *entry, struct twx_error *e)
{
	struct boot_file f = { .what = "kernel", .path = m->kernel };
	uint8_t head[BOOT_HEAD] = { 0 };
	size_t len;
	int rc;

	rc = file_open(m, &f, e);
	if (rc < 0)
		return rc;
	len = min(f.len, (uint64_t)sizeof(head));
	rc = boot_read(&f, 0, head, len, e);
	if (rc < 0)
		goto out;
	if (m->ram_low < 2 * BOOT_HIGH)
		rc = boot_too_large(m, 2 * BOOT_HIGH, e);
	else if (boot_is_bzimage(head, len))
		rc = boot_bzimage(m, &f, head, entry, e);
	else if (boot_is_elf(head, len))
		rc = boot_elf(m, &f, head, entry, e);
	else
		rc = not_a_kernel(&f, head, e);
out:
	close(f.fd);
	return rc;
}
