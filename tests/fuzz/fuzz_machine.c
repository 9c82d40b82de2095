/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile guest against the whole machine: any access to any port and address, with an e1000, a
 * virtio-net-pci and, behind a root port, another one plugged, and a peer on the other end of the
 * e1000's cable.
 *
 * Byte 0: bit 0, the client is its own firmware (else BARs are placed and decoded as the table
 * below has it). Then one byte an operation, with its arguments. Operations become commands of the
 * qtest protocol, which go out together. In the end the machine answers, and after a reset its
 * cards are as they were.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/macros.h"
#include "fuzz.h"
#include "machine_kit.h"

#define MAX_TEXT 65536

struct run {
	struct kit k;
	struct twx_nic *nic;
	int peer;
	const uint8_t *p, *end;
	char text[MAX_TEXT];
	size_t n;
};

/* What firmware has placed: where, how much of it, and the register that says so. */
static const struct place {
	uint32_t at; /* as port 0xcf8 has it */
	uint8_t reg;
	uint32_t base, len;
	bool io;
} places[] = {
	{ 0x80002000, 0x10, 0xc0000000, 0x20000, false }, /* e1000 */
	{ 0x80002000, 0x14, 0xc000, 0x40, true },
	{ 0x80002800, 0x10, 0xc100, 0x40, true }, /* virtio-net-pci */
	{ 0x80002800, 0x14, 0xc0100000, 0x1000, false },
	{ 0x80002800, 0x20, 0xc0104000, 0x4000, false },
	{ 0x80010000, 0x14, 0xc1000000, 0x1000, false }, /* behind the root port */
	{ 0x80010000, 0x20, 0xc1004000, 0x4000, false },
};

/* Where the board's own devices are. */
static const uint16_t board[] = {
	0x60,  0x61,  0x64,  0x70,  0x71,  0x72,  0x92,	 0x510, 0x511, 0x514, 0x518,
	0x600, 0x602, 0x604, 0x608, 0x3f8, 0x3f9, 0x3fb, 0x3fd, 0xcf8, 0xcf9, 0xcfc,
};

static uint8_t get8(struct run *r)
{
	return r->p < r->end ? *r->p++ : 0;
}

static uint64_t get(struct run *r, unsigned int bytes)
{
	uint64_t v = 0;

	for (unsigned int i = 0; i < bytes; i++)
		v |= (uint64_t)get8(r) << (8 * i);
	return v;
}

static void flush(struct run *r)
{
	(void)kit_talk(&r->k, r->text, r->n);
	assert(!r->k.gone);
	r->n = r->k.n_said = 0;
}

__attribute__((format(printf, 2, 3))) static void say(struct run *r, const char *fmt, ...)
{
	va_list ap;

	if (r->n + 256 > sizeof(r->text))
		flush(r);
	va_start(ap, fmt);
	r->n += (size_t)vsnprintf(r->text + r->n, sizeof(r->text) - r->n - 1, fmt, ap);
	va_end(ap);
	r->text[r->n++] = '\n';
}

static void config_set(struct run *r, uint32_t at, unsigned int reg, uint32_t v)
{
	say(r, "outl 0xcf8 0x%x", at | reg);
	say(r, "outl 0xcfc 0x%x", v);
}

static void firmware(struct run *r)
{
	config_set(r, 0x80000800, 0x60, 0x0b0b0a0a);
	config_set(r, 0x80003000, 0x18, 0x00010100);
	config_set(r, 0x80003000, 0x20, 0xc100c100);
	config_set(r, 0x80003000, 0x04, 7);
	for (size_t i = 0; i < array_size(places); i++) {
		config_set(r, places[i].at, places[i].reg, places[i].base);
		config_set(r, places[i].at, 0x04, 7);
	}
	say(r, "irq_intercept_in ioapic");
}

/* Size, read or write, and what is written, from one byte and those behind it. */
static void touch(struct run *r, bool io, uint64_t addr)
{
	static const char letter[] = "bwlq";
	uint8_t how = get8(r);
	unsigned int size = how & 3;

	if (io && size == 3)
		size = 2;
	if (how & 4)
		say(r, "%s%c 0x%llx", io ? "in" : "read", letter[size], (unsigned long long)addr);
	else
		say(r, "%s%c 0x%llx 0x%llx", io ? "out" : "write", letter[size],
		    (unsigned long long)addr, (unsigned long long)get(r, 1u << size));
}

static void op_placed(struct run *r)
{
	const struct place *p = &places[get8(r) % array_size(places)];
	uint32_t off = (uint32_t)get(r, 2) % p->len;

	touch(r, p->io, p->base + off);
}

static void op_config(struct run *r)
{
	const struct place *p = &places[get8(r) % array_size(places)];
	uint8_t how = get8(r), reg = get8(r);
	uint32_t at = how & 1 ? p->at : 0x80000000 | (uint32_t)get8(r) << 11 | (how & 6) << 15;

	if (how & 8) {
		touch(r, false, 0xe0000000 + ((at & 0xffff00) << 4) + (reg | (how & 0xf0) << 4));
	} else {
		say(r, "outl 0xcf8 0x%x", at | (reg & 0xfcu));
		touch(r, true, 0xcfc + (reg & 3u));
	}
}

static void op_bulk(struct run *r, uint8_t op)
{
	const struct place *p = &places[get8(r) % array_size(places)];
	uint64_t addr = op & 0x10 ? p->base + get(r, 2) : get(r, 3);
	unsigned int len = get8(r) % 65 + 1u;

	if (op & 0x20) {
		say(r, "read 0x%llx %u", (unsigned long long)addr, len);
	} else if (op & 0x40) {
		say(r, "memset 0x%llx %u %u", (unsigned long long)addr, len * 8, get8(r));
	} else {
		char hex[2 * 65 + 1];

		for (unsigned int i = 0; i < len; i++)
			sprintf(hex + 2 * i, "%02x", get8(r));
		say(r, "write 0x%llx %u 0x%s", (unsigned long long)addr, len, hex);
	}
}

/* A frame from the other end of the cable; the address is the card's or anybody's. */
static void op_frame(struct run *r, uint8_t op)
{
	uint8_t f[1600] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 };
	unsigned int len = (unsigned int)get(r, 2) % sizeof(f), own = op & 0x10 ? 6 : 0, i;

	flush(r);
	for (i = own; i < len && r->p < r->end && i < 64; i++)
		f[i] = get8(r);
	(void)send(r->peer, f, len, MSG_DONTWAIT);
}

static void op_life(struct run *r)
{
	uint8_t what = get8(r);

	flush(r);
	switch (what & 3) {
	case 0:
		(void)twx_machine_pause(r->k.machine, NULL);
		break;
	case 1:
		(void)twx_machine_resume(r->k.machine, NULL);
		break;
	case 2:
		(void)twx_net_set_link(r->k.net, "n", what & 4, NULL);
		break;
	case 3:
		if (r->nic)
			(void)twx_machine_unplug(r->k.machine, r->nic, NULL);
		r->nic = NULL;
		break;
	}
}

static void step(struct run *r)
{
	uint8_t op = get8(r);

	switch (op & 15) {
	case 0 ... 4:
		op_placed(r);
		break;
	case 5 ... 6:
		op_config(r);
		break;
	case 7:
		touch(r, true, op & 0x10 ? board[get8(r) % array_size(board)] : get(r, 2));
		break;
	case 8:
		touch(r, false, get(r, op & 0x10 ? 8 : 4));
		break;
	case 9 ... 10:
		touch(r, false, get(r, 3)); /* memory */
		break;
	case 11 ... 12:
		op_bulk(r, op);
		break;
	case 13:
		say(r, "clock_step %llu", (unsigned long long)get(r, 4) << (op >> 4));
		break;
	case 14:
		op_frame(r, op);
		break;
	case 15:
		op_life(r);
		break;
	}
}

static void plug(struct run *r)
{
	struct twx_backend *b;
	struct twx_nic *nic;
	char text[96];
	int fd[2], rc;

	rc = socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd);
	assert(rc == 0);
	r->peer = fd[1];
	snprintf(text, sizeof(text), "dgram,id=n,local.type=fd,local.str=%d", fd[0]);
	rc = twx_backend_new(&b, r->k.net, text, NULL);
	assert(rc == 0);
	rc = twx_backend_new(&b, r->k.net, "hubport,id=h0,hubid=0", NULL);
	assert(rc == 0);
	rc = twx_backend_new(&b, r->k.net, "hubport,id=h1,hubid=0", NULL);
	assert(rc == 0);
	rc = twx_machine_device(r->k.machine, "pcie-root-port,id=rp,addr=6", NULL);
	assert(rc == 0);
	rc = twx_nic_new(&nic, r->k.net, "e1000,netdev=n,addr=4,mac=52:54:00:12:34:56", NULL);
	assert(rc == 0);
	rc = twx_nic_new(&nic, r->k.net, "virtio-net-pci,netdev=h0,addr=5", NULL);
	assert(rc == 0);
	rc = twx_nic_new(&r->nic, r->k.net, "virtio-net-pci,netdev=h1,bus=rp", NULL);
	assert(rc == 0);
}

static void assert_works(struct run *r)
{
	static const char want[] = "OK little\nOK\nOK 0x100e8086\nOK\nOK 0x10001af4\n";
	const char *last;

	flush(r);
	(void)twx_machine_resume(r->k.machine, NULL);
	(void)twx_machine_reset(r->k.machine, NULL);
	say(r, "endianness");
	say(r, "outl 0xcf8 0x80002000");
	say(r, "inl 0xcfc");
	say(r, "outl 0xcf8 0x80002800");
	say(r, "inl 0xcfc");
	/* A step over many timers may be under way still. */
	for (int i = 0; i < 10000; i++) {
		(void)kit_talk(&r->k, r->text, r->n);
		r->n = 0;
		last = r->k.n_said >= strlen(want) ? r->k.said + r->k.n_said - strlen(want) : "";
		if (!strcmp(last, want))
			return;
	}
	assert(!"the machine does not answer");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run *r = calloc(1, sizeof(*r));

	assert(r);
	r->p = data;
	r->end = data + size;
	kit_open(&r->k);
	plug(r);
	kit_start(&r->k);
	if (!(get8(r) & 1))
		firmware(r);
	while (r->p < r->end)
		step(r);
	assert_works(r);
	kit_close(&r->k);
	close(r->peer);
	free(r);
	return 0;
}
