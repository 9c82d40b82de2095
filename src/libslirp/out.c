/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames for the guest: one call of send_packet each, no longer than the MTU, checksums complete.
 */

/*
 * Theory of operation
 *
 * The port says that it takes partial checksums and TCP segments of any size, and lends one buffer:
 * so the stack peeks up to 64 KiB of a connection straight into it, behind one header. out_emit()
 * cuts that in place. A segment's header is put right in front of its payload, where it overwrites
 * the end of the segment before, which the caller has by then taken (send_packet() may not keep the
 * memory). So each byte is written once by the kernel, read once for the checksum and once by the
 * caller.
 *
 * Back-pressure: the interface has none, but send_packet() says how many bytes it took; QEMU's says
 * 0 for a frame that it has put into a queue, since the guest has no buffers. That queue is no
 * place to leave data: when an e1000's driver hands over 16 buffers, QEMU empties the queue into
 * them and loses the rest. So after a 0 nothing more is sent, not even the rest of a large frame,
 * which stays in the buffer; what follows waits in the sockets. It goes on when the guest has sent
 * something, or after a millisecond, then two, and so on. A caller that never says anything but 0
 * is not believed.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/csum.h"
#include "base/iov.h"
#include "base/macros.h"
#include "libslirp/slirp.h"

#define RETRY_NS 1000000ull
#define RETRY_DOUBLINGS 4
#define QUEUE_TRIES 8 /* frames in the caller's queue, before tries are spread out */
#define TRY_NS 250000ull
#define UDP_CSUM_OFF 6
enum { TCP_CWR = 0x80, TCP_PSH = 8, TCP_FIN = 1 };

static void put(struct Slirp *s, const uint8_t *frame, uint32_t len)
{
	struct slirp_out *o = &s->out;
	ssize_t r;

	if (s->closing)
		return;
	r = s->cb.send_packet(frame, len, s->opaque);
	if (r) {
		o->tells |= r > 0;
		o->queued = 0;
	} else if (o->tells) {
		uint64_t pause = RETRY_NS << min(o->queued, (uint32_t)RETRY_DOUBLINGS);

		o->queued++;
		o->held = true;
		o->tried = twx_loop_now(s->loop);
		twx_timer_set(&o->retry, o->tried + pause);
	}
}

/* --- segments --- */

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static void store_csum(uint8_t *p, be16 sum)
{
	memcpy(p, &sum, sizeof(sum));
}

/* False: not what this stack makes. */
static bool cut_begin(struct out_cut *c, const uint8_t *buf, uint32_t len,
		      const struct twx_meta *meta)
{
	const uint8_t *ip = buf + SLIRP_ETH_LEN;

	c->ip = SLIRP_ETH_LEN;
	c->v6 = meta->gso == TWX_GSO_TCPV6;
	c->l4 = meta->csum_start;
	c->size = meta->gso_size;
	if (c->l4 < c->ip + (c->v6 ? 40u : 20u) || c->l4 + 20 > len || !c->size)
		return false;
	c->payload = c->l4 + (uint32_t)(buf[c->l4 + 12] >> 4) * 4;
	if (c->payload < c->l4 + 20 || c->payload >= len || c->payload > sizeof(c->head))
		return false;
	memcpy(c->head, buf, c->payload);
	c->id = (uint16_t)(ip[4] << 8 | ip[5]);
	c->seq = get32(buf + c->l4 + 4);
	c->flags = buf[c->l4 + 13];
	c->pseudo =
		c->v6 ? csum_pseudo6(ip + 8, ip + 24, 6, 0) : csum_pseudo4(ip + 12, ip + 16, 6, 0);
	c->n = c->off = 0;
	c->left = len - c->payload;
	return true;
}

static void cut_ip(const struct out_cut *c, uint8_t *ip, uint32_t len)
{
	if (c->v6) {
		put16(ip + 4, len - 40);
		return;
	}
	put16(ip + 2, len);
	put16(ip + 4, c->id + c->n);
	put16(ip + 10, 0);
	store_csum(ip + 10, csum_fold(csum_partial(ip, c->l4 - c->ip, 0)));
}

/* The next segment. */
static void cut_one(struct Slirp *s, struct out_cut *c)
{
	uint8_t *frame = s->out.buf + c->off, *tcp = frame + c->l4, flags = c->flags;
	uint32_t len = min(c->left, c->size), l4_len = c->payload - c->l4 + len;

	memcpy(frame, c->head, c->payload);
	cut_ip(c, frame + c->ip, c->l4 - c->ip + l4_len);
	if (c->n)
		flags &= (uint8_t)~TCP_CWR;
	if (len < c->left)
		flags &= (uint8_t) ~(TCP_PSH | TCP_FIN);
	put32(tcp + 4, c->seq + c->off);
	tcp[13] = flags;
	put16(tcp + 16, 0);
	store_csum(tcp + 16,
		   csum_fold(csum_partial(tcp, l4_len, csum_add16(c->pseudo, (uint16_t)l4_len))));
	c->n++;
	c->off += len;
	c->left -= len;
	put(s, frame, c->payload + len);
}

static void cut_rest(struct Slirp *s)
{
	while (s->out.cut.left && !s->out.held)
		cut_one(s, &s->out.cut);
}

/* The frame of @len bytes in the buffer, worked on in place, in as many pieces as @meta says. */
static void emit(struct Slirp *s, uint32_t len, const struct twx_meta *meta)
{
	uint32_t start = meta->csum_start, at = start + meta->csum_off;
	uint8_t *buf = s->out.buf;
	uint64_t sum;

	if (meta->gso) {
		if (cut_begin(&s->out.cut, buf, len, meta))
			cut_rest(s);
		return;
	}
	if ((meta->flags & TWX_F_NEEDS_CSUM) && at + 2 <= len) {
		sum = csum_partial(buf + start, len - start, 0);
		store_csum(buf + at,
			   meta->csum_off == UDP_CSUM_OFF ? csum_fold_udp(sum) : csum_fold(sum));
	}
	put(s, buf, len);
}

/* --- the port --- */

static int out_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	struct Slirp *s = port->owner;

	for (int i = 0; i < n; i++) {
		const struct twx_frame *f = &frames[i];

		if (s->out.held)
			return i;
		if (f->n_iov == 1 && !f->meta.gso && !(f->meta.flags & TWX_F_NEEDS_CSUM)) {
			put(s, f->iov[0].iov_base, f->len);
		} else if (f->len <= SLIRP_FRAME_MAX) {
			iov_copy_from(f->iov, f->n_iov, 0, s->out.buf, f->len);
			emit(s, f->len, &f->meta);
		} else {
			twx_port_drop(port, TWX_DROP_TOO_LONG, f->len);
		}
	}
	return n;
}

static int out_reserve(struct twx_port *port, size_t min_len, size_t want, struct twx_lease *lease)
{
	struct Slirp *s = port->owner;

	if (s->out.held)
		return -EAGAIN;
	if (min_len > SLIRP_FRAME_MAX)
		return -EOPNOTSUPP;
	lease->n_iov = 1;
	lease->len = (uint32_t)min(want, (size_t)SLIRP_FRAME_MAX);
	lease->iov[0] = (struct iovec){ s->out.buf, lease->len };
	return 0;
}

static void out_commit(struct twx_port *port, struct twx_lease *lease, size_t len,
		       const struct twx_meta *meta)
{
	struct Slirp *s = port->owner;

	emit(s, (uint32_t)len, meta);
}

static void out_abort(struct twx_port *port, struct twx_lease *lease)
{
}

static void release(struct Slirp *s)
{
	s->out.held = false;
	twx_timer_cancel(&s->out.retry);
	cut_rest(s);
	if (!s->out.held)
		twx_port_ready(&s->out.port);
}

void out_try_again(struct Slirp *s)
{
	struct slirp_out *o = &s->out;

	if (o->held && (o->queued < QUEUE_TRIES || twx_loop_now(s->loop) - o->tried >= TRY_NS))
		release(s);
}

static void retry(struct twx_timer *t)
{
	release(container_of(t, struct Slirp, out.retry));
}

static const struct twx_port_ops out_ops = {
	.receive = out_receive,
	.reserve = out_reserve,
	.commit = out_commit,
	.abort = out_abort,
};

int out_open(struct Slirp *s, struct twx_error *e)
{
	int ret;

	s->out.buf = mmap(NULL, SLIRP_FRAME_MAX, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s->out.buf == MAP_FAILED) {
		s->out.buf = NULL;
		return twx_error_set(e, ENOMEM, "out of memory");
	}
	twx_timer_init(&s->out.retry, s->loop, retry);
	ret = twx_port_init(&s->out.port, s->net, s->loop, TWX_PORT_NIC, "guest", "libslirp", 0,
			    &out_ops, s, e);
	if (ret)
		return ret;
	twx_port_set_caps(&s->out.port, (struct twx_caps){ .flags = TWX_CAP_CSUM | TWX_CAP_TSO4 |
								    TWX_CAP_TSO6 | TWX_CAP_ECN });
	return twx_port_pair(&s->out.port, s->backend->ports[0], e);
}

void out_close(struct Slirp *s)
{
	if (s->out.port.net)
		twx_port_fini(&s->out.port);
	if (s->out.buf) {
		twx_timer_cancel(&s->out.retry);
		munmap(s->out.buf, SLIRP_FRAME_MAX);
	}
}
