/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes, offsets and constants of libslirp's interface: made once of our header, once of theirs. */
#ifndef ABI_LAYOUT_H
#define ABI_LAYOUT_H

#include <stddef.h>

struct abi_fact {
	const char *name;
	size_t at, size;
};
extern const struct abi_fact abi_ours[], abi_theirs[];

#define ABI_FIELD(type, field)                                                                     \
	{                                                                                          \
#field, offsetof(type, field), sizeof(((type *)0)->field)                          \
	}
#define ABI_VALUE(name)                                                                            \
	{                                                                                          \
#name, (size_t)(name), 0                                                           \
	}

/* What version 4 of the interface has, which every libslirp since 4.7 knows. */
#define ABI_FACTS(config, cb)                                                                      \
	ABI_FIELD(config, version), ABI_FIELD(config, restricted), ABI_FIELD(config, in_enabled),  \
		ABI_FIELD(config, vnetwork), ABI_FIELD(config, vnetmask),                          \
		ABI_FIELD(config, vhost), ABI_FIELD(config, in6_enabled),                          \
		ABI_FIELD(config, vprefix_addr6), ABI_FIELD(config, vprefix_len),                  \
		ABI_FIELD(config, vhost6), ABI_FIELD(config, vhostname),                           \
		ABI_FIELD(config, tftp_server_name), ABI_FIELD(config, tftp_path),                 \
		ABI_FIELD(config, bootfile), ABI_FIELD(config, vdhcp_start),                       \
		ABI_FIELD(config, vnameserver), ABI_FIELD(config, vnameserver6),                   \
		ABI_FIELD(config, vdnssearch), ABI_FIELD(config, vdomainname),                     \
		ABI_FIELD(config, if_mtu), ABI_FIELD(config, if_mru),                              \
		ABI_FIELD(config, disable_host_loopback), ABI_FIELD(config, enable_emu),           \
		ABI_FIELD(config, outbound_addr), ABI_FIELD(config, outbound_addr6),               \
		ABI_FIELD(config, disable_dns), ABI_FIELD(config, disable_dhcp),                   \
		ABI_FIELD(cb, send_packet), ABI_FIELD(cb, guest_error),                            \
		ABI_FIELD(cb, clock_get_ns), ABI_FIELD(cb, timer_new), ABI_FIELD(cb, timer_free),  \
		ABI_FIELD(cb, timer_mod), ABI_FIELD(cb, register_poll_fd),                         \
		ABI_FIELD(cb, unregister_poll_fd), ABI_FIELD(cb, notify),                          \
		ABI_FIELD(cb, init_completed), ABI_FIELD(cb, timer_new_opaque),                    \
		ABI_VALUE(SLIRP_POLL_IN), ABI_VALUE(SLIRP_POLL_OUT), ABI_VALUE(SLIRP_POLL_PRI),    \
		ABI_VALUE(SLIRP_POLL_ERR), ABI_VALUE(SLIRP_POLL_HUP), ABI_VALUE(SLIRP_TIMER_RA),   \
		ABI_VALUE(SLIRP_TIMER_NUM), ABI_VALUE(SLIRP_HOSTFWD_UDP),                          \
		ABI_VALUE(SLIRP_HOSTFWD_V6ONLY), ABI_LATER(config, cb)                             \
	{                                                                                          \
		NULL, 0, 0                                                                         \
	}

/* Only where both know it. */
#ifdef ABI_HAS_5
#define ABI_LATER5(config, cb) ABI_FIELD(config, mfr_id), ABI_FIELD(config, oob_eth_addr),
#else
#define ABI_LATER5(config, cb)
#endif
#ifdef ABI_HAS_6
#define ABI_LATER6(config, cb)                                                                     \
	ABI_FIELD(cb, register_poll_socket), ABI_FIELD(cb, unregister_poll_socket),
#else
#define ABI_LATER6(config, cb)
#endif
#define ABI_LATER(config, cb) ABI_LATER5(config, cb) ABI_LATER6(config, cb)

#endif
