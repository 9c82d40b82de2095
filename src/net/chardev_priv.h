/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of chardevs share: the object, its kinds, the bytes of descriptors. */
#ifndef NET_CHARDEV_PRIV_H
#define NET_CHARDEV_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/chardev.h"

#define CHARDEV_QUEUE 65536 /* bytes written and not taken by the other end yet */
#define CHARDEV_PIECE 16384 /* bytes read at once */

/*
 * A kind of chardev, constant. open() checks the options and opens what needs no other end; on
 * failure it undoes what it did. take() and release() frame the time in which somebody uses it.
 */
struct twx_chardev_type {
	const char *name;
	const char *help;
	const struct twx_opt_desc *options;
	size_t priv_size;
	int (*open)(struct twx_chardev *c, const struct twx_opts *o, struct twx_error *e);
	void (*close)(struct twx_chardev *c);
	int (*take)(struct twx_chardev *c, struct twx_error *e); /* optional */
	void (*release)(struct twx_chardev *c);			 /* optional */
	void (*lost)(
		struct twx_chardev *c); /* optional: after chardev_detach() by an end or error */
	/* Optional: where a user of descriptors connects; null with a sentence. */
	const struct chardev_socket *(*claim)(struct twx_chardev *c, struct twx_error *e);
};

extern const struct twx_chardev_type chardev_fd;
extern const struct twx_chardev_type chardev_file;
extern const struct twx_chardev_type chardev_null;
extern const struct twx_chardev_type chardev_pipe;
extern const struct twx_chardev_type chardev_socket;
extern const struct twx_chardev_type chardev_stdio;

struct twx_chardev {
	const struct twx_chardev_type *type;
	struct twx_net *net;
	struct twx_loop *loop;
	struct twx_chardev *next; /* in the net, newest first */
	struct twx_opts *opts;
	char id[64];
	void *priv;
	struct chardev_user *user;
	bool claimed;

	/* chardev_io.c */
	bool open;    /* somebody is, or may be, at the other end */
	int in, out;  /* the same descriptor, two, or -1: no such way */
	bool sync_in; /* a file: always readable, unknown to epoll */
	bool eof;     /* nothing more comes in */
	bool hung;    /* the other end has gone, and bytes of it are unread */
	bool in_sock, out_sock, out_pipe;
	size_t out_piece; /* most bytes of one write; of a descriptor that would block */
	size_t room;	  /* as the user said, less what it got since */
	struct twx_watch in_watch, out_watch;
	struct twx_task in_task;   /* reads where sync_in */
	struct twx_task fail_task; /* a write has failed: the end, said from the loop */
	bool failed;
	bool starved; /* the user could not write all: owed drained() */
	uint8_t *queue;
	size_t n_out; /* bytes in @queue */
};

/* --- chardev_io.c --- */

void chardev_io_init(struct twx_chardev *c);
/* The bytes of @in and @out, non-blocking and still the caller's, are the chardev's from now on. 0
 * or -errno. */
int chardev_attach(struct twx_chardev *c, int in, int out);
/* The other end is there, though nothing can be read, and what is written vanishes. */
void chardev_attach_nothing(struct twx_chardev *c);
/* Before the descriptors are closed. What is queued is lost. */
void chardev_detach(struct twx_chardev *c);
/* From the loop: the other end has come. */
void chardev_tell_open(struct twx_chardev *c);
/* From the loop: the stream has ended. */
void chardev_end(struct twx_chardev *c);
/* Makes an inherited descriptor ours: close-on-exec and non-blocking. -EBADF or 0. */
int chardev_own_fd(int fd);

#endif
