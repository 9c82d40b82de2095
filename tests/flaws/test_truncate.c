/* SPDX-License-Identifier: BSD-3-Clause */
/* A front end truncates the memory that it shares: it loses its connection, its neighbour nothing.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <cmocka.h>

#include "vhost_client.h"

#define HDR 12 /* virtio-net header, VERSION_1 */

/* Where vhost_client puts things, as offsets in the file. */
#define RX_USED 0x2000u
#define TX_AVAIL 0x5000u
#define LOW_BUF 0x800u	 /* behind the descriptors of queue 0, in their page */
#define LOW_PAGE 0x3000u /* between the rings of queues 0 and 1 */
#define SPARE_PAGE 0xc000u
#define TOP_BUF VC_BUF
#define GPA(off) (VC_GPA + (off))

/* The other end of a cable. */
struct wire {
	struct twx_port *port;
	unsigned int frames;
	uint32_t len;
	uint8_t data[4096];
};

static int wire_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	struct wire *w = ((struct twx_backend *)port->owner)->priv;

	for (int i = 0; i < n; i++) {
		uint32_t at = 0;

		w->frames++;
		w->len = frames[i].len;
		assert_true(w->len <= sizeof(w->data));
		for (uint32_t k = 0; k < frames[i].n_iov; k++) {
			memcpy(w->data + at, frames[i].iov[k].iov_base, frames[i].iov[k].iov_len);
			at += (uint32_t)frames[i].iov[k].iov_len;
		}
	}
	return n;
}

static int wire_open(struct twx_backend *b, const struct twx_opts *opts, struct twx_error *e)
{
	struct wire *w = b->priv;

	(void)opts;
	w->port = twx_backend_add_port(b, e);
	return w->port != NULL ? 0 : -1;
}

static void wire_close(struct twx_backend *b)
{
	(void)b;
}

static const struct twx_port_ops wire_ops = { .receive = wire_receive };
static const struct twx_opt_desc no_options[] = { { NULL } };
static const struct twx_backend_type wire_type = {
	.name = "wire",
	.help = "keeps the last frame",
	.options = no_options,
	.port_ops = &wire_ops,
	.priv_size = sizeof(struct wire),
	.open = wire_open,
	.close = wire_close,
};

/* One network with two NICs, each with a front end and a wire of its own. */
struct side {
	struct vbench *bench;
	struct vc vc;
	struct wire *wire;
};
static struct vbench bench, bench2; /* bench2: the same network, another socket */
static struct side victim = { .bench = &bench }, neighbour = { .bench = &bench2 };

/* As the program's. */
static volatile sig_atomic_t n_faults;

static void fault(int sig, siginfo_t *si, void *context)
{
	(void)context;
	if (si->si_code > 0 && twx_net_fault(bench.net, si->si_addr)) {
		n_faults++;
		return;
	}
	signal(sig, SIG_DFL);
}

/* cmocka has a handler of its own, which it puts back around each test. */
static void catch_faults(void)
{
	struct sigaction sa = { .sa_sigaction = fault, .sa_flags = SA_SIGINFO | SA_NODEFER };

	assert_int_equal(sigaction(SIGBUS, &sa, NULL), 0);
}

static void open_side(struct side *s, const char *nic, const char *netdev)
{
	struct twx_backend *b;
	char text[256];

	snprintf(text, sizeof(text), "wire,id=%s", netdev);
	if (twx_backend_new(&b, s->bench->net, text, &bench.e) < 0)
		fail_msg("%s", bench.e.what);
	s->wire = b->priv;
	snprintf(text, sizeof(text), "virtio-net,id=%s,netdev=%s,export=vhost-user:%s", nic, netdev,
		 s->bench->path);
	if (twx_nic_new(&s->bench->nic, s->bench->net, text, &bench.e) < 0)
		fail_msg("%s", bench.e.what);
	vc_init(&s->vc, s->bench);
	vc_handshake(&s->vc);
}

static int open_both(void **state)
{
	(void)state;
	if (vbench_open_net(&bench) < 0 || twx_net_add_backend_type(bench.net, &wire_type) < 0)
		fail_msg("%s", bench.e.what);
	bench2 = bench;
	strcat(bench2.path, "2");
	open_side(&victim, "nic0", "n0");
	open_side(&neighbour, "nic1", "n1");
	bench.log[0] = '\0';
	n_faults = 0;
	return 0;
}

/* The front end's own view of its memory, made anew: what it shared before stays truncated. */
static void fresh_memory(struct side *s)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, VC_MEM), 0);
	assert_ptr_equal(
		mmap(s->vc.mem, VC_MEM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0),
		s->vc.mem);
	close(s->vc.memfd);
	s->vc.memfd = fd;
}

static int close_both(void **state)
{
	(void)state;
	catch_faults();
	fresh_memory(&victim);
	fresh_memory(&neighbour);
	vc_fini(&victim.vc);
	vc_fini(&neighbour.vc);
	vbench_close(&bench);
	return 0;
}

static void cut(struct side *s, uint32_t len)
{
	assert_int_equal(ftruncate(s->vc.memfd, len), 0);
}

/* A frame to the guest, the way of a backend that copies; the loop does not run. */
static void send_one(struct side *s)
{
	uint8_t data[300] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1 };
	struct iovec iov = { data, sizeof(data) };
	struct twx_frame f = { .iov = &iov, .n_iov = 1, .len = sizeof(data) };

	memset(data + 12, 0x77, sizeof(data) - 12);
	assert_int_equal(twx_port_send(s->wire->port, &f, 1), 1);
}

static void wire_send(struct side *s)
{
	send_one(s);
	vbench_pump(s->bench);
}

static void put_frame(struct side *s, uint32_t off, uint32_t len)
{
	memset(s->vc.mem + off, 0, HDR);
	memset(s->vc.mem + off + HDR, 0x55, len);
}

static void offer_tx(struct side *s, uint32_t off, uint32_t len)
{
	put_frame(s, off, len);
	vc_offer(&s->vc, 1, GPA(off), HDR + len, false);
}

static void offer_rx(struct side *s, uint32_t off)
{
	vc_offer(&s->vc, 0, GPA(off), 2048, true);
}

static void assert_passes(struct side *s)
{
	unsigned int before = s->wire->frames;
	uint32_t len = 0;

	while (vc_used(&s->vc, 0, NULL) || vc_used(&s->vc, 1, NULL))
		;
	offer_tx(s, TOP_BUF + 0x8000, 600);
	vc_kick(&s->vc, 1);
	assert_int_equal(s->wire->frames, before + 1);
	assert_int_equal(s->wire->len, 600);
	assert_memory_equal(s->wire->data, s->vc.mem + TOP_BUF + 0x8000 + HDR, 600);
	assert_true(vc_used(&s->vc, 1, NULL));
	offer_rx(s, TOP_BUF + 0x9000);
	vc_kick(&s->vc, 0);
	wire_send(s);
	assert_true(vc_used(&s->vc, 0, &len));
	assert_int_equal(len, HDR + 300);
	assert_int_equal(s->vc.mem[TOP_BUF + 0x9000 + HDR + 299], 0x77);
}

static unsigned int lines_with(const char *text)
{
	unsigned int n = 0;

	for (const char *at = bench.log; (at = strstr(at, text)) != NULL; at++)
		n++;
	return n;
}

/* The connection is gone, one line says whose and why; the next one works, and all along the other.
 */
static void assert_lost(struct side *s)
{
	char who[64];

	vbench_pump(s->bench);
	assert_false(vc_alive(&s->vc));
	snprintf(who, sizeof(who), "front end pid %d (", (int)getpid());
	if (lines_with("\n") != 1 || lines_with(who) != 1 ||
	    lines_with("the memory that it shares is gone") != 1)
		fail_msg("the log says: %s", bench.log);
	assert_passes(&neighbour);
	fresh_memory(s);
	vc_handshake(&s->vc);
	assert_passes(s);
	assert_passes(&neighbour);
}

/* Ring indices, by atomic access. */
static void test_avail(void **state)
{
	(void)state;
	catch_faults();
	assert_passes(&victim);
	offer_tx(&victim, LOW_PAGE, 100);
	cut(&victim, TX_AVAIL);
	vc_kick(&victim.vc, 1);
	assert_int_equal(n_faults, 1);
	assert_lost(&victim);
}

static void test_used(void **state)
{
	(void)state;
	catch_faults();
	offer_rx(&victim, LOW_BUF);
	vc_kick(&victim.vc, 0);
	cut(&victim, RX_USED);
	wire_send(&victim);
	assert_int_equal(n_faults, 1);
	assert_lost(&victim);
}

/* What a ring start reads first, in the middle of a message. */
static void test_start(void **state)
{
	(void)state;
	catch_faults();
	vc_connect(&victim.vc);
	for (int i = 0; i < 6; i++)
		assert_true(vc_step(&victim.vc, i));
	cut(&victim, 0);
	bench.log[0] = '\0';
	vc_step(&victim.vc, 6);
	vc_step(&victim.vc, 7);
	assert_int_equal(n_faults, 1);
	assert_lost(&victim);
}

static void test_indirect(void **state)
{
	(void)state;
	catch_faults();
	vc_offer_table(&victim.vc, 1, GPA(TOP_BUF), 4);
	cut(&victim, TOP_BUF);
	vc_kick(&victim.vc, 1);
	assert_int_equal(n_faults, 1);
	assert_int_equal(victim.wire->frames, 0);
	assert_lost(&victim);
}

/* The header and first bytes of a frame from the guest: it does not leave. */
static void test_tx_head(void **state)
{
	(void)state;
	catch_faults();
	offer_tx(&victim, LOW_PAGE, 100);
	offer_tx(&victim, TOP_BUF, 1000);
	offer_tx(&victim, LOW_PAGE, 100);
	cut(&victim, TOP_BUF);
	vc_kick(&victim.vc, 1);
	assert_int_equal(n_faults, 1);
	assert_int_equal(victim.wire->frames, 0);
	assert_lost(&victim);
}

/* The rest of a frame, which the backend copies. */
static void test_tx_payload(void **state)
{
	const struct vring_desc d[2] = { { GPA(LOW_PAGE), HDR + 300, VRING_DESC_F_NEXT, 1 },
					 { GPA(TOP_BUF), 1000, 0, 0 } };

	(void)state;
	catch_faults();
	put_frame(&victim, LOW_PAGE, 300);
	memcpy(victim.vc.mem + SPARE_PAGE, d, sizeof(d));
	vc_offer_table(&victim.vc, 1, GPA(SPARE_PAGE), 2);
	cut(&victim, TOP_BUF);
	vc_kick(&victim.vc, 1);
	assert_int_equal(n_faults, 1);
	assert_int_equal(victim.wire->frames, 1);
	assert_int_equal(victim.wire->data[299], 0x55);
	assert_int_equal(victim.wire->data[300], 0);
	assert_lost(&victim);
}

static void test_rx_copy(void **state)
{
	(void)state;
	catch_faults();
	for (uint32_t i = 0; i < 8; i++)
		offer_rx(&victim, TOP_BUF + i * 4096);
	vc_kick(&victim.vc, 0);
	cut(&victim, TOP_BUF);
	for (int i = 0; i < 4; i++)
		send_one(&victim);
	assert_int_equal(n_faults, 1);
	assert_lost(&victim);
}

/* Buffers that are lent: filled by us, and the header that follows. */
static void test_lease(void **state)
{
	static const struct twx_meta plain;
	struct twx_lease lease;

	(void)state;
	catch_faults();
	offer_rx(&victim, TOP_BUF);
	vc_kick(&victim.vc, 0);
	assert_int_equal(twx_port_reserve(victim.wire->port, 64, 1000, &lease), 0);
	cut(&victim, TOP_BUF);
	memset(lease.iov[0].iov_base, 1, 64);
	twx_port_commit(victim.wire->port, &lease, 64, &plain);
	assert_int_equal(n_faults, 1);
	assert_lost(&victim);
}

static void test_lease_commit(void **state)
{
	static const struct twx_meta plain;
	struct twx_lease lease;

	(void)state;
	catch_faults();
	offer_rx(&victim, TOP_BUF);
	vc_kick(&victim.vc, 0);
	assert_int_equal(twx_port_reserve(victim.wire->port, 64, 1000, &lease), 0);
	cut(&victim, TOP_BUF);
	twx_port_commit(victim.wire->port, &lease, 64, &plain);
	assert_int_equal(n_faults, 1);
	assert_lost(&victim);
}

/* The dirty log, whose memory is a file of its own: guest memory stays whole. */
static void lose_log(int fd, uint64_t off)
{
	union vu_payload p = { .log = { 4096, off } };
	struct vhost_vring_addr a = vc_addr(0);

	vc_send(&victim.vc, VU_SET_LOG_BASE, 0, &p, 16, &fd, 1);
	assert_int_equal(vc_reply(&victim.vc), 1);
	assert_int_equal(vc_ask_u64(&victim.vc, VU_SET_FEATURES,
				    vc_get(&victim.vc, VU_GET_FEATURES) | VU_F_LOG_ALL),
			 0);
	a.flags = VU_BIT(VHOST_VRING_F_LOG);
	a.log_guest_addr = GPA(RX_USED);
	assert_int_equal(vc_ask(&victim.vc, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	assert_passes(&victim);
	offer_rx(&victim, TOP_BUF);
	vc_kick(&victim.vc, 0);
	assert_int_equal(n_faults, 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	wire_send(&victim);
	assert_int_equal(n_faults, 1);
	assert_lost(&victim);
	close(fd);
}

static void test_log(void **state)
{
	int fd = memfd_create("log", MFD_CLOEXEC);

	(void)state;
	catch_faults();
	assert_int_equal(ftruncate(fd, 8192), 0);
	lose_log(fd, 4096);
}

/* The inflight area, which the front end made itself: one of ours cannot be cut. */
static void test_inflight_area(void **state)
{
	union vu_payload p = { .inflight = { 2 * 1088, 0, 2, VC_NUM } };
	int fd = memfd_create("inflight", MFD_CLOEXEC);

	(void)state;
	catch_faults();
	assert_int_equal(ftruncate(fd, 8192), 0);
	assert_int_equal(vc_ask(&victim.vc, VU_SET_INFLIGHT_FD, &p, 24, &fd, 1), 0);
	assert_passes(&victim);
	offer_rx(&victim, TOP_BUF);
	vc_kick(&victim.vc, 0);
	assert_int_equal(n_faults, 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	wire_send(&victim);
	assert_int_equal(n_faults, 1);
	assert_lost(&victim);
	close(fd);
}

/* A buffer in one region, the used ring in the other; then everything. */
static void test_several(void **state)
{
	(void)state;
	catch_faults();
	for (uint32_t i = 0; i < 8; i++)
		offer_rx(&victim, TOP_BUF + i * 4096);
	vc_kick(&victim.vc, 0);
	cut(&victim, RX_USED);
	wire_send(&victim);
	assert_int_equal(n_faults, 2);
	assert_lost(&victim);
	for (int i = 0; i < 20; i++) {
		offer_tx(&victim, TOP_BUF, 1000);
		cut(&victim, 0);
		vc_kick(&victim.vc, 1);
		assert_false(vc_alive(&victim.vc));
		fresh_memory(&victim);
		vc_handshake(&victim.vc);
		assert_passes(&victim);
		assert_passes(&neighbour);
	}
}

/* Both front ends in one round. */
static void test_both(void **state)
{
	uint64_t one = 1;

	(void)state;
	catch_faults();
	offer_tx(&victim, TOP_BUF, 100);
	offer_tx(&neighbour, TOP_BUF, 100);
	cut(&victim, 0);
	cut(&neighbour, 0);
	assert_int_equal(write(victim.vc.q[1].kick, &one, sizeof(one)), sizeof(one));
	assert_int_equal(write(neighbour.vc.q[1].kick, &one, sizeof(one)), sizeof(one));
	vbench_pump(&bench);
	assert_false(vc_alive(&victim.vc));
	assert_false(vc_alive(&neighbour.vc));
	assert_int_equal(lines_with("the memory that it shares is gone"), 2);
	fresh_memory(&victim);
	fresh_memory(&neighbour);
	vc_handshake(&victim.vc);
	vc_handshake(&neighbour.vc);
	assert_passes(&victim);
	assert_passes(&neighbour);
}

/*
 * The fault, the end of the connection and the next front end in one round: the fault was not that
 * one's.
 */
static void test_hangup(void **state)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	(void)state;
	catch_faults();
	offer_rx(&victim, TOP_BUF);
	vc_kick(&victim.vc, 0);
	cut(&victim, TOP_BUF);
	send_one(&victim);
	assert_int_equal(n_faults, 1);
	close(victim.vc.fd);
	victim.vc.fd = fd;
	memcpy(a.sun_path, bench.path, strlen(bench.path) + 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_true(vc_alive(&victim.vc));
	fresh_memory(&victim);
	vc_handshake(&victim.vc);
	assert_passes(&victim);
	assert_passes(&neighbour);
}

/* Memory that went away unnoticed is first touched when everything ends. */
static void test_close(void **state)
{
	(void)state;
	catch_faults();
	offer_tx(&victim, TOP_BUF, 100);
	offer_rx(&neighbour, TOP_BUF);
	vc_kick(&neighbour.vc, 0);
	cut(&victim, 0);
	cut(&neighbour, 0);
	twx_nic_free(bench2.nic);
	/* The rest in close_both(). */
}

/* A fault whose task never got to run. */
static void test_close_at_once(void **state)
{
	(void)state;
	catch_faults();
	offer_rx(&victim, TOP_BUF);
	vc_kick(&victim.vc, 0);
	cut(&victim, TOP_BUF);
	send_one(&victim);
	assert_int_equal(n_faults, 1);
	twx_nic_free(bench.nic);
	vbench_pump(&bench);
	assert_passes(&neighbour);
}

/* Addresses that are nobody's, and those that were somebody's: the signal keeps its meaning. */
static void test_foreign(void **state)
{
	int local = 0;

	(void)state;
	assert_false(twx_net_fault(bench.net, &local));
	assert_false(twx_net_fault(bench.net, NULL));
	assert_false(twx_net_fault(bench.net, victim.vc.mem));
	assert_false(twx_net_fault(bench.net, (void *)UINTPTR_MAX));
	vbench_pump(&bench);
	assert_true(vc_alive(&victim.vc));
	assert_passes(&victim);
}

/* Memory of one huge page, or null where there are none to be had. */
static uint8_t *huge_memory(int *fd)
{
	void *mem = MAP_FAILED;
	struct stat st;

	*fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
	if (*fd >= 0 && fstat(*fd, &st) == 0 && st.st_blksize == VC_MEM &&
	    ftruncate(*fd, VC_MEM) == 0)
		mem = mmap(NULL, VC_MEM, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	if (mem != MAP_FAILED)
		return mem;
	if (*fd >= 0)
		close(*fd);
	return NULL;
}

/* Half a huge page cannot be mapped: one region. */
static void handshake_huge(struct side *s)
{
	vc_connect(&s->vc);
	vc_features(&s->vc);
	assert_int_equal(vc_mem_table(&s->vc, 1), 0);
	for (uint32_t q = 0; q < 2; q++) {
		assert_int_equal(vc_ring_setup(&s->vc, q), 0);
		assert_int_equal(vc_ring_kick_fd(&s->vc, q), 0);
		assert_int_equal(vc_ask_state(&s->vc, VU_SET_VRING_ENABLE, q, 1), 0);
	}
}

/* Huge pages can only be replaced whole. */
static void test_huge(void **state)
{
	uint8_t *mem;
	int fd;

	(void)state;
	catch_faults();
	mem = huge_memory(&fd);
	if (mem == NULL)
		skip();
	munmap(victim.vc.mem, VC_MEM);
	close(victim.vc.memfd);
	victim.vc.mem = mem;
	victim.vc.memfd = fd;
	handshake_huge(&victim);
	assert_passes(&victim);
	bench.log[0] = '\0';
	offer_tx(&victim, TOP_BUF, 100);
	cut(&victim, 0);
	vc_kick(&victim.vc, 1);
	assert_int_equal(n_faults, 1);
	assert_lost(&victim);
}

/* And so with a log in them, though it needs but a few bytes of one. */
static void test_huge_log(void **state)
{
	uint8_t *mem;
	int fd;

	(void)state;
	catch_faults();
	mem = huge_memory(&fd);
	if (mem == NULL)
		skip();
	munmap(mem, VC_MEM);
	lose_log(fd, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_both, close_both)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_avail),    CASE(test_used),	 CASE(test_start),
		CASE(test_indirect), CASE(test_tx_head), CASE(test_tx_payload),
		CASE(test_rx_copy),  CASE(test_lease),	 CASE(test_lease_commit),
		CASE(test_log),	     CASE(test_inflight_area), CASE(test_several), CASE(test_both),
		CASE(test_hangup),   CASE(test_close),	 CASE(test_close_at_once),
		CASE(test_foreign),  CASE(test_huge),	 CASE(test_huge_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
