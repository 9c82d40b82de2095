/* SPDX-License-Identifier: BSD-3-Clause */
/* The control socket: byte 0 picks negotiation and how the rest is cut into pieces. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <twinax/twinax.h>

#include "base/hostops.h"
#include "control/qmp.h"
#include "fuzz.h"

static struct twx_loop *loop;
static struct twx_net *net;
static struct qmp_server *server;
static char dir[] = "/tmp/fuzz-qmp-XXXXXX";
static struct sockaddr_un address = { .sun_family = AF_UNIX };

/* netdev_add and device_add reach the host: not from here. */

static int no_open(void *opaque, const char *path, int flags, mode_t mode)
{
	return -EACCES;
}

static int no_unlink(void *opaque, const char *path)
{
	return -EACCES;
}

static int no_address(void *opaque, int fd, const struct sockaddr *addr, socklen_t len)
{
	return -EACCES;
}

static int no_path(void *opaque, int fd, const char *path)
{
	return -EACCES;
}

static int no_spawn(void *opaque, char *const argv[], const int *keep_fds, int n_keep, pid_t *pid)
{
	return -EACCES;
}

static int no_name(void *opaque, const char *host, const char *port, int family, int type,
		   int flags, struct sockaddr_storage *out, int max)
{
	return -EACCES;
}

static int no_rename(void *opaque, const char *from, const char *to)
{
	return -EACCES;
}

static struct twx_hostops ops = { .size = sizeof(ops) };

static void close_host(void)
{
	ops.open = no_open;
	ops.unlink = no_unlink;
	ops.bind = no_address;
	ops.connect_unix = no_path;
	ops.spawn = no_spawn;
	ops.connect = no_address;
	ops.resolve = no_name;
	ops.rename = no_rename;
}

static void end(void)
{
	qmp_servers_free(server);
	unlink(address.sun_path);
	twx_net_free(net);
	twx_loop_free(loop);
	rmdir(dir);
}

static void begin(void)
{
	struct twx_net_config config = { .size = sizeof(config) };
	char text[96];

	if (!mkdtemp(dir) || twx_loop_new(&loop, NULL))
		abort();
	config.loop = loop;
	config.hostops = &ops;
	if (twx_net_new(&net, &config, NULL) ||
	    twx_backend_new(NULL, net, "hubport,id=n0,hubid=0", NULL))
		abort();
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", dir);
	snprintf(text, sizeof(text), "unix:%s/s", dir);
	if (qmp_server_add(&server, net, text, NULL))
		abort();
	close_host();
	atexit(end);
}

static void rounds(int n)
{
	while (n--)
		twx_loop_poll(loop, 0);
}

static void drain(int fd)
{
	char buf[65536];

	while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		rounds(1);
}

static void put(int fd, const uint8_t *data, size_t len, size_t piece)
{
	ssize_t n;

	while (len) {
		n = send(fd, data, len < piece ? len : piece, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n <= 0) /* closed on us, which is its right */
			return;
		data += n;
		len -= (size_t)n;
		rounds(2);
		drain(fd);
	}
}

/* What this input has made. */
static void forget(void)
{
	struct twx_port *p = twx_net_ports(net), *next;

	for (; p; p = next) {
		struct twx_nic *nic = twx_nic_find(net, p->name);
		struct twx_backend *b = twx_backend_find(net, p->name);

		next = p->next;
		if (nic || (b && strcmp(b->id, "n0"))) {
			twx_nic_free(nic);
			twx_backend_free(nic ? NULL : b);
			next = twx_net_ports(net);
		}
	}
	if (!twx_backend_find(net, "n0") &&
	    twx_backend_new(NULL, net, "hubport,id=n0,hubid=0", NULL))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char hello[] = "{\"execute\":\"qmp_capabilities\"}";
	int fd;

	if (!loop)
		begin();
	/* Numbers of descriptors are the harness's own: fd=, fds=, local.type=fd. */
	if (!size || memmem(data, size, "fd", 2))
		return 0;
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		abort();
	rounds(2);
	if (data[0] & 1)
		put(fd, (const uint8_t *)hello, sizeof(hello) - 1, 4096);
	put(fd, data + 1, size - 1, data[0] & 2 ? 1 + (data[0] >> 2) : 4096);
	drain(fd);
	close(fd);
	rounds(4);
	forget();
	twx_trace_disable(twx_loop_trace(loop));
	return 0;
}
