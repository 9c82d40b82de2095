/* SPDX-License-Identifier: BSD-3-Clause */
/* Backends and NICs that come and go while the program runs: netdev_add, device_add and their
 * opposites, with QEMU's answers. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/commands.h"

static int not_found(struct twx_error *e, const char *id)
{
	return twx_error_set(e, ENODEV, "Device '%s' not found", id);
}

int control_netdev_add(struct twx_net *net, const char *text, const char *id, struct twx_error *e)
{
	struct twx_backend *backend;

	if (id && twx_backend_find(net, id))
		return twx_error_set(e, EEXIST, "Duplicate ID '%s'", id);
	return twx_backend_new(&backend, net, text, e);
}

/* A port that -net made: it has the name of its place. */
static bool is_net_port(const struct twx_backend *b)
{
	int hub, end = 0;
	unsigned int port;

	return !strcmp(b->type->name, "hubport") &&
	       sscanf(b->id, "hub%dport%u%n", &hub, &port, &end) == 2 && !b->id[end];
}

int control_netdev_del(struct twx_net *net, const char *id, struct twx_error *e)
{
	struct twx_backend *b = twx_backend_find(net, id);

	if (!b)
		return not_found(e, id);
	if (is_net_port(b))
		return twx_error_set(e, EINVAL, "Device '%s' is not a netdev", id);
	twx_backend_free(b);
	return 0;
}

int control_device_add(struct twx_net *net, struct control_machine *vm, const char *text,
		       const char *id, struct twx_error *e)
{
	int ret = vm ? twx_machine_device(vm->m, text, e) : -ENODEV;
	struct twx_nic *nic;

	if (ret != -ENODEV)
		return ret;
	if (id && twx_nic_find(net, id))
		return twx_error_set(e, EEXIST, "Duplicate device ID '%s'", id);
	return twx_nic_new(&nic, net, text, e);
}

/* The guest lets go when it wants; whoever waits for that is told by an event. One that has not
 * answered may be asked again: the bus says when. */
static int ask_guest(struct control_machine *vm, struct twx_nic *nic, struct twx_error *e)
{
	char(*leaving)[64];
	unsigned int i;
	int ret;

	for (i = 0; i < vm->n_leaving; i++)
		if (!strcmp(vm->leaving[i], nic->id))
			return twx_machine_unplug(vm->m, nic, e);
	leaving = realloc(vm->leaving, (vm->n_leaving + 1) * sizeof(*leaving));
	if (!leaving)
		return twx_error_set(e, ENOMEM, "out of memory");
	vm->leaving = leaving;
	memcpy(leaving[vm->n_leaving], nic->id, sizeof(*leaving));
	/* The guest may be done before this returns. */
	vm->n_leaving++;
	ret = twx_machine_unplug(vm->m, nic, e);
	if (ret && vm->n_leaving)
		vm->n_leaving--;
	return ret;
}

int control_device_del(struct twx_net *net, struct control_machine *vm, const char *id,
		       struct twx_error *e)
{
	struct twx_nic *nic = twx_nic_find(net, id);

	if (!nic)
		return not_found(e, id);
	if (vm && nic->host && nic->host->opaque)
		return ask_guest(vm, nic, e);
	twx_nic_free(nic);
	return 0;
}

/* QMP. */

/* The arguments as the option list that they are; null without memory. */
static char *args_text(const struct qmp_call *call)
{
	return json_dumps(call->args, JSON_COMPACT);
}

static enum qmp_status ended(struct qmp_call *call, int err)
{
	if (!err)
		return QMP_DONE;
	call->error_class =
		err == -ENODEV && strstr(call->e.what, "not found") ? "DeviceNotFound" : NULL;
	return QMP_FAILED;
}

enum qmp_status qmp_netdev_add(struct qmp_call *call)
{
	char *text = args_text(call);
	int err = text ? control_netdev_add(call->net, text, qmp_str(call, "id"), &call->e)
		       : twx_error_set(&call->e, ENOMEM, "out of memory");

	free(text);
	return err ? QMP_FAILED : QMP_DONE;
}

enum qmp_status qmp_netdev_del(struct qmp_call *call)
{
	return ended(call, control_netdev_del(call->net, qmp_str(call, "id"), &call->e));
}

enum qmp_status qmp_device_add(struct qmp_call *call)
{
	char *text = args_text(call);
	int err =
		text ? control_device_add(call->net, call->vm, text, qmp_str(call, "id"), &call->e)
		     : twx_error_set(&call->e, ENOMEM, "out of memory");

	free(text);
	return err ? QMP_FAILED : QMP_DONE;
}

enum qmp_status qmp_device_del(struct qmp_call *call)
{
	return ended(call, control_device_del(call->net, call->vm, qmp_str(call, "id"), &call->e));
}
