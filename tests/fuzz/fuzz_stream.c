/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A stream backend whose peer says and does what the input wants, in pieces of any size, beside a
 * NIC that is slow at times. A second, simpler reader of the same bytes says which frames have to
 * arrive: these, whole and in this order; and what the peer gets are frames that the NIC has sent.
 *
 * The input is a list of steps, a byte what and a byte how much; a step that says something is
 * followed by what it says.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <twinax/twinax.h>

#include "base/iov.h"
#include "fuzz.h"

#define SAID_MAX (1 << 20)
#define STREAM_LIMIT 69632

struct fuzz {
	struct twx_loop *loop;
	struct twx_net *net;
	struct twx_backend *b;
	struct twx_port nic;
	int fd;		   /* the peer's; -1: it is gone */
	uint32_t room;	   /* frames that the NIC takes now */
	uint8_t *said;	   /* by the peer */
	size_t n_said, at; /* at: where the next frame to arrive begins */
	uint8_t *heard;
	size_t n_heard, heard_at;
	uint8_t n_sent, n_heard_frames; /* modulo 256: what frames are filled with */
};

/* Moves to the next frame that has to arrive: its length, or 0 if none is complete. */
static uint32_t next_frame(struct fuzz *z)
{
	while (z->n_said - z->at >= 4) {
		const uint8_t *p = z->said + z->at;
		uint32_t len =
			(uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];

		if (len > STREAM_LIMIT || z->n_said - z->at - 4 < len)
			return 0;
		if (len >= TWX_FRAME_MIN && len <= TWX_FRAME_MAX)
			return len;
		z->at += 4 + len;
	}
	return 0;
}

static int nic_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	struct fuzz *z = port->owner;
	int i;

	for (i = 0; i < n && z->room; i++, z->room--) {
		uint32_t len = next_frame(z);

		assert(len == frames[i].len && iov_len(frames[i].iov, frames[i].n_iov) == len);
		assert(!frames[i].meta.flags && !frames[i].meta.gso);
		assert(!memcmp(frames[i].iov[0].iov_base, z->said + z->at + 4, len));
		z->at += 4 + len;
	}
	return i;
}

static const struct twx_port_ops nic_ops = { .receive = nic_receive };

static void fuzz_start(struct fuzz *z)
{
	struct twx_net_config config = { .size = sizeof(config) };
	char text[64];
	int fd[2], size = 8192;

	assert(!twx_loop_new(&z->loop, NULL));
	config.loop = z->loop;
	assert(!twx_net_new(&z->net, &config, NULL));
	assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd));
	setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	snprintf(text, sizeof(text), "stream,id=b,addr.type=fd,addr.str=%d", fd[0]);
	assert(!twx_backend_new(&z->b, z->net, text, NULL));
	assert(!twx_port_init(&z->nic, z->net, z->loop, TWX_PORT_NIC, "nic", "nic", 0, &nic_ops, z,
			      NULL));
	assert(!twx_port_pair(&z->nic, z->b->ports[0], NULL));
	z->fd = fd[1];
	z->room = 1000000;
	z->said = malloc(SAID_MAX);
	z->heard = malloc(SAID_MAX);
	assert(z->said && z->heard);
}

static void fuzz_poll(struct fuzz *z)
{
	int i;

	for (i = 0; i < 8; i++)
		assert(twx_loop_poll(z->loop, 0) >= 0);
}

static void peer_says(struct fuzz *z, const uint8_t *data, size_t len)
{
	ssize_t n;

	if (z->fd < 0 || len > SAID_MAX - z->n_said)
		return;
	n = send(z->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n <= 0)
		return;
	memcpy(z->said + z->n_said, data, (size_t)n);
	z->n_said += (size_t)n;
}

/* A frame of any length, said without being in the input. */
static void peer_says_frame(struct fuzz *z, uint32_t len)
{
	static uint8_t buf[4 + STREAM_LIMIT];

	buf[0] = 0;
	buf[1] = (uint8_t)(len >> 16);
	buf[2] = (uint8_t)(len >> 8);
	buf[3] = (uint8_t)len;
	memset(buf + 4, (int)(len & 0xff), len);
	peer_says(z, buf, 4 + len);
}

static void peer_hears(struct fuzz *z, size_t max)
{
	ssize_t n;

	if (z->fd < 0 || max > SAID_MAX - z->n_heard)
		return;
	n = recv(z->fd, z->heard + z->n_heard, max, MSG_DONTWAIT);
	z->n_heard += n > 0 ? (size_t)n : 0;
	while (z->n_heard - z->heard_at >= 4) {
		const uint8_t *p = z->heard + z->heard_at;
		uint32_t len = (uint32_t)p[2] << 8 | p[3], i;

		assert(!p[0] && !p[1] && len >= TWX_FRAME_MIN);
		if (z->n_heard - z->heard_at - 4 < len)
			return;
		for (i = 0; i < len; i++)
			assert(p[4 + i] == z->n_heard_frames);
		z->n_heard_frames++;
		z->heard_at += 4 + len;
	}
}

static void nic_sends(struct fuzz *z, uint32_t n, uint32_t len)
{
	static uint8_t data[TWX_BURST][9000];
	struct twx_frame f[TWX_BURST];
	struct iovec iov[TWX_BURST];
	uint32_t i;

	for (i = 0; i < n; i++) {
		memset(data[i], (uint8_t)(z->n_sent + i), len);
		iov[i] = (struct iovec){ data[i], len };
		f[i] = (struct twx_frame){ .iov = &iov[i], .n_iov = 1, .len = len };
	}
	z->n_sent = (uint8_t)(z->n_sent + twx_port_send(&z->nic, f, (int)n));
}

/* Returns the bytes of the input that the step has used beside its own two. */
static size_t step(struct fuzz *z, uint8_t what, uint8_t much, const uint8_t *data, size_t size)
{
	size_t len = much < size ? much : size;

	switch (what % 10) {
	case 0:
		peer_says(z, data, len);
		return len;
	case 1:
		fuzz_poll(z);
		break;
	case 2:
		peer_says_frame(z, much * 6u);
		break;
	case 3:
		peer_says_frame(z, 65400 + much * 16u);
		break;
	case 4:
		z->room = much & 0x80 ? 1000000 : much;
		twx_port_ready(&z->nic);
		break;
	case 5:
		nic_sends(z, much % TWX_BURST + 1, 14 + much * 35u);
		break;
	case 6:
		peer_hears(z, (size_t)much * much + 1);
		break;
	case 7:
		fuzz_poll(z);
		peer_hears(z, 60000);
		break;
	case 8:
		if (z->fd >= 0 && much < 64)
			shutdown(z->fd, much & 1 ? SHUT_RD : SHUT_WR);
		break;
	case 9:
		if (z->fd >= 0 && much < 32) {
			close(z->fd);
			z->fd = -1;
		}
		break;
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz z = { 0 };

	fuzz_start(&z);
	while (size >= 2) {
		size_t used = 2 + step(&z, data[0], data[1], data + 2, size - 2);

		data += used;
		size -= used;
	}
	z.room = 1000000;
	twx_port_ready(&z.nic);
	fuzz_poll(&z);
	if (!z.b->ports[0]->link_down)
		assert(!next_frame(&z)); /* all that was said has arrived */
	twx_backend_free(z.b);
	twx_port_fini(&z.nic);
	twx_net_free(z.net);
	twx_loop_free(z.loop);
	if (z.fd >= 0)
		close(z.fd);
	free(z.said);
	free(z.heard);
	return 0;
}
