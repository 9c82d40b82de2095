/* SPDX-License-Identifier: BSD-3-Clause */
/* MSI-X vectors that others signal by eventfd: nothing is lost between here, the host and the
 * masks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/macros.h"
#include "bus/pci.h"

#define N_VECTORS 4

struct toy {
	struct pci_dev pci;
	struct twx_loop *loop;
	struct mem_map mem;
	int fd;
	/* The host. */
	bool refuses, racing;
	int held[N_VECTORS]; /* fds that are its own; -1: none */
	unsigned int n_taken, n_msgs;
	uint64_t addr;
	uint32_t data;
};

static uint64_t toy_read(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int size)
{
	return 0;
}

static void toy_write(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int size,
		      uint64_t value, uint64_t mask)
{
}

static void toy_reset(struct pci_dev *dev)
{
}

static const struct pci_dev_ops toy_ops = { .bar_read = toy_read,
					    .bar_write = toy_write,
					    .reset = toy_reset };

static void host_intx(struct pci_dev *dev, bool level)
{
}

static void host_message(struct pci_dev *dev, enum pci_irq kind, unsigned int vector, uint64_t addr,
			 uint32_t data)
{
	struct toy *t = dev->host;

	t->n_msgs++;
	t->addr = addr;
	t->data = data;
}

static void ring(int fd)
{
	const uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static int host_message_fd(struct pci_dev *dev, unsigned int vector, uint64_t addr, uint32_t data,
			   int fd)
{
	struct toy *t = dev->host;

	assert_true(vector < N_VECTORS);
	if (fd < 0) {
		assert_true(t->held[vector] >= 0);
		/* It is signalled while it goes from one to the other. */
		if (t->racing)
			ring(t->held[vector]);
		t->held[vector] = -1;
		return 0;
	}
	assert_true(t->held[vector] < 0);
	if (t->refuses)
		return -ENOSPC;
	t->n_taken++;
	t->held[vector] = fd;
	t->addr = addr;
	t->data = data;
	return 0;
}

static const struct pci_host_ops host_ops = { .intx = host_intx,
					      .message = host_message,
					      .message_fd = host_message_fd };
static const struct pci_host_ops plain_ops = { .intx = host_intx, .message = host_message };

static void put(struct toy *t, uint32_t off, uint32_t v)
{
	assert_int_equal(pci_bar_write(&t->pci, 0, off, &v, 4), 0);
}

static void entry(struct toy *t, unsigned int v, uint32_t data, bool masked)
{
	put(t, 16 * v, 0xfee00000);
	put(t, 16 * v + 8, data);
	put(t, 16 * v + 12, masked);
}

static void enable(struct toy *t, uint16_t flags)
{
	assert_int_equal(pci_config_write(&t->pci, t->pci.msix_cap + PCI_MSIX_FLAGS, &flags, 2), 0);
}

static void command(struct toy *t, uint16_t bits)
{
	assert_int_equal(pci_config_write(&t->pci, PCI_COMMAND, &bits, 2), 0);
}

static uint32_t pba(struct toy *t)
{
	uint32_t v;

	assert_int_equal(pci_bar_read(&t->pci, 0, 0x800, &v, 4), 0);
	return v;
}

static void poll_loop(struct toy *t)
{
	for (int i = 0; i < 3; i++)
		assert_true(twx_loop_poll(t->loop, 0) >= 0);
}

static int setup(void **state)
{
	static const struct pci_info info = {
		.vendor = 1,
		.device = 2,
		.int_pin = 1,
		.bars = { { PCI_BAR_MEM32, false, 0x1000, 4, 4 } },
		.n_msix = N_VECTORS,
		.msix_pba_off = 0x800,
	};
	struct toy *t = calloc(1, sizeof(*t));

	assert_int_equal(twx_loop_new(&t->loop, NULL), 0);
	mem_init(&t->mem);
	assert_int_equal(pci_dev_init(&t->pci, NULL, &toy_ops, &info, NULL), 0);
	t->pci.loop = t->loop;
	t->fd = eventfd(0, EFD_NONBLOCK);
	for (unsigned int i = 0; i < N_VECTORS; i++)
		t->held[i] = -1;
	pci_attach(&t->pci, &host_ops, t, &t->mem);
	command(t, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	for (unsigned int i = 0; i < N_VECTORS; i++)
		entry(t, i, 0x40 + i, false);
	enable(t, PCI_MSIX_FLAGS_ENABLE);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct toy *t = *state;

	if (t->pci.host_ops)
		pci_detach(&t->pci);
	pci_dev_fini(&t->pci);
	for (unsigned int i = 0; i < N_VECTORS; i++)
		assert_int_equal(t->held[i], -1);
	assert_int_equal(fcntl(t->fd, F_GETFD) < 0, 0); /* still its owner's */
	close(t->fd);
	mem_fini(&t->mem);
	twx_loop_free(t->loop);
	free(t);
	return 0;
}

static void test_arguments(void **state)
{
	struct toy *t = *state;

	assert_int_equal(pci_notify_fd(&t->pci, N_VECTORS, t->fd), -EINVAL);
	assert_int_equal(pci_notify_fd(&t->pci, 0, 1000000), -EBADF);
	assert_int_equal(pci_notify_fd(&t->pci, 0, -1), 0);
}

static void test_host_takes_it(void **state)
{
	struct toy *t = *state;

	assert_int_equal(pci_notify_fd(&t->pci, 2, t->fd), 0);
	assert_int_equal(t->held[2], t->fd);
	assert_true(t->addr == 0xfee00000 && t->data == 0x42);
	/* What is signalled now is the host's to see. */
	ring(t->fd);
	poll_loop(t);
	assert_int_equal(t->n_msgs, 0);
	assert_int_equal(pci_notify_fd(&t->pci, 2, -1), 0);
	assert_int_equal(t->held[2], -1);
	/* And what it has not seen is not lost. */
	assert_int_equal(t->n_msgs, 1);
	ring(t->fd);
	poll_loop(t);
	assert_int_equal(t->n_msgs, 1);
}

static void test_signalled_before(void **state)
{
	struct toy *t = *state;

	ring(t->fd);
	assert_int_equal(pci_notify_fd(&t->pci, 1, t->fd), 0);
	assert_int_equal(t->n_msgs, 1);
	assert_int_equal(t->data, 0x41);
	assert_int_equal(t->held[1], t->fd);
}

static void test_masks(void **state)
{
	struct toy *t = *state;

	assert_int_equal(pci_notify_fd(&t->pci, 0, t->fd), 0);
	entry(t, 0, 0x40, true);
	assert_int_equal(t->held[0], -1);
	ring(t->fd);
	poll_loop(t);
	assert_int_equal(t->n_msgs, 0);
	assert_int_equal(pba(t), 1);
	put(t, 12, 0);
	assert_int_equal(t->n_msgs, 1);
	assert_int_equal(pba(t), 0);
	assert_int_equal(t->held[0], t->fd);
	/* All of them. */
	enable(t, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	assert_int_equal(t->held[0], -1);
	ring(t->fd);
	/* Before the loop has seen it. */
	enable(t, PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(t->n_msgs, 2);
	assert_int_equal(t->held[0], t->fd);
	poll_loop(t);
	assert_int_equal(t->n_msgs, 2);
}

static void test_race_with_the_mask(void **state)
{
	struct toy *t = *state;

	assert_int_equal(pci_notify_fd(&t->pci, 0, t->fd), 0);
	t->racing = true;
	put(t, 12, 1);
	assert_int_equal(pba(t), 1);
	assert_int_equal(t->n_msgs, 0);
	put(t, 12, 0);
	assert_int_equal(t->n_msgs, 1);
	/* As the entry changes: to where it points now. */
	put(t, 8, 0x77);
	assert_int_equal(t->n_msgs, 2);
	assert_int_equal(t->data, 0x77);
	assert_int_equal(t->held[0], t->fd);
	t->racing = false;
	put(t, 4, 5);
	assert_true(t->addr == 0x5fee00000);
	put(t, 0, 0xfee01000);
	assert_true(t->addr == 0x5fee01000);
	assert_int_equal(t->n_msgs, 2);
}

static void test_bus_master(void **state)
{
	struct toy *t = *state;

	assert_int_equal(pci_notify_fd(&t->pci, 0, t->fd), 0);
	command(t, PCI_COMMAND_MEMORY);
	assert_int_equal(t->held[0], -1);
	ring(t->fd);
	poll_loop(t);
	assert_int_equal(t->n_msgs, 0);
	command(t, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert_int_equal(t->n_msgs, 1);
	assert_int_equal(t->held[0], t->fd);
	/* The machine stands still. */
	pci_run(&t->pci, false);
	assert_int_equal(t->held[0], -1);
	ring(t->fd);
	poll_loop(t);
	assert_int_equal(pba(t), 1);
	pci_run(&t->pci, true);
	assert_int_equal(t->n_msgs, 2);
}

static void test_host_refuses(void **state)
{
	struct toy *t = *state;

	t->refuses = true;
	assert_int_equal(pci_notify_fd(&t->pci, 3, t->fd), 0);
	ring(t->fd);
	ring(t->fd);
	poll_loop(t);
	assert_int_equal(t->n_msgs, 1);
	assert_int_equal(t->data, 0x43);
	/* It can later. */
	t->refuses = false;
	put(t, 16 * 3 + 12, 1);
	put(t, 16 * 3 + 12, 0);
	assert_int_equal(t->held[3], t->fd);
}

static void test_other_hosts(void **state)
{
	struct toy *t = *state;

	assert_int_equal(pci_notify_fd(&t->pci, 0, t->fd), 0);
	pci_detach(&t->pci);
	assert_int_equal(t->held[0], -1);
	ring(t->fd);
	poll_loop(t);
	assert_int_equal(t->n_msgs, 0);
	/* One that cannot take any, and masks by itself. */
	t->pci.host_masks = true;
	pci_attach(&t->pci, &plain_ops, t, &t->mem);
	pci_irq_mode(&t->pci, PCI_IRQ_MSIX);
	ring(t->fd);
	poll_loop(t);
	assert_int_equal(t->n_msgs, 1);
	pci_irq_mode(&t->pci, PCI_IRQ_INTX);
	ring(t->fd);
	poll_loop(t);
	assert_int_equal(t->n_msgs, 1);
}

static void test_reset(void **state)
{
	struct toy *t = *state;

	assert_int_equal(pci_notify_fd(&t->pci, 0, t->fd), 0);
	ring(t->fd);
	pci_reset(&t->pci);
	assert_int_equal(t->held[0], -1);
	poll_loop(t);
	assert_int_equal(t->n_msgs, 0);
	assert_int_equal(t->pci.msix_pba[0], 0);
}

static void test_blocking(void **state)
{
	struct toy *t = *state;
	int fd = eventfd(0, 0);

	/* Asked again and again while there is nothing to read. */
	assert_int_equal(pci_notify_fd(&t->pci, 0, fd), 0);
	put(t, 12, 1);
	put(t, 12, 0);
	assert_int_equal(t->n_msgs, 0);
	ring(fd);
	put(t, 12, 1);
	assert_int_equal(pba(t), 1);
	assert_int_equal(pci_notify_fd(&t->pci, 0, -1), 0);
	close(fd);
}

static void test_replaced(void **state)
{
	struct toy *t = *state;
	int fd = eventfd(0, EFD_NONBLOCK);

	assert_int_equal(pci_notify_fd(&t->pci, 0, fd), 0);
	assert_int_equal(pci_notify_fd(&t->pci, 0, t->fd), 0);
	assert_int_equal(t->held[0], t->fd);
	ring(fd);
	poll_loop(t);
	assert_int_equal(t->n_msgs, 0);
	close(fd);
}

#define toy_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		toy_test(test_arguments),
		toy_test(test_host_takes_it),
		toy_test(test_signalled_before),
		toy_test(test_masks),
		toy_test(test_race_with_the_mask),
		toy_test(test_bus_master),
		toy_test(test_host_refuses),
		toy_test(test_other_hosts),
		toy_test(test_reset),
		toy_test(test_blocking),
		toy_test(test_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
