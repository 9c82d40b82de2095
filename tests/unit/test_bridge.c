/* SPDX-License-Identifier: BSD-3-Clause */
/* Taps from a helper program: one that does as it should, and those that do not. */
#include "tap_kit.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int n_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static bool no_children(void)
{
	return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD;
}

static void carries_frames(struct ctx *c, const char *text, const char *info_part)
{
	int sock = socket(AF_INET, SOCK_DGRAM, 0);
	char *info;

	open_tap(c, text);
	assert_true(no_children());
	info = twx_net_info(c->net);
	if (!strstr(info, info_part))
		fail_msg("'%s' is not in: %s", info_part, info);
	free(info);
	if_address(c, "tt0");
	send_numbered(sock, 3);
	run_loop(c, 10);
	expect_numbered(c, 3);
	close(sock);
	twx_backend_free(c->tap);
	c->tap = NULL;
	assert_false(link_exists("tt0"));
}

static void a_bridge_is_a_tap_from_the_helper(void **state)
{
	carries_frames(*state, "bridge,id=t0,br=tt0,helper=" BRIDGE_HELPER " tap",
		       "t0: index=0,type=tap,helper=" BRIDGE_HELPER " tap,br=tt0\n");
}

static void a_tap_may_come_from_the_helper_too(void **state)
{
	carries_frames(*state, "tap,id=t0,br=tt0,helper=" BRIDGE_HELPER " tap",
		       "t0: index=0,type=tap,helper=" BRIDGE_HELPER " tap\n");
}

static void a_command_may_name_the_bridge_itself(void **state)
{
	carries_frames(*state, "bridge,id=t0,br=other,helper=" BRIDGE_HELPER " tap --br=tt0",
		       "helper=");
}

static void mistakes_of_the_helper_are_told(void **state)
{
	static const struct {
		const char *mode, *part;
	} cases[] = {
		{ "denied", "bridge helper failed: access denied by acl file" },
		{ "silent", "bridge helper failed: it passed no descriptor" },
		{ "empty", "bridge helper failed: it passed no descriptor" },
		{ "killed", "bridge helper failed: it was ended by signal 6" },
		{ "null", "bridge helper failed: what it passed is not an open tap device" },
		{ "tun", "bridge helper failed: what it passed is not an open tap device" },
		{ "tap-several", "bridge helper failed: it passed several descriptors" },
		{ "tap-twice", "bridge helper failed: it passed several descriptors" },
		{ "tap-fail", "bridge helper failed: its status is 3" },
		{ "hang", "bridge helper failed: it has not finished within" },
	};
	struct ctx *c = *state;
	int fds = n_fds();
	char text[512];
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(text, sizeof(text), "bridge,id=t0,br=tt0,helper=" BRIDGE_HELPER " %s",
			 cases[i].mode);
		expect_refused(c, text, cases[i].part);
		assert_int_equal(n_fds(), fds);
		assert_true(no_children());
		assert_false(link_exists("tt0"));
	}
	expect_refused(c, "bridge,id=t0,helper=/nonexistent/helper", "bridge helper failed: ");
	expect_refused(c, "tap,id=t0,helper=" BRIDGE_HELPER " silent", "it passed no descriptor");
}

static void what_it_says_cannot_steer_a_terminal(void **state)
{
	struct twx_error e = { 0 };
	struct ctx *c = *state;
	struct twx_backend *b;

	assert_true(twx_backend_new(&b, c->net, "bridge,id=t0,helper=" BRIDGE_HELPER " escape",
				    &e) < 0);
	assert_null(strchr(e.what, '\033'));
	assert_non_null(strstr(e.what, "[31m"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_bridge_is_a_tap_from_the_helper),	 T(a_tap_may_come_from_the_helper_too),
		T(a_command_may_name_the_bridge_itself), T(mistakes_of_the_helper_are_told),
		T(what_it_says_cannot_steer_a_terminal),
	};

	/* Under an emulator, what was built here may not start by itself. */
	return system(BRIDGE_HELPER " silent") ? 77 : tap_run(tests);
}
