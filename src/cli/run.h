/* SPDX-License-Identifier: BSD-3-Clause */
/* `twinax run`: what its files, and the programs that it can be called as, share. */
#ifndef CLI_RUN_H
#define CLI_RUN_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <twinax/netns.h>
#include <twinax/twinax.h>

#include "cli/kv.h"
#include "cli/session.h"

/* --- run_command.c: COMMAND in namespaces of its own --- */

struct run_command {
	pid_t pid; /* 0: there is none */
	int sock;  /* ours of a pair; -1 */
	int user_ns, net_ns, mnt_ns;
};
/*
 * A child in new user, network and mount namespaces that waits for run_command_go(). To be called
 * before there are threads. 0, or 1 after an error message.
 */
int run_command_start(struct run_command *c, char *const *argv);
/* COMMAND takes its place; 0, or its exit status (127, 126) after an error message. */
int run_command_go(struct run_command *c, const char *name);
void run_command_close(
	struct run_command *c); /* the descriptors; the child ends if it still waits */

/* --- run_world.c: a namespace, a network, and the cable between them --- */

struct run_world {
	struct session session;
	const char *netdev; /* id of the backend that the namespace is connected with */
	struct twx_netns_config tap;
	bool configure; /* addresses as the network has them */
	bool resolv;	/* and its name server */
	struct twx_guest_config guest;
};
/* Makes everything; 0, or 1 after an error message. */
int run_world_make(struct run_world *w);

/* --- run_ports.c --- */

/*
 * "[tcp|udp:][ADDR:]PORT[-PORT][:PORT[-PORT]]", IPv6 addresses in brackets, becomes hostfwd=
 * options of @netdev. 0 or -errno.
 */
int run_publish(struct kv *netdev, const char *spec, struct twx_error *e);

#endif
