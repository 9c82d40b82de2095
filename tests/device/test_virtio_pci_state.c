/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio-net over PCI on its way to another machine, and states that no guest could have left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_virtio_pci.h"

#include "base/macros.h"
#include "nics/virtio_net.h"

#define RXQ 0
#define TXQ 1
#define CTRLQ 2

static uint64_t where[FG_MAX_DESC];

/* The guest's memory and its driver's notes, as a migration brings them along. */
static void bring_guest(struct fv *to, struct fv *from)
{
	struct fg *g = to->g, *f = from->g;

	pci_mem_changing(to->pci);
	mem_fini(g->mem);
	munmap(g->ram, FG_RAM);
	close(g->fd);
	g->fd = dup(f->fd);
	g->ram = mmap(NULL, FG_RAM, PROT_READ | PROT_WRITE, MAP_SHARED, g->fd, 0);
	fg_map(g);
	pci_mem_changed(to->pci);
	g->brk = f->brk;
	memcpy(g->q, f->q, sizeof(g->q));
}

/* Stops @a, makes a machine like it, and starts it there. */
static struct fv *migrate(struct fv *a, const char *nic, unsigned int pairs)
{
	struct fv *b = fv_new_with(nic, pairs, "");
	struct twx_error e = { 0 };
	uint8_t *data;
	size_t len;

	pci_run(b->pci, false);
	bring_guest(b, a);
	pci_run(a->pci, false);
	assert_int_equal(pci_save(a->pci, &data, &len), 0);
	memcpy(b->g->q, a->g->q, sizeof(b->g->q));
	if (pci_load(b->pci, data, len, &e) < 0)
		fail_msg("%s", e.what);
	free(data);
	pci_run(b->pci, true);
	fg_run(b->g);
	return b;
}

static void send_one(struct fv *v, uint8_t seed)
{
	uint8_t f[80];

	fg_frame(f, sizeof(f), seed);
	assert_true(fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT) >= 0);
	fv_kick(v, TXQ);
	assert_true(v->g->wire->n_frames > 0);
	assert_memory_equal(v->g->wire->frames[v->g->wire->n_frames - 1].data, f, sizeof(f));
	assert_true(fg_used(v->g, TXQ, NULL) >= 0);
}

static void receive_one(struct fv *v, uint8_t seed)
{
	struct virtio_net_hdr_mrg_rxbuf hdr;
	uint8_t f[900], back[2048];

	fg_frame(f, sizeof(f), seed);
	assert_int_equal(fg_wire_send(v->g->wire, f, sizeof(f), NULL), 1);
	fg_run(v->g);
	assert_int_equal(fg_rx_take(v->g, RXQ, where, &hdr, back, sizeof(back)), sizeof(f));
	assert_memory_equal(back, f, sizeof(f));
}

static uint8_t command(struct fv *v, uint8_t class, uint8_t cmd, const void *data, uint32_t len)
{
	uint64_t at = fg_alloc(v->g, 2 + len), ack = fg_alloc(v->g, 1);
	const struct fg_buf b[] = { { at, 2 + len, false }, { ack, 1, true } };
	const uint8_t none = 0xee;

	fg_write(v->g, at, &class, 1);
	fg_write(v->g, at + 1, &cmd, 1);
	fg_write(v->g, at + 2, data, len);
	fg_write(v->g, ack, &none, 1);
	assert_true(fg_add(v->g, CTRLQ, b, 2, false) >= 0);
	fv_kick(v, CTRLQ);
	assert_true(fg_used(v->g, CTRLQ, NULL) >= 0);
	return *(uint8_t *)fg_ptr(v->g, ack);
}

/* Buffers that the first machine had fetched ahead are there for the second one, in order. */
static void rings_go_on(void **state)
{
	struct fv *v = fv_new("virtio-net-pci"), *next;

	fv_start(v, FV_PLAIN, true);
	fg_rx_post(v->g, RXQ, 100, 2000, where);
	fv_kick(v, RXQ);
	for (int i = 0; i < 5; i++) {
		for (int k = 0; k < 9; k++) {
			send_one(v, (uint8_t)k);
			receive_one(v, (uint8_t)(k + 100));
		}
		assert_true(v->messages[1] > 0 && v->messages[2] > 0);
		next = migrate(v, "virtio-net-pci", 1);
		fv_free(v);
		v = next;
		assert_int_equal(fv_status(v), 15);
	}
	assert_int_equal(fg_used_idx(v->g, RXQ), 45);
	fv_free(v);
}

/* A frame that the guest offered while the machine stood still goes out on the other side. */
static void offered_in_between(void **state)
{
	struct fv *v = fv_new("virtio-net-pci"), *next;
	uint8_t f[64];

	fv_start(v, FV_PLAIN, true);
	send_one(v, 1);
	pci_run(v->pci, false);
	fg_frame(f, sizeof(f), 2);
	fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT);
	next = migrate(v, "virtio-net-pci", 1);
	assert_int_equal(next->g->wire->n_frames, 2); /* with our announcement */
	assert_int_equal(next->g->wire->frames[0].len + next->g->wire->frames[1].len, 64 + 60);
	assert_int_equal(v->g->wire->n_frames, 1);
	fv_free(v);
	fv_free(next);
}

static void settings_go_along(void **state)
{
	const uint64_t features =
		FV_PLAIN | FG_BIT(VIRTIO_NET_F_CTRL_VLAN) | FG_BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) |
		FG_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) | FG_BIT(VIRTIO_NET_F_GUEST_CSUM) |
		FG_BIT(VIRTIO_NET_F_GUEST_TSO4) | FG_BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) |
		FG_BIT(VIRTIO_NET_F_MRG_RXBUF);
	static const uint8_t mac[6] = { 2, 1, 2, 3, 4, 5 }, off = 0, on = 1;
	static const uint8_t table[] = { 1, 0, 0, 0, 2, 9, 9,	 9, 9, 9,
					 1, 0, 0, 0, 1, 0, 0x5e, 0, 0, 1 };
	struct fv *v = fv_new("virtio-net-pci"), *next;
	uint64_t offloads = FG_BIT(VIRTIO_NET_F_GUEST_CSUM);
	uint16_t vid = 100;
	struct vnet *a, *b;

	fv_start(v, features, true);
	assert_int_equal(command(v, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &off, 1), 0);
	assert_int_equal(command(v, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOBCAST, &on, 1), 0);
	assert_int_equal(command(v, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 6), 0);
	assert_int_equal(command(v, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table,
				 sizeof(table)),
			 0);
	assert_int_equal(command(v, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &vid, 2), 0);
	assert_int_equal(command(v, VIRTIO_NET_CTRL_GUEST_OFFLOADS,
				 VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &offloads, 8),
			 0);
	a = v->g->nic->priv;
	next = migrate(v, "virtio-net-pci", 1);
	b = next->g->nic->priv;
	assert_memory_equal(&a->filter, &b->filter, sizeof(a->filter));
	assert_true(b->offloads == offloads);
	assert_int_equal(b->hdr_len, 12);
	assert_true(b->mergeable);
	assert_int_equal(next->g->nic->ports[0]->caps.flags, TWX_CAP_CSUM);
	assert_int_equal(fv_get(next, VIRTIO_PCI_CAP_DEVICE_CFG, 0, 4), 0x03020102);
	/* And it still obeys. */
	assert_int_equal(command(next, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &on, 1), 0);
	assert_true(b->filter.promisc);
	fv_free(v);
	fv_free(next);
}

static void pairs_go_along(void **state)
{
	const uint64_t features = FV_PLAIN | FG_BIT(VIRTIO_NET_F_MQ);
	struct fv *v = fv_new_with("virtio-net-pci", 3, ""), *next;
	uint16_t two = 2;
	struct vnet *b;

	assert_true(fv_agree(v, features));
	fv_msix(v);
	for (unsigned int i = 0; i < 7; i++)
		fv_queue(v, i, 64, (uint16_t)i);
	fv_driver_ok(v);
	{ /* the control queue is the last of seven */
		uint64_t at = fg_alloc(v->g, 4), ack = fg_alloc(v->g, 1);
		const uint8_t cmd[] = { VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET };
		const struct fg_buf b2[] = { { at, 4, false }, { ack, 1, true } };

		fg_write(v->g, at, cmd, 2);
		fg_write(v->g, at + 2, &two, 2);
		assert_true(fg_add(v->g, 6, b2, 2, false) >= 0);
		fv_kick(v, 6);
		assert_int_equal(*(uint8_t *)fg_ptr(v->g, ack), 0);
	}
	next = migrate(v, "virtio-net-pci", 3);
	b = next->g->nic->priv;
	assert_int_equal(b->curr_pairs, 2);
	assert_int_equal(b->n_active, 2);
	assert_int_equal(b->ctrl->index, 6);
	fv_free(v);
	fv_free(next);
}

/* The guest tells the network where it is now, or we do. */
static void announced(void **state)
{
	struct fv *v, *next;

	v = fv_new("virtio-net-pci");
	fv_start(v, FV_PLAIN | FG_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE), true);
	next = migrate(v, "virtio-net-pci", 1);
	assert_int_equal(next->messages[0], 1);
	assert_int_equal(fv_get(next, VIRTIO_PCI_CAP_DEVICE_CFG, 6, 2), 3);
	assert_int_equal(next->g->wire->n_frames, 0);
	assert_int_equal(
		command(next, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, "", 0), 0);
	assert_int_equal(fv_get(next, VIRTIO_PCI_CAP_DEVICE_CFG, 6, 2), 1);
	fv_free(v);
	fv_free(next);
	v = fv_new("virtio-net-pci");
	fv_start(v, FV_PLAIN, true);
	next = migrate(v, "virtio-net-pci", 1);
	assert_int_equal(next->messages[0], 0);
	assert_int_equal(next->g->wire->n_frames, 1);
	assert_memory_equal(next->g->wire->frames[0].data + 6, v->g->nic->mac, 6);
	assert_memory_equal(next->g->wire->frames[0].data + 12, "\x80\x35", 2);
	fv_free(v);
	fv_free(next);
}

/* A cable that is out at the other end is news for the guest. */
static void link_differs(void **state)
{
	struct fv *v = fv_new("virtio-net-pci"), *b = fv_new("virtio-net-pci");
	uint8_t *data;
	size_t len;

	fv_start(v, FV_PLAIN, true);
	twx_port_set_link(b->g->nic->ports[0], false);
	pci_run(b->pci, false);
	bring_guest(b, v);
	pci_run(v->pci, false);
	assert_int_equal(pci_save(v->pci, &data, &len), 0);
	assert_int_equal(pci_load(b->pci, data, len, NULL), 0);
	assert_int_equal(b->messages[0], 0);
	pci_run(b->pci, true);
	assert_int_equal(b->messages[0], 1);
	assert_int_equal(fv_get(b, VIRTIO_PCI_CAP_DEVICE_CFG, 6, 2), 0);
	free(data);
	fv_free(v);
	fv_free(b);
}

static void legacy_goes_along(void **state)
{
	struct fv *v = fv_new("virtio-net-pci-transitional"), *next;
	uint8_t f[64];

	fv_legacy_start(v, FG_BIT(VIRTIO_NET_F_MAC), false);
	fg_rx_post(v->g, RXQ, 10, 2000, where);
	fv_legacy_kick(v, RXQ);
	receive_one(v, 1);
	assert_true(v->level);
	next = migrate(v, "virtio-net-pci-transitional", 1);
	assert_int_equal(fg_hdr_len(next->g), 10);
	assert_true(next->level); /* not acknowledged yet */
	assert_int_equal(fv_io(next, VIRTIO_PCI_ISR, 1), 1);
	assert_false(next->level);
	receive_one(next, 2);
	fg_frame(f, sizeof(f), 2);
	fg_tx(next->g, TXQ, NULL, f, sizeof(f), FG_SPLIT);
	fv_legacy_kick(next, TXQ);
	assert_int_equal(next->g->wire->n_frames, 2); /* and our own announcement */
	fv_free(v);
	fv_free(next);
}

struct stream {
	uint8_t *data;
	size_t len;
};

/* The elements of field @field in section @section. */
static uint8_t *field(const struct stream *s, const char *section, const char *name)
{
	uint8_t *p = s->data, *end = s->data + s->len;
	char text[64];

	snprintf(text, sizeof(text), "%c%s", (int)strlen(section), section);
	p = memmem(p, (size_t)(end - p), text, strlen(text));
	assert_non_null(p);
	snprintf(text, sizeof(text), "%c%s", (int)strlen(name), name);
	p = memmem(p, (size_t)(end - p), text, strlen(text));
	assert_non_null(p);
	return p + strlen(text) + 5;
}

/* Saving changes nothing for who goes on. */
static void saved_and_goes_on(void **state)
{
	struct fv *v = fv_new("virtio-net-pci"), *b;
	uint8_t *one, *two;
	size_t len, len2;

	fv_start(v, FV_PLAIN, true);
	fg_rx_post(v->g, RXQ, 20, 2000, where);
	fv_kick(v, RXQ);
	receive_one(v, 1);
	assert_int_equal(pci_save(v->pci, &one, &len), 0);
	receive_one(v, 2);
	send_one(v, 3);
	assert_int_equal(pci_save(v->pci, &two, &len2), 0);
	assert_int_equal(len, len2);
	/* The positions are those of the moment. */
	assert_int_equal(*(field(&(struct stream){ one, len }, "virtio-pci", "queues") + 4), 1);
	assert_int_equal(*(field(&(struct stream){ two, len }, "virtio-pci", "queues") + 4), 2);
	/* And what was saved is where it stood. */
	pci_run(v->pci, false);
	b = fv_new("virtio-net-pci");
	bring_guest(b, v);
	assert_int_equal(pci_load(b->pci, two, len, NULL), 0);
	fg_run(b->g);
	receive_one(b, 4);
	free(one);
	free(two);
	fv_free(v);
	fv_free(b);
}

/* A machine that runs gives up what it has for what it is given. */
static void loaded_while_running(void **state)
{
	struct fv *a = fv_new("virtio-net-pci"), *b = fv_new("virtio-net-pci");
	uint8_t *data;
	size_t len;

	fv_start(a, FV_PLAIN, true);
	fg_rx_post(a->g, RXQ, 20, 2000, where);
	fv_kick(a, RXQ);
	for (uint8_t i = 0; i < 7; i++)
		receive_one(a, i);
	/* Its own driver has other rings, and buffers in them. */
	fg_alloc(b->g, 1 << 20);
	fv_start(b, FV_PLAIN, true);
	fg_rx_post(b->g, RXQ, 20, 2000, where);
	fv_kick(b, RXQ);
	pci_run(a->pci, false);
	assert_int_equal(pci_save(a->pci, &data, &len), 0);
	bring_guest(b, a);
	assert_int_equal(pci_load(b->pci, data, len, NULL), 0);
	fg_run(b->g);
	for (int i = 0; i < 13; i++) { /* what the driver had offered */
		uint8_t f[100];

		fg_frame(f, sizeof(f), 1);
		assert_int_equal(fg_wire_send(b->g->wire, f, sizeof(f), NULL), 1);
		fg_run(b->g);
		assert_int_equal(fg_used_idx(b->g, RXQ), 8 + i);
	}
	free(data);
	fv_free(a);
	fv_free(b);
}

/* States of the wrong kind. */

static const struct {
	const char *section, *field;
	unsigned int off, len;
	uint64_t value;
	const char *why;
} hostile[] = {
	{ "virtio", "features", 0, 8, ~0ull, "are not offered" },
	{ "virtio", "status", 0, 1, 0x10, "status 0x" },
	{ "virtio-net/filter", "filter.promisc", 0, 1, 2, "neither on nor off" },
	{ "virtio-net/filter", "filter.multi_overflow", 0, 1, 0xff, "neither on nor off" },
	{ "virtio-net/filter", "filter.n_macs", 0, 2, 65, "65 addresses" },
	{ "virtio-net/filter", "filter.n_macs", 0, 2, 0xffff, "65535 addresses" },
	{ "virtio-net/filter", "filter.n_uni", 0, 2, 1, "1 of them unicast" },
	{ "virtio-net", "curr_pairs", 0, 4, 0, "0 queue pairs of 1" },
	{ "virtio-net", "curr_pairs", 0, 4, 2, "2 queue pairs of 1" },
	{ "virtio-net", "curr_pairs", 0, 4, 0xffffffff, "queue pairs of 1" },
	{ "virtio-net", "offloads", 0, 8, 1 << 7, "were not agreed on" },
	{ "virtio-net", "link_up", 0, 1, 2, "neither on nor off" },
	{ "virtio-net", "announcing", 0, 1, 2, "neither on nor off" },
	{ "virtio-pci", "vector", 0, 2, 4, "interrupt vector 4 of 4" },
	{ "virtio-pci", "isr", 0, 1, 4, "interrupt status 0x4" },
	{ "virtio-pci", "queues", 0, 2, 0, "queue 0 of 0 entries" },
	{ "virtio-pci", "queues", 0, 2, FG_PACKED ? 0xffff : 3, FG_PACKED ? "queue 0 of 65535" : "queue 0 of 3 entries" },
	{ "virtio-pci", "queues", 0, 2, 512, "the most is 256" },
	{ "virtio-pci", "queues", 0, 2, 0x8000, "the most is 256" },
	{ "virtio-pci", "queues", 22, 2, 0xfffe, "interrupt vector 65534 of 4" },
	{ "virtio-pci", "queues", 26, 2, 2, "queue 2 is neither on nor off" },
	{ "virtio-pci", "queues", 28, 2, 2, "queue 2 is neither on nor off" },
};

static void hostile_values(void **state)
{
	struct fv *v = fv_new("virtio-net-pci");
	struct stream s;

	fv_start(v, FV_PLAIN, true);
	pci_run(v->pci, false);
	assert_int_equal(pci_save(v->pci, &s.data, &s.len), 0);
	for (size_t i = 0; i < array_size(hostile); i++) {
		uint8_t *p = field(&s, hostile[i].section, hostile[i].field) + hostile[i].off;
		le64 bad = le64_make(hostile[i].value);
		struct twx_error e = { 0 };
		uint8_t keep[8];

		memcpy(keep, p, hostile[i].len);
		memcpy(p, &bad, hostile[i].len);
		assert_int_equal(pci_load(v->pci, s.data, s.len, &e), -EINVAL);
		if (!strstr(e.what, hostile[i].why))
			fail_msg("%s.%s: %s", hostile[i].section, hostile[i].field, e.what);
		memcpy(p, keep, hostile[i].len);
	}
	/* Nothing of it has stuck. */
	pci_run(v->pci, true);
	send_one(v, 1);
	free(s.data);
	fv_free(v);
}

/* What a guest can have written loads, and harms nobody: selects, rings and positions anywhere. */
static void odd_values(void **state)
{
	static const struct {
		const char *field;
		unsigned int off, len;
		bool broken; /* then the driver hears of it */
	} odd[] = {
		{ "queue_select", 0, 2, false },  { "device_select", 0, 4, false },
		{ "driver_select", 0, 4, false }, { "rings", 24, 8, true },
		{ "rings", 32, 8, true },	  { "rings", 40, 8, true },
		{ "queues", 10 + 4, 2, true },
	};
	struct fv *v = fv_new("virtio-net-pci");

	for (size_t i = 0; i < array_size(odd); i++) {
		struct stream s;
		uint8_t f[64];

		fv_start(v, FV_PLAIN, true);
		pci_run(v->pci, false);
		assert_int_equal(pci_save(v->pci, &s.data, &s.len), 0);
		memset(field(&s, "virtio-pci", odd[i].field) + odd[i].off, 0xee, odd[i].len);
		assert_int_equal(pci_load(v->pci, s.data, s.len, NULL), 0);
		pci_run(v->pci, true);
		fg_frame(f, sizeof(f), 1);
		fg_tx(v->g, TXQ, NULL, f, sizeof(f), FG_SPLIT);
		fv_kick(v, TXQ);
		assert_int_equal(!!(fv_status(v) & VIRTIO_CONFIG_S_NEEDS_RESET), odd[i].broken);
		free(s.data);
	}
	fv_start(v, FV_PLAIN, true);
	send_one(v, 1);
	fv_free(v);
}

/* What the source offered and we do not is refused before the guest finds out. */
static void other_cards(void **state)
{
	struct fv *v = fv_new("virtio-net-pci"), *b = fv_new("virtio-net-pci,mrg_rxbuf=off");
	struct twx_error e = { 0 };
	uint8_t *data;
	size_t len;

	fv_start(v, FV_PLAIN | FG_BIT(VIRTIO_NET_F_MRG_RXBUF), true);
	pci_run(v->pci, false);
	assert_int_equal(pci_save(v->pci, &data, &len), 0);
	assert_int_equal(pci_load(b->pci, data, len, &e), -EINVAL);
	assert_non_null(strstr(e.what, "virtio: features 0x8000 are not offered here"));
	fv_free(b);
	b = fv_new_with("virtio-net-pci", 2, "");
	assert_int_equal(pci_load(b->pci, data, len, &e), -EINVAL);
	fv_free(b);
	b = fv_new("virtio-net-pci-non-transitional");
	assert_int_equal(pci_load(b->pci, data, len, &e), -EINVAL);
	assert_non_null(strstr(e.what, "configuration byte"));
	fv_free(b);
	free(data);
	fv_free(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rings_go_on),
		cmocka_unit_test(offered_in_between),
		cmocka_unit_test(settings_go_along),
		cmocka_unit_test(pairs_go_along),
		cmocka_unit_test(announced),
		cmocka_unit_test(link_differs),
		cmocka_unit_test(legacy_goes_along),
		cmocka_unit_test(saved_and_goes_on),
		cmocka_unit_test(loaded_while_running),
		cmocka_unit_test(hostile_values),
		cmocka_unit_test(odd_values),
		cmocka_unit_test(other_cards),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
