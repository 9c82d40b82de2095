/* SPDX-License-Identifier: BSD-3-Clause */
/* vhost-user rings: when they start and stop, kicks, calls, and file descriptors that mean harm. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/socket.h>
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

static bool running(unsigned int q)
{
	return virtio_queue_running(&bench.echo->dev, q);
}

/* Connected, with memory, and features with or without PROTOCOL_FEATURES. */
static void begin(struct vc *c)
{
	vc_connect(c);
	vc_features(c);
	assert_int_equal(vc_mem_table(c, 2), 0);
}

static int ring_part(struct vc *c, uint32_t q, int part)
{
	struct vhost_vring_addr a = vc_addr(q);

	switch (part) {
	case 0:
		return vc_ask_state(c, VU_SET_VRING_NUM, q, VC_NUM);
	case 1:
		return vc_ask(c, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
	case 2:
		return vc_ring_kick_fd(c, q);
	case 3:
		return vc_ask_state(c, VU_SET_VRING_ENABLE, q, 1);
	default:
		return vc_mem_table(c, 2);
	}
}

/* Front ends differ in order; a ring starts with the last of its parts and not before. */
static void test_any_order(void **state)
{
	int order[5] = { 0, 1, 2, 3, 4 };
	int n = 0;

	(void)state;
	for (int code = 0; code < 3125; code++) {
		unsigned int seen = 0;

		for (int i = 0, x = code; i < 5; i++, x /= 5)
			seen |= 1u << (order[i] = x % 5);
		if (seen != 31)
			continue;
		n++;
		vc_connect(&client);
		vc_features(&client);
		for (int i = 0; i < 5; i++) {
			assert_false(running(1));
			assert_int_equal(ring_part(&client, 0, order[i]), 0);
			assert_int_equal(ring_part(&client, 1, order[i]), 0);
		}
		assert_true(running(0));
		assert_true(running(1));
		assert_true(vc_echo(&client));
	}
	assert_int_equal(n, 120);
}

/* What the guest offered, and kicked, before the ring started is found. */
static void test_kick_before_start(void **state)
{
	uint32_t len;

	(void)state;
	begin(&client);
	vc_offer(&client, 0, VC_GPA + VC_BUF, 2048, true);
	vc_offer(&client, 1, VC_GPA + VC_BUF + 4096, 100, false);
	for (uint32_t q = 0; q < 2; q++) {
		assert_int_equal(vc_ring_setup(&client, q), 0);
		vc_kick(&client, q);
		assert_int_equal(vc_ring_kick_fd(&client, q), 0);
		assert_int_equal(vc_ask_state(&client, VU_SET_VRING_ENABLE, q, 1), 0);
	}
	assert_true(vc_used(&client, 0, &len));
	assert_int_equal(len, 100);
	assert_true(vc_used(&client, 1, NULL));
	assert_true(vc_echo(&client));
}

/* As after a crash of ours: the kick was taken by the former back end, the buffers are still there. */
static void test_start_without_kick(void **state)
{
	(void)state;
	begin(&client);
	vc_offer(&client, 0, VC_GPA + VC_BUF, 2048, true);
	vc_offer(&client, 1, VC_GPA + VC_BUF + 4096, 100, false);
	for (uint32_t q = 0; q < 2; q++) {
		assert_int_equal(vc_ring_setup(&client, q), 0);
		assert_int_equal(vc_ring_kick_fd(&client, q), 0);
		assert_int_equal(vc_ask_state(&client, VU_SET_VRING_ENABLE, q, 1), 0);
	}
	assert_true(vc_used(&client, 0, NULL));
	assert_true(vc_used(&client, 1, NULL));
}

/* The former back end handed everything back and died before the interrupt; the guest sleeps until it comes. */
static void test_start_signals(void **state)
{
	struct vring_avail *avail = (void *)(client.mem + VC_RING_STEP + 0x1000);
	struct vring_used *used = (void *)(client.mem + VC_RING_STEP + 0x2000);

	(void)state;
	begin(&client);
	avail->idx = used->idx = 5;
	client.q[1].avail = client.q[1].used = 5;
	assert_int_equal(vc_ring_setup(&client, 1), 0);
	(void)vc_calls(&client, 1);
	assert_int_equal(vc_ring_kick_fd(&client, 1), 0);
	assert_int_equal(vc_ask_state(&client, VU_SET_VRING_ENABLE, 1, 1), 0);
	assert_int_equal(vc_calls(&client, 1), 1);
}

/* Without PROTOCOL_FEATURES rings are born enabled, and SET_VRING_ENABLE is not sent. */
static void test_enabled_by_birth(void **state)
{
	uint64_t f;

	(void)state;
	vc_connect(&client);
	f = vc_get(&client, VU_GET_FEATURES) &
	    ~(VU_F_PROTOCOL_FEATURES | VU_F_LOG_ALL | VU_F_ACCESS_PLATFORM | (VC_PACKED ? 0 : VIRTIO_PACKED));
	client.protocol = VU_BIT(VU_P_REPLY_ACK);
	vc_send(&client, VU_SET_PROTOCOL_FEATURES, 0, &client.protocol, 8, NULL, 0);
	vc_send(&client, VU_SET_FEATURES, 0, &f, sizeof(f), NULL, 0);
	assert_int_equal(vc_mem_table(&client, 1), 0);
	for (uint32_t q = 0; q < 2; q++) {
		assert_int_equal(vc_ring_setup(&client, q), 0);
		assert_false(running(q));
		assert_int_equal(vc_ring_kick_fd(&client, q), 0);
		assert_true(running(q));
	}
	assert_true(vc_echo(&client));
}

/* And when the features are the last to come, it is they who start the rings. */
static void test_enabled_by_late_birth(void **state)
{
	uint64_t f;

	(void)state;
	vc_connect(&client);
	f = vc_get(&client, VU_GET_FEATURES) &
	    ~(VU_F_PROTOCOL_FEATURES | VU_F_LOG_ALL | VU_F_ACCESS_PLATFORM | (VC_PACKED ? 0 : VIRTIO_PACKED));
	client.protocol = VU_BIT(VU_P_REPLY_ACK);
	vc_send(&client, VU_SET_PROTOCOL_FEATURES, 0, &client.protocol, 8, NULL, 0);
	assert_int_equal(vc_mem_table(&client, 1), 0);
	for (uint32_t q = 0; q < 2; q++) {
		assert_int_equal(vc_ring_setup(&client, q), 0);
		assert_int_equal(vc_ring_kick_fd(&client, q), 0);
		assert_false(running(q));
	}
	assert_int_equal(vc_ask_u64(&client, VU_SET_FEATURES, f), 0);
	assert_true(running(0));
	assert_true(running(1));
	assert_true(vc_echo(&client));
}

static void test_disable_and_enable(void **state)
{
	(void)state;
	vc_handshake(&client);
	assert_true(vc_echo(&client));
	assert_int_equal(vc_ask_state(&client, VU_SET_VRING_ENABLE, 1, 0), 0);
	assert_false(running(1));
	assert_false(vc_echo(&client));
	assert_int_equal(vc_ask_state(&client, VU_SET_VRING_ENABLE, 1, 2), 1);
	assert_int_equal(vc_ask_state(&client, VU_SET_VRING_ENABLE, 1, 1), 0);
	/* The frame that waited has gone, and the next goes too. */
	assert_true(vc_used(&client, 0, NULL));
	assert_true(vc_used(&client, 1, NULL));
	assert_true(vc_echo(&client));
	/* Twice is once. */
	assert_int_equal(vc_ask_state(&client, VU_SET_VRING_ENABLE, 1, 1), 0);
	assert_int_equal(bench.echo->starts[1], 2);
}

static uint32_t get_base(struct vc *c, uint32_t q)
{
	struct vhost_vring_state s = { q, 0xdead };

	vc_send(c, VU_GET_VRING_BASE, 0, &s, sizeof(s), NULL, 0);
	assert_int_equal(vc_reply(c), 1);
	assert_int_equal(c->head.size, sizeof(s));
	assert_int_equal(c->reply.state.index, q);
	return c->reply.state.num;
}

/* Suspend and resume, as a VMM's stop and cont: no frame lost, none twice. */
static void test_get_base_stops(void **state)
{
	(void)state;
	vc_handshake(&client);
	for (int round = 1; round < 150; round++) {
		assert_true(vc_echo(&client));
		for (uint32_t q = 0; q < 2; q++) {
			assert_int_equal(get_base(&client, q), vc_base(&client, (uint16_t)round));
			assert_false(running(q));
		}
		assert_int_equal(get_base(&client, 1), vc_base(&client, (uint16_t)round));
		vc_kick(&client, 1);
		/* Enabled and addressed still, yet it takes a new SET_VRING_KICK. */
		assert_int_equal(vc_ask_state(&client, VU_SET_VRING_ENABLE, 1, 1), 0);
		assert_false(running(1));
		for (uint32_t q = 0; q < 2; q++) {
			assert_int_equal(vc_ask_state(&client, VU_SET_VRING_BASE, q,
						      vc_base(&client, (uint16_t)round)), 0);
			assert_int_equal(vc_ring_kick_fd(&client, q), 0);
		}
	}
	assert_int_equal(bench.echo->echoed, 149);
}

/* QEMU 7.2 says status 0 first and asks for the indices then. */
static void test_base_survives_reset(void **state)
{
	(void)state;
	vc_handshake(&client);
	for (int i = 0; i < 5; i++)
		assert_true(vc_echo(&client));
	assert_int_equal(vc_ask_u64(&client, VU_SET_STATUS, 0), 0);
	assert_int_equal(get_base(&client, 0), vc_base(&client, 5));
	assert_int_equal(get_base(&client, 1), vc_base(&client, 5));
}

/* A new front end after a crash of ours: indices past zero, the last one included. */
static void test_resume_at_wrap(void **state)
{
	(void)state;
	begin(&client);
	for (uint32_t q = 0; q < 2; q++) {
		struct vring_avail *avail = (void *)(client.mem + q * VC_RING_STEP + 0x1000);
		struct vring_used *used = (void *)(client.mem + q * VC_RING_STEP + 0x2000);

		client.q[q].avail = client.q[q].used = 0xfffe;
		if (!VC_PACKED)
			avail->idx = used->idx = 0xfffe;
		assert_int_equal(vc_ring_setup(&client, q), 0);
		assert_int_equal(vc_ring_kick_fd(&client, q), 0);
		assert_int_equal(vc_ask_state(&client, VU_SET_VRING_ENABLE, q, 1), 0);
	}
	for (int i = 0; i < 10; i++)
		assert_true(vc_echo(&client));
	assert_int_equal(get_base(&client, 1), vc_base(&client, 8));
}

static void test_frozen_while_running(void **state)
{
	(void)state;
	vc_handshake(&client);
	assert_int_equal(vc_ask_state(&client, VU_SET_VRING_NUM, 1, 32), 1);
	assert_int_equal(vc_ask_state(&client, VU_SET_VRING_BASE, 1, 7), 1);
	assert_true(vc_echo(&client));
}

static void test_bad_sizes(void **state)
{
	static const uint32_t bad[] = { 0, 3, 63, 32769, 65536, 65536 + 64, 0x80000000, 0xffffffff };

	(void)state;
	begin(&client);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) /* packed rings may have any size */
		assert_int_equal(vc_ask_state(&client, VU_SET_VRING_NUM, 0, bad[i]),
				 !VC_PACKED || bad[i] == 0 || bad[i] > 32768);
	if (!VC_PACKED)
		assert_int_equal(vc_ask_state(&client, VU_SET_VRING_BASE, 0, 65536), 1);
	assert_int_equal(vc_ask_state(&client, VU_SET_VRING_NUM, 0, 32768), 0);
	assert_int_equal(vc_ask_state(&client, VU_SET_VRING_NUM, 0, 1), 0);
	assert_true(vc_alive(&client));
}

/* Rings outside memory, across the border of two regions, misaligned, past the end of the address space. */
static void test_bad_addresses(void **state)
{
	const uint64_t half = VC_USER + VC_MEM / 2, end = VC_USER + VC_MEM;
	const uint64_t bad_desc[] = { 0, 8, VC_USER - 16, VC_USER + 8, half - 16, end - 16, end, ~0ull, ~0ull - 15 };
	/* The two areas of a packed ring have 4 bytes. */
	const uint64_t short_of = VC_PACKED ? 2 : 4;
	const uint64_t bad_avail[] = { 0, VC_USER + 1, half - short_of, end - short_of, end - (VC_PACKED ? 1 : 128), ~0ull - 1 };
	const uint64_t bad_used[] = { 0, VC_USER + 2, half - short_of, end - short_of, end - (VC_PACKED ? 1 : 512), ~0ull - 3 };

	struct vhost_vring_addr fits;

	(void)state;
	begin(&client);
	assert_int_equal(vc_ask_state(&client, VU_SET_VRING_NUM, 0, VC_NUM), 0);
	for (size_t i = 0; i < sizeof(bad_desc) / 8; i++) {
		struct vhost_vring_addr a = vc_addr(0);

		a.desc_user_addr = bad_desc[i];
		assert_int_equal(vc_ask(&client, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 1);
	}
	for (size_t i = 0; i < sizeof(bad_avail) / 8; i++) {
		struct vhost_vring_addr a = vc_addr(0);

		a.avail_user_addr = bad_avail[i];
		assert_int_equal(vc_ask(&client, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 1);
	}
	for (size_t i = 0; i < sizeof(bad_used) / 8; i++) {
		struct vhost_vring_addr a = vc_addr(0);

		a.used_user_addr = bad_used[i];
		assert_int_equal(vc_ask(&client, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 1);
		a.used_user_addr = vc_addr(0).used_user_addr;
		a.flags = 2;
		assert_int_equal(vc_ask(&client, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 1);
	}
	/* The size comes last: what fits 64 entries to the byte does not fit 128. */
	fits = vc_addr(0);
	fits.desc_user_addr = half - 16 * VC_NUM;
	assert_int_equal(vc_ask(&client, VU_SET_VRING_ADDR, &fits, sizeof(fits), NULL, 0), 0);
	assert_int_equal(vc_ask_state(&client, VU_SET_VRING_NUM, 0, 2 * VC_NUM), 0);
	assert_int_equal(ring_part(&client, 0, 3), 0);
	assert_int_equal(ring_part(&client, 0, 2), 1);
	assert_false(running(0));
	assert_int_equal(vc_ask_state(&client, VU_SET_VRING_NUM, 0, VC_NUM), 0);
	assert_int_equal(ring_part(&client, 0, 2), 0);
	assert_true(running(0));
	assert_true(vc_alive(&client));
}

static void test_call_late_or_never(void **state)
{
	(void)state;
	vc_handshake(&client);
	assert_int_equal(vc_ask_u64(&client, VU_SET_VRING_CALL, VU_NOFD | 0), 0);
	(void)vc_calls(&client, 0);
	assert_true(vc_echo(&client));
	assert_int_equal(vc_calls(&client, 0), 0);
	/* The signal that had nowhere to go is made good. */
	assert_int_equal(vc_ask_fd(&client, VU_SET_VRING_CALL, 0, client.q[0].call), 0);
	assert_int_equal(vc_calls(&client, 0), 1);
}

/* What was signalled while the front end changed from one fd to the other is not lost. */
static void test_call_replaced(void **state)
{
	int former;

	(void)state;
	vc_handshake(&client);
	assert_true(vc_echo(&client));
	former = client.q[0].call;
	client.q[0].call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_int_equal(vc_ask_fd(&client, VU_SET_VRING_CALL, 0, client.q[0].call), 0);
	assert_int_equal(vc_calls(&client, 0), 1);
	close(former);
}

/* User-mode Linux gives pipes. A full one must not block us, a broken one must not kill us. */
static void test_call_pipe(void **state)
{
	int ends[2];
	char junk[4096] = { 0 };

	(void)state;
	vc_handshake(&client);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(vc_ask_fd(&client, VU_SET_VRING_CALL, 0, ends[1]), 0);
	assert_int_equal(read(ends[0], junk, sizeof(junk)), 8); /* once for being new */
	assert_true(vc_echo(&client));
	assert_int_equal(read(ends[0], junk, sizeof(junk)), 8);
	assert_int_equal(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
	while (write(ends[1], junk, sizeof(junk)) > 0)
		;
	assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0); /* the flags are shared: now it would block */
	assert_true(vc_echo(&client));
	close(ends[0]);
	close(ends[1]);
	assert_true(vc_echo(&client));
	assert_true(vc_echo(&client));
}

static void test_call_socket(void **state)
{
	int ends[2];

	(void)state;
	vc_handshake(&client);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	assert_int_equal(vc_ask_fd(&client, VU_SET_VRING_CALL, 0, ends[1]), 0);
	close(ends[1]);
	assert_true(vc_echo(&client));
	close(ends[0]);
	assert_true(vc_echo(&client));
}

static void test_files_are_no_events(void **state)
{
	static const uint32_t with_fd[] = { VU_SET_VRING_KICK, VU_SET_VRING_CALL, VU_SET_VRING_ERR };
	int null = open("/dev/zero", O_RDWR | O_CLOEXEC), watcher = inotify_init1(IN_CLOEXEC);

	(void)state;
	vc_handshake(&client);
	/* No type to see, but a read that its owner races would wait. */
	assert_int_equal(vc_ask_fd(&client, VU_SET_VRING_KICK, 2, watcher), 1);
	close(watcher);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(vc_ask_fd(&client, with_fd[i], 2, client.memfd), 1);
		assert_int_equal(vc_ask_fd(&client, with_fd[i], 2, null), 1);
	}
	close(null);
	assert_true(vc_echo(&client));
}

/* A kick fd that is always readable must not spin the loop: here the far end of a pipe is gone. */
static void test_kick_dead_pipe(void **state)
{
	int ends[2];

	(void)state;
	vc_handshake(&client);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(vc_ask_fd(&client, VU_SET_VRING_KICK, 1, ends[0]), 0);
	close(ends[0]);
	close(ends[1]);
	vbench_pump(&bench);
	assert_int_equal(twx_loop_poll(bench.loop, 0), 0);
	assert_non_null(strstr(bench.log, "kick fd of queue 1"));
	/* A new fd mends it. */
	assert_int_equal(vc_ring_kick_fd(&client, 1), 0);
	assert_true(vc_echo(&client));
}

/* Replaced while running: the ring goes on at its index. */
static void test_kick_replaced(void **state)
{
	int former;

	(void)state;
	vc_handshake(&client);
	assert_true(vc_echo(&client));
	former = client.q[1].kick;
	client.q[1].kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_int_equal(vc_ring_kick_fd(&client, 1), 0);
	assert_true(vc_echo(&client));
	assert_int_equal(bench.echo->starts[1], 1);
	close(former);
}

/* NOFD asks for polling. */
static void test_kick_polled(void **state)
{
	bool done = false, silent = false;

	(void)state;
	vc_handshake(&client);
	assert_int_equal(vc_ask_u64(&client, VU_SET_VRING_KICK, VU_NOFD | 1), 0);
	vc_offer(&client, 0, VC_GPA + VC_BUF, 2048, true);
	vc_offer(&client, 1, VC_GPA + VC_BUF + 4096, 100, false);
	for (int i = 0; i < 1000 && !done; i++) {
		twx_loop_poll(bench.loop, 10);
		done = vc_used(&client, 1, NULL);
	}
	assert_true(done);
	/* And it ends with the ring; the virtqueues' last looks are soon over. */
	assert_int_equal(get_base(&client, 1), vc_base(&client, 1));
	for (int i = 0; i < 100 && !silent; i++)
		silent = twx_loop_poll(bench.loop, 100) == 0;
	assert_true(silent);
}

static void test_err_fd(void **state)
{
	struct vring_avail *avail = (void *)(client.mem + VC_RING_STEP + 0x1000);
	int err = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	uint64_t n = 0;

	(void)state;
	vc_handshake(&client);
	assert_int_equal(vc_ask_fd(&client, VU_SET_VRING_ERR, 1, err), 0);
	/* More chains than the ring has room for; or a table of no length. */
	if (VC_PACKED)
		vc_offer_table(&client, 1, VC_GPA, 0);
	else
		avail->idx = VC_NUM + 1;
	vc_kick(&client, 1);
	assert_int_equal(read(err, &n, sizeof(n)), sizeof(n));
	assert_non_null(strstr(bench.log, "queue 1 is malformed"));
	assert_true(vc_alive(&client));
	/* A driver that starts anew is served. */
	vc_handshake(&client);
	assert_true(vc_echo(&client));
	close(err);
}

/* Stopped rings ask nothing of their kick fds. */
static void test_kick_while_stopped(void **state)
{
	unsigned int kicks;

	(void)state;
	begin(&client);
	assert_int_equal(vc_ring_setup(&client, 1), 0);
	assert_int_equal(vc_ring_kick_fd(&client, 1), 0);
	for (int i = 0; i < 10; i++)
		vc_kick(&client, 1);
	kicks = bench.echo->kicks[1];
	assert_int_equal(kicks, 0);
	assert_int_equal(twx_loop_poll(bench.loop, 0), 0);
}

/* Where a packed ring goes on: as QEMU says it, as DPDK does, and what lies outside of it. */
static void test_packed_base(void **state)
{
	const uint32_t bad[] = { VC_NUM, 0x8000 | VC_NUM, (0x8000u | VC_NUM) << 16 | 0x8001, 0xffffffff };

	(void)state;
	if (!VC_PACKED)
		return;
	vc_handshake(&client);
	for (int i = 0; i < VC_NUM + 3; i++)
		assert_true(vc_echo(&client));
	for (uint32_t q = 0; q < 2; q++) {
		assert_int_equal(get_base(&client, q), 3 | 3 << 16); /* in the second lap */
		assert_int_equal(vc_ask_state(&client, VU_SET_VRING_BASE, q, q ? 3 : 3 | 3 << 16), 0);
		assert_int_equal(vc_ring_kick_fd(&client, q), 0);
	}
	assert_true(vc_echo(&client));
	/* Taken by a predecessor, and never handed back. */
	for (uint32_t q = 0; q < 2; q++) {
		assert_int_equal(get_base(&client, q), 4 | 4 << 16);
		assert_int_equal(vc_ask_state(&client, VU_SET_VRING_BASE, q, 9 | 4 << 16), 0);
		assert_int_equal(vc_ring_kick_fd(&client, q), 0);
	}
	assert_true(vc_echo(&client));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		(void)get_base(&client, 1);
		assert_int_equal(vc_ask_state(&client, VU_SET_VRING_BASE, 1, bad[i]), 0);
		assert_int_equal(vc_ring_kick_fd(&client, 1), 1);
		assert_false(running(1));
	}
	assert_int_equal(vc_ask_state(&client, VU_SET_VRING_BASE, 1, vc_base(&client, client.q[1].used)), 0);
	assert_int_equal(vc_ring_kick_fd(&client, 1), 0);
	assert_true(vc_echo(&client));
}

/* A front end that says no base has a ring that begins at its beginning. */
static void test_no_base(void **state)
{
	(void)state;
	begin(&client);
	for (uint32_t q = 0; q < 2; q++)
		for (int part = 0; part < 4; part++)
			assert_int_equal(ring_part(&client, q, part), 0);
	assert_true(vc_echo(&client));
}

/* Inflight areas are of split rings; who asks for one with packed rings is told so. */
static void test_packed_inflight(void **state)
{
	union vu_payload p = { .inflight = { .n_queues = 2, .queue_size = VC_NUM } };

	(void)state;
	if (!VC_PACKED)
		return;
	begin(&client);
	vc_send(&client, VU_GET_INFLIGHT_FD, 0, &p, sizeof(p.inflight), NULL, 0);
	assert_int_equal(vc_reply(&client), 1);
	assert_int_equal(client.reply.inflight.size, 0);
	assert_int_equal(client.reply_fd, -1);
	assert_non_null(strstr(bench.log, "inflight areas are kept for split rings alone"));
	p.inflight.size = 65536;
	assert_int_equal(vc_ask(&client, VU_SET_INFLIGHT_FD, &p, sizeof(p.inflight), &client.memfd, 1), 1);
	vc_handshake(&client);
	assert_true(vc_echo(&client));
}

#define T(name) cmocka_unit_test_setup_teardown(test_##name, open_bench, close_bench)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(any_order), T(kick_before_start), T(start_without_kick), T(start_signals), T(enabled_by_birth),
		T(enabled_by_late_birth), T(disable_and_enable),
		T(get_base_stops), T(base_survives_reset), T(resume_at_wrap), T(frozen_while_running),
		T(bad_sizes), T(bad_addresses), T(call_late_or_never), T(call_replaced), T(call_pipe), T(call_socket),
		T(files_are_no_events), T(kick_dead_pipe), T(kick_replaced), T(kick_polled),
		T(err_fd), T(packed_base), T(no_base), T(packed_inflight), T(kick_while_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
