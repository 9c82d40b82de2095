/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile guest against virtio-net over PCI: accesses to configuration space and BARs, memory
 * that it writes meanwhile, frames from the other end, and a host whose memory map changes.
 *
 * Byte 0 picks the function, its options and pairs, and whether a driver has set it up; then one
 * byte an operation and its arguments. Offsets are few and close to the registers, addresses in a
 * window of 64 KiB around the border of the two regions of memory.
 */
#include "../device/fake_virtio_pci.h"

#include "fuzz.h"

#define WINDOW (FG_BORDER - 0x8000)

struct run {
	struct fv *v;
	const uint8_t *p, *end;
	bool level;
};

static uint8_t get8(struct run *r)
{
	return r->p < r->end ? *r->p++ : 0;
}

static uint32_t get(struct run *r, unsigned int bytes)
{
	uint32_t v = 0;

	for (unsigned int i = 0; i < bytes; i++)
		v |= (uint32_t)get8(r) << (8 * i);
	return v;
}

static void fuzz_intx(struct pci_dev *pci, bool level)
{
	struct run *r = pci->host;

	assert(r->level != level);
	r->level = level;
}

static void fuzz_message(struct pci_dev *pci, enum pci_irq kind, unsigned int vector, uint64_t addr,
			 uint32_t data)
{
	assert(kind == PCI_IRQ_MSIX && vector < pci->info.n_msix && pci->running);
}

static const struct pci_host_ops fuzz_host = { .intx = fuzz_intx, .message = fuzz_message };

static void bar_write(struct run *r, unsigned int bar, uint32_t off, uint32_t len)
{
	uint8_t buf[8];

	for (uint32_t i = 0; i < len; i++)
		buf[i] = get8(r);
	(void)pci_bar_write(r->v->pci, bar, off, buf, len);
}

static void op_bar(struct run *r, bool write)
{
	static const uint8_t bars[] = { 0, 1, 2, 4 };
	uint8_t where = get8(r);
	uint32_t len = 1u << (where >> 6), off = get8(r);
	uint8_t buf[8];

	/* One of the structures, or the registers in I/O space. */
	off += (uint32_t)(where >> 2 & 3) << 12;
	if (write)
		bar_write(r, bars[where & 3], off, len);
	else
		(void)pci_bar_read(r->v->pci, bars[where & 3], off, buf, len);
}

/* The common structure, where most is to be had: field, then value. */
static void op_common(struct run *r)
{
	uint8_t off = get8(r) % 0x40, len = (uint8_t)(1u << (get8(r) & 3));

	bar_write(r, 4, off, len);
}

/* A ring address of the selected queue, somewhere in the window. */
static void op_place(struct run *r)
{
	static const uint8_t offs[] = { VIRTIO_PCI_COMMON_Q_DESCLO, VIRTIO_PCI_COMMON_Q_AVAILLO,
					VIRTIO_PCI_COMMON_Q_USEDLO };
	uint64_t at = WINDOW + get(r, 2);

	(void)pci_bar_write(r->v->pci, 4, offs[get8(r) % 3], &at, 8);
}

static void op_config(struct run *r, bool write)
{
	uint8_t off = get8(r), len = get8(r) % 5, buf[4];

	for (uint32_t i = 0; write && i < len; i++)
		buf[i] = get8(r);
	if (write)
		(void)pci_config_write(r->v->pci, off, buf, len);
	else
		(void)pci_config_read(r->v->pci, off, buf, len);
}

static void op_poke(struct run *r)
{
	uint16_t off = (uint16_t)get(r, 2), n = get8(r) % 32;

	for (uint16_t i = 0; i < n; i++)
		*(uint8_t *)fg_ptr(r->v->g, WINDOW + (uint16_t)(off + i)) = get8(r);
}

/* A chain of one on a ring of the well-behaved driver's. */
static void op_chain(struct run *r, unsigned int qi)
{
	struct fg_queue *q = &r->v->g->q[qi];
	uint8_t head = get8(r);

	if (!q->size)
		return;
	fg_set_desc(r->v->g, q->desc, head % q->size,
		    (struct fg_desc){ WINDOW + get(r, 2), get(r, 2), get8(r) & 7, get8(r) });
	fg_offer(r->v->g, qi, head % q->size);
	(void)pci_bar_write(r->v->pci, 4, 0x3000 + 4 * qi, "\0", 2);
}

static void op_frame(struct run *r)
{
	static uint8_t data[4096];

	fg_wire_send(r->v->g->wire, data, 14 + get(r, 2) % 4000, NULL);
}

static void op_memory(struct run *r, bool there)
{
	pci_mem_changing(r->v->pci);
	mem_fini(r->v->g->mem);
	if (there)
		fg_map(r->v->g);
	pci_mem_changed(r->v->pci);
}

static void op_migrate(struct run *r)
{
	uint32_t at = get(r, 2);
	uint8_t *data, bits = get8(r);
	size_t len;
	int rc = pci_save(r->v->pci, &data, &len);

	assert(rc == 0);
	data[at % len] ^= bits;
	rc = pci_load(r->v->pci, data, len, NULL);
	assert(rc == 0 || bits);
	free(data);
}

static void op_host(struct run *r, uint8_t what)
{
	switch (what % 8) {
	case 0:
		pci_reset(r->v->pci);
		fv_enable(r->v);
		break;
	case 1:
	case 2:
		op_memory(r, what & 1);
		break;
	case 3:
	case 4:
		pci_run(r->v->pci, what & 1);
		break;
	case 5:
		op_migrate(r);
		break;
	case 6:
		twx_port_set_link(r->v->g->nic->ports[0], what & 8);
		break;
	case 7:
		fv_enable(r->v);
	}
}

static void step(struct run *r)
{
	uint8_t op = get8(r);

	switch (op & 15) {
	case 0:
	case 1:
		op_bar(r, true);
		break;
	case 2:
		op_bar(r, false);
		break;
	case 3 ... 5:
		op_common(r);
		break;
	case 6:
		op_place(r);
		break;
	case 7:
		op_config(r, op >> 4 & 1);
		break;
	case 8:
		op_poke(r);
		break;
	case 9 ... 11:
		op_chain(r, (op >> 4) % 3);
		break;
	case 12:
		op_frame(r);
		break;
	case 13:
		op_host(r, op >> 4);
		break;
	case 14:
		twx_loop_poll(r->v->g->loop, 0);
		break;
	case 15: /* doorbell */
		bar_write(r, 4, 0x3000 + 4u * (op >> 4), 2);
	}
}

/* Whatever went before, a driver that does as it should has a card that works. */
static void assert_works(struct run *r)
{
	struct fv *v = r->v;
	uint8_t f[64];

	pci_run(v->pci, true);
	op_memory(r, true);
	pci_reset(v->pci);
	fv_enable(v);
	twx_port_set_link(v->g->nic->ports[0], true);
	twx_port_purge(v->g->nic->ports[0]);
	v->g->brk = FG_BASE + 4096;
	if (v->cap[VIRTIO_PCI_CAP_COMMON_CFG].order)
		fv_start(v, FV_PLAIN & fv_offered(v), v->pci->info.n_msix > 3);
	else
		fv_legacy_start(v, 0, v->pci->info.n_msix > 3);
	fg_run(v->g);
	fg_wire_clear(v->g->wire);
	fg_frame(f, sizeof(f), 1);
	fg_tx(v->g, 1, NULL, f, sizeof(f), FG_SPLIT);
	if (v->cap[VIRTIO_PCI_CAP_COMMON_CFG].order)
		fv_kick(v, 1);
	else
		fv_legacy_kick(v, 1);
	assert(v->g->wire->n_frames == 1 && !memcmp(v->g->wire->frames[0].data, f, sizeof(f)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct {
		const char *nic, *opts;
	} kinds[] = {
		{ "virtio-net-pci", "" },
		{ "virtio-net-pci,host_mtu=1500", "modern-pio-notify=on" },
		{ "virtio-net-pci", "page-per-vq=on,vectors=2" },
		{ "virtio-net-pci", "disable-modern=on" },
		{ "virtio-net-pci-non-transitional", "vectors=0" },
		{ "virtio-net-pci,mq=on,tx=timer,x-txtimer=1", "in_order=on" },
	};
	struct run r = { .p = data, .end = data + size };
	uint8_t first = get8(&r), kind = (first & 7) % 6;

	r.v = fv_new_with(kinds[kind].nic, first & 8 ? 2 : 1, kinds[kind].opts);
	pci_attach(r.v->pci, &fuzz_host, &r, r.v->g->mem);
	r.v->g->brk = WINDOW & ~0xfffull; /* so that operations hit the rings */
	if ((first & 0x30) && kind == 3)
		fv_legacy_start(r.v, get(&r, 4), false);
	else if (first & 0x10)
		fv_start(r.v, FV_PLAIN & fv_offered(r.v), false);
	else if (first & 0x20 && kind != 4)
		fv_legacy_start(r.v, get(&r, 4), r.v->pci->info.n_msix > 3);
	while (r.p < r.end)
		step(&r);
	/* The driver of assert_works() is not the host's guest. */
	assert_works(&r);
	fv_free(r.v);
	return 0;
}
