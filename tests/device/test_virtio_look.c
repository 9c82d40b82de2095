/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio-net: what a guest without a fence between its store and its load leaves unsaid, both ways.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macros.h"
#include "bus/virtqueue.h"
#include "fake_guest.h"
#include "nics/virtio_net.h"

#define RXQ 0
#define TXQ 1
#define CTRLQ 2
#define EVENT FG_BIT(VIRTIO_RING_F_EVENT_IDX)

static struct fg *start(uint64_t without)
{
	struct fg *g = fg_new(1, "");

	fg_start(g, g->dev->offered & ~without, 3, 16);
	return g;
}

static void send_plain(struct fg *g, uint8_t seed)
{
	uint8_t f[60];

	fg_frame(f, sizeof(f), seed);
	assert_true(fg_tx(g, TXQ, NULL, f, sizeof(f), FG_JOINED) >= 0);
}

/* The doorbell, and a round at whose end the device asks for the next one. */
static void ring(struct fg *g, unsigned int qi)
{
	fg_kick(g, qi);
	twx_loop_poll(g->loop, 0);
}

static bool looks(const struct fg *g)
{
	for (unsigned int i = 0; i < g->dev->n_queues; i++)
		if (g->dev->queues[i].look.slot)
			return true;
	return false;
}

/* Until the device has nothing more to look at; it comes to that by itself. */
static void settle(struct fg *g)
{
	for (int i = 0; i < 1000 && looks(g); i++)
		assert_true(twx_loop_poll(g->loop, 1000) >= 0);
	fg_run(g);
	assert_false(looks(g));
}

static void transmit_doorbell(uint64_t without)
{
	struct fg *g = start(without);

	for (unsigned int i = 1; i < 40; i++) {
		send_plain(g, 1);
		ring(g, TXQ);
		/* Too late for our look, and what the guest read of ours was from before. */
		send_plain(g, 2);
		settle(g);
		assert_int_equal(g->wire->count, 2 * i);
		while (fg_used(g, TXQ, NULL) >= 0)
			;
	}
	fg_free(g);
}

static void test_transmit_doorbell(void **state)
{
	transmit_doorbell(0);
}

static void test_transmit_doorbell_by_flag(void **state)
{
	transmit_doorbell(EVENT);
}

static void test_receive_doorbell(void **state)
{
	struct fg *g = start(0);
	uint64_t where[FG_MAX_DESC];
	uint8_t f[60];

	fg_frame(f, sizeof(f), 1);
	assert_int_equal(fg_wire_send(g->wire, f, sizeof(f), NULL), 0);
	fg_rx_post(g, RXQ, 4, 1526, where);
	assert_int_equal(g->wire->n_resumed, 0);
	settle(g);
	assert_int_equal(g->wire->n_resumed, 1);
	assert_int_equal(fg_wire_send(g->wire, f, sizeof(f), NULL), 1);
	fg_free(g);
}

static void test_command_doorbell(void **state)
{
	static const uint8_t promisc_off[] = { VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 0 };
	struct fg *g = start(0);

	for (unsigned int i = 0; i < 6; i++) {
		uint64_t at = fg_alloc(g, 4);
		struct fg_buf b[] = { { at, 3, false }, { at + 3, 1, true } };

		fg_write(g, at, promisc_off, 3);
		*(uint8_t *)fg_ptr(g, at + 3) = 0xff;
		fg_add(g, CTRLQ, b, 2, false);
		if (i % 2 == 0)
			ring(g, CTRLQ);
		else
			settle(g);
		assert_true(fg_used(g, CTRLQ, NULL) >= 0);
		assert_int_equal(*(uint8_t *)fg_ptr(g, at + 3), VIRTIO_NET_OK);
	}
	fg_free(g);
}

/* The guest sleeps on entry @wanted; we read the index of its former nap. */
static void interrupt(uint16_t n, uint16_t wanted, unsigned int irqs)
{
	struct fg *g = start(0);

	fg_set_used_event(g, TXQ, 0x8000);
	for (uint16_t i = 0; i < n; i++) {
		send_plain(g, 1);
		ring(g, TXQ);
		fg_used(g, TXQ, NULL);
	}
	assert_int_equal(g->q[TXQ].irqs, 1); /* for the start */
	fg_set_used_event(g, TXQ, wanted);
	settle(g);
	assert_int_equal(g->q[TXQ].irqs, irqs);
	send_plain(g, 1);
	ring(g, TXQ);
	settle(g);
	assert_int_equal(g->q[TXQ].irqs, wanted == n ? irqs + 1 : irqs);
	fg_free(g);
}

static void test_interrupt(void **state)
{
	interrupt(10, 9, 2);  /* the last used */
	interrupt(10, 1, 2);  /* the first after the last interrupt */
	interrupt(40, 24, 2); /* a ring's size ago */
}

static void test_no_interrupt_without_need(void **state)
{
	interrupt(10, 10, 1); /* the guest has seen all */
	interrupt(10, 0, 1);  /* that one was sent */
	interrupt(40, 23, 1); /* no ring has room for a guest that waits for this one */
}

static void test_interrupt_by_flag(void **state)
{
	struct fg *g = start(EVENT);

	fg_set_no_interrupt(g, TXQ, true);
	send_plain(g, 1);
	ring(g, TXQ);
	settle(g);
	assert_int_equal(g->q[TXQ].irqs, 0);
	send_plain(g, 1);
	ring(g, TXQ);
	fg_set_no_interrupt(g, TXQ, false);
	settle(g);
	assert_int_equal(g->q[TXQ].irqs, 1);
	fg_free(g);
}

/* A queue that stops or breaks is not looked at any more. */
static void test_stopped(void **state)
{
	struct fg *g = start(0);

	send_plain(g, 1);
	ring(g, TXQ);
	virtio_queue_stop(g->dev, TXQ);
	send_plain(g, 2);
	settle(g);
	assert_int_equal(g->wire->count, 1);
	fg_free(g);

	g = start(0);
	send_plain(g, 1);
	ring(g, TXQ);
	if (FG_PACKED) /* a table of nothing */
		fg_put_packed(g, fg_slot(&g->q[TXQ], g->q[TXQ].next), FG_BASE, 0, 0,
			      fg_packed_flags(g->q[TXQ].next, VRING_DESC_F_INDIRECT));
	else
		fg_put16(g, g->q[TXQ].avail + 2, 1000);
	settle(g);
	assert_int_equal(g->wire->count, 1);
	assert_int_equal(g->q[TXQ].broken, 1);
	fg_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transmit_doorbell),
		cmocka_unit_test(test_transmit_doorbell_by_flag),
		cmocka_unit_test(test_receive_doorbell),
		cmocka_unit_test(test_command_doorbell),
		cmocka_unit_test(test_interrupt),
		cmocka_unit_test(test_no_interrupt_without_need),
		cmocka_unit_test(test_interrupt_by_flag),
		cmocka_unit_test(test_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
