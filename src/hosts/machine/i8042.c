/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The keyboard controller, as far as a PC without a keyboard needs it, and the ways to reset.
 *
 * Source: Intel UPI-41/42 as IBM's PC AT wired it (AT Technical Reference, "Keyboard Controller").
 * There is a keyboard that answers every command and whose keys nobody presses, so that drivers
 * find what they look for at once instead of waiting for answers; there is no mouse, and the
 * controller says so quickly (an AUX loop that comes back on the wrong side).
 *
 * Resets: command 0xfe here, bit 0 of port 0x92, and the reset control register 0xcf9. The last one
 * lies inside of the PCI bus's address port, which takes accesses of four bytes only and leaves
 * others to what is below it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "hosts/machine/machine.h"

#define KBD_IRQ 1u
#define QUEUE_LEN 16u

enum { PORT_DATA = 0x60, PORT_COMMAND = 0x64, PORT_92 = 0x92 };

#define STATUS_OBF 0x01u
#define STATUS_SYSTEM 0x04u
#define STATUS_COMMAND 0x08u
#define STATUS_UNLOCKED 0x10u

#define CTR_KBD_IRQ 0x01u
#define CTR_SYSTEM 0x04u
#define CTR_KBD_OFF 0x10u
#define CTR_AUX_OFF 0x20u
#define CTR_TRANSLATE 0x40u

#define OUTPUT_NO_RESET 0x01u
#define OUTPUT_A20 0x02u

#define ACK 0xfau
#define RESEND 0xfeu

struct i8042 {
	struct board_dev dev;
	struct twx_machine *m;
	struct as_region data, command, port92, port_cf9;
	bool line;

	/* State. */
	uint8_t ctr;	/* the command byte */
	uint8_t output; /* output port: A20 is kept and means nothing */
	uint8_t cf9;
	uint8_t last_was_command;
	uint8_t pending;     /* command that waits for its byte at 0x60; 0: none */
	uint8_t kbd_pending; /* the same of the keyboard's */
	uint8_t queue[QUEUE_LEN];
	uint8_t n_queue;
};

static void update_irq(struct i8042 *k)
{
	bool line = k->n_queue && (k->ctr & CTR_KBD_IRQ);

	if (line != k->line)
		machine_set_gsi(k->m, KBD_IRQ, line);
	k->line = line;
}

/* What does not fit is lost: a guest that never reads needs none of it. */
static void answer(struct i8042 *k, uint8_t byte)
{
	if (k->n_queue < QUEUE_LEN)
		k->queue[k->n_queue++] = byte;
}

/* The keyboard */

static const struct {
	uint8_t command, n;
	uint8_t bytes[2];
} kbd_answers[] = {
	{ 0xf2, 2, { 0xab, 0x83 } }, /* identify */
	{ 0xff, 1, { 0xaa } },	     /* reset, and self-test passed */
};

static void kbd_argument(struct i8042 *k, uint8_t byte)
{
	uint8_t command = k->kbd_pending;

	k->kbd_pending = 0;
	answer(k, ACK);
	if (command == 0xf0 && byte == 0) /* which scan code set? */
		answer(k, 2);
}

static void kbd_write(struct i8042 *k, uint8_t byte)
{
	if (k->kbd_pending) {
		kbd_argument(k, byte);
		return;
	}
	switch (byte) {
	case 0xee: /* echo */
		answer(k, byte);
		return;
	case 0xed: /* lights */
	case 0xf0: /* scan code set */
	case 0xf3: /* repeat rate */
		k->kbd_pending = byte;
		break;
	default:
		break;
	}
	if (byte < 0xed) {
		answer(k, RESEND);
		return;
	}
	answer(k, ACK);
	for (unsigned int i = 0; i < array_size(kbd_answers); i++)
		for (unsigned int j = 0; kbd_answers[i].command == byte && j < kbd_answers[i].n;
		     j++)
			answer(k, kbd_answers[i].bytes[j]);
}

/* The controller */

static void set_output(struct i8042 *k, uint8_t value)
{
	k->output = value | OUTPUT_NO_RESET;
	if (!(value & OUTPUT_NO_RESET))
		machine_ask(k->m, MACHINE_ASK_RESET);
}

static void controller_command(struct i8042 *k, uint8_t command)
{
	k->pending = 0;
	switch (command) {
	case 0x20:
		answer(k, k->ctr);
		break;
	case 0x60: /* command byte */
	case 0xd1: /* output port */
	case 0xd2: /* as if the keyboard had sent it */
	case 0xd3: /* as if the mouse had sent it */
	case 0xd4: /* to the mouse */
		k->pending = command;
		break;
	case 0xa7:
	case 0xa8:
		k->ctr = command == 0xa7 ? k->ctr | CTR_AUX_OFF : k->ctr & ~CTR_AUX_OFF;
		break;
	case 0xa9: /* the mouse's line: stuck */
		answer(k, 0x01);
		break;
	case 0xaa: /* self-test */
		k->ctr |= CTR_SYSTEM;
		answer(k, 0x55);
		break;
	case 0xab: /* the keyboard's line: good */
		answer(k, 0x00);
		break;
	case 0xad:
	case 0xae:
		k->ctr = command == 0xad ? k->ctr | CTR_KBD_OFF : k->ctr & ~CTR_KBD_OFF;
		break;
	case 0xc0: /* input port: not locked */
		answer(k, 0x80);
		break;
	case 0xd0:
		answer(k, k->output);
		break;
	default:
		/* Pulses on the lines whose bit is zero; the lowest is the processor's reset. */
		if (command >= 0xf0 && !(command & 1))
			machine_ask(k->m, MACHINE_ASK_RESET);
		break;
	}
}

static void data_write(struct i8042 *k, uint8_t value)
{
	uint8_t command = k->pending;

	k->pending = 0;
	switch (command) {
	case 0x60:
		k->ctr = value;
		break;
	case 0xd1:
		set_output(k, value);
		break;
	case 0xd2:
	case 0xd3: /* without the mouse's status bit: there is no such side */
		answer(k, value);
		break;
	case 0xd4:
		answer(k, RESEND);
		break;
	default:
		kbd_write(k, value);
		break;
	}
}

static uint64_t data_in(void *opaque, uint64_t off, unsigned int size)
{
	struct i8042 *k = opaque;
	uint8_t byte = k->queue[0];

	if (k->n_queue == 0)
		return byte; /* the last one stays in the latch */
	k->n_queue--;
	if (k->n_queue)
		memmove(k->queue, k->queue + 1, k->n_queue);
	/* An edge for each byte. */
	if (k->line)
		machine_set_gsi(k->m, KBD_IRQ, false);
	k->line = false;
	update_irq(k);
	return byte == 0x83 && (k->ctr & CTR_TRANSLATE) ? 0x41 : byte;
}

static void data_out(void *opaque, uint64_t off, unsigned int size, uint64_t value)
{
	struct i8042 *k = opaque;

	k->last_was_command = 0;
	data_write(k, (uint8_t)value);
	update_irq(k);
}

static uint64_t status_in(void *opaque, uint64_t off, unsigned int size)
{
	struct i8042 *k = opaque;

	return STATUS_UNLOCKED | (k->n_queue ? STATUS_OBF : 0) |
	       (k->ctr & CTR_SYSTEM ? STATUS_SYSTEM : 0) |
	       (k->last_was_command ? STATUS_COMMAND : 0);
}

static void command_out(void *opaque, uint64_t off, unsigned int size, uint64_t value)
{
	struct i8042 *k = opaque;

	k->last_was_command = 1;
	controller_command(k, (uint8_t)value);
	update_irq(k);
}

static uint64_t port92_in(void *opaque, uint64_t off, unsigned int size)
{
	struct i8042 *k = opaque;

	return k->output & OUTPUT_A20;
}

static void port92_out(void *opaque, uint64_t off, unsigned int size, uint64_t value)
{
	struct i8042 *k = opaque;

	k->output = (uint8_t)((k->output & ~OUTPUT_A20) | (value & OUTPUT_A20));
	if (value & 1)
		machine_ask(k->m, MACHINE_ASK_RESET);
}

/* Bit 2 resets when it goes on; bit 1 says hard or soft, which is the same here. */
static uint64_t cf9_in(void *opaque, uint64_t off, unsigned int size)
{
	struct i8042 *k = opaque;

	return k->cf9;
}

static void cf9_out(void *opaque, uint64_t off, unsigned int size, uint64_t value)
{
	struct i8042 *k = opaque;

	if (value & 4)
		machine_ask(k->m, MACHINE_ASK_RESET);
	k->cf9 = value & 2;
}

static const struct as_ops data_ops = { .read = data_in, .write = data_out };
static const struct as_ops command_ops = { .read = status_in, .write = command_out };
static const struct as_ops port92_ops = { .read = port92_in, .write = port92_out };
static const struct as_ops cf9_ops = { .read = cf9_in, .write = cf9_out };

/* State */

static const struct state_field i8042_fields[] = {
	STATE_U8(struct i8042, ctr),
	STATE_U8(struct i8042, output),
	STATE_U8(struct i8042, cf9),
	STATE_U8(struct i8042, last_was_command),
	STATE_U8(struct i8042, pending),
	STATE_U8(struct i8042, kbd_pending),
	STATE_U8(struct i8042, queue),
	STATE_U8(struct i8042, n_queue),
	{ 0 },
};

static int i8042_check(const void *copy, struct twx_error *e)
{
	const struct i8042 *k = copy;

	if (k->n_queue > QUEUE_LEN || k->last_was_command > 1 || (k->cf9 & ~2u))
		return twx_error_set(e, EINVAL, "a register has a value that it cannot have");
	return 0;
}

static void i8042_loaded(void *obj)
{
	struct i8042 *k = obj;

	k->line = false;
	update_irq(k);
}

static const struct state_section i8042_sections[] = {
	{ .name = "i8042",
	  .version = 1,
	  .fields = i8042_fields,
	  .check = i8042_check,
	  .after_load = i8042_loaded },
	{ 0 },
};

static void i8042_reset(void *opaque)
{
	struct i8042 *k = opaque;

	k->ctr = CTR_SYSTEM | CTR_TRANSLATE; /* as a BIOS leaves it, without interrupts */
	k->output = OUTPUT_NO_RESET | OUTPUT_A20;
	k->cf9 = k->last_was_command = k->pending = k->kbd_pending = k->n_queue = 0;
	update_irq(k);
}

static void i8042_free(void *opaque)
{
	struct i8042 *k = opaque;

	as_remove(&k->data);
	as_remove(&k->command);
	as_remove(&k->port92);
	as_remove(&k->port_cf9);
	free(k);
}

static int add(struct i8042 *k, struct as_region *r, const char *name, const struct as_ops *ops,
	       unsigned int port, int priority)
{
	*r = (struct as_region){
		.name = name, .ops = ops, .opaque = k, .size = 1, .priority = priority
	};
	return as_add(&k->m->io, r, port);
}

int board_i8042(struct twx_machine *m, struct twx_error *e)
{
	struct i8042 *k = calloc(1, sizeof(*k));
	int rc;

	if (!k)
		return twx_error_set(e, ENOMEM, "keyboard controller: out of memory");
	k->m = m;
	k->dev = (struct board_dev){ .name = "i8042",
				     .opaque = k,
				     .reset = i8042_reset,
				     .free = i8042_free,
				     .state = { i8042_sections, k, sizeof(*k) } };
	rc = add(k, &k->data, "i8042 data", &data_ops, PORT_DATA, 0);
	if (rc == 0)
		rc = add(k, &k->command, "i8042 command", &command_ops, PORT_COMMAND, 0);
	if (rc == 0)
		rc = add(k, &k->port92, "port 92", &port92_ops, PORT_92, 0);
	if (rc == 0)
		rc = add(k, &k->port_cf9, "reset control", &cf9_ops, RESET_PORT, -1);
	if (rc < 0) {
		i8042_free(k);
		return twx_error_set(e, -rc, "keyboard controller: %s", strerror(-rc));
	}
	machine_add_dev(m, &k->dev);
	i8042_reset(k);
	return 0;
}
