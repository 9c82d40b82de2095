/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Feeds the socket backends of another process with frames, in bursts of 64, and takes what comes
 * out: the CPU time that the process needs for each, of all its threads, from outside. The process
 * is QEMU or twinax with the same four hubs (sock.sh starts it):
 *
 *   in1 (stream) to nothing      in2 (stream) to out2 (stream)
 *   in3 (stream) to UDP          UDP to nothing
 *
 * At most two bursts are on their way, so that nothing is lost and the process has bursts to work
 * on.
 *
 * usage: sock_feed DIR PORT PID MILLISECONDS: lines "WORK LENGTH NANOSECONDS"
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BURST 64
#define WINDOW (2 * BURST)
#define LEN_MAX 1514

static const char *dir;
static unsigned int port;
static int pid;
static uint64_t ns; /* of a run */
static uint32_t frame_len;
static uint8_t burst[BURST * (4 + LEN_MAX)]; /* as it lies on a stream */

static void die(const char *what)
{
	fprintf(stderr, "sock_feed: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* CPU time of all threads; the process sleeps when this is asked. */
static uint64_t cpu_time(void)
{
	char path[300];
	unsigned long long v, sum = 0;
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	if (!d)
		die(path);
	while ((e = readdir(d))) {
		FILE *f;

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.20s/schedstat", pid, e->d_name);
		f = fopen(path, "r");
		if (f && fscanf(f, "%llu", &v) == 1)
			sum += v;
		if (f)
			fclose(f);
	}
	closedir(d);
	return sum;
}

static int connect_unix(const char *name)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/%s", dir, name);
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)))
		die(sun.sun_path);
	usleep(20000); /* until it is accepted */
	return fd;
}

/* Bound to PORT + @own, sending to PORT + @other. */
static int udp(unsigned int own, unsigned int other)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)(port + own)) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0), size = 4 << 20;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)))
		die("bind");
	a.sin_port = htons((uint16_t)(port + other));
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)))
		die("connect");
	return fd;
}

static void make_burst(uint32_t len)
{
	int i;

	frame_len = len;
	for (i = 0; i < BURST; i++) {
		uint8_t *p = burst + (size_t)i * (4 + len);

		memset(p, i, 4 + len);
		p[0] = p[1] = 0;
		p[2] = (uint8_t)(len >> 8);
		p[3] = (uint8_t)len;
		memcpy(p + 4 + 12, "\x88\xb5", 2);
	}
}

static void feed_burst(int fd)
{
	size_t len = BURST * (4 + frame_len), at = 0;

	while (at < len) {
		ssize_t n = send(fd, burst + at, len - at, MSG_NOSIGNAL);

		if (n < 0)
			die("the process has closed the connection");
		at += (size_t)n;
	}
}

/* --- where frames go, and how many have arrived --- */

static uint64_t arrived_bytes;

/* Nothing comes out: what has not been read yet is asked of the socket. */
static uint64_t arrived_null(int in, int out, uint64_t fed)
{
	int unread = 0;

	if (ioctl(in, SIOCOUTQ, &unread))
		die("SIOCOUTQ");
	return unread ? fed - BURST : fed;
}

static uint64_t arrived_stream(int in, int out, uint64_t fed)
{
	static uint8_t buf[1 << 20];
	struct pollfd p = { .fd = out, .events = POLLIN };
	ssize_t n;

	if (poll(&p, 1, 1000) <= 0) {
		errno = ETIMEDOUT;
		die("nothing comes out");
	}
	n = recv(out, buf, sizeof(buf), MSG_DONTWAIT);
	if (n <= 0)
		die("the process has closed the connection");
	arrived_bytes += (uint64_t)n;
	return arrived_bytes / (4 + frame_len);
}

static uint64_t arrived_dgram(int in, int out, uint64_t fed)
{
	static uint8_t buf[BURST][LEN_MAX];
	static struct mmsghdr m[BURST];
	static struct iovec iov[BURST];
	struct pollfd p = { .fd = out, .events = POLLIN };
	int i, n;

	for (i = 0; i < BURST; i++) {
		iov[i] = (struct iovec){ buf[i], LEN_MAX };
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &iov[i], .msg_iovlen = 1 };
	}
	if (poll(&p, 1, 1000) <= 0) {
		errno = ETIMEDOUT;
		die("nothing comes out, or something was lost");
	}
	n = recvmmsg(out, m, BURST, MSG_DONTWAIT, NULL);
	if (n > 0)
		arrived_bytes += (unsigned int)n;
	return arrived_bytes;
}

/* Bytes that wait at the socket on UDP port @at, by the kernel's table. */
static unsigned long waiting(unsigned int at)
{
	unsigned int local;
	unsigned long rx;
	char line[512];
	FILE *f = fopen("/proc/net/udp", "r");
	bool found = false;

	if (!f)
		die("/proc/net/udp");
	while (!found && fgets(line, sizeof(line), f))
		found = sscanf(line, "%*d: %*8x:%4x %*8x:%*4x %*x %*8x:%8lx", &local, &rx) == 2 &&
			local == at;
	fclose(f);
	if (!found)
		die("no socket on the port");
	return rx;
}

/* --- works --- */

/* CPU nanoseconds a frame while bursts go into @in and come out at @out. */
static double run(int in, int out, uint64_t (*arrived)(int in, int out, uint64_t fed))
{
	uint64_t end = now() + ns, fed = 0, got = 0, cpu;

	arrived_bytes = 0;
	cpu = cpu_time();
	while (now() < end) {
		while (fed - got <= WINDOW - BURST) {
			feed_burst(in);
			fed += BURST;
		}
		got = arrived(in, out, fed);
	}
	while (got < fed)
		got = arrived(in, out, fed);
	usleep(20000);
	return (double)(cpu_time() - cpu) / (double)fed;
}

static double run_dgrams(int fd)
{
	static struct mmsghdr m[BURST];
	static struct iovec iov[BURST];
	uint64_t end = now() + ns, fed = 0, cpu;
	int i;

	for (i = 0; i < BURST; i++) {
		iov[i] = (struct iovec){ burst + (size_t)i * (4 + frame_len) + 4, frame_len };
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &iov[i], .msg_iovlen = 1 };
	}
	cpu = cpu_time();
	while (now() < end) {
		if (sendmmsg(fd, m, BURST, 0) != BURST)
			die("sendmmsg");
		fed += BURST;
		while (waiting(port + 3))
			;
	}
	usleep(20000);
	return (double)(cpu_time() - cpu) / (double)fed;
}

static void works(uint32_t len)
{
	int in, out;
	double base, v;

	make_burst(len);
	in = connect_unix("in1");
	base = run(in, -1, arrived_null);
	close(in);
	printf("stream-receive %u %.1f\n", len, base);
	in = connect_unix("in2");
	out = connect_unix("out2");
	v = run(in, out, arrived_stream);
	close(in);
	close(out);
	printf("stream-send %u %.1f\n", len, v - base);
	in = connect_unix("in3");
	out = udp(2, 1);
	v = run(in, out, arrived_dgram);
	close(in);
	close(out);
	printf("dgram-send %u %.1f\n", len, v - base);
	in = udp(4, 3);
	printf("dgram-receive %u %.1f\n", len, run_dgrams(in));
	close(in);
}

int main(int argc, char **argv)
{
	if (argc != 5) {
		fprintf(stderr, "usage: sock_feed DIR PORT PID MILLISECONDS\n");
		return 2;
	}
	dir = argv[1];
	port = (unsigned int)strtoul(argv[2], NULL, 10);
	pid = (int)strtol(argv[3], NULL, 10);
	ns = strtoull(argv[4], NULL, 10) * 1000000;
	works(60);
	works(1514);
	return 0;
}
