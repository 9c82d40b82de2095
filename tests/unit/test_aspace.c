/* SPDX-License-Identifier: BSD-3-Clause */
/* Address spaces: who answers where, accesses across borders, and handlers that change the space.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "bus/aspace.h"

#define TOP 0xffffu

struct reg {
	struct as_region r;
	uint8_t bytes[256];
	unsigned int n_reads, n_writes;
	uint64_t off[16];
	unsigned int size[16];
	void (*then)(struct reg *self);
};

static uint64_t reg_read(void *opaque, uint64_t off, unsigned int size)
{
	struct reg *g = opaque;
	uint64_t v = 0;

	assert_true(size == 1 || size == 2 || size == 4 || size == 8);
	assert_true(off < g->r.size && size <= g->r.size - off);
	g->off[g->n_reads % 16] = off;
	g->size[g->n_reads++ % 16] = size;
	memcpy(&v, g->bytes + off % 240, size);
	if (g->then)
		g->then(g);
	return v;
}

static void reg_write(void *opaque, uint64_t off, unsigned int size, uint64_t value)
{
	struct reg *g = opaque;

	assert_true(size == 1 || size == 2 || size == 4 || size == 8);
	assert_true(off < g->r.size && size <= g->r.size - off);
	assert_true(size == 8 || value >> (8 * size) == 0);
	g->off[g->n_writes % 16] = off;
	g->size[g->n_writes++ % 16] = size;
	memcpy(g->bytes + off % 240, &value, size);
	if (g->then)
		g->then(g);
}

static const struct as_ops reg_ops = { reg_read, reg_write };

static void reg_init(struct reg *g, uint64_t size, int priority, uint8_t fill)
{
	*g = (struct reg){ .r = { .name = "reg",
				  .ops = &reg_ops,
				  .opaque = g,
				  .size = size,
				  .priority = priority } };
	memset(g->bytes, fill, sizeof(g->bytes));
}

static void test_nobody(void **state)
{
	struct aspace as;

	as_init(&as, "io", TOP);
	assert_null(as_find(&as, 0));
	assert_int_equal(as_read(&as, 0x10, 1), 0xff);
	assert_int_equal(as_read(&as, 0x10, 2), 0xffff);
	assert_true(as_read(&as, 0x10, 4) == UINT32_MAX);
	assert_true(as_read(&as, 0x10, 8) == UINT64_MAX);
	as_write(&as, 0x10, 8, 0);
	as_fini(&as);
}

static void test_refused(void **state)
{
	struct aspace as;
	struct reg a;

	as_init(&as, "io", TOP);
	reg_init(&a, 0, 0, 0);
	assert_int_equal(as_add(&as, &a.r, 0), -EINVAL);
	a.r.size = 2;
	assert_int_equal(as_add(&as, &a.r, TOP), -EINVAL);
	assert_int_equal(as_add(&as, &a.r, TOP + 1), -EINVAL);
	assert_int_equal(as_add(&as, &a.r, UINT64_MAX), -EINVAL);
	a.r.size = UINT64_MAX;
	assert_int_equal(as_add(&as, &a.r, 2), -EINVAL);
	a.r.size = 2;
	assert_int_equal(as_add(&as, &a.r, TOP - 1), 0);
	assert_int_equal(as_add(&as, &a.r, 0), -EBUSY);
	assert_ptr_equal(as_find(&as, TOP), &a.r);
	as_remove(&a.r);
	as_remove(&a.r);
	assert_null(as_find(&as, TOP));
	as_fini(&as);
}

static void test_end_of_space(void **state)
{
	struct aspace as;
	struct reg a;

	as_init(&as, "mem", UINT64_MAX);
	reg_init(&a, 4, 0, 0x5a);
	assert_int_equal(as_add(&as, &a.r, UINT64_MAX - 3), 0);
	/* Beyond the end there is nothing, and address 0 is not behind it. */
	assert_true(as_read(&as, UINT64_MAX - 1, 8) == 0xffffffffffff5a5aull);
	as_write(&as, UINT64_MAX, 4, 0x11223344);
	assert_int_equal(a.n_writes, 1);
	assert_int_equal(a.bytes[3], 0x44);
	assert_true(as_read(&as, UINT64_MAX - 5, 4) == 0x5a5affffull);
	as_fini(&as);
	assert_null(a.r.space);
}

static void test_priorities(void **state)
{
	struct aspace as;
	struct reg low, high, equal;

	as_init(&as, "mem", TOP);
	reg_init(&low, 0x1000, -1, 1);
	reg_init(&high, 0x10, 1, 2);
	reg_init(&equal, 0x10, 1, 3);
	assert_int_equal(as_add(&as, &high.r, 0x100), 0);
	assert_int_equal(as_add(&as, &low.r, 0), 0);
	assert_ptr_equal(as_find(&as, 0xff), &low.r);
	assert_ptr_equal(as_find(&as, 0x100), &high.r);
	assert_ptr_equal(as_find(&as, 0x110), &low.r);
	assert_ptr_equal(as_find(&as, 0xfff), &low.r);
	assert_null(as_find(&as, 0x1000));
	/* Among equals the last one. */
	assert_int_equal(as_add(&as, &equal.r, 0x108), 0);
	assert_ptr_equal(as_find(&as, 0x107), &high.r);
	assert_ptr_equal(as_find(&as, 0x108), &equal.r);
	assert_ptr_equal(as_find(&as, 0x117), &equal.r);
	assert_ptr_equal(as_find_below(&equal.r, 0x108), &high.r);
	assert_ptr_equal(as_find_below(&equal.r, 0x117), &low.r);
	assert_ptr_equal(as_find_below(&high.r, 0x108), &low.r);
	assert_null(as_find_below(&low.r, 0x108));
	as_remove(&equal.r);
	assert_null(as_find_below(&equal.r, 0x108));
	assert_ptr_equal(as_find(&as, 0x108), &high.r);
	as_fini(&as);
}

static void test_split(void **state)
{
	struct aspace as;
	struct reg a, b;

	as_init(&as, "mem", TOP);
	reg_init(&a, 0x10, 0, 0xaa);
	reg_init(&b, 0x10, 0, 0xbb);
	assert_int_equal(as_add(&as, &a.r, 0x100), 0);
	assert_int_equal(as_add(&as, &b.r, 0x110), 0);
	assert_true(as_read(&as, 0x10d, 8) == 0xbbbbbbbbbbaaaaaaull);
	/* Three bytes are no access of one. */
	assert_int_equal(a.n_reads, 2);
	assert_int_equal(a.off[0], 0xd);
	assert_int_equal(a.size[0], 2);
	assert_int_equal(a.off[1], 0xf);
	assert_int_equal(a.size[1], 1);
	assert_int_equal(b.n_reads, 2);
	assert_int_equal(b.size[0], 4);
	assert_int_equal(b.off[1], 4);
	as_write(&as, 0x10e, 4, 0x44332211);
	assert_int_equal(a.n_writes, 1);
	assert_int_equal(a.bytes[0xe], 0x11);
	assert_int_equal(a.bytes[0xf], 0x22);
	assert_int_equal(b.bytes[0], 0x33);
	assert_int_equal(b.bytes[1], 0x44);
	assert_int_equal(b.bytes[2], 0xbb);
	/* Into a hole, and out of one. */
	assert_true(as_read(&as, 0x11e, 4) == 0xffffbbbb);
	assert_true(as_read(&as, 0xfe, 4) == 0xaaaaffff);
	/* Unaligned, in one piece. */
	a.n_reads = 0;
	(void)as_read(&as, 0x103, 4);
	assert_int_equal(a.n_reads, 1);
	assert_int_equal(a.off[0], 3);
	assert_true(as_read(&as, 0x100, 3) == 0xaaaaaa);
	as_fini(&as);
}

/* A handler that takes its own region away, and its memory. */
static void leave(struct reg *g)
{
	as_remove(&g->r);
	free(g);
}

static struct reg *to_come;

static void arrive(struct reg *g)
{
	g->then = NULL;
	assert_int_equal(as_add(g->r.space, &to_come->r, g->r.addr + 1), 0);
}

static void test_handlers_change_the_space(void **state)
{
	struct reg *g = malloc(sizeof(*g)), other;
	struct aspace as;

	as_init(&as, "mem", TOP);
	reg_init(g, 2, 0, 1);
	reg_init(&other, 0x10, -1, 2);
	assert_int_equal(as_add(&as, &g->r, 0x100), 0);
	assert_int_equal(as_add(&as, &other.r, 0xff), 0);
	g->then = leave;
	/* The second half is already the other's. */
	assert_true(as_read(&as, 0x101, 2) == 0x0201);
	assert_ptr_equal(as_find(&as, 0x101), &other.r);
	g = malloc(sizeof(*g));
	reg_init(g, 1, 1, 1);
	assert_int_equal(as_add(&as, &g->r, 0x100), 0);
	g->then = leave;
	as_write(&as, 0x100, 4, 0x04030201);
	assert_int_equal(other.bytes[2], 2);
	g = malloc(sizeof(*g));
	reg_init(g, 2, 3, 7);
	to_come = g;
	other.then = arrive;
	as_write(&as, 0xff, 1, 0);
	assert_ptr_equal(as_find(&as, 0x101), &g->r);
	as_fini(&as);
	free(g);
}

static uint32_t random_next(uint32_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 17;
	*s ^= *s << 5;
	return *s;
}

/* Who should answer, asking everybody. */
static struct as_region *wins(struct reg *regs, const unsigned int *age, unsigned int n,
			      uint64_t at)
{
	unsigned int best = n;

	for (unsigned int i = 0; i < n; i++) {
		const struct as_region *r = &regs[i].r;

		if (!r->space || at < r->addr || at - r->addr >= r->size)
			continue;
		if (best == n || r->priority > regs[best].r.priority ||
		    (r->priority == regs[best].r.priority && age[i] > age[best]))
			best = i;
	}
	return best == n ? NULL : &regs[best].r;
}

static void test_random(void **state)
{
	enum { N = 40, SPACE = 0x200 };
	struct reg *regs = calloc(N, sizeof(*regs));
	unsigned int age[N] = { 0 };
	uint32_t seed = 20261120;
	struct aspace as;

	as_init(&as, "mem", SPACE - 1);
	for (unsigned int step = 1; step < 4000; step++) {
		unsigned int i = random_next(&seed) % N;

		if (regs[i].r.space) {
			as_remove(&regs[i].r);
		} else {
			uint64_t at = random_next(&seed) % SPACE;
			uint64_t size = 1 + random_next(&seed) % (SPACE - at);

			reg_init(&regs[i], random_next(&seed) % 2 ? size : (size + 7) / 8,
				 (int)(random_next(&seed) % 3) - 1, 0);
			assert_int_equal(as_add(&as, &regs[i].r, at), 0);
			age[i] = step;
		}
		for (uint64_t at = step % 7; at < SPACE; at += 3)
			assert_ptr_equal(as_find(&as, at), wins(regs, age, N, at));
		for (unsigned int j = 1; j < as.n_flat; j++)
			assert_true(as.flat[j - 1].last < as.flat[j].first);
	}
	as_fini(&as);
	free(regs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_end_of_space),
		cmocka_unit_test(test_priorities),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_handlers_change_the_space),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
