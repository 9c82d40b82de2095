/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the host "network namespace" share. */
#ifndef HOSTS_NETNS_H
#define HOSTS_NETNS_H

#include <twinax/netns.h>

/* --- netns_link.c: in the namespace, by netlink --- */

/* Loopback, and @ifname with its MAC, MTU, addresses and routes, are up when it returns 0. */
int netns_configure(const struct twx_netns_config *c, const char *ifname, struct twx_error *e);

/* --- netns_mount.c --- */

/* In the mount namespace. */
int netns_mount_resolv(const char *text, struct twx_error *e);

#endif
