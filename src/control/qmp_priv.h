/* SPDX-License-Identifier: BSD-3-Clause */
/* What the two halves of the control socket share: sessions (qmp.c) and servers (qmp_server.c). */
#ifndef CONTROL_QMP_PRIV_H
#define CONTROL_QMP_PRIV_H

#include <limits.h>

#include "control/commands.h"
#include "control/json_frame.h"
#include "control/qmp.h"

struct qmp_session {
	struct twx_net *net;
	struct qmp_server *server;
	struct qmp_session *next;
	struct twx_watch watch;
	struct twx_task end; /* frees the session outside of its own callbacks */
	char *in;
	size_t in_len, in_size;
	struct json_frame frame;
	char *out;
	size_t out_off, out_len, out_size;
	json_t *id; /* of the request being run */
	struct qmp_pending *pending;
	bool negotiated, closing, quit, eof;
};

struct qmp_server {
	struct qmp_server *next;
	struct twx_net *net;
	struct control_machine *vm;
	struct twx_watch watch;
	struct twx_timer retry;
	struct qmp_session *sessions;
	unsigned int n_sessions;
	bool human;	     /* lines of the human monitor instead of QMP */
	char path[PATH_MAX]; /* empty: one session, at a descriptor that was given */
};

/* A client at a connected socket, which is taken; it is in @srv's list unless memory is out. */
void qmp_session_new_take(struct qmp_server *srv, int fd);
void qmp_session_free(struct qmp_session *s);
/* Puts a message in the queue, taken; qmp_session_watch() sees to its being sent. */
void qmp_session_send(struct qmp_session *s, json_t *message);
void qmp_session_watch(struct qmp_session *s);

#endif
