/* SPDX-License-Identifier: BSD-3-Clause */
/* The one list of built-in hosts: add a line here, and a file. */
#include <stddef.h>

#include <twinax/net.h>

#include "hosts/vfio_user.h"
#include "hosts/vhost_user.h"

const struct twx_host_type *const *twx_host_types(void)
{
	static const struct twx_host_type *const list[] = {
		&host_vhost_user,
		&host_vfio_user,
		NULL,
	};

	return list;
}
