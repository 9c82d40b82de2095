/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A serial port: a 16550A whose line is a chardev.
 *
 * Source: National Semiconductor PC16550D, section 8. Baud rate, parity and stop bits are kept and
 * mean nothing: a character takes no time.
 *
 * Out. What the guest writes to THR collects in a buffer of TX_ROOM bytes, and one chardev_write()
 * at the end of the loop's round takes all of it. While the buffer has room the transmitter says
 * that it is empty, so a driver's burst is one exit a byte and nothing else. When whoever reads the
 * chardev falls behind, the buffer fills, THRE goes, and a driver that honours it loses nothing.
 *
 * In. The chardev is asked for what fits the FIFO (16 bytes, or one with the FIFO off) and for more
 * when the guest has emptied it; what does not fit stays with the sender.
 *
 * Interrupts: receive at the trigger level, or below it the time-out that would follow; transmitter
 * empty; line and modem status. The line is ISA's, an edge; ports 1 and 3, and 2 and 4, share one.
 * Without OUT2 it is off, as on a PC's adapter. Loopback (MCR bit 4) does what drivers probe for.
 *
 * Not modelled: break in either direction, DMA mode, a modem's lines going up and down: CTS, DSR
 * and DCD are on always.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "hosts/machine/machine.h"
#include "net/chardev.h"

#define FIFO_LEN 16u
#define TX_ROOM 4096u

/* Registers, 8.0 of the data sheet; the first two are the divisor while LCR.DLAB is set. */
enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR, N_REGS };

#define IER_RDI 0x01u
#define IER_THRI 0x02u
#define IER_RLSI 0x04u
#define IER_MSI 0x08u
#define IER_ALL 0x0fu
#define IIR_NONE 0x01u
#define IIR_MSI 0x00u
#define IIR_THRI 0x02u
#define IIR_RDI 0x04u
#define IIR_RLSI 0x06u
#define IIR_TIMEOUT 0x0cu
#define IIR_FIFO 0xc0u
#define FCR_ENABLE 0x01u
#define FCR_CLEAR_RX 0x02u
#define FCR_CLEAR_TX 0x04u
#define FCR_KEPT 0xc9u
#define LCR_DLAB 0x80u
#define MCR_OUT2 0x08u
#define MCR_LOOP 0x10u
#define MCR_ALL 0x1fu
#define LSR_DR 0x01u
#define LSR_OE 0x02u
#define LSR_THRE 0x20u
#define LSR_TEMT 0x40u
#define MSR_DELTA 0x0fu
#define MSR_CTS 0x10u
#define MSR_DSR 0x20u
#define MSR_RI 0x40u
#define MSR_DCD 0x80u

struct serial {
	struct board_dev dev;
	struct twx_machine *m;
	struct as_region region;
	struct twx_chardev *chardev; /* null: nobody */
	struct chardev_user user;
	struct twx_task flush;
	char name[16];
	unsigned int irq;
	bool line; /* what it wants of the interrupt line */

	/* State. */
	uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
	uint8_t overrun;     /* LSR.OE */
	uint8_t msr_delta;   /* low half of MSR */
	uint8_t thr_pending; /* the transmitter became empty, and nobody has been told */
	uint8_t rx[FIFO_LEN];
	uint8_t n_rx;
	uint8_t tx[TX_ROOM];
	uint16_t n_tx;
};

static unsigned int rx_room(const struct serial *s)
{
	return (s->fcr & FCR_ENABLE ? FIFO_LEN : 1) - s->n_rx;
}

/* The interrupt with the highest priority (8.6, table III). */
static uint8_t interrupt(const struct serial *s)
{
	static const uint8_t trigger[4] = { 1, 4, 8, 14 };

	if ((s->ier & IER_RLSI) && s->overrun)
		return IIR_RLSI;
	if ((s->ier & IER_RDI) && s->n_rx)
		return s->fcr & FCR_ENABLE && s->n_rx < trigger[s->fcr >> 6] ? IIR_TIMEOUT
									     : IIR_RDI;
	if ((s->ier & IER_THRI) && s->thr_pending)
		return IIR_THRI;
	if ((s->ier & IER_MSI) && s->msr_delta)
		return IIR_MSI;
	return IIR_NONE;
}

static void serial_free(void *opaque);

/* The shared line is the or of its ports. Most accesses change nothing, and cost nothing then. */
static void update_irq(struct serial *s)
{
	bool line = interrupt(s) != IIR_NONE && (s->mcr & MCR_OUT2) && !(s->mcr & MCR_LOOP);
	bool level = line;

	if (line == s->line)
		return;
	s->line = line;
	for (const struct board_dev *d = s->m->devs; d && !level; d = d->next) {
		const struct serial *other = d->opaque;

		level = d->free == serial_free && other->irq == s->irq && other->line;
	}
	machine_set_gsi(s->m, s->irq, level);
}

/* Out */

static void tx_flush(struct serial *s)
{
	size_t n = s->n_tx;

	if (s->chardev && n)
		n = chardev_write(s->chardev, s->tx, n);
	n = min(n, (size_t)s->n_tx);
	if (n == 0)
		return;
	/* Room where there was none is news for the guest. */
	if (s->n_tx == TX_ROOM)
		s->thr_pending = 1;
	memmove(s->tx, s->tx + n, s->n_tx - n);
	s->n_tx = (uint16_t)(s->n_tx - n);
	update_irq(s);
}

static void flush_run(struct twx_task *t)
{
	tx_flush(container_of(t, struct serial, flush));
}

static void drained(struct chardev_user *u)
{
	tx_flush(container_of(u, struct serial, user));
}

static void rx_put(struct serial *s, uint8_t byte)
{
	if (rx_room(s) == 0)
		s->overrun = 1;
	else
		s->rx[s->n_rx++] = byte;
}

static void tx_put(struct serial *s, uint8_t byte)
{
	s->thr_pending = 0;
	if (s->mcr & MCR_LOOP) {
		rx_put(s, byte);
	} else if (s->n_tx < TX_ROOM) {
		s->tx[s->n_tx++] = byte;
		twx_loop_defer(s->m->loop, &s->flush);
	}
	if (s->n_tx < TX_ROOM)
		s->thr_pending = 1;
}

/* In */

/* Asked anew when the FIFO is empty: sixteen bytes at a time, not one. */
static void rx_ask(struct serial *s)
{
	bool ready = s->n_rx == 0 && !(s->mcr & MCR_LOOP);

	if (s->chardev)
		chardev_room(s->chardev, ready ? rx_room(s) : 0);
}

static void input(struct chardev_user *u, const uint8_t *buf, size_t len)
{
	struct serial *s = container_of(u, struct serial, user);

	for (size_t i = 0; i < len; i++)
		rx_put(s, buf[i]);
	update_irq(s);
}

static uint8_t rx_take(struct serial *s)
{
	uint8_t byte = s->rx[0];

	if (s->n_rx == 0)
		return 0;
	s->n_rx--;
	memmove(s->rx, s->rx + 1, s->n_rx);
	if (s->n_rx == 0)
		rx_ask(s);
	return byte;
}

/* Registers */

static uint8_t lsr(const struct serial *s)
{
	return (uint8_t)((s->n_rx ? LSR_DR : 0) | (s->overrun ? LSR_OE : 0) |
			 (s->n_tx < TX_ROOM ? LSR_THRE | LSR_TEMT : 0));
}

/* In loopback the four outputs are the four inputs (8.7). */
static uint8_t msr_lines(const struct serial *s)
{
	if (!(s->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (uint8_t)((s->mcr & 0x02 ? MSR_CTS : 0) | (s->mcr & 0x01 ? MSR_DSR : 0) |
			 (s->mcr & 0x04 ? MSR_RI : 0) | (s->mcr & 0x08 ? MSR_DCD : 0));
}

static void write_mcr(struct serial *s, uint8_t value)
{
	uint8_t before = msr_lines(s);

	s->mcr = value & MCR_ALL;
	s->msr_delta |= (uint8_t)((before ^ msr_lines(s)) >> 4);
	/* RI counts when it goes off only. */
	if (msr_lines(s) & MSR_RI)
		s->msr_delta &= (uint8_t) ~(MSR_RI >> 4);
	rx_ask(s);
}

static void write_fcr(struct serial *s, uint8_t value)
{
	/* A change of the enable bit clears both FIFOs (8.5). */
	bool toggled = (value ^ s->fcr) & FCR_ENABLE;

	if (toggled || (value & FCR_CLEAR_RX))
		s->n_rx = 0;
	if (toggled || (value & FCR_CLEAR_TX))
		s->thr_pending = 1; /* what was written is on the line already */
	s->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
	rx_ask(s);
}

static void write_ier(struct serial *s, uint8_t value)
{
	/* Enabled with the transmitter empty, its interrupt comes at once. */
	if ((value & ~s->ier & IER_THRI) && s->n_tx < TX_ROOM)
		s->thr_pending = 1;
	s->ier = value & IER_ALL;
}

static uint8_t read_iir(struct serial *s)
{
	uint8_t iir = interrupt(s);

	if (iir == IIR_THRI)
		s->thr_pending = 0;
	return iir | (s->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static uint8_t reg_read(struct serial *s, unsigned int reg)
{
	bool dlab = s->lcr & LCR_DLAB;
	uint8_t v;

	switch (reg) {
	case REG_DATA:
		return dlab ? s->dll : rx_take(s);
	case REG_IER:
		return dlab ? s->dlm : s->ier;
	case REG_IIR_FCR:
		return read_iir(s);
	case REG_LCR:
		return s->lcr;
	case REG_MCR:
		return s->mcr;
	case REG_LSR:
		v = lsr(s);
		s->overrun = 0;
		return v;
	case REG_MSR:
		v = msr_lines(s) | s->msr_delta;
		s->msr_delta = 0;
		return v;
	default:
		return s->scr;
	}
}

static void reg_write(struct serial *s, unsigned int reg, uint8_t value)
{
	bool dlab = s->lcr & LCR_DLAB;

	switch (reg) {
	case REG_DATA:
		if (dlab)
			s->dll = value;
		else
			tx_put(s, value);
		break;
	case REG_IER:
		if (dlab)
			s->dlm = value;
		else
			write_ier(s, value);
		break;
	case REG_IIR_FCR:
		write_fcr(s, value);
		break;
	case REG_LCR:
		s->lcr = value;
		break;
	case REG_MCR:
		write_mcr(s, value);
		break;
	case REG_SCR:
		s->scr = value;
		break;
	default: /* LSR and MSR are read only */
		break;
	}
}

/* A wide access is one of bytes, low address first. */
static uint64_t serial_read(void *opaque, uint64_t off, unsigned int size)
{
	struct serial *s = opaque;
	uint64_t v = 0;

	for (unsigned int i = 0; i < size; i++)
		v |= (uint64_t)reg_read(s, (unsigned int)off + i) << (8 * i);
	update_irq(s);
	return v;
}

static void serial_write(void *opaque, uint64_t off, unsigned int size, uint64_t value)
{
	struct serial *s = opaque;

	for (unsigned int i = 0; i < size; i++)
		reg_write(s, (unsigned int)off + i, (uint8_t)(value >> (8 * i)));
	update_irq(s);
}

static const struct as_ops serial_ops = { .read = serial_read, .write = serial_write };

/* State */

static const struct state_field serial_fields[] = {
	STATE_U8(struct serial, ier),
	STATE_U8(struct serial, fcr),
	STATE_U8(struct serial, lcr),
	STATE_U8(struct serial, mcr),
	STATE_U8(struct serial, scr),
	STATE_U8(struct serial, dll),
	STATE_U8(struct serial, dlm),
	STATE_U8(struct serial, overrun),
	STATE_U8(struct serial, msr_delta),
	STATE_U8(struct serial, thr_pending),
	STATE_U8(struct serial, rx),
	STATE_U8(struct serial, n_rx),
	STATE_U8(struct serial, tx),
	STATE_U16(struct serial, n_tx),
	{ 0 },
};

static int serial_check(const void *copy, struct twx_error *e)
{
	const struct serial *s = copy;

	if (s->n_rx > (s->fcr & FCR_ENABLE ? FIFO_LEN : 1) || s->n_tx > TX_ROOM)
		return twx_error_set(e, EINVAL, "%u bytes received and %u sent do not fit", s->n_rx,
				     s->n_tx);
	if ((s->ier & ~IER_ALL) || (s->mcr & ~MCR_ALL) || (s->fcr & ~FCR_KEPT) ||
	    (s->msr_delta & ~MSR_DELTA) || s->overrun > 1 || s->thr_pending > 1)
		return twx_error_set(e, EINVAL, "a register has bits that do not exist");
	return 0;
}

static void serial_loaded(void *obj)
{
	struct serial *s = obj;

	if (s->n_tx)
		twx_loop_defer(s->m->loop, &s->flush);
	rx_ask(s);
	s->line = false;
	update_irq(s);
}

static const struct state_section serial_sections[] = {
	{ .name = "serial",
	  .version = 1,
	  .fields = serial_fields,
	  .check = serial_check,
	  .after_load = serial_loaded },
	{ 0 },
};

/* What the guest has written before a reset is still sent. */
static void serial_reset(void *opaque)
{
	struct serial *s = opaque;

	s->ier = s->fcr = s->lcr = s->scr = s->overrun = s->msr_delta = s->n_rx = 0;
	s->mcr = 0;
	s->dll = 12; /* 9600 baud, as a BIOS leaves it */
	s->dlm = 0;
	s->thr_pending = 0;
	rx_ask(s);
	update_irq(s);
}

static void serial_free(void *opaque)
{
	struct serial *s = opaque;

	as_remove(&s->region);
	if (s->chardev) {
		(void)chardev_write(s->chardev, s->tx, s->n_tx);
		chardev_release(s->chardev);
	}
	twx_loop_undefer(s->m->loop, &s->flush);
	free(s);
}

static int serial_connect(struct serial *s, const char *chardev, struct twx_error *e)
{
	struct twx_chardev *c = chardev_find(s->m->net, chardev);
	int rc;

	if (!c) {
		twx_error_set(e, ENODEV, "%s: there is no chardev '%s'", s->name, chardev);
		return twx_error_hint(e, "make it first: -chardev KIND,id=%s,...", chardev);
	}
	rc = chardev_take(c, &s->user, e);
	if (rc == 0)
		s->chardev = c;
	return rc;
}

int board_serial(struct twx_machine *m, unsigned int port, const char *chardev, struct twx_error *e)
{
	static const struct {
		uint16_t port;
		uint8_t irq;
	} places[4] = { { 0x3f8, 4 }, { 0x2f8, 3 }, { 0x3e8, 4 }, { 0x2e8, 3 } };
	struct serial *s;
	int rc = 0;

	if (port >= array_size(places))
		return twx_error_set(e, EINVAL, "serial port %u: there are 0 to 3", port);
	s = calloc(1, sizeof(*s));
	if (!s)
		return twx_error_set(e, ENOMEM, "serial port: out of memory");
	snprintf(s->name, sizeof(s->name), "serial%u", port);
	s->m = m;
	s->irq = places[port].irq;
	s->user = (struct chardev_user){ .input = input, .drained = drained };
	s->flush.fn = flush_run;
	s->region = (struct as_region){
		.name = s->name, .ops = &serial_ops, .opaque = s, .size = N_REGS
	};
	s->dev = (struct board_dev){ .name = s->name,
				     .opaque = s,
				     .reset = serial_reset,
				     .free = serial_free,
				     .state = { serial_sections, s, sizeof(*s) } };
	if (chardev)
		rc = serial_connect(s, chardev, e);
	if (rc == 0) {
		rc = as_add(&m->io, &s->region, places[port].port);
		if (rc < 0)
			twx_error_set(e, -rc, "%s: cannot be placed: %s", s->name, strerror(-rc));
	}
	if (rc < 0) {
		serial_free(s);
		return rc;
	}
	machine_add_dev(m, &s->dev);
	serial_reset(s);
	return 0;
}
