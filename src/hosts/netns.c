/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A network namespace as the guest.
 *
 * The kernel's network stack inside a namespace is a guest like any other, and a tap device is its
 * NIC: this process holds the descriptors and stays outside, where the host's sockets are; the
 * tap backend reads and writes frames, its peer is whatever backend the namespace is to be
 * connected with. No NIC model lies between.
 *
 * A tap device belongs to the namespace of whoever opens /dev/net/tun, and a process with threads
 * cannot enter a user namespace. So a child process enters the namespaces, makes the device,
 * configures it (netns_link.c), mounts resolv.conf (netns_mount.c), passes the descriptors back
 * over a socket pair, and ends. No privilege is needed but over the namespace itself, which the
 * user who made it has (user_namespaces(7)).
 *
 * An open descriptor of a tap device keeps its namespace alive: nothing here tells that the last
 * process has left it. Whoever holds the descriptors watches a process or a file instead.
 *
 * The child is a plain fork() of this program, not by hostops: it is itself the small helper with
 * other rights that hostops is there for.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/macros.h"
#include "hosts/netns.h"

#define DEV_TUN "/dev/net/tun"
#define IFNAME_DEFAULT "tap0"

/* What the child says in the end, with the descriptors if code is 0. */
struct netns_reply {
	struct twx_error error;
};

/* --- in the child --- */

static bool same_ns(int fd, const char *own)
{
	struct stat a, b;

	return !fstat(fd, &a) && !stat(own, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int enter(int fd, int type, const char *own, const char *what, struct twx_error *e)
{
	int err;

	if (fd < 0 || same_ns(fd, own) || !setns(fd, type))
		return 0;
	err = errno;
	twx_error_set(e, err, "cannot enter the %s namespace: %s", what, strerror(err));
	if (err == EPERM)
		return twx_error_hint(e,
				      "a namespace is open to the user who made it, and to root");
	if (err == EINVAL)
		return twx_error_hint(e, "the file is no %s namespace", what);
	return -err;
}

static int enter_all(const struct twx_netns_config *c, struct twx_error *e)
{
	int user = c->user_ns, err;

	/* Fails where the owner is beyond our own: then there is nothing to enter. */
	if (user < 0 && c->net_ns >= 0)
		user = ioctl(c->net_ns, NS_GET_USERNS);
	err = enter(user, CLONE_NEWUSER, "/proc/self/ns/user", "user", e);
	if (!err)
		err = enter(c->mnt_ns, CLONE_NEWNS, "/proc/self/ns/mnt", "mount", e);
	if (!err)
		err = enter(c->net_ns, CLONE_NEWNET, "/proc/self/ns/net", "network", e);
	return err;
}

static int open_failed(int err, struct twx_error *e)
{
	twx_error_set(e, err, "cannot open " DEV_TUN ": %s", strerror(err));
	switch (err) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return twx_error_hint(e, "load the driver as root: modprobe tun");
	case EACCES:
	case EPERM:
		return twx_error_hint(e, "let users open it, as root: chmod 0666 " DEV_TUN
					 " (it gives them no right over the host's interfaces)");
	default:
		return -err;
	}
}

static int attach_failed(const char *ifname, int err, struct twx_error *e)
{
	twx_error_set(e, err, "cannot make the interface %s in the namespace: %s", ifname,
		      strerror(err));
	switch (err) {
	case EPERM:
		return twx_error_hint(e, "the namespace belongs to another user, or a security "
					 "module (AppArmor: kernel.apparmor_restrict_unprivileged_"
					 "userns) takes its owner's rights away");
	case EBUSY:
	case EINVAL:
		return twx_error_hint(e, "an interface of that name is there already");
	default:
		return -err;
	}
}

static int open_queue(const struct twx_netns_config *c, const char *ifname, struct twx_error *e)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int fd = open(DEV_TUN, O_RDWR | O_NONBLOCK | O_CLOEXEC), err;

	if (fd < 0)
		return open_failed(errno, e);
	if (c->n_queues > 1)
		ifr.ifr_flags |= IFF_MULTI_QUEUE;
	memcpy(ifr.ifr_name, ifname, strlen(ifname));
	if (!ioctl(fd, TUNSETIFF, &ifr))
		return fd;
	err = errno;
	close(fd);
	return attach_failed(ifname, err, e);
}

/* The number of descriptors, or -errno. */
static int work(const struct twx_netns_config *c, int *fds, struct twx_error *e)
{
	const char *ifname = c->ifname ? c->ifname : IFNAME_DEFAULT;
	int n = (int)max(c->n_queues, 1u), i, err;

	err = enter_all(c, e);
	for (i = 0; !err && i < n; i++) {
		fds[i] = open_queue(c, ifname, e);
		err = min(fds[i], 0);
	}
	if (!err && (c->guest || c->mac || c->mtu))
		err = netns_configure(c, ifname, e);
	if (!err && c->resolv_conf)
		err = netns_mount_resolv(c->resolv_conf, e);
	return err ? err : n;
}

static void send_reply(int sock, struct netns_reply *r, const int *fds, size_t n_fds)
{
	union {
		char buf[CMSG_SPACE(TWX_NETNS_QUEUES * sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec iov = { r, sizeof(*r) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cmsg;

	if (n_fds) {
		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, n_fds * sizeof(int));
	}
	while (sendmsg(sock, &msg, MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

static void child(const struct twx_netns_config *c, int sock)
{
	struct netns_reply r = { 0 };
	int fds[TWX_NETNS_QUEUES];
	int n = work(c, fds, &r.error);

	send_reply(sock, &r, fds, n > 0 ? (size_t)n : 0);
}

/* --- outside --- */

static int take_reply(int sock, struct netns_reply *r, int *fds, size_t n_fds)
{
	union {
		char buf[CMSG_SPACE(TWX_NETNS_QUEUES * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { r, sizeof(*r) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.buf,
			      .msg_controllen = sizeof(control.buf) };
	struct cmsghdr *cmsg;
	ssize_t n;

	do
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC | MSG_WAITALL);
	while (n < 0 && errno == EINTR);
	if (n != sizeof(*r))
		return -EIO;
	if (r->error.code)
		return -r->error.code;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg || cmsg->cmsg_type != SCM_RIGHTS ||
	    cmsg->cmsg_len != CMSG_LEN(n_fds * sizeof(int)))
		return -EIO;
	memcpy(fds, CMSG_DATA(cmsg), n_fds * sizeof(int));
	return 0;
}

static int check(const struct twx_netns_config *c, struct twx_error *e)
{
	if (c->size != sizeof(*c))
		return twx_error_set(e, EINVAL, "struct twx_netns_config has another size");
	if (c->ifname && (!*c->ifname || strlen(c->ifname) >= IFNAMSIZ || strchr(c->ifname, '/')))
		return twx_error_set(
			e, EINVAL,
			"'%s' cannot be the name of an interface (1 to %d bytes, no slash)",
			c->ifname, IFNAMSIZ - 1);
	if (c->n_queues > TWX_NETNS_QUEUES)
		return twx_error_set(e, EINVAL, "a namespace's tap has at most %d queues",
				     TWX_NETNS_QUEUES);
	return 0;
}

int twx_netns_tap(const struct twx_netns_config *c, int *fds, struct twx_error *e)
{
	struct netns_reply r = { 0 };
	int socks[2], err = check(c, e), status;
	pid_t pid;

	if (err)
		return err;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks))
		return twx_error_set(e, errno, "cannot make a socket pair: %s", strerror(errno));
	pid = fork();
	if (!pid) {
		child(c, socks[1]);
		_exit(0);
	}
	close(socks[1]);
	err = pid < 0 ? -errno : take_reply(socks[0], &r, fds, max(c->n_queues, 1u));
	close(socks[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (pid < 0)
		return twx_error_set(e, -err, "cannot fork: %s", strerror(-err));
	if (!err)
		return 0;
	if (!r.error.code)
		return twx_error_set(e, EIO,
				     "the process that was to enter the namespace ended early");
	if (e)
		*e = r.error;
	return err;
}
