/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio-net where pairs go away under a waiting sender, counters wrap, and frames multiply. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_guest.h"
#include "nics/virtio_net.h"

#define EVENT FG_BIT(VIRTIO_RING_F_EVENT_IDX)

static uint64_t where[FG_MAX_DESC];

/* A driver that gives up a pair whose ring was empty: who waited for it uses another pair's ring.
 */
static void test_pair_that_goes_frees_its_sender(void **state)
{
	struct fg *g = fg_new(2, "");
	uint8_t f[60];

	fg_start(g, g->dev->offered & ~(FG_BIT(VIRTIO_NET_F_CTRL_VQ) | EVENT), 4, 64);
	fg_frame(f, sizeof(f), 1);
	fg_rx_post(g, 0, 8, 1526, where);
	assert_int_equal(fg_wire_send(&g->wire[1], f, sizeof(f), NULL), 0);
	virtio_queue_stop(g->dev, 2);
	fg_run(g);
	assert_int_equal(g->wire[1].n_resumed, 1);
	assert_int_equal(fg_wire_send(&g->wire[1], f, sizeof(f), NULL), 1);
	assert_int_equal(fg_used_idx(g, 0), 1);
	fg_free(g);
}

/* However often memory changes between two frames, buffers fetched before are translated anew. */
static void test_changes_of_memory_do_not_wrap(void **state)
{
	struct fg *g = fg_new(1, "");
	struct virtio_ring ring;
	uint8_t f[60];

	fg_start(g, g->dev->offered, 3, 64);
	fg_frame(f, sizeof(f), 1);
	fg_rx_post(g, 0, 8, 1526, where);
	assert_int_equal(fg_wire_send(g->wire, f, sizeof(f), NULL), 1);
	ring = fg_ring(g, &g->q[0]);
	for (unsigned int i = 0; i < UINT16_MAX; i++)
		virtio_queue_move(g->dev, 0, &ring);
	fg_remap(g);
	assert_int_equal(fg_wire_send(g->wire, f, sizeof(f), NULL), 1);
	assert_int_equal(fg_used_idx(g, 0), 2);
	fg_free(g);
}

/* TCP over IPv4, @len bytes in all, to be cut into segments of @mss. */
static void tcp_frame(uint8_t *f, uint32_t len, struct virtio_net_hdr_mrg_rxbuf *h, uint16_t mss)
{
	fg_frame(f, len, 1);
	f[12] = 0x08;
	f[13] = 0x00;
	f[14] = 0x45;
	f[16] = (uint8_t)((len - 14) >> 8);
	f[17] = (uint8_t)(len - 14);
	f[20] = f[21] = 0;
	f[23] = 6;
	f[46] = 5 << 4;
	*h = (struct virtio_net_hdr_mrg_rxbuf){
		.hdr = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
			 .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
			 .hdr_len = 54,
			 .gso_size = mss,
			 .csum_start = 34,
			 .csum_offset = 16 },
	};
}

/* A doorbell's work is bounded in what leaves, not only in what comes: segments of a few bytes. */
static void test_budget_counts_segments(void **state)
{
	const uint32_t len = 65000, per_frame = (len - 54 + 7) / 8;
	struct fg *g = fg_new(1, "");
	struct virtio_net_hdr_mrg_rxbuf h;
	static uint8_t f[65000];

	fg_start(g, g->dev->offered, 3, 256);
	twx_port_set_caps(g->wire->port, (struct twx_caps){ 0 });
	g->wire->keep = false;
	tcp_frame(f, len, &h, 8);
	for (unsigned int i = 0; i < 12; i++)
		assert_true(fg_tx(g, 1, &h, f, len, FG_SPLIT) >= 0);
	fg_kick(g, 1);
	assert_in_range(g->wire->count, 1, VNET_TX_SEGMENTS + per_frame);
	fg_run(g);
	assert_int_equal(g->wire->count, 12 * per_frame);
	assert_int_equal(fg_used_idx(g, 1), 12);
	fg_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pair_that_goes_frees_its_sender),
		cmocka_unit_test(test_changes_of_memory_do_not_wrap),
		cmocka_unit_test(test_budget_counts_segments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
