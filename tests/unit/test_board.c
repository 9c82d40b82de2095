/* SPDX-License-Identifier: BSD-3-Clause */
/* The board's devices as a guest sees them: ACPI registers, clock, keyboard controller, fw_cfg. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/endian.h"
#include "board_kit.h"
#include "hosts/machine/acpi.h"
#include "hosts/machine/linux.h"

#define SECOND 1000000000ull
#define RAM_LEN (64u << 20)

static struct board b;

static int setup(void **state)
{
	int rc = board_kit_open(&b, RAM_LEN, 0);

	b.m.n_cpus = 3;
	rc = rc ? rc : board_rtc(&b.m, NULL);
	rc = rc ? rc : board_i8042(&b.m, NULL);
	rc = rc ? rc : board_pm(&b.m, NULL);
	rc = rc ? rc : board_fwcfg(&b.m, NULL);
	board_advance(&b, 0);
	return rc;
}

static int teardown(void **state)
{
	board_kit_close(&b);
	return 0;
}

static uint32_t in8(unsigned int port)
{
	return board_in(&b, port, 1);
}

static void out8(unsigned int port, unsigned int value)
{
	board_out(&b, port, 1, value);
}

static void reset_all(void)
{
	for (struct board_dev *d = b.m.devs; d; d = d->next)
		if (d->reset)
			d->reset(d->opaque);
}

/* The state of @name saved; the bytes are the caller's. */
static uint8_t *save(const char *name, size_t *len)
{
	uint8_t *out;

	assert_int_equal(state_save(&board_dev_named(&b, name)->state, 1, &out, len), 0);
	return out;
}

static int load(const char *name, const uint8_t *data, size_t len)
{
	return state_load(&board_dev_named(&b, name)->state, 1, data, len, NULL);
}

/* Where field @name's first byte is in a saved state. */
static uint8_t *field(uint8_t *data, size_t len, const char *name)
{
	size_t n = strlen(name);
	uint8_t *p = memmem(data, len, name, n);

	assert_non_null(p);
	return p + n + 5;
}

/* ACPI registers */

#define PM_STS 0x600
#define PM_EN 0x602
#define PM_CNT 0x604
#define PM_TMR 0x608

static void test_pm_timer(void **state)
{
	uint32_t t0 = board_in(&b, PM_TMR, 4);

	board_advance(&b, SECOND);
	assert_in_range(board_in(&b, PM_TMR, 4) - t0, 3579544, 3579546);
	board_advance(&b, 3 * 3600 * SECOND);
	/* Over the top of 32 bits, on a clock that lost nothing. */
	assert_in_range(board_in(&b, PM_TMR, 4) - t0, (uint32_t)(10801ull * 3579545) - 1,
			(uint32_t)(10801ull * 3579545) + 1);
	assert_int_equal(in8(PM_TMR + 3), board_in(&b, PM_TMR, 4) >> 24);
}

/* 2^31 ticks: 600 seconds less some. */
static void test_pm_timer_interrupt(void **state)
{
	board_out(&b, PM_EN, 2, 1);
	board_advance(&b, 599 * SECOND);
	assert_false(b.gsi[PM_SCI]);
	board_advance(&b, SECOND);
	assert_true(b.gsi[PM_SCI]);
	assert_int_equal(board_in(&b, PM_STS, 2), 1);
	board_out(&b, PM_STS, 2, 1);
	assert_false(b.gsi[PM_SCI]);
	board_advance(&b, 599 * SECOND);
	assert_false(b.gsi[PM_SCI]);
	board_advance(&b, 2 * SECOND);
	assert_true(b.gsi[PM_SCI]);
}

/* Nobody enabled it: the status is there when it is looked at. */
static void test_pm_timer_status(void **state)
{
	board_advance(&b, 601 * SECOND);
	assert_false(b.gsi[PM_SCI]);
	assert_int_equal(board_in(&b, PM_STS, 2), 1);
	board_out(&b, PM_EN, 2, 1);
	assert_true(b.gsi[PM_SCI]);
}

static void test_power_button(void **state)
{
	board_power_button(&b.m);
	assert_false(b.gsi[PM_SCI]);
	assert_int_equal(board_in(&b, PM_STS, 2), 0x100);
	out8(PM_EN + 1, 0x01);
	assert_true(b.gsi[PM_SCI]);
	out8(PM_STS, 0xff); /* the other byte */
	assert_true(b.gsi[PM_SCI]);
	out8(PM_STS + 1, 0x01);
	assert_false(b.gsi[PM_SCI]);
	board_power_button(&b.m);
	assert_true(b.gsi[PM_SCI]);
	assert_int_equal(b.edges[PM_SCI], 2);
	/* What Linux enables it wants to read back: the clock's event, too. */
	board_out(&b, PM_EN, 2, 0x0520);
	assert_int_equal(board_in(&b, PM_EN, 2), 0x0520);
	assert_int_equal(board_asked(&b), 0);
	reset_all();
	assert_false(b.gsi[PM_SCI]);
}

static void test_soft_off(void **state)
{
	assert_int_equal(board_in(&b, PM_CNT, 2) & 1, 1); /* SCI_EN, from the beginning */
	board_out(&b, PM_CNT, 2, ACPI_S5_TYPE << 10);
	assert_int_equal(board_asked(&b), 0);
	board_out(&b, PM_CNT, 2, (ACPI_S5_TYPE - 1) << 10 | 1 << 13);
	assert_int_equal(board_asked(&b), 0);
	board_out(&b, PM_CNT, 2, ACPI_S5_TYPE << 10 | 1 << 13);
	assert_int_equal(board_asked(&b), MACHINE_ASK_SHUTDOWN);
	/* SLP_EN reads as zero, or writing back what was read would do it again. */
	assert_int_equal(board_in(&b, PM_CNT, 2), ACPI_S5_TYPE << 10 | 1);
}

static void test_pm_state(void **state)
{
	uint8_t *data;
	uint32_t t0;
	size_t len;

	board_out(&b, PM_EN, 2, 0x100);
	board_power_button(&b.m);
	board_advance(&b, 7 * SECOND);
	t0 = board_in(&b, PM_TMR, 4);
	data = save("pm", &len);
	reset_all();
	board_advance(&b, 100 * SECOND);
	assert_int_equal(load("pm", data, len), 0);
	assert_true(b.gsi[PM_SCI]);
	assert_in_range(board_in(&b, PM_TMR, 4) - t0, 0, 1);
	board_advance(&b, SECOND);
	assert_in_range(board_in(&b, PM_TMR, 4) - t0, 3579544, 3579546);
	*field(data, len, "status") |= 0x80;
	assert_int_equal(load("pm", data, len), -EINVAL);
	*field(data, len, "status") &= 0x7f;
	field(data, len, "ticks")[7] = 0x7f;
	assert_int_equal(load("pm", data, len), -EINVAL);
	/* More nanoseconds than 64 bits hold. */
	memset(field(data, len, "ticks"), 0, 8);
	field(data, len, "ticks")[7] = 1;
	field(data, len, "halves")[3] = 2;
	assert_int_equal(load("pm", data, len), -EINVAL);
	free(data);
}

/* Keyboard controller and resets */

static void command(unsigned int c)
{
	assert_int_equal(in8(0x64) & 2, 0);
	out8(0x64, c);
}

/* The next byte, which must be there. */
static uint32_t answer(void)
{
	assert_int_equal(in8(0x64) & 0x21, 1);
	return in8(0x60);
}

/* What Linux's i8042.c asks of a controller, in its order. */
static void test_i8042_probe(void **state)
{
	uint32_t ctr;

	assert_int_equal(in8(0x64) & 1, 0);
	command(0x20);
	ctr = answer();
	command(0x60);
	out8(0x60, ctr & ~3u);
	command(0xaa);
	assert_int_equal(answer(), 0x55);
	command(0xd3); /* no mouse: what comes back is not from one */
	out8(0x60, 0x5a);
	assert_int_equal(in8(0x64) & 0x20, 0);
	(void)answer();
	command(0xa9);
	assert_int_not_equal(answer(), 0);
	command(0xab);
	assert_int_equal(answer(), 0);
	assert_int_equal(in8(0x64) & 1, 0);
	assert_int_equal(board_asked(&b), 0);
}

static void test_keyboard(void **state)
{
	command(0x60);
	out8(0x60, 0x01); /* its interrupt on, no translation */
	out8(0x60, 0xf2);
	assert_true(b.gsi[1]);
	assert_int_equal(answer(), 0xfa);
	assert_int_equal(b.edges[1], 2); /* one for each byte */
	assert_int_equal(answer(), 0xab);
	assert_int_equal(answer(), 0x83);
	assert_false(b.gsi[1]);
	out8(0x60, 0xff);
	assert_int_equal(answer(), 0xfa);
	assert_int_equal(answer(), 0xaa);
	out8(0x60, 0xed);
	assert_int_equal(answer(), 0xfa);
	out8(0x60, 0x07);
	assert_int_equal(answer(), 0xfa);
	out8(0x60, 0x13); /* no such command */
	assert_int_equal(answer(), 0xfe);
	assert_int_equal(in8(0x64) & 1, 0);
	for (int i = 0; i < 1000; i++)
		out8(0x60, 0xff);
	for (int i = 0; in8(0x64) & 1; i++) {
		assert_in_range(i, 0, 64);
		(void)in8(0x60);
	}
}

static void test_resets(void **state)
{
	command(0xfe);
	assert_int_equal(board_asked(&b), MACHINE_ASK_RESET);
	command(0xd1);
	out8(0x60, 0x02);
	assert_int_equal(board_asked(&b), MACHINE_ASK_RESET);
	command(0xd1);
	out8(0x60, 0x03);
	command(0xff); /* pulses nothing */
	assert_int_equal(board_asked(&b), 0);
	out8(0x92, 0x02);
	assert_int_equal(in8(0x92), 2);
	assert_int_equal(board_asked(&b), 0);
	out8(0x92, 0x01);
	assert_int_equal(board_asked(&b), MACHINE_ASK_RESET);
	out8(0xcf9, 0x02);
	assert_int_equal(board_asked(&b), 0);
	out8(0xcf9, 0x06);
	assert_int_equal(board_asked(&b), MACHINE_ASK_RESET);
}

static void test_i8042_state(void **state)
{
	uint8_t *data;
	size_t len;

	command(0x60);
	out8(0x60, 0x01);
	out8(0x60, 0xf2);
	(void)answer();
	command(0xd1);
	data = save("i8042", &len);
	reset_all();
	assert_false(b.gsi[1]);
	assert_int_equal(load("i8042", data, len), 0);
	assert_true(b.gsi[1]);
	assert_int_equal(answer(), 0xab);
	assert_int_equal(answer(), 0x83);
	out8(0x60, 0x02); /* the output port's byte */
	assert_int_equal(board_asked(&b), MACHINE_ASK_RESET);
	*field(data, len, "n_queue") = 17;
	assert_int_equal(load("i8042", data, len), -EINVAL);
	free(data);
}

/* Clock */

static uint32_t cmos(unsigned int i)
{
	out8(0x70, i);
	return in8(0x71);
}

static void cmos_put(unsigned int i, unsigned int v)
{
	out8(0x70, i | 0x80); /* with NMI masked: the same byte */
	out8(0x71, v);
}

static unsigned int bcd(uint32_t v)
{
	assert_true((v & 15) < 10 && v >> 4 < 10);
	return (v >> 4) * 10 + (v & 15);
}

static time_t read_clock(void)
{
	struct tm tm = { .tm_sec = (int)bcd(cmos(0)),
			 .tm_min = (int)bcd(cmos(2)),
			 .tm_hour = (int)bcd(cmos(4)),
			 .tm_mday = (int)bcd(cmos(7)),
			 .tm_mon = (int)bcd(cmos(8)) - 1,
			 .tm_year = (int)(bcd(cmos(0x32)) * 100 + bcd(cmos(9))) - 1900 };

	return timegm(&tm);
}

/* 1999-12-31, a Friday */
static void set_clock(unsigned int hour, unsigned int min, unsigned int sec)
{
	cmos_put(11, 0x82);
	cmos_put(0x32, 0x19);
	cmos_put(9, 0x99);
	cmos_put(8, 0x12);
	cmos_put(7, 0x31);
	cmos_put(4, hour);
	cmos_put(2, min);
	cmos_put(0, sec);
	cmos_put(11, 0x02);
}

static void test_rtc_time(void **state)
{
	time_t host, guest;

	assert_int_equal(cmos(13), 0x80);
	host = time(NULL);
	guest = read_clock();
	/* The loop's clock stands since the set-up. */
	assert_in_range(host - guest, 0, 60);
	board_advance(&b, 90000 * SECOND);
	assert_int_equal(read_clock() - guest, 90000);
}

static void test_rtc_set(void **state)
{
	set_clock(0x23, 0x59, 0x58);
	assert_int_equal(read_clock(), 946684798);
	assert_int_equal(cmos(6), 6);
	board_advance(&b, 3 * SECOND);
	assert_int_equal(read_clock(), 946684801);
	assert_int_equal(cmos(0x32), 0x20);
	assert_int_equal(cmos(9), 0x00);
	assert_int_equal(cmos(6), 7); /* Saturday */
	cmos_put(11, 0x82);
	board_advance(&b, 5 * SECOND);
	assert_int_equal(cmos(0), 0x01); /* held */
	/* The time survives a reset, which takes the host's anew: there no second has passed. */
	reset_all();
	assert_in_range(read_clock(), 946684798, 946684803);
}

static void test_rtc_formats(void **state)
{
	set_clock(0x12, 0x30, 0x45);
	cmos_put(11, 0x06);
	assert_int_equal(cmos(0), 45);
	assert_int_equal(cmos(2), 30);
	assert_int_equal(cmos(4), 12);
	cmos_put(11, 0x00); /* twelve hours */
	assert_int_equal(cmos(4), 0x92);
	cmos_put(4, 0x12);
	assert_int_equal(cmos(4), 0x12);
	cmos_put(11, 0x02);
	assert_int_equal(cmos(4), 0x00);
}

static void test_rtc_alarm(void **state)
{
	set_clock(0x10, 0x00, 0x00);
	cmos_put(5, 0x10);
	cmos_put(3, 0x01);
	cmos_put(1, 0x05);
	(void)cmos(12);
	cmos_put(11, 0x22);
	board_advance(&b, 63 * SECOND);
	assert_false(b.gsi[8]);
	board_advance(&b, 2 * SECOND);
	assert_true(b.gsi[8]);
	assert_int_equal(cmos(12) & 0xa0, 0xa0);
	assert_false(b.gsi[8]);
	assert_int_equal(cmos(12), 0);
	board_advance(&b, 86390 * SECOND);
	assert_false(b.gsi[8]);
	board_advance(&b, 20 * SECOND);
	assert_true(b.gsi[8]); /* the next day */
	(void)cmos(12);
	cmos_put(5, 0xff); /* any hour */
	cmos_put(3, 0xc0);
	board_advance(&b, 61 * SECOND);
	assert_true(b.gsi[8]);
	(void)cmos(12);
	cmos_put(1, 0x99); /* never */
	board_advance(&b, 90000 * SECOND);
	assert_false(b.gsi[8]);
}

static void test_rtc_update(void **state)
{
	cmos_put(11, 0x12);
	(void)cmos(12);
	board_advance(&b, SECOND);
	assert_true(b.gsi[8]);
	assert_int_equal(cmos(12) & 0x90, 0x90);
	cmos_put(11, 0x02);
	board_advance(&b, 5 * SECOND);
	assert_false(b.gsi[8]);
	assert_int_equal(cmos(12), 0x10 | 0x40); /* flags without interrupts */
}

/* UIP is on before a second ends, and only then. */
static void test_rtc_uip(void **state)
{
	unsigned int on = 0;
	uint32_t sec = cmos(0);

	while (cmos(0) == sec)
		board_advance(&b, 10000000);
	sec = cmos(0);
	for (int i = 0; i < 10000 && cmos(0) == sec; i++) {
		on += cmos(10) >> 7;
		board_advance(&b, 100000);
	}
	assert_in_range(on, 2, 3);
}

/* 1024 Hz as long as it is acknowledged; once when it is not. */
static void test_rtc_periodic(void **state)
{
	unsigned int n = 0;

	(void)cmos(12);
	cmos_put(11, 0x42);
	for (int i = 0; i < 1024; i++) {
		board_advance(&b, SECOND / 1024);
		if (b.gsi[8]) {
			n++;
			assert_int_equal(cmos(12) & 0xc0, 0xc0);
		}
	}
	assert_in_range(n, 1022, 1024);
	b.n_sets = 0;
	board_advance(&b, 10 * SECOND);
	assert_true(b.gsi[8]);
	assert_int_equal(b.n_sets, 1);
	cmos_put(10, 0x20); /* rate 0: none */
	(void)cmos(12);
	board_advance(&b, SECOND);
	assert_false(b.gsi[8]);
}

static void test_rtc_memory(void **state)
{
	/* KiB above 1 MiB, 64 KiB above 16 MiB */
	assert_int_equal(cmos(0x30) | cmos(0x31) << 8, 0xfc00);
	assert_int_equal(cmos(0x34) | cmos(0x35) << 8, 48 * 16);
	assert_int_equal(cmos(0x5f), 2);
	cmos_put(0x0f, 0x0a);
	reset_all();
	assert_int_equal(cmos(0x0f), 0x0a);
}

static void test_rtc_state(void **state)
{
	uint8_t *data;
	size_t len;

	set_clock(0x08, 0x00, 0x00);
	cmos_put(0x40, 0x5a);
	cmos_put(11, 0x12);
	board_advance(&b, 2 * SECOND);
	assert_true(b.gsi[8]);
	data = save("rtc", &len);
	cmos_put(0x40, 0);
	set_clock(0x12, 0, 0);
	reset_all();
	assert_int_equal(load("rtc", data, len), 0);
	assert_true(b.gsi[8]);
	assert_int_equal(cmos(0x40), 0x5a);
	assert_in_range(read_clock(), 946627200, 946627204);
	field(data, len, "offset")[6] ^= 0x10;
	assert_int_equal(load("rtc", data, len), -EINVAL);
	field(data, len, "offset")[6] ^= 0x10;
	*field(data, len, "index") = 0x80;
	assert_int_equal(load("rtc", data, len), -EINVAL);
	free(data);
}

/* fw_cfg */

static void take(unsigned int key, void *buf, size_t len)
{
	uint8_t *p = buf;

	board_out(&b, 0x510, 2, key);
	while (len--)
		*p++ = (uint8_t)in8(0x511);
}

static void test_fwcfg_items(void **state)
{
	char text[5] = "";
	le64 ram;
	le32 id;
	le16 cpus;

	take(0, text, 4);
	assert_string_equal(text, "QEMU");
	assert_int_equal(in8(0x511), 0); /* behind the end */
	take(1, &id, 4);
	assert_int_equal(le32_get(id), 3);
	take(3, &ram, 8);
	assert_int_equal(le64_get(ram), RAM_LEN);
	take(5, &cpus, 2);
	assert_int_equal(le16_get(cpus), 3);
	take(0x1234, text, 4); /* nothing */
	assert_int_equal(text[0], 0);
}

static void test_fwcfg_files(void **state)
{
	struct {
		be32 n, len;
		be16 key, reserved;
		char name[56];
	} dir;
	uint8_t e820[160] = { 0 };
	le64 v;

	take(0x19, &dir, sizeof(dir));
	assert_int_equal(be32_get(dir.n), 1);
	assert_string_equal(dir.name, "etc/e820");
	assert_int_equal(be32_get(dir.len) % 20, 0);
	assert_in_range(be32_get(dir.len), 60, sizeof(e820));
	take(be16_get(dir.key), e820, be32_get(dir.len));
	memcpy(&v, e820 + 8, 8);
	assert_int_equal(le64_get(v), BOOT_EBDA);
	assert_int_equal(e820[16], 1);
}

/* The control structure at @at; what is left in it. */
static uint32_t dma(uint64_t at, uint32_t control, uint32_t len, uint64_t addr)
{
	struct {
		be32 control, len;
		be64 addr;
	} c = { be32_make(control), be32_make(len), be64_make(addr) };
	void *p = mem_ptr(&b.ram, (gpa){ at }, sizeof(c));

	if (p)
		memcpy(p, &c, sizeof(c));
	board_out(&b, 0x514, 4, __builtin_bswap32((uint32_t)(at >> 32)));
	board_out(&b, 0x518, 4, __builtin_bswap32((uint32_t)at));
	if (p)
		memcpy(&c, p, sizeof(c));
	return be32_get(c.control);
}

static void test_fwcfg_dma(void **state)
{
	uint8_t *p = mem_ptr(&b.ram, (gpa){ 0x2000 }, 64);

	assert_int_equal(board_in(&b, 0x514, 4), 0x554d4551); /* "QEMU" */
	memset(p, 0xff, 64);
	assert_int_equal(dma(0x1000, 3u << 16 | 8 | 2, 10, 0x2000), 0);
	assert_int_equal(p[3], RAM_LEN >> 24);
	assert_int_equal(p[8], 0);
	assert_int_equal(p[9], 0);
	assert_int_equal(p[10], 0xff);
	/* Skip, then go on with the same item. */
	assert_int_equal(dma(0x1000, 0u << 16 | 8 | 4, 2, 0), 0);
	assert_int_equal(dma(0x1000, 2, 2, 0x2000), 0);
	assert_memory_equal(p, "MU", 2);
}

static void test_fwcfg_dma_refuses(void **state)
{
	assert_int_equal(dma(0x1000, 3u << 16 | 8 | 0x10, 8, 0x2000), 1); /* write */
	assert_int_equal(dma(0x1000, 3u << 16 | 8 | 2, 8, RAM_LEN - 4), 1);
	assert_int_equal(dma(0x1000, 3u << 16 | 8 | 2, 8, UINT64_MAX - 2), 1);
	assert_int_equal(dma(0x1000, 3u << 16 | 8 | 2, UINT32_MAX, 0x2000), 1);
	assert_int_equal(dma(0x1000, 4, UINT32_MAX, 0), 0);
	(void)dma(RAM_LEN - 8, 2, 8, 0x2000); /* the structure itself: half of it is nowhere */
	(void)dma(UINT64_MAX - 4, 2, 8, 0x2000);
}

static void test_fwcfg_state(void **state)
{
	uint8_t *data;
	size_t len;

	board_out(&b, 0x510, 2, 0);
	assert_int_equal(in8(0x511), 'Q');
	data = save("fwcfg", &len);
	board_out(&b, 0x510, 2, 3);
	assert_int_equal(load("fwcfg", data, len), 0);
	assert_int_equal(in8(0x511), 'E');
	*field(data, len, "off") = 5;
	assert_int_equal(load("fwcfg", data, len), -EINVAL);
	free(data);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_pm_timer),	 TEST(test_pm_timer_interrupt), TEST(test_pm_timer_status),
		TEST(test_power_button), TEST(test_soft_off),		TEST(test_pm_state),
		TEST(test_i8042_probe),	 TEST(test_keyboard),		TEST(test_resets),
		TEST(test_i8042_state),	 TEST(test_rtc_time),		TEST(test_rtc_set),
		TEST(test_rtc_formats),	 TEST(test_rtc_alarm),		TEST(test_rtc_update),
		TEST(test_rtc_uip),	 TEST(test_rtc_periodic),	TEST(test_rtc_memory),
		TEST(test_rtc_state),	 TEST(test_fwcfg_items),	TEST(test_fwcfg_files),
		TEST(test_fwcfg_dma),	 TEST(test_fwcfg_dma_refuses),	TEST(test_fwcfg_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
