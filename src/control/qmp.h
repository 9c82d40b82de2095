/* SPDX-License-Identifier: BSD-3-Clause */
/* The control socket: QEMU's machine protocol, and human monitor commands through it. */
#ifndef CONTROL_QMP_H
#define CONTROL_QMP_H

#include <jansson.h>

#include <twinax/twinax.h>

/* Bounds on what a client may make us hold. */
#define QMP_MAX_REQUEST (1u << 20) /* bytes of one JSON object */
#define QMP_MAX_UNSENT (4u << 20)  /* bytes of answers that a client has not read */
#define QMP_MAX_CLIENTS 32

struct qmp_server;
struct control_machine;

/* A server by its option text, "unix:PATH[,server=on][,wait=off]", put in front of *@list. */
int qmp_server_add(struct qmp_server **list, struct twx_net *net, const char *text,
		   struct twx_error *e);
/* The human monitor in its place: at a socket of the same form, or at a connected one, taken. */
int hmp_server_add(struct qmp_server **list, struct twx_net *net, const char *text,
		   struct twx_error *e);
int hmp_server_add_fd_take(struct qmp_server **list, struct twx_net *net, int fd,
			   struct twx_error *e);
/* The machine that commands of all servers of the list are about; null: none. */
void qmp_servers_set_machine(struct qmp_server *list, struct control_machine *vm);
/* Tells every client that has ended its negotiation. Takes @data, which may be null. */
void qmp_servers_event(struct qmp_server *list, const char *name, json_t *data);
/* Closes all servers of the list, their clients and socket files. */
void qmp_servers_free(struct qmp_server *list);

#endif
