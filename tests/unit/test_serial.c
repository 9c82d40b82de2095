/* SPDX-License-Identifier: BSD-3-Clause */
/* Serial ports: what drivers probe for, bytes both ways, back-pressure, interrupts, state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "board_kit.h"

#define COM1 0x3f8u
#define COM3 0x3e8u
enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR };

static struct board b;
static int peer;

static int setup(void **state)
{
	int rc = board_kit_open(&b, 1u << 20, 0);

	peer = board_chardev(&b);
	return rc ? rc : board_serial(&b.m, 0, "c0", NULL);
}

static int teardown(void **state)
{
	board_kit_close(&b);
	close(peer);
	return 0;
}

static uint8_t get(unsigned int reg)
{
	return (uint8_t)board_in(&b, COM1 + reg, 1);
}

static void put(unsigned int reg, unsigned int value)
{
	board_out(&b, COM1 + reg, 1, value);
}

/* What has come out at the other end by now, as one read() sees it. */
static size_t peer_read(void *buf, size_t len)
{
	ssize_t n = read(peer, buf, len);

	return n < 0 ? 0 : (size_t)n;
}

static void test_burst(void **state)
{
	char buf[200];

	for (int i = 0; i < 100; i++) {
		assert_int_equal(get(LSR) & 0x60, 0x60);
		put(DATA, 'a' + i % 26);
	}
	assert_int_equal(peer_read(buf, sizeof(buf)), 0); /* nothing before the round ends */
	board_settle(&b);
	assert_int_equal(peer_read(buf, sizeof(buf)), 100);
	for (int i = 0; i < 100; i++)
		assert_int_equal(buf[i], 'a' + i % 26);
}

/* The steps of Linux's 8250_port.c for a port at a known place. */
static void test_probe(void **state)
{
	put(IER, 0);
	assert_int_equal(get(IER), 0);
	put(IER, 0xff);
	assert_int_equal(get(IER), 0x0f);
	put(IER, 0);
	put(MCR, 0x1a);
	assert_int_equal(get(MSR) & 0xf0, 0x90);
	put(MCR, 0);
	put(LCR, 0);
	put(2, 0x01);
	assert_int_equal(get(IIR), 0xc1);
	put(2, 0x21); /* there is no FIFO of 64 bytes */
	assert_int_equal(get(IIR), 0xc1);
	put(2, 0);
	assert_int_equal(get(IIR), 0x01);
	put(SCR, 0x5a);
	assert_int_equal(get(SCR), 0x5a);
	put(LCR, 0x80);
	put(0, 0x34);
	put(1, 0x12);
	assert_int_equal(get(0), 0x34);
	assert_int_equal(get(1), 0x12);
	put(LCR, 0x03);
	assert_int_equal(get(IER), 0);
	/* The transmitter's interrupt comes at once, and again when enabled again. */
	put(IER, 0x02);
	assert_int_equal(get(IIR) & 0x0f, 0x02);
	assert_int_equal(get(IIR) & 0x0f, 0x01);
	put(IER, 0);
	put(IER, 0x02);
	assert_int_equal(get(IIR) & 0x0f, 0x02);
	assert_int_equal(b.edges[4], 0); /* without OUT2 */
	assert_int_equal(get(MSR) & 0xb0, 0xb0);
}

static void test_loopback(void **state)
{
	put(2, 0x01);
	put(MCR, 0x10);
	for (int i = 0; i < 17; i++)
		put(DATA, 0x40 + i);
	assert_int_equal(get(LSR) & 0x03, 0x03); /* the last one was too many */
	assert_int_equal(get(LSR) & 0x03, 0x01);
	for (int i = 0; i < 16; i++)
		assert_int_equal(get(DATA), 0x40 + i);
	assert_int_equal(get(LSR) & 0x01, 0);
	board_settle(&b);
	assert_int_equal(peer_read((char[8]){ 0 }, 8), 0);
	(void)get(MSR);
	put(MCR, 0x11);
	assert_int_equal(get(MSR), 0x22); /* DSR, changed */
	assert_int_equal(get(MSR), 0x20);
	put(MCR, 0x15);
	assert_int_equal(get(MSR), 0x60); /* RI counts when it goes off */
	put(MCR, 0x11);
	assert_int_equal(get(MSR), 0x24);
}

/* More than the FIFO holds comes in, and all of it in order. */
static void test_receive(void **state)
{
	uint8_t out[100], in[200];
	size_t n = 0;

	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i + 1);
	put(2, 0x81); /* FIFO on, trigger at 8 */
	put(MCR, 0x08);
	put(IER, 0x01);
	assert_int_equal(write(peer, out, sizeof(out)), sizeof(out));
	for (int round = 0; round < 50 && n < sizeof(out); round++) {
		unsigned int burst = 0;

		board_settle(&b);
		assert_true(b.gsi[4]);
		assert_int_equal(get(IIR), n < 96 ? 0xc4 : 0xcc); /* the rest is a time-out */
		while (get(LSR) & 1) {
			in[n++] = get(DATA);
			burst++;
		}
		assert_in_range(burst, 1, 16);
		assert_false(b.gsi[4]);
	}
	assert_int_equal(n, sizeof(out));
	assert_memory_equal(in, out, n);
	assert_int_equal(get(LSR) & 2, 0);
}

/* Bytes that dribble in while the guest looks elsewhere: sixteen are taken, the others wait. */
static void test_receive_dribble(void **state)
{
	uint8_t in[64];
	size_t n = 0;

	put(2, 0x01);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(write(peer, &"0123456789"[i * 2], 10 - (size_t)i * 2), 10 - i * 2);
		board_settle(&b);
	}
	assert_int_equal(get(LSR) & 0x03, 0x01);
	for (int i = 0; i < 4; i++) {
		while (get(LSR) & 1)
			in[n++] = get(DATA);
		board_settle(&b);
	}
	assert_int_equal(n, 30);
	assert_memory_equal(in, "012345678923456789456789678989", 30);
}

static void test_receive_without_fifo(void **state)
{
	uint8_t in[8];
	size_t n = 0;

	assert_int_equal(write(peer, "hello", 5), 5);
	for (int i = 0; i < 8 && n < 5; i++) {
		board_settle(&b);
		assert_int_equal(get(LSR) & 0x03, 0x01);
		in[n++] = get(DATA);
		assert_int_equal(get(LSR) & 0x03, 0x00);
	}
	assert_memory_equal(in, "hello", 5);
}

/* A reader that has fallen asleep: THRE goes; what it reads later is all there is. */
static void test_back_pressure(void **state)
{
	static uint8_t buf[1 << 20];
	size_t n_out = 0, n_in = 0, n;
	int size = 4096;

	assert_int_equal(setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
	put(MCR, 0x08);
	for (; n_out < sizeof(buf); n_out++) {
		if (!(get(LSR) & 0x20)) {
			board_settle(&b);
			if (!(get(LSR) & 0x20))
				break;
		}
		put(DATA, (n_out * 31) >> 3);
	}
	assert_in_range(n_out, 4096, sizeof(buf) - 1);
	put(IER, 0x02);
	assert_int_equal(get(IIR) & 0x0f, 0x01);
	assert_false(b.gsi[4]);
	put(DATA, 0xee); /* a driver that does not look loses its own byte */
	do {
		n = peer_read(buf + n_in, sizeof(buf) - n_in);
		n_in += n;
		board_settle(&b);
	} while (n);
	assert_int_equal(n_in, n_out);
	for (size_t i = 0; i < n_in; i++)
		assert_int_equal(buf[i], (uint8_t)((i * 31) >> 3));
	assert_true(b.gsi[4]); /* room again */
	assert_int_equal(get(IIR) & 0x0f, 0x02);
}

/* A driver of interrupts: each transmitter interrupt is an edge, and none comes for nothing. */
static void test_transmit_interrupt(void **state)
{
	put(MCR, 0x08);
	put(2, 0x01);
	put(IER, 0x02);
	assert_int_equal(b.edges[4], 1);
	assert_int_equal(get(IIR), 0xc2);
	assert_false(b.gsi[4]);
	b.n_sets = 0;
	for (int i = 0; i < 16; i++)
		put(DATA, 'x');
	assert_true(b.gsi[4]);
	assert_int_equal(b.n_sets, 1); /* not one a byte */
	put(IER, 0);
	assert_false(b.gsi[4]);
}

static void test_shared_line(void **state)
{
	assert_int_equal(board_serial(&b.m, 2, NULL, NULL), 0);
	put(MCR, 0x08);
	put(IER, 0x02);
	board_out(&b, COM3 + MCR, 1, 0x08);
	board_out(&b, COM3 + IER, 1, 0x02);
	assert_true(b.gsi[4]);
	put(IER, 0);
	assert_true(b.gsi[4]);
	board_out(&b, COM3 + IER, 1, 0);
	assert_false(b.gsi[4]);
	/* Nobody is at the other end: the driver is not held up. */
	for (int i = 0; i < 100000; i++)
		board_out(&b, COM3 + DATA, 1, 'x'), i % 4000 ? (void)0 : board_settle(&b);
	board_settle(&b);
	assert_int_equal(board_in(&b, COM3 + LSR, 1), 0x60);
}

static void test_wide_access(void **state)
{
	put(SCR, 0x77);
	assert_int_equal(board_in(&b, COM1 + MSR, 2) >> 8, 0x77);
	board_out(&b, COM1 + MCR, 4, 0x99000003);
	assert_int_equal(get(MCR), 0x03);
	assert_int_equal(get(SCR), 0x99);
}

static void test_state(void **state)
{
	struct board_dev *d = board_dev_named(&b, "serial0");
	char buf[16] = "";
	uint8_t *data, *p;
	size_t len;

	put(2, 0x01);
	put(MCR, 0x08);
	put(IER, 0x01);
	board_settle(&b);
	assert_int_equal(write(peer, "ab", 2), 2);
	board_settle(&b);
	put(DATA, 'o');
	put(DATA, 'k');
	assert_int_equal(state_save(&d->state, 1, &data, &len), 0);
	board_settle(&b);
	assert_int_equal(peer_read(buf, sizeof(buf)), 2);
	d->reset(d->opaque);
	assert_false(b.gsi[4]);
	assert_int_equal(state_load(&d->state, 1, data, len, NULL), 0);
	assert_true(b.gsi[4]);
	assert_int_equal(get(DATA), 'a');
	assert_int_equal(get(DATA), 'b');
	board_settle(&b);
	assert_int_equal(peer_read(buf, sizeof(buf)), 2); /* what was not sent then is sent now */
	assert_memory_equal(buf, "ok", 2);
	p = memmem(data, len, "n_rx", 4);
	p[4 + 5] = 17;
	assert_int_equal(state_load(&d->state, 1, data, len, NULL), -EINVAL);
	p[4 + 5] = 2;
	p = memmem(data, len, "n_tx", 4);
	p[4 + 5 + 1] = 0x11;
	assert_int_equal(state_load(&d->state, 1, data, len, NULL), -EINVAL);
	free(data);
}

/* What was written last before the machine ends is written. */
static void test_end(void **state)
{
	char buf[8];

	put(DATA, '!');
	board_kit_close(&b);
	assert_int_equal(peer_read(buf, sizeof(buf)), 1);
	close(peer);
	assert_int_equal(setup(state), 0);
}

static void test_refused(void **state)
{
	struct twx_error e;

	assert_int_equal(board_serial(&b.m, 1, "zz", &e), -ENODEV);
	assert_non_null(strstr(e.what, "'zz'"));
	assert_int_equal(board_serial(&b.m, 1, "c0", &e), -EBUSY);
	assert_int_equal(board_serial(&b.m, 4, NULL, &e), -EINVAL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_burst),
		TEST(test_probe),
		TEST(test_loopback),
		TEST(test_receive),
		TEST(test_receive_dribble),
		TEST(test_back_pressure),
		TEST(test_receive_without_fifo),
		TEST(test_shared_line),
		TEST(test_transmit_interrupt),
		TEST(test_wide_access),
		TEST(test_state),
		TEST(test_end),
		TEST(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
