/* SPDX-License-Identifier: BSD-3-Clause */
/* Peers of the socket backends that mean no good: what broke others, and what only wants to. */
#include "sock_kit.h"

#include <fcntl.h>
#include <sys/mman.h>

static void open_server(struct kit *k)
{
	kit_open(k, "stream,id=b,server=on,addr.type=unix,addr.path=%s", kit_path(k, "s"));
}

static int peer(struct kit *k)
{
	struct sockaddr_un to = kit_unix(kit_path(k, "s"));

	return kit_connect(SOCK_STREAM, &to);
}

static void say(struct kit *k, int fd, const void *bytes, size_t len)
{
	assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
	world_poll(k->w);
}

/* A good peer finds the backend as if nothing had been. */
static void works(struct kit *k)
{
	int fd = peer(k), before;
	uint8_t buf[64];

	kit_run(k);
	before = k->nic->n_got;
	framed(buf, 60, 1);
	say(k, fd, buf, 64);
	kit_run(k);
	assert_int_equal(k->nic->n_got, before + 1);
	numbered_check(k->nic->got[before].data, 60, 1);
	assert_int_equal(numbered_send(k, 2, 1, 60), 1);
	framed_expect(k, fd, 60, 2);
	close(fd);
	kit_run(k);
}

/* CVE-2007-5730: the length decides how much is copied. */
static void lengths_beyond_any_frame(void **state)
{
	static const uint32_t lens[] = {
		69633,	    70000,	131068,	    131072,	0x7fffffff,
		0x80000000, 0xfffffffb, 0xfffffffc, 0xfffffffe, 0xffffffff
	};
	static uint8_t rest[200000];
	struct kit *k = *state;
	size_t i;

	open_server(k);
	for (i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		uint32_t be = htonl(lens[i]);
		int fd = peer(k), got = k->nic->n_got;
		uint8_t good[64];

		kit_run(k);
		framed(good, 60, 1);
		say(k, fd, good, 64); /* what went before is a frame still */
		say(k, fd, &be, 4);
		assert_int_equal(k->nic->n_got, got + 1);
		assert_true(kit_ended(fd));
		(void)!send(fd, rest, sizeof(rest), MSG_NOSIGNAL | MSG_DONTWAIT);
		kit_run(k);
		assert_int_equal(k->nic->n_got, got + 1);
		assert_true(k->port->link_down);
		close(fd);
		works(k);
	}
	assert_non_null(strstr(k->w->log, "announces a frame of 69633 bytes"));
}

/* The same from a peer that does not read what we send: the next one gets frames again. */
static void lengths_beyond_any_frame_while_we_wait(void **state)
{
	struct kit *k = *state;
	int fd;

	open_server(k);
	fd = peer(k);
	kit_run(k);
	assert_in_range(numbered_send(k, 0, 5000, 1514), 1, 4999);
	say(k, fd, "\xff\xff\xff\xff", 4);
	assert_true(k->port->link_down);
	assert_true(twx_port_can_send(&k->nic->port));
	assert_int_equal(numbered_send(k, 0, 10, 60), 10);
	close(fd);
	works(k);
}

/* The same lengths, their four bytes in four reads. */
static void lengths_in_pieces(void **state)
{
	struct kit *k = *state;
	uint8_t buf[64];
	int fd, i;

	open_server(k);
	fd = peer(k);
	kit_run(k);
	for (i = 0; i < 4; i++)
		say(k, fd, "\xff", 1);
	assert_true(kit_ended(fd));
	close(fd);
	kit_run(k);
	fd = peer(k);
	kit_run(k);
	framed(buf, 60, 1);
	for (i = 0; i < 64; i++)
		say(k, fd, buf + i, 1);
	assert_int_equal(k->nic->n_got, 1);
	say(k, fd, "\0\0\0", 3); /* and goes in the middle of one */
	close(fd);
	kit_run(k);
	works(k);
}

/* Frames of no bytes, in numbers, and of less than a header: each counted, none delivered. */
static void lengths_below_any_frame(void **state)
{
	static uint8_t zeros[100000];
	struct kit *k = *state;
	uint8_t buf[64];
	uint32_t len;
	int fd;

	open_server(k);
	fd = peer(k);
	kit_run(k);
	assert_int_equal(send(fd, zeros, sizeof(zeros), 0), sizeof(zeros));
	kit_run(k);
	assert_int_equal(k->port->count.drops[TWX_DROP_TOO_SHORT], sizeof(zeros) / 4);
	for (len = 1; len < 14; len++) {
		framed(buf, len, len);
		say(k, fd, buf, 4 + len);
	}
	assert_int_equal(k->port->count.drops[TWX_DROP_TOO_SHORT], sizeof(zeros) / 4 + 13);
	framed(buf, 60, 7);
	say(k, fd, buf, 64);
	assert_int_equal(k->nic->n_got, 1);
	numbered_check(k->nic->got[0].data, 60, 7);
	close(fd);
	kit_run(k);
	works(k);
}

/* Frames that QEMU's buffer holds and our cable does not: dropped, and what follows is a frame. */
static void lengths_between_ours_and_theirs(void **state)
{
	static const uint32_t lens[] = { TWX_FRAME_MAX + 1, 69632 };
	uint8_t *buf = malloc(80000);
	struct kit *k = *state;
	size_t i, len;
	int fd;

	open_server(k);
	fd = peer(k);
	kit_run(k);
	for (i = 0; i < 2; i++) {
		len = framed(buf, lens[i], 1);
		len += framed(buf + len, 60, (uint32_t)i);
		say(k, fd, buf, len);
		kit_run(k);
		assert_int_equal(k->nic->n_got, i + 1);
		assert_int_equal(k->port->count.drops[TWX_DROP_TOO_LONG], i + 1);
	}
	numbered_expect(k, 2, 60);
	free(buf);
	close(fd);
}

/* Somebody who speaks another protocol, or noise. */
static void other_protocols_and_noise(void **state)
{
	static uint8_t noise[20000];
	unsigned int seed = 3;
	struct kit *k = *state;
	int round, fd;
	size_t i;

	open_server(k);
	fd = peer(k);
	kit_run(k);
	say(k, fd, "GET / HTTP/1.1\r\n\r\n", 18);
	assert_true(kit_ended(fd));
	close(fd);
	kit_run(k);
	for (round = 0; round < 200; round++) {
		fd = peer(k);
		for (i = 0; i < sizeof(noise); i++)
			noise[i] = (uint8_t)(rand_r(&seed) >> 8) & (round & 1 ? 0xff : 3);
		if (round & 2)
			noise[0] = noise[1] = 0;
		(void)!send(fd, noise, (size_t)rand_r(&seed) % sizeof(noise),
			    MSG_NOSIGNAL | MSG_DONTWAIT);
		world_poll(k->w);
		close(fd);
		world_poll(k->w);
	}
	works(k);
	assert_true(k->w->n_lines < 200); /* the log is not theirs to fill */
}

/* Connections that come and go take nothing with them. */
static void connections_in_a_storm(void **state)
{
	struct kit *k = *state;
	int i, fds;

	open_server(k);
	works(k);
	fds = kit_fds();
	for (i = 0; i < 2000; i++) {
		int fd = peer(k);

		if (i % 3)
			world_poll(k->w);
		if (i % 5 == 0)
			numbered_send(k, 0, 10, 1514);
		close(fd);
		if (i % 2)
			world_poll(k->w);
	}
	works(k);
	assert_int_equal(kit_fds(), fds);
}

/* A server that ends every connection is not asked more often than agreed. */
static void a_server_that_hangs_up(void **state)
{
	struct sockaddr_in at = kit_inet(6301);
	int l = kit_bind(SOCK_STREAM, &at), n = 0, fd, i;
	struct kit *k = *state;

	kit_open(k, "stream,id=b,addr.type=inet,addr.host=127.0.0.1,addr.port=6301,"
		    "reconnect-ms=60000");
	for (i = 0; i < 50; i++) {
		fd = accept4(l, NULL, NULL, SOCK_NONBLOCK);
		if (fd >= 0) {
			n++;
			(void)!send(fd, "\xff\xff\xff\xff", 4, MSG_NOSIGNAL);
			close(fd);
		}
		if (!i)
			assert_int_equal(fcntl(l, F_SETFL, O_NONBLOCK), 0);
		twx_loop_poll(k->w->loop, 2);
	}
	assert_int_equal(n, 1);
	assert_true(k->port->link_down);
	close(l);
}

/* QEMU, 2013: a peer that does not read must not make us remember without end. */
static void a_stalled_peer_bounds_what_is_kept(void **state)
{
	static uint8_t data[1514];
	struct iovec iov = { data, sizeof(data) };
	struct twx_frame f = { .iov = &iov, .n_iov = 1, .len = sizeof(data) };
	struct kit *k = *state;
	struct twx_backend *h1, *h2;
	uint64_t dropped;
	uint8_t buf[4 + 1514];
	int fd, i;

	/* Behind a hub, so that nobody retains. */
	kit_open(k, "stream,id=b,server=on,addr.type=unix,addr.path=%s", kit_path(k, "s"));
	twx_port_unpair(k->port);
	assert_int_equal(twx_backend_new(&h1, k->w->net, "hubport,id=h1,hubid=0,netdev=b", NULL),
			 0);
	assert_int_equal(twx_backend_new(&h2, k->w->net, "hubport,id=h2,hubid=0", NULL), 0);
	assert_int_equal(twx_port_pair(&k->nic->port, h2->ports[0], NULL), 0);
	fd = peer(k);
	kit_run(k);
	numbered_fill(data, sizeof(data), 4);
	for (i = 0; i < 40000; i++)
		twx_port_post(&k->nic->port, &f, 1);
	dropped = k->port->count.drops[TWX_DROP_QUEUE_FULL] +
		  h2->ports[0]->count.drops[TWX_DROP_QUEUE_FULL];
	assert_true(dropped > 10000);
	for (i = 0; i < 5000; i++) {
		kit_read(k, fd, buf, sizeof(buf));
		assert_memory_equal(buf, "\0\0\x05\xea", 4);
		assert_memory_equal(buf + 4, data, sizeof(data));
	}
	close(fd);
	kit_run(k);
	twx_backend_free(h2);
	twx_backend_free(h1);
}

/* CVE-2018-17963: sums beyond an int. */
static void a_frame_of_gigabytes(void **state)
{
	static uint8_t data[4096];
	struct iovec iov[3] = { { data, sizeof(data) },
				{ data, 0x7ffff000 },
				{ data, 0x7ffff000 } };
	struct twx_frame f = { .iov = iov, .n_iov = 3, .len = 0xfffff000 };
	struct kit *k = *state;
	int fd;

	open_server(k);
	fd = peer(k);
	kit_run(k);
	assert_int_equal(twx_port_send(&k->nic->port, &f, 1), 1);
	f.len = 0x7fffffff;
	f.n_iov = 2;
	assert_int_equal(twx_port_send(&k->nic->port, &f, 1), 1);
	assert_true(kit_silent(fd));
	assert_int_equal(k->nic->port.count.drops[TWX_DROP_TOO_LONG], 2);
	close(fd);
	kit_run(k);
	works(k);
}

/* A frame whose payload is in memory that its guest took away. */
static struct twx_frame lost_frame(struct iovec iov[2])
{
	static uint8_t head[TWX_HDR_ROOM] = { [12] = 0x88, 0xb5 };
	static void *gone;

	if (!gone)
		gone = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	iov[0] = (struct iovec){ head, sizeof(head) };
	iov[1] = (struct iovec){ gone, 1000 };
	return (struct twx_frame){ .iov = iov, .n_iov = 2, .len = sizeof(head) + 1000 };
}

/* The burst is lost with it, the connection is not. */
static void lost_memory_under_a_stream(void **state)
{
	struct kit *k = *state;
	struct iovec iov[2];
	struct twx_frame f = lost_frame(iov);
	int fd;

	open_server(k);
	fd = peer(k);
	kit_run(k);
	assert_int_equal(twx_port_send(&k->nic->port, &f, 1), 1);
	assert_int_equal(k->port->count.drops[TWX_DROP_HOST_ERROR], 1);
	assert_int_equal(numbered_send(k, 1, 1, 60), 1);
	framed_expect(k, fd, 60, 1);
	close(fd);
}

/* It is lost, those around it are not. */
static void lost_memory_under_datagrams(void **state)
{
	struct sockaddr_in at = kit_inet(6303);
	int fd = kit_bind(SOCK_DGRAM, &at), i;
	struct kit *k = *state;
	struct iovec bad[2], iov[2];
	uint8_t small[60], got[100];
	struct twx_frame f[3];

	kit_open(k, "socket,id=b,udp=127.0.0.1:6303,localaddr=127.0.0.1:6302");
	f[0] = f[2] = numbered_frame(small, iov, 60, 8);
	f[1] = lost_frame(bad);
	assert_int_equal(twx_port_send(&k->nic->port, f, 3), 3);
	assert_int_equal(k->port->count.drops[TWX_DROP_HOST_ERROR], 1);
	for (i = 0; i < 2; i++) {
		assert_int_equal(recv(fd, got, sizeof(got), MSG_DONTWAIT), 60);
		numbered_check(got, 60, 8);
	}
	assert_true(kit_silent(fd));
	close(fd);
}

/* A flood of datagrams, none of them a frame, from a stranger. */
static void datagrams_of_a_stranger(void **state)
{
	struct sockaddr_in to = kit_inet(6302);
	struct kit *k = *state;
	unsigned int seed = 9;
	static uint8_t noise[65507];
	uint8_t good[60];
	int fd, i, before;

	kit_open(k, "socket,id=b,udp=127.0.0.1:6303,localaddr=127.0.0.1:6302");
	fd = kit_connect(SOCK_DGRAM, &to);
	for (i = 0; i < 3000; i++) {
		(void)!send(fd, noise, i % 3 ? (size_t)rand_r(&seed) % 14 : (size_t)i * 20, 0);
		if (i % 50 == 0)
			world_poll(k->w);
	}
	kit_run(k);
	before = k->nic->n_got;
	numbered_fill(good, 60, 3);
	assert_int_equal(send(fd, good, 60, 0), 60);
	kit_run(k);
	assert_int_equal(k->nic->n_got, before + 1);
	numbered_check(k->nic->got[before].data, 60, 3);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		kit_test(lengths_beyond_any_frame),
		kit_test(lengths_beyond_any_frame_while_we_wait),
		kit_test(lengths_in_pieces),
		kit_test(lengths_below_any_frame),
		kit_test(lengths_between_ours_and_theirs),
		kit_test(other_protocols_and_noise),
		kit_test(connections_in_a_storm),
		kit_test(a_server_that_hangs_up),
		kit_test(a_stalled_peer_bounds_what_is_kept),
		kit_test(a_frame_of_gigabytes),
		kit_test(datagrams_of_a_stranger),
		kit_test(lost_memory_under_a_stream),
		kit_test(lost_memory_under_datagrams),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
