/* SPDX-License-Identifier: BSD-3-Clause */
/* What a network and a port carry for the core alone. */
#ifndef NET_PRIV_H
#define NET_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <twinax/net.h>
#include <twinax/port.h>

struct fault_guard;
struct hub;
struct hub_member;
struct net_worker;
struct offload;
struct net_log;

/* Behind port->core. */
struct port_core {
	struct twx_port *port;
	struct port_core *hash_next; /* ports of the same name lie in the same chain */
	struct twx_port *prev;	     /* in the net's list */
	struct twx_task task;	     /* runs what was put off: ready, resume */
	bool want_ready, want_resume;
	bool dying;		     /* no more ops */
	uint32_t in_send;	     /* twx_port_send() calls on the stack */
	uint32_t purges;	     /* tells a flush that the queue was purged meanwhile */
	struct twx_lease *lease;     /* open lease that this port holds of its peer */
	struct hub_member *member;   /* of a hub port */
	struct twx_backend *backend; /* made by twx_backend_add_port() */
	struct twx_nic *nic;	     /* made by twx_nic_add_port() */
	struct offload *scratch;     /* free ones, for deliveries to this port */
};

static inline struct port_core *port_core(const struct twx_port *port)
{
	return port->core;
}

/* True when a frame for @port would have to wait: busy, receiving already, or others wait before
 * it. */
static inline bool port_blocked(const struct twx_port *port)
{
	return port->rx_busy | port->in_receive | (port->queue != NULL);
}

/* The parts of net.c's objects that a user of the library does not see. */
struct backend_obj {
	struct twx_backend b;
	struct twx_opts *opts; /* strings that open() was given live as long as the backend */
};

struct nic_obj {
	struct twx_nic n;
	struct twx_opts *opts;
	struct twx_opt_desc *table; /* the model's options, the common ones, the host's */
	const struct twx_host_type *host_type; /* of export=, or null */
	const struct twx_host_bus *host_bus;   /* how it carries the NIC */
};

struct net_type_list {
	const void **types;
	unsigned int n;
};

struct twx_net {
	struct twx_loop *loop;
	struct twx_net_config config;
	struct twx_port *ports, *last_port;
	struct port_core **hash; /* by port name */
	unsigned int n_hash, n_ports;
	struct twx_backend *backends; /* newest first, as are the lists below */
	struct twx_nic *nics;
	struct twx_filter *filters;
	struct twx_chardev *chardevs;
	struct hub *hubs;
	struct net_type_list backend_types, nic_models;
	const struct twx_host_type *host_type; /* of NICs without export=, or null */
	void *host_opaque;
	uint16_t mac_use[256];	 /* by last byte, under the automatic prefix */
	uint32_t n_macs_beyond;	 /* automatic addresses made after those ran out */
	struct net_worker *workers; /* workers.c */
	unsigned int n_workers;
	struct net_log *log;
	struct fault_guard *guards; /* fault.h: who maps memory that others can truncate */
	atomic_uint n_faults;
};

/* How this net opens, binds and forks; null means by the process's own rights. */
const struct twx_hostops *net_hostops(struct twx_net *net);
const char *net_state_prefix(struct twx_net *net); /* or null */

/* registry.c: ports by name */
int net_add_port(struct twx_net *net, struct port_core *core);
void net_remove_port(struct twx_net *net, struct port_core *core);
/* The first port of that name and, from one of them, the next; creation order is not kept. */
struct port_core *net_find_port(struct twx_net *net, const char *name);
struct port_core *net_next_port(struct port_core *core);

/* offload scratch, one per nested delivery; null only when memory is out */
struct offload *net_scratch_get(struct port_core *core);
void net_scratch_put(struct port_core *core, struct offload *o);
void net_scratch_free(struct port_core *core);

/* port.c, send.c */
const char *port_type_name(const struct twx_port *port);
void port_flush(struct twx_port *port);
/* Ends in_receive: delivers what was queued meanwhile, wakes who was refused meanwhile. */
void port_leave(struct twx_port *port);
/* Resumes the peer if it waits and may send; @later: from the loop, not from this call. */
void port_wake_sender(struct twx_port *port, bool later);
void port_want_resume(struct twx_port *port);
void port_run_task(struct twx_task *task);
void port_drop_queue(struct twx_port *port, enum twx_drop cause);

/* net.c, backend.c, nic.c */
const struct twx_backend_type *net_backend_type(struct twx_net *net, const char *name);
const struct twx_nic_model *net_nic_model(struct twx_net *net, const char *name);
int net_grow_ports(struct twx_port ***ports, uint32_t n); /* room for one more */
void net_free_ports(struct twx_port **ports, uint32_t n);
void nic_close_host(struct twx_nic *nic);

/* log.c */
int net_log_new(struct twx_net *net);
void net_log_free(struct twx_net *net);

#endif
