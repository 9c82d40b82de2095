/* SPDX-License-Identifier: BSD-3-Clause */
/* Flaws that back ends have had with inflight areas, replayed against ours. */
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
	if (vbench_open(&bench, NULL) < 0)
		fail_msg("%s", bench.e.what);
	vc_init(&client, &bench);
	vc_handshake(&client);
	return 0;
}

static int close_bench(void **state)
{
	(void)state;
	vc_fini(&client);
	vbench_close(&bench);
	return 0;
}

/* A new front end finds the device whole. */
static void assert_works_again(void)
{
	vc_handshake(&client);
	assert_true(vc_echo(&client));
}

static int get_area(uint16_t n_queues, uint16_t queue_size, int n_fds)
{
	union vu_payload p = { .inflight = { 0, 0, n_queues, queue_size } };
	int fds[2] = { client.memfd, client.memfd };

	vc_send(&client, VU_GET_INFLIGHT_FD, VU_NEED_REPLY, &p, 24, fds, n_fds);
	return vc_reply(&client);
}

static int set_area(uint64_t size, uint16_t n_queues, uint16_t queue_size, int n_fds)
{
	union vu_payload p = { .inflight = { size, 0, n_queues, queue_size } };
	int fds[3] = { client.reply_fd, client.reply_fd, client.reply_fd };

	return vc_ask(&client, VU_SET_INFLIGHT_FD, &p, 24, fds, n_fds);
}

/* How many areas are mapped here. */
static unsigned int n_mapped(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned int n = 0;
	char line[512];

	while (fgets(line, sizeof(line), f) != NULL)
		n += strstr(line, "vhost-user inflight") != NULL;
	fclose(f);
	return n;
}

/* CVE-2020-10726: each area that is asked for, or given, leaves an fd and a mapping behind. */
static void test_2020_10726(void **state)
{
	int fds = 0;

	(void)state;
	for (int i = 0; i < 300; i++) {
		assert_int_equal(get_area(2, 256, 0), 1);
		assert_int_equal(n_mapped(), i > 0);
		assert_int_equal(set_area(client.reply.inflight.size, 2, 256, 1), 0);
		if (i == 0)
			fds = open_fds();
		assert_int_equal(open_fds(), fds);
		assert_int_equal(n_mapped(), 1);
	}
	assert_true(vc_echo(&client));
	vc_hangup(&client);
	assert_int_equal(n_mapped(), 0);
	assert_works_again();
}

/* CVE-2021-3839: more queues than there are, and an area before there are any. */
static void test_2021_3839(void **state)
{
	static const uint16_t queues[] = { 0, ECHO_QUEUES + 1, 128, 0x7fff, 0x8000, 0xffff };

	(void)state;
	for (size_t i = 0; i < sizeof(queues) / sizeof(queues[0]); i++) {
		vc_connect(&client);
		vc_features(&client);
		assert_int_equal(get_area(3, 64, 0), 1);
		assert_int_equal(set_area(3 * 1088, queues[i], 64, 1), 1);
		assert_int_equal(set_area(~0ull, queues[i], 64, 1), 1);
		assert_int_equal(set_area(~0ull, 3, 0xffff, 1), 1);
		assert_int_equal(set_area(3 * 1088, 3, 64, 1), 0);
		assert_int_equal(get_area(queues[i], 64, 0), -1);
	}
	assert_works_again();
}

/* CVE-2022-0669: fds where none belong, and none where one does. */
static void test_2022_0669(void **state)
{
	int before;

	(void)state;
	vc_handshake(&client);
	before = open_fds();
	for (int i = 0; i < 100; i++) {
		vc_handshake(&client);
		assert_int_equal(get_area(2, 64, 1 + i % 2), -1);
		vc_handshake(&client);
		assert_int_equal(get_area(2, 64, 0), 1);
		assert_int_equal(set_area(2 * 1088, 2, 64, i % 2 == 0 ? 0 : 2 + i % 4 / 2), -1);
		vc_handshake(&client);
		assert_int_equal(open_fds(), before);
	}
	assert_true(vc_echo(&client));
}

/*
 * The linker sends every malloc() of the library here: a hostile front end runs whenever one is
 * called, so between any count and the list that is made room for.
 */
static struct inflight_region *prey;
static int n_marked, marks;

void *__real_malloc(size_t len);
void *__wrap_malloc(size_t len);
void *__wrap_malloc(size_t len)
{
	if (prey != NULL) {
		n_marked += marks;
		for (int i = 0; i < VC_NUM; i++)
			prey->desc[i].inflight = i < n_marked;
	}
	return __real_malloc(len);
}

/* One ring is started while that goes on; its chains come back, each once. */
static void start_while_changing(struct inflight_region *r)
{
	struct vring_used *used = (void *)(client.mem + VC_RING_STEP + 0x2000);
	struct vhost_vring_state s = { 1, 0 };

	vc_send(&client, VU_GET_VRING_BASE, 0, &s, sizeof(s), NULL, 0);
	assert_int_equal(vc_reply(&client), 1);
	for (int i = 0; i < VC_NUM; i++)
		vc_offer(&client, 1, VC_GPA + VC_BUF, 5, false);
	r->used_idx = used->idx;
	prey = r;
	assert_int_equal(vc_ring_kick_fd(&client, 1), 0);
	prey = NULL;
	vbench_pump(&bench);
	for (int i = 0; i < VC_NUM; i++) {
		assert_true(vc_used(&client, 1, NULL));
		assert_int_equal(used->ring[(uint16_t)(client.q[1].used - 1) % VC_NUM].id, i);
	}
	assert_false(vc_used(&client, 1, NULL));
	assert_true(virtio_queue_running(&bench.echo->dev, 1));
}

/* QEMU #3974: the area changes between the count of what is in flight and the list of it. */
static void test_qemu_3974(void **state)
{
	uint8_t *area;

	(void)state;
	assert_int_equal(get_area(2, VC_NUM, 0), 1);
	area = mmap(NULL, 2 * 1088, PROT_READ | PROT_WRITE, MAP_SHARED, client.reply_fd, 0);
	assert_true(area != MAP_FAILED);
	assert_int_equal(set_area(2 * 1088, 2, VC_NUM, 1), 0);
	for (marks = -8; marks <= 8; marks += 4) {
		n_marked = marks < 0 ? VC_NUM : 0;
		start_while_changing((void *)(area + 1088));
	}
	munmap(area, 2 * 1088);
	assert_works_again();
}

#define T(name) cmocka_unit_test_setup_teardown(test_##name, open_bench, close_bench)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(2020_10726),
		T(2021_3839),
		T(2022_0669),
		T(qemu_3974),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
