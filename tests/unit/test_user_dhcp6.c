/* SPDX-License-Identifier: BSD-3-Clause */
/* The DHCPv6 server of the user-mode network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "user_guest6.h"

enum {
	SOLICIT = 1,
	ADVERTISE,
	REQUEST,
	CONFIRM,
	RENEW,
	REBIND,
	REPLY,
	RELEASE,
	DECLINE,
	INFORM = 11
};
enum {
	CLIENT = 1,
	SERVER = 2,
	IA_NA = 3,
	ADDR = 5,
	ORO = 6,
	PREFERENCE = 7,
	STATUS = 13,
	RAPID = 14
};
enum { DNS = 23, SEARCH = 24, IA_PD = 25, BOOT_URL = 59 };

/* A message being written. */
struct msg {
	uint8_t b[2048];
	uint32_t len;
};

static void opt(struct msg *m, uint16_t code, const void *v, uint32_t len)
{
	user_put16(m->b + m->len, code);
	user_put16(m->b + m->len + 2, len);
	if (len)
		memcpy(m->b + m->len + 4, v, len);
	m->len += 4 + len;
}

static void begin(struct guest *g, struct msg *m, uint8_t type, bool server)
{
	uint8_t duid[10] = { 0, 3, 0, 1 };

	memcpy(m->b, (uint8_t[]){ type, 0xab, 0xcd, 0xef }, 4);
	m->len = 4;
	memcpy(duid + 4, g->mac, 6);
	opt(m, CLIENT, duid, 10);
	memcpy(duid + 4, g->user->mac6, 6);
	if (server)
		opt(m, SERVER, duid, 10);
}

/* An IA with the addresses of @addrs, up to a null. */
static void ia(struct msg *m, uint16_t code, uint32_t iaid, const char *const *addrs)
{
	uint32_t at = m->len;
	uint8_t v[24] = { 0 };

	user_put32(v, iaid);
	opt(m, code, v, 12);
	for (; *addrs; addrs++) {
		struct in6_addr a = guest6_addr(*addrs);

		memset(v, 0, sizeof(v));
		memcpy(v, &a, 16);
		opt(m, ADDR, v, 24);
	}
	user_put16(m->b + at + 2, m->len - at - 4);
}

#define ia_na(m, iaid, ...)                                                                        \
	ia(m, IA_NA, iaid, (const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })

static void sends(struct guest *g, const struct msg *m)
{
	guest6_udp(g, GUEST6_LL, 546, "ff02::1:2", 547, m->b, m->len);
}

/* The @n-th option @code of options at @at; null: there is none. Every length is checked. */
static const uint8_t *find(const uint8_t *at, uint32_t len, uint16_t code, int n, uint32_t *size)
{
	const uint8_t *found = NULL;

	while (len) {
		uint32_t here;

		assert_true(len >= 4);
		here = user_get16(at + 2);
		assert_true(here <= len - 4);
		if (user_get16(at) == code && !n--) {
			found = at + 4;
			*size = here;
		}
		at += 4 + here;
		len -= 4 + here;
	}
	return found;
}

struct answer {
	struct guest6_pkt p;
	uint8_t type;
};

static const uint8_t *option(const struct answer *a, uint16_t code, uint32_t *size)
{
	return find(a->p.data + 4, a->p.len - 4, code, 0, size);
}

static bool answered(struct guest *g, struct answer *a)
{
	uint32_t size;

	if (!guest6_recv(g, IPPROTO_UDP, &a->p, 20))
		return false;
	assert_addr6(a->p.src, "fe80::2");
	assert_addr6(a->p.dst, GUEST6_LL);
	assert_memory_equal(a->p.frame.data, g->mac, 6);
	assert_int_equal(a->p.sport, 547);
	assert_int_equal(a->p.dport, 546);
	assert_true(a->p.len >= 4);
	assert_memory_equal(a->p.data + 1, "\xab\xcd\xef", 3);
	a->type = a->p.data[0];
	assert_non_null(option(a, SERVER, &size));
	return true;
}

static void gets_nothing(struct guest *g)
{
	struct answer a;

	assert_false(answered(g, &a));
}

/* What the @n-th IA_NA of a reply says: its address if that is to be used, else -status. */
static int ia_says(const struct answer *a, int n, uint32_t iaid, struct in6_addr *addr)
{
	uint32_t size, sub;
	const uint8_t *at = find(a->p.data + 4, a->p.len - 4, IA_NA, n, &size), *v;

	assert_non_null(at);
	assert_true(size >= 12);
	assert_int_equal(user_get32(at), iaid);
	v = find(at + 12, size - 12, STATUS, 0, &sub);
	if (v)
		return -user_get16(v);
	v = find(at + 12, size - 12, ADDR, 0, &sub);
	assert_non_null(v);
	assert_int_equal(sub, 24);
	assert_int_equal(user_get32(v + 16), 43200);
	assert_int_equal(user_get32(v + 20), 86400);
	assert_int_equal(user_get32(at + 4), 21600);
	assert_int_equal(user_get32(at + 8), 34560);
	memcpy(addr, v, 16);
	return 0;
}

static void gets(struct guest *g, uint8_t type, uint32_t iaid, const char *text)
{
	struct in6_addr addr;
	struct answer a;

	assert_true(answered(g, &a));
	assert_int_equal(a.type, type);
	assert_int_equal(ia_says(&a, 0, iaid, &addr), 0);
	assert_addr6(addr, text);
	guest6_free(&a.p);
}

static void gets_ia_status(struct guest *g, uint32_t iaid, int status)
{
	struct in6_addr addr;
	struct answer a;

	assert_true(answered(g, &a));
	assert_int_equal(a.type, REPLY);
	assert_int_equal(ia_says(&a, 0, iaid, &addr), -status);
	guest6_free(&a.p);
}

static void gets_status(struct guest *g, int status)
{
	struct answer a;
	uint32_t size;

	assert_true(answered(g, &a));
	assert_int_equal(a.type, REPLY);
	assert_int_equal(user_get16(option(&a, STATUS, &size)), status);
	guest6_free(&a.p);
}

static void says(struct guest *g, uint8_t type, uint32_t iaid, const char *addr)
{
	struct msg m;

	begin(g, &m, type, type != SOLICIT && type != CONFIRM && type != REBIND);
	if (addr)
		ia_na(&m, iaid, addr);
	else
		ia_na(&m, iaid);
	sends(g, &m);
}

static void information_is_given_without_an_address(void **state)
{
	static const char url[] = "tftp://[fec0::2]/boot.bin";
	static const char names[] = "\3lab\7example\0\7example\0";
	uint32_t size;
	struct guest g;
	struct answer a;
	struct msg m;

	assert_true(guest_open(&g, "bootfile=boot.bin,dnssearch=lab.example,dnssearch=example", 0,
			       NULL));
	begin(&g, &m, INFORM, false);
	opt(&m, ORO, "\0\x17\0\x18\0\x3b", 6);
	sends(&g, &m);
	assert_true(answered(&g, &a));
	assert_int_equal(a.type, REPLY);
	assert_memory_equal(option(&a, CLIENT, &size) + 4, g.mac, 6);
	assert_int_equal(size, 10);
	assert_memory_equal(option(&a, DNS, &size), &g.user->cfg.dns6, 16);
	assert_int_equal(size, 16);
	assert_memory_equal(option(&a, BOOT_URL, &size), url, sizeof(url) - 1);
	assert_int_equal(size, sizeof(url) - 1);
	assert_memory_equal(option(&a, SEARCH, &size), names, sizeof(names) - 1);
	assert_int_equal(size, sizeof(names) - 1);
	guest6_free(&a.p);

	/* Only what is asked for; and all of it when the question does not say. */
	begin(&g, &m, INFORM, false);
	opt(&m, ORO, "\0\x17", 2);
	sends(&g, &m);
	assert_true(answered(&g, &a));
	assert_non_null(option(&a, DNS, &size));
	assert_null(option(&a, BOOT_URL, &size));
	assert_null(option(&a, SEARCH, &size));
	guest6_free(&a.p);
	m.len = 4;
	sends(&g, &m);
	assert_true(answered(&g, &a));
	assert_null(option(&a, CLIENT, &size));
	assert_non_null(option(&a, BOOT_URL, &size));
	assert_non_null(option(&a, SEARCH, &size));
	guest6_free(&a.p);
	guest_close(&g);
}

static void lease_from_solicit_to_release(void **state)
{
	struct guest *g = *state;
	struct answer a;
	uint32_t size;
	struct msg m;

	begin(g, &m, SOLICIT, false);
	ia_na(&m, 7);
	sends(g, &m);
	assert_true(answered(g, &a));
	assert_int_equal(a.type, ADVERTISE);
	assert_int_equal(*option(&a, PREFERENCE, &size), 255);
	assert_non_null(option(&a, DNS, &size));
	guest6_free(&a.p);
	says(g, REQUEST, 7, "fec0::15");
	gets(g, REPLY, 7, "fec0::15");
	says(g, RENEW, 7, "fec0::15");
	gets(g, REPLY, 7, "fec0::15");
	says(g, REBIND, 7, "fec0::15");
	gets(g, REPLY, 7, "fec0::15");
	says(g, CONFIRM, 7, "fec0::15");
	gets_status(g, 0);
	says(g, CONFIRM, 7, "2001:db8::15");
	gets_status(g, 4);
	says(g, CONFIRM, 7, NULL);
	gets_nothing(g);
	says(g, RELEASE, 7, "fec0::15");
	gets_status(g, 0);
	says(g, RELEASE, 99, "fec0::15");
	gets_ia_status(g, 99, 3);
	/* Its name stays on the address. */
	g->mac[5]++;
	says(g, SOLICIT, 7, NULL);
	gets(g, ADVERTISE, 7, "fec0::16");
	g->mac[5]--;
	says(g, SOLICIT, 7, NULL);
	gets(g, ADVERTISE, 7, "fec0::15");
}

static void rapid_commit_is_one_round(void **state)
{
	struct guest *g = *state;
	struct answer a;
	uint32_t size;
	struct msg m;

	begin(g, &m, SOLICIT, false);
	opt(&m, RAPID, NULL, 0);
	ia_na(&m, 1);
	sends(g, &m);
	assert_true(answered(g, &a));
	assert_int_equal(a.type, REPLY);
	assert_non_null(option(&a, RAPID, &size));
	guest6_free(&a.p);
	g->mac[5]++;
	says(g, REQUEST, 1, "fec0::15");
	gets(g, REPLY, 1, "fec0::16");
}

static void wrong_wishes(void **state)
{
	struct guest *g = *state;
	struct in6_addr addr;
	const uint8_t *at;
	struct answer a;
	uint32_t size;
	struct msg m;

	says(g, REQUEST, 1, "2001:db8::15");
	gets_ia_status(g, 1, 4);
	says(g, REQUEST, 1, "fec0::2"); /* ours: another instead */
	gets(g, REPLY, 1, "fec0::15");
	says(g, RENEW, 2, "fec0::99");
	gets_ia_status(g, 2, 3);
	/* After a restart of the server the client's word is good enough. */
	says(g, RENEW, 2, "fec0::20");
	gets(g, REPLY, 2, "fec0::20");
	/* What it should not have is taken away. */
	says(g, REBIND, 2, "fec0::77");
	assert_true(answered(g, &a));
	assert_int_equal(ia_says(&a, 0, 2, &addr), 0);
	at = find(a.p.data + 4, a.p.len - 4, IA_NA, 0, &size);
	at = find(at + 12, size - 12, ADDR, 1, &size);
	assert_addr6(*(const struct in6_addr *)(const void *)at, "fec0::77");
	assert_int_equal(user_get32(at + 20), 0);
	guest6_free(&a.p);
	/* Two associations, and a prefix that we have not. */
	begin(g, &m, SOLICIT, false);
	ia(&m, IA_PD, 5, (const char *const[]){ NULL });
	ia_na(&m, 10);
	ia_na(&m, 11);
	sends(g, &m);
	assert_true(answered(g, &a));
	at = option(&a, IA_PD, &size);
	assert_int_equal(user_get32(at), 5);
	assert_int_equal(user_get16(find(at + 12, size - 12, STATUS, 0, &size)), 6);
	assert_int_equal(ia_says(&a, 0, 10, &addr), 0);
	assert_addr6(addr, "fec0::16");
	assert_int_equal(ia_says(&a, 1, 11, &addr), 0);
	assert_addr6(addr, "fec0::17");
	guest6_free(&a.p);
}

static void sixteen_guests_then_none(void **state)
{
	struct guest *g = *state;

	for (int i = 0; i < 16; i++) {
		char addr[16];

		snprintf(addr, sizeof(addr), "fec0::%x", 0x15 + i);
		g->mac[5] = (uint8_t)i;
		says(g, REQUEST, 1, NULL);
		gets(g, REPLY, 1, addr);
	}
	g->mac[5] = 99;
	says(g, REQUEST, 1, NULL);
	gets_ia_status(g, 1, 2);
	/* A declined one is not given to the next, a released one is. */
	g->mac[5] = 3;
	says(g, DECLINE, 1, "fec0::18");
	gets_status(g, 0);
	g->mac[5] = 99;
	says(g, REQUEST, 1, NULL);
	gets_ia_status(g, 1, 2);
	g->mac[5] = 4;
	says(g, RELEASE, 1, "fec0::19");
	gets_status(g, 0);
	g->mac[5] = 99;
	says(g, REQUEST, 1, NULL);
	gets(g, REPLY, 1, "fec0::19");
}

static void small_prefix_has_few(void **state)
{
	struct guest g;

	/* ::1 alone is left beside the host, the name server and the routers' anycast address. */
	assert_true(guest_open(&g, "ipv6-net=fd00::/126", 0, NULL));
	says(&g, REQUEST, 1, NULL);
	gets(&g, REPLY, 1, "fd00::1");
	g.mac[5]++;
	says(&g, REQUEST, 1, NULL);
	gets_ia_status(&g, 1, 2);
	guest_close(&g);
}

static void restricted_guest_gets_no_resolver(void **state)
{
	struct guest g;
	struct answer a;
	uint32_t size;
	struct msg m;

	assert_true(guest_open(&g, "restrict=on", 0, NULL));
	begin(&g, &m, INFORM, false);
	sends(&g, &m);
	assert_true(answered(&g, &a));
	assert_null(option(&a, DNS, &size));
	guest6_free(&a.p);
	guest_close(&g);
}

/* RFC 8415, 16 and 18.4. */
static void invalid_messages_are_dropped(void **state)
{
	static const uint8_t none[] = { 0, ADVERTISE, REPLY, 10, 12, 13, 255 };
	struct guest *g = *state;
	struct msg m;

	for (size_t i = 0; i < sizeof(none); i++) {
		begin(g, &m, none[i], true);
		ia_na(&m, 1);
		sends(g, &m);
	}
	for (uint8_t type = SOLICIT; type <= INFORM; type++) {
		bool server = type == SOLICIT || type == CONFIRM || type == REBIND;

		/* The server's name where it must not be, or not where it must. */
		begin(g, &m, type, server);
		ia_na(&m, 1, "fec0::15");
		sends(g, &m);
		/* Another server's. */
		begin(g, &m, type, false);
		opt(&m, SERVER, "\0\3\0\1......", 10);
		sends(g, &m);
		/* No client. */
		m.b[0] = type;
		m.len = 4;
		ia_na(&m, 1);
		sends(g, &m);
	}
	gets_nothing(g);
	/* By unicast: to the server's own address only with its name, and then the answer is no. */
	begin(g, &m, REQUEST, true);
	ia_na(&m, 1);
	guest6_udp(g, GUEST6_LL, 546, "fe80::2", 547, m.b, m.len);
	gets_status(g, 5);
	begin(g, &m, SOLICIT, false);
	guest6_udp(g, GUEST6_LL, 546, "fe80::2", 547, m.b, m.len);
	gets_nothing(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(information_is_given_without_an_address),
		on_guest(lease_from_solicit_to_release),
		on_guest(rapid_commit_is_one_round),
		on_guest(wrong_wishes),
		on_guest(sixteen_guests_then_none),
		cmocka_unit_test(small_prefix_has_few),
		cmocka_unit_test(restricted_guest_gets_no_resolver),
		on_guest(invalid_messages_are_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
