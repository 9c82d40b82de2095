/* SPDX-License-Identifier: BSD-3-Clause */
/* The vde backend, with a libvdeplug of the tests' own (fake_vdeplug.c): bursts, back-pressure,
 * ends.
 */
#include "sock_kit.h"

/* The switch's end: what was sent to abstract name @name first, the port, is in k->w's hands. */
static int switch_open(const char *name, int type)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	memcpy(sun.sun_path + 1, name, strlen(name));
	assert_int_equal(
		bind(fd, (struct sockaddr *)&sun,
		     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name))),
		0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 1), 0);
	return fd;
}

/* Hears of the new client; its port. */
static int switch_meet(int fd)
{
	struct sockaddr_un from;
	socklen_t len = sizeof(from);
	int port = -1;

	assert_int_equal(
		recvfrom(fd, &port, sizeof(port), MSG_DONTWAIT, (struct sockaddr *)&from, &len),
		sizeof(port));
	assert_int_equal(connect(fd, (struct sockaddr *)&from, len), 0);
	return port;
}

static int open_one(struct kit *k)
{
	int fd = switch_open("sw", SOCK_DGRAM);

	kit_open(k, "vde,id=b,sock=/sw");
	assert_int_equal(switch_meet(fd), 0);
	return fd;
}

static void expect_frame(int fd, uint32_t len, uint32_t number)
{
	uint8_t buf[70000];

	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), len);
	numbered_check(buf, len, number);
}

static void give(int fd, uint32_t len, uint32_t number)
{
	uint8_t *buf = malloc(len + 1);

	numbered_fill(buf, len, number);
	assert_int_equal(send(fd, buf, len, MSG_DONTWAIT), len);
	free(buf);
}

static void frames_go_both_ways(void **state)
{
	struct kit *k = *state;
	int fd = open_one(k);
	uint32_t i;

	for (i = 0; i < 5; i++)
		give(fd, 1514, i);
	kit_run(k);
	numbered_expect(k, 5, 1514);
	assert_int_equal(k->nic->n_bursts, 1);
	assert_int_equal(numbered_send(k, 0, 3, 1514), 3); /* of two pieces each */
	assert_int_equal(numbered_send(k, 3, 3, 60), 3);
	for (i = 0; i < 6; i++)
		expect_frame(fd, i < 3 ? 1514 : 60, i);
	close(fd);
}

static void jumbo_frames_pass_and_longer_ones_are_counted(void **state)
{
	struct kit *k = *state;
	int fd = open_one(k);

	give(fd, 9234, 0);
	give(fd, 9235, 7);
	give(fd, 9234, 1);
	kit_run(k);
	numbered_expect(k, 2, 9234);
	assert_int_equal(k->port->count.drops[TWX_DROP_TOO_LONG], 1);
	close(fd);
}

static void what_is_no_frame_is_none(void **state)
{
	struct kit *k = *state;
	int fd = open_one(k);

	give(fd, 1, 0); /* the library's word for "forget it" */
	assert_int_equal(k->port->count.drops[TWX_DROP_TOO_SHORT], 0);
	give(fd, 13, 0);
	assert_int_equal(send(fd, "", 0, 0), 0);
	give(fd, 60, 0);
	kit_run(k);
	numbered_expect(k, 1, 60);
	assert_int_equal(k->port->count.drops[TWX_DROP_TOO_SHORT], 2);
	close(fd);
}

/* As a stream reads at its end, for kinds of network that have one: it may not keep the loop busy.
 */
static void what_is_always_empty_has_ended(void **state)
{
	struct kit *k = *state;
	int fd = open_one(k);

	for (int i = 0; i < 64; i++) {
		assert_false(k->port->link_down);
		assert_int_equal(send(fd, "", 0, 0), 0);
		kit_run(k);
	}
	assert_true(k->port->link_down);
	close(fd);
}

static void what_the_nic_does_not_take_waits(void **state)
{
	struct kit *k = *state;
	int fd = open_one(k);
	uint32_t i;

	k->nic->room = 2;
	for (i = 0; i < 5; i++)
		give(fd, 60, i);
	kit_run(k);
	assert_int_equal(k->nic->n_got, 2);
	for (; i < 9; i++)
		give(fd, 60, i);
	kit_run(k);
	assert_int_equal(k->nic->n_got, 2);
	k->nic->room = TOY_NO_LIMIT;
	twx_port_ready(&k->nic->port);
	kit_run(k);
	numbered_expect(k, 9, 60);
	close(fd);
}

static void what_waits_is_handed_on_though_nothing_more_comes(void **state)
{
	struct kit *k = *state;
	int fd = open_one(k);
	uint32_t i;

	k->nic->room = 2;
	for (i = 0; i < 5; i++)
		give(fd, 60, i);
	kit_run(k);
	assert_int_equal(k->nic->n_got, 2);
	k->nic->room = TOY_NO_LIMIT;
	twx_port_ready(&k->nic->port);
	kit_run(k);
	numbered_expect(k, 5, 60);
	/* And reading goes on. */
	for (; i < 8; i++)
		give(fd, 60, i);
	kit_run(k);
	numbered_expect(k, 8, 60);
	close(fd);
}

static void a_full_switch_holds_the_nic_back(void **state)
{
	struct kit *k = *state;
	int fd = open_one(k), sent = 0, got = 0, resumed = k->nic->n_resumed;

	sent = numbered_send(k, 0, 1000, 60);
	assert_true(sent > 0 && sent < 1000);
	kit_run(k);
	assert_int_equal(k->nic->n_resumed, resumed);
	for (; got < sent; got++)
		expect_frame(fd, 60, (uint32_t)got);
	kit_run(k);
	assert_true(k->nic->n_resumed > resumed);
	assert_int_equal(numbered_send(k, (uint32_t)sent, 1, 60), 1);
	expect_frame(fd, 60, (uint32_t)sent);
	assert_int_equal(k->port->count.drops[TWX_DROP_HOST_ERROR], 0);
	close(fd);
}

static struct kit *resumed_kit;
static int n_tries, n_taken;

static void try_again(struct toy *nic)
{
	n_tries++;
	if (!n_taken)
		n_taken = numbered_send(resumed_kit, 0, 1, 60);
}

static bool nic_has_sent(struct kit *k)
{
	return n_taken > 0;
}

/* Of a kind that is always writable and yet takes nothing, for a while. */
static void a_switch_that_is_busy_is_not_asked_all_the_time(void **state)
{
	struct kit *k = *state;
	int fd = switch_open("sw", SOCK_DGRAM), idle = 0, i;

	kit_open(k, "vde,id=b,sock=busy:50/sw");
	switch_meet(fd);
	resumed_kit = k;
	n_tries = n_taken = 0;
	k->nic->on_resume = try_again;
	assert_int_equal(numbered_send(k, 0, 1, 60), 0);
	/* It is asked once when the descriptor says so, and then by the clock. */
	for (i = 0; i < 40; i++)
		idle += !twx_loop_poll(k->w->loop, 0);
	assert_true(n_tries >= 1);
	assert_true(idle > 0);
	assert_true(kit_until(k, nic_has_sent));
	expect_frame(fd, 60, 0);
	close(fd);
}

static void the_end_of_the_switch_takes_the_link_down(void **state)
{
	struct kit *k = *state;
	int fd = switch_open("sw", SOCK_DGRAM), l = switch_open("ctl", SOCK_STREAM), ctl;

	kit_open(k, "vde,id=b,sock=/sw:ctl");
	switch_meet(fd);
	ctl = accept(l, NULL, NULL);
	kit_run(k);
	assert_false(k->port->link_down);
	close(ctl);
	close(l);
	close(fd);
	assert_true(kit_until(k, kit_is_down));
	assert_non_null(strstr(k->w->log, "netdev b: the connection to the switch has ended"));
	/* Frames are taken, and lost. */
	assert_int_equal(numbered_send(k, 0, 10, 60), 10);
	kit_run(k);
}

static void a_full_switch_that_ends_frees_the_nic(void **state)
{
	struct kit *k = *state;
	int fd = switch_open("sw", SOCK_DGRAM), l = switch_open("ctl", SOCK_STREAM), ctl, resumed;

	kit_open(k, "vde,id=b,sock=/sw:ctl");
	switch_meet(fd);
	ctl = accept(l, NULL, NULL);
	assert_true(numbered_send(k, 0, 1000, 60) < 1000);
	resumed = k->nic->n_resumed;
	close(fd);
	close(ctl);
	close(l);
	assert_true(kit_until(k, kit_is_down));
	assert_true(k->nic->n_resumed > resumed);
	assert_int_equal(numbered_send(k, 0, 10, 60), 10);
}

static void options_reach_the_library(void **state)
{
	struct kit *k = *state;
	int fd = switch_open("sw", SOCK_DGRAM), fds;
	char want[64];

	kit_open(k, "vde,id=b,sock=/sw,port=7,group=users,mode=0700");
	assert_int_equal(switch_meet(fd), 7);
	snprintf(want, sizeof(want), "sock=/sw,fd=");
	assert_memory_equal(kit_info(k), want, strlen(want));
	kit_close(k);
	close(fd);
	fds = kit_fds();
	kit_refused(k, "Could not open vde: Connection refused", "vde,id=b,sock=/sw");
	kit_refused(k, "no descriptor for data", "vde,id=b,sock=/nodata");
	kit_refused(k, "Parameter 'port' expects uint16_t", "vde,id=b,sock=/sw,port=70000");
	assert_int_equal(kit_fds(), fds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		kit_test(frames_go_both_ways),
		kit_test(jumbo_frames_pass_and_longer_ones_are_counted),
		kit_test(what_is_no_frame_is_none),
		kit_test(what_is_always_empty_has_ended),
		kit_test(what_the_nic_does_not_take_waits),
		kit_test(what_waits_is_handed_on_though_nothing_more_comes),
		kit_test(a_full_switch_holds_the_nic_back),
		kit_test(a_switch_that_is_busy_is_not_asked_all_the_time),
		kit_test(the_end_of_the_switch_takes_the_link_down),
		kit_test(a_full_switch_that_ends_frees_the_nic),
		kit_test(options_reach_the_library),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
