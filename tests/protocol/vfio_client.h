/* SPDX-License-Identifier: BSD-3-Clause */
/* A vfio-user client for tests, and a PCI NIC with a few registers behind the server; one thread,
 * one loop. */
#ifndef TESTS_VFIO_CLIENT_H
#define TESTS_VFIO_CLIENT_H

#include "vhost_client.h"

#include "bus/pci.h"
#include "hosts/vfio_user.h"

/* The NIC, model "echo-pci": registers of 32 bits in BAR 0, and their first 32 bytes in I/O BAR 1.
 */
#define EP_SCRATCH 0x00
#define EP_WRITES 0x04	/* how many writes there were, of all registers; read-only */
#define EP_ADDR_LO 0x08 /* DMA: address, ... */
#define EP_ADDR_HI 0x0c
#define EP_LEN 0x10	 /* ... bytes, at most EP_DATA, ... */
#define EP_DMA 0x14	 /* ... and 1: from memory into data, 2: from data to memory */
#define EP_RESULT 0x18	 /* errno of the last DMA; read-only */
#define EP_INTX 0x1c	 /* level */
#define EP_VECTOR 0x20	 /* message interrupt */
#define EP_SUM 0x24	 /* each value written is added, after it was doubled: tells orders apart */
#define EP_DMA_READ 0x28 /* reading it moves what EP_DMA 1 would; its value is the errno */
#define EP_BAR0 4096u
#define EP_BAR1 32u
#define EP_BAR2 8192u /* MSI-X: table at 0, PBA at 4096 */
#define EP_VECTORS 4
#define EP_MSI 2
#define EP_DATA 262144u

struct echo_pci {
	struct pci_dev dev;
	uint32_t scratch, writes, addr_lo, addr_hi, len, result, sum;
	unsigned int resets, runs;
	bool stopped;
	uint8_t data[EP_DATA];
};
extern const struct twx_nic_model echo_pci_model;

/* The client's memory, as it begins: one window. */
#define VFC_MEM 0x200000u
#define VFC_ADDR 0x100000ull

struct vfc {
	struct vbench *b;
	int fd;
	bool blocking; /* the loop runs in another thread: wait for replies */
	int memfd;
	uint8_t *mem;
	uint16_t id;
	struct vfu_header head; /* of the last reply, or of a request of the server's */
	uint8_t reply[VFU_MSG_MAX];
	uint32_t reply_len;
};

/* A network with an echo-pci exported at b->path by vfio-user; @options go behind it. */
int vfbench_open(struct vbench *b, const char *options);
struct echo_pci *vfbench_dev(struct vbench *b);

void vfc_init(struct vfc *c, struct vbench *b);
void vfc_fini(struct vfc *c);
void vfc_connect(struct vfc *c); /* no more than that */
void vfc_hangup(struct vfc *c);
bool vfc_alive(struct vfc *c);

/* Sends as given. */
void vfc_send(struct vfc *c, uint16_t command, uint32_t flags, const void *p, uint32_t len,
	      const int *fds, int n_fds);
/* 1: a message is in head and reply; 0: none came; -1: the connection is closed. */
int vfc_reply(struct vfc *c);
/* 0 with a reply, the errno of an error reply, -1 closed, -2 no reply, -3 not a reply to this. */
int vfc_ask(struct vfc *c, uint16_t command, const void *p, uint32_t len, const int *fds,
	    int n_fds);

/* As vfc_ask(). */
int vfc_version(struct vfc *c, uint16_t major, uint16_t minor, const char *json);
int vfc_map(struct vfc *c, uint64_t addr, uint64_t size, uint64_t off, uint32_t flags, int fd);
int vfc_unmap(struct vfc *c, uint64_t addr, uint64_t size, uint32_t flags);
int vfc_irqs(struct vfc *c, uint32_t index, uint32_t flags, uint32_t start, uint32_t count,
	     const void *data, uint32_t len, const int *fds, int n_fds);
int vfc_feature(struct vfc *c, uint32_t flags, uint32_t argsz, const void *data, uint32_t len);
int vfc_state(struct vfc *c, uint32_t state);
int vfc_rw(struct vfc *c, bool write, uint32_t region, uint64_t off, void *buf, uint32_t len);

uint32_t vfc_get(struct vfc *c, uint32_t region, uint64_t off); /* 32 bits */
void vfc_put(struct vfc *c, uint32_t region, uint64_t off, uint32_t v);
void vfc_post(struct vfc *c, uint32_t region, uint64_t off, uint32_t v); /* without a reply */
/* Lets the device move @len bytes; its errno. */
int vfc_dma(struct vfc *c, uint64_t addr, uint32_t len, bool write);

#define VFC_RW (VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)
#define VFC_TRIGGER_FD (VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER)

/* Connected, with version, memory, and the command register's bits on. */
void vfc_begin(struct vfc *c);

/* How often an eventfd was written since the last call. */
unsigned int vfc_count(int efd);

#endif
