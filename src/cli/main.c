/* SPDX-License-Identifier: BSD-3-Clause */
/* The program: finds the command and runs it. */
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static int cmd_version(int argc, char **argv)
{
	printf("twinax %s\n", twx_version());
	return 0;
}

static int cmd_help(int argc, char **argv);

static const struct cli_command commands[] = {
	{ "serve", "-netdev TYPE,id=ID,... -device MODEL,netdev=ID,export=HOST:ADDRESS ...",
	  "run NICs and network backends for a VMM that speaks vhost-user or vfio-user",
	  cmd_serve },
	{ "qemu", "[OPTION...] -- qemu-system-x86_64 ARGUMENT...",
	  "run QEMU by its own command line, with its network served by twinax", cmd_qemu },
	{ "vm", "-kernel FILE [-initrd FILE] [-append TEXT] [OPTION...]",
	  "run a small KVM machine with its network, by QEMU's options", cmd_vm },
	{ "run", "[OPTION...] [-p HOSTPORT:GUESTPORT] [--] [COMMAND...]",
	  "run a command, or connect a namespace, on a network of its own without privileges",
	  cmd_run },
	{ "ctl", "PATH COMMAND...", "send a command to a running twinax's control socket",
	  cmd_ctl },
	{ "version", "", "print the version", cmd_version },
	{ "help", "[COMMAND]", "print this, or the help of a command", cmd_help },
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

int cli_fail_text(const char *context, const char *hint, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "twinax: %s%s", context, *context ? ": " : "");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	if (hint && *hint)
		fprintf(stderr, "        %s\n", hint);
	return 1;
}

int cli_fail(const char *context, const struct twx_error *e)
{
	return cli_fail_text(context, e->hint, "%s", e->what);
}

static const struct cli_command *find_command(const char *name)
{
	size_t i;

	for (i = 0; i < N_COMMANDS; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static void usage(FILE *out)
{
	size_t i;

	fprintf(out, "usage: twinax COMMAND ...\n\n");
	for (i = 0; i < N_COMMANDS; i++)
		fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].help);
	fprintf(out, "\nEach command has a help: twinax help serve, twinax serve -netdev help\n");
}

static int cmd_help(int argc, char **argv)
{
	char *help[] = { NULL, (char *)"-help", NULL };
	const struct cli_command *c;

	if (argc < 2) {
		usage(stdout);
		return 0;
	}
	c = find_command(argv[1]);
	if (!c)
		return cli_fail_text("", "try: twinax help", "there is no command '%s'", argv[1]);
	if (c->run != cmd_version && c->run != cmd_help) {
		help[0] = argv[1];
		return c->run(2, help);
	}
	printf("usage: twinax %s %s\n%s\n", c->name, c->args, c->help);
	return 0;
}

/* The programs that this one is by another name: a link to it. */
static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} personalities[] = {
	{ "slirp4netns", cmd_slirp4netns },
	{ "pasta", cmd_pasta },
};

/* What is opened later must not be taken for a standard stream: messages would go into a device. */
static bool standard_streams(void)
{
	int fd;

	for (fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			return false;
	return true;
}

int main(int argc, char **argv)
{
	const char *name = argc ? strrchr(argv[0], '/') : NULL;
	const struct cli_command *c;
	size_t i;

	if (!standard_streams())
		return 1;
	name = name ? name + 1 : argc ? argv[0] : "";
	for (i = 0; i < sizeof(personalities) / sizeof(personalities[0]); i++)
		if (!strcmp(name, personalities[i].name))
			return personalities[i].run(argc, argv);

	if (argc < 2) {
		usage(stderr);
		return 1;
	}
	name = argv[1];
	/* The spellings that people try first. */
	if (!strcmp(name, "--version") || !strcmp(name, "-version") || !strcmp(name, "-V"))
		name = "version";
	if (!strcmp(name, "--help") || !strcmp(name, "-help") || !strcmp(name, "-h"))
		name = "help";
	c = find_command(name);
	if (!c)
		return cli_fail_text("", "try: twinax help", "there is no command '%s'", name);
	return c->run(argc - 1, argv + 1);
}
