/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages about the device as a whole: features, config space, status, reset, MTU, announcement. */
#include <errno.h>
#include <string.h>

#include "hosts/vhost_user.h"

static void reply_u64(struct vu_msg *m, uint64_t value)
{
	m->p.u64 = value;
	m->head.size = sizeof(m->p.u64);
}

/* Each connection is one session; that it began tells a kind of front end, see below. */
int vu_set_owner(struct vu_host *vu, struct vu_msg *m)
{
	(void)m;
	vu->owned = true;
	return 0;
}

/* An optional eventfd that would tell the front end of log writes; its owner reads the log anyway. */
int vu_set_log_fd(struct vu_host *vu, struct vu_msg *m)
{
	(void)vu;
	(void)m;
	return 0;
}

/*
 * Two features are for QEMU alone unless they are asked for; it is known by its first question, as in
 * vu_get_protocol_features().
 *
 * Who agrees to ACCESS_PLATFORM has to translate addresses for us, and drivers agree to whatever they
 * are offered: user-mode Linux's and DPDK's front ends would pass the bit on and then tell us nothing.
 * QEMU offers it to its guest by its own iommu_platform=on, and fails to start without ours.
 *
 * Of packed rings user-mode Linux's front end does not know where they begin: it says 0, which is a
 * wrap counter of 0.
 */
static bool offer(const struct vu_host *vu, enum vu_offer how)
{
	return how == VU_OFFER_ON || (how == VU_OFFER_AUTO && !vu->owned);
}

static uint64_t offered(struct vu_host *vu)
{
	uint64_t f = vu->dev->offered | VU_F_PROTOCOL_FEATURES | VU_F_LOG_ALL;

	if (vu->offered == 0) {
		if (!offer(vu, vu->packed))
			f &= ~VIRTIO_PACKED;
		if (offer(vu, vu->iommu))
			f |= VU_F_ACCESS_PLATFORM;
		vu->offered = f;
	}
	return vu->offered;
}

int vu_get_features(struct vu_host *vu, struct vu_msg *m)
{
	reply_u64(m, offered(vu));
	return 0;
}

/*
 * While rings run only LOG_ALL may change, as a migration starts or ends. Without PROTOCOL_FEATURES
 * rings are born enabled; with it SET_VRING_ENABLE decides.
 */
int vu_set_features(struct vu_host *vu, struct vu_msg *m)
{
	const uint64_t transport = VU_F_PROTOCOL_FEATURES | VU_F_LOG_ALL | VU_F_ACCESS_PLATFORM;
	uint64_t f = m->p.u64;
	int err = 0;

	if ((f & ~offered(vu)) != 0)
		return -EINVAL;
	if (vu_rings_running(vu)) {
		if (((f ^ vu->features) & ~VU_F_LOG_ALL) != 0)
			return -EBUSY;
	} else {
		virtio_set_features(vu->dev, f & ~transport);
		if ((f & VU_F_ACCESS_PLATFORM) != 0)
			err = vu_iotlb_on(vu);
		else
			vu_iotlb_off(vu);
		if (err < 0)
			return err;
	}
	vu->features = f;
	vu_log_update(vu);
	if ((f & VU_F_PROTOCOL_FEATURES) != 0)
		return 0;
	for (uint32_t i = 0; i < vu->n_rings && err == 0; i++) {
		vu->rings[i].enabled = true;
		err = vu_ring_update(&vu->rings[i]);
	}
	return err;
}

/*
 * QEMU's network devices never read our config space, and QEMU warns its user at every start of a back
 * end that has one. It negotiates first and says SET_OWNER later; who reads it (user-mode Linux, front
 * ends in Rust) begins with SET_OWNER, as the specification has it. The first question of a connection
 * decides, as QEMU repeats it for each queue pair. Asking for CONFIG is always granted.
 */
int vu_get_protocol_features(struct vu_host *vu, struct vu_msg *m)
{
	if (vu->protocol_offered == 0)
		vu->protocol_offered = VU_PROTOCOL_OFFERED & (vu->owned ? ~0ULL : ~VU_BIT(VU_P_CONFIG));
	reply_u64(m, vu->protocol_offered);
	return 0;
}

int vu_set_protocol_features(struct vu_host *vu, struct vu_msg *m)
{
	if ((m->p.u64 & ~VU_PROTOCOL_OFFERED) != 0)
		return -EINVAL;
	vu->protocol = m->p.u64;
	return 0;
}

/* Front ends of network devices (QEMU, DPDK) count pairs here, not virtqueues. */
int vu_get_queue_num(struct vu_host *vu, struct vu_msg *m)
{
	reply_u64(m, vu->dev->max_pairs > 0 ? vu->dev->max_pairs : 1);
	return 0;
}

static int config_check(const struct vu_msg *m)
{
	const uint32_t head = offsetof(union vu_payload, config.data);

	return m->p.config.size <= VU_CONFIG_MAX && m->head.size == head + m->p.config.size ? 0
											     : -EINVAL;
}

/* An empty payload tells the front end that the range does not exist. */
int vu_get_config(struct vu_host *vu, struct vu_msg *m)
{
	int err = config_check(m);

	if (err < 0)
		return err;
	memset(m->p.config.data, 0, sizeof(m->p.config.data));
	if (vu->dev->ops->config_read(vu->dev, m->p.config.off, m->p.config.data,
				      m->p.config.size) < 0)
		m->head.size = 0;
	return 0;
}

int vu_set_config(struct vu_host *vu, struct vu_msg *m)
{
	int err = config_check(m);

	if (err < 0)
		return err;
	return vu->dev->ops->config_write(vu->dev, m->p.config.off, m->p.config.data,
					  m->p.config.size);
}

int vu_get_status(struct vu_host *vu, struct vu_msg *m)
{
	reply_u64(m, vu->dev->status);
	return 0;
}

/*
 * The state after open, but for what belongs to the session: memory, log, protocol features and call
 * fds stay. The rings' indices stay too, since QEMU 7.2 resets before it asks for them.
 */
static void device_reset(struct vu_host *vu)
{
	vu_rings_stop(vu);
	virtio_reset(vu->dev);
	for (uint32_t i = 0; i < vu->n_rings; i++)
		vu->rings[i].enabled = false;
	vu->features = 0;
	vu_iotlb_off(vu);
	vu_log_update(vu);
}

/*
 * DRIVER_OK starts nothing: front ends without the STATUS feature never send it, and DPDK's starts its
 * rings before it does.
 */
int vu_set_status(struct vu_host *vu, struct vu_msg *m)
{
	if (m->p.u64 > UINT8_MAX)
		return -EINVAL;
	if (m->p.u64 == 0)
		device_reset(vu);
	vu->dev->status = (uint8_t)m->p.u64;
	if (vu->dev->ops->set_status != NULL)
		vu->dev->ops->set_status(vu->dev, vu->dev->status);
	return 0;
}

int vu_reset_device(struct vu_host *vu, struct vu_msg *m)
{
	(void)m;
	device_reset(vu);
	return 0;
}

/* Deprecated; the specification recommends to disable all rings and to keep the session. */
int vu_reset_owner(struct vu_host *vu, struct vu_msg *m)
{
	(void)m;
	vu_rings_stop(vu);
	return 0;
}

int vu_set_mtu(struct vu_host *vu, struct vu_msg *m)
{
	if (m->p.u64 < 68 || m->p.u64 > UINT16_MAX) /* virtio 1.2, 5.1.4.1 */
		return -EINVAL;
	if (vu->dev->ops->set_mtu != NULL)
		vu->dev->ops->set_mtu(vu->dev, (uint16_t)m->p.u64);
	return 0;
}

int vu_send_rarp(struct vu_host *vu, struct vu_msg *m)
{
	uint8_t mac[6];

	memcpy(mac, m->p.raw, sizeof(mac));
	if (vu->dev->ops->announce != NULL)
		vu->dev->ops->announce(vu->dev, mac);
	return 0;
}

int vu_set_req_fd(struct vu_host *vu, struct vu_msg *m)
{
	int fd = m->fds[0];

	m->fds[0] = -1;
	vu_iotlb_retry(vu);
	return event_take(&vu->req, fd);
}
