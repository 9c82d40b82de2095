/* SPDX-License-Identifier: BSD-3-Clause */
/* DHCPv6 (RFC 8415) of the user-mode network. */
#include "backends/user/user.h"

int dhcp6_init(struct user *u, const struct twx_opts *opts, struct twx_error *e)
{
	return 0;
}

void dhcp6_fini(struct user *u)
{
}

void dhcp6_input(struct user *u, const struct user_pkt *p, const uint8_t *data, uint32_t len)
{
	twx_port_drop(u->port, TWX_DROP_NOT_FOR_US, p->frame->len);
}
