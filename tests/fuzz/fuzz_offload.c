/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A frame with any metadata, in any pieces, to a receiver with any caps that may stop at any time:
 * what arrives is within the caps, and nothing of the payload is lost or doubled.
 *
 * Input: struct params, then the frame's first bytes; the rest of the frame is made up.
 */
#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <twinax/twinax.h>

#include "base/iov.h"
#include "base/macros.h"
#include "fuzz.h"
#include "net/packet.h"

struct params {
	uint8_t caps;
	uint8_t room;	/* frames taken before each ready() */
	uint8_t pieces; /* 0: all in one */
	uint8_t mode;	/* bit 0: post; bit 1: caps change before the rest is taken */
	uint16_t max_frame;
	uint16_t len;
	uint16_t gso_size, hdr_len, csum_start, csum_off, tci;
	uint8_t flags, gso;
};

struct receiver {
	struct twx_port port;
	unsigned int room;
	uint64_t frames, payload;
	uint32_t hdr; /* of the frame that was sent */
};

static uint8_t sink[TWX_FRAME_MAX];

static void check_frame(const struct twx_port *port, const struct twx_frame *f)
{
	static const uint32_t need[] = {
		0, TWX_CAP_TSO4, 0, TWX_CAP_UFO, TWX_CAP_TSO6, TWX_CAP_USO
	};
	uint32_t caps = port->caps.flags;

	assert(f->len >= TWX_FRAME_MIN && f->len <= TWX_FRAME_MAX);
	assert(iov_len(f->iov, f->n_iov) == f->len);
	assert(f->iov[0].iov_len >= min(f->len, (uint32_t)TWX_HDR_ROOM));
	assert(iov_copy_from(f->iov, f->n_iov, 0, sink, f->len) == f->len);
	if (f->meta.gso) {
		assert(f->meta.gso < array_size(need) && need[f->meta.gso] & caps);
		assert(f->meta.gso_size);
	} else {
		assert(f->len <= port->caps.max_frame);
	}
	if (f->meta.flags & TWX_F_NEEDS_CSUM) {
		assert(caps & TWX_CAP_CSUM);
		assert((uint32_t)f->meta.csum_start + f->meta.csum_off + 2 <= f->iov[0].iov_len);
	}
	assert(!(f->meta.flags & TWX_F_VLAN) || caps & TWX_CAP_VLAN);
}

static int receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	struct receiver *r = port->owner;
	int i;

	assert(n >= 1 && n <= TWX_BURST);
	for (i = 0; i < n && r->room; i++, r->room--) {
		check_frame(port, &frames[i]);
		r->frames++;
		r->payload += frames[i].len - r->hdr;
	}
	return i;
}

static const struct twx_port_ops ops = { .receive = receive };

static struct {
	struct twx_loop *loop;
	struct twx_net *net;
	struct twx_port sender;
	struct receiver r;
} w;

static void world_begin(void)
{
	struct twx_net_config config = { .size = sizeof(config) };

	if (w.net)
		return;
	if (twx_loop_new(&w.loop, NULL) < 0)
		abort();
	config.loop = w.loop;
	if (twx_net_new(&w.net, &config, NULL) < 0 ||
	    twx_port_init(&w.sender, w.net, w.loop, TWX_PORT_NIC, "s", "fuzz", 0, &ops, &w.r,
			  NULL) < 0 ||
	    twx_port_init(&w.r.port, w.net, w.loop, TWX_PORT_BACKEND, "r", "fuzz", 0, &ops, &w.r,
			  NULL) < 0 ||
	    twx_port_pair(&w.sender, &w.r.port, NULL) < 0)
		abort();
}

static uint64_t drops(void)
{
	uint64_t n = 0;
	int i;

	for (i = 0; i < TWX_N_DROPS; i++)
		n += w.sender.count.drops[i] + w.r.port.count.drops[i];
	return n;
}

/* Payload by exact allocations, so that a sanitizer sees each byte too many. */
static uint32_t cut(uint8_t *bytes, uint32_t len, uint32_t pieces, struct iovec *iov)
{
	uint32_t at = pieces ? min(len, (uint32_t)TWX_HDR_ROOM) : len, n = 0, step;

	step = pieces ? (len - at) / pieces + 1 : 1;
	iov[n].iov_base = malloc(at ? at : 1);
	iov[n].iov_len = at;
	memcpy(iov[n++].iov_base, bytes, at);
	for (; at < len; at += step, n++) {
		iov[n].iov_len = min(step, len - at);
		iov[n].iov_base = malloc(iov[n].iov_len);
		memcpy(iov[n].iov_base, bytes + at, iov[n].iov_len);
	}
	return n;
}

static void run(const struct params *p, struct twx_frame *f)
{
	struct twx_caps caps = { .flags = p->caps & 0x7f, .max_frame = p->max_frame };
	uint64_t before = drops();
	struct packet pkt;
	int done = 0, rounds;

	packet_parse(&pkt, f->iov[0].iov_base, f->iov[0].iov_len);
	w.r.hdr = pkt.payload_off;
	w.r.frames = w.r.payload = 0;
	w.r.room = p->room;
	twx_port_set_caps(&w.r.port, caps);
	if (p->mode & 1) {
		twx_port_post(&w.sender, f, 1);
		done = 1;
	}
	for (rounds = 0; rounds < 3; rounds++) {
		if (!done)
			done = twx_port_send(&w.sender, f, 1);
		if (p->mode & 2) {
			caps.flags ^= 0x7f;
			twx_port_set_caps(&w.r.port, caps);
		}
		w.r.room = rounds ? UINT32_MAX : p->room;
		twx_port_ready(&w.r.port);
	}
	while (w.r.port.queue)
		twx_loop_poll(w.loop, 0);
	assert(done && !w.r.port.rx_busy && !w.r.port.in_receive);
	assert(w.r.frames || drops() > before);
	/* Cut or not, TCP and datagram payload arrives once; a dropped frame may have arrived in
	 * part. */
	if (f->meta.gso && f->meta.gso != TWX_GSO_UDP && drops() == before &&
	    !(f->meta.flags & TWX_F_VLAN))
		assert(w.r.payload == f->len - w.r.hdr);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t bytes[65536];
	struct iovec iov[300];
	struct twx_frame f = { .iov = iov };
	struct params p;
	uint32_t i, here;

	if (size < sizeof(p))
		return 0;
	world_begin();
	memcpy(&p, data, sizeof(p));
	data += sizeof(p);
	size -= sizeof(p);
	here = (uint32_t)min(size, sizeof(bytes));
	memcpy(bytes, data, here);
	for (i = here; i < p.len; i++)
		bytes[i] = (uint8_t)(i * 13);
	f.len = max((uint32_t)p.len, here);
	f.len = min(f.len, (uint32_t)65535);
	f.n_iov = cut(bytes, f.len, p.pieces, iov);
	f.meta = (struct twx_meta){
		.flags = p.flags,
		.gso = p.gso,
		.gso_size = p.gso_size,
		.hdr_len = p.hdr_len,
		.csum_start = p.csum_start,
		.csum_off = p.csum_off,
		.vlan_tci = p.tci,
	};
	run(&p, &f);
	for (i = 0; i < f.n_iov; i++)
		free(iov[i].iov_base);
	return 0;
}
