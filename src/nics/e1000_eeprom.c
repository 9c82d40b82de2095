/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * e1000: the serial EEPROM, a 93C46 of 64 words behind EECD, and read by EERD (8254x manual, 5.2 to
 * 5.6).
 *
 * Through EECD the driver drives the chip's pins itself. A command begins when CS rises: a start
 * bit, two bits of opcode, six of address, each taken at a rising edge of SK; zeros before the
 * start bit are skipped. READ answers with a zero and then 16 bits from the top, a new one at each
 * rising edge, and goes on with the next word for as long as CS is up. Write and erase commands are
 * accepted and change nothing, as in QEMU; DO says ready.
 */
#include <errno.h>

#include "nics/e1000.h"

#define EE_COMMAND_BITS 8 /* behind the start bit */
#define EE_OP_READ 2
#define EE_SUM 0xbaba
#define EE_DEVICE_1 11
#define EE_DEVICE_2 13

static const uint16_t ee_words[E1000_EEPROM_WORDS] = {
	0x0000, 0x0000, 0x0000, 0x0000, 0xffff, 0x0000, 0x0000, 0x0000, /* 0: address */
	0x3000, 0x1000, 0x6403, 0x0000, 0x8086, 0x0000, 0x8086, 0x3040, 0x0008, 0x2000,
	0x7e14, 0x0048, 0x1000, 0x00d8, 0x0000, 0x2700, 0x6cc9, 0x3150, 0x0722, 0x040b,
	0x0984, 0x0000, 0xc000, 0x0706, 0x1008, 0x0000, 0x0f04, 0x7fff, 0x4d01, 0xffff,
	0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff,
	0x0100, 0x4000, 0x121c, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff,
	0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0x0000, /* 63: checksum */
};

static uint16_t ee_sum(const uint16_t *words, unsigned int n)
{
	uint16_t sum = 0;

	for (unsigned int i = 0; i < n; i++)
		sum = (uint16_t)(sum + words[i]);
	return sum;
}

void e1000_eeprom_init(struct e1000 *d)
{
	const uint8_t *mac = d->nic->mac;
	uint16_t *w = d->eeprom;

	memcpy(w, ee_words, sizeof(ee_words));
	for (unsigned int i = 0; i < 3; i++)
		w[i] = (uint16_t)(mac[2 * i] | mac[2 * i + 1] << 8);
	w[EE_DEVICE_1] = w[EE_DEVICE_2] = d->kind->device;
	w[E1000_EEPROM_WORDS - 1] = (uint16_t)(EE_SUM - ee_sum(w, E1000_EEPROM_WORDS - 1));
}

void e1000_eeprom_load(struct e1000 *d)
{
	d->reg[R_RA] = d->eeprom[0] | (uint32_t)d->eeprom[1] << 16;
	d->reg[R_RA + 1] = d->eeprom[2] | RAH_AV;
}

static void ee_command_bit(struct e1000_eeprom_bus *ee, bool bit)
{
	if (ee->n == 0 && !bit)
		return;
	ee->shift = (uint16_t)(ee->shift << 1 | bit);
	if (++ee->n <= EE_COMMAND_BITS)
		return;
	if ((ee->shift >> 6 & 3) == EE_OP_READ) {
		ee->phase = EE_READING;
		ee->addr = ee->shift & (E1000_EEPROM_WORDS - 1);
		ee->n = 0;
		ee->out = 0;
	} else {
		ee->phase = EE_IDLE;
		ee->n = 0;
	}
}

static void ee_data_bit(struct e1000 *d)
{
	struct e1000_eeprom_bus *ee = &d->ee;

	if (ee->n == 0) {
		ee->shift = d->eeprom[ee->addr % E1000_EEPROM_WORDS];
		ee->addr = (uint8_t)((ee->addr + 1) % E1000_EEPROM_WORDS);
		ee->n = 16;
	}
	ee->out = ee->shift >> 15;
	ee->shift = (uint16_t)(ee->shift << 1);
	ee->n--;
}

void e1000_eecd_write(struct e1000 *d, uint32_t value)
{
	uint32_t rising = value & ~d->reg[R_EECD];
	struct e1000_eeprom_bus *ee = &d->ee;

	d->reg[R_EECD] = value;
	if (!(value & EECD_CS))
		*ee = (struct e1000_eeprom_bus){ .phase = EE_IDLE, .out = 1 };
	else if (rising & EECD_CS)
		*ee = (struct e1000_eeprom_bus){ .phase = EE_COMMAND, .out = 1 };
	else if (!(rising & EECD_SK))
		return;
	else if (ee->phase == EE_COMMAND)
		ee_command_bit(ee, value & EECD_DI);
	else if (ee->phase == EE_READING)
		ee_data_bit(d);
}

/* The arbiter with the MAC's own reads always grants. */
uint32_t e1000_eecd_read(const struct e1000 *d)
{
	return d->reg[R_EECD] | EECD_GNT | EECD_PRES | (d->ee.out ? EECD_DO : 0u);
}

uint32_t e1000_eerd(const struct e1000 *d)
{
	uint32_t v = d->reg[R_EERD], addr = v >> EERD_ADDR_SHIFT & 0xff;

	if (!(v & EERD_START))
		return v;
	v |= EERD_DONE;
	if (addr < E1000_EEPROM_WORDS)
		v |= (uint32_t)d->eeprom[addr] << EERD_DATA_SHIFT;
	return v;
}

int e1000_eeprom_check(const struct e1000 *copy, struct twx_error *e)
{
	const struct e1000_eeprom_bus *ee = &copy->ee;
	const uint16_t *w = copy->eeprom;

	if (w[EE_DEVICE_1] != copy->kind->device || w[EE_DEVICE_2] != copy->kind->device)
		return twx_error_set(e, EINVAL, "it is of another model: device id %#x, not %#x",
				     w[EE_DEVICE_1], copy->kind->device);
	if (ee_sum(w, E1000_EEPROM_WORDS) != EE_SUM || (w[0] & 1))
		return twx_error_set(e, EINVAL, "EEPROM with a wrong checksum or address");
	if (ee->phase > EE_READING || ee->n > (ee->phase == EE_READING ? 16 : EE_COMMAND_BITS) ||
	    ee->addr >= E1000_EEPROM_WORDS || ee->out > 1)
		return twx_error_set(e, EINVAL, "EEPROM bus in a state that it does not have");
	return 0;
}
