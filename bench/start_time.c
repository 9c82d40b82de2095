/* SPDX-License-Identifier: BSD-3-Clause */
/* start_time N SOCKET PROGRAM ARG...: N times the milliseconds from exec until SOCKET takes a
 * connection. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GIVE_UP_NS 10000000000LL
#define RETRY_NS 50000

static long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int try_connect(const struct sockaddr_un *sa)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r = fd < 0 ? -errno : 0;

	if (!r && connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0)
		r = -errno;
	if (fd >= 0)
		close(fd);
	return r;
}

/* The child notes the time itself, right before exec, so that fork and scheduling do not count. */
static pid_t start(char *const argv[], volatile long long *at)
{
	pid_t pid;

	fflush(stdout); /* the child closes the same stream */
	pid = fork();
	if (pid == 0) {
		if (!freopen("/dev/null", "w", stdout))
			_exit(126);
		*at = now_ns();
		execvp(argv[0], argv);
		_exit(127);
	}
	return pid;
}

static int measure_once(const struct sockaddr_un *sa, char *const argv[], volatile long long *at)
{
	struct timespec pause = { .tv_nsec = RETRY_NS };
	long long begin = now_ns();
	int status, ended = 0, r = -EAGAIN;
	pid_t pid;

	*at = 0;
	pid = start(argv, at);
	if (pid < 0)
		return -errno;
	while (r < 0 && !ended && now_ns() - begin < GIVE_UP_NS) {
		r = try_connect(sa);
		if (r < 0) {
			nanosleep(&pause, NULL);
			ended = waitpid(pid, &status, WNOHANG) == pid;
		}
	}
	if (r == 0)
		printf("%.2f\n", (now_ns() - *at) / 1e6);
	if (!ended) {
		kill(pid, SIGTERM);
		waitpid(pid, &status, 0);
	}
	unlink(sa->sun_path);
	return r;
}

int main(int argc, char *argv[])
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	volatile long long *at;

	if (argc < 4 || strlen(argv[2]) >= sizeof(sa.sun_path)) {
		fprintf(stderr, "usage: start_time N SOCKET PROGRAM ARG...\n");
		return 1;
	}
	memcpy(sa.sun_path, argv[2], strlen(argv[2]) + 1);
	at = mmap(NULL, sizeof(*at), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return 1;
	for (long n = strtol(argv[1], NULL, 10); n > 0; n--) {
		if (measure_once(&sa, argv + 3, at) < 0) {
			fprintf(stderr, "start_time: %s does not listen on %s\n", argv[3], argv[2]);
			return 1;
		}
	}
	return 0;
}
