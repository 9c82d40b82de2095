/* SPDX-License-Identifier: BSD-3-Clause */
/* What of a QEMU command line twinax serves, and the command line that QEMU gets instead. */
#ifndef CLI_QEMU_PLAN_H
#define CLI_QEMU_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <twinax/twinax.h>

#include "cli/kv.h"
#include "cli/qemu_args.h"
#include "cli/session.h"

/* What was found out about this QEMU and this machine. */
struct qemu_facts {
	int major, minor; /* 0: not known */
	bool vfio_user;	  /* it has vfio-user-pci */
	bool kvm;	  /* /dev/kvm can be opened */
};

enum qemu_origin { FROM_NETDEV, FROM_DEVICE, FROM_NIC, FROM_NET };

struct qemu_netdev {
	const struct qemu_token *token; /* null: QEMU's default network */
	enum qemu_origin from;
	struct kv *kv; /* what its -netdev would have */
	bool on_hub;   /* -net without more */
	int hub;       /* which: 0, but for vlan= */
	bool taken;
	const char *left_out; /* a key that has no meaning any more; or null */
};

struct qemu_nic {
	const struct qemu_token *token; /* null: QEMU's default NIC */
	enum qemu_origin from;
	struct kv *kv; /* what its -device would have */
	bool on_hub;
	int hub;
	char mac[18];
	bool mac_given;
	const char *ours; /* the model that serves it; null: none */
	bool pci;	  /* by vfio-user; else by vhost-user */
	bool taken;
	char *why; /* where it is not */
};

struct qemu_filter {
	const struct qemu_token *token;
	struct kv *kv;
	bool taken;
};

/* A -set that was applied. */
struct qemu_set {
	const struct qemu_token *token;
	const bool *taken; /* of what it was applied to */
};

/* -net dump, which QEMU had once. */
struct qemu_dump {
	const struct qemu_token *token;
	struct kv *kv; /* what its -object filter-dump would have */
	int hub;
};

struct qemu_hub {
	int id;
	size_t node;
};

struct qemu_plan {
	const struct qemu_args *args;
	struct qemu_facts facts;
	bool own; /* our machine: e1000 is its model, and -net has vlan=, name= and dump */
	struct qemu_netdev *netdevs;
	struct qemu_nic *nics; /* in the order in which QEMU makes them */
	struct qemu_filter *filters;
	struct qemu_dump *dumps;
	struct qemu_set *sets;
	size_t n_netdevs, n_nics, n_filters, n_dumps, n_sets;
	bool readconfig; /* a file may define more */
	size_t n_taken;	 /* NICs */
	char **notes;	 /* sentences about what stays with QEMU */
	size_t n_notes;
	bool intx_noted;
	/* Who is connected with whom: netdevs, then NICs, then hubs. */
	size_t *parent;
	const char **group_why; /* by root */
	struct qemu_hub *hubs;
	size_t n_nodes, n_hubs;
	char **strings; /* that others point into */
	size_t n_strings;
};

/* Guest memory that front ends can share. */
struct qemu_memory {
	char *object;		       /* -object to add, or null: it is shared already */
	char *backend;		       /* its id, for -machine memory-backend= */
	const struct qemu_token *drop; /* -mem-path, which the object replaces; or null */
};

struct qemu_launch {
	char **argv; /* ends with a null */
	size_t argc;
	struct session_item *items; /* what twinax serves */
	size_t n_items;
};

/*
 * Decides what is taken. 0 or -errno: what QEMU would refuse. qemu_plan_free() in both cases.
 * @args is borrowed and outlives the plan.
 */
int qemu_plan_make(struct qemu_plan *plan, const struct qemu_args *args,
		   const struct qemu_facts *facts, struct twx_error *e);
void qemu_plan_free(struct qemu_plan *plan);

/* The new command line and our options, with sockets in folder @dir. Only if something is taken. */
int qemu_launch_make(struct qemu_launch *l, struct qemu_plan *plan, const char *dir,
		     struct twx_error *e);
void qemu_launch_add(struct qemu_launch *l, const char *word); /* a copy, behind QEMU's arguments */
void qemu_launch_free(struct qemu_launch *l);

/* Between the files of the plan. */

/* qemu_collect.c: netdevs, NICs and filters as the command line has them. */
int qemu_collect(struct qemu_plan *plan, struct twx_error *e);
struct qemu_netdev *qemu_find_netdev(const struct qemu_plan *plan, const char *id);
/* An id that nothing on the command line has: @base with a number. Lives with the plan. */
const char *qemu_fresh_id(struct qemu_plan *plan, const char *base);
char *qemu_keep(struct qemu_plan *plan, char *string); /* takes it, for as long as the plan */
__attribute__((format(printf, 2, 3))) void qemu_note(struct qemu_plan *plan, const char *fmt, ...);

/* qemu_machine.c: what the other options say of the machine. */
const char *qemu_default_model(const struct qemu_plan *plan); /* null: not known */
bool qemu_has_default_net(const struct qemu_args *args);
/* A size as -m has it: MiB without a suffix. 0: none. */
uint64_t qemu_read_size(const char *text);
bool qemu_is_tcg(const struct qemu_args *args, const struct qemu_facts *facts);
int qemu_memory_plan(struct qemu_memory *m, struct qemu_plan *plan, struct twx_error *e);
void qemu_memory_free(struct qemu_memory *m);

/* qemu_device.c: one NIC's properties, parted between QEMU's device and ours. */
int qemu_device_split(struct qemu_plan *plan, const struct qemu_nic *nic, struct kv **vmm,
		      struct kv **ours, struct twx_error *e);

#endif
