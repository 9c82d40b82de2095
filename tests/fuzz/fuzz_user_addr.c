/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a guest says to get an address, a name and a boot file: DHCP, DHCPv6, neighbour discovery,
 * TFTP by IPv4 and IPv6.
 *
 * An input is a byte of options for the backend, then messages: a kind, how to wrap them, a length,
 * and that many bytes. Headers around them are right, so that the parser behind them is reached; of
 * DHCPv6 the identifiers too, where the input asks for that. Time passes. Each frame from the stack
 * must be one that the guest can take: lengths, checksum, MTU.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <twinax/twinax.h>

#include "backends/user/user.h"
#include "base/csum.h"
#include "base/iov.h"
#include "base/loop_virtual.h"
#include "fuzz.h"

#define MAX_OPS 200
#define FRAME_ROOM 2048
#define DATA_MAX 1500

static const uint8_t guest_mac[6] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 };
static char root[64];

struct world {
	struct twx_loop *loop;
	struct twx_net *net;
	struct twx_backend *backend;
	struct user *user;
	struct twx_port port;
	struct twx_watch clock;
	int clock_fd;
	uint64_t sum; /* so that the reading is not optimised away */
	const uint8_t *at, *end;
};

static uint8_t byte(struct world *w)
{
	return w->at < w->end ? *w->at++ : 0;
}

static uint32_t word(struct world *w)
{
	uint32_t high = byte(w);

	return high << 8 | byte(w);
}

/* --- frames to the guest --- */

static void check_ip6(const uint8_t *ip, uint32_t len)
{
	uint32_t l4_len = user_get16(ip + 4);
	uint64_t sum = csum_add16(csum_add16(csum_partial(ip + 8, 32, 0), ip[6]), (uint16_t)l4_len);

	assert(ip[0] >> 4 == 6 && l4_len >= 8 && 40 + l4_len <= len);
	assert(ip[6] == IPPROTO_UDP || ip[6] == IPPROTO_ICMPV6);
	assert(!csum_fold(csum_partial(ip + 40, l4_len, sum)).raw);
}

static void check_ip4(const uint8_t *ip, uint32_t len)
{
	uint32_t total = user_get16(ip + 2);

	assert(ip[0] == 0x45 && total >= 28 && total <= len);
	assert(!csum_fold(csum_partial(ip, 20, 0)).raw);
}

static int nic_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	struct world *w = port->owner;
	static uint8_t copy[66000];

	for (int i = 0; i < n; i++) {
		uint32_t len = frames[i].len;

		assert(len >= 60 && len <= 14 + w->user->cfg.mtu);
		assert(iov_copy_from(frames[i].iov, frames[i].n_iov, 0, copy, len) == len);
		for (uint32_t k = 0; k < len; k++)
			w->sum += copy[k];
		if (user_get16(copy + 12) == 0x86dd)
			check_ip6(copy + 14, len - 14);
		else if (user_get16(copy + 12) == 0x0800)
			check_ip4(copy + 14, len - 14);
		else
			assert(user_get16(copy + 12) == 0x0806);
	}
	return n;
}

static const struct twx_port_ops nic_ops = { .receive = nic_receive };

/* --- and from it --- */

static void send_frame(struct world *w, const uint8_t *f, uint32_t len)
{
	/* An exact copy, so that a sanitizer sees reads beyond it. */
	uint8_t *copy = malloc(len);
	struct iovec iov = { copy, len };
	struct twx_frame frame = { .iov = &iov, .n_iov = 1, .len = len };

	assert(copy);
	memcpy(copy, f, len);
	twx_port_post(&w->port, &frame, 1);
	free(copy);
}

static void put_addr(uint8_t *at, uint8_t which)
{
	static const char addrs[8][16] = {
		{ '\xfe', '\x80', [8] = 0x50, 0x54, 0, '\xff', '\xfe', 0x12, 0x34, 0x56 },
		{ '\xfe', '\xc0', [8] = 0x50, 0x54, 0, '\xff', '\xfe', 0x12, 0x34, 0x56 },
		{ 0 },
		{ '\xfe', '\x80', [15] = 2 },
		{ '\xfe', '\xc0', [15] = 2 },
		{ '\xff', 2, [13] = 1, [15] = 2 },
		{ '\xff', 2, [11] = 1, '\xff', [15] = 2 },
		{ '\xff', 2, [15] = 1 },
	};

	memcpy(at, addrs[which & 7], 16);
}

/* @l4 of @len bytes lies at f + 54. */
static void send_ip6(struct world *w, uint8_t *f, uint8_t src, uint8_t dst, uint8_t proto,
		     uint8_t hops, uint32_t len)
{
	uint8_t *ip = f + 14, *l4 = f + 54;
	be16 sum;

	memcpy(f, w->user->mac6, 6);
	memcpy(f + 6, guest_mac, 6);
	user_put16(f + 12, 0x86dd);
	memset(ip, 0, 8);
	ip[0] = 0x60;
	user_put16(ip + 4, len);
	ip[6] = proto;
	ip[7] = hops;
	put_addr(ip + 8, src);
	put_addr(ip + 24, dst);
	user_put16(l4 + (proto == IPPROTO_UDP ? 6 : 2), 0);
	sum = csum_fold_udp(csum_partial(
		l4, len,
		csum_add16(csum_add16(csum_partial(ip + 8, 32, 0), proto), (uint16_t)len)));
	memcpy(l4 + (proto == IPPROTO_UDP ? 6 : 2), &sum, 2);
	send_frame(w, f, 54 + len);
}

static void send_udp4(struct world *w, uint8_t *f, uint16_t sport, uint16_t dport, uint32_t len)
{
	static const uint8_t addrs[8] = { 10, 0, 2, 15, 10, 0, 2, 2 };
	uint8_t *ip = f + 14, *udp = f + 34;
	be16 sum;

	memcpy(f, w->user->mac, 6);
	memcpy(f + 6, guest_mac, 6);
	user_put16(f + 12, 0x0800);
	memset(ip, 0, 20);
	ip[0] = 0x45;
	user_put16(ip + 2, 28 + len);
	ip[8] = 64;
	ip[9] = IPPROTO_UDP;
	memcpy(ip + 12, addrs, 8);
	sum = csum_fold(csum_partial(ip, 20, 0));
	memcpy(ip + 10, &sum, 2);
	user_put16(udp, sport);
	user_put16(udp + 2, dport);
	user_put16(udp + 4, 8 + len);
	user_put16(udp + 6, 0);
	send_frame(w, f, 42 + len);
}

/* The input's next bytes, at @to. */
static uint32_t take(struct world *w, uint8_t *to, uint32_t room)
{
	uint32_t len = word(w) % 1400, have = (uint32_t)(w->end - w->at);

	len = len < have ? len : have;
	len = len < room ? len : room;
	memcpy(to, w->at, len);
	w->at += len;
	return len;
}

static void op_ndp(struct world *w)
{
	uint8_t f[FRAME_ROOM], how = byte(w), where = byte(w);
	uint32_t len = take(w, f + 54 + 4, DATA_MAX - 54 - 4);

	f[54] = (uint8_t)(133 + (how & 7) % 5);
	f[55] = how & 8 ? byte(w) : 0;
	send_ip6(w, f, where & 3, where >> 2, IPPROTO_ICMPV6, how & 16 ? byte(w) : 255, 4 + len);
}

static uint32_t put_duid(uint8_t *at, uint8_t code, const uint8_t mac[6])
{
	memcpy(at, (uint8_t[]){ 0, code, 0, 10, 0, 3, 0, 1 }, 8);
	memcpy(at + 8, mac, 6);
	return 14;
}

static void op_dhcp6(struct world *w)
{
	uint8_t f[FRAME_ROOM], how = byte(w), *udp = f + 54;
	uint32_t len = 12;

	memset(udp + 8, 0, 4);
	udp[8] = byte(w);
	if (how & 1)
		len += put_duid(udp + len, 1, guest_mac);
	if (how & 2)
		len += put_duid(udp + len, 2, w->user->mac6);
	len += take(w, udp + len, DATA_MAX - 54 - len);
	if (how & 4)
		len = 8 + byte(w) % (len - 7);
	user_put16(udp, 546);
	user_put16(udp + 2, 547);
	user_put16(udp + 4, len);
	send_ip6(w, f, how >> 3 & 1, how & 16 ? 3 : 5, IPPROTO_UDP, 64, len);
}

static void op_dhcp(struct world *w)
{
	uint8_t f[FRAME_ROOM], how = byte(w), *msg = f + 42;
	uint32_t len = 240;

	memset(msg, 0, len);
	memcpy(msg, "\1\1\6", 3);
	memcpy(msg + 28, guest_mac, 6);
	msg[33] = how & 31; /* more guests than leases */
	user_put32(msg + 236, 0x63825363);
	if (how & 32)
		memcpy(msg + 12, (uint8_t[]){ 10, 0, 2, byte(w) }, 4);
	if (how & 64)
		msg[10] = 0x80;
	len += take(w, msg + len, DATA_MAX - 42 - len);
	if (how & 128)
		len = byte(w) % (len + 1);
	send_udp4(w, f, 68, 67, len);
}

static void op_tftp(struct world *w)
{
	uint8_t f[FRAME_ROOM], how = byte(w), *udp = f + 54;
	uint32_t len;

	if (how & 1) {
		send_udp4(w, f, 3000 + (how >> 2), 69, take(w, f + 42, DATA_MAX - 42));
		return;
	}
	len = 8 + take(w, udp + 8, DATA_MAX - 62);
	user_put16(udp, 3000 + (how >> 2));
	user_put16(udp + 2, 69);
	user_put16(udp + 4, len);
	send_ip6(w, f, how >> 1 & 1, 3 + (how >> 1 & 1), IPPROTO_UDP, 64, len);
}

static void clock_moves(struct twx_watch *watch, uint32_t events)
{
	struct world *w = watch->loop
				  ? (struct world *)((char *)watch - offsetof(struct world, clock))
				  : NULL;
	uint64_t seconds = 0;

	if (w && read(w->clock_fd, &seconds, sizeof(seconds)) == sizeof(seconds))
		loop_virtual_advance(w->loop, twx_loop_now(w->loop) + seconds * 1000000000ull, 64);
}

static void op_time(struct world *w)
{
	uint64_t seconds = 1 + word(w);

	if (write(w->clock_fd, &seconds, sizeof(seconds)) != sizeof(seconds))
		abort();
	twx_loop_poll(w->loop, 0);
}

static void step(struct world *w)
{
	switch (byte(w) % 5) {
	case 0:
		op_ndp(w);
		break;
	case 1:
		op_dhcp6(w);
		break;
	case 2:
		op_dhcp(w);
		break;
	case 3:
		op_tftp(w);
		break;
	case 4:
		op_time(w);
		break;
	}
	twx_loop_poll(w->loop, 0);
}

/* --- the world --- */

static void remove_root(void)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/x", root);
	unlink(path);
	rmdir(root);
}

static void make_root(void)
{
	char path[96], block[1500] = { 0 };
	int fd;

	if (*root)
		return;
	snprintf(root, sizeof(root), "/tmp/fuzz-user-addr-XXXXXX");
	if (!mkdtemp(root))
		abort();
	atexit(remove_root);
	snprintf(path, sizeof(path), "%s/x", root);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (write(fd, block, sizeof(block)) != sizeof(block))
		abort();
	close(fd);
}

static void world_open(struct world *w)
{
	struct twx_net_config config = { .size = sizeof(config) };
	struct twx_error e = { 0 };
	uint8_t how = byte(w);
	char text[512];

	assert(!twx_loop_new(&w->loop, &e));
	assert(!loop_virtual_start(w->loop));
	config.loop = w->loop;
	assert(!twx_net_new(&w->net, &config, &e));
	snprintf(text, sizeof(text), "user,id=n0,mtu=%s,restrict=%s,tftp=%s%s%s",
		 how & 1   ? "9000"
		 : how & 2 ? "1280"
			   : "1500",
		 how & 4 ? "on" : "off", root,
		 how & 8 ? ",dnssearch=lab.example,dnssearch=example,bootfile=x,hostname=h,"
			   "domainname=d.example,tftp-server-name=t"
			 : "",
		 how & 16 ? ",ipv6-net=fec0::/124" : "");
	if (twx_backend_new(&w->backend, w->net, text, &e)) {
		fprintf(stderr, "fuzz_user_addr: %s\n", e.what);
		abort();
	}
	w->user = w->backend->priv;
	assert(!twx_port_init(&w->port, w->net, w->loop, TWX_PORT_NIC, "toy", "toy", 0, &nic_ops, w,
			      &e));
	assert(!twx_port_pair(&w->port, w->backend->ports[0], &e));
	w->clock_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert(!twx_watch_add(&w->clock, w->loop, w->clock_fd, EPOLLIN, clock_moves));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;

	make_root();
	memset(&w, 0, sizeof(w));
	w.at = data;
	w.end = data + size;
	world_open(&w);
	for (int i = 0; i < MAX_OPS && w.at < w.end; i++)
		step(&w);
	twx_watch_del(&w.clock);
	close(w.clock_fd);
	twx_port_fini(&w.port);
	twx_net_free(w.net);
	loop_virtual_stop(w.loop);
	twx_loop_free(w.loop);
	return 0;
}
