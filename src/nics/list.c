/* SPDX-License-Identifier: BSD-3-Clause */
/* The one list of built-in NICs: add a line here, and a file. */
#include <stddef.h>

#include <twinax/net.h>

#include "nics/e1000.h"
#include "nics/virtio_net.h"

const struct twx_nic_model *const *twx_nic_models(void)
{
	static const struct twx_nic_model *const list[] = {
		&virtio_net_model,    &virtio_net_pci_model, &virtio_net_transitional_model,
		&virtio_net_non_transitional_model, &e1000_model, &e1000_82540em_model,
		&e1000_82544gc_model, &e1000_82545em_model,  NULL,
	};

	return list;
}
