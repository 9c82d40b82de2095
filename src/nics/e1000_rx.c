/* SPDX-License-Identifier: BSD-3-Clause */
/* e1000, host to guest. */
#include "nics/e1000.h"

#include "base/macros.h"

const struct state_field e1000_rx_fields[] = { { 0 } };

int e1000_rx_check(const void *copy, struct twx_error *e)
{
	return 0;
}

void e1000_rx_loaded(void *obj)
{
	e1000_rx_config(obj);
}

int e1000_rx_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	for (int i = 0; i < n; i++)
		twx_port_drop(port, TWX_DROP_NO_BUFFER, frames[i].len);
	return n;
}

void e1000_rx_loopback(struct e1000 *d, const struct twx_frame *frames, int n)
{
}

void e1000_rx_config(struct e1000 *d)
{
}

void e1000_rx_refill(struct e1000 *d)
{
	d->rx.ready = true;
	e1000_defer(d);
}

void e1000_rx_poll(struct e1000 *d)
{
	if (d->rx.ready) {
		d->rx.ready = false;
		twx_port_ready(d->port);
	}
}

void e1000_rx_reset(struct e1000 *d)
{
	d->rx.ready = false;
}

void e1000_mem_stale(struct e1000 *d)
{
}
