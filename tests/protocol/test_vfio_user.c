/* SPDX-License-Identifier: BSD-3-Clause */
/* vfio-user messages: each good, short, long, with wrong descriptors, before VERSION; regions and
 * reset. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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

/* What QEMU 11.1 says, to the letter. */
static const char qemu_version[] =
	"{\"capabilities\": {\"migration\": {\"max_bitmap_size\": 268435456, \"pgsize\": 4096}, "
	"\"max_dma_maps\": 65535, \"write_multiple\": true, \"max_data_xfer_size\": 1048576, "
	"\"pgsizes\": 4096, \"max_msg_fds\": 16}}";

static const char *reply_json(void)
{
	assert_true(c.reply_len > sizeof(struct vfu_version));
	assert_int_equal(c.reply[c.reply_len - 1], 0);
	return (const char *)c.reply + sizeof(struct vfu_version);
}

static void test_version_of_qemu(void **state)
{
	struct vfu_version v;

	(void)state;
	vfc_connect(&c);
	assert_int_equal(vfc_version(&c, 0, 0, qemu_version), 0);
	memcpy(&v, c.reply, sizeof(v));
	assert_int_equal(v.major, 0);
	assert_int_equal(v.minor, 0);
	/* QEMU has no room for an answer that is longer than the question. */
	assert_true(c.reply_len <= sizeof(v) + sizeof(qemu_version));
	assert_non_null(strstr(reply_json(), "\"max_msg_fds\":16"));
	assert_non_null(strstr(reply_json(), "\"max_data_xfer_size\":1048576"));
	assert_non_null(strstr(reply_json(), "\"pgsizes\":4096"));
	assert_non_null(strstr(reply_json(), "\"pgsize\":4096"));
	assert_non_null(strstr(reply_json(), "\"write_multiple\":true"));
}

/* The answer holds what was asked for and no more. */
static void test_version_subset(void **state)
{
	(void)state;
	vfc_connect(&c);
	assert_int_equal(vfc_version(&c, 0, 0, NULL), 0);
	assert_int_equal(c.reply_len, sizeof(struct vfu_version));
	vfc_connect(&c);
	assert_int_equal(vfc_version(&c, 0, 7, "{}"), 0);
	assert_string_equal(reply_json(), "{\"capabilities\":{}}");
	assert_int_equal(c.reply[2], 0); /* minor: the smaller one */
	vfc_connect(&c);
	assert_int_equal(vfc_version(&c, 0, 0,
				     "{\"capabilities\":{\"max_msg_fds\":1,\"twin_socket\":"
				     "{\"supported\":true},\"x\":[1,2]}}"),
			 0);
	assert_string_equal(reply_json(), "{\"capabilities\":{\"max_msg_fds\":16}}");
	vfc_connect(&c);
	assert_int_equal(vfc_version(&c, 0, 0, "{\"capabilities\":{\"write_multiple\":false}}"), 0);
	assert_string_equal(reply_json(), "{\"capabilities\":{}}");
}

static void test_version_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"{",
		"[]",
		"1",
		"{\"capabilities\":1}",
		"{\"capabilities\":{\"max_msg_fds\":-1}}",
		"{\"capabilities\":{\"max_msg_fds\":1.5}}",
		"{\"capabilities\":{\"max_msg_fds\":\"8\"}}",
		"{\"capabilities\":{\"max_msg_fds\":99999999999999999999}}",
		"{\"capabilities\":{\"max_data_xfer_size\":null}}",
		"{\"capabilities\":{\"pgsizes\":{}}}",
		"{\"capabilities\":{\"write_multiple\":1}}",
		"{\"capabilities\":{},\"capabilities\":{}}",
		"{\"capabilities\":{}} x",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		vfc_connect(&c);
		if (vfc_version(&c, 0, 0, bad[i]) != EINVAL)
			fail_msg("taken: %s", bad[i]);
		assert_false(vfc_alive(&c));
	}
	/* Another major version; no NUL at the end; nested beyond reason. */
	vfc_connect(&c);
	assert_int_equal(vfc_version(&c, 1, 0, NULL), EINVAL);
	assert_false(vfc_alive(&c));
	vfc_connect(&c);
	assert_int_equal(vfc_ask(&c, VFU_VERSION, "\0\0\0\0{}", 6, NULL, 0), EINVAL);
	assert_false(vfc_alive(&c));
	{
		char deep[4000];

		memset(deep, '[', sizeof(deep));
		deep[sizeof(deep) - 1] = '\0';
		vfc_connect(&c);
		assert_int_equal(vfc_version(&c, 0, 0, deep), EINVAL);
		assert_false(vfc_alive(&c));
	}
	vfc_begin(&c);
	assert_int_equal(vfc_version(&c, 0, 0, NULL), EINVAL); /* a second one is only refused */
	assert_true(vfc_alive(&c));
}

/* Every message in a form that is carried out, for tests of what is wrong around it. */
struct good {
	uint16_t command;
	uint32_t len;
	uint8_t data[128];
};

static void put(struct good *g, const void *p, uint32_t len)
{
	assert_true(g->len + len <= sizeof(g->data));
	memcpy(g->data + g->len, p, len);
	g->len += len;
}

static struct good good(uint16_t command)
{
	struct good g = { .command = command };
	uint64_t one = 1;

	switch (command) {
	case VFU_VERSION:
		put(&g, &(struct vfu_version){ 0, 0 }, sizeof(struct vfu_version));
		break;
	case VFU_DMA_MAP:
		put(&g, &(struct vfu_dma_map){ 32, VFC_RW, 0, 0x10000000, 0x1000 },
		    sizeof(struct vfu_dma_map));
		break;
	case VFU_DMA_UNMAP:
		put(&g, &(struct vfu_dma_unmap){ 24, 0, VFC_ADDR, VFC_MEM },
		    sizeof(struct vfu_dma_unmap));
		break;
	case VFU_DEVICE_GET_INFO:
		put(&g, (uint32_t[]){ 16, 0, 0, 0 }, 16);
		break;
	case VFU_DEVICE_GET_REGION_INFO:
		put(&g, &(struct vfio_region_info){ .argsz = 32 }, sizeof(struct vfio_region_info));
		break;
	case VFU_DEVICE_GET_REGION_IO_FDS:
	case VFU_DEVICE_GET_IRQ_INFO:
		put(&g, (uint32_t[]){ 16, 0, 0, 0 }, 16);
		break;
	case VFU_DEVICE_SET_IRQS:
		put(&g,
		    (uint32_t[]){ 20, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_MASK, 0, 0, 1 },
		    20);
		break;
	case VFU_REGION_READ:
	case VFU_REGION_WRITE:
		put(&g, &(struct vfu_region_rw){ 0, 0, 4 }, sizeof(struct vfu_region_rw));
		if (command == VFU_REGION_WRITE)
			put(&g, &one, 4);
		break;
	case VFU_REGION_WRITE_MULTI:
		put(&g, &one, 8);
		put(&g, &(struct vfu_write_one){ { 0, 0, 4 }, { 1 } },
		    sizeof(struct vfu_write_one));
		break;
	case VFU_DEVICE_FEATURE:
		put(&g,
		    &(struct vfu_feature){ 64, VFIO_DEVICE_FEATURE_MIGRATION |
						       VFIO_DEVICE_FEATURE_GET },
		    sizeof(struct vfu_feature));
		break;
	case VFU_MIG_DATA_READ:
		put(&g, &(struct vfu_mig_data){ 108, 100 }, sizeof(struct vfu_mig_data));
		break;
	case VFU_MIG_DATA_WRITE:
		put(&g, &(struct vfu_mig_data){ 16, 8 }, sizeof(struct vfu_mig_data));
		put(&g, &one, 8);
		break;
	}
	return g;
}

static const uint16_t commands[] = {
	VFU_DMA_MAP,
	VFU_DMA_UNMAP,
	VFU_DEVICE_GET_INFO,
	VFU_DEVICE_GET_REGION_INFO,
	VFU_DEVICE_GET_REGION_IO_FDS,
	VFU_DEVICE_GET_IRQ_INFO,
	VFU_DEVICE_SET_IRQS,
	VFU_REGION_READ,
	VFU_REGION_WRITE,
	VFU_DEVICE_RESET,
	VFU_REGION_WRITE_MULTI,
	VFU_DEVICE_FEATURE,
	VFU_MIG_DATA_READ,
	VFU_MIG_DATA_WRITE,
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static int ask(const struct good *g, const int *fds, int n_fds)
{
	return vfc_ask(&c, g->command, g->data, g->len, fds, n_fds);
}

/* Into the state in which the message is right. */
static void prepare(uint16_t command)
{
	vfc_begin(&c);
	if (command == VFU_MIG_DATA_READ)
		assert_int_equal(vfc_state(&c, VFIO_DEVICE_STATE_STOP_COPY), 0);
	if (command == VFU_MIG_DATA_WRITE)
		assert_int_equal(vfc_state(&c, VFIO_DEVICE_STATE_RESUMING), 0);
}

static void test_good(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_COMMANDS; i++) {
		struct good g = good(commands[i]);

		prepare(commands[i]);
		if (ask(&g, NULL, 0) != 0)
			fail_msg("command %u: error %u", commands[i], c.head.error);
	}
}

/* Nothing that is shorter, nothing that is longer, and the connection goes on. */
static void test_short_and_long(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_COMMANDS; i++) {
		struct good g = good(commands[i]);
		uint32_t whole = g.len, more;

		prepare(commands[i]);
		for (g.len = 0; g.len < whole; g.len++)
			if (ask(&g, NULL, 0) != EINVAL)
				fail_msg("command %u with %u of %u bytes", commands[i], g.len,
					 whole);
		/* Linux has added fields to this one. */
		more = commands[i] == VFU_DEVICE_GET_INFO ? 9 : 1;
		g.len = whole + more;
		/* Descriptors may be repeated as numbers; a request without data needs none. */
		if (commands[i] == VFU_DEVICE_SET_IRQS || commands[i] == VFU_DEVICE_FEATURE)
			continue;
		if (ask(&g, NULL, 0) != EINVAL)
			fail_msg("command %u with %u bytes more", commands[i], more);
		g.len = whole;
		assert_int_equal(ask(&g, NULL, 0), 0);
	}
}

static void test_wrong_fds(void **state)
{
	int fds[VFU_MAX_FDS], before;

	(void)state;
	for (int i = 0; i < VFU_MAX_FDS; i++)
		fds[i] = c.memfd;
	for (size_t i = 0; i < N_COMMANDS; i++) {
		struct good g = good(commands[i]);

		prepare(commands[i]);
		before = open_fds();
		for (int n = 1; n <= VFU_MAX_FDS; n++) {
			bool one_is_right = commands[i] == VFU_DMA_MAP && n == 1;

			if (!one_is_right && ask(&g, fds, n) != EINVAL)
				fail_msg("command %u with %d fds", commands[i], n);
		}
		assert_int_equal(open_fds(), before);
		assert_int_equal(ask(&g, NULL, 0), 0);
	}
}

static void test_before_version(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_COMMANDS; i++) {
		struct good g = good(commands[i]);

		vfc_connect(&c);
		assert_int_equal(ask(&g, NULL, 0), -1);
	}
	assert_non_null(strstr(bench.log, "before VERSION"));
}

static void test_unknown_commands(void **state)
{
	static const uint16_t unknown[] = { 0, VFU_DMA_READ, VFU_DMA_WRITE, 14, 19, 100, 0xffff };

	(void)state;
	vfc_begin(&c);
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		assert_int_equal(vfc_ask(&c, unknown[i], "12345678", 8, NULL, 0), EOPNOTSUPP);
	assert_true(vfc_alive(&c));
}

static void test_no_reply(void **state)
{
	struct good g = good(VFU_DEVICE_GET_INFO);

	(void)state;
	vfc_begin(&c);
	vfc_send(&c, g.command, VFU_NO_REPLY, g.data, g.len, NULL, 0);
	vfc_send(&c, g.command, VFU_NO_REPLY, g.data, 1, NULL, 0);
	vfc_send(&c, 99, VFU_NO_REPLY, NULL, 0, NULL, 0);
	assert_int_equal(vfc_reply(&c), 0);
	assert_int_equal(ask(&g, NULL, 0), 0);
}

static void test_device_info(void **state)
{
	uint32_t info[4] = { 16 };

	(void)state;
	vfc_begin(&c);
	assert_int_equal(vfc_ask(&c, VFU_DEVICE_GET_INFO, info, 16, NULL, 0), 0);
	assert_int_equal(c.reply_len, 16);
	memcpy(info, c.reply, 16);
	assert_int_equal(info[0], 16);
	assert_int_equal(info[1], VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET);
	assert_int_equal(info[2], VFIO_PCI_NUM_REGIONS);
	assert_int_equal(info[3], VFIO_PCI_NUM_IRQS);
	info[0] = 15;
	assert_int_equal(vfc_ask(&c, VFU_DEVICE_GET_INFO, info, 16, NULL, 0), EINVAL);
	info[0] = UINT32_MAX;
	assert_int_equal(vfc_ask(&c, VFU_DEVICE_GET_INFO, info, 16, NULL, 0), 0);
	memcpy(info, c.reply, 16);
	assert_int_equal(info[0], 16);
}

static void test_region_info(void **state)
{
	static const uint64_t sizes[VFIO_PCI_NUM_REGIONS] = {
		EP_BAR0, EP_BAR1, EP_BAR2, [VFIO_PCI_CONFIG_REGION_INDEX] = 256
	};
	struct vfio_region_info info;

	(void)state;
	vfc_begin(&c);
	for (uint32_t i = 0; i < VFIO_PCI_NUM_REGIONS; i++) {
		info = (struct vfio_region_info){ .argsz = i % 2 != 0 ? UINT32_MAX : 32,
						  .index = i };
		assert_int_equal(vfc_ask(&c, VFU_DEVICE_GET_REGION_INFO, &info, 32, NULL, 0), 0);
		assert_int_equal(c.reply_len, 32);
		memcpy(&info, c.reply, 32);
		assert_int_equal(info.argsz, 32);
		assert_int_equal(info.index, i);
		assert_int_equal(info.size, sizes[i]);
		assert_int_equal(info.flags, sizes[i] != 0 ? 3 : 0);
		assert_int_equal(info.cap_offset, 0);
		assert_int_equal(info.offset, 0);
	}
	info = (struct vfio_region_info){ .argsz = 32, .index = VFIO_PCI_NUM_REGIONS };
	assert_int_equal(vfc_ask(&c, VFU_DEVICE_GET_REGION_INFO, &info, 32, NULL, 0), EINVAL);
	info = (struct vfio_region_info){ .argsz = 31 };
	assert_int_equal(vfc_ask(&c, VFU_DEVICE_GET_REGION_INFO, &info, 32, NULL, 0), EINVAL);
}

static void test_region_io_fds(void **state)
{
	struct vfu_io_fds q = { 4096, 0, 0, 0 };

	(void)state;
	vfc_begin(&c);
	assert_int_equal(vfc_ask(&c, VFU_DEVICE_GET_REGION_IO_FDS, &q, 16, NULL, 0), 0);
	memcpy(&q, c.reply, sizeof(q));
	assert_int_equal(c.reply_len, 16);
	assert_int_equal(q.argsz, 16);
	assert_int_equal(q.count, 0);
	q.index = VFIO_PCI_NUM_REGIONS;
	assert_int_equal(vfc_ask(&c, VFU_DEVICE_GET_REGION_IO_FDS, &q, 16, NULL, 0), EINVAL);
	q = (struct vfu_io_fds){ 15, 0, 0, 0 };
	assert_int_equal(vfc_ask(&c, VFU_DEVICE_GET_REGION_IO_FDS, &q, 16, NULL, 0), EINVAL);
	q = (struct vfu_io_fds){ 16, 1, 0, 0 };
	assert_int_equal(vfc_ask(&c, VFU_DEVICE_GET_REGION_IO_FDS, &q, 16, NULL, 0), EINVAL);
}

static void test_config_space(void **state)
{
	uint8_t all[256];
	uint32_t v;

	(void)state;
	vfc_begin(&c);
	assert_int_equal(vfc_rw(&c, false, VFIO_PCI_CONFIG_REGION_INDEX, 0, all, 256), 0);
	assert_memory_equal(all, "\xf4\x1a\xff\x10", 4);
	/* Sizing of a BAR. */
	v = ~0u;
	assert_int_equal(vfc_rw(&c, true, VFIO_PCI_CONFIG_REGION_INDEX, PCI_BASE_ADDRESS_0, &v, 4),
			 0);
	assert_int_equal(vfc_get(&c, VFIO_PCI_CONFIG_REGION_INDEX, PCI_BASE_ADDRESS_0),
			 ~(EP_BAR0 - 1));
	assert_int_equal(vfc_rw(&c, false, VFIO_PCI_CONFIG_REGION_INDEX, 255, all, 1), 0);
	assert_int_equal(vfc_rw(&c, false, VFIO_PCI_CONFIG_REGION_INDEX, 255, all, 2), EINVAL);
	assert_int_equal(vfc_rw(&c, false, VFIO_PCI_CONFIG_REGION_INDEX, 256, all, 1), EINVAL);
	assert_int_equal(vfc_rw(&c, true, VFIO_PCI_CONFIG_REGION_INDEX, 256, all, 1), EINVAL);
}

static void test_registers(void **state)
{
	uint8_t buf[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };

	(void)state;
	vfc_begin(&c);
	vfc_put(&c, 0, EP_SCRATCH, 0x12345678);
	assert_int_equal(vfc_get(&c, 0, EP_SCRATCH), 0x12345678);
	assert_int_equal(vfc_get(&c, 1, EP_SCRATCH), 0x12345678); /* the same by I/O */
	/* Part of a register. */
	assert_int_equal(vfc_rw(&c, true, 0, EP_SCRATCH + 1, buf, 2), 0);
	assert_int_equal(vfc_get(&c, 0, EP_SCRATCH), 0x12020178);
	assert_int_equal(vfc_rw(&c, false, 0, EP_SCRATCH + 2, buf, 2), 0);
	assert_memory_equal(buf, "\x02\x12", 2);
	/* Where there is nothing. */
	for (uint32_t region = 3; region < 12; region++)
		if (region != VFIO_PCI_CONFIG_REGION_INDEX)
			assert_int_equal(vfc_rw(&c, false, region, 0, buf, 1), EINVAL);
	assert_int_equal(vfc_rw(&c, false, UINT32_MAX, 0, buf, 1), EINVAL);
	assert_int_equal(vfc_rw(&c, false, 0, 0, buf, 0), EINVAL);
	assert_int_equal(vfc_rw(&c, false, 0, EP_BAR0, buf, 1), EINVAL);
	assert_int_equal(vfc_rw(&c, true, 0, EP_BAR0 - 1, buf, 2), EINVAL);
	assert_int_equal(vfc_get(&c, 0, EP_WRITES), 2);
}

/* The count in the message and the bytes behind it are one thing said twice. */
static void test_write_lengths(void **state)
{
	struct {
		struct vfu_region_rw rw;
		uint8_t data[8];
	} m = { { EP_SCRATCH, 0, 4 }, { 0 } };

	(void)state;
	vfc_begin(&c);
	assert_int_equal(vfc_ask(&c, VFU_REGION_WRITE, &m, 16 + 8, NULL, 0), EINVAL);
	m.rw.count = 8;
	assert_int_equal(vfc_ask(&c, VFU_REGION_WRITE, &m, 16 + 4, NULL, 0), EINVAL);
	m.rw.count = UINT32_MAX;
	assert_int_equal(vfc_ask(&c, VFU_REGION_WRITE, &m, 16 + 8, NULL, 0), EINVAL);
	assert_int_equal(vfc_get(&c, 0, EP_WRITES), 0);
}

/* Reads as large as a region are one message; the largest of all is refused. */
static void test_large_accesses(void **state)
{
	static uint8_t all[EP_BAR2];
	struct vfu_region_rw rw = { 0, 0, VFU_MAX_XFER + 1 };

	(void)state;
	vfc_begin(&c);
	assert_int_equal(vfc_rw(&c, false, 2, 0, all, EP_BAR2), 0);
	assert_int_equal(all[12], 1); /* the first vector is masked */
	assert_int_equal(vfc_rw(&c, true, 0, 0, all, EP_BAR0), 0);
	assert_int_equal(vfc_ask(&c, VFU_REGION_READ, &rw, sizeof(rw), NULL, 0), EINVAL);
	rw.count = VFU_MAX_XFER;
	assert_int_equal(vfc_ask(&c, VFU_REGION_READ, &rw, sizeof(rw), NULL, 0), EINVAL);
}

static void test_write_multi(void **state)
{
	struct {
		uint64_t n;
		struct vfu_write_one w[3];
	} m = { 3,
		{ { { EP_SUM, 0, 4 }, { 1 } },
		  { { EP_SUM, 0, 4 }, { 2 } },
		  { { EP_SUM, 1, 4 }, { 3 } } } };
	uint64_t n;

	(void)state;
	vfc_begin(&c);
	m.w[2].rw.off = 0;
	assert_int_equal(vfc_ask(&c, VFU_REGION_WRITE_MULTI, &m, sizeof(m), NULL, 0), 0);
	memcpy(&n, c.reply, sizeof(n));
	assert_int_equal(n, 3);
	assert_int_equal(vfc_get(&c, 0, EP_SUM), 4);
	assert_int_equal(vfc_get(&c, 0, EP_SCRATCH), 3);
	m.n = 2;
	assert_int_equal(vfc_ask(&c, VFU_REGION_WRITE_MULTI, &m, sizeof(m), NULL, 0), EINVAL);
	m.n = 3 + (1ull << 61); /* times the size of one it is 3 again */
	assert_int_equal(vfc_ask(&c, VFU_REGION_WRITE_MULTI, &m, sizeof(m), NULL, 0), EINVAL);
	assert_int_equal(vfc_get(&c, 0, EP_WRITES), 3); /* those of before */
	m.n = 3;
	m.w[1].rw.count = 9;
	assert_int_equal(vfc_ask(&c, VFU_REGION_WRITE_MULTI, &m, sizeof(m), NULL, 0), EINVAL);
	m.w[1].rw.count = 0;
	assert_int_equal(vfc_ask(&c, VFU_REGION_WRITE_MULTI, &m, sizeof(m), NULL, 0), EINVAL);
}

/* What a flood of posted writes does, it does in order, and reads behind it see it. */
static void test_posted_flood(void **state)
{
	uint32_t sum = 0, n = 20000;

	(void)state;
	vfc_begin(&c);
	for (uint32_t i = 0; i < n; i++) {
		vfc_post(&c, 0, EP_SUM, i);
		sum = sum * 2 + i;
	}
	assert_int_equal(vfc_get(&c, 0, EP_WRITES), n);
	assert_int_equal(vfc_get(&c, 0, EP_SUM), sum);
}

/* A flood does not keep the loop from its other work: what is there is handled in several rounds.
 */
static void test_flood_is_fair(void **state)
{
	uint32_t done = 0, rounds = 0;
	struct {
		struct vfu_header h;
		uint64_t off;
		uint32_t region, count, v;
	} __attribute__((packed)) flood[440];

	(void)state;
	vfc_begin(&c);
	for (uint32_t i = 0; i < 440; i++) {
		flood[i].h = (struct vfu_header){ (uint16_t)i, VFU_REGION_WRITE, sizeof(flood[i]),
						  VFU_NO_REPLY, 0 };
		flood[i].off = EP_SUM;
		flood[i].region = 0;
		flood[i].count = 4;
		flood[i].v = i;
	}
	assert_int_equal(send(c.fd, flood, sizeof(flood), MSG_DONTWAIT), sizeof(flood));
	for (; done < 440 && rounds < 100; rounds++) {
		uint32_t now;

		assert_true(twx_loop_poll(bench.loop, 0) > 0);
		now = vfbench_dev(&bench)->writes;
		assert_true(now > done && now - done <= 256);
		done = now;
	}
	assert_int_equal(done, 440);
	assert_int_equal(vfc_get(&c, 0, EP_WRITES), 440);
}

static void test_reset(void **state)
{
	unsigned int before;
	uint8_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

	(void)state;
	vfc_begin(&c);
	before = vfbench_dev(&bench)->resets;
	vfc_put(&c, 0, EP_SCRATCH, 5);
	assert_int_equal(vfc_ask(&c, VFU_DEVICE_RESET, NULL, 0, NULL, 0), 0);
	assert_int_equal(vfbench_dev(&bench)->resets, before + 1);
	assert_int_equal(vfc_get(&c, 0, EP_SCRATCH), UINT32_MAX); /* decoding is off again */
	/* Memory stays known. */
	vfc_rw(&c, true, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 1);
	assert_int_equal(vfc_dma(&c, VFC_ADDR, 16, false), 0);
}

static void test_rom(void **state)
{
	char path[128], options[160];
	uint8_t rom[3000], got[4096];
	struct vbench b;
	struct vfc cl;
	FILE *f;

	(void)state;
	for (size_t i = 0; i < sizeof(rom); i++)
		rom[i] = (uint8_t)(i * 7);
	snprintf(path, sizeof(path), "%s/rom", bench.dir);
	f = fopen(path, "w");
	assert_int_equal(fwrite(rom, 1, sizeof(rom), f), sizeof(rom));
	fclose(f);
	snprintf(options, sizeof(options), "romfile=%s", path);
	if (vfbench_open(&b, options) < 0)
		fail_msg("%s", b.e.what);
	vfc_init(&cl, &b);
	vfc_begin(&cl);
	assert_int_equal(vfc_rw(&cl, false, VFIO_PCI_ROM_REGION_INDEX, 0, got, 4096), 0);
	assert_memory_equal(got, rom, sizeof(rom));
	assert_int_equal(got[4095], 0);
	assert_int_equal(vfc_rw(&cl, true, VFIO_PCI_ROM_REGION_INDEX, 0, got + 1, 100), 0);
	assert_int_equal(vfc_rw(&cl, false, VFIO_PCI_ROM_REGION_INDEX, 0, got, 4096), 0);
	assert_memory_equal(got, rom, sizeof(rom));
	vfc_fini(&cl);
	vbench_close(&b);
	unlink(path);
}

/* Set-up refuses what it cannot do, by name and with a hint. */
static void test_options(void **state)
{
	struct vbench b;
	struct twx_nic *nic;

	(void)state;
	assert_int_equal(vbench_open_net(&b), 0);
	assert_true(twx_net_add_nic_model(b.net, &echo_pci_model) == 0);
	assert_true(twx_nic_new(&nic, b.net, "echo-pci,export=vfio-user:", &b.e) < 0);
	assert_true(twx_nic_new(&nic, b.net, "echo-pci,export=vfio-user:/no/such/folder/s", &b.e) <
		    0);
	assert_non_null(strstr(b.e.what, "vfio-user socket /no/such/folder/s"));
	assert_true(twx_nic_new(&nic, b.net, "echo-pci,export=vfio-user:/tmp/x,server=on", &b.e) <
		    0);
	assert_true(twx_nic_new(&nic, b.net, "echo-pci,export=vhost-user:/tmp/x", &b.e) < 0);
	assert_non_null(strstr(b.e.what, "pci"));
	vbench_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_version_of_qemu, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_version_subset, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_version_refused, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_good, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_short_and_long, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_wrong_fds, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_before_version, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_unknown_commands, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_no_reply, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_device_info, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_region_info, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_region_io_fds, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_config_space, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_registers, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_write_lengths, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_large_accesses, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_write_multi, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_posted_flood, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_flood_is_fair, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_reset, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_rom, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_options, open_bench, close_bench),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
