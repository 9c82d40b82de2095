/* SPDX-License-Identifier: BSD-3-Clause */
/* A network made from option lists, with its loop: what the commands share. */
#ifndef CLI_SESSION_H
#define CLI_SESSION_H

#include <stdbool.h>
#include <stddef.h>

#include <twinax/twinax.h>

/* In the order in which QEMU makes them, whatever the order of the options. */
enum session_kind {
	SESSION_CHARDEV,
	SESSION_NETDEV,
	SESSION_OBJECT,
	SESSION_DEVICE,
	SESSION_QMP,
	SESSION_N_KINDS
};
extern const char *const session_option[SESSION_N_KINDS];

struct session_item {
	enum session_kind kind;
	char *text;
};

struct session {
	const char *command; /* "serve", for messages */
	bool quiet;
	bool shared; /* other threads enter the loop */
	enum twx_log_level log_level;
	const char *state_prefix; /* of struct twx_net_config; or null */
	struct session_item *items;
	size_t n_items;
	struct twx_loop *loop;
	struct twx_net *net;
	struct twx_machine *machine; /* that NICs without export= are in; or null */
	struct qmp_server *qmp;	     /* list of all */
};

/* @text is copied. */
void session_add(struct session *s, enum session_kind kind, const char *text);
/* The loop, with SIGPIPE ignored and SIGBUS caught; one session in a process. 0, or 1 after an
 * error message. */
int session_open(struct session *s);
/* Everything that was added, in order; sockets listen from here on. 0, or 1 after an error message.
 */
int session_make(struct session *s);
/* The same in parts: only kinds @first to @last; and the warnings, which come last. */
int session_make_kinds(struct session *s, enum session_kind first, enum session_kind last);
void session_check(struct session *s);
/* Takes back what was made; harmless after a failure. Items are freed. */
void session_close(struct session *s);

/*
 * A private folder for sockets: 0700, below XDG_RUNTIME_DIR, or /run for root, or /tmp. It belongs
 * to this process until the process ends; one that a killed process left behind is taken over.
 */
struct session_dir {
	char *path;
	int fd; /* locked; -1: there is none */
};
int session_dir_make(struct session_dir *d, struct twx_error *e);
/* With the files in it. */
void session_dir_remove(struct session_dir *d);

#endif
