/* SPDX-License-Identifier: BSD-3-Clause */
/* QEMU's command line, taken apart into options. */
#ifndef CLI_QEMU_ARGS_H
#define CLI_QEMU_ARGS_H

#include <stdbool.h>
#include <stddef.h>

/* One word or two of the command line. */
struct qemu_token {
	char *const *words;
	int n_words;
	const char *name;  /* without dashes, "machine" for "M"; null: a disk image */
	const char *value; /* null: none */
};

struct qemu_args {
	char *const *words; /* QEMU itself, what may stand before it, and its options */
	int n_command; /* words up to and with QEMU's name: more than 1 behind taskset, env, ... */
	struct qemu_token *tokens;
	size_t n;
};

/* @argc is 1 at least; the words are borrowed. */
void qemu_args_parse(struct qemu_args *args, int argc, char *const *argv);
/* The options behind the first @n_command words, whatever those are. */
void qemu_args_parse_from(struct qemu_args *args, int n_command, int argc, char *const *argv);
void qemu_args_free(struct qemu_args *args);

bool qemu_token_is(const struct qemu_token *t, const char *name);
/* The value asks for help: "help", "e1000,?", "nic,model=help". */
bool qemu_value_asks(const char *value);
/* The command asks QEMU for help or its version: nothing will run. */
bool qemu_args_ask(const struct qemu_args *args);

/* QEMU's options, of all versions and machines, for the test against QEMU's own list; ends with a
 * null name. */
struct qemu_option {
	const char *name;
	bool has_value;
};
extern const struct qemu_option qemu_options[];

#endif
