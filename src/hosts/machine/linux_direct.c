/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel of a bzImage without the code that unpacks it: an ELF image of Linux, entered at its
 * 64-bit entry.
 *
 * What that code does beside unpacking (Linux, arch/x86/boot/compressed) is done here: segments go
 * to their physical addresses, moved as a whole to where the image is loaded, and the kernel's
 * virtual place is chosen at random, unless the command line says nokaslr. For that the image is
 * followed by a table of places to correct, read from its end: 32-bit addresses up to a zero, then
 * (in kernels before 6.15) 32-bit negative ones up to a zero, then 64-bit ones up to a zero, which
 * is the table's beginning. Entries are virtual addresses, cut to 32 bits.
 *
 * The physical place is not chosen at random: in a guest it is nobody's secret.
 *
 * The file is one that we have written (linux_unpack.c), from an image of the user's; it is checked
 * all the same, and whatever does not fit leaves the unpacking to the guest.
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/macros.h"
#include "hosts/machine/linux.h"

#define KERNEL_MAP 0xffffffff80000000ull /* virtual address of physical 0 */
#define KERNEL_ROOM (1ull << 30)	 /* that a kernel with KASLR has there */
#define SEGMENTS_MAX 16u
#define TABLE_MAX (16u << 20)

struct direct {
	struct twx_machine *m;
	const struct boot_file *f;
	struct boot_direct *d;
	uint8_t *ram; /* [d->to, d->to + d->room) */
	Elf64_Ehdr head;
};

/* Fields of these headers are little-endian, and so is every host that runs x86 guests; the loader
 * is built for others, too. */
static uint64_t le(const void *p, unsigned int size)
{
	le64 v = { 0 };

	memcpy(&v, p, size);
	return le64_get(v);
}
#define LE(field) le(&(field), sizeof(field))

static int read_head(struct direct *k)
{
	const Elf64_Ehdr *h = &k->head;

	if (k->f->len < sizeof(*h) || boot_read(k->f, 0, &k->head, sizeof(k->head), NULL) < 0)
		return -EINVAL;
	if (memcmp(h->e_ident, ELFMAG, SELFMAG) != 0 || h->e_ident[EI_CLASS] != ELFCLASS64 ||
	    h->e_ident[EI_DATA] != ELFDATA2LSB || LE(h->e_machine) != EM_X86_64 ||
	    LE(h->e_phentsize) != sizeof(Elf64_Phdr) || LE(h->e_phnum) > SEGMENTS_MAX)
		return -EINVAL;
	if (LE(h->e_entry) < k->d->from || LE(h->e_entry) - k->d->from >= k->d->room)
		return -EINVAL;
	k->d->entry = LE(h->e_entry) - k->d->from + k->d->to;
	return 0;
}

/* Holes of the file are zeros, which memory that nobody has used is, too. */
static int load_bytes(struct direct *k, uint64_t off, uint8_t *to, uint64_t len)
{
	bool fresh = !k->m->started;
	uint64_t end = off + len, data, hole;
	off_t at;

	if (!fresh)
		memset(to, 0, len);
	for (; off < end; off = hole) {
		at = lseek(k->f->fd, (off_t)off, SEEK_DATA);
		if (at < 0 && errno == ENXIO)
			return 0;
		data = at < 0 ? off : min((uint64_t)at, end);
		at = at < 0 ? -1 : lseek(k->f->fd, (off_t)data, SEEK_HOLE);
		hole = at < 0 ? end : min((uint64_t)at, end);
		if (data >= end)
			return 0;
		if (hole <= data ||
		    boot_read(k->f, data, to + (data - (end - len)), hole - data, NULL) < 0)
			return -EIO;
	}
	return 0;
}

static int load_segment(struct direct *k, unsigned int i)
{
	uint64_t addr, off, len, mem, at = LE(k->head.e_phoff) + i * sizeof(Elf64_Phdr);
	Elf64_Phdr p;
	int rc;

	if (at > k->f->len - sizeof(p))
		return -EINVAL;
	rc = boot_read(k->f, at, &p, sizeof(p), NULL);
	if (rc < 0 || LE(p.p_type) != PT_LOAD)
		return rc;
	addr = LE(p.p_paddr) - k->d->from;
	off = LE(p.p_offset);
	len = LE(p.p_filesz);
	mem = LE(p.p_memsz);
	if (off > k->f->len || len > k->f->len - off || len > mem || mem > k->d->room ||
	    addr > k->d->room - mem)
		return -EINVAL;
	if (k->m->started)
		memset(k->ram + addr + len, 0, mem - len);
	return load_bytes(k, off, k->ram + addr, len);
}

/* The virtual place */

enum { LIST_32, LIST_NEGATIVE, LIST_64 };

static int correct(struct direct *k, uint32_t entry, unsigned int list, uint64_t by)
{
	uint64_t at = (uint64_t)(int64_t)(int32_t)entry - KERNEL_MAP - k->d->from;
	unsigned int size = list == LIST_64 ? 8 : 4;
	le64 v;

	if (at >= k->d->room || size > k->d->room - at)
		return -EINVAL;
	v = le64_make(le(k->ram + at, size) + (list == LIST_NEGATIVE ? -by : by));
	memcpy(k->ram + at, &v, size);
	return 0;
}

static int correct_all(struct direct *k, const uint8_t *table, size_t n, uint64_t by)
{
	unsigned int zeros = 0, list = 0;
	int rc = 0;

	for (size_t i = 0; i < n; i++)
		zeros += le(table + i * 4, 4) == 0;
	if (zeros < 2 || zeros > 3 || le(table, 4) != 0)
		return -EINVAL;
	for (size_t i = n; i-- > 0 && rc == 0;) {
		uint32_t entry = (uint32_t)le(table + i * 4, 4);

		if (entry)
			rc = correct(k, entry, list, by);
		else
			list += zeros == 2 ? LIST_64 : 1;
	}
	return rc;
}

/* A multiple of the alignment, so that the kernel stays in its room. */
static uint64_t random_offset(const struct boot_direct *d)
{
	uint64_t used = d->from + d->room, v;

	if (used > KERNEL_ROOM || getrandom(&v, sizeof(v), GRND_NONBLOCK) != sizeof(v))
		return 0;
	return v % ((KERNEL_ROOM - used) / d->align + 1) * d->align;
}

static int move(struct direct *k)
{
	uint64_t at = LE(k->head.e_shoff) + LE(k->head.e_shnum) * LE(k->head.e_shentsize);
	uint64_t len, by = random_offset(k->d);
	uint8_t *table;
	int rc;

	/* A kernel without the table stays where it was linked. */
	if (LE(k->head.e_shoff) > k->f->len || at >= k->f->len || by == 0)
		return 0;
	len = k->f->len - at;
	if (len > TABLE_MAX || len % 4)
		return -EINVAL;
	table = malloc(len);
	if (!table)
		return -ENOMEM;
	rc = boot_read(k->f, at, table, len, NULL);
	if (rc == 0)
		rc = correct_all(k, table, len / 4, by);
	free(table);
	k->d->moved = rc == 0;
	return rc;
}

int boot_direct(struct twx_machine *m, const struct boot_file *f, struct boot_direct *d)
{
	struct direct k = { .m = m, .f = f, .d = d };
	int rc;

	k.ram = boot_ram(m, d->to, d->room);
	rc = k.ram ? read_head(&k) : -ENOMEM;
	for (unsigned int i = 0; rc == 0 && i < LE(k.head.e_phnum); i++)
		rc = load_segment(&k, i);
	if (rc == 0 && d->random)
		rc = move(&k);
	return rc;
}
