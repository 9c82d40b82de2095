/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The way of a frame from a port to its peer: send, post, lease, queue, ready and resume.
 *
 * twx_port_send() is for senders that keep a frame until it is taken; twx_port_post() for those
 * that cannot. Both end in port_deliver(), the one place that calls receive(): it runs each frame
 * through offload_check(), hands a burst that needs nothing to the receiver as it is, and otherwise
 * builds the burst anew in a scratch batch (offload.c). It returns how many of the sender's frames
 * are done and, when the receiver stopped inside a frame that was cut, how many of that frame's
 * segments it took; the rest of that frame is copied into the queue with this number beside it, and
 * the frame counts as done.
 *
 * Order: a receiver with a queue is never sent to directly, so what was queued goes first. GSO
 * frames are queued whole and cut at delivery, by the caps of that moment.
 *
 * Back-pressure: a receiver that takes too little is rx_busy until it says twx_port_ready(). While
 * it is, senders that retain get 0 and are marked (sender_waits on the receiver), the others'
 * frames are queued: QUEUE_MAX_FRAMES, QUEUE_MAX_BYTES, then dropped.
 *
 * Re-entry: in_receive is set while receive, resume or a flush of a port runs and while a lease of
 * its buffers is open. Frames for it wait then like for a busy receiver; port_leave() delivers
 * them. Nothing is resumed from inside its own send: that is put off to a task of the loop, as is a
 * ready() from inside receive. So the stack is bounded by the number of distinct ports on a path. A
 * flush delivers at most what was queued when it began, so two ports that answer each other cannot
 * hold the loop.
 *
 * Filters see a frame once, before the queue, and only when it need not be refused: after they have
 * seen it, it is never given back to the sender. A filter that took a frame lets it go on by
 * filter_inject(), which knows no refusal either.
 *
 * Difference from QEMU: no state of a virtual machine is asked; a frame with a retaining sender is
 * not copied.
 */
#include <assert.h>
#include <errno.h>

#include "base/macros.h"
#include "net/filter.h"
#include "net/net_priv.h"
#include "net/offload.h"
#include "net/queue.h"

static void port_drop_frames(struct twx_port *port, enum twx_drop cause,
			     const struct twx_frame *frames, int n)
{
	int i;

	for (i = 0; i < n; i++)
		twx_port_drop(port, cause, frames[i].len);
}

static void port_count_tx(struct twx_port *port, const struct twx_frame *frames, int n)
{
	uint64_t bytes = 0;
	int i;

	for (i = 0; i < n; i++)
		bytes += frames[i].len;
	port->count.tx_frames += (unsigned int)n;
	port->count.tx_bytes += bytes;
	port->count.tx_bursts++;
}

/* The one call of receive(). The caller has set in_receive. */
static int port_receive(struct twx_port *r, const struct twx_frame *frames, int n)
{
	uint64_t bytes = 0;
	int i, k;

	TWX_TRACE(r->trace, TWX_HOP_PORT_RECEIVE, r->name, frames[0].len, n);
	k = r->ops->receive(r, frames, n);
	assert(k >= 0 && k <= n);
	for (i = 0; i < k; i++)
		bytes += frames[i].len;
	r->count.rx_frames += (unsigned int)k;
	r->count.rx_bytes += bytes;
	r->count.rx_bursts++;
	if (unlikely(k < n)) {
		r->rx_busy = true;
		r->count.busy++;
	}
	return k;
}

/* Where a delivery stands. */
struct delivery {
	struct twx_port *r;
	struct twx_port *blame; /* counts frames that are malformed */
	const struct twx_frame *frames;
	int n, i;
	uint32_t skip;	 /* segments of frames[i] delivered already */
	uint32_t purges; /* of r, when the delivery began */
};

/* Fills the batch from the source frames; stops when full or at a frame to be dropped. */
static void delivery_fill(struct delivery *d, struct offload *o)
{
	const struct twx_caps *caps = &d->r->caps;

	if (o->job.f && !offload_emit(o))
		return;
	while (d->i < d->n && o->n < TWX_BURST) {
		const struct twx_frame *f = &d->frames[d->i];
		int verdict = offload_check(f, caps);

		if (verdict < 0) {
			if (o->n) /* what goes before it must be known to be taken */
				return;
			twx_port_drop(d->blame, offload_drop_cause(verdict), f->len);
		} else if (verdict == OFFLOAD_AS_IS && !d->skip) {
			offload_pass(o, f, (uint16_t)d->i);
		} else {
			uint64_t cut = d->r->count.seg_sw;

			if (!offload_begin(o, f, (uint16_t)d->i, caps, d->skip, &d->r->count))
				return;
			TWX_TRACE(d->r->trace,
				  d->r->count.seg_sw != cut ? TWX_HOP_OFFLOAD_SEG
							    : TWX_HOP_OFFLOAD_CSUM,
				  d->r->name, f->len, f->meta.gso_size);
			d->i++;
			d->skip = 0;
			if (!offload_emit(o))
				return;
			continue;
		}
		d->i++;
		d->skip = 0;
	}
}

/* At least one frame needs work. As port_deliver(). */
static int delivery_work(struct delivery *d, uint32_t *skip)
{
	struct offload *o = net_scratch_get(port_core(d->r));
	int done = d->n;

	*skip = 0;
	if (!o) {
		port_drop_frames(d->r, TWX_DROP_LIMIT, d->frames, d->n);
		return d->n;
	}
	do {
		int k;

		offload_reset(o);
		delivery_fill(d, o);
		if (!o->n)
			continue;
		k = port_receive(d->r, o->out, o->n);
		if (unlikely(d->purges != port_core(d->r)->purges)) {
			/* The cable was pulled meanwhile. */
			port_drop_frames(d->r, TWX_DROP_LINK_DOWN, d->frames + d->i, d->n - d->i);
			break;
		}
		if (k < o->n) {
			done = o->src[k];
			*skip = o->seg[k];
			break;
		}
	} while (d->i < d->n || o->job.f);
	net_scratch_put(port_core(d->r), o);
	return done;
}

/*
 * Delivers @n frames, of whose first @first segments are done, to @r. Returns how many are done
 * from the front, dropped ones among them; *@skip: segments taken of the first that is not.
 */
static int port_deliver(struct twx_port *r, struct twx_port *blame, const struct twx_frame *frames,
			int n, uint32_t first, uint32_t *skip)
{
	struct delivery d = { r, blame, frames, n, 0, first, port_core(r)->purges };
	int i;

	*skip = 0;
	for (i = 0; i < n; i++)
		if (unlikely(offload_check(&frames[i], &r->caps) != OFFLOAD_AS_IS))
			break;
	if (likely(i == n && !first))
		return port_receive(r, frames, n);
	return delivery_work(&d, skip);
}

/* Copies frames into @r's queue, whatever is too bad to wait or finds no room being dropped. */
static void port_enqueue(struct twx_port *r, struct twx_port *blame, const struct twx_frame *frames,
			 int n, uint32_t skip)
{
	int i;

	for (i = 0; i < n; i++, skip = 0) {
		int verdict = offload_check(&frames[i], &r->caps);

		if (verdict < 0) {
			twx_port_drop(blame, offload_drop_cause(verdict), frames[i].len);
		} else if (queue_append(&r->queue, &frames[i], skip) < 0) {
			twx_port_drop(r, TWX_DROP_QUEUE_FULL, frames[i].len);
		} else {
			r->count.queued++;
			TWX_TRACE(r->trace, TWX_HOP_QUEUE_APPEND, r->name, frames[i].len,
				  r->queue->n);
		}
	}
}

/*
 * The same for what is left of a delivery: it goes before what was queued during that delivery, and
 * nowhere if the queue was purged meanwhile (@purges: before it), because then the cable was
 * pulled.
 */
static void port_enqueue_left(struct twx_port *r, struct twx_port *blame,
			      const struct twx_frame *frames, int n, uint32_t skip, uint32_t purges)
{
	struct twx_queue *later = r->queue;

	if (likely(!n))
		return;
	if (unlikely(purges != port_core(r)->purges)) {
		port_drop_frames(r, TWX_DROP_LINK_DOWN, frames, n);
		return;
	}
	r->queue = NULL;
	port_enqueue(r, blame, frames, n, skip);
	queue_join(&r->queue, later);
}

/* Delivers a burst and queues what is left of it. */
static void port_put(struct twx_port *r, struct twx_port *blame, const struct twx_frame *frames,
		     int n)
{
	uint32_t skip = 0, purges = port_core(r)->purges;
	int done = 0;

	if (!port_blocked(r)) {
		r->in_receive = true;
		done = port_deliver(r, blame, frames, n, 0, &skip);
		port_enqueue_left(r, blame, frames + done, n - done, skip, purges);
		port_leave(r);
	} else {
		port_enqueue(r, blame, frames, n, 0);
	}
}

/* Past the filters; what they do not keep goes on in one burst. */
static void port_put_filtered(struct twx_port *port, struct twx_port *r,
			      const struct twx_frame *frames, int n)
{
	struct twx_frame pass[TWX_BURST];
	int i, m = 0;

	for (i = 0; i < n; i++) {
		if (frames[i].len < TWX_FRAME_MIN || frames[i].len > TWX_FRAME_MAX)
			twx_port_drop(port,
				      frames[i].len < TWX_FRAME_MIN ? TWX_DROP_TOO_SHORT
								    : TWX_DROP_TOO_LONG,
				      frames[i].len);
		else if (!filter_run(port, r, &frames[i]))
			pass[m++] = frames[i];
	}
	if (m)
		port_put(r, port, pass, m);
}

/* One burst of a sender that retains, to a receiver that takes. */
static int port_offer(struct twx_port *port, struct twx_port *r, const struct twx_frame *frames,
		      int n)
{
	uint32_t skip, purges = port_core(r)->purges;
	int done;

	if (unlikely(port->filters || r->filters)) {
		port_put_filtered(port, r, frames, n);
		return n;
	}
	r->in_receive = true;
	done = port_deliver(r, port, frames, n, 0, &skip);
	if (unlikely(skip)) {
		port_enqueue_left(r, port, frames + done, 1, skip, purges);
		done++;
	}
	port_leave(r);
	return done;
}

/* Null when frames have nowhere to go; they are counted. */
static struct twx_port *port_target(struct twx_port *port, const struct twx_frame *frames, int n)
{
	struct twx_port *r = port->peer;

	if (likely(r && !port->link_down && !r->link_down))
		return r;
	port_drop_frames(port, r ? TWX_DROP_LINK_DOWN : TWX_DROP_NO_PEER, frames, n);
	return NULL;
}

int twx_port_send(struct twx_port *port, const struct twx_frame *frames, int n)
{
	struct port_core *core = port_core(port);
	int done = 0;

	core->in_send++;
	while (done < n) {
		int burst = min(n - done, TWX_BURST), k;
		struct twx_port *r = port_target(port, frames + done, burst);

		if (unlikely(!r)) {
			done += burst;
			continue;
		}
		if (unlikely(port_blocked(r))) {
			r->sender_waits = true;
			break;
		}
		TWX_TRACE(port->trace, TWX_HOP_PORT_SEND, port->name, frames[done].len, burst);
		k = port_offer(port, r, frames + done, burst);
		port_count_tx(port, frames + done, k);
		done += k;
		/* If the cable was pulled meanwhile, the next round drops the rest. */
		if (unlikely(k < burst) && port->peer == r && !port->link_down && !r->link_down) {
			r->sender_waits = true;
			break;
		}
	}
	core->in_send--;
	return done;
}

void twx_port_post(struct twx_port *port, const struct twx_frame *frames, int n)
{
	struct port_core *core = port_core(port);

	core->in_send++;
	while (n > 0) {
		int burst = min(n, TWX_BURST);
		struct twx_port *r = port_target(port, frames, burst);

		if (likely(r)) {
			TWX_TRACE(port->trace, TWX_HOP_PORT_SEND, port->name, frames[0].len, burst);
			port_count_tx(port, frames, burst);
			if (unlikely(port->filters || r->filters))
				port_put_filtered(port, r, frames, burst);
			else
				port_put(r, port, frames, burst);
		}
		frames += burst;
		n -= burst;
	}
	core->in_send--;
}

/*
 * The end of twx_port_post() for frames that a filter took on their way: counted as sent then, so
 * not again.
 */
void filter_inject(struct twx_filter *f, enum filter_queue way, const struct twx_frame *frames,
		   int n)
{
	struct twx_port *port = way == FILTER_TX ? f->port : f->port->peer, *r;
	struct twx_frame pass[TWX_BURST];
	int i, m = 0;

	if (!port) {
		port_drop_frames(f->port, TWX_DROP_NO_PEER, frames, n);
		return;
	}
	r = port_target(port, frames, n);
	if (!r)
		return;
	port_core(port)->in_send++;
	for (i = 0; i < n; i++)
		if (!filter_run_behind(f, port, r, &frames[i]))
			pass[m++] = frames[i];
	if (m)
		port_put(r, port, pass, m);
	port_core(port)->in_send--;
}

bool twx_port_can_send(struct twx_port *port)
{
	const struct twx_port *r = port->peer;

	return !r || port->link_down || r->link_down || !port_blocked(r);
}

/* One burst from the queue. Returns how many frames left it. */
static int port_flush_burst(struct twx_port *r)
{
	struct twx_frame frames[TWX_BURST];
	struct queue_node *chain, *node, *rest;
	uint32_t purges = port_core(r)->purges, skip;
	int n, i = 0, done;

	chain = queue_take(&r->queue, TWX_BURST, &n);
	for (node = chain; node; node = node->next)
		frames[i++] = node->frame;
	done = port_deliver(r, r, frames, n, chain->skip, &skip);
	r->count.flushed += (unsigned int)done;
	TWX_TRACE(r->trace, TWX_HOP_QUEUE_FLUSH, r->name, frames[0].len, done);
	for (i = 0, rest = chain; i < done; i++) {
		node = rest;
		rest = node->next;
		node->next = NULL;
		queue_free_chain(node);
	}
	if (rest) {
		/* Segments taken before and now; the delivery began at the first of them. */
		rest->skip = skip;
		if (purges != port_core(r)->purges)
			queue_free_chain(rest);
		else if (queue_put_back(&r->queue, rest) < 0)
			twx_port_drop(r, TWX_DROP_LIMIT, 0);
	}
	return done;
}

static void port_want_ready(struct twx_port *port)
{
	port_core(port)->want_ready = true;
	twx_loop_defer(port->loop, &port_core(port)->task);
}

/* @r is neither busy nor receiving. */
void port_flush(struct twx_port *r)
{
	int budget = (int)r->queue->n;

	r->in_receive = true;
	while (r->queue && !r->rx_busy && budget > 0)
		budget -= port_flush_burst(r);
	r->in_receive = false;
	if (r->queue && !r->rx_busy)
		port_want_ready(r);
}

void port_leave(struct twx_port *r)
{
	r->in_receive = false;
	if (likely(!r->queue && !r->sender_waits))
		return;
	if (r->rx_busy)
		return;
	if (r->queue)
		port_flush(r);
	port_wake_sender(r, true);
}

void port_want_resume(struct twx_port *port)
{
	struct port_core *core = port_core(port);

	if (core->dying || !port->ops->resume)
		return;
	core->want_resume = true;
	twx_loop_defer(port->loop, &core->task);
}

static void port_resume(struct twx_port *port)
{
	port->in_receive = true;
	port->ops->resume(port);
	port_leave(port);
}

void port_wake_sender(struct twx_port *r, bool later)
{
	struct twx_port *sender = r->peer;

	if (!r->sender_waits || r->rx_busy || r->queue)
		return;
	r->sender_waits = false;
	if (!sender || !sender->ops->resume)
		return;
	if (later || sender->in_receive || port_core(sender)->in_send)
		port_want_resume(sender);
	else
		port_resume(sender);
}

void port_run_task(struct twx_task *task)
{
	struct port_core *core = container_of(task, struct port_core, task);
	struct twx_port *port = core->port;

	if (port->in_receive || core->in_send) { /* a loop that runs inside an op: later */
		twx_loop_defer(port->loop, task);
		return;
	}
	if (core->want_ready) {
		core->want_ready = false;
		twx_port_ready(port);
	}
	if (core->want_resume && !port->in_receive) {
		core->want_resume = false;
		port_resume(port);
	}
}

void twx_port_ready(struct twx_port *port)
{
	if (likely(!(port->rx_busy | port->sender_waits | (port->queue != NULL))))
		return;
	if (unlikely(port->in_receive)) {
		port_want_ready(port);
		return;
	}
	port->rx_busy = false;
	if (port->queue)
		port_flush(port);
	port_wake_sender(port, false);
}

int twx_port_reserve(struct twx_port *port, size_t min_len, size_t want, struct twx_lease *lease)
{
	struct port_core *core = port_core(port);
	struct twx_port *r = port->peer;
	int ret;

	if (unlikely(!r || port->link_down || r->link_down))
		return -ENOLINK;
	if (unlikely(!r->ops->reserve || port->filters || r->filters || core->lease))
		return -EOPNOTSUPP;
	if (unlikely(port_blocked(r))) {
		if (!r->rx_busy && !r->in_receive)
			return -EOPNOTSUPP; /* frames are queued: send() waits behind them */
		r->sender_waits = true;
		return -EAGAIN;
	}
	want = min(max(want, (size_t)TWX_FRAME_MIN), (size_t)TWX_FRAME_MAX);
	min_len = min(max(min_len, (size_t)TWX_FRAME_MIN), want);
	r->in_receive = true;
	ret = r->ops->reserve(r, min_len, want, lease);
	if (likely(!ret)) {
		assert(lease->n_iov <= TWX_LEASE_IOV && lease->len >= min_len);
		core->lease = lease;
		return 0;
	}
	if (ret == -EAGAIN) {
		r->rx_busy = true;
		r->sender_waits = true;
		r->count.busy++;
	}
	port_leave(r);
	return ret;
}

/* The cause for which a lease cannot be committed, or below zero. */
static int port_lease_flaw(const struct twx_port *r, const struct twx_lease *lease, size_t len,
			   const struct twx_meta *meta)
{
	static const uint32_t need[] = {
		[TWX_GSO_TCPV4] = TWX_CAP_TSO4,
		[TWX_GSO_UDP] = TWX_CAP_UFO,
		[TWX_GSO_TCPV6] = TWX_CAP_TSO6,
		[TWX_GSO_UDP_L4] = TWX_CAP_USO,
	};

	if (len < TWX_FRAME_MIN)
		return TWX_DROP_TOO_SHORT;
	if (len > lease->len || (!meta->gso && len > r->caps.max_frame))
		return TWX_DROP_TOO_LONG;
	if (meta->gso && (meta->gso >= array_size(need) || !(need[meta->gso] & r->caps.flags)))
		return TWX_DROP_BAD_META;
	if ((meta->flags & TWX_F_NEEDS_CSUM) && !(r->caps.flags & TWX_CAP_CSUM))
		return TWX_DROP_BAD_META;
	return -1;
}

void twx_port_commit(struct twx_port *port, struct twx_lease *lease, size_t len,
		     const struct twx_meta *meta)
{
	struct port_core *core = port_core(port);
	struct twx_port *r = port->peer;
	int flaw;

	if (unlikely(core->lease != lease || !r)) /* taken back when the ports were unpaired */
		return;
	flaw = port_lease_flaw(r, lease, len, meta);
	if (unlikely(flaw >= 0)) {
		twx_port_drop(port, (enum twx_drop)flaw, (uint32_t)len);
		twx_port_abort(port, lease);
		return;
	}
	core->lease = NULL;
	TWX_TRACE(port->trace, TWX_HOP_PORT_SEND, port->name, len, 1);
	r->ops->commit(r, lease, len, meta);
	port->count.tx_frames++;
	port->count.tx_bytes += len;
	port->count.tx_bursts++;
	r->count.rx_frames++;
	r->count.rx_bytes += len;
	r->count.rx_bursts++;
	port_leave(r);
}

void twx_port_abort(struct twx_port *port, struct twx_lease *lease)
{
	struct port_core *core = port_core(port);
	struct twx_port *r = port->peer;

	if (core->lease != lease || !r)
		return;
	core->lease = NULL;
	r->ops->abort(r, lease);
	port_leave(r);
}
