/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands about the machine in this process: its state, its power, its saved state. */
#include "control/machine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/commands.h"
#include "control/qmp.h"

static const char *const state_names[] = {
	[MACHINE_PRELAUNCH] = "prelaunch",     [MACHINE_RUNNING] = "running",
	[MACHINE_PAUSED] = "paused",	       [MACHINE_SHUTDOWN] = "shutdown",
	[MACHINE_PANICKED] = "internal-error",
};

const char *machine_state_name(const struct control_machine *vm)
{
	return state_names[vm->state];
}

int machine_cont(struct control_machine *vm, struct twx_error *e)
{
	int ret;

	switch (vm->state) {
	case MACHINE_RUNNING:
		return 0;
	case MACHINE_PAUSED:
		return twx_machine_resume(vm->m, e);
	case MACHINE_PRELAUNCH:
		ret = vm->load ? twx_machine_load(vm->m, vm->load, e) : twx_machine_start(vm->m, e);
		if (!ret)
			vm->state = twx_machine_running(vm->m) ? MACHINE_RUNNING : MACHINE_PAUSED;
		return ret;
	default:
		twx_error_set(e, EPERM, "Resetting the Virtual Machine is required");
		return twx_error_hint(e, "system_reset, then cont");
	}
}

static json_t *event_data(const struct control_machine *vm, enum twx_machine_event ev)
{
	if (ev == TWX_MACHINE_RESET || ev == TWX_MACHINE_SHUTDOWN)
		return json_pack("{sbss}", "guest", !vm->resetting, "reason",
				 vm->resetting		   ? "host-qmp-system-reset"
				 : ev == TWX_MACHINE_RESET ? "guest-reset"
							   : "guest-shutdown");
	if (ev == TWX_MACHINE_PANIC)
		return json_pack("{ss}", "action", "pause");
	return NULL;
}

/* NICs that have left, of those that were asked to. */
static void note_unplugged(struct control_machine *vm, struct qmp_server *servers)
{
	unsigned int i = 0;

	while (i < vm->n_leaving) {
		if (twx_nic_find(vm->net, vm->leaving[i])) {
			i++;
			continue;
		}
		qmp_servers_event(
			servers, "DEVICE_DELETED",
			json_pack("{ssso}", "device", vm->leaving[i], "path",
				  json_sprintf("/machine/peripheral/%s", vm->leaving[i])));
		memmove(vm->leaving[i], vm->leaving[i + 1],
			(--vm->n_leaving - i) * sizeof(*vm->leaving));
	}
}

void machine_note_event(struct control_machine *vm, struct qmp_server *servers,
			enum twx_machine_event ev)
{
	static const struct {
		const char *name;
		enum machine_state state;
	} events[] = {
		[TWX_MACHINE_RESET] = { "RESET", MACHINE_RUNNING },
		[TWX_MACHINE_SHUTDOWN] = { "SHUTDOWN", MACHINE_SHUTDOWN },
		[TWX_MACHINE_PANIC] = { "GUEST_PANICKED", MACHINE_PANICKED },
		[TWX_MACHINE_STOP] = { "STOP", MACHINE_PAUSED },
		[TWX_MACHINE_RESUME] = { "RESUME", MACHINE_RUNNING },
	};

	if (ev == TWX_MACHINE_UNPLUGGED) {
		note_unplugged(vm, servers);
		return;
	}
	/* A reset leaves a paused machine paused; one that had ended can go on again. */
	if (ev != TWX_MACHINE_RESET)
		vm->state = events[ev].state;
	else if (vm->state == MACHINE_SHUTDOWN || vm->state == MACHINE_PANICKED)
		vm->state = MACHINE_PAUSED;
	qmp_servers_event(servers, events[ev].name, event_data(vm, ev));
}

void machine_forget(struct control_machine *vm)
{
	free(vm->leaving);
	vm->leaving = NULL;
	vm->n_leaving = 0;
}

/* The commands. */

static enum qmp_status machine_needed(struct qmp_call *call)
{
	return call->vm ? QMP_DONE
			: qmp_fail(call, NULL,
				   "there is no machine in this process, only its network");
}

static enum qmp_status ended(struct qmp_call *call, int err)
{
	return err ? QMP_FAILED : QMP_DONE;
}

enum qmp_status qmp_query_status(struct qmp_call *call)
{
	const char *state = call->vm ? machine_state_name(call->vm) : "running";

	call->ret = json_pack("{sbsbss}", "running", !strcmp(state, "running"), "singlestep", 0,
			      "status", state);
	return QMP_DONE;
}

enum qmp_status qmp_query_name(struct qmp_call *call)
{
	call->ret = json_object();
	if (call->vm && call->vm->name)
		json_object_set_new(call->ret, "name", qmp_text(call->vm->name));
	return QMP_DONE;
}

enum qmp_status qmp_stop(struct qmp_call *call)
{
	if (machine_needed(call) != QMP_DONE)
		return QMP_FAILED;
	return ended(call, twx_machine_pause(call->vm->m, &call->e));
}

enum qmp_status qmp_cont(struct qmp_call *call)
{
	if (machine_needed(call) != QMP_DONE)
		return QMP_FAILED;
	return ended(call, machine_cont(call->vm, &call->e));
}

enum qmp_status qmp_system_reset(struct qmp_call *call)
{
	int err;

	if (machine_needed(call) != QMP_DONE)
		return QMP_FAILED;
	/* What was never started is as after a reset. */
	if (call->vm->state == MACHINE_PRELAUNCH)
		return QMP_DONE;
	call->vm->resetting = true;
	err = twx_machine_reset(call->vm->m, &call->e);
	call->vm->resetting = false;
	return ended(call, err);
}

enum qmp_status qmp_system_powerdown(struct qmp_call *call)
{
	if (machine_needed(call) != QMP_DONE)
		return QMP_FAILED;
	if (call->vm->state == MACHINE_RUNNING)
		twx_machine_power_button(call->vm->m);
	return QMP_DONE;
}

enum qmp_status qmp_x_save(struct qmp_call *call)
{
	if (machine_needed(call) != QMP_DONE)
		return QMP_FAILED;
	if (call->vm->state == MACHINE_PRELAUNCH)
		return qmp_fail(call, NULL,
				"the machine has not been started: there is nothing to save");
	return ended(call, twx_machine_save(call->vm->m, qmp_str(call, "path"), &call->e));
}

enum qmp_status qmp_x_load(struct qmp_call *call)
{
	struct control_machine *vm = call->vm;
	int err;

	if (machine_needed(call) != QMP_DONE)
		return QMP_FAILED;
	if (vm->state != MACHINE_PRELAUNCH)
		return qmp_fail(call, NULL,
				"the machine has been started: a file is loaded before that, with "
				"-S or by -loadvm");
	vm->load = qmp_str(call, "path");
	err = machine_cont(vm, &call->e);
	vm->load = NULL;
	return ended(call, err);
}
