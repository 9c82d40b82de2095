/* SPDX-License-Identifier: BSD-3-Clause */
/* `twinax serve` as a process of its own, with a front end that truncates its memory: TWINAX */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "vhost_client.h"

#define HDR 12
#define RX_BUF VC_BUF
#define TX_BUF (VC_BUF + 0x8000u)
#define ARP_LEN 60
#define PATIENCE 10000 /* ms; a busy machine */

static const char *program;
static pid_t pid;
static char dir[64], err_path[96];

struct side {
	struct vbench bench; /* path, and a loop in which nothing happens */
	struct vc vc;
};
static struct side sides[2];
static struct twx_loop *loop;

/* The other process's turn. */
static bool readable(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ms) == 1;
}

/* The answer to what was sent, an acknowledgement or a value. */
static uint64_t answer(struct vc *c)
{
	assert_true(readable(c->fd, PATIENCE));
	assert_int_equal(vc_reply(c), 1);
	assert_int_equal(c->head.size, sizeof(uint64_t));
	return c->reply.u64;
}

static void ask(struct vc *c, uint32_t request, const void *p, size_t len, const int *fds,
		int n_fds)
{
	vc_send(c, request, VU_NEED_REPLY, p, (uint32_t)len, fds, n_fds);
	assert_int_equal(answer(c), 0);
}

static void handshake_ring(struct vc *c, uint32_t q)
{
	const struct vhost_vring_state num = { q, VC_NUM }, base = { q, 0 }, on = { q, 1 };
	const struct vhost_vring_addr addr = vc_addr(q);
	const uint64_t index = q;

	ask(c, VU_SET_VRING_NUM, &num, sizeof(num), NULL, 0);
	ask(c, VU_SET_VRING_BASE, &base, sizeof(base), NULL, 0);
	ask(c, VU_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0);
	ask(c, VU_SET_VRING_CALL, &index, sizeof(index), &c->q[q].call, 1);
	ask(c, VU_SET_VRING_KICK, &index, sizeof(index), &c->q[q].kick, 1);
	ask(c, VU_SET_VRING_ENABLE, &on, sizeof(on), NULL, 0);
}

static void handshake(struct vc *c)
{
	union vu_payload table = { .table = { 1, 0, { { VC_GPA, VC_MEM, VC_USER, 0 } } } };
	uint64_t features, protocol;

	vc_connect(c);
	vc_send(c, VU_GET_FEATURES, 0, NULL, 0, NULL, 0);
	features = answer(c) & ~(VU_F_LOG_ALL | VU_F_ACCESS_PLATFORM | VIRTIO_PACKED);
	vc_send(c, VU_GET_PROTOCOL_FEATURES, 0, NULL, 0, NULL, 0);
	protocol = answer(c);
	vc_send(c, VU_SET_PROTOCOL_FEATURES, 0, &protocol, sizeof(protocol), NULL, 0);
	ask(c, VU_SET_FEATURES, &features, sizeof(features), NULL, 0);
	ask(c, VU_SET_MEM_TABLE, &table,
	    offsetof(union vu_payload, table.regions) + sizeof(struct vu_region), &c->memfd, 1);
	handshake_ring(c, 0);
	handshake_ring(c, 1);
}

static void run_program(int ready)
{
	char nic[2][200], fd[16];
	int err = open(err_path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	for (int i = 0; i < 2; i++)
		snprintf(nic[i], sizeof(nic[i]),
			 "virtio-net,id=nic%d,netdev=n%d,export=vhost-user:%s", i, i,
			 sides[i].bench.path);
	snprintf(fd, sizeof(fd), "%d", ready);
	dup2(err, STDERR_FILENO);
	execl(program, program, "serve", "-quiet", "-netdev", "user,id=n0,ipv6=off", "-device",
	      nic[0], "-netdev", "user,id=n1,ipv6=off", "-device", nic[1], "-ready-fd", fd,
	      (char *)NULL);
	_exit(127);
}

static int start(void **state)
{
	struct twx_error e;
	char buf[16];
	int fds[2];

	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/truncate-test-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(err_path, sizeof(err_path), "%s/err", dir);
	for (int i = 0; i < 2; i++)
		snprintf(sides[i].bench.path, sizeof(sides[i].bench.path), "%s/s%d", dir, i);
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (pid == 0)
		run_program(fds[1]);
	close(fds[1]);
	assert_int_equal(read(fds[0], buf, sizeof(buf)), 6);
	close(fds[0]);
	assert_int_equal(twx_loop_new(&loop, &e), 0);
	for (int i = 0; i < 2; i++) {
		sides[i].bench.loop = loop;
		vc_init(&sides[i].vc, &sides[i].bench);
		handshake(&sides[i].vc);
	}
	return 0;
}

static void fresh_memory(struct side *s)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, VC_MEM), 0);
	assert_ptr_equal(
		mmap(s->vc.mem, VC_MEM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0),
		s->vc.mem);
	close(s->vc.memfd);
	s->vc.memfd = fd;
}

/* Sockets, and whatever else a program leaves that was killed. */
static void remove_dir(void)
{
	DIR *d = opendir(dir);
	struct dirent *entry;

	while ((entry = readdir(d)) != NULL)
		(void)unlinkat(dirfd(d), entry->d_name, 0);
	closedir(d);
	assert_int_equal(rmdir(dir), 0);
}

static int stop(void **state)
{
	(void)state;
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	for (int i = 0; i < 2; i++) {
		fresh_memory(&sides[i]);
		vc_fini(&sides[i].vc);
	}
	remove_dir();
	twx_loop_free(loop);
	return 0;
}

static int wait_for_end(void)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	pid = 0;
	return status;
}

/* Puts a question for the gateway's MAC into the transmit ring. */
static void offer_question(struct side *s)
{
	static const uint8_t arp[] = {
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0,    1,    2,	3, 8, 6,
		0,    1,    8,	  0,	6,    4,    0,	  1,	0x52, 0x54, 0,	1, 2, 3,
		10,   0,    2,	  15,	0,    0,    0,	  0,	0,    0,    10, 0, 2, 2,
	};

	memset(s->vc.mem + TX_BUF, 0, HDR + ARP_LEN);
	memcpy(s->vc.mem + TX_BUF + HDR, arp, sizeof(arp));
	vc_offer(&s->vc, 1, VC_GPA + TX_BUF, HDR + ARP_LEN, false);
}

/* The question is answered. */
static void assert_passes(struct side *s)
{
	static const uint8_t gateway[] = { 10, 0, 2, 2 };
	struct vc *c = &s->vc;

	vc_offer(&s->vc, 0, VC_GPA + RX_BUF, 2048, true);
	vc_kick(&s->vc, 0);
	offer_question(s);
	vc_kick(&s->vc, 1);
	/* Interrupts of an earlier connection may still be in there. */
	while (!vc_used(c, 0, NULL))
		assert_true(readable(c->q[0].call, PATIENCE) && vc_calls(c, 0) > 0);
	assert_int_equal(s->vc.mem[RX_BUF + HDR + 21], 2); /* reply */
	assert_memory_equal(s->vc.mem + RX_BUF + HDR + 28, gateway, 4);
}

static void assert_gone(struct side *s)
{
	char x;

	assert_true(readable(s->vc.fd, PATIENCE));
	assert_int_equal(recv(s->vc.fd, &x, 1, 0), 0);
}

/* A ring may be looked at without a doorbell, too: nothing happens until SIGCONT. */
static void pause_program(void)
{
	int status;

	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
}

static void test_neighbour_lives(void **state)
{
	char log[1024] = "", who[64];
	int fd;

	(void)state;
	assert_passes(&sides[0]);
	assert_passes(&sides[1]);
	for (int i = 0; i < 3; i++) {
		pause_program();
		offer_question(&sides[0]);
		assert_int_equal(ftruncate(sides[0].vc.memfd, i == 1 ? VC_BUF : 0), 0);
		vc_kick(&sides[0].vc, 1);
		assert_int_equal(kill(pid, SIGCONT), 0);
		assert_gone(&sides[0]);
		assert_passes(&sides[1]);
		fresh_memory(&sides[0]);
		handshake(&sides[0].vc);
		assert_passes(&sides[0]);
	}
	fd = open(err_path, O_RDONLY);
	assert_true(read(fd, log, sizeof(log) - 1) > 0);
	close(fd);
	snprintf(who, sizeof(who), "front end pid %d (", (int)getpid());
	assert_non_null(strstr(log, who));
	assert_non_null(strstr(log, "the memory that it shares is gone"));
	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(wait_for_end(), 0);
}

/* A SIGBUS that is no access to shared memory ends the program as ever. */
static void test_other_signals(void **state)
{
	int status;

	(void)state;
	assert_int_equal(kill(pid, SIGBUS), 0);
	status = wait_for_end();
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGBUS);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_neighbour_lives, start, stop),
		cmocka_unit_test_setup_teardown(test_other_signals, start, stop),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s TWINAX\n", argv[0]);
		return 2;
	}
	program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
