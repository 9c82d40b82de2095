/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The same work for every e1000.
 *
 * Transmit: 240 descriptors that are filled ahead, one TDT write for all of them, the time until
 * that write has been answered; the cost of a register write that does nothing is taken off.
 * Receive: a ring of 4096 descriptors over 256 buffers, some 4000 frames written into the stream
 * backend, the CPU time that the device's side used until RDH has moved past them.
 */
#include "e1000_work.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CTRL 0x0000
#define RCTL 0x0100
#define TCTL 0x0400
#define LEDCTL 0x0e00
#define RDBAL 0x2800
#define TDBAL 0x3800
#define RA 0x5400

#define TX_RING 0x100000u
#define RX_RING 0x200000u
#define TX_BUF 0x400000u
#define RX_BUF 0x800000u
#define TX_N 256u
#define TX_BURST 240u
#define RX_N 4096u
#define RX_BURST 4000u
#define RX_BUFS 256u
#define MAX_ROUNDS 4000u

#define TSO_HDR 54u
#define TSO_MSS 1448u
#define TSO_PAYLOAD 65480u /* 46 segments */
#define TSO_PIECE 4096u
#define TSO_FRAMES 12u /* in one doorbell: 17 data descriptors and a context each */

const char *const work_names[WORK_N] = {
	[WORK_TX_60] = "transmit, 60 B",     [WORK_TX_1514] = "transmit, 1514 B",
	[WORK_TSO] = "transmit, 64 KiB TSO", [WORK_RX_60] = "receive, 60 B",
	[WORK_RX_1514] = "receive, 1514 B",
};

static const uint8_t guest_mac[6] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t median(uint64_t *t, unsigned int n)
{
	qsort(t, n, sizeof(*t), compare);
	return t[n / 2];
}

static void put(uint8_t *p, uint64_t v, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static void ring_setup(const struct work_drive *d, uint32_t base, uint32_t addr, uint32_t n)
{
	d->reg_write(d->opaque, base, addr);
	d->reg_write(d->opaque, base + 4, 0);
	d->reg_write(d->opaque, base + 8, n * 16);
	d->reg_write(d->opaque, base + 16, 0);
	d->reg_write(d->opaque, base + 24, 0);
}

void work_setup(const struct work_drive *d, bool fed)
{
	d->reg_write(d->opaque, CTRL, 1u << 6); /* SLU */
	d->reg_write(d->opaque, RA, 0x12005452);
	d->reg_write(d->opaque, RA + 4, 0x80005634);
	ring_setup(d, TDBAL, TX_RING, TX_N);
	ring_setup(d, RDBAL, RX_RING, RX_N);
	d->reg_write(d->opaque, TCTL, 1u << 1 | 1u << 3); /* EN, PSP */
	if (fed)
		d->reg_write(d->opaque, RCTL, 1u << 1 | 1u << 15 | 1u << 26); /* EN, BAM, SECRC */
}

static void frame_fill(uint8_t *f, uint32_t len)
{
	memset(f, 0x5a, len);
	memcpy(f, guest_mac, 6);
	memcpy(f + 6, "\x02\0\0\0\0\x01", 6);
	memcpy(f + 12, "\x88\xb5", 2); /* local experimental: nobody looks inside */
}

static void tx_plain(const struct work_drive *d, uint32_t len)
{
	static uint8_t ring[TX_N * 16], f[2048];

	frame_fill(f, len);
	for (unsigned int i = 0; i < TX_N; i++) {
		uint32_t addr = TX_BUF + i * 2048;

		d->mem_write(d->opaque, addr, f, len);
		put(ring + 16 * i, addr, 8);
		put(ring + 16 * i + 8, len | 0x0b000000u, 4); /* EOP, IFCS, RS */
		put(ring + 16 * i + 12, 0, 4);
	}
	d->mem_write(d->opaque, TX_RING, ring, sizeof(ring));
}

/* One TSO frame's descriptors at @p; how many. */
static unsigned int tso_descriptors(uint8_t *p)
{
	uint32_t left = TSO_HDR + TSO_PAYLOAD, addr = TX_BUF;
	unsigned int n = 1;

	memset(p, 0, 16);
	p[0] = 14; /* IPCSS, IPCSO, IPCSE */
	p[1] = 24;
	put(p + 2, 33, 2);
	p[4] = 34; /* TUCSS, TUCSO, TUCSE */
	p[5] = 50;
	put(p + 8, TSO_PAYLOAD | 0x27000000u, 4); /* PAYLEN; DEXT, TSE, IP, TCP */
	p[13] = TSO_HDR;
	put(p + 14, TSO_MSS, 2);
	while (left) {
		uint32_t len = left < TSO_PIECE ? left : TSO_PIECE;
		uint32_t cmd = 0x26000000u | 1u << 20; /* DEXT, TSE, IFCS; data */

		left -= len;
		put(p + 16 * n, addr, 8);
		put(p + 16 * n + 8, len | cmd | (left ? 0 : 0x09000000u), 4);
		put(p + 16 * n + 12, 0x0300, 4); /* IXSM, TXSM */
		addr += len;
		n++;
	}
	return n;
}

static unsigned int tx_tso(const struct work_drive *d)
{
	static uint8_t ring[TX_N * 16], f[TSO_HDR + TSO_PAYLOAD];
	unsigned int n = 0;

	frame_fill(f, sizeof(f));
	memcpy(f + 12, "\x08\0\x45\0\xff\xf0\0\0\0\0\x40\x06\0\0", 14);
	f[46] = 0x50;
	d->mem_write(d->opaque, TX_BUF, f, sizeof(f));
	for (unsigned int i = 0; i < TSO_FRAMES; i++)
		n += tso_descriptors(ring + 16 * n);
	d->mem_write(d->opaque, TX_RING, ring, sizeof(ring));
	return n;
}

static struct work_result tx_run(const struct work_drive *d, unsigned int n_desc,
				 unsigned int n_frames, unsigned int rounds)
{
	static uint64_t t[MAX_ROUNDS], none[MAX_ROUNDS];
	static uint8_t ring[TX_N * 16];
	uint64_t whole, empty;

	for (unsigned int i = 0; i < rounds; i++) {
		uint64_t from;

		d->reg_write(d->opaque, TDBAL + 24, 0);
		d->reg_write(d->opaque, TDBAL + 16, 0);
		from = d->now(d->opaque);
		d->reg_write(d->opaque, LEDCTL, 0);
		none[i] = d->now(d->opaque) - from;
		from = d->now(d->opaque);
		d->reg_write(d->opaque, TDBAL + 24, n_desc);
		t[i] = d->now(d->opaque) - from;
		if (d->reg_read(d->opaque, TDBAL + 16) != n_desc) {
			fprintf(stderr, "e1000_work: the device did not take all descriptors\n");
			exit(1);
		}
	}
	(void)ring;
	whole = median(t, rounds);
	empty = median(none, rounds);
	return (struct work_result){ (double)(whole - (whole > empty ? empty : 0)) / n_frames,
				     n_frames };
}

static void rx_ring(const struct work_drive *d)
{
	static uint8_t ring[RX_N * 16];

	for (unsigned int i = 0; i < RX_N; i++)
		put(ring + 16 * i, RX_BUF + i % RX_BUFS * 2048, 8);
	d->mem_write(d->opaque, RX_RING, ring, sizeof(ring));
}

static struct work_result rx_run(const struct work_drive *d, uint32_t len, unsigned int rounds)
{
	static uint64_t t[MAX_ROUNDS];
	uint8_t *stream = malloc((size_t)RX_BURST * (len + 4)), *p = stream;
	struct work_result r = { 0, RX_BURST };

	if (!stream)
		exit(1);
	for (unsigned int i = 0; i < RX_BURST; i++, p += len + 4) {
		memcpy(p, (uint8_t[]){ 0, 0, (uint8_t)(len >> 8), (uint8_t)len }, 4);
		frame_fill(p + 4, len);
	}
	for (unsigned int i = 0; i < rounds; i++) {
		uint64_t from;

		rx_ring(d);
		d->reg_write(d->opaque, RDBAL + 16, 0);
		d->reg_write(d->opaque, RDBAL + 24, RX_N - 1);
		from = d->cpu(d->opaque);
		d->feed(d->opaque, stream, RX_BURST * (len + 4));
		do
			d->idle(d->opaque);
		while (d->reg_read(d->opaque, RDBAL + 16) < RX_BURST);
		t[i] = d->cpu(d->opaque) - from;
	}
	r.ns = (double)median(t, rounds) / RX_BURST;
	free(stream);
	return r;
}

struct work_result work_run(const struct work_drive *d, enum work_kind kind, unsigned int rounds)
{
	rounds = rounds < MAX_ROUNDS ? rounds : MAX_ROUNDS;
	switch (kind) {
	case WORK_TX_60:
	case WORK_TX_1514:
		tx_plain(d, kind == WORK_TX_60 ? 60 : 1514);
		return tx_run(d, TX_BURST, TX_BURST, rounds);
	case WORK_TSO:
		return tx_run(d, tx_tso(d), TSO_FRAMES, rounds);
	case WORK_RX_60:
		return rx_run(d, 60, rounds / 20 + 1);
	default:
		return rx_run(d, 1514, rounds / 20 + 1);
	}
}
