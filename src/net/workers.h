/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads that carry the queue pairs of multi-queue objects. */
#ifndef NET_WORKERS_H
#define NET_WORKERS_H

#include <twinax/net.h>

#define NET_WORKERS_MAX 16

struct net_worker;

/*
 * Sees to it that there are @n workers (2..NET_WORKERS_MAX). 0, or -errno with a sentence; @what
 * is who wants them ("netdev n0").
 */
int net_workers_need(struct twx_net *net, unsigned int n, const char *what, struct twx_error *e);
struct twx_loop *net_worker_loop(struct twx_net *net, unsigned int i);
/* The threads end; their loops live on for whoever still has something there. */
void net_workers_stop(struct twx_net *net);
void net_workers_free(struct twx_net *net);

#endif
