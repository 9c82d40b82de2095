/* SPDX-License-Identifier: BSD-3-Clause */
/* The vhost-user back end's own: wire structures, one connection's state, and the calls between its files. */
#ifndef HOSTS_VHOST_USER_H
#define HOSTS_VHOST_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/vhost.h>

#include <twinax/net.h>

#include "base/hostops.h"
#include "bus/inflight.h"
#include "bus/vhost_user_wire.h"
#include "bus/virtio.h"
#include "hosts/event.h"
#include "hosts/server_sock.h"

#define VU_PROTOCOL_OFFERED                                                                        \
	(VU_BIT(VU_P_MQ) | VU_BIT(VU_P_LOG_SHMFD) | VU_BIT(VU_P_RARP) | VU_BIT(VU_P_REPLY_ACK) |   \
	 VU_BIT(VU_P_NET_MTU) | VU_BIT(VU_P_BACKEND_REQ) | VU_BIT(VU_P_CONFIG) |                   \
	 VU_BIT(VU_P_INFLIGHT_SHMFD) | VU_BIT(VU_P_RESET_DEVICE) |                                 \
	 VU_BIT(VU_P_CONFIGURE_MEM_SLOTS) | VU_BIT(VU_P_STATUS))

#define VU_RING_MAX 32768	/* entries */
#define VU_AREAS 3		/* descriptors, available, used */
#define VU_CONFIG_MAX 256	/* bytes of config space in one message */

/* On the wire, native byte order. */
union vu_payload {
	uint64_t u64;
	struct vhost_vring_state state;
	struct vhost_vring_addr addr;
	struct {
		uint32_t n, padding;
		struct vu_region regions[VU_TABLE_REGIONS];
	} table;
	struct {
		uint64_t padding;
		struct vu_region region;
	} slot;
	struct {
		uint64_t size, off;
	} log;
	struct {
		uint64_t size, off;
		uint16_t n_queues, queue_size;
	} inflight;
	struct {
		uint32_t off, size, flags;
		uint8_t data[VU_CONFIG_MAX];
	} config;
	struct vhost_iotlb_msg iotlb;
	uint8_t raw[512];
};

/* A message being received, then handled; a reply is built in place. A handler that keeps an fd
 * leaves -1 behind; the rest is closed after it, as is one that went out with the reply. */
struct vu_msg {
	struct vu_header head;
	union vu_payload p;
	uint32_t got; /* bytes of header and payload so far */
	uint32_t n_fds;
	int fds[VU_MAX_FDS];
};

struct vu_host;
struct vu_ring {
	struct vu_host *vu;
	uint16_t index;
	uint16_t num;  /* 0 until SET_VRING_NUM */
	uint32_t base; /* where it starts or stopped, as SET_VRING_BASE has it */
	bool base_set; /* else it starts at its beginning */
	bool enabled;
	bool addr_set;
	bool started;  /* a kick has been given: SET_VRING_KICK, with an fd or polled */
	bool polled;
	bool running;  /* the device has it */
	struct vhost_vring_addr addr;
	int kick_fd; /* -1 without */
	struct twx_watch kick_watch;
	struct event call, err;
	struct inflight inflight; /* open while it runs, if the area has a region for it */
	struct fault_area windows[VU_AREAS]; /* of areas in pieces, see vhost_user_iotlb.c */
	uint32_t n_pieces;
};

struct vu_host {
	struct twx_host *host;
	struct virtio_dev *dev;
	const struct twx_hostops *ops;
	bool server;
	bool told;	 /* the failure to connect has been logged */
	uint32_t reconnect_ms;
	/* As configured. */
	enum vu_offer { VU_OFFER_AUTO, VU_OFFER_OFF, VU_OFFER_ON } iommu, packed;
	struct server_sock sock;
	struct twx_timer retry; /* connects again */
	struct twx_timer poll;	/* rings without a kick fd */

	/* One connection. */
	int fd; /* -1: none */
	struct twx_watch watch;
	char who[48]; /* "pid 123 (qemu)" */
	bool owned;	   /* SET_OWNER was said */
	uint64_t features; /* as the front end set them, transport bits included */
	uint64_t offered; /* 0: nobody has asked */
	uint64_t protocol, protocol_offered;
	struct event req; /* the channel for our requests */
	struct vu_msg msg;
	struct vu_ring *rings;
	uint32_t n_rings;
	struct mem_map *mem;
	struct vu_iotlb *iotlb; /* null without VU_F_ACCESS_PLATFORM; else the device has its map */
	struct fault_area log_map;
	uint8_t *log;
	uint64_t log_size;
	struct fault_area inflight_map;
	uint8_t *inflight; /* regions of inflight_size entries each, for the first inflight_queues */
	uint16_t inflight_queues, inflight_size;
	struct fault_guard guard; /* of mem, log_map and inflight_map */
};

/* As the features say that are agreed on. */
static inline bool vu_packed(const struct vu_host *vu)
{
	return (vu->dev->features & VIRTIO_PACKED) != 0;
}

static inline struct vu_host *vu_of_guard(struct fault_guard *g)
{
	return (struct vu_host *)((char *)g - offsetof(struct vu_host, guard));
}

/* vhost_user_msg.c: reads and handles what has arrived, bounded; false if the connection is to end,
 * with the reason in @why. */
bool vu_msg_receive(struct vu_host *vu, const char **why);
void vu_msg_close_fds(struct vu_msg *m);
/* Name of a request for the log, or "unknown request". */
const char *vu_msg_name(uint32_t request);

/* Handlers: 0, or -errno. Those that answer set p and head.size. */
typedef int vu_handler(struct vu_host *vu, struct vu_msg *m);

/* vhost_user_dev.c: features, config space, status, reset, MTU, RARP. */
vu_handler vu_get_features, vu_set_features, vu_get_protocol_features, vu_set_protocol_features;
vu_handler vu_get_queue_num, vu_get_config, vu_set_config, vu_get_status, vu_set_status;
vu_handler vu_reset_owner, vu_reset_device, vu_send_rarp, vu_set_mtu, vu_set_req_fd, vu_set_owner, vu_set_log_fd;

/* vhost_user_mem.c: memory table and dirty log. */
vu_handler vu_set_mem_table, vu_get_max_mem_slots, vu_add_mem_reg, vu_rem_mem_reg, vu_set_log_base;
int vu_mem_init(struct vu_host *vu);  /* an empty map for the device */
void vu_mem_reset(struct vu_host *vu); /* back to it; rings are stopped */
void vu_mem_fini(struct vu_host *vu);
const struct fault_area *vu_area_at(struct fault_guard *g, uintptr_t addr);
void vu_memory_lost(struct fault_guard *g);
void vu_log_update(struct vu_host *vu); /* dirty logging on or off, by features and log */

/* vhost_user_inflight.c */
vu_handler vu_get_inflight_fd, vu_set_inflight_fd;
void vu_inflight_drop(struct vu_host *vu); /* rings are stopped */
/* Opens a ring's record, if it has a region; *@next may move. Close it when the ring stops. */
int vu_inflight_begin(struct vu_ring *r, const struct virtio_ring *ring, uint16_t *next);

/* vhost_user_iotlb.c: null vu->iotlb is harmless in all of them, but for the first two. */
int vu_iotlb_ring_map(struct vu_ring *r, struct virtio_ring *out); /* -EAGAIN: not yet */
vu_handler vu_iotlb_msg;
void vu_iotlb_ring_unmap(struct vu_ring *r);
int vu_iotlb_on(struct vu_host *vu); /* rings are stopped, as for the two below */
void vu_iotlb_off(struct vu_host *vu);
void vu_iotlb_memory(struct vu_host *vu); /* the memory table has changed */
void vu_iotlb_log(struct vu_host *vu);
void vu_iotlb_lost(struct vu_host *vu);
void vu_iotlb_retry(struct vu_host *vu); /* at the round's end, whatever waits for addresses */

/* vhost_user_ring.c */
vu_handler vu_set_vring_num, vu_set_vring_addr, vu_set_vring_base, vu_get_vring_base;
vu_handler vu_set_vring_kick, vu_set_vring_call, vu_set_vring_err, vu_set_vring_enable;
int vu_ring_update(struct vu_ring *r); /* starts or stops it as its state demands */
void vu_ring_pause(struct vu_ring *r);	  /* until vu_ring_update() */
void vu_rings_pause(struct vu_host *vu);  /* before the memory map changes */
void vu_rings_resume(struct vu_host *vu); /* after it; what no longer translates stays stopped */
void vu_rings_stop(struct vu_host *vu);	  /* all, and they need a new SET_VRING_KICK */
void vu_rings_reset(struct vu_host *vu);  /* as after connecting; closes every fd */
bool vu_rings_running(const struct vu_host *vu);
void vu_ring_poll(struct twx_timer *t);

/* One line of the log: whose, where, what. */
#define VU_LOG(vu, level, fmt, ...)                                                                \
	twx_log((vu)->host->net, TWX_LOG_##level, "%s: vhost-user %s: " fmt, (vu)->host->nic->id,  \
		(vu)->sock.path, ##__VA_ARGS__)

extern const struct twx_host_type host_vhost_user;

#endif
