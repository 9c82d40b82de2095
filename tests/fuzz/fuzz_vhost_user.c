/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile front end against the vhost-user back end with virtio-net behind it: the input is a program
 * of messages, raw bytes, writes to shared memory, kicks, frames from the other end and reconnections.
 *
 * One byte an operation: low four bits the kind, high four an argument; more arguments follow. Messages
 * start from payloads that make sense and are then bent by what follows in the input.
 */
#include <fcntl.h>
#include <stdlib.h>

#include "../protocol/echo_nic.c"
#include "../protocol/vhost_client.c"

#include "fuzz.h"

struct input {
	const uint8_t *p, *end;
};

static uint8_t get8(struct input *in)
{
	return in->p < in->end ? *in->p++ : 0;
}

static uint16_t get16(struct input *in)
{
	uint16_t lo = get8(in);

	return (uint16_t)(lo | get8(in) << 8);
}

/* The other end of the cable. */

static struct twx_port *wire;

static int wire_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	(void)port;
	for (int i = 0; i < n; i++)
		for (uint32_t k = 0; k < frames[i].n_iov; k++)
			for (size_t b = 0; b < frames[i].iov[k].iov_len; b += 64)
				(void)((const volatile uint8_t *)frames[i].iov[k].iov_base)[b];
	return n;
}

static int wire_open(struct twx_backend *b, const struct twx_opts *opts, struct twx_error *e)
{
	(void)opts;
	wire = twx_backend_add_port(b, e);
	return wire != NULL ? 0 : -ENOMEM;
}

static void wire_close(struct twx_backend *b)
{
	(void)b;
}

static const struct twx_port_ops wire_ops = { .receive = wire_receive };
static const struct twx_opt_desc no_options[] = { { NULL } };
static const struct twx_backend_type wire_type = {
	.name = "wire", .help = "reads and drops", .options = no_options, .port_ops = &wire_ops,
	.priv_size = 1, .open = wire_open, .close = wire_close,
};

/* Started once; each input is one or more connections. */

static struct vbench bench;
static struct vc client;
enum { FD_MEM, FD_EVENT, FD_PIPE_IN, FD_PIPE_OUT, FD_SOCKET, FD_SMALL, FD_DIR, FD_NULL, N_FDS };
static int pool[N_FDS];

static void stop(void)
{
	vc_fini(&client);
	vbench_close(&bench);
	for (int i = 1; i < N_FDS; i++)
		close(pool[i]);
}

static void start(void)
{
	struct twx_backend *b;
	int ends[2];

	if (vbench_open_net(&bench) < 0 || twx_net_add_backend_type(bench.net, &wire_type) < 0 ||
	    twx_backend_new(&b, bench.net, "wire,id=n0", &bench.e) < 0 ||
	    vbench_open_nic(&bench, "virtio-net,netdev=n0") < 0)
		abort();
	vc_init(&client, &bench);
	pool[FD_MEM] = client.memfd;
	pool[FD_EVENT] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		abort();
	pool[FD_PIPE_IN] = ends[0];
	pool[FD_PIPE_OUT] = ends[1];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		abort();
	close(ends[0]);
	pool[FD_SOCKET] = ends[1];
	pool[FD_SMALL] = memfd_create("small", MFD_CLOEXEC);
	if (ftruncate(pool[FD_SMALL], 5000) < 0)
		abort();
	pool[FD_DIR] = open("/", O_RDONLY | O_CLOEXEC);
	pool[FD_NULL] = open("/dev/null", O_RDWR | O_CLOEXEC);
	atexit(stop);
}

/* Reads what the back end says, so that it does not hang up on us for that. */
static void drain(void)
{
	uint8_t junk[4096];

	while (client.fd >= 0 && recv(client.fd, junk, sizeof(junk), MSG_DONTWAIT) > 0)
		;
}

/* Agreed on at the last handshake, in this harness's opinion. */
static bool iommu;

/* What descriptors hold: guest addresses, or those that ring addresses are, which we take for I/O virtual. */
static uint64_t addresses(void)
{
	return iommu ? VC_USER : VC_GPA;
}

static struct vu_region region(struct input *in)
{
	static const uint64_t sizes[] = { VC_MEM, VC_MEM / 2, 4096, 1 };
	uint8_t how = get8(in);
	uint64_t off = how & 4 ? VC_MEM / 2 : how & 8 ? get16(in) : 0;

	return (struct vu_region){ VC_GPA + off, sizes[how & 3], VC_USER + off, off };
}

/* A payload that fits the request; its size in *len. */
static void template(struct input *in, uint32_t request, union vu_payload *p, uint32_t *len)
{
	uint8_t q = get8(in) % 8;

	memset(p, 0, sizeof(*p));
	*len = 8;
	switch (request) {
	case VU_SET_MEM_TABLE:
		p->table.n = 1 + q % 3;
		for (uint32_t i = 0; i < p->table.n; i++)
			p->table.regions[i] = region(in);
		*len = 8 + p->table.n * 32;
		break;
	case VU_ADD_MEM_REG:
	case VU_REM_MEM_REG:
		p->slot.region = region(in);
		*len = 40;
		break;
	case VU_SET_LOG_BASE:
		p->log.size = get16(in);
		p->log.off = get16(in);
		*len = 16;
		break;
	case VU_GET_INFLIGHT_FD:
	case VU_SET_INFLIGHT_FD:
		/* Where op_memory() writes, too. */
		p->inflight.size = VC_MEM;
		p->inflight.n_queues = q;
		p->inflight.queue_size = (uint16_t)(1u << get8(in) % 17);
		p->inflight.off = VC_BUF + get8(in) * 8u;
		*len = 24;
		break;
	case VU_SET_VRING_ADDR:
		p->addr = vc_addr(q);
		p->addr.flags = get8(in) & 1;
		p->addr.log_guest_addr = VC_GPA + q * VC_RING_STEP + 0x2000;
		*len = sizeof(p->addr);
		break;
	case VU_SET_VRING_NUM:
		p->state = (struct vhost_vring_state){ q, 1u << get8(in) % 17 };
		break;
	case VU_SET_VRING_ENABLE:
		p->state = (struct vhost_vring_state){ q, get8(in) & 1 };
		break;
	case VU_SET_VRING_BASE:
	case VU_GET_VRING_BASE:
		p->state = (struct vhost_vring_state){ q, get8(in) };
		break;
	case VU_SET_FEATURES:
		p->u64 = ((uint64_t)get16(in) << 48 | (uint64_t)get16(in) << 32 | (uint32_t)get16(in) << 16 |
			  get16(in)) & (((struct virtio_dev *)bench.nic->priv)->offered | 3ull << 26 | 1ull << 30 |
			  (iommu ? VU_F_ACCESS_PLATFORM : 0));
		break;
	case VU_SET_PROTOCOL_FEATURES:
		p->u64 = q & 1 ? VU_PROTOCOL_OFFERED : get16(in) & VU_PROTOCOL_OFFERED;
		break;
	case VU_IOTLB_MSG:
		p->iotlb.type = q & 1 ? VHOST_IOTLB_UPDATE : VHOST_IOTLB_INVALIDATE;
		p->iotlb.perm = get8(in) % 4;
		p->iotlb.iova = addresses() + (get8(in) % (VC_MEM / 4096)) * 4096ull;
		p->iotlb.size = (1 + get8(in) % 8) * 4096ull;
		p->iotlb.uaddr = VC_USER + (get8(in) % (VC_MEM / 4096)) * 4096ull;
		*len = sizeof(p->iotlb);
		break;
	case VU_GET_CONFIG:
	case VU_SET_CONFIG:
		p->config.off = get8(in) % 32;
		p->config.size = get8(in) % 32;
		*len = 12 + p->config.size;
		break;
	case VU_SET_VRING_KICK:
	case VU_SET_VRING_CALL:
	case VU_SET_VRING_ERR:
	case VU_SET_STATUS:
	case VU_NET_SET_MTU:
	case VU_SEND_RARP:
		p->u64 = q | (get16(in) & 0x1ff);
		break;
	default:
		*len = 0;
	}
}

static void op_message(struct input *in, uint8_t arg)
{
	uint32_t request = get8(in) % 42, flags = arg & 1 ? VU_NEED_REPLY : 0, len;
	int fds[VU_MAX_FDS], n_fds = get8(in) % 4;
	union vu_payload p;

	template(in, request, &p, &len);
	for (int i = 0; i < n_fds; i++)
		fds[i] = pool[get8(in) % N_FDS];
	if (arg & 2)
		p.raw[get8(in)] ^= get8(in);
	if (arg & 4)
		len = get16(in) % (sizeof(p) + 1);
	if (arg & 8)
		request |= (uint32_t)get16(in) << 16;
	vc_send(&client, request, flags, &p, len, fds, n_fds);
}

static void op_raw(struct input *in, uint8_t arg)
{
	uint8_t buf[64];
	size_t len = get8(in) % sizeof(buf) + 1;

	for (size_t i = 0; i < len; i++)
		buf[i] = get8(in);
	vc_raw(&client, buf, len, pool, arg % (N_FDS + 1));
}

/* Into rings and the buffers behind them. */
static void op_memory(struct input *in, uint8_t arg)
{
	uint32_t off = get16(in) % (ECHO_QUEUES * VC_RING_STEP);

	if (arg & 8)
		off += VC_BUF;
	for (uint32_t i = 0; i <= (arg & 7); i++)
		client.mem[off + i] = get8(in);
}

static void op_offer(struct input *in, uint8_t arg)
{
	uint32_t q = arg % 3;

	vc_offer(&client, q, addresses() + VC_BUF + get16(in), get16(in), q == 0);
	vc_kick(&client, q);
}

static void op_frames(struct input *in, uint8_t arg)
{
	static uint8_t bytes[2000];
	struct iovec iov = { bytes, 14 + get16(in) % 1900 };
	struct twx_frame f[16];

	bytes[0] = get8(in);
	for (int i = 0; i <= arg; i++)
		f[i] = (struct twx_frame){ .iov = &iov, .n_iov = 1, .len = (uint32_t)iov.iov_len };
	(void)twx_port_send(wire, f, arg + 1);
}

/* Behind an IOMMU our front end answers what it is asked, or not, and not always the same. */
static int channel = -1;

static void answer_misses(struct input *in)
{
	uint8_t miss[sizeof(struct vu_header) + sizeof(struct vhost_iotlb_msg)];
	struct vhost_iotlb_msg m;

	for (int i = 0; i < 200 && channel >= 0; i++) {
		uint8_t how;

		if (recv(channel, miss, sizeof(miss), MSG_DONTWAIT) != sizeof(miss))
			break;
		how = get8(in);

		memcpy(&m, miss + sizeof(struct vu_header), sizeof(m));
		m.type = VHOST_IOTLB_UPDATE;
		m.size = 4096;
		m.uaddr = VC_USER + ((m.iova + (how >> 4) * 4096ull) & (VC_MEM - 4096));
		m.perm |= how & 3;
		if (how & 4)
			continue;
		vc_send(&client, VU_IOTLB_MSG, VU_NEED_REPLY, &m, sizeof(m), NULL, 0);
		vbench_pump(&bench);
		drain();
	}
}

/* Rings behind an IOMMU, at addresses that are the front end's otherwise. */
static void handshake_iommu(struct input *in)
{
	int pair[2];

	iommu = true;
	vc_connect(&client);
	if (client.fd < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return;
	/* Like QEMU: the features first. */
	(void)vc_get(&client, VU_GET_FEATURES);
	vc_features(&client);
	(void)vc_ask(&client, VU_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1);
	close(pair[1]);
	if (channel >= 0)
		close(channel);
	channel = pair[0];
	for (int i = 3; vc_step(&client, i); i++)
		;
	answer_misses(in);
}

static void handshake(int steps)
{
	iommu = false;
	vc_connect(&client);
	for (int i = 0; i < steps && vc_step(&client, i); i++)
		;
}

static void run_op(struct input *in)
{
	uint8_t op = get8(in), arg = op >> 4;

	switch (op & 15) {
	case 0:
		op_raw(in, arg);
		break;
	case 1:
		op_memory(in, arg);
		break;
	case 2:
		vc_kick(&client, arg % ECHO_QUEUES);
		break;
	case 3:
		op_offer(in, arg);
		break;
	case 4:
		op_frames(in, arg);
		break;
	case 5:
		if (arg == 15)
			handshake_iommu(in);
		else
			handshake(arg);
		break;
	default:
		op_message(in, arg);
	}
	vbench_pump(&bench);
	drain();
	answer_misses(in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };

	if (bench.net == NULL)
		start();
	handshake(get8(&in) % 16);
	for (int i = 0; i < 200 && in.p < in.end; i++)
		run_op(&in);
	vc_hangup(&client);
	return 0;
}
