/* SPDX-License-Identifier: BSD-3-Clause */
/* What broke other vhost implementations, turned round: a back end does it to our front end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../protocol/back_end.h"

#include <fcntl.h>

static bool links_down(struct fv *v)
{
	return v->g->nic->ports[0]->link_down;
}

/* CVE-2020-10723: an index of a ring that is the right one once it is narrowed. */
static void narrowed_index(void **state)
{
	static const enum trick tricks[] = { FAR_RING, FAR_BASE };

	(void)state;
	for (size_t i = 0; i < array_size(tricks); i++) {
		struct fv *v = card("");

		fv_start(v, FV_PLAIN, true);
		peer.trick_at = VU_GET_VRING_BASE;
		peer.trick = tricks[i];
		pci_run(v->pci, false);
		PK_UNTIL(v, links_down(v));
		peer.trick = NO_TRICK;
		fv_free(v);
	}
}

/* rust-vmm 2022: an available index that is more than a ring ahead. The back end's word for where
 * it stood makes it so: this queue breaks, at most, and the next reset mends it. */
static void base_out_of_reach(void **state)
{
	struct fv *v = card("");
	uint8_t f[100];

	(void)state;
	fv_start(v, FV_PLAIN, true);
	peer.ring[TXQ].base = 0x7000;
	assert_int_equal(twx_net_set_link(v->g->net, "nic0", false, NULL), 0);
	fg_frame(f, sizeof(f), 1);
	assert_true(fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT) >= 0);
	fv_kick(v, TXQ);
	fg_run(v->g);
	assert_true(fv_status(v) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(twx_net_set_link(v->g->net, "nic0", true, NULL), 0);
	fv_start(v, FV_PLAIN, true);
	assert_int_equal(fv_status(v) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	assert_true(pk_outside(v, TXQ));
	fv_free(v);
}

/* DPDK 2023, CVE-2019-14818: descriptors that come along with what has none. setup() and teardown()
 * count. */
static void descriptors_with_answers(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++) {
		struct fv *v = card("");

		fv_start(v, FV_PLAIN, true);
		peer.trick_at = VU_GET_VRING_BASE;
		peer.trick = WITH_FD;
		pci_run(v->pci, false);
		PK_UNTIL(v, links_down(v));
		peer.trick = NO_TRICK;
		fv_free(v);
	}
}

static bool take_back;

static void message_taken(struct pci_dev *pci, enum pci_irq kind, unsigned int vector,
			  uint64_t addr, uint32_t data)
{
	struct fv *v = pci->host;
	uint64_t n;

	(void)kind;
	(void)addr;
	(void)data;
	v->messages[vector]++;
	/* The back end is faster than the card is at the other queue. */
	if (take_back)
		(void)!read(peer.ring[vector == 1 ? TXQ : RXQ].call, &n, sizeof(n));
}

/* O_NONBLOCK of an eventfd belongs to whoever has it: a back end clears it, and takes its signal
 * back between the loop's event and the read. Without an answer to that the loop stands. */
static void blocking_eventfds(void **state)
{
	static const struct pci_host_ops ops = { .intx = fv_intx, .message = message_taken };
	const uint64_t one = 1;
	char netdev[200];
	struct fv *v;

	(void)state;
	snprintf(netdev, sizeof(netdev), "vhost-user,id=n0,path=%s", peer.path);
	v = pk_new(netdev, "virtio-net-pci", "", &ops);
	fv_start(v, FV_PLAIN, true);
	PK_UNTIL(v, peer.ring[RXQ].call && peer.ring[TXQ].call);
	memset(v->messages, 0, sizeof(v->messages));
	alarm(20);
	take_back = true;
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(fcntl(peer.ring[i].call, F_SETFL, 0), 0);
		assert_int_equal(write(peer.ring[i].call, &one, sizeof(one)), sizeof(one));
	}
	fg_run(v->g);
	take_back = false;
	alarm(0);
	assert_int_equal(v->messages[1] + v->messages[2], 1);
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(fcntl(peer.ring[i].call, F_SETFL, O_NONBLOCK), 0);
	fv_free(v);
}

/* Invariant 8: activate and reset, again and again, leave nothing behind; teardown() counts. */
static void many_resets(void **state)
{
	struct fv *v = card("");
	unsigned int n;

	(void)state;
	fv_start(v, FV_PLAIN, true);
	n = n_fds_open();
	for (int i = 0; i < 40; i++) {
		v->g->brk = FG_BASE + 4096; /* its rings where they were */
		fv_start(v, FV_PLAIN, i & 1);
		assert_true(pk_outside(v, RXQ) && pk_outside(v, TXQ));
	}
	/* The back end closes its own in its own time. */
	PK_UNTIL(v, n_fds_open() <= n);
	fv_free(v);
}

/* CVE-2018-1059: rings across the border of two regions are nobody's. */
static void ring_across_regions(void **state)
{
	struct fv *v = card("");

	(void)state;
	assert_true(fv_agree(v, FV_PLAIN));
	for (unsigned int i = 0; i < 2; i++) {
		fv_place(v, i, 256, false);
		v->g->q[i].desc = FG_BORDER - 512;
		fv_tell(v, i, FV_NONE, true);
	}
	fv_set_status(v, fv_status(v) | VIRTIO_CONFIG_S_DRIVER_OK);
	fg_run(v->g);
	assert_false(pk_outside(v, RXQ) || pk_outside(v, TXQ));
	assert_int_equal(said(VU_SET_VRING_ADDR), 0);
	assert_true(fv_status(v) & VIRTIO_CONFIG_S_NEEDS_RESET);
	fv_free(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(narrowed_index),    T(base_out_of_reach), T(descriptors_with_answers),
		T(blocking_eventfds), T(many_resets),	    T(ring_across_regions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
