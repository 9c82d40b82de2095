/* SPDX-License-Identifier: BSD-3-Clause */
/* e1000, guest to host: frames of every kind while the peer refuses, memory moves and state is
 * loaded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macros.h"
#include "fake_e1000_packets.h"

static uint8_t buf[2u << 20], pkt[2u << 20];

static uint32_t seed_now;

static uint32_t rnd(uint32_t n)
{
	seed_now = seed_now * 1664525 + 1013904223;
	return (seed_now >> 8) % n;
}

struct sent {
	struct fr_packet k;
	uint32_t len, mss; /* mss 0: a plain frame */
	uint8_t *data;
};

static void random_pieces(struct fr *r, const uint8_t *f, uint32_t len, uint8_t cmd, uint8_t popts)
{
	uint32_t off = 0, most = rnd(4) ? 4096 : 1 + rnd(100);

	most = max(most, len / 60 + 1);
	do {
		uint32_t here = min(rnd(most + 1), len - off);
		bool last = off + here == len;

		if (cmd & TXD_DEXT)
			fr_data(r, f + off, here, (uint8_t)(cmd | (last ? FR_EOP : 0)), popts);
		else
			fr_legacy(r, f + off, here, last ? FR_EOP : 0);
		off += here;
	} while (off < len);
}

static void random_frame(struct fr *r, struct sent *s)
{
	struct fr_ctx c;

	s->k = kinds[rnd(4)];
	s->k.seed = (uint8_t)rnd(256);
	s->mss = 0;
	switch (rnd(4)) {
	case 0:
		s->k.payload = 1 + rnd(1400);
		s->len = fr_packet(pkt, &s->k);
		random_pieces(r, pkt, s->len, 0, 0);
		break;
	case 1:
		s->k.payload = 1 + rnd(9000);
		s->len = fr_packet(pkt, &s->k);
		memcpy(buf, pkt, s->len);
		fr_seed(buf, &s->k, s->len - fr_l4_off(&s->k));
		c = csum_ctx(&s->k);
		fr_context(r, &c);
		random_pieces(r, buf, s->len, TXD_DEXT, TXD_TXSM);
		break;
	default:
		s->k.payload = 1 + rnd(rnd(3) ? 60000 : 200000);
		s->mss = 300 + rnd(1500);
		s->len = tso_packet(pkt, &s->k);
		c = tso_ctx(&s->k, (uint16_t)s->mss);
		if (rnd(2))
			c.paylen = 0;
		fr_context(r, &c);
		random_pieces(r, pkt, s->len, TXD_DEXT | TXD_TSE,
			      TXD_TXSM | (s->k.v6 ? 0 : TXD_IXSM));
		break;
	}
	s->data = malloc(s->len);
	memcpy(s->data, pkt, s->len);
}

static void random_event(struct fr *r)
{
	uint8_t *saved;
	size_t len;

	switch (rnd(8)) {
	case 0:
		fp_remap(r->g);
		break;
	case 1:
		pci_run(r->g->pci, false);
		assert_int_equal(pci_save(r->g->pci, &saved, &len), 0);
		assert_int_equal(pci_load(r->g->pci, saved, len, NULL), 0);
		free(saved);
		pci_run(r->g->pci, true);
		break;
	case 2:
	case 3:
		r->g->wire->room = rnd(6);
		twx_port_ready(r->g->wire->port);
		break;
	default:
		fr_kick(r);
		break;
	}
	fp_run(r->g);
}

/* Whatever happens in between, everything arrives once, in order, and as it should be. */
static void random_round(bool cut)
{
	struct fr *r = start();
	struct sent sent[12];
	unsigned int n = 0;

	set_caps(r, cut ? 0 : ALL_CAPS);
	fr_tx_setup(r, 4096);
	r->g->wire->room = rnd(10);
	for (size_t i = 0; i < array_size(sent); i++) {
		random_frame(r, &sent[i]);
		for (uint32_t k = rnd(4); k; k--)
			random_event(r);
		if (fp_rd(r->g, O_TDH) == r->tail)
			r->brk = r->buf_from; /* the buffers are free again */
	}
	r->g->wire->room = ~0u;
	fr_kick(r);
	twx_port_ready(r->g->wire->port);
	fp_run(r->g);
	assert_int_equal(fp_rd(r->g, O_TDH), r->tail);
	for (size_t i = 0; i < array_size(sent); i++) {
		struct sent *s = &sent[i];

		if (s->mss) {
			n = assert_stream(r, n, &s->k, s->data, s->mss, cut);
		} else {
			const struct fg_frame *f = &r->g->wire->frames[n++];

			assert_int_equal(f->len, max(s->len, 60u));
			if (!f->meta.flags)
				assert_memory_equal(f->data, s->data, s->len);
		}
		free(s->data);
	}
	assert_int_equal(n, r->g->wire->n_frames);
	fr_free(r);
}

static void test_at_random(void **state)
{
	for (uint32_t i = 0; i < 150; i++) {
		seed_now = i;
		random_round(i & 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_at_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
