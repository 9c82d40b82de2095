/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A driver for virtio-net behind PCI, modern and legacy, on the memory, rings and wire of
 * fake_guest.h: it finds the structures by their capabilities, as a guest does.
 */
#ifndef FAKE_VIRTIO_PCI_H
#define FAKE_VIRTIO_PCI_H

#include "fake_guest.h"

#include <linux/virtio_pci.h>

#include "base/endian.h"
#include "bus/pci.h"
#include "bus/virtio_pci.h"

#define FV_VECTORS 8
#define FV_NONE 0xffff
#define FV_LEGACY 0 /* BAR */

struct fv_cap {
	unsigned int order; /* in the list, from 1; 0: not there */
	uint8_t at, bar;
	uint32_t off, len, extra;
};

struct fv {
	struct fg *g;
	struct pci_dev *pci;
	struct fv_cap cap[VIRTIO_PCI_CAP_PCI_CFG + 1];
	bool level;
	unsigned int edges, messages[FV_VECTORS];
	struct twx_opts *opts;
	bool express; /* the slot is */
};

/* The host. */

static inline void fv_intx(struct pci_dev *pci, bool level)
{
	struct fv *v = pci->host;

	v->edges += level;
	v->level = level;
}

static inline void fv_message(struct pci_dev *pci, enum pci_irq kind, unsigned int vector,
			      uint64_t addr, uint32_t data)
{
	struct fv *v = pci->host;

	assert(kind == PCI_IRQ_MSIX && vector < FV_VECTORS);
	assert(addr == 0xfee00000 && data == 0x4000 + vector);
	v->messages[vector]++;
}

static const struct pci_host_ops fv_host_ops = { .intx = fv_intx, .message = fv_message };

/* Accesses. */

static inline uint32_t fv_cfg(struct fv *v, uint32_t off, uint32_t len)
{
	le32 x = { 0 };
	int rc = pci_config_read(v->pci, off, &x, len);

	assert(rc == 0);
	(void)rc;
	return le32_get(x);
}

static inline void fv_cfg_write(struct fv *v, uint32_t off, uint32_t len, uint32_t value)
{
	le32 x = le32_make(value);
	int rc = pci_config_write(v->pci, off, &x, len);

	assert(rc == 0);
	(void)rc;
}

static inline uint32_t fv_read(struct fv *v, unsigned int bar, uint64_t off, uint32_t len)
{
	le32 x = { 0 };
	int rc = pci_bar_read(v->pci, bar, off, &x, len);

	assert(rc == 0);
	(void)rc;
	return le32_get(x);
}

static inline void fv_write(struct fv *v, unsigned int bar, uint64_t off, uint32_t len,
			    uint32_t value)
{
	le32 x = le32_make(value);
	int rc = pci_bar_write(v->pci, bar, off, &x, len);

	assert(rc == 0);
	(void)rc;
}

/* A structure of the modern interface. */
static inline uint32_t fv_get(struct fv *v, unsigned int type, uint32_t off, uint32_t len)
{
	assert(v->cap[type].order && off + len <= v->cap[type].len);
	return fv_read(v, v->cap[type].bar, v->cap[type].off + off, len);
}

static inline void fv_set(struct fv *v, unsigned int type, uint32_t off, uint32_t len,
			  uint32_t value)
{
	assert(v->cap[type].order && off + len <= v->cap[type].len);
	fv_write(v, v->cap[type].bar, v->cap[type].off + off, len, value);
}

static inline uint32_t fv_common(struct fv *v, uint32_t off, uint32_t len)
{
	return fv_get(v, VIRTIO_PCI_CAP_COMMON_CFG, off, len);
}

static inline void fv_set_common(struct fv *v, uint32_t off, uint32_t len, uint32_t value)
{
	fv_set(v, VIRTIO_PCI_CAP_COMMON_CFG, off, len, value);
}

static inline uint8_t fv_find(struct fv *v, uint8_t id)
{
	uint8_t at = (uint8_t)fv_cfg(v, PCI_CAPABILITY_LIST, 1);

	while (at && fv_cfg(v, at, 1) != id)
		at = (uint8_t)fv_cfg(v, at + 1u, 1);
	return at;
}

static inline void fv_find_caps(struct fv *v)
{
	uint8_t at = (uint8_t)fv_cfg(v, PCI_CAPABILITY_LIST, 1);

	for (unsigned int order = 1; at; at = (uint8_t)fv_cfg(v, at + 1u, 1)) {
		unsigned int type = fv_cfg(v, at + 3u, 1);

		if (fv_cfg(v, at, 1) != PCI_CAP_ID_VNDR)
			continue;
		assert(type >= 1 && type <= VIRTIO_PCI_CAP_PCI_CFG);
		if (v->cap[type].order) /* the first one counts */
			continue;
		v->cap[type] =
			(struct fv_cap){ order++,
					 at,
					 (uint8_t)fv_cfg(v, at + 4u, 1),
					 fv_cfg(v, at + 8u, 4),
					 fv_cfg(v, at + 12u, 4),
					 fv_cfg(v, at + 2u, 1) > 16 ? fv_cfg(v, at + 16u, 4) : 0 };
	}
}

/* As firmware leaves it. */
static inline void fv_enable(struct fv *v)
{
	for (unsigned int i = 0; i < 6; i++)
		fv_cfg_write(v, PCI_BASE_ADDRESS_0 + 4 * i, 4, i < 2 ? 0xc000 : 0xfe000000);
	fv_cfg_write(v, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

/* Life. */

static inline int fv_try(struct fv *v, const char *opts, struct twx_error *e)
{
	char text[256];
	int rc;

	if (FG_PACKED && !strstr(opts, "packed")) {
		snprintf(text, sizeof(text), "packed=on%s%s", *opts ? "," : "", opts);
		opts = text;
	}
	rc = twx_opts_parse(&v->opts, opts, NULL, e);
	if (rc == 0)
		rc = twx_opts_check(v->opts, virtio_pci_options, e);
	if (rc == 0)
		rc = (v->express ? virtio_pci_new_express : virtio_pci_new)(&v->pci, v->g->nic,
									    v->g->dev, v->opts, e);
	return rc;
}

/* A card @nic ("virtio-net-pci,mq=on") with the transport's options, nowhere plugged in yet. */
static inline struct fv *fv_new_nic(const char *nic, unsigned int pairs)
{
	struct fv *v = calloc(1, sizeof(*v));
	struct twx_error e = { 0 };
	char text[256];
	int rc;

	v->g = fg_new(pairs, "");
	twx_nic_free(v->g->nic);
	snprintf(text, sizeof(text), "%s,id=nic0,netdev=w0,mac=52:54:00:aa:bb:cc", nic);
	rc = twx_nic_new(&v->g->nic, v->g->net, text, &e);
	if (rc < 0)
		fprintf(stderr, "%s\n", e.what);
	assert(rc == 0);
	(void)rc;
	v->g->dev = v->g->nic->priv;
	return v;
}

static inline struct fv *fv_new_in(const char *nic, unsigned int pairs, const char *opts,
				   bool express)
{
	struct fv *v = fv_new_nic(nic, pairs);
	struct twx_error e = { 0 };
	int rc;

	v->express = express;
	rc = fv_try(v, opts, &e);

	if (rc < 0)
		fprintf(stderr, "%s\n", e.what);
	assert(rc == 0);
	pci_attach(v->pci, &fv_host_ops, v, v->g->mem);
	fv_enable(v);
	fv_find_caps(v);
	return v;
}

static inline struct fv *fv_new_with(const char *nic, unsigned int pairs, const char *opts)
{
	return fv_new_in(nic, pairs, opts, false);
}

static inline struct fv *fv_new(const char *nic)
{
	return fv_new_with(nic, 1, "");
}

static inline void fv_free(struct fv *v)
{
	if (v->pci) {
		pci_detach(v->pci);
		virtio_pci_free(v->pci);
	}
	twx_opts_free(v->opts);
	fg_free(v->g);
	free(v);
}

/* The driver. */

static inline void fv_msix(struct fv *v)
{
	unsigned int n = v->pci->info.n_msix;

	for (unsigned int i = 0; i < n && i < FV_VECTORS; i++) {
		fv_write(v, 1, 16 * i, 4, 0xfee00000);
		fv_write(v, 1, 16 * i + 8, 4, 0x4000 + i);
		fv_write(v, 1, 16 * i + 12, 4, 0);
	}
	fv_cfg_write(v, fv_find(v, PCI_CAP_ID_MSIX) + 2u, 2, PCI_MSIX_FLAGS_ENABLE);
}

static inline uint8_t fv_status(struct fv *v)
{
	return (uint8_t)fv_common(v, VIRTIO_PCI_COMMON_STATUS, 1);
}

static inline void fv_set_status(struct fv *v, uint8_t s)
{
	fv_set_common(v, VIRTIO_PCI_COMMON_STATUS, 1, s);
}

static inline uint64_t fv_offered(struct fv *v)
{
	uint64_t f = 0;

	for (unsigned int i = 0; i < 2; i++) {
		fv_set_common(v, VIRTIO_PCI_COMMON_DFSELECT, 4, i);
		f |= (uint64_t)fv_common(v, VIRTIO_PCI_COMMON_DF, 4) << (32 * i);
	}
	return f;
}

/* Up to FEATURES_OK; whether the device agreed. */
static inline bool fv_agree(struct fv *v, uint64_t features)
{
	fv_set_status(v, 0);
	assert(fv_status(v) == 0);
	fv_set_status(v, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	for (unsigned int i = 0; i < 2; i++) {
		fv_set_common(v, VIRTIO_PCI_COMMON_GFSELECT, 4, i);
		fv_set_common(v, VIRTIO_PCI_COMMON_GF, 4, (uint32_t)(features >> (32 * i)));
	}
	fv_set_status(v, fv_status(v) | VIRTIO_CONFIG_S_FEATURES_OK);
	return fv_status(v) & VIRTIO_CONFIG_S_FEATURES_OK;
}

/* Room for a ring, zeroed; legacy: in one piece with the used ring on a page of its own. */
static inline void fv_place(struct fv *v, unsigned int qi, uint16_t size, bool legacy)
{
	struct fg_queue *q = &v->g->q[qi];
	uint64_t at;

	fg_queue_init(v->g, q, size);
	if (legacy) {
		at = (fg_alloc(v->g, 4096 + 32u * size + 8192) + 4095) & ~4095ull;
		q->desc = at;
		q->avail = at + 16u * size;
		q->used = (q->avail + 6 + 2u * size + 4095) & ~4095ull;
	} else {
		q->desc = fg_alloc(v->g, 16u * size);
		q->avail = fg_alloc(v->g, 6 + 2u * size);
		q->used = fg_alloc(v->g, 6 + 8u * size);
	}
	memset(fg_ptr(v->g, q->desc), 0, 16u * size);
	memset(fg_ptr(v->g, q->avail), 0, 6 + 2u * size);
	memset(fg_ptr(v->g, q->used), 0, 6 + 8u * size);
}

static inline void fv_set64(struct fv *v, uint32_t off, uint64_t value)
{
	fv_set_common(v, off, 4, (uint32_t)value);
	fv_set_common(v, off + 4, 4, (uint32_t)(value >> 32));
}

/* Writes the addresses of g->q[qi] and, if @on, enables. */
static inline void fv_tell(struct fv *v, unsigned int qi, uint16_t vector, bool on)
{
	const struct fg_queue *q = &v->g->q[qi];

	fv_set_common(v, VIRTIO_PCI_COMMON_Q_SELECT, 2, qi);
	fv_set_common(v, VIRTIO_PCI_COMMON_Q_SIZE, 2, q->size);
	fv_set_common(v, VIRTIO_PCI_COMMON_Q_MSIX, 2, vector);
	fv_set64(v, VIRTIO_PCI_COMMON_Q_DESCLO, q->desc);
	fv_set64(v, VIRTIO_PCI_COMMON_Q_AVAILLO, q->avail);
	fv_set64(v, VIRTIO_PCI_COMMON_Q_USEDLO, q->used);
	if (on)
		fv_set_common(v, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

static inline void fv_queue(struct fv *v, unsigned int qi, uint16_t size, uint16_t vector)
{
	fv_place(v, qi, size, false);
	fv_tell(v, qi, vector, true);
}

static inline void fv_driver_ok(struct fv *v)
{
	fv_set_status(v, fv_status(v) | VIRTIO_CONFIG_S_DRIVER_OK);
	fg_run(v->g);
}

#define FV_PLAIN                                                                                   \
	(FG_BIT(VIRTIO_F_VERSION_1) | FG_BIT(VIRTIO_NET_F_MAC) | FG_BIT(VIRTIO_NET_F_STATUS) |     \
	 FG_BIT(VIRTIO_NET_F_CTRL_VQ) | FG_BIT(VIRTIO_NET_F_CTRL_RX) | FG_BIT(40) | FG_FORM)

/* A modern driver, up and running: rx on vector 1, tx on 2, control on 3 if @msix. */
static inline void fv_start(struct fv *v, uint64_t features, bool msix)
{
	bool ok = fv_agree(v, features);

	assert(ok);
	(void)ok;
	if (msix)
		fv_msix(v);
	fv_set_common(v, VIRTIO_PCI_COMMON_MSIX, 2, msix ? 0 : FV_NONE);
	for (unsigned int i = 0; i < 3; i++)
		fv_queue(v, i, i < 2 ? 256 : 64, msix ? (uint16_t)(i + 1) : FV_NONE);
	fv_driver_ok(v);
	assert((fv_status(v) & ~VIRTIO_CONFIG_S_NEEDS_RESET) == 0xf);
}

static inline void fv_kick(struct fv *v, unsigned int qi)
{
	const struct fv_cap *c = &v->cap[VIRTIO_PCI_CAP_NOTIFY_CFG];

	fv_set_common(v, VIRTIO_PCI_COMMON_Q_SELECT, 2, qi);
	fv_write(v, c->bar, c->off + c->extra * fv_common(v, VIRTIO_PCI_COMMON_Q_NOFF, 2), 2, qi);
	fg_run(v->g);
}

/* Legacy registers. */

static inline uint32_t fv_io(struct fv *v, uint32_t off, uint32_t len)
{
	return fv_read(v, FV_LEGACY, off, len);
}

static inline void fv_set_io(struct fv *v, uint32_t off, uint32_t len, uint32_t value)
{
	fv_write(v, FV_LEGACY, off, len, value);
}

static inline void fv_legacy_queue(struct fv *v, unsigned int qi, uint16_t vector)
{
	fv_set_io(v, VIRTIO_PCI_QUEUE_SEL, 2, qi);
	fv_place(v, qi, (uint16_t)fv_io(v, VIRTIO_PCI_QUEUE_NUM, 2), true);
	if (vector != FV_NONE)
		fv_set_io(v, VIRTIO_MSI_QUEUE_VECTOR, 2, vector);
	fv_set_io(v, VIRTIO_PCI_QUEUE_PFN, 4, (uint32_t)(v->g->q[qi].desc >> 12));
}

static inline void fv_legacy_start(struct fv *v, uint32_t features, bool msix)
{
	fv_set_io(v, VIRTIO_PCI_STATUS, 1, 0);
	fv_set_io(v, VIRTIO_PCI_STATUS, 1, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	fv_set_io(v, VIRTIO_PCI_STATUS, 1, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	fv_set_io(v, VIRTIO_PCI_GUEST_FEATURES, 4, features);
	if (msix) {
		fv_msix(v);
		fv_set_io(v, VIRTIO_MSI_CONFIG_VECTOR, 2, 0);
	}
	for (unsigned int i = 0; i < 3; i++)
		fv_legacy_queue(v, i, msix ? (uint16_t)(i + 1) : FV_NONE);
	fv_set_io(v, VIRTIO_PCI_STATUS, 1,
		  VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK);
	fg_run(v->g);
}

static inline void fv_legacy_kick(struct fv *v, unsigned int qi)
{
	fv_set_io(v, VIRTIO_PCI_QUEUE_NOTIFY, 2, qi);
	fg_run(v->g);
}

#endif
