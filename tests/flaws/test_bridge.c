/* SPDX-License-Identifier: BSD-3-Clause */
/* Names of bridges that a helper might misread. */
#include "tap_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* CVE-2019-13164: a helper that cuts a name after having checked it. */
static void a_bridge_with_a_long_name_never_reaches_the_helper(void **state)
{
	static const char *const names[] = {
		"sixteen-letters-", "", "a/b", ".", "..", "a b", "a\tb"
	};
	char dir[] = "/tmp/twinax-br-XXXXXX", text[512], here[512];
	struct ctx *c = *state;
	size_t i;

	assert_non_null(mkdtemp(dir));
	assert_non_null(getcwd(here, sizeof(here)));
	assert_int_equal(chdir(dir), 0);
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(text, sizeof(text), "bridge,id=t0,br=%s,helper=" BRIDGE_HELPER " mark",
			 names[i]);
		expect_refused(c, text, "cannot be the name of a bridge");
		snprintf(text, sizeof(text), "tap,id=t0,br=%s,helper=" BRIDGE_HELPER " mark",
			 names[i]);
		expect_refused(c, text, "cannot be the name of a bridge");
	}
	assert_int_equal(access("sixteen-letters", F_OK), -1);
	expect_refused(c, "bridge,id=t0,br=fifteen-letters,helper=" BRIDGE_HELPER " mark",
		       "no descriptor");
	assert_int_equal(unlink("fifteen-letters"), 0);
	assert_int_equal(chdir(here), 0);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_bridge_with_a_long_name_never_reaches_the_helper),
	};

	/* Under an emulator, what was built here may not start by itself. */
	return system(BRIDGE_HELPER " silent") ? 77 : tap_run(tests);
}
