/* SPDX-License-Identifier: BSD-3-Clause */
/* vhost-user memory: tables, slots, changes under traffic, and the dirty log of a migration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/virtio_ring.h>
#include <cmocka.h>

#include "vhost_client.h"

static struct vbench bench;
static struct vc client;

static int open_bench(void **state)
{
	(void)state;
	if (vbench_open(&bench, VC_FORM) < 0)
		fail_msg("%s", bench.e.what);
	vc_init(&client, &bench);
	return 0;
}

static int close_bench(void **state)
{
	(void)state;
	vc_fini(&client);
	vbench_close(&bench);
	return 0;
}

static int maps(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];
	int n = 0;

	while (fgets(line, sizeof(line), f) != NULL)
		n += strstr(line, "memfd:guest") != NULL;
	fclose(f);
	return n;
}

static int slot(struct vc *c, uint32_t request, struct vu_region r, int n_fds)
{
	union vu_payload p = { .slot = { 0, r } };

	return vc_ask(c, request, &p, 40, &c->memfd, n_fds);
}

static int table(struct vc *c, const struct vu_region *r, uint32_t n, int n_fds)
{
	union vu_payload p = { .table = { n, 0, { { 0 } } } };
	int fds[8];

	for (int i = 0; i < 8; i++)
		fds[i] = c->memfd;
	for (uint32_t i = 0; i < n && i < 2; i++)
		p.table.regions[i] = r[i];
	return vc_ask(c, VU_SET_MEM_TABLE, &p, 8 + (n < 8 ? n : 8) * 32, fds, n_fds);
}

static void begin(struct vc *c)
{
	vc_connect(c);
	vc_features(c);
}

#define HALF (VC_MEM / 2)
static const struct vu_region low = { VC_GPA, HALF, VC_USER, 0 };
static const struct vu_region high = { VC_GPA + HALF, HALF, VC_USER + HALF, HALF };

static void test_bad_tables(void **state)
{
	static const struct { struct vu_region r[2]; uint32_t n; int fds; } bad[] = {
		{ { { VC_GPA, 0, VC_USER, 0 } }, 1, 1 },			   /* empty */
		{ { { VC_GPA, VC_MEM + 4096, VC_USER, 0 } }, 1, 1 },		   /* longer than the file */
		{ { { VC_GPA, VC_MEM, VC_USER, 4096 } }, 1, 1 },		   /* offset + size beyond it */
		{ { { VC_GPA, 4096, VC_USER, ~0ull - 4095 } }, 1, 1 },		   /* offset wraps */
		{ { { ~0ull - 4095, 8192, VC_USER, 0 } }, 1, 1 },		   /* guest address wraps */
		{ { { VC_GPA, 4096, ~0ull - 1, 0 } }, 1, 1 },			   /* user address wraps */
		{ { { VC_GPA, 8192, VC_USER, 0 }, { VC_GPA + 4096, 8192, VC_USER + 8192, 0 } }, 2, 2 },
		{ { { VC_GPA, 8192, VC_USER, 0 }, { VC_GPA, 8192, VC_USER, 0 } }, 2, 2 },
		{ { { VC_GPA, 8192, VC_USER, 0 } }, 1, 2 },			   /* fds and regions disagree */
		{ { { VC_GPA, 8192, VC_USER, 0 } }, 1, 0 },
		{ { { 0 } }, 9, 8 },
		{ { { 0 } }, 0xffffffff, 8 },
		{ { { 0 } }, 0x20000001, 1 },
	};
	int before, before_maps;

	(void)state;
	vc_handshake(&client);
	before = open_fds();
	before_maps = maps();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (table(&client, bad[i].r, bad[i].n, bad[i].fds) != 1)
			fail_msg("table %zu accepted", i);
		/* The former table is still the one in force. */
		assert_true(vc_echo(&client));
	}
	assert_int_equal(open_fds(), before);
	assert_int_equal(maps(), before_maps);
}

/* A table larger than said, as user-mode Linux sends it. */
static void test_roomy_table(void **state)
{
	union vu_payload p = { .table = { 1, 0, { { VC_GPA, VC_MEM, VC_USER, 0 } } } };

	(void)state;
	vc_handshake(&client);
	assert_int_equal(vc_ask(&client, VU_SET_MEM_TABLE, &p, 8 + 64, &client.memfd, 1), 0);
	assert_true(vc_echo(&client));
}

static void test_table_changes_under_traffic(void **state)
{
	int before_maps, before;

	(void)state;
	vc_handshake(&client);
	before = open_fds();
	before_maps = maps();
	for (uint32_t i = 0; i < 100; i++) {
		/* Offered before the change, taken after it. */
		vc_offer(&client, 0, VC_GPA + VC_BUF + 0x80000, 2048, true);
		assert_int_equal(vc_mem_table(&client, 1 + i % 2), 0);
		vc_offer(&client, 1, VC_GPA + VC_BUF + 0x90000, 64, false);
		vc_kick(&client, 1);
		assert_true(vc_used(&client, 0, NULL));
		assert_true(vc_used(&client, 1, NULL));
		assert_true(vc_echo(&client));
	}
	assert_int_equal(maps(), before_maps);
	assert_int_equal(open_fds(), before);
	assert_int_equal(bench.echo->echoed, 200);
}

/* A ring whose memory goes away stops; it starts again where it was when the memory is back. */
static void test_ring_loses_memory(void **state)
{
	(void)state;
	vc_handshake(&client);
	assert_true(vc_echo(&client));
	assert_int_equal(table(&client, &high, 1, 1), 0);
	assert_false(virtio_queue_running(&bench.echo->dev, 0));
	assert_false(virtio_queue_running(&bench.echo->dev, 1));
	vc_kick(&client, 1);
	assert_int_equal(table(&client, NULL, 0, 0), 0);
	vc_kick(&client, 1);
	assert_int_equal(vc_mem_table(&client, 2), 0);
	assert_true(virtio_queue_running(&bench.echo->dev, 1));
	assert_true(vc_echo(&client));
}

static void start_rings(struct vc *c)
{
	for (uint32_t q = 0; q < 2; q++) {
		assert_int_equal(vc_ring_setup(c, q), 0);
		assert_int_equal(vc_ring_kick_fd(c, q), 0);
		assert_int_equal(vc_ask_state(c, VU_SET_VRING_ENABLE, q, 1), 0);
	}
}

static void test_slots(void **state)
{
	int before_maps;

	(void)state;
	begin(&client);
	before_maps = maps();
	assert_int_equal(vc_get(&client, VU_GET_MAX_MEM_SLOTS), 512);
	assert_int_equal(slot(&client, VU_ADD_MEM_REG, low, 1), 0);
	assert_int_equal(slot(&client, VU_ADD_MEM_REG, high, 1), 0);
	/* Overlap, from either side and inside. */
	assert_int_equal(slot(&client, VU_ADD_MEM_REG, (struct vu_region){ VC_GPA + 4096, 4096, 0, 0 }, 1), 1);
	assert_int_equal(slot(&client, VU_ADD_MEM_REG, (struct vu_region){ VC_GPA - 4096, 8192, 0, 0 }, 1), 1);
	assert_int_equal(slot(&client, VU_ADD_MEM_REG, (struct vu_region){ VC_GPA, HALF, 0, 0 }, 1), 1);
	start_rings(&client);
	assert_true(vc_echo(&client));
	/* Named exactly, or not removed. */
	assert_int_equal(slot(&client, VU_REM_MEM_REG, (struct vu_region){ VC_GPA, HALF, 0, 0 }, 0), 0);
	assert_int_equal(slot(&client, VU_REM_MEM_REG, (struct vu_region){ VC_GPA, 4096, VC_USER, 0 }, 0), 0);
	assert_int_equal(slot(&client, VU_REM_MEM_REG, (struct vu_region){ 0, HALF, VC_USER, 0 }, 0), 0);
	assert_int_equal(maps(), before_maps + 2);
	assert_true(vc_echo(&client));
	/* The first of two goes, with its rings; the other stays in use. */
	assert_int_equal(slot(&client, VU_REM_MEM_REG, low, 1), 0);
	assert_false(virtio_queue_running(&bench.echo->dev, 0));
	assert_int_equal(maps(), before_maps + 1);
	assert_int_equal(slot(&client, VU_ADD_MEM_REG, low, 1), 0);
	assert_true(vc_echo(&client));
	/* The buffers' memory goes: frames end, the ring does not. */
	assert_int_equal(slot(&client, VU_REM_MEM_REG, high, 0), 0);
	assert_false(vc_echo(&client));
	assert_true(virtio_queue_running(&bench.echo->dev, 1));
	assert_int_equal(slot(&client, VU_REM_MEM_REG, low, 0), 0);
	assert_int_equal(maps(), before_maps);
	assert_true(vc_alive(&client));
}

/* QEMU says everything once for each queue pair. */
static void test_slots_repeated(void **state)
{
	int before_maps, before;

	(void)state;
	begin(&client);
	before = open_fds();
	before_maps = maps();
	for (int i = 0; i < 10; i++) {
		assert_int_equal(slot(&client, VU_ADD_MEM_REG, low, 1), 0);
		assert_int_equal(slot(&client, VU_ADD_MEM_REG, high, 1), 0);
		if (i == 0)
			start_rings(&client);
		assert_true(vc_echo(&client));
	}
	assert_int_equal(maps(), before_maps + 2);
	for (int i = 0; i < 3; i++)
		assert_int_equal(slot(&client, VU_REM_MEM_REG, low, 0), 0);
	assert_false(virtio_queue_running(&bench.echo->dev, 0));
	assert_int_equal(maps(), before_maps + 1);
	assert_true(open_fds() <= before + 4);
	assert_int_equal(slot(&client, VU_ADD_MEM_REG, low, 1), 0);
	assert_true(vc_echo(&client));
}

static void test_slots_full(void **state)
{
	int before, before_maps;

	(void)state;
	begin(&client);
	before = open_fds();
	before_maps = maps();
	for (uint64_t i = 0; i < 512; i++)
		assert_int_equal(slot(&client, VU_ADD_MEM_REG,
				      (struct vu_region){ i << 20, 4096, VC_USER + (i << 20), 0 }, 1), 0);
	assert_int_equal(slot(&client, VU_ADD_MEM_REG,
			      (struct vu_region){ 1ull << 40, 4096, 1ull << 40, 0 }, 1), 1);
	assert_int_equal(open_fds(), before);
	vc_handshake(&client);
	assert_true(vc_echo(&client));
	vc_hangup(&client);
	assert_int_equal(maps(), before_maps);
}

/* A buffer that spans two regions which touch in guest memory only. */
static void test_buffer_across_regions(void **state)
{
	uint32_t len;

	(void)state;
	vc_handshake(&client);
	vc_offer(&client, 0, VC_GPA + VC_BUF + 4096, 2048, true);
	vc_offer(&client, 1, VC_GPA + HALF - 100, 200, false);
	vc_kick(&client, 1);
	assert_true(vc_used(&client, 1, NULL));
	/* The echo takes the first iovec alone: what lies in the first region, and not a byte beyond. */
	assert_true(vc_used(&client, 0, &len));
	assert_int_equal(len, 100);
	/* Past the end of all memory: nothing. */
	vc_offer(&client, 0, VC_GPA + VC_BUF + 4096, 2048, true);
	vc_offer(&client, 1, VC_GPA + VC_MEM - 100, 200, false);
	vc_kick(&client, 1);
	assert_true(vc_used(&client, 1, NULL));
	assert_false(vc_used(&client, 0, &len));
	assert_int_equal(bench.echo->echoed, 1);
}

/* The log. */

#define LOG_OFF 4096
#define LOG_SIZE 4096 /* bits for 128 MiB */
static int log_fd;
static uint8_t *log_map;

static void log_open(struct vc *c)
{
	union vu_payload p = { .log = { LOG_SIZE, LOG_OFF } };

	log_fd = memfd_create("log", MFD_CLOEXEC);
	assert_int_equal(ftruncate(log_fd, LOG_OFF + LOG_SIZE), 0);
	log_map = mmap(NULL, LOG_OFF + LOG_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, log_fd, 0);
	vc_send(c, VU_SET_LOG_BASE, 0, &p, 16, &log_fd, 1);
	assert_int_equal(vc_reply(c), 1);
	assert_int_equal(c->head.request, VU_SET_LOG_BASE);
}

static void log_close(void)
{
	munmap(log_map, LOG_OFF + LOG_SIZE);
	close(log_fd);
}

/* Whether a guest page is marked; clears the mark, as a migration does. */
static bool dirty(uint64_t gpa_addr)
{
	uint64_t page = gpa_addr / 4096;
	uint8_t *byte = &log_map[LOG_OFF + page / 8], bit = (uint8_t)(1u << (page % 8));
	bool was = (*byte & bit) != 0;

	*byte &= (uint8_t)~bit;
	return was;
}

static bool log_empty(void)
{
	for (int i = 0; i < LOG_OFF + LOG_SIZE; i++)
		if (log_map[i] != 0)
			return false;
	return true;
}

static void set_logging(struct vc *c, bool on)
{
	uint64_t f = vc_echo_features(c) | VU_F_PROTOCOL_FEATURES;

	assert_int_equal(vc_ask_u64(c, VU_SET_FEATURES, on ? f | VU_F_LOG_ALL : f), 0);
	for (uint32_t q = 0; q < 2; q++) {
		struct vhost_vring_addr a = vc_addr(q);

		a.flags = on ? VU_BIT(VHOST_VRING_F_LOG) : 0;
		a.log_guest_addr = a.used_user_addr - VC_USER + VC_GPA;
		assert_int_equal(vc_ask(c, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	}
}

static bool echo_dirties(struct vc *c)
{
	uint64_t slot_at = VC_GPA + VC_BUF + (uint64_t)(c->q[1].avail % VC_NUM) * 4096;
	bool rx, used;

	assert_true(vc_echo(c));
	rx = dirty(slot_at + 2048);
	used = dirty(vc_addr(0).used_user_addr - VC_USER + VC_GPA);
	used &= dirty(vc_addr(1).used_user_addr - VC_USER + VC_GPA);
	if (VC_PACKED) {
		used &= dirty(vc_addr(0).desc_user_addr - VC_USER + VC_GPA);
		used &= dirty(vc_addr(1).desc_user_addr - VC_USER + VC_GPA);
	}
	assert_int_equal(rx, used);
	return rx;
}

static void test_log(void **state)
{
	(void)state;
	vc_handshake(&client);
	log_open(&client);
	assert_false(echo_dirties(&client));
	set_logging(&client, true);
	for (int i = 0; i < 10; i++)
		assert_true(echo_dirties(&client));
	/* The log is marked inside its window of the file, and only for what was written. */
	assert_true(log_empty());
	set_logging(&client, false);
	assert_false(echo_dirties(&client));
	assert_true(log_empty());
	set_logging(&client, true);
	assert_true(echo_dirties(&client));
	assert_int_equal(bench.echo->starts[0], 1);
	log_close();
}

/* QEMU replaces the log when guest memory grows; the old one must not be written after the reply. */
static void test_log_replaced(void **state)
{
	uint8_t *former;

	(void)state;
	vc_handshake(&client);
	log_open(&client);
	set_logging(&client, true);
	assert_true(echo_dirties(&client));
	former = log_map;
	close(log_fd);
	log_open(&client);
	assert_true(echo_dirties(&client));
	assert_true(log_empty());
	munmap(former, LOG_OFF + LOG_SIZE);
	log_close();
}

static void test_bad_logs(void **state)
{
	static const struct { uint64_t size, off; } bad[] = {
		{ 0, 0 }, { VC_MEM + 1, 0 }, { 1, VC_MEM }, { 4096, VC_MEM - 4095 },
		{ ~0ull, 0 }, { ~0ull, 1 }, { 4096, ~0ull }, { 4096, ~0ull - 4095 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		union vu_payload p = { .log = { bad[i].size, bad[i].off } };

		begin(&client);
		vc_send(&client, VU_SET_LOG_BASE, 0, &p, 16, &client.memfd, 1);
		assert_false(vc_alive(&client));
	}
	/* Without LOG_SHMFD's fd there is nothing that could be mapped. */
	begin(&client);
	vc_send(&client, VU_SET_LOG_BASE, 0, &bad[0], 16, NULL, 0);
	assert_false(vc_alive(&client));
}

/* A log too small for the memory: no write outside of it. */
static void test_log_too_small(void **state)
{
	union vu_payload p = { .log = { 1, 0 } };

	(void)state;
	vc_handshake(&client);
	log_open(&client);
	vc_send(&client, VU_SET_LOG_BASE, 0, &p, 16, &log_fd, 1);
	assert_int_equal(vc_reply(&client), 1);
	set_logging(&client, true);
	assert_true(vc_echo(&client));
	assert_true(log_empty());
	log_close();
}

#define T(name) cmocka_unit_test_setup_teardown(test_##name, open_bench, close_bench)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(bad_tables), T(roomy_table), T(table_changes_under_traffic), T(ring_loses_memory),
		T(slots), T(slots_repeated), T(slots_full), T(buffer_across_regions), T(log), T(log_replaced),
		T(bad_logs), T(log_too_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
