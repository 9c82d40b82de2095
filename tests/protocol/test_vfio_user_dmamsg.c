/* SPDX-License-Identifier: BSD-3-Clause */
/* DMA by message (dma-messages=on): a client that answers, late, wrongly, not at all, and asks
 * meanwhile. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "vfio_client.h"

#define FAR 0x80000000ull /* memory that is not shared: a copy of it is in the client */
#define FAR_SIZE 0x80000u

static struct vbench bench;
static struct vfc c;
static struct echo_pci *dev;
static uint8_t far_mem[FAR_SIZE];

/* The server waits for the client, so each has a thread. */
static pthread_t thread;
static atomic_bool quit;

static void *serve(void *arg)
{
	(void)arg;
	while (!atomic_load(&quit))
		twx_loop_poll(bench.loop, 5);
	return NULL;
}

static void open_with(const char *json)
{
	uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

	if (vfbench_open(&bench, "dma-messages=on") < 0)
		fail_msg("%s", bench.e.what);
	vfc_init(&c, &bench);
	dev = vfbench_dev(&bench);
	c.blocking = true;
	atomic_store(&quit, false);
	assert_int_equal(pthread_create(&thread, NULL, serve, NULL), 0);
	vfc_connect(&c);
	assert_int_equal(vfc_version(&c, 0, 0, json), 0);
	assert_int_equal(vfc_map(&c, VFC_ADDR, VFC_MEM, 0, VFC_RW, c.memfd), 0);
	assert_int_equal(vfc_map(&c, FAR, FAR_SIZE, 0, VFC_RW, -1), 0);
	assert_int_equal(vfc_rw(&c, true, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2),
			 0);
}

static int open_bench(void **state)
{
	(void)state;
	open_with("{\"capabilities\":{\"max_data_xfer_size\":1048576}}");
	return 0;
}

static int close_bench(void **state)
{
	(void)state;
	atomic_store(&quit, true);
	pthread_join(thread, NULL);
	c.blocking = false;
	vfc_fini(&c);
	vbench_close(&bench);
	return 0;
}

/* Registers that make the device move @len bytes; the last write is posted. */
static void start_dma(uint64_t addr, uint32_t len, bool write)
{
	vfc_put(&c, 0, EP_ADDR_LO, (uint32_t)addr);
	vfc_put(&c, 0, EP_ADDR_HI, (uint32_t)(addr >> 32));
	vfc_put(&c, 0, EP_LEN, len);
	vfc_post(&c, 0, EP_DMA, write ? 2 : 1);
}

/* A request of the server's is in c.head and c.reply. */
static struct vfu_dma_rw request(uint16_t command)
{
	struct vfu_dma_rw rw;

	assert_int_equal(c.head.command, command);
	assert_int_equal(c.head.flags, VFU_TYPE_COMMAND);
	memcpy(&rw, c.reply, sizeof(rw));
	assert_true(rw.addr >= FAR && rw.addr - FAR <= FAR_SIZE && rw.count <= FAR_SIZE);
	assert_int_equal(c.reply_len, sizeof(rw) + (command == VFU_DMA_WRITE ? rw.count : 0));
	return rw;
}

static struct vfu_dma_rw expect_request(uint16_t command)
{
	assert_int_equal(vfc_reply(&c), 1);
	return request(command);
}

static void send_answer(uint16_t id, uint16_t command, uint32_t flags, uint32_t error,
			const void *a, size_t a_len, const void *b, size_t b_len)
{
	struct vfu_header h = { id, command, (uint32_t)(sizeof(h) + a_len + b_len),
				VFU_TYPE_REPLY | flags, error };
	struct iovec iov[3] = { { &h, sizeof(h) },
				{ (void *)(uintptr_t)a, a_len },
				{ (void *)(uintptr_t)b, b_len } };
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 3 };

	assert_int_equal(sendmsg(c.fd, &mh, MSG_NOSIGNAL), h.size);
}

static void answer_read(struct vfu_dma_rw rw)
{
	send_answer(c.head.id, VFU_DMA_READ, 0, 0, &rw, sizeof(rw), far_mem + (rw.addr - FAR),
		    rw.count);
}

static void answer_write(struct vfu_dma_rw rw, size_t how_much)
{
	memcpy(far_mem + (rw.addr - FAR), c.reply + sizeof(rw), rw.count);
	send_answer(c.head.id, VFU_DMA_WRITE, 0, 0, &rw, how_much, NULL, 0);
}

static void test_read(void **state)
{
	struct vfu_dma_rw rw;

	(void)state;
	for (uint32_t i = 0; i < FAR_SIZE; i++)
		far_mem[i] = (uint8_t)(i * 5 + (i >> 9));
	start_dma(FAR + 0x123, 1000, false);
	rw = expect_request(VFU_DMA_READ);
	assert_int_equal(rw.addr, FAR + 0x123);
	assert_int_equal(rw.count, 1000);
	answer_read(rw);
	assert_int_equal(vfc_get(&c, 0, EP_RESULT), 0);
	assert_memory_equal(dev->data, far_mem + 0x123, 1000);
}

/* With the header alone, as QEMU answers, and as the specification has it. */
static void test_write(void **state)
{
	(void)state;
	for (size_t how_much = 0; how_much <= sizeof(struct vfu_dma_rw); how_much += 4) {
		struct vfu_dma_rw rw;

		for (int i = 0; i < 600; i++)
			dev->data[i] = (uint8_t)(i + (int)how_much);
		start_dma(FAR + 0x10, 600, true);
		rw = expect_request(VFU_DMA_WRITE);
		answer_write(rw, how_much);
		assert_int_equal(vfc_get(&c, 0, EP_RESULT), 0);
		assert_memory_equal(dev->data, far_mem + 0x10, 600);
	}
}

/* More than one message takes, and across the border to memory that is shared. */
static void test_pieces(void **state)
{
	uint32_t got = 0, n_requests = 0, len = 0x40000;

	(void)state;
	for (uint32_t i = 0; i < FAR_SIZE; i++)
		far_mem[i] = (uint8_t)(i ^ i >> 8);
	assert_int_equal(vfc_map(&c, FAR - 0x1000, 0x1000, 0, VFC_RW, c.memfd), 0);
	memset(c.mem, 0x99, 0x1000);
	start_dma(FAR - 0x800, len, false);
	while (got < len - 0x800) {
		struct vfu_dma_rw rw = expect_request(VFU_DMA_READ);

		assert_int_equal(rw.addr, FAR + got);
		answer_read(rw);
		got += (uint32_t)rw.count;
		n_requests++;
	}
	assert_true(n_requests > 1);
	assert_int_equal(vfc_get(&c, 0, EP_RESULT), 0);
	assert_int_equal(dev->data[0x7ff], 0x99);
	assert_memory_equal(dev->data + 0x800, far_mem, len - 0x800);
}

/* No more than the client takes. */
static void test_client_limit(void **state)
{
	(void)state;
	close_bench(NULL);
	open_with("{\"capabilities\":{\"max_data_xfer_size\":100}}");
	start_dma(FAR, 250, true);
	for (int i = 0; i < 3; i++) {
		struct vfu_dma_rw rw = expect_request(VFU_DMA_WRITE);

		assert_int_equal(rw.count, i < 2 ? 100 : 50);
		answer_write(rw, 0);
	}
	assert_int_equal(vfc_get(&c, 0, EP_RESULT), 0);
	close_bench(NULL);
	open_with("{\"capabilities\":{\"max_data_xfer_size\":0}}");
	start_dma(FAR, 250, true);
	assert_int_equal(vfc_get(&c, 0, EP_RESULT), EFAULT);
}

static void test_error_reply(void **state)
{
	(void)state;
	start_dma(FAR, 64, false);
	(void)expect_request(VFU_DMA_READ);
	send_answer(c.head.id, VFU_DMA_READ, VFU_ERROR, EPERM, NULL, 0, NULL, 0);
	assert_int_equal(vfc_get(&c, 0, EP_RESULT), EFAULT);
	start_dma(FAR, 64, false);
	answer_read(expect_request(VFU_DMA_READ));
	assert_int_equal(vfc_get(&c, 0, EP_RESULT), 0);
}

/* What the client asks meanwhile is answered when the device is done, in order. */
static void test_requests_meanwhile(void **state)
{
	struct vfu_region_rw rw = { EP_RESULT, 0, 4 };
	uint16_t first;
	struct vfu_dma_rw dma;

	(void)state;
	start_dma(FAR, 64, false);
	dma = expect_request(VFU_DMA_READ);
	for (uint32_t i = 0; i < 50; i++)
		vfc_post(&c, 0, EP_SUM, i);
	first = (uint16_t)(c.id + 1);
	for (int i = 0; i < 10; i++)
		vfc_send(&c, VFU_REGION_READ, 0, &rw, sizeof(rw), NULL, 0);
	/* Memory comes meanwhile, with a descriptor. */
	{
		struct vfu_dma_map m = { sizeof(m), VFC_RW, 0, 0x40000000, 0x1000 };

		vfc_send(&c, VFU_DMA_MAP, 0, &m, sizeof(m), &c.memfd, 1);
	}
	answer_read(dma);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(vfc_reply(&c), 1);
		assert_int_equal(c.head.id, (uint16_t)(first + i));
		assert_int_equal(c.head.command, VFU_REGION_READ);
	}
	assert_int_equal(vfc_reply(&c), 1);
	assert_int_equal(c.head.command, VFU_DMA_MAP);
	assert_int_equal(c.head.flags, VFU_TYPE_REPLY);
	assert_int_equal(vfc_get(&c, 0, EP_WRITES), 54);
	assert_int_equal(vfc_dma(&c, 0x40000000, 16, true), 0);
}

/* The device starts two transfers out of messages that came together. */
static void test_back_to_back(void **state)
{
	(void)state;
	start_dma(FAR, 64, false);
	vfc_post(&c, 0, EP_DMA, 1);
	vfc_post(&c, 0, EP_DMA, 1);
	for (int i = 0; i < 3; i++)
		answer_read(expect_request(VFU_DMA_READ));
	assert_int_equal(vfc_get(&c, 0, EP_RESULT), 0);
	assert_int_equal(vfc_get(&c, 0, EP_WRITES), 6);
}

/* More posted writes in one read than may wait: a large message has made room for them. */
static void test_many_at_once(void **state)
{
	enum { N = 4000 };
	struct {
		struct vfu_header h;
		struct vfu_region_rw rw;
		uint32_t v;
	} __attribute__((packed)) *m = calloc(N, sizeof(*m));
	static uint8_t large[sizeof(struct vfu_region_rw) + 0x10000];
	struct vfu_region_rw rw = { 0, 0, 0x10000 };

	(void)state;
	for (int i = 0; i < N; i++) {
		m[i].h = (struct vfu_header){ 1, VFU_REGION_WRITE, sizeof(*m), VFU_NO_REPLY, 0 };
		m[i].rw = (struct vfu_region_rw){ EP_SCRATCH, 0, 4 };
		m[i].v = (uint32_t)i;
	}
	memcpy(large, &rw, sizeof(rw));
	assert_int_equal(vfc_ask(&c, VFU_REGION_WRITE, large, sizeof(large), NULL, 0), EINVAL);
	assert_int_equal(send(c.fd, m, N * sizeof(*m), MSG_NOSIGNAL), N * sizeof(*m));
	assert_int_equal(vfc_get(&c, 0, EP_SCRATCH), N - 1);
	free(m);
}

/* Replies that are due leave before a request does: the client may wait for them. */
static void test_replies_first(void **state)
{
	struct {
		struct vfu_header h;
		struct vfu_region_rw rw;
		uint32_t v;
	} __attribute__((packed)) m[2] = {
		{ { 100, VFU_REGION_WRITE, 36, 0, 0 }, { EP_SUM, 0, 4 }, 1 },
		{ { 101, VFU_REGION_WRITE, 36, 0, 0 }, { EP_DMA, 0, 4 }, 1 },
	};

	(void)state;
	vfc_put(&c, 0, EP_ADDR_LO, (uint32_t)FAR);
	vfc_put(&c, 0, EP_LEN, 16);
	assert_int_equal(send(c.fd, m, sizeof(m), 0), sizeof(m));
	assert_int_equal(vfc_reply(&c), 1);
	assert_int_equal(c.head.id, 100);
	assert_int_equal(c.head.flags, VFU_TYPE_REPLY);
	answer_read(expect_request(VFU_DMA_READ));
	assert_int_equal(vfc_reply(&c), 1);
	assert_int_equal(c.head.id, 101);
	assert_int_equal(vfc_get(&c, 0, EP_RESULT), 0);
}

/* A register that moves something when it is read, behind a reply that has not left yet. */
static void test_read_that_waits(void **state)
{
	struct {
		struct vfu_header h;
		struct vfu_region_rw rw;
	} m[2] = {
		{ { 100, VFU_REGION_READ, 32, 0, 0 }, { EP_SCRATCH, 0, 4 } },
		{ { 101, VFU_REGION_READ, 32, 0, 0 }, { EP_DMA_READ, 0, 4 } },
	};
	uint32_t v;

	(void)state;
	vfc_put(&c, 0, EP_SCRATCH, 0x1234567);
	vfc_put(&c, 0, EP_ADDR_LO, (uint32_t)FAR);
	vfc_put(&c, 0, EP_LEN, 16);
	assert_int_equal(send(c.fd, m, sizeof(m), 0), sizeof(m));
	assert_int_equal(vfc_reply(&c), 1);
	assert_int_equal(c.head.id, 100);
	memcpy(&v, c.reply + 16, 4);
	assert_int_equal(v, 0x1234567);
	(void)expect_request(VFU_DMA_READ);
	send_answer(c.head.id, VFU_DMA_READ, VFU_ERROR, 5, NULL, 0, NULL, 0);
	assert_int_equal(vfc_reply(&c), 1);
	assert_int_equal(c.head.id, 101);
	assert_int_equal(c.head.flags, VFU_TYPE_REPLY);
	assert_int_equal(c.reply_len, 20);
	memcpy(&v, c.reply + 16, 4);
	assert_int_equal(v, EFAULT);
}

/* The device moves something by itself, for a frame from its neighbour; what the client asked
 * meanwhile is answered without another message to wake the server. */
static void frame_comes(struct twx_task *t)
{
	static uint8_t bytes[64] = { 1, 2, 3 };
	struct iovec iov = { bytes, sizeof(bytes) };
	struct twx_frame f = { .iov = &iov, .n_iov = 1, .len = sizeof(bytes) };
	struct twx_port *port = bench.nic->ports[0];

	(void)t;
	(void)port->ops->receive(port, &f, 1);
}

static void test_requests_meanwhile_frame(void **state)
{
	struct vfu_region_rw read = { EP_SCRATCH, 0, 4 };
	struct twx_task task = { .fn = frame_comes };
	struct vfu_dma_rw rw;

	(void)state;
	vfc_put(&c, 0, EP_SCRATCH, 9);
	vfc_put(&c, 0, EP_ADDR_LO, (uint32_t)FAR);
	vfc_put(&c, 0, EP_LEN, 1);
	twx_loop_post(bench.loop, &task);
	rw = expect_request(VFU_DMA_WRITE);
	vfc_send(&c, VFU_REGION_READ, 0, &read, sizeof(read), NULL, 0);
	answer_write(rw, 0);
	assert_int_equal(vfc_reply(&c), 1);
	assert_int_equal(c.head.command, VFU_REGION_READ);
	assert_int_equal(c.reply[16], 9);
	assert_int_equal(far_mem[2], 3);
}

/* A slow client is within its rights as often as it likes: the bound is for one round of the loop.
 */
static void test_slow_client(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		struct vfu_dma_rw rw;

		start_dma(FAR, 64, false);
		rw = expect_request(VFU_DMA_READ);
		usleep(300000);
		answer_read(rw);
		assert_int_equal(vfc_get(&c, 0, EP_RESULT), 0);
	}
}

static bool closed(void)
{
	return vfc_reply(&c) < 0;
}

static void reopen(void)
{
	close_bench(NULL);
	open_bench(NULL);
}

/* Nothing comes: the connection ends, and with it the waiting. Then the next client is served. */
static void test_deadline(void **state)
{
	int before;

	(void)state;
	before = open_fds();
	start_dma(FAR, 64, false);
	(void)expect_request(VFU_DMA_READ);
	assert_true(closed());
	c.blocking = false;
	close(c.fd);
	c.fd = -1;
	c.blocking = true;
	for (int i = 0; i < 500 && strstr(bench.log, "does not answer a DMA request") == NULL; i++)
		usleep(10000);
	assert_non_null(strstr(bench.log, "does not answer a DMA request"));
	vfc_connect(&c);
	assert_int_equal(vfc_version(&c, 0, 0, NULL), 0);
	assert_int_equal(open_fds(), before);
}

/* Requests without end do not put the deadline off. */
static void test_deadline_under_fire(void **state)
{
	struct vfu_region_rw rw = { EP_SUM, 0, 4 };
	int n = 0;

	(void)state;
	start_dma(FAR, 64, false);
	(void)expect_request(VFU_DMA_READ);
	c.blocking = false; /* sends do not wait */
	for (; n < 100000; n++) {
		struct vfu_header h = { 1, VFU_REGION_READ, 32, 0, 0 };
		struct iovec iov[2] = { { &h, sizeof(h) }, { &rw, sizeof(rw) } };
		struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 2 };

		if (sendmsg(c.fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN)
			break;
		usleep(100);
	}
	c.blocking = true;
	assert_true(n < 100000);
}

static void test_hangup_meanwhile(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++) {
		start_dma(FAR, 64, i % 2 != 0);
		(void)expect_request(i % 2 != 0 ? VFU_DMA_WRITE : VFU_DMA_READ);
		close(c.fd);
		c.fd = -1;
		reopen();
	}
	start_dma(FAR, 64, false);
	answer_read(expect_request(VFU_DMA_READ));
	assert_int_equal(vfc_get(&c, 0, EP_RESULT), 0);
}

/* Answers that are none. */
static void test_wrong_answers(void **state)
{
	(void)state;
	for (int way = 0; way < 7; way++) {
		struct vfu_dma_rw rw;
		uint16_t id;

		start_dma(FAR, 64, false);
		rw = expect_request(VFU_DMA_READ);
		id = c.head.id;
		switch (way) {
		case 0: /* of another request */
			send_answer((uint16_t)(id + 1), VFU_DMA_READ, 0, 0, &rw, sizeof(rw),
				    far_mem, 64);
			break;
		case 1: /* to another command */
			send_answer(id, VFU_DMA_WRITE, 0, 0, &rw, sizeof(rw), far_mem, 64);
			break;
		case 2: /* too short, too long, nothing at all */
			send_answer(id, VFU_DMA_READ, 0, 0, &rw, sizeof(rw), far_mem, 63);
			break;
		case 3:
			send_answer(id, VFU_DMA_READ, 0, 0, &rw, sizeof(rw), far_mem, 65);
			break;
		case 4:
			send_answer(id, VFU_DMA_READ, 0, 0, NULL, 0, NULL, 0);
			break;
		case 5: /* counts that do not agree */
			rw.count = UINT64_MAX;
			send_answer(id, VFU_DMA_READ, 0, 0, &rw, sizeof(rw), far_mem, 64);
			break;
		case 6: /* twice */
			send_answer(id, VFU_DMA_READ, 0, 0, &rw, sizeof(rw), far_mem, 64);
			send_answer(id, VFU_DMA_READ, 0, 0, &rw, sizeof(rw), far_mem, 64);
			break;
		}
		if (!closed())
			fail_msg("way %d", way);
		reopen();
	}
}

/* The descriptors that requests brought while the device waited are not lost with the connection.
 */
static void test_held_fds(void **state)
{
	struct vfu_dma_map m = { sizeof(m), VFC_RW, 0, 0x40000000, 0x1000 };
	int before = open_fds();

	(void)state;
	start_dma(FAR, 64, false);
	(void)expect_request(VFU_DMA_READ);
	for (int i = 0; i < 20; i++)
		vfc_send(&c, VFU_DMA_MAP, 0, &m, sizeof(m), &c.memfd, 1);
	assert_true(closed());
	close(c.fd);
	c.fd = -1;
	vfc_connect(&c);
	assert_int_equal(vfc_version(&c, 0, 0, NULL), 0);
	assert_int_equal(open_fds(), before);
}

/* Writes by message are in the dirty log, too. */
static void test_logged(void **state)
{
	const uint64_t start[2] = { 4096, 0 }, report[3] = { FAR, FAR_SIZE, 4096 };

	(void)state;
	assert_int_equal(
		vfc_feature(&c, VFIO_DEVICE_FEATURE_DMA_LOGGING_START | VFIO_DEVICE_FEATURE_SET, 24,
			    start, sizeof(start)),
		0);
	start_dma(FAR + 0x3000, 64, true);
	answer_write(expect_request(VFU_DMA_WRITE), 0);
	assert_int_equal(
		vfc_feature(&c, VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT | VFIO_DEVICE_FEATURE_GET,
			    4096, report, sizeof(report)),
		0);
	assert_int_equal(c.reply[32], 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_read, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_write, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_pieces, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_client_limit, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_error_reply, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_requests_meanwhile, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_back_to_back, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_many_at_once, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_replies_first, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_read_that_waits, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_requests_meanwhile_frame, open_bench,
						close_bench),
		cmocka_unit_test_setup_teardown(test_slow_client, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_deadline, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_deadline_under_fire, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_hangup_meanwhile, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_wrong_answers, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_held_fds, open_bench, close_bench),
		cmocka_unit_test_setup_teardown(test_logged, open_bench, close_bench),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
