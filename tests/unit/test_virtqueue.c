/* SPDX-License-Identifier: BSD-3-Clause */
/* Split virtqueues alone: chains, giving back, wrap-around, suppression both ways, malformed rings.
 */
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

#define FEATURES ((1ull << VIRTIO_RING_F_EVENT_IDX) | (1ull << VIRTIO_RING_F_INDIRECT_DESC))
#define RAM (1u << 20)
#define SIZE 8u
#define DESC 0x1000u
#define AVAIL 0x2000u
#define USED 0x3000u
#define TABLE 0x8000u
#define DATA 0x20000u

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct rig {
	struct virtio_dev dev;
	struct twx_loop *loop;
	struct mem_map mem;
	uint8_t *ram;
	struct virtqueue *vq;
	unsigned int started, stopped, broken, resets;
	uint64_t features;
	uint16_t avail;
	struct iovec iov[VQ_MAX_IOV];
	struct vq_chain c;
};

static struct rig *rig_of(struct virtio_dev *dev)
{
	return container_of(dev, struct rig, dev);
}

static void on_start(struct virtio_dev *dev, unsigned int queue)
{
	rig_of(dev)->started++;
}

static void on_stop(struct virtio_dev *dev, unsigned int queue)
{
	rig_of(dev)->stopped++;
}

static void on_reset(struct virtio_dev *dev)
{
	rig_of(dev)->resets++;
}

static void on_features(struct virtio_dev *dev, uint64_t features)
{
	rig_of(dev)->features = features;
}

static void on_broken(struct virtio_dev *dev, unsigned int queue)
{
	rig_of(dev)->broken++;
}

static const struct virtio_dev_ops ops = {
	.set_features = on_features,
	.queue_start = on_start,
	.queue_stop = on_stop,
	.reset = on_reset,
};

static const struct virtio_host_ops host_ops = { .queue_broken = on_broken };

static struct virtio_ring ring_at(struct rig *r, unsigned int desc, unsigned int avail,
				  unsigned int used)
{
	return (struct virtio_ring){ r->ram + desc, r->ram + avail, r->ram + used, false, 0 };
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

static struct rig *rig_new(uint64_t features, uint16_t base)
{
	struct rig *r = calloc(1, sizeof(*r));
	int fd = memfd_create("t", MFD_CLOEXEC);
	struct virtio_ring ring;

	assert_int_equal(ftruncate(fd, RAM), 0);
	mem_init(&r->mem);
	assert_int_equal(mem_add_take(&r->mem, 0, RAM, 0, fd, 0), 0);
	r->ram = mem_ptr(&r->mem, (gpa){ 0 }, RAM);
	assert_int_equal(twx_loop_new(&r->loop, NULL), 0);
	assert_int_equal(virtio_dev_init(&r->dev, &ops, r->loop, 2), 0);
	r->dev.mem = &r->mem;
	r->dev.host_ops = &host_ops;
	r->dev.offered = FEATURES;
	virtio_set_features(&r->dev, features);
	r->avail = base;
	put16(r, AVAIL + 2, base);
	put16(r, USED + 2, base);
	ring = ring_at(r, DESC, AVAIL, USED);
	assert_int_equal(virtio_queue_setup(&r->dev, 0, SIZE, &ring, base), 0);
	virtio_queue_start(&r->dev, 0);
	r->vq = &r->dev.queues[0];
	return r;
}

static void rig_free(struct rig *r)
{
	virtio_queue_stop(&r->dev, 0);
	virtio_dev_fini(&r->dev);
	twx_loop_free(r->loop);
	mem_fini(&r->mem);
	free(r);
}

static void set_desc(struct rig *r, unsigned int table, unsigned int i, struct desc d)
{
	memcpy(r->ram + table + 16 * i, &d, 16);
}

static void offer(struct rig *r, uint16_t head)
{
	put16(r, AVAIL + 4 + 2 * (r->avail % SIZE), head);
	put16(r, AVAIL + 2, ++r->avail);
}

static void offer_plain(struct rig *r, uint16_t i)
{
	set_desc(r, DESC, i, (struct desc){ DATA + 0x100u * i, 0x40u + i, 0, 0 });
	offer(r, i);
}

static int pop(struct rig *r)
{
	return vq_pop(r->vq, &r->c, r->iov, VQ_MAX_IOV);
}

static void done(struct rig *r)
{
	vq_push(r->vq, &r->c.elem, 0);
	vq_publish(r->vq);
}

static void test_order_and_wrap(void **state)
{
	struct rig *r = rig_new(FEATURES, 65530);

	for (unsigned int i = 0; i < 40; i++) {
		uint16_t idx = (uint16_t)(65530 + i);
		uint32_t used[2];

		assert_int_equal(pop(r), 0);
		offer_plain(r, (uint16_t)(i * 3 % SIZE));
		assert_int_equal(pop(r), 1);
		assert_int_equal(r->c.elem.id, i * 3 % SIZE);
		assert_int_equal(r->c.out_len, 0x40 + i * 3 % SIZE);
		assert_ptr_equal(r->iov[0].iov_base, r->ram + DATA + 0x100 * (i * 3 % SIZE));
		vq_push(r->vq, &r->c.elem, i);
		assert_int_equal(get16(r, USED + 2), idx); /* not shown yet */
		vq_publish(r->vq);
		assert_int_equal(get16(r, USED + 2), (uint16_t)(idx + 1));
		memcpy(used, r->ram + USED + 4 + 8 * (idx % SIZE), 8);
		assert_int_equal(used[0], i * 3 % SIZE);
		assert_int_equal(used[1], i);
	}
	rig_free(r);
}

static void test_give_back(void **state)
{
	struct rig *r = rig_new(FEATURES, 0);
	struct vq_elem taken[SIZE];

	for (uint16_t i = 0; i < SIZE; i++)
		offer_plain(r, i);
	for (unsigned int round = 0; round < 3; round++) {
		for (unsigned int i = 0; i < SIZE; i++) {
			assert_int_equal(pop(r), 1);
			taken[i] = r->c.elem;
			assert_int_equal(taken[i].id, i);
		}
		assert_int_equal(pop(r), 0);
		for (unsigned int i = SIZE; i > 0; i--)
			vq_unpop(r->vq, &taken[i - 1]);
	}
	assert_int_equal(pop(r), 1);
	done(r);
	assert_int_equal(virtio_queue_stop(&r->dev, 0), 1);
	rig_free(r);
}

static void test_chains(void **state)
{
	struct rig *r = rig_new(FEATURES, 0);

	/* Two out, one of length zero, two in. */
	set_desc(r, DESC, 3, (struct desc){ DATA, 10, VRING_DESC_F_NEXT, 1 });
	set_desc(r, DESC, 1, (struct desc){ UINT64_MAX, 0, VRING_DESC_F_NEXT, 5 });
	set_desc(r, DESC, 5, (struct desc){ DATA + 50, 20, VRING_DESC_F_NEXT, 0 });
	set_desc(r, DESC, 0,
		 (struct desc){ DATA + 100, 30, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2 });
	set_desc(r, DESC, 2, (struct desc){ DATA + 200, 40, VRING_DESC_F_WRITE, 7 });
	offer(r, 3);
	assert_int_equal(pop(r), 1);
	assert_int_equal(r->c.n_out, 2);
	assert_int_equal(r->c.n_in, 2);
	assert_int_equal(r->c.out_len, 30);
	assert_int_equal(r->c.in_len, 70);
	assert_ptr_equal(r->iov[2].iov_base, r->ram + DATA + 100);
	done(r);
	/* A direct part, then a table (2.7.5.3.2). */
	set_desc(r, DESC, 0, (struct desc){ DATA, 10, VRING_DESC_F_NEXT, 4 });
	set_desc(r, DESC, 4,
		 (struct desc){ TABLE + 3, 48, VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE, 0 });
	set_desc(r, TABLE + 3, 0, (struct desc){ DATA + 10, 11, VRING_DESC_F_NEXT, 2 });
	set_desc(r, TABLE + 3, 2, (struct desc){ DATA + 30, 12, VRING_DESC_F_WRITE, 9 });
	offer(r, 0);
	assert_int_equal(pop(r), 1);
	assert_int_equal(r->c.out_len, 21);
	assert_int_equal(r->c.in_len, 12);
	done(r);
	assert_int_equal(r->broken, 0);
	rig_free(r);
}

static void test_too_few_iovecs(void **state)
{
	struct rig *r = rig_new(FEATURES, 0);

	set_desc(r, DESC, 0, (struct desc){ DATA, 10, VRING_DESC_F_NEXT, 1 });
	set_desc(r, DESC, 1, (struct desc){ DATA, 10, VRING_DESC_F_NEXT, 2 });
	set_desc(r, DESC, 2, (struct desc){ DATA, 10, 0, 0 });
	offer(r, 0);
	for (unsigned int room = 0; room < 3; room++)
		assert_int_equal(vq_pop(r->vq, &r->c, r->iov, room), -E2BIG);
	assert_int_equal(vq_pop(r->vq, &r->c, r->iov, 3), 1);
	rig_free(r);
}

static void test_bad_addresses_concern_one_chain(void **state)
{
	static const struct desc bad[] = {
		{ RAM - 4, 8, 0, 0 },
		{ RAM, 1, 0, 0 },
		{ UINT64_MAX - 3, 8, 0, 0 },
		{ 0, UINT32_MAX, 0, 0 },
		{ UINT64_MAX - 15, 32, VRING_DESC_F_INDIRECT, 0 },
		{ RAM - 16, 32, VRING_DESC_F_INDIRECT, 0 },
	};
	struct rig *r = rig_new(FEATURES, 0);

	/* The last table's first entry is there and leads to the second, which is not. */
	set_desc(r, RAM - 16, 0, (struct desc){ DATA, 1, VRING_DESC_F_NEXT, 1 });
	for (unsigned int i = 0; i < array_size(bad); i++) {
		set_desc(r, DESC, i % SIZE, bad[i]);
		offer(r, (uint16_t)(i % SIZE));
		assert_true(pop(r) < 0);
		assert_int_equal(r->c.elem.id, i % SIZE);
		done(r);
	}
	assert_int_equal(r->broken, 0);
	offer_plain(r, 1);
	assert_int_equal(pop(r), 1);
	rig_free(r);
}

/* A ring that cannot be trusted stops, is reported once, and works again after a new start. */
static void assert_breaks(struct rig *r, const char *what)
{
	struct virtio_ring ring = ring_at(r, DESC, AVAIL, USED);

	if (pop(r) != 0 || r->broken != 1)
		fail_msg("%s was accepted", what);
	assert_int_equal(pop(r), 0);
	assert_false(vq_ready(r->vq));
	vq_break(r->vq);
	assert_int_equal(r->broken, 1);
	virtio_queue_stop(&r->dev, 0);
	memset(r->ram + AVAIL, 0, 0x100);
	r->avail = 0;
	assert_int_equal(virtio_queue_setup(&r->dev, 0, SIZE, &ring, 0), 0);
	virtio_queue_start(&r->dev, 0);
	offer_plain(r, 1);
	assert_int_equal(pop(r), 1);
	rig_free(r);
}

static void test_index_jump(void **state)
{
	struct rig *r = rig_new(FEATURES, 100);

	put16(r, AVAIL + 2, 100 + SIZE + 1);
	assert_breaks(r, "an index beyond the ring");
	r = rig_new(FEATURES, 100);
	put16(r, AVAIL + 2, 99);
	assert_breaks(r, "an index that goes back");
	r = rig_new(FEATURES, 100);
	put16(r, AVAIL + 2, 100 + SIZE);
	assert_int_equal(pop(r), 1); /* a full ring is in order */
	rig_free(r);
}

static void test_malformed_chains(void **state)
{
	static const struct {
		const char *what;
		struct desc d;
	} bad[] = {
		{ "next out of range", { DATA, 1, VRING_DESC_F_NEXT, SIZE } },
		{ "next far out of range", { DATA, 1, VRING_DESC_F_NEXT, 0xffff } },
		{ "a chain that links to itself", { DATA, 1, VRING_DESC_F_NEXT, 0 } },
		{ "a loop of empty descriptors", { DATA, 0, VRING_DESC_F_NEXT, 0 } },
		{ "a table of length 0", { TABLE, 0, VRING_DESC_F_INDIRECT, 0 } },
		{ "a table of length 15", { TABLE, 15, VRING_DESC_F_INDIRECT, 0 } },
		{ "a table of length 17", { TABLE, 17, VRING_DESC_F_INDIRECT, 0 } },
		{ "a huge table", { TABLE, 16 * 32769, VRING_DESC_F_INDIRECT, 0 } },
		{ "a table with NEXT",
		  { TABLE, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1 } },
	};
	static const struct {
		const char *what;
		struct desc d;
	} inner[] = {
		{ "a table in a table", { TABLE, 16, VRING_DESC_F_INDIRECT, 0 } },
		{ "a table's next out of range", { DATA, 1, VRING_DESC_F_NEXT, 2 } },
		{ "a loop in a table", { DATA, 1, VRING_DESC_F_NEXT, 0 } },
	};
	struct rig *r;

	for (unsigned int i = 0; i < array_size(bad); i++) {
		r = rig_new(FEATURES, 0);
		set_desc(r, DESC, 0, bad[i].d);
		offer(r, 0);
		assert_breaks(r, bad[i].what);
	}
	for (unsigned int i = 0; i < array_size(inner); i++) {
		r = rig_new(FEATURES, 0);
		set_desc(r, TABLE, 0, inner[i].d);
		set_desc(r, DESC, 0, (struct desc){ TABLE, 32, VRING_DESC_F_INDIRECT, 0 });
		offer(r, 0);
		assert_breaks(r, inner[i].what);
	}
	r = rig_new(FEATURES, 0);
	offer(r, SIZE);
	assert_breaks(r, "a head out of range");
	r = rig_new(FEATURES, 0);
	set_desc(r, DESC, 0, (struct desc){ DATA, 1, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1 });
	set_desc(r, DESC, 1, (struct desc){ DATA, 1, 0, 0 });
	offer(r, 0);
	assert_breaks(r, "readable after writable");
	r = rig_new(FEATURES & ~(1ull << VIRTIO_RING_F_INDIRECT_DESC), 0);
	set_desc(r, DESC, 0, (struct desc){ TABLE, 16, VRING_DESC_F_INDIRECT, 0 });
	offer(r, 0);
	assert_breaks(r, "a table that was not negotiated");
}

/* A table may be longer than we follow; what it costs is bounded and the queue goes on. */
static void test_endless_table(void **state)
{
	struct rig *r = rig_new(FEATURES, 0);

	for (unsigned int i = 0; i < 2000; i++)
		set_desc(r, TABLE, i,
			 (struct desc){ DATA, 1, VRING_DESC_F_NEXT, (uint16_t)(i + 1) });
	set_desc(r, DESC, 0, (struct desc){ TABLE, 16 * 2000, VRING_DESC_F_INDIRECT, 0 });
	offer(r, 0);
	assert_int_equal(pop(r), -EMSGSIZE);
	done(r);
	for (unsigned int i = 0; i < 4; i++)
		set_desc(r, TABLE, i,
			 (struct desc){ 0, 0x10000000, (uint16_t)(i < 3), (uint16_t)(i + 1) });
	offer(r, 0);
	assert_true(pop(r) < 0);
	done(r);
	offer_plain(r, 1);
	assert_int_equal(pop(r), 1);
	rig_free(r);
}

static void test_interrupts_by_flag(void **state)
{
	struct rig *r = rig_new(0, 0);

	assert_int_equal(vq_signal(r->vq), VQ_SIGNAL_NOTHING);
	offer_plain(r, 0);
	pop(r);
	vq_push(r->vq, &r->c.elem, 0);
	assert_int_equal(vq_signal(r->vq), VQ_SIGNAL_NOTHING); /* not published */
	vq_publish(r->vq);
	assert_int_equal(vq_signal(r->vq), VQ_SIGNAL_SEND);
	assert_int_equal(vq_signal(r->vq), VQ_SIGNAL_NOTHING);
	put16(r, AVAIL, VRING_AVAIL_F_NO_INTERRUPT);
	offer_plain(r, 1);
	pop(r);
	done(r);
	assert_int_equal(vq_signal(r->vq), VQ_SIGNAL_SKIP);
	rig_free(r);
}

static void test_interrupts_by_event_index(void **state)
{
	struct rig *r = rig_new(FEATURES, 65533);
	unsigned int sent = 0;

	put16(r, AVAIL + 4 + 2 * SIZE, (uint16_t)(65535 + 3));
	for (unsigned int i = 0; i < 8; i++) {
		enum vq_signal s;

		offer_plain(r, (uint16_t)(i % SIZE));
		pop(r);
		done(r);
		s = vq_signal(r->vq);
		sent += s == VQ_SIGNAL_SEND;
		/* The first after a start, and the one that uses entry 65535 + 3. */
		assert_int_equal(s == VQ_SIGNAL_SEND, i == 0 || i == 5);
	}
	assert_int_equal(sent, 2);
	rig_free(r);
}

static void test_doorbells(void **state)
{
	struct rig *r = rig_new(0, 0);

	vq_notify_disable(r->vq);
	assert_int_equal(get16(r, USED), VRING_USED_F_NO_NOTIFY);
	assert_false(vq_notify_enable(r->vq));
	assert_int_equal(get16(r, USED), 0);
	offer_plain(r, 0);
	assert_true(vq_notify_enable(r->vq));
	rig_free(r);
	r = rig_new(FEATURES, 7);
	vq_notify_disable(r->vq);
	assert_int_equal(get16(r, USED), 0);
	assert_false(vq_notify_enable(r->vq));
	assert_int_equal(get16(r, USED + 4 + 8 * SIZE), 7);
	offer_plain(r, 0);
	assert_true(vq_notify_enable(r->vq));
	pop(r);
	assert_false(vq_notify_enable(r->vq));
	assert_int_equal(get16(r, USED + 4 + 8 * SIZE), 8);
	rig_free(r);
}

static void test_setup_is_checked(void **state)
{
	static const uint16_t bad_sizes[] = { 0, 3, 255, 32769, 65535 };
	struct rig *r = rig_new(FEATURES, 0);
	struct virtio_ring ring = ring_at(r, DESC, AVAIL, USED), odd;

	for (unsigned int i = 0; i < array_size(bad_sizes); i++)
		assert_int_equal(virtio_queue_setup(&r->dev, 1, bad_sizes[i], &ring, 0), -EINVAL);
	assert_int_equal(virtio_queue_setup(&r->dev, 2, SIZE, &ring, 0), -EINVAL);
	assert_int_equal(virtio_queue_setup(&r->dev, 0x10000, SIZE, &ring, 0), -EINVAL);
	assert_int_equal(virtio_queue_setup(&r->dev, 0, SIZE, &ring, 0), -EINVAL); /* runs */
	odd = ring_at(r, DESC + 8, AVAIL, USED);
	assert_int_equal(virtio_queue_setup(&r->dev, 1, SIZE, &odd, 0), -EINVAL);
	odd = ring_at(r, DESC, AVAIL + 1, USED);
	assert_int_equal(virtio_queue_setup(&r->dev, 1, SIZE, &odd, 0), -EINVAL);
	odd = ring_at(r, DESC, AVAIL, USED + 2);
	assert_int_equal(virtio_queue_setup(&r->dev, 1, SIZE, &odd, 0), -EINVAL);
	odd.used = NULL;
	assert_int_equal(virtio_queue_setup(&r->dev, 1, SIZE, &odd, 0), -EINVAL);
	virtio_queue_start(&r->dev, 1); /* never set up */
	assert_false(virtio_queue_running(&r->dev, 1));
	assert_false(virtio_queue_running(&r->dev, 77));
	virtio_queue_start(&r->dev, 0); /* runs already */
	assert_int_equal(r->started, 1);
	virtio_queue_stop(&r->dev, 0);
	virtio_queue_stop(&r->dev, 0);
	assert_int_equal(r->stopped, 1);
	rig_free(r);
}

static void test_reset(void **state)
{
	struct rig *r = rig_new(FEATURES, 0);

	assert_int_equal(r->features, FEATURES & r->dev.offered);
	virtio_set_features(&r->dev, UINT64_MAX);
	assert_int_equal(r->features, r->dev.offered);
	virtio_reset(&r->dev);
	virtio_reset(&r->dev);
	assert_int_equal(r->stopped, 1);
	assert_int_equal(r->resets, 2);
	assert_int_equal(r->dev.features, 0);
	virtio_queue_start(&r->dev, 0); /* its set-up is gone too */
	assert_false(virtio_queue_running(&r->dev, 0));
	rig_free(r);
}

static void test_used_ring_is_logged(void **state)
{
	struct rig *r = rig_new(FEATURES, 6);
	struct virtio_ring ring = ring_at(r, DESC, AVAIL, USED);
	uint8_t log[64] = { 0 };

	r->mem.log = log;
	r->mem.log_size = sizeof(log);
	ring.log = true;
	/* Entries from the third on lie on the next page of this address, the event index too. */
	ring.log_used_gpa = 0x11000 - 4 - 8 * 3;
	virtio_queue_move(&r->dev, 0, &ring);
	offer_plain(r, 0);
	pop(r);
	done(r); /* entry 6 and the index */
	assert_int_equal(log[2], 3);
	memset(log, 0, sizeof(log));
	vq_notify_enable(r->vq);
	assert_int_equal(log[2], 2);
	/* Around the end in one burst. */
	memset(log, 0, sizeof(log));
	ring.log_used_gpa = 0x11000 - 4 - 8 * 1;
	virtio_queue_move(&r->dev, 0, &ring);
	for (uint16_t i = 0; i < 3; i++) {
		offer_plain(r, i);
		pop(r);
		vq_push(r->vq, &r->c.elem, 0);
	}
	vq_publish(r->vq); /* 7, 0, 1 */
	assert_int_equal(log[2], 3);
	r->mem.log = NULL;
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_and_wrap),
		cmocka_unit_test(test_give_back),
		cmocka_unit_test(test_chains),
		cmocka_unit_test(test_too_few_iovecs),
		cmocka_unit_test(test_bad_addresses_concern_one_chain),
		cmocka_unit_test(test_index_jump),
		cmocka_unit_test(test_malformed_chains),
		cmocka_unit_test(test_endless_table),
		cmocka_unit_test(test_interrupts_by_flag),
		cmocka_unit_test(test_interrupts_by_event_index),
		cmocka_unit_test(test_doorbells),
		cmocka_unit_test(test_setup_is_checked),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_used_ring_is_logged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
