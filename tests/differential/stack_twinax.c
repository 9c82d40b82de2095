/* SPDX-License-Identifier: BSD-3-Clause */
/* Our own `user` backend behind a port without any offloads, through the public interface. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <twinax/twinax.h>

#include "diff.h"

struct twinax_stack {
	struct twx_loop *loop;
	struct twx_net *net;
	struct twx_backend *backend;
	struct twx_port guest;
};

static int guest_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	uint8_t buf[FRAME_MAX];

	for (int i = 0; i < n; i++) {
		size_t len = 0;

		for (uint32_t k = 0; k < frames[i].n_iov; k++) {
			if (len + frames[i].iov[k].iov_len > sizeof(buf))
				abort(); /* the port said no GSO */
			memcpy(buf + len, frames[i].iov[k].iov_base, frames[i].iov[k].iov_len);
			len += frames[i].iov[k].iov_len;
		}
		ctx_output(ctx_current, buf, len);
	}
	return n;
}

static const struct twx_port_ops guest_ops = { .receive = guest_receive };

static void die(const struct twx_error *e)
{
	fprintf(stderr, "%s\n", e->what);
	abort();
}

static void *twinax_open(const char *tftp_root)
{
	struct twinax_stack *s = calloc(1, sizeof(*s));
	struct twx_net_config cfg = { .size = sizeof(cfg) };
	struct twx_error e = { 0 };
	char opts[512];

	if (twx_loop_new(&s->loop, &e))
		die(&e);
	cfg.loop = s->loop;
	snprintf(opts, sizeof(opts),
		 "user,id=n0,hostname=toy,domainname=lab.example,dnssearch=lab.example,dnssearch="
		 "example,"
		 "tftp=%s,bootfile=boot.bin,hostfwd=tcp:127.0.0.1:7001-:7101,hostfwd=udp:127.0.0.1:"
		 "7002-:7102",
		 tftp_root);
	if (twx_net_new(&s->net, &cfg, &e) || twx_backend_new(&s->backend, s->net, opts, &e) ||
	    twx_port_init(&s->guest, s->net, s->loop, TWX_PORT_NIC, "guest", "toy", 0, &guest_ops,
			  s, &e) ||
	    twx_port_pair(&s->guest, s->backend->ports[0], &e))
		die(&e);
	return s;
}

static void twinax_input(void *stack, const uint8_t *frame, size_t len)
{
	struct twinax_stack *s = stack;
	struct iovec iov = { (void *)frame, len };
	struct twx_frame f = { .iov = &iov, .n_iov = 1, .len = (uint32_t)len };

	twx_port_send(&s->guest, &f, 1);
}

static void twinax_step(void *stack, int ms)
{
	struct twinax_stack *s = stack;

	twx_loop_poll(s->loop, ms);
}

static void twinax_skip(void *stack, int ms)
{
	twinax_step(stack, 0);
}

static void twinax_close(void *stack)
{
	struct twinax_stack *s = stack;

	twx_port_fini(&s->guest);
	twx_net_free(s->net);
	twx_loop_free(s->loop);
	free(s);
}

const struct stack_ops stack_twinax = {
	.name = "twinax",
	.open = twinax_open,
	.input = twinax_input,
	.step = twinax_step,
	.skip = twinax_skip,
	.close = twinax_close,
};
