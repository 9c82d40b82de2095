/* SPDX-License-Identifier: BSD-3-Clause */
/* The stream backend against plain sockets: bytes on the wire, bursts, back-pressure, connections.
 */
#include "sock_kit.h"

#include "base/hostops.h"

/* --- system calls, counted (the linker wraps them) --- */

static int n_sendmsg, n_recv;

ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	n_sendmsg++;
	return __real_sendmsg(fd, msg, flags);
}

ssize_t __real_recv(int fd, void *buf, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *buf, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *buf, size_t len, int flags)
{
	n_recv++;
	return __real_recv(fd, buf, len, flags);
}

/* A backend with one end of a pair; the other. */
static int open_fd(struct kit *k)
{
	int fd[2];

	kit_stream_pair(fd);
	kit_open(k, "stream,id=b,addr.type=fd,addr.str=%d", fd[0]);
	return fd[1];
}

static int open_server(struct kit *k)
{
	struct sockaddr_un to = kit_unix(kit_path(k, "s"));
	int fd;

	kit_open(k, "stream,id=b,server=on,addr.type=unix,addr.path=%s", kit_path(k, "s"));
	fd = kit_connect(SOCK_STREAM, &to);
	kit_run(k);
	return fd;
}

/* --- frames --- */

static void a_frame_goes_behind_its_length(void **state)
{
	struct kit *k = *state;
	int fd = open_fd(k);
	uint8_t buf[64];

	assert_int_equal(numbered_send(k, 5, 1, 60), 1);
	kit_read(k, fd, buf, 64);
	assert_memory_equal(buf, "\0\0\0\x3c", 4);
	numbered_check(buf + 4, 60, 5);
	assert_true(kit_silent(fd));
	close(fd);
}

static void a_burst_is_one_system_call(void **state)
{
	struct kit *k = *state;
	int fd = open_fd(k), i;

	n_sendmsg = 0;
	assert_int_equal(numbered_send(k, 0, TWX_BURST, 1514), TWX_BURST);
	assert_int_equal(n_sendmsg, 1);
	for (i = 0; i < TWX_BURST; i++)
		framed_expect(k, fd, 1514, (uint32_t)i);
	assert_int_equal(k->port->count.rx_frames, TWX_BURST);
	close(fd);
}

static void many_frames_are_one_read(void **state)
{
	uint8_t buf[64 * 300];
	struct kit *k = *state;
	int fd = open_fd(k), i;
	size_t len = 0;

	for (i = 0; i < 300; i++)
		len += framed(buf + len, 60, (uint32_t)i);
	assert_int_equal(send(fd, buf, len, 0), len);
	n_recv = 0;
	kit_run(k);
	numbered_expect(k, 300, 60);
	assert_int_equal(n_recv, 1);
	assert_int_equal(k->nic->n_bursts, 5);
	assert_int_equal(k->nic->biggest_burst, TWX_BURST);
	close(fd);
}

static void a_frame_may_come_byte_by_byte(void **state)
{
	struct kit *k = *state;
	int fd = open_fd(k), i;
	uint8_t buf[2 * 64];

	framed(buf, 60, 0);
	framed(buf + 64, 60, 1);
	for (i = 0; i < 128; i++) {
		assert_int_equal(send(fd, buf + i, 1, 0), 1);
		world_poll(k->w);
		assert_int_equal(k->nic->n_got, (i + 1) / 64);
	}
	numbered_expect(k, 2, 60);
	close(fd);
}

/* Frames of every kind of length, read in pieces that end anywhere. */
static void lengths_and_reads_of_all_sizes(void **state)
{
	static const uint32_t lens[] = { 14, 60, 61, 1514, 9000, 65535, TWX_FRAME_MAX };
	const size_t n_lens = sizeof(lens) / sizeof(lens[0]);
	size_t total = 0, at = 0, i, n = 40;
	uint8_t *buf = malloc(n * 70000);
	unsigned int seed = 4;
	struct kit *k = *state;
	int fd = open_fd(k);

	for (i = 0; i < n; i++)
		total += framed(buf + total, lens[i % n_lens], (uint32_t)i);
	while (at < total) {
		size_t len = (size_t)rand_r(&seed) % 60000 + 1;
		ssize_t got;

		len = len < total - at ? len : total - at;
		got = send(fd, buf + at, len, MSG_DONTWAIT);
		at += got > 0 ? (size_t)got : 0;
		world_poll(k->w);
	}
	kit_run(k);
	assert_int_equal(k->nic->n_got, n);
	for (i = 0; i < n; i++) {
		assert_int_equal(k->nic->got[i].len, lens[i % n_lens]);
		numbered_check(k->nic->got[i].data, lens[i % n_lens], (uint32_t)i);
	}
	free(buf);
	close(fd);
}

static void large_frames_go_out(void **state)
{
	uint8_t *buf = malloc(TWX_FRAME_MAX);
	struct kit *k = *state;
	int fd = open_fd(k);
	struct iovec iov[2];
	struct twx_frame f = numbered_frame(buf, iov, TWX_FRAME_MAX, 3);

	assert_int_equal(twx_port_send(&k->nic->port, &f, 1), 1);
	framed_expect(k, fd, TWX_FRAME_MAX, 3);
	free(buf);
	close(fd);
}

/* More pieces than one call takes, the length beside them. */
static void a_frame_in_a_thousand_pieces(void **state)
{
	static uint8_t buf[TWX_HDR_ROOM + 1023];
	static struct iovec iov[1024];
	struct twx_frame f = { .iov = iov, .n_iov = 1024, .len = sizeof(buf) };
	struct kit *k = *state;
	int fd = open_fd(k), i;

	numbered_fill(buf, sizeof(buf), 9);
	iov[0] = (struct iovec){ buf, TWX_HDR_ROOM };
	for (i = 1; i < 1024; i++)
		iov[i] = (struct iovec){ buf + TWX_HDR_ROOM + i - 1, 1 };
	assert_int_equal(twx_port_send(&k->nic->port, &f, 1), 1);
	framed_expect(k, fd, sizeof(buf), 9);
	assert_int_equal(numbered_send(k, 10, 1, 60), 1);
	framed_expect(k, fd, 60, 10);
	close(fd);
}

/* There is no header for offloads on this wire. */
static void segmentation_is_done_before(void **state)
{
	static uint8_t f[54 + 3000];
	struct iovec iov[2] = { { f, TWX_HDR_ROOM },
				{ f + TWX_HDR_ROOM, sizeof(f) - TWX_HDR_ROOM } };
	struct twx_frame frame = {
		.iov = iov,
		.n_iov = 2,
		.len = sizeof(f),
		.meta = { .flags = TWX_F_NEEDS_CSUM,
			  .gso = TWX_GSO_TCPV4,
			  .gso_size = 1448,
			  .csum_start = 34,
			  .csum_off = 16 },
	};
	struct kit *k = *state;
	int fd = open_fd(k);
	uint8_t out[4 + 54 + 1448];
	int i;

	memcpy(f + 12, "\x08\0\x45\0\x0b\xe0\0\0\0\0\x40\x06", 12);
	f[46] = 0x50;
	assert_int_equal(twx_port_send(&k->nic->port, &frame, 1), 1);
	for (i = 0; i < 2; i++) {
		kit_read(k, fd, out, sizeof(out));
		assert_memory_equal(out, "\0\0\x05\xde", 4);
	}
	kit_read(k, fd, out, 4 + 54 + 104);
	assert_memory_equal(out, "\0\0\0\x9e", 4);
	assert_true(kit_silent(fd));
	close(fd);
}

/* --- back-pressure --- */

/* A peer that does not read: the port is busy, nothing is lost, nothing is sent twice. */
static void a_full_socket_makes_busy(void **state)
{
	const uint32_t lens[] = { 60, 1514, 8999 };
	struct kit *k = *state;
	int size = 20000, fd, i, sent, more;
	size_t j;

	for (j = 0; j < 3; j++) {
		fd = open_fd(k);
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
		sent = numbered_send(k, 0, 5000, lens[j]);
		assert_in_range(sent, 1, 4999);
		assert_true(k->port->rx_busy);
		kit_run(k); /* it waits without spinning */
		assert_int_equal(numbered_send(k, 0, 1, lens[j]), 0);
		for (i = 0; i < sent; i++)
			framed_expect(k, fd, lens[j], (uint32_t)i);
		kit_run(k);
		assert_true(kit_silent(fd));
		assert_true(twx_port_can_send(&k->nic->port));
		assert_true(k->nic->n_resumed > 0);
		more = numbered_send(k, (uint32_t)sent, 10, lens[j]);
		for (i = 0; i < more; i++)
			framed_expect(k, fd, lens[j], (uint32_t)(sent + i));
		close(fd);
		kit_run(k);
		kit_close(k);
	}
}

static void a_busy_receiver_loses_nothing(void **state)
{
	static uint8_t buf[64 * 1000];
	struct kit *k = *state;
	int fd = open_fd(k), i;
	size_t len = 0;

	for (i = 0; i < 1000; i++)
		len += framed(buf + len, 60, (uint32_t)i);
	k->nic->room = 70;
	assert_int_equal(send(fd, buf, len, 0), len);
	kit_run(k);
	assert_int_equal(k->nic->n_got, 70);
	assert_int_equal(twx_loop_poll(k->w->loop, 0), 0);
	for (i = 0; i < 20 && k->nic->n_got < 1000; i++) {
		k->nic->room = 100;
		twx_port_ready(&k->nic->port);
		kit_run(k);
	}
	k->nic->room = TOY_NO_LIMIT;
	twx_port_ready(&k->nic->port);
	kit_run(k);
	numbered_expect(k, 1000, 60);
	close(fd);
}

/* What the peer said before it went away arrives, however late it is taken. */
static void frames_before_the_end_arrive(void **state)
{
	struct kit *k = *state;
	int fd = open_fd(k), i;
	uint8_t buf[64];

	k->nic->room = 0;
	for (i = 0; i < 3; i++) {
		framed(buf, 60, (uint32_t)i);
		send(fd, buf, 64, 0);
	}
	close(fd);
	kit_run(k);
	assert_false(k->port->link_down);
	k->nic->room = TOY_NO_LIMIT;
	twx_port_ready(&k->nic->port);
	kit_run(k);
	numbered_expect(k, 3, 60);
	assert_true(k->port->link_down);
}

static void frames_before_a_failed_write_arrive(void **state)
{
	struct kit *k = *state;
	int fd = open_fd(k);
	uint8_t buf[64];

	framed(buf, 60, 0);
	send(fd, buf, 64, 0);
	close(fd);
	assert_int_equal(numbered_send(k, 0, 3, 60), 3); /* before the loop has seen it */
	assert_int_equal(k->port->count.drops[TWX_DROP_HOST_ERROR], 3);
	kit_run(k);
	numbered_expect(k, 1, 60);
	assert_true(k->port->link_down);
}

static struct kit *leaving_kit;
static int leaving;

static void leave(struct twx_timer *t)
{
	uint8_t buf[64];

	framed(buf, 60, 0);
	assert_int_equal(send(leaving, buf, 64, 0), 64);
	close(leaving);
	assert_int_equal(numbered_send(leaving_kit, 0, 1, 60), 1);
}

/* The peer goes and the write fails between two looks of the loop at the socket. */
static void frames_before_a_sudden_end_arrive(void **state)
{
	struct twx_timer timer = { 0 };
	struct kit *k = *state;

	leaving_kit = k;
	leaving = open_fd(k);
	twx_timer_init(&timer, k->w->loop, leave);
	twx_timer_set(&timer, 0);
	kit_run(k);
	numbered_expect(k, 1, 60);
	assert_int_equal(k->port->count.drops[TWX_DROP_HOST_ERROR], 1);
	assert_true(k->port->link_down);
}

/* The connection ends while the port is busy: senders are not kept waiting. */
static void the_end_frees_who_waits(void **state)
{
	struct kit *k = *state;
	int fd = open_fd(k);

	assert_in_range(numbered_send(k, 0, 5000, 1514), 1, 4999);
	assert_false(twx_port_can_send(&k->nic->port));
	close(fd);
	kit_run(k);
	assert_true(twx_port_can_send(&k->nic->port));
	assert_true(k->nic->n_resumed > 0);
	assert_int_equal(numbered_send(k, 0, 100, 1514), 100);
}

/* --- servers --- */

static void a_server_is_down_until_somebody_comes(void **state)
{
	struct kit *k = *state;
	struct sockaddr_un to = kit_unix(kit_path(k, "s"));
	char want[128];
	int fd;

	kit_open(k, "stream,id=b,server=on,addr.type=unix,addr.path=%s", kit_path(k, "s"));
	assert_true(k->port->link_down);
	assert_string_equal(kit_info(k), "");
	assert_int_equal(numbered_send(k, 0, 3, 60), 3);
	assert_int_equal(k->nic->port.count.drops[TWX_DROP_LINK_DOWN], 3);
	fd = kit_connect(SOCK_STREAM, &to);
	kit_run(k);
	assert_false(k->port->link_down);
	snprintf(want, sizeof(want), "unix:%s", kit_path(k, "s"));
	assert_string_equal(kit_info(k), want);
	assert_true(kit_silent(fd)); /* what was sent before is not kept */
	assert_int_equal(numbered_send(k, 7, 1, 60), 1);
	framed_expect(k, fd, 60, 7);
	close(fd);
	kit_run(k);
	assert_true(k->port->link_down);
	assert_string_equal(kit_info(k), "");
}

static void the_second_peer_waits_for_the_first(void **state)
{
	struct kit *k = *state;
	struct sockaddr_un to = kit_unix(kit_path(k, "s"));
	int first = open_server(k), second = kit_connect(SOCK_STREAM, &to);
	uint8_t buf[64];

	framed(buf, 60, 0);
	assert_int_equal(send(second, buf, 64, 0), 64);
	kit_run(k);
	assert_int_equal(k->nic->n_got, 0);
	assert_int_equal(send(first, buf, 64, 0), 64);
	kit_run(k);
	assert_int_equal(k->nic->n_got, 1);
	close(first);
	kit_run(k);
	assert_int_equal(k->nic->n_got, 2);
	assert_int_equal(numbered_send(k, 4, 1, 60), 1);
	framed_expect(k, second, 60, 4);
	close(second);
}

/* What one peer began is not continued by the next. */
static void a_new_peer_starts_anew(void **state)
{
	struct kit *k = *state;
	struct sockaddr_un to = kit_unix(kit_path(k, "s"));
	int fd = open_server(k), sent;
	uint8_t buf[64];

	framed(buf, 60, 9);
	send(fd, buf, 30, 0);
	sent = numbered_send(k, 0, 5000, 1514);
	assert_in_range(sent, 1, 4999);
	kit_run(k);
	close(fd);
	kit_run(k);
	fd = kit_connect(SOCK_STREAM, &to);
	kit_run(k);
	framed(buf, 60, 0);
	send(fd, buf, 64, 0);
	kit_run(k);
	numbered_expect(k, 1, 60);
	assert_int_equal(numbered_send(k, 1, 1, 60), 1);
	framed_expect(k, fd, 60, 1);
	close(fd);
}

static void the_file_goes_with_the_server(void **state)
{
	struct kit *k = *state;

	close(open_server(k));
	assert_int_equal(access(kit_path(k, "s"), F_OK), 0);
	kit_close(k);
	assert_int_equal(access(kit_path(k, "s"), F_OK), -1);
	/* One that a killed program has left is replaced. */
	close(kit_bind(SOCK_STREAM, &(struct sockaddr_un[]){ kit_unix(kit_path(k, "s")) }[0]));
	close(open_server(k));
}

static void abstract_names(void **state)
{
	struct kit *k = *state;
	struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = "\0twxname" };
	const struct sockaddr *sa = (struct sockaddr *)&to;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	kit_open(k, "stream,id=b,server=on,addr.type=unix,addr.abstract=on,addr.path=twxname");
	assert_int_equal(connect(fd, sa, sizeof(to)), -1);
	assert_int_equal(connect(fd, sa, sizeof(sa_family_t) + 8), 0);
	kit_run(k);
	assert_false(k->port->link_down);
	close(fd);
	kit_close(k);
	kit_open(k, "stream,id=b,server=on,addr.type=unix,addr.abstract=on,addr.path=twxname,"
		    "addr.tight=off");
	close(kit_connect(SOCK_STREAM, &to));
	kit_close(k);
	fd = kit_bind(SOCK_STREAM, &to);
	kit_open(k, "stream,id=b,addr.type=unix,addr.abstract=on,addr.path=twxname,addr.tight=off");
	assert_false(k->port->link_down);
	close(fd);
}

static void inet_servers(void **state)
{
	struct sockaddr_in to = kit_inet(6001), taken = kit_inet(6002);
	struct sockaddr_in6 to6 = { .sin6_family = AF_INET6,
				    .sin6_port = htons(6004),
				    .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr_in own = { 0 };
	socklen_t len = sizeof(own);
	struct kit *k = *state;
	char want[64];
	int fd, other;

	kit_open(k, "stream,id=b,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port=6001");
	fd = kit_connect(SOCK_STREAM, &to);
	kit_run(k);
	getsockname(fd, (struct sockaddr *)&own, &len);
	snprintf(want, sizeof(want), "tcp:127.0.0.1:%d", ntohs(own.sin_port));
	assert_string_equal(kit_info(k), want);
	assert_int_equal(numbered_send(k, 0, 64, 1514), 64);
	framed_expect(k, fd, 1514, 0);
	close(fd);
	kit_close(k);
	/* A range: the first port is another's. */
	other = kit_bind(SOCK_STREAM, &taken);
	kit_refused(k, "cannot listen on 127.0.0.1:6002: Address already in use",
		    "stream,id=b,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port=6002");
	kit_open(k, "stream,id=b,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port=6002,"
		    "addr.to=6005");
	to.sin_port = htons(6003);
	close(kit_connect(SOCK_STREAM, &to));
	close(other);
	kit_close(k);
	kit_open(k, "stream,id=b,server=on,addr.type=inet,addr.host=::1,addr.port=6004,"
		    "addr.ipv6=on");
	close(kit_connect(SOCK_STREAM, &to6));
	kit_close(k);
	kit_open(k, "stream,id=b,server=on,addr.type=inet,addr.host=,addr.port=6001,addr.ipv4=on,"
		    "addr.keep-alive=on,addr.keep-alive-idle=5");
	to.sin_port = htons(6001);
	close(kit_connect(SOCK_STREAM, &to));
}

static void a_listening_descriptor(void **state)
{
	struct sockaddr_in to = kit_inet(6001);
	struct kit *k = *state;
	int fd;

	kit_open(k, "stream,id=b,server=on,addr.type=fd,addr.str=%d", kit_bind(SOCK_STREAM, &to));
	fd = kit_connect(SOCK_STREAM, &to);
	kit_run(k);
	assert_int_equal(numbered_send(k, 0, 1, 60), 1);
	framed_expect(k, fd, 60, 0);
	close(fd);
}

/* --- clients --- */

static void a_client_connects(void **state)
{
	struct sockaddr_in at = kit_inet(6010);
	int l = kit_bind(SOCK_STREAM, &at), fd;
	struct kit *k = *state;

	kit_open(k, "stream,id=b,addr.type=inet,addr.host=localhost,addr.port=6010");
	fd = accept(l, NULL, NULL);
	kit_run(k);
	assert_string_equal(kit_info(k), "tcp:127.0.0.1:6010");
	assert_int_equal(numbered_send(k, 0, 1, 60), 1);
	framed_expect(k, fd, 60, 0);
	close(fd);
	kit_run(k);
	assert_true(k->port->link_down); /* for good: no reconnect was asked for */
	assert_int_equal(twx_loop_poll(k->w->loop, 50), 0);
	close(l);
}

static void nobody_there_is_said_at_once(void **state)
{
	struct kit *k = *state;

	kit_refused(k, "cannot connect to 127.0.0.1:6011: Connection refused",
		    "stream,id=b,addr.type=inet,addr.host=127.0.0.1,addr.port=6011");
	kit_refused(k, "No such file or directory", "stream,id=b,addr.type=unix,addr.path=%s",
		    kit_path(k, "none"));
}

static void reconnects(struct kit *k, const char *option)
{
	struct sockaddr_un at = kit_unix(kit_path(k, "l"));
	int round, l, fd, i, n_lines;

	kit_open(k, "stream,id=b,addr.type=unix,addr.path=%s,%s", kit_path(k, "l"), option);
	assert_string_equal(kit_info(k), "connection error");
	n_lines = k->w->n_lines;
	for (i = 0; i < 20; i++)
		twx_loop_poll(k->w->loop, 10);
	assert_int_equal(k->w->n_lines, n_lines);
	assert_non_null(strstr(k->w->log, "trying again"));
	for (round = 0; round < 3; round++) {
		assert_true(k->port->link_down);
		l = kit_bind(SOCK_STREAM, &at);
		assert_true(kit_until(k, kit_is_up));
		fd = accept(l, NULL, NULL);
		assert_int_equal(numbered_send(k, 3, 1, 60), 1);
		framed_expect(k, fd, 60, 3);
		close(l);
		unlink(at.sun_path);
		close(fd);
		assert_true(kit_until(k, kit_is_down));
	}
	kit_close(k);
}

static void a_client_connects_again(void **state)
{
	reconnects(*state, "reconnect-ms=20");
	reconnects(*state, "reconnect=1");
}

/* An address of a name that does not answer is no reason not to try the next. */
static int two_addresses(void *opaque, const char *host, const char *port, int family, int type,
			 int flags, struct sockaddr_storage *out, int max)
{
	struct sockaddr_in a = kit_inet(6012), b = kit_inet(6013);

	memcpy(&out[0], &a, sizeof(a));
	memcpy(&out[1], &b, sizeof(b));
	return 2;
}

static bool side_is_up(struct kit *k)
{
	return !k->b->ports[0]->link_down;
}

static void the_next_address_of_a_name(void **state)
{
	struct sockaddr_in slow = kit_inet(6012), at = kit_inet(6013);
	struct twx_hostops ops = { .size = sizeof(ops), .resolve = two_addresses };
	struct kit *k = *state, side = { .w = k->w };
	struct twx_net_config config = { .size = sizeof(config),
					 .loop = k->w->loop,
					 .hostops = &ops };
	int l = kit_bind(SOCK_STREAM, &at), full, i, waiting[3];
	struct twx_net *own;

	/* The first refuses at once, then after a while: its listener's queue is full, and it goes.
	 */
	for (i = 0; i < 2; i++) {
		int j;

		full = i ? kit_bind(SOCK_STREAM, &slow) : -1;
		for (j = 0; i && j < 3; j++) {
			listen(full, 0);
			waiting[j] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
			(void)!connect(waiting[j], (struct sockaddr *)&slow, sizeof(slow));
		}
		assert_int_equal(twx_net_new(&own, &config, NULL), 0);
		assert_int_equal(
			twx_backend_new(&side.b, own,
					"stream,id=b,addr.type=inet,addr.host=a.name,addr.port=1",
					NULL),
			0);
		assert_int_equal(side_is_up(&side), !i);
		for (j = 0; i && j < 3; j++)
			close(waiting[j]);
		if (i)
			close(full);
		assert_true(kit_until(&side, side_is_up));
		twx_net_free(own);
	}
	close(l);
}

/* The only address refuses after a while. */
static void an_answer_that_comes_late(void **state)
{
	struct sockaddr_in slow = kit_inet(6014);
	int fds = kit_fds(), full = kit_bind(SOCK_STREAM, &slow), i, waiting[3];
	struct kit *k = *state;

	listen(full, 0);
	for (i = 0; i < 3; i++) {
		waiting[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)!connect(waiting[i], (struct sockaddr *)&slow, sizeof(slow));
	}
	kit_open(k, "stream,id=b,addr.type=inet,addr.host=127.0.0.1,addr.port=6014");
	assert_string_equal(kit_info(k), "");
	for (i = 0; i < 3; i++)
		close(waiting[i]);
	close(full);
	for (i = 0; i < 500 && !kit_info(k)[0]; i++)
		twx_loop_poll(k->w->loop, 10);
	assert_string_equal(kit_info(k), "connection error");
	assert_non_null(strstr(k->w->log, "cannot connect to 127.0.0.1:6014: Connection refused"));
	assert_true(k->port->link_down);
	assert_int_equal(kit_fds(), fds);
}

/* --- descriptors, options --- */

static void wrong_descriptors_are_refused(void **state)
{
	struct sockaddr_in at = kit_inet(6020);
	struct kit *k = *state;
	int pipes[2], dgram = socket(AF_INET, SOCK_DGRAM, 0),
		      loose = socket(AF_INET, SOCK_STREAM, 0);
	int l = kit_bind(SOCK_STREAM, &at), raw = socket(AF_NETLINK, SOCK_DGRAM, 0);

	assert_int_equal(pipe(pipes), 0);
	kit_refused(k, "is not a socket", "stream,id=b,addr.type=fd,addr.str=%d", pipes[0]);
	kit_refused(k, "Bad file descriptor", "stream,id=b,addr.type=fd,addr.str=9999");
	kit_refused(k, "is not a stream socket", "stream,id=b,addr.type=fd,addr.str=%d", dgram);
	kit_refused(k, "is not connected", "stream,id=b,addr.type=fd,addr.str=%d", loose);
	kit_refused(k, "is not connected", "stream,id=b,addr.type=fd,addr.str=%d", l);
	kit_refused(k, "not a listening", "stream,id=b,server=on,addr.type=fd,addr.str=%d", loose);
	kit_refused(k, "inet or unix", "stream,id=b,addr.type=fd,addr.str=%d", raw);
	kit_refused(k, "Invalid file descriptor number '5x'",
		    "stream,id=b,addr.type=fd,addr.str=5x");
	/* They are still their owner's. */
	close(pipes[0]);
	close(pipes[1]);
	assert_int_equal(close(dgram) | close(loose) | close(l) | close(raw), 0);
}

static void options_that_do_not_fit(void **state)
{
	static const char *const wrong[][2] = {
		{ "", "Parameter 'addr' is missing" },
		{ "addr.host=x", "Parameter 'addr.type' is missing" },
		{ "addr.type=vsock", "does not accept value 'vsock'" },
		{ "addr.type=inet", "Parameter 'addr.host' is missing" },
		{ "addr.type=inet,addr.host=::1", "Parameter 'addr.port' is missing" },
		{ "addr.type=unix,addr.path=/x,addr.port=1",
		  "Parameter 'addr.port' is unexpected" },
		{ "addr.type=unix,addr.path=/x,addr.foo=1", "Invalid parameter 'addr.foo'" },
		{ "addr.type=unix,addr.path=", "Parameter 'addr.path' is empty" },
		{ "addr.type=inet,addr.host=no.name,addr.port=1,addr.numeric=on",
		  "can't resolve host address 'no.name'" },
		{ "addr.type=inet,addr.host=127.0.0.1,addr.port=65536", "port number '65536'" },
		{ "addr.type=inet,addr.host=127.0.0.1,addr.port=-1", "port number '-1'" },
		{ "addr.type=inet,addr.host=127.0.0.1,addr.port=0", "port number '0'" },
		{ "addr.type=inet,addr.host=,addr.port=1", "names no host" },
		{ "addr.type=inet,addr.host=::1,addr.port=1,addr.ipv6=off", "IP version" },
		{ "addr.type=inet,addr.host=::1,addr.port=1,addr.ipv6=off,addr.ipv4=off",
		  "cannot both be off" },
		{ "addr.type=inet,addr.host=127.0.0.1,addr.port=1,addr.to=5", "is for a server" },
		{ "server=on,addr.type=inet,addr.host=127.0.0.1,addr.port=9,addr.to=5",
		  "ends before" },
		{ "server=on,addr.type=unix,addr.path=/x,reconnect=1", "server mode" },
		{ "server=on,addr.type=unix,addr.path=/x,reconnect-ms=1", "server mode" },
		{ "addr.type=unix,addr.path=/x,reconnect-ms=1,reconnect=1", "mutually exclusive" },
		{ "addr.type=fd,addr.str=0,reconnect-ms=1", "cannot be connected again" },
		{ "server=on,addr.type=unix,addr.path=/nowhere/at/all", "No such file" },
	};
	struct kit *k = *state;
	char path[200];
	size_t i;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		kit_refused(k, wrong[i][1], "stream,id=b,%s", wrong[i][0]);
	memset(path, 'x', sizeof(path));
	path[150] = '\0';
	kit_refused(k, "longer than 107 bytes", "stream,id=b,addr.type=unix,addr.path=%s", path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		kit_test(a_frame_goes_behind_its_length),
		kit_test(a_burst_is_one_system_call),
		kit_test(many_frames_are_one_read),
		kit_test(a_frame_may_come_byte_by_byte),
		kit_test(lengths_and_reads_of_all_sizes),
		kit_test(large_frames_go_out),
		kit_test(a_frame_in_a_thousand_pieces),
		kit_test(segmentation_is_done_before),
		kit_test(a_full_socket_makes_busy),
		kit_test(a_busy_receiver_loses_nothing),
		kit_test(frames_before_the_end_arrive),
		kit_test(frames_before_a_failed_write_arrive),
		kit_test(frames_before_a_sudden_end_arrive),
		kit_test(the_end_frees_who_waits),
		kit_test(a_server_is_down_until_somebody_comes),
		kit_test(the_second_peer_waits_for_the_first),
		kit_test(a_new_peer_starts_anew),
		kit_test(the_file_goes_with_the_server),
		kit_test(abstract_names),
		kit_test(inet_servers),
		kit_test(a_listening_descriptor),
		kit_test(a_client_connects),
		kit_test(nobody_there_is_said_at_once),
		kit_test(a_client_connects_again),
		kit_test(the_next_address_of_a_name),
		kit_test(an_answer_that_comes_late),
		kit_test(wrong_descriptors_are_refused),
		kit_test(options_that_do_not_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
