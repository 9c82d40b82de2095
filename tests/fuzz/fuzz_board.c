/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest that writes anything to any port of the board.
 *
 * Byte 0 below 8: the rest is a saved state for that device, from a hostile file; then every
 * register is read. Else accesses of five bytes: what (size, direction, or another event), the
 * port, and a value. In the end every device saves what it would take back.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../unit/board_kit.h"
#include "fuzz.h"

static const uint16_t ports[] = {
	0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff, 0x2f8, 0x2f9, 0x2fc,
	0x60,  0x61,  0x64,  0x70,  0x71,  0x80,  0x92,	 0xcf9, 0x510, 0x511, 0x514,
	0x518, 0x600, 0x601, 0x602, 0x603, 0x604, 0x605, 0x607, 0x608, 0x60b,
};
#define N_PORTS (sizeof(ports) / sizeof(ports[0]))

static int open_board(struct board *b, int *peer)
{
	int rc = board_kit_open(b, 1u << 20, 0);

	*peer = board_chardev(b);
	rc = rc ? rc : board_serial(&b->m, 0, "c0", NULL);
	rc = rc ? rc : board_serial(&b->m, 1, NULL, NULL);
	rc = rc ? rc : board_rtc(&b->m, NULL);
	rc = rc ? rc : board_i8042(&b->m, NULL);
	rc = rc ? rc : board_pm(&b->m, NULL);
	return rc ? rc : board_fwcfg(&b->m, NULL);
}

static void event(struct board *b, int peer, uint8_t what, uint32_t value)
{
	uint8_t buf[64];

	switch (what & 7) {
	case 0:
		board_advance(b, (uint64_t)value << (what >> 4));
		break;
	case 1:
		memset(buf, (int)value, sizeof(buf));
		assert(write(peer, buf, value % sizeof(buf)) >= -1);
		break;
	case 2:
		while (read(peer, buf, sizeof(buf)) > 0)
			;
		break;
	case 3:
		board_power_button(&b->m);
		break;
	case 4:
		for (struct board_dev *d = b->m.devs; d; d = d->next)
			if (d->reset)
				d->reset(d->opaque);
		break;
	case 5:
		(void)board_asked(b);
		break;
	default:
		/* A control structure for DMA, or part of one, in memory. */
		memcpy((uint8_t *)mem_ptr(&b->ram, (gpa){ 0x1000 + (what >> 4) * 2u }, 4), &value,
		       4);
		break;
	}
}

static void accesses(struct board *b, int peer, const uint8_t *p, size_t len)
{
	unsigned int port, size;
	uint32_t value;

	for (; len >= 5; p += 5, len -= 5) {
		value = (uint32_t)p[2] | (uint32_t)p[3] << 8 | (uint32_t)p[4] << 16 |
			(uint32_t)(p[1] >> 5) << 29;
		port = ports[p[1] % N_PORTS];
		size = 1u << (p[0] & 3);
		if (p[0] & 8)
			event(b, peer, p[0] >> 4 | (uint8_t)(p[1] << 4), value);
		else if (p[0] & 4)
			board_out(b, port, size, value);
		else
			(void)board_in(b, port, size);
	}
}

static void saves_what_it_takes(struct board *b)
{
	uint8_t *data;
	size_t len;
	int rc;

	for (struct board_dev *d = b->m.devs; d; d = d->next) {
		rc = state_save(&d->state, 1, &data, &len);
		assert(rc == 0);
		rc = state_load(&d->state, 1, data, len, NULL);
		assert(rc == 0);
		free(data);
	}
}

static void hostile_state(struct board *b, unsigned int n, const uint8_t *data, size_t len)
{
	struct board_dev *d = b->m.devs;

	while (n-- && d->next)
		d = d->next;
	(void)state_load(&d->state, 1, data, len, NULL);
	for (unsigned int i = 0; i < N_PORTS; i++)
		(void)board_in(b, ports[i], 1);
	board_advance(b, 1000000000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct board b;
	int peer, rc;

	if (size < 1)
		return 0;
	rc = open_board(&b, &peer);
	assert(rc == 0);
	board_advance(&b, 0);
	if (data[0] < 8)
		hostile_state(&b, data[0], data + 1, size - 1);
	else
		accesses(&b, peer, data + 1, size - 1);
	saves_what_it_takes(&b);
	board_kit_close(&b);
	close(peer);
	return 0;
}
