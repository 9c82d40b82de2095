/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests of rings that run outside: a card of fake_virtio_pci.h in front of any netdev. */
#ifndef PATH_KIT_H
#define PATH_KIT_H

#include "fake_virtio_pci.h"

#include <poll.h>

#include "bus/virtqueue.h"

/* Behind the PCI host @ops, on memory whose files are kept; @type: a kind of netdev of the test's
 * own, or null. */
static inline struct fv *pk_new_type(const struct twx_backend_type *type, const char *netdev,
				     const char *nic, const char *opts,
				     const struct pci_host_ops *ops)
{
	struct fv *v = calloc(1, sizeof(*v));
	struct twx_error e = { 0 };
	char text[256];
	int rc;

	v->g = fg_new(1, "");
	twx_nic_free(v->g->nic);
	mem_fini(v->g->mem);
	v->g->mem->keep_files = true;
	fg_map(v->g);
	v->g->nic = NULL;
	if (type)
		twx_net_add_backend_type(v->g->net, type);
	rc = twx_backend_new(NULL, v->g->net, netdev, &e);
	if (rc < 0)
		fprintf(stderr, "%s\n", e.what);
	assert(rc == 0);
	snprintf(text, sizeof(text), "%s,id=nic0,netdev=n0,mac=52:54:00:aa:bb:cc", nic);
	rc = twx_nic_new(&v->g->nic, v->g->net, text, &e);
	if (rc < 0)
		fprintf(stderr, "%s\n", e.what);
	assert(rc == 0);
	v->g->dev = v->g->nic->priv;
	rc = fv_try(v, opts, &e);
	assert(rc == 0);
	(void)rc;
	pci_attach(v->pci, ops, v, v->g->mem);
	fv_enable(v);
	fv_find_caps(v);
	return v;
}

static inline struct fv *pk_new(const char *netdev, const char *nic, const char *opts,
				const struct pci_host_ops *ops)
{
	return pk_new_type(NULL, netdev, nic, opts, ops);
}

/* The loop's rounds until @cond; what does not come in ten seconds does not come. */
#define PK_UNTIL(v, cond)                                                                          \
	do {                                                                                       \
		bool pk_true = false;                                                              \
		for (int pk_i = 0; pk_i < 1000 && !pk_true; pk_i++) {                              \
			fg_run((v)->g);                                                            \
			pk_true = (cond);                                                          \
			if (!pk_true)                                                              \
				poll(NULL, 0, 10);                                                 \
		}                                                                                  \
		assert_true(pk_true &&#cond);                                                      \
	} while (0)

/* Used entries that the guest has not looked at. */
static inline unsigned int pk_used(struct fv *v, unsigned int qi)
{
	uint16_t idx;

	fg_read(v->g, v->g->q[qi].used + 2, &idx, 2);
	return (uint16_t)(idx - v->g->q[qi].last_used);
}

static inline bool pk_outside(struct fv *v, unsigned int qi)
{
	return v->g->dev->queues[qi].outside;
}

#endif
