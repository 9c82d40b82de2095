/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of QMP commands, the check of their arguments, and the short ones among them. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/commands.h"

enum qmp_status qmp_fail(struct qmp_call *call, const char *error_class, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	twx_error_set(&call->e, EINVAL, "%s", text);
	call->error_class = error_class;
	return QMP_FAILED;
}

json_t *qmp_text(const char *text)
{
	json_t *j = json_string(text);
	char *copy, *p;

	if (j)
		return j;
	copy = strdup(text);
	for (p = copy; p && *p; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	j = json_string(copy ? copy : "");
	free(copy);
	return j;
}

const char *qmp_str(const struct qmp_call *call, const char *name)
{
	return json_string_value(json_object_get(call->args, name));
}

int64_t qmp_int(const struct qmp_call *call, const char *name, int64_t def)
{
	const json_t *v = json_object_get(call->args, name);

	return v ? json_integer_value(v) : def;
}

static bool is_str(const json_t *v)
{
	return json_is_string(v);
}

static bool is_int(const json_t *v)
{
	return json_is_integer(v);
}

static bool is_bool(const json_t *v)
{
	return json_is_boolean(v);
}

static const struct {
	const char *word;
	bool (*is)(const json_t *v);
} arg_types[] = {
	[QMP_STR] = { "string", is_str },
	[QMP_INT] = { "integer", is_int },
	[QMP_BOOL] = { "boolean", is_bool },
};

static const struct qmp_arg *find_arg(const struct qmp_command *cmd, const char *name)
{
	int i;

	for (i = 0; i < QMP_MAX_ARGS && cmd->args[i].name; i++)
		if (!strcmp(cmd->args[i].name, name))
			return &cmd->args[i];
	return NULL;
}

enum qmp_status qmp_check_args(const struct qmp_command *cmd, struct qmp_call *call)
{
	const struct qmp_arg *arg;
	const char *key;
	json_t *v;
	int i;

	for (i = 0; i < QMP_MAX_ARGS && cmd->args[i].name; i++) {
		arg = &cmd->args[i];
		v = json_object_get(call->args, arg->name);
		if (!v && !arg->optional)
			return qmp_fail(call, NULL, "Parameter '%s' is missing", arg->name);
		if (v && !arg_types[arg->type].is(v))
			return qmp_fail(call, NULL, "Invalid parameter type for '%s', expected: %s",
					arg->name, arg_types[arg->type].word);
	}
	json_object_foreach ((json_t *)call->args, key, v)
		if (!cmd->open && !find_arg(cmd, key))
			return qmp_fail(call, NULL, "Parameter '%s' is unexpected", key);
	return QMP_DONE;
}

const struct qmp_command *qmp_command_find(const char *name)
{
	const struct qmp_command *cmd;

	for (cmd = qmp_commands; cmd->name; cmd++)
		if (!strcmp(cmd->name, name))
			return cmd;
	return NULL;
}

static enum qmp_status cmd_capabilities(struct qmp_call *call)
{
	return QMP_DONE;
}

static enum qmp_status cmd_set_link(struct qmp_call *call)
{
	bool up = json_is_true(json_object_get(call->args, "up"));
	int err = twx_net_set_link(call->net, qmp_str(call, "name"), up, &call->e);

	if (!err)
		return QMP_DONE;
	call->error_class = err == -ENODEV ? "DeviceNotFound" : NULL;
	return QMP_FAILED;
}

static enum qmp_status cmd_version(struct qmp_call *call)
{
	call->ret = qmp_version_object();
	return QMP_DONE;
}

static enum qmp_status cmd_commands(struct qmp_call *call)
{
	const struct qmp_command *cmd;

	call->ret = json_array();
	for (cmd = qmp_commands; cmd->name; cmd++)
		json_array_append_new(call->ret, json_pack("{ss}", "name", cmd->name));
	return QMP_DONE;
}

static enum qmp_status cmd_quit(struct qmp_call *call)
{
	qmp_session_quit(call->session);
	return QMP_DONE;
}

/* The human monitor ends its lines with CR LF when it speaks through QMP, as QEMU's does. */
static char *crlf(const char *text)
{
	size_t n = strlen(text);
	const char *p;
	char *out, *o;

	for (p = text; *p; p++)
		n += *p == '\n';
	out = malloc(n + 1);
	if (!out)
		return NULL;
	for (p = text, o = out; *p; p++) {
		if (*p == '\n')
			*o++ = '\r';
		*o++ = *p;
	}
	*o = 0;
	return out;
}

static enum qmp_status cmd_hmp(struct qmp_call *call)
{
	bool quit = false;
	char *text = hmp_run(call->net, call->vm, qmp_str(call, "command-line"), &quit);
	char *wire = text ? crlf(text) : NULL;

	free(text);
	if (!wire)
		return qmp_fail(call, NULL, "out of memory");
	call->ret = qmp_text(wire);
	free(wire);
	if (quit)
		qmp_session_quit(call->session);
	return QMP_DONE;
}

json_t *qmp_version_object(void)
{
	int major = 0, minor = 0, micro = 0;

	sscanf(twx_version(), "%d.%d.%d", &major, &minor, &micro);
	return json_pack("{s{sisisi}ss}", "qemu", "micro", micro, "minor", minor, "major", major,
			 "package", "twinax");
}

/* clang-format off */
const struct qmp_command qmp_commands[] = {
	{ "qmp_capabilities", "end the negotiation; the first command of a session",
	  .run = cmd_capabilities },
	{ "query-version", "version of the program", .run = cmd_version },
	{ "query-commands", "names of all commands", .run = cmd_commands },
	{ "query-status", "whether the machine, or the network, runs", .run = qmp_query_status },
	{ "query-name", "the name that the machine was given", .run = qmp_query_name },
	{ "query-stats", "counters of every port", .run = qmp_query_stats },
	{ "set_link", "cut or mend the cable at a NIC or backend",
	  { { "name", QMP_STR, false, "id of a NIC or backend" },
	    { "up", QMP_BOOL, false, "true to mend it" } },
	  .run = cmd_set_link },
	{ "netdev_add", "add a backend",
	  { { "type", QMP_STR, false, "its type, and its options beside it" },
	    { "id", QMP_STR, false, "its name" } },
	  .open = true, .run = qmp_netdev_add },
	{ "netdev_del", "take a backend away",
	  { { "id", QMP_STR, false, "its name" } },
	  .run = qmp_netdev_del },
	{ "device_add", "add a NIC, to a running machine behind a root port",
	  { { "driver", QMP_STR, false, "its model, and its options beside it" },
	    { "id", QMP_STR, true, "its name" } },
	  .open = true, .run = qmp_device_add },
	{ "device_del", "take a NIC away; a running machine's guest is asked, DEVICE_DELETED tells the end",
	  { { "id", QMP_STR, false, "its name" } },
	  .run = qmp_device_del },
	{ "hostfwd_add", "forward a port of the host, or a unix socket, to the guest of a user network",
	  { { "rule", QMP_STR, false, "as hostfwd= has it: tcp::8080-:80" },
	    { "netdev", QMP_STR, true, "id of the user network (default: the first)" } },
	  .run = qmp_hostfwd_add },
	{ "hostfwd_remove", "take such a forward away; its open connections stay",
	  { { "rule", QMP_STR, false, "the host's side of it: tcp::8080" },
	    { "netdev", QMP_STR, true, "id of the user network (default: the first)" } },
	  .run = qmp_hostfwd_remove },
	{ "query-hostfwd", "the forwards of a user network",
	  { { "netdev", QMP_STR, true, "its id (default: the first)" } },
	  .run = qmp_query_hostfwd },
	{ "query-rules", "egress rules of a user network, and how often each has decided",
	  { { "netdev", QMP_STR, true, "its id (default: the first)" } },
	  .run = qmp_query_rules },
	{ "stop", "pause the machine", .run = qmp_stop },
	{ "cont", "start the machine (-S), or let it go on", .run = qmp_cont },
	{ "system_reset", "reset the machine", .run = qmp_system_reset },
	{ "system_powerdown", "press the power button", .run = qmp_system_powerdown },
	{ "x-twinax-save", "write the whole machine to a file; it goes on afterwards",
	  { { "path", QMP_STR, false, "the file" } },
	  .run = qmp_x_save },
	{ "x-twinax-load", "start a machine (-S) from such a file",
	  { { "path", QMP_STR, false, "the file" } },
	  .run = qmp_x_load },
	{ "human-monitor-command", "run a command of the human monitor",
	  { { "command-line", QMP_STR, false, "the command and its arguments" },
	    { "cpu-index", QMP_INT, true, "accepted for QEMU's clients, ignored" } },
	  .run = cmd_hmp },
	{ "quit", "end the program as SIGTERM does", .run = cmd_quit },
	{ "x-trace", "switch trace hops on by a shell pattern over their names, or all off",
	  { { "enable", QMP_BOOL, true, "false switches all off (default true)" },
	    { "pattern", QMP_STR, true, "which hops (default *)" } },
	  .run = qmp_x_trace },
	{ "x-trace-read", "the newest trace records, oldest first",
	  { { "count", QMP_INT, true, "at most so many (default 256)" } },
	  .run = qmp_x_trace_read },
	{ "x-trace-frame", "wait for a frame and answer with its hops",
	  { { "direction", QMP_STR, true, "out (from the guest, default) or in" },
	    { "through", QMP_STR, true, "name of a hop that it must pass" },
	    { "timeout-ms", QMP_INT, true, "give up after so long (default 10000)" } },
	  .run = qmp_x_trace_frame },
	{ 0 },
};
/* clang-format on */
