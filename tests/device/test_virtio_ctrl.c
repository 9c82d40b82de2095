/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio-net: features and options, configuration space, control queue, receive filter, pairs,
 * link. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macros.h"
#include "fake_guest.h"
#include "nics/virtio_net.h"

#define EVENT FG_BIT(VIRTIO_RING_F_EVENT_IDX)

static uint64_t where[FG_MAX_DESC];

static struct fg *start(unsigned int pairs, const char *opts, uint64_t without)
{
	struct fg *g = fg_new(pairs, opts);

	fg_start(g, g->dev->offered & ~without, g->dev->n_queues, 64);
	return g;
}

/* A command; its answer, or -1 if there was none. */
static int command(struct fg *g, unsigned int qi, uint8_t class, uint8_t cmd, const void *data,
		   uint32_t len)
{
	uint64_t at = fg_alloc(g, 16 + len), ack = at + 8 + len;
	struct fg_buf b[3] = { { at, 2, false }, { at + 2, len, false }, { ack, 1, true } };
	uint32_t written = 0;
	int head, answer;

	fg_write(g, at, (uint8_t[]){ class, cmd }, 2);
	fg_write(g, at + 2, data, len);
	*(uint8_t *)fg_ptr(g, ack) = 0x77;
	head = fg_add(g, qi, b, 3, len & 1);
	fg_kick(g, qi);
	answer = fg_used(g, qi, &written);
	if (answer < 0)
		return -1;
	assert_int_equal(answer, head);
	assert_int_equal(written, 1);
	return *(uint8_t *)fg_ptr(g, ack);
}

static int mode(struct fg *g, uint8_t cmd, uint8_t on)
{
	return command(g, 2, VIRTIO_NET_CTRL_RX, cmd, &on, 1);
}

static bool arrives(struct fg *g, const uint8_t dst[6], int vid)
{
	uint16_t before = fg_used_idx(g, 0);
	uint8_t f[60];

	fg_frame(f, sizeof(f), 1);
	memcpy(f, dst, 6);
	if (vid >= 0) {
		f[12] = 0x81;
		f[13] = 0;
		f[14] = (uint8_t)(0xe0 | vid >> 8);
		f[15] = (uint8_t)vid;
	}
	fg_rx_post(g, 0, 1, 1526, where);
	fg_kick(g, 0);
	assert_int_equal(fg_wire_send(g->wire, f, sizeof(f), NULL), 1);
	while (fg_used(g, 0, NULL) >= 0)
		;
	return fg_used_idx(g, 0) != before;
}

static const uint8_t own[6] = { 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc };
static const uint8_t other[6] = { 0x52, 0x54, 0, 1, 2, 3 };
static const uint8_t multi[6] = { 0x01, 0, 0x5e, 0, 0, 1 };
static const uint8_t all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static void test_receive_modes(void **state)
{
	struct fg *g = start(1, "", EVENT | FG_BIT(VIRTIO_NET_F_CTRL_VLAN));

	/* Promiscuous after reset. */
	assert_true(arrives(g, other, -1));
	assert_true(arrives(g, multi, -1));
	assert_int_equal(mode(g, VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
	assert_true(arrives(g, own, -1));
	assert_true(arrives(g, all, -1));
	assert_false(arrives(g, other, -1));
	assert_false(arrives(g, multi, -1));
	assert_int_equal(mode(g, VIRTIO_NET_CTRL_RX_ALLMULTI, 1), VIRTIO_NET_OK);
	assert_true(arrives(g, multi, -1));
	assert_int_equal(mode(g, VIRTIO_NET_CTRL_RX_ALLUNI, 1), VIRTIO_NET_OK);
	assert_true(arrives(g, other, -1));
	assert_int_equal(mode(g, VIRTIO_NET_CTRL_RX_NOMULTI, 1), VIRTIO_NET_OK);
	assert_false(arrives(g, multi, -1));
	assert_int_equal(mode(g, VIRTIO_NET_CTRL_RX_NOUNI, 1), VIRTIO_NET_OK);
	assert_false(arrives(g, own, -1));
	assert_int_equal(mode(g, VIRTIO_NET_CTRL_RX_NOBCAST, 1), VIRTIO_NET_OK);
	assert_false(arrives(g, all, -1));
	assert_int_equal(mode(g, VIRTIO_NET_CTRL_RX_PROMISC, 1), VIRTIO_NET_OK);
	assert_true(arrives(g, other, -1));
	assert_int_equal(mode(g, 6, 1), VIRTIO_NET_ERR);
	assert_true(g->nic->ports[0]->count.drops[TWX_DROP_NOT_FOR_US] >= 5);
	virtio_reset(g->dev);
	fg_start(g, g->dev->offered & ~EVENT, 3, 64);
	assert_true(arrives(g, other, -1));
	fg_free(g);
}

static uint32_t mac_list(uint8_t *to, uint32_t n, uint8_t first)
{
	le32 count = le32_make(n);

	memcpy(to, &count, 4);
	for (uint32_t i = 0; i < n; i++)
		memcpy(to + 4 + 6 * i, (uint8_t[]){ first, 0, 0, 0, (uint8_t)(i >> 8), (uint8_t)i },
		       6);
	return 4 + 6 * n;
}

static void test_mac_table(void **state)
{
	struct fg *g = start(1, "", EVENT);
	uint8_t data[1200];
	uint32_t n;

	mode(g, VIRTIO_NET_CTRL_RX_PROMISC, 0);
	n = mac_list(data, 3, 0x02);
	n += mac_list(data + n, 2, 0x03);
	assert_int_equal(command(g, 2, VIRTIO_NET_CTRL_MAC, 0, data, n), VIRTIO_NET_OK);
	assert_true(arrives(g, (uint8_t[]){ 2, 0, 0, 0, 0, 2 }, -1));
	assert_false(arrives(g, (uint8_t[]){ 2, 0, 0, 0, 0, 3 }, -1));
	assert_true(arrives(g, (uint8_t[]){ 3, 0, 0, 0, 0, 1 }, -1));
	assert_false(arrives(g, (uint8_t[]){ 3, 0, 0, 0, 0, 2 }, -1));
	assert_true(arrives(g, own, -1));
	/* Every length short of both lists fails and leaves the table as it was. */
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(command(g, 2, VIRTIO_NET_CTRL_MAC, 0, data, i), VIRTIO_NET_ERR);
	assert_true(arrives(g, (uint8_t[]){ 3, 0, 0, 0, 0, 1 }, -1));
	/* 64 fit, in any mix; one more overflows its own kind only. */
	n = mac_list(data, 60, 0x02);
	n += mac_list(data + n, 4, 0x03);
	assert_int_equal(command(g, 2, VIRTIO_NET_CTRL_MAC, 0, data, n), VIRTIO_NET_OK);
	assert_false(arrives(g, multi, -1));
	n = mac_list(data, 60, 0x02);
	n += mac_list(data + n, 5, 0x03);
	assert_int_equal(command(g, 2, VIRTIO_NET_CTRL_MAC, 0, data, n), VIRTIO_NET_OK);
	assert_true(arrives(g, multi, -1));
	assert_false(arrives(g, other, -1));
	n = mac_list(data, 65, 0x02);
	n += mac_list(data + n, 64, 0x03);
	assert_int_equal(command(g, 2, VIRTIO_NET_CTRL_MAC, 0, data, n), VIRTIO_NET_OK);
	assert_true(arrives(g, other, -1));
	assert_false(arrives(g, multi, -1));
	assert_true(arrives(g, (uint8_t[]){ 3, 0, 0, 0, 0, 63 }, -1));
	/* Empty lists. */
	n = mac_list(data, 0, 0);
	n += mac_list(data + n, 0, 0);
	assert_int_equal(command(g, 2, VIRTIO_NET_CTRL_MAC, 0, data, n), VIRTIO_NET_OK);
	assert_false(arrives(g, other, -1));
	assert_true(arrives(g, own, -1));
	fg_free(g);
}

static void test_mac_address(void **state)
{
	struct fg *g = start(1, "", EVENT);
	uint8_t mac[6], data[7] = { 2, 2, 2, 2, 2, 2, 2 };

	mode(g, VIRTIO_NET_CTRL_RX_PROMISC, 0);
	assert_int_equal(command(g, 2, VIRTIO_NET_CTRL_MAC, 1, data, 5), VIRTIO_NET_ERR);
	assert_int_equal(command(g, 2, VIRTIO_NET_CTRL_MAC, 1, data, 7), VIRTIO_NET_ERR);
	assert_true(arrives(g, own, -1));
	assert_int_equal(command(g, 2, VIRTIO_NET_CTRL_MAC, 1, data, 6), VIRTIO_NET_OK);
	assert_int_equal(command(g, 2, VIRTIO_NET_CTRL_MAC, 2, data, 6), VIRTIO_NET_ERR);
	assert_false(arrives(g, own, -1));
	assert_true(arrives(g, data, -1));
	assert_int_equal(g->dev->ops->config_read(g->dev, 0, mac, 6), 0);
	assert_memory_equal(mac, data, 6);
	virtio_reset(g->dev);
	assert_int_equal(g->dev->ops->config_read(g->dev, 0, mac, 6), 0);
	assert_memory_equal(mac, own, 6);
	fg_free(g);
}

static int vlan(struct fg *g, uint8_t cmd, uint16_t vid, uint32_t len)
{
	le16 v = le16_make(vid);

	return command(g, 2, VIRTIO_NET_CTRL_VLAN, cmd, &v, len);
}

static void test_vlans(void **state)
{
	struct fg *g = start(1, "", EVENT);

	mode(g, VIRTIO_NET_CTRL_RX_PROMISC, 0);
	assert_false(arrives(g, own, 5));
	assert_int_equal(vlan(g, 0, 5, 1), VIRTIO_NET_ERR);
	assert_int_equal(vlan(g, 0, 4096, 2), VIRTIO_NET_ERR);
	assert_int_equal(vlan(g, 2, 5, 2), VIRTIO_NET_ERR);
	assert_int_equal(vlan(g, 0, 5, 2), VIRTIO_NET_OK);
	assert_int_equal(vlan(g, 0, 4095, 2), VIRTIO_NET_OK);
	assert_true(arrives(g, own, 5));
	assert_true(arrives(g, own, 4095));
	assert_false(arrives(g, own, 4));
	assert_int_equal(vlan(g, 1, 5, 2), VIRTIO_NET_OK);
	assert_false(arrives(g, own, 5));
	assert_true(arrives(g, own, -1));
	fg_free(g);
}

/* A filter that applies to a lease too: its buffers stay the guest's. */
static void test_filter_and_lease(void **state)
{
	struct fg *g = start(1, "", EVENT);
	struct twx_meta none = { 0 };
	struct twx_lease l;
	uint8_t f[60];

	mode(g, VIRTIO_NET_CTRL_RX_PROMISC, 0);
	fg_rx_post(g, 0, 2, 1526, where);
	fg_frame(f, sizeof(f), 1);
	for (int mine = 0; mine < 2; mine++) {
		memcpy(f, mine ? own : other, 6);
		assert_int_equal(twx_port_reserve(g->wire->port, 60, 1514, &l), 0);
		iov_copy_to(l.iov, l.n_iov, 0, f, sizeof(f));
		twx_port_commit(g->wire->port, &l, sizeof(f), &none);
		assert_int_equal(fg_used_idx(g, 0), mine);
	}
	fg_free(g);
}

static int offloads(struct fg *g, uint64_t v, uint32_t len)
{
	le64 raw = le64_make(v);

	return command(g, 2, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &raw, len);
}

static void test_guest_offloads(void **state)
{
	struct fg *g = start(1, "", EVENT | FG_BIT(VIRTIO_NET_F_GUEST_TSO6));
	uint64_t csum = FG_BIT(VIRTIO_NET_F_GUEST_CSUM), tso4 = FG_BIT(VIRTIO_NET_F_GUEST_TSO4);
	struct twx_port *port = g->nic->ports[0];

	assert_true(port->caps.flags & TWX_CAP_TSO4);
	assert_int_equal(offloads(g, csum, 8), VIRTIO_NET_OK);
	assert_int_equal(port->caps.flags, TWX_CAP_CSUM);
	assert_int_equal(offloads(g, csum | tso4, 7), VIRTIO_NET_ERR);
	assert_int_equal(offloads(g, csum | FG_BIT(VIRTIO_NET_F_GUEST_TSO6), 8), VIRTIO_NET_ERR);
	assert_int_equal(offloads(g, csum | 1, 8), VIRTIO_NET_ERR);
	assert_int_equal(port->caps.flags, TWX_CAP_CSUM);
	assert_int_equal(offloads(g, csum | tso4, 8), VIRTIO_NET_OK);
	assert_int_equal(port->caps.flags, TWX_CAP_CSUM | TWX_CAP_TSO4);
	assert_int_equal(offloads(g, 0, 8), VIRTIO_NET_OK);
	assert_int_equal(port->caps.flags, 0);
	fg_free(g);
}

static void test_announce(void **state)
{
	struct fg *g = start(1, "", EVENT);
	uint16_t status = 0;

	assert_int_equal(command(g, 2, VIRTIO_NET_CTRL_ANNOUNCE, 0, NULL, 0), VIRTIO_NET_ERR);
	g->dev->ops->announce(g->dev, own);
	assert_int_equal(g->config_irqs, 1);
	g->dev->ops->config_read(g->dev, 6, &status, 2);
	assert_int_equal(status, VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	assert_int_equal(command(g, 2, VIRTIO_NET_CTRL_ANNOUNCE, 0, NULL, 0), VIRTIO_NET_OK);
	g->dev->ops->config_read(g->dev, 6, &status, 2);
	assert_int_equal(status, VIRTIO_NET_S_LINK_UP);
	assert_int_equal(g->wire->n_frames, 0);
	fg_free(g);
	/* Guests that cannot are spoken for. */
	g = start(1, "", EVENT | FG_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE));
	g->dev->ops->announce(g->dev, own);
	assert_int_equal(g->config_irqs, 0);
	assert_int_equal(g->wire->n_frames, 1);
	assert_memory_equal(g->wire->frames[0].data, all, 6);
	assert_memory_equal(g->wire->frames[0].data + 6, own, 6);
	assert_memory_equal(g->wire->frames[0].data + 12, "\x80\x35", 2);
	fg_free(g);
}

static int pairs(struct fg *g, uint16_t n, uint32_t len)
{
	le16 v = le16_make(n);

	return command(g, 8, VIRTIO_NET_CTRL_MQ, 0, &v, len);
}

static void test_pairs_set(void **state)
{
	struct fg *g = start(4, "", EVENT);
	uint8_t f[60];

	fg_frame(f, sizeof(f), 1);
	for (unsigned int i = 0; i < 4; i++)
		fg_rx_post(g, 2 * i, 16, 1526, where);
	/* One pair until the guest says otherwise. */
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(fg_wire_send(&g->wire[i], f, sizeof(f), NULL), 1);
	assert_int_equal(fg_used_idx(g, 0), 4);
	assert_int_equal(pairs(g, 0, 2), VIRTIO_NET_ERR);
	assert_int_equal(pairs(g, 5, 2), VIRTIO_NET_ERR);
	assert_int_equal(pairs(g, 0x8000, 2), VIRTIO_NET_ERR);
	assert_int_equal(pairs(g, 2, 1), VIRTIO_NET_ERR);
	assert_int_equal(pairs(g, 4, 2), VIRTIO_NET_OK);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(fg_wire_send(&g->wire[i], f, sizeof(f), NULL), 1);
	assert_int_equal(fg_used_idx(g, 0), 5);
	assert_int_equal(fg_used_idx(g, 6), 1);
	assert_int_equal(pairs(g, 2, 2), VIRTIO_NET_OK);
	assert_int_equal(fg_wire_send(&g->wire[3], f, sizeof(f), NULL), 1);
	assert_int_equal(fg_used_idx(g, 2), 2);
	/* Transmission works from every pair. */
	for (unsigned int i = 0; i < 4; i++) {
		fg_tx(g, 2 * i + 1, NULL, f, sizeof(f), FG_JOINED);
		fg_kick(g, 2 * i + 1);
		assert_int_equal(g->wire[i].n_frames, 1);
	}
	assert_int_equal(command(g, 8, VIRTIO_NET_CTRL_MQ, 1, f, 40), VIRTIO_NET_ERR);
	fg_free(g);
}

/* Without MQ the control queue is the third, whatever the device could have. */
static void test_control_queue_moves(void **state)
{
	struct fg *g = start(4, "", EVENT | FG_BIT(VIRTIO_NET_F_MQ));
	uint16_t v = 1;

	assert_int_equal(mode(g, VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
	assert_int_equal(command(g, 2, VIRTIO_NET_CTRL_MQ, 0, &v, 2), VIRTIO_NET_ERR);
	assert_int_equal(pairs(g, 1, 2), -1);
	fg_free(g);
}

static void test_classes_need_their_feature(void **state)
{
	static const struct {
		unsigned int bit;
		uint8_t class, cmd, len;
	} tab[] = {
		{ VIRTIO_NET_F_CTRL_RX, VIRTIO_NET_CTRL_RX, 0, 1 },
		{ VIRTIO_NET_F_CTRL_RX_EXTRA, VIRTIO_NET_CTRL_RX, 2, 1 },
		{ VIRTIO_NET_F_CTRL_RX, VIRTIO_NET_CTRL_MAC, 0, 8 },
		{ VIRTIO_NET_F_CTRL_MAC_ADDR, VIRTIO_NET_CTRL_MAC, 1, 6 },
		{ VIRTIO_NET_F_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN, 0, 2 },
		{ VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, 8 },
	};
	const uint8_t data[16] = { 0 };

	for (unsigned int i = 0; i < array_size(tab); i++) {
		struct fg *g = start(1, "", EVENT);

		assert_int_equal(command(g, 2, tab[i].class, tab[i].cmd, data, tab[i].len),
				 VIRTIO_NET_OK);
		fg_free(g);
		g = start(1, "", EVENT | FG_BIT(tab[i].bit));
		assert_int_equal(command(g, 2, tab[i].class, tab[i].cmd, data, tab[i].len),
				 VIRTIO_NET_ERR);
		fg_free(g);
	}
}

static void test_commands_are_judged_by_length(void **state)
{
	static const struct {
		uint8_t class, cmd, len;
		bool exact;
	} tab[] = {
		{ VIRTIO_NET_CTRL_RX, 0, 1, false },
		{ VIRTIO_NET_CTRL_MAC, 0, 8, false },
		{ VIRTIO_NET_CTRL_MAC, 1, 6, true },
		{ VIRTIO_NET_CTRL_VLAN, 1, 2, false },
		{ VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, 8, false },
	};
	const uint8_t data[64] = { 0 };
	struct fg *g = start(1, "", EVENT);

	for (unsigned int i = 0; i < array_size(tab); i++)
		for (uint32_t len = 0; len < 20; len++) {
			bool good = tab[i].exact ? len == tab[i].len : len >= tab[i].len;

			assert_int_equal(command(g, 2, tab[i].class, tab[i].cmd, data, len),
					 good ? VIRTIO_NET_OK : VIRTIO_NET_ERR);
		}
	for (unsigned int class = 6; class < 256; class ++)
		assert_int_equal(command(g, 2, (uint8_t) class, 0, data, 8), VIRTIO_NET_ERR);
	fg_free(g);
}

static void test_link_status(void **state)
{
	struct fg *g = start(1, "", EVENT);
	uint16_t status = 0;

	assert_int_equal(twx_net_set_link(g->net, "nic0", false, NULL), 0);
	assert_int_equal(g->config_irqs, 1);
	g->dev->ops->config_read(g->dev, 6, &status, 2);
	assert_int_equal(status, 0);
	assert_int_equal(twx_net_set_link(g->net, "nic0", true, NULL), 0);
	assert_int_equal(g->config_irqs, 2);
	g->dev->ops->config_read(g->dev, 6, &status, 2);
	assert_int_equal(status, VIRTIO_NET_S_LINK_UP);
	fg_free(g);
	g = start(1, "", FG_BIT(VIRTIO_NET_F_STATUS));
	twx_net_set_link(g->net, "nic0", false, NULL);
	assert_int_equal(g->config_irqs, 0);
	fg_free(g);
}

static void test_config_space(void **state)
{
	struct fg *g = start(4, "", 0);
	struct virtio_net_config c;
	uint8_t mac[6] = { 2, 1, 1, 1, 1, 1 };

	assert_int_equal(g->dev->ops->config_read(g->dev, 0, &c, sizeof(c)), 0);
	assert_memory_equal(c.mac, own, 6);
	assert_int_equal(c.max_virtqueue_pairs, 4);
	/* The MAC is writable for legacy drivers alone. */
	assert_int_equal(g->dev->ops->config_write(g->dev, 0, mac, 6), 0);
	g->dev->ops->config_read(g->dev, 0, &c, sizeof(c));
	assert_memory_equal(c.mac, own, 6);
	fg_free(g);
	g = start(1, "", FG_BIT(VIRTIO_F_VERSION_1) | FG_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR));
	for (uint32_t i = 0; i < 6; i++)
		assert_int_equal(g->dev->ops->config_write(g->dev, i, mac + i, 1), 0);
	g->dev->ops->config_read(g->dev, 0, &c, sizeof(c));
	assert_memory_equal(c.mac, mac, 6);
	assert_int_equal(c.status, VIRTIO_NET_S_LINK_UP);
	fg_free(g);
}

static uint64_t offered(unsigned int n, const char *opts)
{
	struct fg *g = fg_new(n, opts);
	uint64_t f = g->dev->offered;

	fg_free(g);
	return f;
}

static void test_options(void **state)
{
	static const struct {
		const char *opt;
		uint64_t off;
	} tab[] = {
		{ ",mrg_rxbuf=off", FG_BIT(VIRTIO_NET_F_MRG_RXBUF) },
		{ ",event_idx=off", FG_BIT(VIRTIO_RING_F_EVENT_IDX) },
		{ ",indirect_desc=off", FG_BIT(VIRTIO_RING_F_INDIRECT_DESC) },
		{ ",host_uso=off", FG_BIT(VIRTIO_NET_F_HOST_USO) },
		{ ",csum=off", 0x7841ull | FG_BIT(VIRTIO_NET_F_HOST_USO) },
		{ ",guest_csum=off", 0x782ull | 3ull << VIRTIO_NET_F_GUEST_USO4 },
		{ ",ctrl_vq=off", 0xbe0004ull },
	};
	uint64_t base = offered(1, "");

	assert_int_equal(base & 0xffffffff, 0x38bfffe7);
	assert_int_equal(base >> 32, 0x01c00001 | FG_FORM >> 32);
	for (unsigned int i = 0; i < array_size(tab); i++)
		assert_int_equal(base & ~offered(1, tab[i].opt), tab[i].off & base);
	assert_int_equal(offered(1, ",host_mtu=9000") & ~base, FG_BIT(VIRTIO_NET_F_MTU));
	assert_int_equal(offered(2, "") & ~base, FG_BIT(VIRTIO_NET_F_MQ));
	assert_int_equal(offered(2, ",mq=off"), base);
	assert_int_equal(offered(2, ",queues=1"), base);
}

static void assert_refused(struct fg *g, const char *text, const char *sentence)
{
	struct twx_error e = { 0 };
	struct twx_nic *nic = NULL;

	assert_int_equal(twx_nic_new(&nic, g->net, text, &e), -EINVAL);
	assert_non_null(strstr(e.what, sentence));
	assert_true(e.hint[0]);
}

static void test_bad_options(void **state)
{
	struct fg *g = fg_new(1, "");

	twx_nic_free(g->nic);
	assert_refused(g, "virtio-net-pci,netdev=w0,queues=2", "queues=2, but netdev w0 has 1");
	assert_refused(g, "virtio-net-pci,netdev=w0,host_mtu=67", "host_mtu=67");
	assert_refused(g, "virtio-net-pci,netdev=w0,foo=1", "foo");
	assert_int_equal(twx_nic_new(&g->nic, g->net, "virtio-net-pci,netdev=w0", NULL), 0);
	g->dev = g->nic->priv;
	fg_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_receive_modes),
		cmocka_unit_test(test_mac_table),
		cmocka_unit_test(test_mac_address),
		cmocka_unit_test(test_vlans),
		cmocka_unit_test(test_filter_and_lease),
		cmocka_unit_test(test_guest_offloads),
		cmocka_unit_test(test_announce),
		cmocka_unit_test(test_pairs_set),
		cmocka_unit_test(test_control_queue_moves),
		cmocka_unit_test(test_classes_need_their_feature),
		cmocka_unit_test(test_commands_are_judged_by_length),
		cmocka_unit_test(test_link_status),
		cmocka_unit_test(test_config_space),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_bad_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
