/* SPDX-License-Identifier: BSD-3-Clause */
/* What every virtio device saves: the features agreed on, and its status. */
#include <errno.h>
#include <linux/virtio_config.h>

#include "bus/virtio.h"

#define STATUS_BITS                                                                                \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK |        \
	 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED)

const struct state_field virtio_state_fields[] = {
	STATE_U64(struct virtio_dev, features),
	STATE_U8(struct virtio_dev, status),
	{ 0 },
};

int virtio_state_check(const void *copy, struct twx_error *e)
{
	const struct virtio_dev *dev = copy;

	if (dev->features & ~dev->offered)
		return twx_error_set(e, EINVAL, "features %#llx are not offered here",
				     (unsigned long long)(dev->features & ~dev->offered));
	if (dev->status & ~STATUS_BITS)
		return twx_error_set(e, EINVAL, "status %#x", dev->status);
	return 0;
}
