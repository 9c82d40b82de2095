/* SPDX-License-Identifier: BSD-3-Clause */
/* A bridge helper for tests: does what its first argument says, the right thing among others. */
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int open_tun(const char *name, short flags)
{
	struct ifreq ifr = { .ifr_flags = flags };
	int fd = open("/dev/net/tun", O_RDWR);

	snprintf(ifr.ifr_name, IFNAMSIZ, "%s", name);
	if (fd >= 0 && ioctl(fd, TUNSETIFF, &ifr)) {
		perror("TUNSETIFF");
		exit(1);
	}
	return fd;
}

static void pass(int sock, const int *fds, size_t n)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))] = { 0 };
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	if (n) {
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	}
	if (sendmsg(sock, &msg, 0) != 1)
		exit(1);
}

int main(int argc, char **argv)
{
	short tap = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	const char *mode = argv[1], *br = "";
	int sock = -1, fds[4], i;

	for (i = 2; i < argc; i++) {
		if (!strncmp(argv[i], "--fd=", 5))
			sock = atoi(argv[i] + 5);
		else if (!strncmp(argv[i], "--br=", 5))
			br = argv[i] + 5;
		else if (strcmp(argv[i], "--use-vnet"))
			return 9;
	}
	if (!strcmp(mode, "denied")) {
		fprintf(stderr, "access denied by acl file\n");
		return 1;
	}
	if (!strcmp(mode, "escape")) {
		for (i = 0; i < 100000; i++)
			fprintf(stderr, "\033[31m");
		return 1;
	}
	if (!strcmp(mode, "mark")) /* was it started, and for which bridge? */
		return creat(br, 0600) < 0;
	if (!strcmp(mode, "silent"))
		return 0;
	if (!strcmp(mode, "killed"))
		abort();
	if (!strcmp(mode, "hang"))
		pause();
	fds[0] = fds[1] = open("/dev/null", O_RDWR);
	if (!strncmp(mode, "tap", 3))
		fds[0] = open_tun(br, tap);
	else if (!strcmp(mode, "tun"))
		fds[0] = open_tun(br, IFF_TUN | IFF_NO_PI);
	if (!strcmp(mode, "empty")) {
		pass(sock, fds, 0);
	} else if (!strcmp(mode, "tap-twice")) {
		pass(sock, fds, 1);
		pass(sock, fds, 1);
	} else {
		pass(sock, fds, strcmp(mode, "tap-several") ? 1 : 2);
	}
	return strcmp(mode, "tap-fail") ? 0 : 3;
}
