/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a register costs over vfio-user: a read of the e1000's STATUS by message, beside the least
 * that two processes can do, the same bytes sent and received on a bare socketpair. Both are served
 * by a process of their own and asked in turn, in rounds; the figures are medians of the rounds'
 * means. Then a posted write (a flood of them, ended by a read), and what an interrupt costs a VMM
 * without KVM in messages of its own: UNMASK.
 *
 * Waking a process on another CPU that is idle takes several times as long as on the same one, and
 * where the scheduler puts a pair of processes is its own affair: so both placements are chosen
 * here.
 */
#include <errno.h>
#include <linux/vfio.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <twinax/twinax.h>

#include "hosts/vfio_user.h"

#define ROUNDS 51
#define READS 500
#define WRITES 2000
#define E1000_STATUS 8
#define E1000_WUFC 0x5808 /* a register that does nothing by itself */

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), compare);
	return v[n / 2];
}

/* The two servers. */

struct read_request {
	struct vfu_header h;
	struct vfu_region_rw rw;
};

struct read_reply {
	struct vfu_header h;
	struct vfu_region_rw rw;
	uint32_t value;
} __attribute__((packed));

static void get(int fd, void *to, size_t len)
{
	ssize_t n = recv(fd, to, len, MSG_WAITALL);

	if (n == 0)
		exit(0);
	if (n != (ssize_t)len)
		die("recv");
}

static void put(int fd, const void *from, size_t len)
{
	if (send(fd, from, len, MSG_NOSIGNAL) != (ssize_t)len)
		die("send");
}

static pid_t start_bare(int *fd)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		die("socketpair");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		struct read_request q;
		struct read_reply r = { .value = 1 };

		close(pair[0]);
		for (;;) {
			get(pair[1], &q, sizeof(q));
			r.h = q.h;
			put(pair[1], &r, sizeof(r));
		}
	}
	close(pair[1]);
	*fd = pair[0];
	return pid;
}

static _Noreturn void serve(const char *path)
{
	struct twx_net_config config = { .size = sizeof(config) };
	struct twx_error e = { 0 };
	struct twx_net *net;
	char text[200];

	snprintf(text, sizeof(text), "e1000,export=vfio-user:%s", path);
	if (twx_loop_new(&config.loop, &e) < 0 || twx_net_new(&net, &config, &e) < 0 ||
	    twx_nic_new(NULL, net, text, &e) < 0) {
		fprintf(stderr, "vfio_mmio: %s\n", e.what);
		exit(1);
	}
	twx_loop_run(config.loop);
	exit(0);
}

static pid_t start_server(const char *path, int *fd)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0)
		serve(path);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	for (int i = 0; connect(*fd, (struct sockaddr *)&a, sizeof(a)) < 0; i++) {
		if (i == 500)
			die(path);
		usleep(10000);
	}
	return pid;
}

/* The client. */

static void ask(int fd, uint16_t command, const void *data, uint32_t len)
{
	uint8_t m[256];
	struct vfu_header h = { 1, command, (uint32_t)sizeof(h) + len, 0, 0 };

	memcpy(m, &h, sizeof(h));
	memcpy(m + sizeof(h), data, len);
	put(fd, m, h.size);
	get(fd, &h, sizeof(h));
	if (h.flags != VFU_TYPE_REPLY || h.size > sizeof(m)) {
		fprintf(stderr, "vfio_mmio: command %u: error %u\n", command, h.error);
		exit(1);
	}
	if (h.size > sizeof(h))
		get(fd, m, h.size - sizeof(h));
}

static void write_reg(int fd, uint32_t region, uint64_t off, uint32_t value, bool posted)
{
	struct read_reply m = { { 1, VFU_REGION_WRITE, sizeof(m), posted ? VFU_NO_REPLY : 0, 0 },
				{ off, region, sizeof(value) },
				value };
	struct read_request reply;

	put(fd, &m, sizeof(m));
	if (!posted)
		get(fd, &reply, sizeof(reply));
}

static uint32_t read_reg(int fd)
{
	struct read_request q = { { 1, VFU_REGION_READ, sizeof(q), 0, 0 }, { E1000_STATUS, 0, 4 } };
	struct read_reply r;

	put(fd, &q, sizeof(q));
	get(fd, &r, sizeof(r));
	return r.value;
}

static double reads(int fd)
{
	double t = now_ns();

	for (int i = 0; i < READS; i++)
		if (read_reg(fd) == 0)
			die("a register that is never zero");
	return (now_ns() - t) / READS;
}

static double writes(int fd)
{
	double t = now_ns();

	for (uint32_t i = 0; i < WRITES; i++)
		write_reg(fd, 0, E1000_WUFC, i, true);
	(void)read_reg(fd);
	return (now_ns() - t) / WRITES;
}

static double unmasks(int fd)
{
	const uint32_t set[5] = { 20, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, 0, 0,
				  1 };
	double t = now_ns();

	for (int i = 0; i < READS; i++)
		ask(fd, VFU_DEVICE_SET_IRQS, set, sizeof(set));
	return (now_ns() - t) / READS;
}

/* @pid 0: this process. */
static bool place(pid_t pid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(pid, sizeof(set), &set) == 0;
}

static void compare_all(const char *where, int bare_fd, int vfio_fd)
{
	static double bare[ROUNDS], mmio[ROUNDS], posted[ROUNDS], unmask[ROUNDS];
	double base;

	for (int i = 0; i < ROUNDS; i++) {
		bare[i] = reads(bare_fd);
		mmio[i] = reads(vfio_fd);
		posted[i] = writes(vfio_fd);
		unmask[i] = unmasks(vfio_fd);
	}
	base = median(bare, ROUNDS);
	printf("registers over vfio-user, client and server on %s: ns, medians of %d alternating "
	       "rounds\n",
	       where, ROUNDS);
	printf("  bare ping-pong on a socketpair %9.0f\n", base);
	printf("  MMIO read                      %9.0f  %.2f times the ping-pong (bar: 2)\n",
	       median(mmio, ROUNDS), median(mmio, ROUNDS) / base);
	printf("  UNMASK of INTx                 %9.0f  %.2f times\n", median(unmask, ROUNDS),
	       median(unmask, ROUNDS) / base);
	printf("  posted MMIO write              %9.0f\n", median(posted, ROUNDS));
	fflush(stdout);
}

int main(void)
{
	char dir[] = "/tmp/twinax-mmio-XXXXXX", path[64];
	const struct vfu_version version = { 0, 0 };
	int bare_fd, vfio_fd;
	pid_t pids[2];

	if (mkdtemp(dir) == NULL)
		die(dir);
	snprintf(path, sizeof(path), "%s/s", dir);
	pids[0] = start_bare(&bare_fd);
	pids[1] = start_server(path, &vfio_fd);
	ask(vfio_fd, VFU_VERSION, &version, sizeof(version));
	write_reg(vfio_fd, VFIO_PCI_CONFIG_REGION_INDEX, 4, 7, false);
	if (place(0, 0) && place(pids[0], 0) && place(pids[1], 0))
		compare_all("one CPU", bare_fd, vfio_fd);
	if (place(pids[0], 1) && place(pids[1], 1))
		compare_all("two CPUs", bare_fd, vfio_fd);
	for (int i = 0; i < 2; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	unlink(path);
	rmdir(dir);
	return 0;
}
