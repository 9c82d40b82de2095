/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests of the tap backend: a NIC that writes down what it gets, a namespace, interfaces. */
#ifndef TESTS_TAP_KIT_H
#define TESTS_TAP_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <stdbool.h>

#include <twinax/twinax.h>

#define HOST_IP "10.9.9.1"
#define GUEST_IP "10.9.9.2"
#define MAX_LOG 512

extern const uint8_t guest_mac[6];
extern const struct twx_port_ops nic_ops; /* of a struct nic */

struct seen {
	uint32_t len;
	struct twx_meta meta;
	uint8_t head[128];
};

/* A NIC that writes down what it gets. */
struct nic {
	struct twx_port port;
	bool busy, lends;
	int n, commits, aborts, reserves;
	struct seen log[MAX_LOG];
	uint8_t buf[TWX_FRAME_MAX];
	uint32_t payload; /* bytes of TCP payload so far */
	bool payload_ok;
};

struct ctx {
	struct twx_loop *loop;
	struct twx_net *net;
	struct twx_backend *tap;
	struct nic nic;
	char log[4096];
	uint8_t host_mac[6];
};

int tap_setup(void **state); /* *state: a struct ctx */
int tap_teardown(void **state);
/* Runs the tests in a network namespace of their own; 77 without the right to have one. */
#define tap_run(tests) (tap_enter() ? cmocka_run_group_tests(tests, NULL, NULL) : 77)
bool tap_enter(void);
#define T(fn) cmocka_unit_test_setup_teardown(fn, tap_setup, tap_teardown)

/* Opens c->tap by option text, with the NIC at the other end. */
void open_tap(struct ctx *c, const char *text);
/* The usual one, with an address, for a receiver with @caps. */
void open_tt0(struct ctx *c, uint32_t caps);
/* @text must be refused with @part in the sentence, and leave nothing behind. */
void expect_refused(struct ctx *c, const char *text, const char *part);
void run_loop(struct ctx *c, int ms);

bool link_exists(const char *name);
void if_mtu(const char *name, int mtu);
void if_address(struct ctx *c, const char *name); /* HOST_IP, and GUEST_IP as a fixed neighbour */
struct sockaddr_in addr(const char *ip, uint16_t port);

uint8_t pattern(uint32_t at); /* byte @at of a TCP test's payload */
uint32_t get32(const uint8_t *p);
uint16_t sum16(const uint8_t *p, size_t len, uint32_t sum);
uint16_t pseudo(const uint8_t *ip, uint8_t proto, uint32_t l4_len);

/* @n datagrams with their numbers to the guest, and whether just those arrived, in order. */
void send_numbered(int fd, int n);
void expect_numbered(const struct ctx *c, int n);

#endif
