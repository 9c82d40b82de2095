/* SPDX-License-Identifier: BSD-3-Clause */
/* A library with libslirp's interface, ours or the system's, driven as QEMU drives it. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <poll.h>
#include <slirp/libslirp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "diff.h"

/* The calls that the harness makes, of one library. */
struct calls {
	__typeof__(&slirp_new) new;
	__typeof__(&slirp_cleanup) cleanup;
	__typeof__(&slirp_input) input;
	__typeof__(&slirp_pollfds_fill) fill;
	__typeof__(&slirp_pollfds_poll) poll;
	__typeof__(&slirp_add_hostfwd) add_hostfwd;
	__typeof__(&slirp_version_string) version;
};

struct stack {
	struct calls call;
	void *library;
	Slirp *slirp;
	struct pollfd fds[256];
	int n;
	int64_t skew;
};

static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
	ctx_output(ctx_current, buf, len);
	return (ssize_t)len;
}

static void guest_error(const char *msg, void *opaque)
{
}

static int64_t clock_get_ns(void *opaque)
{
	struct stack *s = opaque;
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec + s->skew;
}

/* Only unsolicited router advertisements use timers; they are not waited for. */
static void *timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
	return malloc(1);
}

static void timer_free(void *timer, void *opaque)
{
	free(timer);
}

static void timer_mod(void *timer, int64_t expire_time, void *opaque)
{
}

static void poll_fd(int fd, void *opaque)
{
}

static void notify(void *opaque)
{
}

static const SlirpCb callbacks = {
	.send_packet = send_packet,
	.guest_error = guest_error,
	.clock_get_ns = clock_get_ns,
	.timer_new = timer_new,
	.timer_free = timer_free,
	.timer_mod = timer_mod,
	.register_poll_fd = poll_fd,
	.unregister_poll_fd = poll_fd,
	.notify = notify,
};

static int add_poll(int fd, int events, void *opaque)
{
	struct stack *s = opaque;
	short ev = 0;

	if (s->n == (int)(sizeof(s->fds) / sizeof(s->fds[0])))
		abort();
	if (events & SLIRP_POLL_IN)
		ev |= POLLIN;
	if (events & SLIRP_POLL_OUT)
		ev |= POLLOUT;
	if (events & SLIRP_POLL_PRI)
		ev |= POLLPRI;
	s->fds[s->n] = (struct pollfd){ .fd = fd, .events = ev };
	return s->n++;
}

static int get_revents(int idx, void *opaque)
{
	struct stack *s = opaque;
	short r = s->fds[idx].revents;

	return (r & POLLIN ? SLIRP_POLL_IN : 0) | (r & POLLOUT ? SLIRP_POLL_OUT : 0) |
	       (r & POLLPRI ? SLIRP_POLL_PRI : 0) | (r & POLLERR ? SLIRP_POLL_ERR : 0) |
	       (r & POLLHUP ? SLIRP_POLL_HUP : 0);
}

static struct in_addr v4(uint32_t a)
{
	return (struct in_addr){ htonl(a) };
}

static void *symbol(void *library, const char *name)
{
	void *f = dlsym(library, name);

	if (!f) {
		printf("FAIL %s\n", dlerror());
		exit(1);
	}
	return f;
}

/* By its path, so that a second library of the same name does not become the first. */
static void load(struct stack *s, const char *path)
{
	void *l = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (!l) {
		printf("FAIL %s\n", dlerror());
		exit(1);
	}
	s->library = l;
	s->call = (struct calls){
		.new = symbol(l, "slirp_new"),
		.cleanup = symbol(l, "slirp_cleanup"),
		.input = symbol(l, "slirp_input"),
		.fill = symbol(l, "slirp_pollfds_fill"),
		.poll = symbol(l, "slirp_pollfds_poll"),
		.add_hostfwd = symbol(l, "slirp_add_hostfwd"),
		.version = symbol(l, "slirp_version_string"),
	};
	printf("%s: libslirp %s\n", path, s->call.version());
}

struct stack *stack_open(const char *library, const char *tftp_root, bool ipv6)
{
	struct stack *s = calloc(1, sizeof(*s));
	static const char *search[] = { "lab.example", "example", NULL };
	SlirpConfig cfg = {
		.version = 4,
		.in_enabled = true,
		.in6_enabled = ipv6,
		.vprefix_addr6 = { .s6_addr = { 0xfe, 0xc0 } },
		.vprefix_len = 64,
		.vhost6 = { .s6_addr = { 0xfe, 0xc0, [15] = 2 } },
		.vnameserver6 = { .s6_addr = { 0xfe, 0xc0, [15] = 3 } },
		.vnetwork = v4(0x0a000200),
		.vnetmask = v4(0xffffff00),
		.vhost = v4(HOST_IP),
		.vdhcp_start = v4(GUEST_IP),
		.vnameserver = v4(DNS_IP),
		.vhostname = "toy",
		.vdomainname = "lab.example",
		.vdnssearch = search,
		.tftp_path = tftp_root,
		.bootfile = "boot.bin",
	};

	load(s, library);
	s->slirp = s->call.new(&cfg, &callbacks, s);
	if (!s->slirp || s->call.add_hostfwd(s->slirp, 0, v4(INADDR_LOOPBACK), 7001, v4(0), 7101) ||
	    s->call.add_hostfwd(s->slirp, 1, v4(INADDR_LOOPBACK), 7002, v4(0), 7102))
		abort();
	return s;
}

void stack_input(struct stack *s, const uint8_t *frame, size_t len)
{
	s->call.input(s->slirp, frame, (int)len);
}

void stack_step(struct stack *s, int ms)
{
	uint32_t timeout = (uint32_t)ms;
	int r;

	s->n = 0;
	s->call.fill(s->slirp, &timeout, add_poll, s);
	r = poll(s->fds, (nfds_t)s->n, (int)(timeout < (uint32_t)ms ? timeout : (uint32_t)ms));
	s->call.poll(s->slirp, r < 0, get_revents, s);
}

void stack_skip(struct stack *s, int ms)
{
	s->skew += ms * 1000000LL;
	stack_step(s, 0);
	stack_step(s, 0);
}

void stack_close(struct stack *s)
{
	s->call.cleanup(s->slirp);
	dlclose(s->library);
	free(s);
}
