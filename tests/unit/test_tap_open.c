/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening and closing a tap: options, descriptors, scripts, and what is left behind when it fails.
 */
#include "tap_kit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_tun(const char *name, short flags)
{
	struct ifreq ifr = { .ifr_flags = flags };
	int fd = open("/dev/net/tun", O_RDWR);

	snprintf(ifr.ifr_name, IFNAMSIZ, "%s", name);
	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	return fd;
}

static void test_inherited_descriptor(void **state)
{
	struct ctx *c = *state;
	int fd = open_tun("tt0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR),
	    sock = socket(AF_INET, SOCK_DGRAM, 0);
	char text[64], *info;

	snprintf(text, sizeof(text), "tap,id=t0,fd=%d", fd);
	open_tap(c, text);
	if_address(c, "tt0");
	send_numbered(sock, 3);
	run_loop(c, 10);
	expect_numbered(c, 3);
	snprintf(text, sizeof(text), "type=tap,fd=%d", fd);
	info = twx_net_info(c->net);
	assert_non_null(strstr(info, text));
	free(info);
	close(sock);
	twx_backend_free(c->tap);
	c->tap = NULL;
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* it was taken */
}

static void test_inherited_descriptors(void **state)
{
	struct ctx *c = *state;
	int a = open_tun("tt0", IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE);
	int b = open_tun("tt0", IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE);
	char text[64];

	snprintf(text, sizeof(text), "tap,id=t0,fds=%d:%d", a, b);
	open_tap(c, text);
	assert_int_equal(c->tap->n_ports, 2);
	assert_int_equal(c->tap->ports[0]->caps.flags, 0); /* opened without the offload header */
}

static void test_wrong_descriptors(void **state)
{
	struct ctx *c = *state;
	int plain = open("/dev/null", O_RDWR), tun;
	char text[64];

	snprintf(text, sizeof(text), "tap,id=t0,fd=%d", plain);
	expect_refused(c, text, "not an open tap device");
	assert_int_equal(fcntl(plain, F_GETFD), 0); /* and it is still its owner's */
	expect_refused(c, "tap,id=t0,fd=4711", "not an open tap device");
	expect_refused(c, "tap,id=t0,fd=x", "descriptor");
	expect_refused(c, "tap,id=t0,fds=1:", "descriptor");
	expect_refused(c, "tap,id=t0,fd=1:2", "fds=");
	tun = open_tun("ttx", IFF_TUN | IFF_NO_PI);
	snprintf(text, sizeof(text), "tap,id=t0,fd=%d", tun);
	expect_refused(c, text, "not an open tap device");
	close(plain);
	close(tun);
}

static void test_exclusions(void **state)
{
	struct ctx *c = *state;

	expect_refused(c, "tap,id=t0,fd=3,ifname=tt0",
		       "ifname=, script=, downscript=, vnet_hdr=, helper=, queues=, fds=, and "
		       "vhostfds= are invalid with "
		       "fd=");
	expect_refused(c, "tap,id=t0,fd=3,queues=1", "are invalid with fd=");
	expect_refused(c, "tap,id=t0,fds=3:4,script=no", "are invalid with fds=");
	expect_refused(c, "tap,id=t0,ifname=tt0,vhost=off,vhostfd=3",
		       "vhostfd(s)= is not valid without vhost");
	expect_refused(c, "tap,id=t0,ifname=tt0,vhostfds=3:4",
		       "vhostfds= is invalid if fds= wasn't specified");
	expect_refused(c, "tap,id=t0,ifname=tt0,queues=2,vhostfd=3",
		       "vhostfd= is one descriptor, and every queue needs its own");
	expect_refused(c, "tap,id=t0,helper=/bin/true,ifname=tt0",
		       "ifname=, script=, downscript=, vnet_hdr=, queues=, and vhostfds= are "
		       "invalid with helper=");
	expect_refused(c, "tap,id=t0,helper=/bin/true,queues=2", "are invalid with helper=");
	expect_refused(c, "tap,id=t0,ifname=tt0,queues=0", "queues");
	expect_refused(c, "tap,id=t0,ifname=tt0,queues=1025", "queues");
	expect_refused(c, "tap,id=t0,ifname=a-name-too-long-for-linux", "name of an interface");
	expect_refused(c, "tap,id=t0,ifname=a/b", "name of an interface");
	expect_refused(c, "tap,id=t0,ifname=", "name of an interface");
	expect_refused(c, "tap,id=t0,ifname=tt0,frob=1", "frob");
	expect_refused(c, "tap,ifname=tt0", "id");
	open_tap(c, "tap,id=t0,ifname=tt0,script=no,downscript=no,vhost=off");
}

/* Where the kernel has none, or will not give it: our own path, unless the user insists. */
static void test_vhost_that_is_not_there(void **state)
{
	struct ctx *c = *state;
	char text[128];
	int fd = open("/dev/null", O_RDWR);

	snprintf(text, sizeof(text),
		 "tap,id=t0,ifname=tt0,script=no,downscript=no,vhostforce=on,vhostfd=%d", fd);
	expect_refused(c, text, "vhost-net requested but could not be initialized");
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* it was ours */
	fd = open("/dev/null", O_RDWR);
	snprintf(text, sizeof(text),
		 "tap,id=t0,ifname=tt0,script=no,downscript=no,vhost=on,vhostfd=%d", fd);
	c->log[0] = 0;
	open_tap(c, text);
	assert_non_null(strstr(c->log, "vhost-net requested but could not be initialized"));
	assert_null(c->tap->ports[0]->ops->vhost(c->tap->ports[0]));
}

/* Taken as QEMU takes them, where they do nothing; but not in silence. */
static void test_options_of_no_use(void **state)
{
	struct ctx *c = *state;

	open_tap(c, "tap,id=t0,ifname=tt0,script=no,downscript=no,br=br7,poll-us=5");
	assert_non_null(strstr(c->log, "netdev t0: br= is of no use without helper="));
	assert_non_null(strstr(c->log, "netdev t0: poll-us= is of no use without vhost=on"));
}

static void test_busy_and_foreign_interfaces(void **state)
{
	struct ctx *c = *state;
	struct twx_error e = { 0 };
	struct twx_backend *b;
	int fd = open_tun("ttb", IFF_TAP | IFF_NO_PI);

	assert_int_equal(twx_backend_new(&b, c->net, "tap,id=t0,ifname=ttb,script=no", &e), -EBUSY);
	assert_non_null(strstr(e.what, "ttb"));
	assert_non_null(strstr(e.hint, "another program"));
	assert_true(twx_backend_new(&b, c->net, "tap,id=t0,ifname=lo,script=no", &e) < 0);
	assert_non_null(strstr(e.hint, "no tap"));
	close(fd);
}

/* --- scripts --- */

static void write_script(const char *path, const char *body)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fprintf(f, "#!/bin/sh\n%s\n", body);
	fclose(f);
	assert_int_equal(chmod(path, 0755), 0);
}

static void test_scripts(void **state)
{
	char dir[] = "/tmp/twinax-tap-XXXXXX", up[64], down[64], mark[64], text[256], body[160],
	     line[64] = "";
	struct ctx *c = *state;
	FILE *f;

	assert_non_null(mkdtemp(dir));
	snprintf(up, sizeof(up), "%s/up", dir);
	snprintf(down, sizeof(down), "%s/down", dir);
	snprintf(mark, sizeof(mark), "%s/mark", dir);
	snprintf(body, sizeof(body), "test -d /proc/sys/net/ipv4/conf/$1 && echo up $1 >> %s",
		 mark);
	write_script(up, body);
	snprintf(body, sizeof(body), "test -d /proc/sys/net/ipv4/conf/$1 && echo down $1 >> %s",
		 mark);
	write_script(down, body);
	snprintf(text, sizeof(text), "tap,id=t0,ifname=tt0,script=%s,downscript=%s", up, down);
	open_tap(c, text);
	twx_backend_free(c->tap);
	c->tap = NULL;
	f = fopen(mark, "r");
	assert_non_null(f);
	assert_int_equal(fread(line, 1, sizeof(line) - 1, f), 16);
	assert_string_equal(line, "up tt0\ndown tt0\n");
	fclose(f);
	write_script(up, "exit 3");
	assert_int_equal(unlink(mark), 0);
	snprintf(body, sizeof(body), "network script %s failed with status 3", up);
	expect_refused(c, text, body);
	assert_int_equal(access(mark, F_OK), -1); /* down is not run for what never came up */
	assert_int_equal(unlink(up), 0);
	snprintf(body, sizeof(body), "could not launch network script %s", up);
	expect_refused(c, text, body);
	unlink(down);
	assert_int_equal(rmdir(dir), 0);
}

static void test_missing_default_script_warns(void **state)
{
	struct ctx *c = *state;

	open_tap(c, "tap,id=t0,ifname=tt0");
	assert_non_null(strstr(c->log, "netdev t0: there is no /etc/qemu-ifup"));
	c->log[0] = 0;
	twx_backend_free(c->tap);
	open_tap(c, "tap,id=t0,ifname=tt0,script=,downscript=");
	assert_string_equal(c->log, "");
}

static void test_kernel_picks_a_name(void **state)
{
	struct ctx *c = *state;
	char *info;

	open_tap(c, "tap,id=t0,script=no,downscript=no");
	info = twx_net_info(c->net);
	assert_non_null(strstr(info, "type=tap,ifname=tap0,"));
	free(info);
	assert_true(link_exists("tap0"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_inherited_descriptor),
		T(test_inherited_descriptors),
		T(test_wrong_descriptors),
		T(test_exclusions),
		T(test_vhost_that_is_not_there),
		T(test_options_of_no_use),
		T(test_busy_and_foreign_interfaces),
		T(test_scripts),
		T(test_missing_default_script_warns),
		T(test_kernel_picks_a_name),
	};

	return tap_run(tests);
}
