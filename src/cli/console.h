/* SPDX-License-Identifier: BSD-3-Clause */
/* The terminal as the console of a machine. */
#ifndef CLI_CONSOLE_H
#define CLI_CONSOLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <termios.h>

#include <twinax/error.h>

/* What the keys behind the escape key are for. */
enum console_key {
	CONSOLE_PASS,	 /* a byte for the machine */
	CONSOLE_NOTHING, /* the escape key itself, or one that has no meaning behind it */
	CONSOLE_ESCAPE,	 /* the escape key for the machine */
	CONSOLE_QUIT,
	CONSOLE_HELP,
	CONSOLE_MONITOR, /* QEMU's monitor, which is not here */
};
struct console_keys {
	int escape; /* 1: Ctrl-A; 0: there is none */
	bool armed;
};
enum console_key console_key(struct console_keys *k, uint8_t byte);

#define CONSOLE_PIECE 4096

struct console {
	struct console_keys keys;
	bool raw; /* every key is the machine's: its own, not for lines of a monitor */
	void (*quit)(void *opaque);
	void *opaque;
	int fd; /* our end */
	bool running;
	pthread_t thread;
	uint8_t typed[CONSOLE_PIECE]; /* what the machine has not taken yet */
	size_t n_typed;
};

/*
 * Standard input and output from now on belong to the socket whose number is returned, which is the
 * caller's; a terminal is made raw. @quit comes on a thread of the console's own. -errno on
 * failure.
 */
int console_start(struct console *c, struct twx_error *e);
/* To be called when the other end has been closed: writes what is left, as far as somebody reads
 * it; gives the terminal back. Harmless without a start. */
void console_stop(struct console *c);
/* While the program is stopped (SIGTSTP), and when it goes on. */
void console_lend(struct console *c);
void console_take(struct console *c);

#endif
