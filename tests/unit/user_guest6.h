/* SPDX-License-Identifier: BSD-3-Clause */
/* The toy guest's IPv6: frames to the user-mode network, and checked ones from it. */
#ifndef USER_GUEST6_H
#define USER_GUEST6_H

#include "user_guest.h"

#define GUEST6_LL "fe80::5054:ff:fe12:3456"
#define GUEST6_IP "fec0::5054:ff:fe12:3456"

struct in6_addr guest6_addr(const char *text);
/* A packet with one payload; the checksum of UDP and ICMPv6 is filled in. Returns the frame's
 * length. To our gateway's MAC, or to the group's of a multicast address. */
uint32_t guest6_ip(struct guest *g, uint8_t *frame, const char *src, const char *dst, uint8_t proto,
		   uint8_t hops, const void *l4, uint32_t len);
void guest6_icmp(struct guest *g, const char *src, const char *dst, uint8_t hops, const void *msg,
		 uint32_t len);
void guest6_udp(struct guest *g, const char *src, uint16_t sport, const char *dst, uint16_t dport,
		const void *data, uint32_t len);

/* A received packet, its lengths, MAC of a group and checksums verified. */
struct guest6_pkt {
	struct guest_frame frame;
	const uint8_t *l4, *data; /* data: behind the UDP header; L4 itself otherwise */
	struct in6_addr src, dst;
	uint8_t proto, hops;
	uint16_t sport, dport;
	uint32_t l4_len, len;
};
/* The next one of @proto; other frames before it are thrown away. False: none within @ms. */
bool guest6_recv(struct guest *g, uint8_t proto, struct guest6_pkt *p, int ms);
void guest6_free(struct guest6_pkt *p);
#define assert_addr6(a, text)                                                                      \
	do {                                                                                       \
		struct in6_addr want_ = guest6_addr(text);                                         \
		assert_memory_equal(&(a), &want_, 16);                                             \
	} while (0)

/* A test that gets a guest of default options as its state. */
int guest6_setup(void **state);
int guest6_teardown(void **state);
#define on_guest(test) cmocka_unit_test_setup_teardown(test, guest6_setup, guest6_teardown)

#endif
