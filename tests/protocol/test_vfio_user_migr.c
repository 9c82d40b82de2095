/* SPDX-License-Identifier: BSD-3-Clause */
/* Migration over vfio-user: device features, states, the state of one server in another, the dirty
 * log. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "vfio_client.h"

#define GET VFIO_DEVICE_FEATURE_GET
#define SET VFIO_DEVICE_FEATURE_SET
#define PROBE VFIO_DEVICE_FEATURE_PROBE

enum { ERROR, STOP, RUNNING, STOP_COPY, RESUMING, N_STATES }; /* as enum vfio_device_mig_state */

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

static uint32_t state_of(struct vfc *cl)
{
	uint32_t s[4];

	if (vfc_feature(cl, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE | GET, 16, NULL, 0) != 0 ||
	    cl->reply_len != 16)
		return UINT32_MAX;
	memcpy(s, cl->reply, sizeof(s));
	assert_int_equal(s[0], 16);
	assert_int_equal(s[3], UINT32_MAX); /* no descriptor */
	return s[2];
}

/* Up to @max bytes; how many, or -errno. */
static int mig_read(struct vfc *cl, uint8_t *to, uint32_t max)
{
	struct vfu_mig_data r = { (uint32_t)sizeof(r) + max, max };
	int err = vfc_ask(cl, VFU_MIG_DATA_READ, &r, sizeof(r), NULL, 0);

	if (err != 0)
		return -err;
	memcpy(&r, cl->reply, sizeof(r));
	assert_int_equal(r.argsz, cl->reply_len);
	assert_int_equal(r.size, cl->reply_len - sizeof(r));
	assert_true(r.size <= max);
	memcpy(to, cl->reply + sizeof(r), r.size);
	return (int)r.size;
}

static int mig_write(struct vfc *cl, const uint8_t *from, uint32_t len)
{
	struct vfu_mig_data w = { (uint32_t)sizeof(w) + len, len };
	uint8_t *m = malloc(sizeof(w) + len);
	int err;

	memcpy(m, &w, sizeof(w));
	memcpy(m + sizeof(w), from, len);
	err = vfc_ask(cl, VFU_MIG_DATA_WRITE, m, (uint32_t)sizeof(w) + len, NULL, 0);
	free(m);
	return err;
}

static int read_all(struct vfc *cl, uint8_t *to, uint32_t piece)
{
	int all = 0, n;

	do {
		n = mig_read(cl, to + all, piece);
		assert_true(n >= 0);
		all += n;
	} while (n == (int)piece);
	return all;
}

static void test_probe(void **state)
{
	static const struct {
		uint32_t flags;
		int err;
	} rows[] = {
		{ VFIO_DEVICE_FEATURE_MIGRATION | PROBE, 0 },
		{ VFIO_DEVICE_FEATURE_MIGRATION | PROBE | GET, 0 },
		{ VFIO_DEVICE_FEATURE_MIGRATION | PROBE | SET, EINVAL },
		{ VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE | PROBE | GET | SET, 0 },
		{ VFIO_DEVICE_FEATURE_DMA_LOGGING_START | PROBE | SET, 0 },
		{ VFIO_DEVICE_FEATURE_DMA_LOGGING_START | PROBE | GET, EINVAL },
		{ VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP | PROBE | SET, 0 },
		{ VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT | PROBE | GET, 0 },
		{ VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY | PROBE | SET, ENOTTY },
		{ 0 | PROBE | GET, ENOTTY },
		{ 0xffff | PROBE | GET, ENOTTY },
		{ VFIO_DEVICE_FEATURE_MIGRATION | GET | SET, EINVAL },
		{ VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE | GET | SET, EINVAL },
		{ VFIO_DEVICE_FEATURE_MIGRATION, EINVAL },
		{ VFIO_DEVICE_FEATURE_MIGRATION | GET | 1u << 19, EINVAL },
		{ VFIO_DEVICE_FEATURE_MIGRATION | GET | 1u << 31, EINVAL },
	};
	uint64_t flags;
	uint32_t argsz;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (vfc_feature(&c, rows[i].flags, 8, NULL, 0) != rows[i].err)
			fail_msg("row %zu", i);
	assert_int_equal(vfc_feature(&c, VFIO_DEVICE_FEATURE_MIGRATION | GET, 16, NULL, 0), 0);
	assert_int_equal(c.reply_len, 16);
	memcpy(&flags, c.reply + 8, 8);
	assert_int_equal(flags, VFIO_MIGRATION_STOP_COPY);
	/* Too little room: how much it would take. */
	assert_int_equal(vfc_feature(&c, VFIO_DEVICE_FEATURE_MIGRATION | GET, 15, NULL, 0), 0);
	assert_int_equal(c.reply_len, 8);
	memcpy(&argsz, c.reply, 4);
	assert_int_equal(argsz, 16);
	assert_int_equal(vfc_feature(&c, VFIO_DEVICE_FEATURE_MIGRATION | GET, 7, NULL, 0), EINVAL);
	assert_int_equal(vfc_feature(&c, VFIO_DEVICE_FEATURE_MIGRATION | GET, UINT32_MAX, NULL, 0),
			 0);
	memcpy(&argsz, c.reply, 4);
	assert_int_equal(argsz, 16);
}

/* From every state to every other, as linux/vfio.h says, and to none that there is not. */
static void test_states(void **state)
{
	static uint8_t saved[65536];
	int len;

	(void)state;
	assert_int_equal(state_of(&c), RUNNING);
	assert_int_equal(vfc_state(&c, STOP_COPY), 0);
	len = read_all(&c, saved, 1000);
	assert_int_equal(vfc_state(&c, RUNNING), 0);
	for (uint32_t from = STOP; from < N_STATES; from++) {
		for (uint32_t to = STOP; to < N_STATES; to++) {
			assert_int_equal(vfc_state(&c, RUNNING), 0);
			assert_int_equal(vfc_state(&c, from), 0);
			if (from == RESUMING)
				assert_int_equal(mig_write(&c, saved, (uint32_t)len), 0);
			if (vfc_state(&c, to) != 0)
				fail_msg("from %u to %u", from, to);
			assert_int_equal(state_of(&c), to);
			assert_int_equal(dev->stopped, to != RUNNING);
			assert_int_equal(dev->dev.running, to == RUNNING);
			if (to == RESUMING && from != RESUMING)
				assert_int_equal(mig_write(&c, saved, (uint32_t)len), 0);
		}
	}
	assert_int_equal(vfc_state(&c, RUNNING), 0);
	for (uint32_t bad = N_STATES; bad < 40; bad++)
		assert_int_equal(vfc_state(&c, bad), EINVAL);
	assert_int_equal(vfc_state(&c, ERROR), EINVAL);
	assert_int_equal(vfc_state(&c, UINT32_MAX), EINVAL);
	assert_int_equal(vfc_state(&c, 0x80000002), EINVAL);
	assert_int_equal(state_of(&c), RUNNING);
	/* A state cut short. */
	assert_int_equal(
		vfc_feature(&c, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE | SET, 12, "\2\0\0", 4),
		EINVAL);
}

/* While it stands still it moves nothing. */
static void test_stopped(void **state)
{
	(void)state;
	assert_int_equal(vfc_state(&c, STOP), 0);
	assert_int_equal(vfc_dma(&c, VFC_ADDR, 16, true), EPERM);
	assert_int_equal(vfc_state(&c, RUNNING), 0);
	assert_int_equal(vfc_dma(&c, VFC_ADDR, 16, true), 0);
}

/* The source's client goes when its guest has moved; the next one finds the device at work. */
static void test_gone_while_stopped(void **state)
{
	static const uint32_t states[] = { STOP, STOP_COPY, RESUMING };

	(void)state;
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		assert_int_equal(vfc_state(&c, states[i]), 0);
		assert_true(dev->stopped);
		vfc_begin(&c);
		assert_false(dev->stopped);
		assert_int_equal(state_of(&c), RUNNING);
		assert_int_equal(vfc_dma(&c, VFC_ADDR, 16, true), 0);
	}
}

/* Out of one server, into another. */
static void test_save_and_load(void **state)
{
	static uint8_t saved[65536];
	static const uint32_t pieces[] = { 65536, 7, 100 };
	struct vbench other;
	struct vfc second;
	int len = 0;

	(void)state;
	if (vfbench_open(&other, NULL) < 0)
		fail_msg("%s", other.e.what);
	vfc_init(&second, &other);
	vfc_put(&c, 0, EP_SCRATCH, 0xfeed);
	vfc_put(&c, 0, EP_ADDR_LO, 0x123000);
	vfc_put(&c, VFIO_PCI_CONFIG_REGION_INDEX, PCI_BASE_ADDRESS_0, 0xfebc0000);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(vfc_state(&c, STOP_COPY), 0);
		len = read_all(&c, saved, pieces[i]);
		assert_true(len > 256);
		assert_int_equal(mig_read(&c, saved, 10), 0); /* all of it is read */
		assert_int_equal(vfc_state(&c, RUNNING), 0);

		vfc_begin(&second);
		assert_int_equal(vfc_state(&second, RESUMING), 0);
		for (int off = 0; off < len; off += (int)pieces[i])
			assert_int_equal(mig_write(&second, saved + off,
						   (uint32_t)(len - off) < pieces[i]
							   ? (uint32_t)(len - off)
							   : pieces[i]),
					 0);
		assert_int_equal(vfc_state(&second, RUNNING), 0);
		assert_int_equal(vfc_get(&second, 0, EP_SCRATCH), 0xfeed);
		assert_int_equal(vfc_get(&second, 0, EP_ADDR_LO), 0x123000);
		assert_int_equal(vfc_get(&second, VFIO_PCI_CONFIG_REGION_INDEX, PCI_BASE_ADDRESS_0),
				 0xfebc0000);
	}
	vfc_fini(&second);
	vbench_close(&other);
}

/* An interrupt that is pending there is told here. */
static void test_load_level(void **state)
{
	static uint8_t saved[65536];
	int len, efd = eventfd(0, EFD_CLOEXEC);

	(void)state;
	vfc_put(&c, 0, EP_INTX, 1);
	assert_int_equal(vfc_state(&c, STOP_COPY), 0);
	len = read_all(&c, saved, 65536);
	vfc_begin(&c);
	assert_int_equal(vfc_irqs(&c, 0, VFC_TRIGGER_FD, 0, 1, NULL, 0, &efd, 1), 0);
	assert_int_equal(vfc_count(efd), 0);
	assert_int_equal(vfc_state(&c, RESUMING), 0);
	assert_int_equal(mig_write(&c, saved, (uint32_t)len), 0);
	assert_int_equal(vfc_state(&c, RUNNING), 0);
	assert_int_equal(vfc_count(efd), 1);
	close(efd);
}

/* What is no state of this device changes nothing in it; a reset leads out of the error. */
static void test_bad_data(void **state)
{
	static uint8_t saved[65536];
	int len;

	(void)state;
	assert_int_equal(vfc_state(&c, STOP_COPY), 0);
	len = read_all(&c, saved, 65536);
	assert_int_equal(vfc_state(&c, RUNNING), 0);
	for (int way = 0; way < 4; way++) {
		uint16_t command = PCI_COMMAND_MEMORY;

		vfc_put(&c, 0, EP_SCRATCH, 0x77);
		assert_int_equal(vfc_state(&c, RESUMING), 0);
		if (way == 1)
			assert_int_equal(mig_write(&c, saved, (uint32_t)len - 1), 0);
		if (way == 2)
			assert_int_equal(mig_write(&c, (const uint8_t *)"nonsense", 8), 0);
		if (way == 3) {
			assert_int_equal(mig_write(&c, saved, (uint32_t)len), 0);
			assert_int_equal(mig_write(&c, saved, 1), 0);
		}
		assert_int_equal(vfc_state(&c, RUNNING), EINVAL);
		assert_int_equal(state_of(&c), ERROR);
		assert_int_equal(vfc_state(&c, RUNNING), EINVAL);
		assert_int_equal(vfc_state(&c, STOP), EINVAL);
		assert_int_equal(dev->scratch, 0x77);
		assert_true(dev->stopped);
		assert_int_equal(vfc_ask(&c, VFU_DEVICE_RESET, NULL, 0, NULL, 0), 0);
		assert_int_equal(state_of(&c), RUNNING);
		assert_false(dev->stopped);
		vfc_rw(&c, true, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2);
	}
}

static void test_data_refused(void **state)
{
	struct vfu_mig_data d;
	static uint8_t much[VFU_MAX_XFER];

	(void)state;
	/* In states that have none. */
	assert_int_equal(mig_read(&c, much, 10), -EINVAL);
	assert_int_equal(mig_write(&c, much, 10), EINVAL);
	assert_int_equal(vfc_state(&c, RESUMING), 0);
	assert_int_equal(mig_read(&c, much, 10), -EINVAL);
	/* A size that is not that of the data. */
	d = (struct vfu_mig_data){ 16, 8 };
	assert_int_equal(vfc_ask(&c, VFU_MIG_DATA_WRITE, &d, sizeof(d), NULL, 0), EINVAL);
	d.size = UINT32_MAX;
	assert_int_equal(vfc_ask(&c, VFU_MIG_DATA_WRITE, &d, sizeof(d), NULL, 0), EINVAL);
	/* Without end. */
	for (int i = 0; i < 4; i++)
		assert_int_equal(mig_write(&c, much, sizeof(much)), 0);
	assert_int_equal(mig_write(&c, much, 1), E2BIG);
	assert_int_equal(vfc_ask(&c, VFU_DEVICE_RESET, NULL, 0, NULL, 0), 0);

	assert_int_equal(vfc_state(&c, STOP_COPY), 0);
	assert_int_equal(mig_write(&c, much, 10), EINVAL);
	d = (struct vfu_mig_data){ UINT32_MAX, UINT32_MAX };
	assert_int_equal(vfc_ask(&c, VFU_MIG_DATA_READ, &d, sizeof(d), NULL, 0), EINVAL);
	d = (struct vfu_mig_data){ 17, 10 };
	assert_int_equal(vfc_ask(&c, VFU_MIG_DATA_READ, &d, sizeof(d), NULL, 0), EINVAL);
	d = (struct vfu_mig_data){ 7, 0 };
	assert_int_equal(vfc_ask(&c, VFU_MIG_DATA_READ, &d, sizeof(d), NULL, 0), EINVAL);
}

/* The dirty log. */

static int log_start(uint64_t page_size, uint32_t n, const uint64_t *ranges)
{
	uint8_t buf[16 + 64] = { 0 };

	memcpy(buf, &page_size, 8);
	memcpy(buf + 8, &n, 4);
	if (n > 0 && n <= 4)
		memcpy(buf + 16, ranges, n * 16);
	return vfc_feature(&c, VFIO_DEVICE_FEATURE_DMA_LOGGING_START | SET, 64, buf,
			   16 + (n <= 4 ? n : 0) * 16);
}

static int log_report(uint64_t iova, uint64_t len, uint64_t page_size, uint32_t argsz)
{
	const uint64_t r[3] = { iova, len, page_size };

	return vfc_feature(&c, VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT | GET, argsz, r, sizeof(r));
}

/* How many bits are set in the last report, and whether @page is. */
static unsigned int bits(uint64_t page, bool *set)
{
	unsigned int n = 0;

	*set = false;
	for (uint32_t i = 32; i < c.reply_len; i++)
		n += (unsigned int)__builtin_popcount(c.reply[i]);
	if (32 + page / 8 < c.reply_len)
		*set = c.reply[32 + page / 8] >> (page % 8) & 1;
	return n;
}

static void expect(uint64_t iova, uint64_t len, uint64_t page_size, unsigned int n, uint64_t page)
{
	uint32_t argsz;
	bool set;

	assert_int_equal(log_report(iova, len, page_size, 1 << 20), 0);
	memcpy(&argsz, c.reply, 4);
	assert_int_equal(argsz, c.reply_len);
	assert_int_equal((c.reply_len - 32) % 8, 0);
	assert_int_equal((c.reply_len - 32) / 8, ((len - 1) / page_size + 64) / 64);
	assert_int_equal(bits(page, &set), n);
	if (n > 0)
		assert_true(set);
}

static void test_log(void **state)
{
	uint64_t page_size;

	(void)state;
	/* Before it is on nothing is logged, and nothing can be asked. */
	assert_int_equal(vfc_dma(&c, VFC_ADDR, 4096, true), 0);
	assert_int_equal(log_report(VFC_ADDR, VFC_MEM, 4096, 1 << 20), EINVAL);
	assert_int_equal(log_start(4096, 0, NULL), 0);
	expect(VFC_ADDR, VFC_MEM, 4096, 0, 0);
	/* Writes, not reads; cleared by being reported. */
	assert_int_equal(vfc_dma(&c, VFC_ADDR + 0x5000, 100, false), 0);
	assert_int_equal(vfc_dma(&c, VFC_ADDR + 0x3800, 0x1000, true), 0);
	expect(VFC_ADDR, VFC_MEM, 4096, 2, 4);
	expect(VFC_ADDR, VFC_MEM, 4096, 0, 0);
	/* Only what was asked for is cleared. */
	assert_int_equal(vfc_dma(&c, VFC_ADDR + 0x1000, 1, true), 0);
	assert_int_equal(vfc_dma(&c, VFC_ADDR + 0x9000, 1, true), 0);
	expect(VFC_ADDR + 0x9000, 0x1000, 4096, 1, 0);
	expect(VFC_ADDR, VFC_MEM, 4096, 1, 1);
	assert_int_equal(vfc_dma(&c, VFC_ADDR + 0x1000, 1, true), 0);
	assert_int_equal(vfc_dma(&c, VFC_ADDR + 0x9000, 1, true), 0);
	expect(VFC_ADDR, 0x9000, 4096, 1, 1);
	expect(VFC_ADDR, VFC_MEM, 4096, 1, 9);
	/* In larger pages. */
	assert_int_equal(vfc_dma(&c, VFC_ADDR + 0x100000 - 0x1000, 0x2000, true), 0);
	expect(VFC_ADDR, VFC_MEM, 0x100000, 2, 1);
	/* Off, and on again from the beginning. */
	assert_int_equal(vfc_dma(&c, VFC_ADDR, 1, true), 0);
	assert_int_equal(vfc_feature(&c, VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP | SET, 8, NULL, 0),
			 0);
	assert_int_equal(log_report(VFC_ADDR, VFC_MEM, 4096, 1 << 20), EINVAL);
	assert_int_equal(log_start(65536, 0, NULL), 0);
	memcpy(&page_size, c.reply + 8, 8);
	assert_int_equal(page_size, 4096); /* what we do instead */
	expect(VFC_ADDR, VFC_MEM, 4096, 0, 0);
	/* It goes with the client that wanted it. */
	vfc_begin(&c);
	assert_int_equal(log_report(VFC_ADDR, VFC_MEM, 4096, 1 << 20), EINVAL);
	assert_int_equal(log_start(4096, 0, NULL), 0);
	expect(VFC_ADDR, VFC_MEM, 4096, 0, 0);
}

/* A neighbour writes into buffers that the device lends. */
static void test_log_lease(void **state)
{
	struct twx_backend *hub;
	struct twx_port *peer;
	struct twx_lease lease;
	struct twx_meta meta = { 0 };

	(void)state;
	assert_int_equal(log_start(4096, 0, NULL), 0);
	assert_int_equal(twx_backend_new(&hub, bench.net, "hubport,id=h0,hubid=0", &bench.e), 0);
	peer = hub->ports[0];
	twx_port_unpair(peer);
	assert_int_equal(twx_port_pair(peer, bench.nic->ports[0], &bench.e), 0);
	vfc_put(&c, 0, EP_ADDR_LO, (uint32_t)VFC_ADDR + 0x7f00);
	vfc_put(&c, 0, EP_LEN, 0x1000);
	assert_int_equal(bench.nic->ports[0]->ops->reserve(bench.nic->ports[0], 64, 1500, &lease),
			 0);
	memset(lease.iov[0].iov_base, 0xee, 600);
	bench.nic->ports[0]->ops->commit(bench.nic->ports[0], &lease, 600, &meta);
	assert_int_equal(c.mem[0x7f00], 0xee);
	expect(VFC_ADDR, VFC_MEM, 4096, 2, 8);
}

/* Memory that comes while the log is on, far away, is covered; what goes is still asked for. */
static void test_log_and_maps(void **state)
{
	const uint64_t far = 1ull << 40;

	(void)state;
	assert_int_equal(log_start(4096, 0, NULL), 0);
	assert_int_equal(vfc_map(&c, far, 0x4000, 0, VFC_RW, c.memfd), 0);
	assert_int_equal(vfc_dma(&c, far + 0x2000, 16, true), 0);
	assert_int_equal(vfc_dma(&c, VFC_ADDR + 0x2000, 16, true), 0);
	assert_int_equal(vfc_unmap(&c, far, 0x4000, 0), 0);
	expect(far, 0x4000, 4096, 1, 2);
	expect(VFC_ADDR, VFC_MEM, 4096, 1, 2);
	/* Beyond what a log can cover: refused rather than forgotten. */
	assert_int_equal(vfc_map(&c, 1ull << 50, 0x1000, 0, VFC_RW, c.memfd), E2BIG);
	assert_int_equal(vfc_feature(&c, VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP | SET, 8, NULL, 0),
			 0);
	assert_int_equal(vfc_map(&c, 1ull << 50, 0x1000, 0, VFC_RW, c.memfd), 0);
	assert_int_equal(log_start(4096, 0, NULL), E2BIG);
}

static void test_log_refused(void **state)
{
	static const uint64_t ok[] = { VFC_ADDR, VFC_MEM, 0, 4096 };
	static const uint64_t wraps[] = { UINT64_MAX, 2 };
	static const uint64_t empty[] = { VFC_ADDR, 0 };

	(void)state;
	assert_int_equal(log_start(0, 0, NULL), EINVAL);
	assert_int_equal(log_start(4097, 0, NULL), EINVAL);
	assert_int_equal(log_start(4096, 1, wraps), EINVAL);
	assert_int_equal(log_start(4096, 1, empty), EINVAL);
	assert_int_equal(log_start(4096, 1000, NULL), EINVAL); /* ranges that are not there */
	assert_int_equal(log_start(4096, UINT32_MAX, NULL), EINVAL);
	assert_int_equal(log_start(4096, 0x10000000, NULL), EINVAL); /* times 16 it is 0 again */
	assert_int_equal(log_start(4096, 2, ok), 0);
	assert_int_equal(log_start(4096, 2, ok), EINVAL); /* on already */

	assert_int_equal(log_report(VFC_ADDR, VFC_MEM, 0, 1 << 20), EINVAL);
	assert_int_equal(log_report(VFC_ADDR, VFC_MEM, 2048, 1 << 20), EINVAL);
	assert_int_equal(log_report(VFC_ADDR, VFC_MEM, 12288, 1 << 20), EINVAL);
	assert_int_equal(log_report(VFC_ADDR + 1, 4096, 4096, 1 << 20), EINVAL);
	assert_int_equal(log_report(VFC_ADDR, 0, 4096, 1 << 20), EINVAL);
	assert_int_equal(log_report(UINT64_MAX & ~4095ull, 8192, 4096, 1 << 20), EINVAL);
	assert_int_equal(log_report(0, UINT64_MAX, 4096, UINT32_MAX), E2BIG);
	assert_int_equal(log_report(0, 1ull << 36, 4096, UINT32_MAX), E2BIG);
	assert_int_equal(log_report(0, 1ull << 41, 1ull << 30, UINT32_MAX), E2BIG);
	assert_int_equal(log_report(0, 1ull << 40, 1ull << 63, 1 << 20), 0);
}

/* With too little room the log is neither reported nor cleared. */
static void test_log_room(void **state)
{
	uint32_t argsz;

	(void)state;
	assert_int_equal(log_start(4096, 0, NULL), 0);
	assert_int_equal(vfc_dma(&c, VFC_ADDR, 1, true), 0);
	for (uint32_t room = 8; room < 32 + VFC_MEM / 4096 / 8; room += 7) {
		assert_int_equal(log_report(VFC_ADDR, VFC_MEM, 4096, room), 0);
		assert_int_equal(c.reply_len, 8);
		memcpy(&argsz, c.reply, 4);
		assert_int_equal(argsz, 32 + VFC_MEM / 4096 / 8);
	}
	expect(VFC_ADDR, VFC_MEM, 4096, 1, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_probe, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_states, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_stopped, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_gone_while_stopped, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_save_and_load, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_load_level, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_bad_data, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_data_refused, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_log, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_log_lease, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_log_and_maps, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_log_refused, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_log_room, open_bench, close_bench),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
