/* SPDX-License-Identifier: BSD-3-Clause */
/* The tap backend's frames, against a real interface and real sockets in a network namespace. */
#include "tap_kit.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MSS 1448

/* Ethernet and IPv4 header from guest to host. */
static void put_ip(struct ctx *c, uint8_t *f, uint8_t proto, uint32_t l4_len)
{
	struct sockaddr_in a;
	uint16_t s;

	memset(f, 0, 34);
	memcpy(f, c->host_mac, 6);
	memcpy(f + 6, guest_mac, 6);
	f[12] = 8;
	f[14] = 0x45;
	f[16] = (uint8_t)((l4_len + 20) >> 8);
	f[17] = (uint8_t)(l4_len + 20);
	f[22] = 64;
	f[23] = proto;
	a = addr(GUEST_IP, 0);
	memcpy(f + 26, &a.sin_addr, 4);
	a = addr(HOST_IP, 0);
	memcpy(f + 30, &a.sin_addr, 4);
	s = (uint16_t)~sum16(f + 14, 20, 0);
	f[24] = (uint8_t)(s >> 8);
	f[25] = (uint8_t)s;
}

static int send_frame(struct ctx *c, const uint8_t *f, uint32_t len, const struct twx_meta *meta)
{
	/* In two pieces, as a NIC's would be. */
	uint32_t first = len < TWX_HDR_ROOM ? len : TWX_HDR_ROOM;
	struct iovec iov[2] = { { (void *)f, first }, { (void *)(f + first), len - first } };
	struct twx_frame frame = { .iov = iov, .n_iov = 2, .len = len };

	if (meta)
		frame.meta = *meta;
	return twx_port_send(&c->nic.port, &frame, 1);
}

static int send_udp(struct ctx *c, uint16_t port, const char *text)
{
	uint8_t f[1514];
	uint32_t len = 8 + (uint32_t)strlen(text);

	put_ip(c, f, IPPROTO_UDP, len);
	memset(f + 34, 0, 8);
	f[34] = f[36] = (uint8_t)(port >> 8);
	f[35] = f[37] = (uint8_t)port;
	f[39] = (uint8_t)len;
	memcpy(f + 42, text, strlen(text));
	return send_frame(c, f, 34 + len, NULL);
}

struct tcp {
	int fd; /* the host's end */
	uint16_t host_port;
	uint32_t seq, ack;
};

/* A segment from the guest, checksum left to the receiver. */
static int send_tcp(struct ctx *c, struct tcp *t, uint8_t flags, uint32_t len, uint16_t gso_size)
{
	static uint8_t f[TWX_FRAME_MAX];
	struct twx_meta m = { .flags = TWX_F_NEEDS_CSUM, .csum_start = 34, .csum_off = 16 };
	uint16_t s;
	uint32_t i;

	put_ip(c, f, IPPROTO_TCP, 20 + len);
	memset(f + 34, 0, 20);
	f[34] = 0x30;
	f[35] = 0x39;
	f[36] = (uint8_t)(t->host_port >> 8);
	f[37] = (uint8_t)t->host_port;
	for (i = 0; i < 4; i++) {
		f[38 + i] = (uint8_t)(t->seq >> (24 - 8 * i));
		f[42 + i] = (uint8_t)(t->ack >> (24 - 8 * i));
	}
	f[46] = 5 << 4;
	f[47] = flags;
	f[48] = f[49] = 0xff;
	s = pseudo(f + 14, IPPROTO_TCP, 20 + len);
	f[50] = (uint8_t)(s >> 8);
	f[51] = (uint8_t)s;
	for (i = 0; i < len; i++)
		f[54 + i] = pattern(i);
	if (gso_size) {
		m.gso = TWX_GSO_TCPV4;
		m.gso_size = gso_size;
		m.hdr_len = 54;
	}
	t->seq += len + ((flags & 2) != 0);
	return send_frame(c, f, 54 + len, &m);
}

/* Connects the guest's toy TCP to a listening socket of the host. */
static void tcp_connect(struct ctx *c, struct tcp *t)
{
	struct sockaddr_in sin = addr(HOST_IP, 0);
	socklen_t len = sizeof(sin);
	int listener = socket(AF_INET, SOCK_STREAM, 0), before = c->nic.n;

	assert_int_equal(bind(listener, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(listen(listener, 1), 0);
	getsockname(listener, (struct sockaddr *)&sin, &len);
	*t = (struct tcp){ .host_port = ntohs(sin.sin_port), .seq = 1000 };
	assert_int_equal(send_tcp(c, t, 2, 0, 0), 1);
	run_loop(c, 20);
	assert_int_equal(c->nic.n, before + 1);
	assert_int_equal(c->nic.log[before].head[47], 0x12);
	t->ack = get32(c->nic.log[before].head + 38) + 1;
	assert_int_equal(send_tcp(c, t, 0x10, 0, 0), 1);
	t->fd = accept(listener, NULL, NULL);
	assert_true(t->fd >= 0);
	close(listener);
}

/* With a reset, so that nothing of this connection is sent again into the next test. */
static void tcp_close(struct tcp *t)
{
	struct linger now = { .l_onoff = 1 };

	setsockopt(t->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(t->fd);
}

static void test_frames_both_ways(void **state)
{
	struct ctx *c = *state;
	struct sockaddr_in to = addr(GUEST_IP, 77), from = addr(HOST_IP, 99);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	char buf[64] = "";

	open_tt0(c, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	assert_int_equal(sendto(fd, "hello guest", 11, 0, (struct sockaddr *)&to, sizeof(to)), 11);
	run_loop(c, 10);
	assert_int_equal(c->nic.n, 1);
	assert_memory_equal(c->nic.log[0].head, guest_mac, 6);
	assert_memory_equal(c->nic.log[0].head + 42, "hello guest", 11);
	assert_int_equal(send_udp(c, 99, "hello host"), 1);
	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 10);
	assert_string_equal(buf, "hello host");
	assert_int_equal(c->tap->ports[0]->count.rx_frames, 1);
	close(fd);
}

static void test_info_text(void **state)
{
	struct ctx *c = *state;
	char *info;

	open_tt0(c, 0);
	info = twx_net_info(c->net);
	assert_non_null(strstr(info, "t0: index=0,type=tap,ifname=tt0,script=no,downscript=no"));
	free(info);
}

static void test_without_vnet_header(void **state)
{
	struct ctx *c = *state;
	struct sockaddr_in to = addr(GUEST_IP, 77), from = addr(HOST_IP, 99);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	char buf[64] = "";

	open_tap(c, "tap,id=t0,ifname=tt0,script=no,downscript=no,vnet_hdr=off");
	if_address(c, "tt0");
	assert_int_equal(c->tap->ports[0]->caps.flags, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	assert_int_equal(sendto(fd, "hello guest", 11, 0, (struct sockaddr *)&to, sizeof(to)), 11);
	run_loop(c, 10);
	assert_int_equal(c->nic.n, 1);
	assert_memory_equal(c->nic.log[0].head + 42, "hello guest", 11);
	assert_int_equal(send_udp(c, 99, "hello host"), 1);
	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 10);
	close(fd);
}

/* A 20,000-byte segment of the guest arrives at a socket of the host, uncut and with one write. */
static void test_gso_to_host(void **state)
{
	struct ctx *c = *state;
	uint8_t buf[20000];
	struct tcp t;
	uint32_t i;

	open_tt0(c, TWX_CAP_CSUM);
	tcp_connect(c, &t);
	i = (uint32_t)c->tap->ports[0]->count.rx_frames;
	assert_int_equal(send_tcp(c, &t, 0x18, sizeof(buf), MSS), 1);
	run_loop(c, 20);
	assert_int_equal(recv(t.fd, buf, sizeof(buf), MSG_WAITALL | MSG_DONTWAIT), sizeof(buf));
	for (i = 0; i < sizeof(buf); i++)
		assert_int_equal(buf[i], pattern(i));
	assert_int_equal(c->tap->ports[0]->count.seg_sw, 0);
	tcp_close(&t);
}

static void host_sends(struct ctx *c, struct tcp *t, uint32_t len)
{
	uint8_t *data = malloc(len);
	uint32_t i;

	for (i = 0; i < len; i++)
		data[i] = pattern(i);
	assert_int_equal(send(t->fd, data, len, MSG_DONTWAIT), len);
	free(data);
	for (i = 0; i < 50 && c->nic.payload < len; i++) {
		run_loop(c, 5);
		t->ack += c->nic.payload - (t->ack - get32(c->nic.log[0].head + 38) - 1);
		send_tcp(c, t, 0x10, 0, 0);
	}
	assert_int_equal(c->nic.payload, len);
	assert_true(c->nic.payload_ok);
}

static uint32_t longest(const struct ctx *c)
{
	uint32_t max = 0;
	int i;

	for (i = 0; i < c->nic.n && i < MAX_LOG; i++)
		if (c->nic.log[i].len > max)
			max = c->nic.log[i].len;
	return max;
}

static void gso_from_host(struct ctx *c, uint32_t caps)
{
	struct tcp t;

	open_tt0(c, caps);
	tcp_connect(c, &t);
	host_sends(c, &t, 60000);
	tcp_close(&t);
}

static void test_gso_from_host(void **state)
{
	struct ctx *c = *state;
	int i;

	gso_from_host(c, TWX_CAP_CSUM | TWX_CAP_TSO4 | TWX_CAP_TSO6 | TWX_CAP_ECN);
	assert_true(longest(c) > 1514);
	for (i = 0; i < c->nic.n; i++)
		if (c->nic.log[i].len > 1514) {
			assert_int_equal(c->nic.log[i].meta.gso, TWX_GSO_TCPV4);
			assert_true(c->nic.log[i].meta.gso_size > 500);
			assert_true(c->nic.log[i].meta.flags & TWX_F_NEEDS_CSUM);
		}
}

static void test_gso_from_host_into_lease(void **state)
{
	struct ctx *c = *state;

	c->nic.lends = true;
	gso_from_host(c, TWX_CAP_CSUM | TWX_CAP_TSO4 | TWX_CAP_TSO6 | TWX_CAP_ECN);
	assert_true(c->nic.commits > 0);
	assert_int_equal(c->nic.commits + c->nic.aborts, c->nic.reserves);
	assert_true(longest(c) > 1514);
}

/* A receiver without offloads gets frames of the MTU with whole checksums (nic_note looks at them).
 */
static void test_no_offload_for_a_plain_receiver(void **state)
{
	struct ctx *c = *state;

	gso_from_host(c, 0);
	assert_true(longest(c) <= 1514);
}

/* One that only finishes checksums as well, but the kernel is asked for long frames all the same;
 * none of them goes into a lease, which nobody would cut. */
static void test_long_frames_are_cut_here(void **state)
{
	struct ctx *c = *state;

	c->nic.lends = true;
	gso_from_host(c, TWX_CAP_CSUM);
	assert_true(longest(c) <= 1514);
	assert_true(c->nic.port.count.seg_sw > 0);
	assert_int_equal(c->nic.commits, 0);
}

/* The driver gives its offloads up while large frames wait in the kernel: they arrive cut, none is
 * lost. */
static void test_offloads_given_up(void **state)
{
	struct ctx *c = *state;
	struct tcp t;

	c->nic.lends = true;
	open_tt0(c, TWX_CAP_CSUM | TWX_CAP_TSO4);
	tcp_connect(c, &t);
	host_sends(c, &t, 14000);
	c->nic.busy = true;
	c->nic.payload = 0;
	assert_int_equal(send(t.fd, c->nic.buf, 10000, MSG_DONTWAIT), 10000);
	run_loop(c, 10);
	memset(c->nic.log, 0, sizeof(c->nic.log));
	c->nic.n = 0;
	twx_port_set_caps(&c->nic.port, (struct twx_caps){ 0 });
	c->nic.busy = false;
	twx_port_ready(&c->nic.port);
	run_loop(c, 20);
	assert_int_equal(c->nic.payload, 10000);
	assert_true(longest(c) <= 1514);
	tcp_close(&t);
}

static void test_jumbo_mtu_raised_later(void **state)
{
	struct ctx *c = *state;
	struct sockaddr_in to = addr(GUEST_IP, 77);
	int fd = socket(AF_INET, SOCK_DGRAM, 0), i, full = 0;
	char data[8900] = { 1 };

	c->nic.lends = true;
	open_tt0(c, 0);
	if_mtu("tt0", 9000);
	for (i = 0; i < 6; i++) {
		assert_int_equal(
			sendto(fd, data, sizeof(data), 0, (struct sockaddr *)&to, sizeof(to)),
			sizeof(data));
		run_loop(c, 5);
	}
	for (i = 0; i < c->nic.n; i++)
		full += c->nic.log[i].len == sizeof(data) + 42;
	assert_true(
		full >=
		5); /* the first of that size in a lease of the old one may be lost, and no more */
	assert_true(c->nic.commits > 0);
	close(fd);
}

static void test_busy_receiver_loses_nothing(void **state)
{
	struct ctx *c = *state;
	int fd = socket(AF_INET, SOCK_DGRAM, 0), rounds;

	open_tt0(c, 0);
	run_loop(c, 10);
	c->nic.busy = true;
	send_numbered(fd, 300);
	rounds = twx_loop_poll(c->loop, 0);
	run_loop(c, 10);
	assert_int_equal(c->nic.n, 0);
	assert_true(rounds >= 1);
	/* It waits without spinning. */
	assert_int_equal(twx_loop_poll(c->loop, 0), 0);
	c->nic.busy = false;
	twx_port_ready(&c->nic.port);
	run_loop(c, 20);
	expect_numbered(c, 300);
	assert_true(c->nic.port.count.rx_bursts < 60); /* gathered */
	close(fd);
}

static void test_link_down_drains(void **state)
{
	struct ctx *c = *state;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	open_tt0(c, 0);
	assert_int_equal(twx_net_set_link(c->net, "t0", false, NULL), 0);
	send_numbered(fd, 10);
	run_loop(c, 10);
	assert_int_equal(c->nic.n, 0);
	assert_int_equal(twx_net_set_link(c->net, "t0", true, NULL), 0);
	run_loop(c, 10);
	c->nic.n = 0;
	send_numbered(fd, 10); /* none of the old ones turns up */
	run_loop(c, 10);
	expect_numbered(c, 10);
	close(fd);
}

/* Frames that the host's queue holds on to fill the send buffer; the port is busy until they go. */
static void test_full_device_makes_busy(void **state)
{
	struct ctx *c = *state;
	uint8_t f[1514] = { 0 };
	int sent = 0, i;

	open_tap(c, "tap,id=t0,ifname=tt0,script=no,downscript=no,sndbuf=8k");
	if (system("ip link add br9 type bridge && ip link set br9 up && ip link add v9 type veth "
		   "peer name w9 && "
		   "ip link set v9 master br9 up && ip link set w9 up && ip link set tt0 master "
		   "br9 up && "
		   "tc qdisc add dev v9 root tbf rate 200kbit burst 2000 limit 1000000 2>&1"))
		skip();
	run_loop(c, 20);
	/* Local experimental Ethertype: IP would pass through the bridge's packet filter, which
	 * takes the frames out of the sender's account. */
	memcpy(f, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x88\xb5", 14);
	for (i = 0; i < 200; i++)
		sent += send_frame(c, f, sizeof(f), NULL);
	assert_in_range(sent, 1, 100);
	assert_true(c->tap->ports[0]->count.busy > 0);
	for (i = 0; i < 400 && !twx_port_can_send(&c->nic.port); i++)
		twx_loop_poll(c->loop, 10);
	assert_true(twx_port_can_send(&c->nic.port));
	assert_int_equal(send_frame(c, f, sizeof(f), NULL), 1);
	assert_int_equal(system("ip link del br9; ip link del v9"), 0);
}

static void test_deleted_interface(void **state)
{
	struct ctx *c = *state;
	int i;

	open_tt0(c, 0);
	if (system("ip link del tt0"))
		skip();
	run_loop(c, 20);
	assert_int_equal(twx_loop_poll(c->loop, 0), 0); /* quiet */
	assert_non_null(strstr(c->log, "netdev t0: cannot read from tt0 any more"));
	for (i = 0; i < 5; i++)
		assert_int_equal(send_udp(c, 99, "into the void"), 1);
	assert_int_equal(c->tap->ports[0]->count.drops[TWX_DROP_HOST_ERROR], 5);
}

static void test_several_queues(void **state)
{
	struct ctx *c = *state;
	struct sockaddr_in from = addr(HOST_IP, 99);
	struct nic *more = calloc(3, sizeof(*more));
	int fd = socket(AF_INET, SOCK_DGRAM, 0), i, socks[40], total;
	char buf[16];

	open_tap(c, "tap,id=t0,ifname=tt0,script=no,downscript=no,queues=4");
	assert_int_equal(c->tap->n_ports, 4);
	if_address(c, "tt0");
	for (i = 0; i < 3; i++) {
		assert_int_equal(twx_port_init(&more[i].port, c->net, c->loop, TWX_PORT_NIC, "nic",
					       "toy", (uint16_t)(i + 1), &nic_ops, &more[i], NULL),
				 0);
		assert_int_equal(twx_port_pair(&more[i].port, c->tap->ports[i + 1], NULL), 0);
	}
	assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	assert_int_equal(send_udp(c, 99, "queue 0"), 1);
	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 7);
	for (i = 0; i < 40; i++) {
		socks[i] = socket(AF_INET, SOCK_DGRAM, 0);
		send_numbered(socks[i], 1);
		close(socks[i]);
	}
	run_loop(c, 20);
	total = c->nic.n;
	for (i = 0; i < 3; i++) {
		total += more[i].n;
		twx_port_fini(&more[i].port);
	}
	assert_int_equal(total, 40);
	assert_true(c->nic.n < 40); /* the kernel spread the flows */
	close(fd);
	free(more);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_frames_both_ways),
		T(test_info_text),
		T(test_without_vnet_header),
		T(test_gso_to_host),
		T(test_gso_from_host),
		T(test_gso_from_host_into_lease),
		T(test_no_offload_for_a_plain_receiver),
		T(test_long_frames_are_cut_here),
		T(test_offloads_given_up),
		T(test_jumbo_mtu_raised_later),
		T(test_busy_receiver_loses_nothing),
		T(test_link_down_drains),
		T(test_full_device_makes_busy),
		T(test_deleted_interface),
		T(test_several_queues),
	};

	return tap_run(tests);
}
