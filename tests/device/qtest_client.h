/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client of the qtest protocol for tests: accesses, PCI configuration by ports, interrupts; and a
 * machine in this process for it to talk to. A client of another process's machine has no loop.
 */
#ifndef TESTS_QTEST_CLIENT_H
#define TESTS_QTEST_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <twinax/machine.h>
#include <twinax/twinax.h>

struct qt {
	struct twx_loop
		*loop; /* polled while an answer is awaited; null: another process answers */
	int fd;
	char *in;
	size_t off, n_in, room; /* what has come is n_in bytes at in + off */
	char line[512]; /* the last answer's beginning */
	uint32_t irq;	/* levels, a bit per GSI */
	unsigned int raised[24];
};

/* A machine with its net, served at @path. */
struct qt_machine {
	struct twx_loop *loop;
	struct twx_net *net;
	struct twx_machine *machine;
	struct twx_error e;
	char dir[64], path[96], log[4096];
	enum twx_machine_event event;
	unsigned int n_events;
};

/* Everything fails the test where it does not work out. */
void qt_machine_open(struct qt_machine *m, const char *qtest_log);
struct twx_nic *qt_machine_nic(struct qt_machine *m, const char *text);
void qt_machine_start(struct qt_machine *m);
void qt_machine_close(struct qt_machine *m);
void qt_pump(struct twx_loop *loop); /* until nothing is due */

void qt_connect(struct qt *c, const char *path, struct twx_loop *loop);
void qt_close(struct qt *c);
void qt_send(struct qt *c, const void *text, size_t len); /* as it stands */
/* The next line that is no interrupt; false when the other side has hung up. */
bool qt_line(struct qt *c, char **line);
bool qt_poll(struct qt *c); /* what has come unasked; false if the other side has hung up */

/* One command; its answer, whatever it is. */
__attribute__((format(printf, 2, 3))) const char *qt_ask(struct qt *c, const char *fmt, ...);
/* One that works; the value behind OK. */
__attribute__((format(printf, 2, 3))) uint64_t qt_do(struct qt *c, const char *fmt, ...);

void qt_memwrite(struct qt *c, uint64_t addr, const void *buf, size_t len);
void qt_memread(struct qt *c, uint64_t addr, void *buf, size_t len);

/* PCI. @at: QT_AT(bus, slot, function). */
#define QT_AT(bus, slot, fn) ((uint32_t)(bus) << 16 | (uint32_t)(slot) << 11 | (uint32_t)(fn) << 8)
uint32_t qt_config(struct qt *c, uint32_t at, unsigned int off, unsigned int size);
void qt_config_set(struct qt *c, uint32_t at, unsigned int off, unsigned int size, uint32_t value);
/* Sizes the BAR, puts it at @addr; its size. */
uint64_t qt_bar(struct qt *c, uint32_t at, unsigned int bar, uint64_t addr);
unsigned int qt_cap(struct qt *c, uint32_t at, uint8_t id, unsigned int after); /* 0: none */
void qt_route(struct qt *c); /* PIIX3: PIRQA to D to IRQ 9, 5, 10, 11; intercepted */

#endif
