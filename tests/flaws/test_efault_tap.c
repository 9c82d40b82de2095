/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory that went away under a tap: frames are lost and counted, the tap is not. */
#include "tap_kit.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lost_memory.h"

#define PAGE 4096u
#define MEMORY 0x20000u

static struct lost_memory mem;
static bool lend_lost; /* the NIC lends buffers of that memory */

/*
 * A macvtap says EFAULT, with the frame gone; a tun leaves out what it cannot write and says
 * nothing. The first is made here of the second, so that both are tested wherever there is a tun.
 */
static bool is_macvtap;
ssize_t __real_readv(int fd, const struct iovec *iov, int n);
ssize_t __wrap_readv(int fd, const struct iovec *iov, int n);

ssize_t __wrap_readv(int fd, const struct iovec *iov, int n)
{
	ssize_t got = __real_readv(fd, iov, n);

	for (int i = 0; i < n && got > 0 && is_macvtap; i++) {
		if ((uint8_t *)iov[i].iov_base != mem.at + PAGE)
			continue;
		errno = EFAULT;
		return -1;
	}
	return got;
}

static int reserve(struct twx_port *port, size_t min, size_t want, struct twx_lease *lease)
{
	if (!lend_lost)
		return nic_ops.reserve(port, min, want, lease);
	lease->iov[0] = (struct iovec){ mem.at, PAGE };
	lease->iov[1] = (struct iovec){ mem.at + PAGE, MEMORY - PAGE };
	lease->n_iov = 2;
	lease->len = MEMORY;
	return 0;
}

static void open_jumbo(struct ctx *c)
{
	static struct twx_port_ops ops;

	ops = nic_ops;
	ops.reserve = reserve;
	c->nic.port.ops = &ops;
	c->nic.lends = true;
	lend_lost = false;
	open_tt0(c, 0);
	if_mtu("tt0", 9000);
	run_loop(c, 10);
	lost_open(&mem, c->net, MEMORY);
}

/* @n datagrams that are long enough for the direct way. */
static void host_sends(struct ctx *c, int n)
{
	struct sockaddr_in to = addr(GUEST_IP, 77);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	static char data[6000];

	for (int i = 0; i < n; i++) {
		assert_int_equal(
			sendto(fd, data, sizeof(data), 0, (struct sockaddr *)&to, sizeof(to)),
			sizeof(data));
		run_loop(c, 5);
	}
	close(fd);
}

static void test_read(void **state)
{
	struct ctx *c = *state;
	uint64_t *lost;
	int n;

	open_jumbo(c);
	lost = &c->tap->ports[0]->count.drops[TWX_DROP_HOST_ERROR];
	host_sends(c, 4);
	n = c->nic.n;
	assert_true(n >= 3 && c->nic.commits > 0);
	/* The front of the buffers is there, the rest is not. */
	lend_lost = true;
	lost_cut(&mem, PAGE);
	host_sends(c, 1);
	is_macvtap = true;
	host_sends(c, 1);
	assert_int_equal(*lost, 1);
	assert_int_equal(mem.told, 1);
	host_sends(c, 2);
	assert_int_equal(*lost, 3);
	assert_int_equal(c->nic.n, n);
	assert_int_equal(lost_faults, 0);
	is_macvtap = lend_lost = false;
	host_sends(c, 3);
	assert_int_equal(c->nic.n, n + 3);
	assert_string_equal(c->log, "");
	lost_close(&mem);
}

static void put_udp(struct ctx *c, uint8_t *f, uint16_t port, uint32_t len)
{
	struct sockaddr_in src = addr(GUEST_IP, 0), dst = addr(HOST_IP, 0);
	uint16_t sum;

	memset(f, 0, 42);
	memcpy(f, c->host_mac, 6);
	memcpy(f + 6, guest_mac, 6);
	f[12] = 8;
	f[14] = 0x45;
	f[16] = (uint8_t)((28 + len) >> 8);
	f[17] = (uint8_t)(28 + len);
	f[22] = 64;
	f[23] = IPPROTO_UDP;
	memcpy(f + 26, &src.sin_addr, 4);
	memcpy(f + 30, &dst.sin_addr, 4);
	sum = (uint16_t)~sum16(f + 14, 20, 0);
	f[24] = (uint8_t)(sum >> 8);
	f[25] = (uint8_t)sum;
	f[34] = f[36] = (uint8_t)(port >> 8);
	f[35] = f[37] = (uint8_t)port;
	f[38] = (uint8_t)((8 + len) >> 8);
	f[39] = (uint8_t)(8 + len);
}

/* Three frames in one burst, the payload of the second gone. */
static void test_write(void **state)
{
	struct ctx *c = *state;
	struct sockaddr_in a = addr(HOST_IP, 7777);
	struct pollfd p = { .fd = socket(AF_INET, SOCK_DGRAM, 0), .events = POLLIN };
	uint8_t head[3][TWX_HDR_ROOM] = { { 0 } }, buf[2000];
	struct iovec iov[3][2];
	struct twx_frame f[3];

	open_jumbo(c);
	assert_int_equal(bind(p.fd, (struct sockaddr *)&a, sizeof(a)), 0);
	lost_cut(&mem, PAGE);
	for (int i = 0; i < 3; i++) {
		put_udp(c, head[i], 7777, 1000);
		iov[i][0] = (struct iovec){ head[i], TWX_HDR_ROOM };
		iov[i][1] = (struct iovec){ mem.at + (i == 1 ? PAGE : 0), 1042 - TWX_HDR_ROOM };
		f[i] = (struct twx_frame){ .iov = iov[i], .n_iov = 2, .len = 1042 };
	}
	assert_int_equal(twx_port_send(&c->nic.port, f, 3), 3);
	run_loop(c, 10);
	assert_int_equal(c->tap->ports[0]->count.drops[TWX_DROP_HOST_ERROR], 1);
	assert_int_equal(mem.told, 1);
	assert_int_equal(lost_faults, 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(poll(&p, 1, 1000), 1);
		assert_int_equal(recv(p.fd, buf, sizeof(buf), 0), 1000);
	}
	assert_int_equal(poll(&p, 1, 50), 0);
	close(p.fd);
	lost_close(&mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = { T(test_read), T(test_write) };

	return tap_run(tests);
}
