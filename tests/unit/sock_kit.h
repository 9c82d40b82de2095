/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests of the socket backends: a world with a NIC, plain sockets at the other end, frames that
 * say their number. */
#ifndef SOCK_KIT_H
#define SOCK_KIT_H

#include "toy.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct kit {
	struct world *w;
	struct toy *nic;
	struct twx_backend *b;
	struct twx_port *port;
	char dir[64];
};

/* Where nobody else has ports, abstract names or multicast groups; loopback is up. */
static inline void kit_namespace(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_MULTICAST };
	static bool done;
	int fd;

	if (done)
		return;
	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET)) {
		print_message("no network namespace can be made\n");
		skip();
	}
	done = true;
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
	close(fd);
}

/* An emulator may not know how an interface is chosen. */
static inline void kit_multicast(void)
{
	struct in_addr lo = { htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	int err = setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &lo, sizeof(lo));

	close(fd);
	if (err) {
		print_message("no interface for multicast can be chosen\n");
		skip();
	}
}

static inline int kit_setup(void **state)
{
	struct kit *k = calloc(1, sizeof(*k));

	kit_namespace();
	world_setup((void **)&k->w);
	k->nic = toy_new(k->w->net, "nic");
	strcpy(k->dir, "/tmp/test-sock-XXXXXX");
	assert_non_null(mkdtemp(k->dir));
	*state = k;
	return 0;
}

static inline int kit_teardown(void **state)
{
	struct kit *k = *state;

	if (k->b)
		twx_backend_free(k->b);
	toy_free(k->nic);
	world_teardown((void **)&k->w);
	rmdir(k->dir); /* what a backend left there stays, and is seen */
	free(k);
	return 0;
}

#define kit_test(f) cmocka_unit_test_setup_teardown(f, kit_setup, kit_teardown)

static inline const char *kit_path(struct kit *k, const char *name)
{
	static char path[4][100];
	static int next;

	snprintf(path[++next % 4], 100, "%s/%s", k->dir, name);
	return path[next % 4];
}

/* Opens a backend of id `b`; its options as printf() would. 0, or the error. */
__attribute__((format(printf, 3, 4))) static inline int kit_try(struct kit *k, struct twx_error *e,
								const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	int err;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	memset(e, 0, sizeof(*e));
	err = twx_backend_new(&k->b, k->w->net, text, e);
	if (err) {
		k->b = NULL;
		return err;
	}
	k->port = k->b->ports[0];
	return twx_port_pair(&k->nic->port, k->port, e);
}

#define kit_open(k, ...)                                                                           \
	do {                                                                                       \
		struct twx_error kit_e;                                                            \
		if (kit_try(k, &kit_e, __VA_ARGS__))                                               \
			fail_msg("%s", kit_e.what);                                                \
	} while (0)

#define kit_refused(k, sentence, ...)                                                              \
	do {                                                                                       \
		struct twx_error kit_e;                                                            \
		assert_true(kit_try(k, &kit_e, __VA_ARGS__) < 0);                                  \
		if (!strstr(kit_e.what, sentence))                                                 \
			fail_msg("'%s' is not in: %s", sentence, kit_e.what);                      \
	} while (0)

static inline void kit_close(struct kit *k)
{
	twx_backend_free(k->b);
	k->b = NULL;
}

/* The loop, until it has had nothing to do for a moment. */
static inline void kit_run(struct kit *k)
{
	while (twx_loop_poll(k->w->loop, 20) > 0)
		;
}

static inline bool kit_until(struct kit *k, bool (*done)(struct kit *k))
{
	int i;

	for (i = 0; i < 500 && !done(k); i++)
		twx_loop_poll(k->w->loop, 10);
	return done(k);
}

static inline bool kit_is_up(struct kit *k)
{
	return !k->port->link_down;
}

static inline bool kit_is_down(struct kit *k)
{
	return k->port->link_down;
}

/* Behind "type=TYPE," of the backend in `info network`; on one line. */
static inline const char *kit_info(struct kit *k)
{
	static char text[512];

	memset(text, 0, sizeof(text));
	k->port->ops->info(k->port, text, sizeof(text));
	return text;
}

static inline int kit_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* --- plain sockets --- */

static inline struct sockaddr_un kit_unix(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	assert_true(strlen(path) < sizeof(sun.sun_path));
	memcpy(sun.sun_path, path, strlen(path));
	return sun;
}

static inline struct sockaddr_in kit_inet(uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				     .sin_port = htons(port) };
}

#define kit_connect(type, addr) kit_socket(type, (struct sockaddr *)(addr), sizeof(*(addr)), true)
#define kit_bind(type, addr) kit_socket(type, (struct sockaddr *)(addr), sizeof(*(addr)), false)

/* Connected to @addr, or bound to it and listening. */
static inline int kit_socket(int type, const struct sockaddr *addr, socklen_t len, bool connects)
{
	int fd = socket(addr->sa_family, type | SOCK_CLOEXEC, 0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(connects ? connect(fd, addr, len) : bind(fd, addr, len), 0);
	if (!connects && type == SOCK_STREAM)
		assert_int_equal(listen(fd, 5), 0);
	return fd;
}

static inline void kit_stream_pair(int fd[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
}

/* Exactly @len bytes, the loop running meanwhile. */
static inline void kit_read(struct kit *k, int fd, uint8_t *buf, size_t len)
{
	size_t got = 0;
	int idle = 0;

	while (got < len && idle < 200) {
		ssize_t n = recv(fd, buf + got, len - got, MSG_DONTWAIT);

		if (n > 0) {
			got += (size_t)n;
			idle = 0;
			continue;
		}
		assert_true(n < 0 && errno == EAGAIN);
		twx_loop_poll(k->w->loop, 5);
		idle++;
	}
	assert_int_equal(got, len);
}

static inline bool kit_silent(int fd)
{
	uint8_t byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static inline bool kit_ended(int fd)
{
	uint8_t byte;
	ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);

	return n == 0 || (n < 0 && errno == ECONNRESET);
}

/* --- numbered frames --- */

/* Bytes of frame @number, of @len; each tells where it belongs. */
static inline void numbered_fill(uint8_t *buf, uint32_t len, uint32_t number)
{
	uint32_t i;

	for (i = 0; i < len; i++)
		buf[i] = (uint8_t)(i * 7 + number * 31 + (i >> 8));
	if (len >= 14)
		memcpy(buf + 12, "\x88\xb5", 2);
	if (len >= 18)
		memcpy(buf + 14, &number, 4);
}

static inline void numbered_check(const uint8_t *buf, uint32_t len, uint32_t number)
{
	uint8_t *want = malloc(len + 1);

	numbered_fill(want, len, number);
	assert_memory_equal(buf, want, len);
	free(want);
}

/* What the NIC has got is frames 0 to @n - 1 of @len bytes, in order. */
static inline void numbered_expect(struct kit *k, int n, uint32_t len)
{
	int i;

	assert_int_equal(k->nic->n_got, n);
	for (i = 0; i < n; i++) {
		assert_int_equal(k->nic->got[i].len, len);
		numbered_check(k->nic->got[i].data, len, (uint32_t)i);
	}
}

/* A frame as a NIC hands it on: headers in one piece, payload in another. The memory is the
 * caller's. */
static inline struct twx_frame numbered_frame(uint8_t *buf, struct iovec iov[2], uint32_t len,
					      uint32_t number)
{
	uint32_t first = len < TWX_HDR_ROOM ? len : TWX_HDR_ROOM;

	numbered_fill(buf, len, number);
	iov[0] = (struct iovec){ buf, first };
	iov[1] = (struct iovec){ buf + first, len - first };
	return (struct twx_frame){ .iov = iov, .n_iov = len > first ? 2 : 1, .len = len };
}

/* Sends frames @from to @from + @n - 1 from the NIC in bursts; how many were taken. */
static inline int numbered_send(struct kit *k, uint32_t from, int n, uint32_t len)
{
	static uint8_t data[TWX_BURST][9000];
	struct twx_frame f[TWX_BURST];
	struct iovec iov[TWX_BURST][2];
	int i, done = 0;

	assert_true(len <= sizeof(data[0]));
	while (done < n) {
		int burst = n - done < TWX_BURST ? n - done : TWX_BURST, taken;

		for (i = 0; i < burst; i++)
			f[i] = numbered_frame(data[i], iov[i], len, from + (uint32_t)(done + i));
		taken = twx_port_send(&k->nic->port, f, burst);
		done += taken;
		if (taken < burst)
			break;
	}
	return done;
}

/* A frame as it lies on a stream; its bytes. */
static inline size_t framed(uint8_t *buf, uint32_t len, uint32_t number)
{
	uint32_t be = htonl(len);

	memcpy(buf, &be, 4);
	numbered_fill(buf + 4, len, number);
	return 4 + len;
}

/* Reads frame @number of @len bytes from a stream. */
static inline void framed_expect(struct kit *k, int fd, uint32_t len, uint32_t number)
{
	uint8_t *buf = malloc(4 + len);
	uint32_t be;

	kit_read(k, fd, buf, 4 + len);
	memcpy(&be, buf, 4);
	assert_int_equal(ntohl(be), len);
	numbered_check(buf + 4, len, number);
	free(buf);
}

#endif
