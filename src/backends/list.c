/* SPDX-License-Identifier: BSD-3-Clause */
/* The one list of built-in backends: add a line here, and a file. */
#include <stddef.h>

#include <twinax/net.h>

extern const struct twx_backend_type bridge_backend;
extern const struct twx_backend_type dgram_backend;
extern const struct twx_backend_type hubport_backend;
extern const struct twx_backend_type socket_backend;
extern const struct twx_backend_type stream_backend;
extern const struct twx_backend_type tap_backend;
extern const struct twx_backend_type user_backend;
extern const struct twx_backend_type vde_backend;
extern const struct twx_backend_type vhost_user_backend;

const struct twx_backend_type *const *twx_backend_types(void)
{
	static const struct twx_backend_type *const list[] = {
		&bridge_backend,
		&dgram_backend,
		&hubport_backend,
		&socket_backend,
		&stream_backend,
		&tap_backend,
		&user_backend,
		&vde_backend,
		&vhost_user_backend,
		NULL,
	};

	return list;
}
