/* SPDX-License-Identifier: BSD-3-Clause */
/* The DHCP and BOOTP server of the user-mode network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "user_guest.h"

enum { DISCOVER = 1, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM };

/* A reply, its options by code. */
struct answer {
	struct guest_pkt p;
	const uint8_t *msg;
	const uint8_t *opt[256];
	uint8_t len[256];
	struct in_addr yours;
	uint8_t type;
};

static bool answered(struct guest *g, struct answer *a)
{
	uint32_t at = 240;

	memset(a, 0, sizeof(*a));
	if (!guest_recv_ip(g, IPPROTO_UDP, &a->p, 50))
		return false;
	assert_int_equal(a->p.src.s_addr, g->host.s_addr);
	assert_int_equal(a->p.sport, 67);
	assert_int_equal(a->p.dport, 68);
	assert_true(a->p.len >= 300);
	a->msg = a->p.data;
	assert_int_equal(a->msg[0], 2);
	assert_memory_equal(a->msg + 4, "\x12\x34\x56\x78", 4);
	assert_memory_equal(a->msg + 28, g->mac, 6);
	memcpy(&a->yours, a->msg + 16, 4);
	while (a->msg[at] != 255) {
		assert_true(at + 2u + a->msg[at + 1] < a->p.len);
		a->opt[a->msg[at]] = a->msg + at + 2;
		a->len[a->msg[at]] = a->msg[at + 1];
		at += 2u + a->msg[at + 1];
	}
	if (a->opt[53])
		a->type = *a->opt[53];
	return true;
}

static void says(struct guest *g, uint8_t type, const char *ciaddr, const void *options, uint32_t n)
{
	uint8_t frame[1500];

	guest_send(g, frame, guest_dhcp(g, frame, type, guest_addr(ciaddr), options, n));
}

/* REQUEST (or DECLINE) with "requested address". */
static void asks_for(struct guest *g, uint8_t type, const char *addr)
{
	struct in_addr a = guest_addr(addr);
	uint8_t opt[6] = { 50, 4 };

	memcpy(opt + 2, &a, 4);
	says(g, type, "0.0.0.0", opt, 6);
}

static void gets(struct guest *g, uint8_t type, const char *addr)
{
	struct answer a;

	assert_true(answered(g, &a));
	assert_int_equal(a.type, type);
	assert_int_equal(a.yours.s_addr, guest_addr(addr).s_addr);
	guest_pkt_free(&a.p);
}

static void gets_nothing(struct guest *g)
{
	struct answer a;

	assert_false(answered(g, &a));
}

static void lease_from_discover_to_release(void **state)
{
	struct guest *g = *state;
	struct answer a;

	says(g, DISCOVER, "0.0.0.0", NULL, 0);
	assert_true(answered(g, &a));
	assert_int_equal(a.type, OFFER);
	assert_int_equal(a.yours.s_addr, guest_addr("10.0.2.15").s_addr);
	/* To the new address at the MAC that asked: RFC 2131, 4.1. */
	assert_int_equal(a.p.dst.s_addr, a.yours.s_addr);
	assert_memory_equal(a.p.frame.data, g->mac, 6);
	assert_memory_equal(a.opt[54], &g->host, 4);
	assert_memory_equal(a.opt[1], "\xff\xff\xff\0", 4);
	assert_memory_equal(a.opt[3], &g->host, 4);
	assert_memory_equal(a.opt[6], &g->dns, 4);
	assert_int_equal(user_get32(a.opt[51]), 86400);
	assert_null(a.opt[26]);
	assert_null(a.opt[12]);
	guest_pkt_free(&a.p);

	asks_for(g, REQUEST, "10.0.2.15");
	gets(g, ACK, "10.0.2.15");
	/* Renewing: ciaddr is filled in, and the answer goes there. */
	says(g, REQUEST, "10.0.2.15", NULL, 0);
	gets(g, ACK, "10.0.2.15");
	says(g, RELEASE, "10.0.2.15", NULL, 0);
	gets_nothing(g);
	/* Its name stays on the address: the same guest gets it again. */
	says(g, DISCOVER, "0.0.0.0", NULL, 0);
	gets(g, OFFER, "10.0.2.15");
}

static void broadcast_flag_is_honoured(void **state)
{
	struct guest *g = *state;
	uint8_t frame[1500];
	uint32_t len = guest_dhcp(g, frame, DISCOVER, guest_addr("0.0.0.0"), NULL, 0);
	struct answer a;

	frame[42 + 10] = 0x80;
	user_put16(frame + 40, 0); /* no checksum */
	guest_send(g, frame, len);
	assert_true(answered(g, &a));
	assert_int_equal(a.p.dst.s_addr, INADDR_BROADCAST);
	assert_memory_equal(a.p.frame.data, "\xff\xff\xff\xff\xff\xff", 6);
	assert_int_equal(a.msg[10], 0x80);
	guest_pkt_free(&a.p);
}

static void wrong_wishes_are_refused(void **state)
{
	static const char *const wrong[] = { "10.0.2.2", "10.0.2.14", "10.0.2.31", "192.168.1.5" };
	struct guest *g = *state;

	for (size_t i = 0; i < 4; i++) {
		struct answer a;

		asks_for(g, REQUEST, wrong[i]);
		assert_true(answered(g, &a));
		assert_int_equal(a.type, NAK);
		assert_int_equal(a.yours.s_addr, 0);
		assert_int_equal(a.p.dst.s_addr, INADDR_BROADCAST);
		assert_memory_equal(a.opt[54], &g->host, 4);
		guest_pkt_free(&a.p);
	}
	/* What somebody else has. */
	asks_for(g, REQUEST, "10.0.2.20");
	gets(g, ACK, "10.0.2.20");
	g->mac[5]++;
	asks_for(g, REQUEST, "10.0.2.20");
	gets(g, NAK, "0.0.0.0");
	asks_for(g, DISCOVER, "10.0.2.20");
	gets(g, OFFER, "10.0.2.15");
	asks_for(g, DISCOVER, "10.0.2.25"); /* its own offer stands */
	gets(g, OFFER, "10.0.2.15");
}

static void another_servers_offer_frees_ours(void **state)
{
	struct guest *g = *state;
	const uint8_t server[] = { 54, 4, 10, 0, 2, 9, 50, 4, 10, 0, 2, 15 };

	says(g, DISCOVER, "0.0.0.0", NULL, 0);
	gets(g, OFFER, "10.0.2.15");
	says(g, REQUEST, "0.0.0.0", server, sizeof(server));
	gets_nothing(g);
	g->mac[5]++;
	asks_for(g, REQUEST, "10.0.2.15");
	gets(g, ACK, "10.0.2.15");
}

static void sixteen_guests_then_none(void **state)
{
	struct guest *g = *state;

	for (int i = 0; i < 16; i++) {
		char addr[16];

		snprintf(addr, sizeof(addr), "10.0.2.%d", 15 + i);
		g->mac[5] = (uint8_t)i;
		says(g, DISCOVER, "0.0.0.0", NULL, 0);
		gets(g, OFFER, addr);
		asks_for(g, REQUEST, addr);
		gets(g, ACK, addr);
	}
	g->mac[5] = 99;
	says(g, DISCOVER, "0.0.0.0", NULL, 0);
	gets_nothing(g);
	/* Each still gets its own. */
	g->mac[5] = 7;
	says(g, DISCOVER, "0.0.0.0", NULL, 0);
	gets(g, OFFER, "10.0.2.22");
	/* A released one goes to the next. */
	says(g, RELEASE, "10.0.2.22", NULL, 0);
	g->mac[5] = 99;
	says(g, DISCOVER, "0.0.0.0", NULL, 0);
	gets(g, OFFER, "10.0.2.22");
}

static void declined_address_is_not_offered_again(void **state)
{
	struct guest *g = *state;

	says(g, DISCOVER, "0.0.0.0", NULL, 0);
	gets(g, OFFER, "10.0.2.15");
	asks_for(g, DECLINE, "10.0.2.15");
	gets_nothing(g);
	says(g, DISCOVER, "0.0.0.0", NULL, 0);
	gets(g, OFFER, "10.0.2.16");
}

static void inform_gives_options_without_a_lease(void **state)
{
	struct guest *g = *state;
	struct answer a;

	says(g, INFORM, "10.0.2.99", NULL, 0);
	assert_true(answered(g, &a));
	assert_int_equal(a.type, ACK);
	assert_int_equal(a.yours.s_addr, 0);
	assert_int_equal(a.p.dst.s_addr, guest_addr("10.0.2.99").s_addr);
	assert_null(a.opt[51]);
	assert_non_null(a.opt[6]);
	guest_pkt_free(&a.p);
	/* Answers do not leave the network. */
	says(g, INFORM, "192.0.2.1", NULL, 0);
	gets_nothing(g);
}

static void bootp_client_is_served(void **state)
{
	struct guest *g = *state;
	struct answer a;

	says(g, 0, "0.0.0.0", NULL, 0);
	assert_true(answered(g, &a));
	assert_int_equal(a.type, 0);
	assert_int_equal(a.yours.s_addr, guest_addr("10.0.2.15").s_addr);
	assert_null(a.opt[53]);
	assert_null(a.opt[51]);
	assert_non_null(a.opt[1]);
	guest_pkt_free(&a.p);
}

static void every_option_is_given(void **state)
{
	struct guest g;
	struct answer a;

	assert_true(guest_open(
		&g,
		"hostname=toy,domainname=lab.example,dnssearch=lab.example,dnssearch=example,"
		"dnssearch=x.lab.example,bootfile=boot.bin,tftp-server-name=boot.example,mtu=9000,"
		"net=192.168.7.0/24,host=192.168.7.1,dns=192.168.7.9,dhcpstart=192.168.7.100",
		0, NULL));
	says(&g, DISCOVER, "0.0.0.0", NULL, 0);
	assert_true(answered(&g, &a));
	assert_int_equal(a.yours.s_addr, guest_addr("192.168.7.100").s_addr);
	assert_memory_equal(a.opt[3], "\xc0\xa8\x07\x01", 4);
	assert_memory_equal(a.opt[6], "\xc0\xa8\x07\x09", 4);
	assert_int_equal(a.len[12], 3);
	assert_memory_equal(a.opt[12], "toy", 3);
	assert_int_equal(a.len[15], 11);
	assert_memory_equal(a.opt[15], "lab.example", 11);
	assert_int_equal(user_get16(a.opt[26]), 9000);
	assert_memory_equal(a.opt[66], "boot.example", 12);
	assert_memory_equal(a.opt[67], "boot.bin", 8);
	assert_string_equal((const char *)a.msg + 108, "boot.bin");
	assert_string_equal((const char *)a.msg + 44, "boot.example");
	assert_memory_equal(a.msg + 20, &g.host, 4);
	/* RFC 3397: lab.example, then a pointer into it, then a label and a pointer. */
	assert_int_equal(a.len[119], 13 + 2 + 4);
	assert_memory_equal(a.opt[119], "\3lab\7example\0\xc0\x04\1x\xc0\0", 19);
	guest_pkt_free(&a.p);
	guest_close(&g);
}

static void restricted_guest_gets_no_router(void **state)
{
	struct guest g;
	struct answer a;

	assert_true(guest_open(&g, "restrict=on", 0, NULL));
	says(&g, DISCOVER, "0.0.0.0", NULL, 0);
	assert_true(answered(&g, &a));
	assert_null(a.opt[3]);
	assert_null(a.opt[6]);
	assert_non_null(a.opt[1]);
	guest_pkt_free(&a.p);
	guest_close(&g);
}

/* What does not fit 576 bytes is left out, and what the client has room for is sent. */
static void reply_fits_what_the_client_takes(void **state)
{
	const uint8_t room[] = { 57, 2, 5, 0xdc }; /* 1500 */
	char options[1024], name[251];
	struct guest g;
	struct answer a;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	snprintf(options, sizeof(options), "domainname=%s,tftp-server-name=%s", name, name);
	assert_true(guest_open(&g, options, 0, NULL));
	says(&g, DISCOVER, "0.0.0.0", NULL, 0);
	assert_true(answered(&g, &a));
	assert_true(a.p.len <= 548);
	assert_int_equal(a.len[15], 250);
	assert_null(a.opt[66]);
	guest_pkt_free(&a.p);
	says(&g, DISCOVER, "0.0.0.0", room, sizeof(room));
	assert_true(answered(&g, &a));
	assert_true(a.p.len > 548 && a.p.len <= 1472);
	assert_int_equal(a.len[66], 250);
	guest_pkt_free(&a.p);
	guest_close(&g);
}

/* A network of 8 addresses: the pool ends where the network does. */
static void pool_stays_inside_the_network(void **state)
{
	struct guest g;

	assert_true(guest_open(&g, "net=10.9.9.0/29,dhcpstart=10.9.9.5", 0, NULL));
	for (int i = 0; i < 2; i++) {
		g.mac[5] = (uint8_t)i;
		says(&g, DISCOVER, "0.0.0.0", NULL, 0);
		gets(&g, OFFER, i ? "10.9.9.6" : "10.9.9.5");
	}
	g.mac[5] = 2;
	says(&g, DISCOVER, "0.0.0.0", NULL, 0);
	gets_nothing(&g);
	guest_close(&g);
}

/* A wish whose last bytes are missing is none, even if the message before it had them. */
static void cut_off_option_is_not_read(void **state)
{
	struct guest *g = *state;
	const uint8_t options[] = { 53, 1, DISCOVER, 50, 4, 10, 0, 2, 25 };
	uint8_t frame[1500], msg[249] = { 1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78 };

	user_put32(msg + 236, 0x63825363);
	memcpy(msg + 240, options, sizeof(options));
	for (uint32_t len = 244; len <= 249; len++) {
		static const char *const gets_addr[] = { "10.0.2.15", "10.0.2.16", "10.0.2.17",
							 "10.0.2.18", "10.0.2.19", "10.0.2.25" };

		g->mac[5] = (uint8_t)len;
		memcpy(msg + 28, g->mac, 6);
		msg[0] = 2; /* a reply: read, not answered */
		guest_send(g, frame, guest_udp(g, frame, 68, g->host, 67, msg, 249));
		msg[0] = 1;
		guest_send(g, frame, guest_udp(g, frame, 68, g->host, 67, msg, len));
		gets(g, OFFER, gets_addr[len - 244]);
	}
}

static int setup(void **state)
{
	static struct guest g;

	assert_true(guest_open(&g, "", 0, NULL));
	*state = &g;
	return 0;
}

static int teardown(void **state)
{
	guest_close(*state);
	return 0;
}

#define with_guest(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_guest(lease_from_discover_to_release),
		with_guest(broadcast_flag_is_honoured),
		with_guest(wrong_wishes_are_refused),
		with_guest(another_servers_offer_frees_ours),
		with_guest(sixteen_guests_then_none),
		with_guest(declined_address_is_not_offered_again),
		with_guest(inform_gives_options_without_a_lease),
		with_guest(bootp_client_is_served),
		with_guest(cut_off_option_is_not_read),
		cmocka_unit_test(every_option_is_given),
		cmocka_unit_test(restricted_guest_gets_no_router),
		cmocka_unit_test(reply_fits_what_the_client_takes),
		cmocka_unit_test(pool_stays_inside_the_network),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
