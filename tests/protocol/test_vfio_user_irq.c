/* SPDX-License-Identifier: BSD-3-Clause */
/* Interrupts over vfio-user: INTx with its masks, MSI, MSI-X, ERR and REQ; what SET_IRQS refuses.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "vfio_client.h"

#define MASK_NONE (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_MASK)
#define UNMASK_NONE (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK)
#define TRIGGER_NONE (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER)
#define MASK_FD (VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_MASK)
#define UNMASK_FD (VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_UNMASK)
#define INTX VFIO_PCI_INTX_IRQ_INDEX
#define MSI VFIO_PCI_MSI_IRQ_INDEX
#define MSIX VFIO_PCI_MSIX_IRQ_INDEX

static struct vbench bench;
static struct vfc c;
static int efd[8];

static int open_bench(void **state)
{
	(void)state;
	if (vfbench_open(&bench, NULL) < 0)
		fail_msg("%s", bench.e.what);
	vfc_init(&c, &bench);
	vfc_begin(&c);
	for (int i = 0; i < 8; i++)
		efd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return 0;
}

static int close_bench(void **state)
{
	(void)state;
	for (int i = 0; i < 8; i++)
		close(efd[i]);
	vfc_fini(&c);
	vbench_close(&bench);
	return 0;
}

static int set(uint32_t index, uint32_t flags, uint32_t start, uint32_t count, const int *fds,
	       int n)
{
	return vfc_irqs(&c, index, flags, start, count, NULL, 0, fds, n);
}

static int set_bool(uint32_t flags, uint8_t value)
{
	return vfc_irqs(&c, INTX, flags | VFIO_IRQ_SET_DATA_BOOL, 0, 1, &value, 1, NULL, 0);
}

static void level(int up)
{
	vfc_put(&c, 0, EP_INTX, (uint32_t)up);
}

static void test_info(void **state)
{
	static const uint32_t count[] = { 1, EP_MSI, EP_VECTORS, 1, 1 };
	struct vfio_irq_info info;

	(void)state;
	for (uint32_t i = 0; i < VFIO_PCI_NUM_IRQS; i++) {
		info = (struct vfio_irq_info){ .argsz = 16, .index = i };
		assert_int_equal(vfc_ask(&c, VFU_DEVICE_GET_IRQ_INFO, &info, 16, NULL, 0), 0);
		assert_int_equal(c.reply_len, 16);
		memcpy(&info, c.reply, 16);
		assert_int_equal(info.argsz, 16);
		assert_int_equal(info.index, i);
		assert_int_equal(info.count, count[i]);
		assert_int_equal(info.flags, i == INTX ? 7 : VFIO_IRQ_INFO_EVENTFD);
	}
	info = (struct vfio_irq_info){ .argsz = 16, .index = VFIO_PCI_NUM_IRQS };
	assert_int_equal(vfc_ask(&c, VFU_DEVICE_GET_IRQ_INFO, &info, 16, NULL, 0), EINVAL);
	info = (struct vfio_irq_info){ .argsz = 15 };
	assert_int_equal(vfc_ask(&c, VFU_DEVICE_GET_IRQ_INFO, &info, 16, NULL, 0), EINVAL);
}

/* The level rises, one event; it is masked until the client says otherwise. */
static void test_intx(void **state)
{
	(void)state;
	assert_int_equal(set(INTX, VFC_TRIGGER_FD, 0, 1, efd, 1), 0);
	assert_int_equal(vfc_count(efd[0]), 0);
	level(1);
	assert_int_equal(vfc_count(efd[0]), 1);
	level(0);
	level(1);
	level(0);
	assert_int_equal(vfc_count(efd[0]), 0);
	/* Down at unmask: nothing to say; the next rise is told. */
	assert_int_equal(set(INTX, UNMASK_NONE, 0, 1, NULL, 0), 0);
	assert_int_equal(vfc_count(efd[0]), 0);
	level(1);
	assert_int_equal(vfc_count(efd[0]), 1);
	/* Still up at unmask: told again. */
	assert_int_equal(set(INTX, UNMASK_NONE, 0, 1, NULL, 0), 0);
	assert_int_equal(vfc_count(efd[0]), 1);
	assert_int_equal(set(INTX, UNMASK_NONE, 0, 1, NULL, 0), 0);
	assert_int_equal(vfc_count(efd[0]), 1);
}

static void test_intx_mask(void **state)
{
	(void)state;
	assert_int_equal(set(INTX, VFC_TRIGGER_FD, 0, 1, efd, 1), 0);
	assert_int_equal(set(INTX, MASK_NONE, 0, 1, NULL, 0), 0);
	level(1);
	assert_int_equal(vfc_count(efd[0]), 0);
	assert_int_equal(set_bool(VFIO_IRQ_SET_ACTION_UNMASK, 0), 0); /* not this one */
	assert_int_equal(vfc_count(efd[0]), 0);
	assert_int_equal(set_bool(VFIO_IRQ_SET_ACTION_UNMASK, 1), 0);
	assert_int_equal(vfc_count(efd[0]), 1);
	level(0);
	assert_int_equal(set_bool(VFIO_IRQ_SET_ACTION_UNMASK, 1), 0);
	assert_int_equal(set_bool(VFIO_IRQ_SET_ACTION_MASK, 0), 0);
	level(1);
	assert_int_equal(vfc_count(efd[0]), 1);
	level(0);
	assert_int_equal(set_bool(VFIO_IRQ_SET_ACTION_UNMASK, 1), 0);
	assert_int_equal(set_bool(VFIO_IRQ_SET_ACTION_MASK, 1), 0);
	level(1);
	assert_int_equal(vfc_count(efd[0]), 0);
}

/* As KVM does it: no message between one interrupt and the next. */
static void test_intx_unmask_fd(void **state)
{
	(void)state;
	assert_int_equal(set(INTX, VFC_TRIGGER_FD, 0, 1, efd, 1), 0);
	assert_int_equal(set(INTX, UNMASK_FD, 0, 1, efd + 1, 1), 0);
	for (int i = 0; i < 3; i++) {
		level(1);
		assert_int_equal(vfc_count(efd[0]), 1);
		level(0);
		level(1);
		assert_int_equal(vfc_count(efd[0]), 0);
		eventfd_write(efd[1], 1);
		vbench_pump(&bench);
		assert_int_equal(vfc_count(efd[0]), 1);
		level(0);
		eventfd_write(efd[1], 1);
		vbench_pump(&bench);
		assert_int_equal(vfc_count(efd[0]), 0);
	}
	/* And masked by one. */
	assert_int_equal(set(INTX, MASK_FD, 0, 1, efd + 2, 1), 0);
	eventfd_write(efd[2], 1);
	vbench_pump(&bench);
	level(1);
	assert_int_equal(vfc_count(efd[0]), 0);
	/* Taken away again. */
	assert_int_equal(set(INTX, UNMASK_FD, 0, 1, NULL, 0), 0);
	eventfd_write(efd[1], 1);
	vbench_pump(&bench);
	assert_int_equal(vfc_count(efd[0]), 0);
	assert_int_equal(set(INTX, UNMASK_NONE, 0, 1, NULL, 0), 0);
	assert_int_equal(vfc_count(efd[0]), 1);
}

/* What was written to an eventfd before we had it counts, as in the kernel. */
static void test_intx_early_unmask(void **state)
{
	(void)state;
	assert_int_equal(set(INTX, VFC_TRIGGER_FD, 0, 1, efd, 1), 0);
	level(1);
	assert_int_equal(vfc_count(efd[0]), 1); /* masked now */
	eventfd_write(efd[1], 1);
	assert_int_equal(set(INTX, UNMASK_FD, 0, 1, efd + 1, 1), 0);
	assert_int_equal(vfc_count(efd[0]), 1);
	eventfd_write(efd[2], 1);
	assert_int_equal(set(INTX, MASK_FD, 0, 1, efd + 2, 1), 0);
	level(0);
	eventfd_write(efd[1], 1);
	vbench_pump(&bench);
	eventfd_write(efd[3], 1);
	assert_int_equal(set(INTX, MASK_FD, 0, 1, efd + 3, 1), 0);
	level(1);
	assert_int_equal(vfc_count(efd[0]), 0);
}

/* A level that is up already is told to an eventfd that comes later. */
static void test_intx_late_fd(void **state)
{
	(void)state;
	level(1);
	assert_int_equal(set(INTX, VFC_TRIGGER_FD, 0, 1, efd, 1), 0);
	assert_int_equal(vfc_count(efd[0]), 1);
	assert_int_equal(set(INTX, TRIGGER_NONE, 0, 0, NULL, 0), 0);
	assert_int_equal(set(INTX, VFC_TRIGGER_FD, 0, 1, efd + 1, 1), 0);
	assert_int_equal(vfc_count(efd[0]), 0);
	assert_int_equal(vfc_count(efd[1]), 1);
}

static void test_intx_disabled_by_guest(void **state)
{
	uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE;

	(void)state;
	assert_int_equal(set(INTX, VFC_TRIGGER_FD, 0, 1, efd, 1), 0);
	vfc_rw(&c, true, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2);
	level(1);
	assert_int_equal(vfc_count(efd[0]), 0);
	command &= (uint16_t)~PCI_COMMAND_INTX_DISABLE;
	vfc_rw(&c, true, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2);
	assert_int_equal(vfc_count(efd[0]), 1);
}

static void test_msix(void **state)
{
	(void)state;
	assert_int_equal(set(INTX, VFC_TRIGGER_FD, 0, 1, efd + 7, 1), 0);
	assert_int_equal(set(MSIX, VFC_TRIGGER_FD, 0, EP_VECTORS, efd, EP_VECTORS), 0);
	for (uint32_t v = 0; v < EP_VECTORS; v++) {
		vfc_put(&c, 0, EP_VECTOR, v);
		for (uint32_t k = 0; k < EP_VECTORS; k++)
			assert_int_equal(vfc_count(efd[k]), k == v);
	}
	for (int i = 0; i < 5; i++)
		vfc_put(&c, 0, EP_VECTOR, 2);
	assert_int_equal(vfc_count(efd[2]), 5);
	vfc_put(&c, 0, EP_VECTOR, EP_VECTORS); /* there is no such vector */
	level(1);			       /* not in use now */
	assert_int_equal(vfc_count(efd[7]), 0);
	/* Without MSI-X the level is told after all. */
	assert_int_equal(set(MSIX, TRIGGER_NONE, 0, 0, NULL, 0), 0);
	assert_int_equal(vfc_count(efd[7]), 1);
	vfc_put(&c, 0, EP_VECTOR, 0);
	assert_int_equal(vfc_count(efd[0]), 0);
}

/* As QEMU does it: enabled without a vector, each set when the guest uses it, in any pieces. */
static void test_msix_piecewise(void **state)
{
	(void)state;
	assert_int_equal(set(MSIX, VFC_TRIGGER_FD, 0, 1, NULL, 0), 0);
	vfc_put(&c, 0, EP_VECTOR, 1);
	assert_int_equal(set(MSIX, VFC_TRIGGER_FD, 1, 1, efd + 1, 1), 0);
	assert_int_equal(vfc_count(efd[1]), 1); /* raised before it had an eventfd */
	assert_int_equal(set(MSIX, VFC_TRIGGER_FD, 2, 2, efd + 2, 2), 0);
	vfc_put(&c, 0, EP_VECTOR, 3);
	assert_int_equal(vfc_count(efd[3]), 1);
	/* Another eventfd for one of them; none for another. */
	assert_int_equal(set(MSIX, VFC_TRIGGER_FD, 3, 1, efd + 4, 1), 0);
	assert_int_equal(set(MSIX, VFC_TRIGGER_FD, 2, 1, NULL, 0), 0);
	vfc_put(&c, 0, EP_VECTOR, 3);
	vfc_put(&c, 0, EP_VECTOR, 2);
	assert_int_equal(vfc_count(efd[3]), 0);
	assert_int_equal(vfc_count(efd[4]), 1);
	assert_int_equal(vfc_count(efd[2]), 0);
	/* Disabled, nothing is remembered. */
	assert_int_equal(set(MSIX, TRIGGER_NONE, 0, 0, NULL, 0), 0);
	assert_int_equal(set(MSIX, VFC_TRIGGER_FD, 0, 4, efd, 4), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(vfc_count(efd[i]), 0);
}

static void test_msi(void **state)
{
	(void)state;
	assert_int_equal(set(MSI, VFC_TRIGGER_FD, 0, EP_MSI, efd, EP_MSI), 0);
	vfc_put(&c, 0, EP_VECTOR, 1);
	assert_int_equal(vfc_count(efd[0]), 0);
	assert_int_equal(vfc_count(efd[1]), 1);
	assert_int_equal(set(MSI, TRIGGER_NONE, 0, 0, NULL, 0), 0);
	vfc_put(&c, 0, EP_VECTOR, 1);
	assert_int_equal(vfc_count(efd[1]), 0);
}

/* The client raises an interrupt itself. */
static void test_trigger_by_client(void **state)
{
	const uint8_t some[EP_VECTORS] = { 1, 0, 2, 0 };

	(void)state;
	assert_int_equal(set(MSIX, VFC_TRIGGER_FD, 0, EP_VECTORS, efd, EP_VECTORS), 0);
	assert_int_equal(set(MSIX, TRIGGER_NONE, 1, 2, NULL, 0), 0);
	for (int i = 0; i < EP_VECTORS; i++)
		assert_int_equal(vfc_count(efd[i]), i == 1 || i == 2);
	assert_int_equal(vfc_irqs(&c, MSIX, VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_ACTION_TRIGGER, 0,
				  EP_VECTORS, some, sizeof(some), NULL, 0),
			 0);
	for (int i = 0; i < EP_VECTORS; i++)
		assert_int_equal(vfc_count(efd[i]), i == 0 || i == 2);
}

static void test_err_and_req(void **state)
{
	(void)state;
	for (uint32_t i = VFIO_PCI_ERR_IRQ_INDEX; i <= VFIO_PCI_REQ_IRQ_INDEX; i++) {
		assert_int_equal(set(i, VFC_TRIGGER_FD, 0, 1, efd, 1), 0);
		assert_int_equal(vfc_count(efd[0]), 0);
		assert_int_equal(set(i, TRIGGER_NONE, 0, 1, NULL, 0), 0);
		assert_int_equal(vfc_count(efd[0]), 1);
		assert_int_equal(set(i, TRIGGER_NONE, 0, 0, NULL, 0), 0);
		assert_int_equal(set(i, VFC_TRIGGER_FD, 0, 2, efd, 2), EINVAL);
	}
	assert_int_equal(set(INTX, VFC_TRIGGER_FD, 0, 1, efd + 1, 1), 0);
	level(1); /* still in use */
	assert_int_equal(vfc_count(efd[1]), 1);
}

static void test_refused(void **state)
{
	static const struct {
		uint32_t index, flags, start, count;
		int n_fds;
	} bad[] = {
		{ VFIO_PCI_NUM_IRQS, VFC_TRIGGER_FD, 0, 1, 1 },
		{ UINT32_MAX, VFC_TRIGGER_FD, 0, 1, 1 },
		{ INTX, VFC_TRIGGER_FD, 1, 1, 1 },
		{ INTX, VFC_TRIGGER_FD, 0, 2, 2 },
		{ MSIX, VFC_TRIGGER_FD, 4, 1, 1 },
		{ MSIX, VFC_TRIGGER_FD, 1, 4, 4 },
		{ MSIX, VFC_TRIGGER_FD, 1, UINT32_MAX, 1 },
		{ MSIX, VFC_TRIGGER_FD, UINT32_MAX, 1, 1 },
		{ MSIX, VFC_TRIGGER_FD, UINT32_MAX, 2, 2 },
		{ MSIX, VFC_TRIGGER_FD, 0, 2, 1 }, /* fds for some of them */
		{ MSIX, VFC_TRIGGER_FD, 0, 1, 2 },
		{ MSIX, VFC_TRIGGER_FD, 0, 0, 0 },
		{ MSIX, VFC_TRIGGER_FD, 0, 0, 1 },
		{ MSIX, TRIGGER_NONE, 1, 0, 0 },
		{ MSIX, TRIGGER_NONE, 0, 0, 1 },
		{ MSIX, TRIGGER_NONE, 0, 1, 1 },
		{ MSIX, MASK_NONE, 0, 1, 0 },
		{ MSIX, UNMASK_FD, 0, 1, 1 },
		{ INTX, MASK_NONE, 0, 0, 0 },
		{ INTX, UNMASK_NONE, 0, 0, 0 },
		{ INTX, 0, 0, 1, 0 },
		{ INTX, VFIO_IRQ_SET_DATA_NONE, 0, 1, 0 },
		{ INTX, VFIO_IRQ_SET_ACTION_MASK, 0, 1, 0 },
		{ INTX, MASK_NONE | VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, 0 },
		{ INTX, MASK_NONE | VFIO_IRQ_SET_DATA_BOOL, 0, 1, 0 },
		{ INTX, MASK_NONE | 64, 0, 1, 0 },
		{ INTX, ~0u, 0, 1, 0 },
		{ INTX, VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_ACTION_MASK, 0, 1, 0 }, /* no data */
	};
	int before = open_fds();

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int err = set(bad[i].index, bad[i].flags, bad[i].start, bad[i].count, efd,
			      bad[i].n_fds);

		if (err != EINVAL)
			fail_msg("row %zu: %d", i, err);
	}
	assert_int_equal(open_fds(), before);
}

/* argsz says how long the request is, and is not believed. */
static void test_argsz(void **state)
{
	static const uint32_t sizes[] = { 0, 19, 21, 1000, UINT32_MAX };
	uint32_t m[5] = { 0, MASK_NONE, INTX, 0, 1 };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		m[0] = sizes[i];
		assert_int_equal(vfc_ask(&c, VFU_DEVICE_SET_IRQS, m, sizeof(m), NULL, 0), EINVAL);
	}
}

/* Nothing to signal through, or nothing that can be waited for. */
static void test_wrong_fds(void **state)
{
	int file = open("/etc/passwd", O_RDONLY | O_CLOEXEC), ends[2], before;
	int mixed[2] = { efd[0], file };

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	before = open_fds();
	assert_int_equal(set(INTX, VFC_TRIGGER_FD, 0, 1, &file, 1), EINVAL);
	assert_int_equal(set(MSIX, VFC_TRIGGER_FD, 0, 2, mixed, 2), EINVAL);
	assert_int_equal(set(INTX, UNMASK_FD, 0, 1, &file, 1), EINVAL);
	assert_int_equal(set(INTX, UNMASK_FD, 0, 1, ends, 1), EINVAL);
	assert_int_equal(open_fds(), before);
	/* All or none of a message's. */
	vfc_put(&c, 0, EP_VECTOR, 0);
	assert_int_equal(vfc_count(efd[0]), 0);
	close(file);
	close(ends[0]);
	close(ends[1]);
}

/* An eventfd that is full to the brim has an interrupt pending: nobody waits for room in it. */
static void test_full_eventfd(void **state)
{
	(void)state;
	assert_int_equal(set(MSIX, VFC_TRIGGER_FD, 0, 1, efd, 1), 0);
	assert_int_equal(eventfd_write(efd[0], UINT64_MAX - 1), 0);
	for (int i = 0; i < 10; i++)
		vfc_put(&c, 0, EP_VECTOR, 0);
	assert_int_equal(vfc_get(&c, 0, EP_WRITES), 10);
}

static void test_reset_keeps_eventfds(void **state)
{
	uint16_t command = PCI_COMMAND_MEMORY;

	(void)state;
	assert_int_equal(set(MSIX, VFC_TRIGGER_FD, 0, EP_VECTORS, efd, EP_VECTORS), 0);
	assert_int_equal(vfc_ask(&c, VFU_DEVICE_RESET, NULL, 0, NULL, 0), 0);
	vfc_rw(&c, true, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2);
	vfc_put(&c, 0, EP_VECTOR, 3);
	assert_int_equal(vfc_count(efd[3]), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_info, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_intx, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_intx_mask, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_intx_unmask_fd, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_intx_early_unmask, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_intx_late_fd, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_intx_disabled_by_guest, open_bench,
						close_bench),
		cmocka_unit_test_setup_teardown(test_msix, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_msix_piecewise, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_msi, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_trigger_by_client, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_err_and_req, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_refused, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_argsz, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_wrong_fds, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_full_eventfd, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_reset_keeps_eventfds, open_bench, close_bench),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
