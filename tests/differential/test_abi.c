/* SPDX-License-Identifier: BSD-3-Clause */
/* Programs were compiled against libslirp's header: ours says the same of every field and constant.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "abi_layout.h"

static void test_layout(void **state)
{
	size_t n = 0;

	for (; abi_theirs[n].name; n++) {
		assert_string_equal(abi_ours[n].name, abi_theirs[n].name);
		if (abi_ours[n].at != abi_theirs[n].at || abi_ours[n].size != abi_theirs[n].size)
			fail_msg("%s: at %zu, %zu bytes; theirs at %zu, %zu bytes",
				 abi_ours[n].name, abi_ours[n].at, abi_ours[n].size,
				 abi_theirs[n].at, abi_theirs[n].size);
	}
	assert_null(abi_ours[n].name);
	assert_true(n > 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_layout) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
