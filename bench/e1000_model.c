/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What our e1000 costs per frame, without a guest: the work of e1000_work.c on a fake host, a null
 * sink at the other end, nanoseconds of the model alone. Receive is fed by twx_port_send() in
 * bursts, so no backend is in it; then by the stream backend as QEMU's is in e1000_qtest, and what
 * counts there is the CPU time of the loop.
 *
 * e1000_model -s prints what e1000_qtest prints, for scripts.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../tests/device/fake_guest.h"
#include "bus/pci.h"
#include "e1000_work.h"

#define RDT 0x2818
#define RDH 0x2810
#define RXCSUM 0x5000
#define RX_RING 0x200000u
#define RX_BUF 0x800000u
#define RX_N 4096u
#define RX_BURST 64u
#define ROUNDS 4000u

struct model {
	struct twx_loop *loop;
	struct twx_net *net;
	struct twx_backend *backend;
	struct twx_nic *nic;
	struct pci_dev *pci;
	struct fg_wire *wire;
	struct mem_map mem;
	uint8_t *ram;
	int feed_fd; /* the other end of the stream backend */
	uint64_t cpu;
};

static void die(const char *what)
{
	fprintf(stderr, "e1000_model: %s\n", what);
	exit(1);
}

static void host_intx(struct pci_dev *pci, bool level)
{
}

static void host_message(struct pci_dev *pci, enum pci_irq kind, unsigned int vector, uint64_t addr,
			 uint32_t data)
{
}

static const struct pci_host_ops host_ops = { .intx = host_intx, .message = host_message };

static void model_reg_write(void *opaque, uint32_t off, uint32_t value)
{
	struct model *m = opaque;

	pci_bar_write(m->pci, 0, off, &value, 4);
}

static uint32_t model_reg_read(void *opaque, uint32_t off)
{
	struct model *m = opaque;
	uint32_t value = 0;

	pci_bar_read(m->pci, 0, off, &value, 4);
	return value;
}

static void model_mem_write(void *opaque, uint64_t addr, const void *buf, uint32_t len)
{
	struct model *m = opaque;

	memcpy(m->ram + addr, buf, len);
}

static uint64_t model_now(void *opaque)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint64_t cpu_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void model_idle(void *opaque)
{
	struct model *m = opaque;
	uint64_t from = cpu_now();

	twx_loop_poll(m->loop, 0);
	m->cpu += cpu_now() - from;
}

static uint64_t model_cpu(void *opaque)
{
	return ((struct model *)opaque)->cpu;
}

static void model_feed(void *opaque, const void *buf, uint32_t len)
{
	struct model *m = opaque;
	const char *p = buf;

	while (len) {
		ssize_t n = write(m->feed_fd, p, len);

		if (n < 0 && errno != EAGAIN)
			die("feeding the stream backend");
		if (n < 0) {
			model_idle(m);
			continue;
		}
		p += n;
		len -= (uint32_t)n;
	}
}

/* @feed: the cable goes to a stream backend, whose socket's other end is in m->feed_fd; else to a
 * null sink. */
static void model_plug(struct model *m, bool feed, struct twx_error *e)
{
	char text[64];
	int fds[2];

	if (!feed) {
		if (twx_net_add_backend_type(m->net, &fg_wire_type) < 0 ||
		    twx_backend_new(&m->backend, m->net, "wire,id=w0", e) < 0)
			die(e->what);
		m->wire = *(struct fg_wire **)m->backend->priv;
		m->wire->keep = false;
		return;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
		die("socketpair");
	m->feed_fd = fds[0];
	snprintf(text, sizeof(text), "stream,id=w0,addr.type=fd,addr.str=%d", fds[1]);
	if (twx_backend_new(&m->backend, m->net, text, e) < 0)
		die(e->what);
}

static void model_open(struct model *m, bool feed)
{
	struct twx_net_config config = { .size = sizeof(config) };
	struct twx_error e = { 0 };
	int fd = memfd_create("guest", MFD_CLOEXEC);
	uint32_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

	if (twx_loop_new(&m->loop, NULL) < 0)
		die("no loop");
	config.loop = m->loop;
	if (twx_net_new(&m->net, &config, NULL) < 0)
		die("no net");
	model_plug(m, feed, &e);
	if (twx_nic_new(&m->nic, m->net, "e1000,netdev=w0", &e) < 0)
		die(e.what);
	mem_init(&m->mem);
	if (ftruncate(fd, WORK_MEM) < 0 || mem_add_take(&m->mem, 0, WORK_MEM, 0, fd, 0) < 0)
		die("no memory");
	m->ram = m->mem.regions[0].host;
	m->pci = m->nic->priv;
	pci_attach(m->pci, &host_ops, m, &m->mem);
	pci_config_write(m->pci, PCI_COMMAND, &command, 2);
}

static void model_close(struct model *m)
{
	pci_detach(m->pci);
	if (m->feed_fd)
		close(m->feed_fd);
	twx_net_free(m->net);
	twx_loop_free(m->loop);
	mem_fini(&m->mem);
}

static void report(const char *what, double ns)
{
	printf("%-40s %9.1f ns/frame\n", what, ns);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Bursts until RDH comes around, the driver's part (RDT, the memory) not counted. */
static double receive(struct model *m, const struct twx_frame *frames, unsigned int n)
{
	static uint64_t t[ROUNDS];
	uint64_t addr;

	for (unsigned int i = 0; i < RX_N; i++) {
		addr = RX_BUF + i % 256 * 2048;
		memcpy(m->ram + RX_RING + 16 * i, &addr, 8);
	}
	for (unsigned int r = 0; r < ROUNDS; r++) {
		uint32_t head = model_reg_read(m, RDH);

		model_reg_write(m, RDT, (head + RX_N - 1) % RX_N);
		t[r] = model_now(m);
		if (twx_port_send(m->wire->port, frames, (int)n) != (int)n)
			die("a frame was refused");
		t[r] = model_now(m) - t[r];
	}
	qsort(t, ROUNDS, sizeof(t[0]), compare);
	return (double)t[ROUNDS / 2] / n;
}

/* A TCP segment to our MAC. */
static void tcp_frame(uint8_t *f, uint32_t len)
{
	memset(f, 0x5a, len);
	memcpy(f, "\x52\x54\0\x12\x34\x56\x02\0\0\0\0\x01\x08\0", 14);
	memcpy(f + 14, "\x45\0\0\0\0\0\x40\0\x40\x06\0\0\x0a\0\x02\x02\x0a\0\x02\x0f", 20);
	f[16] = (uint8_t)((len - 14) >> 8);
	f[17] = (uint8_t)(len - 14);
	f[46] = 0x50;
}

static void run_receive(struct model *m, const struct work_drive *d)
{
	static uint8_t data[66000];
	struct iovec iov = { data, 60 };
	struct twx_frame frames[RX_BURST];
	static const struct {
		const char *what;
		uint32_t len, rxcsum;
		struct twx_meta meta;
	} all[] = {
		{ "receive, 60 B", 60, 0, { 0 } },
		{ "receive, 1514 B", 1514, 0, { 0 } },
		{ "receive, 1514 B, checksum verified", 1514, 0x300, { 0 } },
		{ "receive, 1514 B, checksum made",
		  1514,
		  0x300,
		  { .flags = TWX_F_NEEDS_CSUM, .csum_start = 34, .csum_off = 16 } },
	};
	struct twx_meta gso = { .flags = TWX_F_NEEDS_CSUM,
				.gso = TWX_GSO_TCPV4,
				.gso_size = 1448,
				.csum_start = 34,
				.csum_off = 16 };
	double ns;

	work_setup(d, true);
	for (unsigned int i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		tcp_frame(data, all[i].len);
		iov.iov_len = all[i].len;
		for (unsigned int k = 0; k < RX_BURST; k++)
			frames[k] = (struct twx_frame){ &iov, 1, all[i].len, all[i].meta };
		model_reg_write(m, RXCSUM, all[i].rxcsum);
		report(all[i].what, receive(m, frames, RX_BURST));
	}
	tcp_frame(data, 54 + 45 * 1448);
	iov.iov_len = 54 + 45 * 1448;
	frames[0] = (struct twx_frame){ &iov, 1, 54 + 45 * 1448, gso };
	ns = receive(m, frames, 1);
	report("receive, 64 KiB cut in the core", ns);
	report("  per segment", ns / 45);
}

static void run_table(struct model *m, const struct work_drive *d)
{
	report("transmit, 60 B", work_run(d, WORK_TX_60, ROUNDS).ns);
	report("transmit, 1514 B", work_run(d, WORK_TX_1514, ROUNDS).ns);
	twx_port_set_caps(m->wire->port,
			  (struct twx_caps){ .flags = TWX_CAP_CSUM | TWX_CAP_TSO4 | TWX_CAP_TSO6 });
	report("transmit, 64 KiB TSO, handed on whole", work_run(d, WORK_TSO, ROUNDS / 4).ns);
	twx_port_set_caps(m->wire->port, (struct twx_caps){ 0 });
	report("transmit, 64 KiB TSO, cut in the core", work_run(d, WORK_TSO, ROUNDS / 4).ns);
	run_receive(m, d);
}

/* The lines of e1000_qtest; the TSO frame is cut, as there, and once more handed on whole. */
static void run_script(struct model *m, const struct work_drive *d, bool feed)
{
	if (!feed)
		twx_port_set_caps(m->wire->port, (struct twx_caps){ 0 });
	for (int k = feed ? WORK_RX_60 : WORK_TX_60; k < (feed ? WORK_N : WORK_RX_60); k++)
		printf("%s\t%.1f\n", work_names[k], work_run(d, (enum work_kind)k, 400).ns);
	if (feed)
		return;
	twx_port_set_caps(m->wire->port,
			  (struct twx_caps){ .flags = TWX_CAP_CSUM | TWX_CAP_TSO4 | TWX_CAP_TSO6 });
	printf("%s, whole\t%.1f\n", work_names[WORK_TSO], work_run(d, WORK_TSO, 400).ns);
}

int main(int argc, char **argv)
{
	bool script = argc > 1 && !strcmp(argv[1], "-s");

	for (int feed = 0; feed < 2; feed++) {
		struct model m = { 0 };
		const struct work_drive d = {
			.opaque = &m,
			.reg_write = model_reg_write,
			.reg_read = model_reg_read,
			.mem_write = model_mem_write,
			.feed = model_feed,
			.idle = model_idle,
			.now = model_now,
			.cpu = model_cpu,
		};

		model_open(&m, feed);
		work_setup(&d, feed);
		if (script) {
			run_script(&m, &d, feed);
		} else if (!feed) {
			run_table(&m, &d);
		} else {
			report("receive from a stream, 60 B", work_run(&d, WORK_RX_60, 400).ns);
			report("receive from a stream, 1514 B", work_run(&d, WORK_RX_1514, 400).ns);
		}
		model_close(&m);
	}
	return 0;
}
