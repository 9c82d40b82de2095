/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What virtio-net costs per frame, without a guest: rings filled ahead in memory, a null sink at
 * the other end, nanoseconds of our side alone (the driver's refill is not counted).
 */
#include <time.h>

#include "../tests/device/fake_guest.h"
#include "nics/virtio_net.h"

#define RING 256
#define ROUNDS 4000

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static struct fg *start(void)
{
	struct fg *g = fg_new(1, "");

	fg_start(g, g->dev->offered, 2, RING);
	g->wire->keep = false;
	/* Interrupts stay suppressed: their cost is the transport's. */
	fg_set_used_event(g, 0, 0x8000);
	fg_set_used_event(g, 1, 0x8000);
	return g;
}

/* Offers the same chains again, by moving the index alone. */
static void offer_again(struct fg *g, unsigned int qi, unsigned int n)
{
	struct fg_queue *q = &g->q[qi];

	q->avail_idx = (uint16_t)(q->avail_idx + n);
	fg_put16(g, q->avail + 2, q->avail_idx);
}

static void report(const char *what, uint64_t ns, uint64_t frames, uint64_t bytes)
{
	printf("%-44s %8.1f ns/frame %8.2f Gbit/s\n", what, (double)ns / (double)frames,
	       (double)bytes * 8 / (double)ns);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* A disturbed round says nothing about the code: the median does. */
static uint64_t median(uint64_t *t, unsigned int n)
{
	qsort(t, n, sizeof(*t), compare);
	return t[n / 2];
}

static void bench_tx(const char *what, uint32_t len, enum fg_layout layout, uint8_t gso)
{
	struct virtio_net_hdr_mrg_rxbuf h = { 0 };
	unsigned int n = 0, heads = gso ? 64 : 128;
	static uint64_t times[ROUNDS];
	static uint8_t f[70000];
	struct fg *g = start();

	fg_frame(f, len, 1);
	if (gso) {
		memcpy(f + 12, "\x08\0\x45\0\xff\xf0\0\0\0\0\x40\x06", 12);
		f[46] = 0x50;
		h.hdr = (struct virtio_net_hdr){ .flags = 1,
						 .gso_type = gso,
						 .gso_size = 1448,
						 .csum_start = 34,
						 .csum_offset = 16,
						 .hdr_len = 54 };
	}
	while (n < heads && fg_tx(g, 1, &h, f, len, layout) >= 0)
		n++;
	/* The ring repeats with a period of n. */
	for (unsigned int i = n; i < RING; i++)
		fg_put16(g, g->q[1].avail + 4 + 2 * i,
			 fg_get16(g, g->q[1].avail + 4 + 2 * (i % n)));
	for (unsigned int r = 0; r < ROUNDS; r++) {
		uint64_t t = now();

		fg_kick(g, 1);
		twx_loop_poll(g->loop, 0);
		times[r] = now() - t;
		offer_again(g, 1, n);
	}
	if (g->wire->count != (uint64_t)ROUNDS * n)
		printf("%s: %lu frames of %lu\n", what, (unsigned long)g->wire->count,
		       (unsigned long)ROUNDS * n);
	report(what, median(times, ROUNDS), n, (uint64_t)n * len);
	fg_free(g);
}

static void post_ring(struct fg *g)
{
	fg_rx_post(g, 0, RING, 1526, NULL);
}

static void bench_rx(const char *what, uint32_t len, unsigned int burst)
{
	static uint64_t times[ROUNDS];
	static uint8_t f[70000];
	struct iovec iov = { f, len };
	struct twx_frame frames[TWX_BURST];
	struct fg *g = start();

	fg_frame(f, len, 1);
	post_ring(g);
	for (unsigned int i = 0; i < burst; i++)
		frames[i] = (struct twx_frame){ .iov = &iov, .n_iov = 1, .len = len };
	for (unsigned int r = 0; r < ROUNDS; r++) {
		uint16_t before = fg_used_idx(g, 0);
		uint64_t t = now();

		if (twx_port_send(g->wire->port, frames, (int)burst) != (int)burst)
			abort();
		twx_loop_poll(g->loop, 0);
		times[r] = now() - t;
		offer_again(g, 0, (uint16_t)(fg_used_idx(g, 0) - before));
	}
	report(what, median(times, ROUNDS), burst, (uint64_t)burst * len);
	fg_free(g);
}

/* The lease alone: nothing is written into the buffers. */
static void bench_lease(const char *what, uint32_t len)
{
	struct twx_meta none = { .flags = TWX_F_CSUM_VALID,
				 .gso = TWX_GSO_TCPV4,
				 .gso_size = 1448 };
	static uint64_t times[ROUNDS];
	struct fg *g = start();
	struct twx_lease l;

	post_ring(g);
	for (unsigned int r = 0; r < ROUNDS; r++) {
		uint16_t before = fg_used_idx(g, 0);
		uint64_t t = now();

		for (int i = 0; i < 4; i++) {
			if (twx_port_reserve(g->wire->port, 60, len, &l))
				abort();
			twx_port_commit(g->wire->port, &l, len, &none);
		}
		twx_loop_poll(g->loop, 0);
		times[r] = now() - t;
		offer_again(g, 0, (uint16_t)(fg_used_idx(g, 0) - before));
	}
	report(what, median(times, ROUNDS), 4, 4 * (uint64_t)len);
	fg_free(g);
}

int main(void)
{
	bench_tx("TX 60 B, header and frame in one", 60, FG_JOINED, 0);
	bench_tx("TX 60 B, header apart", 60, FG_SPLIT, 0);
	bench_tx("TX 60 B, indirect", 60, FG_INDIRECT, 0);
	bench_tx("TX 1514 B", 1514, FG_JOINED, 0);
	bench_tx("TX 64 KiB TSO, header apart", 65514, FG_SPLIT, VIRTIO_NET_HDR_GSO_TCPV4);
	bench_rx("RX 60 B, bursts of 32", 60, 32);
	bench_rx("RX 60 B, one by one", 60, 1);
	bench_rx("RX 1514 B, bursts of 32", 1514, 32);
	bench_rx("RX 64 KiB, copied", 65514, 1);
	bench_lease("RX 64 KiB lease and commit (1526 B buffers)", 65514);
	bench_lease("RX 1514 B lease and commit", 1514);
	return 0;
}
