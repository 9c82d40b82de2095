/* SPDX-License-Identifier: BSD-3-Clause */
/* What the commands of the program share. Only this folder prints to a terminal or ends the
 * process. */
#ifndef CLI_H
#define CLI_H

#include <stdbool.h>

#include <twinax/twinax.h>

/* One command: `twinax NAME ...`. argv[0] is the command's name; the result is the exit status. */
struct cli_command {
	const char *name;
	const char *args; /* synopsis behind the name */
	const char *help; /* one line */
	int (*run)(int argc, char **argv);
};

int cmd_serve(int argc, char **argv);
int cmd_ctl(int argc, char **argv);
int cmd_qemu(int argc, char **argv);
int cmd_vm(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_slirp4netns(int argc, char **argv);
int cmd_pasta(int argc, char **argv);

/* `twinax qemu` with QEMU's words and no options of its own; they end with a null. */
int cli_run_qemu(int argc, char **words);

/* "twinax: CONTEXT: what" and the hint on a line of its own, to stderr. Returns exit status 1. */
int cli_fail(const char *context, const struct twx_error *e);
/* The same for a failure found by the command line itself; @hint may be null. */
__attribute__((format(printf, 3, 4))) int cli_fail_text(const char *context, const char *hint,
							const char *fmt, ...);

/*
 * Answers "help" in the value of -netdev, -device, -object or -chardev ("help", "tap,help"): prints
 * and returns true if @text asked for it. @option is the option's name without the dash.
 */
bool cli_help_for(const char *option, const char *text);

/* Puts a hint into @e, where it has none, that leads to the help of @command for @option's value
 * @text. */
void cli_default_hint(const char *command, const char *option, const char *text,
		      struct twx_error *e);

#endif
