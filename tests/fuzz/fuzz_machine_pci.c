/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile guest against the PCI bus of a machine: configuration cycles by ports and ECAM, and
 * accesses to BARs wherever it has put them, with an e1000, a virtio-net-pci, another one behind a
 * root port, and a toy that comes and goes in a second port. All NICs are on one hub.
 *
 * One byte an operation, and its arguments. The machine asserts that it hears of changes only, and
 * that zones, doorbells and vectors that it is told of are taken back.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/macros.h"
#include "bus/virtio_pci.h"
#include "hosts/machine/machine.h"
#include "net/net_priv.h"
#include "fuzz.h"

#define RAM_LEN 0x10000u
#define N_VECTORS 2
#define N_FDS 5

struct slot {
	struct pci_dev *dev;
	bool own;
};

struct toy {
	struct pci_dev pci;
	bool plugged;
};

struct run {
	struct twx_machine m;
	struct toy toy;
	struct pci_dev *fns[5]; /* e1000, virtio, virtio behind the port, port, toy */
	uint8_t *ram;
	int fds[N_FDS];
	bool gsis[MACHINE_GSIS];
	int n_zones, n_bells, n_vectors;
	bool refuses;
	const uint8_t *p, *end;
};

static uint8_t get8(struct run *r)
{
	return r->p < r->end ? *r->p++ : 0;
}

static uint64_t get(struct run *r, unsigned int bytes)
{
	uint64_t v = 0;

	for (unsigned int i = 0; i < bytes; i++)
		v |= (uint64_t)get8(r) << (8 * i);
	return v;
}

static struct run *run_of(struct twx_machine *m)
{
	return container_of(m, struct run, m);
}

/* The machine. */

static void accel_gsi(struct twx_machine *m, unsigned int gsi, bool level)
{
	bool *was = &run_of(m)->gsis[gsi];

	assert(gsi < 16 && *was != level);
	*was = level;
}

static const struct accel fake_accel = { .name = "fuzz", .gsi = accel_gsi };

static void bus_line(void *opaque, unsigned int line, bool level)
{
	board_pci_line(opaque, line, level);
}

static void bus_message(void *opaque, uint64_t addr, uint32_t data)
{
	assert((addr & 3) == 0);
}

static int bus_doorbell(void *opaque, bool io, uint64_t addr, const struct pci_doorbell *bell,
			bool on)
{
	struct run *r = run_of(opaque);

	if (on && r->refuses)
		return -ENOSPC;
	r->n_bells += on ? 1 : -1;
	assert(r->n_bells >= 0);
	return 0;
}

static int bus_message_fd(void *opaque, struct pci_dev *dev, unsigned int vector, uint64_t addr,
			  uint32_t data, int fd)
{
	struct run *r = run_of(opaque);

	assert(fd < 0 || (dev->dma_on && !dev->host_masks));
	if (fd >= 0 && r->refuses)
		return -ENOSPC;
	r->n_vectors += fd >= 0 ? 1 : -1;
	assert(r->n_vectors >= 0);
	return 0;
}

static void bus_zone(void *opaque, enum pci_zone_kind kind, uint64_t addr, uint32_t len, bool on)
{
	struct run *r = run_of(opaque);

	r->n_zones += on ? 1 : -1;
	assert(r->n_zones >= 0 && kind != PCI_ZONE_NONE && len > 0);
}

static const struct pci_bus_ops bus_ops = {
	.line = bus_line,
	.message = bus_message,
	.doorbell = bus_doorbell,
	.message_fd = bus_message_fd,
	.zone = bus_zone,
};

static int slot_open(struct twx_host *h, const char *address, const struct twx_opts *opts,
		     struct twx_error *e)
{
	const char *bus = twx_opts_str(opts, "bus");
	struct twx_machine *m = h->opaque;
	struct slot *s = h->priv;
	int rc = 0;

	s->dev = h->nic->priv;
	s->own = strcmp(h->nic->model->bus, "virtio") == 0;
	if (s->own)
		rc = (bus ? virtio_pci_new_express : virtio_pci_new)(&s->dev, h->nic, h->nic->priv,
								     opts, e);
	return rc < 0 ? rc : pci_bus_plug(m->pci, s->dev, h->nic->id, bus, NULL, 3, false, e);
}

static void slot_close(struct twx_host *h)
{
	struct twx_machine *m = h->opaque;
	struct slot *s = h->priv;

	pci_bus_unplug(m->pci, s->dev);
	if (s->own)
		virtio_pci_free(s->dev);
}

static const struct twx_opt_desc slot_options[] = {
	{ .name = "bus", .type = TWX_OPT_STR, .help = "" },
	{ .name = NULL },
};

static const struct twx_host_bus slot_buses[] = { { "pci", pci_options },
						  { "virtio", virtio_pci_options },
						  { NULL, NULL } };

static const struct twx_host_type fuzz_host = {
	.name = "fuzz",
	.help = "",
	.buses = slot_buses,
	.options = slot_options,
	.priv_size = sizeof(struct slot),
	.open = slot_open,
	.close = slot_close,
	.places = true,
};

static const struct pci_windows windows = {
	.mem = PCI_MEM_BASE,
	.mem_len = PCI_MEM_END - PCI_MEM_BASE,
	.mem64 = PCI_MEM64_BASE,
	.mem64_len = PCI_MEM64_LEN,
	.io = PCI_PORT_BASE,
	.io_len = PCI_PORT_END - PCI_PORT_BASE + 1,
	.line_irq = { 5, 10, 10, 11 },
};

/* The toy. */

static uint64_t toy_read(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int size)
{
	assert(off < dev->info.bars[bar].size);
	return off;
}

static void toy_write(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int size,
		      uint64_t value, uint64_t mask)
{
	if (off == 0)
		pci_set_intx(dev, value & 1);
}

static void toy_reset(struct pci_dev *dev)
{
}

static const struct pci_dev_ops toy_ops = { .bar_read = toy_read,
					    .bar_write = toy_write,
					    .reset = toy_reset };

static const struct pci_zone toy_zones[] = {
	{ PCI_ZONE_POST, 0, 0, 4 },
	{ PCI_ZONE_LAZY, 2, 8, 4 },
	{ .kind = PCI_ZONE_NONE },
};

static const struct pci_info toy_info = {
	.vendor = 0x1234,
	.device = 0x5678,
	.int_pin = 2,
	.express = true,
	.bars = { { PCI_BAR_MEM32, false, 0x1000, 1, 4 },
		  { PCI_BAR_IO, false, 0x20, 1, 4 },
		  { PCI_BAR_MEM64, true, 0x1000000, 1, 8 } },
	.zones = toy_zones,
	.n_msix = N_VECTORS,
	.msix_table_off = 0x800,
	.msix_pba_off = 0xc00,
};

static void toy_out(struct run *r)
{
	if (!r->toy.plugged)
		return;
	r->toy.plugged = false;
	pci_bus_unplug(r->m.pci, &r->toy.pci);
	pci_dev_fini(&r->toy.pci);
}

static void toy_gone(void *opaque, struct pci_dev *dev)
{
	toy_out(opaque);
}

static void toy_in(struct run *r)
{
	int rc;

	if (r->toy.plugged)
		return;
	rc = pci_dev_init(&r->toy.pci, NULL, &toy_ops, &toy_info, NULL);
	assert(rc == 0);
	rc = pci_bus_plug(r->m.pci, &r->toy.pci, "toy", "rp1", NULL, 0, true, NULL);
	assert(rc == 0);
	r->toy.plugged = true;
}

/* Operations. */

/* A place on a bus: what is there, mostly. */
static uint32_t pick_fn(struct run *r)
{
	static const uint16_t places[] = { 0x018, 0x020, 0x028, 0x030, 0x000, 0x008, 0x100, 0x200 };
	uint8_t b = get8(r);

	return b & 0x80 ? (uint32_t)get(r, 2) : places[b & 7];
}

static void op_config(struct run *r, bool write, bool ecam)
{
	uint32_t at = pick_fn(r), reg = (uint32_t)get(r, ecam ? 2 : 1);
	unsigned int size = 1u << (get8(r) & (ecam ? 3 : 1) & 3);

	if (!ecam)
		as_write(&r->m.io, 0xcf8, 4, 0x80000000u | at << 8 | (reg & 0xfc));
	if (ecam && write)
		as_write(&r->m.mem, ECAM_BASE + ((uint64_t)at << 12 | (reg & 0xfff)), size,
			 get(r, size));
	else if (ecam)
		(void)as_read(&r->m.mem, ECAM_BASE + ((uint64_t)at << 12 | (reg & 0xfff)), size);
	else if (write)
		as_write(&r->m.io, 0xcfc + (reg & 3), size * 2 % 8, get(r, 4));
	else
		(void)as_read(&r->m.io, 0xcfc + (reg & 3), size);
}

static void op_bar(struct run *r, bool write)
{
	uint8_t which = get8(r);
	struct pci_dev *dev = r->fns[which % array_size(r->fns)];
	unsigned int bar = which / 8 % 7, size = 1u << (which >> 6);
	uint64_t off = get(r, 2), addr;
	struct aspace *as;

	if ((dev == &r->toy.pci && !r->toy.plugged) || !pci_bar_addr(dev, bar, &addr))
		return;
	as = bar < PCI_N_BARS && dev->info.bars[bar].kind == PCI_BAR_IO ? &r->m.io : &r->m.mem;
	if (write)
		as_write(as, addr + off, size, get(r, size));
	else
		(void)as_read(as, addr + off, size);
}

static void op_raw(struct run *r, struct aspace *as, unsigned int bytes)
{
	uint8_t how = get8(r);
	uint64_t addr = get(r, bytes);
	unsigned int size = 1 + (how & 7);

	if (how & 0x80)
		as_write(as, addr, size, get(r, size));
	else
		(void)as_read(as, addr, size);
}

static void op_poke(struct run *r)
{
	uint16_t off = (uint16_t)get(r, 2);
	uint8_t n = get8(r) % 32;

	for (uint8_t i = 0; i < n; i++)
		r->ram[(uint16_t)(off + i)] = get8(r);
}

static void op_life(struct run *r)
{
	uint8_t what = get8(r);

	if (what & 1)
		pci_bus_reset(r->m.pci);
	if (what & 2)
		(void)pci_bus_assign(r->m.pci, &windows, NULL);
	if (what & 4)
		for (size_t i = 0; i < 3; i++)
			pci_run(r->fns[i], what & 8);
	r->refuses = what & 16;
	if (what & 32)
		board_route_lines(&r->m, windows.line_irq);
}

static void op_toy(struct run *r)
{
	uint8_t what = get8(r);
	struct pci_dev *dev = &r->toy.pci;
	const struct pci_doorbell bell = {
		.bar = what >> 4 & 3, .size = 4, .match = what & 64, .value = 1, .fd = r->fds[0]
	};
	const uint64_t one = 1;

	if ((what & 7) == 0)
		toy_in(r);
	if (!r->toy.plugged)
		return;
	switch (what & 7) {
	case 1:
		toy_out(r);
		break;
	case 2:
		(void)pci_bus_ask_unplug(r->m.pci, dev, toy_gone, r, NULL);
		break;
	case 3:
		pci_set_intx(dev, what & 8);
		break;
	case 4:
		(void)pci_notify_fd(dev, what >> 4 & 3, what & 8 ? -1 : r->fds[1 + (what >> 6)]);
		break;
	case 5:
		(void)dev->host_ops->doorbell(dev, &bell, what & 8);
		break;
	case 6:
		if (write(r->fds[1 + (what >> 6)], &one, sizeof(one)) < 0)
			errno = 0;
		break;
	default:
		pci_notify(dev, what >> 4);
	}
}

static void op_migrate(struct run *r)
{
	struct pci_dev *dev = r->fns[get8(r) % 4];
	uint32_t at = (uint32_t)get(r, 2);
	uint8_t *data, bits = get8(r);
	size_t len;
	int rc = pci_save(dev, &data, &len);

	assert(rc == 0);
	data[at % len] ^= bits;
	rc = pci_load(dev, data, len, NULL);
	assert(rc == 0 || bits);
	free(data);
}

static void step(struct run *r)
{
	uint8_t op = get8(r);

	switch (op & 15) {
	case 0 ... 1:
		op_config(r, true, false);
		break;
	case 2:
		op_config(r, true, true);
		break;
	case 3:
		op_config(r, false, op & 16);
		break;
	case 4 ... 5:
		op_bar(r, true);
		break;
	case 6:
		op_bar(r, false);
		break;
	case 7:
		op_raw(r, &r->m.io, 2);
		break;
	case 8:
		op_raw(r, &r->m.mem, 8);
		break;
	case 9 ... 10:
		op_poke(r);
		break;
	case 11:
		(void)twx_loop_poll(r->m.loop, 0);
		break;
	case 12:
		op_life(r);
		break;
	case 13 ... 14:
		op_toy(r);
		break;
	case 15:
		op_migrate(r);
		break;
	}
}

/* Life. */

static struct twx_nic *nic_new(struct run *r, const char *text)
{
	struct twx_error e = { 0 };
	struct twx_nic *nic;
	int rc = twx_nic_new(&nic, r->m.net, text, &e);

	if (rc < 0)
		fprintf(stderr, "%s\n", e.what);
	assert(rc == 0);
	return nic;
}

static void make_nics(struct run *r)
{
	static const char *const nics[] = { "e1000,netdev=h0", "virtio-net-pci,netdev=h1,mq=off",
					    "virtio-net-pci,netdev=h2,bus=rp0" };
	char text[64];
	int rc;

	for (unsigned int i = 0; i < array_size(nics); i++) {
		struct twx_nic *nic;

		snprintf(text, sizeof(text), "hubport,id=h%u,hubid=0", i);
		rc = twx_backend_new(NULL, r->m.net, text, NULL);
		assert(rc == 0);
		nic = nic_new(r, nics[i]);
		r->fns[i] = ((struct slot *)nic->host->priv)->dev;
	}
}

static void find_port(void *opaque, struct pci_dev *dev, const char *name, const char *place)
{
	struct run *r = opaque;

	if (!r->fns[3] && strcmp(name, "pcie-root-port") == 0)
		r->fns[3] = dev;
}

static void run_open(struct run *r)
{
	struct twx_net_config config = { .size = sizeof(config) };
	struct twx_machine *m = &r->m;
	int fd = memfd_create("ram", MFD_CLOEXEC), rc;

	rc = twx_loop_new(&m->loop, NULL);
	assert(rc == 0);
	config.loop = m->loop;
	rc = twx_net_new(&m->net, &config, NULL);
	assert(rc == 0);
	m->accel = &fake_accel;
	m->ram = calloc(1, sizeof(*m->ram));
	mem_init(m->ram);
	rc = ftruncate(fd, RAM_LEN);
	assert(rc == 0);
	rc = mem_add_take(m->ram, 0, RAM_LEN, 0, fd, 0);
	assert(rc == 0);
	r->ram = mem_ptr(m->ram, (gpa){ 0 }, RAM_LEN);
	for (unsigned int i = 0; i < N_FDS; i++)
		r->fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	as_init(&m->mem, "mem", UINT64_MAX);
	as_init(&m->io, "io", 0xffff);
	rc = pci_bus_new(&m->pci, &bus_ops, m, &m->mem, &m->io, m->ram, m->loop);
	assert(rc == 0);
	rc = pci_bus_add_ecam(m->pci, ECAM_BASE, 255);
	assert(rc == 0);
	rc = board_bridges(m, NULL);
	assert(rc == 0);
	rc = pci_root_port_new(m->pci, "rp0", "5", NULL);
	assert(rc == 0);
	rc = pci_root_port_new(m->pci, "rp1", "6", NULL);
	assert(rc == 0);
	twx_net_set_host(m->net, &fuzz_host, m);
	make_nics(r);
	pci_bus_each(m->pci, find_port, r);
	r->fns[4] = &r->toy.pci;
	board_route_lines(m, windows.line_irq);
	rc = pci_bus_assign(m->pci, &windows, NULL);
	assert(rc == 0);
}

/* After whatever a guest did, a machine that starts again works. */
static void assert_works(struct run *r)
{
	uint64_t addr;
	int rc;

	for (unsigned int i = 0; i < 3; i++)
		pci_run(r->fns[i], true);
	pci_bus_reset(r->m.pci);
	rc = pci_bus_assign(r->m.pci, &windows, NULL);
	assert(rc == 0);
	for (unsigned int gsi = 0; gsi < MACHINE_GSIS; gsi++)
		assert(!r->gsis[gsi]);
	as_write(&r->m.io, 0xcf8, 4, 0x80000000u | 3u << 11);
	assert(as_read(&r->m.io, 0xcfc, 4) == 0x100e8086);
	assert(as_read(&r->m.mem, ECAM_BASE + (1u << 20), 4) == 0x10411af4);
	rc = pci_bar_addr(r->fns[0], 0, &addr);
	assert(rc && as_read(&r->m.mem, addr + 8, 4) != UINT32_MAX);
	/* Number of queues, behind the port. */
	rc = pci_bar_addr(r->fns[2], 4, &addr);
	assert(rc && as_read(&r->m.mem, addr + 0x12, 2) == 3);
}

static void run_close(struct run *r)
{
	struct twx_machine *m = &r->m;

	toy_out(r);
	twx_net_set_host(m->net, NULL, NULL);
	twx_net_free(m->net);
	while (m->devs) {
		struct board_dev *d = m->devs;

		m->devs = d->next;
		d->free(d->opaque);
	}
	pci_bus_free(m->pci);
	assert(r->n_zones == 0 && r->n_bells == 0 && r->n_vectors == 0);
	assert(!m->mem.regions && !m->io.regions);
	as_fini(&m->mem);
	as_fini(&m->io);
	mem_fini(m->ram);
	free(m->ram);
	twx_loop_free(m->loop);
	for (unsigned int i = 0; i < N_FDS; i++)
		close(r->fds[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run *r = calloc(1, sizeof(*r));

	r->p = data;
	r->end = data + size;
	run_open(r);
	while (r->p < r->end)
		step(r);
	assert_works(r);
	run_close(r);
	free(r);
	return 0;
}
