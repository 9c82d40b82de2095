/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the headers of a frame are, for good frames, short ones and lying ones. */
#include "toy.h"

#include "net/packet.h"

static uint8_t d[2048];

static void start(const void *type, size_t len)
{
	memset(d, 0, sizeof(d));
	memcpy(d + 12, type, len);
}

static void ipv4_at(size_t off, uint8_t ihl, uint8_t proto)
{
	d[off] = 0x40 | ihl;
	d[off + 9] = proto;
}

static struct packet parse(size_t len)
{
	/* An allocation of just that size, so that a sanitizer sees a read beyond it. */
	uint8_t *copy = malloc(len ? len : 1);
	struct packet p;

	memcpy(copy, d, len);
	packet_parse(&p, copy, len);
	free(copy);
	return p;
}

static void test_ipv4_tcp(void **state)
{
	struct packet p;
	size_t len;

	start("\x08\x00", 2);
	ipv4_at(14, 6, 6);
	d[38 + 12] = 0x80;
	p = parse(100);
	assert_int_equal(p.ethertype, 0x0800);
	assert_int_equal(p.version, 4);
	assert_int_equal(p.l3_off, 14);
	assert_int_equal(p.l4_off, 38);
	assert_int_equal(p.payload_off, 70);
	assert_int_equal(p.proto, 6);
	for (len = 0; len < 70; len++) {
		p = parse(len);
		assert_int_equal(p.payload_off, 0);
	}
	assert_int_equal(parse(70).payload_off, 70);
}

static void test_tags(void **state)
{
	struct packet p;

	start("\x88\xa8\x00\x05\x81\x00\x00\x06\x08\x00", 10);
	ipv4_at(22, 5, 17);
	p = parse(60);
	assert_int_equal(p.ethertype, 0x0800);
	assert_int_equal(p.l3_off, 22);
	assert_int_equal(p.l4_off, 42);
	assert_int_equal(p.payload_off, 50);
	/* a third tag is not walked */
	start("\x81\x00\x00\x05\x81\x00\x00\x06\x81\x00\x00\x07\x08\x00", 14);
	p = parse(60);
	assert_int_equal(p.ethertype, 0x8100);
	assert_int_equal(p.version, 0);
	/* a tag that is cut off */
	assert_int_equal(parse(17).ethertype, 0x8100);
	assert_int_equal(parse(17).l3_off, 14);
}

static void test_ipv4_that_lies(void **state)
{
	start("\x08\x00", 2);
	ipv4_at(14, 4, 6);
	assert_int_equal(parse(100).version, 0);
	ipv4_at(14, 15, 17);
	assert_int_equal(parse(73).version, 0);
	assert_int_equal(parse(74).version, 4);
	assert_int_equal(parse(74).l4_off, 0);
	assert_int_equal(parse(82).l4_off, 74);
	d[14] = 0x65;
	assert_int_equal(parse(100).version, 0);
	ipv4_at(14, 5, 6);
	d[34 + 12] = 0x40; /* TCP header of 16 bytes */
	assert_int_equal(parse(100).l4_off, 0);
	d[34 + 12] = 0xf0;
	assert_int_equal(parse(93).l4_off, 0);
	assert_int_equal(parse(94).payload_off, 94);
}

static void test_fragments_have_no_l4(void **state)
{
	start("\x08\x00", 2);
	ipv4_at(14, 5, 17);
	d[20] = 0x20; /* more fragments */
	assert_true(parse(100).fragment);
	assert_int_equal(parse(100).l4_off, 0);
	d[20] = 0;
	d[21] = 1; /* offset */
	assert_true(parse(100).fragment);
	d[20] = 0x40; /* do not fragment */
	d[21] = 0;
	assert_false(parse(100).fragment);
	assert_int_equal(parse(100).l4_off, 34);
}

static void test_ipv6_extensions(void **state)
{
	struct packet p;

	start("\x86\xdd", 2);
	d[14] = 0x60;
	d[20] = 0;  /* hop-by-hop */
	d[54] = 43; /* routing */
	d[55] = 1;
	d[70] = 17;
	p = parse(100);
	assert_int_equal(p.version, 6);
	assert_int_equal(p.proto, 17);
	assert_int_equal(p.proto_off, 70);
	assert_int_equal(p.l4_off, 78);
	assert_int_equal(p.payload_off, 86);
	assert_int_equal(parse(85).l4_off, 0);
	assert_int_equal(parse(77).l4_off, 0);
	assert_int_equal(parse(53).version, 0);
	d[70] = 44;
	assert_true(parse(100).fragment);
	assert_int_equal(parse(100).l4_off, 0);
	d[55] = 255; /* reaches past the end */
	assert_int_equal(parse(2000).l4_off, 0);
	d[70] = 58;
	d[55] = 1;
	p = parse(100);
	assert_int_equal(p.l4_off, 78);
	assert_int_equal(p.payload_off, 0);
}

/* Headers without end: all zero is hop-by-hop after hop-by-hop. */
static void test_ipv6_extensions_are_bounded(void **state)
{
	start("\x86\xdd", 2);
	d[14] = 0x60;
	assert_int_equal(parse(2000).l4_off, 0);
	d[54 + 7 * 8] = 17; /* the eighth */
	assert_int_equal(parse(2000).l4_off, 54 + 8 * 8);
	d[54 + 7 * 8] = 0;
	d[54 + 8 * 8] = 17; /* the ninth */
	assert_int_equal(parse(2000).l4_off, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ipv4_tcp),
		cmocka_unit_test(test_tags),
		cmocka_unit_test(test_ipv4_that_lies),
		cmocka_unit_test(test_fragments_have_no_l4),
		cmocka_unit_test(test_ipv6_extensions),
		cmocka_unit_test(test_ipv6_extensions_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
