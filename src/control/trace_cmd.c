/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * x-trace, x-trace-read and x-trace-frame: the trace ring of the loop through the control socket.
 *
 * x-trace-frame finds one frame's way. While it waits, every hop is recorded and a timer looks at
 * the ring each POLL_NS. The records are cut into walks: a doorbell (or a fetched frame without
 * one) begins a walk from the guest out, a read from the host's side or a lease begins one in. A
 * walk is whole when another has begun behind it or nothing was added for one tick. Of the whole
 * walks that go the asked direction and pass the asked hop the shortest wins: it has the fewest
 * other frames of the same burst in it. The times are those of the hops, not of the ticks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "control/commands.h"

#define POLL_NS 2000000ull
#define WALK_MAX 256u /* hops in an answer */
#define TIMEOUT_MS_MAX 600000

struct walk {
	uint32_t first, n;
};

struct frame_wait {
	struct qmp_pending pending; /* first */
	struct qmp_session *session;
	struct twx_net *net;
	struct twx_trace *trace;
	uint64_t deadline;
	uint32_t start; /* first record of interest */
	uint32_t seen;	/* trace->n at the last tick */
	int through;	/* hop that the walk must have, or -1 */
	bool inward;
};

static json_t *record_json(const struct twx_hop_record *r, uint64_t since)
{
	return json_pack("{sIsIsssosisI}", "t", (json_int_t)r->t, "ns", (json_int_t)(r->t - since),
			 "hop", twx_hop_name(r->hop), "where", qmp_text(r->where), "len",
			 (int)r->len, "arg", (json_int_t)r->arg);
}

static const struct twx_hop_record *record_at(const struct twx_trace *tr, uint32_t i)
{
	return &tr->ring[i & (tr->size - 1)];
}

static json_t *records_json(const struct twx_trace *tr, uint32_t first, uint32_t n)
{
	json_t *list = json_array();
	uint32_t i;

	for (i = 0; i < n; i++)
		json_array_append_new(
			list, record_json(record_at(tr, first + i), record_at(tr, first)->t));
	return list;
}

enum qmp_status qmp_x_trace(struct qmp_call *call)
{
	struct twx_trace *tr = twx_loop_trace(twx_net_loop(call->net));
	const char *pattern = qmp_str(call, "pattern");
	int err;

	if (json_is_false(json_object_get(call->args, "enable"))) {
		twx_trace_disable(tr);
		return QMP_DONE;
	}
	err = twx_trace_enable(tr, pattern ? pattern : "*");
	if (err == -ENOENT)
		return qmp_fail(call, NULL, "no trace hop matches '%s'", pattern);
	return err ? qmp_fail(call, NULL, "%s", strerror(-err)) : QMP_DONE;
}

enum qmp_status qmp_x_trace_read(struct qmp_call *call)
{
	struct twx_trace *tr = twx_loop_trace(twx_net_loop(call->net));
	int64_t count = qmp_int(call, "count", 256);
	uint32_t held;

	if (!tr->ring)
		return qmp_fail(call, NULL, "tracing is off; switch it on with x-trace");
	if (count < 0)
		return qmp_fail(call, NULL, "Parameter 'count' expects a number of records");
	held = min(tr->n, tr->size);
	if (count < held)
		held = (uint32_t)count;
	call->ret = records_json(tr, tr->n - held, held);
	return QMP_DONE;
}

/* What a hop says about the walk that it belongs to. */
enum { DOORBELL = 1, FETCH = 2, INPUT = 4, DELIVERED = 8, EXIT = 16 };

static const uint8_t roles[TWX_N_HOPS] = {
	[TWX_HOP_KICK] = DOORBELL,	   [TWX_HOP_VFIO_WRITE] = DOORBELL,
	[TWX_HOP_E1000_TDT] = DOORBELL,	   [TWX_HOP_TX_POP] = FETCH,
	[TWX_HOP_E1000_TX] = FETCH,	   [TWX_HOP_RX_LEASE] = INPUT,
	[TWX_HOP_TAP_READ] = INPUT,	   [TWX_HOP_RECVMSG] = INPUT,
	[TWX_HOP_USED] = DELIVERED,	   [TWX_HOP_SIGNAL] = DELIVERED,
	[TWX_HOP_SIGNAL_SKIP] = DELIVERED, [TWX_HOP_E1000_RX] = DELIVERED,
	[TWX_HOP_E1000_IRQ] = DELIVERED,   [TWX_HOP_VM_EXIT] = EXIT,
};

/* Does a hop of @role begin a new walk, when the one at hand went @inward and has met @seen? */
static bool begins_walk(unsigned int role, bool inward, unsigned int seen)
{
	if (role == EXIT) /* of a CPU: a load, a store; most lead to no frame */
		return true;
	if (role == DOORBELL) /* one store may ring twice: as a message, then in the device */
		return (seen & ~(unsigned int)(DOORBELL | EXIT)) != 0;
	if (role == FETCH)
		return inward;
	return role == INPUT && (seen == EXIT || (seen & (inward ? DELIVERED : FETCH)));
}

/* Length of the walk that begins at @i; *whole unless it reaches the newest record. */
static uint32_t walk_length(const struct twx_trace *tr, uint32_t i, bool *whole)
{
	unsigned int seen = roles[record_at(tr, i)->hop], role;
	bool inward = seen == INPUT;
	uint32_t n;

	for (n = 1; i + n != tr->n; n++) {
		role = roles[record_at(tr, i + n)->hop];
		if (begins_walk(role, inward, seen)) {
			*whole = true;
			return n;
		}
		seen |= role;
	}
	*whole = false;
	return n;
}

static bool walk_fits(const struct frame_wait *fw, const struct walk *w)
{
	const struct twx_trace *tr = fw->trace;
	unsigned int first = roles[record_at(tr, w->first)->hop], seen = 0, hop;
	bool through = fw->through < 0;
	uint32_t i;

	if (fw->inward ? first != INPUT : !(first & (EXIT | DOORBELL | FETCH)))
		return false;
	for (i = 0; i < w->n; i++) {
		hop = record_at(tr, w->first + i)->hop;
		seen |= roles[hop];
		through |= (int)hop == fw->through;
	}
	return through && (seen & (fw->inward ? FETCH | DELIVERED : FETCH));
}

static bool find_walk(const struct frame_wait *fw, bool quiet, struct walk *best)
{
	const struct twx_trace *tr = fw->trace;
	struct walk w = { .first = fw->start };
	bool whole = true;

	if (tr->n - w.first > tr->size)
		w.first = tr->n - tr->size;
	best->n = 0;
	for (; w.first != tr->n; w.first += w.n) {
		w.n = walk_length(tr, w.first, &whole);
		if ((whole || quiet) && walk_fits(fw, &w) && (!best->n || w.n < best->n))
			*best = w;
	}
	return best->n != 0;
}

static void frame_wait_free(struct frame_wait *fw)
{
	twx_trace_release(fw->trace);
	free(fw);
}

static void frame_wait_cancel(struct qmp_pending *p)
{
	frame_wait_free(container_of(p, struct frame_wait, pending));
}

static void frame_wait_finish(struct frame_wait *fw, struct walk *w)
{
	struct qmp_call call = { .net = fw->net };
	struct qmp_session *session = fw->session;
	const struct twx_trace *tr = fw->trace;

	if (w->n) {
		call.ret = json_pack("{sssI}", "direction", fw->inward ? "in" : "out", "ns",
				     (json_int_t)(record_at(tr, w->first + w->n - 1)->t -
						  record_at(tr, w->first)->t));
		json_object_set_new(call.ret, "hops",
				    records_json(tr, w->first, min(w->n, WALK_MAX)));
	} else {
		qmp_fail(&call, NULL, "no such frame came by in time");
	}
	frame_wait_free(fw);
	qmp_session_finish(session, &call);
}

static void frame_wait_tick(struct twx_timer *t)
{
	struct frame_wait *fw = container_of(t, struct frame_wait, pending.timer);
	struct twx_trace *tr = fw->trace;
	uint64_t now = twx_loop_now(twx_net_loop(fw->net));
	struct walk w = { 0 };

	if (find_walk(fw, tr->n == fw->seen, &w) || now >= fw->deadline)
		return frame_wait_finish(fw, &w);
	fw->seen = tr->n;
	twx_timer_set(t, now + POLL_NS);
}

static int hop_by_name(const char *name)
{
	int i;

	for (i = 0; i < TWX_N_HOPS; i++)
		if (!strcmp(twx_hop_name(i), name))
			return i;
	return -1;
}

enum qmp_status qmp_x_trace_frame(struct qmp_call *call)
{
	const char *direction = qmp_str(call, "direction"), *through = qmp_str(call, "through");
	int64_t timeout = qmp_int(call, "timeout-ms", 10000);
	struct twx_loop *loop = twx_net_loop(call->net);
	struct frame_wait *fw;

	if (direction && strcmp(direction, "in") && strcmp(direction, "out"))
		return qmp_fail(call, NULL, "Parameter 'direction' expects 'in' or 'out'");
	if (through && hop_by_name(through) < 0)
		return qmp_fail(call, NULL, "there is no trace hop '%s'", through);
	if (timeout < 0 || timeout > TIMEOUT_MS_MAX)
		return qmp_fail(call, NULL, "Parameter 'timeout-ms' expects a value up to %d",
				TIMEOUT_MS_MAX);
	fw = calloc(1, sizeof(*fw));
	if (!fw)
		return qmp_fail(call, NULL, "out of memory");
	fw->session = call->session;
	fw->net = call->net;
	fw->trace = twx_loop_trace(loop);
	fw->inward = direction && !strcmp(direction, "in");
	fw->through = through ? hop_by_name(through) : -1;
	fw->deadline = twx_loop_now(loop) + (uint64_t)timeout * 1000000;
	if (twx_trace_hold(fw->trace)) {
		free(fw);
		return qmp_fail(call, NULL, "out of memory");
	}
	fw->start = fw->seen = fw->trace->n;
	fw->pending.cancel = frame_wait_cancel;
	twx_timer_init(&fw->pending.timer, loop, frame_wait_tick);
	twx_timer_set(&fw->pending.timer, twx_loop_now(loop) + POLL_NS);
	qmp_session_wait(call->session, &fw->pending);
	return QMP_LATER;
}
