/* SPDX-License-Identifier: BSD-3-Clause */
/* The vhost-user protocol on its socket: what our back end (src/hosts) and our front end
 * (src/backends) share. */
#ifndef BUS_VHOST_USER_WIRE_H
#define BUS_VHOST_USER_WIRE_H

#include <linux/vhost.h>
#include <stdint.h>

/* Numbers of the vhost-user specification, "Front-end message types". */
enum vu_request {
	VU_GET_FEATURES = 1,
	VU_SET_FEATURES = 2,
	VU_SET_OWNER = 3,
	VU_RESET_OWNER = 4,
	VU_SET_MEM_TABLE = 5,
	VU_SET_LOG_BASE = 6,
	VU_SET_LOG_FD = 7,
	VU_SET_VRING_NUM = 8,
	VU_SET_VRING_ADDR = 9,
	VU_SET_VRING_BASE = 10,
	VU_GET_VRING_BASE = 11,
	VU_SET_VRING_KICK = 12,
	VU_SET_VRING_CALL = 13,
	VU_SET_VRING_ERR = 14,
	VU_GET_PROTOCOL_FEATURES = 15,
	VU_SET_PROTOCOL_FEATURES = 16,
	VU_GET_QUEUE_NUM = 17,
	VU_SET_VRING_ENABLE = 18,
	VU_SEND_RARP = 19,
	VU_NET_SET_MTU = 20,
	VU_SET_BACKEND_REQ_FD = 21,
	VU_IOTLB_MSG = 22,
	VU_GET_CONFIG = 24,
	VU_SET_CONFIG = 25,
	VU_GET_INFLIGHT_FD = 31,
	VU_SET_INFLIGHT_FD = 32,
	VU_RESET_DEVICE = 34,
	VU_VRING_KICK = 35,
	VU_GET_MAX_MEM_SLOTS = 36,
	VU_ADD_MEM_REG = 37,
	VU_REM_MEM_REG = 38,
	VU_SET_STATUS = 39,
	VU_GET_STATUS = 40,
};

/* "Back-end message types". */
enum { VU_BACKEND_IOTLB_MSG = 1, VU_BACKEND_CONFIG_CHANGE = 2 };

/* "Protocol features", as bit numbers. */
enum {
	VU_P_MQ = 0,
	VU_P_LOG_SHMFD = 1,
	VU_P_RARP = 2,
	VU_P_REPLY_ACK = 3,
	VU_P_NET_MTU = 4,
	VU_P_BACKEND_REQ = 5,
	VU_P_CONFIG = 9,
	VU_P_INFLIGHT_SHMFD = 12,
	VU_P_RESET_DEVICE = 13,
	VU_P_INBAND_NOTIFICATIONS = 14,
	VU_P_CONFIGURE_MEM_SLOTS = 15,
	VU_P_STATUS = 16,
};

#define VU_BIT(n) (1ULL << (n))
#define VU_F_PROTOCOL_FEATURES VU_BIT(30)
#define VU_F_ACCESS_PLATFORM VU_BIT(33)
#define VU_F_LOG_ALL VU_BIT(VHOST_F_LOG_ALL)

/* Header flags. */
#define VU_VERSION 1u
#define VU_VERSION_MASK 3u
#define VU_REPLY 4u
#define VU_NEED_REPLY 8u

#define VU_MAX_FDS 8
#define VU_TABLE_REGIONS 8 /* of SET_MEM_TABLE */
#define VU_NOFD 0x100u	   /* bit 8 of SET_VRING_KICK, _CALL and _ERR: no fd follows */
#define VU_INDEX 0xffu

/* On the wire, native byte order. */
struct vu_header {
	uint32_t request, flags, size;
};

struct vu_region {
	uint64_t gpa, size, user, mmap_off;
};

/*
 * SET_VRING_BASE and GET_VRING_BASE of a packed ring: where it is taken from, and from bit 16 on
 * where it is handed back, each with its wrap counter. With completion in order a ring that stands
 * still has both in one place, and DPDK leaves the second out.
 */
static inline uint32_t vu_base_told(bool packed, uint16_t base)
{
	return packed ? base | (uint32_t)base << 16 : base;
}

/* What was taken and not handed back (by somebody else than us) is still in the ring. */
static inline bool vu_base_heard(bool packed, uint32_t num, uint16_t *base)
{
	if (!packed && num > UINT16_MAX)
		return false;
	*base = (uint16_t)(num >> 16 ? num >> 16 : num);
	return true;
}

#endif
