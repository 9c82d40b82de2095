/* SPDX-License-Identifier: BSD-3-Clause */
/* The human monitor: one line of words in, text out. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/commands.h"

#define HMP_WORDS 8

struct hmp_call {
	struct twx_net *net;
	struct control_machine *vm;
	char *words[HMP_WORDS + 1];
	int n_words;
	FILE *out;
	bool quit;
};

struct hmp_command {
	const char *name, *args, *help;
	void (*run)(struct hmp_call *c);
};

static void hmp_help(struct hmp_call *c);
static void hmp_info(struct hmp_call *c);

static void hmp_set_link(struct hmp_call *c)
{
	struct twx_error e = { 0 };
	bool up;

	if (c->n_words != 3 || (strcmp(c->words[2], "on") && strcmp(c->words[2], "off"))) {
		fprintf(c->out,
			"Expected 'on' or 'off'\nTry \"help set_link\" for more information\n");
		return;
	}
	up = !strcmp(c->words[2], "on");
	if (twx_net_set_link(c->net, c->words[1], up, &e))
		fprintf(c->out, "Error: %s\n", e.what);
}

static void say_error(struct hmp_call *c, int err, const struct twx_error *e)
{
	if (err)
		fprintf(c->out, "Error: %s\n", e->what);
}

/* The word that a command takes; null, said, where there is not just one. */
static const char *only_word(struct hmp_call *c)
{
	if (c->n_words == 2)
		return c->words[1];
	fprintf(c->out, "Expected one argument\nTry \"help %s\" for more information\n",
		c->words[0]);
	return NULL;
}

/* The id in an option list, into @id; null: none. */
static const char *list_id(const char *text, const char *implied, char *id, size_t size)
{
	struct twx_opts *o;
	const char *found;

	if (twx_opts_parse(&o, text, implied, NULL))
		return NULL;
	found = twx_opts_raw(o, "id");
	snprintf(id, size, "%s", found ? found : "");
	twx_opts_free(o);
	return *id ? id : NULL;
}

static void hmp_netdev_add(struct hmp_call *c)
{
	const char *text = only_word(c);
	struct twx_error e = { 0 };
	char id[64];

	if (text)
		say_error(
			c,
			control_netdev_add(c->net, text, list_id(text, "type", id, sizeof(id)), &e),
			&e);
}

static void hmp_netdev_del(struct hmp_call *c)
{
	const char *id = only_word(c);
	struct twx_error e = { 0 };

	if (id)
		say_error(c, control_netdev_del(c->net, id, &e), &e);
}

static void hmp_device_add(struct hmp_call *c)
{
	const char *text = only_word(c);
	struct twx_error e = { 0 };
	char id[64];

	if (text)
		say_error(c,
			  control_device_add(c->net, c->vm, text,
					     list_id(text, "driver", id, sizeof(id)), &e),
			  &e);
}

static void hmp_device_del(struct hmp_call *c)
{
	const char *id = only_word(c);
	struct twx_error e = { 0 };

	if (id)
		say_error(c, control_device_del(c->net, c->vm, id, &e), &e);
}

/* A command that has the same meaning in QMP. */
static void run_qmp(struct hmp_call *c, enum qmp_status (*run)(struct qmp_call *call), json_t *args)
{
	struct qmp_call call = { .net = c->net, .vm = c->vm, .args = args };

	if (run(&call) == QMP_FAILED)
		fprintf(c->out, "Error: %s\n", call.e.what);
	json_decref(call.ret);
	json_decref(args);
}

static void hmp_stop(struct hmp_call *c)
{
	run_qmp(c, qmp_stop, NULL);
}

static void hmp_cont(struct hmp_call *c)
{
	run_qmp(c, qmp_cont, NULL);
}

static void hmp_system_reset(struct hmp_call *c)
{
	run_qmp(c, qmp_system_reset, NULL);
}

static void hmp_system_powerdown(struct hmp_call *c)
{
	run_qmp(c, qmp_system_powerdown, NULL);
}

static void hmp_save(struct hmp_call *c)
{
	const char *path = only_word(c);

	if (path)
		run_qmp(c, qmp_x_save, json_pack("{so}", "path", qmp_text(path)));
}

static void hmp_load(struct hmp_call *c)
{
	const char *path = only_word(c);

	if (path)
		run_qmp(c, qmp_x_load, json_pack("{so}", "path", qmp_text(path)));
}

/* "[NETDEV] RULE": the user network, and the rule into *@rule; null: said why not. */
static struct twx_backend *usernet(struct hmp_call *c, const char **rule)
{
	struct twx_error e = { 0 };
	struct twx_backend *b;

	if (c->n_words != 2 && c->n_words != 3) {
		fprintf(c->out,
			"Expected a rule, or a netdev and a rule\nTry \"help %s\" for more "
			"information\n",
			c->words[0]);
		return NULL;
	}
	*rule = c->words[c->n_words - 1];
	b = twx_usernet_find(c->net, c->n_words == 3 ? c->words[1] : NULL, &e);
	if (!b)
		fprintf(c->out, "%s\n", e.what);
	return b;
}

static void hmp_hostfwd_add(struct hmp_call *c)
{
	const char *rule;
	struct twx_backend *b = usernet(c, &rule);
	struct twx_error e = { 0 };

	if (b && twx_usernet_hostfwd_add(b, rule, &e))
		fprintf(c->out, "%s\n", e.what);
}

static void hmp_hostfwd_remove(struct hmp_call *c)
{
	const char *rule;
	struct twx_backend *b = usernet(c, &rule);
	struct twx_error e = { 0 };

	if (b && twx_usernet_hostfwd_remove(b, rule, &e))
		fprintf(c->out, "%s\n", e.what);
	else if (b)
		fprintf(c->out, "host forwarding rule for %s removed\n", rule);
}

static void hmp_quit(struct hmp_call *c)
{
	c->quit = true;
}

static const struct hmp_command commands[] = {
	{ "cont", "", "start the machine (-S), or let it go on", hmp_cont },
	{ "device_add", "MODEL,netdev=ID,...", "add a NIC", hmp_device_add },
	{ "device_del", "ID", "take a NIC away", hmp_device_del },
	{ "help", "[COMMAND]", "show the commands", hmp_help },
	{ "hostfwd_add", "[NETDEV] [tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT",
	  "forward a port of the host to the guest; also unix:PATH-[GUESTADDR]:GUESTPORT",
	  hmp_hostfwd_add },
	{ "hostfwd_remove", "[NETDEV] [tcp|udp]:[HOSTADDR]:HOSTPORT", "take a forward away",
	  hmp_hostfwd_remove },
	{ "info", "[TOPIC]", "show a part of the state", hmp_info },
	{ "load", "FILE", "start a machine (-S) from what save has written", hmp_load },
	{ "netdev_add", "TYPE,id=ID,...", "add a backend", hmp_netdev_add },
	{ "netdev_del", "ID", "take a backend away", hmp_netdev_del },
	{ "quit", "", "end the program", hmp_quit },
	{ "save", "FILE", "write the whole machine to a file", hmp_save },
	{ "set_link", "NAME on|off", "mend or cut the cable at a NIC or backend", hmp_set_link },
	{ "stop", "", "pause the machine", hmp_stop },
	{ "system_powerdown", "", "press the power button", hmp_system_powerdown },
	{ "system_reset", "", "reset the machine", hmp_system_reset },
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void info_network(struct hmp_call *c)
{
	char *text = twx_net_info(c->net);

	fputs(text ? text : "", c->out);
	free(text);
}

static void info_stats(struct hmp_call *c)
{
	const struct twx_port *p;
	uint64_t dropped;
	int i;

	fprintf(c->out, "%-20s %5s %12s %16s %12s %16s %10s\n", "port", "queue", "tx frames",
		"tx bytes", "rx frames", "rx bytes", "dropped");
	for (p = twx_net_ports(c->net); p; p = p->next) {
		dropped = 0;
		for (i = 0; i < TWX_N_DROPS; i++)
			dropped += p->count.drops[i];
		fprintf(c->out, "%-20s %5u %12llu %16llu %12llu %16llu %10llu\n", p->name,
			p->queue_index, (unsigned long long)p->count.tx_frames,
			(unsigned long long)p->count.tx_bytes,
			(unsigned long long)p->count.rx_frames,
			(unsigned long long)p->count.rx_bytes, (unsigned long long)dropped);
	}
}

static void info_status(struct hmp_call *c)
{
	enum machine_state state = c->vm ? c->vm->state : MACHINE_RUNNING;

	if (state == MACHINE_RUNNING || state == MACHINE_PAUSED)
		fprintf(c->out, "VM status: %s\n", state == MACHINE_RUNNING ? "running" : "paused");
	else
		fprintf(c->out, "VM status: paused (%s)\n", machine_state_name(c->vm));
}

static void info_usernet(struct hmp_call *c)
{
	char *text = twx_usernet_info(c->net);

	fputs(text ? text : "", c->out);
	free(text);
}

static void info_rules(struct hmp_call *c)
{
	struct twx_error e = { 0 };
	struct twx_backend *b = twx_usernet_find(c->net, c->n_words > 2 ? c->words[2] : NULL, &e);
	struct twx_usernet_rule r = { .size = sizeof(r) };
	uint32_t i;

	if (!b)
		fprintf(c->out, "%s\n", e.what);
	for (i = 0; b && twx_usernet_rule_at(b, i, &r); i++)
		fprintf(c->out, "%5s %-40s %10llu\n", r.allow ? "allow" : "deny", r.text,
			(unsigned long long)r.hits);
}

static void info_name(struct hmp_call *c)
{
	if (c->vm && c->vm->name)
		fprintf(c->out, "%s\n", c->vm->name);
}

static void info_version(struct hmp_call *c)
{
	fprintf(c->out, "%s\n", twx_version());
}

static const struct hmp_command topics[] = {
	{ "info name", "", "the name that the machine was given", info_name },
	{ "info network", "", "ports, their peers and filters", info_network },
	{ "info rules", "[NETDEV]", "egress rules of a user network, and what each has decided",
	  info_rules },
	{ "info stats", "", "frames and bytes of every port", info_stats },
	{ "info status", "", "whether the machine, or the network, runs", info_status },
	{ "info usernet", "", "forwards and flows of the user networks", info_usernet },
	{ "info version", "", "version of the program", info_version },
};
#define N_TOPICS (sizeof(topics) / sizeof(topics[0]))

static void print_line(struct hmp_call *c, const struct hmp_command *cmd)
{
	fprintf(c->out, "%s%s%s -- %s\n", cmd->name, *cmd->args ? " " : "", cmd->args, cmd->help);
}

static void hmp_help(struct hmp_call *c)
{
	bool one = c->n_words > 1;
	size_t i;

	for (i = 0; i < N_COMMANDS; i++)
		if (!one || !strcmp(commands[i].name, c->words[1]))
			print_line(c, &commands[i]);
	if (one && strcmp(c->words[1], "info"))
		return;
	for (i = 0; i < N_TOPICS; i++)
		print_line(c, &topics[i]);
}

static void hmp_info(struct hmp_call *c)
{
	size_t i;

	for (i = 0; i < N_TOPICS; i++) {
		if (c->n_words > 1 && !strcmp(topics[i].name + strlen("info "), c->words[1])) {
			topics[i].run(c);
			return;
		}
	}
	if (c->n_words > 1)
		fprintf(c->out, "unknown command: 'info %s'\n", c->words[1]);
	for (i = 0; i < N_TOPICS; i++)
		print_line(c, &topics[i]);
}

/* Splits at blanks; false if there are too many words. */
static bool split(struct hmp_call *c, char *line)
{
	char *save = NULL, *word;

	for (word = strtok_r(line, " \t\r\n", &save); word;
	     word = strtok_r(NULL, " \t\r\n", &save)) {
		if (c->n_words == HMP_WORDS)
			return false;
		c->words[c->n_words++] = word;
	}
	return true;
}

static void run(struct hmp_call *c)
{
	size_t i;

	if (!c->n_words)
		return;
	for (i = 0; i < N_COMMANDS; i++) {
		if (!strcmp(commands[i].name, c->words[0])) {
			commands[i].run(c);
			return;
		}
	}
	fprintf(c->out, "unknown command: '%s'\n", c->words[0]);
}

char *hmp_run(struct twx_net *net, struct control_machine *vm, const char *line, bool *quit)
{
	struct hmp_call c = { .net = net, .vm = vm };
	char *copy = strdup(line), *text = NULL;
	size_t size;

	c.out = copy ? open_memstream(&text, &size) : NULL;
	if (!c.out) {
		free(copy);
		return NULL;
	}
	if (split(&c, copy))
		run(&c);
	else
		fprintf(c.out, "too many words\n");
	if (fclose(c.out)) {
		free(text);
		text = NULL;
	}
	*quit = c.quit;
	free(copy);
	return text;
}
