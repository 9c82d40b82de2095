/* SPDX-License-Identifier: BSD-3-Clause */
/* The qtest accelerator's parts: a conversation, its commands, its log. */
#ifndef HOSTS_MACHINE_QTEST_H
#define HOSTS_MACHINE_QTEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <twinax/loop.h>

#include "base/hostops.h"
#include "hosts/machine/machine.h"

/* Bounds on what a client may make us hold or do. */
#define QTEST_MAX_DATA (8u << 20)		  /* bytes of one read, write or memset */
#define QTEST_MAX_LINE (2 * QTEST_MAX_DATA + 256) /* bytes of a command */
#define QTEST_MAX_WORDS 8
#define QTEST_HIGH_WATER 65536u /* bytes of answers, beyond which no command is begun */
#define QTEST_LINES 4096u	/* commands before the loop turns to others, */
#define QTEST_MOVED (16u << 20) /* or bytes that they read or wrote at once, */
#define QTEST_TIMERS 4096u	/* and timers of one clock_step */
#define QTEST_LOG_ROOM 262144u	/* bytes that a slow reader of the log may leave behind */

/* Bytes [off, off + len) of a buffer that grows. */
struct qtest_buf {
	char *p;
	size_t off, len, room;
};

/* Room for @n bytes behind what is there; null when out of memory. */
char *qtest_buf_room(struct qtest_buf *b, size_t n);
void qtest_buf_drop(struct qtest_buf *b, size_t n); /* from the front */
void qtest_buf_free(struct qtest_buf *b);

struct qtest_log {
	int fd; /* -1: none */
	uint64_t began;
	uint64_t n_lost; /* lines, since the last one that was not */
	struct qtest_buf buf;
};

struct qtest_relay;

struct qtest {
	struct twx_machine *m;
	bool server;
	char path[108];
	int listen_fd; /* -1: none */
	int spare_fd;  /* given up to turn a client away when descriptors are out */
	struct hostops_sock_file file;
	struct twx_watch listen;
	struct twx_watch conn; /* its fd is ours; loop is null while nobody is there */
	struct qtest_buf in, out;
	size_t scanned;	     /* bytes of @in without an end of line */
	uint64_t moved;	     /* bytes of bulk commands in this burst */
	bool in_burst;	     /* commands are being carried out; who answers need not flush */
	bool more;	     /* to do, as soon as something can be sent */
	bool eof, failed;    /* the client has said all; there is no going on */
	struct twx_task end; /* flushes, or closes, outside of a burst */

	/* What the client has set up. */
	bool intercepted;
	uint32_t levels, told; /* a bit per GSI; as they are, and as the client knows them */
	uint64_t epoch;	       /* the loop's time that is the client's 0 */
	bool stepping;
	uint64_t step_to; /* the loop's time */
	struct qtest_log log;
	struct qtest_relay *relay; /* null: the sockets are ours */
};

int qtest_open(struct qtest **out, struct twx_machine *m, const char *where, const char *log,
	       struct twx_error *e);
void qtest_close(struct qtest *q);
/* Begins a conversation on @fd, a connected non-blocking stream socket; takes it. */
int qtest_converse_take(struct qtest *q, int fd);
/* Ends it, if there is one; false where that has to wait until what it does now is done. */
bool qtest_hang_up(struct qtest *q);
void qtest_gsi(struct qtest *q, unsigned int gsi, bool level);
void qtest_intercept(struct qtest *q);

/* Answers and other lines to the client, without their end. */
__attribute__((format(printf, 2, 3))) void qtest_say(struct qtest *q, const char *fmt, ...);
/* Room for @n bytes of a line, or null, and the conversation ends; then how long it is. */
char *qtest_say_room(struct qtest *q, size_t n);
void qtest_said(struct qtest *q, size_t n);

/* qtest_cmd.c: carries out one command; @line has @len bytes and a NUL, and is written over. */
void qtest_command(struct qtest *q, char *line, size_t len);
/* Goes on with a clock_step; true when it has been answered. */
bool qtest_step(struct qtest *q);

/* qtest_relay.c: conversations over a chardev, by its id or QEMU's short form. */
int qtest_relay_open(struct qtest_relay **out, struct qtest *q, const char *where,
		     struct twx_error *e);
void qtest_relay_close(struct qtest_relay *r); /* null is harmless */

/* qtest_data.c. In place: @buf has the text, and then the bytes; how many, or -1. */
long qtest_unhex(char *buf, size_t len);
long qtest_unbase64(char *buf, size_t len);
/* From the last @n bytes of what is to become the text to the whole of it; its length. */
size_t qtest_hex_room(size_t n);
void qtest_hex(char *text, size_t n);
size_t qtest_base64_room(size_t n);
void qtest_base64(char *text, size_t n);

/* qtest_log.c; @path as in twx_machine_config. */
int qtest_log_open(struct qtest_log *l, const struct twx_hostops *ops, const char *path,
		   struct twx_error *e);
void qtest_log_close(struct qtest_log *l);
/* @dir: 'R' for what came, 'S' for what goes, 'I' for what happens. */
void qtest_log_line(struct qtest_log *l, char dir, const char *line, size_t len);
void qtest_log_flush(struct qtest_log *l);

#endif
