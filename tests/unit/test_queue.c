/* SPDX-License-Identifier: BSD-3-Clause */
/* The incoming queue by itself: order, bounds, copying. */
#include "toy.h"

#include "net/queue.h"

static void append(struct twx_queue **q, uint8_t tag)
{
	struct twx_frame f = toy_frame(60, tag);

	assert_int_equal(queue_append(q, &f, 0), 0);
}

static void expect_chain(struct queue_node *chain, const char *tags)
{
	for (; *tags; tags++, chain = chain->next) {
		assert_non_null(chain);
		assert_int_equal(chain->data[14], *tags);
	}
	assert_null(chain);
}

static void test_order(void **state)
{
	struct twx_queue *q = NULL;
	struct queue_node *chain;
	int n;

	append(&q, 'a');
	append(&q, 'b');
	append(&q, 'c');
	chain = queue_take(&q, 2, &n);
	assert_int_equal(n, 2);
	expect_chain(chain, "ab");
	assert_int_equal(q->n, 1);
	assert_int_equal(q->bytes, 60);
	append(&q, 'd');
	assert_int_equal(queue_put_back(&q, chain), 0);
	chain = queue_take(&q, 64, &n);
	assert_int_equal(n, 4);
	expect_chain(chain, "abcd");
	assert_null(q); /* nothing is kept for an empty queue */
	queue_free_chain(chain);
	assert_null(queue_take(&q, 64, &n));
	assert_int_equal(n, 0);
}

static void test_data_is_copied(void **state)
{
	uint8_t a[20], b[1000];
	struct iovec iov[2] = { { a, sizeof(a) }, { b, sizeof(b) } };
	struct twx_frame f = { .iov = iov, .n_iov = 2, .len = 1020, .meta = { .hash = 7 } };
	struct twx_queue *q = NULL;
	struct queue_node *chain;
	int n;

	memset(a, 1, sizeof(a));
	memset(b, 2, sizeof(b));
	assert_int_equal(queue_append(&q, &f, 3), 0);
	memset(a, 9, sizeof(a));
	memset(b, 9, sizeof(b));
	chain = queue_take(&q, 1, &n);
	assert_int_equal(chain->frame.n_iov, 1);
	assert_int_equal(chain->frame.len, 1020);
	assert_int_equal(chain->frame.meta.hash, 7);
	assert_int_equal(chain->skip, 3);
	assert_int_equal(chain->data[19], 1);
	assert_int_equal(chain->data[20], 2);
	assert_int_equal(chain->data[1019], 2);
	queue_free_chain(chain);
}

static void test_bound_in_frames(void **state)
{
	struct twx_frame f = toy_frame(14, 0);
	struct twx_queue *q = NULL;
	unsigned int i;

	for (i = 0; i < QUEUE_MAX_FRAMES; i++)
		assert_int_equal(queue_append(&q, &f, 0), 0);
	assert_int_equal(queue_append(&q, &f, 0), -ENOBUFS);
	assert_int_equal(queue_purge(&q), QUEUE_MAX_FRAMES);
	assert_null(q);
	assert_int_equal(queue_purge(&q), 0);
	assert_int_equal(queue_append(&q, &f, 0), 0);
	queue_purge(&q);
}

static void test_bound_in_bytes(void **state)
{
	uint8_t *big = calloc(1, 65536);
	struct iovec iov = { big, 65536 };
	struct twx_frame f = { .iov = &iov, .n_iov = 1, .len = 65536 }, small = toy_frame(14, 0);
	struct twx_queue *q = NULL;
	int i;

	for (i = 0; i < 256; i++)
		assert_int_equal(queue_append(&q, &f, 0), 0);
	assert_int_equal(q->bytes, QUEUE_MAX_BYTES);
	assert_int_equal(queue_append(&q, &small, 0), -ENOBUFS);
	assert_int_equal(queue_purge(&q), 256);
	free(big);
}

static void test_join(void **state)
{
	struct twx_queue *a = NULL, *b = NULL;
	struct queue_node *chain;
	int n;

	queue_join(&a, NULL);
	assert_null(a);
	append(&b, '3');
	queue_join(&a, b);
	assert_int_equal(a->n, 1);
	b = NULL;
	append(&b, '4');
	append(&b, '5');
	queue_join(&a, b);
	assert_int_equal(a->n, 3);
	assert_int_equal(a->bytes, 180);
	append(&a, '6');
	chain = queue_take(&a, 9, &n);
	expect_chain(chain, "3456");
	queue_free_chain(chain);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_data_is_copied),
		cmocka_unit_test(test_bound_in_frames),
		cmocka_unit_test(test_bound_in_bytes),
		cmocka_unit_test(test_join),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
