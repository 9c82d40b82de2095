/* SPDX-License-Identifier: BSD-3-Clause */
/* What is said where /dev/kvm is missing, may not be opened, or is something else. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <twinax/machine.h>

#include "base/hostops.h"
#include "hosts/machine/kvm.h"

static int opening; /* what open() gives instead; 0: /dev/null */

static int fake_open(void *opaque, const char *path, int flags, mode_t mode)
{
	(void)opaque;
	assert_string_equal(path, "/dev/kvm");
	return opening ? opening : open("/dev/null", flags | O_CLOEXEC, mode);
}

static const struct twx_hostops fake = { .size = sizeof(fake), .open = fake_open };

static void test_missing(void **state)
{
	struct twx_error e = { 0 };

	opening = -ENOENT;
	assert_int_equal(kvm_open_device(&fake, &e), -ENOENT);
	assert_string_equal(e.what, "KVM: there is no /dev/kvm");
	assert_non_null(strstr(e.hint, "modprobe"));
	opening = -ENODEV; /* a node without a module behind it */
	assert_int_equal(kvm_open_device(&fake, &e), -ENOENT);
}

static void test_no_right(void **state)
{
	struct twx_error e = { 0 };

	opening = -EACCES;
	assert_int_equal(kvm_open_device(&fake, &e), -EACCES);
	assert_string_equal(e.what, "KVM: no right to open /dev/kvm");
	assert_non_null(strstr(e.hint, "group"));
	assert_non_null(strstr(e.hint, "usermod -aG"));
}

static void test_something_else(void **state)
{
	struct twx_error e = { 0 };

	opening = 0;
	assert_int_equal(kvm_open_device(&fake, &e), -ENOTSUP);
	assert_non_null(strstr(e.what, "version"));
}

static void test_names(void **state)
{
	struct twx_error e = { 0 };

	assert_int_equal(twx_machine_probe("qtest", &e), 0);
	assert_int_equal(twx_machine_probe("xen", &e), -EINVAL);
	assert_non_null(strstr(e.what, "'xen'"));
}

/* Whatever this machine has: an answer that says why, and the same one again. */
static void test_here(void **state)
{
	struct twx_error e = { 0 };
	int first = twx_machine_probe("kvm", &e);

	if (first < 0) {
		assert_true(first == -ENOENT || first == -EACCES || first == -ENOTSUP);
		assert_int_equal(-e.code, first);
		assert_memory_equal(e.what, "KVM: ", 5);
		assert_true(e.hint[0] != '\0');
	}
	assert_int_equal(twx_machine_probe("kvm", NULL), first);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_missing),	       cmocka_unit_test(test_no_right),
		cmocka_unit_test(test_something_else), cmocka_unit_test(test_names),
		cmocka_unit_test(test_here),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
