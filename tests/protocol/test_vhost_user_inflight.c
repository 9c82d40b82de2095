/* SPDX-License-Identifier: BSD-3-Clause */
/* vhost-user inflight areas: handed out, taken back, kept true, and resumed from after a back end's
 * death. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/virtio_ring.h>
#include <cmocka.h>

#include "vhost_client.h"

#define QUEUES 2
#define REGION 1088 /* 16 + 64 * 16, rounded to 64 */

static struct vbench bench;
static struct vc client;

/* As the front end keeps it over the death of back ends. */
static struct area {
	int fd;
	uint64_t size, off;
	uint8_t *map;
} area;

static int open_bench(void **state)
{
	(void)state;
	if (vbench_open(&bench, NULL) < 0)
		fail_msg("%s", bench.e.what);
	vc_init(&client, &bench);
	area = (struct area){ .fd = -1 };
	return 0;
}

static int close_bench(void **state)
{
	(void)state;
	client.keep = false;
	vc_fini(&client);
	vbench_close(&bench);
	if (area.map != NULL)
		munmap(area.map, area.size);
	if (area.fd >= 0)
		close(area.fd);
	return 0;
}

static int get_area(uint16_t n_queues, uint16_t queue_size, uint32_t len)
{
	union vu_payload p = { .inflight = { 0, 0, n_queues, queue_size } };

	vc_send(&client, VU_GET_INFLIGHT_FD, 0, &p, len, NULL, 0);
	return vc_reply(&client);
}

static int set_area(uint64_t size, uint64_t off, uint16_t n_queues, uint16_t queue_size, int fd)
{
	union vu_payload p = { .inflight = { size, off, n_queues, queue_size } };

	return vc_ask(&client, VU_SET_INFLIGHT_FD, &p, 24, &fd, 1);
}

static int give_area(void)
{
	return set_area(area.size, area.off, QUEUES, VC_NUM, area.fd);
}

static struct inflight_region *region(int q)
{
	return (struct inflight_region *)(void *)(area.map + q * REGION);
}

static void begin(void)
{
	vc_connect(&client);
	vc_features(&client);
	assert_int_equal(vc_mem_table(&client, 2), 0);
}

/* The first time an area is asked for, later the same one is given back. */
static void begin_with_area(void)
{
	begin();
	if (area.fd < 0) {
		assert_int_equal(get_area(QUEUES, VC_NUM, 24), 1);
		area.size = client.reply.inflight.size;
		area.off = client.reply.inflight.off;
		area.fd = fcntl(client.reply_fd, F_DUPFD_CLOEXEC, 3);
		assert_int_equal(area.off, 0);
		area.map = mmap(NULL, area.size, PROT_READ | PROT_WRITE, MAP_SHARED, area.fd, 0);
		assert_true(area.map != MAP_FAILED);
	}
	assert_int_equal(give_area(), 0);
}

static int start_ring(uint32_t q)
{
	int bad = vc_ring_setup(&client, q);

	/* What cloud-hypervisor says whenever it connects: all that the guest has offered is behind
	 * us. */
	bad |= vc_ask_state(&client, VU_SET_VRING_BASE, q, client.q[q].avail);
	bad |= vc_ring_kick_fd(&client, q);
	return bad | vc_ask_state(&client, VU_SET_VRING_ENABLE, q, 1);
}

static void start(void)
{
	begin_with_area();
	assert_int_equal(start_ring(0), 0);
	assert_int_equal(start_ring(1), 0);
}

/* The back end dies: nothing of the connection is ended in good order, the guest does not notice.
 */
static void die(void)
{
	client.keep = true;
	vc_hangup(&client);
}

static unsigned int n_inflight(int q)
{
	unsigned int n = 0;

	for (int i = 0; i < VC_NUM; i++)
		n += region(q)->desc[i].inflight;
	return n;
}

/* The guest sends a frame: the echo takes the next receive buffer, whose head comes back. */
static int next_used(void)
{
	struct vring_used *used = (void *)(client.mem + 0x2000);
	uint16_t slot = client.q[0].used % VC_NUM;

	vc_offer(&client, 1, VC_GPA + VC_BUF, 100, false);
	vc_kick(&client, 1);
	(void)vc_used(&client, 1, NULL);
	return vc_used(&client, 0, NULL) ? (int)used->ring[slot].id : -1;
}

static void test_get(void **state)
{
	static const uint32_t lens[] = {
		20, 24
	}; /* by the specification's count, and by the compiler's */
	int before;

	(void)state;
	begin();
	before = open_fds();
	for (int i = 0; i < 2; i++) {
		struct inflight_region first;
		struct stat st;

		assert_int_equal(get_area(5, 128, lens[i]), 1);
		assert_int_equal(client.head.request, VU_GET_INFLIGHT_FD);
		assert_int_equal(client.head.size, lens[i]);
		assert_int_equal(client.reply.inflight.size, 5 * 2112);
		assert_int_equal(client.reply.inflight.off, 0);
		assert_int_equal(client.reply.inflight.n_queues, 5);
		assert_int_equal(client.reply.inflight.queue_size, 128);
		assert_int_equal(fstat(client.reply_fd, &st), 0);
		assert_int_equal(st.st_size, 5 * 2112);
		/* Neither side can take memory away from the other. */
		assert_int_equal(ftruncate(client.reply_fd, 0), -1);
		assert_int_equal(ftruncate(client.reply_fd, 1 << 20), -1);
		assert_int_equal(pread(client.reply_fd, &first, sizeof(first), 0), sizeof(first));
		assert_int_equal(first.version, 0);
	}
	/* The answer's fd is the only one: the back end keeps none. */
	assert_int_equal(open_fds(), before + 1);
	assert_int_equal(get_area(1, 32768, 24), 1);
	assert_int_equal(client.reply.inflight.size, 32768 * 16 + 64);
}

/* No answer can say no to what makes no sense. */
static void test_get_refused(void **state)
{
	static const struct {
		uint16_t n, size;
		uint32_t len;
	} bad[] = {
		{ 0, 64, 24 },	    { ECHO_QUEUES + 1, 64, 24 },
		{ 0xffff, 64, 24 }, { 0xffff, 0xffff, 24 },
		{ 2, 0, 24 },	    { 2, 32769, 24 },
		{ 2, 0xffff, 24 },  { 2, 64, 19 },
		{ 2, 64, 22 },	    { 2, 64, 25 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		begin();
		assert_int_equal(get_area(bad[i].n, bad[i].size, bad[i].len), -1);
	}
	vc_handshake(&client);
	assert_true(vc_echo(&client));
}

/* An fd that is no memory, or not for writing. */
static void refuse_fd(int fd)
{
	assert_true(fd >= 0);
	assert_int_equal(set_area(2 * REGION, 0, 2, 64, fd), 1);
	close(fd);
}

static void test_set_refused(void **state)
{
	static const struct {
		uint64_t size, off;
		uint16_t n, num;
	} bad[] = {
		{ 2 * REGION - 1, 0, 2, 64 },
		{ 0, 0, 2, 64 },
		{ 2 * REGION, 0, 2, 68 },
		{ 2 * REGION, 4, 2, 64 },
		{ 2 * REGION, 1, 2, 64 },
		{ 2 * REGION, ~7ull, 2, 64 },
		{ 2 * REGION, 1ull << 63, 2, 64 },
		{ 2 * REGION, VC_MEM - REGION, 2, 64 },
		{ ~0ull, 0, 0xffff, 0xffff },
		{ ~0ull, 0, 0, 64 },
		{ ~0ull, 0, ECHO_QUEUES + 1, 64 },
		{ ~0ull, 0, 2, 0 },
		{ ~0ull, 0, 2, 32769 },
		{ ~0ull, 0, 5, 32768 }, /* more than the file has */
	};
	char path[64];

	(void)state;
	vc_handshake(&client);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(
			set_area(bad[i].size, bad[i].off, bad[i].n, bad[i].num, client.memfd), 1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", client.memfd);
	refuse_fd(open(path, O_RDONLY));
	refuse_fd(open("/dev/zero", O_RDWR));
	refuse_fd(open("/", O_RDONLY));
	refuse_fd(dup(client.q[2].call));
	assert_true(vc_echo(&client));
	/* And one at an offset that is no page's. */
	assert_int_equal(set_area(2 * REGION, VC_BUF + 0x80008, 2, 64, client.memfd), 0);
	assert_true(vc_echo(&client));
	assert_int_equal(*(uint16_t *)(client.mem + VC_BUF + 0x80008 + 8), INFLIGHT_VERSION);
}

/* Rings complete in order, so nothing is ever in flight; the used index is kept up with. */
static void test_record(void **state)
{
	(void)state;
	start();
	for (int q = 0; q < QUEUES; q++) {
		assert_int_equal(region(q)->version, INFLIGHT_VERSION);
		assert_int_equal(region(q)->desc_num, VC_NUM);
	}
	for (int i = 0; i < 200; i++) {
		assert_true(vc_echo(&client));
		assert_int_equal(region(0)->used_idx, i + 1);
		assert_int_equal(region(1)->used_idx, i + 1);
	}
	for (int i = 0; i < 10; i++)
		vc_offer(&client, 0, VC_GPA + VC_BUF, 2048, true);
	vc_kick(&client, 0);
	assert_int_equal(n_inflight(0), 0);
	assert_int_equal(n_inflight(1), 0);
	assert_int_equal(region(0)->used_idx, 200);
}

/* Our guest offers descriptor n in slot n. */
static void assert_next_in_order(void)
{
	int want = client.q[0].used % VC_NUM;

	assert_int_equal(next_used(), want);
}

/* A death with buffers taken: they are the first that the successor uses, whatever the front end
 * says of the base. */
static void test_death(void **state)
{
	(void)state;
	start();
	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < 5; i++)
			vc_offer(&client, 0, VC_GPA + VC_BUF, 2048, true);
		vc_kick(&client, 0);
		assert_next_in_order();
		die();
		start();
		for (int i = 0; i < 4; i++)
			assert_next_in_order();
		assert_int_equal(next_used(), -1);
	}
	assert_int_equal(bench.echo->echoed, 50 * 5);
}

/*
 * What a back end leaves behind that completes out of order: used index 60, heads 2, 7, 5 taken in
 * this order and in its hands; the guest has used their avail slots again and offered 8 to 11 on
 * top.
 */
static void predecessor(void)
{
	struct vring_desc *desc = (void *)client.mem;
	struct vring_avail *avail = (void *)(client.mem + 0x1000);
	struct vring_used *used = (void *)(client.mem + 0x2000);
	struct inflight_region *r = region(0);

	client.keep = true;
	for (uint16_t i = 0; i < VC_NUM; i++) {
		desc[i] = (struct vring_desc){ .addr = VC_GPA + VC_BUF + 0x1000,
					       .len = 2048,
					       .flags = VRING_DESC_F_WRITE };
		avail->ring[i] = 33;
	}
	for (uint16_t i = 0; i < 4; i++)
		avail->ring[(63 + i) % VC_NUM] = (uint16_t)(8 + i);
	used->idx = client.q[0].used = 60;
	avail->idx = client.q[0].avail = 67;
	*r = (struct inflight_region){ .version = 1, .desc_num = VC_NUM, .used_idx = 60 };
	r->desc[5] = (struct inflight_desc){ .inflight = 1, .counter = 30 };
	r->desc[2] = (struct inflight_desc){ .inflight = 1, .counter = 10 };
	r->desc[7] = (struct inflight_desc){ .inflight = 1, .counter = 20 };
}

/* A running area, a dead back end, and the ring as another one would have left it. */
static void succeed(void)
{
	start();
	die();
	predecessor();
}

static void assert_used(const int *want, int n)
{
	for (int i = 0; i < n; i++)
		assert_int_equal(next_used(), want[i]);
}

static void test_resubmitted(void **state)
{
	static const int want[] = { 2, 7, 5, 8, 9, 10, 11, -1 };

	(void)state;
	succeed();
	start();
	assert_non_null(
		strstr(bench.log, "queue 0: 3 chains of a former back end are taken again"));
	for (int i = 0; i < 8; i++) {
		assert_int_equal(n_inflight(0), i < 3 ? 3 - i : 0);
		assert_int_equal(next_used(), want[i]);
		assert_int_equal(region(0)->used_idx, client.q[0].used);
	}
	/* Past them the ring is one like any other, once around as well. */
	for (int i = 0; i < 200; i++)
		assert_true(vc_echo(&client));
}

/* Again and again, with one buffer used each time. */
static void test_resubmitted_over_deaths(void **state)
{
	static const int want[] = { 2, 7, 5, 8, 9, 10, 11 };

	(void)state;
	succeed();
	for (int i = 0; i < 7; i++) {
		start();
		assert_used(want + i, 1);
		die();
	}
	start();
	assert_used((int[]){ -1 }, 1);
}

/* The connection stays: memory table, area, and ring are set again in the middle of it. */
static void test_resubmitted_over_changes(void **state)
{
	static const int want[] = { 2, 7, 5, 8, 9, 10, 11, -1 };
	struct vhost_vring_state s = { 0, 0 };
	struct vhost_vring_addr a = vc_addr(0);

	(void)state;
	succeed();
	start();
	assert_used(want, 1);
	assert_int_equal(vc_mem_table(&client, 1), 0);
	assert_used(want + 1, 1);
	assert_int_equal(give_area(), 0);
	assert_int_equal(vc_ask(&client, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	vc_send(&client, VU_GET_VRING_BASE, 0, &s, sizeof(s), NULL, 0);
	assert_int_equal(vc_reply(&client), 1);
	assert_int_equal(client.reply.state.num, 62);
	assert_int_equal(n_inflight(0), 1);
	assert_int_equal(vc_ask_state(&client, VU_SET_VRING_BASE, 0, 62), 0);
	assert_int_equal(vc_ring_kick_fd(&client, 0), 0);
	assert_used(want + 2, 6);
}

/* The last batch had reached the used ring: what it completed does not come a second time. */
static void test_last_batch(void **state)
{
	static const int want[] = { 7, 33, 33, 8 };

	(void)state;
	succeed();
	region(0)->used_idx = 58;
	region(0)->last_batch_head = 5;
	region(0)->desc[5].next = 2;
	start();
	assert_int_equal(n_inflight(0), 1);
	assert_used(want, 4);
}

/* A region that is another ring's, or nonsense: the ring goes on at its used index, and the log
 * says so. */
static void test_stale(void **state)
{
	static const int want[] = { 33, 33, 33, 8, 9, 10, 11, -1 };

	(void)state;
	succeed();
	region(0)->desc[40].inflight = region(0)->desc[41].inflight = 1;
	for (int i = 42; i < 50; i++)
		region(0)->desc[i].inflight = 1;
	start();
	assert_non_null(strstr(bench.log, "queue 0: its inflight region does not fit the ring"));
	assert_int_equal(n_inflight(0), 0);
	assert_used(want, 8);
}

/* Of a version that is not ours: left alone, and that ring does not run. */
static void test_unknown_version(void **state)
{
	(void)state;
	succeed();
	region(0)->version = 2;
	begin_with_area();
	assert_int_equal(start_ring(0), 1);
	assert_int_equal(start_ring(1), 0);
	assert_false(virtio_queue_running(&bench.echo->dev, 0));
	assert_true(virtio_queue_running(&bench.echo->dev, 1));
	assert_int_equal(n_inflight(0), 3);
	assert_int_equal(region(0)->used_idx, 60);
	/* A new area mends it. */
	region(0)->version = 0;
	assert_int_equal(give_area(), 0);
	assert_true(virtio_queue_running(&bench.echo->dev, 0));
}

/* For fewer queues than run, given while they run. */
static void test_some_queues(void **state)
{
	uint8_t *at = client.mem + VC_BUF + 0x80000;

	(void)state;
	vc_handshake(&client);
	assert_true(vc_echo(&client));
	memset(at, 0, REGION);
	memset(at + REGION, 0x99, REGION);
	assert_int_equal(set_area(~0ull, VC_BUF + 0x80000, 1, VC_NUM, client.memfd), 0);
	for (int i = 0; i < 100; i++)
		assert_true(vc_echo(&client));
	assert_int_equal(((struct inflight_region *)(void *)at)->used_idx, 101);
	for (int i = 0; i < REGION; i++)
		assert_int_equal(at[REGION + i], 0x99);
}

#define T(name) cmocka_unit_test_setup_teardown(test_##name, open_bench, close_bench)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(get),
		T(get_refused),
		T(set_refused),
		T(record),
		T(death),
		T(resubmitted),
		T(resubmitted_over_deaths),
		T(resubmitted_over_changes),
		T(last_batch),
		T(stale),
		T(unknown_version),
		T(some_queues),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
