/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fw_cfg: QEMU's way to tell firmware and tests about the machine, as far as they ask it of a
 * machine without firmware.
 *
 * Source: QEMU, docs/specs/fw_cfg.rst. A selector (16 bits, port 0x510) chooses an item, whose
 * bytes are read one by one at port 0x511, or by DMA: the address of a control structure is written
 * to port 0x514, high half first, big-endian. Items: signature, features, size of RAM, number of
 * CPUs, the directory of files, and "etc/e820", the map of memory.
 *
 * Nothing can be written; a DMA that asks for that, or for more than FWCFG_DMA_MAX bytes, which is
 * more than all items have together, gets the error bit. DMA reaches RAM only. Behind the end of an
 * item there are zeros.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/macros.h"
#include "hosts/machine/linux.h"

#define FWCFG_DMA_PORT (FWCFG_PORT + 4)
#define FWCFG_DMA_MAX 65536u

/* Keys of the specification. */
enum {
	KEY_SIGNATURE = 0x00,
	KEY_ID = 0x01,
	KEY_RAM_SIZE = 0x03,
	KEY_NO_DISPLAY = 0x04,
	KEY_N_CPUS = 0x05,
	KEY_MAX_CPUS = 0x0f,
	KEY_DIRECTORY = 0x19,
	KEY_E820 = 0x20, /* the first file */
	KEY_IRQ0_OVERRIDE = 0x8002,
};
#define KEY_MASK 0xbfffu /* without the bit that once meant writing */

#define ID_PORTS 1u
#define ID_DMA 2u

#define DMA_ERROR 0x01u
#define DMA_READ 0x02u
#define DMA_SKIP 0x04u
#define DMA_SELECT 0x08u
#define DMA_WRITE 0x10u
static const uint8_t dma_signature[8] = { 'Q', 'E', 'M', 'U', ' ', 'C', 'F', 'G' };

struct dma_control {
	be32 control, len;
	be64 addr;
};

struct e820_file {
	le64 addr, len;
	le32 type;
} __attribute__((packed));

struct directory {
	be32 n;
	struct {
		be32 len;
		be16 key, reserved;
		char name[56];
	} file[1];
};

struct item {
	uint16_t key;
	uint32_t len;
	const void *data;
};

struct fwcfg {
	struct board_dev dev;
	struct twx_machine *m;
	struct as_region ports, dma;

	/* What the items say. */
	le32 id, irq0_override;
	le64 ram_size;
	le16 n_cpus, no_display;
	struct directory directory;
	struct e820_file e820[BOOT_MAX_RANGES];
	struct item items[10];
	unsigned int n_items;

	/* State. */
	uint16_t key;
	uint32_t off;
	uint32_t dma_high;
};

static const struct item *selected(const struct fwcfg *f)
{
	for (unsigned int i = 0; i < f->n_items; i++)
		if (f->items[i].key == f->key)
			return &f->items[i];
	return NULL;
}

static void select_item(struct fwcfg *f, uint16_t key)
{
	f->key = key & KEY_MASK;
	f->off = 0;
}

/* The next @len bytes to @to, or nowhere. */
static void take(struct fwcfg *f, uint8_t *to, uint32_t len)
{
	const struct item *item = selected(f);
	uint32_t n = item && f->off < item->len ? min(len, item->len - f->off) : 0;

	if (to && n)
		memcpy(to, (const uint8_t *)item->data + f->off, n);
	if (to)
		memset(to + n, 0, len - n);
	f->off += n;
}

/* DMA */

static bool ram_copy(struct twx_machine *m, uint64_t addr, void *buf, uint32_t len, bool write)
{
	struct iovec iov[MEM_MAX_REGIONS];
	uint8_t *p = buf;
	int n = len ? mem_iov(m->ram, (gpa){ addr }, len, iov, MEM_MAX_REGIONS) : 0;

	for (int i = 0; i < n; i++) {
		if (write) {
			memcpy(iov[i].iov_base, p, iov[i].iov_len);
			mem_dirty(m->ram, iov[i].iov_base, iov[i].iov_len);
		} else {
			memcpy(p, iov[i].iov_base, iov[i].iov_len);
		}
		p += iov[i].iov_len;
	}
	return n >= 0;
}

static bool dma_read(struct fwcfg *f, uint64_t addr, uint32_t len)
{
	uint8_t *buf = malloc(len ? len : 1);
	bool ok = buf;

	if (ok) {
		take(f, buf, len);
		ok = ram_copy(f->m, addr, buf, len, true);
	}
	free(buf);
	return ok;
}

static void dma_run(struct fwcfg *f, uint64_t at)
{
	struct dma_control c;
	uint32_t control, len, result = 0;

	if (!ram_copy(f->m, at, &c, sizeof(c), false))
		return;
	control = be32_get(c.control);
	len = be32_get(c.len);
	if (control & DMA_SELECT)
		select_item(f, (uint16_t)(control >> 16));
	if (control & DMA_READ) {
		if (len > FWCFG_DMA_MAX || !dma_read(f, be64_get(c.addr), len))
			result = DMA_ERROR;
	} else if (control & DMA_WRITE) {
		result = DMA_ERROR;
	} else if (control & DMA_SKIP) {
		take(f, NULL, len);
	}
	c.control = be32_make(result);
	(void)ram_copy(f->m, at, &c.control, sizeof(c.control), true);
}

static uint64_t dma_in(void *opaque, uint64_t off, unsigned int size)
{
	uint64_t v = 0;

	for (unsigned int i = 0; i < size; i++)
		v |= (uint64_t)dma_signature[off + i] << (8 * i);
	return v;
}

static void dma_out(void *opaque, uint64_t off, unsigned int size, uint64_t value)
{
	struct fwcfg *f = opaque;

	if (size == 8) {
		dma_run(f, __builtin_bswap64(value));
	} else if (size == 4 && off == 0) {
		f->dma_high = __builtin_bswap32((uint32_t)value);
	} else if (size == 4 && off == 4) {
		uint64_t high = f->dma_high;

		f->dma_high = 0;
		dma_run(f, high << 32 | __builtin_bswap32((uint32_t)value));
	}
}

/* Ports */

static uint64_t ports_in(void *opaque, uint64_t off, unsigned int size)
{
	uint8_t byte = 0;

	if (off == 1)
		take(opaque, &byte, 1);
	return byte;
}

static void ports_out(void *opaque, uint64_t off, unsigned int size, uint64_t value)
{
	if (off == 0 && size == 2)
		select_item(opaque, (uint16_t)value);
}

static const struct as_ops ports_ops = { .read = ports_in, .write = ports_out };
static const struct as_ops dma_ops = { .read = dma_in, .write = dma_out };

/* Items */

static void add_item(struct fwcfg *f, uint16_t key, const void *data, size_t len)
{
	f->items[f->n_items++] = (struct item){ key, (uint32_t)len, data };
}

static void add_e820(struct fwcfg *f)
{
	struct boot_range r[BOOT_MAX_RANGES];
	unsigned int n = boot_ranges(f->m, r);

	for (unsigned int i = 0; i < n; i++)
		f->e820[i] = (struct e820_file){ le64_make(r[i].addr), le64_make(r[i].len),
						 le32_make(r[i].type) };
	f->directory.n = be32_make(1);
	f->directory.file[0].len = be32_make((uint32_t)(n * sizeof(f->e820[0])));
	f->directory.file[0].key = be16_make(KEY_E820);
	memcpy(f->directory.file[0].name, "etc/e820", sizeof("etc/e820"));
	add_item(f, KEY_DIRECTORY, &f->directory, sizeof(f->directory));
	add_item(f, KEY_E820, f->e820, n * sizeof(f->e820[0]));
}

static void add_items(struct fwcfg *f)
{
	f->id = le32_make(ID_PORTS | ID_DMA);
	f->irq0_override = le32_make(1);
	f->ram_size = le64_make(f->m->ram_low + f->m->ram_high);
	f->n_cpus = le16_make((uint16_t)f->m->n_cpus);
	f->no_display = le16_make(1);
	add_item(f, KEY_SIGNATURE, dma_signature, 4);
	add_item(f, KEY_ID, &f->id, sizeof(f->id));
	add_item(f, KEY_RAM_SIZE, &f->ram_size, sizeof(f->ram_size));
	add_item(f, KEY_NO_DISPLAY, &f->no_display, sizeof(f->no_display));
	add_item(f, KEY_N_CPUS, &f->n_cpus, sizeof(f->n_cpus));
	add_item(f, KEY_MAX_CPUS, &f->n_cpus, sizeof(f->n_cpus));
	add_item(f, KEY_IRQ0_OVERRIDE, &f->irq0_override, sizeof(f->irq0_override));
	add_e820(f);
}

/* State */

static const struct state_field fwcfg_fields[] = {
	STATE_U16(struct fwcfg, key),
	STATE_U32(struct fwcfg, off),
	STATE_U32(struct fwcfg, dma_high),
	{ 0 },
};

static int fwcfg_check(const void *copy, struct twx_error *e)
{
	const struct fwcfg *f = copy;
	const struct item *item = selected(f);

	if ((f->key & ~KEY_MASK) || f->off > (item ? item->len : 0))
		return twx_error_set(e, EINVAL, "item %u does not have %u bytes", f->key, f->off);
	return 0;
}

static const struct state_section fwcfg_sections[] = {
	{ .name = "fwcfg", .version = 1, .fields = fwcfg_fields, .check = fwcfg_check },
	{ 0 },
};

static void fwcfg_reset(void *opaque)
{
	struct fwcfg *f = opaque;

	select_item(f, 0);
	f->dma_high = 0;
}

static void fwcfg_free(void *opaque)
{
	struct fwcfg *f = opaque;

	as_remove(&f->ports);
	as_remove(&f->dma);
	free(f);
}

int board_fwcfg(struct twx_machine *m, struct twx_error *e)
{
	struct fwcfg *f = calloc(1, sizeof(*f));
	int rc;

	if (!f)
		return twx_error_set(e, ENOMEM, "fw_cfg: out of memory");
	f->m = m;
	add_items(f);
	f->ports =
		(struct as_region){ .name = "fw_cfg", .ops = &ports_ops, .opaque = f, .size = 2 };
	f->dma =
		(struct as_region){ .name = "fw_cfg DMA", .ops = &dma_ops, .opaque = f, .size = 8 };
	f->dev = (struct board_dev){ .name = "fwcfg",
				     .opaque = f,
				     .reset = fwcfg_reset,
				     .free = fwcfg_free,
				     .state = { fwcfg_sections, f, sizeof(*f) } };
	rc = as_add(&m->io, &f->ports, FWCFG_PORT);
	if (rc == 0)
		rc = as_add(&m->io, &f->dma, FWCFG_DMA_PORT);
	if (rc < 0) {
		fwcfg_free(f);
		return twx_error_set(e, -rc, "fw_cfg: %s", strerror(-rc));
	}
	machine_add_dev(m, &f->dev);
	return 0;
}
