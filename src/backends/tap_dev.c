/* SPDX-License-Identifier: BSD-3-Clause */
/* The tap backend's device: its options, opening or taking descriptors, offloads, scripts. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backends/tap.h"
#include "base/hostops.h"
#include "base/macros.h"
#include "net/net_priv.h"

#define DEV_TUN "/dev/net/tun"
#define UP_DEFAULT "/etc/qemu-ifup"
#define DOWN_DEFAULT "/etc/qemu-ifdown"

#ifndef TUN_F_USO4 /* linux 6.2 */
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#define TUN_F_USO (TUN_F_USO4 | TUN_F_USO6)

const struct twx_opt_desc tap_options[] = {
	{ "ifname", TWX_OPT_STR, NULL,
	  "interface to open, created if missing; the kernel picks tapN when left out", "NAME" },
	{ "fd", TWX_OPT_STR, NULL, "descriptor of an open tap device, inherited", "N" },
	{ "fds", TWX_OPT_STR, NULL, "the same, one per queue", "N:N..." },
	{ "script", TWX_OPT_STR, NULL,
	  "run with the interface's name after opening, " UP_DEFAULT " when left out; no: none",
	  "FILE" },
	{ "downscript", TWX_OPT_STR, NULL,
	  "run with the interface's name before closing, " DOWN_DEFAULT " when left out; no: none",
	  "FILE" },
	{ "sndbuf", TWX_OPT_SIZE, "0",
	  "bound on bytes sent and not yet received by the host; 0: none", NULL, 0, INT_MAX },
	{ "vnet_hdr", TWX_OPT_BOOL, NULL, "checksum and segmentation offload, on when left out" },
	{ "workers", TWX_OPT_INT, "1", "threads that carry the queues", NULL, 1, 16 },
	{ "queues", TWX_OPT_INT, NULL, "queues of a multi-queue interface, 1 when left out", NULL,
	  1, TWX_MAX_QUEUES },
	{ "vhost", TWX_OPT_BOOL, NULL,
	  "the kernel moves a virtio NIC's frames; off when left out, unless vhostfd= or "
	  "vhostforce= is given" },
	{ "vhostfd", TWX_OPT_STR, NULL, "descriptor of " VHOST_NET_DEV ", inherited", "N" },
	{ "vhostfds", TWX_OPT_STR, NULL, "the same, one per queue", "N:N..." },
	{ "vhostforce", TWX_OPT_BOOL, "off", "without vhost there is an error, not a warning" },
	{ "poll-us", TWX_OPT_INT, "0", "microseconds that vhost polls before it sleeps", NULL, 0,
	  UINT32_MAX },
	{ "br", TWX_OPT_STR, "br0", "bridge that the helper joins", "NAME" },
	{ "helper", TWX_OPT_STR, NULL,
	  "program that makes the interface and passes it here, as "
	  "/usr/lib/qemu/qemu-bridge-helper",
	  "COMMAND" },
	{ 0 },
};

static bool any_given(const struct twx_opts *o, const char *const *keys)
{
	for (; *keys; keys++)
		if (twx_opts_given(o, *keys))
			return true;
	return false;
}

static int check_options(const struct twx_opts *o, struct twx_error *e)
{
	static const char *const not_with_fds[] = { "ifname", "script", "downscript", "vnet_hdr",
						    "helper", "queues", NULL };
	static const char *const not_with_helper[] = { "ifname",   "script", "downscript",
						       "vnet_hdr", "queues", "vhostfds",
						       NULL };
	static const char *const not_with_fd[] = { "fds", "vhostfds", NULL };
	const char *ifname = twx_opts_str(o, "ifname");

	if (twx_opts_given(o, "fd") && (any_given(o, not_with_fds) || any_given(o, not_with_fd)))
		return twx_error_set(
			e, EINVAL,
			"ifname=, script=, downscript=, vnet_hdr=, helper=, queues=, fds=, and "
			"vhostfds= are invalid with fd=");
	if (twx_opts_given(o, "fds") &&
	    (any_given(o, not_with_fds) || twx_opts_given(o, "vhostfd")))
		return twx_error_set(
			e, EINVAL,
			"ifname=, script=, downscript=, vnet_hdr=, helper=, queues=, and vhostfd= "
			"are invalid with fds=");
	if (twx_opts_given(o, "helper") && any_given(o, not_with_helper))
		return twx_error_set(e, EINVAL,
				     "ifname=, script=, downscript=, vnet_hdr=, queues=, and "
				     "vhostfds= are invalid with helper=");
	if (ifname && (!*ifname || strlen(ifname) >= IFNAMSIZ || strchr(ifname, '/')))
		return twx_error_set(
			e, EINVAL,
			"'%s' cannot be the name of an interface (1 to %d bytes, no slash)", ifname,
			IFNAMSIZ - 1);
	return tap_vhost_check(o, e);
}

/* --- descriptors that somebody else opened --- */

/* A decimal number up to a colon or the end; -1 if it is none. */
static int parse_fd(const char *s, const char **end)
{
	char *stop;
	long v;

	if (*s < '0' || *s > '9')
		return -1;
	errno = 0;
	v = strtol(s, &stop, 10);
	*end = stop;
	return errno || v > INT_MAX || (*stop && *stop != ':') ? -1 : (int)v;
}

int tap_next_fd(const char **list)
{
	const char *end;
	int fd = parse_fd(*list, &end);

	if (fd >= 0)
		*list = end + (*end == ':');
	return fd;
}

/* The header is the interface's, so all queues must agree on it. */
static int check_fd(struct tap *tap, int fd, bool first, struct twx_error *e)
{
	struct ifreq ifr = { 0 };
	bool vnet;

	if (ioctl(fd, TUNGETIFF, &ifr) || !(ifr.ifr_flags & IFF_TAP)) {
		twx_error_set(e, EINVAL, "descriptor %d is not an open tap device", fd);
		return twx_error_hint(e, "open " DEV_TUN
					 " with IFF_TAP | IFF_NO_PI and let it be inherited");
	}
	/* Whether IFF_NO_PI was set cannot be asked: TUNGETIFF uses that bit for IFF_NOFILTER. */
	vnet = ifr.ifr_flags & IFF_VNET_HDR;
	if (!first && vnet != tap->vnet_hdr)
		return twx_error_set(e, EINVAL, "the descriptors of fds= differ in IFF_VNET_HDR");
	tap->vnet_hdr = vnet;
	memcpy(tap->ifname, ifr.ifr_name, IFNAMSIZ);
	return 0;
}

static int take_fds(struct tap *tap, const char *list, struct twx_error *e)
{
	const char *p = list, *end = list;
	uint32_t i;
	int fd, err;

	/* All are checked before the first is taken: what is no tap stays its owner's. */
	for (i = 0; i < tap->n_queues; i++, p = end + (*end == ':')) {
		fd = parse_fd(p, &end);
		if (fd < 0)
			return twx_error_set(e, EINVAL, "'%s' is not a list of descriptor numbers",
					     list);
		err = check_fd(tap, fd, i == 0, e);
		if (err)
			return err;
	}
	for (i = 0, p = list; i < tap->n_queues; i++, p = end + (*end == ':')) {
		fd = parse_fd(p, &end);
		fcntl(fd, F_SETFD, FD_CLOEXEC);
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
		tap->queues[i].fd = fd;
	}
	return 0;
}

/* --- descriptors of our own --- */

static int open_failed(int err, struct twx_error *e)
{
	twx_error_set(e, -err, "cannot open " DEV_TUN ": %s", strerror(-err));
	switch (-err) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return twx_error_hint(e, "load the driver as root: modprobe tun");
	case EACCES:
	case EPERM:
		return twx_error_hint(e, "let users open it, as root: chmod 0666 " DEV_TUN
					 " (interfaces stay protected)");
	default:
		return err;
	}
}

static int attach_failed(const char *name, int err, struct twx_error *e)
{
	twx_error_set(e, -err, "cannot open the tap interface '%s': %s", name, strerror(-err));
	switch (-err) {
	case EPERM:
		return twx_error_hint(
			e,
			"make it once, as root: ip tuntap add dev %s mode tap user NAME; "
			"or run with CAP_NET_ADMIN",
			name);
	case EBUSY:
		return twx_error_hint(
			e, "another program has it open; every program needs one of its own");
	case EINVAL:
		return twx_error_hint(
			e, "an interface of that name exists and is no tap, or is a tap without "
			   "multi_queue");
	case E2BIG:
		return twx_error_hint(e, "the kernel's limit is 256 queues");
	default:
		return err;
	}
}

/* Creates or attaches the interface tap->ifname (a pattern for the first queue). 0 or -errno. */
static int attach(struct tap *tap, int fd, bool multi)
{
	struct ifreq ifr = { 0 };

	memcpy(ifr.ifr_name, tap->ifname, IFNAMSIZ);
	ifr.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | (tap->vnet_hdr ? IFF_VNET_HDR : 0) |
				(multi ? IFF_MULTI_QUEUE : 0));
	if (ioctl(fd, TUNSETIFF, &ifr))
		return -errno;
	memcpy(tap->ifname, ifr.ifr_name, IFNAMSIZ);
	return 0;
}

static int open_queues(struct tap *tap, struct twx_error *e)
{
	const struct twx_hostops *ops = net_hostops(tap->backend->net);
	bool multi = tap->n_queues > 1;
	uint32_t i;
	int fd, err;

	for (i = 0; i < tap->n_queues; i++) {
		fd = hostops_open(ops, DEV_TUN, O_RDWR | O_NONBLOCK | O_CLOEXEC, 0);
		if (fd < 0)
			return open_failed(fd, e);
		tap->queues[i].fd = fd;
		err = attach(tap, fd, multi);
		/* An interface made with multi_queue can only be opened with that flag. */
		if (err == -EINVAL && !multi)
			err = attach(tap, fd, true);
		if (err)
			return attach_failed(tap->ifname, err, e);
	}
	return 0;
}

/* --- offloads --- */

static void probe_offload(struct tap *tap)
{
	static const unsigned int kinds[] = { TUN_F_CSUM, TUN_F_TSO4 | TUN_F_TSO6, TUN_F_TSO_ECN,
					      TUN_F_UFO, TUN_F_USO };
	int fd = tap->queues[0].fd;
	size_t i;

	for (i = 0; i < array_size(kinds); i++)
		if (!ioctl(fd, TUNSETOFFLOAD, tap->can_offload | kinds[i]))
			tap->can_offload |= kinds[i];
	ioctl(fd, TUNSETOFFLOAD, 0);
}

struct twx_caps tap_dev_caps(const struct tap *tap)
{
	struct twx_caps caps = { 0 };

	/* Frames written are finished by the kernel whatever TUNSETOFFLOAD says, which is about
	 * frames read; the kernels that know a kind for one direction know it for the other. */
	if (tap->can_offload & TUN_F_CSUM)
		caps.flags |= TWX_CAP_CSUM;
	if (tap->can_offload & TUN_F_TSO4)
		caps.flags |= TWX_CAP_TSO4 | TWX_CAP_TSO6;
	if (tap->can_offload & TUN_F_TSO_ECN)
		caps.flags |= TWX_CAP_ECN;
	if (tap->can_offload & TUN_F_UFO)
		caps.flags |= TWX_CAP_UFO;
	if (tap->can_offload & TUN_F_USO4)
		caps.flags |= TWX_CAP_USO;
	return caps;
}

bool tap_dev_set_offload(struct tap *tap, uint32_t caps)
{
	unsigned int want = 0, before = tap->offload;

	if (caps & TWX_CAP_CSUM) {
		want = TUN_F_CSUM;
		want |= caps & TWX_CAP_TSO4 ? TUN_F_TSO4 : 0;
		want |= caps & TWX_CAP_TSO6 ? TUN_F_TSO6 : 0;
		want |= caps & TWX_CAP_UFO ? TUN_F_UFO : 0;
		want |= caps & TWX_CAP_USO ? TUN_F_USO : 0;
	}
	if (want & (TUN_F_TSO4 | TUN_F_TSO6) && caps & TWX_CAP_ECN)
		want |= TUN_F_TSO_ECN;
	want &= tap->can_offload;
	if (want == before || !tap->n_queues)
		return false;
	if (ioctl(tap->queues[0].fd, TUNSETOFFLOAD, want)) {
		ioctl(tap->queues[0].fd, TUNSETOFFLOAD, 0);
		want = 0;
	}
	tap->offload = want;
	return (before & ~want) != 0;
}

uint32_t tap_dev_max_frame(const struct tap *tap)
{
	struct ifreq ifr = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return TWX_FRAME_MAX;
	memcpy(ifr.ifr_name, tap->ifname, IFNAMSIZ);
	err = ioctl(fd, SIOCGIFMTU, &ifr);
	close(fd);
	/* An inherited descriptor's interface may live in another network namespace. */
	if (err || ifr.ifr_mtu <= 0 || ifr.ifr_mtu > TWX_FRAME_MAX - 18)
		return TWX_FRAME_MAX;
	return (uint32_t)ifr.ifr_mtu + 14 + 4;
}

/* @o: null, without options. */
static int set_up_device(struct tap *tap, const struct twx_opts *o, struct twx_error *e)
{
	int sndbuf = o ? (int)twx_opts_size(o, "sndbuf") : 0, len = TAP_VNET_LEN;
	uint32_t i;

	tap->hdr_len = TAP_VNET_LEN;
	if (tap->vnet_hdr && ioctl(tap->queues[0].fd, TUNSETVNETHDRSZ, &len))
		return twx_error_set(e, errno, "cannot set the size of %s's offload header: %s",
				     tap->ifname, strerror(errno));
	if (tap->vnet_hdr)
		probe_offload(tap);
	if (!sndbuf)
		sndbuf = INT_MAX;
	for (i = 0; i < tap->n_queues; i++)
		if (ioctl(tap->queues[i].fd, TUNSETSNDBUF, &sndbuf) && o &&
		    twx_opts_given(o, "sndbuf"))
			return twx_error_set(e, errno, "cannot set sndbuf of %s: %s", tap->ifname,
					     strerror(errno));
	return 0;
}

/* --- scripts --- */

/* Runs @script with the interface's name and waits: 0, -errno, or the positive wait status. */
static int run_script(struct tap *tap, const char *script)
{
	char *argv[] = { (char *)script, tap->ifname, NULL };
	int err, status;
	pid_t pid;

	err = hostops_spawn(net_hostops(tap->backend->net), argv, NULL, 0, &pid);
	if (err)
		return err;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return status;
}

/* Text for a result of run_script() that is not 0. */
static void script_failed(const char *script, int r, struct twx_error *e)
{
	if (r < 0)
		twx_error_set(e, -r, "could not launch network script %s: %s", script,
			      strerror(-r));
	else if (WIFEXITED(r) && WEXITSTATUS(r) == 127)
		twx_error_set(e, ENOENT, "could not launch network script %s", script);
	else if (WIFEXITED(r))
		twx_error_set(e, EIO, "network script %s failed with status %d", script,
			      WEXITSTATUS(r));
	else
		twx_error_set(e, EIO, "network script %s was ended by signal %d", script,
			      WTERMSIG(r));
}

static bool exists(struct tap *tap, const char *path)
{
	int fd = hostops_open(net_hostops(tap->backend->net), path, O_PATH | O_CLOEXEC, 0);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* The script to run by option @key; empty: none. A default that is missing is none. */
static int choose_script(struct tap *tap, const struct twx_opts *o, const char *key,
			 const char *def, char *out, size_t size, struct twx_error *e)
{
	const char *s = twx_opts_given(o, key) ? twx_opts_str(o, key) : NULL;

	out[0] = 0;
	if (!s && exists(tap, def))
		s = def;
	if (!s || !*s || !strcmp(s, "no"))
		return 0;
	if ((size_t)snprintf(out, size, "%s", s) >= size)
		return twx_error_set(e, ENAMETOOLONG, "%s= is too long", key);
	return 0;
}

static int run_up(struct tap *tap, const struct twx_opts *o, struct twx_error *e)
{
	int r;

	if (!tap->up[0] && !twx_opts_given(o, "script"))
		twx_log(tap->backend->net, TWX_LOG_WARNING,
			"netdev %s: there is no " UP_DEFAULT
			", %s is left as it is; script=no avoids this warning",
			tap->backend->id, tap->ifname);
	r = tap->up[0] ? run_script(tap, tap->up) : 0;
	if (r) {
		script_failed(tap->up, r, e);
		return twx_error_hint(e, "script=no runs none");
	}
	tap->is_up = true;
	return 0;
}

/* --- all of it --- */

static void set_info(struct tap *tap, const struct twx_opts *o)
{
	const char *fds = twx_opts_given(o, "fd") ? twx_opts_str(o, "fd") : twx_opts_str(o, "fds");

	if (twx_opts_given(o, "helper"))
		snprintf(tap->info, sizeof(tap->info), "helper=%s", twx_opts_str(o, "helper"));
	else if (tap->by_fd)
		snprintf(tap->info, sizeof(tap->info), "fd=%s", fds);
	else
		snprintf(tap->info, sizeof(tap->info), "ifname=%s,script=%s,downscript=%s",
			 tap->ifname, tap->up[0] ? tap->up : "no", tap->down[0] ? tap->down : "no");
}

static int make_queues(struct tap *tap, uint32_t n, struct twx_error *e)
{
	uint32_t i;

	tap->queues = calloc(n, sizeof(*tap->queues));
	if (!tap->queues)
		return twx_error_set(e, ENOMEM, "out of memory");
	tap->n_queues = n;
	for (i = 0; i < n; i++) {
		tap->queues[i].tap = tap;
		tap->queues[i].fd = -1;
		tap->queues[i].kernel.fd = -1;
	}
	return 0;
}

static int open_by_fd(struct tap *tap, const char *list, struct twx_error *e)
{
	uint32_t n = 1;
	const char *p;
	int err;

	for (p = list; *p; p++)
		n += *p == ':';
	if (n > TWX_MAX_QUEUES)
		return twx_error_set(e, EINVAL, "fds= has more than %d descriptors",
				     TWX_MAX_QUEUES);
	tap->by_fd = true;
	err = make_queues(tap, n, e);
	return err ? err : take_fds(tap, list, e);
}

static int open_by_name(struct tap *tap, const struct twx_opts *o, struct twx_error *e)
{
	const char *name = twx_opts_str(o, "ifname");
	int err;

	snprintf(tap->ifname, sizeof(tap->ifname), "%s", name ? name : "tap%d");
	tap->vnet_hdr = !twx_opts_given(o, "vnet_hdr") || twx_opts_bool(o, "vnet_hdr");
	err = choose_script(tap, o, "script", UP_DEFAULT, tap->up, sizeof(tap->up), e);
	if (!err)
		err = choose_script(tap, o, "downscript", DOWN_DEFAULT, tap->down,
				    sizeof(tap->down), e);
	if (!err)
		err = make_queues(
			tap, twx_opts_given(o, "queues") ? (uint32_t)twx_opts_int(o, "queues") : 1,
			e);
	return err ? err : open_queues(tap, e);
}

static int open_by_helper(struct tap *tap, const char *helper, const char *br, struct twx_error *e)
{
	int err = make_queues(tap, 1, e), fd;

	if (err)
		return err;
	tap->by_fd = true;
	fd = tap_helper_run(tap, helper, br, e);
	if (fd < 0)
		return fd;
	tap->queues[0].fd = fd;
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	if (!check_fd(tap, fd, true, NULL))
		return 0;
	return twx_error_set(e, EINVAL,
			     "bridge helper failed: what it passed is not an open tap device");
}

int tap_dev_open_helper(struct tap *tap, const char *helper, const char *br, struct twx_error *e)
{
	int err = open_by_helper(tap, helper, br, e);

	return err ? err : set_up_device(tap, NULL, e);
}

int tap_dev_open(struct tap *tap, const struct twx_opts *o, struct twx_error *e)
{
	int err = check_options(o, e);

	if (err)
		return err;
	if (twx_opts_given(o, "fd") && strchr(twx_opts_str(o, "fd"), ':'))
		return twx_error_set(e, EINVAL,
				     "fd= takes one descriptor; several belong into fds=");
	if (twx_opts_given(o, "fd") || twx_opts_given(o, "fds"))
		err = open_by_fd(tap, twx_opts_str(o, twx_opts_given(o, "fd") ? "fd" : "fds"), e);
	else if (twx_opts_given(o, "helper"))
		err = open_by_helper(tap, twx_opts_str(o, "helper"), twx_opts_str(o, "br"), e);
	else
		err = open_by_name(tap, o, e);
	if (!err)
		err = set_up_device(tap, o, e);
	if (!err && !tap->by_fd)
		err = run_up(tap, o, e);
	if (!err)
		set_info(tap, o);
	return err;
}

void tap_dev_close(struct tap *tap)
{
	struct twx_error e;
	uint32_t i;
	int r = 0;

	if (tap->is_up && tap->down[0])
		r = run_script(tap, tap->down);
	if (r) {
		script_failed(tap->down, r, &e);
		twx_log(tap->backend->net, TWX_LOG_WARNING, "netdev %s: %s", tap->backend->id,
			e.what);
	}
	tap->is_up = false;
	for (i = 0; i < tap->n_queues; i++) {
		if (tap->queues[i].fd >= 0)
			close(tap->queues[i].fd);
		tap->queues[i].fd = -1;
	}
}
