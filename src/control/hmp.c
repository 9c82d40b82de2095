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

static void hmp_quit(struct hmp_call *c)
{
	c->quit = true;
}

static const struct hmp_command commands[] = {
	{ "help", "[COMMAND]", "show the commands", hmp_help },
	{ "info", "[TOPIC]", "show a part of the state", hmp_info },
	{ "quit", "", "end the program", hmp_quit },
	{ "set_link", "NAME on|off", "mend or cut the cable at a NIC or backend", hmp_set_link },
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
	fprintf(c->out, "VM status: running\n");
}

static void info_version(struct hmp_call *c)
{
	fprintf(c->out, "%s\n", twx_version());
}

static const struct hmp_command topics[] = {
	{ "info network", "", "ports, their peers and filters", info_network },
	{ "info stats", "", "frames and bytes of every port", info_stats },
	{ "info status", "", "whether the network runs", info_status },
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

char *hmp_run(struct twx_net *net, const char *line, bool *quit)
{
	struct hmp_call c = { .net = net };
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
