/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of `twinax vm`, read: QEMU's options, as far as our machine has what they say.
 */
#ifndef CLI_VM_ARGS_H
#define CLI_VM_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <twinax/error.h>

#include "cli/qemu_plan.h"
#include "cli/session.h"

enum vm_accel { VM_KVM, VM_QEMU, VM_QTEST };
#define VM_MAX_ACCELS 4

enum vm_serial_kind { VM_SERIAL_NONE, VM_SERIAL_STDIO, VM_SERIAL_CHARDEV };
struct vm_serial {
	enum vm_serial_kind kind;
	const char *text; /* as given; null: the default */
	const char *id;	  /* of the chardev, which is an item where the option made it */
};
#define VM_SERIALS 4

enum vm_monitor { VM_MONITOR_NONE, VM_MONITOR_STDIO, VM_MONITOR_SOCKET };

/* Where `help` was asked for, reading ends and nothing else is filled in. */
enum vm_ask { VM_ASK_NOTHING, VM_ASK_USAGE, VM_ASK_VERSION, VM_ASK_OPTION };

struct vm_args {
	struct qemu_args args;
	struct qemu_plan plan; /* the networks among them */
	enum vm_ask ask;
	const struct qemu_token *ask_token;
	const char *kernel, *initrd, *append;
	const char *name, *process; /* -name */
	const char *pidfile, *load, *qtest, *qtest_log;
	bool hold, no_reboot, no_shutdown, daemonize, nodefaults, nographic;
	const char *machine; /* "pc" or a version of it; null: not said */
	bool root_ports;     /* there are */
	uint64_t memory;     /* bytes; 0: the default */
	unsigned int n_cpus;
	enum vm_accel accels[VM_MAX_ACCELS]; /* in the order in which they are tried */
	unsigned int n_accels;		     /* 0: whatever works */
	const char *binary;		     /* -accel qemu,binary= */
	bool tcg;			     /* QEMU without KVM, asked for */
	struct vm_serial serial[VM_SERIALS];
	unsigned int n_serials;
	bool stdio_taken;
	int escape; /* what Ctrl-A is otherwise */
	enum vm_monitor monitor;
	const char *monitor_socket; /* "unix:PATH..." */
	struct session_item *items; /* in the order in which they are made */
	size_t n_items;
};

/*
 * @argv[0] is the command's name; the words are borrowed. 0, or -errno with a sentence: what is
 * malformed, and what only QEMU has. vm_args_free() in both cases.
 */
int vm_args_parse(struct vm_args *a, int argc, char *const *argv, struct twx_error *e);
void vm_args_free(struct vm_args *a);
void vm_args_add(struct vm_args *a, enum session_kind kind, char *text); /* takes @text */

/* A help's table: what each option is for, "-option VALUE" in front. */
void vm_args_usage(void);

/* vm_options.c: values with keys of their own. Each 0 or -errno. */
int vm_take_machine(struct vm_args *a, const char *value, struct twx_error *e);
int vm_take_accel(struct vm_args *a, const char *value, struct twx_error *e);
int vm_take_memory(struct vm_args *a, const char *value, struct twx_error *e);
int vm_take_smp(struct vm_args *a, const char *value, struct twx_error *e);
int vm_take_name(struct vm_args *a, const char *value, struct twx_error *e);
int vm_take_rtc(struct vm_args *a, const char *value, struct twx_error *e);
int vm_take_incoming(struct vm_args *a, const char *value, struct twx_error *e);
int vm_take_serial(struct vm_args *a, const char *value, struct twx_error *e);
int vm_take_monitor(struct vm_args *a, const char *value, struct twx_error *e);
int vm_take_mon(struct vm_args *a, const char *value, struct twx_error *e);
int vm_take_echr(struct vm_args *a, const char *value, struct twx_error *e);

/* vm_net.c: netdevs, hub ports, filters and NICs become items. */
int vm_take_networks(struct vm_args *a, struct twx_error *e);

/* vm_qemu.c: the command line of a QEMU that is this machine; argv ends with a null. */
void vm_qemu_words(const struct vm_args *a, const char *binary, bool kvm, struct qemu_launch *out);

#endif
