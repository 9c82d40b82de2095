/* SPDX-License-Identifier: BSD-3-Clause */
/* A network: ports, hubs, backends, NICs and filters of one program, and how they are made. */
#ifndef TWINAX_NET_H
#define TWINAX_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <netinet/in.h>

#include <twinax/error.h>
#include <twinax/export.h>
#include <twinax/loop.h>
#include <twinax/option.h>
#include <twinax/port.h>

struct twx_net;
struct twx_backend;
struct twx_nic;
struct twx_hostops; /* src/base/hostops.h: opening, binding, forking; null: the process's own rights */

enum twx_log_level { TWX_LOG_ERROR, TWX_LOG_WARNING, TWX_LOG_INFO, TWX_LOG_DEBUG };
/* Called on a loop thread with one line, no newline. Rate-limited per call site by the library. */
typedef void twx_log_fn(void *opaque, enum twx_log_level level, const char *line);

/* Zero it, set size = sizeof; fields added later read as zero from older callers. */
struct twx_net_config {
	size_t size;
	struct twx_loop *loop; /* required: loop of every port made by this net */
	twx_log_fn *log;       /* null: silent */
	void *log_opaque;
	enum twx_log_level log_level; /* more verbose lines are not made */
	const struct twx_hostops *hostops;
	/*
	 * Beginning of the path of files in which objects leave what the next process needs after a
	 * crash of this one ("PREFIX.ID.flows"); they are removed in good order. Null: there are
	 * none. Lives as long as the net.
	 */
	const char *state_prefix;
};

TWX_EXPORT int twx_net_new(struct twx_net **out, const struct twx_net_config *config, struct twx_error *e);
/* Closes everything that is left, newest first, removing what was created on the host. */
TWX_EXPORT void twx_net_free(struct twx_net *net);
TWX_EXPORT struct twx_loop *twx_net_loop(struct twx_net *net);

/*
 * For the SIGBUS handler of a program that exports NICs: a front end that truncates the memory it shares
 * would end the program at the next access. Installed with SA_SIGINFO, the handler passes si_addr (of a
 * fault, si_code > 0) on: if the address lies in shared memory of @net, zeros are put in its place, the
 * front end's connection ends in the next round of the loop with a line in the log, and the handler
 * returns. False: the address is none of ours, and the signal means what it means by default.
 * Async-signal-safe; from the thread that runs the net's loop only.
 */
TWX_EXPORT bool twx_net_fault(struct twx_net *net, const void *addr);

/*
 * For control sockets: a non-blocking listening unix stream socket, made through the net's hostops. A
 * socket file that nobody listens on is replaced; a live one is an error. The fd is the caller's, who
 * removes the file with twx_net_unlink() in the end. The fd or -errno.
 */
TWX_EXPORT int twx_net_listen_unix(struct twx_net *net, const char *path, struct twx_error *e);
TWX_EXPORT int twx_net_unlink(struct twx_net *net, const char *path);

__attribute__((format(printf, 3, 4)))
TWX_EXPORT void twx_log(struct twx_net *net, enum twx_log_level level, const char *fmt, ...);

/* How a guest that does not ask by DHCP is to be configured; all zero: the network has no say in it. */
struct twx_guest_config {
	struct in_addr addr, gateway, dns; /* addr 0: no IPv4; gateway, dns 0: none */
	uint8_t prefix_len;
	struct in6_addr addr6, gateway6, dns6; /* the same with :: */
	uint8_t prefix6_len;
	uint32_t mtu; /* 0: 1500 */
};

/*
 * A kind of backend, constant. The net calls open() with checked options; open() makes
 * backend->ports[0..n_ports) by twx_backend_add_port() and fills backend->priv (zeroed, priv_size
 * bytes). On failure open() undoes what it did except ports, which the net removes. close() ends it; the
 * ports are still there, unpaired. Strings of the options live until close() has returned.
 * The error object that open() gets is never null.
 */
struct twx_backend_type {
	const char *name; /* "tap" */
	const char *help; /* one line */
	const struct twx_opt_desc *options;
	const struct twx_port_ops *port_ops;
	size_t priv_size;
	const char *only_bus; /* the kind of NIC that it can serve (twx_nic_model.bus); null: any */
	bool auto_id; /* id= may be left out: open() fills backend->id before its first port */
	int (*open)(struct twx_backend *b, const struct twx_opts *opts, struct twx_error *e);
	void (*close)(struct twx_backend *b);
	/* Optional: how the guest is to be configured, in a zeroed @out. */
	void (*guest)(const struct twx_backend *b, struct twx_guest_config *out);
};

#define TWX_MAX_QUEUES 1024
struct twx_backend {
	const struct twx_backend_type *type;
	struct twx_net *net;
	struct twx_loop *loop;
	char id[64];
	struct twx_port **ports;
	uint32_t n_ports;
	void *priv;
	struct twx_backend *next;
	uint32_t n_workers; /* threads that carry its ports, which go round; 0: the net's loop does */
};
TWX_EXPORT struct twx_port *twx_backend_add_port(struct twx_backend *b, struct twx_error *e);

/* The built-in types, null-terminated, and those that an embedder adds to one net. */
TWX_EXPORT const struct twx_backend_type *const *twx_backend_types(void);
TWX_EXPORT int twx_net_add_backend_type(struct twx_net *net, const struct twx_backend_type *type);
/* @text as behind QEMU's -netdev: "user,id=n0,hostfwd=tcp::5555-:22", or JSON. */
TWX_EXPORT int twx_backend_new(struct twx_backend **out, struct twx_net *net, const char *text,
			       struct twx_error *e);
TWX_EXPORT void twx_backend_free(struct twx_backend *b);
TWX_EXPORT struct twx_backend *twx_backend_find(struct twx_net *net, const char *id);

/*
 * A NIC model, constant, under the same rules as backends. `bus` names the kind of host that can carry
 * it; bus_ops is that bus's table (struct virtio_dev_ops for "virtio").
 */
struct twx_nic_model {
	const char *name; /* "virtio-net" */
	const char *help;
	const char *bus; /* "virtio", "pci" */
	const struct twx_opt_desc *options;
	const struct twx_port_ops *port_ops;
	size_t priv_size;
	int (*open)(struct twx_nic *nic, const struct twx_opts *opts, struct twx_error *e);
	void (*close)(struct twx_nic *nic);
};

struct twx_host;
struct twx_nic {
	const struct twx_nic_model *model;
	struct twx_net *net;
	struct twx_loop *loop;
	char id[64]; /* as given, or "<model>.<n>" */
	uint8_t mac[6]; /* as configured; 52:54:00:12:34:56 and up when not given */
	bool mac_given;
	struct twx_port **ports;
	uint32_t n_ports;
	struct twx_backend *backend; /* of netdev=, or null */
	struct twx_host *host;	     /* of export=, or null */
	void *priv;
	struct twx_nic *next;
	bool placed; /* its host is one that `places` */
};
TWX_EXPORT struct twx_port *twx_nic_add_port(struct twx_nic *nic, struct twx_error *e);

TWX_EXPORT const struct twx_nic_model *const *twx_nic_models(void);
TWX_EXPORT int twx_net_add_nic_model(struct twx_net *net, const struct twx_nic_model *model);
/*
 * @text as behind QEMU's -device: "virtio-net,netdev=n0,mac=...", or JSON. `netdev` pairs it with a
 * backend that no other NIC has; `export=HOST:ADDRESS` puts it behind a host (below) with that host's
 * options in the same list ("export=vhost-user:/run/x,server=on").
 */
TWX_EXPORT int twx_nic_new(struct twx_nic **out, struct twx_net *net, const char *text, struct twx_error *e);
TWX_EXPORT void twx_nic_free(struct twx_nic *nic);
TWX_EXPORT struct twx_nic *twx_nic_find(struct twx_net *net, const char *id);

/* A kind of NIC that a host carries, and the options that carrying it adds to -device; null: none. */
struct twx_host_bus {
	const char *bus;
	const struct twx_opt_desc *options;
};

/* The world a NIC lives in, constant. */
struct twx_host_type {
	const char *name; /* "vhost-user" */
	const char *help;
	const struct twx_host_bus *buses; /* ends with a null bus */
	const struct twx_opt_desc *options; /* for every NIC */
	size_t priv_size;
	int (*open)(struct twx_host *h, const char *address, const struct twx_opts *opts, struct twx_error *e);
	void (*close)(struct twx_host *h);
	/* Optional: 0 if `set_link` may change the NIC's link; else -EPERM with a sentence naming the owner. */
	int (*may_set_link)(struct twx_host *h, struct twx_error *e);
	/* It obeys addr= and multifunction=, which a NIC elsewhere refuses as its VMM's. */
	bool places;
	bool threads; /* its NICs' queue pairs may be carried by several threads */
};
struct twx_host {
	const struct twx_host_type *type;
	struct twx_net *net;
	struct twx_loop *loop;
	struct twx_nic *nic;
	void *opaque; /* of twx_net_set_host(); null for a host of export= */
	void *priv;
};
TWX_EXPORT const struct twx_host_type *const *twx_host_types(void);
/*
 * The world of NICs that have no export=: a machine in this process, for instance. It must outlive
 * them; null takes it away, and NICs without export= stand alone again. open() gets the address "".
 */
TWX_EXPORT void twx_net_set_host(struct twx_net *net, const struct twx_host_type *type, void *opaque);
/* How @type carries NICs of @bus; null if it does not. */
TWX_EXPORT const struct twx_host_bus *twx_host_bus(const struct twx_host_type *type, const char *bus);

/*
 * `-chardev socket,id=c0,path=/tmp/x`: a stream of bytes for a backend, a filter or a serial port,
 * which name it by its id; or, for vhost-user, where to connect. Freed with the net.
 */
struct twx_chardev;
struct twx_chardev_type;
TWX_EXPORT int twx_chardev_new(struct twx_chardev **out, struct twx_net *net, const char *text,
			       struct twx_error *e);
TWX_EXPORT const struct twx_chardev_type *const *twx_chardev_types(void);
TWX_EXPORT const char *twx_chardev_type_name(const struct twx_chardev_type *type);
TWX_EXPORT const char *twx_chardev_type_help(const struct twx_chardev_type *type);
TWX_EXPORT const struct twx_opt_desc *twx_chardev_type_options(const struct twx_chardev_type *type);

/* `-object filter-dump,id=f0,netdev=n0,file=PATH`. */
struct twx_filter;
TWX_EXPORT int twx_filter_new(struct twx_filter **out, struct twx_net *net, const char *text,
			      struct twx_error *e);
TWX_EXPORT void twx_filter_free(struct twx_filter *f);
/* Help: names with their lines, null-terminated. */
struct twx_filter_type;
TWX_EXPORT const struct twx_filter_type *const *twx_filter_types(void);
TWX_EXPORT const char *twx_filter_type_name(const struct twx_filter_type *type);
TWX_EXPORT const char *twx_filter_type_help(const struct twx_filter_type *type);
TWX_EXPORT const struct twx_opt_desc *twx_filter_type_options(const struct twx_filter_type *type);

/* QEMU's start-up warnings (peerless ports, hubs without host network) through the log. */
TWX_EXPORT void twx_net_check(struct twx_net *net);

/* set_link: by NIC id, backend id or automatic name; every queue. -ENODEV: "Device 'zz' not found". */
TWX_EXPORT int twx_net_set_link(struct twx_net *net, const char *name, bool up, struct twx_error *e);
/* A RARP broadcast for @mac out of @port's peer, as QEMU's announce. */
TWX_EXPORT void twx_port_announce(struct twx_port *port, const uint8_t mac[6]);
/* Ports in creation order, and QEMU's `info network` as malloc()ed text with "\n" line ends. */
TWX_EXPORT struct twx_port *twx_net_ports(struct twx_net *net);
TWX_EXPORT char *twx_net_info(struct twx_net *net);

#endif
