/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One ring and one inflight area through three back ends that die: qemu-storage-daemon, which
 * completes out of order, twinax, and the daemon again. Every chain comes back once.
 *
 * The daemon serves a disk whose reads take for ever, or no time, and whose identity is told at
 * once. To twinax the same chains are receive buffers.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <cmocka.h>

#include "vhost_client.h"

#define WAIT_MS 10000

static struct vbench bench, disk; /* disk: the daemon's socket in the place of ours */
static struct vc client;
static pid_t daemon_pid;
static int area_fd = -1;
static union vu_payload area; /* as GET_INFLIGHT_FD answered */

static void disk_start(const char *latency)
{
	char node[128], export[256];

	unlink(disk.path);
	snprintf(node, sizeof(node),
		 "driver=null-co,node-name=n,size=1048576,read-zeroes=on,latency-ns=%s", latency);
	snprintf(export, sizeof(export),
		 "vhost-user-blk,id=e,node-name=n,addr.type=unix,addr.path=%s", disk.path);
	daemon_pid = fork();
	if (daemon_pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execlp("qemu-storage-daemon", "qemu-storage-daemon", "--blockdev", node, "--export",
		       export, (char *)NULL);
		_exit(127);
	}
	client.b = &disk;
	for (int i = 0; i < WAIT_MS / 10 && client.fd < 0; i++) {
		usleep(10000);
		vc_connect(&client);
	}
	assert_true(client.fd >= 0);
}

static void disk_kill(void)
{
	vc_hangup(&client);
	client.b = &bench;
	if (daemon_pid <= 0)
		return;
	kill(daemon_pid, SIGKILL);
	waitpid(daemon_pid, NULL, 0);
	daemon_pid = 0;
}

static int open_bench(void **state)
{
	(void)state;
	if (vbench_open(&bench, NULL) < 0)
		fail_msg("%s", bench.e.what);
	disk = bench;
	snprintf(disk.path, sizeof(disk.path), "%s/disk", bench.dir);
	vc_init(&client, &bench);
	client.keep = true;
	return 0;
}

static int close_bench(void **state)
{
	(void)state;
	disk_kill();
	unlink(disk.path);
	vc_fini(&client);
	vbench_close(&bench);
	close(area_fd);
	return 0;
}

/* All of it is there when it is read: the daemon writes an answer in two parts. */
static void reply(uint32_t len)
{
	int there = 0;

	for (int i = 0; client.b == &disk && i < WAIT_MS; i++) {
		ioctl(client.fd, FIONREAD, &there);
		if (there >= (int)(sizeof(struct vu_header) + len))
			break;
		usleep(1000);
	}
	assert_int_equal(vc_reply(&client), 1);
	assert_int_equal(client.head.size, len);
}

static void ask(uint32_t request, const void *p, uint32_t len, const int *fd)
{
	vc_send(&client, request, VU_NEED_REPLY, p, len, fd, fd != NULL);
	reply(8);
	assert_int_equal(client.reply.u64, 0);
}

static void ask_state(uint32_t request, uint32_t num)
{
	struct vhost_vring_state s = { 0, num };

	ask(request, &s, sizeof(s), NULL);
}

/* libvhost-user does what is negotiated, whether its device has offered it or not. */
static void negotiate(void)
{
	uint64_t p = VU_BIT(VU_P_REPLY_ACK) | VU_BIT(VU_P_INFLIGHT_SHMFD);
	uint64_t f = VU_F_PROTOCOL_FEATURES | 1ull << VIRTIO_F_VERSION_1 |
		     1ull << VIRTIO_RING_F_INDIRECT_DESC;
	union vu_payload m = { .table = { 1, 0, { { VC_GPA, VC_MEM, VC_USER, 0 } } } };

	vc_send(&client, VU_SET_OWNER, 0, NULL, 0, NULL, 0);
	vc_send(&client, VU_SET_PROTOCOL_FEATURES, 0, &p, sizeof(p), NULL, 0);
	vc_send(&client, VU_SET_FEATURES, 0, &f, sizeof(f), NULL, 0);
	ask(VU_SET_MEM_TABLE, &m, 8 + 32, &client.memfd);
}

static void give_area(void)
{
	if (area_fd < 0) {
		union vu_payload p = { .inflight = { 0, 0, 1, VC_NUM } };

		vc_send(&client, VU_GET_INFLIGHT_FD, 0, &p, 24, NULL, 0);
		reply(24);
		area = client.reply;
		area_fd = dup(client.reply_fd);
	}
	ask(VU_SET_INFLIGHT_FD, &area, 24, &area_fd);
}

static void start_ring(uint16_t base)
{
	struct vhost_vring_addr a = vc_addr(0);
	uint64_t zero = 0, one = 1;

	ask_state(VU_SET_VRING_NUM, VC_NUM);
	ask_state(VU_SET_VRING_BASE, base);
	ask(VU_SET_VRING_ADDR, &a, sizeof(a), NULL);
	ask(VU_SET_VRING_CALL, &zero, 8, &client.q[0].call);
	ask(VU_SET_VRING_KICK, &zero, 8, &client.q[0].kick);
	ask_state(VU_SET_VRING_ENABLE, 1);
	(void)!write(client.q[0].kick, &one, sizeof(one));
}

static struct vring_used *used(void)
{
	return (void *)(client.mem + 0x2000);
}

static void wait_used(uint16_t idx)
{
	for (int i = 0; i < WAIT_MS / 10 && __atomic_load_n(&used()->idx, __ATOMIC_ACQUIRE) != idx;
	     i++)
		usleep(10000);
	assert_int_equal(used()->idx, idx);
}

/* A request of the disk's as an indirect chain: header, data, status. */
static void request(uint32_t type)
{
	uint32_t at = VC_BUF + client.q[0].avail * 0x2000u;
	struct virtio_blk_outhdr h = { .type = type };
	struct vring_desc d[3] = {
		{ VC_GPA + at + 64, sizeof(h), VRING_DESC_F_NEXT, 1 },
		{ VC_GPA + at + 0x1000, 512, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2 },
		{ VC_GPA + at + 128, 1, VRING_DESC_F_WRITE, 0 },
	};

	memcpy(client.mem + at, d, sizeof(d));
	memcpy(client.mem + at + 64, &h, sizeof(h));
	vc_offer_table(&client, 0, VC_GPA + at, 3);
}

/* twinax with both rings of a pair: the guest sends, and gets its frame in the next chain. */
static void through_twinax(void)
{
	client.b = &bench;
	client.q[1].avail = client.q[1].used = 0;
	memset(client.mem + VC_RING_STEP, 0, VC_RING_STEP);
	vc_connect(&client);
	negotiate();
	give_area();
	/* As cloud-hypervisor has it: the area says where to go on, this does not. */
	start_ring(client.q[0].avail);
	assert_int_equal(vc_ring_setup(&client, 1), 0);
	assert_int_equal(vc_ring_kick_fd(&client, 1), 0);
	assert_int_equal(vc_ask_state(&client, VU_SET_VRING_ENABLE, 1, 1), 0);
	vc_offer(&client, 1, VC_GPA + VC_BUF, 100, false);
	vc_kick(&client, 1);
	vc_hangup(&client);
}

static void test_three_back_ends(void **state)
{
	unsigned int seen = 0;

	(void)state;
	disk_start("1000000000000");
	negotiate();
	give_area();
	assert_int_equal(area.inflight.size, inflight_region_size(VC_NUM));
	for (int i = 0; i < 3; i++) {
		request(VIRTIO_BLK_T_IN);
		request(VIRTIO_BLK_T_GET_ID);
	}
	start_ring(0);
	wait_used(3);
	disk_kill();
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(used()->ring[i].id, 2 * i + 1);

	through_twinax();
	assert_non_null(
		strstr(bench.log, "queue 0: 3 chains of a former back end are taken again"));
	wait_used(4);
	assert_int_equal(used()->ring[3].id, 0);

	request(VIRTIO_BLK_T_GET_ID);
	disk_start("0");
	negotiate();
	give_area();
	start_ring(used()->idx);
	wait_used(7);
	disk_kill();
	for (int i = 4; i < 7; i++)
		seen |= 1u << used()->ring[i].id;
	assert_int_equal(seen, 1u << 2 | 1u << 4 | 1u << 6);

	/* And nothing is left over. */
	request(VIRTIO_BLK_T_GET_ID);
	through_twinax();
	wait_used(8);
	assert_int_equal(used()->ring[7].id, 7);
}

static bool have_daemon(void)
{
	return system("command -v qemu-storage-daemon >/dev/null") == 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_three_back_ends, open_bench, close_bench),
	};

	if (!have_daemon())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
