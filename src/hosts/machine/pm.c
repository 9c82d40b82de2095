/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ACPI's fixed hardware: event and control registers, timer, power button; and the way to switch
 * off.
 *
 * Source: ACPI 6.4, 4.8. Registers at PM_BASE: status 0, enable 2 (both of the event block),
 * control 4, timer 8. The SCI is level triggered and high, as the MADT says. There is no SMI
 * command port: SCI_EN is always one. What the FADT says of them is in acpi.c.
 *
 * The timer has 32 bits and runs with the loop's clock; its status bit is worked out when somebody
 * looks, and a timer of the loop is armed only while the guest wants the interrupt, which none
 * does.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/macros.h"
#include "hosts/machine/acpi.h"

#define PM_LEN 12u
enum { REG_STATUS = 0, REG_ENABLE = 2, REG_CONTROL = 4, REG_TIMER = 8 };

/* Status and enable (tables 4.11 and 4.12): the same bits. */
#define PM_TIMER (1u << 0)
#define PM_GLOBAL (1u << 5)
#define PM_POWER_BUTTON (1u << 8)
#define PM_RTC (1u << 10) /* can be enabled, as Linux insists on, and never happens */
#define PM_STATUS (PM_TIMER | PM_POWER_BUTTON)
#define PM_ENABLE (PM_TIMER | PM_GLOBAL | PM_POWER_BUTTON | PM_RTC)
#define CONTROL_SCI_EN (1u << 0)
#define CONTROL_KEPT (7u << 10 | 1u << 1) /* SLP_TYP, BM_RLD */
#define CONTROL_SLP_EN (1u << 13)
#define CONTROL_SLP_TYP(v) ((v) >> 10 & 7u)

#define PM_HZ 3579545u
#define NS 1000000000u

struct pm {
	struct board_dev dev;
	struct twx_machine *m;
	struct as_region region;
	struct twx_timer timer;
	uint64_t began; /* by the loop's clock, when the timer was at 0 */
	bool line;

	/* State. */
	uint16_t status, enable, control;
	uint64_t ticks;	 /* when it is saved */
	uint64_t halves; /* of the timer's range, when its status was last worked out */
};

static uint64_t ticks(const struct pm *p)
{
	uint64_t ns = twx_loop_now(p->m->loop) - p->began;

	return ns / NS * PM_HZ + ns % NS * PM_HZ / NS;
}

/* The highest bit of the timer has changed (4.8.3.3)? */
static void timer_status(struct pm *p)
{
	uint64_t halves = ticks(p) >> 31;

	if (halves != p->halves)
		p->status |= PM_TIMER;
	p->halves = halves;
}

static void timer_arm(struct pm *p)
{
	uint64_t next;

	if (!(p->enable & PM_TIMER) || (p->status & PM_TIMER)) {
		twx_timer_cancel(&p->timer);
		return;
	}
	next = (p->halves + 1) << 31;
	twx_timer_set(&p->timer, p->began + next / PM_HZ * NS + next % PM_HZ * NS / PM_HZ + 1);
}

static void update(struct pm *p)
{
	bool line;

	timer_status(p);
	timer_arm(p);
	line = p->status & p->enable;
	if (line != p->line)
		machine_set_gsi(p->m, PM_SCI, line);
	p->line = line;
}

static void timer_run(struct twx_timer *t)
{
	update(container_of(t, struct pm, timer));
}

static uint64_t pm_read(void *opaque, uint64_t off, unsigned int size)
{
	struct pm *p = opaque;
	uint8_t image[PM_LEN + 8] = { 0 };
	le32 time = le32_make((uint32_t)ticks(p));
	le16 reg;
	le64 v;

	timer_status(p);
	reg = le16_make(p->status);
	memcpy(image + REG_STATUS, &reg, 2);
	reg = le16_make(p->enable);
	memcpy(image + REG_ENABLE, &reg, 2);
	reg = le16_make(p->control | CONTROL_SCI_EN);
	memcpy(image + REG_CONTROL, &reg, 2);
	memcpy(image + REG_TIMER, &time, 4);
	memcpy(&v, image + off, sizeof(v));
	return le64_get(v) & (UINT64_MAX >> (64 - 8 * size));
}

static void write_byte(struct pm *p, unsigned int off, uint8_t value)
{
	unsigned int shift = off & 1 ? 8 : 0;
	uint16_t v = (uint16_t)(value << shift), mask = (uint16_t)(0xff << shift);

	switch (off & ~1u) {
	case REG_STATUS:
		p->status &= (uint16_t)~v;
		break;
	case REG_ENABLE:
		p->enable = ((p->enable & ~mask) | v) & PM_ENABLE;
		break;
	case REG_CONTROL:
		p->control = ((p->control & ~mask) | v) & (CONTROL_KEPT | CONTROL_SLP_EN);
		break;
	default:
		break;
	}
}

static void pm_write(void *opaque, uint64_t off, unsigned int size, uint64_t value)
{
	struct pm *p = opaque;

	timer_status(p);
	for (unsigned int i = 0; i < size; i++)
		write_byte(p, (unsigned int)off + i, (uint8_t)(value >> (8 * i)));
	/* Other types of sleep are not offered. */
	if ((p->control & CONTROL_SLP_EN) && CONTROL_SLP_TYP(p->control) == ACPI_S5_TYPE)
		machine_ask(p->m, MACHINE_ASK_SHUTDOWN);
	p->control &= CONTROL_KEPT;
	update(p);
}

static const struct as_ops pm_ops = { .read = pm_read, .write = pm_write };

static const struct state_field pm_fields[] = {
	STATE_U16(struct pm, status), STATE_U16(struct pm, enable), STATE_U16(struct pm, control),
	STATE_U64(struct pm, ticks),  STATE_U64(struct pm, halves), { 0 },
};

static void pm_before_save(void *obj)
{
	struct pm *p = obj;

	timer_status(p);
	p->ticks = ticks(p);
}

static int pm_check(const void *copy, struct twx_error *e)
{
	const struct pm *p = copy;

	if ((p->status & ~PM_STATUS) || (p->enable & ~PM_ENABLE) || (p->control & ~CONTROL_KEPT))
		return twx_error_set(e, EINVAL, "a register has bits that do not exist");
	/* Some 300 years: more nanoseconds than 64 bits hold would be another time. */
	if (p->ticks > 1ull << 55 || p->halves != p->ticks >> 31)
		return twx_error_set(e, EINVAL, "the timer stands at %llu",
				     (unsigned long long)p->ticks);
	return 0;
}

static void pm_loaded(void *obj)
{
	struct pm *p = obj;
	uint64_t ns;

	/* Unsigned: the timer may have run for longer than this clock. Rounded up: it never goes
	 * back. */
	ns = p->ticks / PM_HZ * NS + (p->ticks % PM_HZ * NS + PM_HZ - 1) / PM_HZ;
	p->began = twx_loop_now(p->m->loop) - ns;
	p->halves = ticks(p) >> 31;
	p->line = false;
	update(p);
}

static const struct state_section pm_sections[] = {
	{ .name = "pm",
	  .version = 1,
	  .fields = pm_fields,
	  .before_save = pm_before_save,
	  .check = pm_check,
	  .after_load = pm_loaded },
	{ 0 },
};

static void pm_reset(void *opaque)
{
	struct pm *p = opaque;

	p->status = p->enable = p->control = 0;
	p->began = twx_loop_now(p->m->loop);
	p->halves = 0;
	update(p);
}

static void pm_free(void *opaque)
{
	struct pm *p = opaque;

	as_remove(&p->region);
	twx_timer_cancel(&p->timer);
	free(p);
}

void board_power_button(struct twx_machine *m)
{
	for (struct board_dev *d = m->devs; d; d = d->next) {
		struct pm *p = d->opaque;

		if (d->free != pm_free)
			continue;
		p->status |= PM_POWER_BUTTON;
		update(p);
	}
}

int board_pm(struct twx_machine *m, struct twx_error *e)
{
	struct pm *p = calloc(1, sizeof(*p));
	int rc;

	if (!p)
		return twx_error_set(e, ENOMEM, "ACPI registers: out of memory");
	p->m = m;
	twx_timer_init(&p->timer, m->loop, timer_run);
	p->region = (struct as_region){ .name = "pm", .ops = &pm_ops, .opaque = p, .size = PM_LEN };
	p->dev = (struct board_dev){ .name = "pm",
				     .opaque = p,
				     .reset = pm_reset,
				     .free = pm_free,
				     .state = { pm_sections, p, sizeof(*p) } };
	rc = as_add(&m->io, &p->region, PM_BASE);
	if (rc < 0) {
		pm_free(p);
		return twx_error_set(e, -rc, "ACPI registers: %s", strerror(-rc));
	}
	machine_add_dev(m, &p->dev);
	pm_reset(p);
	return 0;
}
