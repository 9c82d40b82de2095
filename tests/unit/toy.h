/* SPDX-License-Identifier: BSD-3-Clause */
/* A port for tests: keeps what it receives, takes as much as it is told to, notes what happens to
 * it. */
#ifndef TOY_H
#define TOY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>

#include <cmocka.h>

#include <twinax/twinax.h>

#include "base/iov.h"

#define TOY_MAX 20000
#define TOY_NO_LIMIT 1000000

struct toy_frame {
	uint8_t *data;
	uint32_t len;
	struct twx_meta meta;
};

struct toy {
	struct twx_port port;
	struct toy_frame *got;
	int n_got, n_bursts, biggest_burst;
	int room;	    /* frames taken before it gets busy */
	int depth, deepest; /* receive and resume calls on the stack */
	int n_resumed, n_link, n_peer;
	void (*on_receive)(struct toy *t);
	void (*on_resume)(struct toy *t);
	/* reserve */
	uint8_t lease_buf[70000];
	uint32_t lease_room; /* 0: busy */
	bool leased;
	int n_committed, n_aborted;
	uint32_t committed;
	void *user;
};

static inline int toy_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	struct toy *t = port->owner;
	int i;

	t->depth++;
	t->deepest = t->depth > t->deepest ? t->depth : t->deepest;
	assert_false(t->leased);
	assert_in_range(n, 1, TWX_BURST);
	t->n_bursts++;
	t->biggest_burst = n > t->biggest_burst ? n : t->biggest_burst;
	for (i = 0; i < n && t->room > 0; i++, t->room--) {
		struct toy_frame *g = &t->got[t->n_got++];

		assert_true(t->n_got < TOY_MAX);
		assert_int_equal(iov_len(frames[i].iov, frames[i].n_iov), frames[i].len);
		assert_true(frames[i].iov[0].iov_len >= frames[i].len ||
			    frames[i].iov[0].iov_len >= TWX_HDR_ROOM);
		g->data = malloc(frames[i].len);
		g->len = frames[i].len;
		g->meta = frames[i].meta;
		iov_copy_from(frames[i].iov, frames[i].n_iov, 0, g->data, g->len);
		if (t->on_receive)
			t->on_receive(t);
	}
	t->depth--;
	return i;
}

static inline void toy_resume(struct twx_port *port)
{
	struct toy *t = port->owner;

	t->depth++;
	t->deepest = t->depth > t->deepest ? t->depth : t->deepest;
	t->n_resumed++;
	if (t->on_resume)
		t->on_resume(t);
	t->depth--;
}

static inline int toy_reserve(struct twx_port *port, size_t min_len, size_t want,
			      struct twx_lease *lease)
{
	struct toy *t = port->owner;

	if (!t->lease_room)
		return -EAGAIN;
	if (t->lease_room < min_len)
		return -EOPNOTSUPP;
	lease->iov[0] = (struct iovec){ t->lease_buf, t->lease_room };
	lease->n_iov = 1;
	lease->len = t->lease_room;
	t->leased = true;
	return 0;
}

static inline void toy_commit(struct twx_port *port, struct twx_lease *lease, size_t len,
			      const struct twx_meta *meta)
{
	struct toy *t = port->owner;

	assert_true(t->leased);
	t->leased = false;
	t->n_committed++;
	t->committed = (uint32_t)len;
}

static inline void toy_abort(struct twx_port *port, struct twx_lease *lease)
{
	struct toy *t = port->owner;

	assert_true(t->leased);
	t->leased = false;
	t->n_aborted++;
}

static inline void toy_link(struct twx_port *port)
{
	((struct toy *)port->owner)->n_link++;
}

static inline void toy_peer(struct twx_port *port)
{
	((struct toy *)port->owner)->n_peer++;
}

static const struct twx_port_ops toy_ops = {
	.receive = toy_receive,
	.resume = toy_resume,
	.reserve = toy_reserve,
	.commit = toy_commit,
	.abort = toy_abort,
	.link_changed = toy_link,
	.peer_changed = toy_peer,
};

/* Takes only what it must: no lease. */
static const struct twx_port_ops toy_plain_ops = {
	.receive = toy_receive,
	.resume = toy_resume,
};

static inline void toy_setup(struct toy *t, struct twx_net *net, const char *name,
			     enum twx_port_kind kind, const struct twx_port_ops *ops)
{
	memset(t, 0, sizeof(*t));
	t->room = TOY_NO_LIMIT;
	t->lease_room = 2000;
	t->got = calloc(TOY_MAX, sizeof(*t->got));
	assert_int_equal(
		twx_port_init(&t->port, net, twx_net_loop(net), kind, name, "toy", 0, ops, t, NULL),
		0);
}

static inline struct toy *toy_new(struct twx_net *net, const char *name)
{
	struct toy *t = malloc(sizeof(*t));

	toy_setup(t, net, name, TWX_PORT_BACKEND, &toy_ops);
	return t;
}

static inline void toy_forget(struct toy *t)
{
	while (t->n_got)
		free(t->got[--t->n_got].data);
}

static inline void toy_free(struct toy *t)
{
	twx_port_fini(&t->port);
	toy_forget(t);
	free(t->got);
	free(t);
}

/* A frame of @len bytes whose 14th byte, if it has one, is @tag; static memory, gone at the next
 * call but 64. */
static inline struct twx_frame toy_frame(uint32_t len, uint8_t tag)
{
	static uint8_t data[TWX_BURST][2048];
	static struct iovec iov[TWX_BURST];
	static int next;
	int i = next++ % TWX_BURST;

	memset(data[i], 0x11, sizeof(data[i]));
	data[i][12] = 0x88;
	data[i][13] = 0xb5;
	data[i][14] = tag;
	iov[i] = (struct iovec){ data[i], len };
	return (struct twx_frame){ .iov = &iov[i], .n_iov = 1, .len = len };
}

static inline int toy_send(struct toy *t, uint8_t tag)
{
	struct twx_frame f = toy_frame(60, tag);

	return twx_port_send(&t->port, &f, 1);
}

static inline void toy_post(struct toy *t, uint8_t tag)
{
	struct twx_frame f = toy_frame(60, tag);

	twx_port_post(&t->port, &f, 1);
}

/* The tags received so far are exactly those of @tags. */
static inline void toy_expect(struct toy *t, const char *tags)
{
	char seen[TOY_MAX + 1];
	int i;

	for (i = 0; i < t->n_got; i++)
		seen[i] = (char)t->got[i].data[14];
	seen[i] = '\0';
	assert_string_equal(seen, tags);
}

/* Loop and net of a test. */
struct world {
	struct twx_loop *loop;
	struct twx_net *net;
	char log[4096];
	int n_lines;
};

static inline void world_log(void *opaque, enum twx_log_level level, const char *line)
{
	struct world *w = opaque;

	snprintf(w->log + strlen(w->log), sizeof(w->log) - strlen(w->log), "%s\n", line);
	w->n_lines++;
}

static inline int world_setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct twx_net_config config = {
		.size = sizeof(config),
		.log = world_log,
		.log_opaque = w,
		.log_level = TWX_LOG_INFO,
	};

	assert_int_equal(twx_loop_new(&w->loop, NULL), 0);
	config.loop = w->loop;
	assert_int_equal(twx_net_new(&w->net, &config, NULL), 0);
	*state = w;
	return 0;
}

static inline int world_teardown(void **state)
{
	struct world *w = *state;

	twx_net_free(w->net);
	twx_loop_free(w->loop);
	free(w);
	return 0;
}

static inline void world_poll(struct world *w)
{
	int i;

	for (i = 0; i < 4; i++)
		assert_true(twx_loop_poll(w->loop, 0) >= 0);
}

#define world_test(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

#endif
