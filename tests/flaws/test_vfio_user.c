/* SPDX-License-Identifier: BSD-3-Clause */
/* Flaws that vfio-user servers and clients have had, replayed; and memory that its owner truncates.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "vfio_client.h"

static struct vbench bench;
static struct vfc c;

static int open_bench(void **state)
{
	(void)state;
	if (vfbench_open(&bench, NULL) < 0)
		fail_msg("%s", bench.e.what);
	vfc_init(&c, &bench);
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

/* After any of them the connection goes on, and so does the device. */
static void check_alive(void)
{
	vfc_put(&c, 0, EP_SCRATCH, 0x600d);
	assert_int_equal(vfc_get(&c, 0, EP_SCRATCH), 0x600d);
	assert_int_equal(vfc_dma(&c, VFC_ADDR, 64, true), 0);
}

/* 2021: offset + count wraps. */
static void test_offset_wraps(void **state)
{
	static const struct {
		uint64_t off;
		uint32_t count;
	} rows[] = {
		{ UINT64_MAX, 2 },     { UINT64_MAX, 1 },
		{ UINT64_MAX - 3, 4 }, { UINT64_MAX - 1, UINT32_MAX },
		{ 1, UINT32_MAX },     { (uint64_t)UINT32_MAX + 1, 4 }, /* zero in 32 bits */
	};
	uint8_t data[16 + 4] = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (uint32_t region = 0; region < VFIO_PCI_NUM_REGIONS; region++) {
			struct vfu_region_rw rw = { rows[i].off, region, rows[i].count };

			assert_int_equal(vfc_ask(&c, VFU_REGION_READ, &rw, sizeof(rw), NULL, 0),
					 EINVAL);
			memcpy(data, &rw, sizeof(rw));
			assert_int_equal(vfc_ask(&c, VFU_REGION_WRITE, data, sizeof(data), NULL, 0),
					 EINVAL);
			assert_int_equal(vfc_ask(&c, VFU_REGION_WRITE, data,
						 16 + (rows[i].count & 3), NULL, 0),
					 EINVAL);
		}
	}
	check_alive();
	assert_int_equal(vfc_get(&c, 0, EP_WRITES), 5);
}

/* 2021: bitmap sizes that are not bounded. The message has the fields that older clients put behind
 * it, and the flag that asks for the bitmap. */
static void test_unmap_bitmap(void **state)
{
	static const uint64_t sizes[] = { 0, 8, 1ull << 32, UINT64_MAX };
	static const uint32_t argszs[] = { 24, 40, 1u << 30, UINT32_MAX };
	struct {
		struct vfu_dma_unmap u;
		uint64_t pgsize, size;
	} m = { { 0, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, VFC_ADDR, VFC_MEM }, 4096, 0 };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		for (size_t k = 0; k < 4; k++) {
			m.u.argsz = argszs[i];
			m.size = sizes[k];
			assert_int_equal(vfc_ask(&c, VFU_DMA_UNMAP, &m, sizeof(m), NULL, 0),
					 EINVAL);
			assert_int_equal(vfc_ask(&c, VFU_DMA_UNMAP, &m.u, sizeof(m.u), NULL, 0),
					 EINVAL);
		}
	}
	check_alive();
	/* A huge argsz is no reason for a huge answer either. */
	m.u = (struct vfu_dma_unmap){ UINT32_MAX, 0, VFC_ADDR, VFC_MEM };
	assert_int_equal(vfc_ask(&c, VFU_DMA_UNMAP, &m.u, sizeof(m.u), NULL, 0), 0);
	assert_int_equal(c.reply_len, sizeof(m.u));
	assert_int_equal(vfc_map(&c, VFC_ADDR, VFC_MEM, 0, VFC_RW, c.memfd), 0);
	check_alive();
}

/* The same of the log that takes its place today. */
static void test_report_bitmap(void **state)
{
	const uint64_t start[2] = { 4096, 0 };
	static const uint64_t lengths[] = { 1ull << 36, 1ull << 40, 1ull << 52, 1ull << 63,
					    UINT64_MAX };

	(void)state;
	assert_int_equal(
		vfc_feature(&c, VFIO_DEVICE_FEATURE_DMA_LOGGING_START | VFIO_DEVICE_FEATURE_SET, 24,
			    start, sizeof(start)),
		0);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		const uint64_t r[3] = { 0, lengths[i], 4096 };

		assert_int_equal(vfc_feature(&c,
					     VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT |
						     VFIO_DEVICE_FEATURE_GET,
					     UINT32_MAX, r, sizeof(r)),
				 E2BIG);
	}
	check_alive();
}

/* 2021: an assertion on what the client says of itself. 2026: answers whose size wraps there. */
static void test_client_capability(void **state)
{
	static const char *const says[] = {
		"{\"capabilities\":{\"max_msg_fds\":0}}",
		"{\"capabilities\":{\"max_msg_fds\":1}}",
		"{\"capabilities\":{\"max_msg_fds\":9223372036854775807}}",
		"{\"capabilities\":{\"max_data_xfer_size\":0}}",
		"{\"capabilities\":{\"max_data_xfer_size\":1}}",
		"{\"capabilities\":{\"max_dma_maps\":0,\"pgsizes\":0}}",
		"{\"capabilities\":{\"migration\":{\"pgsize\":0,\"max_bitmap_size\":0}}}",
		"{\"capabilities\":{\"migration\":{\"pgsize\":-1}}}",
	};
	static const uint32_t argszs[] = { 32, 33, 64, 0x7fffffff, 0x80000000, UINT32_MAX };

	(void)state;
	for (size_t i = 0; i < sizeof(says) / sizeof(says[0]); i++) {
		vfc_connect(&c);
		assert_int_equal(vfc_version(&c, 0, 0, says[i]), 0);
		for (uint32_t k = 0; k < VFIO_PCI_NUM_REGIONS * 6; k++) {
			struct vfio_region_info info = { .argsz = argszs[k % 6], .index = k / 6 };

			assert_int_equal(vfc_ask(&c, VFU_DEVICE_GET_REGION_INFO, &info,
						 sizeof(info), NULL, 0),
					 0);
			memcpy(&info, c.reply, sizeof(info));
			assert_int_equal(c.reply_len, 32);
			assert_int_equal(info.argsz, 32);
		}
	}
	vfc_begin(&c);
	check_alive();
}

/* 2024: start + count of interrupts wraps. */
static void test_irq_wraps(void **state)
{
	static const struct {
		uint32_t start, count;
	} rows[] = {
		{ 1, UINT32_MAX }, { UINT32_MAX, 1 },
		{ UINT32_MAX, 2 }, { 2, UINT32_MAX - 1 },
		{ 0, UINT32_MAX }, { 0x80000000, 0x80000000 },
		{ 4, 0 },	   { UINT32_MAX, 0 },
	};
	const uint8_t yes[4] = { 1, 1, 1, 1 };
	int efd = eventfd(0, EFD_CLOEXEC), before = open_fds();

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (uint32_t index = 0; index < VFIO_PCI_NUM_IRQS; index++) {
			uint32_t s = rows[i].start, n = rows[i].count;

			assert_int_equal(
				vfc_irqs(&c, index, VFC_TRIGGER_FD, s, n, NULL, 0, &efd, 1),
				EINVAL);
			assert_int_equal(
				vfc_irqs(&c, index, VFC_TRIGGER_FD, s, n, NULL, 0, NULL, 0),
				EINVAL);
			assert_int_equal(
				vfc_irqs(&c, index,
					 VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, s, n,
					 NULL, 0, NULL, 0),
				EINVAL);
			assert_int_equal(
				vfc_irqs(&c, index,
					 VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_ACTION_TRIGGER, s, n,
					 yes, sizeof(yes), NULL, 0),
				EINVAL);
		}
	}
	assert_int_equal(open_fds(), before);
	close(efd);
	check_alive();
}

/* 2023: the migration state as the index of a table. */
static void test_state_index(void **state)
{
	static const uint32_t states[] = { 5, 6, 7, 8, 100, 0x7fffffff, 0x80000000, UINT32_MAX };

	(void)state;
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		assert_int_equal(vfc_state(&c, states[i]), EINVAL);
	for (uint32_t i = 0; i < 70000; i += 77)
		(void)vfc_feature(&c, i | VFIO_DEVICE_FEATURE_GET, 64, NULL, 0);
	check_alive();
}

/* Memory that its owner truncates, under the device's hands. As the program's handler. */

static volatile sig_atomic_t n_faults;

static void fault(int sig, siginfo_t *si, void *context)
{
	(void)context;
	if (si->si_code > 0 && twx_net_fault(bench.net, si->si_addr)) {
		n_faults++;
		return;
	}
	signal(sig, SIG_DFL);
}

static void truncated(uint32_t flags)
{
	struct sigaction sa = { .sa_sigaction = fault, .sa_flags = SA_SIGINFO }, old;
	int before;

	sigaction(SIGBUS, &sa, &old);
	n_faults = 0;
	vfc_begin(&c);
	vfc_hangup(&c);
	before = open_fds();
	vfc_begin(&c);
	assert_int_equal(vfc_map(&c, 0x80000000, 0x4000, 0, flags, c.memfd), 0);
	assert_int_equal(ftruncate(c.memfd, 0x1000), 0);
	vfc_post(&c, 0, EP_ADDR_LO, 0x80002000);
	vfc_post(&c, 0, EP_LEN, 64);
	vfc_post(&c, 0, EP_DMA, 1);
	assert_false(vfc_alive(&c));
	assert_int_equal(n_faults, 1);
	assert_non_null(strstr(bench.log, "the memory that it shares is gone"));
	vfc_hangup(&c);
	assert_int_equal(open_fds(), before);
	assert_int_equal(ftruncate(c.memfd, VFC_MEM), 0);
	vfc_begin(&c);
	check_alive();
	sigaction(SIGBUS, &old, NULL);
}

static void test_truncated(void **state)
{
	(void)state;
	truncated(VFC_RW);
}

static void test_truncated_read_only(void **state)
{
	(void)state;
	truncated(VFIO_DMA_MAP_FLAG_READ);
}

/* Invariant 9: whatever is refused takes nothing with it, however often. */
static void test_nothing_leaks(void **state)
{
	int fds[4] = { c.memfd, c.memfd, c.memfd, c.memfd }, before = open_fds();

	(void)state;
	for (int i = 0; i < 300; i++) {
		(void)vfc_map(&c, VFC_ADDR, 0x1000, 0, VFC_RW, c.memfd); /* there already */
		(void)vfc_map(&c, 0x80000000, 0x1000, VFC_MEM, VFC_RW,
			      c.memfd); /* not in the file */
		(void)vfc_map(&c, 0x80000000, 0x1000, 0, 0, c.memfd);
		(void)vfc_irqs(&c, 2, VFC_TRIGGER_FD, 0, 4, NULL, 0, fds, 4); /* no eventfds */
		(void)vfc_irqs(&c, 2, VFC_TRIGGER_FD, 9, 4, NULL, 0, fds, 4);
		(void)vfc_ask(&c, VFU_DEVICE_RESET, NULL, 0, fds, 4);
		(void)vfc_ask(&c, 77, NULL, 0, fds, 4);
	}
	assert_int_equal(open_fds(), before);
	vfc_begin(&c);
	check_alive();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_offset_wraps, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_unmap_bitmap, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_report_bitmap, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_client_capability, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_irq_wraps, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_state_index, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_truncated, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_truncated_read_only, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_nothing_leaks, open_bench, close_bench),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
