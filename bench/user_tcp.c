/* SPDX-License-Identifier: BSD-3-Clause */
/* Throughput of the user backend's TCP alone: a toy guest in this process, sockets on loopback. */

/*
 * One thread runs the backend and the guest, which neither checks nor copies payload; a child
 * process is the host's side. So the result is what the backend, the kernel's sockets and one core
 * can do, without the cost of any guest. "up" is guest to host. Meant to be run under a profiler.
 *
 * user_tcp [up|down] [seconds] [send|lease] [peek|nopeek] [flows]
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "backends/user/tcp.h"
#include "tcp_guest.h"

static char buf[1 << 20];

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double cpu_seconds(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
	       (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
}

/* The host's side: takes or gives as fast as it can, on every connection. */
static void host_run(int listener, bool up, int n)
{
	struct pollfd fds[TG_CONNS] = { 0 };

	for (int i = 0; i < n; i++)
		fds[i] = (struct pollfd){ accept(listener, NULL, NULL), up ? POLLIN : POLLOUT, 0 };
	while (poll(fds, (nfds_t)n, -1) > 0) {
		for (int i = 0; i < n; i++) {
			ssize_t r = 1;

			if (!fds[i].revents)
				continue;
			if (up)
				r = recv(fds[i].fd, buf, sizeof(buf), MSG_DONTWAIT);
			else
				r = send(fds[i].fd, buf, 1 << 17, MSG_DONTWAIT | MSG_NOSIGNAL);
			if (r == 0 || (r < 0 && errno != EAGAIN))
				_exit(0);
		}
	}
	_exit(0);
}

static pid_t host_start(bool up, int n, uint16_t *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(a);
	pid_t pid;

	if (bind(listener, (struct sockaddr *)&a, len) < 0 || listen(listener, TG_CONNS) < 0) {
		perror("user_tcp: cannot listen on loopback");
		exit(1);
	}
	getsockname(listener, (struct sockaddr *)&a, &len);
	*port = ntohs(a.sin_port);
	pid = fork();
	if (pid == 0)
		host_run(listener, up, n);
	close(listener);
	return pid;
}

static uint64_t moved(const struct tg *g, bool up, int n)
{
	uint64_t sum = 0;

	for (int i = 0; i < n; i++)
		sum += up ? g->conns[i].tx_acked : g->conns[i].rx_bytes;
	return sum;
}

int main(int argc, char **argv)
{
	bool up = argc > 1 && !strcmp(argv[1], "up");
	double secs = argc > 2 ? atof(argv[2]) : 3, start, cpu, end;
	bool lease = !(argc > 3 && !strcmp(argv[3], "send"));
	int n = argc > 5 ? (int)strtol(argv[5], NULL, 10) : 1;
	struct tg *g = tg_new("", TWX_CAP_CSUM | TWX_CAP_TSO4, lease);
	uint64_t bytes;
	uint16_t port;
	pid_t pid;

	if (n < 1 || n > TG_CONNS) {
		fprintf(stderr, "user_tcp: flows must be 1..%d\n", TG_CONNS);
		return 1;
	}
	if (argc > 4 && !strcmp(argv[4], "nopeek"))
		g->user->cfg.peek_off = 0;
	g->check = false;
	pid = host_start(up, n, &port);
	for (int i = 0; i < n; i++) {
		struct tg_conn *c = tg_conn_new(g, 0x0a000202, port);

		c->rcv_buf = 4 << 20;
		c->chunk = 64240;
		c->tx_total = up ? UINT64_MAX / 2 : 0;
		tg_syn(g, c);
	}
	while (!g->conns[n - 1].established)
		tg_round(g, 1);
	start = seconds();
	cpu = cpu_seconds();
	while ((end = seconds()) - start < secs)
		for (int i = 0; i < 16; i++)
			tg_round(g, up ? 0 : 1);
	cpu = cpu_seconds() - cpu;
	bytes = moved(g, up, n);
	printf("%s %s %s %d: %.2f Gbit/s, %.3f CPU s per GB\n", up ? "up" : "down",
	       lease ? "lease" : "send", g->user->cfg.peek_off ? "peek" : "nopeek", n,
	       (double)bytes * 8 / 1e9 / (end - start), cpu / ((double)bytes / 1e9));
	tg_free(g);
	kill(pid, SIGTERM);
	waitpid(pid, NULL, 0);
	return 0;
}
