/* SPDX-License-Identifier: BSD-3-Clause */
/* filter-impair: what it does to frames, when, in which order, and that it does so again. */
#include "fake_backend.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "base/loop_virtual.h"
#include "base/macros.h"
#include "net/filter.h"

#define MS UINT64_C(1000000)

/* A clock that only the test moves, and a backend with a guest. */
struct rig {
	struct world *w;
	struct twx_watch clock;
	uint64_t until;
	struct fake fk;
	struct twx_port *port; /* the backend's */
};

static void clock_moves(struct twx_watch *watch, uint32_t events)
{
	struct rig *r = container_of(watch, struct rig, clock);
	uint64_t count;

	assert_int_equal(read(watch->fd, &count, sizeof(count)), sizeof(count));
	while (!loop_virtual_advance(r->w->loop, r->until, 1000))
		;
}

static void pass(struct rig *r, uint64_t ns)
{
	uint64_t one = 1;

	r->until = twx_loop_now(r->w->loop) + ns;
	assert_int_equal(write(r->clock.fd, &one, sizeof(one)), sizeof(one));
	world_poll(r->w);
	assert_true(twx_loop_now(r->w->loop) == r->until);
}

static int rig_setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	void *world;

	world_setup(&world);
	r->w = world;
	r->port = fake_backend(r->w, &r->fk)->ports[0];
	assert_int_equal(loop_virtual_start(r->w->loop), 0);
	assert_int_equal(
		twx_watch_add(&r->clock, r->w->loop, eventfd(0, EFD_CLOEXEC), EPOLLIN, clock_moves),
		0);
	*state = r;
	return 0;
}

static int rig_teardown(void **state)
{
	struct rig *r = *state;
	void *world = r->w;
	int fd = r->clock.fd;

	twx_watch_del(&r->clock);
	close(fd);
	loop_virtual_stop(r->w->loop);
	twx_backend_free(twx_backend_find(r->w->net, "n0"));
	fake_free(&r->fk);
	world_teardown(&world);
	free(r);
	return 0;
}

#define rig_test(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

static struct twx_filter *impair(struct rig *r, const char *more)
{
	struct twx_filter *f;
	struct twx_error e;
	char text[256];

	snprintf(text, sizeof(text), "filter-impair,netdev=n0,%s", more);
	if (twx_filter_new(&f, r->w->net, text, &e) < 0)
		fail_msg("%s: %s", text, e.what);
	return f;
}

/* From the backend to the guest. */
static void down(struct rig *r, uint8_t tag)
{
	struct twx_frame f = toy_frame(60, tag);

	twx_port_post(r->port, &f, 1);
	world_poll(r->w);
}

static void up(struct rig *r, uint8_t tag)
{
	assert_int_equal(toy_send(r->fk.guest, tag), 1);
	world_poll(r->w);
}

static void test_delay_both_ways(void **state)
{
	struct rig *r = *state;

	impair(r, "id=f0,delay=20ms");
	up(r, 'a');
	down(r, 'x');
	pass(r, 10 * MS);
	up(r, 'b');
	pass(r, 10 * MS - 1);
	toy_expect(r->fk.host, "");
	toy_expect(r->fk.guest, "");
	pass(r, 1);
	toy_expect(r->fk.host, "a");
	toy_expect(r->fk.guest, "x");
	pass(r, 10 * MS);
	toy_expect(r->fk.host, "ab");
}

static void test_one_way_only(void **state)
{
	struct rig *r = *state;

	impair(r, "id=f0,delay=1ms,queue=tx");
	up(r, 'a');
	down(r, 'x');
	toy_expect(r->fk.host, "a");
	toy_expect(r->fk.guest, "");
	pass(r, MS);
	toy_expect(r->fk.guest, "x");
}

/* What is copied is the whole frame with what it asks of its receiver. */
static void test_frames_keep_their_offload(void **state)
{
	static uint8_t data[4000];
	struct iovec iov[2] = { { data, 1000 }, { data + 1000, 3000 } };
	struct twx_frame f = { .iov = iov, .n_iov = 2, .len = 4000 };
	struct twx_caps caps = { .flags = TWX_CAP_TSO4 | TWX_CAP_CSUM };
	struct rig *r = *state;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	/* Ethernet, IPv4, TCP */
	memcpy(data + 12, "\x08\x00\x45\x00\x0f\x92\x00\x00\x40\x00\x40\x06", 12);
	data[46] = 0x50;
	f.meta = (struct twx_meta){ .flags = TWX_F_NEEDS_CSUM,
				    .gso = TWX_GSO_TCPV4,
				    .gso_size = 1000,
				    .csum_start = 34,
				    .csum_off = 16,
				    .hdr_len = 54 };
	twx_port_set_caps(&r->fk.guest->port, caps);
	impair(r, "id=f0,delay=1ms");
	twx_port_post(r->port, &f, 1);
	memset(data, 0, sizeof(data)); /* as its sender may, once it is gone */
	pass(r, MS);
	assert_int_equal(r->fk.guest->n_got, 1);
	assert_int_equal(r->fk.guest->got[0].len, 4000);
	assert_int_equal(r->fk.guest->got[0].meta.gso, TWX_GSO_TCPV4);
	assert_int_equal(r->fk.guest->got[0].meta.gso_size, 1000);
	assert_int_equal(r->fk.guest->got[0].meta.csum_start, 34);
	assert_int_equal(r->fk.guest->got[0].data[3999], (uint8_t)(3999 * 7));
}

/* The numbers of the frames that the guest got, sent one each ms, as bytes. */
static int run(struct rig *r, const char *options, uint8_t *out, int n)
{
	struct twx_filter *f = impair(r, options);
	int i, got;

	toy_forget(r->fk.guest);
	for (i = 0; i < n; i++) {
		down(r, (uint8_t)i);
		pass(r, MS);
	}
	pass(r, 1000 * MS);
	got = r->fk.guest->n_got;
	for (i = 0; i < got; i++)
		out[i] = r->fk.guest->got[i].data[14];
	twx_filter_free(f);
	return got;
}

static void test_loss(void **state)
{
	struct rig *r = *state;
	static uint8_t a[2048], b[2048];
	int n, m, i;

	n = run(r, "id=f0,loss=10%", a, 2000);
	assert_in_range(n, 1740, 1860); /* 4 sigma and more */
	assert_int_equal(r->port->count.drops[TWX_DROP_IMPAIRED], 2000 - n);
	for (i = 1; i < n; i++)
		assert_int_not_equal(a[i], a[i - 1]); /* in order, none twice */
	m = run(r, "id=f0,loss=10%,seed=1", b, 2000);
	assert_int_equal(m, n);
	assert_memory_equal(a, b, (size_t)n);
	/* What else is asked for does not change who is lost. */
	m = run(r, "id=f0,loss=10%,delay=30ms,jitter=20ms", b, 2000);
	assert_int_equal(m, n);
	assert_memory_equal(a, b, (size_t)n);
	m = run(r, "id=f0,loss=10%,seed=2", b, 2000);
	assert_true(m != n || memcmp(a, b, (size_t)n) != 0);
	assert_int_equal(run(r, "id=f0,loss=100%", a, 100), 0);
	assert_int_equal(run(r, "id=f0,loss=0%", a, 100), 100);
}

static void test_duplicates_follow_at_once(void **state)
{
	struct rig *r = *state;
	static uint8_t a[4096];
	int n, i, twice = 0;

	assert_int_equal(run(r, "id=f0,duplicate=100%", a, 100), 200);
	for (i = 0; i < 200; i++)
		assert_int_equal(a[i], i / 2);
	n = run(r, "id=f0,duplicate=10%,delay=5ms", a, 250);
	for (i = 1; i < n; i++) {
		if (a[i] == a[i - 1])
			twice++;
		else
			assert_int_equal(a[i], a[i - 1] + 1);
	}
	assert_int_equal(twice, n - 250);
	assert_in_range(twice, 6, 50);
}

/* Without delay the copy comes a round later; what is sent meanwhile stays behind it. */
static void test_duplicates_keep_the_order(void **state)
{
	struct twx_frame f[3] = { toy_frame(60, 'a'), toy_frame(60, 'b'), toy_frame(60, 'c') };
	struct rig *r = *state;

	impair(r, "id=f0,duplicate=100%");
	twx_port_post(r->port, f, 3);
	pass(r, 1);
	toy_expect(r->fk.guest, "aabbcc");
}

static void test_jitter_varies_and_does_not_reorder(void **state)
{
	struct rig *r = *state;
	static uint8_t a[256];
	int i, n_arrived = 0, n_changes = 0, was = 0;
	struct twx_filter *f;

	assert_int_equal(run(r, "id=f0,delay=20ms,jitter=20ms", a, 250), 250);
	for (i = 0; i < 250; i++)
		assert_int_equal(a[i], i);
	/* One frame at a time: none before 10 ms or after 30 ms, and not all alike. */
	f = impair(r, "id=f0,delay=20ms,jitter=10ms");
	for (i = 0; i < 50; i++) {
		toy_forget(r->fk.guest);
		down(r, 'x');
		pass(r, 10 * MS - 1);
		toy_expect(r->fk.guest, "");
		pass(r, 10 * MS);
		n_arrived += r->fk.guest->n_got;
		n_changes += r->fk.guest->n_got != was;
		was = r->fk.guest->n_got;
		pass(r, 10 * MS + 2);
		toy_expect(r->fk.guest, "x");
	}
	assert_in_range(n_arrived, 10, 40);
	assert_true(n_changes > 5);
	twx_filter_free(f);
}

static void test_reordered_frames_overtake(void **state)
{
	struct rig *r = *state;
	static uint8_t a[256];
	int i, next = 0, early = 0;
	bool seen[250] = { false };

	assert_int_equal(run(r, "id=f0,delay=20ms,reorder=10%", a, 250), 250);
	for (i = 0; i < 250; i++) {
		assert_false(seen[a[i]]);
		seen[a[i]] = true;
		while (next < 250 && next != a[i] && seen[next])
			next++;
		/* Either the first that has not come yet, or one past those that wait. */
		early += a[i] != next;
		assert_in_range(a[i], next, next + 20);
	}
	assert_in_range(early, 8, 50);
	assert_int_equal(run(r, "id=f0,delay=20ms,reorder=100%", a, 100), 100);
	for (i = 0; i < 100; i++)
		assert_int_equal(a[i], i);
}

/* 60 bytes at 48 kbit/s take 10 ms. */
static void test_rate(void **state)
{
	struct rig *r = *state;
	int i;

	impair(r, "id=f0,rate=48kbit,delay=1ms");
	for (i = 0; i < 3; i++)
		down(r, (uint8_t)('a' + i));
	pass(r, 11 * MS - 1);
	toy_expect(r->fk.guest, "");
	pass(r, 1);
	toy_expect(r->fk.guest, "a");
	pass(r, 10 * MS);
	toy_expect(r->fk.guest, "ab");
	pass(r, 10 * MS);
	toy_expect(r->fk.guest, "abc");
	pass(r, 100 * MS); /* an idle line saves nothing up */
	down(r, 'd');
	down(r, 'e');
	pass(r, 11 * MS);
	toy_expect(r->fk.guest, "abcd");
}

/* What does not fit keeps nobody waiting: the line carries rate= while more than that comes. */
static void test_rate_is_carried_under_overload(void **state)
{
	struct rig *r = *state;
	int i;

	impair(r, "id=f0,rate=48kbit,limit=2");
	for (i = 0; i < 6; i++)
		down(r, (uint8_t)('a' + i));
	assert_int_equal(r->port->count.drops[TWX_DROP_LIMIT], 4);
	pass(r, 20 * MS);
	toy_expect(r->fk.guest, "ab");
	down(r, 'g');
	pass(r, 10 * MS);
	toy_expect(r->fk.guest, "abg");
}

static void test_limit(void **state)
{
	struct rig *r = *state;
	int i;

	impair(r, "id=f0,delay=1ms,limit=5");
	for (i = 0; i < 8; i++)
		down(r, (uint8_t)('a' + i));
	assert_int_equal(r->port->count.drops[TWX_DROP_LIMIT], 3);
	pass(r, MS);
	toy_expect(r->fk.guest, "abcde");
	down(r, 'i');
	pass(r, MS);
	toy_expect(r->fk.guest, "abcdei");
}

/* Large frames fill the bytes that may wait before they are too many. */
static void test_bytes_are_bounded(void **state)
{
	struct rig *r = *state;
	uint8_t *big = calloc(1, TWX_FRAME_MAX);
	struct iovec iov = { big, TWX_FRAME_MAX };
	struct twx_frame f = { .iov = &iov, .n_iov = 1, .len = TWX_FRAME_MAX };
	int i;

	impair(r, "id=f0,delay=1ms,limit=100000");
	for (i = 0; i < 2000; i++)
		twx_port_post(r->port, &f, 1);
	assert_int_equal(r->port->count.drops[TWX_DROP_LIMIT], 2000 - (64u << 20) / TWX_FRAME_MAX);
	free(big);
}

static void test_pulled_cable(void **state)
{
	struct rig *r = *state;

	impair(r, "id=f0,delay=10ms");
	down(r, 'a');
	up(r, 'b');
	twx_port_set_link(&r->fk.guest->port, false);
	assert_int_equal(r->port->count.drops[TWX_DROP_LINK_DOWN], 2);
	twx_port_set_link(&r->fk.guest->port, true);
	pass(r, 10 * MS); /* not a word from before */
	down(r, 'c');
	pass(r, 10 * MS);
	toy_expect(r->fk.guest, "c");
	toy_expect(r->fk.host, "");
	down(r, 'd');
	twx_port_unpair(r->port);
	assert_int_equal(r->port->count.drops[TWX_DROP_NO_PEER], 1);
	pass(r, 10 * MS);
	assert_int_equal(twx_port_pair(&r->fk.guest->port, r->port, NULL), 0);
	pass(r, 10 * MS);
	toy_expect(r->fk.guest, "c");
}

/* Freed with frames in it, by itself and with its backend (the sanitizers look on). */
static void test_closed_with_frames_in_it(void **state)
{
	struct rig *r = *state;
	struct twx_filter *f = impair(r, "id=f0,delay=10ms");

	down(r, 'a');
	twx_filter_free(f);
	pass(r, 10 * MS);
	toy_expect(r->fk.guest, "");
	impair(r, "id=f1,delay=10ms");
	down(r, 'b');
	up(r, 'c');
}

static void answer(struct toy *t)
{
	struct rig *r = t->user;

	if (t->n_got < 20) {
		struct twx_frame f = toy_frame(60, (uint8_t)('a' + t->n_got));

		twx_port_post(t == r->fk.guest ? &t->port : r->port, &f, 1);
	}
}

/* Both ends answer each other from inside receive: each answer waits its own time. */
static void test_answers_from_inside_receive(void **state)
{
	struct rig *r = *state;
	int i;

	impair(r, "id=f0,delay=1ms");
	r->fk.guest->user = r->fk.host->user = r;
	r->fk.guest->on_receive = r->fk.host->on_receive = answer;
	down(r, 'x');
	for (i = 1; i <= 10; i++) {
		pass(r, MS);
		assert_int_equal(r->fk.guest->n_got + r->fk.host->n_got, i);
	}
	r->fk.guest->on_receive = r->fk.host->on_receive = NULL;
	assert_int_equal(r->fk.guest->deepest, 1);
}

static void test_busy_receiver(void **state)
{
	struct rig *r = *state;
	int i;

	impair(r, "id=f0,delay=1ms");
	r->fk.guest->room = 2;
	for (i = 0; i < 5; i++)
		down(r, (uint8_t)('a' + i));
	pass(r, MS);
	toy_expect(r->fk.guest, "ab");
	pass(r, MS);
	r->fk.guest->room = TOY_NO_LIMIT;
	twx_port_ready(&r->fk.guest->port);
	toy_expect(r->fk.guest, "abcde");
}

static uint32_t size_of(const char *path)
{
	FILE *f = fopen(path, "rb");
	long n;

	assert_non_null(f);
	fseek(f, 0, SEEK_END);
	n = ftell(f);
	fclose(f);
	return (uint32_t)n;
}

/*
 * A frame that was held goes on behind the filter that held it: those before it see it once, those
 * after it when it is released, in both directions.
 */
static void test_the_rest_of_the_chain_sees_it_later(void **state)
{
	struct rig *r = *state;
	char path[2][64], text[256];
	struct twx_filter *dump[2];
	int i;

	for (i = 0; i < 2; i++) {
		snprintf(path[i], sizeof(path[i]), "/tmp/twinax-impair-%d-%d", getpid(), i);
		if (i)
			impair(r, "id=f0,delay=10ms,duplicate=100%");
		snprintf(text, sizeof(text), "filter-dump,netdev=n0,id=d%d,file=%s", i, path[i]);
		assert_int_equal(twx_filter_new(&dump[i], r->w->net, text, NULL), 0);
	}
	down(r, 'a'); /* d0 first */
	up(r, 'b');   /* d1 first */
	pass(r, 5 * MS);
	toy_expect(r->fk.guest, "");
	pass(r, 5 * MS);
	toy_expect(r->fk.guest, "aa");
	toy_expect(r->fk.host, "bb");
	for (i = 0; i < 2; i++) {
		twx_filter_free(dump[i]);
		assert_int_equal(size_of(path[i]), 24 + 3 * 76);
		unlink(path[i]);
	}
}

static void test_two_in_a_row(void **state)
{
	struct rig *r = *state;

	impair(r, "id=f0,delay=10ms");
	impair(r, "id=f1,delay=5ms,loss=0%");
	down(r, 'a');
	up(r, 'b');
	pass(r, 15 * MS - 1);
	toy_expect(r->fk.guest, "");
	toy_expect(r->fk.host, "");
	pass(r, 1);
	toy_expect(r->fk.guest, "a");
	toy_expect(r->fk.host, "b");
}

static void test_info(void **state)
{
	struct rig *r = *state;
	struct twx_filter *f = impair(r, "id=f0,delay=1.5ms,duplicate=100%,seed=7,limit=9");
	char text[512];

	down(r, 'a');
	down(r, 'b');
	filter_info(f, text, sizeof(text));
	assert_string_equal(text,
			    "f0: type=filter-impair,delay=1.5ms,duplicate=100%,seed=7,limit=9,"
			    "lost=0,duplicated=2,reordered=0,held=4,position=tail,status=on,"
			    "insert=behind,netdev=n0,queue=all");
}

static void test_options(void **state)
{
	static const char *const good[] = {
		"delay=0",
		"delay=0s",
		"delay=3600s",
		"delay=0.000000001s",
		"delay=100us",
		"loss=0.001%",
		"loss=100%",
		"rate=1bit",
		"rate=1000gbit",
		"rate=1.5Mbit",
		"delay=1ms,reorder=5%",
		"seed=-5",
		"limit=100000",
		"jitter=999999ns",
		"queue=rx",
	};
	static const struct {
		const char *more, *what;
	} bad[] = {
		{ "delay=20", "parameter 'delay' expects a time" },
		{ "delay=", "parameter 'delay' expects a time" },
		{ "delay=-1ms", "parameter 'delay' expects a time" },
		{ "delay=3600.1s", "parameter 'delay' expects a time" },
		{ "delay=9999999999ns", "parameter 'delay' expects a time" },
		{ "delay=1.ms", "parameter 'delay' expects a time" },
		{ "delay=1msx", "parameter 'delay' expects a time" },
		{ "jitter=5%", "parameter 'jitter' expects a time" },
		{ "loss=1", "parameter 'loss' expects a percentage" },
		{ "loss=100.1%", "parameter 'loss' expects a percentage" },
		{ "duplicate=much", "parameter 'duplicate' expects a percentage" },
		{ "reorder=1%", "reorder= needs delay=" },
		{ "rate=10", "parameter 'rate' expects bits a second" },
		{ "rate=1001gbit", "parameter 'rate' expects bits a second" },
		{ "limit=0", "limit" },
		{ "limit=100001", "limit" },
		{ "seed=x", "seed" },
	};
	struct rig *r = *state;
	struct twx_error e;
	char text[256];
	size_t i;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		snprintf(text, sizeof(text), "id=f0,%s", good[i]);
		twx_filter_free(impair(r, text));
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(text, sizeof(text), "filter-impair,netdev=n0,id=f0,%s", bad[i].more);
		memset(&e, 0, sizeof(e));
		assert_true(twx_filter_new(NULL, r->w->net, text, &e) < 0);
		if (!strstr(e.what, bad[i].what))
			fail_msg("'%s' gives '%s'", bad[i].more, e.what);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		rig_test(test_delay_both_ways),
		rig_test(test_one_way_only),
		rig_test(test_frames_keep_their_offload),
		rig_test(test_loss),
		rig_test(test_duplicates_follow_at_once),
		rig_test(test_duplicates_keep_the_order),
		rig_test(test_jitter_varies_and_does_not_reorder),
		rig_test(test_reordered_frames_overtake),
		rig_test(test_rate),
		rig_test(test_rate_is_carried_under_overload),
		rig_test(test_limit),
		rig_test(test_bytes_are_bounded),
		rig_test(test_pulled_cable),
		rig_test(test_closed_with_frames_in_it),
		rig_test(test_answers_from_inside_receive),
		rig_test(test_busy_receiver),
		rig_test(test_the_rest_of_the_chain_sees_it_later),
		rig_test(test_two_in_a_row),
		rig_test(test_info),
		rig_test(test_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
