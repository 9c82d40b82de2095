/* SPDX-License-Identifier: BSD-3-Clause */
/* Log lines of a net: by level, and at most LOG_BURST a second from one call site. */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/macros.h"
#include "net/net_priv.h"

#define LOG_SITES 64 /* a power of two */
#define LOG_BURST 5
#define LOG_WINDOW_NS UINT64_C(1000000000)
#define LOG_LINE 1024

/* A call site is known by its format string's address. */
struct log_site {
	const char *fmt;
	uint64_t window; /* when it began */
	unsigned int lines, suppressed;
	enum twx_log_level level;
};

struct net_log {
	struct twx_net *net;
	pthread_mutex_t lock; /* workers have something to say, too */
	struct twx_task task; /* sets the timer for them */
	bool posted;
	struct twx_timer timer; /* tells about suppressed lines when their second is over */
	struct log_site sites[LOG_SITES];
	char last[LOG_SITES][96]; /* beginning of what each site said last */
};

static void log_emit(struct twx_net *net, enum twx_log_level level, const char *line)
{
	net->config.log(net->config.log_opaque, level, line);
}

static void log_tell_suppressed(struct net_log *log, struct log_site *site)
{
	char line[LOG_LINE];

	if (!site->suppressed)
		return;
	snprintf(line, sizeof(line), "%u more suppressed like: %s", site->suppressed,
		 log->last[site - log->sites]);
	site->suppressed = 0;
	log_emit(log->net, site->level, line);
}

static void log_timeout(struct twx_timer *timer)
{
	struct net_log *log = container_of(timer, struct net_log, timer);
	uint64_t now = log->net->n_workers ? clock_ns() : twx_loop_now(log->net->loop), next = 0;
	unsigned int i;

	pthread_mutex_lock(&log->lock);
	for (i = 0; i < LOG_SITES; i++) {
		struct log_site *site = &log->sites[i];
		uint64_t end = site->window + LOG_WINDOW_NS;

		if (!site->suppressed)
			continue;
		if (end <= now)
			log_tell_suppressed(log, site);
		else if (!next || end < next)
			next = end;
	}
	pthread_mutex_unlock(&log->lock);
	if (next)
		twx_timer_set(timer, next);
}

static void log_wait(struct twx_task *t)
{
	struct net_log *log = container_of(t, struct net_log, task);

	pthread_mutex_lock(&log->lock);
	log->posted = false;
	pthread_mutex_unlock(&log->lock);
	if (!log->timer.slot)
		twx_timer_set(&log->timer, twx_loop_now(log->net->loop) + LOG_WINDOW_NS);
}

/* A line that was suppressed will be told of. */
static void log_tell_later(struct net_log *log, uint64_t when)
{
	if (log->net->n_workers == 0) {
		if (!log->timer.slot)
			twx_timer_set(&log->timer, when);
	} else if (!log->posted) {
		log->posted = true;
		twx_loop_post(log->net->loop, &log->task);
	}
}

/* The site of @fmt; a full table shares the entry that @fmt hashes to. */
static struct log_site *log_site(struct net_log *log, const char *fmt)
{
	unsigned int h = (unsigned int)((uintptr_t)fmt * 0x9e3779b97f4a7c15ull >> 32), i;

	for (i = 0; i < LOG_SITES; i++) {
		struct log_site *site = &log->sites[(h + i) & (LOG_SITES - 1)];

		if (!site->fmt)
			site->fmt = fmt;
		if (site->fmt == fmt)
			return site;
	}
	return &log->sites[h & (LOG_SITES - 1)];
}

static bool log_admit(struct net_log *log, struct log_site *site, enum twx_log_level level)
{
	uint64_t now = log->net->n_workers ? clock_ns() : twx_loop_now(log->net->loop);

	if (now - site->window >= LOG_WINDOW_NS) {
		log_tell_suppressed(log, site);
		site->window = now;
		site->lines = 0;
	}
	site->level = level;
	if (site->lines++ < LOG_BURST)
		return true;
	if (!site->suppressed++)
		log_tell_later(log, site->window + LOG_WINDOW_NS);
	return false;
}

void twx_log(struct twx_net *net, enum twx_log_level level, const char *fmt, ...)
{
	struct log_site *site;
	char line[LOG_LINE];
	va_list ap;

	if (!net->config.log || level > net->config.log_level)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&net->log->lock);
	site = log_site(net->log, fmt);
	if (log_admit(net->log, site, level)) {
		snprintf(net->log->last[site - net->log->sites], sizeof(net->log->last[0]), "%.95s",
			 line);
		log_emit(net, level, line);
	}
	pthread_mutex_unlock(&net->log->lock);
}

int net_log_new(struct twx_net *net)
{
	if (!net->config.log)
		return 0;
	net->log = calloc(1, sizeof(*net->log));
	if (!net->log)
		return -ENOMEM;
	net->log->net = net;
	net->log->task.fn = log_wait;
	pthread_mutex_init(&net->log->lock, NULL);
	twx_timer_init(&net->log->timer, net->loop, log_timeout);
	return 0;
}

void net_log_free(struct twx_net *net)
{
	unsigned int i;

	if (!net->log)
		return;
	for (i = 0; i < LOG_SITES; i++)
		log_tell_suppressed(net->log, &net->log->sites[i]);
	twx_timer_cancel(&net->log->timer);
	twx_loop_undefer(net->loop, &net->log->task);
	pthread_mutex_destroy(&net->log->lock);
	free(net->log);
	net->log = NULL;
}
