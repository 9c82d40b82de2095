/* SPDX-License-Identifier: BSD-3-Clause */
/* A virtio device as a PCI function: modern, transitional and legacy (virtio 1.2, 4.1). */
#ifndef BUS_VIRTIO_PCI_H
#define BUS_VIRTIO_PCI_H

#include <twinax/net.h>

#include "bus/pci.h"
#include "bus/virtio.h"

/* The transport's options in QEMU's words: disable-legacy, disable-modern, vectors, page-per-vq,
 * ... and pci_options. */
extern const struct twx_opt_desc virtio_pci_options[];

struct virtio_pci;

/*
 * Puts @vdev, the device that @nic has made, behind a PCI function of its own. @model tells which
 * ids and forms (virtio-net-pci, -transitional, -non-transitional). The function is its caller's to
 * attach to a host.
 */
int virtio_pci_new(struct pci_dev **out, struct twx_nic *nic, struct virtio_dev *vdev,
		   const struct twx_opts *opts, struct twx_error *e);
/* The same for a slot of PCI Express, behind a root port: an express function, and modern alone
 * unless disable-legacy=off says otherwise. */
int virtio_pci_new_express(struct pci_dev **out, struct twx_nic *nic, struct virtio_dev *vdev,
			   const struct twx_opts *opts, struct twx_error *e);
void virtio_pci_free(struct pci_dev *dev);

#endif
