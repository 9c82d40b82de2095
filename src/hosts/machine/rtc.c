/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The real-time clock and its 128 bytes of memory: an MC146818 as IBM's PC AT has it.
 *
 * Source: Motorola MC146818A data sheet. Ports 0x70 (index) and 0x71 (data), IRQ 8.
 *
 * Time is the host's wall clock plus what the guest has set it off by, and is put into the time
 * bytes when somebody looks; while the guest holds them (SET in register B) they are what was
 * written. In between it advances with the loop's clock, and every reset takes the host's time
 * anew. Seconds begin when the host's begin.
 *
 * The three events (periodic, alarm, update ended) are worked out when somebody looks, too, from
 * how far the clock has moved; a timer is armed only for those that the guest wants an interrupt of
 * and that are not pending already. A guest that asks for 8192 interrupts a second and does not
 * acknowledge them costs nothing.
 *
 * The other bytes are memory; some hold what a PC's BIOS leaves there (sizes of memory).
 *
 * Not modelled: square wave, daylight saving, a stopped divider chain, NMI mask, battery.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/macros.h"
#include "hosts/machine/acpi.h"

#define RTC_IRQ 8u
#define RTC_PORT 0x70u
#define N_CMOS 128u

enum {
	SECONDS,
	SECONDS_ALARM,
	MINUTES,
	MINUTES_ALARM,
	HOURS,
	HOURS_ALARM,
	WEEKDAY,
	DAY,
	MONTH,
	YEAR,
	REG_A,
	REG_B,
	REG_C,
	REG_D,
};

#define A_UIP 0x80u
#define A_RATE 0x0fu
#define A_DEFAULT 0x26u /* 32768 Hz, 1024 Hz */
#define B_SET 0x80u
#define B_PIE 0x40u
#define B_AIE 0x20u
#define B_UIE 0x10u
#define B_BINARY 0x04u
#define B_24H 0x02u
#define C_IRQ 0x80u
#define C_PERIODIC 0x40u
#define C_ALARM 0x20u
#define C_UPDATE 0x10u
#define C_EVENTS (C_PERIODIC | C_ALARM | C_UPDATE)
#define D_VALID 0x80u
#define HOUR_PM 0x80u

#define NS 1000000000ull
#define UPDATE_NS 244000u /* how long before an update UIP is on */
#define CRYSTAL 32768u
#define NEVER INT64_MAX
#define OFFSET_MAX (1ll << 40) /* seconds; four digits of year are less */

struct rtc {
	struct board_dev dev;
	struct twx_machine *m;
	struct as_region region;
	struct twx_timer timer;
	uint64_t wall;	  /* host's wall clock minus the loop's clock, ns */
	int64_t seen;	  /* second up to which alarms and updates were worked out */
	uint64_t periods; /* the same for the periodic event */
	bool line;

	/* State. */
	uint8_t index;
	uint8_t cmos[N_CMOS];
	int64_t offset; /* seconds that the guest's clock is ahead of the host's */
};

/* The clock */

static uint64_t wall_now(const struct rtc *r)
{
	return twx_loop_now(r->m->loop) + r->wall;
}

static int64_t seconds_now(const struct rtc *r)
{
	return (int64_t)(wall_now(r) / NS) + r->offset;
}

static void take_wall_clock(struct rtc *r)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	r->wall = (uint64_t)ts.tv_sec * NS + (uint64_t)ts.tv_nsec - twx_loop_now(r->m->loop);
}

static uint8_t encode(const struct rtc *r, unsigned int v)
{
	return (uint8_t)(r->cmos[REG_B] & B_BINARY ? v : (v / 10 << 4 | v % 10));
}

static int decode(const struct rtc *r, uint8_t v)
{
	return r->cmos[REG_B] & B_BINARY ? v : (v >> 4) * 10 + (v & 0x0f);
}

static uint8_t encode_hour(const struct rtc *r, unsigned int hour)
{
	if (r->cmos[REG_B] & B_24H)
		return encode(r, hour);
	return encode(r, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static int decode_hour(const struct rtc *r, uint8_t v)
{
	if (r->cmos[REG_B] & B_24H)
		return decode(r, v);
	return decode(r, v & (uint8_t)~HOUR_PM) % 12 + (v & HOUR_PM ? 12 : 0);
}

/* The time bytes from the clock, unless the guest holds them. */
static void show_time(struct rtc *r)
{
	time_t now = (time_t)seconds_now(r);
	struct tm tm;

	if ((r->cmos[REG_B] & B_SET) || !gmtime_r(&now, &tm))
		return;
	r->cmos[SECONDS] = encode(r, (unsigned int)tm.tm_sec);
	r->cmos[MINUTES] = encode(r, (unsigned int)tm.tm_min);
	r->cmos[HOURS] = encode_hour(r, (unsigned int)tm.tm_hour);
	r->cmos[WEEKDAY] = encode(r, (unsigned int)tm.tm_wday + 1);
	r->cmos[DAY] = encode(r, (unsigned int)tm.tm_mday);
	r->cmos[MONTH] = encode(r, (unsigned int)tm.tm_mon + 1);
	r->cmos[YEAR] = encode(r, (unsigned int)(tm.tm_year + 1900) % 100);
	r->cmos[RTC_CENTURY] = encode(r, (unsigned int)(tm.tm_year + 1900) / 100 % 100);
}

/* The clock from the time bytes; nonsense gives some time or other. */
static void set_time(struct rtc *r)
{
	struct tm tm = {
		.tm_sec = decode(r, r->cmos[SECONDS]),
		.tm_min = decode(r, r->cmos[MINUTES]),
		.tm_hour = decode_hour(r, r->cmos[HOURS]),
		.tm_mday = decode(r, r->cmos[DAY]),
		.tm_mon = decode(r, r->cmos[MONTH]) - 1,
		.tm_year = decode(r, r->cmos[RTC_CENTURY]) * 100 + decode(r, r->cmos[YEAR]) - 1900,
	};

	r->offset = (int64_t)timegm(&tm) - (int64_t)(wall_now(r) / NS);
	r->seen = seconds_now(r);
}

/* Events */

/* The first second after @after at which the alarm goes off. The two highest bits: any value. */
static int64_t next_alarm(const struct rtc *r, int64_t after)
{
	const uint8_t *c = r->cmos;
	int sec = c[SECONDS_ALARM] >= 0xc0 ? -1 : decode(r, c[SECONDS_ALARM]);
	int min = c[MINUTES_ALARM] >= 0xc0 ? -1 : decode(r, c[MINUTES_ALARM]);
	int hour = c[HOURS_ALARM] >= 0xc0 ? -1 : decode_hour(r, c[HOURS_ALARM]);
	int64_t t = after + 1;

	if (sec >= 60 || min >= 60 || hour >= 24)
		return NEVER;
	/* Each step moves to the next candidate: 24 hours, 60 minutes and 60 seconds at most. */
	for (int i = 0; i < 24 + 60 + 60 + 3; i++) {
		int64_t day = ((t % 86400) + 86400) % 86400;

		if (hour >= 0 && day / 3600 != hour)
			t += 3600 - day % 3600;
		else if (min >= 0 && day / 60 % 60 != min)
			t += 60 - day % 60;
		else if (sec >= 0 && day % 60 != sec)
			t++;
		else
			return t;
	}
	return NEVER;
}

/* Ticks of the crystal between two periodic events, 0 for none (table 5 of the data sheet). */
static unsigned int period(const struct rtc *r)
{
	unsigned int rate = r->cmos[REG_A] & A_RATE;

	if (rate == 0)
		return 0;
	return 1u << ((rate < 3 ? rate + 7 : rate) - 1);
}

static uint64_t periods_now(const struct rtc *r)
{
	uint64_t ns = wall_now(r);
	unsigned int len = period(r);

	return len ? (ns / NS * CRYSTAL + ns % NS * CRYSTAL / NS) / len : 0;
}

/* What has happened since the last look. */
static void catch_up(struct rtc *r)
{
	uint64_t periods = periods_now(r);
	int64_t now = seconds_now(r);

	if (periods != r->periods)
		r->cmos[REG_C] |= C_PERIODIC;
	r->periods = periods;
	if (now > r->seen && !(r->cmos[REG_B] & B_SET)) {
		r->cmos[REG_C] |= C_UPDATE;
		if (next_alarm(r, r->seen) <= now)
			r->cmos[REG_C] |= C_ALARM;
	}
	r->seen = now;
}

/* In ns of the wall clock: the next event that is wanted and not pending. */
static uint64_t next_event(const struct rtc *r)
{
	unsigned int wanted = r->cmos[REG_B] & ~r->cmos[REG_C];
	uint64_t when = UINT64_MAX, tick;
	int64_t alarm;

	if ((wanted & B_PIE) && period(r)) {
		tick = (r->periods + 1) * period(r);
		when = tick / CRYSTAL * NS + (tick % CRYSTAL * NS + CRYSTAL - 1) / CRYSTAL;
	}
	if (r->cmos[REG_B] & B_SET)
		return when;
	if (wanted & B_UIE)
		when = min(when, (uint64_t)(r->seen + 1 - r->offset) * NS);
	alarm = wanted & B_AIE ? next_alarm(r, r->seen) : NEVER;
	if (alarm != NEVER)
		when = min(when, (uint64_t)(alarm - r->offset) * NS);
	return when;
}

static void update(struct rtc *r)
{
	bool line = r->cmos[REG_B] & r->cmos[REG_C] & C_EVENTS;
	uint64_t when = next_event(r);

	r->cmos[REG_C] = (uint8_t)((r->cmos[REG_C] & C_EVENTS) | (line ? C_IRQ : 0));
	if (when == UINT64_MAX)
		twx_timer_cancel(&r->timer);
	else
		twx_timer_set(&r->timer, when - r->wall);
	if (line != r->line)
		machine_set_gsi(r->m, RTC_IRQ, line);
	r->line = line;
}

static void timer_run(struct twx_timer *t)
{
	struct rtc *r = container_of(t, struct rtc, timer);

	catch_up(r);
	update(r);
}

/* Registers */

static bool is_time(unsigned int i)
{
	return i == SECONDS || i == MINUTES || i == HOURS || (i >= WEEKDAY && i <= YEAR) ||
	       i == RTC_CENTURY;
}

static uint8_t reg_read(struct rtc *r, unsigned int i)
{
	uint8_t v;

	if (is_time(i))
		show_time(r);
	v = r->cmos[i];
	if (i == REG_A && !(r->cmos[REG_B] & B_SET) && wall_now(r) % NS >= NS - UPDATE_NS)
		return v | A_UIP;
	if (i == REG_C) {
		catch_up(r);
		update(r);
		v = r->cmos[REG_C];
		r->cmos[REG_C] = 0;
		update(r);
	}
	return v;
}

static void write_b(struct rtc *r, uint8_t value)
{
	uint8_t changed = r->cmos[REG_B] ^ value;

	show_time(r); /* in the old format: the bytes do not follow a change of it by themselves */
	r->cmos[REG_B] = value & B_SET ? (uint8_t)(value & ~B_UIE) : value;
	if ((changed & B_SET) && !(value & B_SET))
		set_time(r);
}

static void reg_write(struct rtc *r, unsigned int i, uint8_t value)
{
	catch_up(r);
	if (is_time(i)) {
		show_time(r);
		r->cmos[i] = value;
		if (!(r->cmos[REG_B] & B_SET))
			set_time(r);
	} else if (i == REG_A) {
		r->cmos[i] = value & (uint8_t)~A_UIP;
		r->periods = periods_now(r);
	} else if (i == REG_B) {
		write_b(r, value);
	} else if (i != REG_C && i != REG_D) {
		r->cmos[i] = value;
	}
	update(r);
}

static uint64_t rtc_read(void *opaque, uint64_t off, unsigned int size)
{
	struct rtc *r = opaque;

	if (size == 2)
		return 0xff | (uint64_t)reg_read(r, r->index) << 8;
	return off ? reg_read(r, r->index) : 0xff;
}

static void rtc_write(void *opaque, uint64_t off, unsigned int size, uint64_t value)
{
	struct rtc *r = opaque;

	if (off == 0) {
		r->index = value & (N_CMOS - 1); /* the highest bit masks the NMI */
		value >>= 8;
	}
	if (off == 1 || size == 2)
		reg_write(r, r->index, (uint8_t)value);
}

static const struct as_ops rtc_ops = { .read = rtc_read, .write = rtc_write };

/* State */

static const struct state_field rtc_fields[] = {
	STATE_U8(struct rtc, index),
	STATE_U8(struct rtc, cmos),
	STATE_U64(struct rtc, offset),
	{ 0 },
};

static void rtc_before_save(void *obj)
{
	catch_up(obj);
	update(obj);
}

static int rtc_check(const void *copy, struct twx_error *e)
{
	const struct rtc *r = copy;

	if (r->index >= N_CMOS || r->offset > OFFSET_MAX || r->offset < -OFFSET_MAX)
		return twx_error_set(e, EINVAL, "index %u, %lld seconds ahead", r->index,
				     (long long)r->offset);
	if ((r->cmos[REG_A] & A_UIP) || (r->cmos[REG_C] & ~(C_EVENTS | C_IRQ)) ||
	    r->cmos[REG_D] != D_VALID)
		return twx_error_set(e, EINVAL, "a register has bits that do not exist");
	return 0;
}

static void rtc_loaded(void *obj)
{
	struct rtc *r = obj;

	take_wall_clock(r);
	r->seen = seconds_now(r);
	r->periods = periods_now(r);
	r->line = false;
	update(r);
}

static const struct state_section rtc_sections[] = {
	{ .name = "rtc",
	  .version = 1,
	  .fields = rtc_fields,
	  .before_save = rtc_before_save,
	  .check = rtc_check,
	  .after_load = rtc_loaded },
	{ 0 },
};

/* Bytes of a PC's BIOS: sizes of memory, in their units and up to their limits. */
static void put_sizes(struct rtc *r)
{
	const uint64_t kib = 1u << 10, mib = 1u << 20, low = r->m->ram_low;
	const struct {
		uint8_t at, n;
		uint64_t value;
	} sizes[] = {
		{ 0x15, 2, 640 },
		{ 0x17, 2, low > mib ? min((low - mib) / kib, (uint64_t)0xfc00) : 0 },
		{ 0x30, 2, low > mib ? min((low - mib) / kib, (uint64_t)0xfc00) : 0 },
		{ 0x34, 2, low > 16 * mib ? (low - 16 * mib) / (64 * kib) : 0 },
		{ 0x5b, 3, r->m->ram_high / (64 * kib) },
		{ 0x5f, 1, r->m->n_cpus - 1 },
	};

	for (unsigned int i = 0; i < array_size(sizes); i++)
		for (unsigned int j = 0; j < sizes[i].n; j++)
			r->cmos[sizes[i].at + j] = (uint8_t)(sizes[i].value >> (8 * j));
}

/* Time and memory survive. */
static void rtc_reset(void *opaque)
{
	struct rtc *r = opaque;

	take_wall_clock(r);
	r->index = 0;
	r->cmos[REG_A] = A_DEFAULT;
	r->cmos[REG_B] = B_24H;
	r->cmos[REG_C] = 0;
	r->seen = seconds_now(r);
	r->periods = periods_now(r);
	update(r);
}

static void rtc_free(void *opaque)
{
	struct rtc *r = opaque;

	as_remove(&r->region);
	twx_timer_cancel(&r->timer);
	free(r);
}

int board_rtc(struct twx_machine *m, struct twx_error *e)
{
	struct rtc *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return twx_error_set(e, ENOMEM, "real-time clock: out of memory");
	r->m = m;
	r->cmos[REG_D] = D_VALID;
	put_sizes(r);
	twx_timer_init(&r->timer, m->loop, timer_run);
	r->region = (struct as_region){ .name = "rtc", .ops = &rtc_ops, .opaque = r, .size = 2 };
	r->dev = (struct board_dev){ .name = "rtc",
				     .opaque = r,
				     .reset = rtc_reset,
				     .free = rtc_free,
				     .state = { rtc_sections, r, sizeof(*r) } };
	rc = as_add(&m->io, &r->region, RTC_PORT);
	if (rc < 0) {
		rtc_free(r);
		return twx_error_set(e, -rc, "real-time clock: %s", strerror(-rc));
	}
	machine_add_dev(m, &r->dev);
	rtc_reset(r);
	return 0;
}
