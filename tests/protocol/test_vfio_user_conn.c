/* SPDX-License-Identifier: BSD-3-Clause */
/* vfio-user connections: begin, end at any point, descriptors on the stream, replies that nobody
 * reads. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
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
	return 0;
}

static int close_bench(void **state)
{
	(void)state;
	vfc_fini(&c);
	vbench_close(&bench);
	return 0;
}

/* One step of a client's life; false when there is no such step. */
static bool step(int i)
{
	int efd;

	switch (i) {
	case 0:
		vfc_begin(&c);
		return true;
	case 1:
	case 2:
	case 3:
		efd = eventfd(0, EFD_CLOEXEC);
		(void)vfc_irqs(&c, (uint32_t)i - 1, VFC_TRIGGER_FD, 0, 1, NULL, 0, &efd, 1);
		close(efd);
		return true;
	case 4:
		efd = eventfd(0, EFD_CLOEXEC);
		(void)vfc_irqs(&c, 0, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_UNMASK, 0, 1,
			       NULL, 0, &efd, 1);
		close(efd);
		return true;
	case 5:
		(void)vfc_map(&c, 0x10000000, 0x1000, 0, VFIO_DMA_MAP_FLAG_READ, c.memfd);
		return true;
	case 6:
		(void)vfc_map(&c, 0x20000000, 0x1000, 0, VFC_RW, -1);
		return true;
	case 7: {
		uint64_t start[2] = { 4096, 0 };

		(void)vfc_feature(&c,
				  VFIO_DEVICE_FEATURE_DMA_LOGGING_START | VFIO_DEVICE_FEATURE_SET,
				  24, start, sizeof(start));
		return true;
	}
	case 8:
		(void)vfc_dma(&c, VFC_ADDR, 4096, true);
		return true;
	case 9:
		vfc_put(&c, 0, EP_INTX, 1);
		return true;
	case 10:
		(void)vfc_state(&c, VFIO_DEVICE_STATE_STOP_COPY);
		return true;
	case 11:
		(void)vfc_state(&c, VFIO_DEVICE_STATE_RESUMING);
		return true;
	}
	return false;
}

/* A client that dies after any number of steps leaves nothing behind, and the next one finds the
 * function as the first did. */
static void test_hangup_everywhere(void **state)
{
	struct pci_dev *dev = &vfbench_dev(&bench)->dev;
	int before, steps = 0;
	bool more = true;

	(void)state;
	vfc_begin(&c);
	vfc_hangup(&c);
	before = open_fds();
	while (more) {
		for (int i = 0; i < steps && more; i++)
			more = step(i);
		vfc_hangup(&c);
		assert_int_equal(open_fds(), before);
		assert_null(dev->host_ops);
		assert_true(dev->running);
		assert_false(dev->dma_on);
		assert_int_equal(dev->mem->n, 0);
		assert_memory_equal(dev->config, dev->initial, 256);
		steps++;
	}
	assert_true(steps > 10);
	vfc_begin(&c);
	assert_int_equal(vfc_dma(&c, VFC_ADDR, 64, true), 0);
}

/* In the middle of a message, and with descriptors already there. */
static void test_hangup_in_message(void **state)
{
	struct vfu_header h = { 1, VFU_DMA_MAP, 48, 0, 0 };
	uint8_t buf[48] = { 0 };
	int before;

	(void)state;
	memcpy(buf, &h, sizeof(h));
	vfc_begin(&c);
	vfc_hangup(&c);
	before = open_fds();
	for (size_t n = 1; n < sizeof(buf); n += 3) {
		struct vc raw = { 0 };

		vfc_begin(&c);
		raw.fd = c.fd;
		vc_raw(&raw, buf, n, &c.memfd, 1);
		vbench_pump(&bench);
		vfc_hangup(&c);
		assert_int_equal(open_fds(), before);
	}
}

static void test_reconnect_often(void **state)
{
	int before = 0;

	(void)state;
	for (int i = 0; i < 100; i++) {
		vfc_begin(&c);
		assert_int_equal(vfc_dma(&c, VFC_ADDR, 64, true), 0);
		vfc_hangup(&c);
		if (i == 0)
			before = open_fds();
	}
	assert_int_equal(open_fds(), before);
}

/* One at a time: a second client is told so by the end of its connection. */
static void test_second_client(void **state)
{
	struct vfc second;

	(void)state;
	vfc_begin(&c);
	vfc_init(&second, &bench);
	vfc_connect(&second);
	assert_false(vfc_alive(&second));
	assert_non_null(strstr(bench.log, "refused client"));
	assert_int_equal(vfc_get(&c, 0, EP_WRITES), 0);
	/* The first hangs up and the second is there in the same round. */
	close(c.fd);
	c.fd = -1;
	vfc_begin(&second);
	assert_int_equal(vfc_get(&second, 0, EP_WRITES), 0);
	vfc_fini(&second);
}

static void test_socket_file(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(stat(bench.path, &st), 0);
	vfc_begin(&c);
	twx_nic_free(bench.nic);
	assert_false(vfc_alive(&c));
	assert_true(stat(bench.path, &st) < 0);
}

static void test_link_is_ours(void **state)
{
	struct twx_error e;

	(void)state;
	vfc_begin(&c);
	assert_int_equal(twx_net_set_link(bench.net, "nic0", false, &e), 0);
	assert_true(bench.nic->ports[0]->link_down);
}

/* What makes the rest of the stream worthless. */
static void test_bad_headers(void **state)
{
	static const struct vfu_header bad[] = {
		{ 1, VFU_DEVICE_GET_INFO, 0, 0, 0 },
		{ 1, VFU_DEVICE_GET_INFO, 15, 0, 0 },
		{ 1, VFU_DEVICE_GET_INFO, VFU_MSG_MAX + 1, 0, 0 },
		{ 1, VFU_DEVICE_GET_INFO, UINT32_MAX, 0, 0 },
		{ 1, VFU_DEVICE_GET_INFO, 16, 2, 0 },
		{ 1, VFU_DEVICE_GET_INFO, 16, 15, 0 },
		{ 1, VFU_DMA_READ, 16, VFU_TYPE_REPLY, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		vfc_begin(&c);
		assert_true(vfc_alive(&c));
		assert_int_equal(send(c.fd, &bad[i], sizeof(bad[i]), 0), sizeof(bad[i]));
		assert_false(vfc_alive(&c));
	}
	vfc_begin(&c);
	assert_int_equal(vfc_get(&c, 0, EP_WRITES), 0);
}

static void test_byte_by_byte(void **state)
{
	struct {
		struct vfu_header h;
		struct vfu_region_rw rw;
		uint32_t v;
	} __attribute__((packed))
	m = { { 9, VFU_REGION_WRITE, 36, 0, 0 }, { EP_SCRATCH, 0, 4 }, 77 };

	(void)state;
	vfc_begin(&c);
	for (size_t i = 0; i < sizeof(m); i++) {
		assert_int_equal(vfc_reply(&c), 0);
		assert_int_equal(send(c.fd, (char *)&m + i, 1, 0), 1);
		vbench_pump(&bench);
	}
	assert_int_equal(vfc_reply(&c), 1);
	assert_int_equal(c.head.id, 9);
	assert_int_equal(vfc_get(&c, 0, EP_SCRATCH), 77);
}

/* Descriptors on the stream. */

struct map_msg {
	struct vfu_header h;
	struct vfu_dma_map m;
};

static struct map_msg map_msg(uint64_t addr)
{
	return (struct map_msg){ { 1, VFU_DMA_MAP, sizeof(struct map_msg), 0, 0 },
				 { 32, VFC_RW, 0, addr, 0x1000 } };
}

static void send_fds(const void *p, size_t len, int n_fds)
{
	struct vc raw = { .fd = c.fd };
	int fds[64];

	for (int i = 0; i < n_fds; i++)
		fds[i] = c.memfd;
	vc_raw(&raw, p, len, fds, n_fds);
}

static bool is_mapped(uint64_t addr)
{
	return mem_ptr(vfbench_dev(&bench)->dev.mem, (gpa){ addr }, 16) != NULL;
}

/* With the first part of a message or with a later one: they are that message's. */
static void test_fds_in_parts(void **state)
{
	struct map_msg m = map_msg(0x10000000);

	(void)state;
	for (size_t cut = 1; cut < sizeof(m); cut += 5) {
		for (int later = 0; later < 2; later++) {
			vfc_begin(&c);
			send_fds(&m, cut, later ? 0 : 1);
			vbench_pump(&bench);
			send_fds((char *)&m + cut, sizeof(m) - cut, later ? 1 : 0);
			assert_int_equal(vfc_reply(&c), 1);
			assert_int_equal(c.head.flags, VFU_TYPE_REPLY);
			assert_true(is_mapped(0x10000000));
		}
	}
}

/* The kernel reads past messages without descriptors, and stops behind one that has some. */
static void test_fds_in_a_row(void **state)
{
	struct map_msg plain = map_msg(0x10000000), with = map_msg(0x20000000),
		       last = map_msg(0x30000000), none = map_msg(0x40000000);

	(void)state;
	vfc_begin(&c);
	send_fds(&plain, sizeof(plain), 0);
	send_fds(&with, sizeof(with), 1);
	send_fds(&last, sizeof(last), 1);
	send_fds(&none, sizeof(none), 0);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(vfc_reply(&c), 1);
		assert_int_equal(c.head.flags, VFU_TYPE_REPLY);
	}
	assert_false(is_mapped(0x10000000));
	assert_true(is_mapped(0x20000000));
	assert_true(is_mapped(0x30000000));
	assert_false(is_mapped(0x40000000));
}

/* The rest of a message with descriptors, and the next one's descriptors in the same read. */
static void test_fds_behind_a_rest(void **state)
{
	struct map_msg first = map_msg(0x10000000), second = map_msg(0x20000000);

	(void)state;
	vfc_begin(&c);
	send_fds(&first, 20, 1);
	vbench_pump(&bench);
	send_fds((char *)&first + 20, sizeof(first) - 20, 0);
	send_fds(&second, sizeof(second), 1);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(vfc_reply(&c), 1);
		assert_int_equal(c.head.flags, VFU_TYPE_REPLY);
	}
	assert_true(is_mapped(0x10000000));
	assert_true(is_mapped(0x20000000));
}

static void test_fds_twice(void **state)
{
	struct map_msg m = map_msg(0x10000000);
	int before;

	(void)state;
	vfc_begin(&c);
	vfc_hangup(&c);
	before = open_fds();
	vfc_begin(&c);
	send_fds(&m, 20, 1);
	vbench_pump(&bench);
	send_fds((char *)&m + 20, sizeof(m) - 20, 1);
	assert_false(vfc_alive(&c));
	vfc_hangup(&c);
	assert_int_equal(open_fds(), before);
}

static void test_too_many_fds(void **state)
{
	struct map_msg m = map_msg(0x10000000);
	int before;

	(void)state;
	vfc_begin(&c);
	vfc_hangup(&c);
	before = open_fds();
	for (int n = VFU_MAX_FDS + 1; n < 60; n += 9) {
		vfc_begin(&c);
		send_fds(&m, sizeof(m), n);
		assert_false(vfc_alive(&c));
		vfc_hangup(&c);
		assert_int_equal(open_fds(), before);
	}
}

/* Replies. */

static void serve_rom(size_t size)
{
	char path[128], options[160];
	uint8_t *rom = malloc(size);
	FILE *f;

	for (size_t i = 0; i < size; i++)
		rom[i] = (uint8_t)(i * 13 + (i >> 8));
	close_bench(NULL);
	snprintf(path, sizeof(path), "/tmp/vfio-test-rom.%d", getpid());
	f = fopen(path, "w");
	assert_int_equal(fwrite(rom, 1, size, f), size);
	fclose(f);
	snprintf(options, sizeof(options), "romfile=%s", path);
	if (vfbench_open(&bench, options) < 0)
		fail_msg("%s", bench.e.what);
	unlink(path);
	vfc_init(&c, &bench);
	free(rom);
}

/* More than the socket holds leaves in pieces. */
static void test_large_reply(void **state)
{
	uint32_t size = VFU_MAX_XFER;
	uint8_t *got = malloc(size);

	(void)state;
	serve_rom(size);
	vfc_begin(&c);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(vfc_rw(&c, false, VFIO_PCI_ROM_REGION_INDEX, 0, got, size), 0);
		for (uint32_t k = 0; k < size; k++)
			if (got[k] != (uint8_t)(k * 13 + (k >> 8)))
				fail_msg("byte %u is wrong", k);
	}
	assert_int_equal(vfc_get(&c, 0, EP_WRITES), 0);
	free(got);
}

/* A region may be larger than a message. */
static void test_large_region(void **state)
{
	struct vfu_region_rw rw = { 0, VFIO_PCI_ROM_REGION_INDEX, VFU_MAX_XFER + 1 };
	uint8_t last;

	(void)state;
	serve_rom(2 * VFU_MAX_XFER);
	vfc_begin(&c);
	assert_int_equal(vfc_ask(&c, VFU_REGION_READ, &rw, sizeof(rw), NULL, 0), EINVAL);
	assert_int_equal(
		vfc_rw(&c, false, VFIO_PCI_ROM_REGION_INDEX, 2 * VFU_MAX_XFER - 1, &last, 1), 0);
}

/* Asks for 64 KiB again and again, and reads nothing. */
static void test_replies_unread(void **state)
{
	struct vfu_region_rw rw = { 0, VFIO_PCI_ROM_REGION_INDEX, 65536 };
	int before;

	(void)state;
	serve_rom(65536);
	vfc_begin(&c);
	vfc_hangup(&c);
	before = open_fds();
	vfc_begin(&c);
	for (int i = 0; i < 40; i++) {
		vfc_send(&c, VFU_REGION_READ, 0, &rw, sizeof(rw), NULL, 0);
		vbench_pump(&bench);
	}
	/* Some 2.5 MiB may wait. */
	assert_null(strstr(bench.log, "does not read"));
	for (int i = 0; i < 80; i++) {
		vfc_send(&c, VFU_REGION_READ, 0, &rw, sizeof(rw), NULL, 0);
		vbench_pump(&bench);
	}
	assert_non_null(strstr(bench.log, "does not read its answers"));
	vfc_hangup(&c);
	assert_int_equal(open_fds(), before);
	vfc_begin(&c);
	assert_int_equal(vfc_get(&c, 0, EP_WRITES), 0);
}

/* What waited is read in the end, in order. */
static void test_replies_read_late(void **state)
{
	struct vfu_region_rw rw = { 0, VFIO_PCI_ROM_REGION_INDEX, 65536 };
	uint16_t first;

	(void)state;
	serve_rom(65536);
	vfc_begin(&c);
	first = (uint16_t)(c.id + 1);
	for (int i = 0; i < 40; i++)
		vfc_send(&c, VFU_REGION_READ, 0, &rw, sizeof(rw), NULL, 0);
	for (int i = 0; i < 40; i++) {
		assert_int_equal(vfc_reply(&c), 1);
		assert_int_equal(c.head.id, (uint16_t)(first + i));
		assert_int_equal(c.reply_len, sizeof(rw) + 65536);
		assert_int_equal(c.reply[sizeof(rw) + 257], (uint8_t)(257 * 13 + 1));
	}
	assert_int_equal(vfc_get(&c, 0, EP_WRITES), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_hangup_everywhere, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_hangup_in_message, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_reconnect_often, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_second_client, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_socket_file, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_link_is_ours, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_bad_headers, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_byte_by_byte, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_fds_in_parts, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_fds_in_a_row, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_fds_behind_a_rest, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_fds_twice, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_too_many_fds, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_large_reply, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_large_region, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_replies_unread, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_replies_read_late, open_bench, close_bench),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
