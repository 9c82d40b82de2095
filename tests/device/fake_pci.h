/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small machine for PCI NICs: memory in a memfd, a host that keeps the interrupt line, accesses
 * to configuration space and BARs, and the wire of fake_guest.h at the other end of the cable.
 *
 * Memory is two regions that touch in bus addresses and lie apart in ours, so that whatever crosses
 * FP_BORDER comes in two pieces. Everything is static inline: device tests, flaw tests, fuzzers and
 * benchmarks include this header.
 */
#ifndef FAKE_PCI_H
#define FAKE_PCI_H

#include "fake_guest.h"

#include "base/endian.h"
#include "bus/pci.h"

#define FP_RAM (16u << 20)
#define FP_BASE 0x40000000ull
#define FP_BORDER (FP_BASE + FP_RAM / 2)
#define FP_MMIO 0xfeb80000u /* where BAR 0 is put */
#define FP_IO 0xc000u	    /* and BAR 1 */
#define FP_MAC "52:54:00:aa:bb:cc"

struct fp {
	struct twx_loop *loop;
	struct twx_net *net;
	struct twx_backend *backend;
	struct twx_nic *nic;
	struct pci_dev *pci;
	struct mem_map *mem;
	struct fg_wire *wire;
	uint8_t *ram; /* the file, in file order */
	int fd;
	uint64_t brk;	      /* of fp_alloc() */
	bool level;	      /* of the interrupt line */
	unsigned int n_edges; /* how often it rose */
	unsigned int n_messages, last_vector;
	void (*on_intx)(struct fp *g, bool level); /* null: nothing more */
	void (*on_hurry)(struct fp *g);		   /* null: no write is ever late */
	unsigned int n_hurries;
};

/* Memory. */

static inline void *fp_ptr(struct fp *g, uint64_t addr)
{
	uint64_t off = addr - FP_BASE;

	assert(off < FP_RAM);
	return g->ram + (off + FP_RAM / 2) % FP_RAM;
}

static inline void fp_write(struct fp *g, uint64_t addr, const void *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		*(uint8_t *)fp_ptr(g, addr + i) = ((const uint8_t *)buf)[i];
}

static inline void fp_read(struct fp *g, uint64_t addr, void *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = *(uint8_t *)fp_ptr(g, addr + i);
}

static inline uint64_t fp_alloc(struct fp *g, size_t len)
{
	uint64_t at = (g->brk + 127) & ~127ull;

	/* Rings and buffers do not cross the border unless a test puts them there. */
	if (at < FP_BORDER && at + len > FP_BORDER)
		at = FP_BORDER;
	g->brk = at + len;
	assert(g->brk <= FP_BASE + FP_RAM);
	return at;
}

static inline void fp_map(struct fp *g)
{
	int rc;

	rc = mem_add_take(g->mem, FP_BASE, FP_RAM / 2, 0, dup(g->fd), FP_RAM / 2);
	assert(rc == 0);
	rc = mem_add_take(g->mem, FP_BORDER, FP_RAM / 2, 0, dup(g->fd), 0);
	assert(rc == 0);
	(void)rc;
}

/* The same memory anew, at other addresses of ours; what a view of the old one touches is gone. */
static inline void fp_remap(struct fp *g)
{
	pci_mem_changing(g->pci);
	mem_remove(g->mem, FP_BASE, FP_RAM / 2, 0);
	mem_remove(g->mem, FP_BORDER, FP_RAM / 2, 0);
	fp_map(g);
	pci_mem_changed(g->pci);
}

/* The host. */

static inline void fp_intx(struct pci_dev *pci, bool level)
{
	struct fp *g = pci->host;

	g->n_edges += level && !g->level;
	g->level = level;
	if (g->on_intx)
		g->on_intx(g, level);
}

static inline void fp_message(struct pci_dev *pci, enum pci_irq kind, unsigned int vector,
			      uint64_t addr, uint32_t data)
{
	struct fp *g = pci->host;

	g->n_messages++;
	g->last_vector = vector;
}

static inline bool fp_hurry(struct pci_dev *pci)
{
	struct fp *g = pci->host;

	g->n_hurries++;
	if (g->on_hurry)
		g->on_hurry(g);
	return g->on_hurry != NULL;
}

static const struct pci_host_ops fp_host_ops = {
	.intx = fp_intx,
	.message = fp_message,
	.hurry = fp_hurry,
};

/* Accesses. What the function does not answer for is an error of the test's. */

static inline uint32_t fp_bar_read(struct fp *g, unsigned int bar, uint64_t off, uint32_t len)
{
	le32 v = { 0 };
	int rc;

	assert(len <= sizeof(v));
	rc = pci_bar_read(g->pci, bar, off, &v, len);
	assert(rc == 0);
	(void)rc;
	return le32_get(v);
}

static inline void fp_bar_write(struct fp *g, unsigned int bar, uint64_t off, uint32_t len,
				uint32_t value)
{
	le32 v = le32_make(value);
	int rc;

	assert(len <= sizeof(v));
	rc = pci_bar_write(g->pci, bar, off, &v, len);
	assert(rc == 0);
	(void)rc;
}

static inline uint32_t fp_rd(struct fp *g, uint32_t off)
{
	return fp_bar_read(g, 0, off, 4);
}

static inline void fp_wr(struct fp *g, uint32_t off, uint32_t value)
{
	fp_bar_write(g, 0, off, 4, value);
}

static inline uint32_t fp_cfg_rd(struct fp *g, uint32_t off, uint32_t len)
{
	le32 v = { 0 };
	int rc;

	rc = pci_config_read(g->pci, off, &v, len);
	assert(rc == 0);
	(void)rc;
	return le32_get(v);
}

static inline void fp_cfg_wr(struct fp *g, uint32_t off, uint32_t len, uint32_t value)
{
	le32 v = le32_make(value);
	int rc;

	rc = pci_config_write(g->pci, off, &v, len);
	assert(rc == 0);
	(void)rc;
}

#define FP_COMMAND (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)

/* As firmware leaves it. */
static inline void fp_enable(struct fp *g)
{
	fp_cfg_wr(g, PCI_BASE_ADDRESS_0, 4, FP_MMIO);
	fp_cfg_wr(g, PCI_BASE_ADDRESS_1, 4, FP_IO);
	fp_cfg_wr(g, PCI_COMMAND, 2, FP_COMMAND);
}

/* Lets rounds run until nothing happens any more. */
static inline void fp_run(struct fp *g)
{
	for (int i = 0; i < 1000 && twx_loop_poll(g->loop, 0) > 0; i++)
		;
}

/* Life. */

static inline int fp_try_nic(struct fp *g, const char *model, const char *opts, struct twx_error *e)
{
	char text[256];

	snprintf(text, sizeof(text), "%s,id=nic0,netdev=w0,mac=%s%s", model, FP_MAC, opts);
	return twx_nic_new(&g->nic, g->net, text, e);
}

static inline void fp_open_ram(struct fp *g)
{
	int rc;

	g->fd = memfd_create("guest", MFD_CLOEXEC);
	rc = ftruncate(g->fd, FP_RAM);
	assert(rc == 0);
	(void)rc;
	g->ram = mmap(NULL, FP_RAM, PROT_READ | PROT_WRITE, MAP_SHARED, g->fd, 0);
	assert(g->ram != MAP_FAILED);
	g->mem = calloc(1, sizeof(*g->mem));
	mem_init(g->mem);
	fp_map(g);
	g->brk = FP_BASE + 4096;
}

/* The wire and the memory, with no NIC yet. */
static inline struct fp *fp_new_empty(void)
{
	struct twx_net_config config = { .size = sizeof(config) };
	struct fp *g = calloc(1, sizeof(*g));
	int rc;

	rc = twx_loop_new(&g->loop, NULL);
	assert(rc == 0);
	config.loop = g->loop;
	rc = twx_net_new(&g->net, &config, NULL);
	assert(rc == 0);
	rc = twx_net_add_backend_type(g->net, &fg_wire_type);
	assert(rc == 0);
	rc = twx_backend_new(&g->backend, g->net, "wire,id=w0", NULL);
	assert(rc == 0);
	(void)rc;
	g->wire = *(struct fg_wire **)g->backend->priv;
	fp_open_ram(g);
	return g;
}

/* A NIC of @model with @opts (",mitigation=off") on the wire, in its slot and switched on. */
static inline struct fp *fp_new(const char *model, const char *opts)
{
	struct fp *g = fp_new_empty();
	struct twx_error e = { 0 };
	int rc;

	rc = fp_try_nic(g, model, opts, &e);
	if (rc < 0)
		fprintf(stderr, "%s\n", e.what);
	assert(rc == 0);
	g->pci = g->nic->priv;
	pci_attach(g->pci, &fp_host_ops, g, g->mem);
	fp_enable(g);
	return g;
}

static inline void fp_free(struct fp *g)
{
	if (g->pci)
		pci_detach(g->pci);
	twx_net_free(g->net);
	twx_loop_free(g->loop);
	mem_fini(g->mem);
	free(g->mem);
	munmap(g->ram, FP_RAM);
	close(g->fd);
	free(g);
}

#endif
