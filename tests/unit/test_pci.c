/* SPDX-License-Identifier: BSD-3-Clause */
/* PCI functions: what a driver and a host see of configuration space, BARs, interrupts, DMA, state.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/macros.h"
#include "bus/pci.h"

#define RAM 0x40000000ull
#define RAM_SIZE 0x10000u
#define BORDER (RAM + RAM_SIZE / 2)

struct access {
	bool write;
	unsigned int bar, size;
	uint64_t off, value, mask;
};

struct message {
	enum pci_irq kind;
	unsigned int vector;
	uint64_t addr;
	uint32_t data;
};

struct toy {
	struct pci_dev pci;
	uint8_t bars[PCI_N_BARS][0x4000];
	struct access log[64];
	unsigned int n_log, n_resets, n_written, n_reads, n_changing, n_changed, n_run;
	bool dma_at_reset;
	uint32_t secret;
	/* The host. */
	struct mem_map *mem;
	uint8_t *ram;
	unsigned int n_intx, n_msgs, n_bars, n_dma;
	bool level;
	struct message msgs[128];
	uint8_t far[64]; /* memory that is not mapped here, at address 0 */
};

static struct toy *toy_of(struct pci_dev *dev)
{
	return container_of(dev, struct toy, pci);
}

static uint64_t toy_read(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int size)
{
	struct toy *t = toy_of(dev);
	uint64_t v = 0;

	assert_true(size && off % size == 0 && off + size <= dev->info.bars[bar].size);
	memcpy(&v, t->bars[bar] + off, size);
	t->log[t->n_log++ % 64] = (struct access){ false, bar, size, off, v, 0 };
	return v;
}

static void toy_write(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int size,
		      uint64_t value, uint64_t mask)
{
	struct toy *t = toy_of(dev);

	assert_true(size && off % size == 0 && off + size <= dev->info.bars[bar].size);
	for (unsigned int i = 0; i < size; i++)
		if (mask >> (8 * i) & 1)
			t->bars[bar][off + i] = (uint8_t)(value >> (8 * i));
	t->log[t->n_log++ % 64] = (struct access){ true, bar, size, off, value, mask };
}

static void toy_config_written(struct pci_dev *dev, uint32_t off, uint32_t len)
{
	toy_of(dev)->n_written++;
}

static void toy_config_reads(struct pci_dev *dev, uint32_t off, uint32_t len)
{
	toy_of(dev)->n_reads++;
}

static void toy_reset(struct pci_dev *dev)
{
	toy_of(dev)->n_resets++;
	toy_of(dev)->dma_at_reset = dev->dma_on;
}

static void toy_changing(struct pci_dev *dev)
{
	toy_of(dev)->n_changing++;
}

static void toy_changed(struct pci_dev *dev)
{
	toy_of(dev)->n_changed++;
}

static void toy_run(struct pci_dev *dev, bool running)
{
	struct toy *t = toy_of(dev);

	t->n_run++;
	/* May write to memory on its way into the stop, and when it runs again. */
	assert_true(dev->running);
}

static const struct pci_dev_ops toy_ops = {
	.bar_read = toy_read,
	.bar_write = toy_write,
	.config_written = toy_config_written,
	.config_reads = toy_config_reads,
	.reset = toy_reset,
	.mem_changing = toy_changing,
	.mem_changed = toy_changed,
	.run = toy_run,
};

static void host_intx(struct pci_dev *dev, bool level)
{
	struct toy *t = dev->host;

	assert_int_not_equal(t->level, level);
	t->level = level;
	t->n_intx++;
}

static void host_message(struct pci_dev *dev, enum pci_irq kind, unsigned int vector, uint64_t addr,
			 uint32_t data)
{
	struct toy *t = dev->host;

	t->msgs[t->n_msgs++ % 128] = (struct message){ kind, vector, addr, data };
}

static void host_bars_changed(struct pci_dev *dev)
{
	((struct toy *)dev->host)->n_bars++;
}

static int host_dma(struct pci_dev *dev, uint64_t addr, void *buf, uint32_t len, bool write)
{
	struct toy *t = dev->host;

	t->n_dma++;
	if (addr > sizeof(t->far) || len > sizeof(t->far) - addr)
		return -EFAULT;
	if (write)
		memcpy(t->far + addr, buf, len);
	else
		memcpy(buf, t->far + addr, len);
	return 0;
}

static const struct pci_host_ops host_ops = {
	.intx = host_intx,
	.message = host_message,
	.bars_changed = host_bars_changed,
};

static const struct pci_host_ops host_ops_dma = {
	.intx = host_intx,
	.message = host_message,
	.dma = host_dma,
};

static const struct pci_info toy_info = {
	.vendor = 0x8086,
	.device = 0x1234,
	.subsys_vendor = 0x1af4,
	.subsys = 0x1100,
	.revision = 3,
	.class_code = 0x020000,
	.int_pin = 1,
	.cache_line = 0x10,
	.bars = { [0] = { PCI_BAR_MEM32, false, 0x1000, 4, 4 },
		  [1] = { PCI_BAR_IO, false, 64, 1, 4 },
		  [2] = { PCI_BAR_MEM64, true, 0x4000, 1, 8 },
		  [4] = { PCI_BAR_MEM32, false, 0x1000, 4, 8 } },
	.n_msix = 70,
	.msix_bar = 4,
	.msix_table_off = 0x100,
	.msix_pba_off = 0x800,
	.n_msi = 8,
	.msi_flags = PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT,
};

/* Two regions that touch in guest addresses and lie the other way round in the file. */
static void ram_new(struct toy *t)
{
	int fd = memfd_create("ram", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, RAM_SIZE), 0);
	t->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(t->ram != MAP_FAILED);
	t->mem = calloc(1, sizeof(*t->mem));
	mem_init(t->mem);
	assert_int_equal(mem_add_take(t->mem, RAM, RAM_SIZE / 2, 0, dup(fd), RAM_SIZE / 2), 0);
	assert_int_equal(mem_add_take(t->mem, BORDER, RAM_SIZE / 2, 0, dup(fd), 0), 0);
	close(fd);
}

static struct toy *toy_new(const struct pci_info *info)
{
	struct toy *t = calloc(1, sizeof(*t));

	assert_int_equal(pci_dev_init(&t->pci, NULL, &toy_ops, info, NULL), 0);
	ram_new(t);
	return t;
}

static struct toy *toy_attached(const struct pci_info *info)
{
	struct toy *t = toy_new(info);

	pci_attach(&t->pci, &host_ops, t, t->mem);
	return t;
}

static void toy_free(struct toy *t)
{
	if (t->pci.host)
		pci_detach(&t->pci);
	pci_dev_fini(&t->pci);
	mem_fini(t->mem);
	free(t->mem);
	munmap(t->ram, RAM_SIZE);
	free(t);
}

static uint32_t cfg(struct toy *t, uint32_t off, uint32_t len)
{
	uint32_t v = 0;

	assert_int_equal(pci_config_read(&t->pci, off, &v, len), 0);
	return v;
}

static void cfg_write(struct toy *t, uint32_t off, uint32_t len, uint32_t v)
{
	assert_int_equal(pci_config_write(&t->pci, off, &v, len), 0);
}

static uint64_t bar(struct toy *t, unsigned int n, uint64_t off, uint32_t len)
{
	uint64_t v = 0;

	assert_int_equal(pci_bar_read(&t->pci, n, off, &v, len), 0);
	return v;
}

static void bar_write(struct toy *t, unsigned int n, uint64_t off, uint32_t len, uint64_t v)
{
	assert_int_equal(pci_bar_write(&t->pci, n, off, &v, len), 0);
}

static void enable(struct toy *t, uint16_t bits)
{
	cfg_write(t, PCI_COMMAND, 2, cfg(t, PCI_COMMAND, 2) | bits);
}

static uint32_t cap_find(struct toy *t, uint8_t id)
{
	uint32_t at = cfg(t, PCI_CAPABILITY_LIST, 1);

	for (int i = 0; i < 48 && at; i++, at = cfg(t, at + 1, 1)) {
		assert_true(at >= 0x40 && at % 4 == 0);
		if (cfg(t, at, 1) == id)
			return at;
	}
	assert_int_equal(at, 0); /* the list ends */
	return 0;
}

/* Configuration space. */

static void identity(void **state)
{
	struct toy *t = toy_new(&toy_info);

	assert_int_equal(cfg(t, PCI_VENDOR_ID, 4), 0x12348086);
	assert_int_equal(cfg(t, PCI_CLASS_REVISION, 4), 0x02000003);
	assert_int_equal(cfg(t, PCI_SUBSYSTEM_VENDOR_ID, 4), 0x11001af4);
	assert_int_equal(cfg(t, PCI_CACHE_LINE_SIZE, 1), 0x10);
	assert_int_equal(cfg(t, PCI_HEADER_TYPE, 1), 0);
	assert_int_equal(cfg(t, PCI_INTERRUPT_PIN, 1), 1);
	assert_int_equal(cfg(t, PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
	assert_int_equal(t->pci.config_size, 256);
	assert_int_not_equal(cap_find(t, PCI_CAP_ID_MSI), 0);
	assert_int_not_equal(cap_find(t, PCI_CAP_ID_MSIX), 0);
	assert_int_equal(cap_find(t, PCI_CAP_ID_EXP), 0);
	toy_free(t);
}

/* What a guest can make of the header by writing all ones, then zeros, in every size. */
static void write_masks(void **state)
{
	static const uint8_t ones[256] = { [0 ... 255] = 0xff };
	static const uint8_t zeros[256];
	struct toy *t = toy_new(&toy_info);
	uint8_t first[64], now[64];

	pci_config_read(&t->pci, 0, first, 64);
	for (uint32_t len = 1; len <= 64; len++) {
		for (uint32_t off = 0; off + len <= 64; off += len)
			pci_config_write(&t->pci, off, ones, len);
		pci_config_read(&t->pci, 0, now, 64);
		if (64 % len == 0) {
			assert_int_equal(cfg(t, PCI_COMMAND, 2), 0x0557);
			assert_int_equal(cfg(t, PCI_CACHE_LINE_SIZE, 4), 0x0000ffff);
			assert_int_equal(cfg(t, PCI_BASE_ADDRESS_0, 4), 0xfffff000);
			assert_int_equal(cfg(t, PCI_BASE_ADDRESS_1, 4), 0xffffffc1);
			assert_int_equal(cfg(t, PCI_BASE_ADDRESS_2, 4), 0xffffc00c);
			assert_int_equal(cfg(t, PCI_BASE_ADDRESS_3, 4), 0xffffffff);
			assert_int_equal(cfg(t, PCI_BASE_ADDRESS_5, 4), 0);
			assert_int_equal(cfg(t, PCI_ROM_ADDRESS, 4), 0);
			assert_int_equal(cfg(t, PCI_INTERRUPT_LINE, 4), 0x000001ff);
			assert_memory_equal(now, first, 4);
			assert_memory_equal(now + 8, first + 8, 4);
			assert_memory_equal(now + 0x28, first + 0x28, 8);
		}
		pci_config_write(&t->pci, 0, zeros, 64);
	}
	assert_int_equal(cfg(t, PCI_BASE_ADDRESS_1, 4), 1);
	assert_int_equal(cfg(t, PCI_BASE_ADDRESS_2, 4), 0xc);
	pci_reset(&t->pci);
	pci_config_read(&t->pci, 0, now, 64);
	assert_memory_equal(first, now, 64);
	toy_free(t);
}

static void beyond_config(void **state)
{
	static const uint32_t offs[] = { 256, 255, 257, 4095, 0xffffffff, 0xfffffffe, 0x80000000 };
	struct toy *t = toy_new(&toy_info);
	uint8_t buf[512] = { 0 };

	for (size_t i = 0; i < array_size(offs); i++) {
		assert_int_equal(pci_config_read(&t->pci, offs[i], buf, 2), -EINVAL);
		assert_int_equal(pci_config_write(&t->pci, offs[i], buf, 2), -EINVAL);
	}
	assert_int_equal(pci_config_read(&t->pci, 1, buf, 256), -EINVAL);
	assert_int_equal(pci_config_read(&t->pci, 4, buf, 0xffffffff), -EINVAL);
	assert_int_equal(pci_config_read(&t->pci, 0, buf, 256), 0);
	toy_free(t);
}

static void status_w1c(void **state)
{
	struct toy *t = toy_attached(&toy_info);
	uint8_t b;

	enable(t, PCI_COMMAND_MASTER);
	assert_int_equal(pci_dma_read(&t->pci, (gpa){ 0x1000 }, &b, 1), -EFAULT);
	assert_true(cfg(t, PCI_STATUS, 2) & PCI_STATUS_REC_MASTER_ABORT);
	/* Zeros leave it, a write of the command alone does, ones of others do. */
	cfg_write(t, PCI_STATUS, 2, 0);
	enable(t, PCI_COMMAND_MEMORY);
	cfg_write(t, PCI_STATUS, 2, 0xffff & ~PCI_STATUS_REC_MASTER_ABORT);
	assert_true(cfg(t, PCI_STATUS, 2) & PCI_STATUS_REC_MASTER_ABORT);
	cfg_write(t, PCI_STATUS, 2, PCI_STATUS_REC_MASTER_ABORT);
	assert_int_equal(cfg(t, PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
	toy_free(t);
}

static void capabilities(void **state)
{
	static const uint8_t body[6] = { 1, 2, 3, 4, 5, 6 }, mask[6] = { 0, 0xff, 0, 0x0f };
	struct toy *t = toy_new(&toy_info);
	uint8_t off = pci_add_capability(&t->pci, PCI_CAP_ID_VNDR, 8, body, mask);
	unsigned int reads, written;

	assert_int_equal(cfg(t, PCI_CAPABILITY_LIST, 1), off);
	assert_int_equal(cap_find(t, PCI_CAP_ID_VNDR), off);
	assert_int_not_equal(cap_find(t, PCI_CAP_ID_MSIX), 0);
	cfg_write(t, off, 4, 0xaaaaaaaa);
	cfg_write(t, off + 4, 4, 0xbbbbbbbb);
	assert_int_equal(cfg(t, off + 2, 4), 0x0b03aa01);
	written = t->n_written;
	reads = t->n_reads;
	cfg(t, PCI_STATUS, 4);
	cfg_write(t, PCI_INTERRUPT_LINE, 1, 5);
	assert_int_equal(t->n_reads, reads);
	assert_int_equal(t->n_written, written);
	cfg(t, off, 1);
	cfg_write(t, off, 1, 0);
	enable(t, PCI_COMMAND_IO);
	assert_int_equal(t->n_reads, reads + 1);
	assert_int_equal(t->n_written, written + 2);
	toy_free(t);
}

/* BARs. */

static void placing(void **state)
{
	struct toy *t = toy_attached(&toy_info);
	uint64_t at;

	assert_int_equal(pci_bar_size(&t->pci, 2), 0x4000);
	assert_int_equal(pci_bar_size(&t->pci, 3), 0);
	assert_int_equal(pci_bar_size(&t->pci, PCI_BAR_ROM), 0);
	assert_int_equal(pci_bar_size(&t->pci, 7), 0);
	assert_int_equal(pci_bar_size(&t->pci, ~0u), 0);
	assert_false(pci_bar_addr(&t->pci, 3, &at));
	cfg_write(t, PCI_BASE_ADDRESS_0, 4, 0xfebc1234);
	assert_false(pci_bar_addr(&t->pci, 0, &at));
	enable(t, PCI_COMMAND_MEMORY);
	assert_true(pci_bar_addr(&t->pci, 0, &at));
	assert_true(at == 0xfebc1000);
	/* Never set, and as sizing leaves it. */
	assert_false(pci_bar_addr(&t->pci, 2, &at));
	cfg_write(t, PCI_BASE_ADDRESS_2, 4, ~0u);
	cfg_write(t, PCI_BASE_ADDRESS_3, 4, ~0u);
	assert_false(pci_bar_addr(&t->pci, 2, &at));
	cfg_write(t, PCI_BASE_ADDRESS_2, 4, 0xe0000000);
	cfg_write(t, PCI_BASE_ADDRESS_3, 4, 0x38);
	assert_true(pci_bar_addr(&t->pci, 2, &at));
	assert_true(at == 0x38e0000000);
	cfg_write(t, PCI_BASE_ADDRESS_1, 4, 0xc080);
	assert_false(pci_bar_addr(&t->pci, 1, &at));
	enable(t, PCI_COMMAND_IO);
	assert_true(pci_bar_addr(&t->pci, 1, &at));
	assert_true(at == 0xc080);
	cfg_write(t, PCI_BASE_ADDRESS_1, 4, 0x1c080); /* beyond 64 KiB of ports */
	assert_false(pci_bar_addr(&t->pci, 1, &at));
	t->n_bars = 0;
	cfg_write(t, PCI_INTERRUPT_LINE, 1, 11);
	enable(t, PCI_COMMAND_IO);
	assert_int_equal(t->n_bars, 0);
	cfg_write(t, PCI_COMMAND, 2, 0);
	assert_int_equal(t->n_bars, 1);
	pci_reset(&t->pci);
	assert_int_equal(t->n_bars, 2);
	toy_free(t);
}

static void decoding(void **state)
{
	struct toy *t = toy_attached(&toy_info);

	bar_write(t, 0, 0, 4, 0x11223344);
	bar_write(t, 1, 0, 4, 0x11223344);
	assert_int_equal(bar(t, 0, 0, 4), 0xffffffff);
	assert_int_equal(bar(t, 1, 0, 2), 0xffff);
	assert_int_equal(t->n_log, 0);
	enable(t, PCI_COMMAND_IO);
	bar_write(t, 1, 0, 4, 0x11223344);
	bar_write(t, 0, 0, 4, 0x11223344);
	assert_int_equal(t->n_log, 1);
	assert_int_equal(bar(t, 1, 0, 4), 0x11223344);
	cfg_write(t, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(bar(t, 0, 0, 4), 0);
	assert_int_equal(bar(t, 1, 0, 4), 0xffffffff);
	toy_free(t);
}

static void logged(struct toy *t, unsigned int i, bool write, uint64_t off, unsigned int size,
		   uint64_t value, uint64_t mask)
{
	const struct access *a = &t->log[i];

	assert_int_equal(a->write, write);
	assert_true(a->off == off);
	assert_int_equal(a->size, size);
	assert_true(a->value == value);
	assert_true(a->mask == mask);
}

/* Accesses wider and narrower than the device's own: low address first, byte enables told. */
static void composing(void **state)
{
	struct toy *t = toy_attached(&toy_info);

	enable(t, PCI_COMMAND_MEMORY);
	bar_write(t, 0, 8, 8, 0x8877665544332211);
	assert_int_equal(t->n_log, 2);
	logged(t, 0, true, 8, 4, 0x44332211, 0xffffffff);
	logged(t, 1, true, 12, 4, 0x88776655, 0xffffffff);
	t->n_log = 0;
	assert_true(bar(t, 0, 8, 8) == 0x8877665544332211);
	assert_int_equal(t->n_log, 2);
	t->n_log = 0;
	assert_int_equal(bar(t, 0, 10, 1), 0x33);
	assert_int_equal(bar(t, 0, 10, 2), 0x4433);
	logged(t, 0, false, 8, 4, 0x44332211, 0);
	assert_int_equal(t->n_log, 2);
	t->n_log = 0;
	assert_int_equal(bar(t, 0, 11, 2), 0x5544); /* across two */
	assert_int_equal(t->n_log, 2);
	t->n_log = 0;
	bar_write(t, 0, 11, 2, 0xccdd);
	assert_int_equal(t->n_log, 2);
	logged(t, 0, true, 8, 4, 0xdd000000, 0xff000000);
	logged(t, 1, true, 12, 4, 0x000000cc, 0x000000ff);
	assert_true(bar(t, 0, 8, 8) == 0x887766ccdd332211);
	t->n_log = 0;
	bar_write(t, 0, 9, 1, 0x5a);
	logged(t, 0, true, 8, 4, 0x5a00, 0xff00);
	/* One that takes 1 to 8 bytes gets them as they come, aligned. */
	t->n_log = 0;
	bar_write(t, 2, 0, 8, 0x0807060504030201);
	logged(t, 0, true, 0, 8, 0x0807060504030201, ~0ull);
	t->n_log = 0;
	assert_true(bar(t, 2, 1, 7) == 0x08070605040302);
	assert_int_equal(t->n_log, 3);
	logged(t, 0, false, 1, 1, 2, 0);
	logged(t, 1, false, 2, 2, 0x0403, 0);
	logged(t, 2, false, 4, 4, 0x08070605, 0);
	toy_free(t);
}

static void any_size(void **state)
{
	struct toy *t = toy_attached(&toy_info);
	uint8_t in[64], out[64];

	enable(t, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	for (unsigned int n = 0; n < 3; n++) {
		for (uint32_t off = 0; off < 16; off++) {
			for (uint32_t len = 0; len <= 40; len++) {
				for (uint32_t i = 0; i < len; i++)
					in[i] = (uint8_t)(off * 31 + len * 7 + i);
				assert_int_equal(pci_bar_write(&t->pci, n, off, in, len), 0);
				assert_int_equal(pci_bar_read(&t->pci, n, off, out, len), 0);
				assert_memory_equal(in, out, len);
				assert_memory_equal(t->bars[n] + off, in, len);
			}
		}
	}
	toy_free(t);
}

static void beyond_bars(void **state)
{
	static const uint64_t offs[] = { 0x1000, 0xfff, 0x1001, ~0ull, ~0ull - 1, 1ull << 63 };
	struct toy *t = toy_attached(&toy_info);
	uint8_t buf[8] = { 0 };

	enable(t, PCI_COMMAND_MEMORY);
	for (size_t i = 0; i < array_size(offs); i++) {
		assert_int_equal(pci_bar_read(&t->pci, 0, offs[i], buf, 2), -EINVAL);
		assert_int_equal(pci_bar_write(&t->pci, 0, offs[i], buf, 2), -EINVAL);
		assert_int_equal(pci_bar_read(&t->pci, 4, offs[i], buf, 2), -EINVAL);
	}
	assert_int_equal(pci_bar_read(&t->pci, 0, 1, buf, 0xffffffff), -EINVAL);
	assert_int_equal(pci_bar_read(&t->pci, 3, 0, buf, 1), -EINVAL);
	assert_int_equal(pci_bar_read(&t->pci, 5, 0, buf, 0), -EINVAL);
	assert_int_equal(pci_bar_write(&t->pci, PCI_BAR_ROM, 0, buf, 1), -EINVAL);
	assert_int_equal(pci_bar_write(&t->pci, 7, 0, buf, 1), -EINVAL);
	assert_int_equal(pci_bar_write(&t->pci, ~0u, 0, buf, 1), -EINVAL);
	assert_int_equal(t->n_log, 0);
	toy_free(t);
}

/* INTx. */

static void line(void **state)
{
	struct toy *t = toy_attached(&toy_info);

	pci_set_intx(&t->pci, true);
	pci_set_intx(&t->pci, true);
	assert_true(t->level);
	assert_int_equal(t->n_intx, 1);
	assert_true(cfg(t, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	enable(t, PCI_COMMAND_INTX_DISABLE);
	assert_false(t->level);
	assert_true(cfg(t, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	cfg_write(t, PCI_COMMAND, 2, 0);
	assert_true(t->level);
	pci_set_intx(&t->pci, false);
	assert_false(t->level);
	assert_false(cfg(t, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	pci_set_intx(&t->pci, true);
	pci_reset(&t->pci);
	assert_false(t->level);
	/* A message is none while the line is in use. */
	pci_notify(&t->pci, 0);
	assert_int_equal(t->n_msgs, 0);
	toy_free(t);
}

static void line_of_a_new_host(void **state)
{
	struct toy *t = toy_new(&toy_info);

	pci_set_intx(&t->pci, true);
	pci_attach(&t->pci, &host_ops, t, t->mem);
	assert_true(t->level);
	pci_detach(&t->pci);
	assert_int_equal(t->n_intx, 1); /* the host that is left hears nothing */
	assert_int_equal(t->n_resets, 1);
	toy_free(t);
}

static void no_line(void **state)
{
	struct pci_info info = toy_info;
	struct toy *t;

	info.int_pin = 0;
	t = toy_attached(&info);
	pci_set_intx(&t->pci, true);
	assert_int_equal(t->n_intx, 0);
	assert_false(cfg(t, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	toy_free(t);
}

/* MSI. */

static void msi_setup(struct toy *t, unsigned int log2)
{
	uint32_t cap = cap_find(t, PCI_CAP_ID_MSI);
	bool wide = cfg(t, cap + PCI_MSI_FLAGS, 2) & PCI_MSI_FLAGS_64BIT;

	enable(t, PCI_COMMAND_MASTER);
	cfg_write(t, cap + PCI_MSI_ADDRESS_LO, 4, 0xfee01007);
	if (wide)
		cfg_write(t, cap + PCI_MSI_ADDRESS_HI, 4, 2);
	cfg_write(t, cap + (wide ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32), 2, 0x4147);
	cfg_write(t, cap + PCI_MSI_FLAGS, 2, PCI_MSI_FLAGS_ENABLE | log2 << 4);
}

static void got(struct toy *t, unsigned int i, enum pci_irq kind, unsigned int v, uint64_t addr,
		uint32_t data)
{
	assert_true(i < t->n_msgs);
	assert_int_equal(t->msgs[i].kind, kind);
	assert_int_equal(t->msgs[i].vector, v);
	assert_true(t->msgs[i].addr == addr);
	assert_int_equal(t->msgs[i].data, data);
}

static void msi_vectors(void **state)
{
	struct toy *t = toy_attached(&toy_info);
	uint32_t cap = cap_find(t, PCI_CAP_ID_MSI);

	assert_int_equal(cfg(t, cap + PCI_MSI_FLAGS, 2),
			 3 << 1 | PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT);
	msi_setup(t, 3);
	for (unsigned int v = 0; v < 8; v++)
		pci_notify(&t->pci, v);
	assert_int_equal(t->n_msgs, 8);
	for (unsigned int v = 0; v < 8; v++)
		got(t, v, PCI_IRQ_MSI, v, 0x2fee01004, 0x4140 | v);
	pci_notify(&t->pci, 8);
	pci_notify(&t->pci, ~0u);
	assert_int_equal(t->n_msgs, 8);
	/* Fewer granted: shared; more than asked for: no more than there are. */
	msi_setup(t, 1);
	pci_notify(&t->pci, 7);
	got(t, 8, PCI_IRQ_MSI, 1, 0x2fee01004, 0x4147);
	msi_setup(t, 7);
	pci_notify(&t->pci, 6);
	got(t, 9, PCI_IRQ_MSI, 6, 0x2fee01004, 0x4146);
	/* The line is not used meanwhile, and comes back. */
	pci_set_intx(&t->pci, true);
	assert_false(t->level);
	cfg_write(t, cap + PCI_MSI_FLAGS, 2, 0);
	assert_true(t->level);
	toy_free(t);
}

static void msi_masks(void **state)
{
	struct toy *t = toy_attached(&toy_info);
	uint32_t cap = cap_find(t, PCI_CAP_ID_MSI);

	msi_setup(t, 3);
	cfg_write(t, cap + PCI_MSI_MASK_64, 4, ~0u);
	assert_int_equal(cfg(t, cap + PCI_MSI_MASK_64, 4), 0xff);
	pci_notify(&t->pci, 2);
	pci_notify(&t->pci, 2);
	pci_notify(&t->pci, 5);
	assert_int_equal(t->n_msgs, 0);
	assert_int_equal(cfg(t, cap + PCI_MSI_PENDING_64, 4), 1 << 2 | 1 << 5);
	cfg_write(t, cap + PCI_MSI_PENDING_64, 4, 0);
	cfg_write(t, cap + PCI_MSI_MASK_64, 4, 0xff & ~(1 << 2));
	assert_int_equal(t->n_msgs, 1);
	got(t, 0, PCI_IRQ_MSI, 2, 0x2fee01004, 0x4142);
	assert_int_equal(cfg(t, cap + PCI_MSI_PENDING_64, 4), 1 << 5);
	pci_reset(&t->pci);
	msi_setup(t, 3);
	assert_int_equal(t->n_msgs, 1);
	toy_free(t);
}

static void msi_narrow(void **state)
{
	static const uint16_t flags[] = { 0, PCI_MSI_FLAGS_MASKBIT, PCI_MSI_FLAGS_64BIT };
	struct pci_info info = toy_info;

	info.n_msi = 32;
	for (unsigned int i = 0; i < 3; i++) {
		struct toy *t;

		info.msi_flags = flags[i];
		t = toy_attached(&info);
		assert_int_equal(cfg(t, cap_find(t, PCI_CAP_ID_MSI) + PCI_MSI_FLAGS, 2),
				 5 << 1 | flags[i]);
		msi_setup(t, 5);
		pci_notify(&t->pci, 31);
		got(t, 0, PCI_IRQ_MSI, 31, i == 2 ? 0x2fee01004 : 0xfee01004, 0x415f);
		toy_free(t);
	}
}

/* A message is a write by the bus master. */
static void msi_without_master(void **state)
{
	struct toy *t = toy_attached(&toy_info);

	msi_setup(t, 3);
	cfg_write(t, PCI_COMMAND, 2, 0);
	pci_notify(&t->pci, 1);
	assert_int_equal(t->n_msgs, 0);
	enable(t, PCI_COMMAND_MASTER);
	got(t, 0, PCI_IRQ_MSI, 1, 0x2fee01004, 0x4141);
	enable(t, PCI_COMMAND_MEMORY);
	assert_int_equal(t->n_msgs, 1);
	toy_free(t);
}

/* MSI-X. */

static void msix_entry(struct toy *t, unsigned int v, bool masked)
{
	bar_write(t, 4, 0x100 + 16 * v, 8, 0x100000000 * v + 0xfee00003);
	bar_write(t, 4, 0x108 + 16 * v, 4, 0x4000 + v);
	bar_write(t, 4, 0x10c + 16 * v, 4, masked ? 0xffffffff : 0xfffffffe);
}

static void msix_setup(struct toy *t)
{
	enable(t, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
	for (unsigned int v = 0; v < 70; v++)
		msix_entry(t, v, false);
	cfg_write(t, cap_find(t, PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
}

static void msix_vectors(void **state)
{
	struct toy *t = toy_attached(&toy_info);
	uint32_t cap = cap_find(t, PCI_CAP_ID_MSIX);

	assert_int_equal(cfg(t, cap + PCI_MSIX_FLAGS, 2), 69);
	assert_int_equal(cfg(t, cap + PCI_MSIX_TABLE, 4), 0x104);
	assert_int_equal(cfg(t, cap + PCI_MSIX_PBA, 4), 0x804);
	cfg_write(t, cap + PCI_MSIX_FLAGS, 2, 0xffff);
	assert_int_equal(cfg(t, cap + PCI_MSIX_FLAGS, 2), 0xc045);
	enable(t, PCI_COMMAND_MEMORY);
	assert_int_equal(bar(t, 4, 0x10c, 4), 1); /* masked after a reset */
	msix_setup(t);
	assert_true(bar(t, 4, 0x100 + 16 * 69, 8) == 0x45fee00000);
	assert_true(bar(t, 4, 0x108 + 16 * 69, 8) == 0x4045);
	for (unsigned int v = 0; v < 70; v++)
		pci_notify(&t->pci, v);
	pci_notify(&t->pci, 70);
	pci_notify(&t->pci, ~0u);
	assert_int_equal(t->n_msgs, 70);
	for (unsigned int v = 0; v < 70; v++)
		got(t, v, PCI_IRQ_MSIX, v, 0x100000000 * v + 0xfee00000, 0x4000 + v);
	toy_free(t);
}

static void msix_masks(void **state)
{
	struct toy *t = toy_attached(&toy_info);
	uint32_t cap = cap_find(t, PCI_CAP_ID_MSIX);

	msix_setup(t);
	msix_entry(t, 3, true);
	msix_entry(t, 68, true);
	pci_notify(&t->pci, 3);
	pci_notify(&t->pci, 68);
	pci_notify(&t->pci, 68);
	pci_notify(&t->pci, 4);
	assert_int_equal(t->n_msgs, 1);
	assert_true(bar(t, 4, 0x800, 8) == 1 << 3);
	assert_true(bar(t, 4, 0x808, 8) == 1 << 4);
	bar_write(t, 4, 0x800, 8, 0); /* read-only */
	assert_true(bar(t, 4, 0x800, 1) == 1 << 3);
	bar_write(t, 4, 0x10c + 16 * 68, 1, 0); /* one byte will do */
	assert_int_equal(t->n_msgs, 2);
	got(t, 1, PCI_IRQ_MSIX, 68, 0x44fee00000, 0x4044);
	assert_true(bar(t, 4, 0x808, 8) == 0);
	cfg_write(t, cap + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	pci_notify(&t->pci, 9);
	msix_entry(t, 3, false);
	assert_int_equal(t->n_msgs, 2);
	cfg_write(t, cap + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(t->n_msgs, 4);
	got(t, 2, PCI_IRQ_MSIX, 3, 0x3fee00000, 0x4003);
	got(t, 3, PCI_IRQ_MSIX, 9, 0x9fee00000, 0x4009);
	assert_int_equal(t->n_log, 0); /* the device saw none of it */
	toy_free(t);
}

/* Accesses that begin before the table, end behind it, or cross into the device's part. */
static void msix_borders(void **state)
{
	struct toy *t = toy_attached(&toy_info);
	uint8_t all[0x1000], want[0x1000];

	msix_setup(t);
	memset(t->bars[4], 0x5a, sizeof(t->bars[4]));
	assert_int_equal(pci_bar_read(&t->pci, 4, 0, all, 0x1000), 0);
	memset(want, 0x5a, sizeof(want));
	for (uint32_t off = 0x100; off < 0x100 + 16 * 70; off++)
		want[off] = (uint8_t)bar(t, 4, off, 1);
	memset(want + 0x800, 0, 16);
	assert_memory_equal(all, want, sizeof(all));
	t->n_log = 0;
	bar_write(t, 4, 0xfc, 8, 0x1122334455667788);
	assert_int_equal(t->n_log, 1);
	logged(t, 0, true, 0xfc, 4, 0x55667788, 0xffffffff);
	assert_int_equal(bar(t, 4, 0x100, 4), 0x11223344);
	t->n_log = 0;
	bar_write(t, 4, 0x80e, 4, 0x99887766);
	assert_int_equal(t->n_log, 1);
	logged(t, 0, true, 0x810, 4, 0x9988, 0xffff);
	memset(all, 0xff, sizeof(all));
	assert_int_equal(pci_bar_write(&t->pci, 4, 0, all, 0x1000), 0);
	assert_int_equal(bar(t, 4, 0x10c, 4), 1);
	assert_int_equal(bar(t, 4, 0x100, 4), 0xfffffffc);
	toy_free(t);
}

/* A VMM that keeps the table: our copy of masks and enables does not matter. */
static void host_that_masks(void **state)
{
	struct toy *t = toy_new(&toy_info);

	t->pci.host_masks = true;
	pci_attach(&t->pci, &host_ops, t, t->mem);
	pci_notify(&t->pci, 1);
	assert_int_equal(t->n_msgs, 0);
	pci_irq_mode(&t->pci, PCI_IRQ_MSIX);
	pci_notify(&t->pci, 69);
	assert_int_equal(t->n_msgs, 1);
	assert_int_equal(t->msgs[0].vector, 69);
	pci_set_intx(&t->pci, true);
	assert_false(t->level);
	pci_irq_mode(&t->pci, PCI_IRQ_MSI);
	pci_notify(&t->pci, 7);
	assert_int_equal(t->n_msgs, 2);
	assert_int_equal(t->msgs[1].vector, 7);
	cfg_write(t, cap_find(t, PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(t->pci.irq_mode, PCI_IRQ_MSI);
	pci_irq_mode(&t->pci, PCI_IRQ_INTX);
	assert_true(t->level);
	toy_free(t);
}

/* While the machine stands still nothing leaves, and nothing is lost. */
static void standing_still(void **state)
{
	struct toy *t = toy_attached(&toy_info);
	uint32_t v = 7;

	msix_setup(t);
	assert_int_equal(pci_dma_write(&t->pci, (gpa){ RAM }, &v, 4), 0);
	pci_run(&t->pci, false);
	pci_run(&t->pci, false);
	assert_int_equal(t->n_run, 1);
	assert_int_equal(pci_dma_write(&t->pci, (gpa){ RAM }, &v, 4), -EPERM);
	assert_null(pci_dma_ptr(&t->pci, (gpa){ RAM }, 4));
	pci_notify(&t->pci, 5);
	assert_int_equal(t->n_msgs, 0);
	pci_run(&t->pci, true);
	assert_int_equal(t->n_msgs, 1);
	assert_int_equal(pci_dma_write(&t->pci, (gpa){ RAM }, &v, 4), 0);
	toy_free(t);
}

/* DMA. */

static void dma(void **state)
{
	struct toy *t = toy_attached(&toy_info);
	uint8_t buf[64];
	struct iovec iov[4];

	assert_int_equal(pci_dma_read(&t->pci, (gpa){ RAM }, buf, 1), -EPERM);
	assert_int_equal(pci_dma_iov(&t->pci, (gpa){ RAM }, 1, iov, 4), -EPERM);
	assert_null(pci_dma_ptr(&t->pci, (gpa){ RAM }, 1));
	enable(t, PCI_COMMAND_MASTER);
	memset(buf, 0xab, sizeof(buf));
	assert_int_equal(pci_dma_write(&t->pci, (gpa){ BORDER - 32 }, buf, 64), 0);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(pci_dma_read(&t->pci, (gpa){ BORDER - 32 }, buf, 64), 0);
	for (unsigned int i = 0; i < 64; i++)
		assert_int_equal(buf[i], 0xab);
	assert_int_equal(t->ram[RAM_SIZE - 1], 0xab);
	assert_int_equal(t->ram[0], 0xab);
	assert_int_equal(pci_dma_iov(&t->pci, (gpa){ BORDER - 32 }, 64, iov, 4), 2);
	assert_null(pci_dma_ptr(&t->pci, (gpa){ BORDER - 32 }, 64));
	assert_ptr_equal(pci_dma_ptr(&t->pci, (gpa){ BORDER }, 64), t->pci.mem->regions[1].host);
	/* Nothing of an access that leaves memory is done. */
	memset(buf, 0xcd, sizeof(buf));
	assert_int_equal(pci_dma_write(&t->pci, (gpa){ RAM + RAM_SIZE - 8 }, buf, 9), -EFAULT);
	assert_int_equal(t->ram[RAM_SIZE / 2 - 1], 0);
	assert_int_equal(pci_dma_write(&t->pci, (gpa){ ~0ull }, buf, 2), -EFAULT);
	assert_int_equal(pci_dma_write(&t->pci, (gpa){ RAM - 1 }, buf, 2), -EFAULT);
	/* Each write is marked, whichever way it goes. */
	t->mem->log = calloc(1, (RAM + RAM_SIZE) / 4096 / 8);
	t->mem->log_size = (RAM + RAM_SIZE) / 4096 / 8;
	assert_int_equal(pci_dma_write(&t->pci, (gpa){ BORDER - 1 }, buf, 2), 0);
	assert_int_equal(pci_dma_write(&t->pci, (gpa){ RAM }, buf, 2), 0);
	assert_int_equal(t->mem->log[RAM / 4096 / 8], 0x81);
	assert_int_equal(t->mem->log[BORDER / 4096 / 8], 0x01);
	free(t->mem->log);
	t->mem->log = NULL;
	toy_free(t);
}

static void dma_by_message(void **state)
{
	struct toy *t = toy_new(&toy_info);
	uint32_t v = 0x12345678, back = 0;

	pci_attach(&t->pci, &host_ops_dma, t, t->mem);
	assert_int_equal(pci_dma_write(&t->pci, (gpa){ 4 }, &v, 4), -EPERM);
	enable(t, PCI_COMMAND_MASTER);
	assert_int_equal(pci_dma_write(&t->pci, (gpa){ RAM }, &v, 4), 0);
	assert_int_equal(t->n_dma, 0);
	assert_int_equal(pci_dma_write(&t->pci, (gpa){ 4 }, &v, 4), 0);
	assert_int_equal(pci_dma_read(&t->pci, (gpa){ 4 }, &back, 4), 0);
	assert_int_equal(back, v);
	assert_int_equal(t->n_dma, 2);
	assert_int_equal(pci_dma_read(&t->pci, (gpa){ 62 }, &back, 4), -EFAULT);
	toy_free(t);
}

static void without_a_host(void **state)
{
	struct toy *t = toy_new(&toy_info);
	uint8_t b = 0;

	enable(t, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
	assert_int_equal(pci_dma_read(&t->pci, (gpa){ RAM }, &b, 1), -EFAULT);
	assert_null(pci_dma_ptr(&t->pci, (gpa){ RAM }, 1));
	msix_setup(t);
	pci_notify(&t->pci, 1);
	pci_set_intx(&t->pci, true);
	pci_attach(&t->pci, &host_ops, t, t->mem);
	assert_int_equal(t->n_msgs, 0);
	assert_int_equal(pci_dma_read(&t->pci, (gpa){ RAM }, &b, 1), 0);
	pci_detach(&t->pci);
	assert_int_equal(cfg(t, PCI_COMMAND, 2), 0);
	assert_false(t->dma_at_reset);
	assert_int_equal(t->n_changing, 2);
	assert_int_equal(t->n_changed, 2);
	enable(t, PCI_COMMAND_MASTER);
	assert_int_equal(pci_dma_read(&t->pci, (gpa){ RAM }, &b, 1), -EFAULT);
	toy_free(t);
}

/* The ROM. */

struct rom {
	struct toy *t;
	struct twx_nic nic;
	struct twx_opts *opts;
	char path[64];
};

/* A card with the options @text, in which %s stands for a file of @size bytes, all 0xc3. */
static int rom_new(struct rom *r, const char *text, size_t size, struct twx_error *e)
{
	struct twx_net_config config = { .size = sizeof(config) };
	char full[256], *bytes = malloc(size + 1);
	int fd, rc;

	*r = (struct rom){ .path = "/tmp/twinax-rom-XXXXXX" };
	fd = mkstemp(r->path);
	memset(bytes, 0xc3, size);
	assert_int_equal(write(fd, bytes, size), size);
	close(fd);
	free(bytes);
	assert_int_equal(twx_loop_new(&config.loop, e), 0);
	assert_int_equal(twx_net_new(&r->nic.net, &config, e), 0);
	r->nic.loop = config.loop;
	strcpy(r->nic.id, "nic0");
	snprintf(full, sizeof(full), text, r->path);
	assert_int_equal(twx_opts_parse(&r->opts, full, NULL, e), 0);
	assert_int_equal(twx_opts_check(r->opts, pci_options, e), 0);
	r->t = calloc(1, sizeof(*r->t));
	assert_int_equal(pci_dev_init(&r->t->pci, &r->nic, &toy_ops, &toy_info, e), 0);
	ram_new(r->t);
	rc = pci_load_rom(&r->t->pci, r->opts, e);
	unlink(r->path);
	return rc;
}

static void rom_free(struct rom *r)
{
	toy_free(r->t);
	twx_opts_free(r->opts);
	twx_net_free(r->nic.net);
	twx_loop_free(r->nic.loop);
}

static void rom(void **state)
{
	struct twx_error e = { 0 };
	struct rom r;
	struct toy *t;
	uint64_t at;

	assert_int_equal(rom_new(&r, "romfile=%s", 3000, &e), 0);
	t = r.t;
	assert_int_equal(pci_bar_size(&t->pci, PCI_BAR_ROM), 4096);
	assert_int_equal(bar(t, PCI_BAR_ROM, 2998, 4), 0xc3c3); /* padded with zeros */
	assert_int_equal(pci_bar_read(&t->pci, PCI_BAR_ROM, 4095, &at, 2), -EINVAL);
	bar_write(t, PCI_BAR_ROM, 0, 4, 0);
	assert_int_equal(bar(t, PCI_BAR_ROM, 0, 4), 0xc3c3c3c3);
	cfg_write(t, PCI_ROM_ADDRESS, 4, ~0u);
	assert_int_equal(cfg(t, PCI_ROM_ADDRESS, 4), 0xfffff001);
	enable(t, PCI_COMMAND_MEMORY);
	assert_false(pci_bar_addr(&t->pci, PCI_BAR_ROM, &at));
	cfg_write(t, PCI_ROM_ADDRESS, 4, 0xfeb40000);
	assert_false(pci_bar_addr(&t->pci, PCI_BAR_ROM, &at));
	cfg_write(t, PCI_ROM_ADDRESS, 4, 0xfeb40001);
	assert_true(pci_bar_addr(&t->pci, PCI_BAR_ROM, &at));
	assert_true(at == 0xfeb40000);
	rom_free(&r);
}

static void rom_options(void **state)
{
	static const struct {
		const char *text;
		size_t file;
		uint64_t size;	 /* of the BAR */
		const char *why; /* or why it is refused */
	} cases[] = {
		{ "rombar=1", 1, 0, NULL },
		{ "romfile=", 1, 0, NULL },
		{ "romfile=%s", 1, 2048, NULL },
		{ "romfile=%s", 65536, 65536, NULL },
		{ "romfile=%s,rombar=0", 3000, 0, NULL },
		{ "romfile=%s,romsize=256k", 3000, 262144, NULL },
		{ "romfile=%s,romsize=0x2000", 3000, 8192, NULL },
		{ "romfile=%s,romsize=3000", 3000, 0, "romsize=3000 is no power of two" },
		{ "romfile=%s,romsize=2048", 3000, 0, "has 3000 bytes, romsize=2048" },
		{ "romfile=%s,romsize=32M", 3000, 0, "no power of two between" },
		{ "romsize=4096", 1, 0, "romsize= without a romfile" },
		{ "romfile=/nonexistent", 1, 0, "cannot open romfile '/nonexistent'" },
		{ "romfile=/dev/null", 1, 0, "romfile '/dev/null' is no file" },
		{ "romfile=%s", 0, 0, "is no file of 1 to" },
		{ "romfile=%s", (16 << 20) + 1, 0, "is no file of 1 to" },
	};

	for (size_t i = 0; i < array_size(cases); i++) {
		struct twx_error e = { 0 };
		struct rom r;
		int rc = rom_new(&r, cases[i].text, cases[i].file, &e);

		if (!cases[i].why)
			assert_int_equal(rc, 0);
		else if (rc == 0 || !strstr(e.what, cases[i].why) || !strstr(e.what, "nic0"))
			fail_msg("%s: %d '%s'", cases[i].text, rc, e.what);
		assert_int_equal(pci_bar_size(&r.t->pci, PCI_BAR_ROM), cases[i].size);
		cfg_write(r.t, PCI_ROM_ADDRESS, 4, ~0u);
		assert_true((cfg(r.t, PCI_ROM_ADDRESS, 4) != 0) == (cases[i].size != 0));
		rom_free(&r);
	}
}

/* PCIe. */

static struct toy *toy_express(void)
{
	struct pci_info info = toy_info;

	info.express = true;
	return toy_attached(&info);
}

static void express(void **state)
{
	struct toy *t = toy_express();
	uint32_t cap = cap_find(t, PCI_CAP_ID_EXP);
	uint8_t buf[4096];

	assert_int_equal(t->pci.config_size, 4096);
	assert_int_equal(pci_config_read(&t->pci, 0, buf, 4096), 0);
	assert_int_equal(cfg(t, 0x100, 4), 0); /* no extended capability */
	assert_int_equal(cfg(t, cap + PCI_EXP_FLAGS, 2), 2);
	assert_true(cfg(t, cap + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR);
	cfg_write(t, PCI_LATENCY_TIMER, 1, 0xff);
	assert_int_equal(cfg(t, PCI_LATENCY_TIMER, 1), 0);
	cfg_write(t, cap + PCI_EXP_DEVCTL, 2, 0x2810 | PCI_EXP_DEVCTL_CERE);
	assert_int_equal(cfg(t, cap + PCI_EXP_DEVCTL, 2), 0x2810 | PCI_EXP_DEVCTL_CERE);
	toy_free(t);
}

static void function_level_reset(void **state)
{
	struct toy *t = toy_express();
	uint32_t cap = cap_find(t, PCI_CAP_ID_EXP);

	msix_setup(t);
	pci_set_intx(&t->pci, true);
	cfg_write(t, cap + PCI_EXP_DEVCTL, 1, 0xff);
	assert_int_equal(t->n_resets, 0);
	cfg_write(t, cap + PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_BCR_FLR);
	assert_int_equal(t->n_resets, 1);
	assert_false(t->dma_at_reset);
	assert_int_equal(cfg(t, PCI_COMMAND, 2), 0);
	assert_int_equal(cfg(t, cap + PCI_EXP_DEVCTL, 2) & PCI_EXP_DEVCTL_BCR_FLR, 0);
	assert_false(cfg(t, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	enable(t, PCI_COMMAND_MEMORY);
	assert_int_equal(bar(t, 4, 0x10c, 4), 1);
	toy_free(t);
}

static void power(void **state)
{
	struct toy *t = toy_express();
	uint32_t cap = cap_find(t, PCI_CAP_ID_PM);
	uint8_t b;

	enable(t, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
	bar_write(t, 0, 0, 4, 5);
	cfg_write(t, cap + PCI_PM_CTRL, 2, 3);
	assert_int_equal(bar(t, 0, 0, 4), 0xffffffff);
	assert_int_equal(pci_dma_read(&t->pci, (gpa){ RAM }, &b, 1), -EPERM);
	cfg_write(t, cap + PCI_PM_CTRL, 2, 1); /* D1, which there is not */
	assert_int_equal(cfg(t, cap + PCI_PM_CTRL, 1) & 3, 3);
	cfg_write(t, cap + PCI_PM_CTRL, 2, 0);
	assert_int_equal(bar(t, 0, 0, 4), 5);
	assert_int_equal(pci_dma_read(&t->pci, (gpa){ RAM }, &b, 1), 0);
	toy_free(t);
}

/* State. */

static const struct state_field toy_fields[] = { STATE_U32(struct toy, secret), { 0 } };

static void toy_loaded(void *obj)
{
	/* What the function derives is there before the device looks. */
	assert_true(((struct toy *)obj)->pci.dma_on);
}

static const struct state_section toy_sections[] = {
	{ .name = "toy", .version = 1, .fields = toy_fields, .after_load = toy_loaded },
	{ 0 },
};

static struct toy *toy_with_state(void)
{
	struct toy *t = toy_attached(&toy_info);

	t->pci.state = (struct state_desc){ toy_sections, t, sizeof(*t) };
	return t;
}

static void state_round_trip(void **state)
{
	struct toy *a = toy_with_state(), *b = toy_with_state();
	struct twx_error e = { 0 };
	uint8_t *data, *again;
	size_t len, len2;
	uint64_t at;

	msix_setup(a);
	msix_entry(a, 66, true);
	pci_notify(&a->pci, 66);
	cfg_write(a, PCI_BASE_ADDRESS_0, 4, 0xfebc0000);
	pci_set_intx(&a->pci, true);
	a->secret = 0x5eed;
	assert_int_equal(pci_save(&a->pci, &data, &len), 0);
	b->n_bars = 0;
	assert_int_equal(pci_load(&b->pci, data, len, &e), 0);
	assert_int_equal(b->secret, 0x5eed);
	assert_int_equal(b->n_bars, 1);
	assert_true(pci_bar_addr(&b->pci, 0, &at));
	assert_true(at == 0xfebc0000);
	assert_int_equal(pci_save(&b->pci, &again, &len2), 0);
	assert_int_equal(len, len2);
	assert_memory_equal(data, again, len);
	/* It goes on where the other one stood. */
	assert_int_equal(b->n_msgs, 0);
	assert_true(bar(b, 4, 0x808, 8) == 4);
	msix_entry(b, 66, false);
	got(b, 0, PCI_IRQ_MSIX, 66, 0x42fee00000, 0x4042);
	assert_false(b->level);
	cfg_write(b, cap_find(b, PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS, 2, 0);
	assert_true(b->level);
	free(data);
	free(again);
	toy_free(a);
	toy_free(b);
}

static uint8_t *config_in(uint8_t *data, size_t len)
{
	uint8_t *p = memmem(data, len, "config", 6);

	assert_non_null(p);
	return p + 6 + 1 + 4;
}

static void refused(struct toy *t, uint8_t *data, size_t len, const char *why)
{
	struct twx_error e = { 0 };

	assert_int_equal(pci_load(&t->pci, data, len, &e), -EINVAL);
	if (!strstr(e.what, why))
		fail_msg("'%s' does not say '%s'", e.what, why);
	assert_int_equal(cfg(t, PCI_COMMAND, 2), PCI_COMMAND_MASTER);
}

/* Only what a guest can write may differ: every other bit is refused. */
static void state_obeys_masks(void **state)
{
	struct toy *t = toy_with_state();
	unsigned int n_refused = 0;
	uint8_t *data, *c;
	size_t len;

	enable(t, PCI_COMMAND_MASTER);
	assert_int_equal(pci_save(&t->pci, &data, &len), 0);
	c = config_in(data, len);
	for (uint32_t i = 0; i < PCI_CONFIG_MAX * 8; i++) {
		uint8_t bit = (uint8_t)(1u << (i % 8)), may;

		if (i == 8 * PCI_COMMAND + 2)
			continue; /* toy_loaded() wants it */
		may = t->pci.wmask[i / 8] | t->pci.w1c[i / 8] | t->pci.live[i / 8];
		c[i / 8] ^= bit;
		if (may & bit) {
			assert_int_equal(pci_load(&t->pci, data, len, NULL), 0);
		} else {
			n_refused++;
			assert_int_equal(pci_load(&t->pci, data, len, NULL), -EINVAL);
		}
		c[i / 8] ^= bit;
		if (may & bit)
			assert_int_equal(pci_load(&t->pci, data, len, NULL), 0);
	}
	assert_true(n_refused > 4000 * 8);
	c[0] ^= 1;
	refused(t, data, len, "configuration byte 0");
	free(data);
	toy_free(t);
}

static void state_values(void **state)
{
	struct toy *t = toy_with_state();
	uint8_t *data, *wanted, *pending, *table, *pba;
	size_t len;

	enable(t, PCI_COMMAND_MASTER);
	assert_int_equal(pci_save(&t->pci, &data, &len), 0);
	wanted = (uint8_t *)memmem(data, len, "intx_wanted", 11) + 11 + 5;
	pending = (uint8_t *)memmem(data, len, "msi_pending", 11) + 11 + 5;
	table = (uint8_t *)memmem(data, len, "\005table", 6) + 6 + 5;
	pba = (uint8_t *)memmem(data, len, "\007pending", 8) + 8 + 5;
	*wanted = 2;
	refused(t, data, len, "interrupt level 2");
	*wanted = 0;
	pending[1] = 1;
	refused(t, data, len, "pending MSI");
	pending[1] = 0;
	table[12] = 2;
	refused(t, data, len, "pci/msix: reserved bits in entry 0");
	table[12] = 1;
	table[16 * 69] = 1;
	refused(t, data, len, "reserved bits in entry 69");
	table[16 * 69] = 0;
	pba[8] = 1 << 6;
	refused(t, data, len, "pci/msix: pending bits");
	pba[8] = 1 << 5;
	assert_int_equal(pci_load(&t->pci, data, len, NULL), 0);
	for (size_t cut = 0; cut < len; cut += 13)
		assert_int_equal(pci_load(&t->pci, data, cut, NULL), -EINVAL);
	free(data);
	toy_free(t);
}

/* Another function's state is not taken for this one's. */
static void state_of_another(void **state)
{
	struct toy *t = toy_with_state(), *other;
	struct pci_info info = toy_info;
	uint8_t *data;
	size_t len;

	enable(t, PCI_COMMAND_MASTER);
	info.n_msix = 69;
	other = toy_attached(&info);
	other->pci.state = (struct state_desc){ toy_sections, other, sizeof(*other) };
	assert_int_equal(pci_save(&other->pci, &data, &len), 0);
	refused(t, data, len, "pci/msix.table is 276 elements of 4 bytes, not 280");
	free(data);
	other->pci.info.n_msix = 0;
	assert_int_equal(pci_save(&other->pci, &data, &len), 0);
	refused(t, data, len, "section pci/msix is missing");
	free(data);
	other->pci.info.n_msix = 69;
	toy_free(other);
	toy_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(identity),
		cmocka_unit_test(write_masks),
		cmocka_unit_test(beyond_config),
		cmocka_unit_test(status_w1c),
		cmocka_unit_test(capabilities),
		cmocka_unit_test(placing),
		cmocka_unit_test(decoding),
		cmocka_unit_test(composing),
		cmocka_unit_test(any_size),
		cmocka_unit_test(beyond_bars),
		cmocka_unit_test(line),
		cmocka_unit_test(line_of_a_new_host),
		cmocka_unit_test(no_line),
		cmocka_unit_test(msi_vectors),
		cmocka_unit_test(msi_masks),
		cmocka_unit_test(msi_narrow),
		cmocka_unit_test(msi_without_master),
		cmocka_unit_test(msix_vectors),
		cmocka_unit_test(msix_masks),
		cmocka_unit_test(msix_borders),
		cmocka_unit_test(host_that_masks),
		cmocka_unit_test(standing_still),
		cmocka_unit_test(dma),
		cmocka_unit_test(dma_by_message),
		cmocka_unit_test(without_a_host),
		cmocka_unit_test(rom),
		cmocka_unit_test(rom_options),
		cmocka_unit_test(express),
		cmocka_unit_test(function_level_reset),
		cmocka_unit_test(power),
		cmocka_unit_test(state_round_trip),
		cmocka_unit_test(state_obeys_masks),
		cmocka_unit_test(state_values),
		cmocka_unit_test(state_of_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
