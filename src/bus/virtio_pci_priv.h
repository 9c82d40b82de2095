/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio over PCI: the state that its files share. */
#ifndef BUS_VIRTIO_PCI_PRIV_H
#define BUS_VIRTIO_PCI_PRIV_H

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

#include <twinax/trace.h>

#include "base/macros.h"
#include "bus/pci_priv.h"
#include "bus/virtio_pci.h"
#include "bus/virtqueue.h"

/* Newer than the oldest kernel headers that we build with (virtio 1.2, 6). */
#ifndef VIRTIO_F_IN_ORDER
#define VIRTIO_F_IN_ORDER 35
#endif
#ifndef VIRTIO_F_RING_RESET
#define VIRTIO_F_RING_RESET 40
#endif

#define VPCI_ISR_QUEUE 1      /* beside VIRTIO_PCI_ISR_CONFIG (4.1.4.5) */
#define VPCI_F_BAD_FEATURE 30 /* offered to legacy drivers to find those that agree to anything */

#define VPCI_BIT(name) (1ull << (name))

#define VPCI_BAR_LEGACY 0
#define VPCI_BAR_MSIX 1
#define VPCI_BAR_PIO 2 /* modern-pio-notify */
#define VPCI_BAR_MODERN 4

/* The modern BAR's structures, a page each; the last one may be longer. */
#define VPCI_COMMON 0x0000u
#define VPCI_ISR 0x1000u
#define VPCI_DEVICE 0x2000u
#define VPCI_NOTIFY 0x3000u
#define VPCI_PAGE 0x1000u

struct vpci_rings {
	uint64_t desc, avail, used; /* guest addresses */
};

/* All of one type, so that the whole array is one field of the state. */
struct vpci_queue {
	uint16_t size;
	uint16_t vector;
	uint16_t base;	  /* where it starts, or stopped, in the available ring */
	uint16_t enabled; /* 1 once the driver has said so (modern), or has placed it (legacy) */
	uint16_t again;	  /* 1 after a queue reset: may be configured although the device runs */
};

struct virtio_pci;

/*
 * The transport's registers, in an allocation of their own: all that is saved, and what the check
 * of a loaded copy has to know.
 */
struct vpci_regs {
	struct virtio_pci *vp;
	uint32_t n_queues, n_vectors;

	uint64_t driver_features; /* as written, before they are agreed on */
	uint32_t device_select, driver_select;
	uint16_t vector; /* of configuration changes */
	uint16_t queue_select;
	uint8_t generation;
	uint8_t isr;

	struct vpci_rings rings[]; /* n_queues, and behind them as many struct vpci_queue */
};

/* A queue's eventfds, see virtio_pci_fd.c. */
struct vpci_bell {
	struct virtio_pci *vp;
	uint32_t queue;
	int fd;	      /* -1 until it is needed */
	bool routed;  /* by the host */
	bool outside; /* the queue is run by somebody else, who reads the fd */
	struct twx_watch watch;
	int call_fd;	      /* that somebody's, -1: none */
	uint16_t call_vector; /* signalled by the host, or VIRTIO_MSI_NO_VECTOR: watched */
	struct twx_watch call_watch;
};

struct virtio_pci {
	struct pci_dev pci; /* first: the host sees only this */
	struct virtio_dev *vdev;
	struct vpci_regs *regs;
	struct vpci_bell *bells; /* n_queues */
	struct twx_trace *trace;
	bool express; /* the slot is; then: the function is */
	bool legacy, modern, page_per_vq, pio_notify, ioeventfd;
	bool frozen;  /* the host's memory is changing */
	bool stopped; /* the machine stands still */
	uint64_t modern_offered, legacy_offered;
	uint64_t own_offered; /* the device's, as it was without us */
	uint32_t notify_len;  /* of the structure in the modern BAR */
	uint8_t window;	      /* offset of the PCI-cfg capability; 0: none */
	struct state_field fields[10];
	struct state_section sections[2];
};

static inline struct virtio_pci *vpci_of(struct pci_dev *pci)
{
	return container_of(pci, struct virtio_pci, pci);
}

/* Null beyond the last queue. */
static inline struct vpci_queue *vpci_queue(const struct vpci_regs *r, uint32_t i)
{
	struct vpci_queue *q = (struct vpci_queue *)(void *)((uintptr_t)(r->rings + r->n_queues));

	return i < r->n_queues ? q + i : NULL;
}

/* virtio_pci_opts.c */
int vpci_check_options(const struct twx_nic *nic, enum virtio_form form,
		       const struct twx_opts *opts, struct twx_error *e);
/* Forms and features as asked for; 0 or -EINVAL. */
int vpci_take_forms(struct virtio_pci *vp, const char *id, const struct twx_opts *opts,
		    struct twx_error *e);

/* virtio_pci.c */
/* What the driver writes to the status register, through whichever window. */
void vpci_set_status(struct virtio_pci *vp, uint8_t value, bool legacy);
void vpci_update(struct virtio_pci *vp); /* starts and stops queues as their state demands */
void vpci_queue_enable(struct virtio_pci *vp, uint32_t i);
void vpci_queue_reset(struct virtio_pci *vp, uint32_t i); /* stops it, all as after a reset */
void vpci_doorbell(struct virtio_pci *vp, uint32_t i);
bool vpci_msix(const struct virtio_pci *vp); /* in use, in place of the line */
uint8_t vpci_read_isr(struct virtio_pci *vp);
uint16_t vpci_check_vector(const struct virtio_pci *vp, uint32_t vector);
void vpci_set_vector(struct virtio_pci *vp, uint32_t i, uint32_t vector); /* of queue @i */
/* The device's configuration space; ones beyond what there is. */
uint32_t vpci_config_read(struct virtio_pci *vp, uint32_t off, uint32_t len);
void vpci_config_write(struct virtio_pci *vp, uint32_t off, uint32_t len, uint32_t value);

/* virtio_pci_fd.c */
int vpci_bells_new(struct virtio_pci *vp);
void vpci_bells_free(struct virtio_pci *vp);
void vpci_bell_on(struct virtio_pci *vp, uint32_t i); /* the queue runs */
void vpci_bell_off(struct virtio_pci *vp, uint32_t i);
/* A doorbell that came as a write: true if it is somebody else's, who has been told. */
bool vpci_bell_outside(const struct virtio_pci *vp, uint32_t i);
void vpci_calls_update(struct virtio_pci *vp); /* vectors, or whether they are in use, may be new */
int vpci_kick_fd(struct virtio_dev *vdev, unsigned int queue, bool on);
int vpci_call_fd(struct virtio_dev *vdev, unsigned int queue, int fd);

/* virtio_pci_modern.c */
uint32_t vpci_notify_multiplier(const struct virtio_pci *vp);
uint64_t vpci_modern_size(const struct virtio_pci *vp); /* of its BAR */
void vpci_modern_init(struct virtio_pci *vp);		/* its capabilities */
uint32_t vpci_modern_read(struct virtio_pci *vp, uint32_t off, uint32_t len);
void vpci_modern_write(struct virtio_pci *vp, uint32_t off, uint32_t len, uint32_t value);
/* The window in configuration space. */
void vpci_window_reads(struct virtio_pci *vp, uint32_t off, uint32_t len);
void vpci_window_written(struct virtio_pci *vp, uint32_t off, uint32_t len);

/* virtio_pci_legacy.c */
uint32_t vpci_legacy_size(const struct virtio_pci *vp); /* of its BAR */
uint32_t vpci_legacy_read(struct virtio_pci *vp, uint32_t off, uint32_t len);
void vpci_legacy_write(struct virtio_pci *vp, uint32_t off, uint32_t len, uint32_t value);

/* virtio_pci_state.c */
void vpci_state_init(struct virtio_pci *vp);

#endif
