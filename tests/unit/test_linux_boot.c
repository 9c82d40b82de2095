/* SPDX-License-Identifier: BSD-3-Clause */
/* Kernels put into memory: what a kernel finds when it starts, and what people pass for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/endian.h"
#include "board_kit.h"
#include "hosts/machine/linux.h"

#define MIB (1ull << 20)

static struct board b;
static char dir[] = "/tmp/boot.XXXXXX";
static char path_kernel[64], path_initrd[64];
static struct twx_error err;
static struct machine_entry entry;

static void open_board(uint64_t low, uint64_t high)
{
	assert_int_equal(board_kit_open(&b, low, high), 0);
	b.m.kernel = strdup(path_kernel);
	memset(&err, 0, sizeof(err));
	memset(&entry, 0, sizeof(entry));
}

static int teardown(void **state)
{
	board_kit_close(&b);
	return 0;
}

static int group_setup(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	snprintf(path_kernel, sizeof(path_kernel), "%s/kernel", dir);
	snprintf(path_initrd, sizeof(path_initrd), "%s/initrd", dir);
	return 0;
}

static int group_teardown(void **state)
{
	unlink(path_kernel);
	unlink(path_initrd);
	return rmdir(dir);
}

static void write_file(const char *path, const void *data, size_t len)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static void write_initrd(size_t len, uint8_t fill)
{
	uint8_t *p = malloc(len);

	memset(p, fill, len);
	write_file(path_initrd, p, len);
	free(p);
	b.m.initrd = strdup(path_initrd);
}

static uint64_t le(const uint8_t *p, unsigned int size)
{
	le64 v = { 0 };

	memcpy(&v, p, size);
	return le64_get(v);
}

static void put(uint8_t *p, uint64_t value, unsigned int size)
{
	le64 v = le64_make(value);

	memcpy(p, &v, size);
}

static uint8_t *at(uint64_t addr, uint64_t len)
{
	uint8_t *p = mem_ptr(&b.ram, (gpa){ addr }, len);

	assert_non_null(p);
	return p;
}

/* A bzImage of one setup sector more than the boot sector, and 64 KiB of "code". */
#define CODE_LEN 65536u
#define SETUP_LEN 1024u
static uint8_t image[SETUP_LEN + CODE_LEN];

static void make_bzimage(void)
{
	memset(image, 0, SETUP_LEN);
	for (unsigned int i = 0; i < CODE_LEN; i++)
		image[SETUP_LEN + i] = (uint8_t)(i * 7 + (i >> 8));
	image[0x1f1] = 1; /* setup_sects */
	put(image + 0x1fe, 0xaa55, 2);
	image[0x201] = 0x6a; /* the header ends at 0x26c */
	memcpy(image + 0x202, "HdrS", 4);
	put(image + 0x206, 0x20f, 2);
	image[0x211] = 1; /* LOADED_HIGH */
	put(image + 0x22c, 0x7fffffff, 4);
	put(image + 0x230, 0x200000, 4); /* kernel_alignment */
	image[0x234] = 1;		 /* relocatable */
	put(image + 0x236, 1, 2);	 /* XLF_KERNEL_64 */
	put(image + 0x238, 2047, 4);	 /* cmdline_size */
	put(image + 0x258, 16 * MIB, 8);
	put(image + 0x260, 8 * MIB, 4); /* init_size */
}

static void write_bzimage(void)
{
	write_file(path_kernel, image, sizeof(image));
}

static int load(void)
{
	return boot_load(&b.m, &entry, &err);
}

static void must_load(void)
{
	if (load() != 0)
		fail_msg("%s", err.what);
}

static void must_fail(int code, const char *part)
{
	assert_int_equal(load(), -code);
	assert_int_equal(err.code, code);
	if (!strstr(err.what, part))
		fail_msg("'%s' is not in '%s'", part, err.what);
}

/* The physical address that the page tables at @cr3 lead @virt to, or all ones. */
static uint64_t walk(uint64_t cr3, uint64_t virt)
{
	uint64_t table = cr3, e;

	for (int shift = 39; shift >= 21; shift -= 9) {
		e = le(at(table, 4096) + (virt >> shift & 511) * 8, 8);
		if (!(e & 1))
			return UINT64_MAX;
		if (shift < 39 && (e & 0x80))
			return (e & ~((1ull << shift) - 1) & ((1ull << 52) - 1)) |
			       (virt & ((1ull << shift) - 1));
		table = e & 0xffffffffff000ull;
	}
	return UINT64_MAX;
}

static void test_bzimage(void **state)
{
	const uint8_t *bp;

	make_bzimage();
	write_bzimage();
	open_board(64 * MIB, 0);
	b.m.append = strdup("console=ttyS0 quiet");
	write_initrd(5000, 0x77);
	must_load();
	assert_true(entry.long_mode);
	assert_int_equal(entry.rip, 16 * MIB + 0x200);
	assert_memory_equal(at(16 * MIB, CODE_LEN), image + SETUP_LEN, CODE_LEN);
	bp = at(entry.rsi, 4096);
	assert_int_equal(le(bp + 0x1fe, 2), 0xaa55);
	assert_memory_equal(bp + 0x202, "HdrS", 4);
	assert_int_equal(bp[0x210], 0xff);
	assert_string_equal((const char *)at(le(bp + 0x228, 4), 32), "console=ttyS0 quiet");
	/* The initrd: whole pages below the end of memory. */
	assert_int_equal(le(bp + 0x218, 4), 64 * MIB - 8192);
	assert_int_equal(le(bp + 0x21c, 4), 5000);
	assert_int_equal(*at(64 * MIB - 8192, 1), 0x77);
	assert_int_equal(*at(64 * MIB - 8192 + 4999, 1), 0x77);
	assert_int_equal(*at(64 * MIB - 8192 + 5000, 1), 0);
	assert_memory_equal(at(le(bp + 0x70, 8), 8), "RSD PTR ", 8);
	/* One to one, up to 4 GiB. */
	assert_int_equal(walk(entry.cr3, 0x1234567), 0x1234567);
	assert_int_equal(walk(entry.cr3, 0xfee00020), 0xfee00020);
	assert_int_equal(walk(entry.cr3, 1ull << 32), UINT64_MAX);
}

/* Randomness differs from boot to boot. */
static void test_seed(void **state)
{
	uint8_t first[32];
	uint64_t node;

	make_bzimage();
	write_bzimage();
	open_board(64 * MIB, 0);
	must_load();
	node = le(at(entry.rsi, 4096) + 0x250, 8);
	assert_int_equal(le(at(node, 48), 8), 0);
	assert_int_equal(le(at(node + 8, 4), 4), 9);
	assert_int_equal(le(at(node + 12, 4), 4), 32);
	memcpy(first, at(node + 16, 32), 32);
	must_load();
	assert_memory_not_equal(first, at(node + 16, 32), 32);
}

static void test_e820(void **state)
{
	uint64_t ram = 0, end = 0, addr, len, type;
	const uint8_t *bp;
	bool ecam = false, tables = false;

	make_bzimage();
	write_bzimage();
	open_board(64 * MIB, 32 * MIB);
	must_load();
	bp = at(entry.rsi, 4096);
	assert_in_range(bp[0x1e8], 4, 128);
	for (unsigned int i = 0; i < bp[0x1e8]; i++) {
		addr = le(bp + 0x2d0 + i * 20, 8);
		len = le(bp + 0x2d0 + i * 20 + 8, 8);
		type = le(bp + 0x2d0 + i * 20 + 16, 4);
		assert_true(addr >= end && len > 0); /* sorted, apart */
		end = addr + len;
		if (type == 1)
			ram += len;
		ecam |= type == 2 && addr <= ECAM_BASE && end >= ECAM_BASE + 256 * MIB;
		tables |= type != 1 && addr <= le(bp + 0x70, 8) && end >= le(bp + 0x70, 8) + 4096;
	}
	assert_true(ecam && tables);
	assert_int_equal(end, MEM_HIGH + 32 * MIB);
	assert_int_equal(ram, 96 * MIB - (0x100000 - 0x9fc00));
}

/* A kernel that can be moved is moved where memory ends before it fits. */
static void test_small(void **state)
{
	make_bzimage();
	write_bzimage();
	open_board(12 * MIB, 0);
	must_load();
	assert_int_equal(entry.rip, 2 * MIB + 0x200);
	assert_memory_equal(at(2 * MIB, CODE_LEN), image + SETUP_LEN, CODE_LEN);
}

static void test_too_large(void **state)
{
	make_bzimage();
	write_bzimage();
	open_board(8 * MIB, 0);
	must_fail(ENOMEM, "needs 10 MiB of memory, and the machine has 8 MiB");
	assert_non_null(strstr(err.hint, "-m 10"));
	board_kit_close(&b);
	image[0x234] = 0;
	write_bzimage();
	open_board(20 * MIB, 0);
	must_fail(ENOMEM, "needs 24 MiB of memory, and the machine has 20 MiB");
}

/* The kernel's own memory is not the initrd's. */
static void test_initrd_too_large(void **state)
{
	const uint8_t *bp;

	make_bzimage();
	write_bzimage();
	open_board(32 * MIB, 0);
	write_initrd(8 * MIB + 1, 1);
	must_fail(ENOMEM, "initrd");
	assert_non_null(strstr(err.what, "needs") ? err.what : strstr(err.what, "need "));
	assert_non_null(strstr(err.what, "33 MiB"));
	board_kit_close(&b);
	open_board(32 * MIB, 0);
	write_initrd(8 * MIB, 1);
	must_load();
	bp = at(entry.rsi, 4096);
	assert_int_equal(le(bp + 0x218, 4), 24 * MIB);
}

/* Below the address that the kernel can reach. */
static void test_initrd_max(void **state)
{
	const uint8_t *bp;

	make_bzimage();
	put(image + 0x22c, 40 * MIB - 1, 4);
	write_bzimage();
	open_board(64 * MIB, 0);
	write_initrd(4096, 1);
	must_load();
	bp = at(entry.rsi, 4096);
	assert_int_equal(le(bp + 0x218, 4), 40 * MIB - 4096);
	put(image + 0x236, 3, 2); /* XLF_CAN_BE_LOADED_ABOVE_4G: no limit there */
	write_bzimage();
	must_load();
	assert_int_equal(le(bp + 0x218, 4), 64 * MIB - 4096);
}

static void test_cmdline(void **state)
{
	make_bzimage();
	put(image + 0x238, 10, 4);
	write_bzimage();
	open_board(64 * MIB, 0);
	b.m.append = strdup("0123456789");
	must_load();
	free(b.m.append);
	b.m.append = strdup("0123456789a");
	must_fail(E2BIG, "has 11 bytes, and this kernel takes 10");
}

static void test_missing(void **state)
{
	unlink(path_kernel);
	open_board(64 * MIB, 0);
	must_fail(ENOENT, "cannot open");
	assert_non_null(strstr(err.what, path_kernel));
	free(b.m.kernel);
	b.m.kernel = strdup(dir);
	must_fail(EINVAL, "directory");
	free(b.m.kernel);
	b.m.kernel = strdup(path_kernel);
	make_bzimage();
	write_bzimage();
	b.m.initrd = strdup("/nonexistent/initrd");
	must_fail(ENOENT, "initrd /nonexistent/initrd: cannot open");
	free(b.m.initrd);
	b.m.initrd = strdup("/dev/null");
	must_fail(EINVAL, "not a regular file");
}

static void test_not_a_kernel(void **state)
{
	static const struct {
		const char *bytes;
		size_t len, off;
		const char *says;
	} files[] = {
		{ "", 0, 0, "empty" },
		{ "#!/bin/sh\n", 10, 0, "a script" },
		{ "\x1f\x8b\x08", 3, 0, "gzip" },
		{ "070701", 6, 0, "cpio" },
		{ "ARM\x64", 4, 0x38, "arm64" },
		{ "QFI\xfb", 4, 0, "disk image" },
		{ "hello", 5, 0, "neither a bzImage nor an ELF image" },
		{ "\177ELF", 4, 0, "neither" },
	};
	uint8_t buf[600];

	open_board(64 * MIB, 0);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		memset(buf, 0, sizeof(buf));
		memcpy(buf + files[i].off, files[i].bytes, files[i].len);
		write_file(path_kernel, buf, files[i].off + files[i].len);
		must_fail(ENOEXEC, files[i].says);
	}
}

static void test_bad_bzimage(void **state)
{
	open_board(64 * MIB, 0);
	make_bzimage();
	put(image + 0x236, 0, 2);
	write_bzimage();
	must_fail(ENOEXEC, "no 64-bit entry (boot protocol 2.15)");
	make_bzimage();
	put(image + 0x206, 0x20b, 2);
	write_bzimage();
	must_fail(ENOEXEC, "no 64-bit entry (boot protocol 2.11)");
	make_bzimage();
	put(image + 0x230, 3, 4);
	write_bzimage();
	must_fail(ENOEXEC, "impossible places");
	make_bzimage();
	put(image + 0x258, 4096, 8);
	write_bzimage();
	must_fail(ENOEXEC, "impossible places");
	make_bzimage();
	write_file(path_kernel, image, SETUP_LEN + 0x200);
	must_fail(ENOEXEC, "cut short");
}

/* ELF: header, two segments, a note. */
struct elf64 {
	Elf64_Ehdr head;
	Elf64_Phdr ph[3];
	struct {
		Elf64_Nhdr other;
		char other_name[8], other_desc[4];
		Elf64_Nhdr note;
		char name[4];
		uint32_t entry, pad;
	} notes;
	uint8_t code[100];
};

static struct elf64 make_elf(void)
{
	struct elf64 e = {
		.head = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			  .e_type = ET_EXEC,
			  .e_machine = EM_X86_64,
			  .e_phoff = offsetof(struct elf64, ph),
			  .e_phentsize = sizeof(Elf64_Phdr),
			  .e_phnum = 3 },
		.notes = { .other = { 6, 4, 18 },
			   .other_name = "Linux",
			   .note = { 4, 8, 18 },
			   .name = "Xen",
			   .entry = 0x1000010 },
	};

	e.ph[0] = (Elf64_Phdr){ .p_type = PT_LOAD,
				.p_offset = offsetof(struct elf64, code),
				.p_vaddr = 0xffffffff81000000,
				.p_paddr = 16 * MIB,
				.p_filesz = 100,
				.p_memsz = 8192 };
	e.ph[1] = (Elf64_Phdr){ .p_type = PT_LOAD,
				.p_offset = offsetof(struct elf64, code) + 10,
				.p_paddr = 20 * MIB,
				.p_filesz = 20,
				.p_memsz = 20 };
	e.ph[2] = (Elf64_Phdr){ .p_type = PT_NOTE,
				.p_offset = offsetof(struct elf64, notes),
				.p_filesz = sizeof(e.notes),
				.p_align = 4 };
	memset(e.code, 0x90, sizeof(e.code));
	e.code[10] = 0xcc;
	return e;
}

static void write_elf(const struct elf64 *e)
{
	write_file(path_kernel, e, sizeof(*e));
}

static void test_elf(void **state)
{
	struct elf64 e = make_elf();
	const uint8_t *info, *mod;

	write_elf(&e);
	open_board(64 * MIB, 16 * MIB);
	b.m.append = strdup("hello");
	write_initrd(4096, 0x33);
	memset(at(16 * MIB, 16384), 0xff, 16384);
	must_load();
	assert_false(entry.long_mode);
	assert_int_equal(entry.rip, 0x1000010);
	assert_memory_equal(at(16 * MIB, 100), e.code, 100);
	assert_int_equal(*at(16 * MIB + 100, 1), 0); /* what is behind the file's part is zero */
	assert_int_equal(*at(16 * MIB + 8191, 1), 0);
	assert_int_equal(*at(16 * MIB + 8192, 1), 0xff);
	assert_memory_equal(at(20 * MIB, 20), e.code + 10, 20);
	info = at(entry.rbx, 56);
	assert_int_equal(le(info, 4), 0x336ec578);
	assert_int_equal(le(info + 4, 4), 1);
	assert_int_equal(le(info + 12, 4), 1);
	mod = at(le(info + 16, 8), 32);
	assert_int_equal(le(mod, 8), 64 * MIB - 4096);
	assert_int_equal(le(mod + 8, 8), 4096);
	assert_int_equal(*at(le(mod, 8), 1), 0x33);
	assert_string_equal((const char *)at(le(info + 24, 8), 6), "hello");
	assert_memory_equal(at(le(info + 32, 8), 8), "RSD PTR ", 8);
	assert_in_range(le(info + 48, 4), 4, 8);
	assert_int_equal(le(at(le(info + 40, 8), 24) + 16, 4), 1);
}

static void test_elf32(void **state)
{
	struct {
		Elf32_Ehdr head;
		Elf32_Phdr ph[2];
		Elf32_Nhdr note;
		char name[4];
		uint32_t entry;
		uint8_t code[16];
	} e = {
		.head = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT },
			  .e_machine = EM_386,
			  .e_phoff = sizeof(Elf32_Ehdr),
			  .e_phentsize = sizeof(Elf32_Phdr),
			  .e_phnum = 2 },
		.note = { 4, 4, 18 },
		.name = "Xen",
		.entry = 0x100020,
		.code = { 0xf4 },
	};

	e.ph[0] = (Elf32_Phdr){ .p_type = PT_LOAD,
				.p_offset = (uint32_t)((char *)e.code - (char *)&e),
				.p_paddr = 0x100020,
				.p_filesz = 16,
				.p_memsz = 16 };
	e.ph[1] = (Elf32_Phdr){ .p_type = PT_NOTE,
				.p_offset = (uint32_t)((char *)&e.note - (char *)&e),
				.p_filesz = 20 };
	write_file(path_kernel, &e, sizeof(e));
	open_board(64 * MIB, 0);
	must_load();
	assert_int_equal(entry.rip, 0x100020);
	assert_int_equal(*at(0x100020, 1), 0xf4);
	/* No initrd: no module. */
	assert_int_equal(le(at(entry.rbx, 56) + 12, 4), 0);
}

static void test_bad_elf(void **state)
{
	struct elf64 e = make_elf();

	open_board(64 * MIB, 0);
	e.head.e_machine = EM_AARCH64;
	write_elf(&e);
	must_fail(ENOEXEC, "is for arm64");
	e = make_elf();
	e.head.e_phnum = 0;
	write_elf(&e);
	must_fail(ENOEXEC, "without segments");
	e = make_elf();
	e.notes.note.n_type = 17;
	write_elf(&e);
	must_fail(ENOEXEC, "without a PVH entry");
	assert_non_null(strstr(err.hint, "CONFIG_PVH"));
	e = make_elf();
	e.ph[0].p_paddr = 0x1000;
	write_elf(&e);
	must_fail(ENOEXEC, "cannot be loaded");
	e = make_elf();
	e.ph[0].p_paddr = UINT64_MAX - 10;
	write_elf(&e);
	must_fail(ENOEXEC, "cannot be loaded");
	e = make_elf();
	e.ph[0].p_filesz = 1 << 20;
	write_elf(&e);
	must_fail(ENOEXEC, "cut short");
	e = make_elf();
	e.ph[1].p_paddr = 99 * MIB;
	write_elf(&e);
	must_fail(ENOMEM, "needs 100 MiB of memory, and the machine has 64 MiB");
	e = make_elf();
	e.notes.other.n_namesz = 0xfffffff0; /* the chain of notes leads nowhere */
	write_elf(&e);
	must_fail(ENOEXEC, "without a PVH entry");
}

/* A kernel unpacked by us */

#ifdef TWINAX_HAVE_LZMA
#include <dirent.h>
#include <lzma.h>

#define TEXT_VIRT 0xffffffff81000000ull
#define UNPACKED_LEN 20480u

/* An ELF image of Linux's kind: three pages, the second one zeros, and places to correct. */
static void make_unpacked(uint8_t *p, unsigned int lists)
{
	Elf64_Ehdr h = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			 .e_type = ET_EXEC,
			 .e_machine = EM_X86_64,
			 .e_entry = 16 * MIB + 0x40,
			 .e_phoff = sizeof(h),
			 .e_phentsize = sizeof(Elf64_Phdr),
			 .e_phnum = 1,
			 .e_shoff = 16384,
			 .e_shentsize = 64,
			 .e_shnum = 1 };
	Elf64_Phdr ph = { .p_type = PT_LOAD,
			  .p_offset = 4096,
			  .p_vaddr = TEXT_VIRT,
			  .p_paddr = 16 * MIB,
			  .p_filesz = 12288,
			  .p_memsz = 16384 };
	uint32_t at = (uint32_t)TEXT_VIRT, three[] = { 0, at + 16, 0, at + 8, 0, at };
	uint32_t two[] = { 0, at + 16, 0, at };

	memset(p, 0, UNPACKED_LEN);
	memcpy(p, &h, sizeof(h));
	memcpy(p + sizeof(h), &ph, sizeof(ph));
	put(p + 4096, 0x81000123, 4);
	put(p + 4096 + 8, 0x1000, 4);
	put(p + 4096 + 16, TEXT_VIRT + 5, 8);
	memset(p + 4096 + 64, 0xc3, 100);
	memset(p + 12288, 0x5a, 4096);
	if (lists == 3)
		memcpy(p + UNPACKED_LEN - sizeof(three), three, sizeof(three));
	else
		memcpy(p + UNPACKED_LEN - sizeof(two), two, sizeof(two));
	/* The table begins behind the section headers. */
	put(p + offsetof(Elf64_Ehdr, e_shoff),
	    UNPACKED_LEN - 64 - (lists == 3 ? sizeof(three) : sizeof(two)), 8);
}

/* The bzImage with @p in it. */
static void write_packed(const uint8_t *p)
{
	size_t len = 0;

	make_bzimage();
	assert_int_equal(lzma_easy_buffer_encode(1, LZMA_CHECK_CRC32, NULL, p, UNPACKED_LEN,
						 image + SETUP_LEN + 600, &len, CODE_LEN - 1000),
			 LZMA_OK);
	put(image + SETUP_LEN + 600 + len, UNPACKED_LEN, 4);
	put(image + 0x248, 600, 4);
	put(image + 0x24c, len + 4, 4);
	write_bzimage();
}

static char cache[64];

/* The one file in the cache; false: there is none. */
static bool cached(char path[320])
{
	DIR *d = opendir(cache);
	struct dirent *e;
	bool found = false;

	assert_non_null(d);
	while ((e = readdir(d)))
		if (e->d_name[0] != '.') {
			assert_false(found);
			snprintf(path, 320, "%s/%s", cache, e->d_name);
			found = true;
		}
	closedir(d);
	return found;
}

static void open_cached(const char *append)
{
	snprintf(cache, sizeof(cache), "%s/cache", dir);
	assert_int_equal(mkdir(cache, 0700), 0);
	open_board(64 * MIB, 0);
	b.m.kernel_cache = strdup(cache);
	b.m.append = strdup(append);
}

static void close_cached(void)
{
	char path[320];

	if (cached(path))
		unlink(path);
	assert_int_equal(rmdir(cache), 0);
	free(b.m.kernel_cache);
}

static uint64_t moved_by(void)
{
	return le(at(16 * MIB + 16, 8), 8) - (TEXT_VIRT + 5);
}

static void test_unpacked(void **state)
{
	static uint8_t p[UNPACKED_LEN];
	uint64_t places[8], by;
	unsigned int n_same = 0;

	make_unpacked(p, 3);
	write_packed(p);
	open_cached("quiet");
	for (unsigned int i = 0; i < 8; i++) {
		must_load();
		assert_true(entry.long_mode);
		assert_int_equal(entry.rip, 16 * MIB + 0x40);
		by = places[i] = moved_by();
		assert_int_equal(by % 0x200000, 0);
		assert_true(by + 16 * MIB + 8 * MIB <= 1024 * MIB);
		assert_int_equal(le(at(16 * MIB, 4), 4), (uint32_t)(0x81000123 + by));
		assert_int_equal(le(at(16 * MIB + 8, 4), 4), (uint32_t)(0x1000 - by));
		assert_memory_equal(at(16 * MIB + 64, 100), p + 4096 + 64, 100);
		assert_memory_equal(at(16 * MIB + 8192, 4096), p + 12288, 4096);
		assert_int_equal(at(entry.rsi, 4096)[0x211] & 2, by ? 2 : 0);
		n_same += i > 0 && by == places[i - 1];
		/* The next one is a reset: zeros have to be written. */
		b.m.started = true;
		memset(at(16 * MIB, 32768), 0xee, 32768);
		must_load();
		assert_int_equal(*at(16 * MIB + 5000, 1), 0);
		assert_int_equal(*at(16 * MIB + 12288 + 10, 1), 0);
	}
	assert_in_range(n_same, 0, 2);
	close_cached();
}

static void test_unpacked_two_lists(void **state)
{
	static uint8_t p[UNPACKED_LEN];

	make_unpacked(p, 2);
	write_packed(p);
	open_cached("quiet");
	must_load();
	assert_int_equal(entry.rip, 16 * MIB + 0x40);
	assert_int_equal(le(at(16 * MIB, 4), 4), (uint32_t)(0x81000123 + moved_by()));
	assert_int_equal(le(at(16 * MIB + 8, 4), 4), 0x1000);
	close_cached();
}

static void test_unpacked_nokaslr(void **state)
{
	static uint8_t p[UNPACKED_LEN];

	make_unpacked(p, 3);
	write_packed(p);
	open_cached("quiet nokaslr");
	must_load();
	assert_int_equal(entry.rip, 16 * MIB + 0x40);
	assert_memory_equal(at(16 * MIB, 12288), p + 4096, 12288);
	assert_int_equal(at(entry.rsi, 4096)[0x211] & 2, 0);
	close_cached();
}

/* What is kept is used; what another could have written is not. */
static void test_cache(void **state)
{
	static uint8_t p[UNPACKED_LEN];
	char path[320];
	FILE *f;

	make_unpacked(p, 3);
	write_packed(p);
	open_cached("nokaslr");
	assert_false(cached(path));
	must_load();
	assert_true(cached(path));
	for (unsigned int i = 0; i < 2; i++) {
		f = fopen(path, "r+");
		fseek(f, 4096 + 64, SEEK_SET);
		fputc(0x99, f);
		fclose(f);
		assert_int_equal(chmod(path, i ? 0620 : 0600), 0);
		must_load();
		assert_int_equal(entry.rip, 16 * MIB + 0x40);
		assert_int_equal(*at(16 * MIB + 64, 1), i ? 0xc3 : 0x99);
	}
	/* Another kernel is another file, be it as long as the first one. */
	p[4096 + 70] = 1;
	write_packed(p);
	must_load();
	assert_int_equal(*at(16 * MIB + 70, 1), 1);
	unlink(path);
	close_cached();
}

/* An image that says of itself what another one does is another one all the same. */
static void test_cache_alike(void **state)
{
	static uint8_t p[UNPACKED_LEN];
	char first[320], second[320], aside[320];

	make_unpacked(p, 3);
	write_packed(p);
	open_cached("nokaslr");
	must_load();
	assert_true(cached(first));
	snprintf(aside, sizeof(aside), "%s/aside", dir);
	assert_int_equal(rename(first, aside), 0);
	snprintf(second, sizeof(second), "%s/first", dir);
	assert_int_equal(rename(b.m.kernel, second), 0);
	write_bzimage();
	must_load();
	assert_true(cached(second));
	assert_string_not_equal(first, second);
	unlink(aside);
	snprintf(second, sizeof(second), "%s/first", dir);
	unlink(second);
	close_cached();
}

/* The oldest goes when there are more than four. */
static void test_cache_trim(void **state)
{
	static uint8_t p[UNPACKED_LEN];
	struct timespec old[2] = { { 0 } };
	char path[320];

	make_unpacked(p, 3);
	write_packed(p);
	open_cached("nokaslr");
	for (int i = 0; i < 5; i++) {
		snprintf(path, sizeof(path), "%s/kernel-%d", cache, i);
		write_file(path, "x", 1);
		old[0].tv_sec = old[1].tv_sec = i == 3 ? 1000 : 2000 + i;
		assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
	}
	must_load();
	for (int i = 0; i < 5; i++) {
		snprintf(path, sizeof(path), "%s/kernel-%d", cache, i);
		assert_int_equal(access(path, F_OK), i == 3 ? -1 : 0);
		(void)unlink(path);
	}
	assert_true(cached(path));
	close_cached();
}

/* Whatever does not fit is left to the guest. */
static void test_unpacked_not(void **state)
{
	static uint8_t p[UNPACKED_LEN];
	char path[320];

	make_unpacked(p, 3);
	open_cached("");
	for (unsigned int i = 0; i < 6; i++) {
		make_unpacked(p, 3);
		if (i == 0)
			put(p + UNPACKED_LEN - 4, 0x10, 4); /* corrects what is elsewhere */
		if (i == 1)
			put(p + UNPACKED_LEN - 8, 1, 4); /* a list without an end */
		if (i == 2)
			p[18] = EM_AARCH64;
		if (i == 3)
			put(p + offsetof(Elf64_Ehdr, e_entry), 4 * MIB, 8);
		if (i == 4) /* p_memsz */
			put(p + sizeof(Elf64_Ehdr) + 40, 8 * MIB + 1, 8);
		write_packed(p);
		if (i == 5) {
			image[SETUP_LEN + 700] ^= 0xff;
			write_bzimage();
		}
		must_load();
		assert_int_equal(entry.rip, 16 * MIB + 0x200);
		assert_memory_equal(at(16 * MIB, CODE_LEN), image + SETUP_LEN, CODE_LEN);
		assert_int_equal(at(entry.rsi, 4096)[0x211] & 2, 0);
		if (cached(path))
			unlink(path);
	}
	close_cached();
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_bzimage, teardown),
		cmocka_unit_test_teardown(test_seed, teardown),
		cmocka_unit_test_teardown(test_e820, teardown),
		cmocka_unit_test_teardown(test_small, teardown),
		cmocka_unit_test_teardown(test_too_large, teardown),
		cmocka_unit_test_teardown(test_initrd_too_large, teardown),
		cmocka_unit_test_teardown(test_initrd_max, teardown),
		cmocka_unit_test_teardown(test_cmdline, teardown),
		cmocka_unit_test_teardown(test_missing, teardown),
		cmocka_unit_test_teardown(test_not_a_kernel, teardown),
		cmocka_unit_test_teardown(test_bad_bzimage, teardown),
		cmocka_unit_test_teardown(test_elf, teardown),
		cmocka_unit_test_teardown(test_elf32, teardown),
		cmocka_unit_test_teardown(test_bad_elf, teardown),
#ifdef TWINAX_HAVE_LZMA
		cmocka_unit_test_teardown(test_unpacked, teardown),
		cmocka_unit_test_teardown(test_unpacked_two_lists, teardown),
		cmocka_unit_test_teardown(test_unpacked_nokaslr, teardown),
		cmocka_unit_test_teardown(test_cache, teardown),
		cmocka_unit_test_teardown(test_cache_alike, teardown),
		cmocka_unit_test_teardown(test_cache_trim, teardown),
		cmocka_unit_test_teardown(test_unpacked_not, teardown),
#endif
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
