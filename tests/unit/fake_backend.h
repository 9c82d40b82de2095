/* SPDX-License-Identifier: BSD-3-Clause */
/* A backend type whose port is a toy's, for what hangs on backends. */
#ifndef FAKE_BACKEND_H
#define FAKE_BACKEND_H

#include "toy.h"

/* A toy with a backend of its own as peer: a type whose port is a toy's. */
struct fake {
	struct toy *guest;
	struct toy *host; /* the backend's */
};

static int fake_open(struct twx_backend *b, const struct twx_opts *opts, struct twx_error *e)
{
	int i, n = (int)twx_opts_int(opts, "queues");

	for (i = 0; i < n; i++)
		if (!twx_backend_add_port(b, e))
			return -e->code;
	return 0;
}

static void fake_close(struct twx_backend *b)
{
}

static int fake_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	struct twx_backend *b = port->owner;
	struct toy *t = *(struct toy **)b->priv;
	struct twx_port alias = { .owner = t };

	return toy_receive(&alias, frames, n);
}

static const struct twx_port_ops fake_ops = { .receive = fake_receive };
static const struct twx_opt_desc fake_options[] = {
	{ "queues", TWX_OPT_INT, "1", "number of queues", NULL, 1, 64 },
	{ NULL },
};
static const struct twx_backend_type fake_type = {
	.name = "fake",
	.help = "of this test",
	.options = fake_options,
	.port_ops = &fake_ops,
	.priv_size = sizeof(struct toy *),
	.open = fake_open,
	.close = fake_close,
};

static inline struct twx_backend *fake_backend(struct world *w, struct fake *f)
{
	struct twx_backend *b;

	assert_int_equal(twx_net_add_backend_type(w->net, &fake_type), 0);
	assert_int_equal(twx_backend_new(&b, w->net, "fake,id=n0", NULL), 0);
	f->guest = toy_new(w->net, "guest");
	f->host = toy_new(w->net, "host");
	*(struct toy **)b->priv = f->host;
	assert_int_equal(twx_port_pair(&f->guest->port, b->ports[0], NULL), 0);
	return b;
}

static inline void fake_free(struct fake *f)
{
	toy_free(f->guest);
	toy_free(f->host);
}

#endif
