/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vhost-user guests behind an IOMMU: misses, updates, invalidations, and what a front end may do wrong.
 *
 * The guest here sees its memory through an IOMMU of ours: client.mem is what its driver sees, page by page
 * anywhere in the shared file (place()), and its I/O virtual addresses begin at IOVA.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <cmocka.h>

#include "vhost_client.h"

#define IOVA 0x7fff00000000ull
#define PAGES (VC_MEM / 4096)
#define RX_AT (VC_BUF + 0x40000)
#define TX_AT VC_BUF

static struct vbench bench;
static struct vc client;
static int channel = -1;
static uint32_t page_at[PAGES]; /* in the shared file */
static uint8_t page_perm[PAGES];

/* The guest's pages @n from @first are those of the file from @file. */
static void place(uint32_t first, uint32_t n, uint32_t file)
{
	for (uint32_t i = 0; i < n; i++) {
		page_at[first + i] = file + i;
		if (mmap(client.mem + (first + i) * 4096, 4096, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, client.memfd, (off_t)(file + i) * 4096) == MAP_FAILED)
			fail_msg("mmap: %s", strerror(errno));
	}
}

static int open_guest(void **state)
{
	(void)state;
	vc_init(&client, &bench);
	/* No two neighbours are neighbours in the file. */
	for (uint32_t i = 0; i < PAGES; i++)
		place(i, 1, i ^ 5);
	memset(page_perm, VHOST_ACCESS_RW, sizeof(page_perm));
	return 0;
}

static int open_bench(void **state)
{
	if (vbench_open(&bench, VC_FORM_AND("iommu_platform=on")) < 0)
		fail_msg("%s", bench.e.what);
	return open_guest(state);
}

static int close_bench(void **state)
{
	(void)state;
	if (channel >= 0)
		close(channel);
	channel = -1;
	vc_fini(&client);
	vbench_close(&bench);
	return 0;
}

/* The front end's side. */

struct miss {
	struct vu_header head;
	struct vhost_iotlb_msg m;
};

static bool take_miss(struct miss *out)
{
	vbench_pump(&bench);
	if (recv(channel, &out->head, sizeof(out->head), MSG_DONTWAIT) < 0)
		return false;
	assert_int_equal(recv(channel, &out->m, sizeof(out->m), MSG_DONTWAIT), sizeof(out->m));
	assert_int_equal(out->head.request, VU_BACKEND_IOTLB_MSG);
	assert_int_equal(out->head.flags, VU_VERSION);
	assert_int_equal(out->head.size, sizeof(out->m));
	assert_int_equal(out->m.type, VHOST_IOTLB_MISS);
	assert_int_equal(out->m.iova % 4096, 0);
	return true;
}

static int tell(uint8_t type, uint64_t iova, uint64_t size, uint64_t user, uint8_t perm)
{
	struct vhost_iotlb_msg m = { .iova = iova, .size = size, .uaddr = user, .perm = perm,
				     .type = type };

	return vc_ask(&client, VU_IOTLB_MSG, &m, sizeof(m), NULL, 0);
}

static int update_page(uint32_t page)
{
	return tell(VHOST_IOTLB_UPDATE, IOVA + page * 4096ull, 4096, VC_USER + page_at[page] * 4096ull,
		    page_perm[page]);
}

static int invalidate(uint64_t iova, uint64_t size)
{
	return tell(VHOST_IOTLB_INVALIDATE, iova, size, 0, 0);
}

static uint32_t page_of(const struct miss *m)
{
	assert_in_range(m->m.iova, IOVA, IOVA + VC_MEM - 4096);
	return (uint32_t)((m->m.iova - IOVA) / 4096);
}

/* Answers until nothing is asked any more; how many there were. */
static int serve(void)
{
	struct miss m;
	int n = 0;

	for (; n < 10000 && take_miss(&m); n++)
		assert_int_equal(update_page(page_of(&m)), 0);
	return n;
}

static void begin(void)
{
	int ends[2];

	if (channel >= 0)
		close(channel);
	vc_connect(&client);
	vc_features(&client);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	assert_int_equal(vc_ask(&client, VU_SET_BACKEND_REQ_FD, NULL, 0, &ends[1], 1), 0);
	close(ends[1]);
	channel = ends[0];
	assert_int_equal(vc_mem_table(&client, 2), 0);
}

static void ring_begin(uint32_t q, struct vhost_vring_addr a)
{
	assert_int_equal(vc_ask_state(&client, VU_SET_VRING_NUM, q, VC_NUM), 0);
	assert_int_equal(vc_ask_state(&client, VU_SET_VRING_BASE, q,
				      vc_base(&client, client.q[q].used)), 0);
	assert_int_equal(vc_ask(&client, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	assert_int_equal(vc_ask_fd(&client, VU_SET_VRING_CALL, q, client.q[q].call), 0);
	assert_int_equal(vc_ring_kick_fd(&client, q), 0);
	assert_int_equal(vc_ask_state(&client, VU_SET_VRING_ENABLE, q, 1), 0);
}

static struct vhost_vring_addr addr_of(uint32_t q)
{
	struct vhost_vring_addr a = vc_addr(q);

	a.desc_user_addr += IOVA - VC_USER;
	a.avail_user_addr += IOVA - VC_USER;
	a.used_user_addr += IOVA - VC_USER;
	return a;
}

static void handshake(void)
{
	begin();
	ring_begin(0, addr_of(0));
	ring_begin(1, addr_of(1));
}

/* One frame of @text from @tx to @rx in the guest's memory; nobody has answered a miss yet. */
static void offer(uint32_t tx, uint32_t rx, const char *text)
{
	memset(client.mem + rx, 0, 64);
	snprintf((char *)client.mem + tx, 64, "%s", text);
	vc_offer(&client, 0, IOVA + rx, 64, true);
	vc_offer(&client, 1, IOVA + tx, 64, false);
	vc_kick(&client, 1);
}

static bool arrived(uint32_t rx, const char *text)
{
	uint32_t len = 0;

	return vc_used(&client, 1, NULL) && vc_used(&client, 0, &len) && len == 64 &&
	       strcmp((char *)client.mem + rx, text) == 0;
}

/* Rings. */

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

static void test_rings_start(void **state)
{
	struct miss m;
	int n = 0;

	(void)state;
	begin();
	ring_begin(0, addr_of(0));
	assert_int_equal(bench.echo->starts[0], 0);
	/* One question for each page, for writing where the used ring is, or a packed one's descriptors. */
	while (take_miss(&m)) {
		uint32_t page = page_of(&m);

		assert_in_range(page, 0, 2);
		assert_int_equal(m.m.perm, page == 2 || (VC_PACKED && page == 0) ?
							VHOST_ACCESS_RW : VHOST_ACCESS_RO);
		assert_int_equal(update_page(page), 0);
		n++;
		assert_int_equal(bench.echo->starts[0], n == 3);
	}
	assert_int_equal(n, 3);
	assert_int_equal(bench.echo->starts[0], 1);
	/* QEMU tells some pages twice. */
	for (uint32_t page = 0; page < 3; page++)
		assert_int_equal(update_page(page), 0);
	assert_int_equal(bench.echo->stops[0], 0);
}

/* Areas that lie across pages which are not neighbours. */
static void test_scattered_ring(void **state)
{
	const uint64_t shift = 0xf80;
	int before = maps();
	struct vc guest;

	(void)state;
	begin();
	for (uint32_t q = 0; q < 2; q++) {
		struct vhost_vring_addr a = addr_of(q);

		a.desc_user_addr += shift;
		a.avail_user_addr += shift;
		a.used_user_addr += shift;
		ring_begin(q, a);
	}
	serve();
	assert_int_equal(bench.echo->starts[0], 1);
	assert_int_equal(bench.echo->starts[1], 1);
	/* The driver sees them in one piece, too, behind the shift. */
	guest = client;
	guest.mem += shift;
	for (int i = 0; i < 3 * VC_NUM; i++) {
		uint32_t len;

		snprintf((char *)client.mem + TX_AT, 64, "frame %d", i);
		vc_offer(&guest, 0, IOVA + RX_AT, 64, true);
		vc_offer(&guest, 1, IOVA + TX_AT, 64, false);
		vc_kick(&guest, 1);
		serve();
		assert_true(vc_used(&guest, 1, NULL) && vc_used(&guest, 0, &len));
		assert_string_equal((char *)client.mem + RX_AT, (char *)client.mem + TX_AT);
	}
	assert_true(maps() > before + 2);
	vc_hangup(&client);
	assert_int_equal(maps(), before);
}

static void test_ring_not_permitted(void **state)
{
	int err = eventfd(0, EFD_NONBLOCK);
	uint64_t n;

	(void)state;
	page_perm[2] = VHOST_ACCESS_RO;
	begin();
	assert_int_equal(vc_ask_fd(&client, VU_SET_VRING_ERR, 0, err), 0);
	ring_begin(0, addr_of(0));
	serve();
	assert_int_equal(bench.echo->starts[0], 0);
	assert_int_equal(read(err, &n, sizeof(n)), sizeof(n));
	close(err);
	/* The front end can do better. */
	page_perm[2] = VHOST_ACCESS_RW;
	assert_int_equal(update_page(2), 0);
	ring_begin(0, addr_of(0));
	assert_int_equal(bench.echo->starts[0], 1);
}

static void test_ring_moves(void **state)
{
	(void)state;
	handshake();
	serve();
	offer(TX_AT, RX_AT, "before");
	serve();
	assert_true(arrived(RX_AT, "before"));
	/* The page of queue 1's available ring goes elsewhere, contents and all. */
	for (int i = 1; i <= 100; i++) {
		uint32_t page = VC_RING_STEP / 4096 + 1, to = 100 + (uint32_t)i;
		uint8_t copy[4096];

		assert_int_equal(invalidate(IOVA + page * 4096ull, 4096), 0);
		assert_false(virtio_queue_running(&bench.echo->dev, 1));
		assert_true(virtio_queue_running(&bench.echo->dev, 0));
		memcpy(copy, client.mem + page * 4096, sizeof(copy));
		place(page, 1, to);
		memcpy(client.mem + page * 4096, copy, sizeof(copy));
		offer(TX_AT, RX_AT, "meanwhile");
		assert_int_equal(serve(), 1);
		assert_true(arrived(RX_AT, "meanwhile"));
	}
	/* It did not run while its page was away, and asked once each time. */
	assert_int_equal(bench.echo->starts[1], 101);
}

/* Chains. */

static void test_miss(void **state)
{
	struct miss m;

	(void)state;
	handshake();
	assert_int_equal(serve(), 6);
	offer(TX_AT, RX_AT, "hello");
	assert_true(take_miss(&m));
	assert_int_equal(page_of(&m), TX_AT / 4096);
	assert_int_equal(m.m.perm, VHOST_ACCESS_RO);
	assert_false(take_miss(&m));
	/* Not taken, and not asked for again, however often the guest knocks. */
	for (int i = 0; i < 100; i++)
		vc_kick(&client, 1);
	assert_false(take_miss(&m));
	assert_false(vc_used(&client, 1, NULL));
	assert_int_equal(update_page(TX_AT / 4096), 0);
	assert_true(take_miss(&m));
	assert_int_equal(page_of(&m), RX_AT / 4096);
	assert_int_equal(m.m.perm, VHOST_ACCESS_WO);
	assert_int_equal(update_page(RX_AT / 4096), 0);
	assert_true(arrived(RX_AT, "hello"));
	/* Known by now. */
	offer(TX_AT + 64, RX_AT + 64, "again");
	assert_false(take_miss(&m));
	assert_true(arrived(RX_AT + 64, "again"));
}

/* A buffer across pages that are not neighbours, and a table of descriptors, which lies across two. */
static void test_pieces(void **state)
{
	uint32_t table = VC_BUF + 0x10000 - 8;
	struct vring_desc d[2] = {
		{ .addr = IOVA + TX_AT + 4096 - 10, .len = 5, .flags = VRING_DESC_F_NEXT, .next = 1 },
		{ .addr = IOVA + TX_AT + 4096 - 5, .len = 59 },
	};
	uint32_t len = 0;

	(void)state;
	handshake();
	serve();
	memcpy(client.mem + table, d, sizeof(d));
	memcpy(client.mem + TX_AT + 4096 - 10, "abcdefghij", 10);
	vc_offer(&client, 0, IOVA + RX_AT, 64, true);
	vc_offer_table(&client, 1, IOVA + table, 2);
	vc_kick(&client, 1);
	assert_int_equal(serve(), 2 + 2 + 1);
	assert_true(vc_used(&client, 1, NULL));
	/* The echo takes the first iovec alone. */
	assert_true(vc_used(&client, 0, &len));
	assert_int_equal(len, 5);
	assert_memory_equal(client.mem + RX_AT, "abcde", 5);
}

static void test_permissions(void **state)
{
	(void)state;
	handshake();
	serve();
	/* Writing to what may only be read. */
	page_perm[RX_AT / 4096] = VHOST_ACCESS_RO;
	offer(TX_AT, RX_AT, "no");
	serve();
	assert_true(vc_used(&client, 1, NULL));
	assert_int_equal(bench.echo->echoed, 0);
	assert_int_equal(client.mem[RX_AT], 0);
	/* Reading what may only be written. */
	page_perm[TX_AT / 4096 + 1] = VHOST_ACCESS_WO;
	offer(TX_AT + 4096, RX_AT + 4096, "no");
	serve();
	assert_true(vc_used(&client, 1, NULL));
	assert_int_equal(bench.echo->echoed, 0);
	/* Both as it should be. */
	page_perm[RX_AT / 4096] = VHOST_ACCESS_WO;
	page_perm[TX_AT / 4096 + 1] = VHOST_ACCESS_RO;
	assert_int_equal(update_page(RX_AT / 4096), 0);
	assert_int_equal(update_page(TX_AT / 4096 + 1), 0);
	vc_offer(&client, 0, IOVA + RX_AT, 64, true);
	offer(TX_AT + 4096, RX_AT, "yes");
	serve();
	assert_int_equal(bench.echo->echoed, 1);
}

static void test_invalidate(void **state)
{
	static const struct { uint64_t iova, size; } how[] = {
		{ IOVA + RX_AT, 4096 },	      { IOVA + RX_AT - 4096, 3 * 4096 },
		{ 0, 0 },		      { 0, IOVA + VC_MEM },
		{ IOVA + RX_AT, -IOVA - RX_AT }, { IOVA + RX_AT, ~0ull },
		{ IOVA + RX_AT + 100, 1 },
	};

	(void)state;
	handshake();
	serve();
	for (uint32_t i = 0; i < sizeof(how) / sizeof(how[0]); i++) {
		uint8_t *old;

		offer(TX_AT, RX_AT, "old");
		serve();
		assert_true(arrived(RX_AT, "old"));
		old = mmap(NULL, 4096, PROT_READ, MAP_SHARED, client.memfd, page_at[RX_AT / 4096] * 4096);
		assert_int_equal(invalidate(how[i].iova, how[i].size), 0);
		place(RX_AT / 4096, 1, 300 + i);
		offer(TX_AT, RX_AT, "new");
		assert_in_range(serve(), 1, 20);
		assert_true(arrived(RX_AT, "new"));
		/* What was the guest's before is not written any more. */
		assert_string_equal((char *)old, "old");
		munmap(old, 4096);
	}
}

/* Taken back between the question and the answer, and between the answer and its use. */
static void test_invalidate_in_flight(void **state)
{
	struct miss m;

	(void)state;
	handshake();
	serve();
	offer(TX_AT, RX_AT, "in flight");
	assert_true(take_miss(&m));
	assert_int_equal(invalidate(0, 0), 0);
	assert_int_equal(update_page(TX_AT / 4096), 0);
	assert_int_equal(invalidate(IOVA + TX_AT, 4096), 0);
	place(TX_AT / 4096, 1, 333);
	snprintf((char *)client.mem + TX_AT, 64, "moved");
	serve();
	assert_true(arrived(RX_AT, "moved"));
}

/* An update that says otherwise is an invalidation. */
static void test_update_over(void **state)
{
	(void)state;
	handshake();
	serve();
	offer(TX_AT, RX_AT, "one");
	serve();
	assert_true(arrived(RX_AT, "one"));
	place(RX_AT / 4096, 1, 334);
	assert_int_equal(update_page(RX_AT / 4096), 0);
	offer(TX_AT, RX_AT, "two");
	assert_true(arrived(RX_AT, "two"));
	/* A larger one, over rings and all: everything is where it is in the file. */
	for (uint32_t i = 0; i < PAGES / 2; i++) {
		uint8_t copy[4096];

		if (page_at[i] == i)
			continue;
		memcpy(copy, client.mem + i * 4096, sizeof(copy));
		place(i, 1, i);
		memcpy(client.mem + i * 4096, copy, sizeof(copy));
	}
	/* (Pages were swapped in pairs, so copying spoils their partners: rings are set up anew.) */
	memset(client.mem, 0, VC_MEM / 2);
	assert_int_equal(tell(VHOST_IOTLB_UPDATE, IOVA, VC_MEM / 2, VC_USER, VHOST_ACCESS_RW), 0);
	assert_int_equal(bench.echo->stops[0], 1);
	assert_int_equal(bench.echo->starts[0], 2);
}

static void test_lost_answer(void **state)
{
	struct miss m, again;
	bool asked = false;

	(void)state;
	handshake();
	serve();
	offer(TX_AT, RX_AT, "patience");
	assert_true(take_miss(&m));
	for (int i = 0; i < 1000 && !asked; i++) {
		twx_loop_poll(bench.loop, 10);
		asked = take_miss(&again);
	}
	assert_true(asked);
	assert_true(again.m.iova == m.m.iova);
	assert_int_equal(update_page(page_of(&again)), 0);
	serve();
	assert_true(arrived(RX_AT, "patience"));
}

/* Many buffers, nothing known: questions are bounded, and everything gets through in the end. */
static void test_many_questions(void **state)
{
	struct miss m[200];
	uint32_t n = 0, done = 0;

	(void)state;
	handshake();
	serve();
	for (uint32_t i = 0; i < VC_NUM; i++) {
		vc_offer(&client, 0, IOVA + RX_AT + i * 4096, 64, true);
		vc_offer(&client, 1, IOVA + TX_AT + i * 4096 + 4090, 64, false);
	}
	vc_kick(&client, 1);
	while (n < 200 && take_miss(&m[n]))
		n++;
	assert_in_range(n, 8, 64);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < i; k++)
			assert_true(m[i].m.iova != m[k].m.iova);
	while (n > 0)
		assert_int_equal(update_page(page_of(&m[--n])), 0);
	serve();
	while (vc_used(&client, 1, NULL))
		done++;
	assert_int_equal(done, VC_NUM);
	assert_int_equal(bench.echo->echoed, VC_NUM);
}

/* A table with no room for more than what a front end tells: something goes, nothing fails. */
static void test_flood(void **state)
{
	(void)state;
	handshake();
	serve();
	for (uint64_t i = 0; i < 10000; i++)
		assert_int_equal(tell(VHOST_IOTLB_UPDATE, 0x1000000 + i * 4096, 4096, VC_USER, VHOST_ACCESS_RW), 0);
	serve();
	offer(TX_AT, RX_AT, "full");
	assert_in_range(serve(), 2, 20);
	assert_true(arrived(RX_AT, "full"));
	assert_true(vc_alive(&client));
}

/* Messages. */

static void test_bad_updates(void **state)
{
	static const struct vhost_iotlb_msg bad[] = {
		{ IOVA, 0, VC_USER, 3, VHOST_IOTLB_UPDATE },
		{ IOVA, 1, VC_USER, 3, VHOST_IOTLB_UPDATE },
		{ IOVA + 1, 4096, VC_USER, 3, VHOST_IOTLB_UPDATE },
		{ IOVA, 4097, VC_USER, 3, VHOST_IOTLB_UPDATE },
		{ IOVA, 4096, VC_USER, 4, VHOST_IOTLB_UPDATE },
		{ IOVA, 4096, VC_USER, 255, VHOST_IOTLB_UPDATE },
		{ IOVA, 4096, VC_USER - 1, 3, VHOST_IOTLB_UPDATE },
		{ IOVA, 4096, VC_USER + VC_MEM - 4095, 3, VHOST_IOTLB_UPDATE },
		{ IOVA, VC_MEM, VC_USER, 3, VHOST_IOTLB_UPDATE }, /* two regions */
		{ IOVA, 8192, VC_USER + VC_MEM / 2 - 4096, 3, VHOST_IOTLB_UPDATE },
		{ IOVA, ~0ull << 12, VC_USER, 3, VHOST_IOTLB_UPDATE },
		{ ~0ull << 12, 8192, VC_USER, 3, VHOST_IOTLB_UPDATE },
		{ IOVA, 4096, ~0ull << 12, 3, VHOST_IOTLB_UPDATE },
		{ IOVA, 4096, 0, 3, VHOST_IOTLB_UPDATE },
		{ IOVA, 4096, VC_USER, 3, 0 },
		{ IOVA, 4096, VC_USER, 3, VHOST_IOTLB_MISS },
		{ IOVA, 4096, VC_USER, 3, VHOST_IOTLB_ACCESS_FAIL },
		{ IOVA, 4096, VC_USER, 3, 5 },
		{ IOVA, 4096, VC_USER, 3, 255 },
	};

	(void)state;
	handshake();
	serve();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (vc_ask(&client, VU_IOTLB_MSG, &bad[i], sizeof(bad[i]), NULL, 0) != 1)
			fail_msg("message %zu accepted", i);
	}
	/* The last page of all is one. */
	assert_int_equal(tell(VHOST_IOTLB_UPDATE, ~0ull << 12, 4096, VC_USER, 3), 0);
	offer(TX_AT, RX_AT, "unharmed");
	assert_int_equal(serve(), 2);
	assert_true(arrived(RX_AT, "unharmed"));
	/* To the end of all addresses and beyond. */
	vc_offer(&client, 0, IOVA + RX_AT, 64, true);
	vc_offer(&client, 1, ~0ull - 63, 64, false);
	vc_offer(&client, 1, ~0ull - 62, 64, false);
	vc_kick(&client, 1);
	assert_true(vc_used(&client, 1, NULL));
	assert_true(vc_used(&client, 1, NULL));
	assert_true(vc_alive(&client));
}

static void test_sizes(void **state)
{
	uint8_t raw[64] = { 0 };

	(void)state;
	for (uint32_t len = 0; len < sizeof(raw); len++) {
		begin();
		raw[offsetof(struct vhost_iotlb_msg, type)] = VHOST_IOTLB_INVALIDATE;
		assert_int_equal(vc_ask(&client, VU_IOTLB_MSG, raw, len, NULL, 0),
				 len >= 26 && len <= 32 ? 0 : -1);
	}
	begin();
	assert_int_equal(vc_ask(&client, VU_IOTLB_MSG, raw, 32, &client.memfd, 1), -1);
}

/* Without a channel the front end has to know by itself what we need. */
static void test_no_channel(void **state)
{
	(void)state;
	vc_connect(&client);
	vc_features(&client);
	assert_int_equal(vc_mem_table(&client, 2), 0);
	ring_begin(0, addr_of(0));
	ring_begin(1, addr_of(1));
	assert_int_equal(bench.echo->starts[1], 0);
	for (uint32_t i = 0; i < PAGES; i++)
		assert_int_equal(update_page(i), 0);
	offer(TX_AT, RX_AT, "told");
	assert_true(arrived(RX_AT, "told"));
}

static void test_reconnection(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		handshake();
		assert_int_equal(serve(), 6);
		offer(TX_AT, RX_AT, "hello");
		assert_int_equal(serve(), 2);
		assert_true(arrived(RX_AT, "hello"));
	}
	/* Nor does anything outlive a reset of the device, after which there is no IOMMU. */
	vc_send(&client, VU_RESET_DEVICE, 0, NULL, 0, NULL, 0);
	assert_true(vc_alive(&client));
	assert_int_equal(vc_ask_u64(&client, VU_SET_FEATURES, VU_F_PROTOCOL_FEATURES | VU_BIT(VIRTIO_F_VERSION_1) |
				    (VC_PACKED ? VIRTIO_PACKED : 0)), 0);
	assert_int_equal(update_page(0), 0); /* no meaning, and no error */
	client.q[0].used = client.q[1].used = client.q[0].avail = client.q[1].avail = 0;
	for (uint32_t i = 0; i < PAGES; i++)
		place(i, 1, i);
	memset(client.mem, 0, VC_MEM);
	ring_begin(0, vc_addr(0));
	ring_begin(1, vc_addr(1));
	assert_true(vc_echo(&client));
	assert_int_equal(serve(), 0);
}

/* A new memory table: what was known led into the old one. */
static void test_memory_changes(void **state)
{
	(void)state;
	handshake();
	serve();
	for (int i = 0; i < 20; i++) {
		offer(TX_AT, RX_AT, "here");
		serve();
		assert_true(arrived(RX_AT, "here"));
		assert_int_equal(vc_mem_table(&client, 2), 0);
		assert_int_equal(serve(), 6);
	}
}

static uint64_t offered(const char *option, bool owner)
{
	uint64_t f;

	if (vbench_open(&bench, option) < 0)
		fail_msg("%s", bench.e.what);
	vc_init(&client, &bench);
	vc_connect(&client);
	if (owner)
		vc_send(&client, VU_SET_OWNER, 0, NULL, 0, NULL, 0);
	f = vc_get(&client, VU_GET_FEATURES);
	/* It stays with that. */
	vc_send(&client, VU_SET_OWNER, 0, NULL, 0, NULL, 0);
	assert_true(vc_get(&client, VU_GET_FEATURES) == f);
	vc_send(&client, VU_SET_FEATURES, 0, &(uint64_t){ VU_F_ACCESS_PLATFORM }, 8, NULL, 0);
	assert_int_equal(vc_alive(&client), (f & VU_F_ACCESS_PLATFORM) != 0);
	close_bench(NULL);
	return f & VU_F_ACCESS_PLATFORM;
}

/* To QEMU by itself, which knows what it means; to others only when told. */
static void test_offered(void **state)
{
	(void)state;
	assert_true(offered(NULL, false));
	assert_false(offered(NULL, true));
	assert_true(offered("iommu_platform=on", true));
	assert_false(offered("iommu_platform=off", false));
}

/* The log of a migration has guest pages, which are where the file's pages are. */
static void test_log(void **state)
{
	static uint8_t log[4096];
	union vu_payload p = { .log = { sizeof(log), 0 } };
	uint64_t f = vc_echo_features(&client) | VU_F_PROTOCOL_FEATURES | VU_F_ACCESS_PLATFORM;
	int fd = memfd_create("log", MFD_CLOEXEC);
	uint32_t ring = VC_PACKED ? 0 : 2; /* its page that is written */
	uint32_t want[] = { page_at[RX_AT / 4096], page_at[ring], page_at[VC_RING_STEP / 4096 + ring] }, n = 0;

	(void)state;
	assert_int_equal(ftruncate(fd, sizeof(log)), 0);
	handshake();
	serve();
	vc_send(&client, VU_SET_LOG_BASE, 0, &p, 16, &fd, 1);
	assert_int_equal(vc_reply(&client), 1);
	assert_int_equal(vc_ask_u64(&client, VU_SET_FEATURES, f | VU_F_LOG_ALL), 0);
	for (uint32_t q = 0; q < 2; q++) {
		struct vhost_vring_addr a = addr_of(q);

		a.flags = VU_BIT(VHOST_VRING_F_LOG);
		a.log_guest_addr = a.used_user_addr;
		assert_int_equal(vc_ask(&client, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	}
	offer(TX_AT, RX_AT, "logged");
	serve();
	assert_true(arrived(RX_AT, "logged"));
	assert_int_equal(pread(fd, log, sizeof(log), 0), sizeof(log));
	for (uint32_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		uint64_t page = VC_GPA / 4096 + want[i];

		assert_true(log[page / 8] & 1u << (page % 8));
	}
	for (uint32_t i = 0; i < sizeof(log); i++)
		n += (uint32_t)__builtin_popcount(log[i]);
	assert_int_equal(n, VC_PACKED ? 5 : 3); /* and where doorbells are asked for */
	close(fd);
}

/* virtio-net, which fetches receive buffers ahead and sends from a task. */

static struct twx_port *wire;
static uint32_t wire_got;
static char wire_bytes[60]; /* of the last frame */

static int wire_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	size_t at = 0;

	(void)port;
	for (uint32_t i = 0; n > 0 && i < frames[n - 1].n_iov; i++) {
		const struct iovec *v = &frames[n - 1].iov[i];

		assert_true(v->iov_len <= sizeof(wire_bytes) - at);
		memcpy(wire_bytes + at, v->iov_base, v->iov_len);
		at += v->iov_len;
	}
	wire_got += (uint32_t)n;
	return n;
}

static int wire_open(struct twx_backend *b, const struct twx_opts *opts, struct twx_error *e)
{
	(void)opts;
	wire = twx_backend_add_port(b, e);
	return wire != NULL ? 0 : -ENOMEM;
}

static void wire_close(struct twx_backend *b)
{
	(void)b;
}

/* A frame that is refused is sent again when the NIC says so. */
static uint8_t wire_byte;

static void wire_resume(struct twx_port *port)
{
	uint8_t bytes[60];
	struct iovec iov = { bytes, sizeof(bytes) };
	struct twx_frame f = { .iov = &iov, .n_iov = 1, .len = sizeof(bytes) };

	memset(bytes, wire_byte, sizeof(bytes));
	if (wire_byte != 0 && twx_port_send(port, &f, 1) == 1)
		wire_byte = 0;
}

static void wire_send(uint8_t byte)
{
	wire_byte = byte;
	wire_resume(wire);
}

static const struct twx_port_ops wire_ops = { .receive = wire_receive, .resume = wire_resume };
static const struct twx_opt_desc no_options[] = { { NULL } };
static const struct twx_backend_type wire_type = {
	.name = "wire", .help = "counts", .options = no_options, .port_ops = &wire_ops,
	.priv_size = 1, .open = wire_open, .close = wire_close,
};

static int open_net(void **state)
{
	struct twx_backend *b;

	wire_got = 0;
	if (vbench_open_net(&bench) < 0 || twx_net_add_backend_type(bench.net, &wire_type) < 0 ||
	    twx_backend_new(&b, bench.net, "wire,id=n0", &bench.e) < 0 ||
	    vbench_open_nic(&bench, VC_PACKED ? "virtio-net,iommu_platform=on,netdev=n0,packed=on" :
							"virtio-net,iommu_platform=on,netdev=n0") < 0)
		fail_msg("%s", bench.e.what);
	return open_guest(state);
}

/* Whether the loop comes to rest: a round that has nothing to do. */
static bool rests(void)
{
	for (int i = 0; i < 1000; i++)
		if (twx_loop_poll(bench.loop, 0) == 0)
			return true;
	return false;
}

static void test_net_transmit(void **state)
{
	(void)state;
	handshake();
	serve();
	memset(client.mem + TX_AT, 0, 4 * 4096);
	for (uint32_t i = 0; i < 3; i++)
		vc_offer(&client, 1, IOVA + TX_AT + i * 4096, 12 + 60, false);
	vc_kick(&client, 1);
	assert_true(rests());
	assert_int_equal(wire_got, 0);
	/* All three were asked for at once. */
	for (uint32_t i = 0; i < 3; i++) {
		struct miss m;

		assert_true(take_miss(&m));
		assert_int_equal(page_of(&m), TX_AT / 4096 + i);
	}
	assert_int_equal(update_page(TX_AT / 4096), 0);
	vbench_pump(&bench);
	assert_int_equal(wire_got, 1);
	assert_int_equal(update_page(TX_AT / 4096 + 1), 0);
	assert_int_equal(update_page(TX_AT / 4096 + 2), 0);
	vbench_pump(&bench);
	assert_int_equal(wire_got, 3);
	/* Doorbells are on again. Two pages that are no neighbours make one frame. */
	memcpy(client.mem + TX_AT + 4096 - 10, "0123456789over the border", 26);
	vc_offer(&client, 1, IOVA + TX_AT + 4096 - 10 - 12, 12 + 60, false);
	vc_kick(&client, 1);
	assert_int_equal(wire_got, 4);
	assert_string_equal(wire_bytes, "0123456789over the border");
}

static void test_net_receive(void **state)
{
	uint32_t len = 0;
	uint8_t *old;

	(void)state;
	handshake();
	serve();
	for (uint32_t i = 0; i < 8; i++)
		vc_offer(&client, 0, IOVA + RX_AT + i * 4096, 2048, true);
	wire_send(0x11);
	assert_true(rests());
	assert_false(vc_used(&client, 0, NULL));
	assert_int_equal(serve(), 8);
	assert_true(vc_used(&client, 0, &len));
	assert_int_equal(len, 72);
	assert_int_equal(client.mem[RX_AT + 12], 0x11);
	wire_send(0x22);
	assert_true(vc_used(&client, 0, &len));
	assert_int_equal(client.mem[RX_AT + 4096 + 12], 0x22);
	/* The third buffer is fetched already when the guest takes it back and maps another page there. */
	old = mmap(NULL, 4096, PROT_READ, MAP_SHARED, client.memfd, page_at[RX_AT / 4096 + 2] * 4096);
	assert_int_equal(invalidate(IOVA + RX_AT + 2 * 4096, 4096), 0);
	place(RX_AT / 4096 + 2, 1, 400);
	wire_send(0x33);
	assert_int_equal(serve(), 1);
	assert_true(vc_used(&client, 0, &len));
	assert_int_equal(client.mem[RX_AT + 2 * 4096 + 12], 0x33);
	assert_int_equal(old[12], 0);
	munmap(old, 4096);
	/* While the ring itself is away frames wait. */
	assert_int_equal(invalidate(IOVA, 4 * 4096), 0);
	wire_send(0x44);
	assert_true(rests());
	assert_int_equal(serve(), 3);
	assert_true(vc_used(&client, 0, &len));
	assert_int_equal(client.mem[RX_AT + 3 * 4096 + 12], 0x44);
}

#define T(name) cmocka_unit_test_setup_teardown(test_##name, open_bench, close_bench)
#define TN(name) cmocka_unit_test_setup_teardown(test_##name, open_net, close_bench)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(rings_start), T(scattered_ring), T(ring_not_permitted), T(ring_moves), T(miss), T(pieces),
		T(permissions), T(invalidate), T(invalidate_in_flight), T(update_over), T(lost_answer),
		T(many_questions), T(flood), T(bad_updates), T(sizes), T(no_channel), T(reconnection),
		T(memory_changes), cmocka_unit_test(test_offered), T(log), TN(net_transmit), TN(net_receive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
