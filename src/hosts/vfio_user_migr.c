/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Migration of the device: features, states, the stream of its state; and its reset.
 *
 * The states are those of linux/vfio.h without PRE_COPY and P2P. Every way from one to another
 * leads through STOP, so a change is at most two steps: out of the old state, into the new one.
 *
 *   RUNNING    the device works
 *   STOP       it stands still: pci_run(false)
 *   STOP_COPY  as STOP; what pci_save() gave on entry is read by MIG_DATA_READ
 *   RESUMING   as STOP; MIG_DATA_WRITE collects what pci_load() gets when the state is left
 *   ERROR      what was loaded was no state of this device; only a reset leads out
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "hosts/vfio_user.h"

static void data_drop(struct vfu_host *vfu)
{
	free(vfu->mig_data);
	vfu->mig_data = NULL;
	vfu->mig_len = vfu->mig_off = 0;
}

static int load(struct vfu_host *vfu)
{
	struct twx_error e = { 0 };
	int err = pci_load(vfu->dev, vfu->mig_data, vfu->mig_len, &e);

	if (err < 0)
		VFU_LOG(vfu, WARNING, "the state of %zu bytes does not fit this device: %s",
			vfu->mig_len, e.what);
	return err;
}

/* Out of a state, into STOP. */
static int state_leave(struct vfu_host *vfu)
{
	int err = 0;

	if (vfu->mig_state == VFIO_DEVICE_STATE_RESUMING)
		err = load(vfu);
	data_drop(vfu);
	pci_run(vfu->dev, false);
	vfu->mig_state = err < 0 ? VFIO_DEVICE_STATE_ERROR : VFIO_DEVICE_STATE_STOP;
	return err;
}

/* Out of STOP. */
static int state_enter(struct vfu_host *vfu, uint32_t state)
{
	int err = 0;

	if (state == VFIO_DEVICE_STATE_STOP_COPY)
		err = pci_save(vfu->dev, &vfu->mig_data, &vfu->mig_len);
	else if (state == VFIO_DEVICE_STATE_RUNNING)
		pci_run(vfu->dev, true);
	if (err == 0)
		vfu->mig_state = state;
	return err;
}

static int state_set(struct vfu_host *vfu, uint32_t state)
{
	int err;

	if (vfu->mig_state == VFIO_DEVICE_STATE_ERROR ||
	    (state != VFIO_DEVICE_STATE_STOP && state != VFIO_DEVICE_STATE_RUNNING &&
	     state != VFIO_DEVICE_STATE_STOP_COPY && state != VFIO_DEVICE_STATE_RESUMING))
		return -EINVAL;
	if (state == vfu->mig_state)
		return 0;
	err = state_leave(vfu);
	return err < 0 ? err : state_enter(vfu, state);
}

void vfu_migr_reset(struct vfu_host *vfu)
{
	data_drop(vfu);
	vfu->mig_state = VFIO_DEVICE_STATE_RUNNING;
}

int vfu_device_reset(struct vfu_host *vfu, struct vfu_msg *m)
{
	(void)m;
	pci_reset(vfu->dev);
	vfu_migr_reset(vfu);
	pci_run(vfu->dev, true);
	return 0;
}

/* The stream. */

int vfu_mig_data_read(struct vfu_host *vfu, struct vfu_msg *m)
{
	struct vfu_mig_data r;
	uint8_t *room;

	VFU_GET(m, &r);
	if (vfu->mig_state != VFIO_DEVICE_STATE_STOP_COPY || r.size > VFU_MAX_XFER ||
	    r.argsz < sizeof(r) || r.argsz - sizeof(r) < r.size)
		return -EINVAL;
	r.size = (uint32_t)min((size_t)r.size, vfu->mig_len - vfu->mig_off);
	r.argsz = (uint32_t)sizeof(r) + r.size;
	room = vfu_stream_room(vfu, r.argsz);
	if (room == NULL)
		return -ENOMEM;
	memcpy(room, &r, sizeof(r));
	memcpy(room + sizeof(r), vfu->mig_data + vfu->mig_off, r.size);
	vfu->mig_off += r.size;
	m->reply_len = r.argsz;
	return 0;
}

int vfu_mig_data_write(struct vfu_host *vfu, struct vfu_msg *m)
{
	struct vfu_mig_data w;
	uint8_t *p;

	VFU_GET(m, &w);
	if (vfu->mig_state != VFIO_DEVICE_STATE_RESUMING || m->len - sizeof(w) != w.size)
		return -EINVAL;
	if (w.size > STATE_MAX - vfu->mig_len)
		return -E2BIG;
	p = realloc(vfu->mig_data, max(vfu->mig_len + w.size, (size_t)1));
	if (p == NULL)
		return -ENOMEM;
	memcpy(p + vfu->mig_len, m->data + sizeof(w), w.size);
	vfu->mig_data = p;
	vfu->mig_len += w.size;
	return 0;
}

/* Device features. */

int vfu_feature_needs(struct vfu_host *vfu, struct vfu_msg *m, uint32_t len)
{
	struct vfu_feature f;

	VFU_GET(m, &f);
	f.argsz = len;
	return vfu_answer(vfu, m, &f, sizeof(f));
}

static int feature_answer(struct vfu_host *vfu, struct vfu_msg *m, const void *data, uint32_t len)
{
	struct vfu_feature f;
	uint8_t *room;

	VFU_GET(m, &f);
	if (f.argsz < sizeof(f) + len)
		return vfu_feature_needs(vfu, m, (uint32_t)sizeof(f) + len);
	f.argsz = (uint32_t)sizeof(f) + len;
	room = vfu_stream_room(vfu, f.argsz);
	if (room == NULL)
		return -ENOMEM;
	memcpy(room, &f, sizeof(f));
	memcpy(room + sizeof(f), data, len);
	m->reply_len = f.argsz;
	return 0;
}

static int feature_migration(struct vfu_host *vfu, struct vfu_msg *m, bool get)
{
	struct vfio_device_feature_migration f = { .flags = VFIO_MIGRATION_STOP_COPY };

	(void)get;
	return feature_answer(vfu, m, &f, sizeof(f));
}

static int feature_state(struct vfu_host *vfu, struct vfu_msg *m, bool get)
{
	struct vfio_device_feature_mig_state f = { .device_state = vfu->mig_state, .data_fd = -1 };
	int err;

	if (get)
		return feature_answer(vfu, m, &f, sizeof(f));
	if (m->len < sizeof(struct vfu_feature) + sizeof(f))
		return -EINVAL;
	memcpy(&f, m->data + sizeof(struct vfu_feature), sizeof(f));
	err = state_set(vfu, f.device_state);
	return err < 0 ? err : vfu_answer(vfu, m, m->data, m->len);
}

static const struct feature {
	uint32_t number;
	uint32_t methods;
	int (*handle)(struct vfu_host *vfu, struct vfu_msg *m, bool get);
} features[] = {
	{ VFIO_DEVICE_FEATURE_MIGRATION, VFIO_DEVICE_FEATURE_GET, feature_migration },
	{ VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET,
	  feature_state },
	{ VFIO_DEVICE_FEATURE_DMA_LOGGING_START, VFIO_DEVICE_FEATURE_SET, vfu_log_start },
	{ VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, VFIO_DEVICE_FEATURE_SET, vfu_log_stop },
	{ VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, VFIO_DEVICE_FEATURE_GET, vfu_log_report },
};

int vfu_device_feature(struct vfu_host *vfu, struct vfu_msg *m)
{
	const uint32_t methods = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET;
	const struct feature *feature = NULL;
	struct vfu_feature f;
	uint32_t method;

	VFU_GET(m, &f);
	method = f.flags & methods;
	if (f.argsz < sizeof(f) ||
	    (f.flags & ~(methods | VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_MASK)) != 0)
		return -EINVAL;
	for (size_t i = 0; i < array_size(features); i++)
		if (features[i].number == (f.flags & VFIO_DEVICE_FEATURE_MASK))
			feature = &features[i];
	if (feature == NULL)
		return -ENOTTY;
	if ((method & ~feature->methods) != 0)
		return -EINVAL;
	if ((f.flags & VFIO_DEVICE_FEATURE_PROBE) != 0)
		return vfu_answer(vfu, m, m->data, m->len);
	if (method == 0 || method == methods)
		return -EINVAL;
	return feature->handle(vfu, m, method == VFIO_DEVICE_FEATURE_GET);
}
