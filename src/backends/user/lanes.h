/* SPDX-License-Identifier: BSD-3-Clause */
/* The user-mode network on several threads: one lane each, see lanes.c. */
#ifndef USER_LANES_H
#define USER_LANES_H

#include "backends/user/user.h"

struct user_lanes;

/* Options that a network with workers refuses: 0 or -EINVAL with a sentence. */
int lanes_check(const struct twx_backend *b, const struct twx_opts *o, struct twx_error *e);
/* The other lanes of @u, whose port is there already, by @open; 0 or -errno. */
int lanes_open(struct user *u, uint32_t n, const struct twx_opts *o,
	       int (*open)(struct user *lane, const struct twx_opts *o, struct twx_error *e),
	       struct twx_error *e);
/* @close them, lane 0 excepted, with every thread standing still. */
void lanes_close(struct user *u, void (*close)(struct user *lane));

void lanes_free(struct user *u); /* once lane 0 is closed, too */

/* Hands the frame to the lane whose it is: true if that is another one. */
bool lanes_elsewhere(struct user *u, const struct user_pkt *p);
/* To lane 0, which has what there is once for a network: true unless this is it. */
bool lanes_to_first(struct user *u, const struct twx_frame *f);
/* Lane 0 has learned a MAC; another lane asks it for one. */
void lanes_tell_neigh(struct user *u, const struct in6_addr *ip, const uint8_t mac[6]);
void lanes_ask_neigh(struct user *u, const struct in6_addr *ip);
/* tcp_from_host_take() on one of the lanes. */
void lanes_accept_take(struct user *u, int fd, const struct in6_addr *from, uint16_t from_port,
		       const struct in6_addr *guest, uint16_t guest_port);
/* A flow's key becomes one of this lane's; false if it is another's. And its end. */
bool lanes_claim(struct user *u, const struct flow_key *key);
void lanes_release(struct user *u, const struct flow_key *key);
struct user *lanes_at(struct user *u, uint32_t i);

/* user.c */
void user_input(struct user *u, const struct twx_frame *f); /* a frame that is for us */

#endif
