/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile client against the vfio-user server: the input is a program of messages, raw bytes, DMA
 * answers, writes to shared memory, eventfds, frames from the other end and reconnections.
 *
 * The first byte chooses who is behind the server: a small test device without or with DMA by
 * message, or an e1000. Then one byte an operation: low four bits the kind, high four an argument;
 * more arguments follow. Messages start from payloads that make sense and are then bent by what
 * follows in the input.
 *
 * Client and server are one thread. Where the server waits for an answer that was not sent before,
 * the clock jumps: a deadline costs no time.
 */
#include "../protocol/vfio_client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"

/* Time as the library sees it. */

static uint64_t skipped_ns;

int clock_gettime(clockid_t clock, struct timespec *t)
{
	int rc = (int)syscall(SYS_clock_gettime, clock, t);
	uint64_t ns = (uint64_t)t->tv_nsec + skipped_ns;

	t->tv_sec += (time_t)(ns / 1000000000);
	t->tv_nsec = (long)(ns % 1000000000);
	return rc;
}

/* What the client says as soon as the server waits for it. */
#define N_SAID 8
static struct {
	int fd;
	uint32_t len;
	uint8_t bytes[600];
} said[N_SAID];
static uint32_t n_said, i_said;

int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	struct timespec now = { 0, 0 };
	int rc;

	if (i_said < n_said) {
		(void)!send(said[i_said].fd, said[i_said].bytes, said[i_said].len,
			    MSG_NOSIGNAL | MSG_DONTWAIT);
		i_said++;
	}
	rc = (int)syscall(SYS_ppoll, fds, n, &now, mask, 8);
	if (rc == 0 && timeout != NULL)
		skipped_ns += (uint64_t)timeout->tv_sec * 1000000000 + (uint64_t)timeout->tv_nsec;
	return rc;
}

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

static uint32_t get32(struct input *in)
{
	uint32_t lo = get16(in);

	return lo | (uint32_t)get16(in) << 16;
}

/* Numbers near where something ends. */
static uint64_t get_edge(struct input *in)
{
	static const uint64_t edges[] = {
		0,
		1,
		4,
		0x1000,
		EP_BAR0,
		VFC_ADDR,
		VFC_ADDR + VFC_MEM,
		0x80000000,
		UINT32_MAX,
		1ull << 32,
		1ull << 40,
		1ull << 44,
		1ull << 63,
		UINT64_MAX,
		256,
		0x20000,
	};
	uint8_t b = get8(in);

	return edges[b & 15] + (uint64_t)(int64_t)((int8_t)b >> 4);
}

/* The other end of the cable. */

static struct twx_port *wire;

static int wire_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	(void)port;
	(void)frames;
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
	.name = "wire",
	.help = "drops",
	.options = no_options,
	.port_ops = &wire_ops,
	.priv_size = 1,
	.open = wire_open,
	.close = wire_close,
};

/* Started once; each input is one or more connections. */

enum { PLAIN, MESSAGES, E1000, N_SERVERS };
static struct vbench benches[N_SERVERS];
static struct vfc clients[N_SERVERS];
static struct vfc *c;
enum { FD_MEM, FD_EVENT, FD_EVENT2, FD_SOCKET, FD_PIPE, FD_SMALL, FD_DIR, FD_RDONLY, N_FDS };
static int pool[N_FDS];
static uint16_t next_dma; /* the id that the server's next request will have */

static void stop(void)
{
	for (int i = 0; i < N_SERVERS; i++) {
		vfc_fini(&clients[i]);
		vbench_close(&benches[i]);
	}
	for (int i = 1; i < N_FDS; i++)
		close(pool[i]);
}

static void start_e1000(struct vbench *b)
{
	struct twx_backend *backend;
	char text[200];

	if (vbench_open_net(b) < 0 || twx_net_add_backend_type(b->net, &wire_type) < 0 ||
	    twx_backend_new(&backend, b->net, "wire,id=n0", &b->e) < 0)
		abort();
	snprintf(text, sizeof(text), "e1000,netdev=n0,export=vfio-user:%s", b->path);
	if (twx_nic_new(&b->nic, b->net, text, &b->e) < 0)
		abort();
}

static void start(void)
{
	int ends[2];

	if (vfbench_open(&benches[PLAIN], NULL) < 0 ||
	    vfbench_open(&benches[MESSAGES], "dma-messages=on") < 0)
		abort();
	start_e1000(&benches[E1000]);
	for (int i = 0; i < N_SERVERS; i++)
		vfc_init(&clients[i], &benches[i]);
	pool[FD_EVENT] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	pool[FD_EVENT2] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		abort();
	close(ends[0]);
	pool[FD_SOCKET] = ends[1];
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		abort();
	close(ends[0]);
	pool[FD_PIPE] = ends[1];
	pool[FD_SMALL] = memfd_create("small", MFD_CLOEXEC);
	if (ftruncate(pool[FD_SMALL], 5000) < 0)
		abort();
	pool[FD_DIR] = open("/", O_RDONLY | O_CLOEXEC);
	pool[FD_RDONLY] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	atexit(stop);
}

/* Reads what the server says, so that it does not hang up on us for that. */
static void drain(void)
{
	static uint8_t junk[65536];

	while (c->fd >= 0 && recv(c->fd, junk, sizeof(junk), MSG_DONTWAIT) > 0)
		;
}

static void put(uint8_t *p, uint32_t *len, const void *what, uint32_t n)
{
	memcpy(p + *len, what, n);
	*len += n;
}

static void rw_payload(struct input *in, uint16_t command, uint8_t *p, uint32_t *len)
{
	struct vfu_region_rw rw = { .region = get8(in) % 10, .count = 1u << get8(in) % 4 };
	uint8_t how = get8(in);
	uint64_t value = get32(in);

	rw.off = how & 1 ? get_edge(in) : get16(in);
	if (how & 2)
		rw.count = (uint32_t)get_edge(in);
	put(p, len, &rw, sizeof(rw));
	if (command == VFU_REGION_WRITE)
		put(p, len, &value, rw.count <= 8 ? rw.count : 8);
}

static void feature_payload(struct input *in, uint8_t *p, uint32_t *len)
{
	static const uint8_t numbers[] = { 1, 2, 6, 7, 8, 0, 3, 2 };
	uint8_t how = get8(in);
	uint32_t number = numbers[how & 7], flags = (uint32_t)(how >> 3 & 7) << 16;
	struct vfu_feature f = { how & 64 ? (uint32_t)get_edge(in) : 4096, number | flags };
	struct vfio_device_feature_mig_state s = { get8(in) % 8, -1 };
	uint64_t log[6] = { 4096, 0, get_edge(in), get_edge(in), 0, 0 };
	uint64_t report[3] = { VFC_ADDR, VFC_MEM, 4096 };

	put(p, len, &f, sizeof(f));
	if (number == 2 && (flags >> 16 & 2))
		put(p, len, &s, sizeof(s));
	if (number == 6) {
		log[1] = how & 128;
		put(p, len, log, how & 128 ? 32 : 16);
		if (how & 128)
			memcpy(p + 16, "\1\0\0\0", 4);
	}
	if (number == 8) {
		if (how & 128)
			report[0] = get_edge(in), report[1] = get_edge(in),
			report[2] = get_edge(in);
		put(p, len, report, sizeof(report));
	}
}

static void version_payload(struct input *in, uint8_t *p, uint32_t *len)
{
	static const char *const texts[] = {
		"{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":1048576}}",
		"{\"capabilities\":{\"migration\":{\"pgsize\":4096,\"max_bitmap_size\":1}}}",
		"{\"capabilities\":{\"write_multiple\":true,\"twin_socket\":{}}}",
		"{\"capabilities\":[]}",
		"{}",
		"[",
		"{\"capabilities\":{\"max_dma_maps\":-1}}",
		"{\"capabilities\":{\"pgsizes\":\"x\",\"write_multiple\":3}}",
	};
	struct vfu_version v = { 0, 0 };
	const char *text = texts[get8(in) % 8];

	put(p, len, &v, sizeof(v));
	put(p, len, text, (uint32_t)strlen(text) + 1);
}

/* A payload that fits the command. */
static void template(struct input *in, uint16_t command, uint8_t *p, uint32_t *len)
{
	static const uint32_t kinds[] = { 1, 2, 4 }, actions[] = { 8, 16, 32 };
	uint32_t w[8] = { 64, 0, 0, 0, 0, 0, 0, 0 };
	uint8_t how;

	*len = 0;
	switch (command) {
	case VFU_VERSION:
		version_payload(in, p, len);
		break;
	case VFU_DMA_MAP: {
		struct vfu_dma_map m = { 32, get8(in) & 3, get_edge(in), get_edge(in) & ~4095ull,
					 get_edge(in) & ~4095ull };
		put(p, len, &m, sizeof(m));
		break;
	}
	case VFU_DMA_UNMAP: {
		struct vfu_dma_unmap m = { 24, get8(in) & 3, get_edge(in), get_edge(in) };

		if (get8(in) & 1)
			m.addr = VFC_ADDR, m.size = VFC_MEM, m.flags = 0;
		put(p, len, &m, sizeof(m));
		break;
	}
	case VFU_DEVICE_GET_REGION_INFO:
		w[2] = get8(in) % 10;
		put(p, len, w, 32);
		break;
	case VFU_DEVICE_GET_INFO:
	case VFU_DEVICE_GET_REGION_IO_FDS:
	case VFU_DEVICE_GET_IRQ_INFO:
		w[2] = get8(in) % 10;
		if (command == VFU_DEVICE_GET_INFO)
			w[2] = 0;
		put(p, len, w, 16);
		break;
	case VFU_DEVICE_SET_IRQS:
		how = get8(in);
		w[0] = 20;
		w[1] = kinds[how % 3] | actions[how / 3 % 3];
		w[2] = get8(in) % 6;
		w[3] = get8(in) % 3;
		w[4] = get8(in) % 5;
		if (how & 128)
			w[3] = (uint32_t)get_edge(in), w[4] = (uint32_t)get_edge(in);
		put(p, len, w, 20);
		if (w[1] & 2) {
			put(p, len, "\1\0\1\1", 4);
			memcpy(p, "\x18\0\0\0", 4);
		}
		break;
	case VFU_REGION_READ:
	case VFU_REGION_WRITE:
		rw_payload(in, command, p, len);
		break;
	case VFU_REGION_WRITE_MULTI: {
		uint64_t n = get8(in) % 4;

		put(p, len, &n, sizeof(n));
		for (uint64_t i = 0; i < n; i++) {
			uint32_t at = *len;

			rw_payload(in, VFU_REGION_READ, p, len);
			*len = at + 16;
			put(p, len, "\1\2\3\4\5\6\7\x8", 8);
		}
		break;
	}
	case VFU_DEVICE_FEATURE:
		feature_payload(in, p, len);
		break;
	case VFU_MIG_DATA_READ:
		w[1] = get16(in);
		w[0] = w[1] + 8;
		put(p, len, w, 8);
		break;
	case VFU_MIG_DATA_WRITE:
		w[1] = get8(in);
		w[0] = w[1] + 8;
		put(p, len, w, 8);
		for (uint32_t i = 0; i < w[1]; i++)
			p[(*len)++] = get8(in);
		break;
	}
}

static void op_message(struct input *in, uint8_t arg)
{
	uint16_t command = get8(in) % 20;
	uint8_t many = get8(in), p[8192] = { 0 };
	int fds[VFU_MAX_FDS + 1], n_fds = many & 0x80 ? many % (VFU_MAX_FDS + 2) : many % 4 == 3;
	uint32_t len;

	template(in, command, p, &len);
	for (int i = 0; i < n_fds; i++)
		fds[i] = many & 0x40 ? pool[FD_EVENT] : pool[get8(in) % N_FDS];
	if (arg & 2)
		p[get8(in)] ^= get8(in);
	if (arg & 4)
		len = get16(in) % sizeof(p);
	if (arg & 8)
		command |= (uint16_t)(get8(in) << 8);
	vfc_send(c, command, arg & 1 ? VFU_NO_REPLY : 0, p, len, fds, n_fds);
}

/* For when the device is told to move something: an answer, with requests in front of it. */
static void op_answer(struct input *in, uint8_t arg)
{
	struct {
		struct vfu_header h;
		struct vfu_dma_rw rw;
		uint8_t data[256];
	} m = { { next_dma, arg & 1 ? VFU_DMA_WRITE : VFU_DMA_READ, 32, VFU_TYPE_REPLY, 0 },
		{ 0x80000000, get8(in) },
		{ 1, 2, 3 } };
	const struct vfu_header before = { 1, VFU_DEVICE_RESET, 16, 0, 0 };
	uint32_t at = n_said % N_SAID;

	if (!(arg & 1))
		m.h.size = (uint32_t)(32 + m.rw.count);
	if (arg & 2)
		m.h.id = get8(in);
	if (arg & 4)
		m.h.flags |= VFU_ERROR;
	if (n_said == N_SAID)
		return;
	said[at].fd = c->fd;
	said[at].len = 0;
	if (arg & 8) {
		memcpy(said[at].bytes, &before, sizeof(before));
		said[at].len = sizeof(before);
		m.h.size = m.h.size + get8(in) % 8;
	}
	memcpy(said[at].bytes + said[at].len, &m, m.h.size < sizeof(m) ? m.h.size : sizeof(m));
	said[at].len += m.h.size;
	next_dma++;
	n_said++;
}

/* Registers, and the device's DMA engine set off. */
static void op_device(struct input *in, uint8_t arg)
{
	vfc_post(c, 0, EP_ADDR_LO, arg & 1 ? 0x80000000 : (uint32_t)VFC_ADDR + get16(in));
	vfc_post(c, 0, EP_LEN, arg & 2 ? get16(in) : get8(in));
	vfc_post(c, 0, EP_DMA, 1 + (arg >> 2 & 1));
	vfc_post(c, 0, EP_INTX, arg >> 3);
	vfc_post(c, 0, EP_VECTOR, arg & 3);
}

static void op_raw(struct input *in, uint8_t arg)
{
	struct vc raw = { .fd = c->fd };
	uint8_t buf[64];
	size_t len = get8(in) % sizeof(buf) + 1;

	for (size_t i = 0; i < len; i++)
		buf[i] = get8(in);
	vc_raw(&raw, buf, len, pool, arg % (N_FDS + 1));
}

static void op_memory(struct input *in, uint8_t arg)
{
	uint32_t off = get16(in);

	for (uint32_t i = 0; i <= arg; i++)
		c->mem[off + i] = get8(in);
}

static void op_frames(struct input *in, uint8_t arg)
{
	static uint8_t bytes[2000];
	struct iovec iov = { bytes, 14 + get16(in) % 1900 };
	struct twx_frame f = { .iov = &iov, .n_iov = 1, .len = (uint32_t)iov.iov_len };

	bytes[0] = arg;
	(void)twx_port_send(wire, &f, 1);
}

static void begin(uint8_t how)
{
	n_said = i_said = 0;
	vfc_connect(c);
	next_dma = ((struct vfu_host *)c->b->nic->host->priv)->dma_id + 1;
	if (how & 1)
		(void)vfc_version(c, 0, 0, NULL);
	if (how & 2)
		(void)vfc_map(c, VFC_ADDR, VFC_MEM, 0, VFC_RW, c->memfd);
	if (how & 4) {
		uint16_t command = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

		(void)vfc_rw(c, true, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2);
	}
	if (how & 8)
		(void)vfc_map(c, 0x80000000, 0x10000, 0, VFC_RW, -1);
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
		op_answer(in, arg);
		break;
	case 3:
		op_device(in, arg);
		break;
	case 4:
		op_frames(in, arg);
		break;
	case 5:
		begin(arg);
		break;
	case 6:
		(void)!eventfd_write(pool[FD_EVENT], 1);
		break;
	case 7:
		op_message(in, arg);
		return; /* several at once */
	default:
		op_message(in, arg);
	}
	vbench_pump(c->b);
	drain();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	uint8_t first;

	if (benches[0].net == NULL)
		start();
	first = get8(&in);
	c = &clients[first % N_SERVERS];
	pool[FD_MEM] = c->memfd;
	begin(first >> 4);
	for (int i = 0; i < 100 && in.p < in.end; i++)
		run_op(&in);
	vbench_pump(c->b);
	vfc_hangup(c);
	memset(c->mem, 0, 65536 + 16);
	return 0;
}
