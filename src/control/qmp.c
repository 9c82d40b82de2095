/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control socket: QEMU's machine protocol (QMP) on a unix stream socket.
 *
 * A server (qmp_server.c) owns a listening socket and any number (bounded) of sessions. A session
 * reads lines, where it is one of the human monitor's, and else JSON objects, with or without
 * newlines between them: json_frame finds where each ends, looking at every byte once, and jansson
 * parses what it found, so a client that sends single bytes costs no more than one that sends
 * blocks. Commands are run in order, from the loop, and answered in order; one that answers later
 * (x-trace-frame) stops the reading of its own session until it has.
 *
 * Bounds: a request of QMP_MAX_REQUEST bytes and 64 levels; QMP_MAX_UNSENT bytes of answers that
 * the client does not read; then the session is closed. Malformed input is answered with an error
 * and read on behind it. Nothing here blocks.
 *
 * Not from QEMU: out-of-band execution (no capability is offered).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/macros.h"
#include "control/commands.h"
#include "control/qmp_priv.h"

#define SESSION_READ 16384 /* bytes of requests run before the loop turns to others */
#define HMP_MAX_LINE 4096  /* a longer one is no command */

void qmp_session_free(struct qmp_session *s)
{
	struct qmp_session **p;

	if (s->pending) {
		twx_timer_cancel(&s->pending->timer);
		s->pending->cancel(s->pending);
	}
	for (p = &s->server->sessions; *p != s; p = &(*p)->next)
		;
	*p = s->next;
	s->server->n_sessions--;
	twx_loop_undefer(twx_net_loop(s->net), &s->end);
	twx_watch_del(&s->watch);
	close(s->watch.fd);
	json_decref(s->id);
	free(s->in);
	free(s->out);
	free(s);
}

static void session_end_task(struct twx_task *t)
{
	qmp_session_free(container_of(t, struct qmp_session, end));
}

static void session_close(struct qmp_session *s)
{
	if (s->closing)
		return;
	s->closing = true;
	if (s->quit) /* a client that does not wait for its answer means it all the same */
		twx_loop_stop(twx_net_loop(s->net));
	twx_watch_set(&s->watch, 0);
	twx_loop_defer(twx_net_loop(s->net), &s->end);
}

/* What the session waits for now: room to write, and input unless a command is still at work. A
 * client that leaves is always noticed: unix sockets have no EPOLLPRI, but who waits for it is told
 * of EPOLLHUP. */
void qmp_session_watch(struct qmp_session *s)
{
	uint32_t events = EPOLLPRI;

	if (s->closing)
		return;
	if (s->out_len)
		events |= EPOLLOUT;
	if (!s->pending && !s->eof)
		events |= EPOLLIN;
	twx_watch_set(&s->watch, events);
}

static void session_flush(struct qmp_session *s)
{
	ssize_t n;

	while (s->out_len && !s->closing) {
		n = send(s->watch.fd, s->out + s->out_off, s->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0) {
			if (errno != EAGAIN && errno != EINTR)
				session_close(s);
			break;
		}
		s->out_off += (size_t)n;
		s->out_len -= (size_t)n;
	}
	if (!s->out_len) {
		s->out_off = 0;
		if (s->quit)
			twx_loop_stop(twx_net_loop(s->net));
		else if (s->eof && !s->pending)
			session_close(s);
	}
	qmp_session_watch(s);
}

static bool session_room(struct qmp_session *s, size_t len)
{
	size_t size = s->out_size ? s->out_size : 4096;
	char *out;

	if (s->out_off && s->out_off + s->out_len + len > s->out_size) {
		memmove(s->out, s->out + s->out_off, s->out_len);
		s->out_off = 0;
	}
	if (s->out_off + s->out_len + len <= s->out_size)
		return true;
	if (s->out_len + len > QMP_MAX_UNSENT)
		return false;
	while (size < s->out_len + len)
		size *= 2;
	out = realloc(s->out, size);
	if (!out)
		return false;
	s->out = out;
	s->out_size = size;
	return true;
}

static void session_put(struct qmp_session *s, const char *text, size_t len)
{
	if (s->closing || !session_room(s, len)) {
		session_close(s);
		return;
	}
	memcpy(s->out + s->out_off + s->out_len, text, len);
	s->out_len += len;
}

/* Takes @message. */
void qmp_session_send(struct qmp_session *s, json_t *message)
{
	char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;

	json_decref(message);
	if (!text)
		return session_close(s);
	session_put(s, text, strlen(text));
	session_put(s, "\r\n", 2);
	free(text);
}

static void session_send_error(struct qmp_session *s, const char *class, const char *desc)
{
	json_t *m = json_pack("{s{ssso}}", "error", "class", class, "desc", qmp_text(desc));

	if (m && s->id)
		json_object_set(m, "id", s->id);
	qmp_session_send(s, m);
}

/* QEMU's, which scripts wait for. */
static const char prompt[] = "(qemu) ";

static void session_greet(struct qmp_session *s)
{
	char hello[128];

	if (s->server->human) {
		snprintf(hello, sizeof(hello), "twinax %s monitor - type 'help'\r\n%s",
			 twx_version(), prompt);
		session_put(s, hello, strlen(hello));
		session_flush(s);
		return;
	}
	qmp_session_send(
		s, json_pack("{s{sos[]}}", "QMP", "version", qmp_version_object(), "capabilities"));
	session_flush(s);
}

void qmp_session_wait(struct qmp_session *s, struct qmp_pending *p)
{
	s->pending = p;
}

void qmp_session_quit(struct qmp_session *s)
{
	s->quit = true;
}

static void session_answer(struct qmp_session *s, struct qmp_call *call, enum qmp_status status)
{
	json_t *m;

	if (status == QMP_FAILED) {
		json_decref(call->ret);
		session_send_error(s, call->error_class ? call->error_class : "GenericError",
				   call->e.what);
	} else {
		m = json_pack("{so}", "return", call->ret ? call->ret : json_object());
		if (m && s->id)
			json_object_set(m, "id", s->id);
		qmp_session_send(s, m);
	}
	json_decref(s->id);
	s->id = NULL;
}

static enum qmp_status fail_desc(struct qmp_call *call, const char *class, const char *desc)
{
	return qmp_fail(call, class, "%s", desc);
}

/* The members of a request, as QEMU checks them. */
static enum qmp_status request_check(struct qmp_call *call, json_t *req, const char **name)
{
	json_t *v, *args = json_object_get(req, "arguments");
	const char *key;

	json_object_foreach (req, key, v)
		if (strcmp(key, "execute") && strcmp(key, "arguments") && strcmp(key, "id"))
			return qmp_fail(call, NULL, "QMP input member '%s' is unexpected", key);
	v = json_object_get(req, "execute");
	if (!v)
		return fail_desc(call, NULL, "QMP input lacks member 'execute'");
	*name = json_string_value(v);
	if (!*name)
		return fail_desc(call, NULL, "QMP input member 'execute' must be a string");
	if (args && !json_is_object(args))
		return fail_desc(call, NULL, "QMP input member 'arguments' must be an object");
	call->args = args;
	return QMP_DONE;
}

static enum qmp_status request_run(struct qmp_session *s, struct qmp_call *call, json_t *req)
{
	const struct qmp_command *cmd;
	enum qmp_status st;
	const char *name = "";
	bool hello;

	if (!json_is_object(req))
		return fail_desc(call, NULL, "QMP input must be a JSON object");
	s->id = json_incref(json_object_get(req, "id"));
	st = request_check(call, req, &name);
	if (st != QMP_DONE)
		return st;
	hello = !strcmp(name, "qmp_capabilities");
	if (!s->negotiated && !hello)
		return fail_desc(call, "CommandNotFound",
				 "Expecting capabilities negotiation with 'qmp_capabilities'");
	if (s->negotiated && hello)
		return fail_desc(call, "CommandNotFound",
				 "Capabilities negotiation is already complete, command ignored");
	cmd = qmp_command_find(name);
	if (!cmd)
		return qmp_fail(call, "CommandNotFound", "The command %s has not been found", name);
	st = qmp_check_args(cmd, call);
	if (st == QMP_DONE)
		st = cmd->run(call);
	if (st == QMP_DONE && hello)
		s->negotiated = true;
	return st;
}

static void session_request(struct qmp_session *s, const char *text, size_t len)
{
	struct qmp_call call = { .session = s, .net = s->net, .vm = s->server->vm };
	enum qmp_status st;
	json_error_t je;
	json_t *req = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);

	if (req)
		st = request_run(s, &call, req);
	else
		st = qmp_fail(&call, NULL, "JSON parse error, %.200s", je.text);
	if (st != QMP_LATER)
		session_answer(s, &call, st);
	json_decref(req);
}

/* One line of a human, without its end. */
static void session_line(struct qmp_session *s, char *line)
{
	char *text = hmp_run(s->net, s->server->vm, line, &s->quit), *at, *end;

	for (at = text; at && *at; at = end + !!*end) {
		end = at + strcspn(at, "\n");
		session_put(s, at, (size_t)(end - at));
		session_put(s, "\r\n", 2);
	}
	free(text);
	if (!s->quit)
		session_put(s, prompt, strlen(prompt));
}

static void session_lines(struct qmp_session *s)
{
	char *begin = s->in, *end;

	while (!s->closing && !s->quit &&
	       (end = memchr(begin, '\n', s->in_len - (size_t)(begin - s->in)))) {
		*end = '\0';
		if (!memchr(begin, '\0', (size_t)(end - begin)))
			session_line(s, begin);
		begin = end + 1;
	}
	s->in_len -= (size_t)(begin - s->in);
	memmove(s->in, begin, s->in_len);
	if (s->in_len >= HMP_MAX_LINE)
		s->in_len = 0;
}

/* Runs what the buffer holds, until it holds no whole object or a command answers later. */
static void session_parse(struct qmp_session *s)
{
	enum json_frame_result r;
	size_t begin = 0, end;

	if (s->server->human) {
		session_lines(s);
		return;
	}
	while (!s->closing && !s->pending && !s->quit) {
		r = json_frame_scan(&s->frame, s->in + begin, s->in_len - begin, &end);
		if (r == JSON_FRAME_MORE)
			break;
		if (r == JSON_FRAME_VALUE)
			session_request(s, s->in + begin, end);
		else
			session_send_error(s, "GenericError",
					   "JSON parse error, stray or malformed input");
		begin += end;
		memset(&s->frame, 0, sizeof(s->frame));
	}
	if (begin) {
		s->in_len -= begin;
		memmove(s->in, s->in + begin, s->in_len);
	}
	if (s->in_len >= QMP_MAX_REQUEST && !s->pending && !s->closing) {
		session_send_error(s, "GenericError",
				   "JSON parse error, the request is longer than 1 MiB");
		s->eof = true; /* close once that has been read */
		s->in_len = 0;
	}
}

void qmp_session_finish(struct qmp_session *s, struct qmp_call *call)
{
	s->pending = NULL;
	session_answer(s, call, call->e.code ? QMP_FAILED : QMP_DONE);
	session_parse(s);
	session_flush(s);
}

/* One read per event: a client that floods shares the loop with the network. */
static void session_read(struct qmp_session *s)
{
	size_t size;
	ssize_t n;
	char *in;

	if (s->in_size - s->in_len < 4096 && s->in_size < QMP_MAX_REQUEST) {
		size = s->in_size ? s->in_size * 2 : 8192;
		in = realloc(s->in, size);
		if (!in)
			return session_close(s);
		s->in = in;
		s->in_size = size;
	}
	size = s->in_size - s->in_len;
	n = recv(s->watch.fd, s->in + s->in_len, size < SESSION_READ ? size : SESSION_READ,
		 MSG_DONTWAIT);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			session_close(s);
		return;
	}
	if (n == 0)
		s->eof = true;
	s->in_len += (size_t)n;
	session_parse(s);
}

static void session_event(struct twx_watch *w, uint32_t events)
{
	struct qmp_session *s = container_of(w, struct qmp_session, watch);

	if (s->closing)
		return;
	if (events & EPOLLIN)
		session_read(s);
	else if (events & (EPOLLERR | EPOLLHUP))
		return session_close(s);
	session_flush(s);
}

void qmp_session_new_take(struct qmp_server *srv, int fd)
{
	struct qmp_session *s = calloc(1, sizeof(*s));

	if (!s || twx_watch_add(&s->watch, twx_net_loop(srv->net), fd, EPOLLIN, session_event)) {
		free(s);
		close(fd);
		return;
	}
	s->net = srv->net;
	s->server = srv;
	s->end.fn = session_end_task;
	s->next = srv->sessions;
	srv->sessions = s;
	srv->n_sessions++;
	session_greet(s);
}
