/* SPDX-License-Identifier: BSD-3-Clause */
/* The client's memory: mapped, unmapped, read-only, unshared; what a device reaches and what it
 * does not. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "vfio_client.h"

static struct vbench bench;
static struct vfc c;
static struct echo_pci *dev;

static int open_bench(void **state)
{
	(void)state;
	if (vfbench_open(&bench, NULL) < 0)
		fail_msg("%s", bench.e.what);
	vfc_init(&c, &bench);
	dev = vfbench_dev(&bench);
	vfc_begin(&c);
	return 0;
}

static int close_bench(void **state)
{
	(void)state;
	vfc_fini(&c);
	vbench_close(&bench);
	return 0;
}

static void test_both_ways(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 5000; i++)
		c.mem[0x3000 + i] = (uint8_t)(i * 3);
	assert_int_equal(vfc_dma(&c, VFC_ADDR + 0x3000, 5000, false), 0);
	assert_memory_equal(dev->data, c.mem + 0x3000, 5000);
	assert_int_equal(vfc_dma(&c, VFC_ADDR + 0x9001, 5000, true), 0);
	assert_memory_equal(dev->data, c.mem + 0x9001, 5000);
	/* To the last byte, and not beyond it. */
	assert_int_equal(vfc_dma(&c, VFC_ADDR + VFC_MEM - 16, 16, false), 0);
	assert_int_equal(vfc_dma(&c, VFC_ADDR + VFC_MEM - 16, 17, false), EFAULT);
	assert_int_equal(vfc_dma(&c, VFC_ADDR - 1, 2, false), EFAULT);
	assert_int_equal(vfc_dma(&c, UINT64_MAX - 3, 8, true), EFAULT);
	assert_int_equal(vfc_dma(&c, 0, 1, false), EFAULT);
}

static void test_without_bus_master(void **state)
{
	uint16_t command = PCI_COMMAND_MEMORY;

	(void)state;
	vfc_rw(&c, true, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2);
	assert_int_equal(vfc_dma(&c, VFC_ADDR, 16, false), EPERM);
}

static void test_offset_in_file(void **state)
{
	(void)state;
	memset(c.mem + 0x5000, 0x5a, 0x1000);
	assert_int_equal(vfc_map(&c, 0x80000000, 0x1000, 0x5000, VFC_RW, c.memfd), 0);
	assert_int_equal(vfc_dma(&c, 0x80000000, 4096, false), 0);
	assert_int_equal(dev->data[0], 0x5a);
	assert_int_equal(dev->data[4095], 0x5a);
	memset(dev->data, 0xa5, 4096);
	assert_int_equal(vfc_dma(&c, 0x80000000, 4096, true), 0);
	assert_int_equal(c.mem[0x4fff], 0);
	assert_int_equal(c.mem[0x5000], 0xa5);
	assert_int_equal(c.mem[0x5fff], 0xa5);
}

/* Two windows that touch here and nowhere else. */
static void test_across_windows(void **state)
{
	(void)state;
	assert_int_equal(vfc_map(&c, 0x80000000, 0x1000, 0x7000, VFC_RW, c.memfd), 0);
	assert_int_equal(vfc_map(&c, 0x80001000, 0x1000, 0x2000, VFC_RW, c.memfd), 0);
	memset(dev->data, 7, 200);
	assert_int_equal(vfc_dma(&c, 0x80000fa0, 200, true), 0);
	assert_int_equal(c.mem[0x7fa0], 7);
	assert_int_equal(c.mem[0x2000 + 103], 7);
	assert_int_equal(c.mem[0x2000 + 104], 0);
	assert_int_equal(c.mem[0x8000], 0);
}

static void test_misfits(void **state)
{
	static const struct {
		uint64_t addr, size, off;
		uint32_t flags;
		int err;
	} bad[] = {
		{ 0x80000000, 0, 0, VFC_RW, EINVAL },
		{ 0x80000000, 0x1001, 0, VFC_RW, EINVAL },
		{ 0x80000001, 0x1000, 0, VFC_RW, EINVAL },
		{ UINT64_MAX - 0xfff, 0x1000, 0, VFC_RW, EINVAL },
		{ UINT64_MAX - 0xfff, 0x2000, 0, VFC_RW, EINVAL },
		{ 0x1000, UINT64_MAX - 0xfff, 0, VFC_RW, EINVAL },
		{ 0x80000000, 0x1000, 0, 0, EINVAL },
		{ 0x80000000, 0x1000, 0, 4, EINVAL },
		{ 0x80000000, 0x1000, 0, ~0u, EINVAL },
		{ 0x80000000, VFC_MEM + 0x1000, 0, VFC_RW, EINVAL },
		{ 0x80000000, 0x1000, VFC_MEM, VFC_RW, EINVAL },
		{ 0x80000000, 0x1000, UINT64_MAX - 0xfff, VFC_RW, EINVAL },
		{ 0x80000000, 0x1000, VFC_MEM, VFIO_DMA_MAP_FLAG_READ, EINVAL },
		{ VFC_ADDR, 0x1000, 0, VFC_RW, EEXIST },
		{ VFC_ADDR + VFC_MEM - 0x1000, 0x2000, 0, VFC_RW, EEXIST },
		{ VFC_ADDR - 0x1000, 0x2000, 0, VFC_RW, EEXIST },
		{ VFC_ADDR - 0x1000, 0x1000 + VFC_MEM, 0, VFC_RW, EEXIST },
		{ 0, VFC_ADDR + VFC_MEM + 0x1000, 0, VFC_RW, EEXIST },
	};
	int before = open_fds();

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int err = vfc_map(&c, bad[i].addr, bad[i].size, bad[i].off, bad[i].flags, c.memfd);

		if (err != bad[i].err)
			fail_msg("row %zu: %d instead of %d", i, err, bad[i].err);
		/* Whether shared or not. */
		if (bad[i].err == EEXIST)
			assert_int_equal(vfc_map(&c, bad[i].addr, bad[i].size, 0, VFC_RW, -1),
					 EEXIST);
	}
	assert_int_equal(open_fds(), before);
	assert_int_equal(vfc_dma(&c, VFC_ADDR, 64, false), 0);
}

/* Descriptors of things that are no memory. */
static void test_wrong_files(void **state)
{
	int dir = open("/", O_RDONLY | O_CLOEXEC), ro, before, ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	ro = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	before = open_fds();
	assert_true(vfc_map(&c, 0x80000000, 0x1000, 0, VFC_RW, dir) > 0);
	assert_true(vfc_map(&c, 0x80000000, 0x1000, 0, VFC_RW, ends[0]) > 0);
	assert_true(vfc_map(&c, 0x80000000, 0x1000, 0, VFC_RW, ro) == EACCES);
	assert_int_equal(vfc_map(&c, 0x80000000, 0x1000, 0, VFIO_DMA_MAP_FLAG_READ, ro), 0);
	assert_int_equal(vfc_dma(&c, 0x80000000, 4, false), 0);
	assert_memory_equal(dev->data, "\177ELF", 4);
	assert_int_equal(open_fds(), before);
	close(dir);
	close(ro);
	close(ends[0]);
	close(ends[1]);
}

/* A device reads what is read-only and cannot write to it, nor look at it directly. */
static void test_read_only(void **state)
{
	(void)state;
	memset(c.mem + 0x1000, 0x11, 0x2000);
	assert_int_equal(vfc_map(&c, 0x80000000, 0x2000, 0x1000, VFIO_DMA_MAP_FLAG_READ, c.memfd),
			 0);
	assert_int_equal(vfc_dma(&c, 0x80000800, 0x1000, false), 0);
	assert_int_equal(dev->data[0], 0x11);
	assert_int_equal(vfc_dma(&c, 0x80000800, 16, true), EFAULT);
	assert_int_equal(c.mem[0x1800], 0x11);
	assert_null(pci_dma_ptr(&dev->dev, (gpa){ 0x80000800 }, 16));
	/* From read-only into read-write memory and back, in one go. */
	assert_int_equal(vfc_map(&c, 0x80002000, 0x1000, 0x8000, VFC_RW, c.memfd), 0);
	memset(c.mem + 0x8000, 0x22, 0x1000);
	assert_int_equal(vfc_dma(&c, 0x80001ff0, 32, false), 0);
	assert_int_equal(dev->data[15], 0x11);
	assert_int_equal(dev->data[16], 0x22);
	assert_int_equal(vfc_unmap(&c, 0x80000000, 0x2000, 0), 0);
	assert_int_equal(vfc_dma(&c, 0x80000800, 16, false), EFAULT);
}

/* QEMU tells of its ROMs without sharing them: known, and out of reach. */
static void test_unshared(void **state)
{
	(void)state;
	assert_int_equal(vfc_map(&c, 0xfffc0000, 0x40000, 0, VFIO_DMA_MAP_FLAG_READ, -1), 0);
	assert_int_equal(vfc_map(&c, 0x80000000, 0x1000, 0, VFC_RW, -1), 0);
	assert_int_equal(vfc_dma(&c, 0xfffc0000, 16, false), EFAULT);
	assert_int_equal(vfc_dma(&c, 0x80000000, 16, true), EFAULT);
	assert_int_equal(vfc_reply(&c), 0);
	assert_int_equal(vfc_unmap(&c, 0xfffc0000, 0x40000, 0), 0);
	assert_int_equal(vfc_unmap(&c, 0xfffc0000, 0x40000, 0), ENOENT);
}

static void test_unmap(void **state)
{
	struct vfu_dma_unmap r;

	(void)state;
	assert_int_equal(vfc_map(&c, 0x80000000, 0x1000, 0, VFC_RW, c.memfd), 0);
	/* Only what was mapped, as it was mapped. */
	assert_int_equal(vfc_unmap(&c, 0x80000000, 0x2000, 0), ENOENT);
	assert_int_equal(vfc_unmap(&c, VFC_ADDR, 0x1000, 0), ENOENT);
	assert_int_equal(vfc_unmap(&c, VFC_ADDR + 0x1000, VFC_MEM - 0x1000, 0), ENOENT);
	assert_int_equal(vfc_unmap(&c, 0x90000000, 0x1000, 0), ENOENT);
	assert_int_equal(vfc_unmap(&c, 0x80000000, 0x1000, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP),
			 EINVAL);
	assert_int_equal(vfc_unmap(&c, 0x80000000, 0x1000, VFIO_DMA_UNMAP_FLAG_ALL), EINVAL);
	assert_int_equal(vfc_dma(&c, 0x80000000, 16, true), 0);

	assert_int_equal(vfc_unmap(&c, 0x80000000, 0x1000, 0), 0);
	assert_int_equal(c.reply_len, sizeof(r));
	memcpy(&r, c.reply, sizeof(r));
	assert_int_equal(r.addr, 0x80000000);
	assert_int_equal(r.size, 0x1000);
	assert_int_equal(vfc_dma(&c, 0x80000000, 16, true), EFAULT);
	assert_int_equal(vfc_dma(&c, VFC_ADDR, 16, true), 0);
	assert_int_equal(vfc_map(&c, 0x80000000, 0x1000, 0, VFC_RW, c.memfd), 0);
	assert_int_equal(vfc_dma(&c, 0x80000000, 16, true), 0);
}

static int n_mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	int n = 0;

	for (int ch = getc(f); ch != EOF; ch = getc(f))
		n += ch == '\n';
	fclose(f);
	return n;
}

/* Address space comes back, of either kind of mapping, by unmapping and by going away. */
static void test_nothing_stays_mapped(void **state)
{
	int before = 0;

	(void)state;
	for (int i = 0; i < 40; i++) {
		assert_int_equal(
			vfc_map(&c, 0x80000000, 0x1000, 0, VFIO_DMA_MAP_FLAG_READ, c.memfd), 0);
		assert_int_equal(vfc_map(&c, 0x90000000, 0x1000, 0x3000, VFC_RW, c.memfd), 0);
		if (i % 2 != 0) {
			assert_int_equal(vfc_unmap(&c, 0x80000000, 0x1000, 0), 0);
			assert_int_equal(vfc_unmap(&c, 0x90000000, 0x1000, 0), 0);
		} else {
			vfc_begin(&c);
		}
		if (i == 3)
			before = n_mappings();
	}
	assert_true(n_mappings() < before + 10);
}

static void test_unmap_all(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 30; i++)
		assert_int_equal(vfc_map(&c, 0x80000000 + i * 0x3000, 0x1000, 0,
					 i % 3 == 0 ? VFIO_DMA_MAP_FLAG_READ : VFC_RW,
					 i % 3 == 1 ? -1 : c.memfd),
				 0);
	assert_int_equal(vfc_unmap(&c, 0, 0, VFIO_DMA_UNMAP_FLAG_ALL), 0);
	assert_int_equal(dev->dev.mem->n, 0);
	assert_int_equal(vfc_dma(&c, VFC_ADDR, 16, false), EFAULT);
	assert_int_equal(vfc_unmap(&c, VFC_ADDR, VFC_MEM, 0), ENOENT);
	assert_int_equal(vfc_unmap(&c, 0, 0, VFIO_DMA_UNMAP_FLAG_ALL), 0);
	assert_int_equal(vfc_map(&c, VFC_ADDR, VFC_MEM, 0, VFC_RW, c.memfd), 0);
	assert_int_equal(vfc_dma(&c, VFC_ADDR, 16, false), 0);
}

/* As many as we said, and an error for one more. */
static void test_map_limit(void **state)
{
	uint64_t i = 1;

	(void)state;
	for (; i < VFU_MAX_MAPS; i++)
		assert_int_equal(vfc_map(&c, 0x80000000 + i * 0x1000, 0x1000, 0, VFC_RW,
					 i % 2 != 0 ? c.memfd : -1),
				 0);
	assert_int_equal(vfc_map(&c, 0x70000000, 0x1000, 0, VFC_RW, c.memfd), ENOSPC);
	assert_int_equal(vfc_unmap(&c, 0x80000000 + 0x1000, 0x1000, 0), 0);
	assert_int_equal(vfc_map(&c, 0x70000000, 0x1000, 0, VFC_RW, c.memfd), 0);
	assert_int_equal(vfc_dma(&c, 0x70000000, 16, true), 0);
}

/* In any order of arrival, the table stays sorted. */
static void test_map_order(void **state)
{
	static const uint32_t order[] = { 5, 1, 7, 3, 0, 6, 2, 4 };

	(void)state;
	for (int round = 0; round < 8; round++) {
		for (int i = 0; i < 8; i++) {
			uint32_t k = order[(i + round) % 8];

			c.mem[k * 0x1000] = (uint8_t)(k + 1);
			assert_int_equal(vfc_map(&c, 0x80000000 + k * 0x1000, 0x1000, k * 0x1000,
						 VFC_RW, c.memfd),
					 0);
		}
		for (uint32_t k = 0; k < 8; k++) {
			assert_int_equal(vfc_dma(&c, 0x80000000 + k * 0x1000, 1, false), 0);
			assert_int_equal(dev->data[0], k + 1);
		}
		for (int i = 0; i < 8; i++)
			assert_int_equal(vfc_unmap(&c,
						   0x80000000 + order[(i + round / 2) % 8] * 0x1000,
						   0x1000, 0),
					 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_both_ways, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_without_bus_master, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_offset_in_file, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_across_windows, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_misfits, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_wrong_files, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_read_only, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_unshared, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_unmap, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_nothing_stays_mapped, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_unmap_all, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_map_limit, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_map_order, open_bench, close_bench),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
