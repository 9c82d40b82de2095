/* SPDX-License-Identifier: BSD-3-Clause */
/* Filters from any text, with frames through them in both directions while time passes. */
#include "fuzz.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <twinax/twinax.h>

#include "base/loop_virtual.h"
#include "base/macros.h"

struct end {
	struct twx_port port;
	uint64_t n_got;
};

struct rig {
	struct twx_watch clock;
	uint64_t until;
};

static int take(struct twx_port *port, const struct twx_frame *frames, int n)
{
	((struct end *)port->owner)->n_got += (uint64_t)n;
	return n;
}

static int stub_open(struct twx_backend *b, const struct twx_opts *opts, struct twx_error *e)
{
	struct end *end = b->priv;
	struct twx_port *port = twx_backend_add_port(b, e);

	if (port)
		port->owner = end;
	return port ? 0 : -1;
}

static void stub_close(struct twx_backend *b)
{
}

static const struct twx_port_ops ops = { .receive = take };
static const struct twx_opt_desc no_options[] = { { NULL } };
static const struct twx_backend_type stub = {
	.name = "stub",
	.help = "of this harness",
	.options = no_options,
	.port_ops = &ops,
	.priv_size = sizeof(struct end),
	.open = stub_open,
	.close = stub_close,
};

static void clock_moves(struct twx_watch *w, uint32_t events)
{
	struct rig *r = container_of(w, struct rig, clock);
	uint64_t n;

	if (read(w->fd, &n, sizeof(n)) != sizeof(n))
		abort();
	(void)loop_virtual_advance(w->loop, r->until, 10000);
}

static void pass(struct rig *r, uint64_t ns)
{
	uint64_t one = 1;

	r->until = twx_loop_now(r->clock.loop) + ns;
	if (write(r->clock.fd, &one, sizeof(one)) != sizeof(one))
		abort();
	twx_loop_poll(r->clock.loop, 0);
	twx_loop_poll(r->clock.loop, 0);
}

/* What the options cannot make true: more frames out than twice those in. */
static void traffic(struct rig *r, struct end *guest, struct twx_port *host)
{
	uint8_t data[128] = { [12] = 8 };
	struct iovec iov = { data, sizeof(data) };
	struct twx_frame f[3];
	struct end *end = host->owner;
	int i;

	for (i = 0; i < 3; i++)
		f[i] = (struct twx_frame){ .iov = &iov, .n_iov = 1, .len = sizeof(data) };
	for (i = 0; i < 8; i++) {
		twx_port_post(host, f, 3);
		assert(twx_port_send(&guest->port, f, 3) == 3);
		pass(r, UINT64_C(1) << (4 * i));
	}
	assert(guest->n_got <= 48 * 8 && end->n_got <= 48 * 8);
}

/* One filter a line; "@" stands for an option list of filter-impair at n0. */
static void add(struct twx_net *net, const char *line)
{
	struct twx_error e;
	char text[512];

	snprintf(text, sizeof(text), "%s%s", *line == '@' ? "filter-impair,netdev=n0," : "",
		 line + (*line == '@'));
	if (strstr(text, "filter-dump") || strstr(text, "qom-type")) /* would write a file */
		return;
	(void)twx_filter_new(NULL, net, text, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct twx_net_config config = { .size = sizeof(config) };
	struct twx_backend *b;
	struct twx_net *net;
	struct end guest = { .n_got = 0 };
	struct rig r = { .until = 0 };
	char *text, *line, *rest;
	int fd, n = 0;

	if (size > 2000 || memchr(data, 0, size))
		return 0;
	text = malloc(size + 1);
	memcpy(text, data, size);
	text[size] = '\0';
	assert(!twx_loop_new(&config.loop, NULL) && !twx_net_new(&net, &config, NULL));
	assert(!twx_net_add_backend_type(net, &stub));
	assert(!twx_backend_new(&b, net, "stub,id=n0", NULL));
	assert(!twx_port_init(&guest.port, net, config.loop, TWX_PORT_NIC, "guest", "stub", 0, &ops,
			      &guest, NULL));
	assert(!twx_port_pair(&guest.port, b->ports[0], NULL));
	assert(!loop_virtual_start(config.loop));
	fd = eventfd(0, EFD_CLOEXEC);
	assert(!twx_watch_add(&r.clock, config.loop, fd, EPOLLIN, clock_moves));
	for (line = strtok_r(text, "\n", &rest); line && n < 3;
	     line = strtok_r(NULL, "\n", &rest), n++)
		add(net, line);
	traffic(&r, &guest, b->ports[0]);
	free(twx_net_info(net));
	twx_watch_del(&r.clock);
	close(fd);
	loop_virtual_stop(config.loop);
	twx_port_fini(&guest.port);
	twx_net_free(net);
	twx_loop_free(config.loop);
	free(text);
	return 0;
}
