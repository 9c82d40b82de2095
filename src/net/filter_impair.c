/* SPDX-License-Identifier: BSD-3-Clause */
/* filter-impair: a bad network on purpose: delay, jitter, loss, duplicates, reordering, a rate. */

/*
 * Theory of operation
 *
 * Each direction is a line of its own, with its own generator of random numbers. A frame that
 * enters it draws four numbers, in the same order whatever the options say: so the fate of a
 * direction's k-th frame depends on seed= and k alone, and another loss= does not change which
 * frames are reordered. The same seed and the same frames give the same network again.
 *
 * In that order:
 * - lost: nobody sees it; it counts as a drop ("impaired") of the backend's port;
 * - duplicated: its copy follows right behind it;
 * - reordered: it goes on at once, past all that wait (and past rate=);
 * - else it waits: first for the frames before it to leave at rate=, then for delay=, give or take
 *   up to jitter=, each value being as likely.
 *
 * Order: frames leave in the order in which they came, but for reordered ones. Jitter alone does
 * not reorder: what would overtake goes out with what it would have overtaken, as on a path with
 * one queue. (Linux' netem sorts by time and does reorder by jitter.)
 *
 * The unit is what the backend and the NIC exchange: a GSO frame is one frame, held, lost or
 * doubled whole, with its offload request; rate= counts its bytes. For loss by wire packet, have
 * the guest switch its segmentation offloads off.
 *
 * Waiting frames are copies: at most limit= of them and IMPAIR_BYTES in a direction, then dropped
 * ("limit"). They leave by the loop's timer through filter_inject(), so the receiver may answer
 * into this filter while it releases: that waits for its time, or for the next round of the loop.
 * The sender is never made to wait, as on a real network. When a cable is pulled, what waits is
 * dropped.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/macros.h"
#include "net/filter.h"
#include "net/net_priv.h"
#include "net/queue.h"

#define IMPAIR_BYTES (64u << 20)
#define IMPAIR_S UINT64_C(1000000000)
#define IMPAIR_TIME_MAX (3600 * IMPAIR_S)
#define IMPAIR_RATE_MAX (1000 * IMPAIR_S) /* 1 Tbit/s */
#define IMPAIR_WHOLE UINT64_C(1000000000) /* 100 % */

struct impair;

struct impair_line {
	struct impair *impair;
	enum filter_queue way;
	struct twx_timer timer;
	struct twx_queue *queue; /* what waits, earliest first; null: nothing */
	uint64_t random;
	uint64_t idle_at; /* when the last frame has left at rate= */
};

struct impair {
	struct twx_filter *filter;
	uint64_t delay, jitter;		   /* ns */
	uint64_t loss, duplicate, reorder; /* a number below it, of 2^32, means that it happens */
	uint64_t rate;			   /* bit/s; 0: no limit */
	uint32_t limit;
	uint64_t n_lost, n_duplicated, n_reordered;
	struct impair_line rx, tx;
};

/* --- options --- */

struct impair_unit {
	const char *name;
	uint64_t factor;
};

static const struct impair_unit impair_times[] = {
	{ "ns", 1 }, { "us", 1000 }, { "ms", 1000000 }, { "s", IMPAIR_S }, { NULL, 0 },
};
static const struct impair_unit impair_parts[] = {
	{ "%", IMPAIR_WHOLE / 100 },
	{ NULL, 0 },
};
static const struct impair_unit impair_rates[] = {
	{ "bit", 1 }, { "kbit", 1000 }, { "mbit", 1000000 }, { "gbit", IMPAIR_S }, { NULL, 0 },
};

/* "1.5ms": up to nine digits on either side of the point; 0 needs no unit. */
static bool impair_parse(const char *s, const struct impair_unit *units, uint64_t max,
			 uint64_t *value)
{
	uint64_t whole = 0, part = 0, scale = IMPAIR_S;
	const char *at = s;

	for (; *at >= '0' && *at <= '9' && at - s < 9; at++)
		whole = whole * 10 + (uint64_t)(*at - '0');
	if (at == s)
		return false;
	if (*at == '.') {
		for (at++; *at >= '0' && *at <= '9' && scale > 1; at++) {
			scale /= 10;
			part += (uint64_t)(*at - '0') * scale;
		}
		if (scale == IMPAIR_S)
			return false;
	}
	*value = 0;
	if (!*at && !whole && !part)
		return true;
	while (units->name && strcasecmp(units->name, at))
		units++;
	if (!units->name)
		return false;
	/* Below 1e9 * 1e9: it fits. */
	*value = whole * units->factor +
		 (uint64_t)((unsigned __int128)part * units->factor / IMPAIR_S);
	return *value <= max;
}

static const struct {
	const char *name;
	size_t off;
	const struct impair_unit *units;
	uint64_t max;
	const char *expects;
} impair_values[] = {
#define V(field, units, max, expects)                                                              \
	{                                                                                          \
#field, offsetof(struct impair, field), units, max, expects                        \
	}
	V(delay, impair_times, IMPAIR_TIME_MAX, "a time up to 1 h with its unit, such as 20ms"),
	V(jitter, impair_times, IMPAIR_TIME_MAX, "a time up to 1 h with its unit, such as 5ms"),
	V(loss, impair_parts, IMPAIR_WHOLE, "a percentage, such as 1%"),
	V(duplicate, impair_parts, IMPAIR_WHOLE, "a percentage, such as 0.1%"),
	V(reorder, impair_parts, IMPAIR_WHOLE, "a percentage, such as 1%"),
	V(rate, impair_rates, IMPAIR_RATE_MAX, "bits a second up to 1000gbit, such as 10mbit"),
#undef V
};

static int impair_take_options(struct impair *m, const struct twx_opts *opts, struct twx_error *e)
{
	size_t i;

	for (i = 0; i < array_size(impair_values); i++) {
		const char *text = twx_opts_str(opts, impair_values[i].name);
		uint64_t value;

		if (!impair_parse(text, impair_values[i].units, impair_values[i].max, &value))
			return twx_error_set(e, EINVAL,
					     "filter %s: parameter '%s' expects %s, not '%s'",
					     m->filter->id, impair_values[i].name,
					     impair_values[i].expects, text);
		if (impair_values[i].units == impair_parts)
			value = (value << 32) / IMPAIR_WHOLE;
		memcpy((uint8_t *)m + impair_values[i].off, &value, sizeof(value));
	}
	m->limit = (uint32_t)twx_opts_int(opts, "limit");
	if (m->reorder && !m->delay) {
		twx_error_set(e, EINVAL, "filter %s: reorder= needs delay=", m->filter->id);
		return twx_error_hint(e,
				      "a reordered frame overtakes those that delay= holds back");
	}
	return 0;
}

/* --- a frame's fate --- */

/* splitmix64: every seed is a good one. */
static uint64_t impair_random(struct impair_line *l)
{
	uint64_t z = l->random += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static bool impair_full(const struct impair_line *l, uint32_t len)
{
	const struct twx_queue *q = l->queue;

	return q && (q->n >= l->impair->limit || len > IMPAIR_BYTES - q->bytes);
}

/* When a frame of @len bytes may leave. @dice is 32 bits wide. */
static uint64_t impair_when(struct impair_line *l, uint32_t len, uint64_t dice)
{
	const struct impair *m = l->impair;
	uint64_t now = twx_loop_now(m->filter->net->loop), wait = m->delay;
	uint64_t swing = (uint64_t)((unsigned __int128)(2 * m->jitter) * dice >> 32);

	wait = wait + swing > m->jitter ? wait + swing - m->jitter : 0;
	/* What will be dropped does not take others' time on the line. */
	if (m->rate && !impair_full(l, len)) {
		l->idle_at = max(l->idle_at, now) +
			     (uint64_t)((unsigned __int128)len * 8 * IMPAIR_S / m->rate);
		wait += l->idle_at - now;
	}
	return now + wait;
}

/* A copy waits until @when, or until what came before it leaves. */
static void impair_hold(struct impair_line *l, const struct twx_frame *frame, uint64_t when)
{
	struct impair *m = l->impair;
	struct queue_node *node = NULL;
	bool first = !l->queue;

	if (!impair_full(l, frame->len))
		node = queue_node_new(frame);
	if (node) {
		node->when = first ? when : max(when, l->queue->tail->when);
		if (queue_add(&l->queue, node) < 0)
			node = NULL;
	}
	if (!node)
		twx_port_drop(m->filter->port, TWX_DROP_LIMIT, frame->len);
	else if (first)
		twx_timer_set(&l->timer, when);
}

static bool impair_frame(struct twx_filter *f, struct twx_port *sender,
			 const struct twx_frame *frame)
{
	struct impair *m = f->priv;
	struct impair_line *l = sender == f->port ? &m->tx : &m->rx;
	uint64_t a = impair_random(l), b = impair_random(l);
	bool twice = (uint32_t)(a >> 32) < m->duplicate, past = (uint32_t)b < m->reorder;
	uint64_t when;

	if ((uint32_t)a < m->loss) {
		m->n_lost++;
		twx_port_drop(f->port, TWX_DROP_IMPAIRED, frame->len);
		return true;
	}
	m->n_duplicated += twice;
	m->n_reordered += past;
	if (past && !twice)
		return false;
	when = impair_when(l, frame->len, b >> 32);
	if (!twice && !l->queue && when <= twx_loop_now(f->net->loop))
		return false;
	impair_hold(l, frame, when);
	if (twice && !past)
		impair_hold(l, frame, when);
	return !past;
}

/* --- release --- */

/* Up to a burst of what is due; null when nothing is. */
static struct queue_node *impair_due(struct impair_line *l, uint64_t now, int *n)
{
	const struct queue_node *node = l->queue ? l->queue->head : NULL;
	int due = 0;

	for (; node && node->when <= now && due < TWX_BURST; node = node->next)
		due++;
	*n = 0;
	return due ? queue_take(&l->queue, due, n) : NULL;
}

static void impair_release(struct twx_timer *timer)
{
	struct impair_line *l = container_of(timer, struct impair_line, timer);
	struct twx_filter *f = l->impair->filter;
	uint64_t now = twx_loop_now(f->net->loop);
	uint32_t budget = l->queue ? l->queue->n : 0; /* what the answers bring is not in it */
	struct queue_node *chain, *node;
	struct twx_frame frames[TWX_BURST];
	int n;

	while (budget && (chain = impair_due(l, now, &n))) {
		budget -= min(budget, (uint32_t)n);
		n = 0;
		for (node = chain; node; node = node->next)
			frames[n++] = node->frame;
		filter_inject(f, l->way, frames, n);
		queue_free_chain(chain);
	}
	if (l->queue)
		twx_timer_set(&l->timer, l->queue->head->when);
}

static void impair_empty(struct impair_line *l, enum twx_drop cause)
{
	l->impair->filter->port->count.drops[cause] += queue_purge(&l->queue);
	twx_timer_cancel(&l->timer);
	l->idle_at = 0;
}

static void impair_purge(struct twx_filter *f)
{
	struct impair *m = f->priv;
	enum twx_drop cause = f->port->link_down || (f->port->peer && f->port->peer->link_down)
				      ? TWX_DROP_LINK_DOWN
				      : TWX_DROP_NO_PEER;

	impair_empty(&m->rx, cause);
	impair_empty(&m->tx, cause);
}

/* --- beginning and end --- */

static void impair_line_init(struct impair_line *l, struct impair *m, enum filter_queue way,
			     uint64_t seed)
{
	l->impair = m;
	l->way = way;
	l->random = seed;
	l->random = impair_random(l) + way; /* the directions are unlike each other */
	twx_timer_init(&l->timer, m->filter->net->loop, impair_release);
}

static int impair_open(struct twx_filter *f, const struct twx_opts *opts, struct twx_error *e)
{
	struct impair *m = f->priv;
	uint64_t seed = (uint64_t)twx_opts_int(opts, "seed");
	int ret;

	m->filter = f;
	ret = impair_take_options(m, opts, e);
	if (ret < 0)
		return ret;
	impair_line_init(&m->rx, m, FILTER_RX, seed);
	impair_line_init(&m->tx, m, FILTER_TX, seed);
	return 0;
}

static void impair_close(struct twx_filter *f)
{
	impair_purge(f);
}

static void impair_info(struct twx_filter *f, char *buf, size_t size)
{
	const struct impair *m = f->priv;
	size_t i, at = 0;

	for (i = 0; i < array_size(impair_values) && at < size; i++)
		if (twx_opts_given(f->opts, impair_values[i].name))
			at += (size_t)snprintf(buf + at, size - at, "%s=%.40s,",
					       impair_values[i].name,
					       twx_opts_str(f->opts, impair_values[i].name));
	if (at < size)
		snprintf(buf + at, size - at,
			 "seed=%lld,limit=%u,lost=%llu,duplicated=%llu,reordered=%llu,held=%u,",
			 (long long)twx_opts_int(f->opts, "seed"), m->limit,
			 (unsigned long long)m->n_lost, (unsigned long long)m->n_duplicated,
			 (unsigned long long)m->n_reordered,
			 (m->rx.queue ? m->rx.queue->n : 0) + (m->tx.queue ? m->tx.queue->n : 0));
}

static const struct twx_opt_desc impair_options[] = {
	{ "delay", TWX_OPT_STR, "0", "time that each frame waits", "TIME" },
	{ "jitter", TWX_OPT_STR, "0", "by how much that varies, up or down; does not reorder",
	  "TIME" },
	{ "loss", TWX_OPT_STR, "0", "share of frames that get lost", "PERCENT%" },
	{ "duplicate", TWX_OPT_STR, "0", "share of frames that arrive twice", "PERCENT%" },
	{ "reorder", TWX_OPT_STR, "0", "share of frames that skip the delay and overtake others",
	  "PERCENT%" },
	{ "rate", TWX_OPT_STR, "0", "bits a second in each direction; 0: no limit", "RATE" },
	{ "seed", TWX_OPT_INT, "1", "of the random numbers: the same gives the same network",
	  NULL },
	{ "limit", TWX_OPT_INT, "1000", "frames that wait in a direction; more are dropped", NULL,
	  .min = 1, .max = 100000 },
	FILTER_COMMON_OPTIONS,
	{ NULL },
};

const struct twx_filter_type filter_impair = {
	.name = "filter-impair",
	.help = "delays, loses, doubles and reorders frames",
	.options = impair_options,
	.priv_size = sizeof(struct impair),
	.open = impair_open,
	.close = impair_close,
	.frame = impair_frame,
	.purge = impair_purge,
	.info = impair_info,
};
