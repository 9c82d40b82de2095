/* SPDX-License-Identifier: BSD-3-Clause */
/* Packed virtqueues alone: chains, giving back, laps, suppression both ways, malformed rings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/macros.h"
#include "bus/virtqueue.h"

#define EVENT (1ull << VIRTIO_RING_F_EVENT_IDX)
#define FEATURES (EVENT | 1ull << VIRTIO_RING_F_INDIRECT_DESC | VIRTIO_PACKED)
#define RAM (1u << 20)
#define SIZE 7u /* need not be a power of two */
#define DESC 0x1000u
#define DRIVER 0x2000u
#define DEVICE 0x3000u
#define TABLE 0x8000u
#define DATA 0x20000u
#define WRAP 0x8000u
#define AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED (1u << VRING_PACKED_DESC_F_USED)

struct rig {
	struct virtio_dev dev;
	struct twx_loop *loop;
	struct mem_map mem;
	uint8_t *ram, log[RAM / 4096 / 8];
	struct virtqueue *vq;
	unsigned int broken, size;
	uint16_t next, seen; /* the driver's positions */
	struct iovec iov[VQ_MAX_IOV];
	struct vq_chain c;
};

static struct rig *rig_of(struct virtio_dev *dev)
{
	return container_of(dev, struct rig, dev);
}

static void on_queue(struct virtio_dev *dev, unsigned int queue)
{
}

static void on_features(struct virtio_dev *dev, uint64_t features)
{
}

static void on_broken(struct virtio_dev *dev, unsigned int queue)
{
	rig_of(dev)->broken++;
}

static const struct virtio_dev_ops ops = {
	.set_features = on_features,
	.queue_start = on_queue,
	.queue_stop = on_queue,
};

static const struct virtio_host_ops host_ops = { .queue_broken = on_broken };

static void start(struct rig *r, uint16_t base)
{
	struct virtio_ring ring = { r->ram + DESC, r->ram + DRIVER, r->ram + DEVICE, false, 0, 0 };

	assert_int_equal(virtio_queue_setup(&r->dev, 0, (uint16_t)r->size, &ring, base), 0);
	virtio_queue_start(&r->dev, 0);
	r->vq = &r->dev.queues[0];
	r->next = r->seen = base;
}

static struct rig *rig_sized(uint64_t features, unsigned int size)
{
	struct rig *r = calloc(1, sizeof(*r));
	int fd = memfd_create("t", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, RAM), 0);
	mem_init(&r->mem);
	assert_int_equal(mem_add_take(&r->mem, 0, RAM, 0, fd, 0), 0);
	r->ram = mem_ptr(&r->mem, (gpa){ 0 }, RAM);
	assert_int_equal(twx_loop_new(&r->loop, NULL), 0);
	assert_int_equal(virtio_dev_init(&r->dev, &ops, r->loop, 1), 0);
	r->dev.mem = &r->mem;
	r->dev.host_ops = &host_ops;
	r->dev.offered = FEATURES;
	r->size = size;
	virtio_set_features(&r->dev, features);
	start(r, virtio_ring_first(features));
	return r;
}

static struct rig *rig_new(uint64_t features)
{
	return rig_sized(features, SIZE);
}

static void rig_free(struct rig *r)
{
	virtio_queue_stop(&r->dev, 0);
	virtio_dev_fini(&r->dev);
	twx_loop_free(r->loop);
	r->mem.log = NULL;
	mem_fini(&r->mem);
	free(r);
}

static void put16(struct rig *r, unsigned int at, uint16_t v)
{
	memcpy(r->ram + at, &v, 2);
}

static uint16_t get16(struct rig *r, unsigned int at)
{
	uint16_t v;

	memcpy(&v, r->ram + at, 2);
	return v;
}

static uint16_t later(const struct rig *r, uint16_t pos, unsigned int n)
{
	for (; n; n--)
		pos = (pos & ~WRAP) + 1u < r->size ? (uint16_t)(pos + 1) : (pos & WRAP) ^ WRAP;
	return pos;
}

static unsigned int slot(uint16_t pos)
{
	return DESC + 16u * (pos & ~WRAP);
}

static void put_desc(struct rig *r, unsigned int at, uint64_t addr, uint32_t len, uint16_t id,
		     uint16_t flags)
{
	memcpy(r->ram + at, &addr, 8);
	memcpy(r->ram + at + 8, &len, 4);
	put16(r, at + 12, id);
	put16(r, at + 14, flags);
}

static void offer(struct rig *r, uint64_t addr, uint32_t len, uint16_t id, uint16_t flags)
{
	put_desc(r, slot(r->next), addr, len, id,
		 (uint16_t)(flags | (r->next & WRAP ? AVAIL : USED)));
	r->next = later(r, r->next, 1);
}

static int pop(struct rig *r)
{
	return vq_pop(r->vq, &r->c, r->iov, VQ_MAX_IOV);
}

static void done(struct rig *r, uint32_t written)
{
	vq_push(r->vq, &r->c.elem, written);
	vq_publish(r->vq);
}

/* The driver takes one: its id, or -1; it had @slots slots. */
static int seen(struct rig *r, unsigned int slots, uint32_t *len)
{
	unsigned int at = slot(r->seen);
	uint16_t flags = get16(r, at + 14);

	if ((flags & (AVAIL | USED)) != (r->seen & WRAP ? AVAIL | USED : 0))
		return -1;
	if (len)
		memcpy(len, r->ram + at + 8, 4);
	r->seen = later(r, r->seen, slots);
	return get16(r, at + 12);
}

static void test_order_and_laps(void **state)
{
	struct rig *r = rig_new(FEATURES);

	for (unsigned int i = 0; i < 50; i++) {
		uint16_t id = (uint16_t)(i * 1021);
		unsigned int at = slot(r->next);
		uint32_t len;

		assert_int_equal(pop(r), 0);
		offer(r, DATA + 0x100 * i, 0x40 + i, id, 0);
		assert_int_equal(pop(r), 1);
		assert_int_equal(r->c.elem.id, id);
		assert_int_equal(r->c.out_len, 0x40 + i);
		assert_ptr_equal(r->iov[0].iov_base, r->ram + DATA + 0x100 * i);
		vq_push(r->vq, &r->c.elem, i);
		assert_int_equal(seen(r, 1, NULL), -1); /* not shown yet */
		vq_publish(r->vq);
		assert_int_equal(get16(r, at + 14) & VRING_DESC_F_WRITE,
				 i ? VRING_DESC_F_WRITE : 0);
		assert_int_equal(seen(r, 1, &len), id);
		assert_int_equal(len, i);
	}
	assert_int_equal(virtio_queue_stop(&r->dev, 0), r->next);
	rig_free(r);
}

/* Whoever sees the first of a burst sees all, with chains of several slots across the ring's end.
 */
static void test_bursts_and_chains(void **state)
{
	struct rig *r = rig_new(FEATURES);
	struct vq_elem e[3];

	for (unsigned int lap = 0; lap < 30; lap++) {
		for (unsigned int i = 0; i < 3; i++) {
			offer(r, DATA, 10, 77, VRING_DESC_F_NEXT);
			offer(r, DATA + 64, 20, (uint16_t)(lap + i), VRING_DESC_F_WRITE);
			assert_int_equal(pop(r), 1);
			assert_int_equal(r->c.n_out, 1);
			assert_int_equal(r->c.n_in, 1);
			assert_int_equal(r->c.in_len, 20);
			assert_int_equal(r->c.elem.slots, 2);
			e[i] = r->c.elem;
		}
		assert_false(vq_all_taken(r->vq));
		for (unsigned int i = 0; i < 3; i++) {
			vq_push(r->vq, &e[i], 20);
			assert_int_equal(seen(r, 2, NULL), -1);
		}
		vq_publish(r->vq);
		for (unsigned int i = 0; i < 3; i++)
			assert_int_equal(seen(r, 2, NULL), lap + i);
		assert_int_equal(seen(r, 2, NULL), -1);
	}
	rig_free(r);
}

static void test_give_back(void **state)
{
	struct rig *r = rig_new(FEATURES);
	struct vq_elem taken[SIZE];
	unsigned int n;

	for (unsigned int lap = 0; lap < 5; lap++) {
		offer(r, DATA, 1, 0, VRING_DESC_F_NEXT);
		offer(r, DATA, 1, 0, VRING_DESC_F_NEXT);
		offer(r, DATA, 1, 3, 0);
		offer(r, DATA, 2, 1, 0);
		offer(r, DATA, 3, 2, 0);
		for (unsigned int round = 0; round < 3; round++) {
			for (n = 0; pop(r) == 1; n++)
				taken[n] = r->c.elem;
			assert_int_equal(n, 3);
			while (n)
				vq_unpop(r->vq, &taken[--n]);
		}
		assert_int_equal(virtio_queue_stop(&r->dev, 0), r->seen);
		n = r->next;
		start(r, r->seen);
		r->next = (uint16_t)n;
		for (unsigned int i = 0; i < 3; i++) {
			assert_int_equal(pop(r), 1);
			done(r, 0);
		}
		assert_int_equal(seen(r, 3, NULL), 3);
		assert_int_equal(seen(r, 1, NULL), 1);
		assert_int_equal(seen(r, 1, NULL), 2);
	}
	rig_free(r);
}

static void test_tables(void **state)
{
	struct rig *r = rig_new(FEATURES);

	/* In order, whatever their flags say beside WRITE. */
	put_desc(r, TABLE + 3, DATA, 10, 0, AVAIL);
	put_desc(r, TABLE + 19, UINT64_MAX, 0, 9, VRING_DESC_F_INDIRECT);
	put_desc(r, TABLE + 35, DATA + 50, 20, 0, VRING_DESC_F_NEXT);
	put_desc(r, TABLE + 51, DATA + 100, 30, 0, VRING_DESC_F_WRITE);
	offer(r, TABLE + 3, 64, 5, VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE);
	assert_int_equal(pop(r), 1);
	assert_int_equal(r->c.elem.id, 5);
	assert_int_equal(r->c.elem.slots, 1);
	assert_int_equal(r->c.n_out, 2);
	assert_int_equal(r->c.out_len, 30);
	assert_int_equal(r->c.in_len, 30);
	done(r, 30);
	/* Longer than we follow: unusable, and the queue goes on. */
	for (unsigned int i = 0; i < 2000; i++)
		put_desc(r, TABLE + 16 * i, DATA, 1, 0, 0);
	offer(r, TABLE, 16 * 2000, 6, VRING_DESC_F_INDIRECT);
	assert_int_equal(pop(r), -EMSGSIZE);
	done(r, 0);
	offer(r, DATA, 1, 7, 0);
	assert_int_equal(pop(r), 1);
	assert_int_equal(r->broken, 0);
	rig_free(r);
}

static void test_too_few_iovecs(void **state)
{
	struct rig *r = rig_new(FEATURES);

	offer(r, DATA, 10, 0, VRING_DESC_F_NEXT);
	offer(r, DATA, 10, 0, VRING_DESC_F_NEXT);
	offer(r, DATA, 10, 4, 0);
	for (unsigned int room = 0; room < 3; room++)
		assert_int_equal(vq_pop(r->vq, &r->c, r->iov, room), -E2BIG);
	assert_int_equal(vq_pop(r->vq, &r->c, r->iov, 3), 1);
	rig_free(r);
}

/* The chain's end is found behind an address that leads nowhere, wherever in the chain that is. */
static void test_bad_addresses_concern_one_chain(void **state)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
		uint16_t flags;
	} bad[] = {
		{ RAM - 4, 8, 0 },
		{ RAM, 1, 0 },
		{ UINT64_MAX - 3, 8, 0 },
		{ 0, UINT32_MAX, 0 },
		{ UINT64_MAX - 15, 32, VRING_DESC_F_INDIRECT },
		{ RAM - 16, 32, VRING_DESC_F_INDIRECT },
	};
	struct rig *r = rig_new(FEATURES);

	for (uint16_t i = 0; i < array_size(bad); i++) {
		unsigned int n = 1;

		if (bad[i].flags == 0) {
			offer(r, bad[i].addr, bad[i].len, 0, VRING_DESC_F_NEXT);
			offer(r, DATA, 1, 0, VRING_DESC_F_NEXT);
			offer(r, DATA, 1, i, VRING_DESC_F_WRITE);
			n = 3;
		} else {
			offer(r, bad[i].addr, bad[i].len, i, bad[i].flags);
		}
		assert_true(pop(r) < 0);
		assert_int_equal(r->c.elem.id, i);
		assert_int_equal(r->c.elem.slots, n);
		done(r, 0);
		assert_int_equal(seen(r, n, NULL), i);
	}
	assert_int_equal(r->broken, 0);
	offer(r, DATA, 1, 1, 0);
	assert_int_equal(pop(r), 1);
	rig_free(r);
}

static void assert_breaks(struct rig *r, const char *what)
{
	if (pop(r) != 0 || r->broken != 1)
		fail_msg("%s was accepted", what);
	assert_int_equal(pop(r), 0);
	assert_false(vq_ready(r->vq));
	assert_false(vq_notify_enable(r->vq));
	virtio_queue_stop(&r->dev, 0);
	memset(r->ram + DESC, 0, 0x100);
	start(r, WRAP);
	offer(r, DATA, 1, 1, 0);
	assert_int_equal(pop(r), 1);
	rig_free(r);
}

static void test_malformed_chains(void **state)
{
	static const struct {
		const char *what;
		uint32_t len;
		uint16_t flags;
	} bad[] = {
		{ "a table of length 0", 0, VRING_DESC_F_INDIRECT },
		{ "a table of length 15", 15, VRING_DESC_F_INDIRECT },
		{ "a table of length 17", 17, VRING_DESC_F_INDIRECT },
		{ "a huge table", 16 * 32769, VRING_DESC_F_INDIRECT },
		{ "a table with NEXT", 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT },
	};
	struct rig *r;

	for (unsigned int i = 0; i < array_size(bad); i++) {
		r = rig_new(FEATURES);
		offer(r, TABLE, bad[i].len, 0, bad[i].flags);
		assert_breaks(r, bad[i].what);
	}
	r = rig_new(FEATURES);
	for (unsigned int i = 0; i < SIZE; i++)
		offer(r, DATA, 0, 0, VRING_DESC_F_NEXT);
	assert_breaks(r, "a chain without an end");
	r = rig_new(FEATURES);
	offer(r, DATA, 1, 0, VRING_DESC_F_NEXT);
	offer(r, TABLE, 16, 0, VRING_DESC_F_INDIRECT);
	assert_breaks(r, "a table within a chain");
	r = rig_new(FEATURES);
	offer(r, DATA, 1, 0, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT);
	offer(r, DATA, 1, 0, 0);
	assert_breaks(r, "readable after writable");
	r = rig_new(FEATURES & ~(1ull << VIRTIO_RING_F_INDIRECT_DESC));
	offer(r, TABLE, 16, 0, VRING_DESC_F_INDIRECT);
	assert_breaks(r, "a table that was not negotiated");
}

/* All slots are ours: what is offered then was not the driver's to offer. */
static void test_more_than_the_ring(void **state)
{
	struct rig *r = rig_new(FEATURES);

	for (uint16_t i = 0; i < SIZE; i++) {
		offer(r, DATA, 1, i, 0);
		assert_false(vq_all_taken(r->vq));
		assert_int_equal(pop(r), 1);
	}
	assert_true(vq_all_taken(r->vq));
	assert_int_equal(pop(r), 0);
	assert_false(vq_notify_enable(r->vq));
	assert_int_equal(r->broken, 0);
	offer(r, DATA, 1, 0, 0);
	assert_false(vq_notify_enable(r->vq));
	assert_breaks(r, "a slot more than there are");
	/* And a chain that reaches into what is ours. */
	r = rig_new(FEATURES);
	for (uint16_t i = 0; i < SIZE - 1; i++) {
		offer(r, DATA, 1, i, 0);
		assert_int_equal(pop(r), 1);
	}
	offer(r, DATA, 1, 0, VRING_DESC_F_NEXT);
	assert_breaks(r, "a chain beyond the free slots");
}

static void test_interrupts_by_flag(void **state)
{
	struct rig *r = rig_new(VIRTIO_PACKED);

	assert_int_equal(vq_signal(r->vq), VQ_SIGNAL_NOTHING);
	offer(r, DATA, 1, 0, 0);
	pop(r);
	vq_push(r->vq, &r->c.elem, 0);
	assert_int_equal(vq_signal(r->vq), VQ_SIGNAL_NOTHING); /* not published */
	vq_publish(r->vq);
	assert_int_equal(vq_signal(r->vq), VQ_SIGNAL_SEND);
	assert_int_equal(vq_signal(r->vq), VQ_SIGNAL_NOTHING);
	put16(r, DRIVER + 2, VRING_PACKED_EVENT_FLAG_DISABLE);
	offer(r, DATA, 1, 0, 0);
	pop(r);
	done(r, 0);
	assert_int_equal(vq_signal(r->vq), VQ_SIGNAL_SKIP);
	/* A position that was not negotiated is no reason to keep quiet. */
	put16(r, DRIVER + 2, VRING_PACKED_EVENT_FLAG_DESC);
	offer(r, DATA, 1, 0, 0);
	pop(r);
	done(r, 0);
	assert_int_equal(vq_signal(r->vq), VQ_SIGNAL_SEND);
	rig_free(r);
}

static void test_interrupts_by_position(void **state)
{
	struct rig *r = rig_new(FEATURES);

	put16(r, DRIVER, later(r, WRAP, 5));
	put16(r, DRIVER + 2, VRING_PACKED_EVENT_FLAG_DESC);
	for (unsigned int i = 0; i < 4 * SIZE; i++) {
		offer(r, DATA, 1, 0, 0);
		pop(r);
		done(r, 0);
		/* The first after a start, and that position, which comes round every two laps. */
		assert_int_equal(vq_signal(r->vq),
				 i == 0 || i % (2 * SIZE) == 5 ? VQ_SIGNAL_SEND : VQ_SIGNAL_SKIP);
	}
	/* Two laps at once end where they began, and were not nothing. */
	for (unsigned int i = 0; i < 2 * SIZE; i++) {
		offer(r, DATA, 1, 0, 0);
		pop(r);
		done(r, 0);
	}
	assert_int_equal(vq_signal(r->vq), VQ_SIGNAL_SEND);
	/* A position outside of the ring, once a lap has been spared. */
	put16(r, DRIVER, SIZE);
	offer(r, DATA, 1, 0, 0);
	pop(r);
	done(r, 0);
	assert_int_equal(vq_signal(r->vq), VQ_SIGNAL_SEND);
	rig_free(r);
}

static void test_doorbells(void **state)
{
	struct rig *r = rig_new(VIRTIO_PACKED);

	vq_notify_disable(r->vq);
	assert_int_equal(get16(r, DEVICE + 2), VRING_PACKED_EVENT_FLAG_DISABLE);
	assert_false(vq_notify_enable(r->vq));
	assert_int_equal(get16(r, DEVICE + 2), VRING_PACKED_EVENT_FLAG_ENABLE);
	offer(r, DATA, 1, 0, 0);
	assert_true(vq_notify_enable(r->vq));
	rig_free(r);
	r = rig_new(FEATURES);
	vq_notify_disable(r->vq);
	assert_int_equal(get16(r, DEVICE + 2), VRING_PACKED_EVENT_FLAG_DISABLE);
	for (unsigned int i = 0; i < 3 * SIZE; i++) {
		assert_false(vq_notify_enable(r->vq));
		assert_int_equal(get16(r, DEVICE + 2), VRING_PACKED_EVENT_FLAG_DESC);
		assert_int_equal(get16(r, DEVICE), r->next);
		offer(r, DATA, 1, 0, 0);
		assert_true(vq_notify_enable(r->vq));
		pop(r);
		done(r, 0);
	}
	rig_free(r);
}

/* Every page that the device writes is marked: the descriptors', and its event suppression. */
static void test_dirty(void **state)
{
	struct rig *r = rig_sized(FEATURES, 1024);

	r->mem.log = r->log;
	r->mem.log_size = sizeof(r->log);
	for (unsigned int i = 0; i < 300; i++) {
		offer(r, DATA, 1, 0, 0);
		pop(r);
		done(r, 1);
	}
	assert_int_equal(r->log[0], 1 << 1 | 1 << 2); /* 300 of 16 bytes from 0x1000 on */
	vq_notify_disable(r->vq);
	assert_int_equal(r->log[0], 1 << 1 | 1 << 2 | 1 << 3);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_and_laps),
		cmocka_unit_test(test_bursts_and_chains),
		cmocka_unit_test(test_give_back),
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_too_few_iovecs),
		cmocka_unit_test(test_bad_addresses_concern_one_chain),
		cmocka_unit_test(test_malformed_chains),
		cmocka_unit_test(test_more_than_the_ring),
		cmocka_unit_test(test_interrupts_by_flag),
		cmocka_unit_test(test_interrupts_by_position),
		cmocka_unit_test(test_doorbells),
		cmocka_unit_test(test_dirty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
