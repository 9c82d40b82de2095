/* SPDX-License-Identifier: BSD-3-Clause */
/* The record of connections that a user backend finds from the process before it. */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <twinax/twinax.h>

#include "fuzz.h"

#define ROUNDS 3

static unsigned int n_probes;

/* Nothing but ARP and TCP to a guest of 10.0.2.0/24. */
static int guest_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	for (int i = 0; i < n; i++) {
		const uint8_t *f = frames[i].iov[0].iov_base;

		assert(frames[i].iov[0].iov_len >= 60);
		assert(!(f[0] & 1));
		if (f[12] == 8 && f[13] == 6)
			continue;
		assert(f[12] == 8 && f[13] == 0 && f[23] == 6);
		assert(f[30] == 10 && f[31] == 0 && f[32] == 2);
		n_probes++;
	}
	return n;
}

static const struct twx_port_ops guest_ops = { .receive = guest_receive };

static void leave(const char *path, const uint8_t *data, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert(fd >= 0);
	assert(write(fd, data, size) == (ssize_t)size);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct twx_net_config config = { .size = sizeof(config) };
	struct twx_backend *backend;
	struct twx_net *net;
	struct twx_port guest = { 0 };
	struct twx_error e = { 0 };
	char prefix[64], path[96];

	snprintf(prefix, sizeof(prefix), "/tmp/fuzz-orphan.%d", (int)getpid());
	snprintf(path, sizeof(path), "%s.n0.flows", prefix);
	leave(path, data, size);
	n_probes = 0;
	config.state_prefix = prefix;
	assert(twx_loop_new(&config.loop, &e) == 0);
	assert(twx_net_new(&net, &config, &e) == 0);
	assert(twx_backend_new(&backend, net, "user,id=n0,max-flows=64", &e) == 0);
	assert(twx_port_init(&guest, net, config.loop, TWX_PORT_NIC, "guest", "guest", 0,
			     &guest_ops, NULL, &e) == 0);
	assert(twx_port_pair(&guest, backend->ports[0], &e) == 0);
	for (int i = 0; i < ROUNDS; i++)
		twx_loop_poll(config.loop, 0);
	assert(n_probes <= 64 * ROUNDS);
	twx_port_fini(&guest);
	twx_net_free(net);
	twx_loop_free(config.loop);
	assert(access(path, F_OK) < 0);
	return 0;
}
