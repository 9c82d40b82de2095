/* SPDX-License-Identifier: BSD-3-Clause */
/* smb= up to the point where smbd is started; smbd itself is in tests/guest/user_clients.sh. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/hostops.h"
#include "user_guest.h"

static char dir[64];	    /* smbd's, as it was made last */
static bool has_smbd, full; /* the host's: Samba is installed; no folder can be made */

static int host_open(void *opaque, const char *path, int flags, mode_t mode)
{
	int fd;

	if (!strcmp(path, "/usr/sbin/smbd"))
		path = has_smbd ? "/" : "/nonexistent";
	fd = open(path, flags, mode);
	return fd < 0 ? -errno : fd;
}

static int host_make_dir(void *opaque, char *path)
{
	if (full)
		return -ENOSPC;
	strcat(path, "XXXXXX");
	assert_non_null(mkdtemp(path));
	snprintf(dir, sizeof(dir), "%s", path);
	return 0;
}

static const struct twx_hostops hostops = {
	.size = sizeof(hostops),
	.open = host_open,
	.make_dir = host_make_dir,
};

static void refused(const char *options, const char *what)
{
	struct twx_error e = { 0 };
	struct guest g;

	dir[0] = 0;
	assert_false(guest_open_on(&g, options, 0, &hostops, &e));
	assert_string_equal(e.what, what);
	assert_true(!*dir || access(dir, F_OK) < 0);
}

static void what_is_missing_is_named(void **state)
{
	has_smbd = false;
	refused("smb=/tmp", "Could not find '/usr/sbin/smbd', please install it");
	has_smbd = true;
	refused("smb=/nonexistent/x",
		"Error accessing shared directory '/nonexistent/x': No such file or directory");
	refused("smb=/etc/passwd",
		"Error accessing shared directory '/etc/passwd': Not a directory");
	refused("smb=/tmp,smbserver=10.0.2.2", "Conflicting/invalid smbserver address");
	refused("smb=/tmp,smbserver=192.0.2.1", "Conflicting/invalid smbserver address");
	refused("smb=/tmp,guestfwd=tcp:10.0.2.4:445-cmd:x",
		"Conflicting/invalid smbserver address");
	full = true;
	refused("smb=/tmp", "could not create samba server dir in /tmp: No space left on device");
	full = false;
}

/* A name must not become a setting. */
static void names_that_would_be_configuration(void **state)
{
	static const char *const bad[] = { "a\nroot preexec = x", "%U", "a;b", "a#b", "a\\" };
	char folder[] = "/tmp/test-smb-XXXXXX";

	assert_non_null(mkdtemp(folder));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char path[128], options[160], what[256];

		snprintf(path, sizeof(path), "%s/%s", folder, bad[i]);
		snprintf(options, sizeof(options), "smb=%s", path);
		snprintf(what, sizeof(what),
			 "Shared directory '%s' has a character that smbd's configuration cannot "
			 "hold",
			 path);
		assert_int_equal(mkdir(path, 0700), 0);
		refused(options, what);
		rmdir(path);
	}
	rmdir(folder);
}

static void configuration_names_the_folder_and_goes_with_the_backend(void **state)
{
	char folder[] = "/tmp/test-smb-XXXXXX", path[80], text[4096] = "", want[128];
	struct stat st;
	struct guest g;
	ssize_t n;
	int fd;

	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "smb=%s/../%s,restrict=on", folder, folder + 5);
	assert_true(guest_open_on(&g, path, 0, &hostops, NULL));
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	snprintf(path, sizeof(path), "%s/smb.conf", dir);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	assert_true(n > 0);
	snprintf(want, sizeof(want), "[qemu]\n\tpath = %s\n", folder);
	assert_non_null(strstr(text, want));
	snprintf(want, sizeof(want), "private dir = %s\n", dir);
	assert_non_null(strstr(text, want));
	/* What smbd may leave there. */
	snprintf(path, sizeof(path), "%s/a", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/a/b", dir);
	assert_int_equal(symlink(folder, path), 0);
	guest_close(&g);
	assert_int_equal(access(dir, F_OK), -1);
	assert_int_equal(rmdir(folder), 0); /* the link was not followed */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_missing_is_named),
		cmocka_unit_test(names_that_would_be_configuration),
		cmocka_unit_test(configuration_names_the_folder_and_goes_with_the_backend),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
