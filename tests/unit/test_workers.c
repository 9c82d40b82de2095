/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads of a network: loops that are held, the ring between two of them, the log. Run under TSan,
 * too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <twinax/twinax.h>

#include "base/loop_shared.h"
#include "base/macros.h"
#include "net/workers.h"
#include "net/xring.h"

/* --- the ring --- */

#define FRAMES 60000u

static uint32_t len_of(uint32_t i)
{
	return 1 + (i * 2654435761u >> 8) % (i % 50 ? 1600 : 60000);
}

static void *put_all(void *arg)
{
	struct xring *r = arg;
	static uint8_t data[65536];

	for (uint32_t i = 0; i < FRAMES; i++) {
		uint32_t len = len_of(i), cut = len / 3;
		struct iovec iov[2] = { { data, cut }, { data + cut, len - cut } };
		struct twx_meta meta = { .gso_size = (uint16_t)i };

		memset(data, (int)(i & 0xff), len);
		while (!xring_put(r, i % 7, &meta, iov, 2, len))
			sched_yield();
	}
	return NULL;
}

static void test_ring_between_threads(void **state)
{
	struct xring r = { 0 };
	pthread_t thread;

	assert_int_equal(xring_init(&r, 1u << 17), 0);
	assert_int_equal(pthread_create(&thread, NULL, put_all, &r), 0);
	for (uint32_t i = 0; i < FRAMES;) {
		const struct xring_frame *f;
		uint32_t n = 0;

		while (n < 16 && (f = xring_next(&r))) {
			if (f->len != len_of(i) || f->kind != i % 7 ||
			    f->meta.gso_size != (uint16_t)i || f->data[0] != (i & 0xff) ||
			    f->data[f->len - 1] != (i & 0xff))
				fail_msg("frame %u of %u bytes", i, f->len);
			i++;
			n++;
		}
		xring_done(&r);
		if (!n)
			sched_yield();
	}
	assert_null(xring_next(&r));
	pthread_join(thread, NULL);
	xring_fini(&r);
}

static void test_ring_full(void **state)
{
	struct xring r = { 0 };
	static uint8_t data[40000];
	struct iovec iov = { data, sizeof(data) };
	struct twx_meta none = { 0 };
	unsigned int n = 0;

	assert_int_equal(xring_init(&r, 1u << 17), 0);
	while (xring_put(&r, 0, &none, &iov, 1, sizeof(data)))
		n++;
	assert_int_equal(n, 3);
	assert_non_null(xring_next(&r));
	assert_false(xring_put(&r, 0, &none, &iov, 1, sizeof(data))); /* still in use */
	xring_done(&r);
	assert_true(xring_put(&r, 0, &none, &iov, 1, sizeof(data)));
	assert_false(xring_put(&r, 0, &none, &iov, 1, TWX_FRAME_MAX + 1));
	xring_fini(&r);
}

/* --- loops that are held --- */

struct busy {
	struct twx_loop *loop;
	struct twx_task task;
	unsigned long n; /* of nobody's but who has the loop: the thread sanitizer watches */
};

static void count(struct twx_task *t)
{
	struct busy *b = container_of(t, struct busy, task);

	b->n++;
	twx_loop_defer(b->loop, t);
}

static void log_line(void *opaque, enum twx_log_level level, const char *line)
{
	unsigned int *n = opaque;

	++*n;
}

static struct twx_net *net_on(struct twx_loop *loop, unsigned int *lines)
{
	struct twx_net_config config = { .size = sizeof(config),
					 .loop = loop,
					 .log = log_line,
					 .log_opaque = lines,
					 .log_level = TWX_LOG_INFO };
	struct twx_net *net;

	assert_int_equal(twx_net_new(&net, &config, NULL), 0);
	return net;
}

static void test_held(void **state)
{
	struct busy b[3] = { 0 };
	unsigned int lines = 0;
	struct twx_loop *loop;
	struct twx_net *net;
	struct twx_error e;

	assert_int_equal(twx_loop_new(&loop, NULL), 0);
	net = net_on(loop, &lines);
	assert_int_equal(net_workers_need(net, 2, "a test", &e), 0);
	assert_int_equal(net_workers_need(net, 3, "a test", &e), 0);
	for (unsigned int i = 0; i < 3; i++) {
		b[i].loop = net_worker_loop(net, i);
		b[i].task.fn = count;
		twx_loop_defer(b[i].loop, &b[i].task);
	}
	for (unsigned int round = 0; round < 50; round++) {
		unsigned long before[3];

		/* They run while it waits, and at no other time. */
		for (unsigned int i = 0; i < 3; i++)
			before[i] = b[i].n;
		for (unsigned int spin = 0; spin < 1000; spin++)
			for (unsigned int i = 0; i < 3; i++)
				assert_int_equal(__atomic_load_n(&b[i].n, __ATOMIC_RELAXED),
						 before[i]);
		for (unsigned int tries = 0; tries < 1000 && b[0].n == before[0]; tries++)
			twx_loop_poll(loop, 1);
		assert_true(b[0].n > before[0]);
	}
	for (unsigned int i = 0; i < 3; i++)
		twx_loop_undefer(b[i].loop, &b[i].task);
	twx_net_free(net);
	twx_loop_free(loop);
}

/* A program whose loop is shared with other threads already cannot have workers. */
static void test_refused_on_a_shared_loop(void **state)
{
	unsigned int lines = 0;
	struct twx_loop *loop;
	struct twx_net *net;
	struct twx_error e = { 0 };

	assert_int_equal(twx_loop_new(&loop, NULL), 0);
	assert_int_equal(twx_loop_share(loop), 0);
	net = net_on(loop, &lines);
	assert_int_equal(twx_backend_new(NULL, net, "user,id=n0,workers=2", &e), -EINVAL);
	assert_non_null(strstr(e.what, "netdev n0: workers=2 is not possible in this program"));
	twx_net_free(net);
	twx_loop_free(loop);
}

struct talker {
	struct twx_net *net;
	struct twx_task task;
	unsigned int left;
};

static void talk(struct twx_task *t)
{
	struct talker *k = container_of(t, struct talker, task);

	for (unsigned int i = 0; i < 20; i++)
		twx_log(k->net, TWX_LOG_INFO, "line %u", i);
	if (--k->left)
		twx_loop_defer(twx_net_loop(k->net), t);
}

struct worker_talker {
	struct twx_net *net;
	struct twx_loop *loop;
	struct twx_task task;
	unsigned int left;
};

static void worker_talk(struct twx_task *t)
{
	struct worker_talker *k = container_of(t, struct worker_talker, task);

	for (unsigned int i = 0; i < 20; i++)
		twx_log(k->net, TWX_LOG_INFO, "line %u", i);
	if (--k->left)
		twx_loop_defer(k->loop, t);
}

/* Lines from several threads at once come one by one, at most so many a second, and none is torn.
 */
static void test_log(void **state)
{
	struct worker_talker k[2] = { 0 };
	unsigned int lines = 0;
	struct twx_loop *loop;
	struct twx_net *net;
	struct talker own = { .left = 50, .task.fn = talk };

	assert_int_equal(twx_loop_new(&loop, NULL), 0);
	net = net_on(loop, &lines);
	assert_int_equal(net_workers_need(net, 2, "a test", NULL), 0);
	own.net = net;
	twx_loop_defer(loop, &own.task);
	for (unsigned int i = 0; i < 2; i++) {
		k[i] = (struct worker_talker){ .net = net,
					       .loop = net_worker_loop(net, i),
					       .left = 50 };
		k[i].task.fn = worker_talk;
		twx_loop_defer(k[i].loop, &k[i].task);
	}
	for (unsigned int i = 0; i < 5000 && (k[0].left || k[1].left || own.left); i++)
		twx_loop_poll(loop, 1);
	assert_int_equal(k[0].left + k[1].left + own.left, 0);
	assert_true(lines >= 5);
	twx_net_free(net);
	twx_loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ring_between_threads),
		cmocka_unit_test(test_ring_full),
		cmocka_unit_test(test_held),
		cmocka_unit_test(test_refused_on_a_shared_loop),
		cmocka_unit_test(test_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
