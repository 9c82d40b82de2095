/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Backend "bridge": a tap interface in a bridge of the host, made by a helper program, so that no
 * rights are needed here. QEMU's `-netdev bridge`.
 *
 * tap_helper.c gets the descriptor; from there on it is a tap.
 */
#include <stdio.h>

#include "backends/tap.h"

static const struct twx_opt_desc bridge_options[] = {
	{ "br", TWX_OPT_STR, "br0", "bridge to join", "NAME" },
	{ "helper", TWX_OPT_STR, NULL,
	  "program that makes the interface and passes it here, qemu-bridge-helper when left out",
	  "COMMAND" },
	{ NULL },
};

static int bridge_open(struct twx_backend *b, const struct twx_opts *o, struct twx_error *e)
{
	const char *helper = twx_opts_str(o, "helper"), *br = twx_opts_str(o, "br");
	struct tap *tap = b->priv;
	uint32_t i;
	int err;

	tap->backend = b;
	if (!helper)
		helper = tap_helper_default(tap);
	snprintf(tap->info, sizeof(tap->info), "helper=%s,br=%s", helper, br);
	err = tap_dev_open_helper(tap, helper, br, e);
	err = tap_begin(tap, err, e);
	/* As QEMU names it. */
	for (i = 0; !err && i < b->n_ports; i++)
		b->ports[i]->model = "tap";
	return err;
}

extern const struct twx_backend_type bridge_backend;
const struct twx_backend_type bridge_backend = {
	.name = "bridge",
	.help = "an interface in a bridge of the host, made by a helper program",
	.options = bridge_options,
	.port_ops = &tap_port_ops,
	.priv_size = sizeof(struct tap),
	.open = bridge_open,
	.close = tap_close,
};
