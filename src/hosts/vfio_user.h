/* SPDX-License-Identifier: BSD-3-Clause */
/* The vfio-user server's own: wire structures, one connection's state, and the calls between its
 * files. */
#ifndef HOSTS_VFIO_USER_H
#define HOSTS_VFIO_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/vfio.h>

#include <twinax/net.h>

#include "bus/pci.h"
#include "hosts/event.h"
#include "hosts/server_sock.h"

/* Numbers of the vfio-user specification, "Commands". */
enum vfu_command {
	VFU_VERSION = 1,
	VFU_DMA_MAP = 2,
	VFU_DMA_UNMAP = 3,
	VFU_DEVICE_GET_INFO = 4,
	VFU_DEVICE_GET_REGION_INFO = 5,
	VFU_DEVICE_GET_REGION_IO_FDS = 6,
	VFU_DEVICE_GET_IRQ_INFO = 7,
	VFU_DEVICE_SET_IRQS = 8,
	VFU_REGION_READ = 9,
	VFU_REGION_WRITE = 10,
	VFU_DMA_READ = 11, /* ours, as the next */
	VFU_DMA_WRITE = 12,
	VFU_DEVICE_RESET = 13,
	VFU_REGION_WRITE_MULTI = 15,
	VFU_DEVICE_FEATURE = 16,
	VFU_MIG_DATA_READ = 17,
	VFU_MIG_DATA_WRITE = 18,
};

/* Header flags. */
#define VFU_TYPE 0xfu
#define VFU_TYPE_COMMAND 0u
#define VFU_TYPE_REPLY 1u
#define VFU_NO_REPLY 0x10u
#define VFU_ERROR 0x20u

#define VFU_MAJOR 0
#define VFU_MINOR 0

#define VFU_MAX_FDS 16		/* in one message; what QEMU sends at most */
#define VFU_MAX_XFER (1u << 20) /* bytes of data in one message; the specification's default */
#define VFU_MAX_MAPS MEM_MAX_REGIONS
#define VFU_PAGE 4096u
#define VFU_MSG_MAX (VFU_MAX_XFER + 64) /* header, fixed part, data */

/* On the wire, native byte order. Where linux/vfio.h has the same structure, it is used. */
struct vfu_header {
	uint16_t id, command;
	uint32_t size; /* header included */
	uint32_t flags, error;
};

struct vfu_version {
	uint16_t major, minor;
};

struct vfu_dma_map {
	uint32_t argsz, flags;
	uint64_t off, addr, size;
};

struct vfu_dma_unmap {
	uint32_t argsz, flags;
	uint64_t addr, size;
};

struct vfu_io_fds {
	uint32_t argsz, flags, index, count;
};

struct vfu_region_rw {
	uint64_t off;
	uint32_t region, count;
};

struct vfu_write_one {
	struct vfu_region_rw rw;
	uint8_t data[8];
};

struct vfu_dma_rw {
	uint64_t addr, count;
};

struct vfu_feature {
	uint32_t argsz, flags;
};

struct vfu_mig_data {
	uint32_t argsz, size;
};

#define VFU_INFO_SIZE offsetof(struct vfio_device_info, cap_offset)
#define VFU_IRQ_SET_SIZE offsetof(struct vfio_irq_set, data)
#define VFU_REPORT_SIZE offsetof(struct vfio_device_feature_dma_logging_report, bitmap)
#define VFU_START_SIZE offsetof(struct vfio_device_feature_dma_logging_control, ranges)

/* One message in the hands of its handler. An fd that is kept leaves -1 behind; the rest is closed
 * after it. */
struct vfu_msg {
	struct vfu_header head;
	const uint8_t *data; /* not aligned: copy out of it */
	uint32_t len;	     /* of the data */
	uint32_t reply_len;
	int *fds;
	uint32_t n_fds;
	uint32_t cost; /* what it takes from the round's budget */
};

/* A message that waits until the device is not busy; only with DMA by message. */
struct vfu_held {
	struct vfu_held *next;
	struct vfu_header head;
	int fds[VFU_MAX_FDS];
	uint32_t n_fds;
	uint8_t data[];
};

/* Bytes from, or for, the socket: [start, end) of buf. */
struct vfu_buf {
	uint8_t *buf;
	size_t start, end, size;
};

/* A range of the client's memory. */
enum vfu_window_kind {
	VFU_WINDOW_MAPPED,  /* in the map that devices see */
	VFU_WINDOW_RDONLY,  /* mapped here for reading: devices see it through vfu_dma() alone */
	VFU_WINDOW_MESSAGE, /* not shared */
};

struct vfu_window {
	uint64_t addr, size;
	uint32_t flags; /* VFIO_DMA_MAP_FLAG_* */
	enum vfu_window_kind kind;
	struct fault_area map; /* of VFU_WINDOW_RDONLY, as the next */
	uint8_t *host;
};

struct vfu_vector {
	struct event ev;
	bool pending; /* raised before it had an eventfd */
};

/* One interrupt index. */
struct vfu_irq {
	struct vfu_vector *vectors;
	uint32_t n;
	bool enabled; /* by SET_IRQS with eventfds, until it disables the index */
};

/* An eventfd by which the client masks or unmasks INTx. */
struct vfu_line {
	struct vfu_host *vfu;
	int fd; /* -1: none */
	struct twx_watch watch;
};

struct vfu_host {
	struct twx_host *host;
	struct pci_dev *dev;
	struct twx_trace *trace;
	bool own_dev; /* a virtio transport, made by us */
	bool dma_messages;
	struct server_sock sock;

	/* One connection. */
	int fd; /* -1: none */
	struct twx_watch watch;
	struct twx_task task; /* goes on with what is received already, or ends the connection */
	char who[48];	      /* "pid 123 (qemu-system-x86)" */
	const char *dead;     /* why the connection is to end */
	bool negotiated;      /* VERSION was said */
	bool handling;	      /* a message is being handled */
	uint64_t client_xfer; /* the client's max_data_xfer_size */
	struct vfu_buf in, out;
	uint64_t in_pos;      /* of the stream: where in.start is */
	int fds[VFU_MAX_FDS]; /* arrived with the byte before fds_at of the stream */
	uint32_t n_fds;
	uint64_t fds_at;
	int taken[VFU_MAX_FDS]; /* of the message that was cut out last */
	struct vfu_held *held, **held_end;
	uint32_t n_held;
	size_t held_bytes;

	/* Memory. */
	struct mem_map *mem;
	struct vfu_window windows[VFU_MAX_MAPS]; /* sorted by address, disjoint */
	uint32_t n_windows;
	struct fault_guard guard; /* of mem and windows */
	uint64_t log_span;	  /* addresses that the dirty log covers; 0: off */

	/* DMA by message. */
	uint16_t dma_id;
	uint64_t dma_round, dma_waited; /* ns waited in the loop's round that began at dma_round */

	/* Interrupts. */
	struct vfu_irq irqs[VFIO_PCI_NUM_IRQS];
	bool intx_level, intx_masked;
	struct vfu_line mask, unmask;

	/* Migration. */
	uint32_t mig_state; /* enum vfio_device_mig_state */
	uint8_t *mig_data;
	size_t mig_len, mig_off; /* bytes there are; bytes read */
};

/* vfio_user.c: ends the connection from the loop, since a device is in the middle of something. */
void vfu_die(struct vfu_host *vfu, const char *why);

/* vfio_user_stream.c: bytes, fds and messages of the connection. */
int vfu_stream_begin(struct vfu_host *vfu);
void vfu_stream_end(struct vfu_host *vfu);
/* One bounded read: bytes, 0 at their end, -EAGAIN, or another -errno with the reason in vfu->dead.
 */
int vfu_stream_read(struct vfu_host *vfu);
/* Takes the next complete message out of the buffer; valid until the next read. False: there is
 * none, or vfu->dead says what is wrong with it. */
bool vfu_stream_next(struct vfu_host *vfu, struct vfu_msg *m);
void vfu_msg_close_fds(struct vfu_msg *m);
/* Room for @len bytes behind a header in the replies; null when memory is out. vfu_stream_reply()
 * puts the header in front and lets it go. */
uint8_t *vfu_stream_room(struct vfu_host *vfu, uint32_t len);
void vfu_stream_reply(struct vfu_host *vfu, const struct vfu_header *h);
/* What the socket takes: 0; -EAGAIN when some is left; another -errno. */
int vfu_stream_flush(struct vfu_host *vfu);
int vfu_hold(struct vfu_host *vfu, struct vfu_msg *m);
struct vfu_held *vfu_unhold(struct vfu_host *vfu);
void vfu_held_free(struct vfu_held *h);

/* vfio_user_msg.c: handles what has arrived, bounded. False: the connection is to end, see
 * vfu->dead. */
bool vfu_receive(struct vfu_host *vfu, bool readable);
/* A copy of the fixed part of a message, whose length the table has checked. */
#define VFU_GET(m, what) memcpy((what), (m)->data, sizeof(*(what)))
/* The reply's payload is @len bytes of @p; -ENOMEM. */
int vfu_answer(struct vfu_host *vfu, struct vfu_msg *m, const void *p, uint32_t len);

/* Handlers: 0 with the reply's payload in place, or -errno for an error reply. */
typedef int vfu_handler(struct vfu_host *vfu, struct vfu_msg *m);
vfu_handler vfu_version; /* vfio_user_version.c */

/* vfio_user_dma.c */
vfu_handler vfu_dma_map, vfu_dma_unmap;
int vfu_dma(struct pci_dev *dev, uint64_t addr, void *buf, uint32_t len, bool write);
void vfu_dma_drop(struct vfu_host *vfu); /* every window; the device is not there any more */
const struct fault_area *vfu_area_at(struct fault_guard *g, uintptr_t addr);
void vfu_memory_lost(struct fault_guard *g);

/* vfio_user_dmamsg.c: @len bytes, at most VFU_MAX_XFER, by a message to the client; waits. */
int vfu_dma_message(struct vfu_host *vfu, uint64_t addr, void *buf, uint32_t len, bool write);

/* vfio_user_irq.c */
vfu_handler vfu_get_irq_info, vfu_set_irqs;
int vfu_irq_init(struct vfu_host *vfu);
void vfu_irq_fini(struct vfu_host *vfu);
void vfu_irq_reset(struct vfu_host *vfu); /* as before SET_IRQS; closes every fd */
void vfu_intx(struct pci_dev *dev, bool level);
void vfu_message(struct pci_dev *dev, enum pci_irq kind, unsigned int vector, uint64_t addr,
		 uint32_t data);

/* vfio_user_region.c */
vfu_handler vfu_get_info, vfu_get_region_info, vfu_get_region_io_fds;
vfu_handler vfu_region_read, vfu_region_write, vfu_region_write_multi;

/* vfio_user_migr.c: device features, migration data, reset. */
vfu_handler vfu_device_feature, vfu_mig_data_read, vfu_mig_data_write, vfu_device_reset;
void vfu_migr_reset(struct vfu_host *vfu);
/* The answer when the client has too little room for it: @len is how much the whole would need. */
int vfu_feature_needs(struct vfu_host *vfu, struct vfu_msg *m, uint32_t len);

/* vfio_user_log.c: the dirty log; handlers of its features, whose data is behind struct
 * vfu_feature. */
int vfu_log_start(struct vfu_host *vfu, struct vfu_msg *m, bool get);
int vfu_log_stop(struct vfu_host *vfu, struct vfu_msg *m, bool get);
int vfu_log_report(struct vfu_host *vfu, struct vfu_msg *m, bool get);
int vfu_log_cover(struct vfu_host *vfu, uint64_t end); /* 0; -E2BIG, -ENOMEM */
void vfu_log_drop(struct vfu_host *vfu);

/* One line of the log: whose, where, what. */
#define VFU_LOG(vfu, level, fmt, ...)                                                              \
	twx_log((vfu)->host->net, TWX_LOG_##level, "%s: vfio-user %s: " fmt, (vfu)->host->nic->id, \
		(vfu)->sock.path, ##__VA_ARGS__)

extern const struct twx_host_type host_vfio_user;

#endif
