/* SPDX-License-Identifier: BSD-3-Clause */
/* The control socket: byte 0 picks negotiation and how the rest is cut into pieces. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <twinax/twinax.h>

#include "control/qmp.h"
#include "fuzz.h"

static struct twx_loop *loop;
static struct twx_net *net;
static struct qmp_server *server;
static char dir[] = "/tmp/fuzz-qmp-XXXXXX";
static struct sockaddr_un address = { .sun_family = AF_UNIX };

static void end(void)
{
	qmp_servers_free(server);
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
	if (twx_net_new(&net, &config, NULL) ||
	    twx_backend_new(NULL, net, "hubport,id=n0,hubid=0", NULL))
		abort();
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", dir);
	snprintf(text, sizeof(text), "unix:%s/s", dir);
	if (qmp_server_add(&server, net, text, NULL))
		abort();
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char hello[] = "{\"execute\":\"qmp_capabilities\"}";
	int fd;

	if (!loop)
		begin();
	if (!size)
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
	twx_trace_disable(twx_loop_trace(loop));
	return 0;
}
