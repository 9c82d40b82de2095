/* SPDX-License-Identifier: BSD-3-Clause */
/* PCI buses: what a guest finds by configuration cycles, BARs in address spaces, lines, firmware's
 * work. */
#include "bus_kit.h"

#include <sys/eventfd.h>
#include <unistd.h>

static void test_config_ports(void **state)
{
	struct twx_machine *m = *state;
	struct toy *t = plug(m, NULL, "4");

	assert_int_equal(conf_read(m, 0, 4, 0, 4), 0x56781234);
	assert_int_equal(conf_read(m, 0, 4, 2, 2), 0x5678);
	assert_int_equal(conf_read(m, 0, 4, 3, 1), 0x56);
	assert_int_equal(conf_read(m, 0, 5, 0, 4), UINT32_MAX);
	assert_int_equal(conf_read(m, 1, 4, 0, 4), UINT32_MAX);
	conf_write(m, 0, 4, PCI_INTERRUPT_LINE, 1, 0x0b);
	assert_int_equal(t->pci.config[PCI_INTERRUPT_LINE], 0x0b);
	conf_write(m, 0, 4, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(conf_read(m, 0, 4, PCI_COMMAND, 2), PCI_COMMAND_MEMORY);
	/* Not enabled: no cycle. */
	as_write(&m->io, 0xcf8, 4, 4 << 11);
	assert_true(as_read(&m->io, 0xcfc, 4) == UINT32_MAX);
	as_write(&m->io, 0xcfc, 4, 0);
	unplug(m, t);
}

static void test_config_address(void **state)
{
	struct twx_machine *m = *state;

	as_write(&m->io, 0xcf8, 4, UINT32_MAX);
	assert_int_equal(as_read(&m->io, 0xcf8, 4), 0x80fffffc);
	/* How Linux tells that the mechanism is there. */
	as_write(&m->io, 0xcfb, 1, 1);
	as_write(&m->io, 0xcf8, 4, 0x80000000);
	assert_int_equal(as_read(&m->io, 0xcf8, 4), 0x80000000);
	/* Less than a double word is somebody else's: the reset register. */
	as_write(&m->io, 0xcf8, 4, 0x80001000);
	assert_int_equal(m->n_reset, 0);
	as_write(&m->io, 0xcf9, 1, 6);
	assert_int_equal(m->n_reset, 1);
	assert_int_equal(m->reset_value, 6);
	assert_int_equal(as_read(&m->io, 0xcf9, 1), 0x42);
	assert_int_equal(as_read(&m->io, 0xcf8, 1), 0xff);
	as_write(&m->io, 0xcf8, 2, 0);
	assert_int_equal(as_read(&m->io, 0xcf8, 4), 0x80001000);
}

static void test_ecam(void **state)
{
	struct twx_machine *m = *state;
	struct pci_info info = toy_info;
	struct toy *t = plug(m, "pci.0", "1f.7"), *x;

	info.express = true;
	x = toy_new(&info);
	assert_int_equal(pci_bus_plug(m->bus, &x->pci, "toy", "pcie.0", "3", 0, false, NULL), 0);
	assert_int_equal(as_read(&m->mem, ecam(0, 0x1f, 7, 0), 4), 0x56781234);
	assert_int_equal(as_read(&m->mem, ecam(0, 0x1f, 7, 2), 2), 0x5678);
	as_write(&m->mem, ecam(0, 0x1f, 7, PCI_INTERRUPT_LINE), 1, 9);
	assert_int_equal(t->pci.config[PCI_INTERRUPT_LINE], 9);
	/* A conventional function has no extended space, an express one has. */
	assert_int_equal(as_read(&m->mem, ecam(0, 0x1f, 7, 0x100), 4), UINT32_MAX);
	assert_int_equal(as_read(&m->mem, ecam(0, 3, 0, 0x100), 4), 0);
	assert_int_equal(as_read(&m->mem, ecam(0, 3, 0, 0xffe), 4), UINT32_MAX);
	assert_int_equal(as_read(&m->mem, ecam(255, 0, 0, 0), 4), UINT32_MAX);
	unplug(m, t);
	unplug(m, x);
}

static void test_places(void **state)
{
	struct twx_machine *m = *state;
	struct pci_info multi = toy_info;
	struct toy *t[32], *f;
	unsigned int n = 0;

	/* In hexadecimal, as QEMU has it. */
	t[n++] = plug(m, NULL, "0x4");
	t[n++] = plug(m, NULL, "1e.0");
	t[n++] = plug(m, NULL, "05");
	assert_int_equal(as_read(&m->mem, ecam(0, 4, 0, 0), 2), 0x1234);
	assert_int_equal(as_read(&m->mem, ecam(0, 0x1e, 0, 0), 2), 0x1234);
	assert_int_equal(as_read(&m->mem, ecam(0, 5, 0, 0), 2), 0x1234);
	assert_refused(m, &toy_info, NULL, "4", false, -EBUSY,
		       "PCI: slot 4 function 0 not available for toy, in use by toy");
	assert_refused(m, &toy_info, NULL, "20", false, -EINVAL,
		       "Property 'toy.addr' doesn't take value '20'");
	assert_refused(m, &toy_info, NULL, "4.8", false, -EINVAL,
		       "Property 'toy.addr' doesn't take value '4.8'");
	assert_refused(m, &toy_info, NULL, "4.", false, -EINVAL,
		       "Property 'toy.addr' doesn't take value '4.'");
	assert_refused(m, &toy_info, NULL, "", false, -EINVAL,
		       "Property 'toy.addr' doesn't take value ''");
	assert_refused(m, &toy_info, NULL, "-1", false, -EINVAL,
		       "Property 'toy.addr' doesn't take value '-1'");
	assert_refused(m, &toy_info, NULL, "6 ", false, -EINVAL,
		       "Property 'toy.addr' doesn't take value '6 '");
	assert_refused(m, &toy_info, NULL, "fffffffffffffffff6", false, -EINVAL,
		       "Property 'toy.addr' doesn't take value 'fffffffffffffffff6'");
	assert_refused(m, &toy_info, "pci.7", "4", false, -ENODEV, "Bus 'pci.7' not found");
	assert_refused(m, &toy_info, NULL, "7", true, -EPERM,
		       "Bus 'pci.0' does not support hotplugging");
	/* Several functions: function 0 has to say so. */
	assert_refused(m, &toy_info, NULL, "4.1", false, -EINVAL,
		       "PCI: single function device can't be populated in function 4.1");
	f = plug(m, NULL, "9.2");
	assert_refused(m, &toy_info, NULL, "9", false, -EINVAL,
		       "PCI: 9.0 indicates single function, but 9.2 is already populated.");
	multi.multifunction = true;
	t[n] = toy_new(&multi);
	assert_int_equal(pci_bus_plug(m->bus, &t[n++]->pci, "toy", NULL, "9", 0, false, NULL), 0);
	assert_int_equal(conf_read(m, 0, 9, PCI_HEADER_TYPE, 1), 0x80);
	assert_int_equal(conf_read(m, 0, 4, PCI_HEADER_TYPE, 1), 0);
	/* The first free slot, until there is none. */
	for (unsigned int i = 0; i < 26; i++)
		t[n++] = plug(m, NULL, NULL);
	assert_int_equal(as_read(&m->mem, ecam(0, 2, 0, 0), 2), 0x1234);
	assert_int_equal(as_read(&m->mem, ecam(0, 1, 0, 0), 2), 0xffff);
	assert_refused(m, &toy_info, NULL, NULL, false, -ENOSPC,
		       "PCI: no slot/function available for toy, all in use or reserved");
	unplug(m, f);
	while (n)
		unplug(m, t[--n]);
}

static void test_bars(void **state)
{
	struct twx_machine *m = *state;
	struct toy *t = plug(m, NULL, "4");

	/* Sizing. */
	conf_write(m, 0, 4, PCI_BASE_ADDRESS_0, 4, UINT32_MAX);
	assert_int_equal(conf_read(m, 0, 4, PCI_BASE_ADDRESS_0, 4), 0xfffff000);
	conf_write(m, 0, 4, PCI_BASE_ADDRESS_0, 4, 0xd0000000);
	conf_write(m, 0, 4, PCI_BASE_ADDRESS_1, 4, 0xc000);
	conf_write(m, 0, 4, PCI_BASE_ADDRESS_2, 4, 0x10000000);
	conf_write(m, 0, 4, PCI_BASE_ADDRESS_3, 4, 0x80);
	assert_true(as_read(&m->mem, 0xd0000000, 4) == UINT32_MAX);
	conf_write(m, 0, 4, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	as_write(&m->mem, 0xd0000010, 4, 0x11223344);
	assert_int_equal(t->bars[0][0x10], 0x44);
	assert_int_equal(as_read(&m->mem, 0xd0000010, 4), 0x11223344);
	as_write(&m->mem, 0x8010000008, 8, 0x1122334455667788);
	assert_true(as_read(&m->mem, 0x8010000008, 8) == 0x1122334455667788);
	assert_int_equal(as_read(&m->io, 0xc000, 1), 0xff);
	conf_write(m, 0, 4, PCI_COMMAND, 2, PCI_COMMAND_IO);
	as_write(&m->io, 0xc002, 2, 0xabcd);
	assert_int_equal(as_read(&m->io, 0xc002, 2), 0xabcd);
	assert_true(as_read(&m->mem, 0xd0000010, 4) == UINT32_MAX);
	/* It moves. */
	conf_write(m, 0, 4, PCI_BASE_ADDRESS_1, 4, 0xd000);
	assert_int_equal(as_read(&m->io, 0xc002, 2), 0xffff);
	assert_int_equal(as_read(&m->io, 0xd002, 2), 0xabcd);
	/* Nothing of the board's is hidden by a BAR on top of it. */
	conf_write(m, 0, 4, PCI_BASE_ADDRESS_1, 4, 0xcc0);
	assert_int_equal(as_read(&m->io, 0xcf9, 1), 0x42);
	assert_int_equal(conf_read(m, 0, 4, 0, 4), 0x56781234);
	assert_int_equal(as_read(&m->io, 0xcc2, 2), 0xabcd);
	pci_bus_reset(m->bus);
	assert_int_equal(t->n_resets, 1);
	assert_int_equal(as_read(&m->io, 0xcc2, 2), 0xffff);
	unplug(m, t);
}

static void test_rom(void **state)
{
	struct twx_machine *m = *state;
	struct toy *t = toy_new(&toy_info);

	/* As pci_load_rom() leaves it. */
	t->pci.rom_size = 2048;
	t->pci.rom = calloc(1, 2048);
	t->pci.rom[0] = 0x55;
	t->pci.wmask[PCI_ROM_ADDRESS] = 1;
	t->pci.wmask[PCI_ROM_ADDRESS + 1] = 0xf8;
	t->pci.wmask[PCI_ROM_ADDRESS + 2] = t->pci.wmask[PCI_ROM_ADDRESS + 3] = 0xff;
	assert_int_equal(pci_bus_plug(m->bus, &t->pci, "toy", NULL, "4", 0, false, NULL), 0);
	conf_write(m, 0, 4, PCI_ROM_ADDRESS, 4, 0xd0000000);
	conf_write(m, 0, 4, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(as_read(&m->mem, 0xd0000000, 1), 0xff);
	conf_write(m, 0, 4, PCI_ROM_ADDRESS, 4, 0xd0000001);
	assert_int_equal(as_read(&m->mem, 0xd0000000, 1), 0x55);
	as_write(&m->mem, 0xd0000000, 1, 0);
	assert_int_equal(as_read(&m->mem, 0xd0000000, 1), 0x55);
	unplug(m, t);
}

static void test_lines(void **state)
{
	struct twx_machine *m = *state;
	struct pci_info info = toy_info;
	struct toy *a = plug(m, NULL, "4"), *b = plug(m, NULL, "8"), *c = plug(m, NULL, "5"), *d;

	info.int_pin = 4;
	d = toy_new(&info);
	assert_int_equal(pci_bus_plug(m->bus, &d->pci, "toy", NULL, "6", 0, false, NULL), 0);
	pci_set_intx(&a->pci, true);
	pci_set_intx(&b->pci, true);
	assert_true(m->level[0]);
	assert_int_equal(m->n_lines[0], 1);
	pci_set_intx(&a->pci, false);
	assert_true(m->level[0]);
	pci_set_intx(&b->pci, false);
	assert_false(m->level[0]);
	assert_int_equal(m->n_lines[0], 2);
	/* Pin D of slot 6 and pin A of slot 5 meet. */
	pci_set_intx(&c->pci, true);
	pci_set_intx(&d->pci, true);
	assert_true(m->level[1]);
	unplug(m, d);
	assert_true(m->level[1]);
	unplug(m, c);
	assert_false(m->level[1]);
	unplug(m, a);
	unplug(m, b);
}

static void test_assign(void **state)
{
	struct twx_machine *m = *state;
	struct toy *t[6];
	uint64_t addr;

	for (unsigned int i = 0; i < 6; i++)
		t[i] = plug(m, NULL, NULL);
	assert_int_equal(pci_bus_assign(m->bus, &windows, NULL), 0);
	for (unsigned int i = 0; i < 6; i++) {
		assert_answers(m, t[i]);
		assert_int_equal(t[i]->pci.config[PCI_INTERRUPT_LINE],
				 windows.line_irq[(i + 2) % 4]);
		assert_false(t[i]->pci.dma_on);
		assert_true(pci_bar_addr(&t[i]->pci, 0, &addr));
		assert_true(addr >= windows.mem && addr < windows.mem + windows.mem_len);
		assert_true(pci_bar_addr(&t[i]->pci, 2, &addr));
		assert_true(addr >= windows.mem64);
		for (unsigned int j = 0; j < i; j++)
			assert_answers(m, t[j]);
	}
	for (unsigned int i = 0; i < 6; i++)
		unplug(m, t[i]);
}

static void test_assign_low(void **state)
{
	struct twx_machine *m = *state;
	struct toy *t = plug(m, NULL, NULL);
	struct pci_windows w = windows;
	struct twx_error e = { 0 };
	uint64_t addr;

	w.mem64_len = 0;
	assert_int_equal(pci_bus_assign(m->bus, &w, NULL), 0);
	assert_true(pci_bar_addr(&t->pci, 2, &addr));
	assert_true(addr < UINT32_MAX);
	assert_answers(m, t);
	pci_bus_reset(m->bus);
	w.mem_len = 0x4000;
	assert_int_equal(pci_bus_assign(m->bus, &w, &e), -ENOSPC);
	assert_non_null(strstr(e.what, "memory below 4 GiB"));
	unplug(m, t);
}

/* Without a hole: three times 16 KiB and three times 4 KiB. */
static void test_assign_tight(void **state)
{
	struct twx_machine *m = *state;
	struct toy *t[3] = { plug(m, NULL, NULL), plug(m, NULL, NULL), plug(m, NULL, NULL) };
	struct pci_windows w = windows;

	w.mem64_len = 0;
	w.mem_len = 3 * 0x5000;
	assert_int_equal(pci_bus_assign(m->bus, &w, NULL), 0);
	for (unsigned int i = 0; i < 3; i++)
		assert_answers(m, t[i]);
	pci_bus_reset(m->bus);
	w.mem_len--;
	assert_int_equal(pci_bus_assign(m->bus, &w, NULL), -ENOSPC);
	for (unsigned int i = 0; i < 3; i++)
		unplug(m, t[i]);
}

/* Zones and doorbells follow their BAR. */

static void test_zones(void **state)
{
	struct twx_machine *m = *state;
	struct toy *t = plug(m, NULL, "4");

	conf_write(m, 0, 4, PCI_BASE_ADDRESS_0, 4, 0xd0000000);
	assert_int_equal(m->n_zones, 0);
	conf_write(m, 0, 4, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(m->n_zones, 2);
	assert_true(m->zones[0].kind == PCI_ZONE_POST && m->zones[0].addr == 0xd0000100 &&
		    m->zones[0].len == 4);
	assert_true(m->zones[1].kind == PCI_ZONE_LAZY && m->zones[1].addr == 0xd0000200);
	conf_write(m, 0, 4, PCI_BASE_ADDRESS_0, 4, 0xd1000000);
	assert_int_equal(m->n_zones, 2);
	assert_true(m->zones[0].addr == 0xd1000100);
	assert_false(pci_hurry(&t->pci)); /* nobody would */
	conf_write(m, 0, 4, PCI_COMMAND, 2, 0);
	assert_int_equal(m->n_zones, 0);
	conf_write(m, 0, 4, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	unplug(m, t);
	assert_int_equal(m->n_zones, 0);
}

static uint64_t fd_count(int fd)
{
	uint64_t v = 0;

	return read(fd, &v, sizeof(v)) == sizeof(v) ? v : 0;
}

static void test_doorbells(void **state)
{
	struct twx_machine *m = *state;
	struct toy *t = plug(m, NULL, "4");
	int fd = eventfd(0, EFD_NONBLOCK);
	const struct pci_doorbell bell = {
		.bar = 0, .size = 2, .match = true, .value = 3, .off = 0x20, .fd = fd
	};
	const struct pci_doorbell port = { .bar = 1, .off = 0x10, .fd = fd };

	/* Before there is an address. */
	assert_int_equal(t->pci.host_ops->doorbell(&t->pci, &bell, true), 0);
	assert_int_equal(m->n_bells, 0);
	conf_write(m, 0, 4, PCI_BASE_ADDRESS_0, 4, 0xd0000000);
	conf_write(m, 0, 4, PCI_BASE_ADDRESS_1, 4, 0xc000);
	conf_write(m, 0, 4, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	assert_int_equal(m->n_bells, 1);
	assert_true(m->bells[0].addr == 0xd0000020 && !m->bells[0].io && m->bells[0].fd == fd);
	assert_int_equal(t->pci.host_ops->doorbell(&t->pci, &port, true), 0);
	assert_int_equal(m->n_bells, 2);
	assert_true(m->bells[1].addr == 0xc010 && m->bells[1].io);
	assert_int_equal(t->pci.host_ops->doorbell(&t->pci, &port, false), 0);
	assert_int_equal(m->n_bells, 1);
	/* The machine cannot: then it is not the device's. */
	m->bell_error = -ENOSPC;
	assert_int_equal(t->pci.host_ops->doorbell(&t->pci, &port, true), -ENOSPC);
	/* A move that the machine cannot follow: the promise is kept from here. */
	conf_write(m, 0, 4, PCI_BASE_ADDRESS_0, 4, 0xd1000000);
	assert_int_equal(m->n_bells, 0);
	as_write(&m->mem, 0xd1000020, 2, 3);
	assert_int_equal(fd_count(fd), 1);
	as_write(&m->mem, 0xd1000020, 2, 4);
	as_write(&m->mem, 0xd1000020, 4, 3);
	as_write(&m->mem, 0xd1000022, 2, 3);
	assert_int_equal(fd_count(fd), 0);
	m->bell_error = 0;
	conf_write(m, 0, 4, PCI_BASE_ADDRESS_0, 4, 0xd2000000);
	assert_int_equal(m->n_bells, 1);
	assert_true(m->bells[0].addr == 0xd2000020);
	unplug(m, t);
	assert_int_equal(m->n_bells, 0);
	close(fd);
}

static void place_of(void *opaque, struct pci_dev *dev, const char *name, const char *place)
{
	char *text = opaque;

	snprintf(text + strlen(text), 256 - strlen(text), "%s %s;", place, name);
}

static void test_each_and_state(void **state)
{
	struct twx_machine *m = *state;
	struct toy *a = plug(m, NULL, "4"), *b = plug(m, NULL, "1f.1");
	struct pci_info bridge = { .vendor = 0x8086, .device = 0x1237, .class_code = 0x060000 };
	struct toy *host = toy_new(&bridge);
	struct state_desc d = pci_bus_state(m->bus);
	char text[256] = "";
	uint8_t *data;
	size_t len;

	assert_int_equal(pci_bus_add_fixed(m->bus, &host->pci, 0, 0), 0);
	pci_bus_each(m->bus, place_of, text);
	assert_string_equal(text, "00:00.0 8086:1237;00:04.0 toy;00:1f.1 toy;");
	conf_at(m, 0, 4, 0, 0);
	assert_int_equal(state_save(&d, 1, &data, &len), 0);
	pci_bus_reset(m->bus);
	assert_int_equal(as_read(&m->io, 0xcf8, 4), 0);
	assert_int_equal(state_load(&d, 1, data, len, NULL), 0);
	assert_int_equal(as_read(&m->io, 0xcfc, 4), 0x56781234);
	free(data);
	unplug(m, a);
	unplug(m, b);
	unplug(m, host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bus_test(test_config_ports),   bus_test(test_config_address),
		bus_test(test_ecam),	       bus_test(test_places),
		bus_test(test_bars),	       bus_test(test_rom),
		bus_test(test_lines),	       bus_test(test_assign),
		bus_test(test_assign_low),     bus_test(test_assign_tight),
		bus_test(test_zones),	       bus_test(test_doorbells),
		bus_test(test_each_and_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
