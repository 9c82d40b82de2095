/* SPDX-License-Identifier: BSD-3-Clause */
/* Neighbour discovery of the user-mode network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/loop_virtual.h"
#include "user_guest6.h"

enum { RS = 133, RA, NS, NA };

/* A neighbour message about @target, with option @type of our MAC unless that is 0. */
static uint32_t neighbour(const struct guest *g, uint8_t *msg, uint8_t kind, uint8_t flags,
			  const char *target, uint8_t type)
{
	struct in6_addr t = guest6_addr(target);

	memset(msg, 0, 32);
	msg[0] = kind;
	msg[4] = flags;
	memcpy(msg + 8, &t, 16);
	if (!type)
		return 24;
	msg[24] = type;
	msg[25] = 1;
	memcpy(msg + 26, g->mac, 6);
	return 32;
}

static void asks(struct guest *g, const char *src, const char *dst, const char *target, bool mac)
{
	uint8_t msg[32];

	guest6_icmp(g, src, dst, 255, msg, neighbour(g, msg, NS, 0, target, mac));
}

static bool answered(struct guest *g, struct guest6_pkt *p)
{
	return guest6_recv(g, IPPROTO_ICMPV6, p, 20);
}

static void gets_nothing(struct guest *g)
{
	struct guest6_pkt p;

	assert_false(answered(g, &p));
}

/* The solicited advertisement of @target with the MAC that ends in @last. */
static void gets_mac(struct guest *g, const char *target, uint8_t last)
{
	struct in6_addr t = guest6_addr(target);
	const uint8_t mac[6] = { 0x52, 0x56, 0, 0, 0, last };
	struct guest6_pkt p;

	assert_true(answered(g, &p));
	assert_int_equal(p.l4[0], NA);
	assert_int_equal(p.l4[1], 0);
	assert_int_equal(p.l4[4], 0xe0); /* router, solicited, override */
	assert_int_equal(p.hops, 255);
	assert_memory_equal(&p.src, &t, 16);
	assert_memory_equal(p.l4 + 8, &t, 16);
	assert_int_equal(p.l4_len, 32);
	assert_memory_equal(p.l4 + 24, "\2\1", 2);
	assert_memory_equal(p.l4 + 26, mac, 6);
	assert_memory_equal(p.frame.data + 6, mac, 6);
	assert_memory_equal(p.frame.data, g->mac, 6);
	guest6_free(&p);
}

static void our_addresses_are_answered_for(void **state)
{
	struct guest *g = *state;

	asks(g, GUEST6_IP, "ff02::1:ff00:2", "fec0::2", true);
	gets_mac(g, "fec0::2", 2);
	asks(g, GUEST6_LL, "ff02::1:ff00:3", "fec0::3", true);
	gets_mac(g, "fec0::3", 3);
	asks(g, GUEST6_LL, "ff02::1:ff00:2", "fe80::2", true);
	gets_mac(g, "fe80::2", 2);
	asks(g, GUEST6_LL, "ff02::1:ff00:3", "fe80::3", true);
	gets_mac(g, "fe80::3", 3);
	/* Is it still there? By unicast, without an option. */
	asks(g, GUEST6_IP, "fec0::2", "fec0::2", false);
	gets_mac(g, "fec0::2", 2);
	/* Nobody's. */
	asks(g, GUEST6_IP, "ff02::1:ff00:4", "fec0::4", true);
	asks(g, GUEST6_IP, "ff02::1:ff00:4", "fe80::4", true);
	asks(g, GUEST6_IP, "ff02::1:ff00:2", "2001:db8::2", true);
	gets_nothing(g);
}

static void duplicate_of_ours_is_defended(void **state)
{
	struct guest *g = *state;
	struct guest6_pkt p;

	asks(g, "::", "ff02::1:ff00:2", "fec0::2", false);
	assert_true(answered(g, &p));
	assert_int_equal(p.l4[0], NA);
	assert_int_equal(p.l4[4], 0xa0); /* not solicited: RFC 4861, 7.2.4 */
	assert_addr6(p.dst, "ff02::1");
	guest6_free(&p);
	/* What the guest wants for itself is its own. */
	asks(g, "::", "ff02::1:ff12:3456", GUEST6_IP, false);
	asks(g, "::", "ff02::1:ff12:3456", GUEST6_LL, false);
	asks(g, "::", "ff02::1:ff00:15", "fec0::15", false);
	gets_nothing(g);
}

static void invalid_messages_are_dropped(void **state)
{
	struct guest *g = *state;
	uint64_t before = guest_drops(g, TWX_DROP_BAD_PACKET), n = 0;
	uint8_t msg[64];
	uint32_t len = neighbour(g, msg, NS, 0, "fec0::2", 1);

	/* RFC 4861, 7.1.1 */
	guest6_icmp(g, GUEST6_IP, "ff02::1:ff00:2", 254, msg, len);
	n++;
	msg[1] = 1;
	guest6_icmp(g, GUEST6_IP, "ff02::1:ff00:2", 255, msg, len);
	n++;
	msg[1] = 0;
	for (uint32_t cut = 8; cut < len; cut++, n++) {
		if (cut == 24)
			cut++;
		guest6_icmp(g, GUEST6_IP, "ff02::1:ff00:2", 255, msg, cut);
	}
	msg[25] = 0;
	guest6_icmp(g, GUEST6_IP, "ff02::1:ff00:2", 255, msg, len);
	msg[25] = 2;
	guest6_icmp(g, GUEST6_IP, "ff02::1:ff00:2", 255, msg, len);
	msg[25] = 255;
	guest6_icmp(g, GUEST6_IP, "ff02::1:ff00:2", 255, msg, len);
	n += 3;
	asks(g, GUEST6_IP, "ff02::1:ff00:2", "ff02::1", true);
	asks(g, "::", "ff02::1:ff00:2", "fec0::2", true);
	asks(g, "::", "fec0::2", "fec0::2", false);
	n += 3;
	/* 6.1.1 */
	memcpy(msg, "\x85\0\0\0\0\0\0\0\1\1\x52\x54\0\x12\x34\x56", 16);
	guest6_icmp(g, GUEST6_LL, "ff02::2", 64, msg, 16);
	guest6_icmp(g, "::", "ff02::2", 255, msg, 16);
	guest6_icmp(g, GUEST6_LL, "ff02::2", 255, msg, 12);
	msg[9] = 0;
	guest6_icmp(g, GUEST6_LL, "ff02::2", 255, msg, 16);
	n += 4;
	/* No router but us, and no redirects. */
	memset(msg, 0, sizeof(msg));
	msg[0] = RA;
	guest6_icmp(g, GUEST6_LL, "ff02::1", 255, msg, 16);
	msg[0] = 137;
	guest6_icmp(g, GUEST6_LL, "fe80::2", 255, msg, 40);
	n += 2;
	gets_nothing(g);
	assert_int_equal(guest_drops(g, TWX_DROP_BAD_PACKET) - before, n);
}

/* The option of a router advertisement, or null. */
static const uint8_t *option(const struct guest6_pkt *p, uint8_t type)
{
	for (uint32_t at = 16; at < p->l4_len; at += p->l4[at + 1] * 8u) {
		assert_true(p->l4[at + 1] && at + p->l4[at + 1] * 8u <= p->l4_len);
		if (p->l4[at] == type)
			return p->l4 + at;
	}
	return NULL;
}

static void solicits_router(struct guest *g, struct guest6_pkt *p)
{
	uint8_t rs[16] = { RS, [8] = 1, [9] = 1 };

	memcpy(rs + 10, g->mac, 6);
	guest6_icmp(g, GUEST6_LL, "ff02::2", 255, rs, sizeof(rs));
	assert_true(answered(g, p));
	assert_int_equal(p->l4[0], RA);
	assert_int_equal(p->hops, 255);
	assert_addr6(p->src, "fe80::2");
	assert_addr6(p->dst, GUEST6_LL);
	assert_memory_equal(p->frame.data, g->mac, 6);
	assert_true(p->l4_len + 40 <= 1280);
}

static void router_is_advertised(void **state)
{
	struct guest *g = *state;
	const uint8_t *o, prefix[16] = { 0xfe, 0xc0 }, dns[16] = { 0xfe, 0xc0, [15] = 3 };
	struct guest6_pkt p;

	solicits_router(g, &p);
	assert_int_equal(p.l4[4], 64);
	assert_int_equal(p.l4[5], 0); /* neither M nor O, as QEMU's */
	assert_int_equal(user_get16(p.l4 + 6), 1800);
	o = option(&p, 1);
	assert_memory_equal(o + 2, g->user->mac6, 6);
	assert_memory_equal(p.frame.data + 6, g->user->mac6, 6);
	assert_int_equal(user_get32(option(&p, 5) + 4), 1500);
	o = option(&p, 3);
	assert_int_equal(o[1], 4);
	assert_int_equal(o[2], 64);
	assert_int_equal(o[3], 0xc0);
	assert_int_equal(user_get32(o + 4), 86400);
	assert_int_equal(user_get32(o + 8), 14400);
	assert_memory_equal(o + 16, prefix, 16);
	o = option(&p, 25);
	assert_int_equal(o[1], 3);
	assert_int_equal(user_get32(o + 4), 1800);
	assert_memory_equal(o + 8, dns, 16);
	assert_null(option(&p, 31));
	guest6_free(&p);
}

static void options_show_in_the_advertisement(void **state)
{
	static const char names[] = "\3lab\7example\0\7example\0\0\0";
	struct guest6_pkt p;
	const uint8_t *o;
	struct guest g;

	assert_true(guest_open(&g,
			       "mtu=9000,ipv6-net=fd12:3456::/96,dnssearch=lab.example,dnssearch="
			       "example",
			       0, NULL));
	solicits_router(&g, &p);
	/* No address of the guest's own making fits: DHCPv6 gives one. */
	assert_int_equal(p.l4[5], 0x80);
	assert_int_equal(user_get32(option(&p, 5) + 4), 9000);
	o = option(&p, 3);
	assert_int_equal(o[2], 96);
	assert_int_equal(o[3], 0x80);
	o = option(&p, 31);
	assert_int_equal(o[1] * 8, 8 + sizeof(names) - 1);
	assert_memory_equal(o + 8, names, sizeof(names) - 1);
	guest6_free(&p);
	guest_close(&g);

	assert_true(guest_open(&g, "bootfile=x", 0, NULL));
	solicits_router(&g, &p);
	assert_int_equal(p.l4[5], 0x40); /* DHCPv6 has its URL */
	guest6_free(&p);
	guest_close(&g);

	assert_true(guest_open(&g, "restrict=on", 0, NULL));
	solicits_router(&g, &p);
	assert_int_equal(user_get16(p.l4 + 6), 0); /* there is no way out */
	assert_null(option(&p, 25));
	assert_non_null(option(&p, 3));
	guest6_free(&p);
	guest_close(&g);
}

/* What an embedder has switched off is not spoken of. */
static void services_that_are_not_there(void **state)
{
	struct guest6_pkt p;
	struct guest g;

	assert_true(guest_open(&g, "bootfile=x,ipv6-net=fd12::/96", 0, NULL));
	g.user->cfg.no_dns = g.user->cfg.no_dhcp = true;
	solicits_router(&g, &p);
	assert_int_equal(p.l4[5], 0);
	assert_null(option(&p, 25));
	guest6_free(&p);
	guest6_udp(&g, GUEST6_LL, 546, "ff02::1:2", 547, "\13\1\2\3", 4);
	assert_false(guest6_recv(&g, IPPROTO_UDP, &p, 20));
	g.user->cfg.no_dhcp = false;
	guest6_udp(&g, GUEST6_LL, 546, "ff02::1:2", 547, "\13\1\2\3", 4);
	assert_true(guest6_recv(&g, IPPROTO_UDP, &p, 20));
	for (uint32_t at = 4; at < p.len; at += 4u + user_get16(p.data + at + 2))
		assert_int_not_equal(user_get16(p.data + at), 23);
	guest6_free(&p);
	guest_close(&g);
}

/* A guest that has no address yet: the advertisement goes to all, and not more often than every
 * three seconds. */
static void solicitation_from_nowhere(void **state)
{
	struct guest *g = *state;
	uint8_t rs[8] = { RS };
	struct guest6_pkt p;

	guest6_icmp(g, "::", "ff02::2", 255, rs, sizeof(rs));
	assert_true(answered(g, &p));
	assert_int_equal(p.l4[0], RA);
	assert_addr6(p.dst, "ff02::1");
	guest6_free(&p);
	for (int i = 0; i < 10; i++)
		guest6_icmp(g, "::", "ff02::2", 255, rs, sizeof(rs));
	gets_nothing(g);
}

static void guest_is_learned_and_asked_for(void **state)
{
	struct guest *g = *state;
	struct in6_addr other = guest6_addr("fec0::77");
	const uint8_t second[6] = { 0x52, 0x54, 0, 1, 2, 3 };
	uint8_t msg[32], first[6];
	struct guest6_pkt p;

	memcpy(first, g->mac, 6);
	ndp_solicit(g->user, &other);
	ndp_solicit(g->user, &other); /* once a second is enough */
	assert_true(answered(g, &p));
	assert_int_equal(p.l4[0], NS);
	assert_int_equal(p.hops, 255);
	assert_addr6(p.src, "fec0::2");
	assert_addr6(p.dst, "ff02::1:ff00:77");
	assert_memory_equal(p.l4 + 8, &other, 16);
	assert_memory_equal(p.l4 + 24, "\1\1", 2);
	assert_memory_equal(p.l4 + 26, g->user->mac6, 6);
	guest6_free(&p);
	gets_nothing(g);

	/* Advertisements that are none teach nothing. */
	guest6_icmp(g, GUEST6_LL, "fec0::2", 64, msg, neighbour(g, msg, NA, 0x60, "fec0::77", 2));
	guest6_icmp(g, GUEST6_LL, "ff02::1", 255, msg, neighbour(g, msg, NA, 0x60, "fec0::77", 2));
	guest6_icmp(g, GUEST6_LL, "fec0::2", 255, msg, neighbour(g, msg, NA, 0x60, "fec0::77", 0));
	guest6_icmp(g, GUEST6_LL, "fec0::2", 255, msg, neighbour(g, msg, NA, 0x60, "fec0::2", 2));
	assert_null(user_neigh_find(g->user, &other));
	guest6_icmp(g, GUEST6_LL, "fec0::2", 255, msg, neighbour(g, msg, NA, 0x60, "fec0::77", 2));
	assert_memory_equal(user_neigh_find(g->user, &other), first, 6);
	/* Another MAC counts if it says that it is to override. */
	memcpy(g->mac, second, 6);
	guest6_icmp(g, GUEST6_LL, "fec0::2", 255, msg, neighbour(g, msg, NA, 0x40, "fec0::77", 2));
	assert_memory_equal(user_neigh_find(g->user, &other), first, 6);
	guest6_icmp(g, GUEST6_LL, "ff02::1", 255, msg, neighbour(g, msg, NA, 0x20, "fec0::77", 2));
	assert_memory_equal(user_neigh_find(g->user, &other), second, 6);
	assert_true(guest_silent(g, 5));
}

static void introduction_is_by_unicast(void **state)
{
	struct guest *g = *state;
	struct in6_addr guest = guest6_addr(GUEST6_IP);
	struct guest6_pkt p;

	ndp_introduce(g->user, &guest, g->mac);
	assert_true(answered(g, &p));
	assert_int_equal(p.l4[0], NS);
	assert_memory_equal(p.frame.data, g->mac, 6);
	assert_addr6(p.dst, GUEST6_IP);
	assert_addr6(p.src, "fec0::2");
	guest6_free(&p);
}

/* Moves the loop's clock, which has to be done from one of its callbacks. */
struct clock {
	struct twx_watch watch;
	int fd;
};

static void clock_moves(struct twx_watch *w, uint32_t events)
{
	uint64_t seconds;

	assert_int_equal(read(w->fd, &seconds, 8), 8);
	assert_true(
		loop_virtual_advance(w->loop, twx_loop_now(w->loop) + seconds * 1000000000u, 100));
}

static uint32_t advertisements(struct guest *g, struct clock *c, uint64_t seconds)
{
	struct guest6_pkt p;
	uint32_t n = 0;

	assert_int_equal(write(c->fd, &seconds, 8), 8);
	while (answered(g, &p)) {
		assert_int_equal(p.l4[0], RA);
		assert_addr6(p.src, "fe80::2");
		assert_addr6(p.dst, "ff02::1");
		guest6_free(&p);
		n++;
	}
	return n;
}

/* RFC 4861, 6.2.4: three soon after the start, then far between, within their lifetime. */
static void router_advertises_itself_to_all(void **state)
{
	struct guest *g = *state;
	struct clock c = { .fd = eventfd(0, EFD_CLOEXEC) };

	assert_int_equal(loop_virtual_start(g->loop), 0);
	assert_int_equal(twx_watch_add(&c.watch, g->loop, c.fd, EPOLLIN, clock_moves), 0);
	assert_int_equal(advertisements(g, &c, 10), 0);
	assert_int_equal(advertisements(g, &c, 50), 3);
	assert_int_equal(advertisements(g, &c, 3600), 12);
	twx_watch_del(&c.watch);
	close(c.fd);
	loop_virtual_stop(g->loop);
}

/* Without IPv6 nobody answers, and nobody advertises. */
static void off_is_off(void **state)
{
	uint8_t rs[8] = { RS };
	struct guest g;

	assert_true(guest_open(&g, "ipv6=off", 0, NULL));
	guest6_icmp(&g, GUEST6_LL, "ff02::2", 255, rs, sizeof(rs));
	asks(&g, GUEST6_IP, "ff02::1:ff00:2", "fec0::2", true);
	gets_nothing(&g);
	guest_close(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		on_guest(our_addresses_are_answered_for),
		on_guest(duplicate_of_ours_is_defended),
		on_guest(invalid_messages_are_dropped),
		on_guest(router_is_advertised),
		cmocka_unit_test(options_show_in_the_advertisement),
		cmocka_unit_test(services_that_are_not_there),
		on_guest(solicitation_from_nowhere),
		on_guest(guest_is_learned_and_asked_for),
		on_guest(introduction_is_by_unicast),
		on_guest(router_advertises_itself_to_all),
		cmocka_unit_test(off_is_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
