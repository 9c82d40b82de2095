/* SPDX-License-Identifier: BSD-3-Clause */
/* What control sockets know of the machine in this process, if there is one. */
#ifndef CONTROL_MACHINE_H
#define CONTROL_MACHINE_H

#include <twinax/machine.h>

enum machine_state {
	MACHINE_PRELAUNCH, /* made, not started */
	MACHINE_RUNNING,
	MACHINE_PAUSED,
	MACHINE_SHUTDOWN, /* switched off by the guest */
	MACHINE_PANICKED, /* a CPU could not go on */
};

/* Made by whoever owns the machine; servers borrow it (qmp_servers_set_machine()). */
struct control_machine {
	struct twx_machine *m;
	struct twx_net *net;
	const char *name; /* null: it has none */
	const char *load; /* the start goes on from this file; or null */
	enum machine_state state;
	bool resetting;	     /* by a client's command; else a reset is the guest's own */
	char (*leaving)[64]; /* ids of NICs that the guest was asked to let go */
	unsigned int n_leaving;
};

/* "running", as query-status says it. */
const char *machine_state_name(const struct control_machine *vm);
/* Starts, loads or resumes, as it stands. */
int machine_cont(struct control_machine *vm, struct twx_error *e);

struct qmp_server;
/* To be called with every event of the machine, before anything else: keeps the state and tells the
 * clients. */
void machine_note_event(struct control_machine *vm, struct qmp_server *servers,
			enum twx_machine_event ev);
void machine_forget(struct control_machine *vm); /* in the end */

#endif
