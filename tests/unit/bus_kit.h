/* SPDX-License-Identifier: BSD-3-Clause */
/* A machine around a PCI bus, toy functions for it, and configuration cycles. */
#ifndef BUS_KIT_H
#define BUS_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "bus/pci_bus.h"

#define ECAM 0xe0000000ull

struct toy {
	struct pci_dev pci;
	uint8_t bars[PCI_N_BARS][0x1000];
	unsigned int n_resets;
};

struct zone {
	enum pci_zone_kind kind;
	uint64_t addr;
	uint32_t len;
};

struct bell {
	bool io;
	uint64_t addr;
	int fd;
};

struct twx_machine {
	struct twx_loop *loop;
	struct aspace mem, io;
	struct mem_map *ram;
	struct pci_bus *bus;
	bool level[4];
	unsigned int n_lines[4], n_messages;
	uint64_t msg_addr;
	uint32_t msg_data;
	struct zone zones[32];
	unsigned int n_zones;
	struct bell bells[32];
	unsigned int n_bells;
	int bell_error;
	struct pci_dev *gone;
	unsigned int n_gone;
	struct as_region reset; /* port 0xcf9 */
	unsigned int n_reset;
	uint8_t reset_value;
};

/* A toy device whose BARs remember. */

static inline uint64_t toy_read(struct pci_dev *dev, unsigned int bar, uint64_t off,
				unsigned int size)
{
	struct toy *t = container_of(dev, struct toy, pci);
	uint64_t v = 0;

	memcpy(&v, t->bars[bar] + off % 0x1000, size);
	return v;
}

static inline void toy_write(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int size,
			     uint64_t value, uint64_t mask)
{
	struct toy *t = container_of(dev, struct toy, pci);

	memcpy(t->bars[bar] + off % 0x1000, &value, size);
}

static inline void toy_reset(struct pci_dev *dev)
{
	container_of(dev, struct toy, pci)->n_resets++;
}

static const struct pci_dev_ops toy_ops = { .bar_read = toy_read,
					    .bar_write = toy_write,
					    .reset = toy_reset };

static const struct pci_zone toy_zones[] = {
	{ PCI_ZONE_POST, 0, 0x100, 4 },
	{ PCI_ZONE_LAZY, 0, 0x200, 8 },
	{ PCI_ZONE_NONE, 0, 0, 0 },
};

static const struct pci_info toy_info = {
	.vendor = 0x1234,
	.device = 0x5678,
	.class_code = 0x020000,
	.int_pin = 1,
	.bars = { { PCI_BAR_MEM32, false, 0x1000, 1, 8 },
		  { PCI_BAR_IO, false, 0x40, 1, 4 },
		  { PCI_BAR_MEM64, true, 0x4000, 1, 8 } },
	.zones = toy_zones,
};

/* The machine. */

static inline void on_line(void *opaque, unsigned int line, bool level)
{
	struct twx_machine *m = opaque;

	assert_true(line < 4 && m->level[line] != level);
	m->level[line] = level;
	m->n_lines[line]++;
}

static inline void on_message(void *opaque, uint64_t addr, uint32_t data)
{
	struct twx_machine *m = opaque;

	m->n_messages++;
	m->msg_addr = addr;
	m->msg_data = data;
}

static inline int on_doorbell(void *opaque, bool io, uint64_t addr, const struct pci_doorbell *bell,
			      bool on)
{
	struct twx_machine *m = opaque;
	unsigned int i = 0;

	if (on) {
		if (m->bell_error)
			return m->bell_error;
		m->bells[m->n_bells++] = (struct bell){ io, addr, bell->fd };
		return 0;
	}
	while (i < m->n_bells && (m->bells[i].addr != addr || m->bells[i].fd != bell->fd))
		i++;
	assert_true(i < m->n_bells);
	m->bells[i] = m->bells[--m->n_bells];
	return 0;
}

static inline void on_zone(void *opaque, enum pci_zone_kind kind, uint64_t addr, uint32_t len,
			   bool on)
{
	struct twx_machine *m = opaque;
	unsigned int i = 0;

	if (on) {
		m->zones[m->n_zones++] = (struct zone){ kind, addr, len };
		return;
	}
	while (i < m->n_zones && m->zones[i].addr != addr)
		i++;
	assert_true(i < m->n_zones && m->zones[i].kind == kind && m->zones[i].len == len);
	m->zones[i] = m->zones[--m->n_zones];
}

static const struct pci_bus_ops bus_ops = {
	.line = on_line, .message = on_message, .doorbell = on_doorbell, .zone = on_zone
};

static inline uint64_t reset_read(void *opaque, uint64_t off, unsigned int size)
{
	return 0x42;
}

static inline void reset_write(void *opaque, uint64_t off, unsigned int size, uint64_t value)
{
	struct twx_machine *m = opaque;

	m->n_reset++;
	m->reset_value = (uint8_t)value;
}

static const struct as_ops reset_ops = { reset_read, reset_write };

static inline int setup(void **state)
{
	struct twx_machine *m = calloc(1, sizeof(*m));

	assert_int_equal(twx_loop_new(&m->loop, NULL), 0);
	m->ram = calloc(1, sizeof(*m->ram));
	mem_init(m->ram);
	as_init(&m->mem, "mem", UINT64_MAX);
	as_init(&m->io, "io", 0xffff);
	m->reset = (struct as_region){ "reset", &reset_ops, m, 1, 0 };
	assert_int_equal(as_add(&m->io, &m->reset, 0xcf9), 0);
	assert_int_equal(pci_bus_new(&m->bus, &bus_ops, m, &m->mem, &m->io, m->ram, m->loop), 0);
	assert_int_equal(pci_bus_add_ecam(m->bus, ECAM, 255), 0);
	*state = m;
	return 0;
}

static inline int teardown(void **state)
{
	struct twx_machine *m = *state;

	pci_bus_free(m->bus);
	as_remove(&m->reset);
	assert_null(m->mem.regions);
	assert_null(m->io.regions);
	assert_int_equal(m->n_zones, 0);
	assert_int_equal(m->n_bells, 0);
	for (unsigned int i = 0; i < 4; i++)
		assert_false(m->level[i]);
	as_fini(&m->mem);
	as_fini(&m->io);
	mem_fini(m->ram);
	free(m->ram);
	twx_loop_free(m->loop);
	free(m);
	return 0;
}

static inline struct toy *toy_new(const struct pci_info *info)
{
	struct toy *t = calloc(1, sizeof(*t));

	assert_int_equal(pci_dev_init(&t->pci, NULL, &toy_ops, info, NULL), 0);
	return t;
}

static inline struct toy *plug(struct twx_machine *m, const char *bus, const char *addr)
{
	struct toy *t = toy_new(&toy_info);
	struct twx_error e = { 0 };
	int rc = pci_bus_plug(m->bus, &t->pci, "toy", bus, addr, 2, false, &e);

	if (rc < 0)
		print_message("%s\n", e.what);
	assert_int_equal(rc, 0);
	return t;
}

static inline void toy_free(struct toy *t)
{
	pci_dev_fini(&t->pci);
	free(t);
}

static inline void unplug(struct twx_machine *m, struct toy *t)
{
	pci_bus_unplug(m->bus, &t->pci);
	toy_free(t);
}

/* Configuration cycles by the ports, and by ECAM. */

static inline void conf_at(struct twx_machine *m, unsigned int bus, unsigned int slot,
			   unsigned int fn, uint32_t off)
{
	as_write(&m->io, 0xcf8, 4, 0x80000000u | bus << 16 | slot << 11 | fn << 8 | (off & ~3u));
}

static inline uint32_t conf_read(struct twx_machine *m, unsigned int bus, unsigned int slot,
				 uint32_t off, unsigned int size)
{
	conf_at(m, bus, slot, 0, off);
	return (uint32_t)as_read(&m->io, 0xcfc + (off & 3), size);
}

static inline void conf_write(struct twx_machine *m, unsigned int bus, unsigned int slot,
			      uint32_t off, unsigned int size, uint32_t value)
{
	conf_at(m, bus, slot, 0, off);
	as_write(&m->io, 0xcfc + (off & 3), size, value);
}

static inline uint64_t ecam(unsigned int bus, unsigned int slot, unsigned int fn, uint32_t off)
{
	return ECAM + (bus << 20 | slot << 15 | fn << 12 | off);
}

static inline void assert_refused(struct twx_machine *m, const struct pci_info *info,
				  const char *bus, const char *addr, bool hot, int rc,
				  const char *text)
{
	struct toy *t = toy_new(info);
	struct twx_error e = { 0 };

	assert_int_equal(pci_bus_plug(m->bus, &t->pci, "toy", bus, addr, 2, hot, &e), rc);
	assert_string_equal(e.what, text);
	assert_null(t->pci.host_ops);
	toy_free(t);
}

/* Firmware's work. */

static const struct pci_windows windows = {
	.mem = 0xc0000000,
	.mem_len = 0x20000000,
	.mem64 = 0x8000000000,
	.mem64_len = 0x100000000,
	.io = 0xc000,
	.io_len = 0x4000,
	.line_irq = { 5, 9, 10, 11 },
};

static inline void assert_answers(struct twx_machine *m, struct toy *t)
{
	uint64_t addr;

	for (unsigned int bar = 0; bar < 3; bar++) {
		assert_true(pci_bar_addr(&t->pci, bar, &addr));
		as_write(bar == 1 ? &m->io : &m->mem, addr + 4, 4, 0x1000u + bar);
		assert_int_equal(t->bars[bar][4], bar);
		assert_int_equal(t->bars[bar][5], 0x10);
	}
}

#define bus_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
