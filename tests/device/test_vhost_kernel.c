/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernel's vhost-net between a fake driver's rings and a tap; skipped without /dev/vhost-net.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "path_kit.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/macros.h"

#define RXQ 0
#define TXQ 1
#define TAP "tap,id=n0,ifname=tv0,script=no,downscript=no"
#define KIND 0x88b5 /* an experimental EtherType */

static uint64_t where[FG_MAX_DESC];

/* Of this process; vhost-net's name is in the link. */
static bool has_vhost_open(void)
{
	DIR *d = opendir("/proc/self/fd");
	bool found = false;

	assert_non_null(d);
	for (struct dirent *e = readdir(d); e; e = readdir(d)) {
		char path[300], to[300] = "";

		snprintf(path, sizeof(path), "/proc/self/fd/%s", e->d_name);
		(void)!readlink(path, to, sizeof(to) - 1);
		found |= strcmp(to, "/dev/vhost-net") == 0;
	}
	closedir(d);
	return found;
}

/* A packet socket on the interface, which is up then. */
static int wire(void)
{
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_protocol = htons(KIND) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(KIND));
	struct ifreq ifr = { .ifr_name = "tv0" };

	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, SIOCGIFINDEX, &ifr), 0);
	a.sll_ifindex = ifr.ifr_ifindex;
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	ifr.ifr_flags = IFF_UP;
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
	return fd;
}

static void frame(uint8_t *f, size_t len, uint8_t seed)
{
	fg_frame(f, (uint32_t)len, seed);
	f[12] = KIND >> 8;
	f[13] = KIND & 0xff;
}

typedef void kick_fn(struct fv *v, unsigned int qi);

/* One frame each way. */
static void traffic_by(struct fv *v, int fd, kick_fn *kick)
{
	struct virtio_net_hdr_mrg_rxbuf hdr;
	uint8_t out[90], in[900], back[2048];
	ssize_t got = -1;
	int n;

	frame(out, sizeof(out), 5);
	assert_true(fg_tx(v->g, TXQ, NULL, out, sizeof(out), FG_SPLIT) >= 0);
	kick(v, TXQ);
	PK_UNTIL(v, (got = recv(fd, back, sizeof(back), 0)) > 0);
	assert_int_equal(got, sizeof(out));
	assert_memory_equal(back, out, sizeof(out));
	PK_UNTIL(v, pk_used(v, TXQ));
	assert_true(fg_used(v->g, TXQ, NULL) >= 0);

	fg_rx_post(v->g, RXQ, 1, 2000, where);
	kick(v, RXQ);
	frame(in, sizeof(in), 9);
	assert_int_equal(send(fd, in, sizeof(in), 0), sizeof(in));
	PK_UNTIL(v, pk_used(v, RXQ));
	n = fg_rx_take(v->g, RXQ, where, &hdr, back, sizeof(back));
	assert_int_equal(n, sizeof(in));
	assert_memory_equal(back, in, sizeof(in));
}

static void traffic(struct fv *v, int fd)
{
	traffic_by(v, fd, fv_kick);
}

static struct fv *card(const char *netdev)
{
	return pk_new(netdev, "virtio-net-pci", "", &fv_host_ops);
}

static void both_ways(void **state)
{
	struct fv *v = card(TAP ",vhost=on");
	int fd = wire();

	(void)state;
	assert_true(has_vhost_open());
	fv_start(v, FV_PLAIN, true);
	assert_true(pk_outside(v, RXQ) && pk_outside(v, TXQ) && !pk_outside(v, 2));
	for (int i = 0; i < 600; i++)
		traffic(v, fd);
	PK_UNTIL(v, v->messages[1] > 0 && v->messages[2] > 0);
	assert_int_equal(v->g->nic->ports[0]->count.tx_frames, 0);
	close(fd);
	fv_free(v);
	assert_false(has_vhost_open());
}

static void without_vhost(void **state)
{
	struct fv *v = card(TAP ",vhost=off");
	int fd = wire();

	(void)state;
	assert_false(has_vhost_open());
	fv_start(v, FV_PLAIN, true);
	assert_false(pk_outside(v, RXQ));
	traffic(v, fd);
	close(fd);
	fv_free(v);
}

static void by_the_line(void **state)
{
	struct fv *v = card(TAP ",vhost=on");
	int fd = wire();

	(void)state;
	fv_start(v, FV_PLAIN, false);
	traffic(v, fd);
	PK_UNTIL(v, v->level);
	assert_int_equal(fv_get(v, VIRTIO_PCI_CAP_ISR_CFG, 0, 1), 1);
	assert_false(v->level);
	close(fd);
	fv_free(v);
}

/* The header of the first drivers has ten bytes. */
static void legacy_driver(void **state)
{
	struct fv *v = card(TAP ",vhost=on");
	int fd = wire();

	(void)state;
	fv_legacy_start(v, (uint32_t)(FG_BIT(VIRTIO_NET_F_MAC) | FG_BIT(VIRTIO_NET_F_CTRL_VQ)),
			true);
	assert_true(pk_outside(v, TXQ));
	for (int i = 0; i < 3; i++)
		traffic_by(v, fd, fv_legacy_kick);
	/* And our own path after it, with twelve again. */
	assert_int_equal(twx_net_set_link(v->g->net, "nic0", false, NULL), 0);
	assert_false(pk_outside(v, TXQ));
	assert_int_equal(twx_net_set_link(v->g->net, "nic0", true, NULL), 0);
	assert_true(pk_outside(v, TXQ));
	traffic_by(v, fd, fv_legacy_kick);
	close(fd);
	fv_free(v);
}

static void vnet_hdr_off(void **state)
{
	struct fv *v = card(TAP ",vhost=on,vnet_hdr=off");
	int fd = wire();

	(void)state;
	assert_int_equal(fv_offered(v) & FG_BIT(VIRTIO_NET_F_CSUM), 0);
	fv_start(v, FV_PLAIN, true);
	assert_true(pk_outside(v, TXQ));
	traffic(v, fd);
	close(fd);
	fv_free(v);
}

static void stops_and_starts(void **state)
{
	struct fv *v = card(TAP ",vhost=on,poll-us=20");
	uint8_t f[100];
	int fd = wire();

	(void)state;
	fv_start(v, FV_PLAIN | FG_BIT(VIRTIO_RING_F_EVENT_IDX) | FG_BIT(VIRTIO_NET_F_MRG_RXBUF),
		 true);
	for (int i = 0; i < 5; i++) {
		traffic(v, fd);
		assert_int_equal(twx_net_set_link(v->g->net, "nic0", false, NULL), 0);
		assert_false(pk_outside(v, RXQ) || pk_outside(v, TXQ));
		/* Who has no cable loses frames, and keeps its ring. */
		frame(f, sizeof(f), 1);
		assert_true(fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT) >= 0);
		fv_kick(v, TXQ);
		PK_UNTIL(v, pk_used(v, TXQ));
		assert_true(fg_used(v->g, TXQ, NULL) >= 0);
		assert_int_equal(twx_net_set_link(v->g->net, "nic0", true, NULL), 0);
		assert_true(pk_outside(v, RXQ) && pk_outside(v, TXQ));
		traffic(v, fd);
		pci_run(v->pci, false);
		assert_false(pk_outside(v, RXQ) || pk_outside(v, TXQ));
		pci_run(v->pci, true);
		traffic(v, fd);
		pci_mem_changing(v->pci);
		mem_fini(v->g->mem);
		fg_map(v->g);
		pci_mem_changed(v->pci);
		assert_true(pk_outside(v, RXQ) && pk_outside(v, TXQ));
		traffic(v, fd);
		fv_start(v, FV_PLAIN, true);
		traffic(v, fd);
	}
	close(fd);
	fv_free(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ways),	cmocka_unit_test(without_vhost),
		cmocka_unit_test(by_the_line),	cmocka_unit_test(legacy_driver),
		cmocka_unit_test(vnet_hdr_off), cmocka_unit_test(stops_and_starts),
	};

	int fd;

	if (access("/dev/vhost-net", R_OK | W_OK) < 0 || unshare(CLONE_NEWNET) < 0)
		return 77;
	/* The host says nothing of its own. */
	fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY);
	if (fd >= 0) {
		(void)!write(fd, "1", 1);
		close(fd);
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
