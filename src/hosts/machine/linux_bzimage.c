/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bzImage by the 64-bit boot protocol (Linux, Documentation/arch/x86/boot.rst).
 *
 * The file is some sectors of code for real mode, which nobody runs here, with the setup header in
 * the first two, and the kernel proper, which is loaded at the preferred address, or lower where
 * memory is small and the kernel can be moved. It is entered 0x200 bytes behind its beginning, in
 * long mode, with the first 4 GiB mapped one to one and RSI at boot_params: the setup header of the
 * file, completed, and a map of memory. The kernel's `init_size` says how much memory it needs from
 * there on before it reads the map of memory; the initrd is kept out of it.
 *
 * The code that is entered so unpacks the kernel that it carries, and enters that. Where the
 * unpacked one is to be had (linux_unpack.c), it is loaded in its place and entered directly, which
 * saves most of the time to the first line (linux_direct.c).
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/macros.h"
#include "hosts/machine/linux.h"
#include "hosts/machine/linux_unpack.h"

/* Of the setup header, by offset in the file and in boot_params (boot.rst, "Details of header
 * fields"). */
enum {
	HDR_BEGIN = 0x1f1, /* setup_sects, too */
	HDR_BOOT_FLAG = 0x1fe,
	HDR_JUMP_LEN = 0x201, /* the header ends this many bytes behind 0x202 */
	HDR_MAGIC = 0x202,
	HDR_VERSION = 0x206,
	HDR_LOADER = 0x210,
	HDR_LOADFLAGS = 0x211,
	HDR_CODE32 = 0x214,
	HDR_RAMDISK = 0x218,
	HDR_RAMDISK_LEN = 0x21c,
	HDR_CMDLINE = 0x228,
	HDR_INITRD_MAX = 0x22c,
	HDR_ALIGNMENT = 0x230,
	HDR_RELOCATABLE = 0x234,
	HDR_XLOADFLAGS = 0x236,
	HDR_CMDLINE_SIZE = 0x238,
	HDR_PAYLOAD_OFF = 0x248, /* from the beginning of the kernel proper */
	HDR_PAYLOAD_LEN = 0x24c,
	HDR_SETUP_DATA = 0x250,
	HDR_PREF_ADDRESS = 0x258,
	HDR_INIT_SIZE = 0x260,
	HDR_NEEDED = 0x264,  /* as far as version 2.12 goes */
	HDR_END_MAX = 0x290, /* what follows in boot_params is something else */
};
#define VERSION_64BIT 0x20cu
#define LOADED_HIGH 0x01u
#define KASLR_ON 0x02u /* the kernel's place was chosen at random */
#define XLF_KERNEL_64 0x01u
#define XLF_CAN_BE_LOADED_ABOVE_4G 0x02u
#define LOADER_UNDEFINED 0xffu

/* Of boot_params (boot.rst, zero-page.rst). */
enum {
	BP_RSDP = 0x070,
	BP_E820_N = 0x1e8,
	BP_E820 = 0x2d0,
	BP_LEN = 0x1000,
};

struct e820_entry {
	le64 addr, len;
	le32 type;
} __attribute__((packed));

/* A node of setup_data with randomness. */
#define SETUP_RNG_SEED 9u
struct seed {
	le64 next;
	le32 type, len;
	uint8_t data[32];
};

struct image {
	const uint8_t *head;
	uint64_t code_off, code_len; /* the kernel proper in the file */
	uint64_t load, init_len;
	bool kaslr;
};

static uint64_t field(const uint8_t *p, unsigned int off, unsigned int size)
{
	le64 v = { 0 };

	memcpy(&v, p + off, size);
	return le64_get(v);
}

static void field_put(uint8_t *p, unsigned int off, unsigned int size, uint64_t value)
{
	le64 v = le64_make(value);

	memcpy(p + off, &v, size);
}

bool boot_is_bzimage(const uint8_t *head, size_t len)
{
	return len >= HDR_NEEDED && field(head, HDR_BOOT_FLAG, 2) == 0xaa55 &&
	       memcmp(head + HDR_MAGIC, "HdrS", 4) == 0;
}

static int check_header(const struct boot_file *f, const uint8_t *head, struct image *img,
			struct twx_error *e)
{
	unsigned int version = (unsigned int)field(head, HDR_VERSION, 2), sects = head[HDR_BEGIN];

	if (version < VERSION_64BIT || !(head[HDR_LOADFLAGS] & LOADED_HIGH) ||
	    !(field(head, HDR_XLOADFLAGS, 2) & XLF_KERNEL_64))
		return twx_error_set(e, ENOEXEC,
				     "kernel %s has no 64-bit entry (boot protocol %u.%02u): it is "
				     "older than Linux 3.8, or a 32-bit kernel",
				     f->path, version >> 8, version & 0xff);
	img->head = head;
	img->code_off = ((sects ? sects : 4) + 1) * 512ull;
	if (f->len <= img->code_off + 0x200)
		return twx_error_set(e, ENOEXEC, "kernel %s is cut short", f->path);
	img->code_len = f->len - img->code_off;
	return 0;
}

/* Where the kernel goes: the preferred address, or the lowest that its alignment allows. */
static int place(struct twx_machine *m, struct image *img, const struct boot_file *f,
		 struct twx_error *e)
{
	uint64_t pref = field(img->head, HDR_PREF_ADDRESS, 8);
	uint64_t align = field(img->head, HDR_ALIGNMENT, 4), low;

	img->init_len = max(field(img->head, HDR_INIT_SIZE, 4), img->code_len);
	if (!power_of_two(align) || pref < BOOT_HIGH || pref >= MEM_HOLE)
		return twx_error_set(e, ENOEXEC,
				     "kernel %s asks for impossible places (0x%llx, aligned to "
				     "0x%llx)",
				     f->path, (unsigned long long)pref, (unsigned long long)align);
	img->load = pref;
	if (pref < m->ram_low && img->init_len <= m->ram_low - pref)
		return 0;
	low = (BOOT_HIGH + align - 1) & ~(align - 1);
	if (img->head[HDR_RELOCATABLE] && low < pref) {
		img->load = low;
		if (low < m->ram_low && img->init_len <= m->ram_low - low)
			return 0;
	}
	return boot_too_large(m, img->load + img->init_len, e);
}

/* 4 GiB by pages of 2 MiB. */
static int identity_map(struct twx_machine *m, struct twx_error *e)
{
	const uint64_t present = 1, writable = 2, large = 0x80;
	uint8_t *t = boot_ram(m, BOOT_PAGE_TABLES, 6 * 4096);

	if (!t)
		return boot_too_large(m, BOOT_HIGH, e);
	memset(t, 0, 2 * 4096);
	field_put(t, 0, 8, (BOOT_PAGE_TABLES + 4096) | present | writable);
	for (unsigned int i = 0; i < 4; i++)
		field_put(t + 4096, i * 8, 8,
			  (BOOT_PAGE_TABLES + (2 + i) * 4096ull) | present | writable);
	for (unsigned int i = 0; i < 4 * 512; i++)
		field_put(t + 8192, i * 8, 8, (uint64_t)i << 21 | present | writable | large);
	return 0;
}

/* The kernel's generator need not wait for events then. Best effort, as it is for the kernel. */
static uint64_t put_seed(struct twx_machine *m)
{
	struct seed s = { .type = le32_make(SETUP_RNG_SEED), .len = le32_make(sizeof(s.data)) };
	void *to = boot_ram(m, BOOT_SEED, sizeof(s));

	if (!to || getrandom(s.data, sizeof(s.data), GRND_NONBLOCK) != sizeof(s.data))
		return 0;
	memcpy(to, &s, sizeof(s));
	return BOOT_SEED;
}

static void put_e820(const struct twx_machine *m, uint8_t *bp)
{
	struct boot_range r[BOOT_MAX_RANGES];
	unsigned int n = boot_ranges(m, r);

	bp[BP_E820_N] = (uint8_t)n;
	for (unsigned int i = 0; i < n; i++) {
		struct e820_entry entry = { le64_make(r[i].addr), le64_make(r[i].len),
					    le32_make(r[i].type) };

		memcpy(bp + BP_E820 + i * sizeof(entry), &entry, sizeof(entry));
	}
}

static int put_params(struct twx_machine *m, const struct image *img, const struct boot_extras *x,
		      struct twx_error *e)
{
	uint8_t *bp = boot_ram(m, BOOT_PARAMS, BP_LEN);
	unsigned int end =
		min(HDR_MAGIC + (unsigned int)img->head[HDR_JUMP_LEN], (unsigned int)HDR_END_MAX);

	if (!bp)
		return boot_too_large(m, BOOT_HIGH, e);
	memset(bp, 0, BP_LEN);
	memcpy(bp + HDR_BEGIN, img->head + HDR_BEGIN,
	       max(end, (unsigned int)HDR_NEEDED) - HDR_BEGIN);
	bp[HDR_LOADER] = LOADER_UNDEFINED;
	if (img->kaslr)
		bp[HDR_LOADFLAGS] |= KASLR_ON;
	field_put(bp, HDR_CODE32, 4, img->load);
	field_put(bp, HDR_RAMDISK, 4, x->initrd);
	field_put(bp, HDR_RAMDISK_LEN, 4, x->initrd_len);
	field_put(bp, HDR_CMDLINE, 4, x->cmdline);
	field_put(bp, HDR_SETUP_DATA, 8, put_seed(m));
	field_put(bp, BP_RSDP, 8, x->rsdp);
	put_e820(m, bp);
	return 0;
}

static bool has_word(const char *text, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = text; p && (p = strstr(p, word)); p += len)
		if ((p == text || p[-1] == ' ') && (p[len] == ' ' || p[len] == 0))
			return true;
	return false;
}

/* The kernel unpacked, in memory: its entry; 0: it has to unpack itself. */
static uint64_t load_unpacked(struct twx_machine *m, const struct boot_file *f, struct image *img)
{
	struct boot_direct d = {
		.from = field(img->head, HDR_PREF_ADDRESS, 8),
		.to = img->load,
		.room = img->init_len,
		.align = field(img->head, HDR_ALIGNMENT, 4),
		.random = !has_word(m->append, "nokaslr"),
	};
	struct boot_file unpacked = { .what = "unpacked kernel", .path = f->path };
	int rc;

	if (unpack_payload(m, f, img->code_off + field(img->head, HDR_PAYLOAD_OFF, 4),
			   field(img->head, HDR_PAYLOAD_LEN, 4), &unpacked) < 0)
		return 0;
	rc = boot_direct(m, &unpacked, &d);
	close(unpacked.fd);
	img->kaslr = rc == 0 && d.moved;
	return rc == 0 ? d.entry : 0;
}

/* The kernel that unpacks itself: its entry. */
static int load_packed(struct twx_machine *m, const struct boot_file *f, const struct image *img,
		       uint64_t *entry, struct twx_error *e)
{
	void *to = boot_ram(m, img->load, img->code_len);

	*entry = img->load + 0x200;
	return to ? boot_read(f, img->code_off, to, img->code_len, e)
		  : boot_too_large(m, img->load + img->init_len, e);
}

int boot_bzimage(struct twx_machine *m, const struct boot_file *f, const uint8_t head[BOOT_HEAD],
		 struct machine_entry *entry, struct twx_error *e)
{
	struct boot_extras x;
	struct image img = { 0 };
	uint64_t limit, rip;
	int rc;

	rc = check_header(f, head, &img, e);
	if (rc == 0)
		rc = place(m, &img, f, e);
	if (rc < 0)
		return rc;
	limit = field(head, HDR_INITRD_MAX, 4) + 1;
	if (field(head, HDR_XLOADFLAGS, 2) & XLF_CAN_BE_LOADED_ABOVE_4G)
		limit = MEM_HIGH;
	rc = boot_extras(m, img.load + img.init_len, limit, field(head, HDR_CMDLINE_SIZE, 4), &x,
			 e);
	if (rc < 0)
		return rc;
	rip = load_unpacked(m, f, &img);
	if (!rip)
		rc = load_packed(m, f, &img, &rip, e);
	if (rc == 0)
		rc = put_params(m, &img, &x, e);
	if (rc == 0)
		rc = identity_map(m, e);
	*entry = (struct machine_entry){
		.long_mode = true, .rip = rip, .rsi = BOOT_PARAMS, .cr3 = BOOT_PAGE_TABLES
	};
	return rc;
}
