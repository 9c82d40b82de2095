/* SPDX-License-Identifier: BSD-3-Clause */
/* Root ports: bridges, their windows, and hot-plug as a driver of the slot sees it. */
#include "bus_kit.h"

#define SLOT 4 /* of the first port */

#define SLTCTL_ON                                                                                  \
	(PCI_EXP_SLTCTL_HPIE | PCI_EXP_SLTCTL_ABPE | PCI_EXP_SLTCTL_PDCE | PCI_EXP_SLTCTL_DLLSCE)

static unsigned int find_cap(struct twx_machine *m, unsigned int slot, uint8_t id)
{
	uint32_t at = conf_read(m, 0, slot, PCI_CAPABILITY_LIST, 1);

	while (at && conf_read(m, 0, slot, at, 1) != id)
		at = conf_read(m, 0, slot, at + 1, 1);
	return at;
}

static uint32_t exp_read(struct twx_machine *m, uint32_t reg, unsigned int size)
{
	return conf_read(m, 0, SLOT, find_cap(m, SLOT, PCI_CAP_ID_EXP) + reg, size);
}

static void exp_write(struct twx_machine *m, uint32_t reg, uint32_t value)
{
	conf_write(m, 0, SLOT, find_cap(m, SLOT, PCI_CAP_ID_EXP) + reg, 2, value);
}

static uint32_t status(struct twx_machine *m)
{
	return exp_read(m, PCI_EXP_SLTSTA, 2);
}

static bool link_up(struct twx_machine *m)
{
	return exp_read(m, PCI_EXP_LNKSTA, 2) & PCI_EXP_LNKSTA_DLLLA;
}

static void acknowledge(struct twx_machine *m)
{
	exp_write(m, PCI_EXP_SLTSTA, status(m) & ~(uint32_t)PCI_EXP_SLTSTA_PDS);
}

static void port_new(struct twx_machine *m, const char *id, const char *addr)
{
	assert_int_equal(pci_root_port_new(m->bus, id, addr, NULL), 0);
}

static void poll_loop(struct twx_machine *m)
{
	for (int i = 0; i < 3; i++)
		assert_true(twx_loop_poll(m->loop, 0) >= 0);
}

static struct toy *plug_hot(struct twx_machine *m, const char *bus)
{
	struct toy *t = toy_new(&toy_info);
	struct twx_error e = { 0 };

	if (pci_bus_plug(m->bus, &t->pci, "toy", bus, NULL, 0, true, &e) < 0)
		fail_msg("%s", e.what);
	return t;
}

/* A driver that listens, with MSI. */
static void driver_probe(struct twx_machine *m)
{
	unsigned int msi = find_cap(m, SLOT, PCI_CAP_ID_MSI);

	conf_write(m, 0, SLOT, PCI_COMMAND, 2,
		   PCI_COMMAND_MEMORY | PCI_COMMAND_IO | PCI_COMMAND_MASTER);
	conf_write(m, 0, SLOT, msi + PCI_MSI_ADDRESS_LO, 4, 0xfee01000);
	conf_write(m, 0, SLOT, msi + PCI_MSI_DATA_64, 2, 0x55);
	conf_write(m, 0, SLOT, msi + PCI_MSI_FLAGS, 2, PCI_MSI_FLAGS_ENABLE);
	acknowledge(m);
	exp_write(m, PCI_EXP_SLTCTL, exp_read(m, PCI_EXP_SLTCTL, 2) | SLTCTL_ON);
}

static void power(struct twx_machine *m, bool on)
{
	uint32_t ctl = exp_read(m, PCI_EXP_SLTCTL, 2) &
		       ~(uint32_t)(PCI_EXP_SLTCTL_PCC | PCI_EXP_SLTCTL_PIC);

	ctl |= on ? PCI_EXP_SLTCTL_PWR_IND_ON : PCI_EXP_SLTCTL_PCC | PCI_EXP_SLTCTL_PWR_IND_OFF;
	exp_write(m, PCI_EXP_SLTCTL, ctl);
}

static void test_identity(void **state)
{
	struct twx_machine *m = *state;
	struct twx_error e = { 0 };
	uint32_t slot;

	port_new(m, "rp0", "4");
	assert_int_equal(conf_read(m, 0, SLOT, 0, 4), 0x000c1b36);
	assert_int_equal(conf_read(m, 0, SLOT, PCI_CLASS_REVISION, 4) >> 8, 0x060400);
	assert_int_equal(conf_read(m, 0, SLOT, PCI_HEADER_TYPE, 1), PCI_HEADER_TYPE_BRIDGE);
	assert_int_equal(exp_read(m, PCI_EXP_FLAGS, 2),
			 2 | PCI_EXP_TYPE_ROOT_PORT << 4 | PCI_EXP_FLAGS_SLOT);
	slot = exp_read(m, PCI_EXP_SLTCAP, 4);
	assert_true(slot & PCI_EXP_SLTCAP_ABP);
	assert_true(slot & PCI_EXP_SLTCAP_PCP);
	assert_true(slot & PCI_EXP_SLTCAP_HPC);
	assert_false(slot & PCI_EXP_SLTCAP_HPS);
	assert_int_equal(slot >> 19, 1);
	assert_true(exp_read(m, PCI_EXP_LNKCAP, 4) & PCI_EXP_LNKCAP_DLLLARC);
	/* The space is a PCIe function's. */
	assert_int_equal(as_read(&m->mem, ecam(0, SLOT, 0, 0x100), 4), 0);
	assert_true(pci_bus_is_root_port(m->bus, "rp0"));
	assert_false(pci_bus_is_root_port(m->bus, "pci.0"));
	assert_int_equal(pci_root_port_new(m->bus, "rp0", NULL, &e), -EEXIST);
	assert_string_equal(e.what, "Duplicate device ID 'rp0'");
	assert_int_equal(pci_root_port_new(m->bus, "rp1", "4", &e), -EBUSY);
	assert_string_equal(e.what,
			    "PCI: slot 4 function 0 not available for pcie-root-port, in use "
			    "by pcie-root-port,id=rp0");
}

static void test_numbers_and_windows(void **state)
{
	struct twx_machine *m = *state;
	struct toy *t;
	uint64_t bar0 = 0xd0100000, bar2 = 0x9000000000;

	port_new(m, "rp0", "4");
	t = plug(m, "rp0", NULL);
	assert_int_equal(conf_read(m, 1, 0, 0, 4), UINT32_MAX);
	conf_write(m, 0, SLOT, PCI_PRIMARY_BUS, 4, 0x00070700);
	assert_int_equal(conf_read(m, 1, 0, 0, 4), UINT32_MAX);
	assert_int_equal(conf_read(m, 7, 0, 0, 4), 0x56781234);
	assert_int_equal(conf_read(m, 7, 1, 0, 4), UINT32_MAX);
	assert_int_equal(as_read(&m->mem, ecam(7, 0, 0, 0), 4), 0x56781234);
	conf_write(m, 7, 0, PCI_BASE_ADDRESS_0, 4, (uint32_t)bar0);
	conf_write(m, 7, 0, PCI_BASE_ADDRESS_1, 4, 0xd040);
	conf_write(m, 7, 0, PCI_BASE_ADDRESS_2, 4, (uint32_t)bar2);
	conf_write(m, 7, 0, PCI_BASE_ADDRESS_3, 4, (uint32_t)(bar2 >> 32));
	conf_write(m, 7, 0, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
	/* Not through a bridge without windows, or one that does not decode. */
	assert_true(as_read(&m->mem, bar0, 4) == UINT32_MAX);
	conf_write(m, 0, SLOT, PCI_MEMORY_BASE, 4, 0xd010d010);
	assert_true(as_read(&m->mem, bar0, 4) == UINT32_MAX);
	conf_write(m, 0, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	as_write(&m->mem, bar0, 4, 0x12345678);
	assert_int_equal(as_read(&m->mem, bar0, 4), 0x12345678);
	assert_int_equal(m->n_zones, 2);
	assert_true(as_read(&m->mem, bar2, 4) == UINT32_MAX);
	conf_write(m, 0, SLOT, PCI_PREF_MEMORY_BASE, 4, 0x00010001);
	conf_write(m, 0, SLOT, PCI_PREF_BASE_UPPER32, 4, 0x90);
	assert_true(as_read(&m->mem, bar2, 4) == UINT32_MAX);
	conf_write(m, 0, SLOT, PCI_PREF_LIMIT_UPPER32, 4, 0x90);
	as_write(&m->mem, bar2 + 8, 4, 0x77);
	assert_int_equal(as_read(&m->mem, bar2 + 8, 4), 0x77);
	assert_int_equal(as_read(&m->io, 0xd040, 2), 0xffff);
	conf_write(m, 0, SLOT, PCI_IO_BASE, 2, 0xd0d0);
	conf_write(m, 0, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	as_write(&m->io, 0xd040, 2, 0x4321);
	assert_int_equal(as_read(&m->io, 0xd040, 2), 0x4321);
	/* A window that ends before the BAR does. */
	conf_write(m, 0, SLOT, PCI_MEMORY_BASE, 4, 0xd000d000);
	assert_true(as_read(&m->mem, bar0, 4) == UINT32_MAX);
	assert_int_equal(m->n_zones, 0);
	unplug(m, t);
}

static void test_one_slot(void **state)
{
	struct twx_machine *m = *state;
	struct pci_info multi = toy_info;
	struct toy *a, *b;

	port_new(m, "rp0", "4");
	assert_refused(m, &toy_info, "rp0", "1", false, -EINVAL,
		       "PCI: slot 1 is not valid for toy, parent device only allows plugging into "
		       "slot 0.");
	multi.multifunction = true;
	a = toy_new(&multi);
	assert_int_equal(pci_bus_plug(m->bus, &a->pci, "toy", "rp0", NULL, 3, false, NULL), 0);
	b = plug(m, "rp0", "0.3");
	assert_refused(m, &toy_info, "rp0", NULL, false, -ENOSPC,
		       "PCI: no slot/function available for toy, all in use or reserved");
	assert_refused(
		m, &toy_info, "rp0", "0.1", true, -EBUSY,
		"PCI: slot 0 function 0 already occupied by toy, new func toy cannot be exposed "
		"to guest.");
	conf_write(m, 0, SLOT, PCI_PRIMARY_BUS, 4, 0x00010100);
	conf_at(m, 1, 0, 3, 0);
	assert_int_equal(as_read(&m->io, 0xcfc, 4), 0x56781234);
	unplug(m, b);
	unplug(m, a);
}

static void test_lines_swizzle(void **state)
{
	struct twx_machine *m = *state;
	struct toy *t;

	port_new(m, "rp0", "5");
	t = plug(m, "rp0", NULL);
	pci_set_intx(&t->pci, true);
	assert_true(m->level[1]);
	unplug(m, t);
	assert_false(m->level[1]);
}

static uint64_t window(struct twx_machine *m, unsigned int slot, uint32_t low, uint32_t high)
{
	return (uint64_t)conf_read(m, 0, slot, high, 4) << 32 |
	       (conf_read(m, 0, slot, low, 2) & 0xfff0) << 16;
}

static void test_assign_behind_ports(void **state)
{
	struct twx_machine *m = *state;
	struct toy *t[8], *root = plug(m, NULL, "2");
	uint64_t pref[8][2];
	unsigned int n_io = 0;
	char id[8];

	/* More ports than windows of 4 KiB fit into the I/O ports. */
	for (unsigned int i = 0; i < 8; i++) {
		snprintf(id, sizeof(id), "rp%u", i);
		port_new(m, id, NULL);
		t[i] = i < 2 ? plug(m, id, NULL) : NULL;
	}
	assert_int_equal(pci_bus_assign(m->bus, &windows, NULL), 0);
	assert_answers(m, root);
	for (unsigned int i = 0; i < 2; i++) {
		assert_answers(m, t[i]);
		assert_int_equal(as_read(&m->mem, ecam(i + 1, 0, 0, 0), 4), 0x56781234);
	}
	/* Windows hold what is behind them, and overlap no other's. */
	for (unsigned int i = 0; i < 8; i++) {
		unsigned int slot = i + (i >= 2);

		pref[i][0] = window(m, slot, PCI_PREF_MEMORY_BASE, PCI_PREF_BASE_UPPER32);
		pref[i][1] =
			window(m, slot, PCI_PREF_MEMORY_LIMIT, PCI_PREF_LIMIT_UPPER32) | 0xfffff;
		assert_true(pref[i][0] >= windows.mem64 && pref[i][0] < pref[i][1]);
		for (unsigned int j = 0; j < i; j++)
			assert_true(pref[j][1] < pref[i][0] || pref[i][1] < pref[j][0]);
	}
	/* Room for what is plugged in later. */
	for (unsigned int i = 2; i < 8; i++) {
		uint32_t base = conf_read(m, 0, i + (i >= 2), PCI_MEMORY_BASE, 4);

		assert_true(base >> 16 >= (base & 0xffff));
		base = conf_read(m, 0, i + (i >= 2), PCI_IO_BASE, 2);
		n_io += base >> 8 >= (base & 0xff);
	}
	/* I/O ports while they last: 16 KiB, for two cards, the root's BARs, and one more. */
	assert_int_equal(n_io, 1);
	for (unsigned int i = 0; i < 2; i++)
		unplug(m, t[i]);
	unplug(m, root);
}

static void test_cold(void **state)
{
	struct twx_machine *m = *state;
	struct toy *t;

	port_new(m, "rp0", "4");
	assert_int_equal(status(m), 0);
	assert_true(exp_read(m, PCI_EXP_SLTCTL, 2) & PCI_EXP_SLTCTL_PCC);
	assert_false(link_up(m));
	t = plug(m, "rp0", NULL);
	/* With power, and nothing has happened. */
	assert_int_equal(status(m), PCI_EXP_SLTSTA_PDS);
	assert_int_equal(exp_read(m, PCI_EXP_SLTCTL, 2) & (PCI_EXP_SLTCTL_PCC | PCI_EXP_SLTCTL_PIC),
			 PCI_EXP_SLTCTL_PWR_IND_ON);
	assert_true(link_up(m));
	pci_bus_reset(m->bus);
	assert_int_equal(status(m), PCI_EXP_SLTSTA_PDS);
	assert_true(link_up(m));
	assert_int_equal(m->n_messages, 0);
	unplug(m, t);
}

static void test_plug(void **state)
{
	struct twx_machine *m = *state;
	struct toy *t;

	port_new(m, "rp0", "4");
	assert_int_equal(pci_bus_assign(m->bus, &windows, NULL), 0);
	driver_probe(m);
	t = plug_hot(m, "rp0");
	assert_int_equal(m->n_messages, 1);
	assert_true(m->msg_addr == 0xfee01000 && m->msg_data == 0x55);
	assert_int_equal(status(m), PCI_EXP_SLTSTA_PDS | PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_ABP);
	acknowledge(m);
	assert_int_equal(status(m), PCI_EXP_SLTSTA_PDS);
	/* Nothing to be found before there is power. */
	assert_int_equal(conf_read(m, 1, 0, 0, 4), UINT32_MAX);
	power(m, true);
	assert_true(link_up(m));
	assert_int_equal(m->n_messages, 2);
	assert_int_equal(status(m), PCI_EXP_SLTSTA_PDS | PCI_EXP_SLTSTA_DLLSC);
	assert_int_equal(conf_read(m, 1, 0, 0, 4), 0x56781234);
	unplug(m, t);
	assert_int_equal(m->n_messages, 2); /* DLLSC is still up: no edge */
	assert_int_equal(status(m), PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_DLLSC);
}

/* A slot of several: the guest hears of it when function 0 comes. */
static void test_plug_functions(void **state)
{
	struct twx_machine *m = *state;
	struct pci_info multi = toy_info;
	struct toy *first, *t;

	port_new(m, "rp0", "4");
	driver_probe(m);
	multi.multifunction = true;
	t = toy_new(&multi);
	assert_int_equal(pci_bus_plug(m->bus, &t->pci, "toy", "rp0", "0.1", 0, true, NULL), 0);
	assert_int_equal(status(m), 0);
	assert_int_equal(m->n_messages, 0);
	first = toy_new(&multi);
	assert_int_equal(pci_bus_plug(m->bus, &first->pci, "toy", "rp0", NULL, 0, true, NULL), 0);
	assert_true(status(m) & PCI_EXP_SLTSTA_PDC);
	assert_int_equal(m->n_messages, 1);
	acknowledge(m);
	unplug(m, t);
	assert_int_equal(status(m), PCI_EXP_SLTSTA_PDS);
	unplug(m, first);
}

static void test_interrupts(void **state)
{
	struct twx_machine *m = *state;
	struct toy *t;

	port_new(m, "rp0", "4");
	/* Without MSI: a level. */
	exp_write(m, PCI_EXP_SLTCTL, exp_read(m, PCI_EXP_SLTCTL, 2) | PCI_EXP_SLTCTL_ABPE);
	t = plug_hot(m, "rp0");
	assert_false(m->level[0]);
	exp_write(m, PCI_EXP_SLTCTL, exp_read(m, PCI_EXP_SLTCTL, 2) | PCI_EXP_SLTCTL_HPIE);
	assert_true(m->level[0]);
	exp_write(m, PCI_EXP_SLTSTA, PCI_EXP_SLTSTA_PDC);
	assert_true(m->level[0]);
	exp_write(m, PCI_EXP_SLTSTA, PCI_EXP_SLTSTA_ABP);
	assert_false(m->level[0]);
	assert_int_equal(m->n_messages, 0);
	unplug(m, t);
}

static void on_gone(void *opaque, struct pci_dev *dev)
{
	struct twx_machine *m = opaque;

	m->n_gone++;
	m->gone = dev;
	pci_bus_unplug(m->bus, dev);
}

static struct toy *running_guest(struct twx_machine *m)
{
	struct toy *t;

	port_new(m, "rp0", "4");
	t = plug(m, "rp0", NULL);
	assert_int_equal(pci_bus_assign(m->bus, &windows, NULL), 0);
	driver_probe(m);
	return t;
}

static void test_unplug(void **state)
{
	struct twx_machine *m = *state;
	struct toy *t = running_guest(m);
	struct twx_error e = { 0 };
	uint64_t addr;

	assert_int_equal(pci_bus_ask_unplug(m->bus, &t->pci, on_gone, m, NULL), 0);
	assert_int_equal(m->n_messages, 1);
	assert_int_equal(status(m), PCI_EXP_SLTSTA_PDS | PCI_EXP_SLTSTA_ABP);
	poll_loop(m);
	assert_int_equal(m->n_gone, 0);
	assert_answers(m, t);
	/* A second press would mean never mind. */
	assert_int_equal(pci_bus_ask_unplug(m->bus, &t->pci, on_gone, m, &e), -EBUSY);
	assert_string_equal(e.what, "Device toy is already in the process of unplug");
	acknowledge(m);
	assert_true(pci_bar_addr(&t->pci, 0, &addr));
	power(m, false);
	assert_int_equal(m->n_gone, 0); /* not from within the guest's access */
	assert_int_equal(t->n_resets, 1);
	assert_true(as_read(&m->mem, addr, 4) == UINT32_MAX);
	assert_int_equal(conf_read(m, 1, 0, 0, 4), UINT32_MAX);
	poll_loop(m);
	assert_int_equal(m->n_gone, 1);
	assert_ptr_equal(m->gone, &t->pci);
	assert_false(status(m) & PCI_EXP_SLTSTA_PDS);
	assert_true(status(m) & PCI_EXP_SLTSTA_PDC);
	toy_free(t);
	/* The slot can be used again. */
	acknowledge(m);
	t = plug_hot(m, "rp0");
	assert_true(status(m) & PCI_EXP_SLTSTA_PDS);
	unplug(m, t);
}

static void test_unplug_refused(void **state)
{
	struct twx_machine *m = *state;
	struct toy *t = plug(m, NULL, "9"), *behind = running_guest(m);
	struct twx_error e = { 0 };

	assert_int_equal(pci_bus_ask_unplug(m->bus, &t->pci, on_gone, m, &e), -EPERM);
	assert_string_equal(e.what, "Bus 'pci.0' does not support hotplugging");
	/* The guest is at it already. */
	exp_write(m, PCI_EXP_SLTCTL,
		  (exp_read(m, PCI_EXP_SLTCTL, 2) & ~(uint32_t)PCI_EXP_SLTCTL_PIC) |
			  PCI_EXP_SLTCTL_PWR_IND_BLINK);
	assert_int_equal(pci_bus_ask_unplug(m->bus, &behind->pci, on_gone, m, &e), -EBUSY);
	assert_string_equal(e.what, "Hot-unplug failed: guest is busy (power indicator blinking)");
	unplug(m, behind);
	unplug(m, t);
}

static void test_unplug_unused(void **state)
{
	struct twx_machine *m = *state;
	struct toy *t;

	/* Nobody has ever looked at it. */
	port_new(m, "rp0", "4");
	t = plug_hot(m, "rp0");
	assert_int_equal(pci_bus_ask_unplug(m->bus, &t->pci, on_gone, m, NULL), 0);
	assert_int_equal(m->n_gone, 0);
	poll_loop(m);
	assert_int_equal(m->n_gone, 1);
	toy_free(t);
}

/* With power, and no driver. */
static void test_unplug_undecoded(void **state)
{
	struct twx_machine *m = *state;
	struct toy *t;

	port_new(m, "rp0", "4");
	t = plug(m, "rp0", NULL);
	assert_true(link_up(m));
	assert_int_equal(pci_bus_ask_unplug(m->bus, &t->pci, on_gone, m, NULL), 0);
	poll_loop(m);
	assert_int_equal(m->n_gone, 1);
	toy_free(t);
}

static void test_unplug_by_reset(void **state)
{
	struct twx_machine *m = *state;
	struct toy *t = running_guest(m);

	assert_int_equal(pci_bus_ask_unplug(m->bus, &t->pci, on_gone, m, NULL), 0);
	pci_bus_reset(m->bus);
	poll_loop(m);
	assert_int_equal(m->n_gone, 1);
	toy_free(t);
}

/* That nobody uses one function says nothing of the other. */
static void test_unplug_one_of_two(void **state)
{
	struct twx_machine *m = *state;
	struct pci_info many = toy_info;
	struct toy *first, *second;

	many.multifunction = true;
	port_new(m, "rp0", "4");
	first = toy_new(&many);
	assert_int_equal(pci_bus_plug(m->bus, &first->pci, "toy", "rp0", "0.0", 0, false, NULL), 0);
	second = plug(m, "rp0", "0.1");
	assert_int_equal(pci_bus_assign(m->bus, &windows, NULL), 0);
	driver_probe(m);
	as_write(&m->mem, ecam(1, 0, 1, PCI_COMMAND), 2, 0);
	assert_int_equal(pci_bus_ask_unplug(m->bus, &first->pci, on_gone, m, NULL), 0);
	assert_int_equal(pci_bus_ask_unplug(m->bus, &second->pci, on_gone, m, NULL), 0);
	poll_loop(m);
	assert_int_equal(m->n_gone, 1);
	assert_ptr_equal(m->gone, &second->pci);
	assert_answers(m, first);
	power(m, false);
	poll_loop(m);
	assert_int_equal(m->n_gone, 2);
	assert_ptr_equal(m->gone, &first->pci);
	toy_free(first);
	toy_free(second);
}

/* The guest takes power away by itself, and gives it again. */
static void test_power(void **state)
{
	struct twx_machine *m = *state;
	struct toy *t = running_guest(m);

	power(m, false);
	poll_loop(m);
	assert_int_equal(m->n_gone, 0);
	assert_int_equal(t->n_resets, 1);
	assert_false(link_up(m));
	power(m, true);
	assert_true(link_up(m));
	assert_int_equal(conf_read(m, 1, 0, PCI_COMMAND, 2), 0);
	/* As does who disables the link, or resets the bus. */
	exp_write(m, PCI_EXP_LNKCTL, PCI_EXP_LNKCTL_LD);
	assert_int_equal(conf_read(m, 1, 0, 0, 4), UINT32_MAX);
	exp_write(m, PCI_EXP_LNKCTL, 0);
	conf_write(m, 1, 0, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	conf_write(m, 0, SLOT, PCI_BRIDGE_CONTROL, 2, PCI_BRIDGE_CTL_BUS_RESET);
	conf_write(m, 0, SLOT, PCI_BRIDGE_CONTROL, 2, 0);
	assert_int_equal(t->n_resets, 2);
	assert_int_equal(conf_read(m, 1, 0, PCI_COMMAND, 2), 0);
	unplug(m, t);
}

struct saved {
	struct pci_dev *dev[2];
	uint8_t *data[2];
	size_t len[2];
	unsigned int n;
};

static void save_one(void *opaque, struct pci_dev *dev, const char *name, const char *place)
{
	struct saved *s = opaque;

	assert_true(s->n < 2);
	s->dev[s->n] = dev;
	assert_int_equal(pci_save(dev, &s->data[s->n], &s->len[s->n]), 0);
	s->n++;
}

static void save_and_load(struct twx_machine *m, bool port_first)
{
	struct toy *t = running_guest(m);
	struct saved s = { 0 };

	pci_bus_each(m->bus, save_one, &s);
	assert_int_equal(s.n, 2);
	pci_bus_reset(m->bus);
	assert_int_equal(conf_read(m, 1, 0, 0, 4), UINT32_MAX);
	for (unsigned int i = 0; i < 2; i++) {
		unsigned int j = port_first ? i : 1 - i;

		assert_int_equal(pci_load(s.dev[j], s.data[j], s.len[j], NULL), 0);
		free(s.data[j]);
	}
	assert_int_equal(conf_read(m, 1, 0, 0, 4), 0x56781234);
	assert_answers(m, t);
	/* Who listened listens. */
	assert_int_equal(pci_bus_ask_unplug(m->bus, &t->pci, on_gone, m, NULL), 0);
	assert_int_equal(m->n_messages, 1);
	unplug(m, t);
}

static void test_state(void **state)
{
	save_and_load(*state, true);
}

static void test_state_port_last(void **state)
{
	save_and_load(*state, false);
}

/* Saved with the slot in use, loaded without: what is not there is not shown. */
static void test_state_of_another_slot(void **state)
{
	struct twx_machine *m = *state;
	struct toy *t = running_guest(m);
	struct saved s = { 0 };

	pci_bus_each(m->bus, save_one, &s);
	unplug(m, t);
	pci_bus_reset(m->bus);
	assert_int_equal(pci_load(s.dev[0], s.data[0], s.len[0], NULL), 0);
	assert_false(status(m) & PCI_EXP_SLTSTA_PDS);
	assert_false(link_up(m));
	assert_int_equal(conf_read(m, 1, 0, 0, 4), UINT32_MAX);
	free(s.data[0]);
	free(s.data[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bus_test(test_identity),
		bus_test(test_numbers_and_windows),
		bus_test(test_one_slot),
		bus_test(test_lines_swizzle),
		bus_test(test_assign_behind_ports),
		bus_test(test_cold),
		bus_test(test_plug),
		bus_test(test_plug_functions),
		bus_test(test_interrupts),
		bus_test(test_unplug),
		bus_test(test_unplug_refused),
		bus_test(test_unplug_unused),
		bus_test(test_unplug_undecoded),
		bus_test(test_unplug_by_reset),
		bus_test(test_unplug_one_of_two),
		bus_test(test_power),
		bus_test(test_state),
		bus_test(test_state_port_last),
		bus_test(test_state_of_another_slot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
