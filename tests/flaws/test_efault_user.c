/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory that went away under the user-mode network: whose payload it was loses that, and the
 * others nothing. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/macros.h"
#include "lost_memory.h"
#include "tcp_guest.h"
#include "user_guest.h"

#define MEMORY 0x20000u
#define PAGE 4096u
#define HDR 54u
#define HEAD ((uint32_t)TWX_HDR_ROOM - HDR) /* payload in the private part of a frame */

static struct guest guest;
static struct lost_memory mem;

static int open_guest(void **state)
{
	struct twx_error e = { 0 };

	if (!guest_open(&guest, "", TWX_CAP_CSUM | TWX_CAP_TSO4, &e))
		fail_msg("%s", e.what);
	lost_open(&mem, guest.net, MEMORY);
	memset(mem.at, 0x5a, MEMORY);
	return 0;
}

static int close_guest(void **state)
{
	lost_close(&mem);
	guest_close(&guest);
	return 0;
}

/* --- TCP from the guest --- */

struct conn {
	uint16_t sport, dport;
	uint32_t seq, ack;
	int listener, fd;
};

static void control(struct conn *c, uint8_t flags)
{
	uint8_t frame[HDR];

	guest_send(&guest, frame,
		   guest_tcp(&guest, frame, c->sport, guest.host, c->dport, c->seq, c->ack, flags,
			     65535, "", 0, "", 0));
}

static void conn_open(struct conn *c, uint16_t sport)
{
	struct pollfd p = { .events = POLLIN };
	struct guest_pkt syn_ack;

	*c = (struct conn){ .sport = sport, .seq = 1000 };
	c->listener = p.fd = guest_host_socket(SOCK_STREAM, &c->dport);
	control(c, TG_SYN);
	assert_true(guest_recv_ip(&guest, IPPROTO_TCP, &syn_ack, 2000));
	assert_int_equal(syn_ack.flags, TG_SYN | TG_ACK);
	c->seq++;
	c->ack = syn_ack.seq + 1;
	guest_pkt_free(&syn_ack);
	control(c, TG_ACK);
	assert_int_equal(poll(&p, 1, 2000), 1);
	c->fd = accept4(c->listener, NULL, NULL, SOCK_NONBLOCK);
	assert_true(c->fd >= 0);
}

static void conn_close(struct conn *c)
{
	close(c->fd);
	close(c->listener);
}

/* A segment of @len bytes: its first ones private, the rest at @data. */
static void send_data(struct conn *c, uint8_t *data, uint32_t len)
{
	static uint8_t frame[HDR + 65536], filler[65536];
	uint32_t whole;
	struct iovec iov[2];
	struct twx_frame f = { .iov = iov, .n_iov = 2, .meta = { .flags = TWX_F_CSUM_VALID } };

	memset(filler, 0x5a, sizeof(filler));
	whole = guest_tcp(&guest, frame, c->sport, guest.host, c->dport, c->seq, c->ack,
			  TG_ACK | TG_PSH, 65535, NULL, 0, filler, len);
	iov[0] = (struct iovec){ frame, TWX_HDR_ROOM };
	iov[1] = (struct iovec){ data, len - HEAD };
	f.len = whole;
	if (len > 1460)
		f.meta = (struct twx_meta){ .flags = TWX_F_NEEDS_CSUM,
					    .gso = TWX_GSO_TCPV4,
					    .gso_size = 1460,
					    .hdr_len = HDR,
					    .csum_start = 34,
					    .csum_off = 16 };
	guest_send_burst(&guest, &f, 1);
	c->seq += len;
}

/* The host's end: every byte was the guest's; how many, and errno of the end in *err. */
static size_t drain(int fd, int *err)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	static uint8_t buf[65536];
	size_t total = 0;
	ssize_t n;

	while (poll(&p, 1, 500) == 1 && (n = recv(fd, buf, sizeof(buf), 0)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(buf[i], 0x5a);
		total += (size_t)n;
	}
	*err = errno;
	return total;
}

static void expect_reset(struct conn *c)
{
	struct guest_pkt p;
	bool reset = false;

	while (!reset && guest_recv_ip(&guest, IPPROTO_TCP, &p, 2000)) {
		reset = p.dport == c->sport && (p.flags & TG_RST);
		guest_pkt_free(&p);
	}
	assert_true(reset);
	guest_run(&guest, 5);
}

static void still_works(struct conn *c)
{
	static uint8_t good[1000];
	int err;

	memset(good, 0x5a, sizeof(good));
	send_data(c, good, sizeof(good));
	guest_run(&guest, 20);
	assert_int_equal(drain(c->fd, &err), sizeof(good));
}

/* Nothing of it can be read. */
static void tcp_payload_gone(void **state)
{
	struct conn a, b;
	int err;

	conn_open(&a, 4001);
	conn_open(&b, 4002);
	lost_cut(&mem, PAGE);
	send_data(&a, mem.at + PAGE, 1000);
	expect_reset(&a);
	drain(a.fd, &err);
	assert_int_equal(err, ECONNRESET);
	assert_int_equal(mem.told, 1);
	assert_int_equal(lost_faults, 0);
	assert_int_equal(guest.user->flows.count[FLOW_TCP], 1);
	still_works(&b);
	conn_close(&a);
	conn_close(&b);
}

/* The kernel takes the front of it, the rest is to be kept: no zeros come in its place. */
static void tcp_payload_half_gone(void **state)
{
	struct conn a, b;
	int err;

	conn_open(&a, 4001);
	conn_open(&b, 4002);
	lost_cut(&mem, 0xa000);
	send_data(&a, mem.at, 60000);
	expect_reset(&a);
	drain(a.fd, &err);
	assert_int_equal(err, ECONNRESET);
	assert_true(lost_faults > 0);
	assert_int_equal(mem.told, 1);
	assert_int_equal(guest.user->flows.count[FLOW_TCP], 1);
	still_works(&b);
	conn_close(&a);
	conn_close(&b);
}

/* --- UDP from the guest --- */

static void udp_payload_gone(void **state)
{
	static const uint32_t sizes[] = { 300, 400, 500 }; /* so that no two are joined */
	uint8_t frames[3][600], filler[600], buf[600];
	struct iovec iov[3][2];
	struct twx_frame f[3];
	struct pollfd p = { .events = POLLIN };
	uint16_t port;

	p.fd = guest_host_socket(SOCK_DGRAM, &port);
	memset(filler, 0x5a, sizeof(filler));
	lost_cut(&mem, PAGE);
	for (int i = 0; i < 3; i++) {
		uint32_t len =
			guest_udp(&guest, frames[i], 5000, guest.host, port, filler, sizes[i]);

		iov[i][0] = (struct iovec){ frames[i], TWX_HDR_ROOM };
		iov[i][1] = (struct iovec){ i == 1 ? mem.at + PAGE : mem.at, len - TWX_HDR_ROOM };
		f[i] = (struct twx_frame){
			.iov = iov[i], .n_iov = 2, .len = len, .meta.flags = TWX_F_CSUM_VALID
		};
	}
	guest_send_burst(&guest, f, 3);
	guest_run(&guest, 20);
	assert_int_equal(mem.told, 1);
	assert_int_equal(guest_drops(&guest, TWX_DROP_HOST_ERROR), 1);
	for (int i = 0; i < 3; i += 2) {
		assert_int_equal(poll(&p, 1, 1000), 1);
		assert_int_equal(recv(p.fd, buf, sizeof(buf), 0), sizes[i]);
		assert_memory_equal(buf, filler, sizes[i]);
	}
	assert_int_equal(poll(&p, 1, 50), 0);
	close(p.fd);
}

/* --- TCP to the guest --- */

static void rounds_until(struct tg *g, const bool *done)
{
	for (int i = 0; i < 2000 && !*done; i++)
		tg_round(g, 1);
	assert_true(*done);
}

struct tg_end {
	struct tg_conn *conn;
	int fd;
};

static struct tg_end tg_open(struct tg *g)
{
	struct tg_end end;
	uint16_t port;
	int listener = guest_host_socket(SOCK_STREAM, &port);

	end.conn = tg_conn_new(g, 0x0a000202u, port);
	tg_syn(g, end.conn);
	rounds_until(g, &end.conn->established);
	tg_round(g, 1);
	end.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	assert_true(end.fd >= 0);
	close(listener);
	return end;
}

/* The guest's buffers are gone when the host's data come. */
static void tcp_buffers_gone(void **state)
{
	struct tg *g = tg_new("", TWX_CAP_CSUM | TWX_CAP_TSO4, true);
	struct tg_end a = tg_open(g), b = tg_open(g);
	uint8_t *pool = g->pool, data[5000] = { 0 }, x;
	struct lost_memory buffers;

	g->check = false;
	lost_open(&buffers, g->net, TG_POOL);
	g->pool = buffers.at;
	lost_cut(&buffers, 0);
	assert_int_equal(send(a.fd, data, sizeof(data), 0), sizeof(data));
	rounds_until(g, &a.conn->reset);
	tg_round(g, 1);
	assert_int_equal(buffers.told, 1);
	assert_int_equal(lost_faults, 0);
	assert_int_equal(recv(a.fd, &x, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	g->pool = pool;
	lost_close(&buffers);
	assert_int_equal(send(b.fd, data, sizeof(data), 0), sizeof(data));
	for (int i = 0; i < 500 && b.conn->rx_bytes < sizeof(data); i++)
		tg_round(g, 1);
	assert_int_equal(b.conn->rx_bytes, sizeof(data));
	assert_int_equal(g->user->flows.count[FLOW_TCP], 1);
	close(a.fd);
	close(b.fd);
	tg_free(g);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_guest, close_guest)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(tcp_payload_gone),
		CASE(tcp_payload_half_gone),
		CASE(udp_payload_gone),
		cmocka_unit_test(tcp_buffers_gone),
	};

	guest_namespace();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
