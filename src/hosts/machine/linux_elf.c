/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ELF images by their PVH entry: 32-bit protected mode, paging off, EBX at hvm_start_info.
 *
 * Segments go to their physical addresses, above 1 MiB, and what they have in memory beyond the
 * file is cleared. The entry is in a note of type 18 by "Xen", in one of the note segments. Both
 * classes of ELF do: the kernel changes to long mode by itself.
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/macros.h"
#include "hosts/machine/linux.h"

#define NOTE_PHYS32_ENTRY 18u
#define NOTES_MAX 65536u /* bytes of one note segment that are looked at */
#define PHDRS_MAX 128u
/* Linux on x86 keeps this much and drops the rest without a word. */
#define ELF_CMDLINE_MAX 2047u

#define START_MAGIC 0x336ec578u
struct start_info {
	le32 magic, version, flags, n_modules;
	le64 modules, cmdline, rsdp, memmap;
	le32 n_memmap, reserved;
};
struct start_module {
	le64 addr, len, cmdline, reserved;
};
struct start_range {
	le64 addr, len;
	le32 type, reserved;
};
struct start_all {
	struct start_info info;
	struct start_module initrd;
	struct start_range map[BOOT_MAX_RANGES];
};

/* What of a program header is used, of either class. */
struct segment {
	uint32_t type;
	uint64_t off, addr, file_len, mem_len;
};

struct elf {
	struct twx_machine *m;
	const struct boot_file *f;
	uint64_t phoff;
	unsigned int n, phentsize;
	bool wide;    /* 64-bit class */
	uint64_t end; /* of what was loaded */
	bool has_entry;
	uint32_t entry;
};

bool boot_is_elf(const uint8_t *head, size_t len)
{
	return len >= sizeof(Elf64_Ehdr) && memcmp(head, ELFMAG, SELFMAG) == 0;
}

static uint64_t get(const uint8_t *p, size_t off, unsigned int size)
{
	le64 v = { 0 };

	memcpy(&v, p + off, size);
	return le64_get(v);
}
#define GET(p, type, member) get(p, offsetof(type, member), sizeof(((type *)0)->member))

static const char *machine_name(unsigned int machine)
{
	switch (machine) {
	case EM_AARCH64:
		return "arm64";
	case EM_ARM:
		return "arm";
	case EM_RISCV:
		return "RISC-V";
	case EM_PPC64:
		return "POWER";
	case EM_S390:
		return "s390";
	default:
		return "another kind of machine";
	}
}

static int read_header(struct elf *elf, const uint8_t *head, struct twx_error *e)
{
	unsigned int machine = (unsigned int)GET(head, Elf64_Ehdr, e_machine);
	const char *path = elf->f->path;

	if (head[EI_DATA] == ELFDATA2MSB)
		return twx_error_set(e, ENOEXEC, "kernel %s is for a big-endian machine", path);
	if (machine != EM_X86_64 && machine != EM_386)
		return twx_error_set(e, ENOEXEC, "kernel %s is for %s; this machine is x86-64",
				     path, machine_name(machine));
	elf->wide = head[EI_CLASS] == ELFCLASS64;
	if (elf->wide) {
		elf->phoff = GET(head, Elf64_Ehdr, e_phoff);
		elf->n = (unsigned int)GET(head, Elf64_Ehdr, e_phnum);
		elf->phentsize = (unsigned int)GET(head, Elf64_Ehdr, e_phentsize);
	} else {
		elf->phoff = GET(head, Elf32_Ehdr, e_phoff);
		elf->n = (unsigned int)GET(head, Elf32_Ehdr, e_phnum);
		elf->phentsize = (unsigned int)GET(head, Elf32_Ehdr, e_phentsize);
	}
	if (elf->n == 0)
		return twx_error_set(e, ENOEXEC,
				     "kernel %s is an ELF file without segments: a module "
				     "or an object file?",
				     path);
	if (elf->n > PHDRS_MAX ||
	    elf->phentsize != (elf->wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
		return twx_error_set(e, ENOEXEC, "kernel %s has a malformed ELF header", path);
	return 0;
}

/* Segment @i, with its bytes known to be in the file. */
static int read_segment(const struct elf *elf, unsigned int i, struct segment *s,
			struct twx_error *e)
{
	uint64_t at, len = elf->f->len;
	uint8_t p[sizeof(Elf64_Phdr)];
	int rc;

	if (elf->phoff > len || (uint64_t)elf->n * elf->phentsize > len - elf->phoff)
		return twx_error_set(e, ENOEXEC, "kernel %s is cut short", elf->f->path);
	at = elf->phoff + (uint64_t)i * elf->phentsize;
	rc = boot_read(elf->f, at, p, elf->phentsize, e);
	if (rc < 0)
		return rc;
	if (elf->wide)
		*s = (struct segment){ (uint32_t)GET(p, Elf64_Phdr, p_type),
				       GET(p, Elf64_Phdr, p_offset), GET(p, Elf64_Phdr, p_paddr),
				       GET(p, Elf64_Phdr, p_filesz), GET(p, Elf64_Phdr, p_memsz) };
	else
		*s = (struct segment){ (uint32_t)GET(p, Elf32_Phdr, p_type),
				       GET(p, Elf32_Phdr, p_offset), GET(p, Elf32_Phdr, p_paddr),
				       GET(p, Elf32_Phdr, p_filesz), GET(p, Elf32_Phdr, p_memsz) };
	if (s->type != PT_LOAD && s->type != PT_NOTE)
		return 0;
	if (s->off > len || s->file_len > len - s->off)
		return twx_error_set(e, ENOEXEC, "kernel %s is cut short", elf->f->path);
	return 0;
}

static int load_segment(struct elf *elf, const struct segment *s, struct twx_error *e)
{
	uint64_t end;
	uint8_t *to;
	int rc;

	if (s->mem_len == 0)
		return 0;
	if (__builtin_add_overflow(s->addr, s->mem_len, &end) || s->addr < BOOT_HIGH ||
	    end > MEM_HOLE || s->file_len > s->mem_len)
		return twx_error_set(e, ENOEXEC,
				     "kernel %s has a segment of 0x%llx bytes at 0x%llx, which "
				     "cannot be loaded: it is a program?",
				     elf->f->path, (unsigned long long)s->mem_len,
				     (unsigned long long)s->addr);
	elf->end = max(elf->end, end);
	to = boot_ram(elf->m, s->addr, s->mem_len);
	if (!to)
		return 0; /* said when all of them are known */
	rc = boot_read(elf->f, s->off, to, s->file_len, e);
	if (rc == 0)
		memset(to + s->file_len, 0, s->mem_len - s->file_len);
	return rc;
}

/* Looks for the entry among the notes at @p. */
static void scan_notes(struct elf *elf, const uint8_t *p, uint64_t len)
{
	while (len >= sizeof(Elf64_Nhdr)) {
		uint64_t name = GET(p, Elf64_Nhdr, n_namesz), desc = GET(p, Elf64_Nhdr, n_descsz);
		uint64_t desc_at = sizeof(Elf64_Nhdr) + ((name + 3) & ~3ull);
		uint64_t all = desc_at + ((desc + 3) & ~3ull);

		if (desc_at > len || desc > len - desc_at)
			return;
		if (GET(p, Elf64_Nhdr, n_type) == NOTE_PHYS32_ENTRY && name == 4 && desc >= 4 &&
		    memcmp(p + sizeof(Elf64_Nhdr), "Xen", 4) == 0) {
			elf->has_entry = true;
			elf->entry = (uint32_t)get(p, desc_at, 4);
			return;
		}
		if (all > len)
			return;
		p += all;
		len -= all;
	}
}

static int read_notes(struct elf *elf, const struct segment *s, struct twx_error *e)
{
	uint64_t len = min(s->file_len, (uint64_t)NOTES_MAX);
	uint8_t *p;
	int rc;

	if (elf->has_entry || len == 0)
		return 0;
	p = malloc(len);
	if (!p)
		return twx_error_set(e, ENOMEM, "kernel %s: out of memory", elf->f->path);
	rc = boot_read(elf->f, s->off, p, len, e);
	if (rc == 0)
		scan_notes(elf, p, len);
	free(p);
	return rc;
}

/* Notes first: without an entry the segments need not be looked at. */
static int load_segments(struct elf *elf, struct twx_error *e)
{
	struct segment s;
	int rc = 0;

	for (unsigned int i = 0; i < elf->n && rc == 0; i++) {
		rc = read_segment(elf, i, &s, e);
		if (rc == 0 && s.type == PT_NOTE)
			rc = read_notes(elf, &s, e);
	}
	if (rc == 0 && !elf->has_entry) {
		rc = twx_error_set(e, ENOEXEC,
				   "kernel %s is an ELF image without a PVH entry (a note of type "
				   "18 by Xen)",
				   elf->f->path);
		twx_error_hint(e, "use the bzImage, or build with CONFIG_PVH=y");
	}
	for (unsigned int i = 0; i < elf->n && rc == 0; i++) {
		rc = read_segment(elf, i, &s, e);
		if (rc == 0 && s.type == PT_LOAD)
			rc = load_segment(elf, &s, e);
	}
	if (rc == 0 && elf->end > elf->m->ram_low)
		rc = boot_too_large(elf->m, elf->end, e);
	return rc;
}

static int put_start_info(struct twx_machine *m, const struct boot_extras *x, struct twx_error *e)
{
	struct boot_range r[BOOT_MAX_RANGES];
	unsigned int n = boot_ranges(m, r);
	struct start_all all = {
		.info = { .magic = le32_make(START_MAGIC),
			  .version = le32_make(1),
			  .n_modules = le32_make(x->initrd_len != 0),
			  .cmdline = le64_make(x->cmdline),
			  .rsdp = le64_make(x->rsdp),
			  .memmap = le64_make(BOOT_PVH_INFO + offsetof(struct start_all, map)),
			  .n_memmap = le32_make(n) },
		.initrd = { .addr = le64_make(x->initrd), .len = le64_make(x->initrd_len) },
	};
	void *to = boot_ram(m, BOOT_PVH_INFO, sizeof(all));

	if (!to)
		return boot_too_large(m, BOOT_HIGH, e);
	if (x->initrd_len)
		all.info.modules = le64_make(BOOT_PVH_INFO + offsetof(struct start_all, initrd));
	for (unsigned int i = 0; i < n; i++)
		all.map[i] = (struct start_range){
			le64_make(r[i].addr), le64_make(r[i].len), le32_make(r[i].type), { 0 }
		};
	memcpy(to, &all, sizeof(all));
	return 0;
}

int boot_elf(struct twx_machine *m, const struct boot_file *f, const uint8_t head[BOOT_HEAD],
	     struct machine_entry *entry, struct twx_error *e)
{
	struct elf elf = { .m = m, .f = f };
	struct boot_extras x;
	int rc;

	rc = read_header(&elf, head, e);
	if (rc == 0)
		rc = load_segments(&elf, e);
	if (rc == 0)
		rc = boot_extras(m, elf.end, MEM_HOLE, ELF_CMDLINE_MAX, &x, e);
	if (rc == 0)
		rc = put_start_info(m, &x, e);
	*entry = (struct machine_entry){ .rip = elf.entry, .rbx = BOOT_PVH_INFO };
	return rc;
}
