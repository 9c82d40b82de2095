/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The state that libslirp.so.0 loads, from a hostile source. Byte 0: 0 takes the rest as the
 * stream, anything else puts a right header in front of it. What was taken is lived with for a
 * while, saved, and must be taken again.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "fuzz.h"
#include "libslirp/abi.h"

struct stream {
	uint8_t *data;
	size_t len, off;
};

static int64_t now;

static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
	assert(len >= 14 && len <= 1514);
	return (ssize_t)len;
}

static int64_t clock_get_ns(void *opaque)
{
	return now;
}

static ssize_t stream_read(void *buf, size_t len, void *opaque)
{
	struct stream *s = opaque;
	size_t n = min(len, s->len - s->off);

	if (n)
		memcpy(buf, s->data + s->off, n);
	s->off += n;
	return (ssize_t)n;
}

static ssize_t stream_write(const void *buf, size_t len, void *opaque)
{
	struct stream *s = opaque;

	s->data = realloc(s->data, s->len + len);
	memcpy(s->data + s->len, buf, len);
	s->len += len;
	return (ssize_t)len;
}

static int add_poll(int fd, int events, void *opaque)
{
	return 0;
}

static int get_revents(int index, void *opaque)
{
	return SLIRP_POLL_IN;
}

static struct Slirp *make(void)
{
	static const struct slirp_cb cb = { .send_packet = send_packet,
					    .clock_get_ns = clock_get_ns };
	struct slirp_config cfg = {
		.version = 1,
		.in_enabled = true,
		.in6_enabled = true,
		.vnetwork = { htonl(0x0a000200) },
		.vnetmask = { htonl(0xffffff00) },
		.vhost = { htonl(0x0a000202) },
		.vdhcp_start = { htonl(0x0a00020f) },
		.vnameserver = { htonl(0x0a000203) },
	};

	return slirp_new(&cfg, &cb, NULL);
}

static void live(struct Slirp *s)
{
	for (int i = 0; i < 4; i++) {
		uint32_t timeout = UINT32_MAX;

		slirp_pollfds_fill(s, &timeout, add_poll, NULL);
		slirp_pollfds_poll(s, 0, get_revents, NULL);
		now += 300000000;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char head[16] = "twxslirp\0\0\0\1";
	struct stream in = { 0 }, out = { 0 };
	struct Slirp *s = make();
	uint32_t len = htonl((uint32_t)size - 1);
	char *text;

	if (size && data[0]) {
		stream_write(head, 12, &in);
		stream_write(&len, 4, &in);
	}
	if (size > 1)
		stream_write(data + 1, size - 1, &in);
	if (slirp_state_load(s, slirp_state_version(), stream_read, &in) == 0) {
		live(s);
		text = slirp_neighbor_info(s);
		assert(text);
		free(text);
		slirp_state_save(s, stream_write, &out);
		assert(slirp_state_load(s, slirp_state_version(), stream_read, &out) == 0);
		assert(out.off == out.len);
		live(s);
	}
	slirp_cleanup(s);
	free(in.data);
	free(out.data);
	return 0;
}
