/* SPDX-License-Identifier: BSD-3-Clause */
/* The chipset's functions: interrupt lines of the PCI bus as the ISA bridge routes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "hosts/machine/machine.h"

#define PIRQRC 0x60u
#define N_TOYS 4

struct ctx {
	struct twx_machine m;
	struct mem_map ram;
	struct pci_dev toys[N_TOYS]; /* in slots 3 to 6: lines 3, 0, 1, 2 */
	bool gsi[MACHINE_GSIS];
	unsigned int n_sets;
};

static uint64_t toy_read(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int size)
{
	return 0;
}

static void toy_write(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int size,
		      uint64_t value, uint64_t mask)
{
}

static void toy_reset(struct pci_dev *dev)
{
}

static const struct pci_dev_ops toy_ops = { .bar_read = toy_read,
					    .bar_write = toy_write,
					    .reset = toy_reset };

static void accel_gsi(struct twx_machine *m, unsigned int gsi, bool level)
{
	struct ctx *c = container_of(m, struct ctx, m);

	assert_true(gsi < MACHINE_GSIS && c->gsi[gsi] != level);
	c->gsi[gsi] = level;
	c->n_sets++;
}

static const struct accel accel = { .name = "test", .gsi = accel_gsi };

static void on_line(void *opaque, unsigned int line, bool level)
{
	board_pci_line(opaque, line, level);
}

static void on_message(void *opaque, uint64_t addr, uint32_t data)
{
}

static const struct pci_bus_ops bus_ops = { .line = on_line, .message = on_message };

static int setup(void **state)
{
	static const struct pci_info info = { .vendor = 1, .device = 2, .int_pin = 1 };
	struct ctx *c = calloc(1, sizeof(*c));
	char addr[8];

	c->m.accel = &accel;
	assert_int_equal(twx_loop_new(&c->m.loop, NULL), 0);
	mem_init(&c->ram);
	as_init(&c->m.mem, "mem", UINT64_MAX);
	as_init(&c->m.io, "io", 0xffff);
	assert_int_equal(
		pci_bus_new(&c->m.pci, &bus_ops, &c->m, &c->m.mem, &c->m.io, &c->ram, c->m.loop),
		0);
	assert_int_equal(board_bridges(&c->m, NULL), 0);
	for (unsigned int i = 0; i < N_TOYS; i++) {
		snprintf(addr, sizeof(addr), "%u", 3 + i);
		assert_int_equal(pci_dev_init(&c->toys[i], NULL, &toy_ops, &info, NULL), 0);
		assert_int_equal(
			pci_bus_plug(c->m.pci, &c->toys[i], "toy", NULL, addr, 0, false, NULL), 0);
	}
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	struct ctx *c = *state;

	for (unsigned int i = 0; i < N_TOYS; i++) {
		pci_bus_unplug(c->m.pci, &c->toys[i]);
		pci_dev_fini(&c->toys[i]);
	}
	for (unsigned int i = 0; i < MACHINE_GSIS; i++)
		assert_false(c->gsi[i]);
	while (c->m.devs) {
		struct board_dev *d = c->m.devs;

		c->m.devs = d->next;
		d->free(d->opaque);
	}
	pci_bus_free(c->m.pci);
	as_fini(&c->m.mem);
	as_fini(&c->m.io);
	mem_fini(&c->ram);
	twx_loop_free(c->m.loop);
	free(c);
	return 0;
}

static void route(struct ctx *c, uint32_t all)
{
	as_write(&c->m.io, 0xcf8, 4, 0x80000000u | 1 << 11 | PIRQRC);
	as_write(&c->m.io, 0xcfc, 4, all);
}

static uint32_t config(struct ctx *c, unsigned int slot, uint32_t off)
{
	as_write(&c->m.io, 0xcf8, 4, 0x80000000u | slot << 11 | off);
	return (uint32_t)as_read(&c->m.io, 0xcfc, 4);
}

static void test_identity(void **state)
{
	struct ctx *c = *state;

	assert_int_equal(config(c, 0, 0), 0x12378086);
	assert_int_equal(config(c, 0, PCI_CLASS_REVISION) >> 8, 0x060000);
	assert_int_equal(config(c, 1, 0), 0x70008086);
	assert_int_equal(config(c, 1, PCI_CLASS_REVISION) >> 8, 0x060100);
	assert_int_equal(config(c, 1, PIRQRC), 0x80808080);
	route(c, UINT32_MAX);
	assert_int_equal(config(c, 1, PIRQRC), 0x8f8f8f8f);
}

static void test_unconnected(void **state)
{
	struct ctx *c = *state;

	for (unsigned int i = 0; i < N_TOYS; i++)
		pci_set_intx(&c->toys[i], true);
	assert_int_equal(c->n_sets, 0);
	/* Numbers that are no IRQ for a line. */
	route(c, 0x08020100);
	route(c, 0x0d0d0d0d);
	assert_int_equal(c->n_sets, 0);
	/* One that is up when it is connected. */
	route(c, 0x0b0b0b0b);
	assert_true(c->gsi[11]);
	route(c, 0x8b8b8b8b);
	assert_false(c->gsi[11]);
}

static void test_wiring(void **state)
{
	/* INTA of slot 1 would be PIRQA, so slot 3's is PIRQC. */
	static const unsigned int gsi_of[N_TOYS] = { 10, 11, 5, 9 };
	struct ctx *c = *state;

	route(c, 0x0b0a0905);
	for (unsigned int i = 0; i < N_TOYS; i++) {
		pci_set_intx(&c->toys[i], true);
		for (unsigned int gsi = 0; gsi < MACHINE_GSIS; gsi++)
			assert_int_equal(c->gsi[gsi], gsi == gsi_of[i]);
		pci_set_intx(&c->toys[i], false);
	}
}

static void test_shared(void **state)
{
	struct ctx *c = *state;

	route(c, 0x0a0a0b0b);
	for (unsigned int i = 0; i < N_TOYS; i++)
		pci_set_intx(&c->toys[i], true);
	assert_int_equal(c->n_sets, 2);
	assert_true(c->gsi[10] && c->gsi[11]);
	for (unsigned int i = 0; i < N_TOYS; i++)
		pci_set_intx(&c->toys[i], false);
	assert_int_equal(c->n_sets, 4);
	/* It moves while it is up. */
	pci_set_intx(&c->toys[0], true);
	assert_true(c->gsi[10]);
	route(c, 0x07070707);
	assert_true(c->gsi[7] && !c->gsi[10]);
}

/* As firmware sets them up: bus line to GSI, the same that the ACPI tables say. */
static void test_firmware(void **state)
{
	static const uint8_t irq[4] = { 3, 5, 6, 7 };
	struct ctx *c = *state;

	board_route_lines(&c->m, irq);
	for (unsigned int i = 0; i < N_TOYS; i++) {
		pci_set_intx(&c->toys[i], true);
		assert_true(c->gsi[irq[(3 + i) % 4]]);
		pci_set_intx(&c->toys[i], false);
	}
}

struct saved {
	struct pci_dev *dev;
	uint8_t *data;
	size_t len;
};

static void save_isa(void *opaque, struct pci_dev *dev, const char *name, const char *place)
{
	struct saved *s = opaque;

	if (strcmp(place, "00:01.0") != 0)
		return;
	s->dev = dev;
	assert_int_equal(pci_save(dev, &s->data, &s->len), 0);
}

/* A line that is up when the bridge is loaded is told, and one that is not yet is not. */
static void test_state(void **state)
{
	struct ctx *c = *state;
	struct saved s = { 0 };

	route(c, 0x0b0b0b0b);
	pci_set_intx(&c->toys[0], true);
	assert_true(c->gsi[11]);
	pci_bus_each(c->m.pci, save_isa, &s);
	pci_bus_reset(c->m.pci);
	assert_false(c->gsi[11]);
	assert_int_equal(config(c, 1, PIRQRC), 0x80808080);
	assert_int_equal(pci_load(s.dev, s.data, s.len, NULL), 0);
	assert_int_equal(config(c, 1, PIRQRC), 0x0b0b0b0b);
	/* The function that held it is loaded later. */
	assert_false(c->gsi[11]);
	pci_set_intx(&c->toys[0], true);
	assert_true(c->gsi[11]);
	pci_bus_reset(c->m.pci);
	pci_set_intx(&c->toys[0], true);
	assert_false(c->gsi[11]);
	assert_int_equal(pci_load(s.dev, s.data, s.len, NULL), 0);
	assert_true(c->gsi[11]);
	free(s.data);
}

#define ctx_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ctx_test(test_identity), ctx_test(test_unconnected), ctx_test(test_wiring),
		ctx_test(test_shared),	 ctx_test(test_firmware),    ctx_test(test_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
