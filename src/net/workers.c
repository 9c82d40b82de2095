/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads that carry the queue pairs of multi-queue objects.
 *
 * `workers=N` of a netdev makes N threads with a loop each, shared by all such netdevs of the net.
 * Port i of the netdev, and port i of the NIC in front of it, live on the loop of worker i modulo
 * N: rings, sockets, timers and frames of a pair meet one thread only, and no lock.
 *
 * Everything else stays on the net's own loop: sockets of VMMs and monitors, messages that set up
 * memory and rings, commands, the control queue. That loop holds the workers' (loop_hold()): they
 * stand still at the end of their round whenever it does anything but wait, from before they have
 * begun until the net ends. So whatever runs there may touch every port, ring and memory map as if
 * there were one thread, and what runs on a worker meets no change of any. It costs a worker an
 * uncontended lock for each round of its loop, and a stop for each message or command.
 *
 * What is left to care for is what two workers share. In the core: the log (a lock, for lines are
 * rare), scratch memory (each worker has its own), counters (each port has its own). In a NIC and
 * in a backend: see virtio_net.c, user/lanes.c.
 *
 * Frames never cross from a port to a peer on another loop; twx_port_pair() refuses it. What has to
 * change threads goes through a ring (net/xring.h).
 *
 * An embedder with an event loop of its own has to leave the waiting to twx_loop_poll() if it wants
 * workers: they run while the net's loop waits.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop_shared.h"
#include "net/net_priv.h"
#include "net/workers.h"

struct net_worker {
	struct twx_net *net;
	struct twx_loop *loop;
	pthread_t thread;
	bool runs;
};

static void *worker_main(void *arg)
{
	struct net_worker *w = arg;

	(void)twx_loop_run(w->loop);
	return NULL;
}

/* Signals are the program's: its own thread gets them. */
static int thread_begin(struct net_worker *w)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	sigdelset(&all, SIGBUS); /* of the thread that touches lost memory */
	sigdelset(&all, SIGSEGV);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&w->thread, NULL, worker_main, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	w->runs = err == 0;
	return -err;
}

static int worker_begin(struct twx_net *net, struct net_worker *w)
{
	int err = twx_loop_new(&w->loop, NULL);

	w->net = net;
	if (err == 0)
		err = loop_hold(net->loop, w->loop);
	if (err < 0) {
		twx_loop_free(w->loop);
		w->loop = NULL;
		return err;
	}
	err = thread_begin(w);
	if (err < 0) {
		loop_let_go(net->loop, w->loop);
		twx_loop_free(w->loop);
		w->loop = NULL;
	}
	return err;
}

int net_workers_need(struct twx_net *net, unsigned int n, const char *what, struct twx_error *e)
{
	int err = 0;

	if (!net->workers)
		net->workers = calloc(NET_WORKERS_MAX, sizeof(*net->workers));
	if (!net->workers)
		return twx_error_set(e, ENOMEM, "%s: out of memory", what);
	for (; net->n_workers < n && err == 0; net->n_workers += err == 0)
		err = worker_begin(net, &net->workers[net->n_workers]);
	if (err == -EBUSY) {
		twx_error_set(e, EINVAL, "%s: workers=%u is not possible in this program", what, n);
		return twx_error_hint(e, "leave workers= out, or use `twinax serve`");
	}
	return err < 0 ? twx_error_set(e, -err, "%s: cannot start %u workers: %s", what, n,
				       strerror(-err))
		       : 0;
}

struct twx_loop *net_worker_loop(struct twx_net *net, unsigned int i)
{
	return net->workers[i].loop;
}

void net_workers_stop(struct twx_net *net)
{
	for (unsigned int i = 0; i < net->n_workers; i++) {
		struct net_worker *w = &net->workers[i];

		if (!w->runs)
			continue;
		twx_loop_stop(w->loop);
		loop_let_go(net->loop, w->loop);
		pthread_join(w->thread, NULL);
		w->runs = false;
	}
}

void net_workers_free(struct twx_net *net)
{
	for (unsigned int i = 0; i < net->n_workers; i++)
		twx_loop_free(net->workers[i].loop);
	free(net->workers);
	net->workers = NULL;
	net->n_workers = 0;
}
