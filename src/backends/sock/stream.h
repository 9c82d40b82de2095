/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames on a byte stream: what the files of the stream backend share with `socket`. */
#ifndef SOCK_STREAM_H
#define SOCK_STREAM_H

#include "backends/sock/sock.h"

#define STREAM_HEAD 4	       /* the length, big-endian */
#define STREAM_FRAME_MAX 69632 /* longest that QEMU takes: 64 KiB and a page */
#define STREAM_IN (128 * 1024) /* received and not yet parsed: a frame, and room to read many */
#define STREAM_OUT (STREAM_HEAD + STREAM_FRAME_MAX)

struct stream;

/* How the two backends that use a stream differ. */
struct stream_style {
	/* Text for `info network` while connected to @peer. */
	void (*describe)(const struct stream *s, const char *peer, char *buf, size_t size);
	const char *failed; /* the same after a connection that could not be made */
	const char *hint;   /* what to do when nobody listens */
};

struct stream {
	const struct stream_style *style;
	struct twx_backend *backend;
	struct twx_port *port;

	/* stream_io.c: one connection */
	int fd; /* -1: none */
	struct twx_watch watch;
	uint8_t *in, *out; /* allocated while connected */
	uint32_t in_start, in_end;
	uint32_t out_start, out_end; /* end of a frame whose beginning is sent */
	bool reading;		     /* EPOLLIN is watched: nothing retained stands in the way */
	bool blocked;		     /* the socket took no more; waiting for EPOLLOUT */
	bool failed;		     /* a write has; stream_lost() is on its way */
	int failure;
	struct twx_task failure_task;

	/* stream_link.c: how connections come about */
	struct sock_spec spec;
	bool server;
	int listen_fd, pending_fd;
	struct twx_watch listen_watch, pending_watch;
	struct twx_timer timer; /* next attempt to connect, or to accept */
	uint64_t retry_ns;	/* 0: a client connects once */
	int at;			/* address tried last */
	bool told;		/* that connecting fails; once until it works */
	char info[SOCK_TEXT + 32];
};

/* --- stream_link.c --- */

/* Makes the port; then listens or connects, as the caller has put into style, spec, server and
 * retry_ns. What has failed needs no stream_close(). */
int stream_open(struct stream *s, struct twx_backend *b, struct twx_error *e);
void stream_close(struct stream *s);
/* The connection is over: listens or connects again. */
void stream_lost(struct stream *s);

/* --- stream_io.c --- */

/* Takes a connected descriptor: 0, or -errno with the descriptor closed. */
int stream_start(struct stream *s, int fd);
void stream_stop(struct stream *s);
int stream_receive(struct stream *s, const struct twx_frame *frames, int n);
void stream_resume(struct stream *s);

#endif
