/* SPDX-License-Identifier: BSD-3-Clause */
/* e1000, guest to host. */
#include "nics/e1000.h"

#include "base/macros.h"

const struct state_field e1000_tx_fields[] = { { 0 } };

int e1000_tx_check(const void *copy, struct twx_error *e)
{
	return 0;
}

void e1000_tx_loaded(void *obj)
{
	struct e1000 *d = obj;

	d->tx.blocked = false;
}

void e1000_tx_start(struct e1000 *d)
{
	d->reg[R_TDH] = d->reg[R_TDT];
}

void e1000_tx_poll(struct e1000 *d)
{
}

void e1000_tx_reset(struct e1000 *d)
{
	d->tx.blocked = false;
}

void e1000_tx_resume(struct twx_port *port)
{
	e1000_of(port)->tx.blocked = false;
}
