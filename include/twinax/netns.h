/* SPDX-License-Identifier: BSD-3-Clause */
/* A network namespace as the guest: a tap device in it, configured, and its descriptors outside. */
#ifndef TWINAX_NETNS_H
#define TWINAX_NETNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <twinax/error.h>
#include <twinax/export.h>
#include <twinax/net.h>

#define TWX_NETNS_QUEUES 64

/* Zero it, set size = sizeof, and the descriptors that are not there to -1. */
struct twx_netns_config {
	size_t size;
	/*
	 * The namespaces to do it in, as descriptors of /proc/PID/ns/... or of what is mounted from
	 * there; borrowed. Without @user_ns it is the one that owns @net_ns. -1: the caller's own.
	 */
	int user_ns, net_ns, mnt_ns;
	const char *ifname;	  /* null: "tap0" */
	const uint8_t *mac;	  /* 6 bytes; null: the kernel chooses */
	uint32_t mtu;		  /* 0: @guest's */
	uint32_t n_queues;	  /* 0: 1, without IFF_MULTI_QUEUE */
	/* Addresses and routes; loopback and the device are brought up. Null: both are left as they are. */
	const struct twx_guest_config *guest;
	/* Text that is mounted over /etc/resolv.conf in @mnt_ns; null: nothing is. */
	const char *resolv_conf;
};

/*
 * Makes the device and fills @fds with its queues, non-blocking and with a vnet header: what
 * "tap,fd=" and "tap,fds=" take. The device lives until they are closed. A child process does the
 * work and has ended when this returns; the caller stays where it is. 0 or -errno: -EPERM where the
 * caller does not own the namespaces, -EACCES when /dev/net/tun cannot be opened, -EEXIST or -EBUSY
 * when there is such an interface, -EOPNOTSUPP when this library has been built without libmnl.
 */
TWX_EXPORT int twx_netns_tap(const struct twx_netns_config *config, int *fds, struct twx_error *e);

#endif
