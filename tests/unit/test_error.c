/* SPDX-License-Identifier: BSD-3-Clause */
/* The error object: sentences, hints, prefixes, nothing beyond its end. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <twinax/twinax.h>

static void sets_and_returns(void **state)
{
	struct twx_error e = { 0 };

	assert_int_equal(twx_error_set(&e, ENOENT, "netdev %s: cannot open %s", "n0", "/x"),
			 -ENOENT);
	assert_int_equal(e.code, ENOENT);
	assert_string_equal(e.what, "netdev n0: cannot open /x");
	assert_string_equal(e.hint, "");
	assert_int_equal(twx_error_hint(&e, "create %s", "/x"), -ENOENT);
	assert_string_equal(e.hint, "create /x");
}

static void later_failure_replaces_text_and_hint(void **state)
{
	struct twx_error e = { 0 };

	twx_error_set(&e, ENOENT, "first");
	twx_error_hint(&e, "do this");
	assert_int_equal(twx_error_set(&e, EBUSY, "second, after %s", e.what), -EBUSY);
	assert_string_equal(e.what, "second, after first");
	assert_string_equal(e.hint, "");
}

static void negative_and_zero_codes_are_failures(void **state)
{
	struct twx_error e = { 0 };

	assert_int_equal(twx_error_set(&e, -EPERM, "x"), -EPERM);
	assert_int_equal(e.code, EPERM);
	assert_int_equal(twx_error_set(&e, 0, "x"), -EINVAL);
	assert_int_equal(e.code, EINVAL);
}

static void null_loses_text_not_code(void **state)
{
	assert_int_equal(twx_error_set(NULL, EIO, "%s", "x"), -EIO);
	assert_true(twx_error_hint(NULL, "x") < 0);
	twx_error_prefix(NULL, "x");
}

static void prefix_goes_in_front(void **state)
{
	struct twx_error e = { 0 };

	twx_error_set(&e, EIO, "Invalid parameter 'x'");
	twx_error_prefix(&e, "-netdev %s: ", "user");
	assert_string_equal(e.what, "-netdev user: Invalid parameter 'x'");
	assert_int_equal(e.code, EIO);
}

static void long_text_is_cut_inside(void **state)
{
	struct {
		struct twx_error e;
		char guard[16];
	} s;
	char big[2000];

	memset(big, 'a', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	memset(&s, 0x5a, sizeof(s));
	twx_error_set(&s.e, EIO, "%s", big);
	assert_int_equal(strlen(s.e.what), sizeof(s.e.what) - 1);
	twx_error_hint(&s.e, "%s", big);
	assert_int_equal(strlen(s.e.hint), sizeof(s.e.hint) - 1);
	twx_error_set(&s.e, EIO, "tail");
	for (int i = 0; i < 100; i++)
		twx_error_prefix(&s.e, "0123456789");
	assert_int_equal(strlen(s.e.what), sizeof(s.e.what) - 1);
	twx_error_prefix(&s.e, "%s", big);
	assert_int_equal(strspn(s.e.what, "a"), sizeof(s.e.what) - 1);
	for (size_t i = 0; i < sizeof(s.guard); i++)
		assert_int_equal(s.guard[i], 0x5a);
}

static void version_is_three_numbers(void **state)
{
	assert_int_equal(strspn(twx_version(), "0123456789."), strlen(twx_version()));
	assert_non_null(strchr(twx_version(), '.'));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sets_and_returns),
		cmocka_unit_test(later_failure_replaces_text_and_hint),
		cmocka_unit_test(negative_and_zero_codes_are_failures),
		cmocka_unit_test(null_loses_text_not_code),
		cmocka_unit_test(prefix_goes_in_front),
		cmocka_unit_test(long_text_is_cut_inside),
		cmocka_unit_test(version_is_three_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
