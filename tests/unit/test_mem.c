/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory: mapping, translation with length, splitting at borders, the dirty log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bus/mem.h"

#define PAGE 4096ull

static struct mem_map *map_new(void)
{
	struct mem_map *m = malloc(sizeof(*m));

	mem_init(m);
	return m;
}

static void map_free(struct mem_map *m)
{
	mem_fini(m);
	free(m);
}

static int file(uint64_t size)
{
	int fd = memfd_create("t", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static void add(struct mem_map *m, uint64_t at, uint64_t size, uint64_t user)
{
	assert_int_equal(mem_add_take(m, at, size, user, file(size), 0), 0);
}

static bool fd_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void test_translation(void **state)
{
	struct mem_map *m = map_new();
	uint8_t *p;

	assert_null(mem_ptr(m, (gpa){ 0 }, 0));
	add(m, 0x10000, 2 * PAGE, 0x7000000);
	p = mem_ptr(m, (gpa){ 0x10000 }, 2 * PAGE);
	assert_non_null(p);
	p[2 * PAGE - 1] = 7;
	assert_ptr_equal(mem_ptr(m, (gpa){ 0x10000 + 100 }, 1), p + 100);
	assert_ptr_equal(mem_ptr(m, (gpa){ 0x10000 + 2 * PAGE - 1 }, 1), p + 2 * PAGE - 1);
	assert_null(mem_ptr(m, (gpa){ 0x10000 }, 2 * PAGE + 1));
	assert_null(mem_ptr(m, (gpa){ 0x10000 + 2 * PAGE - 1 }, 2));
	assert_null(mem_ptr(m, (gpa){ 0x10000 + 2 * PAGE }, 0));
	assert_null(mem_ptr(m, (gpa){ 0xffff }, 1));
	assert_null(mem_ptr(m, (gpa){ 0x10000 + 1 }, UINT64_MAX));
	assert_null(mem_ptr(m, (gpa){ UINT64_MAX }, 2));
	assert_ptr_equal(mem_user_ptr(m, 0x7000000 + 5, 2 * PAGE - 5), p + 5);
	assert_null(mem_user_ptr(m, 0x7000000 + 5, 2 * PAGE - 4));
	assert_null(mem_user_ptr(m, 0x6ffffff, 1));
	map_free(m);
}

static void test_iov_splits_where_regions_touch(void **state)
{
	struct mem_map *m = map_new();
	struct iovec v[4];

	add(m, 0x20000, PAGE, 0);
	add(m, 0x20000 + PAGE, PAGE, 0);
	add(m, 0x20000 + 3 * PAGE, PAGE, 0);
	assert_null(mem_ptr(m, (gpa){ 0x20000 + PAGE - 1 }, 2));
	assert_int_equal(mem_iov(m, (gpa){ 0x20000 + PAGE - 10 }, 30, v, 4), 2);
	assert_int_equal(v[0].iov_len, 10);
	assert_int_equal(v[1].iov_len, 20);
	assert_ptr_equal(v[1].iov_base, mem_ptr(m, (gpa){ 0x20000 + PAGE }, 1));
	assert_int_equal(mem_iov(m, (gpa){ 0x20000 }, 2 * PAGE, v, 1), -E2BIG);
	/* A hole, the end, a wrap. */
	assert_int_equal(mem_iov(m, (gpa){ 0x20000 }, 2 * PAGE + 1, v, 4), -EFAULT);
	assert_int_equal(mem_iov(m, (gpa){ 0x20000 + 3 * PAGE }, PAGE + 1, v, 4), -EFAULT);
	assert_int_equal(mem_iov(m, (gpa){ 0x20000 }, UINT64_MAX, v, 4), -EFAULT);
	assert_int_equal(mem_iov(m, (gpa){ 0x20000 }, 0, v, 4), 0);
	map_free(m);
}

static void test_refusals(void **state)
{
	static const struct {
		uint64_t at, size, user, off;
		int rc;
	} bad[] = {
		{ 0x10000, 0, 0, 0, -EINVAL },
		{ UINT64_MAX - PAGE, 2 * PAGE, 0, 0, -EINVAL },
		{ 0x10000, PAGE, UINT64_MAX, 0, -EINVAL },
		{ 0x10000, 5 * PAGE, 0, 0, -EINVAL }, /* the file has 4 */
		{ 0x10000, 4 * PAGE, 0, 1, -EINVAL },
		{ 0x10000, PAGE, 0, UINT64_MAX, -EINVAL },
		{ 0x10000, PAGE, 0, INT64_MAX, -EINVAL },
		{ 0x50000, 1, 0, 0, -EEXIST },
		{ 0x4f000, PAGE + 1, 0, 0, -EEXIST },
		{ 0x50000 + PAGE - 1, PAGE, 0, 0, -EEXIST },
		{ 0x4f000, 4 * PAGE, 0, 0, -EEXIST },
	};
	struct mem_map *m = map_new();

	add(m, 0x50000, PAGE, 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int fd = file(4 * PAGE);

		assert_int_equal(
			mem_add_take(m, bad[i].at, bad[i].size, bad[i].user, fd, bad[i].off),
			bad[i].rc);
		assert_false(fd_open(fd));
		assert_int_equal(m->n, 1);
	}
	assert_int_equal(mem_add_take(m, 0, PAGE, 0, -1, 0), -EBADF);
	map_free(m);
}

static void test_offset_need_not_be_aligned(void **state)
{
	struct mem_map *m = map_new();
	int fd = file(4 * PAGE);

	assert_int_equal(pwrite(fd, "here", 4, 5000), 4);
	assert_int_equal(mem_add_take(m, 0x10000, 300, 0, fd, 5000), 0);
	assert_memory_equal(mem_ptr(m, (gpa){ 0x10000 }, 300), "here", 4);
	assert_null(mem_ptr(m, (gpa){ 0x10000 }, 301));
	map_free(m);
}

static void test_many_regions(void **state)
{
	struct mem_map *m = map_new();
	int fd;

	/* Every second page, added from both ends. */
	for (uint64_t i = 0; i < MEM_MAX_REGIONS; i++) {
		uint64_t k = i & 1 ? MEM_MAX_REGIONS - 1 - i / 2 : i / 2;

		add(m, k * 2 * PAGE, PAGE, 0x100000000 + k * PAGE);
		*(uint64_t *)mem_ptr(m, (gpa){ k * 2 * PAGE }, 8) = k;
	}
	fd = file(PAGE);
	assert_int_equal(mem_add_take(m, 1ull << 40, PAGE, 0, fd, 0), -ENOSPC);
	assert_false(fd_open(fd));
	for (uint64_t k = 0; k < MEM_MAX_REGIONS; k++) {
		assert_int_equal(*(uint64_t *)mem_ptr(m, (gpa){ k * 2 * PAGE }, 8), k);
		assert_null(mem_ptr(m, (gpa){ k * 2 * PAGE + PAGE }, 1));
		assert_int_equal(*(uint64_t *)mem_user_ptr(m, 0x100000000 + k * PAGE, 8), k);
	}
	/* Removal is by exact match, and the others stay where they are. */
	assert_int_equal(mem_remove(m, 20 * PAGE, PAGE, 0), -ENOENT);
	assert_int_equal(mem_remove(m, 20 * PAGE, 2 * PAGE, 0x100000000 + 10 * PAGE), -ENOENT);
	assert_int_equal(mem_remove(m, 21 * PAGE, PAGE, 0x100000000 + 10 * PAGE), -ENOENT);
	assert_int_equal(mem_remove(m, 20 * PAGE, PAGE, 0x100000000 + 10 * PAGE), 0);
	assert_null(mem_ptr(m, (gpa){ 20 * PAGE }, 1));
	for (uint64_t k = 0; k < MEM_MAX_REGIONS; k++)
		if (k != 10)
			assert_int_equal(*(uint64_t *)mem_ptr(m, (gpa){ k * 2 * PAGE }, 8), k);
	map_free(m);
}

static void test_remove_first_and_last(void **state)
{
	struct mem_map *m = map_new();

	add(m, 0x10000, PAGE, 1);
	add(m, 0x20000, PAGE, 2);
	assert_non_null(mem_ptr(m, (gpa){ 0x10000 }, 1));
	assert_int_equal(mem_remove(m, 0x10000, PAGE, 1), 0);
	assert_null(mem_ptr(m, (gpa){ 0x10000 }, 1));
	assert_null(mem_hit(m, (gpa){ 0x10000 }, 1));
	assert_non_null(mem_ptr(m, (gpa){ 0x20000 }, PAGE));
	assert_int_equal(mem_remove(m, 0x20000, PAGE, 2), 0);
	assert_null(mem_ptr(m, (gpa){ 0x20000 }, 1));
	assert_null(mem_hit(m, (gpa){ 0x20000 }, 0));
	add(m, 0x20000, PAGE, 2);
	assert_non_null(mem_ptr(m, (gpa){ 0x20000 }, PAGE));
	map_free(m);
}

static void test_dirty_log(void **state)
{
	struct mem_map *m = map_new();
	uint8_t log[16] = { 0 }, none[16] = { 0 };
	uint8_t *p;

	add(m, 8 * PAGE, 64 * PAGE, 0);
	p = mem_ptr(m, (gpa){ 8 * PAGE }, 64 * PAGE);
	mem_dirty(m, p, PAGE); /* no log: nothing to do */
	m->log = log;
	m->log_size = sizeof(log) - 1;
	mem_dirty(m, p, 0);
	assert_memory_equal(log, none, sizeof(log));
	mem_dirty(m, p + PAGE - 1, 2);
	assert_int_equal(log[1], 3);
	mem_dirty(m, p + 63 * PAGE, 1);
	assert_int_equal(log[8], 0x80);
	mem_dirty_gpa(m, 9 * PAGE, 8 * PAGE);
	assert_int_equal(log[1], 0xff);
	assert_int_equal(log[2], 1);
	/* Never behind the bitmap, whatever the address. */
	mem_dirty_gpa(m, 119 * PAGE, 100 * PAGE);
	assert_int_equal(log[14], 0x80);
	assert_int_equal(log[15], 0);
	mem_dirty_gpa(m, UINT64_MAX - 5, 100);
	mem_dirty(m, log, 10); /* not guest memory */
	m->log = NULL;
	map_free(m);
}

static void test_hugetlbfs(void **state)
{
	struct mem_map *m = map_new();
	int fd = memfd_create("h", MFD_CLOEXEC | MFD_HUGETLB);
	uint64_t huge = 2u << 20;

	if (fd < 0 || ftruncate(fd, (off_t)(2 * huge)) < 0) {
		map_free(m);
		skip();
	}
	/* Neither offset nor length is a multiple of the page that mmap() demands. */
	if (mem_add_take(m, 0x10000000, huge, 0, fd, 0x3000) == 0) {
		uint8_t *p = mem_ptr(m, (gpa){ 0x10000000 }, huge);

		assert_non_null(p);
		assert_int_equal((uintptr_t)p % huge, 0x3000);
	}
	map_free(m);
}

static void test_private_memory(void **state)
{
	const uint64_t huge = 2 << 20;
	struct mem_map *m = map_new();
	uint8_t *p;

	assert_int_equal(mem_add_anon(m, 0, 3 * huge), 0);
	assert_int_equal(mem_add_anon(m, 5 * huge + 0x3000, 0x1000), 0);
	assert_int_equal(mem_add_anon(m, huge, 0x1000), -EEXIST);
	assert_int_equal(mem_add_anon(m, UINT64_MAX - 0xfff, 0x2000), -EINVAL);
	p = mem_ptr(m, (gpa){ 0 }, 3 * huge);
	assert_non_null(p);
	assert_int_equal((uintptr_t)p % huge, 0);
	assert_int_equal(p[0] | p[3 * huge - 1], 0);
	p[3 * huge - 1] = 1;
	assert_null(mem_ptr(m, (gpa){ 0 }, 3 * huge + 1));
	p = mem_ptr(m, (gpa){ 5 * huge + 0x3000 }, 0x1000);
	assert_int_equal((uintptr_t)p % huge, 0x3000);
	assert_int_equal(mem_remove(m, 0, 3 * huge, 0), 0);
	assert_null(mem_ptr(m, (gpa){ 0 }, 1));
	map_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_translation),
		cmocka_unit_test(test_iov_splits_where_regions_touch),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_offset_need_not_be_aligned),
		cmocka_unit_test(test_many_regions),
		cmocka_unit_test(test_remove_first_and_last),
		cmocka_unit_test(test_dirty_log),
		cmocka_unit_test(test_hugetlbfs),
		cmocka_unit_test(test_private_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
