/* SPDX-License-Identifier: BSD-3-Clause */
/* The datagram backend against plain sockets: bursts, back-pressure, peers that come and go,
 * groups. */
#include "sock_kit.h"

/* --- system calls, counted (the linker wraps them) --- */

static int n_sendmmsg, n_recvmmsg;

int __real_sendmmsg(int fd, struct mmsghdr *msgs, unsigned int n, int flags);
int __wrap_sendmmsg(int fd, struct mmsghdr *msgs, unsigned int n, int flags);
int __wrap_sendmmsg(int fd, struct mmsghdr *msgs, unsigned int n, int flags)
{
	n_sendmmsg++;
	return __real_sendmmsg(fd, msgs, n, flags);
}

int __real_recvmmsg(int fd, struct mmsghdr *msgs, unsigned int n, int flags, struct timespec *t);
int __wrap_recvmmsg(int fd, struct mmsghdr *msgs, unsigned int n, int flags, struct timespec *t);
int __wrap_recvmmsg(int fd, struct mmsghdr *msgs, unsigned int n, int flags, struct timespec *t)
{
	n_recvmmsg++;
	return __real_recvmmsg(fd, msgs, n, flags, t);
}

#define OURS 6101
#define THEIRS 6102

/* A backend on OURS; the socket on THEIRS, connected to it. */
static int open_udp(struct kit *k)
{
	struct sockaddr_in at = kit_inet(THEIRS), to = kit_inet(OURS);
	int fd = kit_bind(SOCK_DGRAM, &at);

	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	kit_open(k,
		 "dgram,id=b,local.type=inet,local.host=127.0.0.1,local.port=%d,remote.type=inet,"
		 "remote.host=127.0.0.1,remote.port=%d",
		 OURS, THEIRS);
	return fd;
}

static void open_unix(struct kit *k)
{
	kit_open(k, "dgram,id=b,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s",
		 kit_path(k, "l"), kit_path(k, "r"));
}

/* The remote end of open_unix(). */
static int remote_unix(struct kit *k)
{
	struct sockaddr_un at = kit_unix(kit_path(k, "r"));

	return kit_bind(SOCK_DGRAM, &at);
}

static void send_numbered(int fd, uint32_t number, uint32_t len)
{
	uint8_t buf[TWX_FRAME_MAX + 100];

	numbered_fill(buf, len, number);
	assert_int_equal(send(fd, buf, len, 0), len);
}

/* The next datagram is frame @number of @len bytes. */
static void expect(struct kit *k, int fd, uint32_t number, uint32_t len)
{
	uint8_t buf[TWX_FRAME_MAX];
	ssize_t n = -1;
	int i;

	for (i = 0; i < 100 && n < 0; i++) {
		n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n < 0)
			twx_loop_poll(k->w->loop, 5);
	}
	assert_int_equal(n, len);
	numbered_check(buf, len, number);
}

/* --- UDP --- */

static void a_burst_is_one_call_each_way(void **state)
{
	struct kit *k = *state;
	int fd = open_udp(k), i;

	n_sendmmsg = n_recvmmsg = 0;
	assert_int_equal(numbered_send(k, 0, TWX_BURST, 1514), TWX_BURST);
	assert_int_equal(n_sendmmsg, 1);
	for (i = 0; i < TWX_BURST; i++)
		expect(k, fd, (uint32_t)i, 1514);
	for (i = 0; i < 50; i++)
		send_numbered(fd, (uint32_t)i, 1514);
	kit_run(k);
	assert_int_equal(n_recvmmsg, 1);
	numbered_expect(k, 50, 1514);
	assert_int_equal(k->nic->n_bursts, 1);
	assert_string_equal(kit_info(k), "udp=127.0.0.1:6101/127.0.0.1:6102");
	close(fd);
}

static void datagrams_of_all_sizes(void **state)
{
	static const uint32_t lens[] = { 14, 60, 1514, 2049, 9000, 65507 };
	struct kit *k = *state;
	int fd = open_udp(k);
	size_t i;

	for (i = 0; i < 6; i++) {
		uint8_t *buf = malloc(lens[i]);
		struct iovec iov[2];
		struct twx_frame f = numbered_frame(buf, iov, lens[i], (uint32_t)i);

		send_numbered(fd, (uint32_t)i, lens[i]);
		assert_int_equal(twx_port_send(&k->nic->port, &f, 1), 1);
		expect(k, fd, (uint32_t)i, lens[i]);
		free(buf);
	}
	kit_run(k);
	assert_int_equal(k->nic->n_got, 6);
	for (i = 0; i < 6; i++) {
		assert_int_equal(k->nic->got[i].len, lens[i]);
		numbered_check(k->nic->got[i].data, lens[i], (uint32_t)i);
	}
	close(fd);
}

/* Empty and short ones, from anybody: counted, and what follows is taken. */
static void datagrams_that_are_no_frames(void **state)
{
	struct kit *k = *state;
	int fd = open_udp(k), i;

	for (i = 0; i < 14; i++)
		assert_int_equal(send(fd, "0123456789abcdef", (size_t)i, 0), i);
	send_numbered(fd, 0, 60);
	kit_run(k);
	numbered_expect(k, 1, 60);
	assert_int_equal(k->port->count.drops[TWX_DROP_TOO_SHORT], 14);
	close(fd);
}

/* A frame that UDP cannot carry does not hold up those around it. */
static void a_frame_above_udps_limit(void **state)
{
	uint8_t *big = calloc(1, 65508), small[60];
	struct twx_frame f[3];
	struct iovec iov[3][2];
	struct kit *k = *state;
	int fd = open_udp(k);

	f[0] = numbered_frame(small, iov[0], 60, 1);
	f[1] = numbered_frame(big, iov[1], 65508, 0);
	f[2] = f[0];
	assert_int_equal(twx_port_send(&k->nic->port, f, 3), 3);
	expect(k, fd, 1, 60);
	expect(k, fd, 1, 60);
	assert_int_equal(k->nic->port.count.drops[TWX_DROP_TOO_LONG], 1);
	free(big);
	close(fd);
}

static void a_busy_receiver_loses_nothing(void **state)
{
	struct kit *k = *state;
	int fd = open_udp(k), i;

	k->nic->room = 30;
	for (i = 0; i < 100; i++)
		send_numbered(fd, (uint32_t)i, 60);
	kit_run(k);
	assert_int_equal(k->nic->n_got, 30);
	assert_int_equal(twx_loop_poll(k->w->loop, 0), 0); /* it waits without spinning */
	k->nic->room = 50;
	twx_port_ready(&k->nic->port);
	kit_run(k);
	assert_int_equal(k->nic->n_got, 80);
	k->nic->room = TOY_NO_LIMIT;
	twx_port_ready(&k->nic->port);
	kit_run(k);
	numbered_expect(k, 100, 60);
	close(fd);
}

/* Nobody listens: frames are lost, neither the port nor the loop is. */
static void nobody_listens(void **state)
{
	struct kit *k = *state;
	int fd = open_udp(k), i;

	close(fd);
	for (i = 0; i < 10; i++) {
		assert_int_equal(numbered_send(k, 0, 20, 60), 20);
		kit_run(k);
	}
	kit_close(k);
	fd = open_udp(k);
	assert_int_equal(numbered_send(k, 3, 1, 60), 1);
	expect(k, fd, 3, 60);
	close(fd);
}

static void ipv6(void **state)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6,
				   .sin6_port = htons(THEIRS),
				   .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct kit *k = *state;
	int fd = kit_bind(SOCK_DGRAM, &at);

	kit_open(k,
		 "dgram,id=b,local.type=inet,local.host=::1,local.port=%d,remote.type=inet,"
		 "remote.host=::1,remote.port=%d",
		 OURS, THEIRS);
	assert_int_equal(numbered_send(k, 1, 1, 60), 1);
	expect(k, fd, 1, 60);
	assert_string_equal(kit_info(k), "udp=[::1]:6101/[::1]:6102");
	close(fd);
}

/* --- unix --- */

static void unix_both_ways(void **state)
{
	struct kit *k = *state;
	struct sockaddr_un to = kit_unix(kit_path(k, "l"));
	int fd = remote_unix(k);
	char want[256];

	open_unix(k);
	assert_int_equal(numbered_send(k, 1, 1, 60), 1);
	expect(k, fd, 1, 60);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	send_numbered(fd, 0, TWX_FRAME_MAX);
	send_numbered(fd, 0, TWX_FRAME_MAX + 1);
	send_numbered(fd, 1, 60);
	kit_run(k);
	assert_int_equal(k->nic->n_got, 2);
	assert_int_equal(k->nic->got[0].len, TWX_FRAME_MAX);
	assert_int_equal(k->port->count.drops[TWX_DROP_TOO_LONG], 1);
	snprintf(want, sizeof(want), "udp=%s:%s", kit_path(k, "l"), kit_path(k, "r"));
	assert_string_equal(kit_info(k), want);
	close(fd);
	unlink(kit_path(k, "r"));
	kit_close(k);
	assert_int_equal(access(kit_path(k, "l"), F_OK), -1);
}

/* A receiver that takes ten at a time: the port waits for it, without spinning. */
static void a_slow_unix_receiver(void **state)
{
	struct kit *k = *state;
	int fd = remote_unix(k), sent = 0, got = 0;

	open_unix(k);
	while (sent < 300) {
		sent += numbered_send(k, (uint32_t)sent, 300 - sent, 60);
		if (sent < 300)
			assert_true(k->port->rx_busy);
		kit_run(k);
		while (!kit_silent(fd) && got < sent)
			got++;
		kit_run(k);
	}
	while (got < 300)
		assert_true(!kit_silent(fd) && ++got);
	assert_true(kit_silent(fd));
	close(fd);
	unlink(kit_path(k, "r"));
}

static void the_peer_may_come_later_and_anew(void **state)
{
	struct kit *k = *state;
	struct sockaddr_un to = kit_unix(kit_path(k, "l"));
	int fd, round;

	open_unix(k);
	for (round = 0; round < 3; round++) {
		assert_int_equal(numbered_send(k, 0, 100, 60), 100);
		assert_int_equal(k->port->count.drops[TWX_DROP_HOST_ERROR], 100 * (round + 1));
		fd = remote_unix(k);
		assert_int_equal(numbered_send(k, 1, 1, 60), 1);
		expect(k, fd, 1, 60);
		/* From a socket that was never connected to. */
		assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
		send_numbered(fd, (uint32_t)round, 60);
		kit_run(k);
		close(fd);
		unlink(kit_path(k, "r"));
	}
	numbered_expect(k, 3, 60);
	/* One that starts anew may speak before it is spoken to. */
	fd = remote_unix(k);
	assert_int_equal(numbered_send(k, 1, 1, 60), 1);
	close(fd);
	unlink(kit_path(k, "r"));
	fd = remote_unix(k);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	send_numbered(fd, 3, 60);
	kit_run(k);
	numbered_expect(k, 4, 60);
	close(fd);
	unlink(kit_path(k, "r"));
	/* One that starts anew between two frames gets the second. */
	fd = remote_unix(k);
	assert_int_equal(numbered_send(k, 1, 1, 60), 1);
	close(fd);
	unlink(kit_path(k, "r"));
	fd = remote_unix(k);
	assert_int_equal(numbered_send(k, 2, 1, 60), 1);
	expect(k, fd, 2, 60);
	close(fd);
	unlink(kit_path(k, "r"));
}

/* The receiver goes while the port waits for it. */
static void a_slow_receiver_goes(void **state)
{
	struct kit *k = *state;
	int fd = remote_unix(k);

	open_unix(k);
	assert_in_range(numbered_send(k, 0, 2000, 60), 1, 1999);
	close(fd);
	kit_run(k);
	assert_true(twx_port_can_send(&k->nic->port));
	assert_true(k->nic->n_resumed > 0);
	unlink(kit_path(k, "r"));
}

static void local_paths(void **state)
{
	struct kit *k = *state;
	struct sockaddr_un at = kit_unix(kit_path(k, "l"));
	int fd = kit_bind(SOCK_DGRAM, &at);

	kit_refused(k, "Address already in use",
		    "dgram,id=b,local.type=unix,local.path=%s,remote.type=unix,remote.path=/x",
		    kit_path(k, "l"));
	assert_int_equal(access(kit_path(k, "l"), F_OK), 0);
	close(fd); /* what a killed program has left is replaced */
	open_unix(k);
}

static void abstract_names(void **state)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "\0twxr" };
	struct kit *k = *state;
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(sa_family_t) + 5), 0);
	kit_open(k, "dgram,id=b,local.type=unix,local.abstract=on,local.path=twxl,"
		    "remote.type=unix,remote.abstract=on,remote.path=twxr");
	assert_int_equal(numbered_send(k, 1, 1, 60), 1);
	expect(k, fd, 1, 60);
	assert_string_equal(kit_info(k), "udp=@twxl:@twxr");
	close(fd);
}

/* --- multicast --- */

static int member(uint16_t port)
{
	struct ip_mreq m = { .imr_interface.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in at = kit_inet(port);
	int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1;

	inet_aton("239.1.2.3", &at.sin_addr);
	m.imr_multiaddr = at.sin_addr;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)), 0);
	setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &m.imr_interface, sizeof(m.imr_interface));
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

#define GROUP                                                                                      \
	"remote.type=inet,remote.host=239.1.2.3,remote.port=6110,"                                 \
	"local.type=inet,local.host=127.0.0.1,local.port=0"

/* A member like QEMU's, which sends from the group's port. */
static int qemu_member(void)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	int fd = member(6110);

	connect(fd, &none, sizeof(none)); /* it hears everybody */
	return fd;
}

static void everybody_in_the_group_but_ourselves(void **state)
{
	struct sockaddr_in to = kit_inet(6110);
	struct kit *k = *state;
	struct toy *nic2 = toy_new(k->w->net, "nic2");
	struct twx_backend *b2;
	uint8_t buf[60];
	int fd;

	kit_multicast();
	kit_open(k, "dgram,id=b,%s", GROUP);
	assert_string_equal(kit_info(k), "mcast=239.1.2.3:6110");
	assert_int_equal(twx_backend_new(&b2, k->w->net, "dgram,id=b2," GROUP, NULL), 0);
	assert_int_equal(twx_port_pair(&nic2->port, b2->ports[0], NULL), 0);
	fd = qemu_member();
	inet_aton("239.1.2.3", &to.sin_addr);
	assert_int_equal(numbered_send(k, 0, 10, 60), 10);
	kit_run(k);
	assert_int_equal(k->nic->n_got, 0);
	assert_int_equal(nic2->n_got, 10);
	expect(k, fd, 0, 60);
	numbered_fill(buf, 60, 0);
	assert_int_equal(sendto(fd, buf, 60, 0, (struct sockaddr *)&to, sizeof(to)), 60);
	kit_run(k);
	numbered_expect(k, 1, 60);
	assert_int_equal(nic2->n_got, 11);
	twx_backend_free(b2);
	toy_free(nic2);
	close(fd);
}

/* The address that we send from is gone: another takes its place. */
static void the_source_address_may_change(void **state)
{
	struct kit *k = *state;
	struct ip_mreqn m = { .imr_ifindex = 1 };
	struct sockaddr_in at = kit_inet(6111);
	int fd, on = 1;

	kit_multicast();
	if (system("ip addr add 10.9.9.1/24 dev lo && ip route add 239.0.0.0/8 dev lo"))
		skip();
	kit_open(k, "dgram,id=b,remote.type=inet,remote.host=239.1.2.4,remote.port=6111");
	inet_aton("239.1.2.4", &at.sin_addr);
	m.imr_multiaddr = at.sin_addr;
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)), 0);
	assert_int_equal(numbered_send(k, 1, 1, 60), 1);
	expect(k, fd, 1, 60);
	kit_run(k);
	assert_int_equal(system("ip addr del 10.9.9.1/24 dev lo; ip addr add 10.8.8.1/24 dev lo;"
				"ip route replace 239.0.0.0/8 dev lo"),
			 0);
	numbered_send(k, 2, 1, 60);
	assert_int_equal(numbered_send(k, 3, 1, 60), 1);
	if (k->port->count.drops[TWX_DROP_HOST_ERROR] == 0)
		expect(k, fd, 2, 60);
	expect(k, fd, 3, 60);
	kit_run(k);
	assert_int_equal(k->nic->n_got, 0);
	assert_int_equal(system("ip addr flush dev lo scope global; ip route flush 239.0.0.0/8"),
			 0);
	close(fd);
}

/* --- descriptors, options --- */

static void a_descriptor(void **state)
{
	struct kit *k = *state;
	char want[64];
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fd), 0);
	kit_open(k, "dgram,id=b,local.type=fd,local.str=%d", fd[0]);
	snprintf(want, sizeof(want), "fd=%d unix", fd[0]);
	assert_string_equal(kit_info(k), want);
	assert_int_equal(numbered_send(k, 1, 1, 60), 1);
	expect(k, fd[1], 1, 60);
	send_numbered(fd[1], 0, 60);
	kit_run(k);
	numbered_expect(k, 1, 60);
	/* The owner of the other end closes it. */
	close(fd[1]);
	assert_int_equal(numbered_send(k, 0, 10, 60), 10);
	kit_run(k);
}

/* Somebody who has the descriptor too shuts it down. */
static void a_socket_that_was_shut_down(void **state)
{
	struct kit *k = *state;
	int fd[2], other;

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fd), 0);
	other = dup(fd[0]);
	kit_open(k, "dgram,id=b,local.type=fd,local.str=%d", fd[0]);
	assert_int_equal(shutdown(other, SHUT_RD), 0);
	kit_run(k); /* without spinning */
	assert_non_null(strstr(k->w->log, "nothing can be received any more"));
	assert_int_equal(numbered_send(k, 1, 1, 60), 1);
	close(other);
	close(fd[1]);
}

/* ICMP says that nobody is there; a connected socket hears of it, and goes on. */
static void refusals_pass(void **state)
{
	struct sockaddr_in at = kit_inet(OURS), to = kit_inet(THEIRS);
	struct kit *k = *state;
	int fd = kit_bind(SOCK_DGRAM, &at), i, peer;

	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	kit_open(k, "dgram,id=b,local.type=fd,local.str=%d", fd);
	for (i = 0; i < 100; i++) {
		assert_int_equal(numbered_send(k, 0, 1, 60), 1);
		kit_run(k);
	}
	peer = kit_bind(SOCK_DGRAM, &to);
	assert_int_equal(connect(peer, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(numbered_send(k, 1, 1, 60), 1);
	expect(k, peer, 1, 60);
	send_numbered(peer, 0, 60);
	kit_run(k);
	numbered_expect(k, 1, 60);
	close(peer);
}

static void options_that_do_not_fit(void **state)
{
	static const char *const wrong[][2] = {
		{ "", "dgram requires local= parameter" },
		{ "remote.type=inet,remote.host=127.0.0.1,remote.port=1",
		  "dgram requires local= parameter" },
		{ "local.type=inet,local.host=,local.port=1", "requires remote parameter" },
		{ "local.type=unix,local.path=/x", "requires remote parameter" },
		{ "local.type=unix,local.path=/x,remote.type=inet,remote.host=127.0.0.1,"
		  "remote.port=1",
		  "must be the same" },
		{ "local.type=fd,local.str=0,remote.type=unix,remote.path=/x",
		  "don't set remote with local.fd" },
		{ "local.type=unix,local.path=/x,remote.type=inet,remote.host=239.1.2.3,"
		  "remote.port=1",
		  "must be the same" },
		{ "remote.type=inet,remote.host=ff02::5,remote.port=1", "not supported" },
		{ "local.type=inet,local.host=127.0.0.1,local.port=1,remote.type=inet,"
		  "remote.host=::1,remote.port=1",
		  "different IP versions" },
		{ "local.type=inet,local.host=9.9.9.9,local.port=1,remote.type=inet,"
		  "remote.host=127.0.0.1,remote.port=1",
		  "cannot bind to 9.9.9.9:1: Cannot assign requested address" },
		{ "local.type=unix,local.path=/x,remote.type=fd", "does not accept value 'fd'" },
		{ "local.to=5", "Invalid parameter 'local.to'" },
	};
	struct kit *k = *state;
	int fd[2];
	size_t i;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		kit_refused(k, wrong[i][1], "dgram,id=b,%s", wrong[i][0]);
	kit_stream_pair(fd);
	kit_refused(k, "is not a datagram socket", "dgram,id=b,local.type=fd,local.str=%d", fd[0]);
	assert_int_equal(close(fd[0]) | close(fd[1]), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		kit_test(a_burst_is_one_call_each_way),
		kit_test(datagrams_of_all_sizes),
		kit_test(datagrams_that_are_no_frames),
		kit_test(a_frame_above_udps_limit),
		kit_test(a_busy_receiver_loses_nothing),
		kit_test(nobody_listens),
		kit_test(ipv6),
		kit_test(unix_both_ways),
		kit_test(a_slow_unix_receiver),
		kit_test(the_peer_may_come_later_and_anew),
		kit_test(a_slow_receiver_goes),
		kit_test(local_paths),
		kit_test(abstract_names),
		kit_test(everybody_in_the_group_but_ourselves),
		kit_test(the_source_address_may_change),
		kit_test(a_descriptor),
		kit_test(a_socket_that_was_shut_down),
		kit_test(refusals_pass),
		kit_test(options_that_do_not_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
