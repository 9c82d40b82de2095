/* SPDX-License-Identifier: BSD-3-Clause */
/* The record of a ring: layout, what is taken over from it, contents that mean harm, death between
 * any two stores. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/macros.h"
#include "bus/inflight.h"

#define SIZE 8u

/* As much of a ring as its record has to do with, and the record. */
struct shared {
	uint16_t avail[4 + SIZE], used[4 + SIZE];
	uint64_t region[(sizeof(struct inflight_region) + SIZE * sizeof(struct inflight_desc)) / 8];
};

static struct shared mem;
static struct inflight f;
static uint16_t next;

static struct inflight_region *region_of(struct shared *s)
{
	return (struct inflight_region *)s->region;
}

static void ring_at(struct shared *s, uint16_t used, uint16_t avail)
{
	s->used[1] = used;
	s->avail[1] = avail;
}

static int open_record(struct shared *s)
{
	struct virtio_ring ring = { .avail = s->avail, .used = s->used };

	next = 0x5555;
	return inflight_open(&f, region_of(s), SIZE, SIZE, &ring, &next);
}

static void mark(struct shared *s, uint16_t head, uint64_t counter)
{
	region_of(s)->desc[head].inflight = 1;
	region_of(s)->desc[head].counter = counter;
}

/* A predecessor's: used index 10, 15 offered, heads 5, 2, 7 taken in this order and not handed
 * back. */
static void predecessor(struct shared *s)
{
	memset(s, 0, sizeof(*s));
	ring_at(s, 10, 15);
	*region_of(s) = (struct inflight_region){ .version = 1, .desc_num = SIZE, .used_idx = 10 };
	mark(s, 2, 1ull << 40);
	mark(s, 5, 3);
	mark(s, 7, ~0ull);
}

static int setup(void **state)
{
	(void)state;
	predecessor(&mem);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	inflight_close(&f);
	return 0;
}

static unsigned int n_marked(struct shared *s)
{
	unsigned int n = 0;

	for (uint32_t i = 0; i < SIZE; i++)
		n += region_of(s)->desc[i].inflight;
	return n;
}

static void assert_heads(const uint16_t *want, uint16_t n)
{
	uint16_t head = 0xffff;

	assert_int_equal(f.n, n);
	for (uint16_t i = 0; i < n; i++) {
		assert_true(inflight_head(&f, (uint16_t)(next + i), &head));
		assert_int_equal(head, want[i]);
	}
	assert_false(inflight_head(&f, (uint16_t)(next + n), &head));
	assert_false(inflight_head(&f, (uint16_t)(next - 1), &head));
}

/* Sizes as DPDK's and QEMU's back ends compute them: 2112 bytes a queue of 128, seen in a log. */
static void test_layout(void **state)
{
	(void)state;
	assert_int_equal(offsetof(struct inflight_region, version), 8);
	assert_int_equal(offsetof(struct inflight_region, desc_num), 10);
	assert_int_equal(offsetof(struct inflight_region, last_batch_head), 12);
	assert_int_equal(offsetof(struct inflight_region, used_idx), 14);
	assert_int_equal(offsetof(struct inflight_region, desc), 16);
	assert_int_equal(sizeof(struct inflight_desc), 16);
	assert_int_equal(offsetof(struct inflight_desc, next), 6);
	assert_int_equal(offsetof(struct inflight_desc, counter), 8);
	assert_int_equal(inflight_region_size(1), 64);
	assert_int_equal(inflight_region_size(128), 2112);
	assert_int_equal(inflight_region_size(32768), 32768 * 16 + 64);
}

/* Also what lay there before, if its owner says that it is new. */
static void test_new(void **state)
{
	(void)state;
	region_of(&mem)->version = 0;
	region_of(&mem)->features = 7;
	assert_int_equal(open_record(&mem), INFLIGHT_NEW);
	assert_int_equal(next, 0x5555);
	assert_int_equal(f.n, 0);
	assert_int_equal(region_of(&mem)->version, 1);
	assert_int_equal(region_of(&mem)->features, 0);
	assert_int_equal(region_of(&mem)->desc_num, SIZE);
	/* Not 0: a successor would take the difference for a batch. */
	assert_int_equal(region_of(&mem)->used_idx, 10);
	assert_int_equal(n_marked(&mem), 0);
}

static void test_order_of_counter(void **state)
{
	static const uint16_t want[] = { 5, 2, 7 };

	(void)state;
	assert_int_equal(open_record(&mem), INFLIGHT_RESUME);
	assert_int_equal(next, 10);
	assert_heads(want, 3);
	assert_int_equal(n_marked(&mem), 3);
}

/* "When supplying used buffers", for those; behind them only the index moves. */
static void test_publish(void **state)
{
	struct inflight_region *r = region_of(&mem);

	(void)state;
	assert_int_equal(open_record(&mem), INFLIGHT_RESUME);
	inflight_publish(&f, &mem.used[1], 10, 12);
	assert_int_equal(mem.used[1], 12);
	assert_int_equal(r->used_idx, 12);
	assert_int_equal(r->desc[5].inflight, 0);
	assert_int_equal(r->desc[2].inflight, 0);
	assert_int_equal(r->desc[7].inflight, 1);
	assert_int_equal(r->last_batch_head, 2);
	assert_int_equal(r->desc[2].next, 5);
	inflight_publish(&f, &mem.used[1], 12, 14);
	assert_int_equal(mem.used[1], 14);
	assert_int_equal(r->used_idx, 14);
	assert_int_equal(n_marked(&mem), 0);
	/* Once around: no head of old is heard of again. */
	for (uint32_t i = 14; i < 14 + 65536; i++) {
		uint16_t head;

		assert_false(inflight_head(&f, (uint16_t)i, &head));
		inflight_publish(&f, &mem.used[1], (uint16_t)i, (uint16_t)(i + 1));
	}
	assert_int_equal(r->used_idx, 14);
	assert_int_equal(n_marked(&mem), 0);
}

/* The used ring got the last batch, its flags did not. */
static void test_last_batch(void **state)
{
	static const uint16_t want[] = { 5 };
	struct inflight_region *r = region_of(&mem);

	(void)state;
	r->used_idx = 8;
	r->last_batch_head = 7;
	r->desc[7].next = 2;
	r->desc[2].next = 5;
	assert_int_equal(open_record(&mem), INFLIGHT_RESUME);
	assert_int_equal(next, 10);
	assert_heads(want, 1);
	assert_int_equal(n_marked(&mem), 1);
	assert_int_equal(r->used_idx, 10);
}

static void test_wrap(void **state)
{
	static const uint16_t want[] = { 5, 2, 7 };

	(void)state;
	ring_at(&mem, 0xffff, 3);
	region_of(&mem)->used_idx = 0xffff;
	assert_int_equal(open_record(&mem), INFLIGHT_RESUME);
	assert_int_equal(next, 0xffff);
	assert_heads(want, 3);
	inflight_publish(&f, &mem.used[1], 0xffff, 2);
	assert_int_equal(n_marked(&mem), 0);
	assert_int_equal(region_of(&mem)->used_idx, 2);
}

/* What cannot be: each leaves a clean record and a ring that goes on at its used index. */
static void damage(struct inflight_region *r, int how)
{
	switch (how) {
	case 0: /* a batch of more than there are descriptors */
		r->used_idx = 1;
		break;
	case 1: /* of which one is none */
		r->used_idx = 9;
		r->last_batch_head = SIZE;
		break;
	case 2:
		r->used_idx = 8;
		r->last_batch_head = 5;
		r->desc[5].next = 0xffff;
		break;
	case 3: /* more descriptors than the region has room for */
		r->desc_num = 0xffff;
		break;
	case 4:
		r->desc_num = 0;
		break;
	case 5: /* more in flight than was offered */
		for (uint16_t i = 0; i < 6; i++)
			r->desc[i].inflight = 1;
		break;
	}
}

static void test_stale(void **state)
{
	(void)state;
	for (int how = 0; how <= 5; how++) {
		predecessor(&mem);
		damage(region_of(&mem), how);
		assert_int_equal(open_record(&mem), INFLIGHT_STALE);
		assert_int_equal(next, 10);
		assert_heads(NULL, 0);
		assert_int_equal(n_marked(&mem), 0);
		assert_int_equal(region_of(&mem)->used_idx, 10);
		assert_int_equal(region_of(&mem)->desc_num, SIZE);
		inflight_close(&f);
		assert_int_equal(open_record(&mem), INFLIGHT_RESUME);
		assert_int_equal(f.n, 0);
		inflight_close(&f);
	}
}

/* Entries beyond the ring, in a region with room for more. */
static void test_head_beyond_ring(void **state)
{
	struct virtio_ring ring = { .avail = mem.avail, .used = mem.used };

	(void)state;
	assert_int_equal(inflight_open(&f, region_of(&mem), SIZE, 4, &ring, &next), INFLIGHT_STALE);
	assert_int_equal(f.n, 0);
}

/* A layout of the future is not ours to interpret, nor to destroy. */
static void test_other_version(void **state)
{
	struct shared before;

	(void)state;
	region_of(&mem)->version = 2;
	before = mem;
	assert_int_equal(open_record(&mem), -EOPNOTSUPP);
	assert_memory_equal(&mem, &before, sizeof(mem));
	region_of(&mem)->version = 1;
	region_of(&mem)->features = 1;
	before = mem;
	assert_int_equal(open_record(&mem), -EOPNOTSUPP);
	assert_memory_equal(&mem, &before, sizeof(mem));
}

static void test_hostile(void **state)
{
	unsigned int seed = 1;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		uint8_t *p = (uint8_t *)mem.region;

		predecessor(&mem);
		for (int i = 0; i < 1 + round % 20; i++)
			p[(unsigned int)rand_r(&seed) % sizeof(mem.region)] =
				(uint8_t)rand_r(&seed);
		ring_at(&mem, (uint16_t)rand_r(&seed), (uint16_t)rand_r(&seed));
		if (round % 2)
			region_of(&mem)->used_idx = mem.used[1];
		if (open_record(&mem) >= 0) {
			assert_true(f.n <= SIZE);
			for (uint16_t i = 0; i < f.n; i++)
				assert_true(f.heads[i] < SIZE);
			inflight_publish(&f, &mem.used[1], next, (uint16_t)(next + SIZE + 1));
			assert_int_equal(mem.used[1], (uint16_t)(next + SIZE + 1));
		}
		inflight_close(&f);
	}
}

/* Stops a process that does @work after each of its instructions and calls @check when memory has
 * changed; how often. */
static unsigned int step(struct shared *s, void (*work)(struct shared *),
			 void (*check)(struct shared *))
{
	struct shared last = *s;
	unsigned int n = 0;
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(0);
		raise(SIGSTOP);
		work(s);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	while (WIFSTOPPED(status)) {
		if (memcmp(&last, s, sizeof(last)) != 0) {
			struct shared copy = last = *s;

			n++;
			check(&copy);
			inflight_close(&f);
		}
		if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0)
			kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
	}
	if (n == 0)
		skip(); /* no ptrace here: emulated, or forbidden */
	assert_true(WIFEXITED(status));
	return n;
}

static struct shared *share(void)
{
	struct shared *s =
		mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	predecessor(s);
	return s;
}

static void hand_back(struct shared *s)
{
	open_record(s);
	inflight_publish(&f, &s->used[1], 10, 12);
	inflight_publish(&f, &s->used[1], 12, 14);
}

/* What a successor finds now: the first of the three are in the used ring, the rest are in flight.
 */
static void assert_rest(struct shared *now)
{
	static const uint16_t want[] = { 5, 2, 7 };
	uint16_t done = (uint16_t)(now->used[1] - 10);

	assert_int_equal(open_record(now), INFLIGHT_RESUME);
	assert_int_equal(next, 10 + done);
	assert_heads(want + min(done, 3), (uint16_t)(3 - min(done, 3)));
}

static void test_death_while_handing_back(void **state)
{
	struct shared *s = share();
	unsigned int n = step(s, hand_back, assert_rest);

	(void)state;
	assert_int_equal(s->used[1], 14);
	/* All stores that change anything: next, head, index, flag, index; three times, and the two
	 * of the last. */
	assert_true(n >= 14);
	munmap(s, sizeof(*s));
}

static void take_over(struct shared *s)
{
	open_record(s);
}

static void assert_one(struct shared *now)
{
	static const uint16_t want[] = { 5 };

	assert_int_equal(open_record(now), INFLIGHT_RESUME);
	assert_heads(want, 1);
}

/* A last batch of two is being settled. */
static void test_death_while_taking_over(void **state)
{
	struct shared *s = share();
	unsigned int n;

	(void)state;
	region_of(s)->used_idx = 8;
	region_of(s)->last_batch_head = 7;
	region_of(s)->desc[7].next = 2;
	n = step(s, take_over, assert_one);
	assert_int_equal(n, 3);
	munmap(s, sizeof(*s));
}

#define T(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(layout),
		T(new),
		T(order_of_counter),
		T(publish),
		T(last_batch),
		T(wrap),
		T(stale),
		T(head_beyond_ring),
		T(other_version),
		T(hostile),
		T(death_while_handing_back),
		T(death_while_taking_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
