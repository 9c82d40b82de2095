/* SPDX-License-Identifier: BSD-3-Clause */
/* The commands of the control socket: a table with checked arguments, and what their code may use.
 */
#ifndef CONTROL_COMMANDS_H
#define CONTROL_COMMANDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <twinax/twinax.h>

#include "control/machine.h"

enum qmp_arg_type { QMP_STR, QMP_INT, QMP_BOOL };

#define QMP_MAX_ARGS 4
struct qmp_arg {
	const char *name;
	enum qmp_arg_type type;
	bool optional;
	const char *help;
};

struct qmp_session;

/* How a command ends. */
enum qmp_status {
	QMP_DONE,   /* *ret is the answer (null: {}) */
	QMP_FAILED, /* call->error_class and call->e say why */
	QMP_LATER,  /* qmp_session_finish() will be called; the session reads no further until then
		     */
};

struct qmp_call {
	struct qmp_session *session;
	struct twx_net *net;
	struct control_machine *vm; /* null: there is no machine */
	const json_t *args; /* an object whose members were checked against the table; or null */
	json_t *ret;
	const char *error_class; /* null: GenericError */
	struct twx_error e;
};

struct qmp_command {
	const char *name;
	const char *help; /* one line */
	struct qmp_arg args[QMP_MAX_ARGS];
	bool open; /* takes other arguments as well */
	enum qmp_status (*run)(struct qmp_call *call);
};

extern const struct qmp_command qmp_commands[]; /* ends with a null name */
const struct qmp_command *qmp_command_find(const char *name);
/* Checks @args against @cmd's table; QMP_DONE or QMP_FAILED. */
enum qmp_status qmp_check_args(const struct qmp_command *cmd, struct qmp_call *call);

/* Arguments, checked before: null, @def when not given. */
const char *qmp_str(const struct qmp_call *call, const char *name);
int64_t qmp_int(const struct qmp_call *call, const char *name, int64_t def);

__attribute__((format(printf, 3, 4))) enum qmp_status
qmp_fail(struct qmp_call *call, const char *error_class, const char *fmt, ...);

/* A JSON string of any text: what is no UTF-8 (a cut sentence, a file name) becomes '?'. */
json_t *qmp_text(const char *text);

json_t *qmp_version_object(void);

/* One line of the human monitor; malloc()ed text with "\n" line ends, or null without memory. */
char *hmp_run(struct twx_net *net, struct control_machine *vm, const char *line, bool *quit);

/* --- commands in files of their own --- */
enum qmp_status qmp_query_stats(struct qmp_call *call);
enum qmp_status qmp_x_trace(struct qmp_call *call);
enum qmp_status qmp_x_trace_read(struct qmp_call *call);
enum qmp_status qmp_x_trace_frame(struct qmp_call *call);
enum qmp_status qmp_query_status(struct qmp_call *call);
enum qmp_status qmp_query_name(struct qmp_call *call);
enum qmp_status qmp_stop(struct qmp_call *call);
enum qmp_status qmp_cont(struct qmp_call *call);
enum qmp_status qmp_system_reset(struct qmp_call *call);
enum qmp_status qmp_system_powerdown(struct qmp_call *call);
enum qmp_status qmp_x_save(struct qmp_call *call);
enum qmp_status qmp_x_load(struct qmp_call *call);
enum qmp_status qmp_netdev_add(struct qmp_call *call);
enum qmp_status qmp_netdev_del(struct qmp_call *call);
enum qmp_status qmp_device_add(struct qmp_call *call);
enum qmp_status qmp_device_del(struct qmp_call *call);

enum qmp_status qmp_hostfwd_add(struct qmp_call *call);
enum qmp_status qmp_hostfwd_remove(struct qmp_call *call);
enum qmp_status qmp_query_hostfwd(struct qmp_call *call);
enum qmp_status qmp_query_rules(struct qmp_call *call);

/* devices.c, for the human monitor too. @text is an option list, @id the one in it or null. */
int control_netdev_add(struct twx_net *net, const char *text, const char *id, struct twx_error *e);
int control_netdev_del(struct twx_net *net, const char *id, struct twx_error *e);
int control_device_add(struct twx_net *net, struct control_machine *vm, const char *text,
		       const char *id, struct twx_error *e);
int control_device_del(struct twx_net *net, struct control_machine *vm, const char *id,
		       struct twx_error *e);

/* --- what a command that answers later uses; @pending belongs to the session until then --- */
struct qmp_pending {
	struct twx_timer timer;
	void (*cancel)(struct qmp_pending *p); /* the client went away: free everything */
};
void qmp_session_wait(struct qmp_session *s, struct qmp_pending *p);
/* The answer, or the error if @call->e.code is set. Takes call->ret. */
void qmp_session_finish(struct qmp_session *s, struct qmp_call *call);
/* Ends the program's loop once the answer has been written. */
void qmp_session_quit(struct qmp_session *s);

#endif
