/* SPDX-License-Identifier: BSD-3-Clause */
/* The socket backend: which option makes which kind of socket, and what it says of it. */
#include "sock_kit.h"

static void both_ways_by_stream(struct kit *k, int fd)
{
	uint8_t buf[64];
	int before = k->nic->n_got;

	assert_int_equal(numbered_send(k, 1, 1, 60), 1);
	framed_expect(k, fd, 60, 1);
	framed(buf, 60, 2);
	assert_int_equal(send(fd, buf, 64, 0), 64);
	kit_run(k);
	assert_int_equal(k->nic->n_got, before + 1);
	numbered_check(k->nic->got[before].data, 60, 2);
}

static void both_ways_by_datagram(struct kit *k, int fd)
{
	uint8_t buf[100];
	int before = k->nic->n_got;

	assert_int_equal(numbered_send(k, 1, 1, 60), 1);
	kit_run(k);
	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 60);
	numbered_check(buf, 60, 1);
	numbered_fill(buf, 60, 2);
	assert_int_equal(send(fd, buf, 60, 0), 60);
	kit_run(k);
	assert_int_equal(k->nic->n_got, before + 1);
	numbered_check(k->nic->got[before].data, 60, 2);
}

static void listen_takes_one_at_a_time(void **state)
{
	struct sockaddr_in to = kit_inet(6201), own;
	socklen_t len = sizeof(own);
	struct kit *k = *state;
	char want[100];
	int fd, round;

	kit_open(k, "socket,id=b,listen=:6201");
	for (round = 0; round < 3; round++) {
		assert_true(k->port->link_down);
		assert_string_equal(kit_info(k), "");
		fd = kit_connect(SOCK_STREAM, &to);
		kit_run(k);
		getsockname(fd, (struct sockaddr *)&own, &len);
		snprintf(want, sizeof(want), "socket: connection from 127.0.0.1:%d",
			 ntohs(own.sin_port));
		assert_string_equal(kit_info(k), want);
		both_ways_by_stream(k, fd);
		close(fd);
		kit_run(k);
	}
}

static void connect_once(void **state)
{
	struct sockaddr_in at = kit_inet(6202);
	struct kit *k = *state;
	int l = kit_bind(SOCK_STREAM, &at), fd;

	kit_open(k, "socket,id=b,connect=localhost:6202");
	fd = accept(l, NULL, NULL);
	assert_string_equal(kit_info(k), "socket: connect to 127.0.0.1:6202");
	both_ways_by_stream(k, fd);
	close(fd);
	kit_run(k);
	assert_true(k->port->link_down);
	assert_string_equal(kit_info(k), "");
	close(l);
	kit_close(k);
	kit_refused(k, "cannot connect to 127.0.0.1:6202: Connection refused",
		    "socket,id=b,connect=127.0.0.1:6202");
}

static void udp(void **state)
{
	struct sockaddr_in at = kit_inet(6203), to = kit_inet(6204);
	struct kit *k = *state;
	int fd = kit_bind(SOCK_DGRAM, &at);

	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	kit_open(k, "socket,id=b,udp=127.0.0.1:6203,localaddr=127.0.0.1:6204");
	assert_string_equal(kit_info(k), "socket: udp=127.0.0.1:6203");
	both_ways_by_datagram(k, fd);
	close(fd);
}

static void mcast(void **state)
{
	struct kit *k = *state;
	struct toy *nic2 = toy_new(k->w->net, "nic2");
	struct twx_backend *b2;

	kit_multicast();
	kit_open(k, "socket,id=b,mcast=230.0.0.1:6205,localaddr=127.0.0.1");
	assert_string_equal(kit_info(k), "socket: mcast=230.0.0.1:6205");
	assert_int_equal(twx_backend_new(&b2, k->w->net,
					 "dgram,id=b2,remote.type=inet,remote.host=230.0.0.1,"
					 "remote.port=6205,local.type=inet,local.host=127.0.0.1,"
					 "local.port=0",
					 NULL),
			 0);
	assert_int_equal(twx_port_pair(&nic2->port, b2->ports[0], NULL), 0);
	assert_int_equal(numbered_send(k, 0, 5, 60), 5);
	kit_run(k);
	assert_int_equal(nic2->n_got, 5);
	assert_int_equal(k->nic->n_got, 0);
	twx_backend_free(b2);
	toy_free(nic2);
}

static void a_descriptors_type_is_found(void **state)
{
	struct sockaddr_in at = kit_inet(6206), to = kit_inet(6207);
	struct kit *k = *state;
	char want[100];
	int fd[2];

	kit_stream_pair(fd);
	kit_open(k, "socket,id=b,fd=%d", fd[0]);
	snprintf(want, sizeof(want), "socket: fd=%d", fd[0]);
	assert_string_equal(kit_info(k), want);
	both_ways_by_stream(k, fd[1]);
	close(fd[1]);
	kit_run(k);
	assert_true(k->port->link_down);
	kit_close(k);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fd), 0);
	kit_open(k, "socket,id=b,fd=%d", fd[0]);
	snprintf(want, sizeof(want), "socket: fd=%d unix", fd[0]);
	assert_string_equal(kit_info(k), want);
	both_ways_by_datagram(k, fd[1]);
	kit_close(k);
	close(fd[1]);
	fd[0] = kit_bind(SOCK_DGRAM, &at);
	fd[1] = kit_bind(SOCK_DGRAM, &to);
	assert_int_equal(connect(fd[0], (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(connect(fd[1], (struct sockaddr *)&at, sizeof(at)), 0);
	kit_open(k, "socket,id=b,fd=%d", fd[0]);
	snprintf(want, sizeof(want), "socket: fd=%d inet", fd[0]);
	assert_string_equal(kit_info(k), want);
	both_ways_by_datagram(k, fd[1]);
	close(fd[1]);
}

/* A socket file that somebody else has made at our path since is his. */
static void a_path_that_is_anothers_by_now(void **state)
{
	static const struct {
		const char *options;
		int type;
	} rows[] = {
		{ "stream,id=b,server=on,addr.type=unix,addr.path=%s", SOCK_STREAM },
		{ "dgram,id=b,remote.type=unix,remote.path=/nowhere,local.type=unix,local.path=%s",
		  SOCK_DGRAM },
	};
	struct kit *k = *state;
	struct sockaddr_un at = kit_unix(kit_path(k, "s"));

	for (size_t i = 0; i < 2; i++) {
		char options[256];
		int fd;

		snprintf(options, sizeof(options), rows[i].options, at.sun_path);
		kit_open(k, "%s", options);
		assert_int_equal(unlink(at.sun_path), 0);
		fd = kit_bind(rows[i].type, &at);
		kit_close(k);
		assert_int_equal(access(at.sun_path, F_OK), 0);
		close(fd);
		unlink(at.sun_path);
	}
}

static void options_that_do_not_fit(void **state)
{
	static const char one[] = "exactly one of listen=, connect=, mcast= or udp= is required";
	const char *const wrong[][2] = {
		{ "localaddr=127.0.0.1", one },
		{ "listen=:1,connect=127.0.0.1:1", one },
		{ "fd=3,udp=127.0.0.1:1", one },
		{ "udp=127.0.0.1:1", "localaddr= is mandatory with udp=" },
		{ "listen=:1,localaddr=127.0.0.1:1", "localaddr= is only valid" },
		{ "listen=5", "host address '5' doesn't contain ':'" },
		{ "listen=:x", "port number 'x' is invalid" },
		{ "listen=:", "port number '' is invalid" },
		{ "listen=:70000", "port number '70000' is invalid" },
		{ "connect=127.0.0.1:0", "port number '0' is invalid" },
		{ "connect=:1", "names no host" },
		{ "udp=127.0.0.1:1,localaddr=127.0.0.1", "doesn't contain ':'" },
		{ "mcast=10.0.0.1:1",
		  "specified mcastaddr 10.0.0.1:1 does not contain a multicast" },
		{ "mcast=230.0.0.1:1,localaddr=x", "localaddr 'x' is no IPv4 address" },
		{ "mcast=230.0.0.1:1,localaddr=9.9.9.9", "cannot join the multicast group" },
		{ "fd=x", "Invalid file descriptor number 'x'" },
		{ "fd=9999", "Can't use file descriptor 9999: Bad file descriptor" },
	};
	struct kit *k = *state;
	char name[400];
	size_t i;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		kit_refused(k, wrong[i][1], "socket,id=b,%s", wrong[i][0]);
	kit_refused(k, one, "socket,id=b");
	memset(name, 'x', sizeof(name));
	name[399] = '\0';
	kit_refused(k, "is too long", "socket,id=b,connect=%s:1", name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		kit_test(listen_takes_one_at_a_time),
		kit_test(connect_once),
		kit_test(udp),
		kit_test(mcast),
		kit_test(a_descriptors_type_is_found),
		kit_test(a_path_that_is_anothers_by_now),
		kit_test(options_that_do_not_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
