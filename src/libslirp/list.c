/* SPDX-License-Identifier: BSD-3-Clause */
/* The built-in types of the drop-in, which needs no others: the archive's lists stay out of it. */
#include <stddef.h>

#include <twinax/net.h>

extern const struct twx_backend_type user_backend;

const struct twx_backend_type *const *twx_backend_types(void)
{
	static const struct twx_backend_type *const list[] = { &user_backend, NULL };

	return list;
}

const struct twx_nic_model *const *twx_nic_models(void)
{
	static const struct twx_nic_model *const list[] = { NULL };

	return list;
}

const struct twx_host_type *const *twx_host_types(void)
{
	static const struct twx_host_type *const list[] = { NULL };

	return list;
}
