/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile guest against the whole e1000: the input is a program of register accesses of any size,
 * descriptors, raw memory, frames from the other end, time, configuration space, resets, stops,
 * moves of memory, and state that is loaded with bytes of it changed.
 *
 * Byte 0 picks the options; then one byte an operation, its arguments follow. Rings and buffers lie
 * in a window of 64 KiB around the border of the two regions of memory; while a frame is sent, the
 * guest may write there.
 */
#include "../device/fake_e1000_rings.h"

#include "base/macros.h"
#include "fuzz.h"

#define WINDOW (FP_BORDER - 0x8000)
#define RING 0x2000u /* of the window: transmit, and behind it receive */
#define N_DESC 32u

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

struct run {
	struct fr *r;
	struct fp *g;
	struct input in;
	bool racing; /* guest memory changes while a frame is sent */
};

static const uint32_t offsets[] = {
#define X(name, off, ...) off,
	E1000_REGS(X)
#undef X
};

static void poke(struct run *run)
{
	uint16_t off = get16(&run->in), n = get8(&run->in) % 32;

	for (uint16_t i = 0; i < n; i++)
		*(uint8_t *)fp_ptr(run->g, WINDOW + (uint16_t)(off + i)) = get8(&run->in);
}

/* The other end reads all that it is given, and the guest is quicker. */
static void on_frame(struct fg_wire *w, const struct twx_frame *f)
{
	struct run *run = w->hook_data;
	volatile uint8_t sum = 0;

	if (run->racing)
		poke(run);
	for (uint32_t i = 0; i < f->n_iov; i++)
		for (size_t k = 0; k < f->iov[i].iov_len; k += 64)
			sum = (uint8_t)(sum + ((const uint8_t *)f->iov[i].iov_base)[k]);
}

static void rounds(struct run *run)
{
	for (int i = 0; i < 20 && twx_loop_poll(run->g->loop, 0) > 0; i++)
		;
}

/* Registers. */

static void op_reg(struct run *run, uint8_t op)
{
	uint32_t off = offsets[get8(&run->in) % array_size(offsets)];

	if (op & 1)
		fp_wr(run->g, off, get32(&run->in));
	else if (op & 2)
		fp_wr(run->g, off + 4u * get8(&run->in), get16(&run->in));
	else
		fp_rd(run->g, off + 4u * get8(&run->in));
}

static void op_bar(struct run *run)
{
	uint8_t what = get8(&run->in), data[8], len = 1 + (what >> 2) % 8;
	uint32_t off = get32(&run->in) % (E1000_MMIO_SIZE + 8);

	for (uint8_t i = 0; i < len; i++)
		data[i] = get8(&run->in);
	if (what & 2)
		off %= E1000_IO_SIZE + 4;
	if (what & 1)
		pci_bar_write(run->g->pci, what >> 1 & 1, off, data, len);
	else
		pci_bar_read(run->g->pci, what >> 1 & 1, off, data, len);
}

static void op_config(struct run *run)
{
	uint8_t what = get8(&run->in), off = get8(&run->in), data[4], len = 1 + what % 4;

	for (uint8_t i = 0; i < len; i++)
		data[i] = get8(&run->in);
	if (what & 0x80)
		pci_config_write(run->g->pci, off, data, len);
	else
		pci_config_read(run->g->pci, off, data, len);
}

/* What drivers do, one register after the other. */
static void op_mdic(struct run *run)
{
	fp_wr(run->g, O_MDIC, get32(&run->in));
}

static void op_eeprom(struct run *run)
{
	uint16_t bits = get16(&run->in);

	for (int i = 0; i < 9; i++) {
		uint32_t di = bits >> (8 - i) & 1 ? EECD_DI : 0;

		fp_wr(run->g, O_EECD, EECD_CS | di);
		fp_wr(run->g, O_EECD, EECD_CS | di | EECD_SK);
	}
	for (int i = bits >> 9; i > 0; i--) {
		fp_wr(run->g, O_EECD, EECD_CS);
		fp_wr(run->g, O_EECD, EECD_CS | EECD_SK);
	}
	fp_wr(run->g, O_EECD, 0);
}

static void op_driver(struct run *run)
{
	struct fr *r = run->r;
	uint8_t what = get8(&run->in);

	r->tx = WINDOW;
	r->rx = WINDOW + RING;
	r->rx_bufs = WINDOW + 2 * RING;
	fp_enable(run->g);
	fr_tx_setup(r, N_DESC);
	fr_rx_setup(r, N_DESC, get32(&run->in) | RCTL_EN);
	fp_wr(run->g, O_CTRL, CTRL_SLU | (what & 1 ? CTRL_VME : 0));
	fp_wr(run->g, O_RXCSUM, (uint32_t)(what & 2 ? RXCSUM_TUOFL | RXCSUM_IPOFL | 14 : 0));
	fp_wr(run->g, O_RDTR, what & 4 ? 8 : 0);
	fp_wr(run->g, O_TIDV, what & 8 ? 8 : 0);
	fp_wr(run->g, O_ITR, what & 16 ? 200 : 0);
	fp_wr(run->g, O_IMS, what & 32 ? 0xffffffff : 0);
}

/* Rings. */

static void op_descriptor(struct run *run)
{
	uint8_t what = get8(&run->in);
	union e1000_txd t;

	for (size_t i = 0; i < sizeof(t); i++)
		((uint8_t *)&t)[i] = get8(&run->in);
	if (what & 1) /* somewhere in the window */
		t.legacy.addr = le64_make(WINDOW + le64_get(t.legacy.addr) % 0x10000);
	if (what & 2)
		t.legacy.cmd |= TXD_EOP;
	if (what & 4) { /* a data or a context descriptor */
		t.legacy.cmd |= TXD_DEXT;
		t.legacy.cso = (uint8_t)((t.legacy.cso & 0xf) | (what & 8 ? 0x10 : 0));
	}
	fr_desc(run->r, &t);
	if (what & 16)
		fr_kick(run->r);
}

static uint32_t packet(struct run *run, uint8_t *f)
{
	uint8_t what = get8(&run->in);
	struct fr_packet k = { .v6 = what & 1,
			       .proto = what & 2 ? 6 : 17,
			       .payload = what & 4 ? get16(&run->in) % 9000 : what,
			       .seed = what,
			       .tcp_flags = 0x19 };
	uint32_t len = fr_packet(f, &k);

	if (what & 8) /* and something wrong with it */
		for (int i = get8(&run->in) % 8; i > 0; i--)
			f[get8(&run->in) % min(len, 100u)] = get8(&run->in);
	return len;
}

/* A packet as drivers send them, with a context that may or may not fit it. */
static void op_packet(struct run *run)
{
	uint8_t buf[9100], what = get8(&run->in);
	uint32_t len = packet(run, buf), l4 = buf[12] == 0x86 ? 54 : 34;
	struct fr_ctx c = {
		.ipcss = 14,
		.ipcso = 24,
		.ipcse = 33,
		.tucss = (uint8_t)l4,
		.tucso = (uint8_t)(l4 + 16),
		.hdr_len = (uint8_t)(l4 + 20),
		.mss = get16(&run->in) % 2000,
		.paylen = len - min(len, l4 + 20),
		.tucmd = (uint8_t)(what & 7),
	};
	uint8_t cmd = (uint8_t)((what & 4 ? TXD_TSE : 0) | (what & 8 ? TXD_VLE : 0) |
				(what & 16 ? TXD_IDE : 0) | TXD_RS);

	if (what & 32)
		c.ipcso = get8(&run->in), c.tucso = get8(&run->in), c.tucss = get8(&run->in);
	fr_context(run->r, &c);
	if (what & 64) {
		fr_data(run->r, buf, len / 3, cmd, 3);
		fr_data(run->r, buf + len / 3, len - len / 3, cmd | TXD_EOP, 3);
	} else {
		fr_data(run->r, buf, len, cmd | TXD_EOP, 3);
	}
	fr_kick(run->r);
}

static struct twx_meta meta(struct run *run, uint32_t len)
{
	uint8_t what = get8(&run->in);
	struct twx_meta m = { .flags = what & (TWX_F_NEEDS_CSUM | TWX_F_CSUM_VALID | TWX_F_VLAN) };

	m.vlan_tci = (uint16_t)(what << 8 | what);
	if (what & 0x10)
		m.gso = what & 0x20 ? TWX_GSO_TCPV4 : TWX_GSO_TCPV6;
	m.gso_size = what & 0x40 ? 1000 : get8(&run->in);
	m.csum_start = what & 0x80 ? 34 : get8(&run->in);
	m.csum_off = what & 0x80 ? 16 : get8(&run->in);
	m.hdr_len = (uint16_t)min(len, 54u);
	return m;
}

static void op_frame(struct run *run, uint8_t op)
{
	static uint8_t data[20000];
	uint32_t len;
	struct twx_meta m;
	struct iovec iov;
	struct twx_frame f;

	if (op & 1) {
		len = packet(run, data);
		memcpy(data, run->g->nic->mac, 6);
	} else {
		len = max(get16(&run->in) % (uint32_t)sizeof(data), (uint32_t)TWX_FRAME_MIN);
		for (int i = 0; i < 18; i++)
			data[i] = get8(&run->in);
	}
	m = meta(run, len);
	iov = (struct iovec){ data, len };
	f = (struct twx_frame){ .iov = &iov, .n_iov = 1, .len = len, .meta = m };
	if (op & 2)
		twx_port_post(run->g->wire->port, &f, 1);
	else
		twx_port_send(run->g->wire->port, &f, 1);
}

/* The world around it. */

static void op_state(struct run *run)
{
	uint8_t *data, n = get8(&run->in) % 8;
	size_t len;

	if (pci_save(run->g->pci, &data, &len) < 0)
		return;
	for (; n > 0; n--) {
		size_t at = get32(&run->in) % len;

		data[at] = get8(&run->in);
	}
	pci_load(run->g->pci, data, len, NULL);
	free(data);
}

static void op_memory(struct run *run, uint8_t what)
{
	struct fp *g = run->g;
	bool there = g->mem->n == 2;

	pci_mem_changing(g->pci);
	if (there)
		mem_remove(g->mem, FP_BORDER, FP_RAM / 2, 0);
	if (!there || what & 1)
		mem_add_take(g->mem, FP_BORDER, FP_RAM / 2, 0, dup(g->fd), 0);
	pci_mem_changed(g->pci);
}

static void op_world(struct run *run)
{
	uint8_t what = get8(&run->in);
	struct fp *g = run->g;

	switch (what % 10) {
	case 0:
		pci_reset(g->pci);
		break;
	case 1:
		fp_wr(g, O_CTRL, what & 0x80 ? CTRL_RST : CTRL_RST | CTRL_PHY_RST);
		break;
	case 2:
		pci_run(g->pci, what & 0x80);
		break;
	case 3:
		twx_port_set_link(g->nic->ports[0], what & 0x80);
		break;
	case 4:
		op_memory(run, what >> 7);
		break;
	case 5:
		op_state(run);
		break;
	case 6:
		run->racing = !run->racing;
		break;
	case 7:
		g->wire->room = what >> 4;
		break;
	case 8:
		twx_port_ready(g->wire->port);
		break;
	default:
		fe_pass(g, (uint64_t)get16(&run->in) * (what & 0x80 ? 100000 : 64));
	}
}

static void step(struct run *run)
{
	uint8_t op = get8(&run->in);

	switch (op % 16) {
	case 0 ... 2:
		op_reg(run, op >> 4);
		break;
	case 3:
		op_bar(run);
		break;
	case 4:
		op_config(run);
		break;
	case 5:
		op_driver(run);
		break;
	case 6:
	case 7:
		op_descriptor(run);
		break;
	case 8:
	case 9:
		op_packet(run);
		break;
	case 10:
	case 11:
		op_frame(run, op >> 4);
		break;
	case 12:
		poke(run);
		break;
	case 13:
		op_world(run);
		break;
	case 14:
		if (op & 0x80)
			op_mdic(run);
		else
			op_eeprom(run);
		break;
	default:
		rounds(run);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const options[] = { "",
					       ",mitigation=off",
					       ",extra_mac_registers=off",
					       ",autonegotiation=off",
					       ",init-vet=off",
					       ",migrate_tso_props=off" };
	struct run run = { .in = { data, data + size } };
	struct fr *r;

	r = fr_new(options[get8(&run.in) % array_size(options)]);
	run.r = r;
	run.g = r->g;
	r->g->wire->keep = false;
	r->g->wire->hook = on_frame;
	r->g->wire->hook_data = &run;
	while (run.in.p < run.in.end)
		step(&run);
	/* Whatever went before, a reset brings a device that moves a frame both ways. */
	if (r->g->mem->n != 2)
		op_memory(&run, 1);
	pci_run(r->g->pci, true);
	twx_port_purge(r->g->nic->ports[0]);
	twx_port_purge(r->g->wire->port);
	r->g->wire->hook = NULL;
	r->g->wire->keep = true;
	if (!fr_works(r))
		abort();
	fr_free(r);
	return 0;
}
