/* SPDX-License-Identifier: BSD-3-Clause */
/* Device state: round trips, and streams from a hostile source. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bus/state.h"

/* A part with sections of its own inside the device, as a PCI function is. */
struct part {
	uint16_t speed;
	uint8_t on;
};

struct device {
	struct part part;
	uint32_t regs[4];
	uint64_t when;
	uint8_t table[3][5];
	uint16_t ring;
	char *pointer; /* is not state */
	unsigned int saved, loaded;
	uint16_t derived;
};

static const struct state_field part_fields[] = {
	STATE_U16(struct part, speed),
	STATE_U8(struct part, on),
	{ 0 },
};

static const struct state_field reg_fields[] = {
	STATE_U32(struct device, regs),
	STATE_U64(struct device, when),
	{ 0 },
};

static const struct state_field ring_fields[] = {
	STATE_U8(struct device, table),
	STATE_U16(struct device, ring),
	{ 0 },
};

static int part_check(const void *copy, struct twx_error *e)
{
	const struct part *p = copy;

	return p->on > 1 ? twx_error_set(e, EINVAL, "on is %u", p->on) : 0;
}

/* Sees the part's new values, too. */
static int ring_check(const void *copy, struct twx_error *e)
{
	const struct device *d = copy;

	if (d->ring >= 16)
		return twx_error_set(e, EINVAL, "ring is %u", d->ring);
	if (d->ring > d->part.speed)
		return twx_error_set(e, EINVAL, "ring above the part's speed");
	return 0;
}

static void ring_save(void *obj)
{
	((struct device *)obj)->saved++;
}

static void ring_loaded(void *obj)
{
	struct device *d = obj;

	d->loaded++;
	d->derived = (uint16_t)(d->ring + d->part.speed);
}

static const struct state_section part_sections[] = {
	{ .name = "part", .version = 2, .fields = part_fields, .check = part_check },
	{ 0 },
};

static const struct state_section device_sections[] = {
	{ .name = "device/regs", .version = 1, .fields = reg_fields },
	{ .name = "device/ring",
	  .version = 7,
	  .fields = ring_fields,
	  .before_save = ring_save,
	  .check = ring_check,
	  .after_load = ring_loaded },
	{ 0 },
};

struct fixture {
	struct device d;
	struct state_desc descs[2];
	uint8_t *data;
	size_t len;
};

static void fill(struct device *d)
{
	*d = (struct device){ .part = { 1000, 1 },
			      .regs = { 1, 0x80000001, 3, ~0u },
			      .when = 0x1122334455667788,
			      .ring = 9 };
	memcpy(d->table, "abcdefghijklmno", sizeof(d->table));
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fill(&f->d);
	f->descs[0] = (struct state_desc){ part_sections, &f->d.part, sizeof(f->d.part) };
	f->descs[1] = (struct state_desc){ device_sections, &f->d, sizeof(f->d) };
	assert_int_equal(state_save(f->descs, 2, &f->data, &f->len), 0);
	assert_int_equal(f->d.saved, 1);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	free(f->data);
	free(f);
	return 0;
}

/* A load that is refused leaves everything as it is and says @why. */
static void refused(struct fixture *f, const uint8_t *data, size_t len, const char *why)
{
	struct device before = f->d;
	struct twx_error e = { 0 };

	assert_int_equal(state_load(f->descs, 2, data, len, &e), -EINVAL);
	assert_memory_equal(&before, &f->d, sizeof(before));
	assert_int_equal(e.code, EINVAL);
	if (!strstr(e.what, why))
		fail_msg("'%s' does not say '%s'", e.what, why);
}

static void *find(struct fixture *f, const char *text)
{
	void *p = memmem(f->data, f->len, text, strlen(text));

	assert_non_null(p);
	return p;
}

static void round_trip(void **state)
{
	struct fixture *f = *state;
	struct device want = f->d;
	struct twx_error e = { 0 };
	uint8_t *again;
	size_t len;
	char here;

	memset(&f->d, 0, sizeof(f->d));
	f->d.pointer = &here;
	assert_int_equal(state_load(f->descs, 2, f->data, f->len, &e), 0);
	assert_int_equal(f->d.part.speed, want.part.speed);
	assert_int_equal(f->d.part.on, want.part.on);
	assert_memory_equal(f->d.regs, want.regs, sizeof(want.regs));
	assert_true(f->d.when == want.when);
	assert_memory_equal(f->d.table, want.table, sizeof(want.table));
	assert_int_equal(f->d.ring, want.ring);
	assert_ptr_equal(f->d.pointer, &here);
	/* Derived from what both descriptions brought. */
	assert_int_equal(f->d.loaded, 1);
	assert_int_equal(f->d.derived, 1009);
	assert_int_equal(state_save(f->descs, 2, &again, &len), 0);
	assert_int_equal(len, f->len);
	assert_memory_equal(again, f->data, len);
	free(again);
}

/* The stream is the same on every machine. */
static void little_endian(void **state)
{
	static const uint8_t when[] = { 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11 };
	struct fixture *f = *state;

	assert_non_null(memmem(f->data, f->len, when, sizeof(when)));
}

static void cut_everywhere(void **state)
{
	struct fixture *f = *state;

	for (size_t len = 0; len < f->len; len++) {
		uint8_t *exact = malloc(len + 1);

		memcpy(exact, f->data, len);
		refused(f, exact, len, "device state: ");
		free(exact);
	}
}

static void bytes_left_over(void **state)
{
	struct fixture *f = *state;
	uint8_t *longer = calloc(1, f->len + 3);

	memcpy(longer, f->data, f->len);
	refused(f, longer, f->len + 3, "3 bytes too many");
	free(longer);
}

static void names(void **state)
{
	struct fixture *f = *state;
	uint8_t *p = find(f, "device/regs");

	p[7] = 'x';
	refused(f, f->data, f->len, "unknown section device/xegs");
	/* What it is called is not printed as it is. */
	p[7] = '\n';
	refused(f, f->data, f->len, "unknown section device/?egs");
	memcpy(p, "device/ring", 11);
	refused(f, f->data, f->len, "device/ring is version 1, not 7");
	p[11] = 7;
	refused(f, f->data, f->len, "device/ring has regs where table should be");
}

static void sections_missing_and_twice(void **state)
{
	struct fixture *f = *state;
	uint8_t *p = find(f, "device/regs"), *q = find(f, "device/ring"), *twice;
	size_t len;

	f->data[12] = 2; /* the number of sections; the last one then lies behind the end */
	refused(f, f->data, (size_t)(q - 1 - f->data), "section device/ring is missing");
	f->data[12] = 4;
	refused(f, f->data, f->len, "cut short");
	len = (size_t)(q - p);
	twice = malloc(f->len + len);
	memcpy(twice, f->data, f->len);
	memcpy(twice + f->len, p - 1, len);
	refused(f, twice, f->len + len, "section device/regs comes twice");
	memset(f->data + 12, 0xff, 4);
	memcpy(twice, f->data, f->len);
	refused(f, twice, f->len + len, "comes twice");
	free(twice);
}

static void versions_and_counts(void **state)
{
	struct fixture *f = *state;
	uint8_t *p = find(f, "device/ring") + 11;

	p[0] = 8;
	refused(f, f->data, f->len, "device/ring is version 8, not 7");
	p[0] = 7;
	p[2] = 3;
	refused(f, f->data, f->len, "device/ring has 3 fields, not 2");
	p[2] = 1;
	refused(f, f->data, f->len, "device/ring has 1 fields, not 2");
	p[3] = 0xff;
	refused(f, f->data, f->len, "fields, not 2");
}

static void field_sizes(void **state)
{
	static const uint8_t huge[] = { 0xff, 0xff, 0xff, 0xff };
	struct fixture *f = *state;
	uint8_t *p = find(f, "when") + 4;

	p[0] = 4;
	refused(f, f->data, f->len, "device/regs.when is 1 elements of 4 bytes, not 1 of 8");
	p[0] = 0;
	refused(f, f->data, f->len, "of 0 bytes");
	p[0] = 255;
	memcpy(p + 1, huge, 4);
	refused(f, f->data, f->len, "is 4294967295 elements of 255 bytes");
	p[0] = 8;
	refused(f, f->data, f->len, "elements of 8 bytes, not 1 of 8");
	memset(p + 1, 0, 4);
	refused(f, f->data, f->len, "is 0 elements");
}

static void long_names(void **state)
{
	struct fixture *f = *state;
	uint8_t *p = find(f, "device/ring");
	uint8_t *longer = calloc(1, f->len + 300);

	memcpy(longer, f->data, f->len);
	longer[p - 1 - f->data] = 255;
	refused(f, longer, f->len + 300, "the head of a section");
	longer[p - 1 - f->data] = STATE_NAME_MAX + 1;
	refused(f, longer, f->len + 300, "the head of a section");
	longer[p - 1 - f->data] = STATE_NAME_MAX;
	refused(f, longer, f->len + 300, "unknown section device/ring?");
	free(longer);
}

static void heads(void **state)
{
	struct fixture *f = *state;
	uint8_t *big;

	refused(f, (const uint8_t *)"", 0, "this is none");
	f->data[8] = 2;
	refused(f, f->data, f->len, "format 2, not 1");
	f->data[0] ^= 1;
	refused(f, f->data, f->len, "this is none");
	big = calloc(1, STATE_MAX + 1);
	refused(f, big, STATE_MAX + 1, "more than");
	free(big);
}

/* All or nothing: the part's section is good, the other one's values are not. */
static void values(void **state)
{
	struct fixture *f = *state;
	uint8_t *ring = (uint8_t *)find(f, "\004ring") + 5 + 5;
	uint8_t *speed = (uint8_t *)find(f, "speed") + 5 + 5;
	uint8_t *on = (uint8_t *)find(f, "\002on") + 3 + 5;

	f->d.part.speed = 5;
	ring[0] = 16;
	refused(f, f->data, f->len, "device state: device/ring: ring is 16");
	ring[0] = 9;
	ring[1] = 0xff;
	refused(f, f->data, f->len, "ring is");
	ring[1] = 0;
	speed[0] = 8;
	speed[1] = 0;
	refused(f, f->data, f->len, "ring above the part's speed");
	speed[0] = 9;
	on[0] = 2;
	refused(f, f->data, f->len, "device state: part: on is 2");
	on[0] = 0;
	assert_int_equal(state_load(f->descs, 2, f->data, f->len, NULL), 0);
	assert_int_equal(f->d.part.speed, 9);
}

/* Sections may come in any order. */
static void order(void **state)
{
	struct fixture *f = *state;
	uint8_t *a = (uint8_t *)find(f, "part") - 1, *b = (uint8_t *)find(f, "device/regs") - 1;
	uint8_t *mixed = malloc(f->len);
	size_t head = (size_t)(a - f->data), first = (size_t)(b - a), rest = f->len - head - first;

	memcpy(mixed, f->data, head);
	memcpy(mixed + head, b, rest);
	memcpy(mixed + head + rest, a, first);
	memset(&f->d, 0, sizeof(f->d));
	assert_int_equal(state_load(f->descs, 2, mixed, f->len, NULL), 0);
	assert_int_equal(f->d.part.speed, 1000);
	assert_int_equal(f->d.ring, 9);
	free(mixed);
}

/* Every single bit of the stream: refused or loaded whole, never something in between. */
static void every_bit(void **state)
{
	struct fixture *f = *state;
	unsigned int loaded = 0;

	for (size_t i = 0; i < f->len * 8; i++) {
		struct device before = f->d;

		f->data[i / 8] ^= (uint8_t)(1u << (i % 8));
		if (state_load(f->descs, 2, f->data, f->len, NULL) < 0)
			assert_memory_equal(&before, &f->d, sizeof(before));
		else
			loaded++;
		assert_true(f->d.ring < 16 && f->d.part.on <= 1);
		f->data[i / 8] ^= (uint8_t)(1u << (i % 8));
	}
	/* regs, when and table take anything; of ring, speed and on some bits. */
	assert_in_range(loaded, (16 + 8 + 15) * 8, (16 + 8 + 15) * 8 + 16 + 16 + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(round_trip, set_up, tear_down),
		cmocka_unit_test_setup_teardown(little_endian, set_up, tear_down),
		cmocka_unit_test_setup_teardown(cut_everywhere, set_up, tear_down),
		cmocka_unit_test_setup_teardown(bytes_left_over, set_up, tear_down),
		cmocka_unit_test_setup_teardown(names, set_up, tear_down),
		cmocka_unit_test_setup_teardown(sections_missing_and_twice, set_up, tear_down),
		cmocka_unit_test_setup_teardown(versions_and_counts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(field_sizes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(long_names, set_up, tear_down),
		cmocka_unit_test_setup_teardown(heads, set_up, tear_down),
		cmocka_unit_test_setup_teardown(values, set_up, tear_down),
		cmocka_unit_test_setup_teardown(order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(every_bit, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
