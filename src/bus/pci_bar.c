/* SPDX-License-Identifier: BSD-3-Clause */
/* BARs and the expansion ROM: where they are, and how accesses of any size reach the device. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <twinax/option.h>

#include "base/hostops.h"
#include "base/macros.h"
#include "bus/pci_priv.h"
#include "net/net_priv.h"

#define ROM_MIN 2048u	    /* bits 31:11 of the register are the address */
#define ROM_MAX (16u << 20) /* PCI 3.0, 6.2.5.2 */

static void bar_init(struct pci_dev *dev, unsigned int i)
{
	const struct pci_bar *b = &dev->info.bars[i];
	uint8_t *reg = dev->initial + PCI_BASE_ADDRESS_0 + 4 * i;
	uint8_t *mask = dev->wmask + PCI_BASE_ADDRESS_0 + 4 * i;
	uint64_t sizing = ~(b->size - 1);
	uint32_t type = 0;

	assert(power_of_two(b->size) && b->size >= (b->kind == PCI_BAR_IO ? 4 : 16));
	assert(power_of_two(b->min) && power_of_two(b->max) && b->min <= b->max && b->max <= 8);
	assert(b->max <= b->size);
	if (b->kind == PCI_BAR_IO) {
		type = PCI_BASE_ADDRESS_SPACE_IO;
	} else {
		type |= b->prefetch ? PCI_BASE_ADDRESS_MEM_PREFETCH : 0;
		type |= b->kind == PCI_BAR_MEM64 ? PCI_BASE_ADDRESS_MEM_TYPE_64 : 0;
	}
	pci_put32(reg, type);
	pci_put32(mask, (uint32_t)sizing);
	if (b->kind == PCI_BAR_MEM64) {
		assert(i + 1 < PCI_N_BARS && dev->info.bars[i + 1].kind == PCI_BAR_NONE);
		pci_put32(mask + 4, (uint32_t)(sizing >> 32));
	} else {
		assert(b->size <= 1u << 31);
	}
}

void pci_bars_init(struct pci_dev *dev)
{
	for (unsigned int i = 0; i < PCI_N_BARS; i++)
		if (dev->info.bars[i].kind != PCI_BAR_NONE)
			bar_init(dev, i);
}

uint64_t pci_bar_size(const struct pci_dev *dev, unsigned int bar)
{
	if (bar == PCI_BAR_ROM)
		return dev->rom_size;
	return bar < PCI_N_BARS && dev->info.bars[bar].kind != PCI_BAR_NONE
		       ? dev->info.bars[bar].size
		       : 0;
}

/* Addresses at zero and at the very end are what sizing leaves behind, not places. */
static bool place_ok(uint64_t addr, uint64_t size, uint64_t top)
{
	return addr != 0 && addr <= top && size - 1 < top - addr;
}

bool pci_bar_addr(const struct pci_dev *dev, unsigned int bar, uint64_t *addr)
{
	const uint8_t *reg = dev->config + PCI_BASE_ADDRESS_0 + 4 * bar;
	uint64_t size = pci_bar_size(dev, bar), top = UINT32_MAX;
	enum pci_bar_kind kind;

	if (size == 0)
		return false;
	if (bar == PCI_BAR_ROM) {
		*addr = pci_get32(dev->config + PCI_ROM_ADDRESS) & PCI_ROM_ADDRESS_MASK;
		return pci_decodes(dev, PCI_BAR_MEM32) &&
		       (dev->config[PCI_ROM_ADDRESS] & PCI_ROM_ADDRESS_ENABLE) &&
		       place_ok(*addr, size, top);
	}
	kind = dev->info.bars[bar].kind;
	*addr = pci_get32(reg) & ~(size - 1);
	if (kind == PCI_BAR_IO)
		top = UINT16_MAX;
	if (kind == PCI_BAR_MEM64) {
		*addr |= ((uint64_t)pci_get32(reg + 4) << 32) & ~(size - 1);
		top = UINT64_MAX;
	}
	return pci_decodes(dev, kind) && place_ok(*addr, size, top);
}

/*
 * One access of the device's own kind: the widest that it takes which is aligned at @off and inside
 * the request, or its narrowest, of which the request covers @*n bytes from @*skip on.
 */
static unsigned int unit_at(const struct pci_bar *b, uint64_t off, uint32_t len, uint32_t *skip,
			    uint32_t *n)
{
	unsigned int size = b->max;

	while (size > b->min && (off % size != 0 || len < size))
		size /= 2;
	*skip = (uint32_t)(off % size);
	*n = min(len, size - *skip);
	return size;
}

/* Bytes of the BAR that the device answers for, or a part of them. */
static uint32_t device_read(struct pci_dev *dev, unsigned int bar, uint64_t off, uint8_t *buf,
			    uint32_t len)
{
	uint32_t skip, n;
	unsigned int size = unit_at(&dev->info.bars[bar], off, len, &skip, &n);
	le64 v = le64_make(dev->ops->bar_read(dev, bar, off - skip, size));

	memcpy(buf, (const uint8_t *)&v + skip, n);
	return n;
}

static uint32_t device_write(struct pci_dev *dev, unsigned int bar, uint64_t off,
			     const uint8_t *buf, uint32_t len)
{
	uint32_t skip, n;
	unsigned int size = unit_at(&dev->info.bars[bar], off, len, &skip, &n);
	le64 v = { 0 }, mask = { 0 };

	memcpy((uint8_t *)&v + skip, buf, n);
	memset((uint8_t *)&mask + skip, 0xff, n);
	dev->ops->bar_write(dev, bar, off - skip, size, le64_get(v), le64_get(mask));
	return n;
}

static bool in_bar(const struct pci_dev *dev, unsigned int bar, uint64_t off, uint32_t len)
{
	uint64_t size = pci_bar_size(dev, bar);

	return size != 0 && off <= size && len <= size - off;
}

int pci_bar_read(struct pci_dev *dev, unsigned int bar, uint64_t off, void *buf, uint32_t len)
{
	uint8_t *p = buf;
	uint32_t n;

	if (!in_bar(dev, bar, off, len))
		return -EINVAL;
	if (bar == PCI_BAR_ROM) {
		memcpy(buf, dev->rom + off, len);
		return 0;
	}
	if (!pci_decodes(dev, dev->info.bars[bar].kind)) {
		memset(buf, 0xff, len);
		return 0;
	}
	for (; len > 0; off += n, p += n, len -= n) {
		n = len;
		if (bar == dev->info.msix_bar && pci_msix_owns(dev, off, len, &n))
			pci_msix_read(dev, off, p, n);
		else
			n = device_read(dev, bar, off, p, n);
	}
	return 0;
}

int pci_bar_write(struct pci_dev *dev, unsigned int bar, uint64_t off, const void *buf,
		  uint32_t len)
{
	const uint8_t *p = buf;
	uint32_t n;

	if (!in_bar(dev, bar, off, len))
		return -EINVAL;
	if (bar == PCI_BAR_ROM)
		return 0;
	/* Asked again for each part: the one before it may have switched the function off. */
	for (; len > 0 && pci_decodes(dev, dev->info.bars[bar].kind); off += n, p += n, len -= n) {
		n = len;
		if (bar == dev->info.msix_bar && pci_msix_owns(dev, off, len, &n))
			pci_msix_write(dev, off, p, n);
		else
			n = device_write(dev, bar, off, p, n);
	}
	return 0;
}

/* The ROM. */

const struct twx_opt_desc pci_options[] = { PCI_OPTIONS, { 0 } };

static int rom_read(struct pci_dev *dev, int fd, const char *path, uint32_t len,
		    struct twx_error *e)
{
	uint32_t got = 0;

	while (got < len) {
		ssize_t n = pread(fd, dev->rom + got, len - got, got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return twx_error_set(e, n < 0 ? errno : EIO,
					     "device %s: cannot read romfile '%s': %s",
					     dev->nic->id, path, n < 0 ? strerror(errno) : "cut");
		got += (uint32_t)n;
	}
	return 0;
}

/* What the BAR has to hold: the file, or what romsize says. */
static int rom_room(struct pci_dev *dev, const struct stat *st, const struct twx_opts *opts,
		    struct twx_error *e)
{
	const char *id = dev->nic->id, *path = twx_opts_str(opts, "romfile");
	uint64_t size = ROM_MIN;

	if (!S_ISREG(st->st_mode) || st->st_size == 0 || st->st_size > ROM_MAX)
		return twx_error_set(e, EINVAL,
				     "device %s: romfile '%s' is no file of 1 to %u bytes", id,
				     path, ROM_MAX);
	while (size < (uint64_t)st->st_size)
		size *= 2;
	if (twx_opts_given(opts, "romsize")) {
		uint64_t want = twx_opts_size(opts, "romsize");

		if (!power_of_two(want) || want < ROM_MIN || want > ROM_MAX)
			return twx_error_set(
				e, EINVAL,
				"device %s: romsize=%llu is no power of two between %u and %u", id,
				(unsigned long long)want, ROM_MIN, ROM_MAX);
		if (want < (uint64_t)st->st_size) {
			twx_error_set(e, EINVAL,
				      "device %s: romfile '%s' has %lld bytes, romsize=%llu", id,
				      path, (long long)st->st_size, (unsigned long long)want);
			return twx_error_hint(e, "leave romsize out");
		}
		size = want;
	}
	dev->rom_size = (uint32_t)size;
	return 0;
}

static int rom_load(struct pci_dev *dev, int fd, const struct twx_opts *opts, struct twx_error *e)
{
	const char *path = twx_opts_str(opts, "romfile");
	struct stat st;
	int rc;

	if (fstat(fd, &st) < 0)
		return twx_error_set(e, errno, "device %s: cannot stat romfile '%s': %s",
				     dev->nic->id, path, strerror(errno));
	rc = rom_room(dev, &st, opts, e);
	if (rc < 0)
		return rc;
	dev->rom = calloc(1, dev->rom_size);
	if (!dev->rom)
		return twx_error_set(e, ENOMEM, "device %s: out of memory", dev->nic->id);
	return rom_read(dev, fd, path, (uint32_t)st.st_size, e);
}

static void rom_show(struct pci_dev *dev)
{
	uint32_t mask = ~(dev->rom_size - 1) | PCI_ROM_ADDRESS_ENABLE;

	pci_put32(dev->wmask + PCI_ROM_ADDRESS, mask);
	dev->wmask[PCI_COMMAND] |= PCI_COMMAND_MEMORY;
}

int pci_load_rom(struct pci_dev *dev, const struct twx_opts *opts, struct twx_error *e)
{
	const char *path = twx_opts_str(opts, "romfile");
	int fd, rc;

	if (!path || !*path) {
		if (!twx_opts_given(opts, "romsize"))
			return 0;
		twx_error_set(e, EINVAL, "device %s: romsize= without a romfile", dev->nic->id);
		return twx_error_hint(e, "add romfile=PATH, or leave romsize out");
	}
	if (twx_opts_int(opts, "rombar") == 0)
		return 0;
	/* Not blocking, should it be a FIFO. */
	fd = hostops_open(net_hostops(dev->nic->net), path, O_RDONLY | O_NONBLOCK, 0);
	if (fd < 0) {
		twx_error_set(e, -fd, "device %s: cannot open romfile '%s': %s", dev->nic->id, path,
			      strerror(-fd));
		return twx_error_hint(e,
				      "give romfile= the path of an option ROM, or leave it out");
	}
	rc = rom_load(dev, fd, opts, e);
	close(fd);
	if (rc < 0) {
		free(dev->rom);
		dev->rom = NULL;
		dev->rom_size = 0;
		return rc;
	}
	rom_show(dev);
	return 0;
}
